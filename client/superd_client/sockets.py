"""The client's socket, and nothing of the protocol. The only client file that touches `socket`.

The socket is non-blocking in both clients. Where the blocking client waits, it waits in poll(2), never in recv(2) or
send(2) with SO_RCVTIMEO: Python restarts those with their full time after each signal, so that a periodic signal
would make a call wait for ever; and a KeyboardInterrupt that arrives there may take bytes with it that were already
read. poll loses nothing. It costs 1.2 us a call.
"""

import contextlib
import errno
import select
import socket
from collections.abc import Iterator, Sequence
from typing import Final

from superd_client.address import Address

#: Bytes of one read. Below malloc's threshold for mmap (128 KiB), which would map and unmap memory on each read.
READ_SIZE: Final = 64 * 1024

#: Buffers of one write: enough to gather small frames, and far below IOV_MAX (1024).
GATHER_MAX: Final = 64

#: First and longest pause in seconds before a connect is tried again while the server's backlog is full.
BACKOFF_FIRST: Final = 0.001
BACKOFF_MAX: Final = 0.05

#: Longest single wait in seconds. poll(2) takes milliseconds in an int; callers look at their deadline and wait on.
WAIT_MAX: Final = 86_400.0

_HINTS: Final = {
    errno.ENOENT: "nothing listens at {}: is superd.socket running?",
    errno.ECONNREFUSED: "nothing listens at {}: is superd.socket running?",
    errno.EACCES: "permission denied at {}: is this user in the socket's group?",
    errno.EPERM: "permission denied at {}: does a security policy forbid it?",
    errno.EPROTOTYPE: "at {} is a socket of another type: is it unix:, unix-seqpacket: or unix-dgram:?",
}


class Channel:
    """A connected stream socket, and the sole owner of its descriptor. No method waits but `wait_*`."""

    __slots__ = ("_readable", "_ready", "_socket")

    def __init__(self, connected: socket.socket) -> None:
        """Take over a non-blocking socket."""
        self._socket: Final = connected
        self._readable: Final = select.poll()
        self._ready: Final = select.poll()
        self._readable.register(connected, select.POLLIN)
        self._ready.register(connected, select.POLLIN | select.POLLOUT)

    def fileno(self) -> int:
        """The descriptor, for a loop to watch; -1 once closed."""
        return self._socket.fileno()

    def receive(self) -> bytes | None:
        """Read what is there: b"" at the end of file, None where there is nothing yet; raises OSError."""
        try:
            return self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return None

    def send(self, buffers: Sequence[bytes | memoryview]) -> int:
        """Write what the kernel takes of `buffers`; returns how many bytes, perhaps 0. Raises OSError."""
        try:
            return self._socket.sendmsg(buffers, (), socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0

    def wait_readable(self, seconds: float) -> None:
        """Return when there is something to read or the peer is gone, or after `seconds`. One thread at a time."""
        self._readable.poll(min(seconds, WAIT_MAX) * 1000)

    def wait_ready(self, seconds: float) -> None:
        """Return when the kernel takes bytes, or when `wait_readable` would. One thread at a time."""
        self._ready.poll(min(seconds, WAIT_MAX) * 1000)

    def shutdown(self) -> None:
        """End the connection for both sides and for every process that shares it; wakes whoever waits here."""
        with contextlib.suppress(OSError):  # it is down or closed already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give up the descriptor. Another process that shares the connection keeps it."""
        self._socket.close()


def connect(address: Address) -> Channel | None:
    """Connect at once, or return None if the server's backlog is full; raises OSError.

    A full backlog gives EAGAIN and nothing that could be polled: pause for the next of `backoff_delays`, and try
    again.
    """
    kind = address.kind.value | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    connecting = socket.socket(socket.AF_UNIX, kind)
    try:
        connecting.connect(address.sockaddr)
        return Channel(connecting)
    except BlockingIOError:
        connecting.close()
        return None
    except BaseException:
        connecting.close()
        raise


def backoff_delays() -> Iterator[float]:
    """How many seconds to pause after each connect that found the backlog full; without end."""
    delay = BACKOFF_FIRST
    while True:
        yield delay
        delay = min(2 * delay, BACKOFF_MAX)


def explain_refusal(address: Address, error: OSError) -> str:
    """What an operator can do about a connect that failed."""
    hint = _HINTS.get(error.errno or 0)
    return hint.format(address) if hint else f"cannot connect to {address}: {error.strerror or error}"
