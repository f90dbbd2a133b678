"""Code generation: terms become the Python that a careful person would have written.

There is no calculus in here: derivatives are part of the graph already.
"""

import builtins
import keyword
import math
import re
from collections.abc import Callable, Iterable
from enum import Enum
from functools import cache
from typing import Any, NamedTuple

from autodiff import primitives as p
from autodiff import special
from autodiff.doubts import doubled, factors, hopeful_products, proofs, tainted_by
from autodiff.primitives import Primitive
from autodiff.terms import Ask, Block, Builder, Identity, Term
from autodiff.zeros import Regions

__all__: list[str] = []

DEPTH = 4  # deeper expressions are hardly faster, and harder to read
MANY_RESULTS = 16  # results, rather than all of which their factors may be checked
SHARE = 0.5  # of their number, at most so many factors
WIDTH = 100  # characters of an expression that is still put into another
ATOM = 100  # precedence of a name, a call or a parenthesis
RESERVED = frozenset({*keyword.kwlist, *dir(builtins), *dir(math), *dir(special)})  # these read as what they are
COMPARISONS = {"__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">=", "__eq__": "==", "__ne__": "!="}


# ---- names


def identifier(wish: str) -> str:
    """Turn a label or a key into an identifier, as Python reads it: µ and ﬁ become other letters.

    >>> identifier("x['learning rate']"), identifier("½ x²"), identifier(""), identifier("lambda")
    ('x_learning_rate', '_1_2_x2', 'x', 'lambda_')
    """
    if not wish.isascii():
        import unicodedata  # here, since few names need it

        wish = unicodedata.normalize("NFKC", wish)
        wish = "".join([letter if f"x{letter}".isidentifier() else " " for letter in wish])
    name = re.sub(r"\W+", "_", wish).strip("_") or "x"
    if keyword.iskeyword(name):
        return f"{name}_"
    return name if name[0].isidentifier() else f"_{name}"


class Meaning(Enum):
    """What a name stands for, unless it is an object that the code needs."""

    INPUT = "an argument, a part of one, or a Value from outside"
    OWN = "what the code computes, or what surrounds it"
    FUNCTION = "the generated function"


class Names:
    """The names in one generated function. Each has one meaning: no argument is overwritten, no function hidden."""

    def __init__(self, *functions: str) -> None:
        self.meanings: dict[str, Any] = dict.fromkeys(functions, Meaning.FUNCTION)
        self._constants: dict[Identity, str] = {}

    def declare(self, parameters: Iterable[str]) -> None:
        """Take the names of parameters, which are as they are."""
        self.meanings.update(dict.fromkeys(parameters, Meaning.INPUT))

    def fresh(self, wish: str) -> str:
        """Give an input a name of its own."""
        name = identifier(wish)
        if name in RESERVED or re.fullmatch(r"[vdg]\d+", name):
            name = f"{name}_"
        candidate, number = name, 1
        while candidate in self.meanings:
            number += 1
            candidate = f"{name}_{number}"
        self.meanings[candidate] = Meaning.INPUT
        return candidate

    def own(self, word: str, meaning: Any = Meaning.OWN) -> str:
        """Name what the code itself makes or needs: with this word, made longer where that means something else."""
        word = word if word.isascii() and word.isidentifier() else identifier(word)
        while self.meanings.setdefault(word, meaning) is not meaning:
            word += "_"
        return word

    def builtin(self, word: str) -> str:
        """Name one of Python's own functions."""
        return self.own(word, getattr(builtins, word))

    def constant(self, x: Any) -> str:
        """Name an object of the trace."""
        name = self._constants.get(Identity(x)) or self.own(f"constant{len(self._constants)}", x)
        self._constants[Identity(x)] = name
        return name

    def objects(self) -> dict[str, Any]:
        """Give the objects that the code needs beside Python's own functions."""
        return {
            name: x
            for name, x in self.meanings.items()
            if not isinstance(x, Meaning) and getattr(builtins, name, None) is not x
        }


# ---- printing

PRECEDENCE = {"Add": 10, "Sub": 10, "Mult": 20, "Div": 20, "FloorDiv": 20, "Mod": 20, "Pow": 40}


class Template(NamedTuple):
    """How a source template prints: its precedence, what each argument's must be, and which it prints not just once."""

    text: str
    precedence: int
    needed: tuple[int, ...]
    repeats: tuple[bool, ...]
    is_lazy: bool = False  # it may leave out an argument, or come back to it


@cache
def template(text: str, arity: int) -> Template:
    """Analyse a source template."""
    import ast  # here and below, since who compiles nothing need not wait for it

    names = [f"_{i}" for i in range(arity)]
    tree = ast.parse(text.format(*names), mode="eval").body
    nodes = list(ast.walk(tree))
    used = [node.id for node in nodes if isinstance(node, ast.Name)]
    repeats = tuple(used.count(name) != 1 for name in names)
    is_lazy = any(
        isinstance(node, ast.IfExp | ast.BoolOp | ast.Compare | ast.comprehension | ast.Lambda) for node in nodes
    )
    own, operands = ATOM, list[tuple[ast.AST, int]]()  # with what the precedence of each must be
    if isinstance(tree, ast.Call):
        operands = [(node, 0) for node in tree.args]
    elif bare(text) != text:  # it stands in parentheses
        pass
    elif isinstance(tree, ast.BinOp) and type(tree.op).__name__ in PRECEDENCE:
        own = PRECEDENCE[type(tree.op).__name__]
        left, right = (own + 1, own) if isinstance(tree.op, ast.Pow) else (own, own + 1)
        operands = [(tree.left, left), (tree.right, right)]
    elif isinstance(tree, ast.UnaryOp) and not isinstance(tree.op, ast.Not):
        own, operands = 30, [(tree.operand, 30)]
    elif isinstance(tree, ast.IfExp | ast.Compare | ast.BoolOp | ast.UnaryOp | ast.BinOp):
        own = 0
    found = [(node.id, needed) for node, needed in operands if isinstance(node, ast.Name)]
    needs = {name: max([n for other, n in found if other == name], default=0) for name in names}
    for name in names:
        if used.count(name) != [other for other, _ in found].count(name):  # it stands deeper inside too
            needs[name] = 50
    return Template(text, own, tuple(needs.values()), repeats, is_lazy)


def number(x: float) -> str:
    """Print a float so that it reads back to the bit."""
    if math.isfinite(x):
        return repr(x)
    return "nan" if x != x else "inf" if x > 0.0 else "-inf"


class Text(NamedTuple):
    """A printed expression."""

    text: str
    precedence: int = ATOM
    depth: int = 0
    may_raise: bool = False  # as f does, so that it must be computed
    is_safe: bool = True  # nothing in it raises, not even a derivative

    def within(self, needed: int) -> str:
        """Give the text, in parentheses where the context binds tighter."""
        return self.text if self.precedence >= needed else f"({self.text})"


class Suspects(NamedTuple):
    """What is checked at the end of a way: that nothing is nan, or that all is finite."""

    terms: list[Term]
    must_be_finite: bool = False


class Printer:
    """Prints a tree of blocks as the lines of a function."""

    def __init__(
        self,
        builder: Builder,
        careful: bool,
        finish: "Callable[[Printer, Block], list[str]]",
        miss: str,
        names: Names,
        places_results: bool = False,
    ):
        self.builder = builder
        self.careful = careful  # print every `chain` as itself, rather than as a product to be checked for nan
        self.finish = finish  # prints the end of a way
        self.miss = miss  # the statement for an outcome that no trace had
        self.names = names
        self.places_results = places_results  # whether `finish` asks where each result belongs, see `placed`
        self.shapes: dict[tuple[Primitive, str], Template] = {}  # of source templates, with the names they have here
        self.lines: list[str] = []
        self.open: list[Term] = []  # the regions whose `if`s are being printed
        self.written: list[set[Term]] = []  # the names given in each
        self.done: set[tuple[Term, str]] = set()  # outputs, and the accumulators that they were added to already
        self.sinks: Callable[[Block], list[tuple[Any, str]]] = lambda block: []  # accumulators that outputs go to
        self.blocks = builder.blocks()
        self.sizes: dict[Block, int] = {}
        self.suspects: dict[Block, Suspects] = {}
        self.needed: set[Term] = set()
        self.hopeful: set[Term] = set()
        self.doubled: set[Term] = set()  # products c * (2 * z) that are printed as (2 * c) * z
        self.regions: dict[Block, Regions] = {}
        self.texts: dict[Term, Text] = {}
        self.numbers: dict[float | str, Text] = {}
        self.values = self.derivatives = 0
        self.section = ""
        self._analyse()

    # ---- what is needed

    def _analyse(self) -> None:
        """Find the needed terms, count their uses, and find the products that may be printed hopefully."""
        for block in reversed(self.blocks):
            self.sizes[block] = 1 + sum(self.sizes[way] for way in block.ways.values())
            for term in [*block.terms, *self.builder.inputs]:
                term.uses = 0
        for block in reversed(self.blocks):
            for x in block.outputs or ():
                self._use(x, 1)
            for x in block.question.operands if block.question else ():
                self._use(x, 1 if isinstance(x, Term) and x.block is block else 2)
            for term in reversed(block.terms):
                if term not in self.needed:
                    if not term.may_raise:
                        continue
                    self.needed.add(term)
                for x in term.args:
                    if isinstance(x, Term):
                        self._use(x, 1 if x.block is block else 2)  # used from another block: it gets a name
        if not self.careful:
            self.hopeful = hopeful_products(self.blocks, self.needed, {t for t in self.needed if not t.uses})
        self._find_suspects()

    def _use(self, x: Any, times: int) -> None:
        if isinstance(x, Term):
            x.uses += times
            self.needed.add(x)

    # ---- expressions

    def operand(self, x: Any) -> Text:
        """Print a constant, a name, or an expression that is put in place."""
        if isinstance(x, Term):
            return self.texts.get(x) or Text(x.name)
        if type(x) is float:
            key = x or repr(x)  # 0.0 and -0.0 are equal
            if key not in self.numbers:
                self.numbers[key] = Text(self._exact(number(x)), 30 if math.copysign(1.0, x) < 0.0 else ATOM)
            return self.numbers[key]
        return Text(literal(x))

    def expression(self, term: Term) -> Text:
        """Print the operation of a term."""
        shape = self._shape(term)
        args = [self.operand(x) for x in self._arguments(term)]
        depth, may_raise, is_safe = 0, term.may_raise, term.is_safe
        for a in args:
            depth = a.depth if a.depth > depth else depth
            if not a.is_safe:
                may_raise, is_safe = may_raise or a.may_raise, False
        precedence = shape.precedence
        if shape.needed:
            printed = [a.within(needed) for a, needed in zip(args, shape.needed, strict=True)]
            if term.primitive is p.power and shape.text == "{} ** {}":  # not one that a user declared
                printed[1] = str(int(term.args[1])) if abs(term.args[1]) < 1e15 else printed[1]
            text = shape.text.format(*printed)
        else:
            text = f"{shape.text}({', '.join([a.text for a in args])})"
        if precedence in (10, 20) and len(args) == 2 and args[0].precedence == precedence:
            depth = max(args[0].depth - 1, args[1].depth)  # a + b + c has no parentheses
        return Text(text, precedence, depth + 1, may_raise, is_safe)

    def _arguments(self, term: Term) -> tuple[Any, ...]:
        if term not in self.doubled:
            return term.args
        factor, double = term.args
        return 2.0 * factor, double.args[1]

    def _shape(self, term: Term) -> Template:
        """Find how an operation prints."""
        primitive = term.primitive
        assert primitive is not None
        source = "{} * {}" if term in self.hopeful else primitive.template(term.args)
        shape = self.shapes.get((primitive, source))
        if shape is None:
            named = self._find_names(primitive, readable_source(primitive, source))
            call = Template(named.split("(")[0], ATOM, (), ())  # with all arguments, however many
            shape = call if primitive.arity is None else template(named, len(term.args))
            self.shapes[primitive, source] = shape
        return shape

    def _find_names(self, primitive: Primitive, source: str) -> str:
        """Provide the functions that a template calls, under other names where those are taken."""
        if "math." in source:
            source = re.sub(r"\bmath\.", f"{self.names.own('math', math)}.", source)
        for name in _called(source):
            shown = self.names.own(name, _function(primitive, name))
            source = re.sub(rf"(?<![\w.]){name}\(", f"{shown}(", source)
        return source

    def _may_inline(self, term: Term, text: Text, user: Term | None) -> bool:
        """Decide whether an expression is put into its one use, rather than given a name."""
        deepest = DEPTH + 1 if user is None else DEPTH  # around a result there will be nothing more
        if term.uses != 1 or text.depth > deepest or len(text.text) > WIDTH:
            return False
        return user is None or not self._repeats(user, term, text)

    def _repeats(self, user: Term, term: Term, text: Text) -> bool:
        """Say whether an operation prints an argument not just once, or one that may raise only on a condition."""
        shape = self._shape(user)
        if text.may_raise and shape.is_lazy:
            return True
        return True in shape.repeats and any(x is term and r for x, r in zip(user.args, shape.repeats, strict=True))

    # ---- statements

    def print(self, block: Block, indent: str) -> None:
        """Print a block and all that follows it. The longest way keeps the indentation, so that loops do not nest."""
        while True:
            self.operations(block, indent)
            if block.question is None:
                self.lines += [indent + line for line in self.finish(self, block)]
                return
            ask, section = block.question, self.section
            main = max(block.ways, key=lambda key: self.sizes[block.ways[key]])
            for key, way in block.ways.items():
                if key != main:
                    self.lines.append(f"{indent}if {self._condition(ask, key)}:")
                    self.print(way, indent + "    ")
                    self.section = section
            if not (_is_yes_or_no(ask) and len(block.ways) == 2):
                self.lines.append(f"{indent}if {self._condition(ask, main, negated=True)}:")
                self.lines.append(f"{indent}    {self.miss}")
            block = block.ways[main]

    def operations(self, block: Block, indent: str) -> None:
        """Print the operations of one block, those behind an error signal inside an `if`."""
        terms = [t for t in block.terms if t in self.needed]
        users = {x: term for term in terms for x in term.args if isinstance(x, Term)}
        sinks = {x: name for x, name in self.sinks(block) if isinstance(x, Term) and x.block is block}
        # Signals of signals are no plain sums of products: what is 0 there is computed.
        # Nor are there branches before a loop: what is computed there is used elsewhere.
        plain = self.builder.higher_order or block is self.builder.before_loop
        products = set() if plain else self.hopeful
        regions = self.regions[block] = Regions(terms, products, sinks)
        together = softmaxes(terms, regions)
        results = set(filter(is_term, block.outputs or ()))
        for term in regions.order():
            if regions.is_root(term):
                self._root(block, regions, term, sinks, indent)
                continue
            if term in together:
                self._enter(regions, regions.home(term), indent)
                if term not in self.texts:
                    self._entries(together[term], indent)
                if term in sinks:
                    self._sink(term, term.name, sinks, indent)
                continue
            text, user = self.expression(term), users.get(term)
            total = regions.running_total(term)
            if total is not None:
                self._enter(regions, regions.home(term), indent)
                self._add_to(term, total, indent)
            elif term in sinks and term.uses == 1:
                self._enter(regions, regions.home(term), indent)
                self._sink(term, text.text, sinks, indent)
            elif term not in sinks and self._needs_no_line(block, regions, term, text, user, term in results):
                self.texts[term] = text
            else:
                self._enter(regions, regions.home(term), indent)
                self._assign(term, text, indent)
                if term in sinks:
                    self._sink(term, term.name, sinks, indent)
        self._enter(regions, None, indent)

    def _root(self, block: Block, regions: Regions, root: Term, sinks: dict[Term, str], indent: str) -> None:
        """Let the root of a region stand for the error signal; outside, it is 0."""
        signal = self.operand(regions.signal(root))
        self.texts[root] = signal
        if self._may_be_its_signal(block, regions, root):
            root.name = signal.text
            around = len(regions.path(root)) - 1
            if around:  # then the `else` of the region around it has to set it to 0
                self.written[around - 1].add(root)
        elif regions.used_outside(root):
            self._enter(regions, root, indent)
            self._assign(root, signal, indent)
        if root in sinks:
            self._enter(regions, root, indent)
            self._sink(root, self.texts[root].text, sinks, indent)

    def _may_be_its_signal(self, block: Block, regions: Regions, root: Term) -> bool:
        """Say whether the root of a region needs no name of its own: outside, it is but a result, and checked.

        The check may take the signal for it: what is not finite there, though the flag is 0, is a false alarm.
        """
        signal = regions.signal(root)
        if not (self._may_wait(block) and isinstance(signal, Term) and signal.deriving and signal.uses == 1):
            return False
        reported = sum([x is root for x in [*(block.outputs or ()), *self.suspects[block].terms]])
        path = regions.path(regions.home(root))
        is_here = signal.name == self.texts[root].text and self.open[: len(path)] == path
        return is_here and regions.outside_uses(root) == reported

    def _needs_no_line(
        self, block: Block, regions: Regions, term: Term, text: Text, user: Term | None, is_result: bool
    ) -> bool:
        """Decide whether an expression is computed where it is used."""
        if text.may_raise and not (user or is_result):
            return False  # not in the result of a later block: raise here
        if not self._may_inline(term, text, user):
            return False
        if regions.may_move(term, user, text.may_raise):
            return True
        return user is None and is_result and self._may_wait(block) and text.is_safe

    def _may_wait(self, block: Block) -> bool:
        """Say whether results inside an `if` wait for another one like it, around their use: none is to be checked."""
        return self.places_results and self.suspects[block].must_be_finite

    def placed(self, block: Block, lines: list[tuple[Any, str]]) -> list[str]:
        """Print lines at the end of a way, each inside the `if`s outside of which the result it is about is 0."""
        regions, before = self.regions[block], self.lines
        place = {root: i for i, root in enumerate(regions.terms)}
        homes = [regions.zero_outside(x) if isinstance(x, Term) else None for x, _ in lines]
        order = sorted(range(len(lines)), key=lambda i: [place[root] for root in regions.path(homes[i])])
        self.lines = []
        for i in order:
            self._enter(regions, homes[i], "")
            self.lines.append(self._inner("") + lines[i][1])
        self._enter(regions, None, "")
        found, self.lines = self.lines, before
        return found

    def _sink(self, term: Term, text: str, sinks: dict[Term, str], indent: str) -> None:
        """Print the addition of an output to its accumulator."""
        self._title(term, indent)
        sign = "+"
        if term.primitive is p.neg and text != term.name:
            sign, text = "-", self.operand(term.args[0]).text
        self.lines.append(f"{self._inner(indent)}{sinks[term]} {sign}= {bare(text)}")
        self.done.add((term, sinks[term]))

    def _title(self, term: Term | None, indent: str) -> None:
        """Print the comment that starts a section."""
        section = "derivatives" if term is None or term.deriving else "values"
        if section != self.section and not self.open:
            self.section = section
            self.lines.append(f"{indent}# {section}")

    def _inner(self, indent: str) -> str:
        return indent + "    " * len(self.open)

    def _enter(self, regions: Regions, home: Term | None, indent: str) -> None:
        """Leave and enter `if`s until inside the one of a region."""
        if home is None and not self.open:
            return
        path = regions.path(home)
        while self.open != path[: len(self.open)]:
            root = self.open.pop()
            names = list(dict.fromkeys(x.name for x in regions.left_undefined(root) if x in self.written[-1]))
            written = self.written.pop()
            if self.written:
                self.written[-1] |= written
            for i in range(0, len(names), 8):
                if i == 0:
                    self.lines.append(f"{self._inner(indent)}else:")
                self.lines.append(f"{self._inner(indent)}    {' = '.join(names[i : i + 8])} = 0.0")
        if path and not self.open:
            self._title(None, indent)
        for root in path[len(self.open) :]:
            flag = regions.flag(root)
            condition = bare(self.expression(flag).text).removeprefix("1.0 if ").removesuffix(" else 0.0")
            self.lines.append(f"{self._inner(indent)}if {condition}:")
            self.open.append(root)
            self.written.append(set())

    def _add_to(self, term: Term, total: Term, indent: str) -> None:
        """Print a sum as an addition to the running total, which keeps its value where this is branched around."""
        other = next(x for x in term.args if x is not total)
        sign = "-" if term.primitive is p.sub else "+"
        term.name = total.name
        self.texts[term] = Text(term.name)
        self.lines.append(f"{self._inner(indent)}{term.name} {sign}= {self.operand(other).text}")

    def _assign(self, term: Term, text: Text, indent: str) -> None:
        self._title(term, indent)
        if term.uses == 0:  # computed because it may raise
            self.lines.append(f"{self._inner(indent)}{bare(text.text)}")
            return
        self._give_name(term)
        self.lines.append(f"{self._inner(indent)}{term.name} = {bare(text.text)}")

    def _give_name(self, term: Term) -> None:
        if term.deriving:
            term.name = self.name_derivative()
        else:
            self.values += 1
            term.name = self.names.own(f"v{self.values}")
        self.texts[term] = Text(term.name)
        if self.written:
            self.written[-1].add(term)

    def name_derivative(self) -> str:
        """Give a name to the next derivative."""
        self.derivatives += 1
        return self.names.own(f"d{self.derivatives}")

    def _entries(self, terms: list[Term], indent: str) -> None:
        """Print all entries of one softmax as one call: each by itself would take as long as all of them."""
        self._title(terms[0], indent)
        logits = terms[0].args[1:]
        names = [self.names.own("_")] * len(logits)
        for term in terms:
            self._give_name(term)
            names[int(term.args[0])] = term.name
        function = self.names.own("softmax_entries", special.softmax_entries)
        given = ", ".join(self.operand(x).text for x in logits)
        self.lines.append(f"{self._inner(indent)}{', '.join(names)} = {function}(({given}))")

    def _condition(self, ask: Ask, key: Any, negated: bool = False) -> str:
        kind, outcome = key
        texts = [self.operand(x).within(11) for x in ask.operands]
        if ask.kind in COMPARISONS:
            text = f"{texts[0]} {COMPARISONS[ask.kind]} {texts[1]}"
            return text if outcome != negated else f"not {text}"
        if ask.kind == "bool":
            return f"{'not ' if outcome == negated else ''}{texts[0]}"
        if ask.kind == "data":
            return self._same(texts[0], outcome, negated)
        sign = "!=" if negated else "=="
        if ask.kind == "is":
            other = self.constant(outcome.value if isinstance(outcome, Identity) else outcome)
            if kind in (int, str):
                glue, first = (" or ", "is not") if negated else (" and ", "is")
                shown = f"{self.names.builtin('type')}({texts[0]}) {first} {self.names.builtin(kind.__name__)}"
                return f"{shown}{glue}{texts[0]} {sign} {other}"
            return f"{texts[0]} {'is not' if negated else 'is'} {other}"
        if ask.kind in ("floor", "ceil", "trunc"):
            return f"{self.names.own('math', math)}.{ask.kind}({texts[0]}) {sign} {outcome}"
        asked = f"{self.names.builtin(ask.kind)}({', '.join(t for t in texts if t != 'None')})"
        return self._same(asked, outcome, negated) if kind is float else f"{asked} {sign} {outcome!r}"

    def _same(self, text: str, outcome: str, negated: bool) -> str:
        """Print the comparison of a number with a constant, to the bit."""
        text = f"{self.names.own('same', same)}({text}, {self._exact(outcome)})"
        return f"not {text}" if negated else text

    def _exact(self, shown: str) -> str:
        """Provide what a printed number stands for, if it is no literal."""
        word = shown.lstrip("-")
        if word not in ("nan", "inf"):
            return shown
        return shown.replace(word, self.names.own(word, getattr(math, word)))

    def constant(self, x: Any) -> str:
        """Print a constant of the trace, or bind it to a name."""
        if x is None or type(x) is bool or (type(x) is int and abs(x) < 10**58):
            return repr(x)
        if type(x) is str and len(repr(x)) < 60:
            return repr(x)
        if isinstance(x, float):
            return self.operand(float(x)).text
        return self.names.constant(x)

    def _find_suspects(self) -> None:
        """Find what is checked at the end of each way, since a hopeful product may have turned to nan."""
        tainted = tainted_by(self.hopeful, self.blocks)
        for block in self.blocks:
            outputs = [x for x in block.outputs or () if isinstance(x, Term) and x in tainted]
            self.suspects[block] = Suspects(list(dict.fromkeys(outputs)))
        if self.builder.in_loop:  # there, the sums over all examples are checked
            return
        if max(len(found.terms) for found in self.suspects.values()) >= MANY_RESULTS:
            self._prove(tainted)
        for found in self.suspects.values():
            for x in found.terms:
                x.uses += 1

    def _prove(self, tainted: set[Term]) -> None:
        """Check factors rather than results, if they are so much fewer at the end of each way."""
        squares = doubled(self.builder.root, self.blocks, self.needed, tainted)
        reasons = {t: factors(t) for t in self.hopeful} | {t: [square] for t, square in squares.items()}
        most = {b: int(SHARE * len(found.terms)) for b, found in self.suspects.items() if b.outputs is not None}
        proved = proofs(self.builder.root, self.needed, reasons, tainted, max(most.values()))
        if all(block in proved and len(proved[block]) <= count for block, count in most.items()):
            self.doubled = set(squares)
            self.suspects |= {block: Suspects(proof, must_be_finite=True) for block, proof in proved.items()}


def is_term(x: Any) -> bool:
    """Say whether an operand or output is a term, rather than a number or another object."""
    return isinstance(x, Term)


def softmaxes(terms: list[Term], regions: Regions) -> dict[Term, list[Term]]:
    """Find the entries of one softmax that are needed in one place; give for each all of them."""
    groups: dict[Any, list[Term]] = {}
    for term in terms:
        if term.primitive is p.softmax_entry and term.uses and type(term.args[0]) is float:
            logits = tuple([x if type(x) is float else id(x) for x in term.args[1:]])
            groups.setdefault((regions.home(term), logits), []).append(term)
    return {term: group for group in groups.values() if len(group) > 1 for term in group}


def same(x: float, y: float) -> bool:
    """Say whether two floats are the same number, zeros told apart by sign, nan the same as nan."""
    return (x == y and math.copysign(1.0, x) == math.copysign(1.0, y)) or (x != x and y != y)


def readable_source(primitive: Primitive, source: str) -> str:
    """Give a source template, or a call by name where there is none, or none that can be read here.

    >>> readable_source(Primitive("own", round, "round({})", 0.0), "round({})")
    'float(round({}))'
    """
    if source and primitive.is_ours:
        return source
    name, source = identifier(primitive.name), source.strip()
    if not (source and primitive.arity is not None and _is_known(source, name)):
        source = f"{name}({', '.join(['{}'] * (primitive.arity or 1))})"
    return source if name == "float" or _is_float(_parsed(source), name) else f"float({source})"


@cache
def _parsed(source: str) -> Any:
    import ast

    return ast.parse(source.format(*["_"] * 9), mode="eval").body


def _is_float(node: Any, own: str) -> bool:
    """Say whether what a user's source computes of floats is surely a float, and no int, truth or complex number."""
    import ast

    match node:
        case ast.Name("_") | ast.Constant(float()):
            return True
        case ast.UnaryOp(ast.USub() | ast.UAdd(), x) | ast.BinOp(x, ast.Pow(), ast.Constant(int())):
            return _is_float(x, own)
        case ast.BinOp(x, ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), y):
            found = [_is_float(side, own) for side in (x, y)]
            return all(found) or (
                any(found) and any(isinstance(z, ast.Constant) and type(z.value) is int for z in (x, y))
            )
        case ast.Call(ast.Name(name) | ast.Attribute(ast.Name("math"), name), arguments):
            return name != own and all(_is_float(x, own) for x in arguments) and _returns_float(name, len(arguments))
    return False


