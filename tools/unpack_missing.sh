# Packages that a machine lacks, unpacked without root: sourced behind debian.sh by scripts that have
# say and fail. It is apart because the builds that debian.sh serves are kept by its hash.
# shellcheck shell=sh

debian_suite() { # state folder, words for who has no mirror: set SUITE and LOG, read the lists
    SUITE=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    [ -n "$SUITE" ] || fail "this machine does not say which Debian release it is." "use a release"
    found_mirror=$(debian_mirror)
    [ -n "$found_mirror" ] || fail "apt has no Debian mirror configured here (apt-get indextargets)." \
        "as root: apt-get install $2"
    LOG=$1/log
    private_state "$1" "$found_mirror" "$SUITE"
    say "downloading $2 ($SUITE) under $(dirname "$1")"
    private_apt "$1" apt-get update >"$LOG" 2>&1 || fail "apt could not read the suite $SUITE." \
        "check that this machine reaches its Debian mirror (apt-get update)" "$LOG"
}

unpack_missing() { # state folder, output folder, packages: those that are missing, and theirs
    state_of_missing=$1
    output=$2
    shift 2
    missing=$(with_depends "$state_of_missing" "$@" | while read -r name; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || echo "$name"
    done)
    rm -rf "$output.new" "$output" "$state_of_missing/debs"
    mkdir -p "$output.new" "$state_of_missing/debs"
    if [ -n "$missing" ]; then
        # shellcheck disable=SC2086 # a list of words
        (cd "$state_of_missing/debs" && private_apt "$state_of_missing" apt-get download $missing \
            >>"$LOG" 2>&1) || fail "the packages could not be downloaded." "try again later" "$LOG"
        for deb in "$state_of_missing"/debs/*.deb; do
            dpkg -x "$deb" "$output.new"
            rm "$deb"
        done
    fi
    mv "$output.new" "$output"
}
