"""Hopeful products: an exact 0 wins over infinity and nan, however results or factors are checked."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import autodiff
from autodiff import Value, batch_sum, compile, value_and_grad

INPUTS, HIDDEN = 6, 4
COUNT = INPUTS * HIDDEN + HIDDEN + HIDDEN + 3  # parameters of the network below
INF, NAN = float("inf"), float("nan")

usual = st.sampled_from([0.0, -0.0, 0.5, -1.5]) | st.floats(-2.0, 2.0)
rows = st.lists(usual, min_size=INPUTS, max_size=INPUTS)
extreme = st.sampled_from([1e200, -1e200, 1e308, -1e308, 5e-324, INF, -INF, NAN])


@st.composite
def points(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    """Draw parameters and inputs; one or two are extreme, for of more something always shows."""
    numbers = draw(st.lists(usual, min_size=COUNT + INPUTS, max_size=COUNT + INPUTS))
    for place in draw(st.lists(st.integers(0, COUNT + INPUTS - 1), max_size=2)):
        numbers[place] = draw(extreme)
    return numbers[:COUNT], numbers[COUNT:]


def network(parameters: Sequence[Any], x: Sequence[Any], act: Any, factor: float) -> Any:
    """Compute the output of a small network, with a penalty on its parameters unless its factor is 0."""
    ends = INPUTS * HIDDEN, INPUTS * HIDDEN + HIDDEN, INPUTS * HIDDEN + 2 * HIDDEN
    rows, biases, last = parameters[: ends[0]], parameters[ends[0] : ends[1]], parameters[ends[1] : ends[2]]
    hidden = [act(autodiff.affine(rows[INPUTS * i : INPUTS * (i + 1)], x, b)) for i, b in enumerate(biases)]
    *_, bias, scale, unit = parameters
    output = autodiff.affine(last, hidden, bias) * scale * unit
    if not factor or output == 5e300:  # a fork, so that penalty and network are apart
        return output
    return autodiff.tanh(output) + factor * autodiff.sum_of_squares(parameters)


ACTIVATIONS = [
    autodiff.relu,
    autodiff.tanh,
    autodiff.softsign,
    autodiff.square,
    lambda x: x,
    lambda x: 1.0 * x + x * x,
    lambda x: autodiff.relu(x) * x,
]


def loss(act: Any, factor: float) -> Callable[..., Any]:
    """Choose the activation and the weight of the penalty once and for all."""
    return lambda parameters, x: network(parameters, x, act, factor)


KEYS = [(act, factor) for act in ACTIVATIONS for factor in (0.0, 1e-4, 1.0)]
gradients = {key: (value_and_grad(loss(*key)), compile(value_and_grad(loss(*key)))) for key in KEYS}


@settings(max_examples=250)
@given(st.sampled_from(KEYS), points())
@example((autodiff.relu, 0.0), ([0.0] * COUNT, [1.0, INF, 0.0, -INF, 2.0, 1.0]))
@example((autodiff.relu, 0.0), ([1.0] * (COUNT - 2) + [1e200, 1e200], [0.0] * INPUTS))
@example((autodiff.tanh, 0.0), ([0.0] * (COUNT - 2) + [1e200, 1e200], [0.0] * INPUTS))
@example((autodiff.relu, 0.0), ([1.0] * (COUNT - 1) + [INF], [-1.0] * INPUTS))
@example((autodiff.relu, 0.0), ([1.0] * (COUNT - 7) + [1e200, -1e200, 1.0, -1.0, 0.0, 1e200, 1.0], [0.0] * INPUTS))
@example((autodiff.tanh, 0.0), ([1.0] * COUNT, [INF] + [0.0] * (INPUTS - 1)))
@example((autodiff.relu, 1e-4), ([1.7e308] * COUNT, [0.0] * INPUTS))
@example((autodiff.relu, 1e-4), ([1.7e308] * (INPUTS * HIDDEN) + [0.0] * (COUNT - INPUTS * HIDDEN), [0.0] * INPUTS))
@example((autodiff.relu, 1.0), ([1e200] * COUNT, [0.0, -1e200, INF, 1e200, 0.0, 1.0]))
def test_an_exact_zero_wins_whatever_is_checked(key: Any, point: tuple[list[float], list[float]]) -> None:
    eager, fast = gradients[key]
    fast(*point)  # perhaps the first call, which runs f
    assert repr(fast(*point)) == repr(eager(*point))


LEAVES = [Value(0.0) for _ in range(COUNT)]


def hinge(output: Any) -> Any:
    """Compute the loss of a score: nothing is passed back from where it is 0."""
    return autodiff.relu(1.0 - output)


def gated(output: Any) -> Any:
    """Use the output both outside and behind a branch, inside of another."""
    return autodiff.relu(autodiff.relu(output) * output - 1.0)


def added(backward: Callable[..., Any], point: tuple[list[float], list[float]]) -> tuple[Any, list[float]]:
    """Give the value, and what is added to the parameters' `grad`."""
    for leaf, x in zip(LEAVES, point[0], strict=True):
        leaf.data, leaf.grad = x, 0.0
    return backward(point[1]), [leaf.grad for leaf in LEAVES]


