import socket
import threading
import time
from collections.abc import Iterator

import pytest

from superd_client.poller import Poller
from superd_client.sockets import Channel
from tests.client.leftovers import leftovers
from tests.client.server import PATIENCE


@pytest.fixture
def peer_and_poller() -> Iterator[tuple[socket.socket, Poller]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    channel = Channel(ours)
    poller = Poller(channel)
    yield theirs, poller
    poller.close()
    channel.close()
    theirs.close()


def seconds_of(poller: Poller, most: float) -> float:
    begun = time.monotonic()
    poller.wait(most)
    return time.monotonic() - begun


def test_a_wait_ends_by_what_there_is_to_read_and_by_the_end(
    peer_and_poller: tuple[socket.socket, Poller],
) -> None:
    peer, poller = peer_and_poller
    assert seconds_of(poller, 0.05) >= 0.05
    peer.send(b"x")
    assert seconds_of(poller, PATIENCE) < PATIENCE
    peer.close()
    assert seconds_of(poller, PATIENCE) < PATIENCE


def test_a_bell_ends_one_wait(peer_and_poller: tuple[socket.socket, Poller]) -> None:
    _, poller = peer_and_poller
    for _ in range(2):
        poller.ring()
        poller.ring()
        assert poller.rung
        assert seconds_of(poller, PATIENCE) < PATIENCE
        poller.calm()
        poller.calm()
        assert seconds_of(poller, 0.05) >= 0.05


def test_a_bell_that_an_interrupt_kept_from_ringing_is_silent(
    peer_and_poller: tuple[socket.socket, Poller],
) -> None:
    _, poller = peer_and_poller
    poller.ring()
    poller.calm()
    poller.rung = True
    poller.calm()
    assert not poller.rung
    assert seconds_of(poller, 0.05) >= 0.05


@pytest.mark.parametrize("change", ["ring", "watch_room"])
def test_a_wait_that_goes_on_hears_of_it(peer_and_poller: tuple[socket.socket, Poller], change: str) -> None:
    _, poller = peer_and_poller
    waiter = threading.Thread(target=poller.wait, args=(PATIENCE,))
    waiter.start()
    poller.ring() if change == "ring" else poller.watch_room(True)
    waiter.join(PATIENCE / 2)
    assert not waiter.is_alive()
    poller.watch_room(False)
    poller.calm()
    assert seconds_of(poller, 0.05) >= 0.05


def test_a_closed_one_is_not_rung(peer_and_poller: tuple[socket.socket, Poller]) -> None:
    _, poller = peer_and_poller
    before = len(leftovers())
    poller.ring()
    poller.close()
    poller.close()
    poller.ring()
    poller.calm()
    assert len(leftovers()) == before - 1


def test_a_channel_that_cannot_be_polled_leaves_nothing() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    channel.close()
    theirs.close()
    before = len(leftovers())
    with pytest.raises((OSError, ValueError)):
        Poller(channel)
    assert len(leftovers()) == before
