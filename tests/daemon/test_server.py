"""Accepting: the limit of connections, running out of descriptors, the drain."""

import asyncio
import contextlib
import errno
import os
import socket
import threading
from pathlib import Path
from typing import NoReturn

import pytest

from superd.listeners import Listener, bind_listener
from superd.service import Context
from superd_client.builtin import Nothing
from tests.daemon.raw import GOAWAY, PATIENCE, RawClient, echo, frame, request
from tests.daemon.running import LIMITS, Gate, LoopFactory, running_server, service_of


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_limit_of_connections(loop_factory: LoopFactory, more: int) -> None:
    with running_server(loop=loop_factory, connections=3) as server:
        clients = [server.client() for _ in range(3 + more)]
        for client in clients[:3]:
            assert client.ask(echo())["id"] == 1
        if more > 0:
            error = clients[3].receive()
            assert error["id"] is None
            assert error["error"]["code"] == -32002
            call_id = error["error"]["data"].pop("call_id")
            assert error["error"]["data"].pop("retry_after_usec") > 0
            assert error["error"]["data"] == {"resource": "connections", "used": 3, "limit": 3}
            assert clients[3].receive() is None
            assert server.logs.wait(event="connection refused", call_id=call_id, level="warning")
            assert server.stats.connections_refused == 1
            clients.pop().vanish()
            clients.pop().vanish()
            server.wait(lambda stats: stats.connections_open == 2, "a place is free")
            clients.append(server.client())
            assert clients[2].ask(echo())["id"] == 1
        else:
            assert server.stats.connections_refused == 0
        for client in clients:
            client.vanish()


def test_a_connection_that_is_refused_may_have_sent_something() -> None:
    with running_server(connections=1) as server, server.client() as first:
        assert first.ask(echo())
        with server.client() as second:
            with contextlib.suppress(BrokenPipeError):  # it may also come too late
                second.send(echo())
            assert second.receive()["error"]["code"] == -32002
            assert second.receive() is None


def test_many_connections_at_once(loop_factory: LoopFactory) -> None:
    with running_server(loop=loop_factory, connections=200) as server:
        clients = [server.client() for _ in range(150)]
        for client in clients:
            client.send(echo())
        for client in clients:
            assert client.receive()["id"] == 1
            client.vanish()


class Exhausted(socket.socket):
    """A listening socket whose process has no descriptors left."""

    accepts = 0

    def _accept(self) -> NoReturn:
        self.accepts += 1
        raise OSError(errno.EMFILE, "Too many open files")


def test_an_accept_that_fails_is_not_tried_at_every_turn(loop_factory: LoopFactory) -> None:
    def with_exhausted(path: str) -> list[Listener]:
        bound = bind_listener(f"unix:{path}-full", 0o600)
        sockets.append(Exhausted(fileno=bound.sock.detach()))
        return [bind_listener(f"unix:{path}", 0o600), bound._replace(sock=sockets[0])]

    sockets: list[Exhausted] = []
    with (
        running_server(loop=loop_factory, listeners=with_exhausted) as server,
        RawClient(f"{server.path}-full"),
    ):
        server.turn(60)
        assert 1 <= sockets[0].accepts < 30


# --- the drain -------------------------------------------------------------------------------------------------


def test_what_was_sent_before_is_carried_out_and_answered(loop_factory: LoopFactory) -> None:
    gate = Gate()
    with running_server(service_of(gate.__call__), loop=loop_factory) as server, server.client() as client:
        client.send(request("probe.run"))
        server.in_flight(1)
        draining = asyncio.run_coroutine_threadsafe(server.drain(PATIENCE), server.loop)
        wait_for_pipe(client)
        assert client.receive() == GOAWAY
        server.run(gate.open())
        assert client.receive() == {"jsonrpc": "2.0", "id": 1, "result": "through"}
        assert client.receive() is None
        assert draining.result(PATIENCE) is True
        assert not Path(server.path).exists()


def wait_for_pipe(client: RawClient) -> None:
    """Wait until the server takes nothing more: our writes fail."""
    with contextlib.suppress(BrokenPipeError):
        # The beginning of a frame, which the server's shutdown(2) cuts: no fault of ours.
        client.send_raw(b"\0")
        while client.sock.send(b"") == 0:
            os.sched_yield()


def test_calls_that_wait_for_their_turn_are_carried_out(loop_factory: LoopFactory) -> None:
    """A drain goes on where backpressure had stopped: all that the kernel had taken is answered."""
    gate = Gate()
    limits = LIMITS._replace(calls_in_flight=1)
    with (
        running_server(service_of(gate.__call__), loop=loop_factory, limits=limits) as server,
        server.client() as client,
    ):
        client.send(request("probe.run"), *(echo("x" * 1000, number) for number in range(2, 150)))
        server.in_flight(1)
        draining = asyncio.run_coroutine_threadsafe(server.drain(PATIENCE), server.loop)
        assert client.receive() == GOAWAY
        server.run(gate.open())
        assert [client.receive()["id"] for _ in range(149)] == list(range(1, 150))
        assert client.receive() is None
        assert draining.result(PATIENCE) is True


