from functools import partial

import pytest

from autodiff import Value
from nn import accuracy, binary_accuracy


def test_accuracy():
    assert accuracy([Value(0.1), Value(0.7), Value(0.2)], 1) == 1.0
    assert accuracy((0.1, 0.7, 0.2), 0) == 0.0
    assert accuracy([1.0, 1.0], 0) == 1.0  # the first of equals, as in NumPy's argmax


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
