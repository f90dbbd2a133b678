"""Table 2: price of a European call option, with its Greeks. F. Black, M. Scholes (1973), doi:10.1086/260062."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import autodiff
from benchmarks import engines
from benchmarks.harness import Contestant, Job, Settings, main, measure, table

OPTION = (100.0, 105.0, 0.75, 0.03, 0.2)  # spot, strike, years, rate a year, volatility a year
INPUTS = range(len(OPTION))


def price(spot: Any, strike: Any, years: Any, rate: Any, volatility: Any, *, functions: Any = autodiff) -> Any:
    """Compute the price, with the functions of any library."""
    spread = volatility * functions.sqrt(years)
    d = (functions.log(spot / strike) + rate * years) / spread + 0.5 * spread
    discounted = strike * functions.exp(-rate * years)
    return spot * normal(d, functions) - discounted * normal(d - spread, functions)


def normal(x: Any, functions: Any) -> Any:
    """Compute the cumulative normal distribution."""
    return 0.5 * (1.0 + functions.erf(x * math.sqrt(0.5)))


# ---- ours


def greeks(spot: Any, strike: Any, years: Any, rate: Any, volatility: Any) -> list[Any]:
    """Compute the price and its derivatives by the five inputs: delta, dual delta, minus theta, rho, vega."""
    value, gradient = autodiff.value_and_grad(price, argnums=INPUTS)(spot, strike, years, rate, volatility)
    return [value, *gradient]


def greeks_and_gamma(spot: Any, strike: Any, years: Any, rate: Any, volatility: Any) -> list[Any]:
    """Add gamma, the second derivative by the spot."""
    option = (spot, strike, years, rate, volatility)
    return [*greeks(*option), autodiff.grad(autodiff.grad(price))(*option)]


# ---- by hand


def textbook(spot: float, strike: float, years: float, rate: float, volatility: float, *, gamma: bool) -> list[float]:
    """Compute the same by the textbook's formulas.

    They rest on an identity that no engine knows: S n(d1) = K exp(-r T) n(d2).
    """
    root = math.sqrt(years)
    spread = volatility * root
    d = (math.log(spot / strike) + rate * years) / spread + 0.5 * spread
    discount = math.exp(-rate * years)
    upper = 0.5 * (1.0 + math.erf(d * 0.7071067811865476))
    lower = 0.5 * (1.0 + math.erf((d - spread) * 0.7071067811865476))
    discounted = strike * discount
    expected = discounted * lower
    density = 0.3989422804014327 * math.exp(-0.5 * d * d)
    vega = spot * density * root
    theta = 0.5 * volatility * vega / years + rate * expected
    found = [spot * upper - expected, upper, -discount * lower, theta, years * expected, vega]
    return [*found, density / (spot * spread)] if gamma else found


# ---- other engines


def with_torch(gamma: bool) -> Job:
    """Build and sweep PyTorch's graph, twice for gamma."""
    torch = engines.torch()

    def run() -> list[float]:
        inputs = [torch.tensor(x, requires_grad=True) for x in OPTION]
        value = price(*inputs, functions=torch)
        found = [value, *torch.autograd.grad(value, inputs, create_graph=gamma)]
        if gamma:
            found += torch.autograd.grad(found[1], inputs[0])
        return [x.item() for x in found]

    return Job(run)


def jax_greeks(x: Any, gamma: bool) -> Any:
    """Compute price, Greeks and gamma in JAX."""
    jax = engines.jax()
    functions = SimpleNamespace(**vars(jax.numpy) | {"erf": jax.scipy.special.erf})
    option = [x[i] for i in INPUTS]
    value, gradient = jax.value_and_grad(price, argnums=tuple(INPUTS))(*option, functions=functions)
    found = [value, *gradient]
    if gamma:
        found.append(jax.grad(jax.grad(price))(*option, functions=functions))
    return (jax.numpy.stack(found),)  # one array, since one conversion is the fastest


def with_autograd(gamma: bool) -> Job:
    """Differentiate NumPy scalars."""
    import autograd
    from autograd import numpy
    from autograd.scipy.special import erf

    f = partial(price, functions=SimpleNamespace(**vars(numpy) | {"erf": erf}))
    first = autograd.value_and_grad(f, argnum=tuple(INPUTS))
    second: Callable[..., Any] = autograd.grad(autograd.grad(f))

    def run() -> list[float]:
        value, gradient = first(*OPTION)
        return [value, *gradient, second(*OPTION)] if gamma else [value, *gradient]

    return Job(run)


def casadi_greeks(gamma: bool) -> Any:
    """Make the CasADi function."""
    import casadi

    x = casadi.SX.sym("x", len(OPTION))
    value = price(*casadi.vertsplit(x), functions=casadi)
    gradient = casadi.gradient(value, x)
    found = [value, gradient, casadi.jacobian(gradient[0], x[0])] if gamma else [value, gradient]
    return casadi.Function("greeks", [x], found, {"cse": True})


# ---- the table


def contestants(gamma: bool) -> list[Contestant]:
    """Enter everyone with an error function; XAD, for Python, has no second derivatives."""
    xad = Contestant("XAD", partial(engines.xad_gradient, lambda x, functions: price(*x, functions=functions), OPTION))
    return [
        *engines.ours(greeks_and_gamma if gamma else greeks, *OPTION),
        Contestant("Python by hand, textbook formulas", lambda: Job(partial(textbook, *OPTION, gamma=gamma))),
        *engines.with_casadi(partial(casadi_greeks, gamma), OPTION),
        *([] if gamma else [xad]),
        Contestant("PyTorch", partial(with_torch, gamma)),
        Contestant("JAX jit, packed", partial(engines.jax_call, partial(jax_greeks, gamma=gamma), list(OPTION))),
        Contestant("autograd", partial(with_autograd, gamma)),
    ]


def tables(settings: Settings) -> Iterator[str]:
    """Measure without and with the second derivative."""
    titles = {False: "price, 5 Greeks", True: "price, 5 Greeks, gamma"}
    yield table([measure(title, contestants(gamma), settings) for gamma, title in titles.items()])


TEXT = """
Price of a European call option with its derivatives by spot, strike, time, rate and volatility (delta, dual delta,
minus theta, rho, vega), and with gamma, the second derivative by the spot. Five floats in, six or seven out. The
textbook's formulas use an identity that shortens them and that no engine knows.
"""

if __name__ == "__main__":
    main("2. Black-Scholes, price and Greeks", TEXT, tables)
