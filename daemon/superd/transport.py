"""A non-blocking socket on an event loop: reads as they come, writes in order, backpressure both ways.

Our own rather than asyncio's: one path for all socket types and for ancillary data, which asyncio's transports drop,
at the speed of uvloop's (add_reader with recvmsg and sendmsg).
"""

import asyncio
import contextlib
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import islice, takewhile
from typing import Final, NamedTuple, Protocol, TypeAlias

from typing_extensions import override

from superd.readiness import Readiness
from superd_client.ancillary import ANCILLARY_SIZE, HANGUPS, RECEIVE_FLAGS, Attachment, received_fds, rights
from superd_client.wire.limits import FRAME_SIZE_MAX

#: Bytes asked of the kernel in one read: a blob of 64 KiB in base64, and what stands around it, come in one.
READ_SIZE: Final = 96 * 1024

#: The same while a larger frame is being received: what a socket's buffer holds by default, which is 208 KiB.
LARGE_READ_SIZE: Final = 256 * 1024

#: Buffers given to one sendmsg; IOV_MAX is 1024, and gains end long before.
_BUFFERS_PER_WRITE: Final = 64


#: What can be sent.
Buffer: TypeAlias = bytes | memoryview


class Receiver(Protocol):
    """Who owns a transport."""

    def may_read(self) -> bool:
        """Whether to read now what has come; where not, the receiver has paused the reading, and will see to it."""

    def data_received(self, data: bytes, fds: Sequence[int]) -> None:
        """Take what one read brought, and own its descriptors; b"" is the end of file, and nothing follows it."""

    def packet_received(self, data: bytes, fds: Sequence[int], length: int) -> None:
        """Take one packet, and own its descriptors; `length` is what it had before it was cut to `data`."""

    def has_to_wait(self) -> None:
        """The kernel takes no more until the peer has read; said again whenever it is so once more."""

    def write_buffer_drained(self) -> None:
        """Everything that was written has reached the kernel, after some of it had to wait."""

    def peer_vanished(self) -> None:
        """Nobody reads any more; what the peer had sent before is still read. Called once, from the loop."""

    def connection_lost(self, error: OSError | None) -> None:
        """The socket is closed; `error` is what closed it, if it was not us. Called once, from the loop."""


class Carrier(NamedTuple):
    """A frame that waits and has descriptors; `on_refused` hears that the kernel does not take them."""

    frame: memoryview
    attachment: Attachment
    on_refused: Callable[[OSError], None]


class Unsent(NamedTuple):
    """Bytes that wait to be written, and what travels with the first of them."""

    data: bytes
    attachment: Attachment | None


