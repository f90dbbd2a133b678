"""The backward pass, written down: whose rule is applied when, and what it adds to which error signal.

`backprop.sweep` does the same in place and at speed. Here the graph is left as it is, and nothing is forgotten.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from autodiff.backprop import toposort
from autodiff.value import Value

__all__ = ["Event", "error_signals", "local_derivatives", "replay"]


class Event(NamedTuple):
    """One moment of the backward pass: `target.grad` goes from `before` to `after`.

    - "seed": the result receives the seed.
    - "edge": `node` passes its error signal, times the local derivative by argument `position`, on to `target`.
    - "nothing": the error signal of `node` is exactly 0, so its rule is not applied at all.

    >>> x = Value(3.0, "x")
    >>> [(event.kind, event.target.label, event.before, event.after) for event in replay(x * x)]
    [('seed', '', 0.0, 1.0), ('edge', 'x', 0.0, 3.0), ('edge', 'x', 3.0, 6.0)]
    """

    kind: Literal["seed", "edge", "nothing"]
    node: Value
    target: Value
    position: int
    signal: float
    local: float
    before: float
    after: float

    @property
    def passes(self) -> bool:
        """Say whether anything is added: a local derivative of exactly 0 adds nothing, not even to an infinity.

        >>> [event.passes for event in replay(Value(-1.0).relu())]
        [True, False]
        """
        return self.kind == "seed" or (self.kind == "edge" and self.local != 0.0)


def local_derivatives(node: Value) -> list[tuple[int, Value, float]]:
    """List (position, argument, local derivative) of the arguments that are Values: those that the sweep asks for.

    >>> [(position, local) for position, argument, local in local_derivatives(2.0 / Value(4.0))]
    [(1, -0.125)]
    """
    if node._primitive is None:
        return []
    args = node._args
    wanted = [i for i, arg in enumerate(args) if isinstance(arg, Value)]
    found = node._primitive.locals(node._data, node._inputs, wanted)
    return [(i, args[i], float(local)) for i, local in zip(wanted, found, strict=True)]


def replay(value: Value, seed: float = 1.0) -> list[Event]:
    """List what `value.backward(seed)` does, in its order and with its rounding, from `grad` 0 everywhere.

    >>> w = Value(2.0, "w")
    >>> [(event.signal, event.local, event.after) for event in replay(w * 5.0 + w)][1:]
    [(1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 5.0, 6.0)]
    """
    order = toposort(value)
    grads = dict.fromkeys(order, 0.0)
    grads[value] = seed
    events = [Event("seed", value, value, 0, seed, 1.0, 0.0, seed)]
    for node in reversed(order):
        events += _apply(node, grads)
    return events


def _apply(node: Value, grads: dict[Value, float]) -> Iterator[Event]:
    signal = grads[node]
    if not signal and node._primitive is not None:
        yield Event("nothing", node, node, 0, signal, 0.0, signal, signal)
        return
    for position, target, local in local_derivatives(node):
        before = grads[target]
        if local:
            grads[target] += signal * local
        yield Event("edge", node, target, position, signal, local, before, grads[target])


def error_signals(value: Value, seed: float = 1.0) -> dict[Value, float]:
    """Return what `value.backward(seed)` would add to each `grad`, without touching any.

    >>> x = Value(3.0)
    >>> error_signals(x * x)[x], x.grad
    (6.0, 0.0)
    """
    signals = dict.fromkeys(toposort(value), 0.0)
    for event in replay(value, seed):
        signals[event.target] = event.after
    return signals
