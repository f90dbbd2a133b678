"""A browser's Python: `tests/browser/checks.py` in Pyodide, under Node.js, and here for comparison.

`make pyodide` installs Pyodide and runs the same. Without Node.js or Pyodide, only the comparison runs.
"""

import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.browser import checks

BROWSER = Path(__file__).resolve().parent / "browser"
PYODIDE = Path(os.environ.get("PYODIDE", BROWSER / "node_modules" / "pyodide"))
NODE = shutil.which("node")

in_pyodide = [
    pytest.mark.slow,
    pytest.mark.skipif(NODE is None, reason="needs Node.js"),
    pytest.mark.skipif(not (PYODIDE / "pyodide.mjs").exists(), reason="needs Pyodide: make pyodide"),
]


@pytest.fixture(scope="module")
def here() -> checks.Report:
    """Run the checks in this Python, but for the examples, which are tests of their own."""
    return checks.run(part for part in checks.PARTS if part is not checks.examples)


@pytest.fixture(scope="module")
def there() -> checks.Report:
    """Run them in Pyodide."""
    ran = subprocess.run([str(NODE), BROWSER / "run.mjs"], capture_output=True, text=True, timeout=300)
    assert ran.stdout, ran.stderr[-2000:]
    report: checks.Report = json.loads(ran.stdout)
    report["status"] = ran.returncode
    return report


def test_the_checks_hold_here(here: checks.Report) -> None:
    assert here["failed"] == []
    assert here["checks"] > 20


def test_a_failing_check_is_reported() -> None:
    report = checks.run([])
    checks.check(report, "this holds", True)
    checks.check(report, "this does not", False)
    assert (report["checks"], report["failed"]) == (2, ["this does not"])


def test_a_compiled_function_that_is_not_the_function_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = itertools.count(1.0)
    monkeypatch.setattr(checks, "landscape", lambda x: x[0] * next(numbers))
    assert checks.run([checks.functions])["failed"] == ["compiled is eager, by every way"]


def test_a_training_that_does_not_learn_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.nn, "Standardiser", lambda rows: lambda row: [0.0] * len(row))
    assert checks.run([checks.training])["failed"] == ["training lowers the loss"]


def test_what_is_missing_is_told_from_what_is_wrong() -> None:
    assert checks.missing(ModuleNotFoundError("No module named 'numpy.linalg'", name="numpy.linalg")) == "numpy"
    chained = ImportError("draw() needs the package graphviz")
    chained.__context__ = ModuleNotFoundError("No module named 'graphviz'", name="graphviz")
    assert checks.missing(chained) == "graphviz"
    assert checks.missing(ModuleNotFoundError("No module named 'autodiff.gone'", name="autodiff.gone")) == ""
    assert checks.missing(ImportError("cannot import name 'gone' from 'math'", name="math")) == ""
    assert checks.missing(ValueError("can't start new thread")) == ""


def test_a_wrong_example_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(checks)("wrong", ">>> 1 + 1\n3\n>>> import a_package_that_is_not_there\n")
    monkeypatch.setattr(checks, "modules", lambda: [module])
    report = checks.run([checks.examples])
    assert report["left out"] == {"wrong": "a_package_that_is_not_there"}
    module.__doc__ = ">>> 1 + 1\n3\n"
    report = checks.run([checks.examples])
    assert "Expected:\n    3\nGot:\n    2" in report["failed"][0]


class TestInPyodide:
    pytestmark = in_pyodide

    def test_everything_holds(self, there: checks.Report) -> None:
        assert there["failed"] == []
        assert there["status"] == 0
        assert there["platform"] == "emscripten"

    def test_most_examples_run(self, there: checks.Report) -> None:
        """What is left out needs an optional package, a thread or a process; nothing else may."""
        assert there["examples"] > 200
        assert len(there["left out"]) < 0.2 * there["examples"]

    def test_arithmetic_gives_the_same_bits(self, here: checks.Report, there: checks.Report) -> None:
        assert there["bits"] == here["bits"]

    def test_functions_give_the_same_numbers(self, here: checks.Report, there: checks.Report) -> None:
        """Its exp and sin are another library's, which may round otherwise."""
        assert there["numbers"] == pytest.approx(here["numbers"], rel=1e-12, abs=0.0)

    def test_training_is_the_same(self, here: checks.Report, there: checks.Report) -> None:
        assert there["losses"] == pytest.approx(here["losses"], rel=1e-6, abs=0.0)
        assert there["right"] == here["right"]

    def test_it_is_the_pyodide_that_is_asked_for(self, there: checks.Report) -> None:
        wanted = json.loads((BROWSER / "package.json").read_text("utf-8"))["dependencies"]["pyodide"]
        if "PYODIDE" not in os.environ:
            assert there["pyodide"] == wanted
