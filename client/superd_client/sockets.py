"""The client's socket, and nothing of the protocol but what a packet is.

The socket is non-blocking in both clients, and nothing here waits. Where the blocking client waits, it waits in
epoll_wait(2), never in recv(2) or send(2) with SO_RCVTIMEO: Python restarts those with their full time after each
signal, so that a periodic signal would make a call wait for ever; and a KeyboardInterrupt that arrives there may take
bytes with it that were already read. epoll_wait loses nothing. It costs 1 us a call.
"""

import contextlib
import errno
import socket
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final, Protocol

from typing_extensions import override

from superd_client.address import Address, SocketKind
from superd_client.ancillary import (
    ANCILLARY_SIZE,
    PACKET_HINT,
    RECEIVE_FLAGS,
    packet_frame_max,
    receive_packet,
    received_fds,
    rights,
)
from superd_client.heap import reuse_large_buffers
from superd_client.instances import Instance
from superd_client.wire.framing import FrameTooLarge
from superd_client.wire.limits import FRAME_SIZE_MAX
from superd_client.witness import UnitProof

#: Bytes of one read: a blob of 64 KiB in base64, and what stands around it, come in one. Below malloc's threshold for mmap
#: (128 KiB), which would map and unmap memory on each read.
READ_SIZE: Final = 96 * 1024

#: The same after a read that brought as much: what a socket's buffer holds by default, which is 208 KiB.
LARGE_READ_SIZE: Final = 256 * 1024

#: Buffers of one write: enough to gather small frames, and far below IOV_MAX (1024).
GATHER_MAX: Final = 64

#: First and longest pause in seconds before a connect is tried again: the server's backlog is full, or it is not there.
BACKOFF_FIRST: Final = 0.001
BACKOFF_MAX: Final = 0.05

#: Longest single wait in seconds. epoll_wait(2) takes milliseconds in an int; callers look at their deadline and wait on.
WAIT_MAX: Final = 86_400.0

_HINTS: Final = {
    errno.ENOENT: "nothing listens at {}: is {} running?",
    errno.ECONNREFUSED: "nothing listens at {}: is {} running?",
    errno.EACCES: "permission denied at {}: is this user in the socket's group?",
    errno.EPERM: "permission denied at {}: does a security policy forbid it?",
    errno.EPROTOTYPE: "at {} is a socket of another type: is it unix:, unix-seqpacket: or unix-dgram:?",
}


_NO_SIGNAL: Final = int(socket.MSG_NOSIGNAL)


