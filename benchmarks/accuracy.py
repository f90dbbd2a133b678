"""Count wrong derivatives: ours, JAX's, PyTorch's and autograd's, against differences at many digits.

`python -m benchmarks.accuracy` writes docs/accuracy.md. An engine that is not installed is left out.
"""

import argparse
import importlib
import importlib.util
import math
import operator
import platform
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import product
from pathlib import Path
from typing import Any

import autodiff
from benchmarks import engines
from benchmarks.__main__ import installed_version
from benchmarks.harness import markdown

Point = tuple[float, ...]
By = tuple[int, ...]
Maker = str | Callable[[Any], Callable[..., Any]] | None

PAGE = Path(__file__).resolve().parent.parent / "docs" / "accuracy.md"
LIMIT = 1e-10  # a relative error above this is wrong
SMALLEST, LARGEST = sys.float_info.min, sys.float_info.max
MODES = ("reverse", "forward", "compiled")


# ---- where to try


def both_signs(numbers: Iterable[float]) -> tuple[float, ...]:
    return tuple(sign * x for x in numbers for sign in (1.0, -1.0))


TINY = (1e-300, 1e-200, 1e-100, 1e-50, 1e-20, 1e-16, 1e-12, 1e-8, 1e-5, 1e-3)
USUAL = (0.02, 0.1, 0.3, 0.5, 0.6931471805599453, 0.9, 1.0, 1.1, 1.7, 2.5, 3.3, 5.0, 8.0, 12.0, 17.0, 23.0, 30.0, 36.7)
TAIL = (40.0, 60.0, 100.0, 250.0, 350.0, 500.0, 700.0)
HUGE = (1e3, 1e5, 1e8, 1e12, 1e16, 1e22, 1e50, 1e75, 1e100, 1e150, 1e200, 1e300)
NEAR = tuple(2.0**-k for k in (1, 2, 4, 8, 12, 20, 27, 35, 44, 52))

DOMAINS: dict[str, tuple[float, ...]] = {
    "any": both_signs((*TINY, *USUAL, *TAIL, *HUGE)),
    "not tiny": both_signs((1e-150, 1e-100, 1e-8, *USUAL, *TAIL, 1e5, 1e16, 1e50, 1e100, 1e150)),
    "positive": (*TINY, *USUAL, *TAIL, *HUGE, *(1.0 + x for x in NEAR), *(1.0 - x for x in NEAR[1:])),
    "tails": both_signs((*TINY, *USUAL, *TAIL)),
    "to 26": both_signs((*TINY, *(x for x in USUAL if x <= 26.0), 26.0)),
    "to 37": both_signs((*TINY, *USUAL)),
    "not 1": both_signs((*TINY, *(x for x in USUAL if x != 1.0), *TAIL)),
    "inside": both_signs((*TINY, *(x for x in USUAL if x < 1.0), *(1.0 - x for x in NEAR[1:]))),
    "above -1": (*both_signs(TINY), *USUAL, *TAIL, *HUGE, *(x - 1.0 for x in NEAR)),
    "above 1": (*(1.0 + x for x in NEAR), *(x for x in (*USUAL, *TAIL, *HUGE) if x > 1.0)),
    "probability": (
        *TINY,
        0.02,
        0.1,
        0.25,
        0.3,
        *(0.5 + x for x in both_signs(NEAR[2:])),
        *(1.0 - x for x in NEAR[1:]),
    ),
    "gamma": (
        *TINY[2:],
        *USUAL,
        60.0,
        100.0,
        170.0,
        *(-x - 0.25 for x in (*USUAL, 60.5, 100.0)),
        -1e-50,
        -2.0 + 2**-40,
    ),
    "psi": (
        *TINY,
        *USUAL,
        *TAIL,
        *HUGE,
        *(-x - 0.25 for x in (*USUAL, *TAIL)),
        -1e-50,
        -1e-8,
        -2.0 + 2**-40,
        1.4616321,
    ),
}


def pairs(values: Sequence[float], count: int, *always: Point) -> tuple[Point, ...]:
    """Choose some pairs of values, always the same ones."""
    every = [pair for pair in product(values, repeat=2) if pair not in always]
    return (*always, *random.Random(0).sample(every, count - len(always)))


