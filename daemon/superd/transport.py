"""A non-blocking socket on an event loop: reads as they come, writes in order, backpressure both ways.

Our own rather than asyncio's: one path for all socket types and for ancillary data, which asyncio's transports drop,
at the speed of uvloop's (add_reader with recvmsg and sendmsg).
"""

import asyncio
import contextlib
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

#: Bytes asked of the kernel in one read. Larger reads gain nothing on AF_UNIX; a read that is over glibc's mmap
#: threshold would cost a mapping each time.
READ_SIZE: Final = 64 * 1024

#: Buffers given to one sendmsg; IOV_MAX is 1024, and gains end long before.
_BUFFERS_PER_WRITE: Final = 64


class Receiver(Protocol):
    """Who owns a transport."""

    def data_received(self, data: bytes) -> None:
        """Take what was read; b"" is the end of file, after which nothing is read any more."""

    def write_buffer_drained(self) -> None:
        """Everything that was written has reached the kernel, after some of it had to wait."""

    def connection_lost(self, error: OSError | None) -> None:
        """The socket is closed; `error` is what closed it, if it was not us. Called once, from the loop."""


class HangupWatch:
    """Notices peers that vanish while nothing is read from them, which an event loop cannot be asked to do.

    epoll(7) reports a hang-up even where no event is asked for. The sockets are in a set of its own, which the loop
    watches in turn.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to watch nothing."""
        self._loop = loop
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        loop.add_reader(self._epoll.fileno(), self._tell)

    def watch(self, fd: int, on_hangup: Callable[[], None]) -> None:
        """Call `on_hangup` when the peer has closed its socket, and not only its sending side; it must `forget`."""
        if fd not in self._callbacks:
            self._epoll.register(fd, 0)
        self._callbacks[fd] = on_hangup

    def forget(self, fd: int) -> None:
        """Watch this socket no more; to be called before it is closed."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        """Watch nothing any more."""
        self._callbacks.clear()
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _tell(self) -> None:
        for fd, _ in self._epoll.poll(0):
            self._callbacks[fd]()


class StreamTransport:
    """Owns one connected SOCK_STREAM socket."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        receiver: Receiver,
        hangups: HangupWatch,
    ) -> None:
        """Take the socket over; nothing is read before `resume_reading`."""
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._fd: Final = sock.fileno()
        self._receiver = receiver
        self._hangups = hangups
        self._reading = False
        self._waiting: deque[memoryview] = deque()
        self._closing = False
        self._closed = False
        self.bytes_waiting = 0

    @property
    def is_closing(self) -> bool:
        """Whether close or abort was called, or the connection was lost."""
        return self._closing

    def resume_reading(self) -> None:
        """Read when there is something to read."""
        if not self._reading and not self._closing:
            self._reading = True
            self._hangups.forget(self._fd)
            self._loop.add_reader(self._fd, self._read)

    def pause_reading(self) -> None:
        """Leave what arrives to the kernel, which slows the peer down. A peer that vanishes is still noticed."""
        if self._reading:
            self._stop_reading()
            self._hangups.watch(self._fd, self._hung_up)

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def _hung_up(self) -> None:
        self._lose(None)

    def read_available(self, reads: int = 16) -> None:
        """Read now what the peer has sent already, in at most `reads` reads."""
        while self._reading and reads > 0 and self._read():
            reads -= 1

    def _read(self) -> bool:
        """Read once; whether more may be there."""
        try:
            data, _, _, _ = self._sock.recvmsg(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._lose(error)
            return False
        if not data:
            self.pause_reading()
        self._receiver.data_received(data)
        return len(data) == READ_SIZE

    def refuse_more(self) -> None:
        """Make the peer's further writes fail with EPIPE; what it has sent already is still read, then end of file."""
        with contextlib.suppress(OSError):  # ENOTCONN: the peer is gone, which the next read will tell
            self._sock.shutdown(socket.SHUT_RD)

    def write(self, frames: Sequence[bytes]) -> None:
        """Send `frames` in order, behind what waits already; what the kernel does not take waits here."""
        if self._closing:
            return
        self._waiting.extend(memoryview(frame) for frame in frames)
        self.bytes_waiting += sum(map(len, frames))
        if len(self._waiting) == len(frames):
            self._send()

    def _send(self) -> None:
        while self._waiting:
            try:
                sent = self._sock.sendmsg(
                    [self._waiting[i] for i in range(min(len(self._waiting), _BUFFERS_PER_WRITE))]
                )
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._fd, self._send_later)
                return
            except OSError as error:
                self._lose(error)
                return
            self._drop(sent)

    def _drop(self, sent: int) -> None:
        """Forget the first `sent` bytes of what waits."""
        self.bytes_waiting -= sent
        while sent:
            head = self._waiting[0]
            if len(head) > sent:
                self._waiting[0] = head[sent:]
                return
            sent -= len(head)
            self._waiting.popleft()

    def _send_later(self) -> None:
        self._send()
        if self._waiting or self._closed:
            return
        self._loop.remove_writer(self._fd)
        if self._closing:
            self._lose(None)
        else:
            self._receiver.write_buffer_drained()

    def close(self) -> None:
        """Read no more, send what waits, then close."""
        if self._closing:
            return
        self._stop_reading()
        self._closing = True
        if not self._waiting:
            self._loop.call_soon(self._lose, None)

    def abort(self, error: OSError | None = None) -> None:
        """Close now; what waits is lost."""
        self._lose(error)

    def _lose(self, error: OSError | None) -> None:
        if self._closed:
            return
        self._stop_reading()
        self._hangups.forget(self._fd)
        self._loop.remove_writer(self._fd)
        self._closed = self._closing = True
        self._waiting.clear()
        self.bytes_waiting = 0
        self._sock.close()
        self._loop.call_soon(self._receiver.connection_lost, error)
