"""Wrong answers that other engines give (or gave), each with the right one. Versions: late 2026.

Every test names the engine and what it does there; none of them is imported.
"""

import copy
import math
import pickle
import re
from collections.abc import Callable
from math import inf, isnan
from typing import Any

import pytest

import autodiff as ad
from autodiff import Primitive, Value, check_grads, draw, grad, hessian, jvp, toposort
from nn import MLP, Neuron

# ---- micrograd


def test_micrograd_repeats_backward_on_stale_interior_grads() -> None:
    """It gives 45."""
    x = Value(3.0)
    y = x * x
    z = y * x
    z.backward()
    x.grad = 0.0
    z.backward()
    assert x.grad == 27.0


def test_micrograd_counts_a_shared_node_twice_for_two_losses() -> None:
    """It gives 44."""
    w = Value(2.0)
    h = w * w
    (h * 3).backward()
    (h * 5).backward()
    assert w.grad == 32.0


def test_micrograd_mixes_old_and_new_data() -> None:
    """It gives 10, the derivative at a place where nothing was computed."""
    x = Value(2.0)
    y = x * x
    x.data = 5.0
    y.backward()
    assert x.grad == 4.0


def test_micrograd_loses_the_leaves_of_a_deep_copy() -> None:
    """It gives 0 in all leaves of the copy, silently."""
    x = Value(3.0)
    y = copy.deepcopy(x * x)
    y.backward()
    assert toposort(y)[0].grad == 6.0
    assert x.grad == 0.0


def test_micrograd_recurses_in_a_chain_of_1200_additions() -> None:
    """It raises RecursionError."""
    x = y = Value(0.0)
    for _ in range(1200):
        y = y + 1.0
    y.backward()
    assert x.grad == 1.0


def test_micrograd_divides_by_zero_in_the_derivative_of_x_to_the_0() -> None:
    x = Value(0.0)
    (x**0).backward()
    assert x.grad == 0.0


def test_micrograd_turns_complex_in_silence() -> None:
    with pytest.raises(ValueError, match="complex"):
        Value(-8.0) ** (1 / 3)


def test_micrograd_lacks_truth_comparisons_and_powers() -> None:
    assert not Value(0.0)
    assert Value(1.0) < Value(2.0)
    assert (2 ** Value(3.0)).data == 8.0
    assert (Value(2.0) ** Value(3.0)).data == 8.0


def test_micrograd_cannot_have_one_neuron_in_a_hidden_layer() -> None:
    assert isinstance(MLP(2, [16, 1, 1])([1.0, 2.0]), Value)


def test_micrograd_ignores_surplus_weights() -> None:
    with pytest.raises(ValueError, match="takes 3 inputs, but was given 1"):
        Neuron(3)([1.0])


def test_micrograd_draws_one_edge_for_x_plus_x() -> None:
    x = Value(1.0)
    y = x + x
    assert y.parents == (x, x)
    assert re.findall(r"-> n1 \[id=(\w+)", draw(y).dot) == ["e1_0", "e1_1"]
    assert re.findall(r"-> n1 \[id=(\w+)", draw(x + 1.0).dot) == ["e1_0"]


# ---- mygrad


def test_mygrad_drops_the_graph_in_math_exp() -> None:
    """(x * math.exp(x)).backward() at 1 gives 2.718; the derivative is 5.437."""
    x = Value(1.0)
    with pytest.raises(TypeError, match=r"autodiff\.exp\(v\)"):
        x * math.exp(x)  # type: ignore[arg-type]
    (x * ad.exp(x)).backward()
    assert x.grad == 2.0 * math.e


def test_mygrad_gives_0_for_the_maximum_of_a_thing_and_itself() -> None:
    x = Value(2.0)
    (ad.maximum(x, x) * 3).backward()
    assert x.grad == 3.0


def test_mygrad_drops_the_second_loss_of_a_shared_node() -> None:
    x = Value(2.0)
    shared = x * x
    (shared + 1.0).backward()
    (shared * 10.0).backward()
    assert x.grad == 44.0


# ---- autograd and JAX


def test_autograd_gives_nan_for_the_slope_of_sinc_at_0() -> None:
    assert grad(ad.sinc)(0.0) == 0.0


def test_autograd_divides_by_zero_at_the_root_of_0() -> None:
    """The slope of a root is infinite there; the slope of its square is 0 because a dead edge passes nothing on:
    d(s^2)/ds = 2 s is exactly 0 at s = 0, and by the rule for zero signals that wins over the infinity behind it."""
    assert grad(lambda x: x**0.5)(0.0) == inf
    assert grad(ad.sqrt)(0.0) == inf
    assert grad(lambda x: ad.sqrt(x) ** 2)(0.0) == 0.0


