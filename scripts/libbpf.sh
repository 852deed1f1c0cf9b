#!/usr/bin/env bash
# Builds a libbpf newer than the system's into FOLDER, out of the sources that crates.io has with the crate
# libbpf-sys; `make corpus LIBBPF=FOLDER` then asks the kernel with it. Old ones cannot open objects with
# arenas, and cannot make user ring buffers.
set -euo pipefail
folder=$(realpath -m "${1:?usage: libbpf.sh FOLDER}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
echo 'fn main() {}' >"$work/src/main.rs"
printf '[package]\nname = "sources"\nversion = "0.0.0"\nedition = "2024"\n[dependencies]\nlibbpf-sys = "1"\n[workspace]\n' >"$work/Cargo.toml"
(cd "$work" && cargo -q vendor vendor >/dev/null)
make -s -C "$work/vendor/libbpf-sys/libbpf/src" BUILD_STATIC_ONLY=1 OBJDIR="$work/obj" DESTDIR="$folder" \
  PREFIX= LIBDIR=/lib install install_uapi_headers >/dev/null
echo "libbpf in $folder" >&2