class Receiver(Protocol):
    """Who takes what a channel reads."""

    @property
    def frame_limit(self) -> int:
        """The largest body in bytes that is taken."""

    def receive_data(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Take what one read of a stream brought, and own its descriptors; b"" is the end of file."""

    def receive_packet(self, data: bytes, fds: Sequence[int] = (), length: int | None = None) -> None:
        """Take one packet, and own its descriptors; `length` is what it had before it was cut to `data`."""


class Channel:
    """A connected stream socket, and the sole owner of its descriptor. No method waits."""

    __slots__ = ("_read_size", "_socket", "frame_max")

    #: Whether one read and one write are one frame.
    packets: ClassVar[bool] = False

    #: How many frames one write may hold.
    gather_max: ClassVar[int] = GATHER_MAX

    def __init__(self, connected: socket.socket) -> None:
        """Take over a non-blocking socket."""
        self._socket: Final = connected
        self._read_size = READ_SIZE
        #: The largest body in bytes that the kernel takes as a frame.
        self.frame_max = FRAME_SIZE_MAX

    def fileno(self) -> int:
        """The descriptor, for a loop to watch; -1 once closed."""
        return self._socket.fileno()

    def read_to(self, receiver: Receiver) -> bool:
        """Read once, and hand over what was there; returns False where there is nothing yet. Raises OSError."""
        size = self._read_size
        try:
            data, ancillary, _, _ = self._socket.recvmsg(size, ANCILLARY_SIZE, RECEIVE_FLAGS)
        except BlockingIOError:
            return False
        if size != (wanted := LARGE_READ_SIZE if len(data) >= READ_SIZE else READ_SIZE):
            self._resize_reads(wanted)
        receiver.receive_data(data, received_fds(ancillary) if ancillary else ())
        return True

    def _resize_reads(self, size: int) -> None:
        """A large message is coming, or has come."""
        self._read_size = size
        reuse_large_buffers()

    def send_frame(self, frame: bytes) -> int:
        """Write what the kernel takes of a frame, which is the usual case of `send`."""
        try:
            return self._socket.send(frame, _NO_SIGNAL)
        except BlockingIOError:
            return 0

    def send(self, buffers: Sequence[bytes | memoryview]) -> int:
        """Write what the kernel takes of `buffers`; returns how many bytes, perhaps 0. Raises OSError.

        There are at most `gather_max` buffers.
        """
        try:
            return self._socket.sendmsg(buffers, (), _NO_SIGNAL)
        except BlockingIOError:
            return 0

    def send_carrying(self, frame: bytes | memoryview, fds: Sequence[int]) -> int:
        """Write what the kernel takes of `frame`, and all of `fds` with its first byte; returns and raises as `send`."""
        try:
            return self._socket.sendmsg([frame], rights(fds), _NO_SIGNAL)
        except BlockingIOError:
            return 0

    def explain_too_large(self, error: FrameTooLarge) -> str:
        """What the user can do about a frame that was not admitted."""
        return f"{error}: {PACKET_HINT}" if error.limit == self.frame_max else str(error)

    def shutdown(self) -> None:
        """End the connection for both sides and for every process that shares it; wakes whoever waits here."""
        with contextlib.suppress(OSError):  # it is down or closed already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give up the descriptor. Another process that shares the connection keeps it."""
        self._socket.close()


class PacketChannel(Channel):
    """The same of a seqpacket socket: each packet is one frame."""

    __slots__ = ()

    packets: ClassVar[bool] = True
    gather_max: ClassVar[int] = 1

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(connected)
        self.frame_max = packet_frame_max(connected)

    @override
    def read_to(self, receiver: Receiver) -> bool:
        """Read one packet."""
        try:
            packet = receive_packet(self._socket, receiver.frame_limit)
        except BlockingIOError:
            return False
        if packet is None:
            receiver.receive_data(b"")
        else:
            receiver.receive_packet(*packet)
        return True


_CHANNELS: Final = {SocketKind.STREAM: Channel, SocketKind.SEQPACKET: PacketChannel}


def connect(address: Address, proof: UnitProof | None = None) -> Channel:
    """Connect at once, by a socket of `proof` where there is one; raises OSError.

    A full backlog gives BlockingIOError (EAGAIN) and nothing that could be polled: pause for the next of
    `backoff_delays`, and try again.
    """
    kind = address.kind.value | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    connecting = socket.socket(socket.AF_UNIX, kind) if proof is None else proof.open_socket(kind)
    try:
        connecting.connect(address.sockaddr)
        return _CHANNELS[address.kind](connecting)
    except BaseException:
        connecting.close()
        raise


def backoff_delays() -> Iterator[float]:
    """How many seconds to pause after each connect that found no room, or nobody; without end."""
    delay = BACKOFF_FIRST
    while True:
        yield delay
        delay = min(2 * delay, BACKOFF_MAX)


def explain_refusal(address: Address, error: OSError) -> str:
    """What an operator can do about a connect that failed."""
    hint = _HINTS.get(error.errno or 0)
    if hint is None:
        return f"cannot connect to {address}: {error.strerror or error}"
    instance = address.instance or Instance()
    return hint.format(address, f"{instance.socket_unit}{' of systemctl --user' if instance.user else ''}")
