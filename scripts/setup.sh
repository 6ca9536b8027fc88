#!/usr/bin/env bash
# setup.sh: everything that the build and the tests use and a bare machine lacks. Safe to run again: about half a second
# when nothing is missing.
#
#   env=$(bash scripts/setup.sh) && eval "$env"
#
# Standard output holds shell assignments only (PATH, RUSTUP_TOOLCHAIN); what a person reads goes to standard error.
# What it gets, and from where:
#   Node.js 22.12 or newer      into the cache, from npm, when the present one is older
#   Rust 1.89 or newer          rustup where its server answers, else Debian's packages (as root)
#   wasm32-unknown-unknown      the same two ways
#   wasm-pack, wasm-bindgen     into the cache, built from scripts/wasm-tools
# COCOOP_CACHE is the cache folder (default ~/.cache/cocoop); it may be removed at any time.
set -euo pipefail

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${COCOOP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cocoop}
target=wasm32-unknown-unknown
started=$SECONDS
did=

say()  { printf '[setup] %s\n' "$*" >&2; }
fail() { say "FAILED: $*"; exit 1; }

# put NAME VALUE: sets a variable here and for the caller.
put() { export "$1=$2"; printf 'export %s=%q\n' "$1" "$2"; }
prepend() { case ":$PATH:" in ":$1:"*) ;; *) put PATH "$1:$PATH" ;; esac; }

# step LIMIT_SECONDS NAME COMMAND...: quiet, with its time; false, and the last lines it printed, when it fails.
step() {
  local limit=$1 name=$2 from=$SECONDS log
  shift 2
  log="$cache/log/${name//[^A-Za-z0-9.]/-}.log"
  mkdir -p "$cache/log"
  did=1
  say "$name ..."
  if within "$limit" "$@" >"$log" 2>&1 </dev/null; then
    say "$name: $((SECONDS - from)) s"
  else
    say "$name: did not work, after $((SECONDS - from)) s (whole log: $log)"
    tail -n 5 "$log" | sed 's/^/    /' >&2
    return 1
  fi
}
# A function cannot be run by `timeout`; those here have limits of their own.
within() {
  local limit=$1
  shift
  if command -v timeout >/dev/null && [ "$(type -t "$1")" = file ]; then timeout "$limit" "$@"; else "$@"; fi
}

# --- Node.js ------------------------------------------------------------------

node_is_new() {
  node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 22 || (a == 22 && b >= 12) ? 0 : 1)' 2>/dev/null
}

setup_node() {
  node_is_new && return
  local now system cpu package
  now=$(node -v 2>/dev/null || echo none)
  case $(uname -s) in Linux) system=linux ;; Darwin) system=darwin ;; *) system= ;; esac
  case $(uname -m) in x86_64) cpu=x64 ;; arm64 | aarch64) cpu=arm64 ;; *) cpu= ;; esac
  if [ -z "$system" ] || [ -z "$cpu" ] || ! command -v npm >/dev/null; then
    fail "Node.js 22.12 or newer is needed (found: $now); install it from nodejs.org"
  fi
  # Node's own binary as an npm package: nothing runs on install. npm itself stays the machine's.
  package=node-$system-$cpu
  if ! [ -x "$cache/node24/node_modules/$package/bin/node" ]; then
    step 600 "Node.js 24 (found: $now)" npm install --prefix "$cache/node24" --no-save --no-package-lock --no-audit --no-fund "$package@24" ||
      fail "could not get Node.js 24 from npm; install Node.js 22.12 or newer yourself"
  fi
  prepend "$cache/node24/node_modules/$package/bin"
  node_is_new || fail "$cache/node24 does not run here; install Node.js 22.12 or newer yourself"
}

# --- Rust and its wasm32 library ----------------------------------------------

