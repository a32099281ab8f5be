"""The socket as a file, its folder, and who may connect."""

import shlex
from collections.abc import Iterator
from typing import Final

from superd.ctl.doctor.facts import Facts, Node, Place, UnitFacts
from superd.ctl.doctor.findings import Finding, Unknown, found, unchecked, well
from superd.ctl.doctor.mending import of_instance, start_again, systemctl
from superd.ctl.doctor.units import Unit

#: What everybody needs on the folder to come to the socket: to go through.
_PASSABLE: Final = 0o111

#: Bytes of /run below which systemd cannot keep its own state: units and journals write some hundred KiB.
RUN_BYTES_MIN: Final = 1 << 20

#: Files of it: a start makes some.
RUN_FILES_MIN: Final = 64


def check_file(facts: Facts) -> Iterator[Finding]:
    """Whether the socket that clients find is the one on which somebody listens."""
    place = facts.place
    if place is None:
        yield well(f"{facts.address} is no path: there is no file to look at")
        return
    faults = list(_file_faults(facts, place))
    if not faults and place.file is None:
        return  # the unit does not listen, which its own check tells
    yield from faults or [well(f"{place.path} is a socket, and somebody listens")]


def _file_faults(facts: Facts, place: Place) -> Iterator[Finding]:
    active = isinstance(facts.socket, Unit) and facts.socket.is_active
    if isinstance(facts.socket, Unit) and not active:
        yield from _left_over(facts, place)
    elif place.file is None:
        yield found(
            "socket-file-missing",
            f"there is no {place.path}{', though its unit listens: somebody has removed it' if active else ''}",
            _listen_anew(facts),
        )
    elif not place.file.is_socket:
        yield _no_socket(place, _listen_anew(facts))
    elif place.listeners == 0 and (active or place.answer):
        yield found(
            "socket-stale",
            f"nobody listens on {place.path}: it was left behind, or replaced",
            _listen_anew(facts),
        )


def _left_over(facts: Facts, place: Place) -> Iterator[Finding]:
    """What is at the path while systemd does not listen there."""
    instance = facts.instance
    if place.file is None or instance is None:
        return
    if place.answer == "":
        who = f"process {place.peer_pid}" if place.peer_pid else "another process"
        kill = f"kill {place.peer_pid} && " if place.peer_pid else ""
        yield found(
            "socket-of-another",
            f"{who} listens on {place.path}, and not {instance.socket_unit}",
            f"{kill}{start_again(instance)}",
        )
    elif not place.file.is_socket:
        yield _no_socket(place, start_again(instance))
    else:
        yield found(
            "socket-stale",
            f"{place.path} was left behind, and nobody listens there ({place.answer})",
            f"rm -f {shlex.quote(place.path)} && {start_again(instance)}",
        )


def _no_socket(place: Place, listen: str | None) -> Finding:
    remove = f"rm -r {shlex.quote(place.path)}"
    return found(
        "socket-file-foreign", f"{place.path} is no socket", f"{remove} && {listen}" if listen else remove
    )


def _listen_anew(facts: Facts) -> str | None:
    if facts.instance is None:
        return None
    return systemctl(facts.instance, "restart", facts.instance.socket_unit)


def check_mode(facts: UnitFacts) -> Iterator[Finding]:
    """Owner and mode of the socket, as the unit has them, and of its folder."""
    place, unit = facts.place, facts.socket
    if place is None or place.file is None or not place.file.is_socket or not isinstance(unit, Unit):
        return
    faults = [*_wrong_owner(facts, place.file, unit), *_wrong_folder(facts, place)]
    yield from faults or [well(f"mode {place.file.mode:04o} and owner are those of {unit.name}")]
    if place.file.mode & 0o002:
        yield found(
            "socket-for-everybody",
            f"everybody may connect to {place.path}: the policy alone says who may call what",
            of_instance("superctl", facts.instance, "policy", "show"),
        )


def _wrong_owner(facts: UnitFacts, file: Node, unit: Unit) -> Iterator[Finding]:
    if not unit.is_active:
        return
    mode = int(unit.get("SocketMode") or "0666", 8)
    uid, gid = file.uid, file.gid
    if not facts.instance.user:
        # An account that there is none of is told by its own check.
        uid = facts.accounts.users.get(unit.get("SocketUser")) or 0
        group = facts.accounts.groups.get(unit.get("SocketGroup"), 0)
        gid = gid if group is None else group
    if (file.mode, file.uid, file.gid) != (mode, uid, gid):
        yield found(
            "socket-mode",
            f"the socket has mode {file.mode:04o}, uid {file.uid}, gid {file.gid}; {unit.name} says {mode:04o}, {uid}, {gid}",
            systemctl(facts.instance, "restart", unit.name),
        )


