# Every target does its own set-up: Python 3.11 or newer, make and a package registry are all it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
RUN := $(VENV)/bin
READY := $(VENV)/.ready
CONSOLE := src/ml_platform/server/static/console/index.html
CONSOLE_SOURCES := $(shell find console/src console/public -type f ! -name schema.d.ts) console/index.html console/vite.config.ts console/tsconfig.json console/package.json console/package-lock.json scripts/console.sh docs/reference/openapi.json

ifeq ($(shell uname -s)$(shell ldconfig -p 2>/dev/null | grep -c 'libgomp.so.1 '),Linux0)
export LD_LIBRARY_PATH := $(CURDIR)/.venv/lib/openmp:$(LD_LIBRARY_PATH)
endif
export UV_PYTHON_DOWNLOADS := automatic
unexport PYTHONDONTWRITEBYTECODE
unexport VIRTUAL_ENV

# One process holds one workflow engine and one MLflow store: what opens its own runs in processes of its own.
ALONE := tests/integrations/mlflow tests/integrations/dbos
# These start a whole platform of their own, one after the other.
WHOLE := tests/server/test_openapi_fuzz.py tests/server/test_bucket.py tests/server/test_audit_archive.py tests/services/policies tests/cli/test_policies.py tests/services/deployments/test_online_redis.py tests/e2e

.PHONY: help setup bad-canary canary-errors console screenshots demo test test-quick test-torch fuzz fuzz-inference check fmt bench-api bench-tracking bench-features bench-isolation bench-models bench-overhead bench-serving openapi kill-rollouts migration soak-inference tamper-audit clean

help: ## List what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

setup: $(READY) ## Create the environment from the lock file

$(READY): pyproject.toml uv.lock scripts/setup.sh
	@./scripts/setup.sh

console: $(CONSOLE) ## Build the web console

# Where no package registry has what the console is made of, everything else works, and says what is missing.
$(CONSOLE): $(CONSOLE_SOURCES) | $(READY)
	@./scripts/console.sh build || { [ $$? = 3 ] && echo "THE CONSOLE IS NOT BUILT: its packages could not be installed. Everything else works." >&2; }

# All screens, of which docs/images holds those that the documents show.
screenshots: $(READY) $(CONSOLE) ## Take pictures of every screen of the console into build/screenshots
	@CONSOLE_SCREENSHOTS=build/screenshots $(RUN)/python -m pytest tests/e2e/test_console.py -q -k "is_there"

demo: $(READY) $(CONSOLE) ## Start the platform and take the churn model from data to monitored production
	@$(RUN)/mlops demo

test: $(READY) $(CONSOLE) ## Run the whole suite
	@$(RUN)/python -m scripts.run_tests --processes 2 tests $(addprefix --ignore ,$(ALONE) $(WHOLE)) $(PYTEST_ARGS)
	@$(RUN)/python -m scripts.run_tests --processes 2 $(ALONE) $(PYTEST_ARGS)
	@$(RUN)/python -m scripts.run_tests $(WHOLE) $(PYTEST_ARGS)
	@cd examples/churn && ../../$(RUN)/python -m pytest -q

test-quick: $(READY) ## Run what takes less than ten seconds a test, on SQLite alone
	@$(RUN)/python -m pytest -m "not slow and not postgres" $(PYTEST_ARGS)

test-torch: $(READY) ## Run the tests of PyTorch models, which install it (several GB)
	@MLOPS_TEST_TORCH=1 $(RUN)/python -m pytest tests/integrations/modelbuild/test_networks.py $(PYTEST_ARGS)

FUZZ_EXAMPLES ?= 100
SOAK_SECONDS ?= 1800

fuzz: $(READY) ## Send generated requests to every operation, on both databases (FUZZ_EXAMPLES of each kind)
	@FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(RUN)/python -m pytest tests/server/test_openapi_fuzz.py -s -o timeout=0

ROLLOUT_KILLS ?= 200

kill-rollouts: $(READY) ## Kill the control plane at random moments of rollouts (ROLLOUT_KILLS times), and report
	@ROLLOUT_KILLS=$(ROLLOUT_KILLS) $(RUN)/python -m pytest tests/services/deployments/test_crash.py -k Random -q

