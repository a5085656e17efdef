# Haldane: `make demo` shows the main job, `make test` runs every test; both set up what they need.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
CLUSTER ?= haldane
# Side by side: the unit tests keep their cores busy, the api tests wait for most of their time.
UNIT_PROCESSES ?= 2
API_PROCESSES ?= 3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
UV := $(BIN)/uv

# ONNX Runtime's wheels report their use over the network unless told not to.
export ORT_DISABLE_TELEMETRY := 1

.PHONY: help demo test lint unit api e2e fuzz cluster cluster-down images crds models lock bench bench-rollout bench-rivals soak format clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/ready ## Serve a model, promote a better one, roll back a slow and a broken one, on a real cluster
	@$(BIN)/python -m e2e.demo --cluster $(CLUSTER)

test: lint unit api e2e ## Run every check and test: lint, unit, api, e2e

lint: .venv/ready ## Check style, types, import rules and generated files
	@echo "==> lint"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy -p haldane -p haldane_runtime
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m haldane.api.crd --check

unit: .venv/ready ## Test the pure core and each program alone
	@echo "==> unit tests"
	@$(BIN)/python -m e2e.cluster binaries helm
	@$(PYTEST) -n $(UNIT_PROCESSES) --dist worksteal -m "not api and not e2e" --durations=5

api: .venv/ready ## Test against a real kube-apiserver and etcd, without a kubelet
	@echo "==> api tests: kube-apiserver and etcd, the real operator process"
	@$(BIN)/python -m e2e.cluster binaries kube-apiserver kubectl etcd helm
	@$(PYTEST) -n $(API_PROCESSES) --dist worksteal -m api --durations=5

e2e: .venv/ready images ## Test whole scenarios on the kind cluster
	@echo "==> e2e tests: kind, Traefik, Prometheus, SeaweedFS"
	@$(PYTEST) -m e2e e2e/cluster e2e/scenarios --cluster $(CLUSTER)

soak: .venv/ready images ## Edit, kill and break for up to half an hour with traffic on, and hold the laws; SOAK="--seed 7 --seconds 900"
	@$(BIN)/python -m e2e.soak --cluster $(CLUSTER) $(SOAK)

fuzz: .venv/ready ## Send 100,000 spoilt requests over HTTP and as many over gRPC (about half an hour)
	@HALDANE_FUZZ_CASES=100000 $(PYTEST) -s runtime/tests/fuzz

cluster: .venv/ready ## Start (or find) the kind cluster with its add-ons
	@$(BIN)/python -m e2e.cluster up --name $(CLUSTER)

cluster-down: .venv/ready ## Remove the cluster
	@$(BIN)/python -m e2e.cluster down --name $(CLUSTER)

images: cluster ## Build the operator and runtime images and load them into the cluster
	@$(BIN)/python -m e2e.cluster images --name $(CLUSTER)

crds: .venv/ready ## Generate the CRD from the API types
	@$(BIN)/python -m haldane.api.crd

models: .venv/ready ## Train the example models into build/models
	@$(BIN)/python -m examples.train --out build/models

bench: .venv/ready images ## Measure the operator, the runtime beside other servers, and the images, whatever goal is missed; see bench/README.md
	@$(BIN)/python -m e2e.cluster binaries kube-apiserver kubectl etcd
	@$(BIN)/python -m bench

bench-rollout: .venv/ready ## Simulate 10,000 rollouts and more, beside Flagger's and Argo Rollouts' rules
	@$(BIN)/python -m bench.rollout

bench-rivals: .venv/ready images ## Play rollouts on kind with Haldane, Flagger and Argo Rollouts beside each other (about an hour)
	@$(BIN)/python -m bench.rivals --cluster $(CLUSTER) --controllers haldane,flagger,argo

lock: .venv/ready ## Resolve the dependencies anew into locks/
	@$(UV) pip compile -q pyproject.toml --extra dev --universal --generate-hashes --no-emit-index-url --python-version 3.11 -o locks/dev.txt --upgrade
	@bash locks/derive.sh

format: .venv/ready ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only .

clean: ## Remove what was built here (not the cluster, not the caches)
	@rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# uv installs the lock in seconds; its own version is pinned here, since it is not part of the project's lock.
.venv/ready: pyproject.toml locks/dev.txt
	@echo "==> python environment in .venv"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: run make PYTHON=python3.12")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || bash .ci/install-venv "$(PYTHON)"
	@test -x $(UV) || $(BIN)/python -m pip install -q --disable-pip-version-check uv==0.13.9
	@$(UV) pip sync -q --require-hashes locks/dev.txt
	@$(UV) pip install -q --no-deps --editable .
	@touch $@
