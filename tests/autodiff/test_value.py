"""`Value`: the same numbers as floats, repeatable sweeps, and no silent loss under any abuse."""

import cmath
import copy
import gc
import math
import operator
import pickle
import struct
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import inf, isnan, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import autodiff as ad
from autodiff import Primitive, Value, anomaly_detection, no_grad

numpy = pytest.importorskip("numpy")

ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow]
COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]


def chain_of(length: int, x: Value) -> Value:
    for _ in range(length):
        x = x + 1.0
    return x


# ---- promise 1: Value arithmetic is float arithmetic

PUBLIC = [f for f in (getattr(ad, name) for name in ad.__all__) if isinstance(f, Primitive) and f.arity]
UNARY: list[Callable[[Any], Any]] = [
    *(f for f in PUBLIC if f.arity == 1),
    ad.sinc,
    ad.leaky_relu,
    ad.elu,
    operator.neg,
    operator.pos,
    abs,
]
BINARY: list[Callable[[Any, Any], Any]] = [
    *ARITHMETIC * 3,  # drawn more often than the others
    *(f for f in PUBLIC if f.arity == 2 and f.name != "polygamma"),
    lambda x, y: divmod(x, y)[0],
    lambda x, y: divmod(x, y)[1],
    lambda x, y: ad.where(x > y, x, y),
    lambda x, y: ad.clip(x, -1.0, y),
    lambda x, y: x if x == y else y,
    lambda x, y: y * (round(x) if abs(x) < 10 else math.floor(y)),
    lambda x, y: ad.logsumexp([x, y, x]),
    lambda x, y: ad.affine([x, 2], [y, x], y),
    lambda x, y: ad.softmax_cross_entropy([x, y], 1),
    lambda x, y: ad.sum([x, y, 1]),
]
EDGES = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, -3.0, inf, -inf, nan, 5e-324, 1.7976931348623157e308, 1e-200, 2.0**53]
NUMBERS = st.one_of(st.sampled_from(EDGES), st.floats(-4.0, 4.0), st.floats())
CONSTANTS = st.one_of(NUMBERS, st.integers(-3, 3), st.booleans(), st.just(2**70), st.just(Fraction(1, 3)))

Step = tuple[Callable[..., Any], int, int, Any, int]
STEPS: st.SearchStrategy[Step] = st.tuples(
    st.one_of(st.sampled_from(UNARY), st.sampled_from(BINARY)),
    st.integers(0, 9),
    st.integers(0, 9),
    CONSTANTS,
    st.integers(0, 3),
)


def run(program: list[Step], xs: list[Any]) -> Iterator[Any]:
    """Yield the result of each step of a program that may use every earlier result again."""
    numbers = list(xs)
    for f, i, j, number, kind in program:
        x, y = numbers[i % len(numbers)], numbers[j % len(numbers)]
        args = [(x, y), (x, y), (x, number), (number, x)][kind]
        result = f(x) if f in UNARY else f(*args)
        if isinstance(result, complex):
            raise ValueError("the one exception of promise 1")
        numbers.append(result)
        yield result


def outcomes(program: list[Step], xs: list[Any]) -> list[bytes | type[Exception]]:
    found: list[bytes | type[Exception]] = []
    try:
        for number in run(program, xs):
            data = number.data if isinstance(number, Value) else float(number)
            found.append(struct.pack("<d", data))
    except (ArithmeticError, ValueError, TypeError) as error:
        found.append(type(error))
    return found


@settings(max_examples=600)
@given(st.lists(STEPS, min_size=1, max_size=8), st.lists(NUMBERS, min_size=1, max_size=3))
def test_floats_and_values_give_the_same_bits_and_errors(program: list[Step], xs: list[float]) -> None:
    assert outcomes(program, [Value(x) for x in xs]) == outcomes(program, xs)


@settings(max_examples=400)
@given(st.lists(STEPS, min_size=1, max_size=8), st.lists(NUMBERS, min_size=1, max_size=3))
def test_what_has_a_value_has_a_backward_pass(program: list[Step], xs: list[float]) -> None:
    """A derivative may be infinite or nan, but the sweep does not raise."""
    leaves = [Value(x) for x in xs]
    try:
        results = list(run(program, leaves))
    except (ArithmeticError, ValueError):
        return
    for result in results:
        if isinstance(result, Value):
            result.backward()


