"""Specialisations: the generated code for each structure of arguments, and how it learns new ways."""

import builtins
import itertools
import linecache
import math
import re
import sys
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from autodiff import primitives as p
from autodiff.arguments import (
    _defaults,
    _describe,
    _is_literal,
    _Layout,
    _Names,
    _parameters,
    _plain,
    _structure,
    _with_defaults,
)
from autodiff.backprop import pull, toposort
from autodiff.codegen import WORDS, Printer
from autodiff.exporting import Code
from autodiff.primitives import constant
from autodiff.terms import Ask, Block, Builder, NotDeterministicError, Term
from autodiff.tracing import Trace, is_number, trace
from autodiff.transforms import _deriving
from autodiff.trees import children, is_array, leaves, rebuild, tree_map, unflatten
from autodiff.value import Value, _get_mode, _mode_with, _node

__all__ = ["Specialisation"]

Owner = Any  # a `Compiled`; its module comes after this one
_serial = itertools.count(1)


class Specialisation(NamedTuple):
    """What one structure of arguments compiled to: ways through the function, operations, and seconds spent."""

    arguments: str
    ways: int
    nodes: int
    seconds: float


def _is_watched() -> bool:
    """Say whether f itself must run: it is being traced, or looked through for anomalies."""
    mode = _get_mode()
    return mode is not None and (mode.tracer is not None or mode.anomaly)


class _Cache:
    """The specialisations of one compiled function, by the structure of the arguments."""

    def __init__(self, owner: Owner, kind: "type[_Entry]") -> None:
        self.owner = owner
        self.kind = kind
        self.entries: dict[Any, Any] = {}
        self.first: _Entry | None = None
        self.lock = threading.RLock()

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Find or make the specialisation for these arguments, and call it."""
        if _is_watched() or any(isinstance(x, Value) for _, x in leaves([args, kwargs])):
            return self.kind.eager(self.owner, args, kwargs)
        args, kwargs = _with_defaults(self.owner.function, args, kwargs)
        args, kwargs = tree_map(_plain, args), tree_map(_plain, kwargs)
        return self.find(_structure([args, kwargs]), args, kwargs)

    def find(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the specialisation with this key, made if need be."""
        with self.lock:
            entry = self.entries.get(key)
            if entry is None:
                entry = self.kind(self.owner, args, kwargs)
                self.entries[key] = entry
                entry.found = True
                try:
                    result = entry.learn(*args, **kwargs)
                except BaseException:
                    del self.entries[key]
                    raise
                finally:
                    entry.found = False
                if self.first is None:
                    self.first = entry
                    self.owner._install()
                return result
        if entry.found:  # and yet its code sent the call here
            return entry.run_eagerly(*args, **kwargs)
        entry.found = True
        try:
            return entry.call(*args, **kwargs)
        finally:
            entry.found = False


