"""Native: a function of numbers becomes machine code, which Numba makes from Python with loops."""

import inspect
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from types import FunctionType
from typing import Any

from autodiff import primitives as p
from autodiff import special
from autodiff.arguments import readable_name
from autodiff.backends import (
    Arguments,
    add_way,
    arranged,
    bind,
    call_template,
    numeric,
    or_nan,
    package,
    signature_of,
    skeleton,
)
from autodiff.exporting import joined
from autodiff.primitives import Primitive, constant
from autodiff.rolling import Place, Rolled, Target
from autodiff.specialising import _Descent, _is_watched, _Leaves, _with_signals
from autodiff.terms import Block, Builder, Term
from autodiff.tracing import trace
from autodiff.transforms import batch_of
from autodiff.trees import children, is_array, rebuild
from autodiff.value import Value

__all__ = ["Native"]

TOGETHER = 8  # examples that are traced before a translation

# What of our functions on floats Numba cannot translate as it stands: what it gets instead.
NATIVE_SOURCE = """
def ieee_div(x, y):
    return x / y

def ieee_log(x):
    return math.log(x)

def ieee_pow(x, y):
    return x**y

def power(x, y):
    return x**y

def floor(x):
    return np.floor(x) + 0.0

def ceil(x):
    return np.ceil(x) + 0.0

def trunc(x):
    return np.trunc(x) + 0.0

def rint(x):
    return np.rint(x) + 0.0

def cbrt(x):
    return np.cbrt(x)

def cube_root(x):
    return np.cbrt(x)

def exp2(x):
    return np.exp2(x)

def fmod(x, y):
    return np.fmod(x, y)

def remainder(x, y):
    if math.isinf(y) and not math.isinf(x):
        return x
    r, size = np.fmod(abs(x), abs(y)), abs(y)
    rest = size - r
    if r > rest:
        r = -rest
    elif r == rest:
        r = r - 2.0 * np.fmod(0.5 * (abs(x) - r), size)
    return math.copysign(1.0, x) * r

def highest(xs):
    high = xs[0]
    for x in xs:
        high = max(high, x)
    return high

def logsumexp(*xs):
    high = highest(xs)
    if math.isinf(high):
        return high
    rest, taken = 0.0, False
    for x in xs:
        if x == high and not taken:
            taken = True
        else:
            rest += math.exp(x - high)
    return high + math.log1p(rest)

def softmax(index, *xs):
    high = highest(xs)
    total = 0.0
    for x in xs:
        total += math.exp(x - high)
    return math.exp(xs[int(index)] - high) / total

def others(index, xs):
    high = highest(xs)
    total = 0.0
    for i in range(len(xs)):
        if i != int(index):
            total += math.exp(xs[i] - high)
    return total

def softmax_rest(index, *xs):
    rest = others(index, xs)
    return rest / (rest + math.exp(xs[int(index)] - highest(xs)))

def softmax_cross_entropy(index, *xs):
    target, high, rest = xs[int(index)], highest(xs), others(index, xs)
    if target == high:
        return math.log1p(rest)
    return (high - target) + math.log(rest + math.exp(target - high))
"""
NOT_NATIVE = (
    "sinc",
    "polygamma",
    "digamma",
    "gamma_derivative",
    "cot_derivative",
    "sinpi",
)  # lists, exact sums: called in Python
CALLED_BACK = """
def {name}({args}):
    with numba.objmode(result="float64"):
        result = call({args})
    return result
"""

GUARDED = """
def guarded({args}):
    try:
        return call({args})
    except Exception:
        return nan
"""


@cache
def _native_functions() -> dict[str, Any]:
    """Translate our functions on floats: name -> what Numba's code may call."""
    numba, np = package("numba", "numba"), package("numpy", "numba")
    space: dict[str, Any] = {"math": math, "np": np, "inf": math.inf, "nan": math.nan, "pi": math.pi, "numba": numba}
    jit = partial(numba.njit, error_model="numpy")
    ours: dict[str, Any] = dict(vars(special))
    instead: dict[str, Any] = {}
    exec(NATIVE_SOURCE, ours | {"np": np}, instead)
    for name, item in {**ours, **instead}.items():
        if isinstance(item, float | tuple):
            space[name] = item
        elif name in NOT_NATIVE:
            space[name] = _called_back(numba, name, item)
        elif isinstance(item, FunctionType):
            space[name] = jit(FunctionType(item.__code__, space, name, item.__defaults__))
    for name in p.TABLE:
        if name not in space and hasattr(math, name):
            space[name] = getattr(math, name)
    return space


