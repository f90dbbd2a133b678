"""Losses of one example, of its prediction and its target; `fit` takes their mean over a batch.

Penalties on the size of parameters are here too: add them to the mean loss, times a small number.
"""

from collections.abc import Callable, Sequence
from typing import Any

import autodiff
from nn.metrics import as_number

__all__ = [
    "Loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "half_squared_error",
    "hinge",
    "l1_penalty",
    "l2_penalty",
    "mean_squared_error",
    "softmax_cross_entropy",
    "squared_error",
]

Loss = Callable[[Any, Any], Any]
"""A function of one example's prediction and target."""


def squared_error(prediction: Any, target: Any) -> Any:
    """Return the squared difference, for several outputs the sum of them.

    >>> squared_error(3.0, 1.0)
    4.0
    >>> squared_error([3.0, 0.5], [1.0, 0.0])
    4.25
    """
    if hasattr(prediction, "__len__"):
        differences = _differences(prediction, target)
        return autodiff.dot(differences, differences)
    _check_single("squared_error", prediction, target)
    return autodiff.square(prediction - target)


def half_squared_error(prediction: Any, target: Any) -> Any:
    """Return half the squared error, whose derivative is the plain difference.

    >>> half_squared_error(3.0, 1.0)
    2.0
    """
    return 0.5 * squared_error(prediction, target)


def mean_squared_error(prediction: Any, target: Any) -> Any:
    """Return the mean of the squared differences over the outputs.

    >>> mean_squared_error([3.0, 1.0], [1.0, 0.0])
    2.5
    """
    outputs = len(prediction) if hasattr(prediction, "__len__") else 1
    return squared_error(prediction, target) / outputs


def binary_cross_entropy(probability: Any, target: Any) -> Any:
    """Return -t log p - (1 - t) log(1 - p), for a target t of 0 or 1, or between.

    A probability of exactly 0 or 1 that is wrong has an infinite loss, which raises ValueError; a network that
    ends in a sigmoid gets there by rounding: leave its output linear and use `binary_cross_entropy_with_logits`.

    >>> round(binary_cross_entropy(0.8, 1.0), 6)
    0.223144
    """
    _check_binary("binary_cross_entropy", probability, target)
    if probability < 0.0 or probability > 1.0:
        raise ValueError(
            f"binary_cross_entropy takes a probability, from 0 to 1, not {as_number(probability):g}: for any score use "
            "binary_cross_entropy_with_logits"
        )
    if probability == target:  # certain and right: the other term would be 0 times log(0)
        if target == 1.0:
            return -autodiff.log(probability)
        if target == 0.0:
            return -autodiff.log1p(-probability)
    return -(target * autodiff.log(probability) + (1.0 - target) * autodiff.log1p(-probability))


def binary_cross_entropy_with_logits(logit: Any, target: Any) -> Any:
    """Return the cross-entropy of sigmoid(logit), without ever computing that probability.

    Written with two softplus terms so that no digit is lost however large the logit is, on either side.

    >>> round(binary_cross_entropy_with_logits(1.5, 1.0), 6)
    0.201413
    >>> binary_cross_entropy_with_logits(100.0, 1.0)
    3.720075976020836e-44
    >>> binary_cross_entropy_with_logits(1000.0, 0.0)
    1000.0
    """
    _check_binary("binary_cross_entropy_with_logits", logit, target)
    return target * autodiff.softplus(-logit) + (1.0 - target) * autodiff.softplus(logit)


def softmax_cross_entropy(logits: Sequence[Any], target: Any) -> Any:
    """Return -log of the probability that softmax gives to the target class: its index, or a list of probabilities.

    >>> round(softmax_cross_entropy([2.0, 1.0, 0.1], 0), 6)
    0.41703
    """
    if not hasattr(logits, "__len__"):
        raise TypeError(
            "softmax_cross_entropy compares several outputs, but the prediction is one number: end the network in one "
            "output for each class, or use binary_cross_entropy_with_logits"
        )
    return autodiff.softmax_cross_entropy(logits, target)


def hinge(score: Any, target: Any) -> Any:
    """Return max(0, 1 - t score), for a target t of -1 or +1: no loss outside the margin.

    >>> hinge(0.25, 1), hinge(0.25, -1), hinge(3.0, 1)
    (0.75, 1.25, 0.0)
    >>> hinge(0.25, 0)
    Traceback (most recent call last):
    ...
    ValueError: hinge takes targets -1 and +1, not 0: write 2 * t - 1 for targets t of 0 and 1
    """
    _check_single("hinge", score, target)
    if target != 1 and target != -1:
        raise ValueError(
            f"hinge takes targets -1 and +1, not {as_number(target):g}: write 2 * t - 1 for targets t of 0 and 1"
        )
    return autodiff.relu(1.0 - target * score)


def l1_penalty(parameters: Sequence[Any]) -> Any:
    """Return the sum of absolute values: pulls small weights to exactly 0.

    >>> l1_penalty([3.0, -1.0])
    4.0
    """
    return autodiff.sum([abs(parameter) for parameter in parameters])


def l2_penalty(parameters: Sequence[Any]) -> Any:
    """Return the sum of squares: pulls all weights towards 0, large ones more.

    >>> l2_penalty([3.0, -1.0])
    10.0
    """
    return autodiff.sum_of_squares(parameters)


def _differences(prediction: Sequence[Any], target: Any) -> list[Any]:
    if not hasattr(target, "__len__") or len(target) != len(prediction):
        given = len(target) if hasattr(target, "__len__") else "a single number"
        raise ValueError(f"the prediction has {len(prediction)} outputs, but the target has {given}")
    return [p - t for p, t in zip(prediction, target, strict=True)]


def _check_single(loss: str, prediction: Any, target: Any) -> None:
    if hasattr(prediction, "__len__"):
        raise ValueError(f"{loss} takes one output, but the prediction has {len(prediction)}")
    if isinstance(target, str):
        raise TypeError(f"{loss} takes a number as its target, not the text {target!r}: number the classes")
    if hasattr(target, "__len__"):
        raise ValueError(
            f"the prediction is one number, but the target has {len(target)}: give one number for each example (of an "
            "array with one column, targets[:, 0])"
        )


def _check_binary(loss: str, prediction: Any, target: Any) -> None:
    _check_single(loss, prediction, target)
    if target < 0.0 or target > 1.0:  # so that nan passes: `fit` says where it comes from
        raise ValueError(
            f"{loss} takes targets from 0 to 1, not {as_number(target):g}: write (t + 1) / 2 for targets t of -1 and "
            "+1, t - 1 for 1 and 2"
        )
