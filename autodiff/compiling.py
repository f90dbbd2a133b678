"""`compile`: a function becomes straight-line Python that is called in its place, saved and pickled."""

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

from autodiff.arguments import _made_plain, _shape, readable_name
from autodiff.codegen import same
from autodiff.exporting import Code, Exported, joined
from autodiff.looping import (
    _BackwardLoop,
    _BackwardPart,
    _DescentLoop,
    _ForwardLoop,
    _ForwardPart,
    _LoopCache,
    _Spread,
)
from autodiff.specialising import (
    Specialisation,
    _Backward,
    _Cache,
    _Descent,
    _Entry,
    _Forward,
    as_values,
    on_values,
)
from autodiff.transforms import batch_of
from autodiff.trees import leaves
from autodiff.value import Value

if TYPE_CHECKING:
    from autodiff.native import Native
    from autodiff.vectorising import Vectorised

__all__ = ["Compiled", "compile"]

CHANGED = (
    "that has changed since it was compiled, and is neither a Value nor a number in an argument (the contents of other "
    "objects are constants); pass its numbers as arguments"
)


@overload
def compile(f: Callable[..., Any], *, verify: bool = ..., max_ways: int = ..., backend: None = ...) -> "Compiled": ...
@overload
def compile(f: Callable[..., Any], *, max_ways: int = ..., backend: Literal["numpy"]) -> "Vectorised": ...
@overload
def compile(f: Callable[..., Any], *, max_ways: int = ..., backend: Literal["numba"]) -> "Native": ...
def compile(
    f: Callable[..., Any], *, verify: bool = False, max_ways: int = 64, backend: str | None = None
) -> "Compiled | Vectorised | Native":
    """Turn f into straight-line Python that gives the same floats, bit for bit, and raises the same exceptions.

    f is any function of floats (and containers of floats) made of arithmetic and autodiff's functions, or any
    transform of one. The first call with arguments of a new structure evaluates f once on Values and prints what
    happened as Python; a call that takes another way through f's branches adds that way. After `max_ways` ways,
    further ones run f itself: slower, never wrong. Values that f closes over are read at each call. Anything else
    that f closes over is a constant; `verify=True` also runs f at each call, and raises if results or gradients differ.
    `backend="numpy"` compiles for arrays of points (`Vectorised`) instead, `backend="numba"` to machine code
    (`Native`).

    >>> from autodiff import value_and_grad
    >>> fast = compile(value_and_grad(lambda x, y: x * y if x > 0.0 else -y))
    >>> fast(2.0, 5.0), fast(-2.0, 5.0)
    ((10.0, 5.0), (-5.0, 0.0))
    """
    if not callable(f):
        raise TypeError(
            f"compile() takes a function, not {type(f).__name__}: write compile(f), and then call the result"
        )
    if backend not in (None, "numpy", "numba") or (verify and backend):
        raise ValueError(f"backend must be 'numpy', 'numba' or None, without verify, not {backend!r}")
    # The backends are imported where they are asked for: they would take a third of the time of `import autodiff`.
    if backend == "numpy":
        from autodiff.vectorising import Vectorised

        return Vectorised(f, max_ways)
    # Each compiled function is a class of its own: its generated code is `__call__`, with nothing in between.
    kind = _Verified if verify else Compiled
    made: Compiled = type("Compiled", (kind,), {"__doc__": Compiled.__doc__})(f, verify, max_ways)
    if backend is None:
        return made
    from autodiff.native import Native

    return Native(f, made, max_ways)


