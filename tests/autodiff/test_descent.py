"""`fast.descend`: forward, backward and the step of gradient descent in one piece of code."""

import inspect
import pickle
import runpy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import autodiff as ad
from autodiff import Value, batch_mean, batch_sum, compile, no_grad
from tests.programs import bits

Function = Callable[..., Any]
numbers = st.floats(-3.0, 3.0)


@given(numbers, numbers, st.lists(st.tuples(numbers, numbers), min_size=1, max_size=5), st.floats(0.0, 1.0))
def test_a_step_down_a_squared_error(w: float, b: float, examples: list[tuple[float, float]], rate: float) -> None:
    """By hand: the derivatives of (w x + b - y)^2 are 2 (w x + b - y) x and 2 (w x + b - y)."""
    slope, offset = Value(w), Value(b)
    fast = compile(lambda x, y: (slope * x + offset - y) ** 2)
    for x, y in examples:
        error = w * x + b - y
        assert fast.descend(rate, x, y) == error**2
        w, b = w - rate * (2.0 * error * x), b - rate * (2.0 * error)
        assert (slope.data, offset.data) == (w, b)
    assert (slope.grad, offset.grad) == (0.0, 0.0)


@pytest.mark.parametrize("batch", [batch_sum, batch_mean])
def test_a_step_of_a_batch(batch: Function) -> None:
    w = Value(3.0)
    fast = compile(batch(lambda x: w * x * x))
    scale = 3.0 if batch is batch_mean else 1.0
    for before in (3.0, 3.0 - 0.5 * 14.0 / scale):
        assert w.data == before
        assert fast.descend(0.5, [1.0, 2.0, 3.0]) == pytest.approx(before * 14.0 / scale, rel=1e-15)
    assert w.grad == 0.0


@pytest.mark.parametrize("rate", [0.5, 1, np.float32(0.5), np.float64(0.5), np.int64(1)])
@pytest.mark.parametrize("in_batch", [False, True])
def test_a_rate_is_any_number(rate: Any, in_batch: bool) -> None:
    w = Value(3.0)
    f = lambda x: w * x  # noqa: E731
    fast, x = (compile(batch_sum(f)), [2.0]) if in_batch else (compile(f), 2.0)
    for steps in (1, 2, 3):
        assert type(fast.descend(rate, x)) is float
        assert w.data == 3.0 - steps * 2.0 * rate
        assert type(w.data) is float
    assert [s.ways for s in fast.specialisations] == [1]


@pytest.mark.parametrize("in_batch", [False, True])
def test_a_rate_that_is_no_number_is_refused(in_batch: bool) -> None:
    w = Value(3.0)
    f = lambda x: w * x  # noqa: E731
    fast, x = (compile(batch_sum(f)), [2.0]) if in_batch else (compile(f), 2.0)
    for _ in range(2):
        for rate in ("0.1", None, Value(0.1), [0.1]):
            with pytest.raises(TypeError, match="the rate must be a number, not"):
                fast.descend(rate, x)  # type: ignore[arg-type]
        assert w.data == 3.0
        fast.descend(0.0, x)


@pytest.mark.parametrize("in_batch", [False, True])
def test_values_as_arguments_are_refused(in_batch: bool) -> None:
    """They might be meant to move."""
    w = Value(3.0)
    f = lambda x: w * x  # noqa: E731
    fast = compile(batch_sum(f) if in_batch else f)
    for _ in range(2):
        with pytest.raises(TypeError, match=r"takes numbers as arguments: write v\.data"):
            fast.descend(0.1, [Value(2.0)] if in_batch else Value(2.0))
        assert w.data == 3.0
        fast.descend(0.0, [2.0] if in_batch else 2.0)


