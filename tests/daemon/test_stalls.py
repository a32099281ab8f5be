"""Peers that hold memory and do nothing about it."""

import contextlib

import pytest

from superd.stalls import NOTHING, Pending, Stalls, Timeouts
from tests.daemon.raw import echo, frame
from tests.daemon.running import LIMITS, LoopFactory, running_server

TIMEOUTS = Timeouts(write=30.0, frame=60.0)
NEVER = 600.0


class Peer:
    """Somebody of whom something is pending."""

    def __init__(self, unread: int | None = None, unfinished: int | None = None) -> None:
        self.now = Pending(unread, unfinished)
        self.told: list[tuple[str, float]] = []

    def pending(self) -> Pending:
        return self.now

    def does_not_read(self, seconds: float) -> None:
        self.told.append(("reads", seconds))

    def does_not_finish(self, seconds: float) -> None:
        self.told.append(("finishes", seconds))


def looked(peer: Peer, *times: float) -> list[tuple[str, float]]:
    stalls = Stalls(lambda: [peer], TIMEOUTS)
    for now in times:
        stalls.look(peer, now)
    return peer.told


@pytest.mark.parametrize(
    ("seconds", "told"), [(29.9, []), (30.0, [("reads", 30.0)]), (30.1, [("reads", pytest.approx(30.1))])]
)
def test_who_reads_nothing_for_so_long(seconds: float, told: list[tuple[str, float]]) -> None:
    assert looked(Peer(unread=7), 1000.0, 1007.0, 1000.0 + seconds) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(59.9, []), (60.0, [("finishes", 60.0)]), (60.1, [("finishes", pytest.approx(60.1))])],
)
def test_who_does_not_finish_a_frame_for_so_long(seconds: float, told: list[tuple[str, float]]) -> None:
    assert looked(Peer(unfinished=0), 1000.0, 1031.0, 1000.0 + seconds) == told


def test_progress_begins_the_time_anew() -> None:
    peer = Peer(unread=1, unfinished=100)
    stalls = Stalls(lambda: [peer], TIMEOUTS)
    for step in range(10):
        peer.now = Pending(step, 100 + step)
        stalls.look(peer, 20.0 * step)
    peer.now = NOTHING
    stalls.look(peer, 205.0)
    peer.now = Pending(9, 109)
    stalls.look(peer, 1000.0)
    stalls.look(peer, 1029.0)
    assert peer.told == []
    peer.now = Pending(None, 109)
    stalls.look(peer, 1060.0)
    assert peer.told == [("finishes", 60.0)]


def test_a_peer_that_does_not_read_is_given_up(loop_factory: LoopFactory) -> None:
    with (
        running_server(loop=loop_factory, timeouts=Timeouts(write=0.1, frame=NEVER)) as server,
        server.client() as idle,
        server.client() as silent,
    ):
        with contextlib.suppress(BrokenPipeError):  # it may be over before all is sent
            silent.send(*(echo("x" * 60_000) for _ in range(10)))
        (line,) = server.logs.wait(event="connection closed")
        assert line["level"] == "warning"
        assert line["bytes_waiting"] > LIMITS.write_buffer
        assert line["peer_uid"] is not None
        assert line["reason"].startswith("it did not read what waits for it")
        server.wait(lambda stats: stats.connections_open == 1, "it is closed")
        assert server.stats.connections_timed_out == 1
        assert idle.ask(echo())["id"] == 1


def test_a_peer_that_does_not_finish_a_frame_is_told_and_given_up(loop_factory: LoopFactory) -> None:
    with (
        running_server(loop=loop_factory, timeouts=Timeouts(write=NEVER, frame=0.1)) as server,
        server.client() as idle,
        server.client() as slow,
    ):
        slow.send(echo())
        assert slow.receive()["id"] == 1
        slow.send_raw(frame(echo())[:-1])
        answer = slow.receive()
        assert (answer["id"], answer["error"]["code"]) == (None, -32003)
        assert slow.receive() is None
        (line,) = server.logs.wait(event="connection closed")
        assert line["reason"].startswith("it did not finish a frame")
        server.wait(lambda stats: stats.connections_open == 1, "it is closed")
        assert server.stats.connections_timed_out == 1
        assert idle.ask(echo())["id"] == 1


def test_byte_by_byte_is_no_progress_of_a_frame(loop_factory: LoopFactory) -> None:
    with (
        running_server(loop=loop_factory, timeouts=Timeouts(write=NEVER, frame=0.2)) as server,
        server.client() as slow,
    ):
        slow.send_raw((1 << 19).to_bytes(4, "big"))
        try:
            while not server.stats.connections_timed_out:
                slow.send_raw(b"x")
                server.turn(1)
        except (BrokenPipeError, ConnectionResetError):
            pass
        server.logs.wait(event="connection closed")
