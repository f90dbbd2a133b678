import math

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

import autodiff
import nn
from autodiff import Value, check_grads

numbers = st.floats(-20.0, 20.0)
rows = st.integers(1, 5).flatmap(lambda n: st.tuples(*[st.lists(numbers, min_size=n, max_size=n)] * 2))


@given(rows)
def test_squared_errors(pair):
    prediction, target = pair
    total = math.fsum((p - t) ** 2 for p, t in zip(prediction, target, strict=True))
    assert nn.squared_error(prediction, target) == pytest.approx(total, rel=1e-12, abs=1e-300)
    assert nn.half_squared_error(prediction, target) == pytest.approx(total / 2, rel=1e-12, abs=1e-300)
    assert nn.mean_squared_error(prediction, target) == pytest.approx(total / len(target), rel=1e-12, abs=1e-300)


@given(numbers, numbers)
def test_squared_errors_of_one_output(prediction, target):
    square = (prediction - target) * (prediction - target)
    assert nn.squared_error(prediction, target) == nn.mean_squared_error(prediction, target) == square
    assert nn.half_squared_error(prediction, target) == 0.5 * square


def test_gradient_of_half_the_squared_error_is_the_difference():
    outputs = [Value(3.0), Value(-1.0)]
    nn.half_squared_error(outputs, [1.0, 2.0]).backward()
    assert [v.grad for v in outputs] == [2.0, -3.0]


