"""Terms: equal terms once, every rewrite exact to the bit, and nothing dropped that may raise."""

import enum
import itertools
import math
import operator
from collections.abc import Callable
from fractions import Fraction
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import autodiff as ad
from autodiff import Value, compile, hessian, value_and_grad
from autodiff import primitives as p
from autodiff.terms import REWRITES, outcome_key
from tests.programs import bits, outcome

ADVERSARIAL = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    inf,
    -inf,
    nan,
    5e-324,
    -5e-324,
    2.2250738585072014e-308,
    1.5e-310,
    1e308,
    -1e308,
    1.7976931348623157e308,
    0.1,
    -3.0,
    1.0 + 2.0**-52,
    2.0**53 + 1.0,
)

# ---- exact rewrites: an expression, and what it may print as

REWRITTEN: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "two to a power": (lambda x, y: 2.0**x + y, "power(2.0, x)"),
    "a half to a power": (lambda x, y: 0.5**x * y, "power(0.5, x)"),
    "one to a power": (lambda x, y: 1.0**x * y, ""),
    "a tiny number to a power": (lambda x, y: 5e-324**x, ""),
    "a large number to a power": (lambda x, y: 1e308**y, ""),
    "one times": (lambda x, y: 1.0 * x + y, "return x + y"),
    "times one": (lambda x, y: x * 1 + y, "return x + y"),
    "times minus one": (lambda x, y: x * -1.0, "return -x"),
    "minus one times": (lambda x, y: -1 * x, "return -x"),
    "product of negatives": (lambda x, y: -x * -y, ""),
    "negative times": (lambda x, y: -x * y, ""),
    "times negative": (lambda x, y: x * -y, ""),
    "negative times constant": (lambda x, y: -x * 3.0, "return x * -3.0"),
    "constant times negative": (lambda x, y: 3.0 * -x, ""),
    "double negation": (lambda x, y: operator.neg(-x), "return x"),
    "negative of a multiple": (lambda x, y: -(x * 3.0), "return x * -3.0"),
    "negative of a constant's multiple": (lambda x, y: -(3.0 * x), "return -3.0 * x"),
    "a multiple of a double": (lambda x, y: 3.0 * (2.0 * x), ""),
    "a multiple of the double on the right": (lambda x, y: (2.0 * x) * 3.0, ""),
    "a small multiple of a double": (lambda x, y: 0.3 * (2.0 * x), ""),
    "a large multiple of a double": (lambda x, y: 1.1e308 * (2.0 * x), ""),
    "the largest multiple of a double": (lambda x, y: 9e307 * (2.0 * x), ""),
    "a negative multiple of a double": (lambda x, y: -3.0 * (2.0 * x), ""),
    "infinitely many doubles": (lambda x, y: inf * (2.0 * x), ""),
    "a triple of a triple": (lambda x, y: 3.0 * (3.0 * x), ""),
    "plus negative": (lambda x, y: x + -y, "return x - y"),
    "negative plus": (lambda x, y: -x + y, "return y - x"),
    "both negative": (lambda x, y: -x + -y, ""),
    "minus negative": (lambda x, y: x - -y, "return x + y"),
    "negative minus": (lambda x, y: -x - y, ""),
    "zero twice": (lambda x, y: (x + 0.0) + 0.0, "return x + 0.0"),
    "negative zero and zero": (lambda x, y: (x + -0.0) + 0.0, ""),
    "zero and negative zero": (lambda x, y: (x + 0.0) + -0.0, ""),
    "zero on the left twice": (lambda x, y: 0.0 + (0.0 + x), ""),
    "halved": (lambda x, y: x / 2.0, "return x * 0.5"),
    "divided by a quarter": (lambda x, y: x / 0.25, "return x * 4.0"),
    "divided by minus eight": (lambda x, y: x / -8, "return x * -0.125"),
    "divided by three": (lambda x, y: x / 3.0, "return x / 3.0"),
    "divided by a large power of two": (lambda x, y: x / 2.0**1000, ""),
    "divided by a small power of two": (lambda x, y: x / 2.0**-1000, ""),
    "divided by the largest power of two": (lambda x, y: x / 2.0**1023, ""),
    "divided by the smallest power of two": (lambda x, y: x / 2.0**-1074, ""),
    "divided by infinity": (lambda x, y: x / inf, ""),
    "negative divided": (lambda x, y: -x / y, ""),
    "divided by a negative": (lambda x, y: x / -y, ""),
    "to the power 1": (lambda x, y: x**1 + y, "return x + y"),
    "to the power 0": (lambda x, y: x**0 + y, "return 1.0 + y"),
    "repeated": (lambda x, y: (x * y) + (x * y), "v1 + v1"),
    "commuted": (lambda x, y: (x * y) - (y * x), "v1 - v1"),
    "commuted sums": (lambda x, y: (x + y) * (y + x), "v1 * v1"),
}

