#!/usr/bin/env bash
# Compiles the eBPF programs of aya's integration tests, in C and in Rust, as objects into FOLDER, for
# `make corpus CORPUS=FOLDER`. $AYA is a checkout of https://github.com/aya-rs/aya.
#
# Those in Rust take a nightly toolchain with rust-src, and bpf-linker ($BPF_LINKER, or the one in PATH; with
# LLVM 22, as nightly has it: `cargo +nightly install bpf-linker@0.10.3`). Without, there are those in C alone.
set -euo pipefail
folder=$(realpath -m "${1:?usage: AYA=CHECKOUT aya.sh FOLDER}")
aya=$(realpath "${AYA:?a checkout of aya}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say() { printf 'aya: %s\n' "$*" >&2; }

PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$folder/c" "$folder/rust"
bpftool btf dump file /sys/kernel/btf/vmlinux format c >"$work/vmlinux.h"
left_out=()
for source in "$aya"/test/integration-test/bpf/*.c; do
  name=$(basename "$source" .c)
  clang-19 -g -O2 -target bpf -D__TARGET_ARCH_x86 -I"$work" -I/usr/include/x86_64-linux-gnu -Wno-everything \
    -c "$source" -o "$folder/c/${name%.bpf}.o" 2>/dev/null || left_out+=("$name")
done

if [ -n "${BPF_LINKER:-}" ]; then PATH=$(dirname "$(realpath "$BPF_LINKER")"):$PATH; fi
if command -v bpf-linker >/dev/null && cargo +nightly --version >/dev/null 2>&1; then
  # What says how the checkout's own tests find the linker takes many other crates.
  cp -r "$aya" "$work/aya"
  cd "$work/aya/test/integration-ebpf"
  sed -i '/^\[build-dependencies\]/,/^$/d' Cargo.toml
  rm -f build.rs
  CARGO_ENCODED_RUSTFLAGS=$'--cfg=bpf_target_arch="x86_64"\x1f-Cdebuginfo=2\x1f-Clink-arg=--btf' \
    CARGO_TARGET_DIR=${AYA_TARGET:-$work/target} \
    cargo +nightly -q build -Z build-std=core --target bpfel-unknown-none --release --bins --keep-going || true
  for binary in "${AYA_TARGET:-$work/target}"/bpfel-unknown-none/release/*; do
    if [[ -f $binary && $(basename "$binary") != *.* ]]; then cp "$binary" "$folder/rust/$(basename "$binary").o"; fi
  done
else
  say "the programs in Rust are left out: no nightly toolchain, or no bpf-linker"
fi
say "$(find "$folder" -name '*.o' | wc -l) objects in $folder"
[ ${#left_out[@]} -eq 0 ] || say "not compiled: ${left_out[*]}"
