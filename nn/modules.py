"""Neurons, layers and networks: places that hold parameters, and the expression they compute.

A neuron is two nodes of the graph: one affine map w . x + b, one activation. Nothing here differentiates.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from random import Random
from typing import Any

import autodiff
from autodiff import Value
from nn.activations import Activation, find_activation, linear
from nn.checks import below_1, check_state, count, real_number
from nn.initialisers import Initialiser, find_initialiser, generator

__all__ = ["MLP", "Dropout", "Layer", "Module", "Neuron", "Sequential", "evaluating", "masks_from"]


class Module:
    """Something that computes with parameters: subclass it, keep Values as attributes, write `__call__`.

    Parameters are the leaf Values found in the attributes, in lists, tuples, dicts and object arrays in them, and
    in the Modules among these. A parameter that is held in two places counts once.

    >>> class Line(Module):
    ...     def __init__(self) -> None:
    ...         self.slope, self.offset = Value(2.0), Value(1.0)
    ...     def __call__(self, x: float) -> Value:
    ...         return self.slope * x + self.offset
    >>> line = Line()
    >>> line(3.0).data
    7.0
    >>> line.state_dict()
    {'slope': 2.0, 'offset': 1.0}
    """

    training: bool = True
    # Attributes with floats, or lists of floats, that are not trained, but in the state: constants of compiled code.
    buffers: tuple[str, ...] = ()
    # Whether a call in training draws random numbers, or sets a number of the module: then `fit` does not compile.
    draws_numbers: bool = False

    def __setattr__(self, name: str, entry: Any) -> None:
        """Set an attribute, unless a parameter would be lost, or a number set once where each call means to set it."""
        before, kind = vars(self).get(name), type(self).__name__
        is_parameter = isinstance(before, Value) and before.primitive is None
        if is_parameter and isinstance(entry, Value) and entry.primitive is not None:
            raise TypeError(
                f"{name} is a parameter of this {kind}, and what was computed from Values is none: write "
                f"{kind.lower()}.{name}.data -= ... to move it (a state that is computed begins as a float)"
            )
        if type(before) is float or type(before) is int:
            _refuse_while_compiling(
                f"{name} of this {kind} would be set at the first call of compiled code only: write "
                "draws_numbers = True in the class, or compiled=False in nn.fit"
            )
        super().__setattr__(name, entry)

    def __call__(self, x: Any) -> Any:
        """Compute the outputs for one example."""
        raise NotImplementedError(f"{type(self).__name__} defines no __call__(self, x)")

    def named_parameters(self) -> Iterator[tuple[str, Value]]:
        """Yield (dotted name, parameter) in the order in which the attributes were set.

        >>> [name for name, parameter in Layer(1, 2).named_parameters()]
        ['neurons.0.w.0', 'neurons.0.b', 'neurons.1.w.0', 'neurons.1.b']
        """
        return ((f"{owner}{key}", entry) for entry, (owner, key) in _Contents(self).parameters.items())

    def parameters(self) -> list[Value]:
        """List the parameters, in the order of their names.

        >>> len(MLP(2, [16, 16, 1]).parameters())
        337
        """
        return list(_Contents(self).parameters)

    def modules(self) -> list["Module"]:
        """List this module and all modules inside it.

        >>> Sequential(Layer(2, 1), Dropout(0.5)).modules()[-1]
        Dropout(0.5)
        """
        return [module for module, _ in _Contents(self).modules]

    def named_modules(self) -> Iterator[tuple[str, "Module"]]:
        """Yield (dotted name, module) for this module, whose name is empty, and all modules inside it.

        >>> [name for name, module in Sequential(Layer(2, 1), Dropout(0.5)).named_modules()]
        ['', 'layers.0', 'layers.0.neurons.0', 'layers.1']
        """
        return ((name, module) for module, name in _Contents(self).modules)

    def zero_grad(self) -> None:
        """Set every parameter's gradient to 0; `backward()` adds to what it finds.

        >>> neuron = Neuron(1)
        >>> neuron.b.grad = 5.0
        >>> neuron.zero_grad()
        >>> neuron.b.grad
        0.0
        """
        for parameter in self.parameters():
            parameter.grad = 0.0

    def train(self, mode: bool = True) -> "Module":
        """Switch to training, where `Dropout` drops; return self.

        >>> Dropout(0.5).train().training
        True
        """
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> "Module":
        """Switch to evaluation, where `Dropout` passes everything; return self.

        >>> Dropout(0.5).eval()([1.0, 2.0])
        [1.0, 2.0]
        """
        return self.train(False)

    def state_dict(self) -> dict[str, float]:
        """Return all parameters and buffers by name; the floats survive `json.dumps` and `json.loads` exactly.

        >>> import json
        >>> net = MLP(2, [3, 1])
        >>> saved = json.dumps(net.state_dict())
        >>> net.load_state_dict(json.loads(saved))
        """
        named = list(self.named_parameters())
        buffered = self._buffered()
        state = {name: parameter.data for name, parameter in named}
        for name, (holder, key) in buffered.items():
            state[name] = real_number(f"the buffer {name}, unless a list,", holder[key])
        if len(state) < len(named) + len(buffered):
            raise ValueError("two parameters have the same name: check for dict keys that contain a dot")
        return state

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Set parameters and buffers from what `state_dict` returned: every one, or none if anything does not fit.

        >>> Neuron(1).load_state_dict({"w.0": 1.0, "bias": 0.0})
        Traceback (most recent call last):
        ...
        ValueError: the state does not fit this Neuron: it lacks b; it has an unexpected bias
        """
        check_state(state)
        named, buffered = dict(self.named_parameters()), self._buffered()
        names: dict[str, Any] = {**named, **buffered}
        if problems := _other_sizes(state, names) or _other_names(state, names):
            raise ValueError(f"the state does not fit this {type(self).__name__}: {'; '.join(problems)}")
        numbers = {name: real_number(f"the state's {name}", state[name]) for name in names}
        for name, parameter in named.items():
            parameter.data = numbers[name]
        for name, (holder, key) in buffered.items():
            holder[key] = numbers[name]

    def _buffered(self) -> dict[str, tuple[Any, Any]]:
        """Find the numbers of all buffers by name: what holds each, and under which key."""
        found: dict[str, tuple[Any, Any]] = {}
        for owner, module in self.named_modules():
            if not isinstance(module.buffers, tuple):
                names = module.buffers
                raise TypeError(f"buffers of {module!r} must be names, as in buffers = ('mean',), not {names!r}")
            for attribute in module.buffers:
                name, content = f"{owner}.{attribute}".removeprefix("."), getattr(module, attribute)
                if isinstance(content, list):
                    found |= {f"{name}.{i}": (content, i) for i in range(len(content))}
                else:
                    found[name] = vars(module), attribute
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.parameters())} parameters)"


