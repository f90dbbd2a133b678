"""Learning rates that change as training goes on: functions of the number of steps already taken.

Any function will do; these are the usual ones. Give one as an optimiser's `learning_rate`.
"""

import math
from collections.abc import Callable

from nn.checks import above_0, at_least

__all__ = ["Schedule", "constant", "cosine", "exponential_decay", "linear_warmup", "step_decay"]

Schedule = Callable[[int], float]
"""A function of the number of steps already taken (0 at the first): the learning rate of the next step."""


def constant(rate: float) -> Schedule:
    """Keep the rate.

    >>> constant(0.1)(1000)
    0.1
    """
    at_least(0, rate=rate)
    return lambda step: rate


def step_decay(rate: float, every: int, factor: float = 0.1) -> Schedule:
    """Multiply the rate by `factor` after every so many steps.

    >>> schedule = step_decay(0.5, every=100, factor=0.5)
    >>> schedule(99), schedule(100), schedule(250)
    (0.5, 0.25, 0.125)
    """
    at_least(0, rate=rate, factor=factor)
    above_0(every=every)
    return lambda step: rate * factor ** (step // every)


def exponential_decay(rate: float, half_life: float) -> Schedule:
    """Go down by the same factor at every step, to a half in `half_life` steps.

    >>> schedule = exponential_decay(0.8, half_life=100)
    >>> schedule(0), schedule(100), round(schedule(150), 6)
    (0.8, 0.4, 0.282843)
    """
    at_least(0, rate=rate)
    above_0(half_life=half_life)
    return lambda step: rate * 0.5 ** (step / half_life)


def cosine(rate: float, steps: int, lowest: float = 0.0) -> Schedule:
    """Go from `rate` to `lowest` along half a cosine in the given number of steps, and stay there.

    >>> schedule = cosine(1.0, steps=100)
    >>> schedule(0), round(schedule(50), 12), schedule(100), schedule(200)
    (1.0, 0.5, 0.0, 0.0)
    """
    at_least(0, rate=rate, lowest=lowest)
    above_0(steps=steps)
    return lambda step: lowest + (rate - lowest) * 0.5 * (1.0 + math.cos(math.pi * min(step / steps, 1.0)))


def linear_warmup(rate: float | Schedule, steps: int) -> Schedule:
    """Rise in a straight line to the full rate, reached at the last of the given steps; then follow the schedule.

    >>> schedule = linear_warmup(0.8, steps=4)
    >>> [schedule(step) for step in range(6)]
    [0.2, 0.4, 0.6000000000000001, 0.8, 0.8, 0.8]
    """
    above_0(steps=steps)
    full = rate if callable(rate) else constant(rate)
    return lambda step: full(step) * min((step + 1) / steps, 1.0)
