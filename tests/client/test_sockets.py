import errno
import os
import socket
import tempfile
from collections.abc import Sequence
from itertools import islice
from typing import Final

import pytest

from superd_client.address import parse_address
from superd_client.ancillary import PACKET_HINT
from superd_client.descriptors import close_all
from superd_client.sockets import (
    BACKOFF_MAX,
    READ_SIZE,
    Channel,
    PacketChannel,
    backoff_delays,
    connect,
    explain_refusal,
)
from superd_client.wire.framing import FrameTooLarge
from superd_client.wire.limits import HEADER_SIZE
from tests.client.server import full_backlog, serving


class Told:
    """What a channel handed over, in order."""

    frame_limit: Final = 1000

    def __init__(self) -> None:
        self.reads: list[tuple[bytes, Sequence[int]]] = []
        self.lengths: list[int | None] = []

    def receive_data(self, data: bytes, fds: Sequence[int] = ()) -> None:
        self.reads.append((data, fds))

    def receive_packet(self, data: bytes, fds: Sequence[int] = (), length: int | None = None) -> None:
        self.reads.append((data, fds))
        self.lengths.append(length)


def channel_of(connected: socket.socket) -> Channel:
    connected.setblocking(False)
    return PacketChannel(connected) if connected.type == socket.SOCK_SEQPACKET else Channel(connected)


def pair(kind: int = socket.SOCK_STREAM) -> tuple[Channel, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    return channel_of(ours), theirs


def test_connect_gives_a_channel_that_no_child_inherits() -> None:
    with serving() as server:
        channel = connect(parse_address(server.address))
        assert not os.get_inheritable(channel.fileno())
        assert not os.get_blocking(channel.fileno())
        channel.close()
        assert channel.fileno() == -1


def test_a_full_backlog_gives_no_channel() -> None:
    with full_backlog() as backlog, pytest.raises(BlockingIOError):
        connect(parse_address(backlog.address))


def test_nobody_listens(tmp_path: object) -> None:
    with pytest.raises(FileNotFoundError):
        connect(parse_address(f"unix:{tmp_path}/s"))


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_a_read_tells_nothing_from_the_end(kind: int) -> None:
    channel, peer = pair(kind)
    told = Told()
    assert not channel.read_to(told)
    peer.send(b"\0\0\0\2ab")
    assert channel.read_to(told)
    peer.close()
    assert channel.read_to(told)
    assert channel.read_to(told)
    assert told.reads == [(b"\0\0\0\2ab", ()), (b"", ()), (b"", ())]
    assert told.lengths == ([6] if kind == socket.SOCK_SEQPACKET else [])
    channel.close()


def test_a_packet_over_the_frame_limit_is_cut() -> None:
    channel, peer = pair(socket.SOCK_SEQPACKET)
    told = Told()
    for length in (told.frame_limit + 3, told.frame_limit + 4, told.frame_limit + 5):
        peer.send(b"x" * length)
        assert channel.read_to(told)
    assert [len(data) for data, _ in told.reads] == [told.frame_limit + 3, told.frame_limit + 4, 4]
    assert told.lengths == [told.frame_limit + 3, told.frame_limit + 4, told.frame_limit + 5]
    channel.close()
    peer.close()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_descriptors_both_ways(kind: int) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    channel, other = channel_of(ours), channel_of(theirs)
    told = Told()
    with tempfile.TemporaryFile() as file:
        inode = os.fstat(file.fileno()).st_ino
        assert channel.send_carrying(b"\0\0\0\1x", [file.fileno(), file.fileno()]) == 5
        assert channel.send([b"\0\0\0\1y"]) == 5
    while other.read_to(told):
        pass
    (first, fds), (second, none) = told.reads
    assert (first, second, none) == (b"\0\0\0\1x", b"\0\0\0\1y", ())
    assert [os.fstat(fd).st_ino for fd in fds] == [inode, inode]
    assert not any(os.get_inheritable(fd) for fd in fds)
    close_all(fds)
    channel.close()
    other.close()


def test_a_packet_that_the_kernel_is_full_for_waits() -> None:
    channel, peer = pair(socket.SOCK_SEQPACKET)
    sent = 0
    while channel.send([b"x" * 5000]):
        sent += 1
    assert channel.send_carrying(b"x" * 5000, [0]) == 0
    assert peer.recv(10_000) == b"x" * 5000
    for _ in range(sent - 1):
        assert peer.recv(10_000) == b"x" * 5000
    assert channel.send([b"y"]) == 1
    channel.close()
    peer.close()


def test_the_largest_packet_is_known_before_it_is_sent() -> None:
    channel, peer = pair(socket.SOCK_SEQPACKET)
    assert channel.send([b"x" * (channel.frame_max + HEADER_SIZE)]) == channel.frame_max + HEADER_SIZE
    with pytest.raises(OSError, match="Message too long"):
        channel.send([b"x" * (channel.frame_max + HEADER_SIZE + 1)])
    error = FrameTooLarge(channel.frame_max + 1, channel.frame_max)
    assert channel.explain_too_large(error).endswith(f"{channel.frame_max} bytes: {PACKET_HINT}")
    assert channel.explain_too_large(FrameTooLarge(11, 10)) == str(FrameTooLarge(11, 10))
    channel.close()
    peer.close()


def test_send_gathers_and_stops_when_the_kernel_is_full() -> None:
    channel, peer = pair()
    assert channel.send([b"ab", memoryview(b"cd")]) == 4
    assert peer.recv(10) == b"abcd"
    while channel.send([b"x" * 65536]):
        pass
    assert channel.send([b"x"]) == 0
    peer.close()
    with pytest.raises(BrokenPipeError):
        channel.send([b"x"])
    channel.close()


def test_shutdown_reaches_the_peer_and_may_be_repeated() -> None:
    channel, peer = pair()
    channel.shutdown()
    channel.shutdown()
    assert peer.recv(1) == b""
    channel.close()
    channel.shutdown()
    peer.close()


def test_the_pauses_grow_to_a_bound() -> None:
    delays = list(islice(backoff_delays(), 12))
    assert delays[:4] == [0.001, 0.002, 0.004, 0.008]
    assert max(delays) == delays[-1] == BACKOFF_MAX


def test_a_socket_of_another_type_is_refused() -> None:
    with serving() as server, pytest.raises(OSError, match="rotocol") as caught:
        connect(parse_address(server.address.replace("unix:", "unix-seqpacket:")))
    assert caught.value.errno == errno.EPROTOTYPE


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ENOENT, "nothing listens at unix:/s: is superd.socket running?"),
        (errno.ECONNREFUSED, "nothing listens at unix:/s: is superd.socket running?"),
        (errno.EACCES, "permission denied at unix:/s: is this user in the socket's group?"),
        (errno.EPERM, "permission denied at unix:/s: does a security policy forbid it?"),
        (
            errno.EPROTOTYPE,
            "at unix:/s is a socket of another type: is it unix:, unix-seqpacket: or unix-dgram:?",
        ),
        (errno.EMFILE, "cannot connect to unix:/s: Too many open files"),
    ],
)
def test_refusals_say_what_to_look_at(code: int, expected: str) -> None:
    error = OSError(code, os.strerror(code))
    assert explain_refusal(parse_address("unix:/s"), error) == expected