class Neuron(Module):
    """One unit: activation(w . x + b).

    `initialiser` gives the weights (default: uniform in -1 ... 1), `bias` is a number or an initialiser.
    `n_out`, the number of units in its layer, matters to some initialisers only. `nonlin=False` is micrograd's
    way to write activation="linear".

    >>> neuron = Neuron(2, activation="tanh", rng=Random(0))
    >>> [w.label for w in neuron.w], neuron.b.label
    (['w[0]', 'w[1]'], 'b')
    >>> round(neuron([1.0, -2.0]).data, 6)
    -0.33013
    >>> neuron([1.0])
    Traceback (most recent call last):
    ...
    ValueError: Neuron(2, tanh) takes 2 inputs, but was given 1
    """

    def __init__(
        self,
        n_in: int,
        activation: str | Activation = "relu",
        *,
        initialiser: str | Initialiser = "uniform",
        bias: float | Initialiser = 0.0,
        rng: Random | None = None,
        n_out: int = 1,
        nonlin: bool = True,
    ) -> None:
        n_in, rng = count("n_in", n_in), generator(rng)
        draw = find_initialiser(initialiser)
        self.w = [Value(draw(n_in, n_out, rng), f"w[{i}]") for i in range(n_in)]
        self.b = Value(bias(n_in, n_out, rng) if callable(bias) else bias, "b")
        self.activation = find_activation(activation) if nonlin else linear

    def __call__(self, x: Any) -> Any:
        """Compute the output for one row of inputs; a bare number is a row of one."""
        row = _row(x)
        if len(row) != len(self.w):
            _refuse(self, row, len(self.w))
        try:
            z = autodiff.affine(self.w, row, self.b)
        except TypeError:
            _refuse(self, row, len(self.w))
            raise
        return self.activation(z)

    def __repr__(self) -> str:
        return f"Neuron({len(self.w)}, {_name(self.activation)})"


