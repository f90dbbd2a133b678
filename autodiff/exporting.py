"""What is left of a compiled function away from the function it came from: its source and the objects that names."""

import math
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from autodiff.primitives import constant
from autodiff.trees import leaves
from autodiff.value import Value, _get_mode, _mode_with

__all__ = ["Exported"]

UNKNOWN = "{} was compiled for {}, and this call is of another kind: compile the function itself here"
NO_VALUES = (
    "{} is generated code for numbers, which takes no Values, and so grad() and its like cannot differentiate it: "
    "compile and pickle the derivative"
)
UNSEEN = "{} was pickled or saved before a call took this way through it: compile the function itself here"


def joined(sources: Iterable[str]) -> str:
    """Put several printed functions together, to be read."""
    return "\n\n".join(sources).rstrip("\n")


class UnseenError(LookupError):
    """A call that the exported source has no code for."""


class Code(NamedTuple):
    """One generated function: its source, and what its names stand for."""

    name: str
    source: str
    careful: str  # the same with every exact 0 winning; empty where that makes no difference
    objects: dict[str, Any]
    words: dict[str, str]  # the names of what surrounds every generated function: other, learn, math, ...
    defaults: tuple[Any, Any]
    arguments: str
    task: str  # what is done beside calling the function

    @property
    def leaves(self) -> dict[str, Value]:
        """Name the Values that the source reads."""
        return {name: x for name, x in self.objects.items() if isinstance(x, Value)}

    def execute(self, source: str, name: str, around: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
        """Turn source into a function."""
        namespace = {self.words["math"]: math, **self.objects}
        namespace |= {self.words[word]: x for word, x in around.items()}
        exec(compile(source, f"<chainrule: {name}>", "exec"), namespace)
        function: Callable[..., Any] = namespace[name]
        function.__defaults__, function.__kwdefaults__ = self.defaults
        return function

    def function(self, otherwise: Callable[..., Any]) -> Callable[..., Any]:
        """Make the function; arguments of another kind go to the next one."""

        def learn(*args: Any, **kwargs: Any) -> Any:
            raise UnseenError(UNSEEN.format(self.name))

        around = {"other": otherwise, "learn": learn, "careful": otherwise, "itself": raise_again}
        if self.careful:
            around["careful"] = self.execute(self.careful, f"{self.name}_careful", around)
        return self.execute(self.source, self.name, around)


def raise_again(*args: Any, **kwargs: Any) -> Any:
    """Let the error of the arithmetic that is being handled go on."""
    raise  # it is called from inside an `except`


class Exported:
    """A compiled function that was pickled: its generated code, without the function it came from.

    It knows the kinds of arguments and the ways that had been seen, and raises LookupError for others. The Values
    that the function closed over are copies, in `leaves`; `backward` adds to their `grad`, and `descend` moves them.

    >>> import pickle
    >>> from autodiff import compile, grad
    >>> fast = compile(grad(lambda x: x * x))
    >>> fast(3.0)
    6.0
    >>> pickle.loads(pickle.dumps(fast))(4.0)
    8.0
    """

    def __init__(self, name: str, codes: list[Code]) -> None:
        self.__name__ = name
        self.codes = codes
        self.leaves = list(dict.fromkeys(leaf for code in codes for leaf in code.leaves.values()))
        self.lock = threading.Lock()
        self._calls = {task: self._chain([c for c in codes if c.task == task]) for task in ("", "backward", "descend")}

    def _chain(self, codes: list[Code]) -> Callable[..., Any]:
        """Try the codes for each kind of arguments in turn."""
        kinds = " or ".join(f"({code.arguments})" for code in codes)

        def unknown(*args: Any, **kwargs: Any) -> Any:
            if any(isinstance(x, Value) for _, x in leaves([args, kwargs])):
                raise UnseenError(NO_VALUES.format(self.__name__))
            raise UnseenError(UNKNOWN.format(self.__name__, kinds or "no call of this sort"))

        call: Callable[..., Any] = unknown
        for code in reversed(codes):
            call = code.function(call)
        return call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self._calls[""](*args, **kwargs)

    def backward(self, *args: Any, **kwargs: Any) -> float:
        """Return the value, and add the derivatives to the `grad` of the `leaves`."""
        mode = _get_mode()
        if mode is None or mode.recording:
            value: float = self._calls["backward"](*args, **kwargs)
            return value
        before = [leaf.grad for leaf in self.leaves]  # inside no_grad() they keep what they have
        with _mode_with(recording=True):
            value = self._calls["backward"](*args, **kwargs)
        for leaf, grad in zip(self.leaves, before, strict=True):
            leaf.grad = grad
        return value

    def descend(self, rate: float, /, *args: Any, **kwargs: Any) -> float:
        """Return the value, and move the `leaves` against their derivatives."""
        value: float = self._calls["descend"](constant(rate, "the rate", "a number"), *args, **kwargs)
        return value

    @property
    def run(self) -> Callable[..., Any]:
        """The one function there is."""
        return self._calls[self.codes[0].task]

    @property
    def source(self) -> str:
        """The generated Python."""
        return joined(code.source for code in self.codes)

    def __reduce__(self) -> tuple[Any, ...]:
        return Exported, (self.__name__, self.codes)

    def __repr__(self) -> str:
        return f"<exported {self.__name__}: {len(self.codes)} kinds of arguments>"


def _unpickled(payload: bytes) -> Exported:
    import pickle  # here, since most users need it never

    exported: Exported = pickle.loads(payload)
    return exported


class _Library:
    """The code that a worker was sent, by the name of it: the last few."""

    def __init__(self, size: int = 8) -> None:
        self.size = size
        self.known: dict[str, Exported] = {}
        self.lock = threading.Lock()

    def find(self, key: str, payload: bytes | None) -> Exported | None:
        """Give the code of this name; None if it is not here and did not come along."""
        with self.lock:
            found = self.known.pop(key, None) or (_unpickled(payload) if payload else None)
            if found is not None:
                self.known[key] = found  # the latest is last
            if len(self.known) > self.size:
                del self.known[next(iter(self.known))]
        return found


_library = _Library()  # of a worker process: code travels once


def compute_part(key: str, payload: bytes | None, numbers: list[float], part: tuple[Any, ...]) -> Any:
    """Do a worker's share: run generated code, with these numbers for its Values, over a part of a batch.

    Return the sums; None if the code is not here, and has to come along.
    """
    exported = _library.find(key, payload)
    if exported is None:
        return None
    with exported.lock:  # the workers of a thread pool share it
        for leaf, number in zip(exported.leaves, numbers, strict=True):
            leaf.data = number
        try:
            return exported.run(*part)
        except Exception as error:  # of f, not of the executor: a user's primitive may raise anything
            raise UnseenError(f"{type(error).__name__} in a worker") from error
