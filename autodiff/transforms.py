"""Transforms: functions that turn a function into its derivative, with JAX's names and meanings.

A transform calls `f` on fresh Values, and sweeps the graph that comes back. Where the arguments are floats and
nothing else in the graph is a Value, the sweep is done in floats. Otherwise (another transform is at work
outside, or `f` closes over Values) it is done in Values, so that the result can be differentiated again.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import Any, Literal, NamedTuple, overload

from autodiff import primitives as p
from autodiff.backprop import arrange, pull, push, sweep, toposort
from autodiff.primitives import Custom, constant, is_truth, shortened
from autodiff.trees import children, leaves, leaves_like, unflatten
from autodiff.value import Value, _accumulating, _get_mode, _is_traced, _mode_with, _node, _serial

__all__ = [
    "batch_mean",
    "batch_sum",
    "checkpoint",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "value_and_grad",
    "vjp",
]

ArgNums = int | Sequence[int]
Pullback = Callable[[Any], tuple[Any, ...]]


class _Record:
    """One evaluation of f: the inputs to differentiate by, and the graph of the outputs."""

    def __init__(
        self,
        f: Callable[..., Any],
        args: Sequence[Any],
        argnums: ArgNums,
        kwargs: dict[str, Any],
        has_aux: bool = False,
    ) -> None:
        self.single = isinstance(argnums, int)
        positions = _positions(f, args, (argnums,) if isinstance(argnums, int) else tuple(argnums))
        self.chosen = tuple(args[i] for i in positions)
        self.inputs: list[Value] = []
        self.nested = False
        self.literal = False  # some inputs are Values that are but numbers: so is what comes out
        wrapped = list(args)
        for i in positions:
            wrapped[i] = unflatten(args[i], [self._input(x, f"argument {i}{way}") for way, x in leaves(args[i])])
        mode, start = _get_mode(), next(_serial)
        with self.at_work(), _recording() if mode is not None else nullcontext():
            returned = f(*wrapped, **kwargs)
        self.aux: Any = None
        self.result = returned
        if has_aux:
            self.result, self.aux = _pair(f, returned)
        self.outputs = [_number(x, way) for way, x in leaves(self.result)]
        self.order = toposort(*(y for y in self.outputs if isinstance(y, Value)), stop=self.inputs)
        own = set(self.inputs)
        beside = toposort(*(x for _, x in leaves(self.aux) if isinstance(x, Value)), stop=self.inputs)
        self.as_graph = self.nested or any(_is_outside(n, start) and n not in own for n in [*self.order, *beside])
        is_recording = self.nested or mode is None or mode.recording
        self.as_floats = not self.literal and not (self.as_graph and is_recording)

    def _input(self, x: Any, where: str) -> Value:
        """Make a fresh node for an input: one that other uses of the same Value do not share."""
        if isinstance(x, Value) and x._primitive is p.literal and not _is_traced():
            self.literal = True
            node = _node(p.literal, x._data, (), ())
        elif isinstance(x, Value):
            self.nested = True
            node = p.identity(x)
        elif type(x) is not float and is_truth(x):
            raise TypeError(f"{where} is {x}: a truth value has no derivative; pass it as another argument")
        else:
            node = _node(p.literal, constant(x, where), (), ())
        self.inputs.append(node)
        return node

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Let the inputs be inputs, while f runs or a rule runs it again; otherwise they are numbers like others."""
        own = [node for node in self.inputs if node._primitive is p.literal]
        for node in own:
            node._primitive = p.argument
        try:
            yield
        finally:
            for node in own:
                node._primitive = p.literal

    def pull(self, *seeds: tuple[Any, Any]) -> list[Any]:
        """Carry the seeds of these outputs back to each input, in one sweep."""
        with self.at_work():
            return self._pull([(output, seed) for output, seed in seeds if isinstance(output, Value)])

    def _order_of(self, outputs: list[Value]) -> list[Value]:
        """List what outputs were computed from: as floats and as a graph in one order, so with equal rounding."""
        return self.order if len(outputs) == len(self.outputs) else toposort(*outputs, stop=self.inputs)

    def _pull(self, seeds: list[tuple[Value, Any]]) -> list[Any]:
        order = self._order_of([output for output, _ in seeds])
        kind = next((seed for _, seed in seeds if isinstance(seed, Value)), 1.0)
        if not self.as_graph and not isinstance(kind, Value):
            for node in [*self.order, *self.inputs]:
                node.grad = 0.0
            for output, seed in seeds:
                output.grad += seed
            sweep(order)
            found = [node.grad + 0.0 for node in self.inputs]
            return [_node(p.literal, x, (), ()) for x in found] if self.literal else found
        with _deriving(self.order):
            signals: dict[Value, Any] = {}
            for output, seed in seeds:
                signals[output] = signals[output] + seed if output in signals else seed
            signals = pull(order, signals, self.inputs)
            return [self._finish(signals.get(node, 0.0), kind) for node in self.inputs]

    def _finish(self, signal: Any, seed: Any = 1.0) -> Any:
        """Give a derivative the type that the result of f or the seed has, and no negative zero."""
        signal = signal + 0.0
        if self.as_floats and not isinstance(seed, Value):
            if isinstance(signal, Value) and not _is_traced():
                return signal._data
            return signal
        return signal if isinstance(signal, Value) else _node(p.literal, signal, (), ())

    def shape(self, items: list[Any]) -> Any:
        """Arrange one item per input in the shape of the arguments."""
        source = iter(items)
        shaped = tuple(unflatten(arg, source) for arg in self.chosen)
        return shaped[0] if self.single else shaped

    def plain(self, output: Any) -> Any:
        """Give an output as f would have for these arguments."""
        return output._data if isinstance(output, Value) and self.as_floats else output

    def value(self) -> Any:
        """Give the result of f for these arguments."""
        return unflatten(self.result, [self.plain(y) for y in self.outputs])

    def beside(self) -> Any:
        """Give what f returned beside its result."""
        return unflatten(self.aux, [self.plain(x) for _, x in leaves(self.aux)])


