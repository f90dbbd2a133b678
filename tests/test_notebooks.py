"""The notebooks as they are committed, and the program that runs them and finds out whether they are stale."""

import ast
import copy
import doctest
import importlib.util
import json
import re
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
README = (FOLDER / "README.md").read_text("utf-8")

MACHINE_PATH = re.compile(r"/(?:root|home|tmp|Users)/|[A-Z]:\\\\|" + re.escape(str(ROOT)))

Notebook = dict[str, Any]


def load_execute() -> ModuleType:
    spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


execute = load_execute()


def name(path: Path) -> str:
    return path.stem


def code_cells(notebook: Notebook) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source(cell: dict[str, Any]) -> str:
    return str(execute.joined(cell["source"]))


def sections(path: Path) -> dict[str, list[str]]:
    """Return the code cells of each section: those between its heading and the next one, of whatever level."""
    found: dict[str, list[str]] = {}
    heading = ""
    for cell in execute.read(path)["cells"]:
        if cell["cell_type"] == "code":
            found.setdefault(heading, []).append(source(cell))
            continue
        for heading in re.findall(r"^#+ (.+)$", source(cell), flags=re.MULTILINE):  # the last one counts
            assert heading not in found, f"{path.stem} has two sections called {heading}"
            found[heading] = []
    return found


def asserts(code: str) -> int:
    """Count the assertions in a cell, in loops and functions too."""
    lines = [line for line in code.splitlines() if not line.startswith("%")]
    return sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse("\n".join(lines))))


# ---- as committed


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_notebook_was_run_from_top_to_bottom_without_an_error(path: Path) -> None:
    cells = code_cells(execute.read(path))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_notebook_asserts_and_draws(path: Path) -> None:
    cells = code_cells(execute.read(path))
    assert sum(asserts(source(cell)) for cell in cells) >= 3
    kinds = {kind for cell in cells for output in cell["outputs"] for kind in output.get("data", {})}
    assert "image/svg+xml" in kinds


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_notebook_holds_nothing_of_the_machine_it_ran_on(path: Path) -> None:
    notebook = execute.read(path)
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["language_info"] == {"name": "python"}  # no version
    for cell in notebook["cells"]:
        assert set(cell["metadata"]) <= {"tags"}
    text = path.read_text("utf-8")
    assert not MACHINE_PATH.search(text)
    assert "<dc:date>" not in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_file_is_laid_out_as_refreshing_would_do(path: Path) -> None:
    notebook = execute.read(path)
    assert path.read_text("utf-8") == execute.text_of(notebook)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_notebook_is_listed_in_the_readme(path: Path) -> None:
    assert f"[{path.stem}]({path.name})" in README


@pytest.mark.parametrize("path", [FOLDER / "README.md", *NOTEBOOKS], ids=name)
def test_links_lead_to_files(path: Path) -> None:
    if path.suffix == ".ipynb":
        text = "\n".join(source(cell) for cell in execute.read(path)["cells"] if cell["cell_type"] == "markdown")
    else:
        text = path.read_text("utf-8")
    for target in re.findall(r"\[[^]]*\]\(([^)#\s]+)\)", text):
        if not target.startswith("https://"):
            assert (FOLDER / target).is_file(), target


def test_every_line_of_the_lectures_has_a_section() -> None:
    """The table at the end of the README: what a lecture says, and where it is derived, run and asserted.

    Whether it is the formula that is asserted, or something beside it, takes a reader; this sees that something is.
    """
    cells = {path.stem: sections(path) for path in NOTEBOOKS}
    table = README[README.index("## The lectures") :]
    rows = re.findall(r"^\| (\d{3}) \| (.+?) \| (.+?) \|$", table, flags=re.MULTILINE)
    assert {document for document, _, _ in rows} == {"000", "001", "003", "004"}  # 002 is 000, extracted again
    assert len({line for _, line, _ in rows}) == len(rows)
    for _, line, places in rows:
        assert ": " in places, line
        for place in places.split("; "):
            stem, _, section = place.partition(": ")
            assert section in cells[stem], f"{line}: {place}"
            assert sum(map(asserts, cells[stem][section])) >= 1, f"{line}: nothing is asserted in {place}"


