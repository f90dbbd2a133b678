"""NumPy and Values: arrays of Values, Values beside NumPy's numbers, arrays of numbers as arguments."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import autodiff as ad
from autodiff import Value, batch_sum, compile, grad, hessian, jacobian, value_and_grad

KINDS = [np.float64, np.float32, np.float16, np.longdouble]
KINDS += [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod]
COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]

numbers = st.floats(-10.0, 10.0)
rows = st.lists(numbers, min_size=1, max_size=5)


def name(x: Any) -> str:
    return str(getattr(x, "__name__", x))


def values(array: Any) -> Any:
    """Turn an array of numbers into one of Values."""
    flat = np.empty(np.size(array), dtype=object)
    flat[:] = [Value(float(x)) for x in np.ravel(array)]
    return flat.reshape(np.shape(array))


def data(array: Any) -> Any:
    """Read the numbers of an array of Values; all of them must be Values."""
    assert all(type(x) is Value for x in np.ravel(array))
    return np.array([x.data for x in np.ravel(array)]).reshape(np.shape(array))


def slopes(array: Any) -> Any:
    """Read the derivatives in an array of Values."""
    return np.array([x.grad for x in np.ravel(array)]).reshape(np.shape(array))


# ---- one number beside a Value


@pytest.mark.parametrize("kind", KINDS, ids=name)
@pytest.mark.parametrize("operation", [*OPERATORS, operator.pow], ids=name)
def test_numbers_of_every_type_on_either_side(operation: Callable[[Any, Any], Any], kind: Any) -> None:
    for number in (kind(3), np.array(3, dtype=kind)[()]):
        for x in (2.5, 0.75):
            for left, right in ((Value(x), number), (number, Value(x))):
                found = operation(left, right)
                assert type(found) is Value
                expected = operation(*(y.data if type(y) is Value else float(y) for y in (left, right)))
                assert found.data == expected
                assert type(found.data) is float


@pytest.mark.parametrize("kind", KINDS, ids=name)
def test_derivatives_beside_them_are_those_beside_floats(kind: Any) -> None:
    def f(x: Any, three: Any) -> Any:
        return three * x / (three + x) - x**three + three**x

    x = Value(1.5)
    f(x, kind(3)).backward()
    assert x.grad == grad(f)(1.5, 3.0)


@pytest.mark.parametrize("kind", KINDS, ids=name)
@pytest.mark.parametrize("comparison", COMPARISONS, ids=name)
def test_comparisons_on_either_side_are_truth_values(comparison: Callable[[Any, Any], Any], kind: Any) -> None:
    for x in (1.5, 3.0, 5.0):
        for left, right in ((Value(x), kind(3)), (kind(3), Value(x))):
            found = comparison(left, right)
            expected = comparison(*(y.data if type(y) is Value else float(y) for y in (left, right)))
            assert bool(found) is expected


@pytest.mark.parametrize("kind", KINDS, ids=name)
def test_numbers_of_every_type_become_values_and_arguments(kind: Any) -> None:
    assert Value(kind(3)).data == 3.0
    assert type(Value(kind(3)).data) is float
    assert ad.maximum(kind(3), Value(2.0)).data == 3.0
    assert type(ad.exp(kind(0))) is float
    assert grad(lambda x: x * x)(kind(3)) == 6.0
    assert compile(grad(lambda x: x * x))(kind(3)) == 6.0


def test_truth_values_are_no_numbers() -> None:
    with pytest.raises(TypeError):
        Value(np.True_)


# ---- arrays of Values


@pytest.mark.parametrize("operation", OPERATORS, ids=name)
@given(rows, st.floats(0.5, 3.0))
def test_arrays_of_numbers_beside_a_value(operation: Callable[[Any, Any], Any], row: list[float], x: float) -> None:
    array = np.array(row) + 20.0  # away from 0, which may not be divided by
    assert np.array_equal(data(operation(Value(x), array)), [operation(x, float(y)) for y in array])
    assert np.array_equal(data(operation(array, Value(x))), [operation(float(y), x) for y in array])


UFUNCS = {
    "exp": np.exp, "expm1": np.expm1, "exp2": np.exp2, "log": np.log, "log1p": np.log1p, "log2": np.log2,
    "log10": np.log10, "sqrt": np.sqrt, "cbrt": np.cbrt, "square": np.square, "reciprocal": np.reciprocal,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "asinh": np.arcsinh, "atanh": np.arctanh,
    "degrees": np.degrees, "radians": np.radians, "fabs": np.fabs, "rint": np.rint,
}  # fmt: skip
PAIRS = {
    "maximum": np.maximum, "minimum": np.minimum, "atan2": np.arctan2, "hypot": np.hypot, "fmod": np.fmod,
}  # fmt: skip


@pytest.mark.parametrize("function", UFUNCS)
def test_universal_functions_of_arrays_of_values(function: str) -> None:
    numbers = [0.25, 0.5, 0.875]
    array = values(numbers)
    result = UFUNCS[function](array)
    ours = getattr(ad, function)
    assert np.array_equal(data(result), [ours(x) for x in numbers])
    result.sum().backward()
    assert np.array_equal(slopes(array), [grad(ours)(x) for x in numbers])


@pytest.mark.parametrize("function", PAIRS)
def test_universal_functions_of_two_arrays(function: str) -> None:
    left, right = [0.25, 2.5, -1.0], [1.5, 0.5, 2.0]
    ours = getattr(ad, function)
    expected = [ours(x, y) for x, y in zip(left, right, strict=True)]
    one, two = values(left), values(right)
    result = PAIRS[function](one, two)
    assert np.array_equal(data(result), expected)
    result.sum().backward()
    found = list(zip(slopes(one), slopes(two), strict=True))
    assert found == [grad(ours, (0, 1))(x, y) for x, y in zip(left, right, strict=True)]


@pytest.mark.parametrize("function", [np.sign, np.floor, np.ceil, np.trunc], ids=name)
def test_steps_give_plain_numbers_for_they_have_no_slope(function: Callable[[Any], Any]) -> None:
    assert list(function(values([-1.5, 0.0, 2.5]))) == list(function(np.array([-1.5, 0.0, 2.5])))


@pytest.mark.parametrize("function", [np.logaddexp, np.copysign], ids=name)
def test_what_numpy_has_for_floats_only_is_an_error(function: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="not supported for the input types"):
        function(values([1.0, 2.0]), values([1.0, 2.0]))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.randoms())
def test_matrix_products(n: int, m: int, k: int, rng: Any) -> None:
    a, b = (np.array([[rng.uniform(-1.0, 1.0) for _ in range(c)] for _ in range(r)]) for r, c in ((n, m), (m, k)))
    left, right = values(a), values(b)
    product = left @ right
    assert np.allclose(data(product), a @ b, rtol=1e-14, atol=1e-15)
    product.sum().backward()
    ones = np.ones((n, k))
    assert np.allclose(slopes(left), ones @ b.T, rtol=1e-14, atol=1e-15)
    assert np.allclose(slopes(right), a.T @ ones, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("product", [np.dot, np.inner, np.vdot, operator.matmul], ids=name)
def test_products_of_numbers_with_values(product: Callable[[Any, Any], Any]) -> None:
    w = values([1.0, 2.0, 3.0])
    x = np.array([0.5, -1.0, 2.0])
    if product is np.vdot:
        x = x.astype(object)
    found = product(w, x)
    assert (type(found), found.data) == (Value, 4.5)
    found.backward()
    assert list(slopes(w)) == [0.5, -1.0, 2.0]
    assert product(x, w).data == 4.5


def test_broadcasting_and_reductions() -> None:
    column, row = values([[1.0], [2.0]]), values([3.0, 4.0, 5.0])
    table = column * row + 1.0
    assert table.shape == (2, 3)
    assert np.array_equal(data(table), [[4.0, 5.0, 6.0], [7.0, 9.0, 11.0]])
    assert np.array_equal(data(table.sum(axis=0)), [11.0, 14.0, 17.0])
    assert table.mean().data == 7.0
    assert table.prod(axis=1)[0].data == 120.0
    assert np.cumsum(row)[-1].data == 12.0
    assert np.max(row) is row[2]
    assert np.argmin(column) == 0
    assert [x.data for x in np.sort(np.array([row[1], row[2], row[0]]))] == [3.0, 4.0, 5.0]
    table.sum().backward()
    assert np.array_equal(slopes(column), [[12.0], [12.0]])
    assert np.array_equal(slopes(row), [3.0, 3.0, 3.0])


def test_indexing_stacking_and_einsum_keep_the_values() -> None:
    a = values([[1.0, 2.0], [3.0, 4.0]])
    assert np.concatenate([a, a.T])[2, 1] is a[1, 0]
    assert np.stack([a[0], a[1]])[1, 1] is a[1, 1]
    assert np.trace(a).data == 5.0
    assert np.array_equal(data(np.einsum("ij,kj->ik", a, a)), [[5.0, 11.0], [11.0, 25.0]])
    assert np.array_equal(data(np.where(np.array([True, False]), a[0], a[1])), [1.0, 4.0])
    assert np.array_equal(data(np.outer(a[0], a[1])), [[3.0, 4.0], [6.0, 8.0]])


def test_truths_of_numpy_are_truths() -> None:
    """A comparison of NumPy's numbers gives one: functions of floats take the entries of an array, too."""

    def root(x: Any) -> Any:
        return ad.where(x > 0.0, ad.sqrt(abs(x)), 0.0)

    for f in (root, compile(root)):
        assert [f(x) for x in np.array([4.0, -1.0, 9.0])] == [2.0, 0.0, 3.0]
    limit = np.array([1.0, 5.0])
    assert grad(lambda x: ad.where(limit[0] > 3.0, x, 2.0 * x))(1.0) == 2.0
    assert ad.sum([Value(1.0), limit[1] > 3.0]).data == ad.affine([2.0], [np.True_], 0.0) == 2.0


