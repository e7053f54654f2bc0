# make run       install what is needed into .venv, then start both processes (Ctrl-C ends them)
# make test      everything that must pass before a change is taken
# make bench     measure, in ten minutes; prints tables, writes build/bench.json. make bench-full with a million jobs
# make messages  bring new sentences into the translations, and list those that miss one
# make lock      pin the dependencies of setup.cfg anew
# make audit     look for published holes in what is pinned (asks pypi.org; a package it can't ask about is a failure)

PYTHON ?= python3
PORT ?= 9666
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes
COMPILE := $(BIN)/uv pip compile setup.cfg --universal --python-version 3.11 --generate-hashes --no-header -q

export PATH := $(BIN):$(PATH)

.PHONY: run test bench bench-full clean-bench messages lock audit

# honcho hands PORT to the first process and PORT + 100 to the second; the Procfile takes the 100 off again.
run: $(VENV)/.installed
	@$(BIN)/honcho start -p $(PORT)

# Compiled once, as an installation is, and not anew in each of the hundreds of processes that are started.
test bench bench-full: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@echo "All tests, on SQLite:"
	$(BIN)/pytest
	@echo "Those that use a database, on PostgreSQL:"
	$(BIN)/pytest --database postgresql

bench: $(VENV)/.installed-dev
	$(BIN)/python -m bench

bench-full: $(VENV)/.installed-dev
	$(BIN)/python -m bench --full

# Only needed after one that was killed: each removes what it has filled.
clean-bench:
	rm -rf $${TMPDIR:-/tmp}/veilleur-bench-*

messages: $(VENV)/.installed-dev
	$(BIN)/python -m tests.catalogues

lock: $(VENV)/.installed-dev
	$(COMPILE) -o requirements.txt
	$(COMPILE) --extra dev -c requirements.txt -o requirements-dev.txt

# In an environment of its own: it brings thirty packages that nothing else here needs.
audit: $(VENV)/.installed-dev
	$(BIN)/uv tool run --from pip-audit==2.10.1 pip-audit --strict --disable-pip --require-hashes -r requirements-dev.txt

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt | $(BIN)/pip
	$(PIP_INSTALL) -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt | $(BIN)/pip
	$(PIP_INSTALL) -r requirements-dev.txt
	@touch $@
