"""Quotas by user, on real sockets: each at its limit, a hog beside a modest peer, and administrators above all."""

import asyncio
import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from superd.listeners import bind_listener
from superd.policy import Place, Rule, Rules
from superd.quota import Quotas, Totals
from superd.service import Context, Service
from superd.session import SessionLimits
from superd_client import Client, Fd, Message, Method, ResourceExhausted, Stream, Upload
from superd_client.builtin import Nothing
from tests.daemon.datagram_client import RawDatagrams
from tests.daemon.raw import PATIENCE, RawClient, echo, frame, request
from tests.daemon.running import Gate, Running, running_server
from tests.daemon.strangers import Stranger, needs_root

KIB, MIB = 1024, 1024 * 1024
HOG, MODEST, OPERATOR = 4001, 4002, 4003

#: Room for 256 KiB of replies on one connection.
LIMITS = SessionLimits(frame_size=MIB, calls_in_flight=64, write_buffer=256 * KIB)


class Text(Message):
    text: str


class Files(Message):
    file: Fd


class Stage:
    """A service whose work waits until the test lets it go on."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.taken = asyncio.Semaphore(0)
        self.service = Service("stage")
        self.service.method(Method("stage.wait", Nothing, str))(self.gate)
        self.service.method(Method("stage.control", Nothing, str), access="admin")(self._control)
        self.service.method(Stream("stage.watch", Nothing, str))(self._watch)
        self.service.method(Upload("stage.store", Nothing, Files, int))(self._store)
        self.service.method(Method("stage.keep", Text, int))(self._keep)

    async def _control(self, params: Nothing, context: Context) -> str:
        return "done"

    async def _watch(self, params: Nothing, context: Context) -> AsyncIterator[str]:
        yield await self.gate(params, context)

    async def _store(self, params: Nothing, items: AsyncIterator[Files], context: Context) -> int:
        count = 0
        async for each in items:
            with each.file:
                await self.taken.acquire()
            count += 1
        return count

    async def _keep(self, params: Text, context: Context) -> int:
        await self.gate(Nothing(), context)
        return len(params.text)


def ordinary(**totals: int) -> Quotas:
    """Quotas of which nobody is above, so that the tests' own user is like any other."""
    return Quotas(Totals(**totals), frame_size=LIMITS.frame_size)


def refusals(server: Running) -> list[tuple[object, object, object]]:
    found = server.logs.about(event="call refused")
    return [(each["resource"], each["used"], each["limit"]) for each in found]


# --- calls and streams -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "resource", "retry"),
    [("stage.wait", "calls", {"retry_after_usec": 10_000}), ("stage.watch", "streams", {})],
)
def test_calls_and_streams_of_one_user_on_all_its_connections(
    method: str, resource: str, retry: dict[str, int]
) -> None:
    stage = Stage()
    with (
        running_server(stage.service, quotas=ordinary(calls=8, streams=8)) as server,
        server.client() as one,
        server.client() as other,
    ):
        one.send(*(request(method, {}, number) for number in range(3)))  # limit - 1
        other.send(request(method, {}, 3))  # limit
        server.until(lambda: stage.gate.running == 4)
        refused = other.ask(request(method, {}, 4))["error"]
        assert (refused["code"], refused["data"].pop("call_id", None) is not None) == (-32002, True)
        assert refused["data"] == {"resource": resource, "used": 4, "limit": 4} | retry
        assert refusals(server) == [(resource, 4, 4)]
        server.run(stage.gate.open())
        while "result" not in one.receive():
            pass
        assert "error" not in other.receive()


def test_a_cancelled_call_counts_until_its_handler_has_ended() -> None:
    entered, let_go = asyncio.Event(), asyncio.Event()
    service = Service("stubborn")

    @service.method(Method("stubborn.run", Nothing, str))
    async def handle_run(params: Nothing, context: Context) -> str:
        entered.set()
        with contextlib.suppress(asyncio.CancelledError):
            await let_go.wait()
        await let_go.wait()
        return "late"

    with running_server(service, quotas=ordinary(calls=2)) as server, server.client() as client:
        client.send(request("stubborn.run", {}, 1))
        server.run(entered.wait())
        client.send(request("rpc.cancel", {"id": 1}, None))
        assert client.receive()["error"]["code"] == -32004
        assert client.ask(request("stubborn.run", {}, 2))["error"]["code"] == -32002
        server.loop.call_soon_threadsafe(let_go.set)
        server.in_flight(0)
        assert client.ask(echo("x", 3))["result"] == {"text": "x"}


