"""The backward pass as a page: one rule at a time, with the numbers it multiplies and adds.

The numbers come from `replaying`, which follows the engine's own sweep; the page itself calculates nothing.
"""

from collections import Counter
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from autodiff.drawing import Direction, Drawing, Graph, Parametrised, embedded, page, short
from autodiff.replaying import Event, local_derivatives, replay
from autodiff.value import Value

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Steps", "steps"]

TIMES = "\N{MULTIPLICATION SIGN}"
KINDS = {"leaf": "leaf", "parameter": "parameter", "interior": "intermediate value", "result": "result"}


def steps(
    value: Value | Callable[..., Any],
    *args: Any,
    direction: Direction = "LR",
    module: Parametrised | None = None,
) -> "Steps":
    """Show the backward pass from a value, or from a function at its arguments, step by step.

    >>> x, y = Value(2.0, "x"), Value(-3.0, "y")
    >>> z = x * y + x
    >>> for line in steps(z).lines:
    ...     line
    'v2.grad = 1'
    'v1.grad = 0 + 1 × 1 = 1'
    'x.grad = 0 + 1 × 1 = 1'
    'x.grad = 1 + 1 × (-3) = -2'
    'y.grad = 0 + 1 × 2 = 2'

    In a notebook, the result is an interactive picture; `.save("steps.html")` makes it a page. Nothing is changed:
    `grad` stays what it is, and the pass shown starts from 0 everywhere, so that it ends with what `backward()`
    adds. Arguments and limits are those of `draw`.
    """
    return Steps(Graph.of("steps", value, args, module), direction)


