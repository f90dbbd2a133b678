"""Specialisations: the generated code for each structure of arguments, and how it learns new ways."""

import builtins
import gc
import itertools
import math
import re
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from typing import Any, NamedTuple

from autodiff import primitives as p
from autodiff.arguments import (
    _defaults,
    _describe,
    _is_literal,
    _Layout,
    _made_plain,
    _parameters,
    _signature,
    _structure,
    _with_defaults,
)
from autodiff.backprop import arrange, pull, toposort
from autodiff.codegen import Names, Printer
from autodiff.exporting import Code
from autodiff.primitives import constant
from autodiff.terms import Ask, Block, Builder, NotDeterministicError, Term, outcome_key
from autodiff.tracing import Trace, is_number, trace
from autodiff.transforms import _deriving
from autodiff.trees import builder, children, is_array, leaves, tree_map, unflatten
from autodiff.value import Value, _get_mode, _mode_with, _node, _refuse_while_tracing

__all__ = ["Specialisation"]

Owner = Any  # a `Compiled`; its module comes after this one
LARGE = 2_000  # operations: to print them all again for one more way takes about 30 milliseconds
PATIENCE, WARN_AFTER = 8, 100  # calls without code: before the second way gets some, and before a warning
CALLED = ("other", "learn", "careful", "itself")  # what the generated code calls
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


def _is_watched_or_free() -> bool:
    """Say whether f itself must run, or there are no derivatives to be added to anything: inside no_grad()."""
    mode = _get_mode()
    return mode is not None and (mode.tracer is not None or mode.anomaly or not mode.recording)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep the garbage collector from going over a graph again and again while it grows: there is no garbage in it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _calls_inside() -> int:
    """Count the calls from the caller up to the one from outside, for a warning that is about that."""
    frame, count = sys._getframe(1), 1
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] in ("autodiff", "nn", "chainrule"):
        frame, count = frame.f_back, count + 1
    return count


