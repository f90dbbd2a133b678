"""Transforms: shapes, nesting, closures, and that each says what it cannot do."""

import math
import operator
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import autodiff as ad
from autodiff import (
    Value,
    batch_mean,
    batch_sum,
    checkpoint,
    compile,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    no_grad,
    value_and_grad,
    vjp,
)

numpy = pytest.importorskip("numpy")

NUMBERS = st.floats(-3.0, 3.0)


class Pair(NamedTuple):
    x: Any
    y: Any


@dataclass(frozen=True)
class Line:
    slope: Any
    offset: Any


def rosenbrock(xs: Any) -> Any:
    return ad.sum([100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2 for a, b in pairwise(xs)])


# ---- containers

SHAPES: dict[str, tuple[Callable[[Any], Any], Any, Any]] = {
    "float": (lambda x: 2.0 * x, 1.0, 2.0),
    "int": (lambda x: x * x, 3, 6.0),
    "numpy scalar": (lambda x: x * x, numpy.float32(3), 6.0),
    "list": (lambda p: p[0] * p[1], [2.0, 3.0], [3.0, 2.0]),
    "tuple": (lambda p: p[0] * p[1], (2.0, 3.0), (3.0, 2.0)),
    "dict": (lambda p: p["a"] * p["b"], {"a": 2.0, "b": 3.0}, {"a": 3.0, "b": 2.0}),
    "named tuple": (lambda p: p.x * p.y, Pair(2.0, 3.0), Pair(3.0, 2.0)),
    "dataclass": (lambda p: p.slope * p.offset, Line(2.0, 3.0), Line(3.0, 2.0)),
    "nested": (
        lambda p: p["w"][0][1] * p["b"].x + p["w"][1] * p["b"].y[0],
        {"w": [(1.0, 2.0), 3.0], "b": Pair(4.0, [5.0])},
        {"w": [(0.0, 4.0), 5.0], "b": Pair(2.0, [3.0])},
    ),
    "empty": (lambda p: 1.0, [], []),
}


@pytest.mark.parametrize("name", SHAPES)
def test_gradients_have_the_shape_of_the_argument(name: str) -> None:
    f, point, want = SHAPES[name]
    value, found = value_and_grad(f)(point)
    assert (found, type(found)) == (want, type(want))
    assert found == grad(f)(point)
    assert (type(value), value) == (float, f(point))


@pytest.mark.parametrize("shape", [(3,), (2, 2), (1, 3, 1)])
def test_arrays_go_in_and_come_out(shape: tuple[int, ...]) -> None:
    x = numpy.arange(float(math.prod(shape))).reshape(shape)
    found = grad(lambda a: (a * a).sum())(x)
    assert found.dtype == float
    assert found.shape == shape
    assert (found == 2.0 * x).all()


def test_integer_arrays_give_float_gradients() -> None:
    found = grad(lambda a: (a * a).sum())(numpy.array([1, 2]))
    assert found.dtype == float
    assert list(found) == [2.0, 4.0]


def test_jacobians_and_hessians_of_arrays() -> None:
    W = numpy.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    x = numpy.array([0.5, -1.0])
    assert (jacobian(lambda x: W @ x)(x) == W).all()
    assert hessian(lambda x: x @ (W[:2] @ x))(x).tolist() == [[2.0, 5.0], [5.0, 8.0]]
    assert jacobian(lambda w: w @ x)(W).shape == (3, 3, 2)
    assert hvp(lambda x: x @ (W[:2] @ x))(x, numpy.array([1.0, 0.0])).tolist() == [2.0, 5.0]


def test_jacobians_of_containers_have_the_argument_at_each_place_of_the_result() -> None:
    found = jacobian(lambda p: {"sum": p.x + p.y, "parts": [p.x, 7.0]})(Pair(2.0, 3.0))
    assert found == {"sum": Pair(1.0, 1.0), "parts": [Pair(1.0, 0.0), Pair(0.0, 0.0)]}


def test_scipy_minimises_as_it_stands() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    x0 = numpy.array([-1.2, 1.0, 0.5])
    found = optimize.minimize(value_and_grad(rosenbrock), x0, jac=True, tol=1e-12)
    assert found.x == pytest.approx([1.0] * 3, abs=1e-6)
    newton = optimize.minimize(value_and_grad(rosenbrock), x0, jac=True, hess=hessian(rosenbrock), method="trust-exact")
    assert newton.x == pytest.approx([1.0] * 3, abs=1e-6)
    assert optimize.root(lambda x: x**3 - 8.0, 1.0, jac=jacobian(lambda x: x**3 - 8.0)).x == pytest.approx([2.0])


# ---- which argument


def test_argnums_choose() -> None:
    def f(x: Any, y: Any, z: Any) -> Any:
        return x * y**2 * z**3

    point = (2.0, 3.0, 5.0)
    assert grad(f)(*point) == 1125.0
    assert grad(f, 1)(*point) == 1500.0
    assert grad(f, -1)(*point) == 1350.0
    assert grad(f, (0, 2))(*point) == (1125.0, 1350.0)
    assert grad(f, [1])(*point) == (1500.0,)
    assert grad(f, (2, 0))(*point) == (1350.0, 1125.0)
    assert hessian(f, 1)(*point) == 500.0
    assert hessian(f, (0, 1))(*point) == ((0.0, 750.0), (750.0, 500.0))
    assert jacobian(lambda x, y: [x * y], (0, 1))(2.0, 3.0) == [(3.0, 2.0)]


