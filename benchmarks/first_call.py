"""Table 7: what the first call costs, where a function is traced, printed and compiled."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import autodiff
from benchmarks import engines
from benchmarks.harness import OURS, Contestant, Job, Settings, clean_heap, main, markdown, measure, significant, table
from benchmarks.plots import Curve, draw
from benchmarks.programs import count, sized
from benchmarks.rosenbrock import jax_pair, rosenbrock, start

NODES = (100, 1_000, 10_000, 100_000, 200_000)
COMPILED_UP_TO = 200_000  # or the next size above: a gradient is about three times as many operations
SIZES = (10, 100)
ENOUGH = 2.0  # seconds: a first call that takes longer is made once


# ---- beside other compilers


def ours(x: list[float]) -> Job:
    """Compile and call."""
    return Job(lambda: autodiff.compile(autodiff.value_and_grad(rosenbrock))(x))


def with_jax(x: list[float]) -> Job:
    """Compile and call, on whole arrays; a new lambda, or JAX would remember."""
    engines.jax()
    return Job(lambda: engines.jax_call(lambda array: jax_pair(array), x).run())


def with_casadi(x: list[float]) -> Job:
    """Build the function's graph and call it: CasADi interprets, there is nothing to compile."""
    engines.casadi_gradient(lambda x, _: rosenbrock(x), 2)
    return Job(lambda: engines.casadi_call(engines.casadi_gradient(lambda x, _: rosenbrock(x), len(x)), x).run())


def contestants(size: int) -> list[Contestant]:
    """Enter the engines that prepare a function before the first call."""
    x = start(size)
    return [
        Contestant(OURS, partial(ours, x)),
        Contestant("JAX jit", partial(with_jax, x)),
        Contestant("CasADi", partial(with_casadi, x)),
    ]


# ---- by size


def first_call(make: Callable[[], Any], x: Sequence[float], rounds: int) -> tuple[float, int]:
    """Return the median seconds of first calls of new functions, and the number of operations compiled."""
    times: list[float] = []
    with clean_heap():
        while len(times) < rounds and sum(times) < ENOUGH:
            fast = make()
            gc.collect()
            begin = time.perf_counter()
            fast(x)
            times.append(time.perf_counter() - begin)
    return statistics.median(times), sum(entry.nodes for entry in fast.specialisations)


Row = tuple[str, int, int, float]  # name, operations of the function, operations compiled, seconds


def by_size(settings: Settings) -> Iterator[Row]:
    """Measure programs of all sizes, alone and with their gradient."""
    for name in sized(100):
        for kind in ("function alone", "value and gradient"):
            compiled = 0
            for nodes in NODES[:3] if settings.quick else NODES:
                if compiled >= COMPILED_UP_TO:
                    break
                program, x = sized(nodes)[name]
                f = program if kind == "function alone" else autodiff.value_and_grad(program)
                seconds, compiled = first_call(partial(autodiff.compile, f), x, settings.rounds)
                yield f"{name}, {kind}", count(program, x), compiled, seconds


def figures(row: Row) -> list[str]:
    """Print a row of the table."""
    name, size, compiled, seconds = row
    micro = seconds * 1e6
    return [name, f"{size:,}", f"{compiled:,}", *map(significant, (seconds, micro / size, micro / compiled))]


def curves(rows: Sequence[Row]) -> dict[str, Curve]:
    """Arrange microseconds an operation compiled by program."""
    found: dict[str, list[tuple[float, float]]] = {}
    for name, _, compiled, seconds in rows:
        found.setdefault(name, []).append((compiled, seconds * 1e6 / compiled))
    return dict(found)


def tables(settings: Settings) -> Iterator[str]:
    """Measure beside other engines, then by size."""
    yield table([measure(f"Rosenbrock, n = {size}", contestants(size), settings) for size in SIZES])
    rows = list(by_size(settings))
    header = ["program", "operations", "compiled", "seconds", "us an operation", "us an operation compiled"]
    yield markdown(header, map(figures, rows))
    if settings.plots:
        path = settings.plots / "first_call.svg"
        yield draw(path, "First call", "operations compiled", "microseconds an operation", curves(rows))


TEXT = """
The first call traces the function, prints it as Python and compiles that. First beside the first call of other engines
that prepare a function (value and gradient of Rosenbrock's function; JAX on whole arrays), then by size: "operations"
are the nodes of the function's own graph, "compiled" are those of the graph that was compiled, derivatives included.
The deep program is a chain `y = y a + b`, the wide one Rosenbrock's function.
"""

if __name__ == "__main__":
    main("7. First call", TEXT, tables)
