"""Cancellation: how it reaches handlers, what the caller hears, and that nothing is left."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from superd.context import Context
from superd.service import Service
from superd_client.builtin import Nothing
from superd_client.streams import Stream
from tests.daemon.raw import PATIENCE, RawClient, echo, note, request
from tests.daemon.running import LIMITS, Gate, LoopFactory, Running, running_server, service_of
from tests.daemon.streaming import Flow, receive_items, start


def cancel(request_id: object = 1) -> bytes:
    return note("cancel", id=request_id)


# --- rpc.cancel ------------------------------------------------------------------------------------------------


def test_a_call_that_runs(loop_factory: LoopFactory) -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__), loop=loop_factory) as server, server.client() as client:
        client.send(request("probe.run", None, "a", meta={"call_id": "c"}), request("probe.run", None, 2))
        server.in_flight(2)
        reply = client.ask(cancel("a"))
        assert reply == {
            "jsonrpc": "2.0",
            "id": "a",
            "error": {
                "code": -32004,
                "message": "the call was cancelled by its caller",
                "data": {"call_id": "c"},
            },
        }
        server.in_flight(1)
        assert gate.cancelled == 1
        assert server.logs.about(event="call failed", code=-32004, call_id="c", method="probe.run")
        # Its id is free again, and the other call goes on.
        client.send(request("probe.run", None, "a"))
        server.in_flight(2)
        server.run(gate.open())
        assert {client.receive()["id"] for _ in range(2)} == {"a", 2}


def test_a_call_that_was_not_begun(loop_factory: LoopFactory) -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__), loop=loop_factory) as server, server.client() as client:
        client.send(request("probe.run"), cancel())
        assert client.receive()["error"]["code"] == -32004
        assert (gate.cancelled, gate.running, server.stats.calls_in_flight) == (0, 0, 0)
        assert client.ask(echo())["id"] == 1


def test_a_call_that_was_answered(loop_factory: LoopFactory) -> None:
    with running_server(loop=loop_factory) as server, server.client() as client:
        assert client.ask(echo())["result"] == {"text": "hello"}
        client.send(cancel(), echo("x", 2), cancel(2))
        client.send(echo("x", 3))
        seen = [client.receive() for _ in range(2)]
        assert [message["id"] for message in seen] == [2, 3]
        assert server.stats.calls_refused == 0


@pytest.mark.parametrize("request_id", ["1", 7, "", -1, 2**53 - 1])
def test_an_id_that_is_not_in_flight(request_id: object) -> None:
    """Unknown, or another's: it has no effect."""
    gate = Gate()
    with (
        running_server(service_of(gate.__call__)) as server,
        server.client() as client,
        server.client() as other,
    ):
        client.send(request("probe.run", None, 1))
        other.send(request("probe.run", None, 7))
        server.in_flight(2)
        client.send(cancel(request_id))
        if request_id == "":
            error = client.receive()
            assert (error["id"], error["error"]["code"]) == (None, -32600)
        assert client.ask(echo("x", 3))["id"] == 3
        assert gate.cancelled == 0
        server.run(gate.open())
        assert client.receive()["id"] == 1
        assert other.receive()["result"] == "through"


@pytest.mark.parametrize("more", [{"reason": "x"}, {"id": None}, {"id": True}, {"id": 1.5}])
def test_a_cancel_that_is_none(more: dict[str, object]) -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__)) as server, server.client() as client:
        client.send(request("probe.run"))
        server.in_flight(1)
        error = client.ask(note("cancel", **({"id": 1} | more)))
        if "reason" in more:
            assert (error["id"], error["error"]["code"]) == (1, -32602)
            server.in_flight(0)
        else:
            assert (error["id"], error["error"]["code"]) == (None, -32600)
            assert gate.cancelled == 0
            client.send(cancel())
            assert client.receive()["error"]["code"] == -32004


@pytest.mark.parametrize("name", ["cancel", "credit", "item", "end", "goaway", "event"])
def test_the_names_of_notifications_are_no_methods(name: str) -> None:
    with running_server() as server, server.client() as client:
        error = client.ask(request(f"rpc.{name}", {"id": 1}, 5))
        assert (error["id"], error["error"]["code"]) == (5, -32601)


def test_a_goaway_from_a_client_has_no_effect() -> None:
    with running_server() as server, server.client() as client:
        client.send(note("goaway"), echo())
        assert client.receive()["id"] == 1
        assert server.stats.calls_refused == 0


# --- handlers on the loop ----------------------------------------------------------------------------------------


def test_the_answer_does_not_wait_for_the_handler(loop_factory: LoopFactory) -> None:
    """What it still does counts as work of its caller."""
    cleaning, clean = asyncio.Event(), asyncio.Event()

    async def slow_to_end(params: Nothing, context: Context) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await clean.wait()
        return ""

    async def let_end() -> None:
        clean.set()

    limits = LIMITS._replace(calls_in_flight=1)
    with (
        running_server(service_of(slow_to_end), loop=loop_factory, limits=limits) as server,
        server.client() as client,
    ):
        client.send(request("probe.run"), echo("x", 2))
        server.in_flight(1)
        # At its limit nothing is read, so it is the drain or a deadline that ends it; here a vanished limit.
        client.vanish()
        server.until(cleaning.is_set)
        assert server.stats.calls_in_flight == 1
        server.run(let_end())
        server.wait(lambda stats: stats.connections_open == 0, "the connection is gone")
        assert server.stats.calls_in_flight == 0


