"""Connections over a restart: two processes of superd, one after the other, and what their clients notice of it."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGKILL
from typing import Any, Final

import pytest

from superd.handover import read_state
from superd.sd.fdqueue import empty, fill
from tests.daemon.datagram_client import RawDatagrams
from tests.daemon.manager import Manager
from tests.daemon.process import Superd
from tests.daemon.raw import RawPacketClient, echo, frame, item, request

PROBE: Final = "--service=tests.daemon.sample:probe"
KEPT: Final = {"superd-connections", "superd-state", "superd-window"}


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


def handed_over(daemon: Superd, manager: Manager) -> None:
    """Stop a daemon that leaves its connections."""
    assert daemon.stop() == 0
    assert "connections left to the next process" in daemon.log
    assert set(manager.kept) == KEPT


def test_clients_notice_nothing(manager: Manager, path: Path) -> None:
    with manager.superd(path=path) as old, old.client() as idle, old.client() as busy:
        assert busy.ask(echo("one", 1))["result"] == {"text": "one"}
        handed_over(old, manager)
        # While there is no superd at all:
        busy.send(echo("two", 2), echo("three", 3))
        with manager.superd(path=path) as new:
            assert [busy.receive()["result"]["text"] for _ in range(2)] == ["two", "three"]
            assert idle.ask(echo("four", 4))["result"] == {"text": "four"}
            new.wait_for("connections taken over connections=2")
            manager.keeps_nothing()  # else what is closed here would stay open there
            assert idle.ask(request("superd.status"))["result"]["connections"] == 2
            idle.vanish()
            busy.half_close()
            assert busy.receive() is None


def test_what_runs_ends_first_and_who_comes_meanwhile_is_served(manager: Manager, path: Path) -> None:
    with manager.superd(PROBE, path=path) as old, old.client() as client, old.client() as other:
        client.send(request("probe.wait", None, 1))
        old.wait_for("waiting")
        old.send_signal()
        manager.wait_for("STOPPING=1")
        assert other.ask(request("probe.go", None, 2))["result"] == ""
        assert client.receive()["result"] == "gone"
        assert old.ended() == 0
        with manager.superd(PROBE, path=path):
            assert client.ask(echo("after", 3))["result"] == {"text": "after"}
            assert other.ask(echo("after", 3))["result"] == {"text": "after"}


def test_a_datagram_that_is_carried_out_is_answered_first(manager: Manager, path: Path) -> None:
    datagrams = path.with_name("datagrams")
    listen = f"--listen=unix-dgram:{datagrams}"
    with (
        manager.superd(PROBE, listen, path=path) as old,
        old.client() as client,
        RawDatagrams(str(datagrams)) as sender,
    ):
        sender.send(request("probe.wait", None, 1))
        old.wait_for("waiting")
        old.send_signal()
        manager.wait_for("STOPPING=1")
        assert client.ask(request("probe.go", None, 2))["result"] == ""
        assert sender.receive()["result"] == "gone"
        assert old.ended() == 0
        with manager.superd(PROBE, path=path):
            assert client.ask(echo("after", 3))["result"] == {"text": "after"}


def test_a_datagram_that_takes_too_long_is_told_so(manager: Manager, path: Path) -> None:
    datagrams = path.with_name("datagrams")
    quick = {"SUPERD_DRAIN_TIMEOUT": "0.2"}
    with (
        manager.superd(PROBE, f"--listen=unix-dgram:{datagrams}", path=path, environment=quick) as old,
        RawDatagrams(str(datagrams)) as sender,
    ):
        sender.send(request("probe.hang", None, 1))
        old.wait_for("hanging")
        assert old.stop() == 0
        assert sender.receive()["error"]["code"] == -32004


def test_what_does_not_end_in_time_is_cancelled_and_the_connection_stays(
    manager: Manager, path: Path
) -> None:
    quick = {"SUPERD_DRAIN_TIMEOUT": "0.2"}
    with manager.superd(PROBE, path=path, environment=quick) as old, old.client() as client:
        client.send(request("probe.hang", None, 1))
        old.wait_for("hanging")
        client.send(echo("behind it", 2))
        assert client.receive()["result"] == {"text": "behind it"}
        assert old.stop() == 0
        assert client.receive()["error"]["code"] == -32004
        with manager.superd(path=path):
            assert client.ask(echo("after", 3))["result"] == {"text": "after"}


def test_half_a_frame(manager: Manager, path: Path) -> None:
    cut = frame(echo("in two halves", "cut"))
    with manager.superd(path=path) as old, old.client() as client:
        # One read brings both, so the answer says that the half has been read.
        client.send_raw(frame(echo("whole", 1)) + cut[:20])
        assert client.receive()["id"] == 1
        handed_over(old, manager)
        assert state_of(manager).unread == [(cut[:20], (), 20)]
        client.send_raw(cut[20:])
        with manager.superd(path=path):
            assert client.receive()["result"] == {"text": "in two halves"}


def state_of(manager: Manager) -> Any:
    """What is kept of the only connection, to look at."""
    queue, memfd = manager.kept["superd-connections"][0], manager.kept["superd-state"][0]
    fds = empty(os.dup(queue))
    manager.kept["superd-connections"] = [fill(fds)]
    os.close(queue)
    (saved,) = read_state(memfd, fds)
    for fd in fds:
        os.close(fd)
    return saved


def test_answers_that_nobody_has_read(manager: Manager, path: Path) -> None:
    text, count = "x" * 50_000, 64
    with manager.superd(path=path) as old, old.client() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        client.send(*(echo(text, number) for number in range(count)))
        handed_over(old, manager)
        saved = state_of(manager)
        assert saved.unsent, "the socket took them all: this test needs more of them"
        with manager.superd(path=path):
            replies = [client.receive() for _ in range(count)]
            assert [reply["id"] for reply in replies] == list(range(count))
            assert all(reply["result"] == {"text": text} for reply in replies)
            assert client.ask(echo("after", 0))["result"] == {"text": "after"}


def test_packets(manager: Manager, path: Path) -> None:
    packets = path.with_name("packets")
    listen = f"--listen=unix-seqpacket:{packets}"
    with manager.superd(listen, path=path) as old, RawPacketClient(str(packets)) as client:
        assert client.ask(echo("one", 1))["result"] == {"text": "one"}
        handed_over(old, manager)
        client.send(echo("two", 2), echo("three", 3))
        with manager.superd(listen, path=path):
            assert [client.receive()["result"]["text"] for _ in range(2)] == ["two", "three"]


def test_a_stream_ends_behind_its_last_item(manager: Manager, path: Path) -> None:
    with manager.superd(PROBE, path=path) as old, old.client() as client:
        client.send(request("probe.tick", {}, 1))
        assert client.receive() == item(1, 0, 0)
        assert old.stop() == 0
        messages = [client.receive()]
        while "error" not in messages[-1]:
            messages.append(client.receive())
        assert messages[:-1] == [item(1, number, number) for number in range(1, len(messages))]
        error = messages[-1]["error"]
        assert (error["code"], error["data"]["begun"]) == (-32005, True)
        with manager.superd(PROBE, path=path):
            assert client.ask(echo("after", 2))["result"] == {"text": "after"}


def test_an_upload_ends_first(manager: Manager, path: Path) -> None:
    with manager.superd(PROBE, path=path) as old, old.client() as client:
        client.send(request("probe.total", {}, 1))
        assert client.receive()["method"] == "rpc.credit"
        client.send_raw(frame_of_item(1, 0, 40))
        old.send_signal()
        manager.wait_for("STOPPING=1")
        client.send_raw(frame_of_item(1, 1, 2))
        client.send(b'{"jsonrpc":"2.0","method":"rpc.end","params":{"id":1}}')
        assert client.receive()["result"] == 42
        assert old.ended() == 0
        with manager.superd(PROBE, path=path):
            assert client.ask(echo("after", 2))["result"] == {"text": "after"}


def frame_of_item(request_id: int, seq: int, value: int) -> bytes:
    text = (
        f'{{"jsonrpc":"2.0","method":"rpc.item","params":{{"id":{request_id},"seq":{seq},"item":{value}}}}}'
    )
    return frame(text.encode())


def test_descriptors_that_came_with_half_a_frame(manager: Manager, path: Path) -> None:
    body = request("probe.read", {"file": 0}, 1, meta={"fds": 1})
    with manager.superd(PROBE, path=path) as old, old.client() as client:
        assert client.ask(echo("first", 0))["id"] == 0
        reading, writing = os.pipe()
        os.write(writing, b"through two processes")
        os.close(writing)
        socket.send_fds(client.sock, [frame(body)[:10]], [reading])
        os.close(reading)
        handed_over(old, manager)
        client.send_raw(frame(body)[10:])
        with manager.superd(PROBE, path=path):
            assert client.receive()["result"] == "through two processes"


def test_a_peer_that_is_gone_by_then(manager: Manager, path: Path) -> None:
    with manager.superd(path=path) as old, old.client() as client, old.client() as other:
        assert client.ask(echo("one", 1))["id"] == 1
        handed_over(old, manager)
        client.vanish()
        with manager.superd(path=path):
            assert other.ask(echo("two", 2))["id"] == 2
            while other.ask(request("superd.status"))["result"]["connections"] != 1:
                pass


def spoil_version(manager: Manager) -> None:
    memfd = manager.kept["superd-state"][0]
    data = os.pread(memfd, os.fstat(memfd).st_size, 0)
    manager.kept["superd-state"] = [sealed(data[:8] + (2).to_bytes(4, "big") + data[12:])]
    os.close(memfd)


def spoil_seals(manager: Manager) -> None:
    memfd = manager.kept["superd-state"][0]
    manager.kept["superd-state"] = [os.memfd_create("unsealed")]
    os.write(manager.kept["superd-state"][0], os.pread(memfd, 1 << 16, 0))
    os.close(memfd)


def lose_state(manager: Manager) -> None:
    os.close(manager.kept.pop("superd-state")[0])


def double_state(manager: Manager) -> None:
    manager.kept["superd-state"].append(os.dup(manager.kept["superd-state"][0]))


def lose_connections(manager: Manager) -> None:
    os.close(manager.kept.pop("superd-connections")[0])


def lose_one(manager: Manager) -> None:
    queue = manager.kept["superd-connections"][0]
    fds = empty(queue)
    manager.kept["superd-connections"] = [fill(fds[:-1])]
    for fd in fds:
        os.close(fd)


def sealed(data: bytes) -> int:
    memfd = os.memfd_create("state", os.MFD_ALLOW_SEALING)
    os.write(memfd, data)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, seals)
    return memfd


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_version, "the state has the format 2, and this superd reads 1"),
        (spoil_seals, "the state is not sealed"),
        (lose_state, "systemd has 0 descriptors of the name superd-state"),
        (double_state, "systemd has 2 descriptors of the name superd-state"),
        (lose_connections, "systemd has 0 descriptors of the name superd-connections"),
        (lose_one, "and 0 and 1 are there"),
    ],
)
def test_a_state_that_is_wrong_costs_the_connections_and_says_why(
    manager: Manager, path: Path, spoil: Callable[[Manager], None], reason: str
) -> None:
    with manager.superd(path=path) as old, old.client() as one, old.client() as two:
        assert one.ask(echo("one", 1))["id"] == two.ask(echo("one", 1))["id"] == 1
        handed_over(old, manager)
        spoil(manager)
        with manager.superd(path=path) as new:
            assert one.receive() is None
            assert two.receive() is None
            assert reason in new.wait_for("could not be taken over")
            manager.keeps_nothing()
            with new.client() as fresh:
                assert fresh.ask(echo("fresh", 1))["result"] == {"text": "fresh"}


def test_without_a_service_manager_that_answers_the_connections_are_drained(
    manager: Manager, path: Path, tmp_path: Path
) -> None:
    with manager.superd(path=path) as daemon, daemon.client() as client:
        assert client.ask(echo("one", 1))["id"] == 1
        (tmp_path / "notify").rename(tmp_path / "elsewhere")
        manager.address = tmp_path / "elsewhere"
        client.send_raw(frame(echo("two", 2))[:9])
        assert daemon.stop() == 0
        assert "connections cannot be kept over the restart" in daemon.log
        assert client.receive()["method"] == "rpc.goaway"
        assert client.receive() is None


def test_a_process_that_dies_before_it_is_ready_leaves_them_to_the_next(manager: Manager, path: Path) -> None:
    with manager.superd(path=path) as old, old.client() as client:
        assert client.ask(echo("one", 1))["id"] == 1
        handed_over(old, manager)
        client.send(echo("two", 2))
        with pytest.raises(AssertionError), manager.superd("--service=tests.daemon.sample:broken", path=path):
            pass
        assert set(manager.kept) == KEPT
        with manager.superd(path=path):
            assert client.receive()["result"] == {"text": "two"}


def test_after_a_crash_nothing_old_comes_back(manager: Manager, path: Path) -> None:
    with manager.superd(path=path) as old, old.client() as client:
        assert client.ask(echo("one", 1))["id"] == 1
        handed_over(old, manager)
        with manager.superd(path=path) as new:
            assert client.ask(echo("two", 2))["id"] == 2
            new.stop(SIGKILL)
            assert client.receive() is None
            manager.keeps_nothing()


@pytest.mark.parametrize("count", [0, 1, 252, 253, 254, 2_000])
def test_a_queue_of_descriptors_keeps_their_order(count: int) -> None:
    with contextlib.ExitStack() as stack:
        ends = [os.pipe() for _ in range(min(count, 4))]
        for fd in [fd for pair in ends for fd in pair]:
            stack.callback(os.close, fd)
        fds = [ends[number % len(ends)][0] for number in range(count)]
        back = empty(fill(fds))
        for fd in back:
            stack.callback(os.close, fd)
        assert [os.fstat(fd).st_ino for fd in back] == [os.fstat(fd).st_ino for fd in fds]
        assert not any(os.get_inheritable(fd) for fd in back)


def test_the_end_of_a_queue_that_is_none() -> None:
    with pytest.raises(OSError, match="non-socket"):
        empty(os.memfd_create("none"))