BAD_CANARIES ?= 100

bad-canary: $(READY) ## Deploy BAD_CANARIES bad versions on live traffic, and good ones beside them, and report
	@PYTHONPATH=. $(RUN)/python benchmarks/bad_canary/run.py --canaries $(BAD_CANARIES) $(BENCH_ARGS)

canary-errors: $(READY) ## Draw canaries by the thousand: how often drift of their answers is found, and seen wrongly
	@PYTHONPATH=. $(RUN)/python benchmarks/bad_canary/errors.py $(BENCH_ARGS)

FUZZ_PAYLOADS ?= 100000

fuzz-inference: $(READY) ## Send bad payloads over V1, V2, gRPC and MLflow scoring (FUZZ_PAYLOADS of them), and report
	@FUZZ_PAYLOADS=$(FUZZ_PAYLOADS) FUZZ_REPORT=benchmarks/reports/fuzz_inference.md $(RUN)/python -m pytest tests/inference/v2/test_fuzz.py -q -o timeout=0

check: $(READY) ## Lint, types, layers, lock file, generated files
	@"$$(./scripts/setup.sh --print-uv)" lock --check --quiet || { echo "uv.lock is not what pyproject.toml asks for: run 'uv lock'" >&2; exit 1; }
	@$(RUN)/ruff check --quiet .
	@$(RUN)/ruff format --check --quiet . || { echo "run 'make fmt'" >&2; exit 1; }
	@$(RUN)/mypy
	@$(RUN)/lint-imports
	@$(RUN)/python -m scripts.generate --check
	@./scripts/console.sh check || { [ $$? = 3 ] && echo "THE CONSOLE IS NOT CHECKED: its packages could not be installed" >&2; }

fmt: $(READY) ## Format, and mend what the linter can mend
	@$(RUN)/ruff check --fix --quiet . || true
	@$(RUN)/ruff format --quiet .
	@./scripts/console.sh fmt

openapi: $(READY) ## Write the generated references anew
	@$(RUN)/python -m scripts.generate

migration: $(READY) ## Write the initial migration anew from the tables (until the first release)
	@$(RUN)/python -m scripts.initial_migration

bench-api: $(READY) ## Measure the API under 100 users
	@$(RUN)/python benchmarks/control_plane/run.py

bench-tracking: $(READY) ## Measure tracking beside a stock MLflow server
	@$(RUN)/python benchmarks/tracking/run.py

bench-isolation: $(READY) ## Measure what a model's callers notice of models that go wrong beside it
	@PYTHONPATH=. $(RUN)/python benchmarks/isolation/run.py $(BENCH_ARGS)

bench-overhead: $(READY) ## Measure what a request costs in each protocol, and metrics and traces of it
	@PYTHONPATH=. $(RUN)/python benchmarks/overhead/run.py $(BENCH_ARGS)

bench-models: $(READY) ## Measure 200 models in one inference server beside one
	@$(RUN)/python benchmarks/models/run.py

bench-features: $(READY) ## Measure feature reads and joins beside Feast
	@$(RUN)/python benchmarks/features/run.py
	@$(RUN)/python benchmarks/features/over_http.py

bench-serving: $(READY) ## Measure predictions beside FastAPI, MLflow, MLServer, KServe, BentoML, LitServe and Ray
	@$(RUN)/python benchmarks/serving/run.py $(BENCH_ARGS)

AUDIT_TAMPERINGS ?= 10000

tamper-audit: $(READY) ## Tamper with exports and archives of the audit log in every way (AUDIT_TAMPERINGS times each)
	@AUDIT_TAMPERINGS=$(AUDIT_TAMPERINGS) $(RUN)/python -m pytest tests/services/audit -q -o timeout=0

soak-inference: $(READY) ## Kill inference workers and swap models for half an hour at half load (SOAK_SECONDS)
	@PYTHONPATH=. $(RUN)/python benchmarks/inference_soak/run.py --seconds $(SOAK_SECONDS)

clean: ## Remove the environment and caches
	@rm -rf $(VENV) .tools console/node_modules src/ml_platform/server/static .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
