import math

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import autodiff as ad
from autodiff import Kernel, Primitive, check_grads
from autodiff.checking import _differences
from autodiff.primitives import TABLE
from tests.autodiff.test_primitives import scaled
from tests.reference import REFERENCES


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


@pytest.fixture
def without_mpmath(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


@pytest.mark.usefixtures("without_mpmath")
def test_blurred_differences_do_not_pass() -> None:
    with pytest.raises(AssertionError, match="cannot be checked"):
        check_grads(lambda x: 1e12 + ad.sin(x), 1.0, order=1)


def test_many_digits_see_through_the_blur() -> None:
    pytest.importorskip("mpmath")
    check_grads(lambda x: 1e12 + ad.sin(x), 1.0)
    with pytest.raises(AssertionError, match=r"is -1.0.* but differences give -1.001"):
        check_grads(lambda x: ad.exp(-1000.0 * x) + wrong_negation(x), 50.0, order=1)


wrong_negation = Primitive("wrong_negation", lambda x: -1.001 * x, "(-1.001 * {})", -1.0)


@pytest.mark.usefixtures("without_mpmath")
def test_without_mpmath_derivatives_are_checked_with_extrapolated_differences() -> None:
    check_grads(lambda x, y: ad.exp(x * y) + ad.sin(x) / y, 0.7, 1.9)
    check_grads(lambda p: [p["a"] * p["b"], ad.tanh(p["a"])], {"a": 0.3, "b": -2.0})
    with pytest.raises(AssertionError, match=r"is 6\.00\d+ in reverse mode, but differences give 6\.0"):
        check_grads(Primitive("wrong", lambda x: x * x, "{0} * {0}", lambda out, x: 2.002 * x), 3.0)


def test_what_many_digits_cannot_evaluate_is_checked_all_the_same() -> None:
    """`math` inside a primitive, the data of a Value, a captured Value."""
    w = ad.Value(2.0)
    check_grads(Primitive("root", math.sqrt, "sqrt({})", lambda out, x: 0.5 / out), 2.0)
    check_grads(Primitive("hidden", lambda x: x * math.exp(x), "", lambda out, x: ad.exp(x) * (1.0 + x)), 0.5)
    check_grads(lambda x: w * x * x, 2.0)
    with pytest.raises(AssertionError, match="argument 0"):
        check_grads(lambda x: getattr(x, "data", x) * x, 2.0)


def test_a_wrong_source_fails() -> None:
    wrong = Primitive("halved", lambda x: 2.0 * x * x, "2.0 * {0} * {0}", lambda out, x: halving(x))
    halving = Primitive("halving", lambda x: 4.0 * x, "2.0 * {}", 4.0)
    with pytest.raises(AssertionError, match=r"in compiled code, but differences give 12\.0"):
        check_grads(wrong, 3.0)


SMOOTH = sorted(
    name
    for name, ref in REFERENCES.items()
    if isinstance(TABLE[name], Primitive) and not isinstance(TABLE[name], Kernel)
)


@pytest.mark.parametrize("many_digits", [True, False])
@settings(max_examples=40, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(data=st.data())
def test_a_rule_wrong_by_a_thousandth_always_fails(many_digits: bool, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(SMOOTH))
    reference, right = REFERENCES[name], TABLE[name]
    point = data.draw(reference.points)
    i = data.draw(st.sampled_from(sorted(reference.active(point)) or [0]))
    local = right.locals(right(*point), point)[i]
    assume(1e-200 < abs(local) < 1e200)  # a zero cannot be wrong by 0.1%
    rules = [scaled(rule) if j == i else rule for j, rule in enumerate(right.derivatives)]
    wrong = Primitive(name, right.value, right.source, *rules)
    with pytest.MonkeyPatch.context() as patch:
        if not many_digits:
            patch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(AssertionError):
            check_grads(lambda x: wrong(*point[:i], x, *point[i + 1 :]), point[i], order=1)


@pytest.mark.parametrize("name", SMOOTH)
def test_right_rules_pass_at_the_fixed_points(name: str) -> None:
    reference, right = REFERENCES[name], TABLE[name]
    for point in reference.fixed[:2]:
        for i in reference.active(point):
            if 1e-3 < abs(point[i]) < 20.0:
                check_grads(lambda x, i=i, point=point: right(*point[:i], x, *point[i + 1 :]), point[i])


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
    with pytest.raises(TypeError, match=r"the function returned None: is a return missing\?"):
        check_grads(lambda x: None, 1.0)


@pytest.mark.parametrize(("source", "shown"), [("{0} * {0}", "4.0"), ("{0} ** 3 + 1.0", "9.0")])
def test_a_source_that_says_something_else_is_found(source: str, shown: str) -> None:
    cube = Primitive("cube", lambda x: x * x * x, source, lambda out, x: 3.0 * x * x)
    with pytest.raises(AssertionError, match=f"the value of f is 8.0, but {shown} in compiled code: does the source"):
        check_grads(cube, 2.0)