def test_autograd_and_jax_give_nan_behind_a_false_condition() -> None:
    safe_root = lambda x: ad.where(x > 0, ad.sqrt(x), 0.0)  # noqa: E731
    assert grad(safe_root)(0.0) == 0.0
    assert jvp(safe_root, (0.0,), (1.0,)) == (0.0, 0.0)


def test_jax_gives_nan_for_the_slope_of_x_to_the_0_at_0() -> None:
    assert grad(lambda x: x**0.0)(0.0) == 0.0


settings = {"scale": 2.0}


def test_jax_bakes_in_what_a_compiled_function_read_from_outside() -> None:
    """Evaluated eagerly, a function reads it anew in each call."""
    slope = grad(lambda x: settings["scale"] * x)
    assert slope(1.0) == 2.0
    settings["scale"] = 5.0
    assert slope(1.0) == 5.0
    settings["scale"] = 2.0


@pytest.mark.parametrize("x", [1e-200, -1e-200, 1e200])
def test_jax_overflows_in_the_gradient_of_hypot(x: float) -> None:
    """It gives -inf at (1e-200, 1e-200)."""
    assert grad(ad.hypot, (0, 1))(x, abs(x)) == pytest.approx(
        (math.copysign(math.sqrt(0.5), x), math.sqrt(0.5)), rel=1e-15
    )


# ---- CasADi, xad, algopy, ReverseDiff, ddx


def test_casadi_gives_nan_for_math_exp() -> None:
    with pytest.raises(TypeError, match="drop its graph"):
        math.exp(Value(1.0))  # type: ignore[arg-type]


def test_casadi_and_xad_give_nan_for_powers_of_0() -> None:
    assert grad(lambda x, y: x**y, 1)(0.0, 2.0) == 0.0
    assert grad(lambda x: x**0)(0.0) == 0.0


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
def test_xad_copies_uninitialised_memory(duplicate: Callable[[Value], Value]) -> None:
    twin = duplicate(Value(1.5, "x"))
    assert (twin.data, twin.grad, twin.label) == (1.5, 0.0, "x")


def test_algopy_and_reversediff_freeze_the_branch_they_saw_first() -> None:
    """Traced at -1, they give -1 at 2."""
    slope = grad(lambda x: x * x if x > 0 else -x)
    assert slope(-1.0) == -1.0
    assert slope(2.0) == 4.0


def test_ddx_simplifies_x_over_x_at_0() -> None:
    with pytest.raises(ZeroDivisionError):
        grad(lambda x: x / x)(0.0)


def test_ddx_has_no_log1p() -> None:
    """log(1 + x) at 1e-20 is 0 in floats; log1p keeps the digits."""
    assert ad.log(1.0 + Value(1e-20)).data == 0.0
    assert ad.log1p(Value(1e-20)).data == 1e-20


# ---- PyTorch, TensorFlow, SmallPebble


def test_pytorch_and_autograd_depend_on_the_order_of_differentiation() -> None:
    """d2 (x ** y) / dx dy at (2, 0): PyTorch gives 0 or 0.5, autograd 2."""
    (_, xy), (yx, _) = hessian(lambda p: p[0] ** p[1])([2.0, 0.0])
    assert xy == yx == 0.5


@pytest.mark.parametrize(("f", "want"), [(ad.sigmoid, 4.248354255291589e-18), (ad.tanh, 7.21940555138166e-35)])
def test_jax_pytorch_tensorflow_and_mygrad_lose_the_tails(f: Callable[[Any], Any], want: float) -> None:
    """They give 0 at 40."""
    assert grad(f)(40.0) == pytest.approx(want, rel=1e-14, abs=0.0)
    assert grad(f)(-40.0) == pytest.approx(want, rel=1e-14, abs=0.0)


def test_smallpebbles_gradient_checker_never_compares() -> None:
    """A checker must fail on a rule that is wrong by a thousandth."""
    right = Primitive("right", math.sin, "sin({})", lambda out, x: ad.cos(x))
    wrong = Primitive("wrong", math.sin, "sin({})", lambda out, x: 1.001 * ad.cos(x))
    check_grads(right, 0.7)
    with pytest.raises(AssertionError):
        check_grads(wrong, 0.7)


def test_atan2_at_the_origin_says_that_it_has_no_derivative() -> None:
    assert all(isnan(slope) for slope in grad(ad.atan2, (0, 1))(0.0, 0.0))
