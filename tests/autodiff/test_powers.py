"""Derivatives of x ** y over the whole range of floats: orders one to four, mixed ones included, against mpmath."""

import itertools
import math
from collections.abc import Callable, Sequence
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from autodiff import compile, grad, jvp
from tests.programs import bits, outcome
from tests.reference import LARGEST, derivative, leibniz

DIGITS = 750  # so that 1e300 - 1 is exact, and the logarithm of a number next to 1 has them all
TOLERANCE = 1e-12
SMALLEST_NORMAL = mpf(2.0**-1022)  # what is smaller has fewer digits
MIXED = [ways for order in (1, 2, 3, 4) for ways in itertools.product((0, 1), repeat=order)]
EXTREMES = [
    (1e-155, 1e-5),
    (1e-155, 1e-100),
    (1e-300, 1.01),
    (5e-324, 0.3),
    (5e-324, 5e-324),
    (1e-77, 1e-308),
    (1e-310, 0.999),
    (1.0 - 2.0**-33, 735.0 * 2.0**33),
    (1.0 - 2.0**-53, 6.0e18),
    (1.0 + 2.0**-52, 3.1e18),
    (1.0, 1e300),
    (1.0, -1e100),
    (1e-300, 1.07),
    (1e300, -1.07),
    (1.7e308, -0.98),
    (1e-4, 80.0),
    (6.1e-4, 100.0),
    (1e-103, 3.0),
    (1e-200, -1.5),
    (1e200, 1e-300),
    (0.5, 1073.9),
    (2.0, 1.0 + 2.0**-52),
    (1.0 + 2.0**-52, 2.0**53 + 2.0),
    (1e-78, 4.0),
    (7.5e-155, -2.0 + 2.0**-51),
]


# ---- the truth, and how exact it can be had


def truth(x: float, y: float, by: Sequence[int]) -> tuple[Any, Any]:
    """Return a derivative of x ** y and the sum of the sizes of its terms, between which it may cancel."""
    m, n = by.count(0), by.count(1)
    with mp.workdps(DIGITS):
        power, log = mpf(x) ** (mpf(y) - m), mp.log(x) if n else mpf(1)
        factors = [mpf(y) - i for i in range(m)]
        return power * leibniz(factors, log, n), abs(power) * leibniz([abs(f) for f in factors], abs(log), n)


def is_right(got: float, want: Any, size: Any) -> bool:
    """Say whether a derivative is right to 1e-12 of itself, or where its terms cancel of them: they are rounded."""
    if abs(got) == inf:
        return got * mp.sign(want) > 0.0 and bool(abs(want) + TOLERANCE * size > LARGEST)
    return bool(abs(mpf(got) - want) <= TOLERANCE * max(size, SMALLEST_NORMAL))  # false for nan


def nested(f: Callable[..., Any], by: Sequence[int]) -> Callable[..., Any]:
    for i in by:
        f = grad(f, i)
    return f


def power(x: Any, y: Any) -> Any:
    return x**y


EAGER = {by: nested(power, by) for by in MIXED}
FAST = {by: compile(f) for by, f in EAGER.items()}
for fast in FAST.values():
    fast(2.0, 3.0)


def has_value(x: float, y: float) -> bool:
    try:
        return not isinstance(x**y, complex)
    except ArithmeticError:
        return False


def assert_right(x: float, y: float) -> None:
    """Check all derivatives of x ** y, the exponent or the base a constant too; compiled code has the same bits."""
    for by, eager in EAGER.items():
        found = eager(x, y)
        assert bits(FAST[by](x, y)) == bits(found), by
        if x > 0.0 or 1 not in by:
            want, size = truth(x, y, by)
            assert is_right(found, want, size), (by, found, mp.nstr(want, 20))
    for order in (1, 2, 3, 4):
        pure = nested(lambda x: x**y, [0] * order)(x)
        assert is_right(pure, *truth(x, y, [0] * order)), (order, pure)
        if x > 0.0:
            pure = nested(lambda y: x**y, [0] * order)(y)
            assert is_right(pure, *truth(x, y, [1] * order)), (order, pure)


# ---- where to try


def sizes(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high).map(lambda exponent: 10.0**exponent)


