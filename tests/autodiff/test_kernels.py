"""Functions of a sequence: one node each, added from left to right, and clear about what they cannot do."""

import math
from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import autodiff as ad
from autodiff import Value, grad, hessian, jacobian

NUMBERS = st.lists(st.floats(-50.0, 50.0), min_size=1, max_size=6)
PAIRS = st.lists(st.tuples(st.floats(-50.0, 50.0), st.floats(-50.0, 50.0)), min_size=1, max_size=6)


def values(xs: list[float]) -> list[Value]:
    return [Value(x) for x in xs]


@given(NUMBERS)
def test_sum_is_a_chain_of_additions(xs: list[float]) -> None:
    chain = xs[0]
    for x in xs[1:]:
        chain += x
    assert ad.sum(xs) == ad.sum(values(xs)).data == chain
    assert grad(ad.sum)(xs) == [1.0] * len(xs)


@given(PAIRS, st.floats(-5.0, 5.0))
def test_dot_and_affine_are_chains_of_products(pairs: list[tuple[float, float]], b: float) -> None:
    ws, xs = [w for w, _ in pairs], [x for _, x in pairs]
    chain = ws[0] * xs[0]
    for w, x in pairs[1:]:
        chain += w * x
    assert ad.dot(ws, xs) == ad.dot(values(ws), xs).data == ad.dot(ws, values(xs)).data == chain
    assert ad.affine(ws, xs, b) == ad.affine(values(ws), values(xs), Value(b)).data == chain + b
    assert grad(ad.affine, (0, 1, 2))(ws, xs, b) == (xs, ws, 1.0)


@given(NUMBERS)
def test_sum_of_squares_is_a_dot_product_with_itself(xs: list[float]) -> None:
    assert ad.sum_of_squares(xs) == ad.sum_of_squares(values(xs)).data == ad.dot(xs, xs)
    assert grad(ad.sum_of_squares)(xs) == [2.0 * x for x in xs]


def test_a_kernel_is_one_node() -> None:
    ws, xs = values([1.0, 2.0]), values([3.0, 4.0])
    for node in (ad.sum(xs), ad.dot(ws, xs), ad.affine(ws, xs, 1.0), ad.logsumexp(xs), ad.softmax_cross_entropy(xs, 0)):
        assert all(parent in {*ws, *xs} for parent in node.parents)


ENTRIES = st.one_of(st.floats(-5.0, 5.0), st.integers(-3, 3), st.sampled_from("abcd"))


@given(
    st.lists(st.lists(ENTRIES, min_size=4, max_size=4), min_size=1, max_size=4),
    st.lists(ENTRIES, min_size=3, max_size=3),
)
def test_a_layer_is_its_rows(rows: list[list[Any]], xs: list[Any]) -> None:
    """Letters are Values: leaves, computed ones, and the same ones in several places."""
    found = []
    for layer in (ad.affine_layer, lambda W, x, b: [ad.affine(w, x, bias) for w, bias in zip(W, b, strict=True)]):
        a, b = Value(0.5), Value(-1.25)
        named = {"a": a, "b": b, "c": a * b, "d": ad.relu(b - 1.0)}
        W = [[named.get(w, w) for w in row[:3]] for row in rows]
        outputs = layer(W, [named.get(x, x) for x in xs], [named.get(row[3], row[3]) for row in rows])
        loss = ad.sum([y * (i + 1.5) for i, y in enumerate(outputs)]) + a
        loss.backward()
        found.append(([type(y) for y in outputs], loss.data, a.grad, b.grad))
    assert found[0] == found[1]


def test_a_layer_adds_up_in_the_order_of_its_rows() -> None:
    def f(p: Any) -> Any:
        rows = [[p[1] / 3.0, p[0]], p]
        return ad.polygamma(0, ad.affine_layer(rows, [p[1] / 3.0, 1.0], [p[1] % p[0], 0.5])[0])

    assert ad.compile(jacobian(f))([2.75, 3.0]) == jacobian(f)([2.75, 3.0])