class Layer(Module):
    """`n_out` neurons side by side on the same `n_in` inputs. Options are those of `Neuron`.

    >>> layer = Layer(2, 3, "tanh", initialiser="xavier", rng=Random(0))
    >>> layer
    Layer(2, 3, tanh)
    >>> [round(out.data, 4) for out in layer([1.0, 2.0])]
    [-0.8246, 0.0387, -0.6255]
    """

    def __init__(self, n_in: int, n_out: int, activation: str | Activation = "relu", **options: Any) -> None:
        n_out = count("n_out", n_out)
        self.neurons = [Neuron(n_in, activation, n_out=n_out, **options) for _ in range(n_out)]

    def __call__(self, x: Any) -> Any:
        """Compute the outputs for one row of inputs: a list, or of a single neuron the Value itself."""
        row = _row(x)
        neurons = self.neurons
        if widths := {len(neuron.w) for neuron in neurons} - {len(row)}:
            _refuse(self, row, widths.pop())
        try:
            signals = autodiff.affine_layer([neuron.w for neuron in neurons], row, [neuron.b for neuron in neurons])
        except TypeError:
            _refuse(self, row, len(row))
            raise
        outputs = [neuron.activation(z) for neuron, z in zip(neurons, signals, strict=True)]
        return outputs[0] if len(outputs) == 1 else outputs

    def __repr__(self) -> str:
        first = self.neurons[0]
        return f"Layer({len(first.w)}, {len(self.neurons)}, {_name(first.activation)})"


class MLP(Module):
    """A multi-layer perceptron: layers of the given sizes, `activation` inside, `output` at the end.

    >>> net = MLP(2, [16, 16, 1], rng=Random(1))
    >>> net
    MLP(2, [16, 16, 1], activation=relu, output=linear, parameters=337)
    >>> round(net([1.0, -2.0]).data, 6)
    2.707788
    >>> len(MLP(4, [8, 3], activation="tanh", initialiser="xavier")([5.1, 3.5, 1.4, 0.2]))
    3
    """

    def __init__(
        self,
        n_in: int,
        sizes: Sequence[int],
        activation: str | Activation = "relu",
        output: str | Activation = "linear",
        *,
        initialiser: str | Initialiser = "uniform",
        bias: float | Initialiser = 0.0,
        rng: Random | None = None,
    ) -> None:
        if not hasattr(sizes, "__len__") or isinstance(sizes, str):
            raise TypeError(f"sizes must be a list, as in MLP({n_in}, [4]), not {sizes!r}")
        if not len(sizes):
            raise ValueError("an MLP needs at least one layer: write MLP(2, [1]) for a single output")
        kinds = [find_activation(activation)] * (len(sizes) - 1) + [find_activation(output)]
        self.layers = [
            Layer(n_in, n_out, kind, initialiser=initialiser, bias=bias, rng=rng)
            for (n_in, n_out), kind in zip(pairwise([n_in, *sizes]), kinds, strict=True)
        ]

    def __call__(self, x: Any) -> Any:
        """Compute the outputs for one row of inputs: a list, or of a single output the Value itself."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __repr__(self) -> str:
        first, last = self.layers[0].neurons[0], self.layers[-1].neurons[0]
        sizes = [len(layer.neurons) for layer in self.layers]
        inside = f"activation={_name(first.activation)}, " if len(sizes) > 1 else ""
        count = f"parameters={len(self.parameters())}"
        return f"MLP({len(first.w)}, {sizes}, {inside}output={_name(last.activation)}, {count})"


class Sequential(Module):
    """Modules, or any functions, applied one after the other.

    >>> net = Sequential(Layer(2, 3, "tanh", rng=Random(0)), autodiff.softmax)
    >>> net
    Sequential(Layer(2, 3, tanh), softmax)
    >>> round(sum(p.data for p in net([1.0, -2.0])), 12)
    1.0
    """

    def __init__(self, *layers: Callable[[Any], Any]) -> None:
        for layer in layers:
            if not callable(layer):
                raise TypeError(f"Sequential takes layers and functions, not {layer!r}{_instead(layer)}")
        self.layers = list(layers)

    def __call__(self, x: Any) -> Any:
        """Apply every layer in turn."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __repr__(self) -> str:
        return f"Sequential({', '.join(_name(layer) for layer in self.layers)})"


