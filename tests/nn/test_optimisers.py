import json
import math
import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodiff import Value
from nn import MLP, SGD, Adam, AdamW, Optimiser, RMSprop, clip_grad_norm, clip_grad_value

# One parameter that starts at 1, learning rate 0.1: PyTorch's formulas, evaluated with 30 digits.
GRADIENTS = [0.5, 0.25, -1.0]
TRAJECTORIES = [
    (SGD, {}, [0.95, 0.925, 1.025]),
    (SGD, {"momentum": 0.9}, [0.95, 0.88, 0.917]),
    (SGD, {"momentum": 0.9, "nesterov": True}, [0.905, 0.817, 0.9503]),
    (SGD, {"weight_decay": 0.1}, [0.94, 0.9056, 0.996544]),
    (SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}, [0.886, 0.773066, 0.877211146]),
    (RMSprop, {"alpha": 0.9}, [0.6837722539831608, 0.5363303065239153, 0.8181882286626531]),
    (RMSprop, {"alpha": 0.9, "weight_decay": 0.1}, [0.6837722506498279, 0.5294027223400623, 0.794139833480116]),
    (Adam, {}, [0.900000002, 0.8067820404774617, 0.8274177428854108]),
    (Adam, {"weight_decay": 0.1}, [0.9000000016666666, 0.8050097658613193, 0.8120982607786766]),
    (AdamW, {"weight_decay": 0.1}, [0.890000002, 0.7878820404574617, 0.8006389224608361]),
]


def run(optimiser, parameter, gradients):
    trajectory = []
    for gradient in gradients:
        parameter.grad = gradient
        optimiser.step()
        trajectory.append(parameter.data)
    return trajectory


@pytest.mark.parametrize(("kind", "settings", "expected"), TRAJECTORIES)
def test_first_steps(kind, settings, expected):
    x = Value(1.0)
    assert run(kind([x], learning_rate=0.1, **settings), x, GRADIENTS) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(("kind", "settings", "expected"), TRAJECTORIES)
def test_saved_and_resumed_is_never_interrupted(kind, settings, expected):
    x = Value(1.0)
    first = kind([x], learning_rate=0.1, **settings)
    run(first, x, GRADIENTS[:1])
    second = kind([x], learning_rate=0.1, **settings)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    y = Value(1.0)
    whole = run(kind([y], learning_rate=0.1, **settings), y, GRADIENTS)
    assert run(second, x, GRADIENTS[1:]) == whole[1:]
    assert whole == pytest.approx(expected)


@pytest.mark.parametrize(("kind", "settings", "expected"), TRAJECTORIES)
def test_parameters_do_not_mix(kind, settings, expected):
    x, y = Value(1.0), Value(-3.0)
    optimiser = kind([y, x], learning_rate=0.1, **settings)
    for gradient in GRADIENTS:
        x.grad, y.grad = gradient, 0.0
        optimiser.step()
    assert x.data == pytest.approx(expected[-1])
    assert y.data == pytest.approx(-3.0, rel=0.4 if settings.get("weight_decay") else 1e-15)


def test_state_is_a_copy_and_belongs_to_its_kind():
    x = Value(1.0)
    optimiser = Adam([x], 0.1)
    state = optimiser.state_dict()
    run(optimiser, x, GRADIENTS)
    assert state == {"steps": 0, "mean": [0.0], "mean_square": [0.0]}
    with pytest.raises(ValueError, match=r"does not fit this SGD: it has \['mean'"):
        SGD([x], 0.1).load_state_dict(state)
    with pytest.raises(ValueError, match="mean of 1 parameters, not 2"):
        Adam([x, Value(2.0)], 0.1).load_state_dict(state)


def test_zero_grad():
    x, y = Value(1.0), Value(1.0)
    (x * y).backward()
    SGD([x], 0.1).zero_grad()
    assert (x.grad, y.grad) == (0.0, 1.0)


def test_every_kind_finds_the_bottom_of_a_bowl():
    for kind in (SGD, RMSprop, Adam, AdamW):
        x, y = Value(2.0), Value(-1.0)
        optimiser = kind([x, y], learning_rate=0.05)
        for _ in range(500):
            optimiser.zero_grad()
            ((x - 1.0) ** 2 + 4.0 * (y - 0.5) ** 2).backward()
            optimiser.step()
        assert (x.data, y.data) == pytest.approx((1.0, 0.5), abs=0.05)


