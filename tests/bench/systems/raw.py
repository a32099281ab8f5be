"""The reference: uvloop on both sides echoes the bytes of a call, and nothing is parsed."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Final, cast

import uvloop
from typing_extensions import override

from tests.bench.client import Client
from tests.bench.payload import WrongAnswerError, frame


class Echo(asyncio.Protocol):
    """Sends back what came."""

    _transport: asyncio.Transport

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


def serve(address: str, ready: Callable[[], None]) -> None:
    """Listen at a path, or on the socket that systemd passes."""

    async def forever() -> None:
        passed = socket.socket(fileno=3) if address == "systemd" else None
        path = None if passed else address
        server = await asyncio.get_running_loop().create_unix_server(Echo, path, sock=passed, backlog=4096)
        ready()
        await server.serve_forever()

    uvloop.run(forever())


class Lane(asyncio.Protocol):
    """One connection that keeps `width` frames on their way until all have come back."""

    def __init__(self, frame_: bytes) -> None:
        self._frame: Final = frame_
        self.transport: asyncio.Transport
        self._expected = b""
        self._place = self._unsent = self._missing = 0
        self._done: asyncio.Future[None]

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def start(self, calls: int, width: int) -> "asyncio.Future[None]":
        """Send the first frames; the future ends with the last."""
        width = min(calls, width)
        self._expected = self._frame * (width + 1)
        self._place = 0
        self._unsent, self._missing = calls - width, calls
        self._done = asyncio.get_running_loop().create_future()
        self._write(width)
        return self._done

    @override
    def data_received(self, data: bytes) -> None:
        if not self._expected.startswith(data, self._place):
            self._done.set_exception(WrongAnswerError("other bytes came back than were sent"))
            return
        came, self._place = divmod(self._place + len(data), len(self._frame))
        if not came:
            return
        self._missing -= came
        if again := min(came, self._unsent):
            self._unsent -= again
            self._write(again)
        elif not self._missing:
            self._done.set_result(None)

    def _write(self, frames: int) -> None:
        """Write them one by one, as calls are made; uvloop gathers them."""
        for _ in range(frames):
            self.transport.write(self._frame)


class Raw(Client):
    """The other side of Echo. It has no calls but only bytes, so it has loops of its own, the shortest there are."""

    def __init__(self, address: str, size: int) -> None:
        super().__init__(address, size)
        self._frame: Final = frame(size)
        self._runner: Final = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._lanes: Final[list[Lane]] = []

    @override
    def open(self, count: int) -> None:
        async def opening() -> None:
            loop = asyncio.get_running_loop()
            for _ in range(count):
                _, lane = await loop.create_unix_connection(lambda: Lane(self._frame), self.address)
                self._lanes.append(lane)
                await lane.start(1, 1)

        self._runner.run(opening())

    @override
    def sequential(self, calls: int) -> None:
        self._run(calls, self._lanes[:1], 1)

    @override
    def in_flight(self, calls: int, width: int) -> None:
        self._run(calls, self._lanes[:1], width)

    @override
    def spread(self, calls: int, active: int) -> None:
        self._run(calls, self._lanes[:active], 1)

    def _run(self, calls: int, lanes: Sequence[Lane], width: int) -> None:
        async def running() -> None:
            shares = [len(range(place, calls, len(lanes))) for place in range(len(lanes))]
            await asyncio.gather(
                *(lane.start(share, width) for lane, share in zip(lanes, shares, strict=True) if share)
            )

        self._runner.run(running())

    @override
    def close(self) -> None:
        for lane in self._lanes:
            lane.transport.abort()
        self._runner.close()
