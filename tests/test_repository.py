"""Promises about the repository itself: what imports what, what is public, and that it is documented."""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import autodiff

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["autodiff", "nn"]

# The order of DESIGN: each module imports only from those before it.
AUTODIFF_ORDER = [
    "special",
    "primitives",
    "kernels",
    "backprop",
    "value",
    "trees",
    "transforms",
    "tracing",
    "terms",
    "zeros",
    "doubts",
    "codegen",
    "exporting",
    "arguments",
    "specialising",
    "looping",
    "rolling",
    "backends",
    "vectorising",
    "native",
    "saving",
    "compiling",
    "replaying",
    "drawing",
    "stepping",
    "formulas",
    "precise",
    "checking",
    "__init__",
]
# What importing the packages loads.
EVERYONES = ["special", "primitives", "kernels", "backprop", "value", "trees", "transforms", "__init__"]


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[ast.stmt, str]]:
    """Yield every import in a file, wherever it stands, with the full name of the module it asks for."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            package = list(parts[: len(parts) - node.level]) if node.level else []
            base = ".".join(package + ([node.module] if node.module else []))
            submodules = [
                alias.name for alias in node.names if (ROOT / Path(*base.split(".")) / f"{alias.name}.py").exists()
            ]
            yield from ((node, f"{base}.{name}") for name in submodules)
            if len(submodules) < len(node.names):
                yield node, base


def outermost(tree: ast.Module) -> set[ast.stmt]:
    """Return the statements that run when a module is imported: not those inside functions."""
    found: set[ast.stmt] = set()
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _type_checking_only(node):
            continue
        if isinstance(node, ast.stmt):
            found.add(node)
        waiting.extend(ast.iter_child_nodes(node))
    return found


def _type_checking_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def run_python(code: str) -> str:
    """Run code in a fresh interpreter that knows the standard library and this checkout, nothing else."""
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(ROOT)!r})\n{code}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def public(package: str) -> list[str]:
    return list(importlib.import_module(package).__all__)


PUBLIC = [(package, name) for package in PACKAGES for name in public(package)]
CALLABLE = [(package, name) for package, name in PUBLIC if callable(getattr(sys.modules[package], name, None))]


# ---- what imports what


def test_every_module_of_autodiff_has_a_place_in_the_order() -> None:
    assert {path.stem for path in modules("autodiff")} <= set(AUTODIFF_ORDER)


@pytest.mark.parametrize("path", modules("autodiff"), ids=lambda path: path.stem)
def test_a_module_imports_only_from_those_before_it(path: Path) -> None:
    allowed = {f"autodiff.{name}" for name in AUTODIFF_ORDER[: AUTODIFF_ORDER.index(path.stem)]}
    inside = {name for _, name in imports(path) if name.split(".")[0] == "autodiff"}
    assert inside <= allowed, f"{path.name} may not import {sorted(inside - allowed)}"


@pytest.mark.parametrize("path", modules("autodiff"), ids=lambda path: path.stem)
def test_importing_the_engine_takes_the_standard_library_only(path: Path) -> None:
    at_import = {ast.dump(node, include_attributes=True) for node in outermost(ast.parse(path.read_text("utf-8")))}
    asked = {name.split(".")[0] for node, name in imports(path) if ast.dump(node, include_attributes=True) in at_import}
    assert asked <= set(sys.stdlib_module_names) | {"autodiff"}


def test_importing_waits_for_nothing_that_few_need() -> None:
    """The compiler, pictures, backends and what they import in turn cost more than all the rest together."""
    heavy = [name for name in AUTODIFF_ORDER if name not in EVERYONES]
    code = f"import autodiff, nn, sys; print(*[m for m in {[f'autodiff.{m}' for m in heavy]!r} if m in sys.modules])"
    few = ["json", "hashlib", "logging", "pathlib", "pickle", "uuid"]
    few += ["ast", "inspect", "dataclasses"]  # and what these bring
    code += f"; print(*[m for m in {few!r} if m in sys.modules])"
    shown = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split() == []


@pytest.mark.parametrize("path", modules("nn"), ids=lambda path: path.stem)
def test_networks_use_only_what_the_engine_offers_everyone(path: Path) -> None:
    for node, name in imports(path):
        if name.split(".")[0] != "autodiff":
            continue
        assert name == "autodiff", f"{path.name} reaches into {name}"
        if isinstance(node, ast.ImportFrom):
            private = {alias.name for alias in node.names} - set(public("autodiff"))
            assert not private, f"{path.name} imports {sorted(private)}, which autodiff.__all__ does not name"


def test_a_fresh_import_loads_nothing_outside_the_standard_library() -> None:
    loaded = json.loads(run_python("import json, autodiff, nn; print(json.dumps(sorted(sys.modules)))"))
    foreign = {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert foreign - {"__main__", "autodiff", "nn"} == set()


def test_importing_prints_nothing_and_starts_nothing() -> None:
    code = "import threading, autodiff, nn; print(threading.active_count())"
    assert run_python(code).strip() == "1"


# ---- what is public


@pytest.mark.parametrize("package", PACKAGES)
def test_type_hints_are_shipped(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_listed_once(package: str) -> None:
    names = public(package)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("package", PACKAGES)
def test_the_package_file_only_re_exports(package: str) -> None:
    tree = ast.parse((ROOT / package / "__init__.py").read_text("utf-8"))
    made = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.For)]
    assert {node.name for node in made if isinstance(node, ast.FunctionDef)} <= {"__getattr__", "__dir__"}
    assert not [node for node in made if not isinstance(node, ast.FunctionDef)]


def test_names_that_wait_come_from_where_type_checkers_see_them() -> None:
    tree = ast.parse((ROOT / "autodiff" / "__init__.py").read_text("utf-8"))
    (block,) = [node for node in tree.body if _type_checking_only(node)]
    seen = {
        alias.name: node.module for node in ast.walk(block) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    waiting: dict[str, str] = vars(autodiff)["_WAITING"]
    assert {name: f"autodiff.{module}" for name, module in waiting.items()} == seen
    for name, module in seen.items():
        assert getattr(autodiff, name) is getattr(sys.modules[str(module)], name)
    code = "import autodiff; print(*dir(autodiff)); print(autodiff.draw.__name__, 'draw' in vars(autodiff))"
    listed, drawn = run_python(code).splitlines()
    assert set(public("autodiff")) <= set(listed.split())
    assert drawn == "draw True"


def test_a_name_that_the_package_lacks_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(AttributeError, match="module 'autodiff' has no attribute 'drav'") as caught:
        getattr(autodiff, "drav")  # noqa: B009
    assert caught.value.name == "drav"
    assert caught.value.obj is autodiff
    with pytest.raises(ImportError, match="cannot import name 'drav' from 'autodiff'"):
        exec("from autodiff import drav", {})


@pytest.mark.parametrize(("package", "name"), PUBLIC)
def test_a_public_name_exists(package: str, name: str) -> None:
    assert hasattr(importlib.import_module(package), name)


@pytest.mark.parametrize(("package", "name"), CALLABLE)
def test_a_public_callable_is_documented_by_an_example(package: str, name: str) -> None:
    item = getattr(importlib.import_module(package), name)
    text = inspect.getdoc(item) or ""
    assert text, f"{package}.{name} has no docstring"
    if not isinstance(item, autodiff.Primitive):  # rows of the table are documented together
        assert ">>> " in text, f"{package}.{name} has no example"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_is_named_like_a_function_it_exports(package: str) -> None:
    home = importlib.import_module(package)
    exported = {name for name in public(package) if not inspect.ismodule(getattr(home, name))}
    assert not {path.stem for path in modules(package)} & exported


# ---- what the files say


def test_nothing_is_required_at_run_time() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["dependencies"] == []
    assert project["requires-python"] == ">=3.11"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_level_mutable_state_through_global(package: str) -> None:
    for path in modules(package):
        assert not re.search(r"^\s*global\s", path.read_text("utf-8"), re.MULTILINE), path