@pytest.mark.parametrize(
    ("address", "unit"),
    [
        ("instance:inventory", "superd@inventory.socket"),
        ("user:", "superd.socket of systemctl --user"),
        ("user:inventory", "superd@inventory.socket of systemctl --user"),
    ],
)
def test_a_refusal_names_the_unit_of_the_instance(
    address: str, unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    error = OSError(errno.ENOENT, "no such file")
    assert explain_refusal(parse_address(address), error).endswith(f": is {unit} running?")


def test_a_refusal_without_a_number() -> None:
    assert explain_refusal(parse_address("unix:@s"), OSError("odd")) == "cannot connect to unix:@s: odd"


@pytest.mark.parametrize("came", [READ_SIZE - 1, READ_SIZE, READ_SIZE + 1])
def test_reads_are_larger_while_much_comes(came: int) -> None:
    channel, theirs = pair()
    told = Told()
    sent = []
    for size in (came, 2 * READ_SIZE, 1, 2 * READ_SIZE):
        sent.append(theirs.send(bytes(size)))
        while channel.read_to(told):
            pass
    assert sent == [came, 2 * READ_SIZE, 1, 2 * READ_SIZE]
    first = [came] if came <= READ_SIZE else [READ_SIZE, 1]
    then = [2 * READ_SIZE] if came == READ_SIZE else [READ_SIZE, READ_SIZE]
    assert [len(data) for data, _ in told.reads] == [*first, *then, 1, READ_SIZE, READ_SIZE]
    channel.close()
    theirs.close()
