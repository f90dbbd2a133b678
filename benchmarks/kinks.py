"""Show what engines return at points without a derivative.

`python -m benchmarks.kinks` writes docs/kinks.md. An engine that is not installed is left out. Nothing here is
looked up: every cell is computed by the engine it stands for.
"""

import argparse
import importlib
import importlib.util
import math
import operator
import platform
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import autodiff
from benchmarks import engines
from benchmarks.__main__ import installed_version
from benchmarks.harness import markdown

PAGE = Path(__file__).resolve().parent.parent / "docs" / "kinks.md"
NUMBER = "{:.6g}"
Maker = Callable[[Any], Callable[..., Any]]


@dataclass(frozen=True)
class Edge:
    """A function, by one argument or by two, and a point where a rule is needed."""

    title: str
    point: tuple[float, ...]
    rule: str
    ours: Callable[..., Any]
    numpy: Maker | None = None  # given autograd.numpy or jax.numpy
    torch: Maker | None = None
    jax: Maker | None = None  # where JAX needs another function than autograd; given jax
    tensorflow: Maker | None = None

    def along(self, i: int) -> Callable[[Any], Any]:
        """Make a function of one argument, the others as at the point."""
        return lambda x: self.ours(*self.point[:i], x, *self.point[i + 1 :])


def same(f: Callable[..., Any]) -> dict[str, Any]:
    """Describe what is written with operators: the same for everyone."""
    return {"ours": f, "numpy": lambda _: f, "torch": lambda _: f, "tensorflow": lambda _: f}


def named(name: str, numpy: str | None = None, torch: str | None = None) -> dict[str, Any]:
    """Describe what has a name, mostly the same."""
    return {
        "ours": getattr(autodiff, name),
        "numpy": operator.attrgetter(numpy or name),
        "torch": operator.attrgetter(torch or name),
        "tensorflow": operator.attrgetter("math." + (torch or name)),
    }


def activation(name: str, torch: str, jax: str, tensorflow: Maker | None = None) -> dict[str, Any]:
    """Describe what NumPy lacks."""
    return {
        "ours": getattr(autodiff, name),
        "torch": operator.attrgetter("nn.functional." + torch),
        "jax": operator.attrgetter("nn." + jax),
        "tensorflow": tensorflow or (lambda tf: getattr(tf.nn, name, None)),
    }


CONVEX, CONCAVE, CONTINUITY = "convex: least magnitude", "concave: least magnitude", "by continuity"
FLAT, NONE, DEAD = "the same on both sides", "none: nan", "an error signal of 0 passes nothing on"
TIE, SMOOTH, CORNER = "one half to each", "it exists", "as inside, so that a bound can be left"

