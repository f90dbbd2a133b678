"""`compile`: the cache of specialisations, the calling convention, export and pickling."""

import builtins
import inspect
import itertools
import keyword
import linecache
import math
import re
import sys
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from autodiff import primitives as p
from autodiff import special
from autodiff.backprop import pull, toposort
from autodiff.codegen import WORDS, Printer, bare, same
from autodiff.primitives import constant
from autodiff.terms import Ask, Block, Builder, NotDeterministicError, Term
from autodiff.tracing import Trace, is_number, trace
from autodiff.transforms import _deriving
from autodiff.trees import children, is_array, leaves, rebuild, tree_map, unflatten
from autodiff.value import Value, _get_mode, _mode_with, _node

__all__ = ["Compiled", "Specialisation", "compile"]

RESERVED = frozenset(
    {
        *keyword.kwlist,
        *dir(builtins),
        *dir(math),
        *dir(special),
        "same",
        "other",
        "learn",
        "careful",
        "itself",
        "watched",
        "doubt",
        "value",
        "total",
    }
)
CHECKS_PER_LINE = 5
_serial = itertools.count(1)


@dataclass(frozen=True)
class Specialisation:
    """What one structure of arguments compiled to: ways through the function, operations, and seconds spent."""

    arguments: str
    ways: int
    nodes: int
    seconds: float


def compile(f: Callable[..., Any], *, verify: bool = False, max_ways: int = 64) -> "Compiled":
    """Turn f into straight-line Python that gives the same floats, bit for bit, and raises the same exceptions.

    f is any function of floats (and containers of floats) made of arithmetic and autodiff's functions, or any
    transform of one. The first call with arguments of a new structure evaluates f once on Values and prints what
    happened as Python; a call that takes another way through f's branches adds that way. After `max_ways` ways,
    further ones run f itself: slower, never wrong. Values that f closes over are read at each call. Anything else
    that f closes over is a constant; `verify=True` also runs f at each call, and raises if the results differ.

    >>> from autodiff import value_and_grad
    >>> fast = compile(value_and_grad(lambda x, y: x * y if x > 0.0 else -y))
    >>> fast(2.0, 5.0), fast(-2.0, 5.0)
    ((10.0, 5.0), (-5.0, 0.0))
    """
    if not callable(f):
        raise TypeError(
            f"compile() takes a function, not {type(f).__name__}: write compile(f), and then call the result"
        )
    # Each compiled function is a class of its own: its generated code is `__call__`, with nothing in between.
    made: Compiled = type("Compiled", (Compiled,), {"__doc__": Compiled.__doc__})(f, verify, max_ways)
    return made