def _wrong_folder(facts: UnitFacts, place: Place) -> Iterator[Finding]:
    folder, name = place.folder, place.path.rpartition("/")[0]
    if folder is None or facts.instance.user:
        return
    if folder.mode & _PASSABLE != _PASSABLE:
        yield found(
            "socket-folder-closed",
            f"{name} has mode {folder.mode:04o}: clients cannot come to the socket in it",
            f"chmod 0755 {name}",
        )
    if folder.uid != 0 or folder.mode & 0o022:
        yield found(
            "socket-folder-writable",
            f"{name} has mode {folder.mode:04o}, uid {folder.uid}: others may put a socket of their own in the place of superd's",
            f"chown root:root {name} && chmod 0755 {name}",
        )


def check_accounts(facts: UnitFacts) -> Iterator[Finding]:
    """Whether there are the user and the group that the units name."""
    instance, accounts = facts.instance, facts.accounts
    missing = [name for name, uid in accounts.users.items() if uid is None]
    lacking = [name for name, gid in accounts.groups.items() if gid is None]
    mend = f"systemd-sysusers && {start_again(instance)}"
    if instance.name:
        # The start of its socket makes the user of an instance.
        mend = systemctl(instance, "restart", instance.socket_unit)
        if isinstance(facts.socket, Unit) and not facts.socket.is_active:
            missing.clear()
    if missing or lacking:
        yield from (
            found("user-missing", f"there is no user {name}, as which superd runs", mend) for name in missing
        )
        yield from (
            found("group-missing", f"there is no group {name}, whose members may connect", mend)
            for name in lacking
        )
    elif isinstance(facts.socket, Unknown):
        yield unchecked(facts.socket)
    else:
        yield well(
            f"accounts that the units name: {', '.join([*accounts.users, *accounts.groups]) or 'none'}"
        )


def check_callers(facts: Facts) -> Iterator[Finding]:
    """Who may connect: root, and the members of the group."""
    instance, unit, caller = facts.instance, facts.socket, facts.caller
    if not caller.may_connect:
        yield _caller_may_not(facts)
    if instance is None or instance.user or not isinstance(unit, Unit):
        if caller.may_connect:
            yield well(f"user {caller.name} may connect")
        return
    group, members = unit.get("SocketGroup"), facts.accounts.members
    open_to_all = int(unit.get("SocketMode") or "0666", 8) & 0o002
    if facts.accounts.groups.get(group) is not None and not members and not open_to_all:
        yield found(
            "nobody-may-connect",
            f"the group {group} has no members: nobody but root may connect, and units with SupplementaryGroups={group}",
            f"usermod --append --groups {group} NAME",
        )
    elif caller.may_connect:
        yield well(f"may connect: {'everybody' if open_to_all else ', '.join(('root', *members))}")


def _caller_may_not(facts: Facts) -> Finding:
    caller = facts.caller
    group = facts.socket.get("SocketGroup") if isinstance(facts.socket, Unit) else "superd"
    if caller.is_member:
        return found(
            "caller-may-not-connect",
            f"user {caller.name} is in the group {group}, and this session began before: log in again",
            f"newgrp {group}",
        )
    return found(
        "caller-may-not-connect",
        f"user {caller.name} may not connect",
        f"usermod --append --groups {group or 'superd'} {caller.name}",
    )


def check_room(facts: UnitFacts) -> Iterator[Finding]:
    """Whether a socket can be made: /run may be full."""
    room = facts.run
    if room is None:
        return
    if room.bytes_free >= RUN_BYTES_MIN and room.files_free >= RUN_FILES_MIN:
        yield well(f"{room.mount} has {room.bytes_free >> 20} MiB and {room.files_free} files free")
        return
    larger = f"mount -o remount,size={room.bytes_total * 2} {room.mount}"
    yield found(
        "run-full",
        f"{room.mount} is full ({room.bytes_free} bytes, {room.files_free} files free): no socket can be made, and systemd itself fails",
        larger
        if room.is_memory and room.bytes_free < RUN_BYTES_MIN
        else f"du -x --inodes {room.mount} | sort -n | tail",
    )
