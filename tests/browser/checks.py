"""What must hold wherever Chainrule runs, in a browser too: examples, gradients, compiled code, training.

`run.mjs` runs this in Pyodide, where nothing but the standard library is installed. It is a plain module, so that any
other Python can run it for comparison: `python tests/browser/checks.py`.
"""

import copy
import doctest
import importlib
import io
import json
import math
import pickle
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from random import Random
from types import TracebackType
from typing import Any

import autodiff as ad
import nn
from autodiff import Value, batch_mean, compile, grad, hessian, value_and_grad

Report = dict[str, Any]


# ---- the examples of the documentation


class MissingError(Exception):
    """An example needs something that this machine does not have, and that Chainrule does not ask for."""


class Runner(doctest.DocTestRunner):
    """Runs examples, and tells a missing optional package from a failure."""

    def report_unexpected_exception(
        self, out: Any, test: Any, example: Any, exc_info: tuple[type[BaseException], BaseException, TracebackType]
    ) -> None:
        """Give up on a test that lacks something."""
        lacking = missing(exc_info[1])
        if lacking:
            raise MissingError(lacking)
        super().report_unexpected_exception(out, test, example, exc_info)


def missing(error: BaseException) -> str:
    """Name the optional package, or the part of an operating system, that an error says is not there."""
    while isinstance(error, ImportError) and not error.name and error.__context__ is not None:
        error = error.__context__  # the message says what to install, what it was made from says what is missing
    name = (error.name or "").split(".")[0] if isinstance(error, ImportError) else ""
    if name and name not in sys.stdlib_module_names and name not in ("autodiff", "nn"):
        return name
    if sys.platform == "emscripten" and "start new thread" in str(error):
        return "threads"
    if sys.platform == "emscripten" and "does not support processes" in str(error):
        return "processes"
    return ""


def modules() -> Iterator[Any]:
    """Import every module of the packages; one that needs an optional package at once is left out."""
    for package in (ad, nn):
        yield package
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            try:
                yield importlib.import_module(info.name)
            except ImportError as error:
                if not missing(error):
                    raise


