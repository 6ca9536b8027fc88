#!/usr/bin/env bash
# setup-debian-rust.sh: Rust for this machine and for wasm32-unknown-unknown out of Debian's packages alone, for networks
# where rustup's server does not answer. Needs root. About two minutes; run again, it does only what is missing.
#
# Debian ships no standard library for the target, but its source package holds all of it, vendored crates included: it is
# built here once, as cargo's -Zbuild-std does, and laid into the compiler's own folder.
set -euo pipefail

target=wasm32-unknown-unknown
[ "$(id -u)" = 0 ] || { echo "Debian's packages need root" >&2; exit 1; }

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
install() { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; }

# rustc-web is the recent compiler that Debian stable keeps for its browsers; its plain rustc is often too old.
packages=(rustc-web cargo-web rust-web-src)
for package in "${packages[@]}"; do
  installed "$package" || { apt-get update && install "${packages[@]}"; break; }
done

rustc=/usr/bin/rustc
version=$($rustc -V | cut -d' ' -f2)
llvm=$($rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
host=$($rustc -vV | sed -n 's/^host: //p')
rustlib=$($rustc --print sysroot)/lib/rustlib
source=/usr/src/rustc-$version/library

# The linker for wasm: rustc looks for `rust-lld` in this folder.
if ! [ -x "$rustlib/$host/bin/rust-lld" ]; then
  installed "lld-$llvm" || install "lld-$llvm"
  mkdir -p "$rustlib/$host/bin"
  ln -sfn "/usr/lib/llvm-$llvm/bin/lld" "$rustlib/$host/bin/rust-lld"
fi

# The mark names the compiler, so that an upgrade builds the library anew: another compiler's .rlib files are useless to it.
lib=$rustlib/$target/lib
mark="$($rustc -V) $(dpkg-query -W -f='${Version}' rustc-web)"
if [ "$(cat "$lib/.made-for" 2>/dev/null)" != "$mark" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir "$work/src"
  echo '#![no_std]' >"$work/src/lib.rs"
  printf '[package]\nname = "seed"\nedition = "2021"\n' >"$work/Cargo.toml"
  # A clean environment: the caller's RUSTFLAGS or toolchain must not leak into the library.
  env -i HOME="$HOME" PATH=/usr/bin:/bin RUSTC=$rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$work/target" \
    RUSTFLAGS='-Cembed-bitcode=yes -Cstrip=debuginfo' \
    /usr/bin/cargo build --release --offline --manifest-path "$work/Cargo.toml" --target "$target" \
    -Zbuild-std=std,panic_abort,panic_unwind,proc_macro,test \
    --config 'source.crates-io.replace-with="vendored"' --config "source.vendored.directory=\"$source/vendor\""
  rm -rf "$lib.new"
  mkdir -p "$lib.new"
  cp "$work/target/$target/release/deps/"lib*.rlib "$lib.new/"
  rm -f "$lib.new/"libseed-*.rlib
  echo "$mark" >"$lib.new/.made-for"
  rm -rf "$lib"
  mv "$lib.new" "$lib"
fi
