# The front door of the project: `make help` lists what it can do.
#
# Everything that is made goes into .venv and build/. A stamp file stands for each step, so that a second call repeats
# none of them. A special build (another CPython, other flags) is this file called again with its own values for the
# first five variables: it gets its own environment and target folder, so that no two builds undo each other.

PYTHON ?= python3
VENV := .venv
WHEELS := build/wheels
TARGET := build/target
CFG :=

# What `make test-all` looks for.
VERSIONS := 3.11 3.12 3.13
CARGO_DENY_VERSION := 0.20.2

# More words for pytest: make pytest ARGS="-x -k chain".
ARGS :=

# A worker for each processor, which takes tests from the others when it has none left.
PARALLEL := --numprocesses logical --dist worksteal

# Set once for every build. The remapping keeps the folders of this machine out of what is built.
export RUSTFLAGS := --remap-path-prefix=$(CURDIR)=dask_ferris \
	--remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=cargo $(CFG)
export CARGO_TARGET_DIR := $(abspath $(TARGET))
# Clippy compiles PyO3 for the interpreter that the wheel is built for.
export PYO3_PYTHON := $(abspath $(VENV))/bin/python
# The models of loom in their small form; test-long raises it. What it bounds: docs of the crate loom, "Builder".
export LOOM_MAX_PREEMPTIONS := 3

