#!/usr/bin/env bash
# Verdicts over all objects below a folder, ours beside the running kernel's where this runs as root,
# and the programs on which the two differ. Called by `make corpus CORPUS=FOLDER`; executables with
# embedded objects can be unpacked before with scripts/extract-objects.py; scripts/selftests.sh compiles the
# kernel's selftests. $LIBBPF is a folder with a libbpf to ask the kernel with (scripts/libbpf.sh), if not
# the system's.
set -euo pipefail
root=$(dirname "$(dirname "$(realpath "$0")")")
folder=${1:?usage: corpus.sh FOLDER [BPFTIME]}
bpftime=${2:-$root/target/release/bpftime}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Exit codes say what the verdicts are, not whether there are any.
"$bpftime" verify --format csv "$folder" >"$work/ours.csv" || [ $? -le 2 ]
: >"$work/kernel.tsv"
libbpf=(-lbpf)
[ -z "${LIBBPF:-}" ] || libbpf=(-I"$LIBBPF/include" "$LIBBPF/lib/libbpf.a" -lelf -lz)
if [ "$(id -u)" -eq 0 ] && gcc -O2 "$root/tests/c/kernel_verdicts.c" -o "$work/kernel_verdicts" "${libbpf[@]}"; then
  cut -d, -f1 "$work/ours.csv" | tail -n +2 | sort -u | xargs -d '\n' "$work/kernel_verdicts" >"$work/kernel.tsv"
else
  echo "the kernel is not asked: that takes root, gcc and libbpf" >&2
fi
python3 "$root/scripts/corpus_table.py" "$folder" "$work/ours.csv" "$work/kernel.tsv"
