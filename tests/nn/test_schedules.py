import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodiff import Value
from nn import SGD, schedules


def test_step_decay():
    schedule = schedules.step_decay(1.0, every=3)
    assert [schedule(step) for step in range(7)] == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01])


@given(st.integers(0, 200))
def test_exponential_decay(step):
    schedule = schedules.exponential_decay(0.3, half_life=10)
    assert schedule(step + 10) == pytest.approx(schedule(step) / 2)
    assert schedule(step) == pytest.approx(0.3 * math.exp(-step * math.log(2.0) / 10))


@given(st.integers(0, 200))
def test_cosine(step):
    expected = 0.1 + 0.9 * (1.0 + math.cos(math.pi * step / 100)) / 2 if step < 100 else 0.1
    assert schedules.cosine(1.0, steps=100, lowest=0.1)(step) == pytest.approx(expected)


def test_warmup_then_schedule():
    schedule = schedules.linear_warmup(schedules.step_decay(1.0, every=4, factor=0.5), steps=4)
    assert [schedule(step) for step in range(9)] == [0.25, 0.5, 0.75, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25]


def test_an_optimiser_follows_it():
    x = Value(0.0)
    optimiser = SGD([x], learning_rate=lambda step: float(10**step))
    for expected in (-1.0, -11.0, -111.0):
        x.grad = 1.0
        optimiser.step()
        assert x.data == expected


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: schedules.step_decay(0.1, every=0), "every must be above 0, not 0"),
        (lambda: schedules.step_decay(0.1, every=9, factor=-1.0), r"factor must be at least 0, not -1\.0"),
        (lambda: schedules.exponential_decay(0.1, half_life=0.0), r"half_life must be above 0, not 0\.0"),
        (lambda: schedules.cosine(0.1, steps=0), "steps must be above 0, not 0"),
        (lambda: schedules.cosine(0.1, steps=9, lowest=-0.1), r"lowest must be at least 0, not -0\.1"),
        (lambda: schedules.linear_warmup(0.1, steps=0), "steps must be above 0, not 0"),
        (lambda: schedules.linear_warmup(-0.1, steps=9), r"rate must be at least 0, not -0\.1"),
    ],
)
def test_a_schedule_that_cannot_work_is_refused_when_it_is_made(build, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        build()
