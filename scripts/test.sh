#!/usr/bin/env bash
# Runs every test and the lints, and prints the totals. Called by `make test`.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
# The end-to-end tests run the command that a user would run.
cargo build --workspace --bins
cargo nextest run --workspace --no-fail-fast
cargo test --workspace --doc --quiet
cargo clippy --workspace --all-targets --quiet -- -D warnings
