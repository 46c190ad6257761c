# Two things are needed: make, and Python 3.11 or newer. Everything else is fetched into .venv.
#   make run                      everything on this machine, with a demo program
#   make run ARGS="--port 9000"   options of a command go into ARGS
#   make PYTHON=python3.12 …      another Python

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help run test hunt hunt-api lint bench bench-links bench-orders bench-loader bench-peers bench-batches bench-payouts bench-audit bench-pages bench-replay bench-seals bench-statistics performance faults-clicks faults-payouts faults-payouts-processes demo-data screenshots tour translations clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-24s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(INSTALLED) ## start everything with a demo program; Ctrl-C stops it, the data stays
	@$(BIN)/kopeck run $(ARGS)

test: $(INSTALLED) ## every test, real servers included; ARGS="tests/core -x" for some of them
	@$(BIN)/pytest -n 2 --dist loadgroup --no-loadscope-reorder $(ARGS)

hunt: $(INSTALLED) ## the tests of what always holds, with examples nobody has seen yet
	@KOPECK_HUNT=1 $(BIN)/pytest $$(grep -rl --include='*.py' 'import.* given' tests) $(ARGS)

hunt-api: $(INSTALLED) ## thousands of requests drawn from the API's own description; ARGS="-k walks"
	@KOPECK_HUNT=1 KOPECK_HUNT_EXAMPLES=250 $(BIN)/pytest -n 0 --timeout=3600 tests/api/test_hunt.py $(ARGS)

lint: $(INSTALLED) ## style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED) ## the click benchmark: the front against a bare Flask and a bare WSGI redirect
	@$(BIN)/python -m bench.clicks $(ARGS)

bench-links: $(INSTALLED) ## a million links: memory, restart, finding one, clicks while all are read
	@$(BIN)/python -m bench.links $(ARGS)

bench-orders: $(INSTALLED) ## the order benchmark: a complete order against a no-op Flask POST
	@$(BIN)/python -m bench.orders $(ARGS)

bench-peers: $(INSTALLED) ## clicks and orders beside two Django packages; the first run installs them
	@$(BIN)/python -m bench.peers $(ARGS)

bench-loader: $(INSTALLED) ## the loader benchmark: all it does against a bare COPY of the same rows
	@$(BIN)/python -m bench.loader $(ARGS)

bench-replay: $(INSTALLED) ## a draft tried on 100,000 orders, beside the order intake
	@$(BIN)/python -m bench.replay $(ARGS)

bench-pages: $(INSTALLED) ## every page on a year of demo data, beside a bare Flask page; ARGS="--clicks 100000 --orders 5000"
	@$(BIN)/python -m bench.pages $(ARGS)

bench-seals: $(INSTALLED) ## a million transactions sealed and compared, as multiples of one sum over them
	@$(BIN)/python -m bench.seals $(ARGS)

bench-batches: $(INSTALLED) ## drafting a batch of 100,000, beside one plain statement; ARGS="--affiliates 20000"
	@$(BIN)/python -m bench.batches $(ARGS)

bench-payouts: $(INSTALLED) ## 10,000 payouts to the Stripe double at the pace, a twentieth unanswered; ARGS="--items 600"
	@$(BIN)/python -m bench.payouts $(ARGS)

bench-audit: $(INSTALLED) ## the audit of five million entries, beside one sum; ARGS="--entries 500000"
	@$(BIN)/python -m bench.audit $(ARGS)

performance: $(INSTALLED) ## run the benchmarks and write docs/performance.md; ARGS="clicks orders" for some
	@$(BIN)/python -m bench.report $(ARGS)

faults-clicks: $(INSTALLED) ## the kill campaign over clicks, some fifteen minutes; sizes: ARGS="--kills 20", see --help
	@$(BIN)/python -m tests.faults.campaign $(ARGS)

faults-payouts: $(INSTALLED) ## ten thousand simulated runs of payouts; sizes: ARGS="--seeds 300 --resume", see --help
	@$(BIN)/python -m tests.payouts.simulation.payout_campaign $(ARGS)

faults-payouts-processes: $(INSTALLED) ## 500 kills of real processes that pay, most of an hour; ARGS="--kills 50", see --help
	@$(BIN)/python -m tests.payouts.processes.process_campaign $(ARGS)

bench-statistics: $(INSTALLED) ## dashboard questions over 1 and 10 million clicks
	@$(BIN)/python -m bench.statistics $(ARGS)

demo-data: $(INSTALLED) ## a year of history; sizes: ARGS="--affiliates 1000 --orders 5000", see --help
	@$(BIN)/kopeck local demo-data $(ARGS)

screenshots: $(INSTALLED) ## pictures of the pages of a running `make run`, into screenshots/
	@$(BIN)/python -m tests.browser.screenshots $(ARGS)

tour: $(INSTALLED) ## the pictures of docs/tour.md, on a year of demo data; needs a Chromium
	@$(BIN)/python -m tests.browser.tour $(ARGS)

translations: $(INSTALLED) ## look for new texts and bring every catalogue up to date; ARGS="de" begins one
	@$(BIN)/python -m translations $(ARGS)

clean: ## forget the environments (.venv, .bench), not the data
	rm -rf .venv .bench

# Installed again whenever what is required, or what is compiled, has changed.
$(INSTALLED): setup.cfg setup.py pyproject.toml $(wildcard tracker/clicks/*.pyx) tracker/clicks/_bytes.h
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'Kopeck needs Python 3.11 or newer; "$(PYTHON)" is older or missing.' >&2; \
		echo 'Name another one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)' >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo 'The environment could not be made; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	@echo 'Installing what Kopeck needs into .venv …'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
