"""Vectorising: a function of numbers becomes one of NumPy's arrays, with the same straight-line source."""

import importlib
import itertools
import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
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
    is_numeric,
    numeric,
    or_nan,
    package,
    signature_of,
    skeleton,
)
from autodiff.codegen import ATOM, Names, Text, bare, number, template
from autodiff.exporting import joined
from autodiff.primitives import Primitive
from autodiff.rolling import Plan, condition
from autodiff.specialising import _is_watched
from autodiff.terms import Block, Builder, Term
from autodiff.tracing import Trace, trace
from autodiff.trees import children, is_array, leaves, rebuild, tree_map, unflatten
from autodiff.value import Value

__all__ = ["Vectorised"]

CHUNK = 4096  # numbers that go through all operations together: they stay in the processor's cache
AROUND = r"[vd]\d+|way_\d+|split|unseen"  # what the generated code calls its own
TRIES = 100  # points on which f may raise before one is traced

# How primitives print for arrays where that differs from how they print for floats.
VECTOR = {
    "ieee_div": "{} / {}",
    "ieee_log": "log({})",
    "ieee_pow": "power({}, {})",
    "pow": "power({}, {})",
    "rsqrt": "1.0 / sqrt({})",
    "sign": "copysign(sign({0}), {0})",
    "floor": "floor({}) + 0.0",
    "ceil": "ceil({}) + 0.0",
    "trunc": "trunc({}) + 0.0",
    "rint": "rint({}) + 0.0",
    "greater": "where({} > {}, 1.0, 0.0)",
    "beats": "where({0} > {1}, 1.0, where({0} < {1}, 0.0, where({0} == {1}, 0.5, nan)))",
    "within": "where(({1} <= {0}) & ({0} <= {2}), 1.0, 0.0)",
    "where": "where({} != 0.0, {}, {})",
    "clip": "where({0} < {1}, {1}, where({0} > {2}, {2}, {0}))",
    "hard_tanh": "minimum(maximum({}, -1.0), 1.0)",
    "relu": "maximum({}, 0.0)",
    "leaky_relu": "where({0} > 0.0, {0}, {1} * {0})",
    "elu": "where({0} > 0.0, {0}, {1} * expm1(minimum({0}, 0.0)))",
    "elu_bend": "where({0} >= 0.0, 0.0, {1} * exp(minimum({0}, 0.0)))",
    "asin": "arcsin({})",
    "acos": "arccos({})",
    "atan": "arctan({})",
    "atan2": "arctan2({}, {})",
    "asinh": "arcsinh({})",
    "acosh": "arccosh({})",
    "atanh": "arctanh({})",
}
SAME_IN_NUMPY = """sign floor ceil trunc rint maximum minimum sqrt cbrt exp exp2 expm1 log log2 log10 log1p logaddexp
    sin cos tan hypot sinh cosh tanh degrees radians copysign fmod"""


def _operators(primitive: Primitive, args: Sequence[Any]) -> str | None:
    """Give the template of what prints as operators for every backend."""
    if primitive is p.power or primitive is p.ieee_pow:
        exponent = args[1]
        if type(exponent) is float and exponent in (2.0, 3.0):
            return " * ".join(["{0}"] * int(exponent))
    ours = primitive.is_ours
    source = primitive.source
    plain = ours and source and not re.search(r"[a-z_]+\(| if ", source)
    return source if plain else None


def _array_template(primitive: Primitive, args: Sequence[Any]) -> str:
    """Give the source of a primitive on arrays."""
    if primitive.is_ours and primitive.name in VECTOR and _operators(primitive, args) is None:
        return VECTOR[primitive.name]
    return _operators(primitive, args) or call_template(primitive, args)


