"""What every primitive should give: its definition in mpmath, and where to try it.

The derivatives come from differences of the definition at so many digits that nothing is left to judge;
no formula of the engine is repeated here.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from mpmath import mp, mpf, workdps

from autodiff import grad, hessian
from autodiff.primitives import Primitive

Point = tuple[float, ...]
Points = st.SearchStrategy[Point]

MOST_DIGITS = 2000
LARGEST, SMALLEST = mpf(math.nextafter(math.inf, 0.0)), mpf(5e-324)


# ---- differences at many digits


def derivative(f: Callable[..., Any], point: Sequence[float], by: Sequence[int], step_digits: int = 30) -> Any:
    """Differentiate f once by each argument listed in `by`, correct to about 20 digits.

    The number of digits grows until the differences stand clear of their own rounding: sigmoid'(700) needs 400.
    What is exactly 0 comes out as the error of the differences, about 10 to the power -2 step_digits.

    >>> print(mp.nstr(derivative(mp.sin, (2.0,), (0, 0)), 15))
    -0.909297426825682
    """
    digits = 130
    scale = max(1.0, *map(abs, point)) if point else 1.0
    while True:
        with workdps(digits):
            step = mpf(10) ** -step_digits
            found, noise = _differences(f, [mpf(x) for x in point], list(by), step, mpf(scale))
            if abs(found) > noise * mpf(10) ** 20:
                return found
        if digits > MOST_DIGITS:
            return mpf(0)
        digits *= 2


def _differences(f: Callable[..., Any], point: list[Any], by: list[int], step: Any, scale: Any) -> tuple[Any, Any]:
    """Return nested central differences, and the size of their rounding error for intermediate results up to scale."""
    if not by:
        value = mpf(f(*point))
        return value, max(abs(value), scale) * mpf(10) ** (5 - mp.dps)
    i, x = by[0], point[by[0]]
    h = step * (min(abs(x), 1) if x else 1)
    ends = [_differences(f, [*point[:i], x + move, *point[i + 1 :]], by[1:], step, scale) for move in (h, -h)]
    return (ends[0][0] - ends[1][0]) / (2 * h), (ends[0][1] + ends[1][1]) / h


# ---- comparison


@dataclass(frozen=True)
class Reference:
    """The definition of a primitive, and where to try it."""

    exact: Callable[..., Any]
    """The definition, on mpmath's numbers."""
    points: Points
    fixed: tuple[Point, ...] = ()
    """Points at which peers fail, tried always."""
    active: Callable[[Point], Iterable[int]] = lambda point: range(len(point))
    """The arguments by which to differentiate: not the order of polygamma."""
    ulps: float = 0.0
    """Near a root of a derivative no rule is exact to 1e-12 of the result: allow for that many roundings of the
    arguments, which is what even a perfect rule would suffer if its argument came rounded."""
    unit: float = 0.0
    """The least argument that counts in such a rounding: exp(x) of a logit x = 1e-100 is rounded like x = 1."""
    slope: Callable[..., Any] | None = None
    """slope(i, *args), the derivative by argument i, where the definition is too slow to take differences of."""

    def derivative(self, point: Point, by: Sequence[int], step_digits: int = 30) -> Any:
        if self.slope is not None and by:
            return derivative(lambda *args: self.slope(by[0], *args), point, by[1:], step_digits)  # type: ignore[misc]
        return derivative(self.exact, point, by, step_digits)

    def allowance(self, point: Point, by: Sequence[int], ulps: float) -> Any:
        """Return how much some roundings of the arguments move a derivative."""
        moves = (max(abs(point[i]), self.unit) * abs(self.derivative(point, [*by, i])) for i in self.active(point))
        return mpf(2) ** -53 * ulps * sum(moves, mpf(0))


def check(
    reference: Reference,
    point: Point,
    by: Sequence[int],
    got: float,
    tolerance: float = 1e-12,
    ulps: float | None = None,
) -> None:
    """Raise AssertionError if a derivative (of order 0: the value) is off by more than 1e-12 of it."""
    want = reference.derivative(point, by)
    if _agree(got, want, tolerance):
        return
    ulps = reference.ulps if ulps is None else ulps
    if ulps and _agree(got, want, tolerance, reference.allowance(point, by, ulps)):
        return
    if got == 0.0 and abs(reference.derivative(point, by, step_digits=400)) < mpf(10) ** -700:
        return
    what = f"derivative by {tuple(by)}" if by else "value"
    raise AssertionError(f"{what} at {point!r}: got {got!r}, should be {mp.nstr(want, 20)}")