def _returns_float(name: str, count: int) -> bool:
    """Ask a function of Python's for its value at a point where all but a few have one."""
    try:
        return type(getattr(math, name, getattr(builtins, name, None))(*[0.5] * count)) is float  # type: ignore[misc]
    except (TypeError, ValueError):
        return False


@cache
def _called(source: str) -> tuple[str, ...]:
    import ast

    nodes = ast.walk(_parsed(source))
    names = [node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return tuple(dict.fromkeys(names))


@cache
def _is_known(source: str, own: str) -> bool:
    """Say whether all names in a user's source mean the same here: where it was written they may mean anything."""
    import ast

    if not source.isascii() or re.search(r"[#\n]|\{\d*[!:]", source):
        return False  # Python folds some letters together; and a comment, or arguments formatted as text, go nowhere
    try:
        tree = _parsed(source)
    except (SyntaxError, ValueError, LookupError, AttributeError):  # it is no expression, or no template
        return False
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - {"_", "math"}
    called = {name for name in _called(source) if name == own or _is_pythons(name)}
    return all(name in called or (hasattr(builtins, name) and name not in _called(source)) for name in names)


def _is_pythons(name: str) -> bool:
    """Say whether a function is one of Python's, and none of ours that has the same name."""
    known = getattr(math, name, getattr(builtins, name, None))
    return known is not None and getattr(special, name, known) is known


def _function(primitive: Primitive, name: str) -> Any:
    """Find the function that a source template of a primitive calls by this name."""
    if name == identifier(primitive.name) and not primitive.is_ours:
        return primitive.value
    for place in (special, math, builtins):
        if hasattr(place, name):
            return getattr(place, name)
    return primitive.value


def bare(text: str) -> str:
    """Strip parentheses around a whole expression."""
    if not text.startswith("("):
        return text
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[1:-1] if place == len(text) - 1 else text
    return text


def literal(x: Any) -> str:
    """Print a constant; whole numbers of thousands of digits in base 16, since Python reads no others."""
    return hex(x) if type(x) is int and x.bit_length() > 10_000 else repr(x)


def _is_yes_or_no(ask: Ask) -> bool:
    return ask.kind in COMPARISONS or ask.kind == "bool"