def _array_functions(np: Any) -> dict[str, Any]:
    """Collect the functions that code on arrays may call: NumPy's, and ours written with them."""
    erfc = _special_function("erfc", np)

    def chain(signal: Any, local: Any) -> Any:
        return np.where((signal == 0.0) | (local == 0.0), 0.0, signal * local)

    def cbrt_derivative(order: float, x: Any) -> Any:
        inverse, factors = 1.0 / np.cbrt(x), [(1.0 - 3.0 * k) / 3.0 for k in range(int(order))]
        found = math.prod(factors) * inverse
        for _ in range(3 * int(order) - 2):
            found = found * inverse
        return np.where(x == 0.0, math.inf if order % 2.0 else math.nan, found)

    def sigmoid(x: Any) -> Any:
        e = np.exp(-abs(x))
        return np.where(x >= 0.0, 1.0, e) / (1.0 + e)

    def sech(x: Any) -> Any:
        e = np.exp(-abs(x))
        return 2.0 * e / (1.0 + e * e)

    def softplus(x: Any) -> Any:
        return np.maximum(x, 0.0) + np.log1p(np.exp(-abs(x)))

    def logit(x: Any) -> Any:
        near = (x > 0.25) & (x < 0.75)
        return np.where(near, 2.0 * np.arctanh(2.0 * x - 1.0), np.log(x) - np.log1p(-x))

    def unit(x: Any, y: Any) -> Any:
        scale = np.maximum(np.maximum(abs(x), abs(y)), 5e-324)
        near = (x / scale) / np.hypot(x / scale, y / scale)
        far = np.where(np.isinf(x), np.where(abs(y) < math.inf, np.copysign(1.0, x), math.nan), np.copysign(0.0, x))
        near = np.where((x == 0.0) & (y == 0.0), 0.0, near)
        return np.where(np.isinf(x) | np.isinf(y), far, near)

    def moderate(x: Any, y: Any, order: float) -> Any:
        """Say where powers of that order neither overflow nor underflow."""
        low, high = np.minimum(abs(x), abs(y)), np.maximum(abs(x), abs(y))
        return (low > 10.0 ** (-150.0 / order)) & (high < 10.0 ** (150.0 / order))

    def filled(found: Any, known: Any, function: Callable[..., float], *args: Any) -> Any:
        """Call a function of floats for the points where the result is not known."""
        found, known, *args = np.broadcast_arrays(found, known, *args)
        if not known.all():
            found = found.copy()
            found[~known] = _one_by_one(function, np)(*[x[~known] for x in args])
        return found

    def powers_of_inverse(order: float, x: Any, y: Any) -> Any:
        radius = np.hypot(x, y)
        first = x / radius / radius - 1j * (y / radius / radius)
        if order == 1.0:
            return first
        second = (x - y) / radius / radius * ((x + y) / radius / radius) + 2.0j * first.real * first.imag
        found = first if order % 2.0 else second
        for _ in range((int(order) - 1) // 2):
            found = found * second
        return found

    def inverse_power_real(order: float, x: Any, y: Any) -> Any:
        found = powers_of_inverse(order, x, y).real
        return filled(found, moderate(x, y, order), special.inverse_power_real, order, x, y)

    def inverse_power_imag(order: float, x: Any, y: Any) -> Any:
        found = powers_of_inverse(order, x, y).imag
        return filled(found, moderate(x, y, order), special.inverse_power_imag, order, x, y)

    def hypot_derivative(i: float, j: float, x: Any, y: Any) -> Any:
        radius, order = np.hypot(x, y), i + j
        terms = enumerate(special.hypot_coefficients(int(i), int(j)))
        u, v = x / radius, y / radius
        found = sum(c * u ** (int(order) - k) * v**k for k, c in terms if c) / radius ** (order - 1.0)
        return filled(found, moderate(x, y, 2.0 * order), special.hypot_derivative, i, j, x, y)

    power_factor = FunctionType(special.power_factor.__code__, {"chain": chain, "ieee_pow": np.power})

    def power_derivative(by_x: float, by_y: float, x: Any, y: Any) -> Any:
        size, exponent = abs(x), y - by_x
        log = np.log(size) if by_y else 0.0
        factor = power_factor(by_x, by_y, log, np.where(log == 0.0, y, np.clip(y, -1e25, 1e25)))
        is_complex = (by_y > 0.0) | ((y % 1.0 != 0.0) & np.isfinite(x) & np.isfinite(y))
        signed = np.where((y % 2.0 - by_x) % 2.0 == 1.0, -factor, factor)
        factor = np.where(x < 0.0, np.where(is_complex, math.nan, signed), factor)
        power = np.power(np.where(np.isnan(factor), x, size), exponent)
        in_range = ((power >= special.SMALLEST_NORMAL) & (power < math.inf)) | (abs(exponent) < 0.5) | np.isnan(factor)
        if np.all(in_range):
            return chain(factor, power)
        root = np.power(size, 0.25 * exponent)
        by_root = chain(chain(chain(chain(factor, root), root), root), root)
        return np.where(in_range, chain(factor, power), by_root)

    def step(x: Any, below: Any, slope: Any) -> Any:
        kink = np.fmax(np.fmin(slope, 1.0), 0.0)
        return np.where(x > 0.0, 1.0, np.where(x < 0.0, below, np.where(x == 0.0, kink, x)))

    def leaky_step(x: Any, slope: Any) -> Any:
        return step(x, slope, slope)

    def elu_slope(x: Any, alpha: Any) -> Any:
        return step(x, alpha * np.exp(np.minimum(x, 0.0)), alpha)

    def selu(x: Any) -> Any:
        below = special.SELU_ALPHA * np.expm1(np.minimum(x, 0.0))
        return special.SELU_SCALE * np.where(x > 0.0, x, below)

    def normal_cdf(x: Any) -> Any:
        return 0.5 * erfc(-x / special.SQRT2)

    def normal_pdf(x: Any) -> Any:
        return special.INV_SQRT_2PI * np.exp(-0.5 * x * x)

    def gelu_tanh(x: Any) -> Any:
        return chain(x, sigmoid(x * (special.GELU_C1 + special.GELU_C3 * x * x)))

    def softsign(x: Any) -> Any:
        return np.where(np.isinf(x), np.copysign(1.0, x), x / (1.0 + abs(x)))

    def exponentials(xs: tuple[Any, ...]) -> tuple[Any, list[Any]]:
        high = xs[0]
        for x in xs[1:]:
            high = np.maximum(high, x)
        return high, [np.exp(x - high) for x in xs]

    def logsumexp(*xs: Any) -> Any:
        high, found = exponentials(xs)
        rest, taken = 0.0, np.bool_(False)
        for x, e in zip(xs, found, strict=True):
            chosen = (x == high) & ~taken
            rest, taken = rest + np.where(chosen, 0.0, e), taken | chosen
        return np.where(np.isinf(high), high, high + np.log1p(rest))

    def softmax(index: float, *xs: Any) -> Any:
        _, found = exponentials(xs)
        return found[int(index)] / sum(found)

    def softmax_rest(index: float, *xs: Any) -> Any:
        _, found = exponentials(xs)
        return sum(found[: int(index)] + found[int(index) + 1 :]) / sum(found)

    def softmax_cross_entropy(index: float, *xs: Any) -> Any:
        target = xs[int(index)]
        high, found = exponentials(xs)
        rest = sum(found[: int(index)] + found[int(index) + 1 :])
        return np.where(target == high, np.log1p(rest), (high - target) + np.log(rest + found[int(index)]))

    ours = {name: item for name, item in locals().items() if callable(item)}
    names = f"{SAME_IN_NUMPY} abs where power arcsin arccos arctan arctan2 arcsinh arccosh arctanh"
    theirs = {name: getattr(np, name) for name in names.split()}
    return {
        **theirs,
        **ours,
        "logsigmoid": lambda x: -softplus(-x),
        "gelu": lambda x: chain(x, normal_cdf(x)),
        "silu": lambda x: chain(x, sigmoid(x)),
        "mish": lambda x: chain(x, np.tanh(softplus(x))),
        **{name: _special_function(name, np) for name in ("erf", "erfc", "gamma", "lgamma")},
        "inf": math.inf,
        "nan": math.nan,
    }


def _special_function(name: str, np: Any) -> Any:
    """Give SciPy's function on arrays if there is one, else Python's, called for each number."""
    try:
        return getattr(importlib.import_module("scipy.special"), {"lgamma": "gammaln"}.get(name, name))
    except ModuleNotFoundError:
        return _one_by_one(getattr(math, name), np)


def _one_by_one(function: Callable[..., float], np: Any) -> Any:
    """Turn a function of floats into a slow one of arrays; nan where it raises."""
    return np.vectorize(partial(or_nan, function), otypes=[float])


class _ArrayPrinter:
    """Prints a tree of blocks as functions of arrays, one for each block."""

    def __init__(self, builder: Builder, taken: set[str], careful: bool, np: Any) -> None:
        self.plan = Plan(builder, careful)
        self.taken, self.np = taken, np
        self.texts: dict[Term, Text] = {}
        self.functions_known = _array_functions(np)
        self.names: dict[str, Any] = {}  # functions called for each number
        self.own: dict[Primitive, str] = {}
        self.functions: list[str] = []
        self.counts = {"v": 0, "d": 0}
        self.serial = itertools.count(1)
        given = {*builder.inputs, *builder.captured.values()}
        self.crossing = {
            x
            for block in self.plan.blocks
            for x in itertools.chain(*(t.args for t in self.plan.terms(block)), self._ends(block))
            if isinstance(x, Term) and x not in given and x.block is not block
        }

    @staticmethod
    def _ends(block: Block) -> list[Any]:
        return [*(block.outputs or ()), *(block.question.operands if block.question else ())]

    def operand(self, x: Any) -> Text:
        """Print a constant, a name, or an expression that is put in place."""
        if isinstance(x, Term):
            return self.texts.get(x) or Text(x.name)
        return Text(number(x), 30 if math.copysign(1.0, x) < 0.0 else ATOM)

    def print(self, block: Block, live: list[str], name: str) -> None:
        """Print the function of a block, after those that it calls."""
        lines = [f"def {name}({', '.join(live)}):"]
        live = list(live)
        section = ""
        terms = self.plan.terms(block)
        users = {x: term for term in terms for x in term.args if isinstance(x, Term)}
        for term in terms:
            text = self._expression(term)
            if self._may_inline(term, users.get(term), text):
                self.texts[term] = text
                continue
            if section != (section := "derivatives" if term.deriving else "values"):
                lines.append(f"    # {section}")
            self._assign(term, text, lines)
            if term in self.crossing:
                live.append(self.texts[term].text)
        lines.append(f"    return {self._fork(block, live) if block.question else self._result(block)}")
        self.functions.append("\n".join(lines) + "\n")

    def _result(self, block: Block) -> str:
        numbers = [self.operand(x).text for x in numeric(block.outputs)]
        return ", ".join(numbers) + ("," if len(numbers) == 1 else "") if numbers else "()"

    def _fork(self, block: Block, live: list[str]) -> str:
        """Print the choice between two ways, each taken for the points that belong there."""
        assert block.question is not None
        ways = []
        for outcome in (True, False):
            way = block.ways.get((bool, outcome))
            name = "unseen"
            if way is not None:
                name = next(name for i in self.serial if (name := f"way_{i}") not in self.taken)
            ways.append(name)
            if way is not None:
                self.print(way, live, ways[-1])
        return f"split({condition(block.question, self.operand)}, {', '.join(ways)}, {', '.join(live)})"

    def _expression(self, term: Term) -> Text:
        assert term.primitive is not None
        args = [self.operand(x) for x in term.args]
        source = "{} * {}" if term in self.plan.hopeful else _array_template(term.primitive, term.args)
        source = self._known(term.primitive, source)
        shape = template(source, len(args))
        printed = [a.within(n) for a, n in zip(args, shape.needed, strict=True)]
        return Text(shape.text.format(*printed), shape.precedence, 1 + max((a.depth for a in args), default=0))

    def _known(self, primitive: Primitive, source: str) -> str:
        """Provide a primitive that has no function on arrays: it is called for each number."""
        head = source.split("(")[0]
        ours = primitive.is_ours
        if head != primitive.name or (ours and head in self.functions_known):
            return source
        if primitive not in self.own:
            shown = head
            while shown in {*self.names, *self.functions_known, *self.taken} or re.fullmatch(AROUND, shown):
                shown += "_"
            self.own[primitive] = shown
            self.names[shown] = _one_by_one(primitive.value, self.np)
        return source.replace(f"{head}(", f"{self.own[primitive]}(", 1)

    def _may_inline(self, term: Term, user: Term | None, text: Text) -> bool:
        if self.plan.uses[term] != 1 or term in self.crossing or len(text.text) > 100:
            return False
        if user is None:
            return True
        assert user.primitive is not None
        source = "{} * {}" if user in self.plan.hopeful else _array_template(user.primitive, user.args)
        repeats = template(source, len(user.args)).repeats
        return not any(x is term and r for x, r in zip(user.args, repeats, strict=True))

    def _assign(self, term: Term, text: Text, lines: list[str]) -> None:
        letter = "d" if term.deriving else "v"
        self.counts[letter] += 1
        name = f"{letter}{self.counts[letter]}"
        self.texts[term] = Text(name)
        lines.append(f"    {name} = {bare(text.text)}")


class _UnseenError(Exception):
    """Points that take a way which no trace took."""

    def __init__(self, points: Sequence[Any]) -> None:
        super().__init__()
        self.points = points


def _split(np: Any, mask: Any, yes: Callable[..., Any], no: Callable[..., Any], *live: Any) -> tuple[Any, ...]:
    """Send each point the way it belongs, and put the results together again."""
    if np.ndim(mask) == 0 or mask.all():
        return tuple((yes if np.all(mask) else no)(*live))
    if not mask.any():
        return tuple(no(*live))
    parts = [way(*[x[chosen] if np.ndim(x) else x for x in live]) for way, chosen in ((yes, mask), (no, ~mask))]
    results = []
    for one, other in zip(*parts, strict=True):
        whole = np.empty(mask.shape)
        whole[mask], whole[~mask] = one, other
        results.append(whole)
    return tuple(results)


class Vectorised:
    """A function compiled for NumPy arrays; `compile(f, backend="numpy")` makes it.

    Where f takes a number, this takes an array of any shape (or a number); the arrays are broadcast together, and each
    number of the result is an array of that shape. The source is straight-line, one operation on arrays for each of f.
    Where f branches, each point goes its own way. Where f would raise, the result is inf or nan.

    >>> import numpy
    >>> from autodiff import compile, value_and_grad
    >>> fast = compile(value_and_grad(lambda x: x * x if x > 0.0 else -x), backend="numpy")
    >>> fast(numpy.array([-1.0, 2.0, 3.0]))
    (array([1., 4., 9.]), array([-1.,  4.,  6.]))
    """

    def __init__(self, f: Callable[..., Any], max_ways: int) -> None:
        self.function = f
        self.max_ways = max_ways
        self.__name__ = readable_name(f)
        self.signature = signature_of(f)
        self.parameters = list(self.signature.parameters) if self.signature else []
        self._entries: dict[Any, _Fields] = {}
        self._lock = threading.RLock()
        self._np = package("numpy", "numpy")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate f at every point of the broadcast arguments."""
        watched = _is_watched()
        if watched and not _has_array([args, kwargs]):
            return self.function(*args, **kwargs)
        arguments = Arguments(*bind(self.signature, args, kwargs), one_each=True, parameters=self.parameters)
        if watched:
            return self._one_by_one(arguments)
        with self._lock:
            entry = self._entries.get(arguments.key)
            if entry is None:
                entry = _Fields(self, arguments, self._np)
                if len(self._entries) < self.max_ways:
                    self._entries[arguments.key] = entry  # else it is made anew for each call
        return entry.run(arguments)

    def _one_by_one(self, arguments: Arguments) -> Any:
        """Evaluate f itself at every point, for whoever watches what it does."""
        points = self._np.broadcast_arrays(*arguments.numbers)
        rows = [arguments.filled(map(float, row)) for row in zip(*(x.flat for x in points), strict=True)]
        results = [self.function(*args, **kwargs) for args, kwargs in rows]
        columns = zip(*[[y for _, y in leaves(result)] for result in results], strict=True)
        return unflatten(results[0], [rebuild(points[0], list(column)) for column in columns])

    @property
    def source(self) -> str:
        """The generated Python, for each structure of arguments seen so far."""
        return joined(entry.source for entry in self._entries.values())

    def __reduce__(self) -> tuple[Any, ...]:
        return Vectorised, (self.function, self.max_ways)

    def __repr__(self) -> str:
        return f"<{self.__name__} compiled for NumPy arrays>"


class _Code:
    """A generated function, and the Values from outside that it takes after the inputs."""

    def __init__(self, np: Any, function: Callable[..., Any], captured: list[Value]) -> None:
        self.np, self.function, self.captured = np, function, captured

    def __call__(self, pieces: list[Any]) -> Any:
        """Evaluate at some points; as NumPy's numbers, scalars follow IEEE 754 too."""
        return self.function(*pieces, *[self.np.float64(leaf._data) for leaf in self.captured])


class _Fields:
    """The code on arrays for one structure of arguments."""

    def __init__(self, owner: Vectorised, arguments: Arguments, np: Any) -> None:
        self.owner, self.np = owner, np
        self.functions = _array_functions(np)
        self.known = Names(*self.functions, "split", "unseen")
        self.names = [self.known.fresh(re.sub(r"^(\w+)\[(\d+)\]$", r"\1\2", name)) for name in arguments.names]
        inputs = [Term(None, (), -1, False) for _ in arguments.numbers]
        for term, name in zip(inputs, self.names, strict=True):
            term.name = name
        self.builder = Builder(inputs)
        self.arguments = arguments  # whose constants every call of this structure shares
        self.result: Any = None
        self.outputs: list[Any] = []
        self.shape: Any = None
        self.source = ""
        self.kernel: _Code | None = None
        self.careful: _Code | None = None
        self.doubtful: list[int] = []
        self.learning = True  # whether a new way is traced, rather than run point by point
        self.lock = threading.RLock()

    # ---- learning

    def learn(self, points: Sequence[Any]) -> None:
        """Trace f at one of these points, the first at which it does not raise."""
        count = max((self.np.size(x) for x in points), default=1)
        for i in range(min(count, TRIES)):
            values = [float(x.flat[i]) if self.np.ndim(x) else float(x) for x in points]
            args, kwargs = self.arguments.filled(values)
            try:
                record = trace(self.owner.function, args, kwargs)
            except (ArithmeticError, ValueError):
                if i + 1 == min(count, TRIES):
                    raise
            else:
                self.add(record)
                return
        raise ValueError("there is no point to evaluate: the first call needs arrays that are not empty")

    def add(self, record: Trace) -> None:
        """Add the way that a trace took, and print everything anew."""
        record.result = tree_map(lambda y: float(y) if type(y) is int else y, record.result)
        add_way(self.builder, record, self.owner.__name__, self.shape)
        self.result, self.outputs, self.shape = record.result, record.outputs(), skeleton(record.result)
        self.kernel, self.careful = self.print(careful=False), None

    def print(self, careful: bool) -> "_Code":
        """Print and define the functions."""
        captured = list(self.builder.captured)
        for leaf, term in self.builder.captured.items():
            term.name = term.name or self.known.fresh(str(leaf.label or "w"))
        names = [*self.names, *(term.name for term in self.builder.captured.values())]
        name = self.known.own(self.owner.__name__)
        printer = _ArrayPrinter(self.builder, {name, *names}, careful, self.np)
        printer.print(self.builder.root, names, name)
        source = "\n\n".join(printer.functions)
        space = {
            **self.functions,
            **printer.names,
            "split": partial(_split, self.np),
            "unseen": self.unseen,
        }
        exec(compile(source, f"<chainrule on arrays: {self.owner.__name__}>", "exec"), space)
        if not careful:
            self.source = source
            blocks = [block for block in printer.plan.blocks if block.outputs is not None]
            self.doubtful = [
                i
                for i in range(len(numeric(self.outputs)))
                if any(numeric(block.outputs or [])[i] in printer.plan.tainted for block in blocks)
            ]
        return _Code(self.np, space[name], captured)

    def unseen(self, *live: Any) -> tuple[Any, ...]:
        """Deal with points that take a way which no trace took: learn it; run f if it raises or there are too many."""
        points = live[: len(self.names)]
        if self.learning and self.builder.ways < self.owner.max_ways:
            raise _UnseenError(points)
        arrays = self.np.broadcast_arrays(*points)
        results = [self.one(row) for row in zip(*(x.reshape(-1) for x in arrays), strict=True)]
        return tuple(self.np.array(column).reshape(arrays[0].shape) for column in zip(*results, strict=True))

    def one(self, row: Iterable[Any]) -> list[float]:
        """Evaluate f at one point, on Values, as a trace does; nan where it raises."""
        args, kwargs = self.arguments.filled([Value(float(x)) for x in row])
        try:
            found = [y for _, y in leaves(self.owner.function(*args, **kwargs))]
        except (ArithmeticError, ValueError):
            return [math.nan for _ in numeric(self.outputs)]
        pairs = zip(found, self.outputs, strict=True)
        return [y._data if isinstance(y, Value) else float(y) for y, output in pairs if is_numeric(output)]

    # ---- running

    def run(self, arguments: Arguments) -> Any:
        """Evaluate at all points, some thousands at a time."""
        np = self.np
        arrays = [np.asarray(x, dtype=float) for x in arguments.numbers]
        try:
            shape = np.broadcast_shapes(*(x.shape for x in arrays))
        except ValueError:
            shapes = ", ".join(f"{name}: {x.shape}" for name, x in zip(self.names, arrays, strict=True))
            raise ValueError(f"arrays must have shapes that broadcast together, not {shapes}") from None
        if self.kernel is None:
            with self.lock:
                self.learn(np.broadcast_arrays(*arrays) if shape else arrays)
        found = [np.empty(shape) for _ in numeric(self.outputs)]
        with np.errstate(all="ignore"):
            for pieces, places in self.chunks(arrays, found, shape) if 0 not in shape else ():
                self.fill(pieces, places)
        return arranged(self.result, found if shape else map(float, found))

    def chunks(self, arrays: list[Any], found: list[Any], shape: tuple[int, ...]) -> Iterator[tuple[Any, Any]]:
        """Cut arguments and results into pieces that belong together."""
        if all(x.ndim == 0 or (x.shape == shape and x.flags.c_contiguous) for x in arrays):
            arrays = [x.reshape(-1) if x.ndim else x for x in arrays]
            found, shape = [x.reshape(-1) for x in found], (math.prod(shape),) if shape else ()
        if not shape:
            yield [x[()] for x in arrays], found
            return
        rows = max(1, CHUNK // max(1, math.prod(shape[1:])))
        for start in range(0, shape[0], rows):
            cut = slice(start, start + rows)
            pieces = [x[cut] if x.ndim == len(shape) and len(x) > 1 else x for x in arrays]
            yield [x if x.ndim else x[()] for x in pieces], [x[cut] for x in found]

    def fill(self, pieces: list[Any], places: list[Any]) -> None:
        """Evaluate one piece; learn until all its points take known ways."""
        if self.builder.root.question and places and places[0].ndim:  # then points are picked: one row of them
            full = places[0].shape
            pieces = [self.np.broadcast_to(x, full).reshape(-1) if x.ndim else x for x in pieces]
            places = [x.reshape(-1) for x in places]
        self.learning = True
        while True:
            assert self.kernel is not None
            try:
                results = self.kernel(pieces)
                break
            except _UnseenError as error:
                with self.lock:
                    try:
                        self.learn(error.points)
                    except (ArithmeticError, ValueError):  # f raises on all of this way, as far as was tried
                        self.learning = False
        for place, result in zip(places, results, strict=True):
            place[...] = result
        suspects = [places[i] for i in self.doubtful]
        if any((total := x.sum()) != total for x in suspects):  # 0 * inf somewhere? An exact 0 wins
            self.repair(pieces, places, suspects)

    def repair(self, pieces: list[Any], places: list[Any], suspects: list[Any]) -> None:
        """Compute again what came out as nan, with an exact 0 winning over infinity and nan."""
        np = self.np
        wrong = np.logical_or.reduce([np.isnan(x) for x in suspects])
        if not wrong.any():  # infinities of both signs
            return
        with self.lock:
            careful = self.careful = self.careful or self.print(careful=True)
        chosen = [np.broadcast_to(x, wrong.shape)[wrong] if np.ndim(x) else x for x in pieces]
        for place, result in zip(places, careful(chosen), strict=True):
            place[wrong] = result


def _has_array(tree: Any) -> bool:
    return is_array(tree) or any(_has_array(item) for _, item in children(tree) or ())
