"""The table of primitives: each scalar function once, with its value, its source and its local derivatives.

A local derivative is written with operators and other primitives, as a function of the result and the
arguments. Called with floats it gives a float, called with Values it gives a graph (so derivatives of any
order come for free), and that graph prints as source. Nothing else in the package knows any calculus.

    name, value on floats, source template, d out / d argument for each argument
"""

# mypy: disable-error-code="has-type"
# (A rule names primitives of later rows, whose types mypy has not inferred yet.)

import keyword
import math
import numbers
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType
from typing import Any

from autodiff import special
from autodiff.special import (
    DEGREES,
    GELU_C1,
    GELU_C3,
    LN2,
    LN10,
    RADIANS,
    SELU_ALPHA,
    SELU_SCALE,
    TWO_OVER_SQRT_PI,
)

__all__ = ["Kernel", "Primitive"]

Rule = float | Callable[..., Any]


def constant(x: Any, what: str = "an argument", kinds: str = "a number or a Value") -> float:
    """Convert a plain number to a float; anything else is a TypeError that says what it must be.

    >>> constant(2)
    2.0
    """
    if isinstance(x, numbers.Real) or is_truth(x):
        return float(x)
    if hasattr(x, "to_numpy"):
        raise TypeError(f"{what} is a {type(x).__name__}, and must be {kinds}: write .to_numpy() for an array")
    if x is None and what.startswith("the result"):
        raise TypeError(f"{what} must be {kinds}, not None: is a return missing?")
    if getattr(x, "shape", ()) != ():
        raise TypeError(
            f"{what} is an array, and must be {kinds}: NumPy's functions take arrays of Values, entry by entry"
        )
    raise TypeError(f"{what} must be {kinds}, not {type(x).__name__} {shortened(x)}")


def is_truth(x: Any) -> bool:
    """Say whether x is a truth value: Python's, or NumPy's, which is no number of Python's and no bool.

    >>> is_truth(2.0 > 1.0), is_truth(1.0)
    (True, False)
    """
    return isinstance(x, bool) or (type(x).__module__ == "numpy" and type(x).__name__ in ("bool", "bool_"))


def shortened(x: Any, width: int = 60) -> str:
    """Show an object in an error message, cut off where it gets long.

    >>> shortened(list(range(100)), 12)
    '[0, 1, 2 ...'
    """
    shown = repr(x)
    return shown if len(shown) <= width else shown[: width - 4].rstrip(" ,") + " ..."


_FLOATS: dict[str, Any] = {}  # the names of this module, where those of primitives stand for their float functions


def _is_own(rule: Any) -> bool:
    return type(rule) is FunctionType and rule.__globals__ is globals()


def _check_kinds(name: str, value: Any, source: Any) -> None:
    if not callable(value) or not isinstance(source, str):
        raise TypeError(
            f"the primitive {name} must be given its value, a function, then its source, a text, then derivatives: not "
            f"{shortened(value)}, then {shortened(source)}"
        )


def _takes(function: Any, count: int) -> bool:
    """Say whether a function takes so many arguments, as far as that can be told at once.

    >>> _takes(lambda x: x, 1), _takes(lambda x: x, 2), _takes(lambda *xs: 0.0, 2), _takes(math.sin, 2)
    (True, False, True, True)
    """
    code = getattr(function, "__code__", None)
    if code is None or hasattr(function, "__self__") or code.co_flags & 4:  # *args
        return True
    return bool(code.co_argcount - len(function.__defaults__ or ()) <= count <= code.co_argcount)


def _on_floats(rule: Any) -> Any:
    """Give the form of a rule of this module that takes floats only: it saves a call for each primitive in it.

    >>> _on_floats(sin.derivatives[0])(0.0, 0.0)
    1.0
    """
    if _is_own(rule):
        return FunctionType(rule.__code__, _FLOATS, rule.__name__, rule.__defaults__, rule.__closure__)
    return rule


class _Returning:
    """A rule that a user wrote. What it does not return would be taken for 0, without a word; here it is an error."""

    def __init__(self, name: str, rule: Callable[..., Any], lists: bool = False) -> None:
        self.name = name
        self.rule = rule
        self.lists = lists  # whether it gives all local derivatives at once

    def __call__(self, *args: Any) -> Any:
        """Evaluate the rule."""
        found = self.rule(*args)
        if self.lists and found is not None:
            if not isinstance(found, Iterable):
                raise TypeError(f"{self.name} has one derivative for each argument: return a list, not {found!r}")
            found = tuple(found)
        if found is None or (self.lists and any(local is None for local in found)):
            raise TypeError(f"a local derivative of {self.name} is None: is a return missing?")
        return found


