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

from autodiff.arguments import _plain
from autodiff.primitives import Primitive
from autodiff.terms import Builder, NotDeterministicError, Term
from autodiff.tracing import Trace
from autodiff.trees import children, is_array, rebuild, tree_map
from autodiff.value import Value

__all__: list[str] = []

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
ORDERED = ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__", "bool")


class Arguments:
    """The arguments of a call: the numbers and arrays among them, and all else, which is constant."""

    def __init__(
        self, args: Iterable[Any], kwargs: dict[str, Any], one_each: bool, parameters: Sequence[str] = ()
    ) -> None:
        self.numbers: list[Any] = []
        self.names: list[str] = []  # of the numbers, such as `x['a'][0]`
        self.one_each = one_each  # an array stands for one number at a time
        self.args = tuple(self._plain(x) for x in args)
        self.kwargs = {name: self._plain(x) for name, x in kwargs.items()}
        known = [*parameters, *(f"x{i}" for i in range(len(parameters), len(self.args)))]
        positional = [self._walk(x, name) for x, name in zip(self.args, known, strict=False)]
        self.key = (*positional, *((name, self._walk(x, name)) for name, x in self.kwargs.items()))

    def _plain(self, tree: Any) -> Any:
        """Turn NumPy's numbers, and its arrays of other types than float, into plain ones; copy what may change."""
        if is_array(tree) and tree.shape:
            if not self.one_each or tree.dtype == object:
                return tree
            if tree.dtype.kind not in "fiub":
                raise TypeError(f"arrays must hold real numbers, not {tree.dtype}")
            return tree.astype(float, copy=False)
        if isinstance(tree, set):
            return type(tree)(tree)
        entries = children(tree)
        return _plain(tree) if entries is None else rebuild(tree, [self._plain(item) for _, item in entries])

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
            return type(tree), _comparable(tree, name)
        shape = tree.shape if is_array(tree) else ()
        return (type(tree), shape, *((way, self._walk(item, name + way)) for way, item in entries))

    def filled(self, numbers: Iterable[Any]) -> tuple[Any, Any]:
        """Give the arguments with these in the place of the numbers."""
        source = iter(numbers)
        return (
            tuple(self._fill(x, source) for x in self.args),
            {name: self._fill(x, source) for name, x in self.kwargs.items()},
        )

    def _fill(self, tree: Any, source: Iterator[Any]) -> Any:
        if self._is_number(tree):
            return next(source)
        entries = children(tree)
        return tree if entries is None else rebuild(tree, [self._fill(item, source) for _, item in entries])


def _comparable(constant: Any, name: str) -> Any:
    """Give what tells a constant from that of another call: the code is made for one."""
    if isinstance(constant, set | frozenset):
        return frozenset((type(x), x) for x in constant)
    try:
        hash(constant)
    except TypeError:
        raise TypeError(
            f"argument {name} is a constant of the compiled code, and {type(constant).__name__} {constant!r:.60} "
            "cannot be told from that of another call, for it has no hash: let the function close over it"
        ) from None
    return constant


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
        if question.kind == "raised":
            raise TypeError(
                "the function catches an error of an operation, which raises none on this backend: choose with a "
                "comparison instead, or compile without a backend"
            )
        if question.kind not in ORDERED:
            raise TypeError(
                f"{question.kind} of a Value cannot be followed by this backend: use autodiff.floor, rint, where or "
                "clip, which are operations, or compile without a backend"
            )


def add_way(builder: Builder, record: Trace, name: str, before: Any) -> None:
    """Add the way that a trace took; `before` is the skeleton of the results of other ways, if there are any."""
    refuse_questions(record)
    record.result = tree_map(_plain, record.result)
    if before is not None and skeleton(record.result) != before:
        raise TypeError(
            f"{name} returns results of several shapes on its branches: each must return as many numbers in the same "
            "containers, with equal constants (0 is a constant, and 0.0 a number)"
        )
    try:
        builder.add(record, [])
    except NotDeterministicError:
        raise TypeError(f"{name} gives another result each time it is called") from None
    for leaf in builder.captured:
        if leaf._primitive is not None:
            label = f" {leaf.label!r}" if leaf.label else ""
            raise TypeError(f"the Value{label} from outside was computed there: compute it inside the function")


def package(name: str, why: str) -> Any:
    """Import an optional package."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"backend={why!r} needs {name}: pip install {name}, or compile without a backend", name=name
        ) from error


def is_numeric(output: Any) -> bool:
    """Say whether an output is a number: the others are constants."""
    return type(output) is float or isinstance(output, Value | Term)


def numeric(outputs: Iterable[Any] | None) -> list[Any]:
    """List the outputs that are numbers."""
    return [x for x in outputs or () if is_numeric(x)]


def arranged(result: Any, numbers: Iterable[Any]) -> Any:
    """Arrange numbers as in the result of a trace; what is no number there is constant."""
    source = iter(numbers)
    return tree_map(lambda y: next(source) if is_numeric(y) else y, result)


def skeleton(tree: Any) -> Any:
    """Describe a result: its containers, which leaves are numbers, and the other ones."""
    entries = children(tree)
    if entries is None:
        return float if is_numeric(tree) else (type(tree), tree)
    shape = tree.shape if is_array(tree) else ()
    return (type(tree), shape, *((way, skeleton(item)) for way, item in entries))


def call_template(primitive: Primitive, args: Sequence[Any]) -> str:
    """Print a function call with all arguments."""
    return f"{primitive.name}({', '.join(['{}'] * len(args))})"


def or_nan(function: Callable[..., float], *args: float) -> float:
    try:
        return float(function(*map(float, args)))
    except (ArithmeticError, ValueError):
        return math.nan
