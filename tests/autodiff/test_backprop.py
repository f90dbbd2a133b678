"""The order and the sweeps: exact on random graphs, in every mode, however deep and however many paths."""

import operator
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import autodiff as ad
from autodiff import Kernel, Primitive, Value, grad, hessian, hvp, jacobian, jvp, toposort, vjp
from autodiff.backprop import product

# ---- topological order


def test_parents_come_before_children_and_each_node_once() -> None:
    a, b = Value(2.0), Value(3.0)
    c = a * b
    d = c + c * a
    order = toposort(d)
    place = {node: i for i, node in enumerate(order)}
    assert len(place) == len(order) == 5
    assert order[-1] is d
    assert all(place[parent] < place[node] for node in order for parent in node.parents)


def test_several_roots_share_one_order() -> None:
    x = Value(2.0)
    y, z = x * x, x + 1.0
    order = toposort(y, z)
    assert {node.data for node in order} == {2.0, 4.0, 3.0}
    assert len(order) == 3
    assert toposort() == []


def test_nothing_before_a_stop_is_listed() -> None:
    x = Value(2.0)
    y = x * x
    z = y + 1.0
    assert [node.data for node in toposort(z, stop=[y])] == [4.0, 5.0]
    assert toposort(y, stop=[y])[0] is y


@pytest.mark.parametrize("root", [3.0, None, [Value(1.0)]])
def test_only_values_have_an_order(root: Any) -> None:
    with pytest.raises(TypeError, match=r"toposort\(\) takes Values, one after the other, not "):
        toposort(root)


def test_the_rule_of_a_constant_argument_is_not_asked() -> None:
    three = Primitive("three", lambda x, y, z: x * y * z, "", 2.0, 3.0, lambda out, x, y, z: ad.log(z))
    x = Value(1.0)
    with ad.anomaly_detection():
        y = three(x, 5.0, -1.0)
    y.backward()
    assert (x.grad, grad(three)(1.0, 5.0, -1.0), grad(grad(three))(1.0, 5.0, -1.0)) == (2.0, 2.0, 0.0)


def test_a_kernel_must_give_a_derivative_for_each_argument() -> None:
    short = Kernel("short", lambda *xs: xs[0], "", lambda out, *xs: [1.0])
    with pytest.raises(ValueError, match="short of 2 arguments has 1 local derivatives"):
        short(Value(1.0), Value(2.0)).backward()


def test_threads_may_share_a_pullback() -> None:
    _, pullback = vjp(lambda x: [x * x * float(i) for i in range(200)], 3.0)
    cotangents = [[float(k == i) for i in range(200)] for k in range(200)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(pullback, cotangents))
    assert found == [(6.0 * i,) for i in range(200)]


@pytest.mark.parametrize("shape", ["line", "doubling", "diamonds", "comb"])
def test_the_order_is_linear_in_the_number_of_nodes(shape: str) -> None:
    x = y = Value(1.0)
    for _ in range(5_000):
        if shape == "line":
            y = y + 1.0
        elif shape == "doubling":
            y = y + y
            y = y * 0.5
        elif shape == "diamonds":
            y = (y * 0.25) + (y * 0.75)
        else:
            y = y + x
    count = len(toposort(y))
    assert count == {"line": 5_001, "doubling": 10_001, "diamonds": 15_001, "comb": 5_001}[shape]


def test_two_to_the_sixty_paths() -> None:
    x = y = Value(1.0)
    for _ in range(60):
        y = y + y
    y.backward()
    assert x.grad == 2.0**60


def test_forty_diamonds() -> None:
    x = y = Value(1.0)
    for _ in range(40):
        y = y * 2.0 + y * 3.0
    y.backward()
    assert x.grad == 5.0**40
    assert jvp(lambda x: _diamonds(x), (1.0,), (1.0,))[1] == 5.0**40


