"""Pictures of graphs: every number is there, in its box, and nothing that cannot be drawn passes in silence."""

import doctest
import os
import re
import shutil
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import autodiff
import nn
from autodiff import Value
from autodiff import drawing as module
from autodiff.drawing import draw, short

SVG = "{http://www.w3.org/2000/svg}"
OUTLINES = {f"{SVG}polygon", f"{SVG}path", f"{SVG}ellipse"}
Direction = Literal["LR", "TB"]
CHARACTER = 0.6  # width of a Courier character, in units of the font size


@dataclass
class Box:
    texts: list[str]
    widths: list[float]
    left: float
    right: float
    fill: str
    border: float
    shape: str
    tooltip: str


@dataclass
class Edge:
    start: str
    end: str
    label: str
    dashed: bool
    thick: bool


def coordinates(element: ET.Element) -> list[float]:
    """Return the x coordinates of an outline."""
    if element.tag == f"{SVG}ellipse":
        middle, radius = float(element.attrib["cx"]), float(element.attrib["rx"])
        return [middle - radius, middle + radius]
    numbers = (element.get("points") or element.attrib["d"]).replace("M", "").replace("C", " ").split()
    return [float(pair.split(",")[0]) for pair in numbers]


def boxes(svg: str) -> dict[str, Box]:
    found = {}
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        if group.get("class") != "node":
            continue
        inside = list(group.iter())
        outline = next((e for e in inside if e.tag in OUTLINES), None)
        texts = [e for e in inside if e.tag == f"{SVG}text"]
        if not texts or outline is None:  # a point where an edge enters a frame, or the number on an edge
            continue
        x = coordinates(outline)
        link = next((e for e in inside if e.tag == f"{SVG}a"), None)
        found[group.findtext(f"{SVG}title") or ""] = Box(
            [e.text or "" for e in texts],
            [CHARACTER * float(e.attrib["font-size"]) * len(e.text or "") for e in texts],
            min(x),
            max(x),
            outline.attrib["fill"],
            float(outline.get("stroke-width", 1.0)),
            outline.tag.removeprefix(SVG),
            "" if link is None else link.get("{http://www.w3.org/1999/xlink}title", ""),
        )
    return found


def edges(svg: str) -> list[Edge]:
    """List the edges: what begins in one piece goes on behind its number, or behind where it enters a frame."""
    groups = {g.get("id") or "": g for g in ET.fromstring(svg).iter(f"{SVG}g") if g.get("class") in {"edge", "node"}}
    found = []
    for name, last in groups.items():
        if last.get("class") == "edge" and name[-1] not in "ab":
            lines = [groups[piece] for piece in (f"{name}a", f"{name}b", name) if piece in groups]
            ends = [(line.findtext(f"{SVG}title") or "").split("->") for line in lines]
            for (_, reached), (begun, _) in pairwise(ends):
                assert reached.split(":")[0] == begun.split(":")[0]
            paths = [next(line.iter(f"{SVG}path")).attrib for line in lines]
            thick = {float(path.get("stroke-width", 1.0)) > 1.0 for path in paths}
            assert len(thick) == 1
            number = "" if f"{name}n" not in groups else groups[f"{name}n"].findtext(f"{SVG}text") or ""
            found.append(Edge(ends[0][0], ends[-1][1], number, "stroke-dasharray" in paths[-1], thick == {True}))
    return found


def titled(svg: str) -> dict[str, Box]:
    """Return the boxes by the name before the equals sign."""
    return {box.texts[0].split(" = ")[0]: box for box in boxes(svg).values()}


@st.composite
def graphs(draw_from: st.DrawFn) -> Value:
    """Build small graphs with fan-out, repeats, constants and labels."""
    number = st.floats(-3.0, 3.0).map(lambda x: round(x, 3))
    pool = [Value(draw_from(number), f"x{i}") for i in range(draw_from(st.integers(1, 3)))]
    for _ in range(draw_from(st.integers(1, 8))):
        x, y = draw_from(st.sampled_from(pool)), draw_from(st.sampled_from(pool))
        c = draw_from(number)
        pool.append(draw_from(st.sampled_from([x + y, x * y, x - y, c * x, x.tanh(), autodiff.sum([x, y, x])])))
    pool[-1].backward()
    return pool[-1]


def neuron() -> Value:
    weights = [Value(0.7, "w[0]"), Value(-1.25, "w[1]")]
    z = autodiff.affine(weights, [1.5, -0.25], Value(0.1, "b"))
    z.label = "z"
    loss: Value = (z.tanh() - 1.0) ** 2
    loss.label = "loss"
    loss.backward()
    return loss


