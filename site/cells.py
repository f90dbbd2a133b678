"""Run the cells of a page: code goes in, outputs come out. The page runs this in Pyodide; it works in any Python.

An output is a kind (text, html, svg, latex or error) and a text. As in a notebook, what a cell prints comes first, then
the value of its last line, if that is an expression.
"""

import ast
import contextlib
import io
import linecache
import traceback
from collections.abc import Callable
from typing import Any

Output = dict[str, str]

# The ways in which an object can show itself, best first, as in a notebook.
SHOWN_AS = {"html": "_repr_html_", "svg": "_repr_svg_", "latex": "_repr_latex_"}


class Page:
    r"""The cells of one page: they share their names, as those of a notebook do.

    >>> page = Page()
    >>> page.run("x = 2")
    []
    >>> page.run("print('so'); x + 1")
    [{'kind': 'text', 'text': 'so\n'}, {'kind': 'text', 'text': '3'}]
    >>> page.run("x / 0")[0]["text"].splitlines()[-1]
    'ZeroDivisionError: division by zero'
    """

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.count = 0

    def run(self, code: str) -> list[Output]:
        """Run one cell; an exception is an output too."""
        self.count += 1
        name = f"<cell {self.count}>"
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)  # tracebacks quote from it
        printed, shown = io.StringIO(), list[Output]()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            try:
                value = self._evaluate(code, name)
                if value is not None:
                    shown.append(represent(value))
            except BaseException as error:  # noqa: BLE001 - whatever a reader's code raises is shown to the reader
                shown.append({"kind": "error", "text": explain(error)})
        before = [{"kind": "text", "text": printed.getvalue()}] if printed.getvalue() else []
        return before + shown

    def _evaluate(self, code: str, name: str) -> Any:
        """Run all statements; return the value of the last one, if it has any."""
        tree = ast.parse(code, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), self.names)
        if last is None or not isinstance(last, ast.Expr):
            return None
        return eval(compile(ast.Expression(last.value), name, "eval"), self.names)


def represent(value: Any) -> Output:
    """Let an object show itself in the best way it has.

    >>> represent([1.0])
    {'kind': 'text', 'text': '[1.0]'}
    """
    for kind, method in SHOWN_AS.items():
        show = getattr(value, method, None)
        text = show() if callable(show) else None
        if text is not None:
            return {"kind": kind, "text": text}
    return {"kind": "text", "text": repr(value)}


def explain(error: BaseException) -> str:
    """Write a traceback that begins in the reader's cell: what called it does not help."""
    frames = error.__traceback__
    while frames is not None and not frames.tb_frame.f_code.co_filename.startswith("<cell "):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))


def draw_with(render: Callable[[str], str]) -> None:
    """Have `autodiff` draw with a function from DOT to SVG: a browser starts no program, but has a Graphviz inside."""
    from autodiff import drawing

    def rendered(source: str, kind: str) -> bytes:
        if kind != "svg":
            raise RuntimeError(f"this page draws SVG; {kind} takes the package on a computer")
        return render(source).encode()

    drawing._render = rendered