KEPT: dict[str, Callable[[Any, Any], Any]] = {
    "times zero": lambda x, y: x * 0.0,
    "zero times": lambda x, y: 0 * x,
    "times negative zero": lambda x, y: x * -0.0,
    "plus zero": lambda x, y: x + 0.0,
    "plus negative zero": lambda x, y: x + -0.0,
    "minus zero": lambda x, y: x - 0.0,
    "zero minus": lambda x, y: 0.0 - x,
    "zero plus": lambda x, y: 0 + x,
    "minus itself": lambda x, y: x - x,
    "divided by itself": lambda x, y: x / x,
    "zero divided": lambda x, y: 0.0 / x,
    "squared": lambda x, y: x**2,
    "to the power two as a float": lambda x, y: x**2.0,
    "cubed": lambda x, y: x**3,
    "inverted": lambda x, y: x**-1,
    "a root": lambda x, y: ad.pow(x, 0.5),
    "a power": lambda x, y: ad.pow(x, y),
    "one to the power": lambda x, y: 1.0**x,
    "zero to the power": lambda x, y: 0.0**x,
    "grouped to the left": lambda x, y: (x + y) + 1e16,
    "grouped to the right": lambda x, y: x + (y + 1e16),
    "products grouped to the right": lambda x, y: x * (y * 0.1),
    "a difference of differences": lambda x, y: x - (y - 0.1),
    "quotients grouped to the right": lambda x, y: x / (y / 3.0),
    "distributed": lambda x, y: x * 3.0 + x * 0.1,
    "floor division": lambda x, y: x // y,
    "remainder": lambda x, y: x % y,
    "mixed levels": lambda x, y: x // (y % 3.0) - -(x * (y + 1.0)) % 2.0,
    "negative base": lambda x, y: (-x) ** 2 - (-(x**2)),
    "negative exponent base": lambda x, y: -(x**3) * 2.0,
    "powers of powers": lambda x, y: (x**2) ** 3,
    "constants of every kind": lambda x, y: x * inf + -1e-320 + y * -0.0 + nan * x,
    "relu": lambda x, y: ad.relu(x - y) * ad.relu(-x),
    "one minus square": lambda x, y: 1.0 / p.one_minus_square(x) - p.one_minus_square(y) ** 2,
    "reciprocals": lambda x, y: ad.reciprocal(2 * x) / ad.reciprocal(y),
    "squares": lambda x, y: ad.square(x + y) / ad.square(y) - ad.square(-x),
    "roots": lambda x, y: 2.0 / ad.rsqrt(x + y) - ad.rsqrt(y),
    "choices": lambda x, y: ad.where(x > y, x, y) * ad.where(x, -y, x - y),
    "copysign": lambda x, y: ad.copysign(x, y) - ad.copysign(0.0, x),
    "a sum that starts at zero": lambda x, y: sum([x, y]) * ad.sum([x]),
    "an empty sum": lambda x, y: ad.sum([]) * x + ad.dot([], []) * y,
    "kernels": lambda x, y: ad.dot([x, y], [y, 0.1]) - ad.affine([x, 3.0], [x, y], -0.0),
}

