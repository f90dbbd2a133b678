"""The arguments of a compiled function: their structure, and taking them apart in the generated code."""

import re
from collections.abc import Callable
from functools import partial
from operator import is_
from typing import TYPE_CHECKING, Any

from autodiff.codegen import RESERVED, Names, identifier, literal
from autodiff.terms import Term
from autodiff.tracing import is_number
from autodiff.trees import children, is_array, leaves, tree_map
from autodiff.value import Value

if TYPE_CHECKING:
    from inspect import BoundArguments, Signature

__all__: list[str] = []

CHECKS_PER_LINE = 5
LONG = 150  # numbers of a list, all of which are faster checked by one call than each by itself


class _Layout:
    """How the generated code takes its arguments apart: its parameters, the lines that do it, and the inputs."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.lines: list[str] = []
        self.numbers: list[Term] = []
        self.constants: list[Term] = []
        self.checked: set[Term] = set()  # numbers that a check of their list has shown to be floats
        self.wrong = ""  # the statement for arguments of another structure

    def take_apart(self, name: str, tree: Any, rows: bool = False) -> None:
        """Write the lines for one argument. `rows` says that arrays have been turned into lists before."""
        entries = children(tree)
        if entries is None:
            term = Term(None, (), -1, False)
            term.name = name
            (self.numbers if is_number(tree) else self.constants).append(term)
            return
        glue = "_" if name[-1].isdigit() else ""
        parts = [
            self.names.fresh(f"{name}{glue}{way[1:-1] if way[1:-1].isdigit() else '_' + way}") for way, _ in entries
        ]
        wrong_type = f"{self.names.builtin('type')}({name}) is not {self.names.own(type(tree).__name__, type(tree))}"
        if is_array(tree):
            self._check(f"{wrong_type} or {name}.shape != {tree.shape}" if not rows else "False")
            source = f"{name}.ravel().tolist()" if len(tree.shape) != 1 else f"{name}.tolist()"
            self._unpack(parts, name if rows and len(tree.shape) == 1 else source)
        elif isinstance(tree, dict):
            keys = list(tree)
            shown = repr(keys) if all(map(_is_literal, keys)) else self.names.own(f"keys_of_{name}", keys)
            self._check(f"{wrong_type} or {self.names.builtin('list')}({name}) != {shown}")
            self._unpack(parts, f"{name}.values()")
        elif isinstance(tree, list | tuple):
            self._check(f"{wrong_type} or {self._wrong_length(name, tree)}")
            self._unpack(parts, name)
        else:
            self._check(wrong_type)
            self.lines += [f"{part} = {name}{way}" for part, (way, _) in zip(parts, entries, strict=True)]
        first = len(self.numbers)
        for part, (_, item) in zip(parts, entries, strict=True):
            self.take_apart(part, item if type(item) is not float or not is_array(tree) else float(item))
        if _is_long(tree):
            self.checked.update(self.numbers[first:])

    def _wrong_length(self, name: str, tree: Any) -> str:
        """Print the test for another length; for many numbers, also for anything that is no float."""
        if not _is_long(tree):
            return f"{self.names.builtin('len')}({name}) != {len(tree)}"
        asked, wanted, made, each = map(self.names.builtin, ("type", "float", "list", "map"))
        return f"{made}({each}({asked}, {name})) != [{wanted}] * {len(tree)}"

    def _check(self, condition: str) -> None:
        if condition != "False":
            self.lines += [f"if {condition}:", f"    {self.wrong}"]

    def _unpack(self, parts: list[str], source: str) -> None:
        if parts:
            self.lines.append(f"{', '.join(parts)}{',' if len(parts) == 1 else ''} = {source}")

    def check_numbers(self) -> None:
        """Write the check that all numbers are floats."""
        asked, wanted = self.names.builtin("type"), self.names.builtin("float")
        checks = [f"{asked}({term.name}) is not {wanted}" for term in self.numbers if term not in self.checked]
        for i in range(0, len(checks), CHECKS_PER_LINE):
            self._check(" or ".join(checks[i : i + CHECKS_PER_LINE]))


def _is_long(tree: Any) -> bool:
    """Say whether an argument is a list of so many floats that one check of all pays."""
    return isinstance(tree, list | tuple) and len(tree) >= LONG and set(map(type, tree)) == {float}


def readable_name(f: Callable[..., Any]) -> str:
    """Name the generated function after the one it stands for, if that name hides nothing.

    >>> def lambda_max(x): return x
    >>> readable_name(lambda_max), readable_name(lambda x: x), readable_name(len)
    ('lambda_max', 'function', 'function')
    """
    name = re.sub(r"\W", "", str(getattr(f, "__name__", "")))
    if not name.isascii():
        name = identifier(name)
    return name if name.isidentifier() and name not in RESERVED else "function"


def _signature(f: Callable[..., Any]) -> "Signature":
    """Give the signature of f: its own, and behind *args that of the function it wraps."""
    import inspect  # here, since who compiles nothing need not wait for it

    inner = f
    while isinstance(inner, partial):
        inner = inner.func
    if inspect.ismethod(inner):
        inner = inner.__func__
    if inspect.isfunction(inner) and hasattr(inner, "__wrapped__"):
        if not inner.__code__.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
            return inspect.signature(f, follow_wrapped=False)
        if inner is f and not hasattr(f, "__signature__"):
            return _signature(inner.__wrapped__)
    if type(inner).__name__ == "ufunc":
        raise ValueError("NumPy's functions have options that exclude each other: all by default is none that fits")
    return inspect.signature(f)


def _bind(signature: "Signature", args: tuple[Any, ...], kwargs: dict[str, Any]) -> "BoundArguments":
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        if next(iter(signature.parameters), "") != "self":
            raise
        raise TypeError(f"{error}: compile a method of an object, compile(thing.method), not of a class") from None


def _parameters(
    f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, str, dict[str, Any]]:
    """Give the parameters as they are declared and as they are passed on, and the arguments by parameter."""
    try:
        signature = _signature(f)
    except (TypeError, ValueError):
        from inspect import Parameter, Signature

        signature = Signature([Parameter("args", Parameter.VAR_POSITIONAL)])
    bound = _bind(signature, args, kwargs)
    bound.apply_defaults()
    declared, passed, values = [], [], {}
    positional_only = False
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            if bound.arguments.get(name):
                raise TypeError(f"a compiled function takes no **{name}: give its keyword arguments names")
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            declared.append(f"*{name}")
            passed.append(f"*{name}")
        elif parameter.kind is parameter.KEYWORD_ONLY:
            if not any(d.startswith("*") for d in declared):
                declared.append("*")
            declared.append(name)
            passed.append(f"{name}={name}")
        else:
            if parameter.kind is not parameter.POSITIONAL_ONLY and positional_only and "/" not in declared:
                declared.append("/")
            positional_only = parameter.kind is parameter.POSITIONAL_ONLY
            declared.append(name)
            passed.append(name)
        values[name] = bound.arguments[name]
    return ", ".join(declared), ", ".join(passed), values


def _with_defaults(
    f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Complete the arguments of a call."""
    try:
        bound = _bind(_signature(f), args, kwargs)
    except ValueError:  # a built-in function without a signature
        return args, kwargs
    bound.apply_defaults()
    return bound.args, bound.kwargs