class Dropout(Module):
    """While training, replace each input by 0 with probability `p` and divide the others by 1 - p.

    So the expected value of what comes out is what went in, and evaluation needs no correction (inverted dropout,
    Srivastava et al. 2014). Every call draws a new mask; a training by `fit` draws one for each example and step,
    compiled or not.

    >>> drop = Dropout(0.5, rng=Random(1))
    >>> drop([1.0, 2.0, 3.0])
    [0.0, 4.0, 6.0]
    >>> drop.eval()([1.0, 2.0, 3.0])
    [1.0, 2.0, 3.0]
    """

    def __init__(self, p: float = 0.5, rng: Random | None = None) -> None:
        below_1(p=p)
        self.p = p
        self.rng = rng
        generator(rng)  # a wrong kind of generator is an error here, not at the first call

    def __call__(self, x: Any) -> Any:
        """Drop some of a row's entries; a bare number is dropped or kept as a whole."""
        if not self.training:
            return x
        row = _row(x)
        source = _masks.get()
        if source is None:
            _refuse_while_compiling(
                f"{self!r} inside a compiled function would draw its mask at the first call only: train with nn.fit, "
                "which gives it a new one for each example, or switch it off with eval()"
            )
        mask = (source or Dropout.draw)(self, len(row))
        try:
            kept = [item * factor for item, factor in zip(row, mask, strict=True)]
        except TypeError:
            _refuse(self, row, len(row))
            raise
        return kept if _is_row(x) else kept[0]

    def draw(self, width: int) -> list[float]:
        """Draw a mask for a row: the factor of each entry, 0 or 1 / (1 - p).

        >>> Dropout(0.5, rng=Random(1)).draw(3)
        [0.0, 2.0, 2.0]
        """
        random, scale = generator(self.rng).random, 1.0 / (1.0 - self.p)
        return [scale if random() >= self.p else 0.0 for _ in range(width)]

    def __repr__(self) -> str:
        return f"Dropout({self.p})"


MaskSource = Callable[[Dropout, int], Sequence[Any]]
"""A function of a Dropout and the width of its row: the factor of each entry."""

_masks: ContextVar[MaskSource | None] = ContextVar("_masks", default=None)


@contextmanager
def masks_from(source: MaskSource) -> Iterator[None]:
    """Let every Dropout that is called in here take its masks from `source` instead of drawing them.

    So a training can draw them beforehand, and give them to a compiled function as arguments.

    >>> with masks_from(lambda dropout, width: [0.0, 2.0]):
    ...     Dropout(0.5)([3.0, 4.0])
    [0.0, 8.0]
    """
    token = _masks.set(source)
    try:
        yield
    finally:
        _masks.reset(token)


@contextmanager
def evaluating(model: object) -> Iterator[None]:
    """Switch a module to evaluation, and each part of it back to what it was.

    >>> drop = Dropout(0.5)
    >>> with evaluating(drop):
    ...     drop([1.0, 2.0])
    [1.0, 2.0]
    >>> drop.training
    True
    """
    modes = [(module, module.training) for module in model.modules()] if isinstance(model, Module) else []
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _refuse_while_compiling(complaint: str) -> None:
    try:
        autodiff.descend([], 0.0)  # does nothing, but refuses to in a function that is being compiled
    except RuntimeError:
        raise RuntimeError(complaint) from None


