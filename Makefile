# Two commands do everything, set-up included: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.installed
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: demo test check bench soak clean

$(SETUP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(SETUP)

demo: $(SETUP)            ## the main job: a real Micro-Manager core, then a real movie, then both decided again
	$(BIN)/python -m demo

test: $(SETUP)            ## all tests but the soaks, in under ten minutes on two cores
	$(BIN)/python -m pytest

check: $(SETUP)           ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layers.py

bench: $(SETUP)           ## every benchmark; rewrites benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks

soak: $(SETUP)            ## the long ones
	$(BIN)/python -m pytest -m soak

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
