#!/usr/bin/env bash
# The quick start of the README without typing: an unmodified libbpf tool counts malloc in a process
# that is started and in one that runs already, as an ordinary user and without kernel eBPF.
#
#   scripts/demo.sh PATH-OF-BPFTIME
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: scripts/demo.sh PATH-OF-BPFTIME" >&2; exit 2; }
examples=$(cd "$(dirname "$0")/../examples" && pwd)
bpftime=$(realpath "$1")

# A folder that an ordinary user may read, for when this runs as root.
stage=$(mktemp -d "${TMPDIR:-/tmp}/bpftime-demo-XXXXXX")
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || :; done
  wait 2>/dev/null || :
  rm -rf "$stage"
}
trap finish EXIT
cp "$bpftime" "$stage/bpftime"
cp "$examples"/malloc/{malloc,victim,malloc.bpf.o} "$examples"/xdp/{drop.bpf.o,in.pcap} "$stage"
mkdir "$stage/run"
as_user=()
if [ "$(id -u)" -eq 0 ]; then
  chown -R 65534:65534 "$stage"
  as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
fi
chmod 755 "$stage"
chmod 700 "$stage/run"
cd "$stage"
export HOME=$stage XDG_RUNTIME_DIR=$stage/run PATH=$stage:$PATH

show() { printf '\n$ %s\n' "$*"; }
run() { show "$@"; "${as_user[@]}" "$@"; }
background() { show "$@ &"; "${as_user[@]}" "$@" & pids+=($!); }

echo "As user $("${as_user[@]}" id -u), on Linux $(uname -r):"
run bpftime verify malloc.bpf.o
run bpftime run drop.bpf.o --packet in.pcap --repeat 1000

show "./victim 3 2 1000 &   # runs before anything attaches"
"${as_user[@]}" ./victim 3 2 1000 & other=$!
pids+=("$other")
background bpftime load ./malloc 4
tool=$!
for _ in $(seq 100); do
  "${as_user[@]}" bpftime status --json 2>/dev/null | grep -q count_malloc && break
  sleep 0.05
done
background bpftime start ./victim 2 2 1000
started=$!
run bpftime attach "$other"
sleep 0.5
run bpftime status
run bpftime map list
run bpftime detach "$other"
wait "$started" "$other"
wait "$tool"
