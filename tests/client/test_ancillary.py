"""What the kernel does with descriptors and packets, on real sockets: the ground that both ends stand on."""

import errno
import os
import resource
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from superd_client.ancillary import (
    ANCILLARY_SIZE,
    MESSAGE_FDS_MAX,
    RECEIVE_FLAGS,
    Packet,
    packet_frame_max,
    receive_descriptors_only,
    receive_packet,
    received_fds,
    rights,
)
from superd_client.descriptors import close_all
from superd_client.wire.limits import HEADER_SIZE

Pair = tuple[socket.socket, socket.socket]
LIMIT = 100


@contextmanager
def connected(kind: int) -> Iterator[Pair]:
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        yield one, other


@pytest.fixture
def packets() -> Iterator[Pair]:
    with connected(socket.SOCK_SEQPACKET) as pair:
        yield pair


@pytest.fixture
def stream() -> Iterator[Pair]:
    with connected(socket.SOCK_STREAM) as pair:
        yield pair


@pytest.fixture
def fd() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


def read(sock: socket.socket, size: int = 1 << 16) -> tuple[bytes, list[int]]:
    data, ancillary, _, _ = sock.recvmsg(size, ANCILLARY_SIZE, RECEIVE_FLAGS)
    fds = received_fds(ancillary)
    close_all(fds)
    return data, fds


# --- packets ---------------------------------------------------------------------------------------------------


def test_nothing_yet(packets: Pair) -> None:
    with pytest.raises(BlockingIOError):
        receive_packet(packets[0], LIMIT)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_packet_at_the_frame_limit(packets: Pair, more: int) -> None:
    one, other = packets
    size = LIMIT + HEADER_SIZE + more
    other.send(bytes(range(size)))
    other.send(b"next")
    kept = bytes(range(size if more < 1 else HEADER_SIZE))
    assert receive_packet(one, LIMIT) == Packet(kept, (), size)
    assert receive_packet(one, LIMIT) == Packet(b"next", (), 4)


def test_an_empty_packet_is_not_the_end(packets: Pair) -> None:
    one, other = packets
    for data in (b"", b"a", b"", b""):
        other.send(data)
    other.close()
    assert [receive_packet(one, LIMIT) for _ in range(6)] == [
        (b"", [], 0),
        (b"a", (), 1),
        (b"", [], 0),
        (b"", [], 0),
        None,
        None,
    ]


def test_an_empty_packet_of_a_peer_that_sends_no_more(packets: Pair) -> None:
    one, other = packets
    other.send(b"")
    other.shutdown(socket.SHUT_WR)
    assert receive_packet(one, LIMIT) == (b"", [], 0)
    assert receive_packet(one, LIMIT) is None
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED) == 0
    one.send(b"an answer")
    assert other.recv(100) == b"an answer"


def test_an_empty_packet_may_have_descriptors(packets: Pair, fd: int) -> None:
    one, other = packets
    other.sendmsg([], rights([fd] * MESSAGE_FDS_MAX))
    packet = receive_packet(one, LIMIT)
    assert packet is not None
    assert (packet.data, packet.length, len(packet.fds)) == (b"", 0, MESSAGE_FDS_MAX)
    close_all(packet.fds)


def test_what_came_before_a_reset_is_read(packets: Pair) -> None:
    """The kernel tells the reset first, unlike that of a stream."""
    one, other = packets
    one.send(b"never read")
    other.send(b"")
    other.send(b"last words")
    other.close()
    assert receive_packet(one, LIMIT) == (b"", [], 0)
    assert receive_packet(one, LIMIT) == (b"last words", (), 10)
    assert receive_packet(one, LIMIT) is None


def test_a_peer_that_refuses_more_breaks_the_pipe_and_reads_what_came_before(packets: Pair) -> None:
    one, other = packets
    other.send(b"before")
    one.shutdown(socket.SHUT_RD)
    with pytest.raises(BrokenPipeError):
        other.send(b"after")
    assert receive_packet(one, LIMIT) == (b"before", (), 6)
    assert receive_packet(one, LIMIT) is None


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("buffer", [0, 20_000])
def test_the_largest_packet(packets: Pair, more: int, buffer: int) -> None:
    one, other = packets
    if buffer:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    size = packet_frame_max(other) + HEADER_SIZE + more
    if more > 0:
        with pytest.raises(OSError, match="Message too long"):
            other.send(b"x" * size)
    else:
        other.send(b"x" * size)
        packet = receive_packet(one, 1 << 24)
        assert packet is not None
        assert len(packet.data) == packet.length == size