def _guarded(numba: Any, function: Callable[..., float], arity: int) -> Any:
    """Let machine code call a function in machine code; nan where it raises."""
    space: dict[str, Any] = {"call": function, "nan": math.nan}
    exec(GUARDED.format(args=", ".join(f"x{i}" for i in range(arity))), space)
    return numba.njit(space["guarded"])


def _called_back(numba: Any, name: str, function: Callable[..., float], arity: int = 0) -> Any:
    """Let machine code call a function of floats in Python; nan where it raises."""
    arity = arity or len(inspect.signature(function).parameters)
    space: dict[str, Any] = {"numba": numba, "call": partial(or_nan, function)}
    exec(CALLED_BACK.format(name=name, args=", ".join(f"x{i}" for i in range(arity))), space)
    return numba.njit(space[name])


class _Column:
    """One argument of a kernel: an array of the numbers in it, a row for each example (one row without a batch)."""

    def __init__(self, name: str, width: int) -> None:
        self.name, self.width = name, width

    def place(self, i: int) -> Place:
        """Say where the kernel finds a number."""
        return Place(f"{self.name}[i, ", i)


class _Kernel:
    """Machine code for one structure of arguments: the value, and with `backward` the derivatives too."""

    def __init__(self, owner: "Native", names: list[str], widths: list[int], backward: bool) -> None:
        self.owner, self.backward = owner, backward
        self.np = owner.np
        self.columns = [_Column(name, width) for name, width in zip(names, widths, strict=True)]
        self.inputs = [Term(None, (), -1, False) for _ in range(sum(widths))]
        for number_, term in enumerate(self.inputs):
            term.name = f"x{number_}"
        self.builder = Builder(self.inputs, in_loop=owner.in_batch)
        self.result: Any = None
        self.shape: Any = None  # of the results, if there are any yet
        self.size = 0  # how many numbers the result has
        self.leaves: dict[Value, int] = {}
        self.source = ""
        self.call: Callable[..., int] | None = None
        self.careful: Callable[..., int] | None = None
        self.lock = threading.RLock()

    # ---- learning

    def learn(self, samples: "Iterable[tuple[tuple[Any, ...], dict[str, Any]]]") -> None:
        """Trace f at some examples, and translate anew."""
        ways, error = self.builder.ways, None
        for args, kwargs in samples:
            try:
                self.add(args, kwargs)
            except (ArithmeticError, ValueError) as raised:
                error = error or raised
        if self.builder.ways == ways:
            raise error or RuntimeError(
                f"{self.owner.__name__} branches on a Value that an array stands for: choose with autodiff.where, "
                "maximum or clip, which are operations"
            )
        self.source, self.call = self.translate(careful=False)
        self.careful = None

    def add(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Trace f at one example, and add the way that it takes."""
        f = self.owner.one_example
        record = trace(partial(_with_signals, f) if self.backward else f, args, kwargs)
        add_way(self.builder, record, self.owner.__name__, self.shape)
        self.leaves = {leaf: i for i, leaf in enumerate(self.builder.captured)}
        self.size = 1 + len(self.leaves) if self.backward else len(numeric(record.outputs()))
        if not self.backward:
            self.result, self.shape = record.result, skeleton(record.result)

    def targets(self, block: Block) -> list[Target]:
        """Say where the outputs of a way go: to the value and the derivatives by Values from outside, or in order."""
        if self.backward:
            value, *signals, found = block.outputs or [0.0, _Leaves()]
            pairs = zip(found.values, signals, strict=True)
            ends = [(0, value), *((1 + self.leaves[leaf], x) for leaf, x in pairs if isinstance(x, Term) or x)]
        else:
            ends = list(enumerate(numeric(block.outputs)))
        sign = "+=" if self.owner.in_batch else "="
        return [Target(Place("out", i), x, sign) for i, x in ends]

    def translate(self, careful: bool) -> tuple[str, Callable[..., int]]:
        """Print the kernel and have it compiled."""
        numba = package("numba", "numba")
        places = [column.place(i) for column in self.columns for i in range(column.width)]
        given = dict(zip(self.inputs, places, strict=True))
        given.update({term: Place("w", self.leaves[leaf]) for leaf, term in self.builder.captured.items()})
        own: dict[str, Any] = {}
        printer = Rolled(
            self.builder,
            careful,
            given,
            self.targets,
            partial(self.template, own),
            ("continue", "return i + 1"),
            {"w": len(self.leaves), "out": self.size},
        )
        printer.compute(self.builder.before_loop, "    ")
        before, printer.lines = printer.lines, []
        printer.print(self.builder.root, "        ")
        parameters = ", ".join(["w", "out", "count", *(column.name for column in self.columns)])
        lines = [
            f"def kernel({parameters}):",
            *("    " + line for line in printer.declarations()),
            *before,
            "    for i in range(count):",
            *printer.lines,
            f"    for j in range({self.size}):",
            "        if out[j] != out[j]:  # 0 * inf somewhere? An exact 0 wins",
            "            return -1",
            "    return 0",
        ]
        source = "\n".join(lines) + "\n"
        tables = {name: self.np.array(numbers) for name, numbers in printer.tables.items()}
        made = {name: item for name, (_, item) in own.items()}
        space = {**_native_functions(), **made, **tables, "empty": self.np.empty}
        exec(compile(source, f"<chainrule in Numba: {self.owner.__name__}>", "exec"), space)
        vector, matrix = (numba.types.Array(numba.float64, axes, "C", readonly=True) for axes in (1, 2))
        signature = numba.int64(vector, numba.float64[::1], numba.int64, *[matrix for _ in self.columns])
        return source, numba.njit(signature, error_model="numpy")(space["kernel"])

    @staticmethod
    def template(own: dict[str, Any], primitive: Primitive, args: Sequence[Any]) -> str:
        """Give the source of a primitive; one that a user declared is translated, or else called in Python."""
        if primitive.is_ours:
            source = primitive.template(tuple(args)) if primitive.arity is not None else call_template(primitive, args)
            if source == "{} ** {}":
                small = -1.0 <= args[1] <= 16.0  # products would underflow before their inverse does
                return f"{{0}} ** {int(args[1])}" if small else "power({}, {})"
            return source or call_template(primitive, args)
        name = f"own_{primitive.name}"
        while name in own and own[name][0] is not primitive:
            name += "_"
        if name not in own:
            own[name] = (primitive, _own_function(primitive, len(args)))
        return f"{name}({', '.join(['{}'] * len(args))})"

    # ---- running

    def some(self, first: int, count: int) -> list[int]:
        """Choose examples to trace together, for translating takes seconds: this one, and later ones far apart."""
        room = min(TOGETHER, self.owner.max_ways - self.builder.ways, count - first)
        return [first + i * (count - first) // room for i in range(room)]

    def run(self, read: "Callable[[_Kernel], Any]", matrices: list[Any], sample: Callable[[int], Any]) -> Any:
        """Run over all examples; learn until all of them take known ways. `read` gives the Values from outside."""
        count = len(matrices[0])
        while True:
            with self.lock:
                if self.call is None:
                    self.learn(map(sample, self.some(0, count)))
                call, out = self.call, self.np.zeros(self.size)
                w = read(self)
            assert call is not None
            stopped = call(w, out, count, *matrices)
            if stopped <= 0:
                break
            with self.lock:
                if self.builder.ways >= self.owner.max_ways:
                    raise _TooManyWaysError
                self.learn(map(sample, self.some(stopped - 1, count)))
        if stopped < 0:  # a result is nan
            with self.lock:
                if self.careful is None:
                    _, self.careful = self.translate(careful=True)
                out = self.np.zeros(self.size)
                self.careful(read(self), out, count, *matrices)
        return out


class _TooManyWaysError(Exception):
    """The function branches in more ways than may be translated."""


def _own_function(primitive: Primitive, arity: int) -> Any:
    """Translate the value of a primitive that a user declared; if Numba cannot, it is called in Python."""
    numba = package("numba", "numba")
    try:
        made = numba.njit(numba.float64(*[numba.float64] * arity), error_model="numpy")(primitive.value)
        return _guarded(numba, made, arity)
    except (numba.core.errors.NumbaError, TypeError, AttributeError):
        return _called_back(numba, primitive.name, primitive.value, arity)


def _one_number(f: Callable[..., Any], *example: Any) -> Any:
    """Evaluate f for one example, as a batch does."""
    output = f(*example)
    return output if isinstance(output, Value) else constant(output, "the result of the function")


class Native:
    """A function compiled to machine code by Numba; `compile(f, backend="numba")` makes it.

    Called, it gives what f gives, to rounding; of `batch_mean(f)` and `batch_sum(f)` the loop over the examples is
    machine code too. Values that f closes over are read at each call. Where f would raise, the result is inf or nan.
    Fastest are arrays of floats: for a batch, an array for each argument with one row for each example.

    >>> import numpy
    >>> from autodiff import Value, batch_mean, compile
    >>> w = Value(2.0)
    >>> fast = compile(batch_mean(lambda x, y: (w * x - y) ** 2), backend="numba")
    >>> x, y = numpy.array([1.0, 2.0]), numpy.array([0.0, 1.0])
    >>> fast.backward(x, y), w.grad
    (6.5, 8.0)
    >>> loss = fast.as_function_of([w])  # of an array, as optimisers want it
    >>> loss(numpy.array([1.0]), x, y)
    (1.0, array([3.]))
    """

    def __init__(self, f: Callable[..., Any], plain: Any, max_ways: int) -> None:
        self.function, self.plain, self.max_ways = f, plain, max_ways
        self.np = package("numpy", "numba")
        package("numba", "numba")
        self.__name__ = readable_name(f)
        batch = batch_of(f)
        self.in_batch = batch is not None
        self.one_example: Callable[..., Any] = partial(_one_number, batch.one_example) if batch else f
        self.is_mean = batch is not None and batch.kind == "batch_mean"
        self._signature = signature_of(f)
        self._kernels: dict[Any, _Kernel] = {}
        self._lock = threading.RLock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the machine code."""
        if _is_watched():
            return self.plain(*args, **kwargs)
        try:
            if self.in_batch:
                return self._batch(_current, args, kwargs, backward=False)[0]
            kernel, matrix, sample = self._prepared(args, kwargs, backward=False)
            out = kernel.run(_current, [matrix], sample)
        except _TooManyWaysError:
            return self.plain(*args, **kwargs)
        return arranged(kernel.result, out.tolist())

    def backward(self, *args: Any, **kwargs: Any) -> float:
        """Return the value, and add the derivative by each Value that f closes over to its `grad`."""
        if _is_watched():
            return float(self.plain.backward(*args, **kwargs))
        try:
            value, slopes = self._derived(_current, args, kwargs)
        except _TooManyWaysError:
            return float(self.plain.backward(*args, **kwargs))
        for leaf, slope in slopes.items():
            leaf.grad += slope
        return value

    def descend(self, rate: float, /, *args: Any, **kwargs: Any) -> float:
        """Return the value, and set the `data` of each Value that f closes over to data - rate * derivative."""
        rate, *_ = _Descent.checked((rate, *args), kwargs)
        if _is_watched():
            return float(self.plain.descend(rate, *args, **kwargs))
        try:
            value, slopes = self._derived(_current, args, kwargs)
        except _TooManyWaysError:
            return float(self.plain.descend(rate, *args, **kwargs))
        for leaf, slope in slopes.items():
            leaf._data -= rate * slope
        return value

    def as_function_of(self, parameters: Iterable[Value]) -> Callable[..., tuple[float, Any]]:
        """Make a function of an array, which stands for these Values, and of the arguments: value and gradient.

        Neither reads nor changes the Values, and so costs nothing for each of them: for an optimiser, SciPy's or one
        of a few lines of NumPy.
        """
        chosen = {leaf: i for i, leaf in enumerate(dict.fromkeys(parameters))}
        if not all(isinstance(leaf, Value) for leaf in chosen):
            raise TypeError("as_function_of takes Values that the function closes over, such as model.parameters()")
        np, where = self.np, _Whereabouts(self.np, chosen)

        def value_and_gradient(array: Any, *args: Any, **kwargs: Any) -> tuple[float, Any]:
            array = np.ascontiguousarray(array, dtype=float)
            if array.shape != (len(chosen),):
                raise ValueError(f"the array must hold {len(chosen)} parameters in one row, not shape {array.shape}")
            try:
                value, parts = self._sums(partial(where.read, array), args, kwargs)
            except _TooManyWaysError:
                raise RuntimeError(
                    f"{self.__name__} has more than {self.max_ways} ways, or constants among its arguments: choose "
                    "with autodiff.where, maximum or clip, which are operations, pass floats, or raise max_ways"
                ) from None
            return value, where.gradient(parts)

        return value_and_gradient

    @property
    def source(self) -> str:
        """The Python that Numba translates, for each structure of arguments seen so far."""
        return joined(kernel.source for kernel in self._kernels.values())

    def __reduce__(self) -> tuple[Any, ...]:
        return Native, (self.function, self.plain, self.max_ways)

    def __repr__(self) -> str:
        return f"<{self.__name__} compiled by Numba>"

    # ---- arguments

    def _kernel(self, key: Any, names: list[str], widths: list[int], backward: bool) -> _Kernel:
        with self._lock:
            kernel = self._kernels.get((backward, key))
            if kernel is None:
                self._check_room([key], backward)
                kernel = self._kernels[backward, key] = _Kernel(self, names, widths, backward)
            return kernel

    def _check_room(self, keys: Iterable[Any], backward: bool) -> None:
        """Refuse more structures of arguments than ways: each takes a translation."""
        known = {key for kind, key in self._kernels if kind == backward}
        if len(known.union(keys)) > self.max_ways:
            raise _TooManyWaysError

    def _prepared(self, args: Any, kwargs: dict[str, Any], backward: bool) -> tuple[_Kernel, Any, Callable[[int], Any]]:
        """Find the kernel for one call without a batch, the numbers in one row, and how to trace it."""
        np = self.np
        if len(args) == 1 and not kwargs and type(args[0]) is np.ndarray and args[0].dtype == float:
            row = np.ascontiguousarray(args[0]).reshape(1, -1)
            return self._kernel(args[0].shape, ["x"], [row.shape[1]], backward), row, lambda _: (args, {})
        parameters = list(self._signature.parameters) if self._signature else []
        arguments = Arguments(*bind(self._signature, args, kwargs), one_each=False, parameters=parameters)
        row = np.array([arguments.numbers], dtype=float)
        kernel = self._kernel(arguments.key, ["x"], [row.shape[1]], backward)
        return kernel, row, lambda _: arguments.filled(map(float, arguments.numbers))

    def _batch(
        self, read: Any, columns: tuple[Any, ...], kwargs: dict[str, Any], backward: bool
    ) -> tuple[float, list[tuple[_Kernel, Any]]]:
        """Run over all examples: the value, and each kernel with its sums of derivatives."""
        if kwargs or not columns or len({len(column) for column in columns}) != 1 or not len(columns[0]):
            self.function(*columns, **kwargs)  # raises, and says why
        count, total, parts = len(columns[0]), 0.0, []
        for kernel, matrices, sample in self._groups(columns, backward):
            out = kernel.run(read, matrices, sample)
            out /= count if self.is_mean else 1.0
            total += float(out[0])
            parts.append((kernel, out[1:]))
        return total, parts

    def _groups(self, columns: tuple[Any, ...], backward: bool) -> Iterator[tuple[_Kernel, list[Any], Any]]:
        """Sort the examples by structure: usually they have one."""
        names = [f"x{i}" for i in range(len(columns))]
        found = [item for item in map(self._matrix, columns) if item is not None]
        if len(found) == len(columns):
            matrices, keys = [item[0] for item in found], tuple(item[1] for item in found)
            kernel = self._kernel(keys, names, [m.shape[1] for m in matrices], backward)
            yield kernel, matrices, lambda i: (tuple(_floats(column[i]) for column in columns), {})
            return
        groups: dict[Any, list[Arguments]] = {}
        for example in zip(*columns, strict=True):
            arguments = Arguments(example, {}, one_each=False)
            groups.setdefault(arguments.key, []).append(arguments)
        self._check_room((("rows", key) for key in groups), backward)
        for key, members in groups.items():
            matrix = self.np.array([member.numbers for member in members], dtype=float)
            kernel = self._kernel(("rows", key), ["x"], [matrix.shape[1]], backward)
            yield kernel, [matrix], partial(_filled, members)

    def _matrix(self, column: Any) -> tuple[Any, Any] | None:
        """Give the numbers of a column, a row for each example, and their structure; None if not all are floats."""
        np = self.np
        kind: Any = np.ndarray
        if type(column) is not np.ndarray:
            kinds = {type(item) for item in column}
            kind = kinds.pop()
            if kinds or kind not in (float, list, tuple):
                return None
            try:
                column = np.array(column)
            except ValueError:  # of several lengths
                return None
        if column.dtype.kind != "f":
            return None
        matrix = np.ascontiguousarray(column, dtype=float).reshape(len(column), -1)
        return matrix, (kind, column.shape[1:])

    def _sums(
        self, read: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[float, list[tuple[_Kernel, Any]]]:
        """Run with derivatives: the value, and each kernel with its derivatives."""
        if self.in_batch:
            return self._batch(read, args, kwargs, backward=True)
        kernel, matrix, sample = self._prepared(args, kwargs, backward=True)
        out = kernel.run(read, [matrix], sample)
        return float(out[0]), [(kernel, out[1:])]

    def _derived(self, read: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[float, dict[Value, float]]:
        value, parts = self._sums(read, args, kwargs)
        slopes: dict[Value, float] = {}
        for kernel, found in parts:
            for leaf, slope in zip(kernel.leaves, found.tolist(), strict=True):
                slopes[leaf] = slopes.get(leaf, 0.0) + slope
        return value, slopes


class _Whereabouts:
    """Where each kernel keeps the Values that an array stands for."""

    def __init__(self, np: Any, chosen: dict[Value, int]) -> None:
        self.np, self.chosen = np, chosen
        self.known: dict[tuple[_Kernel, int], tuple[Any, Any] | None] = {}

    def of(self, kernel: _Kernel) -> tuple[Any, Any] | None:
        """Give the places in the kernel and those in the array of the Values that both know; None if they are equal."""
        key = (kernel, len(kernel.leaves))
        if key not in self.known:
            if [id(leaf) for leaf in kernel.leaves] == [id(leaf) for leaf in self.chosen]:
                self.known[key] = None
            else:
                pairs = [(i, self.chosen[leaf]) for leaf, i in kernel.leaves.items() if leaf in self.chosen]
                inside, outside = (self.np.array([pair[k] for pair in pairs], dtype=int) for k in (0, 1))
                self.known[key] = (inside, outside)
        return self.known[key]

    def read(self, array: Any, kernel: _Kernel) -> Any:
        """Arrange the array as the kernel wants it; Values that are not in it are read."""
        places = self.of(kernel)
        if places is None:
            return array
        w = _current(kernel)
        w[places[0]] = array[places[1]]
        return w

    def gradient(self, parts: list[tuple[_Kernel, Any]]) -> Any:
        """Add up the derivatives from all kernels."""
        if len(parts) == 1 and self.of(parts[0][0]) is None:
            return parts[0][1]
        total = self.np.zeros(len(self.chosen))
        for kernel, slopes in parts:
            places = self.of(kernel)
            if places is None:
                total += slopes
            else:
                total[places[1]] += slopes[places[0]]
        return total


def _current(kernel: _Kernel) -> Any:
    """Read the Values from outside."""
    return kernel.np.array([leaf._data for leaf in kernel.leaves], dtype=float)


def _floats(example: Any) -> Any:
    """Give one example as f gets it, its numbers as floats."""
    if is_array(example) and example.shape:
        return example.astype(float, copy=False)
    entries = children(example)
    return float(example) if entries is None else rebuild(example, [_floats(x) for _, x in entries])


def _filled(members: "list[Arguments]", i: int) -> Any:
    return members[i].filled(map(float, members[i].numbers))
