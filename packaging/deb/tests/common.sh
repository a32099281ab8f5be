# Sourced by the tests beside it.
# shellcheck shell=bash
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 SYSTEMD_PAGER=cat SYSTEMD_COLORS=0

# Seconds for what systemd or superd does by itself.
patience=60

trap 'echo "failed in line $LINENO of $0: $BASH_COMMAND" >&2' ERR

step() { printf '\n--- %s\n' "$*"; }

die() { echo "$*" >&2; return 1; }

# equal WHAT EXPECTED FOUND
equal() { [ "$2" = "$3" ] || die "$1: expected '$2', found '$3'"; }

apt() { apt-get --yes --quiet=2 --option=Dpkg::Use-Pty=0 "$@"; }

# The folder of the packages under test.
debs() {
    if [ -n "${DEBS:-}" ]; then
        echo "$DEBS"
        return
    fi
    local folder=$AUTOPKGTEST_TMP/debs
    if [ ! -d "$folder" ]; then
        install -d -m 0777 "$folder" # apt downloads as a user with no rights
        (cd "$folder" && apt download superd superd-examples >&2)
        # Only where the client is a package.
        (cd "$folder" && apt download python3-superd-client >&2) || true
    fi
    echo "$folder"
}

# repack FROM TO VERSION [SCRIPT]: the packages of one folder in another, under another version; where SCRIPT is given, superd's
# maintainer script of that name fails.
repack() {
    local deb tree version
    mkdir "$2"
    for deb in "$1"/*.deb; do
        tree=$(mktemp --directory --tmpdir="$AUTOPKGTEST_TMP")
        dpkg-deb --raw-extract "$deb" "$tree"
        version=$(dpkg-deb --field "$deb" Version)
        sed -i -e "s|^Version: .*|Version: $3|" -e "s|= $version)|= $3)|g" "$tree/DEBIAN/control"
        if [ -n "${4:-}" ] && [ "$(dpkg-deb --field "$deb" Package)" = superd ]; then
            printf '%s\n' '#!/bin/sh' 'exit 1' >"$tree/DEBIAN/$4"
            chmod 0755 "$tree/DEBIAN/$4"
        fi
        dpkg-deb -Zgzip -z1 --build "$tree" "$2" >/dev/null
        rm -rf "$tree"
    done
}

# version_of FOLDER: of the packages in it.
version_of() { dpkg-deb --field "$1"/superd_*.deb Version; }

# install_from FOLDER [OPTION...]: as an operator does it. Dependencies come from apt.
install_from() {
    local folder=$1
    shift
    apt install --no-install-recommends "$@" "$folder"/*.deb
}

start() { systemctl enable --quiet --now superd.socket romd.service; }

# What superd says to a text, on one line.
echo_call() { superctl call echo.echo "text=$1" | tr -d ' \n'; }

# How many there are of an item.
stock() { superctl call inventory.lookup "sku=$1" | sed -n 's/.*"quantity": *\([0-9]*\).*/\1/p'; }

# until_says PATTERN COMMAND...: asks until it does.
until_says() {
    local pattern=$1 deadline=$((SECONDS + patience))
    shift
    until grep --extended-regexp "$pattern" <<<"$("$@" 2>&1)"; do
        [ $SECONDS -lt $deadline ] || die "it does not say '$pattern': $*"
        sleep 0.1
    done
}

# What systemctl says of superd, or will.
status_says() { until_says "$1" systemctl status --no-pager superd.service superd.socket; }

# wait_for_journal PATTERN OPTION...: until there is such an entry, one that is there already or the next.
wait_for_journal() {
    local pattern=$1
    shift
    grep --quiet --max-count=1 --extended-regexp "$pattern" \
        < <(timeout "$patience" journalctl --follow --lines=all --output=cat "$@") ||
        die "the journal has no '$pattern' of: $*"
}