def test_the_descriptors_of_a_packet_come_with_it(packets: Pair, fd: int) -> None:
    one, other = packets
    other.sendmsg([b"first"], rights([fd]))
    other.send(b"second")
    other.sendmsg([b"x" * 1000], rights([fd, fd]))
    for data, count, length in [(b"first", 1, 5), (b"second", 0, 6), (b"xxxx", 2, 1000)]:
        packet = receive_packet(one, LIMIT)
        assert packet is not None
        assert (packet.data, len(packet.fds), packet.length) == (data, count, length)
        close_all(packet.fds)


# --- descriptors -----------------------------------------------------------------------------------------------


def test_a_read_ends_with_the_write_whose_descriptors_it_brings(stream: Pair, fd: int) -> None:
    """What the pairing of frames and descriptors rests on (protocol §15.3)."""
    one, other = stream
    other.send(b"plain")
    other.sendmsg([b"carrier"], rights([fd]))
    other.send(b"plain")
    other.sendmsg([b"carrier"], rights([fd, fd]))
    other.sendmsg([b"carrier"], rights([fd, fd, fd]))
    assert [(data, len(fds)) for data, fds in (read(one), read(one), read(one))] == [
        (b"plaincarrier", 1),
        (b"plaincarrier", 2),
        (b"carrier", 3),
    ]


@pytest.mark.parametrize("size", [1, 6, 7, 11])
def test_a_read_that_cuts_such_a_write_brings_its_descriptors_first(stream: Pair, fd: int, size: int) -> None:
    one, other = stream
    other.send(b"plain ")
    other.sendmsg([b"carrier"], rights([fd]))
    text, at = b"", []
    while len(text) < 13:
        data, fds = read(one, size)
        text += data
        at += [len(text)] * len(fds)
    assert text == b"plain carrier"
    (end,) = at
    assert end >= 7, "the last byte of the read is the carrier's"
    assert end - size <= 6, "it is the first read that has one"


def test_a_large_write_brings_its_descriptors_with_its_first_byte(stream: Pair, fd: int) -> None:
    one, other = stream
    sent = other.sendmsg([b"x" * 1_000_000], rights([fd]))
    assert 65_536 < sent < 1_000_000
    assert len(read(one, 1)[1]) == 1
    rest = 1
    while rest < sent:
        data, fds = read(one)
        assert not fds
        rest += len(data)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_most_descriptors_of_one_message(stream: Pair, fd: int, more: int) -> None:
    one, other = stream
    if more > 0:
        with pytest.raises(OSError, match="Invalid argument"):
            other.sendmsg([b"x"], rights([fd] * (MESSAGE_FDS_MAX + more)))
    else:
        other.sendmsg([b"x"], rights([fd] * (MESSAGE_FDS_MAX + more)))
        data, fds = read(one)
        assert (data, len(fds)) == (b"x", MESSAGE_FDS_MAX + more)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_a_process_without_room_gets_the_first_ones(kind: int, fd: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with connected(kind) as (one, other):
        other.sendmsg([b"x"], rights([fd] * 5))
        next_fd = os.dup(fd)
        os.close(next_fd)
        free = [number for number in range(next_fd, next_fd + 1000) if not is_open(number)][:2]
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1] + 1, hard))
        try:
            data, fds = read(one)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (data, fds) == (b"x", free)


def is_open(number: int) -> bool:
    return os.path.lexists(f"/proc/self/fd/{number}")


def test_an_accepted_connection_passes_nothing_else(fd: int) -> None:
    """Its listening socket may pass credentials, labels and a pidfd with each read."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        for option in (socket.SO_PASSCRED, 34, 76):
            try:
                listener.setsockopt(socket.SOL_SOCKET, option, 1)
            except OSError as error:
                assert error.errno in (errno.ENOPROTOOPT, errno.EOPNOTSUPP)  # noqa: PT017 - an old kernel
        listener.bind("")
        listener.listen()
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            receive_descriptors_only(accepted)
            client.sendmsg([b"x"], rights([fd]))
            _, ancillary, _, _ = accepted.recvmsg(10, 4096, RECEIVE_FLAGS)
            close_all(received_fds(ancillary))
            assert [kind for _, kind, _ in ancillary] == [socket.SCM_RIGHTS]
