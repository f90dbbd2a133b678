"""Pictures of graphs: every number is there, in its box, and nothing that cannot be drawn passes in silence."""

import shutil
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import autodiff
from autodiff import Value
from autodiff import drawing as module
from autodiff.drawing import draw

SVG = "{http://www.w3.org/2000/svg}"
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
        outline = next(e for e in inside if e.tag in {f"{SVG}polygon", f"{SVG}path", f"{SVG}ellipse"})
        texts = [e for e in inside if e.tag == f"{SVG}text"]
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
    groups = [g for g in ET.fromstring(svg).iter(f"{SVG}g") if g.get("class") == "edge"]
    found = []
    for group in groups:
        start, end = (group.findtext(f"{SVG}title") or "").split("->")
        line = next(group.iter(f"{SVG}path"))
        label = group.findtext(f"{SVG}text") or ""
        found.append(Edge(start, end, label.strip(), "stroke-dasharray" in line.attrib))
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
    assert titled(svg)["v1"].texts[0] == "v1 = affine"
    assert sorted(box.texts[0] for box in constants) == ["0.25", "0.5", "0.75", "1"]
    assert all(max(box.widths) <= box.right - box.left for box in constants)
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
    assert first == second


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
    with pytest.raises(ValueError, match=r"saved as \.svg or \.dot"):
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


def test_a_large_graph_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_empty_graph", None)
    wide = autodiff.sum([Value(1.0) for _ in range(50_000)])
    for value in (deep(50_000), wide, autodiff.sum([Value(1.0)] * 2000)):
        start = time.perf_counter()
        with pytest.raises(ValueError, match=r"more than 300 values or 1000 edges.*one neuron"):
            draw(value)
        assert time.perf_counter() - start < 0.2


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
