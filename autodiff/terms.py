"""Terms: traced graphs, with equal operations made once and rewritten where that is exact, as a tree of blocks.

A block is a run of operations without a fork; it ends in a question with a block for each known outcome, or in a
result. Exact means bit for bit, but for the sign of a zero inside a sum of error signals, which no result shows:
transforms add 0.0 to what they return.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from autodiff import primitives as p
from autodiff import special
from autodiff.primitives import SAFE, WRITTEN_OUT, Custom, Primitive
from autodiff.tracing import Trace
from autodiff.value import Value

__all__: list[str] = []


class Term:
    """One number of the generated code: an input, a captured Value, or an operation on terms and constants."""

    __slots__ = ("args", "block", "deriving", "name", "primitive", "serial", "uses")

    def __init__(self, primitive: Primitive | None, args: tuple[Any, ...], serial: int, deriving: bool) -> None:
        self.primitive = primitive
        self.args = args
        self.serial = serial
        self.deriving = deriving
        self.name = ""  # set for inputs and captured Values at once, for others when they are printed
        self.uses = 0
        self.block: Block | None = None

    @property
    def may_raise(self) -> bool:
        """Say whether this must be computed even if it is not needed: it may raise, as it does in f."""
        return not self.deriving and not self.is_safe

    @property
    def is_safe(self) -> bool:
        """Say whether this operation never raises."""
        return self.primitive is None or self.primitive in SAFE


Operand = Term | float
FLAGS = (p.greater, p.within)  # 0.0 or 1.0


class Block:
    """Operations without a fork, then a question with a block for each known outcome, or the end of a way."""

    def __init__(self) -> None:
        self.terms: list[Term] = []
        self.question: Ask | None = None
        self.ways: dict[Any, Block] = {}
        self.result: Any = None  # what the function returned: a tree with terms
        self.outputs: list[Any] | None = None  # the leaves of the result


class Ask(NamedTuple):
    """A question about terms."""

    kind: str
    operands: tuple[Any, ...]


def outcome_key(outcome: Any) -> Any:
    """Tell outcomes apart as bits do: 0.0 from -0.0, 1 from 1.0 and True, and nan from nothing."""
    if isinstance(outcome, float):
        return float, repr(outcome)
    return (type(outcome), outcome) if type(outcome) in (bool, int, str) else (object, Identity(outcome))


class Identity:
    """Wraps a constant that is compared by identity."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


class Symbol:
    """A term with operators, to run a kernel's value on."""

    __slots__ = ("builder", "operand")

    def __init__(self, builder: "Builder", operand: Operand) -> None:
        self.builder, self.operand = builder, operand

    def __add__(self, other: "Symbol | float") -> "Symbol":
        number = other.operand if isinstance(other, Symbol) else other
        return Symbol(self.builder, self.builder.operation(p.add, (self.operand, number)))

    def __radd__(self, number: float) -> "Symbol":
        return Symbol(self.builder, self.builder.operation(p.add, (number, self.operand)))

    def __mul__(self, other: "Symbol") -> "Symbol":
        return Symbol(self.builder, self.builder.operation(p.mul, (self.operand, other.operand)))


