"""Table 9: time and memory from a hundred to a million operations."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import autodiff
from autodiff import Value
from benchmarks import engines
from benchmarks.harness import EAGER, Contestant, Job, Settings, main, markdown, measure, significant, table
from benchmarks.plots import Curve, draw
from benchmarks.programs import Program, count, sized
from benchmarks.rosenbrock import rosenbrock, start

NODES = (100, 1_000, 10_000, 100_000, 1_000_000)
COMPILED_UP_TO = 100_000
MICROGRAD_UP_TO = 100_000
QUICK_UP_TO = 1_000
SIDE_BY_SIDE = 300


# ---- time


def eager(program: Program, x: Sequence[float]) -> Job:
    """Build the graph, sweep it, drop it."""

    def run() -> tuple[float, list[float]]:
        inputs = [Value(number) for number in x]
        output = program(inputs)
        output.backward()
        return output.data, [node.grad for node in inputs]

    return Job(run)


def uncollected(program: Program, x: Sequence[float]) -> Job:
    """Do so while the garbage collector, which has nothing to find in a graph, is off."""
    build_and_sweep = eager(program, x).run

    def run() -> Any:
        gc.disable()
        try:
            return build_and_sweep()
        finally:
            gc.enable()

    return Job(run)


def compiled(program: Program, x: Sequence[float]) -> Job:
    """Call the compiled value and gradient."""
    fast = autodiff.compile(autodiff.value_and_grad(program))
    fast(x)
    return Job(partial(fast, x))


KINDS: dict[str, tuple[Callable[[Program, Sequence[float]], Job], int]] = {
    "eager": (eager, NODES[-1]),
    "eager, collector off": (uncollected, NODES[-1]),
    "compiled": (compiled, COMPILED_UP_TO),
}


def time_a_node(name: str, setup: Callable[..., Job], up_to: int, settings: Settings) -> Curve:
    """Measure one program in all sizes, taken in turn: microseconds an operation."""
    programs = {nodes: sized(nodes)[name] for nodes in NODES if nodes <= up_to}
    entries = [
        Contestant(str(nodes), partial(unchecked, setup, program, x)) for nodes, (program, x) in programs.items()
    ]
    column = measure(name, entries, settings)
    return [
        (count(*programs[nodes]), column.median(str(nodes)) * 1e6 / count(*programs[nodes]))
        for nodes in programs
        if str(nodes) in column.seconds
    ]


def unchecked(setup: Callable[..., Job], program: Program, x: Sequence[float]) -> Job:
    """Prepare a job whose result is not compared: programs of different size have different ones."""
    return Job(setup(program, x).run, lambda: 0.0)


def times(settings: Settings) -> dict[str, Curve]:
    """Measure all programs."""
    limit = QUICK_UP_TO if settings.quick else NODES[-1]
    settings = replace(settings, slow_rounds=min(3, settings.rounds))
    curves = {
        f"{name}, {kind}": time_a_node(name, setup, min(up_to, limit), settings)
        for kind, (setup, up_to) in KINDS.items()
        for name in sized(100)
    }
    micrograd = time_a_node("Rosenbrock", engines.micrograd_gradient, min(MICROGRAD_UP_TO, limit), settings)
    return curves | ({"Rosenbrock, micrograd": micrograd} if micrograd else {})


# ---- memory


def memory_a_node(name: str, nodes: int) -> tuple[float, float]:
    """Return the bytes an operation that a graph holds, and those at the worst moment of the sweep."""
    program, x = sized(nodes)[name]
    size = count(program, x)
    inputs = [Value(number) for number in x]
    gc.collect()
    tracemalloc.start()
    try:
        output = program(inputs)
        held, _ = tracemalloc.get_traced_memory()
        output.backward()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return held / size, peak / size


def memory(settings: Settings) -> dict[str, Curve]:
    """Measure both programs in all sizes."""
    sizes = [nodes for nodes in NODES if nodes <= (QUICK_UP_TO if settings.quick else NODES[-1])]
    curves: dict[str, Curve] = {}
    for name in sized(100):
        found = [(nodes, *memory_a_node(name, nodes)) for nodes in sizes]
        curves[f"{name}, graph"] = [(nodes, held) for nodes, held, _ in found]
        curves[f"{name}, during the sweep"] = [(nodes, peak) for nodes, _, peak in found]
    return curves


# ---- beside micrograd


def side_by_side(settings: Settings) -> str:
    """Sweep the same graph in both engines."""
    x = start(SIDE_BY_SIDE)
    contestants = [
        Contestant(EAGER, partial(eager, rosenbrock, x)),
        Contestant("micrograd", partial(engines.micrograd_gradient, rosenbrock, x)),
    ]
    return table([measure(f"Rosenbrock, n = {SIDE_BY_SIDE}, eager", contestants, settings)], baseline=EAGER)


# ---- the tables


def by_size(what: str, curves: dict[str, Curve]) -> str:
    """Lay out curves, one row each."""
    longest: Any = max(curves.values(), key=len)
    rows = [
        [name, *(significant(curve[i][1]) if i < len(curve) else "-" for i in range(len(longest)))]
        for name, curve in curves.items()
    ]
    return markdown([what, *(f"{round(nodes):,}" for nodes, _ in longest)], rows)


def tables(settings: Settings) -> Iterator[str]:
    """Measure time, then memory, then beside micrograd."""
    time_curves = times(settings)
    yield by_size("us an operation", time_curves)
    memory_curves = memory(settings)
    yield by_size("bytes an operation", memory_curves)
    yield side_by_side(settings)
    if settings.plots:
        path = settings.plots / "growth_time.svg"
        yield draw(path, "Value and gradient", "operations", "microseconds an operation", time_curves, decades=True)
        path = settings.plots / "growth_memory.svg"
        yield draw(path, "Memory of a graph", "operations", "bytes an operation", memory_curves)


TEXT = """
Value and gradient of a deep program (a chain `y = y a + b`) and a wide one (Rosenbrock's function), by the number of
operations. "Eager" builds the graph, sweeps it and drops it; what grows there is the share of Python's garbage
collector, which goes over all nodes again and again while they become more, so the same is shown without it
(`gc.disable()`). "Compiled" calls the compiled function, whose first call is not counted here. Memory is Python's own
count (tracemalloc), in a run of its own. micrograd's recursion limit was raised; it makes more nodes for the same
function, and its time is divided by the number of ours.
"""

if __name__ == "__main__":
    main("9. Growth", TEXT, tables)
