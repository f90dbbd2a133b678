"""Table 12: the backends, NumPy for many points and Numba for machine code."""

import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from random import Random
from typing import Any

import autodiff
import nn
from benchmarks import two_moons
from benchmarks.harness import OURS, Contestant, Job, Settings, main, markdown, measure, significant, table

ON_ARRAYS = "chainrule, NumPy backend"
NATIVE = "chainrule, Numba backend"
POINTS = (100, 10_000, 1_000_000)
BATCHES = (1, 100, 1000)
POINT_BY_POINT_UP_TO = 10_000
FRAMEWORKS = ("PyTorch", "PyTorch, one tensor", "JAX jit", "JAX jit, packed")


# ---- many points


def surface(x: Any, y: Any) -> Any:
    """Compute a function of ten operations."""
    square = y * y
    return (x * y + autodiff.sin(x)) * autodiff.exp(-square) - x / (1.0 + square)


def by_hand(x: Any, y: Any) -> tuple[Any, Any, Any]:
    """Write its value and both derivatives down for arrays, every common part once."""
    import numpy as np

    square = y * y
    bell, below = np.exp(-square), 1.0 / (1.0 + square)
    wave = (x * y + np.sin(x)) * bell
    share = x * below
    return wave - share, (y + np.cos(x)) * bell - below, x * bell - 2.0 * y * (wave - share * below)


def fields(count: int) -> list[Contestant]:
    """Enter the gradient of the function at so many points; a thousandth of them is compared."""
    both = autodiff.value_and_grad(surface, argnums=(0, 1))
    rng = Random(0)
    flat = [rng.uniform(-2.0, 2.0) for _ in range(2 * count)]
    step = max(1, count // 1000)

    def on_arrays(make: Callable[[], Callable[[Any, Any], Any]]) -> Job:
        import numpy as np

        f, x, y = make(), np.array(flat[:count]), np.array(flat[count:])
        return Job(lambda: f(x, y), lambda: in_order(f(x[::step], y[::step])))

    def point_by_point() -> Job:
        f, pairs = autodiff.compile(both), list(zip(flat[:count], flat[count:], strict=True))
        return Job(lambda: [f(x, y) for x, y in pairs], lambda: columns([f(x, y) for x, y in pairs[::step]]))

    entries = [
        Contestant(ON_ARRAYS, partial(on_arrays, lambda: autodiff.compile(both, backend="numpy"))),
        Contestant("NumPy by hand", partial(on_arrays, lambda: by_hand)),
    ]
    if count <= POINT_BY_POINT_UP_TO:
        entries.append(Contestant(f"{OURS}, one by one", point_by_point))
    return entries


def in_order(result: Any) -> list[Any]:
    """Arrange value and derivatives, nested or not, one after the other."""
    return [result[0], *result[1]] if len(result) == 2 else list(result)


def columns(rows: list[Any]) -> list[list[float]]:
    """Arrange the results of many calls as those of one on arrays."""
    return [list(column) for column in zip(*([value, *slopes] for value, slopes in rows), strict=True)]


# ---- machine code


@cache
def network_loss() -> tuple[Callable[..., Any], float]:
    """Translate the mean loss of the two-moons network once, and say how many seconds the first call took."""
    import numpy as np

    network = two_moons.model()
    parameters = network.parameters()
    mean_loss = autodiff.batch_mean(lambda x, y: nn.hinge(network(x), y))
    loss = autodiff.compile(mean_loss, backend="numba").as_function_of(parameters)
    array = np.array([p.data for p in parameters])
    task = two_moons.Task(10)
    start = time.perf_counter()
    loss(array, np.array(task.rows), np.array(task.targets))
    return loss, time.perf_counter() - start


def with_numba(task: two_moons.Task, rate: float) -> tuple[two_moons.Step, Callable[[], Any]]:
    """Keep the parameters in one array; loss and gradient are one call, and the update is NumPy's."""
    import numpy as np

    loss, _ = network_loss()
    x, y = np.array(task.rows), np.array(task.targets)
    array = np.array([p.data for p in two_moons.model().parameters()])

    def step() -> float:
        value, slopes = loss(array, x, y)
        total = float(value + two_moons.ALPHA * (array @ array))
        slopes += (2.0 * two_moons.ALPHA) * array
        slopes *= rate
        array[:] -= slopes
        return total

    return step, lambda: array


def steps(batch: int) -> list[Contestant]:
    """Enter the engines that train on whole batches."""
    task = two_moons.Task(batch)
    ours = Contestant(NATIVE, lambda: two_moons.job(with_numba, task))
    others = [c for c in two_moons.contestants(batch) if c.name in (OURS, "NumPy by hand", *FRAMEWORKS)]
    return [ours, *others]


def first_calls() -> str:
    """Measure what machine code costs before the first result; Numba itself is loaded and warm."""
    autodiff.compile(lambda x: x * x, backend="numba")(1.0)
    rows = [["network 2-16-16-1, forward and backward", significant(network_loss()[1])]]
    both = autodiff.value_and_grad(surface, argnums=(0, 1))
    for title, options in (
        ("the function of ten operations, by Numba", {"backend": "numba"}),
        ("the same in Python", {}),
    ):
        start = time.perf_counter()
        autodiff.compile(both, **options)(0.5, 0.25)  # type: ignore[call-overload]
        rows.append([title, significant(time.perf_counter() - start)])
    return markdown(["first call", "seconds"], rows)


def tables(settings: Settings) -> Iterator[str]:
    """Measure fields, steps and first calls."""
    points = POINTS[:-1] if settings.quick else POINTS
    yield table([measure(f"{n:,} points", fields(n), settings) for n in points], ON_ARRAYS)
    batches = BATCHES[:-1] if settings.quick else BATCHES
    yield table([measure(two_moons.title(n), steps(n), settings) for n in batches], NATIVE)
    try:
        yield first_calls()
    except ModuleNotFoundError as error:
        yield f"Left out: first calls ({error.name} is not installed)."


TEXT = """
Above: value and both derivatives of a function of ten operations at many points at once. "By hand" is the formula in
NumPy with every common part written once. Both go through the same operations; ours takes some thousand points at a
time through all of them, so that they stay in the processor's cache.

Below: the training step of table 5, the loop over the examples being machine code, with the parameters in one array
(`as_function_of`). The last table is what that costs before the first result.
"""

if __name__ == "__main__":
    main("12. Backends", TEXT, tables)
