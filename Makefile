# Each target does its own set-up and can be repeated.
PYTHON ?= python3
BIN := .venv/bin
LOWEST := .venv-lowest
# Such as `-c FILE`, where the configuration of pip, which uv does not read, holds a package back.
LOCK_ARGS ?=

.PHONY: quickstart test lint types pytest test-lowest lock clean

.venv/ready: pyproject.toml requirements-dev.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    -c requirements-dev.lock -e ".[dev]"
	touch .venv/ready

quickstart: .venv/ready
	$(BIN)/python scripts/quickstart.py $(QUICKSTART_ARGS)

test: lint types pytest

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/ready
	$(BIN)/mypy

pytest: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

# The wheel with the lowest versions that pyproject.toml allows, away from the sources: whether
# the floors are true. About 3 GB of downloads on Linux, where torch comes with CUDA.
test-lowest:
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(LOWEST)/bin/uv pip install --python $(LOWEST) --resolution lowest-direct \
	    ".[bench]" "pytest>=9" "pytest-timeout>=2.4"
	$(LOWEST)/bin/pytest -W default -p no:cacheprovider tests/test_smoke.py

# Writes the versions of today; `make test` then says whether they serve.
lock: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	    --no-header --no-annotate --upgrade $(LOCK_ARGS) --output-file requirements-dev.lock

clean:
	rm -rf runs build .pytest_cache .mypy_cache .ruff_cache $(LOWEST)
