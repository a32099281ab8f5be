"""Streams: items against credit and room, their end, their limit, and what a peer can do wrong with them."""

import contextlib
import functools
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from superd.service import Context, Service
from superd.work import Work
from superd_client.builtin import Nothing
from superd_client.contract import Method
from superd_client.streams import Stream
from superd_client.wire.limits import CREDIT_MAX, STREAM_CREDIT_DEFAULT
from tests.daemon.raw import RawClient, echo, note, request
from tests.daemon.running import LIMITS, LOOPS, LoopFactory, Running, running_server
from tests.daemon.streaming import Flow, credit, receive_items, start

BOTH = pytest.mark.parametrize("method", ["flow.numbers", "flow.plain"])


@contextlib.contextmanager
def serving(flow: Flow, **options: Any) -> Iterator[tuple[Running, RawClient]]:
    with running_server(flow.service, **options) as server, server.client() as client:
        yield server, client


def stream_of(handler: Callable[..., Any], *, item: Any = int) -> Service:
    """A service `probe` of one stream, `probe.run`, without params."""
    service = Service("probe")
    service.method(Stream("probe.run", Nothing, item))(handler)
    return service


# --- items and their end ---------------------------------------------------------------------------------------


@BOTH
def test_items_in_order_and_a_result(loop_factory: LoopFactory, method: str) -> None:
    flow = Flow()
    with serving(flow, loop=loop_factory) as (server, client):
        client.send(start(method, "s", {"count": 10}))
        assert receive_items(client, "s", 0, 10) == [{"value": n, "text": ""} for n in range(10)]
        assert client.receive() == {"jsonrpc": "2.0", "id": "s", "result": None}
        assert client.ask(echo())["id"] == 1
        assert (server.stats.calls_served, server.stats.calls_failed, flow.closed) == (2, 0, 1)


@BOTH
def test_a_stream_without_items(method: str) -> None:
    with serving(Flow()) as (_, client):
        assert client.ask(start(method, 1, {"count": 0})) == {"jsonrpc": "2.0", "id": 1, "result": None}


class Handlers:
    async def on_the_loop(self, params: Nothing, context: Context) -> AsyncIterator[int]:
        yield 1

    def on_a_thread(self, params: Nothing, context: Context) -> Iterator[int]:
        yield 1


class AsyncCallable:
    async def __call__(self, params: Nothing, context: Context) -> AsyncIterator[int]:
        yield 1


class PlainCallable:
    def __call__(self, params: Nothing, context: Context) -> Iterator[int]:
        yield 1


async def with_more(first: int, params: Nothing, context: Context) -> AsyncIterator[int]:
    yield first


@pytest.mark.parametrize(
    "handler",
    [
        Handlers().on_the_loop,
        Handlers().on_a_thread,
        AsyncCallable(),
        PlainCallable(),
        functools.partial(with_more, 1),
    ],
)
def test_kinds_of_handlers(handler: Any) -> None:
    with running_server(stream_of(handler)) as server, server.client() as client:
        client.send(request("probe.run"))
        assert receive_items(client, 1, 0, 1) == [1]
        assert client.receive()["result"] is None


async def no_generator(params: Nothing, context: Context) -> int:
    return 1


def no_plain_generator(params: Nothing, context: Context) -> Iterator[int]:
    return iter([1])


async def generator(params: Nothing, context: Context) -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("handler", [no_generator, no_plain_generator, lambda params, context: 1])
def test_a_stream_needs_a_generator(handler: Any) -> None:
    with pytest.raises(TypeError, match=r"handler of probe\.run must be a generator .* it is a stream"):
        stream_of(handler)


@pytest.mark.parametrize("handler", [generator, Handlers().on_a_thread, AsyncCallable()])
def test_a_method_needs_no_generator(handler: Any) -> None:
    with pytest.raises(TypeError, match="must return and not yield: it is a call, and no stream"):
        Service("probe").method(Method("probe.run", Nothing, int))(handler)


