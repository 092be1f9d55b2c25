# `make` prints the targets. Everything is made inside .venv from requirements.lock; nothing else is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_ROWS ?= 2000
CHROMIUM ?= chromium
SHOOT = $(CHROMIUM) --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1100,1250 \
    --screenshot=reports/sample
PARALLEL := -n logical --maxprocesses 4 --dist loadfile
.DEFAULT_GOAL := help

.PHONY: help demo test test-all lint lab docs report lock clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# One stamp for the whole environment: made again when the lists change.
$(VENV)/.ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: $(VENV)/.ready ## make a small market, run the notebooks, leave reports/demo/index.html
	$(BIN)/deeptrade synth reports/demo_data/market.csv --rows $(DEMO_ROWS) --seed 7
	$(BIN)/deeptrade run reports/demo_data/market.csv --out reports/demo --fresh \
	    -r model_size tiny -r encoder multiscale -r batch_size 8 -r grad_accum true -r accum_steps 4 -r epochs 2 -r quick true -r seed 7
	@echo "open reports/demo/index.html"

test: $(VENV)/.ready ## lint, types and the default tests (under 10 minutes)
	$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check . && $(BIN)/mypy --no-error-summary
	$(BIN)/python -m pytest -q $(PARALLEL)

test-all: $(VENV)/.ready ## all tests, the slow ones and those of the extras too; with npm the audit of the pages and Azure's emulator as well
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[gym,cloud-test,cluster]"
	@if command -v npm >/dev/null; then npm install --no-save --silent axe-core@4 azurite@3; fi
	$(BIN)/python -m pytest -q -m ""

lint: $(VENV)/.ready ## format, lint and type-check
	$(BIN)/ruff format . && $(BIN)/ruff check . && $(BIN)/mypy

lab: $(VENV)/.ready ## open JupyterLab on copies of the notebooks, in lab/
	$(BIN)/deeptrade lab

docs: $(VENV)/.docs ## make build/docs/index.html, the site of docs/, with its links checked
	$(BIN)/python -m sphinx -E -n -W --keep-going -q -b html docs build/docs
	@echo "open build/docs/index.html"

$(VENV)/.docs: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock --editable ".[docs]"
	@touch $@

report: demo ## render reports/sample from a demo run and a walk
	rm -rf reports/sample && mkdir -p reports/sample
	$(BIN)/papermill --no-progress-bar notebooks/00_explore.ipynb reports/demo/00_explore.ipynb \
	    -r csv $(CURDIR)/reports/demo_data/market.csv -r interactive no -r model_size tiny
	$(BIN)/python -c "from pathlib import Path; from deeptrade.report.page import render_notebook; \
	    from deeptrade.report.index import write_index; \
	    render_notebook(Path('reports/demo/00_explore.ipynb'), Path('reports/demo/00_explore.html'), code=False); \
	    write_index(Path('reports/demo'))"
	cp reports/demo/*.html reports/sample/
	$(BIN)/deeptrade walk reports/demo_data/market.csv --out reports/demo_walk --fresh --folds 3 \
	    --model_size tiny --encoder multiscale --batch_size 32 --epochs 4
	$(SHOOT)/index.png file://$(CURDIR)/reports/sample/index.html
	$(SHOOT)/agent.png file://$(CURDIR)/reports/sample/07_trading_agent.html
	$(SHOOT)/walk.png file://$(CURDIR)/reports/demo_walk/index.html
	DEEPTRADE_SCREENSHOTS=reports/sample $(BIN)/python -m pytest -q -m "" tests/notebook/test_jupyterlab.py -k 00_explore

lock: ## update requirements.lock to the newest versions that pyproject.toml allows
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable ".[test]"
	$(BIN)/python -m pip freeze --exclude-editable | grep -v '@' > requirements.lock

clean: ## remove the environment, caches and demo results
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info build dist reports/demo reports/demo_data reports/demo_walk
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
