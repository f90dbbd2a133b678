"""compile: the same floats and errors as the function itself, to the bit, by every way and on every call."""

import copy
import enum
import functools
import gc
import importlib.util
import inspect
import itertools
import json
import linecache
import math
import pickle
import random
import re
import runpy
import subprocess
import sys
import threading
import traceback
import types
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import autodiff as ad
from autodiff import (
    Value,
    batch_mean,
    batch_sum,
    compile,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    no_grad,
    value_and_grad,
    vjp,
)
from autodiff import specialising as specialising_module
from autodiff import terms as terms_module
from autodiff.trees import tree_map
from tests import programs as random_programs
from tests.programs import ROUTES, Program, bits, outcome, programs

NUMBERS = st.floats(-3.0, 3.0)
Function = Callable[..., Any]


def agree(f: Function, *calls: tuple[Any, ...], **options: Any) -> Any:
    """Assert that compiled and eager agree on these calls, in order, there and back."""
    fast = compile(f, **options)
    for args in [*calls, *reversed(calls)]:
        assert outcome(fast, *args) == outcome(f, *args), args
    return fast


def rosenbrock(x: Any) -> Any:
    return ad.sum([100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2 for a, b in itertools.pairwise(x)])


# ---- random programs


@pytest.mark.parametrize("route", ROUTES)
@settings(max_examples=25, phases=[Phase.explicit, Phase.reuse, Phase.generate], report_multiple_bugs=False)
@given(program=programs())
def test_random_programs_agree(route: str, program: Program) -> None:
    wrong = random_programs.report(program, route)
    assert wrong is None, f"\n{wrong}"


@pytest.mark.slow
def test_a_run_of_random_programs_finds_nothing_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert random_programs.main(["--count", "400", "--seed", "1"]) == 0, capsys.readouterr().out
    assert "400 programs ran" in capsys.readouterr().out


def _drop_zero(b: Any, x: Any, y: Any) -> Any:
    return x if type(y) is float and y == 0.0 else None  # wrong: -0.0 + 0.0 is 0.0


@pytest.mark.slow
def test_the_run_finds_a_rewrite_that_is_not_exact(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(terms_module.REWRITES, ad.Value(1.0).__add__(0.0).primitive, _drop_zero)
    assert random_programs.main(["--count", "300", "--seed", "5"]) == 1
    report = capsys.readouterr().out
    assert "-0x0.0p+0" in report
    assert report.count("\n    ") < 60  # small reproducers


def test_the_programs_use_every_function_there_is() -> None:
    used = {
        name
        for text in (random_programs.TOTAL, random_programs.BINARY, random_programs.ELSEWHERE)
        for name in text.split()
    } | set(random_programs.PARTIAL)
    functions = {name for name in ad.__all__ if callable(getattr(ad, name)) and name[0].islower()}
    others = {
        "compile",
        "draw",
        "toposort",
        "check_grads",
        "anomaly_detection",
        "no_grad",
        "batch_mean",
        "batch_sum",
        "descend",
        "formula",
        "latex",
        "steps",
    }
    transforms = {"grad", "value_and_grad", "jacobian", "hessian", "hvp", "vjp", "jvp", "checkpoint"}
    assert functions - others - transforms - used == set()


def test_programs_have_results_and_errors_of_many_kinds() -> None:
    """A generator that mostly makes errors, or none, would test little."""
    outcomes = []
    for seed in range(150):
        program = random_programs.Writer(random.Random(seed)).program(4)
        outcomes += [outcome(program.function(call.weights), *call.args) for call in program.calls]
    raised = [x for x in outcomes if isinstance(x, str) and x.startswith("raises")]
    assert 0.02 < len(raised) / len(outcomes) < 0.5
    assert len({*raised}) >= 3
    assert len({*outcomes}) > 100


# ---- seven routes to one number


def landscape(x: Sequence[Any]) -> Any:
    """A function with a branch, a loop, kernels and reuse."""
    a, b, c = x
    total = ad.tanh(a * b) + ad.softplus(c)
    if a > b:
        total = total * ad.exp(-b * b) + c
    steps = 0
    while abs(total) > 0.5 and steps < 4:
        total = total / 2.0 + ad.sin(c)
        steps += 1
    return total + ad.logsumexp([a, b, total]) * ad.hypot(a, c + 1.0)


POINT = st.lists(NUMBERS, min_size=3, max_size=3)


@given(POINT)
def test_seven_routes_lead_to_one_gradient(x: list[float]) -> None:
    leaves = [Value(number) for number in x]
    landscape(leaves).backward()
    by_backward = [leaf.grad for leaf in leaves]

    captured = [Value(number) for number in x]
    compile(lambda: landscape(captured)).backward()

    one = [Value(number) for number in x]
    compile(batch_sum(lambda t: landscape(one) * t)).backward([1.0])

    units = [[float(i == j) for j in range(3)] for i in range(3)]
    scaled = compile(hessian(lambda t, x: t * landscape(x), (0, 1)))(1.0, x)
    routes = {
        "grad(compile(f))": grad(compile(landscape))(x),
        "compile(grad(f))": compile(grad(landscape))(x),
        "fast.backward": [leaf.grad for leaf in captured],
        "batch of one": [leaf.grad for leaf in one],
        "jacobian": compile(jacobian(lambda x: [landscape(x)]))(x)[0],
        "row of a hessian": scaled[0][1],
    }
    for name, found in routes.items():
        assert bits(found) == bits(by_backward), name
    forward = [compile(lambda x, u: jvp(landscape, (x,), (u,))[1])(x, unit) for unit in units]
    assert forward == pytest.approx(by_backward, rel=1e-9, abs=1e-12)


# ---- guards: no frozen branch


def test_the_branch_of_the_first_call_is_not_frozen() -> None:
    """ReverseDiff and algopy give -1."""
    fast = compile(grad(lambda x: x * x if x > 0.0 else -x))
    assert fast(-1.0) == -1.0
    assert fast(2.0) == 4.0
    assert fast(-1.0) == -1.0


def _count_down(x: Any) -> Any:
    steps = 0
    while x > 1.0:
        x = x * 0.5
        steps += 1
    return x + steps


def _insertion(x: Any, y: Any, z: Any) -> Any:
    low, middle, high = sorted([x, y, z])
    return low + 10.0 * middle + 100.0 * high


def _early(x: Any, y: Any) -> Any:
    for i in range(3):
        if x < i:
            return y * i
        x = x - y
    return x


def _by_kind(x: Any) -> Any:
    if x != x:
        return 0.0
    if x in (inf, -inf):
        return x
    return x * 2.0 if not x else x / 3.0


def _table(x: Any) -> Any:
    return [10.0, 20.0, 30.0][int(x) % 3] * x


def _digits(x: Any) -> Any:
    return x - round(x) + round(x, 1) + math.floor(x) + math.ceil(x) * 2 + math.trunc(x) * 3


def _newton(a: Any) -> Any:
    x = a
    while abs(x * x - a) > 1e-12 * abs(a):
        x = 0.5 * (x + a / x)
    return x


def _raising(x: Any) -> Any:
    if x < 0.0:
        raise LookupError("negative")
    if x > 10.0:
        raise OverflowError("large")
    return ad.sqrt(x)


def _catching(x: Any, y: Any) -> Any:
    try:
        return x / y
    except ZeroDivisionError:
        return x * 7.0


def _catching_late(x: Any) -> Any:
    try:
        y = ad.log(x) + ad.sqrt(x - 1.0)
    except ValueError:
        y = x * x
    return y + 1.0


def _catching_int(x: Any) -> Any:
    try:
        return x * int(x)
    except ValueError:
        return 0.5


def _catching_round(x: Any) -> Any:
    try:
        n = round(x) + math.floor(x) + math.ceil(x) + math.trunc(x)
    except OverflowError:
        n = 3
    return x * n


def _chained(x: Any, y: Any) -> Any:
    return x if 0.0 < x < y < 2.0 else y if x == y or not y else x * y


def _ternary_signs(x: Any, y: Any) -> Any:
    return ad.copysign(1.0, x) if x == y else min(x, y) - max(x, y)


SOME = (-2.5, -1.0, -0.0, 0.0, 0.3, 1.0, 1.5, 2.0, 7.0, 100.0, inf, -inf, nan, 5e-324)


@pytest.mark.parametrize(
    "f",
    [_count_down, _by_kind, _table, _digits, _raising, _catching_late, _catching_int, _catching_round],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("transform", [lambda f: f, grad, value_and_grad, lambda f: grad(grad(f))])
def test_functions_of_one_number_take_every_way(f: Function, transform: Function) -> None:
    finite = [x for x in SOME if f is not _count_down or x != inf]
    shuffled = random.Random(3).sample(finite, len(finite))
    agree(transform(f), *[(x,) for x in shuffled])


@pytest.mark.parametrize("f", [_early, _catching, _chained, _ternary_signs], ids=lambda f: f.__name__)
@pytest.mark.parametrize("transform", [lambda f: f, grad, lambda f: value_and_grad(f, (0, 1))])
def test_functions_of_two_numbers_take_every_way(f: Function, transform: Function) -> None:
    pairs = list(itertools.product(SOME, repeat=2))
    agree(transform(f), *random.Random(4).sample(pairs, len(pairs)), max_ways=30)


@given(st.lists(st.sampled_from([-1.0, 0.0, -0.0, 1.0, 2.0, nan]), min_size=3, max_size=3))
def test_sorting_follows_the_numbers(x: list[float]) -> None:
    fast = compile(grad(_insertion, (0, 1, 2)))
    fast(1.0, 2.0, 3.0)
    assert bits(fast(*x)) == bits(grad(_insertion, (0, 1, 2))(*x))


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=6))
def test_newtons_iteration_takes_as_many_steps_as_it_needs(xs: list[float]) -> None:
    agree(value_and_grad(_newton), *[(x,) for x in xs])


def test_a_loop_of_thousands_of_questions() -> None:
    def f(x: Any, limit: Any) -> Any:
        while x < limit:
            x = x + 1.0
        return x * limit

    fast = compile(f)
    for limit in (5.0, 2000.0, 3.0, 1999.0, 2000.5, 0.0):
        assert fast(0.25, limit) == f(0.25, limit)
    slope = compile(value_and_grad(f, (0, 1)))
    for limit in (1500.0, 7.0, 1500.0):
        assert slope(0.25, limit) == value_and_grad(f, (0, 1))(0.25, limit)


def test_many_ways_nest_without_end() -> None:
    """Sixty `if`s inside each other would be a SyntaxError: CPython stops at 100 levels of indentation."""

    def f(x: Any) -> Any:
        for i in range(150):
            if x < i:
                return x * i
        return x

    agree(f, *[(i + 0.5,) for i in range(149, -1, -1)], max_ways=200)
    agree(f, *[(i + 0.5,) for i in range(150)], max_ways=200)


def test_past_the_limit_new_ways_run_as_they_are() -> None:
    calls = []

    def f(x: Any) -> Any:
        calls.append(x)
        return x * int(x)

    fast = compile(f, max_ways=3)
    for x in (0.5, 1.5, 2.5):
        assert fast(x) == x * int(x)
    with pytest.warns(RuntimeWarning, match="f has 3 ways, as many as max_ways allows: .* run uncompiled") as told:
        assert fast(3.5) == 10.5
    assert [warning.filename for warning in told] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is told once
        for x in (4.5, 0.5, 3.5):
            assert fast(x) == x * int(x)
    (report,) = fast.specialisations
    assert report.ways == 3
    assert calls[3:] == [3.5, 4.5, 3.5]  # not 0.5, whose way is known


def test_code_that_belongs_to_no_module_is_told_too() -> None:
    fast = compile(lambda x, n: x * n, max_ways=1)
    fast(1.0, 1)
    with pytest.warns(RuntimeWarning, match="has 1 ways"):
        exec("assert fast(1.0, 2) == 2.0", {"fast": fast})


def test_a_batch_past_the_limit_says_so_too() -> None:
    w = Value(0.5)
    fast = compile(batch_sum(lambda x, n: w * x * n), max_ways=2)
    assert [fast.backward([1.0, 2.0], [n, n]) for n in range(2)] == [0.0, 1.5]
    with pytest.warns(RuntimeWarning, match="has 2 ways, .* unless written as floats") as told:
        assert fast.backward([1.0, 2.0], [2, 2]) == 3.0
    assert [warning.filename for warning in told] == [__file__]
    assert fast.backward([1.0, 2.0], [1, 3]) == 3.5


def test_all_classes_of_a_batch_get_code_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ws = [Value(0.5 + i) for i in range(4)]
    f = batch_mean(lambda x, k: ad.softmax_cross_entropy([w * x for w in ws], k))
    fast, printed = compile(f), []
    generate = specialising_module._Entry.generate
    monkeypatch.setattr(specialising_module._Entry, "generate", lambda entry: printed.append(1) or generate(entry))
    xs, classes = [0.1 * i for i in range(12)], [0, 0, 2, 2, 1, 0, 2, 0, 1, 2, 2, 1]
    assert fast(xs, classes) == f(xs, classes).data
    assert len(printed) == 1
    assert fast(xs, [3, *classes[1:]]) == f(xs, [3, *classes[1:]]).data
    assert len(printed) == 2
    assert [report.ways for report in fast.specialisations] == [4]


