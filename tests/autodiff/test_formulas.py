"""Formulas: read back and evaluated, they give the numbers that the engine has."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import autodiff
import nn
from autodiff import Value, formula, latex
from autodiff.drawing import Graph
from autodiff.formulas import _Writer
from autodiff.primitives import TABLE, TEXTBOOK
from autodiff.replaying import error_signals


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


FUNCTIONS: dict[str, Callable[..., float]] = {
    "\\sin": math.sin,
    "\\cos": math.cos,
    "\\tan": math.tan,
    "\\tanh": math.tanh,
    "\\sinh": math.sinh,
    "\\cosh": math.cosh,
    "\\ln": math.log,
    "\\log_{2}": math.log2,
    "\\log_{10}": math.log10,
    "\\arctan": math.atan,
    "\\arcsin": math.asin,
    "\\arccos": math.acos,
    "\\Gamma": math.gamma,
    "\\psi": autodiff.digamma,
    "\\max": max,
    "\\min": min,
    "\\sigma": sigmoid,
}


class Reader:
    """Evaluate the LaTeX that formulas are written in: sums, products, powers, fractions, roots, functions, symbols."""

    def __init__(self, text: str, symbols: Mapping[str, float]) -> None:
        self.text = text
        self.at = 0
        self.symbols = dict(sorted(symbols.items(), key=lambda pair: -len(pair[0]))) | {"e": math.e, "\\pi": math.pi}

    def whole(self) -> float:
        result = self.sum()
        assert self.at == len(self.text), f"not understood: {self.text[self.at :]!r} in {self.text!r}"
        return result

    def take(self, token: str) -> bool:
        self.at += len(re.match(r" *", self.text[self.at :])[0])  # type: ignore[index]
        found = self.text.startswith(token, self.at)
        self.at += len(token) * found
        return found

    def expect(self, token: str) -> None:
        assert self.take(token), f"{token!r} expected at {self.text[self.at :]!r}"

    def sum(self) -> float:
        result = self.product()
        while True:
            if self.take("+"):
                result += self.product()
            elif self.take("-"):
                result -= self.product()
            else:
                return result

    def product(self) -> float:
        if self.take("-"):
            return -self.product()
        result = self.power()
        while self.take("\\cdot"):
            result *= self.power()
        return result

    def power(self) -> float:
        base = self.atom()
        return base ** self.group() if self.take("^") else base

    def group(self) -> float:
        self.expect("{")
        result = self.sum()
        self.expect("}")
        return result

    def arguments(self) -> list[float]:
        result = [self.sum()]
        while self.take(","):
            result.append(self.sum())
        self.expect(")")
        return result

    def atom(self) -> float:
        if self.take("("):
            (result,) = self.arguments()
            return result
        if self.take("["):
            sides = [self.sum()]
            sign = ">" if self.take(">") else "\\leq"
            while (sign == ">" and len(sides) == 1) or self.take("\\leq"):
                sides.append(self.sum())
            self.expect("]")
            return float(sides[0] > sides[1] if sign == ">" else sides == sorted(sides))
        if self.take("\\left|"):
            result = abs(self.sum())
            self.expect("\\right|")
            return result
        if self.take("\\frac"):
            top = self.group()
            return top / self.group()
        if self.take("\\sqrt"):
            return self.group() ** 0.5
        return self.named()

    def named(self) -> float:
        for name, function in FUNCTIONS.items():
            if self.take(name + "("):
                return function(*self.arguments())
        if self.take("\\operatorname{softmax}_{"):
            index = int(self.sum())
            self.expect("}(")
            return float(autodiff.softmax(self.arguments())[index])
        if self.take("\\operatorname{"):
            name, _, rest = self.text[self.at :].partition("}(")
            self.at = len(self.text) - len(rest)
            return float(TABLE[name.replace("\\_", "_")](*self.arguments()))
        for symbol, number in self.symbols.items():
            if self.take(symbol):
                return number
        match = re.match(r"\d+(\.\d+)?", self.text[self.at :])
        assert match, f"not understood: {self.text[self.at :]!r}"
        self.at += match.end()
        return float(match[0])


def check(value: Value, tolerance: float = 1e-9, **options: Any) -> list[str]:
    """Assert that every line, read as a formula, gives the number that the engine has for its left side."""
    writer = _Writer(Graph.of("formula", value, [], **options))
    signals = error_signals(value)
    known = {writer.names[node]: node.data for node in writer.named}
    overlines = {f"\\overline{{{writer.names[node]}}}": signals[node] for node in writer.named}
    assert len(known) == len(writer.named), "two values have one name"
    written = formula(value, **options)
    for left, right in written.values + written.signals:
        expected = (known | overlines)[left]
        assert Reader(right, known | overlines).whole() == pytest.approx(expected, rel=tolerance, abs=1e-12), (
            left,
            right,
        )
    return written.lines


@st.composite
def graphs(draw_from: st.DrawFn) -> Value:
    number = st.floats(-3.0, 3.0).map(lambda x: round(x, 2))
    label = st.sampled_from(["", "a", "b[0]", "alpha", "x1", "loss", "odd name"])
    pool = [Value(draw_from(number), draw_from(label)) for _ in range(draw_from(st.integers(1, 3)))]
    for _ in range(draw_from(st.integers(1, 10))):
        x, y = draw_from(st.sampled_from(pool)), draw_from(st.sampled_from(pool))
        c = draw_from(number)
        ways: list[Callable[[], Value]] = [
            lambda x=x, y=y: x + y,
            lambda x=x, y=y: x - y,
            lambda x=x, c=c: c - x,
            lambda x=x, y=y: x * y,
            lambda x=x, c=c: c * x,
            lambda x=x, y=y: x / (y * y + 1.0),
            lambda x=x: -x,
            lambda x=x: x**2,
            lambda x=x: (x * x + 1.0) ** -1.5,
            lambda x=x: (x * x + 0.5).sqrt(),
            lambda x=x: x.relu(),
            lambda x=x: x.tanh().exp(),
            lambda x=x: x.sigmoid(),
            lambda x=x: x.sin() * x.cos(),
            lambda x=x: abs(x),
            lambda x=x, y=y, c=c: autodiff.affine([x, c], [y, x], y),
            lambda x=x, y=y: autodiff.logsumexp([x.tanh(), y.tanh()]),
            lambda x=x, y=y: autodiff.softmax_cross_entropy([x.tanh(), y.tanh(), 0.5], 1),
        ]
        node = draw_from(st.sampled_from(ways))()
        if draw_from(st.booleans()):
            node.label = draw_from(label)
        if abs(node.data) < 50.0:
            pool.append(node)
    return pool[-1]


@given(graphs())
def test_read_back_and_evaluated_each_line_gives_the_engine_s_number(value: Value) -> None:
    check(value)


# These have constants of many digits, of which six are written.
ROUNDED = {"selu", "gelu_tanh", "degrees", "radians"}
ONE_ARGUMENT = [
    *("sin", "cos", "tan", "asin", "acos", "atan", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sinh"),
    *(
        "cosh",
        "tanh",
        "asinh",
        "erf",
        "erfc",
        "gamma",
        "lgamma",
        "digamma",
        "sigmoid",
        "softplus",
        "logsigmoid",
        "relu",
    ),
    *("leaky_relu", "elu", "selu", "gelu", "gelu_tanh", "silu", "softsign", "mish", "hard_tanh", "sqrt", "rsqrt"),
    *("square", "reciprocal", "abs", "normal_cdf", "sech", "degrees", "radians"),
]


@pytest.mark.parametrize("name", ONE_ARGUMENT)
def test_every_function_and_its_derivative(name: str) -> None:
    check(TABLE[name](Value(0.75, "x")) * 2.0, tolerance=1e-5 if name in ROUNDED else 1e-9)


@pytest.mark.parametrize("name", sorted(TEXTBOOK))
def test_the_forms_that_people_know_are_equal_to_the_table_s(name: str) -> None:
    for x in (-0.8, -0.1, 0.0, 0.3, 0.9):
        if (name == "sqrt" and x <= 0.0) or (name in ("gamma", "cbrt") and x == 0.0):
            continue
        out = TABLE[name].value(x)
        assert TEXTBOOK[name].locals(out, (x,)) == pytest.approx(TABLE[name].locals(out, (x,)), rel=1e-12)


# ---- what the lines look like


def test_the_neuron() -> None:
    w, b = Value(0.5, "w"), Value(0.5, "b")
    z = autodiff.affine([w], [2.0], b)
    y = z.sigmoid()
    loss = (y - 1.0) ** 2
    z.label, y.label, loss.label = "z", "y", "L"
    assert check(loss) == [
        r"z = w \cdot 2 + b",
        r"y = \sigma(z)",
        r"L = (y - 1)^{2}",
        r"\overline{L} = 1",
        r"\overline{y} = \overline{L} \cdot 2 \cdot (y - 1)",
        r"\overline{z} = \overline{y} \cdot y \cdot (1 - y)",
        r"\overline{w} = \overline{z} \cdot 2",
        r"\overline{b} = \overline{z}",
    ]
    assert formula(w * 2.0, numbers=True).lines == [
        r"v_{1} = w \cdot 2 = 1",
        r"\overline{v_{1}} = 1",
        r"\overline{w} = \overline{v_{1}} \cdot 2 = 2",
    ]


def test_brackets_stand_where_they_must() -> None:
    a, b, c = Value(2.0, "a"), Value(-3.0, "b"), Value(0.5, "c")
    written = {
        r"a - (b + c)": a - (b + c),
        r"a - (b - c)": a - (b - c),
        r"a - b + c": a - b + c,
        r"a - b": a + (-b),
        r"a - (-b)": a - (-b),
        r"(a + b) \cdot c": (a + b) * c,
        r"a \cdot (b + c)": a * (b + c),
        r"a \cdot (-b)": a * (-b),
        r"-(a + b)": -(a + b),
        r"-a \cdot b": -(a * b),
        r"(-a)^{2}": (-a) ** 2,
        r"-a^{2}": -(a**2),
        r"(a^{2})^{3}": (a**2) ** 3,
        r"(\sin(a))^{2}": a.sin() ** 2,
        r"(\frac{a}{b})^{2}": (a / b) ** 2,
        r"\frac{a + b}{c}": (a + b) / c,
        r"a + b \cdot (-2)": a + b * -2.0,
        r"-2 \cdot a": -2.0 * a,
        r"e^{a + b}": (a + b).exp(),
    }
    for text, value in written.items():
        assert latex(value) == text
        check(value)


def test_fan_out_is_a_sum() -> None:
    x = Value(3.0, "x")
    a, b = x * 2.0, x.sin()
    a.label, b.label = "a", "b"
    assert check(a * b)[-1] == r"\overline{x} = \overline{b} \cdot \cos(x) + \overline{a} \cdot 2"


def test_what_is_shared_is_named_once() -> None:
    x = Value(3.0, "x")
    shared = x * x
    lines = check(shared.sin() + shared.cos())
    assert lines[:2] == [r"v_{1} = x \cdot x", r"v_{4} = \sin(v_{1}) + \cos(v_{1})"]


def test_large_expressions_are_cut() -> None:
    x = Value(0.5, "x")
    y = x
    for _ in range(250):
        y = y.sin()
    lines = formula(y).lines
    assert max(map(len, lines)) < 500
    assert len(lines) < 120


def test_parameters_carry_their_place() -> None:
    net = nn.MLP(1, [2, 1], activation="tanh")
    lines = check(net([0.5]), module=net)
    assert lines[0] == r"v_{1} = w_{0}^{(0,0)} \cdot 0.5 + b^{(0,0)}"
    assert any(line.startswith(r"\overline{b^{(1,0)}} = ") for line in lines)


def test_names() -> None:
    labels = {
        "x": "x",
        "w[0]": "w_{0}",
        "w[1][2]": "w_{1,2}",
        "x1": "x_{1}",
        "x_1": "x_{1}",
        "alpha": "\\alpha",
        "theta0": "\\theta_{0}",
        "loss": "\\mathrm{loss}",
        "α": "α",
        "two words": "\\text{two words}",
        "50%_{a}\\": "\\text{50\\%\\_\\{a\\}\u2216}",
    }
    for label, symbol in labels.items():
        assert formula(Value(1.0, label) * 2.0).lines[0] == f"v_{{1}} = {symbol} \\cdot 2"


def test_equal_names_are_told_apart() -> None:
    assert check(Value(2.0, "x") * Value(3.0, "x"))[0] == r"v_{1} = {x}^{[1]} \cdot {x}^{[2]}"


def test_numbers() -> None:
    x = Value(1.0, "x")
    for number, text in {
        1e-7: "10^{-7}",
        -2.5e20: "(-2.5 \\cdot 10^{20})",
        math.inf: "\\infty",
        1 / 3: "0.333333",
    }.items():
        assert latex(x * number) == f"x \\cdot {text}"


def test_one_expression() -> None:
    assert latex(lambda x, s: autodiff.exp(-((x / s) ** 2)), 1.0, 2.0) == r"e^{-(\frac{x}{s})^{2}}"
    x = Value(3.0, "x")
    shared = x * x
    assert (
        latex(shared.sin() + shared)
        == "\\begin{aligned}\nv_{1} &= x \\cdot x \\\\\nv_{3} &= \\sin(v_{1}) + v_{1}\n\\end{aligned}"
    )


def test_a_batch_is_one_function() -> None:
    x = Value(2.0, "x")
    lines = formula(autodiff.batch_mean(lambda t: (x * t) ** 2)([1.0, 2.0])).lines
    assert lines == [
        r"v_{1} = \operatorname{batch\_mean}(x)",
        r"\overline{v_{1}} = 1",
        r"\overline{x} = \overline{v_{1}} \cdot \frac{\partial v_{1}}{\partial x}",
    ]


def test_what_a_batch_captures_has_a_name() -> None:
    x = Value(2.0, "x")
    y = x.sin()
    assert formula(autodiff.batch_sum(lambda t: y * t)([1.0, 2.0])).lines[0] == r"v_{1} = \sin(x)"


def test_derivatives_have_formulas_too() -> None:
    x = Value(2.0, "x")
    assert check(autodiff.grad(lambda t: t**3 + t)(x))[-1] == r"\overline{x} = \overline{v_{4}} \cdot 3 \cdot 2 \cdot x"
    assert formula(autodiff.grad(lambda t: 5.0 * t)(x)).lines == ["v_{1} = 5", r"\overline{v_{1}} = 1"]


def test_notebooks_get_a_block() -> None:
    written = formula(Value(3.0, "x") ** 2)
    assert written._repr_latex_() == f"$$\n{written.latex}\n$$"
    assert repr(written) == "<Formula: 3 equations; a notebook shows them, .latex is their source>"


def test_nothing_is_recorded_or_changed() -> None:
    x = Value(3.0, "x")
    y = x.sigmoid()
    y.backward()
    before = x.grad
    with autodiff.no_grad():
        assert formula(y).lines[-1] == r"\overline{x} = \overline{v_{1}} \cdot v_{1} \cdot (1 - v_{1})"
    assert x.grad == before


def test_what_is_refused() -> None:
    with pytest.raises(TypeError, match=r"formula\(\) takes a Value"):
        formula(3.0)  # type: ignore[arg-type]


def test_every_line_is_accepted_by_a_typesetter() -> None:
    """matplotlib's mathtext knows a part of TeX, which MathJax and KaTeX contain."""
    mathtext = pytest.importorskip("matplotlib.mathtext")
    net = nn.MLP(2, [2, 1], activation="tanh")
    x = Value(2.0, "odd_%name")
    graphs = [
        (net([0.5, 1.0]) - 1.0) ** 2 / 3.0,
        x.gelu() + x.mish() + abs(x).sqrt() + autodiff.hypot(x, 1e-9) + x.floor() * autodiff.clip(x, 0.0, 3.0),
        autodiff.softmax_cross_entropy([x, x * 2.0], 0),
    ]
    parser = mathtext.MathTextParser("path")
    for graph in graphs:
        for line in formula(graph, module=net).lines:
            parser.parse(f"${line}$")
