"""Loops: `batch_sum` and `batch_mean` compiled, with the loop over the examples inside the generated code.

With an executor, parts of the batch are computed by its workers.
"""

import os
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from operator import is_
from typing import Any, NamedTuple

from autodiff.arguments import _made_plain, _parameters, _plain, _signature, _structure
from autodiff.codegen import Printer, bare
from autodiff.exporting import Exported, UnseenError, compute_part
from autodiff.primitives import constant
from autodiff.specialising import Owner, _Backward, _Cache, _Descent, _Entry, _Forward, _with_signals
from autodiff.terms import Block, Term, outcome_key
from autodiff.tracing import Trace, trace
from autodiff.transforms import Batch, _name, batch_of, batch_sum
from autodiff.trees import is_array, leaves, tree_map
from autodiff.value import Value

__all__: list[str] = []

FAST = 256  # variables of a function that CPython reads and writes in one instruction each


class _LoopCache(_Cache):
    """The specialisations of a function of sequences of examples, by the structure of one example."""

    def __init__(self, owner: Owner, kind: "type[_Loop]") -> None:
        super().__init__(owner, kind)
        self.loop = kind
        self.eager = kind.eager

    def route(self, sender: _Entry | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args = self.loop.checked(args, kwargs)
        first, columns = args[: self.loop.before], args[self.loop.before :]
        lengths = {len(column) if hasattr(column, "__len__") else 0 for column in columns}
        if self.kind.watched() or kwargs or len(lengths) != 1 or 0 in lengths:
            return self.eager(self.owner, args, kwargs)
        columns = _made_plain(_as_lists(columns))
        keys = {_structure(list(example)) for example in zip(*columns, strict=True)}
        args = (*first, *columns)
        if any(isinstance(x, Value) for _, x in leaves(columns)):
            return self.eager(self.owner, args, kwargs)
        if len(keys) != 1:  # examples of several structures
            return tree_map(lambda y: y._data if isinstance(y, Value) else y, self.eager(self.owner, args, kwargs))
        return self.find((*[type(column) for column in columns], *keys), sender, args, {})


def _batch(owner: Owner) -> Batch:
    """Say what a function of sequences of examples is made of."""
    batch = batch_of(owner.function)
    assert batch is not None
    return batch


class _Loop(_Entry):
    """The code for a function of sequences of examples: one example's code inside a loop."""

    in_loop = True
    before = 0  # arguments that come before the columns

    def prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        args = args[self.before :]
        self.one_example, self.is_mean = _batch(self.owner).one_example, _batch(self.owner).kind == "batch_mean"
        self.arrays = [type(column) if is_array(column) else None for column in args]
        example = self.example(args)
        self.kinds = _kinds(example)
        names = list(_parameters(self.one_example, example, {})[2])
        if any(name.startswith("*") for name in names) or len(names) != len(example):
            names = [f"x{i}" for i in range(len(example))]
        self.variables = [self.names.fresh(name) for name in names]
        self.columns = [self.names.fresh(f"{name}s") for name in self.variables]
        self.rate = [self.names.fresh("rate") for _ in range(self.before)]
        self.parameters = self.passed = ", ".join([*self.rate, *self.columns])
        self.layout.wrong = self.calling("other")
        self.first_lines: list[str] = []
        if any(_takes(self.one_example, len(example) + more) for more in (-1, 1)):
            columns = self.names.fresh("columns")
            self.parameters = ", ".join([*self.rate, f"*{columns}"])
            self.first_lines = [
                f"if {self.names.builtin('len')}({columns}) != {len(example)}:",
                f"    return {self.names.own('other')}({self.parameters})",
                f"{', '.join(self.columns)}{',' if len(example) == 1 else ''} = {columns}",
            ]
        self.accumulators: dict[Value, str] = {}
        self.met: set[Any] = set()  # sets of constants that have a way
        for name, item, kind in zip(self.variables, example, self.arrays, strict=True):
            self.layout.take_apart(name, item.tolist() if kind and is_array(item) else item)
        self.layout.check_numbers()

    def example(self, columns: tuple[Any, ...]) -> tuple[Any, ...]:
        """Give the first example, as f gets it; columns may be anything with a length that can be looked through."""
        return tuple(_made_plain(x) for x in next(zip(*columns, strict=True)))

    def elsewhere(self, *args: Any, **kwargs: Any) -> Any:
        return super().elsewhere(*_as_lists(self.checked(args, kwargs)), **kwargs)

    def learn(self, *args: Any, **kwargs: Any) -> Any:
        return self.learn_example(self.example(args[self.before :]), *args)

    def learn_example(self, example: tuple[Any, ...], *args: Any) -> Any:
        """Add the way that one example takes, and start again."""
        if _kinds(example) != self.kinds:  # a Value, or NumPy's float, where there was a constant
            return self.elsewhere(*args)
        plain = _made_plain(_as_lists(args))
        if plain is not args:
            return self.call(*plain)
        return self.call(*args) if self.add_example(example, args[self.before :]) else self.run_eagerly(*args)

    def add_example(self, example: tuple[Any, ...], columns: tuple[Any, ...]) -> bool:
        """Add the way that one example of a batch takes; False if f has to run as it is."""
        start = time.perf_counter()
        with self.lock:
            if self.as_it_is or self.is_full():
                return False
            ways = [self.traced(example)]
            for other in self.others(example, columns)[: max(self.owner.max_ways - self.builder.ways - 1, 0)]:
                with suppress(Exception):  # it comes when it is this example's turn
                    ways.append(self.traced(other))
            added = self.add(*ways)
            self.seconds += time.perf_counter() - start
        return added

    def traced(self, example: tuple[Any, ...]) -> tuple[Trace, dict[Any, Any]]:
        """Trace f on one example; give its arguments too."""
        rows = self.rows(example)
        return self.trace(rows, {}), dict(enumerate(rows))

    def rows(self, example: tuple[Any, ...]) -> tuple[Any, ...]:
        """Give the arguments of one example as f gets them."""
        return tuple(_as_array(x) if kind else x for x, kind in zip(example, self.arrays, strict=True))

    def others(self, example: tuple[Any, ...], columns: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """List examples for all further sets of constants in a batch, such as classes: they get code together."""
        if not self.layout.constants or self.constants_of(example) in self.met:
            return []
        shape, found = _structure(list(example)), {self.constants_of(example): example}
        for other in zip(*columns, strict=True):
            plain = tuple(map(_made_plain, other))
            if _structure(list(plain)) == shape:
                found.setdefault(self.constants_of(plain), plain)
        new = [other for key, other in found.items() if key not in self.met]
        self.met |= found.keys()
        return new[1:]

    def constants_of(self, example: tuple[Any, ...]) -> tuple[Any, ...]:
        """List what in an example is a constant of the code, so that it can be compared."""
        return tuple(map(outcome_key, self.constants(dict(enumerate(self.rows(example))))))

    def miss(self) -> str:
        example = ", ".join(self.variables) + ("," if len(self.variables) == 1 else "")
        return f"return {self.names.own('learn')}(({example}), {self.passed})"

    def learner(self) -> Callable[..., Any]:
        return self.learn_example

    def header(self) -> list[str]:
        """Print the check of the sequences; the examples are taken apart in the loop."""
        asked, length = self.names.builtin("type"), self.names.builtin("len")
        checks = [f"{asked}({name}) is not {self.names.builtin('float')}" for name in self.rate]
        checks.append(f"{length}({self.columns[0]}) == 0")
        checks += [f"{length}({column}) != {length}({self.columns[0]})" for column in self.columns[1:]]
        for column, kind in zip(self.columns, self.arrays, strict=True):
            if kind:
                checks.append(f"{asked}({column}) is not {self.names.own('ndarray', kind)}")
        return [*self.first_lines, f"if {' or '.join(checks)}:", f"    {self.layout.wrong}"]

    def named_first(self, body: list[str]) -> list[str]:
        """Name what the loop uses most before all else, where there are more names than Python reads fast."""
        uses = Counter(name for line in body for name in re.findall(r"\b[vdg]\d+\b", line))
        if len(uses) + len(self.builder.captured) <= FAST:
            return []
        names = [name for name, _ in uses.most_common(FAST // 2)]
        reason = f"if False:  # never run: it names the most used first, for the first {FAST} are faster than others"
        return [reason, *(f"    {' = '.join(names[i : i + 8])} = 0.0" for i in range(0, len(names), 8))]

    def body(self, printer: Printer) -> list[str]:
        printer.operations(self.builder.before_loop, "    ")
        before, printer.lines, printer.section = printer.lines, [], ""
        printer.print(self.builder.root, "        ")
        if printer.lines[-1].strip() == "continue":
            printer.lines.pop()
        sources = [f"{c}.tolist()" if kind else c for c, kind in zip(self.columns, self.arrays, strict=True)]
        loop_over = sources[0] if len(sources) == 1 else f"{self.names.builtin('zip')}({', '.join(sources)})"
        sums = [self.total(), *self.accumulators.values()]
        return [
            *(f"{' = '.join(sums[i : i + 8])} = 0.0" for i in range(0, len(sums), 8)),
            "try:",
            *before,
            f"    for {', '.join(self.variables)} in {loop_over}:",
            *("        " + line for line in self.layout.lines),
            *printer.lines,
            *self.rescue(printer),
            *self.after_loop(printer),
        ]

    def total(self) -> str:
        """Name the variable that adds up the values."""
        return self.names.own("total")

    def after_loop(self, printer: Printer) -> list[str]:
        """Print what comes after the loop."""
        count = f"{self.names.builtin('len')}({self.columns[0]})"
        lines = []
        suspects = {block: found.terms for block, found in printer.suspects.items()}
        if any(suspects.values()):
            value = any(b.outputs[0] in found for b, found in suspects.items() if found and b.outputs)
            lines += self.suspicion([self.total()] * value + list(self.accumulators.values()))
        if not self.is_mean:
            return [*lines, *self.end("")]
        if self.accumulators:
            name = self.names.own("count")  # dividing by an int would take longer
            lines.append(f"{name} = {self.names.builtin('float')}({count})")
            count = name
        return [*lines, *self.end(f" / {count}")]

    def end(self, scale: str) -> list[str]:
        """Print what becomes of the sums."""
        changes = [self.change(self.name_of(leaf), f"{total}{scale}") for leaf, total in self.accumulators.items()]
        return [*changes, f"return {self.total()}{scale}"]

    def change(self, leaf: str, derivative: str) -> str:
        """Print what happens to a leaf."""
        return f"{leaf}.grad += {derivative}"

    @staticmethod
    def conclude(leaf: Value, derivative: float, *first: float) -> None:
        """Do what `change` prints."""
        leaf.grad += derivative


class _ForwardLoop(_Loop):
    """Calls f for each example."""

    eager = staticmethod(_Forward.eager)

    def trace(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trace:
        return trace(partial(_number, self.one_example), args, kwargs)

    def give(self, printer: Printer, block: Block) -> list[str]:
        value = (block.outputs or [0.0])[0]
        return [f"{self.total()} += {bare(printer.operand(value).text)}", "continue"]


def _number(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call f; what is neither a Value nor a number is refused, as by `batch_sum` itself."""
    output = f(*args, **kwargs)
    return output if isinstance(output, Value) else constant(output, f"the result of {_name(f)}")


class _BackwardLoop(_Loop):
    """Calls f for each example, and adds derivatives to the leaves that it closes over."""

    task = "backward"
    watched = staticmethod(_Backward.watched)
    eager = staticmethod(_Backward.eager)

    def trace(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trace:
        return trace(partial(_with_signals, self.one_example), args, kwargs)

    def body(self, printer: Printer) -> list[str]:
        printer.sinks = self.sums
        return super().body(printer)

    def sums(self, block: Block) -> list[tuple[Any, str]]:
        """Pair each error signal of a way with the variable that adds it up."""
        if block.outputs is None:
            return []
        _, *signals, found = block.outputs
        return [
            (signal, self.accumulators.setdefault(leaf, self.names.own(f"g{len(self.accumulators) + 1}")))
            for leaf, signal in zip(found.values, signals, strict=True)
            if isinstance(signal, Term) or signal
        ]

    def give(self, printer: Printer, block: Block) -> list[str]:
        lines = [f"{self.total()} += {bare(printer.operand((block.outputs or (0.0,))[0]).text)}"]
        for signal, name in self.sums(block):
            if (signal, name) not in printer.done:
                lines.append(f"{name} += {printer.operand(signal).text}")
        return [*lines, "continue"]


class _DescentLoop(_BackwardLoop):
    """Calls f for each example, and moves the leaves that it closes over against the derivatives of all."""

    task = "descend"
    before = 1
    called = staticmethod(_Descent.called)
    watched = staticmethod(_Descent.watched)
    eager = staticmethod(_Descent.eager)
    checked = staticmethod(_Descent.checked)

    def change(self, leaf: str, derivative: str) -> str:
        return f"{leaf}._data -= {self.rate[0]} * {f'({derivative})' if ' ' in derivative else derivative}"

    @staticmethod
    def conclude(leaf: Value, derivative: float, *first: float) -> None:
        leaf._data -= first[0] * derivative


class _Part(_Loop):
    """The code for a part of a batch: it returns the sums."""

    @staticmethod
    def eager(owner: Owner, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        batch = batch_sum(_batch(owner).one_example)(*args)
        if not isinstance(batch, Value):
            return batch, {}
        return batch._data, dict(list(zip(batch._args, batch.local_derivatives(), strict=True))[1:])

    def prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().prepare(args, kwargs)
        self.is_mean = False  # the whole is divided, not the parts
        self.types = [type(column) for column in args]
        self._sent: _Sent | None = None

    def end(self, scale: str) -> list[str]:
        return [f"return {self.total()}, [{', '.join(self.accumulators.values())}]"]

    def fits(self, args: tuple[Any, ...]) -> bool:
        """Say whether these look like such columns. The generated code looks at each example anyway."""
        if [type(column) for column in args] != self.types:
            return False
        return len({len(column) for column in args}) == 1 and len(args[0]) > 0

    def elsewhere(self, *args: Any, **kwargs: Any) -> Any:
        raise UnseenError("examples of another kind")

    def run_eagerly(self, *args: Any, **kwargs: Any) -> Any:
        error = sys.exc_info()[1]
        if isinstance(error, UnseenError):  # the code of a user's primitive catches whatever comes: not this
            raise error
        return super().run_eagerly(*args, **kwargs)

    def compute(self, part: tuple[Any, ...]) -> tuple[float, dict[Value, float]]:
        """Compute a part in this process."""
        value, grads = self.call(*part)
        if isinstance(grads, dict):
            return value, grads
        # Another thread may have learned a way since, with more Values: they come after these.
        return value, dict(zip(list(self.accumulators), grads, strict=False))

    def to_send(self) -> "tuple[_Sent, bytes | None]":
        """Give what workers need to know, and its pickled code if they were not sent it yet."""
        with self.lock:
            if self._sent is not None and self._sent.source == self.source:
                return self._sent, None  # workers have the code; one that does not asks for it
            import pickle  # here, since only batches for workers need it

            code = self.export("sent to another process")
            payload = pickle.dumps(Exported(self.name, [code]))
            read = list(dict.fromkeys(code.leaves.values()))
            self._sent = _Sent(code.source, os.urandom(16).hex(), payload, read, list(self.accumulators))
            return self._sent, payload


class _ForwardPart(_Part, _ForwardLoop):
    """Calls f for each example of a part."""


class _BackwardPart(_Part, _BackwardLoop):
    """Calls f for each example of a part, and adds up its derivatives."""


class _Spread(_LoopCache):
    """The same, for batches of which an executor computes the parts.

    Parts are alike for any number of workers, and their sums are added in order: so the floats are the same. What a
    worker has no code for, and what is lost with a broken executor, is computed here.
    """

    def __init__(self, owner: Owner, kind: type[_Loop], part: "type[_Part]") -> None:
        super().__init__(owner, kind)
        self.kind: type[_Part] = part
        self.batch = _batch(owner)
        self._usual: _Part | None = None  # the latest

    def route(self, sender: _Entry | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        usual, columns = self._usual, args[self.loop.before :]
        are_floats = all(type(x) is float for x in args[: self.loop.before])
        if usual and not kwargs and are_floats and usual.fits(columns) and not self.kind.watched():
            with suppress(UnseenError):
                return self._spread(usual, args)
        return super().route(sender, args, kwargs)

    def find(self, key: Any, sender: _Entry | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute a batch of this structure."""
        columns = args[self.loop.before :]
        with self.lock:
            entry = self.entries.get(key)
            if entry is None:
                entry = self.kind(self.owner, key, columns, kwargs)
                entry.add_example(entry.example(columns), columns)
                self.entries[key] = entry
        if not entry.as_it_is:
            self._usual = entry
            with suppress(UnseenError):
                return self._spread(entry, args)
        return self.eager(self.owner, args, kwargs)

    def _spread(self, entry: "_Part", args: tuple[Any, ...]) -> float:
        """Compute the parts and add them up."""
        first, columns = args[: self.loop.before], args[self.loop.before :]
        count = len(columns[0])
        size = -(-count // self.batch.chunks)
        parts = [tuple(column[i : i + size] for column in columns) for i in range(0, count, size)]
        total, sums = 0.0, dict[Value, float]()
        for part, job in zip(parts, self._submit(entry, parts), strict=True):
            value, grads = self._received(job) or entry.compute(part)
            total += value
            for leaf, grad in grads.items():
                sums[leaf] = sums.get(leaf, 0.0) + grad
        scale = count if self.batch.kind == "batch_mean" else 1
        for leaf, grad in sums.items():
            self.loop.conclude(leaf, grad / scale, *first)
        return total / scale

    def _submit(self, entry: _Part, parts: list[Any]) -> list[Any]:
        """Send the numbers that the code reads and the parts; where that fails, send nothing."""
        sent, payload = entry.to_send()
        numbers = [leaf._data for leaf in sent.read]
        try:
            return [_Job(sent, numbers, part, self._send(sent, payload, numbers, part)) for part in parts]
        except Exception as error:  # noqa: BLE001  (executors of other makers have errors of their own)
            self._warn(error)
            return [None] * len(parts)

    def _send(self, sent: "_Sent", payload: bytes | None, numbers: list[float], part: Any) -> Any:
        return self.batch.executor.submit(compute_part, sent.key, payload, numbers, part)

    def _received(self, job: "_Job | None") -> tuple[float, dict[Value, float]] | None:
        """Wait for a worker; None if this part has to be computed here."""
        if job is None:
            return None
        sent, numbers, part, future = job
        try:
            value, grads = future.result() or self._send(sent, sent.payload, numbers, part).result()
        except UnseenError:  # here it becomes code, or raises as f does
            return None
        except Exception as error:  # noqa: BLE001
            self._warn(error)
            return None
        return value, dict(zip(sent.written, grads, strict=True))

    def _warn(self, error: Exception) -> None:
        warnings.warn(
            f"{type(self.batch.executor).__name__} failed ({type(error).__name__}: {error!s:.200}): what it had to "
            "compute is computed here instead",
            RuntimeWarning,
            stacklevel=2,
        )


class _Sent(NamedTuple):
    """What workers were sent: code, and the Values whose numbers it reads and whose derivatives it returns."""

    source: str
    key: str  # workers know the code by it
    payload: bytes
    read: list[Value]
    written: list[Value]


class _Job(NamedTuple):
    """A part that a worker computes."""

    sent: _Sent
    numbers: list[float]
    part: tuple[Any, ...]
    future: Any


def _takes(f: Callable[..., Any], count: int) -> bool:
    """Say whether f takes so many arguments."""
    try:
        _signature(f).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # a built-in function without a signature
        return True
    return True


def _kinds(example: tuple[Any, ...]) -> list[Any]:
    """Say of all numbers in an example of which kind each is."""
    return [_structure(_plain(x)) for _, x in leaves(example)]


def _as_lists(columns: tuple[Any, ...]) -> tuple[Any, ...]:
    """Turn columns that cannot be looked into, such as the values of a dict, into lists; a rate is no column."""
    lists = tuple([x if isinstance(x, list | tuple | float) or is_array(x) else list(x) for x in columns])
    return columns if all(map(is_, lists, columns)) else lists


def _as_array(row: Any) -> Any:
    """Give a row of an array as f gets it: an array again, or a number."""
    return sys.modules["numpy"].array(row) if isinstance(row, list) else row
