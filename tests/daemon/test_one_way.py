"""One-way calls: carried out whether their sender stays or not, counted, and their errors logged."""

import asyncio

import pytest

from superd.context import Context
from superd.service import Service
from superd_client.builtin import Nothing
from superd_client.contract import Message, Method
from superd_client.errors import ApplicationError
from tests.daemon.raw import echo, note, request
from tests.daemon.running import LIMITS, Gate, LoopFactory, running_server, service_of


class Unlucky(Message):
    value: int


class Tally:
    """Counts its calls, each of which waits until the test opens it."""

    def __init__(self) -> None:
        self.begun = 0
        self.done = 0
        self.gate = asyncio.Event()
        self.service = Service("probe")
        self.service.method(Method("probe.run", Nothing, str))(self.run)

    async def run(self, params: Nothing, context: Context) -> str:
        self.begun += 1
        await self.gate.wait()
        self.done += 1
        return ""

    async def open(self) -> None:
        self.gate.set()


def one_way(method: str = "probe.run", **meta: object) -> bytes:
    return request(method, None, None, **({"meta": meta} if meta else {}))


def test_it_is_carried_out_though_its_sender_is_gone(loop_factory: LoopFactory) -> None:
    tally = Tally()
    with running_server(tally.service, loop=loop_factory) as server:
        client = server.client()
        client.send(one_way(), one_way(), request("probe.run"))
        server.in_flight(3)
        client.vanish()
        server.in_flight(2)
        server.run(tally.open())
        server.wait(lambda stats: stats.connections_open == 0, "the connection is gone")
        assert (tally.done, server.stats.notifications, server.stats.calls_served) == (2, 2, 2)
        assert server.stats.notifications_failed == 0


def test_a_sender_that_vanishes_at_once(loop_factory: LoopFactory) -> None:
    """All that it had sent is read and carried out, as many at a time as may run."""
    tally = Tally()
    limits = LIMITS._replace(calls_in_flight=4)
    with running_server(tally.service, loop=loop_factory, limits=limits) as server:
        client = server.client()
        client.send(*(one_way() for _ in range(300)))
        client.vanish()
        server.until(lambda: tally.begun == 4)
        server.turn()
        assert tally.begun == 4
        server.run(tally.open())
        server.wait(lambda stats: stats.connections_open == 0, "the connection is gone")
        assert tally.done == server.stats.notifications == 300


def test_requests_that_its_sender_does_not_wait_for_are_not_begun(loop_factory: LoopFactory) -> None:
    """At its limit nothing is read: what waits there is read when a place is free."""
    tally = Tally()
    limits = LIMITS._replace(calls_in_flight=1)
    with running_server(tally.service, loop=loop_factory, limits=limits) as server:
        client = server.client()
        client.send(one_way(), *(request("probe.run", None, n) for n in range(5)), one_way(), one_way())
        server.in_flight(1)
        client.vanish()
        server.turn()
        server.run(tally.open())
        server.wait(lambda stats: stats.connections_open == 0, "the connection is gone")
        assert (tally.begun, tally.done) == (3, 3)
        assert len(server.logs.about(event="peer vanished, call cancelled")) == 5
        assert server.stats.calls_failed == 5


@pytest.mark.parametrize("unread", [False, True])
def test_what_waits_in_the_kernel_is_carried_out(loop_factory: LoopFactory, unread: bool) -> None:
    """Also where the sender leaves replies unread, which the kernel tells as an error."""
    tally = Tally()
    limits = LIMITS._replace(calls_in_flight=1)
    with running_server(tally.service, loop=loop_factory, limits=limits) as server:
        client = server.client()
        if unread:
            client.send(echo())
            server.wait(lambda stats: stats.calls_served == 1, "the reply is there")
        client.send(one_way())
        server.in_flight(1)
        frames = 1 + client.fill(b"".join([len(one_way()).to_bytes(4, "big"), one_way()])) // (
            4 + len(one_way())
        )
        client.vanish()
        server.turn()
        server.run(tally.open())
        server.wait(lambda stats: stats.connections_open == 0, "the connection is gone")
        assert tally.done == frames > 100


def test_it_is_carried_out_though_framing_is_lost_after_it(loop_factory: LoopFactory) -> None:
    tally = Tally()
    with running_server(tally.service, loop=loop_factory) as server, server.client() as client:
        client.send(one_way(), request("probe.run"))
        server.in_flight(2)
        client.send_raw(bytes(4))
        assert client.receive()["error"]["code"] == -32700
        server.in_flight(1)
        server.run(tally.open())
        server.wait(lambda stats: stats.connections_open == 0, "the connection is gone")
        assert tally.done == 1


def test_a_drain_waits_for_it(loop_factory: LoopFactory) -> None:
    tally = Tally()
    with running_server(tally.service, loop=loop_factory) as server:
        client = server.client()
        client.send(one_way())
        server.in_flight(1)
        client.vanish()
        draining = asyncio.run_coroutine_threadsafe(server.drain(10), server.loop)
        server.run(tally.open())
        assert draining.result(10) is True
        assert tally.done == 1


def test_its_errors_are_in_the_log_and_counted() -> None:
    async def unlucky(params: Nothing, context: Context) -> str:
        raise ApplicationError(Unlucky(value=1), "no luck")

    async def broken(params: Nothing, context: Context) -> str:
        raise LookupError("secret")

    async def lie(params: Nothing, context: Context) -> str:
        return 1  # type: ignore[return-value]

    service = Service("probe")
    for name, handler in (("unlucky", unlucky), ("broken", broken), ("lie", lie)):
        service.method(Method(f"probe.{name}", Nothing, str, errors=[Unlucky]))(handler)
    with running_server(service) as server, server.client() as client:
        for name in ("unlucky", "broken", "lie", "missing"):
            client.send(one_way(f"probe.{name}", call_id=f"c-{name}"))
        client.send(request("echo.echo", {"text": 1}, None, meta={"call_id": "c-params"}))
        assert client.ask(echo())["id"] == 1
        codes = {line["call_id"]: line["code"] for line in server.logs.wait(5)}
        assert codes == {
            "c-unlucky": -32000,
            "c-broken": -32603,
            "c-lie": -32603,
            "c-missing": -32601,
            "c-params": -32602,
        }
        stats = server.stats
        assert (stats.notifications, stats.notifications_failed) == (3, 5)
        assert (stats.calls_failed, stats.calls_refused, stats.calls_served) == (3, 2, 1)


def test_a_cancel_cannot_name_it() -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__)) as server, server.client() as client:
        client.send(one_way())
        server.in_flight(1)
        client.send(note("cancel", id=1))
        assert client.ask(echo())["id"] == 1
        assert gate.cancelled == 0
        server.run(gate.open())
        server.in_flight(0)
