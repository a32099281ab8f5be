"""Datagram sockets of the daemon: real ones, with senders of every kind (protocol §18)."""

import asyncio
import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from superd.journal import MessageId
from superd.listeners import Listener, bind_listener
from superd.service import Context, Service
from superd.session import SessionLimits
from superd_client.address import SocketKind
from superd_client.builtin import Nothing
from superd_client.datagrams import ask_for_credentials
from superd_client.streams import Stream, Upload
from tests.daemon.datagram_client import RawDatagrams
from tests.daemon.raw import echo, frame, request
from tests.daemon.running import LIMITS, Gate, LoopFactory, Running, running_server, service_of

STRANGER: Final = 12_345

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may send another user's credentials")


def listeners(path: str) -> list[Listener]:
    return [bind_listener(f"unix:{path}", 0o600), bind_listener(f"unix-dgram:{path}.d", 0o600)]


@contextmanager
def serving(*services: Service, limits: SessionLimits = LIMITS, **more: Any) -> Iterator[Running]:
    with running_server(*services, limits=limits, listeners=listeners, **more) as running:
        yield running


def client(running: Running, own: str | bytes | None = "") -> RawDatagrams:
    return RawDatagrams(f"{running.path}.d", own)


def in_microseconds(seconds: float) -> int:
    return int((time.monotonic() + seconds) * 1e6)


# --- calls ---------------------------------------------------------------------------------------------------------


def test_a_call_is_answered(loop_factory: LoopFactory) -> None:
    with serving(loop=loop_factory) as running, client(running) as peer:
        assert peer.ask(echo("hello")) == {"jsonrpc": "2.0", "id": 1, "result": {"text": "hello"}}


def test_a_sender_with_a_path_is_answered() -> None:
    with serving() as running, client(running, f"{running.path}.own") as peer:
        assert peer.ask(echo("hello"))["result"] == {"text": "hello"}
        Path(f"{running.path}.own").unlink()


def test_a_sender_that_connected_its_socket_is_answered() -> None:
    with serving() as running, client(running) as peer:
        peer.sock.connect(peer.server)
        peer.sock.send(frame(echo("hello")))
        assert peer.receive()["result"] == {"text": "hello"}


def test_an_abstract_address() -> None:
    name = f"superd-test-datagrams-{os.getpid()}"
    with (
        running_server(listeners=lambda _: [bind_listener(f"unix-dgram:@{name}", 0o600)]),
        RawDatagrams(f"\0{name}") as peer,
    ):
        assert peer.ask(echo("hello"))["result"] == {"text": "hello"}


def test_the_caller_is_who_sent_the_datagram() -> None:
    async def who(params: Nothing, context: Context) -> list[int]:
        return [context.caller.uid, context.caller.gid, context.caller.pid]

    with serving(service_of(who, result=list[int])) as running, client(running) as peer:
        assert peer.ask(request("probe.run"))["result"] == [os.getuid(), os.getgid(), os.getpid()]


@as_root
def test_two_users_of_one_socket_are_told_apart() -> None:
    async def who(params: Nothing, context: Context) -> int:
        return context.caller.uid

    with serving(service_of(who, result=int)) as running, client(running) as peer:
        peer.send_as(STRANGER, request("probe.run"))
        assert peer.receive()["result"] == STRANGER
        assert peer.ask(request("probe.run"))["result"] == 0


def test_a_notification_is_carried_out_and_not_answered() -> None:
    with serving() as running, client(running, None) as peer, client(running) as other:
        peer.send(request("echo.echo", {"text": "a"}, None))
        running.wait(lambda stats: stats.notifications == 1, "the notification")
        other.send(request("echo.echo", {"text": "a"}, None))
        assert other.ask(echo("b"))["result"] == {"text": "b"}
        assert running.stats.replies_dropped == 0


def test_a_sender_without_an_address_gets_no_reply_which_is_logged() -> None:
    with serving() as running, client(running, None) as peer:
        peer.send(echo())
        (line,) = running.logs.wait(message_id=MessageId.REPLY_DROPPED)
        assert (line["reason"], line["method"]) == ("its sender has no address", "echo.echo")
        assert (running.stats.calls_served, running.stats.replies_dropped) == (1, 1)


