#!/bin/sh
# Make the virtual environment with the project and its development tools in it.
#
# Debian splits the venv module's pip into a package of its own; where that is not installed the
# wheel is taken from the distribution's package, unpacked without root.
#
# Usage: tools/make_venv.sh VENV_DIR BUILD_DIR
set -eu
mkdir -p "$2"
VENV=$1
BUILD=$2
PYTHON=${PYTHON:-python3}

say() { printf 'make_venv: %s\n' "$*" >&2; }

if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    say "Python 3.11 or newer is needed, $PYTHON is $("$PYTHON" -V 2>&1)."
    say "next: install one and run again with PYTHON=/path/to/python3."
    exit 3
fi
rm -rf "$VENV"
if ! "$PYTHON" -m venv "$VENV" >/dev/null 2>&1; then
    say "no ensurepip here; unpacking the distribution's pip wheel"
    rm -rf "$VENV"
    "$PYTHON" -m venv --without-pip "$VENV"
    mkdir -p "$BUILD/pip"
    here=$(pwd)
    if ! (cd "$BUILD/pip" && apt-get -q download python3-pip-whl >log 2>&1); then
        say "python3-pip-whl could not be downloaded; apt's last words:"
        tail -n 5 "$BUILD/pip/log" >&2
        say "next: apt-get install python3-venv (as root), then run again."
        exit 3
    fi
    dpkg -x "$BUILD"/pip/*.deb "$BUILD/pip/root"
    wheel=$(find "$here/$BUILD/pip/root" "$BUILD/pip/root" -name 'pip-*.whl' 2>/dev/null | head -n 1)
    "$VENV/bin/python" "$wheel/pip" -q install pip
fi
say "installing the project and its tools into $VENV"
if ! "$VENV/bin/python" -m pip --disable-pip-version-check install -e '.[dev]' \
    >"$BUILD/pip.log" 2>&1; then
    say "pip failed; its last words:"
    tail -n 15 "$BUILD/pip.log" >&2
    exit 3
fi
