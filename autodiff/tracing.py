"""Tracing: run a function once on Values, and keep every operation and every question asked on the way.

A question is where a number leaves the graph: a comparison, `bool`, `int`, `round`, `.data`. Its outcome decides
which way the function takes, so the generated code has to ask it again at each call.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from autodiff import primitives as p
from autodiff.trees import leaves, unflatten
from autodiff.value import Value, _mode_with, _restore

__all__: list[str] = []


class Question(NamedTuple):
    """One question: what was asked, of which Values and numbers, and the outcome."""

    kind: str
    operands: tuple[Any, ...]
    outcome: Any


class Trace:
    """One evaluation: its inputs, and in order its new nodes (with whether a transform made them) and questions."""

    def __init__(self, inputs: list[Value]) -> None:
        self.inputs = inputs
        self.nodes: dict[Value, bool] = {}
        self.questions: list[tuple[int, Question]] = []  # with the number of nodes made before
        self.result: Any = None
        self.higher_order = False  # whether derivatives were differentiated again

    def note(self, kind: str, operands: tuple[Any, ...], outcome: Any) -> None:
        """Keep a question."""
        self.questions.append((len(self.nodes), Question(kind, operands, outcome)))

    def differentiate(self, order: list[Value]) -> None:
        """Notice where what is differentiated is a derivative itself."""
        self.higher_order = self.higher_order or any(self.nodes.get(node, False) for node in order)

    def outputs(self) -> list[Any]:
        """List the leaves of the result: Values, and whatever else the function returned."""
        return [y for _, y in leaves(self.result)]

    def value(self) -> Any:
        """Give the result as plain numbers."""
        return unflatten(self.result, [y._data if isinstance(y, Value) else y for y in self.outputs()])


def is_number(x: Any) -> bool:
    """Say whether a leaf of the arguments is traced; everything else is a constant of the trace."""
    return type(x) is float


def trace(f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trace:
    """Evaluate f with Values in the place of the floats among its arguments, and keep what happens."""
    flat = [x for _, x in leaves([args, kwargs])]
    wrapped = [_restore(x, 0.0, "", p.argument, (), ()) if is_number(x) else x for x in flat]
    record = Trace([x for x in wrapped if isinstance(x, Value)])
    new_args, new_kwargs = unflatten([args, kwargs], wrapped)
    with _mode_with(recording=True, deriving=False, logs=(record.nodes,), tracer=record):  # nobody else's nodes
        record.result = f(*new_args, **new_kwargs)
    return record
