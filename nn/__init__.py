"""Small neural networks on scalar Values: modules, losses, optimisers and training. Thin on purpose.

>>> from random import Random
>>> from nn import MLP
>>> net = MLP(2, [3, 1], rng=Random(0))
>>> round(net([1.0, 2.0]).data, 6)
0.976643
"""

from nn import initialisers, schedules
from nn.activations import ACTIVATIONS, linear
from nn.datasets import Standardiser, iris, split, two_moons
from nn.diagnostics import LayerStatistics, Monitor, find_problems, layer_statistics, plot_layers
from nn.history import Epoch, History
from nn.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    half_squared_error,
    hinge,
    l1_penalty,
    l2_penalty,
    mean_squared_error,
    softmax_cross_entropy,
    squared_error,
)
from nn.metrics import accuracy, binary_accuracy, confusion_matrix
from nn.modules import MLP, Dropout, Layer, Module, Neuron, Sequential
from nn.optimisers import SGD, Adam, AdamW, Optimiser, RMSprop, clip_grad_norm, clip_grad_value
from nn.storage import load, save
from nn.training import Training, fit

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "SGD",
    "Adam",
    "AdamW",
    "Dropout",
    "Epoch",
    "History",
    "Layer",
    "LayerStatistics",
    "Module",
    "Monitor",
    "Neuron",
    "Optimiser",
    "RMSprop",
    "Sequential",
    "Standardiser",
    "Training",
    "accuracy",
    "binary_accuracy",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "clip_grad_norm",
    "clip_grad_value",
    "confusion_matrix",
    "find_problems",
    "fit",
    "half_squared_error",
    "hinge",
    "initialisers",
    "iris",
    "l1_penalty",
    "l2_penalty",
    "layer_statistics",
    "linear",
    "load",
    "mean_squared_error",
    "plot_layers",
    "save",
    "schedules",
    "softmax_cross_entropy",
    "split",
    "squared_error",
    "two_moons",
]
