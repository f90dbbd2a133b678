"""Nonlinear regression with certified results: the Statistical Reference Datasets of NIST.

Data, starting values and certified parameters are in `data/nist_strd.json`, taken from NIST's pages
(https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml; work of the US government, in the public domain). The models
are written here once, for Values and floats alike, and their derivatives once more by hand for NumPy's arrays.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import autodiff as ad
from autodiff import cos, exp, sin

Model = Callable[[Any, Any], Any]


# ---- models: y as a function of parameters b and predictor x


def rise(b: Any, x: Any) -> Any:
    return b[0] * (1.0 - exp(-b[1] * x))


def misra1b(b: Any, x: Any) -> Any:
    return b[0] * (1.0 - (1.0 + b[1] * x / 2.0) ** -2)


def misra1c(b: Any, x: Any) -> Any:
    return b[0] * (1.0 - (1.0 + 2.0 * b[1] * x) ** -0.5)


def misra1d(b: Any, x: Any) -> Any:
    return b[0] * b[1] * x / (1.0 + b[1] * x)


def chwirut(b: Any, x: Any) -> Any:
    return exp(-b[0] * x) / (b[1] + b[2] * x)


def lanczos(b: Any, x: Any) -> Any:
    return b[0] * exp(-b[1] * x) + b[2] * exp(-b[3] * x) + b[4] * exp(-b[5] * x)


def gauss(b: Any, x: Any) -> Any:
    peaks = b[2] * exp(-((x - b[3]) ** 2) / b[4] ** 2) + b[5] * exp(-((x - b[6]) ** 2) / b[7] ** 2)
    return b[0] * exp(-b[1] * x) + peaks


def danwood(b: Any, x: Any) -> Any:
    return b[0] * x ** b[1]


def kirby(b: Any, x: Any) -> Any:
    return (b[0] + b[1] * x + b[2] * x**2) / (1.0 + b[3] * x + b[4] * x**2)


def cubic(b: Any, x: Any) -> Any:
    return (b[0] + b[1] * x + b[2] * x**2 + b[3] * x**3) / (1.0 + b[4] * x + b[5] * x**2 + b[6] * x**3)


def nelson(b: Any, x: Any) -> Any:
    return b[0] - b[1] * x[0] * exp(-b[2] * x[1])


def mgh17(b: Any, x: Any) -> Any:
    return b[0] + b[1] * exp(-x * b[3]) + b[2] * exp(-x * b[4])


def roszman(b: Any, x: Any) -> Any:
    return b[0] - b[1] * x - ad.atan(b[2] / (x - b[3])) / math.pi


def enso(b: Any, x: Any) -> Any:
    t = 2.0 * math.pi * x
    season = b[1] * cos(t / 12.0) + b[2] * sin(t / 12.0)
    return b[0] + season + b[4] * cos(t / b[3]) + b[5] * sin(t / b[3]) + b[7] * cos(t / b[6]) + b[8] * sin(t / b[6])


def mgh09(b: Any, x: Any) -> Any:
    return b[0] * (x**2 + x * b[1]) / (x**2 + x * b[2] + b[3])


def mgh10(b: Any, x: Any) -> Any:
    return b[0] * exp(b[1] / (x + b[2]))


def rat42(b: Any, x: Any) -> Any:
    return b[0] / (1.0 + exp(b[1] - b[2] * x))


def rat43(b: Any, x: Any) -> Any:
    return b[0] / (1.0 + exp(b[1] - b[2] * x)) ** (1.0 / b[3])


def eckerle(b: Any, x: Any) -> Any:
    return b[0] / b[1] * exp(-0.5 * ((x - b[2]) / b[1]) ** 2)


def bennett(b: Any, x: Any) -> Any:
    return b[0] * (b[1] + x) ** (-1.0 / b[2])


# ---- the same with derivatives by hand, for x an array: the model, and the columns of its Jacobian


def rise_by_hand(np: Any, b: Any, x: Any) -> Any:
    e = np.exp(-b[1] * x)
    return b[0] * (1.0 - e), [1.0 - e, b[0] * x * e]


def misra1b_by_hand(np: Any, b: Any, x: Any) -> Any:
    u = 1.0 + b[1] * x / 2.0
    return b[0] * (1.0 - u**-2.0), [1.0 - u**-2.0, b[0] * x * u**-3.0]


def misra1c_by_hand(np: Any, b: Any, x: Any) -> Any:
    u = 1.0 + 2.0 * b[1] * x
    return b[0] * (1.0 - u**-0.5), [1.0 - u**-0.5, b[0] * x * u**-1.5]


def misra1d_by_hand(np: Any, b: Any, x: Any) -> Any:
    u = 1.0 + b[1] * x
    return b[0] * b[1] * x / u, [b[1] * x / u, b[0] * x / u**2]


def chwirut_by_hand(np: Any, b: Any, x: Any) -> Any:
    below = b[1] + b[2] * x
    y = np.exp(-b[0] * x) / below
    return y, [-x * y, -y / below, -x * y / below]


def lanczos_by_hand(np: Any, b: Any, x: Any) -> Any:
    one, two, three = np.exp(-b[1] * x), np.exp(-b[3] * x), np.exp(-b[5] * x)
    slopes = [one, -b[0] * x * one, two, -b[2] * x * two, three, -b[4] * x * three]
    return b[0] * one + b[2] * two + b[4] * three, slopes


def gauss_by_hand(np: Any, b: Any, x: Any) -> Any:
    fall = np.exp(-b[1] * x)
    u, v = (x - b[3]) / b[4], (x - b[6]) / b[7]
    one, two = np.exp(-u * u), np.exp(-v * v)
    slopes = [fall, -b[0] * x * fall]
    slopes += [one, 2.0 * b[2] * one * u / b[4], 2.0 * b[2] * one * u * u / b[4]]
    slopes += [two, 2.0 * b[5] * two * v / b[7], 2.0 * b[5] * two * v * v / b[7]]
    return b[0] * fall + b[2] * one + b[5] * two, slopes


def danwood_by_hand(np: Any, b: Any, x: Any) -> Any:
    power = x ** b[1]
    return b[0] * power, [power, b[0] * power * np.log(x)]


def kirby_by_hand(np: Any, b: Any, x: Any) -> Any:
    below = 1.0 + b[3] * x + b[4] * x**2
    y = (b[0] + b[1] * x + b[2] * x**2) / below
    return y, [1.0 / below, x / below, x**2 / below, -y * x / below, -y * x**2 / below]


def cubic_by_hand(np: Any, b: Any, x: Any) -> Any:
    below = 1.0 + b[4] * x + b[5] * x**2 + b[6] * x**3
    y = (b[0] + b[1] * x + b[2] * x**2 + b[3] * x**3) / below
    return y, [x**k / below for k in range(4)] + [-y * x**k / below for k in range(1, 4)]


def nelson_by_hand(np: Any, b: Any, x: Any) -> Any:
    e = np.exp(-b[2] * x[1])
    return b[0] - b[1] * x[0] * e, [np.ones_like(e), -x[0] * e, b[1] * x[0] * x[1] * e]


def mgh17_by_hand(np: Any, b: Any, x: Any) -> Any:
    one, two = np.exp(-x * b[3]), np.exp(-x * b[4])
    return b[0] + b[1] * one + b[2] * two, [np.ones_like(x), one, two, -b[1] * x * one, -b[2] * x * two]


def roszman_by_hand(np: Any, b: Any, x: Any) -> Any:
    d = x - b[3]
    norm = math.pi * (d * d + b[2] * b[2])
    return b[0] - b[1] * x - np.arctan(b[2] / d) / math.pi, [np.ones_like(x), -x, -d / norm, -b[2] / norm]


def enso_by_hand(np: Any, b: Any, x: Any) -> Any:
    t = 2.0 * math.pi * x
    y, slopes = b[0] + 0.0 * x, [np.ones_like(x)]
    for period, (i, j), by_period in ((12.0, (1, 2), False), (b[3], (4, 5), True), (b[6], (7, 8), True)):
        c, s = np.cos(t / period), np.sin(t / period)
        y = y + b[i] * c + b[j] * s
        slopes += [(b[i] * s - b[j] * c) * t / period**2] if by_period else []
        slopes += [c, s]
    return y, slopes


def mgh09_by_hand(np: Any, b: Any, x: Any) -> Any:
    above, below = x**2 + x * b[1], x**2 + x * b[2] + b[3]
    y = b[0] * above / below
    return y, [above / below, b[0] * x / below, -y * x / below, -y / below]


def mgh10_by_hand(np: Any, b: Any, x: Any) -> Any:
    d = x + b[2]
    e = np.exp(b[1] / d)
    return b[0] * e, [e, b[0] * e / d, -b[0] * e * b[1] / d**2]


def rat42_by_hand(np: Any, b: Any, x: Any) -> Any:
    e = np.exp(b[1] - b[2] * x)
    return b[0] / (1.0 + e), [1.0 / (1.0 + e), -b[0] * e / (1.0 + e) ** 2, b[0] * x * e / (1.0 + e) ** 2]


def rat43_by_hand(np: Any, b: Any, x: Any) -> Any:
    e = np.exp(b[1] - b[2] * x)
    y = b[0] / (1.0 + e) ** (1.0 / b[3])
    inner = y * e / (1.0 + e) / b[3]
    return y, [y / b[0], -inner, inner * x, y * np.log(1.0 + e) / b[3] ** 2]


def eckerle_by_hand(np: Any, b: Any, x: Any) -> Any:
    u = (x - b[2]) / b[1]
    e = np.exp(-0.5 * u * u)
    return b[0] / b[1] * e, [e / b[1], b[0] * e * (u * u - 1.0) / b[1] ** 2, b[0] * e * u / b[1] ** 2]


def bennett_by_hand(np: Any, b: Any, x: Any) -> Any:
    d = b[1] + x
    power = d ** (-1.0 / b[2])
    return b[0] * power, [power, -b[0] * power / (b[2] * d), b[0] * power * np.log(d) / b[2] ** 2]


MODELS: dict[str, tuple[Model, Callable[..., Any]]] = {
    "Misra1a": (rise, rise_by_hand),
    "Chwirut1": (chwirut, chwirut_by_hand),
    "Chwirut2": (chwirut, chwirut_by_hand),
    "Lanczos3": (lanczos, lanczos_by_hand),
    "Gauss1": (gauss, gauss_by_hand),
    "Gauss2": (gauss, gauss_by_hand),
    "DanWood": (danwood, danwood_by_hand),
    "Misra1b": (misra1b, misra1b_by_hand),
    "Kirby2": (kirby, kirby_by_hand),
    "Hahn1": (cubic, cubic_by_hand),
    "Nelson": (nelson, nelson_by_hand),
    "MGH17": (mgh17, mgh17_by_hand),
    "Lanczos1": (lanczos, lanczos_by_hand),
    "Lanczos2": (lanczos, lanczos_by_hand),
    "Gauss3": (gauss, gauss_by_hand),
    "Misra1c": (misra1c, misra1c_by_hand),
    "Misra1d": (misra1d, misra1d_by_hand),
    "Roszman1": (roszman, roszman_by_hand),
    "ENSO": (enso, enso_by_hand),
    "MGH09": (mgh09, mgh09_by_hand),
    "Thurber": (cubic, cubic_by_hand),
    "BoxBOD": (rise, rise_by_hand),
    "Rat42": (rat42, rat42_by_hand),
    "MGH10": (mgh10, mgh10_by_hand),
    "Eckerle4": (eckerle, eckerle_by_hand),
    "Rat43": (rat43, rat43_by_hand),
    "Bennett5": (bennett, bennett_by_hand),
}


@dataclass(frozen=True)
class Dataset:
    """One regression: observations, two starts from afar and from near, and what is certified."""

    name: str
    starts: list[list[float]]
    certified: list[float]
    deviations: list[float]
    residual_sum_of_squares: float
    x: list[Any]
    y: list[float]

    @property
    def model(self) -> Model:
        """The response as a function of the parameters and the predictor."""
        return MODELS[self.name][0]

    def residuals(self, b: Sequence[Any]) -> list[Any]:
        """Compute model minus observation for each observation."""
        return [self.model(b, x) - y for x, y in zip(self.x, self.y, strict=True)]

    def by_hand(self, np: Any, b: Any) -> tuple[Any, Any]:
        """Compute the same and the Jacobian, as written by hand for arrays."""
        _, formula = MODELS[self.name]
        value, columns = formula(np, b, np.array(self.x).T)
        return value - np.array(self.y), np.stack(columns, axis=1)


def datasets() -> dict[str, Dataset]:
    """Read all data sets."""
    raw = json.loads((Path(__file__).parent / "data" / "nist_strd.json").read_text(encoding="utf-8"))
    found = {}
    for name in MODELS:
        entry = raw[name]
        x = entry["x"] if "x" in entry else [list(pair) for pair in zip(entry["x1"], entry["x2"], strict=True)]
        y = [math.log(one) for one in entry["y"]] if name == "Nelson" else entry["y"]  # its response is log(y)
        keys = ("starts", "certified", "deviations", "residual_sum_of_squares")
        found[name] = Dataset(name, x=x, y=y, **{key: entry[key] for key in keys})
    return found
