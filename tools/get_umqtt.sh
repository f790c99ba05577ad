#!/bin/sh
# Make build/umqtt/umqtt/simple.py: the MQTT client of micropython-lib, one version, checked.
#
# It comes from the Python package index that pip is configured for. Its archive is no Python
# project (nothing in it builds), so pip downloads it, checks it against the hash below, unpacks
# it and then gives up; the file is taken from where pip has unpacked it, and checked again.
#
# Usage: tools/get_umqtt.sh [BUILD_DIR]     (default: build; its venv must have been made)
set -eu
BUILD=${1:-build}
mkdir -p "$BUILD"
BUILD=$(cd "$BUILD" && pwd)
. "$(dirname "$0")/script.sh"
PACKAGE=micropython-umqtt.simple==1.3.4
ARCHIVE_SHA256=b6a2520239e3992c63a7de9370ee9b3d9d27819a90359c521f1c0f7ccab8d12f
FILE_SHA256=8555d2f654deb8eb0d724f79b0811a78cc94029d070f3d96bbd74288653d63a5
OUT=$BUILD/umqtt/umqtt
PYTHON=$BUILD/venv/bin/python

is_whole() { # a file; true when it is the one that is wanted
    printf '%s  %s\n' "$FILE_SHA256" "$1" | sha256sum --check --status 2>/dev/null
}

if [ -f "$OUT/simple.py" ] && is_whole "$OUT/simple.py"; then
    exit 0
fi
[ -x "$PYTHON" ] || fail "$PYTHON is missing." "make setup"
WORK=$BUILD/umqtt.tmp.$$
trap 'rm -rf "$WORK"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir -p "$WORK/unpacked" "$OUT"
printf '%s --hash=sha256:%s\n' "$PACKAGE" "$ARCHIVE_SHA256" >"$WORK/wanted"
TMPDIR=$WORK/unpacked "$PYTHON" -m pip --disable-pip-version-check download --no-clean --no-deps \
    --no-binary :all: --require-hashes --dest "$WORK" --requirement "$WORK/wanted" \
    >"$WORK/log" 2>&1 || true
found=$(find "$WORK/unpacked" -path '*/umqtt/simple.py' | head -n 1)
[ -n "$found" ] || fail "pip could not download $PACKAGE." "try again later" "$WORK/log"
is_whole "$found" || fail "what pip has unpacked is not $PACKAGE." "report this" "$WORK/log"
cp "$found" "$OUT/.simple.new"
mv -f "$OUT/.simple.new" "$OUT/simple.py"
say "ready: $OUT/simple.py"
