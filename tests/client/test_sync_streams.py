"""Streams and uploads of the blocking client: threads beside them, interrupts at any moment, and what is forgotten."""

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from superd_client import CallTimeout, Client, ConnectionLost, Fd, Message, Stream, Upload
from superd_client.flows import LOOK_EVERY
from superd_client.wire.control import Cancel
from superd_client.wire.envelope import Request
from superd_client.wire.server import Item
from tests.client.models import Text, echo, load, watch
from tests.client.scripts import open_stream, open_upload, receive_items, serve_all, serve_numbers
from tests.client.server import PATIENCE, Peer, serving
from tests.client.test_sync import handling, in_threads, interrupt, interrupt_when, wait_until

A = Text(text="a")
LARGE = "x" * (1 << 20)


# --- threads ----------------------------------------------------------------------------------------------------


def test_a_slow_consumer_holds_up_nobody() -> None:
    with serving(serve_all) as server, Client(server.address) as client, in_threads(1) as submit:
        with client.stream(watch, A, credit=4) as items:
            assert next(items) == 1
            for _ in range(50):  # the stream has used its credit, and nobody takes its items
                assert submit(client.call, echo, A).result(PATIENCE) == A
                assert client.call(echo, A) == A
            assert [next(items) for _ in range(20)] == [1] * 20
        assert server.connections == 1


def test_threads_with_streams_and_threads_with_calls_lead_in_turn() -> None:
    def consume() -> int:
        with client.stream(watch, A, credit=3) as items:
            return sum(next(items) for _ in range(200))

    def produce() -> int:
        with client.open_upload(load, A) as sink:
            return sum(sink.send(1) for _ in range(100))

    def call() -> int:
        return sum(client.call(echo, A) == A for _ in range(100))

    with serving(serve_all) as server, Client(server.address) as client, in_threads(9) as submit:
        work = [submit(each) for each in (consume, produce, call) * 3]
        assert [each.result(PATIENCE) for each in work] == [200, 100, 100] * 3
        assert server.connections == 1


def test_many_streams_of_one_thread_run_side_by_side() -> None:
    with serving(serve_all) as server, Client(server.address) as client, contextlib.ExitStack() as stack:
        streams = [stack.enter_context(client.stream(watch, A, credit=2)) for _ in range(100)]
        for _ in range(5):
            assert [next(items) for items in streams] == [1] * 100
        assert server.connections == 1


def test_close_ends_a_stream_that_another_thread_waits_for() -> None:
    with serving(Peer.await_end) as server, Client(server.address) as client, in_threads(1) as submit:
        items = client.stream(watch, A)
        result = submit(next, items)
        wait_until(lambda: client._exchange.link is not None)
        client.close()
        with pytest.raises(ConnectionLost, match="the client was closed"):
            result.result(PATIENCE)
        assert list(items) == []


# --- beginning and ending ---------------------------------------------------------------------------------------


def test_a_stream_begins_with_its_first_use() -> None:
    with serving(serve_numbers(2)) as server, Client(server.address) as client:
        items = client.stream(watch, A)
        assert repr(items) == "<ItemStream not begun>"
        assert server.connections == 0
        with items as same:
            assert same is items
            assert repr(items).startswith("<ItemStream shop.watch [call ")
            assert list(items) == [0, 1]
        assert list(items) == []
        items.close()


def test_a_stream_that_has_failed_is_over() -> None:
    with serving(Peer.await_end) as server, Client(server.address) as client:
        items = client.stream(watch, A, timeout=0.05)
        with pytest.raises(CallTimeout):
            next(items)
        assert list(items) == []


