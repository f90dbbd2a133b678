"""Backends: what compiling for NumPy's arrays and compiling with Numba have in common.

Both print the terms that `compile` prints, for another machine. They follow IEEE 754 where Python raises: 1 / 0 is
inf and log(-1) is nan, so that one bad point among a million does not stop the others. An error signal of exactly 0
wins over infinity and nan, as everywhere.
"""

import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from autodiff.primitives import Primitive
from autodiff.terms import Builder, Term
from autodiff.tracing import Trace
from autodiff.trees import children, is_array, rebuild
from autodiff.value import Value, _get_mode

__all__: list[str] = []

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
ORDERED = ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__", "bool")


class Arguments:
    """The arguments of a call: the numbers and arrays among them, and all else, which is constant."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], one_each: bool) -> None:
        self.numbers: list[Any] = []
        self.names: list[str] = []
        self.one_each = one_each  # an array stands for one number at a time
        self.tree = (tuple(self._plain(x) for x in args), {name: self._plain(x) for name, x in kwargs.items()})
        self.key = self._walk([*self.tree[0], *self.tree[1].values()], "x")

    def _plain(self, tree: Any) -> Any:
        """Turn NumPy's numbers, and its arrays of other types than float, into plain ones."""
        if is_array(tree) and tree.shape:
            return tree.astype(float, copy=False) if self.one_each and tree.dtype != object else tree
        if type(tree).__module__ == "numpy" and getattr(tree, "shape", None) == ():
            number = tree.item()
            return number if isinstance(number, int) else float(number)
        entries = children(tree)
        return tree if entries is None else rebuild(tree, [self._plain(item) for _, item in entries])

    def _is_number(self, tree: Any) -> bool:
        return isinstance(tree, float) or (self.one_each and is_array(tree))

    def _walk(self, tree: Any, name: str) -> Any:
        if self._is_number(tree):
            self.numbers.append(tree)
            self.names.append(name)
            return float
        if isinstance(tree, Value):
            raise TypeError("a function compiled for another backend takes no Values: call the function itself")
        entries = children(tree)
        if entries is None:
            return type(tree), tree
        shape = tree.shape if is_array(tree) else ()
        return (type(tree), shape, *((way, self._walk(item, name + way)) for way, item in entries))

    def filled(self, numbers: Iterable[Any]) -> tuple[Any, Any]:
        """Give the arguments with these in the place of the numbers."""
        source = iter(numbers)
        args, kwargs = self.tree
        return (
            tuple(self._fill(x, source) for x in args),
            {name: self._fill(x, source) for name, x in kwargs.items()},
        )

    def _fill(self, tree: Any, source: Iterator[Any]) -> Any:
        if self._is_number(tree):
            return next(source)
        entries = children(tree)
        return tree if entries is None else rebuild(tree, [self._fill(item, source) for _, item in entries])


def signature_of(f: Callable[..., Any]) -> inspect.Signature | None:
    """Find the parameters of a function; some built-in ones do not say."""
    try:
        return inspect.signature(f)
    except ValueError:
        return None


def bind(
    signature: inspect.Signature | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Complete the arguments of a call by the defaults."""
    if signature is None:
        return args, kwargs
    parameters = signature.parameters
    if not kwargs and len(args) == len(parameters) and all(q.kind in POSITIONAL for q in parameters.values()):
        return args, kwargs
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.args, bound.kwargs


def refuse_questions(record: Trace) -> None:
    """Refuse what a program can ask of one number, and not of many."""
    for _, question in record.questions:
        if question.kind not in ORDERED:
            raise TypeError(
                f"{question.kind} of a Value cannot be followed by this backend: use autodiff.floor, rint, where or "
                "clip, which are operations, or compile without a backend"
            )


def check_captured(builder: Builder) -> None:
    for leaf in builder.captured:
        if leaf._primitive is not None:
            name = f" {leaf.label!r}" if leaf.label else ""
            raise TypeError(f"the Value{name} from outside was computed there: compute it inside the function")


def package(name: str, why: str) -> Any:
    """Import an optional package."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"backend={why!r} needs {name}: pip install {name}, or compile without a backend", name=name
        ) from error


def numeric(outputs: Iterable[Any]) -> list[Any]:
    """List the outputs that are numbers: the others are constants."""
    return [x for x in outputs if isinstance(x, Value | Term) or type(x) is float]


def skeleton(tree: Any) -> Any:
    """Describe a result: its containers, which leaves are numbers, and the other ones."""
    entries = children(tree)
    if entries is None:
        return float if isinstance(tree, Value | float) else tree
    return (type(tree), *((way, skeleton(item)) for way, item in entries))


def call_template(primitive: Primitive, args: Sequence[Any]) -> str:
    """Print a function call with all arguments."""
    return f"{primitive.name}({', '.join(['{}'] * len(args))})"


def or_nan(function: Callable[..., float], *args: float) -> float:
    try:
        return float(function(*map(float, args)))
    except (ArithmeticError, ValueError):
        return math.nan


def is_watched() -> bool:
    """Say whether f itself must run: it is being traced, or looked through for anomalies."""
    mode = _get_mode()
    return mode is not None and (mode.tracer is not None or mode.anomaly)
