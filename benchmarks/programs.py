"""Programs of any size: a wide graph and a deep one."""

from collections.abc import Callable, Sequence
from typing import Any

from autodiff import Value, toposort
from benchmarks.rosenbrock import rosenbrock, start

Program = Callable[[Sequence[Any]], Any]


def chain(steps: int) -> Program:
    """Return a program of two operations a step, each using the one before: Horner's rule.

    At a = 1 neither its value nor its derivatives fade away or explode, however long it gets.
    """

    def program(x: Sequence[Any]) -> Any:
        y, a, b = x
        for _ in range(steps):
            y = y * a + b
        return y

    return program


def sized(nodes: int) -> dict[str, tuple[Program, list[float]]]:
    """Return both programs, with their arguments, in about so many operations."""
    return {
        "chain": (chain(nodes // 2), [0.5, 1.0, 0.25]),
        "Rosenbrock": (rosenbrock, start(max(2, round(nodes / 8) + 1))),
    }


def count(program: Program, x: Sequence[float]) -> int:
    """Count the operations: the nodes of the graph that are no leaves."""
    return sum(node.primitive is not None for node in toposort(program([Value(number) for number in x])))