class Transport(ABC):
    """Owns one connected socket. Its kinds differ in what one read and one write are."""

    #: The largest body in bytes that the kernel takes as a frame.
    frame_max: int

    __slots__ = (
        "_at_eof",
        "_carriers",
        "_closed",
        "_closing",
        "_fd",
        "_loop",
        "_readiness",
        "_reading",
        "_receiver",
        "_sock",
        "_vanished",
        "_waiting",
        "bytes_sent",
        "bytes_waiting",
        "read_size",
        "reads",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        receiver: Receiver,
        readiness: Readiness,
    ) -> None:
        """Take the socket over; nothing is read before `resume_reading`."""
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._fd: Final = sock.fileno()
        self._receiver = receiver
        self._readiness = readiness
        self._reading = False
        #: What waits, and what of it has descriptors. Lists, since an empty deque takes 624 bytes of an idle connection.
        self._waiting: list[memoryview] = []
        self._carriers: list[Carrier] = []
        self._closing = False
        self._closed = False
        self._at_eof = False
        #: Set once the peer is gone: nothing is written any more.
        self._vanished = False
        self.bytes_waiting = 0
        self.bytes_sent = 0
        self.reads = 0
        #: Bytes asked of the kernel in one read of a stream.
        self.read_size = READ_SIZE

    @property
    def is_closing(self) -> bool:
        """Whether close or abort was called, or the connection was lost."""
        return self._closing

    @property
    def is_open(self) -> bool:
        """Whether the socket is open still."""
        return not self._closed

    def resume_reading(self) -> None:
        """Read when there is something to read."""
        if self._reading or self._closing:
            return
        self._reading = True
        if self._vanished:
            self._loop.call_soon(self._read_rest)
        else:
            self._readiness.read(self._fd, self)

    def pause_reading(self) -> None:
        """Leave what arrives to the kernel, which slows the peer down. A peer that vanishes is still noticed."""
        if self._reading:
            self._reading = False
            if self._vanished:
                self._loop.remove_reader(self._fd)
            else:
                self._readiness.pause(self._fd)

    def _stop_reading(self) -> None:
        """Read no more, and be told of nothing any more."""
        if self._vanished:
            self.pause_reading()
        else:
            self._reading = False
            self._readiness.forget(self._fd)

    def vanished(self) -> None:
        """The peer is gone. What it had sent is still read, when the receiver wants it."""
        if self._at_eof or self._closing:
            self._lose(None)
        elif not self._vanished:
            self._vanished = True
            self._readiness.forget(self._fd)
            self._stop_writing()
            self._loop.call_soon(self._receiver.peer_vanished)
            if self._reading:
                self._loop.call_soon(self._read_rest)

    def _read_rest(self) -> None:
        """Read from a peer that is gone. Not as the loop tells: libuv tells once alone of a socket in error (POLLERR)."""
        if not self._reading:
            return
        if self._read():
            self._loop.call_soon(self._read_rest)
        elif self._reading:
            self._loop.add_reader(self._fd, self._read_rest)

    def _stop_writing(self) -> None:
        """Give up what waits to be written."""
        if self._waiting:
            self._loop.remove_writer(self._fd)
            self._waiting.clear()
        for carrier in self._carriers:
            carrier.attachment.close()
        self._carriers.clear()
        self.bytes_waiting = 0

    def read_available(self, reads: int = 16) -> None:
        """Read now what the peer has sent already, in at most `reads` reads."""
        while self._reading and reads > 0 and self._read():
            reads -= 1

    def readable(self) -> None:
        """Read, where that is wanted still and it is this peer's turn."""
        if self._reading and self._receiver.may_read():
            self._read()

    def _read(self) -> bool:
        """Read once; whether more may be there."""
        try:
            return self._receive()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._lose(error)
            return False

    @abstractmethod
    def _receive(self) -> bool:
        """Read once and tell the receiver; whether more may be there. Raises OSError."""

    def _end_of_file(self) -> None:
        self._at_eof = True
        self.pause_reading()
        self._receiver.data_received(b"", ())
        if self._vanished:
            self._lose(None)

    def refuse_more(self) -> None:
        """Make the peer's further writes fail with EPIPE; what it has sent already is still read, then end of file."""
        with contextlib.suppress(OSError):  # ENOTCONN: the peer is gone, which the next read will tell
            self._sock.shutdown(socket.SHUT_RD)

    def write(self, frames: Sequence[Buffer]) -> None:
        """Send `frames` in order, behind what waits already; what the kernel does not take waits here."""
        if self._closing or self._vanished:
            return
        self._waiting.extend(map(memoryview, frames))
        self.bytes_waiting += sum(map(len, frames))
        if len(self._waiting) == len(frames):
            self._send()

    def write_carrying(
        self, frame: bytes, attachment: Attachment, on_refused: Callable[[OSError], None]
    ) -> None:
        """Send `frame` and descriptors as `write` does; the attachment is closed in any case.

        `on_refused` is called where the kernel does not take these descriptors: nothing of the frame was sent, and
        the others follow.
        """
        if self._closing or self._vanished:
            attachment.close()
            return
        carrier = Carrier(memoryview(frame), attachment, on_refused)
        self._carriers.append(carrier)
        self._waiting.append(carrier.frame)
        self.bytes_waiting += len(frame)
        if len(self._waiting) == 1:
            self._send()

    def take_unsent(self) -> list[Unsent]:
        """What waits to be written, which the caller owns now. Nothing may be written before `write_again`."""
        unsent = [Unsent(bytes(frame), self._attachment_of(frame)) for frame in self._waiting]
        self._carriers.clear()
        self._stop_writing()
        return unsent

    def _attachment_of(self, frame: memoryview) -> Attachment | None:
        if self._carriers and self._carriers[0].frame is frame:
            return self._carriers.pop(0).attachment
        return None

    def write_again(self, unsent: Sequence[Unsent]) -> None:
        """Write what `take_unsent` gave, here or in the process before this one.

        Whom descriptors belong to that the kernel refuses is not known any more, so that costs the connection.
        """
        for data, attachment in unsent:
            if attachment is None:
                self.write([data])
            else:
                self.write_carrying(data, attachment, self.abort)

    def fileno(self) -> int:
        """The socket's descriptor; -1 once it is closed."""
        return self._sock.fileno()

    def release(self) -> None:
        """Serve the socket no longer and close this process's descriptor of it: another one has it. Nobody is told."""
        self._stop_reading()
        self._stop_writing()
        self._closed = self._closing = True
        self._sock.close()

    def _send(self) -> None:
        while self._waiting:
            try:
                if self._carriers and self._carriers[0].frame is self._waiting[0]:
                    sent = self._send_carrier()
                else:
                    sent = self._send_plain()
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._fd, self._send_later)
                self._receiver.has_to_wait()
                return
            except OSError as error:
                if error.errno in HANGUPS:
                    self.vanished()
                else:
                    self._lose(error)
                return
            self._drop(sent)

    @abstractmethod
    def _send_plain(self) -> int:
        """Write frames without descriptors from the first that waits on; the number of bytes. Raises OSError."""

    def _send_carrier(self) -> int:
        """Write the first frame, which has descriptors, and nothing beside it; the number of bytes. Raises OSError.

        The descriptors go with the first byte. What the kernel does not take of the frame follows without them.
        """
        carrier = self._carriers[0]
        try:
            sent = self._sock.sendmsg([carrier.frame], rights(carrier.attachment.fds))
        except (BlockingIOError, InterruptedError):
            raise
        except OSError as error:
            if error.errno in HANGUPS:
                raise
            sent = len(carrier.frame)  # dropped, as if it were sent
            self._loop.call_soon(carrier.on_refused, error)
        del self._carriers[0]
        carrier.attachment.close()
        return sent

    def _drop(self, sent: int) -> None:
        """Forget the first `sent` bytes of what waits."""
        self.bytes_waiting -= sent
        self.bytes_sent += sent
        whole = 0
        for head in self._waiting:
            if len(head) > sent:
                break
            sent -= len(head)
            whole += 1
        del self._waiting[:whole]
        if sent:
            self._waiting[0] = self._waiting[0][sent:]

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
        self.pause_reading()
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
        self._stop_writing()
        self._closed = self._closing = True
        self._sock.close()
        self._loop.call_soon(self._receiver.connection_lost, error)

    def let_go(self) -> None:
        """Know its receiver no longer; nothing is called after this."""
        del self._receiver