def _agree(got: float, want: Any, tolerance: float, allowance: Any = 0) -> bool:
    if got == math.copysign(math.inf, want):
        return bool(abs(want) > LARGEST * (1 - tolerance))
    return bool(abs(mpf(got) - want) <= tolerance * abs(want) + allowance + 8 * SMALLEST)  # false for nan


def check_value(primitive: Primitive, reference: Reference, point: Point) -> None:
    """Raise AssertionError unless the value is right; functions of `math` are right by definition."""
    if getattr(primitive.value, "__module__", "") != "math":
        check(reference, point, (), primitive(*point))


def check_first(primitive: Primitive, reference: Reference, point: Point) -> None:
    """Raise AssertionError unless every local derivative, as the reverse sweep evaluates it, is right."""
    found = primitive.locals(primitive(*point), point)
    assert len(found) == len(point)
    for i in reference.active(point):
        check(reference, point, (i,), found[i])


def check_second(primitive: Primitive, reference: Reference, point: Point) -> None:
    """Raise AssertionError unless all second derivatives are right, mixed ones in both orders."""
    active = list(reference.active(point))

    def f(xs: list[Any]) -> Any:
        args: list[Any] = list(point)
        for i, x in zip(active, xs, strict=True):
            args[i] = x
        return primitive(*args)

    found = hessian(f)([point[i] for i in active])
    for row, i in zip(found, active, strict=True):
        for got, j in zip(row, active, strict=True):
            check(reference, point, (i, j), got)


def check_high(primitive: Primitive, reference: Reference, point: Point, order: int) -> None:
    """Raise AssertionError unless the pure derivatives of that order are right to 1e-10 of them.

    Near roots, within what 8 roundings of the arguments would do. A derivative beyond the range of floats is not
    looked at: from the third order on it may be nan, the difference of two terms that overflow.
    """
    for i in reference.active(point):
        f: Any = _along(primitive, point, i)
        for _ in range(order):
            f = grad(f)
        if abs(reference.derivative(point, (i,) * order)) < LARGEST:
            check(reference, point, (i,) * order, f(point[i]), 1e-10, 8.0)


def _along(primitive: Primitive, point: Point, i: int) -> Any:
    return lambda x: primitive(*point[:i], x, *point[i + 1 :])


# ---- where to try


def sizes(low: float, high: float) -> st.SearchStrategy[float]:
    """Draw positive numbers, evenly over the powers of ten."""
    return st.floats(low, high).map(lambda exponent: 10.0**exponent)


def signed(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[float]:
    return st.tuples(st.sampled_from((-1.0, 1.0)), numbers).map(math.prod)


def one(*strategies: st.SearchStrategy[float]) -> Points:
    """Draw one argument from any of the strategies."""
    return st.tuples(st.one_of(*strategies))


def two(*strategies: st.SearchStrategy[float]) -> Points:
    return st.tuples(st.one_of(*strategies), st.one_of(*strategies))


def many(numbers: st.SearchStrategy[float], most: int = 4) -> Points:
    return st.lists(numbers, min_size=1, max_size=most).map(tuple)


def at(*numbers: float) -> tuple[Point, ...]:
    return tuple((x,) for x in numbers)


ANY = st.one_of(st.floats(-10.0, 10.0), signed(sizes(-300, 300)))
NOT_ZERO = ANY.filter(bool)
POSITIVE = st.one_of(st.floats(1e-3, 10.0), sizes(-300, 300))
MODERATE = st.one_of(st.floats(-10.0, 10.0), signed(sizes(-140, 140)))  # products and quotients stay in range
TAILS = st.one_of(st.floats(-700.0, 700.0), st.floats(-5.0, 5.0), signed(sizes(-300, 0)))
INSIDE = st.one_of(  # from -1 to 1, and very close to them
    st.floats(-0.999, 0.999),
    signed(sizes(-300, -1)),
    signed(sizes(-16, -1).map(lambda d: 1.0 - d)).filter(lambda x: abs(x) < 1.0),
)
TAIL_POINTS = at(40.0, -40.0, 700.0, -700.0, 1e-300, -1e-300, 0.0, 1e-8, -1e-8, 5e-324)


def _whole(x: float) -> bool:
    return x == math.floor(x)


def _indexed(f: Callable[..., Any]) -> dict[str, Any]:
    """Describe a kernel whose first argument chooses one of the others."""
    points = many(st.one_of(st.floats(-5.0, 5.0), st.floats(-300.0, 300.0)), 3).flatmap(
        lambda xs: st.integers(0, len(xs) - 1).map(lambda i: (float(i), *xs))
    )
    return {
        "exact": f,
        "points": points,
        "fixed": ((0.0, 40.0, 0.0), (1.0, 40.0, 0.0), (0.0, 1000.0, 999.0, 400.0), (1.0, -700.0, 0.0), (0.0, 3.0)),
        "active": lambda point: range(1, len(point)),
        "ulps": 4,
        "unit": 1,
    }


def _powers_of_inverse() -> dict[str, Any]:
    """Describe the real or the imaginary part of (x + iy)^-order."""
    radii = two(signed(st.floats(0.01, 10.0)), signed(sizes(-30, 30)))
    return {
        "points": st.tuples(st.integers(1, 3).map(float), radii).map(lambda drawn: (drawn[0], *drawn[1])),
        "fixed": ((1.0, 3.0, -4.0), (1.0, 1e-200, 1.0), (2.0, 1e50, 1e50), (2.0, 1.0, 1.0 + 2**-52), (3.0, 2.0, 0.5)),
        "active": lambda point: (1, 2),
        "ulps": 4,
    }


# ---- definitions that mpmath lacks


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def _softplus(x: Any) -> Any:
    return mp.log(1 + mp.exp(x))


def _normal_cdf(x: Any) -> Any:
    return mp.erfc(-x / mp.sqrt(2)) / 2


def _normal_pdf(x: Any) -> Any:
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def _gelu_tanh(x: Any) -> Any:
    return x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mpf("0.044715") * x**3)))


