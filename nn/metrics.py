"""Scores of one example that a person reads, and nobody differentiates; `fit` takes their mean."""

from collections.abc import Sequence
from typing import Any

from autodiff import Value

__all__ = ["accuracy", "binary_accuracy"]


def accuracy(scores: Sequence[Any], target: int) -> float:
    """Return 1 if the target class has the highest score (logit or probability), else 0.

    >>> accuracy([0.1, 2.0, -1.0], 1)
    1.0
    """
    if not hasattr(scores, "__len__"):
        raise TypeError("accuracy compares the scores of several classes; for one output use binary_accuracy")
    numbers = [as_number(score) for score in scores]
    return float(numbers.index(max(numbers)) == target)


def binary_accuracy(score: Any, target: Any, threshold: float = 0.0) -> float:
    """Return 1 if the score is on the target's side of the threshold, else 0.

    A target above 0 is the positive class: -1 and +1 will do, and so will 0 and 1. The threshold of a score or logit
    is 0, that of a probability is 0.5.

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
