from random import Random
from statistics import fmean, pvariance

import numpy as np
import pytest

from nn import MLP, Layer, initialisers


def draw(initialiser, n_in, n_out, count=20_000):
    rng = Random(7)
    return [initialiser(n_in, n_out, rng) for _ in range(count)]


@pytest.mark.parametrize(
    ("initialiser", "variance"),
    [
        (initialisers.uniform(), 1.0 / 3.0),
        (initialisers.uniform(0.3), 0.03),
        (initialisers.normal(0.1), 0.01),
        (initialisers.xavier, 2.0 / (8 + 24)),
        (initialisers.glorot, 2.0 / (8 + 24)),
        (initialisers.he, 2.0 / 8),
        (initialisers.xavier_uniform, 2.0 / (8 + 24)),
        (initialisers.he_uniform, 2.0 / 8),
        (initialisers.zeros, 0.0),
    ],
)
def test_mean_and_variance(initialiser, variance):
    weights = draw(initialiser, 8, 24)
    assert fmean(weights) == pytest.approx(0.0, abs=4.0 * (variance / len(weights)) ** 0.5)
    assert pvariance(weights) == pytest.approx(variance, rel=0.04)


def test_uniform_keeps_its_bound():
    weights = draw(initialisers.uniform(0.5), 1, 1)
    assert max(map(abs, weights)) <= 0.5 < 1.02 * max(map(abs, weights))


def test_a_layer_hands_on_its_own_sizes():
    seen = set()
    Layer(3, 5, initialiser=lambda n_in, n_out, rng: float(seen.add((n_in, n_out)) or 0.0))
    MLP(4, [6, 2], initialiser=lambda n_in, n_out, rng: float(seen.add((n_in, n_out)) or 0.0))
    assert seen == {(3, 5), (4, 6), (6, 2)}


@pytest.mark.parametrize("name", ["uniform", "zeros", "xavier", "glorot", "he", "xavier_uniform", "he_uniform"])
def test_names(name):
    by_name = MLP(3, [4, 2], initialiser=name, rng=Random(3))
    function = initialisers.uniform() if name == "uniform" else getattr(initialisers, name)
    by_function = MLP(3, [4, 2], initialiser=function, rng=Random(3))
    assert by_name.state_dict() == by_function.state_dict()


def test_biases():
    assert {neuron.b.data for neuron in Layer(2, 4).neurons} == {0.0}
    assert {neuron.b.data for neuron in Layer(2, 4, bias=0.01).neurons} == {0.01}
    drawn = Layer(2, 4, bias=initialisers.normal(1.0), rng=Random(0))
    assert len({neuron.b.data for neuron in drawn.neurons}) == 4


def test_zeros_leave_the_units_of_a_layer_equal():
    net = MLP(2, [3, 1], activation="tanh", initialiser="zeros", bias=0.5)
    net([1.0, 2.0]).backward()
    gradients = {tuple(p.grad for p in unit.parameters()) for unit in net.layers[0].neurons}
    assert len(gradients) == 1


def test_same_seed_same_weights():
    assert MLP(2, [3, 1], rng=Random(5)).state_dict() == MLP(2, [3, 1], rng=Random(5)).state_dict()
    assert MLP(2, [3, 1], rng=Random(5)).state_dict() != MLP(2, [3, 1], rng=Random(6)).state_dict()


def test_wrong_names_and_generators():
    with pytest.raises(ValueError, match=r"unknown initialiser 'kaiming'.* he"):
        Layer(2, 2, initialiser="kaiming")
    for wrong in (0, np.random.default_rng(0)):
        with pytest.raises(TypeError, match=r"random\.Random\(0\)"):
            Layer(2, 2, rng=wrong)
