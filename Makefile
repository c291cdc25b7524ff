# `make demo` and `make test` do everything from a fresh clone; Python >= 3.10 is all they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TOOLS := .venv-tools
LOCKED := -m pip install --quiet --require-hashes --only-binary :all:

.PHONY: help setup demo test lint bench gpu-check lock licences sbom

help:
	@echo "make demo    train, infill, score and evaluate on a synthetic street; results in runs/demo"
	@echo "make test    lint and tests"
	@echo "make lint    lint alone"
	@echo "make bench   speed and memory against named peers, about 10 minutes; tables, and JSON in runs/benchmarks"
	@echo "make gpu-check   all that a GPU can settle (docs/gpu.md); PART=..., DRY=1: on the CPU, at tiny sizes"
	@echo "make setup   the environment alone, in $(VENV): locked versions, each file checked against its hash"
	@echo "make sbom    what is installed, with licences, as a software bill of materials: runs/sbom.json (CycloneDX)"
	@echo "make lock    the locked requirements again, from requirements-dev.in; UPGRADE=1: the newest versions"
	@echo "make licences   the table of docs/licences.md again, from what is installed"
	@echo "PYTHON=python3.12 and VENV=DIR choose another Python and another place"

setup: $(VENV)/.ready

demo: setup
	$(BIN)/python scripts/demo.py --out_dir runs/demo

test: lint
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

bench: setup
	for name in scan recurrence network frames loader scoring sampling encode end_to_end; do \
		echo; echo "== benchmarks/$$name.py"; $(BIN)/python benchmarks/$$name.py || exit 1; done

# Needs no environment of its own: on a machine with a GPU, the Python that has PyTorch (PYTHON=...).
gpu-check:
	$(PYTHON) benchmarks/gpu/check.py $(if $(PART),--part $(PART)) $(if $(DRY),--dry)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Sorted, without a date or serial number: the same environment gives the same bytes.
sbom: setup $(TOOLS)/.ready
	mkdir -p runs
	$(TOOLS)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml \
		--output-reproducible --output-format JSON --output-file runs/sbom.json

# Every version with the hashes of all its files, for Python 3.10 and newer on Linux; what is locked stays unless
# requirements-dev.in forbids it or UPGRADE is set. PyTorch and what its CUDA build alone brings go to a file of their
# own: requirements-torch-cpu.txt, by hand, is its other build.
COMPILE := UV_CUSTOM_COMPILE_COMMAND="make lock" $(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.10 \
	--generate-hashes --no-annotate --only-binary :all: $(if $(UPGRADE),--upgrade)
lock: $(TOOLS)/.ready
	cat requirements-dev.txt requirements-torch-cuda.txt > $(TOOLS)/locked.txt
	$(COMPILE) requirements-dev.in --output-file $(TOOLS)/locked.txt
	awk '/^[^ ]/ { cuda = /^(torch==|triton==|cuda-|nvidia-)/ } { print > ("requirements-" (cuda ? "torch-cuda" : "dev") ".txt") }' \
		$(TOOLS)/locked.txt
	$(COMPILE) supply/requirements-tools.in --output-file supply/requirements-tools.txt

# The page down to its table is written by hand.
licences: setup $(TOOLS)/.ready
	sed '/^| Name /,$$d' docs/licences.md > $(TOOLS)/licences.md
	$(TOOLS)/bin/pip-licenses --python $(BIN)/python --format markdown --no-version \
		--ignore-packages ramvid_vad >> $(TOOLS)/licences.md
	cp $(TOOLS)/licences.md docs/licences.md

$(TOOLS)/.ready: supply/requirements-tools.txt
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python $(LOCKED) --requirement $<
	touch $@

# The locked packages; again when a list changes. Where an index offers torch's CUDA build alone, that one.
$(VENV)/.packages: $(foreach name,dev torch-cpu torch-cuda,requirements-$(name).txt)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "$(PYTHON) is not Python 3.10 or newer; name one that is: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(LOCKED) -r requirements-torch-cpu.txt -r requirements-dev.txt || \
		{ echo "torch's CPU build is not to be had for this Python here: its CUDA build, several GB" && \
		$(BIN)/python $(LOCKED) -r requirements-torch-cuda.txt -r requirements-dev.txt; }
	touch $@

# The package itself, editable, with its C++ extension where there is a compiler; again when its build changes.
$(VENV)/.ready: $(VENV)/.packages pyproject.toml $(wildcard setup.py ramvid_vad/ops/*.cpp ramvid_vad/ops/*.h)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