class Builder:
    """Turns traces into one tree of blocks, in which equal terms are one."""

    def __init__(self, inputs: list[Term], in_loop: bool = False) -> None:
        self.inputs = inputs
        self.in_loop = in_loop
        self.root = Block()
        self.before_loop = Block()
        self.captured: dict[Value, Term] = {}
        self.ways = 0
        self.higher_order = False  # whether derivatives were differentiated again
        self.serial = 0
        self._known: dict[Any, Operand] = {}
        self._block = self.root
        self._deriving = False

    def add(self, trace: Trace, tests: list[tuple[Ask, Any]]) -> None:
        """Add the way that a trace took. `tests` are questions about arguments that are no numbers."""
        self._known = {self._key(t.primitive, t.args): t for t in [*self.before_loop.terms, *self.root.terms]}
        self._block = self.root
        self.higher_order = self.higher_order or trace.higher_order
        terms: dict[Value, Operand] = dict(zip(trace.inputs, self.inputs, strict=True))
        for ask, outcome in tests:
            self._fork(ask, outcome)
        asked = iter([*trace.questions, (len(trace.nodes) + 1, None)])
        place, question = next(asked)
        for number, (node, deriving) in enumerate(trace.nodes.items()):
            while place == number:
                self._ask(question, terms)
                place, question = next(asked)
            self._deriving = deriving
            terms[node] = self._convert(node, terms)
        while question is not None:
            self._ask(question, terms)
            place, question = next(asked)
        if self._block.outputs is None:
            self.ways += 1
        self._block.result = trace.result
        self._block.outputs = [self._operand(y, terms) if isinstance(y, Value) else y for y in trace.outputs()]

    def blocks(self) -> list[Block]:
        """List all blocks, each before those that follow it."""
        found = [self.root]
        for block in found:
            found.extend(block.ways.values())
        return [self.before_loop, *found]

    # ---- from nodes to terms

    def _operand(self, x: Any, terms: dict[Value, Operand]) -> Operand:
        """Find the term of an argument; a Value from outside is captured."""
        if type(x) is float:
            return x
        if x in terms:
            return terms[x]
        if x not in self.captured:
            term = Term(None, (), -1, False)
            self.captured[x] = term
        terms[x] = self.captured[x]
        return terms[x]

    def _convert(self, node: Value, terms: dict[Value, Operand]) -> Operand:
        primitive = node._primitive
        if primitive is None or primitive is p.literal or primitive is p.argument:  # the latter of an inner transform
            return node._data
        args = tuple([x if type(x) is float else self._operand(x, terms) for x in node._args])
        if primitive is p.identity or primitive is p.detached or isinstance(primitive, Custom):
            return args[0]
        if primitive in WRITTEN_OUT:
            result: Symbol | float = primitive.value(*(Symbol(self, x) for x in args))
            return result.operand if isinstance(result, Symbol) else result
        return self.operation(primitive, args)

    def operation(self, primitive: Primitive, args: tuple[Operand, ...]) -> Operand:
        """Find or make the term of an operation."""
        rewritten = self._rewrite(primitive, args)
        if rewritten is not None:
            return rewritten
        key = self._key(primitive, args)
        if key in self._known:
            term = self._known[key]
            if not self._deriving and isinstance(term, Term):
                term.deriving = False
            return term
        term = Term(primitive, args, self.serial, self._deriving)
        term.block = self.before_loop if self._is_invariant(term) else self._block
        self.serial += 1
        self._known[key] = term
        term.block.terms.append(term)
        return term

    def known(self, primitive: Primitive, args: tuple[Operand, ...]) -> Operand | None:
        """Find the term of an operation, if there is one."""
        return self._known.get(self._key(primitive, args))

    def _is_invariant(self, term: Term) -> bool:
        """Say whether a term is the same for each example of a loop: made of captured Values alone."""
        before = (None, self.before_loop)
        return self.in_loop and all(x.block in before and x.name == "" for x in term.args if isinstance(x, Term))

    @staticmethod
    def _key(primitive: Primitive | None, args: tuple[Operand, ...]) -> Any:
        if primitive is p.add or primitive is p.mul:  # x + y is y + x
            x, y = args
            if type(x) is float or (type(y) is not float and id(y) < id(x)):
                args = y, x
        return (primitive, *[repr(x) if type(x) is float else id(x) for x in args])

    def _rewrite(self, primitive: Primitive, args: tuple[Operand, ...]) -> Operand | None:
        """Give the simpler form of an operation, if there is one that is equal to the bit."""
        for x in args:
            if type(x) is not float:
                rule = REWRITES.get(primitive)
                return rule(self, *args) if rule else None
        try:
            return primitive.value(*args)
        except (ArithmeticError, ValueError):
            return None  # raises when it is run, as f does

    # ---- questions

    def _ask(self, question: Any, terms: dict[Value, Operand]) -> None:
        operands = tuple(self._operand(x, terms) if isinstance(x, Value) else _plain(x) for x in question.operands)
        if any(isinstance(x, Term) for x in operands):
            self._fork(Ask(question.kind, operands), question.outcome)

    def _fork(self, ask: Ask, outcome: Any) -> None:
        """Go on in the block for this outcome. A question asked before has the answer it had."""
        key = ("ask", ask.kind, *(repr(x) if type(x) is float else x for x in ask.operands))
        if key in self._known:
            return
        if self._block.outputs is not None or (self._block.question is not None and self._block.question != ask):
            raise NotDeterministicError
        self._block.question = ask
        self._block = self._block.ways.setdefault(outcome_key(outcome), Block())
        self._known[key] = 0.0
        self._known.update({self._key(t.primitive, t.args): t for t in self._block.terms})


class NotDeterministicError(Exception):
    """The function asked other questions than before, though all answers were the same."""


def _plain(x: Any) -> Any:
    """Turn a number that a Value was compared with, or was rounded to, into one that prints as itself."""
    if x is None or type(x) in (float, int, bool):
        return x
    return float(x) if isinstance(x, float) else int(x)


def _is(x: Any, number: float) -> bool:
    return type(x) is float and x == number


def _rewrite_mul(b: Builder, x: Operand, y: Operand) -> Operand | None:
    for one, other in ((x, y), (y, x)):
        if _is(one, 1.0):
            return other
        if _is(one, -1.0):
            return b.operation(p.neg, (other,))
        if type(one) is float and isinstance(other, Term) and other.primitive is p.mul and abs(one) >= 1.0:
            factor = other.args[0]  # c * (2 * z) is (2 * c) * z, both overflowing together
            if _is(factor, 2.0) and abs(one) < 1e300:
                return b.operation(p.mul, (2.0 * one, other.args[1]))
    for one, other in ((x, y), (y, x)):
        if isinstance(one, Term) and one.primitive is p.neg and type(other) is float:
            return b.operation(p.mul, (one.args[0], -other))
    return None


