# Every target makes what it needs: python3, a C++ compiler and a package registry are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NATIVE := $(shell find native bindings CMakeLists.txt -type f 2>/dev/null)
MODULE := build/module
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
# ON makes warnings of the C++ compiler errors, as .ci/run does.
WERROR ?= OFF

.PHONY: setup demo test test-all test-oldest test-oldest-runtime test-package lock lint bench reports compare docs stub native-test sanitized-test sanitize fuzz fuzz-tools test-arm arm-tools wheel-arm clean help

help:
	@echo "make setup   the environment in .venv; every other target makes it first"
	@echo "make demo    train, pack, verify and time a 1-bit network on the embedded digits (under 5 minutes)"
	@echo "make test    the tests, Python and C++: what finds faults fast (under 5 minutes)"
	@echo "make test-all  every test: long ones, sanitizers, emulated instruction sets, the oldest runtime (under 15 minutes)"
	@echo "make test-oldest  the tests with the oldest releases of all dependencies (downloads 3 GB)"
	@echo "make test-oldest-runtime  what runs packed files, with the oldest releases of what it needs, as in test-all"
	@echo "make test-package  the source distribution and the wheel, built and tried"
	@echo "make native-test  the C++ tests alone; make sanitized-test: under sanitizers, as in test-all"
	@echo "make sanitize  all C++ tests under the sanitizers of addresses, undefined behavior and threads"
	@echo "make fuzz SECONDS=1200  the core and the reader of files under fuzzers, so long each (needs clang)"
	@echo "make wheel-arm  the wheel for 64-bit ARM, in build/wheels, tried on an emulated one"
	@echo "make test-arm  all C++ tests on an emulated 64-bit ARM (needs packages; it says which)"
	@echo "make lint    formatting, types, import rules"
	@echo "make reports tables and pictures of reports/ and README.md, from the committed records; measures nothing"
	@echo "make bench   speed of the kernels, and of whole networks beside other engines (reports/; a quarter of an hour)"
	@echo "make compare BASE=COMMIT  is anything slower than it was there? (reports each row; 10 quiet minutes)"
	@echo "make lock    constraints.txt anew: the exact releases that 'make setup' installs"
	@echo "make docs    the documentation as a site in site/"
	@echo "make clean   removes the environment and everything that was built"
	@echo "make stub    the types of the compiled core, after a change of its bindings"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade -c constraints.txt pip torch
	$(BIN)/python -m pip install --quiet -c constraints.txt scikit-build-core nanobind cmake ninja
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e ".[dev]" \
	  -C build-dir=$(MODULE) -C cmake.define.ONEBIT_TESTS=OFF -C cmake.define.ONEBIT_WERROR=$(WERROR)
	touch $@

demo: setup
	$(BIN)/python examples/demo.py

# What a contributor runs all the time, and what must hold before a change lands. The marker `slow` is explained in
# CONTRIBUTING.md.
PYTEST := $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

test: setup native-test
	$(PYTEST) -m "not slow"

test-all: setup native-test sanitized-test test-oldest-runtime
	$(PYTEST)

# The source distribution, the wheel made of it, and both in an environment of their own.
test-package: setup
	PATH=$(abspath $(BIN)):$$PATH $(BIN)/python tests/packaging/check.py build/package

# With the oldest releases that pyproject.toml allows, on the oldest Python that is here: from the registry, where torch
# for Linux comes with 3 GB of CUDA. Warnings are no errors there: old packages warn of their new dependencies.
OLDEST := build/oldest
OLDEST_PYTHON ?= $(shell for python in python3.10 python3.11 python3.12 python3.13 $(PYTHON); do \
  $$python -c "" 2>/dev/null && command -v $$python && break; done)
# Into the environment $(1); --no-config leaves out the constraint of torch that is for `make lock`.
old-pip = $(BIN)/uv pip install --quiet --no-config --python $(1)/bin/python

test-oldest: setup
	$(BIN)/uv venv --quiet --clear --python $(OLDEST_PYTHON) $(OLDEST)
	$(call old-pip,$(OLDEST)) --resolution lowest-direct -r pyproject.toml --extra train --extra build --extra test
	PATH=$(abspath $(OLDEST))/bin:$$PATH $(call old-pip,$(OLDEST)) --no-deps --no-build-isolation --reinstall-package onebit .
	cd build && ../$(OLDEST)/bin/python -m pytest -q -W default -m "not slow" -c ../pyproject.toml --rootdir .. ../tests

