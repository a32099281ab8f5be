#!/bin/bash
# Makes the root of a Debian release, in which packages are built and guests are booted. Prints the directory.
#
#   root.sh RELEASE [DIRECTORY]     RELEASE: bookworm or trixie;  DIRECTORY: $ROOTS/RELEASE, or build/roots/RELEASE
#
# A root that is there is kept: remove its directory to have a new one. Nobody may write into it; take it as the lower
# directory of an overlay. Mirrors and proxies are those of this machine's apt. It needs root and mmdebstrap.
set -euo pipefail

# What a container with a systemd has, and Python: both packages need one, and a fresh minbase has none.
packages=systemd-sysv,dbus,python3

die() { echo "root.sh: $*" >&2; exit 1; }

targets() {
    # shellcheck disable=SC2016  # apt's variables
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' "Created-By: Packages" "Origin: Debian" "Component: main"
}

# The sources.list of the release: this machine's mirrors of Debian, with the other release's name.
sources() {
    local here
    # shellcheck source=/dev/null
    here=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    # The lists name the origin; a machine that never had them has to get them first.
    [ -n "$(targets)" ] || apt-get update --quiet=2 </dev/null >&2
    targets | awk -v here="$here" -v release="$release" \
        'index($2, here) == 1 { print "deb", $1, release substr($2, length(here) + 1), "main" }'
}

# What this machine's apt is told of proxies and of mirrors that lag, one option a line.
acquire_options() { apt-config dump | grep -E '^Acquire::(https?::[^ ]|Check-)' || true; }

make_root() {
    local list option options=()
    list=$(sources)
    [ -n "$list" ] || die "this machine's apt knows no mirror of Debian"
    while read -r option; do options+=("--aptopt=$option"); done < <(acquire_options)
    mmdebstrap --quiet --variant=minbase --include="$packages" "${options[@]}" "$release" "$1" - <<<"$list" >&2
}

release=${1:?which release? bookworm or trixie}
directory=${2:-${ROOTS:-$(dirname "$0")/../build/roots}/$release}
case $release in
    bookworm | trixie) ;;
    *) die "superd has packages for bookworm and trixie, not for $release" ;;
esac
if [ ! -d "$directory" ]; then
    [ "$(id -u)" -eq 0 ] || die "not root"
    command -v mmdebstrap >/dev/null || die "mmdebstrap is not installed"
    mkdir -p "$(dirname "$directory")"
    exec {lock}>"$directory.lock"
    flock "$lock"
fi
# Looked at again: another may have made it while we waited for the lock.
if [ ! -d "$directory" ]; then
    rm -rf --one-file-system "$directory.part"
    make_root "$directory.part"
    # Only what is whole gets the name.
    mv -T "$directory.part" "$directory"
fi
realpath "$directory"
