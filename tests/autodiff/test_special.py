"""The scalar functions on plain floats: the source template says the same, and the edges are as in IEEE 754."""

import math
import re
import struct
from collections.abc import Callable
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autodiff import special
from autodiff.primitives import TABLE, Kernel, Primitive
from tests.reference import NULLARY, REFERENCES

NAMES = {name: f for module in (math, special) for name, f in vars(module).items() if not name.startswith("_")}
"""What generated code may name: our function where both have one (floor gives a float)."""

FLOATS = st.one_of(st.floats(), st.sampled_from((0.0, -0.0, 1.0, -1.0, inf, -inf, nan, 5e-324)), st.floats(-3.0, 3.0))


def bits(x: float) -> bytes:
    assert type(x) is float
    return struct.pack("<d", x)


def outcome(f: Callable[..., float], *args: Any) -> bytes | type[Exception]:
    """Return the bits of a result, or the type of the error."""
    try:
        return bits(f(*args))
    except (ArithmeticError, ValueError) as error:
        return type(error)


def from_source(primitive: Primitive, count: int) -> Callable[..., float]:
    """Compile the source template of a primitive, as a program that prints a graph would."""
    names = [f"v{i}" for i in range(count)]
    filled = [", ".join(names)] if isinstance(primitive, Kernel) else names
    function: Callable[..., float] = eval(f"lambda {', '.join(names)}: {primitive.source.format(*filled)}", NAMES)
    return function


@pytest.mark.parametrize("name", sorted(set(TABLE) - NULLARY))
@settings(max_examples=25)
@given(data=st.data())
def test_value_and_source_agree_to_the_bit(name: str, data: st.DataObject) -> None:
    primitive, reference = TABLE[name], REFERENCES[name]
    typical = data.draw(reference.points)
    wild = st.tuples(*[FLOATS] * len(typical)).filter(lambda point: _has_whole_index(name, point))
    args = data.draw(st.one_of(st.just(typical), wild))
    assert outcome(from_source(primitive, len(args)), *args) == outcome(primitive.value, *args)


def _has_whole_index(name: str, point: tuple[float, ...]) -> bool:
    """Keep the first argument where it counts something: the order of polygamma, the class of softmax."""
    if 0 in REFERENCES[name].active(point) or name == "where":
        return True
    return point[0] in range(len(point) - 1)


POWER_CASES = [(x, y) for x in (0.0, -0.0, 2.0, -2.0, 0.5, inf, -inf, nan) for y in (0.0, 1.0, -1.0, -2.0, 0.5, -0.5)]


@pytest.mark.parametrize(("x", "y"), POWER_CASES)
def test_ieee_pow_is_python_pow_where_that_is_a_float(x: float, y: float) -> None:
    try:
        want = x**y
    except ZeroDivisionError:
        assert special.ieee_pow(x, y) == math.copysign(inf, 1.0 if y == -2.0 or y % 1.0 else x)
        return
    if isinstance(want, complex):
        assert math.isnan(special.ieee_pow(x, y))
    else:
        assert bits(special.ieee_pow(x, y)) == bits(want)