@pytest.mark.parametrize("operation", [*ARITHMETIC, *COMPARISONS])
@pytest.mark.parametrize("number", [3, True, 7, Fraction(1, 4), 2.5])
def test_python_numbers_on_either_side(operation: Callable[[Any, Any], Any], number: Any) -> None:
    for args in ((Value(1.5), number), (number, Value(1.5))):
        plain = [float(x) if isinstance(x, Fraction) else x.data if isinstance(x, Value) else x for x in args]
        got = operation(*args)
        want = operation(*plain)
        assert (got.data if isinstance(got, Value) else got) == want


@pytest.mark.parametrize(
    "kind",
    ["float16", "float32", "float64", "longdouble", "int8", "int16", "int32", "int64", "uint8", "uint64", "bool_"],
)
@pytest.mark.parametrize("operation", ARITHMETIC)
def test_numpy_scalars_on_either_side(operation: Callable[[Any, Any], Any], kind: str) -> None:
    scalar = getattr(numpy, kind)(1)
    for args, want in (((Value(1.5), scalar), (1.5, 1.0)), ((scalar, Value(1.5)), (1.0, 1.5))):
        result = operation(*args)
        assert type(result) is Value
        assert result.data == operation(*want)
        assert len(result.parents) == 1


@pytest.mark.parametrize("kind", ["float32", "float64", "int64"])
def test_numpy_scalars_compare(kind: str) -> None:
    scalar = getattr(numpy, kind)(1)
    assert Value(1.0) == scalar
    assert scalar == Value(1.0)
    assert Value(2.0) > scalar
    assert scalar < Value(2.0)


def test_powers_of_values_and_numbers() -> None:
    x, y = Value(2.0), Value(3.0)
    assert ((x**y).data, (2**y).data, (x**3).data, pow(x, 3).data) == (8.0, 8.0, 8.0, 8.0)
    with pytest.raises(TypeError, match="modulus"):
        pow(x, 3, 5)


def test_divmod_on_either_side() -> None:
    for q, r in (divmod(Value(-7.0), 2), divmod(Value(-7.0), Value(2.0))):
        assert (q.data, r.data) == (-4.0, 1.0)
    q, r = divmod(7, Value(-2.0))
    assert (q.data, r.data) == (-4.0, -1.0)


def test_in_place_operators_make_new_nodes() -> None:
    x = y = Value(2.0)
    y *= 3.0
    y += x
    y -= 1
    y /= 7
    assert (x.data, y.data) == (2.0, 1.0)
    y.backward()
    assert x.grad == pytest.approx(4 / 7)


# ---- the reverse sweep, again and again


def test_a_readme_example() -> None:
    a, b = Value(-4.0), Value(2.0)
    c = a + b
    d = a * b + b**3
    c = c + c + 1
    d = d + d * 2 + (b + a).relu()
    (c - d).backward()
    assert (a.grad, b.grad) == (2.0 - 6.0, 2.0 - (-4.0 + 12.0) * 3.0)


def test_repeating_backward_doubles_the_leaves_and_nothing_else() -> None:
    x = Value(3.0)
    y = x * x
    z = y * x
    z.backward()
    assert (x.grad, y.grad, z.grad) == (27.0, 3.0, 1.0)
    z.backward()
    assert (x.grad, y.grad, z.grad) == (54.0, 3.0, 1.0)


def test_two_losses_add_up_in_the_leaves() -> None:
    w = Value(2.0)
    h = w * w
    (h * 3).backward()
    assert (w.grad, h.grad) == (12.0, 3.0)
    (h * 5).backward()
    assert (w.grad, h.grad) == (32.0, 5.0)


def test_backward_of_a_leaf_adds_the_seed() -> None:
    x = Value(3.0)
    x.backward()
    x.backward(2.0)
    assert x.grad == 3.0


