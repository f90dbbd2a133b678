"""`compile(f, backend="numpy")`: at every point what f gives there, to rounding."""

import copy
import math
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import inf, nan
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import autodiff as ad
from autodiff import Primitive, Value, compile, grad, hessian, jacobian, value_and_grad
from autodiff import primitives as p
from autodiff.vectorising import CHUNK
from benchmarks import backends, harness

POINTS = [-inf, -30.0, -2.5, -1.0, -0.3, -1e-300, 0.0, 1e-300, 0.2, 0.5, 0.9, 1.0, 1.7, 3.0, 40.0, 1e200, inf, nan]
SECOND = [0.7, 1.3, -0.2, 0.0, 1e-200]
NO_FUNCTION = {"literal", "argument", "identity", "detached"}


def agree(found: Any, expected: Any, within: float = 4e-14) -> bool:
    """Say whether two numbers are equal to rounding, nan being equal to nan."""
    found, expected = float(found), float(expected)
    if found == expected or (found != found and expected != expected):
        return True
    return abs(found - expected) <= within * max(abs(found), abs(expected), 1e-290)


def function_of(primitive: Primitive) -> tuple[Callable[..., Any], int]:
    """Call a primitive with as many numbers as make sense, fixing orders and classes."""
    if "softmax" in primitive.name:
        return lambda x, y: primitive(1.0, x, y, x + y) + 3.0 * primitive(0.0, x, y), 2
    if primitive.name.startswith("inverse_power"):
        return lambda x, y: primitive(1.0, x, y) + primitive(2.0, x, y) + primitive(3.0, x, y), 2
    if primitive.name == "hypot_derivative":
        return lambda x, y: primitive(2.0, 0.0, x, y) + primitive(1.0, 2.0, x, y), 2
    if primitive.name in ("polygamma", "gamma_derivative", "cbrt_derivative", "sinc"):
        return lambda x: primitive(1.0, x), 1
    if primitive.name == "power_derivative":
        return lambda x, y: primitive(1.0, 1.0, x, y), 2
    if primitive.arity is None:
        return (lambda x, y: primitive(x, y, x)) if primitive.name == "affine" else (lambda x, y: primitive(x, y)), 2
    return primitive, primitive.arity


def expected_of(f: Callable[..., Any], *args: float) -> Any:
    """Evaluate f at one point, None where it raises."""
    try:
        return f(*args)
    except (ArithmeticError, ValueError):
        return None


@pytest.mark.parametrize("name", sorted(set(p.TABLE) - NO_FUNCTION))
def test_every_primitive_and_its_derivatives_are_those_of_floats(name: str) -> None:
    function, arity = function_of(p.TABLE[name])
    both = value_and_grad(function, argnums=tuple(range(arity)))
    points = [(x, y, 2.0)[:arity] for x in POINTS for y in SECOND[: 1 if arity == 1 else None]]
    expected = [expected_of(both, *point) for point in points]
    if name in ("inverse_power_real", "inverse_power_imag", "hypot_derivative"):  # of different order: inf - inf
        points, expected = points[-30:], expected[-30:]
    known = [(point, e) for point, e in zip(points, expected, strict=True) if e is not None]
    value, slopes = compile(both, backend="numpy")(*np.array([point for point, _ in known]).T)
    for i, (point, (expected_value, expected_slopes)) in enumerate(known):
        assert agree(value[i], expected_value), point
        assert all(agree(a[i], b) for a, b in zip(slopes, expected_slopes, strict=True)), point


UNARY = ("sin", "tanh", "sigmoid", "softplus", "relu", "exp", "square", "atan", "gelu", "sign", "abs", "neg")
BINARY = ("add", "sub", "mul", "div", "maximum", "minimum", "hypot", "logaddexp", "where", "atan2")


@st.composite
def expressions(draw: Any) -> list[tuple[str, int, int]]:
    """Draw a program: each line applies a function to earlier results."""
    size = draw(st.integers(1, 12))
    names = st.sampled_from(UNARY + BINARY + ("branch",))
    return [(draw(names), draw(st.integers(0, i + 1)), draw(st.integers(0, i + 1))) for i in range(size)]


def run(program: list[tuple[str, int, int]], x: Any, y: Any) -> Any:
    """Run such a program."""
    known = [x, y]
    for name, i, j in program:
        a, b = known[i], known[j]
        if name == "branch":
            known.append(a if a > b else b * 0.5)
        elif name == "where":
            known.append(ad.where(p.greater(a, b), a, b))
        elif name in BINARY:
            known.append(p.TABLE[name](a, b))
        else:
            known.append(p.TABLE[name](a))
    return known[-1] + 0.0 * x