def _recording() -> Any:
    """Record even inside no_grad(): derivatives were asked for."""
    return _mode_with(recording=True)


def _is_outside(node: Value, start: int) -> bool:
    """Say whether a node is an input of an enclosing transform, or a leaf that is older than the start of this one."""
    return node._primitive is p.argument or (node._primitive is None and node._x < start)


def _deriving(order: list[Value]) -> Any:
    """Mark what is computed as a transform's own work, for whoever keeps a log."""
    mode = _get_mode()
    if mode is None:
        return nullcontext()
    if mode.tracer is not None:
        mode.tracer.differentiate(order)
    return _mode_with(deriving=True)


def _check_function(f: Any, argnums: ArgNums, transform: str) -> None:
    """Refuse what is easily mistaken: a number for the function, or an argument for the number of one."""
    if not callable(f):
        raise TypeError(f"{transform}() takes a function, not {shortened(f)}: write {transform}(f)(x)")
    positions = argnums if isinstance(argnums, Sequence) else [argnums]
    if not all(isinstance(i, int) for i in positions):
        raise TypeError(
            f"argnums are positions of arguments, such as 0 or (0, 1), not {shortened(argnums)}: the arguments "
            f"themselves go to the result, {transform}(f)(x)"
        )


def _positions(f: Callable[..., Any], args: Sequence[Any], argnums: tuple[int, ...]) -> list[int]:
    for i in argnums:
        if not -len(args) <= i < len(args):
            raise TypeError(
                f"{_name(f)} was called with {len(args)} positional arguments: there is no argument {i} to "
                "differentiate by (those given by name are not counted)"
            )
    positions = [i % len(args) for i in argnums]
    if len(set(positions)) < len(positions):
        raise ValueError(f"argnums={shortened(argnums)} lists an argument of {_name(f)} twice: list each once")
    return positions


def _name(f: Any) -> str:
    return getattr(f, "__name__", type(f).__name__) + "()"


