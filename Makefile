# How to work on Obelisk. Everything needs Python 3.11 or newer and what pip brings, nothing else;
# only `make acceptance` also needs the Debian packages that .ci/run installs.
#
#   make demo         a server, two workflows, a kill -9 and a recovery, in a temporary directory
#   make test         the tests, without the slow ones (ARGS="-x tests/core" to choose)
#   make check        format, lint, types, import rings, spelling, docs
#   make acceptance   real processes, kill -9, disk faults (a C compiler and strace are needed)
#   make vm           the tests of programs on Debian's kernel in an emulated machine, where control groups hold limits: needs
#                     Debian packages (qemu-system-x86, busybox-static) and some ten minutes (ARGS=tests/... for others)
#   make tutorials    carry out the tutorials that install tools of languages: needs package registries and some minutes
#                     (ARGS=python for one of them)
#   make sim          the engine in simulated worlds: all small ones, 20,000 random ones (SEED=7 repeats one, SEEDS=100
#                     tries fewer)
#   make mutants      break rules of the machine and the engine on purpose; the simulator must notice each (minutes)
#   make budget       count what work costs (commits, rows, bytes, instructions) and compare it with what it may cost;
#                     ARGS=--accept rewrites that
#   make bench        the benchmarks: all, or ARGS="A latency"; ARGS=scale: what grows; ARGS=step: a step's parts
#   make bench-peers  install the engines that `make bench` compares with
#   make format       let ruff rewrite the sources
#   make proto        generate code from the .proto files
#   make clean        remove what the above made
#
# Times on two cores: a fresh .venv about 30 s, then check about 20 s.

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
# How many tests run at once: as many as there are cores. JOBS=0 runs them one after another, in this process.
JOBS ?= auto
SEED ?=
SEEDS ?=

# The first interpreter that is new enough; PYTHON=/path/to/python overrides.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$python"; break; }; done)

.PHONY: help
help:
	@sed -n 's/^#   //p' Makefile

# Made anew only when what it is made from changes.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer (with venv) was not found; set PYTHON=/path/to/python" >&2; exit 1; }
	@echo "making $(VENV) with $(PYTHON)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m compileall -q src/obelisk  # as pip does for what it copies: else each start compiles, where PYTHONDONTWRITEBYTECODE is set
	@touch $(READY)

.PHONY: venv
venv: $(READY)

.PHONY: demo
demo: $(READY)
	@$(BIN)/python examples/fibo/demo.py $(ARGS)

.PHONY: test
test: $(READY)
	@$(BIN)/python -m pytest -q -n $(JOBS) -m "not acceptance" $(ARGS)

# Some of them build components in Python. The tool has an environment of its own, since one beside Obelisk is what
# `obelisk build` and `obelisk dev` take, in tests too that put one of theirs on PATH.
GUESTS := $(VENV)/guests
$(GUESTS)/.ready: $(READY)
	@$(BIN)/python -m venv --clear $(GUESTS)
	@$(GUESTS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt componentize-py
	@touch $@

.PHONY: acceptance
acceptance: $(GUESTS)/.ready
	@PATH="$(CURDIR)/$(GUESTS)/bin:$$PATH" $(BIN)/python -m pytest -q -n $(JOBS) -m acceptance $(ARGS)

.PHONY: vm
vm: $(READY)
	@$(BIN)/python tests/vm/run.py $(ARGS)

.PHONY: tutorials
tutorials: $(READY)
	@$(BIN)/python tests/tutorials/run.py $(ARGS)

.PHONY: check
check: $(READY)
	@$(BIN)/ruff format --check --quiet . || { echo "ruff format: some files are not formatted; run make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports >$(VENV)/lint-imports.txt || { cat $(VENV)/lint-imports.txt >&2; exit 1; }
	@$(BIN)/codespell *.md pyproject.toml benchmarks docs examples src tests
	@$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "check: all is well"

.PHONY: sim
sim: $(READY)
	@$(BIN)/python -m obelisk.testing.sim $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) $(ARGS)

.PHONY: mutants
mutants: $(READY)
	@$(BIN)/python tests/mutants/run.py $(ARGS)

.PHONY: budget
budget: $(READY)
	@PYTHONHASHSEED=0 $(BIN)/python tests/budget/budget.py $(ARGS)

.PHONY: bench
bench: $(READY)
	@$(BIN)/python -m benchmarks $(ARGS)

# Engines to compare with, in an environment of their own: versions in benchmarks/peers/requirements.txt and here.
PEERS := $(VENV)/peers
.PHONY: bench-peers
bench-peers: $(READY)
	@$(BIN)/python -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers/requirements.txt
	@if command -v npm >/dev/null; then \
		npm install --silent --no-fund --no-audit --ignore-scripts --prefix $(PEERS)/node \
			@restatedev/restate-server-linux-x64@1.7.12 && \
		chmod +x $(PEERS)/node/node_modules/@restatedev/restate-server-linux-x64/bin/restate-server; \
	else echo "bench-peers: there is no npm, from which Restate's server comes: it is left out" >&2; fi

.PHONY: format
format: $(READY)
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix . || true

# The generated code is committed; a test compares it with what this makes.
PROTO_DIR := src/obelisk/proto
.PHONY: proto
proto: $(READY)
	@cd src && ../$(BIN)/python -m grpc_tools.protoc -I . --plugin=protoc-gen-mypy=../$(BIN)/protoc-gen-mypy \
		--plugin=protoc-gen-mypy_grpc=../$(BIN)/protoc-gen-mypy_grpc \
		--python_out=. --grpc_python_out=. --mypy_out=quiet:. --mypy_grpc_out=quiet:. obelisk/proto/*.proto

.PHONY: clean
clean:
	@rm -rf $(VENV) docs/_build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
