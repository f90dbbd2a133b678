"""The other engines, each set up as its users would: double precision, one thread, floats in and floats out.

Packages are imported inside functions: an engine that is not installed is left out of the report.
"""

import importlib.util
import sys
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import autodiff
from benchmarks.harness import EAGER, OURS, Contestant, Job, Settings, measure, table

Floats = Sequence[float]

# ---- modules, configured


def torch() -> Any:
    """Import PyTorch: double precision, one thread."""
    import torch

    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    return torch


def jax() -> Any:
    """Import JAX: double precision, on the processor, otherwise as installed."""
    import jax
    import jax.flatten_util
    import jax.scipy.special

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    return jax


def micrograd() -> Any:
    """Import micrograd's engine, with room for its recursive sort."""
    from micrograd import engine

    sys.setrecursionlimit(max(sys.getrecursionlimit(), 100_000))
    return engine


# ---- ours


def ours(f: Callable[..., Any], *args: Any) -> list[Contestant]:
    """Enter a function of floats, with floats as results: compiled, and as it is."""
    return [
        Contestant(OURS, lambda: Job(partial(autodiff.compile(f), *args))),
        Contestant(EAGER, lambda: Job(partial(f, *args))),
    ]


# ---- engines that take plain Python code


def micrograd_gradient(f: Callable[[list[Any]], Any], x: Floats) -> Job:
    """Sweep micrograd's graph of a function of a list."""
    Value = micrograd().Value

    def run() -> tuple[float, list[float]]:
        inputs = [Value(number) for number in x]
        output = f(inputs)
        output.backward()
        return output.data, [node.grad for node in inputs]

    return Job(run)


def xad_gradient(f: Callable[[list[Any], Any], Any], x: Floats) -> Job:
    """Record and play XAD's tape of a function of a list, which also gets XAD's mathematical functions."""
    import xad.math
    from xad.adj_1st import Real, Tape

    def run() -> tuple[float, list[float]]:
        with Tape() as tape:
            inputs = [Real(number) for number in x]
            tape.registerInputs(inputs)
            tape.newRecording()
            output = f(inputs, xad.math)
            tape.registerOutput(output)
            output.derivative = 1.0
            tape.computeAdjoints()
            return output.value, [node.derivative for node in inputs]

    return Job(run)


# ---- CasADi


def casadi_gradient(f: Callable[[list[Any], Any], Any], size: int) -> Any:
    """Make the CasADi function for value and gradient of a function of a list and CasADi's functions."""
    import casadi

    x = casadi.SX.sym("x", size)
    value = f(casadi.vertsplit(x), casadi)
    return casadi.Function("f", [x], [value, casadi.gradient(value, x)], {"cse": True})


def with_casadi(build: Callable[[], Any], x: Floats) -> list[Contestant]:
    """Enter a CasADi function of one vector, whose results are dense columns, in both ways to call it."""
    return [
        Contestant("CasADi", lambda: casadi_call(build(), list(x))),
        Contestant("CasADi, buffers", lambda: casadi_buffers(build(), list(x))),
    ]


def casadi_call(function: Any, x: list[float]) -> Job:
    """Call the function, and turn its results into lists."""

    def run() -> list[list[float]]:
        return [output.nonzeros() for output in function.call([x])]

    return Job(run)


def casadi_buffers(function: Any, x: list[float]) -> Job:
    """Do the same through CasADi's low-overhead interface: memory is handed over once, then filled and read."""
    given = array("d", [0.0] * function.numel_in(0))
    found = [array("d", [0.0] * function.numel_out(i)) for i in range(function.n_out())]
    buffer, evaluate = function.buffer()
    buffer.set_arg(0, memoryview(given))
    for i, output in enumerate(found):
        buffer.set_res(i, memoryview(output))

    # `evaluate` does not keep the buffer alive; this default does.
    def run(buffer: Any = buffer) -> list[list[float]]:
        given[:] = array("d", x)
        evaluate()
        return [output.tolist() for output in found]

    return Job(run)


# ---- JAX


def with_jax(f: Callable[[Any], Any], x: Floats) -> list[Contestant]:
    """Enter a function in JAX from one array to a tuple of arrays: as written, and with results packed into one."""
    return [
        Contestant("JAX jit", partial(jax_call, f, list(x))),
        Contestant("JAX jit, packed", partial(jax_packed, f, list(x))),
    ]


def jax_call(f: Callable[[Any], Any], x: list[float]) -> Job:
    """Call the jitted function and turn each of its results into a list."""
    import numpy as np

    fast = jax().jit(f)
    return Job(lambda: [np.asarray(output).tolist() for output in fast(np.array(x))])


def jax_packed(f: Callable[[Any], Any], x: list[float]) -> Job:
    """Let the jitted function return one array: one conversion instead of several."""
    import numpy as np

    library = jax()
    fast = library.jit(lambda x: library.flatten_util.ravel_pytree(f(x))[0])
    return Job(lambda: np.asarray(fast(np.array(x))).tolist())


def jax_again(columns: dict[str, list[Contestant]], settings: Settings) -> str:
    """Measure ours and JAX once more, JAX running everything in the calling thread, and lay out that table.

    As installed, JAX hands all but the smallest computations to another thread, and waits. That is meant for large
    ones; whoever computes small ones can switch it off. The switch is read when JAX starts, so JAX is started anew.
    """
    if importlib.util.find_spec("jax"):
        import jax.extend

        jax.config.update("jax_cpu_enable_async_dispatch", False)
        jax.extend.backend.clear_backends()
    again = {
        title: [c for c in contestants if c.name == OURS or c.name.startswith("JAX")]
        for title, contestants in columns.items()
    }
    explanation = "The same with JAX running in the calling thread (`jax_cpu_enable_async_dispatch=False`):\n\n"
    return explanation + table([measure(title, contestants, settings) for title, contestants in again.items()])