# Not 1e-233, say: x / hypot(x, x) has a derivative of two terms of 1e232 that cancel, but for their rounding.
COORDINATES = st.floats(-3.0, 3.0).map(lambda x: round(x, 3))


@given(expressions(), st.lists(st.tuples(COORDINATES, COORDINATES), min_size=1, max_size=6))
def test_programs_give_at_every_point_what_they_give_there(program: Any, points: list[tuple[float, float]]) -> None:
    both = value_and_grad(lambda x, y: run(program, x, y), argnums=(0, 1))
    expected = [expected_of(both, *point) for point in points]
    if expected[0] is None:
        return
    value, (by_x, by_y) = compile(both, backend="numpy")(*np.array(points).T)
    for i, one in enumerate(expected):
        if one is not None:
            size = max(map(abs, (one[0], *one[1])))  # a sum of large terms that cancel keeps their rounding
            for found, right in ((value[i], one[0]), (by_x[i], one[1][0]), (by_y[i], one[1][1])):
                assert agree(found, right, 1e-11) or abs(found - right) <= 1e-12 * size, (i, one)


@pytest.mark.parametrize("f", [lambda x: x if x > 0.0 else 1.0 / (x - x), lambda x: x if x > 0.0 else ad.log(x)])
def test_a_branch_on_which_f_raises_is_nan_there_and_nowhere_else(f: Any) -> None:
    fast = compile(value_and_grad(f), backend="numpy")
    value, slope = fast(np.array([2.0, -1.0, 3.0, -2.0]))
    np.testing.assert_array_equal(value, [2.0, np.nan, 3.0, np.nan])
    np.testing.assert_array_equal(slope, [1.0, np.nan, 1.0, np.nan])
    assert np.isnan(fast(-5.0)[0])
    assert fast(5.0) == (5.0, 1.0)


# ---- shapes


def wave(x: Any, y: Any) -> Any:
    return ad.sin(x * y) + x / (1.0 + y * y)


def test_arrays_are_broadcast_together() -> None:
    fast = compile(value_and_grad(wave, argnums=(0, 1)), backend="numpy")
    x, y = np.linspace(-1.0, 1.0, 3)[:, None], np.linspace(0.0, 2.0, 5)
    value, (by_x, by_y) = fast(x, y)
    assert value.shape == by_x.shape == by_y.shape == (3, 5)
    assert value[2, 3] == pytest.approx(wave(1.0, 1.5), rel=1e-15)
    assert by_y[1, 4] == pytest.approx(grad(wave, 1)(0.0, 2.0), rel=1e-15, abs=1e-15)


@pytest.mark.parametrize(
    "shape", [(), (1,), (0,), (CHUNK,), (CHUNK + 1,), (3 * CHUNK - 1,), (2, CHUNK), (CHUNK + 5, 3), (2, 3, 4)]
)
def test_any_shape_gives_that_shape(shape: tuple[int, ...]) -> None:
    fast = compile(grad(lambda x: x**3), backend="numpy")
    fast(1.0)
    x = np.arange(math.prod(shape), dtype=float).reshape(shape)
    found = fast(x)
    assert np.shape(found) == shape
    assert np.array_equal(found, 3.0 * x * x)


def test_a_number_gives_a_float() -> None:
    found = compile(wave, backend="numpy")(1.0, np.float64(2.0))
    assert type(found) is float
    assert found == pytest.approx(wave(1.0, 2.0), rel=1e-15)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.longdouble, lambda x: np.array(x), np.int64, int])
def test_numbers_beside_arrays(kind: Any) -> None:
    fast = compile(grad(lambda x, n: x**3 * n), backend="numpy")
    assert list(fast(np.array([1.0, 2.0]), kind(2))) == [6.0, 24.0]
    assert list(fast([1.0, 2.0][1] * np.ones(2), n=kind(3))) == [36.0, 36.0]


def test_views_and_integers_are_taken() -> None:
    fast = compile(lambda x: x * x + 1.0, backend="numpy")
    x = np.arange(12).reshape(3, 4)
    assert np.array_equal(fast(x[::2, 1::2]), x[::2, 1::2] ** 2 + 1.0)
    assert np.array_equal(fast(x.T), x.T**2 + 1.0)


