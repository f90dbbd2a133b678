"""Where a training went wrong: which example, which layer. Slow and thorough, for it runs once, at the end.

Called when a batch's loss or gradient is nan or infinite, or its computation raised: the batch is computed again,
one example at a time and without compiling, until the one is found.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

import autodiff
from autodiff import Value
from nn.metrics import as_number
from nn.modules import Module

__all__ = ["Suspects"]


class Suspects(NamedTuple):
    """What a failed batch was made of.

    `model(*example)` predicts and `loss(prediction, *example)` compares, of one row of `examples`; `indices` are the
    rows' places in the training data. `parameters` are named as in the model where they are its own.
    """

    model: Callable[..., Any]
    loss: Callable[..., Any]
    examples: Sequence[tuple[Any, ...]]
    indices: Sequence[int]
    parameters: Sequence[Value]
    module: object

    def blame_loss(self) -> str:
        """Say which example has a loss that is not finite, and where in its computation that began."""
        if ruined := next((p for p in self.parameters if not isfinite(p.data)), None):
            return f"the parameter {self._name(ruined)} is {ruined.data} already"
        for index, example in zip(self.indices, self.examples, strict=True):
            place = self._place(example)
            if place is not None:
                return f"example {index}: {place}"
        return "each example by itself is finite, but not the sum with the penalty"

    def blame_gradient(self) -> str:
        """Say which parameter's gradient is not finite, and which example gives it."""
        bad = next(p for p in self.parameters if not isfinite(p.grad))
        complaint = f"the gradient of {self._name(bad)} is {bad.grad}"
        for index, example in zip(self.indices, self.examples, strict=True):
            bad.grad = 0.0
            loss = self.loss(self.model(*example), *example)
            if isinstance(loss, Value):
                loss.backward()
            if not isfinite(bad.grad):
                return f"{complaint}, from example {index}"
        return complaint

    def blame_error(self, kind: type[Exception]) -> str:
        """Say which example raises this kind of error; nothing if none does by itself."""
        for index, example in zip(self.indices, self.examples, strict=True):
            try:
                with autodiff.no_grad():
                    self.loss(self.model(*example), *example)
            except kind:
                return f", at example {index}"
        return ""

    def advice(self) -> str:
        """Say what may help: no training mends the data."""
        if any(map(_bad_data, self.examples)):
            return "leave such examples out or fill in what is missing"
        return "try a smaller learning rate or clip_norm"

    def _place(self, example: tuple[Any, ...]) -> str | None:
        if complaint := _bad_data(example):
            return complaint
        try:
            outputs = self.model(*example)
            loss = self.loss(outputs, *example)
        except (ArithmeticError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        if isfinite(as_number(loss)):
            return None
        for output in outputs if hasattr(outputs, "__len__") else [outputs]:
            if isinstance(output, Value) and not isfinite(output.data):
                return self._origin(output)
        return f"the loss of its prediction is {as_number(loss)}, though the prediction is finite"

    def _origin(self, output: Value) -> str:
        """Name the operation where a graph first leaves the finite numbers, and the layer that it is in."""
        node = next(node for node in autodiff.toposort(output) if not isfinite(node.data))
        operation = node.primitive.name if node.primitive is not None else "a Value"
        layer = self._layer(node)
        return f"{operation} gives {node.data}" + (f" in {layer}" if layer else "")

    def _layer(self, node: Value) -> str:
        """Name the module whose parameters are nearest to a node, going back from it."""
        owners, waiting = _owners(self.module), {node: None}
        while waiting:  # one generation of ancestors after the other
            waiting = {parent: None for earlier in waiting for parent in earlier.parents}
            if owner := next((owners[ancestor] for ancestor in waiting if ancestor in owners), None):
                return owner
        return ""

    def _name(self, parameter: Value) -> str:
        names = {p: p.label or f"number {i}" for i, p in enumerate(self.parameters)}
        if isinstance(self.module, Module):
            names |= {p: name for name, p in self.module.named_parameters()}
        return names[parameter]


def _owners(module: object) -> Mapping[Value, str]:
    """Give each parameter the name and the description of the innermost module that it belongs to."""
    if not isinstance(module, Module):
        return {}
    # Outer modules come first in named_modules, so that inner ones have the last word.
    return {p: f"{name}, {part!r}".lstrip(", ") for name, part in module.named_modules() for p in part.parameters()}


def _bad_data(example: tuple[Any, ...]) -> str | None:
    for what, data in zip(("its inputs hold", "its target holds"), example, strict=False):
        if (bad := next((x for x in _numbers(data) if not isfinite(x)), None)) is not None:
            return f"{what} {bad}"
    return None


def _numbers(data: Any) -> Iterator[float]:
    """Yield the floats in nested containers."""
    if isinstance(data, Value):
        yield data.data
    elif isinstance(data, float):
        yield data
    elif isinstance(data, Mapping):
        yield from _numbers(list(data.values()))
    elif isinstance(data, (list, tuple)) or hasattr(data, "tolist"):
        for entry in data.tolist() if hasattr(data, "tolist") else data:
            yield from _numbers(entry)
