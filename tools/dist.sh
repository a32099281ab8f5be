#!/bin/bash
# dist.sh PYTHON RELEASE PRIVATE: builds the sdists of superd-client and superd, and out of each its wheel, into RELEASE;
# the examples' wheel, which is published nowhere, into PRIVATE. Whoever builds the same sources gets the same bytes.
set -euo pipefail

[ $# -eq 3 ] || { echo "usage: dist.sh PYTHON RELEASE PRIVATE" >&2; exit 2; }
python=$(realpath --no-symlinks "$1")
mkdir -p "$2" "$3"
release=$(realpath "$2") private=$(realpath "$3")
cd "$(dirname "$0")/.."
"$python" -c 'import hatchling' 2>/dev/null || { echo "$python has no hatchling; see requirements/build.txt" >&2; exit 1; }

# The time in the archives: that of the last commit. Sources that are in no repository get hatchling's own, which is fixed too.
if [ -z "${SOURCE_DATE_EPOCH:-}" ] && [ -e .git ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
    export SOURCE_DATE_EPOCH
fi
umask 022

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

build() { # SOURCE TARGET DIRECTORY
    local said
    said=$(cd "$1" && "$python" -m hatchling build -t "$2" -d "$3" 2>&1) || { printf '%s\n' "$said" >&2; exit 1; }
}

rm -f "$release"/superd{,_client}-[0-9]*.{tar.gz,whl} "$private"/superd_examples-[0-9]*.whl
for source in client daemon; do
    mkdir "$scratch/$source"
    build $source sdist "$scratch"
    tar -xf "$scratch"/*.tar.gz -C "$scratch/$source" --strip-components=1
    mv "$scratch"/*.tar.gz "$release"
    build "$scratch/$source" wheel "$release"
done
build examples wheel "$private"
