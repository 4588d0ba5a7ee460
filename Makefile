# One word for each thing a developer does. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FEAST := .venv-feast
BUNDLES := .venv-bundles
CODE := trainhouse_loader app workers standalone migrations tests benchmarks
TESTS ?= tests --ignore tests/chaos --ignore tests/feast --ignore tests/bundles
SPREAD ?= -n 2 --dist loadfile
FAULTS ?= 300
TABLES ?= given
SYSTEMS ?= trainhouse flaml h2o autogluon optuna
SEEDS ?= 3
override SECONDS := $(if $(filter command line,$(origin SECONDS)),$(SECONDS),60)
EXTRAS := xgboost catboost onnx
RESOLVE := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1

.PHONY: help setup demo up test test-feast test-bundles check format formatted lint types imports openapi openapi-check lock bench bench-peers bench-report chaos chaos-slice clean

help:  ## List these words
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Make .venv with trainhouse and everything it needs, from requirements.lock

$(STAMP): requirements.lock pyproject.toml .ci/setup
	@PYTHON=$(PYTHON) VENV=$(VENV) .ci/setup
	@touch $@

demo: setup  ## Train, gate and register a model on real data, on this machine
	@$(BIN)/trainhouse demo

up: setup  ## Start the whole service on this machine; Ctrl-C stops it
	@$(BIN)/trainhouse up

test: setup  ## Run the tests; TESTS=tests/unit runs a part
	$(BIN)/python -m pytest $(SPREAD) $(TESTS)

test-feast: setup $(FEAST)/.installed  ## Run the tests against real Feast servers, in a venv of their own
	$(BIN)/python -m pytest tests/feast

$(FEAST)/.installed: requirements-feast.lock
	@if [ -x $(BIN)/uv ]; then \
	  $(BIN)/uv venv --quiet --clear --python $(BIN)/python $(FEAST); \
	  $(BIN)/uv pip install --quiet --compile-bytecode --python $(FEAST)/bin/python --require-hashes -r requirements-feast.lock; \
	else \
	  $(PYTHON) -m venv --clear $(FEAST); \
	  $(FEAST)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-feast.lock; \
	fi
	@touch $@

test-bundles: setup $(BUNDLES)/.installed  ## Open bundles where nothing of the service is: the loader alone, MLflow, ONNX Runtime
	$(BIN)/python -m pytest tests/bundles

$(BUNDLES)/.installed: requirements.lock requirements-mlflow.lock tests/bundles/environments.py $(wildcard trainhouse_loader/*.py trainhouse_loader/*/*.py trainhouse_loader/pyproject.toml)
	@$(BIN)/python -m tests.bundles.environments $(BUNDLES)
	@touch $@

check: setup formatted lint types imports openapi-check test test-bundles chaos-slice  ## Everything that CI asks: format, lint, types, contracts, OpenAPI, tests

format: setup  ## Lay out the code
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix --select I $(CODE)

formatted: setup  ## Check the layout of the code
	$(BIN)/ruff format --check $(CODE)

lint: setup  ## Check the code against ruff's rules
	$(BIN)/ruff check $(CODE)

types: setup  ## Check the types
	$(BIN)/mypy

imports: setup  ## Check who imports whom
	$(BIN)/lint-imports --no-logo

openapi: setup  ## Write docs/openapi.json from the code
	$(BIN)/python -m app.openapi

openapi-check: setup  ## Check that docs/openapi.json is what the code says
	@made=$$(mktemp) && trap 'rm -f $$made' EXIT && $(BIN)/python -m app.openapi $$made && cmp -s docs/openapi.json $$made \
	  || { echo "docs/openapi.json is not what the code says: run 'make openapi' and commit it"; exit 1; }

lock: setup  ## Resolve pyproject.toml anew into the three lock files, and what Feast and MLflow need into two more
	$(BIN)/uv pip compile pyproject.toml $(EXTRAS:%=--extra %) --extra worker --extra standalone --extra dev $(RESOLVE) -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml -c requirements.lock $(RESOLVE) -o requirements-api.lock
	$(BIN)/uv pip compile pyproject.toml --extra worker $(EXTRAS:%=--extra %) -c requirements.lock $(RESOLVE) -o requirements-worker.lock
	$(BIN)/uv pip compile requirements-feast.in $(RESOLVE) -o requirements-feast.lock
	$(BIN)/uv pip compile requirements-mlflow.in $(RESOLVE) -o requirements-mlflow.lock

bench: setup  ## Run the short benchmarks, one table each
	@for script in engine_start overhead parallel_trials reuse estimates preparation; do \
	  echo "== benchmarks/$$script.py"; $(BIN)/python -m benchmarks.$$script; done

bench-peers: setup  ## Run FLAML, H2O, AutoGluon, Optuna, Trainhouse: TABLES= SEEDS= SECONDS= SYSTEMS= DATA= STOP_AFTER= ANEW=
	$(BIN)/python -m benchmarks.peers.environments $(filter-out trainhouse,$(SYSTEMS))
	$(BIN)/python -m benchmarks.peers.tables --tables $(TABLES) --seeds $(SEEDS) $(if $(DATA),--data $(DATA))
	$(BIN)/python -m benchmarks.peers.run --tables $(TABLES) --systems $(SYSTEMS) --seeds $(SEEDS) --seconds $(SECONDS) \
	  $(if $(DATA),--data $(DATA)) $(if $(STOP_AFTER),--stop-after $(STOP_AFTER)) $(if $(ANEW),--anew $(ANEW))

bench-report: setup  ## Write what they reached within SECONDS= into docs/benchmarks.md; this reads the scores
	$(BIN)/python -m benchmarks.peers.report --seconds $(SECONDS)

chaos: setup  ## Kill processes at random, FAULTS times (300), and count what was lost
	CHAOS_FAULTS=$(FAULTS) $(BIN)/python -m pytest -s tests/chaos

chaos-slice: setup  ## The first eight faults of that campaign
	CHAOS_FAULTS=8 $(BIN)/python -m pytest -s tests/chaos

clean:  ## Remove what setup and the tools made; data folders stay
	rm -rf $(VENV) $(FEAST) $(BUNDLES) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
