# Each target does its own set-up and can be repeated.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test lint types pytest clean

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
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

clean:
	rm -rf runs build .pytest_cache .mypy_cache .ruff_cache
