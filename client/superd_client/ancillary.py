"""Descriptors beside the bytes of a message, and packets: what both ends ask of the kernel in the same way (unix(7)).

A read of a stream goes no further than the message whose descriptors it brings, and brings those of one message
only. So they belong to the frame that holds the last byte of the read, if each frame that carries descriptors is
begun by a write of its own (protocol §9).
"""

import contextlib
import errno
import socket
from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from superd_client.wire.limits import HEADER_SIZE

#: Descriptors of one message at most: SCM_MAX_FD of the kernel.
MESSAGE_FDS_MAX: Final = 253

#: Room for the descriptors of one read. With less the kernel would close the others.
ANCILLARY_SIZE: Final = socket.CMSG_SPACE(MESSAGE_FDS_MAX * array("i").itemsize)

#: Received descriptors are not inherited by a child. An int: the `|` and `&` of IntFlag cost 1 us.
RECEIVE_FLAGS: Final = int(socket.MSG_CMSG_CLOEXEC)

#: What a write gives to a peer that is gone. Any other error of a frame with descriptors is that frame's own: EBADF,
#: ETOOMANYREFS (more of this user's descriptors are on their way than RLIMIT_NOFILE), what a security policy says.
HANGUPS: Final = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN})

#: Why a frame that is small enough for the frame limit does not fit a packet, and what to do.
PACKET_HINT: Final = "a packet holds no more: use a Blob, or a stream socket"

#: Where the first byte of a packet goes that is only asked for its length. Nobody looks at it.
_PEEKED: Final = bytearray(1)
_PEEK: Final = int(socket.MSG_PEEK | socket.MSG_TRUNC)
_CREDENTIALS_SPACE: Final = socket.CMSG_SPACE(3 * array("i").itemsize)

#: Bytes of the send buffer that the kernel takes for itself in a packet (unix_dgram_sendmsg in net/unix/af_unix.c).
_PACKET_OVERHEAD: Final = 32

#: SO_PASSSEC and SO_PASSPIDFD, which Python does not know, of asm-generic/socket.h.
_SO_PASSSEC: Final = 34
_SO_PASSPIDFD: Final = 76

#: What a read may bring beside bytes and descriptors, where it is asked for.
_PASSED: Final = (int(socket.SO_PASSCRED), _SO_PASSSEC, _SO_PASSPIDFD)

Ancillary = list[tuple[int, int, bytes]]


class Attachment(Protocol):
    """Descriptors that are to travel with one frame. They must stay open until `close`."""

    @property
    def fds(self) -> Sequence[int]:
        """What to pass, from 1 to MESSAGE_FDS_MAX descriptors."""

    def close(self) -> None:
        """They were passed, or never will be. Called in every case; may be called again."""


class Packet(NamedTuple):
    """One packet: its bytes, the descriptors that came with it, and its length before it was cut."""

    data: bytes
    fds: Sequence[int]
    length: int


def received_fds(ancillary: Ancillary) -> list[int]:
    """The descriptors that a read brought; they are this process's now, and the caller's to close.

    Where the process has no room for all of them the kernel passes the first ones (MSG_CTRUNC).
    """
    fds = array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return fds.tolist()


def rights(fds: Sequence[int]) -> list[tuple[int, int, "array[int]"]]:
    """What sendmsg takes to pass `fds`."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))]


def passes_more(listener: socket.socket) -> bool:
    """Whether connections that are accepted here begin with more beside their bytes than descriptors."""
    return any(_asked_for(listener, option) for option in _PASSED)


def _asked_for(listener: socket.socket, option: int) -> bool:
    try:
        return listener.getsockopt(socket.SOL_SOCKET, option) != 0
    except OSError:
        return False  # a kernel that does not know the option does not pass it either


def receive_descriptors_only(connection: socket.socket) -> None:
    """Have reads of an accepted connection bring nothing beside bytes but the descriptors that its peer passes.

    Its listening socket may say otherwise (PassCredentials=, PassSecurity=, PassPIDFD= of systemd.socket(5)); the
    rest would take the room of the descriptors, and a pidfd with each read would have to be closed.
    """
    for option in _PASSED:
        with contextlib.suppress(OSError):  # a kernel that does not know the option does not pass it either
            connection.setsockopt(socket.SOL_SOCKET, option, 0)


def packet_frame_max(connection: socket.socket) -> int:
    """Bytes of the largest body that one packet of this socket can hold; a larger one gives EMSGSIZE."""
    room = connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    return room - _PACKET_OVERHEAD - HEADER_SIZE


def receive_packet(connection: socket.socket, frame_limit: int) -> Packet | None:
    """Read one packet, or None at the end of file; raises BlockingIOError where there is nothing yet, and OSError.

    Of a packet with a body over `frame_limit` only the header is read, and the rest is dropped. It is asked for its
    length first, which costs 0.7 us, and saves us from keeping room for the largest.
    """
    try:
        length = connection.recv_into(_PEEKED, 1, _PEEK)
    except ConnectionResetError:
        # The peer closed and left something unread. A stream tells that after what had arrived, a packet socket
        # before it, and once.
        length = connection.recv_into(_PEEKED, 1, _PEEK)
    if length == 0:
        return _receive_empty(connection)
    room = length if length <= frame_limit + HEADER_SIZE else HEADER_SIZE
    data, ancillary, _, _ = connection.recvmsg(room, ANCILLARY_SIZE, RECEIVE_FLAGS)
    return Packet(data, received_fds(ancillary) if ancillary else (), length)


def _receive_empty(connection: socket.socket) -> Packet | None:
    """Tell a packet without bytes from the end of file.

    Every packet brings credentials if they are asked for, also one that was sent before; the end of file has none.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    try:
        data, ancillary, _, _ = connection.recvmsg(0, ANCILLARY_SIZE + _CREDENTIALS_SPACE, RECEIVE_FLAGS)
    finally:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
    return Packet(data, received_fds(ancillary), 0) if ancillary else None
