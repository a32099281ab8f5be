"""What goes out to one peer: frames are gathered and written together, and what makes more of them waits for room."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from superd.buffers import Account
from superd.transport import Transport
from superd_client.ancillary import PACKET_HINT, Attachment
from superd_client.wire.errors import ErrorCode, ErrorObject
from superd_client.wire.framing import FrameTooLarge

#: Bytes of frames that are gathered before they are written: more makes the peer wait, less costs system calls.
FLUSH_SIZE: Final = 4096

#: Who waits where nobody does. Nothing is ever put in: the first gets a list of its own.
_NOBODY: Final[list[asyncio.Future[None]]] = []


def refused_descriptors(error: OSError) -> ErrorObject:
    """What the caller is to see where the kernel does not pass descriptors to it."""
    return ErrorObject(
        ErrorCode.INTERNAL_ERROR, f"the descriptors could not be passed: {error.strerror or error}", {}
    )


class Outbox:
    """The frames for one peer, in order. Once as many bytes wait as `account` allows it is full, and nobody should add."""

    __slots__ = (
        "_account",
        "_flush_scheduled",
        "_loop",
        "_size",
        "_transport",
        "_waiters",
        "gathered",
        "is_held",
    )

    def __init__(self, account: Account) -> None:
        """Prepare; nothing may be added before `start`. What the kernel does not take is charged to `account`."""
        self._account = account
        #: Frames that are not written yet.
        self.gathered: list[bytes] = []
        self._size = 0
        self._flush_scheduled = False
        self._waiters = _NOBODY
        #: Set while more may follow at once: what is added is then not written before `flush`, or some kilobytes.
        self.is_held = False

    def start(self, loop: asyncio.AbstractEventLoop, transport: Transport) -> None:
        """Write to `transport` from now on."""
        self._loop = loop
        self._transport = transport

    @property
    def size(self) -> int:
        """Bytes that wait for the peer to read."""
        return self._transport.bytes_waiting + self._size

    @property
    def is_full(self) -> bool:
        """Whether as much waits as may wait: anything at all, where the user of this peer holds too much."""
        return self._transport.bytes_waiting + self._size >= self._account.replies_max

    def add(self, frame: bytes, *, more_follows: bool) -> None:
        """Send `frame`, together with others where `more_follows` before long."""
        self.gathered.append(frame)
        self._size += len(frame)
        if self._size >= FLUSH_SIZE:
            self.flush()
        elif self.is_held:
            return
        elif not more_follows:
            self.flush()
        elif not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self.flush)

    def add_carrying(
        self, frame: bytes, attachment: Attachment, on_refused: Callable[[OSError], None]
    ) -> None:
        """Send `frame` with descriptors, which are closed in any case; `on_refused` as in Transport.write_carrying."""
        self.flush()
        self._transport.write_carrying(frame, attachment, on_refused)
        if self._transport.bytes_waiting:
            self._account.set_replies(self._transport.bytes_waiting)

    def flush(self) -> None:
        """Write what was gathered."""
        self._flush_scheduled = False
        self.write(())

    def write(self, frames: Sequence[bytes]) -> None:
        """Send `frames` now, behind what was gathered."""
        if self.gathered:
            frames, self.gathered, self._size = (*self.gathered, *frames), [], 0
        if frames:
            self._transport.write(frames)
            if self._transport.bytes_waiting:
                self._account.set_replies(self._transport.bytes_waiting)
        if self._waiters and not self.is_full:
            self.wake()

    def drained(self) -> None:
        """Nothing waits any more: the kernel has it all, or the peer is gone."""
        self._account.set_replies(0)
        self.wake()

    def too_large(self, error: FrameTooLarge, what: str) -> ErrorObject:
        """What the caller is to see where `what` does not fit a frame."""
        message = f"{what} does not fit a frame"
        if error.limit == self._transport.frame_max:
            message = f"{what} does not fit a packet: {PACKET_HINT}"
        return ErrorObject(ErrorCode.FRAME_TOO_LARGE, message, {"limit": error.limit, "length": error.length})

    async def room(self) -> None:
        """Wait until it was full no longer; it may be full again, since others wait too."""
        waiter = self._loop.create_future()
        self._waiters = self._waiters or []
        self._waiters.append(waiter)
        await waiter

    def wake(self) -> None:
        """Let those go on that wait for room, in the order in which they came."""
        waiters, self._waiters = self._waiters, _NOBODY
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
