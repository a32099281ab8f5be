"""Uploads: items in as many as credit was given, their end, and what a peer can do wrong with them."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import CancelledError
from typing import Any

import pytest

from superd.service import Context, Service
from superd_client.builtin import Nothing
from superd_client.streams import Upload
from superd_client.wire.limits import STREAM_CREDIT_DEFAULT
from tests.daemon.raw import PATIENCE, RawClient, echo, note
from tests.daemon.running import LIMITS, LoopFactory, Running, running_server
from tests.daemon.streaming import Flow, start

BOTH = pytest.mark.parametrize("method", ["flow.total", "flow.plain_total"])

GRANT = STREAM_CREDIT_DEFAULT // 2


@contextlib.contextmanager
def serving(flow: Flow, **options: Any) -> Iterator[tuple[Running, RawClient]]:
    with running_server(flow.service, **options) as server, server.client() as client:
        yield server, client


def opened(
    client: RawClient, method: str, request_id: object = 1, params: object = None, **meta: object
) -> None:
    """Open an upload, and take its first credit."""
    client.send(start(method, request_id, params, **meta))
    assert client.receive() == credit(request_id, STREAM_CREDIT_DEFAULT)


def credit(request_id: object, n: int) -> dict[str, object]:
    return {"jsonrpc": "2.0", "method": "rpc.credit", "params": {"id": request_id, "n": n}}


def number(request_id: object, seq: object, value: object = None) -> bytes:
    return note("item", id=request_id, seq=seq, item={"value": seq if value is None else value})


def end(request_id: object = 1) -> bytes:
    return note("end", id=request_id)


# --- items and their end ---------------------------------------------------------------------------------------


@BOTH
def test_items_and_a_result(loop_factory: LoopFactory, method: str) -> None:
    flow = Flow()
    with serving(flow, loop=loop_factory) as (server, client):
        opened(client, method, "u")
        client.send(*(number("u", seq) for seq in range(10)), end("u"))
        assert client.receive() == {"jsonrpc": "2.0", "id": "u", "result": 45}
        assert flow.taken == list(range(10))
        assert client.ask(echo())["id"] == 1
        assert (server.stats.calls_served, server.stats.calls_failed) == (2, 0)


@BOTH
def test_an_upload_without_items(method: str) -> None:
    with serving(Flow()) as (_, client):
        opened(client, method)
        assert client.ask(end())["result"] == 0


@BOTH
def test_a_reply_before_the_end(loop_factory: LoopFactory, method: str) -> None:
    """What comes after it has no effect: it may have crossed the reply."""
    with serving(Flow(), loop=loop_factory) as (server, client):
        opened(client, method, params={"count": 3})
        client.send(*(number(1, seq) for seq in range(10)))
        assert client.receive()["result"] == 3
        client.send(number(1, 10), end(), end(), echo("x", 2))
        assert client.receive()["id"] == 2
        assert server.stats.calls_refused == server.stats.calls_failed == 0


@BOTH
def test_credit_is_given_for_what_was_taken(loop_factory: LoopFactory, method: str) -> None:
    flow = Flow()
    with serving(flow, loop=loop_factory) as (_, client):
        opened(client, method)
        client.send(*(number(1, seq) for seq in range(STREAM_CREDIT_DEFAULT)))
        assert [client.receive() for _ in range(2)] == [credit(1, GRANT)] * 2
        more = range(STREAM_CREDIT_DEFAULT, STREAM_CREDIT_DEFAULT + GRANT)
        client.send(*(number(1, seq) for seq in more))
        assert client.receive() == credit(1, GRANT)
        client.send(end())
        assert client.receive()["result"] == sum(flow.taken)


def test_a_handler_that_takes_nothing_gives_no_credit(loop_factory: LoopFactory) -> None:
    """So no more than the first credit waits for it, whatever the peer sends."""
    flow = Flow()
    flow.gate.clear()
    with serving(flow, loop=loop_factory) as (server, client):
        opened(client, "flow.total", 1)
        opened(client, "flow.plain_total", 2)
        client.send(*(number(1, seq) for seq in range(STREAM_CREDIT_DEFAULT)))
        client.send(*(number(2, seq) for seq in range(5)), end(2))
        assert client.receive() == {"jsonrpc": "2.0", "id": 2, "result": 10}
        assert client.ask(echo("x", 3))["id"] == 3
        assert len(flow.taken) == 6
        server.run(open_gate(flow))
        assert [client.receive() for _ in range(2)] == [credit(1, GRANT)] * 2


async def open_gate(flow: Flow) -> None:
    flow.gate.set()


def test_several_tasks_may_share_the_items() -> None:
    async def share(params: Nothing, items: AsyncIterator[int], context: Context) -> list[int]:
        async def take() -> list[int]:
            return [each async for each in items]

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(take()) for _ in range(3)]
        return sorted(each for task in tasks for each in task.result())

    with running_server(upload_of(share, list[int])) as server, server.client() as client:
        opened(client, "probe.run")
        client.send(*(note("item", id=1, seq=seq, item=seq) for seq in range(10)), end())
        assert client.receive()["result"] == list(range(10))


def upload_of(handler: Any, result: Any = int) -> Service:
    """A service `probe` of one upload of whole numbers, `probe.run`."""
    service = Service("probe")
    service.method(Upload("probe.run", Nothing, int, result))(handler)
    return service


def test_many_uploads_side_by_side(loop_factory: LoopFactory) -> None:
    with serving(Flow(), loop=loop_factory) as (_, client):
        for request_id in range(1, 101):
            opened(client, "flow.total", request_id)
        for seq in range(3):
            client.send(*(number(request_id, seq, request_id) for request_id in range(1, 101)))
        client.send(*(end(request_id) for request_id in range(1, 101)))
        assert {client.receive()["id"] for _ in range(100)} == set(range(1, 101))


# --- handlers ---------------------------------------------------------------------------------------------------


async def without_items(params: Nothing, context: Context) -> int:
    return 1


async def yielding(params: Nothing, items: AsyncIterator[int], context: Context) -> AsyncIterator[int]:
    yield 1


def test_what_is_no_handler_of_an_upload() -> None:
    with pytest.raises(TypeError, match=r"cannot be called as handler\(params, items, context\)"):
        upload_of(without_items)
    with pytest.raises(TypeError, match="must return and not yield: it is an upload, and no stream"):
        upload_of(yielding)


@BOTH
def test_a_declared_error(method: str) -> None:
    with serving(Flow()) as (server, client):
        opened(client, method, params={"unlucky": 2})
        client.send(*(number(1, seq) for seq in range(5)))
        error = client.receive()["error"]
        assert (error["code"], error["data"]["detail"]) == (-32000, {"value": 2})
        assert client.ask(echo())["id"] == 1
        assert server.stats.calls_failed == 1


# --- what a peer does wrong --------------------------------------------------------------------------------------


@BOTH
def test_an_item_without_credit(loop_factory: LoopFactory, method: str) -> None:
    flow = Flow()
    flow.gate.clear()
    blocked, leave = threading.Event(), threading.Event()

    def block(params: Nothing, items: Iterator[int], context: Context) -> int:
        blocked.set()
        assert leave.wait(PATIENCE)
        return sum(items)

    service = flow.service if method == "flow.total" else upload_of(block)
    name = method if method == "flow.total" else "probe.run"
    with running_server(service, loop=loop_factory) as server, server.client() as client:
        opened(client, name)
        send = number if method == "flow.total" else whole
        client.send(*(send(1, seq) for seq in range(STREAM_CREDIT_DEFAULT)))
        assert client.ask(echo("x", 2))["id"] == 2
        # The handler on the loop has taken one, which is not enough for new credit.
        error = client.ask(send(1, STREAM_CREDIT_DEFAULT))
        assert (error["id"], error["error"]["code"]) == (1, -32600)
        assert "credit" in error["error"]["message"]
        leave.set()
        assert client.ask(echo())["id"] == 1


def whole(request_id: object, seq: int) -> bytes:
    return note("item", id=request_id, seq=seq, item=seq)


@pytest.mark.parametrize("seq", [0, 2, 2**53 - 1])
@BOTH
def test_an_item_out_of_order(method: str, seq: int) -> None:
    flow = Flow()
    with serving(flow) as (server, client):
        opened(client, method)
        client.send(number(1, 0))
        error = client.ask(number(1, seq))
        assert (error["id"], error["error"]["code"]) == (1, -32600)
        server.in_flight(0)
        server.until(lambda: flow.closed == 1)
        assert client.ask(echo())["id"] == 1


@pytest.mark.parametrize("seq", [-1, "0", 1.0, None])
def test_an_item_whose_number_is_none(seq: object) -> None:
    with serving(Flow()) as (_, client):
        opened(client, "flow.total")
        error = client.ask(number(1, seq, 1))
        assert (error["id"], error["error"]["code"]) == (1, -32602)


def ask_all(client: RawClient, *bodies: bytes) -> Any:
    client.send(*bodies)
    return client.receive()


@pytest.mark.parametrize("more", [number(1, 1), end()])
def test_what_comes_after_the_end(more: bytes) -> None:
    flow = Flow()
    flow.gate.clear()
    with serving(flow) as (_, client):
        opened(client, "flow.total")
        error = ask_all(client, number(1, 0), end(), more)
        assert (error["id"], error["error"]["code"]) == (1, -32600)
        assert client.ask(echo())["id"] == 1


@BOTH
def test_an_item_that_its_model_refuses(method: str) -> None:
    flow = Flow()
    with serving(flow) as (server, client):
        opened(client, method)
        error = client.ask(note("item", id=1, seq=0, item={"value": "1", "more": 1}))
        assert (error["id"], error["error"]["code"]) == (1, -32602)
        assert [fault["loc"] for fault in error["error"]["data"]["errors"]] == [
            ["value"],
            ["more"],
        ]
        server.until(lambda: flow.closed == 1)
        assert client.ask(echo())["id"] == 1


def test_items_for_what_is_no_upload_have_no_effect() -> None:
    """Never opened, finished, of another connection, a stream, a call."""
    flow = Flow()
    flow.gate.clear()
    with serving(flow) as (server, client), server.client() as other:
        opened(other, "flow.total", 5)
        opened(client, "flow.total", 6)
        assert client.ask(end(6))["result"] == 0
        client.send(start("flow.numbers", 7))
        for request_id in (5, 6, 7, "never"):
            client.send(number(request_id, 0), end(request_id))
        assert client.ask(echo())["id"] == 1
        assert server.stats.calls_refused == server.stats.calls_failed == 0
        assert flow.taken == []
        server.run(open_gate(flow))
        assert client.receive()["method"] == "rpc.item"
        assert other.ask(end(5))["result"] == 0


# --- the end of the connection -----------------------------------------------------------------------------------


@BOTH
def test_a_peer_that_half_closes_before_the_end(loop_factory: LoopFactory, method: str) -> None:
    """What it had sent is taken; what the handler waits for cannot come."""
    flow = Flow()
    with serving(flow, loop=loop_factory) as (_, client):
        opened(client, method)
        client.send(*(number(1, seq) for seq in range(5)))
        client.half_close()
        assert client.receive()["error"]["code"] == -32004
        assert client.receive() is None
        assert flow.taken == [0, 1, 2, 3, 4]


@BOTH
def test_a_peer_that_half_closes_after_the_end(loop_factory: LoopFactory, method: str) -> None:
    with serving(Flow(), loop=loop_factory) as (_, client):
        opened(client, method)
        client.send(*(number(1, seq) for seq in range(5)), end())
        client.half_close()
        assert client.receive()["result"] == 10
        assert client.receive() is None


def test_a_handler_on_a_thread_that_waits_for_items_is_woken() -> None:
    raised = list[type[BaseException]]()
    began = threading.Event()

    def wait(params: Nothing, items: Iterator[int], context: Context) -> int:
        began.set()
        try:
            return sum(items)
        except BaseException as error:
            raised.append(type(error))
            raise

    with running_server(upload_of(wait), workers=1) as server:
        for vanishes in (True, False):
            with server.client() as client:
                opened(client, "probe.run")
                client.send(whole(1, 0))
                assert began.wait(PATIENCE)  # what is cancelled before its thread's turn does not begin
                began.clear()
                if vanishes:
                    client.vanish()
                else:
                    client.send(note("cancel", id=1))
                server.until(lambda: raised == [CancelledError])
                raised.clear()


def test_a_thousand_uploads_opened_and_abandoned() -> None:
    flow = Flow()
    limits = LIMITS._replace(streams=100)
    with serving(flow, limits=limits) as (server, client):
        for first in range(0, 1000, 50):
            several = range(first, first + 50)
            client.send(
                *(start("flow.total", n) for n in several),
                *(number(n, 0) for n in several),
                *(note("cancel", id=n) for n in several),
            )
            seen = [client.receive() for _ in range(100)]
            assert sum("error" in message for message in seen) == 50
        server.in_flight(0)
        assert (flow.open, server.stats.calls_failed) == (0, 1000)
