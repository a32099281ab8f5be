"""The socket's path, its folder, and the room in their file systems, as they are now."""

import os
import socket
import stat
import struct
from pathlib import Path
from typing import Final

from superd.ctl.doctor.facts import Node, Place, Space
from superd.ctl.doctor.findings import Unknown
from superd_client.address import Address

_UNIX_SOCKETS: Final = Path("/proc/net/unix")

#: What systemd always has there, on a host that it runs.
_OF_THE_HOST: Final = b"/run/systemd/"

#: The flag of a socket that listens, as /proc/net/unix shows it (__SO_ACCEPTCON).
_LISTENS: Final = 0x10000

#: Its columns: the address in memory, references, protocol, flags, type, state, inode, path.
_FLAGS, _TYPE, _PATH = 3, 4, 7
_DATAGRAM: Final = socket.SOCK_DGRAM

#: Seconds for a connect. It is answered at once, or waits in a full queue.
_CONNECT_SECONDS: Final = 1.0


def look_at(address: Address, *, connect: bool) -> Place | None:
    """What is at a path; None for an abstract name. `connect` only where that starts nothing."""
    if address.path is None:
        return None
    path = Path(address.path)
    answer, peer = _connect(address) if connect else (None, None)
    return Place(address.path, _node(path.parent), _node(path), _count_listeners(address.path), answer, peer)


def _node(path: Path) -> Node | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return Node(stat.S_ISSOCK(found.st_mode), stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)


def _count_listeners(path: str) -> int | Unknown:
    """Sockets of this network namespace that take connections or datagrams at a path."""
    try:
        lines = _UNIX_SOCKETS.read_bytes().splitlines()
    except OSError as error:
        return Unknown(f"{_UNIX_SOCKETS} cannot be read: {error.strerror}")
    rows = [row for row in (line.split(None, _PATH) for line in lines[1:]) if len(row) > _PATH]
    count = sum(row[_PATH] == os.fsencode(path) and _takes_messages(row) for row in rows)
    if count == 0 and not any(row[_PATH].startswith(_OF_THE_HOST) for row in rows):
        return Unknown("the sockets of the host are not seen from this network namespace")
    return count


def _takes_messages(row: list[bytes]) -> bool:
    return bool(int(row[_FLAGS], 16) & _LISTENS) or int(row[_TYPE], 16) == _DATAGRAM


def _connect(address: Address) -> tuple[str, int | None]:
    """Why nobody answers, or "" and the process that listens."""
    with socket.socket(socket.AF_UNIX, address.kind.value) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        try:
            probe.connect(address.sockaddr)
            seen = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError as error:
            return error.strerror or str(error), None
    return "", struct.unpack("3i", seen)[0] or None


def room_in(folder: str) -> Space | None:
    """What is free where a folder is; None where it cannot be asked."""
    try:
        room = os.statvfs(folder)
    except OSError:
        return None
    mount = mount_of(Path(folder))
    return Space(
        folder,
        str(mount),
        room.f_bavail * room.f_frsize,
        room.f_blocks * room.f_frsize,
        # A file system that makes them as needed says 0 of 0.
        room.f_favail if room.f_files else 1 << 32,
        _is_memory(str(mount)),
    )


def mount_of(folder: Path) -> Path:
    """Where its file system is mounted."""
    place = folder.resolve()
    while not place.is_mount() and place != place.parent:
        place = place.parent
    return place


def _is_memory(mount: str) -> bool:
    """Whether it is a tmpfs, which can be made larger while it is in use."""
    try:
        lines = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    return any(words[1] == mount and words[2] == "tmpfs" for words in map(str.split, lines) if len(words) > 2)
