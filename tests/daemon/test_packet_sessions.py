"""Sessions on SOCK_SEQPACKET: what differs from streams (protocol §17), and what must not."""

import asyncio
import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from superd.listeners import Listener, bind_listener
from superd.service import Context, Service
from superd_client import Client
from superd_client.ancillary import PACKET_HINT, rights
from superd_client.builtin import Nothing
from superd_client.wire.limits import HEADER_SIZE
from tests.daemon.process import Superd
from tests.daemon.raw import GOAWAY, PATIENCE, RawPacketClient, echo, frame, request
from tests.daemon.running import LIMITS, Gate, LoopFactory, Running, running_server, service_of


def packet_listener(path: str) -> list[Listener]:
    return [bind_listener(f"unix-seqpacket:{path}", 0o600)]


@contextlib.contextmanager
def serving(*services: Service, loop: LoopFactory, **options: Any) -> Iterator[Running]:
    with running_server(*services, loop=loop, listeners=packet_listener, **options) as server:
        yield server


@contextlib.contextmanager
def client_of(server: Running) -> Iterator[RawPacketClient]:
    """A client, which is answered before the block and after it."""
    with RawPacketClient(server.path) as client:
        assert client.ask(echo("first"))["result"] == {"text": "first"}
        yield client
        assert client.ask(echo("last"))["result"] == {"text": "last"}


def refused(client: RawPacketClient) -> tuple[int, dict[str, Any]]:
    """The code and the data of a refusal that has no id."""
    reply = client.receive()
    assert reply["id"] is None
    data = reply["error"]["data"]
    assert data.pop("call_id")
    return reply["error"]["code"], data


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0",
        b"\0\0\0",
        b"\0\0\0\0",
        b"\0\0\0\2{",
        b"\0\0\0\1{}",
        frame(echo()) * 2,
        frame(echo())[:-1],
        frame(echo()) + b"\0",
        b"GET / HTTP/1.1",
    ],
)
def test_a_packet_that_is_not_one_frame_costs_itself(loop_factory: LoopFactory, packet: bytes) -> None:
    with serving(loop=loop_factory) as server, client_of(server) as client:
        client.send_raw(packet)
        assert refused(client) == (-32700, {})


def test_an_empty_packet_before_the_end_is_answered(loop_factory: LoopFactory) -> None:
    with serving(loop=loop_factory) as server, RawPacketClient(server.path) as client:
        client.send_raw(b"")
        client.send(echo())
        client.send_raw(b"")
        client.half_close()
        replies = [client.receive() for _ in range(3)]
        assert sorted(str(reply["id"]) for reply in replies) == ["1", "None", "None"]
        assert [reply["error"]["code"] for reply in replies if reply["id"] is None] == [-32700] * 2
        assert client.receive() is None


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_packet_at_the_frame_limit(loop_factory: LoopFactory, more: int) -> None:
    limits = LIMITS._replace(frame_size=2048)
    with serving(loop=loop_factory, limits=limits) as server, client_of(server) as client:
        body = echo("x" * (2048 + more - len(echo(""))))
        assert len(body) == 2048 + more
        client.send(body)
        if more > 0:
            assert refused(client) == (-32006, {"limit": 2048, "length": 2049})
        else:
            assert client.receive()["id"] == 1


def test_a_packet_is_not_kept_beyond_the_frame_limit(loop_factory: LoopFactory) -> None:
    """Whatever its header says, and however much the kernel can hold."""
    with serving(loop=loop_factory) as server, client_of(server) as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * LIMITS.frame_size)
        size = client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - 32
        if size <= LIMITS.frame_size + HEADER_SIZE:
            pytest.skip("net.core.wmem_max is below the frame limit")
        client.send_raw(b"\xff" * size)
        assert refused(client) == (
            -32006,
            {"limit": LIMITS.frame_size, "length": size - HEADER_SIZE},
        )


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_result_at_the_size_of_a_packet(loop_factory: LoopFactory, more: int) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        room = probe.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - 32 - HEADER_SIZE
    overhead = len(b'{"jsonrpc":"2.0","id":1,"result":""}')

    def fitting(params: Nothing, context: Context) -> str:
        return "x" * (room - overhead + more)

    with serving(service_of(fitting), loop=loop_factory) as server, client_of(server) as client:
        reply = client.ask(request("probe.run"))
        if more <= 0:
            assert len(reply["result"]) == room - overhead + more
            return
        assert (reply["id"], reply["error"]["code"]) == (1, -32006)
        assert reply["error"]["message"] == f"the result does not fit a packet: {PACKET_HINT}"
        assert reply["error"]["data"]["limit"] == room
        assert reply["error"]["data"]["length"] == room + 1