# ---- what the picture shows


def test_every_node_shows_its_operation_data_and_grad() -> None:
    x, y = Value(2.0, "x"), Value(-0.5, "y")
    f = x * y + x.sin()
    f.label = "f"
    f.backward()
    shown = {tuple(box.texts) for box in boxes(draw(f).svg).values()}
    assert shown == {
        ("x", "data 2", "grad -0.9161"),
        ("y", "data -0.5", "grad 2"),
        ("v1 = x * y", "data -1", "grad 1"),
        ("v2 = sin(x)", "data 0.9093", "grad 1"),
        ("f = v1 + v2", "data -0.0907", "grad 1"),
    }


@given(graphs())
@settings(max_examples=30)
def test_any_graph_is_drawn_whole(result: Value) -> None:
    svg = draw(result).svg
    nodes = autodiff.toposort(result)
    expected = sorted((f"data {node.data:.4g}", f"grad {node.grad:.4g}") for node in nodes)
    assert sorted(tuple(box.texts[1:]) for box in boxes(svg).values()) == expected
    locals_ = [
        f"{derivative:.4g}"
        for node in nodes
        for argument, derivative in zip(node.arguments, node.local_derivatives(), strict=True)
        if isinstance(argument, Value)
    ]
    assert sorted(edge.label for edge in edges(svg)) == sorted(locals_)


@given(graphs(), st.sampled_from(get_args(Direction)))
@settings(max_examples=20)
def test_text_stays_inside_its_box(result: Value, direction: Direction) -> None:
    for box in boxes(draw(result, direction=direction).svg).values():
        assert max(box.widths) <= box.right - box.left, box


@pytest.mark.parametrize("direction", get_args(Direction))
def test_fields_stand_one_below_the_other(direction: Direction) -> None:
    group = next(
        g for g in ET.fromstring(draw(neuron(), direction=direction).svg).iter(f"{SVG}g") if g.get("class") == "node"
    )
    texts = list(group.iter(f"{SVG}text"))
    assert len({text.attrib["x"] for text in texts}) == 1
    heights = [float(text.attrib["y"]) for text in texts]
    assert heights == sorted(heights)


def test_directions_differ() -> None:
    sizes = []
    directions: tuple[Direction, ...] = get_args(Direction)
    for direction in directions:
        root = ET.fromstring(draw(neuron(), direction=direction).svg)
        sizes.append((float(root.attrib["width"].removesuffix("pt")), float(root.attrib["height"].removesuffix("pt"))))
    assert sizes[0][0] > sizes[0][1]
    assert sizes[1][0] < sizes[1][1]


def test_repeated_arguments_are_repeated_edges() -> None:
    x = Value(3.0, "x")
    assert [(edge.start, edge.end, edge.label) for edge in edges(draw(x * x).svg)] == [("n0", "n1", "3")] * 2


def test_edges_enter_in_argument_order() -> None:
    x, y = Value(3.0, "x"), Value(5.0, "y")
    by_hand = {"x - y": x - y, "y - x": y - x}
    for formula, result in by_hand.items():
        svg = draw(result).svg
        assert [box for box in boxes(svg).values() if box.texts[0] == f"v1 = {formula}"]
        names = {name: box.texts[0] for name, box in boxes(svg).items()}
        assert [names[edge.start] for edge in edges(svg)] == formula.split(" - ")
        assert [edge.label for edge in edges(svg)] == ["1", "-1"]


def test_constants_stand_in_the_formula() -> None:
    x = Value(3.0, "x")
    assert titled(draw(0.5 * x).svg)["v1"].texts[0] == "v1 = 0.5 * x"
    assert titled(draw(x**2).svg)["v1"].texts[0] == "v1 = x ** 2"
    assert titled(draw(1 / x).svg)["v1"].texts[0] == "v1 = 1 / x"
    assert titled(draw(-x).svg)["v1"].texts[0] == "v1 = -x"


def test_constants_of_a_long_formula_are_nodes() -> None:
    weights = [Value(float(i), f"weight[{i}]") for i in range(3)]
    svg = draw(autodiff.affine(weights, [0.25, 0.5, 0.75], 1.0)).svg
    constants = [box for box in boxes(svg).values() if box.shape == "ellipse"]
    assert titled(svg)["v1"].texts[0] == "v1 = affine(weight[0], ..., 1)"
    assert sorted(box.texts[0] for box in constants) == ["0.25", "0.5", "0.75", "1"]
    assert all(max(box.widths) <= box.right - box.left for box in constants)
    far = [Value(float(i), f"a rather long name {i}") for i in range(3)]
    assert titled(draw(autodiff.affine(far, [0.25, 0.5, 0.75], far[0])).svg)["v1"].texts[0] == "v1 = affine"
    assert sum(edge.dashed and not edge.label for edge in edges(svg)) == 4