def test_a_layer_in_every_mode() -> None:
    W, x, b = [[2.0, 3.0], [5.0, -1.0]], [0.5, 7.0], [1.0, -4.0]
    assert ad.affine_layer(W, x, b) == [23.0, -8.5]
    assert jacobian(ad.affine_layer, 1)(W, x, b) == W
    assert ad.compile(jacobian(ad.affine_layer, 2))(W, x, b) == [[1.0, 0.0], [0.0, 1.0]]
    leaf = Value(2.0)
    with ad.no_grad():
        assert ad.affine_layer([[leaf]], [3.0], [1.0])[0].parents == ()
    node = ad.affine_layer([[leaf, leaf]], [3.0, leaf], [leaf])[0]
    assert node.parents == (leaf, leaf, leaf, leaf)
    assert node.local_derivatives() == (3.0, 2.0, 2.0, 2.0, 1.0)
    assert len(ad.toposort(node)) == 2


def test_layers_of_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"affine\(\) needs two sequences of one length, not 1 and 2"):
        ad.affine_layer([[Value(1.0)]], [1.0, 2.0], [0.0])
    with pytest.raises(ValueError, match=r"affine_layer\(\) needs a bias for each row of weights: 2 rows, 1 biases"):
        ad.affine_layer([[Value(1.0)], [Value(1.0)]], [1.0], [0.0])


def test_constants_and_values_mix() -> None:
    w = Value(3.0)
    out = ad.affine([1.0, w], [2, 5.0], True)
    out.backward()
    assert (out.data, w.grad) == (18.0, 5.0)


def test_one_value_in_several_places_adds_up() -> None:
    x = Value(3.0)
    ad.dot([x, x], [x, 2.0]).backward()
    assert x.grad == 8.0


def test_kernels_take_iterators() -> None:
    assert ad.sum(x for x in (1.0, 2.0)) == 3.0
    assert ad.dot(iter([1.0, 2.0]), (x for x in (3.0, 4.0))) == 11.0
    assert ad.logsumexp(iter([0.0])) == 0.0


def test_nothing_to_add() -> None:
    assert ad.sum([]) == 0.0
    assert ad.dot([], []) == 0.0
    assert ad.affine([], [], 2.5) == 2.5


@given(NUMBERS)
def test_softmax_adds_up_to_one_and_is_the_gradient_of_logsumexp(xs: list[float]) -> None:
    entries = ad.softmax(xs)
    assert math.fsum(entries) == pytest.approx(1.0, abs=1e-15)
    assert grad(ad.logsumexp)(xs) == entries
    assert [entry.data for entry in ad.softmax(values(xs))] == entries


@given(NUMBERS)
def test_log_softmax_is_the_logarithm_of_softmax(xs: list[float]) -> None:
    for logarithm, entry in zip(ad.log_softmax(xs), ad.softmax(xs), strict=True):
        assert logarithm == pytest.approx(math.log(entry), rel=1e-12, abs=1e-15)


@given(NUMBERS, st.data())
def test_cross_entropy_by_index_is_that_of_a_certain_distribution(xs: list[float], data: st.DataObject) -> None:
    i = data.draw(st.integers(0, len(xs) - 1))
    certain = [float(i == j) for j in range(len(xs))]
    assert ad.softmax_cross_entropy(xs, i) == pytest.approx(ad.softmax_cross_entropy(xs, certain), rel=1e-15, abs=0.0)
    assert ad.softmax_cross_entropy(values(xs), i).data == ad.softmax_cross_entropy(xs, i)


def test_cross_entropy_against_the_textbook_gradient() -> None:
    """The derivative by the logits is softmax minus target (Bishop 2006, equation 4.109)."""
    logits, target = [0.5, -1.0, 2.0], [0.2, 0.3, 0.5]
    found = grad(ad.softmax_cross_entropy)(logits, target)
    want = [p - t for p, t in zip(ad.softmax(logits), target, strict=True)]
    assert found == pytest.approx(want, rel=1e-14, abs=0.0)


def test_cross_entropy_is_differentiable_by_the_target_distribution() -> None:
    target = values([0.25, 0.75])
    ad.softmax_cross_entropy([1.0, 3.0], target).backward()
    assert [t.grad for t in target] == pytest.approx([-x for x in ad.log_softmax([1.0, 3.0])])


