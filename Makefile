# Every target makes what it needs: python3, a C++ compiler and a package registry are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NATIVE := $(shell find native bindings CMakeLists.txt -type f 2>/dev/null)
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: setup demo test lint bench docs native-test clean help

help:
	@echo "make demo    train, pack, verify and time a 1-bit network on the embedded digits (under 5 minutes)"
	@echo "make test    all tests, Python and C++"
	@echo "make lint    formatting, types, import rules"
	@echo "make bench   speed of the kernels and of whole networks (JSON lines in reports/)"
	@echo "make docs    the documentation as a site in site/"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade -c constraints.txt pip torch
	$(BIN)/python -m pip install --quiet -c constraints.txt scikit-build-core nanobind cmake ninja
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e ".[dev]"
	touch $@

demo: setup
	$(BIN)/python examples/demo.py

test: setup native-test
	$(BIN)/python -m pytest -q -n $(JOBS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/clang-format --dry-run --Werror $(filter %.cpp %.h %.inc,$(NATIVE))

# The C++ tests twice: as it is shipped, and under address and undefined-behaviour sanitizers.
native-test: setup
	$(call ctest,build/native,-DONEBIT_SANITIZE=OFF)
	$(call ctest,build/sanitized,-DONEBIT_SANITIZE=ON)

define ctest
$(BIN)/cmake -S . -B $(1) -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) $(2)
$(BIN)/cmake --build $(1)
$(BIN)/ctest --test-dir $(1) --output-on-failure
endef

bench: setup
	$(BIN)/python benchmarks/speed.py

docs: setup
	$(BIN)/mkdocs build --strict

clean:
	rm -rf build site $(VENV)
