"""The drain of connections with open streams: goaway, what still counts, and the end."""

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from tests.daemon.raw import GOAWAY, PATIENCE, RawClient, echo, note, request
from tests.daemon.running import LIMITS, Gate, LoopFactory, Running, running_server, service_of
from tests.daemon.streaming import Flow, credit, receive_items, start


@contextlib.contextmanager
def serving(flow: Flow, **options: Any) -> Iterator[tuple[Running, RawClient]]:
    with running_server(flow.service, **options) as server, server.client() as client:
        yield server, client


def drain(server: Running) -> "Future[bool]":
    return asyncio.run_coroutine_threadsafe(server.drain(PATIENCE), server.loop)


def test_each_connection_hears_of_it(loop_factory: LoopFactory) -> None:
    flow = Flow()
    with serving(flow, loop=loop_factory) as (server, client), server.client() as idle:
        assert idle.ask(echo())["id"] == 1
        client.send(start(credit=1))
        receive_items(client, 1, 0, 1)
        draining = drain(server)
        assert idle.receive() == GOAWAY
        assert idle.receive() is None
        assert client.receive() == GOAWAY
        client.send(note("cancel", id=1))
        assert client.receive()["error"]["code"] == -32004
        assert client.receive() is None
        assert draining.result(PATIENCE) is True


@pytest.mark.parametrize("method", ["flow.numbers", "flow.plain"])
def test_an_open_stream_goes_on_to_its_end(loop_factory: LoopFactory, method: str) -> None:
    with serving(Flow(), loop=loop_factory) as (server, client):
        client.send(start(method, params={"count": 100}, credit=1))
        receive_items(client, 1, 0, 1)
        draining = drain(server)
        assert client.receive() == GOAWAY
        for seq in range(1, 100):
            client.send(credit(1, 1))
            receive_items(client, 1, seq, 1)
        client.send(credit(1, 1))
        assert client.receive()["result"] is None
        assert client.receive() is None
        with pytest.raises(BrokenPipeError):
            client.send(echo())
        assert draining.result(PATIENCE) is True


@pytest.mark.parametrize("method", ["flow.total", "flow.plain_total"])
def test_an_open_upload_goes_on_to_its_end(loop_factory: LoopFactory, method: str) -> None:
    flow = Flow()
    with serving(flow, loop=loop_factory) as (server, client):
        client.send(start(method))
        assert client.receive()["method"] == "rpc.credit"
        draining = drain(server)
        assert client.receive() == GOAWAY
        client.send(
            *(note("item", id=1, seq=seq, item={"value": seq}) for seq in range(10)), note("end", id=1)
        )
        assert client.receive()["result"] == 45
        assert client.receive() is None
        assert draining.result(PATIENCE) is True


def test_calls_are_carried_out_and_streams_are_not_begun(loop_factory: LoopFactory) -> None:
    """As long as a stream is open."""
    flow = Flow()
    with serving(flow, loop=loop_factory) as (server, client):
        client.send(start(credit=1))
        receive_items(client, 1, 0, 1)
        draining = drain(server)
        assert client.receive() == GOAWAY
        client.send(echo("late", 2), start(request_id=3), start("flow.total", 4), echo("gone", None))
        replies = {message["id"]: message for message in (client.receive() for _ in range(3))}
        assert replies[2]["result"] == {"text": "late"}
        for number in (3, 4):
            assert replies[number]["error"]["code"] == -32005
            assert "call_id" in replies[number]["error"]["data"]
        assert (server.stats.notifications, server.stats.calls_refused) == (1, 2)
        client.send(note("cancel", id=1))
        assert client.receive()["id"] == 1
        assert client.receive() is None
        assert draining.result(PATIENCE) is True
        assert len(flow.contexts) == 1


