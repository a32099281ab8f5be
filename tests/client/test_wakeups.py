"""No thread sleeps over what another thread has found, written or left for it.

A thread is held at the very moment before it waits: it has seen nothing yet, and all else happens meanwhile. So each
order of events comes about in each run. A thread whose wake-up is lost sleeps for all of its timeout.
"""

import contextlib
import os
import resource
import select
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

from superd_client import CallTimeout, Client, ClientClosed, ConnectionLost
from superd_client.flows import LOOK_EVERY
from superd_client.poller import Poller
from superd_client.spinning import SpinningPoller
from superd_client.sync_link import ThreadCall
from superd_client.wire.control import Cancel
from tests.client.eager import spin_always
from tests.client.models import Text, echo, load, watch
from tests.client.scripts import open_stream, open_upload
from tests.client.server import PATIENCE, Peer, serving
from tests.client.test_sync import run_program, wait_until

A: Final = Text(text="a")
LARGE: Final = "x" * (1 << 20)

#: Seconds within which a thread goes on that was woken; one whose wake-up was lost sleeps for PATIENCE.
SOON: Final = PATIENCE / 5


@pytest.fixture(autouse=True, params=["sleeping", "polling"])
def way_of_waiting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of this holds for threads that sleep, and for those that poll before."""
    if request.param == "polling":
        spin_always(monkeypatch)


class Hold:
    """Stops a thread as it is about to wait, once; `arrive` and `let_go` are for the others."""

    def __init__(self, *waits: Callable[..., Any]) -> None:
        self._codes: Final = {wait.__code__ for wait in waits or (Poller.wait, SpinningPoller.wait)}
        self._arrived: Final = threading.Event()
        self._may_go: Final = threading.Event()

    def run(self, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Do `work` in this thread, and stop on the way."""
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            return work(*arguments, **options)
        finally:
            sys.settrace(before)

    def arrive(self) -> None:
        """Wait until the thread is held."""
        assert self._arrived.wait(PATIENCE)

    def let_go(self) -> None:
        self._may_go.set()

    def _trace(self, frame: FrameType, event: str, argument: object) -> None:
        if frame.f_code in self._codes and not self._arrived.is_set():
            self._arrived.set()
            assert self._may_go.wait(PATIENCE)


def eventfds() -> int:
    """How many bells this process has."""
    links = Path("/proc/self/fd").iterdir()
    return sum(os.path.lexists(each) and "eventfd" in os.readlink(each) for each in links)  # noqa: PTH115


def read_what_is_there(connected: socket.socket) -> int:
    """How many bytes that were."""
    total = 0
    while select.select([connected], [], [], 0)[0]:
        data = connected.recv(1 << 20)
        assert data
        total += len(data)
    return total


def read_to_the_end(peer: Peer) -> None:
    """Until the client goes, whatever it leaves unread."""
    with contextlib.suppress(ConnectionResetError):
        peer.await_rest()


# --- what another thread reads ----------------------------------------------------------------------------------


def test_a_reply_that_an_upload_reads_wakes_the_leader() -> None:
    def script(peer: Peer) -> None:
        open_upload(peer, 2 * LOOK_EVERY)
        peer.next_event()
        held = peer.expect()
        peer.answer(held, held.params)
        answered.set()
        assert over.wait(PATIENCE)
        read_to_the_end(peer)

    answered, over = threading.Event(), threading.Event()
    hold = Hold()
    with (
        serving(script) as server,
        Client(server.address) as client,
        ThreadPoolExecutor(1) as pool,
        client.open_upload(load, A) as sink,
    ):
        sink.send(0)
        leader = pool.submit(hold.run, client.call, echo, A, timeout=PATIENCE)
        hold.arrive()
        assert answered.wait(PATIENCE)
        for item in range(1, LOOK_EVERY):
            assert sink.send(item)
        assert not leader.done()
        hold.let_go()
        assert leader.result(SOON) == A
        over.set()