def test_a_cancelled_call_counts_as_long_as_a_thread_works_for_it_or_is_to() -> None:
    """Else one could fill the queue of the threads without end: call, cancel, and call again."""
    entered, let_go = threading.Event(), threading.Event()
    service = Service("slow")

    @service.method(Method("slow.run", Nothing, str))
    def handle_run(params: Nothing, context: Context) -> str:
        entered.set()
        assert let_go.wait(PATIENCE)
        return "late"

    with running_server(service, quotas=ordinary(calls=4), workers=1) as server, server.client() as client:
        for number in range(2):
            client.send(request("slow.run", {}, number))
            server.in_flight(1)
            assert entered.wait(PATIENCE)
            assert client.ask(request("rpc.cancel", {"id": number}, None))["error"]["code"] == -32004
            server.in_flight(0)
        assert client.ask(request("slow.run", {}, 3))["error"]["data"]["used"] == 2
        let_go.set()
        server.until(lambda: server.quotas.calls.used_by_all == 0)
        assert client.ask(echo("x", 4))["result"] == {"text": "x"}


def test_what_is_refused_is_charged_nowhere() -> None:
    with running_server(quotas=ordinary(calls=2)) as server, server.client() as client:
        for number in range(5):
            assert client.ask(request("echo.echo", {"text": 1}, number))["error"]["code"] == -32602
            assert client.ask(request("no.such", {}, number))["error"]["code"] == -32601
        assert client.ask(echo())["result"] == {"text": "hello"}


def test_calls_by_datagrams_count_as_others(tmp_path: Path) -> None:
    stage = Stage()
    listen = f"unix-dgram:{tmp_path / 'd'}"
    with (
        running_server(
            stage.service,
            quotas=ordinary(calls=4),
            listeners=lambda path: [bind_listener(f"unix:{path}", 0o600), bind_listener(listen, 0o600)],
        ) as server,
        server.client() as client,
        RawDatagrams(str(tmp_path / "d")) as sender,
    ):
        client.send(request("stage.wait", {}, 1))
        server.until(lambda: stage.gate.running == 1)
        sender.send(request("stage.wait", {}, 1))
        server.until(lambda: stage.gate.running == 2)
        assert sender.ask(request("stage.wait", {}, 2))["error"]["data"]["resource"] == "calls"
        assert client.ask(request("stage.wait", {}, 2))["error"]["data"]["used"] == 2
        server.run(stage.gate.open())
        assert client.receive()["result"] == sender.receive()["result"] == "through"


# --- the rate ------------------------------------------------------------------------------------------------------------


def test_calls_above_the_rate_are_told_when_to_come_again() -> None:
    with running_server(quotas=ordinary(call_rate=1)) as server, server.client() as client:
        assert "result" in client.ask(echo())
        refused = client.ask(echo())["error"]
        assert refused["code"] == -32002
        assert refused["data"]["resource"] == "rate"
        assert 0 < refused["data"]["retry_after_usec"] <= 1_000_000


def test_a_client_comes_again_when_it_was_told() -> None:
    with running_server(quotas=ordinary(call_rate=50)) as server, Client(f"unix:{server.path}") as client:
        say = Method("echo.echo", Text, Text, idempotent=True)
        for number in range(60):
            assert client.call(say, Text(text=str(number))).text == str(number)
        assert server.stats.calls_refused > 0


def test_a_client_gives_up_after_some_times() -> None:
    stage = Stage()
    with (
        running_server(stage.service, quotas=ordinary(calls=2)) as server,
        server.client() as hog,
        Client(f"unix:{server.path}") as client,
    ):
        hog.send(request("stage.wait"))
        server.until(lambda: stage.gate.running == 1)
        with pytest.raises(ResourceExhausted) as caught:
            client.call(Method("stage.wait", Nothing, str), Nothing())
        assert (caught.value.data["used"], caught.value.data["limit"]) == (1, 1)
        assert server.stats.calls_refused == 5
        server.run(stage.gate.open())
        assert hog.receive()["result"] == "through"


# --- bytes -----------------------------------------------------------------------------------------------------------------


def own(server: Running) -> tuple[int, int]:
    """The bytes that the tests' user holds, and how many of its connections wait."""
    uid = os.geteuid()
    return server.quotas.buffered.used(uid), server.dispatcher.buffers.waiting(uid)


def begin(client: RawClient, size: int, sent: int = 100 * KIB) -> bytes:
    """Send a part of an echo whose frame has `size` bytes; the rest."""
    whole = frame(echo("x" * (size - 4 - len(echo("", 999))), 999))
    assert len(whole) == size
    client.send_raw(whole[:sent])
    return whole[sent:]


