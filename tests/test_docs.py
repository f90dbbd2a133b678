"""What README.md and docs/ say: their examples run, their picture is current, their links and commands exist."""

import doctest
import re
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest

import autodiff
import nn
from autodiff import Value, affine, draw

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
WRITTEN = [README, ROOT / "CHANGELOG.md", *PAGES]

SVG_TEXT = "{http://www.w3.org/2000/svg}text"


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose_code(text: str) -> set[str]:
    """Return what stands in backticks outside code blocks."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)))


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_the_examples_of_a_page_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report: list[str] = []
    runner = doctest.DocTestRunner()
    test = doctest.DocTestParser().get_doctest(path.read_text("utf-8"), {"__name__": "__main__"}, name(path), None, 0)
    assert test.examples
    assert runner.run(test, out=report.append).failed == 0, "".join(report)


@pytest.mark.parametrize("path", WRITTEN, ids=name)
def test_links_lead_to_files_and_headings(path: Path) -> None:
    text = path.read_text("utf-8")
    headings = {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("https://"):
            assert (path.parent / target).is_file(), target


@pytest.mark.parametrize("path", WRITTEN, ids=name)
def test_make_targets_that_are_named_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b(?=`| ARGS|\s+#|\n)", path.read_text("utf-8"))) <= targets


@pytest.mark.parametrize("path", WRITTEN, ids=name)
def test_functions_that_are_named_exist(path: Path) -> None:
    """Words in backticks that are spelt `autodiff.name` or `nn.name` are names that can be used."""
    for package, attribute in re.findall(r"\b(autodiff|nn)\.(\w+)", " ".join(prose_code(path.read_text("utf-8")))):
        home = autodiff if package == "autodiff" else nn
        known = attribute == "py" or hasattr(home, attribute) or find_spec(f"{package}.{attribute}")
        assert known, f"{package}.{attribute}"


def test_the_picture_in_the_readme_is_what_its_example_draws() -> None:
    w1, w2, b = Value(0.5, "w1"), Value(-1.0, "w2"), Value(0.5, "b")
    z = affine([w1, w2], [2.0, 1.5], b)
    y = z.sigmoid()
    loss = (y - 1.0) ** 2
    loss.backward()
    z.label, y.label, loss.label = "z", "y", "loss"
    assert svg_texts((ROOT / "docs/images/neuron.svg").read_text("utf-8")) == svg_texts(draw(loss).svg)


def svg_texts(svg: str) -> list[str]:
    """Return everything written in a picture; where it stands is up to the renderer."""
    return sorted("".join(node.itertext()).strip() for node in ElementTree.fromstring(svg).iter(SVG_TEXT))