ALIKE = ((1e-200, 1e-200), (-1e-200, 1e-200), (1e-200, 2e-200), (1e150, 1e150), (1e200, -1e200), (3.0, 4.0))
PLANE = pairs(both_signs((1e-200, 1e-100, 1e-20, 1e-5, 0.3, 1.0, 2.0, 7.0, 1e5, 1e20, 1e100, 1e200)), 120, *ALIKE)
RATES = pairs(both_signs((1e-150, 1e-60, 1e-8, 0.3, 1.0, 7.0, 1e8, 1e60, 1e150)), 90, *ALIKE[:4])
LOGITS = pairs(both_signs((1e-9, 0.3, 1.0, 3.0, 20.0, 36.0, 40.0, 300.0, 700.0, 1000.0, 1e6, 1e300)), 90)
UNEQUAL = tuple((x, y) for x, y in LOGITS if x != y)
QUOTIENTS = tuple((x, y) for x in both_signs((0.3, 1.7, 5.2, 33.3, 1e8 + 0.3)) for y in both_signs((0.7, 1.0, 2.9)))
POWERS = (
    *product((1e-300, 1e-100, 1e-5, 0.3, 0.9999999, 1.0, 1.1, 2.0, 7.0, 1e5, 1e100, 1e300), (-1.0, 0.0, 0.5, 1.0)),
    *product(
        (1e-100, 1e-5, 0.3, 0.9999999, 1.1, 2.0, 7.0, 1e5, 1e100), (-3.0, -1.5, -1e-9, 1e-9, 0.1, 1.5, 2.0, 2.5, 3.0)
    ),
    *product((0.5, 0.999, 1.001, 2.0), (-1000.0, -300.5, 50.0, 300.25, 1000.0)),
    *product((-0.3, -2.0, -1e50), (-3.0, -1.0, 0.0, 1.0, 2.0, 5.0)),
)


# ---- definitions that mpmath lacks


def mp() -> Any:
    return importlib.import_module("mpmath").mp


def exact_sinc(x: Any) -> Any:
    return mp().sin(mp().pi * x) / (mp().pi * x)


def exact_softplus(x: Any) -> Any:
    return mp().log(1 + mp().exp(x))


def exact_sigmoid(x: Any) -> Any:
    return 1 / (1 + mp().exp(-x))


def exact_normal(x: Any) -> Any:
    return mp().erfc(-x / mp().sqrt(2)) / 2


def exact_gelu_tanh(x: Any) -> Any:
    return x * exact_sigmoid(2 * mp().sqrt(2 / mp().pi) * (x + mp().mpf("0.044715") * x**3))


def exact_selu(x: Any) -> Any:
    scale, alpha = mp().mpf("1.0507009873554804934193349852946"), mp().mpf("1.6732632423543772848170429916717")
    return scale * (x if x > 0 else alpha * mp().expm1(x))


def exact_cbrt(x: Any) -> Any:
    return mp().sign(x) * mp().cbrt(abs(x))


def exact_sum(*xs: Any) -> Any:
    return mp().log(sum(mp().exp(x) for x in xs))


# ---- the table


@dataclass(frozen=True)
class Function:
    """A function: its definition, the points, and where each engine keeps it (None: nowhere)."""

    name: str
    exact: Callable[..., Any]
    points: tuple[Point, ...]
    jax: Maker = None
    torch: Maker = None
    autograd: Maker = None
    ours: Callable[..., Any] | None = None
    slope: Callable[..., Any] | None = None
    """slope(i, *args), the derivative by argument i, where the definition is slow to take differences of."""

    @property
    def arity(self) -> int:
        return len(self.points[0])

    def orders(self) -> list[By]:
        """List the derivatives to look at: first, then second, mixed ones in both orders."""
        count = range(self.arity)
        return [*product(count), *product(count, repeat=2)]


def unary(name: str, exact: Any, domain: str, *makers: Maker, **more: Any) -> Function:
    definition = exact if callable(exact) else (lambda x: getattr(mp(), exact)(x))
    return Function(name, definition, tuple((x,) for x in DOMAINS[domain]), *makers, **more)


