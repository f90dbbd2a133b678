"""Graphs of millions of nodes: time and memory for each node, forward and backward, and whether they stay the same.

    python -m tests.endurance                       # a chain of 10,000,000 nodes, and others: minutes, gigabytes
    python -m tests.endurance --nodes 1000000

Each shape is built at a tenth of the size and at full size, in processes of their own, so that the peak of one does
not hide that of another. Memory for each node must be the same for both, within a quarter: if it is not, or a gradient
is wrong, the program ends with status 1. Times are there to be looked at: what else the machine does is in them.
"""

import argparse
import gc
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import autodiff as ad
from autodiff import Value

MOST_GROWTH = 1.25  # in memory for each node, from a tenth of the size to the full size


@dataclass(frozen=True)
class Cost:
    """What one graph cost: seconds, and the most memory that was held, in bytes."""

    nodes: int
    forward: float
    backward: float
    freeing: float
    forward_bytes: int
    peak_bytes: int
    right: bool

    def line(self, shape: str) -> str:
        """Give one row of the table, for each node: microseconds and bytes."""
        times = "".join(f"{seconds / self.nodes * 1e6:9.3f}" for seconds in (self.forward, self.backward, self.freeing))
        bytes_each = "".join(f"{size / self.nodes:9.0f}" for size in (self.forward_bytes, self.peak_bytes))
        seconds = self.forward + self.backward + self.freeing
        return f"{shape:10}{self.nodes:12,}{seconds:9.1f}{times}{bytes_each}  {'right' if self.right else 'WRONG'}"


HEADER = f"{'shape':10}{'nodes':>12}{'seconds':>9}{'forward':>9}{'backward':>9}{'freeing':>9}{'bytes':>9}{'at most':>9}"


# ---- shapes: each builds a graph of about n nodes on one leaf, and says what its derivative there is


def chain(n: int, x: Value) -> tuple[Value, float]:
    """One node after another."""
    y = x
    for _ in range(n):
        y = y + 1.0
    return y, 1.0


def products(n: int, x: Value) -> tuple[Value, float]:
    """A chain in which every node has two parents, one of them the leaf."""
    y = x
    for _ in range(n):
        y = y * x
    return y, float(n + 1)  # x is 1


def terms(n: int, x: Value) -> tuple[Value, float]:
    """One sum of n squares."""
    return ad.sum([x * x for _ in range(n)]), 2.0 * n


def diamonds(n: int, x: Value) -> tuple[Value, float]:
    """n / 3 diamonds in a row: 2^(n/3) paths."""
    y = x
    for _ in range(n // 3):
        y = y * 0.25 + y * 0.75
    return y, 1.0


def neurons(n: int, x: Value) -> tuple[Value, float]:
    """n / 2 recurrent steps: an affine node and an activation each."""
    y = x
    for _ in range(n // 2):
        y = ad.relu(ad.affine([x, 0.5], [1.0, y], 0.0))
    return y, 2.0


SHAPES: dict[str, Callable[[int, Value], tuple[Value, float]]] = {
    f.__name__: f for f in (chain, products, terms, diamonds, neurons)
}


def peak() -> int:
    """Give the most memory this process has held so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts what the parent held, in what getrusage says
        (high_water,) = [line for line in status.read_text("ascii").splitlines() if line.startswith("VmHWM")]
        return int(high_water.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def measure(shape: str, n: int) -> Cost:
    """Build a graph, carry error signals through it and free it, in a process that did nothing else before."""
    gc.disable()  # there are no cycles to look for, and looking for them is not linear
    x = Value(1.0)
    before, start = peak(), time.perf_counter()
    y, slope = SHAPES[shape](n, x)
    built, forward_peak = time.perf_counter(), peak()
    y.backward()
    swept, backward_peak = time.perf_counter(), peak()
    right = abs(x.grad - slope) <= 1e-9 * abs(slope)
    del y
    freed = time.perf_counter()
    return Cost(
        nodes=n,
        forward=built - start,
        backward=swept - built,
        freeing=freed - swept,
        forward_bytes=forward_peak - before,
        peak_bytes=backward_peak - before,
        right=right,
    )


def alone(shape: str, n: int) -> Cost:
    """Measure in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, shape, n).result()


def growth(small: Cost, large: Cost) -> list[str]:
    """Say what is wrong with the cost of the larger graph."""
    wrong = [] if small.right and large.right else ["a wrong derivative"]
    for what in ("forward_bytes", "peak_bytes"):
        ratio = getattr(large, what) / large.nodes / (getattr(small, what) / small.nodes)
        if ratio > MOST_GROWTH:
            wrong.append(f"{what} for each node grew {ratio:.2f} times")
    return wrong


def main(arguments: list[str] | None = None, write: Callable[[str], Any] = sys.stdout.write) -> int:
    """Measure all shapes, and say whether their cost is linear."""
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000_000, help="nodes of the largest graph of each shape")
    parser.add_argument("--shapes", nargs="*", choices=SHAPES, default=list(SHAPES), help="which shapes")
    given = parser.parse_args(arguments)
    write(f"CPython {sys.version.split()[0]}; microseconds and bytes for each node\n{HEADER}\n")
    failures = 0
    for shape in given.shapes:
        small, large = alone(shape, given.nodes // 10), alone(shape, given.nodes)
        write(f"{small.line(shape)}\n{large.line(shape)}\n")
        for problem in growth(small, large):
            failures += 1
            write(f"{shape}: {problem}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
