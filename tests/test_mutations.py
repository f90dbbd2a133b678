"""The command that mutates the table works: it kills what is wrong, and would say so if something survived."""

import pytest

from autodiff import grad, sin
from autodiff.primitives import TABLE
from tests import mutations
from tests.mutations import Mutant, killer, mutants, mutated


def test_a_sample_of_mutants_is_killed(capsys: pytest.CaptureFixture[str]) -> None:
    assert mutations.main(["sin", "where"]) == 0
    *lines, total = capsys.readouterr().out.splitlines()
    assert lines == [
        "killed    sin by argument 1: at_fixed_points",
        "killed    where by argument 2: at_drawn_points",
        "killed    where by argument 3: at_drawn_points",
    ]
    assert total == "3 local derivatives, each wrong by 0.1% in turn: 3 killed, 0 survived"


def test_a_survivor_is_reported(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutations, "mutated", lambda mutant: mutated(mutant, 1.0))
    assert mutations.main(["sin"]) == 1
    assert "SURVIVED  sin by argument 1" in capsys.readouterr().out


def test_tests_that_fail_anyway_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with mutated(Mutant("sin", 0)):
        assert mutations.main(["sin"]) == 1
    assert "FAILS     sin" in capsys.readouterr().out


def test_a_mutant_is_in_the_table_and_leaves_it() -> None:
    with mutated(Mutant("sin", 0)):
        assert grad(sin)(0.0) == 1.001
    assert grad(sin)(0.0) == 1.0
    assert killer("sin") is None


def test_every_primitive_with_a_derivative_is_mutated() -> None:
    flat = {"literal", "argument", "detached", "floordiv", "greater", "beats", "within"}
    flat |= {"sign", "floor", "ceil", "trunc", "rint"}
    assert {mutant.name for mutant in mutants()} == set(TABLE) - flat


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(SystemExit):
        mutations.main(["sine"])
