"""How a thread polls: on a real socket, by a clock that counts the looks."""

import socket
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from superd_client import spinning
from superd_client.polling import CLOSE_EVENTS, POLL_SECONDS
from superd_client.sockets import Channel
from superd_client.spinning import SpinningPoller
from tests.client.server import PATIENCE
from tests.client.ticking import READINGS, Ticking, tick

#: Long enough to be polled in.
SHORT = 2 * POLL_SECONDS


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Ticking:
    return tick(monkeypatch, spinning.__name__)


class Pair:
    """A poller, and the peer of its socket."""

    def __init__(self, clock: Ticking) -> None:
        self.clock = clock
        self.peer, self.socket = socket.socketpair()
        self.socket.setblocking(False)
        self.poller = SpinningPoller(Channel(self.socket))

    def close(self) -> None:
        self.poller.close()
        self.socket.close()
        self.peer.close()

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait; how often the clock was read, which an event does once and each look in vain twice."""
        return self.clock.during(partial(self.poller.wait, seconds))

    def event(self) -> int:
        """The same with something to read, which is read then."""
        self.peer.send(b"x")
        readings = self.wait()
        self.socket.recv(1)
        return readings

    def begin_to_poll(self) -> None:
        """As many events as it takes."""
        for _ in range(1 + CLOSE_EVENTS):
            assert self.event() == 1


@pytest.fixture
def pair(clock: Ticking) -> Iterator[Pair]:
    made = Pair(clock)
    yield made
    made.close()


def test_at_first_and_after_a_poll_in_vain_it_sleeps(pair: Pair) -> None:
    assert pair.wait(SHORT) == 0
    pair.begin_to_poll()
    assert pair.wait(SHORT) == READINGS
    assert pair.wait(SHORT) == 0
    assert pair.event() == 1


def test_what_comes_during_a_poll_ends_it(pair: Pair) -> None:
    pair.begin_to_poll()
    for _ in range(3):
        pair.clock.at(8, lambda: pair.peer.send(b"x"))
        assert pair.wait() == 8 + 1
        pair.socket.recv(1)


def test_the_end_of_the_connection_ends_a_poll(pair: Pair) -> None:
    pair.begin_to_poll()
    pair.clock.at(8, pair.peer.close)
    assert pair.wait() == 8 + 1


def test_a_bell_ends_a_poll_as_it_ends_a_sleep(pair: Pair) -> None:
    pair.begin_to_poll()
    pair.clock.at(8, pair.poller.ring)
    assert pair.wait() == 8 + 1
    assert pair.poller.rung
    pair.poller.calm()
    assert pair.wait(SHORT) == READINGS


def test_room_ends_a_poll_where_it_is_watched(pair: Pair) -> None:
    pair.begin_to_poll()
    pair.clock.at(8, partial(pair.poller.watch_room, True))
    assert pair.wait() == 8 + 1


def test_what_comes_when_the_poll_is_over_ends_the_sleep(pair: Pair) -> None:
    pair.begin_to_poll()
    sender = threading.Thread(target=pair.peer.send, args=[b"x"])
    pair.clock.at(READINGS, sender.start)
    assert pair.wait() == READINGS + 1
    sender.join()


@pytest.mark.parametrize(
    ("seconds", "polls"),
    [(POLL_SECONDS - 1e-6, False), (POLL_SECONDS, False), (POLL_SECONDS + 1e-6, True), (0.0, False)],
)
def test_who_has_less_time_than_a_poll_takes_does_not_poll(pair: Pair, seconds: float, polls: bool) -> None:
    pair.begin_to_poll()
    assert (pair.wait(seconds) > 0) is polls


def test_an_interrupt_gets_through_and_leaves_it_usable(pair: Pair) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    pair.begin_to_poll()
    pair.clock.at(8, interrupt)
    with pytest.raises(KeyboardInterrupt):
        pair.wait()
    assert pair.event() == 1
    assert pair.wait(SHORT) == READINGS
