"""Handlers that are called on the loop itself: which may be, where they run, what they see, and how they fail."""

import contextvars
import functools
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import pytest

from superd.deadlines import now_usec
from superd.listeners import bind_listener
from superd.quota import Quotas, Totals
from superd.service import Context, Service
from superd_client.builtin import Nothing
from superd_client.contract import Message, Method
from superd_client.deadline import current_deadline
from superd_client.errors import ApplicationError
from superd_client.fd import Fd
from superd_client.streams import Stream, Upload
from tests.daemon.raw import RawPacketClient, echo, request
from tests.daemon.running import LIMITS, LoopFactory, running_server, service_of

FAR: Final = 2**52


class Refused(Message):
    why: str


class Holder(Message):
    file: Fd


def run(request_id: object = 1, **meta: object) -> bytes:
    return request("probe.run", None, request_id, meta={"call_id": "c-1", **meta})


# --- which may be ------------------------------------------------------------------------------------------------


async def waits(params: Nothing, context: Context) -> str:
    return ""


def yields(params: Nothing, context: Context) -> Iterator[str]:
    yield ""


async def yields_later(params: Nothing, context: Context) -> AsyncIterator[str]:
    yield ""


class Hidden:
    async def __call__(self, params: Nothing, context: Context) -> str:
        return ""


def takes_items(params: Nothing, items: Iterator[str], context: Context) -> str:
    return ""


PLAIN: Final = Method("probe.run", Nothing, str)


@pytest.mark.parametrize(
    ("method", "handler", "message"),
    [
        (PLAIN, waits, "make it a plain def that only computes, or leave inline out"),
        (PLAIN, functools.partial(waits), "make it a plain def that only computes, or leave inline out"),
        (PLAIN, Hidden(), "make it a plain def that only computes, or leave inline out"),
        (PLAIN, yields, "must return and not yield"),
        (PLAIN, yields_later, "must return and not yield"),
        (
            Stream("probe.run", Nothing, str),
            yields,
            "it is a stream, which waits for its peer; leave inline out",
        ),
        (Upload("probe.run", Nothing, str, str), takes_items, "it is an upload, which waits for its peer"),
    ],
)
def test_what_cannot_be_inline(method: Any, handler: Callable[..., Any], message: str) -> None:
    with pytest.raises(TypeError, match=message) as raised:
        Service("probe").method(method, inline=True)(handler)
    assert "probe.run" in str(raised.value)


def test_a_function_that_hides_a_coroutine_is_told_of(loop_factory: LoopFactory) -> None:
    service = service_of(lambda params, context: waits(params, context), inline=True)  # noqa: PLW0108
    with running_server(service, loop=loop_factory) as server, server.client() as client:
        assert client.ask(run())["error"]["code"] == -32603
        (line,) = server.logs.wait(event="call failed")
        assert "probe.run is inline and returned an awaitable" in str(line["exc_info"])


# --- where they run, and what they see -----------------------------------------------------------------------------


def test_it_runs_on_the_loop_and_sees_what_every_handler_sees(loop_factory: LoopFactory) -> None:
    seen: list[Any] = []

    def handle(params: Nothing, context: Context) -> str:
        seen.extend(
            (threading.get_ident(), context.method, context.call_id, context.caller.uid, context.state)
        )
        seen.extend((context.deadline, context.time_left() is not None, current_deadline.get()))
        context.log.info("heard")
        return "done"

    states = {"probe": "of the lifespan"}
    with (
        running_server(service_of(handle, inline=True), loop=loop_factory, states=states) as server,
        server.client() as client,
    ):
        assert client.ask(run(deadline_usec=FAR))["result"] == "done"
        thread = server.run(_thread())
        assert seen == [thread, "probe.run", "c-1", os.getuid(), "of the lifespan", FAR / 1e6, True, FAR]
        assert server.logs.about(event="heard", call_id="c-1", method="probe.run")
        assert (server.stats.calls_served, server.stats.calls_in_flight) == (1, 0)


async def _thread() -> int:
    return threading.get_ident()


@pytest.mark.parametrize("key", [{}, {"idempotency_key": "k"}], ids=["fast path", "general path"])
def test_nothing_of_one_call_is_there_for_the_next(loop_factory: LoopFactory, key: dict[str, str]) -> None:
    mark = contextvars.ContextVar[str]("mark", default="none")
    seen: list[Any] = []

    def handle(params: Nothing, context: Context) -> None:
        seen.append((mark.get(), current_deadline.get()))
        mark.set("mine")

    service = service_of(handle, result=type(None), inline=True)
    with running_server(service, loop=loop_factory) as server, server.client() as client:
        client.send(
            run(1, deadline_usec=FAR, **key), run(2, **{name: f"{value}2" for name, value in key.items()})
        )
        assert [client.receive()["result"], client.receive()["result"]] == [None, None]
        assert seen == [("none", FAR), ("none", None)]


def test_replies_come_in_the_order_of_the_calls() -> None:
    service = service_of(lambda params, context: "x" * 3000, inline=True)
    with running_server(service) as server, server.client() as client:
        client.send(*(run(number) for number in range(50)))
        assert [client.receive()["id"] for _ in range(50)] == list(range(50))