# fmt: off
EDGES: tuple[Edge, ...] = (
    Edge("abs(x)",               (0.0,),      CONVEX,     **named("abs")),
    Edge("relu(x)",              (0.0,),      CONVEX,     **activation("relu", "relu", "relu")),
    Edge("leaky_relu(x)",        (0.0,),      CONVEX,     **activation("leaky_relu", "leaky_relu", "leaky_relu", lambda tf: lambda x: tf.nn.leaky_relu(x, 0.01))),
    Edge("leaky_relu(x, 0.3)",   (0.0,),      CONVEX,     lambda x: autodiff.leaky_relu(x, 0.3), torch=lambda torch: lambda x: torch.nn.functional.leaky_relu(x, 0.3), jax=lambda jax: lambda x: jax.nn.leaky_relu(x, 0.3), tensorflow=lambda tf: lambda x: tf.nn.leaky_relu(x, 0.3)),
    Edge("leaky_relu(x, 2)",     (0.0,),      CONCAVE,    lambda x: autodiff.leaky_relu(x, 2.0), torch=lambda torch: lambda x: torch.nn.functional.leaky_relu(x, 2.0), jax=lambda jax: lambda x: jax.nn.leaky_relu(x, 2.0), tensorflow=lambda tf: lambda x: tf.nn.leaky_relu(x, 2.0)),
    Edge("leaky_relu(x, -1)",    (0.0,),      CONVEX,     lambda x: autodiff.leaky_relu(x, -1.0), torch=lambda torch: lambda x: torch.nn.functional.leaky_relu(x, -1.0), jax=lambda jax: lambda x: jax.nn.leaky_relu(x, -1.0), tensorflow=lambda tf: lambda x: tf.nn.leaky_relu(x, -1.0)),
    Edge("elu(x)",               (0.0,),      SMOOTH,     **activation("elu", "elu", "elu")),
    Edge("elu(x, 0.5)",          (0.0,),      CONVEX,     lambda x: autodiff.elu(x, 0.5), torch=lambda torch: lambda x: torch.nn.functional.elu(x, 0.5), jax=lambda jax: lambda x: jax.nn.elu(x, 0.5)),
    Edge("elu(x, 2)",            (0.0,),      CONCAVE,    lambda x: autodiff.elu(x, 2.0), torch=lambda torch: lambda x: torch.nn.functional.elu(x, 2.0), jax=lambda jax: lambda x: jax.nn.elu(x, 2.0)),
    Edge("selu(x)",              (0.0,),      CONCAVE,    **activation("selu", "selu", "selu")),
    Edge("maximum(x, y)",        (2.0, 2.0),  TIE,        **named("maximum")),
    Edge("minimum(x, y)",        (2.0, 2.0),  TIE,        **named("minimum")),
    Edge("maximum(x, x)",        (2.0,),      SMOOTH,     lambda x: autodiff.maximum(x, x), lambda np: lambda x: np.maximum(x, x), lambda torch: lambda x: torch.maximum(x, x), tensorflow=lambda tf: lambda x: tf.maximum(x, x)),
    Edge("minimum(x, x)",        (2.0,),      SMOOTH,     lambda x: autodiff.minimum(x, x), lambda np: lambda x: np.minimum(x, x), lambda torch: lambda x: torch.minimum(x, x), tensorflow=lambda tf: lambda x: tf.minimum(x, x)),
    Edge("clip(x, -1, 1)",       (1.0,),      CORNER,     lambda x: autodiff.clip(x, -1.0, 1.0), lambda np: lambda x: np.clip(x, -1.0, 1.0), lambda torch: lambda x: torch.clip(x, -1.0, 1.0), tensorflow=lambda tf: lambda x: tf.clip_by_value(x, -1.0, 1.0)),
    Edge("clip(x, -1, 1)",       (-1.0,),     CORNER,     lambda x: autodiff.clip(x, -1.0, 1.0), lambda np: lambda x: np.clip(x, -1.0, 1.0), lambda torch: lambda x: torch.clip(x, -1.0, 1.0), tensorflow=lambda tf: lambda x: tf.clip_by_value(x, -1.0, 1.0)),
    Edge("hard_tanh(x)",         (1.0,),      CORNER,     **activation("hard_tanh", "hardtanh", "hard_tanh")),
    Edge("sign(x)",              (0.0,),      FLAT,       **named("sign")),
    Edge("floor(x)",             (2.0,),      FLAT,       **named("floor")),
    Edge("x // y",               (4.0, 2.0),  FLAT,       **same(operator.floordiv)),
    Edge("x % y",                (4.0, 2.0),  FLAT,       **same(operator.mod)),
    Edge("sqrt(x)",              (0.0,),      CONTINUITY, **named("sqrt")),
    Edge("cbrt(x)",              (0.0,),      CONTINUITY, autodiff.cbrt, jax=operator.attrgetter("numpy.cbrt")),
    Edge("x ** 0.5",             (0.0,),      CONTINUITY, **same(lambda x: x**0.5)),
    Edge("x ** 1.5",             (0.0,),      CONTINUITY, **same(lambda x: x**1.5)),
    Edge("x ** 2",               (0.0,),      SMOOTH,     **same(lambda x: x**2)),
    Edge("x ** 1",               (0.0,),      SMOOTH,     **same(lambda x: x**1)),
    Edge("x ** 0",               (0.0,),      SMOOTH,     **same(lambda x: x**0)),
    Edge("x ** 0.0",             (0.0,),      SMOOTH,     **same(lambda x: x**0.0)),
    Edge("0 ** y",               (2.0,),      CONTINUITY, **same(lambda y: 0.0**y)),
    Edge("x ** y",               (0.0, 2.0),  CONTINUITY, **same(operator.pow)),
    Edge("x ** y",               (-2.0, 3.0), NONE,       **same(operator.pow)),
    Edge("asin(x)",              (1.0,),      CONTINUITY, **named("asin", "arcsin")),
    Edge("acos(x)",              (1.0,),      CONTINUITY, **named("acos", "arccos")),
    Edge("acosh(x)",             (1.0,),      CONTINUITY, **named("acosh", "arccosh")),
    Edge("hypot(x, y)",          (0.0, 0.0),  CONVEX,     autodiff.hypot, torch=operator.attrgetter("hypot"), jax=operator.attrgetter("numpy.hypot")),
    Edge("atan2(y, x)",          (0.0, 0.0),  NONE,       **named("atan2", "arctan2")),
    Edge("sinc(x)",              (0.0,),      SMOOTH,     **named("sinc")),
    Edge("where(x > 0, sqrt(x), 0)", (0.0,),  DEAD,       lambda x: autodiff.where(x > 0, autodiff.sqrt(x), 0.0), lambda np: lambda x: np.where(x > 0, np.sqrt(x), 0.0), lambda torch: lambda x: torch.where(x > 0, torch.sqrt(x), 0.0), tensorflow=lambda tf: lambda x: tf.where(x > 0.0, tf.sqrt(x), 0.0)),
    Edge("0 * sqrt(x)",          (0.0,),      DEAD,       lambda x: 0.0 * autodiff.sqrt(x), lambda np: lambda x: 0.0 * np.sqrt(x), lambda torch: lambda x: 0.0 * torch.sqrt(x), tensorflow=lambda tf: lambda x: 0.0 * tf.sqrt(x)),
    Edge("sqrt(x ** 2)",         (0.0,),      DEAD,       lambda x: autodiff.sqrt(x**2), lambda np: lambda x: np.sqrt(x**2), lambda torch: lambda x: torch.sqrt(x**2), tensorflow=lambda tf: lambda x: tf.sqrt(x**2)),
    Edge("log(x)",               (5e-324,),   "it overflows: inf", **named("log")),
)
# fmt: on


