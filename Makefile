# `make run` shows the system at work, `make test` is what CI runs. Needs python3 (3.11 to 3.13) with venv, and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXAMPLE := examples/order_fulfilment
PYTEST ?= $(BIN)/pytest
# Tests mostly wait for processes of theirs. A file stays in one process, whose module has one running system.
PARALLEL ?= -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: install run check test test-fast faults clean

install: $(VENV)/installed

# The stamp makes a second `make` quick; it is written last, so that an install that broke off is done again.
$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# The warehouse is the REST server that the example calls; it is open while the command runs.
run: install
	$(BIN)/python $(EXAMPLE)/warehouse.py orchestrator run $(EXAMPLE)/order-fulfilment.yaml \
	    --with $(EXAMPLE)/reserve-line.yaml --override-url https://warehouse.example={warehouse}

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(PYTEST) $(PARALLEL)

# No services, no worker processes: seconds.
test-fast: install
	$(PYTEST) $(PARALLEL) tests/unit tests/contracts -m "not services and not slow"

# Everything breaks for a while, at random: `make faults SECONDS=600 SEED=7`. Without a seed, another round each time.
SECONDS ?= 60
DATABASE ?= postgres
faults: install
	$(BIN)/python -m tests.faults.round --seconds $(SECONDS) --database $(DATABASE) $(if $(SEED),--seed $(SEED))

clean:
	rm -rf $(VENV)
