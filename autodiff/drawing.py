"""Computation graphs as pictures: values with data and grad, edges with local derivatives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from autodiff.value import Value

if TYPE_CHECKING:
    from pathlib import Path

# What only drawing needs is imported inside functions: together it takes longer to import than the engine.

__all__ = ["Drawing", "draw"]

# Beyond these nobody can read the picture, and its layout takes seconds, then minutes.
MAX_NODES = 300
MAX_EDGES = 1000

# Longer text is cut, so that one label cannot stretch the whole picture.
MAX_NAME = 24
MAX_FORMULA = 36

OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "floordiv": "//", "mod": "%", "pow": "**"}

# Both renderers know the widths of Courier; with most other fonts text leaves its box in one of them.
FONT = {"fontname": "Courier", "fontsize": "11"}
GRAPH = {"bgcolor": "white", "ordering": "in", "nodesep": "0.25", "ranksep": "0.6"}
NODE = {**FONT, "shape": "record", "style": "filled", "height": "0.2"}
EDGE = {**FONT, "fontsize": "10", "color": "#4d4d4d", "fontcolor": "#00436b", "arrowsize": "0.6"}

# The kinds differ in shape or border, and in lightness: grey printing and colour blindness leave them apart.
LEAF = {"shape": "Mrecord", "fillcolor": "#f7dfa5"}
INTERIOR = {"fillcolor": "#ffffff"}
RESULT = {"fillcolor": "#a9cfe8", "penwidth": "2.5"}
CONSTANT = {"shape": "ellipse", "fillcolor": "#e3e3e3", "style": "filled,dashed", "margin": "0.04"}


@dataclass(frozen=True)
class Drawing:
    """A drawn graph: notebooks show it, `save` keeps it, `dot` is its source in the DOT language.

    >>> x = Value(3.0, "x")
    >>> picture = draw(x * x)
    >>> '"v1 = x * x|data 9|grad 0"' in picture.dot
    True
    >>> picture.save("square.svg")
    """

    dot: str

    @cached_property
    def svg(self) -> str:
        """Render the picture as SVG text, once.

        >>> draw(Value(3.0, "x")).svg[:12]
        '<svg width="'

        RuntimeError where no renderer is installed.
        """
        text = _render(self.dot)
        return text[text.index("<svg") :]  # without the XML prologue it can stand inside a page

    def save(self, path: "str | Path") -> None:
        """Write the picture to a file ending in .svg, or its source to one ending in .dot.

        >>> draw(Value(3.0) ** 2).save("square.dot")

        ValueError for another ending, OSError where the file cannot be written.
        """
        from pathlib import Path

        path = Path(path)
        if path.suffix not in {".svg", ".dot"}:
            raise ValueError(f"a drawing is saved as .svg or .dot: write {path.stem}.svg, not {path.name}")
        path.write_text(self.svg if path.suffix == ".svg" else self.dot, encoding="utf-8")

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return "<Drawing: a notebook shows it, .save('graph.svg') keeps it>"


def draw(value: Value, *, direction: Literal["LR", "TB"] = "LR") -> Drawing:
    """Draw the graph that computed a value, with data and grad as they are now.

    >>> x, y = Value(2.0, "x"), Value(5.0, "y")
    >>> z = x * y
    >>> z.backward()
    >>> draw(z)
    <Drawing: a notebook shows it, .save('graph.svg') keeps it>

    Edges carry local derivatives. Values without a label are numbered v1, v2, ... from the leaves on.
    `direction` is "LR" (left to right) or "TB" (top to bottom). Needs `pip install "chainrule[drawing]"`.
    ValueError for more than 300 values: draw one neuron, or the loss of one example.
    """
    if not isinstance(value, Value):
        raise TypeError(f"draw() takes a Value, the result to explain, not {type(value).__name__} {value!r:.60}")
    if direction not in ("LR", "TB"):
        raise ValueError(f'direction is "LR" (left to right) or "TB" (top to bottom), not {direction!r}')
    nodes = _nodes(value)
    names, used = _names(nodes), _used(nodes)
    graph = _empty_graph(direction)
    ids = {node: f"n{i}" for i, node in enumerate(nodes)}
    for node in nodes:
        title, complete = _title(node, names)
        fields = f"{_escape(title)}|data {_data(node, used, _short)}|grad {_short(node.grad)}"
        graph.node(
            ids[node],
            fields if direction == "LR" else f"{{{fields}}}",  # one below the other in both directions
            tooltip=f"data {_data(node, used, repr)}, grad {node.grad!r}",  # all digits, under the pointer
            **_style(node, value),
        )
        _add_edges(graph, node, ids, constants=not complete)
    return Drawing(graph.source)


def _nodes(value: Value) -> list[Value]:
    """List the values from the leaves to the result, arguments in order; stop early if they are too many."""
    listed: dict[Value, None] = {}
    waiting = [value]
    edges = len(value.arguments)
    while waiting:
        if len(listed) + len(waiting) > MAX_NODES or edges > MAX_EDGES:
            raise ValueError(
                f"the graph has more than {MAX_NODES} values or {MAX_EDGES} edges, too many for a picture: "
                "draw a part of it, such as one neuron, or the loss of one example on a small model"
            )
        parent = next((parent for parent in waiting[-1].parents if parent not in listed), None)
        if parent is None:
            listed[waiting.pop()] = None
        else:
            waiting.append(parent)
            edges += len(parent.arguments)
    return list(listed)


def _empty_graph(direction: str) -> Any:
    try:
        import graphviz
    except ImportError as error:
        raise ImportError('draw() needs the package graphviz: pip install "chainrule[drawing]"') from error
    return graphviz.Digraph(
        "computation graph", graph_attr={**GRAPH, "rankdir": direction}, node_attr=NODE, edge_attr=EDGE
    )


def _names(nodes: Sequence[Value]) -> dict[Value, str]:
    """Name each value by its label, or else by a number that no label has taken."""
    taken = {node.label for node in nodes}
    numbered = (name for i in range(1, len(nodes) + len(taken) + 1) if (name := f"v{i}") not in taken)
    return {node: _cut(_visible(node.label), MAX_NAME) if node.label else next(numbered) for node in nodes}


def _used(nodes: Sequence[Value]) -> dict[Value, float]:
    """Tell what each argument was worth when it was used: a leaf may have been set since."""
    pairs = (pair for node in nodes for pair in zip(node.arguments, node._inputs, strict=True))
    return {argument: number for argument, number in pairs if isinstance(argument, Value)}


def _title(node: Value, names: Mapping[Value, str]) -> tuple[str, bool]:
    """Say how a value was computed, and whether that shows all its arguments."""
    if node.primitive is None:
        return names[node], True
    name = node.primitive.name
    shown = [names[x] if isinstance(x, Value) else _short(x) for x in node.arguments]
    if name in OPERATORS:
        formula = f" {OPERATORS[name]} ".join(shown)
    elif name == "neg":
        formula = f"-{shown[0]}"
    else:
        formula = f"{name}({', '.join(shown)})"
    complete = len(formula) <= MAX_FORMULA
    return f"{names[node]} = {formula if complete else name}", complete


def _add_edges(graph: Any, node: Value, ids: Mapping[Value, str], *, constants: bool) -> None:
    """Draw an edge for each argument in order, repeats included; for constants only if asked."""
    for i, (argument, derivative) in enumerate(zip(node.arguments, node.local_derivatives(), strict=True)):
        if isinstance(argument, Value):
            graph.edge(ids[argument], ids[node], label=f" {_short(derivative)} ")
        elif constants:
            graph.node(f"{ids[node]}c{i}", _short(argument), **CONSTANT)
            graph.edge(f"{ids[node]}c{i}", ids[node], style="dashed")


def _style(node: Value, result: Value) -> dict[str, str]:
    if node is result:
        return RESULT
    return LEAF if node.primitive is None else INTERIOR


def _data(node: Value, used: Mapping[Value, float], write: Callable[[float], str]) -> str:
    """Write a node's data; where it was set since, also the number that the rest was computed from."""
    now, before = repr(node.data), repr(used.get(node, node.data))
    return write(node.data) if now == before else f"{write(node.data)}, was {write(used[node])}"