def test_an_upload_step_by_step() -> None:
    def script(peer: Peer) -> None:
        request = open_upload(peer, 1)
        assert receive_items(peer, request, 1) == [1, 2]
        peer.answer(request, {"text": "done"})
        peer.await_end()

    with serving(script) as server, Client(server.address) as client:
        with client.open_upload(load, A) as sink:
            assert sink.send(1)
            with pytest.raises(ValueError, match="int"):
                sink.send("no item")  # type: ignore[arg-type]
            assert sink.send(2)
            assert sink.result() == Text(text="done")
            assert sink.result() == Text(text="done")
        assert sink.result() == Text(text="done")
        with pytest.raises(ValueError, match="this upload is over"):
            sink.send(3)


def test_an_upload_that_is_left_without_its_result_is_cancelled() -> None:
    def script(peer: Peer) -> None:
        request = open_upload(peer, 1)
        assert peer.next_event() == Item(request.id, 1)
        peer.expect_control(Cancel(request.id))
        peer.echo()

    with serving(script) as server, Client(server.address) as client:
        with client.open_upload(load, A) as sink:
            assert sink.send(1)
        with pytest.raises(ValueError, match="this upload is over"):
            sink.result()
        assert client.call(echo, A) == A


def test_a_failure_is_noticed_while_items_go_out() -> None:
    """With credit for all of them nothing makes the client wait."""

    def script(peer: Peer) -> None:
        request = open_upload(peer, 1_000_000)
        peer.next_event()
        peer.answer(request, {"text": "enough"})
        answered.set()
        peer.await_rest()

    answered = threading.Event()
    with serving(script) as server, Client(server.address) as client, client.open_upload(load, A) as sink:
        assert sink.send(1)
        assert answered.wait(PATIENCE)
        assert sum(sink.send(1) for _ in range(3 * LOOK_EVERY)) <= LOOK_EVERY
        assert sink.result() == Text(text="enough")


# --- what is forgotten ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stream", "upload"])
def test_what_is_forgotten_warns_and_is_cancelled(kind: str) -> None:
    def script(peer: Peer) -> None:
        request = open_stream(peer) if kind == "stream" else open_upload(peer, 1)
        if kind == "stream":
            peer.send_item(request, 1)
        else:
            assert peer.next_event() == Item(request.id, 1)
        peer.expect_control(Cancel(request.id))
        peer.echo()

    with serving(script) as server, Client(server.address) as client:
        flow: Any = client.stream(watch, A) if kind == "stream" else client.open_upload(load, A)
        assert next(flow) == 1 if kind == "stream" else flow.send(1)
        with pytest.warns(ResourceWarning, match=r"unclosed <Item(Stream|Sink) shop\.(watch|load)"):  # noqa: PT031
            del flow
            gc.collect()
        assert client.call(echo, A) == A
        link = client._exchange.link
        assert link is not None
        assert link.calls_in_flight == 0


def test_a_stream_that_is_forgotten_while_the_mutex_is_held_ends_with_the_next_call() -> None:
    def script(peer: Peer) -> None:
        request = open_stream(peer)
        peer.send_item(request, 1)
        peer.echo()
        assert peer.controls == [Cancel(request.id)]

    with serving(script) as server, Client(server.address) as client:
        items = client.stream(watch, A)
        assert next(items) == 1
        with pytest.warns(ResourceWarning, match="unclosed"), client._exchange.mutex:  # noqa: PT031
            del items
            gc.collect()
        assert client.call(echo, A) == A


def test_a_stream_that_has_ended_or_never_begun_does_not_warn() -> None:
    with serving(serve_numbers(1)) as server, Client(server.address) as client:
        items = client.stream(watch, A)
        assert list(items) == [0]
        del items
        client.stream(watch, A)
        gc.collect()


def test_a_stream_keeps_its_client() -> None:
    with serving(serve_numbers(2)) as server:
        items = Client(server.address).stream(watch, A)
        gc.collect()
        assert list(items) == [0, 1]
        with pytest.warns(ResourceWarning, match="unclosed <Client"):  # noqa: PT031
            del items
            gc.collect()


