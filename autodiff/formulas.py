r"""Graphs as formulas in LaTeX: what was computed, and the error signals as equations.

An overline marks an error signal: $\overline{z}$ is d result / d z. The derivatives are not written down here:
the rules of `primitives` are run on symbols, and what they compute is printed.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from autodiff import primitives as p
from autodiff import special
from autodiff.backprop import pull, toposort
from autodiff.drawing import Graph, Parametrised
from autodiff.primitives import Custom, Primitive
from autodiff.replaying import error_signals
from autodiff.value import Value, _mode_with

__all__ = ["Formula", "formula", "latex"]

# A larger expression gets a name of its own.
MAX_INLINE = 8

GREEK = re.compile(
    "alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|pi|rho|sigma|tau|upsilon|phi|chi|psi|omega"
    "|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Upsilon|Phi|Psi|Omega"
)
LOOKALIKES = {c: f"\\{c}" for c in "_%#&${}"} | {"\\": "\u2216", "~": "\u223c", "^": "\u02c6"}

# Numbers that stand in the table's rules.
KNOWN = {
    math.pi: "\\pi",
    special.LN2: "\\ln(2)",
    1.0 / special.LN2: "\\frac{1}{\\ln(2)}",
    1.0 / special.LN10: "\\frac{1}{\\ln(10)}",
    special.TWO_OVER_SQRT_PI: "\\frac{2}{\\sqrt{\\pi}}",
    -special.TWO_OVER_SQRT_PI: "-\\frac{2}{\\sqrt{\\pi}}",
    special.DEGREES: "\\frac{180}{\\pi}",
    special.RADIANS: "\\frac{\\pi}{180}",
}


def formula(
    value: Value | Callable[..., Any], *args: Any, module: Parametrised | None = None, numbers: bool = False
) -> "Formula":
    r"""Write a value, or a function at its arguments, and its derivatives as formulas; a notebook shows them.

    >>> w, x = Value(3.0, "w"), Value(2.0, "x")
    >>> y = (w * x).sigmoid()
    >>> y.label = "y"
    >>> for line in formula(y).lines:
    ...     line
    'y = \\sigma(w \\cdot x)'
    '\\overline{y} = 1'
    '\\overline{w} = \\overline{y} \\cdot y \\cdot (1 - y) \\cdot x'
    '\\overline{x} = \\overline{y} \\cdot y \\cdot (1 - y) \\cdot w'

    Values with a label, those used more than once and kernels (`affine`, ...) are named; the others stand in the
    formulas that use them. `numbers=True` adds what each line is worth. `module` and the limit of 300 values are those
    of `draw`.
    """
    return Formula.of(Graph.of("formula", value, args, module), numbers)


def latex(value: Value | Callable[..., Any], *args: Any) -> str:
    r"""Write what computed a value as one expression in LaTeX, or, where intermediate values are named, as a block.

    >>> latex(Value(3.0, "x") ** 2 / Value(4.0, "sigma"))
    '\\frac{x^{2}}{\\sigma}'
    """
    lines = formula(value, *args).values
    return lines[0][1] if len(lines) == 1 else _aligned(lines)


class Formula(NamedTuple):
    r"""The formulas of a graph: those of its values, then those of its error signals.

    >>> x = Value(3.0, "x")
    >>> square = formula(x**2)
    >>> print(square.latex)
    \begin{aligned}
    v_{1} &= x^{2} \\
    \overline{v_{1}} &= 1 \\
    \overline{x} &= \overline{v_{1}} \cdot 2 \cdot x
    \end{aligned}
    """

    values: list[tuple[str, str]]  # left and right side
    signals: list[tuple[str, str]]

    @classmethod
    def of(cls, graph: Graph, numbers: bool = False) -> "Formula":
        r"""Write the formulas of a graph.

        >>> formula(Value(3.0, "x") * 2.0).values
        [('v_{1}', 'x \\cdot 2')]
        """
        writer = _Writer(graph)
        values = [(writer.names[node], writer.texts[node].text) for node in writer.named if node.primitive is not None]
        signals = writer.signals()
        if numbers:
            data = [_number(node.data) for node in writer.named if node.primitive is not None]
            values = [(left, f"{right} = {x}") for (left, right), x in zip(values, data, strict=True)]
            grads = error_signals(graph.result)
            signals = [
                (left, right if right == (x := _number(grads[node])) else f"{right} = {x}")
                for (left, right), node in zip(signals, writer.backwards, strict=True)
            ]
        return cls(values, signals)

    @property
    def lines(self) -> list[str]:
        r"""List all equations.

        >>> formula(-Value(3.0, "x")).lines[-1]
        '\\overline{x} = -\\overline{v_{1}}'
        """
        return [f"{left} = {right}" for left, right in self.values + self.signals]

    @property
    def latex(self) -> str:
        r"""Write all equations as one block, for a place where mathematics may stand.

        >>> formula(-Value(3.0, "x")).latex[:15]
        '\\begin{aligned}'
        """
        return _aligned(self.values + self.signals)

    def _repr_latex_(self) -> str:
        return f"$$\n{self.latex}\n$$"

    def __repr__(self) -> str:
        return f"<Formula: {len(self.lines)} equations; a notebook shows them, .latex is their source>"


def _aligned(lines: Sequence[tuple[str, str]]) -> str:
    rows = " \\\\\n".join(f"{left} &= {right}" for left, right in lines)
    return f"\\begin{{aligned}}\n{rows}\n\\end{{aligned}}"


# ---- names and numbers


def _symbol(name: str) -> str:
    r"""Write a label as a symbol: w[0] as w_{0}, alpha as \alpha, loss upright, anything else as text."""
    match = re.fullmatch(r"([^\W\d_]+)_?(\d*)((?:\[\d+\])*)", name)
    if not match:
        return f"\\text{{{''.join(LOOKALIKES.get(c, c) for c in name)}}}"
    letters, digits, indices = match.groups()
    base = letters if len(letters) == 1 else f"\\{letters}" if GREEK.fullmatch(letters) else f"\\mathrm{{{letters}}}"
    below = ",".join(filter(None, [digits, *re.findall(r"\d+", indices)]))
    return f"{base}_{{{below}}}" if below else base


def _symbols(graph: Graph) -> dict[Value, str]:
    """Name each value; numbers above tell parameters, and then equal names, apart."""
    symbols = {node: _symbol(name) for node, name in graph.names.items()}
    for node in graph.parameters & symbols.keys():
        place = ",".join(re.findall(r"\d+", " ".join(graph.parts.get(node, ()))))
        symbols[node] += f"^{{({place})}}" if place else ""
    count, seen = Counter(symbols.values()), Counter[str]()
    for node, symbol in symbols.items():
        if count[symbol] > 1:
            seen[symbol] += 1
            symbols[node] = f"{{{symbol}}}^{{[{seen[symbol]}]}}"
    return symbols


def _number(x: float) -> str:
    if not math.isfinite(x):
        return "\\mathrm{nan}" if math.isnan(x) else "\\infty" if x > 0.0 else "-\\infty"
    digits, _, exponent = f"{x:.6g}".partition("e")
    if not exponent:
        return digits
    power = f"10^{{{int(exponent)}}}"
    return {"1": power, "-1": f"-{power}"}.get(digits, f"{digits} \\cdot {power}")


# ---- expressions

SUM, PRODUCT, POWER, ATOM = 1, 2, 3, 4


class _Text(NamedTuple):
    """An expression, and how tightly it holds together."""

    text: str
    binds: int = ATOM

    def inside(self, binds: int) -> str:
        """Write it as a part of something that binds that tightly."""
        return self.text if self.binds >= binds else f"({self.text})"


def _constant(x: float) -> _Text:
    text = KNOWN.get(x) or _number(x)
    return _Text(text, SUM if text[0] == "-" else PRODUCT if "\\" in text or "^" in text else ATOM)


def _plus(*terms: _Text) -> _Text:
    if not terms:
        return _Text("0")
    text = terms[0].text
    for term in terms[1:]:
        text += f" - {term.text[1:]}" if _starts_with_minus(term) else f" + {term.text}"
    return terms[0] if len(terms) == 1 else _Text(text, SUM)


def _starts_with_minus(term: _Text) -> bool:
    return term.text.startswith("-")


def _minus(x: _Text, y: _Text) -> _Text:
    return _Text(f"{x.text} - {y.inside(PRODUCT)}", SUM)


def _negative(x: _Text) -> _Text:
    return _Text(f"-{x.inside(PRODUCT)}", SUM)


def _times(x: _Text, y: _Text) -> _Text:
    if _starts_with_minus(x) and x.binds == SUM and " " not in x.text:  # -2 x, not (-2) x
        return _Text(f"{x.text} \\cdot {y.inside(PRODUCT)}", SUM)
    return _Text(f"{x.inside(PRODUCT)} \\cdot {y.inside(PRODUCT)}", PRODUCT)


def _over(x: _Text, y: _Text) -> _Text:
    return _Text(f"\\frac{{{x.text}}}{{{y.text}}}", PRODUCT)


def _power(x: _Text, y: _Text) -> _Text:
    if y.text == "1":
        return x
    return _Text(f"{x.inside(ATOM)}^{{{y.text}}}", POWER)


def _minus_whole(x: _Text, n: int) -> _Text:
    try:
        return _constant(float(x.text) - n)
    except ValueError:  # it is no number
        return _minus(x, _Text(str(n))) if n else x


def _power_derivative(by_x: _Text, by_y: _Text, x: _Text, y: _Text) -> _Text:
    """Write a derivative of a power by one argument as a product, and others with the sign for derivatives."""
    m, n = int(by_x.text), int(by_y.text)
    if m and n:
        by_each = [f"\\partial_{{{i}}}" + (f"^{{{k}}}" if k > 1 else "") for i, k in ((1, m), (2, n))]
        return _call(f"{' '.join(by_each)} \\operatorname{{pow}}")(x, y)
    text = _power(x, _minus_whole(y, m))
    for i in reversed(range(m)):
        text = _times(_minus_whole(y, i), text)
    return _times(text, _power(_call("\\ln")(x), by_y)) if n else text


def _call(name: str) -> Callable[..., _Text]:
    # The brackets bind, but a power after them might be read as belonging to the argument.
    return lambda *args: _Text(f"{name}({', '.join(arg.text for arg in args)})", POWER)


def _between(left: str, right: str) -> Callable[..., _Text]:
    return lambda x: _Text(f"{left}{x.text}{right}")


def _compare(x: _Text, y: _Text) -> _Text:
    return _Text(f"[{x.text} > {y.text}]")  # Iverson's bracket: 1 where it holds, 0 elsewhere


def _dot(*args: _Text) -> _Text:
    half = len(args) // 2
    return _plus(*(_times(w, x) for w, x in zip(args[:half], args[half:], strict=True)))


def _affine(*args: _Text) -> _Text:
    return _plus(_dot(*args[:-1]), args[-1]) if len(args) > 1 else args[0]


def _exp(x: _Text) -> _Text:
    return _power(_Text("e"), x) if x.text != "1" else _Text("e")


def _squared(x: _Text) -> _Text:
    return _power(x, _Text("2"))


def _softmax(index: _Text, *xs: _Text) -> _Text:
    return _call(f"\\operatorname{{softmax}}_{{{index.text}}}")(*xs)


def _hypotenuse(x: _Text, y: _Text) -> _Text:
    return _root(_plus(_squared(x), _squared(y)))


_root = _between("\\sqrt{", "}")

WRITTEN: dict[str, Callable[..., _Text]] = {
    "add": _plus,
    "sub": _minus,
    "mul": _times,
    "chain": _times,
    "div": _over,
    "ieee_div": _over,
    "pow": _power,
    "ieee_pow": _power,
    "power_derivative": _power_derivative,
    "neg": _negative,
    "identity": lambda x: x,
    "detached": lambda x: x,
    "abs": _between("\\left|", "\\right|"),
    "sqrt": _root,
    "cbrt": _between("\\sqrt[3]{", "}"),
    "rsqrt": lambda x: _over(_Text("1"), _root(x)),
    "square": _squared,
    "reciprocal": lambda x: _over(_Text("1"), x),
    "one_minus_square": lambda x: _minus(_Text("1"), _squared(x)),
    "exp": _exp,
    "exp2": lambda x: _power(_Text("2"), x),
    "floor": _between("\\lfloor ", " \\rfloor"),
    "ceil": _between("\\lceil ", " \\rceil"),
    "greater": _compare,
    "within": lambda x, low, high: _Text(f"[{low.text} \\leq {x.text} \\leq {high.text}]"),
    "hypot": _hypotenuse,
    "unit": lambda x, y: _over(x, _hypotenuse(x, y)),
    "sum": _plus,
    "dot": _dot,
    "affine": _affine,
    "sum_of_squares": lambda *xs: _plus(*map(_squared, xs)),
    "logsumexp": lambda *xs: _call("\\ln")(_plus(*map(_exp, xs))),
    "softmax": _softmax,
    "softmax_rest": lambda index, *xs: _minus(_Text("1"), _softmax(index, *xs)),
    "softmax_cross_entropy": lambda index, *xs: _negative(_call("\\ln")(_softmax(index, *xs))),
    "logsigmoid": lambda x: _call("\\ln")(_call("\\sigma")(x)),
    "sigmoid": _call("\\sigma"),
    "log": _call("\\ln"),
    "ieee_log": _call("\\ln"),
    "log2": _call("\\log_{2}"),
    "log10": _call("\\log_{10}"),
    "asin": _call("\\arcsin"),
    "acos": _call("\\arccos"),
    "atan": _call("\\arctan"),
    "gamma": _call("\\Gamma"),
    "digamma": _call("\\psi"),
    "maximum": _call("\\max"),
    "minimum": _call("\\min"),
    "sin": _call("\\sin"),
    "cos": _call("\\cos"),
    "tan": _call("\\tan"),
    "sinh": _call("\\sinh"),
    "cosh": _call("\\cosh"),
    "tanh": _call("\\tanh"),
}


def _apply(primitive: Primitive, args: Sequence[_Text]) -> _Text:
    """Write the application of a primitive."""
    if primitive.name in WRITTEN and not isinstance(primitive, Custom):
        return WRITTEN[primitive.name](*args)
    name = primitive.name.replace("_", "\\_")
    return _call(f"\\operatorname{{{name}}}")(*args)


# ---- graphs


class _Writer:
    """Writes one graph: names, expressions, derivatives."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.names = _symbols(graph)
        self.texts: dict[Value, _Text] = {}
        self.named: list[Value] = []
        used = Counter(parent for node in self.graph.nodes for parent in node.parents)
        for node in graph.nodes:  # whose derivatives are no formula: each of its parents needs a name
            if isinstance(node.primitive, Custom):
                used.update(node.parents)
        size: dict[Value, int] = {}
        for node in self.graph.nodes:
            size[node] = 1 + sum(size[x] for x in set(node.parents) - set(self.named))
            self.texts[node] = self._write(node)
            if node.primitive is None or node.label or used[node] != 1 or size[node] > MAX_INLINE or _is_kernel(node):
                self.named.append(node)
        self._own = set(self.named)
        # The order of the backward pass, and then the leaves as they are met.
        self.backwards = [node for node in reversed(self.named) if node.primitive is not None]
        self.backwards += [node for node in self.named if node.primitive is None]

    def _write(self, node: Value) -> _Text:
        if node.primitive is None:
            return _Text(self.names[node])
        if not node.arguments:  # a number that a transform made
            return _constant(node.data)
        named = set(self.named)
        # What a custom node was worth is no argument of its formula.
        arguments = node.parents if isinstance(node.primitive, Custom) else node.arguments
        args = [self._argument(x, named) if isinstance(x, Value) else _constant(x) for x in arguments]
        return _apply(node.primitive, args)

    def _argument(self, node: Value, named: set[Value]) -> _Text:
        return self._symbol(node) if node in named else self.texts[node]

    def _symbol(self, node: Value) -> _Text:
        name = self.names[node]
        return _Text(name, POWER if "^" in name else ATOM)

    def signals(self) -> list[tuple[str, str]]:
        """Write the error signal of each named value, from the result to the leaves."""
        sums: dict[Value, list[_Text]] = {node: [] for node in self.named}
        sums[self.graph.result].append(_Text("1"))
        for node in self.backwards:
            signal = _Text(f"\\overline{{{self.names[node]}}}")
            for argument, local in self._derivatives(node).items():
                sums[argument].append(_product(signal, local))
        return [(f"\\overline{{{self.names[node]}}}", _plus(*sums[node]).text) for node in self.backwards]

    def _derivatives(self, node: Value) -> dict[Value, _Text]:
        """Write d node / d each named value that its formula mentions."""
        if not node.arguments:
            return {}
        if isinstance(node.primitive, Custom):  # what computes its derivatives is no formula
            over = dict.fromkeys(node.parents)
            return {x: _over(_partial(self.names[node]), _partial(self.names[x])) for x in over}
        with _mode_with(recording=True, anomaly=False):
            return self._derive(node)

    def _derive(self, node: Value) -> dict[Value, _Text]:
        """Compute a formula once more on symbols, and sweep it with the engine's own rules."""
        inside = self._inside(node)
        symbols: dict[Value, Value] = {}
        texts: dict[Value, _Text] = {}
        for inner in inside:
            args: list[Any] = []
            for x, number in zip(inner.arguments, inner._inputs, strict=True):
                if isinstance(x, Value) and x in self._own and x not in symbols:
                    symbols[x] = Value(number)
                    texts[symbols[x]] = self._symbol(x)
                args.append(symbols.get(x, number) if isinstance(x, Value) else number)
            assert inner.primitive is not None
            symbols[inner] = p.TEXTBOOK.get(inner.primitive.name, inner.primitive)(*args)
        texts[symbols[node]] = self._symbol(node)
        inputs = [symbols[x] for x in self.named if x in symbols and x is not node]
        found = pull(toposort(symbols[node], stop=inputs), {symbols[node]: 1.0}, inputs)
        return {
            x: _expression(found[symbols[x]], texts) for x in self.named if symbols.get(x) in found and x is not node
        }

    def _inside(self, node: Value) -> list[Value]:
        """List the values that stand in the formula of a named one, and then this one."""
        inside = {node}
        for inner in reversed(self.graph.nodes):
            if inner in inside:
                inside.update(x for x in inner.parents if x not in self._own)
        return [inner for inner in self.graph.nodes if inner in inside and inner.arguments]


def _is_kernel(node: Value) -> bool:
    return node.primitive is not None and node.primitive.arity is None


def _partial(name: str) -> _Text:
    return _Text(f"\\partial {name}")


def _product(signal: _Text, local: _Text) -> _Text:
    """Write an error signal times a local derivative."""
    if local.text in ("1", "-1"):
        return signal if local.text == "1" else _negative(signal)
    if local.text.startswith("-") and local.binds == SUM and " " not in local.text.replace(" \\cdot ", ""):
        return _negative(_times(signal, _Text(local.text[1:], PRODUCT)))
    return _times(signal, local)


def _expression(value: Any, known: Mapping[Value, _Text]) -> _Text:
    """Write a derivative, which is a number or a graph."""
    if not isinstance(value, Value):
        return _constant(value)
    texts = dict(known)
    for node in toposort(value):
        if node in texts:
            continue
        if node.primitive is None or node.primitive.name == "literal":
            texts[node] = _constant(node.data)
        else:
            args = [texts[x] if isinstance(x, Value) else _constant(x) for x in node.arguments]
            texts[node] = _apply(node.primitive, args)
    return texts[value]