# The same for what runs packed files, without torch: a wheel of the module that is built already, and the tests that
# need nothing else.
RUNTIME := build/oldest-runtime
NEED_TORCH := format/test_file.py format/test_made_up_op.py runtime/test_model.py runtime/test_ops.py
test-oldest-runtime: setup
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(RUNTIME)
	$(call old-pip,$(RUNTIME)) --resolution lowest-direct --only-binary :all: -r pyproject.toml --extra cli "pytest>=8"
	PATH=$(abspath $(BIN)):$$PATH $(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir $(RUNTIME) . \
	  -C build-dir=$(MODULE) -C cmake.define.ONEBIT_TESTS=OFF -C cmake.define.ONEBIT_WERROR=$(WERROR)
	$(call old-pip,$(RUNTIME)) --no-deps $(RUNTIME)/onebit-*.whl
	cd build && ../$(RUNTIME)/bin/python -m pytest -q -W default -m "not slow" --noconftest -c ../pyproject.toml --rootdir .. \
	  $(addprefix ../tests/,golden fuzz format runtime parity/test_kernels.py cli/test_text.py layout/test_writing.py) \
	  $(addprefix --ignore ../tests/,$(NEED_TORCH))

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/clang-format --dry-run --Werror $(filter %.cpp %.h %.inc,$(NATIVE))

# The C++ tests of the very objects that the module is made of, in the same folder.
native-test: setup
	$(call build,$(MODULE),-DONEBIT_TESTS=ON,native_tests)
	$(call run-ctest,$(MODULE),-LE emulated)

# Under the sanitizers: all tests, with a third of the cases where there are hundreds, for addresses and undefined
# behavior, with emulated AVX-512 kernels, which every CPU can run; those of threads for data races. `sanitize` looks for
# either in all of them, on real kernels and emulated ones, which takes long.
THREADED := thread_pool_test threads_test

sanitized-test: setup
	$(call build,build/emulated,-DONEBIT_SANITIZE=address -DONEBIT_ONLY_EMULATED=ON -DONEBIT_EVERY=3,native_tests)
	$(call run-ctest,build/emulated)
	$(call build,build/thread,-DONEBIT_SANITIZE=thread,$(THREADED))
	$(call run-ctest,build/thread,$(call only,$(THREADED)))

sanitize: setup
	$(call build,build/address,-DONEBIT_SANITIZE=address)
	$(call run-ctest,build/address)
	$(call build,build/thread,-DONEBIT_SANITIZE=thread)
	$(call run-ctest,build/thread)

# Arbitrary networks through the core's builder and engine, then altered files through the reader and the engine.
SECONDS := 60
FUZZ := build/fuzz
fuzz: fuzz-tools setup
	$(BIN)/cmake -S . -B $(FUZZ) -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) -DONEBIT_SANITIZE=fuzz \
	  -DCMAKE_CXX_COMPILER=clang++
	$(BIN)/cmake --build $(FUZZ)
	mkdir -p $(FUZZ)/engine
	$(FUZZ)/native/fuzz/fuzz_engine -max_total_time=$(SECONDS) -len_control=0 -max_len=400 -timeout=60 \
	  -rss_limit_mb=10240 -print_final_stats=1 -artifact_prefix=$(FUZZ)/ $(FUZZ)/engine
	-$(BIN)/python -m pip install --quiet atheris
	$(BIN)/python tests/fuzz/loader.py --seconds $(SECONDS) --out $(FUZZ)/loader

fuzz-tools:
	@command -v clang++ >/dev/null || \
	{ echo "the fuzzer of the core needs Clang: apt-get install clang libclang-rt-dev" >&2; exit 1; }

# On a CPU with all that QEMU emulates, then on one without the dot product.
test-arm: arm-tools setup
	$(call build,build/arm,-DCMAKE_TOOLCHAIN_FILE=native/cmake/aarch64.cmake)
	$(call run-ctest,build/arm)
	QEMU_CPU=cortex-a53 $(call run-ctest,build/arm,$(call only,isa_test kernels_test ops_test ops_test_pools))

# The wheel for ARM and the same version of Python, built with Debian's headers for it and tried with its interpreter
# under QEMU: the golden files, every kernel against the reference, and `onebit doctor`.
VERSION = $(shell $(BIN)/python -c "import sys; print('%d.%d' % sys.version_info[:2])")
ARM := $(abspath build/arm-python)
ARM_SITE := build/arm-site
ARM_PYTHON = PYTHONHOME=$(ARM)/usr PYTHONPATH=$(ARM_SITE) $(shell command -v qemu-aarch64-static || command -v qemu-aarch64) \
  -L $(ARM) $(ARM)/usr/bin/python$(VERSION)