# ---- what each engine returns


def ours(edge: Edge) -> list[float]:
    """Differentiate once by each argument."""
    gradient: tuple[float, ...] = autodiff.grad(edge.ours, tuple(range(len(edge.point))))(*edge.point)
    return list(gradient)


def higher(edge: Edge, order: int) -> list[float]:
    """Differentiate that many times by each argument."""
    return [nested(edge.along(i), order)(x) for i, x in enumerate(edge.point)]


def nested(f: Callable[..., Any], order: int) -> Callable[..., Any]:
    """Apply grad that many times."""
    for _ in range(order):
        f = autodiff.grad(f)
    return f


def with_jax(edge: Edge) -> list[float] | None:
    """Ask JAX."""
    if edge.jax is None and edge.numpy is None:
        return None
    jax = engines.jax()
    f = edge.jax(jax) if edge.jax else edge.numpy(jax.numpy)  # type: ignore[misc]
    every = tuple(range(len(edge.point)))
    return [float(x) for x in jax.grad(f, every)(*edge.point)]


def with_torch(edge: Edge) -> list[float] | None:
    """Ask PyTorch."""
    if edge.torch is None:
        return None
    torch = engines.torch()
    xs = [torch.tensor(x, requires_grad=True) for x in edge.point]
    return [float(x) for x in torch.autograd.grad(edge.torch(torch)(*xs), xs, materialize_grads=True)]


def with_tensorflow(edge: Edge) -> list[float] | None:
    """Ask TensorFlow."""
    if edge.tensorflow is None:
        return None
    tf = importlib.import_module("tensorflow")
    xs = [tf.Variable(x, dtype=tf.float64) for x in edge.point]
    f = edge.tensorflow(tf)
    if f is None:
        return None
    with tf.GradientTape() as tape:
        y = f(*xs)
    return [float(x) for x in tape.gradient(y, xs, unconnected_gradients=tf.UnconnectedGradients.ZERO)]


