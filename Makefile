# The two commands of the README, and what they are made of. Each installs what it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := build

.PHONY: demo test bench bench-verifier bench-vm corpus proofs fuzz build examples lint clean

## demo: builds all, then counts malloc in two live processes with an unmodified libbpf tool
demo:
	scripts/install-deps.sh
	cargo build --release -p bpftime-cli
	$(MAKE) --no-print-directory -s -C examples
	scripts/demo.sh target/release/bpftime

## test: every test, unit to end to end, and the totals
test:
	scripts/install-deps.sh --test
	$(MAKE) --no-print-directory -s -C examples
	$(MAKE) --no-print-directory -s -C benches
	scripts/test.sh

## bench: ns per probed call, ours beside the kernel's, as a table and as bench-results.json
bench:
	scripts/install-deps.sh
	cargo build --release -p bpftime-cli
	$(MAKE) --no-print-directory -s -C examples
	$(MAKE) --no-print-directory -s -C benches
	cargo build --release -p bpftime-bench
	target/release/bench-uprobe target/release/bpftime bench-results.json
	$(MAKE) --no-print-directory bench-verifier
	$(MAKE) --no-print-directory bench-vm

## bench-verifier: growth of the verifier's time on generated programs; its number domains beside the same
## without generics; time and memory on programs that are made to cost much, and of verdicts on the objects below $BPFTIME_SAMPLES, ours beside PREVAIL's and the kernel's; as tables and as JSON
bench-verifier:
	scripts/install-deps.sh
	$(MAKE) --no-print-directory -s -C benches
	cargo build --release -p bpftime-bench-verifier
	target/release/bench-verifier-growth bench-growth.json --plot docs/verifier-growth.svg
	target/release/bench-verifier-domains bench-domains.json
	target/release/bench-verifier-hostile bench-hostile.json
ifdef BPFTIME_SAMPLES
	target/release/bench-verifier $(BPFTIME_SAMPLES) bench-verifier.json \
		$(addprefix --types ,$(wildcard $(or $(BPFTIME_VECTORS),../shared/vectors)/ebpf-samples.tsv))
else
	@echo "verdicts on real objects are not measured: set BPFTIME_SAMPLES to a folder of objects, such as a"
	@echo "checkout of https://github.com/vbpf/ebpf-samples"
endif

## bench-vm: time of the programs in benches/programs in our engines, the kernel's (as root), those of peers and
## as native code; as tables, as bench-vm.json and as a plot
bench-vm:
	scripts/install-deps.sh
	$(MAKE) --no-print-directory -s -C benches
	cargo build --release -p bpftime-bench-vm --features rbpf-cranelift
	target/release/bench-vm bench-vm.json --plot docs/vm-benchmark.svg

## corpus: verdicts on the objects below $CORPUS, ours beside the running kernel's (as root); with
## $BPFTIME_SAMPLES, a checkout of ebpf-samples, verdicts beside the known ones, and runs on inputs
corpus:
	scripts/install-deps.sh
ifdef BPFTIME_SAMPLES
	cargo test --release -p bpftime-tests --test samples --test runs -- --nocapture
endif
ifdef CORPUS
	CORPUS="$(CORPUS)" cargo test --release -p bpftime-tests --test runs objects -- --nocapture
	cargo build --release -p bpftime-cli
	scripts/corpus.sh "$(CORPUS)" target/release/bpftime
endif

## proofs: z3 proofs of the verifier's scalar domains, and what is not proved, as a table
proofs:
	scripts/install-deps.sh --test
	cargo run --release -p bpftime-proofs --bin prove

## fuzz: each fuzz target for FUZZ_SECONDS seconds (60), with coverage and the address sanitizer; needs nightly Rust.
## What is found stays in fuzz/artifacts, what led on in fuzz/corpus
FUZZ_SECONDS ?= 60
fuzz:
	scripts/install-deps.sh
	command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked
	$(MAKE) --no-print-directory -s -C examples
	mkdir -p fuzz/corpus/object && cp examples/*/*.bpf.o fuzz/corpus/object/
	for target in slots object text; do \
		cargo +nightly fuzz run $$target --target-dir target/fuzz -- -max_total_time=$(FUZZ_SECONDS) -max_len=65536 || exit 1; \
	done

## build: the bpftime command and the examples
build:
	scripts/install-deps.sh
	cargo build --release -p bpftime-cli
	$(MAKE) --no-print-directory -s -C examples

examples:
	scripts/install-deps.sh
	$(MAKE) --no-print-directory -s -C examples

## lint: formatting and clippy, as CI checks them
lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

clean:
	cargo clean
	$(MAKE) --no-print-directory -s -C examples clean