def test_shared_parameters_move_once():
    x = Value(1.0)
    optimiser = SGD([x, x], 0.1)
    assert run(optimiser, x, [1.0]) == [0.9]


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(TypeError, match=r"write model\.parameters\(\)"):
        SGD(MLP(2, [1]), 0.1)
    with pytest.raises(TypeError, match="nothing computed"):
        SGD([Value(1.0) * 2.0], 0.1)
    with pytest.raises(TypeError, match=r"nothing computed, not 1\.0"):
        SGD([1.0], 0.1)
    with pytest.raises(TypeError, match="nothing computed, not None"):
        SGD([None], 0.1)
    with pytest.raises(ValueError, match="no parameters"):
        Adam([])
    with pytest.raises(ValueError, match="momentum"):
        SGD([Value(1.0)], 0.1, nesterov=True)
    with pytest.raises(NotImplementedError, match="Optimiser defines no step"):
        Optimiser([Value(1.0)], 0.1).step()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (SGD, {"learning_rate": -0.1}, "learning_rate must be at least 0, not -0.1"),
        (SGD, {"learning_rate": 0.1, "momentum": -0.9}, "momentum must be at least 0, not -0.9"),
        (SGD, {"learning_rate": 0.1, "weight_decay": -1}, "weight_decay must be at least 0, not -1"),
        (RMSprop, {"alpha": 1.0}, "alpha must be at least 0 and below 1, not 1.0"),
        (RMSprop, {"eps": 0.0}, "eps must be above 0, not 0.0"),
        (Adam, {"betas": (0.9, 1.0)}, "betas[1] must be at least 0 and below 1, not 1.0"),
        (Adam, {"betas": (math.nan, 0.9)}, "betas[0] must be at least 0 and below 1, not nan"),
        (AdamW, {"eps": -1e-8}, "eps must be above 0, not -1e-08"),
    ],
)
def test_settings_that_cannot_work_are_named_at_once(kind, settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        kind([Value(1.0)], **settings)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (SGD, {"learning_rate": "0.1"}, "learning_rate must be a number, not '0.1'"),
        (SGD, {"learning_rate": None}, "learning_rate must be a number, not None"),
        (SGD, {"learning_rate": Value(0.1)}, "learning_rate must be a number, not Value(data=0.1, grad=0.0)"),
        (SGD, {"learning_rate": 0.1, "momentum": None}, "momentum must be a number, not None"),
        (RMSprop, {"alpha": None}, "alpha must be a number, not None"),
        (Adam, {"eps": None}, "eps must be a number, not None"),
        (Adam, {"betas": (0.9, None)}, "betas[1] must be a number, not None"),
        (Adam, {"betas": 0.9}, "betas must be two numbers, such as (0.9, 0.999), not 0.9"),
        (AdamW, {"betas": (0.9,)}, "betas must be two numbers, such as (0.9, 0.999), not (0.9,)"),
    ],
)
def test_settings_that_are_no_numbers_are_named_at_once(kind, settings, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        kind([Value(1.0)], **settings)


def test_a_schedule_that_returns_nothing_is_noticed():
    optimiser = Adam([Value(1.0)], learning_rate=lambda step: None)
    with pytest.raises(TypeError, match="the learning rate must be a number, not None"):
        optimiser.step()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"steps": 5, "velocity": ["a"]}, "the state's velocity must be a number, not 'a'"),
        ({"steps": "5", "velocity": [1.0]}, "the state's steps must be a number, not '5'"),
        ("sgd.json", r"what state_dict returned, not 'sgd.json': a file is read by nn\.load"),
    ],
)
def test_a_state_that_is_none_changes_nothing(state, message):
    optimiser = SGD([Value(1.0)], 0.1, momentum=0.9)
    with pytest.raises(TypeError, match=message):
        optimiser.load_state_dict(state)
    assert optimiser.state_dict() == {"steps": 0, "velocity": [0.0]}


def test_repr():
    assert repr(Adam(MLP(2, [1]).parameters(), 0.01)) == "Adam(3 parameters, rate=0.01, steps=0)"


# ---- clipping


def with_gradients(gradients):
    parameters = [Value(0.0) for _ in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    return parameters


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8), st.floats(1e-3, 1e3))
def test_clip_grad_norm(gradients, max_norm):
    parameters = with_gradients(gradients)
    norm = clip_grad_norm(parameters, max_norm)
    assert norm == pytest.approx(math.hypot(*gradients), rel=1e-14, abs=0.0)
    factor = min(1.0, max_norm / norm) if norm else 1.0
    assert [p.grad for p in parameters] == pytest.approx([factor * g for g in gradients], rel=1e-14, abs=1e-300)


@pytest.mark.parametrize("huge", [1e300, 1e-300])
def test_clip_grad_norm_neither_overflows_nor_underflows(huge):
    parameters = with_gradients([3.0 * huge, -4.0 * huge])
    assert clip_grad_norm(parameters, huge) == pytest.approx(5.0 * huge, rel=1e-15)
    assert [p.grad for p in parameters] == pytest.approx([0.6 * huge, -0.8 * huge], rel=1e-14, abs=0.0)


@pytest.mark.parametrize("gradients", [[math.nan, 1.0], [1.0, math.nan], [math.inf, 1.0], [-math.inf, math.inf]])
def test_clip_grad_norm_raises_on_what_no_factor_mends(gradients):
    with pytest.raises(FloatingPointError, match="nan or infinite"):
        clip_grad_norm(with_gradients(gradients), 1.0)


def test_clip_grad_norm_says_that_it_is_the_norm_that_overflows():
    with pytest.raises(FloatingPointError, match="norm of the gradients overflows"):
        clip_grad_norm(with_gradients([1.5e308] * 4), 1.0)


@pytest.mark.parametrize("limit", [-1.0, 0.0, math.nan])
def test_clipping_takes_a_limit_above_0(limit):
    with pytest.raises(ValueError, match="max_norm must be above 0, not"):
        clip_grad_norm(with_gradients([1.0]), limit)
    with pytest.raises(ValueError, match="limit must be above 0, not"):
        clip_grad_value(with_gradients([1.0]), limit)


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=8), st.floats(1e-3, 1e3))
def test_clip_grad_value(gradients, limit):
    parameters = with_gradients(gradients)
    clip_grad_value(parameters, limit)
    assert [p.grad for p in parameters] == [max(-limit, min(limit, g)) for g in gradients]


def test_a_network_keeps_its_direction_when_clipped():
    net = MLP(2, [4, 1], "tanh", rng=Random(0))
    net([1.0, -2.0]).backward()
    before = [p.grad for p in net.parameters()]
    clip_grad_norm(net.parameters(), 0.01)
    ratios = {round(p.grad / g, 12) for p, g in zip(net.parameters(), before, strict=True) if g}
    assert len(ratios) == 1
