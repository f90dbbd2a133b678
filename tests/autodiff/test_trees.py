"""Containers: what counts as one, and that taking apart and putting together are inverse."""

from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodiff import compile, grad, jvp, vjp
from autodiff.trees import children, is_array, leaves, rebuild, tree_map, unflatten

numpy = pytest.importorskip("numpy")


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclass(frozen=True)
class Line:
    slope: Any
    offset: Any = 0.0


TREES: st.SearchStrategy[Any] = st.recursive(
    st.floats(-5.0, 5.0),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.tuples(inner, inner).map(lambda pair: Pair(*pair)),
        st.tuples(inner, inner).map(lambda pair: Line(*pair)),
    ),
    max_leaves=8,
)


@dataclass
class Interval:
    """A container that checks what it is made of, and computes a field itself."""

    low: Any
    high: Any
    width: Any = field(init=False)

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low must not be above high")
        self.width = self.high - self.low


def test_dataclasses_are_made_from_numbers_only_and_compute_their_other_fields() -> None:
    interval = Interval(1.0, 3.0)

    def f(x: Interval) -> Any:
        return x.low * x.width

    for gradient in (grad(f), compile(grad(f))):
        for _ in range(2):
            assert gradient(interval) == Interval(1.0, 1.0)  # d low (high - low): high - 2 low, low
    assert jvp(f, [interval], [Interval(1.0, 2.0)])[1] == 3.0
    value, pullback = vjp(lambda x: Interval(x.low, x.high), interval)
    assert (value, pullback(Interval(1.0, 2.0))) == (interval, (Interval(1.0, 2.0),))


@given(TREES)
def test_unflatten_undoes_leaves(tree: Any) -> None:
    items = [leaf for _, leaf in leaves(tree)]
    assert unflatten(tree, items) == tree
    assert tree_map(lambda x: x, tree) == tree


@given(TREES)
def test_every_leaf_is_where_its_way_says(tree: Any) -> None:
    for way, leaf in leaves(tree):
        assert eval(f"tree{way}", {"tree": tree}) == leaf


@given(TREES)
def test_tree_map_goes_through_several_trees_in_step(tree: Any) -> None:
    doubled = tree_map(lambda x: 2.0 * x, tree)
    assert tree_map(lambda x, y: y - x, tree, doubled) == tree


class Attributes(dict[str, Any]):
    """A dict whose entries are attributes too, and whose constructor wants something else."""

    def __init__(self, words: str) -> None:
        super().__init__((word, float(len(word))) for word in words.split())

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Fixed(dict[str, float]):
    """A dict with a constructor and a way to set entries of its own."""

    def __new__(cls, names: str, x: float) -> "Fixed":
        return super().__new__(cls)

    def __init__(self, names: str, x: float) -> None:
        super().__init__(dict.fromkeys(names.split(), x))

    def __setitem__(self, key: str, item: float) -> None:
        raise TypeError("its entries are fixed")


CONTAINERS = [
    [1.0],
    (1.0,),
    {"a": 1.0},
    Pair(1.0, 2.0),
    Line(1.0, 2.0),
    OrderedDict(a=1.0, b=2.0),
    defaultdict(list, a=1.0),
    Counter(a=1.0, b=2.0),  # type: ignore[arg-type]
    Attributes("a bb"),
    Fixed("a bb", 1.0),
]


@pytest.mark.parametrize("tree", CONTAINERS)
def test_containers_keep_their_type(tree: Any) -> None:
    entries = children(tree)
    assert entries is not None
    built = rebuild(tree, [item for _, item in entries])
    assert built == tree
    assert type(built) is type(tree)
    assert isinstance(built, tuple) == isinstance(tree, tuple)
    assert hasattr(built, "_fields") == hasattr(tree, "_fields")


def test_dicts_of_other_kinds_do_in_a_compiled_function_what_they_do() -> None:
    def turned(d: Any) -> Any:
        d = d.copy()
        d.move_to_end("a")
        return OrderedDict((key, 2.0 * x) for key, x in d.items())

    examples: list[tuple[Any, Any]] = [
        (turned, OrderedDict(a=1.0, b=2.0)),
        (lambda d: d["a"] * len(d["b"]), defaultdict(list, a=1.0)),
        (lambda d: d["a"] + d["missing"], Counter(a=1.5)),  # type: ignore[arg-type]
        (lambda d: d.a * d.bb, Attributes("a bb")),
    ]
    for f, d in examples:
        fast = compile(f)
        for _ in range(3):
            assert fast(d) == f(d.copy() if type(d) is not Attributes else d)
            assert type(fast(d)) is type(f(d))


@pytest.mark.parametrize("leaf", [1.0, 1, "text", None, 1j, Line, numpy.float64(1.0), {1.0}, range(2)])
def test_everything_else_is_a_leaf(leaf: Any) -> None:
    assert children(leaf) is None
    assert list(leaves(leaf)) == [("", leaf)]


@pytest.mark.parametrize("shape", [(3,), (2, 2), (1, 2, 2), (0,)])
def test_arrays_keep_their_shape_and_give_floats(shape: tuple[int, ...]) -> None:
    array = numpy.arange(float(numpy.prod(shape))).reshape(shape)
    doubled = tree_map(lambda x: 2.0 * float(x), array)
    assert is_array(doubled)
    assert doubled.dtype == float
    assert (doubled == 2.0 * array).all()


@pytest.mark.parametrize("kind", ["int64", "uint8", "bool"])
def test_arrays_of_whole_numbers_and_truth_values_stay_what_they_are(kind: str) -> None:
    """They are indices or masks, which an array of objects is not."""
    chosen, x = numpy.array([1, 0, 1], dtype=kind), numpy.array([1.5, 2.5, 4.5])
    assert tree_map(lambda i: i, chosen).dtype == chosen.dtype
    assert tree_map(float, chosen).dtype == float
    for f in (lambda x, chosen: x[chosen].sum(), lambda x, chosen: (x * ~chosen).sum()):
        fast = compile(f)
        for other in (chosen, chosen, numpy.array([0, 1, 1], dtype=kind)):
            assert fast(x, other) == f(x, other)


def test_an_array_of_anything_else_holds_objects() -> None:
    array = tree_map(lambda x: (x, x), numpy.array([1.0, 2.0]))
    assert array.dtype == object
    assert array[1] == (2.0, 2.0)


def test_arrays_of_arrays_are_stacked() -> None:
    assert tree_map(lambda x: numpy.array([x, x]), numpy.zeros(3)).shape == (3, 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1.0], [1.0, 2.0]),
        ([1.0], 1.0),
        ({"a": 1.0}, {"b": 1.0}),
        ((1.0, 2.0), Pair(1.0, 2.0)),
        ([[1.0]], [[1.0, 2.0]]),
    ],
)
def test_trees_of_different_shape_are_refused(one: Any, other: Any) -> None:
    with pytest.raises(ValueError, match="two arguments that must have one shape differ"):
        tree_map(lambda x, y: x, one, other)


def test_the_place_of_a_difference_is_named() -> None:
    with pytest.raises(ValueError, match=r"differ at \['w'\]\[0\]$"):
        tree_map(lambda x, y: x, {"w": [[1.0]]}, {"w": [[1.0, 2.0]]})
