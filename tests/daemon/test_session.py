"""One connection: backpressure, ids, ends of file, faults of framing."""

import asyncio
import json
import threading
import tracemalloc

import pytest
from pydantic import Field

from superd.service import Context, Service
from superd.session import SessionLimits
from superd_client.builtin import Nothing
from superd_client.contract import Message, Method
from superd_client.wire.limits import FRAME_SIZE_MIN
from tests.daemon.raw import RawClient, echo, frame, request
from tests.daemon.running import LIMITS, Gate, LoopFactory, Running, running_server, service_of

# --- many requests ---------------------------------------------------------------------------------------------


def test_one_byte_at_a_time(loop_factory: LoopFactory) -> None:
    with running_server(loop=loop_factory) as server, server.client() as client:
        for byte in frame(echo("slow")) * 2:
            client.send_raw(bytes([byte]))
        assert client.receive() == client.receive() == {"jsonrpc": "2.0", "id": 1, "result": {"text": "slow"}}


def test_ten_thousand_requests_in_one_write(loop_factory: LoopFactory) -> None:
    with running_server(loop=loop_factory) as server, server.client() as client:
        data = b"".join(frame(echo(str(number), number)) for number in range(10_000))
        writer = threading.Thread(target=client.send_raw, args=(data,))
        writer.start()
        replies = [client.receive() for _ in range(10_000)]
        writer.join()
        assert {reply["id"]: reply["result"]["text"] for reply in replies} == {
            n: str(n) for n in range(10_000)
        }
        assert server.stats.calls_served == 10_000


def test_a_peer_that_floods_does_not_keep_the_others_waiting(loop_factory: LoopFactory) -> None:
    """What one read brings may be 2,000 messages: they are not all handled before anyone else's first."""
    with running_server(loop=loop_factory) as server, server.client() as client, server.client() as other:
        flood = frame(b'{"jsonrpc":"2.0","method":"x"}') * 1900
        assert other.ask(echo())
        seen = asyncio.run_coroutine_threadsafe(turns_until_refused(server, 1900), server.loop)
        client.send_raw(flood)
        assert seen.result(20) > 10


async def turns_until_refused(server: Running, count: int) -> int:
    """How often the loop turned between the first refusal and the last."""
    turns = 0
    async with asyncio.timeout(20):
        while server.stats.calls_refused < count:
            turns += server.stats.calls_refused > 0
            await asyncio.sleep(0)
    return turns


# --- backpressure ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_calls_in_flight_are_limited(loop_factory: LoopFactory, more: int) -> None:
    gate = Gate()
    limits = LIMITS._replace(calls_in_flight=4)
    with (
        running_server(service_of(gate.__call__), loop=loop_factory, limits=limits) as server,
        server.client() as client,
    ):
        client.send(*(request("probe.run", {}, number) for number in range(4 + more)))
        server.in_flight(min(4 + more, 4))
        server.turn()
        assert gate.running == min(4 + more, 4)
        server.run(gate.open())
        assert sorted(client.receive()["id"] for _ in range(4 + more)) == list(range(4 + more))


def test_at_the_limit_the_peer_is_not_read_from(loop_factory: LoopFactory) -> None:
    gate = Gate()
    limits = LIMITS._replace(calls_in_flight=1)
    with (
        running_server(service_of(gate.__call__), loop=loop_factory, limits=limits) as server,
        server.client() as client,
    ):
        client.send(request("probe.run"))
        server.in_flight(1)
        server.turn()
        taken = client.fill(frame(echo("x" * 1000)))
        server.turn()
        assert client.fill(b"x" * 1000) < 70_000
        assert taken < 1_000_000
        assert server.stats.calls_served == 100
        server.run(gate.open())
        assert client.receive()["result"] == "through"
        assert client.receive()["result"]["text"] == "x" * 1000


