"""The examples that a training learns from, as compiled code likes them: nested lists of floats."""

from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

import autodiff
from nn.losses import Loss, half_squared_error, mean_squared_error, squared_error
from nn.modules import evaluating

__all__ = ["Examples", "examples", "rows_of", "with_floats"]

Examples = tuple[Sequence[Any], Sequence[Any]]
"""Inputs and targets, one of each for an example."""

_OF_NUMBERS = (squared_error, half_squared_error, mean_squared_error)  # losses whose targets are never classes


def rows_of(data: Any) -> Any:
    """Give a data frame as the array of its rows, anything else as it is.

    >>> rows_of([[1.0, 2.0]])
    [[1.0, 2.0]]
    """
    return data.to_numpy() if hasattr(data, "to_numpy") else data


def examples(name: str, inputs: Any, others: str, targets: Any) -> Examples:
    """Return both as sequences of Python's numbers, checked to be as long as each other.

    >>> examples("inputs", [[1.0], [2.0]], "targets", [0, 1, 0])
    Traceback (most recent call last):
    ...
    ValueError: there must be as many targets as inputs: 2 inputs, 3 targets
    """
    pair = [_plain(rows_of(column)) for column in (inputs, targets)]
    for what, column in zip((name, others), pair, strict=True):
        if not isinstance(column, Sequence):
            raise TypeError(f"{what} must be a list or an array with one entry for each example, not {column!r:.60}")
    inputs, targets = pair
    if len(inputs) != len(targets):
        raise ValueError(f"there must be as many {others} as {name}: {len(inputs)} {name}, {len(targets)} {others}")
    if not inputs:
        raise ValueError(f"there are no {name}: at least one example is needed")
    return inputs, targets


def with_floats(pairs: Sequence[Examples], model: Callable[[Any], Any], loss: Loss) -> list[Examples]:
    """Turn whole numbers into floats, where they are numbers: to compiled code, each of them is another constant.

    In the inputs they are, unless the model fails with floats: it may look something up. In the targets they are where
    the loss has no classes, and next to floats, unless the loss fails with floats.

    >>> with_floats([([[1], [2]], [0, 1])], lambda x: x[0] + 0.5, squared_error)
    [([[1.0], [2.0]], [0.0, 1.0])]
    >>> with_floats([([0, 1], [0, 1])], [2.5, 3.5].__getitem__, lambda prediction, target: prediction)
    [([0, 1], [0, 1])]
    """
    inputs, targets = pairs[0]
    i = _place(int, inputs)
    if i is not None and _works(model, model, _in_floats(inputs[i])):
        pairs = [(_in_floats(x), y) for x, y in pairs]
    of_numbers, i = loss in _OF_NUMBERS, _place(int, targets)
    if not of_numbers and i is not None and _has(float, targets):
        of_numbers = _works(model, lambda x, y: loss(model(x), y), pairs[0][0][i], _in_floats(targets[i]))
    return [(x, _in_floats(y) if of_numbers and _has(int, y) else y) for x, y in pairs]


def _works(model: Callable[[Any], Any], f: Callable[..., Any], *args: Any) -> bool:
    """Say whether f, which calls the model, takes these arguments."""
    try:
        with evaluating(model), autodiff.no_grad():
            f(*args)
    except Exception:  # noqa: BLE001  (a model may fail in any way)
        return False
    return True


def _has(kind: type, data: Any) -> bool:
    """Say whether there are numbers of this type in nested lists and tuples."""
    return any(_has(kind, x) for x in data) if isinstance(data, list | tuple) else type(data) is kind


def _place(kind: type, data: Any) -> int | None:
    """Find the first entry in which there are numbers of this type."""
    return next((i for i, x in enumerate(data) if _has(kind, x)), None) if isinstance(data, list | tuple) else None


def _plain(data: Any) -> Any:
    """Turn NumPy's numbers and arrays in nested lists and tuples into Python's; what has none stays the same object."""
    if type(data) in (list, tuple):
        items = [x if type(x) is float else _plain(x) for x in data]
        return data if all(map(is_, items, data)) else type(data)(items)
    return data.tolist() if hasattr(data, "tolist") else data


def _in_floats(data: Any) -> Any:
    """Turn the whole numbers in nested lists and tuples into floats."""
    if type(data) in (list, tuple):
        return type(data)([x if type(x) is float else _in_floats(x) for x in data])
    return float(data) if type(data) is int else data
