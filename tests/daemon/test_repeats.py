"""Idempotency keys over real sockets: what runs, what a repeat is told, and what is kept of calls that are cut short."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from superd.context import Context
from superd.deadlines import now_usec
from superd.service import Service
from superd.window import Window, WindowLimits
from superd_client.blob import Blob
from superd_client.builtin import Nothing
from superd_client.contract import Message, Method
from superd_client.errors import ApplicationError
from superd_client.fd import Fd
from superd_client.streams import Stream
from tests.daemon.raw import PATIENCE, RawClient, note, request
from tests.daemon.running import LIMITS, Gate, LoopFactory, Running, running_server, service_of


class Order(Message):
    number: int
    note: str = ""


class SoldOut(Message):
    left: int


class Shop:
    """A service whose work is counted."""

    def __init__(self) -> None:
        self.orders: list[int] = []
        self.service: Final = Service("shop")
        self.service.method(Method("shop.order", Order, int, keyed=True, errors=[SoldOut]))(self.order)
        self.service.method(Method("shop.cancel", Order, int, keyed=True))(self.order)
        self.service.method(Method("shop.open", Nothing, Fd))(self.open)
        self.service.method(Method("shop.picture", Nothing, Blob))(self.open)
        self.service.method(Stream("shop.watch", Nothing, int))(self.watch)

    async def order(self, params: Order, context: Context) -> int:
        self.orders.append(params.number)
        if params.number == 13:
            raise ApplicationError(SoldOut(left=0), "nothing left")
        if params.number == 14:
            raise LookupError("the secret of the handler")
        return len(self.orders)

    async def open(self, params: Nothing, context: Context) -> Any:
        raise AssertionError("never called")

    async def watch(self, params: Nothing, context: Context) -> AsyncIterator[int]:
        yield 1


def order(
    number: int = 1,
    key: object = "k",
    request_id: object = 1,
    method: str = "shop.order",
    **meta: object,
) -> bytes:
    return request(method, {"number": number}, request_id, meta={"idempotency_key": key, **meta})


def conflict(reply: Any) -> str:
    assert reply["error"]["code"] == -32007, reply
    reason: str = reply["error"]["data"]["reason"]
    return reason


def run(meta: dict[str, object] | None = None, request_id: object = 1) -> bytes:
    return request("probe.run", None, request_id, meta={"idempotency_key": "k", **(meta or {})})


# --- what a repeat is told -----------------------------------------------------------------------------------------------


def test_a_repeat_gets_the_first_answer_on_whichever_connection(loop_factory: LoopFactory) -> None:
    shop = Shop()
    with running_server(shop.service, loop=loop_factory) as server:
        with server.client() as first:
            assert first.ask(order(5, call_id="one"))["result"] == 1
            assert first.ask(order(5, request_id="b"))["result"] == 1
        with server.client() as second:
            assert second.ask(order(5))["result"] == 1
            assert second.ask(order(5, "other"))["result"] == 2
        assert shop.orders == [5, 5]
        assert server.stats.calls_served == 4
        assert server.logs.about(event="repeat answered", first_call_id="one", method="shop.order")


@pytest.mark.parametrize(("number", "code"), [(13, -32000), (14, -32603)])
def test_a_repeat_gets_the_first_failure_under_its_own_call_id(number: int, code: int) -> None:
    shop = Shop()
    with running_server(shop.service) as server, server.client() as client:
        first = client.ask(order(number, call_id="one"))["error"]
        again = client.ask(order(number, call_id="two"))["error"]
        assert first["code"] == again["code"] == code
        assert first["data"].pop("call_id") == "one"
        assert again["data"].pop("call_id") == "two"
        assert first == again
        assert shop.orders == [number]


def test_a_repeat_of_what_still_runs(loop_factory: LoopFactory) -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__), loop=loop_factory) as server, server.client() as client:
        client.send(run())
        server.in_flight(1)
        assert conflict(client.ask(run({"call_id": "again"}, 2))) == "running"
        assert server.logs.about(event="call refused", code=-32007, call_id="again")
        server.run(gate.open())
        assert client.receive() == {"jsonrpc": "2.0", "id": 1, "result": "through"}
        assert client.ask(run(request_id=3))["result"] == "through"


@pytest.mark.parametrize(
    "other",
    [
        order(6),
        order(5, method="shop.cancel"),
        request("shop.order", {"number": 5, "note": ""}, meta={"idempotency_key": "k"}),
    ],
    ids=["params", "method", "a member more"],
)
def test_a_key_of_another_call(other: bytes) -> None:
    shop = Shop()
    with running_server(shop.service) as server, server.client() as client:
        client.ask(order(5))
        assert conflict(client.ask(other)) == "different"
        assert shop.orders == [5]


def test_white_space_does_not_make_another_call() -> None:
    shop = Shop()
    with running_server(shop.service) as server, server.client() as client:
        client.ask(order(5))
        assert client.ask(order(5).replace(b":", b" :\t"))["result"] == 1
        assert shop.orders == [5]


def test_a_notification_is_carried_out_once() -> None:
    shop = Shop()
    with running_server(shop.service) as server, server.client() as client:
        client.send(*[order(5, request_id=None)] * 3)
        server.wait(lambda stats: stats.notifications == 1, "carried out")
        server.in_flight(0)
        assert client.ask(order(5))["result"] == 1
        assert shop.orders == [5]


def test_without_a_key_every_call_runs() -> None:
    shop = Shop()
    with running_server(shop.service) as server, server.client() as client:
        for number in (1, 2):
            body = request("shop.order", {"number": 5}, meta={"idempotency_since_usec": 1})
            assert client.ask(body)["result"] == number


# --- what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "legal"), [(0, False), (1, True), (63, True), (64, True), (65, False)])
def test_the_length_of_a_key(length: int, legal: bool) -> None:
    shop = Shop()
    with running_server(shop.service) as server, server.client() as client:
        reply = client.ask(order(key="k" * length))
        assert ("result" in reply) == legal
        assert legal or (reply["error"]["code"] == -32600 and shop.orders == [])


@pytest.mark.parametrize("key", ["a b", "é", "a\n", 'a"', 7, None, ["a"]])
def test_what_is_no_key(key: object) -> None:
    shop = Shop()
    with running_server(shop.service) as server, server.client() as client:
        error = client.ask(order(key=key))["error"]
        assert (error["code"], error["data"]["errors"][0]["loc"]) == (-32600, ["meta", "idempotency_key"])
        assert shop.orders == []


@pytest.mark.parametrize("method", ["shop.watch", "shop.open", "shop.picture"])
def test_what_cannot_be_told_again_takes_no_key(method: str) -> None:
    with running_server(Shop().service) as server, server.client() as client:
        assert client.ask(request(method, {}, meta={"idempotency_key": "k"}))["error"]["code"] == -32600


def test_params_that_do_not_fit_use_no_key_up() -> None:
    shop = Shop()
    with running_server(shop.service) as server, server.client() as client:
        body = request("shop.order", {"number": "x"}, meta={"idempotency_key": "k"})
        assert client.ask(body)["error"]["code"] == -32602
        assert client.ask(order(5))["result"] == 1


@pytest.mark.parametrize("ago", [None, 0])
def test_a_repeat_of_what_the_window_cannot_know(ago: int | None) -> None:
    shop = Shop()
    before = now_usec()
    with running_server(shop.service) as server, server.client() as client:
        if ago is None:
            assert conflict(client.ask(order(5, idempotency_since_usec=before))) == "lost"
        else:
            assert client.ask(order(5, idempotency_since_usec=now_usec()))["result"] == 1
        assert len(shop.orders) == (ago is not None)


@pytest.mark.parametrize("entries", [1, 2])
def test_more_calls_with_keys_than_are_remembered_run(entries: int) -> None:
    gate = Gate()
    window = Window(WindowLimits(10**9, entries, 1 << 20), now_usec())
    with running_server(service_of(gate.__call__), window=window) as server, server.client() as client:
        for number in range(entries):
            client.send(request("probe.run", None, number, meta={"idempotency_key": f"k{number}"}))
        server.in_flight(entries)
        error = client.ask(request("probe.run", None, "more", meta={"idempotency_key": "more"}))["error"]
        assert error["code"] == -32002
        assert error["data"]["resource"] == "idempotency_entries"
        assert (error["data"]["used"], error["data"]["limit"]) == (entries, entries)
        server.run(gate.open())
        assert {client.receive()["result"] for _ in range(entries)} == {"through"}
        assert (
            client.ask(request("probe.run", None, "more", meta={"idempotency_key": "more"}))["result"]
            == "through"
        )


# --- calls that are cut short ---------------------------------------------------------------------------------------------


def test_a_caller_that_vanishes_may_come_back_for_its_answer(loop_factory: LoopFactory) -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__), loop=loop_factory) as server:
        with server.client() as client:
            client.send(run())
            server.in_flight(1)
        with server.client() as client:
            assert conflict(client.ask(run())) == "running"
            server.run(gate.open())
            server.in_flight(0)
            assert client.ask(run(request_id=2))["result"] == "through"
        assert gate.cancelled == 0


def test_a_call_that_was_cancelled_while_it_ran(loop_factory: LoopFactory) -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__), loop=loop_factory) as server, server.client() as client:
        client.send(run())
        server.in_flight(1)
        assert client.ask(note("cancel", id=1))["error"]["code"] == -32004
        server.in_flight(0)
        error = client.ask(run())["error"]
        assert (error["code"], gate.cancelled) == (-32004, 1)
        assert "first call" in error["message"]


def test_a_call_that_was_cancelled_before_it_ran(loop_factory: LoopFactory) -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__), loop=loop_factory) as server, server.client() as client:
        server.run(gate.open())
        client.send(run(), note("cancel", id=1))
        assert client.receive()["error"]["code"] == -32004
        assert client.ask(run())["result"] == "through"


def test_a_call_whose_deadline_had_passed_may_be_repeated() -> None:
    shop = Shop()
    with running_server(shop.service) as server, server.client() as client:
        assert client.ask(order(5, deadline_usec=1))["error"]["code"] == -32003
        assert client.ask(order(5))["result"] == 1


class Stubborn:
    """A handler that is told to end, and ends as it wants."""

    def __init__(self, outcome: object) -> None:
        self.outcome = outcome

    async def __call__(self, params: Nothing, context: Context) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if isinstance(self.outcome, Exception):
                raise self.outcome from None
        return str(self.outcome)


def late(server: Running, client: RawClient) -> Any:
    """The answer to the repeat of a call that was cancelled, once there is one."""
    while True:
        reply = client.ask(run(request_id="late"))
        if reply.get("error", {}).get("data", {}).get("reason") != "running":
            return reply
        server.turn(1)


def test_what_a_cancelled_handler_decides_counts() -> None:
    with running_server(service_of(Stubborn("done").__call__)) as server, server.client() as client:
        client.send(run())
        server.in_flight(1)
        assert client.ask(note("cancel", id=1))["error"]["code"] == -32004
        assert late(server, client)["result"] == "done"


def test_a_failure_after_the_cancellation_counts_too() -> None:
    handler = Stubborn(LookupError("the secret of the handler"))
    with running_server(service_of(handler.__call__)) as server, server.client() as client:
        client.send(run())
        server.in_flight(1)
        assert client.ask(note("cancel", id=1))["error"]["code"] == -32004
        assert late(server, client)["error"]["code"] == -32603


class OnThread:
    """A plain handler, which nothing can interrupt."""

    def __init__(self, *, fails: bool = False) -> None:
        self.began = threading.Event()
        self.may_end = threading.Event()
        self.fails = fails
        self.count = 0

    def __call__(self, params: Nothing, context: Context) -> str:
        self.count += 1
        self.began.set()
        assert self.may_end.wait(PATIENCE)
        if self.fails:
            raise LookupError("the secret of the handler")
        return "from a thread"


@pytest.mark.parametrize("fails", [False, True])
def test_a_thread_that_goes_on_after_the_cancellation(loop_factory: LoopFactory, fails: bool) -> None:
    handler = OnThread(fails=fails)
    with (
        running_server(service_of(handler.__call__), loop=loop_factory) as server,
        server.client() as client,
    ):
        client.send(run())
        assert handler.began.wait(PATIENCE)
        assert client.ask(note("cancel", id=1))["error"]["code"] == -32004
        server.in_flight(0)
        assert conflict(client.ask(run(request_id=2))) == "running"
        handler.may_end.set()
        reply = late(server, client)
        assert reply["error"]["code"] == -32603 if fails else reply["result"] == "from a thread"
        assert handler.count == 1
        gc.collect()  # a future that nobody looked at would complain to the loop


def test_a_call_that_was_cancelled_while_it_waited_for_a_thread() -> None:
    handler = OnThread()
    with running_server(service_of(handler.__call__), workers=1) as server, server.client() as client:
        client.send(request("probe.run", None, "first"))
        assert handler.began.wait(PATIENCE)
        client.send(run())
        server.in_flight(2)
        assert client.ask(note("cancel", id=1))["error"]["code"] == -32004
        server.in_flight(1)
        handler.may_end.set()
        assert client.receive()["id"] == "first"
        # The key is free once the thread has come to the call that it does not begin: after the reply to the first, or before.
        assert late(server, client)["result"] == "from a thread"
        assert handler.count == 2


# --- the end ----------------------------------------------------------------------------------------------------------------


def test_a_server_that_stops_begins_no_call_with_a_key() -> None:
    shop = Shop()
    gate = Gate()
    with running_server(shop.service, service_of(gate.__call__)) as server, server.client() as client:
        assert client.ask(order(5, "before"))["result"] == 1
        client.send(request("probe.run", None, "hold"))
        server.in_flight(1)

        async def drain_with_more_to_read() -> None:
            # What is sent now is read when the drain looks for what had been sent before it.
            client.send(order(6, "after", 2), order(5, "before", 3), request("shop.order", {"number": 7}, 4))
            drain = asyncio.ensure_future(server.drain())
            await gate.open()
            await drain

        server.run(drain_with_more_to_read())
        replies = {}
        while (message := client.receive()) is not None:
            replies[message.get("id")] = message
        assert replies[2]["error"]["code"] == -32005
        assert replies[3]["result"] == 1
        assert replies[4]["result"] == 2
        assert shop.orders == [5, 7]


def test_limits_of_sessions_hold_for_repeats() -> None:
    shop = Shop()
    with running_server(shop.service, limits=LIMITS._replace(calls_in_flight=1)) as server:
        with server.client() as client:
            client.send(*[order(5, request_id=number) for number in range(1000)])
            assert {client.receive()["result"] for _ in range(1000)} == {1}
        assert shop.orders == [5]