def test_a_stream_needs_an_id() -> None:
    with serving(Flow()) as (server, client):
        client.send(request("flow.numbers", {}, None, meta={"call_id": "c"}))
        assert client.ask(echo())["id"] == 1
        (line,) = server.logs.about(event="call refused", call_id="c", code=-32600)
        assert "id" in line["reason"]
        assert server.stats.notifications_failed == 1


# --- credit ----------------------------------------------------------------------------------------------------


@BOTH
def test_an_item_is_made_against_credit(loop_factory: LoopFactory, method: str) -> None:
    """None is made in advance, and none without credit."""
    flow = Flow()
    with serving(flow, loop=loop_factory) as (server, client):
        client.send(start(method, credit=3))
        receive_items(client, 1, 0, 3)
        server.turn()
        assert flow.made == 3
        client.send(credit(1, 2), credit(1, 1))
        receive_items(client, 1, 3, 3)
        server.turn()
        assert flow.made == 6
        client.send(note("cancel", id=1))
        assert client.receive()["error"]["code"] == -32004


def test_the_default_credit() -> None:
    flow = Flow()
    with serving(flow) as (server, client):
        client.send(start())
        receive_items(client, 1, 0, STREAM_CREDIT_DEFAULT)
        server.turn()
        assert flow.made == STREAM_CREDIT_DEFAULT


def test_the_largest_credit_is_a_stream_without_bounds() -> None:
    with serving(Flow()) as (_, client):
        client.send(start(params={"count": 5000}, credit=CREDIT_MAX))
        receive_items(client, 1, 0, 5000)
        assert client.receive()["result"] is None


def test_a_thousand_streams_side_by_side(loop_factory: LoopFactory) -> None:
    flow = Flow()
    # This client reads and writes in turn: with less room it would wait for the server, and the server for it.
    limits = LIMITS._replace(write_buffer=1 << 20)
    with serving(flow, loop=loop_factory, limits=limits) as (server, client):
        client.send(*(start(request_id=n, params={"count": 3}, credit=1) for n in range(1, 1001)))
        seen = dict.fromkeys(range(1, 1001), 0)
        ended = set[int]()
        while len(ended) < 1000:
            message = client.receive()
            if "result" in message:  # some end before others have made their last item
                assert seen[message["id"]] == 3
                ended.add(message["id"])
                continue
            params = message["params"]
            assert params["seq"] == params["item"]["value"] == seen[params["id"]]
            seen[params["id"]] += 1
            client.send(credit(params["id"], 1))
        assert ended == set(seen)
        assert server.stats.calls_served == 1000


def test_a_stream_without_credit_keeps_nobody_waiting() -> None:
    with serving(Flow()) as (server, client), server.client() as other:
        client.send(start(request_id=1, credit=1), start(request_id=2, params={"count": 500}, credit=501))
        seen = [client.receive()["params"]["id"] for _ in range(501)]
        assert (seen.count(1), seen.count(2)) == (1, 500)
        assert client.receive()["id"] == 2
        assert other.ask(echo())["id"] == 1


@BOTH
def test_a_peer_that_does_not_read_stops_its_producer(loop_factory: LoopFactory, method: str) -> None:
    flow = Flow()
    limits = LIMITS._replace(write_buffer=1 << 16)
    with serving(flow, loop=loop_factory, limits=limits) as (server, client):
        client.send(start(method, params={"size": 1000}, credit=CREDIT_MAX))
        made = until_it_rests(server, flow)
        assert made < 1000, "what the kernel takes, and 64 KiB"
        # It goes on when the peer reads, and no item is lost.
        receive_items(client, 1, 0, made + 1000)
        client.send(note("cancel", id=1))


def until_it_rests(server: Running, flow: Flow) -> int:
    """Have others served until the producer stops; how many items it made."""
    made = -1
    while flow.made != made:
        made = flow.made
        server.turn(100)
    return made