def test_a_writer_without_room_leaves_replies_to_the_leader() -> None:
    def script(peer: Peer) -> None:
        held = peer.expect()
        peer.answer(held, held.params)
        answered.set()
        assert over.wait(PATIENCE)
        peer.echo()

    answered, over = threading.Event(), threading.Event()
    leading, writing = Hold(), Hold(ThreadCall.sleep)
    with serving(script) as server, Client(server.address) as client, ThreadPoolExecutor(2) as pool:
        leader = pool.submit(leading.run, client.call, echo, A, timeout=PATIENCE)
        leading.arrive()
        assert answered.wait(PATIENCE)
        writer = pool.submit(writing.run, client.call, echo, Text(text=LARGE))
        writing.arrive()
        leading.let_go()
        assert leader.result(SOON) == A
        over.set()
        writing.let_go()
        assert writer.result(PATIENCE).text == LARGE


def test_a_failed_write_that_finds_the_leaders_reply_wakes_it() -> None:
    def draining(peer: Peer) -> None:
        held = peer.expect()
        peer.expect()
        peer.socket.shutdown(socket.SHUT_RD)
        peer.answer(held, held.params)
        drains.set()
        assert over.wait(PATIENCE)

    drains, over = threading.Event(), threading.Event()
    hold = Hold()
    with (
        serving(draining, Peer.echo) as server,
        Client(server.address) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        leader = pool.submit(hold.run, client.call, echo, A, timeout=PATIENCE)
        hold.arrive()
        other = pool.submit(client.call, echo, A)  # keeps the connection from being closed at once
        assert drains.wait(PATIENCE)
        assert client.call(echo, Text(text="elsewhere")).text == "elsewhere"
        assert not leader.done()
        hold.let_go()
        assert leader.result(SOON) == A
        over.set()
        with pytest.raises(ConnectionLost):
            other.result(PATIENCE)


def test_an_upload_that_a_draining_server_cannot_finish_hears_of_it_while_it_leads() -> None:
    def draining(peer: Peer) -> None:
        open_upload(peer, 1)
        peer.next_event()
        assert held.wait(PATIENCE)
        peer.socket.shutdown(socket.SHUT_RD)
        drains.set()
        assert over.wait(PATIENCE)

    held, drains, over = threading.Event(), threading.Event(), threading.Event()
    hold = Hold()
    with (
        serving(draining, Peer.echo) as server,
        Client(server.address) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        with client.open_upload(load, A, timeout=PATIENCE) as sink:
            sink.send(1)
            sender = pool.submit(hold.run, sink.send, 2)  # for which there is no credit
            hold.arrive()
            held.set()
            assert drains.wait(PATIENCE)
            assert client.call(echo, A) == A
            hold.let_go()
            with pytest.raises(ConnectionLost):
                sender.result(SOON)
        over.set()


# --- what another thread writes ---------------------------------------------------------------------------------


def test_an_item_that_another_thread_wrote_wakes_its_sender() -> None:
    """The other one fills the socket again: only the bell can end the sender's wait."""

    def script(peer: Peer) -> None:
        open_upload(peer, 2)
        peer.next_event()
        is_begun.set()
        assert is_full.wait(PATIENCE)
        assert read_what_is_there(peer.socket) > 0
        has_room.set()
        assert is_sent.wait(PATIENCE)
        read_to_the_end(peer)

    is_begun, is_full, has_room, is_sent = (threading.Event() for _ in range(4))
    sending, writing = Hold(), Hold(ThreadCall.sleep)
    with serving(script) as server, Client(server.address) as client, ThreadPoolExecutor(2) as pool:
        with socket.socket(socket.AF_UNIX) as sample:
            room = sample.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        with client.open_upload("any.thing", None, timeout=PATIENCE) as sink:
            sink.send("")
            assert is_begun.wait(PATIENCE)
            sender = pool.submit(sending.run, sink.send, "y" * (room + room // 4))
            sending.arrive()
            is_full.set()
            assert has_room.wait(PATIENCE)
            writer = pool.submit(writing.run, client.call, echo, Text(text=LARGE), timeout=PATIENCE)
            writing.arrive()
            assert not sender.done()
            sending.let_go()
            assert sender.result(SOON)
            is_sent.set()
            writing.let_go()
        client.close()
        with pytest.raises((ClientClosed, ConnectionLost)):  # as far as it came by then
            writer.result(PATIENCE)


def fill(client: Client) -> None:
    """Send messages until the kernel takes no more, and no frame is written in part."""
    with contextlib.suppress(CallTimeout):
        while True:
            client.notify("any.thing", timeout=0.02)


def controls_before(peer: Peer, method: str) -> list[object]:
    """What comes up to the end, but for notifications of this method."""
    found = []
    while not isinstance(event := peer.next_event(), Cancel):
        found.append(event)
    return [event, *(each for each in found if getattr(each, "method", "") != method)]


def test_a_cancellation_that_finds_no_room_is_written_by_the_leader() -> None:
    """It polls by then, for something to read alone; nobody else uses the connection any more."""

    def script(peer: Peer) -> None:
        stream = open_stream(peer)
        request = peer.expect()
        is_read.set()
        assert is_full.wait(PATIENCE)
        (cancel, *others) = controls_before(peer, "any.thing")
        assert (cancel, others) == (Cancel(stream.id), [])
        peer.answer(request, request.params)
        read_to_the_end(peer)

    is_read, is_full = threading.Event(), threading.Event()
    with serving(script) as server, Client(server.address) as client, ThreadPoolExecutor(1) as pool:
        stream = client.stream(watch, A)
        with stream:
            leader = pool.submit(client.call, echo, A, timeout=PATIENCE)
            assert is_read.wait(PATIENCE)
            fill(client)
        assert client._exchange.link is not None
        assert client._exchange.link.has_unwritten
        is_full.set()
        assert leader.result(SOON) == A


def test_credit_that_finds_no_room_is_written_by_the_leader() -> None:
    """Its consumer is busy with an item meanwhile."""

    def script(peer: Peer) -> None:
        stream = open_stream(peer)
        peer.send_item(stream, 0)
        request = peer.expect()
        is_read.set()
        assert is_full.wait(PATIENCE)
        while not peer.wire.credit(stream.id):
            peer.next_event()
        peer.answer(request, request.params)
        read_to_the_end(peer)

    is_read, is_full = threading.Event(), threading.Event()
    with (
        serving(script) as server,
        Client(server.address) as client,
        ThreadPoolExecutor(1) as pool,
        client.stream(watch, A, credit=1) as items,
    ):
        leader = pool.submit(client.call, echo, A, timeout=PATIENCE)
        assert is_read.wait(PATIENCE)
        fill(client)
        assert next(items) == 0
        is_full.set()
        assert leader.result(SOON) == A


# --- ends, and who comes next -----------------------------------------------------------------------------------


def test_close_ends_the_wait_of_a_leader_and_of_its_heirs() -> None:
    def script(peer: Peer) -> None:
        peer.expect()
        peer.expect()
        in_flight.set()
        read_to_the_end(peer)

    in_flight = threading.Event()
    leading, following = Hold(), Hold(ThreadCall.sleep)
    with serving(script) as server, Client(server.address) as client, ThreadPoolExecutor(2) as pool:
        leader = pool.submit(leading.run, client.call, echo, A)
        leading.arrive()
        follower = pool.submit(following.run, client.call, echo, A)
        following.arrive()
        assert in_flight.wait(PATIENCE)
        client.close()
        for hold, call in ((leading, leader), (following, follower)):
            hold.let_go()
            with pytest.raises(ConnectionLost, match="the client was closed"):
                call.result(PATIENCE)


def test_a_follower_that_is_to_lead_learns_it_although_it_does_not_sleep_yet() -> None:
    def script(peer: Peer) -> None:
        first, second = peer.expect(), peer.expect()
        peer.answer(first, first.params)
        assert first_is_over.wait(PATIENCE)
        peer.answer(second, second.params)
        peer.await_end()

    first_is_over = threading.Event()
    leading, following = Hold(), Hold(ThreadCall.sleep)
    with serving(script) as server, Client(server.address) as client, ThreadPoolExecutor(2) as pool:
        leader = pool.submit(leading.run, client.call, echo, A, timeout=PATIENCE)
        leading.arrive()
        follower = pool.submit(following.run, client.call, echo, Text(text="b"), timeout=PATIENCE)
        following.arrive()
        leading.let_go()
        assert leader.result(SOON) == A
        first_is_over.set()
        following.let_go()
        assert follower.result(SOON).text == "b"


def test_a_writer_that_waits_leads_where_nobody_does() -> None:
    """The leader's time is over; a server that must be read from to read on is read from."""

    def script(peer: Peer) -> None:
        late = peer.expect()
        peer.begin()
        assert is_over.wait(PATIENCE)
        peer.answer(late, {"text": LARGE})
        peer.echo()

    is_over = threading.Event()
    writing = Hold(ThreadCall.sleep)
    with serving(script) as server, Client(server.address) as client, ThreadPoolExecutor(2) as pool:
        leader = pool.submit(client.call, echo, A, timeout=0.3)
        wait_until(lambda: client._exchange.link is not None and client._exchange.link.calls_in_flight == 1)
        writer = pool.submit(writing.run, client.call, echo, Text(text=LARGE), timeout=PATIENCE)
        writing.arrive()
        with pytest.raises(CallTimeout):
            leader.result(SOON)
        is_over.set()
        writing.let_go()
        assert writer.result(PATIENCE).text == LARGE
        assert server.connections == 1


# --- what it costs ----------------------------------------------------------------------------------------------


def test_nobody_has_a_bell_who_does_not_need_one() -> None:
    with serving() as server, Client(server.address) as client, ThreadPoolExecutor(2) as pool:
        before = eventfds()
        assert client.call(echo, Text(text=LARGE)).text == LARGE
        for result in [pool.submit(client.call, echo, A) for _ in range(50)]:
            assert result.result(PATIENCE) == A
        assert eventfds() == before


def test_where_no_descriptor_is_left_for_a_bell_the_connection_ends_and_the_reply_is_kept() -> None:
    def script(peer: Peer) -> None:
        open_upload(peer, 2 * LOOK_EVERY)
        peer.next_event()
        held = peer.expect()
        peer.answer(held, held.params)
        answered.set()
        read_to_the_end(peer)

    answered = threading.Event()
    hold = Hold()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (
        serving(script, Peer.echo) as server,
        Client(server.address) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        with client.open_upload(load, A) as sink:
            sink.send(0)
            leader = pool.submit(hold.run, client.call, echo, A, timeout=PATIENCE)
            hold.arrive()
            assert answered.wait(PATIENCE)
            for item in range(1, LOOK_EVERY - 1):
                assert sink.send(item)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                assert sink.send(0)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            hold.let_go()
            assert leader.result(SOON) == A
            with pytest.raises(ConnectionLost):
                sink.result()
        assert client.call(echo, A) == A


FORK_WITH_A_BELL: Final = """
import os, sys, threading
from superd_client import Client
client = Client(sys.argv[1])
call = lambda: client.call("echo.echo", {"text": "a"})
assert call() == {"text": "a"}
client._exchange.link._poller.ring()
pid = os.fork()
if pid == 0:
    left = {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")}
    assert not any("socket:" in each or "anon_inode" in each for each in left), left
    assert call() == {"text": "a"}
    client.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert call() == {"text": "a"}
client.close()
"""


def test_a_forked_child_keeps_neither_poll_nor_bell_of_its_parent() -> None:
    with serving() as server:
        run_program(FORK_WITH_A_BELL, server.address)
        assert server.connections == 2
