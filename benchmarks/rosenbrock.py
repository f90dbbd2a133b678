"""Table 1: Rosenbrock's function, value and gradient. H. H. Rosenbrock (1960), doi:10.1093/comjnl/3.3.175."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from itertools import pairwise
from operator import add
from typing import Any

import autodiff
from benchmarks import engines
from benchmarks.harness import Contestant, Job, Settings, main, measure, table

SIZES = (2, 10, 100, 1000)
Result = tuple[float, list[float]]


def rosenbrock(x: Sequence[Any]) -> Any:
    """Sum 100 (x' - x^2)^2 + (1 - x)^2 over neighbours x, x'; 0 at (1, ..., 1).

    Squares are products here, for everybody: `u ** 2` costs Python three times as much.
    """
    return reduce(add, [term(here, following) for here, following in pairwise(x)])


def term(x: Any, following: Any) -> Any:
    """Compute one term of the sum."""
    a = following - x * x
    b = 1.0 - x
    return 100.0 * (a * a) + b * b


def start(size: int) -> list[float]:
    """Choose a point off the minimum, different in every coordinate."""
    return [1.0 + 0.5 * (-1.0) ** i / (i + 1.0) for i in range(size)]


# ---- by hand


def written_out(size: int, saving: bool = True) -> Callable[[Sequence[float]], Result]:
    """Return the straight-line function that a careful person would write.

    For three variables it reads::

        def value_and_gradient(x):
            x0, x1, x2 = x
            a0 = x1 - x0 * x0
            b0 = 1.0 - x0
            c0 = 200.0 * a0
            a1 = x2 - x1 * x1
            b1 = 1.0 - x1
            c1 = 200.0 * a1
            f = (100.0 * (a0 * a0) + b0 * b0) + (100.0 * (a1 * a1) + b1 * b1)
            return f, [-2.0 * (c0 * x0 + b0), c0 - 2.0 * (c1 * x1 + b1), c1]

    Without `saving`, it squares with `**` as the function does, and adds up paths as the chain rule does.
    """
    names: dict[str, Any] = {}
    exec(source(size, saving), names)
    function: Callable[[Sequence[float]], Result] = names["value_and_gradient"]
    return function


def source(size: int, saving: bool = True) -> str:
    """Print that function; sums in lines of ten terms."""
    last = size - 1
    if saving:
        signal, value = "200.0 * a{i}", "(100.0 * (a{i} * a{i}) + b{i} * b{i})"
        first, inner, end = "-2.0 * (c0 * x0 + b0)", "c{j} - 2.0 * (c{i} * x{i} + b{i})", "c{j}"
    else:
        signal, value = "-200.0 * a{i} * x{i}", "(100.0 * a{i} ** 2 + b{i} ** 2)"
        first, inner, end = "c0 + c0 - 2.0 * b0", "200.0 * a{j} + c{i} + c{i} - 2.0 * b{i}", "200.0 * a{j}"
    lines = [", ".join(f"x{i}" for i in range(size)) + " = x"]
    for i in range(last):
        lines += [f"a{i} = x{i + 1} - x{i} * x{i}", f"b{i} = 1.0 - x{i}", f"c{i} = {signal.format(i=i)}"]
    for i in range(0, last, 10):
        terms = " + ".join(value.format(i=k) for k in range(i, min(i + 10, last)))
        lines.append(f"f = {'f + ' if i else ''}{terms}")
    gradient = [first, *(inner.format(i=i, j=i - 1) for i in range(1, last)), end.format(j=last - 1)]
    lines.append(f"return f, [{', '.join(gradient)}]")
    return "\n    ".join(["def value_and_gradient(x):", *lines]) + "\n"


def loop(x: Sequence[float]) -> Result:
    """Do the same in a loop."""
    f, carried, gradient = 0.0, 0.0, []
    for here, following in pairwise(x):
        a = following - here * here
        b = 1.0 - here
        c = 200.0 * a
        f += 100.0 * (a * a) + b * b
        gradient.append(carried - 2.0 * (c * here + b))
        carried = c
    gradient.append(carried)
    return f, gradient


def with_numpy(x: list[float]) -> Job:
    """Do the same on whole arrays."""
    import numpy as np

    def run() -> Result:
        array = np.array(x)
        here = array[:-1]
        a = array[1:] - here * here
        b = 1.0 - here
        c = 200.0 * a
        gradient = np.zeros_like(array)
        gradient[:-1] = -2.0 * (c * here + b)
        gradient[1:] += c
        return float(100.0 * a.dot(a) + b.dot(b)), gradient.tolist()

    return Job(run)


# ---- engines on whole arrays


def on_array(x: Any) -> Any:
    """Compute Rosenbrock's function of an array of any library."""
    here = x[:-1]
    a = x[1:] - here * here
    b = 1.0 - here
    return (100.0 * (a * a) + b * b).sum()


def with_torch(x: list[float]) -> Job:
    """Build and sweep PyTorch's graph."""
    torch = engines.torch()

    def run() -> Result:
        inputs = torch.tensor(x, requires_grad=True)
        output = on_array(inputs)
        output.backward()
        return output.item(), inputs.grad.tolist()

    return Job(run)


def jax_pair(x: Any) -> Any:
    """Compute value and gradient in JAX."""
    return engines.jax().value_and_grad(on_array)(x)


def with_autograd(x: list[float]) -> Job:
    """Differentiate NumPy code."""
    import numpy as np
    from autograd import value_and_grad

    pair = value_and_grad(on_array)

    def run() -> Result:
        value, gradient = pair(np.array(x))
        return float(value), gradient.tolist()

    return Job(run)


# ---- the table


def contestants(size: int) -> list[Contestant]:
    """Enter everyone, with so many variables."""
    x = start(size)
    return [
        *engines.ours(autodiff.value_and_grad(rosenbrock), x),
        Contestant("Python by hand, straight line", lambda: Job(partial(written_out(size), x))),
        Contestant("Python by hand, the same operations", lambda: Job(partial(written_out(size, saving=False), x))),
        Contestant("Python by hand, loop", lambda: Job(partial(loop, x))),
        Contestant("NumPy by hand", partial(with_numpy, x)),
        Contestant("micrograd", partial(engines.micrograd_gradient, rosenbrock, x)),
        *engines.with_casadi(partial(engines.casadi_gradient, lambda x, _: rosenbrock(x), size), x),
        Contestant("XAD", partial(engines.xad_gradient, lambda x, _: rosenbrock(x), x)),
        Contestant("PyTorch", partial(with_torch, x)),
        *engines.with_jax(jax_pair, x),
        Contestant("autograd", partial(with_autograd, x)),
    ]


def tables(settings: Settings) -> Iterator[str]:
    """Measure all sizes."""
    yield table([measure(f"n = {size}", contestants(size), settings) for size in SIZES])
    yield engines.jax_again({f"n = {size}": contestants(size) for size in SIZES}, settings)


TEXT = """
Value and gradient, a list of floats in, a float and a list of floats out. PyTorch, JAX, autograd and NumPy work on
whole arrays, the others on single numbers. "Packed" is JAX returning one array, so that only one has to be converted.
"Straight line" saves every operation that can be saved by hand; "the same operations" squares with `**`, as the
function does, and adds up paths as the chain rule does. "Buffers" is CasADi's low-overhead interface. micrograd runs
with a raised recursion limit.
"""

if __name__ == "__main__":
    main("1. Rosenbrock, value and gradient", TEXT, tables)
