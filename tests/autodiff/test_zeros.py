"""Branching around error signals of exactly 0: the same floats and errors, with less work."""

import random
from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import autodiff as ad
from autodiff import Primitive, Value, compile, grad, hessian, jacobian, jvp, value_and_grad
from tests.programs import bits, outcome

Function = Callable[..., Any]

EDGES = (-3.0, -1.0, -0.5, -0.0, 0.0, 5e-324, 0.5, 1.0, 2.0, 3.0, inf, -inf, nan)
NUMBERS = st.one_of(st.floats(-3.0, 3.0), st.sampled_from(EDGES))


class Counted:
    """A function whose derivative counts how often it is evaluated in generated code."""

    def __init__(self) -> None:
        self.count = 0
        self.probe = Primitive("probe", self._probe, "", lambda out, x: 0.0)
        self.function = Primitive("counted", lambda x: 3.0 * x, "", lambda out, x: self.probe(x))

    def _probe(self, x: float) -> float:
        self.count += 1
        return 3.0


def test_nothing_behind_a_dead_relu_is_computed() -> None:
    counted = Counted()
    fast = compile(grad(lambda x, w: ad.relu(ad.tanh(counted.function(ad.sin(x * w))))))
    fast(0.5, 1.0)
    counted.count = 0
    assert fast(-0.5, 1.0) == 0.0
    assert counted.count == 0
    assert fast(0.5, 1.0) > 0.0
    assert counted.count == 1
    assert "if " in fast.source.split("# derivatives")[1]


def test_a_satisfied_hinge_costs_no_derivative() -> None:
    w = [Value(0.5), Value(-1.0)]
    counted = Counted()
    fast = compile(lambda x, y: ad.relu(1.0 - y * counted.function(ad.tanh(ad.dot(w, x)))))
    fast.backward([2.0, 1.0], 1.0)
    counted.count = 0
    gradient = [p.grad for p in w]
    assert fast.backward([2.0, -9.0], 1.0) == 0.0
    assert counted.count == 0
    assert [p.grad for p in w] == gradient


FLAGGED: dict[str, Function] = {
    "relu": lambda x, y: ad.relu(x * y) * ad.exp(y),
    "relu of relu": lambda x, y: ad.relu(ad.relu(x) - ad.tanh(y) * ad.sin(x)),
    "two relus of one": lambda x, y: ad.relu(ad.tanh(x * y)) + ad.relu(-ad.tanh(x * y)) * y,
    "a relu used twice": lambda x, y: (lambda r: r * r + ad.tanh(r) * x)(ad.relu(x + y)),
    "sum of relus": lambda x, y: ad.sum([ad.relu(x * i - y) * ad.tanh(x) for i in range(5)]),
    "relus in layers": lambda x, y: ad.relu(ad.relu(ad.relu(x * y + 1.0) * y - 0.5) * x - 0.1),
    "clip": lambda x, y: ad.clip(ad.tanh(x) * y, -0.5, 0.5) * ad.exp(x * 0.1),
    "clip at moving edges": lambda x, y: ad.clip(ad.sinh(x * 0.1), ad.tanh(y) - 1.0, ad.tanh(y)),
    "an empty clip": lambda x, y: ad.exp2(ad.clip(x, 5.0, 5.0)) * y,
    "a clip the wrong way": lambda x, y: ad.square(ad.hard_tanh(ad.clip(x, 1.0, 0.0))) + y,
    "hard tanh": lambda x, y: ad.hard_tanh(ad.tanh(x) * 2.0) * ad.hard_tanh(y) * ad.cos(ad.hard_tanh(x)),
    "hard tanh twice": lambda x, y: ad.hard_tanh(ad.hard_tanh(x)) * y,
    "relu thrice": lambda x, y: ad.relu(ad.relu(ad.relu(x))) * ad.relu(ad.relu(y)),
    "elu": lambda x, y: ad.elu(x * y, 0.5) * ad.tanh(y),
    "leaky": lambda x, y: ad.leaky_relu(ad.tanh(x) - y, 0.0) * x,
    "maximum": lambda x, y: ad.maximum(ad.tanh(x) * y, ad.maximum(y, 0.0)),
    "where": lambda x, y: ad.where(x > y, ad.tanh(x) * ad.exp(y * 0.1), ad.relu(y) * x),
    "raising behind a flag": lambda x, y: 1.0 / ad.relu(x) + y,
    "overflowing behind a flag": lambda x, y: ad.exp(1000.0 * ad.clip(x, -2.0, 2.0)) * y,
    "logarithm behind a flag": lambda x, y: ad.log(ad.clip(x, -2.0, 2.0)) * y,
    "acosh behind a flag": lambda x, y: ad.acosh(ad.hard_tanh(x) * 2.0) - y,
    "division beside a flag": lambda x, y: ad.relu(x) / y,
    "infinite behind a flag": lambda x, y: ad.sqrt(ad.relu(x)) * ad.relu(ad.cbrt(y)),
    "a sum that grows by regions": lambda x, y: x * y + ad.relu(x) * y + ad.relu(y) * x + ad.relu(-x * y) * x * y,
    "negated": lambda x, y: -ad.relu(-(x * y)) - -ad.relu(x - y) * -ad.tanh(y),
    "choices by comparison": lambda x, y: ad.relu(ad.tanh(x) * y) if x > 0.0 else ad.relu(ad.tanh(y) * x) * 2.0,
}

