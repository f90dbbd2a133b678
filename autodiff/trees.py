"""Containers as arguments: nested lists, tuples, dicts, named tuples, dataclasses and NumPy arrays of numbers.

NumPy is never imported here: who passes an array has imported it.
"""

import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

__all__: list[str] = []


def is_array(x: Any) -> bool:
    """Say whether x is a NumPy array."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(x, numpy.ndarray)


def children(tree: Any) -> list[tuple[str, Any]] | None:
    """List the entries of a container with the way to each, such as `[0]`; None for anything else."""
    if type(tree) is float:  # most are: this saves looking at it in five ways
        return None
    if isinstance(tree, dict):
        return [(f"[{key!r}]", item) for key, item in tree.items()]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return [(f".{name}", item) for name, item in zip(tree._fields, tree, strict=True)]
    if isinstance(tree, list | tuple):
        return [(f"[{i}]", item) for i, item in enumerate(tree)]
    if hasattr(type(tree), "__dataclass_fields__"):
        return [(f".{field.name}", getattr(tree, field.name)) for field in _fields(tree)]
    if is_array(tree):
        return [(f"[{i}]", item) for i, item in enumerate(tree.ravel().tolist())]
    return None


def rebuild(tree: Any, items: list[Any]) -> Any:
    """Make a container like `tree` with other entries.

    >>> rebuild({"a": 1, "b": 2}, [3, 4])
    {'a': 3, 'b': 4}
    """
    return builder(tree)(items)


def builder(tree: Any) -> Callable[[list[Any]], Any]:
    """Give what makes containers like `tree` from their entries; it does not keep the entries of this one alive.

    >>> builder((1, 2))([3, 4])
    (3, 4)
    """
    if type(tree) is dict:
        return partial(_dict, tuple(tree))
    if isinstance(tree, dict):
        return partial(_dict_like, type(tree), _factory(tree), tuple(tree))
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return tree._make  # type: ignore[attr-defined, no-any-return]
    if isinstance(tree, list | tuple):
        return type(tree)
    if is_array(tree):
        return partial(_array, tree.shape, tree.dtype)
    return partial(_dataclass, type(tree), [field.name for field in _fields(tree)])


def _fields(tree: Any) -> list[Any]:
    """List the fields that a dataclass is made from; it computes the others itself."""
    from dataclasses import fields  # here, since it takes a fifth of the time of `import autodiff`

    return [field for field in fields(tree) if field.init]


def _dict(keys: tuple[Any, ...], items: list[Any]) -> dict[Any, Any]:
    return dict(zip(keys, items, strict=True))


def _factory(tree: dict[Any, Any]) -> Any:
    return tree.default_factory if isinstance(tree, defaultdict) else None


def _dict_like(kind: Any, factory: Any, keys: tuple[Any, ...], items: list[Any]) -> Any:
    """Make an OrderedDict, a defaultdict, a Counter, ... without its own methods, which may want anything."""
    base: Any = OrderedDict if issubclass(kind, OrderedDict) else dict
    made = base.__new__(kind)
    if factory is not None:
        made.default_factory = factory
    for key, item in zip(keys, items, strict=True):
        base.__setitem__(made, key, item)
    return made


def _dataclass(kind: type, names: list[str], items: list[Any]) -> Any:
    return kind(**dict(zip(names, items, strict=True)))


def _array(shape: tuple[int, ...], dtype: Any, items: list[Any]) -> Any:
    """Make an array of numbers, or of objects (Values) where there is no way around."""
    numpy = sys.modules["numpy"]
    if dtype.kind in "biu" and all(type(item) in (bool, int) for item in items):  # indices or a mask, not objects
        return numpy.array(items, dtype=dtype).reshape(shape)
    if items and all(is_array(item) for item in items):
        return numpy.stack(items).reshape(shape + items[0].shape)
    if all(isinstance(item, float) for item in items):
        return numpy.array(items, dtype=float).reshape(shape)
    result = numpy.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        result[i] = item
    return result.reshape(shape)


def tree_map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Apply a function to each leaf (and the leaves at its place in other trees), keeping the containers.

    >>> tree_map(lambda x, y: x + y, [1, (2, 3)], [10, (20, 30)])
    [11, (22, 33)]
    """
    columns = [leaves_like(tree, other) for other in (tree, *others)]
    return unflatten(tree, [function(*row) for row in zip(*columns, strict=True)])


def leaves_like(tree: Any, other: Any, path: str = "", what: str = "two arguments") -> list[Any]:
    """List the leaves of another tree of the same shape.

    >>> leaves_like([0, (0, 0)], [1, (2, 3)])
    [1, 2, 3]
    >>> leaves_like([0, (0, 0)], [1, (2, 3, 4)])
    Traceback (most recent call last):
    ...
    ValueError: two arguments that must have one shape differ at [1]
    """
    entries, others = children(tree), children(other)
    if entries is None:
        return [other]
    if others is None or [way for way, _ in others] != [way for way, _ in entries]:
        raise ValueError(f"{what} that must have one shape differ{' at ' + path if path else ''}")
    pairs = zip(entries, others, strict=True)
    return [leaf for (way, item), (_, twin) in pairs for leaf in leaves_like(item, twin, path + way, what)]


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each leaf with the way to it.

    >>> list(leaves({"w": [1.0, 2.0]}))
    [("['w'][0]", 1.0), ("['w'][1]", 2.0)]
    """
    entries = children(tree)
    if entries is None:
        yield path, tree
    else:
        for way, item in entries:
            yield from leaves(item, path + way)


def unflatten(tree: Any, items: Iterable[Any]) -> Any:
    """Put items at the leaves of a tree, in the order of `leaves`.

    >>> unflatten([0, (0, 0)], [1, 2, 3])
    [1, (2, 3)]
    """
    return _filled(tree, iter(items))


def _filled(tree: Any, source: Iterator[Any]) -> Any:
    entries = children(tree)
    return next(source) if entries is None else rebuild(tree, [_filled(item, source) for _, item in entries])
