"""Promise 1, function by function: floats, Values and compiled code give the same bits and raise the same errors.

Every function there is, on all combinations of edge values, by every route that a number can take. (Random programs,
in which functions meet, are in `tests/programs.py`. A nan is one number here, whatever its sign: IEEE 754 gives the
sign of a nan no meaning, and processors differ in it.)
"""

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from math import inf, nan
from typing import Any

import pytest

import autodiff as ad
from autodiff import Primitive, Value, batch_mean, batch_sum, compile, grad, jvp, no_grad, value_and_grad
from tests.programs import bits, outcome, power

Function = Callable[..., Any]
Point = tuple[float, ...]

TINY, LEAST, LARGEST = 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308
EDGES = [
    *(0.0, 1.0, 0.5, 2.0, 2.5, 3.0, 7.0, TINY, LEAST, 1e-200, 1e200, LARGEST, 2.0**53, 709.5, 745.2, 171.7, inf),
    *(-0.0, -1.0, -0.5, -2.0, -2.5, -3.0, -TINY, -1e-200, -1e200, -LARGEST, -709.5, -745.2, -171.7, -inf),
    *(1.0 - 2.0**-53, 1.0 + 2.0**-52, 0.1, nan),
]
PAIRED = [
    *(0.0, 1.0, 0.5, 2.0, 3.0, TINY, 1e200, LARGEST, inf, -0.0, -1.0, -0.5, -2.5, -3.0, -TINY, -745.2, -inf, nan),
]
FEW = [0.0, -0.0, 1.0, -2.5, 710.0, -1e200, inf, nan]

TABLE = {name: f for name in ad.__all__ if isinstance(f := getattr(ad, name), Primitive)}
OPERATORS: dict[str, Function] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": power,
    "divmod[0]": lambda x, y: divmod(x, y)[0],
    "divmod[1]": lambda x, y: divmod(x, y)[1],
}
BINARY: dict[str, Function] = {**OPERATORS, **{name: f for name, f in TABLE.items() if f.arity == 2}}
del BINARY["polygamma"]  # its first argument is an order: see below
UNARY: dict[str, Function] = {
    **{name: f for name, f in TABLE.items() if f.arity == 1},
    "sinc": ad.sinc,
    "unary -": operator.neg,
    "unary +": operator.pos,
    "abs()": abs,
    "leaky_relu of one": ad.leaky_relu,
    "elu of one": ad.elu,
    "digamma order 0": lambda x: ad.polygamma(0, x),
    "digamma order 1": lambda x: ad.polygamma(1, x),
    "digamma order 2": lambda x: ad.polygamma(2, x),
    "digamma order 5": lambda x: ad.polygamma(5, x),
    "digamma order -1": lambda x: ad.polygamma(-1, x),
    "digamma order 0.5": lambda x: ad.polygamma(0.5, x),
}
TERNARY: dict[str, Function] = {
    "where": ad.where,
    "clip": ad.clip,
    "sum": lambda *xs: ad.sum(xs),
    "sum_of_squares": lambda *xs: ad.sum_of_squares(xs),
    "dot": lambda x, y, z: ad.dot([x, y], [y, z]),
    "affine": lambda x, y, z: ad.affine([x], [y], z),
    "logsumexp": lambda *xs: ad.logsumexp(xs),
    "softmax": lambda *xs: ad.softmax(xs)[1],
    "log_softmax": lambda *xs: ad.log_softmax(xs)[2],
    "cross entropy with a class": lambda *xs: ad.softmax_cross_entropy(xs, 0),
    "cross entropy with probabilities": lambda x, y, z: ad.softmax_cross_entropy([x, y], [z, 0.25]),
}
FUNCTIONS: dict[str, tuple[Function, list[Point]]] = {
    **{name: (f, list(itertools.product(EDGES, repeat=1))) for name, f in UNARY.items()},
    **{name: (f, list(itertools.product(EDGES, repeat=2))) for name, f in BINARY.items()},
    **{name: (f, list(itertools.product(FEW, repeat=3))) for name, f in TERNARY.items()},
}
BY_NAME = pytest.mark.parametrize("name", FUNCTIONS)