def test_arrays_are_not_written_to() -> None:
    x = np.array([1.0, 2.0])
    compile(lambda x: x, backend="numpy")(x)[0] = 5.0
    assert list(x) == [1.0, 2.0]


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"x: \(2,\), y: \(3,\)"):
        compile(wave, backend="numpy")(np.zeros(2), np.zeros(3))


def test_no_points_at_the_first_call_is_an_error() -> None:
    with pytest.raises(ValueError, match="no point to evaluate"):
        compile(wave, backend="numpy")(np.zeros(0), np.zeros(0))


class Point(NamedTuple):
    """Coordinates."""

    x: Any
    y: Any


@pytest.mark.parametrize("make", [lambda x, y: [x, y], lambda x, y: (x, y), lambda x, y: {"x": x, "y": y}, Point])
def test_containers_hold_arrays(make: Callable[[Any, Any], Any]) -> None:
    def f(q: Any) -> Any:
        x, y = q.values() if isinstance(q, dict) else q
        return {"product": x * y, "pair": [x - y, 1.0]}

    x, y = np.array([1.0, 2.0]), np.array([3.0, 5.0])
    found = compile(f, backend="numpy")(make(x, y))
    assert np.array_equal(found["product"], [3.0, 10.0])
    assert np.array_equal(found["pair"], [[-2.0, -3.0], [1.0, 1.0]])
    slopes = compile(grad(lambda q: f(q)["product"]), backend="numpy")(make(x, y))
    by_x, by_y = slopes.values() if isinstance(slopes, dict) else slopes
    assert type(slopes) is type(make(x, y))
    assert np.array_equal(by_x, y)
    assert np.array_equal(by_y, x)


def test_other_arguments_are_constants() -> None:
    fast = compile(lambda x, n, scale=1.0: scale * x**n, backend="numpy")
    x = np.array([1.0, 2.0])
    assert np.array_equal(fast(x, 2), x**2)
    assert np.array_equal(fast(x, 3), x**3)
    assert np.array_equal(fast(x, 3, scale=x), x**4)


def test_constants_are_told_apart_by_name_type_and_value() -> None:
    def f(x: Any, **rest: Any) -> Any:
        return x * 2.0 if "a" in rest else x * 3.0 if "b" in rest else x

    fast = compile(f, backend="numpy")
    assert [fast(1.0, a=1.0), fast(1.0, b=1.0), fast(1.0), fast(1.0, c=1.0)] == [2.0, 3.0, 1.0, 1.0]
    shown = compile(lambda x, n: x * len(repr(n)), backend="numpy")
    assert [shown(1.0, n) for n in (1, True, np.str_("abc"), None)] == [1.0, 4.0, 5.0, 4.0]


def test_sets_are_constants_even_if_they_change() -> None:
    fast = compile(lambda x, s: x * len(s) if x > 0.0 else x * sum(s), backend="numpy")
    numbers = {1, 2}
    assert fast(1.0, numbers) == 2.0
    numbers.add(3)
    assert fast(1.0, numbers) == 3.0
    assert fast(-1.0, {2, 1}) == -3.0


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_constant_that_cannot_be_compared_is_named(backend: Any) -> None:
    fast: Any = compile(lambda x, *, rest: x, backend=backend)
    with pytest.raises(TypeError, match=r"argument rest\[0\] is a constant of the compiled code, and bytearray"):
        fast(1.0, rest=[bytearray(b"a")])


def test_many_constants_take_no_more_than_max_ways_entries() -> None:
    fast = compile(lambda x, n: x * n, backend="numpy", max_ways=3)
    x = np.array([1.0, 2.0])
    for n in [*range(6), 5, 0]:
        assert np.array_equal(fast(x, n), n * x)
    assert fast.source.count("def ") == 3


@pytest.mark.parametrize("kind", ["c16", "M8[D]", "U1"])
def test_arrays_of_other_things_than_real_numbers_are_refused(kind: str) -> None:
    with pytest.raises(TypeError, match="must hold real numbers"):
        compile(lambda x: x * 2.0, backend="numpy")(np.array([1, 2]).astype(kind))


def test_jacobians_and_hessians_are_fields() -> None:
    x, y = np.array([0.5, 1.0, 2.0]), np.array([1.0, -1.0, 0.25])
    spiral = jacobian(lambda q: [q[0] * ad.cos(q[1]), q[0] * ad.sin(q[1])])
    found = compile(spiral, backend="numpy")([x, y])
    bent = compile(hessian(lambda q: ad.exp(q[0] * q[1])), backend="numpy")([x, y])
    for i in range(3):
        at = [float(x[i]), float(y[i])]
        assert np.allclose([[cell[i] for cell in row] for row in found], spiral(at), rtol=1e-14)
        expected = hessian(lambda q: ad.exp(q[0] * q[1]))(at)
        assert np.allclose([[cell[i] for cell in row] for row in bent], expected, rtol=1e-14)


