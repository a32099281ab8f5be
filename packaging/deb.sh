#!/bin/bash
# Builds the Debian packages of a release in a clean root of it, without a network once the build dependencies are there.
#
#   deb.sh build RELEASE        into build/deb/RELEASE: the packages, and the source package that they are of
#   deb.sh lint RELEASE         lintian of that release over what is there
#   deb.sh reproduce RELEASE    builds once more, in another folder, and compares the bytes with what is there
#
# RELEASE is bookworm or trixie. ROOTS: where clean roots are (see root.sh). DEB_VERSION=0.0.9 builds what calls itself that, into
# build/deb/RELEASE-0.0.9.
set -euo pipefail
cd "$(dirname "$0")/.."

command=${1:?build, lint or reproduce?}
release=${2:?which release? bookworm or trixie}
case $release in
    bookworm) revision=1~deb12u1 profiles=pkg.superd.vendored ;;
    trixie) revision=1~deb13u1 profiles= ;;
    *) echo "deb.sh: superd has packages for bookworm and trixie, not for $release" >&2; exit 1 ;;
esac
version=${DEB_VERSION:-$(sed -n '1s/.*(\(.*\)-.*/\1/p' packaging/deb/changelog)}
work=build/deb/$release${DEB_VERSION:+-$DEB_VERSION}
cache=build/deb/cache
# Where $work is in the overlay.
place=/build

# within LAYERS UPPER SHARED COMMAND...: the command in an overlay of LAYERS, whose changes go to UPPER, as if it were alone
# on the machine; SHARED is there as $place. Without a network, unless NETWORK is set.
within() {
    local layers=$1 upper=$2 shared=$3 isolation=(--mount --pid --fork --ipc --uts)
    shift 3
    [ -n "${NETWORK:-}" ] || isolation+=(--net)
    mkdir -p "$upper" "$upper.scratch" "$upper.root"
    # shellcheck disable=SC2016  # for the inner shell
    unshare "${isolation[@]}" --propagation private bash -euc '
        layers=$1 upper=$2 shared=$3 place=$4; shift 4
        root=$upper.root
        mount -t overlay -o "lowerdir=$layers,upperdir=$upper,workdir=$upper.scratch" build "$root"
        mkdir -p "$root$place"
        mount --bind "$shared" "$root$place"
        mount -t proc proc "$root/proc"
        mount -t tmpfs -o mode=755 dev "$root/dev"
        for each in null zero full random urandom tty; do
            : >"$root/dev/$each"; mount --bind "/dev/$each" "$root/dev/$each"
        done
        ln -s /proc/self/fd "$root/dev/fd"
        ln -s pts/ptmx "$root/dev/ptmx"
        mkdir "$root/dev/pts" "$root/dev/shm"
        mount -t devpts -o newinstance,ptmxmode=0666 pts "$root/dev/pts"
        mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
        mount -t tmpfs -o mode=1777 tmp "$root/tmp"
        [ ! -e /etc/resolv.conf ] || cp /etc/resolv.conf "$root/etc/resolv.conf"
        exec env --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
            chroot "$root" "$@"' within "$layers" "$upper" "$shared" "$place" "$@"
    rmdir "$upper.root"
    rm -rf --one-file-system "$upper.scratch"
}

# layer NAME STAMP SHARED COMMAND...: a directory with what the command, which may use the network, changed in the clean root.
# It is kept as long as STAMP stays the same.
layer() {
    local directory=$PWD/$cache/$release-$1 stamp=$2 shared=$3
    shift 3
    if [ "$(cat "$directory.stamp" 2>/dev/null)" != "$stamp" ]; then
        rm -rf --one-file-system "$directory" "$directory.stamp"
        NETWORK=yes within "$root" "$directory" "$shared" "$@" >&2
        echo "$stamp" >"$directory.stamp"
    fi
    echo "$directory"
}

