"""Points without a derivative: every edge of the written rule, in every mode, to three orders."""

from collections.abc import Callable
from math import inf, nan, pi
from typing import Any

import pytest

import autodiff as ad
from autodiff import Value, batch_sum, compile, grad, jvp
from benchmarks.kinks import EDGES, Edge, nested

Slope = Callable[[Callable[..., Any], float], float]

# First, second and third derivative by each argument, from the rule: none of these numbers was computed by the engine.
FLAT, NOWHERE = (0.0, 0.0, 0.0), (nan, nan, nan)
UP = (1.0, 0.0, 0.0)
WANTED: dict[tuple[str, tuple[float, ...]], list[tuple[float, float, float]]] = {
    ("abs(x)", (0.0,)): [FLAT],
    ("relu(x)", (0.0,)): [FLAT],
    ("leaky_relu(x)", (0.0,)): [(0.01, 0.0, 0.0)],
    ("leaky_relu(x, 0.3)", (0.0,)): [(0.3, 0.0, 0.0)],
    ("leaky_relu(x, 2)", (0.0,)): [UP],
    ("leaky_relu(x, -1)", (0.0,)): [FLAT],
    ("elu(x)", (0.0,)): [UP],  # the first derivative has a concave kink
    ("elu(x, 0.5)", (0.0,)): [(0.5, 0.0, 0.0)],
    ("elu(x, 2)", (0.0,)): [UP],
    ("selu(x)", (0.0,)): [(1.0507009873554805, 0.0, 0.0)],
    ("maximum(x, y)", (2.0, 2.0)): [(0.5, 0.0, 0.0)] * 2,
    ("minimum(x, y)", (2.0, 2.0)): [(0.5, 0.0, 0.0)] * 2,
    ("maximum(x, x)", (2.0,)): [UP],
    ("minimum(x, x)", (2.0,)): [UP],
    ("clip(x, -1, 1)", (1.0,)): [UP],
    ("clip(x, -1, 1)", (-1.0,)): [UP],
    ("hard_tanh(x)", (1.0,)): [UP],
    ("sign(x)", (0.0,)): [FLAT],
    ("floor(x)", (2.0,)): [FLAT],
    ("x // y", (4.0, 2.0)): [FLAT] * 2,
    ("x % y", (4.0, 2.0)): [UP, (-2.0, 0.0, 0.0)],
    ("sqrt(x)", (0.0,)): [(inf, -inf, inf)],
    ("cbrt(x)", (0.0,)): [(inf, nan, inf)],  # the second is inf on the left, -inf on the right
    ("x ** 0.5", (0.0,)): [(inf, -inf, inf)],
    ("x ** 1.5", (0.0,)): [(0.0, inf, -inf)],
    ("x ** 2", (0.0,)): [(0.0, 2.0, 0.0)],
    ("x ** 1", (0.0,)): [UP],
    ("x ** 0", (0.0,)): [FLAT],
    ("x ** 0.0", (0.0,)): [FLAT],
    ("0 ** y", (2.0,)): [FLAT],
    ("x ** y", (0.0, 2.0)): [(0.0, 2.0, 0.0), FLAT],
    ("x ** y", (-2.0, 3.0)): [(12.0, -12.0, 6.0), NOWHERE],
    ("asin(x)", (1.0,)): [(inf, inf, inf)],
    ("acos(x)", (1.0,)): [(-inf, -inf, -inf)],
    ("acosh(x)", (1.0,)): [(inf, -inf, inf)],
    ("hypot(x, y)", (0.0, 0.0)): [(0.0, nan, nan)] * 2,
    ("atan2(y, x)", (0.0, 0.0)): [NOWHERE] * 2,
    ("sinc(x)", (0.0,)): [(0.0, -(pi**2) / 3.0, 0.0)],
    ("where(x > 0, sqrt(x), 0)", (0.0,)): [FLAT],
    ("0 * sqrt(x)", (0.0,)): [FLAT],
    ("log(x)", (5e-324,)): [(inf, -inf, inf)],
}
RULED = [edge for edge in EDGES if (edge.title, edge.point) in WANTED]
CASES = [(edge, i, order) for edge in RULED for i in range(len(edge.point)) for order in (1, 2, 3)]


def by_floats(f: Callable[..., Any], x: float) -> float:
    slope: float = grad(f)(x)
    return slope


def by_backward(f: Callable[..., Any], x: float) -> float:
    leaf = Value(x)
    f(leaf).backward()
    return leaf.grad


