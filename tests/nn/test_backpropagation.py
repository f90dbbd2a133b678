"""The engine's gradients against backpropagation in vector form, written out by hand.

BP1  delta(L) = dE/da(L) * g'(z(L))
BP2  delta(l) = W(l+1)^T delta(l+1) * g'(z(l))
BP3  dE/db(l) = delta(l)
BP4  dE/dW(l) = delta(l) a(l-1)^T
"""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autodiff import batch_mean, softmax
from nn import MLP, half_squared_error, initialisers, softmax_cross_entropy
from nn.demo import backpropagate, softmax_error


def logistic(z):
    return 1.0 / (1.0 + np.exp(-z))


# name: (g, g'), each on arrays. Monotone: where g' passes through 0, rounding decides, and nothing can be compared.
SLOPES = {
    "linear": (lambda z: z, np.ones_like),
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: (z > 0.0).astype(float)),
    "leaky_relu": (lambda z: np.where(z > 0.0, z, 0.01 * z), lambda z: np.where(z > 0.0, 1.0, 0.01)),
    "sigmoid": (logistic, lambda z: logistic(z) * logistic(-z)),
    "tanh": (np.tanh, lambda z: 1.0 / np.cosh(z) ** 2),
    "softplus": (lambda z: np.logaddexp(z, 0.0), logistic),
    "elu": (lambda z: np.where(z > 0.0, z, np.expm1(z)), lambda z: np.where(z > 0.0, 1.0, np.exp(z))),
    "softsign": (lambda z: z / (1.0 + abs(z)), lambda z: 1.0 / (1.0 + abs(z)) ** 2),
}


def by_hand(net, x, activation, output_delta):
    """Return dE/dW and dE/db of every layer."""
    g, slope = SLOPES[activation]
    W = [np.array([[w.data for w in unit.w] for unit in layer.neurons]) for layer in net.layers]
    b = [np.array([unit.b.data for unit in layer.neurons]) for layer in net.layers]
    a, z = [np.array(x)], []
    for W_l, b_l in zip(W, b, strict=True):
        z.append(W_l @ a[-1] + b_l)
        a.append(g(z[-1]))
    delta = [output_delta(z[-1])]
    for W_next, z_l in zip(W[:0:-1], z[-2::-1], strict=True):
        delta.insert(0, W_next.T @ delta[0] * slope(z_l))  # BP2
    return [np.outer(delta_l, a_before) for delta_l, a_before in zip(delta, a[:-1], strict=True)], delta  # BP4, BP3


def softmax_minus_one_hot(z, target):
    p = np.exp(z - np.max(z)) / np.exp(z - np.max(z)).sum()
    p[target] = -np.delete(p, target).sum()  # p - 1, without cancellation
    return p


def assert_gradients(net, weights, biases):
    flat = [
        gradient
        for W, b in zip(weights, biases, strict=True)
        for row, entry in zip(W, b, strict=True)
        for gradient in [*row, entry]
    ]
    assert_close([p.grad for p in net.parameters()], flat)


def assert_close(found, expected):
    largest = max(map(abs, expected))
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12 * largest)


@st.composite
def cases(draw, fewest_outputs=1):
    n_in = draw(st.integers(1, 4))
    sizes = [*draw(st.lists(st.integers(1, 5), max_size=3)), draw(st.integers(fewest_outputs, 5))]
    activation, seed = draw(st.sampled_from(sorted(SLOPES))), draw(st.integers(0, 10_000))
    rng = Random(seed)
    options = {"initialiser": initialisers.normal(0.7), "bias": initialisers.normal(0.7), "rng": rng}
    return n_in, sizes, activation, options, [rng.gauss(0.0, 1.0) for _ in range(n_in)], rng


@given(cases(), st.sampled_from(sorted(SLOPES)))
def test_squared_error(case, output):
    n_in, sizes, activation, options, x, rng = case
    net = MLP(n_in, sizes, activation, output, **options)
    prediction = net(x) if sizes[-1] > 1 else [net(x)]
    # Off by 0.5 to 2: the difference from a target that is nearly right would be rounding errors only.
    target = np.array([p.data + rng.choice([-1, 1]) * rng.uniform(0.5, 2.0) for p in prediction])
    half_squared_error(prediction, list(target)).backward()
    g, slope = SLOPES[output]
    weights, biases = by_hand(net, x, activation, lambda z: (g(z) - target) * slope(z))  # BP1
    assert_gradients(net, weights, biases)


@given(cases(fewest_outputs=2))
def test_softmax_cross_entropy(case):
    n_in, sizes, activation, options, x, rng = case
    net = MLP(n_in, sizes, activation, **options)
    target = rng.randrange(sizes[-1])
    softmax_cross_entropy(net(x), target).backward()
    weights, biases = by_hand(net, x, activation, lambda z: softmax_minus_one_hot(z, target))
    assert_gradients(net, weights, biases)


@settings(max_examples=25)
@given(cases(fewest_outputs=2), st.integers(1, 6))
def test_the_demonstrations_formulas_on_a_batch(case, size):
    n_in, sizes, activation, options, _, rng = case
    net = MLP(n_in, sizes, activation, **options)
    xs = [[rng.gauss(0.0, 1.0) for _ in range(n_in)] for _ in range(size)]
    targets = [rng.randrange(sizes[-1]) for _ in range(size)]
    batch_mean(lambda x, y: softmax_cross_entropy(net(x), y))(xs, targets).backward()
    slope = SLOPES[activation][1]
    examples = [
        backpropagate(net, x, lambda z, y=y: list(softmax_minus_one_hot(z, y)), lambda z: float(slope(np.float64(z))))
        for x, y in zip(xs, targets, strict=True)
    ]
    assert_close(
        [p.grad for p in net.parameters()], [math.fsum(column) / size for column in zip(*examples, strict=True)]
    )


def test_a_wrong_formula_is_noticed():
    net = MLP(2, [3, 2], "tanh", rng=Random(0))
    softmax_cross_entropy(net([1.0, -1.0]), 0).backward()
    engine = [p.grad for p in net.parameters()]
    wrong = backpropagate(net, [1.0, -1.0], softmax_error(0), lambda z: 1.001 / math.cosh(z) ** 2)
    with pytest.raises(AssertionError):
        assert_close(engine, wrong)


def test_softmax_error():
    logits = [0.3, -0.2, 1.0]
    p = softmax(logits)
    assert softmax_error(2)(logits) == [p[0], p[1], p[2] - 1.0]