def _short(x: float) -> str:
    return f"{x:.4g}"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _visible(text: str) -> str:
    """Spell out control characters, which SVG forbids and which would break lines."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _escape(text: str) -> str:
    """Take their meaning from the characters that structure a record, and from the ampersand of entities."""
    return "".join(f"\\{c}" if c in "\\{}|<>" else "&amp;" if c == "&" else c for c in text)


def _render(source: str) -> str:
    """Run DOT source through a renderer and return SVG."""
    import subprocess

    command = [_renderer(), "-Tsvg"]
    done = subprocess.run(command, input=source, capture_output=True, encoding="utf-8", check=False)
    if done.returncode != 0 or "<svg" not in done.stdout:
        raise RuntimeError(f"{command[0]} could not render the graph: {done.stderr.strip() or 'it returned no SVG'}")
    return done.stdout


def _renderer() -> str:
    """Find a program that turns DOT into SVG: Graphviz itself, or the port that pip can install."""
    import shutil

    found = shutil.which("dot") or _pure_renderer()
    if found is None:
        raise RuntimeError(
            'drawing needs a renderer: pip install "chainrule[drawing]" brings graphviz-pure, '
            "or install Graphviz (https://graphviz.org/download) so that `dot` is on the PATH"
        )
    return found


def _pure_renderer() -> str | None:
    """Ask the package where it put its program: an environment's bin folder need not be on the PATH."""
    from importlib import metadata
    from pathlib import Path

    try:
        files = metadata.files("graphviz-pure") or []
    except metadata.PackageNotFoundError:
        return None
    programs = (
        Path(str(file.locate()))
        for file in files
        if file.stem == "graphviz-pure" and not file.parent.name.endswith(".dist-info")
    )
    return next((str(program) for program in programs if program.is_file()), None)