@pytest.mark.parametrize(("seed", "want"), [(2.0, 12.0), (0, 0.0), (True, 6.0), (-0.5, -3.0), (numpy.float32(2), 12.0)])
def test_seeds_scale(seed: Any, want: float) -> None:
    x = Value(3.0)
    (x * x).backward(seed)
    assert x.grad == want
    assert type(x.grad) is float


@pytest.mark.parametrize("seed", ["1", None, 1j, Value(1.0), [1.0]])
def test_a_seed_must_be_a_number(seed: Any) -> None:
    x = Value(3.0)
    with pytest.raises(TypeError, match=r"the seed of backward\(\) must be a number"):
        (x * x).backward(seed)
    assert x.grad == 0.0


def test_changing_a_leaf_later_gives_the_derivative_of_what_was_computed() -> None:
    x = Value(2.0)
    y = x * x
    x.data = 5.0
    y.backward()
    assert (y.data, x.grad) == (4.0, 4.0)


def test_grad_may_be_reset() -> None:
    x = Value(3.0)
    (x * x).backward()
    x.grad = 0.0
    (x * x).backward()
    assert x.grad == 6.0


@pytest.mark.parametrize("rate", [0.5, 1, numpy.float32(0.5), numpy.float64(0.5)])
def test_a_step_downhill_leaves_floats(rate: Any) -> None:
    ws = [Value(3.0), Value(-1.0)]
    (ws[0] * ws[0] * ws[1]).backward()
    ad.descend(ws, rate)
    assert [w.data for w in ws] == [3.0 + 6.0 * rate, -1.0 - 9.0 * rate]
    assert {type(w.data) for w in ws} == {float}


def test_a_step_moves_leaves_only_and_by_a_number_only() -> None:
    w = Value(3.0)
    with pytest.raises(AttributeError, match="computed by mul"):
        ad.descend([w * w], 0.1)
    for rate in (Value(0.1), "0.1", None):
        with pytest.raises(TypeError):
            ad.descend([w], rate)  # type: ignore[arg-type]
    assert type(w.data) is float


def test_interior_data_cannot_be_set() -> None:
    y = Value(2.0) * 3.0
    with pytest.raises(AttributeError, match="computed by mul; set the data of the leaves it depends on"):
        y.data = 1.0
    assert y.data == 6.0


def test_unknown_attributes_are_refused() -> None:
    with pytest.raises(AttributeError):
        Value(1.0).gard = 0.0  # type: ignore[attr-defined]


def test_a_node_knows_how_it_was_computed() -> None:
    a, b = Value(2.0, "a"), Value(5.0)
    y = ad.where(a > 1, a, b) + 0
    chosen = y.parents[0]
    assert chosen.primitive is ad.where
    assert chosen.arguments == (1.0, a, b)
    assert chosen.parents == (a, b)
    assert (a * a).parents == (a, a)
    assert (a / b).local_derivatives() == (0.2, -0.08)
    assert (a.primitive, a.arguments, a.parents, a.local_derivatives()) == (None, (), (), ())


def test_repr_shows_data_grad_and_label() -> None:
    assert repr(Value(1)) == "Value(data=1.0, grad=0.0)"
    assert repr(Value(1.5, "x")) == "Value(data=1.5, grad=0.0, label='x')"


# ---- what a Value is made of, and what it turns into