def test_a_peer_that_never_reads_is_paused_and_the_others_are_served(loop_factory: LoopFactory) -> None:
    limits = SessionLimits(1 << 20, 64, 1 << 16)
    with running_server(loop=loop_factory, limits=limits) as server, server.client() as greedy:
        request_frame = frame(echo("x" * 10_000))
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            taken = fill_until_paused(server, greedy, request_frame)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 16 * limits.write_buffer
        assert server.stats.calls_in_flight == 0
        # All that was taken and not cut is answered once the peer reads.
        whole = taken // len(request_frame)
        rest = threading.Thread(
            target=greedy.send_raw,
            args=(request_frame[taken % len(request_frame) :] + frame(echo("last", 2)),),
        )
        rest.start()
        answers = 0
        while greedy.receive()["id"] != 2:
            answers += 1
        rest.join()
        assert answers == whole + 1


def fill_until_paused(server: Running, client: RawClient, data: bytes) -> int:
    """Send until the server reads no more; the number of bytes that it and the kernel took."""
    taken = 0
    while more := client.fill(data[taken % len(data) :] + data[: taken % len(data)]):
        taken += more
        server.turn(5)
    return taken


def test_the_limit_of_the_write_buffer(loop_factory: LoopFactory) -> None:
    """A reply over the limit is still sent; the next request waits until the peer has read it."""
    text = "x" * 900_000
    with running_server(loop=loop_factory) as server, server.client() as client:
        client.send(echo(text))
        server.wait(lambda stats: stats.calls_served == 1, "the first call")
        client.send(echo("next", 2))
        server.turn()
        assert server.stats.calls_served == 51
        assert client.receive()["result"]["text"] == text
        assert client.receive()["id"] == 2


# --- ids -------------------------------------------------------------------------------------------------------


def test_a_duplicate_id_in_flight(loop_factory: LoopFactory) -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__), loop=loop_factory) as server, server.client() as client:
        client.send(
            request("probe.run", None, "a"), request("probe.run", None, "a", meta={"call_id": "second"})
        )
        error = client.receive()
        assert error["id"] == "a"
        assert error["error"]["code"] == -32600
        assert error["error"]["data"] == {"call_id": "second"}
        server.in_flight(1)
        assert gate.running == 1
        server.run(gate.open())
        assert client.receive() == {"jsonrpc": "2.0", "id": "a", "result": "through"}
        assert client.ask(request("probe.run", None, "a"))["result"] == "through"


def test_a_number_and_its_text_are_two_ids() -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__)) as server, server.client() as client:
        client.send(request("probe.run", None, 7), request("probe.run", None, "7"))
        server.in_flight(2)
        server.run(gate.open())
        assert {client.receive()["id"], client.receive()["id"]} == {7, "7"}


# --- notifications ---------------------------------------------------------------------------------------------


def test_a_notification_is_carried_out_and_never_answered(loop_factory: LoopFactory) -> None:
    with running_server(loop=loop_factory) as server, server.client() as client:
        client.send(
            echo("x", None), request("nobody.home", None, None), request("echo.echo", {"text": 1}, None)
        )
        assert client.ask(echo())["id"] == 1
        assert (server.stats.notifications, server.stats.calls_served, server.stats.calls_refused) == (
            1,
            2,
            2,
        )
        codes = [line["code"] for line in server.logs.wait(2, event="call refused")]
        assert codes == [-32601, -32602]


def test_a_notification_that_fails_is_logged() -> None:
    async def fail(params: Nothing, context: Context) -> str:
        raise OSError("disk")

    with running_server(service_of(fail)) as server, server.client() as client:
        client.send(request("probe.run", None, None))
        assert client.ask(echo())["id"] == 1
        (line,) = server.logs.wait(event="call failed", method="probe.run", level="error")
        assert isinstance(line["exc_info"], OSError)


# --- results that do not fit -----------------------------------------------------------------------------------