def test_ids_are_of_their_sender() -> None:
    gate = Gate()
    with serving(service_of(gate)) as running, client(running) as one, client(running) as two:
        one.send(request("probe.run"))
        running.in_flight(1)
        assert two.ask(echo())["result"]
        assert one.ask(echo())["error"]["code"] == -32600
        running.run(gate.open())
        assert one.receive()["result"] == "through"


# --- bad input -----------------------------------------------------------------------------------------------------

ECHO: Final = frame(echo())


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", -32700),
        (ECHO[:3], -32700),
        (ECHO[:4], -32700),
        (ECHO[: len(ECHO) // 2], -32700),
        (ECHO[:-1], -32700),
        (ECHO + b" ", -32700),
        (ECHO + ECHO[: len(ECHO) // 2], -32700),
        (ECHO + ECHO, -32700),
        (bytes(4), -32700),
        (frame(b"not json"), -32700),
        (frame(b"[]"), -32600),
    ],
)
def test_what_is_no_message_is_refused_and_the_next_is_served(data: bytes, code: int) -> None:
    with serving() as running, client(running) as peer:
        peer.send_raw(data)
        reply = peer.receive()
        assert (reply["id"], reply["error"]["code"]) == (None, code)
        assert peer.ask(echo())["result"]


def test_the_frame_limit_holds_for_datagrams() -> None:
    limit = 1024
    with serving(limits=LIMITS._replace(frame_size=limit)) as running, client(running) as peer:
        for size in (limit - 1, limit):
            assert peer.ask(echo("").ljust(size))["result"] == {"text": ""}
        reply = peer.ask(echo("").ljust(limit + 1))
        assert reply["error"]["code"] == -32006
        assert (reply["error"]["data"]["limit"], reply["error"]["data"]["length"]) == (limit, limit + 1)


def test_descriptors_are_refused_and_closed() -> None:
    reader, writer = os.pipe()
    with serving() as running, client(running) as peer:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [writer]))]
        for body in (echo("x", 7), request("echo.echo", {"text": "x"}, 7, meta={"fds": 1})):
            peer.sock.sendmsg([frame(body)], rights, 0, peer.server)
            reply = peer.receive()
            assert (reply["id"], reply["error"]["code"]) == (7, -32600)
        os.close(writer)
        assert os.read(reader, 1) == b"", "nobody has the other end any more"
        assert running.stats.calls_served == 0
    os.close(reader)


def test_a_reply_is_not_answered() -> None:
    with serving() as running, client(running) as peer:
        for message in (
            {"id": 1, "result": None},
            {"id": None, "error": {"code": 1, "message": "", "data": {}}},
        ):
            peer.send(json.dumps({"jsonrpc": "2.0"} | message).encode())
        assert peer.ask(echo())["result"]
        assert peer.has_nothing()
        assert running.stats.calls_refused == 2


def test_what_came_before_credentials_were_asked_for_is_dropped() -> None:
    """As a datagram does that activates a socket unit without PassCredentials=."""

    def early(path: str) -> list[Listener]:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(f"{path}.d")
        with RawDatagrams(f"{path}.d") as peer:
            peer.send(echo())
        ask_for_credentials(sock)
        return [Listener(sock, f"unix-dgram:{path}.d", None, activated=True, kind=SocketKind.DATAGRAM)]

    with running_server(listeners=early) as running:
        (line,) = running.logs.wait(message_id=MessageId.DATAGRAM_DROPPED)
        assert "PassCredentials=yes" in line["reason"]
        with client(running) as peer:
            assert peer.ask(echo())["result"]
        assert (running.stats.datagrams_dropped, running.stats.calls_served) == (1, 1)


async def give_items(*_: Any) -> AsyncIterator[int]:
    yield 1


async def take_items(*_: Any) -> int:
    return 1


