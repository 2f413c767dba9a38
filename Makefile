# WAVE: everything a developer or CI runs. The environment is .venv in this folder.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.made-from-locked-requirements
HEAVY := .venv/.with-heavy-requirements
TORCH ?= torch==2.13.0
NODES := tests/nodes/node_modules/.installed-from-lock
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
COMPILE := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --no-header --no-emit-index-url --no-emit-find-links --no-config $(LOCK)

# Tests and demonstrations start hundreds of processes: what one of them has compiled the next need not compile again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup setup-heavy demo nodes test test-heavy faults check format bench pong lock clean distclean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv from the locked requirements and install WAVE into it
	@echo "WAVE is ready: $(BIN)/wave --help"

$(STAMP): requirements/dev.txt pyproject.toml _wave_first.py _wave_first.pth
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "WAVE needs Python 3.11 or newer; name one with: make setup PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1 || \
		$(PYTHON) -m venv --clear .venv || \
		{ rm -rf .venv; echo "python3 -m venv failed; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@awk '/^uv==/,!/\\$$/' requirements/dev.txt >.venv/uv.txt # uv, from the same lock, installs the rest far quicker
	$(PIP) install --require-hashes -r .venv/uv.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements/dev.txt || \
		{ echo "uv could not (it does not read pip's settings); now with pip" >&2; \
		$(PIP) install --require-hashes -r requirements/dev.txt; }
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

setup-heavy: $(HEAVY) ## add Ray, RLlib, torch and others on top, 1.4 GB: the gateway on Ray, pong, examples

$(HEAVY): $(STAMP) requirements/heavy.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --no-deps --require-hashes \
		-r requirements/heavy.txt || \
		{ echo "uv could not (it does not read pip's settings); now with pip" >&2; \
		$(PIP) install --no-deps --require-hashes -r requirements/heavy.txt; }
	@$(BIN)/python -c 'import torch' 2>/dev/null || { echo "$(PIP) install $(TORCH)"; $(PIP) install $(TORCH); }
	@touch $@

demo: $(STAMP) ## see a home, two people and a revocation
	$(BIN)/wave demo

nodes: $(NODES) ## fetch anvil and hardhat, which tests start; needs npm

$(NODES): tests/nodes/package.json tests/nodes/package-lock.json tests/nodes/.npmrc
	@command -v npm >/dev/null || { echo "npm is missing; on Debian and Ubuntu: apt-get install npm" >&2; exit 1; }
	cd tests/nodes && npm ci
	@touch $@

test: $(STAMP) ## run the tests; those of nodes that are not fetched are skipped, unless WAVE_CI is set
	$(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder --ignore tests/heavy

test-heavy: $(HEAVY) ## run the tests of what `make setup-heavy` adds; they start Ray, and train
	$(BIN)/python -m pytest tests/heavy

faults: $(STAMP) ## run every combination of three faulty endpoints among seven; takes minutes
	WAVE_ALL_FAULTS=1 $(BIN)/python -m pytest tests/chain/test_chain_quorum.py

check: $(STAMP) ## style, types and architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## put the code into the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## measure
	$(BIN)/python -m bench

pong: $(HEAVY) ## train every policy of pong, compare them, say why one is worse; what is done is not done again
	$(BIN)/wave pong all

lock: $(STAMP) ## resolve the requirements; LOCK=--upgrade takes the newest versions
	$(COMPILE) --output-file requirements/runtime.txt
	$(COMPILE) --group dev --constraints requirements/runtime.txt --output-file requirements/dev.txt
	$(COMPILE) --group heavy --constraints requirements/dev.txt --excludes requirements/not-locked.txt \
		--no-emit-package torch --output-file requirements/heavy.txt

clean: ## remove what tools leave behind
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean ## remove .venv as well
	rm -rf .venv tests/nodes/node_modules
