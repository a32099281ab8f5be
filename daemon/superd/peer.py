"""Who is at the other end of a connection, as the kernel says. docs/reference/policy.md says what to decide on."""

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Self

from typing_extensions import override

from superd.peer_socket import (
    kernel_has_peer_pidfd,
    open_pidfd,
    read_credentials,
    read_groups,
    read_label,
    unpack_credentials,
)
from superd_client.units import Units, is_alive, units_of_pid


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
                units = units_of_pid(self._pid)
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