class _Entry:
    """The code for one structure of arguments."""

    title = ""
    in_loop = False

    def __init__(self, owner: Owner, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.owner = owner
        self.key = _structure([list(args), kwargs])
        self.seconds = 0.0
        self.shape = ", ".join([_describe(x) for x in args] + [f"{k}={_describe(x)}" for k, x in kwargs.items()])
        self.objects: dict[str, Any] = {}
        self.names = _Names()
        self.layout = _Layout(self.names, self.objects)
        self.parameters, self.passed, self.call_args = _parameters(owner.function, args, kwargs)
        self.name = self.title + owner.__name__
        self.source = f"# {owner.__name__} runs as it is\n"
        self.call: Callable[..., Any] = self.run_eagerly
        self.careful_call: Callable[..., Any] | None = None  # printed when first needed
        self.lock = threading.RLock()
        self.files: dict[str, str] = {}  # where debuggers find the generated code
        weakref.finalize(owner, _forget, self.files)
        self.on_floats = False  # it runs on floats, not on Values
        self.found = False  # the cache is calling it
        # f cannot be compiled for these arguments: it runs eagerly
        # (or a parameter hides a word of the generated code)
        self.as_it_is = not WORDS.isdisjoint(name.lstrip("*") for name in self.call_args)
        self.builder = Builder(self.layout.numbers, in_loop=self.in_loop)
        self.prepare(args, kwargs)

    def prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Write the lines that take the arguments apart."""
        self.layout.wrong = f"return other({self.passed})"
        self.names.used.update(name.lstrip("*") for name in self.call_args)
        for name, tree in self.call_args.items():
            self.layout.take_apart(name.lstrip("*"), tree)
        self.layout.check_numbers()

    # ---- what differs between calling and differentiating

    @staticmethod
    def eager(owner: Owner, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do what the generated code does, without it."""
        raise NotImplementedError

    def trace(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trace:
        """Evaluate what is to be compiled, on Values."""
        raise NotImplementedError

    def give(self, printer: Printer, block: Block) -> list[str]:
        """Print the end of a way."""
        raise NotImplementedError

    def answer(self, record: Trace) -> Any:
        """Give the result of a call from the trace of it."""
        raise NotImplementedError

    # ---- learning

    def learner(self) -> Callable[..., Any]:
        """Give what the generated code calls on a way not seen before."""
        return self.learn

    def run_eagerly(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the generated code does, without it."""
        if self.on_floats:
            return self.eager(self.owner, args, kwargs)
        # On Values, since floats have one operation that differs: a power that turns complex.
        flat = [_node(p.literal, x, (), ()) if type(x) is float else x for _, x in leaves([args, kwargs])]
        args, kwargs = unflatten([args, kwargs], flat)
        result = self.eager(self.owner, tuple(args), kwargs)
        if any(leaf._primitive is not None for leaf in self.builder.captured):
            return result  # it depends on a Value computed outside, and so stays a Value
        return tree_map(lambda y: y._data if isinstance(y, Value) else y, result)

    def learn(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate a call that takes a way not seen before, and add that way to the generated code."""
        if _structure([list(args), kwargs]) != self.key:  # a container where there was a constant
            return self.cache.call(*args, **kwargs)
        start = time.perf_counter()
        with self.lock:
            if self.as_it_is or self.builder.ways >= self.owner.max_ways:
                return self.run_eagerly(*args, **kwargs)
            record = self.trace(args, kwargs)
            if not self.add(record, self.bound(args, kwargs)):
                return self.run_eagerly(*args, **kwargs)
            self.seconds += time.perf_counter() - start
        return self.answer(record)

    def add(self, record: Trace, bound: dict[str, Any]) -> bool:
        """Add a way to the generated code; False if f has to run as it is."""
        constants = [x for _, x in leaves(list(bound.values())) if not is_number(x)]
        tests = [(Ask("is", (term,)), x) for term, x in zip(self.layout.constants, constants, strict=True)]
        try:
            self.builder.add(record, tests)
        except NotDeterministicError:
            self.as_it_is = True
        if any(leaf._primitive is not None for leaf in self.builder.captured):
            self.as_it_is = True  # a Value computed outside: the result depends on its history too
        if any(question.kind == "raised" for _, question in record.questions):
            self.as_it_is = True  # f caught an error of an operation: only f knows what it does then
        known = (Value, int, float, str, type(None), _Leaves)
        if not all(isinstance(y, known) for y in record.outputs()):
            self.as_it_is = self.on_floats = True  # what the result holds is hidden from the trace
        if self.as_it_is:
            self.call = self.run_eagerly
            self.owner._install()
            return False
        self.generate()
        return True

    def other(self) -> Callable[..., Any]:
        """Give what the generated code calls with arguments of another structure."""
        return self.cache.call

    @property
    def cache(self) -> _Cache:
        """Give the specialisations of which this is one."""
        cache: _Cache = self.owner._backward if self.title else self.owner._forward
        return cache

    def bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arrange the arguments of a call by parameter."""
        return _parameters(self.owner.function, args, kwargs)[2]

    # ---- generating

    def generate(self) -> None:
        """Print and compile the function anew."""
        self.careful_call = None
        self.source = self.print(self.name, careful=False)
        self.call = self.execute(self.source, self.name)
        self.owner._install()

    def print(self, name: str, careful: bool) -> str:
        """Print the whole function."""
        printer = Printer(self.builder, careful, self.give, self.miss(), set(self.call_args))
        printer.names.update(self.objects)
        for leaf, term in self.builder.captured.items():
            if not term.name:
                term.name = self.names.fresh(leaf.label or "w")
                self.objects[f"leaf_{term.name}"] = leaf
        lines = [f"def {name}({self.parameters}):", *("    " + line for line in self.layout.lines)]
        used = [t for t in self.builder.captured.values() if t in printer.needed]
        if used:
            printer.names["watched"] = _is_watched
            lines += ["    # Values from outside", "    if watched():", f"        {self.layout.wrong}"]
            lines += [f"    {t.name} = leaf_{t.name}._data" for t in used]
        printer.names.update(self.objects)
        self.body(printer, lines)
        self.objects.update(printer.names)
        return "\n".join(lines) + "\n"

    def miss(self) -> str:
        """Print what happens on a way not seen before."""
        return f"return learn({self.passed})"

    def body(self, printer: Printer, lines: list[str]) -> None:
        """Print what comes after the arguments are taken apart."""
        printer.print(self.builder.root, "        ")
        lines += ["    try:", *printer.lines, *self.rescue()]

    def rescue(self) -> list[str]:
        """Print what happens to an error: f itself raises it, naming the operation, or catches it."""
        return ["    except (ArithmeticError, ValueError):", f"        return itself({self.passed})"]

    def execute(self, source: str, name: str) -> Callable[..., Any]:
        """Turn generated source into a function that debuggers and tracebacks can show."""
        filename = f"<chainrule {next(_serial)}: {name}>"
        namespace = {
            **self.objects,
            "other": self.other(),
            "learn": self.learner(),
            "careful": self.careful,
            "itself": self.run_eagerly,
        }
        exec(builtins.compile(source, filename, "exec"), namespace)
        linecache.cache.pop(self.files.get(name, ""), None)
        self.files[name] = filename
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        function: Callable[..., Any] = namespace[name]
        function.__module__ = "chainrule"
        if not self.in_loop:
            function.__defaults__, function.__kwdefaults__ = _defaults(self.owner.function)
        return function

    def careful(self, *args: Any, **kwargs: Any) -> Any:
        """Compute again what came out as nan, with an exact 0 winning over infinity and nan."""
        with self.lock:
            if self.careful_call is None:
                source = self.print(f"{self.name}_careful", careful=True)
                self.careful_call = self.execute(source, f"{self.name}_careful")
            call = self.careful_call
        return call(*args, **kwargs)

    def export(self, done: str) -> Code:
        """Give the generated code and what it needs, without the function it came from."""
        with self.lock:
            if self.as_it_is:
                raise TypeError(f"{self.name} for ({self.shape}) runs as it is, without code of its own to be {done}")
            source = self.source
            careful = self.print(f"{self.name}_careful", careful=True) if "return careful(" in source else ""
            used = set(re.findall(r"\w+", source + careful))  # and words in strings: that does no harm
            objects = {name: x for name, x in self.objects.items() if name in used and x is not math}
            defaults = (None, None) if self.in_loop else _defaults(self.owner.function)
        return Code(self.name, source, careful, objects, defaults, self.shape, bool(self.title))

    def suspicion(self, printer: Printer, names: list[str]) -> list[str]:
        """Print the check of results that a product of 0 and infinity may have spoilt."""
        if not names:
            return []
        lines = [f"doubt {'+=' if i else '='} {' + '.join(names[i : i + 50])}" for i in range(0, len(names), 50)]
        return [
            *lines,
            "if doubt != doubt:  # 0 * inf somewhere? An exact 0 wins",
            f"    return careful({self.passed})",
        ]

    def report(self) -> Specialisation:
        """Say what was compiled."""
        return Specialisation(self.shape, self.builder.ways, self.builder.serial, self.seconds)


class _Forward(_Entry):
    """Calls f."""

    @staticmethod
    def eager(owner: Owner, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return owner.function(*args, **kwargs)

    def trace(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trace:
        return trace(self.owner.function, args, kwargs)

    def answer(self, record: Trace) -> Any:
        return record.value()

    def give(self, printer: Printer, block: Block) -> list[str]:
        doubts = [printer.operand(x).text for x in printer.suspects[block]]
        return [
            *self.suspicion(printer, doubts),
            f"return {self.show(printer, block.result, iter(block.outputs or ()))}",
        ]

    def show(self, printer: Printer, tree: Any, outputs: Any) -> str:
        """Print the result."""
        entries = children(tree)
        if entries is None:
            x = next(outputs)
            return printer.operand(x).text if isinstance(x, Term) else printer.constant(x)
        parts = [self.show(printer, item, outputs) for _, item in entries]
        if type(tree) is list:
            return f"[{', '.join(parts)}]"
        if type(tree) is tuple:
            return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
        if type(tree) is dict:
            keys = [repr(key) if _is_literal(key) else printer.constant(key) for key in tree]
            return "{" + ", ".join(f"{key}: {part}" for key, part in zip(keys, parts, strict=True)) + "}"
        if is_array(tree):
            printer.names["array"] = sys.modules["numpy"].array
            shape = f".reshape({tree.shape})" if len(tree.shape) != 1 else ""
            return f"array([{', '.join(parts)}]){shape}"
        name = f"like_{type(tree).__name__}"
        printer.names[name] = partial(rebuild, tree_map(lambda _: None, tree))
        return f"{name}([{', '.join(parts)}])"


class _Backward(_Entry):
    """Calls f, and adds derivatives to the leaves that it closes over."""

    title = "backward_"

    @staticmethod
    def eager(owner: Owner, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = owner.function(*args, **kwargs)
        if isinstance(result, Value):
            result.backward()
            return result._data
        return constant(result, "the result of the function")

    def trace(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trace:
        return trace(partial(_with_signals, self.owner.function), args, kwargs)

    def answer(self, record: Trace) -> Any:
        value, signals, found = record.value()
        for leaf, signal in zip(found.values, signals, strict=True):
            leaf.grad += signal
        return value

    def give(self, printer: Printer, block: Block) -> list[str]:
        value, *signals, found = block.outputs or [0.0, _Leaves()]
        doubts = [printer.operand(x).text for x in printer.suspects[block]]
        lines = self.suspicion(printer, doubts)
        result = printer.operand(value)
        if not result.text.isidentifier():  # compute it first: an error must leave the gradients as they were
            lines.append(f"value = {result.text}")
        for leaf, signal in zip(found.values, signals, strict=True):
            if isinstance(signal, Term) or signal:
                lines.append(f"leaf_{self.builder.captured[leaf].name}.grad += {printer.operand(signal).text}")
        return [*lines, f"return {result.text if result.text.isidentifier() else 'value'}"]


class _Leaves:
    """The Values from outside that a result depends on: one constant in a trace's result."""

    def __init__(self, values: tuple[Value, ...] = ()) -> None:
        self.values = values


def _with_signals(f: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, list[Any], _Leaves]:
    """Evaluate f, and carry error signals back to the leaves that it closes over."""
    created: dict[Value, bool] = {}
    with _mode_with(log=created):
        output = f(*args, **kwargs)
    if not isinstance(output, Value):
        return constant(output, "the result of the function"), [], _Leaves()
    order = toposort(output)
    found = tuple(node for node in order if node._primitive is None and node not in created)
    with _deriving(order):
        signals = pull(order, {output: 1.0}, list(found))
    return output, [signals.get(leaf, 0.0) for leaf in found], _Leaves(found)


def _forget(files: dict[str, str]) -> None:
    for filename in files.values():
        linecache.cache.pop(filename, None)
