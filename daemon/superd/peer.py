"""Who is at the other end of a connection, as the kernel says. docs/reference/policy.md says what to decide on."""

import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Final, NamedTuple, Self

from typing_extensions import override

from superd.peer_socket import (
    is_alive,
    kernel_has_peer_pidfd,
    open_pidfd,
    read_credentials,
    read_groups,
    read_label,
    unpack_credentials,
)

#: A unit name as systemd.unit(5) admits it, of the two kinds that hold processes of programs.
_UNIT: Final = re.compile(r"[A-Za-z0-9:_.\\@-]{1,247}\.(?:service|scope)")

#: A user's own service manager: below it the user's units are found.
_USER_MANAGER: Final = re.compile(r"user@[0-9]+\.service")


class Units(NamedTuple):
    """Where a process is: the unit of the system's manager, and, below a user's manager, the user's own unit.

    Only root can make a unit of the system. A user gives the units of his own manager any name.
    """

    system: str | None = None
    user: str | None = None


class Caller:
    """The process that made a connection, or sent a datagram, as it was then. Does not change.

    Safe to decide on, because the kernel keeps them with the connection: `uid`, `gid`, `groups`, `label`. `system_unit`
    may narrow what those allow, and no more: a process can be moved, and before Linux 6.5 a pid can be another
    process's by now. `pid` and `unit` are for logs.
    """

    __slots__ = ("_connection", "_gid", "_groups", "_label", "_pid", "_uid", "_units")

    def __init__(
        self,
        uid: int,
        gid: int,
        pid: int,
        *,
        groups: Iterable[int] | None = None,
        connection: socket.socket | None = None,
    ) -> None:
        """`groups` None says that they are not known; `connection` is asked for the rest, while it is open."""
        self._uid = uid
        self._gid = gid
        self._pid = pid
        self._groups = None if groups is None else frozenset(groups)
        self._connection = connection
        self._units: Units | None = None
        self._label: str | bool | None = False  # not read yet

    @classmethod
    def from_socket(cls, connection: socket.socket) -> Self:
        """The peer of a connected AF_UNIX socket. Raises OSError where there is none.

        Its groups are read now: a decision must not depend on how long the socket stays open.
        """
        pid, uid, gid = read_credentials(connection)
        return cls(uid, gid, pid, groups=read_groups(connection), connection=connection)

    @classmethod
    def from_message(cls, credentials: bytes) -> Self:
        """The sender of a datagram, by the SCM_CREDENTIALS that came with it: its groups and its label are not known."""
        pid, uid, gid = unpack_credentials(credentials)
        return cls(uid, gid, pid)

    @property
    def uid(self) -> int:
        """The effective user id."""
        return self._uid

    @property
    def gid(self) -> int:
        """The effective group id."""
        return self._gid

    @property
    def groups(self) -> frozenset[int] | None:
        """The supplementary groups, mostly with `gid` among them; None where the kernel does not say (datagrams)."""
        return self._groups

    @property
    def pid(self) -> int:
        """The process id; 0 for a process of a pid namespace that is not visible here."""
        return self._pid

    @property
    def unit(self) -> str | None:
        """The unit as a person looks for it: of a user's manager the user's unit. None where that cannot be known."""
        units = self._read_units()
        return units.user or units.system

    @property
    def system_unit(self) -> str | None:
        """The unit of the system's manager (`user@1000.service` for all units of a user). None where not known."""
        return self._read_units().system

    @property
    def label(self) -> str | None:
        """The label of the security module (SELinux, AppArmor, Smack); None where there is none.

        To be asked for while the connection is open; what was read then stays.
        """
        if isinstance(self._label, bool):
            self._label = None if self._connection is None else read_label(self._connection)
        return self._label

    @contextmanager
    def pidfd(self) -> Iterator[int | None]:
        """A descriptor of the process itself, to be used within the block: see pidfd_open(2).

        Made anew each time, since one for each connection would take as many descriptors again. None before Linux 6.5,
        for datagrams, and for a process or a connection that is gone.
        """
        fd = None if self._connection is None else open_pidfd(self._connection)
        try:
            yield fd
        finally:
            if fd is not None:
                os.close(fd)

    def _read_units(self) -> Units:
        """The units when first asked for."""
        if self._units is None:
            with self.pidfd() as pidfd:
                units = _units_of_pid(self._pid)
                # While the process lives, the pid is its own: what was read under it is of this process.
                if pidfd is not None:
                    self._units = units if is_alive(pidfd) else Units()
                elif self._connection is not None and kernel_has_peer_pidfd():
                    self._units = Units(user=units.user or units.system)  # not proven: for logs alone
                else:
                    self._units = units
        return self._units

    @override
    def __repr__(self) -> str:
        return f"Caller(uid={self._uid}, gid={self._gid}, pid={self._pid})"


def _units_of_pid(pid: int) -> Units:
    if pid <= 0:
        return Units()
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text("ascii", errors="replace")
    except OSError:
        return Units()
    return units_from_cgroup(text)


def unit_from_cgroup(text: str) -> str | None:
    """The unit that a /proc/PID/cgroup names, in a user's manager the user's; None if there is none."""
    units = units_from_cgroup(text)
    return units.user or units.system


def units_from_cgroup(text: str) -> Units:
    """The services or scopes that a /proc/PID/cgroup names (cgroups(7)).

    systemd keeps its tree in the unified hierarchy ("0::"), or on older systems in "name=systemd".
    """
    lines = [line.split(":", 2) for line in text.splitlines() if line.count(":") >= 2]
    unified = [path for number, controllers, path in lines if number == "0" and not controllers]
    named = [path for _, controllers, path in lines if "name=systemd" in controllers.split(",")]
    found = (_units_of_path(path) for path in (*unified, *named))
    return next((units for units in found if units.system is not None), Units())


def _units_of_path(path: str) -> Units:
    """The first unit below the slices; what lies below it was delegated, and is the unit's own business."""
    first, second = islice(chain(_parts(path), ("", "")), 2)
    if not _UNIT.fullmatch(first):
        return Units()
    return Units(first, second if _USER_MANAGER.fullmatch(first) and _UNIT.fullmatch(second) else None)


def _parts(path: str) -> Iterator[str]:
    """The parts of a cgroup path that are no slices.

    systemd puts "_" before a name that could be taken for a file of the kernel; the kernel shows "/.." above the
    root of a cgroup namespace and " (deleted)" behind a group that is gone.
    """
    for part in path.removesuffix(" (deleted)").split("/"):
        name = part.removeprefix("_")
        if name not in ("", "..") and not name.endswith(".slice"):
            yield name