@pytest.mark.parametrize(("size", "waits"), [(399, False), (400, False), (401, True)])
def test_a_frame_is_read_when_there_is_room_for_all_of_it(size: int, waits: bool) -> None:
    quotas = Quotas(Totals(buffered=2000 * KIB), frame_size=KIB)
    limits = LIMITS._replace(write_buffer=MIB)
    with (
        running_server(quotas=quotas, limits=limits) as server,
        server.client() as one,
        server.client() as other,
    ):
        rest_of_one = begin(one, 600 * KIB)
        server.until(lambda: own(server)[0] == 600 * KIB)
        rest = begin(other, size * KIB)
        server.until(lambda: own(server) == ((600 + (0 if waits else size)) * KIB, int(waits)))
        one.send_raw(rest_of_one)
        assert len(one.receive()["result"]["text"]) > 599 * KIB
        server.until(lambda: own(server) == (size * KIB, 0))  # it was woken
        other.send_raw(rest)
        assert len(other.receive()["result"]["text"]) > (size - 1) * KIB


def test_who_waits_for_room_goes_on_when_the_other_vanishes() -> None:
    quotas = Quotas(Totals(buffered=MIB), frame_size=KIB)
    with running_server(quotas=quotas, limits=LIMITS) as server, server.client() as other:
        with server.client() as one:
            begin(one, 400 * KIB)
            server.until(lambda: own(server)[0] == 400 * KIB)
            rest = begin(other, 200 * KIB)
            server.until(lambda: own(server)[1] == 1)
        server.until(lambda: own(server) == (200 * KIB, 0))
        other.send_raw(rest)
        assert "result" in other.receive()


def test_who_vanishes_while_it_waits_is_forgotten() -> None:
    quotas = Quotas(Totals(buffered=MIB), frame_size=KIB)
    with running_server(quotas=quotas, limits=LIMITS) as server, server.client() as one:
        rest = begin(one, 400 * KIB)
        server.until(lambda: own(server)[0] == 400 * KIB)
        with server.client() as other:
            begin(other, 200 * KIB)
            server.until(lambda: own(server)[1] == 1)
        server.until(lambda: own(server) == (400 * KIB, 0))
        server.wait(lambda stats: stats.connections_open == 1, "closed")
        one.send_raw(rest)
        assert "result" in one.receive()


def test_one_frame_may_always_be_received() -> None:
    """Ten users' worth of shares would be less than a frame: the floor is one."""
    with running_server(quotas=ordinary(buffered=KIB), limits=LIMITS) as server, server.client() as client:
        rest = begin(client, 900 * KIB)
        server.until(lambda: own(server) == (900 * KIB, 0))
        client.send_raw(rest)
        assert "result" in client.receive()


def test_params_of_calls_that_run_are_held() -> None:
    stage = Stage()
    quotas = Quotas(Totals(buffered=MIB), frame_size=KIB)
    big = request("stage.keep", {"text": "x" * 300 * KIB})
    with (
        running_server(stage.service, quotas=quotas, limits=LIMITS) as server,
        server.client() as one,
        server.client() as other,
    ):
        one.send(big)
        server.until(lambda: stage.gate.running == 1)
        assert own(server) == (len(big), 0)
        assert one.ask(echo("small", 2))["result"] == {"text": "small"}
        rest = begin(other, 300 * KIB)
        server.until(lambda: own(server) == (len(big), 1))
        server.run(stage.gate.open())
        assert one.receive()["result"] == 300 * KIB
        other.send_raw(rest)
        assert "result" in other.receive()


def test_params_that_came_in_one_read_are_held_too_and_then_their_connection_waits() -> None:
    stage = Stage()
    quotas = Quotas(Totals(buffered=200 * KIB), frame_size=KIB)
    bodies = [request("stage.keep", {"text": "x" * 30_000}, number) for number in range(5)]
    with (
        running_server(stage.service, quotas=quotas, limits=LIMITS) as server,
        server.client() as one,
        server.client() as other,
    ):
        for number, body in enumerate(bodies[:4], 1):
            one.send(body)
            server.until(lambda number=number: stage.gate.running == number)  # type: ignore[misc]
        assert own(server) == (4 * len(bodies[0]), 1)
        one.send(bodies[4])
        assert other.ask(echo())["result"] == {"text": "hello"}  # what is small needs no room
        server.turn()
        assert stage.gate.running == 4
        server.run(stage.gate.open())
        assert [one.receive()["result"] for _ in bodies] == [30_000] * 5


