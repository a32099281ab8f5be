#!/bin/bash
# Runs the packages' autopkgtest tests, each in a freshly booted guest of the release.
#
#   autopkgtest.sh RELEASE DEBS [TEST...]     DEBS: the folder of the packages;  TEST: of packaging/deb/tests (all)
#
# PREVIOUS_DEBS: the folder of those to upgrade from; without it, the same under a lower version.
#
# A guest has no network. What the packages depend on is in its apt's cache, and autopkgtest itself is installed: in a layer
# over the release's root (see root.sh), which is kept, and made anew when the packages depend on something else.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
boot=$here/../tests/system/boot.sh

die() { echo "autopkgtest.sh: $*" >&2; exit 1; }

dependencies() { for deb in "$debs"/*.deb; do dpkg-deb --field "$deb" Depends; done; }

# In a mount namespace of its own, with the network.
fill_layer() {
    local target=$layer.part/mounted
    mkdir "$layer.part"/{upper,work,mounted}
    mount -t overlay -o "lowerdir=$root,upperdir=$layer.part/upper,workdir=$layer.part/work" layer "$target"
    mkdir "$target/debs"
    mount --bind "$debs" "$target/debs"
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
    apt=(chroot "$target" apt-get --quiet=2 --yes --no-install-recommends)
    "${apt[@]}" update
    "${apt[@]}" install autopkgtest
    # shellcheck disable=SC2016  # for the shell in there
    chroot "$target" sh -c 'apt-get --quiet=2 --yes --no-install-recommends --download-only install /debs/*.deb'
    umount "$target/debs"
    rmdir "$target/debs"
}

make_layer() {
    [ "$(cat "$layer/dependencies" 2>/dev/null)" != "$(dependencies)" ] || return 0
    rm -rf --one-file-system "$layer" "$layer.part"
    mkdir -p "$layer.part"
    dependencies >"$layer.part/dependencies"
    unshare --mount --propagation private "$BASH" "$0" --fill "$root" "$debs" "$layer" >"$layer.log" 2>&1 </dev/null ||
        { cat "$layer.log" >&2; die "the layer of autopkgtest and the dependencies cannot be made"; }
    mv -T "$layer.part" "$layer"
}

# autopkgtest sees the tests alone: with the rest of debian/ it would build the packages.
run_test() {
    local guest=superd-$release-$1-$$ status=0 binds=(--bind-ro "$debs:/srv/debs" --bind-ro "$here/deb/tests:/srv/superd/debian/tests")
    local variables=(--env=DEBS=/srv/debs)
    if [ -n "${PREVIOUS_DEBS:-}" ]; then
        binds+=(--bind-ro "$(realpath "$PREVIOUS_DEBS"):/srv/previous")
        variables+=(--env=PREVIOUS_DEBS=/srv/previous)
    fi
    "$boot" start "$guest" --root "$layer/upper:$root" "${binds[@]}"
    # shellcheck disable=SC2064  # of now
    trap "$boot kill $guest" EXIT
    "$boot" exec "$guest" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        autopkgtest --ignore-restrictions=isolation-container --no-built-binaries "${variables[@]}" \
        --test-name="$1" /srv/superd -- null </dev/null || status=$?
    [ "$status" -eq 0 ] || "$boot" exec "$guest" journalctl --no-pager --boot --lines=200
    trap - EXIT
    "$boot" stop "$guest"
    return "$status"
}

if [ "${1:-}" = --fill ]; then
    root=$2 debs=$3 layer=$4
    fill_layer
    exit
fi
release=${1:?which release? bookworm or trixie}
debs=$(realpath "${2:?which folder of packages?}")
shift 2
ls "$debs"/*.deb >/dev/null || die "there are no packages in $debs: make deb"
"$boot" check
[ $# -gt 0 ] || set -- install upgrade remove states
root=$("$here/root.sh" "$release")
layer=${LAYERS:-$here/../build/guests}/$release
make_layer
failed=()
for test; do run_test "$test" || failed+=("$test"); done
[ ${#failed[@]} -eq 0 ] || die "$release: failed: ${failed[*]}"