def with_autograd(edge: Edge) -> list[float] | None:
    """Ask autograd."""
    if edge.numpy is None:
        return None
    import autograd
    import autograd.numpy

    f = edge.numpy(autograd.numpy)
    return [float(autograd.grad(f, i)(*edge.point)) for i in range(len(edge.point))]


ENGINES = {
    "JAX": ("jax", with_jax),
    "PyTorch": ("torch", with_torch),
    "autograd": ("autograd", with_autograd),
    "TensorFlow": ("tensorflow", with_tensorflow),
}


def cell(ask: Callable[[Edge], list[float] | None], edge: Edge) -> str:
    """Print what an engine returns, or that it raises, or a dash where it lacks the function."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = ask(edge)
    except AttributeError:  # there is no such function
        return "-"
    except (ArithmeticError, TypeError, ValueError, RuntimeError) as error:
        return type(error).__name__
    return "-" if found is None else numbers(found)


def numbers(found: Sequence[float]) -> str:
    """Print one derivative for each argument."""
    return ", ".join("nan" if math.isnan(x) else NUMBER.format(x + 0.0) for x in found)


# ---- the page

TEXT = """\
# Points without a derivative

This page is written by `make kinks`: each cell is what that engine returned, none was typed in. Where a function has
no derivative, Chainrule follows one rule, in every mode (floats, `Value.backward()`, compiled, batched) and at every
order:

1. Locally convex: the subgradient of least magnitude. Locally concave: the supergradient of least magnitude.
2. Otherwise by continuity, where infinity is allowed.
3. Otherwise `nan`.

An edge that carries an error signal of exactly 0 passes nothing on, not even next to an infinity. One exception is made
for `clip` and `hard_tanh`, so that a parameter on its bound can move off it.

Two limits. Where infinite terms cancel, the mode decides: in `cbrt(x % x)`, `x % x` has the derivative 1 - 1. Forward mode
adds that up first, and an exact 0 passes nothing on; reverse mode arrives with an infinity, and `inf - inf` is `nan`. Nor
is 0 always right: the same happens in `cbrt(x - sin(x))` at 0, whose slope is 0.55. And `relu`, `clip` and `hard_tanh` pass
nothing on at `nan`, where their value is `nan` too: compiled code branches around them by one comparison, which `nan`
fails. (Other functions that are not flat have the derivative `nan` there.)

```python
>>> from autodiff import grad, maximum, relu, sqrt
>>> grad(relu)(0.0), grad(maximum, (0, 1))(2.0, 2.0), grad(sqrt)(0.0), grad(lambda x: sqrt(x) * 0.0)(0.0)
(0.0, (0.5, 0.5), inf, 0.0)

```

First derivatives by each argument; a dash where an engine lacks the function; the name of an exception where it raises.
"""


def page() -> str:
    """Lay out both tables."""
    asked = {name: ask for name, (module, ask) in ENGINES.items() if importlib.util.find_spec(module)}
    rows = [
        [f"`{e.title}`", numbers(e.point), e.rule, cell(ours, e), *(cell(ask, e) for ask in asked.values())]
        for e in EDGES
    ]
    first = markdown(["function", "at", "rule", "Chainrule", *asked], rows)
    rows = [[f"`{e.title}`", numbers(e.point), *(numbers(higher(e, order)) for order in (1, 2, 3))] for e in EDGES]
    more = markdown(["function", "at", "first", "second", "third"], rows)
    found = ", ".join(
        f"{module} {installed_version(module) or installed_version(module + '-cpu')}"
        for name, (module, _) in ENGINES.items()
        if name in asked
    )
    versions = (
        f"Versions: {platform.python_implementation()} {platform.python_version()}, {found or 'no other engine'}."
    )
    return f"{TEXT}\n{first}\n\n## Three orders\n\nChainrule, each argument by itself.\n\n{more}\n\n{versions}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kinks", description=__doc__)
    parser.add_argument("--output", type=Path, metavar="FILE", default=PAGE, help="where the page goes")
    parser.parse_args(arguments).output.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