@pytest.mark.parametrize(
    ("method", "handler"),
    [
        (Stream("probe.watch", Nothing, int), give_items),
        (Upload("probe.load", Nothing, int, int), take_items),
    ],
)
def test_there_are_no_streams(method: Any, handler: Any) -> None:
    service = Service("probe")
    service.method(method)(handler)
    with serving(service) as running, client(running) as peer:
        reply = peer.ask(request(method.name, {}, 7))
        assert (reply["id"], reply["error"]["code"]) == (7, -32600)
        assert "has no streams" in reply["error"]["message"]
        assert peer.ask(echo())["result"]
        assert running.stats.calls_served == 1


# --- senders' addresses that are not theirs --------------------------------------------------------------------------


def test_a_relative_path_gets_no_reply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with serving() as running, client(running, "relative") as peer:
        peer.send(echo())
        (line,) = running.logs.wait(message_id=MessageId.REPLY_DROPPED)
        assert line["reason"] == "the sender's address is a relative path"


@as_root
def test_another_users_socket_gets_no_reply() -> None:
    with serving() as running, client(running, f"{running.path}.own") as peer:
        peer.send_as(STRANGER, echo())
        (line,) = running.logs.wait(message_id=MessageId.REPLY_DROPPED)
        assert line["reason"] == "the file at the sender's address is not the sender's"
        os.chown(f"{running.path}.own", STRANGER, -1)
        peer.send_as(STRANGER, echo())
        assert peer.receive()["result"]
        Path(f"{running.path}.own").unlink()


# --- receivers that are full ---------------------------------------------------------------------------------------


def test_a_full_receiver_gets_all_its_replies_once_it_reads() -> None:
    with serving() as running, client(running) as peer:
        for number in range(60):
            peer.send(echo(str(number), number))
        running.wait(lambda stats: stats.calls_served == 60, "all are carried out")
        assert [peer.receive()["id"] for _ in range(60)] == list(range(60))


def test_a_receiver_that_never_reads_costs_itself_its_replies() -> None:
    with serving() as running, client(running) as deaf, client(running) as other:
        for number in range(40):
            deaf.send(
                request("echo.echo", {"text": ""}, number, meta={"deadline_usec": in_microseconds(0.3)})
            )
        assert other.ask(echo())["result"]
        lines = running.logs.wait(40 - room(), message_id=MessageId.REPLY_DROPPED)
        assert {line["reason"] for line in lines} == {"its receiver was full until the deadline"}
        assert other.ask(echo())["result"]
        assert running.stats.replies_dropped == 40 - room()
        assert len({deaf.receive()["id"] for _ in range(room())}) == room()
        assert deaf.has_nothing()


def room() -> int:
    """How many datagrams a socket takes that is not read."""
    with RawDatagrams("") as full, RawDatagrams("", None) as filler:
        filler.sock.setblocking(False)
        for count in itertools.count():
            try:
                filler.sock.sendto(b"", full.sock.getsockname())
            except BlockingIOError:
                return count
    raise AssertionError


DEAF: Final = """
import socket, sys
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.bind("")
body = b'{"jsonrpc":"2.0","id":%d,"method":"echo.echo","params":{"text":"' + b"x" * 60_000 + b'"}}'
for number in range(8):
    message = body % number
    sock.sendto(len(message).to_bytes(4, "big") + message, sys.argv[1])
print("sent", flush=True)
sys.stdin.read()
"""