TRANSFORMS: dict[str, Callable[[Function], Function]] = {
    "value_and_grad": lambda f: value_and_grad(f, (0, 1)),
    "grad of grad": lambda f: grad(grad(f, 1), 0),
    "hessian": lambda f: hessian(f, (0, 1)),
    "jvp": lambda f: lambda x, y: jvp(f, (x, y), (1.0, -0.5)),
    "jacobian of two": lambda f: jacobian(lambda x, y: (f(x, y), f(y, x) * x), (0, 1)),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name", FLAGGED)
def test_zero_or_not_the_bits_are_the_same(name: str, transform: str) -> None:
    eager = TRANSFORMS[transform](FLAGGED[name])
    fast = compile(eager)
    fast(0.7, 0.6)
    for x in EDGES:
        for y in EDGES:
            assert outcome(fast, x, y) == outcome(eager, x, y), (x, y)


@given(st.lists(NUMBERS, min_size=21, max_size=21), st.sampled_from([ad.relu, ad.hard_tanh, ad.elu, ad.leaky_relu]))
def test_small_nets_with_weights_of_every_kind(numbers: list[float], activation: Function) -> None:
    weights = [Value(w) for w in numbers[:18]]
    x = numbers[18:]

    def net(x: Any) -> Any:
        hidden = [activation(ad.affine(weights[4 * i : 4 * i + 3], x, weights[4 * i + 3])) for i in range(3)]
        return ad.relu(1.0 - ad.affine(weights[12:15], hidden, weights[15])) + ad.clip(
            hidden[0], weights[16], weights[17]
        )

    fast = compile(net)
    found = []
    for run in (lambda x: _backward(net(x)), fast.backward, fast.backward):
        for w in weights:
            w.grad = 0.0
        found.append((outcome(run, x), bits([w.grad for w in weights])))
    assert found[0] == found[1] == found[2]


def _backward(result: Value) -> float:
    result.backward()
    return result.data


def test_a_trained_net_goes_through_dead_and_live_neurons() -> None:
    rng = random.Random(0)
    weights = [Value(rng.uniform(-1.0, 1.0)) for _ in range(33)]

    def net(x: Any, target: Any) -> Any:
        hidden = [ad.relu(ad.affine(weights[3 * i : 3 * i + 2], x, weights[3 * i + 2])) for i in range(8)]
        return ad.relu(1.0 - target * ad.affine(weights[24:32], hidden, weights[32]))

    fast = compile(net)
    for _ in range(100):
        x, target = [rng.uniform(-2.0, 2.0), rng.uniform(-2.0, 2.0)], rng.choice([-1.0, 1.0])
        found = []
        for run in (lambda *a: _backward(net(*a)), fast.backward):
            for w in weights:
                w.grad = 0.0
            found.append((run(x, target), [w.grad for w in weights]))
        assert bits(found[0]) == bits(found[1])
        for w in weights:
            w.data -= 0.1 * w.grad
    assert sum(report.ways for report in fast.specialisations) == 1  # flags are no guards


def test_a_running_total_that_starts_inside_a_region_is_there_after_it() -> None:
    def clipped(x: Any) -> Any:
        y = 1.0
        for _ in range(5):
            y = ad.clip(y, 4.0 * x, 0.0)
        return y

    slope = grad(clipped)
    fast = compile(slope)
    for x in (1.0, -1.0, 0.0, 0.25, 0.1):
        assert outcome(fast, x) == outcome(slope, x)


def _forked(inner: Function) -> Function:
    """Ask questions after a derivative was computed, of it and of other things, and use it in each way."""

    def f(x: Any, y: Any) -> Any:
        slope, both = grad(inner)(x, y), jvp(inner, (x, y), (1.0, 2.0))
        if y > 1.0:
            return slope * y, both
        if slope > 0.5:
            return both[1], slope
        return slope if x < y else (both, y)

    return f


@pytest.mark.parametrize("name", FLAGGED)
def test_what_a_region_leaves_is_there_after_a_question(name: str) -> None:
    f = _forked(FLAGGED[name])
    fast = compile(f)
    for x in EDGES:
        for y in EDGES:
            assert outcome(fast, x, y) == outcome(f, x, y), (x, y)


@pytest.mark.parametrize("name", FLAGGED)
def test_regions_inside_a_batch(name: str) -> None:
    w = Value(0.5)
    f, rng = FLAGGED[name], random.Random(1)
    eager = ad.batch_sum(lambda x: f(w, x) + f(x, w))
    fast = compile(eager)
    for _ in range(30):
        w.data = rng.choice(EDGES)
        xs = [rng.choice(EDGES) for _ in range(3)]
        found = []
        for run in (lambda xs: _backward(eager(xs)), fast.backward):
            w.grad = 0.0
            found.append((outcome(run, xs), bits(w.grad)))
        assert found[0] == found[1], (w, xs)
        assert outcome(fast, xs) == outcome(eager, xs), (w, xs)


def test_branches_nest_only_so_deep() -> None:
    """An unrolled network of a hundred layers, each behind the error signal of the next."""
    w, b = Value(0.9, "w"), Value(0.1, "b")

    def recurrent(x: Any) -> Any:
        for _ in range(100):
            x = ad.relu(x * w + b)
        return x

    def mixed(x: Any) -> Any:
        for _ in range(60):
            x = ad.clip(ad.relu(x * w + b) * x, -1.0, 2.0) + 0.1 * ad.maximum(x, w)
        return x

    for f in (recurrent, mixed):
        eager = value_and_grad(f)
        fast, whole = compile(eager), compile(f)
        for x in (1.0, -1.0, 0.3, -40.0, nan):
            assert outcome(fast, x) == outcome(eager, x), x
            w.grad = b.grad = 0.0
            f(Value(x)).backward()
            wanted = bits([w.grad, b.grad])
            for _ in range(2):
                w.grad = b.grad = 0.0
                whole.backward(x)
                assert bits([w.grad, b.grad]) == wanted, x
