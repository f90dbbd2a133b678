"""Time several engines on one workload, fairly: equal results first, then all in turn, round after round.

A round gives every contestant one slot: as many calls as fit into `Settings.slot` seconds, at least one. The order
is reversed from round to round, so that nobody always runs after the same neighbour or on a warmer processor. What
counts is the median over the rounds, of times and of ratios: a ratio is taken within a round, for a shared machine may
be half as fast in the next. The garbage collector is on for everybody, as it is in a user's program; what
was alive before the first round is hidden from it (`gc.freeze`), so that nobody pays for another engine's modules.
"""

import argparse
import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Any

OURS = "chainrule, compiled"
EAGER = "chainrule, eager"
TOLERANCE = 1e-9

Clock = Callable[[], float]


@dataclass(frozen=True)
class Settings:
    """How long to measure: rounds of slots of so many seconds; a call longer than `slow` seconds gets fewer rounds."""

    rounds: int = 11
    slot: float = 0.05
    fewest: int = 3  # calls in a slot: the first after a garbage collection is cheaper than those that follow
    slow: float = 0.25
    slow_rounds: int = 2
    quick: bool = False
    plots: Path | None = None  # the folder for pictures, if any are wanted


QUICK = Settings(rounds=2, slot=0.001, fewest=1, slow=0.05, slow_rounds=1, quick=True)


@dataclass(frozen=True)
class Job:
    """What is timed, and what gives the numbers to compare (the same call, unless told otherwise)."""

    run: Callable[[], Any]
    result: Callable[[], Any] | None = None

    def numbers(self) -> list[float]:
        """Compute the result once, as a flat list."""
        return flatten((self.result or self.run)())


@dataclass(frozen=True)
class Contestant:
    """An engine: its name, and a function that imports and prepares what it needs."""

    name: str
    setup: Callable[[], Job]


@dataclass(frozen=True)
class Column:
    """One measured workload: seconds a call for each contestant, and what is to be said about it."""

    title: str
    seconds: dict[str, list[float]]
    difference: float = 0.0
    skipped: dict[str, str] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """Return the median seconds a call."""
        return statistics.median(self.seconds[name])

    def ratios(self, name: str, baseline: str) -> list[float]:
        """Return how many times as long as the baseline a contestant took, round by round."""
        return [x / y for x, y in zip(self.seconds[name], self.seconds[baseline], strict=False)]

    def spread(self, name: str, baseline: str) -> float:
        """Return the distance between the quartiles of these ratios, relative to their median."""
        low, middle, high = statistics.quantiles(self.ratios(name, baseline), n=4)
        return (high - low) / middle


# ---- measuring


def measure(
    title: str, contestants: Sequence[Contestant], settings: Settings, clock: Clock = time.perf_counter
) -> Column:
    """Prepare all contestants, compare their results with the first one's, then time them in turn."""
    jobs, skipped = prepare(contestants)
    difference = compare({name: job.numbers() for name, job in jobs.items()})
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    with clean_heap():
        calls = {name: calibrate(job.run, settings, clock) for name, job in jobs.items()}
        for number in range(settings.rounds):
            for name in turns(list(jobs), number):
                if not is_done(seconds[name], settings):
                    seconds[name].append(slot(jobs[name].run, calls[name], clock))
    return Column(title, seconds, difference, skipped)