def compiled(f: Callable[..., Any], x: float) -> float:
    slope: float = compile(grad(f))(x)
    return slope


def batched(f: Callable[..., Any], x: float) -> float:
    leaf = Value(x)
    total = batch_sum(lambda example: f(leaf))([1.0])
    if isinstance(total, Value):  # else nothing depends on the leaf
        total.backward()
    return leaf.grad


def batched_and_compiled(f: Callable[..., Any], x: float) -> float:
    leaf = Value(x)
    compile(batch_sum(lambda example: f(leaf))).backward([1.0])
    return leaf.grad


@pytest.mark.parametrize("mode", [by_floats, by_backward, compiled, batched, batched_and_compiled])
@pytest.mark.parametrize(("edge", "i", "order"), CASES, ids=lambda item: getattr(item, "title", str(item)))
def test_the_written_rule(edge: Edge, i: int, order: int, mode: Slope) -> None:
    want = WANTED[edge.title, edge.point][i][order - 1]
    got = mode(nested(edge.along(i), order - 1), edge.point[i])
    assert got == pytest.approx(want, rel=4e-16, abs=0.0, nan_ok=True)


@pytest.mark.parametrize("mode", [by_floats, by_backward, compiled, batched, batched_and_compiled])
def test_a_root_of_a_square_passes_nothing_on_at_0(mode: Slope) -> None:
    (edge,) = [edge for edge in EDGES if edge.title == "sqrt(x ** 2)"]
    assert mode(edge.along(0), 0.0) == 0.0


@pytest.mark.parametrize("mode", [by_floats, by_backward, compiled, batched, batched_and_compiled])
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_a_cube_root_is_the_same_on_either_zero(zero: float, mode: Slope) -> None:
    found = [mode(nested(ad.cbrt, order), zero) for order in range(5)]
    assert found == pytest.approx([inf, nan, inf, nan, inf], nan_ok=True)


def by_forward(f: Callable[..., Any], x: float) -> float:
    slope: float = jvp(f, (x,), (1.0,))[1]
    return slope


def by_forward_compiled(f: Callable[..., Any], x: float) -> float:
    slope: float = compile(lambda x: jvp(f, (x,), (1.0,))[1])(x)
    return slope


EVERY_MODE = [by_floats, by_backward, compiled, batched, batched_and_compiled, by_forward, by_forward_compiled]


@pytest.mark.parametrize("mode", EVERY_MODE)
@pytest.mark.parametrize(("f", "x"), [(lambda x: ad.cbrt(x % x), 1.0), (lambda x: (x % x) ** 0.5, 1.0)])
def test_infinite_terms_that_cancel_are_nan_unless_added_up_before(f: Any, x: float, mode: Slope) -> None:
    """No mode sees that they belong together: forward mode has added 1 - 1 when the infinity comes."""
    want = 0.0 if mode in (by_forward, by_forward_compiled) else nan
    assert mode(f, x) == pytest.approx(want, nan_ok=True)


@pytest.mark.parametrize("mode", EVERY_MODE)
def test_at_nan_a_branch_around_zeros_is_not_taken(mode: Slope) -> None:
    """A comparison with nan fails: relu, clip and hard_tanh pass nothing on there, all others pass nan on."""
    for f in (ad.relu, ad.hard_tanh, lambda x: ad.clip(x, 0.0, 1.0)):
        assert mode(f, nan) == 0.0
        assert f(nan) != f(nan)
    for f in (abs, ad.leaky_relu, ad.elu, ad.selu, ad.softsign, ad.cbrt, lambda x: ad.maximum(x, 0.0)):
        assert mode(f, nan) != mode(f, nan)


def test_every_edge_is_tested() -> None:
    assert {(edge.title, edge.point) for edge in EDGES} == {*WANTED, ("sqrt(x ** 2)", (0.0,))}


@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivatives_where_they_exist_beside_an_edge(order: int) -> None:
    """The same functions, a little aside: the rule is for one point only."""
    for title, side, want in [
        ("abs(x)", -1e-300, (-1.0, 0.0, 0.0)),
        ("relu(x)", 1e-300, UP),
        ("leaky_relu(x, 2)", -1e-300, (2.0, 0.0, 0.0)),
        ("elu(x, 2)", -1e-300, (2.0, 2.0, 2.0)),
        ("clip(x, -1, 1)", 1.0 + 2**-52, FLAT),
    ]:
        edge = next(edge for edge in EDGES if edge.title == title)
        assert nested(edge.along(0), order)(side) == want[order - 1]
