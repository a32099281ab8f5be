#!/bin/bash
# Boots a throw-away systemd as PID 1 of a container, over an overlay of a root directory that is never written to.
#
#   boot.sh hold  NAME [option...]   boot, print "ready PID", stay until standard input ends, shut down, remove all
#   boot.sh start NAME [option...]   boot and return;  stop NAME  shuts down,  kill NAME  without asking
#   boot.sh exec  NAME COMMAND...    enter the guest's namespaces: fast, but outside every unit
#   boot.sh run   NAME COMMAND...    by systemd-run: in a unit of its own
#   boot.sh leader NAME              the guest's PID 1 as the host counts it
#   boot.sh check                    say why a guest cannot be booted here, if so, and fail
#
# Options: --root DIR (/)   --target UNIT (basic.target)   --size BYTES (1g; what the guest may write)
#          --bind[-ro] SOURCE:TARGET   --mask UNIT
#
# It needs root and systemd-container. The host's own PID 1 need not be systemd. All mounts live in a mount namespace
# that ends with the guest, so nothing is left behind, not even after a SIGKILL; `hold` also ends when its starter dies.
set -euo pipefail

base=${GUEST_DIRECTORY:-/run/superd-guests}
boot_seconds=60
stop_seconds=20

die() { echo "boot.sh: $*" >&2; exit 1; }

check() {
    [ "$(uname -s)" = Linux ] || die "not Linux"
    [ "$(id -u)" -eq 0 ] || die "not root"
    local tool
    for tool in systemd-nspawn nsenter unshare setsid; do
        command -v "$tool" >/dev/null || die "$tool is not installed (Debian: systemd-container, util-linux)"
    done
    [ -x /lib/systemd/systemd ] || [ -x /usr/lib/systemd/systemd ] || die "systemd is not installed"
    grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || die "the kernel has no overlay file system"
    [ -n "$(cgroup_root)" ] || die "no cgroup 2 hierarchy that can be written to"
}

cgroup_root() {
    local place
    for place in /sys/fs/cgroup /sys/fs/cgroup/unified; do
        if [ -w "$place/cgroup.procs" ] && [ -e "$place/cgroup.controllers" ]; then
            echo "$place"
            return
        fi
    done
}

alive() { kill -0 "$1" 2>/dev/null; }

leader() { cat "$state/leader" 2>/dev/null || die "$name: not running"; }

# Becomes the command: call it last, or in a subshell.
enter() {
    local pid
    pid=$(leader)
    exec nsenter --target "$pid" --mount --uts --ipc --net --pid --cgroup --root --wd -- "$@"
}

parse() {
    root=/ target=basic.target size=1g arguments=() masks=()
    while [ $# -gt 0 ]; do
        case $1 in
            --root) root=$2 ;;
            --target) target=$2 ;;
            --size) size=$2 ;;
            --bind | --bind-ro) arguments+=("$1=$2") ;;
            --mask) masks+=("$2") ;;
            *) die "unknown option $1" ;;
        esac
        shift 2
    done
}

# Runs in the new mount namespace and becomes systemd-nspawn.
inside() {
    local lower=$1 size=$2 masked=$3 work=$4 cgroup=$5 unit
    shift 5
    # Before anything is forked: the guest gets a cgroup of its own. Otherwise --keep-unit puts all guests into one, and
    # the PID 1 of each ends the others' services.
    [ -z "$cgroup" ] || echo $$ >"$cgroup/cgroup.procs"
    mount -t tmpfs -o "size=$size,mode=755" guest "$work"
    mkdir "$work/upper" "$work/scratch" "$work/root"
    mount -t overlay -o "lowerdir=$lower,upperdir=$work/upper,workdir=$work/scratch" guest "$work/root"
    for unit in $masked; do ln -sfn /dev/null "$work/root/etc/systemd/system/$unit"; done
    # Empty: a guest that has its host's id would share its journal.
    rm -f "$work/root/etc/machine-id"
    : >"$work/root/etc/machine-id"
    # systemd-nspawn keeps files there and wants a tmpfs.
    mkdir -p /run/systemd/nspawn
    mount -t tmpfs guest /run/systemd/nspawn
    export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
    exec systemd-nspawn --quiet --directory="$work/root" --boot "$@"
}