def _selu(x: Any) -> Any:
    scale, alpha = mpf("1.0507009873554804934193349852946"), mpf("1.6732632423543772848170429916717")
    return scale * (x if x > 0 else alpha * mp.expm1(x))


def _cbrt(x: Any) -> Any:
    return mp.sign(x) * mp.cbrt(abs(x))


def _sinc(n: Any, x: Any) -> Any:
    """Differentiate the power series of sin(y) / y, y = pi x, term by term."""
    n, y = int(n), mp.pi * x
    with mp.extradps(int(abs(y)) + 20):
        total, j = mpf(0), (n + 1) // 2
        while True:
            term = (-1) ** j * y ** (2 * j - n) / ((2 * j + 1) * mp.factorial(2 * j - n))
            total += term
            j += 1
            if abs(term) <= mpf(10) ** -mp.dps * abs(total) and 2 * j > abs(y):
                return total * mp.pi**n


def _hypot_derivative(i: Any, j: Any, x: Any, y: Any) -> Any:
    """Differentiate sqrt(z w), w conjugate to z = x + iy: by x is by z plus by w, by y is i times by z minus by w."""
    powers = {(0, 0): mp.mpc(1)}  # z^-p w^-q sqrt(z w) -> its factor
    for by_z, by_w in [(mp.mpc(1), mp.mpc(1))] * int(i) + [(mp.mpc(0, 1), mp.mpc(0, -1))] * int(j):
        grown: dict[tuple[int, int], Any] = {}
        for (p, q), factor in powers.items():
            grown[p + 1, q] = grown.get((p + 1, q), 0) + factor * by_z * (mpf(0.5) - p)
            grown[p, q + 1] = grown.get((p, q + 1), 0) + factor * by_w * (mpf(0.5) - q)
        powers = grown
    with mp.extradps(700):  # near an axis all but a tiny part cancels
        z, w = mp.mpc(x, y), mp.mpc(x, -y)
        return mp.re(mp.fsum(factor * z**-p * w**-q for (p, q), factor in powers.items())) * mp.hypot(x, y)


def _logsumexp(*xs: Any) -> Any:
    return mp.log(sum(mp.exp(x) for x in xs))


def _softmax(i: Any, *xs: Any) -> Any:
    return mp.exp(xs[int(i)]) / sum(mp.exp(x) for x in xs)


def _cross_entropy(i: Any, *xs: Any) -> Any:
    return mp.log(sum(mp.exp(x - xs[int(i)]) for x in xs))


def _dot(*args: Any) -> Any:
    n = len(args) // 2
    return sum((w * x for w, x in zip(args[:n], args[n:], strict=True)), mpf(0))


def _gamma_slope(i: int, x: Any) -> Any:
    return mp.gamma(x) * mp.digamma(x)


def _gamma_derivative(n: Any, x: Any) -> Any:
    """Differentiate gamma n times: (gamma psi)^(n-1) by Leibniz' rule."""
    n = int(n)
    if n == 0:
        return mp.gamma(x)
    return sum(mp.binomial(n - 1, k) * _gamma_derivative(k, x) * mp.psi(n - 1 - k, x) for k in range(n))


