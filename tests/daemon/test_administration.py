"""`superd.peers`, `superd.kick` and `superd.drain`, against a server with real connections."""

import asyncio
import contextlib
import os
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from typing_extensions import override

from superd.administration import TARGETS_SHOWN, Administrator
from superd.journal import MessageId
from superd.quota import Quotas, Totals
from superd.service import Service
from superd.session import SessionLimits
from superd_client.administration import PEER_SIZE_MAX, PEERS_MAX, WAIT_USEC_MAX, PeerInfo
from superd_client.wire.limits import FRAME_SIZE_MIN
from tests.daemon.raw import GOAWAY, PATIENCE, RawClient, echo, frame, request
from tests.daemon.running import LIMITS, TIMEOUTS, Gate, LoopFactory, Running, running_server, service_of
from tests.daemon.streaming import Flow, receive_items, start

#: What an operator sees of one connection.
Peer = dict[str, Any]

STRANGER = os.getuid() + 1


@contextlib.contextmanager
def administered(*services: Service, **options: Any) -> Iterator[Running]:
    held: list[Running] = []
    service = Service("superd")

    async def no_files(log: object) -> Any:
        raise AssertionError("nothing is reloaded here")

    Administrator(lambda: held[0].server, no_files).register(service)
    with running_server(service, *services, **options) as running:
        held.append(running)
        yield running


def answer(client: RawClient, method: str, **params: object) -> Any:
    reply = client.ask(request(method, params))
    assert "result" in reply, reply
    return reply["result"]


def peers(client: RawClient, **params: object) -> list[Peer]:
    result = answer(client, "superd.peers", **params)
    assert result["next"] is None
    found: list[Peer] = result["peers"]
    return found


def leave_unread(server: Running, client: RawClient) -> None:
    """Have an answer wait that is more than the kernel takes and than the limit lets wait."""
    client.send(echo("x" * 900_000))
    server.until(lambda: any(each.traffic().bytes_waiting for each in server.server.sessions))


def audit(server: Running, kind: MessageId) -> dict[str, Any]:
    (line,) = server.logs.wait(message_id=kind)
    assert line["level"] == "warning"
    assert (line["peer_uid"], line["peer_pid"]) == (os.geteuid(), os.getpid())
    return dict(line)


# --- peers -----------------------------------------------------------------------------------------------------------


def test_what_is_told_of_a_connection(loop_factory: LoopFactory) -> None:
    gate, flow = Gate(), Flow()
    before = time.monotonic_ns() // 1000
    with (
        administered(service_of(gate), flow.service, loop=loop_factory) as server,
        server.client() as client,
        server.client() as admin,
    ):
        sent = [echo(), request("no.such"), request("probe.run", {}, "a"), start("flow.total", "b")]
        client.send(*sent[:2])
        assert {"error" in client.receive() for _ in range(2)} == {False, True}
        client.send(*sent[2:])
        assert client.receive()["method"] == "rpc.credit"
        server.in_flight(2)
        peer, own = peers(admin)
        age = peer.pop("age_usec")
        assert 0 <= age <= time.monotonic_ns() // 1000 - before
        assert peer.pop("bytes_sent") > 0
        assert peer == {
            "id": peer["id"],
            "uid": os.geteuid(),
            "pid": os.getpid(),
            "unit": own["unit"],
            "state": "open",
            "calls_in_flight": 2,
            "streams": 1,
            "calls_served": 1,
            "calls_failed": 1,
            "bytes_received": sum(len(body) + 4 for body in sent),
            "bytes_waiting": 0,
        }
        assert re.fullmatch("[0-9a-f]{4}-1", peer["id"])
        assert own["id"] == peer["id"][:5] + "2"
        assert (own["calls_in_flight"], own["calls_served"], own["bytes_sent"]) == (1, 0, 0)
        server.run(gate.open())
        assert client.receive()["result"] == "through"
        client.vanish()
        server.wait(lambda stats: stats.connections_open == 1, "the peer has gone")
        assert [each["id"] for each in peers(admin)] == [own["id"]]