class Primitive:
    """A differentiable scalar function: its value, its source, and one local derivative per argument.

    A local derivative is a constant, or a function of the result and all arguments that is written with
    operators and primitives only. `source` is a Python expression with a `{}` for each argument.
    `defaults` are the values of trailing arguments that a caller may leave out.

    >>> import math
    >>> cube = Primitive("cube", lambda x: x * x * x, "{0} * {0} * {0}", lambda out, x: 3.0 * x * x)
    >>> cube(2.0)
    8.0
    >>> from autodiff import Value, grad
    >>> x = Value(2.0)
    >>> cube(x).backward()
    >>> x.grad
    12.0
    >>> grad(grad(cube))(2.0)
    12.0
    """

    def __init__(
        self,
        name: str,
        value: Callable[..., float],
        source: str,
        *derivatives: Rule,
        defaults: tuple[float, ...] = (),
    ) -> None:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise ValueError(f"a primitive's name must be an identifier, not {name!r}")
        _check_kinds(name, value, source)
        self._check_counts(name, value, derivatives)
        self.name = self.__name__ = name
        self.value = value
        self.source = source
        self.derivatives = tuple(map(self._checked, derivatives))
        self.float_rules = tuple(map(_on_floats, self.derivatives))
        self.defaults = defaults
        self.arity: int | None = len(derivatives)
        known = re.search(r"^ *([A-Z].*\.)$", value.__doc__ or "", flags=re.MULTILINE)
        summary = known[1] if known else f"Return {name} of the arguments."
        self.__doc__ = f"{summary}\n\nTakes floats and returns a float, or takes Values and returns a Value."

    def _check_counts(self, name: str, value: Any, derivatives: tuple[Any, ...]) -> None:
        """Refuse other functions than of all arguments, and derivatives that are not of the result as well."""
        count = len(derivatives)
        if not _takes(value, count):
            raise TypeError(f"the primitive {name} has {count} derivatives, but its value is no function of {count}")
        for i, rule in enumerate(derivatives, 1):
            if not _takes(rule, count + 1):
                raise TypeError(
                    f"derivative {i} of the primitive {name} must be a function of {count + 1}, the result and all "
                    "arguments, as in lambda out, x: ..."
                )

    def _checked(self, rule: Any) -> Rule:
        if not callable(rule):
            return constant(rule, f"a local derivative of {self.name}", "a number or a function")
        return rule if _is_own(rule) else _Returning(self.name, rule)

    @property
    def is_ours(self) -> bool:
        """Whether this is a primitive of the table, rather than one that a user declared.

        >>> exp.is_ours, Primitive("exp", math.exp, "", lambda out, x: out).is_ours
        (True, False)
        """
        return TABLE.get(self.name) is self

    def locals(self, out: Any, args: tuple[Any, ...], wanted: Sequence[int] | None = None) -> tuple[Any, ...]:
        """Evaluate every local derivative, on floats or on Values; or those wanted: others need not have a value.

        >>> mul.locals(6.0, (2.0, 3.0))
        (3.0, 2.0)
        >>> power.locals(4.0, (-2.0, 2.0), wanted=[0])
        (-4.0,)
        """
        rules = self.derivatives if wanted is None else [self.derivatives[i] for i in wanted]
        return tuple([rule(out, *args) if callable(rule) else rule for rule in rules])

    def __call__(self, *args: Any) -> Any:
        """Apply to floats, giving a float, or to Values, giving a Value.

        An error of the arithmetic keeps its type, and names the operation and its arguments.

        >>> exp(0.0)
        1.0
        >>> exp(1000.0)
        Traceback (most recent call last):
        ...
        OverflowError: exp(1000.0): math range error
        """
        if len(args) != self.arity and self.arity is not None:
            given = len(args)
            args += self.defaults[given - self.arity :] if given < self.arity else ()
            if len(args) != self.arity:
                raise TypeError(f"{self.name}() takes {self.arity} argument{'s' * (self.arity != 1)}, not {given}")
        floats = True
        for arg in args:
            if type(arg) is not float:
                record = getattr(arg, "apply_primitive", None)  # a Value knows how to record itself
                if record is not None:
                    return record(self, args)
                floats = False
        inputs = args if floats else tuple(self.constant(i, x) for i, x in enumerate(args, 1))
        try:
            found = self.value(*inputs)
        except (ArithmeticError, ValueError) as error:
            raise self.explain(error, inputs, args) from error
        return found if type(found) is float else self.result(found)

    def result(self, found: Any) -> float:
        """Convert what the value of a user's primitive returned to a float.

        >>> Primitive("double", lambda x: 2 * int(x), "", 2.0)(3.0)
        6.0
        """
        return constant(found, f"the result of {self.name}()")

    def constant(self, i: int, x: Any) -> float:
        """Convert argument number i to a float.

        >>> add.constant(1, 3)
        3.0
        """
        return constant(x, f"argument {i} of {self.name}()")

    def template(self, args: tuple[Any, ...]) -> str:
        """Give the source template for these arguments, of which the constant ones are floats.

        >>> add.template((1.0, 2.0))
        '{} + {}'
        """
        return self.source

    def explain(self, error: Exception, inputs: tuple[float, ...], args: tuple[Any, ...]) -> Exception:
        """Return an error of the same type that names this operation, its arguments and their labels."""
        labels = (getattr(arg, "label", "") for arg in args)
        shown = [f"{label} = {x!r}" if label else repr(x) for x, label in zip(inputs, labels, strict=True)]
        if len(shown) > 8:
            shown[4:-3] = [f"... {len(shown) - 7} more ..."]
        return type(error)(f"{self.name}({', '.join(shown)}): {error}")

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.is_ours:
            raise TypeError(
                f"primitive {self.name!r} is not in autodiff's table and so cannot be pickled or copied by name; "
                "pickle the leaves, or the function that builds the graph"
            )
        return _look_up, (self.name,)

    def __copy__(self) -> "Primitive":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Primitive":
        return self