def test_adding_in_place_makes_new_values() -> None:
    a = values([1.0, 2.0])
    before = list(a)
    a += np.array([10.0, 20.0])
    assert np.array_equal(data(a), [11.0, 22.0])
    assert [x.data for x in before] == [1.0, 2.0]
    (a[0] * a[1]).backward()
    assert [x.grad for x in before] == [22.0, 11.0]


def test_an_array_given_to_a_function_of_numbers_is_an_error_with_advice() -> None:
    with pytest.raises(TypeError, match="NumPy's functions take arrays of Values"):
        ad.exp(np.array([1.0, 2.0]))


# ---- transforms of functions written with arrays


def layer(w: Any, x: Any) -> Any:
    return np.tanh(w @ x)


W = np.array([[0.5, -1.0, 0.25], [2.0, 0.125, -0.5]])
X = np.array([0.3, -0.2, 0.9])
ENGINES: dict[str, Callable[[Any], Any]] = {"as it is": lambda f: f, "compiled": compile}


@pytest.mark.parametrize("engine", ENGINES)
def test_jacobians_of_functions_of_arrays(engine: str) -> None:
    wrap = ENGINES[engine]
    bend = 1.0 - np.tanh(W @ X) ** 2
    by_x = wrap(jacobian(layer, 1))(W, X)
    assert by_x.shape == (2, 3)
    assert np.allclose(by_x, bend[:, None] * W, rtol=1e-14)
    by_w = wrap(jacobian(layer))(W, X)
    assert by_w.shape == (2, 2, 3)
    assert np.allclose(by_w, np.einsum("ij,i,k->ijk", np.eye(2), bend, X), rtol=1e-14)


