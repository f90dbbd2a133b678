"""Run all tables, each in a process of its own, and keep what they print in RESULTS.md."""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = (
    "rosenbrock",
    "black_scholes",
    "robot_arm",
    "mixture",
    "two_moons",
    "rosenbrock_hessian",
    "first_call",
    "gradient_cost",
    "growth",
    "expression",
    "estimators",
    "backends",
    "scaling",
)
PACKAGES = (
    "micrograd",
    "torch",
    "jax",
    "jaxlib",
    "autograd",
    "casadi",
    "xad",
    "numpy",
    "scipy",
    "numba",
    "scikit-learn",
)
# Linear algebra and tensors stay in one thread: the examples are small, and scalar engines have no other.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}

METHOD = """\
How it was measured (`benchmarks/harness.py`): all engines of a table run in one process. First their results are
compared, and a difference above 1e-9 stops everything. Then they take turns, each making as many calls as fit into a
twentieth of a second, but at least three, for eleven rounds, forwards and backwards; a call that takes longer than a
quarter of a second is measured in two rounds. Each turn ends with a garbage collection, which counts: everybody clears
up what their own calls left behind. Times are medians in microseconds. The number in brackets is the median of the
ratios to the first row in the same round, below 1 where the other engine is faster: on a shared machine, whose speed
changes from one second to the next, ratios are the steadier. Everything is computed in double precision, on small data
that needs no second thread, and with the garbage collector on. "By hand" is what a careful person would write, using
everything known about the derivative.

Absolute times differ from machine to machine; the ratios differ less. Run it yourself with `make bench`.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scripts named, or all; write the report if all of them ran in full."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"tables to run: {', '.join(SCRIPTS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="few and short rounds, no report")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where RESULTS.md and pictures go")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(SCRIPTS):
        parser.error(f"there is no table {', '.join(sorted(unknown))}: choose from {', '.join(SCRIPTS)}")
    folder: Path | None = options.output or (None if options.quick or options.names else HERE)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    parts = [introduction()]
    print(parts[0])
    for name in options.names or SCRIPTS:
        part, code = run(name, options.quick, folder)
        if code:
            print(f"{name} failed: no report is written", file=sys.stderr)
            return code
        parts.append(part)
    print(f"All tables took {time.monotonic() - began:.0f} seconds.", file=sys.stderr)
    if folder:
        (folder / "RESULTS.md").write_text("\n".join(parts).rstrip("\n") + "\n", encoding="utf-8")
    return 0


def run(name: str, quick: bool, folder: Path | None) -> tuple[str, int]:
    """Run one script, passing on what it prints line by line; return that and the exit code."""
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    command += ["--quick"] if quick else []
    command += ["--plots", str(folder)] if folder else []
    lines = []
    with subprocess.Popen(
        command, cwd=HERE.parent, env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    return "".join(lines), process.returncode


# ---- the head of the report


def introduction() -> str:
    """Say what is compared, how, and on what."""
    return "\n".join(["# Benchmarks", "", METHOD, *facts(), ""])


def facts() -> Iterator[str]:
    """List the machine and the versions."""
    yield f"- {date.today():%d %B %Y}, {platform.system()} on {processor()}, {os.cpu_count()} cores"
    yield f"- {platform.python_implementation()} {platform.python_version()}"
    installed = [f"{package} {found}" for package in PACKAGES if (found := installed_version(package))]
    yield f"- {', '.join(installed) or 'no other engine'}"


def processor() -> str:
    """Name the processor's model and architecture, and nothing else about the machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else 'an unknown processor'} ({platform.machine()})"


def installed_version(package: str) -> str | None:
    """Return a package's version without the name of its build, or None."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