def _refuse(module: Module, row: Any, width: int) -> None:
    """Raise if a row of inputs has another width, or holds what is no number."""
    if any(isinstance(entry, (list, tuple)) for entry in row):
        advice = "one example at a time, as in [net(x) for x in rows]"
        raise ValueError(f"{module!r} takes {width} inputs, but was given {len(row)} rows: {advice}")
    if len(row) != width:
        raise ValueError(f"{module!r} takes {width} inputs, but was given {len(row)}")
    for i, entry in enumerate(row):
        if not hasattr(entry, "__float__"):
            raise TypeError(f"input {i} of {module!r} must be a number, not {entry!r}") from None


def _instead(layer: object) -> str:
    """Say what to write instead of something that is no layer."""
    if isinstance(layer, str):
        return f": an activation is its layer's, as in Layer(2, 3, {layer!r})"
    return ": write Sequential(*layers)" if isinstance(layer, (list, tuple)) else ""


def _name(function: object) -> str:
    return str(getattr(function, "__name__", None) or repr(function))


def _some(names: set[str]) -> str:
    """Name up to five, in order, and say how many more there are."""
    shown = sorted(names)
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


def _other_sizes(state: Iterable[str], named: Iterable[str]) -> list[str]:
    """Say which lists have another length in the state than in the module: the outermost ones."""
    found, mine = _lengths(state), _lengths(named)
    wrong = [name for name, length in mine.items() if found.get(name, length) != length]
    outermost = [name for name in wrong if not any(name.startswith(f"{outer}.") for outer in wrong)]
    return [f"its {name} has {found[name]} entries, not {mine[name]}" for name in outermost]


def _lengths(names: Iterable[str]) -> Counter[str]:
    """Count the entries of every list among dotted names: of `neurons` in neurons.0.b and neurons.1.b, 2."""
    entries: dict[tuple[str, str], None] = {}  # a set that keeps the order
    for name in names:
        parts = name.split(".")
        entries |= {(".".join(parts[:i]), part): None for i, part in enumerate(parts) if part.isdecimal()}
    return Counter(owner for owner, _ in entries)


def _other_names(state: Mapping[str, Any], named: Mapping[str, Any]) -> list[str]:
    problems = [f"it lacks {_some(missing)}"] if (missing := named.keys() - state.keys()) else []
    if unexpected := state.keys() - named.keys():
        problems.append(f"it has an unexpected {_some(unexpected)}")
    return problems


def _is_row(x: Any) -> bool:
    return hasattr(x, "__len__")


def _row(x: Any) -> Any:
    """Return the inputs as a sequence: arrays become lists of Python's floats, a bare number a list of one."""
    if isinstance(x, (list, tuple)):
        return x
    if hasattr(x, "tolist"):
        x = x.tolist()
    return x if _is_row(x) else [x]


_CONTAINERS = (Module, list, tuple, dict, set, frozenset)  # isinstance takes a tuple faster than a union


class _Contents:
    """The parameters and modules inside a module, each once, in the order in which they are met."""

    def __init__(self, root: Module) -> None:
        self.parameters: dict[Value, tuple[str, Any]] = {}  # where each was met: the owner's name, and key or index
        self.modules: list[tuple[Module, str]] = []  # with their dotted names
        # The containers met stay alive here: the id of a row cut out of an array could otherwise come again.
        self._seen: dict[int, Any] = {}
        self._open("", root)

    def _walk(self, owner: str, entries: Iterable[tuple[Any, Any]]) -> None:
        for key, entry in entries:
            if isinstance(entry, Value):
                if entry.primitive is None:  # a computed Value that was kept is no parameter
                    self.parameters.setdefault(entry, (owner, key))
            elif isinstance(entry, _CONTAINERS) or hasattr(entry, "dtype"):
                self._open(f"{owner}{key}", entry)

    def _open(self, name: str, container: Any) -> None:
        if id(container) in self._seen:
            return
        self._seen[id(container)] = container
        owner = f"{name}." if name else ""
        if isinstance(container, Module):
            self.modules.append((container, name))
            self._walk(owner, vars(container).items())
        elif isinstance(container, dict):
            self._walk(owner, container.items())
        elif isinstance(container, (list, tuple)) or str(getattr(container, "dtype", "")) == "object":
            self._walk(owner, enumerate(container))
        elif isinstance(container, (set, frozenset)) and any(isinstance(entry, Value | Module) for entry in container):
            raise TypeError(f"{name} is a set of parameters, which has no fixed order: make it a list")
