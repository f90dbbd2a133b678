"""The page on which the tour runs live: how it is built, and that it works in a browser."""

import base64
import doctest
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

import autodiff
from autodiff import Value, drawing

pytest.importorskip("markdown_it", reason='pip install "chainrule[site]"')

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "site"
PACKAGES = ROOT / "out" / "npm"

# As root in a container: no sandbox of its own; and no requests of the browser's own.
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1000,1400",
]  # fmt: skip


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"page_{name}", SITE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build, cells = load("build"), load("cells")


def code(source: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "outputs": list(outputs)}


# ---- running cells


def test_cells_share_names_and_show_their_last_value() -> None:
    page = cells.Page()
    assert page.run("from autodiff import Value\nx = Value(3.0)\ny = x * x") == []
    assert page.run("y.backward()") == []
    assert page.run("print('grad'); x.grad") == [{"kind": "text", "text": "grad\n"}, {"kind": "text", "text": "6.0"}]
    assert page.run("") == page.run("# nothing") == page.run("None") == []


def test_an_error_is_shown_from_the_readers_cell_on_with_its_line() -> None:
    page = cells.Page()
    page.run("def f(x):\n    return 1 / x")
    (output,) = page.run("f(0)")
    lines = output["text"].splitlines()
    assert output["kind"] == "error"
    assert [line.strip() for line in lines if line.startswith("  File")] == [
        'File "<cell 2>", line 1, in <module>',
        'File "<cell 1>", line 2, in f',
    ]
    assert "    return 1 / x" in lines
    assert lines[-1] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(("source", "last"), [("1 +", "SyntaxError"), ("raise SystemExit(1)", "SystemExit")])
def test_what_stops_a_cell_does_not_stop_the_page(source: str, last: str) -> None:
    page = cells.Page()
    assert last in page.run(source)[-1]["text"]
    assert page.run("1 + 1") == [{"kind": "text", "text": "2"}]


def test_an_object_shows_itself_in_the_best_way_it_has() -> None:
    class Picture:
        def _repr_html_(self) -> None:
            return None

        def _repr_svg_(self) -> str:
            return "<svg/>"

        def _repr_latex_(self) -> str:
            return "$x$"

    assert cells.represent(Picture()) == {"kind": "svg", "text": "<svg/>"}


def test_pictures_are_drawn_with_the_function_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_render", None)  # put back after this test
    sources: list[str] = []
    cells.draw_with(lambda source: sources.append(source) or "<svg>drawn</svg>")
    assert autodiff.draw(Value(2.0, "x") * 3.0).svg == "<svg>drawn</svg>"
    assert "x" in sources[0]


# ---- the page


@pytest.mark.parametrize("module", [build, cells], ids=["build", "cells"])
def test_the_examples_run(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed


def test_prose_keeps_formulas_for_the_pages_script() -> None:
    text = "# Title\n\nA $x_1 < 2$ and `code` and $$ a_b \\\\ *c* $$ and [text](02_other.ipynb), 5\\$ and 6\\$."
    html = build.prose(text)
    assert '<span class="math">x_1 &lt; 2</span>' in html
    assert '<div class="math">a_b \\\\ *c*</div>' in html
    assert "<code>code</code>" in html
    assert " text," in html
    assert "5$ and 6$" in html


def test_code_stands_in_fields_and_plots_as_pictures_only() -> None:
    result = {"output_type": "execute_result", "data": {"text/plain": "2 < 3"}}
    page = build.page({"cells": [
        {"cell_type": "markdown", "source": "# The <title>"},
        code("%matplotlib inline\nimport matplotlib.pyplot as plt\nimport math\n1 < 2", result),
        code("%config X = 1"),
        code("plt.plot([1])", {"output_type": "display_data", "data": {"image/svg+xml": "<svg/>", "text/plain": ""}}),
    ]})  # fmt: skip
    assert re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL) == ["import math\n1 &lt; 2"]
    assert "<pre>2 &lt; 3</pre>" in page
    assert page.count('class="cell"') == page.count('class="still"') == 1
    assert base64.b64encode(b"<svg/>").decode() in page
    assert "<title>The &lt;title&gt; - Chainrule</title>" in page