def test_what_was_sent_before_the_drain_is_carried_out_streams_excepted(loop_factory: LoopFactory) -> None:
    gate, flow = Gate(), Flow()
    limits = LIMITS._replace(calls_in_flight=1)
    services = (flow.service, service_of(gate.__call__))
    with running_server(*services, loop=loop_factory, limits=limits) as server, server.client() as client:
        client.send(request("probe.run", None, 1), echo("x", 2), start(request_id=3), echo("y", 4))
        server.in_flight(1)
        draining = drain(server)
        assert client.receive() == GOAWAY
        server.run(gate.open())
        messages = [client.receive() for _ in range(4)]
        assert [message["id"] for message in messages] == [1, 2, 3, 4]
        assert messages[2]["error"]["code"] == -32005
        assert client.receive() is None
        assert draining.result(PATIENCE) is True


def test_the_last_of_several_streams(loop_factory: LoopFactory) -> None:
    with serving(Flow(), loop=loop_factory) as (server, client):
        client.send(*(start(request_id=n, params={"count": 1}, credit=1) for n in (1, 2, 3)))
        assert {client.receive()["params"]["id"] for _ in range(3)} == {1, 2, 3}
        draining = drain(server)
        assert client.receive() == GOAWAY
        for number in (2, 1, 3):
            assert client.ask(credit(number, 1))["id"] == number
        assert client.receive() is None
        assert draining.result(PATIENCE) is True


def test_a_stream_that_has_not_ended_when_the_time_is_up(loop_factory: LoopFactory) -> None:
    flow = Flow()
    with serving(flow, loop=loop_factory) as (server, client):
        client.send(start(credit=1), start("flow.total", 2))
        assert {client.receive()["method"] for _ in range(2)} == {"rpc.item", "rpc.credit"}
        assert server.run(server.drain(0.05)) is False
        assert client.receive() == GOAWAY
        errors = {message["id"]: message["error"]["code"] for message in (client.receive() for _ in range(2))}
        assert errors == {1: -32004, 2: -32004}
        assert client.receive() is None
        assert flow.closed == 2


def test_a_peer_that_vanishes_while_its_stream_goes_on(loop_factory: LoopFactory) -> None:
    flow = Flow()
    with serving(flow, loop=loop_factory) as (server, client):
        client.send(start(credit=1))
        receive_items(client, 1, 0, 1)
        draining = drain(server)
        assert client.receive() == GOAWAY
        client.vanish()
        assert draining.result(PATIENCE) is True
        assert flow.closed == 1


def test_a_half_closed_peer_hears_of_it_too() -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__)) as server, server.client() as client:
        client.send(request("probe.run"))
        client.half_close()
        server.in_flight(1)
        draining = drain(server)
        assert client.receive() == GOAWAY
        server.run(gate.open())
        assert client.receive()["result"] == "through"
        assert client.receive() is None
        assert draining.result(PATIENCE) is True


def test_an_end_inside_a_frame_while_a_stream_is_open_is_lost_framing() -> None:
    """It is the peer's end, and not ours: nothing was refused yet."""
    with serving(Flow()) as (server, client):
        client.send(start(credit=1))
        receive_items(client, 1, 0, 1)
        draining = drain(server)
        assert client.receive() == GOAWAY
        client.send_raw(b"\0\0")
        client.half_close()
        assert client.receive()["error"]["code"] == -32700
        assert client.receive() is None
        assert draining.result(PATIENCE) is True
        assert server.logs.about(event="framing lost, connection closed")


def test_a_drain_at_the_moment_when_framing_is_lost(loop_factory: LoopFactory) -> None:
    """The connection is broken and not yet gone: nothing more is said on it."""

    async def drain_then(server: Running) -> bool:
        async with asyncio.timeout(PATIENCE):
            while not server.logs.about(event="framing lost, connection closed"):  # noqa: ASYNC110 - to the turn
                await asyncio.sleep(0)
        return await server.drain(PATIENCE)

    with running_server(loop=loop_factory) as server, server.client() as client, server.client() as other:
        assert client.ask(echo())["id"] == other.ask(echo())["id"] == 1
        draining = asyncio.run_coroutine_threadsafe(drain_then(server), server.loop)
        client.send_raw(bytes(4))
        assert client.receive()["error"]["code"] == -32700
        assert client.receive() is None
        assert other.receive() == GOAWAY
        assert other.receive() is None
        assert draining.result(PATIENCE) is True
