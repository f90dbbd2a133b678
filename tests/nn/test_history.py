import math
import sys

import pytest

from nn import Epoch, History

RECORDS = [Epoch(i, 1.0 / i, 0.5 + abs(i - 7), {"accuracy": i / 30}, seconds=0.25) for i in range(1, 31)]


def test_rows_are_flat_and_have_the_same_names():
    rows = History(RECORDS).rows()
    assert rows[1] == {"epoch": 2, "loss": 0.5, "validation_loss": 5.5, "accuracy": 2 / 30, "seconds": 0.25}
    assert len({tuple(row) for row in rows}) == 1


def test_a_table_of_about_ten_lines():
    lines = str(History(RECORDS)).splitlines()
    assert [line.split()[0] for line in lines] == ["epoch", *map(str, range(3, 31, 3))]
    assert len(set(map(len, lines))) == 1
    assert lines[1].split()[1] == "0.33333"


def test_the_last_line_is_always_there():
    assert [line.split()[0] for line in History(RECORDS).table(every=20).splitlines()] == ["epoch", "20", "30"]
    assert [line.split()[0] for line in History(RECORDS[:15]).table(every=9).splitlines()] == ["epoch", "9", "15"]


def test_nothing_yet():
    assert str(History()) == "no epochs"
    assert repr(History()) == "<History: no epochs>"


def test_the_best_is_by_validation_where_there_is_one():
    assert History(RECORDS).best.epoch == 7
    assert History([Epoch(1, 0.5), Epoch(2, 0.25), Epoch(3, 0.75)]).best.epoch == 2
    assert History([Epoch(1, 0.5, math.nan), Epoch(2, 0.5, 2.0), Epoch(3, 0.5, 1.0)]).best.epoch == 3


def test_it_is_a_list():
    assert History(RECORDS) == RECORDS
    assert RECORDS[3] in History(RECORDS)


def test_plots():
    figure = pytest.importorskip("matplotlib.figure")
    axes = History(RECORDS).plot()
    training, held_out = axes.get_lines()
    assert list(training.get_ydata()) == [record.loss for record in RECORDS]
    assert list(held_out.get_ydata()) == [record.validation_loss for record in RECORDS]
    mine = figure.Figure().add_subplot()
    assert History([Epoch(1, 0.5)]).plot(mine) is mine
    assert len(mine.get_lines()) == 1


def test_pandas_takes_the_rows():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(History(RECORDS).rows()).set_index("epoch")
    assert frame["accuracy"].idxmax() == 30


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"chainrule\[plots\]"):
        History(RECORDS).plot()
