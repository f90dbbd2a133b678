"""Table 13: one training step on one core and on two workers, and what travels between processes."""

import pickle
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from random import Random
from typing import Any

import autodiff
import nn
from benchmarks.harness import OURS, Contestant, Job, Settings, main, markdown, measure, significant, table

SIZES = (64, 32, 10)  # the network for handwritten digits
BATCHES = (64, 512)
CHUNKS = (2, 8, 32, 128)
WORKERS = (1, 2)


class Task:
    """A batch of rows and one-hot targets; the numbers do not matter for the time."""

    def __init__(self, batch: int) -> None:
        rng = Random(0)
        self.rows = [[rng.gauss(0.0, 1.0) for _ in range(SIZES[0])] for _ in range(batch)]
        self.targets = [[float(i == rng.randrange(SIZES[-1])) for i in range(SIZES[-1])] for _ in range(batch)]

    def step(self, executor: Executor | None, chunks: int) -> Job:
        """Compute the mean loss and all its derivatives."""
        model = nn.MLP(SIZES[0], list(SIZES[1:]), activation="tanh", initialiser="xavier", rng=Random(1))
        loss = autodiff.batch_mean(lambda x, y: nn.softmax_cross_entropy(model(x), y), executor=executor, chunks=chunks)
        fast = autodiff.compile(loss)
        parameters = model.parameters()

        def result() -> list[float]:
            model.zero_grad()
            return [fast.backward(self.rows, self.targets), *(p.grad for p in parameters)]

        return Job(partial(fast.backward, self.rows, self.targets), result)


def contestants(task: Task, pools: dict[int, Executor], chunks: int) -> list[Contestant]:
    """Enter one process, and pools of workers."""
    found = [Contestant(OURS, partial(task.step, None, 1))]
    for workers, pool in pools.items():
        found.append(Contestant(f"{workers} worker{'s' * (workers > 1)}", partial(task.step, pool, chunks)))
    return found


def bytes_of_a_step(batch: int, chunks: int) -> tuple[int, int]:
    """Count what is sent to the workers in a step and what comes back, when they have the code."""
    sent = received = 0

    class Counting(Executor):
        def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
            nonlocal sent, received
            sent += len(pickle.dumps((function, args)))
            answer = function(*args)
            received += len(pickle.dumps(answer))
            return _Done(answer)

    job = Task(batch).step(Counting(), chunks)
    job.run()
    sent = received = 0
    job.run()
    return sent, received


class _Done:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def result(self) -> Any:
        return self.answer


def tables(settings: Settings) -> Iterator[str]:
    """Measure batches and cuts."""
    with ExitStack() as stack:
        pools: dict[int, Executor] = {n: stack.enter_context(ProcessPoolExecutor(n)) for n in WORKERS}
        yield table([measure(f"batch of {n}", contestants(Task(n), pools, 8), settings) for n in BATCHES])
        columns = [measure(f"{n} parts", contestants(Task(512), pools, n), settings) for n in CHUNKS]
    yield "A batch of 512, cut into more or fewer parts:"
    yield table(columns)
    rows = [
        [f"{batch:,} examples, {chunks} parts", *(significant(n / 1e3) for n in bytes_of_a_step(batch, chunks))]
        for batch, chunks in ((64, 8), (512, 8), (512, 2), (512, 128))
    ]
    yield markdown(["step", "kilobytes out", "kilobytes back"], rows)


TEXT = """
Mean softmax cross-entropy of a network 64-32-10 (2,410 parameters, tanh) and its derivatives by all parameters, in this
process and spread over a `ProcessPoolExecutor` by `batch_mean(..., executor=pool, chunks=8)`. The pools are warm. Parts
are sent with the parameters and come back with the derivatives; the generated code has been sent before.
"""

if __name__ == "__main__":
    main("13. Workers", TEXT, tables)