# ---- branches


def staircase(x: Any, y: Any) -> Any:
    if x > y:
        return x * y if y > 0.0 else ad.sqrt(x - y)
    total = x
    while total < 2.0:
        total = total + abs(y) + 0.5
    return total * y


@given(st.lists(st.tuples(st.floats(-3.0, 3.0), st.floats(-3.0, 3.0)), min_size=1, max_size=40))
def test_every_point_goes_its_own_way(points: list[tuple[float, float]]) -> None:
    both = value_and_grad(staircase, argnums=(0, 1))
    value, slopes = compile(both, backend="numpy")(*np.array(points).T)
    for i, point in enumerate(points):
        expected_value, expected_slopes = both(*point)
        assert agree(value[i], expected_value)
        assert all(agree(a[i], b) for a, b in zip(slopes, expected_slopes, strict=True))


def test_too_many_ways_run_f_itself() -> None:
    fast = compile(grad(lambda x: staircase(x, 0.1 * x)), backend="numpy", max_ways=2)
    x = np.linspace(-3.0, 3.0, 25)
    assert np.allclose(fast(x), [grad(lambda x: staircase(x, 0.1 * x))(float(one)) for one in x], rtol=1e-13)


def test_branches_of_broadcast_arrays() -> None:
    fast = compile(lambda x, y: x if x > y else y * 2.0, backend="numpy")
    found = fast(np.array([[1.0], [3.0]]), np.array([0.0, 2.0, 4.0]))
    assert np.array_equal(found, [[1.0, 4.0, 8.0], [3.0, 3.0, 8.0]])


def test_branches_on_a_number_for_all_points() -> None:
    fast = compile(lambda x, up: x if up > 0.0 else -x, backend="numpy")
    x = np.array([1.0, 2.0])
    assert np.array_equal(fast(x, 1.0), x)
    assert np.array_equal(fast(x, -1.0), -x)


@pytest.mark.parametrize("question", [int, round, math.floor, lambda x: x.data])
def test_questions_with_many_answers_are_refused(question: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"use autodiff\.floor, rint, where or clip"):
        compile(lambda x: x * question(x), backend="numpy")(np.array([1.5, 2.5]))


def test_branches_with_results_of_several_shapes_are_refused() -> None:
    with pytest.raises(TypeError, match="several shapes"):
        compile(lambda x: x if x > 0.0 else [x, x], backend="numpy")(np.array([1.0, -1.0]))


def test_a_whole_number_of_a_result_is_a_number_like_others() -> None:
    x = np.array([2.0, -1.0, 3.0])
    assert np.array_equal(compile(lambda x: x if x > 0.0 else 0, backend="numpy")(x), [2.0, 0.0, 3.0])
    assert np.array_equal(compile(lambda x: 1 if x > 0.0 else 2, backend="numpy")(x), [1.0, 2.0, 1.0])
    assert np.array_equal(compile(lambda x: 1 if x > 0.0 else 2, backend="numpy", max_ways=1)(x), [1.0, 2.0, 1.0])
    by_kind = compile(lambda x: np.float64(1.0) if x > 0.0 else np.float64(2.0), backend="numpy")
    assert np.array_equal(by_kind(x), [1.0, 2.0, 1.0])


@pytest.mark.parametrize("result", [None, [], "label", True])
def test_a_result_without_numbers_is_given_back(result: Any) -> None:
    assert compile(lambda x: result if x > 0.0 or x < 0.0 else 1.0, backend="numpy")(np.array([1.0, -1.0])) == result


@pytest.mark.parametrize(("one", "other"), [(np.zeros((1, 2)), np.zeros((2, 1))), (True, "1"), ([True], [None])])
def test_results_that_differ_in_shape_or_constants_are_refused(one: Any, other: Any) -> None:
    with pytest.raises(TypeError, match="several shapes"):
        compile(lambda x: (x, one if x > 0.0 else other), backend="numpy")(np.array([1.0, -1.0]))


