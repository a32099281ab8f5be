"""SOCK_SEQPACKET on the loop: bounds, empty and overlong packets, ends, and the room of the kernel."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from superd.packets import PacketTransport
from superd_client.ancillary import rights
from superd_client.wire.limits import HEADER_SIZE
from tests.daemon.running import LoopFactory
from tests.daemon.transports import FRAME_LIMIT, Pair, run


def run_packets(loop: LoopFactory, test: Callable[[Pair], Awaitable[None]]) -> None:
    run(loop, test, socket.SOCK_SEQPACKET)


def test_packets_are_told_one_by_one(loop_factory: LoopFactory) -> None:
    async def test(pair: Pair) -> None:
        sent = [b"%d" % number * (number % 7) for number in range(100)]
        for data in sent:
            pair.peer.send(data)
        pair.transport.resume_reading()
        await pair.until(lambda: len(pair.told.packets) == 100)
        assert pair.told.packets == [(data, len(data)) for data in sent]
        assert not pair.told.ends
        pair.peer.send(b"")
        pair.peer.shutdown(socket.SHUT_WR)
        await pair.until(lambda: pair.told.ends == 1)
        assert pair.told.packets[100:] == [(b"", 0)]
        pair.transport.write([b"an answer"])
        assert pair.peer.recv(100) == b"an answer"

    run_packets(loop_factory, test)


def test_reading_stops_within_a_turn(loop_factory: LoopFactory) -> None:
    async def test(pair: Pair) -> None:
        pair.told.then = pair.transport.pause_reading
        for _ in range(3):
            pair.peer.send(b"x")
        for count in (1, 2, 3):
            pair.transport.resume_reading()
            await pair.until(lambda count=count: len(pair.told.packets) == count)  # type: ignore[misc]
            for _ in range(5):
                await asyncio.sleep(0)
            assert len(pair.told.packets) == count

    run_packets(loop_factory, test)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_packet_over_the_frame_limit_is_cut_and_the_next_is_whole(
    loop_factory: LoopFactory, more: int
) -> None:
    async def test(pair: Pair) -> None:
        size = FRAME_LIMIT + HEADER_SIZE + more
        pair.peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, FRAME_LIMIT)
        pair.peer.sendmsg([b"x" * size], rights([0]))
        pair.peer.send(b"next")
        pair.transport.resume_reading()
        await pair.until(lambda: len(pair.told.packets) == 2)
        kept = size if more <= 0 else HEADER_SIZE
        assert pair.told.packets == [(b"x" * kept, size), (b"next", 4)]
        assert pair.told.fds == [1]

    run_packets(loop_factory, test)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_largest_frame_is_known(loop_factory: LoopFactory, more: int) -> None:
    async def test(pair: Pair) -> None:
        assert isinstance(pair.transport, PacketTransport)
        size = pair.transport.frame_max + HEADER_SIZE + more
        pair.transport.write([b"x" * size])
        if more > 0:
            await pair.until(lambda: len(pair.told.lost) == 1)
        else:
            assert len(pair.peer.recv(size + 1)) == size

    run_packets(loop_factory, test)


def test_what_the_kernel_does_not_take_waits(loop_factory: LoopFactory) -> None:
    async def test(pair: Pair) -> None:
        frames = [bytes([number]) * 20_000 for number in range(50)]
        pair.transport.write(frames)
        assert 0 < pair.transport.bytes_waiting < 1_000_000
        assert pair.transport.bytes_waiting % 20_000 == 0
        async with asyncio.timeout(10):
            assert [await pair.loop.sock_recv(pair.peer, 30_000) for _ in range(50)] == frames
        await pair.until(lambda: pair.told.drained == 1)

    run_packets(loop_factory, test)


def test_refuse_more_breaks_the_peers_pipe(loop_factory: LoopFactory) -> None:
    async def test(pair: Pair) -> None:
        pair.transport.resume_reading()
        pair.peer.send(b"before")
        pair.transport.refuse_more()
        with pytest.raises(BrokenPipeError):
            pair.peer.send(b"after")
        await pair.until(lambda: pair.told.ends == 1)
        assert pair.told.packets == [(b"before", 6)]
        pair.transport.write([b"an answer"])
        assert pair.peer.recv(100) == b"an answer"

    run_packets(loop_factory, test)


def test_a_peer_that_vanishes_is_noticed(loop_factory: LoopFactory) -> None:
    """While nothing is read; and, where it left something unread, after what it had sent."""

    async def paused(pair: Pair) -> None:
        pair.transport.resume_reading()
        pair.transport.pause_reading()
        pair.peer.send(b"unread")
        pair.peer.close()
        await pair.until(lambda: pair.told.vanished == 1)
        assert not pair.told.packets
        pair.transport.resume_reading()
        await pair.until(lambda: len(pair.told.lost) == 1)
        assert pair.told.packets == [(b"unread", 6)]

    async def reset(pair: Pair) -> None:
        pair.transport.write([b"never read"])
        pair.peer.send(b"last words")
        pair.peer.close()
        pair.transport.resume_reading()
        await pair.until(lambda: len(pair.told.lost) == 1)
        assert pair.told.packets == [(b"last words", 10)]

    run_packets(loop_factory, paused)
    run_packets(loop_factory, reset)
