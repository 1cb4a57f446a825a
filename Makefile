# `make demo` to try it, `make test` to check it. Both set up what they need.
PY := .venv/bin/python
UV := .venv/bin/uv
PYTHON3 ?= python3
HOST ?= 127.0.0.1
PORT ?= 8080

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench soak train-setup train contract-lmdeploy contract-others bench-lmdeploy gateway-soak

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t16

# Two marks: what the service needs to run, and what its tests need on top.
.venv/.runs: pyproject.toml uv.lock scripts/bootstrap.py
	$(PYTHON3) scripts/bootstrap.py
	$(UV) sync --quiet --inexact --frozen --no-dev --extra cpu --extra postgres
	@touch $@

.venv/.ready: .venv/.runs
	$(UV) sync --quiet --inexact --frozen --extra cpu --extra postgres --extra wechaty
	@touch $@

# The peers of the WeChat tests run on Node; where it is missing their tests say so and are skipped.
NODE_PEERS := $(dir $(wildcard tests/*/package-lock.json tests/*/*/package-lock.json))

tests/%/node_modules/.ready: tests/%/package-lock.json
	@if command -v npm >/dev/null; then cd $(dir $<) && npm ci --loglevel=error && touch node_modules/.ready; \
	else echo "npm is not installed: the tests that need $(dir $<) will be skipped"; fi

setup: .venv/.ready $(NODE_PEERS:%=%node_modules/.ready)  ## create .venv with everything the service and its tests need

demo: .venv/.runs  ## start the service on this machine with web chat; HOST=0.0.0.0 for a phone on your network
	.venv/bin/oculichat demo --host $(HOST) --port $(PORT)

test: setup  ## run every test
	$(PY) -m pytest -n auto --dist worksteal --timeout 300

check: setup  ## ruff, format, pyright strict, import-linter, codespell
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pyright
	.venv/bin/lint-imports
	.venv/bin/codespell

format: setup  ## let ruff rewrite the code
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
FUNDUS_DATA ?= data/fundus

train-setup:  ## create .venv-training for the fundus weights
	$(PYTHON3) -m venv .venv-training
	.venv-training/bin/pip install --extra-index-url $(TORCH_INDEX) -r training/fundus/requirements.txt

train:  ## train the fundus weights from a folder with labels.csv (FUNDUS_DATA=…)
	nice -n 5 .venv-training/bin/python -m training.fundus --data $(FUNDUS_DATA)

bench: setup  ## measure what docs/benchmarks.md shows; ARGS="--full --json FILE --only turns"
	$(PY) -m tests.bench $(ARGS)

# LMDeploy's HTTP server without a GPU, for its contract tests: torch of the CPU, LMDeploy without what its engines need.
LMDEPLOY_TESTS := tests/contract/lmdeploy

.venv-lmdeploy/.ready: $(LMDEPLOY_TESTS)/requirements.txt $(LMDEPLOY_TESTS)/requirements-bare.txt
	$(PYTHON3) -m venv .venv-lmdeploy
	.venv-lmdeploy/bin/pip install --quiet --no-deps --extra-index-url $(TORCH_INDEX) torch==2.13.0+cpu
	.venv-lmdeploy/bin/pip install --quiet -r $(LMDEPLOY_TESTS)/requirements.txt
	.venv-lmdeploy/bin/pip install --quiet --no-deps -r $(LMDEPLOY_TESTS)/requirements-bare.txt
	@touch $@

contract-lmdeploy: setup .venv-lmdeploy/.ready  ## test the LLM client against the real LMDeploy server, on a CPU; ARGS="--record" keeps its traffic
	$(PY) -m pytest $(LMDEPLOY_TESTS) -m lmdeploy $(ARGS)

contract-others: .venv-lmdeploy/.ready  ## add llama.cpp and transformers to what contract-lmdeploy tests (builds llama.cpp: 15 minutes)
	.venv-lmdeploy/bin/pip install --quiet -r $(LMDEPLOY_TESTS)/requirements-others.txt

bench-lmdeploy: setup  ## two real LMDeploy nodes, one goes away: our client beside lmdeploy serve proxy; needs contract-lmdeploy's environment
	$(PY) -m tests.bench.llm_servers $(ARGS)

soak: setup  ## kill -9 the service at random while people write; ARGS="--kills 200 --messages 50000"
	$(PY) -m tests.bench soak $(ARGS)

gateway-soak: setup  ## long tests against the real Wechaty gateway: kill -9, freeze, 20 restarts in a row (needs Node)
	$(PY) -m pytest tests/integration/wechaty -m slow $(ARGS)