@contextmanager
def clean_heap() -> Iterator[None]:
    """Hide what is alive now from the garbage collector for a while."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def prepare(contestants: Iterable[Contestant]) -> tuple[dict[str, Job], dict[str, str]]:
    """Set up the contestants whose packages are installed; say which are not."""
    jobs: dict[str, Job] = {}
    skipped: dict[str, str] = {}
    for contestant in contestants:
        try:
            jobs[contestant.name] = contestant.setup()
        except ModuleNotFoundError as error:
            skipped[contestant.name] = f"{error.name} is not installed"
    return jobs, skipped


def turns(names: list[str], number: int) -> list[str]:
    """Return the order of a round: forward and backward alternate."""
    return names if number % 2 == 0 else names[::-1]


def is_done(times: list[float], settings: Settings) -> bool:
    """Say whether a contestant needs no more rounds: a slow one gets few."""
    return bool(times) and min(times) > settings.slow and len(times) >= settings.slow_rounds


def calibrate(run: Callable[[], Any], settings: Settings, clock: Clock) -> int:
    """Find how many calls fill a slot; the calls made here warm up caches and specialising interpreters.

    The first call does not count: engines that prepare a function do so then, and that may take many slots.
    """
    run()
    calls = 1
    while (elapsed := slot(run, calls, clock) * calls) < settings.slot / 4:
        calls *= 2
    return max(settings.fewest, round(calls * settings.slot / elapsed))


def slot(run: Callable[[], Any], calls: int, clock: Clock) -> float:
    """Return the seconds that one of so many calls takes, with its share of clearing up after them."""
    start = clock()
    for _ in repeat(None, calls):
        run()
    gc.collect()
    return (clock() - start) / calls


# ---- equal results


def flatten(tree: Any) -> list[float]:
    """List the numbers in nested lists, tuples and arrays, in order."""
    if hasattr(tree, "tolist"):
        tree = tree.tolist()
    if isinstance(tree, list | tuple):
        return [number for item in tree for number in flatten(item)]
    return [float(tree)]


def compare(results: dict[str, list[float]]) -> float:
    """Raise AssertionError if a result differs from the first one; return the largest difference.

    Differences are relative to the number itself, or to 1e-3 of the largest one if that is more: an entry that is
    0 by cancellation has no digits to compare.
    """
    if not results:
        return 0.0
    (first, expected), *others = results.items()
    floor = 1e-3 * max(map(abs, expected), default=0.0)
    worst = 0.0
    for name, found in others:
        assert len(found) == len(expected), f"{name} returned {len(found)} numbers, {first} {len(expected)}"
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            difference = abs(a - b) / (max(abs(a), abs(b), floor) or 1.0)
            assert difference <= TOLERANCE, f"number {i} is {a!r} by {name}, but {b!r} by {first}"
            worst = max(worst, difference)
    return worst


# ---- the report


def significant(number: float) -> str:
    """Print three significant digits, with commas for thousands and no exponent.

    >>> significant(0.28149), significant(29.149), significant(1432000.0)
    ('0.281', '29.1', '1,430,000')
    """
    if number == 0.0 or not math.isfinite(number):
        return f"{number:g}"
    decimals = 2 - math.floor(math.log10(abs(number)))
    return f"{round(number, decimals):,.{max(decimals, 0)}f}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table, numbers to the right."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def table(columns: Sequence[Column], baseline: str = OURS) -> str:
    """Lay out microseconds a call, one row per engine and one column per workload, with ratios to the baseline."""
    names = dict.fromkeys(name for column in columns for name in column.seconds)
    rows = [[name, *(cell(column, name, baseline) for column in columns)] for name in names]
    header = ["us a call (ratio)", *(column.title for column in columns)]
    return f"{markdown(header, rows)}\n\n{remarks(columns, baseline)}"


def cell(column: Column, name: str, baseline: str) -> str:
    """Print the median time, and the median of its ratio to the baseline's in the same round."""
    if name not in column.seconds:
        return "-"
    time_taken = significant(column.median(name) * 1e6)
    if baseline not in column.seconds:
        return time_taken
    return f"{time_taken} ({times(statistics.median(column.ratios(name, baseline)))})"


def times(ratio: float) -> str:
    """Print how many times as long something takes."""
    return f"{significant(ratio)}x"


def remarks(columns: Sequence[Column], baseline: str) -> str:
    """Say how well results agree, how steady the ratios are, and who is missing."""
    worst = max(column.difference for column in columns)
    pairs = [(column, name) for column in columns if baseline in column.seconds for name in column.seconds]
    spreads = [column.spread(name, baseline) for column, name in pairs if len(column.ratios(name, baseline)) >= 4]
    missing = {name: why for column in columns for name, why in column.skipped.items()}
    agreement = f"Results agree to {TOLERANCE:.0e} (largest relative difference {worst:.0e})."
    lines = [agreement + (f" Ratios: quartiles at most {max(spreads):.0%} of the median apart." if spreads else "")]
    lines += [f"Left out: {name} ({why})." for name, why in missing.items()]
    return "\n".join(lines)


# ---- the command line


def main(title: str, text: str, tables: Callable[[Settings], Iterable[str]]) -> None:
    """Run one script: print its title, its text and its tables as Markdown."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="few and short rounds: does it run, do results agree?")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw the pictures of this table there")
    options = parser.parse_args()
    settings = replace(QUICK if options.quick else Settings(), plots=options.plots)
    print(f"## {title}\n\n{text.strip()}\n")
    for part in tables(settings):
        print(part, end="\n\n", flush=True)