def test_branches_follow_the_values_as_they_move() -> None:
    w = Value(1.0)
    fast = compile(lambda x: w * x if w > 0.0 else w * w)
    # The slope is 1 where w > 0, and 2 w elsewhere.
    assert [fast.descend(0.75, 1.0) for _ in range(4)] == [1.0, 0.25, 0.25, 0.25]
    assert w.data == -0.5


def test_a_result_that_is_one_of_the_values() -> None:
    w = Value(3.0)
    for fast in (compile(lambda: w), compile(lambda: w, max_ways=0)):
        w.data = 3.0
        assert [fast.descend(0.5) for _ in range(3)] == [3.0, 2.5, 2.0]


def test_an_error_moves_nothing() -> None:
    u, w = Value(1.0), Value(-1.0)
    one, batch = compile(lambda x: u * x + ad.log(w * x)), compile(batch_sum(lambda x: u * x + ad.log(w * x)))
    for fast, good, bad in ((one, -1.0, 1.0), (batch, [-1.0, -1.0], [-1.0, 1.0])):
        for _ in range(2):
            with pytest.raises(ValueError, match="log"):
                fast.descend(0.1, bad)
            assert (u.data, w.data) == (1.0, -1.0)
            fast.descend(0.0, good)


def test_a_step_inside_no_grad_moves() -> None:
    """As transforms do: the derivatives are asked for."""
    w = Value(3.0)
    fast = compile(lambda x: w * x)
    with no_grad():
        assert [fast.descend(1.0, 1.0) for _ in range(3)] == [3.0, 2.0, 1.0]


def test_a_step_inside_a_compiled_function_is_refused() -> None:
    w = Value(3.0)
    fast = compile(lambda x: w * x)
    fast.descend(0.0, 1.0)
    with pytest.raises(RuntimeError, match=r"descend\(\) inside a compiled function"):
        compile(lambda x: x * fast.descend(0.1, 1.0))(2.0)
    assert w.data == 3.0


def test_anomalies_are_found() -> None:
    w = Value(1e300)
    fast = compile(lambda x: w * w * x)
    fast.descend(0.0, 1e-300)
    with ad.anomaly_detection(), pytest.raises(FloatingPointError):
        fast.descend(0.1, 1.0)
    assert w.data == 1e300


def test_parameters_keep_their_names_and_defaults() -> None:
    w = Value(2.0)

    def f(x: Any, rate: Any = 3.0, *, power: Any = 1.0) -> Any:
        return w * x * rate * power

    fast = compile(f)
    for _ in range(2):
        w.data = 2.0
        assert fast.descend(0.5, 1.0) == 6.0
        assert list(inspect.signature(fast).parameters) == ["x", "rate", "power"]
        assert w.data == 0.5
        assert fast.descend(1.0, x=1.0, rate=0.25, power=2.0) == 0.25
        assert w.data == 0.0
    anything = compile(lambda *xs: w * ad.sum(xs))
    loop = compile(batch_sum(lambda *xs: w * ad.sum(xs)))
    for _ in range(2):
        w.data = 2.0
        assert anything.descend(1.0, 1.0, 2.0) == 6.0
        assert anything.descend(1.0, 1.0, 2.0, 3.0) == -6.0
        assert w.data == -7.0
        assert loop.descend(1.0, [1.0], [2.0]) == -21.0
        assert loop.descend(0.5, [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]) == -120.0
        assert w.data == -16.0


def test_unusual_columns() -> None:
    """An array, a row of one, a dict's values, classes, and examples of several kinds."""
    w = Value(2.0)
    fast = compile(batch_sum(lambda x, k: w * ad.sum(x) * k))
    for columns in (
        (np.array([[1.0, 2.0]]), [1]),
        (np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 2.0])),
        ([[1.0], [2.0]], [1, 2]),
        ({"a": [1.0], "b": [3.0]}.values(), [2, 1]),
        ([[1.0], [2.0, 3.0]], [1.0, 2]),
    ):
        total = sum(float(np.sum(x)) * float(k) for x, k in zip(*columns, strict=True))
        for _ in range(2):
            w.data = 2.0
            assert fast.descend(0.5, *columns) == 2.0 * total
            assert w.data == 2.0 - 0.5 * total
    for strange in (5.0, None):
        with pytest.raises(TypeError, match="takes sequences with one entry per example"):
            compile(batch_sum(lambda x, k: w * x * k)).descend(0.5, strange, strange)
    for empty in ([], ()):
        with pytest.raises(ValueError, match="example"):
            fast.descend(0.5, empty, empty)


