"""A daemon with `latency = "low"`: the loop that it gets, and that everything else is as ever."""

import asyncio
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from superd.polling import loop_factory
from superd_client import AsyncClient, Client, polling_loop
from superd_client.builtin import Nothing
from superd_client.polling import CLOSE_EVENTS
from tests.client.eager import poll_eagerly
from tests.client.ticking import READINGS, Ticking, tick
from tests.daemon.manager import Manager
from tests.daemon.raw import PATIENCE, echo, request
from tests.daemon.running import LoopFactory, running_server, service_of


@pytest.fixture
def without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)


@pytest.fixture(params=["uvloop", "asyncio"])
def low(request: pytest.FixtureRequest) -> LoopFactory:
    """The loop of a daemon with low latency, with uvloop and without."""
    if request.param == "asyncio":
        request.getfixturevalue("without_uvloop")
    return loop_factory("low")


def kind_of(factory: LoopFactory) -> type[asyncio.AbstractEventLoop]:
    loop = factory()
    loop.close()
    return type(loop)


def test_the_loop_is_that_of_uvloop_where_there_is_one() -> None:
    assert kind_of(loop_factory("normal")) is uvloop.Loop
    assert issubclass(kind_of(loop_factory("low")), uvloop.Loop)


@pytest.mark.usefixtures("without_uvloop")
def test_the_loop_is_that_of_asyncio_where_there_is_none() -> None:
    assert kind_of(loop_factory("normal")) is kind_of(asyncio.new_event_loop)
    assert issubclass(kind_of(loop_factory("low")), asyncio.SelectorEventLoop)


def test_calls_that_come_fast_are_polled_for_and_then_it_sleeps(
    low: LoopFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = tick(monkeypatch, polling_loop.__name__)
    with running_server(loop=low) as server, server.client() as client:
        for _ in range(2 * CLOSE_EVENTS):
            client.ask(echo())
        server.run(settled(clock))
        assert clock.readings > READINGS, "it has polled"
        before = clock.readings
        server.run(settled(clock))
        assert clock.readings - before <= 2, "the wake-up for this"


async def settled(clock: Ticking) -> None:
    """Return when the clock is not read any more."""
    async with asyncio.timeout(PATIENCE):
        while True:
            before = clock.readings
            await asyncio.sleep(0.01)
            if clock.readings == before:
                return


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that can poll in this process does, after each event."""
    poll_eagerly(monkeypatch)


@pytest.mark.usefixtures("eager")
def test_handlers_of_every_kind_answer(low: LoopFactory) -> None:
    def on_a_thread(params: Nothing, context: object) -> str:
        return "thread"

    async def on_the_loop(params: Nothing, context: object) -> str:
        await asyncio.sleep(0)
        return "loop"

    for handler in (on_a_thread, on_the_loop):
        with running_server(service_of(handler), loop=low) as server, server.client() as client:
            expected = handler.__name__.rpartition("_")[2]
            for _ in range(20):
                assert client.ask(request("probe.run"))["result"] == expected


@pytest.mark.usefixtures("eager")
def test_both_ends_poll(low: LoopFactory) -> None:
    async def call_fifty(address: str) -> list[str]:
        async with AsyncClient(address, latency="low") as client:
            return [(await client.call("echo.echo", {"text": str(number)}))["text"] for number in range(50)]

    expected = [str(number) for number in range(50)]
    with running_server(loop=low) as server:
        address = f"unix:{server.path}"
        with Client(address, latency="low") as client:
            assert [client.call("echo.echo", {"text": each})["text"] for each in expected] == expected
        with asyncio.Runner(loop_factory=low) as runner:
            assert runner.run(call_fifty(address)) == expected


# --- as a process -----------------------------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


def test_a_restart_keeps_the_connections(manager: Manager, tmp_path: Path) -> None:
    path, environment = tmp_path / "s", {"SUPERD_LATENCY": "low", "WATCHDOG_USEC": "100000"}
    with manager.superd(path=path, environment=environment) as old, old.client() as client:
        for number in range(50):
            assert client.ask(echo(str(number)))["result"] == {"text": str(number)}
        manager.wait_for("WATCHDOG=1")
        assert old.stop() == 0
        client.send(echo("meanwhile"))
        with manager.superd(path=path, environment=environment) as new:
            assert client.receive()["result"] == {"text": "meanwhile"}
            assert new.stop(signal.SIGINT) == 0
