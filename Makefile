# Needs Python 3.11 or later, pip, make and git. Everything is installed into .venv, nothing elsewhere.

PYTHON ?= python3
BIN := .venv/bin
GENOMAI := $(BIN)/genomai
# An installation is made anew when what it is made from changes.
SOURCES := pyproject.toml constraints.txt $(shell find genomai_cli models -type f -not -path '*/__pycache__/*')
FORMATTED := genomai_cli tests $(wildcard benchmarks)

.PHONY: demo test check format quick expected site clean

demo: .venv/demo-installed  ## install into .venv and classify the example samples, from VCF and from FASTA
	$(GENOMAI) classify examples/samples.vcf.gz
	$(GENOMAI) classify examples/samples.fa

test: check  ## install the checks as well, and run them all

check: .venv/checks-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check $(FORMATTED)
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST)  # a core each; a file stays on one

quick: .venv/checks-installed  ## the tests that take less than a few seconds each
	$(BIN)/pytest -m "not slow" $(PYTEST)

format: .venv/checks-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format $(FORMATTED)

expected: .venv/checks-installed  ## write tests/expected anew; read the diff before committing it
	GENOMAI_UPDATE_EXPECTED=1 $(BIN)/pytest -q tests $(PYTEST)

site: .venv/checks-installed  ## the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "genomai needs Python 3.11 or later")'
	$(PYTHON) -m venv .venv

# An editable installation (from `make test`) serves the demo as well.
.venv/demo-installed: .venv/bin/python $(SOURCES)
	@echo 'Installing into .venv: some minutes, most of them for PyTorch'
	test -e .venv/checks-installed || $(BIN)/python -m pip install -q -c constraints.txt .
	touch $@

.venv/checks-installed: .venv/bin/python pyproject.toml constraints.txt
	@echo 'Installing the checks into .venv: some minutes'
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@
