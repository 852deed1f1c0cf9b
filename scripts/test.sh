#!/usr/bin/env bash
# Runs every test and the lints, all of them even when one fails, and ends with the totals. Called
# by `make test`.
set -uo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=()
step() {
  local name=$1
  shift
  printf '== %s\n' "$name"
  "$@" || failed+=("$name")
}

# The end-to-end tests run the commands that a user would run.
# The benchmarks beside peers have no tests and link the peers; the lints see that they build.
without=(--exclude bpftime-bench-verifier --exclude bpftime-bench-vm)
# With the solver, so that `bpftime verify --smt` is tested; the lints see the command without it.
with=(--features bpftime-cli/smt)
step "build" cargo build --quiet --workspace "${without[@]}" "${with[@]}" --bins
step "tests" bash -c 'set -o pipefail; log=$1; shift; cargo nextest run --workspace "$@" --no-fail-fast 2>&1 | tee "$log"' - "$log" "${without[@]}" "${with[@]}"
step "documentation tests" cargo test --workspace "${without[@]}" --doc --quiet
step "formatting" cargo fmt --all --check
step "lints" cargo clippy --workspace --all-targets --quiet -- -D warnings

grep -E '^ +Summary \[' "$log" || echo "no test totals: the tests did not run"
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}"
  exit 1
fi
