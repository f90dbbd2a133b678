"""The table: every primitive against its definition, its kinks against the written rule, and what users declare."""

import copy
import itertools
import math
import operator
import pickle
from collections.abc import Callable, Iterator
from math import inf, isnan, nan
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from mpmath import mp

import autodiff as ad
from autodiff import Kernel, Primitive, Value, anomaly_detection, compile, grad, hessian, jvp
from autodiff.primitives import SAFE, TABLE, constant
from tests.reference import (
    NULLARY,
    REFERENCES,
    Point,
    Reference,
    _gamma_derivative,
    _hypot_derivative,
    check_first,
    check_high,
    check_second,
    check_value,
)

DIFFERENTIABLE = sorted(set(TABLE) - NULLARY)


# ---- every primitive of the table, to second order


def test_every_primitive_has_a_reference() -> None:
    assert set(TABLE) == set(REFERENCES) | NULLARY


@pytest.mark.parametrize("name", sorted(NULLARY))
def test_a_nullary_primitive_has_nothing_to_differentiate_by(name: str) -> None:
    assert TABLE[name].derivatives == ()


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_right_at_the_fixed_points(name: str) -> None:
    for point in REFERENCES[name].fixed:
        check_value(TABLE[name], REFERENCES[name], point)
        check_first(TABLE[name], REFERENCES[name], point)
        check_second(TABLE[name], REFERENCES[name], point)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@settings(max_examples=10, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(data=st.data())
def test_right_everywhere(name: str, data: st.DataObject) -> None:
    point = data.draw(REFERENCES[name].points)
    check_value(TABLE[name], REFERENCES[name], point)
    check_first(TABLE[name], REFERENCES[name], point)
    check_second(TABLE[name], REFERENCES[name], point)


# ---- the checks above can fail


def scaled(rule: Any, factor: float = 1.001) -> Any:
    return (lambda *args: factor * rule(*args)) if callable(rule) else factor * rule


def mutants(primitive: Primitive, reference: Reference) -> Iterator[Primitive]:
    """Make copies with one local derivative each that is wrong by 0.1%."""
    if isinstance(primitive, Kernel):
        for i in reference.active(max(reference.fixed, key=len)):
            yield Kernel(primitive.name, primitive.value, primitive.source, scaled_at(primitive, i))
        return
    for i, rule in enumerate(primitive.derivatives):
        if rule != 0.0 and any(i in reference.active(point) for point in reference.fixed or [(0.0,)]):
            rules = [scaled(r) if j == i else r for j, r in enumerate(primitive.derivatives)]
            yield Primitive(primitive.name, primitive.value, primitive.source, *rules)


def scaled_at(kernel: Kernel, i: int) -> Callable[..., list[float]]:
    return lambda out, *xs: [1.001 * x if i == j else x for j, x in enumerate(kernel.locals(out, xs))]


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_rule_wrong_by_a_thousandth_is_found(name: str) -> None:
    reference = REFERENCES[name]

    def caught(mutant: Primitive, point: Point) -> bool:
        try:
            check_first(mutant, reference, point)
        except AssertionError:
            return True
        return False

    for mutant in mutants(TABLE[name], reference):
        if not any(caught(mutant, point) for point in reference.fixed):
            few = settings(max_examples=100, database=None, derandomize=True, phases=[Phase.generate])
            find(reference.points, lambda point, mutant=mutant: caught(mutant, point), settings=few)


# ---- higher orders


@pytest.mark.parametrize("order", [3, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_third_and_fourth_derivatives_are_right_at_the_fixed_points(name: str, order: int) -> None:
    for point in REFERENCES[name].fixed[:6]:
        check_high(TABLE[name], REFERENCES[name], point, order)


# ---- points without a derivative: the written rule, in three modes


def by_backward(f: Callable[..., Any], point: Point) -> list[float]:
    xs = [Value(x) for x in point]
    f(*xs).backward()
    return [x.grad for x in xs]


def by_grad(f: Callable[..., Any], point: Point) -> list[float]:
    return list(grad(f, tuple(range(len(point))))(*point))


def by_jvp(f: Callable[..., Any], point: Point) -> list[float]:
    units = ([float(i == j) for j in range(len(point))] for i in range(len(point)))
    return [jvp(f, point, unit)[1] for unit in units]


def by_nested_grad(f: Callable[..., Any], point: Point) -> list[float]:
    """Build the gradient as a graph, as on the way to a second derivative, and read its value."""
    rest = [0.0] * len(point)
    return [jvp(grad(f, i), point, rest)[0] for i in range(len(point))]


KINKS: dict[str, tuple[Callable[..., Any], Point, list[float]]] = {
    "abs at 0": (abs, (0.0,), [0.0]),
    "abs at -0": (abs, (-0.0,), [0.0]),
    "sign at 0": (ad.sign, (0.0,), [0.0]),
    "relu at 0": (ad.relu, (0.0,), [0.0]),
    "leaky_relu at 0": (ad.leaky_relu, (0.0,), [0.01]),
    "leaky_relu at 0, slope given": (lambda x: ad.leaky_relu(x, 0.3), (0.0,), [0.3]),
    "elu at 0": (ad.elu, (0.0,), [1.0]),
    "elu at 0, convex": (lambda x: ad.elu(x, 0.5), (0.0,), [0.5]),
    "elu at 0, concave": (lambda x: ad.elu(x, 2.0), (0.0,), [1.0]),
    "selu at 0, concave": (ad.selu, (0.0,), [1.0507009873554805]),
    "softsign at 0": (ad.softsign, (0.0,), [1.0]),
    "maximum at a tie": (ad.maximum, (2.0, 2.0), [0.5, 0.5]),
    "minimum at a tie": (ad.minimum, (2.0, 2.0), [0.5, 0.5]),
    "maximum of one thing": (lambda x: ad.maximum(x, x), (2.0,), [1.0]),
    "minimum of one thing": (lambda x: ad.minimum(x, x), (2.0,), [1.0]),
    "clip at the lower edge": (lambda x: ad.clip(x, -1.0, 1.0), (-1.0,), [1.0]),
    "clip at the upper edge": (lambda x: ad.clip(x, -1.0, 1.0), (1.0,), [1.0]),
    "hard_tanh at an edge": (ad.hard_tanh, (1.0,), [1.0]),
    "copysign at 0": (lambda x: ad.copysign(x, 1.0), (0.0,), [0.0]),
    "sqrt at 0": (ad.sqrt, (0.0,), [inf]),
    "cbrt at 0": (ad.cbrt, (0.0,), [inf]),
    "x ** 0.5 at 0": (lambda x: x**0.5, (0.0,), [inf]),
    "x ** 1.5 at 0": (lambda x: x**1.5, (0.0,), [0.0]),
    "x ** 1 at 0": (lambda x: x**1, (0.0,), [1.0]),
    "x ** 0 at 0": (lambda x: x**0, (0.0,), [0.0]),
    "0 ** y at 2": (lambda y: 0.0**y, (2.0,), [0.0]),
    "x ** y at (0, 2)": (lambda x, y: x**y, (0.0, 2.0), [0.0, 0.0]),
    "x ** y at (-2, 3)": (lambda x, y: x**y, (-2.0, 3.0), [12.0, nan]),
    "(-2) ** y at 3": (lambda y: (-2.0) ** y, (3.0,), [nan]),
    "hypot at the origin": (ad.hypot, (0.0, 0.0), [0.0, 0.0]),
    "atan2 at the origin": (ad.atan2, (0.0, 0.0), [nan, nan]),
    "asin at 1": (ad.asin, (1.0,), [inf]),
    "acos at 1": (ad.acos, (1.0,), [-inf]),
    "acosh at 1": (ad.acosh, (1.0,), [inf]),
    "floor at a whole number": (ad.floor, (2.0,), [0.0]),
    "ceil at a whole number": (ad.ceil, (2.0,), [0.0]),
    "trunc at a whole number": (ad.trunc, (2.0,), [0.0]),
    "rint at a tie": (ad.rint, (2.5,), [0.0]),
    "x // y at a jump": (lambda x, y: x // y, (4.0, 2.0), [0.0, 0.0]),
    "x % y at a jump": (lambda x, y: x % y, (4.0, 2.0), [1.0, -2.0]),
    "where behind a false condition": (lambda x: ad.where(x > 0, ad.sqrt(x), 0.0), (0.0,), [0.0]),
    "a dead edge beside an infinity": (lambda x: 0.0 * ad.sqrt(x), (0.0,), [0.0]),
    "sqrt(x) ** 2 at 0": (lambda x: ad.sqrt(x) ** 2, (0.0,), [0.0]),
    "sqrt(x ** 2) at 0": (lambda x: ad.sqrt(x**2), (0.0,), [0.0]),
    "a derivative that overflows": (ad.log, (5e-324,), [inf]),
    "a derivative that overflows below": (lambda x: 1.0 / x, (1e-200,), [-inf]),
}


@pytest.mark.parametrize("mode", [by_backward, by_grad, by_jvp, by_nested_grad])
@pytest.mark.parametrize("name", KINKS)
def test_points_without_a_derivative_follow_the_written_rule(
    name: str, mode: Callable[[Callable[..., Any], Point], list[float]]
) -> None:
    f, point, want = KINKS[name]
    assert mode(f, point) == pytest.approx(want, rel=1e-15, abs=0.0, nan_ok=True)


EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, -1.5, inf, -inf, nan, 5e-324, 1e-200, -1e-200, 1e300, -1e300, 1.0 - 2**-53, 171.0]


def edge_points(name: str) -> Iterator[tuple[list[int], Point]]:
    """Yield points of edge values, with the arguments by which to differentiate."""
    primitive, reference = TABLE[name], REFERENCES[name]
    typical = max(reference.fixed or [(1.0,) * (primitive.arity or 1)], key=len)
    active = list(reference.active(typical))
    stride = {1: 1, 2: 1, 3: 3}.get(len(active), 5)
    for edges in itertools.product(EDGES[::stride], repeat=len(active)):
        point = list(typical)
        for i, edge in zip(active, edges, strict=True):
            point[i] = edge
        yield active, tuple(point)


def with_constants(primitive: Primitive, active: list[int], point: Point) -> Callable[..., Any]:
    """Make a function of the active arguments."""

    def f(*xs: Any) -> Any:
        given = dict(zip(active, xs, strict=True))
        return primitive(*(given.get(i, x) for i, x in enumerate(point)))

    return f


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_where_there_is_a_value_no_derivative_raises(name: str) -> None:
    for active, point in edge_points(name):
        f, xs = with_constants(TABLE[name], active, point), tuple(point[i] for i in active)
        if active and error_of(TABLE[name], point) is None:
            by_backward(f, xs)
            jvp(grad(f, tuple(range(len(xs)))), xs, xs)


@pytest.mark.parametrize("name", sorted({primitive.name for primitive in SAFE} - NULLARY))
def test_what_is_declared_safe_never_raises(name: str) -> None:
    """The compiler leaves such operations out where their results are not needed."""
    assert [point for _, point in edge_points(name) if error_of(TABLE[name], point)] == []


def error_of(primitive: Primitive, point: Point) -> type[Exception] | None:
    try:
        primitive(*point)
    except (ArithmeticError, ValueError) as error:
        return type(error)
    return None


@pytest.mark.parametrize("y", [-3.0, -1.0, 0.0, 1.0, 2.0, 3.0, 0.5, inf, nan])
def test_a_power_prints_as_an_operator_only_where_it_stays_real(y: float) -> None:
    template = ad.pow.template((Value(1.0), y))
    if template == "{} ** {}":
        assert not isinstance((-8.0) ** y, complex)
    else:
        assert template == ad.pow.source
    assert ad.pow.template((y, Value(1.0))) == ad.pow.source


@pytest.mark.parametrize(
    ("f", "want"),
    [
        (abs, 0.0),
        (ad.relu, 0.0),
        (ad.leaky_relu, 0.0),
        (lambda x: ad.maximum(x, 0.0), 0.0),
        (lambda x: ad.clip(x, 0.0, 1.0), 0.0),
        (lambda x: x**0, 0.0),
        (lambda x: x**1, 0.0),
        (lambda x: x**2, 2.0),
        (ad.elu, 0.0),
        (ad.sqrt, -inf),
        (lambda x: x**0.5, -inf),
    ],
)
def test_second_derivatives_at_kinks(f: Callable[[Any], Any], want: float) -> None:
    assert grad(grad(f))(0.0) == want


@pytest.mark.parametrize("x", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_bounds_that_have_crossed(x: float) -> None:
    """Below the lower bound its value is given, whatever the upper one is: only one of the three has a derivative."""
    for mode in (grad, lambda f, argnums: compile(grad(f, argnums))):
        assert mode(ad.clip, (0, 1, 2))(x, 1.0, 0.0) == ((0.0, 1.0, 0.0) if x < 1.0 else (0.0, 0.0, 1.0))


def test_mixed_second_derivatives_agree_in_both_orders() -> None:
    """PyTorch gives 0 or 0.5 here, by the order; autograd gives 2."""
    (_, xy), (yx, _) = hessian(lambda p: p[0] ** p[1])([2.0, 0.0])
    assert xy == yx == 0.5
    assert grad(grad(lambda x, y: x**y, 0), 1)(2.0, 0.0) == 0.5
    assert grad(grad(lambda x, y: x**y, 1), 0)(2.0, 0.0) == 0.5


@pytest.mark.parametrize(
    ("f", "x", "error"),
    [
        (ad.log, 0.0, ValueError),
        (ad.sqrt, -1.0, ValueError),
        (ad.exp, 710.0, OverflowError),
        (ad.reciprocal, 0.0, ZeroDivisionError),
        (ad.rsqrt, 0.0, ZeroDivisionError),
        (ad.log1p, -1.0, ValueError),
        (ad.logit, 1.0, ValueError),
        (ad.digamma, -2.0, ValueError),
        (ad.gamma, 0.0, ValueError),
        (lambda x: x**-1, 0.0, ZeroDivisionError),
        (lambda x: x**2, 1e200, OverflowError),
    ],
)
def test_a_value_that_cannot_be_computed_raises_as_in_math(f: Callable[[Any], Any], x: float, error: type) -> None:
    with pytest.raises(error):
        f(x)
    with pytest.raises(error):
        f(Value(x))
    with pytest.raises(error):
        grad(f)(x)


def test_a_power_that_would_turn_complex_raises() -> None:
    for power in (lambda: Value(-8.0) ** (1 / 3), lambda: (-8.0) ** Value(1 / 3), lambda: ad.pow(-8.0, 1 / 3)):
        with pytest.raises(ValueError, match="a negative number to a fractional power is complex"):
            power()


# ---- calling


def test_plain_numbers_give_plain_floats() -> None:
    assert ad.exp(0) == 1.0
    assert type(ad.exp(0)) is float
    assert type(ad.maximum(1, True)) is float


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("1",), "argument 1 of exp() must be a number or a Value, not str '1'"),
        ((1j,), "not complex 1j"),
        ((None,), "not NoneType None"),
        (([1.0],), "not list"),
        ((), "exp() takes 1 argument, not 0"),
        ((1.0, 2.0), "exp() takes 1 argument, not 2"),
    ],
)
def test_bad_arguments_are_named(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(TypeError) as caught:
        ad.exp(*arguments)
    assert words in str(caught.value)


def test_methods_are_called_by_their_names_in_errors() -> None:
    with pytest.raises(TypeError, match=r"Value\.exp\(\) takes 1 positional argument but 2 were given"):
        Value(1.0).exp(2.0)  # type: ignore[call-arg]


def test_an_argument_beside_a_value_is_checked_too() -> None:
    with pytest.raises(TypeError, match=r"argument 2 of maximum\(\) must be a number or a Value, not str"):
        ad.maximum(Value(1.0), "2")


def test_an_array_as_argument_gets_advice() -> None:
    numpy = pytest.importorskip("numpy")
    with pytest.raises(TypeError, match=r"argument 1 of exp\(\) is an array, .*: NumPy's functions take arrays"):
        ad.exp(numpy.array([1.0, 2.0]))


@pytest.mark.parametrize(
    ("call", "value", "derivative"),
    [
        (lambda x: ad.leaky_relu(x, slope=0.25), -0.75, 0.25),
        (lambda x: ad.leaky_relu(slope=0.25, x=x), -0.75, 0.25),
        (lambda x: ad.leaky_relu(x=x), -0.03, 0.01),
        (lambda x: ad.elu(x, alpha=2.0), 2.0 * math.expm1(-3.0), 2.0 * math.exp(-3.0)),
        (lambda x: ad.clip(x, high=5.0, low=-4.0), -3.0, 1.0),
    ],
)
def test_arguments_may_be_named(call: Callable[[Any], Any], value: float, derivative: float) -> None:
    assert call(-3.0) == value
    assert ad.compile(call)(-3.0) == value
    assert ad.value_and_grad(call)(-3.0) == (value, pytest.approx(derivative, rel=1e-15))


def test_methods_may_name_arguments_too() -> None:
    x = Value(-3.0)
    assert [x.leaky_relu(slope=0.25).data, x.clip(high=0.0, low=-1.0).data, x.elu(alpha=1.0).data] == [
        -0.75,
        -1.0,
        math.expm1(-3.0),
    ]
    x = Value(0.2)
    ad.leaky_relu(-3.0, slope=x).backward()
    assert x.grad == -3.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ad.leaky_relu(1.0, alpha=0.2), r"leaky_relu\(\) has no argument 'alpha': it takes x, slope"),
        (lambda: ad.leaky_relu(1.0, 0.2, slope=0.2), r"leaky_relu\(\) got two values for 'slope', one by place"),
        (lambda: ad.leaky_relu(slope=0.2), r"leaky_relu\(\) needs a value for 'x'"),
        (lambda: ad.clip(1.0, low=0.0), r"clip\(\) needs a value for 'high'"),
        (lambda: ad.clip(1.0, 0.0, 1.0, 2.0), r"clip\(\) takes 3 arguments, not 4"),
        (lambda: ad.clip(1.0, 0.0, 1.0, 2.0, low=2.0), r"clip\(\) got two values for 'low'"),
    ],
)
def test_named_arguments_that_do_not_fit_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


