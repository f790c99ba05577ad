#!/bin/sh
# Make build/bin/micropython: the unix port of MicroPython 1.24 or newer.
#
# 1. A micropython on PATH that is new enough is used as it is.
# 2. Otherwise the distribution's own package is unpacked under build/, without root, from the suite
#    of the configured Debian mirror that carries it. apt's own client downloads and checks it, with
#    a private state directory, so the machine's package lists stay as they are. The program then
#    runs through its own dynamic loader and libraries, because an older system has an older libc.
#
# Usage: tools/get_micropython.sh [BUILD_DIR]     (default: build)
# Environment: CELLWALL_MICROPYTHON=/path/to/micropython names an interpreter to use.
set -eu
BUILD=${1:-build}
BIN=$BUILD/bin/micropython
SUITE=trixie
. "$(dirname "$0")/script.sh"
. "$(dirname "$0")/debian.sh"

mkdir -p "$BUILD/bin"
if [ -x "$BIN" ] && is_micropython "$BIN"; then
    exit 0
fi

for found in "${CELLWALL_MICROPYTHON:-}" "$(command -v micropython || true)"; do
    if [ -n "$found" ] && is_micropython "$found"; then
        ln -sf "$found" "$BIN"
        say "using $found"
        exit 0
    fi
done

for tool in apt-get dpkg dpkg-deb; do
    if ! command -v "$tool" >/dev/null; then
        say "no micropython 1.24 or newer on PATH, and no $tool to fetch Debian's package with."
        say "next: install MicroPython's unix port and set CELLWALL_MICROPYTHON to its path."
        exit 3
    fi
done

STATE=$PWD/$BUILD/apt
case $BUILD in /*) STATE=$BUILD/apt ;; esac
MIRROR=$(debian_mirror)
if [ -z "$MIRROR" ]; then
    say "apt has no Debian mirror configured here (apt-get indextargets lists none)."
    say "next: install MicroPython's unix port and set CELLWALL_MICROPYTHON to its path."
    exit 3
fi
private_state "$STATE" "$MIRROR" "$SUITE"
say "downloading Debian's micropython ($SUITE) under $BUILD"
if ! private_apt "$STATE" apt-get update >"$STATE/log" 2>&1; then
    say "apt could not read the $SUITE suite; its last words:"
    tail -n 5 "$STATE/log" >&2
    exit 3
fi
PACKAGES=$(with_depends "$STATE" micropython)
# shellcheck disable=SC2086 # a list of words
if ! (cd "$STATE/cache" && private_apt "$STATE" apt-get download $PACKAGES >>"$STATE/log" 2>&1); then
    say "the packages could not be downloaded; apt's last words:"
    tail -n 5 "$STATE/log" >&2
    exit 3
fi
ROOT=$STATE/root
rm -rf "$ROOT"
mkdir -p "$ROOT"
for deb in "$STATE"/cache/*.deb; do
    dpkg -x "$deb" "$ROOT"
done
PROGRAM=$(find "$ROOT" -path '*/bin/micropython' -type f | head -n 1)
LOADER=$(find "$ROOT" -name 'ld-linux*.so.*' | head -n 1)
LIBS=$(find "$ROOT" -name 'lib*.so.*' -exec dirname {} + | sort -u | paste -sd :)
cat >"$BIN" <<END
#!/bin/sh
exec "$LOADER" --library-path "$LIBS" "$PROGRAM" "\$@"
END
chmod +x "$BIN"
if ! is_micropython "$BIN"; then
    say "the unpacked interpreter does not run here:"
    "$BIN" -c 'import sys; print(sys.implementation)' >&2 || true
    exit 3
fi
say "ready: $("$BIN" -c 'import sys; print(sys.version)')"
