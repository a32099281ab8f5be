"""What proves of which systemd unit the server of a connection is.

The process at the other end of a socket that systemd listens on cannot be asked for by SO_PEERCRED: that shows who
listens, PID 1. But the kernel says of each read who wrote it (SCM_CREDENTIALS, unix(7)), and nobody but root can lie
there. A pid alone proves nothing, since its process may have ended and another may have got it. So it takes two
answers. The writer of the first one is held by its pidfd, and its unit is looked at. Where the second one, of which
nothing had been written by then, has the same writer, and the held process still lives, they are the same process: the
pid was its own all the time.

A server may be made to write, by who passes our connection's descriptor to it. Therefore the listening socket, too, must
be root's or the server's own user's: nobody else can then have accepted the connection first.
"""

import fcntl
import os
import socket
import struct
import termios
from typing import Any, Final, NamedTuple

from typing_extensions import override

from superd_client.units import is_alive, units_of_pid

#: Questions at most until a proof: two, and as many more where a restart comes between.
PROOF_ROUNDS: Final = 4

_RESTLESS: Final = "the process that answers is another one each time, or says more than it is asked"

_UNKNOWN: Final = (
    "no unit of the server's process can be read, and {} is asked for: is /proc hidden (ProtectProc=)?"
)

#: What is asked: every superd answers it, be it with a refusal.
QUESTION: Final = "rpc.hello"

#: struct ucred of unix(7): pid, uid, gid.
_UCRED: Final = struct.Struct("=iII")
_CREDENTIALS_SPACE: Final = socket.CMSG_SPACE(_UCRED.size)

_INT: Final = struct.Struct("=i")


class Unproved(Exception):
    """The server is of another unit, or nobody can say of which."""


class Writer(NamedTuple):
    """A process that wrote what was read, by its own credentials."""

    pid: int
    uid: int
    gid: int


class WitnessSocket(socket.socket):
    """A socket that notes who wrote what is read from it, until `relieve`."""

    def __init__(self, kind: int) -> None:
        """Open it; not connected yet, so that nothing can come before it is noted who wrote it."""
        super().__init__(socket.AF_UNIX, kind)
        #: Who wrote since this was emptied; None once nobody asks any more.
        self.writers: set[Writer] | None = set()
        self.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    @override
    def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[bytes, list[Any], int, Any]:
        """As ever, and without the credentials among the ancillary data."""
        if self.writers is None:
            return super().recvmsg(bufsize, ancbufsize, flags)
        data, ancillary, flags, address = super().recvmsg(bufsize, ancbufsize + _CREDENTIALS_SPACE, flags)
        others = []
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                if data:  # the end of file was written by nobody
                    self.writers.add(Writer(*_UCRED.unpack(content)))
            else:
                others.append((level, kind, content))
        return data, others, flags, address

    def relieve(self) -> None:
        """Note nothing from here on."""
        self.writers = None
        self.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)

    def owner_uid(self) -> int:
        """Whose the listening socket is."""
        data = self.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        return Writer(*_UCRED.unpack(data)).uid

    def has_unread(self) -> bool:
        """Whether something has come that was not read."""
        return bool(_INT.unpack(fcntl.ioctl(self, termios.FIONREAD, bytes(_INT.size)))[0])


class UnitProof:
    """The proof for one connection: ask QUESTION on it, read the answer, and see whether it `holds`; PROOF_ROUNDS times."""

    def __init__(self, unit: str) -> None:
        """Begin with nothing proved; `unit` is of the system's manager."""
        self._unit: Final = unit
        #: Why the last answer proved nothing.
        self.reason = _RESTLESS
        self._socket: WitnessSocket | None = None
        self._writer: Writer | None = None
        self._pidfd: int | None = None

    def open_socket(self, kind: int) -> socket.socket:
        """The socket to be connected; its owner closes it."""
        self._socket = WitnessSocket(kind)
        return self._socket

    def holds(self) -> bool:
        """Whether the answer that has come proves it, else ask again; raises Unproved where no answer could."""
        assert self._socket is not None  # noqa: S101 - what has no socket has no answer
        writers = self._socket.writers or set()
        if len(writers) == 1 and writers == {self._writer} and self._still_held():
            self._socket.relieve()
            return True
        self.close()
        self.reason = _RESTLESS
        if len(writers) == 1:
            self._hold(self._socket, *writers)
        self._socket.writers = set()
        return False

    def close(self) -> None:
        """Let the process go. May be called again."""
        pidfd, self._pidfd, self._writer = self._pidfd, None, None
        if pidfd is not None:
            os.close(pidfd)

    def _still_held(self) -> bool:
        return self._pidfd is not None and is_alive(self._pidfd)

    def _hold(self, witness: WitnessSocket, writer: Writer) -> None:
        """Hold the process and look at its unit, unless it has ended meanwhile, or has said more than it was asked."""
        if writer.pid <= 0:
            raise Unproved("the server's process is in a pid namespace that cannot be seen from here")
        try:
            self._pidfd = os.pidfd_open(writer.pid)
        except ProcessLookupError:
            return
        except OSError as error:
            raise Unproved(f"the server's process cannot be held: {error.strerror}") from error
        if witness.has_unread():
            return  # perhaps by another process, which had this pid before
        found = units_of_pid(writer.pid).system
        if not is_alive(self._pidfd):
            return
        if found is None:  # perhaps it is just about to end: it leaves its group before that shows
            self.reason = _UNKNOWN.format(self._unit)
            return
        if found != self._unit:
            raise Unproved(f"the server is of {found}, and {self._unit} is asked for")
        if witness.owner_uid() not in {0, writer.uid}:
            raise Unproved(
                f"the socket was made by uid {witness.owner_uid()}, which is neither root nor the server's"
            )
        self._writer = writer
