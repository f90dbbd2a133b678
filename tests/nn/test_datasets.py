import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nn import MLP, Adam, Sequential, Standardiser, fit, iris, load, save, softmax_cross_entropy, split, two_moons


def test_iris():
    rows, species, names = iris()
    assert names == ["setosa", "versicolor", "virginica"]
    assert len(rows) == len(species) == 150
    assert Counter(species) == {0: 50, 1: 50, 2: 50}
    assert {len(row) for row in rows} == {4}
    assert rows[0] == [5.1, 3.5, 1.4, 0.2]
    assert rows[149] == [5.9, 3.0, 5.1, 1.8]
    # The two rows that many copies have wrong (as [4.9, 3.1, 1.5, 0.1] and the same again).
    assert rows[34] == [4.9, 3.1, 1.5, 0.2]
    assert rows[37] == [4.9, 3.6, 1.4, 0.1]


def test_iris_has_the_known_means_of_each_species():
    rows, species, _ = iris()
    means = [
        [math.fsum(row[i] for row, kind in zip(rows, species, strict=True) if kind == k) / 50 for i in range(4)]
        for k in range(3)
    ]
    assert means[0] == pytest.approx([5.006, 3.428, 1.462, 0.246])
    assert means[1] == pytest.approx([5.936, 2.770, 4.260, 1.326])
    assert means[2] == pytest.approx([6.588, 2.974, 5.552, 2.026])


def test_iris_gives_lists_of_ones_own():
    iris()[0][0][0] = 99.0
    assert iris()[0][0][0] == 5.1


@given(st.integers(2, 40), st.integers(0, 99))
def test_two_moons_without_noise_lie_on_two_half_circles(n, seed):
    rows, labels = two_moons(n, noise=0.0, rng=Random(seed))
    assert len(rows) == n
    assert labels == [i % 2 for i in range(n)]
    for (x, y), label in zip(rows, labels, strict=True):
        if label == 0:
            assert math.hypot(x, y) == pytest.approx(1.0)
            assert y >= -1e-12
        else:
            assert math.hypot(x - 1.0, y - 0.5) == pytest.approx(1.0)
            assert y <= 0.5 + 1e-12


def test_two_moons_repeat_by_seed_and_refuse_nonsense():
    assert two_moons(10, 0.1, Random(1)) == two_moons(10, 0.1, Random(1)) != two_moons(10, 0.1, Random(2))
    for n, noise in [(1, 0.1), (10, -0.1)]:
        with pytest.raises(ValueError, match="at least 2 points"):
            two_moons(n, noise)


@given(st.integers(3, 60), st.integers(0, 99))
def test_split_keeps_every_example_once_and_pairs_together(n, seed):
    inputs, targets = [[float(i)] for i in range(n)], [-i for i in range(n)]
    (train_x, train_y), (test_x, test_y) = split(inputs, targets, 1 / 3, Random(seed))
    assert len(test_x) == round(n / 3)
    assert sorted(train_x + test_x) == inputs
    assert [-x[0] for x in train_x + test_x] == train_y + test_y


def test_split_refuses_nonsense():
    with pytest.raises(ValueError, match="2 inputs, 1 targets"):
        split([1, 2], [1])
    for fraction in (0.0, 1.0, -1.0, 0.01):
        with pytest.raises(ValueError, match="nothing on one side"):
            split([1, 2, 3], [1, 2, 3], fraction)


def test_standardiser():
    rows, _, _ = iris()
    scale = Standardiser(rows[:100])
    for column in zip(*(scale(row) for row in rows[:100]), strict=True):
        assert math.fsum(column) / 100 == pytest.approx(0.0, abs=1e-12)
        assert math.fsum(x * x for x in column) / 100 == pytest.approx(1.0)
    assert scale(rows[100]) == [(x - m) / d for x, m, d in zip(rows[100], scale.means, scale.deviations, strict=True)]


def test_standardiser_leaves_a_constant_column_small():
    scale = Standardiser([[0.1, 1.0]] * 3 + [[0.1, 2.0]])
    assert scale.deviations[0] == 1.0
    assert abs(scale([0.1, 1.0])[0]) < 1e-15


@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e200, 1e307])
def test_standardiser_of_tiny_and_huge_numbers(size):
    """Their squares are no floats."""
    scale = Standardiser([[-size], [size], [-size], [size]])
    assert scale.deviations == [size]
    assert scale([size]) == [1.0]


def test_a_standardiser_is_a_layer_that_is_saved_with_its_model(tmp_path):
    rows, species, _ = iris()
    net = Sequential(Standardiser(rows), MLP(4, [8, 3], "tanh", rng=Random(1)))
    options = {"loss": softmax_cross_entropy, "optimiser": Adam(net.parameters(), 0.05), "epochs": 20, "rng": Random(2)}
    losses = [record.loss for record in fit(net, rows, species, **options)]
    assert losses[-1] < 0.1 < losses[0]
    assert len(net.parameters()) == 67  # what was measured is not trained
    save(net, tmp_path / "net.json")
    again = Sequential(Standardiser(rows[:50]), MLP(4, [8, 3], "tanh"))
    load(again, tmp_path / "net.json")
    assert [y.data for y in again(rows[0])] == [y.data for y in net(rows[0])]
    assert repr(net.layers[0]) == "Standardiser(4 columns)"


def test_a_standardiser_of_other_columns_is_not_loaded():
    state = Standardiser([[1.0, 2.0], [3.0, 5.0]]).state_dict()
    other = Standardiser([[1.0], [2.0]])
    with pytest.raises(ValueError, match="its means has 2 entries, not 1; its deviations has 2 entries, not 1"):
        other.load_state_dict(state)
    with pytest.raises(ValueError, match=r"unexpected deviations\.0, deviations\.1, means\.0, means\.1$"):
        MLP(2, [1]).load_state_dict(state | MLP(2, [1]).state_dict())
    assert other.means == [1.5]


def test_standardiser_refuses_nonsense():
    with pytest.raises(ValueError, match="no rows"):
        Standardiser([])
    with pytest.raises(ValueError, match="shorter"):
        Standardiser([[1.0, 2.0], [3.0]])
    with pytest.raises(ValueError, match="2 columns, but the row has 1"):
        Standardiser([[1.0, 2.0]])([1.0])
