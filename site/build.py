"""Build the page on which the tour runs live: the notebook's cells, this repository's code, Python in the browser.

    python site/build.py                 into out/site
    python site/build.py --out FOLDER

Then serve the folder (`python -m http.server --directory out/site`) and open it: there is no other server behind it,
and nothing is fetched from elsewhere. Building takes npm, which brings Pyodide, Graphviz for the browser, and KaTeX.
"""

import argparse
import base64
import html
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TOUR = ROOT / "notebooks" / "01_tour.ipynb"

# What is copied from npm's packages into the page.
COPIED = {
    "pyodide": ["pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json"],
    "@viz-js/viz": ["dist/viz.js"],
    "katex": ["dist/katex.min.js"],
}
OWN = ["page.js", "worker.js", "style.css"]

# A formula in a text: between two dollars on a line of its own or several, or between single ones.
MATH = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$(?!\s)([^$]+?)(?<!\s)\$", re.DOTALL)
MAGIC = re.compile(r"^%.*\n?", re.MULTILINE)
PLOTTING = re.compile(r"^import matplotlib.*\n*", re.MULTILINE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the page; return 0, or 1 after a line that says what is missing."""
    parser = argparse.ArgumentParser(description="Build the page on which the tour runs live.")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "site", help="folder (default: out/site)")
    parser.add_argument("--packages", type=Path, default=ROOT / "out" / "npm", help="where npm puts what it brings")
    chosen = parser.parse_args(arguments)
    try:
        build(chosen.out, chosen.packages)
    except (ImportError, OSError, subprocess.CalledProcessError) as error:
        print(f"site: error: {error}", file=sys.stderr)
        return 1
    print(f"{chosen.out}: to see it, python -m http.server --directory {chosen.out}, then open http://localhost:8000")
    return 0


def build(out: Path, packages: Path) -> None:
    """Write the whole page into a folder."""
    modules = installed(packages)
    out.mkdir(parents=True, exist_ok=True)
    for name, files in COPIED.items():
        folder = out / "pyodide" if name == "pyodide" else out
        folder.mkdir(exist_ok=True)
        for file in files:
            shutil.copy(modules / name / file, folder)
    for file in OWN:
        shutil.copy(HERE / file, out)
    pack(out / "python.zip")
    notebook = json.loads(TOUR.read_text("utf-8"))
    (out / "index.html").write_text(page(notebook), encoding="utf-8")


# ---- from npm


def installed(packages: Path) -> Path:
    """Have npm install what package.json asks for, unless it is there; return the folder of the modules."""
    wanted = json.loads((HERE / "package.json").read_text("utf-8"))["dependencies"]
    modules = packages / "node_modules"
    if any(version_of(modules / name) != version for name, version in wanted.items()):
        npm = shutil.which("npm")
        if npm is None:
            raise FileNotFoundError("npm is not installed; it comes with Node.js (https://nodejs.org)")
        packages.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / "package.json", packages)
        quiet = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        subprocess.run([npm, "install", *quiet], cwd=packages, check=True)
    return modules


def version_of(module: Path) -> str | None:
    """Return which version of a package is there, if any."""
    description = module / "package.json"
    return json.loads(description.read_text("utf-8"))["version"] if description.is_file() else None


# ---- the Python in it


def pack(path: Path) -> None:
    """Pack the packages of this repository, the runner of cells, and the package that writes DOT, into one archive."""
    graphviz = importlib.util.find_spec("graphviz")
    if graphviz is None or graphviz.origin is None:
        raise ImportError('the page draws with the package graphviz: pip install "chainrule[site]"')
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in (ROOT / "autodiff", ROOT / "nn", Path(graphviz.origin).parent):
            for file in sorted(folder.rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts:
                    add(archive, file, file.relative_to(folder.parent).as_posix())
        add(archive, HERE / "cells.py", "cells.py")


def add(archive: zipfile.ZipFile, file: Path, name: str) -> None:
    """Add a file with a fixed date: the same sources make the same archive."""
    entry = zipfile.ZipInfo(name, date_time=(2000, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, file.read_bytes())


# ---- the page


def page(notebook: dict[str, Any]) -> str:
    """Write the page of a notebook. It can be read before Python is there, and without scripts: outputs are in it."""
    title = next(joined(cell["source"]).splitlines()[0].lstrip("# ") for cell in notebook["cells"])
    body = "\n".join(filter(None, map(section, notebook["cells"])))
    template = Template((HERE / "page.html").read_text("utf-8"))
    return template.substitute(title=html.escape(f"{title} - Chainrule"), body=body)


def section(cell: dict[str, Any]) -> str:
    """Write one cell: text, code that can be run, or code whose picture the page can only show."""
    source = joined(cell["source"])
    if cell["cell_type"] == "markdown":
        return prose(source)
    code = PLOTTING.sub("", MAGIC.sub("", source)).strip("\n")
    outputs = "".join(shown(output) for output in cell["outputs"])
    if re.search(r"\bplt\.", code):
        return (
            f'<div class="still"><pre>{html.escape(code)}</pre>\n<div class="output">{outputs}</div>\n'
            "<p>This picture was made when the notebook ran last: matplotlib is not in this page.</p></div>"
        )
    if not code:
        return ""
    rows = code.count("\n") + 1
    return (
        f'<div class="cell"><textarea rows="{rows}" spellcheck="false" autocapitalize="off" aria-label="Python code">'
        f"\n{html.escape(code)}</textarea>\n"
        '<div class="tools"><button class="run" type="button" title="Shift+Enter">Run</button>'
        '<button class="undo" type="button">Undo my changes</button></div>\n'
        f'<div class="output" aria-live="polite">{outputs}</div></div>'
    )


def prose(text: str) -> str:
    r"""Turn Markdown into HTML; formulas stay TeX, in elements that the page's script finds.

    >>> prose("The *slope* of $x_1^2$ is `2 x`.")
    '<p>The <em>slope</em> of <span class="math">x_1^2</span> is <code>2 x</code>.</p>\n'
    """
    from markdown_it import MarkdownIt

    formulas: list[str] = []

    def keep(found: re.Match[str]) -> str:
        tag = "div" if found[1] else "span"
        formulas.append(f'<{tag} class="math">{html.escape((found[1] or found[2]).strip())}</{tag}>')
        return f"FORMULA{len(formulas) - 1}X"

    linked = re.sub(r"\[([^]]+)\]\([^):]+\.ipynb\)", r"\1", text)  # the other notebooks are not in the page
    rendered: str = MarkdownIt("commonmark").enable("table").render(MATH.sub(keep, linked))
    return re.sub(r"FORMULA(\d+)X", lambda found: formulas[int(found[1])], rendered)


def shown(output: dict[str, Any]) -> str:
    """Write an output of the notebook as the page's script would."""
    if "text" in output:
        return f"<pre>{html.escape(joined(output['text']))}</pre>"
    data = {kind: joined(text) for kind, text in output.get("data", {}).items() if kind != "application/json"}
    if "text/html" in data:
        return f'<iframe title="output" srcdoc="{html.escape(data["text/html"])}"></iframe>'
    if "image/svg+xml" in data:
        picture = base64.b64encode(data["image/svg+xml"].encode()).decode("ascii")
        return f'<img alt="a picture" src="data:image/svg+xml;base64,{picture}">'
    if "text/latex" in data:
        return f'<div class="math">{html.escape(data["text/latex"])}</div>'
    return f"<pre>{html.escape(data.get('text/plain', ''))}</pre>"


def joined(text: str | Sequence[str]) -> str:
    """Return a text that a notebook stores as one string or as its lines."""
    return text if isinstance(text, str) else "".join(text)


if __name__ == "__main__":
    sys.exit(main())