def test_a_process_that_never_reads_does_not_take_the_room_for_others() -> None:
    """What it leaves unread is more than one socket may have under way."""
    with (
        serving() as running,
        client(running) as peer,
        subprocess.Popen(
            [sys.executable, "-c", DEAF, peer.server], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as deaf,
    ):
        assert deaf.stdout is not None
        assert deaf.stdout.readline() == b"sent\n"
        running.wait(lambda stats: stats.calls_served == 8, "its calls are carried out")
        for number in range(20):
            assert peer.ask(echo("x" * 50_000, number))["id"] == number


def test_a_result_that_fits_no_datagram() -> None:
    async def large(params: Nothing, context: Context) -> str:
        return "x" * 500_000

    with serving(service_of(large)) as running, client(running) as peer:
        error = peer.ask(request("probe.run"))["error"]
        assert error["code"] == -32006
        assert "stream socket" in error["message"]
        assert error["data"]["limit"] < 500_000 < error["data"]["length"]


# --- limits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("running_calls", "code"), [(1, None), (2, None), (3, -32002)])
def test_the_calls_of_a_user_are_bounded(running_calls: int, code: int | None) -> None:
    gate = Gate()
    with (
        serving(service_of(gate), limits=LIMITS._replace(calls_in_flight=2)) as running,
        client(running) as peer,
    ):
        for number in range(running_calls):
            peer.send(request("probe.run", None, number))
        if code is not None:
            error = peer.receive()["error"]
            assert error["code"] == code
            assert {key: error["data"][key] for key in ("resource", "used", "limit")} == {
                "resource": "calls",
                "used": 2,
                "limit": 2,
            }
        running.in_flight(min(running_calls, 2))
        running.run(gate.open())
        assert {peer.receive()["result"] for _ in range(min(running_calls, 2))} == {"through"}


@as_root
def test_a_user_at_the_limit_leaves_the_others_theirs() -> None:
    gate = Gate()
    with (
        serving(service_of(gate), limits=LIMITS._replace(calls_in_flight=2)) as running,
        client(running) as flood,
        client(running) as peer,
    ):
        for number in range(50):
            flood.send_as(STRANGER, request("probe.run", None, number))
        assert peer.ask(echo())["result"]
        running.wait(lambda stats: stats.calls_refused == 48, "the flood is refused")
        running.run(gate.open())


@as_root
def test_a_full_socket_is_not_read_and_its_senders_wait() -> None:
    gate = Gate()
    with (
        serving(service_of(gate), limits=LIMITS._replace(calls_in_flight=1)) as running,
        client(running) as peer,
    ):
        for uid in range(4):
            peer.send_as(STRANGER + uid, request("probe.run", None, uid))
        running.in_flight(4)
        waiting = peer.fill(first_uid=STRANGER + 9)
        assert peer.has_nothing()
        running.run(gate.open())
        assert len({peer.receive()["id"] for _ in range(4 + waiting)}) == 4 + waiting


FLOOD: Final = """
import socket, sys
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
while True:
    sock.sendto(b"nonsense", sys.argv[1])
"""


def test_a_flood_of_one_sender_does_not_keep_others_from_being_served() -> None:
    with serving() as running, client(running) as peer:
        flood = subprocess.Popen([sys.executable, "-c", FLOOD, peer.server], stderr=subprocess.DEVNULL)
        try:
            running.wait(lambda stats: stats.calls_refused > 100, "the flood has begun")
            for number in range(20):
                assert peer.ask(echo("", number))["id"] == number
            with running.client() as bystander:
                assert bystander.ask(echo())["result"]
        finally:
            flood.kill()
            flood.wait()


# --- cancellation --------------------------------------------------------------------------------------------------


def cancel(request_id: int) -> bytes:
    return request("rpc.cancel", {"id": request_id}, None)


def test_a_call_is_cancelled_from_its_own_address_alone() -> None:
    gate = Gate()
    with serving(service_of(gate)) as running, client(running) as peer, client(running) as other:
        peer.send(request("probe.run"))
        running.in_flight(1)
        other.send(cancel(1))
        assert other.ask(echo())["result"]
        assert gate.running == 1
        peer.send(cancel(1))
        assert peer.receive()["error"]["code"] == -32004
        running.in_flight(0)
        assert gate.cancelled == 1


# --- deadlines -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deadline", [0, 1, in_microseconds(-1)], ids=["never", "long ago", "just now"])
def test_what_comes_too_late_is_not_begun(deadline: int) -> None:
    with serving() as running, client(running) as peer:
        reply = peer.ask(request("echo.echo", {"text": ""}, meta={"deadline_usec": deadline}))
        assert reply["error"]["code"] == -32003
        assert running.stats.calls_served == 0


def test_what_runs_too_long_is_cancelled(loop_factory: LoopFactory) -> None:
    gate = Gate()
    with serving(service_of(gate), loop=loop_factory) as running, client(running) as peer:
        begun = time.monotonic()
        reply = peer.ask(request("probe.run", meta={"deadline_usec": in_microseconds(0.3)}))
        assert reply["error"]["code"] == -32003
        assert time.monotonic() - begun > 0.29
        running.in_flight(0)
        assert gate.cancelled == 1


def test_a_deadline_in_the_far_future_is_never_reached(loop_factory: LoopFactory) -> None:
    with serving(loop=loop_factory) as running, client(running) as peer:
        assert peer.ask(request("echo.echo", {"text": ""}, meta={"deadline_usec": 2**63 - 1}))["result"]


def test_a_handler_that_ignores_its_cancellation_holds_no_reply_up() -> None:
    go = asyncio.Event()

    async def stubborn(params: Nothing, context: Context) -> str:
        while not go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go.wait()
        return "late"

    async def let_go() -> None:
        go.set()

    with serving(service_of(stubborn)) as running, client(running) as peer:
        peer.send(request("probe.run"))
        running.in_flight(1)
        peer.send(cancel(1))
        assert peer.receive()["error"]["code"] == -32004
        assert peer.ask(echo("", 1))["id"] == 1, "the id is free"
        running.run(let_go())
        running.in_flight(0)
        assert peer.has_nothing()


@pytest.mark.parametrize("method", ["rpc.credit", "rpc.item", "rpc.end", "rpc.goaway"])
def test_the_other_notifications_of_the_protocol_have_no_effect(method: str) -> None:
    params = {
        "rpc.credit": {"id": 1, "n": 1},
        "rpc.item": {"id": 1, "seq": 0, "item": 1},
        "rpc.end": {"id": 1},
    }
    gate = Gate()
    with serving(service_of(gate)) as running, client(running) as peer:
        peer.send(request("probe.run"))
        running.in_flight(1)
        peer.send(request(method, params.get(method, {}), None))
        assert peer.ask(echo("", 2))["id"] == 2
        running.run(gate.open())
        assert peer.receive()["result"] == "through"


# --- the end -------------------------------------------------------------------------------------------------------


def test_what_was_sent_before_the_drain_is_answered_and_then_senders_are_told() -> None:
    gate = Gate()
    with serving(service_of(gate)) as running, client(running) as peer, client(running) as late:
        peer.send(request("probe.run"))
        running.in_flight(1)
        late.sock.connect(late.server)
        drained = running.start(running.drain())
        running.run(_turns())
        assert not Path(late.server).exists()
        with pytest.raises(BrokenPipeError):
            late.sock.send(frame(echo()))
        running.run(gate.open())
        assert peer.receive()["result"] == "through"
        assert drained.result(10)


async def _turns() -> None:
    """Let a task that was started before begin."""


def test_what_does_not_end_is_cancelled_and_answered() -> None:
    gate = Gate()
    with serving(service_of(gate)) as running, client(running) as peer:
        peer.send(request("probe.run"))
        running.in_flight(1)
        assert not running.run(running.drain(0))
        assert peer.receive()["error"]["code"] == -32004


def test_what_waits_in_a_socket_of_systemd_stays_for_the_next_process() -> None:
    gate = Gate()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as shared:

        def activated(path: str) -> list[Listener]:
            ask_for_credentials(shared)
            shared.bind(f"{path}.d")
            return [
                Listener(shared.dup(), f"unix-dgram:{path}.d", None, activated=True, kind=SocketKind.DATAGRAM)
            ]

        with (
            running_server(service_of(gate), listeners=activated) as running,
            client(running) as peer,
        ):
            peer.send(request("probe.run"))
            running.in_flight(1)
            drained = running.start(running.drain())
            running.run(_turns())
            peer.send(echo("for the next"))
            running.run(gate.open())
            assert peer.receive()["result"] == "through"
            assert drained.result(10)
            assert shared.recv(1000) == frame(echo("for the next"))
            Path(f"{running.path}.d").unlink()
