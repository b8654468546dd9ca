# `make` alone lists what there is. Every target sets up what it needs, in .venv.
PYTHON ?= python3
BIN := .venv/bin
# Pins carry hashes, so what is installed is what was tested, whatever else an index offers.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps

# Set up by npm, to test with the clients that front ends use; where there is no npm those tests are skipped.
CLIENTS := tests/clients/node_modules/.package-lock.json

# How many users `make bench` measures with, such as 100k or 10m.
USERS ?= 1m

.DEFAULT_GOAL := help
.PHONY: help serve test check bench format types golden lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

serve: .venv/run ## import the demo data if it is not there, and serve it on loopback
	@$(BIN)/python server.py demo

test: .venv/dev $(CLIENTS) ## run the tests
	@$(BIN)/python -m pytest

check: .venv/dev $(CLIENTS) ## what has to pass before a change lands: format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

bench: .venv/bench ## measure everything beside its references, with USERS=1m
	@$(BIN)/python -m benchmarks all --users $(USERS)

format: .venv/dev ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix --quiet .

golden: .venv/dev ## rewrite the golden files and schema/schema.graphql, to be reviewed as a diff
	@TAGROAR_UPDATE_GOLDEN=1 $(BIN)/python -m pytest -q tests/test_language.py tests/test_simplify.py tests/test_contract.py

lock: .venv/dev ## pin the dependencies anew
	@$(BIN)/uv pip compile --quiet pyproject.toml --universal --generate-hashes --no-emit-index-url --no-header --upgrade -o requirements/run.txt
	@$(BIN)/uv pip compile --quiet pyproject.toml --group dev --universal --generate-hashes --no-emit-index-url --no-header --upgrade -o requirements/dev.txt
	@$(BIN)/uv pip compile --quiet pyproject.toml --extra tracing --universal --generate-hashes --no-emit-index-url --no-header --upgrade -o requirements/tracing.txt
	@$(BIN)/uv pip compile --quiet pyproject.toml --group bench --universal --generate-hashes --no-emit-index-url --no-header --upgrade -o requirements/bench.txt

clean: ## remove the environment and caches; the data stays
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis tests/clients/node_modules tests/clients/generated

.venv/run: requirements/run.txt
	@test -x $(BIN)/python || { echo "Making .venv …"; $(PYTHON) -m venv .venv; }
	@echo "Installing what serving needs …"
	@$(PIP) -r requirements/run.txt
	@touch $@

.venv/dev: requirements/dev.txt
	@test -x $(BIN)/python || { echo "Making .venv …"; $(PYTHON) -m venv .venv; }
	@echo "Installing what serving and testing need …"
	@$(PIP) -r requirements/dev.txt
	@touch $@ .venv/run

$(CLIENTS): tests/clients/package-lock.json
	@if command -v npm >/dev/null; then echo "Installing the clients to test with …" && cd tests/clients \
	&& npm ci --silent --ignore-scripts && touch node_modules/.package-lock.json; \
	else echo "There is no npm: the clients of front ends are not tested with."; fi

.venv/bench: requirements/bench.txt
	@test -x $(BIN)/python || { echo "Making .venv …"; $(PYTHON) -m venv .venv; }
	@echo "Installing what serving and measuring need …"
	@$(PIP) -r requirements/bench.txt
	@touch $@ .venv/run
