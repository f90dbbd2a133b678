"""docs/reference.md lists every public name with what it does, as the docstrings say: `REWRITE=1 pytest` writes it."""

import inspect
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import autodiff
import nn
from autodiff import Primitive

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference.md"
SECTIONS = {  # titles, and the modules whose names they list
    "Values": ["autodiff.value", "autodiff.backprop"],
    "Functions of numbers": ["autodiff.primitives"],
    "Functions of sequences": ["autodiff.kernels"],
    "Transforms": ["autodiff.transforms"],
    "Compiling": ["autodiff.compiling", "autodiff.exporting"],
    "Pictures and formulas": ["autodiff.drawing", "autodiff.stepping", "autodiff.formulas"],
    "Checking": ["autodiff.checking"],
    "Networks": ["nn.modules", "nn.activations", "nn.initialisers"],
    "Losses and metrics": ["nn.losses", "nn.metrics"],
    "Training": ["nn.training", "nn.optimisers", "nn.schedules", "nn.history", "nn.storage"],
    "Looking into networks": ["nn.diagnostics"],
    "Data": ["nn.datasets"],
}
HEAD = """\
# Reference

All public names and what they do, from their docstrings, which say more: `help(autodiff.grad)`. Functions of numbers
take floats or Values and are methods of Values, too; their further names are NumPy's (`x.arctan2(y)`).

```python
>>> import autodiff, nn
>>> autodiff.hypot(3.0, 4.0)
5.0

```
"""


def names(package: ModuleType) -> Iterator[tuple[str, str, Any]]:
    """Give home, written name and object of all that is public in a package and its modules; types of functions not."""
    for name in package.__all__:
        thing = getattr(package, name)
        if isinstance(thing, ModuleType):
            for inner in thing.__all__:
                if not hasattr(getattr(thing, inner), "__origin__"):
                    yield thing.__name__, f"{thing.__name__}.{inner}", getattr(thing, inner)
        else:
            yield home(package, name, thing), f"{package.__name__}.{name}", thing


def home(package: ModuleType, name: str, thing: Any) -> str:
    if isinstance(thing, Primitive):
        return "autodiff.primitives"
    module = getattr(thing, "__module__", "")
    return module if module.startswith(package.__name__) else "nn.activations"  # a dict of them


def call(name: str, thing: Any) -> str:
    """Write a name with its arguments: those that must be given, and how others begin."""
    if isinstance(thing, Primitive):
        arity = len(thing.derivatives)
        codes = [rule.__code__ for rule in thing.derivatives if callable(rule)]
        given = next((code.co_varnames[1 : 1 + arity] for code in codes if code.co_argcount == 1 + arity), "xy"[:arity])
        defaults = dict(zip(reversed(given), reversed(thing.defaults), strict=False))
        return f"{name}({', '.join(f'{x}={defaults[x]}' if x in defaults else x for x in given)})"
    if not callable(thing):
        return name
    parameters = inspect.signature(thing, follow_wrapped=inspect.isfunction(thing)).parameters.values()
    shown = [
        p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    shown += [f"*{p.name}" for p in parameters if p.kind is p.VAR_POSITIONAL]
    required = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    more = ["..."] if any(p.default is not p.empty for p in parameters) else []
    return f"{name}({', '.join([*shown, *[f'{x}=' for x in required], *more])})"


def summary(thing: Any) -> str:
    if isinstance(thing, Mapping):
        return "The activations by name."
    if isinstance(thing, Primitive) and thing.value.__module__ in ("math", "_operator"):  # which say it in many ways
        return f"Python's `{thing.name if thing.name in ('abs', 'pow') else f'math.{thing.name}'}`."
    first = (inspect.getdoc(thing) or "").partition("\n")[0]
    return first.replace("|", "\\|")


def listing() -> str:
    """Write the page."""
    found = [*names(autodiff), *names(nn)]
    parts = [HEAD]
    for title, modules in SECTIONS.items():
        rows = [
            f"| `{call(name, x)}` | {summary(x)} |" for module in modules for where, name, x in found if where == module
        ]
        parts.append("\n".join([f"## {title}", "", "| | |", "|---|---|", *rows, ""]))
    return "\n".join(parts)


def test_every_public_name_is_listed() -> None:
    text = listing()
    for where, name, _ in [*names(autodiff), *names(nn)]:
        assert text.count(f"| `{name}(") + text.count(f"| `{name}` ") == 1, (where, name)


def test_what_is_listed_says_what_it_does() -> None:
    rows = [line for line in listing().splitlines() if line.startswith("| `")]
    assert [row for row in rows if row.split(" | ")[-1].strip(" |") == ""] == []


def test_the_page_is_as_the_docstrings_say() -> None:
    if "REWRITE" in os.environ:
        PAGE.write_text(listing(), "utf-8")
    assert PAGE.read_text("utf-8") == listing(), f"{PAGE.name} is out of date: run this test with REWRITE=1"


def test_arguments_are_written_as_they_are_given() -> None:
    assert call("leaky_relu", autodiff.leaky_relu) == "leaky_relu(x, slope=0.01)"
    assert call("copysign", autodiff.copysign) == "copysign(x, y)"
    assert call("grad", autodiff.grad) == "grad(f, ...)"
    assert call("fit", nn.fit) == "fit(model, inputs, targets, loss=, optimiser=, epochs=, ...)"
