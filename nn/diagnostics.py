"""What goes on inside a network while it trains: activations and gradients, layer by layer.

Vanishing gradients, exploding gradients and dead ReLUs all look the same from outside: the loss stays where it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from math import fsum, isfinite, sqrt
from typing import Any, NamedTuple

import autodiff
from autodiff import Value
from nn.activations import Activation
from nn.checks import at_least
from nn.history import Epoch, new_figure
from nn.losses import Loss
from nn.metrics import as_number
from nn.modules import Layer, Module, Neuron, evaluating

__all__ = ["LayerStatistics", "Monitor", "find_problems", "layer_statistics", "plot_layers"]

# A unit is saturated where the slope of its activation is below this share of its steepest one.
SATURATED = 0.05
# Where the steepest slope is looked for: every usual activation has it between these.
SLOPES_AT = tuple(i / 4 for i in range(-12, 13))

# What `find_problems` calls a problem, unless told otherwise.
RATIO = 1e3
DEAD = 0.5
FLAT = 0.8  # ReLUs are off at about half of the examples, and healthy

# Okabe and Ito's colours, apart for colour-blind readers too; with the markers they survive printing in grey.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


class LayerStatistics(NamedTuple):
    """What one layer does on a batch.

    `activation_mean` and `activation_rms` are over units and examples; `signal_rms` is the root mean square of
    dE/dz, each example's own loss by each unit's weighted input; `gradient_mean` and `gradient_rms` are of the mean
    loss by each parameter: its mean absolute value and its root mean square. `dead` is the share of units whose
    slope is exactly 0 at every example, so that nothing reaches their weights; `saturated` the share of (unit,
    example) pairs with a slope below a twentieth of the activation's steepest one.

    >>> from nn import squared_error
    >>> layer_statistics(Neuron(1, "linear", initialiser="zeros"), [[2.0]], [1.0], squared_error)
    [LayerStatistics(name='Neuron(1, linear)', units=1, activation_mean=0.0, activation_rms=0.0, signal_rms=2.0,
    gradient_mean=3.0, gradient_rms=3.1622776601683795, dead=0.0, saturated=0.0)]
    """

    name: str
    units: int
    activation_mean: float
    activation_rms: float
    signal_rms: float
    gradient_mean: float
    gradient_rms: float
    dead: float
    saturated: float


def layer_statistics(model: Module, inputs: Sequence[Any], targets: Sequence[Any], loss: Loss) -> list[LayerStatistics]:
    """Measure every layer of a model on a batch, from the first to the last; nothing in the model changes.

    Layers are the `Layer`s in the model and the `Neuron`s outside of layers, in the order of `model.modules()`. The
    model is in evaluation mode meanwhile, so that `Dropout` draws no numbers and a training goes on as if nobody had
    looked.

    >>> from random import Random
    >>> from nn import MLP, squared_error
    >>> net = MLP(1, [4] * 9 + [1], "sigmoid", rng=Random(0))
    >>> first, *_, last = layer_statistics(net, [[0.5], [-0.5]], [0.0, 1.0], squared_error)
    >>> first.name, last.name, first.gradient_rms < 1e-5 * last.gradient_rms
    ('layers.0', 'layers.9', True)
    """
    if not isinstance(model, Module):
        raise TypeError(f"the statistics are of the layers in a Module, not of {type(model).__name__} {model!r:.60}")
    if len(inputs) != len(targets) or not len(inputs):
        raise ValueError(f"a batch has as many targets as inputs: {len(inputs)} inputs, {len(targets)} targets")
    layers = _layers(model)
    if not layers:
        raise ValueError(f"{model!r} has no Layer and no Neuron in it: there is nothing to measure")
    parameters = model.parameters()
    with evaluating(model), _gradients_of_0(parameters), _recording(layers) as passes:
        for x, y in zip(inputs, targets, strict=True):
            error = loss(model(x), y)
            if not isinstance(error, Value):
                raise TypeError("the loss is a plain number, so it depends on no parameter: is .data used in it?")
            error.backward()
        return [_measure(name, units, passes, len(inputs)) for name, units in layers.items()]


def find_problems(
    layers: Sequence[LayerStatistics], *, ratio: float = RATIO, dead: float = DEAD, saturated: float = FLAT
) -> list[str]:
    """Say in words what is wrong with a model's gradients and units; an empty list if nothing is.

    Error signals vanish if a layer's is `ratio` times smaller than the last layer's, and explode if it is as many
    times larger: a gradient is that signal times the layer's inputs. `dead` and `saturated` are the shares from which
    on a layer is named.

    >>> from random import Random
    >>> from nn import MLP, squared_error
    >>> net = MLP(1, [4] * 9 + [1], "sigmoid", rng=Random(0))
    >>> batch = [[0.5], [-0.5]], [0.0, 1.0]
    >>> find_problems(layer_statistics(net, *batch, squared_error))
    ['vanishing: the error signal of layers.0 is 1.4e-06 times that of layers.9']
    >>> net = MLP(1, [4, 1], "relu", bias=-9.0, rng=Random(0))
    >>> find_problems(layer_statistics(net, *batch, squared_error))
    ['dead: 100% of the units of layers.0 have slope 0 at every example',
     'vanishing: the error signal of layers.0 is 0.0e+00 times that of layers.1']
    """
    problems = []
    for layer in layers:
        if not isfinite(layer.gradient_rms):
            problems.append(f"overflow: the gradient of {layer.name} is {layer.gradient_rms}")
        if layer.dead >= dead:
            problems.append(f"dead: {layer.dead:.0%} of the units of {layer.name} have slope 0 at every example")
        elif layer.saturated >= saturated:
            problems.append(f"saturated: {layer.saturated:.0%} of what {layer.name} puts out is where it is flat")
    return problems + _compare(layers, ratio)


class Monitor:
    """Measures the layers of a model on one batch, epoch by epoch: give it to `fit` as a callback.

    The batch is best one of some ten examples that stays the same: the cost of a measurement is that of training
    them once without `compile`. `every` is how many epochs apart measurements are; the first is epoch 1.

    >>> from random import Random
    >>> from nn import MLP, SGD, fit, squared_error
    >>> net = MLP(2, [3, 1], "tanh", rng=Random(0))
    >>> batch = [[0.0, 1.0], [1.0, 0.0]], [1.0, -1.0]
    >>> monitor = Monitor(net, *batch, squared_error, every=2)
    >>> optimiser = SGD(net.parameters(), 0.1)
    >>> records = fit(net, *batch, loss=squared_error, optimiser=optimiser, epochs=5, callbacks=[monitor]).run()
    >>> list(monitor.history)
    [1, 3, 5]
    >>> [layer.name for layer in monitor.history[5]]
    ['layers.0', 'layers.1']
    >>> monitor.problems()
    []
    """

    def __init__(
        self, model: Module, inputs: Sequence[Any], targets: Sequence[Any], loss: Loss, *, every: int = 1
    ) -> None:
        at_least(1, every=every)
        self.model, self.inputs, self.targets, self.loss, self.every = model, inputs, targets, loss, every
        self.history: dict[int, list[LayerStatistics]] = {}

    def __call__(self, record: Epoch) -> None:
        """Measure after an epoch, if it is one of those."""
        if (record.epoch - 1) % self.every == 0:
            self.measure(record.epoch)

    def measure(self, epoch: int = 0) -> list[LayerStatistics]:
        """Measure now, and keep it as that epoch's; 0 is before training.

        >>> from nn import squared_error
        >>> monitor = Monitor(Neuron(1, "linear"), [[1.0]], [0.0], squared_error)
        >>> [layer.dead for layer in monitor.measure()]
        [0.0]
        """
        self.history[epoch] = layer_statistics(self.model, self.inputs, self.targets, self.loss)
        return self.history[epoch]

    def problems(self) -> list[str]:
        """Say what is wrong as of the latest measurement; see `find_problems`.

        >>> from nn import squared_error
        >>> Monitor(Neuron(1, "linear"), [[1.0]], [0.0], squared_error).problems()
        Traceback (most recent call last):
        ...
        ValueError: nothing was measured yet: give the monitor to fit(callbacks=[monitor]), or call its measure()
        """
        return find_problems(self.history[self._latest()])

    def plot(self, figure: Any = None) -> Any:
        """Draw the statistics of each layer against epochs; return the figure.

        `figure` is a matplotlib figure to draw into. Needs `pip install "chainrule[plots]"`.

        >>> from nn import squared_error
        >>> monitor = Monitor(Neuron(1, "linear"), [[1.0]], [0.0], squared_error)
        >>> _ = monitor.measure()
        >>> [axes.get_xlabel() for axes in monitor.plot().axes]
        ['epoch', 'epoch', 'epoch', 'epoch', 'epoch', '']
        """
        self._latest()
        epochs = list(self.history)
        panels = _panels(figure)
        names = [layer.name for layer in self.history[epochs[-1]]]
        for number, name in enumerate(names):
            for axes, field in panels:
                heights = [_drawable(axes, getattr(layers[number], field)) for layers in self.history.values()]
                axes.plot(epochs, heights, label=name, markersize=4, **_look(number))
        for axes, _ in panels:
            axes.set_xlabel("epoch")
        return _with_legend(panels)

    def _latest(self) -> int:
        if not self.history:
            raise ValueError(
                "nothing was measured yet: give the monitor to fit(callbacks=[monitor]), or call its measure()"
            )
        return next(reversed(self.history))


def plot_layers(models: Mapping[str, Sequence[LayerStatistics]], figure: Any = None) -> Any:
    """Draw the statistics of one or several models against the layers, for comparison; return the figure.

    Needs `pip install "chainrule[plots]"`.

    >>> from random import Random
    >>> from nn import MLP, squared_error
    >>> batch = [[0.5], [-0.5]], [0.0, 1.0]
    >>> nets = {name: MLP(1, [4, 4, 1], name, rng=Random(0)) for name in ("sigmoid", "relu")}
    >>> figure = plot_layers({name: layer_statistics(net, *batch, squared_error) for name, net in nets.items()})
    >>> [text.get_text() for text in figure.axes[-1].get_legend().get_texts()]
    ['sigmoid', 'relu']
    """
    panels = _panels(figure)
    for number, (name, layers) in enumerate(models.items()):
        for axes, field in panels:
            heights = [_drawable(axes, getattr(layer, field)) for layer in layers]
            axes.plot(range(1, len(layers) + 1), heights, label=name, markersize=5, **_look(number))
    for axes, _ in panels:
        axes.set_xlabel("layer, from the input")
        axes.xaxis.get_major_locator().set_params(integer=True)
    return _with_legend(panels)


# ---- measuring


Units = dict[Neuron, Activation]


def _layers(model: Module) -> dict[str, Units]:
    """Find the layers by name, each with its neurons and their activations."""
    paths = {parameter: name for name, parameter in model.named_parameters()}
    found: dict[str, Units] = {}
    placed: set[int] = set()
    for module in model.modules():
        if isinstance(module, Layer):
            neurons, own_name = module.neurons, "neurons.0.b"
        elif isinstance(module, Neuron) and id(module) not in placed:
            neurons, own_name = [module], "b"
        else:
            continue
        placed.update(map(id, neurons))
        name = paths[neurons[0].b].removesuffix(own_name).removesuffix(".") or repr(module)
        if name in found:  # two layers that share a bias
            name = f"{name} ({len(found)})"
        found[name] = {neuron: neuron.activation for neuron in neurons}
    return found


@contextmanager
def _gradients_of_0(parameters: Sequence[Value]) -> Iterator[None]:
    """Start from gradients of 0, and put back what was there."""
    gradients = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = 0.0
    try:
        yield
    finally:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient


Passes = dict[Neuron, list[tuple[Value, float]]]
"""Of each neuron its weighted inputs z, as nodes that backward() fills, with the outputs."""


@contextmanager
def _recording(layers: Mapping[str, Units]) -> Iterator[Passes]:
    """Note what every neuron computes, whatever its activation is made of."""
    activations = {neuron: activation for units in layers.values() for neuron, activation in units.items()}
    passes: Passes = {neuron: [] for neuron in activations}
    try:
        for neuron, activation in activations.items():
            neuron.activation = _recorded(activation, passes[neuron])
        yield passes
    finally:
        for neuron, activation in activations.items():
            neuron.activation = activation


def _recorded(activation: Activation, notes: list[tuple[Value, float]]) -> Activation:
    @wraps(activation)
    def recorded(z: Any) -> Any:
        out = activation(z)
        notes.append((z, as_number(out)))
        return out

    return recorded


def _measure(name: str, units: Units, passes: Passes, examples: int) -> LayerStatistics:
    neurons = list(units)
    notes = [passes[neuron] for neuron in neurons]
    outputs = [out for unit in notes for _, out in unit]
    signals = [z.grad for unit in notes for z, _ in unit]
    gradients = [parameter.grad / examples for neuron in neurons for parameter in neuron.parameters()]
    shares = [_shares(activation, unit) for activation, unit in zip(units.values(), notes, strict=True)]
    return LayerStatistics(
        name=name,
        units=len(neurons),
        activation_mean=_mean(outputs),
        activation_rms=_rms(outputs),
        signal_rms=_rms(signals),
        gradient_mean=_mean([abs(gradient) for gradient in gradients]),
        gradient_rms=_rms(gradients),
        dead=_mean([float(flat == 1.0) for flat, _ in shares]),
        saturated=_mean([saturated for _, saturated in shares]),
    )


def _shares(activation: Activation, notes: Sequence[tuple[Value, float]]) -> tuple[float, float]:
    """Return how much of what a unit puts out is where its activation has slope 0, and where it is nearly flat."""
    if not notes:  # the model has this neuron and does not use it
        return 1.0, 0.0
    slope = autodiff.grad(activation)
    steepest = max(abs(as_number(slope(z))) for z in SLOPES_AT)
    slopes = [abs(as_number(slope(z.data))) for z, _ in notes]
    return _mean([float(s == 0.0) for s in slopes]), _mean([float(s < SATURATED * steepest) for s in slopes])


def _compare(layers: Sequence[LayerStatistics], ratio: float) -> list[str]:
    """Compare every layer's error signal with the last one's; name the worst."""
    *others, last = layers
    if not others or last.signal_rms == 0.0:
        return []
    problems = []
    low, high = (choose(others, key=lambda layer: layer.signal_rms) for choose in (min, max))
    for kind, worst, bad in (
        ("vanishing", low, low.signal_rms * ratio < last.signal_rms),
        ("exploding", high, high.signal_rms > last.signal_rms * ratio),
    ):
        if bad:
            times = worst.signal_rms / last.signal_rms
            problems.append(f"{kind}: the error signal of {worst.name} is {times:.1e} times that of {last.name}")
    return problems


def _mean(numbers: Sequence[float]) -> float:
    """Return the mean, 0 of nothing; fsum would raise at opposite infinities and at a sum beyond all floats."""
    total = fsum(numbers) if isfinite(sum(numbers)) else sum(numbers)
    return total / len(numbers) if numbers else 0.0


def _rms(numbers: Sequence[float]) -> float:
    """Return the root of the mean square, scaled so that squares of very small and very large numbers survive."""
    largest = max(map(abs, numbers), default=0.0)
    if largest == 0.0 or not isfinite(largest):
        return largest
    return largest * sqrt(_mean([(number / largest) ** 2 for number in numbers]))


# ---- pictures

PANELS = {
    "signal_rms": "error signal dE/dz (rms)",
    "gradient_rms": "gradient by a parameter (rms)",
    "activation_rms": "activation (rms)",
    "dead": "dead units (share)",
    "saturated": "saturated outputs (share)",
}


def _panels(figure: Any) -> list[tuple[Any, str]]:
    """Lay out one panel for each statistic: sizes on a logarithmic axis, shares from 0 to 1; the last is left over."""
    figure = new_figure(10.0, 5.5) if figure is None else figure
    grid = list(figure.subplots(2, 3).flat)
    for axes, (field, title) in zip(grid, PANELS.items(), strict=False):
        axes.set_title(title, fontsize="medium")
        axes.grid(alpha=0.3)
        if field.endswith("rms"):
            axes.set_yscale("log")
        else:
            axes.set_ylim(-0.05, 1.05)
    return list(zip(grid, PANELS, strict=False))


def _with_legend(panels: Sequence[tuple[Any, str]]) -> Any:
    """Explain the lines in the panel that is left over, where nothing can be in the way; return the figure."""
    figure = panels[0][0].figure
    spare = figure.axes[-1]
    spare.axis("off")
    spare.legend(*panels[0][0].get_legend_handles_labels(), loc="center", frameon=False)
    return figure


def _drawable(axes: Any, height: float) -> float:
    """Leave out what a logarithmic axis cannot show."""
    return height if height > 0.0 or axes.get_yscale() == "linear" else float("nan")


def _look(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
