"""Make every local derivative of the table wrong by 0.1 percent, one at a time: does a test fail?

`python -m tests.mutations` prints a line for each and the count. The rule is changed in the table itself, so that
every mode sees it; then the tests of that primitive run, cheapest first, until one fails.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from autodiff.primitives import TABLE, Kernel, Primitive
from tests.autodiff import test_primitives
from tests.reference import NULLARY, REFERENCES

FACTOR = 1.001
SEARCH = settings(
    max_examples=25,
    database=None,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
FAILURES = (AssertionError, ArithmeticError, ValueError)


@dataclass(frozen=True)
class Mutant:
    """The local derivative of one primitive by one argument."""

    name: str
    argument: int

    def __str__(self) -> str:
        return f"{self.name} by argument {self.argument + 1}"


def mutants(names: Sequence[str] = ()) -> Iterator[Mutant]:
    """List all local derivatives that are not 0 or nan by declaration."""
    for name in names or sorted(set(TABLE) - NULLARY):
        primitive, reference = TABLE[name], REFERENCES[name]
        typical = max(reference.fixed or [(1.0,) * len(primitive.derivatives)], key=len)
        for i in reference.active(typical):
            if isinstance(primitive, Kernel) or primitive.derivatives[i] != 0.0:
                yield Mutant(name, i)


@contextmanager
def mutated(mutant: Mutant, factor: float = FACTOR) -> Iterator[None]:
    """Multiply one local derivative in the table by a factor, for a while."""
    primitive = TABLE[mutant.name]
    is_kernel = isinstance(primitive, Kernel)
    attributes = ("_all_derivatives", "_all_on_floats") if is_kernel else ("derivatives", "float_rules")
    before = [getattr(primitive, attribute) for attribute in attributes]
    wrong = _wrong(primitive, mutant.argument, factor)
    for attribute in attributes:
        setattr(primitive, attribute, wrong)
    try:
        yield
    finally:
        for attribute, rules in zip(attributes, before, strict=True):
            setattr(primitive, attribute, rules)


def _wrong(primitive: Primitive, i: int, factor: float) -> Any:
    if isinstance(primitive, Kernel):
        rule = primitive._all_derivatives
        return lambda out, *xs: [factor * x if i == j else x for j, x in enumerate(rule(out, *xs))]
    return tuple(_scaled(rule, factor) if i == j else rule for j, rule in enumerate(primitive.derivatives))


def _scaled(rule: Any, factor: float) -> Any:
    return (lambda *args: factor * rule(*args)) if callable(rule) else factor * rule


# ---- the tests of one primitive


def at_fixed_points(name: str) -> None:
    test_primitives.test_right_at_the_fixed_points(name)


def at_drawn_points(name: str) -> None:
    @settings(SEARCH)
    @given(data=st.data())
    def test(data: st.DataObject) -> None:
        test_primitives.test_right_everywhere.hypothesis.inner_test(name, data)  # type: ignore[attr-defined]

    test()


TESTS: tuple[Callable[[str], None], ...] = (at_fixed_points, at_drawn_points)


def killer(name: str) -> str | None:
    """Run the tests of a primitive; return the name of the first that fails."""
    for test in TESTS:
        try:
            test(name)
        except FAILURES:
            return test.__name__
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all mutants, or those of some primitives; fail if one survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="primitives to mutate (default: all)")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(TABLE):
        parser.error(f"there is no primitive {', '.join(sorted(unknown))}")
    killed, survived = 0, 0
    healthy: dict[str, bool] = {}
    for mutant in mutants(options.names):
        if mutant.name not in healthy:  # a test that fails anyway would kill everything
            healthy[mutant.name] = killer(mutant.name) is None
            if not healthy[mutant.name]:
                print(f"FAILS     {mutant.name}: a test fails without any mutation", flush=True)
        with mutated(mutant):
            test = killer(mutant.name)
        killed, survived = killed + (test is not None), survived + (test is None)
        print(f"killed    {mutant}: {test}" if test else f"SURVIVED  {mutant}", flush=True)
    print(f"{killed + survived} local derivatives, each wrong by 0.1% in turn: {killed} killed, {survived} survived")
    return int(survived > 0 or not all(healthy.values()))


if __name__ == "__main__":
    sys.exit(main())