def _rewrite_chain(b: Builder, x: Operand, y: Operand) -> Operand | None:
    if _is(x, 0.0) or _is(y, 0.0):
        return 0.0
    for one, other in ((x, y), (y, x)):
        if type(one) is float and one != 0.0 and math.isfinite(one):
            return b.operation(p.mul, (other, one) if one is y else (one, other))
    for one, other in ((x, y), (y, x)):
        if isinstance(one, Term) and one.primitive is p.neg and one.args[0].primitive in FLAGS:
            return b.operation(p.neg, (b.operation(p.chain, (one.args[0], other)),))
    return None


def _rewrite_neg(b: Builder, x: Operand) -> Operand | None:
    if isinstance(x, Term):
        if x.primitive is p.neg:
            return x.args[0]  # type: ignore[no-any-return]
        if x.primitive is p.mul and type(x.args[1]) is float:
            return b.operation(p.mul, (x.args[0], -x.args[1]))
        if x.primitive is p.mul and type(x.args[0]) is float:
            return b.operation(p.mul, (-x.args[0], x.args[1]))
    return None


def _rewrite_add(b: Builder, x: Operand, y: Operand) -> Operand | None:
    for one, other in ((x, y), (y, x)):
        if type(one) is float and repr(one) == "-0.0":  # unlike 0.0, which turns -0.0 into itself
            return other
    if isinstance(y, Term) and y.primitive is p.neg:
        return b.operation(p.sub, (x, y.args[0]))
    if isinstance(x, Term) and x.primitive is p.neg:
        return b.operation(p.sub, (y, x.args[0]))
    if _is(y, 0.0) and isinstance(x, Term) and x.primitive is p.add and _is(x.args[1], 0.0):
        return x
    return None


def _rewrite_sub(b: Builder, x: Operand, y: Operand) -> Operand | None:
    if isinstance(y, Term) and y.primitive is p.neg:
        return b.operation(p.add, (x, y.args[0]))
    return None


def _rewrite_div(b: Builder, x: Operand, y: Operand) -> Operand | None:
    if type(y) is float and y and math.isfinite(y) and abs(math.frexp(y)[0]) == 0.5 and 1e-300 < abs(y) < 1e300:
        return b.operation(p.mul, (x, 1.0 / y))  # a power of two: both round the same exact number
    if isinstance(x, Term) and x.primitive is p.neg:
        return b.operation(p.neg, (b.operation(p.div, (x.args[0], y)),))
    return None


def _rewrite_pow(b: Builder, x: Operand, y: Operand) -> Operand | None:
    return x if _is(y, 1.0) else 1.0 if _is(y, 0.0) else None


def _rewrite_power_derivative(b: Builder, by_x: Operand, by_y: Operand, x: Operand, y: Operand) -> Operand | None:
    """Write a derivative of a power as the product that it is computed as, where that is so for all x and y to come."""
    if by_x == 0.0 and type(by_y) is float:
        return _multiple_of_power(b, by_y, x, y)
    if by_y == 0.0 and type(by_x) is float and type(y) is float:
        return _lower_power(b, by_x, x, y)
    return None


def _multiple_of_power(b: Builder, by_y: float, x: Operand, y: Operand) -> Operand | None:
    power = b.known(p.power, (x, y))  # computed already
    if power is None:
        return None
    if by_y == 1.0:
        return b.operation(p.chain, (power, b.operation(p.ieee_log, (x,))))
    if type(x) is float:
        factor = special.power_factor(0.0, by_y, special.ieee_log(x), 0.0)
        if abs(factor) <= special.LARGEST_FACTOR:
            return b.operation(p.chain, (power, factor))
    return None


def _lower_power(b: Builder, by_x: float, x: Operand, y: float) -> Operand | None:
    if not special.is_plain_product(by_x, y):
        return None
    kind = p.power if y - by_x >= 0.0 else p.ieee_pow  # the former raises no more than x ** y has
    product = b.operation(kind, (x, y - by_x))
    for i in reversed(range(int(by_x))):
        product = b.operation(p.chain, (y - i, product))
    return product


REWRITES: dict[Primitive, Callable[..., Operand | None]] = {
    p.mul: _rewrite_mul,
    p.chain: _rewrite_chain,
    p.neg: _rewrite_neg,
    p.add: _rewrite_add,
    p.sub: _rewrite_sub,
    p.div: _rewrite_div,
    p.power: _rewrite_pow,
    p.ieee_pow: _rewrite_pow,
    p.power_derivative: _rewrite_power_derivative,
}