def test_defaults_may_be_left_out_and_given() -> None:
    assert ad.leaky_relu(-1.0) == -0.01
    assert ad.leaky_relu(-1.0, 0.5) == -0.5
    assert ad.elu(Value(-1.0), 2.0).data == 2.0 * math.expm1(-1.0)
    with pytest.raises(TypeError, match=r"leaky_relu\(\) takes 2 arguments, not 3"):
        ad.leaky_relu(1.0, 2.0, 3.0)


def test_constant_says_what_it_was_given() -> None:
    assert constant(True) == 1.0
    with pytest.raises(TypeError, match="the seed must be a number or a Value, not dict"):
        constant({}, "the seed")
    with pytest.raises(
        TypeError, match=r"the result of f must be a number or a Value, not None: is a return missing\?"
    ):
        constant(None, "the result of f")


def test_a_column_of_a_data_frame_gets_advice() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match=r"is a Series, and must be a number or a Value: write .to_numpy\(\)"):
        ad.grad(lambda x: x[0])(pandas.Series([1.0, 2.0]))


def test_errors_name_operation_arguments_and_labels() -> None:
    with pytest.raises(ValueError, match=r"^log\(price = -1\.0\): "):
        ad.log(Value(-1.0, "price"))
    with pytest.raises(ZeroDivisionError, match=r"^div\(a = 1\.0, b = 0\.0\): "):
        Value(1.0, "a") / Value(0.0, "b")
    with pytest.raises(ZeroDivisionError, match=r"^div\(1\.0, b = 0\.0\): "):
        1 / Value(0.0, "b")
    with pytest.raises(OverflowError, match=r"^exp\(1000\.0\): "):
        ad.exp(1000)


