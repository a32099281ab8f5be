"""A link by itself, at moments that no server and no second thread can be made to hit."""

import socket
from collections.abc import Callable, Sequence

import pytest
from typing_extensions import override

from superd_client import ConnectionLost, Outcome
from superd_client.sockets import Channel
from superd_client.sync_link import ThreadCall, ThreadLink
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


@pytest.mark.parametrize("begin_to_poll", [ThreadLink.lead, ThreadLink.await_room])
def test_a_descriptor_is_kept_while_a_thread_polls_it(begin_to_poll: Callable[..., object]) -> None:
    """Closed under the poll, its number could be given to another file."""
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    link = ThreadLink(Channel(ours), FRAME_SIZE_DEFAULT)
    call = ThreadCall(echo, "a", 1)
    begin_to_poll(link, call)
    link.lose("the client was closed")
    assert peer.recv(1) == b""
    assert link.channel.fileno() >= 0
    link.release(call)
    assert link.channel.fileno() == -1
    peer.close()
