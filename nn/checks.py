"""What settings may be. An error comes where the setting is given, not in the middle of a training, and names it."""

import operator
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

__all__ = ["above_0", "at_least", "below_1", "check_state", "count", "real_number"]


def count(name: str, number: Any) -> int:
    """Return a whole number of 1 or more.

    >>> count("epochs", 2.5)
    Traceback (most recent call last):
    ...
    TypeError: epochs must be a whole number, not 2.5
    """
    try:
        whole = operator.index(number)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {number!r}") from None
    at_least(1, **{name: whole})
    return whole


def real_number(name: str, x: Any) -> float:
    """Return a number as a float; a truth value or a text is none.

    >>> real_number("the state's b", 2)
    2.0
    """
    if isinstance(x, bool) or not isinstance(x, Real):
        raise TypeError(f"{name} must be a number, not {x!r}")
    return float(x)


def check_state(state: Any) -> None:
    """Refuse what no `state_dict` returned: a path, for example.

    >>> check_state("net.json")
    Traceback (most recent call last):
    ...
    TypeError: load_state_dict takes what state_dict returned, not 'net.json': a file is read by nn.load(thing, path)
    """
    if not isinstance(state, Mapping):
        raise TypeError(
            f"load_state_dict takes what state_dict returned, not {state!r:.60}: a file is read by nn.load(thing, path)"
        )


def at_least(least: int, **settings: float) -> None:
    """Refuse settings below `least`.

    >>> at_least(0, momentum=-0.9)
    Traceback (most recent call last):
    ...
    ValueError: momentum must be at least 0, not -0.9
    """
    _check(lambda x: x >= least, f"at least {least}", settings)


def above_0(**settings: float) -> None:
    """Refuse settings of 0 and below.

    >>> above_0(steps=100, clip_norm=0.5)
    """
    _check(lambda x: x > 0, "above 0", settings)


def below_1(**settings: float) -> None:
    """Refuse what is no share of a whole: below 0, or 1 and more.

    >>> below_1(alpha=0.99)
    """
    _check(lambda x: 0 <= x < 1, "at least 0 and below 1", settings)


def _check(fits: Callable[[float], bool], wanted: str, settings: Mapping[str, float]) -> None:
    for name, x in settings.items():
        if not isinstance(x, Real):
            raise TypeError(f"{name} must be a number, not {x!r}")
        if not fits(x):
            raise ValueError(f"{name} must be {wanted}, not {x!r}")
