# Every target does its own set-up: Python 3.11 or newer, make and a package registry are all it needs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
TOOLS := .tools
UV = $(shell command -v uv 2>/dev/null || echo $(TOOLS)/bin/uv)
VENV := .venv
RUN := $(VENV)/bin
READY := $(VENV)/.ready

ifeq ($(shell uname -s)$(shell ldconfig -p 2>/dev/null | grep -c 'libgomp.so.1 '),Linux0)
export LD_LIBRARY_PATH := $(CURDIR)/.venv/lib/openmp:$(LD_LIBRARY_PATH)
endif
export UV_PYTHON_DOWNLOADS := automatic
unexport PYTHONDONTWRITEBYTECODE
unexport VIRTUAL_ENV

.PHONY: help setup demo test test-quick check fmt bench-tracking bench-features bench-inference openapi migration clean

help: ## List what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

setup: $(READY) ## Create the environment from the lock file

$(READY): pyproject.toml uv.lock
	@[ -n "$(PYTHON)" ] || command -v uv >/dev/null || { echo "Python 3.11 or newer was not found; install it, or set PYTHON=/path/to/python" >&2; exit 1; }
	if [ ! -x "$(UV)" ]; then
	  echo "Installing uv into $(TOOLS)"
	  $(PYTHON) -m venv $(TOOLS) 2>/dev/null || $(PYTHON) -m venv --without-pip $(TOOLS)
	  $(TOOLS)/bin/python -m pip install --quiet uv 2>/dev/null || $(PYTHON) -m pip --python $(TOOLS)/bin/python install --quiet uv \
	    || { echo "could not install uv: on Debian and Ubuntu, apt-get install python3-venv; or install uv yourself" >&2; exit 1; }
	fi
	echo "Creating $(VENV) from uv.lock"
	"$(UV)" sync --frozen --quiet --all-extras --all-groups
	# LightGBM's wheel wants the system's OpenMP; where there is none, scikit-learn's wheel has one to lend.
	bundled=$$(find $(VENV)/lib/ -path '*scikit_learn.libs/libgomp-*' -print -quit)
	if [ -n "$$bundled" ]; then mkdir -p $(VENV)/lib/openmp && ln -sf "$$PWD/$$bundled" $(VENV)/lib/openmp/libgomp.so.1; fi
	touch $(READY)

demo: $(READY) ## Start the platform and take the churn model from data to monitored production
	@$(RUN)/mlops demo

test: $(READY) ## Run the whole suite
	@$(RUN)/python -m pytest -n 2 --dist loadfile --ignore tests/e2e $(PYTEST_ARGS)
	$(RUN)/python -m pytest tests/e2e $(PYTEST_ARGS)
	cd examples/churn && ../../$(RUN)/python -m pytest -q

test-quick: $(READY) ## Run what takes less than ten seconds a test, on SQLite alone
	@$(RUN)/python -m pytest -m "not slow and not postgres" $(PYTEST_ARGS)

check: $(READY) ## Lint, types, layers, lock file, generated files
	@"$(UV)" lock --check --quiet || { echo "uv.lock is not what pyproject.toml asks for: run 'uv lock'" >&2; exit 1; }
	$(RUN)/ruff check --quiet .
	$(RUN)/ruff format --check --quiet . || { echo "run 'make fmt'" >&2; exit 1; }
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/python -m scripts.generate --check

fmt: $(READY) ## Format, and mend what the linter can mend
	@$(RUN)/ruff check --fix --quiet . || true
	$(RUN)/ruff format --quiet .

openapi: $(READY) ## Write the generated references anew
	@$(RUN)/python -m scripts.generate

migration: $(READY) ## Write the initial migration anew from the tables (until the first release)
	@$(RUN)/python -m scripts.initial_migration

bench-tracking: $(READY) ## Measure tracking beside a stock MLflow server
	@$(RUN)/python benchmarks/tracking/run.py

bench-features: $(READY) ## Measure feature reads and joins beside Feast
	@$(RUN)/python benchmarks/features/run.py

clean: ## Remove the environment and caches
	@rm -rf $(VENV) $(TOOLS) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
