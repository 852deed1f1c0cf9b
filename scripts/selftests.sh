#!/usr/bin/env bash
# Compiles the kernel's BPF selftests as objects into FOLDER, for `make corpus CORPUS=FOLDER`.
#
# The sources are those of Debian's package linux-source-6.12 (another with $LINUX_PACKAGE, or an
# unpacked tree with $LINUX_TREE), the types those of the running kernel, the compiler clang-19. What
# does not compile so (programs for types that the kernel does not have) is left out and named.
set -euo pipefail
folder=$(realpath -m "${1:?usage: selftests.sh FOLDER}")
package=${LINUX_PACKAGE:-linux-source-6.12}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say() { printf 'selftests: %s\n' "$*" >&2; }

PATH=$PATH:/usr/sbin:/sbin
for tool in clang-19 bpftool python3; do
  command -v "$tool" >/dev/null || { say "needs $tool (scripts/install-deps.sh)"; exit 1; }
done

tree=${LINUX_TREE:-}
if [ -z "$tree" ]; then
  cd "$work"
  if ! apt-get -q download "$package" >"$work/apt.log" 2>&1; then
    cat "$work/apt.log" >&2
    say "cannot get $package; where lists of packages are old, apt-get update helps"
    exit 1
  fi
  dpkg-deb -x "$package"_*.deb package
  say "unpacks $(basename "$package"_*.deb)"
  tar -xJf package/usr/src/linux-source-*.tar.xz --wildcards '*/tools/testing/selftests/bpf/*' \
    '*/tools/lib/bpf/*' '*/tools/include/*' '*/include/uapi/*' '*/scripts/bpf_doc.py'
  rm -rf package "$package"_*.deb
  tree=$(echo "$work"/linux-source-*)
fi

# What the selftests' makefile generates: libbpf's headers, and the kernel's types.
include=$work/include
mkdir -p "$include/bpf" "$include/gnu" "$folder"
cp "$tree"/tools/lib/bpf/*.h "$include/bpf/"
python3 "$tree/scripts/bpf_doc.py" --header --file "$tree/tools/include/uapi/linux/bpf.h" \
  >"$include/bpf/bpf_helper_defs.h"
bpftool btf dump file /sys/kernel/btf/vmlinux format c >"$include/vmlinux.h"
# The C library has none for a processor like this.
: >"$include/gnu/stubs.h"

cd "$tree/tools/testing/selftests/bpf"
compile() {
  local object
  object=$2/$(basename "$1" .c).bpf.o
  timeout 60 clang-19 -g -O2 -target bpf -mcpu=v3 -D__TARGET_ARCH_x86 -I"$3" -I. -I../../../include/uapi \
    -I/usr/include/x86_64-linux-gnu -Wno-everything \
    -c "$1" -o "$object" 2>/dev/null || { rm -f "$object"; basename "$1"; }
}
export -f compile
left_out=$(printf '%s\n' progs/*.c | xargs -P "$(nproc)" -I{} bash -c 'compile "$1" "$2" "$3"' - {} "$folder" "$include")
say "$(find "$folder" -name '*.bpf.o' | wc -l) objects in $folder"
[ -z "$left_out" ] || say "not compiled: $(echo $left_out)"