def test_an_error_of_one_class_comes_when_it_is_its_turn() -> None:
    w = Value(2.0)
    calls: list[Any] = []

    def f(x: Any, name: Any) -> Any:
        calls.append(name)
        return w * x * {"a": 1.0, "b": 2.0}[name]

    fast = compile(batch_sum(f))
    for columns in (([1.0, 0.5, 1.0], ["a", "no", "b"]), ([1.0, 0.5, 1.0], ["b", "a", "never"])):
        with pytest.raises(KeyError, match=r"'no'|'never'"):
            fast.backward(*columns)
        assert w.grad == 0.0
    assert fast.backward([1.0, 0.5], ["a", "b"]) == 4.0
    assert w.grad == 2.0
    assert len(calls) < 12


def test_examples_of_another_shape_in_a_batch_are_left_for_their_turn() -> None:
    f = batch_sum(lambda xs, k: ad.sum(xs) * k)
    fast = compile(f)
    for columns in (([[1.0], [2.0]], [1, 2]), ([[1.0], [2.0, 3.0]], [3, 4]), ([[1.0], [2.0]], [5, 6.0])):
        assert fast(*columns) == f(*columns)


def _with_branches(count: int) -> Function:
    """Make a function of so many numbers that takes one of two branches for each."""
    return lambda xs: ad.sum([ad.sin(x) * x if x > 0.0 else ad.cos(x) + x for x in xs[:count]])


def test_a_large_function_that_never_comes_the_same_way_again_is_seldom_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    f, rng = _with_branches(1_000), random.Random(1)
    fast = compile(value_and_grad(f))

    def calls(count: int) -> None:
        for _ in range(count):
            xs = [rng.uniform(-1.0, 1.0) for _ in range(1_000)]
            assert bits(fast(xs)) == bits(value_and_grad(f)(xs))

    calls(1 + 9 + 33)
    assert fast.specialisations[0].ways == 3
    monkeypatch.setattr("autodiff.specialising.WARN_AFTER", 5)
    calls(4)
    with pytest.warns(RuntimeWarning, match=r"has \d+,\d+ operations in 3 ways and still takes others: .* way") as told:
        calls(1)
    assert [warning.filename for warning in told] == [__file__]


def test_a_large_function_gets_code_for_what_comes_often() -> None:
    f, rng = _with_branches(1_000), random.Random(2)
    fast = compile(f)
    usual = [[rng.uniform(-1.0, 1.0) for _ in range(1_000)] for _ in range(3)]
    for _ in range(45):
        for xs in usual:
            assert fast(xs) == f(xs)
    assert fast.specialisations[0].ways == 3
    calls = [_calls_of(lambda xs=xs: fast(xs)) for xs in usual]
    assert max(calls) < 2_100  # sines and cosines: f itself does not run


@pytest.mark.parametrize("transform", [value_and_grad, grad, ad.jacobian])
def test_a_way_without_code_costs_no_more_than_the_transform_itself(transform: Function) -> None:
    """What runs on numbers that happen to be Values needs no graph of the derivative."""
    f, rng = _with_branches(1_000), random.Random(3)
    eager = transform(f)
    fast, xs, other = compile(eager), *([rng.uniform(-1.0, 1.0) for _ in range(1_000)] for _ in range(2))
    fast(xs)
    assert bits(fast(other)) == bits(eager(other))
    assert _calls_of(lambda: fast(other)) < 3 * _calls_of(lambda: eager(other))


def test_a_way_that_has_no_code_gives_what_f_gives() -> None:
    w = Value(2.0)
    outside = w * 3.0

    def f(x: Any) -> Any:
        y = x
        for _ in range(2_100):
            y = y + x
        return y if x < 0.0 else y * outside if x < 10.0 else Holder(y)

    large, full = compile(f), compile(f, max_ways=1)
    for fast in (large, full):
        fast(-1.0)
        w.grad = 0.0
        fast(1.0).backward()
        assert w.grad == 6303.0
    fast = compile(f)
    fast(-1.0)
    assert fast(10.0).x == 21_010.0
    fast = compile(f)
    fast.backward(-1.0)
    w.grad = outside.grad = 0.0
    assert fast.backward(1.0) == 12606.0
    assert (w.grad, outside.grad) == (6303.0, 2101.0)


def test_a_function_that_asks_something_else_each_time_runs_as_it_is() -> None:
    turns = itertools.cycle([0.0, 1.0, 2.0])

    def f(x: Any) -> Any:
        return x * 2.0 if x > next(turns) else x * 3.0

    fast = compile(f)
    assert [fast(10.0) for _ in range(6)] == [20.0] * 6
    assert {fast(0.5) for _ in range(3)} <= {1.0, 1.5}


def test_random_numbers_from_outside_are_caught_by_verify() -> None:
    rng = random.Random(0)
    fast = compile(lambda x: x * rng.random(), verify=True)
    with pytest.raises(
        RuntimeError, match=r"neither a Value nor a number in an argument.*pass its numbers as arguments"
    ):
        fast(1.0)  # f has run twice already


# ---- exceptions


@pytest.mark.parametrize(
    ("f", "x", "error"),
    [
        (ad.log, -1.0, ValueError),
        (ad.exp, 1e4, OverflowError),
        (lambda x: 1.0 / x, 0.0, ZeroDivisionError),
        (lambda x: x % 0.0, 1.0, ZeroDivisionError),
        (lambda x: ad.pow(x, 0.5), -1.0, ValueError),
        (lambda x: x**-1, 0.0, ZeroDivisionError),
        (lambda x: x**3, 1e200, OverflowError),
        (ad.sin, inf, ValueError),
        (lambda x: int(x) * x, nan, ValueError),
        (lambda x: round(x) * x, inf, OverflowError),
        (lambda x: ad.where(x > 0.0, x, ad.sqrt(x)), -1.0, ValueError),
        (lambda x: ad.where(1.0, x, ad.sqrt(x)), -1.0, ValueError),
        (lambda x: ad.relu(ad.log(x)), -1.0, ValueError),
        (lambda x: (ad.log(x), 1.0)[1] * x, -1.0, ValueError),
    ],
)
@pytest.mark.parametrize("transform", [lambda f: f, grad, lambda f: jvp_of(f), lambda f: grad(grad(f))])
def test_errors_are_those_of_the_function(f: Function, x: float, error: type[Exception], transform: Function) -> None:
    with pytest.raises(error):
        f(x)
    fast = compile(transform(f))
    outcome(fast, 0.75)
    for _ in range(2):
        with pytest.raises(error):
            fast(x)
    assert outcome(fast, 0.5) == outcome(transform(f), 0.5)


def jvp_of(f: Function) -> Function:
    return lambda x: jvp(f, (x,), (1.0,))


def test_the_first_of_two_errors_is_raised() -> None:
    def log_first(x: Any, y: Any) -> Any:
        a = ad.log(x)
        b = 1.0 / y
        return b + a

    def division_first(x: Any, y: Any) -> Any:
        b = 1.0 / y
        return ad.log(x) + b

    for f, error in ((log_first, ValueError), (division_first, ZeroDivisionError)):
        fast = compile(f)
        fast(1.0, 1.0)
        with pytest.raises(error):
            fast(-1.0, 0.0)


def test_a_value_raises_before_its_derivative_does() -> None:
    fast = compile(jvp_of(lambda t: ad.logit(ad.sigmoid(t))))
    fast(1.0)
    with pytest.raises(ValueError, match="domain"):
        fast(-1e308)


def test_an_error_names_the_operation_as_eagerly() -> None:
    fast = compile(lambda x: ad.log(x - 2.0) * 2.0)
    fast(3.0)
    with pytest.raises(ValueError, match=r"log\(-1.0\)"):
        fast(1.0)


def test_an_error_at_the_first_call_spoils_nothing() -> None:
    fast = compile(lambda x: ad.log(x))
    with pytest.raises(ValueError, match="log"):
        fast(-1.0)
    assert fast(1.0) == 0.0
    v = Value(2.0)
    v.data = 3.0  # nobody thinks that tracing still goes on


def test_errors_leave_gradients_as_they_were() -> None:
    w, u = Value(2.0), Value(3.0)
    fast = compile(lambda x: ad.log(x * w) * u)
    fast.backward(1.0)
    before = (w.grad, u.grad)
    with pytest.raises(ValueError, match="log"):
        fast.backward(-1.0)
    assert (w.grad, u.grad) == before


# ---- an exact 0 wins over infinity


def slope(x: Any) -> Any:
    """Differentiate |x|, written so that the chain rule meets 0 times infinity at 0: an exact 0 wins."""
    return grad(lambda t: ad.sqrt(t * t))(x)


ZERO_TIMES_INFINITY: dict[str, tuple[Function, tuple[float, ...]]] = {
    "root behind where": (lambda x: ad.where(x > 0.0, ad.sqrt(x), 0.0), (0.0,)),
    "root behind where by value": (lambda x: ad.where(x, ad.sqrt(abs(x)), 0.0), (0.0,)),
    "root of relu": (lambda x: ad.sqrt(ad.relu(x)), (-1.0,)),
    "root of a square": (lambda x: ad.sqrt(x * x), (0.0,)),
    "root squared": (lambda x: ad.sqrt(x) ** 2, (0.0,)),
    "product with a root": (lambda x: x * ad.sqrt(x), (0.0,)),
    "root of a product": (lambda x, y: ad.sqrt(x * y), (0.0, 0.0)),
    "logarithm behind relu": (lambda x: ad.relu(x) * ad.sqrt(ad.relu(-x)), (0.0,)),
    "power of relu": (lambda x: ad.pow(ad.relu(x), 0.5), (-1.0,)),
    "cube root of zero times": (lambda x, y: y * ad.cbrt(x), (0.0, 0.0)),
    "infinite factor": (lambda x, y: (x * y) * 0.0 + ad.relu(-x) * y, (1.0, inf)),
    "nan factor": (lambda x, y: ad.relu(x) * y, (-1.0, nan)),
    "two roots": (lambda x, y: ad.sqrt(ad.relu(x)) + ad.sqrt(y), (-1.0, 0.0)),
    "difference of infinities": (lambda x: ad.sqrt(x) - ad.sqrt(x), (0.0,)),
    "clipped": (lambda x: ad.sqrt(ad.clip(x, 0.0, 1.0)), (-1.0,)),
    "maximum": (lambda x, y: ad.maximum(x, ad.sqrt(y)), (1.0, 0.0)),
    "a slope as a condition": (lambda x: ad.where(slope(x), x + 1.0, x - 1.0), (0.0,)),
    "a slope asked for": (lambda x: x * 2.0 if slope(x) else x * 3.0, (0.0,)),
    "a slope compared": (lambda x: x * 2.0 if slope(x) >= 0.0 else x * 3.0, (0.0,)),
    "a slope to the power 0": (lambda x: ad.pow(slope(x), 0.0) + ad.pow(1.0, slope(x)) * x, (0.0,)),
    "a clipped slope": (lambda x: ad.clip(slope(x), -0.5, 0.5) * x + ad.copysign(x, slope(x) + 1.0), (0.0,)),
    "the larger of slopes": (lambda x: max(slope(x), 0.5) * x + min(0.5, slope(x)), (0.0,)),
    "a rounded slope": (lambda x: x + int(slope(x)) + ad.floor(slope(x)), (0.0,)),
    "a slope in a kernel": (lambda x: ad.logsumexp([slope(x), x]) + ad.hypot(slope(x), inf) * 0.0, (0.0,)),
    "data of a slope": (lambda x: x * slope(x).data if isinstance(slope(x), Value) else x * slope(x), (0.0,)),
}


@pytest.mark.parametrize("name", ZERO_TIMES_INFINITY)
@pytest.mark.parametrize("transform", [value_and_grad, jacobian, lambda f, argnums: grad(grad(f), argnums), hessian])
def test_an_exact_zero_wins_over_infinity(name: str, transform: Function) -> None:
    f, point = ZERO_TIMES_INFINITY[name]
    argnums = tuple(range(len(point)))
    if transform not in (value_and_grad, jacobian, hessian):
        argnums = 0
    ordinary = tuple(x + 0.7 if x == x and x != inf else 0.7 for x in point)
    agree(transform(f, argnums), ordinary, point, tuple(-x for x in point))


@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, inf, -inf, nan, 0.3]), min_size=2, max_size=2))
def test_fast_backward_knows_that_zero_wins(x: list[float]) -> None:
    w = Value(x[1])
    fast = compile(lambda x: ad.sqrt(ad.relu(x)) * w + ad.relu(-x * w))
    fast.backward(0.5)
    w.grad = 0.0
    value = outcome(fast.backward, x[0])
    found, w.grad = w.grad, 0.0

    def eagerly(x: float) -> float:
        result = ad.sqrt(ad.relu(x)) * w + ad.relu(-x * w)
        result.backward()
        return result.data

    assert outcome(eagerly, x[0]) == value
    assert bits(w.grad) == bits(found)


# ---- Values from outside