def _power_derivative(m: Any, n: Any, x: Any, y: Any) -> Any:
    factors = [y - i for i in range(int(m))]
    return x ** (y - m) * leibniz(factors, mp.log(x) if n else mpf(0), int(n))


def leibniz(factors: Sequence[Any], log: Any, n: int) -> Any:
    """Differentiate n times by y the product of the factors y, y - 1, ... and x ** y; return it over x ** y."""
    total = mpf(0)
    for k in range(min(n, len(factors)) + 1):
        products = itertools.combinations(factors, len(factors) - k)
        total += math.perm(n, k) * log ** (n - k) * sum(map(mp.fprod, products), mpf(0))
    return total


def _power_active(point: Point) -> Iterable[int]:
    """There is no derivative by the exponent where the base is negative."""
    return (0, 1) if point[0] > 0.0 else (0,)


POWERS = st.one_of(
    st.tuples(st.floats(0.01, 100.0), st.floats(-100.0, 100.0)),
    st.tuples(sizes(-60, 60), st.floats(-3.0, 3.0)),
    st.tuples(st.floats(-10.0, -0.1), st.integers(-20, 20).map(float)),
)
POWER_POINTS = (
    (2.0, 0.0),
    (1e-300, 1.0),
    (1e-300, 1.5),
    (1e300, 0.5),
    (2.0, 1023.5),
    (0.5, -1.0),
    (-2.0, 3.0),
    (-2.0, 0.0),
    (3.0, 2.0),
)

QUOTIENTS = st.tuples(signed(sizes(-3, 6)), signed(sizes(-3, 3)))


def _between(quotient: Callable[[float], float]) -> Points:
    """Draw x, y with x / y away from the jumps of x // y (or, shifted, of the nearest whole number)."""
    return QUOTIENTS.filter(lambda p: 1e-9 < (quotient(p[0] / p[1]) % 1.0) < 1.0 - 1e-9)


# The derivative by y, -(x / y) / y, has no more digits than a quotient below the normal floats.
FRACTIONS = st.tuples(MODERATE, signed(sizes(-50, 50))).filter(lambda p: p[0] == 0.0 or abs(p[0]) > 1e-250)
DISTINCT = two(st.floats(-10.0, 10.0)).filter(lambda p: abs(p[0] - p[1]) > 1e-9)
RADII = two(signed(st.floats(0.01, 10.0)), signed(sizes(-100, 100)))
ANGLE_POINTS = ((1e200, 1e200), (3.0, -4.0), (1e-300, 1.0), (1.0, 1e-300), (-1e300, 1e300))
HYPOT_POINTS = ((1e-200, 1e-200), (1e-100, 1e-270), (5e-324, 5e-324), (1e308, 1e308), *ANGLE_POINTS)
HYPOT_DERIVATIVE_POINTS = ((3.0, -4.0), (-4.0, 3.0), (1e-60, 1e-75), (1e-90, -1e70), (1e60, 1e60), (1e-20, 1e-100))
NEAR_DIAGONAL = ((1e-200, 1e-200), (1e-200, 2e-200), (1.0, 1.0 + 2**-52), (-3e100, 3e100))
PSI = st.one_of(
    st.floats(1e-3, 50.0), sizes(-100, 300), st.floats(-30.0, -1e-3).filter(lambda x: 1e-6 < x % 1.0 < 1 - 1e-6)
)
PSI_POINTS = at(1e-300, 1e300, 1e200, 0.5, 1.0, 2.0, 1.4616321449683623, -0.5, -1.5, -20.25, 1e-8)

