# Two commands do everything, set-up included: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := $(VENV)/.installed-demo
SETUP := $(VENV)/.installed
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
STAMP := $(shell date -u +%Y%m%dT%H%M%SZ)
# More threads than free cores make numerical libraries slower, not faster.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: demo test check bench clean

$(DEMO): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[demo]'
	touch $(DEMO)

# With torch, since training is tested, too. PyPI's torch for Linux brings CUDA along where its index offers no other:
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu gets the small one.
$(SETUP): $(DEMO)
	$(PIP) -e '.[dev]'
	touch $(SETUP)

# The main job: a real Micro-Manager core and a real movie drive the loop; then both are decided again from their records.
demo: $(DEMO)
	$(BIN)/reflexscope run hardware_configs/micromanager_demo.toml --duration 15 --out sessions/$(STAMP)-micromanager
	$(BIN)/reflexscope run hardware_configs/replay.toml --duration 15 --out sessions/$(STAMP)-movie
	$(BIN)/reflexscope replay sessions/$(STAMP)-micromanager
	$(BIN)/reflexscope replay sessions/$(STAMP)-movie

# All tests, in under ten minutes on two cores.
test: $(SETUP)
	$(BIN)/python -m pytest -n 2 --dist loadgroup

# Lint, format, types, layers.
check: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layers.py

# Every benchmark; rewrites benchmarks/RESULTS.md. About 25 minutes.
bench: $(SETUP)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
