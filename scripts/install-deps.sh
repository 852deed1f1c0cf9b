#!/usr/bin/env bash
# Installs what building and testing needs and this machine lacks: Debian packages, the Rust
# target of the in-target image and, with --test, cargo-nextest. Does nothing where all is there.
set -euo pipefail

want_test=false
[ "${1:-}" = --test ] && want_test=true

say() { printf 'install-deps: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# command or file that shows that the package is there, then the package
needed=(
  "cmd:gcc gcc"
  "cmd:make make"
  "cmd:pkg-config pkg-config"
  "cmd:python3 python3"
  "cmd:clang-19 clang-19"
  "cmd:bpftool bpftool"
  "file:/usr/include/bpf/libbpf.h libbpf-dev"
  "file:/usr/include/libelf.h libelf-dev"
  "file:/usr/include/zlib.h zlib1g-dev"
)
if $want_test; then
  needed+=(
    "cmd:g++ g++"
    "cmd:clang-14 clang-14"
    "cmd:llvm-objdump-19 llvm-19"
    "cmd:musl-gcc musl-tools"
    "file:/usr/include/z3.h libz3-dev"
    "cmd:setpriv util-linux"
  )
fi

missing=()
for entry in "${needed[@]}"; do
  probe=${entry%% *} package=${entry#* }
  case $probe in
    cmd:*) PATH=$PATH:/usr/sbin:/sbin command -v "${probe#cmd:}" >/dev/null || missing+=("$package") ;;
    file:*) [ -e "${probe#file:}" ] || missing+=("$package") ;;
  esac
done

if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null ||
    die "these Debian packages (or your system's counterparts) are missing: ${missing[*]}; install them and run this again"
  sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
      sudo=(sudo)
    else
      die "may not install packages as $(id -un); run: sudo apt-get install ${missing[*]}"
    fi
  fi
  say "installing Debian packages: ${missing[*]}"
  "${sudo[@]}" apt-get update -qq >/dev/null || die "apt-get update failed"
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    die "apt-get could not install: ${missing[*]}"
fi

command -v cargo >/dev/null || die "cargo is missing; install Rust 1.95 or newer with rustup (https://rustup.rs)"
if ! [ -d "$(rustc --print sysroot)/lib/rustlib/x86_64-unknown-none" ]; then
  command -v rustup >/dev/null ||
    die "the Rust target x86_64-unknown-none is missing and there is no rustup to add it"
  say "adding the Rust target x86_64-unknown-none"
  rustup --quiet target add x86_64-unknown-none || die "rustup could not add the target x86_64-unknown-none"
fi

if $want_test && ! cargo nextest --version >/dev/null 2>&1; then
  say "installing cargo-nextest from crates.io (some minutes)"
  cargo install --quiet --locked cargo-nextest || die "cargo could not install cargo-nextest"
fi
