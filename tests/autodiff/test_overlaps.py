"""Pictures, measured: no number touches a line, a box, a frame or another number, and no two edges run as one line.

Where text ends is taken from the metrics of Courier, which the pictures ask for; lines are followed point by point.
"""

import re
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from math import ceil, dist, floor, sqrt
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings

import autodiff
import nn
from autodiff import Value, draw, steps
from autodiff.drawing import Drawing
from nn.losses import half_squared_error
from tests.autodiff.test_drawing import OUTLINES, SVG, Direction, graphs

# All in points, 1/72 inch.
STEP = 0.5  # between the places on a line that are looked at
CLEAR = 2.0  # between a number and anything else
NEAR = 1.0  # lines are one point thick: nearer than this they touch
STRETCH = 10.0  # how long two edges may do so: they may cross, even at a small angle

Point = tuple[float, float]
both_directions = pytest.mark.parametrize("direction", ["LR", "TB"])


class Area(NamedTuple):
    """A rectangle that something fills."""

    text: str
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Area", clear: float = 0.0) -> bool:
        return (
            self.left - clear < other.right
            and other.left < self.right + clear
            and self.top - clear < other.bottom
            and other.top < self.bottom + clear
        )

    def holds(self, other: "Area") -> bool:
        return (
            self.left < other.left and other.right < self.right and self.top < other.top and other.bottom < self.bottom
        )

    def is_met_by(self, line: list[Point], clear: float) -> bool:
        return any(
            self.left - clear < x < self.right + clear and self.top - clear < y < self.bottom + clear for x, y in line
        )


class Picture(NamedTuple):
    """What is where: edges by id, in one or more pieces."""

    edges: dict[str, list[list[Point]]]
    numbers: list[Area]
    boxes: list[Area]
    titles: list[Area]
    frames: list[Area]


def measured(svg: str) -> Picture:
    found = Picture(defaultdict(list), [], [], [], [])
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        kind = (group.get("class") or "").split(" ")[0]
        texts = [written(text) for text in group.iter(f"{SVG}text")]
        outline = next((e for e in group.iter() if e.tag in OUTLINES), None)
        if kind == "edge":
            name = group.get("id") or ""
            found.edges[name.rstrip("ab")].append(followed(next(group.iter(f"{SVG}path")).attrib["d"]))
            found.numbers.extend(texts)
        elif kind == "node" and outline is None:
            found.numbers.extend(texts)
        elif kind == "node" and outline is not None and texts:
            found.boxes.append(around(outline, texts[0].text))
        elif kind == "cluster" and outline is not None:
            found.titles.extend(texts)
            found.frames.append(around(outline, texts[0].text))
    return found


def written(element: ET.Element) -> Area:
    """Return the area that text fills, from the top of its digits down to the bottom of its brackets."""
    text, size = (element.text or "").strip(), float(element.attrib["font-size"])
    x, y, half = float(element.attrib["x"]), float(element.attrib["y"]), 0.6 * size * len(text) / 2
    return Area(text, x - half, y - 0.75 * size, x + half, y + 0.2 * size)


def around(outline: ET.Element, text: str) -> Area:
    if outline.tag == f"{SVG}ellipse":
        x, y, *radii = (float(outline.attrib[name]) for name in ("cx", "cy", "rx", "ry"))
        across, up = (radius / sqrt(2) for radius in radii)  # the widest rectangle that is inside
        return Area(text, x - across, y - up, x + across, y + up)
    xs, ys = zip(*points(outline.get("points") or outline.attrib["d"]), strict=True)
    return Area(text, min(xs), min(ys), max(xs), max(ys))


def points(path: str) -> list[Point]:
    pairs = [pair.split(",") for pair in re.split("[MC ]+", path) if pair]
    return [(float(x), float(y)) for x, y in pairs]


def followed(path: str) -> list[Point]:
    """Return points along a line of Bezier curves, no further than STEP from each other."""
    corners = points(path)
    line = corners[:1]
    for i in range(0, len(corners) - 1, 3):
        curve = corners[i : i + 4]
        count = ceil(sum(dist(*pair) for pair in pairwise(curve)) * 1.5 / STEP) + 1
        line += [on_curve(curve, k / count) for k in range(1, count + 1)]
    return line


