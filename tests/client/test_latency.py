"""What a client makes of the argument `latency`."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from superd_client import AsyncClient, CallTimeout, Client, ConnectionLost, polling, polling_loop, spinning
from superd_client.polling import CLOSE_EVENTS
from tests.client.conftest import Run
from tests.client.eager import spin_always
from tests.client.models import Text, echo
from tests.client.server import PATIENCE, Peer, serving
from tests.client.test_sync import handling, in_threads, interrupt, interrupt_when
from tests.client.ticking import Ticking, tick

A = Text(text="a")

clients = pytest.mark.parametrize("client", [Client, AsyncClient])


@clients
@pytest.mark.parametrize("latency", ["high", "", None, True])
def test_what_is_no_latency(client: Callable[..., Any], latency: object) -> None:
    with pytest.raises(ValueError, match='latency is "normal" or "low"'):
        client("unix:/run/s", latency=latency)


@clients
def test_low_needs_a_connection(client: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match='latency="low" needs a connection, which unix-dgram:/run/s has not'):
        client("unix-dgram:/run/s", latency="low")
    client("unix-dgram:/run/s", latency="normal")
    client("unix-seqpacket:/run/s", latency="low")


def answer_and_then_hold(in_flight: threading.Event, answers: int) -> Callable[[Peer], None]:
    """A script that answers so many calls, and keeps the next one waiting until the client goes."""

    def script(peer: Peer) -> None:
        for _ in range(answers):
            request = peer.expect()
            peer.answer(request, request.params)
        peer.expect()
        in_flight.set()
        peer.await_rest()

    return script


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Ticking:
    """Of the blocking client."""
    return tick(monkeypatch, spinning.__name__)


@pytest.mark.parametrize(("latency", "polls"), [("normal", False), ("low", True)])
def test_calls_one_after_the_other_are_polled_for(clock: Ticking, latency: Any, polls: bool) -> None:
    script = answer_and_then_hold(threading.Event(), 1 + CLOSE_EVENTS)
    with serving(script) as server, Client(server.address, latency=latency) as client:
        for _ in range(1 + CLOSE_EVENTS):
            assert client.call(echo, A) == A
        before = clock.readings
        with pytest.raises(CallTimeout):
            client.call(echo, A, timeout=0.05)
        assert (clock.readings - before > 2) is polls


async def settled(clock: Ticking) -> None:
    """Return when no poll is under way: a turn of the loop in which the clock is not read."""
    before = -1
    while before != clock.readings:
        before = clock.readings
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@pytest.mark.parametrize(("latency", "polls"), [("normal", False), ("low", True)])
def test_so_are_those_on_a_loop(monkeypatch: pytest.MonkeyPatch, run: Run, latency: Any, polls: bool) -> None:
    clock = tick(monkeypatch, polling_loop.__name__)

    async def main() -> None:
        async with AsyncClient(server.address, latency=latency) as client:
            for _ in range(1 + CLOSE_EVENTS):
                assert await client.call(echo, A) == A
            with pytest.raises(CallTimeout):
                await client.call(echo, A, timeout=0.05)
            assert (clock.readings > 3 * CLOSE_EVENTS) is polls
            await settled(clock)
            before = clock.readings
            await asyncio.sleep(0.05)
            assert clock.readings == before, "nothing comes: it sleeps"

    with serving(answer_and_then_hold(threading.Event(), 1 + CLOSE_EVENTS)) as server:
        run(main())


@pytest.fixture
def endless_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits polls, and does not sleep before the test is over."""
    spin_always(monkeypatch)
    monkeypatch.setattr(polling, "POLL_SECONDS", PATIENCE)


@pytest.mark.usefixtures("endless_polls")
def test_close_ends_a_poll() -> None:
    in_flight = threading.Event()
    with serving(answer_and_then_hold(in_flight, 0)) as server, in_threads(1) as submit:
        client = Client(server.address, latency="low")
        result = submit(client.call, echo, A)
        assert in_flight.wait(PATIENCE)
        client.close()
        with pytest.raises(ConnectionLost, match="the client was closed"):
            result.result(PATIENCE / 2)


@pytest.mark.usefixtures("endless_polls")
def test_an_interrupt_ends_a_poll_and_leaves_the_client_usable() -> None:
    def script(peer: Peer) -> None:
        peer.expect()
        interrupt_when(lambda: client._exchange.link is not None)
        request = peer.expect()
        peer.answer(request, request.params)
        peer.await_end()

    with handling(interrupt), serving(script) as server, Client(server.address, latency="low") as client:
        with pytest.raises(KeyboardInterrupt):
            client.call(echo, A)
        assert client.call(echo, A) == A
        assert server.connections == 1


@pytest.mark.usefixtures("endless_polls")
def test_another_thread_can_write_while_the_leader_polls() -> None:
    def script(peer: Peer) -> None:
        first = peer.expect()
        is_led.set()
        second = peer.expect()
        peer.answer(second, second.params)
        peer.answer(first, first.params)
        peer.await_end()

    is_led = threading.Event()
    with (
        serving(script) as server,
        Client(server.address, latency="low") as client,
        in_threads(2) as submit,
    ):
        leader = submit(client.call, echo, A)
        assert is_led.wait(PATIENCE)
        assert submit(client.call, echo, Text(text="b")).result(PATIENCE / 2).text == "b"
        assert leader.result(PATIENCE / 2) == A