def test_a_single_leaf_can_be_drawn() -> None:
    assert [box.texts for box in boxes(draw(Value(1.5)).svg).values()] == [["v1", "data 1.5", "grad 0"]]


def test_numbers_do_not_clash_with_labels() -> None:
    assert set(titled(draw(Value(1.0, "v1") + Value(2.0) * Value(3.0, "v3")).svg)) == {"v1", "v2", "v3", "v4", "v5"}


def test_all_digits_are_in_the_tooltip() -> None:
    x = Value(0.1, "x") + 0.2
    x.label = "sum"
    assert titled(draw(x).svg)["sum"].tooltip == "data 0.30000000000000004, grad 0.0"


def test_special_numbers_are_shown() -> None:
    x = Value(0.0, "x")
    y = autodiff.sqrt(x) * float("nan")
    y.backward()
    svg = draw(y).svg
    assert titled(svg)["v2"].texts[1] == "data nan"
    assert "inf" in [edge.label for edge in edges(svg)]


def test_a_leaf_set_afterwards_shows_both_numbers() -> None:
    x = Value(3.0, "x")
    y = x * x
    x.data = 2.5
    svg = draw(y).svg
    assert titled(svg)["x"].texts[1] == "data 2.5, was 3"
    assert [edge.label for edge in edges(svg)] == ["3", "3"]


def test_kinds_differ_in_lightness_and_form() -> None:
    svg = draw(neuron()).svg
    leaf, inside, result = (titled(svg)[name] for name in ("w[0]", "z", "loss"))

    def lightness(box: Box) -> float:
        red, green, blue = bytes.fromhex(box.fill.removeprefix("#"))
        return (0.299 * red + 0.587 * green + 0.114 * blue) / 255

    shades = sorted(map(lightness, (leaf, inside, result)))
    assert shades[0] > 0.7, "black text must stay readable"
    assert min(shades[1] - shades[0], shades[2] - shades[1]) > 0.07
    assert (leaf.shape, inside.shape, result.shape) == ("path", "polygon", "polygon")  # round, angular, angular
    assert result.border > inside.border


# ---- labels


@pytest.mark.parametrize(
    "label",
    [
        "{a}|b",
        "<b>",
        'say "hi"',
        "back\\slash",
        "end\\",
        "\\N \\n \\l",
        "a&b",
        "&lt;",
        "&#65;",
        "<<html>>",
        "αβγ ∂θ₀",
        "日本",
        "']",
        "%d {}",
    ],
)
def test_a_label_is_shown_as_it_is(label: str) -> None:
    drawn = draw(Value(1.0, label) * 2.0).svg
    assert label in titled(drawn), titled(drawn).keys()


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
@settings(max_examples=60)
def test_no_label_breaks_the_picture(label: str) -> None:
    (box,) = boxes(draw(Value(1.0, label)).svg).values()
    assert box.texts[1:] == ["data 1", "grad 0"]
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in label)
    if len(visible) <= module.MAX_NAME:
        assert box.texts[0].split() == visible.split()


def test_a_label_that_is_a_number_is_shown_as_text() -> None:
    x = Value(2.0, 7)  # type: ignore[arg-type]
    assert "7" in titled(draw(x * 3.0).svg)
    assert "7" in autodiff.formula(x * x).latex


def test_control_characters_are_spelled_out() -> None:
    assert set(titled(draw(Value(1.0, "two\nlines\x00\ud800")).svg)) == {"two\\nlines\\x00\\ud800"}


def test_long_labels_are_cut() -> None:
    (box,) = boxes(draw(Value(1.0, "x" * 1000)).svg).values()
    assert box.texts[0] == "x" * 21 + "..."


# ---- the file


def test_the_svg_needs_no_style_sheet_script_or_network() -> None:
    root = ET.fromstring(draw(neuron()).svg)
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in {
            "svg",
            "g",
            "title",
            "a",
            "path",
            "polygon",
            "polyline",
            "ellipse",
            "text",
        }
        assert "style" not in element.attrib
        assert not [name for name in element.attrib if name.startswith("on") or name.endswith("href")]


def test_equal_graphs_give_equal_pictures() -> None:
    first, second = draw(neuron()), draw(neuron())
    assert first.dot == second.dot
    assert first.svg == second.svg


