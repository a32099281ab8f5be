"""Who is at the other end of a connection, as the kernel says."""

import re
import socket
import struct
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Final, Self

from typing_extensions import override

#: struct ucred of unix(7): pid, uid, gid.
_UCRED: Final = struct.Struct("=iII")

#: A unit name as systemd.unit(5) admits it, of the two kinds that hold processes of programs.
_UNIT: Final = re.compile(r"[A-Za-z0-9:_.\\@-]{1,247}\.(?:service|scope)")

#: A user's own service manager: below it the user's units are found.
_USER_MANAGER: Final = re.compile(r"user@[0-9]+\.service")

_NOT_READ: Final = object()


class Caller:
    """The process that made a connection, as it was when it connected. Does not change.

    `uid` and `gid` come from the kernel and are safe to decide on. `pid` and `unit` are decoration, for logs:
    a pid may have been given to another process since, and a user gives the units of his own manager any name.
    """

    __slots__ = ("_gid", "_pid", "_uid", "_unit")

    def __init__(self, uid: int, gid: int, pid: int) -> None:
        self._uid = uid
        self._gid = gid
        self._pid = pid
        self._unit: object = _NOT_READ

    @classmethod
    def from_socket(cls, connection: socket.socket) -> Self:
        """The peer of a connected AF_UNIX socket, by SO_PEERCRED. Raises OSError where there is none."""
        data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid, uid, gid = _UCRED.unpack(data)
        return cls(uid, gid, pid)

    @property
    def uid(self) -> int:
        """The effective user id at connect(2)."""
        return self._uid

    @property
    def gid(self) -> int:
        """The effective group id at connect(2)."""
        return self._gid

    @property
    def pid(self) -> int:
        """The process id at connect(2); 0 for a process of a pid namespace that is not visible here."""
        return self._pid

    @property
    def unit(self) -> str | None:
        """The systemd unit that the pid is in when this is first asked; None where that cannot be known."""
        if self._unit is _NOT_READ:
            self._unit = _read_unit(self._pid)
        return self._unit if isinstance(self._unit, str) else None

    @override
    def __repr__(self) -> str:
        return f"Caller(uid={self._uid}, gid={self._gid}, pid={self._pid})"


def _read_unit(pid: int) -> str | None:
    if pid <= 0:
        return None
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text("ascii", errors="replace")
    except OSError:
        return None
    return unit_from_cgroup(text)


def unit_from_cgroup(text: str) -> str | None:
    """The service or scope that a /proc/PID/cgroup names (cgroups(7)), None if there is none.

    systemd keeps its tree in the unified hierarchy ("0::"), or on older systems in "name=systemd". In a user's
    manager (user@UID.service) it is the user's unit.
    """
    lines = [line.split(":", 2) for line in text.splitlines() if line.count(":") >= 2]
    unified = [path for number, controllers, path in lines if number == "0" and not controllers]
    named = [path for _, controllers, path in lines if "name=systemd" in controllers.split(",")]
    return next((unit for path in (*unified, *named) if (unit := _unit_of_path(path))), None)


def _unit_of_path(path: str) -> str | None:
    """The first unit below the slices; what lies below it was delegated, and is the unit's own business."""
    first, second = islice(chain(_parts(path), ("", "")), 2)
    if _USER_MANAGER.fullmatch(first) and _UNIT.fullmatch(second):
        return second
    return first if _UNIT.fullmatch(first) else None


def _parts(path: str) -> Iterator[str]:
    """The parts of a cgroup path that are no slices.

    systemd puts "_" before a name that could be taken for a file of the kernel; the kernel shows "/.." above the
    root of a cgroup namespace and " (deleted)" behind a group that is gone.
    """
    for part in path.removesuffix(" (deleted)").split("/"):
        name = part.removeprefix("_")
        if name not in ("", "..") and not name.endswith(".slice"):
            yield name