def _diamonds(x: Any) -> Any:
    for _ in range(40):
        x = x * 2.0 + x * 3.0
    return x


# ---- random graphs against exact arithmetic


@dataclass
class Jet:
    """An exact second-order Taylor polynomial: value, gradient and Hessian in fractions."""

    value: Fraction
    slope: list[Fraction]
    bend: list[list[Fraction]]

    @classmethod
    def variable(cls, x: float, i: int, n: int) -> "Jet":
        return cls(Fraction(x), [Fraction(int(i == j)) for j in range(n)], [[Fraction(0)] * n for _ in range(n)])

    def _along(self, f: Fraction, f1: Fraction, f2: Fraction) -> "Jet":
        """Apply a function with the given value and derivatives."""
        g, n = self.slope, range(len(self.slope))
        bend = [[f1 * self.bend[i][j] + f2 * g[i] * g[j] for j in n] for i in n]
        return Jet(f, [f1 * x for x in g], bend)

    def __add__(self, other: "Jet") -> "Jet":
        n = range(len(self.slope))
        slope = [self.slope[i] + other.slope[i] for i in n]
        return Jet(self.value + other.value, slope, [[self.bend[i][j] + other.bend[i][j] for j in n] for i in n])

    def __neg__(self) -> "Jet":
        return self._along(-self.value, Fraction(-1), Fraction(0))

    def __sub__(self, other: "Jet") -> "Jet":
        return self + -other

    def __mul__(self, other: "Jet") -> "Jet":
        return (self + other)._quarter_square() - (self - other)._quarter_square()

    def _quarter_square(self) -> "Jet":
        return self._along(self.value**2 / 4, self.value / 2, Fraction(1, 2))

    def __abs__(self) -> "Jet":
        return -self if self.value < 0 else self._along(self.value, Fraction(int(self.value > 0)), Fraction(0))


OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "neg": lambda x, y: -x,
    "abs": lambda x, y: abs(x),
    "reuse": lambda x, y: x * y + x,
}

Program = list[tuple[str, int, int]]
PROGRAMS: st.SearchStrategy[Program] = st.lists(
    st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=10
)
POINTS = st.lists(st.sampled_from([-2.0, -1.5, -1.0, -0.5, 0.5, 1.0, 1.5, 2.0]), min_size=1, max_size=4)


def run(program: Program, xs: list[Any], operations: dict[str, Callable[[Any, Any], Any]] = OPERATIONS) -> list[Any]:
    """Run a program on numbers of any kind; each step may use any earlier number, so that nodes fan out."""
    numbers = list(xs)
    for name, i, j in program:
        numbers.append(operations[name](numbers[i % len(numbers)], numbers[j % len(numbers)]))
    return numbers


def last(program: Program) -> Callable[[list[Any]], Any]:
    return lambda xs: run(program, xs)[-1]


@settings(max_examples=150)
@given(PROGRAMS, POINTS)
def test_every_mode_is_exact_on_random_graphs(program: Program, point: list[float]) -> None:
    n = len(point)
    exact = run(program, [Jet.variable(x, i, n) for i, x in enumerate(point)])
    # Small numbers of halves: every sum and product below is a float without rounding.
    assume(all(abs(jet.value) < 2**12 for jet in exact))
    want, f = exact[-1], last(program)
    slope, bend = [float(x) for x in want.slope], [[float(x) for x in row] for row in want.bend]

    leaves = [Value(x) for x in point]
    out = f(leaves)
    out.backward()
    assert out.data == float(want.value)
    assert [leaf.grad for leaf in leaves] == slope
    assert grad(f)(point) == slope
    assert jacobian(lambda xs: [f(xs), xs[0]])(point)[0] == slope
    assert [jvp(f, (point,), ([float(i == j) for j in range(n)],))[1] for i in range(n)] == slope
    assert vjp(f, point)[1](1.0) == (slope,)
    assert hessian(f)(point) == bend
    assert [hvp(f)(point, [float(i == j) for j in range(n)]) for i in range(n)] == bend


