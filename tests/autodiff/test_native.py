"""`compile(f, backend="numba")`: what f gives, to rounding, by machine code with loops where there can be some.

Translating takes Numba seconds, so most tests run the Python that would be translated, and a few the machine code.
"""

import copy
import math
import pickle
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from math import inf
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import autodiff as ad
import nn
from autodiff import Primitive, Value, batch_mean, batch_sum, compile, grad, hessian, native, rolling, value_and_grad
from autodiff import primitives as p
from benchmarks import backends, harness, two_moons
from tests.autodiff.test_vectorising import NO_FUNCTION, agree, expected_of, expressions, function_of, run

numba = pytest.importorskip("numba")


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run kernels as Python: with the same source, and floats that behave as in machine code."""
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
    native._native_functions.cache_clear()
    with np.errstate(all="ignore"):
        yield
    native._native_functions.cache_clear()


quickly = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


# ---- rolling


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(-5, 5), st.data())
def test_strides_are_found(turns: list[int], start: int, data: Any) -> None:
    steps = [data.draw(st.integers(-9, 9)) for _ in turns]
    numbers = [start + sum(s * i for s, i in zip(steps, at, strict=True)) for at in np.ndindex(*turns)]
    found = rolling.strides(numbers, turns)
    assert found == [s if n > 1 else 0 for s, n in zip(steps, turns, strict=True)]
    if len(numbers) > 2:
        numbers[-1] += 1
        assert rolling.strides(numbers, [len(numbers)]) is None or len(set(np.diff(numbers))) == 1


def network(sizes: list[int], activation: Callable[[Any], Any]) -> tuple[nn.MLP, Callable[..., Any]]:
    model = nn.MLP(sizes[0], sizes[1:], activation=activation, rng=Random(0))
    return model, lambda x, y: (model(x) - y) ** 2 if sizes[-1] == 1 else ad.softmax_cross_entropy(model(x), int(y))


def gradient_of(parameters: list[Value], call: Callable[[], float]) -> tuple[float, list[float]]:
    for parameter in parameters:
        parameter.grad = 0.0
    return call(), [parameter.grad for parameter in parameters]


def close(found: Any, expected: Any, within: float = 1e-12) -> bool:
    scale = max(map(abs, expected), default=0.0)
    return all(abs(a - b) <= within * scale for a, b in zip(found, expected, strict=True))


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("max_ways", [64, 1])
def test_a_step_down_moves_as_that_of_python(max_ways: int) -> None:
    def loss(x: Any) -> Any:
        return (w * x - 1.0) ** 2 if x > 0.0 else w * v

    found = []
    for options in ({}, {"backend": "numba", "max_ways": max_ways}):
        w, v = Value(0.5), Value(2.0)
        one, batch = compile(loss, **options), compile(batch_mean(loss), **options)  # type: ignore[call-overload]
        values = [one.descend(0.25, 1.0), one.descend(0.5, -1.0), batch.descend(1, [2.0, -1.0]), w.data, v.data]
        found.append([*values, w.grad, v.grad])
        with pytest.raises(TypeError, match="the rate must be a number"):
            one.descend("0.1", 1.0)
        with pytest.raises(TypeError, match="takes numbers as arguments"):
            one.descend(0.1, w)
        with ad.anomaly_detection():
            assert one.descend(0.0, 1.0) == (w.data - 1.0) ** 2
    assert found[0] == found[1]


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("sizes", [[2, 16, 16, 1], [1, 40, 1], [7, 5, 9, 4, 1], [3, 2, 60, 1]])
def test_a_net_is_loops_and_its_gradient_is_that_of_python(sizes: list[int]) -> None:
    model, loss = network(sizes, ad.tanh)
    rng = Random(1)
    rows = [[rng.uniform(-1.0, 1.0) for _ in range(sizes[0])] for _ in range(5)]
    targets = [rng.uniform(-1.0, 1.0) for _ in rows]
    fast, plain = compile(batch_mean(loss), backend="numba"), compile(batch_mean(loss))
    parameters = model.parameters()
    value, slopes = gradient_of(parameters, lambda: fast.backward(rows, targets))
    expected_value, expected = gradient_of(parameters, lambda: plain.backward(rows, targets))
    assert value == pytest.approx(expected_value, rel=1e-14)
    assert close(slopes, expected)
    assert len(fast.source.splitlines()) < 100 < len(parameters)
    assert "for k in range(" in fast.source
    assert "table" not in fast.source  # all numbers follow each other


@pytest.mark.usefixtures("interpreted")
def test_dead_neurons_are_skipped() -> None:
    model, loss = network([2, 16, 16, 1], ad.relu)
    fast, plain = compile(batch_sum(loss), backend="numba"), compile(batch_sum(loss))
    columns = [[0.3, -0.7], [-1.0, 0.2]], [1.0, -1.0]
    _, slopes = gradient_of(model.parameters(), lambda: fast.backward(*columns))
    _, expected = gradient_of(model.parameters(), lambda: plain.backward(*columns))
    assert close(slopes, expected)
    assert expected.count(0.0) > 50
    assert "if signal != 0.0:" in fast.source


@pytest.mark.usefixtures("interpreted")
def test_data_that_f_holds_becomes_a_table() -> None:
    rng = Random(0)
    data = [(rng.uniform(0.1, 2.0), rng.uniform(-1.0, 1.0)) for _ in range(60)]

    def misfit(b: Any) -> Any:
        return ad.sum([(b[0] * ad.exp(-b[1] * x) + b[2] - y) ** 2 for x, y in data])

    fast = compile(value_and_grad(misfit), backend="numba")
    value, slopes = fast([1.0, 0.5, -0.25])
    expected_value, expected = value_and_grad(misfit)([1.0, 0.5, -0.25])
    assert value == pytest.approx(expected_value, rel=1e-13)
    assert close(slopes, expected)
    assert "for j in range(60):" in fast.source
    assert len(fast.source.splitlines()) < 60


def rosenbrock(x: Any) -> Any:
    return ad.sum([100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2 for a, b in pairwise(x)])


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("size", [2, 10, 150])
def test_a_function_of_many_numbers(size: int) -> None:
    x = np.array([Random(i).uniform(-1.0, 1.0) for i in range(size)])
    fast = compile(value_and_grad(rosenbrock), backend="numba")
    value, slopes = fast(x)
    expected_value, expected = value_and_grad(rosenbrock)(x)
    assert value == pytest.approx(expected_value, rel=1e-13)
    assert type(slopes) is np.ndarray
    assert close(slopes, expected)
    assert ("range(149)" in fast.source) == (size == 150)


@pytest.mark.usefixtures("interpreted")
def test_numbers_in_no_order_are_looked_up() -> None:
    pairs = [(Random(i).randrange(30), Random(-1 - i).randrange(30)) for i in range(200)]

    def energy(x: Any) -> Any:
        return ad.sum([ad.sin(x[i] - x[j]) * x[j] for i, j in pairs])

    x = [Random(i).uniform(-1.0, 1.0) for i in range(30)]
    fast = compile(value_and_grad(energy), backend="numba")
    value, slopes = fast(x)
    expected_value, expected = value_and_grad(energy)(x)
    assert value == pytest.approx(expected_value, rel=1e-13)
    assert close(slopes, expected)
    assert "table" in fast.source


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("roll_from", [0, 10**9])
@given(program=expressions(), x=st.floats(-3.0, 3.0), y=st.floats(-3.0, 3.0))
@quickly
def test_programs_give_what_they_give_in_python(roll_from: int, program: Any, x: float, y: float) -> None:
    both = value_and_grad(lambda x, y: run(program, x, y), argnums=(0, 1))
    expected = expected_of(both, x, y)
    if expected is None:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rolling, "ROLL_FROM", roll_from)
        value, slopes = compile(both, backend="numba")(x, y)
    size = max(map(abs, (expected[0], *expected[1])))
    for found, right in zip((value, *slopes), (expected[0], *expected[1]), strict=True):
        assert agree(found, right, 1e-11) or abs(found - right) <= 1e-12 * size


# ---- calling


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(
    "point", [[0.5, 2.0], (0.5, 2.0), {"a": 0.5, "b": 2.0}, np.array([0.5, 2.0]), np.array([[0.5], [2.0]])], ids=repr
)
def test_arguments_and_results_keep_their_structure(point: Any) -> None:
    def f(q: Any) -> Any:
        a, b = q.values() if isinstance(q, dict) else np.ravel(q) if isinstance(q, np.ndarray) else q
        return ad.sin(a) * b

    value, slopes = compile(value_and_grad(f), backend="numba")(point)
    expected_value, expected = value_and_grad(f)(point)
    assert value == pytest.approx(expected_value, rel=1e-15)
    assert type(slopes) is type(expected)
    assert np.allclose(
        list(slopes.values() if isinstance(slopes, dict) else slopes),
        list(expected.values() if isinstance(expected, dict) else expected),
        rtol=1e-15,
    )


@pytest.mark.usefixtures("interpreted")
def test_other_arguments_and_results_are_constants() -> None:
    fast = compile(lambda x, n=2, name="power": {name: x**n, "n": n}, backend="numba")
    assert fast(3.0) == {"power": 9.0, "n": 2}
    assert fast(3.0, 3, name="cube") == {"cube": 27.0, "n": 3}
    assert fast(np.float64(3.0), np.int64(2)) == {"power": 9.0, "n": 2}
    assert fast(np.float32(3.0), np.int64(2)) == {"power": 9.0, "n": 2}
    assert fast(np.array(3.0)) == {"power": 9.0, "n": 2}


@pytest.mark.usefixtures("interpreted")
def test_branches_are_learnt_and_too_many_run_in_python() -> None:
    def root(a: Any) -> Any:
        x = a
        while abs(x * x - a) > 1e-9:
            x = 0.5 * (x + a / x)
        return x

    fast = compile(value_and_grad(root), backend="numba", max_ways=3)
    for a in (4.0, 100.0, 0.25, 1e-3, 1e4, 4.0):
        assert fast(a) == pytest.approx(value_and_grad(root)(a), rel=1e-13)


@pytest.mark.usefixtures("interpreted")
def test_values_from_outside_are_live() -> None:
    w, v = Value(2.0, "w"), Value(1.0, "v")
    fast = compile(lambda x: w * x * x + v, backend="numba")
    assert fast(3.0) == 19.0
    w.data = 10.0
    assert fast.backward(3.0) == 91.0
    assert (w.grad, v.grad) == (9.0, 1.0)
    fast.backward(1.0)
    assert (w.grad, v.grad) == (10.0, 2.0)


@pytest.mark.usefixtures("interpreted")
def test_branches_inside_a_batch() -> None:
    w, v = Value(2.0, "w"), Value(3.0, "v")

    def loss(x: Any, y: Any) -> Any:
        return w * x * y if x > y else (v * y - x) ** 2

    columns = [1.0, 2.0, -3.0], [2.0, 1.0, 0.5]
    fast, plain = compile(batch_mean(loss), backend="numba"), compile(batch_mean(loss))
    found = gradient_of([w, v], lambda: fast.backward(*columns))
    assert found == gradient_of([w, v], lambda: plain.backward(*columns))
    assert fast(*columns) == plain(*columns)
    assert (
        gradient_of([w, v], lambda: compile(batch_mean(loss), backend="numba", max_ways=1).backward(*columns)) == found
    )


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("form", ["lists", "arrays", "rows of tuples", "single precision"])
def test_columns_may_be_lists_or_arrays(form: str) -> None:
    w = Value(0.5, "w")
    rows: Any = [[1.0, 2.0], [3.0, 4.0], [5.0, 0.5]]
    targets: Any = [1.0, -1.0, 0.25]
    expected = gradient_of([w], lambda: compile(batch_sum(lambda x, y: (w * x[0] - x[1]) * y)).backward(rows, targets))
    if form != "lists":
        kind = np.float32 if form == "single precision" else float
        rows, targets = np.array(rows, dtype=kind), np.array(targets, dtype=kind)
    if form == "rows of tuples":
        rows = [tuple(row) for row in rows.tolist()]
    fast = compile(batch_sum(lambda x, y: (w * x[0] - x[1]) * y), backend="numba")
    assert gradient_of([w], lambda: fast.backward(rows, targets)) == expected


@pytest.mark.usefixtures("interpreted")
def test_classes_are_constants_and_sort_the_examples() -> None:
    model, loss = network([3, 4, 3], ad.tanh)
    rows = [[0.1 * i, -0.2 * i, 1.0 - i] for i in range(6)]
    classes = [0, 2, 1, 1, 0, 2]
    fast, plain = compile(batch_mean(loss), backend="numba"), compile(batch_mean(loss))
    value, slopes = gradient_of(model.parameters(), lambda: fast.backward(rows, classes))
    expected_value, expected = gradient_of(model.parameters(), lambda: plain.backward(rows, classes))
    assert value == pytest.approx(expected_value, rel=1e-14)
    assert close(slopes, expected)
    array_value, array_slopes = fast.as_function_of(model.parameters())(
        np.array([w.data for w in model.parameters()]), np.array(rows), np.array(classes)
    )
    assert array_value == pytest.approx(expected_value, rel=1e-14)
    assert close(array_slopes, expected)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("order", [lambda ws: ws, lambda ws: ws[::-1], lambda ws: ws[1:3]])
def test_a_function_of_an_array_of_parameters(order: Callable[[list[Value]], list[Value]]) -> None:
    weights = [Value(0.5 * i + 1.0) for i in range(4)]
    loss = batch_mean(lambda x, y: (weights[0] + weights[1] * x + weights[2] * x * x * weights[3] - y) ** 2)
    chosen = order(weights)
    by_array = compile(loss, backend="numba").as_function_of(chosen)
    x, y = np.array([0.5, 1.0, -2.0]), np.array([1.0, 0.0, 3.0])
    new = np.linspace(-1.0, 1.0, len(chosen))
    value, slopes = by_array(new, x, y)
    assert [w.data for w in weights] == [1.0, 1.5, 2.0, 2.5]  # untouched
    assert all(w.grad == 0.0 for w in weights)
    for w, data in zip(chosen, new, strict=True):
        w.data = float(data)
    expected_value, expected = gradient_of(chosen, lambda: compile(loss).backward(x, y))
    assert value == pytest.approx(expected_value, rel=1e-14)
    assert close(slopes, expected)


@pytest.mark.usefixtures("interpreted")
def test_mistakes_are_named() -> None:
    w = Value(2.0, "w")
    fast = compile(batch_mean(lambda x: w * x), backend="numba")
    with pytest.raises(ValueError, match="no examples"):
        fast([])
    with pytest.raises(ValueError, match="one length"):
        compile(batch_mean(lambda x, y: w * x), backend="numba")([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"1 parameters in one row, not shape \(2,\)"):
        fast.as_function_of([w])(np.zeros(2), np.zeros(3))
    with pytest.raises(TypeError, match="takes Values"):
        fast.as_function_of([2.0])  # type: ignore[list-item]
    tripled = w * 3.0
    with pytest.raises(TypeError, match="compute it inside"):
        compile(lambda x: tripled * x, backend="numba")(1.0)
    with pytest.raises(TypeError, match=r"use autodiff\.floor"):
        compile(lambda x: x * int(x), backend="numba")(1.5)
    asking = compile(batch_mean(lambda x: w * x if w > 0.0 else x), backend="numba").as_function_of([w])
    with pytest.raises(RuntimeError, match="branches on a Value that an array stands for"):
        asking(-np.ones(1), np.ones(1))
    with pytest.raises(ValueError, match="log"):
        compile(lambda x: ad.log(x), backend="numba")(-1.0)
    forked = compile(lambda x: x if x > 0.0 else [x, x], backend="numba")
    assert forked(1.0) == 1.0
    with pytest.raises(TypeError, match="several shapes"):
        forked(-1.0)
    branching = batch_mean(lambda x: w * x if x > 0.0 else -x)
    by_array = compile(branching, backend="numba", max_ways=1).as_function_of([w])
    with pytest.raises(RuntimeError, match="more than 1 ways"):
        by_array(np.ones(1), np.array([1.0, -1.0]))


@pytest.mark.usefixtures("interpreted")
def test_a_batch_takes_no_keyword_arguments() -> None:
    w = Value(2.0)
    fast = compile(batch_mean(lambda x, y=1.0: w * x * y), backend="numba")
    assert fast([1.0, 2.0]) == 3.0
    calls: list[Any] = [fast, fast.backward, compile(batch_mean(lambda x, y=1.0: w * x * y))]
    for call in calls:
        with pytest.raises(TypeError, match="unexpected keyword argument 'y'"):
            call([1.0, 2.0], y=[10.0, 20.0])
    with pytest.raises(TypeError, match="unexpected keyword argument 'y'"):
        fast.as_function_of([w])(np.ones(1), [1.0, 2.0], y=[10.0, 20.0])


@pytest.mark.usefixtures("interpreted")
def test_a_batch_is_a_sum_of_numbers() -> None:
    w = Value(2.0)
    assert compile(batch_sum(lambda x: w * x if x > 0.0 else 0), backend="numba")([1.0, -2.0]) == 2.0
    assert compile(batch_sum(lambda x: 1), backend="numba")([1.0, -2.0]) == 2.0
    for result in (None, [w, w], "1"):
        broken = compile(batch_sum(lambda x, result=result: result), backend="numba")
        for call in (broken, broken.backward):
            with pytest.raises(TypeError, match="result of"):
                call([1.0, 2.0])


@pytest.mark.usefixtures("interpreted")
def test_many_constants_are_translated_for_max_ways_of_them() -> None:
    w = Value(3.0)
    fast = compile(lambda x, n: w * x * n, backend="numba", max_ways=3)
    for n in [*range(6), 5, 0]:
        assert fast(2.0, n) == 6.0 * n
        assert fast.backward(2.0, n) == 6.0 * n
    assert fast.source.count("def kernel") == 6
    loss = compile(batch_sum(lambda x, n: w * x * n), backend="numba", max_ways=3)
    w.grad = 0.0
    assert loss.backward([1.0] * 5, list(range(5))) == 30.0
    assert w.grad == 10.0
    assert loss.source == ""  # nothing was translated in vain
    assert loss.backward([1.0] * 3, list(range(3))) == 9.0
    with pytest.raises(RuntimeError, match="more than 3 ways, or constants among its arguments"):
        loss.as_function_of([w])(np.ones(1), [1.0] * 5, list(range(5)))


@pytest.mark.usefixtures("interpreted")
def test_an_attribute_named_batch_is_nobodys_business() -> None:
    class Model:
        """A callable with a batch of its own."""

        batch = 32

        def __call__(self, x: Any) -> Any:
            return x * self.batch

    fast = compile(Model(), backend="numba")
    assert fast(2.0) == 64.0
    assert repr(fast) == "<function compiled by Numba>"


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_generated_code_has_the_name_of_the_function(backend: Any) -> None:
    def lambda_max(x: Any) -> Any:
        return x * x

    fast: Any = compile(lambda_max, backend=backend)
    assert fast.__name__ == "lambda_max"


@pytest.mark.usefixtures("interpreted")
def test_a_parameter_given_twice_is_one() -> None:
    w, v = Value(2.0), Value(3.0)
    by_array = compile(batch_sum(lambda x: v * v * w * x), backend="numba").as_function_of([w, w, v])
    value, slopes = by_array(np.array([2.0, 3.0]), np.ones(2))
    assert (value, list(slopes)) == (36.0, [18.0, 24.0])


@pytest.mark.usefixtures("interpreted")
def test_results_of_several_shapes_or_constants_are_refused() -> None:
    pairs: list[Any] = [(np.zeros((1, 2)), np.zeros((2, 1))), (1, True), (1.0, 1)]
    for one, other in pairs:
        fast = compile(lambda x, one=one, other=other: [one, x] if x > 0.0 else [other, x], backend="numba")
        fast(1.0)
        with pytest.raises(TypeError, match="several shapes"):
            fast(-1.0)


@pytest.mark.usefixtures("interpreted")
def test_numbers_of_numpy_are_numbers_of_the_result() -> None:
    fast = compile(lambda x: np.float64(1.0) if x > 0.0 else np.float64(2.0), backend="numba")
    assert [fast(x) for x in (1.0, -1.0, 1.0)] == [1.0, 2.0, 1.0]


@pytest.mark.usefixtures("interpreted")
def test_a_negative_zero_keeps_its_sign() -> None:
    assert math.copysign(1.0, compile(lambda x: x * 3.0, backend="numba")(-0.0)) == -1.0


def test_without_numba_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "numba", None)
    with pytest.raises(ModuleNotFoundError, match="pip install numba"):
        compile(ad.sin, backend="numba")


def test_inside_another_trace_and_under_observation_it_is_f() -> None:
    w = Value(0.0, "w")
    fast = compile(lambda x: x * x + ad.sqrt(w), backend="numba")
    assert compile(lambda x: fast(x) + 1.0)(3.0) == 10.0
    with ad.anomaly_detection(), pytest.raises(FloatingPointError, match="w = 0"):
        fast.backward(3.0)


@pytest.mark.usefixtures("interpreted")
def test_a_result_that_is_constant_on_a_way() -> None:
    w = Value(2.0, "w")
    fast = compile(batch_sum(lambda x: w * x if x > 0.0 else 0.5), backend="numba")
    assert fast.backward([1.0, -1.0, 3.0]) == 8.5
    assert w.grad == 4.0
    assert repr(fast) == "<function compiled by Numba>"


@pytest.mark.usefixtures("interpreted")
def test_examples_of_several_structures() -> None:
    w = Value(2.0, "w")
    fast = compile(batch_mean(lambda row: w * ad.sum(row)), backend="numba")
    assert fast.backward([[1.0], [2.0, 3.0], [4.0]]) == pytest.approx(20.0 / 3.0, rel=1e-15)
    assert w.grad == pytest.approx(10.0 / 3.0, rel=1e-15)


# ---- machine code


def test_machine_code_of_a_gradient() -> None:
    both = value_and_grad(lambda x, y: (x * y + ad.sin(x)) * ad.exp(y) - x / y, argnums=(0, 1))
    fast = compile(both, backend="numba")
    for point in ((1.0, 2.0), (-0.3, 0.7)):
        value, slopes = fast(*point)
        assert value == pytest.approx(both(*point)[0], rel=1e-14)
        assert slopes == pytest.approx(both(*point)[1], rel=1e-14)
    value, slopes = fast(1.0, 0.0)  # where f raises
    assert value == -inf
    assert slopes[0] == -inf


def test_machine_code_keeps_the_rule_for_zero_signals() -> None:
    fast = compile(grad(lambda x: ad.sqrt(ad.relu(x))), backend="numba")
    assert [fast(x) for x in (-1.0, 4.0, -2.0)] == [0.0, 0.25, 0.0]


def test_machine_code_takes_arrays_that_cannot_be_written_to() -> None:
    w = Value(2.0)
    x = np.array([1.0, 2.0])
    x.setflags(write=False)
    loss = compile(batch_sum(lambda x: w * x), backend="numba")
    assert loss.backward(x) == 6.0
    assert loss.as_function_of([w])(x[:1], x)[0] == 3.0


def test_machine_code_of_inverse_powers_does_not_underflow() -> None:
    fast = compile(lambda x: [x**-2, x**-3, x**-1], backend="numba")
    for x in (1e155, 1e103, -3.0):
        assert fast(x) == pytest.approx([x**-2, x**-3, x**-1], rel=1e-14, abs=0.0)


def test_machine_code_of_a_primitive_that_raises() -> None:
    def root(x: float) -> float:
        if x < 0.0:
            raise ValueError("negative")
        return x * 2.0

    half = Primitive("half", root, "half({})", lambda out, x: 2.0)
    fast = compile(lambda x: half(x) + 1.0, backend="numba")
    assert fast(1.0) == 3.0
    assert math.isnan(compile(lambda x: half(x) + 1.0 if x > -9.0 else x, backend="numba")(1.0) - fast(-1.0))


@pytest.mark.slow
def test_machine_code_of_primitives_of_ones_own() -> None:
    cube = Primitive("cube", lambda x: x * x * x, "{0} * {0} * {0}", lambda out, x: 3.0 * x * x)
    odd = Primitive("odd", lambda x: math.fsum([-x]), "odd({})", lambda out, x: -1.0)
    fast = compile(value_and_grad(lambda x: cube(x) + odd(x)), backend="numba")
    assert fast(2.0) == (6.0, 11.0)  # the second one is called back in Python


@pytest.mark.slow
def test_machine_code_of_every_primitive() -> None:
    functions = {name: function_of(p.TABLE[name]) for name in sorted(set(p.TABLE) - NO_FUNCTION)}
    functions["acosh"] = (lambda x: ad.acosh(1.0 + x)), 1

    def everything(x: Any, y: Any) -> Any:
        found = {}
        for name, (function, arity) in functions.items():
            args = (x, y, 2.0)[:arity]
            found[name] = value_and_grad(function, argnums=tuple(range(arity)))(*args)
        return found

    point = 0.6, 0.3
    found = compile(everything, backend="numba")(*[float(x) for x in point])
    for name, (function, arity) in functions.items():
        args = (*point, 2.0)[:arity]
        expected = expected_of(value_and_grad(function, argnums=tuple(range(arity))), *args)
        value, slopes = found[name]
        assert agree(value, expected[0]), name
        assert all(agree(a, b) for a, b in zip(slopes, expected[1], strict=True)), name


@pytest.mark.slow
def test_machine_code_of_a_net() -> None:
    model, loss = network([2, 16, 16, 1], ad.relu)
    rows, labels = nn.two_moons(20, rng=Random(1))
    targets = [2.0 * label - 1.0 for label in labels]
    fast, plain = compile(batch_mean(loss), backend="numba"), compile(batch_mean(loss))
    value, slopes = gradient_of(model.parameters(), lambda: fast.backward(rows, targets))
    expected_value, expected = gradient_of(model.parameters(), lambda: plain.backward(rows, targets))
    assert value == pytest.approx(expected_value, rel=1e-14)
    assert close(slopes, expected)
    by_array = fast.as_function_of(model.parameters())
    array = np.array([w.data for w in model.parameters()])
    assert close(by_array(array, np.array(rows), np.array(targets))[1], expected)
    assert close(by_array(np.zeros(len(array)), np.array(rows), np.array(targets))[1][:-1], np.zeros(len(array) - 1))


@pytest.mark.usefixtures("interpreted")
def test_copies_and_pickles() -> None:
    fast = compile(rosenbrock, backend="numba")
    x = [0.5, -1.0, 2.0]
    for other in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert other(x) == fast(x)


@pytest.mark.usefixtures("interpreted")
def test_the_step_of_the_benchmark_is_that_by_hand() -> None:
    task = two_moons.Task(5)
    backends.network_loss.cache_clear()
    found = two_moons.job(backends.with_numba, task).numbers()
    backends.network_loss.cache_clear()
    harness.compare({"by hand": two_moons.job(two_moons.with_lists, task).numbers(), "Numba": found})


def test_hessians_too(interpreted: None) -> None:
    x = [0.5, -1.0, 2.0]
    found = compile(hessian(rosenbrock), backend="numba")(x)
    assert np.allclose(found, hessian(rosenbrock)(x), rtol=1e-13)
    assert not math.isnan(found[0][0])
    assert re.search(r"def kernel\(w, out, count, x\):", compile_source(x))


def compile_source(x: list[float]) -> str:
    fast = compile(grad(rosenbrock), backend="numba")
    fast(x)
    return fast.source
