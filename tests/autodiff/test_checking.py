import math

import pytest

import autodiff as ad
from autodiff import Primitive, check_grads
from autodiff.checking import _differences
from autodiff.primitives import TABLE


def test_right_derivatives_pass_to_third_order() -> None:
    check_grads(lambda x, y: ad.exp(x * y) + ad.sin(x) / y, 0.7, 1.9, order=3)
    check_grads(lambda p: [p["a"] * p["b"], ad.tanh(p["a"])], {"a": 0.3, "b": -2.0})
    check_grads(lambda x: x * 0.0, 1.5)


@pytest.mark.parametrize("name", ["sin", "exp", "tanh", "log", "sqrt", "sigmoid", "gelu", "atan"])
def test_a_rule_wrong_by_a_thousandth_fails(name: str) -> None:
    right = TABLE[name]
    check_grads(right, 0.8)
    rule = right.derivatives[0]
    assert callable(rule)
    wrong = Primitive(name, right.value, right.source, lambda out, x: rule(out, x) * 1.001)
    with pytest.raises(AssertionError, match=r"relative error 1\.0e-03"):
        check_grads(wrong, 0.8)


def test_a_wrong_second_derivative_fails() -> None:
    # The first derivative is right and the second is not: the rule hides x from the graph.
    frozen = Primitive("frozen", lambda x: x**3, "", lambda out, x: 3.0 * getattr(x, "data", x) ** 2)
    check_grads(frozen, 1.5, order=1)
    with pytest.raises(AssertionError, match="Df by argument 0"):
        check_grads(frozen, 1.5, order=2)


def test_kinks_are_reported_as_kinks() -> None:
    with pytest.raises(AssertionError, match=r"kink at argument 0 = 0.0: slope 0 to the left, 1 to the right"):
        check_grads(ad.relu, 0.0, order=1)
    with pytest.raises(AssertionError, match="kink"):
        check_grads(lambda x: abs(x - 2.0), 2.0, order=1)
    check_grads(ad.relu, 0.5)


def test_blurred_differences_do_not_pass() -> None:
    with pytest.raises(AssertionError, match="cannot be checked"):
        check_grads(lambda x: 1e12 + ad.sin(x), 1.0, order=1)


def test_edges_of_the_domain() -> None:
    check_grads(ad.log, 1e-3)
    with pytest.raises(AssertionError, match="both sides"):
        check_grads(ad.sqrt, 0.0)


def test_the_reference_is_far_better_than_the_tolerance() -> None:
    ((slope, error),) = _differences(lambda x: [math.sin(x)], [1.0], 0)
    assert abs(slope - math.cos(1.0)) < 1e-11
    assert error < 1e-9


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match="argument 0"):
        check_grads(ad.sin, "x")
