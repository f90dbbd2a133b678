"""The backward pass, written down: what is asked for, and what is not."""

import math
from typing import Any

import pytest

import autodiff
from autodiff import Value
from autodiff.replaying import error_signals, local_derivatives, replay


def test_a_rule_is_not_asked_for_a_constant() -> None:
    def never(out: Any, x: Any, y: Any) -> Any:
        raise AssertionError("asked")

    scale = autodiff.Primitive("scale", lambda x, y: x * y, "{} * {}", lambda out, x, y: y, never)
    x = Value(3.0)
    assert local_derivatives(scale(x, 2.0)) == [(0, x, 2.0)]
    with pytest.raises(AssertionError, match="asked"):
        local_derivatives(scale(x, Value(2.0)))


def test_a_seed_scales_everything() -> None:
    x = Value(3.0)
    assert error_signals(x * x, 0.5)[x] == 3.0
    assert replay(x * x, 0.0)[1].kind == "nothing"


def test_kernels_are_asked_once_and_constants_left_out() -> None:
    w, b = Value(2.0, "w"), Value(0.5, "b")
    z = autodiff.affine([w], [3.0], b)
    assert [(i, argument.label, local) for i, argument, local in local_derivatives(z)] == [(0, "w", 3.0), (2, "b", 1.0)]
    assert local_derivatives(w) == []


def test_an_infinite_error_signal_passes_a_zero_as_nothing() -> None:
    x = Value(0.0, "x")
    y = x.relu().sqrt()
    assert [(event.kind, event.signal, event.after) for event in replay(y)] == [
        ("seed", 1.0, 1.0),
        ("edge", 1.0, math.inf),
        ("edge", math.inf, 0.0),
    ]
    assert not replay(y)[-1].passes
    y.backward()
    assert x.grad == error_signals(y)[x] == 0.0