class Kernel(Primitive):
    """A primitive of any number of arguments: one function gives all its local derivatives.

    >>> mean = Kernel("mean", lambda *xs: sum(xs) / len(xs), "", lambda out, *xs: [1.0 / len(xs)] * len(xs))
    >>> mean(1.0, 2.0, 6.0)
    3.0
    """

    def __init__(self, name: str, value: Callable[..., float], source: str, derivatives: Callable[..., Any]) -> None:
        if not callable(derivatives):
            raise TypeError(f"the derivatives of the kernel {name} must be a function that returns a list of them")
        super().__init__(name, value, source)
        self.arity = None
        self._all_derivatives = derivatives if _is_own(derivatives) else _Returning(name, derivatives, lists=True)
        self._all_on_floats = _on_floats(self._all_derivatives)

    def _check_counts(self, name: str, value: Any, derivatives: tuple[Any, ...]) -> None:
        """Take any number of arguments."""

    def locals(self, out: Any, args: tuple[Any, ...], wanted: Sequence[int] | None = None) -> tuple[Any, ...]:
        """Evaluate every local derivative, on floats or on Values; give those wanted.

        >>> total.locals(3.0, (1.0, 2.0))
        (1.0, 1.0)
        """
        found = tuple(self._all_derivatives(out, *args))
        self._check_length(found, args)
        return found if wanted is None else tuple(found[i] for i in wanted)

    def float_locals(self, out: float, args: tuple[float, ...]) -> Sequence[float]:
        """Evaluate every local derivative on floats, in less time.

        >>> total.float_locals(3.0, (1.0, 2.0))
        [1.0, 1.0]
        """
        found: Sequence[float] = self._all_on_floats(out, *args)
        self._check_length(found, args)
        return found

    def _check_length(self, found: Sequence[Any], args: tuple[Any, ...]) -> None:
        if len(found) != len(args):
            raise ValueError(
                f"{self.name} of {len(args)} arguments has {len(found)} local derivatives: one is due for each"
            )


class Custom(Kernel):
    """A node whose value is its first argument and whose derivatives by the other arguments a function gives.

    >>> node = Custom("double", lambda out, *xs: [2.0])
    >>> node(8.0, 4.0)
    8.0
    """

    def __init__(self, name: str, derivatives: Callable[..., Any]) -> None:
        super().__init__(name, special.first, "", lambda out, value, *xs: [0.0, *derivatives(out, *xs)])


