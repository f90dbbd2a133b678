"""Loops: `batch_sum` and `batch_mean` compiled, with the loop over the examples inside the generated code.

With an executor, parts of the batch are computed by its workers.
"""

import os
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from autodiff.arguments import _parameters, _plain, _structure
from autodiff.codegen import Printer, bare
from autodiff.exporting import Exported, UnseenError, compute_part
from autodiff.specialising import Owner, _Backward, _Cache, _Entry, _Forward, _is_watched, _with_signals
from autodiff.terms import Block, Term
from autodiff.tracing import Trace, trace
from autodiff.transforms import batch_sum
from autodiff.trees import is_array, leaves, tree_map
from autodiff.value import Value

__all__: list[str] = []


class _LoopCache(_Cache):
    """The specialisations of a function of sequences of examples, by the structure of one example."""

    def __init__(self, owner: Owner, kind: "type[_Entry]") -> None:
        super().__init__(owner, kind)
        self.eager = kind.eager

    def call(self, *args: Any, **kwargs: Any) -> Any:
        if _is_watched() or kwargs or not args or len({len(column) for column in args}) != 1 or not len(args[0]):
            return self.eager(self.owner, args, kwargs)
        args = tree_map(_plain, args)
        keys = {_structure(list(example)) for example in zip(*args, strict=True)}
        if any(isinstance(x, Value) for _, x in leaves(args)):
            return self.eager(self.owner, args, kwargs)
        if len(keys) != 1:  # examples of several structures
            return tree_map(lambda y: y._data if isinstance(y, Value) else y, self.eager(self.owner, args, kwargs))
        return self.find((*[type(column) for column in args], *keys), args, {})


class _Loop(_Entry):
    """The code for a function of sequences of examples: one example's code inside a loop."""

    in_loop = True

    def prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.one_example, self.kind_of_batch, *_ = self.owner.function._batch
        self.arrays = [type(column) if is_array(column) else None for column in args]
        example = self.example(args, 0)
        names = list(_parameters(self.one_example, example, {})[2])
        if any(name.startswith("*") for name in names) or len(names) != len(example):
            names = [f"x{i}" for i in range(len(example))]
        self.variables = [self.names.fresh(name) for name in names]
        self.columns = [self.names.fresh(f"{name}s") for name in self.variables]
        self.count = self.names.fresh("count")
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
        return self.call(*columns) if self.add_example(example) else self.run_eagerly(*columns)

    def add_example(self, example: tuple[Any, ...]) -> bool:
        """Add the way that one example takes; False if f has to run as it is."""
        start = time.perf_counter()
        with self.lock:
            if self.as_it_is or self.builder.ways >= self.owner.max_ways:
                return False
            rows = tuple(_as_array(x) if kind else x for x, kind in zip(example, self.arrays, strict=True))
            added = self.add(self.trace(rows, {}), dict(enumerate(rows)))  # type: ignore[arg-type]
            self.seconds += time.perf_counter() - start
        return added

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
        count = f"len({self.columns[0]})"
        lines = []
        if any(printer.suspects.values()):
            value = any(b.outputs[0] in found for b, found in printer.suspects.items() if found and b.outputs)
            lines += self.suspicion(printer, ["total"] * value + list(self.accumulators.values()))
        if self.kind_of_batch != "batch_mean":
            return [*lines, *self.end("")]
        if self.accumulators:
            lines.append(f"{self.count} = float({count})")  # dividing by an int would take longer
            count = self.count
        return [*lines, *self.end(f" / {count}")]

    def end(self, scale: str) -> list[str]:
        """Print what becomes of the sums."""
        names = ((self.builder.captured[leaf].name, total) for leaf, total in self.accumulators.items())
        return [*(f"leaf_{leaf}.grad += {total}{scale}" for leaf, total in names), f"return total{scale}"]


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
            if (signal, name) not in printer.done:
                lines.append(f"{name} += {printer.operand(signal).text}")
        return [*lines, "continue"]