def test_a_drawing_keeps_the_numbers_it_was_made_from() -> None:
    x = Value(3.0, "x")
    picture = draw(x * x)
    x.data = 7.0
    assert titled(picture.svg)["x"].texts[1] == "data 3"


def test_drawing_changes_nothing() -> None:
    loss = neuron()
    before = [(node.data, node.grad, node.label) for node in autodiff.toposort(loss)]
    assert draw(loss).svg
    assert [(node.data, node.grad, node.label) for node in autodiff.toposort(loss)] == before


def test_notebooks_get_the_svg() -> None:
    picture = draw(neuron())
    assert picture._repr_svg_() == picture.svg
    assert picture.svg.startswith("<svg")


def test_saving(tmp_path: Path) -> None:
    picture = draw(neuron())
    picture.save(tmp_path / "graph.svg")
    picture.save(str(tmp_path / "graph.dot"))
    assert (tmp_path / "graph.svg").read_text("utf-8") == picture.svg
    assert (tmp_path / "graph.dot").read_text("utf-8") == picture.dot


@pytest.mark.parametrize("name", ["graph.pdf", "graph", "graph.SVG.txt"])
def test_saving_as_something_else_says_what_there_is(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"saved as \.svg, \.png, \.html or \.dot"):
        draw(Value(1.0)).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_saving_where_there_is_no_folder_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.*graph\.svg"):
        draw(Value(1.0)).save(tmp_path / "nowhere" / "graph.svg")


# ---- what is refused


@pytest.mark.parametrize("wrong", [3.0, "x", None, [Value(1.0)]])
def test_only_a_value_is_drawn(wrong: object) -> None:
    with pytest.raises(TypeError, match=r"draw\(\) takes a Value"):
        draw(wrong)  # type: ignore[arg-type]


def test_an_unknown_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="left to right"):
        draw(Value(1.0), direction="RL")  # type: ignore[arg-type]


def deep(n: int) -> Value:
    x = Value(1.0)
    for _ in range(n - 1):
        x = x + 1.0
    return x


def test_a_large_graph_is_refused_before_anything_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_empty_graph", None)
    wide = autodiff.sum([Value(1.0) for _ in range(50_000)])
    for value in (deep(50_000), wide, autodiff.sum([Value(1.0)] * 2000)):
        with pytest.raises(ValueError, match=r"more than 300 values or 1000 edges.*one neuron"):
            draw(value)


def test_the_limit_itself_is_drawn() -> None:
    assert draw(deep(300)).dot.count("tooltip=") == 300
    with pytest.raises(ValueError, match="more than 300"):
        draw(deep(301))


# ---- what must be installed


def test_without_graphviz_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(ImportError, match=r'pip install "chainrule\[drawing\]"'):
        draw(Value(1.0))


def hide_pure_renderer(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)


def fake_dot(folder: Path, script: str) -> None:
    program = folder / "dot"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)


def test_without_a_renderer_the_error_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    hide_pure_renderer(monkeypatch)
    picture = draw(Value(1.0))
    assert "data 1" in picture.dot  # the source needs no renderer
    with pytest.raises(RuntimeError, match=r"chainrule\[drawing\].*graphviz\.org"):
        picture.svg  # noqa: B018


def test_a_package_without_its_program_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(metadata, "files", lambda name: [])
    with pytest.raises(RuntimeError, match="needs a renderer"):
        draw(Value(1.0)).save("graph.svg")
    assert not Path("graph.svg").exists()


def test_the_installed_port_is_found_without_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert boxes(draw(neuron()).svg)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for dot is a shell script")
def test_dot_on_the_path_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_dot(tmp_path, 'read first; echo "<?xml?><!-- $1 --><svg>$first</svg>"')
    monkeypatch.setenv("PATH", str(tmp_path))
    hide_pure_renderer(monkeypatch)
    assert draw(Value(1.0)).svg == '<svg>digraph "computation graph" {</svg>\n'


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for dot is a shell script")
@pytest.mark.parametrize(("script", "reason"), [("echo broken >&2; exit 1", "broken"), ("exit 0", "no SVG")])
def test_a_failing_renderer_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, reason: str
) -> None:
    fake_dot(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=f"could not render the graph: .*{reason}"):
        draw(Value(1.0)).svg  # noqa: B018


# ---- functions


def test_a_function_is_drawn_at_its_arguments() -> None:
    svg = draw(lambda x, y: x * y, 2.0, -0.5).svg
    shown = {tuple(box.texts) for box in boxes(svg).values()}
    assert shown == {("x", "data 2", "grad -0.5"), ("y", "data -0.5", "grad 2"), ("v1 = x * y", "data -1", "grad 1")}