# ---- comparing


def test_the_examples_of_the_program_run() -> None:
    results = doctest.testmod(execute)
    assert results.attempted > 3
    assert results.failed == 0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(-1e-10, 1e-10))
def test_numbers_may_differ_by_a_rounding_error(numbers: list[float], error: float) -> None:
    old = " and ".join(repr(x) for x in numbers)
    new = " and ".join(repr(x * (1.0 + error)) for x in numbers)
    assert execute.alike(old, new)


@given(st.floats(1e-3, 1e6), st.floats(1e-6, 1.0))
def test_numbers_may_not_differ_by_more(x: float, error: float) -> None:
    assert not execute.alike(f"loss {x!r}", f"loss {x * (1.0 + error)!r}")


@pytest.mark.parametrize(
    ("old", "new"),
    [("0.25", "0.25 0.25"), ("w 1", "v 1"), ("[1, 2]", "[2, 1]"), ("", "x"), ("nan", "1.0"), ("1", "-1")],
)
def test_different_texts_are_different(old: str, new: str) -> None:
    assert not execute.alike(old, new)


def picture(producer: str, path: str, word: str) -> str:
    title = f"<metadata><dc:title>Matplotlib v{producer}, https://matplotlib.org/</dc:title></metadata>"
    return f'<svg width="100">{title}<g id="a{path}"><!-- {word} --><path d="M {path} 3"/></g></svg>'


def test_pictures_of_one_program_must_have_the_same_shapes() -> None:
    old = picture("3.9", "10.00", "loss")
    assert execute.alike(old, picture("3.9", "10.01", "loss"))
    assert not execute.alike(old, picture("3.9", "11.00", "loss"))
    assert not execute.alike(old, picture("3.9", "10.00", "gain"))


def test_pictures_of_different_programs_must_have_the_same_words() -> None:
    old = picture("3.9", "10.00", "loss")
    assert execute.alike(old, picture("3.10", "17.00", "loss"))
    assert not execute.alike(old, picture("3.10", "10.00", "gain"))


def test_pictures_inside_pages_are_compared_as_pictures() -> None:
    def page(drawn: str) -> str:
        return f'<p>step 1</p><img src="data:image/svg+xml;base64,{b64encode(drawn.encode()).decode()}">'

    old = page(picture("3.9", "10.00", "loss"))
    assert execute.alike(old, page(picture("3.9", "10.01", "loss")))
    assert not execute.alike(old, page(picture("3.9", "11.00", "loss")))
    assert not execute.alike(old, page(picture("3.10", "10.00", "gain")))


@pytest.mark.parametrize("tick", ["0.5", "−12", "1e-3", r"$\mathdefault{10^{-4}}$"])
def test_the_numbers_on_an_axis_are_no_words(tick: str) -> None:
    assert execute.written(f"<svg><!-- {tick} --><!-- x --></svg>") == ["x"]


def test_graphs_must_have_the_same_words_and_colours() -> None:
    def graph(x: str, word: str, colour: str) -> str:
        return f'<svg><polygon fill="{colour}" points="{x},0 9,9"/><text x="{x}">{word}</text></svg>'

    old = graph("1", "grad 2", "#f7dfa5")
    assert execute.alike(old, graph("5", "grad 2", "#f7dfa5"))  # another renderer, or another version of it
    assert not execute.alike(old, graph("1", "grad 3", "#f7dfa5"))
    assert not execute.alike(old, graph("1", "grad 2", "#ffffff"))