def captured(act: Any, factor: float, end: Any) -> Callable[..., Any]:
    """Close over the parameters."""
    return lambda x: end(network(LEAVES, x, act, factor))


def eager_backward(f: Callable[..., Any]) -> Callable[..., Any]:
    """Do what `compile(f).backward` does."""

    def backward(x: list[float]) -> float:
        loss = f(x)
        loss.backward()
        return float(loss.data)

    return backward


LOSSES = {(*key, end): captured(*key, end) for key in KEYS for end in (hinge, gated, autodiff.square)}
sweeps = {key: (eager_backward(f), compile(f).backward) for key, f in LOSSES.items()}


@settings(max_examples=250)
@given(st.sampled_from(list(sweeps)), points())
@example((autodiff.relu, 0.0, hinge), ([1.0] * (COUNT - 2) + [-1e200, 1e200], [-1.0] * INPUTS))
@example((autodiff.relu, 0.0, hinge), ([-1.0] * (COUNT - 7) + [1e200] * 4 + [0.0, -1e200, 1.0], [1.0] * INPUTS))
@example((autodiff.relu, 0.0, autodiff.square), ([1.0] * (COUNT - 2) + [1e200, 1e200], [INF] + [-1.0] * (INPUTS - 1)))
def test_what_backward_adds_is_as_exact(key: Any, point: tuple[list[float], list[float]]) -> None:
    eager, fast = sweeps[key]
    added(fast, point)
    assert repr(added(fast, point)) == repr(added(eager, point))


batches = {key: (eager_backward(batch_sum(f)), compile(batch_sum(f)).backward) for key, f in LOSSES.items()}


@settings(max_examples=250)
@given(st.sampled_from(list(batches)), points(), st.lists(rows, max_size=3))
def test_what_backward_adds_for_a_batch_is_as_exact(key: Any, point: Any, more: list[list[float]]) -> None:
    """What one example leaves in a variable must not be taken for the next one's."""
    eager, fast = batches[key]
    examples = point[0], [point[1], *more]
    added(fast, examples)
    assert repr(added(fast, examples)) == repr(added(eager, examples))


@pytest.mark.parametrize("xs", [[2.0, -0.4], [-0.4, 2.0]])
def test_a_total_in_a_branch_is_not_that_of_the_example_before(xs: list[float]) -> None:
    a, b, c, d = leaves = [Value(1.0), Value(0.5), Value(2.0), Value(-1.0)]

    def loss(x: Any) -> Any:
        z = a * x + b
        return autodiff.relu(c * (autodiff.relu(z) * z) + d)

    assert compile(batch_sum(loss)).backward(xs) == 11.5
    assert [leaf.grad for leaf in leaves] == [20.0, 10.0, 6.25, 1.0]


def test_backward_leaves_alone_what_an_error_signal_of_zero_belongs_to() -> None:
    fast = compile(captured(autodiff.relu, 0.0, hinge))
    parameters = [1.0] * (INPUTS * HIDDEN) + [0.0, -100.0, 0.0, 0.0] + [-1.0] * HIDDEN + [0.0, 1.0, 1.0]
    added(fast.backward, (parameters, [1.0] * INPUTS))
    depths = [len(spaces) // 4 for spaces in re.findall(r"^( *)leaf_\w+\.grad", fast.source, re.M)]
    # One derivative is no work to branch around; the others are behind the hinge, most of them behind a unit too.
    assert Counter(depths) == {2: 1, 3: HIDDEN + 2, 4: (INPUTS + 1) * HIDDEN}
    for leaf in LEAVES:
        leaf.grad = 5.0
    assert fast.backward([1.0] * INPUTS) == 19.0
    grads = [leaf.grad for leaf in LEAVES[: 2 * INPUTS]]
    assert grads == [6.0] * INPUTS + [5.0] * INPUTS  # the second unit is dead


def test_a_factor_may_be_an_infinite_constant() -> None:
    eager = value_and_grad(lambda xs: autodiff.tanh(INF * autodiff.affine([2.0 + i for i in range(20)], xs, 0.0)))
    fast = compile(eager)
    for x in (0.5, 0.25):
        assert fast([x] * 20) == eager([x] * 20) == (1.0, [0.0] * 20)
    assert "doubt - doubt" in fast.source


@pytest.mark.parametrize("act", ACTIVATIONS[:4])
def test_of_many_results_only_the_factors_are_checked(act: Any) -> None:
    _, fast = gradients[act, 0.0]
    fast([0.5] * COUNT, [1.0] * INPUTS)
    (check,) = re.findall(r"doubt = (.*)\n        if doubt - doubt != 0.0:", fast.source)
    assert check.count(" + ") < COUNT / 2
