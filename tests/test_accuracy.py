"""The pages on accuracy and on kinks: what they say is computed, and fails where a derivative is wrong."""

import math
from pathlib import Path

import pytest
from mpmath import mp

import autodiff
from autodiff import Primitive
from benchmarks import accuracy, kinks
from benchmarks.accuracy import FUNCTIONS, Function, Score

ROOT = Path(__file__).resolve().parent.parent


def named(name: str) -> Function:
    (function,) = [function for function in FUNCTIONS if function.name == name]
    return function


def test_there_are_as_many_functions_and_points_as_promised() -> None:
    assert len({function.name for function in FUNCTIONS}) == len(FUNCTIONS) >= 54
    assert sum(len(function.points) for function in FUNCTIONS) >= 3600
    for function in FUNCTIONS:
        assert len(set(function.points)) >= 20, function.name


@pytest.mark.parametrize("name", ["sqrt", "logit", "atan2"])
def test_none_is_wrong_in_a_sample(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert accuracy.main([name]) == 0
    assert "points: 0 wrong at 1e-10" in capsys.readouterr().out


def test_a_wrong_derivative_is_counted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Primitive("wrong", math.sqrt, "sqrt({})", lambda out, x: 0.5 * (1.0 + 1e-9) / out)
    function = accuracy.unary("sqrt", "sqrt", "positive", ours=wrong)
    monkeypatch.setattr(accuracy, "FUNCTIONS", (function,))
    assert accuracy.main(["sqrt"]) == 1
    assert ": 0 wrong" not in capsys.readouterr().out


def test_the_truth_is_the_truth() -> None:
    with mp.workdps(50):
        assert mp.almosteq(accuracy.truth(named("tanh"), (40.0,), (0,)), mp.sech(40) ** 2, 1e-20)
        assert mp.almosteq(accuracy.truth(named("log"), (1e300,), (0, 0)), -1 / mp.mpf(1e300) ** 2, 1e-20)
        assert accuracy.truth(named("cos"), (0.0,), (0,)) == 0
        assert accuracy.truth(named("atan2"), (1e-200, 1e-200), (0, 1)) == 0
        assert accuracy.truth(named("x ** y"), (-2.0, 3.0), (1,)) is None


@pytest.mark.parametrize(
    ("found", "want", "off"),
    [(1.0, 1.0, 0.0), (1.5, 1.0, 0.5), (math.nan, 0.0, math.inf), (math.inf, 1.0, math.inf), (0.0, 1e-310, 0.0)],
)
def test_errors_are_relative(found: float, want: float, off: float) -> None:
    assert accuracy.error(found, mp.mpf(want)) == off


def test_scores_are_shown_with_the_number_of_wrong_ones() -> None:
    score = Score()
    score.add((1.0,), 1.0 + 1e-9, mp.mpf(1))
    score.add((2.0,), 1.0, mp.mpf(1))
    assert (score.points, score.wrong, score.where) == (2, 1, (1.0,))
    assert accuracy.show(score) == "1e-09 (1)"
    assert accuracy.show(None) == accuracy.show(Score(missing=True)) == "-"


def test_the_pages_are_there_and_say_that_none_is_wrong() -> None:
    page = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    assert f"derivatives of {len(FUNCTIONS)} functions" in page
    assert f"| Chainrule | {len(FUNCTIONS)} | 0 of " in page
    for function in FUNCTIONS:
        assert f"| `{function.name}` |" in page


def test_the_page_on_kinks_shows_what_the_engine_returns() -> None:
    """The cells of other engines are theirs; ours, in the page as it was written, must be what is returned now."""
    page = (ROOT / "docs" / "kinks.md").read_text(encoding="utf-8")
    for edge in kinks.EDGES:
        first = f"| `{edge.title}` | {kinks.numbers(edge.point)} | {edge.rule} | {kinks.numbers(kinks.ours(edge))} |"
        three = [kinks.numbers(kinks.higher(edge, order)) for order in (1, 2, 3)]
        assert first in page
        assert f"| `{edge.title}` | {kinks.numbers(edge.point)} | {' | '.join(three)} |" in page


def test_the_page_on_kinks_can_be_written(tmp_path: Path) -> None:
    assert kinks.main(["--output", str(tmp_path / "kinks.md")]) == 0
    assert "## Three orders" in (tmp_path / "kinks.md").read_text(encoding="utf-8")


def test_what_an_engine_lacks_or_refuses_is_shown_as_such() -> None:
    def raises(edge: kinks.Edge) -> list[float]:
        raise ZeroDivisionError

    def lacks(edge: kinks.Edge) -> list[float]:
        return [autodiff.nothing_like_it(0.0)]

    cells = [kinks.cell(ask, kinks.EDGES[0]) for ask in (raises, lacks, lambda edge: None, lambda edge: [-0.0])]
    assert cells == ["ZeroDivisionError", "-", "-", "0"]