def test_streams_share_the_room(loop_factory: LoopFactory) -> None:
    """Items as large as all the room: each stream has its turn."""
    limits = LIMITS._replace(write_buffer=1 << 16)
    with serving(Flow(), loop=loop_factory, limits=limits) as (_, client):
        many = range(1, 6)
        client.send(*(start(request_id=n, params={"size": 1 << 16}, credit=CREDIT_MAX) for n in many))
        seen = [client.receive()["params"]["id"] for _ in range(100)]
        assert all(15 <= seen.count(n) <= 25 for n in many), seen


def test_a_stream_that_never_waits_does_not_keep_the_others_waiting(loop_factory: LoopFactory) -> None:
    async def endless(params: Nothing, context: Context) -> AsyncIterator[int]:
        while True:
            yield 1

    limits = LIMITS._replace(write_buffer=1 << 24)
    with (
        running_server(stream_of(endless), loop=loop_factory, limits=limits) as server,
        server.client() as client,
        server.client() as other,
    ):
        client.send(request("probe.run", meta={"credit": CREDIT_MAX}))
        receive_items(client, 1, 0, 1)
        for _ in range(20):
            assert other.ask(echo())["id"] == 1
        client.vanish()


# --- what is wrong with credit -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, -1, CREDIT_MAX + 1, 2**63, 1.0, "1", True, None])
def test_a_credit_that_is_none_ends_its_stream(n: object) -> None:
    flow = Flow()
    with serving(flow) as (server, client):
        client.send(start(credit=1))
        receive_items(client, 1, 0, 1)
        error = client.ask(credit(1, n))
        assert (error["id"], error["error"]["code"]) == (1, -32602)
        assert error["error"]["data"]["errors"][0]["loc"] == ["n"]
        server.in_flight(0)
        assert flow.closed == 1
        assert client.ask(echo())["id"] == 1


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_credit_that_overflows(more: int) -> None:
    with serving(Flow()) as (server, client):
        client.send(start(credit=2))
        receive_items(client, 1, 0, 2)
        client.send(credit(1, 1))
        receive_items(client, 1, 2, 1)
        # From here on: two in one write, so that nothing is sent between them.
        client.send(start(request_id=2, params={"count": 1, "size": 100_000}, credit=CREDIT_MAX - 5))
        receive_items(client, 2, 0, 1)
        assert client.receive()["id"] == 2
        client.send(start(request_id=3, credit=CREDIT_MAX - 1), credit(3, 1 + more))
        if more > 0:
            error = client.receive()
            assert (error["id"], error["error"]["code"]) == (3, -32602)
            assert str(CREDIT_MAX) in error["error"]["message"]
        elif more == 0:
            receive_items(client, 3, 0, 10)
        else:
            error = client.receive()
            assert (error["id"], error["error"]["code"]) == (3, -32602)
        assert server.stats.connections_open == 1


@pytest.mark.parametrize("value", [0, -1, CREDIT_MAX + 1, "1", 1.5])
def test_a_first_credit_that_is_none(value: object) -> None:
    with serving(Flow()) as (_, client):
        error = client.ask(start(credit=value))
        assert (error["id"], error["error"]["code"]) == (1, -32600)
        assert error["error"]["data"]["errors"][0]["loc"][:2] == ["meta", "credit"]


def test_credit_that_belongs_to_no_stream_has_no_effect() -> None:
    """Unknown, finished, of another connection, or of a call: it may have crossed the end."""
    flow = Flow()
    flow.gate.clear()
    with serving(flow) as (server, client), server.client() as other:
        assert other.ask(start(request_id=9, params={"count": 0}))["id"] == 9
        client.send(start(request_id=1, params={"count": 0}))
        assert client.receive()["id"] == 1
        client.send(start("flow.total", 7), credit(1, 5), credit(9, 5), credit("no", 5), credit(7, 5))
        assert client.receive()["method"] == "rpc.credit"
        assert client.ask(echo("x", 2))["id"] == 2
        assert other.ask(echo())["id"] == 1
        assert server.stats.calls_refused == server.stats.calls_failed == 0