FORK = """
import os, sys
from superd_client import Client, ConnectionLost
with Client(sys.argv[1]) as client:
    items = client.stream("shop.watch", {"text": "a"})
    assert next(items) == 0
    pid = os.fork()
    if pid == 0:
        try:
            for _ in items:
                pass
        except ConnectionLost as error:
            assert "belongs to the parent" in str(error)
            client.close()
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert list(items) == list(range(1, 500))
"""


def test_a_forked_child_leaves_its_parents_stream_alone() -> None:
    with serving(serve_numbers(500)) as server:
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", FORK, server.address],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (run.returncode, run.stderr) == (0, "")
        assert server.connections == 1


# --- interrupts -------------------------------------------------------------------------------------------------


def nudge(peer: Peer) -> None:
    """Wake a thread that went to poll in the very moment of its signal: Python had no time to see it."""
    peer.send_message({"jsonrpc": "2.0", "method": "rpc.unheard_of"})


def test_an_interrupted_call_is_cancelled() -> None:
    def script(peer: Peer) -> None:
        request = peer.expect()
        link = client._exchange.link
        assert link is not None
        interrupt_when(lambda: link._reading.holder is not None)
        nudge(peer)
        peer.expect_control(Cancel(request.id))
        peer.fail(request, -32004)
        peer.echo()

    with handling(interrupt), serving(script) as server, Client(server.address) as client:
        with pytest.raises(KeyboardInterrupt):
            client.call(echo, A)
        assert client.call(echo, A) == A


def test_an_interrupted_stream_is_cancelled() -> None:
    def script(peer: Peer) -> None:
        request = open_stream(peer)
        peer.send_item(request, 1)
        link = client._exchange.link
        assert link is not None
        interrupt_when(lambda: seen == [1] and link._reading.holder is not None)
        nudge(peer)
        peer.expect_control(Cancel(request.id))
        peer.echo()

    seen: list[int] = []
    with handling(interrupt), serving(script) as server, Client(server.address) as client:
        items = client.stream(watch, A)
        seen.append(next(items))
        with pytest.raises(KeyboardInterrupt):
            next(items)
        assert client.call(echo, A) == A
        assert server.connections == 1


def steps(client: Client) -> Iterator[None]:
    """Some of everything; the caller stops where it likes."""
    with client.stream(watch, A, credit=2) as items:
        for _ in range(3):
            next(items)
            yield
    with client.open_upload(load, A) as sink:
        for _ in range(3):
            sink.send(1)
            yield


# An interrupt between the making of a socket and its first owner leaves it to the garbage collector, and one in the
# constructor of a stream the stream.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_an_interrupt_at_any_moment_leaves_the_client_usable() -> None:
    """Interrupts come at 150 moments of streams and uploads; after each, both work, in this and in another thread."""
    main = threading.main_thread().ident
    assert main is not None

    def interrupt_after(turns: int, begun: threading.Event) -> None:
        assert begun.wait(PATIENCE)
        for _ in range(turns):
            pass
        signal.pthread_kill(main, signal.SIGUSR1)

    def go_through() -> int:
        return sum(1 for _ in steps(client))

    with serving(serve_all) as server, Client(server.address) as client, in_threads(2) as submit:
        for moment in range(150):
            begun = threading.Event()
            interrupting = submit(interrupt_after, 60 * moment, begun)
            with handling(interrupt), pytest.raises(KeyboardInterrupt):  # noqa: PT012
                begun.set()
                while True:
                    go_through()
                    os.sched_yield()
            interrupting.result(PATIENCE)
            assert submit(go_through).result(PATIENCE) == 6
            assert go_through() == 6
        gc.collect()
        assert client.call(echo, A) == A
        link = client._exchange.link
        assert link is not None
        assert link.calls_in_flight == 0
        assert client._exchange.writing.holder is None


# --- when the server does not read ------------------------------------------------------------------------------