def on_curve(curve: list[Point], t: float) -> Point:
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    x, y = (sum(w * p[axis] for w, p in zip(weights, curve, strict=True)) for axis in (0, 1))
    return x, y


# ---- what is wrong with a picture


def touching(picture: Picture) -> Iterator[str]:
    """Name the numbers that touch something."""
    for number in picture.numbers:
        for name, pieces in picture.edges.items():
            if any(number.is_met_by(line, CLEAR) for line in pieces):
                yield f"{number.text} and the line of {name}"
        for other in (*picture.boxes, *picture.titles):
            if number.meets(other, CLEAR):
                yield f"{number.text} and the box or title {other.text}"
        for frame in picture.frames:
            if number.meets(frame) and not frame.holds(number):
                yield f"{number.text} and the border of {frame.text}"
    for one, other in combinations(picture.numbers, 2):
        if one.meets(other, CLEAR):
            yield f"the numbers {one.text} and {other.text}"


def crossed(picture: Picture) -> Iterator[str]:
    """Name the boxes and the titles of frames that edges run over."""
    for name, pieces in picture.edges.items():
        for line in pieces:
            for box in picture.boxes:
                if box.is_met_by(line, -NEAR):
                    yield f"{name} over the box {box.text}"
            for title in picture.titles:
                if title.is_met_by(line, NEAR):
                    yield f"{name} over the title {title.text}"


def merged(picture: Picture) -> Iterator[str]:
    """Name the pairs of edges that run as one line."""
    places = defaultdict(list)
    for name, pieces in picture.edges.items():
        for line in pieces:
            for x, y in line:
                places[floor(x / NEAR), floor(y / NEAR)].append((name, x, y))

    def beside(name: str, x: float, y: float) -> set[str]:
        column, row = floor(x / NEAR), floor(y / NEAR)
        near = (p for i in (-1, 0, 1) for j in (-1, 0, 1) for p in places.get((column + i, row + j), ()))
        return {other for other, *at in near if other > name and dist(at, (x, y)) < NEAR}

    for name, pieces in picture.edges.items():
        for line in pieces:
            together: dict[str, float] = {}
            for before, point in pairwise(line):
                length = dist(before, point)
                together = {other: together.get(other, 0.0) + length for other in beside(name, *point)}
                for other, run in together.items():
                    if run - length <= STRETCH < run:
                        yield f"{name} and {other}"


def faults(svg: str) -> list[str]:
    picture = measured(svg)
    assert picture.edges
    assert picture.numbers
    return [*touching(picture), *crossed(picture), *merged(picture)]


# ---- pictures


def with_loss(neuron: nn.Neuron) -> Value:
    y = neuron([Value(1.0, "x[0]"), Value(-2.0, "x[1]")])
    loss: Value = half_squared_error(y, 1.0)
    y.parents[0].label, y.label, loss.label = "z", "y", "loss"
    loss.backward()
    return loss


def sigmoid_neuron() -> Value:
    z = autodiff.affine([Value(0.5, "w1"), Value(-1.0, "w2")], [2.0, 1.5], Value(0.5, "b"))
    y = z.sigmoid()
    loss: Value = (y - 1.0) ** 2
    z.label, y.label, loss.label = "z", "y", "loss"
    loss.backward()
    return loss


def diamonds() -> Value:
    x = Value(3.0, "x")
    for _ in range(3):
        x = x.sin() * x.cos() - x
    return x


def square(x: Any) -> Any:
    return x * x


def repeated(x: Any) -> Any:
    return (x * x) * (x + x) - x


def long_formula() -> Value:
    weights = [Value(float(i), f"weight[{i}]") for i in range(3)]
    return autodiff.affine(weights, [0.25, 0.5, 0.75], 1.0)


