#!/bin/bash
# The wheels that superd carries where the distribution's pydantic is too old: for Debian 12's Python 3.11.
#
#   vendor.sh fetch DIRECTORY    downloads what vendor.txt names, for all architectures, each with one of its hashes
#   vendor.sh lock               prints vendor.txt anew: the versions of constraints.txt with the hashes of their wheels
#
# PIP names the pip that downloads; it takes its index from its own configuration.
set -euo pipefail
here=$(realpath "$(dirname "$0")")

# What daemon/pyproject.toml asks for; systemd-python comes from Debian, built for its libsystemd.
packages=(orjson pydantic structlog uvloop)
architectures=(x86_64 aarch64)

# download DIRECTORY ARGUMENT...: wheels that run on Python 3.11 with glibc 2.36, whatever runs here.
download() {
    local directory=$1 architecture glibc platforms
    shift
    for architecture in "${architectures[@]}"; do
        platforms=("--platform=manylinux2014_$architecture")
        for glibc in 17 28 31 34 35 36; do platforms+=("--platform=manylinux_2_${glibc}_$architecture"); done
        ${PIP:-pip} -qq --disable-pip-version-check download --dest "$directory" --only-binary=:all: \
            --python-version=3.11 --implementation=cp "${platforms[@]}" "$@"
    done
}

lock() {
    local scratch wheel name version
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    download "$scratch" --constraint="$here/../constraints.txt" "${packages[@]}"
    echo '# The wheels in /usr/lib/superd/vendor on Debian 12. Made by: packaging/vendor.sh lock'
    (
        cd "$scratch"
        for wheel in *.whl; do
            IFS=- read -r name version _ <<<"$wheel"
            echo "$name==$version --hash=sha256:$(sha256sum "$wheel" | cut -d ' ' -f 1)"
        done
    ) | sort | awk '$1 == last { printf " \\\n    %s", $2; next }
                    { printf "%s%s \\\n    %s", last ? "\n" : "", $1, $2; last = $1 } END { print "" }'
}

case ${1:?fetch or lock?} in
    fetch) download "${2:?which directory?}" --no-deps --require-hashes --requirement="$here/vendor.txt" ;;
    lock) lock ;;
    *) echo "vendor.sh: unknown command $1" >&2; exit 1 ;;
esac