def test_the_tour_runs_without_what_the_page_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """All cells of the page, in order, with matplotlib missing."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    notebook = json.loads(build.TOUR.read_text("utf-8"))
    sources = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", build.page(notebook), re.DOTALL)
    assert len(sources) > 5
    page = cells.Page()
    for source in sources:
        outputs = page.run(build.html.unescape(source))
        assert not [output["text"] for output in outputs if output["kind"] == "error"], source


def test_the_archive_holds_both_packages_and_is_the_same_each_time(tmp_path: Path) -> None:
    build.pack(tmp_path / "one.zip")
    build.pack(tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    names = set(zipfile.ZipFile(tmp_path / "one.zip").namelist())
    assert {"cells.py", "autodiff/__init__.py", "nn/data/iris.csv", "graphviz/__init__.py"} <= names
    assert not [name for name in names if name.endswith(".pyc")]


def test_without_npm_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert build.main(["--out", str(tmp_path / "page"), "--packages", str(tmp_path / "npm")]) == 1
    assert capsys.readouterr().err.startswith("site: error: npm is not installed")


# ---- in a browser


class Browser:
    """Chromium, told what to do in the words of the WebDriver standard."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}/session"
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        options = {"args": FLAGS, "binary": shutil.which("chromium")}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        self.address += "/" + self.send("POST", "", wanted)["sessionId"]

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        with self.opener.open(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def open(self, url: str) -> None:
        self.send("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        return self.send("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str, seconds: float = 100.0) -> Any:
        ends = time.monotonic() + seconds
        while not (found := self.run(f"return {script}")):
            assert time.monotonic() < ends, f"{script} is still {found!r}: {self.run('return document.body.innerText')}"
            time.sleep(0.1)
        return found

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.send("GET", "/screenshot")))

    def close(self) -> None:
        self.send("DELETE", "")


