import errno
import os
import socket
from itertools import islice

import pytest

from superd_client.address import parse_address
from superd_client.sockets import BACKOFF_MAX, Channel, backoff_delays, connect, explain_refusal
from tests.client.server import full_backlog, serving


def pair() -> tuple[Channel, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return Channel(ours), theirs


def test_connect_gives_a_channel_that_no_child_inherits() -> None:
    with serving() as server:
        channel = connect(parse_address(server.address))
        assert channel is not None
        assert not os.get_inheritable(channel.fileno())
        assert not os.get_blocking(channel.fileno())
        channel.close()
        assert channel.fileno() == -1


def test_a_full_backlog_gives_no_channel() -> None:
    with full_backlog() as backlog:
        assert connect(parse_address(backlog.address)) is None


def test_nobody_listens(tmp_path: object) -> None:
    with pytest.raises(FileNotFoundError):
        connect(parse_address(f"unix:{tmp_path}/s"))


def test_receive_tells_nothing_from_the_end() -> None:
    channel, peer = pair()
    assert channel.receive() is None
    peer.send(b"abc")
    channel.wait_readable(1)
    assert channel.receive() == b"abc"
    peer.close()
    assert channel.receive() == b""
    channel.close()


def test_send_gathers_and_stops_when_the_kernel_is_full() -> None:
    channel, peer = pair()
    assert channel.send([b"ab", memoryview(b"cd")]) == 4
    assert peer.recv(10) == b"abcd"
    while channel.send([b"x" * 65536]):
        pass
    channel.wait_ready(0.001)
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


def test_a_refusal_without_a_number() -> None:
    assert explain_refusal(parse_address("unix:@s"), OSError("odd")) == "cannot connect to unix:@s: odd"