def _number(x: Any, way: str) -> Any:
    """Check one output of f; None is the common mistake of a missing return."""
    if x is None:
        raise TypeError(f"the function returned None{' at ' + way if way else ''}: is a return missing?")
    return x if isinstance(x, Value) else constant(x, f"the result{way} of the function")


def _pair(f: Callable[..., Any], returned: Any) -> tuple[Any, Any]:
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise TypeError(
            f"with has_aux=True, {_name(f)} must return a pair, what to differentiate and what to give back beside it: "
            f"not {shortened(returned)}"
        )
    return returned


def _scalar(record: _Record, f: Callable[..., Any], transform: str) -> Any:
    if children(record.result) is not None:
        raise TypeError(
            f"{transform} needs a function with one number as its result, and {_name(f)} returned "
            f"{type(record.result).__name__}; use jacobian"
        )
    return record.outputs[0]


def value_and_grad(
    f: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False
) -> Callable[..., tuple[Any, Any]]:
    """Turn f into a function that returns its value and its gradient, in the shape of the argument.

    The argument is a float or a container of floats; `argnums` says which one, or several.
    If f closes over Values, the results are Values that depend on them (floats inside `no_grad()`).
    With `has_aux`, f returns a pair: its result, and what is given back beside it. The value is that pair, too.

    >>> value_and_grad(lambda x, y: x * x * y)(3.0, 2.0)
    (18.0, 12.0)
    >>> value_and_grad(lambda p: p["a"] * p["b"])({"a": 2.0, "b": 5.0})
    (10.0, {'a': 5.0, 'b': 2.0})
    >>> value_and_grad(lambda x: (x * x, {"third": x / 3.0}), has_aux=True)(6.0)
    ((36.0, {'third': 2.0}), 12.0)
    """
    _check_function(f, argnums, "value_and_grad")

    @wraps(f)
    def value_and_gradient(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        record = _Record(f, args, argnums, kwargs, has_aux)
        output = _scalar(record, f, "grad")
        value = record.plain(output)
        return (value, record.beside()) if has_aux else value, record.shape(record.pull((output, 1.0)))

    return value_and_gradient


def grad(f: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """Turn f into its gradient, in the shape of the argument.

    With `has_aux`, f returns a pair, of its result and what is given back beside the gradient, in a pair again.

    >>> grad(lambda x: x**3)(2.0)
    12.0
    >>> grad(grad(lambda x: x**3))(2.0)
    12.0
    """
    _check_function(f, argnums, "grad")
    both = value_and_grad(f, argnums, has_aux)

    @wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, slope = both(*args, **kwargs)
        return (slope, value[1]) if has_aux else slope

    return gradient


def jacobian(f: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """Turn f into its Jacobian: the shape of the result, with the shape of the argument at each place.

    With `has_aux`, f returns a pair, of its result and what is given back beside the Jacobian, in a pair again.

    >>> jacobian(lambda x: [x[0] * x[1], x[0] + x[1]])([2.0, 3.0])
    [[3.0, 2.0], [1.0, 1.0]]
    """
    _check_function(f, argnums, "jacobian")

    @wraps(f)
    def jacobian_of_f(*args: Any, **kwargs: Any) -> Any:
        record = _Record(f, args, argnums, kwargs, has_aux)
        slopes = unflatten(record.result, [record.shape(record.pull((y, 1.0))) for y in record.outputs])
        return (slopes, record.beside()) if has_aux else slopes

    return jacobian_of_f


def hessian(f: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """Turn f into its Hessian, the Jacobian of the gradient.

    With `has_aux`, f returns a pair, of its result and what is given back beside the Hessian, in a pair again.

    >>> hessian(lambda x: x[0] ** 2 * x[1])([3.0, 5.0])
    [[10.0, 6.0], [6.0, 0.0]]
    """
    _check_function(f, argnums, "hessian")
    return jacobian(grad(f, argnums, has_aux), argnums, has_aux)


@overload
def vjp(f: Callable[..., Any], *primals: Any, has_aux: Literal[False] = ...) -> tuple[Any, Pullback]: ...
@overload
def vjp(f: Callable[..., Any], *primals: Any, has_aux: Literal[True]) -> tuple[Any, Pullback, Any]: ...
def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """Evaluate f and return its value with a function that pulls a cotangent of the result back to the arguments.

    With `has_aux`, f returns a pair, of its result and what is given back as a third.

    >>> value, pullback = vjp(lambda x, y: [x * y, x + y], 2.0, 3.0)
    >>> value, pullback([1.0, 10.0])
    ([6.0, 5.0], (13.0, 12.0))
    """
    if not callable(f):
        raise TypeError(f"vjp(f, *primals) takes a function first, not {shortened(f)}")
    record, lock = _Record(f, primals, range(len(primals)), {}, has_aux), threading.Lock()

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        seeds = leaves_like(record.result, cotangent, what="a result and its cotangent")
        seeds = [seed if isinstance(seed, Value) else constant(seed, "the cotangent") for seed in seeds]
        with lock:  # sweeps of one graph, one at a time
            found = record.pull(*zip(record.outputs, seeds, strict=True))
        shaped: tuple[Any, ...] = record.shape(found)
        return shaped

    return (record.value(), pullback, record.beside()) if has_aux else (record.value(), pullback)


@overload
def jvp(
    f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: Literal[False] = ...
) -> tuple[Any, Any]: ...
@overload
def jvp(
    f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: Literal[True]
) -> tuple[Any, Any, Any]: ...
def jvp(
    f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False
) -> tuple[Any, ...]:
    """Evaluate f and its derivative in the direction of the tangents, in forward mode.

    With `has_aux`, f returns a pair, of its result and what is given back as a third.

    >>> jvp(lambda x, y: x * y, (2.0, 3.0), (1.0, 10.0))
    (6.0, 23.0)
    """
    if not callable(f):
        raise TypeError(f"jvp(f, primals, tangents) takes a function first, not {shortened(f)}")
    for what, given in (("primals", primals), ("tangents", tangents)):
        if not hasattr(given, "__len__"):
            raise TypeError(
                f"jvp(f, primals, tangents) takes a sequence of arguments for each: write {what}=({given!r},)"
            )
    record = _Record(f, primals, range(len(primals)), {}, has_aux)
    given = leaves_like(list(primals), list(tangents), what="primals and tangents")
    given = [t if isinstance(t, Value) else constant(t, "the tangent") for t in given]
    if any(isinstance(t, Value) for t in given):
        record.as_floats = False
    with record.at_work(), _mode_with(recording=False) if record.as_floats else _deriving(record.order):
        pushed = push(record.order, dict(zip(record.inputs, given, strict=True)))
        found = [record._finish(pushed.get(y, 0.0) if isinstance(y, Value) else 0.0) for y in record.outputs]
    derivative = unflatten(record.result, found)
    return (record.value(), derivative, record.beside()) if has_aux else (record.value(), derivative)


def hvp(f: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """Turn f into the product of its Hessian with a vector, `hvp(f)(x, v)`: forward over reverse, no matrix.

    >>> hvp(lambda x: x[0] ** 2 * x[1])([3.0, 5.0], [1.0, 0.0])
    [10.0, 6.0]
    """
    _check_function(f, 0, "hvp")
    gradient = grad(f)

    @wraps(f)
    def hessian_times_vector(x: Any, v: Any) -> Any:
        return jvp(gradient, (x,), (v,))[1]

    del hessian_times_vector.__wrapped__  # its parameters are x and v, whatever those of f
    return hessian_times_vector


def _captured(created: dict[Value, bool], inputs: list[Value]) -> list[Value]:
    """List the Values that a logged evaluation used but did not make, in the order of first use."""
    own = set(inputs)
    found: dict[Value, None] = {}
    for node in created:
        for arg in node._args:
            if type(arg) is not float and arg not in created and arg not in own:
                found[arg] = None
    return list(found)


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """Save memory: keep only the result of f, and evaluate f again when its derivative is asked for.

    f takes numbers (or containers of them) and returns one number. Arguments given by name go to f as they are.

    >>> x = Value(2.0)
    >>> y = checkpoint(lambda x: x.exp() * x)(x)
    >>> y.backward()
    >>> x.grad, len(y.parents)
    (22.16716829679195, 1)
    """
    _check_function(f, 0, "checkpoint")

    @wraps(f)
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        named = [(f"argument {i}{way}", x) for i, arg in enumerate(args) for way, x in leaves(arg)]
        flat = [x if isinstance(x, Value) else constant(x, name) for name, x in named]
        inputs = [p.identity(x) if isinstance(x, Value) else x for x in flat]
        created: dict[Value, bool] = {}
        with _mode_with(recording=True, log=created):
            result = f(*unflatten(list(args), inputs), **kwargs)
        if not isinstance(result, Value):
            return result
        if result not in created:
            return result
        outside = _captured(created, [x for x in inputs if isinstance(x, Value)])

        def again(*values: Any) -> Any:
            return f(*unflatten(list(args), values), **kwargs)

        def derivatives(out: Any, *values: Any) -> list[Any]:
            given, around = list(values[: len(flat)]), list(values[len(flat) :])
            nested = any(isinstance(x, Value) for x in values)
            return _local_derivatives(again, given, outside, around, nested)

        name = getattr(f, "__name__", "f").strip("<>")
        node = Custom(f"checkpoint_{name}", derivatives)
        return node(result if _is_traced() else result._data, *flat, *outside)  # a float if none of them is a Value

    return checkpointed


def _local_derivatives(
    f: Callable[..., Any], given: list[Any], outside: list[Value], around: list[Any], nested: bool
) -> list[Any]:
    """Evaluate f again and differentiate it by its arguments and by the Values it closes over."""
    for leaf, data in zip(outside, around, strict=True):
        before = data._data if isinstance(data, Value) else data
        if leaf._data is not before and leaf._data != before:
            raise ValueError("data of a leaf was changed after a checkpointed function used it; evaluate again")
    with _recording():
        inputs = [p.identity(x) if isinstance(x, Value) else _node(p.argument, x, (), ()) for x in given]
        output = f(*inputs)
        wanted = [*inputs, *outside]
        signals = pull(toposort(output, stop=wanted), {output: 1.0}, wanted)
    found = [signals.get(node, 0.0) for node in wanted]
    return found if nested else [x._data if isinstance(x, Value) else x for x in found]


def batch_sum(f: Callable[..., Any], *, executor: Any = None, chunks: int = 8) -> Callable[..., Any]:
    """Turn a function of one example into the sum over sequences of examples.

    Each argument of the new function is a sequence with one entry per example. Values that f closes over
    (a model's parameters) get their derivatives through the one node that is returned; each example's graph is
    swept and dropped before the next, so memory does not grow with the number of examples. Examples are added
    from first to last.

    With an `executor` (of concurrent.futures, loky, dask.distributed, mpi4py, ...) the compiled function sends the
    batch to its workers in so many `chunks`, whatever the number of workers, and adds up theirs in order. What a lost
    worker did not finish is computed here, with a warning.

    >>> w = Value(2.0)
    >>> loss = batch_sum(lambda x, y: (w * x - y) ** 2)([1.0, 2.0], [0.0, 1.0])
    >>> loss.backward()
    >>> loss.data, w.grad
    (13.0, 16.0)
    """
    return _batch(f, "batch_sum", lambda total, count: total, executor, chunks)


def batch_mean(f: Callable[..., Any], *, executor: Any = None, chunks: int = 8) -> Callable[..., Any]:
    """Turn a function of one example into the mean over sequences of examples; the rest is as for `batch_sum`.

    >>> w = Value(2.0)
    >>> loss = batch_mean(lambda x, y: (w * x - y) ** 2)([1.0, 2.0], [0.0, 1.0])
    >>> loss.backward()
    >>> loss.data, w.grad
    (6.5, 8.0)
    """
    return _batch(f, "batch_mean", lambda total, count: total / count, executor, chunks)


def _batch(
    f: Callable[..., Any], name: str, scale: Callable[[Any, int], Any], executor: Any, chunks: int
) -> Callable[..., Any]:
    if not callable(f):
        raise TypeError(f"{name}() takes a function of one example, not {shortened(f)}")
    if executor is not None and not hasattr(executor, "submit"):
        raise TypeError(f"{name} takes an executor as in concurrent.futures, with submit(), not {shortened(executor)}")
    if chunks < 1:
        raise ValueError(f"{name} needs at least one chunk, not {chunks}")

    @wraps(f)
    def batched(*columns: Any) -> Any:
        examples = _examples(name, columns)
        sums: dict[Value, float] = {}
        total: Any = 0.0
        for example in examples:
            created: dict[Value, bool] = {}
            with _mode_with(recording=True, log=created):
                output = f(*example)
            if isinstance(output, Value):
                _add_derivatives(output, created, sums)
                total = total + (output if _is_traced() else output._data)
            else:
                total = total + constant(output, f"the result of {_name(f)}")

        def derivatives(out: Any, *values: Any) -> list[Any]:
            found = _batch_derivatives(f, examples, list(sums)) if isinstance(out, Value) else list(sums.values())
            return [scale(x, len(examples)) for x in found]

        return Custom(name, derivatives)(scale(total, len(examples)), *sums)

    batched._batch = Batch(f, name, executor, chunks, id(batched))  # type: ignore[attr-defined]
    return batched


class Batch(NamedTuple):
    """What `batch_sum` or `batch_mean` made a function of, for the compiler: it writes the loop itself."""

    one_example: Callable[..., Any]
    kind: str  # the name of the transform
    executor: Any
    chunks: int
    made: int  # the id of the function: a function that wraps it copies its attributes, but is none itself


def batch_of(f: Callable[..., Any]) -> Batch | None:
    """Say what a function of sequences of examples is made of; None if it is no such function."""
    batch = getattr(f, "_batch", None)
    return batch if isinstance(batch, Batch) and batch.made == id(f) else None


def _examples(name: str, columns: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    if not columns:
        raise TypeError(f"{name} needs at least one sequence of examples")
    for column in columns:
        if not hasattr(column, "__len__"):
            raise TypeError(f"{name} takes sequences with one entry per example, not {shortened(column)}")
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        raise ValueError(f"{name} needs sequences of one length, not {', '.join(map(str, lengths))}")
    if not lengths[0]:
        raise ValueError(f"{name} of no examples has no value: give it at least one")
    return list(zip(*columns, strict=True))


def _add_derivatives(output: Value, created: dict[Value, bool], sums: dict[Value, float]) -> None:
    """Sweep the graph of one example, and add what reaches the Values from outside to their sums."""
    leaves, interior = arrange(output, within=created)
    outside = dict.fromkeys(node for node in leaves if node not in created)
    with _accumulating:
        before = [node.grad for node in outside]
        try:
            for node in [*leaves, *interior]:
                node.grad = 0.0
            output.grad = 1.0
            sweep(interior)
            for node in outside:
                sums[node] = sums.get(node, 0.0) + node.grad
        finally:
            for node, grad_before in zip(outside, before, strict=True):
                node.grad = grad_before


def _batch_derivatives(f: Callable[..., Any], examples: list[tuple[Any, ...]], wanted: list[Value]) -> list[Any]:
    """Differentiate each example as a graph, and add up in the order in which floats would be."""
    sums: dict[Value, Any] = dict.fromkeys(wanted, 0.0)
    with _recording():
        for example in examples:
            output = f(*example)
            if isinstance(output, Value):
                signals = pull(toposort(output, stop=wanted), {output: 1.0}, wanted)
                for node in wanted:
                    sums[node] = sums[node] + signals.get(node, 0.0)
    return list(sums.values())
