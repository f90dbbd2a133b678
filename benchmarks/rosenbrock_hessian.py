"""Table 6: the Hessian of Rosenbrock's function of ten variables."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import autodiff
from benchmarks import engines
from benchmarks.harness import Contestant, Job, Settings, main, measure, table
from benchmarks.rosenbrock import on_array, rosenbrock, start

SIZE = 10
Matrix = list[list[float]]


def source(size: int) -> str:
    """Print the straight-line function that a careful person would write: the Hessian has three diagonals."""
    last = size - 1
    lines = [", ".join(f"x{i}" for i in range(size)) + " = x"]
    lines += [f"b{i} = -400.0 * x{i}" for i in range(last)]
    diagonal = [f"1200.0 * (x{i} * x{i}) - 400.0 * x{i + 1} + {202.0 if i else 2.0}" for i in range(last)] + ["200.0"]
    lines.append("return [")
    for i in range(size):
        beside = {i - 1: f"b{i - 1}", i: diagonal[i], i + 1: f"b{i}"}
        lines.append(f"    [{', '.join(beside.get(j, '0.0') for j in range(size))}],")
    return "\n    ".join(["def hessian(x):", *lines, "]"]) + "\n"


def written_out(x: list[float]) -> Job:
    """Run that function."""
    names: dict[str, Any] = {}
    exec(source(len(x)), names)
    return Job(partial(names["hessian"], x))


def loop(x: Sequence[float]) -> Matrix:
    """Fill the three diagonals in a loop."""
    matrix = [[0.0] * len(x) for _ in x]
    for i, (here, following) in enumerate(pairwise(x)):
        matrix[i][i] += 1200.0 * (here * here) - 400.0 * following + 2.0
        matrix[i][i + 1] = matrix[i + 1][i] = -400.0 * here
        matrix[i + 1][i + 1] += 200.0
    return matrix


def with_numpy(x: list[float]) -> Job:
    """Fill the three diagonals of an array."""
    import numpy as np

    def run() -> Matrix:
        array = np.array(x)
        here = array[:-1]
        diagonal = np.zeros_like(array)
        diagonal[:-1] = 1200.0 * (here * here) - 400.0 * array[1:] + 2.0
        diagonal[1:] += 200.0
        beside = -400.0 * here
        matrix: Matrix = (np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)).tolist()
        return matrix

    return Job(run)


def with_torch(x: list[float]) -> Job:
    """Sweep PyTorch's graph of the gradient once for each variable."""
    torch = engines.torch()

    def run() -> Matrix:
        inputs = torch.tensor(x)
        matrix: Matrix = torch.autograd.functional.hessian(on_array, inputs).tolist()
        return matrix

    return Job(run)


def jax_hessian(x: Any) -> Any:
    """Compute the Hessian in JAX."""
    return (engines.jax().hessian(on_array)(x),)


def with_autograd(x: list[float]) -> Job:
    """Differentiate NumPy code twice."""
    import autograd
    from autograd import numpy

    hessian = autograd.hessian(on_array)
    return Job(lambda: hessian(numpy.array(x)).tolist())


def casadi_hessian(size: int) -> Any:
    """Make the CasADi function, for a dense matrix as one column."""
    import casadi

    x = casadi.SX.sym("x", size)
    matrix, _ = casadi.hessian(rosenbrock(casadi.vertsplit(x)), x)
    return casadi.Function("hessian", [x], [casadi.vec(casadi.densify(matrix))], {"cse": True})


def contestants() -> list[Contestant]:
    """Enter everyone with second derivatives: micrograd and XAD have none."""
    x = start(SIZE)
    return [
        *engines.ours(autodiff.hessian(rosenbrock), x),
        Contestant("Python by hand, straight line", partial(written_out, x)),
        Contestant("Python by hand, loop", lambda: Job(partial(loop, x))),
        Contestant("NumPy by hand", partial(with_numpy, x)),
        *engines.with_casadi(partial(casadi_hessian, SIZE), x),
        Contestant("PyTorch", partial(with_torch, x)),
        Contestant("JAX jit", partial(engines.jax_call, jax_hessian, x)),
        Contestant("autograd", partial(with_autograd, x)),
    ]


def tables(settings: Settings) -> Iterator[str]:
    """Measure."""
    yield table([measure("10 by 10 matrix", contestants(), settings)])


TEXT = """
A list of ten floats in, a list of ten lists of ten floats out; CasADi returns one list of a hundred.
"""

if __name__ == "__main__":
    main("6. Hessian of Rosenbrock's function", TEXT, tables)