def test_bytes_are_counted_as_they_go_over_the_socket() -> None:
    with administered() as server, server.client() as client, server.client() as admin:
        body = echo("x" * 5000)
        client.send(body)
        received = len(client.sock.recv(1 << 16, socket.MSG_PEEK))
        assert client.receive()["result"]
        peer, _ = peers(admin)
        assert (peer["bytes_received"], peer["bytes_sent"]) == (len(frame(body)), received)


def test_what_nobody_reads_is_seen_to_wait() -> None:
    with administered() as server, server.client() as client, server.client() as admin:
        leave_unread(server, client)
        peer, _ = peers(admin)
        assert peer["bytes_waiting"] >= LIMITS.write_buffer


def test_pages_have_every_connection_once_the_oldest_first() -> None:
    with administered(connections=400) as server, contextlib.ExitStack() as stack:
        admin = stack.enter_context(server.client())
        others = [stack.enter_context(server.client()) for _ in range(2 * PEERS_MAX)]
        for each in others:
            each.ask(echo())
        seen: list[str] = []
        after: dict[str, str] = {}
        sizes = []
        while True:
            page = answer(admin, "superd.peers", **after)
            seen += [each["id"] for each in page["peers"]]
            sizes.append(len(page["peers"]))
            if page["next"] is None:
                break
            after = {"after": page["next"]}
        numbers = [int(each.partition("-")[2]) for each in seen]
        assert numbers == list(range(1, 2 * PEERS_MAX + 2))
        assert sizes == [PEERS_MAX, PEERS_MAX, 1]


def test_a_page_that_is_exactly_full_is_the_last() -> None:
    with administered() as server, server.client() as admin, server.client() as other:
        other.ask(echo())
        assert len(peers(admin, limit=2)) == 2
        page = answer(admin, "superd.peers", limit=1)
        assert [each["id"] for each in page["peers"]] == [page["next"]]
        (rest,) = peers(admin, limit=1, after=page["next"])
        assert rest["id"] != page["next"]


@pytest.mark.parametrize(
    ("limit", "fits"),
    [(0, False), (1, True), (PEERS_MAX - 1, True), (PEERS_MAX, True), (PEERS_MAX + 1, False)],
)
def test_the_limit_of_a_page_is_bounded(limit: int, fits: bool) -> None:
    with administered() as server, server.client() as admin:
        reply = admin.ask(request("superd.peers", {"limit": limit}))
        assert ("result" in reply) is fits
        assert fits or reply["error"]["code"] == -32602


def test_a_page_fits_the_smallest_frame() -> None:
    limits = LIMITS._replace(frame_size=FRAME_SIZE_MIN)
    with administered(limits=limits) as server, server.client() as admin, server.client() as other:
        other.ask(echo())
        page = answer(admin, "superd.peers")
        assert len(page["peers"]) == 1
        assert page["next"] is not None


def test_the_largest_entry_is_within_its_bound() -> None:
    largest = PeerInfo(
        id=f"ffff-{'9' * 19}",
        uid=2**32 - 2,
        pid=2**31 - 1,
        unit="\\" * 255,
        state="draining",
        **dict.fromkeys(
            [
                "age_usec",
                "calls_in_flight",
                "streams",
                "calls_served",
                "calls_failed",
                "bytes_received",
                "bytes_sent",
                "bytes_waiting",
            ],
            2**63,
        ),
    )
    assert len(largest.model_dump_json()) + 1 <= PEER_SIZE_MAX


