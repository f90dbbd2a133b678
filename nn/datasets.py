"""Two data sets that everyone knows, and what it takes to use them honestly: a split, a scale."""

import math
from collections.abc import Sequence
from random import Random
from typing import Any

from autodiff import Value
from nn.examples import rows_of
from nn.initialisers import generator
from nn.modules import Module

__all__ = ["Standardiser", "iris", "split", "two_moons"]


def iris() -> tuple[list[list[float]], list[int], list[str]]:
    """Load Fisher's 150 irises: rows of four lengths in centimetres, the species' indices, the species' names.

    The columns are length and width of the sepal, length and width of the petal. R. A. Fisher (1936), The use of
    multiple measurements in taxonomic problems. The 35th and 38th rows are as printed there; copies that go back to
    the UCI repository have other numbers in both.

    >>> rows, species, names = iris()
    >>> len(rows), rows[0], names[species[0]]
    (150, [5.1, 3.5, 1.4, 0.2], 'setosa')
    """
    from importlib.resources import files  # here, since importing it costs more than the rest of this package

    text = files("nn").joinpath("data", "iris.csv").read_text(encoding="ascii")
    _header, *lines = [line.split(",") for line in text.splitlines() if not line.startswith("#")]
    names = list(dict.fromkeys(line[-1] for line in lines))
    return [[float(entry) for entry in line[:-1]] for line in lines], [names.index(line[-1]) for line in lines], names


def two_moons(n: int = 100, noise: float = 0.1, rng: Random | None = None) -> tuple[list[list[float]], list[int]]:
    """Draw points from two half circles that reach into each other: rows of x and y, and labels 0 and 1 in turn.

    Every point is off its circle of radius 1 by a normal error with standard deviation `noise` in x and in y.

    >>> rows, labels = two_moons(4, noise=0.0, rng=Random(0))
    >>> labels
    [0, 1, 0, 1]
    >>> x, y = rows[0]
    >>> round(x * x + y * y, 12)
    1.0
    """
    if n < 2 or noise < 0.0:
        raise ValueError(f"two moons take at least 2 points and a noise of at least 0, not {n} and {noise}")
    rng = generator(rng)
    labels = [i % 2 for i in range(n)]
    return [_moon_point(label, noise, rng) for label in labels], labels


def _moon_point(label: int, noise: float, rng: Random) -> list[float]:
    angle = rng.uniform(0.0, math.pi)
    x, y = math.cos(angle), math.sin(angle)
    if label == 1:  # the other moon: turned by half a circle, moved to the right and up
        x, y = 1.0 - x, 0.5 - y
    return [x + rng.gauss(0.0, noise), y + rng.gauss(0.0, noise)]


def split(
    inputs: Sequence[Any], targets: Sequence[Any], test_fraction: float = 1 / 3, rng: Random | None = None
) -> tuple[tuple[list[Any], list[Any]], tuple[list[Any], list[Any]]]:
    """Shuffle the examples and split them into a pair to train on and a pair to test on.

    >>> train, test = split("abcdef", [1, 2, 3, 4, 5, 6], 1 / 3, Random(0))
    >>> train
    (['b', 'a', 'f', 'd'], [2, 1, 6, 4])
    >>> test
    (['e', 'c'], [5, 3])
    """
    inputs, targets = rows_of(inputs), rows_of(targets)
    if len(inputs) != len(targets):
        raise ValueError(f"there must be as many targets as inputs: {len(inputs)} inputs, {len(targets)} targets")
    tested = round(test_fraction * len(inputs))
    if not 0 < tested < len(inputs):
        raise ValueError(f"a fraction of {test_fraction} leaves nothing on one side of {len(inputs)} examples")
    order = list(range(len(inputs)))
    generator(rng).shuffle(order)
    train, test = (([inputs[i] for i in part], [targets[i] for i in part]) for part in (order[tested:], order[:tested]))
    return train, test


class Standardiser(Module):
    """Shift and scale each column to mean 0 and standard deviation 1, as measured on the rows given here.

    Make it from the training rows only, then call it on each row of all: what is held out must not leak in. As the
    first layer of a `Sequential` it scales what the model is given, and is saved with it.

    >>> scale = Standardiser([[1.0, 5.0], [3.0, 5.0]])
    >>> scale([1.0, 5.0]), scale([4.0, 6.0])
    ([-1.0, 0.0], [2.0, 1.0])
    >>> scale.state_dict()
    {'means.0': 2.0, 'means.1': 5.0, 'deviations.0': 1.0, 'deviations.1': 1.0}
    """

    buffers = ("means", "deviations")

    def __init__(self, rows: Sequence[Sequence[float]]) -> None:
        columns = list(zip(*rows_of(rows), strict=True))
        if not columns:
            raise ValueError("there are no rows to measure")
        self.means = [math.fsum(column) / len(column) for column in columns]
        self.deviations = [_deviation(column, mean) for column, mean in zip(columns, self.means, strict=True)]

    def __call__(self, row: Any) -> list[Any]:
        """Scale one row."""
        if len(row) != len(self.means):
            raise ValueError(
                f"the scale was measured on {len(self.means)} columns, but the row has {len(row)}: give one row at a "
                "time, as in [scale(row) for row in rows]"
            )
        numbers = [x if isinstance(x, Value) else float(x) for x in row]
        return [(x - mean) / spread for x, mean, spread in zip(numbers, self.means, self.deviations, strict=True)]

    def __repr__(self) -> str:
        return f"Standardiser({len(self.means)} columns)"


def _deviation(column: Sequence[float], mean: float) -> float:
    """Return the standard deviation; 1 for a constant column, whose rounding errors are not to be blown up."""
    if min(column) == max(column):
        return 1.0
    differences = [x - mean for x in column]
    exponent = math.frexp(max(map(abs, differences)))[1]
    shift = exponent if abs(exponent) > 400 else 0  # squares would leave the range of floats: scale by a power of 2
    variance = math.fsum(math.ldexp(x, -shift) ** 2 for x in differences) / len(column)
    return math.ldexp(math.sqrt(variance), shift)