def test_captured_values_are_read_at_each_call() -> None:
    w = Value(2.0)
    fast = compile(lambda x: w * x)
    assert fast(3.0) == 6.0
    w.data = 5.0
    assert fast(3.0) == 15.0


def test_branches_follow_captured_values() -> None:
    w = Value(1.0)
    fast = compile(lambda x: x * w if w > 0.0 else x - w)
    found = []
    for number in (1.0, -1.0, 2.0, nan, 0.0, -0.0):
        w.data = number
        found.append(bits(fast(3.0)))
    assert found == [bits(y) for y in (3.0, 4.0, 6.0, nan, 3.0, 3.0)]


def test_the_sign_of_zero_is_data() -> None:
    agree(lambda x: ad.copysign(2.0, x.data) if isinstance(x, Value) else ad.copysign(2.0, x), (0.0,), (-0.0,), (1.0,))
    agree(lambda x: ad.copysign(2.0, round(x, 1)), (0.01,), (-0.01,), (-0.0,))
    w = Value(0.0)
    fast = compile(lambda x: ad.copysign(x, w.data))
    assert fast(2.0) == 2.0
    w.data = -0.0
    assert fast(2.0) == -2.0


def test_data_of_captured_values_is_no_constant() -> None:
    w = Value(1.0)
    fast = compile(grad(lambda x: x * w.data), max_ways=4)
    for number in (1.0, 2.0, -0.0, 0.0, nan, 1.0, 6.0, 7.0):
        w.data = number
        assert bits(fast(3.0)) == bits(number + 0.0)


@pytest.mark.parametrize(
    "f",
    [
        lambda x, w, u: w * x + u,
        lambda x, w, u: ad.tanh(w * x) * ad.tanh(w * x),
        lambda x, w, u: w * x if w > u else u / x,
        lambda x, w, u: x * 2.0,
        lambda x, w, u: 7,
        lambda x, w, u: w,
        lambda x, w, u: w * w * w + w,
        lambda x, w, u: ad.log(x * w) + u,
        lambda x, w, u: ad.affine([w, u], [x, 2.0], w),
        lambda x, w, u: ad.softmax_cross_entropy([w, u, x], 1),
        lambda x, w, u: w.detach() * u + x,
        lambda x, w, u: u * w.data,
        lambda x, w, u: grad(lambda t: t * t * w)(x) * u,
        lambda x, w, u: jvp(lambda t: t * w * u, (x,), (u,))[1],
        lambda x, w, u: ad.checkpoint(lambda t: t * w)(x) + u,
    ],
)
def test_fast_backward_is_backward(f: Function) -> None:
    w, u = Value(0.5, "w"), Value(2.0, "u")
    fast = compile(lambda x: f(x, w, u))

    def eagerly(x: float) -> float:
        result = f(x, w, u)
        if isinstance(result, Value):
            result.backward()
            return result.data
        return float(result)

    for x, numbers in [
        (1.0, (0.5, 2.0)),
        (3.0, (4.0, 0.25)),
        (-1.0, (2.0, 2.0)),
        (1.0, (0.5, 2.0)),
        (0.0, (-1.0, 1.0)),
    ]:
        w.data, u.data = numbers
        found = []
        for differentiate in (eagerly, fast.backward):
            w.grad, u.grad = 1.5, -1.0
            found.append((outcome(differentiate, x), bits(w.grad), bits(u.grad)))
        assert found[0] == found[1], (x, numbers)


def test_fast_backward_inside_no_grad_adds_nothing() -> None:
    """As there is nothing to differentiate for `f(...).backward()`."""
    w = Value(3.0)
    cases: list[tuple[Function, Any]] = [(lambda x: w * x, 2.0), (batch_mean(lambda x: w * x), [2.0])]
    for f, x in cases:
        fast = compile(f)
        for _ in range(2):
            w.grad = 0.0
            with no_grad():
                assert fast.backward(x) == 6.0
                assert fast(x) == 6.0
            assert w.grad == 0.0
            assert fast.backward(x) == 6.0
            assert w.grad == 2.0
            with no_grad():
                assert fast.backward(x) == 6.0
            assert w.grad == 2.0
        copied = pickle.loads(pickle.dumps(fast))
        copied.leaves[0].grad = 0.0
        with no_grad():
            assert copied.backward(x) == 6.0
        assert copied.leaves[0].grad == 0.0
        assert copied.backward(x) == 6.0
        assert copied.leaves[0].grad == 2.0


def test_transforms_inside_no_grad_still_differentiate() -> None:
    w = Value(3.0)
    gradient = compile(value_and_grad(lambda x: w * x * x))
    with no_grad():
        assert gradient(2.0) == (12.0, 12.0)
    assert gradient(3.0) == (27.0, 18.0)


@pytest.mark.parametrize("conversion", [int, round, math.floor, math.ceil, math.trunc])
def test_an_error_of_a_conversion_that_f_catches_is_no_frozen_branch(conversion: Function) -> None:
    def f(x: Any) -> Any:
        try:
            return conversion(x) * 2.0
        except (OverflowError, ValueError):
            return x

    agree(f, (inf,), (2.5,), (nan,), (-inf,), (-3.0,))


def test_a_checkpoint_of_a_number_that_closes_over_an_argument() -> None:
    agree(grad(lambda r: ad.checkpoint(lambda t: ad.affine([1.0, t], r, t))(0.1)), ([2.0, 1.25],), ([-1.0, 3.0],))


def test_fast_backward_adds_up() -> None:
    w = Value(3.0)
    fast = compile(lambda x: w * x)
    fast.backward(2.0)
    assert fast.backward(5.0) == 15.0
    assert w.grad == 7.0
    assert fast(1.0) == 3.0
    assert w.grad == 7.0


def test_fast_backward_of_more_than_a_number_is_refused() -> None:
    w = Value(3.0)
    with pytest.raises(TypeError, match="number"):
        compile(lambda x: [w * x, w]).backward(1.0)


def test_a_model_as_an_argument() -> None:
    class Model:
        def __init__(self) -> None:
            self.w = Value(2.0, "w")

        def __call__(self, x: Any) -> Any:
            return self.w * x

    def loss(model: Model, x: Any, y: Any) -> Any:
        return (model(x) - y) ** 2

    one, two = Model(), Model()
    fast = compile(loss)
    for _ in range(2):
        for model in (one, two):
            model.w.data += 1.0
            model.w.grad = 0.0
            expected = (model.w.data * 3.0 - 1.0) ** 2
            assert fast(model, 3.0, 1.0) == expected
            assert fast.backward(model, 3.0, 1.0) == expected
            assert model.w.grad == 2.0 * (model.w.data * 3.0 - 1.0) * 3.0


def test_an_interior_value_behaves_as_it_does_eagerly() -> None:
    w = Value(3.0)
    h = w * w
    f = lambda x: h * x  # noqa: E731
    fast = compile(f)
    assert bits(fast(2.0)) == bits(18.0)
    assert fast.backward(2.0) == 18.0
    assert w.grad == 12.0  # through the interior node, to the leaf
    assert h.grad == 2.0
    w.data = 4.0
    assert bits(fast(2.0)) == bits(18.0)  # h was computed from 3.0


def test_a_value_that_becomes_a_leaf_inside_another_transform() -> None:
    def outer(x: Any) -> Any:
        inner = compile(lambda y: x * y * y)
        return inner(2.0) + grad(inner)(3.0)

    assert grad(outer)(5.0) == 4.0 + 6.0
    assert compile(grad(outer))(5.0) == 10.0


def test_values_as_arguments_run_the_function_itself() -> None:
    fast = compile(lambda x, p: x * p[0])
    x = Value(2.0)
    y = fast(x, [3.0])
    assert isinstance(y, Value)
    y.backward()
    assert x.grad == 3.0
    assert isinstance(fast(1.0, [Value(3.0)]), Value)
    assert fast(1.0, [3.0]) == 3.0


def test_compiled_functions_inside_a_compiled_function_stay_alive() -> None:
    w = Value(2.0)
    inner = compile(lambda: w * w)
    outer = compile(lambda x: inner() * x)
    assert outer(1.0) == 4.0
    w.data = 3.0
    assert outer(1.0) == 9.0
    assert outer.backward(1.0) == 9.0
    assert w.grad == 6.0


def test_inside_anomaly_detection_nothing_is_overlooked() -> None:
    w = Value(0.0, "w")
    fast = compile(lambda x: ad.sqrt(w) * x)
    assert fast(1.0) == 0.0
    with ad.anomaly_detection(), pytest.raises(FloatingPointError, match="sqrt"):
        fast(1.0)


def test_no_grad_and_detach_inside() -> None:
    def f(x: Any) -> Any:
        with no_grad():
            y = x * x
        return y * x + x.detach() * x if isinstance(x, Value) else x * x * x + x * x

    for make in (lambda f: f, grad, value_and_grad, hessian):
        agree(make(f), (2.0,), (3.0,), (-1.0,))
    assert compile(grad(f))(3.0) == 9.0 + 3.0


def test_a_python_global_is_a_constant_and_verify_notices() -> None:
    scale = [2.0]
    fast, careful = compile(lambda x: x * scale[0]), compile(lambda x: x * scale[0], verify=True)
    assert fast(3.0) == careful(3.0) == 6.0
    scale[0] = 5.0
    assert fast(3.0) == 6.0
    with pytest.raises(RuntimeError, match=r"6\.0.*15\.0"):
        careful(3.0)


@pytest.mark.parametrize("change", [lambda: (1.0,), lambda: [1.0, 2.0], lambda: None, lambda: "one"])
def test_verify_notices_another_structure(change: Function) -> None:
    results = iter([[1.0], change()])
    current: list[Any] = [[1.0]]
    fast = compile(lambda x: current[0] if x > 0.0 else x, verify=True)
    current[0] = next(results)
    assert fast(1.0) == [1.0]
    current[0] = next(results)
    with pytest.raises(RuntimeError, match="pass its numbers as arguments"):
        fast(1.0)


@pytest.mark.parametrize("batch", [False, True])
def test_verify_compares_gradients(batch: bool) -> None:
    w, v, current = Value(2.0, label="w"), Value(5.0, label="v"), [lambda x: w * w * x]

    def f(x: Any) -> Any:
        return current[0](x)

    args = ([3.0, 4.0],) if batch else (3.0,)
    fast = compile(batch_sum(f) if batch else f, verify=True)
    slope, slope_of_two = (28.0, 56.0) if batch else (12.0, 24.0)
    value = fast.backward(*args)
    assert (value, w.grad) == (fast(*args), slope)
    assert (fast.backward(*args), w.grad) == (value, slope_of_two)
    changes: list[Function] = [
        lambda x: w * w.detach() * x,  # the same value, another gradient
        lambda x: w.detach() * w.detach() * x,
        lambda x: w.data * w.data * x,
        lambda x: w * w * x + (v - v.detach()),  # a leaf that the compiled code does not know
    ]
    for change in changes:
        current[0] = change
        with pytest.raises(RuntimeError, match=r"at gradient\['\d: [wv]'\], and the function itself"):
            fast.backward(*args)
        assert (w.grad, v.grad) == (slope_of_two, 0.0)
    current[0] = lambda x: w * w * x + 1.0
    with pytest.raises(RuntimeError, match=r"at result, and the function itself"):
        fast.backward(*args)
    assert w.grad == slope_of_two


def test_verify_and_check_grads_allow_for_a_sum_that_compensates() -> None:
    """From Python 3.12 on, `sum` rounds otherwise where all are floats; compiled code does as with Values."""
    w, rng = Value(1.3), random.Random(0)

    def f(xs: Any) -> Any:
        return sum(x * x for x in xs) * w

    fast, loop = compile(f, verify=True), compile(batch_sum(lambda *xs: f(xs)), verify=True)
    for _ in range(20):
        xs = [rng.gauss() for _ in range(20)]
        assert fast(xs) == fast.backward(xs) == loop.backward(*[[x] for x in xs])
        ad.check_grads(lambda xs: sum(x * x for x in xs), xs, order=1)


VALUES_FOR_CONSTANTS: dict[str, tuple[Function, tuple[Any, ...], Callable[[Value], tuple[Any, ...]]]] = {
    "whole number": (lambda x: x * x, (3,), lambda v: (v,)),
    "beside a float": (lambda x, n: x * n, (2.0, 3), lambda v: (2.0, v)),
    "in a list": (lambda xs: xs[0] * xs[1], ([2.0, 3],), lambda v: ([2.0, v],)),
    "nothing": (lambda x, s: x if s is None else s * x, (2.0, None), lambda v: (2.0, v)),
    "a name": (lambda x, s: x if s == "a" else s * x, (2.0, "a"), lambda v: (2.0, v)),
    "batch": (batch_sum(lambda x, n: x * n), ([2.0, 1.0], [3, 4]), lambda v: ([2.0, 1.0], [3, v])),
    "batch with a new number": (
        batch_sum(lambda x, n: x * n),
        ([2.0] * 3, [3, 4, 3]),
        lambda v: ([2.0] * 3, [3, 5, v]),
    ),
}