def test_a_drain_that_takes_too_long(loop_factory: LoopFactory) -> None:
    """What runs is cancelled; what waited for its turn was not begun, and is refused."""
    gate = Gate()
    limits = LIMITS._replace(calls_in_flight=2)
    with (
        running_server(service_of(gate.__call__), loop=loop_factory, limits=limits) as server,
        server.client() as client,
    ):
        client.send(
            *(request("probe.run", None, number, meta={"call_id": f"c-{number}"}) for number in range(6))
        )
        server.in_flight(2)
        assert server.run(server.drain(0.05)) is False
        assert client.receive() == GOAWAY
        errors = {reply["id"]: reply["error"] for reply in (client.receive() for _ in range(6))}
        assert {number: error["code"] for number, error in errors.items()} == {
            0: -32004,
            1: -32004,
            **dict.fromkeys(range(2, 6), -32005),
        }
        assert {error["data"]["call_id"] for error in errors.values()} == {
            f"c-{number}" for number in range(6)
        }
        assert client.receive() is None
        assert (server.stats.calls_failed, server.stats.calls_refused) == (2, 4)


def test_a_handler_that_ignores_its_cancellation(loop_factory: LoopFactory) -> None:
    leave = asyncio.Event()
    ended = asyncio.Event()

    async def stubborn(params: Nothing, context: Context) -> str:
        while not leave.is_set():
            try:
                await leave.wait()
            except asyncio.CancelledError:
                continue
        ended.set()
        return "late"

    async def let_go() -> None:
        leave.set()
        await ended.wait()

    with running_server(service_of(stubborn), loop=loop_factory) as server, server.client() as client:
        client.send(request("probe.run"))
        server.in_flight(1)
        assert server.run(server.drain(0.01)) is False
        assert client.receive() == GOAWAY
        # The caller is not kept waiting for the handler.
        assert client.receive()["error"]["code"] == -32004
        assert client.receive() is None
        server.run(let_go())
        server.wait(lambda stats: stats.connections_open == 0, "the connection has ended")


def test_a_peer_that_never_reads_does_not_stop_the_drain(loop_factory: LoopFactory) -> None:
    with running_server(loop=loop_factory) as server, server.client() as client:
        client.send(echo("x" * 900_000))
        server.wait(lambda stats: stats.calls_served == 1, "the call")
        assert server.run(server.drain(0.05)) is False
        server.wait(lambda stats: stats.connections_open == 0, "the connection has ended")


def test_connections_that_wait_to_be_accepted_are_served_before_the_end() -> None:
    """Stand-alone nobody else accepts them."""
    with running_server() as server:
        blocked, go_on = threading.Event(), threading.Event()

        def block() -> None:
            blocked.set()
            assert go_on.wait(PATIENCE)

        server.loop.call_soon_threadsafe(block)
        assert blocked.wait(PATIENCE)
        clients = [server.client() for _ in range(50)]
        for client in clients:
            client.send(echo())
        draining = asyncio.run_coroutine_threadsafe(server.drain(PATIENCE), server.loop)
        go_on.set()
        for client in clients:
            assert client.receive() == GOAWAY
            assert client.receive()["id"] == 1
            assert client.receive() is None
            client.vanish()
        assert draining.result(PATIENCE) is True


def test_connections_of_a_socket_of_systemd_wait_for_the_next_process() -> None:
    """What was not accepted is still there for the one that holds the socket."""

    def activated(path: str) -> list[Listener]:
        listener = bind_listener(f"unix:{path}", 0o600)
        keep.append(listener)
        return [Listener(listener.sock.dup(), listener.address, "superd.socket", activated=True)]

    keep: list[Listener] = []
    with running_server(listeners=activated) as server:
        with server.client() as client:
            assert client.ask(echo())["id"] == 1
        assert server.run(server.drain(PATIENCE)) is True
        with server.client() as client:
            client.send_raw(frame(echo()))
            accepted, _ = keep[0].sock.accept()
            with accepted:
                assert accepted.recv(100) == frame(echo())
        keep[0].close()


def test_several_listeners() -> None:
    def two(path: str) -> list[Listener]:
        return [bind_listener(f"unix:{path}", 0o600), bind_listener(f"unix:@superd-test-{id(two)}", 0o600)]

    with (
        running_server(listeners=two) as server,
        server.client() as one,
        RawClient(f"\0superd-test-{id(two)}") as other,
    ):
        assert one.ask(echo())["id"] == other.ask(echo())["id"] == 1
