# Everything here sets itself up: Python >= 3.11 with venv, make and git are enough.

PYTHON ?= $(shell for name in python3.11 python3 python3.12 python3.13; do \
	"$$name" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$name" && break; done)
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test chaos property lint format bench figures clean

help: ## Say what can be made.
	@sed -n 's/^\([a-z]*\):.*## /\1: /p' Makefile

# The stamp is younger than what it was made from, so an edit of either file installs again.
# mesa-frames declares numpy 1, which nothing else here can live with, and runs on numpy 2: hence --no-deps.
.venv/stamp: pyproject.toml constraints.txt
	@python="$(PYTHON)"; "$${python:-false}" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "novel-actors wants Python >= 3.11 with venv, found $${python:-none}: install it, or name it: make PYTHON=..." >&2; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[notebook,peers,dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps mesa-frames==0.1.0a0
	touch $@

setup: .venv/stamp ## Make .venv with the package, its extras and the tools.

demo: .venv/stamp ## Run a real simulation; print its digest and where results and plot are.
	$(BIN)/novel-actors demo

lint: .venv/stamp ## Check style, types and layers.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: .venv/stamp ## Rewrite the files in the house style.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Tests on Ray share one cluster, so they run in one process of their own, first and only when there are any.
test: lint ## Check everything and run every test.
	if [ -n "$$(find tests/ray -name 'test_*.py' 2>/dev/null)" ]; then $(BIN)/pytest tests/ray; fi
	$(BIN)/pytest -n 2 --dist loadfile --ignore tests/ray tests

chaos: .venv/stamp ## Kill runs at a hundred random moments; CHAOS_SEED=N repeats what it prints.
	seed=$${CHAOS_SEED:-$$(date +%s)}; echo "CHAOS_SEED=$$seed"; \
	CHAOS_SEED=$$seed CHAOS_ROUNDS=$${CHAOS_ROUNDS:-100} $(BIN)/pytest -n 2 --dist load tests/simulated/test_crash.py

property: .venv/stamp ## Run 400 random models in all ways; each must have one outcome.
	$(BIN)/pytest -n 2 --dist load tests/simulated/test_one_digest.py --models 400

bench: .venv/stamp ## Measure every row of the table of speed beside its baselines; keep build/bench/all.json.
	$(BIN)/novel-actors bench all

figures: bench ## Measure, and put what was measured into docs/performance.md.
	sed -i '/^## Figures/q' docs/performance.md
	echo >> docs/performance.md
	cat build/bench/all.md >> docs/performance.md
	cp build/bench/all.json docs/performance.json

clean: ## Remove what was made.
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
