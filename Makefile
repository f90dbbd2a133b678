# Every target makes the virtual environment it needs in .venv; nothing has to be installed by hand.

# Asked by running it: a version manager's python3.11 may be a shim with nothing behind it.
PYTHON ?= $(shell python3.11 -c "" 2>/dev/null && echo python3.11 || echo python3)
ARGS ?=

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input
MINIMUM_COVERAGE := 98

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:  # two pip runs in one environment would trip over each other
.PHONY: help demo test lint types format bench clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/has-demo  ## train on Iris and two moons, write pictures to out/ (ARGS="--help" for options)
	@$(PY) -m nn.demo $(ARGS)

test: $(VENV)/has-test  ## run all tests and doctests, measure coverage (ARGS="-k name" to choose)
	@$(PY) -m pytest -n 2 --cov --cov-report=term --cov-fail-under=$(MINIMUM_COVERAGE) $(ARGS)

lint: $(VENV)/has-lint  ## check style and formatting
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check

types: $(VENV)/has-lint  ## check types (mypy --strict)
	@$(PY) -m mypy

format: $(VENV)/has-lint  ## sort imports and format the code
	@$(PY) -m ruff check --select I --fix --quiet
	@$(PY) -m ruff format

# The two variables choose NumPy's kernels on some machines, for older releases than the ones compared here.
bench: $(VENV)/has-bench  ## compare with other engines, write benchmarks/RESULTS.md (ARGS="--quick" to try)
	@env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(PY) -m benchmarks $(ARGS)

clean:  ## remove the environment, caches and results
	rm -rf $(VENV) out build dist .coverage .coverage.* htmlcov
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# has-EXTRA records that the package and that extra are installed; a changed pyproject.toml asks pip again.
$(VENV)/has-%: pyproject.toml | $(PY)
	@echo "Installing chainrule[$*] into $(VENV) (once)"
	@$(PIP) install --quiet --editable ".[$*]"
	@touch $@

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Chainrule needs Python 3.11 or newer, and $(PYTHON) is not: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "$(PYTHON) cannot make environments (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
