"""Batches spread over workers: the same floats for any number of them, and nothing lost with a worker."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import autodiff as ad
from autodiff import Primitive, Value, batch_mean, batch_sum, compile, exporting

# Other tests leave threads behind, and from 3.12 on Python warns of forking then.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

XS = [0.1 * i - 1.0 for i in range(40)]
YS = [x * x for x in XS]


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with ProcessPoolExecutor(2) as executor:
        yield executor


class Counting(Executor):
    """Computes at once, and counts."""

    def __init__(self) -> None:
        self.parts: list[int] = []
        self.code: list[bool] = []  # whether it came along

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.parts.append(len(args[3][0]))
        self.code.append(args[1] is not None)
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001
            future.set_exception(error)
        return future


def network() -> tuple[list[Value], Any]:
    w = [Value(0.3 * i - 0.5, f"w{i}") for i in range(4)]
    return w, lambda x, y: (ad.relu(w[0] * x + w[1]) * w[2] + w[3] - y) ** 2


def gradient(f: Any, leaves: list[Value], *columns: Any) -> tuple[float, list[float]]:
    for leaf in leaves:
        leaf.grad = 0.0
    value = f.backward(*columns)
    return value, [leaf.grad for leaf in leaves]


@pytest.mark.parametrize("batch", [batch_sum, batch_mean])
def test_processes_give_the_same_floats_as_one_process(pool: Executor, batch: Any) -> None:
    w, f = network()
    spread, here = compile(batch(f, executor=pool)), compile(batch(f, executor=Counting()))
    serial = compile(batch(f))
    for _ in range(3):
        found = gradient(spread, w, XS, YS)
        assert found == gradient(here, w, XS, YS)
        value, grads = gradient(serial, w, XS, YS)
        assert found[0] == pytest.approx(value, rel=1e-14)
        assert found[1] == pytest.approx(grads, rel=1e-13)
        assert spread(XS, YS) == here(XS, YS) == pytest.approx(serial(XS, YS), rel=1e-14)
        ad.descend(w, 0.01)  # the workers must get the new numbers


@pytest.mark.parametrize("way", ["pickled", "saved"])
def test_the_code_for_parts_is_not_given_away_as_that_for_batches(way: str, tmp_path: Path) -> None:
    """It returns sums, and those of derivatives."""
    fast = compile(batch_mean(network()[1], executor=Counting()))
    fast(XS, YS)
    with pytest.raises(TypeError, match=rf"cannot be {way} with its executor: compile batch_mean\(f\) without one"):
        pickle.dumps(fast) if way == "pickled" else fast.save(tmp_path / "saved.py")
    assert list(tmp_path.iterdir()) == []


def test_parts_do_not_depend_on_workers() -> None:
    executor = Counting()
    fast = compile(batch_sum(network()[1], executor=executor, chunks=3))
    fast.backward(XS, YS)
    assert executor.parts == [14, 14, 12]
    fast.backward(XS[:2], YS[:2])
    assert executor.parts[3:] == [1, 1]


def test_a_way_that_no_worker_knows_is_learned_here() -> None:
    w = Value(3.0)
    executor = Counting()
    f = lambda x: w * x if x > 0.0 else -x / w  # noqa: E731
    fast, eager = compile(batch_sum(f, executor=executor, chunks=2)), batch_sum(f)
    for xs in ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, -3.0, 4.0], [-1.0, 2.0, 3.0, -4.0]):
        value, (grad,) = gradient(fast, [w], xs)
        w.grad = 0.0
        loss = eager(xs)
        loss.backward()
        assert (value, grad) == pytest.approx((loss.data, w.grad), rel=1e-15)


def test_code_travels_once(monkeypatch: pytest.MonkeyPatch) -> None:
    w, f = network()
    executor = Counting()
    fast = compile(batch_sum(f, executor=executor, chunks=2))
    expected = gradient(fast, w, XS, YS)
    assert gradient(fast, w, XS, YS) == expected
    assert executor.code == [True, True, False, False]
    monkeypatch.setattr(exporting, "_library", exporting._Library())  # a new worker, that knows nothing
    assert gradient(fast, w, XS, YS) == expected
    assert executor.code[4:] == [False, False, True, True]
    assert len(exporting._library.known) == 1


def test_a_worker_keeps_the_last_few_functions() -> None:
    library = exporting._Library(size=2)
    functions = [compile(lambda x, c=c: c * x) for c in (1.0, 2.0, 3.0)]
    assert [fast(1.0) for fast in functions] == [1.0, 2.0, 3.0]
    for i, fast in enumerate(functions):
        library.find(str(i), pickle.dumps(fast))
    assert library.find("0", None) is None
    assert library.find("1", None)(5.0) == 10.0
    library.find("3", pickle.dumps(functions[0]))
    assert set(library.known) == {"1", "3"}


def test_examples_of_every_kind_and_mixture() -> None:
    w = Value(3.0)
    f = lambda x: w * x if isinstance(x, float | int) or hasattr(x, "backward") else w * x[0] * x[1]  # noqa: E731
    fast, eager = compile(batch_sum(f, executor=Counting(), chunks=2)), batch_sum(f)
    x = Value(7.0)
    for xs in ([1.0, 2.0], [[1.0, 2.0]], (1.0, 2.0, 3.0), [1, 2.0], [1.0, [2.0, 5.0], 2.0], [1.0, 2.0], [x, 1.0]):
        w.grad = 0.0
        value = fast.backward(xs)
        found, w.grad = w.grad, 0.0
        loss = eager(xs)
        loss.backward()
        assert (value, found) == (loss.data, w.grad)
    assert x.grad == 6.0
    for wrong in ([], 3.0):
        with pytest.raises((TypeError, ValueError)):
            fast.backward(wrong)


def test_gradients_add_up() -> None:
    w = Value(3.0)
    fast = compile(batch_mean(lambda x: w * x, executor=Counting()))
    assert fast.backward([1.0, 2.0, 6.0]) == 9.0
    assert fast.backward([1.0, 2.0, 6.0]) == 9.0
    assert w.grad == 6.0


def test_errors_are_those_of_the_function() -> None:
    w = Value(1.0, "w")
    fast = compile(batch_sum(lambda x: ad.log(w * x), executor=Counting()))
    fast.backward([1.0, 2.0])
    w.grad = 0.0
    with pytest.raises(ValueError, match="log"):
        fast.backward([1.0, -2.0])
    assert w.grad == 0.0


def test_an_infinite_product_is_computed_with_care() -> None:
    w = Value(0.0)
    f = lambda x: ad.sqrt(ad.relu(w)) * x  # noqa: E731
    fast = compile(batch_sum(f, executor=Counting()))
    assert gradient(fast, [w], [1.0, 2.0]) == (0.0, [0.0])


def test_functions_that_run_as_they_are_do_so_here() -> None:
    w = Value(2.0)
    inside = w * 3.0
    fast = compile(batch_sum(lambda x: inside * x, executor=Counting()))
    assert fast.backward([1.0, 2.0]) == 18.0
    assert w.grad == 9.0


def _die(*args: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly(ProcessPoolExecutor):
    """Kills the worker that gets the second part."""

    submitted = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted += 1
        return super().submit(_die if self.submitted == 2 else fn, *args, **kwargs)


def test_nothing_is_lost_with_a_killed_worker() -> None:
    w, f = network()
    expected = gradient(compile(batch_sum(f, executor=Counting())), w, XS, YS)
    with Deadly(2) as executor:
        fast = compile(batch_sum(f, executor=executor))
        for _ in range(2):  # the second time, the executor takes nothing any more
            with pytest.warns(RuntimeWarning, match="computed here instead"):
                assert gradient(fast, w, XS, YS) == expected


def test_loky_spreads_batches() -> None:
    loky = pytest.importorskip("loky")
    w, f = network()
    expected = gradient(compile(batch_sum(f, executor=Counting())), w, XS, YS)
    executor = loky.get_reusable_executor(max_workers=2)
    try:
        assert gradient(compile(batch_sum(f, executor=executor)), w, XS, YS) == expected
    finally:
        executor.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # what Dask and its parts deprecate is their affair
def test_dask_spreads_batches() -> None:
    distributed = pytest.importorskip("distributed")
    w, f = network()
    expected = gradient(compile(batch_sum(f, executor=Counting())), w, XS, YS)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert gradient(compile(batch_sum(f, executor=client.get_executor())), w, XS, YS) == expected


MPI = """
from mpi4py.futures import MPIPoolExecutor
from autodiff import compile
from tests.autodiff.test_executors import XS, YS, Counting, batch_sum, gradient, network