def test_an_item_that_is_not_taken_in_time_ends_the_connection() -> None:
    """No thread stays to write the rest of it."""

    def script(peer: Peer) -> None:
        open_upload(peer, 5)
        assert over.wait(PATIENCE)

    over = threading.Event()
    with serving(script, Peer.echo) as server, Client(server.address) as client:
        with pytest.raises(CallTimeout, match="no progress"):
            client.upload("any.thing", None, [LARGE], timeout=0.1)
        over.set()
        assert client.call(echo, A) == A
        assert server.connections == 2


def test_credit_that_finds_no_room_is_written_by_whoever_waits() -> None:
    """The stream's consumer takes an item while another thread fills the socket."""

    def script(peer: Peer) -> None:
        request = open_stream(peer)
        peer.send_item(request, 0)
        assert full.wait(PATIENCE)
        large = peer.expect()
        peer.answer(large, large.params)
        for number in range(1, 10):
            peer.send_item(request, number)
        peer.answer(request, None)
        peer.await_end()

    full = threading.Event()
    with serving(script) as server, Client(server.address) as client, in_threads(1) as submit:
        items = client.stream(watch, A, credit=1)
        with items:
            wait_until(lambda: client._exchange.link is not None)
            writer = submit(client.call, echo, Text(text=LARGE))
            wait_until(lambda: client._exchange.link is not None and client._exchange.link.has_unwritten)
            assert next(items) == 0  # its credit waits behind the large call
            full.set()
            assert list(items) == list(range(1, 10))
        assert writer.result(PATIENCE).text == LARGE


# --- descriptors ------------------------------------------------------------------------------------------------


class Handle(Message):
    end: Fd


pipes = Stream("fd.watch", Text, Handle)
take = Upload("fd.load", Handle, Handle, Text)


def pipes_open() -> set[tuple[str, str]]:
    """The descriptors of pipes in this process, and which pipes they are."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found.add((entry.name, str(entry.readlink())))
    return {(number, target) for number, target in found if target.startswith("pipe:")}


def test_descriptors_of_items_that_nobody_takes_are_closed() -> None:
    def script(peer: Peer) -> None:
        request = open_stream(peer)
        for _ in range(3):
            reader, writer = os.pipe()
            frame = peer.wire.send_item(request.id, b'{"end":0}', 1)
            socket.send_fds(peer.socket, [frame], [reader])
            os.close(reader)
            os.close(writer)
        peer.echo()

    with serving(script) as server, Client(server.address) as client:
        before = pipes_open()
        with client.stream(pipes, A) as items:
            first = next(items)
            assert client.call(echo, A) == A  # which reads the others too
            assert len(pipes_open() - before) == 3
        assert len(pipes_open() - before) == 1
        with first.end as end:
            assert os.read(end.fileno(), 1) == b""


def test_descriptors_go_with_params_and_items_of_an_upload() -> None:
    def script(peer: Peer) -> None:
        peer.wire.receive_data(*receive(peer))
        request = peer.wire.next_event()
        assert isinstance(request, Request)
        os.close(request.received[0])
        peer.send(peer.wire.open_inflow(request.id, 2, lambda body, fds, head: fds))
        for _ in range(2):
            peer.wire.receive_data(*receive(peer))
            event = peer.wire.next_event()
            assert isinstance(event, Item)
            os.write(event.value[0], b"x")
            os.close(event.value[0])
        peer.answer(request, {"text": "done"})
        peer.await_end()

    def receive(peer: Peer) -> tuple[bytes, tuple[int, ...]]:
        data, fds, _, _ = socket.recv_fds(peer.socket, 4096, 8)
        return data, tuple(fds)

    reader, writer = os.pipe()
    with serving(script) as server, Client(server.address) as client, Fd(writer) as end:
        before = pipes_open()
        with client.open_upload(take, Handle(end=end)) as sink:
            assert sink.send(Handle(end=end))
            assert sink.send(Handle(end=end))
            assert sink.result() == Text(text="done")
        assert os.read(reader, 9) == b"xx"
        assert pipes_open() == before
    os.close(reader)