start() {
    check
    parse "$@"
    mkdir -p "$base"
    mkdir "$state" 2>/dev/null || die "$name: there is such a guest already"
    trap 'remove kill' EXIT
    mkdir "$state/work"
    local cgroup="" scope=()
    # A host's systemd gives the guest a scope; elsewhere we are the ones who make a cgroup.
    if [ ! -d /run/systemd/system ]; then
        scope=(--keep-unit)
        cgroup=$(cgroup_root)/superd-guest-$name
        mkdir -p "$cgroup"
    fi
    setsid unshare --mount --propagation private \
        "$BASH" "$0" inside "$name" "$root" "$size" "${masks[*]:-}" "$state/work" "$cgroup" \
        --register=no "${scope[@]}" --machine="$name" --private-network --link-journal=no --console=pipe \
        "${arguments[@]}" --kill-signal=SIGRTMIN+4 -- --unit="$target" --show-status=0 \
        </dev/null >"$state/console" 2>&1 &
    echo $! >"$state/nspawn"
    wait_for_boot "$!" || { cat "$state/console" >&2; die "$name: does not boot"; }
    trap - EXIT
}

wait_for_boot() {
    local nspawn=$1 pid="" deadline=$((SECONDS + boot_seconds))
    until [ -n "$pid" ] && [ -S "/proc/$pid/root/run/systemd/private" ]; do
        alive "$nspawn" && [ $SECONDS -lt $deadline ] || return 1
        sleep 0.02
        # Its only child; so nothing has to be registered with machined.
        read -r pid _ 2>/dev/null <"/proc/$nspawn/task/$nspawn/children" || true
    done
    echo "$pid" >"$state/leader"
    # Answers when the first transaction is done, over a private socket: D-Bus need not be there.
    case $(enter timeout "$boot_seconds" systemctl is-system-running --wait 2>/dev/null) in
        running | degraded) ;;
        *) return 1 ;;
    esac
}

wait_for_end() {
    local deadline=$((SECONDS + stop_seconds))
    while alive "$1"; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.02
    done
}

# remove stop|kill: whatever there is of the guest, however far it came.
remove() {
    local nspawn pid
    nspawn=$(cat "$state/nspawn" 2>/dev/null || true)
    pid=$(cat "$state/leader" 2>/dev/null || true)
    if [ -n "$nspawn" ] && alive "$nspawn"; then
        if [ "$1" = stop ]; then
            kill -TERM "$nspawn" 2>/dev/null || true
            wait_for_end "$nspawn" || true
        fi
        [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
        wait_for_end "$nspawn" || kill -KILL "$nspawn" 2>/dev/null || true
        wait_for_end "$nspawn" || true
    fi
    remove_cgroup
    rm -rf --one-file-system "$state"
    rmdir "$base" 2>/dev/null || true
}

# In every hierarchy: where there are old ones beside cgroup 2, systemd-nspawn makes the same path in that of systemd.
remove_cgroup() {
    local cgroup deadline=$((SECONDS + 5))
    for cgroup in /sys/fs/cgroup/"superd-guest-$name" /sys/fs/cgroup/*/"superd-guest-$name"; do
        while [ -d "$cgroup" ] && [ $SECONDS -lt $deadline ]; do
            # The kernel lets the last processes go a moment after they ended.
            find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.02
        done
    done
}

command=${1:?what to do? $(sed -n '4,9s/^# *//p' "$0")}
[ "$command" = check ] && { check; exit; }
name=${2:?which guest?}
state=$base/$name
shift 2
case $command in
    inside) inside "$@" ;;
    start) start "$@" ;;
    hold)
        start "$@"
        trap 'remove stop' EXIT
        trap exit HUP INT TERM
        echo "ready $(leader)"
        cat >/dev/null
        ;;
    stop | kill)
        [ -d "$state" ] || die "$name: not running"
        remove "$command"
        ;;
    leader) leader ;;
    exec) enter "$@" ;;
    run) enter systemd-run --quiet --pipe --wait --collect --service-type=exec -- "$@" ;;
    *) die "unknown command $command" ;;
esac