if __name__ == "__main__":
    w, f = network()
    expected = gradient(compile(batch_sum(f, executor=Counting())), w, XS, YS)
    with MPIPoolExecutor() as executor:
        assert gradient(compile(batch_sum(f, executor=executor)), w, XS, YS) == expected
    print("the same floats")
"""


@pytest.mark.slow
def test_mpi_spreads_batches(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    launcher = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if launcher is None:
        pytest.skip("there is no mpiexec: pip install mpich, say")
    (tmp_path / "spread.py").write_text(MPI)
    command = [launcher, "-n", "3", sys.executable, "-m", "mpi4py.futures", str(tmp_path / "spread.py")]
    root = Path(__file__).parents[2]
    shown = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert "the same floats" in shown.stdout, shown.stderr


def test_threads_share_the_code() -> None:
    w, f = network()
    expected = gradient(compile(batch_sum(f, executor=Counting())), w, XS, YS)
    with ThreadPoolExecutor(4) as executor:
        fast = compile(batch_sum(f, executor=executor))
        for _ in range(20):
            assert gradient(fast, w, XS, YS) == expected


def structured() -> tuple[list[Value], Any]:
    """Make a function with other parameters for each structure of the examples."""
    w = [Value(2.0, "w0"), Value(3.0, "w1")]
    return w, lambda x: w[0] * x[0] if len(x) == 1 else w[1] * x[0] * x[1]


def test_two_structures_in_turn_are_sent_once_each() -> None:
    w, f = structured()
    executor = Counting()
    fast = compile(batch_sum(f, executor=executor, chunks=1))
    for _ in range(3):
        assert gradient(fast, w, [[1.0], [2.0]]) == (6.0, [3.0, 0.0])
        assert gradient(fast, w, [[1.0, 2.0]]) == (6.0, [0.0, 2.0])
    assert executor.code.count(True) == 2


class Interrupting(Counting):
    """Lets another thread do something while the first part is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[Any] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        plain = future.result

        def result(timeout: float | None = None) -> Any:
            if self.meanwhile:
                thread = threading.Thread(target=self.meanwhile.pop())
                thread.start()
                thread.join(60.0)
            return plain(timeout)

        future.result = result  # type: ignore[method-assign]
        return future