class StreamTransport(Transport):
    """Owns one connected SOCK_STREAM socket."""

    __slots__ = ()

    frame_max = FRAME_SIZE_MAX

    @override
    def _receive(self) -> bool:
        size = self.read_size
        data, ancillary, _, _ = self._sock.recvmsg(size, ANCILLARY_SIZE, RECEIVE_FLAGS)
        if not data:
            self._end_of_file()
            return False
        self._receiver.data_received(data, received_fds(ancillary) if ancillary else ())
        return bool(ancillary) or len(data) == size

    @override
    def write(self, frames: Sequence[Buffer]) -> None:
        if self._waiting or self._closing or self._vanished:
            super().write(frames)
            return
        # The usual case: the kernel takes it all at once.
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        try:
            sent = self._sock.send(data)
        except OSError:
            super().write((data,))  # which meets it once more, and sees to it
            return
        self.bytes_sent += sent
        if sent != len(data):
            super().write((memoryview(data)[sent:],))

    @override
    def _send_plain(self) -> int:
        if self._carriers:
            return self._sock.sendmsg(self._before_carrier())
        return self._sock.sendmsg(
            self._waiting if len(self._waiting) <= _BUFFERS_PER_WRITE else self._waiting[:_BUFFERS_PER_WRITE]
        )

    def _before_carrier(self) -> list[memoryview]:
        """The frames that wait before the first one with descriptors, which begins a write of its own."""
        carrier = self._carriers[0].frame
        frames = takewhile(lambda frame: frame is not carrier, self._waiting)
        return list(islice(frames, _BUFFERS_PER_WRITE))
