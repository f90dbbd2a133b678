import pytest

import autodiff
from autodiff import Value
from nn import ACTIVATIONS, MLP, Neuron, linear
from nn.activations import find_activation


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_named_activations_are_those_of_the_engine(name):
    function = find_activation(name)
    assert function is linear if name == "linear" else function is getattr(autodiff, name)
    assert isinstance(function(0.5), float)
    assert isinstance(function(Value(0.5)), Value)


def test_names_cannot_be_changed():
    with pytest.raises(TypeError):
        ACTIVATIONS["mine"] = linear


def test_a_function_of_ones_own():
    net = MLP(1, [2, 1], activation=lambda z: z * z, initialiser=lambda n_in, n_out, rng: 2.0)
    assert net(3.0).data == 144.0  # 2 * 36 + 2 * 36


@pytest.mark.parametrize("wrong", ["softmax", "ReLU", "", None, False])
def test_an_unknown_name_is_answered_with_the_known_ones(wrong):
    with pytest.raises(ValueError, match=r"unknown activation .*relu.*tanh"):
        Neuron(2, wrong)
