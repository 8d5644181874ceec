# The jobs of this repository, by name; `make help` lists them. Build output stays outside the checkout.
SHELL := /bin/bash
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/connect-runtime
export CARGO_TARGET_DIR ?= $(CACHE)/target

# One feature set for the whole test build, so that nothing is compiled twice: the conformance suite, and
# the points at which crash tests kill the program.
TEST_FEATURES := --features connector-api/testing,connect-runtime/failpoints

.DEFAULT_GOAL := help
.PHONY: help build demo test test-full bench bench-cdc bench-oracle lint advisories

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

build: ## The program, as it is released
	cargo build --release --package connect-runtime

demo: ## A throw-away PostgreSQL into Iceberg with one command, looked at through DuckDB
	scripts/setup
	scripts/demo

test: ## Every test, on real servers
	scripts/setup tests
	cargo build --workspace --all-targets $(TEST_FEATURES)
	CONNECT_RUNTIME_BIN=$(CARGO_TARGET_DIR)/debug/connect-runtime cargo test --workspace $(TEST_FEATURES)

test-full: test ## `test`, the tests that take minutes each, and those by Apache Spark
	scripts/setup spark
	CONNECT_RUNTIME_BIN=$(CARGO_TARGET_DIR)/debug/connect-runtime cargo test --package connect-tests -- --ignored

bench: ## Bulk load against COPY to nowhere and DuckDB; ROWS=… for another size
	scripts/setup
	cargo build --release --package connect-runtime
	scripts/bench $(if $(ROWS),--rows $(ROWS)) $(BENCH_FLAGS)

bench-cdc: ## Change events from a real broker against reading them to nowhere; ROWS=… for another size
	scripts/setup tests
	cargo build --release --package connect-runtime
	cargo build --release --package connect-tests --example events
	scripts/bench-cdc $(if $(ROWS),--rows $(ROWS)) $(BENCH_FLAGS)

bench-oracle: ## Bulk load from a server that speaks Oracle's protocol, against Oracle's driver alone; ROWS=…
	scripts/setup
	cargo build --release --package connect-runtime
	cargo build --release --package connector-oracle --package connect-oracle-double --example oracle_speed --example serve
	scripts/bench-oracle $(if $(ROWS),--rows $(ROWS)) $(BENCH_FLAGS)

lint: ## Format, clippy, licences, structure
	cargo fmt --all --check
	cargo clippy --workspace --all-targets $(TEST_FEATURES) -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --all-features check bans licenses sources; \
	 else echo "lint: cargo-deny is not installed; licences and sources are not checked (cargo install cargo-deny)"; fi
	cargo test --package connect-tests --test tidy

advisories: ## Known vulnerabilities in what we link; fetches the RustSec database, so it needs github.com
	cargo deny --all-features check advisories