ARM_PIP = $(BIN)/python -m pip install --quiet --upgrade --target $(ARM_SITE) --only-binary=:all: --platform linux_aarch64 \
  $(foreach glibc,2014 _2_17 _2_27 _2_28,--platform manylinux$(glibc)_aarch64)

wheel-arm: arm-tools setup
	test -x $(ARM)/usr/bin/python$(VERSION) || native/cmake/arm_python.sh $(ARM) $(VERSION)
	_PYTHON_HOST_PLATFORM=linux-aarch64 SETUPTOOLS_EXT_SUFFIX=.cpython-$(subst .,,$(VERSION))-aarch64-linux-gnu.so \
	  PATH=$(abspath $(BIN)):$$PATH CMAKE_ARGS="-DCMAKE_TOOLCHAIN_FILE=$(CURDIR)/native/cmake/aarch64.cmake \
	  -DPython_INCLUDE_DIR=$(ARM)/usr/include/python$(VERSION) -DCMAKE_CXX_FLAGS=-isystem$(ARM)/usr/include" \
	  $(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/wheels .
	$(ARM_PIP) numpy safetensors "jsonargparse[signatures]" rich pillow pytest
	$(ARM_PIP) --no-deps build/wheels/onebit-*-linux_aarch64.whl
	$(ARM_PYTHON) -m pytest --noconftest -q -p no:cacheprovider tests/golden tests/parity/test_kernels.py
	$(ARM_PYTHON) -m onebit.cli.main doctor

arm-tools:
	@{ command -v aarch64-linux-gnu-g++ && { command -v qemu-aarch64-static || command -v qemu-aarch64; }; } >/dev/null || \
	{ echo "the ARM build needs a cross compiler and an emulator: apt-get install g++-aarch64-linux-gnu qemu-user-static" >&2; \
	exit 1; }

# build: compiles in the folder $(1) with the settings $(2) the targets $(3), or all. run-ctest: runs the tests there that
# the options $(2) choose, or all; `only` makes such options from names.
define build
$(BIN)/cmake -S . -B $(1) -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) -DONEBIT_WERROR=$(WERROR) $(2)
$(BIN)/cmake --build $(1) $(if $(3),--target $(3))
endef
run-ctest = $(BIN)/ctest --test-dir $(1) --output-on-failure --parallel $(JOBS) $(2)
only = -R '^($(subst $(space),|,$(1)))$$'
empty :=
space := $(empty) $(empty)

# constraints.txt anew: the newest releases that fit together, for every Python and system.
lock: setup
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --extra dev --extra bench --upgrade --no-annotate \
	  --custom-compile-command "make lock" --output-file constraints.txt pyproject.toml

$(VENV)/.opponents: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e ".[bench]"
	touch $@

# The records lie in reports/: JSON lines of what was measured, and the finished runs of studies without their weights.
reports: setup $(VENV)/.opponents
	$(BIN)/python benchmarks/speed.py --report --out reports/avx2
	$(BIN)/python benchmarks/networks.py --report
	$(BIN)/python benchmarks/networks.py --report --out reports/avx2
	for name in $(notdir $(patsubst %/table.md,%,$(wildcard reports/*/table.md))); do \
	  $(BIN)/onebit study studies/$$name.yaml --runs reports/$$name --report --seconds 0 || exit 1; done
	$(BIN)/python benchmarks/readme.py

bench: setup $(VENV)/.opponents
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/networks.py

# Whether any row of the working tree is slower than in another commit, both timed in turn.
BASE := main
compare: setup
	$(BIN)/python benchmarks/compare.py $(BASE)

# The types of the compiled module, for whoever checks types; after a change of the bindings.
STUB := src/onebit/_core.pyi
stub: setup
	$(BIN)/python -m nanobind.stubgen -q -m onebit._core -o $(STUB)
	$(BIN)/python -c "import nanobind, pathlib; stub = pathlib.Path('$(STUB)'); stub.write_text( \
	  f'# Written by nanobind {nanobind.__version__} from the compiled module: make stub\n# ruff: noqa: C408\n' + stub.read_text())"
	$(BIN)/ruff format -q $(STUB)

docs: setup
	$(BIN)/mkdocs build --strict

clean:
	rm -rf build site $(VENV)