CASES: list[tuple[Callable[..., float], tuple[float, ...], float]] = [
    (special.chain, (0.0, inf), 0.0),
    (special.chain, (nan, 0.0), 0.0),
    (special.chain, (2.0, 3.0), 6.0),
    (special.chain, (2.0, nan), nan),
    (special.ieee_div, (1.0, 0.0), inf),
    (special.ieee_div, (1.0, -0.0), -inf),
    (special.ieee_div, (0.0, 0.0), nan),
    (special.ieee_div, (6.0, 3.0), 2.0),
    (special.ieee_log, (0.0,), -inf),
    (special.ieee_log, (-1.0,), nan),
    (special.ieee_log, (1.0,), 0.0),
    (special.ieee_pow, (10.0, 400.0), inf),
    (special.ieee_pow, (-10.0, 401.0), -inf),
    (special.ieee_pow, (-10.0, 400.0), inf),
    (special.literal, (), nan),
    (special.beats, (1.0, 1.0), 0.5),
    (special.where, (0.0, 1.0, 2.0), 2.0),
    (special.where, (-0.0, 1.0, 2.0), 2.0),
    (special.where, (nan, 1.0, 2.0), 1.0),
    (special.maximum, (nan, 1.0), nan),
    (special.maximum, (1.0, nan), nan),
    (special.minimum, (nan, 1.0), nan),
    (special.minimum, (1.0, nan), nan),
    (special.clip, (nan, 0.0, 1.0), nan),
    (special.hard_tanh, (-7.0,), -1.0),
    (special.sign, (-0.0,), -0.0),
    (special.sign, (nan,), nan),
    (special.floor, (-0.5,), -1.0),
    (special.floor, (inf,), inf),
    (special.ceil, (nan,), nan),
    (special.trunc, (-2.7,), -2.0),
    (special.rint, (2.5,), 2.0),
    (special.rint, (-inf,), -inf),
    (special.rsqrt, (4.0,), 0.5),
    (special.unit, (0.0, 0.0), 0.0),
    (special.unit, (1.5e308, 1.5e308), math.sqrt(0.5)),
    (special.unit, (3.0, -4.0), 0.6),
    (special.sigmoid, (-1000.0,), 0.0),
    (special.sigmoid, (inf,), 1.0),
    (special.sech, (1e300,), 0.0),
    (special.softplus, (1e300,), 1e300),
    (special.softplus, (-inf,), 0.0),
    (special.logsigmoid, (inf,), -0.0),
    (special.logaddexp, (inf, inf), inf),
    (special.logaddexp, (-inf, -inf), -inf),
    (special.logaddexp, (-inf, 3.0), 3.0),
    (special.logaddexp, (-math.log(2.0), -math.log(2.0)), 2.3190468138462996e-17),
    (special.relu, (nan,), nan),
    (special.relu, (-0.0,), 0.0),
    (special.gelu, (-inf,), 0.0),
    (special.gelu, (inf,), inf),
    (special.gelu_tanh, (-inf,), 0.0),
    (special.silu, (-inf,), 0.0),
    (special.mish, (-inf,), 0.0),
    (special.softsign, (-inf,), -1.0),
    (special.sinpi, (1e15,), 0.0),
    (special.sinpi, (0.5,), 1.0),
    (special.sinpi, (-0.5,), -1.0),
    (special.sinc, (0.0, 0.0), 1.0),
    (special.sinc, (1.0, 0.0), 0.0),
    (special.sinc, (2.0, 0.0), -(math.pi**2) / 3),
    (special.digamma, (1.0,), -0.5772156649015329),
    (special.digamma, (inf,), inf),
    (special.digamma, (nan,), nan),
    (special.polygamma, (1.0, inf), 0.0),
    (special.polygamma, (1.0, 1.0), math.pi**2 / 6),
    (special.total, (), 0.0),
    (special.total, (-0.0,), -0.0),
    (special.dot, (), 0.0),
    (special.dot, (2.0, 3.0), 6.0),
    (special.affine, (5.0,), 5.0),
    (special.logsumexp, (inf, 1.0), inf),
    (special.logsumexp, (-inf, -inf), -inf),
    (special.logsumexp, (0.0,), 0.0),
    (special.softmax, (0.0, 1000.0, -1000.0), 1.0),
    (special.softmax_cross_entropy, (0.0, 1000.0, -1000.0), 0.0),
    (special.softmax_cross_entropy, (1.0, 1000.0, -1000.0), 2000.0),
]


@pytest.mark.parametrize(("f", "args", "want"), CASES)
def test_edges(f: Callable[..., float], args: tuple[float, ...], want: float) -> None:
    got = f(*args)
    assert got == pytest.approx(want, rel=4e-16, abs=0.0, nan_ok=True)
    assert math.isnan(want) or math.copysign(1.0, got) == math.copysign(1.0, want)


@pytest.mark.parametrize("x", [0.0, -1.0, -7.0])
def test_polygamma_raises_at_its_poles(x: float) -> None:
    for order in (0.0, 1.0, 2.0):
        with pytest.raises(ValueError, match="math domain error"):
            special.polygamma(order, x)


@pytest.mark.parametrize("order", [0.5, -1.0])
def test_the_order_of_polygamma_is_a_whole_number(order: float) -> None:
    with pytest.raises(ValueError, match="must be a whole number from 0 upwards"):
        special.polygamma(order, 2.0)


def test_total_adds_from_left_to_right() -> None:
    """Python's own sum compensates from 3.12 on: floats and Values would differ."""
    tenths = [0.1] * 10
    assert special.total(*tenths) == 0.9999999999999999


def test_every_function_is_used() -> None:
    package = Path(special.__file__).parent
    text = "\n".join(path.read_text(encoding="utf-8") for path in package.glob("*.py"))
    own = [name for name, f in vars(special).items() if getattr(f, "__module__", "") == special.__name__]
    assert [name for name in own if len(re.findall(rf"\b{name}\b(?=[(,])", text)) < 2] == []


@pytest.mark.parametrize("name", [name for name, primitive in TABLE.items() if primitive.arity == 1])
def test_nan_in_is_nan_out(name: str) -> None:
    assert math.isnan(TABLE[name].value(nan))
    assert math.isnan(TABLE[name].value(-nan))