NET = nn.MLP(2, [4, 1], activation="tanh", rng=Random(1))
NEURON = nn.Neuron(2, "tanh", rng=Random(0))
PICTURES: dict[str, Callable[[Direction], Drawing]] = {
    "neuron with loss": lambda direction: draw(with_loss(NEURON), direction=direction),
    "neuron with loss, framed": lambda direction: draw(with_loss(NEURON), direction=direction, module=NEURON),
    "neuron of the page": lambda direction: draw(sigmoid_neuron(), direction=direction),
    "MLP 2-4-1": lambda direction: draw(NET, [1.0, -2.0], direction=direction),
    "MLP 2-4-1 with loss": lambda direction: draw(
        lambda x, y: (NET(x) - y) ** 2, [1.0, -2.0], 0.5, module=NET, direction=direction
    ),
    "MLP 1-2-1": lambda direction: draw(nn.MLP(1, [2, 1], rng=Random(2)), [0.5], direction=direction),
    "a * a": lambda direction: draw(square, 3.0, direction=direction),
    "repeated edges": lambda direction: draw(repeated, 3.0, direction=direction),
    "diamonds": lambda direction: draw(diamonds(), direction=direction),
    "constants": lambda direction: draw(long_formula(), direction=direction),
    "highlighted": lambda direction: draw(NET, [x := Value(1.0), -2.0], direction=direction, highlight=x),
}


@both_directions
@pytest.mark.parametrize("name", PICTURES)
def test_nothing_overlaps(name: str, direction: Direction) -> None:
    assert faults(PICTURES[name](direction).svg) == []


@both_directions
@pytest.mark.parametrize("value", [with_loss(NEURON), repeated(Value(3.0))], ids=["neuron", "repeated"])
def test_nothing_overlaps_in_the_picture_that_is_stepped_through(value: Value, direction: Direction) -> None:
    shown = steps(value, direction=direction)
    assert faults(Drawing(shown.graph.dot(direction, grad=shown._widest)).svg) == []


@both_directions
@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize("arguments", [1, 2, 5])
def test_numbers_stand_in_the_order_of_the_arguments(direction: Direction, framed: bool, arguments: int) -> None:
    weights, x = [Value(i + 1.0) for i in range(arguments)], [Value(-i - 1.0) for i in range(arguments)]
    one = Weighted(weights) if framed else None
    picture = measured(draw(autodiff.dot(weights, x), module=one, direction=direction).svg)
    assert bool(picture.frames) == framed
    places = sorted(picture.numbers, key=lambda number: number.top if direction == "LR" else number.left)
    assert [float(number.text) for number in places] == [value.data for value in (*x, *weights)]


@both_directions
@pytest.mark.parametrize("sizes", [[3], [4, 1], [3, 3], [4, 3, 1], [2, 3, 4, 2]], ids=str)
def test_neurons_stand_in_their_order(direction: Direction, sizes: list[int]) -> None:
    net = nn.MLP(2, sizes, activation="tanh", rng=Random(0))
    several = sizes[-1] > 1
    loss = draw(
        lambda x: autodiff.logsumexp(net(x)) if several else net(x), [1.0, 2.0], module=net, direction=direction
    )
    frames = measured(loss.svg).frames
    layers = {frame.text: frame for frame in frames if frame.text.startswith("layers")}
    for i, size in enumerate(sizes):
        inside = [frame for frame in frames if frame.text.startswith("neurons") and layers[f"layers[{i}]"].holds(frame)]
        inside.sort(key=lambda frame: frame.top if direction == "LR" else frame.left)
        assert [frame.text for frame in inside] == [f"neurons[{k}]" for k in range(size)]


class Weighted:
    """A module of weights alone."""

    def __init__(self, weights: list[Value]) -> None:
        self.weights = weights

    def named_parameters(self) -> list[tuple[str, Value]]:
        return [(f"w.{i}", weight) for i, weight in enumerate(self.weights)]


@both_directions
@given(graphs())
@settings(max_examples=20)
def test_numbers_and_boxes_are_clear_in_any_small_graph(direction: Direction, value: Value) -> None:
    """Two edges from one value may leave it together, rarely."""
    picture = measured(draw(value, direction=direction).svg)
    assert [*touching(picture), *crossed(picture)] == []
