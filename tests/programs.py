"""Random programs: whatever a person may write with floats, and the ways in which a compiler of it can be wrong.

A program is Python source: it reads like code, it can be run as it stands, and it can be cut down while it still
fails. `python -m tests.programs --count 20000 --seed 0` runs that many, and shows a small version of each wrong one.
"""

import argparse
import ast
import copy
import functools
import itertools
import math
import operator
import random
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import inf, nan
from typing import Any, NamedTuple

from hypothesis import strategies as st

import autodiff as ad
from autodiff import Value, compile
from autodiff.trees import leaves, tree_map

Function = Callable[..., Any]

SPECIAL = (0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 3.0, -2.5, inf, -inf, nan, 1e308, -1e308, 5e-324, 1e-200, 709.0, -745.0)
CONSTANTS = "0.0 1.0 2.0 0.5 3.0 0.1 4.0 -0.0 -1.0 -2.5 1e-200 1e308 inf nan 7"
TOTAL = """abs fabs atan tanh asinh cbrt sign floor ceil trunc rint sigmoid logsigmoid softplus relu leaky_relu elu selu
    gelu gelu_tanh silu softsign mish hard_tanh square erf erfc degrees radians sinc"""
PARTIAL = {  # a function, and what makes a number one of its domain
    "sqrt": "ad.relu({})",
    "log": "ad.square({}) + 0.1",
    "log2": "abs({}) + 0.5",
    "log10": "abs({}) + 0.5",
    "log1p": "ad.relu({})",
    "rsqrt": "ad.square({}) + 0.1",
    "reciprocal": "ad.square({}) + 0.1",
    "acosh": "1.0 + abs({})",
    "asin": "ad.tanh({})",
    "acos": "ad.hard_tanh({})",
    "atanh": "ad.tanh({})",
    "logit": "ad.sigmoid({})",
    "exp": "ad.clip({}, -5.0, 5.0)",
    "exp2": "ad.clip({}, -5.0, 5.0)",
    "expm1": "-abs({})",
    "sinh": "ad.clip({}, -5.0, 5.0)",
    "cosh": "ad.clip({}, -5.0, 5.0)",
    "sin": "ad.clip({}, -9.0, 9.0)",
    "cos": "ad.clip({}, -9.0, 9.0)",
    "tan": "ad.clip({}, -9.0, 9.0)",
    "gamma": "0.5 + ad.clip(abs({}), 0.0, 9.0)",
    "lgamma": "0.5 + abs({})",
    "digamma": "0.5 + abs({})",
}
BINARY = "atan2 hypot copysign fmod remainder logaddexp maximum minimum leaky_relu elu"
ELSEWHERE = (
    "pow where clip polygamma sum sum_of_squares dot affine affine_layer "
    "logsumexp softmax log_softmax softmax_cross_entropy"
)

SHAPES: dict[str, Any] = {
    "x": 0.0,
    "y": 0.0,
    "z": 0.0,
    "p": [0.0, 0.0],
    "q": {"a": 0.0, "b": 0.0},
    "r": (0.0, [0.0, 0.0]),
    "s": [0.0, 0.0, 0.0],
}


class Pair(NamedTuple):
    """A result with names."""

    first: Any
    second: Any


