# Every habit of this project is a target here. `make help` is the index.

# The first Python >= 3.11 that really starts; `make demo PYTHON=python3.12` chooses another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
BIN := .venv/bin
PY := $(BIN)/python
READY := .venv/.ready

# The city of the demo. Another seed is another city; a state that holds one city does not take a second one.
STATE ?= .lifecircle
CUSTOMERS ?= 5000
DAYS ?= 30
SEED ?= 7

.DEFAULT_GOAL := help
.PHONY: help demo city up down status observe console test lint types imports proto proto-check proto-release permissions chart images-test tests clean-tree bench peers chaos lock clean

##@ Use it
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

demo: city up ## the main job: one campaign from operator files to effect
	@$(PY) clients/python/examples/journey.py --state $(STATE)

city: $(READY) ## write the demo's operator files into $(STATE)/city
	@$(PY) -m city --customers $(CUSTOMERS) --days $(DAYS) --seed $(SEED) --out $(STATE)/city/files --truth $(STATE)/city/truth

up: $(READY) ## start Postgres, the five services and Envoy
	@$(PY) -m deploy.local --state $(STATE) up

down: $(READY) ## stop them all; the data stay
	@$(PY) -m deploy.local --state $(STATE) down

status: $(READY) ## what runs, where, and where to look
	@$(PY) -m deploy.local --state $(STATE) status

observe: $(READY) ## a page with the traces of one machine; run it, then make up with the line it prints
	@$(PY) -m deploy.observe

console: $(READY) ## the web console, for people; prints its address and how to make a user
	@$(PY) -m console --state $(STATE)

##@ Judge it
test: lint types imports proto-check tests clean-tree ## everything that must hold (this is what CI runs)

lint: $(READY) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## mypy --strict
	$(BIN)/mypy services clients/python/src/lifecircle clients/python/examples console city deploy tools benchmarks

imports: $(READY) ## who may import whom
	$(BIN)/lint-imports

proto-check: proto ## buf lint and buf breaking
	$(PY) -m tools.genproto check

tests: $(READY) ## pytest: pure, Postgres, gRPC, five processes and Envoy
	$(BIN)/pytest

clean-tree: proto ## fail when generated code is not what is committed
	@git diff --exit-code --stat -- clients/python/src protos || \
		{ echo "generated code differs from what is committed: run 'make proto' and commit it"; exit 1; }
	@test -z "$$(git ls-files --others --exclude-standard -- clients/python/src protos)" || \
		{ echo "generation made files that are not committed: run 'make proto' and commit them"; exit 1; }

bench: $(READY) ## figures as ratios in one run; results as dated JSON in benchmarks/results
	$(PY) -m benchmarks

peers: .peers/.ready ## what the benchmarks compare with, in an environment of its own (.peers)

chaos: $(READY) ## the proofs at their full counts, seeded; results as dated JSON
	$(PY) -m tools.chaos

images-test: $(READY) ## build every image, run each hardened, play the campaign journey on them; as root, or with Docker
	$(PY) -m deploy.images

##@ Change it
proto: $(READY) ## generate the client's code from protos/
	$(PY) -m tools.genproto generate

permissions: $(READY) ## write admin's list of permissions from the contract and each service's RIGHTS
	$(PY) -m tools.permissions write

proto-release: $(READY) ## freeze today's contract as the last release, and record its messages
	$(PY) -m tools.genproto release
	$(PY) -m tests.contract.recording

chart: $(READY) ## render the chart's examples anew, after a change of it
	$(PY) -m deploy.k8s.chart

lock: $(READY) ## pin every dependency again, with hashes and no index address
	sed '/^    "lifecircle-client",$$/d' pyproject.toml > .venv/pyproject.toml
	cd .venv && bin/uv pip compile pyproject.toml --universal --python-version 3.11 --all-extras --group local --group dev \
		--generate-hashes --no-emit-index-url --no-header --upgrade --quiet -o ../requirements.lock
	$(BIN)/uv pip compile benchmarks/peers/requirements.in --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --upgrade --quiet -o benchmarks/peers/requirements.lock

clean: ## remove the environment and every cache; the platform's data stay in $(STATE)
	rm -rf .venv .peers .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks .coverage

$(READY): requirements.lock pyproject.toml clients/python/pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name one: make demo PYTHON=/path/to/python3"; exit 1; }
	@echo "installing into .venv (once; about a minute)"
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e clients/python -e .
	@touch $(READY)

.peers/.ready: benchmarks/peers/requirements.lock
	@test -x .peers/bin/python || $(PYTHON) -m venv .peers
	@.peers/bin/pip install --quiet --disable-pip-version-check --require-hashes -r benchmarks/peers/requirements.lock
	@touch .peers/.ready