class _Part(_Loop):
    """The code for a part of a batch: it returns the sums."""

    @staticmethod
    def eager(owner: Owner, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        batch = batch_sum(owner.function._batch.one_example)(*args)
        if not isinstance(batch, Value):
            return batch, {}
        return batch._data, dict(list(zip(batch._args, batch.local_derivatives(), strict=True))[1:])

    def after_loop(self, printer: Printer) -> list[str]:
        self.kind_of_batch = "batch_sum"
        return super().after_loop(printer)

    def end(self, scale: str) -> list[str]:
        return [f"return total, [{', '.join(self.accumulators.values())}]"]

    def prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().prepare(args, kwargs)
        self.types = [type(column) for column in args]

    def fits(self, args: tuple[Any, ...]) -> bool:
        """Say whether these look like such columns. The generated code looks at each example anyway."""
        if [type(column) for column in args] != self.types:
            return False
        return len({len(column) for column in args}) == 1 and len(args[0]) > 0

    def other(self) -> Callable[..., Any]:
        return _refuse

    def compute(self, part: tuple[Any, ...]) -> tuple[float, dict[Value, float]]:
        """Compute a part in this process."""
        value, grads = self.call(*part)
        return value, grads if isinstance(grads, dict) else dict(zip(self.accumulators, grads, strict=True))


def _refuse(*columns: Any) -> Any:
    raise UnseenError("examples of another kind")


class _ForwardPart(_Part, _ForwardLoop):
    """Calls f for each example of a part."""


class _BackwardPart(_Part, _BackwardLoop):
    """Calls f for each example of a part, and adds up its derivatives."""


class _Spread(_LoopCache):
    """The same, for batches of which an executor computes the parts.

    Parts are alike for any number of workers, and their sums are added in order: so the floats are the same. What a
    worker has no code for, and what is lost with a broken executor, is computed here.
    """

    def __init__(self, owner: Owner, kind: type[_Entry], part: "type[_Part]") -> None:
        super().__init__(owner, part)
        self.kind: type[_Part] = part
        self.eager = kind.eager
        _, kind_of_batch, self.executor, self.chunks, _ = owner.function._batch
        self.is_mean = kind_of_batch == "batch_mean"
        self._usual: _Part | None = None  # the latest
        self._sent = _Sent("", "", b"", [], [])

    def call(self, *args: Any, **kwargs: Any) -> Any:
        usual = self._usual
        if usual and not kwargs and usual.fits(args) and not _is_watched():
            with suppress(UnseenError):
                return self._spread(usual, args)
        return super().call(*args, **kwargs)

    def find(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute a batch of this structure."""
        with self.lock:
            entry = self.entries.get(key)
            if entry is None:
                entry = self.kind(self.owner, args, kwargs)
                entry.add_example(entry.example(args, 0))
                self.entries[key] = entry
        if not entry.as_it_is:
            self._usual = entry
            with suppress(UnseenError):
                return self._spread(entry, args)
        return self.eager(self.owner, args, kwargs)

    def _spread(self, entry: "_Part", args: tuple[Any, ...]) -> float:
        """Compute the parts and add them up."""
        size = -(-len(args[0]) // self.chunks)
        parts = [tuple(column[i : i + size] for column in args) for i in range(0, len(args[0]), size)]
        total, sums = 0.0, dict[Value, float]()
        for part, job in zip(parts, self._submit(entry, parts), strict=True):
            value, grads = self._received(job) or entry.compute(part)
            total += value
            for leaf, grad in grads.items():
                sums[leaf] = sums.get(leaf, 0.0) + grad
        scale = len(args[0]) if self.is_mean else 1
        for leaf, grad in sums.items():
            leaf.grad += grad / scale
        return total / scale

    def _submit(self, entry: _Part, parts: list[Any]) -> list[Any]:
        """Send the numbers that the code reads and the parts; where that fails, send nothing."""
        if self._sent.source != entry.source:
            import pickle  # here, since only batches for workers need it

            code = entry.export("sent to another process")
            payload = pickle.dumps(Exported(entry.name, [code]))
            read = list(dict.fromkeys(code.leaves.values()))
            self._sent = _Sent(code.source, os.urandom(16).hex(), payload, read, list(entry.accumulators))
            first = payload
        else:
            first = None  # workers have the code; one that does not asks for it
        numbers = [leaf._data for leaf in self._sent.read]
        try:
            return [(self._send(first, numbers, part), numbers, part) for part in parts]
        except Exception as error:  # noqa: BLE001  (executors of other makers have errors of their own)
            self._warn(error)
            return [None] * len(parts)

    def _send(self, payload: bytes | None, numbers: list[float], part: Any) -> Any:
        return self.executor.submit(compute_part, self._sent.key, payload, numbers, part)

    def _received(self, job: Any) -> tuple[float, dict[Value, float]] | None:
        """Wait for a worker; None if this part has to be computed here."""
        if job is None:
            return None
        written = self._sent.written
        future, numbers, part = job
        try:
            value, grads = future.result() or self._send(self._sent.payload, numbers, part).result()
        except (UnseenError, ArithmeticError, ValueError):  # here it becomes code, or raises as f does
            return None
        except Exception as error:  # noqa: BLE001
            self._warn(error)
            return None
        return value, dict(zip(written, grads, strict=True))

    def _warn(self, error: Exception) -> None:
        warnings.warn(
            f"{type(self.executor).__name__} failed ({type(error).__name__}: {error!s:.200}): what it had to "
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


def _as_array(row: Any) -> Any:
    """Give a row of an array as f gets it: an array again, or a number."""
    return sys.modules["numpy"].array(row) if isinstance(row, list) else row