def examples(report: Report) -> None:
    """Run every example in every docstring."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = {test.name: test for module in modules() for test in finder.find(module) if test.examples}
    for name, test in tests.items():
        output = io.StringIO()
        runner = Runner(optionflags=doctest.NORMALIZE_WHITESPACE)
        try:
            result = runner.run(test, out=output.write, clear_globs=False)
        except MissingError as lacking:
            report["left out"][name] = str(lacking)
            continue
        report["examples"] += result.attempted
        if result.failed:
            report["failed"].append(f"{name}: {output.getvalue()}")


# ---- numbers: what is computed here must be what is computed elsewhere


def rosenbrock(x: Any) -> Any:
    """Give the classical test function, in nothing but arithmetic."""
    return ad.sum(100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2 for a, b in pairwise(x))


def landscape(x: Any) -> Any:
    """Give a function with a branch, a loop and kernels."""
    a, b, c = x
    total = ad.tanh(a * b) + ad.softplus(c) * ad.logsumexp([a, b, c])
    if a > b:
        total = total * ad.exp(-b * b) + c
    while abs(total) > 0.5:
        total = total / 2.0
    return total


def arithmetic(report: Report) -> None:
    """Differentiate without a function of the mathematical library: the same bits on every machine."""
    x = [0.1 * i - 0.35 for i in range(8)]
    fast = compile(value_and_grad(rosenbrock))
    value, slope = fast(x)
    check(report, "compiled is eager", (value, slope) == value_and_grad(rosenbrock)(x) == fast(x))
    rows = hessian(rosenbrock)(x)
    check(report, "a symmetric Hessian", rows == [list(column) for column in zip(*rows, strict=True)])
    report["bits"] = [number.hex() for number in (value, *slope, *rows[3])]


def functions(report: Report) -> None:
    """Differentiate functions of all kinds, eagerly and compiled."""
    points = [[0.5, -0.25, 1.5], [-1.0, 2.0, 0.1], [3.0, 3.0, -2.0]]
    plain, fast = value_and_grad(landscape), compile(value_and_grad(landscape))
    check(report, "compiled is eager, by every way", all(fast(x) == plain(x) for x in [*points, *points]))
    report["numbers"] = [number for x in points for number in plain(x)[1]]
    report["numbers"] += [grad(grad(f))(0.3) for f in (ad.sin, ad.tanh, ad.erf, ad.lgamma, ad.gelu, ad.atan, ad.cbrt)]
    check(report, "tails", math.isclose(grad(ad.sigmoid)(40.0), 4.248354255291589e-18, rel_tol=1e-14))
    for f, x, error in (
        (ad.log, -1.0, ValueError),
        (ad.exp, 1e4, OverflowError),
        (ad.reciprocal, 0.0, ArithmeticError),
    ):
        for g in (f, compile(f), grad(f), compile(grad(f))):
            check(report, f"{f.__name__}({x}) raises", raises(error, g, x))


def depth(report: Report) -> None:
    """Build, sweep, copy and pickle graphs far deeper than the stack, which is small in a browser."""
    x = Value(1.0)
    deep = chain_of(20_000, x)
    deep.backward()
    check(report, "a chain of 20,000", (deep.data, x.grad) == (20_001.0, 20_001.0))
    copies = [copy.deepcopy(deep), pickle.loads(pickle.dumps(deep))]
    check(report, "its copies", [twin.data for twin in copies] == [20_001.0, 20_001.0])
    copies.append(deep)
    del deep
    free(copies)
    check(report, "a chain of 1,000", grad(lambda t: chain_of(1_000, t))(1.0) == 1_001.0)
    wide = Value(0.5)
    ad.sum([wide] * 100_000).backward()
    check(report, "a sum of 100,000", wide.grad == 100_000.0)
    long = compile(grad(lambda t: ad.sum([ad.sin(t * k) for k in range(2_000)])))
    check(report, "2,000 compiled terms", math.isfinite(long(0.5)) and long(0.5) == long(0.5))


def chain_of(length: int, x: Any) -> Any:
    """Add x to itself, over and over."""
    y = x
    for _ in range(length):
        y = y + x
    return y


def free(roots: list[Value]) -> None:
    """Free the graphs of these Values, of which the list holds the last references, node by node.

    Dropping the root of a chain frees all of it at one go. For that CPython needs some stack, and as WebAssembly
    (3.14, Pyodide 314) it does not notice in time when there is none left: from a few thousand objects in a row,
    tuples inside tuples as well as Values, the program ends.
    """
    while roots:
        order = ad.toposort(roots.pop())
        while order:
            order.pop()  # the root comes last


def training(report: Report) -> None:
    """Train on the irises, compiled, and check what comes out on flowers not seen."""
    rng = Random(0)
    rows, species, _ = nn.iris()
    (inputs, targets), (held_out, truth) = nn.split(rows, species, 1 / 3, rng)
    scale = nn.Standardiser(inputs)
    net = nn.MLP(4, [8, 3], activation="tanh", initialiser="xavier", rng=rng)
    optimiser = nn.Adam(net.parameters(), 0.02)
    losses = [
        epoch.loss
        for epoch in nn.fit(
            net,
            [scale(row) for row in inputs],
            targets,
            loss=nn.softmax_cross_entropy,
            optimiser=optimiser,
            epochs=20,
            batch_size=16,
            rng=rng,
        )
    ]
    guesses = [net(scale(row)) for row in held_out]
    right = sum(
        max(range(3), key=lambda i, g=guess: g[i].data) == kind for guess, kind in zip(guesses, truth, strict=True)
    )
    report["losses"] = losses
    report["right"] = [right, len(truth)]
    check(report, "training lowers the loss", losses[-1] < 0.3 * losses[0])
    twin = nn.MLP(4, [8, 3], activation="tanh")
    twin.load_state_dict(json.loads(json.dumps(net.state_dict())))
    check(report, "saved and loaded", [y.data for y in twin(inputs[0])] == [y.data for y in net(inputs[0])])


def batches(report: Report) -> None:
    """Fit a line by the compiled gradient of a batch."""
    slope, offset = Value(0.0, "slope"), Value(0.0, "offset")
    loss = compile(batch_mean(lambda x, y: (slope * x + offset - y) ** 2))
    xs, ys = [1.0, 2.0, 3.0, 4.0], [3.0, 5.0, 7.0, 9.0]
    for _ in range(500):
        slope.grad = offset.grad = 0.0
        loss.backward(xs, ys)
        slope.data, offset.data = slope.data - 0.05 * slope.grad, offset.data - 0.05 * offset.grad
    check(report, "a line", abs(slope.data - 2.0) + abs(offset.data - 1.0) < 1e-3)


# ---- the report


def check(report: Report, what: str, holds: bool) -> None:
    """Take down one check."""
    report["checks"] += 1
    if not holds:
        report["failed"].append(what)


def raises(error: type[Exception], f: Callable[..., Any], *args: Any) -> bool:
    """Say whether a call raises this error."""
    try:
        f(*args)
    except error:
        return True
    return False


PARTS = (examples, arithmetic, functions, depth, batches, training)


def run(parts: Iterable[Callable[[Report], None]] = PARTS) -> Report:
    """Run these checks, and report."""
    report: Report = {
        "python": ".".join(map(str, sys.version_info[:3])),
        "platform": sys.platform,
        "examples": 0,
        "checks": 0,
        "failed": [],
        "left out": {},
    }
    for part in parts:
        part(report)
    return report


def main() -> str:
    """Run everything, and give the report as JSON."""
    return json.dumps(run())


if __name__ == "__main__":
    sys.stdout.write(main() + "\n")