@pytest.mark.parametrize("calls", [1, 3])
@pytest.mark.parametrize("name", VALUES_FOR_CONSTANTS)
def test_a_value_where_there_was_a_constant_keeps_its_graph(name: str, calls: int) -> None:
    f, first, then = VALUES_FOR_CONSTANTS[name]
    fast, v, w = compile(f), Value(5.0), Value(5.0)
    for _ in range(calls):
        assert fast(*first) == f(*first)
    found, expected = fast(*then(v)), f(*then(w))
    assert isinstance(found, Value)
    found.backward()
    expected.backward()
    assert (found.data, v.grad) == (expected.data, w.grad)
    by_value = compile(lambda *args: f(*args) * 1.0)
    for _ in range(calls):
        by_value.backward(*first)
    v.grad = 0.0
    assert (by_value.backward(*then(v)), v.grad) == (expected.data, w.grad)


MIXED: dict[str, Function] = {
    "product": lambda x, y: x * y + 1.0,
    "branch": lambda x, y: x * y if x > y else x - y,
    "one of them": lambda x, y: x if y else 2.0 * y,
    "network": lambda x, y: ad.relu(x) * ad.tanh(y) - ad.relu(-y),
    "slope": lambda x, y: grad(lambda z: z * z * y)(x),
}
KINDS = st.one_of(
    st.sampled_from([1.5, -2.0, 0.0, -0.0]),
    st.sampled_from([1, 2, -3, 0]),
    st.sampled_from([1.5, -2.0]).map(Value),
)


def with_slopes(f: Function, args: tuple[Any, ...]) -> list[Any]:
    """Call f and sweep what comes out; give the bits of it and of the gradients, and whether it is a Value."""
    for x in args:
        if isinstance(x, Value):
            x.grad = 0.0
    found = f(*args)
    if isinstance(found, Value):
        found.backward()
    numbers = [found.data if isinstance(found, Value) else float(found)]
    numbers += [x.grad for x in args if isinstance(x, Value)]
    return [isinstance(found, Value), *map(bits, numbers)]


@given(st.sampled_from(sorted(MIXED)), st.lists(st.tuples(KINDS, KINDS), min_size=2, max_size=6))
def test_kinds_of_arguments_may_change_from_call_to_call(name: str, calls: list[tuple[Any, ...]]) -> None:
    fast = compile(MIXED[name])
    for args in calls:
        assert with_slopes(fast, args) == with_slopes(MIXED[name], args)


def test_floats_of_numpy_where_a_batch_had_whole_numbers_have_code_of_their_own() -> None:
    """They were a new way each, compared by identity, which printed Python that warned."""
    numpy = pytest.importorskip("numpy")
    fast = compile(batch_sum(lambda x, n: x * n))
    assert fast([2.0], [3]) == 6.0
    for factor in (0.5, 1.5, 2.5):
        assert fast([2.0], numpy.array([factor])) == 2.0 * factor
    assert [s.ways for s in fast.specialisations] == [1, 1]
    assert fast([2.0, 2.0], [3, 4]) == 14.0


def test_a_loop_names_its_most_used_variables_first() -> None:
    """Beyond 256 variables, CPython takes two instructions to read one. The numbers are the same."""
    rng = random.Random(1)
    ws = [[Value(rng.gauss(0.0, 0.3)) for _ in range(15)] for _ in range(20)]

    def f(x: Any) -> Any:
        hidden = [ad.tanh(ad.affine(row[1:], x, row[0])) for row in ws]
        return ad.sum_of_squares(hidden)

    leaves = [w for row in ws for w in row]
    batch = batch_mean(f)
    fast = compile(batch)
    rows = [[rng.uniform(-1.0, 1.0) for _ in range(14)] for _ in range(5)]
    value = fast.backward(rows)
    found = [w.grad for w in leaves]
    assert "if False:  # never run: it names the most used first" in fast.source
    namespace: dict[str, Any] = {}
    exec(fast.source, namespace)
    names = namespace["backward_f"].__code__.co_varnames
    assert len(names) > 512
    uses = {name: len(re.findall(rf"\b{name}\b", fast.source)) for name in names if re.fullmatch(r"[vdg]\d+", name)}
    assert min(uses[name] for name in names[1:129]) >= max(uses.get(name, 0) for name in names[256:])
    for w in leaves:
        w.grad = 0.0
    expected = batch(rows)
    expected.backward()
    assert bits([value, *found]) == bits([expected.data, *[w.grad for w in leaves]])
    small = compile(batch_mean(lambda x: ws[0][0] * x))
    small.backward([1.0])
    assert "if False" not in small.source


def test_verify_is_content_with_equal_results() -> None:
    fast = compile(value_and_grad(landscape), verify=True)
    for x in ([0.1, 0.2, 0.3], [2.0, 0.2, 0.3], [nan, 1.0, 1.0]):
        assert bits(fast(x)) == bits(value_and_grad(landscape)(x))


# ---- the structure of arguments and results


class Pair(NamedTuple):
    x: Any
    y: Any


@dataclass(frozen=True)
class Line:
    slope: Any
    offset: Any


@dataclass
class Box:
    items: Any
    label: str = "box"


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