@given(st.floats(-2.0, 2.0), st.floats(-2.0, 2.0))
@settings(max_examples=10)
def test_grad_is_the_gradient_of_the_function(x: float, y: float) -> None:
    def f(x: Any, y: Any) -> Any:
        return autodiff.sin(x[0]) * x[1] + y["a"] ** 2 * x[0]

    _, (by_x, by_y) = autodiff.value_and_grad(f, (0, 1))([x, y], {"a": y})
    found = titled(draw(f, [x, y], {"a": y}).svg)
    grads = [found[name].texts[2] for name in ("x[0]", "x[1]", "y['a']")]
    assert grads == [f"grad {short(grad)}" for grad in (*by_x, by_y["a"])]


def test_names_of_arguments() -> None:
    def f(first: Any, *others: Any, option: int = 0) -> Any:
        return first * others[0] * others[1][0]

    assert {"first", "others[0]", "others[1][0]"} <= set(titled(draw(f, 1.0, 2.0, (3.0, "text")).svg))
    assert "args[0]" in titled(draw(autodiff.tanh, 1.0).svg)


def test_what_a_function_closes_over_is_a_parameter_and_keeps_its_grad() -> None:
    w = Value(2.0, "w")
    w.grad = 7.0
    given = Value(5.0, "given")
    svg = draw(lambda x, y: w * x * y, 3.0, given).svg
    assert titled(svg)["w"].texts == ["w", "data 2", "grad 15"]
    assert (w.grad, given.grad) == (7.0, 0.0)
    assert [titled(svg)[name].fill for name in ("w", "x", "given")] == [
        module.PARAMETER["fillcolor"],
        module.LEAF["fillcolor"],
        module.LEAF["fillcolor"],
    ]


def test_whole_numbers_stay_as_they_are() -> None:
    logits = [Value(1.0, "a"), Value(2.0, "b")]
    assert "data 0.3133" in draw(lambda target: autodiff.softmax_cross_entropy(logits, target), 1).dot


@pytest.mark.parametrize(
    ("f", "advice"),
    [
        (lambda x: [x, x], r"list \[Value.*: pick one of its outputs, as in draw\(lambda x: f\(x\)\[0\], "),
        (lambda x: None, r"NoneType None: pass floats"),
        (lambda x: 3.0, r"float 3.0: pass floats \(2.0, not 2\)"),
    ],
)
def test_a_function_must_return_one_value(f: Any, advice: str) -> None:
    with pytest.raises(TypeError, match=f"returns one Value, and this one returned {advice}"):
        draw(f, 1.0)


def test_a_wrong_number_of_arguments_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"as in draw\(f, 2.0, 3.0\) or .* do not fit: missing a required argument: 'y'"
    ):
        draw(lambda x, y: x, 1.0)
    with pytest.raises(TypeError, match="takes no arguments"):
        draw(Value(1.0), 2.0)


def test_in_a_compiled_function_it_is_refused() -> None:
    def f(x: Any) -> Any:
        draw(x)
        return x

    with pytest.raises(RuntimeError, match=r"draw\(\) inside a compiled function"):
        autodiff.compile(f)(1.0)


def test_derivatives_are_graphs_too() -> None:
    x = Value(2.0, "x")
    derivative = autodiff.grad(lambda t: t**3 + t)(x)
    derivative.backward()
    assert {box.texts[0] for box in boxes(draw(derivative).svg).values()} >= {"x"}
    assert titled(draw(derivative).svg)["x"].texts == ["x", "data 2", "grad 12"]


# ---- modules


@dataclass
class Frame:
    label: str
    left: float
    right: float
    top: float
    bottom: float

    def holds(self, other: "Frame") -> bool:
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )

    def meets(self, other: "Frame") -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def frame(group: ET.Element) -> Frame:
    outline = next(e for e in group.iter() if e.tag in OUTLINES)
    text = next(iter(group.iter(f"{SVG}text"))).text or ""
    numbers = (outline.get("points") or outline.attrib["d"]).replace("M", "").replace("C", " ").split()
    x, y = ([float(pair.split(",")[i]) for pair in numbers] for i in (0, 1))
    return Frame(text.split(" = ")[0], min(x), max(x), min(y), max(y))


def frames(svg: str, kind: str) -> list[Frame]:
    groups = [group for group in ET.fromstring(svg).iter(f"{SVG}g") if group.get("class") == kind]
    return [frame(group) for group in groups if len({e.tag for e in group.iter()} & {f"{SVG}text", *OUTLINES}) > 1]