python := $(VENV)/bin/python
version := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
wheel := $(WHEELS)/*-cp$(subst .,,$(version))-*.whl
wheel_stamp := $(WHEELS)/.built-$(version)
cargo_deny := build/tools/cargo-deny-$(CARGO_DENY_VERSION)
pip_install := $(python) -m pip --disable-pip-version-check install --quiet
cargo_test := cargo test --manifest-path native/Cargo.toml --locked
# Folders count too: a file that goes away touches its folder.
sources := pyproject.toml README.md LICENSE $(shell find dask_ferris native \( -name __pycache__ -o -name tests -o -name target \) -prune -o -print)

# One recipe at a time: two installers in one environment get in each other's way, and cargo uses all cores by itself.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# ---- What users and developers call

.PHONY: demo
demo: $(VENV)/stamps/installed ## Build, and analyse the 2013 flights from New York with Dask, on real data
	$(python) examples/flights.py

.PHONY: test
test: cargo-test loom pytest strict ## Run every test, Rust and Python, against the installed package

.PHONY: test-all
test-all: prerequisites ## Build a wheel and run the contract suite for each CPython of 3.11, 3.12, 3.13 found
	@$(PYTHON) tools/test_all.py $(MAKE) $(VERSIONS)

.PHONY: test-long
test-long: export FERRIS_LONG := 1
test-long: export PROPTEST_CASES := 20000
test-long: export LOOM_MAX_PREEMPTIONS := 5
test-long: cargo-test loom pytest ## Run the full form of the tests that are bounded in `make test`

.PHONY: lint
lint: lint-python lint-rust ## Check style, types, licences, and that _native.pyi says what the module does

.PHONY: docs
docs: $(VENV)/stamps/installed $(VENV)/stamps/docs ## Build the documentation into build/docs
	$(python) -I -m sphinx --fail-on-warning --keep-going --builder html --doctree-dir build/doctrees docs build/docs

.PHONY: bench
bench: $(VENV)/stamps/installed $(VENV)/stamps/bench ## Measure against Dask and write the report to docs/ (QUICK=1: a look, in some minutes)
	QUICK=$(QUICK) $(python) -m benchmarks

.PHONY: wheel
wheel: $(wheel_stamp) ## Build the wheel into build/wheels
	@ls $(wheel)

.PHONY: sdist
sdist: $(VENV)/stamps/base ## Build the source distribution into build/sdist
	$(python) -m maturin sdist --out build/sdist

.PHONY: clean
clean: ## Remove the environments and everything that was built
	rm -rf .venv build .hypothesis

# ---- The parts of test and lint

.PHONY: cargo-test
cargo-test: prerequisites ## Run the tests of the crates that need no Python
	$(cargo_test) --package ferris-core --package ferris-kernels

.PHONY: loom
loom: prerequisites ## Run the loom models: every interleaving of the core's protocols, within a bound
	RUSTFLAGS="$(RUSTFLAGS) --cfg loom" CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)-loom $(cargo_test) --package ferris-core --test loom --release

.PHONY: pytest
pytest: $(VENV)/stamps/installed ## Run the Python tests; ARGS="..." goes to pytest
	$(python) -Im pytest $(PARALLEL) $(ARGS)

# PyO3 keeps references that are dropped without the GIL in a pool, for later; without the pool such a drop aborts.
.PHONY: strict
strict: ## Run the Python tests on a build that aborts where a reference is dropped without the GIL
	$(MAKE) pytest VENV=build/strict WHEELS=build/strict/wheels TARGET=build/target-strict \
		CFG="--cfg pyo3_disable_reference_pool" ARGS='-m "not packaging"'

# The part of the tests that test-all runs for each CPython.
.PHONY: contract
contract: $(VENV)/stamps/installed
	$(python) -Im pytest $(PARALLEL) -rs tests/contract tests/executor tests/cpython $(wildcard tests/exit)

.PHONY: lint-python
lint-python: $(VENV)/stamps/installed $(VENV)/stamps/lint ## The Python half of lint
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy
	$(python) -m mypy --config-file tools/basic/mypy.ini
	$(python) -m basedpyright
	$(python) -m basedpyright --project tools/basic/pyrightconfig.json
	$(python) -P -m mypy.stubtest dask_ferris._native --mypy-config-file pyproject.toml --allowlist tools/stubtest-allowlist.txt
	$(python) -m towncrier build --draft --version next >build/changelog.md

.PHONY: lint-rust
lint-rust: $(VENV)/stamps/base $(cargo_deny) ## The Rust half of lint
	@$(PYTHON) tools/prerequisites.py rustfmt clippy
	cargo fmt --manifest-path native/Cargo.toml --all --check
	cargo clippy --manifest-path native/Cargo.toml --locked --workspace --all-targets -- --deny warnings
	$(cargo_deny) --manifest-path native/Cargo.toml check bans licenses sources

.PHONY: pin
pin: prerequisites ## Write the newest versions that go together into constraints.txt
	$(PYTHON) -m venv --clear build/pin
	$(PYTHON) tools/requirements.py array demo build test lint docs bench >build/pin/requirements.txt
	build/pin/bin/python -m pip --disable-pip-version-check install --quiet --requirement build/pin/requirements.txt
	sed '/^[^#]/d' constraints.txt >build/pin/constraints.txt
	build/pin/bin/python -m pip freeze >>build/pin/constraints.txt
	cp build/pin/constraints.txt constraints.txt

.PHONY: prerequisites
prerequisites:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "prerequisites: '$(PYTHON)' must be a Python >= 3.11; it is: $$($(PYTHON) --version 2>&1)" >&2; \
		echo "prerequisites: name another one: make PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) tools/prerequisites.py

# ---- The environment, the wheel, and the wheel in the environment

$(VENV)/stamps/python-$(version): | prerequisites
	$(PYTHON) -m venv --clear $(VENV)
	mkdir $(VENV)/stamps
	touch $@

$(VENV)/stamps/base: groups := array demo build test
$(VENV)/stamps/lint: groups := lint bench
$(VENV)/stamps/docs: groups := docs
$(VENV)/stamps/bench: groups := bench
$(VENV)/stamps/base $(VENV)/stamps/lint $(VENV)/stamps/docs $(VENV)/stamps/bench: pyproject.toml constraints.txt $(VENV)/stamps/python-$(version)
	$(python) tools/requirements.py $(groups) >$@.txt
	$(pip_install) --constraint constraints.txt --requirement $@.txt
	touch $@

$(wheel_stamp): $(sources) | $(VENV)/stamps/base
	rm -f $(wheel)
	$(python) -m maturin build --release --locked --interpreter $(python) --out $(WHEELS)
	touch $@

$(VENV)/stamps/installed: $(wheel_stamp) $(VENV)/stamps/base
	$(pip_install) --force-reinstall --no-deps $(wheel)
	touch $@

# Built without optimisation: it runs for a second, and optimising it takes another minute and a half.
$(cargo_deny):
	@mkdir -p build/tools
	@if [ "$$(cargo-deny --version 2>/dev/null)" = "cargo-deny $(CARGO_DENY_VERSION)" ]; then \
		ln -sf "$$(command -v cargo-deny)" $@; \
	else \
		env -u RUSTFLAGS -u CARGO_TARGET_DIR cargo install --locked --debug --root build/tools \
			cargo-deny@$(CARGO_DENY_VERSION) && ln -sf bin/cargo-deny $@; \
	fi