class Compiled:
    """A compiled function; `compile` makes them.

    >>> fast = compile(lambda x: x * x + 1.0)
    >>> fast(3.0)
    10.0
    >>> print(fast.source)
    def function(x):
        if type(x) is not float:
            return other(x)
        try:
            return x * x + 1.0
        except (ArithmeticError, ValueError):
            return itself(x)
    <BLANKLINE>
    """

    def __init__(self, f: Callable[..., Any], verify: bool, max_ways: int) -> None:
        self.function = f
        self.verify = verify
        self.max_ways = max_ways
        self.__name__ = re.sub(r"\W", "", getattr(f, "__name__", "")) or "function"
        if not self.__name__.isidentifier() or self.__name__ in RESERVED or self.__name__ == "lambda":
            self.__name__ = "function"
        self._forward, self._backward = _Cache(self, _Forward), _Cache(self, _Backward)
        if getattr(f, "batch", (0,))[-1] == id(
            f
        ):  # made by batch_mean or batch_sum: the loop over examples becomes part of the code
            self._forward, self._backward = _LoopCache(self, _ForwardLoop), _LoopCache(self, _BackwardLoop)
        self._install()

    def _install(self) -> None:
        """Let a call go straight into the generated code of the first specialisation."""
        entry = self._forward.first
        call = self._forward.call if entry is None or self.verify else entry.call
        type(self).__call__ = staticmethod(self._verified if self.verify else call)  # type: ignore[method-assign]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the compiled function."""
        raise NotImplementedError  # replaced by the generated code

    def backward(self, *args: Any, **kwargs: Any) -> float:
        """Return the value, and add the derivative by each Value that f closes over to its `grad`.

        >>> w = Value(3.0)
        >>> fast = compile(lambda x: w * w * x)
        >>> fast.backward(2.0), w.grad
        (18.0, 12.0)
        """
        entry = self._backward.first
        value: float = (self._backward.call if entry is None else entry.call)(*args, **kwargs)
        return value

    @property
    def source(self) -> str:
        """The generated Python, one function for each structure of arguments seen so far."""
        return "\n\n".join(
            entry.source for cache in (self._forward, self._backward) for entry in cache.entries.values()
        )

    @property
    def specialisations(self) -> tuple[Specialisation, ...]:
        """What was compiled so far."""
        caches = (self._forward, self._backward)
        return tuple(entry.report() for cache in caches for entry in cache.entries.values())

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """The generated function, for `inspect.getsource` and `inspect.signature`."""
        entry = self._forward.first or self._backward.first
        return self.function if entry is None else entry.call

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(compile, verify=self.verify, max_ways=self.max_ways), (self.function,)

    def __repr__(self) -> str:
        return f"<compiled {self.__name__}: {sum(s.ways for s in self.specialisations)} ways>"

    def _verified(self, *args: Any, **kwargs: Any) -> Any:
        """Run both the compiled code and f, and compare."""
        found = (self._forward.call if self._forward.first is None else self._forward.first.call)(*args, **kwargs)
        expected = self.function(*args, **kwargs)
        if _shape(found) != _shape(expected):
            raise RuntimeError(
                f"compiled {self.__name__} gave {found!r:.60}, and the function itself {expected!r:.60}: it depends on "
                "something that has changed since it was compiled; pass it as an argument"
            )
        for (way, x), (_, y) in zip(leaves(found), leaves(expected), strict=True):
            x, y = (v._data if isinstance(v, Value) else v for v in (x, y))
            if not (same(x, y) if isinstance(x, float) and isinstance(y, float) else x == y):
                raise RuntimeError(
                    f"compiled {self.__name__} gave {x!r} at result{way}, and the function itself {y!r}: it depends on "
                    "something that is neither an argument nor a Value and has changed since it was compiled; pass it "
                    "as an argument"
                )
        return found


class _Cache:
    """The specialisations of one compiled function, by the structure of the arguments."""

    def __init__(self, owner: Compiled, kind: "type[_Entry]") -> None:
        self.owner = owner
        self.kind = kind
        self.entries: dict[Any, _Entry] = {}
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


class _LoopCache(_Cache):
    """The specialisations of a function of sequences of examples, by the structure of one example."""

    def call(self, *args: Any, **kwargs: Any) -> Any:
        if _is_watched() or kwargs or not args or len({len(column) for column in args}) != 1 or not len(args[0]):
            return self.kind.eager(self.owner, args, kwargs)
        args = tree_map(_plain, args)
        keys = {_structure(list(example)) for example in zip(*args, strict=True)}
        if any(isinstance(x, Value) for _, x in leaves(args)):
            return self.kind.eager(self.owner, args, kwargs)
        if len(keys) != 1:  # examples of several structures
            return tree_map(lambda y: y._data if isinstance(y, Value) else y, self.kind.eager(self.owner, args, kwargs))
        return self.find((*[type(column) for column in args], *keys), args, {})


def _is_watched() -> bool:
    """Say whether f itself must run: it is being traced, or looked through for anomalies."""
    mode = _get_mode()
    return mode is not None and (mode.tracer is not None or mode.anomaly)


def _plain(x: Any) -> Any:
    """Turn what counts as a float into a float: NumPy's numbers among the arguments."""
    if isinstance(x, float):
        return float(x)
    if type(x).__module__ == "numpy" and getattr(x, "shape", None) == ():
        return _plain(x.item())
    return x