REFERENCES: dict[str, Reference] = {
    # arithmetic
    "add": Reference(lambda x, y: x + y, two(MODERATE), ((1e300, 1.0), (1.0, -1.0))),
    "sub": Reference(lambda x, y: x - y, two(MODERATE), ((1e300, 1.0), (1.0, 1.0))),
    "mul": Reference(lambda x, y: x * y, two(MODERATE), ((0.0, 3.0), (1e150, 1e-150))),
    "chain": Reference(lambda x, y: x * y, two(MODERATE.filter(bool)), ((1e150, 1e-150),)),
    "div": Reference(lambda x, y: x / y, FRACTIONS, ((1.0, 3.0), (0.0, 2.0))),
    "ieee_div": Reference(lambda x, y: x / y, FRACTIONS, ((1.0, 3.0), (0.0, 2.0))),
    "floordiv": Reference(lambda x, y: mp.floor(x / y), _between(lambda q: q), ((-7.0, 2.0), (7.0, -2.0))),
    "mod": Reference(lambda x, y: x - y * mp.floor(x / y), _between(lambda q: q), ((-7.0, 2.0), (7.0, -2.0))),
    "fmod": Reference(
        lambda x, y: x - y * mp.sign(x / y) * mp.floor(abs(x / y)), _between(lambda q: q), ((-7.0, 2.0), (7.0, -2.0))
    ),
    "remainder": Reference(
        lambda x, y: x - y * mp.floor(x / y + mpf(0.5)), _between(lambda q: q + 0.5), ((-7.5, 2.0), (8.5, -2.0))
    ),
    "pow": Reference(lambda x, y: x**y, POWERS, POWER_POINTS, _power_active, ulps=4),
    "ieee_pow": Reference(lambda x, y: x**y, POWERS, POWER_POINTS, _power_active, ulps=4),
    "power_derivative": Reference(
        _power_derivative,
        st.tuples(st.integers(0, 3).map(float), st.integers(0, 2).map(float), POWERS)
        .map(lambda drawn: (*drawn[:2], *drawn[2]))
        .filter(lambda point: point[2] > 0.0 or not point[1]),
        (
            (1.0, 0.0, 2.0, 0.5),
            (0.0, 1.0, 1e-300, 1.5),
            (1.0, 1.0, 1e300, -1.5),
            (2.0, 1.0, 1.0 + 2**-52, 3.0),
            (1.0, 2.0, 1e-200, 2.0),
            (0.0, 3.0, 0.5, 1060.0),
            (3.0, 0.0, 1e-103, 1e-8),
            (2.0, 0.0, -2.0, 5.0),
        ),
        active=lambda point: [2 + i for i in _power_active(point[2:])],
        ulps=4,
    ),
    "identity": Reference(lambda x: x, one(ANY)),
    "detached": Reference(lambda x: x, one(ANY), active=lambda point: ()),
    "neg": Reference(lambda x: -x, one(ANY)),
    "abs": Reference(abs, one(NOT_ZERO)),
    # choices
    "greater": Reference(lambda x, y: mpf(x > y), DISTINCT),
    "beats": Reference(lambda x, y: mpf(x > y), DISTINCT),
    "within": Reference(
        lambda x, low, high: mpf(low <= x <= high),
        st.tuples(*[st.floats(-10.0, 10.0)] * 3).filter(lambda p: abs(p[0] - p[1]) > 1e-9 < abs(p[0] - p[2])),
        ((0.5, 0.0, 1.0), (2.0, 0.0, 1.0)),
    ),
    "sign": Reference(mp.sign, one(NOT_ZERO)),
    "floor": Reference(mp.floor, one(ANY.filter(lambda x: not _whole(x))), at(-0.5, 2.5)),
    "ceil": Reference(mp.ceil, one(ANY.filter(lambda x: not _whole(x))), at(-0.5, 2.5)),
    "trunc": Reference(
        lambda x: mp.sign(x) * mp.floor(abs(x)), one(ANY.filter(lambda x: not _whole(x))), at(-0.5, -2.5, 2.5)
    ),
    "rint": Reference(mp.nint, one(ANY.filter(lambda x: not _whole(2.0 * x))), at(-0.4, 2.6, -2.6)),
    "where": Reference(
        lambda c, x, y: x if c else y,
        st.tuples(st.sampled_from((0.0, 1.0, -3.0)), ANY, ANY),
        active=lambda point: (1, 2),
    ),
    "maximum": Reference(max, DISTINCT, ((-1.0, 2.0), (2.0, -1.0))),
    "minimum": Reference(min, DISTINCT, ((-1.0, 2.0), (2.0, -1.0))),
    "clip": Reference(
        lambda x, low, high: max(low, min(x, high)),
        st.tuples(st.floats(-5.0, 5.0), st.floats(-3.0, -0.5), st.floats(0.5, 3.0)).filter(lambda p: p[0] not in p[1:]),
        ((-2.0, -1.0, 1.0), (0.5, -1.0, 1.0), (2.0, -1.0, 1.0)),
    ),
    # powers, exponentials, logarithms
    "square": Reference(lambda x: x * x, one(MODERATE), at(1e-300, 1e150, 0.0)),
    "times_complement": Reference(
        lambda p: p * (1 - p), one(INSIDE), at(0.25, 0.5, 0.5 - 2**-54, 1e-300, 1.0 - 2**-53)
    ),
    "reciprocal": Reference(lambda x: 1 / x, one(signed(sizes(-100, 100))), at(3.0, -7.0)),
    "sqrt": Reference(mp.sqrt, one(POSITIVE), at(1e-300, 1e300, 2.0, 5e-324)),
    "rsqrt": Reference(lambda x: 1 / mp.sqrt(x), one(POSITIVE), at(1e-100, 1e300, 2.0)),
    "cbrt": Reference(_cbrt, one(NOT_ZERO), at(1e-300, -1e300, 2.0, -8.0)),
    "cbrt_derivative": Reference(
        lambda n, x: _cbrt(x) * math.prod((mpf(1) / 3 - k for k in range(int(n))), start=mpf(1)) / x ** int(n),
        st.tuples(st.integers(1, 3).map(float), signed(sizes(-90, 90))),
        ((1.0, 2.0), (2.0, -8.0), (1.0, 1e-180), (2.0, 1e-115), (3.0, 1e80)),
        active=lambda point: (1,),
    ),
    "exp": Reference(mp.exp, one(TAILS), TAIL_POINTS),
    "exp2": Reference(lambda x: mpf(2) ** x, one(TAILS), TAIL_POINTS),
    "expm1": Reference(mp.expm1, one(TAILS), TAIL_POINTS),
    "log": Reference(mp.log, one(POSITIVE), at(1.0, 1e-300, 1e300, 1.0 + 2**-52, 1.0 - 2**-53)),
    "ieee_log": Reference(mp.log, one(POSITIVE), at(1.0, 1e-300, 1e300, 1.0 + 2**-52, 1.0 - 2**-53)),
    "log2": Reference(lambda x: mp.log(x, 2), one(POSITIVE), at(1.0, 1e-300, 1e300)),
    "log10": Reference(lambda x: mp.log(x, 10), one(POSITIVE), at(1.0, 1e-300, 1e300)),
    "log1p": Reference(
        lambda x: mp.log(1 + x), one(POSITIVE, st.floats(-0.999, 10.0)), at(1e-20, -1.0 + 2**-53, 1e300, -1e-300)
    ),
    "logaddexp": Reference(
        lambda x, y: mp.log(mp.exp(x) + mp.exp(y)),
        two(st.floats(-300.0, 300.0), st.floats(-5.0, 5.0)),
        ((1000.0, 1000.0), (1000.0, 960.0), (0.0, 0.0), (-1000.0, -1001.0), (1.0, 700.0)),
    ),
    # trigonometric and hyperbolic
    "sin": Reference(mp.sin, one(ANY), at(1e22, 1e300, 1e-300, math.pi, math.pi / 2)),
    "cos": Reference(mp.cos, one(ANY), at(1e22, 1e300, 1e-300, math.pi, math.pi / 2)),
    "tan": Reference(mp.tan, one(ANY), at(1e22, 1e-300, math.pi, math.pi / 2)),
    "one_minus_square": Reference(lambda x: 1 - x * x, one(INSIDE), at(1.0 - 2**-53, 1e-300, 0.0)),
    "asin": Reference(mp.asin, one(INSIDE), at(1.0 - 2**-53, -1.0 + 2**-53, 1e-300, 0.0)),
    "acos": Reference(mp.acos, one(INSIDE), at(1.0 - 2**-53, -1.0 + 2**-53, 1e-300, 0.0)),
    "atan": Reference(mp.atan, one(ANY), at(1e10, -1e100, 1e160, 1e300, 1e-300, 0.0, 1.0)),
    "atan2": Reference(mp.atan2, RADII, (*ANGLE_POINTS, *NEAR_DIAGONAL), ulps=4),
    "inverse_power_real": Reference(lambda n, x, y: mp.re(mp.mpc(x, y) ** -int(n)), **_powers_of_inverse()),
    "inverse_power_imag": Reference(lambda n, x, y: mp.im(mp.mpc(x, y) ** -int(n)), **_powers_of_inverse()),
    "hypot": Reference(mp.hypot, RADII, HYPOT_POINTS),
    "hypot_derivative": Reference(
        _hypot_derivative,
        st.tuples(st.sampled_from(((2.0, 0.0), (1.0, 1.0), (0.0, 3.0), (2.0, 2.0))), two(signed(sizes(-40, 40)))).map(
            lambda drawn: (*drawn[0], *drawn[1])
        ),
        tuple((i, j, x, y) for i, j in ((2.0, 0.0), (1.0, 1.0), (0.0, 3.0)) for x, y in HYPOT_DERIVATIVE_POINTS),
        active=lambda point: (2, 3),
        ulps=4,
    ),
    "unit": Reference(lambda x, y: x / mp.hypot(x, y), RADII, ANGLE_POINTS, ulps=4),
    "sinh": Reference(mp.sinh, one(TAILS), TAIL_POINTS),
    "cosh": Reference(mp.cosh, one(TAILS), TAIL_POINTS),
    "tanh": Reference(mp.tanh, one(TAILS), TAIL_POINTS),
    "sech": Reference(mp.sech, one(TAILS), TAIL_POINTS, ulps=4),
    "asinh": Reference(mp.asinh, one(ANY), at(1e300, -1e300, 1e-300, 0.0, -1e10)),
    "acosh": Reference(mp.acosh, one(sizes(-15, 300).map(lambda d: 1.0 + d)), at(1.0 + 2**-52, 1e300, 1.5)),
    "atanh": Reference(mp.atanh, one(INSIDE), at(1.0 - 2**-53, -1.0 + 2**-53, 1e-300, 0.0)),
    "degrees": Reference(lambda x: x * 180 / mp.pi, one(ANY)),
    "radians": Reference(lambda x: x * mp.pi / 180, one(ANY)),
    # the rest of math
    "copysign": Reference(lambda x, y: abs(x) * mp.sign(y), two(NOT_ZERO), ((-2.0, 3.0), (2.0, -3.0))),
    "erf": Reference(mp.erf, one(st.floats(-26.5, 26.5), MODERATE), at(26.0, -26.0, 1e-300, 0.0)),
    "erfc": Reference(mp.erfc, one(st.floats(-26.5, 26.5)), at(26.0, -26.0, 1e-300, 0.0)),
    "gamma": Reference(
        mp.gamma,
        one(st.floats(1e-3, 170.0), sizes(-100, 0), st.floats(-30.0, -1e-3).filter(lambda x: 1e-6 < x % 1 < 1 - 1e-6)),
        at(1.0, 0.5, 170.0, -0.5, -1.5, -100.5, 1e-100),
        slope=_gamma_slope,
        ulps=4,
    ),
    "gamma_derivative": Reference(
        _gamma_derivative,
        st.tuples(
            st.integers(0, 2).map(float),
            st.one_of(st.floats(1e-3, 170.0), st.floats(-30.0, -1e-3).filter(lambda x: 1e-6 < x % 1 < 1 - 1e-6)),
        ),
        tuple((n, x) for n in (0.0, 1.0, 2.0) for x in (1.0, 0.5, 150.0, -0.5, -100.5, 1e-50, -170.00000000000003)),
        active=lambda point: (1,),
        slope=lambda i, n, x: _gamma_derivative(n + 1, x),
        ulps=4,
    ),
    "lgamma": Reference(mp.loggamma, one(PSI), PSI_POINTS, slope=lambda i, x: mp.psi(0, x), ulps=4),
    "digamma": Reference(lambda x: mp.psi(0, x), one(PSI), PSI_POINTS, slope=lambda i, x: mp.psi(1, x), ulps=4),
    "polygamma": Reference(
        lambda n, x: mp.psi(int(n), x),
        st.tuples(st.integers(0, 3).map(float), PSI),
        tuple((n, x) for n in (0.0, 1.0, 2.0, 3.0) for (x,) in PSI_POINTS),
        active=lambda point: (1,),
        slope=lambda i, n, x: mp.psi(int(n) + 1, x),
        ulps=4,
    ),
    # activations and their parts
    "sigmoid": Reference(_sigmoid, one(TAILS), TAIL_POINTS),
    "logit": Reference(
        lambda p: mp.log(p / (1 - p)),
        one(
            st.floats(1e-9, 1.0 - 1e-9), sizes(-150, -1), sizes(-16, -1).map(lambda d: 1.0 - d).filter(lambda p: p < 1)
        ),
        at(0.5, 1e-150, 1.0 - 2**-53, 0.25, 0.75, 0.5 + 2**-52, 0.5 - 2**-54),
    ),
    "softplus": Reference(_softplus, one(TAILS), TAIL_POINTS),
    "logsigmoid": Reference(lambda x: -_softplus(-x), one(TAILS), TAIL_POINTS),
    "relu": Reference(lambda x: max(x, mpf(0)), one(NOT_ZERO), at(5e-324, -5e-324)),
    "leaky_relu": Reference(
        lambda x, slope: x if x > 0 else slope * x,
        st.tuples(NOT_ZERO, st.floats(0.0, 2.0)),
        ((-3.0, 0.01), (3.0, 0.01)),
    ),
    "leaky_step": Reference(lambda x, slope: mpf(1) if x > 0 else slope, st.tuples(NOT_ZERO, st.floats(0.0, 2.0))),
    "elu": Reference(
        lambda x, alpha: x if x > 0 else alpha * mp.expm1(x),
        st.tuples(TAILS.filter(bool), st.floats(0.1, 3.0)),
        ((-40.0, 1.0), (1e-300, 1.0), (-1e-300, 1.0), (-700.0, 2.0)),
    ),
    "elu_slope": Reference(
        lambda x, alpha: mpf(1) if x > 0 else alpha * mp.exp(x), st.tuples(TAILS.filter(bool), st.floats(0.1, 3.0))
    ),
    "elu_bend": Reference(
        lambda x, alpha: mpf(0) if x > 0 else alpha * mp.exp(x), st.tuples(TAILS.filter(bool), st.floats(0.1, 3.0))
    ),
    "selu": Reference(_selu, one(TAILS.filter(bool)), at(-40.0, 1e-300, -1e-300)),
    "normal_cdf": Reference(_normal_cdf, one(st.floats(-37.0, 37.0), signed(sizes(-300, 0))), at(-37.0, 37.0, 0.0)),
    "normal_pdf": Reference(
        _normal_pdf, one(st.floats(-37.0, 37.0), signed(sizes(-300, 0))), at(-37.0, 37.0, 0.0), ulps=4
    ),
    "gelu": Reference(
        lambda x: x * _normal_cdf(x), one(st.floats(-37.0, 37.0), signed(sizes(-300, 0))), at(-37.0, 37.0), ulps=4
    ),
    "gelu_tanh": Reference(
        _gelu_tanh, one(st.floats(-20.0, 20.0), signed(sizes(-300, 0))), at(-20.0, 20.0, 0.0), ulps=4
    ),
    "silu": Reference(lambda x: x * _sigmoid(x), one(TAILS), TAIL_POINTS, ulps=4),
    "softsign": Reference(lambda x: x / (1 + abs(x)), one(MODERATE.filter(bool)), at(1e100, -1e100, 1e-300)),
    "mish": Reference(lambda x: x * mp.tanh(_softplus(x)), one(TAILS), TAIL_POINTS, ulps=4),
    "hard_tanh": Reference(lambda x: max(mpf(-1), min(x, mpf(1))), one(ANY.filter(lambda x: abs(x) != 1.0))),
    "sinc": Reference(
        _sinc,
        st.tuples(st.integers(0, 3).map(float), st.one_of(st.floats(-20.0, 20.0), signed(sizes(-300, 0)))),
        tuple((n, x) for n in (0.0, 1.0, 2.0) for x in (0.0, 1e-300, 1e-8, 0.3, 0.5, 1.0, -2.0, 0.31830988618379064)),
        active=lambda point: (1,),
        slope=lambda i, n, x: _sinc(n + 1, x),
        ulps=4,
    ),
    # kernels
    "sum": Reference(lambda *xs: sum(xs, mpf(0)), many(st.floats(-10.0, 10.0)), ((1.0,), (1e300, 1.0))),
    "sum_of_squares": Reference(
        lambda *xs: sum((x * x for x in xs), mpf(0)), many(st.floats(-10.0, 10.0)), ((1.0,), (3.0, 4.0, 1e150))
    ),
    "dot": Reference(
        _dot,
        st.integers(1, 2).flatmap(lambda n: st.tuples(*[st.floats(-10.0, 10.0)] * (2 * n))),
        ((1.0, 2.0, 3.0, 4.0),),
    ),
    "affine": Reference(
        lambda *args: _dot(*args[:-1]) + args[-1],
        st.integers(0, 2).flatmap(lambda n: st.tuples(*[st.floats(-10.0, 10.0)] * (2 * n + 1))),
        ((1.0, 2.0, 3.0, 4.0, 5.0), (7.0,)),
    ),
    "logsumexp": Reference(
        _logsumexp,
        many(st.one_of(st.floats(-5.0, 5.0), st.floats(-300.0, 300.0)), 3),
        ((1000.0, 1000.0), (1000.0, 999.0, 400.0), (40.0, 0.0), (3.0,)),
    ),
    "softmax": Reference(**_indexed(_softmax)),
    "softmax_rest": Reference(**_indexed(lambda i, *xs: 1 - _softmax(i, *xs))),
    "softmax_cross_entropy": Reference(**_indexed(_cross_entropy)),
}

NULLARY = {"literal", "argument"}
"""Primitives without arguments: they have nothing to differentiate by."""