def test_a_bad_credit_for_nothing_is_refused() -> None:
    with serving(Flow()) as (_, client):
        error = client.ask(credit("no", 0))
        assert (error["id"], error["error"]["code"]) == (None, -32600)
        assert client.ask(echo())["id"] == 1


# --- errors ----------------------------------------------------------------------------------------------------


@BOTH
def test_a_declared_error_ends_a_stream(method: str) -> None:
    with serving(Flow()) as (server, client):
        client.send(start(method, params={"unlucky": 13}))
        receive_items(client, 1, 0, 14)
        error = client.receive()["error"]
        assert (error["code"], error["message"]) == (-32000, "not that one")
        assert (error["data"]["type"], error["data"]["detail"]) == ("Unlucky", {"value": 13})
        assert server.stats.calls_failed == 1


@BOTH
def test_another_error_is_in_the_log_alone(method: str) -> None:
    async def unlucky(params: Nothing, context: Context) -> AsyncIterator[int]:
        yield 1
        raise LookupError("the secret of the handler")

    def unlucky_plain(params: Nothing, context: Context) -> Iterator[int]:
        yield 1
        raise LookupError("the secret of the handler")

    handler = unlucky if method == "flow.numbers" else unlucky_plain
    with running_server(stream_of(handler)) as server, server.client() as client:
        client.send(request("probe.run", meta={"call_id": "c"}))
        receive_items(client, 1, 0, 1)
        error = client.receive()["error"]
        assert error == {"code": -32603, "message": "internal error", "data": {"call_id": "c"}}
        (line,) = server.logs.about(event="call failed", call_id="c", level="error")
        assert isinstance(line["exc_info"], LookupError)


@pytest.mark.parametrize("value", ["1", None, 1.5, {"a": 1}])
@pytest.mark.parametrize("kind", ["async", "plain"])
def test_an_item_that_its_model_refuses(value: object, kind: str) -> None:
    closed = list[bool]()

    async def lie(params: Nothing, context: Context) -> AsyncIterator[Any]:
        try:
            yield 1
            yield value
        finally:
            closed.append(True)

    def lie_plain(params: Nothing, context: Context) -> Iterator[Any]:
        try:
            yield 1
            yield value
        finally:
            closed.append(True)

    service = stream_of(lie if kind == "async" else lie_plain)
    with running_server(service) as server, server.client() as client:
        client.send(request("probe.run"))
        receive_items(client, 1, 0, 1)
        assert client.receive()["error"]["code"] == -32603
        server.in_flight(0)
        assert closed == [True]


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_frame_limit_of_an_item(more: int) -> None:
    limit = 2048
    room = limit - len(note("item", id=1, seq=0, item=""))

    async def large(params: Nothing, context: Context) -> AsyncIterator[str]:
        yield "x" * (room + more)

    limits = LIMITS._replace(frame_size=limit)
    with running_server(stream_of(large, item=str), limits=limits) as server, server.client() as client:
        client.send(request("probe.run"))
        if more <= 0:
            assert len(receive_items(client, 1, 0, 1)[0]) == room + more
            assert client.receive()["result"] is None
        else:
            error = client.receive()["error"]
            assert (error["code"], error["data"]["limit"], error["data"]["length"]) == (
                -32006,
                limit,
                limit + 1,
            )
        assert client.ask(echo())["id"] == 1