def test_a_long_argument_list_is_shortened_in_errors() -> None:
    overflow = Kernel("overflow", lambda *xs: math.exp(sum(xs)), "", lambda out, *xs: [out] * len(xs))
    with pytest.raises(OverflowError, match=r"^overflow\(100\.0, 100\.0, 100\.0, 100\.0, \.\.\. 13 more \.\.\., 100"):
        overflow(*[Value(100.0)] * 20)


def test_primitives_copy_and_pickle_by_name() -> None:
    assert pickle.loads(pickle.dumps(ad.exp)) is ad.exp
    assert copy.copy(ad.exp) is copy.deepcopy(ad.exp) is ad.exp
    assert repr(ad.exp) == "<primitive exp>"
    assert ad.exp.__doc__


# ---- declared by users

cube = Primitive("cube", lambda x: x * x * x, "{0} * {0} * {0}", lambda out, x: 3.0 * x * x)
blend = Primitive(
    "blend",
    lambda t, x, y: (1.0 - t) * x + t * y,
    "(1.0 - {0}) * {1} + {0} * {2}",
    lambda out, t, x, y: y - x,
    lambda out, t, x, y: 1.0 - t,
    lambda out, t, x, y: t,
    defaults=(1.0,),
)
norm = Kernel(
    "norm",
    lambda *xs: math.sqrt(math.fsum(x * x for x in xs)),
    "norm({})",
    lambda out, *xs: [x / out for x in xs],
)


