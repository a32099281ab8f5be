"""A transport and the socket at its other end, and a record of what it told."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from superd.packets import PacketTransport
from superd.readiness import Readiness
from superd.transport import StreamTransport, Transport
from superd_client.descriptors import close_all
from tests.daemon.running import LoopFactory

#: Of packet transports.
FRAME_LIMIT: Final = 300_000


class Recorder:
    """What a transport told, in order."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.packets: list[tuple[bytes, int]] = []
        #: For each descriptor the number of bytes, or packets, after which it came.
        self.fds: list[int] = []
        self.ends = 0
        #: Called after each packet.
        self.then: Callable[[], None] = lambda: None
        self.drained = 0
        self.waits = 0
        self.vanished = 0
        self.lost: list[OSError | None] = []

    def may_read(self) -> bool:
        return True

    def data_received(self, data: bytes, fds: Sequence[int]) -> None:
        self.data += data
        self.ends += not data
        self._take(len(self.data), fds)

    def packet_received(self, data: bytes, fds: Sequence[int], length: int) -> None:
        self.packets.append((data, length))
        self._take(len(self.packets), fds)
        self.then()

    def _take(self, place: int, fds: Sequence[int]) -> None:
        close_all(fds)
        self.fds += [place] * len(fds)

    def has_to_wait(self) -> None:
        self.waits += 1

    def write_buffer_drained(self) -> None:
        self.drained += 1

    def peer_vanished(self) -> None:
        self.vanished += 1

    def connection_lost(self, error: OSError | None) -> None:
        self.lost.append(error)


class Pair:
    """A transport and the socket at its other end."""

    def __init__(self, kind: int) -> None:
        self.loop = asyncio.get_running_loop()
        ours, self.peer = socket.socketpair(socket.AF_UNIX, kind)
        self.peer.setblocking(False)
        self.fd = ours.fileno()
        self.told = Recorder()
        self.readiness = Readiness(self.loop)
        self.transport: Transport = (
            PacketTransport(self.loop, ours, self.told, self.readiness, FRAME_LIMIT)
            if kind == socket.SOCK_SEQPACKET
            else StreamTransport(self.loop, ours, self.told, self.readiness)
        )

    async def until(self, predicate: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not predicate():  # noqa: ASYNC110 - a turn of the loop is what is waited for
                await asyncio.sleep(0)

    def close(self) -> None:
        self.transport.abort()
        self.readiness.close()
        self.peer.close()


def run(loop: LoopFactory, test: Callable[[Pair], Awaitable[None]], kind: int = socket.SOCK_STREAM) -> None:
    """Run `test` on a loop, and see that the transport tells its end once."""

    async def main() -> None:
        pair = Pair(kind)
        try:
            await test(pair)
        finally:
            pair.close()
            await pair.until(lambda: len(pair.told.lost) == 1)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


class Carried:
    """Descriptors that are passed, and what became of them."""

    def __init__(self, *fds: int) -> None:
        self.fds = fds
        self.closed = 0
        self.errors: list[OSError] = []

    def close(self) -> None:
        self.closed += 1

    def refused(self, error: OSError) -> None:
        assert self.closed == 1
        self.errors.append(error)