def signed(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[float]:
    return st.tuples(st.sampled_from((-1.0, 1.0)), numbers).map(math.prod)


NEAR_ONE = signed(sizes(-16, -1)).map(lambda d: 1.0 + d)
BASES = st.one_of(sizes(-323, 308), st.floats(0.01, 100.0), NEAR_ONE, st.floats(5e-324, 2e-308))
EXPONENTS = st.one_of(signed(sizes(-300, 300)), st.floats(-12.0, 12.0), st.integers(-120, 120).map(float), NEAR_ONE)
NEXT_TO_WHOLE = st.tuples(st.integers(-4, 6), signed(sizes(-16, -1))).map(sum)


@st.composite
def edges(draw: Any) -> tuple[float, float]:
    """Draw a power that is close to the largest or to the smallest float."""
    x = draw(BASES.filter(lambda x: x != 1.0))
    return x, draw(st.one_of(st.floats(-760.0, -650.0), st.floats(650.0, 709.0), st.floats(-709.0, 709.0))) / math.log(
        x
    )


NEGATIVE = st.tuples(
    st.one_of(signed(sizes(-100, 100)), NEAR_ONE.map(lambda x: -x)),
    st.one_of(st.integers(-9, 40), st.integers(2**52, 2**60)).map(float),
)
POINTS = st.one_of(st.tuples(BASES, EXPONENTS), edges(), st.tuples(BASES, NEXT_TO_WHOLE), NEGATIVE)


@settings(max_examples=60)
@given(POINTS.filter(lambda point: has_value(*point)))
def test_all_derivatives_of_a_power_are_right_over_the_whole_range_of_floats(point: tuple[float, float]) -> None:
    assert_right(*point)


@settings(max_examples=10)
@given(st.floats(0.1, 10.0), st.floats(-5.0, 5.0).filter(lambda y: abs(y) > 1e-9), st.sampled_from(MIXED))
def test_the_truth_is_what_differences_give(x: float, y: float, by: tuple[int, ...]) -> None:
    want, size = truth(x, y, by)
    assert abs(derivative(lambda x, y: x**y, (x, y), by) - want) <= 1e-15 * size


@pytest.mark.parametrize("point", EXTREMES)
def test_powers_that_over_or_underflow_on_the_way_were_wrong_once(point: tuple[float, float]) -> None:
    assert_right(*point)


# ---- the same in every mode, whether an argument is a constant or not

BASES_AT_EDGES = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.1,
    -3.0,
    5e-324,
    1.5e-310,
    1e-103,
    1e150,
    1.7e308,
    1.0 + 2.0**-52,
    inf,
    -inf,
    nan,
)
EXPONENTS_AT_EDGES = (
    0.0,
    1.0,
    2.0,
    3.0,
    4.0,
    7.0,
    10.0,
    100.0,
    1e4,
    1e17,
    -1.0,
    -2.0,
    0.5,
    1.5,
    2.5,
    -0.5,
    1e-5,
    1e300,
    inf,
    nan,
)


def along(f: Callable[..., Any], x: Any, v: Any) -> Any:
    return jvp(f, (x,), (v,))[1]


DERIVED: dict[str, Callable[[Any, Any], Any]] = {
    "first": lambda x, y: grad(lambda t: t**y)(x),
    "second": lambda x, y: grad(grad(lambda t: 0.3 * t**y))(x),
    "third": lambda x, y: grad(grad(grad(lambda t: 0.3 * t**y)))(x),
    "fourth": lambda x, y: grad(grad(grad(grad(lambda t: t**y))))(x),
    "second, forward": lambda x, y: along(grad(lambda t: 0.7 * t**y), x, 0.3),
    "third, forward": lambda x, y: along(grad(grad(lambda t: 0.7 * t**y)), x, 0.3),
    "by the exponent": lambda x, y: grad(lambda t: x**t)(y),
    "twice by the exponent": lambda x, y: grad(grad(lambda t: 0.3 * x**t))(y),
    "by the exponent, forward": lambda x, y: along(grad(grad(lambda t: 0.7 * x**t)), y, 0.3),
}


@pytest.mark.parametrize("name", DERIVED)
def test_constants_give_the_same_bits_as_variables(name: str) -> None:
    f = DERIVED[name]
    fast = compile(f)
    fast(0.7, 0.6)
    for y in EXPONENTS_AT_EDGES:
        by_base = compile(lambda x, y=y: f(x, y))
        for x in BASES_AT_EDGES:
            want = outcome(f, x, y)
            assert outcome(fast, x, y) == want, (x, y)
            assert outcome(by_base, x) == want, (x, y)
    for x in BASES_AT_EDGES:
        by_exponent = compile(lambda y, x=x: f(x, y))
        for y in EXPONENTS_AT_EDGES:
            assert outcome(by_exponent, y) == outcome(f, x, y), (x, y)