def _shape(tree: Any) -> Any:
    """Describe the containers of a result."""
    entries = children(tree)
    return None if entries is None else (type(tree), *((way, _shape(item)) for way, item in entries))


def _structure(tree: Any) -> Any:
    """Describe the containers of an argument, and which of its leaves are floats."""
    entries = children(tree)
    if entries is None:
        return float if type(tree) is float else "constant"
    shape = tree.shape if is_array(tree) else ()
    return (type(tree), shape, *((way, _structure(item)) for way, item in entries))


class _Names:
    """Gives each input and captured Value a name of its own in the generated code."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def fresh(self, wish: str) -> str:
        name = re.sub(r"\W+", "_", wish).strip("_") or "x"
        if name[0].isdigit() or name in RESERVED or re.fullmatch(r"[vdg]\d+", name):
            name = f"{name}_" if not name[0].isdigit() else f"_{name}"
        candidate, number = name, 1
        while candidate in self.used:
            number += 1
            candidate = f"{name}_{number}"
        self.used.add(candidate)
        return candidate


class _Layout:
    """How the generated code takes its arguments apart: its parameters, the lines that do it, and the inputs."""

    def __init__(self, names: _Names, objects: dict[str, Any]) -> None:
        self.names = names
        self.objects = objects
        self.lines: list[str] = []
        self.numbers: list[Term] = []
        self.constants: list[Term] = []
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
        kind = type(tree).__name__
        if kind not in dir(builtins):
            kind = self._bind(kind, type(tree))
        if is_array(tree):
            self._check(f"type({name}) is not {kind} or {name}.shape != {tree.shape}" if not rows else "False")
            source = f"{name}.ravel().tolist()" if len(tree.shape) != 1 else f"{name}.tolist()"
            self._unpack(parts, name if rows and len(tree.shape) == 1 else source)
        elif isinstance(tree, dict):
            self._check(f"type({name}) is not {kind} or list({name}) != {list(tree)!r}")
            self._unpack(parts, f"{name}.values()")
        elif isinstance(tree, list | tuple):
            self._check(f"type({name}) is not {kind} or len({name}) != {len(tree)}")
            self._unpack(parts, name)
        else:
            self._check(f"type({name}) is not {kind}")
            self.lines += [f"{part} = {name}{way}" for part, (way, _) in zip(parts, entries, strict=True)]
        for part, (_, item) in zip(parts, entries, strict=True):
            self.take_apart(part, item if type(item) is not float or not is_array(tree) else float(item))

    def _bind(self, name: str, x: Any) -> str:
        self.objects[name] = x
        return name

    def _check(self, condition: str) -> None:
        if condition != "False":
            self.lines += [f"if {condition}:", f"    {self.wrong}"]

    def _unpack(self, parts: list[str], source: str) -> None:
        if parts:
            self.lines.append(f"{', '.join(parts)}{',' if len(parts) == 1 else ''} = {source}")

    def check_numbers(self) -> None:
        """Write the check that all numbers are floats."""
        checks = [f"type({term.name}) is not float" for term in self.numbers]
        for i in range(0, len(checks), CHECKS_PER_LINE):
            self._check(" or ".join(checks[i : i + CHECKS_PER_LINE]))


class _Entry:
    """The code for one structure of arguments."""

    title = ""
    in_loop = False

    def __init__(self, owner: Compiled, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.owner = owner
        self.seconds = 0.0
        self.shape = ", ".join([_describe(x) for x in args] + [f"{k}={_describe(x)}" for k, x in kwargs.items()])
        self.objects: dict[str, Any] = {}
        self.names = _Names()
        self.layout = _Layout(self.names, self.objects)
        self.parameters, self.passed, self.call_args = _parameters(owner.function, args, kwargs)
        self.name = self.title + owner.__name__
        self.source = f"# {owner.__name__} runs as it is\n"
        self.call: Callable[..., Any] = self.run_eagerly
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
    def eager(owner: Compiled, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
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

    def bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arrange the arguments of a call by parameter."""
        return _parameters(self.owner.function, args, kwargs)[2]

    # ---- generating

    def generate(self) -> None:
        """Print and compile the function anew."""
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
        cache = self.owner._backward if self.title else self.owner._forward
        namespace = {
            **self.objects,
            "other": cache.call,
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
            source = self.print(f"{self.name}_careful", careful=True)
            function = self.execute(source, f"{self.name}_careful")
        return function(*args, **kwargs)

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
    def eager(owner: Compiled, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
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
            return "{" + ", ".join(f"{key!r}: {part}" for key, part in zip(tree, parts, strict=True)) + "}"
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
    def eager(owner: Compiled, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
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


class _Loop(_Entry):
    """The code for a function of sequences of examples: one example's code inside a loop."""

    in_loop = True

    def prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.one_example, self.kind_of_batch, _ = self.owner.function.batch  # type: ignore[attr-defined]
        self.arrays = [type(column) if is_array(column) else None for column in args]
        example = self.example(args, 0)
        names = list(_parameters(self.one_example, example, {})[2])
        if any(name.startswith("*") for name in names) or len(names) != len(example):
            names = [f"x{i}" for i in range(len(example))]
        self.variables = [self.names.fresh(name) for name in names]
        self.columns = [self.names.fresh(f"{name}s") for name in self.variables]
        self.parameters = self.passed = ", ".join(self.columns)
        self.layout.wrong = f"return other({self.passed})"
        self.accumulators: dict[Value, str] = {}
        for name, item, kind in zip(self.variables, example, self.arrays, strict=True):
            self.layout.take_apart(name, item.tolist() if kind and is_array(item) else item)
        self.layout.check_numbers()

    def example(self, columns: tuple[Any, ...], i: int) -> tuple[Any, ...]:
        """Give one example, as f gets it."""
        return tuple(tree_map(_plain, column[i]) for column in columns)

    def learn(self, *args: Any, **kwargs: Any) -> Any:
        return self.learn_example(self.example(args, 0), *args)

    def learn_example(self, example: tuple[Any, ...], *columns: Any) -> Any:
        """Add the way that one example takes, and start again."""
        start = time.perf_counter()
        with self.lock:
            if self.as_it_is or self.builder.ways >= self.owner.max_ways:
                return self.run_eagerly(*columns)
            rows = tuple(_as_array(x) if kind else x for x, kind in zip(example, self.arrays, strict=True))
            record = self.trace(rows, {})
            if not self.add(record, dict(enumerate(rows))):  # type: ignore[arg-type]
                return self.run_eagerly(*columns)
            self.seconds += time.perf_counter() - start
        return self.call(*columns)

    def miss(self) -> str:
        example = ", ".join(self.variables) + ("," if len(self.variables) == 1 else "")
        return f"return learn(({example}), {self.passed})"

    def learner(self) -> Callable[..., Any]:
        return self.learn_example

    def body(self, printer: Printer, lines: list[str]) -> None:
        layout = [line[4:] for line in lines[1 : 1 + len(self.layout.lines)]]
        del lines[1 : 1 + len(self.layout.lines)]
        checks = [f"len({column}) != len({self.columns[0]})" for column in self.columns[1:]]
        sources = []
        for column, kind in zip(self.columns, self.arrays, strict=True):
            if kind:
                printer.names["ndarray"] = kind
            checks.append(
                f"type({column}) is{' not' if kind else ''} {'ndarray' if kind else self.array_type(printer)}"
            )
            sources.append(f"{column}.tolist()" if kind else column)
        checks = [c for c in checks if not c.endswith("is ")]
        head = [f"    if {' or '.join([f'len({self.columns[0]}) == 0', *checks])}:", f"        {self.layout.wrong}"]
        lines[1:1] = head
        printer.operations(self.builder.before_loop, "        ")
        before = printer.lines
        printer.lines = []
        printer.section = ""
        printer.print(self.builder.root, "            ")
        if printer.lines[-1].strip() == "continue":
            printer.lines.pop()
        loop_over = sources[0] if len(sources) == 1 else f"zip({', '.join(sources)})"
        names = ["total", *self.accumulators.values()]
        for i in range(0, len(names), 8):
            lines.append(f"    {' = '.join(names[i : i + 8])} = 0.0")
        lines += [
            "    try:",
            *before,
            f"        for {', '.join(self.variables)} in {loop_over}:",
            *("            " + line for line in layout),
            *printer.lines,
            *self.rescue(),
            *("    " + line for line in self.after_loop(printer)),
        ]

    def array_type(self, printer: Printer) -> str:
        """Name NumPy's array type where it must be told from other sequences."""
        return ""

    def after_loop(self, printer: Printer) -> list[str]:
        """Print what comes after the loop."""
        scale = f" / len({self.columns[0]})" if self.kind_of_batch == "batch_mean" else ""
        lines = []
        if self.accumulators:
            if any(printer.suspects.values()):
                lines += self.suspicion(printer, list(self.accumulators.values()))
            lines += [
                f"leaf_{self.builder.captured[leaf].name}.grad += {name}{scale}"
                for leaf, name in self.accumulators.items()
            ]
        return [*lines, f"return total{scale}"]


class _ForwardLoop(_Loop):
    """Calls f for each example."""

    eager = staticmethod(_Forward.eager)

    def trace(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trace:
        return trace(self.one_example, args, kwargs)

    def give(self, printer: Printer, block: Block) -> list[str]:
        value = (block.outputs or [0.0])[0]
        return [f"total += {bare(printer.operand(value).text)}", "continue"]


class _BackwardLoop(_Loop):
    """Calls f for each example, and adds derivatives to the leaves that it closes over."""

    title = "backward_"
    eager = staticmethod(_Backward.eager)

    def trace(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trace:
        return trace(partial(_with_signals, self.one_example), args, kwargs)

    def body(self, printer: Printer, lines: list[str]) -> None:
        printer.sinks = self.sums
        super().body(printer, lines)

    def sums(self, block: Block) -> list[tuple[Any, str]]:
        """Pair each error signal of a way with the variable that adds it up."""
        if block.outputs is None:
            return []
        _, *signals, found = block.outputs
        return [
            (signal, self.accumulators.setdefault(leaf, f"g{len(self.accumulators) + 1}"))
            for leaf, signal in zip(found.values, signals, strict=True)
            if isinstance(signal, Term) or signal
        ]

    def give(self, printer: Printer, block: Block) -> list[str]:
        lines = [f"total += {bare(printer.operand((block.outputs or (0.0,))[0]).text)}"]
        for signal, name in self.sums(block):
            if signal not in printer.done:
                lines.append(f"{name} += {printer.operand(signal).text}")
        return [*lines, "continue"]


def _as_array(row: Any) -> Any:
    """Give a row of an array as f gets it: an array again, or a number."""
    return sys.modules["numpy"].array(row) if isinstance(row, list) else row


def _forget(files: dict[str, str]) -> None:
    for filename in files.values():
        linecache.cache.pop(filename, None)


def _describe(x: Any) -> str:
    entries = children(x)
    if entries is None:
        return "float" if type(x) is float else repr(x)[:20]
    return f"{type(x).__name__} of {len(entries)}"


def _parameters(
    f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, str, dict[str, Any]]:
    """Give the parameters as they are declared and as they are passed on, and the arguments by parameter."""
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):
        signature = inspect.Signature([inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)])
    bound = signature.bind(*args, **kwargs)
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
        bound = inspect.signature(f).bind(*args, **kwargs)
    except ValueError:  # a built-in function without a signature
        return args, kwargs
    bound.apply_defaults()
    return bound.args, bound.kwargs


def _defaults(f: Callable[..., Any]) -> tuple[Any, Any]:
    """Give the generated function the defaults of the function it stands for."""
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return None, None
    given = [q for q in parameters if q.default is not q.empty]
    positional = tuple(q.default for q in given if q.kind is not q.KEYWORD_ONLY)
    return positional or None, {q.name: q.default for q in given if q.kind is q.KEYWORD_ONLY} or None
