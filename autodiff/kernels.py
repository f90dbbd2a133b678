"""Kernels: functions of a sequence that are one node each, however long the sequence.

They add from left to right, not with Python's compensated `sum`: floats, Values and compiled code agree to the bit.
"""

from collections.abc import Iterable
from typing import Any

from autodiff import primitives as p
from autodiff.primitives import constant, shortened

__all__ = [
    "affine",
    "dot",
    "log_softmax",
    "logsumexp",
    "sinc",
    "softmax",
    "softmax_cross_entropy",
    "sum",
    "sum_of_squares",
]


def sum(values: Iterable[Any]) -> Any:  # shadows the builtin on purpose: `autodiff.sum`
    """Add up floats or Values from left to right; 0.0 for none.

    >>> sum([0.1, 0.2, 0.3])
    0.6000000000000001
    """
    return p.total(*_sequence("sum", values))


def dot(ws: Iterable[Any], xs: Iterable[Any]) -> Any:
    """Add up the products of two equally long sequences.

    >>> dot([1.0, 2.0], [3.0, 4.0])
    11.0
    """
    ws, xs = _sequence("dot", ws), _sequence("dot", xs)
    _check_lengths("dot", ws, xs)
    return p.dot_product(*ws, *xs)


def sum_of_squares(xs: Iterable[Any]) -> Any:
    """Add up the squares of the numbers.

    >>> sum_of_squares([3.0, 4.0])
    25.0
    """
    return p.sum_of_squares(*_sequence("sum_of_squares", xs))


def affine(ws: Iterable[Any], xs: Iterable[Any], b: Any) -> Any:
    """Add up the products of weights and inputs, then the bias: the signal of one neuron.

    >>> affine([1.0, 2.0], [3.0, 4.0], 0.5)
    11.5
    """
    ws, xs = _sequence("affine", ws), _sequence("affine", xs)
    _check_lengths("affine", ws, xs)
    return p.affine_map(*ws, *xs, b)


def logsumexp(xs: Iterable[Any]) -> Any:
    """Return the logarithm of the sum of exponentials, without overflow.

    >>> logsumexp([1000.0, 1000.0])
    1000.6931471805599
    """
    return p.log_sum_exp(*_some("logsumexp", xs))


def softmax(xs: Iterable[Any]) -> list[Any]:
    """Return exp(x) / (sum of all exp(x)) for each x, without overflow.

    >>> softmax([0.0, 0.0])
    [0.5, 0.5]
    """
    xs = _some("softmax", xs)
    return [p.softmax_entry(float(i), *xs) for i in range(len(xs))]


def log_softmax(xs: Iterable[Any]) -> list[Any]:
    """Return the logarithm of each entry of the softmax, accurate also where the entry is close to 1.

    >>> log_softmax([0.0, -100.0])
    [-3.720075976020836e-44, -100.0]
    """
    xs = _some("log_softmax", xs)
    return [-p.cross_entropy(float(i), *xs) for i in range(len(xs))]


def softmax_cross_entropy(logits: Iterable[Any], target: Any) -> Any:
    """Return the cross-entropy, in nats, between a target and the softmax of the logits.

    The target is the index of the true class, or one probability for each class.

    >>> softmax_cross_entropy([0.0, -100.0], 0)
    3.720075976020836e-44
    >>> softmax_cross_entropy([0.0, 0.0], [0.5, 0.5])
    0.6931471805599453
    """
    xs = _some("softmax_cross_entropy", logits)
    if hasattr(target, "__len__") and not isinstance(target, str):
        _check_lengths("softmax_cross_entropy", xs, tuple(target))
        return -dot(target, log_softmax(xs))
    if not hasattr(target, "apply_primitive"):  # a Value is compared by its number: a branch, for the compiler
        target = constant(target, "the target class")
    try:
        index = range(len(xs)).index(target)
    except ValueError:
        raise ValueError(f"the target class must be 0 to {len(xs) - 1} for {len(xs)} logits, not {target!r}") from None
    return p.cross_entropy(float(index), *xs)


def sinc(x: Any) -> Any:
    """Return sin(pi x) / (pi x), 1 at 0: NumPy's sinc.

    >>> sinc(0.0)
    1.0
    """
    return p.sinc_order(0.0, x)


def _check_lengths(name: str, xs: tuple[Any, ...], ys: tuple[Any, ...]) -> None:
    if len(xs) != len(ys):
        raise ValueError(f"{name}() needs two sequences of one length, not {len(xs)} and {len(ys)}")


def _sequence(name: str, xs: Iterable[Any]) -> tuple[Any, ...]:
    if not isinstance(xs, Iterable):
        raise TypeError(f"{name}() takes a sequence of numbers, such as [x, y], not {shortened(xs)}")
    return tuple(xs)


def _some(name: str, xs: Iterable[Any]) -> tuple[Any, ...]:
    xs = _sequence(name, xs)
    if not xs:
        raise ValueError(f"{name}() of nothing has no value: give it at least one number")
    return xs