# ---- random smooth graphs: the modes against each other, and against a sum over paths

SMOOTH: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "*": operator.mul,
    "sin": lambda x, y: ad.sin(x),
    "tanh": lambda x, y: ad.tanh(x - y),
    "exp": lambda x, y: ad.exp(-x * x),
    "div": lambda x, y: x / (1.0 + y * y),
    "sqrt": lambda x, y: ad.sqrt(1.0 + x * x),
    "pow": lambda x, y: (1.5 + ad.sin(x)) ** ad.sin(y),
    "hypot": lambda x, y: ad.hypot(1.0 + x * x, y),
    "affine": lambda x, y: ad.affine([x, 0.5], [y, x], y),
    "mix": lambda x, y: ad.logsumexp([x, y, 0.0]),
}
SMOOTH_PROGRAMS: st.SearchStrategy[Program] = st.lists(
    st.tuples(st.sampled_from(sorted(SMOOTH)), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=8
)


def sum_over_paths(out: Value, leaf: Value) -> float:
    """Add up, over all paths from the leaf, the products of local derivatives: the definition, at its full cost."""
    if out is leaf:
        return 1.0
    pairs = zip(out.arguments, out.local_derivatives(), strict=True)
    return sum(local * sum_over_paths(arg, leaf) for arg, local in pairs if isinstance(arg, Value))


@settings(max_examples=60)
@given(SMOOTH_PROGRAMS, st.lists(st.floats(-2.0, 2.0), min_size=1, max_size=3))
def test_modes_agree_on_smooth_graphs(program: Program, point: list[float]) -> None:
    def f(xs: list[Any]) -> Any:
        return run(program, xs, SMOOTH)[-1]

    leaves = [Value(x) for x in point]
    out = f(leaves)
    assume(abs(out.data) < 1e6)
    out.backward()
    got = [leaf.grad for leaf in leaves]
    close = lambda want: pytest.approx(want, rel=1e-9, abs=1e-9)  # noqa: E731
    assert got == grad(f)(point) == vjp(f, point)[1](1.0)[0]
    assert [sum_over_paths(out, leaf) for leaf in leaves] == close(got)
    units = [[float(i == j) for j in range(len(point))] for i in range(len(point))]
    assert [jvp(f, (point,), (unit,))[1] for unit in units] == close(got)
    rows = hessian(f)(point)
    for i, unit in enumerate(units):
        assert hvp(f)(point, unit) == close(rows[i])
        assert [row[i] for row in rows] == close(rows[i])


# ---- signals of exactly 0


def test_a_signal_of_zero_passes_nothing_on() -> None:
    x = Value(0.0)
    (0.0 * ad.sqrt(x) + x).backward()
    assert x.grad == 1.0


def test_a_local_derivative_of_zero_passes_nothing_on_beside_an_infinite_signal() -> None:
    x = Value(0.0)
    ad.sqrt(x * x).backward()
    assert x.grad == 0.0


def test_a_nan_signal_passes_on() -> None:
    x = Value(1.0)
    (x * float("nan")).backward()
    assert x.grad != x.grad


@pytest.mark.parametrize(
    ("signal", "local", "want"),
    [
        (0.0, Value(inf), None),
        (Value(inf), 0.0, None),
        (1.0, 3.0, 3.0),
        (3.0, 1.0, 3.0),
        (-1.0, 3.0, -3.0),
        (2.0, 3.0, 6.0),
        (Value(0.0), Value(inf), 0.0),
    ],
)
def test_products_of_signals(signal: Any, local: Any, want: Any) -> None:
    found = product(signal, local)
    assert (found is None) == (want is None)
    assert found == want


def test_a_signal_of_one_makes_no_node() -> None:
    local = Value(3.0)
    assert product(1.0, local) is local
    assert product(local, 1.0) is local