@pytest.mark.parametrize("data", [1, 1.0, numpy.float32(1), numpy.int64(1), Fraction(1)])
def test_numbers_become_floats(data: Any) -> None:
    x = Value(data)
    assert type(x.data) is float
    x.data = data
    assert type(x.data) is float


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (True, r"not True: write Value\(float\(condition\)\)"),
        (numpy.True_, r"not True: write Value\(float\(condition\)\)"),
        (1j, "not complex 1j"),
        ("1", "not str '1'"),
        (None, "not NoneType None"),
        ([1.0], "not list"),
        (Decimal(1), "not Decimal"),
        (numpy.array([1.0]), "is an array"),
        (Value(1.0), r"would drop its graph: use v itself, or v\.detach\(\)"),
    ],
)
def test_other_things_do_not(data: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        Value(data)
    leaf = Value(1.0)
    with pytest.raises(TypeError, match=words):
        leaf.data = data
    assert leaf.data == 1.0


def test_a_number_too_large_for_a_float_raises_as_float_does() -> None:
    for make in (lambda: Value(10**400), lambda: Value(1.0) + 10**400, lambda: 10**400 * Value(1.0)):
        with pytest.raises(OverflowError):
            make()


@pytest.mark.parametrize("f", [float, math.exp, math.sqrt, math.sin, math.isnan])
def test_turning_into_a_float_is_refused_with_advice(f: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"use v\.data for the number, .* autodiff\.exp\(v\) instead of"):
        f(Value(1.0))


def test_a_value_is_formatted_as_its_number() -> None:
    x = Value(2.0, "x")
    assert f"{x:.3f} {x:8.1e}|{x}" == f"2.000  2.0e+00|{x!r}"


def test_backward_inside_a_differentiated_function_is_refused() -> None:
    def slope(x: Any) -> Any:
        y = x * x
        y.backward()
        return x.grad

    for derivative in (ad.grad(slope), ad.jacobian(slope), lambda x: ad.jvp(slope, (x,), (1.0,))):
        with pytest.raises(RuntimeError, match=r"use grad\(f\) in there too"):
            derivative(2.0)

    def other(x: Any) -> Any:  # of something else it is fine
        w = Value(3.0)
        (w * w).backward()
        return x * w.grad

    assert ad.grad(other)(2.0) == 6.0


@pytest.mark.parametrize("act", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
def test_a_copy_inside_a_compiled_function_follows_the_value(act: Callable[[Any], Any]) -> None:
    w = Value(2.0)
    fast = ad.compile(lambda x: act(w) * x)
    assert [fast(3.0), fast(3.0)] == [6.0, 6.0]
    w.data = 5.0
    assert [fast(3.0), fast(3.0)] == [15.0, 15.0]


@pytest.mark.parametrize("f", [complex, cmath.exp])
def test_turning_into_a_complex_is_refused_with_advice(f: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"use complex\(v\.data\)"):
        f(Value(1.0))


@pytest.mark.parametrize("x", [2.5, -2.5, 0.0, 1e300])
@pytest.mark.parametrize("f", [int, round, math.floor, math.ceil, math.trunc, lambda v: round(v, 1), bool])
def test_whole_numbers_and_truth_may_leave_the_graph(f: Callable[[Any], Any], x: float) -> None:
    assert f(Value(x)) == f(x)
    assert type(f(Value(x))) is type(f(x))


@pytest.mark.parametrize("f", [int, round, math.floor, math.ceil, math.trunc])
def test_whole_numbers_of_nan_and_infinity_raise_as_for_floats(f: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match="NaN"):
        f(Value(nan))
    with pytest.raises(OverflowError, match="infinity"):
        f(Value(inf))


def test_a_value_is_no_index() -> None:
    with pytest.raises(TypeError):
        range(Value(3.0))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        [1, 2, 3][Value(1.0)]  # type: ignore[call-overload]


def test_comparisons_are_by_value_and_hash_by_identity() -> None:
    a, b = Value(1.0), Value(1.0)
    assert a == b == 1.0
    assert not operator.ne(a, b)
    assert a <= b
    assert Value(1.0) < Value(2.0) <= 2
    assert Value(nan) != Value(nan)
    assert len({a, b}) == 2
    assert {a: "a", b: "b"}[a] == "a"
    assert sorted([Value(2.0), Value(1.0)])[0].data == max(Value(1.0), Value(0.0)).data == 1.0


def test_comparisons_with_other_things() -> None:
    assert Value(1.0) != "1"
    assert not operator.eq(Value(1.0), None)
    for compare in COMPARISONS[:4]:
        with pytest.raises(TypeError, match="not supported between"):
            compare(Value(1.0), "1")
        with pytest.raises(TypeError, match="not supported between"):
            compare(1j, Value(1.0))


def test_large_integers_compare_exactly() -> None:
    assert Value(2.0**53) < 2**53 + 1
    assert Value(1.0) < 10**400


@pytest.mark.parametrize("operation", ARITHMETIC)
@pytest.mark.parametrize("thing", ["1", b"1", None, 1j, [1.0], (1.0,), {}, {1}, object(), Decimal(1), ..., int, len])
def test_operands_of_every_other_kind_are_refused(operation: Callable[[Any, Any], Any], thing: Any) -> None:
    with pytest.raises(TypeError):
        operation(Value(1.0), thing)
    if not (operation is operator.mod and isinstance(thing, str | bytes)):  # "..." % v formats a text
        with pytest.raises(TypeError):
            operation(thing, Value(1.0))


class Loud:
    """Something that knows how to combine itself with a Value."""

    def __radd__(self, other: Any) -> str:
        return "radd"


def test_operands_that_know_better_have_their_turn() -> None:
    assert Value(1.0) + Loud() == "radd"  # type: ignore[operator,comparison-overlap]


# ---- NumPy

UFUNCS = [
    "absolute",
    "fabs",
    "exp",
    "exp2",
    "expm1",
    "log",
    "log2",
    "log10",
    "log1p",
    "sqrt",
    "cbrt",
    "square",
    "reciprocal",
    "sin",
    "cos",
    "tan",
    "arcsin",
    "arccos",
    "arctan",
    "arcsinh",
    "sinh",
    "cosh",
    "tanh",
    "arctanh",
    "degrees",
    "rad2deg",
    "radians",
    "deg2rad",
    "rint",
    "negative",
    "positive",
    "conjugate",
]


@pytest.mark.parametrize("name", UFUNCS)
def test_numpy_functions_work_on_arrays_of_values(name: str) -> None:
    ufunc = getattr(numpy, name)
    x = numpy.array([0.25, 0.5])
    result = ufunc(numpy.array([Value(0.25), Value(0.5)]))
    assert [type(v) for v in result] == [Value, Value]
    assert [v.data for v in result] == pytest.approx(list(ufunc(x)), rel=1e-15, abs=0.0)


@pytest.mark.parametrize("name", ["arctan2", "hypot", "maximum", "minimum", "fmax", "fmin", "fmod", "power"])
def test_numpy_functions_of_two_arguments(name: str) -> None:
    ufunc = getattr(numpy, name)
    left, right = numpy.array([Value(0.5)]), numpy.array([Value(2.0)])
    assert ufunc(left, right)[0].data == pytest.approx(float(ufunc(0.5, 2.0)), rel=1e-15, abs=0.0)


def test_numpy_functions_that_give_what_python_gives() -> None:
    """NumPy rounds objects with `math.floor`, and chooses between them by comparing."""
    v = numpy.array([Value(2.5), Value(3.5)])
    assert numpy.arccosh(v)[0].data == math.acosh(2.5)
    assert list(numpy.floor(v)) == [2, 3]
    assert numpy.maximum(v, 3.0)[1] is v[1]
    assert list(numpy.clip(v, 0.0, 3.0)) == [v[0], 3.0]
    assert list(numpy.sign(v)) == [1, 1]


def test_matrix_products() -> None:
    W = numpy.array([[Value(1.0), Value(2.0)], [Value(3.0), Value(4.0)]])
    x = numpy.array([5.0, 6.0])
    y = W @ x
    assert [v.data for v in y] == [17.0, 39.0]
    total = y.sum() + numpy.dot(x, W)[0] + numpy.vdot(W[0], x)
    total.backward()
    assert [[w.grad for w in row] for row in W] == [[15.0, 12.0], [11.0, 6.0]]


def test_arrays_and_values_multiply_elementwise_on_either_side() -> None:
    v, x = Value(3.0), numpy.array([1.0, 2.0])
    for product in (v * x, x * v):
        assert isinstance(product, numpy.ndarray)
        assert [p.data for p in product] == [3.0, 6.0]
    for difference, want in ((v - x, [2.0, 1.0]), (x - v, [-2.0, -1.0]), (x / v, [1 / 3, 2 / 3]), (x**v, [1.0, 8.0])):
        assert [d.data for d in difference] == want
    assert (v * numpy.array(2.0)).data == (numpy.array(2.0) * v).data == 6.0
    assert numpy.mean(v * x).data == 4.5


# ---- modes


def test_no_grad_makes_leaves() -> None:
    w = Value(2.0)
    with no_grad():
        y = w * 3.0 + ad.exp(w)
        assert y.parents == ()
        w.data -= 0.5
    assert (w * 3.0).parents == (w,)
    y.backward()
    assert w.grad == 0.0


def test_no_grad_ends_with_an_exception_and_nests() -> None:
    w = Value(2.0)
    with pytest.raises(ZeroDivisionError), no_grad():
        w / 0
    assert (w + 1).parents == (w,)
    with no_grad():
        with no_grad():
            pass
        assert (w + 1).parents == ()


def test_no_grad_as_a_decorator() -> None:
    w = Value(2.0)
    assert no_grad()(lambda: w * w)().parents == ()


def test_detach_cuts() -> None:
    x = Value(3.0, "x")
    y = x.detach() * x
    y.backward()
    assert (x.grad, x.detach().label) == (3.0, "x")


def test_anomaly_detection_finds_values() -> None:
    with anomaly_detection():
        with pytest.raises(FloatingPointError, match=r"^mul\(a = 1e\+308, 10\.0\) = inf$"):
            Value(1e308, "a") * 10.0
        with pytest.raises(FloatingPointError, match=r"^sub\(inf, b = inf\) = nan$"):
            inf - Value(inf, "b")
    assert (Value(1e308) * 10.0).data == inf


def test_anomaly_detection_finds_local_derivatives() -> None:
    with anomaly_detection():
        with pytest.raises(
            FloatingPointError, match=r"^sqrt\(0\.0\) = 0\.0 has the local derivative inf .* to argument 1$"
        ):
            ad.sqrt(Value(0.0))
        with pytest.raises(FloatingPointError, match=r"with respect to y$"):
            Value(-2.0) ** Value(3.0, "y")
        assert (Value(-2.0) ** 3).data == -8.0  # a constant exponent has no derivative to be nan


def test_anomaly_detection_reaches_into_no_grad_and_lets_leaves_be() -> None:
    with anomaly_detection(), no_grad(), pytest.raises(FloatingPointError):
        Value(1e308) * 10.0
    with anomaly_detection():
        assert isnan(Value(nan).data)


def test_errors_name_operation_operands_and_labels() -> None:
    price, quantity = Value(2.0, "price"), Value(0.0, "quantity")
    with pytest.raises(ZeroDivisionError, match=r"^div\(price = 2\.0, quantity = 0\.0\): float division"):
        price / quantity
    with pytest.raises(ZeroDivisionError, match=r"^mod\(7\.0, quantity = 0\.0\): "):
        7 % quantity
    with pytest.raises(OverflowError, match=r"^exp\(1000\.0\): math range error$"):
        (price * 500).exp()


# ---- copies and pickles


def copies(x: Any) -> Iterator[Any]:
    yield copy.deepcopy(x)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield pickle.loads(pickle.dumps(x, protocol))


def test_leaves_copy() -> None:
    x = Value(2.0, "x")
    x.grad = 5.0
    for y in [copy.copy(x), *copies(x)]:
        assert (y.data, y.grad, y.label, y.primitive) == (2.0, 5.0, "x", None)
        assert y is not x


def test_a_shallow_copy_shares_its_parents() -> None:
    x = Value(2.0)
    y = x * 3.0
    z = copy.copy(y)
    z.backward()
    assert (x.grad, z.parents) == (3.0, (x,))


def test_graphs_copy_whole() -> None:
    x, w = Value(2.0, "x"), Value(3.0, "w")
    y = ad.affine([w, w], [x, 1.0], 0.5) * ad.relu(x) + x
    for twin in copies(y):
        assert twin is not y
        twin.backward()
        leaves = {node.label: node for node in ad.toposort(twin) if node.label}
        assert (leaves["x"].grad, leaves["w"].grad) == (3.0 * 2.0 + 9.5 + 1.0, 6.0)
    assert x.grad == 0.0


def test_what_is_shared_stays_shared() -> None:
    x = Value(2.0)
    h = x * x
    a, b = h + 1.0, h * 3.0
    for twins in copies({"losses": [a, b], "h": h, "x": x}):
        twin_a, twin_b = twins["losses"]
        assert twin_a.parents[0] is twin_b.parents[0] is twins["h"]
        twin_a.backward()
        twin_b.backward()
        assert twins["x"].grad == 16.0


def test_one_pickler_keeps_sharing_between_roots_that_it_writes_one_by_one(tmp_path: Any) -> None:
    x = Value(2.0)
    h = x * x
    with (tmp_path / "graphs").open("wb") as file:
        pickler = pickle.Pickler(file)
        for root in (h + 1.0, h * 3.0, h):
            pickler.dump(root)
    with (tmp_path / "graphs").open("rb") as file:
        unpickler = pickle.Unpickler(file)
        a, b, twin = (unpickler.load() for _ in range(3))
    assert a.parents[0] is b.parents[0] is twin


@pytest.mark.slow
def test_graphs_of_a_hundred_thousand_nodes_copy() -> None:
    x = Value(0.0, "x")
    y = chain_of(100_000, x)
    for twin in (copy.deepcopy(y), pickle.loads(pickle.dumps(y)), copy.copy(y)):
        twin.backward()
        leaf = ad.toposort(twin)[0]
        assert (twin.data, leaf.grad, leaf.label) == (100_000.0, 1.0, "x")


def test_a_failed_pickling_leaves_nothing_behind() -> None:
    own = Primitive("own", lambda x: x, "{}", 1.0)
    deep = chain_of(20_000, Value(0.0))
    for _ in range(2):
        with pytest.raises(TypeError, match="primitive 'own' is not in autodiff's table"):
            pickle.dumps(own(deep) + 1.0)
        assert pickle.loads(pickle.dumps(deep)).data == 20_000.0


class FullDisk:
    """A file that takes so many bytes and no more."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, data: Any) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError("no space left")
        return len(data)


@pytest.mark.parametrize("pickler", [pickle.Pickler, pickle._Pickler])  # type: ignore[attr-defined]
def test_a_pickling_interrupted_by_a_full_disk_leaves_nothing_behind(pickler: Any) -> None:
    deep = chain_of(20_000, Value(0.0))
    inner = deep.parents[0]
    with pytest.raises(OSError, match="no space left"):
        pickler(FullDisk(100_000), 4).dump(deep)
    assert pickle.loads(pickle.dumps(inner)).data == 19_999.0  # an ancestor of the one that failed


def test_pickles_are_independent_of_modes() -> None:
    x = Value(2.0)
    y = x * 3.0
    with no_grad(), anomaly_detection():
        assert all(len(twin.parents) == 1 for twin in copies(y))


# ---- size, memory, threads, interrupts


@pytest.mark.slow
def test_a_chain_of_a_million_nodes() -> None:
    x = Value(0.0)
    y = chain_of(1_000_000, x)
    y.backward()
    assert (y.data, x.grad) == (1_000_000.0, 1.0)


def test_deep_chains_need_no_recursion() -> None:
    """Building, sweeping and dropping a graph far deeper than Python's recursion limit."""
    x = Value(0.0)
    y = chain_of(50_000, x)
    y.backward()
    assert x.grad == 1.0
    assert ad.grad(lambda x: chain_of(50_000, x))(0.0) == 1.0
    assert ad.grad(ad.grad(lambda x: chain_of(5_000, x) ** 2))(0.0) == 2.0


def test_a_sum_of_many_terms() -> None:
    x = Value(0.5)
    ad.sum([x] * 100_000).backward()
    assert x.grad == 100_000.0


@contextmanager
def no_collector() -> Iterator[None]:
    while gc.collect():  # what other tests left may take several rounds, with finalizers in between
        pass
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def work() -> None:
    """Do something of everything that builds graphs."""
    w = Value(2.0)
    y = ad.affine([w, w], [w, 1.0], 0.5).tanh() * w / 3.0
    y.backward()
    y.backward()
    ad.hessian(lambda x: ad.exp(x[0] * w.data) * x[1])([0.5, 1.0])
    ad.grad(lambda x: x * w)(3.0)
    ad.jvp(ad.grad(lambda x: x**3), (1.0,), (1.0,))
    ad.vjp(lambda x: x * x, 2.0)[1](1.0)
    ad.checkpoint(lambda x: x * w)(Value(1.0)).backward()
    ad.batch_mean(lambda x: (x * w) ** 2)([1.0, 2.0]).backward()
    copy.deepcopy(y)
    pickle.loads(pickle.dumps(y))
    with no_grad():
        y = y + 1


def test_no_reference_cycles() -> None:
    work()  # what the first call caches stays
    with no_collector():
        work()
        assert gc.collect() == 0


def test_errors_leave_no_reference_cycles() -> None:
    def fail() -> None:
        for action in (lambda: Value(1.0) / 0, lambda: ad.log(Value(-1.0)), lambda: Value("1")):  # type: ignore[arg-type]
            with suppress(ArithmeticError, ValueError, TypeError):
                action()

    fail()
    with no_collector():
        fail()
        assert gc.collect() == 0


def test_a_dropped_graph_is_freed_at_once() -> None:
    with no_collector():
        x = Value(2.0)
        y = x * x
        z = y.exp()
        z.backward()
        seen = [weakref.ref(y), weakref.ref(z)]
        del y, z
        assert [ref() for ref in seen] == [None, None]


def test_a_node_is_small() -> None:
    x = Value(1.0)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    y = x
    for _ in range(1_000):
        y = y * x
    each = (tracemalloc.get_traced_memory()[0] - before) / 1_000
    tracemalloc.stop()
    assert each < 280


@pytest.fixture
def _busy_threads() -> Iterator[None]:
    """Let threads interrupt each other all the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def rosenbrock(xs: list[Any]) -> Any:
    return ad.sum([100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2 for a, b in pairwise(xs)])


@pytest.mark.usefixtures("_busy_threads")
def test_eight_threads_with_graphs_of_their_own() -> None:
    point = [0.1 * i for i in range(20)]
    want = ad.value_and_grad(rosenbrock)(point)

    def job(i: int) -> bool:
        for _ in range(5):
            with no_grad() if i % 2 else anomaly_detection():
                if ad.value_and_grad(rosenbrock)(point) != want:
                    return False
            xs = [Value(x) for x in point]
            rosenbrock(xs).backward()
            if [x.grad for x in xs] != want[1]:
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(job, range(8)))


@pytest.mark.usefixtures("_busy_threads")
def test_eight_threads_on_one_graph() -> None:
    w, v = Value(2.0), Value(3.0)
    loss = chain_of(50, w * v) * w
    start = threading.Barrier(8)

    def job(_: int) -> None:
        start.wait()
        for _ in range(20):
            loss.backward()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(job, range(8)))
    assert (w.grad, v.grad) == (160 * (2.0 * 6.0 + 50.0), 160 * 4.0)


@pytest.mark.usefixtures("_busy_threads")
def test_eight_threads_with_one_parameter() -> None:
    w = Value(2.0)

    def job(i: int) -> None:
        for _ in range(20):
            (w * float(i)).backward()
            ad.batch_sum(lambda x: w * x)([float(i), 1.0]).backward()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(job, range(8)))
    assert w.grad == 20 * (28 + 28 + 8)


@pytest.mark.usefixtures("_busy_threads")
def test_pickling_in_eight_threads() -> None:
    x = Value(1.0)
    y = chain_of(300, x) * x

    with ThreadPoolExecutor(8) as pool:
        for twin in pool.map(lambda _: pickle.loads(pickle.dumps(y)), range(32)):
            twin.backward()
            assert ad.toposort(twin)[0].grad == 302.0


def test_an_interrupt_leaves_the_leaves_as_they_were() -> None:
    interrupts = [KeyboardInterrupt()]

    def rule(out: Any, x: Any) -> Any:
        if interrupts:
            raise interrupts.pop()
        return 1.0

    fragile = Primitive("fragile", lambda x: x, "{}", rule)
    a, b = Value(2.0), Value(3.0)
    a.grad, b.grad = 10.0, 20.0
    y = fragile(a * b) * b + a
    with pytest.raises(KeyboardInterrupt):
        y.backward()
    assert (a.grad, b.grad) == (10.0, 20.0)
    y.backward()
    assert (a.grad, b.grad) == (10.0 + 10.0, 20.0 + 12.0)