class Compiled:
    """A compiled function; `compile` makes them.

    >>> fast = compile(lambda x: x * x + 1.0)
    >>> fast(3.0)
    10.0
    >>> print(fast.source)
    def function(x):
        if type(x) is not float:
            return other(x)
        try:
            return x * x + 1.0
        except (ArithmeticError, ValueError):
            return itself(x)
    """

    def __init__(self, f: Callable[..., Any], verify: bool, max_ways: int) -> None:
        self.function = f
        self.verify = verify
        self.max_ways = max_ways
        self.__name__ = readable_name(f)
        batch = batch_of(f)
        kinds: list[Any] = [_Forward, _Backward, _Descent]
        if batch is not None:  # the loop over examples becomes part of the code
            kinds = [_ForwardLoop, _BackwardLoop, _DescentLoop]
        if batch is None or batch.executor is None:
            caches = [(_Cache if batch is None else _LoopCache)(self, kind) for kind in kinds]
        else:
            parts = [_ForwardPart, _BackwardPart, _BackwardPart]
            caches = [_Spread(self, kind, part) for kind, part in zip(kinds, parts, strict=True)]
        self._forward, self._backward, self._descent = caches
        self._caches = {kind.task: cache for kind, cache in zip(kinds, caches, strict=True)}
        self._install()

    def _install(self) -> None:
        """Let a call go straight into the generated code of the first specialisation."""
        entry = self._forward.first
        call = self._forward.call if entry is None else entry.call
        type(self).__call__ = staticmethod(call)  # type: ignore[method-assign]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the compiled function."""
        raise NotImplementedError  # replaced by the generated code

    def backward(self, *args: Any, **kwargs: Any) -> float:
        """Return the value, and add the derivative by each Value that f closes over to its `grad`.

        >>> w = Value(3.0)
        >>> fast = compile(lambda x: w * w * x)
        >>> fast.backward(2.0), w.grad
        (18.0, 12.0)
        """
        entry = self._backward.first
        value: float = (self._backward.call if entry is None else entry.call)(*args, **kwargs)
        return value

    def descend(self, rate: float, /, *args: Any, **kwargs: Any) -> float:
        """Return the value, and set the `data` of each Value that f closes over to data - rate * derivative.

        One step of gradient descent, in one piece of code; `grad` is neither used nor changed.

        >>> w = Value(3.0)
        >>> fast = compile(lambda x: w * w * x)
        >>> fast.descend(0.25, 2.0), w.data, w.grad
        (18.0, 0.0, 0.0)
        """
        entry = self._descent.first
        value: float = (self._descent.call if entry is None else entry.call)(rate, *args, **kwargs)
        return value

    @property
    def _entries(self) -> "list[_Entry]":
        """All generated functions."""
        return [entry for cache in self._caches.values() for entry in cache.entries.values()]

    @property
    def source(self) -> str:
        """The generated Python, one function for each structure of arguments seen so far."""
        sources = [entry.source for entry in self._entries]
        return joined(sources) or f"# {self.__name__} has no code before its first call"

    @property
    def specialisations(self) -> tuple[Specialisation, ...]:
        """What was compiled so far."""
        return tuple(entry.report() for entry in self._entries)

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """The generated function, for `inspect.getsource` and `inspect.signature`."""
        entry = self._forward.first or self._backward.first  # that of `descend` has one parameter more
        return self.function if entry is None else entry.call

    def save(self, path: "str | os.PathLike[str]") -> None:
        """Write a module with the generated functions, which imports only `math`.

        It has the code for the calls seen so far, and raises an error for others. Values that f closes over become
        numbers in the module, with `data` and `grad`; `fast.backward` is saved as `backward_NAME` if it was called,
        `fast.descend` as `descend_NAME`.

        >>> import pathlib, runpy, tempfile
        >>> fast = compile(lambda x: x * x)
        >>> fast(3.0)
        9.0
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "square.py")
        ...     fast.save(path)
        ...     runpy.run_path(str(path))["function"](4.0)
        16.0
        """
        from autodiff.saving import module

        text = module(self.__name__, self._export("saved"))
        unfinished = f"{os.fspath(path)}.unfinished"
        with open(unfinished, "w", encoding="utf-8") as file:  # noqa: PTH123  (pathlib takes milliseconds to import)
            file.write(text)
        os.replace(unfinished, path)  # noqa: PTH105

    def _export(self, done: str) -> list[Code]:
        entries = self._entries
        if not entries:
            raise RuntimeError(f"{self.__name__} has no code yet, to be {done}: call it once first")
        batch = batch_of(self.function)
        if batch is not None and batch.executor is not None:  # its code is for parts of a batch
            raise TypeError(
                f"{self.__name__} cannot be {done} with its executor: compile {batch.kind}(f) without one for that"
            )
        # Code with a constant takes a container there for an unknown one; with a container it passes on a constant.
        entries.sort(key=lambda entry: -_containers(entry.key))
        return [entry.export(done) for entry in entries]

    def __copy__(self) -> "Compiled":
        return self  # as a function does

    def __deepcopy__(self, memo: dict[int, Any]) -> "Compiled":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if not self._entries:
            return partial(compile, verify=self.verify, max_ways=self.max_ways), (self.function,)
        return Exported, (self.__name__, self._export("pickled"))

    def __repr__(self) -> str:
        return f"<compiled {self.__name__}: {sum(s.ways for s in self.specialisations)} ways>"