@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_and_hessians_come_as_arrays(engine: str) -> None:
    wrap = ENGINES[engine]
    a = np.array([[4.0, 1.0, 0.0], [1.0, 3.0, -1.0], [0.0, -1.0, 2.0]])
    value, slope = wrap(value_and_grad(lambda x: 0.5 * x @ a @ x))(X)
    assert type(slope) is np.ndarray
    assert slope.dtype == float
    assert value == pytest.approx(0.5 * X @ a @ X, rel=1e-14)
    assert np.allclose(slope, a @ X, rtol=1e-14)
    assert np.allclose(wrap(hessian(lambda x: 0.5 * x @ a @ x))(X), a, rtol=1e-14)


def test_a_compiled_function_of_arrays_gives_the_same_bits() -> None:
    def loss(w: Any, x: Any) -> Any:
        return np.sum((layer(w, x) - np.array([0.1, -0.2])) ** 2)

    fast = compile(value_and_grad(loss))
    for scale in (1.0, -0.5, 3.0):
        value, slope = fast(W * scale, X)
        expected_value, expected = value_and_grad(loss)(W * scale, X)
        assert value == expected_value
        assert np.array_equal(slope, expected)
    assert compile(loss)(W, X) == loss(values(W), values(X)).data


@given(st.lists(numbers, min_size=3, max_size=3))
def test_results_in_arrays_are_arrays(x: list[float]) -> None:
    found = compile(lambda x: np.array([x[0] * x[1], x[2], 1.0]))(np.array(x))
    assert [float(y) for y in found] == [x[0] * x[1], x[2], 1.0]


@pytest.mark.parametrize("column", [[1.0, 2.0, 3.0], np.array([1.0, 2.0, 3.0])])
def test_classes_in_arrays_get_code_at_once_too(column: Any) -> None:
    f = batch_sum(lambda x, row: x * row[0] + row[1] * x * x)
    fast = compile(f)
    factors = np.array([[1, 2], [3, 4], [1, 2]])
    assert fast(column, factors) == f([1.0, 2.0, 3.0], factors.tolist())
    assert [report.ways for report in fast.specialisations] == [2]
