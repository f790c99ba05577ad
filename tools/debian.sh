# Packages of the machine's Debian mirror without root: sourced by the tools/get_*.sh scripts.
# apt's own client downloads and checks them, with a private state directory, so the machine's
# package lists stay as they are. Nothing is installed: packages are unpacked where they are wanted.
# shellcheck shell=sh

debian_mirror() { # print the first configured Debian archive; nothing when there is none
    # it is asked, never written down in the project
    found=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN)' 'Created-By: Packages' \
        2>/dev/null | awk '$2 == "Debian" {print $1; exit}')
    if [ -z "$found" ]; then # the lists were never fetched: read the configuration alone
        found=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null \
            | grep '/debian/*$' | head -n 1 || true)
    fi
    printf '%s' "$found"
}

private_state() { # state folder, mirror, suite, "deb deb-src" for sources: make it for private_apt
    mkdir -p "$1/lists/partial" "$1/cache/archives/partial" "$1/etc/preferences.d"
    : >"$1/status"
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    for kind in ${4:-deb}; do
        printf '%s [signed-by=%s] %s %s main\n' "$kind" "$keyring" "$2" "$3"
    done >"$1/etc/sources.list"
}

private_apt() { # state folder, then apt-get or apt-cache with its arguments
    state=$1
    tool=$2
    shift 2
    "$tool" -q -o Dir::State="$state" -o Dir::State::Lists="$state/lists" \
        -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache" \
        -o Dir::Etc::SourceList="$state/etc/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts="$state/etc/preferences.d" \
        -o APT::Architecture="$(dpkg --print-architecture)" -o APT::Sandbox::User="" \
        -o Acquire::Retries=3 -o Acquire::Languages=none "$@"
}

with_depends() { # state folder, packages: print them and all that they depend on
    state_of=$1
    shift
    private_apt "$state_of" apt-cache depends --recurse --no-recommends --no-suggests \
        --no-conflicts --no-breaks --no-replaces --no-enhances "$@" | grep '^[a-z]' | sort -u
}

private_source() { # state folder with deb-src, a package, a folder, a python: its upstream archive
    # unpacked as that folder; Python's tarfile knows xz and bzip2 where the programs are missing
    mkdir -p "$3.tmp/archive"
    (cd "$3.tmp/archive" && private_apt "$1" apt-get source --download-only "$2") \
        && "$4" -m tarfile -e "$3.tmp/archive/$2"_*.orig.tar.* "$3.tmp/unpacked" \
        && mv "$3.tmp/unpacked"/* "$3" && rm -r "$3.tmp"
}