class Quiet(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}

    def do_GET(self) -> None:
        """For a page called with ?slow, let its script come when all else is there."""
        if self.path == "/page.js" and "?slow" in self.headers.get("Referer", ""):
            time.sleep(2.0)
        super().do_GET()

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build the page and serve it."""
    for program in ("npm", "chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here")
    out = tmp_path_factory.mktemp("site")
    try:
        build.build(out, PACKAGES)
    except subprocess.CalledProcessError:
        pytest.skip("npm cannot install what the page needs")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(out))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator[Browser]:
    driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    port = next(int(found[1]) for line in driver.stdout if (found := re.search(r"successfully on port (\d+)", line)))
    try:
        browser = Browser(port)
        browser.open(f"{address}?slow")
        yield browser
        browser.close()
    finally:
        driver.terminate()
        driver.wait()
        driver.stdout.close()


# One test: with several workers, each would build a page and start a browser of its own.
@pytest.mark.slow
def test_the_page_works_in_a_browser(browser: Browser, tmp_path: Path) -> None:
    what_came_with_the_page_is_as_high_as_what_is_in_it(browser)
    browser.wait("document.body.dataset.state === 'ready'")
    the_tour_runs(browser)
    what_came_with_the_page_is_as_high_as_what_is_in_it(browser)
    aligned_formulas_meet_at_the_equals_sign(browser)
    browser.screenshot(tmp_path / "page.png")
    a_reader_changes_a_cell_and_gets_the_numbers_of_this_python(browser)
    an_error_is_shown(browser)
    what_runs_for_ever_can_be_stopped(browser)


def what_came_with_the_page_is_as_high_as_what_is_in_it(browser: Browser) -> None:
    """Frames, which may be there long before the script that measures them."""
    browser.wait("document.querySelectorAll('iframe').length > 0")
    missing = "(frame) => frame.contentDocument.documentElement.offsetHeight - frame.clientHeight"
    browser.wait(f"[...document.querySelectorAll('iframe')].every((frame) => ({missing})(frame) <= 0)", 10.0)
    assert browser.run("return document.querySelector('iframe').clientHeight") > 300


def aligned_formulas_meet_at_the_equals_sign(browser: Browser) -> None:
    sides = browser.run(
        "return [...document.querySelectorAll('mtable[columnalign^=\"right left\"]')].map((table) => "
        "[...table.querySelectorAll(':scope > mtr > mtd:nth-child(even)')].map((cell) => "
        "cell.querySelector('mo').getBoundingClientRect().left))"
    )
    assert sides
    for signs in sides:
        assert len(signs) > 1
        assert max(signs) - min(signs) < 1.0


def the_tour_runs(browser: Browser) -> None:
    browser.run("document.getElementById('all').click()")
    browser.wait("document.body.dataset.state !== 'running'")
    cells_run = "[...document.querySelectorAll('.cell')].map((cell) => cell.dataset.ran || 0)"
    assert not browser.run("return [...document.querySelectorAll('pre.error')].map((pre) => pre.textContent)")
    assert set(browser.run(f"return {cells_run}")) == {"1"}

    # A picture of a graph that Graphviz drew in the browser, with the number that backward() found.
    sources = browser.run("return [...document.querySelectorAll('.output img')].map((image) => image.src)")
    drawn = [ElementTree.fromstring(urllib.request.unquote(s.partition(",")[2])) for s in sources if "charset" in s]
    texts = ["".join(picture.itertext()) for picture in drawn]
    assert any("grad" in text and "sin(x)" in text for text in texts)

    # Generated source, as it reads here.
    fast = autodiff.compile(autodiff.value_and_grad(lambda point: 100.0 * (point[1] - point[0] ** 2) ** 2))
    fast([0.0, 1.0])
    shown = browser.run("return [...document.querySelectorAll('.output pre')].map((pre) => pre.textContent)")
    assert any("# derivatives" in text and "def " in text for text in shown)
    assert "# derivatives" in fast.source

    # Formulas are typeset, all of them.
    assert browser.run("return document.querySelectorAll('.math math').length") > 5
    assert browser.run("return document.querySelectorAll('.katex-error').length") == 0


def a_reader_changes_a_cell_and_gets_the_numbers_of_this_python(browser: Browser) -> None:
    source = (
        "from autodiff import Value, tanh, compile, grad\nx = Value(0.3)\n(tanh(x) ** 3 / x).backward()\n"
        "(x.grad.hex(), compile(grad(tanh))(0.7).hex())"
    )
    browser.run("document.querySelector('.cell .output').replaceChildren()")
    browser.run(CHANGE_AND_RUN, source)
    browser.wait("document.body.dataset.state === 'ready' && document.querySelector('.cell .output').textContent")
    x = Value(0.3)
    (autodiff.tanh(x) ** 3 / x).backward()
    numbers = re.findall(r"'(.*?)'", browser.run("return document.querySelector('.cell .output').textContent"))
    expected = [x.grad, autodiff.grad(autodiff.tanh)(0.7)]  # another C library may round the last digit otherwise
    assert [float.fromhex(number) for number in numbers] == pytest.approx(expected, rel=1e-14)


CHANGE_AND_RUN = (
    "const cell = document.querySelector('.cell'); "
    "cell.querySelector('textarea').value = arguments[0]; cell.querySelector('.run').click()"
)


def an_error_is_shown(browser: Browser) -> None:
    browser.run(CHANGE_AND_RUN, "import math, autodiff\nmath.exp(autodiff.Value(1.0))")
    message = browser.wait("document.querySelector('pre.error')?.textContent")
    assert "v.data for the number" in message
    assert "autodiff.exp(v) instead of math.exp(v)" in message


def what_runs_for_ever_can_be_stopped(browser: Browser) -> None:
    browser.run(CHANGE_AND_RUN, "while True: pass")
    browser.wait("document.querySelector('.cell.running') !== null")
    browser.run("document.getElementById('restart').click()")
    browser.wait("document.body.dataset.python")
    browser.run(CHANGE_AND_RUN, "6 * 7")
    assert browser.wait("document.querySelector('.cell .output').textContent === '42'")