@pytest.mark.parametrize("loss", [nn.squared_error, nn.half_squared_error, nn.mean_squared_error])
def test_lengths_must_match(loss):
    with pytest.raises(ValueError, match="2 outputs, but the target has 3"):
        loss([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="2 outputs, but the target has a single number"):
        loss([1.0, 2.0], 1.0)
    with pytest.raises(ValueError, match=r"prediction is one number, but the target has 1: .* targets\[:, 0\]"):
        loss(Value(1.0), [1.0])


@pytest.mark.parametrize("loss", [nn.hinge, nn.binary_cross_entropy, nn.binary_cross_entropy_with_logits])
def test_losses_of_one_output_refuse_several(loss):
    with pytest.raises(ValueError, match="prediction is one number, but the target has 2"):
        loss(Value(0.5), [1.0, 1.0])
    with pytest.raises(ValueError, match=f"^{loss.__name__} takes one output, but the prediction has 2$"):
        loss([Value(0.5), Value(0.5)], 1.0)


def test_softmax_cross_entropy_refuses_one_output():
    for prediction in (Value(1.0), 1.0):
        with pytest.raises(TypeError, match="one output for each class, or use binary_cross_entropy_with_logits"):
            nn.softmax_cross_entropy(prediction, 1)


# ---- binary cross-entropy


def exact_cross_entropy(logit, target):
    with mpmath.workdps(60):
        p = 1 / (1 + mpmath.exp(-mpmath.mpf(logit)))
        loss = -(target * mpmath.log(p) + (1 - target) * mpmath.log(1 - p))
        return float(loss), float(p - target)


@given(st.floats(-100.0, 100.0), st.sampled_from([0.0, 1.0]))
def test_cross_entropy_of_logits_is_exact_in_both_tails(z, target):
    logit = Value(z)
    loss = nn.binary_cross_entropy_with_logits(logit, target)
    loss.backward()
    value, slope = exact_cross_entropy(z, target)
    assert loss.data == pytest.approx(value, rel=1e-14, abs=0.0)
    assert logit.grad == pytest.approx(slope, rel=1e-14, abs=0.0)


@given(st.floats(0.01, 0.99), st.floats(0.0, 1.0))
def test_both_cross_entropies_agree(p, target):
    logit = math.log(p / (1.0 - p))
    on_logit = nn.binary_cross_entropy_with_logits(logit, target)
    assert nn.binary_cross_entropy(p, target) == pytest.approx(on_logit, rel=1e-9)


@pytest.mark.parametrize(("p", "slope"), [(1.0, -1.0), (0.0, 1.0)])
def test_certain_and_right_costs_nothing(p, slope):
    probability = Value(p)
    loss = nn.binary_cross_entropy(probability, p)
    loss.backward()
    assert (loss.data, probability.grad) == (0.0, slope)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_certain_and_wrong_raises(p):
    with pytest.raises(ValueError, match="log"):
        nn.binary_cross_entropy(Value(p), 1.0 - p)


@pytest.mark.parametrize("loss", [nn.binary_cross_entropy, nn.binary_cross_entropy_with_logits])
@pytest.mark.parametrize(
    ("target", "message"), [(2, "not 2: "), (-1.0, r"not -1: .* \(t \+ 1\) / 2 for targets t of -1")]
)
def test_cross_entropy_refuses_targets_that_are_no_probabilities(loss, target, message):
    with pytest.raises(ValueError, match=f"{loss.__name__} takes targets from 0 to 1, {message}"):
        loss(Value(0.4), target)
    fast = autodiff.compile(loss)
    assert fast(0.4, 1.0) == loss(0.4, 1.0)
    with pytest.raises(ValueError, match=f"takes targets from 0 to 1, {message}"):  # a number, not a Value
        fast(0.4, float(target))


@pytest.mark.parametrize("p", [1.5, -0.1])
def test_cross_entropy_of_what_is_no_probability_names_the_one_of_logits(p):
    with pytest.raises(ValueError, match=r"takes a probability, .*: for any score use .*_with_logits"):
        nn.binary_cross_entropy(Value(p), 1.0)


def test_nan_passes_through_cross_entropies():
    for loss in (nn.binary_cross_entropy, nn.binary_cross_entropy_with_logits):
        assert math.isnan(loss(math.nan, 1.0))
        assert math.isnan(loss(0.4, math.nan))


def test_a_soft_target_that_equals_the_probability():
    assert nn.binary_cross_entropy(0.5, 0.5) == pytest.approx(math.log(2.0))


# ---- several classes


def test_softmax_cross_entropy_is_the_engines():
    logits = [Value(2.0), Value(1.0), Value(0.1)]
    loss = nn.softmax_cross_entropy(logits, 2)
    loss.backward()
    assert loss.data == autodiff.softmax_cross_entropy([2.0, 1.0, 0.1], 2)
    softmax = autodiff.softmax([2.0, 1.0, 0.1])
    assert [v.grad for v in logits] == pytest.approx([softmax[0], softmax[1], softmax[2] - 1.0])
    assert nn.softmax_cross_entropy([2.0, 1.0, 0.1], [0.0, 0.0, 1.0]) == pytest.approx(loss.data)


# ---- hinge and penalties


@given(numbers, st.sampled_from([-1, 1]))
def test_hinge(score, target):
    v = Value(score)
    loss = nn.hinge(v, target)
    loss.backward()
    assert loss.data == max(0.0, 1.0 - target * score)
    assert v.grad == (-target if target * score < 1.0 else 0.0)


@pytest.mark.parametrize("target", [0, 0.5, 2])
def test_hinge_refuses_other_targets(target):
    with pytest.raises(ValueError, match=r"-1 and \+1"):
        nn.hinge(1.0, target)


@given(st.lists(numbers, min_size=1, max_size=6))
def test_penalties(weights):
    parameters = [Value(w) for w in weights]
    nn.l2_penalty(parameters).backward()
    assert [p.grad for p in parameters] == [2.0 * w for w in weights]
    parameters = [Value(w) for w in weights]
    penalty = nn.l1_penalty(parameters)
    penalty.backward()
    assert penalty.data == pytest.approx(math.fsum(map(abs, weights)))
    assert [p.grad for p in parameters] == [math.copysign(1.0, w) if w else 0.0 for w in weights]


def test_l2_penalty_is_one_node():
    parameters = nn.MLP(2, [3, 1]).parameters()
    assert nn.l2_penalty(parameters).parents == tuple(parameters)


@pytest.mark.parametrize(
    ("loss", "target"),
    [
        (nn.squared_error, 0.3),
        (nn.half_squared_error, 0.3),
        (nn.mean_squared_error, 0.3),
        (nn.binary_cross_entropy, 1.0),
        (nn.binary_cross_entropy, 0.3),
        (nn.binary_cross_entropy_with_logits, 0.0),
        (nn.hinge, 1),
    ],
)
def test_gradients_against_differences(loss, target):
    check_grads(lambda prediction: loss(prediction, target), 0.4)


def test_a_text_is_no_target() -> None:
    for loss in (nn.squared_error, nn.hinge, nn.binary_cross_entropy_with_logits):
        with pytest.raises(TypeError, match="takes a number as its target, not the text 'setosa': number the classes"):
            loss(1.0, "setosa")
