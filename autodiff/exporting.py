"""What is left of a compiled function away from the function it came from: its source, to pickle or to save.

Saved as a module it needs `math` alone; pickled, it keeps the objects its source names.
"""

import ast
import inspect
import io
import math
import pickle
import threading
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autodiff import codegen, special
from autodiff.value import Value

__all__ = ["Exported"]

UNKNOWN = "{} was compiled for {}, and this call is of another kind: compile the function itself here"
UNSEEN = "{} was pickled or saved before a call took this way through it: compile the function itself here"


class UnseenError(LookupError):
    """A call that the exported source has no code for."""


@dataclass(frozen=True)
class Code:
    """One generated function: its source, and what its names stand for."""

    name: str
    source: str
    careful: str  # the same with every exact 0 winning; empty where that makes no difference
    objects: dict[str, Any]
    defaults: tuple[Any, Any]
    arguments: str
    in_backward: bool

    @property
    def leaves(self) -> dict[str, Value]:
        """Name the Values that the source reads."""
        return {name: x for name, x in self.objects.items() if isinstance(x, Value)}

    def execute(self, source: str, name: str, around: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
        """Turn source into a function."""
        namespace = {"math": math, **self.objects, **around}
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
    that the function closed over are copies, in `leaves`; `backward` adds to their `grad`.

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
        self._calls = {b: self._chain([c for c in codes if c.in_backward is b]) for b in (False, True)}

    def _chain(self, codes: list[Code]) -> Callable[..., Any]:
        """Try the codes for each kind of arguments in turn."""
        kinds = " or ".join(f"({code.arguments})" for code in codes)

        def unknown(*args: Any, **kwargs: Any) -> Any:
            raise UnseenError(UNKNOWN.format(self.__name__, kinds or "no call of this sort"))

        call: Callable[..., Any] = unknown
        for code in reversed(codes):
            call = code.function(call)
        return call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self._calls[False](*args, **kwargs)

    def backward(self, *args: Any, **kwargs: Any) -> float:
        """Return the value, and add the derivatives to the `grad` of the `leaves`."""
        value: float = self._calls[True](*args, **kwargs)
        return value

    @property
    def run(self) -> Callable[..., Any]:
        """The one function there is."""
        return self._calls[self.codes[0].in_backward]

    @property
    def source(self) -> str:
        """The generated Python."""
        return "\n\n".join(code.source for code in self.codes)

    def __reduce__(self) -> tuple[Any, ...]:
        return Exported, (self.__name__, self.codes)

    def __repr__(self) -> str:
        return f"<exported {self.__name__}: {len(self.codes)} kinds of arguments>"


class _Library:
    """The code that a worker was sent, by the name of it: the last few."""

    def __init__(self, size: int = 8) -> None:
        self.size = size
        self.known: dict[str, Exported] = {}
        self.lock = threading.Lock()

    def find(self, key: str, payload: bytes | None) -> Exported | None:
        """Give the code of this name; None if it is not here and did not come along."""
        with self.lock:
            found = self.known.pop(key, None) or (pickle.loads(payload) if payload else None)
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
        return exported.run(*part)


# ---- a module that needs math alone

HEAD = '''"""{name}, generated by Chainrule. It needs Python's math module, and nothing else."""'''
PARAMETER = '''
class Parameter:
    """A number that the function reads at each call; backward_{name} adds to `grad`."""

    def __init__(self, data):
        self._data = data
        self.grad = 0.0

    @property
    def data(self):
        """The number."""
        return self._data

    @data.setter
    def data(self, data):
        self._data = float(data)
'''
STUBS = """
def {other}(*args):
    raise TypeError("{name} was saved for {arguments}: see where it was compiled")


def {learn}(*args):
    raise LookupError("{name} was saved before a call took this way: compile and call it with such arguments first")


def {itself}(*args):
    raise  # the error of the arithmetic that is being handled
"""


def module(name: str, codes: list[Code]) -> str:
    """Write the source of a module with these functions, those of one name for different arguments as one."""
    needs = _Needs()
    functions: list[str] = []
    for i, code in enumerate(codes):
        functions += _functions(needs, code, i, [c for c in codes[i + 1 :] if c.name == code.name], codes)
    if needs.parameters:
        needs.definitions.append(PARAMETER.format(name=name))
    parameters = "".join(f"{shown} = Parameter({_literal(leaf._data)})\n" for leaf, shown in needs.parameters.items())
    body = "\n\n".join(part.strip("\n") + "\n" for part in [*needs.definitions, parameters, *functions] if part)
    imports = ("import math\n" if "math" in words(body) else "") + needs.imports()
    return "\n".join(filter(None, [HEAD.format(name=name) + "\n", imports and imports + "\n", body]))


def _functions(needs: "_Needs", code: Code, i: int, rest: list[Code], codes: list[Code]) -> list[str]:
    """Write one generated function, under a name of its own if an earlier one has the same."""
    end = f"_{i}" if i else ""
    names = {word: f"{word}{end}" for word in ("learn", "itself")}
    names["other"] = _place(codes, rest[0]) if rest else f"other{end}"
    own = _place(codes, code)
    names |= {code.name: own, "careful": f"{own}_careful", f"{code.name}_careful": f"{own}_careful"}
    source = "\n\n".join(filter(None, [_unwatched(code.source), _unwatched(code.careful)]))
    used = words(source)
    for word in sorted(used & code.objects.keys() - {"watched"}):
        names[word] = needs.add(word, code.objects[word], code.name)
    kinds = " or ".join(f"({c.arguments})" for c in codes if c.name == code.name).replace('"', "'")
    stubs = STUBS.format(name=code.name, arguments=kinds, **names)
    blocks = ["\n\n\ndef " + block for block in stubs.split("def ")[1:]]
    kept = [b.strip() for b, word in zip(blocks, ("other", "learn", "itself"), strict=True) if word in used]
    if rest:
        kept = kept[1:]
    return [*(k + "\n" for k in kept), *(_rename(part, names) for part in source.split("\n\n\n"))]


def _place(codes: list[Code], code: Code) -> str:
    """Name a function: the first for its arguments has the name, others a number too."""
    same = [c for c in codes if c.name == code.name]
    number = next(i for i, c in enumerate(same) if c is code)
    return code.name if not number else f"{code.name}_{number + 1}"


def _unwatched(source: str) -> str:
    """Leave out the check for a compiler that is watching: there is none."""
    lines = source.split("\n")
    kept = [
        line
        for i, line in enumerate(lines)
        if line.strip() != "if watched():" and (i == 0 or lines[i - 1].strip() != "if watched():")
    ]
    return "\n".join(kept)


class _Needs:
    """What the generated functions need beside themselves."""

    def __init__(self) -> None:
        self.from_math: set[str] = set()
        self.definitions: list[str] = []
        self.parameters: dict[Value, str] = {}
        self._known: dict[str, Any] = {}

    def imports(self) -> str:
        """Print the import of functions of math."""
        names = ", ".join(sorted(self.from_math))
        return f"from math import {names}\n" if names else ""

    def add(self, name: str, x: Any, whose: str) -> str:
        """Provide for one object; return the name to use for it."""
        if isinstance(x, Value):
            if x not in self.parameters:
                self.parameters[x] = self._unique(name, x)
            return self.parameters[x]
        if name in self._known and self._known[name] is x:
            return name
        shown = self._unique(name, x)
        known = getattr(x, "__name__", "")
        if getattr(math, known, None) is x:
            self.from_math.add(known)
            if shown != known:
                self.definitions.append(f"{shown} = {known}\n")
        elif getattr(special, known, None) is x or getattr(codegen, known, None) is x:
            self._copy(x)
            if shown != known:
                self.definitions.append(f"{shown} = {known}\n")
        elif isinstance(x, float) or _is_constant(x):
            self.definitions.append(f"{shown} = {_literal(x)}\n")
        else:
            raise TypeError(
                f"{whose} cannot be saved as a module of its own: it needs {name} = {x!r:.80}. Numbers, strings, "
                "lists, tuples, dicts and the functions of autodiff can be; others can be pickled"
            )
        return shown

    def _unique(self, name: str, x: Any) -> str:
        while name in self._known and self._known[name] is not x:
            name += "_"
        self._known[name] = x
        return name

    def _copy(self, function: Any) -> None:
        """Write the definition of one of our own functions, and before it of all that it needs."""
        home = inspect.getmodule(function)
        tree = ast.parse(inspect.getsource(function)).body[0]
        assert isinstance(tree, ast.FunctionDef)
        tree.returns = None
        for argument in ast.walk(tree.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        self._known[tree.name] = function
        for word in sorted(words(ast.unparse(tree)) & vars(home).keys()):
            x = getattr(home, word)
            if self._known.get(word) is x or word in ("Any", "Callable"):
                continue
            if getattr(math, word, None) is x:
                self.from_math.add(word)
            elif inspect.isfunction(x):
                self._copy(x)
            elif x is not math:
                self._known[word] = x
                self.definitions.append(f"{word} = {_literal(x)}\n")
        self.definitions.append(ast.unparse(tree) + "\n")


def _is_constant(x: Any) -> bool:
    try:
        return bool(ast.literal_eval(repr(x)) == x)
    except (ValueError, SyntaxError, TypeError, RecursionError):
        return False


def _literal(x: Any) -> str:
    if isinstance(x, float) and not math.isfinite(x):
        return "math.nan" if x != x else "math.inf" if x > 0.0 else "-math.inf"
    return repr(x)


def _tokens(source: str) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(source).readline))


def words(source: str) -> set[str]:
    """Find the names in a source."""
    return {token.string for token in _tokens(source) if token.type == tokenize.NAME}


def _rename(source: str, names: dict[str, str]) -> str:
    """Put other names into a source, and leave strings and comments alone."""
    lines = source.splitlines(keepends=True)
    for token in reversed(_tokens(source)):
        if token.type == tokenize.NAME and names.get(token.string, token.string) != token.string:
            row, start = token.start[0] - 1, token.start[1]
            lines[row] = lines[row][:start] + names[token.string] + lines[row][token.end[1] :]
    return "".join(lines)