POINTS = list(itertools.product(ADVERSARIAL, repeat=2))


@pytest.mark.parametrize("name", [*REWRITTEN, *KEPT])
def test_every_expression_is_exact_on_adversarial_floats(name: str) -> None:
    f = REWRITTEN[name][0] if name in REWRITTEN else KEPT[name]
    fast = compile(f)
    fast(0.7, 0.6)
    for x, y in POINTS:
        assert outcome(fast, x, y) == outcome(f, x, y), (x, y)
    assert len(fast.specialisations) == 1


@pytest.mark.parametrize("name", [name for name, (_, printed) in REWRITTEN.items() if printed])
def test_simple_forms_are_found(name: str) -> None:
    f, printed = REWRITTEN[name]
    fast = compile(f)
    fast(0.7, 0.6)
    assert printed in fast.source, fast.source


@pytest.mark.parametrize("name", [*REWRITTEN, *KEPT])
def test_every_derivative_is_exact_on_adversarial_floats(name: str) -> None:
    f = REWRITTEN[name][0] if name in REWRITTEN else KEPT[name]
    eager = value_and_grad(f, (0, 1))
    fast = compile(eager)
    for x, y in POINTS:
        assert outcome(fast, x, y) == outcome(eager, x, y), (x, y)


def test_every_rule_has_an_expression_above() -> None:
    written = {primitive.name for primitive in REWRITES}
    assert written <= {"mul", "chain", "neg", "add", "sub", "div", "pow", "ieee_pow", "power_derivative"}, (
        "a new rule needs rows above"
    )


@pytest.mark.parametrize("name", sorted(p.TABLE))
def test_every_primitive_prints_as_what_it_is(name: str) -> None:
    primitive = p.TABLE[name]
    if name in ("literal", "argument", "identity", "detached"):
        pytest.skip("stands for a number, not for an operation")
    arity = primitive.arity or 3
    fast, f = None, lambda *xs: primitive(*xs) * 2.0 - primitive(*xs) ** 2
    index = name in ("softmax", "softmax_rest", "softmax_cross_entropy", "polygamma", "gamma_derivative", "sinc")
    orders = (1.0,) * (2 if name == "power_derivative" else int(index))
    for xs in [(0.5, 0.25, 0.75), (2.0, 3.0, 1.0), (-1.5, 2.0, -0.0), (nan, 1.0, -inf), (1e200, 1e200, 1e-200)]:
        args = (*orders, *xs)[:arity]
        if fast is None:
            fast = compile(lambda *xs, f=f: f(*orders, *xs[len(orders) :]))
        assert outcome(fast, *args) == outcome(f, *args), args


@given(st.floats(), st.floats())
def test_the_sign_of_a_negated_zero(x: float, y: float) -> None:
    def f(x: Any, y: Any) -> Any:
        return -x * y, -(x * y), x - y, -(y - x), -x - y, -(x + y), x * -2.0, 0.0 - x

    assert bits(compile(f)(x, y)) == bits(f(x, y))


# ---- constants


def test_constants_are_folded_exactly_and_those_that_raise_are_not() -> None:
    fast = compile(lambda x: x * (ad.exp(Value(1.0)) + 2.0))
    assert fast(2.0) == 2.0 * (math.e + 2.0)
    assert "exp" not in fast.source
    raising = compile(lambda x: x + (ad.log(Value(0.0)) if x > 0.0 else 1.0))
    assert raising(-1.0) == 0.0
    with pytest.raises(ValueError, match="log"):
        raising(1.0)


def test_outcomes_are_told_apart_as_bits_are() -> None:
    outcomes = [0.0, -0.0, nan, 1, 1.0, True, "1", None]
    assert len({outcome_key(x) for x in outcomes}) == len(outcomes)
    assert outcome_key(nan) == outcome_key(-nan)
    assert outcome_key([1]) != outcome_key([1])  # what has no hash is itself only


