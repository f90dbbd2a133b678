"""Rolling: a graph as loops over arrays, so that a net of thousands of operations is a page of code.

Operations of one kind, whose arguments are of one kind too, stand side by side in an array and are one loop; a long
sum is an inner loop. Nothing here knows what a layer is: weights times inputs come out as two nested loops because
their numbers follow each other. Where numbers do not follow each other, the loop looks them up in a table.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from autodiff import primitives as p
from autodiff.codegen import ATOM, COMPARISONS, Text, bare, number, template
from autodiff.doubts import hopeful_products, tainted_by
from autodiff.primitives import Primitive
from autodiff.terms import Ask, Block, Builder, Term

__all__: list[str] = []

ROLL_FROM = 250  # operations; fewer are written out, which compiles fast and runs faster
SHORTEST = 4  # turns of a loop; fewer are written out
DEEPEST = 6  # operations put into one expression
VARIABLES = "jkl"


class Plan:
    """What of a tree of blocks must be computed, and which products may be computed hopefully (`hopeful_products`)."""

    def __init__(self, builder: Builder, careful: bool) -> None:
        self.blocks = builder.blocks()
        self.uses: dict[Term, int] = {}
        for block in reversed(self.blocks):
            self._use([*(block.outputs or ()), *(block.question.operands if block.question else ())])
            for term in reversed(block.terms):
                if term in self.uses:
                    self._use(term.args)
        self.hopeful: set[Term] = set() if careful else hopeful_products(self.blocks, self.uses)
        self.tainted = tainted_by(self.hopeful, self.blocks)

    def _use(self, operands: Iterable[Any]) -> None:
        for x in operands:
            if isinstance(x, Term):
                self.uses[x] = self.uses.get(x, 0) + 1

    def terms(self, block: Block) -> list[Term]:
        """List what must be computed in a block."""
        return [term for term in block.terms if term in self.uses]


@dataclass(frozen=True)
class Place:
    """A number that is given: an entry of an array, whose name may end in the row that is at work."""

    array: str
    index: int

    @property
    def kind(self) -> Any:
        """What it has in common with the other entries."""
        return self.array


@dataclass(eq=False)
class Operation:
    """A term, or a sum of many: then it has no primitive."""

    primitive: Primitive | None
    args: list[Any]
    uses: int
    block: Block
    kind: Any = None
    level: int = 0
    place: Place | None = None  # where it is stored; without, it is printed at its one use
    is_signal: bool = False  # a product that is 0 where one factor is, whatever the other


@dataclass(frozen=True)
class Target:
    """What becomes of a number at the end of a way: it goes to an array, added to what is there or in its place."""

    place: Place
    operand: Any  # a term or a constant
    sign: str = "="


@dataclass
class Loops:
    """Variables with their numbers of turns, from the outermost to the innermost; none for a single number."""

    variables: list[tuple[str, int]] = field(default_factory=list)

    def lines(self, indent: str) -> list[str]:
        """Print the heads of the loops."""
        return [f"{indent}{'    ' * i}for {name} in range({turns}):" for i, (name, turns) in enumerate(self.variables)]

    def inside(self, indent: str) -> str:
        """Give the indentation inside all loops."""
        return indent + "    " * len(self.variables)


def strides(numbers: Sequence[int], turns: Sequence[int]) -> list[int] | None:
    """Find the step for each loop by which these numbers follow each other; None if they do not.

    >>> strides([5, 6, 15, 16], [2, 2])
    [10, 1]
    """
    size, steps = 1, []
    for n in reversed(turns):
        steps.append(numbers[size] - numbers[0] if n > 1 else 0)
        size *= n
    steps.reverse()
    expected = (numbers[0] + sum(s * i for s, i in zip(steps, at, strict=True)) for at in product(*map(range, turns)))
    return steps if all(x == y for x, y in zip(numbers, expected, strict=True)) else None


def condition(ask: Ask, operand: Callable[[Any], Text]) -> str:
    """Print a question that is answered by yes or no."""
    texts = [operand(x).within(11) for x in ask.operands]
    return f"{texts[0]} {COMPARISONS[ask.kind]} {texts[1]}" if ask.kind in COMPARISONS else f"{texts[0]} != 0.0"


class Rolled:
    """Prints a tree of blocks as the body of a function, with loops where many operations are alike."""

    def __init__(
        self,
        builder: Builder,
        careful: bool,
        given: dict[Term, Place],
        targets: Callable[[Block], list[Target]],
        call: Callable[[Primitive, Sequence[Any]], str],
        endings: tuple[str, str],
        lengths: dict[str, int],
    ) -> None:
        self.builder = builder
        self.plan = Plan(builder, careful)
        self.given = given
        self.targets = targets  # what becomes of the outputs of a block
        self.call = call  # the source template of a primitive
        self.end, self.miss = endings  # the statements after a way, and where a way is not known yet
        self.rolled = len(self.plan.uses) >= ROLL_FROM
        self.arrays: dict[str, int] = {}  # name -> length
        self.lengths = lengths  # of given arrays in one dimension
        self.views: dict[tuple[str, int, int, int], str] = {}  # array, start, rows, width -> name
        self.tables: dict[str, list[float] | list[int]] = {}
        self.kinds: dict[Any, int] = {}
        self.operations: dict[Term, Operation] = {}
        self.scalars = 0
        self.seen: list[list[int]] | None = None  # the numbers of entries, while loops are being chosen for them
        self.lines: list[str] = []
        for block in self.plan.blocks:
            self._collect(block)
        self._settle()

    # ---- from terms to operations

    def operand(self, x: Any) -> Any:
        """Find what a term has become."""
        if not isinstance(x, Term):
            return float(x)
        return self.given.get(x) or self.operations[x]

    def _collect(self, block: Block) -> None:
        """Turn the terms of a block into operations, chains of additions into one."""
        for term in self.plan.terms(block):
            args = [self.operand(x) for x in term.args]
            primitive: Primitive | None = p.mul if term in self.plan.hopeful else term.primitive
            if term.primitive is p.add:
                first = args[0]
                primitive = None
                if (
                    isinstance(first, Operation)
                    and first.primitive is None
                    and first.uses == 1
                    and first.block is block
                ):
                    args[:1] = first.args
                    first.uses = 0
            self.operations[term] = Operation(
                primitive, args, self.plan.uses[term], block, is_signal=term in self.plan.hopeful
            )

    def _settle(self) -> None:
        """Say of what kind each operation is."""
        for operation in self.operations.values():
            if operation.uses:
                operation.level = 1 + max((x.level for x in operation.args if isinstance(x, Operation)), default=0)
                key = (operation.primitive, id(operation.block), *self._kinds_of(operation))
                operation.kind = self.kinds.setdefault(key if self.rolled else id(operation), len(self.kinds))

    def _kinds_of(self, operation: Operation) -> list[Any]:
        kinds = [self._kind(x) for x in operation.args]
        if operation.primitive is p.power or operation.primitive is p.ieee_pow or self._is_indexed(operation):
            at = 0 if self._is_indexed(operation) else 1
            kinds[at] = operation.args[at] if type(operation.args[at]) is float else kinds[at]
        return kinds

    @staticmethod
    def _is_indexed(operation: Operation) -> bool:
        """Say whether the first argument must be a number in the code: the index of a class or an order."""
        primitive = operation.primitive
        return primitive is not None and primitive.arity is None and primitive is not p.log_sum_exp

    @staticmethod
    def _kind(x: Any) -> Any:
        return "number" if type(x) is float else x.kind

    # ---- expressions

    def expression(self, operands: Sequence[Any], loops: Loops) -> Text:
        """Print operands of one kind, one for each turn of the loops, as one expression."""
        first = operands[0]
        if type(first) is float:
            if len({repr(x) for x in operands}) == 1:
                return Text(number(first), 30 if repr(first)[0] == "-" else ATOM)
            return Text(self._entry(self._table(operands), range(len(operands)), loops))
        place = first if isinstance(first, Place) else first.place
        if place is not None:
            if place.index < 0:
                return Text(place.array)
            places = [x if isinstance(x, Place) else x.place for x in operands]
            return Text(self._entry(place.array, [x.index for x in places], loops))
        columns = [[x.args[i] for x in operands] for i in range(len(first.args))]
        args = [self.expression(column, loops) for column in columns]
        if first.primitive is None:
            return Text(" + ".join([args[0].within(10), *(a.within(11) for a in args[1:])]), 10)
        shape = template(self.call(first.primitive, first.args), len(args))
        printed = [a.within(n) for a, n in zip(args, shape.needed, strict=True)]
        return Text(shape.text.format(*printed), shape.precedence)

    def _table(self, numbers: Sequence[Any]) -> str:
        """Keep constants, or numbers of entries, that follow no rule."""
        if self.seen is not None:
            return ""
        for name, known in self.tables.items():
            if list(map(repr, known)) == list(map(repr, numbers)):
                return name
        name = f"table{len(self.tables) + 1}"
        self.tables[name] = list(numbers)
        return name

    def _entry(self, array: str, numbers: Sequence[int], loops: Loops) -> str:
        """Print the entry of an array that is meant in each turn."""
        if self.seen is not None:
            self.seen.append(list(numbers))
            return ""
        turns = [n for _, n in loops.variables]
        steps = strides(numbers, turns)
        if steps is None:
            index = self._entry(self._table(numbers), range(len(numbers)), loops)
        elif shown := self._in_view(array, numbers[0], steps, loops):
            return shown
        else:
            index = _sum_of_steps(numbers[0], steps, loops)
        row, _, rest = array.partition("[")
        return f"{row}[{rest}{index}]"

    def _in_view(self, array: str, start: int, steps: list[int], loops: Loops) -> str:
        """Print an entry with the loops' variables as indices into rows, if it can be: Numba checks other indices."""
        length = self.lengths.get(array) or self.arrays.get(array)
        moving = [(s, n) for s, (_, n) in zip(steps, loops.variables, strict=True) if s]
        if not length or not moving or min(s for s, _ in moving) < 0 or (start == 0 and moving == [(1, moving[0][1])]):
            return ""
        width, rows = max(moving)
        if width == 1:
            return f"{self._view(array, start, rows, 1)}[{_sum_of_steps(0, steps, loops)}]"
        within = [0 if s == width else s for s in steps]
        reach = sum(s * (n - 1) for s, (_, n) in zip(within, loops.variables, strict=True))
        known = (at for (name, at, r, w) in self.views if name == array and (r, w) == (rows, width))
        choices = [at for at in (*known, max(0, min(start, length - rows * width))) if 0 <= start - at < width - reach]
        if length < rows * width or not choices or steps.count(width) > 1:
            return ""
        row = next(v for s, (v, _) in zip(steps, loops.variables, strict=True) if s == width)
        column = _sum_of_steps(start - choices[0], within, loops)
        return f"{self._view(array, choices[0], rows, width)}[{row}, {column}]"

    def _view(self, array: str, start: int, rows: int, width: int) -> str:
        key = (array, start, rows, width)
        return self.views.setdefault(key, f"{array}_{len(self.views) + 1}")

    def declarations(self) -> list[str]:
        """Print the arrays and the views that the code works with."""
        lines = [f"{name} = empty({length})" for name, length in self.arrays.items()]
        for (array, start, rows, width), name in self.views.items():
            shape = f".reshape(({rows}, {width}))" if width > 1 else ""
            lines.append(f"{name} = {array}[{start}:{start + rows * width}]{shape}")
        return lines

    def _entries(self, *columns: Sequence[Any]) -> list[list[int]]:
        """List the numbers of all entries that expressions would name."""
        self.seen = []
        for operands in columns:
            self.expression(operands, Loops())
        found, self.seen = self.seen, None
        return found

    def _loops(self, length: int, *columns: Sequence[Any]) -> Loops:
        """Choose one loop or two nested ones, so that as many entries as possible follow each other."""
        if length == 1:
            return Loops()
        entries = self._entries(*columns)
        choices = [[length]]
        for numbers in entries:
            if strides(numbers, [length]) is None:
                step = numbers[1] - numbers[0]
                inner = next(i for i in range(1, length) if numbers[i] - numbers[i - 1] != step)
                if inner > 1 and length % inner == 0:
                    choices.append([length // inner, inner])
        best = max(choices, key=lambda turns: sum(strides(numbers, turns) is not None for numbers in entries))
        return Loops(list(zip(VARIABLES, best, strict=False)))

    # ---- statements

    def print(self, block: Block, indent: str) -> None:
        """Print a block and all that follows it; the first known way keeps the indentation."""
        while True:
            self.compute(block, indent)
            if block.question is None:
                self.lines += self._store(self.targets(block), indent)
                self.lines.append(indent + self.end)
                return
            (main, following), *others = reversed(block.ways.items())
            for key, way in others:
                self.lines.append(f"{indent}if {self._condition(block.question, key[1])}:")
                self.print(way, indent + "    ")
            if not others:
                self.lines.append(f"{indent}if {self._condition(block.question, not main[1])}:")
                self.lines.append(f"{indent}    {self.miss}")
            block = following

    def _condition(self, ask: Ask, outcome: bool) -> str:
        text = condition(ask, lambda x: self.expression([self.operand(x)], Loops()))
        return text if outcome else f"not {text}"

    def compute(self, block: Block, indent: str) -> None:
        """Print the operations of one block, without what follows."""
        groups: dict[Any, list[Operation]] = {}
        own = [x for x in (self.operations[t] for t in self.plan.terms(block)) if x.uses]
        inside = self._printed_inside(own)
        apart = {operation.kind for operation in own if operation not in inside}
        inside = {operation for operation in inside if operation.kind not in apart}  # alike ones are treated alike
        for operation in sorted(own, key=lambda x: x.level):
            if operation not in inside:
                groups.setdefault(operation.kind, []).append(operation)
        for group in groups.values():
            self._name(group)
            self.lines += self._sums(group, indent) if self._is_long(group[0]) else self._one_each(group, indent)

    def _is_long(self, operation: Operation) -> bool:
        return operation.primitive is None and (len(operation.args) > 2 * SHORTEST and self.rolled)

    def _printed_inside(self, operations: list[Operation]) -> set[Operation]:
        """Find the operations that are put into the expression of their only user."""
        depth: dict[Operation, int] = {}
        for operation in operations:
            repeats = self._repeats(operation)
            total = 1
            for x, repeated in zip(operation.args, repeats, strict=True):
                if isinstance(x, Operation) and x in depth:
                    if repeated or depth[x] >= DEEPEST:
                        del depth[x]
                    else:
                        total = max(total, 1 + depth[x])
            if operation.uses == 1 and not self._is_long(operation):
                depth[operation] = total
        used = {x for operation in operations for x in operation.args if isinstance(x, Operation)}
        ends = {
            self.operand(t.operand) for b in {id(o.block): o.block for o in operations}.values() for t in self._ends(b)
        }
        return {x for x in depth if x in used or x in ends}

    def _ends(self, block: Block) -> list[Target]:
        return [] if block.question or block is self.builder.before_loop else self.targets(block)

    def _repeats(self, operation: Operation) -> Sequence[bool]:
        if operation.primitive is None:
            return [False] * len(operation.args)
        source = self.call(operation.primitive, operation.args)
        return template(source, len(operation.args)).repeats

    def _name(self, group: list[Operation]) -> None:
        """Give the results of alike operations a place."""
        if len(group) == 1:
            self.scalars += 1
            group[0].place = Place(f"v{self.scalars}", -1)
            return
        name = f"a{len(self.arrays) + 1}"
        self.arrays[name] = len(group)
        for i, operation in enumerate(group):
            operation.place = Place(name, i)

    def _one_each(self, group: list[Operation], indent: str) -> list[str]:
        """Print one expression for alike operations."""
        places = [operation.place for operation in group]
        for operation in group:
            operation.place = None
        lines: list[str] = []
        runs = [[i] for i in range(len(group))] if len(group) < SHORTEST else [list(range(len(group)))]
        for run in runs:
            operands, stored = [group[i] for i in run], [places[i] for i in run]
            loops = self._loops(len(run), operands, stored)
            target = self.expression(stored, loops).text
            lines += loops.lines(indent)
            lines.append(f"{loops.inside(indent)}{target} = {bare(self.expression(operands, loops).text)}")
        for operation, place in zip(group, places, strict=True):
            operation.place = place
        return lines

    def _sums(self, group: list[Operation], indent: str) -> list[str]:
        """Print long sums: a loop over the sums and one over what they add, the better one inside."""
        outer = [("j", len(group))] if len(group) > 1 else []
        target = self.expression(group, Loops(outer)).text
        head = Loops(outer)
        lines = head.lines(indent)
        inside = head.inside(indent)
        apart = any(self._is_better_inside(group, segment) for segment in self._segments(group))
        lines.append(f"{inside}{target if apart or not outer else 'total'} = 0.0")
        for start, stop in self._segments(group):
            over = [("k", stop - start)] if stop - start > 1 else []
            if apart:
                operands = [x.args[i] for i in range(start, stop) for x in group]
                lines += self._update(target, "+=", operands, Loops(over + outer), indent)
            else:
                operands = [x.args[i] for x in group for i in range(start, stop)]
                text = self.expression(operands, Loops(outer + over)).text
                loops = Loops(over)
                lines += loops.lines(inside)
                lines.append(f"{loops.inside(inside)}{'total' if outer else target} += {bare(text)}")
        if outer and not apart:
            lines.append(f"{inside}{target} = total")
        return lines

    def _segments(self, group: list[Operation]) -> list[tuple[int, int]]:
        """Cut what is added into runs of one kind."""
        kinds = [self._kind(x) for x in group[0].args]
        cuts = [i for i in range(1, len(kinds)) if kinds[i] != kinds[i - 1]]
        return list(zip([0, *cuts], [*cuts, len(kinds)], strict=True))

    def _is_better_inside(self, group: list[Operation], segment: tuple[int, int]) -> bool:
        """Say whether neighbours in memory belong to neighbouring sums, rather than to one sum."""
        start, stop = segment
        if len(group) < SHORTEST or stop - start < SHORTEST:
            return False
        entries = self._entries([x.args[i] for x in group for i in range(start, stop)])
        steps = [strides(numbers, [len(group), stop - start]) for numbers in entries]
        return all(s and abs(s[0]) <= 1 for s in steps) and any(s and abs(s[1]) > 1 for s in steps)

    def _store(self, targets: list[Target], indent: str) -> list[str]:
        """Print what becomes of the outputs."""
        groups: dict[Any, list[tuple[Place, Any, str]]] = {}
        for target in targets:
            x = self.operand(target.operand)
            key = (target.place.array, target.sign, self._kind(x), getattr(x, "place", None) is None)
            groups.setdefault(key if self.rolled else id(target), []).append((target.place, x, target.sign))
        lines: list[str] = []
        for group in groups.values():
            runs = [[item] for item in group] if len(group) < SHORTEST else [sorted(group, key=lambda g: g[0].index)]
            for run in runs:
                places, operands = [place for place, _, _ in run], [x for _, x, _ in run]
                loops = self._loops(len(run), places, operands)
                lines += self._update(self.expression(places, loops).text, run[0][2], operands, loops, indent)
        return lines

    def _update(self, target: str, sign: str, operands: list[Any], loops: Loops, indent: str) -> list[str]:
        """Print what is stored or added; where an error signal of the outer loop is 0, the inner one is left out."""
        factor = self._signal(operands, loops) if sign == "+=" else None
        inside = loops.inside(indent)
        if factor is None:
            return [*loops.lines(indent), f"{inside}{target} {sign} {bare(self.expression(operands, loops).text)}"]
        (outer, inner), turns = (Loops([v]) for v in loops.variables), loops.variables[1][1]
        signal = self.expression([x.args[factor] for x in operands[::turns]], outer).text
        other = self.expression([x.args[1 - factor] for x in operands], loops).within(21)
        product_ = f"signal * {other}" if factor == 0 else f"{other} * signal"
        step = "    "
        return [
            *outer.lines(indent),
            f"{indent}{step}signal = {signal}",
            f"{indent}{step}if signal != 0.0:",
            *inner.lines(indent + 2 * step),
            f"{indent}{3 * step}{target} {sign} {product_}",
        ]

    @staticmethod
    def _signal(operands: list[Any], loops: Loops) -> int | None:
        """Find the factor of error signals that is the same in all turns of the inner loop."""
        first = operands[0]
        if len(loops.variables) != 2 or not isinstance(first, Operation) or first.place or not first.is_signal:
            return None
        turns = loops.variables[1][1]
        for i in (0, 1):
            column = [x.args[i] for x in operands]
            if all(x is column[n - n % turns] for n, x in enumerate(column)) and type(column[0]) is not float:
                return i
        return None


def _sum_of_steps(start: int, steps: Sequence[int], loops: Loops) -> str:
    """Print the number of an entry."""
    terms = [f"{s} * {v}" if s != 1 else v for (v, _), s in zip(loops.variables, steps, strict=True) if s]
    return " + ".join([*terms, *([str(start)] if start or not terms else [])])
