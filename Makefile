# Two commands for a stranger: `make demo` and `make test`. Both make .venv and install what they need first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AUTOREC := $(BIN)/autorec
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt


# Installed for using: the package and what it needs.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable '.[fast]'
	touch $@

# Installed for developing: the checkers too.
$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) --editable '.[fast,dev]'
	touch $@

demo: $(VENV)/installed
	mkdir -p demo
	$(AUTOREC) prepare sample_data/ratings.csv.gz --titles sample_data/titles.csv -o demo/data --force
	$(AUTOREC) train demo/data -o demo/item.model --force
	$(AUTOREC) evaluate demo/item.model --ranking --format table
	$(AUTOREC) recommend demo/item.model -k 10 > demo/top.csv
	head -n 6 demo/top.csv

test: check
	$(BIN)/pytest -n auto

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Broken and hostile input for prepare: about seven minutes. With atheris installed, `--atheris` chooses the inputs.
fuzz: $(VENV)/installed-dev
	$(BIN)/python -m tests.fuzz --inputs 100000

clean:
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
