"""Derivatives where SciPy asks for them: arrays in, arrays out, compiled or not."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import integrate, optimize

import autodiff as ad
from autodiff import compile, grad, hessian, hvp, jacobian, value_and_grad
from tests.nist import Dataset, datasets

START = np.array([1.3, 0.7, 0.8, 1.9])
ENGINES: dict[str, Callable[[Any], Any]] = {"as it is": lambda f: f, "compiled": compile}


def rosenbrock(x: Any) -> Any:
    return ad.sum([100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2 for a, b in pairwise(x)])


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    return ENGINES[request.param]


# ---- minimise


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "CG", "TNC", "SLSQP"])
def test_minimise_with_value_and_gradient_in_one_call(engine: Callable[[Any], Any], method: str) -> None:
    result = optimize.minimize(engine(value_and_grad(rosenbrock)), START, jac=True, method=method, tol=1e-12)
    assert np.allclose(result.x, 1.0, atol=1e-4)


@pytest.mark.parametrize("method", ["Newton-CG", "trust-exact", "trust-ncg", "dogleg"])
def test_minimise_with_the_hessian(engine: Callable[[Any], Any], method: str) -> None:
    start = START if method != "dogleg" else np.full(4, 1.2)  # which needs positive curvature all the way
    both, second = engine(value_and_grad(rosenbrock)), engine(hessian(rosenbrock))
    result = optimize.minimize(both, start, jac=True, hess=second, method=method, tol=1e-10)
    assert np.allclose(result.x, 1.0, atol=1e-7)


@pytest.mark.parametrize("method", ["Newton-CG", "trust-ncg", "trust-constr"])
def test_minimise_with_products_of_the_hessian(engine: Callable[[Any], Any], method: str) -> None:
    both, product = engine(value_and_grad(rosenbrock)), engine(hvp(rosenbrock))
    result = optimize.minimize(both, START, jac=True, hessp=product, method=method, tol=1e-10)
    assert np.allclose(result.x, 1.0, atol=1e-6)


@pytest.mark.parametrize("method", ["SLSQP", "trust-constr"])
def test_constraints_with_their_jacobians(engine: Callable[[Any], Any], method: str) -> None:
    """Hock and Schittkowski 1981, problem 71: the optimum is known to six digits."""

    def cost(x: Any) -> Any:
        return x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2]

    def spare(x: Any) -> Any:
        return x[0] * x[1] * x[2] * x[3] - 25.0

    def sphere(x: Any) -> Any:
        return ad.sum_of_squares(x) - 40.0

    constraints = [
        {"type": "ineq", "fun": engine(spare), "jac": engine(grad(spare))},
        {"type": "eq", "fun": engine(sphere), "jac": engine(grad(sphere))},
    ]
    options: dict[str, Any] = {"hess": engine(hessian(cost))} if method == "trust-constr" else {}
    result = optimize.minimize(
        engine(value_and_grad(cost)),
        np.array([1.0, 5.0, 5.0, 1.0]),
        jac=True,
        method=method,
        bounds=[(1.0, 5.0)] * 4,
        constraints=constraints,
        tol=1e-10,
        **options,
    )
    assert result.fun == pytest.approx(17.0140173, abs=1e-5)
    assert np.allclose(result.x, [1.0, 4.7429994, 3.8211503, 1.3794082], atol=1e-4)


def test_curvature_found_by_autodiff_is_what_scipy_has_written_by_hand() -> None:
    assert np.allclose(compile(grad(rosenbrock))(START), optimize.rosen_der(START), rtol=1e-13)
    assert np.allclose(compile(hessian(rosenbrock))(START), optimize.rosen_hess(START), rtol=1e-13)
    assert np.allclose(compile(hvp(rosenbrock))(START, START), optimize.rosen_hess_prod(START, START), rtol=1e-13)
    assert optimize.check_grad(compile(rosenbrock), compile(grad(rosenbrock)), START) < 1e-4


# ---- equations


def intersection(x: Any) -> Any:
    return np.array([x[0] * ad.cos(x[1]) - 4.0, x[0] * x[1] - x[1] - 5.0])


@pytest.mark.parametrize("method", ["hybr", "lm"])
def test_roots_with_the_jacobian(engine: Callable[[Any], Any], method: str) -> None:
    function, slopes = engine(intersection), engine(jacobian(intersection))
    result = optimize.root(
        lambda x: np.array(function(x), dtype=float),
        np.array([1.0, 1.0]),
        jac=lambda x: np.array(slopes(x)),
        method=method,
    )
    assert np.allclose(result.x, [6.50409711, 0.90841421], atol=1e-7)


def test_roots_of_one_number_by_newton_and_halley(engine: Callable[[Any], Any]) -> None:
    def kepler(angle: Any) -> Any:
        return angle - 0.8 * ad.sin(angle) - 1.0

    first, second = engine(grad(kepler)), engine(grad(grad(kepler)))
    newton = optimize.root_scalar(engine(kepler), x0=1.0, fprime=first, method="newton")
    halley = optimize.root_scalar(engine(kepler), x0=1.0, fprime=first, fprime2=second, method="halley")
    assert newton.root == pytest.approx(halley.root, rel=1e-14)
    assert kepler(newton.root) == pytest.approx(0.0, abs=1e-14)


# ---- stiff differential equations


def robertson(t: Any, y: Any) -> Any:
    """Describe three reacting species whose speeds differ by nine powers of ten."""
    slow, fast, medium = 0.04 * y[0], 3e7 * y[1] * y[1], 1e4 * y[1] * y[2]
    return [medium - slow, slow - medium - fast, fast]


def van_der_pol(t: Any, y: Any) -> Any:
    return [y[1], 1000.0 * (1.0 - y[0] * y[0]) * y[1] - y[0]]


@pytest.mark.parametrize("method", ["BDF", "Radau"])
def test_robertsons_reactions(engine: Callable[[Any], Any], method: str) -> None:
    """Hairer and Wanner, Solving Ordinary Differential Equations II: y1 is 0.7158 at t = 40."""
    result = integrate.solve_ivp(
        engine(robertson),
        (0.0, 40.0),
        [1.0, 0.0, 0.0],
        method=method,
        jac=engine(jacobian(robertson, 1)),
        rtol=1e-8,
        atol=1e-12,
    )
    assert result.success
    assert result.y[:, -1] == pytest.approx([0.7158270688, 9.185534765e-06, 0.2841637457], rel=1e-6)


def test_the_jacobian_of_an_oscillator_saves_evaluations() -> None:
    given = integrate.solve_ivp(
        compile(van_der_pol),
        (0.0, 1000.0),
        [2.0, 0.0],
        method="Radau",
        jac=compile(jacobian(van_der_pol, 1)),
        rtol=1e-6,
    )
    guessed = integrate.solve_ivp(compile(van_der_pol), (0.0, 1000.0), [2.0, 0.0], method="Radau", rtol=1e-6)
    assert given.success
    assert np.allclose(given.y[:, -1], guessed.y[:, -1], rtol=1e-2)
    assert given.nfev <= guessed.nfev


# ---- nonlinear regression with certified results

NIST = datasets()
HOPELESS = {("BoxBOD", 0)}  # from there SciPy ends elsewhere, with derivatives by hand as well


def fit(functions: tuple[Callable[[Any], Any], Callable[[Any], Any]], start: list[float]) -> Any:
    tight = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15}
    with np.errstate(all="ignore"):
        return optimize.least_squares(
            functions[0], start, functions[1], method="lm", x_scale="jac", max_nfev=5000, **tight
        )


def by_fields(data: Dataset) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Compile the model once for all observations: residuals and Jacobian as arrays."""
    x, y = [np.array(column) for column in np.array(data.x).T.reshape(-1, len(data.y))], np.array(data.y)
    model = data.model
    fast = compile(value_and_grad(lambda b, *x: model(b, x if len(x) > 1 else x[0])), backend="numpy")
    return (
        lambda b: fast(b.tolist(), *x)[0] - y,
        lambda b: np.stack(fast(b.tolist(), *x)[1], axis=1),
    )


