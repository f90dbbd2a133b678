"""Table 8: what a gradient costs, relative to the function alone."""

import ast
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import autodiff
import nn
from benchmarks.harness import Column, Contestant, Job, Settings, main, markdown, measure, significant, table
from benchmarks.rosenbrock import rosenbrock, start
from benchmarks.two_moons import Task, flattened, loss_of, model

ALONE, BOTH = "function alone", "value and gradient"
ROSENBROCKS = (10, 100, 1000)
BATCH = 100
EXAMPLE = ([0.5, -0.25], -1.0)


def network_loss(parameters: Sequence[Any]) -> Any:
    """Compute the network's loss for one example, as a function of its 337 parameters."""
    return loss_of(parameters, *EXAMPLE)


# ---- time


def of_arguments(f: Callable[..., Any], x: Sequence[float]) -> list[Contestant]:
    """Enter a function of a list, alone and with its gradient by the list."""
    pair = autodiff.value_and_grad(f)
    return [
        Contestant(ALONE, lambda: Job(partial(autodiff.compile(f), x))),
        Contestant(BOTH, lambda: with_value(partial(autodiff.compile(pair), x))),
        Contestant(f"{BOTH}, eager", lambda: with_value(partial(pair, x))),
    ]


def with_value(run: Callable[[], tuple[float, Any]]) -> Job:
    """Compare the value only: the other contestant has no gradient."""
    return Job(run, lambda: run()[0])


def of_parameters(loss: Callable[..., Any], x: Any, y: Any) -> list[Contestant]:
    """Enter a network's loss, alone and with the gradient by the parameters that it closes over."""
    fast = autodiff.compile(loss)

    def both() -> float:
        found = loss(x, y)
        found.backward()
        value: float = found.data
        return value

    return [
        Contestant(ALONE, lambda: Job(partial(fast, x, y))),
        Contestant(BOTH, lambda: Job(partial(fast.backward, x, y))),
        Contestant(f"{BOTH}, eager", lambda: Job(both)),
    ]


def columns(settings: Settings) -> Iterator[Column]:
    """Measure all workloads."""
    for size in ROSENBROCKS:
        yield measure(f"Rosenbrock, n = {size}", of_arguments(rosenbrock, start(size)), settings)
    parameters = flattened(Task(1).layers)
    yield measure("network, parameters as arguments", of_arguments(network_loss, parameters), settings)
    network, task = model(), Task(BATCH)

    def loss(x: Sequence[Any], y: Any) -> Any:
        return nn.hinge(network(x), y)

    mean_loss = autodiff.batch_mean(loss)
    yield measure("network, one example", of_parameters(loss, *EXAMPLE), settings)
    yield measure(f"network, {BATCH} at a time", of_parameters(mean_loss, task.rows, task.targets), settings)


# ---- operations


def operations(source: str) -> Counter[str]:
    """Count the arithmetic in Python source."""
    names: dict[type, str] = {ast.Mult: "products", ast.Add: "sums", ast.Sub: "sums"}
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.BinOp | ast.AugAssign)]
    return Counter(names.get(type(node.op), "others") for node in nodes)


def counted(name: str, f: Callable[..., Any], x: Sequence[float]) -> list[str]:
    """Count products and sums in the function alone and in what the gradient adds: a row."""
    sources = []
    for function in (f, autodiff.value_and_grad(f)):
        fast = autodiff.compile(function)
        fast(x)
        sources.append(operations(fast.source))
    alone, both = sources
    row = [name]
    for kind in ("products", "sums"):
        more = both[kind] - alone[kind]
        row += [f"{alone[kind]:,}", f"{more:,}", f"{significant(more / max(alone[kind], 1))}x"]
    return row


def tables(settings: Settings) -> Iterator[str]:
    """Measure time, then count operations."""
    yield table(list(columns(settings)), baseline=ALONE)
    header = ["generated code", "products forward", "backward", "ratio", "sums forward", "backward", "ratio"]
    rosenbrocks = counted("Rosenbrock, n = 10", rosenbrock, start(10))
    yield markdown(header, [rosenbrocks, counted("network", network_loss, flattened(Task(1).layers))])


TEXT = """
Compiled value and gradient beside the compiled function alone. The rule of thumb of the lectures, that the backward
pass costs about two forward passes, counts multiplications: a weight takes one forward (w x) and two backward (one for
the derivative by w, one for that by x; the first layer, whose x is data, saves the latter). So the gradient costs
about three times the function. What is counted is the generated code as it stands; code behind an error signal of 0 (a
dead ReLU) is skipped when it runs. The last columns close over the network's parameters and use `backward`.
"""

if __name__ == "__main__":
    main("8. What a gradient costs", TEXT, tables)
