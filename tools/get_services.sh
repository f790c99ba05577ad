#!/bin/sh
# Make build/services: Mosquitto, PostgreSQL and SoftHSM2 of this machine's own Debian release, for
# the tests.
#
# Packages that the machine has are used as they are; what is missing is downloaded by apt's own
# client with a private state directory and unpacked, without root. Programs and libraries are then
# under build/services/usr; build/services/env has the variables that their users need.
#
# Usage: tools/get_services.sh [BUILD_DIR]     (default: build)
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/script.sh"
. "$HERE/debian.sh"
. "$HERE/unpack_missing.sh"
BUILD=${1:-build}
mkdir -p "$BUILD"
BUILD=$(cd "$BUILD" && pwd)
OUT=$BUILD/services
PACKAGES="mosquitto softhsm2 libsofthsm2 postgresql"

if [ -f "$OUT/env" ] && [ "$OUT/env" -nt "$HERE/get_services.sh" ]; then
    exit 0
fi
for tool in apt-get dpkg dpkg-deb dpkg-query; do
    command -v "$tool" >/dev/null || fail "no $tool on this machine." "run on Debian 12 or newer"
done
STATE=$BUILD/apt-services
debian_suite "$STATE" "$PACKAGES"
# shellcheck disable=SC2086 # a list of words
unpack_missing "$STATE" "$OUT" $PACKAGES
LIBS=$(find "$OUT" -name 'lib*.so*' -exec dirname {} + 2>/dev/null | sort -u | paste -sd :)
first() { # a name, then where it may be: print the first that exists
    name=$1
    shift
    for place in "$@"; do
        [ -e "$place/$name" ] && { printf '%s' "$place/$name"; return 0; }
    done
    fail "$name is in none of the packages." "report this with the lines above" "$LOG"
}
# the newest of the versions that are there
POSTGRES=$(find "$OUT/usr/lib/postgresql" /usr/lib/postgresql -name initdb 2>/dev/null \
    | sort -V | tail -n 1)
[ -n "$POSTGRES" ] || fail "initdb is in none of the packages." "report this with the lines above" "$LOG"
{
    printf 'POSTGRES=%s\n' "$(dirname "$POSTGRES")"
    printf 'MOSQUITTO=%s\n' "$(first mosquitto "$OUT/usr/sbin" /usr/sbin)"
    printf 'SOFTHSM2_UTIL=%s\n' "$(first softhsm2-util "$OUT/usr/bin" /usr/bin)"
    printf 'SOFTHSM2_MODULE=%s\n' "$(first libsofthsm2.so "$OUT/usr/lib/softhsm" /usr/lib/softhsm)"
    printf 'LD_LIBRARY_PATH=%s\n' "$LIBS"
} >"$OUT/.env" || exit 3
mv "$OUT/.env" "$OUT/env"
say "ready: $OUT/env"
