# `make demo` and `make test` do everything from a fresh clone; Python >= 3.10 is all they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test lint bench

help:
	@echo "make demo    train, infill, score and evaluate on a synthetic street; results in runs/demo"
	@echo "make test    lint and tests"
	@echo "make lint    lint alone"
	@echo "make bench   speed and memory against named peers, about 10 minutes; tables, and JSON in runs/benchmarks"
	@echo "make setup   the environment alone, in $(VENV)"
	@echo "PYTHON=python3.12 and VENV=DIR choose another Python and another place"

setup: $(VENV)/.ready

demo: setup
	$(BIN)/python scripts/demo.py --out_dir runs/demo

test: lint
	$(BIN)/python -m pytest -q -n 2

bench: setup
	for name in scan network frames loader scoring sampling end_to_end; do \
		echo; echo "== benchmarks/$$name.py"; $(BIN)/python benchmarks/$$name.py || exit 1; done

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The pinned packages; again when the list changes.
$(VENV)/.packages: requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "$(PYTHON) is not Python 3.10 or newer; name one that is: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@

# The package itself, editable, with its C++ extension where there is a compiler; again when its build changes.
$(VENV)/.ready: $(VENV)/.packages pyproject.toml $(wildcard setup.py ramvid_vad/ops/*.cpp ramvid_vad/ops/*.h)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
