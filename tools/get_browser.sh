#!/bin/sh
# Make build/browser: Chromium of this machine's own Debian release, for the tests of the reports.
#
# A browser that the machine has is used as it is. Otherwise apt's own client downloads Debian's
# with a private state directory, and it is unpacked without root, together with the libraries and
# the font that are missing. build/browser/env then says how to start it.
#
# Usage: tools/get_browser.sh [BUILD_DIR]     (default: build; CHROMIUM names a browser to use)
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/script.sh"
. "$HERE/debian.sh"
. "$HERE/unpack_missing.sh"
BUILD=${1:-build}
mkdir -p "$BUILD"
BUILD=$(cd "$BUILD" && pwd)
OUT=$BUILD/browser
FONT=fonts-dejavu-core

write_env() { # the program, its libraries, its fonts.conf or nothing
    {
        printf 'CHROMIUM=%s\n' "$1"
        printf 'LD_LIBRARY_PATH=%s\n' "$2"
        printf 'FONTCONFIG_FILE=%s\n' "$3"
    } >"$OUT/.env" || exit 3
    mv "$OUT/.env" "$OUT/env"
    say "ready: $OUT/env ($1)"
}

if [ -f "$OUT/env" ] && [ "$OUT/env" -nt "$HERE/get_browser.sh" ]; then
    exit 0
fi
[ -z "${CHROMIUM:-}" ] || command -v "$CHROMIUM" >/dev/null \
    || fail "CHROMIUM=$CHROMIUM is no program." "name one, or unset it"
for name in "${CHROMIUM:-}" chromium-headless-shell chromium chromium-browser google-chrome; do
    if [ -n "$name" ] && found=$(command -v "$name"); then
        rm -rf "$OUT"
        mkdir -p "$OUT"
        write_env "$found" "" ""
        exit 0
    fi
done
for tool in apt-get dpkg dpkg-deb dpkg-query; do
    command -v "$tool" >/dev/null || fail "no $tool on this machine." \
        "install Chromium, or name one with CHROMIUM"
done
STATE=$BUILD/apt-browser
debian_suite "$STATE" chromium
# the one without a window system is a quarter of the size
PACKAGE=chromium-headless-shell
private_apt "$STATE" apt-cache show "$PACKAGE" >/dev/null 2>&1 || PACKAGE=chromium
unpack_missing "$STATE" "$OUT" "$PACKAGE" "$FONT"
# /usr/bin has a wrapper with the machine's paths in it
PROGRAM=$(find "$OUT/usr/lib/chromium" -type f \
    \( -name chromium-headless-shell -o -name headless_shell -o -name chromium \) | head -n 1)
[ -n "$PROGRAM" ] || fail "Chromium is in none of the packages." "report this with the lines above" \
    "$LOG"
LIBS=$(find "$OUT" -name 'lib*.so*' -exec dirname {} + 2>/dev/null | sort -u | paste -sd :)
FONTS=
DEJAVU=usr/share/fonts/truetype/dejavu
if [ ! -e /etc/fonts/fonts.conf ] || [ ! -d "/$DEJAVU" ]; then
    FONTS=$OUT/fonts.conf
    {
        printf '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>\n'
        printf '<dir>%s</dir>\n' "/$DEJAVU" "$OUT/$DEJAVU"
        printf '<cachedir>%s</cachedir>\n' "$OUT/fonts"
        for family in sans-serif system-ui serif; do
            printf '<alias><family>%s</family><prefer><family>DejaVu Sans</family></prefer></alias>\n' \
                "$family"
        done
        printf '<alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>\n'
        printf '</fontconfig>\n'
    } >"$FONTS"
fi
write_env "$PROGRAM" "$LIBS" "$FONTS"
