"""A link by itself, at moments that no server and no second thread can be made to hit."""

import os
import socket
import tempfile
from collections.abc import Sequence
from typing import Self

import pytest
from typing_extensions import override

from superd_client import ConnectionLost, MessageTooLarge, NotSent, Outcome
from superd_client.ancillary import ANCILLARY_SIZE, received_fds, rights
from superd_client.descriptors import close_all
from superd_client.sockets import Channel, PacketChannel
from superd_client.sync_link import ThreadCall, ThreadLink
from superd_client.wire.framing import encode_frame
from superd_client.wire.limits import FRAME_SIZE_DEFAULT
from tests.client.models import Text, echo


class InterruptedChannel(Channel):
    """Sends, and is interrupted before it can say how much."""

    __slots__ = ()

    @override
    def send(self, buffers: Sequence[bytes | memoryview]) -> int:
        super().send(buffers)
        raise KeyboardInterrupt


def test_a_call_may_have_been_sent_where_the_write_was_interrupted() -> None:
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    link = ThreadLink(InterruptedChannel(ours), FRAME_SIZE_DEFAULT)
    call = ThreadCall(echo, "a", 1)
    link.begin(call, echo.encode_params(Text(text="a")))
    with pytest.raises(KeyboardInterrupt):
        link.flush()
    assert peer.recv(4096).endswith(b"}}")
    assert not link.check()
    assert link.lost
    assert isinstance(call.end, ConnectionLost)
    assert call.end.outcome is Outcome.UNKNOWN
    peer.close()


# --- calls that carry descriptors ------------------------------------------------------------------------------

BOTH = pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])


class Carried:
    """Descriptors of one call, and how often they were closed."""

    def __init__(self, *fds: int) -> None:
        self.fds = fds
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Linked:
    """A link, and the socket at its other end."""

    def __init__(self, kind: int) -> None:
        ours, self.peer = socket.socketpair(socket.AF_UNIX, kind)
        for each in (ours, self.peer):
            each.setblocking(False)
        channel = PacketChannel(ours) if kind == socket.SOCK_SEQPACKET else Channel(ours)
        self.link = ThreadLink(channel, FRAME_SIZE_DEFAULT)

    def begin(self, text: str, carried: Carried | None = None) -> ThreadCall:
        call = ThreadCall(echo, "a", 1)
        self.link.begin(call, echo.encode_params(Text(text=text)), carried)
        return call

    def fill(self) -> bytes:
        """Leave no room in the kernel; what was written."""
        written = b""
        while sent := self.link.channel.send([b"#" * 50_000]):
            written += b"#" * sent
        return written

    def read(self) -> list[tuple[bytes, int]]:
        """What the peer can read now: the bytes of each read, and how many descriptors it brought."""
        found = []
        try:
            while True:
                data, ancillary, _, _ = self.peer.recvmsg(1 << 20, ANCILLARY_SIZE)
                fds = received_fds(ancillary)
                close_all(fds)
                found.append((data, len(fds)))
        except BlockingIOError:
            return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.lose("the test ends")
        self.peer.close()


@BOTH
def test_calls_with_descriptors_are_written_alone_and_declare_them(kind: int) -> None:
    with Linked(kind) as linked:
        filler = linked.fill()
        carried = Carried(0, 0)
        calls = [linked.begin("one"), linked.begin("two"), linked.begin("three", carried)]
        calls += [linked.begin("four"), linked.begin("five")]
        assert not linked.link.flush()
        assert carried.closed == 0
        seen = linked.read()
        assert linked.link.flush()
        seen += linked.read()
        assert b"".join(data for data, _ in seen).startswith(filler)
        (place,) = (number for number, (_, fds) in enumerate(seen) if fds)
        with_fds, behind = seen[place], seen[place + 1 :]
        assert with_fds[1] == 2
        assert b'"three"},"meta":{"call_id":"a",' in with_fds[0]
        assert with_fds[0].endswith(b',"fds":2}}')
        assert [data.count(b'"echo.echo"') for data, _ in behind] == (
            [1, 1] if kind == socket.SOCK_SEQPACKET else [2]
        )
        assert carried.closed == 1
        assert all(call.sent for call in calls)