def inside(svg: str) -> dict[str, list[str]]:
    """Return the labels of the frames around each box, from the outside in."""
    clusters = sorted(frames(svg, "cluster"), key=lambda frame: frame.left - frame.right)
    nodes = frames(svg, "node")
    for node in nodes:
        for cluster in clusters:
            assert cluster.holds(node) or not cluster.meets(node), "a box on the edge of a frame"
    ways = [[c.label for c in clusters if c.holds(node)] for node in nodes]
    found: dict[str, list[str]] = {}
    for node, way in zip(nodes, ways, strict=True):
        found.setdefault(node.label, []).append(" ".join(way))
    return {label: sorted(ways) for label, ways in found.items()}


@pytest.mark.parametrize("direction", get_args(Direction))
def test_parts_of_a_module_stand_in_frames(direction: Direction) -> None:
    net = nn.MLP(2, [2, 1], activation="tanh")
    svg = draw(lambda x, y: (net(x) - y) ** 2, [1.0, -2.0], 0.5, module=net, direction=direction).svg
    neurons = ["MLP layers[0] neurons[0]", "MLP layers[0] neurons[1]", "MLP layers[1] neurons[0]"]
    assert (
        inside(svg)
        == {
            "w[0]": neurons,
            "w[1]": neurons,
            "b": neurons,
            "v1": neurons[:1],  # affine
            "v2": neurons[:1],  # tanh
            "v3": neurons[1:2],
            "v4": neurons[1:2],
            "v5": neurons[2:],  # the output, which is linear
            "v6": [""],  # the loss
            "v7": [""],
            "x[0]": [""],
            "x[1]": [""],
            "y": [""],
        }
    )


@pytest.mark.parametrize("direction", get_args(Direction))
def test_weights_stand_in_order(direction: Direction) -> None:
    svg = draw(nn.Neuron(3), [1.0, 2.0, 3.0], direction=direction).svg
    places = {box.label: box.top if direction == "LR" else box.left for box in frames(svg, "node")}
    assert places["w[0]"] < places["w[1]"] < places["w[2]"] < places["b"]


def test_the_halves_of_an_edge_that_enters_a_frame_meet() -> None:
    """From left to right with the same slope, too: the last point and the first one are as high as the entry."""
    root = ET.fromstring(draw(nn.Neuron(2), [1.0, 2.0]).svg)
    groups = [group for group in root.iter(f"{SVG}g") if group.get("class") == "edge"]
    paths = {group.attrib["id"]: next(group.iter(f"{SVG}path")) for group in groups}
    halves = [(paths[f"{name[:-1]}a"], paths[name]) for name in paths if name.endswith("b")]
    assert len(halves) == 2
    for first, second in halves:
        _, *before, end = [point.split(",") for point in re.split("[MC ]", first.attrib["d"]) if point]
        start, *_ = [point.split(",") for point in re.split("[MC ]", second.attrib["d"]) if point]
        assert 0.0 <= float(start[0]) - float(end[0]) <= 4.0  # what the mark between them covers
        assert float(start[1]) == pytest.approx(float(end[1]), abs=0.1)
        assert float(before[-1][1]) == pytest.approx(float(end[1]), abs=2.0)


def test_a_module_that_is_drawn_needs_no_mention() -> None:
    net = nn.Layer(1, 1)
    assert draw(net, [2.0]).dot == draw(lambda x: net(x), [2.0], module=net).dot
    assert 'label="neurons[0]"' in draw(net, [2.0]).dot


def test_text_stays_inside_in_frames_too() -> None:
    for box in boxes(draw(nn.MLP(3, [3, 2, 1], activation="tanh"), [1.0, 2.0, 3.0]).svg).values():
        assert max(box.widths) <= box.right - box.left, box


def test_no_number_stands_on_a_box_or_on_a_frame() -> None:
    svg = draw(nn.MLP(2, [4, 1], activation="tanh", rng=Random(1)), [1.0, -2.0]).svg
    obstacles, borders = frames(svg, "node"), frames(svg, "cluster")
    seen = 0
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        text = group.find(f"{SVG}text")
        if text is None or not (group.get("id") or "").endswith("n"):
            continue
        words = (text.text or "").strip()
        x, y, half = float(text.attrib["x"]), float(text.attrib["y"]), CHARACTER * 10 * len(words) / 2
        label = Frame(words, x - half, x + half, y - 7.0, y)
        seen += 1
        assert not [box for box in obstacles if box.meets(label)], label
        assert not [border for border in borders if border.meets(label) and not border.holds(label)], label
    assert seen == 33