class Stubborn:
    """A handler that swallows its cancellation, and what it then does."""

    def __init__(self, then: Callable[[], Any]) -> None:
        self.then = then
        self.cancelled = 0
        self.leave = asyncio.Event()

    async def __call__(self, params: Nothing, context: Context) -> str:
        while not self.leave.is_set():
            try:
                await self.leave.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
        result: str = self.then()
        return result

    async def let_go(self) -> None:
        self.leave.set()


def fail() -> Any:
    raise LookupError("after its cancellation")


def cancel_itself() -> Any:
    raise asyncio.CancelledError


@pytest.mark.parametrize("then", [lambda: "late", lambda: 17, fail, cancel_itself])
def test_a_handler_that_swallows_its_cancellation(loop_factory: LoopFactory, then: Callable[[], Any]) -> None:
    """Its caller hears of it at once, and only once; the work counts until it ends."""
    stubborn = Stubborn(then)
    with running_server(service_of(stubborn), loop=loop_factory) as server, server.client() as client:
        client.send(request("probe.run", meta={"call_id": "c"}))
        server.in_flight(1)
        assert client.ask(cancel())["error"]["code"] == -32004
        client.send(cancel())
        assert client.ask(echo("x", 2))["id"] == 2
        assert (stubborn.cancelled, server.stats.calls_in_flight) == (1, 1)
        server.run(stubborn.let_go())
        server.in_flight(0)
        assert client.ask(echo("x", 3))["id"] == 3
        assert (server.stats.calls_failed, server.stats.calls_served) == (1, 2)
        later = server.logs.about(event="a cancelled call raised an exception", call_id="c")
        assert len(later) == (then is fail)


def test_what_goes_on_after_its_answer_counts_for_backpressure() -> None:
    """A peer that begins and cancels without end gets no further than one that only begins."""
    stubborn = Stubborn(lambda: "")
    limits = LIMITS._replace(calls_in_flight=3)
    with running_server(service_of(stubborn), limits=limits) as server, server.client() as client:
        for number in range(3):
            client.send(request("probe.run", None, number), cancel(number))
        # Those that were cancelled before they began are over.
        for _ in range(3):
            client.receive()
        for number in range(3):
            client.send(request("probe.run", None, number))
            server.in_flight(number + 1)
            if number < 2:
                assert client.ask(cancel(number))["error"]["code"] == -32004
        client.send(echo("x", 9))
        server.turn()
        assert server.stats.calls_served == 50
        server.run(stubborn.let_go())
        assert {client.receive()["id"] for _ in range(2)} == {2, 9}


def test_a_cancelled_error_of_its_own_is_an_internal_error() -> None:
    async def handler(params: Nothing, context: Context) -> str:
        raise asyncio.CancelledError

    with running_server(service_of(handler)) as server, server.client() as client:
        assert client.ask(request("probe.run"))["error"]["code"] == -32603


# --- handlers on threads -----------------------------------------------------------------------------------------


def ways_to_cancel() -> dict[str, Callable[[Running, RawClient], None]]:
    return {
        "rpc.cancel": lambda server, client: client.send(cancel()),
        "vanish": lambda server, client: client.vanish(),
        "lost framing": lambda server, client: client.send_raw(bytes(4)),
        "drain": lambda server, client: assert_false(server.run(server.drain(0.01))),
    }


def assert_false(value: object) -> None:
    assert value is False


@pytest.mark.parametrize("way", list(ways_to_cancel()))
def test_the_context_tells_a_thread(way: str) -> None:
    asked, told = threading.Event(), list[bool]()

    def wait(params: Nothing, context: Context) -> str:
        event = context.cancelled
        assert event is context.cancelled
        asked.set()
        told.append(event.wait(PATIENCE))
        return "in vain"

    with running_server(service_of(wait)) as server:
        client = server.client()
        client.send(request("probe.run"))
        assert asked.wait(PATIENCE)
        ways_to_cancel()[way](server, client)
        server.changes.wait_for(lambda: server.stats.calls_in_flight == 0, "the call has ended")
        client.vanish()
    assert told == [True]


def test_it_is_set_also_for_who_asks_later() -> None:
    context = Context(method="a.b", call_id="c", caller=None, state=None)  # type: ignore[arg-type]
    context.cancel()
    assert context.cancelled.is_set()
    early = Context(method="a.b", call_id="c", caller=None, state=None)  # type: ignore[arg-type]
    assert not early.cancelled.is_set()
    early.cancel()
    assert early.cancelled.is_set()