@pytest.mark.parametrize("first", [[-1.0], [1.0], [1.0, -1.0]])
def test_no_points_take_no_way(first: list[float]) -> None:
    fast = compile(lambda x, y: x if x > y else y, backend="numpy")
    fast(np.array(first), 0.0)
    assert fast(np.zeros((3, 1)), np.zeros(0)).shape == (3, 0)


def test_names_of_generated_code_are_kept_from_arguments() -> None:
    def way_1(x: Any, way_2: Any, v1: Any, unseen: Any, split: Any, sqrt: Any) -> Any:
        return ad.sqrt(x * way_2) if x > v1 else x * unseen - split * sqrt

    x = np.array([4.0, -1.0])
    assert np.array_equal(compile(way_1, backend="numpy")(x, 4.0, 0.0, 2.0, 1.0, 3.0), [4.0, -5.0])


# ---- what floats do not do


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_rounding_gives_no_negative_zero_and_signs_keep_it(backend: Any) -> None:
    def turned(x: Any) -> Any:
        return [ad.atan2(rounded(x), -1.0) for rounded in (ad.floor, ad.ceil, ad.trunc, ad.rint, ad.sign)]

    fast: Any = compile(turned, backend=backend)
    for x in (-0.0, -0.25, 0.0, 0.25):
        assert fast(x) == turned(x)


def test_derivatives_of_angles_next_to_the_origin() -> None:
    slopes = grad(ad.atan2, argnums=(0, 1))
    for y, x in ((-5e-324, 0.0), (5e-324, -0.0), (-inf, nan), (0.0, 5e-324)):
        assert str(compile(slopes, backend="numpy")(y, x)) == str(slopes(y, x))


def test_a_function_that_catches_errors_is_refused() -> None:
    def f(x: Any) -> Any:
        try:
            return ad.log(x)
        except ValueError:
            return x

    with pytest.raises(TypeError, match="catches an error of an operation"):
        compile(f, backend="numpy")(-1.0)


def test_an_exact_zero_signal_wins_over_infinity() -> None:
    slope = grad(lambda x: ad.sqrt(ad.relu(x)))
    x = np.array([-1.0, 4.0, -2.0])
    found = compile(slope, backend="numpy")(x)
    assert np.array_equal(found, [slope(float(one)) for one in x])
    assert np.array_equal(found, [0.0, 0.25, 0.0])


def test_the_rule_holds_on_every_way() -> None:
    slope = grad(lambda x: ad.sqrt(ad.relu(x)) if x < 1.0 else ad.sqrt(ad.relu(2.0 - x)))
    x = np.array([-1.0, 0.25, 3.0, 1.75])
    assert np.array_equal(compile(slope, backend="numpy")(x), [0.0, 1.0, 0.0, -1.0])


def test_infinities_of_both_signs_are_no_sign_of_nan() -> None:
    by_y = grad(lambda x, y: x * x if y > 0.5 else x * ad.softplus(y * y), argnums=1)
    found = compile(by_y, backend="numpy")(np.array([inf, -inf, 2.0]), -1.0 * np.ones(3))
    assert np.array_equal(found, [by_y(x, -1.0) for x in (inf, -inf, 2.0)])


def test_where_f_raises_the_result_is_not_a_number() -> None:
    fast = compile(lambda x: ad.log(x) + 1.0 / (x - 2.0), backend="numpy")
    found = fast(np.array([-1.0, 0.0, 1.0, 2.0]))
    assert math.isnan(found[0])
    assert list(found[1:]) == [-inf, -1.0, inf]


def test_where_f_raises_at_every_point_so_does_this() -> None:
    with pytest.raises(ValueError, match="log"):
        compile(ad.log, backend="numpy")(np.array([-1.0, -2.0]))


# ---- what f closes over


def test_values_from_outside_are_live() -> None:
    w = Value(2.0, "w")
    fast = compile(grad(lambda x: w * x * x), backend="numpy")
    x = np.array([1.0, 3.0])
    assert np.array_equal(fast(x), [4.0, 12.0])
    w.data = 10.0
    assert np.array_equal(fast(x), [20.0, 60.0])
    assert "def function(x, w):" in fast.source


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_inside_another_compiled_function_they_are_live_too(backend: Any) -> None:
    w = Value(2.0)
    inner: Any = compile(lambda x: w * x if x > 0.0 else x * 5.0, backend=backend)
    outer = compile(lambda y: inner(y) + inner(3.0))
    assert outer(1.0) == 8.0
    w.data = 10.0
    assert outer(1.0) == 40.0


