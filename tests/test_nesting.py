"""Derivatives of derivatives, of compiled functions, of functions that close over variables of an outer derivative.

Whatever the nesting, each derivative is by its own variable and no other. Where one engine or another confuses them,
the paper that says so is named.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

import autodiff as ad
from autodiff import (
    Value,
    batch_sum,
    checkpoint,
    compile,
    grad,
    hessian,
    jacobian,
    jvp,
    no_grad,
    value_and_grad,
    vjp,
)
from tests.programs import bits

Function = Callable[..., Any]


# ---- ways to take one derivative


def forward(f: Function) -> Function:
    return lambda x: jvp(f, (x,), (1.0,))[1]


def pulled(f: Function) -> Function:
    return lambda x: vjp(f, x)[1](1.0)[0]


def by_list(f: Function) -> Function:
    return lambda x: jacobian(lambda xs: [f(xs[0])])([x])[0][0]


def compiled_gradient(f: Function) -> Function:
    return compile(grad(f))


def gradient_of_compiled(f: Function) -> Function:
    return grad(compile(f))


def compiled_forward(f: Function) -> Function:
    return compile(forward(f))


def with_checkpoint(f: Function) -> Function:
    return grad(checkpoint(f))


def of_a_batch(f: Function) -> Function:
    return lambda x: grad(lambda t: batch_sum(lambda one: f(t) * one)([0.25, 0.75]))(x)


DERIVATIVES = {
    f.__name__: f for f in (grad, forward, pulled, by_list, compiled_gradient, gradient_of_compiled, compiled_forward)
}
ALSO_CHECKPOINTS = {**DERIVATIVES, "with_checkpoint": with_checkpoint, "of_a_batch": of_a_batch}


# ---- confusion


def descend(D: Function, slope_of: Function, y: Any) -> Any:
    """Take twenty steps downhill."""
    for _ in range(20):
        y = y - 0.1 * D(slope_of)(y)
    return y


def shifted(D: Function, f: Function) -> Function:
    """Differentiate by a shift of the argument: f' once more in disguise."""
    return lambda x: D(lambda u: f(x + u))(0.0)


def or_else(D: Function, x: Any) -> Any:
    try:
        return D(lambda y: ad.log(y) * x)(x - 3.0)
    except ValueError:
        return 5.0 * x


# A function of x with a derivative D inside, a point, and the derivative of the whole there.
CONFUSING: dict[str, tuple[Callable[[Function, Any], Any], float, float]] = {
    # Siskind and Pearlmutter, "Perturbation confusion and referential transparency" (2005): 2 where confused
    "x * d(x + y)/dy": (lambda D, x: x * D(lambda y: x + y)(1.0), 1.0, 1.0),
    "x * d(x * y)/dy": (lambda D, x: x * D(lambda y: x * y)(2.0), 3.0, 6.0),
    "at the same point": (lambda D, x: D(lambda y: x * y**2)(x) * x, 3.0, 54.0),
    "both variables in one product": (lambda D, x: D(lambda y: y * y * x)(x), 3.0, 12.0),
    "the inner function is constant": (lambda D, x: D(lambda y: x)(1.0) + x, 2.0, 1.0),
    "the inner function ignores the outer variable": (lambda D, x: D(lambda y: y**3)(2.0) * x, 5.0, 12.0),
    "the inner function is the outer variable squared": (lambda D, x: D(lambda y: x * x)(1.0) + x * x, 3.0, 6.0),
    "through exp": (lambda D, x: D(lambda y: ad.exp(x * y))(2.0), 0.5, 2.0 * math.e),
    "through a kernel": (lambda D, x: D(lambda y: ad.dot([x, y], [y, x * y]))(2.0), 3.0, 1.0 + 2.0 * 2.0 * 1.0),
    "three levels": (lambda D, x: D(lambda y: D(lambda z: x * y * z)(4.0) * y)(5.0), 2.0, 10.0),
    "three levels at one point": (lambda D, x: D(lambda y: D(lambda z: z * y * x)(y))(x), 7.0, 1.0),
    "four levels": (
        lambda D, x: D(lambda y: D(lambda z: D(lambda w: x * x * y * z * w * w)(z) * z)(y))(x),
        2.0,
        # 2 x^2 y z^3 by z is 6 x^2 y z^2; there 6 x^2 y^3, by y 18 x^2 y^2; there 18 x^4
        72.0 * 2.0**3,
    ),
    # Manzyuk, Pearlmutter, Radul, Rush and Siskind, "Perturbation confusion in forward automatic differentiation of
    # higher-order functions" (2019): derivatives by a shift, taken twice
    "a shift, twice": (lambda D, x: shifted(D, shifted(D, ad.exp))(x), 1.0, math.e),
    "a shift by itself": (lambda D, x: D(lambda u: D(lambda v: ad.sin(x + u + v))(u))(x), 0.3, -6.0 * math.cos(0.9)),
    "steps downhill": (lambda D, x: descend(D, lambda y: (y - x) ** 2, 0.0), 3.0, 1.0 - 0.8**20),
    "an inner derivative decides: one way": (
        lambda D, x: x * x if D(lambda y: y * y * x)(1.0) > 3.0 else -x,
        3.0,
        6.0,
    ),
    "an inner derivative decides: the other": (
        lambda D, x: x * x if D(lambda y: y * y * x)(1.0) > 3.0 else -x,
        1.0,
        -1.0,
    ),
    "an inner derivative raises": (or_else, 2.0, 5.0),
    "an inner derivative does not raise": (or_else, 5.0, 1.0 / 2.0 - 5.0 / 4.0),
    "an inner kink": (lambda D, x: D(lambda y: ad.maximum(y, y) * x)(1.0) * D(abs)(0.0) + x, 3.0, 1.0),
}