class Long(Message):
    text: str


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_frame_limit_of_a_result(more: int) -> None:
    limit = 2048
    room = limit - len(b'{"jsonrpc":"2.0","id":1,"result":""}')
    service = service_of(lambda params, context: "x" * (room + more))
    with (
        running_server(service, limits=LIMITS._replace(frame_size=limit)) as server,
        server.client() as client,
    ):
        reply = client.ask(request("probe.run", None, 1, meta={"call_id": "big"}))
        if more <= 0:
            assert len(reply["result"]) == room + more
            assert (server.stats.calls_served, server.stats.calls_failed) == (1, 0)
        else:
            assert reply["id"] == 1
            assert reply["error"]["code"] == -32006
            assert reply["error"]["data"] == {"limit": limit, "length": limit + 1, "call_id": "big"}
            assert (server.stats.calls_served, server.stats.calls_failed) == (0, 1)
            server.logs.wait(event="call failed", code=-32006, call_id="big")
        assert client.ask(echo())["id"] == 1


# --- the end of a connection -----------------------------------------------------------------------------------


def test_a_half_closed_peer_gets_its_replies(loop_factory: LoopFactory) -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__), loop=loop_factory) as server, server.client() as client:
        client.send(echo(), request("probe.run", None, 2))
        client.half_close()
        assert client.receive()["id"] == 1
        server.turn()
        assert gate.running == 1
        server.run(gate.open())
        assert client.receive()["id"] == 2
        assert client.receive() is None


def test_a_half_closed_peer_without_calls_is_closed() -> None:
    with running_server() as server, server.client() as client:
        client.half_close()
        assert client.receive() is None


def test_a_peer_that_vanishes_cancels_its_calls(loop_factory: LoopFactory) -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__), loop=loop_factory) as server:
        client = server.client()
        client.send(request("probe.run", None, 1, meta={"call_id": "lost"}), request("probe.run", None, None))
        server.in_flight(2)
        client.vanish()
        server.in_flight(1)
        (line,) = server.logs.wait(event="peer vanished, call cancelled")
        assert (line["method"], line["call_id"]) == ("probe.run", "lost")
        # The notification is carried out all the same (protocol §13.7).
        server.run(gate.open())
        server.wait(lambda stats: stats.connections_open == 0, "the connection is gone")
        assert gate.cancelled == 1
        assert (server.stats.calls_failed, server.stats.calls_served) == (1, 1)
        server.turn()


def test_a_peer_that_vanishes_while_it_is_not_read_from(loop_factory: LoopFactory) -> None:
    """At its limit of calls nobody reads the end of file: it is noticed all the same."""
    gate = Gate()
    limits = LIMITS._replace(calls_in_flight=1)
    with running_server(service_of(gate.__call__), loop=loop_factory, limits=limits) as server:
        client = server.client()
        client.send(request("probe.run"), request("probe.run", None, 2))
        server.in_flight(1)
        client.vanish()
        server.wait(lambda stats: stats.connections_open == 0, "the connection is gone")
        assert gate.cancelled == 1


def test_a_peer_that_half_closes_and_then_vanishes(loop_factory: LoopFactory) -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__), loop=loop_factory) as server:
        client = server.client()
        client.send(request("probe.run"))
        client.half_close()
        server.in_flight(1)
        server.turn()
        client.vanish()
        server.wait(lambda stats: stats.connections_open == 0, "the connection is gone")
        assert gate.cancelled == 1


def test_a_peer_that_vanishes_with_unread_replies(loop_factory: LoopFactory) -> None:
    with running_server(loop=loop_factory) as server:
        client = server.client()
        fill_until_paused(server, client, frame(echo("x" * 10_000)))
        client.vanish()
        server.wait(lambda stats: stats.connections_open == 0, "the connection is gone")


def test_a_worker_thread_goes_on_and_its_result_is_dropped() -> None:
    entered, leave, done = threading.Event(), threading.Event(), threading.Event()

    def block(params: Nothing, context: Context) -> str:
        entered.set()
        assert leave.wait(20)
        done.set()
        return "nobody reads this"

    with running_server(service_of(block)) as server:
        client = server.client()
        client.send(request("probe.run", None, 1, meta={"call_id": "lost"}))
        assert entered.wait(20)
        client.vanish()
        server.logs.wait(event="peer vanished, call cancelled", call_id="lost")
        leave.set()
        assert done.wait(20)
        server.turn()
        assert server.stats.calls_failed == 1