def of_some(f: Function, *, chosen: Callable[[int], bool]) -> Function:
    """Call f with Values in some places and floats in the others."""
    return lambda *xs: f(*[Value(x) if chosen(i) else x for i, x in enumerate(xs)])


def positional(f: Function, count: int) -> Function:
    """Give f a signature of its own: the compiler asks for it."""
    return (lambda x: f(x), lambda x, y: f(x, y), lambda x, y, z: f(x, y, z))[count - 1]


def fewer(points: list[Point]) -> list[Point]:
    """Leave out two of three points of three arguments: every value still comes up in every place."""
    return points[:: 3 if len(points[0]) == 3 else 1]


def with_left(f: Function, number: Any) -> Function:
    """Fix the first argument, as a constant: a default argument would be an input of the compiled function."""
    return lambda x: f(number, x)


def with_right(f: Function, number: Any) -> Function:
    return lambda x: f(x, number)


def on_values(f: Function) -> Function:
    return lambda *xs: f(*map(Value, xs))


def differences(right: Function, routes: dict[str, Function], points: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    for point in points:
        want = outcome(right, *point)
        for name, route in routes.items():
            found = outcome(route, *point)
            if found != want:
                yield f"{name} at {point}: {found}, right {want}"


def assert_none(found: Iterator[str]) -> None:
    """Fail with the first few differences, and say how many there are."""
    wrong = list(found)
    assert not wrong, f"{len(wrong)} differences, such as\n" + "\n".join(wrong[:5])


# ---- what is tested


def test_every_function_of_numbers_is_here() -> None:
    kernels = {"affine", "dot", "log_softmax", "logsumexp", "softmax", "sum", "sum_of_squares", "where", "clip"}
    assert set(TABLE) <= {*FUNCTIONS, "polygamma"}
    assert kernels <= set(FUNCTIONS)


@BY_NAME
def test_the_points_give_numbers_and_not_only_errors(name: str) -> None:
    f, points = FUNCTIONS[name]
    outcomes = {outcome(f, *point) for point in points}
    assert len(outcomes) >= 4 or name in ("sign", "digamma order -1", "digamma order 0.5")


# ---- functions on all combinations of edge values


@BY_NAME
def test_values(name: str) -> None:
    """All arguments Values, each argument alone a Value, and without recording."""
    f, points = FUNCTIONS[name]
    routes = {"Values": on_values(f)}
    for place in range(len(points[0])):
        routes[f"Value only in place {place}"] = of_some(f, chosen=lambda i, place=place: i == place)
    routes["no_grad"] = no_grad()(routes["Values"])
    assert_none(differences(f, routes, points))


@BY_NAME
def test_compiled(name: str) -> None:
    f, points = FUNCTIONS[name]
    fast = compile(positional(f, len(points[0])))
    assert_none(differences(f, {"compiled": fast, "compiled, again": fast}, points))


@pytest.mark.parametrize("name", BINARY)
def test_compiled_with_a_constant(name: str) -> None:
    """Constants are where a compiler rewrites: x * 1.0, x + -0.0, x ** 2, x / 2.0."""
    f = BINARY[name]
    for number in EDGES:
        for fix in (with_left, with_right):
            g = fix(f, number)
            assert_none(differences(g, {f"compiled {fix.__name__} {number!r}": compile(g)}, zip(EDGES)))


@BY_NAME
def test_compiled_with_values_from_outside(name: str) -> None:
    f, points = FUNCTIONS[name]
    captured = [Value(0.0) for _ in points[0]]
    fast = compile(lambda: f(*captured))

    def with_data(*xs: float) -> Any:
        for leaf, x in zip(captured, xs, strict=True):
            leaf.data = x
        return fast()

    assert_none(differences(f, {"compiled": with_data}, points))


@BY_NAME
def test_batches(name: str) -> None:
    """A batch starts at 0.0 and adds, so that one example of -0.0 gives 0.0."""
    f, points = FUNCTIONS[name]
    one = positional(f, len(points[0]))
    routes: dict[str, Function] = {}
    for kind in (batch_sum, batch_mean):
        eager, fast = kind(one), compile(kind(one))
        routes[kind.__name__] = lambda *xs, g=eager: g(*([x] for x in xs))
        routes[f"compiled {kind.__name__}"] = lambda *xs, g=fast: g(*([x] for x in xs))
    assert_none(differences(lambda *xs: 0.0 + f(*xs), routes, fewer(points)))


# ---- derivatives: what has a value has one, by every route the same


@BY_NAME
def test_derivatives(name: str) -> None:
    """They raise where the function raises, and nowhere else."""
    f, points = FUNCTIONS[name]
    places = tuple(range(len(points[0])))
    one = positional(f, len(places))
    both = value_and_grad(one, places)

    def by_backward(*xs: float) -> Any:
        leaves = [Value(x) for x in xs]
        result = one(*leaves)
        result.backward()
        return result.data, tuple(leaf.grad for leaf in leaves)

    def value_only(*xs: float) -> Any:
        return both(*xs)[0]

    assert_none(differences(one, {"the value beside a gradient": value_only}, points[::5]))
    assert_none(differences(both, {"backward": by_backward, "compiled": compile(both)}, fewer(points)))


@BY_NAME
def test_backward_of_compiled_functions(name: str) -> None:
    f, points = FUNCTIONS[name]
    leaves = [Value(0.0) for _ in points[0]]
    fast, batched = compile(lambda: f(*leaves)), compile(batch_sum(lambda one: f(*leaves) * one))

    def eagerly() -> float:
        result = f(*leaves)
        result.backward()
        return float(result.data)

    def starting_at(*xs: float, backward: Callable[[], float]) -> Any:
        for leaf, x in zip(leaves, xs, strict=True):
            leaf.data, leaf.grad = x, 0.25
        value = outcome(backward)
        return value, tuple(leaf.grad for leaf in leaves)  # after an error too: it must leave them alone

    def route(backward: Callable[[], float]) -> Function:
        return lambda *xs: starting_at(*xs, backward=backward)

    points = fewer(points)
    assert_none(differences(route(eagerly), {"compiled": route(fast.backward)}, points))
    in_a_batch = route(lambda: batched.backward([1.0]))
    assert_none(differences(route(lambda: 0.0 + eagerly()), {"in a batch": in_a_batch}, points))


@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_tangents_and_second_derivatives_compiled(name: str) -> None:
    f, points = FUNCTIONS[name]
    places = tuple(range(len(points[0])))
    one = positional(f, len(places))
    unit = (1.0,) + (0.0,) * (len(places) - 1)
    for transform in (lambda *xs: jvp(one, xs, unit), lambda *xs: jvp(grad(one, places), xs, unit)):
        wrapped = positional(transform, len(places))
        assert_none(differences(wrapped, {"compiled": compile(wrapped)}, points[:: 1 if len(places) == 1 else 11]))


# ---- integer powers, whole numbers, and other numbers

WHOLE = [*range(-5, 6), 10, 63, 64, 100, 1023, 1024, -1074, -1075, 2**53 + 1, -(2**63), 10**308, 10**400]
NUMBERS = [*WHOLE, True, False, Fraction(1, 3), Fraction(-7, 2), Fraction(10**400)]


@pytest.mark.parametrize("n", WHOLE)
def test_integer_powers(n: int) -> None:
    """Python raises a float to a whole number as to a float: no repeated multiplication, which rounds otherwise."""
    for f in (with_right(power, n), with_left(power, n)):
        assert_none(differences(f, {"Value": on_values(f), "compiled": compile(f)}, zip(EDGES)))


@pytest.mark.parametrize("zero", [0.0, -0.0, 0])
@pytest.mark.parametrize("y", [-1, -1.0, -2, -0.5])
def test_zero_to_a_negative_power_raises(zero: float, y: float) -> None:
    for attempt in (
        lambda: zero**y,
        lambda: Value(zero) ** y,
        lambda: zero ** Value(y),
        lambda: Value(zero) ** Value(y),
        lambda: compile(lambda x: x**y)(float(zero)),
        lambda: compile(lambda x: zero**x)(float(y)),
        lambda: grad(lambda x: x**y)(zero),
        lambda: batch_sum(lambda x: x**y)([1.0, zero]),
    ):
        with pytest.raises(ZeroDivisionError):
            attempt()


def test_zero_to_minus_infinity_is_infinite() -> None:
    for zero in (0.0, -0.0):
        assert zero**-inf == (Value(zero) ** -inf).data == compile(lambda x: x**-inf)(zero) == inf


def same_number(number: Any) -> float:
    """Give the float that a number counts as, or a number too large for one."""
    try:
        return number if isinstance(number, int) else float(number)
    except OverflowError:
        return 10**400


@pytest.mark.parametrize("name", OPERATORS)
def test_numbers_that_are_not_floats_on_either_side(name: str) -> None:
    """They count as floats. (Left to itself, a fraction raises other errors than a float.)"""
    for number, fix in itertools.product(NUMBERS, (with_left, with_right)):
        g, right = fix(OPERATORS[name], number), fix(OPERATORS[name], same_number(number))
        what = f"{fix.__name__} {number!r:.20}"
        assert_none(differences(right, {f"Value {what}": on_values(g), f"compiled {what}": compile(g)}, zip(EDGES)))


def remainders(x: Any, y: Any) -> list[Any]:
    return [x % y, x // y, (x // y) * y + x % y, *divmod(x, y), ad.fmod(x, y), ad.remainder(x, y)]


def test_remainders_have_the_sign_that_python_gives_them() -> None:
    found = {(x, y): bits(compile(remainders)(x, y)) for x in (-7.0, 7.0, -0.0) for y in (-2.0, 2.0)}
    assert found[-7.0, 2.0] == bits([1.0, -4.0, -7.0, -4.0, 1.0, -1.0, 1.0])
    assert found[7.0, -2.0] == bits([-1.0, -4.0, 7.0, -4.0, -1.0, 1.0, -1.0])
    assert found[-7.0, -2.0] == bits([-1.0, 3.0, -7.0, 3.0, -1.0, -1.0, 1.0])
    for (x, y), numbers in found.items():
        assert numbers == bits(remainders(x, y)) == bits(remainders(Value(x), Value(y))), (x, y)


# ---- Python's math


@pytest.mark.parametrize("name", sorted(set(TABLE) & set(dir(math)) - {"floor", "ceil", "trunc", "pow"}))
def test_functions_of_pythons_math_are_pythons(name: str) -> None:
    """Python's floor, ceil and trunc give whole numbers, and its pow is not `**`."""
    theirs = getattr(math, name)
    f, points = FUNCTIONS[name]
    assert_none(differences(theirs, {"float": f, "Value": on_values(f)}, points))


# ---- what leaves the graph

QUESTIONS: dict[str, Function] = {
    "int": lambda x: int(x),
    "round": lambda x: round(x),
    "round to 2": lambda x: round(x, 2),
    "round to -1": lambda x: round(x, -1),
    "math.floor": lambda x: math.floor(x),
    "math.ceil": lambda x: math.ceil(x),
    "math.trunc": lambda x: math.trunc(x),
    "bool": lambda x: bool(x),
    "not": lambda x: not x,
    "==": lambda x: x == 0.0,
    "!=": lambda x: x != 1,
    "== itself": lambda x: x == x,
    "<": lambda x: x < 1,
    "<=": lambda x: x <= 1.0,
    "> a huge whole number": lambda x: x > 10**400,
    "between": lambda x: -1.0 < x <= 2.5,
    "in": lambda x: x in (0.5, 1.0, 7),
    "min": lambda x: min(x, 1.0),
    "max": lambda x: max(0.5, x),
    "sorted": lambda x: sorted([x, 1.0, -2.0, x * 0.5]),
    "and, or": lambda x: (x and 2.0) or x - 1.0,
    "a branch": lambda x: x / 3.0 if x > 0.0 else -x if x == x else 5.0,
    "times its whole part": lambda x: x * int(x),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_questions(name: str) -> None:
    """What is asked of a number has the same answer, of the same type, each time it is asked."""
    f = QUESTIONS[name]
    fast = compile(f)
    routes = {"Value": on_values(f), "no_grad": no_grad()(on_values(f)), "compiled": fast}
    assert_none(differences(f, routes, zip(EDGES)))
    assert_none(differences(f, {"compiled, known ways": fast}, zip(reversed(EDGES))))


@pytest.mark.parametrize("compare", [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne])
def test_comparisons(compare: Function) -> None:
    pairs = list(itertools.product(EDGES, repeat=2))
    routes = {
        "Values": on_values(compare),
        "Value on the left": lambda x, y: compare(Value(x), y),
        "Value on the right": lambda x, y: compare(x, Value(y)),
        "compiled": compile(lambda x, y: compare(x, y)),
    }
    assert_none(differences(compare, routes, pairs))
    for number, fix in itertools.product(WHOLE, (with_left, with_right)):  # exactly: 2.0**53 < 2**53 + 1
        f = fix(compare, number)
        assert_none(differences(f, {"Value": on_values(f), "compiled": compile(f)}, zip(EDGES)))


# ---- whole numbers as arguments


@pytest.mark.parametrize("x", [3, -7, 0, True, False, 2**60, 10**400])
@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * x + x // 2,
        lambda x: x / 3,
        lambda x: ad.exp(x - x) + x,
        lambda x: x if x > 2 else -x,
        lambda x: x**2,
        lambda x: 1 / x,
        lambda x: [x, {"a": x % 5}],
    ],
)
def test_a_compiled_function_leaves_whole_numbers_whole(f: Function, x: int) -> None:
    fast = compile(f)
    outcome(fast, 2.5)
    for _ in range(2):
        assert outcome(fast, x) == outcome(f, x)


@pytest.mark.parametrize("x", [3, -7, 0, 2**60])
def test_derivatives_by_whole_numbers_are_those_by_floats(x: int) -> None:
    f = lambda x: x**3 - 2 * x + abs(x)  # noqa: E731
    assert bits(value_and_grad(f)(x)) == bits(value_and_grad(f)(float(x)))
    assert bits(compile(value_and_grad(f))(x)) == bits(value_and_grad(f)(float(x)))


@pytest.mark.parametrize("truth", [True, False])
def test_truth_values_are_no_data(truth: bool) -> None:
    leaf = Value(2.0)
    for attempt in (
        lambda: Value(truth),
        lambda: setattr(leaf, "data", truth),
        lambda: grad(lambda x: x)(truth),
        lambda: compile(grad(lambda x: x))(truth),
        lambda: value_and_grad(lambda x: x[0])([truth]),
    ):
        with pytest.raises(TypeError):
            attempt()
    assert leaf.data == 2.0


def test_two_parameters_whose_derivatives_are_one_expression() -> None:
    """Both get it: in the code of a batch, each adds to a variable of its own."""
    for f in (
        lambda a, b, x: (a + b - x) ** 2,
        lambda a, b, x: ad.tanh(a * x) * (b - 2.0) + ad.tanh(b * x) * (a - 2.0),
    ):
        a, b = Value(2.0), Value(2.0)
        g = batch_mean(lambda x, f=f, a=a, b=b: f(a, b, x))
        g([1.0, 3.0]).backward()
        want = a.grad, b.grad
        a.grad = b.grad = 0.0
        compile(g).backward([1.0, 3.0])
        assert (a.grad, b.grad) == want
