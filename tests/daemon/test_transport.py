"""The socket on the loop: partial writes, order, errors."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from superd.transport import READ_SIZE, HangupWatch, StreamTransport
from tests.daemon.running import LoopFactory


class Recorder:
    """What a transport told, in order."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ends = 0
        self.drained = 0
        self.lost: list[OSError | None] = []
        self._changed = asyncio.Condition()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.ends += not data

    def write_buffer_drained(self) -> None:
        self.drained += 1

    def connection_lost(self, error: OSError | None) -> None:
        self.lost.append(error)


class Pair:
    """A transport and the socket at its other end."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        ours, self.peer = socket.socketpair()
        self.peer.setblocking(False)
        self.fd = ours.fileno()
        self.told = Recorder()
        self.hangups = HangupWatch(self.loop)
        self.transport = StreamTransport(self.loop, ours, self.told, self.hangups)

    async def until(self, predicate: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not predicate():  # noqa: ASYNC110 - a turn of the loop is what is waited for
                await asyncio.sleep(0)

    def close(self) -> None:
        self.transport.abort()
        self.hangups.close()
        self.peer.close()


def run(loop: LoopFactory, test: Callable[[Pair], Awaitable[None]]) -> None:
    async def main() -> None:
        pair = Pair()
        try:
            await test(pair)
        finally:
            pair.close()
            await pair.until(lambda: len(pair.told.lost) == 1)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


def test_a_large_write_arrives_whole_and_in_order(loop_factory: LoopFactory) -> None:
    async def test(pair: Pair) -> None:
        frames = [bytes([number % 251]) * (7919 * number) for number in range(60)]
        for first in range(0, 60, 3):
            pair.transport.write(frames[first : first + 3])
        expected = b"".join(frames)
        assert 0 < pair.transport.bytes_waiting < len(expected)
        received = bytearray()
        async with asyncio.timeout(20):
            while len(received) < len(expected):
                received += await pair.loop.sock_recv(pair.peer, 10_007)
        assert received == expected
        await pair.until(lambda: pair.told.drained == 1)
        assert pair.transport.bytes_waiting == 0

    run(loop_factory, test)


def test_more_buffers_than_one_call_takes(loop_factory: LoopFactory) -> None:
    async def test(pair: Pair) -> None:
        pair.transport.write([b"%04d" % number for number in range(1000)])
        assert pair.peer.recv(8000) == b"".join(b"%04d" % number for number in range(1000))
        assert pair.told.drained == 0

    run(loop_factory, test)


def test_close_sends_what_waits(loop_factory: LoopFactory) -> None:
    async def test(pair: Pair) -> None:
        pair.transport.write([b"x" * 1_000_000])
        pair.transport.close()
        pair.transport.close()
        pair.transport.write([b"too late"])
        assert pair.transport.is_closing
        received = 0
        async with asyncio.timeout(20):
            while data := await pair.loop.sock_recv(pair.peer, READ_SIZE):
                received += len(data)
        assert received == 1_000_000
        await pair.until(lambda: pair.told.lost == [None])

    run(loop_factory, test)


def test_reading_stops_and_goes_on(loop_factory: LoopFactory) -> None:
    async def test(pair: Pair) -> None:
        pair.peer.send(b"one")
        for _ in range(10):
            await asyncio.sleep(0)
        assert not pair.told.data
        pair.transport.resume_reading()
        pair.transport.resume_reading()
        await pair.until(lambda: pair.told.data == b"one")
        pair.transport.pause_reading()
        pair.transport.pause_reading()
        pair.peer.send(b"two")
        for _ in range(10):
            await asyncio.sleep(0)
        assert pair.told.data == b"one"
        pair.transport.resume_reading()
        await pair.until(lambda: pair.told.data == b"onetwo")
        pair.peer.shutdown(socket.SHUT_WR)
        await pair.until(lambda: pair.told.ends == 1)

    run(loop_factory, test)


def test_read_available_reads_what_is_there(loop_factory: LoopFactory) -> None:
    async def test(pair: Pair) -> None:
        pair.transport.read_available()
        pair.peer.send(b"x" * (READ_SIZE + 1))
        pair.transport.read_available()
        assert not pair.told.data
        pair.transport.resume_reading()
        pair.transport.read_available()
        assert len(pair.told.data) == READ_SIZE + 1
        pair.transport.read_available()
        assert pair.told.ends == 0

    run(loop_factory, test)


def test_refuse_more_breaks_the_peers_pipe(loop_factory: LoopFactory) -> None:
    async def test(pair: Pair) -> None:
        pair.transport.resume_reading()
        pair.peer.send(b"before")
        pair.transport.refuse_more()
        with pytest.raises(BrokenPipeError):
            pair.peer.send(b"after")
        await pair.until(lambda: pair.told.ends == 1)
        assert pair.told.data == b"before"
        pair.transport.write([b"an answer"])
        assert pair.peer.recv(100) == b"an answer"
        pair.peer.close()
        pair.transport.refuse_more()

    run(loop_factory, test)


@pytest.mark.parametrize("unread", [b"", b"unread"])
def test_a_write_to_a_peer_that_is_gone(loop_factory: LoopFactory, unread: bytes) -> None:
    async def test(pair: Pair) -> None:
        if unread:
            pair.transport.write([unread])
        pair.peer.close()
        pair.transport.write([b"x"])
        assert pair.transport.is_closing
        await pair.until(lambda: len(pair.told.lost) == 1)
        assert isinstance(pair.told.lost[0], OSError)

    run(loop_factory, test)


def test_a_read_from_a_peer_that_closed_without_reading(loop_factory: LoopFactory) -> None:
    async def test(pair: Pair) -> None:
        pair.transport.write([b"unread"])
        pair.transport.resume_reading()
        pair.peer.close()
        await pair.until(lambda: len(pair.told.lost) == 1)
        assert isinstance(pair.told.lost[0], ConnectionResetError)

    run(loop_factory, test)


def test_a_hang_up_is_noticed_while_nothing_is_read(loop_factory: LoopFactory) -> None:
    async def test(pair: Pair) -> None:
        pair.transport.resume_reading()
        pair.transport.pause_reading()
        pair.peer.send(b"unread")
        pair.peer.shutdown(socket.SHUT_WR)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not pair.told.lost
        pair.peer.close()
        await pair.until(lambda: pair.told.lost == [None])

    run(loop_factory, test)