@pytest.mark.parametrize("inner", ALSO_CHECKPOINTS)
@pytest.mark.parametrize("outer", ALSO_CHECKPOINTS)
def test_no_perturbation_confusion(outer: str, inner: str) -> None:
    D, wrong = ALSO_CHECKPOINTS[inner], {}
    for name, (f, x, want) in CONFUSING.items():
        found = ALSO_CHECKPOINTS[outer](lambda x, f=f: f(D, x))(x)
        if type(found) is not float or found != pytest.approx(want, rel=1e-13, abs=0.0):
            wrong[name] = (found, want)
    assert wrong == {}


def test_an_outer_variable_follows_its_value() -> None:
    """One compiled function is used at two points, and what it closes over has changed in between."""
    fast = compile(grad(lambda x: x * grad(lambda y: ad.sin(x * y))(2.0)))
    slow = grad(lambda x: x * grad(lambda y: ad.sin(x * y))(2.0))
    assert [fast(x) for x in (0.5, -1.0, 3.0)] == [slow(x) for x in (0.5, -1.0, 3.0)]

    def through(x: Any) -> Any:
        inner = compile(lambda y: x * y * y)
        return grad(inner)(2.0) * inner(3.0)  # 4 x * 9 x

    assert [grad(through)(x) for x in (0.5, -1.0)] == [grad(compile(through))(x) for x in (0.5, -1.0)] == [36.0, -72.0]


# ---- any stack of transforms

SMOOTH: dict[str, tuple[Function, Function]] = {
    "exp(sin x)": (lambda x: ad.exp(ad.sin(x)), lambda x: mp.exp(mp.sin(x))),
    "x^3 tanh x": (lambda x: x**3 * ad.tanh(x), lambda x: x**3 * mp.tanh(x)),
    "log(1 + x^2) / x": (lambda x: ad.log1p(x * x) / x, lambda x: mp.log(1 + x * x) / x),
    "logsumexp": (lambda x: ad.logsumexp([x, x * x, 1.0]), lambda x: mp.log(mp.exp(x) + mp.exp(x * x) + mp.e)),
}
LAYERS: dict[str, Function] = {**ALSO_CHECKPOINTS, "compile": compile, "checkpoint": checkpoint}


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=5),
    st.sampled_from(sorted(SMOOTH)),
    st.floats(0.25, 1.25),
)
def test_stacks_of_transforms(names: list[str], which: str, x: float) -> None:
    f, exact = SMOOTH[which]
    for name in names:
        f = LAYERS[name](f)
    order = sum(name in ALSO_CHECKPOINTS for name in names)
    with mp.workdps(60):
        want = mp.diff(exact, mpf(x), order)
        scale = max(abs(want), mpf(1))  # a derivative close to 0 is a difference of larger terms
    for _ in range(2):  # the first call of a compiled function is its trace
        assert abs(f(x) - want) <= 1e-11 * scale


