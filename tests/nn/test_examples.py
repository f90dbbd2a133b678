"""Data as people have them: fit gives compiled code floats, and the numbers do not depend on how they were written."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import autodiff
import nn
from autodiff import Value
from nn.examples import examples, with_floats

ROWS = [[float(i % 7), float(i % 3) - 1.0] for i in range(40)]
TARGETS = [float(3 * i % 40) for i in range(40)]


def arrays(numpy: Any) -> tuple[Any, Any]:
    return numpy.array(ROWS), numpy.array(TARGETS)


def lists_of_numpy(numpy: Any) -> tuple[Any, Any]:
    return [list(row) for row in numpy.array(ROWS)], list(numpy.array(TARGETS))


def whole(numpy: Any) -> tuple[Any, Any]:
    return [[int(x) for x in row] for row in ROWS], [int(y) for y in TARGETS]


def whole_arrays(numpy: Any) -> tuple[Any, Any]:
    return numpy.array(ROWS, dtype=int), numpy.array(TARGETS, dtype=numpy.int32)


def one_whole_column(numpy: Any) -> tuple[Any, Any]:
    return [(int(x), y) for x, y in ROWS], [int(TARGETS[0]), *TARGETS[1:]]


def frames(numpy: Any) -> tuple[Any, Any]:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(ROWS, columns=["a", "b"]), pandas.Series(TARGETS)


def trained(inputs: Any, targets: Any, **options: Any) -> list[float]:
    net = nn.MLP(2, [3, 1], activation="tanh", rng=random.Random(0))
    optimiser = nn.SGD(net.parameters(), 1e-3)
    rest: dict[str, Any] = {"loss": nn.squared_error, "epochs": 2, "batch_size": 16, **options}
    history = nn.fit(net, inputs, targets, optimiser=optimiser, rng=random.Random(1), **rest).run()
    return [p.data for p in net.parameters()] + [record.loss for record in history]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("write", [arrays, lists_of_numpy, whole, whole_arrays, one_whole_column, frames])
def test_numbers_are_floats_however_they_are_written(write: Callable[[Any], Any], compiled: bool) -> None:
    numpy = pytest.importorskip("numpy")
    assert trained(*write(numpy), compiled=compiled) == trained(ROWS, TARGETS)


@pytest.mark.parametrize("write", [lists_of_numpy, whole, one_whole_column])
def test_one_way_through_the_code_is_enough_for_all(
    write: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    numpy = pytest.importorskip("numpy")
    made: list[Any] = []
    original = autodiff.compile
    monkeypatch.setattr(autodiff, "compile", lambda f: made.append(original(f)) or made[-1])
    trained(*write(numpy), validation=write(numpy), epochs=20)
    assert [s.ways for fast in made for s in fast.specialisations] == [1] * len(made)


def test_validation_is_read_as_the_training_data_are() -> None:
    data = [[1], [2]], [3, 5]
    pairs = with_floats([data, ([[3.5]], [8])], lambda x: x[0] + 1.0, nn.squared_error)
    assert pairs == [([[1.0], [2.0]], [3.0, 5.0]), ([[3.5]], [8.0])]
    assert all(type(x) is float for inputs, _ in pairs for row in inputs for x in row)


def test_what_looks_something_up_gets_whole_numbers() -> None:
    table = [Value(0.0), Value(0.0), Value(0.0)]

    def model(words: Sequence[int]) -> Any:
        return autodiff.sum([table[word] for word in words])

    words, counts = [[0, 1], [1, 2], [2, 2]], [3, 5, 6]
    optimiser = nn.SGD(table, 0.1)
    nn.fit(model, words, counts, loss=nn.squared_error, optimiser=optimiser, epochs=200).run()
    assert [w.data for w in table] == pytest.approx([1.0, 2.0, 3.0], abs=1e-3)


def test_classes_stay_what_they_are() -> None:
    pairs = [([[1.0], [2.0]], [0, 1])]
    assert [type(y) for y in with_floats(pairs, lambda x: x, nn.softmax_cross_entropy)[0][1]] == [int, int]


def test_a_loss_that_looks_something_up_in_targets_with_floats_gets_whole_numbers() -> None:
    def loss(prediction: Any, target: Any) -> Any:
        kind, size = target
        return (prediction[1] - size) ** 2 - autodiff.log_softmax(prediction)[kind]

    net = nn.MLP(2, [2], rng=random.Random(0))
    optimiser = nn.SGD(net.parameters(), 0.1)
    history = nn.fit(
        net, [[0.5, 1.0], [1.0, 0.5]], [(0, 0.5), (1, 0.25)], loss=loss, optimiser=optimiser, epochs=2
    ).run()
    assert history[-1].loss < history[0].loss


def test_a_model_that_looks_up_nothing_in_the_first_example_gets_whole_numbers() -> None:
    table = [[0.5], [1.5]]
    pairs = [([[], [0, 1]], [0.5, 1.5])]
    assert with_floats(pairs, lambda row: sum(table[i][0] for i in row), nn.squared_error)[0][0] is pairs[0][0]


def test_looking_whether_a_model_takes_floats_draws_no_numbers() -> None:
    rng = random.Random(1)
    net = nn.Sequential(nn.Layer(2, 3, rng=rng), nn.Dropout(0.5, rng=rng))
    before = rng.getstate()
    with_floats([([[1, 2]], [0])], net, nn.squared_error)
    assert rng.getstate() == before


def test_data_frames_are_split_and_scaled_by_rows() -> None:
    pandas = pytest.importorskip("pandas")
    frame, targets = pandas.DataFrame(ROWS), pandas.Series(TARGETS)
    (rows, _), _ = nn.split(frame, targets, 0.25, random.Random(0))
    (expected, _), _ = nn.split(ROWS, TARGETS, 0.25, random.Random(0))
    assert [list(row) for row in rows] == expected
    scale, same = nn.Standardiser(frame), nn.Standardiser(ROWS)
    assert scale.means == same.means
    assert [scale(row) for row in rows] == [same(row) for row in expected]
    assert {type(x) for row in rows for x in scale(row)} == {float}


def test_a_scale_takes_one_row_at_a_time_and_says_so() -> None:
    with pytest.raises(ValueError, match=r"2 columns, but the row has 40: .* \[scale\(row\) for row in rows\]"):
        nn.Standardiser(ROWS)(ROWS)  # type: ignore[arg-type]


def test_lists_of_floats_are_not_copied() -> None:
    inputs, targets = examples("inputs", ROWS, "targets", TARGETS)
    assert (inputs is ROWS, targets is TARGETS) == (True, True)


def test_what_is_no_sequence_is_refused() -> None:
    with pytest.raises(TypeError, match="inputs must be a list or an array with one entry for each example, not <gen"):
        examples("inputs", (x for x in ROWS), "targets", TARGETS)
