# The one entry point. `make demo` and `make test` are all the set-up there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
NATIVE := $(shell find native CMakeLists.txt pyproject.toml -type f 2>/dev/null)
SOURCES := $(shell find src -name '*.py' 2>/dev/null)

.PHONY: demo head test test-all check bench fuzz build format stubs clean

demo: $(VENV)/.compiled
	$(BIN)/python tools/demo.py

# The head of the demo's model, trained again: hours on a CPU; goes on where it was stopped.
head: $(VENV)/.tested $(VENV)/.compiled
	$(BIN)/python -m tools.demo_head make

test: $(VENV)/.tested $(VENV)/.compiled
	$(BIN)/python -m pytest -m "not slow"

test-all: $(VENV)/.tested $(VENV)/.compiled
	$(BIN)/python -m pytest

# mypy reads torch's types, where heads are trained.
check: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $$(find native -name '*.h' -o -name '*.cpp')
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/stubs.py --check

bench: $(VENV)/.tested $(VENV)/.compiled
	$(BIN)/python -m bench.all

fuzz: $(VENV)/.tested
	$(BIN)/python tools/fuzz_gguf.py

format: $(VENV)/.checked
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(find native -name '*.h' -o -name '*.cpp')

stubs: $(VENV)/.built
	$(BIN)/python tools/stubs.py

build: $(VENV)/.compiled

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) "scikit-build-core>=1.1" "nanobind>=3.1" "cmake>=3.24" ninja

# An editable install that keeps its build folder: a second build compiles only what changed.
$(VENV)/.built: $(VENV)/bin/python $(NATIVE) constraints.txt
	$(PIP) --no-build-isolation -e .
	touch $@

# Bytecode, as pip compiles it for what it copies: where Python may not write it itself, every start would compile again.
$(VENV)/.compiled: $(VENV)/.built $(SOURCES)
	$(BIN)/python -m compileall -q src
	touch $@

$(VENV)/.checked: $(VENV)/.built
	$(PIP) --no-build-isolation -e .[dev]
	touch $@

$(VENV)/.tested: $(VENV)/.checked
	$(PIP) --no-build-isolation -e .[dev,test]
	touch $@

clean:
	rm -rf build $(VENV)
