# make demo   sets up .venv and trains, measures and compares the five methods on handwritten digits
# make test   sets up .venv and runs linters, type checker and tests
# make docs   builds the documents as a site in site/, warnings as errors
# make torture  kills 50 trainings and more, fills disks, and tells what came of it in figures
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test docs torture lint clean
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	$(BIN)/noiseproof compare digits --explain --out runs/demo

test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

docs: $(INSTALLED)
	$(BIN)/python -m sphinx -q -W --keep-going -E -b html docs site

torture: $(INSTALLED)
	NOISEPROOF_TORTURE=50 $(BIN)/python -m pytest -rP tests/torture

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(INSTALLED): pyproject.toml constraints.txt scripts/make-venv
	scripts/make-venv $(PYTHON) $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev]'
	@# by itself, since it asks for an old version of requests, which it does not use
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt --no-deps torchattacks
	@touch $@

clean:
	rm -rf site $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