def test_zero_wins_over_infinity() -> None:
    """sqrt has an infinite slope at 0, where relu has none: the error signal there is exactly 0."""
    w, b = Value(1.0), Value(1.0)
    one = lambda x: ad.sqrt(ad.relu(w * x)) + b  # noqa: E731
    for fast, x in ((compile(one), 0.0), (compile(batch_sum(one)), [0.0, 0.0])):
        w.data = b.data = 1.0
        fast.descend(0.25, x)
        assert (w.data, b.data) == (1.0, 0.75 if x == 0.0 else 0.5)


def test_pickled_and_saved(tmp_path: Path) -> None:
    w = Value(3.0, "w")
    one, batch = compile(lambda x: w * x if x > 0.0 else -w), compile(batch_mean(lambda x: w * x))
    for fast, x in ((one, 2.0), (batch, [1.0, 3.0])):
        w.data = 3.0
        fast.descend(0.0, x)
        if fast is one:
            fast.descend(0.0, -x)
        copied = pickle.loads(pickle.dumps(fast))
        assert [copied.descend(0.25, x), copied.descend(1, x)] == [6.0, 5.0]
        assert (copied.leaves[0].data, w.data) == (0.5, 3.0)
        fast.save(tmp_path / "saved.py")
        saved = runpy.run_path(str(tmp_path / "saved.py"))
        assert [saved["descend_function"](0.25, x), saved["descend_function"](1.0, x)] == [6.0, 5.0]
        assert saved["leaf_w"].data == 0.5
        with pytest.raises(TypeError, match="the rate must be a number"):
            copied.descend("1", x)


def test_workers_give_the_same_floats() -> None:
    w, b = Value(0.5), Value(0.25)
    f = lambda x, y: (ad.tanh(w * x) + b - y) ** 2  # noqa: E731
    rng = Random(0)
    columns = [[rng.uniform(-1.0, 1.0) for _ in range(20)] for _ in range(2)]
    found = []
    with ThreadPoolExecutor(2) as pool:
        for options in ({"executor": pool}, {"executor": pool, "chunks": 1}, {}):
            fast = compile(batch_mean(f, **options))
            w.data, b.data = 0.5, 0.25
            values = [fast.descend(rate, *columns) for rate in (0.5, 1, 0.25)]
            found.append([*values, w.data, b.data])
            with pytest.raises(TypeError, match="the rate must be a number"):
                fast.descend("0.5", *columns)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="takes numbers as arguments"):
                fast.descend(0.5, [*columns[0][:-1], Value(1.0)], columns[1])
            assert bits([w.data, b.data]) == bits(found[-1][-2:])
        assert (w.grad, b.grad) == (0.0, 0.0)
    assert bits(found[1]) == bits(found[2])
    assert found[0] == pytest.approx(found[2], rel=1e-13)


def test_verify_compares_where_the_values_go() -> None:
    w, factor = Value(3.0, "w"), [2.0]
    fast = compile(lambda x: w * x * 0.0 + w.detach() * x + (w - w.detach()) * factor[0], verify=True)
    assert fast.descend(0.5, 1.0) == 3.0
    assert w.data == 2.0
    factor[0] = 4.0
    with pytest.raises(RuntimeError, match=r"gave 1.0 at data\['0: w'\], and the function itself 0.0"):
        fast.descend(0.5, 1.0)
    assert w.data == 2.0