def converged(result: Any, data: Dataset) -> bool:
    return bool(np.allclose(result.x, data.certified, rtol=1e-5, atol=0.0))


@pytest.mark.parametrize("name", NIST)
def test_the_models_are_those_that_were_certified(name: str) -> None:
    data = NIST[name]
    residuals, by_hand = data.by_hand(np, np.array(data.certified))
    if name != "Lanczos1":  # whose residuals are pure rounding
        assert np.sum(residuals**2) == pytest.approx(data.residual_sum_of_squares, rel=1e-9)
    ours = compile(jacobian(data.residuals))(data.certified)
    assert np.all(abs(np.array(ours) - by_hand) <= 1e-13 * abs(by_hand).max(axis=0))
    assert np.allclose(
        compile(data.residuals)(data.certified), residuals, rtol=1e-9, atol=1e-9 * np.max(abs(residuals))
    )


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("name", NIST)
def test_regression_converges_wherever_it_does_with_derivatives_by_hand(name: str, start: int) -> None:
    data = NIST[name]
    expected = fit((lambda b: data.by_hand(np, b)[0], lambda b: data.by_hand(np, b)[1]), data.starts[start])
    assert converged(expected, data) == ((name, start) not in HOPELESS)
    found = fit(by_fields(data), data.starts[start])
    if (name, start) not in HOPELESS:
        assert converged(found, data), found.x


@pytest.mark.parametrize("name", ["Misra1a", "Kirby2", "Thurber", "MGH09", "MGH10", "Rat43", "Eckerle4", "Bennett5"])
def test_regression_with_each_residual_compiled(name: str) -> None:
    data = NIST[name]
    residuals, slopes = compile(data.residuals), compile(jacobian(data.residuals))
    found = fit((lambda b: np.array(residuals(b)), lambda b: np.array(slopes(b))), data.starts[0])
    assert converged(found, data), found.x


def test_parameters_have_the_certified_standard_deviations() -> None:
    data = NIST["Chwirut2"]
    fast = compile(value_and_grad(lambda b, x: data.model(b, x)), backend="numpy")
    best, covariance = optimize.curve_fit(
        lambda x, *b: fast(list(b), x)[0],
        np.array(data.x),
        np.array(data.y),
        data.starts[0],
        jac=lambda x, *b: np.stack(fast(list(b), x)[1], axis=1),
    )
    assert best == pytest.approx(data.certified, rel=1e-6)
    assert np.sqrt(np.diag(covariance)) == pytest.approx(data.deviations, rel=1e-5)