class Written(nn.Module):
    """A neuron of many nodes, which micrograd has, and a module whose parameters have no labels."""

    def __init__(self) -> None:
        self.w = [Value(0.5), Value(-0.5)]
        self.b = Value(0.25)

    def __call__(self, x: Any) -> Any:
        return (self.w[0] * x[0] + self.w[1] * x[1] + self.b).relu()


def test_a_neuron_that_is_written_out_is_in_one_frame() -> None:
    one = Written()
    svg = draw(lambda x: -autodiff.log(one(x)), [1.0, 0.5], module=one).svg
    outside = {label for label, ways in inside(svg).items() if ways == [""]}
    names = {node: box.texts[0] for node, box in titled(svg).items()}
    assert {names[label] for label in outside} == {"x[0]", "x[1]", "v6 = log(v5)", "v7 = -v6"}
    assert {"w[0]", "w[1]", "b"} <= set(names)


def test_what_several_parts_share_stands_in_the_frame_around_them() -> None:
    net = nn.MLP(1, [2, 1])
    svg = draw(lambda x: net(x) + autodiff.sum_of_squares(net.parameters()), [1.0], module=net).svg
    found = inside(svg)
    title = next(name for name, box in titled(svg).items() if "sum_of_squares" in box.texts[0])
    assert found[title] == ["MLP"]


def test_between_layers_is_in_the_network() -> None:
    net = nn.MLP(1, [1, 1], activation="tanh")

    def scaled(x: Any) -> Any:
        return net.layers[1](net.layers[0](x) * 0.5) * 3.0

    svg = draw(scaled, [1.0], module=net).svg
    assert (inside(svg)["v3"], inside(svg)["v5"]) == (["MLP"], [""])


def test_a_parameter_s_name_may_be_anything() -> None:
    class Odd:
        def named_parameters(self) -> list[tuple[str, Value]]:
            return [("a<b>.{c}|\\N", parameter)]

    parameter = Value(2.0)
    svg = draw(parameter * 2.0, module=Odd()).svg
    assert inside(svg) == {"{c}|\\N": ["Odd a<b>"], "v1": ["Odd a<b>"]}


def test_a_module_must_have_parameters() -> None:
    with pytest.raises(TypeError, match=r"something with named_parameters\(\), not int"):
        draw(Value(1.0), module=3)  # type: ignore[arg-type]


# ---- highlighting


def lit_edges(svg: str) -> set[tuple[str, str]]:
    """Return the edges that are thick, by the names of their ends."""
    names = {node: box.texts[0].split(" = ")[0] for node, box in boxes(svg).items()}
    return {(names[edge.start], names[edge.end]) for edge in edges(svg) if edge.thick}


def forked() -> tuple[Value, Value, Value, Value]:
    x, y = Value(2.0, "x"), Value(-0.5, "y")
    a, b = x * y, x.sin()
    a.label, b.label = "a", "b"
    f = a + b
    f.label = "f"
    return x, y, a, f


def test_every_way_from_a_value_is_highlighted() -> None:
    x, y, a, f = forked()
    assert lit_edges(draw(f, highlight=x).svg) == {("x", "a"), ("x", "b"), ("a", "f"), ("b", "f")}
    assert lit_edges(draw(f, highlight=y).svg) == {("y", "a"), ("a", "f")}
    assert lit_edges(draw(f, highlight=f).svg) == set()
    assert lit_edges(draw(f).svg) == set()
    thick = {name for name, box in titled(draw(f, highlight=y).svg).items() if box.border > 2.6}
    assert thick == {"y", "a"}
    plain = titled(draw(f).svg)["f"]
    for way in (y, f, [y, a, f]):
        assert titled(draw(f, highlight=way).svg)["f"] == plain  # it is still seen to be the result


def test_one_way_is_highlighted_from_either_end() -> None:
    x, _, a, f = forked()
    for way in ([x, a, f], [f, a, x]):
        assert lit_edges(draw(f, highlight=way).svg) == {("x", "a"), ("a", "f")}
    assert lit_edges(draw(f, highlight=(x, a)).svg) == {("x", "a")}


def test_an_edge_that_enters_a_frame_is_highlighted_in_all_its_pieces() -> None:
    x = Value(1.0, "x")
    root = ET.fromstring(draw(nn.Neuron(2), [x, 2.0], highlight=x).svg)
    edges_ = [group for group in root.iter(f"{SVG}g") if group.get("class") == "edge"]
    thick = {group.get("id") for group in edges_ if next(group.iter(f"{SVG}path")).get("stroke-width") == "3"}
    assert thick == {"e5_2a", "e5_2b", "e5_2", "e6_0a", "e6_0"}
    numbers = {name: group for group in root.iter(f"{SVG}g") if (name := group.get("id") or "").endswith("n")}
    coloured = {name for name, group in numbers.items() if group[1].get("fill") == module.HIGHLIGHT["color"]}
    assert coloured == {"e5_2n", "e6_0n"}