@pytest.mark.parametrize("by", [by for by in MIXED if len(by) < 3])
def test_a_sweep_of_floats_gives_the_bits_of_the_graph(by: tuple[int, ...]) -> None:
    for x, y in itertools.product((*BASES_AT_EDGES, -0.24), (*EXPONENTS_AT_EDGES, 709.0)):
        graph = outcome(lambda x, y: jvp(EAGER[by], (x, y), (0.0, 0.0))[0], x, y)
        assert graph == outcome(EAGER[by], x, y), (x, y)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_arrays_and_machine_code_are_right_too(backend: str) -> None:
    pytest.importorskip(backend)
    for by in [(0,), (1,), (0, 1), (0, 0, 1), (1, 1, 1, 1), (0, 0, 0, 1)]:
        fast = compile(EAGER[by], backend=backend)
        for x, y in [*EXTREMES, (-2.0, 3.0), (-1.0 - 2.0**-52, 2.0**53 + 2.0)]:
            if x > 0.0 or 1 not in by:
                found = float(fast(x, y))
                assert is_right(found, *truth(x, y, by)), (x, y, by, found)


# ---- where there is no derivative, and how it is written


@pytest.mark.parametrize(
    ("x", "y", "by", "want"),
    [
        (0.0, 0.5, (0, 1), -inf),
        (0.0, 0.5, (0, 1, 1), inf),
        (0.0, 0.5, (0, 0, 1), inf),
        (0.0, 1.0, (0, 1), -inf),
        (0.0, 1.5, (0, 1), 0.0),
        (0.0, 2.0, (0, 0, 1), -inf),
        (0.0, 2.0, (1, 1), 0.0),
        (0.0, 0.0, (0,), 0.0),
        (0.0, 0.0, (0, 0), 0.0),
        (0.0, 0.0, (1,), -inf),
        (-2.0, 3.0, (0, 0), -12.0),
        (-2.0, 3.0, (1,), nan),
        (-2.0, 3.0, (0, 1), nan),
        (inf, 0.5, (0,), 0.0),
        (inf, 2.0, (0, 1), inf),
        (inf, -1.0, (1,), 0.0),
        (inf, -5e-324, (1, 1), 0.0),
        (0.0, 5e-324, (1, 1), 0.0),
        (1.0, 1e300, (0, 0), inf),
        (0.5, 1e300, (0, 1), 0.0),
        (1.0, inf, (0, 1), 1.0),
    ],
)
def test_at_edges_powers_follow_the_written_rule(x: float, y: float, by: tuple[int, ...], want: float) -> None:
    for ways in set(itertools.permutations(by)):
        for f in (EAGER[ways], FAST[ways]):
            assert f(x, y) == pytest.approx(want, rel=1e-15, abs=0.0, nan_ok=True), ways


@pytest.mark.parametrize(
    ("f", "written"),
    [
        (grad(lambda x: x**2), "return 2.0 * x + 0.0"),
        (grad(lambda x: x**3), "return 3.0 * x ** 2 + 0.0"),
        (grad(grad(lambda x: x**3)), "return 6.0 * x + 0.0"),
        (grad(lambda x: x**100), "return 100.0 * x ** 99 + 0.0"),
        (grad(lambda x: x**0.5), "return 0.5 * ieee_pow(x, -0.5) + 0.0"),
        (grad(lambda x: x**-1), "return 0.0 - ieee_pow(x, -2.0)"),
        (grad(grad(lambda x: x**1.5)), "return 1.5 * (0.5 * ieee_pow(x, -0.5)) + 0.0"),
        (grad(grad(lambda x: x**0.5)), "return power_derivative(2.0, 0.0, x, 0.5) + 0.0"),
        (grad(grad(lambda x: 2.0**x)), "return power(2.0, x) * 0.4804530139182014 + 0.0"),
        (grad(grad(lambda x: 1e-300**x)), "return power_derivative(0.0, 2.0, 1e-300, x) + 0.0"),
    ],
)
def test_derivatives_of_powers_read_as_in_a_textbook_where_they_may(f: Callable[..., Any], written: str) -> None:
    fast = compile(f)
    fast(1.3)
    assert written in fast.source
