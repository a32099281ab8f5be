"""Datagrams: what both ends ask of the kernel in the same way (unix(7), protocol §18)."""

import os
import socket
import stat
import struct
from typing import Final, NamedTuple, TypeAlias

from superd_client.ancillary import ANCILLARY_SIZE, RECEIVE_FLAGS, Ancillary, received_fds
from superd_client.descriptors import close_all
from superd_client.wire.errors import ErrorCode, ErrorObject
from superd_client.wire.framing import PacketDecoder
from superd_client.wire.limits import HEADER_SIZE

#: A sender's address as the kernel gives it: a path, or an abstract name with its NUL byte; None where it has none.
Sender: TypeAlias = str | bytes | None

#: struct ucred of unix(7): pid, uid, gid.
_UCRED: Final = struct.Struct("=iII")

#: Room for the descriptors and the credentials of one datagram.
_ANCILLARY_SIZE: Final = ANCILLARY_SIZE + socket.CMSG_SPACE(_UCRED.size)

#: Where the first byte of a datagram goes that is only asked for its length. Nobody looks at it.
_PEEKED: Final = bytearray(1)
_PEEK: Final = int(socket.MSG_PEEK | socket.MSG_TRUNC)

#: SO_PASSSEC and SO_PASSPIDFD, which Python does not know, of asm-generic/socket.h.
_UNWANTED: Final = (34, 76)

_SEND_FLAGS: Final = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

#: What a datagram with descriptors gets (§18.4).
DESCRIPTORS_REFUSED: Final = ErrorObject(
    ErrorCode.INVALID_REQUEST, "a datagram takes no descriptors here", {}
)


class NotTheirs(OSError):
    """A sender's address that is not the sender's own: nothing is sent there."""


class Credentials(NamedTuple):
    """Whose a datagram is, as the kernel says: the real ids, unless the sender named its effective or saved ones."""

    pid: int
    uid: int
    gid: int


class Datagram(NamedTuple):
    """One datagram, cut to its header where it is over the limit: `length` is what it had.

    `credentials` is None where the kernel did not note them, or the sender's pid namespace is not visible here: the two
    look alike. Descriptors that came with it are closed already.
    """

    data: bytes
    length: int
    sender: Sender
    credentials: Credentials | None
    had_descriptors: bool


def open_datagram_socket() -> socket.socket:
    """A new socket, non-blocking and not inherited."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def ask_for_credentials(sock: socket.socket) -> None:
    """Have each datagram bring whose it is, and nothing else beside bytes and descriptors.

    To be done before the socket has an address: a datagram that was sent earlier has no credentials. A socket unit
    does it by PassCredentials=.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    for option in _UNWANTED:
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, 0)
        except OSError:
            continue  # a kernel that does not know the option does not pass it either


def receive_datagram(sock: socket.socket, frame_limit: int) -> Datagram:
    """Read one datagram; raises BlockingIOError where there is none, and OSError.

    It is asked for its length first, so that memory is taken for what came, and at most for a frame.
    """
    length = sock.recv_into(_PEEKED, 1, _PEEK)
    room = length if length <= frame_limit + HEADER_SIZE else HEADER_SIZE
    data, ancillary, _, sender = sock.recvmsg(room, _ANCILLARY_SIZE, RECEIVE_FLAGS)
    fds = received_fds(ancillary)
    close_all(fds)
    return Datagram(data, length, sender or None, _credentials(ancillary), bool(fds))


def _credentials(ancillary: Ancillary) -> Credentials | None:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            found = Credentials(*_UCRED.unpack(data))
            # 0 stands in the place of credentials that were not noted; the uid is then any, by kernel.overflowuid.
            return found if found.pid else None
    return None


def only_frame(datagram: Datagram, frame_limit: int) -> bytes:
    """The body of the one frame that a datagram holds; raises PacketRefused."""
    decoder = PacketDecoder(frame_limit)
    decoder.receive_packet(datagram.data, (), datagram.length)
    body = decoder.next_frame()
    assert body is not None, "one packet was put in"  # noqa: S101 - for the type checker
    return body


def send_datagram(sock: socket.socket, frame: bytes, address: str | bytes) -> None:
    """Send one datagram; raises BlockingIOError where the receiver or our own buffer is full, and OSError."""
    sock.sendto(frame, _SEND_FLAGS, address)


def reply_to(sock: socket.socket, frame: bytes, sender: str | bytes, uid: int) -> None:
    """Send a datagram to where one came from that the user `uid` had sent; raises as `send_datagram`, and NotTheirs.

    A sender can claim any path: it binds it in a mount namespace or a root directory of its own. So that nobody makes
    us write to, say, the journal's socket, the file must be the sender's.
    """
    if isinstance(sender, bytes):
        send_datagram(sock, frame, sender)
        return
    if not sender.startswith("/"):
        raise NotTheirs("the sender's address is a relative path")
    fd = os.open(sender, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if not stat.S_ISSOCK(found.st_mode) or uid not in (found.st_uid, 0):
            raise NotTheirs("the file at the sender's address is not the sender's")
        send_datagram(
            sock, frame, f"/proc/self/fd/{fd}"
        )  # the file that was looked at, whatever is there by now
    finally:
        os.close(fd)


def show_sender(sender: Sender) -> str | None:
    """A sender's address for people: `/path` or `@name`."""
    if isinstance(sender, bytes):
        return "@" + sender[1:].decode("utf-8", "backslashreplace")
    return sender
