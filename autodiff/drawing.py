"""Computation graphs as pictures: values with data and grad, edges with local derivatives."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise, takewhile
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from autodiff.primitives import WRITTEN_OUT, shortened
from autodiff.replaying import error_signals, local_derivatives
from autodiff.trees import children, leaves, unflatten
from autodiff.value import Value, _refuse_while_tracing

if TYPE_CHECKING:
    from pathlib import Path

# What only drawing needs is imported inside functions: together it takes longer to import than the engine.

__all__ = ["Drawing", "draw"]

Direction = Literal["LR", "TB"]
Format = Literal["svg", "png", "html", "dot"]

# Beyond these nobody can read the picture, and its layout takes seconds, then minutes.
MAX_NODES = 300
MAX_EDGES = 1000

# Longer text is cut, so that one label cannot stretch the whole picture.
MAX_NAME = 24
MAX_FORMULA = 36

OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "floordiv": "//", "mod": "%", "pow": "**"}

# Both renderers know the widths of Courier; with most other fonts text leaves its box in one of them.
FONT = {"fontname": "Courier", "fontsize": "11"}
GRAPH = {**FONT, "bgcolor": "white", "nodesep": "0.25", "ranksep": "0.3"}
NODE = {**FONT, "shape": "record", "style": "filled", "height": "0.2"}
EDGE = {"color": "#4d4d4d", "arrowsize": "0.6"}
CLUSTER = {
    "style": "rounded,filled",
    "color": "#8c8c8c",
    "fillcolor": "#f4f4f4",
    "labeljust": "l",
    "labelloc": "t",
    "margin": "10",
}

# The kinds differ in shape or border, and in lightness: grey printing and colour blindness leave them apart.
LEAF = {"shape": "Mrecord", "fillcolor": "#f9e5ae"}
PARAMETER = {"shape": "Mrecord", "fillcolor": "#dba650"}
INTERIOR = {"fillcolor": "#ffffff"}
RESULT = {"fillcolor": "#b0d4ef", "penwidth": "2.5"}
CONSTANT = {"shape": "ellipse", "fillcolor": "#e3e3e3", "style": "filled,dashed", "margin": "0.04"}
# The number on an edge is a node in a gap of its line: only nodes are kept apart from all lines, boxes and frames.
NUMBER = {
    "shape": "plaintext", "style": "", "fontsize": "10", "fontcolor": "#00436b", "width": "0", "height": "0",
    "margin": "0.04,0.03",
}  # fmt: skip
ENTRY = {
    "shape": "box", "fixedsize": "true", "width": "0.01", "height": "0.01", "color": EDGE["color"],
    "fillcolor": EDGE["color"], "penwidth": "2", "label": "",
}  # fmt: skip
# How two pieces of an edge meet at an entry: without a bend or, where that would push numbers out of frames, a gap.
THROUGH = {
    "LR": ({"headport": "w"}, {"tailport": "e"}),
    "TB": ({"headclip": "false"}, {"tailclip": "false"}),
}
APPROACH = "4"  # ranks in front of a frame: with less room there, edges to several frames run as one line for a while
KINDS = {"leaf": LEAF, "parameter": PARAMETER, "interior": INTERIOR, "result": RESULT}
HIGHLIGHT = {"color": "#b34700", "penwidth": "3"}


SIGNS = {"svg": b"<svg", "png": b"\x89PNG"}  # how to tell that it is one


class Parametrised(Protocol):
    """Whatever has parameters with dotted names, such as `layers.0.neurons.1.w.0`: a Module of `nn`, or your own."""

    def named_parameters(self) -> Iterable[tuple[str, Value]]:
        """List (dotted name, parameter)."""


class Drawing:
    """A drawn graph: notebooks show it, `save` keeps it, `dot` is its source in the DOT language.

    >>> x = Value(3.0, "x")
    >>> picture = draw(x * x)
    >>> '"v1 = x * x|data 9|grad 0"' in picture.dot
    True
    >>> picture.save("square.svg")
    """

    def __init__(self, dot: str, format: Format = "svg") -> None:
        self.dot = dot
        self.format: Format = format

    @cached_property
    def svg(self) -> str:
        """Render the picture as SVG text, once.

        >>> draw(Value(3.0, "x")).svg[:12]
        '<svg width="'

        RuntimeError where no renderer is installed.
        """
        text = _render(self.dot, "svg").decode("utf-8")
        return text[text.index("<svg") :]  # without the XML prologue it can stand inside a page

    @cached_property
    def png(self) -> bytes:
        r"""Render the picture as a PNG file, 144 dots to the inch, once.

        >>> draw(Value(3.0, "x")).png[:4]
        b'\x89PNG'

        RuntimeError where no renderer is installed, or where it has no PNG.
        """
        return _render(self.dot, "png")

    @property
    def html(self) -> str:
        """Return the picture as a page of its own, which needs nothing from anywhere.

        >>> draw(Value(3.0, "x")).html[:15]
        '<!doctype html>'
        """
        return page("Computation graph", f'<div role="img" aria-label="computation graph">\n{self.svg}</div>\n')

    def save(self, path: "str | Path") -> None:
        """Write the picture to a file ending in .svg, .png or .html, or its source to one ending in .dot.

        >>> draw(Value(3.0) ** 2).save("square.dot")

        ValueError for another ending, OSError where the file cannot be written.
        """
        from pathlib import Path

        path = Path(path)
        if path.suffix not in {".svg", ".png", ".html", ".dot"}:
            raise ValueError(f"a drawing is saved as .svg, .png, .html or .dot: write {path.stem}.svg, not {path.name}")
        content = getattr(self, path.suffix[1:])
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))

    # A notebook asks for each of these, and leaves out what is None.

    def _repr_svg_(self) -> str | None:
        return self.svg if self.format == "svg" else None

    def _repr_png_(self) -> tuple[bytes, dict[str, int]] | None:
        if self.format != "png":
            return None
        width = int.from_bytes(self.png[16:20], "big")  # in dots, of which 144 make an inch, and pixels 96
        return self.png, {"width": width * 96 // 144}

    def _repr_html_(self) -> str | None:
        return embedded(self.svg, "computation graph") if self.format == "html" else None

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(self.dot if self.format == "dot" else repr(self))

    def __repr__(self) -> str:
        return "<Drawing: a notebook shows it, .save('graph.svg') keeps it>"


def draw(
    value: Value | Callable[..., Any],
    *args: Any,
    direction: Direction = "LR",
    format: Format = "svg",
    module: Parametrised | None = None,
    highlight: Value | Sequence[Value] | None = None,
) -> Drawing:
    """Draw the graph that computed a value, with data and grad as they are now.

    >>> x, y = Value(2.0, "x"), Value(5.0, "y")
    >>> z = x * y
    >>> z.backward()
    >>> draw(z)
    <Drawing: a notebook shows it, .save('graph.svg') keeps it>

    Or draw a function at its arguments: their floats become leaves, and grad is the function's derivative by each.

    >>> "x|data 2|grad 5" in draw(lambda x, y: x * y, 2.0, 5.0).dot
    True

    Edges carry local derivatives. Values without a label are numbered v1, v2, ... from the leaves on.
    `direction` is "LR" (left to right) or "TB" (top to bottom), `format` what a notebook shows: "svg", "png", "html"
    or "dot". `module`, anything with named_parameters(), puts a frame around each of its parts, and colours its
    parameters; a module that is drawn itself, `draw(net, [1.0, 2.0])`, needs no mention. `highlight` marks every way
    from a Value to the result, or, given several Values, the one way through these: each is an argument of the next.
    Needs `pip install "chainrule[drawing]"`.
    ValueError for more than 300 values: draw one neuron, or the loss of one example.
    """
    if format not in ("svg", "png", "html", "dot"):
        raise ValueError(f'format is "svg", "png", "html" or "dot", not {format!r}')
    return Drawing(Graph.of("draw", value, args, module).dot(direction, highlight), format)


def embedded(svg: str, alternative: str) -> str:
    """Write a picture as an <img>: what takes scripts and SVG out of a page leaves that in.

    >>> embedded("<svg/>", "nothing")
    '<img alt="nothing" src="data:image/svg+xml;base64,PHN2Zy8+">'
    """
    from base64 import b64encode

    return f'<img alt="{alternative}" src="data:image/svg+xml;base64,{b64encode(svg.encode("utf-8")).decode("ascii")}">'


def page(title: str, body: str) -> str:
    """Wrap HTML into a page of its own.

    >>> page("Title", "body").splitlines()[:2]
    ['<!doctype html>', '<html lang="en">']
    """
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width">\n'
        f'</head>\n<body style="background: white; color: black">\n{body}</body>\n</html>\n'
    )


# ---- what is drawn

Part = tuple[str, ...]  # the way to a part of a module: ("MLP", "layers[0]", "neurons[1]")


class Graph:
    """The graph of one result, with all that pictures of it say in words and numbers."""

    def __init__(
        self,
        result: Value,
        nodes: list[Value],  # from the leaves to the result
        names: Mapping[Value, str],
        grads: Mapping[Value, float],
        parameters: frozenset[Value] = frozenset(),
        parts: Mapping[Value, Part] = MappingProxyType({}),  # where a value belongs, if anywhere
    ) -> None:
        self.result, self.nodes, self.names, self.grads = result, nodes, names, grads
        self.parameters, self.parts = parameters, parts

    @classmethod
    def of(cls, caller: str, value: Any, args: Sequence[Any], module: Parametrised | None = None) -> "Graph":
        """Collect the graph of a value, or of a function at its arguments.

        >>> graph = Graph.of("draw", lambda x: x * x, [3.0])
        >>> list(graph.names.values()), list(graph.grads.values())
        (['x', 'v1'], [6.0, 1.0])
        """
        _refuse_while_tracing(f"{caller}()", "call it outside")
        if isinstance(value, Value):
            if args:
                raise TypeError(f"{caller}() of a Value takes no arguments for it: it is computed already")
            nodes = _nodes(value)
            grads = {node: node.grad for node in nodes}
            captured: frozenset[Value] = frozenset()
        else:
            value, inputs, module = _evaluate(caller, value, args, module)
            nodes = _nodes(value)
            grads = error_signals(value)
            captured = frozenset(node for node in nodes if node.primitive is None and node not in inputs)
        if module is None:
            return cls(value, nodes, _names(nodes, {}), grads, captured)
        ways = _ways(caller, module)
        labels = {node: way[-1] for node, way in ways.items()}
        parts = _parts(nodes, {node: way[:-1] for node, way in ways.items()})
        return cls(value, nodes, _names(nodes, labels), grads, frozenset(ways), parts)

    def formula(self, node: Value) -> str:
        """Write how a value was computed, and nothing for a leaf.

        >>> x = Value(3.0, "x")
        >>> y = 2.0 * x
        >>> Graph.of("draw", y, []).formula(y)
        '2 * x'
        >>> from autodiff import affine
        >>> Graph.of("draw", z := affine([x, y], [0.5, x], 1.0), []).formula(z)
        'x * 0.5 + v1 * x + 1'
        """
        name = node.primitive.name if node.primitive is not None and node.arguments else ""
        shown = [self.names[x] if isinstance(x, Value) else short(x) for x in node.arguments]
        if name in OPERATORS:
            return f" {OPERATORS[name]} ".join(shown)
        if name == "neg":
            return f"-{shown[0]}"
        if node.primitive in WRITTEN_OUT:
            return str(node.primitive.value(*map(_Written, shown)))
        return f"{name}({', '.join(shown)})" if name else ""

    def data(self, node: Value, write: Callable[[float], str]) -> str:
        """Write a node's data; where it was set since, also the number that the rest was computed from.

        >>> x = Value(3.0, "x")
        >>> y = x * x
        >>> x.data = 4.0
        >>> Graph.of("draw", y, []).data(x, repr)
        '4.0, was 3.0'
        """
        before = self._used.get(node, node.data)
        return write(node.data) if repr(node.data) == repr(before) else f"{write(node.data)}, was {write(before)}"

    @cached_property
    def _used(self) -> dict[Value, float]:
        """Tell what each argument was worth when it was used: a leaf may have been set since."""
        pairs = (pair for node in self.nodes for pair in zip(node.arguments, node._inputs, strict=True))
        return {argument: number for argument, number in pairs if isinstance(argument, Value)}

    def dot(
        self,
        direction: Direction = "LR",
        highlight: Value | Sequence[Value] | None = None,
        grad: Callable[[Value], str] | None = None,
    ) -> str:
        """Write the picture in the DOT language. The ids are n0, n1, ... and, for argument i of node k, ek_i.

        That is the piece of the edge that ends at the node; ek_in is its number, ek_ia the piece that begins at the
        argument, and ek_ib lies between where the edge enters a frame.

        >>> 'id=e1_0 ' in Graph.of("draw", -Value(3.0), []).dot()
        True
        """
        if direction not in ("LR", "TB"):
            raise ValueError(f'direction is "LR" (left to right) or "TB" (top to bottom), not {direction!r}')
        lit = _highlighted(self, highlight)
        boxes = {node: self._box(node, f"n{i}", direction, grad) for i, node in enumerate(self.nodes)}
        starts = {
            argument for node, positions in lit.items() for argument in map(node.arguments.__getitem__, positions)
        }
        for node in lit.keys() | starts | ({highlight} if isinstance(highlight, Value) else set()):
            if node is not self.result:  # whose border says that it is the result
                boxes[node] |= HIGHLIGHT  # type: ignore[index]
        graph = _empty_graph(direction)
        rows = {node: self._row(node, box["name"], lit.get(node, set())) for node, box in boxes.items()}
        entries = {node: self._entries(node, box["name"]) for node, box in boxes.items()}
        _add_boxes(graph, boxes, self.parts, rows, entries, direction)
        for node in self.nodes:
            self._add_edges(graph, node, boxes, entries[node], lit.get(node, set()), direction)
        return str(graph.source)

    def _box(self, node: Value, name: str, direction: Direction, grad: Callable[[Value], str] | None) -> dict[str, str]:
        """Give the attributes of a node."""
        signal = grad(node) if grad is not None else short(self.grads[node])
        fields = f"{_escape(self._title(node)[0])}|data {self.data(node, short)}|grad {signal}"
        return {
            "name": name,
            "label": fields if direction == "LR" else f"{{{fields}}}",  # one below the other in both directions
            "id": name,
            "tooltip": f"data {self.data(node, repr)}, grad {self.grads[node]!r}",  # all digits, under the pointer
            **KINDS[self.kind(node)],
        }

    def _title(self, node: Value) -> tuple[str, bool]:
        """Say how a value was computed, and whether that shows all its arguments."""
        name, formula = self.names[node], self.formula(node)
        if node.primitive is None or not formula:
            return name, True
        if len(formula) <= MAX_FORMULA:
            return f"{name} = {formula}", True
        ends = [self.names[x] if isinstance(x, Value) else short(x) for x in (node.arguments[0], node.arguments[-1])]
        shorter = f"{node.primitive.name}({ends[0]}, ..., {ends[1]})"
        return f"{name} = {shorter if len(shorter) <= MAX_FORMULA else node.primitive.name}", False

    def kind(self, node: Value) -> str:
        """Tell results, parameters, other leaves and what lies between apart.

        >>> x = Value(3.0, "x")
        >>> Graph.of("draw", x * x, []).kind(x)
        'leaf'
        """
        if node is self.result:
            return "result"
        if node in self.parameters:
            return "parameter"
        return "interior" if node.arguments else "leaf"

    def _row(self, node: Value, name: str, lit: set[int]) -> list[dict[str, str]]:
        """Give the attributes of what stands in front of a node, in the order of its arguments.

        That is the number of an edge or, where the title leaves them out, a constant.
        """
        complete = self._title(node)[1]
        locals_ = {i: local for i, _, local in local_derivatives(node)}
        row: list[dict[str, str]] = []
        for i, argument in enumerate(node.arguments):
            if isinstance(argument, Value):
                number = f"e{name[1:]}_{i}n"
                row.append({"name": number, "id": number, "label": short(locals_[i]), **NUMBER})
                if i in lit:
                    row[-1]["fontcolor"] = HIGHLIGHT["color"]
            elif not complete:
                row.append({"name": f"{name}c{i}", "label": short(argument), **CONSTANT})
        return row

    def _entries(self, node: Value, name: str) -> dict[int, str]:
        """Name a point for each edge that comes in through a frame: dot leads edges around frames, and to points."""
        inner = self.parts.get(node, ())
        return {
            i: f"{name}p{i}"
            for i, argument in enumerate(node.arguments)
            if isinstance(argument, Value) and inner and self.parts.get(argument, ())[: len(inner)] != inner
        }

    def _add_edges(
        self,
        graph: Any,
        node: Value,
        boxes: Mapping[Value, dict[str, str]],
        entries: Mapping[int, str],
        lit: set[int],
        direction: Direction,
    ) -> None:
        """Draw an edge for each argument in order, repeats included; for constants where the title leaves them out."""
        name, complete = boxes[node]["name"], self._title(node)[1]
        into, out = THROUGH[direction]
        for i, argument in enumerate(node.arguments):
            if isinstance(argument, Value):
                start, edge = boxes[argument]["name"], f"e{name[1:]}_{i}"
                attributes = HIGHLIGHT if i in lit else {}
                line = {"arrowhead": "none", **attributes}
                if i in entries:
                    graph.edge(start, entries[i], id=f"{edge}a", minlen=APPROACH, **into, **line)
                    graph.edge(entries[i], f"{edge}n", id=f"{edge}b", **out, **line)
                else:
                    graph.edge(start, f"{edge}n", id=f"{edge}a", **line)
                graph.edge(f"{edge}n", name, id=edge, weight="3", **attributes)  # short: the number is beside its node
            elif not complete:
                graph.edge(f"{name}c{i}", name, style="dashed")


class _Written:
    """A name with operators, to run the value of `affine`, `dot` and the like on, which then writes itself."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __mul__(self, other: "_Written") -> "_Written":
        return _Written(f"{self.text} * {other.text}")

    def __add__(self, other: "_Written | float") -> "_Written":
        return _Written(f"{self.text} + {other.text}") if isinstance(other, _Written) else self  # -0.0 adds nothing

    def __radd__(self, nothing: float) -> "_Written":
        return self

    def __str__(self) -> str:
        return self.text