def test_batches_of_two_structures_at_once() -> None:
    """What comes back belongs to the Values that this batch was sent with, whatever was sent since."""
    w, f = structured()
    executor = Interrupting()
    fast = compile(batch_sum(f, executor=executor, chunks=2))
    expected = gradient(fast, w, [[1.0], [5.0]])
    executor.meanwhile = [lambda: fast.backward([[1.0, 7.0], [2.0, 3.0]])]
    value, grads = gradient(fast, w, [[1.0], [5.0]])
    assert (value, grads) == (expected[0], [6.0, 13.0])


def test_a_way_that_another_thread_learns_meanwhile() -> None:
    """The sums of a part that was computed before it pair with the Values known then."""
    u, v = Value(2.0, "u"), Value(3.0, "v")
    executor = Interrupting()
    fast = compile(batch_sum(lambda x: u * x if x > 0.0 else u * v * x, executor=executor, chunks=2))
    fast.backward([1.0, 2.0])
    u.grad = v.grad = 0.0
    executor.meanwhile = [lambda: fast.backward([-1.0, -2.0])]
    assert fast.backward([1.0, 5.0]) == 12.0
    assert (u.grad, v.grad) == (6.0 - 9.0, -6.0)


class OwnError(Exception):
    pass


def twice(x: float) -> float:
    if x < 0.0:
        raise OwnError
    return 2.0 * x


def test_an_own_primitive_that_raises_in_a_worker(pool: Executor) -> None:
    """It is no failure of the executor, of which there would be a warning."""
    own, w = Primitive("twice", twice, "", 2.0), Value(3.0, "w")

    def f(x: Any) -> Any:
        try:
            return own(x) * w
        except OwnError:
            return -x * w

    for executor in (pool, Counting()):
        fast = compile(batch_sum(f, executor=executor))
        assert [fast([1.0, 2.0]), fast([1.0, -2.0]), fast([1.0, 2.0])] == [18.0, 12.0, 18.0]
        assert gradient(compile(batch_sum(f, executor=executor)), [w], [1.0, 2.0]) == (18.0, [6.0])
        uncaught = compile(batch_sum(lambda x: own(x) * w, executor=executor))
        assert uncaught([1.0, 2.0]) == 18.0
        with pytest.raises(OwnError):
            uncaught([1.0, -2.0])


def test_examples_of_another_kind_for_an_own_primitive() -> None:
    own = Primitive("twice", twice, "", 2.0)
    fast = compile(batch_sum(lambda x: own(x[0] if isinstance(x, list) else x), executor=Counting()))
    for _ in range(2):
        assert [fast([1.0, 2.0]), fast([[1.0], [2.0]])] == [6.0, 6.0]
    assert len(fast.specialisations) == 2


def test_what_is_no_executor_is_refused() -> None:
    with pytest.raises(TypeError, match=r"batch_mean takes an executor .* not 2"):
        batch_mean(lambda x: x, executor=2)
    with pytest.raises(ValueError, match="at least one chunk, not 0"):
        batch_sum(lambda x: x, chunks=0)