# --- how they end --------------------------------------------------------------------------------------------------


def test_a_call_whose_deadline_has_passed_is_not_begun(loop_factory: LoopFactory) -> None:
    ran: list[int] = []
    service = service_of(lambda params, context: ran.append(1), result=type(None), inline=True)
    with running_server(service, loop=loop_factory) as server, server.client() as client:
        assert client.ask(run(1, deadline_usec=now_usec() - 1))["error"]["code"] == -32003
        assert not ran
        assert client.ask(run(2, deadline_usec=FAR))["result"] is None
        assert ran == [1]
        assert server.logs.about(event="call failed", code=-32003, call_id="c-1")


def test_what_it_declares(loop_factory: LoopFactory) -> None:
    service = Service("probe")

    @service.method(Method("probe.run", Nothing, str, errors=[Refused]), inline=True)
    def handle(params: Nothing, context: Context) -> str:
        raise ApplicationError(Refused(why="asked"), "as asked")

    with running_server(service, loop=loop_factory) as server, server.client() as client:
        error = client.ask(run())["error"]
        assert (error["code"], error["message"]) == (-32000, "as asked")
        assert error["data"] == {"type": "Refused", "detail": {"why": "asked"}, "call_id": "c-1"}
        assert server.logs.about(event="call failed", code=-32000)[0]["duration_usec"] >= 0


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_result_that_does_not_fit_a_frame(loop_factory: LoopFactory, more: int) -> None:
    room = LIMITS.frame_size - len('{"jsonrpc":"2.0","id":1,"result":""}')
    service = service_of(lambda params, context: "x" * (room + more), inline=True)
    with running_server(service, loop=loop_factory) as server, server.client() as client:
        reply = client.ask(run())
        assert reply["error"]["code"] == -32006 if more > 0 else len(reply["result"]) == room + more
        assert client.ask(echo())["result"] == {"text": "hello"}
        assert (server.stats.calls_served, server.stats.calls_failed) == ((1, 1) if more > 0 else (2, 0))


def test_its_cancellation_comes_too_late(loop_factory: LoopFactory) -> None:
    with (
        running_server(service_of(lambda params, context: "done", inline=True), loop=loop_factory) as server,
        server.client() as client,
    ):
        client.send(run(1), request("rpc.cancel", {"id": 1}, None), run(2))
        assert [client.receive().get("result") for _ in range(2)] == ["done", "done"]


def test_a_notification(loop_factory: LoopFactory) -> None:
    ran: list[str] = []
    service = service_of(lambda params, context: ran.append(context.call_id), result=type(None), inline=True)
    with running_server(service, loop=loop_factory) as server, server.client() as client:
        client.send(run(None))
        assert client.ask(echo())["id"] == 1
        assert ran == ["c-1"]
        assert (server.stats.notifications, server.stats.notifications_failed) == (1, 0)


# --- the other roads -----------------------------------------------------------------------------------------------


def test_a_key_has_it_run_once(loop_factory: LoopFactory) -> None:
    ran: list[int] = []

    def handle(params: Nothing, context: Context) -> str:
        ran.append(1)
        return "done"

    with (
        running_server(service_of(handle, inline=True), loop=loop_factory) as server,
        server.client() as client,
    ):
        asks = [client.ask(run(number, idempotency_key="k")) for number in range(3)]
        assert [each["result"] for each in asks] == ["done"] * 3
        assert ran == [1]


def test_sequenced_packets(loop_factory: LoopFactory) -> None:
    service = service_of(lambda params, context: "done", inline=True)
    with (
        running_server(
            service,
            loop=loop_factory,
            listeners=lambda path: [bind_listener(f"unix-seqpacket:{path}", 0o600)],
        ) as server,
        RawPacketClient(server.path) as client,
    ):
        client.send(run(1), run(2))
        assert [client.receive()["result"] for _ in range(2)] == ["done", "done"]


def test_descriptors_in_its_result(loop_factory: LoopFactory) -> None:
    def handle(params: Nothing, context: Context) -> Holder:
        reader, writer = os.pipe()
        os.close(writer)
        return Holder(file=Fd(reader))

    with (
        running_server(service_of(handle, result=Holder, inline=True), loop=loop_factory) as server,
        server.client() as client,
    ):
        reply = client.ask(run())
        assert (reply["result"], reply["meta"]) == ({"file": 0}, {"fds": 1})


def test_it_holds_nothing_of_the_calls_of_its_user() -> None:
    """It is never in flight beside others: docs/adr/0017."""
    quotas = Quotas(Totals(), privileged=(0, os.geteuid()))
    held: list[int] = []
    service = service_of(
        lambda params, context: held.append(quotas.calls.used_by_all), result=type(None), inline=True
    )
    with running_server(service, quotas=quotas) as server, server.client() as client:
        assert client.ask(run(1))["result"] is None
        assert client.ask(run(2, idempotency_key="k"))["result"] is None
        assert held == [0, 0]