def test_words_of_a_graph_are_found_whatever_drew_it() -> None:
    ported = '<svg><!-- n0 --><text x="1">a &lt; b</text><text x="2">data 3</text></svg>'
    original = "<!-- Generated by graphviz version 9 --><svg><!-- Generated by graphviz version 9 -->"
    original += '<text x="7">data 3</text><text x="5">a &lt; b</text></svg>'
    assert execute.written(ported) == execute.written(original) == ["a < b", "data 3"]


def stream(text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": [text]}


def cell(line: str, outputs: list[dict[str, Any]], *tags: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": f"cell{abs(hash(line)) % 1000}",
        "metadata": {"tags": list(tags)} if tags else {},
        "source": [line],
        "execution_count": 1,
        "outputs": outputs,
    }


def test_an_output_that_is_as_good_is_kept() -> None:
    old, new = cell("f()", [stream("0.1")]), cell("f()", [stream("0.10000000000000002")])
    assert execute.refresh_cell(old, new) == old


def test_an_output_that_says_something_else_is_replaced() -> None:
    old, new = cell("f()", [stream("0.1")]), cell("f()", [stream("0.2")])
    assert execute.refresh_cell(old, new) == new


def test_a_volatile_output_is_kept_until_it_is_cleared() -> None:
    old, new = cell("f()", [stream("3 us")], "volatile"), cell("f()", [stream("4 us")], "volatile")
    assert execute.refresh_cell(old, new) == old
    cleared = copy.deepcopy(old) | {"outputs": []}
    assert execute.refresh_cell(cleared, new) == new


def test_what_jupyter_adds_to_a_cell_is_taken_out() -> None:
    old = cell("f()", [stream("1")])
    seen = copy.deepcopy(old) | {"metadata": {"collapsed": True, "ExecuteTime": {"start_time": "2020"}}}
    assert execute.refresh_cell(seen, old) == old


# ---- running

needs_kernel = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in ("nbclient", "ipykernel")),
    reason='needs the extra "notebooks"; `make notebooks` installs it',
)


def write(path: Path, *cells: dict[str, Any]) -> Path:
    for number, item in enumerate(cells):
        item["id"] = f"c{number}"
    path.write_text(json.dumps({"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), "utf-8")
    return path


def run(*arguments: str | Path) -> tuple[int, str]:
    command = [sys.executable, str(FOLDER / "execute.py"), "--jobs", "2", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


@needs_kernel
@pytest.mark.slow
def test_good_notebooks_are_refreshed_once(tmp_path: Path) -> None:
    path = write(
        tmp_path / "good.ipynb",
        cell("import autodiff, time\nx = autodiff.Value(3.0)\nprint((x * x).data)", []),
        cell("time.time()", [], "volatile"),
    )
    status, report = run(path)
    assert (status, "STALE" in report) == (1, True)
    status, report = run("--write", path)
    assert (status, "refreshed" in report) == (0, True)
    first, second = code_cells(execute.read(path))
    assert first["outputs"] == [stream("9.0\n")]
    assert [first["execution_count"], second["execution_count"]] == [1, 2]
    text = path.read_text("utf-8")
    assert run("--write", path)[0] == 0
    assert path.read_text("utf-8") == text  # the time is another one, and still nothing is written


@needs_kernel
@pytest.mark.slow
def test_bad_notebooks_fail_and_are_left_alone(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "wrong.ipynb", cell("assert 1 + 1 == 3, 'not so'", [])),
        write(tmp_path / "warns.ipynb", cell("import warnings\nwarnings.warn('careful')", [])),
        write(tmp_path / "stale.ipynb", cell("print(1)", [stream("2\n")])),
    ]
    before = [path.read_text("utf-8") for path in paths]
    status, report = run(*paths)
    assert status == 1
    assert "wrong: FAILED" in report
    assert "not so" in report
    assert "warns: FAILED" in report
    assert "stale: STALE" in report
    assert [path.read_text("utf-8") for path in paths] == before