def test_the_thread_of_a_cancelled_call_goes_on_and_its_result_is_dropped() -> None:
    entered, leave = threading.Event(), threading.Event()

    def block(params: Nothing, context: Context) -> str:
        entered.set()
        assert leave.wait(PATIENCE)
        return "nobody reads this"

    with running_server(service_of(block)) as server, server.client() as client:
        client.send(request("probe.run"))
        assert entered.wait(PATIENCE)
        assert client.ask(cancel())["error"]["code"] == -32004
        leave.set()
        assert client.ask(request("probe.run"))["result"] == "nobody reads this"
        assert client.ask(echo("x", 3))["id"] == 3


# --- streams -------------------------------------------------------------------------------------------------------


def stream_of(handler: Any) -> Service:
    service = Service("probe")
    service.method(Stream("probe.run", Nothing, int))(handler)
    return service


@pytest.mark.parametrize("method", ["flow.numbers", "flow.plain", "flow.total", "flow.plain_total"])
def test_streams_and_uploads(loop_factory: LoopFactory, method: str) -> None:
    flow = Flow()
    with running_server(flow.service, loop=loop_factory) as server, server.client() as client:
        client.send(start(method, credit=1))
        client.receive()
        server.until(lambda: flow.open == 1)
        client.send(cancel())
        assert client.receive()["error"]["code"] == -32004
        server.until(lambda: flow.closed == 1)
        assert flow.contexts[0].cancelled.is_set()
        client.send(
            note("credit", id=1, n=5), note("item", id=1, seq=0, item={}), note("end", id=1), cancel()
        )
        assert client.ask(echo())["id"] == 1
        server.in_flight(0)
        assert server.stats.calls_failed == 1


def test_a_generator_is_closed_where_it_waits(loop_factory: LoopFactory) -> None:
    flow = Flow()
    flow.gate.clear()
    with running_server(flow.service, loop=loop_factory) as server, server.client() as client:
        client.send(start())
        server.until(lambda: flow.open == 1)
        assert client.ask(cancel())["error"]["code"] == -32004
        server.in_flight(0)
        assert flow.closed == 1


def test_a_plain_generator_is_closed_after_the_step_that_runs() -> None:
    entered, leave, closed = threading.Event(), threading.Event(), list[str]()

    def block(params: Nothing, context: Context) -> Iterator[int]:
        try:
            yield 1
            entered.set()
            assert leave.wait(PATIENCE)
            yield 2
            closed.append("too far")
        finally:
            closed.append(threading.current_thread().name)

    with running_server(stream_of(block)) as server, server.client() as client:
        client.send(request("probe.run"))
        receive_items(client, 1, 0, 1)
        assert entered.wait(PATIENCE)
        assert client.ask(cancel())["error"]["code"] == -32004
        leave.set()
        server.until(lambda: len(closed) == 1)
        assert closed[0].startswith("ThreadPoolExecutor")


def test_a_plain_generator_that_fails_while_it_is_closed() -> None:
    def stubborn(params: Nothing, context: Context) -> Iterator[int]:
        with contextlib.suppress(GeneratorExit):
            yield 1
        yield 2

    with running_server(stream_of(stubborn)) as server, server.client() as client:
        client.send(request("probe.run", meta={"credit": 1, "call_id": "c"}))
        receive_items(client, 1, 0, 1)
        assert client.ask(cancel())["error"]["code"] == -32004
        server.logs.wait(event="a generator failed when it was closed", call_id="c")
        assert client.ask(echo())["id"] == 1


@pytest.mark.parametrize("swallows_close", [False, True])
def test_a_generator_that_swallows_its_cancellation(loop_factory: LoopFactory, swallows_close: bool) -> None:
    """It goes on to its next item at most."""
    waiting, swallowed = asyncio.Event(), list[str]()

    async def stubborn(params: Nothing, context: Context) -> AsyncIterator[int]:
        try:
            waiting.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.append("cancellation")
        try:
            yield 1
        except GeneratorExit:
            swallowed.append("close")
            if not swallows_close:
                raise

    with running_server(stream_of(stubborn), loop=loop_factory) as server, server.client() as client:
        client.send(request("probe.run", meta={"call_id": "c"}))
        server.until(waiting.is_set)
        assert client.ask(cancel())["error"]["code"] == -32004
        server.in_flight(0)
        assert swallowed == ["cancellation", "close"]
        assert client.ask(echo())["id"] == 1


# --- the drain -----------------------------------------------------------------------------------------------------


def test_everything_is_cancelled_when_the_time_is_up(loop_factory: LoopFactory) -> None:
    flow, gate = Flow(), Gate()
    services = (flow.service, service_of(gate.__call__))
    with running_server(*services, loop=loop_factory) as server, server.client() as client:
        client.send(start(request_id=1, credit=1), start("flow.total", 2), request("probe.run", None, 3))
        client.send(request("probe.run", None, None))
        server.in_flight(4)
        assert server.run(server.drain(0.05)) is False
        codes = {}
        while (message := client.receive()) is not None:
            if "error" in message:
                codes[message["id"]] = message["error"]["code"]
        assert codes == {1: -32004, 2: -32004, 3: -32004}
        assert (gate.cancelled, flow.closed) == (2, 2)
        assert server.stats.notifications_failed == 1
