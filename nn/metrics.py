"""Scores of one example that a person reads, and nobody differentiates; `fit` takes their mean."""

import operator
from collections.abc import Iterable, Sequence
from typing import Any

from autodiff import Value

__all__ = ["accuracy", "binary_accuracy", "confusion_matrix"]


def accuracy(scores: Sequence[Any], target: Any) -> float:
    """Return 1 if the target class, an index or a list of probabilities, has the highest score, else 0.

    >>> accuracy([0.1, 2.0, -1.0], 1), accuracy([0.1, 2.0, -1.0], [0.0, 1.0, 0.0])
    (1.0, 1.0)
    """
    if not hasattr(scores, "__len__"):
        raise TypeError("accuracy compares the scores of several classes; for one output use binary_accuracy")
    return float(as_class(scores) == (as_class(target) if hasattr(target, "__len__") else target))


def binary_accuracy(score: Any, target: Any, threshold: float = 0.0) -> float:
    """Return 1 if the score is on the target's side of the threshold, else 0.

    A target above 0 is the positive class: -1 and +1 will do, and so will 0 and 1. The threshold of a score or logit
    is 0. That of a probability, from a network that ends in a sigmoid, is 0.5, which must be said: as a metric, write
    `functools.partial(binary_accuracy, threshold=0.5)`.

    >>> binary_accuracy(-0.3, 0), binary_accuracy(-0.3, 1), binary_accuracy(0.7, 1, threshold=0.5)
    (1.0, 0.0, 1.0)
    """
    return float((as_number(score) > threshold) == (as_number(target) > 0.0))


def as_number(x: Any) -> float:
    """Return the plain number behind a Value or a number.

    >>> as_number(Value(2.0)), as_number(3)
    (2.0, 3.0)
    """
    return x.data if isinstance(x, Value) else float(x)


def confusion_matrix(scores: Iterable[Any], targets: Iterable[Any], classes: int | None = None) -> list[list[int]]:
    """Count examples by true class (row) and by the class with the highest score (column).

    `scores` holds one list of scores for each example, `targets` the index of its true class; or both hold indices of
    classes. `classes` is their number, by default as many as occur.

    >>> confusion_matrix([[2.0, 1.0], [0.5, 3.0], [1.5, 1.0]], [0, 1, 1])
    [[1, 0], [1, 1]]
    """
    pairs = [(as_class(target), as_class(score)) for target, score in zip(targets, scores, strict=True)]
    size = max((1 + max(pair) for pair in pairs), default=0) if classes is None else classes
    matrix = [[0] * size for _ in range(size)]
    for truth, choice in pairs:
        if not (0 <= truth < size and 0 <= choice < size):
            raise ValueError(f"classes are counted from 0, and there are {size}: an example of {truth} given {choice}")
        matrix[truth][choice] += 1
    return matrix


def as_class(score: Any) -> int:
    """Return the index of the highest score, or the index itself.

    >>> as_class([0.1, 0.9]), as_class(1)
    (1, 1)
    """
    if not hasattr(score, "__len__"):
        if isinstance(score, Value | float):
            raise TypeError(f"{score!r} is no class: for one output, write int(score > 0) for the scores")
        return operator.index(score.item() if hasattr(score, "item") else score)  # NumPy's truth values are no numbers
    numbers = [as_number(entry) for entry in score]
    return numbers.index(max(numbers))