def test_a_declared_primitive_works_to_third_order() -> None:
    x = Value(2.0)
    y = cube(x)
    y.backward()
    assert (y.data, x.grad, y.primitive) == (8.0, 12.0, cube)
    assert [grad(cube)(2.0), grad(grad(cube))(2.0), grad(grad(grad(cube)))(2.0)] == [12.0, 12.0, 6.0]
    assert jvp(cube, (2.0,), (1.0,)) == (8.0, 12.0)


def test_a_declared_primitive_of_three_arguments_mixes_values_and_constants() -> None:
    t, x = Value(0.25), Value(3.0)
    blend(t, x, 5).backward()
    assert (t.grad, x.grad) == (2.0, 0.75)
    assert blend(0.25, 3) == 2.5  # y left out
    assert hessian(lambda p: blend(*p))([0.25, 3.0, 5.0]) == [[0.0, -1.0, 1.0], [-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]


def test_a_declared_kernel_works_to_second_order() -> None:
    xs = [Value(3.0), Value(4.0)]
    length = norm(*xs)
    length.backward()
    assert (length.data, [x.grad for x in xs]) == (5.0, [0.6, 0.8])
    found = hessian(lambda p: norm(*p))([3.0, 4.0])
    want = [[16 / 125, -12 / 125], [-12 / 125, 9 / 125]]
    assert all(row == pytest.approx(expected, rel=1e-14, abs=0.0) for row, expected in zip(found, want, strict=True))


def test_a_constant_derivative_may_be_a_whole_number() -> None:
    triple = Primitive("triple", lambda x: 3.0 * x, "3.0 * {}", 3)
    x = Value(2.0)
    triple(x).backward()
    assert x.grad == grad(triple)(2.0) == compile(grad(triple))(2.0) == jvp(triple, (2.0,), (1.0,))[1] == 3.0
    with pytest.raises(TypeError, match="a local derivative of wrong must be a number or a function, not str 'x'"):
        Primitive("wrong", math.sin, "", "x")


def test_a_kernel_may_give_its_derivatives_one_by_one() -> None:
    total = Kernel("total", lambda *xs: 2.0 * sum(xs), "", lambda out, *xs: (2.0 for _ in xs))
    x, y = Value(1.0), Value(2.0)
    total(x, y, 3.0).backward()
    assert (x.grad, y.grad) == (2.0, 2.0) == grad(total, (0, 1))(1.0, 2.0)


def returns_nothing(*args: Any) -> Any:
    """Compute a derivative, and forget to return it."""


@pytest.mark.parametrize(
    "f",
    [
        Primitive("lost", lambda x: x * x, "", returns_nothing),
        lambda x: Primitive("lost", operator.mul, "", returns_nothing, 1.0)(x, Value(1.0)),
        lambda x: Primitive("lost", operator.mul, "", 1.0, returns_nothing)(2.0, x),
        lambda x: Primitive("lost", lambda x, y, z: x, "", returns_nothing, 0.0, 0.0)(x, 1.0, 1.0),
        lambda x: Kernel("lost", lambda *xs: sum(xs), "", returns_nothing)(x, 1.0),
        lambda x: Kernel("lost", lambda *xs: sum(xs), "", lambda out, *xs: [None] * len(xs))(x, 1.0),
    ],
)
def test_a_derivative_that_is_not_returned_is_not_taken_for_0(f: Callable[[Any], Any]) -> None:
    for differentiate in (
        lambda: f(Value(1.5)).backward(),
        lambda: grad(f)(1.5),
        lambda: grad(grad(f))(1.5),
        lambda: jvp(f, (1.5,), (1.0,)),
        lambda: compile(grad(f))(1.5),
        lambda: f(Value(1.5)).local_derivatives(),
    ):
        with pytest.raises(TypeError, match=r"a local derivative of lost is None: is a return missing\?"):
            differentiate()


def test_a_declared_primitive_appears_in_errors() -> None:
    root = Primitive("my_root", math.sqrt, "sqrt({})", lambda out, x: 0.5 / out)
    with pytest.raises(ValueError, match=r"^my_root\(x = -1\.0\): "):
        root(Value(-1.0, "x"))
    with anomaly_detection(), pytest.raises(FloatingPointError, match=r"^my_log\(x = 1e-320\) = .* derivative inf"):
        Primitive("my_log", math.log, "log({})", lambda out, x: 1.0 / x)(Value(1e-320, "x"))


def test_a_declared_primitive_refuses_pickling_with_advice() -> None:
    with pytest.raises(TypeError, match="'cube' is not in autodiff's table"):
        pickle.dumps(cube)
    assert copy.deepcopy(cube(Value(2.0))).data == 8.0


def test_a_name_must_be_an_identifier() -> None:
    with pytest.raises(ValueError, match="must be an identifier, not 'my cube'"):
        Primitive("my cube", lambda x: x, "{}", 1.0)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: Primitive("cube", "{0} ** 3", lambda x: x**3, 1.0), "cube must be given its value, a function, then"),  # type: ignore[arg-type]
        (lambda: Primitive("cube", lambda x: x**3, lambda out, x: 1.0), "then its source, a text, then derivatives"),  # type: ignore[arg-type]
        (lambda: Primitive("cube", lambda x: x**3, ""), "cube has 0 derivatives, but its value is no function of 0"),
        (lambda: Primitive("mix", lambda x, y: x, "", 1.0), "mix has 1 derivatives, but its value is no function of 1"),
        (
            lambda: Primitive("cube", lambda x: x**3, "", lambda x: 3.0 * x),
            "derivative 1 of the primitive cube must",
        ),
        (
            lambda: Primitive("mix", lambda x, y: x, "", 1.0, lambda out, x: out),
            "derivative 2 .* of 3, the result",
        ),
        (lambda: Kernel("mean", lambda *xs: xs[0], "", 1.0), "kernel mean must be a function that returns a list"),  # type: ignore[arg-type]
    ],
)
def test_a_primitive_that_cannot_work_is_refused_where_it_is_declared(declare: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        declare()


def test_options_of_a_function_need_no_derivative() -> None:
    scaled = Primitive("scaled", lambda x, factor=3.0: factor * x, "", lambda out, x, unused=None: 3.0)
    assert ad.grad(scaled)(2.0) == 3.0


def test_a_kernel_that_returns_one_number_says_that_it_needs_a_list() -> None:
    mean = Kernel("mean", lambda *xs: sum(xs) / len(xs), "", lambda out, *xs: 1.0 / len(xs))
    for derive in (lambda: mean(Value(1.0), 2.0).backward(), lambda: ad.grad(mean)(1.0, 2.0)):
        with pytest.raises(TypeError, match=r"mean has one derivative for each argument: return a list, not 0\.5"):
            derive()


def test_an_integer_result_becomes_a_float() -> None:
    double = Primitive("double", lambda x: int(2 * x), "2 * {}", 2.0)
    assert type(double(Value(3.0)).data) is float
    assert type(double(3.0)) is float


@pytest.mark.parametrize("x", [2.0, Value(2.0)])
def test_a_result_that_is_no_number_is_an_error(x: Any) -> None:
    for primitive in (Primitive("lost", lambda x: None, "", 1.0), Kernel("lost", lambda *xs: None, "", list)):  # type: ignore[arg-type, return-value]
        with pytest.raises(TypeError, match=r"the result of lost\(\) must be a number .*, not None: is a return"):
            primitive(x)


def test_nan_passes_through_every_choice() -> None:
    choices = [
        ad.relu,
        ad.sign,
        ad.hard_tanh,
        ad.floor,
        abs,
        lambda x: ad.maximum(x, 1.0),
        lambda x: ad.minimum(1.0, x),
    ]
    assert all(isnan(f(nan)) for f in choices)


def exact(number: Any) -> Any:
    return pytest.approx(float(number), rel=1e-12, abs=0.0)


@pytest.mark.parametrize("make", [lambda f: f, lambda f: twice(compile(f))], ids=["eager", "compiled"])
def test_extremes_that_were_wrong_once(make: Any) -> None:
    """Signs at -0.0, overflow on the way, zeros that no multiple of pi hits, tiny gamma, subnormal arguments."""
    slope, bend = make(grad(ad.sqrt)), make(grad(grad(ad.sqrt)))
    assert (slope(-0.0), slope(0.0), bend(-0.0), bend(0.0)) == (math.inf, math.inf, -math.inf, -math.inf)
    assert make(grad(lambda x: ad.sqrt(-x)))(0.0) == -math.inf
    assert make(grad(ad.remainder, 1))(1.7e308, 1e308) == -2.0
    assert make(grad(ad.fmod, 1))(-1.7e308, 1e308) == 1.0
    for x in (2.2250738585e-313, -2.2250738585e-313, 7e-320):
        odd = [make(lambda t, n=order: ad.primitives.sinc_order(n, t))(x) for order in (1.0, 3.0, 5.0)]
        assert odd == [float(mp.pi ** (n + 1) * mp.mpf(x) / c) for n, c in ((1, -3), (3, 5), (5, -7))]
    with mp.workdps(60):
        for order, x in [(4, -10.5), (4, -20.5), (2, -300.5), (2, -1000000.5), (4, -100000.5), (3, -7.5)]:
            z = 1 - mp.mpf(x) if order % 2 == 0 else mp.mpf(x)  # the same half way between poles; mpmath takes seconds
            assert make(lambda t, n=order: ad.polygamma(n, t))(x) == exact(mp.psi(order, z))
        for x in (math.nextafter(-180.0, 0.0), -181.00000000000003, -184.00000000000003):
            f: Any = ad.gamma
            for order in (1, 2, 3, 4):
                f = grad(f)
                assert make(f)(x) == exact(_gamma_derivative(order, mp.mpf(x)))


HIGH_ORDERS = [
    (40, 1e8),
    (80, 1e4),
    (140, 171.0),
    (15, 1e21),
    (169, 3.0),
    (200, 50.0),
    (1000, 3e3),
    (171, 1e-5),
    (999, -300.25),
]


@pytest.mark.parametrize(("order", "x"), HIGH_ORDERS)
def test_polygamma_of_high_order(order: int, x: float) -> None:
    """A factorial or a power that is no float raised, or left few digits, though their product is a float."""
    with mp.workdps(120):
        want, z, power = mp.mpf(0), mp.mpf(x), order + 1
        while z < 100 + order:
            want += z**-power
            z += 1
        want += z**-order / order + z**-power / 2  # Euler and Maclaurin's sum of all that follow
        for k in range(1, 30):
            want += mp.bernoulli(2 * k) / mp.factorial(2 * k) * mp.rf(power, 2 * k - 1) / z ** (order + 2 * k)
        want *= -((-1) ** order) * mp.factorial(order)
        assert ad.polygamma(order, x) == rounded(want)
        assert grad(lambda t: ad.polygamma(order - 1, t))(x) == ad.polygamma(order, x)


def test_polygamma_of_high_order_half_way_between_poles() -> None:
    """There the poles cancel in pairs, and what is left is tiny beside them."""
    assert ad.polygamma(20, -10.5) == ad.polygamma(20, 11.5)
    assert ad.polygamma(200, -300.5) == ad.polygamma(200, 301.5)


FAR_APART = [1e-320, 1e-300, 1e-150, 1e-80, 0.3, 1.0, 1e20, 1e110, 1e308]


@pytest.mark.parametrize("make", [lambda f: f, lambda f: twice(compile(f))], ids=["eager", "compiled"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_lengths_and_angles_are_right_however_far_apart_their_arguments_are(order: int, make: Any) -> None:
    """The fourth mixed derivative of hypot at (1e-150, 1e-300) is 9e300, and was infinite: its factors overflow."""
    points = [(x, -y) for x in FAR_APART for y in FAR_APART]
    for count in range(order + 1):
        length: Any = ad.hypot
        angle: Any = ad.atan2
        for i in range(order):
            length, angle = grad(length, int(i >= count)), grad(angle, int(i >= count))
        length, angle = make(length), make(angle)
        with mp.workdps(60):
            for x, y in points:
                assert length(x, y) == rounded(_hypot_derivative(count, order - count, mp.mpf(x), mp.mpf(y)))
                turns = mp.mpc(0, 1) ** count * (-1) ** (order - 1) * math.factorial(order - 1)
                want = mp.im(turns * mp.mpc(y, x) ** -order)
                assert angle(x, y) == rounded(want)


def rounded(number: Any) -> Any:
    """Expect a number, in floats: an infinity if it is beyond their range."""
    size = abs(float(number))
    return pytest.approx(float(number), rel=1e-12, abs=1e-320 if size < 1e-300 else 0.0)


def twice(fast: Any) -> Any:
    """Call a compiled function again: its first call only traces."""
    return lambda *args: (fast(*args), fast(*args))[1]


@given(st.floats(0.01, 5.0), st.floats(0.01, 5.0))
def test_a_base_that_is_no_variable_gives_the_same_bits_compiled(x: float, y: float) -> None:
    for derivative, fast in BY_EXPONENT:
        assert fast(x, y) == derivative(x, y)


def exponential(x: Any, y: Any) -> Any:
    return y**x


BY_EXPONENT = [(f, compile(f)) for f in (grad(exponential), grad(grad(exponential)), grad(grad(grad(exponential))))]
for _, fast in BY_EXPONENT:
    fast(1.0, 2.0)
