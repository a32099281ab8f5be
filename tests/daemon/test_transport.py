"""The socket on the loop: partial writes, order, descriptors, errors."""

import asyncio
import os
import socket
import tempfile

import pytest

from superd.transport import LARGE_READ_SIZE, READ_SIZE
from superd_client.ancillary import ANCILLARY_SIZE, MESSAGE_FDS_MAX, received_fds, rights
from superd_client.descriptors import close_all
from tests.daemon.running import LoopFactory
from tests.daemon.transports import Carried, Pair, run

BOTH = pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])


def test_a_large_write_arrives_whole_and_in_order(loop_factory: LoopFactory) -> None:
    async def test(pair: Pair) -> None:
        frames = [bytes([number % 251]) * (7919 * number) for number in range(60)]
        for first in range(0, 60, 3):
            pair.transport.write(frames[first : first + 3])
        expected = b"".join(frames)
        assert 0 < pair.transport.bytes_waiting < len(expected)
        assert pair.told.waits == 1
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
        assert (pair.told.waits, pair.told.drained) == (0, 0)

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


def test_reads_are_larger_where_a_large_frame_is_received(loop_factory: LoopFactory) -> None:
    async def test(pair: Pair) -> None:
        pair.transport.resume_reading()
        for size, expected in ((READ_SIZE, READ_SIZE), (LARGE_READ_SIZE, 2 * READ_SIZE)):
            pair.told.data.clear()
            pair.transport.read_size = size
            assert pair.peer.send(bytes(2 * READ_SIZE)) == 2 * READ_SIZE
            pair.transport.read_available(1)
            assert len(pair.told.data) == expected
            pair.transport.read_available()

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
    """What it had sent before is still read; then the connection is lost."""

    async def test(pair: Pair) -> None:
        pair.peer.send(b"x" * (READ_SIZE + 1))
        if unread:
            pair.transport.write([unread])
        pair.peer.close()
        pair.transport.write([b"x"])
        pair.transport.write([b"y"])
        assert pair.transport.bytes_waiting == 0
        await pair.until(lambda: pair.told.vanished == 1)
        assert not pair.told.lost
        pair.transport.resume_reading()
        await pair.until(lambda: len(pair.told.lost) == 1)
        assert pair.told.data == b"x" * (READ_SIZE + 1)
        assert pair.told.vanished == 1

    run(loop_factory, test)


@pytest.mark.parametrize("reading", [False, True])
def test_a_close_with_what_waits_for_a_peer_that_vanishes(loop_factory: LoopFactory, reading: bool) -> None:
    async def test(pair: Pair) -> None:
        if reading:
            pair.transport.resume_reading()
        pair.transport.write([b"x" * 1_000_000])
        pair.transport.close()
        pair.peer.close()
        await pair.until(lambda: len(pair.told.lost) == 1)

    run(loop_factory, test)


@pytest.mark.parametrize("unread", [b"", b"unread"])
def test_a_peer_that_vanishes_while_it_is_read_from(loop_factory: LoopFactory, unread: bytes) -> None:
    """More than one read brings: libuv tells but once of a socket in error."""

    async def test(pair: Pair) -> None:
        if unread:
            pair.transport.write([unread])
        pair.peer.send(b"x" * (READ_SIZE + 1))
        pair.peer.close()
        pair.transport.resume_reading()
        await pair.until(lambda: len(pair.told.lost) == 1)
        assert pair.told.data == b"x" * (READ_SIZE + 1)

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
        assert not pair.told.vanished
        pair.peer.close()
        await pair.until(lambda: pair.told.vanished == 1)
        assert not pair.told.data
        # It is read when the receiver wants it; then follows the end.
        pair.transport.resume_reading()
        await pair.until(lambda: pair.told.lost == [None])
        assert pair.told.data == b"unread"
        assert (pair.told.ends, pair.told.vanished) == (1, 1)

    run(loop_factory, test)


def test_a_hang_up_after_the_end_of_file_ends_the_connection(loop_factory: LoopFactory) -> None:
    async def test(pair: Pair) -> None:
        pair.transport.resume_reading()
        pair.peer.shutdown(socket.SHUT_WR)
        await pair.until(lambda: pair.told.ends == 1)
        pair.peer.close()
        await pair.until(lambda: pair.told.lost == [None])

    run(loop_factory, test)


# --- descriptors -----------------------------------------------------------------------------------------------


def read_all(pair: Pair) -> list[tuple[bytes, int]]:
    """What the peer can read now: the bytes of each read, and how many descriptors it brought."""
    found = []
    try:
        while True:
            data, ancillary, _, _ = pair.peer.recvmsg(READ_SIZE, ANCILLARY_SIZE)
            fds = received_fds(ancillary)
            close_all(fds)
            found.append((data, len(fds)))
    except BlockingIOError:
        return found


