"""`check_grads`: compare derivatives with extrapolated differences, and fail on a rule that is wrong by 0.1 percent."""

from collections.abc import Callable, Sequence
from math import inf, isfinite
from typing import Any

from autodiff.primitives import constant
from autodiff.transforms import jacobian, jvp
from autodiff.trees import leaves, unflatten

__all__ = ["check_grads"]

EPSILON = 2.0**-52
CERTAIN = 1e-4  # a difference must be known this well, relative to itself, to be worth comparing with
STEPS = [0.125 / 1.6**k for k in range(14)]

Flat = Callable[..., list[Any]]


def check_grads(f: Callable[..., Any], *args: Any, order: int = 2, tolerance: float = 1e-6) -> None:
    """Raise AssertionError if a derivative of f at these arguments, up to an order, is wrong in any mode.

    Arguments and result are numbers or containers of numbers. Every derivative is computed in reverse mode and in
    forward mode, and compared with differences extrapolated to step 0 (Ridders 1982). A difference that the
    rounding of f blurs, and a point where f has a kink, are reported as such: nothing passes unchecked.

    >>> check_grads(lambda x, y: x * y + y**3, 2.0, 3.0)
    >>> check_grads(abs, 0.0)
    Traceback (most recent call last):
    ...
    AssertionError: f has a kink at argument 0 = 0.0: slope -1 to the left, 1 to the right
    """
    names = [f"argument {i}{way}" for i, arg in enumerate(args) for way, _ in leaves(arg)]
    point = [constant(x, name) for name, (_, x) in zip(names, leaves(list(args)), strict=True)]

    def flat(*xs: Any) -> list[Any]:
        return [y for _, y in leaves(f(*unflatten(list(args), xs)))]

    what = "f"
    for _ in range(order):
        _check(flat, point, names, what, tolerance)
        flat, what = _all_partials(flat), f"D{what}"


def _all_partials(flat: Flat) -> Flat:
    def partials(*xs: Any) -> list[Any]:
        rows = jacobian(flat, argnums=range(len(xs)))(*xs)
        return [entry for row in rows for entry in row]

    return partials


def _check(flat: Flat, point: list[float], names: list[str], what: str, tolerance: float) -> None:
    rows = jacobian(flat, argnums=range(len(point)))(*point)
    for i, name in enumerate(names):
        direction = [1.0 if k == i else 0.0 for k in range(len(point))]
        forward = jvp(flat, point, direction)[1]
        differences = _differences(flat, point, i)
        for j, (expected, error) in enumerate(differences):
            where = f"{what}[{j}]" if len(differences) > 1 else what
            at = f"{name} = {point[i]!r}"
            _refuse_kink(_along(flat, point, i, j), point[i], where, at)
            for mode, found in (("reverse", rows[j][i]), ("forward", forward[j])):
                _compare(where, at, mode, found, expected, error, tolerance)


def _along(flat: Flat, point: list[float], i: int, j: int) -> Callable[[float], float]:
    """Give output j as a function of input i alone."""
    return lambda x: float(flat(*point[:i], x, *point[i + 1 :])[j])


def _compare(where: str, at: str, mode: str, found: float, expected: float, error: float, tolerance: float) -> None:
    size = max(abs(found), abs(expected))
    if abs(found - expected) <= error and size <= 2.0 * error:
        return  # both are 0 as far as rounding lets anyone see
    if not isfinite(error) or error > CERTAIN * size:
        raise AssertionError(
            f"the derivative of {where} by {at} cannot be checked: it is {found!r} in {mode} mode, and differences "
            f"give {expected!r} with an error of about {error:.1e}"
        )
    if not abs(found - expected) <= tolerance * size + error:
        raise AssertionError(
            f"the derivative of {where} by {at} is {found!r} in {mode} mode, but differences give {expected!r}: "
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
            sample = [flat(*point[:i], x, *point[i + 1 :]) for x in (above, below)]
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