class _Verified(Compiled):
    """A compiled function that also runs the function itself at each call, and compares."""

    def _install(self) -> None:
        type(self).__call__ = staticmethod(self._compared)  # type: ignore[method-assign]

    def _compared(self, *args: Any, **kwargs: Any) -> Any:
        """Run both, and compare the results."""
        found = self._forward.call(*args, **kwargs)
        expected = on_values(self._evaluate, _made_plain(args), _made_plain(kwargs))
        self._compare(found, expected, "result")
        return found

    def _evaluate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.function(*args, **kwargs)

    def backward(self, *args: Any, **kwargs: Any) -> float:
        """Run both, and compare the value and all gradients. Where they differ, these are left as they were."""
        return self._compare_changes(_Backward, super().backward, args, kwargs)

    def descend(self, rate: float, /, *args: Any, **kwargs: Any) -> float:
        """Run both, and compare the value and all new data. Where they differ, this is left as it was."""
        return self._compare_changes(_Descent, super().descend, (rate, *args), kwargs)

    def _compare_changes(
        self, kind: type[_Backward], run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> float:
        """Run both, and compare the value and what happens to leaves from outside."""
        plain, named = as_values(_made_plain(args), _made_plain(kwargs))
        output, numbers, found = kind.changed(self, plain, named)
        known = [x for entry in self._caches[kind.task].entries.values() for x in entry.names.objects().values()]
        origins = list(dict.fromkeys([*found.values, *(x for x in known if isinstance(x, Value))]))
        before = [getattr(leaf, kind.attribute) for leaf in origins]
        value: float = run(*args, **kwargs)
        after = [getattr(leaf, kind.attribute) for leaf in origins]
        _set(kind.attribute, origins, before)
        self._compare(value, output, "result")
        names = [f"{i}: {leaf.label}" if leaf.label else i for i, leaf in enumerate(origins)]
        expected = dict(zip(names, [*numbers, *before[len(numbers) :]], strict=True))
        self._compare(dict(zip(names, after, strict=True)), expected, kind.what)
        _set(kind.attribute, origins, after)
        return value

    def _compare(self, found: Any, expected: Any, what: str) -> None:
        """Compare two trees of numbers."""
        if _shape(found) != _shape(expected):
            raise RuntimeError(
                f"compiled {self.__name__} gave {found!r:.60}, and the function itself {expected!r:.60}: it depends on "
                f"something {CHANGED}"
            )
        for (way, x), (_, y) in zip(leaves(found), leaves(expected), strict=True):
            x, y = (v._data if isinstance(v, Value) else v for v in (x, y))
            if not (same(x, y) if isinstance(x, float) and isinstance(y, float) else x == y):
                raise RuntimeError(
                    f"compiled {self.__name__} gave {x!r} at {what}{way}, and the function itself {y!r}: it depends on "
                    f"something {CHANGED}"
                )


def _set(attribute: str, origins: list[Value], numbers: list[float]) -> None:
    for leaf, x in zip(origins, numbers, strict=True):
        setattr(leaf, attribute, x)


def _containers(structure: Any) -> int:
    """Count the containers in the structure of arguments."""
    if not isinstance(structure, tuple):
        return 0
    return any(isinstance(part, type) for part in structure[:1]) + sum(map(_containers, structure))
