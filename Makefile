# Every target builds with the one release profile into one directory, so that each dependency is compiled once.
export CARGO_TARGET_DIR ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/millrace/target
export CARGO_TERM_COLOR ?= auto

# The whole workspace is selected everywhere: with a smaller selection cargo would unify features differently and
# compile the dependencies again.
BUILD   = cargo build --release --locked --workspace --bin millrace
BINARY  = $(CARGO_TARGET_DIR)/release/millrace
SECONDS ?=

.PHONY: help build demo test suite check fmt clippy doc tidy deny slt bench bench-check fuzz simulate fuzz-inputs

help:
	@echo 'make demo    build, then run the whole path with nothing installed (SECONDS=30 ends it by itself)'
	@echo 'make test    everything: unit tests, wire protocol, oracle, simulation, sqllogictest, clients, a real Apache Kafka'
	@echo 'make suite   of these the whole-system suite alone'
	@echo 'make check   what CI checks: fmt, clippy, rustdoc, tests, tidy, cargo-deny'
	@echo 'make build   the binary alone'
	@echo 'make bench   Nexmark; BENCH_ARGS is handed on'
	@echo 'make bench-check  instructions of micro-benchmarks beside the recorded ones; needs valgrind'
	@echo 'make fuzz    random queries against recomputation until one differs (SECONDS=600 ends it, SEED=N begins there)'
	@echo 'make simulate  an engine in a simulated world, seed after seed (SECONDS=600 ends it, SEED=N COUNT=1 repeats one)'
	@echo 'make fuzz-inputs  whatever bytes to everything that takes bytes from outside (CASES=100000)'
	@echo 'make slt     the sqllogictest files alone'

build:
	@scripts/setup.sh build
	$(BUILD)

demo: build
	$(BINARY) demo $(if $(SECONDS),--seconds $(SECONDS))

# Tests that are known to fail, each with its reason in tests/known_failures.txt, are named and left out; nothing else is.
KNOWN = $(shell sed -n 's/^\([^#[:space:]][^[:space:]]*\).*/--skip \1/p' tests/known_failures.txt)

# One call builds and runs them all: unit tests, each crate's own suites, and the whole-system suite (oracle, simulation, sqllogictest,
# clients, a real Kafka). `make suite` runs only the last.
test: build
	@scripts/setup.sh test
	@echo 'left out, see tests/known_failures.txt:'; grep -v '^#' tests/known_failures.txt || echo '  nothing'
	cargo test --release --locked --workspace --lib --bins --test '*' --no-fail-fast -- $(KNOWN)

suite: build
	@scripts/setup.sh test
	cargo test --release --locked --workspace --test suite --no-fail-fast -- $(KNOWN)

check: fmt-check clippy doc test deny

fmt:
	cargo fmt --all

.PHONY: fmt-check
fmt-check:
	cargo fmt --all -- --check

clippy:
	@scripts/setup.sh build
	cargo clippy --release --locked --workspace --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS='-D warnings' cargo doc --release --locked --workspace --no-deps --document-private-items

tidy:
	cargo test --release --locked -p tests --test tidy

deny:
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check; else echo 'cargo-deny is not installed: licences and advisories were not checked'; fi

slt: build
	cargo test --release --locked --workspace --test suite -- sqllogictest

bench: build
	$(BINARY) bench nexmark $(BENCH_ARGS)

bench-check: build
	bench/instructions.py $(BINARY)

fuzz: build
	@scripts/fuzz.sh $(SECONDS)

# Needs no other program and no port.
simulate:
	@scripts/setup.sh build
	@SECONDS_='$(SECONDS)' SEED='$(SEED)' COUNT='$(COUNT)' JOBS='$(JOBS)' scripts/simulate.sh

CASES ?= 100000

fuzz-inputs:
	@scripts/setup.sh build
	PROPTEST_CASES=$(CASES) cargo test --release --locked --workspace --lib --bins -- whatever_bytes