@pytest.mark.parametrize(("argnums", "missing"), [(2, 2), (-3, -3), ((0, 5), 5)])
def test_argnums_out_of_range_are_named(argnums: Any, missing: int) -> None:
    def loss(x: Any, y: Any) -> Any:
        return x * y

    with pytest.raises(TypeError, match=rf"loss\(\) was called with 2 positional arguments: there is no .*{missing}"):
        grad(loss, argnums)(1.0, 2.0)


def test_other_arguments_pass_through_untouched() -> None:
    marker = object()

    def f(x: Any, mode: Any, *, scale: float, flag: bool = True) -> Any:
        assert mode is marker
        return x * scale if flag else x

    assert grad(f)(2.0, marker, scale=3.0) == 3.0
    assert value_and_grad(f)(2.0, marker, scale=3.0, flag=False) == (2.0, 1.0)


def test_transforms_keep_the_name_and_text_of_the_function() -> None:
    def potential(x: Any) -> Any:
        """Explain."""
        return x

    for transform in (grad, value_and_grad, jacobian, hessian, hvp, checkpoint, batch_mean):
        assert transform(potential).__name__ == "potential"
        assert transform(potential).__doc__ == "Explain."


# ---- results are floats


def test_floats_in_floats_out() -> None:
    assert type(grad(lambda x: x * x)(2.0)) is float
    assert type(value_and_grad(lambda x: 3)(2.0)[0]) in (float, int)
    assert grad(lambda x: 3.0)(2.0) == 0.0
    assert value_and_grad(lambda x: x)(2.0) == (2.0, 1.0)
    assert hessian(lambda x: x)(2.0) == 0.0
    assert type(hessian(lambda x: x)(2.0)) is float
    assert math.copysign(1.0, grad(lambda x: -0.0 * x)(2.0)) == 1.0


def test_constants_made_inside_the_function_leave_the_results_floats() -> None:
    def halting(x: Any) -> Any:
        with no_grad():
            y = x * x
        return x * y

    for f, want in ((lambda x: x * Value(3.0), 3.0), (lambda x: x * x.detach(), 2.0), (halting, 4.0)):
        assert grad(f)(2.0) == want
        assert type(grad(f)(2.0)) is float
        assert type(jvp(f, (2.0,), (1.0,))[1]) is float


def test_leaf_grads_are_left_alone() -> None:
    w, x = Value(3.0), Value(2.0)
    w.grad = x.grad = 7.0
    for transform in (grad, jacobian, hessian):
        transform(lambda x: w * x**2)(x)
    assert (w.grad, x.grad) == (7.0, 7.0)


# ---- nesting


@pytest.mark.parametrize("order", range(9))
def test_nested_to_the_eighth_order(order: int) -> None:
    f = lambda x: ad.exp(2.0 * x) * 3.0  # noqa: E731
    derivative: Callable[[Any], Any] = f
    for _ in range(order):
        derivative = grad(derivative)
    assert derivative(0.25) == pytest.approx(3.0 * 2.0**order * math.exp(0.5), rel=1e-13, abs=0.0)


