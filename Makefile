# Every target makes the virtual environment it needs in .venv; nothing has to be installed by hand.

# Asked by running it: a version manager's python3.11 may be a shim with nothing behind it.
PYTHON ?= $(shell python3.11 -c "" 2>/dev/null && echo python3.11 || echo python3)
ARGS ?=
VERSIONS ?= 3.11 3.12 3.13

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input
MEASURED := --cov --cov-report=term --cov-fail-under=98

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:  # two pip runs in one environment would trip over each other
.PHONY: help demo test slow versions pyodide lint types format notebooks site bench accuracy kinks mutations clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/has-demo  ## train on Iris and two moons, write pictures to out/ (ARGS="--help" for options)
	@$(PY) -m nn.demo $(ARGS)

# Measuring coverage takes as long again as the tests do, so it is asked for; CI asks.
test: $(VENV)/has-test  ## run the tests and doctests (ARGS="-k name" to choose, COVERAGE=yes to measure coverage)
	@$(PY) -m pytest -n 2 -m "not slow" $(if $(COVERAGE),$(MEASURED)) $(ARGS)

# The variable lets scikit-learn check what estimators do with arrays of other libraries, too.
slow: $(VENV)/has-test  ## run the tests that take long: large graphs, browsers, scikit-learn's rules
	@SCIPY_ARRAY_API=1 $(PY) -m pytest -n 2 -m slow $(ARGS)

versions:  ## run all tests on every Python of VERSIONS (PYTHON312=/path/to/python3.12 if it is not on the PATH)
	@$(PYTHON) -m tests.versions $(VERSIONS) -- $(ARGS)

pyodide: tests/browser/node_modules/pyodide  ## run the packages in Pyodide, the Python of browsers (needs node and npm)
	@node tests/browser/run.mjs

lint: $(VENV)/has-lint  ## check style and formatting
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check

types: $(VENV)/has-lint  ## check types (mypy --strict)
	@$(PY) -m mypy

notebooks: $(VENV)/has-notebooks  ## run all notebooks, fail where an output is stale (ARGS=--write to refresh)
	@$(PY) notebooks/execute.py $(ARGS)

site: $(VENV)/has-site  ## build the page with the tour live in the browser, in out/site (needs npm)
	@$(PY) site/build.py $(ARGS)

format: $(VENV)/has-lint  ## sort imports and format the code
	@$(PY) -m ruff check --select I --fix --quiet
	@$(PY) -m ruff format

# The two variables choose NumPy's kernels on some machines, for older releases than the ones compared here.
bench: $(VENV)/has-bench  ## compare with other engines, write benchmarks/RESULTS.md (ARGS="--quick" to try)
	@env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(PY) -m benchmarks $(ARGS)

accuracy: $(VENV)/has-accuracy  ## count wrong derivatives beside other engines, write docs/accuracy.md (minutes)
	@$(PY) -m benchmarks.accuracy $(ARGS)

kinks: $(VENV)/has-kinks  ## write docs/kinks.md: points without a derivative, beside other engines
	@$(PY) -m benchmarks.kinks $(ARGS)

mutations: $(VENV)/has-test  ## make every local derivative wrong by 0.1%, one at a time: does a test fail? (minutes)
	@$(PY) -m tests.mutations $(ARGS)

clean:  ## remove the environment, caches and results
	rm -rf $(VENV) .venv-* tests/browser/node_modules out build dist .coverage .coverage.* htmlcov
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# has-EXTRA records that the package and that extra are installed; a changed pyproject.toml asks pip again.
$(VENV)/has-%: pyproject.toml | $(PY)
	@echo "Installing chainrule[$*] into $(VENV) (once)"
	@$(PIP) install --quiet --editable ".[$*]"
	@touch $@

tests/browser/node_modules/pyodide: tests/browser/package.json
	@npm install --prefix tests/browser --no-package-lock --no-audit --no-fund --loglevel=error
	@touch $@

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Chainrule needs Python 3.11 or newer, and $(PYTHON) is not: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "$(PYTHON) cannot make environments (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