def test_connections_are_chosen_by_all_that_is_given() -> None:
    with administered() as server, server.client() as client, server.client() as admin:
        client.ask(echo())
        both = peers(admin)
        assert len(peers(admin, uid=os.geteuid())) == len(both) == 2
        assert peers(admin, uid=STRANGER) == []
        assert peers(admin, unit="no-such.service") == []
        assert [each["id"] for each in peers(admin, id=both[0]["id"])] == [both[0]["id"]]
        assert peers(admin, id=both[0]["id"], uid=STRANGER) == []
        unit = both[0]["unit"]
        if unit is not None:
            assert len(peers(admin, unit=unit)) == 2


@pytest.mark.parametrize("peer_id", ["", "1", "zzzz-1", "0000-0", "0000-01", "0000-1\n", "0000-" + "1" * 20])
def test_what_is_no_id_is_refused(peer_id: str) -> None:
    with administered() as server, server.client() as admin:
        assert admin.ask(request("superd.peers", {"id": peer_id}))["error"]["code"] == -32602


# --- kick ------------------------------------------------------------------------------------------------------------


def test_a_kick_answers_what_runs_and_what_waits_and_closes(loop_factory: LoopFactory) -> None:
    gate = Gate()
    limits = LIMITS._replace(calls_in_flight=2)
    with (
        administered(service_of(gate), loop=loop_factory, limits=limits) as server,
        server.client() as client,
        server.client() as bystander,
        server.client() as admin,
    ):
        client.send(*(request("probe.run", {}, number) for number in range(4)))
        server.in_flight(2)
        victim = peers(admin)[0]["id"]
        assert answer(admin, "superd.kick", id=victim) == {"connections": 1, "calls": 2}
        replies = []
        while (reply := client.receive()) is not None:
            replies.append(reply)
        assert GOAWAY in replies
        codes = {reply["id"]: reply["error"]["code"] for reply in replies if reply != GOAWAY}
        assert codes == {0: -32004, 1: -32004, 2: -32005, 3: -32005}
        assert gate.cancelled == 2
        assert bystander.ask(echo())["result"]
        assert len(peers(admin)) == 2
        said = audit(server, MessageId.PEERS_KICKED)
        assert (said["target"], said["affected"], said["cancelled"]) == (f"id {victim}", 1, 2)
        assert said["targets"].startswith(f"{victim} uid {os.geteuid()} (")
        assert said["method"] == "superd.kick"


def test_a_kick_never_meets_who_asks_for_it() -> None:
    with administered() as server, server.client() as admin, contextlib.ExitStack() as stack:
        others = [stack.enter_context(server.client()) for _ in range(TARGETS_SHOWN + 1)]
        for each in others:
            each.ask(echo())
        assert answer(admin, "superd.kick", uid=os.geteuid())["connections"] == len(others)
        for each in others:
            assert each.receive() == GOAWAY
            assert each.receive() is None
        own = peers(admin)[0]["id"]
        assert answer(admin, "superd.kick", id=own) == {"connections": 0, "calls": 0}
        first = server.logs.about(message_id=MessageId.PEERS_KICKED)[0]
        assert first["targets"].count(" uid ") == TARGETS_SHOWN
        assert first["targets"].endswith(", and 1 more")


def test_a_kick_without_a_target_is_refused() -> None:
    with administered() as server, server.client() as admin:
        error = admin.ask(request("superd.kick", {}))["error"]
        assert error["code"] == -32602
        assert error["data"]["errors"][0]["msg"] == "say whom: id, uid or unit"


def test_an_id_of_another_run_is_nobodys() -> None:
    with administered() as server, server.client() as client, server.client() as admin:
        client.ask(echo())
        prefix, _, number = peers(admin)[0]["id"].partition("-")
        other = f"{int(prefix, 16) ^ 1:04x}-{number}"
        assert answer(admin, "superd.kick", id=other) == {"connections": 0, "calls": 0}
        assert client.ask(echo())["result"]


def test_who_does_not_read_is_cut_off() -> None:
    with administered() as server, server.client() as client, server.client() as admin:
        leave_unread(server, client)
        assert answer(admin, "superd.kick", uid=os.geteuid())["connections"] == 1
        server.wait(lambda stats: stats.connections_open == 1, "the peer is cut off")


