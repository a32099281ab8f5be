"""Deadlines: of calls that wait, of calls that run, of streams and their gaps; one timer for all of them."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from typing_extensions import override

from superd.deadlines import Deadlines, Timed, now_usec
from superd.service import Context, Service
from superd_client.builtin import Nothing
from superd_client.deadline import current_deadline
from superd_client.streams import Stream
from superd_client.wire.limits import TIME_USEC_MAX
from tests.daemon.raw import PATIENCE, RawClient, echo, note, request
from tests.daemon.running import LIMITS, Gate, LoopFactory, running_server, service_of
from tests.daemon.streaming import Flow, credit, receive_items, start

#: Far enough for what has to happen before it, and near enough to wait for.
SOON = 50_000


def run_by(deadline: object, request_id: object = 1) -> bytes:
    return request("probe.run", None, request_id, meta={"deadline_usec": deadline, "call_id": "c"})


def code(reply: Any) -> Any:
    return reply["error"]["code"]


# --- calls -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("past", [0, 1, -1])
def test_a_call_whose_deadline_has_passed_is_not_begun(loop_factory: LoopFactory, past: int) -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__), loop=loop_factory) as server, server.client() as client:
        reply = client.ask(run_by(past if past >= 0 else now_usec() - 1))
        assert (reply["id"], code(reply), reply["error"]["data"]) == (1, -32003, {"call_id": "c"})
        assert gate.running == 0
        assert client.ask(echo())["id"] == 1
        assert (server.stats.calls_failed, server.stats.calls_in_flight) == (1, 0)
        assert server.logs.about(event="call failed", code=-32003, call_id="c")


def test_a_call_that_runs_at_its_deadline_is_cancelled(loop_factory: LoopFactory) -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__), loop=loop_factory) as server, server.client() as client:
        deadline = now_usec() + SOON
        reply = client.ask(run_by(deadline))
        assert code(reply) == -32003
        assert now_usec() >= deadline
        server.in_flight(0)
        assert gate.cancelled == 1
        assert client.ask(echo())["id"] == 1
        assert server.stats.calls_failed == 1


@pytest.mark.parametrize("deadline", [2**53, 10**15, TIME_USEC_MAX])
def test_a_deadline_far_in_the_future_is_never_reached(loop_factory: LoopFactory, deadline: int) -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__), loop=loop_factory) as server, server.client() as client:
        client.send(run_by(deadline))
        server.in_flight(1)
        # And it does not hide those that are near.
        assert code(client.ask(run_by(now_usec() + SOON, 2))) == -32003
        server.run(gate.open())
        assert client.receive()["result"] == "through"


@pytest.mark.parametrize("deadline", [-1, TIME_USEC_MAX + 1, 2**64, 1.5, "1", True])
def test_what_is_no_deadline(deadline: object) -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__)) as server, server.client() as client:
        reply = client.ask(run_by(deadline))
        assert (reply["id"], code(reply)) == (1, -32600)
        assert reply["error"]["data"]["errors"][0]["loc"] == ["meta", "deadline_usec"]
        assert gate.running == 0


def test_the_order_of_many_deadlines() -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__)) as server, server.client() as client:
        base = now_usec() + SOON
        client.send(*(run_by(base + offset * 2000, offset) for offset in (5, 1, 4, 2, 3)))
        assert [client.receive()["id"] for _ in range(5)] == [1, 2, 3, 4, 5]
        server.until(lambda: gate.cancelled == 5)


def test_the_params_are_judged_before_the_deadline() -> None:
    """Protocol §6 has the order."""
    with running_server() as server, server.client() as client:
        assert code(client.ask(request("echo.echo", {}, meta={"deadline_usec": 0}))) == -32602
        assert code(client.ask(request("no.such", {}, meta={"deadline_usec": 0}))) == -32601


def test_work_that_waits_for_a_thread_does_not_begin_after_its_deadline() -> None:
    leave, begun = threading.Event(), list[str]()

    def block(params: Nothing, context: Context) -> str:
        begun.append(context.call_id)
        assert leave.wait(PATIENCE)
        return "done"

    with running_server(service_of(block), workers=1) as server, server.client() as client:
        client.send(request("probe.run", None, 1, meta={"call_id": "first"}))
        server.until(lambda: begun == ["first"])
        assert code(client.ask(run_by(now_usec() + SOON, 2))) == -32003
        leave.set()
        assert client.receive() == {"jsonrpc": "2.0", "id": 1, "result": "done"}
        assert client.ask(request("probe.run", None, 3, meta={"call_id": "third"}))["result"] == "done"
        assert begun == ["first", "third"]


def test_a_reply_and_a_deadline_at_once_are_one_reply(loop_factory: LoopFactory) -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__), loop=loop_factory) as server, server.client() as client:
        deadline = now_usec() + 20_000

        async def let_go_at_the_deadline() -> None:
            while now_usec() < deadline - 500:  # noqa: ASYNC110 - as near as can be
                await asyncio.sleep(0)
            await gate.open()

        client.send(*(run_by(deadline, number) for number in range(20)))
        server.in_flight(20)
        server.run(let_go_at_the_deadline())
        replies = [client.receive() for _ in range(20)]
        assert sorted(reply["id"] for reply in replies) == list(range(20))
        assert client.ask(echo("x", 99))["id"] == 99


def test_a_notification_has_a_deadline_too() -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__)) as server, server.client() as client:
        late = request("probe.run", None, None, meta={"deadline_usec": 0, "call_id": "late"})
        slow = request("probe.run", None, None, meta={"deadline_usec": now_usec() + SOON, "call_id": "slow"})
        client.send(late, slow)
        server.logs.wait(2, event="call failed", code=-32003)
        server.until(lambda: gate.cancelled == 1)
        assert server.stats.notifications_failed == 2
        assert client.ask(echo())["id"] == 1


# --- what a handler sees -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_the_context_has_the_deadline(loop_factory: LoopFactory, kind: str) -> None:
    def look(params: Nothing, context: Context) -> str:
        left = context.time_left()
        seen.append((context.deadline, left, current_deadline.get()))
        return ""

    async def look_async(params: Nothing, context: Context) -> str:
        return await asyncio.create_task(asyncio.to_thread(look, params, context))

    seen = list[tuple[float | None, float | None, int | None]]()
    handler = look if kind == "plain" else look_async
    with running_server(service_of(handler), loop=loop_factory) as server, server.client() as client:
        deadline = now_usec() + 5_000_000
        client.ask(run_by(deadline))
        client.ask(request("probe.run"))
        assert seen[0][0] == pytest.approx(deadline / 1e6)
        assert seen[0][1] is not None
        assert 0 < seen[0][1] <= 5
        assert seen[0][2] == deadline
        assert seen[1] == (None, None, None)


def test_time_left_ends_at_0() -> None:
    context = Context(method="a.b", call_id="c", caller=None, state=None, deadline=time.monotonic() - 1)  # type: ignore[arg-type]
    assert context.time_left() == 0.0


@pytest.mark.parametrize("method", ["flow.numbers", "flow.plain", "flow.total", "flow.plain_total"])
def test_streams_and_uploads_see_it_too(method: str) -> None:
    seen = list[int | None]()

    class Looking(Flow):
        @override
        def _running(self, context: Context) -> Any:
            seen.append(current_deadline.get())
            return super()._running(context)

    flow = Looking()
    with running_server(flow.service) as server, server.client() as client:
        deadline = now_usec() + 5_000_000
        client.send(start(method, 1, {"count": 1}, deadline_usec=deadline))
        assert client.receive()["method"] in {"rpc.item", "rpc.credit"}
        client.send(note("end", id=1))
        assert "result" in client.receive()
        assert seen == [deadline]


def test_the_deadline_of_one_call_is_not_that_of_the_next() -> None:
    """Also where the end of the first makes room for the second."""
    seen = list[int | None]()

    async def look(params: Nothing, context: Context) -> str:
        seen.append(current_deadline.get())
        await asyncio.sleep(0)
        return ""

    limits = LIMITS._replace(calls_in_flight=1)
    with running_server(service_of(look), limits=limits) as server, server.client() as client:
        deadline = now_usec() + 5_000_000
        client.send(run_by(deadline), request("probe.run", None, 2))
        assert [client.receive()["id"] for _ in range(2)] == [1, 2]
        assert seen == [deadline, None]


# --- streams -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["flow.numbers", "flow.plain", "flow.total", "flow.plain_total"])
def test_a_deadline_bounds_the_whole(loop_factory: LoopFactory, method: str) -> None:
    flow = Flow()
    with running_server(flow.service, loop=loop_factory) as server, server.client() as client:
        client.send(start(method, credit=2, deadline_usec=now_usec() + SOON))
        messages = []
        while "error" not in (message := client.receive()):
            messages.append(message)
        assert code(message) == -32003
        assert len(messages) == (2 if method in {"flow.numbers", "flow.plain"} else 1)
        server.until(lambda: flow.closed == 1)
        assert client.ask(echo())["id"] == 1


def test_a_gap_that_is_too_long(loop_factory: LoopFactory) -> None:
    flow = Flow()
    with running_server(flow.service, loop=loop_factory) as server, server.client() as client:
        client.send(start(gap_usec=SOON, credit=1000, params={"count": 3}))
        receive_items(client, 1, 0, 3)
        assert client.receive()["result"] is None
        flow.gate.clear()
        reply = client.ask(start(gap_usec=SOON))
        assert code(reply) == -32003
        assert "next item" in reply["error"]["message"]
        server.until(lambda: flow.closed == 2)


def test_a_gap_begins_anew_with_each_item() -> None:
    async def slow(params: Nothing, context: Context) -> AsyncIterator[int]:
        for number in range(5):
            await asyncio.sleep(0.03)
            yield number

    with running_server(stream(slow)) as server, server.client() as client:
        client.send(request("probe.run", meta={"gap_usec": 100_000}))
        receive_items(client, 1, 0, 5)
        assert client.receive()["result"] is None


def test_a_gap_without_credit_does_not_count(loop_factory: LoopFactory) -> None:
    """It is the caller that keeps the stream waiting."""
    flow = Flow()
    with running_server(flow.service, loop=loop_factory) as server, server.client() as client:
        client.send(start(gap_usec=SOON, credit=1))
        receive_items(client, 1, 0, 1)
        # Longer than the gap.
        flow.gate.clear()
        assert code(client.ask(start(request_id=2, deadline_usec=now_usec() + 2 * SOON))) == -32003
        flow.gate.set()
        client.send(credit(1, 1))
        receive_items(client, 1, 1, 1)


@pytest.mark.parametrize("gap", [1, TIME_USEC_MAX])
def test_the_shortest_and_the_longest_gap(gap: int) -> None:
    flow = Flow()
    flow.gate.clear()

    async def open_gate() -> None:
        flow.gate.set()

    with running_server(flow.service) as server, server.client() as client:
        client.send(start(gap_usec=gap, params={"count": 1}))
        if gap == 1:
            assert code(client.receive()) == -32003
        else:
            server.in_flight(1)
            server.run(open_gate())
            receive_items(client, 1, 0, 1)
            assert client.receive()["result"] is None


@pytest.mark.parametrize("gap", [0, -1, TIME_USEC_MAX + 1, "1"])
def test_what_is_no_gap(gap: object) -> None:
    with running_server(Flow().service) as server, server.client() as client:
        assert code(client.ask(start(gap_usec=gap))) == -32600


def stream(handler: Any) -> Service:
    service = Service("probe")
    service.method(Stream("probe.run", Nothing, int))(handler)
    return service


# --- one timer for all --------------------------------------------------------------------------------------------


class Alarm(Timed):
    """Notes that it was due."""

    def __init__(self, due: int | None) -> None:
        self.due_usec = due
        self.watched = False
        self.expired = 0

    @override
    def expire(self) -> None:
        self.expired += 1


def test_what_has_ended_is_swept_out(loop_factory: LoopFactory) -> None:
    async def main() -> None:
        deadlines = Deadlines()
        lasting = [Alarm(TIME_USEC_MAX) for _ in range(10)]
        for alarm in lasting:
            deadlines.watch(alarm)
        for _ in range(10_000):
            alarm = Alarm(TIME_USEC_MAX)
            deadlines.watch(alarm)
            alarm.due_usec = None
        assert 10 <= len(deadlines) < 100
        assert all(alarm.watched for alarm in lasting)
        deadlines.close()
        assert len(deadlines) == 0

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


def test_a_deadline_that_moves(loop_factory: LoopFactory) -> None:
    async def main() -> None:
        deadlines = Deadlines()
        moved, near, gone = Alarm(now_usec() + 1000), Alarm(now_usec() + 5000), Alarm(now_usec() + 1000)
        for alarm in (moved, near, gone):
            deadlines.watch(alarm)
        gone.due_usec = None
        moved.due_usec = now_usec() + 10_000_000
        async with asyncio.timeout(PATIENCE):
            while not near.expired:  # noqa: ASYNC110 - a turn of the loop is what is waited for
                await asyncio.sleep(0)
        assert (moved.expired, moved.watched, gone.expired, gone.watched, near.watched) == (
            0,
            True,
            0,
            False,
            False,
        )
        moved.due_usec = None
        deadlines.watch(Alarm(None))
        deadlines.close()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


def test_a_client_that_sends_nothing_but_late_calls() -> None:
    with running_server() as server, server.client() as client:
        flood(client)
        assert server.stats.calls_failed == 1000


def flood(client: RawClient) -> None:
    client.send(*(request("echo.echo", {"text": "x"}, n, meta={"deadline_usec": n}) for n in range(1000)))
    assert {code(client.receive()) for _ in range(1000)} == {-32003}