def _evaluate(
    caller: str, f: Any, args: Sequence[Any], module: Parametrised | None
) -> tuple[Value, set[Value], Parametrised | None]:
    """Call f with Values for the floats among its arguments; tell which leaves those are."""
    if not callable(f):
        raise TypeError(
            f"{caller}() takes a Value, the result to explain, or a function and its arguments, "
            f"not {type(f).__name__} {f!r:.60}"
        )
    inputs: set[Value] = set()
    wrapped = []
    for name, arg in _argument_names(caller, f, args):
        items = [_input(x, name + way) for way, x in leaves(arg)]
        inputs.update(item for item in items if isinstance(item, Value))
        wrapped.append(unflatten(arg, items))
    result = f(*wrapped)
    if not isinstance(result, Value):
        advice = "pass floats (2.0, not 2) for what is to be differentiated by"
        if children(result):
            advice = f"pick one of its outputs, as in {caller}(lambda x: f(x)[0], [1.0, 2.0], module=f)"
        raise TypeError(
            f"{caller}() needs a function that returns one Value, and this one returned {type(result).__name__} "
            f"{shortened(result)}: {advice}"
        )
    return result, inputs, f if module is None and hasattr(f, "named_parameters") else module


def _argument_names(caller: str, f: Any, args: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Pair each argument with the name that f has for it."""
    import inspect

    signature = inspect.signature(f)
    try:
        signature.bind(*args)
    except TypeError as error:
        raise TypeError(
            f"{caller}() calls the function with the arguments that follow it, as in {caller}(f, 2.0, 3.0) or "
            f"{caller}(net, [2.0, 3.0]), and these do not fit: {error}"
        ) from None
    named = [item for item in signature.parameters.values() if item.kind is not item.KEYWORD_ONLY]
    for i, arg in enumerate(args):
        parameter = named[min(i, len(named) - 1)]
        several = parameter.kind is parameter.VAR_POSITIONAL
        yield (f"{parameter.name}[{i - len(named) + 1}]" if several else parameter.name), arg


def _input(x: Any, label: str) -> Any:
    """Make a leaf of a float; whole numbers, such as the index of a class, and everything else stay as they are."""
    return Value(x, label) if isinstance(x, float) else x


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


def _names(nodes: Sequence[Value], others: Mapping[Value, str]) -> dict[Value, str]:
    """Name each value by its label, or by what a module calls it, or else by a number that no label has taken."""
    labels = {node: str(node.label or others.get(node, "")) for node in nodes}
    taken = set(labels.values())
    numbered = (name for i in range(1, len(nodes) + len(taken) + 1) if (name := f"v{i}") not in taken)
    return {node: _cut(_visible(label), MAX_NAME) if label else next(numbered) for node, label in labels.items()}


# ---- the parts of a module


def _ways(caller: str, module: Parametrised) -> dict[Value, Part]:
    """Give the way to each parameter: layers.0.neurons.1.w.0 is MLP, layers[0], neurons[1], w[0]."""
    if not hasattr(module, "named_parameters"):
        raise TypeError(f"{caller}(module=) takes something with named_parameters(), not {type(module).__name__}")
    return {parameter: (type(module).__name__, *_way(name)) for name, parameter in module.named_parameters()}


def _way(name: str) -> list[str]:
    way: list[str] = []
    for key in name.split("."):
        if key.isdecimal() and way:
            way[-1] += f"[{key}]"
        else:
            way.append(key)
    return way


def _parts(nodes: Sequence[Value], owners: Mapping[Value, Part]) -> dict[Value, Part]:
    """Say to which part of a module each value belongs, where it belongs to one.

    Parameters belong to their owner. What is computed from parameters directly belongs to the innermost part that
    has them all, and so does a function of one such value alone (the activation of a neuron), and what lies between
    two such values (the products of a sum that was written out).
    """
    parts = {node: owners[node] for node in nodes if node in owners}
    users = {node: _common(owned) for node in nodes if (owned := [owners[x] for x in node.parents if x in owners])}
    parts |= users
    for node in nodes:
        if node not in parts and len(node.parents) == 1 and _is_activation(node) and node.parents[0] in users:
            parts[node] = users[node.parents[0]]
    inner = {part[:length] for part in users.values() for length in range(1, len(part) + 1)}
    for part in sorted(inner, key=lambda part: (-len(part), part)):
        inside = {node for node, other in users.items() if other[: len(part)] == part}
        for node in _between(nodes, inside):
            parts.setdefault(node, part)
    return parts


def _is_activation(node: Value) -> bool:
    return node.primitive is not None and node.primitive.name not in {*OPERATORS, "neg"}


def _common(parts: Sequence[Part]) -> Part:
    """Return the longest common beginning."""
    return tuple(column[0] for column in takewhile(lambda column: len(set(column)) == 1, zip(*parts, strict=False)))


def _between(nodes: Sequence[Value], ends: set[Value]) -> set[Value]:
    """Find the values on the ways from one of the ends to another."""
    after: set[Value] = set()
    for node in nodes:
        if any(parent in ends or parent in after for parent in node.parents):
            after.add(node)
    before: set[Value] = set()
    for node in reversed(nodes):
        if node in ends or node in before:
            before.update(node.parents)
    return after & before


# ---- DOT


def _empty_graph(direction: str) -> Any:
    try:
        import graphviz
    except ImportError as error:
        raise ImportError('draw() needs the package graphviz: pip install "chainrule[drawing]"') from error
    return graphviz.Digraph(
        "computation graph", graph_attr={**GRAPH, "rankdir": direction}, node_attr=NODE, edge_attr=EDGE
    )


def _add_boxes(
    graph: Any,
    boxes: Mapping[Value, dict[str, str]],
    parts: Mapping[Value, Part],
    rows: Mapping[Value, list[dict[str, str]]],
    entries: Mapping[Value, Mapping[int, str]],
    direction: Direction,
) -> None:
    """Add the nodes, the rows in front of them and the entries, each inside the frames of the parts it belongs to."""
    frames: dict[Part, Any] = {(): graph}
    for node, box in boxes.items():
        part = parts.get(node, ())
        for length in range(1, len(part) + 1):
            if part[:length] not in frames:
                attributes = {**CLUSTER, "label": _escape(_visible(part[length - 1]))}
                frames[part[:length]] = type(graph)(f"cluster_{len(frames)}", graph_attr=attributes)
        for each in (box, *({"name": name, **ENTRY} for name in entries[node].values()), *rows[node]):
            frames[part].node(**each)
        row = [each["name"] for each in rows[node]]
        _keep_order(frames[part], row[::-1] if part and direction == "LR" else row)  # dot fills a frame from below
    order = [part for part in frames if part]
    if direction == "LR" and _is_dense(parts, order):
        order.reverse()  # dot places these from below
    for part in sorted(order, key=len, reverse=True):  # a frame is copied as it is: inner ones first
        frames[part[:-1]].subgraph(frames[part])


def _is_dense(parts: Mapping[Value, Part], frames: Sequence[Part]) -> bool:
    """Say whether several frames lead to several others, as the neurons of one layer to those of the next."""
    parents = [part[:-1] for part in frames]
    several = {parent for parent in parents if parents.count(parent) > 1}
    return any(
        {part[:-1], parts[argument][:-1]} <= several and part[:-1] != parts[argument][:-1]
        for node, part in parts.items()
        for argument in node.parents
        if argument in parts
    )


def _keep_order(frame: Any, row: Sequence[str]) -> None:
    """Have nodes side by side in this order; `ordering=in` would be for this, but has no effect inside frames."""
    if len(row) > 1:
        with frame.subgraph(graph_attr={"rank": "same"}) as line:
            for pair in pairwise(row):
                line.edge(*pair, style="invis")


def _highlighted(graph: Graph, highlight: Value | Sequence[Value] | None) -> dict[Value, set[int]]:
    """Find the edges to highlight: positions of arguments by the value that has them."""
    if highlight is None:
        return {}
    chosen: list[Any] = [highlight] if isinstance(highlight, Value) else list(highlight)
    for value in chosen:
        if not isinstance(value, Value) or value not in graph.names:
            raise ValueError(f"highlight={value!r:.80} is not in this graph: name Values that the result depends on")
    if not isinstance(highlight, Value):
        steps = [_edge(graph, *pair) for pair in pairwise(chosen)]
        return {user: set().union(*(at for node, at in steps if node is user)) for user, _ in steps}
    reached = {highlight}
    lit: dict[Value, set[int]] = {}
    for node in graph.nodes:
        positions = {i for i, x in enumerate(node.arguments) if isinstance(x, Value) and x in reached}
        if positions:
            reached.add(node)
            lit[node] = positions
    return lit


def _edge(graph: Graph, one: Value, other: Value) -> tuple[Value, set[int]]:
    """Find the edges between two values, whichever of them is computed from the other."""
    for argument, user in ((one, other), (other, one)):
        positions = {i for i, x in enumerate(user.arguments) if x is argument}
        if positions:
            return user, positions
    raise ValueError(
        f"highlight= goes from each Value to one that is computed from it directly, and no edge joins "
        f"{graph.names[one]} and {graph.names[other]}"
    )


def short(x: float) -> str:
    """Write a number with four digits.

    >>> short(1 / 3)
    '0.3333'
    """
    return f"{x:.4g}"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _visible(text: str) -> str:
    """Spell out control characters, which SVG forbids and which would break lines."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _escape(text: str) -> str:
    """Take their meaning from the characters that structure a record, and from the ampersand of entities."""
    return "".join(f"\\{c}" if c in "\\{}|<>" else "&amp;" if c == "&" else c for c in text)


# ---- rendering


def _render(source: str, kind: Literal["svg", "png"]) -> bytes:
    """Run DOT source through a renderer."""
    import subprocess

    command = [_renderer(), f"-T{kind}", *(["-Gdpi=144"] if kind == "png" else [])]
    done = subprocess.run(command, input=source.encode("utf-8"), capture_output=True, check=False)
    if done.returncode != 0 or SIGNS[kind] not in done.stdout:
        reason = done.stderr.decode("utf-8", "replace").strip() or f"it returned no {kind.upper()}"
        raise RuntimeError(f"{command[0]} could not render the graph: {reason}")
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