class Steps:
    """The backward pass, step by step: notebooks show it, `save` keeps it as a page.

    >>> x = Value(3.0, "x")
    >>> square = steps(x * x)
    >>> square.lines[-1]
    'x.grad = 3 + 1 × 3 = 6'
    >>> square.grads[x], x.grad
    (6.0, 0.0)
    >>> square.save("square.html")
    """

    def __init__(self, graph: Graph, direction: Direction = "LR") -> None:
        self.graph = graph
        self.direction: Direction = direction

    @cached_property
    def events(self) -> list[Event]:
        """List whose rule is applied when, and what it adds.

        >>> x = Value(3.0, "x")
        >>> [(event.kind, event.after) for event in steps(x * x).events]
        [('seed', 1.0), ('edge', 3.0), ('edge', 6.0)]
        """
        return replay(self.graph.result)

    @property
    def lines(self) -> list[str]:
        """Write one equation for each step.

        >>> x = Value(-1.0, "x")
        >>> steps(3.0 * x.relu()).lines
        ['v2.grad = 1', 'v1.grad = 0 + 1 × 3 = 3', 'x.grad = 0 + nothing (3 × 0) = 0']
        """
        return [self._line(event) for event in self.events]

    @property
    def grads(self) -> dict[Value, float]:
        """Give the error signal of each value at the end: what `backward()` adds to `grad`.

        >>> x = Value(3.0, "x")
        >>> steps(x * x).grads[x]
        6.0
        """
        return dict.fromkeys(self.graph.nodes, 0.0) | {event.target: event.after for event in self.events}

    @cached_property
    def html(self) -> str:
        """Return a page of its own, which needs nothing from anywhere.

        >>> "<script>" in steps(Value(3.0) ** 2).html
        True
        """
        return page("Backward pass, step by step", self._repr_html_())

    def save(self, path: "str | Path") -> None:
        """Write the page to a file ending in .html.

        >>> steps(Value(3.0) ** 2).save("steps.html")

        ValueError for another ending, OSError where the file cannot be written.
        """
        from pathlib import Path

        path = Path(path)
        if path.suffix != ".html":
            raise ValueError(f"the steps are saved as .html: write {path.stem}.html, not {path.name}")
        path.write_text(self.html, encoding="utf-8")

    def __repr__(self) -> str:
        return f"<Steps: {len(self.events)} of them; a notebook shows them, .save('steps.html') keeps them>"

    def _repr_html_(self) -> str:
        """Write the picture and the list of steps, and a script that turns them into something to step through.

        Where scripts are taken out, picture and list remain. Where they run, the script shows its own page inside
        the <div>, in a shadow root, so that neither its styles nor its ids meet those around it.
        """
        from html import escape

        lines = "\n".join(f"<li>{escape(line)}</li>" for line in self.lines)
        return (
            '<div class="chainrule-steps" data-lm-suppress-shortcuts="true">\n'
            f"{self._image()}\n"
            f"<details><summary>{len(self.lines)} steps of the backward pass</summary>\n"
            f"<ol>\n{lines}\n</ol></details>\n"
            f"<script>\n{self._script()}</script>\n</div>\n"
        )

    def _image(self) -> str:
        svg = Drawing(self.graph.dot(self.direction, grad=self._widest)).svg
        return embedded(svg, "computation graph, after the backward pass")

    def _widest(self, node: Value) -> str:
        """Write the final error signal, with room for the longest that is shown on the way."""
        shown = [short(event.after) for event in self.events if event.target is node]
        final = short(self.grads[node])
        return final + r"\ " * (max(map(len, ["0", *shown])) - len(final))

    def _script(self) -> str:
        """Write the script with its data; no `<` in it can end it early."""
        import json
        from importlib.resources import files

        source = files("autodiff").joinpath("stepping.js").read_text("utf-8")
        style = files("autodiff").joinpath("stepping.css").read_text("utf-8")
        data = {"style": style, "nodes": self._nodes(), "steps": self._steps()}
        packed = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        return source.replace("DATA", packed, 1)

    # ---- what the page is told

    @cached_property
    def _ids(self) -> dict[Value, int]:
        return {node: i for i, node in enumerate(self.graph.nodes)}

    @cached_property
    def _names(self) -> dict[Value, str]:
        """Name each value, a parameter by the whole way to it; where that is not enough, add its number."""
        long = {
            node: ".".join([*self.graph.parts.get(node, ())[1:], name])
            if self.graph.kind(node) == "parameter"
            else name
            for node, name in self.graph.names.items()
        }
        again = Counter(long.values())
        return {node: f"{name} (n{self._ids[node]})" if again[name] > 1 else name for node, name in long.items()}

    def _nodes(self) -> list[dict[str, Any]]:
        used_by: dict[Value, list[Value]] = {node: [] for node in self.graph.nodes}
        for node in self.graph.nodes:
            for parent in dict.fromkeys(node.parents):
                used_by[parent].append(node)
        return [
            {
                "name": self._names[node],
                "kind": KINDS[self.graph.kind(node)],
                "formula": self.graph.formula(node),
                "data": self.graph.data(node, repr),
                "parents": [[self._ids[x], repr(local)] for _, x, local in local_derivatives(node)],
                "users": [self._ids[user] for user in used_by[node]],
            }
            for node in self.graph.nodes
        ]

    def _steps(self) -> list[dict[str, Any]]:
        edges = Counter(event.target for event in self.events if event.kind == "edge")
        arrived: Counter[Value] = Counter()
        told = []
        for event in self.events:
            arrived[event.target] += event.kind == "edge"
            told.append(
                {
                    "kind": event.kind,
                    "node": self._ids[event.node],
                    "target": self._ids[event.target],
                    "edge": f"e{self._ids[event.node]}_{event.position}" if event.kind == "edge" else "",
                    "line": self._line(event),
                    "says": self._says(event, arrived[event.target], edges[event.target]),
                    "grad": [short(event.after), repr(event.after)],
                    "part": f"{_factor(event.signal)} {TIMES} {_factor(event.local)}" if event.passes else "",
                }
            )
        return told

    def _line(self, event: Event) -> str:
        name = self._names[event.target]
        if event.kind == "seed":
            return f"{name}.grad = {short(event.after)}"
        if event.kind == "nothing":
            return f"{name}.grad = {short(event.signal)}: passes nothing on"
        product = f"{_factor(event.signal)} {TIMES} {_factor(event.local)}"
        added = product if event.passes else f"nothing ({product})"
        return f"{name}.grad = {short(event.before)} + {added} = {short(event.after)}"

    def _says(self, event: Event, arrived: int, edges: int) -> str:
        """Say in words what happens, and how many of the contributions to a fan-out have arrived."""
        node, target = self._names[event.node], self._names[event.target]
        if event.kind == "seed":
            return f"The seed: the derivative of {node} by itself is 1."
        if event.kind == "nothing":
            return f"The error signal of {node} is exactly 0, so nothing passes through it."
        says = (
            f"{node} = {self.graph.formula(event.node)} passes on to {target}: its error signal {short(event.signal)} "
            f"times the local derivative d {node} / d {target} = {short(event.local)}."
        )
        if not event.passes:
            says += " A local derivative of exactly 0 passes nothing on."
        if edges > 1:
            says += f" {target} is used {edges} times: contribution {arrived} of {edges}."
        return says


def _factor(x: float) -> str:
    """Write a factor of a product."""
    return f"({short(x)})" if x < 0.0 else short(x)