def test_what_is_left_of_a_partial_write_goes_without_descriptors() -> None:
    with Linked(socket.SOCK_STREAM) as linked:
        carried = Carried(0)
        call = linked.begin("x" * 1_000_000, carried)
        assert not linked.link.flush()
        assert (carried.closed, call.sent) == (1, False)
        seen = linked.read()
        while not linked.link.flush():
            seen += linked.read()
        seen += linked.read()
        assert [fds for _, fds in seen] == [1] + [0] * (len(seen) - 1)
        assert call.sent


@BOTH
def test_descriptors_that_the_kernel_does_not_take_fail_their_call_alone(kind: int) -> None:
    with Linked(kind) as linked:
        with tempfile.TemporaryFile() as file:
            gone = file.fileno()
        refused, more = Carried(gone), Carried(*[0] * 64)
        others = [linked.begin("one"), linked.begin("two", more)]
        calls = [linked.begin("lost", refused) for _ in range(2)]
        others.append(linked.begin("three"))
        assert linked.link.flush()
        assert (more.closed, refused.closed) == (1, 2)
        assert all(call.sent for call in others)
        for call in calls:
            assert type(call.end) is NotSent
            assert call.end.message == "its descriptors cannot be passed: Bad file descriptor"
            assert isinstance(call.end.__cause__, OSError)
        assert sum(data.count(b'"echo.echo"') for data, _ in linked.read()) == 3
        assert linked.link.check()


@BOTH
def test_descriptors_of_a_call_that_is_never_written_are_closed(kind: int) -> None:
    with Linked(kind) as linked:
        linked.fill()
        carried = [Carried(0) for _ in range(4)]
        with pytest.raises(MessageTooLarge):
            linked.begin("x" * FRAME_SIZE_DEFAULT, carried[0])
        assert carried[0].closed == 1
        calls = [linked.begin("x", each) for each in carried[1:]]
        assert linked.link.withdraw(calls[0])
        assert [each.closed for each in carried] == [1, 1, 0, 0]
        linked.link.lose("the test ends")
        assert [each.closed for each in carried] == [1, 1, 1, 1]


def test_descriptors_for_a_server_that_reads_no_more_are_closed() -> None:
    with Linked(socket.SOCK_STREAM) as linked:
        waiting = linked.begin("waiting")
        linked.link.flush()
        linked.peer.shutdown(socket.SHUT_RD)
        carried = Carried(0)
        call = linked.begin("x", carried)
        assert linked.link.flush()
        assert linked.link.retired
        assert carried.closed == 1
        assert isinstance(call.end, NotSent)
        assert waiting.end is None


@BOTH
def test_descriptors_that_nobody_asked_for_are_closed(kind: int) -> None:
    reader, writer = os.pipe()
    with Linked(kind) as linked, open(reader, "rb") as end:  # noqa: PTH123
        call = linked.begin("one")
        linked.link.flush()
        linked.peer.sendmsg([encode_frame(b'{"jsonrpc":"2.0","method":"x.y"}')], rights([writer] * 100))
        os.close(writer)
        assert linked.link.receive()
        assert end.read() == b""
        assert call.end is None
        assert not linked.link.lost


def test_a_descriptor_is_kept_while_a_thread_polls_it() -> None:
    """Closed under the poll, its number could be given to another file."""
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    link = ThreadLink(Channel(ours), FRAME_SIZE_DEFAULT)
    call = ThreadCall(echo, "a", 1)
    assert link.lead(call) is not None
    link.lose("the client was closed")
    assert peer.recv(1) == b""
    assert link.channel.fileno() >= 0
    link.release(call)
    assert link.channel.fileno() == -1
    peer.close()