class Tunable(Primitive):
    """A primitive whose arguments may be named, as its first rule names them. Of all primitives, that would take time.

    >>> leaky_relu(-1.0, slope=0.2)
    -0.2
    """

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Apply to floats or Values, as any primitive."""
        return super().__call__(*self._in_order(args, named)) if named else super().__call__(*args)

    def _in_order(self, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """Put named arguments in their places, and defaults in those that are left."""
        names = self.derivatives[0].__code__.co_varnames[1 : 1 + len(self.derivatives)]  # type: ignore[union-attr]
        unknown = [name for name in named if name not in names]
        if unknown:
            raise TypeError(f"{self.name}() has no argument {unknown[0]!r}: it takes {', '.join(names)}")
        if twice := [name for name in names[: len(args)] if name in named]:
            raise TypeError(f"{self.name}() got two values for {twice[0]!r}, one by place and one by name")
        known = dict(zip(reversed(names), reversed(self.defaults), strict=False)) | named
        missing = [name for name in names[len(args) :] if name not in known]
        if missing:
            raise TypeError(f"{self.name}() needs a value for {missing[0]!r}")
        return (*args, *[known[name] for name in names[len(args) :]])


class Power(Primitive):
    """x ** y, which prints as an operator where it cannot turn complex."""

    def template(self, args: tuple[Any, ...]) -> str:
        """Give the source template for these arguments."""
        exponent = args[1]
        return "{} ** {}" if type(exponent) is float and exponent % 1.0 == 0.0 else self.source


def _look_up(name: str) -> Primitive:
    return TABLE[name]


# ---- local derivatives that do not fit on one line


def _power_base(out: Any, x: Any, y: Any) -> Any:
    """Give d x^y / dx = y x^(y - 1); 0 at x = y = 0."""
    if type(y) is float and (y == 2.0 or (type(x) is float and 1.0 <= y <= special.LARGEST_FACTOR)):
        return y * x ** (y - 1.0)  # to the bit what `power_derivative` is; 2 * x on Values too, which is exact
    return power_derivative(1.0, 0.0, x, y)


def _power_exponent(out: Any, x: Any, y: Any) -> Any:
    """Give d x^y / dy = x^y log(x); 0 for 0^y, nan for a negative x."""
    if type(x) is float and type(y) is float:
        return chain(out, ieee_log(x))
    return power_derivative(0.0, 1.0, x, y)  # by x it is no product: one factor may overflow where both together do not


def _gelu_tanh(out: Any, x: Any) -> Any:
    argument = x * (GELU_C1 + GELU_C3 * x * x)
    return sigmoid(argument) + chain(_sigmoid_slope(argument), x * (GELU_C1 + 3.0 * GELU_C3 * x * x))


def _sigmoid_slope(x: Any) -> Any:
    """Give s(x) s(-x) as (sech(x / 2) / 2)^2: no cancellation here nor in its own derivatives."""
    return square(0.5 * sech(0.5 * x))


def _mish(out: Any, x: Any) -> Any:
    bent = softplus(x)
    return tanh(bent) + chain(x, square(sech(bent)) * sigmoid(x))


def _no_derivative(out: Any, *args: Any) -> Any:
    return math.nan  # an order is a whole number: there is no derivative to give


def _dot(out: Any, *args: Any) -> Any:
    n = len(args) // 2
    return args[n:] + args[:n]


def _affine(out: Any, *args: Any) -> Any:
    n = len(args) // 2
    return args[n:-1] + args[:n] + (1.0,)


def _entries(xs: tuple[Any, ...]) -> list[Any]:
    """Give all entries of the softmax: of floats in one pass, not one pass for each."""
    if all(type(x) is float for x in xs):
        return special.softmax_entries(xs)
    return [softmax_entry(float(i), *xs) for i in range(len(xs))]


def _logsumexp(out: Any, *xs: Any) -> Any:
    return _entries(xs)


def _softmax_of_two(index: Any, xs: tuple[Any, ...], sign: float) -> Any:
    """Differentiate a softmax of two logits as the sigmoid it is: no cancellation where both entries are close to 1/2."""
    slope = _sigmoid_slope(xs[0] - xs[1])
    return [0.0, slope, -slope] if (sign > 0.0) == (index == 0.0) else [0.0, -slope, slope]


def _softmax(out: Any, index: Any, *xs: Any) -> Any:
    if len(xs) == 2:
        return _softmax_of_two(index, xs, 1.0)
    chosen = int(index)
    rest = softmax_rest(index, *xs)
    return [0.0] + [out * rest if i == chosen else -out * entry for i, entry in enumerate(_entries(xs))]


def _softmax_rest(out: Any, index: Any, *xs: Any) -> Any:
    if len(xs) == 2:
        return _softmax_of_two(index, xs, -1.0)
    chosen = int(index)
    entry = softmax_entry(index, *xs)
    return [0.0] + [-entry * out if i == chosen else entry * other for i, other in enumerate(_entries(xs))]


def _cross_entropy(out: Any, index: Any, *xs: Any) -> Any:
    chosen = int(index)
    rest = softmax_rest(index, *xs)
    return [0.0] + [-rest if i == chosen else entry for i, entry in enumerate(_entries(xs))]


# ---- the table

# fmt: off
add          = Primitive("add",      operator.add,      "{} + {}",  1.0, 1.0)
sub          = Primitive("sub",      operator.sub,      "{} - {}",  1.0, -1.0)
mul          = Primitive("mul",      operator.mul,      "{} * {}",  lambda out, x, y: y, lambda out, x, y: x)
div          = Primitive("div",      operator.truediv,  "{} / {}",  lambda out, x, y: 1.0 / y, lambda out, x, y: -out / y)
floordiv     = Primitive("floordiv", operator.floordiv, "{} // {}", 0.0, 0.0)
mod          = Primitive("mod",      operator.mod,      "{} % {}",  1.0, lambda out, x, y: -(x // y))
power        = Power("pow",          special.power,     "power({}, {})", _power_base, _power_exponent)
literal      = Primitive("literal",  special.literal,   "")  # a number made inside a transform: never an input from outside
argument     = Primitive("argument", special.literal,   "")  # an input of a transform that is still at work
identity     = Primitive("identity", operator.pos,      "{}",       1.0)
detached     = Primitive("detached", operator.pos,      "{}",       0.0)
neg          = Primitive("neg",      operator.neg,      "-{}",      -1.0)
absolute     = Primitive("abs",      operator.abs,      "abs({})",  lambda out, x: sign(x))

# Limits where Python raises: written for local derivatives.
chain        = Primitive("chain",    special.chain,     "chain({}, {})",    lambda out, x, y: y, lambda out, x, y: x)
ieee_div     = Primitive("ieee_div", special.ieee_div,  "ieee_div({}, {})", lambda out, x, y: ieee_div(1.0, y), lambda out, x, y: -ieee_div(out, y))
ieee_log     = Primitive("ieee_log", special.ieee_log,  "ieee_log({})",     lambda out, x: ieee_div(1.0, x))
ieee_pow     = Primitive("ieee_pow", special.ieee_pow,  "ieee_pow({}, {})", lambda out, x, y: power_derivative(1.0, 0.0, x, y), lambda out, x, y: power_derivative(0.0, 1.0, x, y))
power_derivative = Primitive("power_derivative", special.power_derivative, "power_derivative({}, {}, {}, {})", _no_derivative, _no_derivative, lambda out, m, n, x, y: power_derivative(m + 1.0, n, x, y), lambda out, m, n, x, y: power_derivative(m, n + 1.0, x, y))

# Choices: flat but for the jumps.
greater      = Primitive("greater",  special.greater,   "(1.0 if {} > {} else 0.0)", 0.0, 0.0)
beats        = Primitive("beats",    special.beats,     "beats({}, {})", 0.0, 0.0)
within       = Primitive("within",   special.within,    "(1.0 if {1} <= {0} <= {2} else 0.0)", 0.0, 0.0, 0.0)
sign         = Primitive("sign",     special.sign,      "sign({})", 0.0)
floor        = Primitive("floor",    special.floor,     "floor({})", 0.0)
ceil         = Primitive("ceil",     special.ceil,      "ceil({})", 0.0)
trunc        = Primitive("trunc",    special.trunc,     "trunc({})", 0.0)
rint         = Primitive("rint",     special.rint,      "rint({})", 0.0)
where        = Primitive("where",    special.where,     "({1} if {0} else {2})", 0.0, lambda out, c, x, y: where(c, 1.0, 0.0), lambda out, c, x, y: where(c, 0.0, 1.0))
maximum      = Primitive("maximum",  special.maximum,   "maximum({}, {})", lambda out, x, y: beats(x, y), lambda out, x, y: beats(y, x))
minimum      = Primitive("minimum",  special.minimum,   "minimum({}, {})", lambda out, x, y: beats(y, x), lambda out, x, y: beats(x, y))
clip         = Tunable("clip",     special.clip,      "clip({}, {}, {})", lambda out, x, low, high: within(x, low, high), lambda out, x, low, high: greater(low, x), lambda out, x, low, high: where(greater(low, x), 0.0, greater(x, high)))

# Powers, exponentials and logarithms.
square       = Primitive("square",   special.square,    "{0} * {0}", lambda out, x: 2.0 * x)
reciprocal   = Primitive("reciprocal", special.reciprocal, "1.0 / {}", lambda out, x: -out * out)
one_minus_square = Primitive("one_minus_square", special.one_minus_square, "(1.0 - {0}) * (1.0 + {0})", lambda out, x: -2.0 * x)
times_complement = Primitive("times_complement", special.times_complement, "{0} * (1.0 - {0})", lambda out, x: 1.0 - 2.0 * x)
sqrt         = Primitive("sqrt",     math.sqrt,         "sqrt({})",  lambda out, x: ieee_div(0.5, out + 0.0))  # -0.0 becomes 0.0
rsqrt        = Primitive("rsqrt",    special.rsqrt,     "1.0 / sqrt({})", lambda out, x: -0.5 * out / x)
cbrt         = Primitive("cbrt",     math.cbrt,         "cbrt({})",  lambda out, x: cbrt_derivative(1.0, x))
cbrt_derivative = Primitive("cbrt_derivative", special.cbrt_derivative, "cbrt_derivative({}, {})", _no_derivative, lambda out, n, x: cbrt_derivative(n + 1.0, x))
exp          = Primitive("exp",      math.exp,          "exp({})",   lambda out, x: out)
exp2         = Primitive("exp2",     math.exp2,         "exp2({})",  lambda out, x: LN2 * out)
expm1        = Primitive("expm1",    math.expm1,        "expm1({})", lambda out, x: exp(x))
log          = Primitive("log",      math.log,          "log({})",   lambda out, x: 1.0 / x)
log2         = Primitive("log2",     math.log2,         "log2({})",  lambda out, x: 1.0 / LN2 / x)
log10        = Primitive("log10",    math.log10,        "log10({})", lambda out, x: 1.0 / LN10 / x)
log1p        = Primitive("log1p",    math.log1p,        "log1p({})", lambda out, x: 1.0 / (1.0 + x))
logaddexp    = Primitive("logaddexp", special.logaddexp, "logaddexp({}, {})", lambda out, x, y: sigmoid(x - y), lambda out, x, y: sigmoid(y - x))

# Trigonometric and hyperbolic functions.
sin          = Primitive("sin",      math.sin,          "sin({})",   lambda out, x: cos(x))
cos          = Primitive("cos",      math.cos,          "cos({})",   lambda out, x: -sin(x))
tan          = Primitive("tan",      math.tan,          "tan({})",   lambda out, x: 1.0 + out * out)
asin         = Primitive("asin",     math.asin,         "asin({})",  lambda out, x: ieee_div(1.0, sqrt(one_minus_square(x))))
acos         = Primitive("acos",     math.acos,         "acos({})",  lambda out, x: ieee_div(-1.0, sqrt(one_minus_square(x))))
atan         = Primitive("atan",     math.atan,         "atan({})",  lambda out, x: square(1.0 / hypot(1.0, x)))
atan2        = Primitive("atan2",    math.atan2,        "atan2({}, {})", lambda out, y, x: inverse_power_real(1.0, x, y), lambda out, y, x: inverse_power_imag(1.0, x, y))
hypot        = Primitive("hypot",    math.hypot,        "hypot({}, {})", lambda out, x, y: unit(x, y), lambda out, x, y: unit(y, x))
unit         = Primitive("unit",     special.unit,      "unit({}, {})", lambda out, x, y: hypot_derivative(2.0, 0.0, x, y), lambda out, x, y: hypot_derivative(1.0, 1.0, x, y))
hypot_derivative = Primitive("hypot_derivative", special.hypot_derivative, "hypot_derivative({}, {}, {}, {})", _no_derivative, _no_derivative, lambda out, i, j, x, y: hypot_derivative(i + 1.0, j, x, y), lambda out, i, j, x, y: hypot_derivative(i, j + 1.0, x, y))
# z^-n for z = x + iy: the derivatives of atan2, the imaginary part of log(z).
inverse_power_real = Primitive("inverse_power_real", special.inverse_power_real, "inverse_power_real({}, {}, {})", _no_derivative, lambda out, n, x, y: -n * inverse_power_real(n + 1.0, x, y), lambda out, n, x, y: n * inverse_power_imag(n + 1.0, x, y))
inverse_power_imag = Primitive("inverse_power_imag", special.inverse_power_imag, "inverse_power_imag({}, {}, {})", _no_derivative, lambda out, n, x, y: -n * inverse_power_imag(n + 1.0, x, y), lambda out, n, x, y: -n * inverse_power_real(n + 1.0, x, y))
sinh         = Primitive("sinh",     math.sinh,         "sinh({})",  lambda out, x: cosh(x))
cosh         = Primitive("cosh",     math.cosh,         "cosh({})",  lambda out, x: sinh(x))
tanh         = Primitive("tanh",     math.tanh,         "tanh({})",  lambda out, x: square(sech(x)))
sech         = Primitive("sech",     special.sech,      "sech({})",  lambda out, x: -out * tanh(x))
asinh        = Primitive("asinh",    math.asinh,        "asinh({})", lambda out, x: 1.0 / hypot(1.0, x))
acosh        = Primitive("acosh",    math.acosh,        "acosh({})", lambda out, x: ieee_div(1.0, sqrt(x - 1.0)) / sqrt(x + 1.0))
atanh        = Primitive("atanh",    math.atanh,        "atanh({})", lambda out, x: 1.0 / one_minus_square(x))
degrees      = Primitive("degrees",  math.degrees,      "degrees({})", DEGREES)
radians      = Primitive("radians",  math.radians,      "radians({})", RADIANS)

# The rest of Python's math.
copysign     = Primitive("copysign", math.copysign,     "copysign({}, {})", lambda out, x, y: sign(x) * copysign(1.0, y), 0.0)
fmod         = Primitive("fmod",     math.fmod,         "fmod({}, {})", 1.0, lambda out, x, y: -rint(ieee_div(x, y) - ieee_div(out, y)))
remainder    = Primitive("remainder", math.remainder,   "remainder({}, {})", 1.0, lambda out, x, y: -rint(ieee_div(x, y) - ieee_div(out, y)))
erf          = Primitive("erf",      math.erf,          "erf({})",   lambda out, x: TWO_OVER_SQRT_PI * exp(-x * x))
erfc         = Primitive("erfc",     math.erfc,         "erfc({})",  lambda out, x: -TWO_OVER_SQRT_PI * exp(-x * x))
gamma        = Primitive("gamma",    math.gamma,        "gamma({})", lambda out, x: gamma_derivative(1.0, x))
gamma_derivative = Primitive("gamma_derivative", special.gamma_derivative, "gamma_derivative({}, {})", _no_derivative, lambda out, n, x: gamma_derivative(n + 1.0, x))
lgamma       = Primitive("lgamma",   math.lgamma,       "lgamma({})", lambda out, x: digamma(x))
digamma      = Primitive("digamma",  special.digamma,   "digamma({})", lambda out, x: polygamma(1.0, x))
polygamma    = Primitive("polygamma", special.polygamma, "polygamma({}, {})", _no_derivative, lambda out, n, x: polygamma(n + 1.0, x))

# Activations and their parts.
sigmoid      = Primitive("sigmoid",  special.sigmoid,   "sigmoid({})", lambda out, x: _sigmoid_slope(x))
logit        = Primitive("logit",    special.logit,     "logit({})",   lambda out, x: 1.0 / times_complement(x))
softplus     = Primitive("softplus", special.softplus,  "softplus({})", lambda out, x: sigmoid(x))
logsigmoid   = Primitive("logsigmoid", special.logsigmoid, "logsigmoid({})", lambda out, x: sigmoid(-x))
relu         = Primitive("relu",     special.relu,      "(0.0 if {0} <= 0.0 else {0})", lambda out, x: greater(x, 0.0))
leaky_relu   = Tunable("leaky_relu", special.leaky_relu, "leaky_relu({}, {})", lambda out, x, slope: leaky_step(x, slope), lambda out, x, slope: -relu(-x), defaults=(0.01,))
leaky_step   = Primitive("leaky_step", special.leaky_step, "leaky_step({}, {})", 0.0, lambda out, x, slope: greater(0.0, x))
elu          = Tunable("elu",      special.elu,       "elu({}, {})", lambda out, x, alpha: elu_slope(x, alpha), lambda out, x, alpha: expm1(-relu(-x)), defaults=(1.0,))
elu_slope    = Primitive("elu_slope", special.elu_slope, "elu_slope({}, {})", lambda out, x, alpha: elu_bend(x, alpha), lambda out, x, alpha: elu_bend(x, 1.0))
elu_bend     = Primitive("elu_bend", special.elu_bend,  "elu_bend({}, {})", lambda out, x, alpha: out, lambda out, x, alpha: elu_bend(x, 1.0))
selu         = Primitive("selu",     special.selu,      "selu({})",  lambda out, x: SELU_SCALE * elu_slope(x, SELU_ALPHA))
normal_cdf   = Primitive("normal_cdf", special.normal_cdf, "normal_cdf({})", lambda out, x: normal_pdf(x))
normal_pdf   = Primitive("normal_pdf", special.normal_pdf, "normal_pdf({})", lambda out, x: chain(out, -x))
gelu         = Primitive("gelu",     special.gelu,      "gelu({})",  lambda out, x: normal_cdf(x) + chain(normal_pdf(x), x))
gelu_tanh    = Primitive("gelu_tanh", special.gelu_tanh, "gelu_tanh({})", _gelu_tanh)
silu         = Primitive("silu",     special.silu,      "silu({})",  lambda out, x: sigmoid(x) + chain(x, _sigmoid_slope(x)))
softsign     = Primitive("softsign", special.softsign,  "softsign({})", lambda out, x: square(1.0 / (1.0 + abs(x))))
mish         = Primitive("mish",     special.mish,      "mish({})",  _mish)
hard_tanh    = Primitive("hard_tanh", special.hard_tanh, "hard_tanh({})", lambda out, x: within(x, -1.0, 1.0))
sinc_order   = Primitive("sinc",     special.sinc,      "sinc({}, {})", _no_derivative, lambda out, n, x: sinc_order(n + 1.0, x))

# Kernels: one node for many arguments.
total        = Kernel("sum",         special.total,     "total({})",     lambda out, *xs: [1.0] * len(xs))
dot_product  = Kernel("dot",         special.dot,       "dot({})",       _dot)
affine_map   = Kernel("affine",      special.affine,    "affine({})",    _affine)
sum_of_squares = Kernel("sum_of_squares", special.sum_of_squares, "sum_of_squares({})", lambda out, *xs: [2.0 * x for x in xs])
log_sum_exp  = Kernel("logsumexp",   special.logsumexp, "logsumexp({})", _logsumexp)
softmax_entry = Kernel("softmax",    special.softmax,   "softmax({})",   _softmax)
softmax_rest = Kernel("softmax_rest",    special.softmax_rest, "softmax_rest({})", _softmax_rest)
cross_entropy = Kernel("softmax_cross_entropy", special.softmax_cross_entropy, "softmax_cross_entropy({})", _cross_entropy)
# fmt: on

TABLE: dict[str, Primitive] = {item.name: item for item in list(globals().values()) if isinstance(item, Primitive)}

_FLOATS |= {name: item.value if isinstance(item, Primitive) else _on_floats(item) for name, item in globals().items()}

# The rules above avoid cancellation. These forms, equal to them, are the ones that people know: formulas show them, and
# nothing is computed with them.
TEXTBOOK = {
    "sigmoid": Primitive("sigmoid", sigmoid.value, "", lambda out, x: out * (1.0 - out)),
    "tanh": Primitive("tanh", tanh.value, "", lambda out, x: 1.0 - out**2),
    "tan": Primitive("tan", tan.value, "", lambda out, x: 1.0 + out**2),
    "sqrt": Primitive("sqrt", sqrt.value, "", lambda out, x: 1.0 / (2.0 * out)),
    "cbrt": Primitive("cbrt", cbrt.value, "", lambda out, x: 1.0 / (3.0 * out**2)),
    "asin": Primitive("asin", asin.value, "", lambda out, x: 1.0 / sqrt(1.0 - x**2)),
    "acos": Primitive("acos", acos.value, "", lambda out, x: -1.0 / sqrt(1.0 - x**2)),
    "atan": Primitive("atan", atan.value, "", lambda out, x: 1.0 / (1.0 + x**2)),
    "gamma": Primitive("gamma", gamma.value, "", lambda out, x: out * digamma(x)),
    "softsign": Primitive("softsign", softsign.value, "", lambda out, x: 1.0 / (1.0 + abs(x)) ** 2),
}

# These never raise, whatever the floats: the compiler leaves them out where their results are not needed.
SAFE = frozenset(
    TABLE[name]
    for line in """literal argument identity detached add sub mul neg abs chain ieee_div ieee_log ieee_pow greater beats
    within sign floor ceil trunc rint where maximum minimum clip square one_minus_square times_complement cbrt
    cbrt_derivative logaddexp atan atan2 hypot hypot_derivative unit inverse_power_real inverse_power_imag
    power_derivative tanh sech asinh degrees radians copysign erf erfc sigmoid softplus logsigmoid relu leaky_relu
    leaky_step elu elu_slope elu_bend selu normal_cdf normal_pdf gelu gelu_tanh silu softsign mish hard_tanh
    sum dot affine sum_of_squares""".splitlines()
    for name in line.split()
)
# Kernels whose value is written with + and * alone: run on symbols, it writes itself out, in code and in pictures.
WRITTEN_OUT = frozenset({total, dot_product, affine_map, sum_of_squares})