def test_thousands_of_packets(loop_factory: LoopFactory) -> None:
    with serving(loop=loop_factory) as server, RawPacketClient(server.path) as client:
        bodies = [echo(str(number), number) for number in range(3000)]
        writer = threading.Thread(target=client.send, args=bodies)
        writer.start()
        replies = [client.receive() for _ in bodies]
        writer.join()
        assert {reply["id"]: reply["result"]["text"] for reply in replies} == {
            number: str(number) for number in range(3000)
        }


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_calls_in_flight_are_limited(loop_factory: LoopFactory, more: int) -> None:
    gate = Gate()
    limits = LIMITS._replace(calls_in_flight=4)
    with (
        serving(service_of(gate.__call__), loop=loop_factory, limits=limits) as server,
        RawPacketClient(server.path) as client,
    ):
        client.send(*(request("probe.run", {}, number) for number in range(4 + more)))
        server.in_flight(min(4 + more, 4))
        turn(server)
        assert gate.running == min(4 + more, 4)
        server.run(gate.open())
        assert sorted(client.receive()["id"] for _ in range(4 + more)) == list(range(4 + more))


def turn(server: Running) -> None:
    """All that was ready in the loop has been done since."""
    with RawPacketClient(server.path) as bystander:
        for number in range(50):
            assert bystander.ask(echo(str(number)))["result"] == {"text": str(number)}


def test_a_peer_that_never_reads_is_paused(loop_factory: LoopFactory) -> None:
    with serving(loop=loop_factory) as server, RawPacketClient(server.path) as client:
        client.sock.setblocking(False)
        sent = 0
        while sent < 10_000:
            try:
                client.send(echo("x" * 10_000, sent))
            except BlockingIOError:
                served = server.stats.calls_served
                turn(server)
                if server.stats.calls_served == served + 50:
                    break
            else:
                sent += 1
        assert 10 < sent < 200
        client.sock.settimeout(PATIENCE)
        assert sorted(client.receive()["id"] for _ in range(sent)) == list(range(sent))


def test_a_peer_that_vanishes_cancels_its_calls(loop_factory: LoopFactory) -> None:
    gate = Gate()
    with (
        serving(service_of(gate.__call__), loop=loop_factory) as server,
        RawPacketClient(server.path) as client,
    ):
        client.send(request("probe.run"))
        server.in_flight(1)
        client.vanish()
        server.in_flight(0)
        assert gate.cancelled == 1


def test_the_drain(loop_factory: LoopFactory) -> None:
    """What was sent before is answered; of all else its sender knows that it was not sent."""
    gate = Gate()
    with (
        serving(service_of(gate.__call__), loop=loop_factory) as server,
        RawPacketClient(server.path) as client,
    ):
        client.send(request("probe.run"))
        server.in_flight(1)
        draining = asyncio.run_coroutine_threadsafe(server.drain(PATIENCE), server.loop)
        taken = send_until_refused(client)
        server.run(gate.open())
        replies = [client.receive() for _ in range(taken + 2)]
        replies.remove(GOAWAY)
        assert sorted(reply["id"] for reply in replies) == list(range(1, taken + 2))
        assert client.receive() is None
        assert draining.result(PATIENCE) is True
        assert not Path(server.path).exists()


def send_until_refused(client: RawPacketClient) -> int:
    """Send calls until the server takes nothing more; how many it took."""
    taken = 0
    while True:
        try:
            client.send(echo("in time", taken + 2))
        except BrokenPipeError:
            return taken
        taken += 1


def test_a_connection_too_many(loop_factory: LoopFactory) -> None:
    """The refusal arrives, though the server leaves the first request unread."""
    with (
        serving(loop=loop_factory, connections=1) as server,
        client_of(server),
        RawPacketClient(server.path) as second,
    ):
        with contextlib.suppress(BrokenPipeError):  # it may also come too late
            second.send(echo())
        code, data = refused(second)
        assert (code, data["resource"]) == (-32002, "connections")
        assert second.receive() is None


@pytest.mark.parametrize("listener", [packet_listener, lambda path: [bind_listener(f"unix:{path}", 0o600)]])
def test_descriptors_that_nobody_asked_for_are_closed(loop_factory: LoopFactory, listener: Any) -> None:
    reader, writer = os.pipe()
    with running_server(loop=loop_factory, listeners=listener) as server, open(reader, "rb") as end:  # noqa: PTH123
        kind = listener(server.path + "-probe")[0]
        kind.close()
        with socket.socket(socket.AF_UNIX, kind.kind.value) as client:
            client.settimeout(PATIENCE)
            client.connect(server.path)
            client.sendmsg([frame(echo())], rights([writer] * 100))
            os.close(writer)
            assert b"-32600" in client.recv(10_000)
            assert end.read() == b"", "every copy of the writing end is closed"


def test_superd_listens_on_both_kinds_at_once() -> None:
    with tempfile.TemporaryDirectory(prefix="superd-") as folder:
        stream, packets = Path(folder) / "stream", Path(folder) / "packets"
        name = f"@superd-test-{os.getpid()}"
        daemon = Superd(
            f"--listen=unix:{stream}",
            f"--listen=unix-seqpacket:{packets}",
            f"--listen=unix-seqpacket:{name}",
            path=stream,
        )
        try:
            daemon.started()
            for address in (f"unix:{stream}", f"unix-seqpacket:{packets}", f"unix-seqpacket:{name}"):
                with Client(address) as client:
                    assert client.call("echo.echo", {"text": address}) == {"text": address}
            assert daemon.stop() == 0
            assert not stream.exists()
            assert not packets.exists()
        finally:
            daemon.kill()