def test_a_handler_that_cannot_be_ended_does_not_hold_the_kick_up() -> None:
    """Its connection is closed all the same; it ends when the handler does."""
    released = asyncio.Event()

    class Stubborn(Gate):
        @override
        async def __call__(self, params: Any, context: Any) -> str:
            while not released.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await released.wait()
            return "late"

    with (
        administered(service_of(Stubborn())) as server,
        server.client() as client,
        server.client() as admin,
    ):
        client.send(request("probe.run", {}))
        server.in_flight(1)
        assert answer(admin, "superd.kick", uid=os.geteuid()) == {"connections": 1, "calls": 1}
        assert client.receive()["error"]["code"] == -32004
        assert client.receive() == GOAWAY
        assert client.receive() is None
        server.loop.call_soon_threadsafe(released.set)


# --- drain -----------------------------------------------------------------------------------------------------------


def test_a_drain_lets_what_runs_end_and_accepts_others(loop_factory: LoopFactory) -> None:
    gate = Gate()
    with (
        administered(service_of(gate), loop=loop_factory) as server,
        server.client() as client,
        server.client() as idle,
        server.client() as admin,
    ):
        idle.ask(echo())
        client.send(request("probe.run", {}))
        server.in_flight(1)
        assert answer(admin, "superd.drain")["connections"] == 2
        assert idle.receive() == client.receive() == GOAWAY
        assert idle.receive() is None
        with pytest.raises(BrokenPipeError):
            client.send(echo())
        with server.client() as later:
            assert later.ask(echo())["result"]
        assert peers(admin)[0]["state"] == "draining"
        assert peers(admin)[-1]["state"] == "open"
        server.run(gate.open())
        assert client.receive()["result"] == "through"
        assert client.receive() is None
        said = audit(server, MessageId.PEERS_DRAINED)
        assert (said["target"], said["affected"]) == ("all", 2)


def test_a_drain_that_waits_answers_when_all_have_gone() -> None:
    gate = Gate()
    with (
        administered(service_of(gate)) as server,
        server.client() as client,
        server.client() as admin,
    ):
        client.send(request("probe.run", {}))
        server.in_flight(1)
        admin.send(request("superd.drain", {"wait_usec": WAIT_USEC_MAX}))
        assert client.receive() == GOAWAY
        server.run(gate.open())
        assert client.receive()["result"] == "through"
        assert admin.receive()["result"] == {"connections": 1, "remaining": 0}


def test_a_drain_waits_no_longer_than_it_is_told() -> None:
    gate = Gate()
    with (
        administered(service_of(gate)) as server,
        server.client() as client,
        server.client() as admin,
    ):
        client.send(request("probe.run", {}))
        server.in_flight(1)
        assert answer(admin, "superd.drain", wait_usec=1000) == {"connections": 1, "remaining": 1}
        assert answer(admin, "superd.drain", wait_usec=1000) == {"connections": 1, "remaining": 1}
        server.run(gate.open())
        assert client.receive() == GOAWAY
        assert client.receive() == GOAWAY
        assert client.receive()["result"] == "through"


@pytest.mark.parametrize(
    ("wait", "fits"),
    [(-1, False), (0, True), (WAIT_USEC_MAX - 1, True), (WAIT_USEC_MAX, True), (WAIT_USEC_MAX + 1, False)],
)
def test_the_wait_is_bounded(wait: int, fits: bool) -> None:
    with administered() as server, server.client() as admin:
        reply = admin.ask(request("superd.drain", {"wait_usec": wait}))
        assert ("result" in reply) is fits


