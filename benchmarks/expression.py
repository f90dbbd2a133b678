"""Table 10: one expression of two variables, value and both partial derivatives."""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import autodiff
from benchmarks import engines
from benchmarks.harness import Contestant, Job, Settings, main, measure, table

POINT = (1.3, 0.7)
Result = tuple[float, tuple[float, float]]


def expression(x: Any, y: Any, *, functions: Any = autodiff) -> Any:
    """Compute (x y + sin x) exp(y) - x / y, with the functions of any library."""
    return (x * y + functions.sin(x)) * functions.exp(y) - x / y


def ours(x: Any, y: Any) -> Any:
    """Compute it with this engine."""
    return expression(x, y)


def by_hand(x: float, y: float) -> Result:
    """Compute value and partial derivatives, each function and quotient once."""
    a = x * y + math.sin(x)
    b = math.exp(y)
    q = x / y
    return a * b - q, ((y + math.cos(x)) * b - 1.0 / y, (x + a) * b + q / y)


def with_torch(x: float, y: float) -> Job:
    """Build and sweep PyTorch's graph."""
    torch = engines.torch()

    def run() -> Result:
        inputs = torch.tensor(x, requires_grad=True), torch.tensor(y, requires_grad=True)
        output = expression(*inputs, functions=torch)
        output.backward()
        return output.item(), (inputs[0].grad.item(), inputs[1].grad.item())

    return Job(run)


def jax_pair(x: Any) -> Any:
    """Compute value and gradient in JAX."""
    jax = engines.jax()
    return jax.value_and_grad(lambda x: expression(x[0], x[1], functions=jax.numpy))(x)


def with_autograd(x: float, y: float) -> Job:
    """Differentiate NumPy scalars."""
    import autograd
    from autograd import numpy

    pair = autograd.value_and_grad(partial(expression, functions=numpy), argnum=(0, 1))
    return Job(lambda: pair(x, y))


def casadi_pair() -> Any:
    """Make the CasADi function."""
    import casadi

    x = casadi.SX.sym("x", 2)
    value = expression(x[0], x[1], functions=casadi)
    return casadi.Function("f", [x], [value, casadi.gradient(value, x)], {"cse": True})


def contestants() -> list[Contestant]:
    """Enter everyone who has sine and exponential: micrograd has not."""
    return [
        *engines.ours(autodiff.value_and_grad(ours, argnums=(0, 1)), *POINT),
        Contestant("Python by hand", lambda: Job(partial(by_hand, *POINT))),
        *engines.with_casadi(casadi_pair, POINT),
        Contestant("XAD", partial(engines.xad_gradient, lambda x, math: expression(*x, functions=math), POINT)),
        Contestant("PyTorch", partial(with_torch, *POINT)),
        *engines.with_jax(jax_pair, POINT),
        Contestant("autograd", partial(with_autograd, *POINT)),
    ]


def tables(settings: Settings) -> Iterator[str]:
    """Measure."""
    yield table([measure("value and both partials", contestants(), settings)])


TEXT = """
`(x*y + sin x) * exp(y) - x/y` at (1.3, 0.7): value and both partial derivatives, two floats in, three floats out.
The expression is so small that the cost of a call is what is measured.
"""

if __name__ == "__main__":
    main("10. A small expression", TEXT, tables)
