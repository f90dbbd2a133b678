"""How weights start: functions of a unit's fan-in, its fan-out and a random generator.

Weights that start equal stay equal (their units get the same gradient for ever), and weights that start too
small or too large make signals vanish or explode with depth. If all inputs are independent with mean 0, then
Var(z) = n_in Var(w) Var(x): `xavier` and `he` choose Var(w) so that signals keep their size.
"""

import math
import random
from collections.abc import Callable
from typing import cast

__all__ = [
    "Initialiser",
    "constant",
    "find_initialiser",
    "generator",
    "glorot",
    "he",
    "he_uniform",
    "normal",
    "uniform",
    "xavier",
    "xavier_uniform",
    "zeros",
]

Initialiser = Callable[[int, int, random.Random], float]
"""A function of (n_in, n_out, rng): the starting value of one weight of a layer with that fan-in and fan-out."""


def zeros(n_in: int, n_out: int, rng: random.Random) -> float:
    """Start at 0: all units of a layer stay equal, which is worth seeing once.

    >>> zeros(3, 2, random.Random(0))
    0.0
    """
    return 0.0


def constant(value: float) -> Initialiser:
    """Start at `value`; for the biases of ReLU units a small positive one keeps them alive at first.

    >>> constant(0.01)(3, 2, random.Random(0))
    0.01
    """
    return lambda n_in, n_out, rng: value


def uniform(bound: float = 1.0) -> Initialiser:
    """Start uniformly between -bound and bound; bound 1 is micrograd's choice and the default of `Layer`.

    >>> round(uniform(0.5)(3, 2, random.Random(0)), 4)
    0.3444
    """
    return lambda n_in, n_out, rng: rng.uniform(-bound, bound)


def normal(std: float) -> Initialiser:
    """Start normally with mean 0 and the given standard deviation, whatever the layer's size.

    >>> round(normal(0.1)(3, 2, random.Random(0)), 4)
    0.0942
    """
    return lambda n_in, n_out, rng: rng.gauss(0.0, std)


def xavier(n_in: int, n_out: int, rng: random.Random) -> float:
    """Start normally with variance 2 / (n_in + n_out): for tanh and sigmoid units (Glorot and Bengio 2010).

    >>> round(xavier(3, 5, random.Random(0)), 4)
    0.4709
    """
    return rng.gauss(0.0, math.sqrt(2.0 / (n_in + n_out)))


def he(n_in: int, n_out: int, rng: random.Random) -> float:
    """Start normally with variance 2 / n_in: for ReLU units, half of which are silent (He et al. 2015).

    >>> round(he(8, 5, random.Random(0)), 4)
    0.4709
    """
    return rng.gauss(0.0, math.sqrt(2.0 / n_in))


def xavier_uniform(n_in: int, n_out: int, rng: random.Random) -> float:
    """Start uniformly with the variance of `xavier`: between -b and b, where b^2 = 6 / (n_in + n_out).

    >>> round(xavier_uniform(3, 5, random.Random(0)), 4)
    0.5966
    """
    bound = math.sqrt(6.0 / (n_in + n_out))
    return rng.uniform(-bound, bound)


def he_uniform(n_in: int, n_out: int, rng: random.Random) -> float:
    """Start uniformly with the variance of `he`: between -b and b, where b^2 = 6 / n_in.

    >>> round(he_uniform(8, 5, random.Random(0)), 4)
    0.5966
    """
    bound = math.sqrt(6.0 / n_in)
    return rng.uniform(-bound, bound)


glorot = xavier


def find_initialiser(choice: str | Initialiser) -> Initialiser:
    """Look up an initialiser by name; a function passes as it is.

    >>> find_initialiser("he") is he
    True
    """
    if callable(choice):
        return choice
    known: dict[str, Initialiser] = {
        "uniform": uniform(),
        "zeros": zeros,
        "xavier": xavier,
        "glorot": xavier,
        "he": he,
        "xavier_uniform": xavier_uniform,
        "he_uniform": he_uniform,
    }
    if str(choice) in known:  # a list, say, cannot be looked up as it is
        return known[str(choice)]
    raise ValueError(f"unknown initialiser {choice!r}: write one of {', '.join(known)}, or nn.initialisers.normal(0.1)")


def generator(rng: random.Random | None) -> random.Random:
    """Return the given generator, or Python's shared one, so that `random.seed()` reaches those who gave none.

    >>> generator(None).random() < 1.0
    True
    """
    if rng is None:
        return cast(random.Random, random)  # the module has the methods of its hidden instance
    if isinstance(rng, random.Random):
        return rng
    raise TypeError(f"rng must be a random.Random, for example random.Random(0), not {rng!r}")
