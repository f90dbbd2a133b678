"""The activations that a layer knows by name, all of them functions of `autodiff`."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import autodiff

__all__ = ["ACTIVATIONS", "Activation", "find_activation", "linear"]

Activation = Callable[[Any], Any]
"""A function of one weighted input z: the unit's output."""


def linear(z: Any) -> Any:
    """Return the weighted input itself.

    >>> linear(2.5)
    2.5
    """
    return z


ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        "linear": linear,
        "relu": autodiff.relu,
        "leaky_relu": autodiff.leaky_relu,
        "elu": autodiff.elu,
        "selu": autodiff.selu,
        "gelu": autodiff.gelu,
        "gelu_tanh": autodiff.gelu_tanh,
        "silu": autodiff.silu,
        "mish": autodiff.mish,
        "softplus": autodiff.softplus,
        "softsign": autodiff.softsign,
        "sigmoid": autodiff.sigmoid,
        "logsigmoid": autodiff.logsigmoid,
        "tanh": autodiff.tanh,
        "hard_tanh": autodiff.hard_tanh,
    }
)


def find_activation(choice: str | Activation) -> Activation:
    """Look up an activation by name; a function passes as it is.

    >>> find_activation("relu") is autodiff.relu
    True
    >>> find_activation("relo")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: unknown activation 'relo': write a function of one Value, or one of linear, relu, leaky_relu, ...
    """
    if callable(choice):
        return choice
    if str(choice) in ACTIVATIONS:  # a list, say, cannot be looked up as it is
        return ACTIVATIONS[str(choice)]
    known = ", ".join(ACTIVATIONS)
    raise ValueError(f"unknown activation {choice!r}: write a function of one Value, or one of {known}")