STRUCTURES: dict[str, tuple[Function, list[tuple[Any, ...]]]] = {
    "lengths": (lambda xs: ad.sum([x * x for x in xs]), [([1.0],), ([1.0, 2.0],), ([],), ([1.0, 2.0, 3.0],)]),
    "list and tuple": (lambda p: (p[0] * p[1], type(p) is list), [([1.0, 2.0],), ((1.0, 2.0),)]),
    "dicts": (
        lambda d: [x * 2.0 for x in d.values()],
        [({"a": 1.0},), ({"b": 1.0, "a": 2.0},), ({"a": 2.0, "b": 1.0},)],
    ),
    "keys of all kinds": (lambda d: ad.sum(d.values()), [({1: 1.0, (2, "x"): 2.0, "a b": 3.0, None: 4.0, "": 5.0},)]),
    "keys that are objects": (
        lambda d: {key: 2.0 * x for key, x in d.items()},
        [({Colour.RED: 1.0, (Colour.GREEN, 1): 2.0},), ({Colour.GREEN: 3.0},), ({nan: 1.0, 0.5: 2.0},)],
    ),
    "named tuples": (lambda p: Pair(p.y * 2.0, p.x), [(Pair(1.0, 2.0),), (Pair(3.0, 4.0),)]),
    "dataclasses": (lambda p: Line(p.offset, p.slope * p.slope), [(Line(1.0, 2.0),), (Line(3.0, 4.0),)]),
    "dataclasses with other fields": (
        lambda b: Box([x * 2.0 for x in b.items]),
        [(Box([1.0]),), (Box([1.0, 2.0], "c"),)],
    ),
    "nested": (
        lambda a: {"out": (a["w"][0][1] * a["b"].x, [a["w"][1][0]])},
        [({"w": [[1.0, 2.0], [3.0, 4.0]], "b": Pair(5.0, 6.0)},)],
    ),
    "ints": (lambda x, n: x**n, [(2.0, 3), (2.0, 2), (2.0, -1), (2.0, 0), (2, 3), (2.0, True)]),
    "ints and floats": (lambda x: (x + 1, x * 0.5), [(1,), (1.0,), (2,), (True,)]),
    "strings": (lambda x, kind: ad.exp(x) if kind == "exp" else -x, [(1.0, "exp"), (1.0, "neg"), (2.0, "'\"\\\n")]),
    "none": (lambda x, y: x if y is None else x * y, [(1.0, None), (1.0, 2.0)]),
    "unhashable": (lambda x, s: x * len(s), [(2.0, {1, 2}), (2.0, {1}), (2.0, bytearray(b"abc"))]),
    "functions": (lambda f, x: f(x) * 2.0, [(ad.exp, 1.0), (ad.log, 1.0), (math.floor, 1.5)]),
    "long strings": (lambda x, s: x * len(s), [(2.0, "a" * 500), (2.0, "b" * 501)]),
    "large ints": (lambda x, n: x + n % 10, [(2.0, 10**400 + 7), (2.0, -(10**30))]),
    "negative ints": (lambda x, n: x * n if x > n else x, [(2.0, -3), (-7.0, -3)]),
    "no arguments": (lambda: 3.0, [()]),
    "constant results": (lambda x: ("a", 1, None, True, 2.5, nan, -0.0, x), [(1.0,)]),
    "empty results": (lambda x: ((), [], {}, [()]), [(1.0,)]),
    "repeated results": (lambda x: [x, x, x * 1.0], [(1.0,)]),
    "single": (lambda x: (x,), [(1.0,)]),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_go_in_and_out(name: str) -> None:
    f, calls = STRUCTURES[name]
    agree(f, *calls)


TREES = st.recursive(
    st.one_of(st.floats(), st.integers(-9, 9), st.booleans(), st.none(), st.sampled_from(["", "a", "'\"{}\\"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from(["a", "b c", 3, (1, "x"), Colour.RED]), inner, max_size=3),
        st.builds(Pair, inner, inner),
        st.builds(Line, inner, inner),
    ),
    max_leaves=8,
)


def _mirror(tree: Any, again: Any = None) -> Any:
    """Keep the containers and turn the numbers round."""
    return tree_map(lambda x: -x * 0.5 if isinstance(x, float | Value) else x, tree), again


@pytest.mark.parametrize("kind", [list, tuple])
def test_long_lists_are_checked_as_a_whole(kind: type) -> None:
    """One check finds another length, and every number that is no float."""
    numpy = pytest.importorskip("numpy")

    def f(xs: Any) -> Any:
        return functools.reduce(lambda total, x: total + x * x, xs, xs[7] / 2)  # `sum` of floats compensates from 3.12

    fast = compile(f)
    floats = [0.1 * i for i in range(200)]
    assert fast(kind(floats)) == f(floats)
    assert fast.source.count("type(") == 1
    assert "[float] * 200" in fast.source
    for odd in (3, 2**60 + 1, numpy.float64(0.3), numpy.float32(0.1)):
        given = kind([*floats[:7], odd, *floats[8:]])
        assert fast(given) == f([*floats[:7], float(odd), *floats[8:]])
    assert fast(kind(floats[:-1])) == f(floats[:-1])
    mixed = kind([*floats[:7], Value(0.25), *floats[8:]])
    assert fast(mixed).data == f(list(mixed)).data
    for wrong in ("1", None, 1j):
        with pytest.raises(TypeError):
            fast(kind([*floats[:7], wrong, *floats[8:]]))
    assert fast(kind(floats)) == f(floats)


@given(st.lists(TREES, min_size=1, max_size=4))
def test_any_structure_is_its_own_specialisation(trees: list[Any]) -> None:
    fast = compile(_mirror)
    for tree in [*trees, *reversed(trees)]:
        assert outcome(fast, tree) == outcome(_mirror, tree)
        assert outcome(fast, tree, trees[0]) == outcome(_mirror, tree, trees[0])


def test_results_have_the_types_of_the_function() -> None:
    f = lambda p: Line(Pair(p.x, [p.y]), {"k": (p.x * 2.0,)})  # noqa: E731
    found = compile(f)(Pair(1.0, 2.0))
    assert found == Line(Pair(1.0, [2.0]), {"k": (2.0,)})
    assert type(found.slope) is Pair
    gradient = compile(jacobian(lambda p: Pair(p[0], [p[1]])))([1.0, 2.0])
    assert gradient == Pair([1.0, 0.0], [[0.0, 1.0]])


def test_two_calls_do_not_share_a_result() -> None:
    fast = compile(lambda x: ([x], {"a": []}, Box([x])))
    first = fast(1.0)
    first[0].append(2.0)
    first[1]["a"].append(3.0)
    first[2].items.append(4.0)
    assert fast(1.0) == ([1.0], {"a": []}, Box([1.0]))


@pytest.mark.parametrize(
    ("f", "look"),
    [
        (lambda x: types.SimpleNamespace(y=x * x), lambda result: result.y),
        (lambda x: {x * 2.0}, lambda result: next(iter(result))),
        (lambda x: (y * 3.0 for y in [x]), next),
        (lambda x: zip([x * 3.0], [x], strict=True), lambda result: next(result)[0]),
        (lambda x: lambda t: t * x, lambda result: result(2.0)),
        (lambda x: [types.SimpleNamespace(y=x)], lambda result: result[0].y),
    ],
)
def test_numbers_hidden_in_a_result_are_not_frozen(f: Function, look: Function) -> None:
    """What is no container cannot be looked into: f runs as it is, or says so."""
    fast = compile(f)
    for x in (1.0, 2.0, 1.0):
        try:
            result = fast(x)
        except TypeError as error:
            assert "return" in str(error) or "result" in str(error)  # noqa: PT017
        else:
            assert bits(look(result)) == bits(look(f(x)))


def test_objects_among_the_arguments_may_be_returned() -> None:
    thing = object()
    fast = compile(lambda x, o: (x * 2.0, o, Colour.RED))
    assert fast(1.0, thing) == fast(1.0, thing) == (2.0, thing, Colour.RED)
    assert fast(2.0, None) == (4.0, None, Colour.RED)


def test_a_result_that_is_the_argument() -> None:
    thing = [1.0, 2.0]
    assert compile(lambda p: p)(thing) == thing


def test_signatures() -> None:
    def f(a: Any, b: Any = 2.0, /, c: Any = 3.0, *rest: Any, d: Any, e: Any = 5.0) -> Any:
        return a + 10.0 * b + 100.0 * c + 1000.0 * d + 10000.0 * e + 100000.0 * ad.sum(rest)

    fast = compile(f)
    for args, kwargs in [
        ((1.0,), {"d": 4.0}),
        ((1.0, 2.5), {"d": 4.0}),
        ((1.0, 2.5, 3.5), {"d": 4.0, "e": 5.5}),
        ((1.0, 2.5, 3.5, 6.0, 7.0), {"e": 5.5, "d": 4.0}),
        ((1.0,), {"c": 9.0, "d": 4.0}),
        ((1.0,), {"d": 4, "e": 5}),
    ]:
        for _ in range(2):
            assert fast(*args, **kwargs) == f(*args, **kwargs)
    for wrong in (lambda: fast(), lambda: fast(1.0), lambda: fast(1.0, d=1.0, z=2.0), lambda: fast(1.0, b=3.0, d=1.0)):
        with pytest.raises(TypeError, match="argument"):
            wrong()
    assert fast(1.0, d=4.0) == f(1.0, d=4.0)


def test_keyword_arguments_in_any_order() -> None:
    fast = compile(lambda x, y: x - y)
    assert fast(x=3.0, y=1.0) == fast(y=1.0, x=3.0) == fast(3.0, y=1.0) == 2.0


def test_arbitrary_keyword_arguments_work_or_are_refused_with_advice() -> None:
    fast = compile(lambda x, **options: x * options.get("scale", 1.0))
    assert fast(2.0) == 2.0
    with pytest.raises(TypeError, match=r"names|unexpected keyword"):
        fast(2.0, scale=3.0)


class Scaled:
    """A class with methods and __call__."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, x: Any) -> Any:
        return self.scale * x

    def method(self, x: Any) -> Any:
        return self.scale + x


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (Scaled(3.0), 6.0),
        (Scaled(3.0).method, 5.0),
        (functools.partial(lambda a, x: a * x, 4.0), 8.0),
        (functools.partial(lambda a, x: a * x, x=2.0, a=4.0), 8.0),
        (ad.exp, math.exp(2.0)),
        (abs, 2.0),
        (functools.lru_cache(lambda x: x * 2.0), 4.0),
    ],
)
def test_anything_callable(f: Function, expected: float) -> None:
    fast = compile(f)
    args = () if isinstance(f, functools.partial) and f.keywords else (2.0,)
    assert fast(*args) == fast(*args) == expected


@pytest.mark.parametrize("thing", [3.0, None, "f", [1.0], Value(1.0)])
def test_what_cannot_be_called_is_refused(thing: Any) -> None:
    with pytest.raises(TypeError, match=r"compile\(\) takes a function"):
        compile(thing)


# ---- NumPy


def test_numpy_numbers_are_floats() -> None:
    numpy = pytest.importorskip("numpy")
    fast = compile(lambda x, y: x * y if x > y else x / y)
    for x, y in itertools.product(
        [1.5, numpy.float64(1.5), numpy.float32(0.1), 2, numpy.int64(2), numpy.array(2.5)], repeat=2
    ):
        found = fast(x, y)
        a, b = float(x), float(y)
        assert type(found) is float
        assert bits(found) == bits(a * b if a > b else a / b)


def test_numpy_functions_compile() -> None:
    numpy = pytest.importorskip("numpy")
    assert compile(numpy.sin)(0.5) == math.sin(0.5)
    assert compile(grad(numpy.sin))(0.5) == math.cos(0.5)
    assert compile(grad(numpy.arctan2, (0, 1)))(0.5, 2.0) == grad(ad.atan2, (0, 1))(0.5, 2.0)


def test_numpy_numbers_cost_little() -> None:
    numpy = pytest.importorskip("numpy")
    f = lambda x, point, rates, n=1: x * point[0] * rates["a"] ** n  # noqa: E731
    fast = compile(value_and_grad(f, (0, 1, 2)))
    floats = (0.5, [2.0, (3.0,)], {"a": 1.5}, 2)
    expected = fast(*floats)
    for args in (
        (numpy.float64(0.5), *floats[1:]),
        (0.5, [numpy.float64(2.0), (3.0,)], *floats[2:]),
        (0.5, [2.0, (numpy.float32(3.0),)], *floats[2:]),
        (*floats[:2], {"a": numpy.float64(1.5)}, 2),
        (*floats[:3], numpy.int64(2)),
    ):
        assert bits(fast(*args)) == bits(expected)
        assert _calls_of(lambda args=args: fast(*args)) < 100
    assert bits(fast(*floats[:3], n=numpy.int64(2))) == bits(expected)
    value, _ = fast(numpy.float64(0.5), [Value(2.0), (3.0,)], {"a": 1.5}, 2)
    assert (type(value), value.data) == (Value, expected[0])


def test_batches_of_numpy_numbers_cost_little() -> None:
    numpy = pytest.importorskip("numpy")
    w = Value(0.5)
    fast = compile(batch_mean(lambda x, y: (w * x[0] - y) ** 2))
    columns = [[1.0], [2.0], [4.0]], [1.0, 1.0, 3.0]
    expected = fast.backward(*columns)
    theirs = [[numpy.float64(x)] for [x] in columns[0]], list(numpy.array(columns[1]))
    once = w.grad
    assert fast.backward(*theirs) == expected
    assert w.grad == 2.0 * once
    assert _calls_of(lambda: fast.backward(*theirs)) < 100


def test_numpy_arrays_go_in_and_out() -> None:
    numpy = pytest.importorskip("numpy")
    x = numpy.array([0.5, 1.5, 2.5])
    fast = compile(value_and_grad(rosenbrock))
    for point in (x, x + 1.0, list(x), x[:2], x.astype(numpy.float32), x.astype(int)):
        value, gradient = fast(point)
        right_value, right = value_and_grad(rosenbrock)(point)
        assert value == right_value
        assert type(gradient) is type(right)
        assert numpy.array_equal(gradient, right)
        assert bits(gradient) == bits(right)


def test_matrices_keep_their_shape() -> None:
    numpy = pytest.importorskip("numpy")
    W = numpy.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    f = lambda W, x: ad.sum([ad.tanh(h) for h in W @ x])  # noqa: E731
    x = numpy.array([0.1, 0.2, 0.3])
    for order in ("C", "F"):
        found = compile(grad(f, (0, 1)))(numpy.asarray(W, order=order), x)
        right = grad(f, (0, 1))(W, x)
        assert found[0].shape == (2, 3)
        assert all(numpy.array_equal(a, b) for a, b in zip(found, right, strict=True))
    doubled = compile(lambda W: W * 2.0 + 1.0)
    assert numpy.array_equal(doubled(W), W * 2.0 + 1.0)
    assert doubled(W).dtype == float
    assert numpy.array_equal(doubled(W.T), W.T * 2.0 + 1.0)
    assert numpy.array_equal(doubled(W[:, ::2]), W[:, ::2] * 2.0 + 1.0)


def test_an_optimiser_of_scipy_takes_it_as_it_stands() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    fast = compile(value_and_grad(rosenbrock))
    result = optimize.minimize(fast, [-1.2, 1.0, 0.5], jac=True, method="BFGS", options={"gtol": 1e-8})
    assert result.x == pytest.approx([1.0, 1.0, 1.0], abs=1e-6)


# ---- transforms, nested


@pytest.mark.parametrize(
    "transform",
    [
        grad,
        value_and_grad,
        jacobian,
        hessian,
        lambda f: jacobian(grad(f)),
        lambda f: lambda x: hvp(f)(x, [1.0, -1.0, 0.5]),
        lambda f: lambda x: jvp(grad(f), (x,), ([1.0, 0.0, 0.0],)),
        lambda f: lambda x: vjp(f, x)[1](2.0),
        lambda f: grad(lambda x: ad.sum(grad(f)(x))),
        lambda f: jacobian(lambda x: hvp(f)(x, x)),
        lambda f: grad(ad.checkpoint(f)),
        lambda f: value_and_grad(compile(f)),
        lambda f: compile(compile(grad(f))),
        lambda f: hessian(lambda x: f([compile(ad.tanh)(t) for t in x])),
    ],
)
def test_transforms_compile_in_any_nesting(transform: Function) -> None:
    eager = transform(landscape)
    agree(eager, ([0.5, -1.0, 2.0],), ([2.0, 1.0, -1.5],), ([0.1, 0.1, 0.1],), ([0.0, 0.0, 0.0],))


def test_derivatives_never_are_negative_zero() -> None:
    for f in (
        lambda x: -x * 0.0,
        lambda x: ad.copysign(x, -1.0) * 0.0,
        lambda x: -(x**2),
        lambda x: ad.relu(-x) * -1.0,
    ):
        for make in (grad, lambda f: grad(grad(f))):
            for x in (0.0, -0.0, 1.0, -1.0):
                assert bits(compile(make(f))(x)) != bits(-0.0)


# ---- batches


def _loss(w: Value, u: Value) -> Function:
    def loss(x: Any, y: Any) -> Any:
        error = ad.tanh(w * x + u) - y
        return error * error if abs(error) < 0.5 else abs(error) - 0.25 * w * w

    return loss


@pytest.mark.parametrize("batch", [batch_sum, batch_mean])
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=12))
def test_batches_are_the_loop_over_examples(batch: Function, examples: list[tuple[float, float]]) -> None:
    w, u = Value(0.7, "w"), Value(-0.3, "u")
    eager = batch(_loss(w, u))
    fast = compile(eager)
    xs, ys = (list(column) for column in zip(*examples, strict=True))
    assert bits(fast(xs, ys)) == bits(eager(xs, ys))
    found = []
    for run in (fast.backward, lambda xs, ys: _backward(eager(xs, ys))):
        w.grad, u.grad = 0.25, 0.0
        found.append((bits(run(xs, ys)), bits(w.grad), bits(u.grad)))
    assert found[0] == found[1]
    w.data = -1.5
    assert bits(fast(xs, ys)) == bits(eager(xs, ys))


def _backward(result: Any) -> float:
    if not isinstance(result, Value):
        return float(result)
    result.backward()
    return result.data


def test_a_batch_is_one_loop_whatever_its_length() -> None:
    w = Value(2.0, "w")
    fast = compile(batch_mean(lambda x, y: (ad.exp(w) * x - y) ** 2))
    for n in (1, 3, 100, 7):
        xs, ys = [0.1 * i for i in range(n)], [0.2 * i for i in range(n)]
        w.grad = 0.0
        value = fast.backward(xs, ys)
        assert value == sum((math.exp(2.0) * x - y) ** 2 for x, y in zip(xs, ys, strict=True)) / n
    assert len(fast.specialisations) == 1
    source = fast.source
    assert source.count("for ") == 1
    assert source.index("exp(w)") < source.index("for ")  # the same for all examples


def test_batches_of_structured_examples() -> None:
    w = [Value(0.5), Value(-1.0)]

    def loss(x: Any, label: Any) -> Any:
        return ad.softmax_cross_entropy([ad.dot(w, x), w[0] * x[1]], label)

    eager, fast = batch_mean(loss), compile(batch_mean(loss))
    xs, labels = [[1.0, 2.0], [0.5, -1.0], [3.0, 0.1]], [0, 1, 0]
    for targets in (labels, [1, 1, 0]):
        found = []
        for run in (lambda *a: _backward(eager(*a)), fast.backward):
            for p in w:
                p.grad = 0.0
            found.append((bits(run(xs, targets)), bits([p.grad for p in w])))
        assert found[0] == found[1]


def test_batches_in_arrays() -> None:
    numpy = pytest.importorskip("numpy")
    w = [Value(0.5), Value(-1.0)]
    eager = batch_sum(lambda x, y: (ad.dot(w, x) - y) ** 2)
    fast = compile(eager)
    X, y = numpy.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.1]]), numpy.array([1.0, 0.0, -1.0])
    for xs, ys in (
        (X, y),
        (X.tolist(), y.tolist()),
        (X.astype(numpy.float32), y),
        (X, list(y)),
        ([*X], y),
        (X[:1], y[:1]),
    ):
        for p in w:
            p.grad = 0.0
        value, gradient = fast.backward(xs, ys), [p.grad for p in w]
        for p in w:
            p.grad = 0.0
        assert bits(value) == bits(_backward(eager(xs, ys)))
        assert bits(gradient) == bits([p.grad for p in w])


def test_a_batch_takes_each_example_its_own_way() -> None:
    w = Value(1.0)

    def f(x: Any) -> Any:
        if x < 0.0:
            return w * x
        if x > 10.0:
            raise LookupError("large")
        steps = 0
        while x > 1.0:
            x, steps = x * 0.5 * w, steps + 1
        return x * steps + ad.sqrt(x)

    fast, eager = compile(batch_sum(f)), batch_sum(f)
    for xs in ([1.0], [-1.0, 5.0], [3.0, -2.0, 9.0, 0.5], [9.0] * 3, [0.1, -0.1]):
        w.grad = 0.0
        value = fast.backward(xs)
        found, w.grad = w.grad, 0.0
        assert bits(_backward(eager(xs))) == bits(value)
        assert bits(w.grad) == bits(found)
    w.grad = 0.0
    for run in (fast, fast.backward):
        with pytest.raises(LookupError, match="large"):
            run([1.0, 2.0, 11.0])
    assert w.grad == 0.0  # an error in the third example: nothing was added for the first two


def test_an_exact_zero_wins_over_infinity_in_a_batch() -> None:
    w = Value(0.0)

    def f(x: Any) -> Any:
        inner = vjp(lambda t: ad.cos(ad.clip(t, 9.0, 9.0)), x - nan)[1](1.0)[0]
        return inner + ad.sqrt(ad.relu(w)) * x + grad(lambda t: ad.sqrt(ad.relu(t)) * w)(x)

    for batch in (batch_sum, batch_mean):
        eager, fast = batch(f), compile(batch(f))
        for number in (1.0, 0.0, -1.0, inf):
            w.data = number
            for xs in ([1.0], [-1.0, 2.0], [0.0, 0.0, -3.0]):
                assert outcome(fast, xs) == outcome(eager, xs)
                w.grad = 0.0
                value = outcome(fast.backward, xs)
                found, w.grad = w.grad, 0.0
                assert outcome(lambda xs, eager=eager: _backward(eager(xs)), xs) == value
                assert bits(w.grad) == bits(found)


@pytest.mark.parametrize("f", [ad.relu, ad.hard_tanh, lambda w: ad.clip(w, 0.0, 9.0), lambda w: ad.exp(ad.relu(w))])
@pytest.mark.parametrize("number", [-0.64, 0.5, 2.0])
def test_flags_that_are_the_same_for_all_examples(f: Function, number: float) -> None:
    w = Value(number)
    g = lambda x: ad.tanh(f(w)) * x + ad.logaddexp(f(w), x)  # noqa: E731
    found = []
    for run in (lambda xs: _backward(batch_sum(g)(xs)), compile(batch_sum(g)).backward):
        w.grad = 0.0
        found.append((bits(run([1.0, -2.0, 0.5])), bits(w.grad)))
    assert found[0] == found[1]


@pytest.mark.parametrize("columns", [([],), ([1.0], []), ([1.0, 2.0], [1.0]), ()])
def test_batches_refuse_what_they_refuse_eagerly(columns: tuple[Any, ...]) -> None:
    f = (lambda x: x) if len(columns) < 2 else lambda x, y: x * y
    assert outcome(compile(batch_mean(f)), *columns) == outcome(batch_mean(f), *columns)
    fast = compile(batch_mean(f))
    fast(*[[1.0, 2.0]] * (len(columns) or 1))
    assert outcome(fast, *columns) == outcome(batch_mean(f), *columns)


COLUMNS: dict[str, Callable[[], Any]] = {
    "values of a dict": lambda: {"a": 1.0, "b": 3.0}.values(),
    "keys of a dict": lambda: {1.0: "a", 3.0: "b"}.keys(),
    "a dict": lambda: {1.0: 5.0, 3.0: 7.0},
    "a set": lambda: {1.0, 3.0},
    "a queue": lambda: deque([1.0, 3.0]),
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("batch", [batch_sum, batch_mean])
def test_a_batch_in_whatever_can_be_looked_through(name: str, batch: Function) -> None:
    make, w = COLUMNS[name], Value(2.0)
    f = batch(lambda x, y: w * x * y)
    with ThreadPoolExecutor(1) as pool:
        for compiled in (compile(f), compile(batch(lambda x, y: w * x * y, executor=pool))):
            for number in (2.0, 3.0):
                right = f(make(), [number, 1.0])
                assert compiled(make(), [number, 1.0]) == right.data
                w.grad = 0.0
                assert compiled.backward(make(), [number, 1.0]) == right.data
                assert w.grad == right.data / 2.0


@pytest.mark.parametrize("first", [None, [1.0], {"a": 1.0}.values()])
def test_values_keep_their_history_in_whatever_can_be_looked_through(first: Any) -> None:
    fast = compile(batch_mean(lambda x: x * x))
    if first is not None:
        fast(first)
    x = Value(3.0)
    fast({"a": x, "b": 1.0}.values()).backward()
    assert x.grad == 3.0


def test_numpys_numbers_in_whatever_can_be_looked_through_take_one_way() -> None:
    np = pytest.importorskip("numpy")
    fast = compile(batch_sum(lambda x: x * x))
    for _ in range(2):
        assert fast(deque([np.float64(2.0), np.float64(3.0), np.float32(4.0)])) == 29.0
    assert [(report.arguments, report.ways) for report in fast.specialisations] == [("list of 3", 1)]


@pytest.mark.parametrize(
    "f", [lambda *xs: ad.sum(xs) * len(xs), lambda x, y=2.0: x * y, lambda x, y=2.0, *, z=3.0: x * y * z]
)
def test_batches_of_functions_of_more_or_fewer_arguments(f: Function) -> None:
    batch = batch_sum(f)
    for numbers in ([1, 2, 1, 2], [2, 1, 2, 1]):
        fast = compile(batch)
        for count in numbers:
            columns = [[1.5, 2.5], [3.0, 4.0]][:count]
            assert fast(*columns) == batch(*columns)
            assert fast.backward(*columns) == batch(*columns)
        with pytest.raises(TypeError, match="at least one sequence"):
            fast()


def test_examples_of_different_structure() -> None:
    w = Value(2.0)
    f = batch_sum(lambda x: w * ad.sum(x))
    agree(f, ([[1.0], [1.0, 2.0]],), ([[1.0], [3.0]],), ([[1, 2], [1.0, 2.0]],), (([1.0, 2.0], (3.0, 4.0)),))


def test_batches_inside_other_functions() -> None:
    def total(w: Any, xs: Any) -> Any:
        return batch_sum(lambda x: (w * x) ** 2)(xs) + w

    agree(value_and_grad(total), (2.0, [1.0, 2.0]), (3.0, [1.0, 2.0, 3.0]))
    agree(hessian(total), (2.0, [1.0, 2.0]))


# ---- pickling and saving


def test_a_pickled_function_is_its_source() -> None:
    fast = compile(value_and_grad(landscape))
    points = [[0.5, -1.0, 2.0], [2.0, 1.0, -1.5], [nan, 1.0, 1.0]]
    results = [bits(fast(x)) for x in points]
    copied = pickle.loads(pickle.dumps(fast))
    assert [bits(copied(x)) for x in points] == results
    again = pickle.loads(pickle.dumps(copied))
    assert [bits(again(x)) for x in points] == results


def test_a_pickled_function_says_what_it_does_not_know() -> None:
    fast = compile(lambda x: x * 2.0 if x > 0.0 else -x)
    fast(1.0)
    copied = pickle.loads(pickle.dumps(fast))
    assert copied(3.0) == 6.0
    with pytest.raises((RuntimeError, LookupError, TypeError, ValueError), match=r"."):
        copied(-3.0)
    with pytest.raises((RuntimeError, LookupError, TypeError, ValueError), match=r"."):
        copied([1.0])


def test_pickled_parameters_are_copies() -> None:
    w = Value(2.0, "w")
    fast = compile(lambda x: w * x)
    fast.backward(1.0)
    fast(1.0)
    copied = pickle.loads(pickle.dumps(fast))
    w.data = 5.0
    assert copied(3.0) == 6.0
    assert fast(3.0) == 15.0
    assert copied.backward(3.0) == 6.0
    assert w.grad == 1.0


PICKLED_ELSEWHERE = """
import pickle, sys
fast = pickle.loads(open(sys.argv[1], "rb").read())
print([x.hex() for x in fast([0.5, -1.0, 2.0])])
"""


def test_another_process_gets_the_same_floats(tmp_path: Path) -> None:
    fast = compile(grad(landscape))
    expected = [x.hex() for x in fast([0.5, -1.0, 2.0])]
    (tmp_path / "fast.pickle").write_bytes(pickle.dumps(fast))
    command = [sys.executable, "-c", PICKLED_ELSEWHERE, str(tmp_path / "fast.pickle")]
    root = str(Path(__file__).parents[2])
    shown = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": root})
    assert shown.stdout.strip() == repr(expected), shown.stderr


RUN_SAVED = """
import importlib.util, json, sys

def describe(x):
    if isinstance(x, float):
        return x.hex()
    if isinstance(x, (list, tuple)):
        return [type(x).__name__, *map(describe, x)]
    if isinstance(x, dict):
        return ["dict", *([key, describe(item)] for key, item in x.items())]
    return repr(x)

results = []
for path, name, calls in json.load(open(sys.argv[1])):
    spec = importlib.util.spec_from_file_location("saved", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, name)
    for args in calls:
        try:
            results.append(describe(function(*eval(args, {"inf": float("inf"), "nan": float("nan")}))))
        except Exception as error:
            results.append("raises " + type(error).__name__)
assert not any(name.split(".")[0] in ("autodiff", "nn", "numpy") for name in sys.modules), "imports more than math"
print(json.dumps(results))
"""


def _described(x: Any) -> Any:
    if isinstance(x, list | tuple):
        return [type(x).__name__, *map(_described, x)]
    if isinstance(x, dict):
        return ["dict", *([key, _described(item)] for key, item in x.items())]
    return x.hex() if isinstance(x, float) else repr(x)


def _run_saved(tmp_path: Path, saved: list[tuple[Path, str, list[str]]]) -> list[Any]:
    (tmp_path / "run.py").write_text(RUN_SAVED)
    (tmp_path / "jobs.json").write_text(json.dumps([[str(path), name, calls] for path, name, calls in saved]))
    command = [sys.executable, "-I", "-S", str(tmp_path / "run.py"), str(tmp_path / "jobs.json")]
    shown = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    found: list[Any] = json.loads(shown.stdout)
    return found


def test_a_saved_function_needs_math_alone(tmp_path: Path) -> None:
    made: dict[str, tuple[Function, list[tuple[Any, ...]]]] = {
        "gradient": (value_and_grad(landscape), [([0.5, -1.0, 2.0],), ([2.0, 1.0, -1.5],), ([0.1, 0.1, 0.1],)]),
        "rosenbrock": (hessian(rosenbrock), [([0.5, -1.0, 2.0],), ([1e200, 1.0, 1.0],)]),
        "special": (
            lambda x: [ad.polygamma(1.0, x), ad.sinc(x), ad.logsumexp([x, 1.0]), ad.gelu(x), ad.softmax([x, 2.0])],
            [(0.5,), (2.5,), (0.0,), (-1.0,)],
        ),
        "errors": (lambda x: ad.log(x) / x if x < 5.0 else ad.exp(x), [(1.0,), (0.0,), (-1.0,), (1e4,), (6.0,)]),
        "zero_wins": (grad(lambda x: ad.sqrt(ad.relu(x))), [(1.0,), (-1.0,), (0.0,)]),
        "structures": (lambda p, d: {"a": (p[0], [d["k"]]), "b": None}, [([1.0, 2.0], {"k": 3.0})]),
        "nothing": (lambda x: (inf, nan, -0.0, x), [(1.0,)]),
    }
    saved, expected = [], []
    for name, (f, calls) in made.items():
        fast = compile(f)
        for args in calls:
            try:
                expected.append(_described(fast(*args)))
            except (ArithmeticError, ValueError) as error:
                expected.append(f"raises {type(error).__name__}")
        path = tmp_path / f"{name}.py"
        fast.save(path)
        text = path.read_text()
        imports = [line for line in text.splitlines() if line.startswith(("import ", "from "))]
        assert all("math" in line for line in imports), imports
        saved.append((path, fast.__name__, [repr(args) for args in calls]))
    assert _run_saved(tmp_path, saved) == expected


def test_random_programs_survive_saving_and_pickling(tmp_path: Path) -> None:
    saved, expected = [], []
    for seed in range(90):
        program = random_programs.Writer(random.Random(seed), {"try"}).program(4)
        if "w0" in program.source or "w1" in program.source or "Pair" in program.source:
            continue
        fast = compile(program.function([0.0, 0.0]))
        calls = [call.args for call in program.calls]
        results: list[Any] = []
        for args in calls:
            try:
                results.append(_described(fast(*args)))
            except (ArithmeticError, ValueError, LookupError):
                results.append(None)
        known = [(args, result) for args, result in zip(calls, results, strict=True) if result is not None]
        if not known or len({bits(list(args)) for args, _ in known}) > 60:
            continue
        copied = pickle.loads(pickle.dumps(fast))
        for args, result in known:
            assert _described(copied(*args)) == result
        path = tmp_path / f"program{seed}.py"
        fast.save(path)
        saved.append((path, fast.__name__, [repr(args) for args, _ in known]))
        expected += [result for _, result in known]
    assert len(saved) > 20
    assert _run_saved(tmp_path, saved) == expected


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_saved_function_has_parameters_and_backward(tmp_path: Path) -> None:
    w, b = Value(0.5, "w"), Value(-1.0, "w")
    fast = compile(lambda x: ad.sigmoid(w * x) + ad.sqrt(ad.relu(x)) * b if x < 3.0 else w * x)
    for x in (1.0, 5.0, -1.0):
        fast(x)
        fast.backward(x)
    fast.save(tmp_path / "saved.py")
    saved = _load(tmp_path / "saved.py")
    for x in (2.0, 0.0, -4.0, 7.0):
        w.grad = b.grad = saved.leaf_w.grad = saved.leaf_w_2.grad = 0.0
        assert bits(saved.function(x)) == bits(fast(x))
        assert bits(saved.backward_function(x)) == bits(fast.backward(x))
        assert bits([saved.leaf_w.grad, saved.leaf_w_2.grad]) == bits([w.grad, b.grad])
    saved.leaf_w.data = 3
    assert saved.function(4.0) == 12.0
    with pytest.raises(TypeError, match=r"saved for \(float\)"):
        saved.function([1.0])


def test_a_saved_function_takes_every_structure_that_was_seen(tmp_path: Path) -> None:
    fast = compile(grad(lambda x: ad.sin(x[0]) * 2.0))
    calls: list[Any] = [[1.0], (1.0, 2.0), [1.0, 2.0, 3.0]]
    expected = [fast(x) for x in calls]
    fast.save(tmp_path / "saved.py")
    saved = _load(tmp_path / "saved.py")
    assert [saved.function(x) for x in calls] == expected
    with pytest.raises(TypeError, match=r"saved for \(list of 1\) or \(tuple of 2\)"):
        saved.function(1.0)


def test_a_saved_function_takes_containers_where_it_took_constants_first(tmp_path: Path) -> None:
    fast = compile(lambda x, how: [x, how])
    calls: list[tuple[Any, ...]] = [
        (1.0, 2),
        (1.0, "a"),
        (1.0, (1, "b")),
        (1.0, None),
        (1.0, ((3,), "c")),
        (1.0, [2.0]),
    ]
    right = [fast(*call) for call in calls]
    fast.save(tmp_path / "saved.py")
    for copied in (runpy.run_path(str(tmp_path / "saved.py"))["function"], pickle.loads(pickle.dumps(fast))):
        assert [copied(*call) for call in calls] == right
        with pytest.raises(LookupError):
            copied(1.0, "z")


def test_a_saved_function_does_not_guess_what_it_has_not_seen(tmp_path: Path) -> None:
    fast = compile(lambda x: x * 2.0 if x > 0.0 else -x)
    fast(1.0)
    fast.save(tmp_path / "saved.py")
    with pytest.raises(LookupError, match="before a call took this way"):
        _load(tmp_path / "saved.py").function(-1.0)


def test_a_batch_is_saved_and_pickled_as_a_loop(tmp_path: Path) -> None:
    w = Value(0.5, "w")
    fast = compile(batch_mean(lambda x, y: (w * x - y) ** 2))
    value = fast.backward([1.0, 2.0], [0.0, 3.0])
    fast.save(tmp_path / "saved.py")
    saved = _load(tmp_path / "saved.py")
    assert saved.backward_function([1.0, 2.0], [0.0, 3.0]) == value
    assert saved.leaf_w.grad == w.grad
    copied = pickle.loads(pickle.dumps(fast))
    assert copied.backward([1.0, 2.0], [0.0, 3.0]) == value
    assert [leaf.grad for leaf in copied.leaves] == [2.0 * w.grad]  # the copy took its gradient along


class Hidden:
    pass


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    pair = compile(lambda p: p.x * p.y)
    pair(Pair(1.0, 2.0))
    with pytest.raises(TypeError, match="it needs Pair = "):
        pair.save(tmp_path / "pair.py")
    assert pickle.loads(pickle.dumps(pair))(Pair(3.0, 2.0)) == 6.0
    hidden = compile(lambda x: (x, Hidden()))
    hidden(1.0)
    with pytest.raises(TypeError, match="runs as it is"):
        hidden.save(tmp_path / "hidden.py")
    assert not list(tmp_path.iterdir())


def test_saving_says_what_is_in_the_way(tmp_path: Path) -> None:
    fast = compile(lambda x: x * 2.0)
    with pytest.raises((RuntimeError, ValueError), match="call"):
        fast.save(tmp_path / "never_called.py")


# ---- arguments that are no numbers


def test_a_value_as_a_default() -> None:
    w = Value(3.0, "w")

    def f(x: Any, w: Value = w) -> Any:
        return w * x

    fast = compile(f)
    for x in (1.0, 2.0):
        assert fast(x).data == 3.0 * x
        assert fast(x, 5.0) == 5.0 * x
        w.grad = 0.0
        assert fast.backward(x) == 3.0 * x
        assert w.grad == x


class Colour(enum.IntEnum):
    RED = 2
    BLUE = 3


class Unit(enum.StrEnum):
    METRE = "m"
    FOOT = "ft"


class Level(int):
    pass


def test_arguments_that_are_nearly_numbers_and_strings() -> None:
    factors = {Unit.METRE: 1.0, Unit.FOOT: 0.3048}
    agree(lambda x, c: x * int(c), (1.5, Colour.RED), (1.5, Colour.BLUE), (1.5, 2), (1.5, True))
    agree(lambda x, u: (x * factors[u], u), (1.5, Unit.METRE), (1.5, Unit.FOOT))
    agree(lambda x, n: (x**n, n), (1.5, Level(2)), (1.5, 2), (1.5, Level(3)))
    fast = compile(lambda x, c: (x, c, isinstance(c, Colour)))
    for c in (Colour.RED, 2, Colour.RED, 2):
        assert fast(1.0, c) == (1.0, c, c is Colour.RED)
        assert type(fast(1.0, c)[1]) is type(c)


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    w = Value(2.0, "w")
    fast, batch = compile(lambda x, n: x * n), compile(batch_sum(lambda x, n: w * x * n))
    for n in (3, 3, 4, 4):
        assert fast(1.5, numpy.int64(n)) == 1.5 * n
        w.grad = 0.0
        assert batch.backward([1.5, 2.5], [numpy.int64(n), numpy.int64(3)]) == 3.0 * n + 15.0
        assert w.grad == 1.5 * n + 7.5
    assert fast.specialisations[0].ways == batch.specialisations[0].ways == 2


def test_a_callable_with_an_attribute_batch() -> None:
    class Model:
        batch: Any = 32

        def __call__(self, x: Any) -> Any:
            return x * 2.0

    for batch in (32, (), None, (1, 2, 3, 4, 5)):
        Model.batch = batch
        assert compile(Model())(3.0) == 6.0


def test_two_calls_at_once_both_run_the_code() -> None:
    """A call inside another one, as from a second thread, does not run f itself."""
    inner: list[Any] = []
    own = ad.Primitive("own", lambda x: x + (inner.pop()() if inner else 0.0), "", 1.0)
    runs = []

    def f(x: Any) -> Any:
        runs.append(len(x))
        return own(x[0]) * 2.0

    fast = compile(f)
    assert fast([1.0]) == 2.0
    assert fast([1.0, 2.0]) == 2.0
    inner.append(lambda: fast([3.0, 4.0]))
    assert fast([1.0, 2.0]) == 14.0
    assert runs == [1, 2]


def test_what_the_code_does_not_take_though_it_fits() -> None:
    """Keys that are not equal to themselves: the code of a structure sends its own arguments on."""
    fast = compile(lambda d: ad.sum(list(d.values())))
    for _ in range(3):
        assert fast({float("nan"): 2.0}) == 2.0
        assert fast({float("nan"): 2.0, "b": 3.0}) == 5.0


# ---- reading and debugging


def _with_interior() -> Function:
    inside = Value(2.0) * 3.0
    return lambda x: inside * x


def _undecided() -> Function:
    turn = itertools.count()
    return lambda x: x > float(next(turn))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_with_interior, "uses a Value that was computed outside"),
        (lambda: _catching, "catches an error of an operation"),
        (lambda: lambda x, y=0.0: Hidden(), "returns objects that may hold numbers"),
        (_undecided, "does not do the same at every call"),
    ],
)
def test_the_source_says_why_a_function_runs_as_it_is(make: Callable[[], Function], why: str) -> None:
    fast = compile(make())
    for x in (1.0, -1.0, -2.0):
        fast(*[x, 0.0][: len(inspect.signature(fast.function).parameters)])
    assert fast.source.startswith(f"# {fast.__name__} runs as it is: it {why}")
    assert "\n" not in fast.source
    with pytest.raises(TypeError, match=f"runs as it is, for it {why}"):
        pickle.dumps(fast)


def test_the_source_is_there_to_be_read() -> None:
    fast = compile(value_and_grad(rosenbrock))
    assert fast.source == "# rosenbrock has no code before its first call"
    fast([1.0, 2.0])
    assert "# values" in fast.source
    assert inspect.getsource(fast) == fast.source + "\n"
    assert repr(fast) == "<compiled rosenbrock: 1 ways>" or "rosenbrock" in repr(fast)
    assert str(inspect.signature(fast)) == "(x)"


def test_a_traceback_shows_the_generated_line() -> None:
    def failing(x: Any) -> Any:
        return x * 2.0

    fast = compile(failing)
    fast(1.0)
    code = fast.__wrapped__.__code__
    lines = linecache.getlines(code.co_filename)
    assert "".join(lines).strip() == fast.source.strip()
    inner = compile(lambda x: ad.exp(x) * ad.exp(x * 2.0))
    inner(1.0)
    try:
        inner(1e4)
    except OverflowError as error:
        shown = "".join(traceback.format_exception(error))
    assert "exp(x)" in shown


def test_reports_of_what_was_compiled() -> None:
    fast = compile(lambda x: ad.exp(x) if x > 0.0 else x * 2.0)
    assert fast.specialisations == ()
    fast(1.0)
    fast(-1.0)
    (report,) = fast.specialisations
    assert (report.arguments, report.ways) == ("float", 2)
    assert report.nodes == 2
    assert 0.0 < report.seconds < 10.0


def test_names_of_functions_are_made_to_fit() -> None:
    for name in ("plain", "<lambda>", "class", "exp", "2x", "a b", "x", "other", "learn"):
        f = lambda x: ad.exp(x) * 2.0  # noqa: E731
        f.__name__ = name
        assert compile(f)(1.0) == math.exp(1.0) * 2.0
        fast = compile(f)
        assert [fast(y) for y in (1.0, 0.5)] == [math.exp(y) * 2.0 for y in (1.0, 0.5)]


def test_a_name_that_contains_lambda_stays() -> None:
    def lambda_max(x: Any) -> Any:
        return x * 2.0

    fast = compile(lambda_max)
    assert fast(1.0) == 2.0
    assert "def lambda_max(x):" in fast.source


def test_two_compiled_functions_do_not_share_a_thing() -> None:
    one, two = compile(lambda x: x + 1.0), compile(lambda x: x + 2.0)
    assert [one(1.0), two(1.0), one(1.0), two(1.0)] == [2.0, 3.0, 2.0, 3.0]
    assert type(one) is not type(two)


# ---- advice


def test_a_method_is_compiled_with_its_object() -> None:
    class Scale:
        factor = Value(3.0)

        @compile
        def forgotten(self, x: Any) -> Any:
            return self.factor * x

        def method(self, x: Any) -> Any:
            return self.factor * x

    with pytest.raises(TypeError, match=r"missing a required argument: 'x': compile a method of an object"):
        Scale().forgotten(2.0)
    assert compile(Scale().method)(2.0) == 6.0


@pytest.mark.parametrize(
    ("misuse", "error", "advice"),
    [
        (lambda x: math.exp(x), TypeError, "autodiff.exp"),
        (lambda x: float(x), TypeError, "x?.data"),
        (lambda x: [1.0] * x, TypeError, "int"),
        (lambda x: sum(range(x)), TypeError, r"int\(v\)"),
        (lambda x: [1.0, 2.0][x], TypeError, r"int\(v\)"),
        (lambda x: complex(x), TypeError, "complex"),
        (lambda x: (x * x).backward(), RuntimeError, "fast.backward"),
        (lambda x: setattr(x, "data", 1.0), RuntimeError, "before or after"),
        (lambda x: (x * x).local_derivatives()[0], RuntimeError, "grad"),
        (lambda x: Value(x), TypeError, "detach"),
    ],
)
def test_what_a_traced_number_cannot_do_is_refused_with_advice(
    misuse: Function, error: type[Exception], advice: str
) -> None:
    fast = compile(misuse)
    for _ in range(2):
        with pytest.raises(error, match=advice):
            fast(1.0)


def test_a_number_as_a_key_never_misses_in_silence() -> None:
    """Hash by identity would find nothing: a lookup raises, membership must not just say no."""
    with pytest.raises((TypeError, KeyError)):
        compile(lambda x: {1.0: 5.0}[x])(1.0)


def test_the_gradient_of_nothing_is_explained() -> None:
    with pytest.raises(TypeError, match="return missing"):
        compile(grad(lambda x: None))(1.0)
    assert compile(lambda x: None)(1.0) is None


# ---- threads


def test_threads_compile_and_call_at_once() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        points = [[0.1 * i, 1.0 - 0.1 * i, (-1.0) ** i * 0.3 * i] for i in range(24)]
        expected = [bits(value_and_grad(landscape)(x)) for x in points]
        for _ in range(3):
            fast = compile(value_and_grad(landscape))
            start = threading.Barrier(8)

            def work(seed: int, fast: Any = fast, start: Any = start) -> list[Any]:
                order = random.Random(seed).sample(range(24), 24)
                start.wait()
                found = {i: bits(fast(points[i])) for i in order}
                return [found[i] for i in range(24)]

            with ThreadPoolExecutor(8) as pool:
                assert all(found == expected for found in pool.map(work, range(8)))
    finally:
        sys.setswitchinterval(interval)


def test_threads_lose_no_gradient() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        w = Value(1.0)
        fast = compile(lambda x: w * x * ad.exp(x) * ad.cosh(x) * ad.sqrt(x + 1.0))
        fast.backward(0.0)
        w.grad = 0.0
        fast.backward(1.0)
        one, w.grad = w.grad, 0.0
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: [fast.backward(1.0) for _ in range(500)], range(8)))
        assert w.grad == pytest.approx(4000 * one, rel=1e-9)
    finally:
        sys.setswitchinterval(interval)


# ---- size


@pytest.mark.parametrize("was_on", [True, False])
def test_the_collector_rests_while_code_is_made_and_is_left_as_it_was(
    was_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = []
    generate = specialising_module._Entry.generate

    def watched(entry: Any) -> None:
        states.append(gc.isenabled())
        generate(entry)
        if len(states) > 1:
            raise MemoryError

    monkeypatch.setattr(specialising_module._Entry, "generate", watched)
    (gc.enable if was_on else gc.disable)()
    try:
        fast = compile(lambda x: x * x if x > 0.0 else -x)
        assert fast(3.0) == 9.0
        with pytest.raises(MemoryError):
            fast(-3.0)
        assert (states, gc.isenabled()) == ([False, False], was_on)
    finally:
        gc.enable()


def _chain(n: int) -> Function:
    def f(x: Any, y: Any) -> Any:
        for i in range(n):
            x = x * y + 0.5 if i % 2 else ad.tanh(x)
        return x

    return f


def _calls_of(action: Function) -> int:
    """Count calls of Python and built-in functions: the time without the clock."""
    count = 0

    def profile(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


def _questions(n: int) -> Function:
    def f(x: Any, y: Any) -> Any:
        for _ in range(n):
            x = x + y
            if x > 1e9:
                break
        return x

    return f


def _wide(n: int) -> Function:
    return lambda x, y: ad.sum([ad.exp(x * (0.001 * i)) * y for i in range(n)])


def _layers(n: int) -> Function:
    """A net as wide as it is deep is more than a chain: each node has many users."""

    def f(x: Any, y: Any) -> Any:
        row = [x * (0.1 * i) for i in range(8)]
        for _ in range(n // 16):
            row = [ad.relu(ad.sum(row) * y - 0.1 * i) for i in range(8)]
        return ad.sum(row)

    return f


@pytest.mark.parametrize("family", [_chain, _questions, _wide, _layers])
@pytest.mark.parametrize("transform", [lambda f: f, lambda f: value_and_grad(f, (0, 1))])
def test_compiling_is_linear_in_the_nodes(family: Function, transform: Function) -> None:
    small, large = 400, 1600
    compile(transform(family(50)))(0.5, 0.25)  # whatever is done once
    counts = [_calls_of(lambda n=n: compile(transform(family(n)))(0.5, 0.25)) for n in (small, large)]
    assert counts[1] < 4.6 * counts[0], counts


@pytest.mark.slow
@pytest.mark.parametrize("family", [_chain, _wide, _layers])
def test_twenty_thousand_nodes(family: Function) -> None:
    f = family(10_000)
    fast = compile(value_and_grad(f, (0, 1)))
    for x, y in ((0.5, 0.25), (0.25, 0.75)):
        assert bits(fast(x, y)) == bits(value_and_grad(f, (0, 1))(x, y))
    assert fast.specialisations[0].nodes > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("family", [_chain, _wide, _layers])
def test_two_hundred_thousand_nodes(family: Function) -> None:
    f = family(100_000)
    fast = compile(value_and_grad(f, (0, 1)))
    assert bits(fast(0.5, 0.25)) == bits(value_and_grad(f, (0, 1))(0.5, 0.25))
    assert bits(fast(0.25, 0.5)) == bits(value_and_grad(f, (0, 1))(0.25, 0.5))


@pytest.mark.slow
@pytest.mark.parametrize(
    "f",
    [
        lambda xs: ad.sum([x * x for x in xs]),
        lambda xs: functools.reduce(lambda a, b: a + b, [x * x for x in xs]),  # `sum` of floats compensates from 3.12
        lambda xs: ad.dot(xs, xs),
        lambda xs: ad.logsumexp(xs[:200]),
        lambda xs: ad.affine(xs, xs, 1.0) * 2.0,
        lambda xs: functools.reduce(lambda a, b: a * 0.5 + b, xs),
        lambda xs: functools.reduce(lambda a, b: a - (b - a), xs),
        lambda xs: functools.reduce(lambda a, b: ad.tanh(b + a), xs),
    ],
)
def test_three_thousand_terms(f: Function) -> None:
    xs = [0.001 * i for i in range(3000)]
    agree(f, (xs,))
    agree(value_and_grad(f), (xs,))


def test_five_hundred_inputs() -> None:
    xs = [math.sin(i) for i in range(500)]
    agree(value_and_grad(rosenbrock), (xs,), (xs[::-1],))
    agree(lambda *xs: ad.sum(xs), tuple(xs))
    many: dict[str, Any] = {}
    names = ", ".join(f"x{i}" for i in range(500))
    exec(f"def f({names}): return sum([{names}])", many)
    agree(grad(many["f"], tuple(range(500))), tuple(xs))
    assert "[" in compile(grad(rosenbrock)).__class__.__name__ + "["


def test_a_large_hessian() -> None:
    x = [math.sin(i) for i in range(25)]
    agree(hessian(rosenbrock), (x,))


def test_long_containers_and_results() -> None:
    agree(lambda d: {k: v * 2.0 for k, v in d.items()}, ({f"key {i}": float(i) for i in range(400)},))
    agree(lambda x: [x * i for i in range(3000)], (2.0,))


def test_no_reference_keeps_a_compiled_function_alive_for_ever() -> None:
    fast = compile(value_and_grad(rosenbrock))
    fast([1.0, 2.0])
    there = weakref.ref(fast)
    del fast
    gc.collect()
    assert there() is None


def test_sources_that_are_gone_are_forgotten() -> None:
    def remembered() -> int:
        gc.collect()
        return sum(name.startswith("<chainrule") for name in linecache.cache)

    before = remembered()
    fast = compile(lambda x: x * int(x))
    for i in range(30):  # thirty ways: the code is written anew for each
        fast(i + 0.5)
    assert remembered() <= before + 2
    del fast
    assert remembered() <= before


# ---- found by a tester


@pytest.mark.parametrize("batch", [batch_sum, batch_mean])
def test_a_batch_takes_functions_with_one_number_as_a_result(batch: Function) -> None:
    w = Value(2.0)
    functions: list[Function] = [lambda x: (x * w, x), lambda x: [x * w], lambda x: {"x": x}, lambda x: "x"]
    for f in functions:
        fast = compile(batch(f))
        for _ in range(2):
            with pytest.raises(TypeError, match="the result of <lambda>"):
                fast([1.0, 2.0])
    numpy = pytest.importorskip("numpy")
    mixed = batch(lambda x: x * 2.0 if x > 0.0 else numpy.float64(1.5) if x > -2.0 else True)
    agree(mixed, ([1.0, 2.0],), ([1.0, -1.0],), ([-3.0, 1.0],))


def test_a_batch_of_whole_numbers_and_then_of_numpys() -> None:
    numpy = pytest.importorskip("numpy")
    small, large, whole = numpy.float32, numpy.float64, numpy.int64
    fast = compile(batch_mean(lambda x: x * 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for xs in ([1, 2], [large(2.0)], [whole(2)], [small(1.0), 2.0], [1, large(2.0)], [1.5]) * 2:
            assert fast(xs) == 2.0 * sum(map(float, xs)) / len(xs)


def decorated(f: Function) -> Function:
    @functools.wraps(f)
    def one_argument(x: Any) -> Any:
        return f(x, 2.0)

    return one_argument


def forwarding(f: Function) -> Function:
    @functools.wraps(f)
    def any_arguments(*args: Any, **kwargs: Any) -> Any:
        return f(*args, **kwargs)

    return any_arguments


def test_wrapped_functions_have_a_signature_of_their_own() -> None:
    f = decorated(lambda x, k: x * k)
    for g in (f, forwarding(f), forwarding(forwarding(f)), grad(f), value_and_grad(forwarding(f))):
        fast = agree(g, (1.0,), (2.0,))
        assert "(x):" in fast.source
        assert fast(x=3.0) == fast(3.0)
        with pytest.raises(TypeError):
            fast(1.0, 2.0)
    fast = agree(forwarding(lambda x, k=3.0: x * k), (1.0,), (1.0, 2.0))
    assert fast(1.0, k=4.0) == 4.0


class Model:
    def product(self, x: Any, k: Any) -> Any:
        return x * k

    def doubled(self, x: Any) -> Any:
        return self.product(x, 2.0)

    wrapped = functools.wraps(product)(doubled)
    forwarded = forwarding(product)


def test_wrapped_methods_have_a_signature_of_their_own() -> None:
    agree(Model().wrapped, (1.0,), (2.0,))
    agree(Model().forwarded, (1.0, 3.0), (2.0, 4.0))
    agree(functools.partial(Model.wrapped, Model()), (1.0,), (2.0,))
    agree(functools.partial(decorated(lambda x, k: x * k)), (1.0,), (2.0,))
    agree(functools.partial(forwarding(lambda x, k: x * k), k=2.0), (1.0,), (2.0,))


def test_copies_of_a_compiled_function_learn_too() -> None:
    fast = compile(lambda x: x if x > 0.0 else -2.0 * x)
    for copied in (copy.copy(fast), copy.deepcopy(fast), copy.deepcopy([fast])[0]):
        assert [copied(1.0), copied(-1.0)] == [1.0, 2.0]
    assert copy.copy(compile(lambda x: x))(1.0) == 1.0


def test_a_pickled_function_says_that_it_takes_no_values() -> None:
    fast = compile(lambda x: x * x)
    fast(1.0)
    copied = pickle.loads(pickle.dumps(fast))
    with pytest.raises(LookupError, match="takes no Values"):
        grad(copied)(1.0)


def test_whole_numbers_of_thousands_of_digits_are_arguments() -> None:
    agree(lambda x, n: x if n > 10**5000 else -x, (1.0, 10**5001), (2.0, 3))


class Holder:
    def __init__(self, x: Any) -> None:
        self.x = x


def test_no_value_leaks_in_an_object() -> None:
    def generator(x: Any) -> Any:
        yield x * 2

    def caught(x: Any) -> Any:
        try:
            return 1.0 / x
        except ZeroDivisionError:
            return Holder(x)

    assert [type(y) for _ in range(2) for y in compile(generator)(1.0)] == [float, float]
    many = compile(lambda x: Holder(x * 2.0) if x > 5.0 else x * round(x), max_ways=2)
    assert [many(1.0), many(2.0), many(3.0)] == [1.0, 4.0, 9.0]
    rescued = compile(caught)
    assert rescued(2.0) == 0.5
    for _ in range(2):
        assert type(many(6.0).x) is float
        assert type(rescued(0.0).x) is float


STRINGS = [
    "def f(x): return",
    "def function(",
    'x"""y',
    "it's",
    "\\",
    "a\nb",
    "{name} {",
    "%s",
    "\0" * 9,
    "a" * 15 + "\0" * 9,
]


@pytest.mark.parametrize("text", [*STRINGS, "a" * 15 + "\0" * 9])
def test_a_function_of_any_string_is_saved(text: str, tmp_path: Path) -> None:
    fast = compile(lambda x, text: x * len(text) if x < 2.0 else x)
    fast(1.0, text)
    fast.save(tmp_path / "saved.py")
    saved = runpy.run_path(str(tmp_path / "saved.py"))["function"]
    assert saved(1.5, text) == 1.5 * len(text)
    with pytest.raises(TypeError, match="saved for"):
        saved(1, text)
    with pytest.raises(LookupError, match="saved before"):
        saved(1.0, "another")
    with pytest.raises(LookupError, match="saved before"):
        saved(3.0, text)


def test_the_structure_in_use_is_called_directly() -> None:
    numpy = pytest.importorskip("numpy")
    fast = compile(lambda x: x[0] * x[1])
    calls = [(numpy.array([2.0, 3.0]),), ([2.0, 3.0],), ((2.0, 3.0),)]
    for args in [*calls, *calls]:
        for _ in range(4):
            assert fast(*args) == 6.0
        assert fast._forward.first.shape.startswith(type(args[0]).__name__)


def test_only_code_is_called_directly() -> None:
    """What runs as it is stays behind the check of the structure: others have code."""
    outside = Value(2.0) * 3.0
    fast = compile(lambda x: x[0] * 2.0 if isinstance(x, list) else x * outside)
    assert fast([1.0]) == 2.0
    for _ in range(4):
        assert fast(1.0).data == 6.0
    assert fast([2.0]) == 4.0
    assert fast._forward.first.as_it_is == ""
