# Two commands on a fresh machine: `make demo` and `make test`. Everything else is for those who work on it.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

define install
	@echo 'installing FirstVisit and the packages it needs into $(VENV), once: a minute or two'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --disable-pip-version-check --progress-bar off -e '.[$(1)]'
endef

.DEFAULT_GOAL := help
.PHONY: help demo test check bench faults fuzz clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.demo ## the whole way on this machine; SOURCE=rtsp://… or usb:0 or a file uses that camera instead
	@$(BIN)/firstvisit demo $(if $(SOURCE),--source '$(SOURCE)')

test: $(VENV)/.dev ## every test this machine can run; those it cannot say why
	@.ci/debian-packages test
	@$(BIN)/firstvisit models install || echo 'no model pack: the tests that need one are skipped'
	$(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile

check: $(VENV)/.dev ## style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(VENV)/.dev ## the measured figures of the READMEs, beside their peers and limits; ONLY=sync, clip, gallery, cameras or desk for a part
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.bench --out bench $(if $(ONLY),--only $(ONLY))

faults: $(VENV)/.dev ## evidence under twelve kinds of accident; CUT=1 for a shorter cut, MUTANTS=1 to try the tests themselves
	@.ci/debian-packages test
	$(BIN)/python -m tests.faults $(if $(CUT),--cut) $(if $(MUTANTS),--mutants)

fuzz: $(VENV)/.dev ## every decoder, an hour in all; FUZZ_S=… for fewer seconds
	$(BIN)/python -m tests.faults.fuzz --seconds $(or $(FUZZ_S),3600)

clean: ## what the targets above made, but for installed packs
	rm -rf $(VENV) demo-data

$(VENV)/.demo: pyproject.toml
	@.ci/debian-packages demo
	$(call install,demo)
	@touch $@

$(VENV)/.dev: pyproject.toml
	@.ci/debian-packages demo
	$(call install,dev)
	@touch $@ $(VENV)/.demo
