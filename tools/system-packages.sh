#!/bin/bash
# Sees to the Debian packages that the checks and tests need: installs what is missing where it may, and otherwise says
# what to install. On another distribution it looks for the tools themselves.
set -euo pipefail

packages=(
    python3-venv python3-dev gcc libc6-dev    # the environment, and python-systemd, which is built from source
    pkg-config libsystemd-dev
    systemd                                   # systemd-socket-activate, systemd-analyze
    systemd-container dbus                    # a booted systemd for tests/system
    strace                                    # counts system calls for tests/hot_path
    jq perl                                   # what pages of the documentation use, whose commands tests run
    man-db zsh fish                           # show the man pages, and complete, for tests
)

missing_packages() {
    local package
    for package in "${packages[@]}"; do
        [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done
}

missing_tools() {
    local tool
    for tool in gcc pkg-config systemd-socket-activate systemd-nspawn dbus-daemon strace jq perl; do
        command -v "$tool" >/dev/null || echo "$tool"
    done
    ! command -v pkg-config >/dev/null || pkg-config --exists libsystemd || echo "libsystemd (headers)"
}

if ! command -v dpkg-query >/dev/null; then
    mapfile -t missing < <(missing_tools)
    [ ${#missing[@]} -eq 0 ] && exit 0
    echo "superd needs, beside Python: ${missing[*]}" >&2
    echo "This is no Debian: please install them in your distribution's way, and run make again." >&2
    exit 1
fi

mapfile -t missing < <(missing_packages)
[ ${#missing[@]} -eq 0 ] && exit 0
command=(apt-get install --yes --quiet --no-install-recommends "${missing[@]}")
if [ "$(id -u)" -ne 0 ]; then
    echo "Missing packages: ${missing[*]}" >&2
    echo "Please install them, and run make again:" >&2
    echo "    sudo ${command[*]}" >&2
    exit 1
fi

echo "Installing packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The lists may be absent or old: ask for them only when the first try fails.
"${command[@]}" </dev/null >"$log" 2>&1 ||
    { apt-get update --quiet </dev/null >"$log" 2>&1 && "${command[@]}" </dev/null >>"$log" 2>&1; } ||
    { cat "$log" >&2; exit 1; }