def test_replies_that_nobody_reads_are_held() -> None:
    quotas = Quotas(Totals(buffered=2 * MIB), frame_size=KIB)
    text = "y" * 700 * KIB
    with (
        running_server(quotas=quotas, limits=LIMITS) as server,
        server.client() as slow,
        server.client() as other,
    ):
        slow.send(echo(text))
        server.wait(lambda stats: stats.calls_served == 1, "served")
        server.until(lambda: 300 * KIB < own(server)[0] < 700 * KIB)  # less what the kernel took
        rest = begin(other, 800 * KIB)
        server.until(lambda: own(server)[1] == 1)
        assert slow.receive()["result"] == {"text": text}
        server.until(lambda: own(server) == (800 * KIB, 0))
        other.send_raw(rest)
        assert "result" in other.receive()


def test_streams_whose_items_nobody_reads_wait_as_well() -> None:
    """What one user does not read is bounded on all its connections together, not on each."""
    service = Service("flood")

    @service.method(Stream("flood.run", Nothing, str))
    async def handle_run(params: Nothing, context: Context) -> AsyncIterator[str]:
        while True:
            yield "z" * 10_000

    quotas = Quotas(Totals(buffered=512 * KIB), frame_size=KIB)
    limits = LIMITS._replace(write_buffer=MIB)
    asks = request("flood.run", {}, 1, meta={"credit": 2**31 - 1})
    with running_server(service, quotas=quotas, limits=limits) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for _ in range(4)]
        for client in clients:
            client.send(asks)
        server.until(lambda: server.dispatcher.buffers.waiting(os.geteuid()) == 4)
        server.turn()
        # A half of all, and what each connection could add before it noticed.
        assert 256 * KIB < own(server)[0] < (256 + 4 * 32) * KIB
        for _ in range(100):
            assert clients[0].receive()["params"]["item"] == "z" * 10_000


# --- descriptors of items ---------------------------------------------------------------------------------------------


def send_items(client: RawClient, first: int, count: int, fd: int) -> None:
    for seq in range(first, first + count):
        body = b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":1,"seq":%d,"item":{"file":0}},"meta":{"fds":1}}'
        socket.send_fds(client.sock, [frame(body % seq)], [fd])


def test_descriptors_of_items_that_wait_count_and_hold_up_their_connection_alone() -> None:
    stage = Stage()
    quotas = ordinary(descriptors=40)  # 20 for one user alone
    with (
        running_server(stage.service, quotas=quotas) as server,
        server.client() as client,
        server.client() as other,
        Fd(os.open("/dev/null", os.O_RDONLY)) as null,
    ):
        held = quotas.descriptors
        client.send(request("stage.store"))
        assert client.receive()["method"] == "rpc.credit"
        send_items(client, 0, 30, null.fileno())
        server.until(lambda: held.used_by_all == 21)  # limit + 1, which had come
        assert other.ask(echo())["result"] == {"text": "hello"}
        server.turn()
        assert held.used_by_all == 21
        for _ in range(30):
            server.loop.call_soon_threadsafe(stage.taken.release)
        server.until(lambda: held.used_by_all == 0)
        client.send(request("rpc.end", {"id": 1}, None))
        answer = client.receive()
        while "result" not in answer:
            answer = client.receive()
        assert answer["result"] == 30


@pytest.mark.parametrize("count", [19, 20, 21])
def test_descriptors_of_frames_that_are_not_complete(count: int) -> None:
    """A half of 40 is what one user gets. With more the connection is closed: nobody else may run out of them."""
    half = frame(request("stage.wait", {}, 1, meta={"fds": 1}))[:20]
    quotas = Quotas(Totals(descriptors=40), privileged=())
    with running_server(Stage().service, limits=LIMITS, quotas=quotas) as server:
        with server.client() as one, server.client() as two:
            socket.send_fds(one.sock, [half], [0] * 10)
            socket.send_fds(two.sock, [half], [0] * (count - 10))
            if count <= 20:
                server.until(lambda: quotas.descriptors.used(os.geteuid()) == count)
                two.send_raw(frame(request("stage.wait", {}, 1, meta={"fds": 1}))[20:])
                assert two.receive()["error"]["code"] == -32600, "it declares one"
                server.until(lambda: quotas.descriptors.used(os.geteuid()) == 10)
            else:
                error = two.receive()["error"]
                assert (error["code"], error["data"]["resource"]) == (-32002, "descriptors")
                assert (error["data"]["used"], error["data"]["limit"]) == (10, 20)
                assert two.receive() is None
                assert quotas.descriptors.used(os.geteuid()) == 10
                with server.client() as three:
                    assert three.ask(echo())["result"] == {"text": "hello"}
        server.until(lambda: not quotas.descriptors.users())


