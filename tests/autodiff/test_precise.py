"""Functions at many digits are the functions of the table."""

import math
from typing import Any

import pytest
from mpmath import mp

import autodiff as ad
from autodiff import Primitive, Value
from autodiff.precise import Library, Precise, UnknownError
from autodiff.primitives import TABLE
from tests.reference import NULLARY, REFERENCES

LIBRARY = Library(60)


@pytest.mark.parametrize("name", sorted(set(TABLE) - NULLARY))
def test_every_primitive_is_what_its_definition_says(name: str) -> None:
    """Series that `special` cuts off where doubles end are right to doubles, all else to many digits."""
    reference = REFERENCES[name]
    for point in reference.fixed[:4]:
        result = TABLE[name](*[LIBRARY.number(x) for x in point])
        want = reference.derivative(point, ())
        assert mp.almosteq(mp.mpf(result.number), want, 1e-13, 1e-300)


def test_elementary_functions_have_all_digits() -> None:
    x = LIBRARY.number(0.7)
    for mine, exact in [(ad.exp, mp.exp), (ad.sigmoid, lambda x: 1 / (1 + mp.exp(-x))), (ad.gelu, gelu), (abs, abs)]:
        with mp.workdps(60):
            assert abs(mp.mpf(mine(x).number) - exact(mp.mpf(0.7))) < mp.mpf(10) ** -57


def gelu(x: Any) -> Any:
    return x * mp.erfc(-x / mp.sqrt(2)) / 2


def test_operators_methods_and_comparisons() -> None:
    x, y = LIBRARY.number(3.0), LIBRARY.number(2.0)
    for mine, want in [
        (x + 1, 4), (1 + x, 4), (x - y, 1), (1 - x, -2), (x * 2.0, 6), (3 * x, 9), (x / y, 1.5), (3 / x, 1), (x**2, 9),
        (2**x, 8), (x % y, 1), (5 % x, 2), (-x, -3), (+x, 3), (abs(-x), 3), (x.square(), 9), (ad.sum([x, y, 1.0]), 6),
        (ad.maximum(x, 5), 5), (ad.floor(x / y), 1), (x * Value(2.0), 6), (ad.where(x > y, x, y), 3),
    ]:  # fmt: skip
        assert isinstance(mine, Precise)
        assert mine == want
    assert all([x > y, x >= y, y < x, y <= x, x != y, bool(x), int(x) == 3])
    assert len({x, x}) == 1


def test_what_would_lose_digits_is_refused() -> None:
    x = LIBRARY.number(3.0)
    refused = [
        lambda: x.data,
        lambda: Primitive("hidden", lambda x: x * math.exp(x), "", 1.0)(x),
        lambda: Primitive("number", lambda x: 2.0, "", 1.0)(x),
        lambda: ad.pow(-x, 0.5),
    ]
    for f in refused:
        with pytest.raises((TypeError, ValueError)):
            f()
    with pytest.raises(UnknownError, match="number does not stay among real numbers"):
        refused[2]()
