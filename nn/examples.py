"""The examples that a training learns from, as compiled code likes them: nested lists of floats."""

from collections.abc import Callable, Sequence
from typing import Any

import autodiff
from nn.losses import Loss, half_squared_error, mean_squared_error, squared_error
from nn.modules import evaluating

__all__ = ["Examples", "examples", "rows_of", "with_floats"]

Examples = tuple[Sequence[Any], Sequence[Any]]
"""Inputs and targets, one of each for an example."""

_OF_NUMBERS = (squared_error, half_squared_error, mean_squared_error)  # losses whose targets are never classes


def rows_of(data: Any) -> Any:
    """Give the rows of an array or a data frame; anything else as it is.

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
    others are floats and where the loss has no classes.

    >>> with_floats([([[1], [2]], [0, 1])], lambda x: x[0] + 0.5, squared_error)
    [([[1.0], [2.0]], [0.0, 1.0])]
    >>> with_floats([([0, 1], [0, 1])], [2.5, 3.5].__getitem__, lambda prediction, target: prediction)
    [([0, 1], [0, 1])]
    """
    inputs, targets = pairs[0]
    takes_floats = _has(int, inputs) and _works(model, _in_floats(inputs[0]))
    of_numbers = loss in _OF_NUMBERS or (_has(int, targets) and _has(float, targets))
    return [
        (_in_floats(x) if takes_floats else x, _in_floats(y) if of_numbers and _has(int, y) else y) for x, y in pairs
    ]


def _works(model: Callable[[Any], Any], x: Any) -> bool:
    try:
        with evaluating(model), autodiff.no_grad():
            model(x)
    except Exception:  # noqa: BLE001  (a model may fail in any way)
        return False
    return True


def _has(kind: type, data: Any) -> bool:
    """Say whether there are numbers of this type in nested lists and tuples."""
    return any(_has(kind, x) for x in data) if isinstance(data, list | tuple) else type(data) is kind


def _plain(data: Any) -> Any:
    """Turn NumPy's numbers and arrays in nested lists and tuples into Python's."""
    if type(data) in (list, tuple):
        return type(data)([x if type(x) is float else _plain(x) for x in data])
    return data.tolist() if hasattr(data, "tolist") else data


def _in_floats(data: Any) -> Any:
    """Turn the whole numbers in nested lists and tuples into floats."""
    if type(data) in (list, tuple):
        return type(data)([x if type(x) is float else _in_floats(x) for x in data])
    return float(data) if type(data) is int else data