@pytest.mark.parametrize("name", SMOOTH)
def test_compiling_in_between_changes_no_bit(name: str) -> None:
    f = SMOOTH[name][0]
    plain = value_and_grad(grad(grad(f)))
    for g in (
        compile(plain),
        value_and_grad(compile(grad(grad(f)))),
        value_and_grad(compile(grad(compile(grad(compile(f)))))),
        compile(value_and_grad(compile(grad(compile(grad(f)))))),
    ):
        for x in (0.5, 1.25, 0.5):
            assert bits(g(x)) == bits(plain(x))


def test_mixed_derivatives_do_not_depend_on_the_order() -> None:
    def f(x: Any, y: Any, z: Any) -> Any:
        return ad.exp(x * y) * ad.sin(y + z * z) + ad.atan2(x, y + z) ** z

    for places in itertools.product(range(3), repeat=3):
        found = {}
        for order in set(itertools.permutations(places)):
            g: Function = f
            for place in order:
                g = grad(g, place)
            found[order] = g(0.3, 0.7, 1.1)
        assert list(found.values()) == pytest.approx([found[places]] * len(found), rel=1e-12, abs=1e-12), found
    rows = hessian(lambda p: f(*p))([0.3, 0.7, 1.1])
    assert rows[0][2] == pytest.approx(rows[2][0], rel=1e-14, abs=0.0)


# ---- orders to 8 on the elementary functions

ELEMENTARY: dict[str, tuple[Function, Function, tuple[float, ...]]] = {
    "exp": (ad.exp, mp.exp, (-3.0, 0.0, 2.5)),
    "exp2": (ad.exp2, lambda x: mpf(2) ** x, (-3.0, 2.5)),
    "expm1": (ad.expm1, mp.expm1, (-3.0, 1e-8, 2.5)),
    "log": (ad.log, mp.log, (0.1, 1.0, 50.0)),
    "log2": (ad.log2, lambda x: mp.log(x, 2), (0.1, 50.0)),
    "log10": (ad.log10, mp.log10, (0.1, 50.0)),
    "log1p": (ad.log1p, mp.log1p, (-0.5, 1e-8, 3.0)),
    "sqrt": (ad.sqrt, mp.sqrt, (0.1, 2.0, 50.0)),
    "cbrt": (ad.cbrt, mp.cbrt, (0.1, 2.0, 50.0)),
    "rsqrt": (ad.rsqrt, lambda x: 1 / mp.sqrt(x), (0.1, 2.0, 50.0)),
    "reciprocal": (ad.reciprocal, lambda x: 1 / x, (-0.3, 2.0)),
    "square": (ad.square, lambda x: x * x, (-0.3, 2.0)),
    "x ** 2.5": (lambda x: x**2.5, lambda x: x ** mpf(2.5), (0.1, 2.0)),
    "x ** 11": (lambda x: x**11, lambda x: x**11, (-0.5, 2.0)),
    "x ** -3": (lambda x: x**-3, lambda x: x**-3, (-0.5, 2.0)),
    "x ** x": (lambda x: x**x, lambda x: x**x, (0.5, 2.0)),
    "2.5 ** x": (lambda x: 2.5**x, lambda x: mpf(2.5) ** x, (-0.5, 2.0)),
    "sin": (ad.sin, mp.sin, (-3.0, 0.3, 100.0)),
    "cos": (ad.cos, mp.cos, (-3.0, 0.3, 100.0)),
    "tan": (ad.tan, mp.tan, (-1.0, 0.3, 1.4)),
    "asin": (ad.asin, mp.asin, (-0.9, 0.3)),
    "acos": (ad.acos, mp.acos, (-0.9, 0.3)),
    "atan": (ad.atan, mp.atan, (-2.5, 0.3)),
    "sinh": (ad.sinh, mp.sinh, (-3.0, 0.3)),
    "cosh": (ad.cosh, mp.cosh, (-3.0, 0.3)),
    "tanh": (ad.tanh, mp.tanh, (-4.0, 0.3, 12.0)),
    "asinh": (ad.asinh, mp.asinh, (-2.5, 0.3)),
    "acosh": (ad.acosh, mp.acosh, (1.25, 5.0)),
    "atanh": (ad.atanh, mp.atanh, (-0.9, 0.3)),
    "sigmoid": (ad.sigmoid, lambda x: 1 / (1 + mp.exp(-x)), (-4.0, 0.3, 20.0)),
    "softplus": (ad.softplus, lambda x: mp.log(1 + mp.exp(x)), (-4.0, 0.3, 20.0)),
    "logsigmoid": (ad.logsigmoid, lambda x: -mp.log(1 + mp.exp(-x)), (-4.0, 0.3, 20.0)),
    "logit": (ad.logit, lambda x: mp.log(x / (1 - x)), (0.1, 0.7)),
    "erf": (ad.erf, mp.erf, (-1.0, 0.3)),
    "erfc": (ad.erfc, mp.erfc, (0.3, 4.0)),
    "gelu": (ad.gelu, lambda x: x * mp.ncdf(x), (-1.0, 0.3)),
    "silu": (ad.silu, lambda x: x / (1 + mp.exp(-x)), (-4.0, 0.3)),
    "softsign": (ad.softsign, lambda x: x / (1 + abs(x)), (-4.0, 0.3)),
    "lgamma": (ad.lgamma, mp.loggamma, (0.3, 5.5)),
    "gamma": (ad.gamma, mp.gamma, (0.7, 3.5)),
    "digamma": (ad.digamma, mp.digamma, (0.3, 5.5)),
    "x exp(-x^2) / (1 + x)": (
        lambda x: x * ad.exp(-x * x) / (1.0 + x),
        lambda x: x * mp.exp(-x * x) / (1 + x),
        (0.3, 1.5),
    ),
    "sum of powers": (
        lambda x: ad.sum([x**k for k in range(10)]),
        lambda x: sum((x**k for k in range(10)), mpf(0)),
        (0.3, 1.5),
    ),
}
MOST = 8