def test_a_connection_is_open_until_its_calls_have_ended() -> None:
    """What a handler does when it is cancelled is still the work of its connection."""
    cleaning, clean = threading.Event(), asyncio.Event()

    async def hang(params: Nothing, context: Context) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await clean.wait()
        return ""

    with running_server(service_of(hang)) as server:
        client = server.client()
        client.send(request("probe.run"))
        server.in_flight(1)
        client.vanish()
        assert cleaning.wait(20)
        with server.client() as other:
            assert other.ask(echo())["id"] == 1
            assert server.stats.connections_open == 2
            server.loop.call_soon_threadsafe(clean.set)
            server.wait(lambda stats: stats.connections_open == 1, "the connection is gone")


# --- lost framing ----------------------------------------------------------------------------------------------


def last_error(client: RawClient) -> dict[str, object]:
    reply = client.receive()
    assert reply["id"] is None
    assert client.receive() is None
    error: dict[str, object] = reply["error"]
    return error


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_frame_limit_of_a_request(loop_factory: LoopFactory, more: int) -> None:
    limits = LIMITS._replace(frame_size=2048)
    with (
        running_server(loop=loop_factory, limits=limits) as server,
        server.client() as client,
        server.client() as other,
    ):
        body = echo("x" * (2048 + more - len(echo(""))))
        assert len(body) == 2048 + more
        if more <= 0:
            client.send(body)
            # The same text comes back in a shorter message.
            assert client.receive()["id"] == 1
        else:
            client.send_raw(frame(body)[:4])
            error = last_error(client)
            assert error["code"] == -32006
            (line,) = server.logs.wait(event="framing lost, connection closed", code=-32006)
            assert error["data"] == {"limit": 2048, "length": 2049, "call_id": line["call_id"]}
        assert other.ask(echo())["id"] == 1


def test_a_declared_length_costs_no_memory() -> None:
    with running_server(limits=LIMITS._replace(frame_size=256 << 20)) as server:
        clients = [server.client() for _ in range(20)]
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for client in clients:
                client.send_raw((256 << 20).to_bytes(4, "big") + b"{")
            server.turn()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < 1 << 20
        for client in clients:
            client.vanish()


def test_length_zero_cancels_what_runs(loop_factory: LoopFactory) -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__), loop=loop_factory) as server, server.client() as client:
        client.send(request("probe.run"))
        server.in_flight(1)
        client.send_raw(bytes(4) + frame(echo()))
        error = last_error(client)
        assert error["code"] == -32700
        server.wait(lambda stats: stats.calls_in_flight == 0, "the call is cancelled")
        assert gate.cancelled == 1


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 30])
def test_an_end_of_file_inside_a_frame(loop_factory: LoopFactory, cut: int) -> None:
    with running_server(loop=loop_factory) as server, server.client() as client:
        client.send_raw(frame(echo())[:cut])
        client.half_close()
        error = last_error(client)
        assert error["code"] == -32700
        assert str(cut) in str(error["message"])
        server.logs.wait(event="framing lost, connection closed", code=-32700)


# --- errors that do not fit ------------------------------------------------------------------------------------


class Tree(Message):
    members: dict[str, "Tree"] = Field(default_factory=dict)


def test_an_error_always_fits_the_smallest_frame() -> None:
    """Its details repeat names and an id that the peer chose."""
    service = Service("probe")
    service.method(Method("probe.tree", Tree, str))(lambda params, context: "")
    params: object = {"y": 1}
    for _ in range(4):
        params = {"members": {"é" * 60: params}}
    body = {
        "jsonrpc": "2.0",
        "id": "é" * 64,
        "method": "probe.tree",
        "params": params,
        "meta": {"call_id": "c" * 64},
    }
    limits = LIMITS._replace(frame_size=FRAME_SIZE_MIN)
    with running_server(service, limits=limits) as server, server.client() as client:
        error = client.ask(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())["error"]
        assert (error["code"], error["data"]) == (-32602, {"call_id": "c" * 64})
        assert client.ask(echo())["id"] == 1
