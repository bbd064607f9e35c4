# Everything on a fresh clone: Python 3.11 or newer, make, and a package index; nothing by hand.
#   make demo    the base install (no torch, no solver) and examples/demo.py
#   make test    the development install and the test suite
#   make test-rl the bridges to PyTorch, Stable-Baselines3 and scikit-learn, and the example that trains a policy (installs PyTorch)
#   make docs    the documentation site, warnings as errors
#   make mutants mutants of the kernel against vectors and unit tests, hours for all of them; MODULES="tree properties" names some
#   make check   ruff, mypy --strict on the kernel, import contracts, docstrings and house rules
#   make bench   the benchmarks, ratios against named peers in the same run
#   make figures the figures of papers and of the README, from bundles proved and checked in the same run

PYTHON ?= $(shell for p in python3.11 python3; do $$p -c '' 2>/dev/null && echo $$p && break; done)
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

# The matrices here are small: BLAS threads only get in each other's way.
export OPENBLAS_NUM_THREADS := 1
export OMP_NUM_THREADS := 1
export MPLBACKEND := Agg

.DEFAULT_GOAL := help
.PHONY: help demo docs test test-rl test-slow mutants check bench figures clean

help:
	@sed -n 's/^#   //p' Makefile

$(VENV)/.made:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "certctl needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	@touch $@

# Editable, so that one environment serves demo, tests and checks and never holds a stale copy of the sources.
$(VENV)/.base: $(VENV)/.made setup.cfg pyproject.toml constraints.txt
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.made setup.cfg pyproject.toml constraints.txt
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.base

demo: $(VENV)/.base
	$(BIN)/python examples/demo.py

test: $(VENV)/.dev
	$(BIN)/python -m pytest -q

# Apart from the others, because PyTorch is a gigabyte or more to download and unpack.
$(VENV)/.rl: $(VENV)/.dev
	$(PIP) -e '.[dev,rl]' scikit-learn
	@touch $@

test-rl: $(VENV)/.rl
	$(BIN)/python -m pytest -q tests/certctl/test_bridges_in.py tests/certctl/test_models.py tests/verifiers/load/test_torch.py \
		tests/certctl/test_learn_lipschitz.py tests/certctl/test_attack.py tests/certctl/test_learn_yann.py
	$(BIN)/python -m pytest -q tests/examples/test_examples.py tests/docs -k 'stable_baselines3 or imitate or yann or learn_from_mpc'
	$(BIN)/python -m pytest -q -m slow -k 'imitation or yann' tests/examples/test_paper_figs.py tests/benchmarks/test_benchmarks.py

$(VENV)/.docs: $(VENV)/.dev
	$(PIP) -e '.[dev,docs]'
	@touch $@

# Warnings are errors; the site lies in docs/_build/html.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m slow

mutants: $(VENV)/.dev
	$(BIN)/python tests/mutants/run.py $(MODULES)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy verifiers/kernel
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tests/repository.py
	$(BIN)/python -m pytest -q tests/test_docstrings.py tests/test_house.py

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py

figures: $(VENV)/.base
	$(BIN)/python -m paper_figs.pendulum_region
	$(BIN)/python -m paper_figs.published_regions
	$(BIN)/python -m paper_figs.learned_regions
	$(BIN)/python -m paper_figs.dimension
	$(BIN)/python -m paper_figs.imitation
	@$(BIN)/python -c 'import torch, stable_baselines3' 2>/dev/null && $(BIN)/python -m paper_figs.yann || echo 'paper_figs.yann: skipped, it needs make .venv/.rl'

clean:
	rm -rf $(VENV) build dist *.egg-info demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find systems verifiers certctl tests examples benchmarks paper_figs -name __pycache__ -prune -exec rm -rf {} +