rust_is_new() {
  local version
  version=$(rustc --version 2>/dev/null | cut -d' ' -f2) || return 1
  [ "${version%%.*}" = 1 ] || return 1
  version=${version#1.}
  [ "${version%%.*}" -ge 89 ]
}
rust_has_target() {
  local dir
  dir=$(rustc --print target-libdir --target "$target" 2>/dev/null) || return 1
  compgen -G "$dir/libstd-*.rlib" >/dev/null
}
rust_is_ready() { command -v cargo >/dev/null && rust_is_new && rust_has_target; }

# fetch URL FILE, with whatever this machine has.
fetch() {
  if command -v curl >/dev/null; then
    curl -sSfL --connect-timeout 10 --max-time 300 -o "$2" "$1"
  elif command -v wget >/dev/null; then
    wget -q --timeout=10 --tries=1 -O "$2" "$1"
  else
    node -e 'fetch(process.argv[1]).then(async r => { if (!r.ok) throw r.status; require("fs").writeFileSync(process.argv[2], Buffer.from(await r.arrayBuffer())) }).catch(e => { console.error(e); process.exit(1) })' "$1" "$2"
  fi
}

rustup_install() {
  local host server=https://static.rust-lang.org/rustup/dist
  case $(uname -sm) in
    'Linux x86_64') host=x86_64-unknown-linux-gnu ;;
    'Linux aarch64') host=aarch64-unknown-linux-gnu ;;
    'Darwin x86_64') host=x86_64-apple-darwin ;;
    'Darwin arm64') host=aarch64-apple-darwin ;;
    *) return 1 ;;
  esac
  local init=$cache/rustup-init
  fetch "$server/$host/rustup-init" "$init" || return 1
  chmod +x "$init"
  "$init" -y --no-modify-path --profile minimal --component rustfmt --component clippy --target "$target" || return 1
  rm -f "$init"
}

setup_rust() {
  command -v cc >/dev/null || command -v clang >/dev/null || fail "a C compiler is needed: $(ask_for_cc)"
  command -v cargo >/dev/null || ! [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ] || prepend "${CARGO_HOME:-$HOME/.cargo}/bin"
  rust_is_ready && return

  # Debian's compiler, which an earlier run set up beside rustup: do not wait for rustup's server again.
  if command -v rustup >/dev/null && [ -d "${RUSTUP_HOME:-$HOME/.rustup}/toolchains/debian" ]; then
    if RUSTUP_TOOLCHAIN=debian rust_is_ready; then
      put RUSTUP_TOOLCHAIN debian
      return
    fi
  fi

  if command -v rustup >/dev/null; then
    if rust_is_new; then
      step 60 "rustup target add $target" rustup target add "$target" || true
    else
      step 600 "rustup toolchain install stable" \
        rustup toolchain install stable --profile minimal --component rustfmt --component clippy --target "$target" &&
        put RUSTUP_TOOLCHAIN stable
    fi
  elif ! rust_is_new; then
    step 900 "Rust, by rustup, into ${CARGO_HOME:-$HOME/.cargo}" rustup_install && prepend "${CARGO_HOME:-$HOME/.cargo}/bin"
  fi
  rust_is_ready && return

  if ! [ -x /usr/bin/apt-get ]; then
    fail "Rust 1.89 or newer with $target is needed: install it from rustup.rs, then run: rustup target add $target"
  fi
  step 1800 "Rust, from Debian's packages" bash "$scripts/setup-debian-rust.sh" ||
    fail "run as root: bash scripts/setup-debian-rust.sh, or install Rust from rustup.rs and run: rustup target add $target"
  if command -v rustup >/dev/null; then
    rustup toolchain list | grep -q '^debian' || rustup toolchain link debian /usr >&2
    put RUSTUP_TOOLCHAIN debian
  fi
  rust_is_ready || fail "Debian's Rust is installed but does not build for $target"
}
ask_for_cc() {
  if [ -x /usr/bin/apt-get ]; then echo "apt-get install gcc libc6-dev"; else echo "install clang or gcc"; fi
}

# --- wasm-pack and wasm-bindgen -----------------------------------------------

setup_wasm_tools() {
  local tools
  tools=$cache/wasm-tools-$(cd "$scripts/wasm-tools" && cat Cargo.toml Cargo.lock src/bin/*.rs | cksum | cut -d' ' -f1)
  if ! [ -x "$tools/bin/wasm-pack" ] || ! [ -x "$tools/bin/wasm-bindgen" ]; then
    # Unoptimised on purpose: it builds in a third of the time and does its work in a second.
    step 1800 "wasm-pack and wasm-bindgen" env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS CARGO_TARGET_DIR="$cache/build" \
      cargo install --debug --locked --path "$scripts/wasm-tools" --root "$tools" || fail "could not build scripts/wasm-tools"
    rm -rf "$cache/build"
  fi
  prepend "$tools/bin"
}

# ------------------------------------------------------------------------------

mkdir -p "$cache" || fail "cannot write $cache; set COCOOP_CACHE to a folder that can be written"
# Two runs at once would build the same thing in the same place.
if command -v flock >/dev/null; then
  exec 9>"$cache/lock"
  flock -n 9 || { say "waiting for another run of the set-up"; flock -w 1800 9 || fail "another run holds $cache/lock"; }
fi
setup_node
setup_rust
setup_wasm_tools
[ -z "$did" ] || say "ready in $((SECONDS - started)) s: Node.js $(node -v), $(rustc --version | cut -d' ' -f1,2)"