class _Cache:
    """The specialisations of one compiled function, by the structure of the arguments."""

    def __init__(self, owner: Owner, kind: "type[_Entry]") -> None:
        self.owner = owner
        self.kind = kind
        self.entries: dict[Any, Any] = {}
        self.first: _Entry | None = None  # calls go straight into its code
        self.found: _Entry | None = None  # what the latest call that did not fit there was for
        self.lock = threading.RLock()

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The function whose arguments a call has."""
        return self.kind.called(self.owner)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Find or make the specialisation for these arguments, and call it."""
        return self.route(None, args, kwargs)

    def route(self, sender: "_Entry | None", args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do so for a call from outside, or for one that the code of a specialisation is not made for."""
        args = self.kind.checked(args, kwargs)
        if self.kind.watched():
            return self.kind.eager(self.owner, args, kwargs)
        args, kwargs = _with_defaults(self.function, args, kwargs)
        if any(isinstance(x, Value) for _, x in leaves([args, kwargs])):
            return self.kind.eager(self.owner, args, kwargs)
        args, kwargs = _made_plain(args), _made_plain(kwargs)
        return self.find(_structure([args, kwargs]), sender, args, kwargs)

    def find(self, key: Any, sender: "_Entry | None", args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the specialisation with this key, made if need be."""
        with self.lock:
            entry: _Entry | None = self.entries.get(key)
            if entry is None:
                return self.make(key, args, kwargs)
            if entry is self.found and sender is not entry and not entry.as_it_is:
                self.first = entry  # twice in a row
                self.owner._install()
            self.found = entry
        call = entry.run_eagerly if sender is entry else entry.call  # its code did not take them, and yet they fit
        return call(*args, **kwargs)

    def make(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make a specialisation from its first call."""
        entry = self.entries[key] = self.kind(self.owner, key, args, kwargs)
        try:
            result = entry.learn(*args, **kwargs)
        except BaseException:
            del self.entries[key]
            raise
        if self.first is None:
            self.first = entry
            self.owner._install()
        return result


class _Entry:
    """The code for one structure of arguments."""

    task = ""  # what is done beside calling f
    in_loop = False
    watched = staticmethod(_is_watched)

    def __init__(self, owner: Owner, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.owner = owner
        self.key = key
        self.seconds = 0.0
        self.shape = ", ".join([_describe(x) for x in args] + [f"{k}={_describe(x)}" for k, x in kwargs.items()])
        self.name = f"{self.task}_{owner.__name__}" if self.task else owner.__name__
        self.names = Names(self.name, f"{self.name}_careful")
        self.layout = _Layout(self.names)
        self.parameters, self.passed, self.call_args = _parameters(self.cache.function, args, kwargs)
        self.source = ""
        self.call: Callable[..., Any] = self.run_eagerly
        self.careful_call: Callable[..., Any] | None = None  # printed when first needed
        self.lock = threading.RLock()
        self.files: dict[str, str] = {}  # where debuggers find the generated code
        weakref.finalize(owner, _forget, self.files)
        self.on_floats = False  # it runs on floats, not on Values
        self.as_it_is = ""  # why f runs eagerly for these arguments, if it does
        self.likes: dict[Any, Any] = {}  # what makes containers like those in the results
        self.builder = Builder(self.layout.numbers, in_loop=self.in_loop)
        self.missed = 0  # calls on ways without code since a way got some
        self.has_warned = False
        self.prepare(args, kwargs)

    def prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Write the lines that take the arguments apart."""
        self.names.declare(name.lstrip("*") for name in self.call_args)
        self.layout.wrong = self.calling("other")
        for name, tree in self.call_args.items():
            self.layout.take_apart(name.lstrip("*"), tree)
        self.layout.check_numbers()

    def calling(self, word: str) -> str:
        """Print the statement that leaves a call to somebody else."""
        return f"return {self.names.own(word)}({self.passed})"

    # ---- what differs between calling and differentiating

    @staticmethod
    def called(owner: Owner) -> Callable[..., Any]:
        """Give the function whose arguments a call has."""
        f: Callable[..., Any] = owner.function
        return f

    @staticmethod
    def checked(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Check the arguments of a call, before anything else; give the positional ones as they are used."""
        return args

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
        run = partial(self.eager, self.owner)
        return run(args, kwargs) if self.on_floats else on_values(run, args, kwargs)

    def learn(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate a call that takes a way not seen before, and add that way to the generated code."""
        plain, named = _made_plain(args), _made_plain(kwargs)
        if plain is not args or named is not kwargs:  # one of NumPy's ints, say, is no int to the code
            return self.call(*plain, **named)
        if _structure([args, kwargs]) != self.key:  # a container or a Value where there was a constant
            return self.elsewhere(*args, **kwargs)
        start = time.perf_counter()
        with self.lock:
            if self.as_it_is or self.is_full() or not self.is_worth_code():
                return self.run_eagerly(*args, **kwargs)
            record = self.trace(args, kwargs)
            if not self.add((record, self.bound(args, kwargs))):
                return self.run_eagerly(*args, **kwargs)
            self.seconds += time.perf_counter() - start
        return self.answer(record)

    def is_full(self) -> bool:
        """Say whether there is room for no more ways."""
        if self.builder.ways < self.owner.max_ways:
            return False
        self.warn(f"has {self.builder.ways} ways, as many as max_ways allows")
        return True

    def is_worth_code(self) -> bool:
        """Say whether to print code for one more way.

        All others are printed again with it. So those of a large function come at growing distances, and printing
        takes a small part of the time, whether ways come again or not.
        """
        self.missed += 1
        if self.builder.serial > LARGE and self.missed <= PATIENCE * self.builder.ways**2:
            if self.missed == WARN_AFTER:
                self.warn(f"has {self.builder.serial:,} operations in {self.builder.ways} ways and still takes others")
            return False
        self.missed = 0
        return True

    def warn(self, what: str) -> None:
        """Tell, once, that calls are slow, and what to do about it."""
        if not self.has_warned:
            self.has_warned = True
            warnings.warn(
                f"compiled {self.name} {what}: calls on new ways run uncompiled. Whole numbers among the arguments are "
                "a way for each, unless written as floats; autodiff.where, maximum and clip are none",
                RuntimeWarning,
                stacklevel=_calls_inside(),
            )

    @_without_collector()
    def add(self, *found: tuple[Trace, dict[Any, Any]]) -> bool:
        """Add ways, traces with their arguments, to the generated code; False if f has to run as it is."""
        for record, bound in found:
            tests = [
                (Ask("is", (term,)), x) for term, x in zip(self.layout.constants, self.constants(bound), strict=True)
            ]
            try:
                self.builder.add(record, tests)
            except NotDeterministicError:
                self.as_it_is = "it does not do the same at every call with these numbers"
            self.as_it_is = self.as_it_is or self.why_as_it_is(record, self.builder.captured)
            self.on_floats = not _holds_plain(record.outputs())
            if self.as_it_is:
                self.source = f"# {self.name} runs as it is: {self.as_it_is}\n"
                self.call = self.run_eagerly
                self.owner._install()
                return False
        self.generate()
        return True

    @staticmethod
    def why_as_it_is(record: Trace, captured: Iterable[Value]) -> str:
        """Say why a way cannot be code, if it cannot."""
        if not _holds_plain(record.outputs()):
            return "it returns objects that may hold numbers"
        if any(question.kind == "raised" for _, question in record.questions):
            return "it catches an error of an operation"  # only f knows what it does then
        if _is_from_outside(captured):
            return "it uses a Value that was computed outside"  # the result depends on its history too
        return ""

    @staticmethod
    def constants(bound: dict[Any, Any]) -> list[Any]:
        """List what among the arguments is a constant of a way."""
        return [x for _, x in leaves(list(bound.values())) if not is_number(x)]

    def elsewhere(self, *args: Any, **kwargs: Any) -> Any:
        """Take a call with arguments that the code is not made for: with NumPy's numbers, or of another structure."""
        plain, named = _made_plain(args), _made_plain(kwargs)
        if plain is not args or named is not kwargs:
            return self.call(*plain, **named)
        return self.cache.route(self, args, kwargs)

    @property
    def cache(self) -> _Cache:
        """Give the specialisations of which this is one."""
        cache: _Cache = self.owner._caches[self.task]
        return cache

    def bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arrange the arguments of a call by parameter."""
        return _parameters(self.cache.function, args, kwargs)[2]

    # ---- generating

    def generate(self) -> None:
        """Print and compile the function anew."""
        self.careful_call = None
        self.source = self.print(self.name, careful=False)
        self.call = self.execute(self.source, self.name)
        self.owner._install()

    def print(self, name: str, careful: bool) -> str:
        """Print the whole function."""
        places_results = self.task == "backward"
        printer = Printer(self.builder, careful, self.give, self.miss(), self.names, places_results)
        for leaf, term in self.builder.captured.items():
            term.name = term.name or self.names.fresh(str(leaf.label or "w"))
        body = self.body(printer)
        lines = [*self.header(), *self.named_first(body), *self.values_from_outside(printer), *body]
        return "\n".join([f"def {name}({self.parameters}):", *("    " + line for line in lines)]) + "\n"

    def header(self) -> list[str]:
        """Print how the arguments are taken apart."""
        return self.layout.lines

    def named_first(self, body: list[str]) -> list[str]:
        """Print what makes the variables of this body the first ones, where that pays."""
        return []

    def values_from_outside(self, printer: Printer) -> list[str]:
        """Print how the Values that f closes over are read."""
        used = [(leaf, term) for leaf, term in self.builder.captured.items() if term in printer.needed]
        if not used:
            return []
        watched = self.names.own("watched", self.watched)
        lines = ["# Values from outside", f"if {watched}():", f"    {self.layout.wrong}"]
        return lines + [f"{term.name} = {self.name_of(leaf)}._data" for leaf, term in used]

    def name_of(self, leaf: Value) -> str:
        """Name a Value from outside; the name of its term stands for its number."""
        return self.names.own(f"leaf_{self.builder.captured[leaf].name}", leaf)

    def miss(self) -> str:
        """Print what happens on a way not seen before."""
        return self.calling("learn")

    def body(self, printer: Printer) -> list[str]:
        """Print what comes after the arguments are taken apart."""
        printer.print(self.builder.root, "    ")
        return ["try:", *printer.lines, *self.rescue(printer)]

    def rescue(self, printer: Printer) -> list[str]:
        """Print what happens to an error: f itself raises it, naming the operation, or catches it."""
        names = f"({self.names.builtin('ArithmeticError')}, {self.names.builtin('ValueError')})"
        if any(term.primitive and not term.primitive.is_ours for term in printer.needed):
            names = self.names.builtin("Exception")  # what a user declared may raise anything
        return [f"except {names}:", f"    {self.calling('itself')}"]

    def execute(self, source: str, name: str) -> Callable[..., Any]:
        """Turn generated source into a function that debuggers and tracebacks can show."""
        import linecache  # here, since who compiles nothing need not wait for it

        filename = f"<chainrule {next(_serial)}: {name}>"
        called = (self.elsewhere, self.learner(), self.careful, self.run_eagerly)
        namespace = self.names.objects() | dict(zip(map(self.names.own, CALLED), called, strict=True))
        namespace["__name__"] = "chainrule"  # the module, as warnings and `help` see it
        exec(builtins.compile(source, filename, "exec"), namespace)
        linecache.cache.pop(self.files.get(name, ""), None)
        self.files[name] = filename
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        function: Callable[..., Any] = namespace[name]
        if not self.in_loop:
            function.__defaults__, function.__kwdefaults__ = _defaults(self.cache.function)
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
                raise TypeError(
                    f"{self.name} for ({self.shape}) has no code of its own to be {done}: it runs as it is, for "
                    f"{self.as_it_is}"
                )
            source = self.source
            careful = self.print(f"{self.name}_careful", careful=True) if self.calling("careful") in source else ""
            words = {word: self.names.own(word) for word in CALLED}
            words |= {"watched": self.names.own("watched", self.watched), "math": self.names.own("math", math)}
            used = set(re.findall(r"\w+", source + careful))  # and words in strings: that does no harm
            objects = {name: x for name, x in self.names.objects().items() if name in used and x is not math}
            defaults = (None, None) if self.in_loop else _defaults(self.cache.function)
        return Code(self.name, source, careful, objects, words, defaults, self.shape, self.task)

    def check(self, printer: Printer, block: Block) -> list[str]:
        """Print the check at the end of a way."""
        found = printer.suspects[block]
        return self.suspicion([printer.operand(x).text for x in found.terms], found.must_be_finite)

    def suspicion(self, names: list[str], must_be_finite: bool = False) -> list[str]:
        """Print the check of numbers that a product of 0 and infinity may have spoilt, or that prove there was none."""
        if not names:
            return []
        doubt = self.names.own("doubt")
        lines = [f"{doubt} {'+=' if i else '='} {' + '.join(names[i : i + 50])}" for i in range(0, len(names), 50)]
        is_doubtful = f"{doubt} - {doubt} != 0.0" if must_be_finite else f"{doubt} != {doubt}"
        return [
            *lines,
            f"if {is_doubtful}:  # 0 * inf somewhere? An exact 0 wins",
            f"    {self.calling('careful')}",
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
        return [
            *self.check(printer, block),
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
            array = self.names.own("array", sys.modules["numpy"].array)
            shape = f".reshape({tree.shape})" if len(tree.shape) != 1 else ""
            return f"{array}([{', '.join(parts)}]){shape}"
        ways = tuple(map(outcome_key, tree)) if isinstance(tree, dict) else len(parts)
        like = self.likes.setdefault((type(tree), ways), builder(tree))
        return f"{self.names.own(f'like_{type(tree).__name__}', like)}([{', '.join(parts)}])"


class _Backward(_Entry):
    """Calls f, and adds derivatives to the leaves that it closes over."""

    task = "backward"
    attribute, what, change = "grad", "gradient", "{leaf}.grad += {x}"  # of a leaf
    watched = staticmethod(_is_watched_or_free)

    @classmethod
    def changed(cls, owner: Owner, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, list[Any], "_Leaves"]:
        """Evaluate f itself, and say what the numbers of leaves would become."""
        value, signals, found = _with_signals(owner.function, *args, **kwargs)
        return value, [leaf.grad + x for leaf, x in zip(found.values, signals, strict=True)], found

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
        if not _is_watched_or_free():
            for leaf, signal in zip(found.values, signals, strict=True):
                leaf.grad += signal
        return value

    def give(self, printer: Printer, block: Block) -> list[str]:
        value, *numbers, found = block.outputs or [0.0, _Leaves()]
        lines = self.check(printer, block)
        result = printer.operand(value)
        # An error must leave the leaves as they were: what may raise comes before the first of them changes.
        if not result.text.isidentifier():
            lines.append(f"{self.names.own('value')} = {result.text}")
        changes: list[tuple[Any, str]] = []
        for leaf, x in zip(found.values, numbers, strict=True):
            if isinstance(x, Term) or x:
                text = printer.operand(x)
                shown = text.text
                if changes and not text.is_safe:
                    shown = printer.name_derivative()
                    lines.append(f"{shown} = {text.text}")
                changes.append((x, self.change.format(leaf=self.name_of(leaf), x=shown)))
        lines += self.placed(printer, block, changes)
        return [*lines, f"return {result.text if result.text.isidentifier() else self.names.own('value')}"]

    def placed(self, printer: Printer, block: Block, changes: list[tuple[Any, str]]) -> list[str]:
        """Put each change of a leaf where what it depends on is computed."""
        return printer.placed(block, changes)


class _Descent(_Backward):
    """Calls f, and moves the leaves that it closes over against their derivatives."""

    task = "descend"
    attribute, what, change = "_data", "data", "{leaf}._data = {x}"
    watched = staticmethod(_is_watched)

    @staticmethod
    def called(owner: Owner) -> Callable[..., Any]:
        return _after_rate(owner.function)

    @staticmethod
    def checked(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        _refuse_while_tracing("descend()", "call it after the compiled function")
        if any(isinstance(x, Value) for _, x in leaves([args[1:], kwargs])):
            raise TypeError(
                "descend() moves the Values that the function closes over, and takes numbers as arguments: write "
                "v.data for a Value v"
            )
        return constant(args[0], "the rate", "a number"), *args[1:]

    @staticmethod
    def eager(owner: Owner, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value, moved, found = _Descent.changed(owner, args, kwargs)
        result = value._data if isinstance(value, Value) else value  # which may be a leaf
        _move(found, [x._data for x in moved])
        return result

    @classmethod
    def changed(cls, owner: Owner, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, list[Any], "_Leaves"]:
        with _mode_with(recording=True):  # even inside no_grad(): the derivatives are asked for
            return _with_steps(owner.function, *args, **kwargs)

    def trace(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trace:
        return trace(partial(_with_steps, self.owner.function), args, kwargs)

    def answer(self, record: Trace) -> Any:
        value, moved, found = record.value()
        _move(found, moved)
        return value

    def placed(self, printer: Printer, block: Block, changes: list[tuple[Any, str]]) -> list[str]:
        return [line for _, line in changes]  # a leaf is not 0 where its derivative is


def as_values(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put Values in the place of floats."""
    flat = [_node(p.literal, x, (), ()) if type(x) is float else x for _, x in leaves([args, kwargs])]
    positional, named = unflatten([args, kwargs], flat)
    return tuple(positional), named


def on_values(run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call `run(args, kwargs)` on Values, as tracing does, and give the floats.

    Floats have operations that differ: a power that turns complex, and from Python 3.12 on a sum that compensates.
    """
    created: dict[Value, bool] = {}
    with _mode_with(log=created):
        result = run(*as_values(args, kwargs))
    outputs = [y for _, y in leaves(result)]
    if not _holds_plain(outputs):
        return run(args, kwargs)
    if _is_from_outside(arrange(*[y for y in outputs if isinstance(y, Value)], within=created)[0]):
        return result  # it depends on a Value computed outside, and so stays a Value
    return tree_map(lambda y: y._data if isinstance(y, Value) else y, result)


def _is_from_outside(captured: Iterable[Value]) -> bool:
    """Say whether one of the Values that an evaluation did not make was computed itself."""
    return any(x._primitive is not None for x in captured)


def _holds_plain(outputs: Iterable[Any]) -> bool:
    """Say whether a result is made of Values and constants; in other objects, numbers are hidden from the trace."""
    return all(isinstance(y, (Value, int, float, str, type(None), _Leaves)) for y in outputs)


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


def _with_steps(f: Callable[..., Any], rate: Any, *args: Any, **kwargs: Any) -> tuple[Any, list[Any], _Leaves]:
    """Evaluate f, and say where a step against its derivatives takes the leaves that it closes over."""
    value, signals, found = _with_signals(f, *args, **kwargs)
    with _mode_with(deriving=True):
        return value, [leaf - rate * signal for leaf, signal in zip(found.values, signals, strict=True)], found


def _move(found: _Leaves, numbers: list[float]) -> None:
    for leaf, x in zip(found.values, numbers, strict=True):
        leaf._data = x


def _after_rate(f: Callable[..., Any]) -> Callable[..., Any]:
    """Give f one parameter more, before all others."""
    from inspect import Parameter  # here, since few need it

    def after_rate(rate: float, /, *args: Any, **kwargs: Any) -> Any:
        return f(*args, **kwargs)

    with suppress(TypeError, ValueError):  # a built-in function without a signature
        signature, name = _signature(f), "rate"
        while name in signature.parameters:
            name += "_"
        rate = Parameter(name, Parameter.POSITIONAL_ONLY)
        after_rate.__signature__ = signature.replace(parameters=[rate, *signature.parameters.values()])  # type: ignore[attr-defined]
    return after_rate


def _forget(files: dict[str, str]) -> None:
    import linecache

    for filename in files.values():
        linecache.cache.pop(filename, None)
