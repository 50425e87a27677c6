# Everything a newcomer needs: `make demo`, `make test`, `make check`. Python ≥ 3.11 and make are enough.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.core
DEV := $(VENV)/.dev
RT_UTILS := .venv-rt-utils

.PHONY: demo test fuzz check lint types layers bench bench-check install clean

demo: $(CORE)  ## train two losses on phantoms and write the report
	$(BIN)/steelyard demo

test: $(DEV) $(RT_UTILS)/.done  ## the whole suite, on two cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

fuzz: $(DEV)  ## ten thousand damaged files against every reader, in about half an hour; see docs/hardening.md
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -m fuzz --inputs 10000

check: lint types layers test  ## all that CI runs

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/mypy

layers: $(DEV)
	$(BIN)/lint-imports

bench: $(DEV)  ## measure everything beside its peers and write docs/benchmarks.md: an hour and a half on a quiet machine
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.growth

bench-check: $(DEV)  ## fail where a ratio fell behind benchmarks/baseline.json; by hand, on a quiet machine
	$(BIN)/python -m benchmarks.check

install: $(DEV)  ## the environment with everything that tests need

$(CORE): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Steelyard needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $(CORE)

$(DEV): $(CORE)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(DEV)

# A reader of structure sets that one test asks, kept apart: it wants another OpenCV than the one without a screen.
$(RT_UTILS)/.done: tests/io/rt_utils_constraints.txt | $(CORE)
	$(BIN)/python -m venv $(RT_UTILS)
	$(RT_UTILS)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement $< && touch $@ || \
		echo "rt-utils could not be installed: its test will skip"

clean:
	rm -rf $(VENV) $(RT_UTILS) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
