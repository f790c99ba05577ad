# What the tools/*.sh scripts share; sourced by them.
# shellcheck shell=sh

say() { # to whoever runs the script, which is named
    script_name=${0##*/}
    printf '%s: %s\n' "${script_name%.sh}" "$*" >&2
}
fail() { # what is wrong, what to do next, and a log whose end is shown
    say "$1"
    [ -z "${3:-}" ] || [ ! -f "$3" ] || tail -n 12 "$3" >&2
    say "next: $2"
    exit 3
}
cache_root() { # a build folder: print the user's cache folder, or one in it; made
    root=${XDG_CACHE_HOME:-${HOME:-$1}/.cache}/cellwall
    mkdir -p "$root" 2>/dev/null && [ -w "$root" ] || root=$1/cache
    mkdir -p "$root"
    printf '%s' "$root"
}
sweep() { # paths that end in a process's number: remove those of runs that were killed
    for left in "$@"; do
        [ ! -e "$left" ] || kill -0 "${left##*.}" 2>/dev/null || rm -rf "$left"
    done
}
is_micropython() { # a path; true when it is MicroPython 1.24 or newer
    "$1" -c 'import sys
assert sys.implementation.name == "micropython" and sys.implementation.version[:2] >= (1, 24)' \
        >/dev/null 2>&1
}