@dataclass(frozen=True)
class Call:
    """One call: the arguments, and what the Values from outside hold at that time."""

    args: tuple[Any, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Program:
    """The source of a function named `program`, and calls of it in order."""

    source: str
    calls: tuple[Call, ...]
    max_ways: int = 64

    def __str__(self) -> str:
        calls = "".join(f"# {', '.join(map(repr, call.args))}; w0, w1 = {call.weights}\n" for call in self.calls)
        return f"{self.source}\n{calls}# max_ways={self.max_ways}\n"

    def function(self, weights: Iterable[Any]) -> Function:
        """Make the function, with these for the numbers that it closes over."""
        namespace = {"ad": ad, "inf": inf, "nan": nan, "math": math, "Pair": Pair, **HELPERS}
        namespace.update({f"w{i}": w for i, w in enumerate(weights)})
        exec(self.source, namespace)
        made: Function = namespace["program"]
        return made


# ---- what programs call for floats and Values alike


def data(x: Any) -> Any:
    """Give the number without its history, as `.data` does."""
    return x.data if isinstance(x, Value) else x


def detach(x: Any) -> Any:
    """Give the number without its history, as a Value."""
    return x.detach() if isinstance(x, Value) else x


def power(x: Any, y: Any) -> Any:
    """Raise x to the power y; a float does not turn complex, for the one written exception to promise 1."""
    return x**y if isinstance(x, Value) or isinstance(y, Value) else ad.pow(x, y)


def plain_sum(numbers: Iterable[Any]) -> Any:
    """Add up from left to right: from Python 3.12 on `sum` of floats compensates, the other exception to promise 1."""
    return functools.reduce(operator.add, numbers, 0)


HELPERS = {"data": data, "detach": detach, "power": power}
if sys.version_info >= (3, 12):
    HELPERS["sum"] = plain_sum


# ---- writing programs


class Writer:
    """Writes one random program. `rng` is all there is to chance, so that hypothesis can drive it."""

    def __init__(self, rng: random.Random, leave_out: Iterable[str] = ()) -> None:
        self.rng = rng
        self.scope: list[str] = []
        self.serial = itertools.count(1)
        self.lines: list[str] = []
        weights = {name: weight for name, weight in STATEMENTS.items() if name not in leave_out}
        self.statements = [name for name, weight in weights.items() for _ in range(weight)]
        self.detaching = "detach" not in leave_out

    def program(self, size: int) -> Program:
        """Write a program and calls of it."""
        names = self.rng.sample(sorted(SHAPES), self.rng.choice((1, 2, 2, 3)))
        self.scope = [f"{name}{way}" for name in names for way, _ in leaves(SHAPES[name])]
        self.scope += self.rng.sample(["w0", "w1"], self.rng.choice((0, 0, 1, 2)))
        self.lines = [f"def program({', '.join(names)}):"]
        self.block("    ", size)
        self.lines.append(f"    return {self.result()}")
        source = ast.unparse(ast.parse("\n".join(self.lines))) + "\n"
        return Program(source, self.calls(names), self.rng.choice((64, 64, 64, 2)))

    def calls(self, names: list[str]) -> tuple[Call, ...]:
        """Choose calls, some of them again and again."""
        made = []
        for _ in range(self.rng.choice((2, 3, 4))):
            args = tuple(tree_map(lambda _: self.argument(), SHAPES[name]) for name in names)
            made.append(Call(args, (self.argument(), self.argument())))
        return tuple(made + [self.rng.choice(made) for _ in range(3)])

    def argument(self) -> float:
        """Choose an argument: most often one for which most functions are defined."""
        if self.rng.random() < 0.25:
            return self.rng.choice(SPECIAL)
        return round(self.rng.uniform(-3.0, 3.0), 2)

    def fresh(self, letter: str) -> str:
        """Name something new."""
        return f"{letter}{next(self.serial)}"

    def write(self, indent: str, line: str) -> None:
        """Add a line."""
        self.lines.append(indent + line)

    # ---- statements

    def block(self, indent: str, size: int) -> None:
        """Write statements; what they define is forgotten at the end of a nested block."""
        known = len(self.scope)
        for _ in range(size):
            getattr(self, f"write_{self.rng.choice(self.statements)}")(indent)
        if indent != "    ":
            del self.scope[known:]

    def define(self, indent: str, expression: str) -> None:
        """Give an expression a name, an old or a new one."""
        old = [name for name in self.scope if name.isidentifier() and name[0] == "v"]
        if old and self.rng.random() < 0.4:
            self.write(indent, f"{self.rng.choice(old)} = {expression}")
            return
        name = self.fresh("v")
        self.write(indent, f"{name} = {expression}")
        self.scope.append(name)

    def nested(self, indent: str) -> None:
        """Write a block of a statement."""
        deeper = indent + "    "
        self.update(deeper)
        if len(deeper) <= 12:
            self.block(deeper, self.rng.choice((0, 1, 2)))

    def update(self, indent: str) -> None:
        """Change a name that exists, so that what happens in a block shows outside."""
        old = [name for name in self.scope if name.isidentifier() and name[0] == "v"]
        self.write(indent, f"{self.rng.choice(old)} = {self.number(2)}" if old else f"{self.number(1)}")

    def write_assign(self, indent: str) -> None:
        self.define(indent, self.number(3))

    def write_unused(self, indent: str) -> None:
        self.write(indent, self.number(2))

    def write_if(self, indent: str) -> None:
        self.write(indent, f"if {self.condition()}:")
        self.nested(indent)
        if self.rng.random() < 0.5:
            self.write(indent, "else:")
            self.nested(indent)

    def write_while(self, indent: str) -> None:
        counter = self.fresh("n")
        self.write(indent, f"{counter} = 0")
        self.write(indent, f"while {self.condition()} and {counter} < {self.rng.choice((2, 5))}:")
        self.nested(indent)
        self.write(indent + "    ", f"{counter} += 1")

    def write_for(self, indent: str) -> None:
        count = self.rng.choice((f"int({self.number(1)}) % 4", "3"))
        self.write(indent, f"for {self.fresh('i')} in range({count}):")
        self.nested(indent)

    def write_return(self, indent: str) -> None:
        self.write(indent, f"if {self.condition()}:")
        self.write(indent + "    ", f"return {self.result()}")

    def write_raise(self, indent: str) -> None:
        self.write(indent, f"if {self.condition()}:")
        error = self.rng.choice(("ValueError", "LookupError", "ZeroDivisionError"))
        self.write(indent + "    ", f"raise {error}('as asked')")

    def write_try(self, indent: str) -> None:
        error = self.rng.choice(("ZeroDivisionError", "ValueError", "OverflowError", "(ArithmeticError, ValueError)"))
        self.write(indent, "try:")
        self.nested(indent)
        self.write(indent, f"except {error}:")
        self.nested(indent)

    def write_no_grad(self, indent: str) -> None:
        self.write(indent, "with ad.no_grad():")
        self.nested(indent)

    def write_containers(self, indent: str) -> None:
        name = self.fresh("p")
        kind = self.rng.choice(("list", "dict", "sorted", "comprehension", "softmax", "divmod"))
        numbers = [self.number(1) for _ in range(self.rng.choice((2, 3)))]
        listed = f"[{', '.join(numbers)}]"
        ways = [f"[{i}]" for i in range(len(numbers))]
        if kind == "dict":
            self.write(indent, f"{name} = {{'a': {numbers[0]}, 'b': {numbers[1]}}}")
            ways = ["['a']", "['b']"]
        elif kind == "comprehension":
            self.write(indent, f"{name} = [{self.within('t', 1)} for t in {listed}]")
        elif kind == "divmod":
            self.write(indent, f"{name} = divmod({numbers[0]}, {numbers[1]})")
            ways = ["[0]", "[1]"]
        elif kind == "softmax":
            self.write(indent, f"{name} = ad.{self.rng.choice(('softmax', 'log_softmax'))}({listed})")
        else:
            self.write(indent, f"{name} = {'sorted' if kind == 'sorted' else ''}({listed})")
        self.scope += [name + way for way in ways]

    def write_transform(self, indent: str) -> None:
        body, at = self.within("t", 2), self.number(1)
        forms = [
            f"ad.grad(lambda t: {body})({at})",
            f"ad.grad(ad.grad(lambda t: {body}))({at})",
            f"ad.value_and_grad(lambda t: {body})({at})[1]",
            f"ad.jvp(lambda t: {body}, ({at},), ({self.number(1)},))[1]",
            f"ad.vjp(lambda t: {body}, {at})[1]({self.number(1)})[0]",
            f"ad.checkpoint(lambda t: {self.pure()})({at})",
        ]
        self.define(indent, self.rng.choice(forms))

    def pure(self) -> str:
        """Write an expression that gives the same when it is evaluated again later: its names never change."""
        scope = self.scope
        self.scope = [name for name in scope if name[0] != "v"]
        expression = self.within("t", 2)
        self.scope = scope
        return expression

    # ---- expressions

    def within(self, name: str, depth: int) -> str:
        """Write an expression that may use one more name."""
        self.scope += [name] * 3
        expression = self.number(depth)
        del self.scope[-3:]
        return expression

    def atom(self) -> str:
        if self.rng.random() < 0.2:
            return f"({self.rng.choice(CONSTANTS.split())})"
        return self.rng.choice(self.scope)

    def number(self, depth: int) -> str:
        """Write an expression that gives a number."""
        if depth == 0 or self.rng.random() < 0.15:
            return self.atom()
        forms = {
            self.arithmetic: 9,
            self.unary: 5,
            self.partial: 3,
            self.binary: 3,
            self.choice: 3,
            self.kernel: 2,
            self.conversion: 1,
        }
        return self.rng.choice([form for form, weight in forms.items() for _ in range(weight)])(depth - 1)

    def arithmetic(self, depth: int) -> str:
        operator = self.rng.choice(("+", "+", "-", "-", "*", "*", "*", "/", "//", "%", "**", "neg"))
        x, y = self.number(depth), self.number(depth)
        if operator == "neg":
            return f"(-{x})"
        if operator == "**":
            exponent = self.rng.choice(("2", "2", "3", "1", "0", "-1", "0.5", "2.0", y))
            return f"power({x}, {exponent})"
        if operator in "//%" and self.rng.random() < 0.6:
            y = self.rng.choice(("2.0", "4", "3.0", f"(ad.square({y}) + 0.1)"))
        return f"({x} {operator} {y})"

    def unary(self, depth: int) -> str:
        name = self.rng.choice(TOTAL.split())
        x = self.number(depth)
        if name == "abs" and self.rng.random() < 0.5:
            return f"abs({x})"
        return f"ad.{name}({x})"

    def partial(self, depth: int) -> str:
        name = self.rng.choice(sorted(PARTIAL))
        x = self.number(depth)
        return f"ad.{name}({PARTIAL[name].format(x) if self.rng.random() < 0.7 else x})"

    def binary(self, depth: int) -> str:
        name = self.rng.choice(BINARY.split())
        if name in ("fmod", "remainder") and self.rng.random() < 0.7:
            return f"ad.{name}(ad.hard_tanh({self.number(depth)}), 0.7)"
        if name == "copysign":  # nan has a sign that nothing else shows: max(-1.0, nan) is -1.0
            return f"ad.copysign({self.number(depth)}, max(-1.0, {self.number(depth)}))"
        return f"ad.{name}({self.number(depth)}, {self.number(depth)})"

    def choice(self, depth: int) -> str:
        x, y, z = (self.number(depth) for _ in range(3))
        forms = (
            f"({x} if {self.condition()} else {y})",
            f"ad.where({x} > {y}, {y}, {z})",
            f"ad.where({x}, {y}, {z})",
            f"ad.clip({x}, {y}, {z})",
            f"max({x}, {y}, {z})",
            f"min({x}, {y})",
            f"sorted([{x}, {y}, {z}])[1]",
            f"({x} or {y})",
            f"ad.relu({x})",
            f"ad.clip({x}, -1.0, 1.0)",
            f"ad.hard_tanh({x})",
        )
        return self.rng.choice(forms)

    def kernel(self, depth: int) -> str:
        xs = [self.number(depth) for _ in range(self.rng.choice((2, 3)))]
        listed = f"[{', '.join(xs)}]"
        ys = f"[{', '.join(self.number(depth) for _ in xs)}]"
        forms = (
            f"ad.sum({listed})",
            f"ad.sum_of_squares({listed})",
            f"sum({listed})",
            f"math.prod({listed})",
            f"ad.dot({listed}, {ys})",
            f"ad.affine({listed}, {ys}, {self.number(depth)})",
            f"ad.affine_layer([{listed}, {ys}], {listed}, [{self.number(depth)}, 0.5])[{self.rng.choice((0, 1))}]",
            f"ad.logsumexp({listed})",
            f"ad.softmax({listed})[0]",
            f"ad.polygamma({self.rng.choice((0, 1, 2))}, 0.5 + abs({xs[0]}))",
            f"ad.softmax_cross_entropy({listed}, 1)",
            f"ad.softmax_cross_entropy({listed}, {[1.0 / len(xs)] * len(xs)})",
        )
        return self.rng.choice(forms)

    def conversion(self, depth: int) -> str:
        x = self.number(depth)
        forms = [f"(int({x}) % 5)", f"round({x})", f"round({x}, 1)", f"data({x})", f"(math.floor({x}) % 3)"]
        return self.rng.choice([*forms, f"detach({x})"] if self.detaching else forms)

    def condition(self) -> str:
        x, y = self.number(1), self.number(1)
        forms = (
            f"{x} {self.rng.choice(('<', '<=', '>', '>=', '==', '!='))} {y}",
            f"{self.atom()} > {self.atom()}",
            f"{self.atom()} > 0",
            f"0.0 < {x} < {y}",
            f"not {x}",
            f"int({x}) % 2",
        )
        return self.rng.choice(forms)

    def result(self) -> str:
        """Write what is returned: a number, or a container of some."""
        x, y, z = (self.number(1) for _ in range(3))
        forms = (x, x, x, f"({x}, {y})", f"[{x}, [{y}, {z}]]", f"{{'a': {x}, 'b': ({y},)}}", f"Pair({x}, {y})")
        return self.rng.choice(forms)


STATEMENTS = {
    "assign": 8,
    "unused": 1,
    "if": 3,
    "while": 2,
    "for": 1,
    "return": 1,
    "raise": 1,
    "try": 1,
    "no_grad": 1,
    "containers": 2,
    "transform": 2,
}


def programs(leave_out: Iterable[str] = ()) -> st.SearchStrategy[Program]:
    """Give hypothesis random programs. It draws a seed only: `shrink` cuts programs down far better than it could."""
    return st.builds(
        lambda rng: Writer(rng, leave_out).program(rng.choice((1, 2, 3, 4, 6))), st.randoms(use_true_random=True)
    )


# ---- routes: what can be asked of a program, in two ways that must agree


class NotAProgramError(Exception):
    """The source itself is at fault: a cut took away what was needed."""


def bits(tree: Any) -> Any:
    """Describe a result so that two descriptions are equal if and only if the results are, to the bit.

    >>> bits([1.0, 1]), bits(-0.0) == bits(0.0), bits(nan) == bits(-nan)
    (('list', '0x1.0000000000000p+0', 'int 1'), False, True)
    """
    if isinstance(tree, Value):
        tree = tree.data
    if isinstance(tree, float):
        return tree.hex() if type(tree) is float else f"{type(tree).__name__} {float(tree).hex()}"
    if isinstance(tree, dict):
        return ("dict", *((key, bits(x)) for key, x in tree.items()))
    if isinstance(tree, list | tuple):
        return (type(tree).__name__, *map(bits, tree))
    if hasattr(tree, "tolist"):
        return (str(tree.dtype), tree.shape, bits(tree.tolist()))
    if callable(tree):
        raise NotAProgramError(f"{tree!r} is no result")
    return f"{type(tree).__name__} {tree!r}"


def outcome(f: Function, *args: Any) -> Any:
    """Call f, and describe the result or the exception."""
    try:
        return bits(f(*args))
    except NotAProgramError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever is raised is the outcome
        return f"raises {type(error).__name__}"


def expected(f: Function, *args: Any) -> Any:
    """Call f as it is; only errors that a program may have are an outcome."""
    found = outcome(f, *args)
    if found in ("raises NameError", "raises UnboundLocalError", "raises AttributeError", "raises TypeError"):
        raise NotAProgramError(found)
    return found


def packed(f: Function) -> Function:
    """Turn f into a function of the tuple of its arguments."""
    return lambda args: f(*args)


def first(f: Function) -> Function:
    """Take the first number of what f returns."""
    return lambda args: next(x for _, x in leaves(f(args)))


def direction(tree: Any) -> Any:
    """Give a direction in the space of the arguments."""
    steps = itertools.cycle((1.0, -0.5, 3.0))
    return tree_map(lambda _: next(steps), tree)


def _hvp(f: Function) -> Function:
    return lambda args: ad.hvp(first(f))(args, direction(args))


def _jvp(f: Function) -> Function:
    return lambda args: ad.jvp(f, (args,), (direction(args),))


def _vjp(f: Function) -> Function:
    def pulled(args: Any) -> Any:
        value, pullback = ad.vjp(f, args)
        return pullback(direction(value))

    return pulled


DERIVATIVES: dict[str, Callable[[Function], Function]] = {
    "value_and_grad": lambda f: ad.value_and_grad(first(f)),
    "grad": lambda f: ad.grad(first(f)),
    "jacobian": ad.jacobian,
    "hessian": lambda f: ad.hessian(first(f)),
    "hvp": _hvp,
    "jvp": _jvp,
    "vjp": _vjp,
    "third": lambda f: ad.jacobian(_hvp(f)),
}


def _runs(program: Program) -> Iterator[tuple[Call, Function, Function]]:
    """Yield each call with the function on floats and on Values, with what is closed over set for it."""
    leaves_outside = [Value(0.0, "w0"), Value(0.0, "w1")]
    closed = program.function(leaves_outside)
    for call in program.calls:
        for w, number in zip(leaves_outside, call.weights, strict=True):
            w.data, w.grad = number, 0.0
        yield call, program.function(call.weights), closed


def _compare(what: str, call: Call, found: Any, right: Any) -> str | None:
    """Say where two outcomes differ, if they do."""
    if found == right:
        return None
    while isinstance(found, tuple) and isinstance(right, tuple) and len(found) == len(right):
        found, right = next((x, y) for x, y in zip(found, right, strict=True) if x != y)
    return f"{what} at {call}: {found}, right {right}"


def check_call(program: Program) -> str | None:
    """Compare the function on floats, on Values, and compiled."""
    fast = None
    for call, plain, closed in _runs(program):
        fast = fast or compile(closed, max_ways=program.max_ways)
        right = expected(plain, *call.args)
        on_values = expected(closed, *tree_map(Value, call.args))
        message = _compare("on Values", call, on_values, right)
        message = message or _compare("compiled", call, outcome(fast, *call.args), right)
        if message:
            return message
    return None


def check_derivative(name: str) -> Callable[[Program], str | None]:
    """Make the comparison of a transform of the function, of the compiled function, and compiled itself."""

    def check(program: Program) -> str | None:
        fast = within = None
        for call, _, closed in _runs(program):
            eager = DERIVATIVES[name](packed(closed))
            fast = fast or compile(eager, max_ways=program.max_ways)
            within = within or DERIVATIVES[name](packed(compile(closed)))
            right = expected(eager, call.args)
            message = _compare(f"compile({name})", call, outcome(fast, call.args), right)
            message = message or _compare(f"{name}(compile)", call, outcome(within, call.args), right)
            if message:
                return message
        return None

    return check


def _gradients(differentiate: Function, weights: list[Value], *args: Any) -> Any:
    """Give the outcome of a call, and what it adds to the Values from outside."""
    for w in weights:
        w.grad = 0.5
    return outcome(differentiate, *args), bits([w.grad for w in weights])


def _eager_backward(scalar: Function) -> Function:
    """Do what `fast.backward` does."""

    def backward(*args: Any) -> float:
        result = scalar(*args)
        if not isinstance(result, Value):
            if not isinstance(result, float | int):
                raise NotAProgramError(f"the result is {result!r}")
            return float(result)
        result.backward()
        return result.data

    return backward


RATE = 0.375


def _steps(descend: Function, weights: list[Value], *args: Any) -> Any:
    """Give the outcome of a call, and where it moves the Values from outside, which stay there no longer."""
    before = [w.data for w in weights]
    found = outcome(descend, *args), bits([w.data + 0.0 for w in weights])  # a step of -0.0 moves -0.0 to 0.0
    for w, x in zip(weights, before, strict=True):
        w.data = x
    return found


def _eager_descend(scalar: Function, weights: list[Value]) -> Function:
    """Do what `fast.descend` does."""

    def descend(*args: Any) -> float:
        for w in weights:
            w.grad = 0.0
        value: float = _eager_backward(scalar)(*args)
        ad.descend(weights, RATE)
        return value

    return descend


def check_descend(program: Program) -> str | None:
    """Compare `fast.descend` with `backward` and a step: the value, and where the Values from outside go."""
    fast = None
    for call, _, closed in _runs(program):
        scalar = first(packed(closed))
        fast = fast or compile(scalar, max_ways=program.max_ways)
        weights = [closed.__globals__[name] for name in ("w0", "w1")]
        expected(scalar, call.args)
        right = _steps(_eager_descend(scalar, weights), weights, call.args)
        message = _compare(
            "fast.descend", call, _steps(functools.partial(fast.descend, RATE), weights, call.args), right
        )
        if message:
            return message
    return None


def check_backward(program: Program) -> str | None:
    """Compare `fast.backward` with `backward`: the value, and what is added to the Values from outside."""
    fast = None
    for call, _, closed in _runs(program):
        scalar = first(packed(closed))
        fast = fast or compile(scalar, max_ways=program.max_ways)
        weights = [closed.__globals__[name] for name in ("w0", "w1")]
        expected(scalar, call.args)
        right = _gradients(_eager_backward(scalar), weights, call.args)
        message = _compare("fast.backward", call, _gradients(fast.backward, weights, call.args), right)
        if message:
            return message
    return None


def check_batch(program: Program) -> str | None:
    """Compare batches of the calls so far: the compiled loop with the loop over examples."""
    fast, kind = None, ad.batch_mean if len(program.source) % 2 else ad.batch_sum
    examples: list[tuple[Any, ...]] = []
    for call, _, closed in _runs(program):
        examples.append(call.args)
        columns = [list(column) for column in zip(*examples[-4:], strict=True)]
        eager = kind(lambda *args, closed=closed: first(packed(closed))(args))
        fast = fast or compile(eager, max_ways=program.max_ways)
        weights = [closed.__globals__[name] for name in ("w0", "w1")]
        right = expected(eager, *columns)
        message = _compare("batch", call, outcome(fast, *columns), right)
        right = _gradients(_eager_backward(eager), weights, *columns)
        message = message or _compare("batch.backward", call, _gradients(fast.backward, weights, *columns), right)
        right = _steps(_eager_descend(eager, weights), weights, *columns)
        found = _steps(functools.partial(fast.descend, RATE), weights, *columns)
        message = message or _compare("batch.descend", call, found, right)
        if message:
            return message
    return None


ROUTES: dict[str, Callable[[Program], str | None]] = {
    "call": check_call,
    "backward": check_backward,
    "descend": check_descend,
    "batch": check_batch,
    **{name: check_derivative(name) for name in DERIVATIVES},
}


# ---- cutting wrong programs down


def shrink(program: Program, check: Callable[[Program], str | None], tries: int = 3000) -> Program:
    """Cut a wrong program down as long as it stays wrong."""

    def still_wrong(candidate: Program) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # a cut may leave 1.0[0] behind
            try:
                return check(candidate) is not None
            except (NotAProgramError, SyntaxError, StopIteration):
                return False

    found = True
    while found:
        found = False
        for candidate in _smaller(program):
            tries -= 1
            if tries < 0:
                return program
            if still_wrong(candidate):
                program, found = candidate, True
                break
    return program


def _smaller(program: Program) -> Iterator[Program]:
    for i in range(len(program.calls)):
        if len(program.calls) > 1:
            yield replace(program, calls=program.calls[:i] + program.calls[i + 1 :])
    tree = ast.parse(program.source)
    for i, node in enumerate(ast.walk(tree)):
        for name, value in ast.iter_fields(node):
            if name == "func":
                continue
            for edit in _edits(value):
                edited = copy.deepcopy(tree)
                setattr(list(ast.walk(edited))[i], name, edit)
                source = ast.unparse(ast.fix_missing_locations(edited)) + "\n"
                if len(source) < len(program.source) and _ends(edited):
                    yield replace(program, source=source)


def _ends(tree: ast.AST) -> bool:
    """Say whether all loops are still bounded, as `Writer` writes them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.While):
            bound = node.test.values[-1] if isinstance(node.test, ast.BoolOp) else node.test
            counted = isinstance(bound, ast.Compare) and f"{ast.unparse(bound.left)} += 1"
            if ast.unparse(node.body[-1]) != counted:
                return False
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "range":
            count = node.args[0].right if isinstance(node.args[0], ast.BinOp) else node.args[0]
            if not isinstance(count, ast.Constant):
                return False
    return True


def _edits(value: Any) -> Iterator[Any]:
    """Yield smaller things to put in the place of one field of a node."""
    if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
        for i, statement in enumerate(value):
            if len(value) > 1:
                yield value[:i] + value[i + 1 :]
            yield from (value[:i] + body + value[i + 1 :] for body in _bodies(statement))
    elif isinstance(value, list) and value and isinstance(value[0], ast.expr):
        for i, expression in enumerate(value):
            yield from ([*value[:i], other, *value[i + 1 :]] for other in _edits(expression))
    elif isinstance(value, ast.expr):
        yield from (child for child in ast.walk(value) if isinstance(child, ast.expr) and child is not value)
        yield ast.Constant(1.0)


def _bodies(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "handlers"):
        body = getattr(statement, name, [])
        if body and not isinstance(statement, ast.FunctionDef):
            yield body[0].body if isinstance(body[0], ast.ExceptHandler) else body


def report(program: Program, route: str) -> str | None:
    """Check a program by a route; if it is wrong, describe a small version of it."""
    check = ROUTES[route]
    if check(program) is None:
        return None
    small = shrink(program, check)
    return f"# {route}: {check(small)}\n{small}"


# ---- the long run


@dataclass
class Tally:
    """What a long run found."""

    ran: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many programs ran."""
        return sum(self.ran.values())


def run(
    count: int,
    seed: int,
    leave_out: Iterable[str] = (),
    show: Callable[[str], object] = lambda text: None,
    most_wrong: int = 20,
) -> Tally:
    """Run random programs, each by one route. What is wrong is shown as soon as it is found."""
    tally = Tally()
    for number in range(seed, seed + count):
        rng = random.Random(number)
        program = Writer(rng, leave_out).program(rng.choice((1, 2, 3, 4, 6, 9)))
        route = rng.choice(("call", "call", *ROUTES))
        tally.ran[route] += 1
        wrong = report(program, route)
        if wrong is not None:
            tally.wrong.append(f"# seed {number}\n{wrong}")
            show(tally.wrong[-1] + "\n")
            if len(tally.wrong) >= most_wrong:
                break
    return tally


def main(arguments: list[str] | None = None) -> int:
    """Run many programs and say how many were wrong."""
    warnings.filterwarnings("ignore", "compiled .* calls on new ways run uncompiled", RuntimeWarning)
    parser = argparse.ArgumentParser(prog="python -m tests.programs", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="how many programs")
    parser.add_argument("--seed", type=int, default=0, help="the number of the first")
    parser.add_argument("--without", default="", help=f"statements to leave out, of: {' '.join(STATEMENTS)} detach")
    given = parser.parse_args(arguments)
    tally = run(given.count, given.seed, given.without.split(","), sys.stdout.write)
    routes = ", ".join(f"{name} {count}" for name, count in tally.ran.most_common())
    sys.stdout.write(f"{tally.total} programs ran ({routes}); {len(tally.wrong)} were wrong\n")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