def _defaults(f: Callable[..., Any]) -> tuple[Any, Any]:
    """Give the generated function the defaults of the function it stands for."""
    try:
        parameters = _signature(f).parameters.values()
    except (TypeError, ValueError):
        return None, None
    given = [q for q in parameters if q.default is not q.empty]
    positional = tuple(q.default for q in given if q.kind is not q.KEYWORD_ONLY)
    return positional or None, {q.name: q.default for q in given if q.kind is q.KEYWORD_ONLY} or None


def _plain(x: Any) -> Any:
    """Turn what counts as a float into a float: NumPy's numbers among the arguments."""
    if isinstance(x, float):
        return float(x)
    if type(x).__module__ == "numpy" and getattr(x, "shape", None) == ():
        number = x.item()
        return float(number) if type(number) is type(x) else number  # a long double's item is a long double
    return x


def _made_plain(tree: Any) -> Any:
    """Turn the numbers among arguments into plain ones; the same object is given back where all are.

    Quick for lists, tuples and dicts, since SciPy hands out NumPy's floats at every turn.
    """
    kind = type(tree)
    if kind is float or kind is int:
        return tree
    if isinstance(tree, float):
        return float(tree)
    if kind is list or kind is tuple:
        items = [x if type(x) is float else _made_plain(x) for x in tree]
        return tree if all(map(is_, items, tree)) else kind(items)
    if kind is dict:
        items = [_made_plain(x) for x in tree.values()]
        return tree if all(map(is_, items, tree.values())) else dict(zip(tree, items, strict=True))
    if children(tree) is None:
        return _plain(tree)
    return tree if all(type(x) is type(_plain(x)) for _, x in leaves(tree)) else tree_map(_plain, tree)


def _structure(tree: Any) -> Any:
    """Describe the containers of an argument, and which of its leaves are floats and which Values."""
    entries = children(tree)
    if entries is None:
        return float if type(tree) is float else Value if isinstance(tree, Value) else "constant"
    shape = tree.shape if is_array(tree) else ()
    return (type(tree), shape, *((way, _structure(item)) for way, item in entries))


def _shape(tree: Any) -> Any:
    """Describe the containers of a result."""
    entries = children(tree)
    return None if entries is None else (type(tree), *((way, _shape(item)) for way, item in entries))


def _describe(x: Any) -> str:
    entries = children(x)
    if entries is None:
        return "float" if type(x) is float else literal(x)[:20]
    return f"{type(x).__name__} of {len(entries)}"


def _is_literal(x: Any) -> bool:
    """Say whether the repr of x is Python for x."""
    return all(map(_is_literal, x)) if type(x) is tuple else type(x) in (str, int, bool, bytes, type(None))