def test_an_upload_that_ends_gives_the_descriptors_of_its_items_back() -> None:
    stage = Stage()
    with (
        running_server(stage.service, quotas=ordinary(descriptors=40)) as server,
        server.client() as client,
        Fd(os.open("/dev/null", os.O_RDONLY)) as null,
    ):
        client.send(request("stage.store"))
        assert client.receive()["method"] == "rpc.credit"
        send_items(client, 0, 10, null.fileno())
        server.until(lambda: server.quotas.descriptors.used_by_all == 10 - 1)  # one is taken
        client.send(request("rpc.cancel", {"id": 1}, None))
        assert client.receive()["error"]["code"] == -32004
        server.until(lambda: server.quotas.descriptors.used_by_all == 0)


# --- several users -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def public_server(stage: Stage, quotas: Quotas, rules: Rules | None = None) -> Iterator[tuple[Running, str]]:
    """A server on an abstract name, to which any user may connect."""
    with tempfile.TemporaryDirectory() as folder:
        name = f"superd-quotas-{Path(folder).name}"
        with running_server(
            stage.service,
            quotas=quotas,
            limits=LIMITS,
            rules=rules,
            listeners=lambda path: [
                bind_listener(f"unix:{path}", 0o600),
                bind_listener(f"unix:@{name}", 0o600),
            ],
        ) as server:
            yield server, name


@needs_root
def test_a_hog_gets_a_half_and_a_modest_peer_does_not_notice() -> None:
    stage = Stage()
    quotas = Quotas(Totals(calls=24, streams=24, buffered=MIB), privileged=[0], frame_size=256 * KIB)
    with (
        public_server(stage, quotas) as (server, name),
        Stranger(name, HOG, HOG) as hog,
        Stranger(name, HOG, HOG) as hogs_other,
        Stranger(name, MODEST, MODEST) as modest,
    ):
        hog.send(*(request("stage.wait", {}, number) for number in range(40)))
        refused = [hog.receive()["error"]["data"] for _ in range(28)]
        assert {(each["resource"], each["used"], each["limit"]) for each in refused} == {("calls", 12, 12)}
        rest = begin(hog, 300 * KIB)
        server.until(lambda: quotas.buffered.used(HOG) == 300 * KIB)
        begin(hogs_other, 300 * KIB)
        server.until(lambda: server.dispatcher.buffers.waiting(HOG) == 1)
        for number in range(50):
            assert modest.ask(echo(str(number), number))["result"] == {"text": str(number)}
        modest.send(*(request("stage.wait", {}, number) for number in range(4)))  # (24 - 12) / 3
        server.until(lambda: stage.gate.running == 16)
        assert modest.ask(request("stage.wait", {}, 4))["error"]["data"]["limit"] == 4
        hog.send_raw(rest)
        assert "result" in hog.receive()
        server.until(lambda: server.dispatcher.buffers.waiting(HOG) == 0)
        server.run(stage.gate.open())
        assert [modest.receive()["result"] for _ in range(4)] == ["through"] * 4
        assert [hog.receive()["result"] for _ in range(12)] == ["through"] * 12


@needs_root
def test_administrative_methods_get_through_when_all_is_taken() -> None:
    stage = Stage()
    rules = Rules(
        allowances=(Rule(Place("50.toml", 1), ("stage.control",), frozenset({OPERATOR}), None, None),)
    )
    quotas = Quotas(Totals(calls=32), privileged=[0], frame_size=LIMITS.frame_size)
    with (
        public_server(stage, quotas, rules) as (server, name),
        Stranger(name, HOG, HOG) as hog,
        Stranger(name, OPERATOR, OPERATOR) as operator,
        server.client() as root,
    ):
        hog.send(*(request("stage.wait", {}, number) for number in range(16)))
        root.send(*(request("stage.wait", {}, number) for number in range(16)))  # not held to a share
        server.until(lambda: stage.gate.running == 32)
        for each in (root, operator):
            assert each.ask(request("stage.wait", {}, 99))["error"]["data"]["resource"] == "calls"
            assert each.ask(echo("x", 99))["result"] == {"text": "x"}  # inline: never in flight beside others
        for number in range(100, 120):
            assert operator.ask(request("stage.control", {}, number))["result"] == "done"
            assert root.ask(request("stage.control", {}, number))["result"] == "done"
            assert hog.ask(request("stage.control", {}, number))["error"]["code"] == -32001
        server.run(stage.gate.open())
        assert [hog.receive()["result"] for _ in range(16)] == ["through"] * 16
        assert [root.receive()["result"] for _ in range(16)] == ["through"] * 16