def gamma_derivative(order: int, x: Any) -> Any:
    """Differentiate gamma' = gamma digamma by Leibniz's rule."""
    found = [mp.gamma(x)]
    for n in range(order):
        found.append(sum(mp.binomial(n, k) * found[k] * mp.psi(n - k, x) for k in range(n + 1)))
    return found[order]


DIRECTLY = {  # where the Taylor polynomial takes mpmath seconds
    "lgamma": lambda order, x: mp.psi(order - 1, x) if order else mp.loggamma(x),
    "digamma": mp.psi,
    "gamma": gamma_derivative,
}


def exact_derivatives(name: str, x: float) -> list[Any]:
    """Give the value and its derivatives, to far more digits than a float has."""
    with mp.workdps(60):
        if name in DIRECTLY:
            return [DIRECTLY[name](k, mpf(x)) for k in range(MOST + 1)]
        coefficients = mp.taylor(ELEMENTARY[name][1], mpf(x), MOST)
        return [mp.re(c) * mp.factorial(k) for k, c in enumerate(coefficients)]


@pytest.mark.parametrize("name", ELEMENTARY)
def test_eight_orders(name: str) -> None:
    """To 1e-10 of the derivative itself: none of these points is close to a zero of one."""
    f, _, points = ELEMENTARY[name]
    wrong = []
    for x in points:
        wants = exact_derivatives(name, x)
        for derivative in (grad, forward):
            g: Function = f
            for order in range(1, MOST + 1):
                g = derivative(g)
                found, want = g(x), wants[order]
                if abs(found - want) > 1e-10 * abs(want):
                    wrong.append((derivative.__name__, x, order, found, float(want)))
    assert not wrong


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "x ** 2.5", "sin", "tan", "tanh", "sigmoid", "lgamma", "erf"])
def test_eight_orders_compiled(name: str) -> None:
    f, _, (x, y, *_) = ELEMENTARY[name]
    g: Function = f
    for order in range(1, MOST + 1):
        g = grad(g)
        if order in (4, 8):
            fast = compile(g)
            for point in (x, y, x):
                assert bits(fast(point)) == bits(g(point)), order


# ---- what escapes from a transform


def test_a_value_that_escapes_is_a_number() -> None:
    kept: list[Any] = []
    assert grad(lambda x: kept.append(x * x) or x**3)(3.0) == 27.0  # type: ignore[func-returns-value]
    (escaped,) = kept
    assert escaped.data == 9.0
    assert grad(lambda y: escaped * y)(2.0) == 9.0
    assert type(grad(lambda y: escaped * y)(2.0)) is float
    assert grad(lambda y: grad(lambda z: escaped * y * z)(1.0))(2.0) == 9.0


