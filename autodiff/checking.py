"""`check_grads`: compare derivatives with differences, and fail on a rule that is wrong by 0.1 percent."""

from collections.abc import Callable, Sequence
from itertools import product
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

from autodiff.codegen import same
from autodiff.compiling import compile
from autodiff.primitives import constant
from autodiff.specialising import on_values
from autodiff.transforms import _number, jacobian, jvp
from autodiff.trees import leaves, unflatten
from autodiff.value import Value

if TYPE_CHECKING:
    from autodiff.precise import Library

__all__ = ["check_grads"]

EPSILON = 2.0**-52
CERTAIN = 1e-4  # a difference must be known this well, relative to itself, to be worth comparing with
STEPS = [0.125 / 1.6**k for k in range(14)]

Flat = Callable[..., list[Any]]


def check_grads(f: Callable[..., Any], *args: Any, order: int = 2, tolerance: float = 1e-6) -> None:
    """Raise AssertionError if a derivative of f at these arguments, up to an order, is wrong in any mode.

    Arguments and result are numbers or containers of numbers. Every derivative is computed in reverse mode, in
    forward mode and compiled, and compared with differences. If mpmath is installed, and f is made of operators and
    functions of autodiff, they are differences of f at many digits: as good as exact. Otherwise they are
    extrapolated to step 0 (Ridders 1982); where the rounding of f blurs them, that is said. A point where f has a kink
    is reported as such. The value itself is compared with that of compiled code.

    It evaluates f some times for each pair of numbers among the arguments: choose a few, or `order=1`, if f has many.

    >>> check_grads(lambda x, y: x * y + y**3, 2.0, 3.0)
    >>> check_grads(abs, 0.0)
    Traceback (most recent call last):
    ...
    AssertionError: f has a kink at argument 0 = 0.0: slope -1 to the left, 1 to the right
    """
    names = [f"argument {i}{way}" for i, arg in enumerate(args) for way, _ in leaves(arg)]
    point = [constant(x, name) for name, (_, x) in zip(names, leaves(list(args)), strict=True)]

    def flat(*xs: Any) -> list[Any]:
        return [_number(y, way) for way, y in leaves(f(*unflatten(list(args), xs)))]

    _check_values(flat, point)
    for k in range(order):
        exact = _exact_partials(f, list(args), point, k + 1)
        _check(flat, point, names, "D" * k + "f", tolerance, exact)
        flat = _all_partials(flat)


def _check_values(flat: Flat, point: list[float]) -> None:
    """Compare the value of f with the compiled one: the source of a user's primitive may say something else."""
    fast = compile(flat)
    fast(*point)  # the first call only traces
    eager = on_values(lambda xs, _: flat(*xs), tuple(point), {})
    for found, expected in zip(_floats([fast(*point)])[0], _floats([eager])[0], strict=True):
        if not same(found, expected):
            raise AssertionError(
                f"the value of f is {expected!r}, but {found!r} in compiled code: does the source of a primitive say "
                "what its value does?"
            )


def _all_partials(flat: Flat) -> Flat:
    def partials(*xs: Any) -> list[Any]:
        rows = jacobian(flat, argnums=range(len(xs)))(*xs)
        return [entry for row in rows for entry in row]

    return partials


def _check(
    flat: Flat, point: list[float], names: list[str], what: str, tolerance: float, exact: list[list[float]] | None
) -> None:
    every = range(len(point))
    rows = jacobian(flat, argnums=every)
    fast = compile(rows)
    fast(*point)  # the first call only traces
    reverse, compiled = _floats(rows(*point)), _floats(fast(*point))
    for i, name in enumerate(names):
        direction = [1.0 if k == i else 0.0 for k in every]
        forward = _floats([jvp(flat, point, direction)[1]])[0]
        wanted = _with_allowance(exact, i) if exact else _differences(flat, point, i)
        for j, (expected, error) in enumerate(wanted):
            where = f"{what}[{j}]" if len(wanted) > 1 else what
            at = f"{name} = {point[i]!r}"
            _refuse_kink(_along(flat, point, i, j), point[i], where, at)
            by_mode = {"reverse mode": reverse[j][i], "forward mode": forward[j], "compiled code": compiled[j][i]}
            for mode, found in by_mode.items():
                _compare(where, at, mode, found, expected, error, tolerance, exact is not None)


def _floats(rows: Any) -> list[list[float]]:
    """Take numbers out of the Values that f closed over."""
    return [[x._data if isinstance(x, Value) else float(x) for x in row] for row in rows]


# ---- differences at many digits


def _exact_partials(f: Callable[..., Any], args: list[Any], point: list[float], order: int) -> list[list[float]] | None:
    """Differentiate f at many digits: for each partial of one order less (as `_all_partials` lists them), a row.

    None if mpmath is missing, or cannot evaluate f.
    """
    from importlib.util import find_spec

    if find_spec("mpmath") is None:
        return None
    try:
        known: dict[tuple[int, ...], list[float]] = {}
        for by in product(range(len(point)), repeat=order):
            if tuple(sorted(by)) not in known:
                known[tuple(sorted(by))] = _exact(f, args, point, tuple(sorted(by)))
        outputs = range(len(next(iter(known.values()), [])))
        lower = list(product(range(len(point)), repeat=order - 1))
        return [[known[tuple(sorted((*by, i)))][j] for i in range(len(point))] for j in outputs for by in lower]
    except (TypeError, AttributeError, ArithmeticError, ValueError):  # not made for such numbers, or outside the domain
        return None