# The wheels for the releases that need them, as `vendor.txt` has them.
vendored_wheels() {
    if ! cmp --quiet packaging/vendor.txt "$cache/vendor/vendor.txt"; then
        rm -rf "$cache/vendor"
        mkdir -p "$cache/vendor"
        packaging/vendor.sh fetch "$cache/vendor" >&2
        cp packaging/vendor.txt "$cache/vendor"
    fi
}

# archive FILE FOLDER NAME...: the same bytes from the same files.
archive() {
    local file=$1
    shift
    tar --create --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw,a-s \
        --directory="$1" "${@:2}" | gzip --no-name --best >"$file"
}

# The source package's parts, in $work, and its tree, in $work/superd-VERSION.
make_source() {
    local tree=$work/superd-$version
    rm -rf --one-file-system "$work"
    mkdir -p "$tree"
    # What git knows or would take, as it is now.
    git ls-files --cached --others --exclude-standard -z -- . ':!packaging/deb' |
        while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
        tar --create --null --files-from=- | tar --extract --directory="$tree"
    archive "$work/superd_$version.orig.tar.gz" "$work" "superd-$version"
    if [ -n "$profiles" ]; then
        vendored_wheels
        mkdir "$tree/vendor"
        cp "$cache"/vendor/*.whl "$tree/vendor"
        archive "$work/superd_$version.orig-vendor.tar.gz" "$tree" vendor
    fi
    cp -R packaging/deb "$tree/debian"
    [ -z "$profiles" ] || { echo; cat packaging/vendor.copyright; } >>"$tree/debian/copyright"
    {
        printf 'superd (%s-%s) %s; urgency=medium\n\n  * Built for %s.\n\n' "$version" "$revision" "$release" "$release"
        printf ' -- %s  %s\n\n' "$maintainer" "$(date --utc --rfc-email --date="@$epoch")"
        cat packaging/deb/changelog
    } >"$tree/debian/changelog"
}

build() {
    local tools upper
    make_source
    tools=$(layer build "$(sed -n '/^Build-Depends:/,/^$/p' packaging/deb/control | sha256sum)" "$work" \
        sh -euc "apt-get -qq update
                 apt-get -qq install --no-install-recommends dpkg-dev >/dev/null
                 cd $place/superd-$version
                 apt-get -qq build-dep --no-install-recommends ${profiles:+-P $profiles} . >/dev/null
                 apt-get clean; rm -rf /var/lib/apt/lists/*")
    upper=$work/overlay
    within "$tools:$root" "$PWD/$upper" "$work" \
        sh -euc "umask 022; cd $place/superd-$version
                 dpkg-buildpackage --no-sign -sa ${profiles:+-P$profiles} >../log 2>&1 || { tail -n 60 ../log >&2; exit 1; }"
    rm -rf --one-file-system "$upper" "$work/superd-$version"
}

lint() {
    local tools
    tools=$(layer lint 1 "$work" \
        sh -euc "apt-get -qq update; apt-get -qq install --no-install-recommends lintian >/dev/null; apt-get clean")
    within "$tools:$root" "$PWD/$work/overlay" "$work" \
        sh -euc "lintian --allow-root --fail-on error,warning --tag-display-limit 0 $place/*.changes"
    rm -rf --one-file-system "$work/overlay"
}

reproduce() {
    local sums
    sums=$(cd "$work" && sha256sum ./*.deb)
    work=$cache/again-$release place=/another/place
    build
    (cd "$work" && sha256sum --check --quiet) <<<"$sums"
    echo "$sums"
    rm -rf --one-file-system "$work"
}

root=$(packaging/root.sh "$release")
maintainer=$(sed -n 's/^Maintainer: //p' packaging/deb/control)
# A minute after the last entry: the one for this release comes after it.
epoch=$(($(date --date="$(sed -n '/^ -- /{s/.*>  //p;q}' packaging/deb/changelog)" +%s) + 60))
mkdir -p "$cache"
case $command in
    build) build ;;
    lint) lint ;;
    reproduce) reproduce ;;
    *) echo "deb.sh: unknown command $command" >&2; exit 1 ;;
esac
