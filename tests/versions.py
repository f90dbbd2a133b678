"""Run the test suite on several Pythons: `make versions`, or `python -m tests.versions 3.12 3.13 -- -k relu`.

Python 3.12 is `python3.12` on the PATH, or what the variable PYTHON312 names, and so on. Each has an environment of its
own in `.venv-3.12`. A Python that is missing is a failure, for then nothing is known about it. What comes after `--`
is for pytest.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRA = "test"


def variable(version: str) -> str:
    """Name the variable that says where a Python is.

    >>> variable("3.12")
    'PYTHON312'
    """
    return f"PYTHON{version.replace('.', '')}"


def find(version: str, environment: Mapping[str, str]) -> str | None:
    """Find a Python of this version that answers: a version manager's `python3.12` may have nothing behind it."""
    named = environment.get(variable(version))
    candidates = [named] if named else [shutil.which(f"python{version}", path=environment.get("PATH")), sys.executable]
    return next((python for python in candidates if python and answer(python) == version), None)


def answer(python: str) -> str:
    """Ask a Python for its version, such as "3.12"; what is no Python has none."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        asked = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return asked.stdout.strip()


def prepare(version: str, python: str, root: Path = ROOT) -> Path:
    """Make the environment, or bring it up to date if pyproject.toml has changed; return its Python."""
    home = root / f".venv-{version}"
    own = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    done, wanted = home / f"has-{EXTRA}", (root / "pyproject.toml").stat().st_mtime
    if done.exists() and done.stat().st_mtime >= wanted:
        return own
    if not own.exists():
        subprocess.run([python, "-m", "venv", str(home)], check=True)
    pip = [str(own), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
    subprocess.run([*pip, "--editable", f"{root}[{EXTRA}]"], check=True)
    done.touch()
    return own


def suite(python: str | Path, arguments: Sequence[str]) -> int:
    """Run the suite and return pytest's exit status. Coverage is measured elsewhere, by `make test`."""
    # Two environments must not share a cache: what one wrote, the other would take for its own.
    options = ["-p", "no:cacheprovider", "-q", "-n", "2"]
    return subprocess.run([str(python), "-m", "pytest", *options, *arguments], cwd=ROOT).returncode


def check(version: str, arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run the suite on one version; return what went wrong, or nothing."""
    python = find(version, environment)
    if python is None:
        where = environment.get(variable(version))
        if where:
            return f"{variable(version)}={where} is not Python {version}"
        return f"not found: put python{version} on the PATH, or give {variable(version)}=/path/to/python{version}"
    try:
        own = prepare(version, python)
    except subprocess.CalledProcessError as error:
        return f"cannot make .venv-{version}: {error}"
    status = suite(own, arguments)
    return f"pytest ended with status {status}" if status else ""


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the suite on each version, and say at the end how each fared."""
    cut = list(arguments).index("--") if "--" in arguments else len(arguments)
    versions, options = arguments[:cut], arguments[cut + 1 :]
    if not versions:
        sys.stderr.write("which Pythons? Such as: python -m tests.versions 3.11 3.12 3.13\n")
        return 2
    found = {}
    for version in versions:
        sys.stdout.write(f"---- Python {version}\n")
        sys.stdout.flush()
        found[version] = check(version, options, environment)
    for version, problem in found.items():
        sys.stdout.write(f"Python {version}: {problem or 'all tests passed'}\n")
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