def _exact(f: Callable[..., Any], args: list[Any], point: list[float], by: tuple[int, ...]) -> list[float]:
    """Differentiate all outputs once by each argument listed, at as many digits as it takes; 0.0 if none are seen."""
    from autodiff.precise import Library  # here, since `import autodiff` need not wait for it

    found: list[float] = []
    for digits in (100, 400, 1200):
        library = Library(digits)

        def outputs(xs: list[Any], library: "Library" = library) -> list[Any]:
            flat = leaves(f(*unflatten(args, [library.number(x) for x in xs])))
            return [library.number(y).number if not hasattr(y, "number") else y.number for _, y in flat]

        xs = [library.mp.mpf(x) for x in point]
        coarse, fine = (_nested(outputs, xs, by, library.mp.mpf(10) ** -digit) for digit in (20, 25))
        seen = [abs(x) > size * library.mp.mpf(10) ** (12 - digits) for x, size in fine]
        # What shrinks with the step is the error of the differences, of a derivative that is 0.
        same = [abs(x - y) <= abs(x) / 2 for (x, _), (y, _) in zip(coarse, fine, strict=True)]
        found = [float(x) if a and b else 0.0 for (x, _), a, b in zip(fine, seen, same, strict=True)]
        if all(seen):
            break
    return found


def _nested(
    f: Callable[[list[Any]], list[Any]], xs: list[Any], by: tuple[int, ...], step: Any
) -> list[tuple[Any, Any]]:
    """Return central differences, nested, and how large their terms were."""
    if not by:
        return [(y, max(abs(y), 1, *map(abs, xs))) for y in f(xs)]
    i, x = by[0], xs[by[0]]
    h = step * (min(abs(x), 1) if x else 1)
    above, below = (_nested(f, [*xs[:i], x + move, *xs[i + 1 :]], by[1:], step) for move in (h, -h))
    return [((a - b) / (2 * h), (m + n) / (2 * h)) for (a, m), (b, n) in zip(above, below, strict=True)]


def _with_allowance(exact: list[list[float]], i: int) -> list[tuple[float, float]]:
    """Pair what is exact with what rounding may do to it: a little of the largest derivative beside it."""
    return [(row[i], 64.0 * EPSILON * max((abs(x) for x in row if isfinite(x)), default=0.0)) for row in exact]


# ---- differences of floats


def _along(flat: Flat, point: list[float], i: int, j: int) -> Callable[[float], float]:
    """Give output j as a function of input i alone."""
    return lambda x: _floats([flat(*point[:i], x, *point[i + 1 :])])[0][j]


def _compare(
    where: str, at: str, mode: str, found: float, expected: float, error: float, tolerance: float, exact: bool
) -> None:
    size = max(abs(found), abs(expected))
    if not exact and not found and abs(expected) <= error:
        return  # 0, as far as rounding lets anyone see
    if not exact and not (isfinite(error) and error <= CERTAIN * size):
        raise AssertionError(
            f"the derivative of {where} by {at} cannot be checked: it is {found!r} in {mode}, and differences "
            f"give {expected!r} with an error of about {error:.1e} (install mpmath for better ones)"
        )
    if not abs(found - expected) <= tolerance * size + error:
        raise AssertionError(
            f"the derivative of {where} by {at} is {found!r} in {mode}, but differences give {expected!r}: "
            f"relative error {abs(found - expected) / size:.1e}"
        )


def _differences(flat: Flat, point: list[float], i: int) -> list[tuple[float, float]]:
    """Estimate the derivative of each output by input i, with an error bound, by extrapolated central differences."""
    scale = max(abs(point[i]), 1e-3)
    steps: list[float] = []
    samples: list[tuple[list[float], list[float]]] = []
    for fraction in STEPS:
        above, below = point[i] + fraction * scale, point[i] - fraction * scale
        try:
            sample = _floats([flat(*point[:i], x, *point[i + 1 :]) for x in (above, below)])
        except (ArithmeticError, ValueError):  # outside the domain: try closer
            continue
        samples.append((sample[0], sample[1]))
        steps.append(above - below)
    if len(steps) < 4:
        raise AssertionError(f"f is not defined on both sides of argument {i} = {point[i]!r}")
    count = len(samples[0][0])
    return [_extrapolate([(a[j], b[j]) for a, b in samples], steps) for j in range(count)]


def _extrapolate(pairs: Sequence[tuple[float, float]], steps: Sequence[float]) -> tuple[float, float]:
    """Ridders' extrapolation of central differences to step 0, one row of the tableau at a time."""
    best, least = pairs[0][0], inf
    row: list[float] = []
    for n, ((above, below), step) in enumerate(zip(pairs, steps, strict=True)):
        noise = 4.0 * EPSILON * max(abs(above), abs(below)) / step
        fresh = [(above - below) / step]
        for k in range(n):
            factor = (steps[n - k - 1] / step) ** 2
            fresh.append((factor * fresh[k] - row[k]) / (factor - 1.0))
            error = max(abs(fresh[-1] - fresh[-2]), abs(fresh[-1] - row[k])) + 4.0 * noise
            if error <= least:
                best, least = fresh[-1], error
        row = fresh
    return best, least


def _refuse_kink(f: Callable[[float], float], x: float, where: str, at: str) -> None:
    """Raise if the slopes to the left and to the right differ, and no less so from closer by."""
    scale = max(abs(x), 1e-3)
    try:
        middle = f(x)
        slopes = [((f(x + h) - middle) / h, (middle - f(x - h)) / h) for h in (1e-3 * scale, 1e-5 * scale)]
    except (ArithmeticError, ValueError):
        return
    (far_right, far_left), (right, left) = slopes
    noise = 100.0 * EPSILON * abs(middle) / (1e-5 * scale)
    if abs(right - left) > max(0.5 * abs(far_right - far_left), 1e-6 * (abs(right) + abs(left)) + noise):
        raise AssertionError(f"{where} has a kink at {at}: slope {left:.6g} to the left, {right:.6g} to the right")
