"""How a loop polls: real loops and sockets, by a clock that counts the turns."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from superd_client import polling_loop
from superd_client.polling import CLOSE_EVENTS
from superd_client.polling_loop import LoopPolling
from tests.client.server import PATIENCE
from tests.client.ticking import READINGS, Ticking, tick


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Ticking:
    return tick(monkeypatch, polling_loop.__name__)


class Reader:
    """A loop that reads a socket with a LoopPolling, and the socket's peer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Ticking) -> None:
        self.loop = loop
        self.clock = clock
        self.peer, self.socket = socket.socketpair()
        self.socket.setblocking(False)
        self.loop.add_reader(self.socket, LoopPolling(loop).run, self._read)
        self.read = 0
        self._has_read = asyncio.Event()

    def close(self) -> None:
        self.loop.remove_reader(self.socket)
        self.socket.close()
        self.peer.close()
        self.loop.close()

    def _read(self) -> None:
        self.read += len(self.socket.recv(1))
        self._has_read.set()

    def run(self, work: Callable[[], Any]) -> None:
        """Do `work` in the loop, and return when something was read after it."""

        async def main() -> None:
            self._has_read.clear()
            work()
            async with asyncio.timeout(PATIENCE):
                await self._has_read.wait()

        self.loop.run_until_complete(main())

    def send(self) -> None:
        self.peer.send(b"x")

    def begin_to_poll(self) -> None:
        for _ in range(CLOSE_EVENTS):
            assert self.clock.during(lambda: self.run(self.send)) == 1

    def until_it_sleeps(self) -> int:
        """Run until the clock is left alone for a while; how often it was read until then."""
        readings = 0
        while more := self.clock.during(lambda: self.loop.run_until_complete(asyncio.sleep(0.02))):
            readings += more
        return readings


@pytest.fixture(params=[asyncio.SelectorEventLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def reader(request: pytest.FixtureRequest, clock: Ticking) -> Iterator[Reader]:
    made = Reader(request.param(), clock)
    yield made
    made.close()


def test_a_loop_in_which_nothing_comes_sleeps(reader: Reader) -> None:
    assert reader.until_it_sleeps() == 0
    reader.run(reader.send)
    assert reader.until_it_sleeps() == 0


def test_after_a_row_of_events_it_polls_once_and_sleeps_then(reader: Reader) -> None:
    reader.begin_to_poll()
    reader.run(reader.send)
    assert reader.until_it_sleeps() > 0
    assert reader.until_it_sleeps() == 0
    reader.run(reader.send)
    assert reader.until_it_sleeps() == 0


def test_a_poll_in_vain_has_its_length(reader: Reader) -> None:
    reader.begin_to_poll()
    before = reader.clock.readings
    reader.run(reader.send)
    reader.until_it_sleeps()
    assert reader.clock.readings - before == 1 + READINGS


def test_what_comes_in_a_poll_is_read_and_everything_else_goes_on(reader: Reader) -> None:
    reader.begin_to_poll()
    reader.run(reader.send)
    ran = list[int]()
    reader.loop.call_soon(ran.append, 1)
    for _ in range(10):
        reader.clock.at(9, reader.send)
        reader.run(lambda: None)
    assert reader.read == CLOSE_EVENTS + 1 + 10
    assert ran == [1]
    reader.loop.call_later(0.001, ran.append, 2)
    assert reader.until_it_sleeps() > 0
    assert ran == [1, 2]


def test_events_of_one_turn_are_no_success_of_a_poll(reader: Reader) -> None:
    """Twenty at once are read without a look in between."""
    reader.run(lambda: reader.peer.send(b"x" * (2 * CLOSE_EVENTS)))
    reader.until_it_sleeps()
    assert reader.read == 2 * CLOSE_EVENTS
    assert reader.until_it_sleeps() == 0


def test_a_callback_that_fails_does_not_keep_the_loop_awake(reader: Reader) -> None:
    def fail() -> None:
        reader.socket.recv(1)
        raise ZeroDivisionError

    complaints: list[dict[str, Any]] = []
    reader.loop.set_exception_handler(lambda _, context: complaints.append(context))
    reader.loop.add_reader(reader.socket, LoopPolling(reader.loop).run, fail)
    reader.peer.send(b"x" * 3)
    assert reader.until_it_sleeps() == 3
    assert len(complaints) == 3