def test_received_descriptors_are_told_with_the_read_that_brings_them(loop_factory: LoopFactory) -> None:
    async def test(pair: Pair) -> None:
        pair.peer.send(b"plain")
        pair.peer.sendmsg([b"two"], rights([0, 1]))
        pair.peer.sendmsg([b"most"], rights([0] * MESSAGE_FDS_MAX))
        pair.peer.send(b"plain")
        pair.transport.resume_reading()
        pair.transport.read_available()
        assert pair.told.data == b"plaintwomostplain"
        assert pair.told.fds == [8, 8] + [12] * MESSAGE_FDS_MAX

    run(loop_factory, test)


@BOTH
def test_a_frame_with_descriptors_is_a_write_of_its_own(loop_factory: LoopFactory, kind: int) -> None:
    async def test(pair: Pair) -> None:
        carried = [Carried(0), Carried(0, 1)]
        filler = fill(pair)
        pair.transport.write([b"a", b"b"])
        pair.transport.write_carrying(b"c", carried[0], carried[0].refused)
        pair.transport.write_carrying(b"d", carried[1], carried[1].refused)
        pair.transport.write([b"e", b"f"])
        assert pair.transport.bytes_waiting == 6
        assert [each.closed for each in carried] == [0, 0]
        seen = read_all(pair)[filler:]
        await pair.until(lambda: pair.told.drained == 1)
        seen += read_all(pair)
        packets = [(b"a", 0), (b"b", 0), (b"c", 1), (b"d", 2), (b"e", 0), (b"f", 0)]
        merged = [(b"abc", 1), (b"d", 2), (b"ef", 0)]
        assert seen == (packets if kind == socket.SOCK_SEQPACKET else merged)
        assert [each.closed for each in carried] == [1, 1]
        assert pair.transport.bytes_waiting == 0

    run(loop_factory, test, kind)


def fill(pair: Pair) -> int:
    """Fill the transport's socket, and not its queue; the number of reads that empty it."""
    ours = socket.socket(fileno=os.dup(pair.fd))
    with ours:
        size = 0
        try:
            while True:
                size += ours.send(b"x" * READ_SIZE)
        except BlockingIOError:
            return -(-size // READ_SIZE)


def test_a_partial_write_goes_on_without_its_descriptors(loop_factory: LoopFactory) -> None:
    async def test(pair: Pair) -> None:
        carried = Carried(0)
        pair.transport.write_carrying(b"c" * 1_000_000, carried, carried.refused)
        assert carried.closed == 1
        assert 0 < pair.transport.bytes_waiting < 1_000_000
        pair.transport.write([b"end"])
        seen: list[tuple[bytes, int]] = []
        async with asyncio.timeout(10):
            while not seen or not seen[-1][0].endswith(b"end"):
                seen += read_all(pair)
                await asyncio.sleep(0)
        assert b"".join(data for data, _ in seen) == b"c" * 1_000_000 + b"end"
        assert [fds for _, fds in seen] == [1] + [0] * (len(seen) - 1)

    run(loop_factory, test)


@BOTH
def test_descriptors_that_the_kernel_does_not_take_cost_their_frame_alone(
    loop_factory: LoopFactory, kind: int
) -> None:
    async def test(pair: Pair) -> None:
        with tempfile.TemporaryFile() as file:
            gone = file.fileno()
        carried = [Carried(gone), Carried(*[0] * (MESSAGE_FDS_MAX + 1)), Carried(0)]
        for number, each in enumerate(carried):
            pair.transport.write_carrying(b"%d" % number, each, each.refused)
        pair.transport.write([b"end"])
        await pair.until(lambda: bool(carried[1].errors))
        assert [[error.strerror for error in each.errors] for each in carried] == [
            ["Bad file descriptor"],
            ["Invalid argument"],
            [],
        ]
        assert [each.closed for each in carried] == [1, 1, 1]
        assert b"".join(data for data, _ in read_all(pair)) == b"2end"
        assert not pair.told.lost

    run(loop_factory, test, kind)


@BOTH
def test_what_waits_is_closed_with_the_transport(loop_factory: LoopFactory, kind: int) -> None:
    async def test(pair: Pair) -> None:
        carried = [Carried(0) for _ in range(3)]
        fill(pair)
        for each in carried[:2]:
            pair.transport.write_carrying(b"x", each, each.refused)
        pair.transport.abort()
        pair.transport.write_carrying(b"x", carried[2], carried[2].refused)
        assert [each.closed for each in carried] == [1, 1, 1]
        assert not any(each.errors for each in carried)

    run(loop_factory, test, kind)


@BOTH
def test_a_carrier_for_a_peer_that_is_gone(loop_factory: LoopFactory, kind: int) -> None:
    async def test(pair: Pair) -> None:
        pair.peer.close()
        carried = Carried(0)
        pair.transport.write_carrying(b"x", carried, carried.refused)
        assert (carried.closed, carried.errors) == (1, [])
        await pair.until(lambda: pair.told.vanished == 1)
        pair.transport.resume_reading()
        await pair.until(lambda: len(pair.told.lost) == 1)

    run(loop_factory, test, kind)
