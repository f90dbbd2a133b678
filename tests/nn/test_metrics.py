from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodiff import Value
from nn import accuracy, binary_accuracy, confusion_matrix


def test_accuracy():
    assert accuracy([Value(0.1), Value(0.7), Value(0.2)], 1) == 1.0
    assert accuracy((0.1, 0.7, 0.2), 0) == 0.0
    assert accuracy([1.0, 1.0], 0) == 1.0  # the first of equals, as in NumPy's argmax


def test_accuracy_takes_what_softmax_cross_entropy_takes():
    assert accuracy([0.1, 2.0, -1.0], [0.0, 1.0, 0.0]) == accuracy([0.1, 2.0, -1.0], 1.0) == 1.0
    assert accuracy([Value(0.1), Value(2.0)], (0.7, 0.3)) == 0.0


def test_accuracy_of_one_score_is_refused():
    with pytest.raises(TypeError, match="binary_accuracy"):
        accuracy(Value(0.3), 1)


@pytest.mark.parametrize(
    ("score", "target", "right"), [(2.0, 1, 1), (-2.0, 1, 0), (-2.0, 0, 1), (-2.0, -1, 1), (2.0, -1, 0)]
)
def test_binary_accuracy(score, target, right):
    assert binary_accuracy(Value(score), target) == binary_accuracy(score, Value(target)) == right


def test_binary_accuracy_of_probabilities():
    of_probability = partial(binary_accuracy, threshold=0.5)
    assert [of_probability(p, 1) for p in (0.4, 0.6)] == [0.0, 1.0]
    assert binary_accuracy(3.0, 1, threshold=2.0) == 1.0  # the threshold is the score's, not the target's


def test_confusion_matrix_has_the_truth_in_rows():
    scores = [[Value(0.1), Value(0.9), Value(0.0)], (3.0, 1.0, 2.0), 2, 2]
    assert confusion_matrix(scores, [0, 0, 2, 1]) == [[1, 1, 0], [0, 0, 1], [0, 0, 1]]
    assert confusion_matrix([0], [0], classes=2) == [[1, 0], [0, 0]]
    assert confusion_matrix(np.array([0.5, -1.0]) > 0.0, np.array([1, 1])) == [[0, 0], [1, 1]]
    assert confusion_matrix([], []) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_confusion_matrix_agrees_with_the_accuracy(pairs):
    scores, targets = [[float(i == choice) for i in range(4)] for choice, _ in pairs], [truth for _, truth in pairs]
    matrix = confusion_matrix(scores, targets, classes=4)
    assert sum(map(sum, matrix)) == len(pairs)
    assert sum(matrix[i][i] for i in range(4)) == sum(map(accuracy, scores, targets))


@pytest.mark.parametrize(
    ("scores", "targets", "error", "message"),
    [
        ([0.5], [1], TypeError, r"int\(score > 0\)"),
        ([Value(0.5)], [1], TypeError, "for one output"),
        ([2], [1], ValueError, "counted from 0, and there are 2: an example of 1 given 2"),
        ([0], [-1], ValueError, "an example of -1"),
        ([0, 1], [0], ValueError, "zip"),
    ],
)
def test_confusion_matrix_of_what_are_no_classes(scores, targets, error, message):
    with pytest.raises(error, match=message):
        confusion_matrix(scores, targets, classes=2)
