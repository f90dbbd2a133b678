"""Containers as arguments: nested lists, tuples, dicts, named tuples, dataclasses and NumPy arrays of numbers.

NumPy is never imported here: who passes an array has imported it.
"""

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

__all__: list[str] = []


def is_array(x: Any) -> bool:
    """Say whether x is a NumPy array."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(x, numpy.ndarray)


def children(tree: Any) -> list[tuple[str, Any]] | None:
    """List the entries of a container with the way to each, such as `[0]`; None for anything else."""
    if isinstance(tree, dict):
        return [(f"[{key!r}]", item) for key, item in tree.items()]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return [(f".{name}", item) for name, item in zip(tree._fields, tree, strict=True)]
    if isinstance(tree, list | tuple):
        return [(f"[{i}]", item) for i, item in enumerate(tree)]
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return [(f".{field.name}", getattr(tree, field.name)) for field in dataclasses.fields(tree)]
    if is_array(tree):
        return [(f"[{i}]", item) for i, item in enumerate(tree.ravel().tolist())]
    return None


def rebuild(tree: Any, items: list[Any]) -> Any:
    """Make a container like `tree` with other entries.

    >>> rebuild({"a": 1, "b": 2}, [3, 4])
    {'a': 3, 'b': 4}
    """
    if isinstance(tree, dict):
        return dict(zip(tree, items, strict=True))
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return tree._make(items)  # type: ignore[attr-defined]
    if isinstance(tree, list | tuple):
        return type(tree)(items)
    if is_array(tree):
        return _array(items, tree.shape)
    fields = dataclasses.fields(tree)
    return dataclasses.replace(tree, **{field.name: item for field, item in zip(fields, items, strict=True)})


def _array(items: list[Any], shape: tuple[int, ...]) -> Any:
    """Make an array of numbers, or of objects (Values) where there is no way around."""
    numpy = sys.modules["numpy"]
    if items and all(is_array(item) for item in items):
        return numpy.stack(items).reshape(shape + items[0].shape)
    if all(isinstance(item, float) for item in items):
        return numpy.array(items, dtype=float).reshape(shape)
    result = numpy.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        result[i] = item
    return result.reshape(shape)


def tree_map(function: Callable[..., Any], tree: Any, *others: Any, path: str = "") -> Any:
    """Apply a function to each leaf (and the leaves at its place in other trees), keeping the containers.

    >>> tree_map(lambda x, y: x + y, [1, (2, 3)], [10, (20, 30)])
    [11, (22, 33)]
    """
    entries = children(tree)
    if entries is None:
        return function(tree, *others)
    columns = [children(other) for other in others]
    for column in columns:
        if column is None or [way for way, _ in column] != [way for way, _ in entries]:
            raise ValueError(f"two arguments that must have one shape differ{' at ' + path if path else ''}")
    rows = zip(entries, *[column for column in columns if column is not None], strict=True)
    return rebuild(tree, [tree_map(function, *(x for _, x in row), path=path + row[0][0]) for row in rows])


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
    source = iter(items)
    return tree_map(lambda _: next(source), tree)