# --- limits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("method", ["flow.numbers", "flow.total"])
def test_the_limit_of_streams(loop_factory: LoopFactory, more: int, method: str) -> None:
    flow = Flow()
    with serving(flow, loop=loop_factory, limits=LIMITS._replace(streams=3)) as (server, client):
        client.send(*(start(method, n, credit=1) for n in range(3 + more)))
        replies = [client.receive() for _ in range(3 + more)]
        refused = [reply for reply in replies if "error" in reply]
        assert len(refused) == max(more, 0)
        if refused:
            error = refused[0]["error"]
            assert (refused[0]["id"], error["code"]) == (3, -32002)
            assert error["data"] | {"call_id": 0} == {
                "resource": "streams",
                "used": 3,
                "limit": 3,
                "call_id": 0,
            }
            assert server.stats.calls_refused == 1
        # The place of one that is answered is free at once.
        client.send(note("cancel", id=0), start(method, 4, credit=1))
        messages = [client.receive() for _ in range(2)]
        assert {message.get("id", message.get("method")) for message in messages} <= {
            0,
            "rpc.item",
            "rpc.credit",
        }


def test_streams_are_counted_apart_from_calls(loop_factory: LoopFactory) -> None:
    """At the limit of calls nothing is read; credit for streams must be."""
    flow = Flow()
    limits = LIMITS._replace(calls_in_flight=1)
    with serving(flow, loop=loop_factory, limits=limits) as (server, client):
        client.send(*(start(request_id=n, credit=1) for n in range(10)))
        for _ in range(10):
            assert client.receive()["method"] == "rpc.item"
        assert client.ask(echo("x", 99))["id"] == 99
        client.send(credit(3, 1))
        assert client.receive()["params"]["id"] == 3
        assert server.stats.calls_in_flight == 10


def test_ten_thousand_streams_opened_and_abandoned() -> None:
    flow = Flow()
    limits = LIMITS._replace(streams=100)
    with serving(flow, loop=LOOPS["uvloop"], limits=limits) as (server, client):
        open_and_abandon(client, range(10_000), {"credit": 1, "gap_usec": 2**62, "deadline_usec": 2**62})
        server.in_flight(0)
        assert flow.open == 0
        assert server.stats.calls_failed == 10_000
        # Nothing of them is left but what waits to be swept out of the deadlines.
        flow.contexts.clear()
        gc.collect()
        assert sum(type(each) is Work for each in gc.get_objects()) < 300
        assert client.ask(echo())["id"] == 1


def open_and_abandon(client: RawClient, ids: range, meta: dict[str, int]) -> None:
    """Open streams and cancel each, fifty at a time; each is answered."""
    for first in ids[::50]:
        several = range(first, first + 50)
        client.send(
            *(start("flow.numbers", n, None, **meta) for n in several),
            *(note("cancel", id=n) for n in several),
        )
        answered = set[object]()
        while len(answered) < 50:
            message = client.receive()
            if "id" in message:
                assert message["error"]["code"] == -32004
                answered.add(message["id"])


# --- the end of the connection -----------------------------------------------------------------------------------


@BOTH
def test_a_peer_that_vanishes_closes_its_streams(loop_factory: LoopFactory, method: str) -> None:
    flow = Flow()
    with serving(flow, loop=loop_factory) as (server, client):
        client.send(*(start(method, n, credit=1) for n in range(5)))
        for _ in range(5):
            client.receive()
        client.vanish()
        server.wait(lambda stats: stats.connections_open == 0, "the connection is gone")
        server.until(lambda: flow.closed == 5)
        assert server.stats.calls_failed == 5


def test_a_half_closed_peer_can_give_no_more_credit(loop_factory: LoopFactory) -> None:
    """What its credit covers is sent, and then it does not wait for ever."""
    with serving(Flow(), loop=loop_factory) as (_, client):
        client.send(start(request_id=1, params={"count": 5}, credit=6), start(request_id=2, credit=5))
        client.half_close()
        messages = [client.receive() for _ in range(12)]
        replies = {message["id"]: message for message in messages if "id" in message}
        assert replies[1]["result"] is None
        assert replies[2]["error"]["code"] == -32004
        assert client.receive() is None


def test_a_stream_that_waits_for_credit_when_its_peer_half_closes() -> None:
    with serving(Flow()) as (_, client):
        client.send(start(credit=1))
        receive_items(client, 1, 0, 1)
        client.half_close()
        assert client.receive()["error"]["code"] == -32004
        assert client.receive() is None