@pytest.mark.parametrize(
    ("f", "x", "want"),
    [
        (ad.sin, 0.7, math.sin(0.7)),
        (ad.log, 0.5, -6.0 / 0.5**4),
        (lambda x: 1.0 / x, 2.0, 24.0 / 2.0**5),
        (lambda x: x**7, 1.5, 840.0 * 1.5**3),
        (ad.sqrt, 2.0, -15.0 / 16.0 * 2.0**-3.5),
        (ad.tanh, 0.0, 0.0),
        (ad.sigmoid, 0.0, 0.0),
    ],
)
def test_fourth_derivatives_by_every_nesting(f: Callable[[Any], Any], x: float, want: float) -> None:
    def forward(g: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: jvp(g, (x,), (1.0,))[1]

    def pulled(g: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: vjp(g, x)[1](1.0)[0]

    for transforms in (
        [grad] * 4,
        [forward] * 4,
        [pulled] * 4,
        [grad, forward, pulled, jacobian],
        [forward, hessian, grad],
    ):
        g: Callable[[Any], Any] = f
        for transform in transforms:
            g = transform(g)
        assert g(x) == pytest.approx(want, rel=1e-12, abs=1e-12)


def test_perturbation_confusion() -> None:
    """Inner and outer variables keep apart (Siskind and Pearlmutter 2005)."""
    assert grad(lambda x: x * grad(lambda y: x + y)(1.0))(1.0) == 1.0
    assert grad(lambda x: x * grad(lambda y: x * y)(2.0))(3.0) == 6.0
    assert jvp(lambda x: x * jvp(lambda y: x + y, (1.0,), (1.0,))[1], (1.0,), (1.0,))[1] == 1.0
    assert grad(lambda x: x * jvp(lambda y: x * y, (2.0,), (1.0,))[1])(3.0) == 6.0
    assert jvp(lambda x: x * grad(lambda y: x * y)(2.0), (3.0,), (1.0,))[1] == 6.0
    assert grad(lambda x: grad(lambda y: x * y**2)(x) * x)(3.0) == 6.0 * 9.0
    # the same number on both levels
    assert grad(lambda x: grad(lambda y: y * y * x)(x))(3.0) == 4.0 * 3.0
    # three levels
    assert grad(lambda x: grad(lambda y: grad(lambda z: x * y * z)(4.0) * y)(5.0))(2.0) == 10.0


def test_the_inner_function_may_return_the_outer_variable() -> None:
    assert grad(lambda x: grad(lambda y: x)(1.0) + x)(2.0) == 1.0
    assert grad(lambda x: value_and_grad(lambda y: x * x)(1.0)[0])(3.0) == 6.0


def test_a_tangent_may_depend_on_the_outer_variable() -> None:
    assert grad(lambda x: jvp(lambda y: y * y, (3.0,), (x,))[1])(5.0) == 6.0
    assert grad(lambda x: vjp(lambda y: y * y, 3.0)[1](x)[0])(5.0) == 6.0
    assert grad(lambda x: hvp(lambda y: y**3)(x, x))(2.0) == 6.0 * 2 * 2.0


def test_a_cotangent_that_is_a_value_stays_in_the_graph() -> None:
    c = Value(2.0)
    (pulled,) = vjp(lambda y: y * y, 3.0)[1](c)
    pulled.backward()
    assert (pulled.data, c.grad) == (12.0, 6.0)
    t = Value(2.0)
    tangent = jvp(lambda y: y * y, (3.0,), (t,))[1]
    tangent.backward()
    assert (tangent.data, t.grad) == (12.0, 6.0)


def test_newtons_method_inside_grad() -> None:
    """Differentiate the solution of y ** 2 = x by x, through the iterations."""

    def root(x: Any) -> Any:
        y = 1.0
        for _ in range(8):
            g = lambda y: y * y - x  # noqa: E731
            value, slope = value_and_grad(g)(y)
            y = y - value / slope
        return y

    assert root(2.0) == pytest.approx(math.sqrt(2.0), rel=1e-15, abs=0.0)
    assert grad(root)(2.0) == pytest.approx(0.5 / math.sqrt(2.0), rel=1e-14, abs=0.0)
    assert grad(grad(root))(2.0) == pytest.approx(-0.25 * 2.0**-1.5, rel=1e-13, abs=0.0)


# ---- closures


def test_closed_over_values_make_the_results_values() -> None:
    w = Value(3.0)
    value, slope = value_and_grad(lambda x: w * x**2)(2.0)
    assert isinstance(value, Value)
    assert isinstance(slope, Value)
    slope.backward()
    assert w.grad == 4.0
    value.backward()
    assert w.grad == 8.0


def test_closed_over_values_give_floats_under_no_grad() -> None:
    w = Value(3.0)
    with no_grad():
        value, slope = value_and_grad(lambda x: w * x**2)(2.0)
        rows = jacobian(lambda x: [w * x, x])(2.0)
        tangent = jvp(lambda x: w * x**2, (2.0,), (1.0,))
    assert (value, slope, rows, tangent) == (12.0, 12.0, [3.0, 1.0], (12.0, 12.0))
    assert {type(x) for x in (value, slope, *rows, *tangent)} == {float}


def test_gradients_are_the_same_inside_no_grad() -> None:
    with no_grad():
        assert grad(lambda x: x**3)(2.0) == 12.0
        assert grad(grad(lambda x: x**3))(2.0) == 12.0
        assert hvp(rosenbrock)([1.0, 2.0], [1.0, 0.0]) == hessian(rosenbrock)([1.0, 2.0])[0]


def test_values_as_arguments_give_values_that_depend_on_them() -> None:
    x = Value(2.0)
    slope = grad(lambda x: x**3)(x)
    slope.backward()
    assert (slope.data, x.grad) == (12.0, 12.0)
    second = hvp(lambda x: x**3)(x, 1.0)
    second.backward()
    assert (second.data, x.grad) == (12.0, 18.0)


def test_a_physics_informed_loss() -> None:
    """The residual u' + u of u = a exp(-b x): a gradient by x, then by the parameters."""
    a, b = Value(2.0), Value(0.5)
    u = lambda x: a * ad.exp(-b * x)  # noqa: E731
    residual = grad(u)(1.0) + u(1.0)
    (residual**2).backward()
    e = math.exp(-0.5)
    assert residual.data == pytest.approx(e)
    assert a.grad == pytest.approx(2.0 * e * (0.5 * e))
    assert b.grad == pytest.approx(2.0 * e * (-2.0 * e - 2.0 * 0.5 * e))


def test_a_closed_over_graph_from_outside_is_used_as_it_was_computed() -> None:
    w = Value(3.0)
    h = w * w
    slope = grad(lambda x: h * x)(2.0)
    slope.backward()
    assert (slope.data, w.grad) == (9.0, 6.0)


def test_data_changed_before_the_derivative_was_taken_is_refused() -> None:
    w = Value(3.0, "w")
    _, pullback = vjp(lambda x: w * x, 2.0)
    w.data = 4.0
    with pytest.raises(ValueError, match="data of leaf 'w' was changed after mul used it; evaluate again"):
        pullback(1.0)

    def changing(x: Any) -> Any:
        y = x * w
        w.data = w.data + 1.0
        return y

    with pytest.raises(ValueError, match="data of leaf 'w' was changed"):
        jvp(changing, (2.0,), (1.0,))
    with pytest.raises(ValueError, match="data of leaf 'w' was changed"):
        grad(changing)(2.0)


# ---- the modes are adjoint


@settings(max_examples=40)
@given(st.lists(NUMBERS, min_size=2, max_size=4), st.data())
def test_vjp_and_jvp_are_transposes(point: list[float], data: st.DataObject) -> None:
    def f(xs: list[Any]) -> list[Any]:
        return [ad.sin(xs[0]) * xs[1], ad.exp(-xs[0] * xs[1]), ad.logsumexp(xs)]

    v = data.draw(st.lists(NUMBERS, min_size=len(point), max_size=len(point)))
    u = data.draw(st.lists(NUMBERS, min_size=3, max_size=3))
    value, tangent = jvp(f, (point,), (v,))
    pulled_value, pullback = vjp(f, point)
    assert value == pulled_value == f(point)
    left = math.fsum(a * b for a, b in zip(u, tangent, strict=True))
    right = math.fsum(a * b for a, b in zip(pullback(u)[0], v, strict=True))
    assert left == pytest.approx(right, rel=1e-9, abs=1e-9)
    rows = jacobian(f)(point)
    for row, t in zip(rows, tangent, strict=True):
        assert math.fsum(map(operator.mul, row, v)) == pytest.approx(t, rel=1e-9, abs=1e-9)


@settings(max_examples=40)
@given(st.lists(NUMBERS, min_size=2, max_size=4), st.data())
def test_hvp_is_the_hessian_times_the_vector(point: list[float], data: st.DataObject) -> None:
    v = data.draw(st.lists(NUMBERS, min_size=len(point), max_size=len(point)))
    want = [math.fsum(map(operator.mul, row, v)) for row in hessian(rosenbrock)(point)]
    assert hvp(rosenbrock)(point, v) == pytest.approx(want, rel=1e-10, abs=1e-9)


def test_a_pullback_may_be_used_again() -> None:
    _, pullback = vjp(lambda x, y: [x * y, y], 2.0, 3.0)
    assert pullback([1.0, 0.0]) == pullback([1.0, 0.0]) == (3.0, 2.0)
    assert pullback([0.0, 1.0]) == (0.0, 1.0)
    assert vjp(lambda x: 5.0, 2.0)[1](1.0) == (0.0,)


def test_containers_in_vjp_and_jvp() -> None:
    value, pullback = vjp(lambda p: {"area": p.x * p.y}, Pair(2.0, 3.0))
    assert (value, pullback({"area": 1.0})) == ({"area": 6.0}, (Pair(3.0, 2.0),))
    assert jvp(lambda p: [p.x * p.y, 1.0], (Pair(2.0, 3.0),), (Pair(1.0, 1.0),)) == ([6.0, 1.0], [5.0, 0.0])


# ---- checkpoint


def deep(x: Any, w: Any) -> Any:
    for _ in range(5):
        x = ad.tanh(w * x + 0.1)
    return x


def test_checkpointed_equals_plain_by_arguments() -> None:
    f = lambda x: deep(x, 0.7) * x  # noqa: E731
    assert checkpoint(f)(0.5) == f(0.5)
    assert value_and_grad(checkpoint(f))(0.5) == value_and_grad(f)(0.5)
    assert grad(grad(checkpoint(f)))(0.5) == pytest.approx(grad(grad(f))(0.5), rel=1e-13, abs=0.0)
    assert jvp(checkpoint(f), (0.5,), (2.0,)) == pytest.approx(jvp(f, (0.5,), (2.0,)), rel=1e-14, abs=0.0)


def test_checkpointed_equals_plain_by_captured_parameters() -> None:
    w = Value(0.7)

    def grads(f: Callable[[Any], Any]) -> tuple[float, float]:
        w.grad = 0.0
        x = Value(0.5)
        (f(x) * 2.0).backward()
        return x.grad, w.grad

    f = lambda x: deep(x, w)  # noqa: E731
    assert grads(checkpoint(f)) == pytest.approx(grads(f), rel=1e-15, abs=0.0)
    second = jacobian(grad(checkpoint(lambda x: deep(x, w))))(0.5)
    assert second.data == pytest.approx(hessian(lambda x: deep(x, 0.7))(0.5), rel=1e-13, abs=0.0)


def test_checkpoint_with_a_captured_interior_value() -> None:
    w = Value(2.0)
    h = w * w
    y = checkpoint(lambda x: h * x * h)(3.0)
    y.backward()
    assert (y.data, h.grad, w.grad) == (48.0, 24.0, 96.0)


def test_a_checkpoint_is_one_node_and_keeps_nothing_else() -> None:
    x = Value(0.5)
    y = checkpoint(lambda x: deep(x, 0.7))(x)
    assert len(ad.toposort(y)) == 2
    assert y.primitive is not None
    assert y.primitive.name.startswith("checkpoint")


def test_checkpoint_of_several_arguments_and_containers() -> None:
    f = lambda p, scale: p["a"] * p["b"] * scale  # noqa: E731
    a, scale = Value(2.0), Value(5.0)
    checkpoint(f)({"a": a, "b": 3.0}, scale).backward()
    assert (a.grad, scale.grad) == (15.0, 6.0)
    assert grad(checkpoint(f), (0, 1))({"a": 2.0, "b": 3.0}, 5.0) == ({"a": 15.0, "b": 10.0}, 6.0)


def test_checkpoint_with_arguments_by_name() -> None:
    def f(x: Any, w: Any, power: int = 1) -> Any:
        return w * x**power

    for power in (2, 3):
        x, w = Value(2.0), Value(5.0)
        y = checkpoint(f)(x, w=w, power=power)
        y.backward()
        assert (y.data, x.grad, w.grad) == (5.0 * 2.0**power, 5.0 * power * 2.0 ** (power - 1), 2.0**power)
        assert len(y.parents) == 2
        for mode in (grad, lambda f: ad.compile(grad(f))):
            assert mode(grad(lambda x, power=power: checkpoint(f)(x, w=x, power=power)))(2.0) == pytest.approx(
                (power + 1) * power * 2.0 ** (power - 1), rel=1e-15
            )


def test_checkpoint_without_dependence_is_plain() -> None:
    assert checkpoint(lambda x: x * 2.0)(3.0) == 6.0
    assert type(checkpoint(lambda x: x * 2.0)(3.0)) is float
    assert checkpoint(lambda x: 7.0)(Value(3.0)) == 7.0
    x, w = Value(3.0), Value(4.0)
    checkpoint(lambda x: x)(x).backward()
    checkpoint(lambda x: w)(x).backward()
    assert (x.grad, w.grad) == (1.0, 1.0)


def test_nested_checkpoints() -> None:
    inner = checkpoint(lambda x: ad.sin(x) * x)
    outer = checkpoint(lambda x: inner(x) ** 2)
    plain = lambda x: (ad.sin(x) * x) ** 2  # noqa: E731
    assert grad(outer)(1.3) == pytest.approx(grad(plain)(1.3), rel=1e-14, abs=0.0)
    assert grad(grad(outer))(1.3) == pytest.approx(grad(grad(plain))(1.3), rel=1e-13, abs=0.0)


def test_a_checkpoint_whose_parameter_changed_is_refused() -> None:
    w = Value(0.7)
    y = checkpoint(lambda x: deep(x, w))(Value(0.5))
    w.data = 0.8
    with pytest.raises(ValueError, match="a leaf was changed after a checkpointed function used it"):
        y.backward()


def test_a_checkpoint_with_nan_in_a_parameter_is_not_taken_for_changed() -> None:
    w, x = Value(math.nan), Value(2.0)
    checkpoint(lambda x: x * w)(x).backward()
    assert (math.isnan(x.grad), w.grad) == (True, 2.0)


def test_a_checkpoint_inside_no_grad_is_a_leaf() -> None:
    w = Value(0.7)
    with no_grad():
        y = checkpoint(lambda x: deep(x, w))(Value(0.5))
    assert y.parents == ()
    assert y.data == deep(0.5, 0.7)


# ---- batches

DATA = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=6)


@settings(max_examples=50)
@given(DATA)
def test_batches_equal_the_explicit_sum(data: list[tuple[float, float]]) -> None:
    w, b = Value(0.5), Value(-0.25)

    def loss(x: Any, y: Any) -> Any:
        return (ad.tanh(w * x + b) - y) ** 2

    xs, ys = [x for x, _ in data], [y for _, y in data]
    total = sum(loss(x, y) for x, y in data)
    total.backward()
    want = (total.data, w.grad, b.grad)
    for transform, count in ((batch_sum, 1), (batch_mean, len(data))):
        w.grad = b.grad = 0.0
        out = transform(loss)(xs, ys)
        out.backward()
        found = (out.data * count, w.grad * count, b.grad * count)
        assert found == pytest.approx(want, rel=1e-12, abs=1e-12)
        assert set(out.parents) == {w, b}


def test_batches_add_from_first_to_last() -> None:
    w = Value(1.0)
    assert batch_sum(lambda x: w * x)([0.1] * 10).data == 0.9999999999999999


def test_a_batch_leaves_grads_alone_until_backward() -> None:
    w = Value(2.0)
    w.grad = 5.0
    loss = batch_mean(lambda x: w * x)([1.0, 3.0])
    assert w.grad == 5.0
    loss.backward(10.0)
    loss.backward(10.0)
    assert w.grad == 45.0


def test_batches_of_plain_numbers_are_plain() -> None:
    assert batch_sum(lambda x: x * 2.0)([1.0, 2.0]) == 6.0
    assert batch_mean(lambda x: x * 2)([1, 2]) == 3.0
    assert type(batch_mean(lambda x: x * 2)([1, 2])) is float


def test_examples_may_be_anything() -> None:
    w = Value(2.0)
    loss = batch_sum(lambda x, name: w * x[0] + w * x[1] * len(name))([[1.0, 2.0], [3.0, 4.0]], ["a", "bb"])
    loss.backward()
    assert (loss.data, w.grad) == (2 * 3.0 + 2 * 11.0, 14.0)
    rows = numpy.array([[1.0, 2.0], [3.0, 4.0]])
    assert batch_mean(lambda row: w * row[0])(rows).data == 4.0


def test_examples_may_be_values_themselves() -> None:
    xs = [Value(1.0), Value(2.0)]
    batch_sum(lambda x: x * x)(xs).backward()
    assert [x.grad for x in xs] == [2.0, 4.0]
    x = Value(3.0)
    batch_sum(lambda x: x * x)([x, x]).backward()
    assert x.grad == 12.0


def test_a_captured_interior_value_gets_its_signal() -> None:
    w = Value(3.0)
    h = w * w
    batch_sum(lambda x: h * x)([1.0, 2.0]).backward()
    assert (h.grad, w.grad) == (3.0, 18.0)


def test_an_output_that_is_a_captured_value() -> None:
    w = Value(3.0)
    h = w * w
    batch_sum(lambda x: h if x else w)([0, 1, 1]).backward()
    assert w.grad == 13.0


def test_examples_without_parameters_count_too() -> None:
    w = Value(3.0)
    loss = batch_mean(lambda x: w * x if x else 10.0)([0.0, 2.0])
    loss.backward()
    assert (loss.data, w.grad) == (8.0, 1.0)


def test_a_batch_inside_grad() -> None:
    def loss(w: Any) -> Any:
        return batch_mean(lambda x, y: (w * x - y) ** 2)([1.0, 2.0], [0.0, 1.0])

    assert value_and_grad(loss)(2.0) == (6.5, 8.0)
    assert grad(grad(loss))(2.0) == 5.0
    assert jvp(grad(loss), (2.0,), (1.0,)) == (8.0, 5.0)


def test_every_mode_goes_through_batches_and_checkpoints() -> None:
    """The loss is w^3 * (1 + 3) / 2, whatever is nested in what."""
    losses: list[Callable[[Any], Any]] = [
        lambda w: batch_mean(lambda x: w**3 * x)([1.0, 3.0]),
        lambda w: batch_mean(checkpoint(lambda x: w**3 * x))([1.0, 3.0]),
        lambda w: checkpoint(lambda s: batch_mean(lambda x: w**2 * x * s)([1.0, 3.0]))(w),
        checkpoint(lambda w: batch_mean(lambda x: w**3 * x)([1.0, 3.0])),
        lambda w: batch_sum(lambda v: v**3)([w, w]),
        lambda w: batch_mean(lambda x: grad(lambda t: w**3 * t * x)(5.0))([1.0, 3.0]),
        # evaluated again when the outer function has long returned: w is an input still
        lambda w: checkpoint(lambda x: grad(lambda t: w**3 * t)(5.0) * x)(2.0),
        lambda w: batch_mean(lambda x: grad(lambda t: w**3 * t)(5.0) * x)([1.0, 3.0]),
    ]
    for loss in losses:
        assert value_and_grad(loss)(2.0) == (16.0, 24.0)
        assert jvp(loss, (2.0,), (1.0,)) == (16.0, 24.0)
        assert vjp(loss, 2.0)[1](1.0) == (24.0,)
        assert grad(grad(loss))(2.0) == hvp(loss)(2.0, 1.0) == hessian(loss)(2.0) == 24.0
        assert jvp(lambda w: jvp(loss, (w,), (1.0,))[1], (2.0,), (1.0,)) == (24.0, 24.0)  # noqa: B023
        assert grad(grad(grad(loss)))(2.0) == 12.0


def test_second_derivatives_of_a_batch_whose_examples_use_different_parameters() -> None:
    def loss(p: Any) -> Any:
        return batch_mean(lambda x: p[0] ** 2 * x if x else p[0] * p[1] ** 3)([0.0, 5.0, 1.0, 0.0])

    assert grad(loss)([2.0, 3.0]) == [(12.0 * 2.0 + 2 * 27.0) / 4, 2 * 2.0 * 27.0 / 4]
    assert hessian(loss)([2.0, 3.0]) == [[3.0, 13.5], [13.5, 18.0]]


def test_a_batch_of_gradients_reaches_captured_parameters() -> None:
    w = Value(3.0)
    loss = batch_mean(lambda x: grad(lambda t: w * t * t)(x) ** 2)([1.0, 2.0])
    loss.backward()
    assert (loss.data, w.grad) == (90.0, 60.0)


def test_a_checkpointed_gradient_reaches_captured_parameters() -> None:
    w = Value(3.0)
    y = checkpoint(lambda x: grad(lambda t: w * t**3)(x))(Value(2.0))
    y.backward()
    assert (y.data, w.grad) == (36.0, 12.0)


def test_a_batch_inside_no_grad_is_only_a_value() -> None:
    w = Value(2.0)
    with no_grad():
        loss = batch_mean(lambda x: w * x)([1.0, 3.0])
    assert loss == 4.0
    assert not isinstance(loss, Value) or loss.parents == ()


def test_memory_does_not_grow_with_the_batch() -> None:
    w = Value(0.5)

    def peak(count: int) -> int:
        xs = [0.1] * count
        tracemalloc.start()
        batch_mean(lambda x: deep(x, w))(xs).backward()
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)
    assert peak(500) - peak(10) < 500 * 400  # the graph of one example takes 3000 bytes


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: batch_sum(lambda x: x)(), TypeError, "batch_sum needs at least one sequence of examples"),
        (lambda: batch_mean(lambda x: x)([]), ValueError, "batch_mean of no examples has no value"),
        (lambda: batch_sum(lambda x, y: x)([1.0], []), ValueError, "sequences of one length, not 1, 0"),
        (
            lambda: batch_sum(lambda x: None)([1.0]),
            TypeError,
            "must be a number or a Value, not None: is a return missing",
        ),
        (lambda: batch_sum(lambda x: [x])([1.0]), TypeError, "must be a number or a Value, not list"),
        (lambda: batch_sum(lambda x: x)(3.0), TypeError, "sequences with one entry per example, not 3.0"),
    ],
)
def test_bad_batches_are_explained(call: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_an_error_in_one_example_leaves_the_grads_alone() -> None:
    w = Value(2.0)
    w.grad = 5.0
    with pytest.raises(ZeroDivisionError):
        batch_sum(lambda x: w / x)([1.0, 0.0])
    assert w.grad == 5.0
    assert (w * 2.0).parents == (w,)  # and the mode is as before


# ---- what cannot be done


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: grad(lambda x: None)(1.0), TypeError, r"the function returned None: is a return missing\?"),
        (lambda: jacobian(lambda x: [x, None])(1.0), TypeError, r"the function returned None at \[1\]"),
        (lambda: grad(lambda x: [x, x])(1.0), TypeError, r"<lambda>\(\) returned list; use jacobian"),
        (lambda: value_and_grad(lambda x: (x, 1.0))(1.0), TypeError, "returned tuple; use jacobian"),
        (lambda: hessian(lambda x: {"a": x})(1.0), TypeError, "returned dict; use jacobian"),
        (lambda: grad(lambda x: "text")(1.0), TypeError, "the result of the function must be a number .* not str"),
        (lambda: grad(lambda x: 1j)(1.0), TypeError, "not complex"),
        (lambda: grad(lambda x: x)(True), TypeError, "argument 0 is True: a truth value has no derivative"),
        (lambda: grad(lambda x: x)(numpy.True_), TypeError, r"argument 0 is True: a truth value has no derivative"),
        (lambda: grad(lambda x: x)("1"), TypeError, "argument 0 must be a number or a Value, not str '1'"),
        (lambda: grad(lambda x: x)(None), TypeError, "argument 0 must be a number or a Value, not NoneType"),
        (lambda: grad(lambda x: x[0])([1.0, 1j]), TypeError, r"argument 0\[1\] must be a number .* not complex"),
        (lambda: grad(lambda p: 0.0)({"a": ["b"]}), TypeError, r"argument 0\['a'\]\[0\] must be a number"),
        (lambda: grad(lambda x: x)(), TypeError, "was called with 0 positional arguments"),
        (lambda: jvp(lambda x: x, (1.0,), (1.0, 2.0)), ValueError, "primals and tangents that must have one shape"),
        (lambda: jvp(lambda x: x[0], ([1.0],), ([1.0, 2.0],)), ValueError, r"tangents .* differ at \[0\]"),
        (lambda: jvp(lambda x: x, (1.0,), ("1",)), TypeError, "the tangent must be a number or a Value, not str"),
        (lambda: vjp(lambda x: [x, x], 1.0)[1]([1.0]), ValueError, "a result and its cotangent that must have"),
        (lambda: vjp(3.0, 1.0), TypeError, r"vjp\(f, \*primals\) takes a function first, not 3\.0"),
        (lambda: jvp(3.0, (1.0,), (1.0,)), TypeError, r"jvp\(f, primals, tangents\) takes a function first, not 3\.0"),
        (lambda: vjp(lambda x: x, 1.0)[1]("1"), TypeError, "the cotangent must be a number or a Value, not str"),
        (lambda: hvp(lambda x: x[0])([1.0], [1.0, 2.0]), ValueError, "one shape"),
        (lambda: checkpoint(lambda x: x)("1"), TypeError, "argument 0 must be a number or a Value, not str"),
        (lambda: checkpoint(lambda x: x)([1.0, "1"]), TypeError, r"argument 0\[1\] must be a number"),
        (lambda: grad(3.0), TypeError, r"grad\(\) takes a function, not 3\.0: write grad\(f\)\(x\)"),
        (lambda: hessian(3.0), TypeError, r"hessian\(\) takes a function, not 3\.0"),
        (lambda: hvp([1.0]), TypeError, r"hvp\(\) takes a function"),
        (lambda: batch_mean([1.0]), TypeError, r"batch_mean\(\) takes a function of one example, not \[1\.0\]"),
        (lambda: grad(lambda x: x, 2.0), TypeError, r"such as 0 or \(0, 1\), not 2\.0: the arguments themselves"),
        (
            lambda: grad(lambda x, y: x * y, (0, 0))(2.0, 3.0),
            ValueError,
            r"argnums=\(0, 0\) lists an argument .* twice",
        ),
        (
            lambda: jacobian(lambda x, y: x * y, (1, -1))(2.0, 3.0),
            ValueError,
            r"lists an argument of <lambda>\(\) twice",
        ),
        (lambda: checkpoint(3.0), TypeError, r"checkpoint\(\) takes a function, not 3\.0"),
        (lambda: grad(lambda x: x, "x"), TypeError, "argnums are positions of arguments"),
        (lambda: grad(lambda x: x)(x=1.0), TypeError, "those given by name are not counted"),
        (lambda: jvp(lambda x: x, 1.0, 1.0), TypeError, r"write primals=\(1\.0,\)"),
        (lambda: jvp(lambda x: x, (1.0,), 1.0), TypeError, r"write tangents=\(1\.0,\)"),
    ],
)
def test_misuse_is_explained(call: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_errors_inside_the_function_pass_through() -> None:
    with pytest.raises(ZeroDivisionError, match="div"):
        grad(lambda x: x / 0.0)(1.0)
    with pytest.raises(KeyError):
        grad(lambda p: p["missing"])({"a": 1.0})


def test_a_pullback_is_one_sweep_whatever_the_number_of_outputs() -> None:
    calls: list[float] = []
    counted = ad.Primitive("counted", lambda x: x * x, "", lambda out, x: calls.append(1.0) or 2.0 * x)

    def outputs(x: Any) -> list[Any]:
        y = counted(x)
        return [y * k for k in (1.0, 2.0, 3.0)]

    _, pullback = vjp(outputs, 5.0)
    assert pullback([1.0, 10.0, 100.0]) == (3210.0,)
    assert len(calls) == 1  # the outputs' error signals meet in y before its rule is applied
    one = Value(1.0)  # equal to 1, and yet a Value: the result depends on it
    (found,) = vjp(lambda x: [x * x, x], 3.0)[1]([one, 2.0])
    found.backward()
    assert (found.data, one.grad) == (8.0, 6.0)


# ---- has_aux


def with_notes(x: Any, y: Any) -> Any:
    return x * x * y, {"third": [x / 3.0, "text", None], "pair": (y, 7)}


NOTES = {"third": [2.0, "text", None], "pair": (0.5, 7)}


@pytest.mark.parametrize("wrap", [lambda f: f, compile], ids=["eager", "compiled"])
def test_what_a_function_gives_beside_its_result_is_passed_on(wrap: Any) -> None:
    assert wrap(value_and_grad(with_notes, (0, 1), has_aux=True))(6.0, 0.5) == ((18.0, NOTES), (6.0, 36.0))
    assert wrap(grad(with_notes, has_aux=True))(6.0, 0.5) == (6.0, NOTES)
    assert wrap(hessian(with_notes, has_aux=True))(6.0, 0.5) == (1.0, NOTES)
    slopes = wrap(jacobian(lambda xs: ([xs[0] * xs[1], xs[1]], xs[0]), has_aux=True))([2.0, 3.0])
    assert slopes == ([[3.0, 2.0], [0.0, 1.0]], 2.0)
    pushed = wrap(lambda x, y: jvp(with_notes, (x, y), (1.0, 10.0), has_aux=True))(6.0, 0.5)
    assert pushed == (18.0, 6.0 + 360.0, NOTES)

    def pulled(x: Any, y: Any) -> Any:
        value, pullback, beside = vjp(with_notes, x, y, has_aux=True)
        return value, pullback(2.0), beside

    assert wrap(pulled)(6.0, 0.5) == (18.0, (12.0, 72.0), NOTES)


def test_what_is_beside_the_result_can_be_differentiated_from_outside() -> None:
    def inner(x: Any) -> Any:
        slope, beside = grad(lambda y: (y * y * x, y * y * y), has_aux=True)(x)
        return slope * beside  # 2 x^2 times x^3

    def forward(x: Any) -> Any:
        _, slope, beside = jvp(lambda y: (y * y * x, y * y * y), (x,), (1.0,), has_aux=True)
        return slope * beside

    def pulled(x: Any) -> Any:
        _, pullback, beside = vjp(lambda y: (y * y * x, y * y * y), x, has_aux=True)
        return pullback(1.0)[0] * beside

    for f in (inner, forward, pulled):
        for outer in (grad(f), compile(grad(f))):
            assert outer(2.0) == 10.0 * 2.0**4
    assert grad(lambda x: value_and_grad(lambda y: (y, x * y), has_aux=True)(x)[0][1])(3.0) == 6.0


def test_what_is_beside_the_result_depends_on_values_from_outside_as_the_result_does() -> None:
    w = Value(2.0)
    slope, beside = grad(lambda x: (w * x * x, w * x), has_aux=True)(3.0)
    (slope * beside).backward()  # 2 w x times w x
    assert w.grad == 4.0 * 2.0 * 9.0
    with no_grad():
        assert grad(lambda x: (w * x * x, w * x), has_aux=True)(3.0) == (12.0, 6.0)


def test_what_is_beside_the_result_keeps_its_edges_where_the_result_has_none() -> None:
    w = Value(2.0)
    slope, beside = grad(lambda x: (x * x, [w * x]), has_aux=True)(3.0)
    beside[0].backward()
    assert (slope.data, w.grad) == (6.0, 3.0)

    def inner(w: Any) -> Any:
        return grad(lambda x: (x * x, w * x), has_aux=True)(3.0)[1]

    for outer in (grad(inner), compile(grad(inner)), jacobian(inner)):
        assert outer(2.0) == 3.0


@pytest.mark.parametrize("returned", [1.0, (1.0,), [1.0, 2.0], (1.0, 2.0, 3.0), None])
@pytest.mark.parametrize("transform", [grad, value_and_grad, jacobian, hessian])
def test_a_function_that_returns_no_pair_is_told_so(transform: Any, returned: Any) -> None:
    def f(x: Any) -> Any:
        return returned

    with pytest.raises(TypeError, match=r"with has_aux=True, f\(\) must return a pair, .*: not "):
        transform(f, has_aux=True)(1.0)
    with pytest.raises(TypeError, match=r"with has_aux=True, f\(\) must return a pair, .*: not "):
        vjp(f, 1.0, has_aux=True)
    with pytest.raises(TypeError, match=r"with has_aux=True, f\(\) must return a pair, .*: not "):
        jvp(f, [1.0], [1.0], has_aux=True)
