"""The benchmarks measure fairly, and what they compare computes the same. Only engines of the test extra are needed."""

import ast
import gc
import importlib
import platform
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import autodiff
from benchmarks import __main__ as command
from benchmarks import (
    black_scholes,
    expression,
    gradient_cost,
    harness,
    mixture,
    plots,
    programs,
    robot_arm,
    rosenbrock_hessian,
    two_moons,
)
from benchmarks import rosenbrock as rosenbrock_table
from benchmarks.harness import EAGER, OURS, Column, Contestant, Job, Settings

ROOT = Path(__file__).resolve().parent.parent
AVAILABLE = (OURS, EAGER, "chainrule", "Python by hand", "NumPy by hand", "micrograd")


class Workshop:
    """A clock that only moves when a contestant works, and a log of who worked."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def contestant(self, name: str, *seconds: float, result: Any = 1.0) -> Contestant:
        """Make a contestant whose calls take these times, the last one forever."""
        left = list(seconds)

        def run() -> Any:
            self.log.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]
            return result

        return Contestant(name, lambda: Job(run, lambda: result))

    def clock(self) -> float:
        return self.now


def measure(workshop: Workshop, *contestants: Contestant, **settings: Any) -> Column:
    return harness.measure("title", contestants, Settings(**{"fewest": 1} | settings), workshop.clock)


# ---- the harness


def test_the_median_over_the_rounds_counts() -> None:
    workshop = Workshop()
    # preparing takes the first call, calibrating the second; rounds of one call follow
    column = measure(workshop, workshop.contestant("a", 7.0, 1.0, 5.0, 1.0, 90.0), rounds=3, slot=1.0, slow=inf)
    assert column.seconds["a"] == [5.0, 1.0, 90.0]
    assert column.median("a") == 5.0


def test_all_take_turns_and_the_order_alternates() -> None:
    workshop = Workshop()
    everyone = [workshop.contestant(name, 1.0) for name in "abc"]
    measure(workshop, *everyone, rounds=3, slot=1.0, slow=inf)
    calibration, rounds = workshop.log[:6], workshop.log[6:]
    assert calibration == ["a", "a", "b", "b", "c", "c"]
    assert rounds == ["a", "b", "c", "c", "b", "a", "a", "b", "c"]


def test_a_slot_is_filled_with_calls() -> None:
    workshop = Workshop()
    column = measure(workshop, workshop.contestant("a", 2.0**-10), rounds=1, slot=1.0)
    assert column.seconds["a"] == [2.0**-10]
    calls = 2**10 + sum(2**k for k in range(9)) + 1  # one slot, calibrating up to a quarter of one, and the first call
    assert len(workshop.log) == calls


def test_a_slot_has_so_many_calls_at_least() -> None:
    """A call after a garbage collection that the harness made is cheaper than those in a loop."""
    workshop = Workshop()
    column = measure(workshop, workshop.contestant("a", 2.0, 2.0, 1.0, 4.0), rounds=1, slot=1.0, fewest=3)
    assert column.seconds["a"] == [3.0]


def test_a_slot_pays_for_what_its_calls_leave_behind() -> None:
    workshop = Workshop()
    waste: list[int] = []

    def run() -> float:
        workshop.now += 1.0
        waste.append(1)
        return 1.0

    def tidy(phase: str, details: Any) -> None:
        if details["generation"] == 2 and phase == "start":  # not what Python collects by itself now and then
            workshop.now += 2.0 * len(waste)
            waste.clear()

    gc.callbacks.append(tidy)
    try:
        column = measure(
            workshop, workshop.contestant("a", 1.0), Contestant("b", lambda: Job(run)), rounds=3, slot=12.0, slow=inf
        )
    finally:
        gc.callbacks.remove(tidy)
    assert column.seconds == {"a": [1.0] * 3, "b": [3.0] * 3}


def test_a_first_call_that_prepares_does_not_leave_a_slot_empty() -> None:
    workshop = Workshop()
    measure(workshop, workshop.contestant("a", 100.0, 2.0**-10), rounds=1, slot=1.0)
    assert len(workshop.log) > 2**10


def test_slow_contestants_get_fewer_rounds() -> None:
    workshop = Workshop()
    contestants = [workshop.contestant("slow", 3.0), workshop.contestant("fast", 1.0)]
    column = measure(workshop, *contestants, rounds=5, slot=1.0, slow=2.0, slow_rounds=2)
    assert {name: len(times) for name, times in column.seconds.items()} == {"slow": 2, "fast": 5}


def test_a_missing_package_is_reported_and_skipped() -> None:
    workshop = Workshop()

    def setup() -> Job:
        importlib.import_module("no_such_engine")
        raise AssertionError

    column = measure(workshop, workshop.contestant(OURS, 1.0), Contestant("other", setup), rounds=1, slot=1.0)
    assert list(column.seconds) == [OURS]
    assert "Left out: other (no_such_engine is not installed)." in harness.table([column])


def test_nobody_available_is_no_error() -> None:
    assert measure(Workshop()).seconds == {}


def test_different_results_stop_the_race_before_it_starts() -> None:
    workshop = Workshop()
    wrong = workshop.contestant("wrong", 1.0, result=[1.0, 2.0 + 1e-8])
    with pytest.raises(AssertionError, match=r"number 1 is .* by wrong, but 2.0 by right"):
        measure(workshop, workshop.contestant("right", 1.0, result=[1.0, 2.0]), wrong)
    assert workshop.log == []


@pytest.mark.parametrize(
    ("found", "message"),
    [([1.0], "wrong returned 1 numbers, right 2"), ([float("nan"), 2.0], "number 0"), ([inf, 2.0], "number 0")],
)
def test_compare_refuses(found: list[float], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        harness.compare({"right": [1.0, 2.0], "wrong": found})


def test_compare_allows_rounding_and_cancelled_entries() -> None:
    assert harness.compare({"a": [1.0, 0.0], "b": [1.0 + 5e-10, 1e-13]}) == pytest.approx(5e-10)
    assert harness.compare({"a": [0.0], "b": [0.0]}) == 0.0


def test_the_collector_is_left_as_it_was() -> None:
    workshop = Workshop()
    before = gc.get_freeze_count()
    measure(workshop, workshop.contestant("a", 1.0), rounds=1)
    assert gc.isenabled()
    assert gc.get_freeze_count() <= before


def test_flatten_takes_nested_lists_and_arrays() -> None:
    numpy = pytest.importorskip("numpy")
    assert harness.flatten((1.0, [2, (3.0, numpy.array([[4.0], [5.0]]))])) == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_the_table_shows_medians_and_ratios() -> None:
    columns = [
        Column("one", {OURS: [1e-6, 2e-6, 2e-6, 2e-6, 3e-6], "other": [29.06e-6]}, difference=2e-15),
        Column("two", {OURS: [1e-3]}),
    ]
    assert harness.table(columns) == (
        "| us a call (ratio) | one | two |\n"
        "| --- | ---: | ---: |\n"
        "| chainrule, compiled | 2.00 (1.00x) | 1,000 (1.00x) |\n"
        "| other | 29.1 (29.1x) | - |\n\n"
        "Results agree to 1e-09 (largest relative difference 2e-15). Ratios: quartiles at most 0% of the median apart."
    )


def test_a_machine_that_slows_down_changes_times_but_no_ratio() -> None:
    slower = [1e-6 * k for k in (1, 2, 4, 8, 16, 32)]
    column = Column("one", {OURS: slower, "other": [3.0 * x for x in slower]})
    assert column.ratios("other", OURS) == pytest.approx([3.0] * 6)
    assert "| other | 18.0 (3.00x) |" in harness.table([column])
    assert "Ratios: quartiles at most 0% of the median apart." in harness.table([column])


def test_the_spread_is_that_of_the_quartiles() -> None:
    column = Column("", {OURS: [2.0, 1.0, 4.0, 0.5, 1.0], "a": [2.0, 2.0, 12.0, 2.0, 5.0]})  # 1 to 5 times as long
    assert column.spread("a", OURS) == pytest.approx(3.0 / 3.0)


@given(st.floats(1e-9, 1e9))
def test_three_significant_digits(number: float) -> None:
    printed = harness.significant(number)
    assert "e" not in printed
    assert float(printed.replace(",", "")) == pytest.approx(number, rel=5.1e-3)


# ---- the workloads: ours and what is written by hand


def check(contestants: list[Contestant]) -> None:
    """Compare the results of the engines at hand."""
    entries = [contestant for contestant in contestants if contestant.name.startswith(AVAILABLE)]
    jobs, _ = harness.prepare(entries)
    assert {OURS, EAGER} <= jobs.keys()
    assert len(jobs) > 2
    harness.compare({name: job.numbers() for name, job in jobs.items()})


WORKLOADS: dict[str, Callable[[], list[Contestant]]] = {
    "Rosenbrock 2": partial(rosenbrock_table.contestants, 2),
    "Rosenbrock 23": partial(rosenbrock_table.contestants, 23),
    "Greeks": partial(black_scholes.contestants, False),
    "Greeks and gamma": partial(black_scholes.contestants, True),
    "robot arm": robot_arm.contestants,
    "mixture": mixture.contestants,
    "two moons 1": partial(two_moons.contestants, 1),
    "two moons 3": partial(two_moons.contestants, 3),
    "Hessian": rosenbrock_hessian.contestants,
    "expression": expression.contestants,
}


@pytest.mark.parametrize("name", WORKLOADS)
def test_ours_and_by_hand_agree(name: str) -> None:
    check(WORKLOADS[name]())


numbers = st.floats(-2.0, 2.0)


def agree(found: Any, expected: Any) -> None:
    harness.compare({"engine": harness.flatten(expected), "by hand": harness.flatten(found)})


@given(st.lists(numbers, min_size=2, max_size=25))
def test_rosenbrock_by_hand(x: list[float]) -> None:
    expected = autodiff.value_and_grad(rosenbrock_table.rosenbrock)(x)
    agree(rosenbrock_table.written_out(len(x))(x), expected)
    agree(rosenbrock_table.loop(x), expected)


@given(st.lists(numbers, min_size=2, max_size=12))
def test_rosenbrock_hessian_by_hand(x: list[float]) -> None:
    expected = autodiff.hessian(rosenbrock_table.rosenbrock)(x)
    agree(rosenbrock_hessian.written_out(x).run(), expected)
    agree(rosenbrock_hessian.loop(x), expected)


@given(numbers, st.floats(0.1, 2.0))
def test_expression_by_hand(x: float, y: float) -> None:
    agree(expression.by_hand(x, y), autodiff.value_and_grad(expression.ours, argnums=(0, 1))(x, y))


options = st.tuples(
    st.floats(80.0, 120.0), st.floats(80.0, 120.0), st.floats(0.5, 2.0), st.floats(0.0, 0.1), st.floats(0.15, 0.5)
)


@given(options)
def test_greeks_by_the_textbook(option: tuple[float, float, float, float, float]) -> None:
    agree(black_scholes.textbook(*option, gamma=True), black_scholes.greeks_and_gamma(*option))


@given(st.lists(st.floats(-3.0, 3.0), min_size=6, max_size=6))
def test_robot_arm_by_hand(angles: list[float]) -> None:
    agree(robot_arm.by_hand(angles), robot_arm.residual_and_jacobian(angles))


def test_the_stretched_arm_reaches_as_far_as_its_lengths() -> None:
    x, y, z = robot_arm.residual([0.0] * 6)
    x, y, z = x + robot_arm.TARGET[0], y + robot_arm.TARGET[1], z + robot_arm.TARGET[2]
    assert x == pytest.approx(-0.425 - 0.39225)
    assert y == pytest.approx(-0.10915 - 0.0823)
    assert z == pytest.approx(0.089159 - 0.09465)


@given(st.lists(numbers, min_size=9, max_size=9))
def test_mixture_by_hand(parameters: list[float]) -> None:
    agree(mixture.by_hand(parameters), autodiff.value_and_grad(mixture.log_likelihood)(parameters))
    agree(mixture.plain(parameters, autodiff), mixture.log_likelihood(parameters))


def test_the_comparison_of_training_steps_sees_the_update() -> None:
    task = two_moons.Task(2)
    before = two_moons.flattened(task.layers)
    _, *after = two_moons.job(two_moons.with_lists, task).numbers()
    moved = [a != b for a, b in zip(sorted(after), sorted(before), strict=True)]
    assert sum(moved) > 100


def test_the_network_as_a_function_of_its_parameters() -> None:
    task = two_moons.Task(1)
    task.rows, task.targets = [gradient_cost.EXAMPLE[0]], [gradient_cost.EXAMPLE[1]]
    step, _ = two_moons.with_lists(task, 0.0)
    parameters = two_moons.flattened(task.layers)
    penalty = two_moons.ALPHA * sum(p * p for p in parameters)
    assert gradient_cost.network_loss(parameters) + penalty == pytest.approx(step(), rel=1e-12)


@pytest.mark.parametrize("nodes", [100, 1000])
def test_programs_have_the_size_asked_for(nodes: int) -> None:
    for program, x in programs.sized(nodes).values():
        assert programs.count(program, x) == pytest.approx(nodes, rel=0.1)


def test_operations_are_counted_in_source() -> None:
    counted = gradient_cost.operations("def f(x):\n    y = 2.0 * x * x - x\n    y += 1.0\n    return y / x\n")
    assert counted == {"products": 2, "sums": 2, "others": 1}


# ---- the report


def test_all_scripts_are_run() -> None:
    runnable = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text("utf-8")}
    assert runnable - {"__main__", "accuracy", "kinks"} == set(command.SCRIPTS)  # those two write pages of their own


def test_the_report_names_no_host() -> None:
    text = command.introduction()
    assert platform.python_version() in text
    assert platform.node() not in text


def test_an_unknown_table_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["rosenbrok"])
    assert "there is no table rosenbrok" in capsys.readouterr().err


def test_pictures_are_the_same_every_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.svg"):
        text = plots.draw(tmp_path / name, "title", "x", "y", {"curve": [(1.0, 2.0), (10.0, 3.0)]})
        assert text == f"![title]({name})"
    first, second = ((tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second
    assert b"<svg" in first
    assert b"<dc:date>" not in first


def test_no_engine_is_imported_before_it_is_needed() -> None:
    allowed = set(sys.stdlib_module_names) | {"autodiff", "nn", "benchmarks"}
    for path in (ROOT / "benchmarks").glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in imports if isinstance(node, ast.ImportFrom)}
        assert {name.split(".")[0] for name in names} <= allowed, path.name


@pytest.mark.slow
def test_a_quick_run_prints_the_report() -> None:
    arguments = [sys.executable, "-m", "benchmarks", "--quick", "expression", "gradient_cost"]
    printed = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout
    assert printed.startswith("# Benchmarks\n")
    assert "## 10. A small expression" in printed
    assert f"| {OURS} |" in printed
    assert "## 8. What a gradient costs" in printed
