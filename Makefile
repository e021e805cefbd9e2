# Everything that one types here. `make` alone shows this list.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CONFIG ?= customer_settings.toml
IMAGE ?= record-sync
# The profile of .config/nextest.toml; .ci/run sets `ci`.
PROFILE ?= default
ARGS ?=
# Simulated histories that `make test` and `make sim` play.
HISTORIES ?= 10000
export HISTORIES
# Optimised a little, with all checks on: the proofs take minutes that way, and not an hour. One profile for all
# but `run` and `bench`, so that what one step has compiled serves the next.
PROOF := --locked --profile sim
# The simulation alone holds the switches of planted bugs, all off unless it plants one.
SIMULATE := --features planted --test simulate

.PHONY: help run test lint fmt sim planted crash strace clients bench verify docker clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build, make the demo data where missing, sync it with the built-in mocks; API on port 8000 (its description at /docs)
	@cargo build --release --locked
	@cargo run --release --locked --quiet -- --config $(CONFIG) demo insert --count 0
	@exec cargo run --release --locked --quiet -- --config $(CONFIG) run $(ARGS)

test: strace clients ## Install what the tests need, run every test and proof (HISTORIES=150 shortens the longest)
	@cargo nextest --version >/dev/null 2>&1 || cargo install --locked cargo-nextest
	cargo nextest run --locked --cargo-profile sim --profile $(PROFILE) $(ARGS)
	cargo nextest run --locked --cargo-profile sim --profile $(PROFILE) --no-tests $(if $(ARGS),pass,fail) $(SIMULATE) $(ARGS)

lint: ## Check formatting and lints
	cargo fmt --check
	cargo clippy $(PROOF) --all-targets -- -D warnings
	cargo clippy $(PROOF) $(SIMULATE) -- -D warnings

fmt: ## Format the code
	cargo fmt

sim: ## Play simulated histories (HISTORIES=, FIRST=, STEPS=, WITHIN=seconds), or one with its trace (SEED=)
	cargo test $(PROOF) $(SIMULATE) -- --nocapture histories

planted: ## Plant bugs, one after the other; the simulation has to catch each (BUG= names one)
	cargo test $(PROOF) $(SIMULATE) -- --nocapture planted_bugs

crash: strace ## Kill the binary at every call that changes something, and start it again (POINT=… plays one; SCENE= FAULT= BUDGET= choose)
	CRASH=$${CRASH:-all} cargo test $(PROOF) --test crash -- --nocapture kill_points

# Kill points need it. Where it can't be had the tests fail and say so; CRASH=skip goes on without.
strace:
	@if ! command -v strace >/dev/null && [ "$${CRASH:-}" != skip ]; then \
	  as_root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  $$as_root apt-get install -y strace >/dev/null || { $$as_root apt-get update >/dev/null && $$as_root apt-get install -y strace >/dev/null; } \
	    || { echo "*** strace can't be installed: install it, or set CRASH=skip to leave the kill points unproven ***" >&2; exit 1; }; \
	fi

# Other people's clients, in a Python and a Node of their own. Where they can't be had the tests fail and say so; CLIENTS=skip goes on without.
WANTED := tests/clients/requirements.txt tests/clients/package-lock.json
clients: ## Install the clients of other people that the mocks are tested with
	@if [ "$${CLIENTS:-}" != skip ] && ! cat $(WANTED) | cmp -s - target/clients/installed; then \
	  { { command -v node && command -v npm; } >/dev/null || { \
	      as_root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	      $$as_root apt-get install -y nodejs npm >/dev/null || { $$as_root apt-get update >/dev/null && $$as_root apt-get install -y nodejs npm >/dev/null; }; } ; } \
	    && python3 -m venv target/clients && target/clients/bin/pip install --quiet --disable-pip-version-check -r tests/clients/requirements.txt \
	    && cp tests/clients/package.json tests/clients/package-lock.json target/clients/ \
	    && npm ci --prefix target/clients --silent --ignore-scripts --no-audit --no-fund \
	    && cat $(WANTED) > target/clients/installed \
	    || { echo "*** the clients can't be installed (python3 with venv and pip, node from 18 on with npm?): see above, or set CLIENTS=skip to leave the mocks unproven ***" >&2; exit 1; }; \
	fi

bench: ## Measure the stages and the whole path against a bare loop
	cargo bench --locked --bench sync -- $(ARGS)

verify: ## Do all that CI does
	.ci/run

docker: ## Build the image
	docker build --tag $(IMAGE) .

clean: ## Forget demo data, state and logs (not the build)
	rm -rf data/* logs/*