def logits(row: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function of a list of numbers a function of two numbers."""
    return lambda *xs: row(list(xs))


def mpf(x: float) -> Any:
    return mp().mpf(x)


# fmt: off
FUNCTIONS: tuple[Function, ...] = (
    # powers, exponentials, logarithms
    unary("square",     lambda x: x * x,               "not tiny",  "numpy.square",     "square",     "numpy.square"),
    unary("reciprocal", lambda x: 1 / x,               "not tiny",  "numpy.reciprocal", "reciprocal", "numpy.reciprocal"),
    unary("sqrt",       "sqrt",                        "positive",  "numpy.sqrt",       "sqrt",       "numpy.sqrt"),
    unary("rsqrt",      lambda x: 1 / mp().sqrt(x),    "positive",  "lax.rsqrt",        "rsqrt",      None),
    unary("cbrt",       exact_cbrt,                    "any",       "numpy.cbrt",       None,         None),
    unary("exp",        "exp",                         "tails",     "numpy.exp",        "exp",        "numpy.exp"),
    unary("exp2",       lambda x: mpf(2) ** x,         "tails",     "numpy.exp2",       "exp2",       "numpy.exp2"),
    unary("expm1",      "expm1",                       "tails",     "numpy.expm1",      "expm1",      "numpy.expm1"),
    unary("log",        "log",                         "positive",  "numpy.log",        "log",        "numpy.log"),
    unary("log2",       lambda x: mp().log(x, 2),      "positive",  "numpy.log2",       "log2",       "numpy.log2"),
    unary("log10",      lambda x: mp().log(x, 10),     "positive",  "numpy.log10",      "log10",      "numpy.log10"),
    unary("log1p",      lambda x: mp().log(1 + x),     "above -1",  "numpy.log1p",      "log1p",      "numpy.log1p"),
    unary("x ** 2",     lambda x: x**2,                "not tiny",  *[lambda _: lambda x: x**2] * 3, ours=lambda x: x**2),
    unary("x ** 0.5",   "sqrt",                        "positive",  *[lambda _: lambda x: x**0.5] * 3, ours=lambda x: x**0.5),
    unary("x ** 1.5",   lambda x: x**mpf(1.5),         "positive",  *[lambda _: lambda x: x**1.5] * 3, ours=lambda x: x**1.5),
    unary("x ** -1",    lambda x: 1 / x,               "not tiny",  *[lambda _: lambda x: x**-1.0] * 3, ours=lambda x: x**-1),
    unary("2 ** x",     lambda x: mpf(2) ** x,         "tails",     *[lambda _: lambda x: 2.0**x] * 3, ours=lambda x: 2.0**x),
    # trigonometric and hyperbolic functions
    unary("sin",        "sin",                         "any",       "numpy.sin",        "sin",        "numpy.sin"),
    unary("cos",        "cos",                         "any",       "numpy.cos",        "cos",        "numpy.cos"),
    unary("tan",        "tan",                         "any",       "numpy.tan",        "tan",        "numpy.tan"),
    unary("asin",       "asin",                        "inside",    "numpy.arcsin",     "asin",       "numpy.arcsin"),
    unary("acos",       "acos",                        "inside",    "numpy.arccos",     "acos",       "numpy.arccos"),
    unary("atan",       "atan",                        "any",       "numpy.arctan",     "atan",       "numpy.arctan"),
    unary("sinh",       "sinh",                        "tails",     "numpy.sinh",       "sinh",       "numpy.sinh"),
    unary("cosh",       "cosh",                        "tails",     "numpy.cosh",       "cosh",       "numpy.cosh"),
    unary("tanh",       "tanh",                        "tails",     "numpy.tanh",       "tanh",       "numpy.tanh"),
    unary("asinh",      "asinh",                       "any",       "numpy.arcsinh",    "asinh",      "numpy.arcsinh"),
    unary("acosh",      "acosh",                       "above 1",   "numpy.arccosh",    "acosh",      "numpy.arccosh"),
    unary("atanh",      "atanh",                       "inside",    "numpy.arctanh",    "atanh",      "numpy.arctanh"),
    unary("degrees",    lambda x: x * 180 / mp().pi,   "not tiny",  "numpy.degrees",    "rad2deg",    "numpy.degrees"),
    unary("radians",    lambda x: x * mp().pi / 180,   "not tiny",  "numpy.radians",    "deg2rad",    "numpy.radians"),
    # special functions
    unary("erf",        "erf",                         "to 26",     "scipy.special.erf",     "erf",    "scipy.special.erf"),
    unary("erfc",       "erfc",                        "to 26",     "scipy.special.erfc",    "erfc",   "scipy.special.erfc"),
    unary("gamma",      "gamma",                       "gamma",     "scipy.special.gamma",   None,     "scipy.special.gamma",
          slope=lambda i, x: mp().gamma(x) * mp().digamma(x)),
    unary("lgamma",     "loggamma",                    "psi",       "scipy.special.gammaln", "lgamma", "scipy.special.gammaln",
          slope=lambda i, x: mp().psi(0, x)),
    unary("digamma",    "digamma",                     "psi",       "scipy.special.digamma", "digamma", "scipy.special.digamma",
          slope=lambda i, x: mp().psi(1, x)),
    unary("trigamma",   lambda x: mp().psi(1, x),      "psi",       lambda jax: partial(jax.scipy.special.polygamma, 1),
          lambda torch: partial(torch.polygamma, 1), lambda autograd: partial(autograd.scipy.special.polygamma, 1),
          ours=lambda x: autodiff.polygamma(1, x), slope=lambda i, x: mp().psi(2, x)),
    unary("sinc",       exact_sinc,                    "any",       "numpy.sinc",       "sinc",       "numpy.sinc"),
    # activations
    unary("sigmoid",    exact_sigmoid,                 "tails",     "nn.sigmoid",       "sigmoid",    "scipy.special.expit"),
    unary("logit",      lambda p: mp().log(p / (1 - p)), "probability", "scipy.special.logit", "logit", "scipy.special.logit"),
    unary("softplus",   exact_softplus,                "tails",     "nn.softplus",      "nn.functional.softplus", None),
    unary("logsigmoid", lambda x: -exact_softplus(-x), "tails",     "nn.log_sigmoid",   "nn.functional.logsigmoid", None),
    unary("relu",       lambda x: max(x, mpf(0)),      "any",       "nn.relu",          "relu",       None),
    unary("leaky_relu", lambda x: x if x > 0 else mpf(0.01) * x, "any", "nn.leaky_relu", "nn.functional.leaky_relu", None),
    unary("elu",        lambda x: x if x > 0 else mp().expm1(x), "tails", "nn.elu",     "nn.functional.elu", None),
    unary("selu",       exact_selu,                    "tails",     "nn.selu",          "selu",       None),
    unary("gelu",       lambda x: x * exact_normal(x), "to 37", lambda jax: partial(jax.nn.gelu, approximate=False), "nn.functional.gelu"),
    unary("gelu_tanh",  exact_gelu_tanh,               "to 26",     "nn.gelu", lambda torch: partial(torch.nn.functional.gelu, approximate="tanh")),
    unary("silu",       lambda x: x * exact_sigmoid(x), "tails",    "nn.silu",          "nn.functional.silu", None),
    unary("softsign",   lambda x: x / (1 + abs(x)),    "any",       "nn.soft_sign",     "nn.functional.softsign", None),
    unary("mish",       lambda x: x * mp().tanh(exact_softplus(x)), "tails", "nn.mish", "nn.functional.mish", None),
    unary("hard_tanh",  lambda x: max(mpf(-1), min(x, mpf(1))), "not 1", "nn.hard_tanh", "nn.functional.hardtanh", None),
    unary("abs",        abs,                           "any",       "numpy.abs",        "abs",        "numpy.abs"),
    # two arguments
    Function("x * y",     lambda x, y: x * y,          RATES,       *["operator.mul"] * 3, ours=operator.mul),
    Function("x / y",     lambda x, y: x / y,          RATES,       *["operator.truediv"] * 3, ours=operator.truediv),
    Function("x ** y",    lambda x, y: x**y,           POWERS,      "numpy.power",      "pow",        "numpy.power", ours=operator.pow),
    Function("x % y",     lambda x, y: x - y * mp().floor(x / y), QUOTIENTS, "numpy.mod", "remainder", "numpy.mod", ours=operator.mod),
    Function("fmod",      lambda x, y: x - y * mp().sign(x / y) * mp().floor(abs(x / y)), QUOTIENTS, "numpy.fmod", "fmod", "numpy.fmod"),
    Function("remainder", lambda x, y: x - y * mp().nint(x / y), QUOTIENTS),
    Function("hypot",     lambda x, y: mp().sqrt(x * x + y * y), PLANE, "numpy.hypot",  "hypot",      None),
    Function("atan2",     lambda y, x: mp().atan2(y, x), PLANE,     "numpy.arctan2",    "atan2",      "numpy.arctan2"),
    Function("copysign",  lambda x, y: abs(x) * mp().sign(y), RATES, "numpy.copysign",  "copysign",   None),
    Function("maximum",   max,                         UNEQUAL,     "numpy.maximum",    "maximum",    "numpy.maximum"),
    Function("minimum",   min,                         UNEQUAL,     "numpy.minimum",    "minimum",    "numpy.minimum"),
    Function("logaddexp", exact_sum,                   LOGITS,      "numpy.logaddexp",  "logaddexp",  "numpy.logaddexp"),
    Function("logsumexp", exact_sum,                   LOGITS,
             lambda jax: lambda x, y: jax.scipy.special.logsumexp(jax.numpy.stack([x, y])),
             lambda torch: lambda x, y: torch.logsumexp(torch.stack([x, y]), 0),
             lambda autograd: lambda x, y: autograd.scipy.special.logsumexp(autograd.numpy.array([x, y]), axis=0), ours=logits(autodiff.logsumexp)),
    Function("softmax",   lambda x, y: mp().exp(x) / (mp().exp(x) + mp().exp(y)), LOGITS,
             lambda jax: lambda x, y: jax.nn.softmax(jax.numpy.stack([x, y]))[0],
             lambda torch: lambda x, y: torch.softmax(torch.stack([x, y]), 0)[0], ours=lambda x, y: autodiff.softmax([x, y])[0]),
    Function("log_softmax", lambda x, y: x - exact_sum(x, y), LOGITS,
             lambda jax: lambda x, y: jax.nn.log_softmax(jax.numpy.stack([x, y]))[0],
             lambda torch: lambda x, y: torch.log_softmax(torch.stack([x, y]), 0)[0], ours=lambda x, y: autodiff.log_softmax([x, y])[0]),
    Function("softmax_cross_entropy", lambda x, y: exact_sum(x, y) - x, LOGITS, ours=lambda x, y: autodiff.softmax_cross_entropy([x, y], 0)),
)
# fmt: on


# ---- the truth


def differences(f: Callable[..., Any], point: Sequence[Any], by: By, step: Any) -> tuple[Any, Any]:
    """Return nested central differences, and the size of their rounding error."""
    if not by:
        value = mpf(f(*point))
        return value, max(abs(value), *map(abs, point), 1) * mpf(10) ** (5 - mp().dps)
    i, x = by[0], point[by[0]]
    h = step * min(abs(x) or 1, 1)
    ends = [differences(f, [*point[:i], x + move, *point[i + 1 :]], by[1:], step) for move in (h, -h)]
    return (ends[0][0] - ends[1][0]) / (2 * h), (ends[0][1] + ends[1][1]) / h


def derivative(f: Callable[..., Any], point: Point, by: By) -> Any:
    """Differentiate once by each argument listed: as many digits as it takes to see twenty; 0 if none can be seen."""
    digits = 130
    while digits < 1200:
        with mp().workdps(digits):
            found, noise = differences(f, [mpf(x) for x in point], by, mpf(10) ** -30)
            if abs(found) > noise * mpf(10) ** 20:
                return mpf(0) if is_nothing(f, point, by, found) else found
        digits *= 2
    return mpf(0)


def is_nothing(f: Callable[..., Any], point: Point, by: By, found: Any) -> bool:
    """Say whether what was found is the error of the differences, for the derivative is 0: it shrinks with the step."""
    if abs(found) > mpf(10) ** -25:
        return False
    with mp().workdps(2 * mp().dps):
        again, _ = differences(f, [mpf(x) for x in point], by, mpf(10) ** -45)
        return bool(abs(again) < abs(found) / 2)


def truth(function: Function, point: Point, by: By) -> Any:
    """Return the derivative; None where it does not exist as a real number."""
    try:
        if function.slope is not None and by:
            return derivative(partial(function.slope, by[0]), point, by[1:])
        return derivative(function.exact, point, by)
    except (TypeError, ValueError, ZeroDivisionError):
        return None


def error(found: float, want: Any) -> float:
    """Return the relative error; infinity for what is not finite; 0 where there are no digits to compare."""
    if not math.isfinite(found):
        return math.inf
    return float(abs(found - want) / abs(want)) if abs(want) >= SMALLEST else 0.0


# ---- engines: all derivatives of a function at all its points

Table = dict[By, list[float]]


def ours(function: Function, mode: str) -> Table:
    """Differentiate with Chainrule, point by point."""
    f = function.ours or getattr(autodiff, function.name)
    every = tuple(range(function.arity))
    gradient = {"forward": forward_gradient, "reverse": autodiff.grad}.get(mode, autodiff.grad)(f, every)
    hessian = (forward_jacobian if mode == "forward" else autodiff.jacobian)(autodiff.grad(f, every), every)
    if mode == "compiled":
        gradient, hessian = autodiff.compile(gradient), autodiff.compile(hessian)
    first = [attempt(gradient, point, function.arity) for point in function.points]
    second = [attempt(hessian, point, function.arity**2) for point in function.points]
    rows = [[*a, *b] for a, b in zip(first, second, strict=True)]
    return dict(zip(function.orders(), map(list, zip(*rows, strict=True)), strict=True))


def attempt(f: Callable[..., Any], point: Point, count: int) -> list[float]:
    """Call a function, and flatten its result; an exception counts as nan."""
    try:
        return flatten(f(*point))
    except (ArithmeticError, ValueError):
        return [math.nan] * count


def flatten(tree: Any) -> list[float]:
    return [x for item in tree for x in flatten(item)] if isinstance(tree, tuple | list) else [tree]


def forward_gradient(f: Callable[..., Any], argnums: tuple[int, ...]) -> Callable[..., Any]:
    return forward_jacobian(f, argnums)


def forward_jacobian(f: Callable[..., Any], argnums: tuple[int, ...]) -> Callable[..., Any]:
    """Differentiate in forward mode, one argument at a time: a column for each."""

    def columns(*args: float) -> Any:
        tangents = [[float(i == j) for j in argnums] for i in argnums]
        return [autodiff.jvp(f, args, tangent)[1] for tangent in tangents]

    return columns


def with_jax(function: Function) -> Table:
    """Differentiate with JAX: reverse mode, then forward over reverse, as `jax.hessian` does."""
    jax = engines.jax()
    f = find(jax, function.jax)
    every = tuple(range(function.arity))
    columns = [jax.numpy.array(column) for column in zip(*function.points, strict=True)]
    first = jax.jit(jax.vmap(jax.grad(f, every)))(*columns)
    second = jax.jit(jax.vmap(jax.hessian(f, every)))(*columns)
    arrays = [*first, *(entry for row in second for entry in row)]
    return dict(zip(function.orders(), [array.tolist() for array in arrays], strict=True))


def with_torch(function: Function) -> Table:
    """Differentiate with PyTorch: the sum over all points has each point's derivative as its own."""
    torch = engines.torch()
    f = find(torch, function.torch)
    columns = [torch.tensor(column, requires_grad=True) for column in zip(*function.points, strict=True)]

    def slopes(y: Any) -> list[Any]:
        if not y.requires_grad:
            return [torch.zeros(len(function.points))] * function.arity
        return list(torch.autograd.grad(y.sum(), columns, create_graph=True, materialize_grads=True))

    first = slopes(f(*columns))
    arrays = [*first, *(entry for slope in first for entry in slopes(slope))]
    zeros = torch.zeros(len(function.points))  # PyTorch's symbolic zeros cannot be listed
    return dict(zip(function.orders(), [(array + zeros).tolist() for array in arrays], strict=True))


def with_autograd(function: Function) -> Table:
    """Differentiate with autograd, elementwise."""
    import autograd
    import autograd.scipy.special
    import numpy as np
    from autograd import elementwise_grad

    f = find(autograd, function.autograd)
    columns = [np.array(column) for column in zip(*function.points, strict=True)]
    with np.errstate(all="ignore"):
        arrays = [reduce(elementwise_grad, by, f)(*columns) for by in function.orders()]
    return dict(zip(function.orders(), [array.tolist() for array in arrays], strict=True))


def find(module: Any, maker: Maker) -> Callable[..., Any]:
    """Look up a function by its dotted name in a module (or in `operator`), or have it made."""
    if not isinstance(maker, str):
        assert maker is not None
        return maker(module)
    home = sys.modules if maker.startswith("operator.") else None
    names = maker.split(".")
    result: Any = reduce(getattr, names, module) if home is None else getattr(operator, names[1])
    return result  # type: ignore[no-any-return]


# ---- comparison


@dataclass
class Score:
    """How one engine did on one kind of derivative of one function."""

    points: int = 0
    wrong: int = 0
    worst: float = 0.0
    where: Point = ()
    missing: bool = False

    def add(self, point: Point, found: float, want: Any) -> None:
        """Judge one derivative."""
        off = error(found, want)
        self.points += 1
        self.wrong += off > LIMIT
        if off > self.worst or not self.where:
            self.worst, self.where = off, point


KINDS: dict[str, Callable[[By], bool]] = {
    "first": lambda by: len(by) == 1,
    "second": lambda by: len(by) == 2 and by[0] == by[1],
    "mixed": lambda by: len(by) == 2 and by[0] != by[1],
}
Scores = dict[tuple[str, str, str], Score]  # engine, function, kind


def every_engine() -> dict[str, Callable[[Function], list[Table]]]:
    """List the engines that are installed. Ours runs in all modes, and each is judged."""
    others = {"JAX": ("jax", with_jax), "PyTorch": ("torch", with_torch), "autograd": ("autograd", with_autograd)}
    installed = {
        title: partial(peer, module, tables)
        for title, (module, tables) in others.items()
        if importlib.util.find_spec(module)
    }
    return {"Chainrule": lambda function: [ours(function, mode) for mode in MODES], **installed}


def peer(module: str, tables: Callable[[Function], Table], function: Function) -> list[Table]:
    """Run another engine, if it has the function and can differentiate it."""
    if getattr(function, module) is None:
        return []
    try:
        return [tables(function)]
    except (NotImplementedError, TypeError, AttributeError) as error:
        print(f"{function.name}: {module} has no derivatives ({type(error).__name__})", file=sys.stderr)
        return []


def judge(function: Function, tables: dict[str, list[Table]], scores: Scores) -> int:
    """Compare all engines at the points where the value is a float; return how many those are."""
    points = [i for i, point in enumerate(function.points) if abs(truth(function, point, ()) or 0) <= LARGEST]
    for kind, belongs in KINDS.items():
        orders = [by for by in function.orders() if belongs(by)]
        if not orders:
            continue
        wanted = {(i, by): truth(function, function.points[i], by) for i in points for by in orders}
        for engine, found in tables.items():
            score = scores[engine, function.name, kind] = Score(missing=not found)
            for (i, by), want in wanted.items():
                if want is not None and abs(want) <= LARGEST:
                    for table in found:
                        score.add(function.points[i], table[by][i], want)
    return len(points)


# ---- the report


def show(score: Score | None) -> str:
    """Print the worst error, and in brackets how many are wrong."""
    if score is None or score.missing:
        return "-"
    worst = "not finite" if math.isinf(score.worst) else "0" if not score.worst else f"{score.worst:.0e}"
    return f"{worst} ({score.wrong})" if score.wrong else worst


def table(kind: str, scores: Scores, names: Sequence[str]) -> str:
    """Lay out one kind of derivative, a row for each function."""
    rows = []
    for function in FUNCTIONS:
        mine = scores.get(("Chainrule", function.name, kind))
        if mine is not None:
            where = ", ".join(f"{x:.6g}" for x in mine.where) if mine.worst else ""
            others = [show(scores.get((name, function.name, kind))) for name in names if name != "Chainrule"]
            rows.append([f"`{function.name}`", str(mine.points // len(MODES)), show(mine), where, *others])
    return markdown(["function", "derivatives", "Chainrule", "at", *(n for n in names if n != "Chainrule")], rows)


def totals(scores: Scores, names: Sequence[str]) -> str:
    """Lay out how many derivatives each engine gets wrong, of those it has."""
    rows = []
    for name in names:
        modes = len(MODES) if name == "Chainrule" else 1
        cells = []
        for kind in KINDS:
            own = [s for (engine, _, k), s in scores.items() if engine == name and k == kind and not s.missing]
            cells.append(f"{sum(s.wrong for s in own):,} of {sum(s.points for s in own) // modes:,}")
        rows.append([name, str(len({f for (e, f, _), s in scores.items() if e == name and not s.missing})), *cells])
    return markdown(["wrong derivatives", "functions", *KINDS], rows)


INTRODUCTION = """\
# How accurate derivatives are

This page is written by `make accuracy`. It compares derivatives of {functions} functions at {points:,} points, chosen
to be hard: tails, tiny and huge numbers, neighbours of singular points. The truth is computed with mpmath, from
differences of the definition at 130 digits or as many more as it takes to see twenty.

A derivative is **wrong** if its relative error is above 1e-10, or if it is not finite where the truth is. Where the
truth is smaller than the smallest normal double (2.2e-308), only that is asked. Points are left out where the value
of the function, or the derivative, is beyond the range of doubles or does not exist. "Mixed" counts both orders of
differentiation. Chainrule is judged in three modes: reverse mode (over reverse mode), forward mode (over reverse
mode) and compiled; the worst of them counts. JAX runs with 64 bits, jitted, its second derivatives by `jax.hessian`;
PyTorch and autograd in double precision, reverse mode over reverse mode. Each is asked only for functions it has.

```python
>>> from autodiff import grad, sigmoid
>>> grad(sigmoid)(40.0), grad(grad(sigmoid))(-700.0)
(4.248354255291589e-18, 9.85967654375977e-305)

```
"""

LIMITS = """\
The tables that follow give the worst relative error, in brackets the number of wrong derivatives, and a dash where an
engine lacks the function (or its derivative); "at" is where Chainrule's worst error is.

## Where conditioning forbids more

No rule computes 12 digits of a derivative next to one of its roots, unless the root is a double: `erf'(26)` is
`exp(-676)`, and half a unit in the last place of 676 changes it by 6e-14; `gelu''` changes its sign at the square root
of 2, which is no double. What holds everywhere, and is tested (`tests/reference.py`), is an error of at most 1e-12 of
the derivative, or what four roundings of an argument would change: for `x ** y`, `power_derivative`, `atan2`, `sech`,
`gamma`, `lgamma`, `digamma`, `polygamma`, `normal_pdf`, `gelu`, `gelu_tanh`, `silu`, `mish`, `sinc`, and for softmax and
its relatives four roundings of a logit of size 1 (three logits and more; of two, entries close to 1/2 are exact too).
Third and fourth derivatives: 1e-10, or what eight roundings of the argument would change. Those of `x ** y`, mixed ones
included, are right to 1e-12 of the sum of their terms over the whole range of floats (`tests/autodiff/test_powers.py`):
where terms cancel, as in `x ** (y - 1) * (1 + y * log(x))` near its root, no rounded sum can be better.
"""


def report(scores: Scores, names: Sequence[str], points: int) -> str:
    """Write the page."""
    parts = [INTRODUCTION.format(functions=len(FUNCTIONS), points=points), totals(scores, names) + "\n", LIMITS]
    titles = {"first": "First derivatives", "second": "Second derivatives", "mixed": "Mixed second derivatives"}
    for kind, title in titles.items():
        parts.append(f"## {title}\n\n{table(kind, scores, names)}\n")
    packages = [f"{name} {installed_version(name)}" for name in ("mpmath", "jax", "torch", "autograd")]
    parts.append(f"Versions: {platform.python_implementation()} {platform.python_version()}, {', '.join(packages)}.\n")
    return "\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print the totals, write the page; fail if a derivative of ours is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="functions to look at (default: all; writes the page)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the page goes")
    options = parser.parse_args(arguments)
    chosen = [function for function in FUNCTIONS if not options.names or function.name in options.names]
    installed, scores, points = every_engine(), {}, 0
    for function in chosen:
        points += judge(function, {name: tables(function) for name, tables in installed.items()}, scores)
    output = options.output or (None if options.names else PAGE)
    if output:
        output.write_text(report(scores, list(installed), points), encoding="utf-8")
    print(totals(scores, list(installed)))
    wrong = sum(score.wrong for (engine, *_), score in scores.items() if engine == "Chainrule")
    print(f"\n{len(chosen)} functions, {points:,} points: {wrong} wrong at {LIMIT:.0e}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
