"""What a training leaves behind: one record per epoch, and the table and the plot of them."""

from collections.abc import Mapping
from math import inf, isnan
from typing import Any, NamedTuple

__all__ = ["Epoch", "History", "new_figure"]


class Epoch(NamedTuple):
    """What one pass over the training examples gave.

    `epoch` counts from 1; `loss` is the mean over the training examples, each measured just before the step that used
    it, penalty not included; `validation_loss` and `metrics` are measured after the last step. Records of two runs are
    equal if their numbers are: the time is not compared.

    >>> Epoch(1, loss=0.5, seconds=1.0) == Epoch(1, loss=0.5, seconds=2.0)
    True
    """

    epoch: int
    loss: float
    validation_loss: float | None = None
    metrics: Mapping[str, float] = {}
    seconds: float = 0.0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Epoch) and self[:-1] == other[:-1]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:3])

    def row(self) -> dict[str, float]:
        """Return the numbers by name, all in one dict.

        >>> Epoch(1, loss=0.5, metrics={"accuracy": 0.75}).row()
        {'epoch': 1, 'loss': 0.5, 'accuracy': 0.75, 'seconds': 0.0}
        """
        held_out = {} if self.validation_loss is None else {"validation_loss": self.validation_loss}
        return {"epoch": self.epoch, "loss": self.loss, **held_out, **self.metrics, "seconds": self.seconds}


class History(list[Epoch]):
    """The records of a training, in order: a list that can be shown.

    `print` gives a table of about ten lines, `rows()` is what pandas takes (`pandas.DataFrame(history.rows())`).

    >>> history = History([Epoch(1, 0.75, 0.875), Epoch(2, 0.25, 0.5), Epoch(3, 0.125, 0.625)])
    >>> print(history)
    epoch   loss  validation_loss  seconds
        1   0.75            0.875        0
        2   0.25              0.5        0
        3  0.125            0.625        0
    >>> history.best
    Epoch(epoch=2, loss=0.25, validation_loss=0.5, metrics={}, seconds=0.0)
    >>> history
    <History: 3 epochs, loss 0.125>
    """

    @property
    def best(self) -> Epoch:
        """The record with the lowest validation loss, or with the lowest loss if nothing was validated."""
        return min(self, key=_rank)

    def rows(self) -> list[dict[str, float]]:
        """Return one dict per epoch, with the same names in each.

        >>> History([Epoch(1, 0.5, metrics={"accuracy": 0.75})]).rows()
        [{'epoch': 1, 'loss': 0.5, 'accuracy': 0.75, 'seconds': 0.0}]
        """
        return [record.row() for record in self]

    def table(self, every: int = 1) -> str:
        """Lay out every so many records in columns, the last one in any case.

        >>> print(History([Epoch(1, 0.5), Epoch(2, 1 / 3), Epoch(3, 0.25), Epoch(4, 0.2)]).table(every=3))
        epoch  loss  seconds
            3  0.25        0
            4   0.2        0
        """
        rows = [row for row in self.rows() if row["epoch"] % every == 0 or row["epoch"] == self[-1].epoch]
        if not rows:
            return "no epochs"
        lines = [list(rows[0]), *([f"{number:.5g}" for number in row.values()] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(map(str.rjust, line, widths)) for line in lines)

    def plot(self, axes: Any = None) -> Any:
        """Draw the losses by epoch on Matplotlib's axes, new ones if none are given, and return them.

        >>> axes = History([Epoch(1, 0.75, 0.875), Epoch(2, 0.25, 0.5)]).plot()
        >>> [line.get_label() for line in axes.get_lines()]
        ['training', 'held out']
        """
        if axes is None:
            axes = new_figure(6.4, 4.0).add_subplot()
        epochs = [record.epoch for record in self]
        axes.plot(epochs, [record.loss for record in self], color="#0072b2", label="training")
        if self and self[0].validation_loss is not None:
            held_out = [record.validation_loss for record in self]
            axes.plot(epochs, held_out, color="#d55e00", linestyle="--", label="held out")
        axes.set(xlabel="epoch", ylabel="loss")
        axes.legend()
        return axes

    def __str__(self) -> str:
        return self.table(every=max(1, len(self) // 10))

    def __repr__(self) -> str:
        return f"<History: {len(self)} epochs, loss {self[-1].loss:.5g}>" if self else "<History: no epochs>"


def _rank(record: Epoch) -> float:
    """Return what the best record has least of; nan, which is not below anything, is worst."""
    loss = record.loss if record.validation_loss is None else record.validation_loss
    return inf if isnan(loss) else loss


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of Matplotlib's, sizes in inches.

    >>> new_figure(6.4, 4.0).get_size_inches().tolist()
    [6.4, 4.0]
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('plotting needs Matplotlib: pip install "chainrule[plots]"') from None
    return Figure(figsize=(width, height), layout="constrained")