def test_a_highlight_that_is_not_there_is_refused() -> None:
    x, _, _, f = forked()
    with pytest.raises(ValueError, match="no edge joins x and f"):
        draw(f, highlight=[x, f])
    with pytest.raises(ValueError, match="not in this graph"):
        draw(f, highlight=Value(3.0))
    with pytest.raises(ValueError, match="not in this graph"):
        draw(f, highlight=[x, "y"])  # type: ignore[list-item]


# ---- formats


def test_png() -> None:
    picture = draw(neuron(), format="png")
    assert picture.png.startswith(b"\x89PNG\r\n")
    shown = picture._repr_png_()
    assert shown is not None
    content, size = shown
    assert content == picture.png
    points = float(ET.fromstring(picture.svg).attrib["width"].removesuffix("pt"))
    assert abs(size["width"] - points * 96 / 72) < 3.0
    assert picture._repr_svg_() is None


def test_html() -> None:
    picture = draw(neuron(), format="html")
    assert picture.html.startswith("<!doctype html>")
    assert picture.svg in picture.html
    assert (picture._repr_html_() or "").startswith('<img alt="computation graph" src="data:image/svg+xml;base64,')
    assert (picture._repr_svg_(), picture._repr_png_(), draw(neuron())._repr_html_()) == (None, None, None)


def test_dot_is_shown_as_text() -> None:
    class Printer:
        written = ""

        def text(self, text: str) -> None:
            self.written += text

    for picture, text in ((draw(Value(1.0), format="dot"), "digraph"), (draw(Value(1.0)), "<Drawing")):
        printer = Printer()
        picture._repr_pretty_(printer, False)
        assert printer.written.startswith(text)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match=r'"svg", "png", "html" or "dot"'):
        draw(Value(1.0), format="pdf")  # type: ignore[arg-type]


# ---- colours


# What dichromats see, in linear RGB: G. M. Machado, M. M. Oliveira, L. A. F. Fernandes, "A physiologically-based model
# for simulation of color vision deficiency", IEEE TVCG 15 (2009), severity 1.0.
SEEN = {
    "everyone": [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)],
    "protanopia": [(0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)],
    "deuteranopia": [(0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)],
    "tritanopia": [(1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)],
    "grey": [(0.2126, 0.7152, 0.0722)] * 3,
}


def seen_lightness(colour: str, rows: list[tuple[float, float, float]]) -> float:
    """Return CIE lightness L*, 0 to 100, of what is seen of an sRGB colour."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (byte / 255 for byte in bytes.fromhex(colour.removeprefix("#")))
    ]
    red, green, blue = (sum(a * b for a, b in zip(row, linear, strict=True)) for row in rows)
    luminance: float = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return 116.0 * luminance ** (1 / 3) - 16.0


@pytest.mark.parametrize("eyes", SEEN)
def test_kinds_are_told_apart_by_lightness_by_everyone_and_in_grey(eyes: str) -> None:
    shades = sorted(seen_lightness(kind["fillcolor"], SEEN[eyes]) for kind in module.KINDS.values())
    assert min(b - a for a, b in pairwise(shades)) > 5.0, shades
    assert shades[0] > 65.0, "black text must stay readable"


# ---- the page about it


def test_the_pictures_of_the_page_are_those_its_examples_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are drawn anew by running this test with the environment variable REDRAW=1."""
    page = Path(__file__).parents[2] / "docs" / "drawing.md"
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    for example in doctest.DocTestParser().get_examples("\n".join(blocks)):
        exec(example.source, names)
    pictures = sorted(set(re.findall(r"\(images/(\w+\.svg)\)", page.read_text("utf-8"))))
    assert pictures == ["mlp.svg", "neuron.svg"]
    for name in pictures:
        drawn, kept = tmp_path / name, page.parent / "images" / name
        if "REDRAW" in os.environ:
            shutil.copy(drawn, kept)
        assert contents(kept) == contents(drawn), f"{kept} is out of date: run this test with REDRAW=1"


def contents(path: Path) -> list[tuple[str, str]]:
    """List what is written and how it is filled; where it stands is up to the renderer."""
    return sorted((e.get("fill", ""), (e.text or "").strip()) for e in ET.fromstring(path.read_text("utf-8")).iter())