def test_an_open_stream_holds_its_connection_until_it_ends() -> None:
    flow = Flow()
    with administered(flow.service) as server, server.client() as client, server.client() as admin:
        client.send(start(credit=1, params={"count": 1}))
        receive_items(client, 1, 0, 1)
        assert answer(admin, "superd.drain", wait_usec=1000)["remaining"] == 1
        assert client.receive() == GOAWAY
        admin.send(request("superd.drain", {"wait_usec": WAIT_USEC_MAX}))
        assert client.receive() == GOAWAY
        client.send(request("rpc.credit", {"id": 1, "n": 1}, None))
        assert client.receive()["result"] is None
        assert client.receive() is None
        assert admin.receive()["result"]["remaining"] == 0


def test_the_stop_of_the_daemon_does_not_wait_for_a_drain_that_waits() -> None:
    gate = Gate()
    with (
        administered(service_of(gate)) as server,
        server.client() as client,
        server.client() as admin,
    ):
        client.send(request("probe.run", {}))
        server.in_flight(1)
        admin.send(request("superd.drain", {"wait_usec": WAIT_USEC_MAX}))
        assert client.receive() == GOAWAY
        stopping = server.start(server.drain(PATIENCE))
        replies = [admin.receive(), admin.receive()]
        assert {"connections": 1, "remaining": 1} in [reply.get("result") for reply in replies]
        server.run(gate.open())
        assert stopping.result(PATIENCE) is True


# --- limits that a reload changes ------------------------------------------------------------------------------------


def change(server: Running, limits: SessionLimits, connections: int = 64) -> None:
    async def apply() -> None:
        server.quotas.share_as(Quotas(Totals(connections=connections)))
        server.server.limit(limits, TIMEOUTS)

    server.run(apply())


def test_calls_that_waited_begin_when_more_may_run() -> None:
    gate = Gate()
    limits = LIMITS._replace(calls_in_flight=1)
    with administered(service_of(gate), limits=limits) as server, server.client() as client:
        client.send(*(request("probe.run", {}, number) for number in range(3)))
        server.in_flight(1)
        change(server, LIMITS._replace(calls_in_flight=2))
        server.in_flight(2)
        change(server, LIMITS._replace(calls_in_flight=3))
        server.in_flight(3)
        server.run(gate.open())
        assert sorted(client.receive()["id"] for _ in range(3)) == [0, 1, 2]


def test_streams_beyond_a_new_limit_are_refused_and_open_ones_stay() -> None:
    flow = Flow()
    with administered(flow.service) as server, server.client() as client:
        client.send(start(credit=1))
        receive_items(client, 1, 0, 1)
        change(server, LIMITS._replace(streams=1))
        client.send(start(credit=1, request_id=2))
        assert client.receive()["error"]["code"] == -32002
        change(server, LIMITS._replace(streams=2))
        client.send(start(credit=1, request_id=3))
        receive_items(client, 3, 0, 1)


def test_who_is_paused_for_unread_answers_goes_on_when_more_may_wait() -> None:
    with administered() as server, server.client() as client, server.client() as admin:
        leave_unread(server, client)
        client.send(echo())
        assert peers(admin)[0]["calls_served"] == 1
        change(server, LIMITS._replace(write_buffer=1 << 20))
        server.until(lambda: any(each.traffic().calls_served == 2 for each in server.server.sessions))


def test_the_number_of_connections_and_the_size_of_frames_hold_for_new_ones() -> None:
    with administered(connections=1) as server, server.client() as first:
        first.ask(echo())
        with server.client() as refused:
            assert refused.receive()["error"]["data"]["limit"] == 1
        change(server, LIMITS._replace(frame_size=FRAME_SIZE_MIN), connections=2)
        with server.client() as second:
            second.send(echo("x" * FRAME_SIZE_MIN))
            assert second.receive()["error"]["code"] == -32006
        assert first.ask(echo("x" * FRAME_SIZE_MIN))["result"]
        server.wait(lambda stats: stats.connections_open == 1, "the second has gone")
        change(server, LIMITS, connections=1)
        with server.client() as refused:
            assert refused.receive()["error"]["code"] == -32002
