.PHONY: install demo queue test torture bench bench-gpu peers calibrate audit check format lint types contracts schemas clean help
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

help:  ## what each word does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | column -t -s "$$(printf '\t')"

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m compileall -q -j 0 .venv/lib >/dev/null 2>&1 || true
	@touch $@

install: $(STAMP)  ## make .venv with everything a developer needs

demo: $(STAMP)  ## start the service, train on real digits, print the payload
	@$(BIN)/pytorch-trainer demo

bench: $(STAMP)  ## time the loop beside hand-written ones and the peers that are installed, and write docs/performance.md
	@$(or $(wildcard .venv-peers/bin/python),$(BIN)/python) -m benchmarks.small_table
	@$(BIN)/python -m benchmarks.long_steps
	@$(BIN)/python -m benchmarks.streaming
	@$(BIN)/python -m benchmarks.warm_start

bench-gpu: $(STAMP)  ## the same for large models on one GPU
	@$(or $(wildcard .venv-peers/bin/python),$(BIN)/python) -m benchmarks.gpu

queue: $(STAMP)  ## time submissions, claims and a restart with 10,000 jobs that wait
	@$(BIN)/python benchmarks/long_queue.py

peers: $(STAMP)  ## install the peers of the benchmark beside the project's environment, which stays as it is
	@$(BIN)/python -m venv .venv-peers
	@$(BIN)/python -c "import sysconfig as s; print(s.get_path('purelib'))" > $$(ls -d .venv-peers/lib/python*/site-packages)/project.pth
	@.venv-peers/bin/pip install --quiet -c constraints.txt -r benchmarks/requirements.txt

audit:  ## ask for published advisories against the pins of constraints.txt; it needs PyPI's own JSON interface
	@test -x .venv-audit/bin/pip-audit || { $(PYTHON) -m venv .venv-audit && .venv-audit/bin/pip install --quiet pip-audit; }
	@.venv-audit/bin/pip-audit -r constraints.txt --no-deps --disable-pip --progress-spinner off

calibrate: $(STAMP)  ## measure how often the alerts are wrong, and how often they miss
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/alerts.py

test: $(STAMP)  ## run every test, at the end and one by one those that measure a time
	@export OMP_NUM_THREADS=1; \
	$(BIN)/python -m pytest -q -m 'not alone'; rest=$$?; \
	$(BIN)/python -m pytest -q -n 0 -m alone; alone=$$?; \
	exit $$((rest | alone))

torture: $(STAMP)  ## the tests that kill, damage, fill and flood, many times over: hours; goes on where it was broken off
	@OMP_NUM_THREADS=1 PT_TORTURE=large $(BIN)/python -m pytest -n 0 -m torture -v --tb=short $(ARGS)

format: $(STAMP)  ## rewrite the code in the house format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lint: $(STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(STAMP)
	@$(BIN)/mypy

contracts: $(STAMP)
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
	@$(BIN)/python -m schemas.generate --check

schemas: $(STAMP)  ## write schemas/json from the typed models
	@$(BIN)/python -m schemas.generate

check: lint types contracts test  ## everything CI checks

clean:  ## remove what the build made
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