def test_the_class_may_be_an_argument_of_the_function() -> None:
    """As a float it is one: then it is a Value in a transform, and in what is being compiled."""

    def loss(a: Any, b: Any, target: Any) -> Any:
        return ad.softmax_cross_entropy([a, b], target)

    fast = ad.compile(loss)
    for target in (0.0, 1.0, 0.0):
        want = loss(0.5, 2.0, target)
        assert want == loss(Value(0.5), 2.0, Value(target)).data == fast(0.5, 2.0, target)
        assert grad(loss, 2)(0.5, 2.0, target) == 0.0
    for f in (loss, fast):
        with pytest.raises(ValueError, match="must be 0 to 1 for 2 logits"):
            f(0.5, 2.0, 2.0)


def test_large_logits_keep_their_digits() -> None:
    x = values([1000.0, 900.0])
    loss = ad.softmax_cross_entropy(x, 0)
    loss.backward()
    assert loss.data == math.exp(-100.0)
    assert [v.grad for v in x] == pytest.approx([-math.exp(-100.0), math.exp(-100.0)], rel=1e-15, abs=0.0)
    (aa, ab), (ba, bb) = hessian(lambda p: ad.softmax_cross_entropy(p, 0))([1000.0, 900.0])
    assert [aa, ab, ba, bb] == pytest.approx([math.exp(-100.0) * s for s in (1, -1, -1, 1)], rel=1e-14, abs=0.0)


def test_sinc_is_numpys() -> None:
    numpy = pytest.importorskip("numpy")
    for x in (0.0, 0.3, 1.0, -2.5, 10.0):
        assert ad.sinc(x) == ad.sinc(Value(x)).data == Value(x).sinc().data
        assert ad.sinc(x) == pytest.approx(float(numpy.sinc(x)), abs=1e-16)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ad.dot([1.0], [1.0, 2.0]), ValueError, r"dot\(\) needs two sequences of one length, not 1 and 2"),
        (lambda: ad.affine([1.0], [], 0.0), ValueError, r"affine\(\) needs two sequences of one length, not 1 and 0"),
        (lambda: ad.logsumexp([]), ValueError, r"logsumexp\(\) of nothing has no value"),
        (lambda: ad.softmax([]), ValueError, r"softmax\(\) of nothing"),
        (lambda: ad.log_softmax([]), ValueError, r"log_softmax\(\) of nothing"),
        (lambda: ad.softmax_cross_entropy([], 0), ValueError, r"softmax_cross_entropy\(\) of nothing"),
        (lambda: ad.softmax_cross_entropy([1.0, 2.0], 2), ValueError, "must be 0 to 1 for 2 logits, not 2"),
        (lambda: ad.softmax_cross_entropy([1.0, 2.0], -1), ValueError, "must be 0 to 1 for 2 logits, not -1"),
        (lambda: ad.softmax_cross_entropy([1.0, 2.0], 0.5), ValueError, "must be 0 to 1 for 2 logits, not 0.5"),
        (lambda: ad.softmax_cross_entropy([1.0, 2.0], [1.0]), ValueError, "one length, not 2 and 1"),
        (lambda: ad.softmax_cross_entropy([1.0, 2.0], None), TypeError, "the target class must be a number"),
        (lambda: ad.softmax_cross_entropy([1.0, 2.0], Value(0.5)), ValueError, "0 to 1 for 2 logits, not Value"),
        (lambda: ad.sum([1.0, "2"]), TypeError, r"argument 2 of sum\(\) must be a number or a Value, not str '2'"),
        (lambda: ad.sum([Value(1.0), None]), TypeError, r"argument 2 of sum\(\) must be a number or a Value"),
        (lambda: ad.sum(3.0), TypeError, r"sum\(\) takes a sequence of numbers, such as \[x, y\], not 3\.0"),
        (lambda: ad.softmax(Value(1.0)), TypeError, r"softmax\(\) takes a sequence of numbers"),
        (lambda: ad.affine(Value(1.0), 2.0, 3.0), TypeError, r"affine\(\) takes a sequence of numbers"),
        (lambda: ad.softmax_cross_entropy([1.0, 2.0], "cat"), TypeError, "the target class must be a number .* 'cat'"),
    ],
)
def test_what_cannot_be_done_is_said(call: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("xs", [[nan, 1.0], [1.0, nan], [inf, nan], [nan, inf], [-inf, nan], [inf, nan, 1.0]])
def test_nan_among_the_logits_is_nan(xs: list[float]) -> None:
    found = [ad.logsumexp(xs), *ad.softmax(xs), *ad.log_softmax(xs), ad.softmax_cross_entropy(xs, 0)]
    assert all(map(math.isnan, found))
