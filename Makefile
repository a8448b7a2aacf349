# Everything a fresh clone needs, given Python >= 3.11 and make: `make train`, `make test`. `make` alone lists the targets.
#
# All of it happens in .venv, which the first target that needs it creates with the exact versions of constraints.txt. No package
# index is named here: pip and uv use whatever this machine is configured with. Written for GNU make >= 3.81 (macOS).

PYTHON ?= python3
# uv: fast, and pip if uv can't; pip: pip only, for a machine whose index is configured for pip alone
INSTALLER ?= uv
CONFIG ?= pipelines/configs/breast_cancer.toml
PORT ?= 5000
# Of the tests: one more than there are cores, because those that start Ray or servers mostly wait
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) + 1)))

VENV := .venv
BIN := $(VENV)/bin
# Written last, so a half-finished installation is never taken for a whole one; holds the folder it was made in
STAMP := $(VENV)/.installed
UNFINISHED := $(VENV)/.installing
LOG := $(VENV)/install.log
EXTRAS := dev,tune,store
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Ray starts many Python processes. Without byte code on disk each compiles every import again: 20 s instead of 7 s to start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.SUFFIXES:
.PHONY: help install frontends train test chaos lint ui lock clean always

help: ## List the targets
	@echo "qfleet: train variational quantum circuits on a fleet of Ray actors"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "Options: CONFIG=run.toml (train), ARGS='...' (train, test), PORT=5000 (ui), PYTHON=python3.12, INSTALLER=pip"

install: $(STAMP) ## Create .venv with qfleet and the pinned versions of all it needs
	@echo "Ready: $(BIN)/qfleet --help"

# By pip, which takes a CPU build of torch from wherever it is configured to look; the usual wheel for Linux brings 5 GB of CUDA libraries.
frontends: $(STAMP) ## Add PyTorch and PennyLane, for their layers and device
	@$(PIP_INSTALL) --no-compile torch pennylane 2>>$(LOG) || { tail -n 8 $(LOG) >&2; exit 1; }
	@echo "Ready: PyTorch and PennyLane beside qfleet"

train: $(STAMP) ## Train the default model: breast cancer, 8 qubits, 2 layers
	@$(BIN)/qfleet train $(CONFIG) $(ARGS)

# A file at a time on every worker; and on one of them, one after the other, what starts Ray or servers (see tests/conftest.py).
test: $(STAMP) ## Run the tests
ifdef ARGS
	@$(BIN)/python -m pytest $(ARGS)
else
	@$(BIN)/python -m pytest -m "not chaos" --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder
endif

chaos: $(STAMP) ## Strike whole trainings at random: SCHEDULES=50 FIRST=0
	@CHAOS_SCHEDULES=$(SCHEDULES) CHAOS_FIRST=$(FIRST) $(BIN)/python -m pytest -m chaos -o faulthandler_timeout=0 tests/chaos $(ARGS)

lint: $(STAMP) ## Check style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

ui: $(STAMP) ## Open the recorded runs in MLflow
	@test -f mlflow.db || { echo "No runs are recorded here yet (no mlflow.db): try 'make train' first." >&2; exit 1; }
	@echo "MLflow will answer at port $(PORT) of this machine (127.0.0.1); Ctrl-C stops it."
	@MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
	  $(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port $(PORT) --workers 1

# Pins that still satisfy pyproject.toml are kept; `make lock ARGS=--upgrade` takes the newest. torch is resolved together with the
# rest and pinned, the CUDA libraries that its Linux wheel names exactly by itself are not: a CPU wheel must stay installable.
lock: ## Write constraints.txt anew from pyproject.toml
	@test -x $(BIN)/uv || { echo "make lock needs $(BIN)/uv: run 'make install' first." >&2; exit 1; }
	@cp constraints.txt $(VENV)/constraints.new
	@$(BIN)/uv pip compile pyproject.toml --quiet --all-extras --group bootstrap --universal --python-version 3.11 \
	  --no-annotate --no-header --no-emit-index-url $(ARGS) -o $(VENV)/constraints.new
	@grep -Ev '^(cuda|nvidia|triton)' $(VENV)/constraints.new > $(VENV)/constraints.pins
	@cp $(VENV)/constraints.pins constraints.txt
	@echo "constraints.txt: $$(grep -c '==' constraints.txt) pins"

clean: ## Remove .venv, build products and caches; runs/ and mlflow.db stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- The environment -----------------------------------------------------------------------------------------------------------

# A moved or copied checkout has scripts that point to the old place, and a removed Python leaves a dead link: both install again.
ifneq ($(shell test -x $(BIN)/python && cat $(STAMP) 2>/dev/null),$(CURDIR))
$(STAMP): always
endif

OLD_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

$(STAMP): pyproject.toml constraints.txt
	@if [ -e $(VENV) ] && { [ -e $(UNFINISHED) ] || [ "$$(cat $@ 2>/dev/null || pwd -P)" != "$$(pwd -P)" ] \
	    || ! $(BIN)/python -c '$(OLD_ENOUGH)' 2>/dev/null || ! $(BIN)/python -m pip --version >/dev/null 2>&1; }; then \
	  echo "$(VENV) is unfinished, was moved here, or has an unfit Python: making it anew."; rm -rf $(VENV); \
	fi
	@[ -e $(VENV) ] || $(PYTHON) -c '$(OLD_ENOUGH)' 2>/dev/null || { \
	  found=$$($(PYTHON) --version 2>&1) || found="not a Python that runs here"; \
	  echo "qfleet needs Python 3.11 or newer, and '$(PYTHON)' is $$found." >&2; \
	  for newer in python3.14 python3.13 python3.12 python3.11; do \
	    if $$newer --version >/dev/null 2>&1; then echo "Found $$newer here. Try: make PYTHON=$$newer $(MAKECMDGOALS)" >&2; exit 1; fi; \
	  done; \
	  echo "Install one, then: make PYTHON=/path/to/python $(MAKECMDGOALS)" >&2; exit 1; }
	@[ -e $(VENV) ] || { echo "Creating $(VENV) with $$($(PYTHON) --version 2>&1)"; $(PYTHON) -m venv $(VENV) >$(VENV).log 2>&1; } || { \
	  cat $(VENV).log >&2; rm -rf $(VENV) $(VENV).log; \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu it is in the package python3-venv." >&2; exit 1; }
	@rm -f $(VENV).log $@; touch $(UNFINISHED); : >$(LOG)
	@echo "Installing qfleet and the versions pinned in constraints.txt (1.9 GB on disk; a minute or two the first time)"
	@{ [ "$(INSTALLER)" = uv ] \
	    && $(PIP_INSTALL) uv \
	    && $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode \
	         -c constraints.txt --build-constraints constraints.txt -e '.[$(EXTRAS)]'; } 2>>$(LOG) \
	  || { [ "$(INSTALLER)" != uv ] || echo "uv could not do it ($(LOG) says why); trying pip, which takes longer"; \
	       $(PIP_INSTALL) -e '.[$(EXTRAS)]'; } 2>>$(LOG) \
	  || { tail -n 8 $(LOG) >&2; \
	       echo "The installation failed; all of it is in $(LOG). The same command tries again." >&2; exit 1; }
	@rm -f $(UNFINISHED); pwd -P >$@