def test_a_pullback_outlives_its_function_and_works_inside_others() -> None:
    _, pullback = vjp(lambda x, y: x * x * y, 3.0, 2.0)
    assert pullback(1.0) == (12.0, 9.0)
    assert grad(lambda c: pullback(c)[0])(5.0) == 12.0
    assert compile(grad(lambda c: pullback(c)[0] * c))(5.0) == 2.0 * 12.0 * 5.0
    pullbacks: list[Any] = []

    def keep(x: Any) -> Any:
        value, pullback = vjp(lambda y: y * y * x, 2.0)
        pullbacks.append(pullback)
        return value

    assert grad(keep)(3.0) == 4.0
    (pulled_back,) = pullbacks[0](1.0)
    assert (pulled_back.data if isinstance(pulled_back, Value) else pulled_back) == 12.0


def test_derivatives_by_a_parameter_of_derivatives() -> None:
    """Eager and compiled: the slope of w x^3 at 2 is 12 w, and that has a derivative by w."""
    w = Value(5.0, "w")
    slope = grad(lambda x: w * x**3)(2.0)
    slope.backward()
    assert (slope.data, w.grad) == (60.0, 12.0)
    w.grad = 0.0
    fast = compile(grad(lambda x: w * x**3))
    assert (fast(2.0), fast.backward(2.0), w.grad) == (60.0, 60.0, 12.0)
    w.grad = 0.0
    grad(grad(compile(lambda x: w * w * x**3)))(2.0).backward()
    assert w.grad == 2.0 * 5.0 * 12.0
    with no_grad():
        assert grad(lambda x: w * x**3)(2.0) == 60.0


# ---- nested optimisation, as in the papers


def test_a_saddle_point_by_nested_descent() -> None:
    """min over x of max over y of x^2 - y^2 + x y: at the inner best y = x / 2 the outer function is 1.25 x^2."""

    def best(x: Any) -> Any:
        y = 0.5
        for _ in range(60):
            y = y + 0.25 * grad(lambda y: x * x - y * y + x * y)(y)
        return x * x - y * y + x * y

    for outer in (grad, compiled_gradient, forward):
        assert outer(best)(3.0) == pytest.approx(7.5, rel=1e-12, abs=0.0)
    assert grad(grad(best))(3.0) == pytest.approx(2.5, rel=1e-12, abs=0.0)


CHARGES = ((10.0, 5.0), (10.0, 0.0))


def final_height(w: Any, force: Callable[[Any, Any], list[Any]], to_zero: Callable[[Any], Any]) -> Any:
    """Let a particle fall past two charges, by Euler's method, and look where it crosses the axis, squared."""
    x, y, vx, vy, dt = to_zero(w), to_zero(w) + 8, to_zero(w) + 0.75, to_zero(w), 0.0625
    while y + dt * vy > 0:
        fx, fy = force([x, y], w)
        x, y, vx, vy = x + dt * vx, y + dt * vy, vx + dt * fx, vy + dt * fy
    last = -y / vy
    return (x + last * vx) ** 2


def test_a_charged_particle() -> None:
    """Siskind and Pearlmutter's benchmark: a force that is a gradient, inside a loop, inside a derivative."""

    def by_gradient(position: list[Any], w: Any) -> list[Any]:
        def potential(p: list[Any]) -> Any:
            return ad.sum(1.0 / ad.hypot(p[0] - a, p[1] - b) for a, b in ((10.0, 10.0 - w), (10.0, 0.0)))

        return [-slope for slope in grad(potential)(position)]

    def by_formula(position: list[Any], w: Any) -> list[Any]:
        force = [mpf(0), mpf(0)]
        for a, b in ((mpf(10), 10 - w), (mpf(10), mpf(0))):
            dx, dy = position[0] - a, position[1] - b
            cube = mp.sqrt(dx * dx + dy * dy) ** 3
            force = [force[0] + dx / cube, force[1] + dy / cube]
        return [force[0], force[1] - 1 / mpf(4)]

    def pulled_down(position: list[Any], w: Any) -> list[Any]:
        fx, fy = by_gradient(position, w)
        return [fx, fy - 0.25]

    def f(w: Any) -> Any:
        return final_height(w, pulled_down, lambda w: 0.0 * w)

    with mp.workdps(50):
        want = mp.diff(lambda w: final_height(w, by_formula, lambda w: mpf(0)), mpf(0.5))
    assert grad(f)(0.5) == pytest.approx(float(want), rel=1e-12, abs=0.0)
    assert compile(grad(f))(0.5) == grad(f)(0.5)
    assert forward(f)(0.5) == pytest.approx(float(want), rel=1e-12, abs=0.0)