def test_fields_inside_another_compiled_function_are_live_too() -> None:
    w = Value(2.0)
    field = compile(lambda x, y: (w * x if x > 0.0 else x * 5.0, y), backend="numpy")
    points = np.array([[1.0], [-1.0]])
    outer = compile(lambda y: y * np.sum(field(points, np.array([0.0, 1.0, 2.0]))[0]))
    assert outer(1.0) == -9.0
    w.data = 10.0
    assert outer(1.0) == 15.0


def test_a_value_computed_outside_is_refused() -> None:
    w = Value(2.0, "w") * 3.0
    with pytest.raises(TypeError, match="compute it inside"):
        compile(lambda x: w * x, backend="numpy")(np.array([1.0]))


def test_a_value_as_argument_is_refused() -> None:
    with pytest.raises(TypeError, match="call the function itself"):
        compile(wave, backend="numpy")(Value(1.0), np.array([1.0]))


def test_a_primitive_of_ones_own_is_called_for_each_number() -> None:
    calls: list[float] = []

    def cube_of(x: float) -> float:
        calls.append(x)
        return x * x * x

    cube = Primitive("cube", cube_of, "{0} * {0} * {0}", lambda out, x: 3.0 * x * x)
    value, slope = compile(value_and_grad(cube), backend="numpy")(np.array([1.0, 2.0, 3.0]))
    assert np.array_equal(value, [1.0, 8.0, 27.0])
    assert np.array_equal(slope, [3.0, 12.0, 27.0])
    assert {1.0, 2.0, 3.0} <= set(calls)


@pytest.mark.parametrize(
    "name", ["v1", "d1", "way_1", "way_2", "split", "unseen", "x", "f", "sin", "where", "nan", "inf"]
)
def test_a_primitive_with_the_name_of_anything_around_it(name: str) -> None:
    own = Primitive(name, lambda x: x * x * x, "", lambda out, x: 3.0 * x * x)

    def f(x: Any) -> Any:
        y = ad.sin(x) * own(x)
        return own(y + 1.0) if y > 0.1 else -own(y) * nan if y > inf else ad.where(x, y, own(x))

    for g in (f, grad(f)):
        found = compile(g, backend="numpy")(np.array([0.5, -0.5, 1.5, 0.0]))
        assert found == pytest.approx([g(0.5), g(-0.5), g(1.5), g(0.0)], rel=1e-12)


def test_the_source_is_straight_line() -> None:
    fast = compile(value_and_grad(wave, argnums=(0, 1)), backend="numpy")
    fast(np.zeros(2), np.zeros(2))
    assert fast.source.startswith("def wave(x, y):\n    # values\n    v1 = x * y\n")
    assert " if " not in fast.source


def test_a_compiled_function_can_be_copied_and_pickled() -> None:
    fast = compile(wave, backend="numpy")
    x = np.array([0.5, 1.0])
    for other in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert np.array_equal(other(x, x), fast(x, x))
    assert repr(fast) == "<wave compiled for NumPy arrays>"


def test_threads_learn_ways_together() -> None:
    fast = compile(value_and_grad(staircase, argnums=(0, 1)), backend="numpy")
    points = np.random.default_rng(0).uniform(-3.0, 3.0, size=(8, 2, 200))
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda p: fast(*p), points))
    again = compile(value_and_grad(staircase, argnums=(0, 1)), backend="numpy")
    for point, (value, slopes) in zip(points, results, strict=True):
        expected_value, expected = again(*point)
        assert np.array_equal(value, expected_value)
        assert np.array_equal(slopes, expected)


def test_what_the_benchmark_has_by_hand_is_right() -> None:
    for count in (100, CHUNK + 1):
        entries = {entry.name: entry.setup() for entry in backends.fields(count)}
        assert len(entries) == 3
        harness.compare({name: job.numbers() for name, job in entries.items()})


@pytest.mark.parametrize("options", [{"backend": "cuda"}, {"backend": "numpy", "verify": True}])
def test_other_backends_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="backend must be 'numpy', 'numba' or None"):
        compile(wave, **options)


def test_without_scipy_special_functions_are_those_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "scipy.special", None)
    found = compile(grad(ad.erf), backend="numpy")(np.array([0.0, 1.0]))
    assert np.allclose(found, [grad(ad.erf)(0.0), grad(ad.erf)(1.0)], rtol=1e-15)
    assert compile(lambda x: ad.erf(x) + ad.lgamma(x), backend="numpy")(np.array([0.5]))[0] == pytest.approx(
        math.erf(0.5) + math.lgamma(0.5), rel=1e-15
    )