class Level(enum.IntEnum):
    LOW = 1


def from_numpy(kind: str, number: float) -> Any:
    return getattr(pytest.importorskip("numpy"), kind)(number)


NUMBERS: dict[str, Callable[[], Any]] = {
    "float64": lambda: from_numpy("float64", 0.5),
    "float32": lambda: from_numpy("float32", 0.5),
    "int64": lambda: from_numpy("int64", 1),
    "nan": lambda: from_numpy("float64", nan),
    "enumeration": lambda: Level.LOW,
    "bool": lambda: True,
    "fraction": lambda: Fraction(1, 2),
    "huge": lambda: 10**5000,
    "minus huge": lambda: -(10**5000),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_value_is_compared_with_any_number(name: str) -> None:
    number = NUMBERS[name]()

    def f(x: Any) -> Any:
        return x if x > number else -x

    fast = compile(f)
    for x in (1.0, 0.25, 2.0, -0.25, inf, -inf) * 2:
        assert outcome(fast, x) == outcome(f, x), x


@pytest.mark.parametrize("name", ["int64", "enumeration", "bool"])
def test_a_value_is_rounded_to_any_whole_number_of_digits(name: str) -> None:
    digits = NUMBERS[name]()

    def f(x: Any) -> Any:
        return x * round(x, digits)

    fast = compile(f)
    for x in (1.11, 2.22, 1.12) * 2:
        assert outcome(fast, x) == outcome(f, x), x


def test_enumerations_and_large_numbers_are_results_and_keys() -> None:
    def f(x: Any) -> Any:
        return {Level.LOW: x} if x > 1.0 else Level.LOW if x > 0.0 else 10**5000

    fast = compile(f)
    for _ in range(2):
        assert fast(0.5) is Level.LOW
        assert fast(-1.0) == 10**5000
        assert [(key, type(key), x) for key, x in fast(2.0).items()] == [(Level.LOW, Level, 2.0)]


# ---- equal terms, unused terms


def test_nothing_is_computed_twice() -> None:
    fast = compile(value_and_grad(lambda x: ad.exp(x * x) * ad.exp(x * x)))
    fast(0.5)
    assert fast.source.count("exp(") == 1
    assert fast.source.count("x * x") == 1


def test_unused_operations_are_dropped_unless_they_may_raise() -> None:
    def f(x: Any) -> Any:
        ad.tanh(x)
        ad.log(x)
        return x + 1.0

    fast = compile(f)
    assert fast(1.0) == 2.0
    assert "tanh" not in fast.source
    with pytest.raises(ValueError, match="log"):
        fast(-1.0)


def test_the_derivative_of_a_power_of_a_constant_is_a_multiple_of_the_power() -> None:
    """By hand it would be: 2 ** x log(2); and only where f itself computes the power, and raises if it overflows."""
    for f in (lambda x: 2.0**x, lambda x: 1.0 / 3.0**x):
        for transform in (value_and_grad, hessian):
            eager = transform(f)
            fast = compile(eager)
            for x in (1.0, -3.5, 0.0, -0.0, 1000.0, 2000.0, -2000.0, nan, inf, -inf):
                assert outcome(fast, x) == outcome(eager, x), x
            assert "power_derivative" not in fast.source
            assert fast.source.count("power(") == 1
    for base in (0.0, -0.0, -2.0, inf, nan):
        eager = value_and_grad(lambda x, base=base: base**x)
        fast = compile(eager)
        for x in (1.0, -3.0, 0.0, 2.5, 1000.0, nan, inf, -inf):
            assert outcome(fast, x) == outcome(eager, x), (base, x)


def test_structural_zeros_are_constants() -> None:
    fast = compile(hessian(lambda x: x[0] * x[0] + x[1] * x[1]))
    assert fast([1.0, 2.0]) == [[2.0, 0.0], [0.0, 2.0]]
    assert "return [[2.0, 0.0], [0.0, 2.0]]" in fast.source
