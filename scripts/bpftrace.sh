#!/usr/bin/env bash
# Compiles bpftrace scripts as objects into FOLDER, for `make corpus CORPUS=FOLDER`; as root, as bpftrace makes
# its maps before it is known which they are.
#
# The scripts are those of Debian's package bpftrace, or all *.bt below $BPFTRACE_SCRIPTS. Nothing is attached:
# what the code is does not depend on that. Scripts that bpftrace cannot compile here are named.
set -euo pipefail
root=$(dirname "$(dirname "$(realpath "$0")")")
folder=$(realpath -m "${1:?usage: bpftrace.sh FOLDER}")
scripts=${BPFTRACE_SCRIPTS:-/usr/sbin}
say() { printf 'bpftrace: %s\n' "$*" >&2; }

PATH=$PATH:/usr/sbin:/sbin
for tool in bpftrace clang-19 gcc python3; do
  command -v "$tool" >/dev/null || { say "needs $tool (scripts/install-deps.sh)"; exit 1; }
done
# Tracepoints' formats are read from file systems that are mounted for this script alone.
[ -n "${BPFTRACE_MOUNTS:-}" ] || BPFTRACE_MOUNTS=1 exec unshare -m "$0" "$@"
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null || true
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null || true

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
gcc -O2 -shared -fPIC "$root/tests/c/bpftrace_maps.c" -o "$work/maps.so" -ldl
mkdir -p "$folder"
left_out=()
while read -r script; do
  name=$(basename "$script" .bt)
  export BPFTRACE_MAPS=$work/$name.maps
  timeout 60 bpftrace --emit-elf "$work/$name.o" "$script" >"$work/$name.log" 2>&1 </dev/null || true
  if [ ! -s "$work/$name.o" ]; then
    left_out+=("$name ($(grep -m1 -E 'ERROR|error:' <(grep -v RLIMIT_MEMLOCK "$work/$name.log") | tail -c 150))")
    continue
  fi
  : >"$BPFTRACE_MAPS"
  LD_PRELOAD=$work/maps.so timeout -s INT 20 bpftrace "$script" >"$work/$name.log" 2>&1 </dev/null || true
  python3 "$root/scripts/bpftrace_object.py" "$work/$name.o" "$BPFTRACE_MAPS" >"$work/$name.c"
  clang-19 -g -O2 -target bpf -I/usr/include/x86_64-linux-gnu -Wno-everything -c "$work/$name.c" -o "$folder/$name.bt.o"
done < <(find "$scripts" -name '*.bt' | sort)
say "$(find "$folder" -name '*.bt.o' | wc -l) objects in $folder"
for name in "${left_out[@]}"; do say "not compiled: $name"; done
