"""Tracing: what is kept of one evaluation, in order, and that nothing leaves the graph unnoticed."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest

import autodiff as ad
from autodiff import Value, grad
from autodiff.tracing import Trace, is_number, trace


def questions(f: Callable[..., Any], *args: Any) -> list[tuple[str, Any]]:
    """List what f asks, and the answers."""
    return [(question.kind, question.outcome) for _, question in trace(f, args, {}).questions]


def names(record: Trace) -> list[str]:
    """List the operations of a trace in order."""
    return [node.primitive.name for node in record.nodes if node.primitive is not None]


# ---- nodes


def test_inputs_are_the_floats_among_the_arguments_in_order() -> None:
    record = trace(lambda x, p, *, k: x, (1.0, [2.0, {"a": 3.0, "n": 4}]), {"k": 5.0})
    assert [x.data for x in record.inputs] == [1.0, 2.0, 3.0, 5.0]


def test_what_is_no_float_arrives_as_it_is() -> None:
    seen: list[Any] = []

    def f(*args: Any) -> float:
        seen.extend(args)
        return 0.0

    thing = object()
    trace(f, (1, True, "a", None, thing), {})
    assert seen == [1, True, "a", None, thing]
    assert [type(x) for x in seen[:2]] == [int, bool]


@pytest.mark.parametrize(("x", "traced"), [(1.0, True), (math.nan, True), (1, False), (True, False), ("1.0", False)])
def test_only_floats_are_traced(x: Any, traced: bool) -> None:
    assert is_number(x) is traced


def test_nodes_are_kept_in_the_order_in_which_they_were_made() -> None:
    def f(x: Any, y: Any) -> Any:
        a = x * y
        ad.exp(x)  # unused, and kept: it might have raised
        return a + 1.0

    record = trace(f, (2.0, 3.0), {})
    assert names(record) == ["mul", "exp", "add"]
    assert record.value() == 7.0


def test_nodes_of_a_transform_are_told_from_those_of_the_function() -> None:
    record = trace(grad(lambda x: x * x * x), (2.0,), {})
    marks = [deriving for node, deriving in record.nodes.items() if node.primitive and node.primitive.name == "mul"]
    assert marks[:2] == [False, False]
    assert any(record.nodes.values())
    assert record.value() == 12.0


def test_results_keep_their_containers() -> None:
    record = trace(lambda x: {"a": [x, 1], "b": (x * x, None)}, (3.0,), {})
    assert record.value() == {"a": [3.0, 1], "b": (9.0, None)}
    assert [type(y) for y in record.outputs()] == [Value, int, Value, type(None)]


# ---- questions


@pytest.mark.parametrize(
    ("ask", "asked"),
    [
        (lambda x: x < 1.0, [("__lt__", False)]),
        (lambda x: x >= 1, [("__ge__", True)]),
        (lambda x: x == x, [("__eq__", True)]),
        (lambda x: x != 2.5, [("__ne__", False)]),
        (lambda x: not x, [("bool", True)]),
        (lambda x: int(x), [("int", 2)]),
        (lambda x: round(x), [("round", 2)]),
        (lambda x: round(x, 1), [("round", 2.5)]),
        (lambda x: math.floor(x), [("floor", 2)]),
        (lambda x: math.ceil(x), [("ceil", 3)]),
        (lambda x: math.trunc(x), [("trunc", 2)]),
        (lambda x: x.data, [("data", 2.5)]),
        (lambda x: x in [1.0, x], [("__eq__", False)]),
        (lambda x: max(x, 3.0), [("__gt__", False)]),  # 3.0 > x, reflected
    ],
)
def test_every_way_out_of_the_graph_is_a_question(ask: Callable[[Any], Any], asked: list[tuple[str, Any]]) -> None:
    found = questions(ask, 2.5)
    assert [kind for kind, _ in found] in ([kind for kind, _ in asked], ["__lt__"])
    assert len(found) == len(asked)


def test_the_place_of_a_question_is_between_the_operations_around_it() -> None:
    def f(x: Any) -> Any:
        y = x * 2.0
        if y > 1.0:
            y = y + 1.0
        return -y if y > 2.0 else y

    record = trace(f, (3.0,), {})
    made = list(record.nodes)
    places = [[node.primitive.name for node in made[:place] if node.primitive][-1] for place, _ in record.questions]
    assert places == ["mul", "add"]


def test_the_order_of_sorting_is_asked_for() -> None:
    found = questions(lambda *xs: sorted(xs)[0], 3.0, 1.0, 2.0)
    assert found
    assert {kind for kind, _ in found} == {"__lt__"}


def test_captured_values_are_asked_too() -> None:
    w = Value(1.0)
    assert questions(lambda x: x if w > 0.0 else -x, 2.0) == [("__gt__", True)]
    assert questions(lambda x: x * w.data, 2.0) == [("data", 1.0)]


def test_two_numbers_that_are_no_values_are_nobodys_business() -> None:
    assert questions(lambda x, n: x if n > 2 else -x, 2.0, 3) == []


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x.detach() * x,
        lambda x: copy.copy(x) * x,
        lambda x: copy.deepcopy(x * x),
        lambda x: Value(x.data) * x,
        lambda x: ad.checkpoint(lambda t: t * t)(x),
    ],
)
def test_a_number_does_not_become_a_constant_in_silence(use: Callable[[Any], Any]) -> None:
    """Either the result still depends on the input, or its number was asked for."""
    record = trace(use, (3.0,), {})
    (result,) = record.outputs()
    inputs = set(record.inputs)
    asked = any(question.kind == "data" for _, question in record.questions)
    assert record.value() == 9.0
    assert asked or _free_numbers(result, inputs) == 0


def _free_numbers(result: Value, inputs: set[Value]) -> int:
    """Count leaves of a graph that are no inputs."""
    return sum(node.primitive is None and node not in inputs for node in ad.toposort(result))


# ---- the end of a trace


def test_an_error_ends_the_trace() -> None:
    def f(x: Any) -> Any:
        return ad.log(-x)

    with pytest.raises(ValueError, match="log"):
        trace(f, (2.0,), {})
    # Nobody listens any more: what is refused while tracing works again.
    v = Value(1.0)
    v.data = 2.0
    v.backward()
    assert v.grad == 1.0


@pytest.mark.parametrize(
    ("misuse", "advice"),
    [
        (lambda x: (x * x).backward(), "fast.backward"),
        (lambda x: setattr(x, "data", 3.0), "before or after the call"),
    ],
)
def test_effects_are_refused_with_advice(misuse: Callable[[Any], Any], advice: str) -> None:
    with pytest.raises(RuntimeError, match=advice):
        trace(misuse, (2.0,), {})
