# make run   sets everything up and serves    make run STUDIES=<DICOM folder or DICOMweb URL> HOST=… PORT=…
# make check sets everything up, checks without running and runs the unit tests: about two minutes
# make test  sets everything up and runs all checks and tests                  make test PYTEST="-k name"
# make weights DATA=<folder>   trains the shipped weights again

STUDIES ?=
HOST    ?= 127.0.0.1
PORT    ?= 8000
CONF    ?=
DATA    ?= ../shared/data
# The first supported Python that can create virtual environments.
PYTHON  ?= $(or $(shell for p in python3 python3.12 python3.11 python3.10; do $$p -c 'import ensurepip, sys; \
	sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$p && break; done),python3)

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q
DEMO := workspace/demo-studies

.PHONY: run test check unit covered others static install doctor weights clean

run: .venv/installed $(if $(STUDIES),,$(DEMO)/complete)
	@case "$(STUDIES)" in ""|http://*|https://*) ;; *) test -d "$(STUDIES)" || \
		{ echo "There is no folder $(STUDIES). Give a folder of DICOM files or a DICOMweb URL: make run STUDIES=..."; exit 1; };; esac
	@echo "Starting LungLabel on $(or $(STUDIES),$(DEMO)) ..."
	@$(BIN)/monailabel start_server --app "$(CURDIR)" --studies "$(or $(STUDIES),$(DEMO))" \
		--host $(HOST) --port $(PORT) $(CONF)

CHECKS := static check-js docs
check: .venv/installed-test
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target $(CHECKS) unit

# One after the other, each on two cores: tests in two processes, which take a file at a time.
test: .venv/installed-test
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target $(CHECKS)
	@$(MAKE) --no-print-directory --jobs=1 --keep-going unit others

TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --dist=loadfile
# pytest ends with 5 where PYTEST selects no test.
unit: .venv/installed-test
	$(TESTS) --numprocesses=2 -m unit $(PYTEST) || test $$? = 5

# Not a part of `test`: collecting the coverage takes a quarter of the time of the unit tests.
covered: .venv/installed-test
	$(TESTS) --numprocesses=2 -m unit --cov --cov-report=term:skip-covered $(PYTEST)

# In the order of the folders: xdist's own order starts files of one long test last, when the other process is idle.
others: .venv/installed-test
	$(TESTS) --numprocesses=2 --no-loadscope-reorder --durations=30 -m "not unit" $(PYTEST) || test $$? = 5

static: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy lib
	$(BIN)/lint-imports

install: .venv/installed

doctor: .venv/installed
	@$(BIN)/python main.py doctor $(STUDIES)

.PHONY: docs lock check-js
docs: .venv/installed-test
	$(BIN)/mkdocs build --strict   # with --quiet, it ignores warnings

# Generate requirements*.txt from pyproject.toml. Pinned versions are kept, except with make lock UPGRADE=--upgrade or
# UPGRADE="--upgrade-package NAME".
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-annotate --no-emit-index-url \
	--custom-compile-command "make lock" $(UPGRADE) pyproject.toml
lock: .venv/installed-test
	$(LOCK) --output-file requirements.txt
	$(LOCK) --output-file requirements-test.txt --extra test --constraints requirements.txt
	$(LOCK) --output-file requirements-cluster.txt --extra cluster --constraints requirements-test.txt

# eslint, TypeScript's checks and the unit tests of the panel in OHIF. Without node they are skipped, but not in CI.
check-js:
ifneq ($(and $(shell command -v node),$(shell command -v npm)),)
	@test node_modules/installed -nt package-lock.json || { npm ci --no-audit --no-fund --silent && touch node_modules/installed; }
	npm run --silent check
else
	@echo "SKIPPED: the JavaScript is not checked, because node and npm are missing: apt-get install nodejs npm"; test -z "$(CI)"
endif

# Train the shipped weights again by model/recipe.yaml; finished stages are kept, a stopped one is resumed.
# make weights INSTALL=--install   also replaces the shipped weights, their checksum and their manifest
INSTALL ?=
weights: .venv/installed
	$(BIN)/python main.py weights --data $(DATA) --output workspace/weights --threads 1 $(INSTALL)

clean:
	rm -rf .venv $(DEMO)

.venv/installed: requirements.txt pyproject.toml lib/cli/monailabel.sh
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v < (3, 13) else \
	  "LungLabel needs Python 3.10, 3.11 or 3.12; %s is %d.%d. Name another one: make PYTHON=python3.12" % (sys.executable, *v))'
	@command -v c++ >/dev/null || { echo "A C++ compiler is needed to build pydensecrf: apt-get install g++"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing PyTorch (on a machine for NVIDIA GPUs this is about 3 GB; once only) ..."
	@$(PIP) -c requirements.txt torch
	@echo "Installing MONAI Label and the rest; pydensecrf is compiled ..."
	@$(PIP) --no-deps -r requirements.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@install -m 755 lib/cli/monailabel.sh $(BIN)/monailabel
	@touch $@

.venv/installed-test: .venv/installed requirements-test.txt
	@$(PIP) --no-deps -r requirements-test.txt
	@touch $@

$(DEMO)/complete: | .venv/installed
	@echo "No STUDIES given: making a small set of chest phantoms in $(DEMO) ..."
	@$(BIN)/python main.py phantoms $(DEMO)
	@touch $@
