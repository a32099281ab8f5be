import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import superd_client.sync_exchange
from superd_client import (
    CallTimeout,
    Client,
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    InvalidResult,
    MessageTooLarge,
    MethodNotFound,
    Outcome,
    Unavailable,
)
from superd_client.calls import ATTEMPTS
from superd_client.wire.errors import RemoteProtocolError
from tests.client.models import Text, echo, touchy
from tests.client.server import PATIENCE, Peer, full_backlog, serving

LARGE = "x" * (1 << 20)


@contextlib.contextmanager
def handling(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Give SIGUSR1 a handler."""
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def interrupt(number: int, frame: FrameType | None) -> None:
    """What Python's own handler of SIGINT does."""
    raise KeyboardInterrupt


@contextlib.contextmanager
def in_threads(count: int) -> Iterator[Callable[..., Future[Any]]]:
    with ThreadPoolExecutor(count) as pool:
        yield pool.submit


def never_read(gate: threading.Event) -> Callable[[Peer], None]:
    """A script that accepts and reads nothing until the gate opens."""

    def script(peer: Peer) -> None:
        assert gate.wait(PATIENCE)

    return script


# --- many threads -----------------------------------------------------------------------------------------------


def test_many_threads_share_one_connection() -> None:
    def work(client: Client, worker: int) -> list[str]:
        return [client.call(echo, Text(text=f"{worker}-{turn}")).text for turn in range(200)]

    with serving() as server, Client(server.address) as client, in_threads(16) as submit:
        results = [submit(work, client, worker) for worker in range(16)]
        for worker, result in enumerate(results):
            assert result.result(PATIENCE) == [f"{worker}-{turn}" for turn in range(200)]
        assert server.connections == 1


def test_replies_in_reverse_order_reach_their_threads() -> None:
    def script(peer: Peer) -> None:
        requests = [peer.expect() for _ in range(8)]
        for request in reversed(requests):
            peer.answer(request, request.params)
        peer.await_end()

    with serving(script) as server, Client(server.address) as client, in_threads(8) as submit:
        results = [submit(client.call, echo, Text(text=str(number))) for number in range(8)]
        assert [result.result(PATIENCE).text for result in results] == [str(number) for number in range(8)]


def test_large_messages_of_many_threads_are_written_whole() -> None:
    texts = [character * (1 << 20) for character in "abcd"]
    with serving() as server, Client(server.address) as client, in_threads(4) as submit:
        results = [submit(client.call, echo, Text(text=text)) for text in texts * 2]
        assert [result.result(PATIENCE).text for result in results] == texts * 2


def test_the_leader_that_times_out_hands_over() -> None:
    first_is_read, second_is_read, first_is_over = threading.Event(), threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        late = peer.expect()
        first_is_read.set()
        request = peer.expect()
        second_is_read.set()
        assert first_is_over.wait(PATIENCE)
        peer.answer(late, {"text": "late"})
        peer.answer(request, request.params)
        peer.await_end()

    with serving(script) as server, Client(server.address) as client, in_threads(2) as submit:
        leader = submit(client.call, echo, Text(text="a"), timeout=0.5)
        assert first_is_read.wait(PATIENCE)
        follower = submit(client.call, echo, Text(text="b"))
        assert second_is_read.wait(PATIENCE)
        with pytest.raises(CallTimeout):
            leader.result(PATIENCE)
        first_is_over.set()
        assert follower.result(PATIENCE).text == "b"
        assert server.connections == 1


def test_a_follower_that_times_out_leaves_the_leader_alone() -> None:
    first_is_read, second_is_over = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        request = peer.expect()
        first_is_read.set()
        late = peer.expect()
        assert second_is_over.wait(PATIENCE)
        peer.answer(late, {"text": "late"})
        peer.answer(request, request.params)
        peer.await_end()

    with serving(script) as server, Client(server.address) as client, in_threads(2) as submit:
        leader = submit(client.call, echo, Text(text="a"))
        assert first_is_read.wait(PATIENCE)
        follower = submit(client.call, echo, Text(text="b"), timeout=0.5)
        with pytest.raises(CallTimeout) as caught:
            follower.result(PATIENCE)
        assert caught.value.outcome is Outcome.UNKNOWN
        second_is_over.set()
        assert leader.result(PATIENCE).text == "a"


# --- time -------------------------------------------------------------------------------------------------------


def test_a_full_backlog_ends_by_the_deadline() -> None:
    with full_backlog() as backlog, Client(backlog.address) as client:
        with pytest.raises(CallTimeout, match=r"no room in the server's backlog within 0.1 s") as caught:
            client.call(echo, Text(text="a"), timeout=0.1)
        assert caught.value.outcome is Outcome.NOT_SENT


def test_room_in_the_backlog_is_found() -> None:
    with full_backlog() as backlog, Client(backlog.address) as client, in_threads(1) as submit:
        result = submit(client.call, echo, Text(text="a"))
        wait_until(lambda: client._exchange.writing.holder is not None)
        peer = backlog.accept()
        answer_one(peer)
        assert result.result(PATIENCE).text == "a"
        peer.hang_up()


def test_a_peer_that_never_reads_stops_the_writer_by_its_deadline() -> None:
    gate = threading.Event()
    with serving(never_read(gate), Peer.echo) as server, Client(server.address) as client:
        with pytest.raises(CallTimeout, match=r"not written within 0.2 s") as caught:
            client.call(echo, Text(text=LARGE), timeout=0.2)
        assert caught.value.outcome is Outcome.NOT_SENT
        gate.set()
        assert client.call(echo, Text(text="a")).text == "a"
        assert server.connections == 2


def test_a_frame_cut_short_loses_the_calls_of_other_threads() -> None:
    gate = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect()
        gate.set()
        peer.socket.recv(1, 0)
        end.wait(PATIENCE)

    end = threading.Event()
    with serving(script) as server, Client(server.address) as client, in_threads(1) as submit:
        other = submit(client.call, echo, Text(text="a"))
        assert gate.wait(PATIENCE)
        with pytest.raises(CallTimeout, match="not written"):
            client.call(echo, Text(text=LARGE), timeout=0.5)
        with pytest.raises(ConnectionLost, match="a call ended before its whole frame was written") as caught:
            other.result(PATIENCE)
        assert caught.value.outcome is Outcome.UNKNOWN
        end.set()


def test_the_wait_for_another_writer_counts() -> None:
    gate, end = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.socket.recv(1)
        gate.set()
        end.wait(PATIENCE)

    with serving(script) as server, Client(server.address) as client, in_threads(1) as submit:
        writer = submit(client.call, echo, Text(text=LARGE), timeout=1)
        assert gate.wait(PATIENCE)
        with pytest.raises(CallTimeout, match=r"not written within 0.1 s") as caught:
            client.call(echo, Text(text="b"), timeout=0.1)
        assert caught.value.outcome is Outcome.NOT_SENT
        with pytest.raises(CallTimeout):
            writer.result(PATIENCE)
        end.set()


def test_a_late_reply_is_discarded() -> None:
    gate = threading.Event()

    def script(peer: Peer) -> None:
        late = peer.expect()
        request = peer.expect()
        peer.answer(late, {"text": "late"})
        peer.answer(request, request.params)
        peer.await_end()

    with serving(script) as server, Client(server.address) as client:
        with pytest.raises(CallTimeout, match=r"no reply within 0.5 s") as caught:
            client.call(echo, Text(text="a"), timeout=0.5)
        assert caught.value.outcome is Outcome.UNKNOWN
        gate.set()
        assert client.call(echo, Text(text="b")).text == "b"
        assert server.connections == 1


def test_a_periodic_signal_does_not_stretch_the_time() -> None:
    main = threading.main_thread().ident
    assert main is not None
    ticks: list[int] = []
    over = threading.Event()

    def tick() -> None:
        while not over.wait(0.02):
            signal.pthread_kill(main, signal.SIGUSR1)

    with (
        handling(lambda number, _: ticks.append(number)),
        serving(Peer.await_end) as server,
        Client(server.address) as client,
        in_threads(1) as submit,
    ):
        ticking = submit(tick)
        with pytest.raises(CallTimeout):
            client.call(echo, Text(text="a"), timeout=0.2)
        over.set()
        ticking.result(PATIENCE)
    assert len(ticks) > 2


# --- loss -------------------------------------------------------------------------------------------------------


def answer_one(peer: Peer) -> None:
    request = peer.expect()
    peer.answer(request, request.params)


def lose_one(peer: Peer) -> None:
    peer.expect()


def test_a_server_that_restarted_is_found_again_without_an_error() -> None:
    gone = threading.Event()

    def first(peer: Peer) -> None:
        answer_one(peer)
        peer.hang_up()
        gone.set()

    with serving(first, Peer.echo) as server, Client(server.address) as client:
        for text in ("a", "b", "c"):
            assert client.call(echo, Text(text=text)).text == text
            assert gone.wait(PATIENCE)
        assert server.connections == 2


def test_a_call_in_flight_is_lost_with_its_connection() -> None:
    with serving(lose_one, Peer.echo) as server, Client(server.address) as client:
        with pytest.raises(ConnectionLost, match="the server closed the connection") as caught:
            client.call(echo, Text(text="a"), call_id="c-1")
        assert (caught.value.outcome, caught.value.call_id) == (Outcome.UNKNOWN, "c-1")
        assert client.call(echo, Text(text="b")).text == "b"


def test_all_calls_in_flight_are_lost() -> None:
    def script(peer: Peer) -> None:
        for _ in range(5):
            peer.expect()

    with serving(script, Peer.echo) as server, Client(server.address) as client, in_threads(5) as submit:
        results = [submit(client.call, echo, Text(text="a")) for _ in range(5)]
        for result in results:
            with pytest.raises(ConnectionLost):
                result.result(PATIENCE)


def test_a_reset_is_a_loss() -> None:
    gate = threading.Event()

    def script(peer: Peer) -> None:
        peer.socket.recv(1)  # a close with unread bytes resets

    with serving(script) as server, Client(server.address) as client:
        with pytest.raises(ConnectionLost, match="the connection broke: Connection reset by peer"):
            client.call(echo, Text(text="a"))
        gate.set()


def test_a_server_that_always_hangs_up() -> None:
    def script(peer: Peer) -> None:
        peer.socket.recv(1)

    with serving(script) as server, Client(server.address) as client:
        with pytest.raises(ConnectFailed, match="before the call was sent") as caught:
            client.call(echo, Text(text=LARGE))
        assert caught.value.outcome is Outcome.NOT_SENT
        assert server.connections == 2


def test_a_server_that_hangs_up_again_and_again_is_tried_twice() -> None:
    def first(peer: Peer) -> None:
        answer_one(peer)
        peer.hang_up()
        gone.set()

    def script(peer: Peer) -> None:
        peer.socket.recv(1)

    gone = threading.Event()
    with serving(first, script) as server, Client(server.address) as client:
        client.call(echo, Text(text="a"))
        assert gone.wait(PATIENCE)
        with pytest.raises(ConnectFailed, match="before the call was sent"):
            client.call(echo, Text(text=LARGE))
        assert server.connections == ATTEMPTS


def test_a_writer_without_room_reads_what_nobody_waits_for() -> None:
    def script(peer: Peer) -> None:
        late = peer.expect()
        peer.begin()  # now nobody waits for the late reply any more
        peer.answer(late, {"text": LARGE})  # blocks until the client reads; it still writes
        peer.echo()

    with serving(script) as server, Client(server.address) as client:
        with pytest.raises(CallTimeout, match="no reply"):
            client.call(echo, Text(text="a"), timeout=0.5)
        assert client.call(echo, Text(text=LARGE), timeout=PATIENCE / 4).text == LARGE


def test_a_failed_write_finds_out_what_the_server_said_before() -> None:
    def script(peer: Peer) -> None:
        answer_one(peer)
        assert answered.wait(PATIENCE)
        error = {"code": -32002, "message": "too many connections", "data": {}}
        peer.send_message({"jsonrpc": "2.0", "id": None, "error": error})
        peer.hang_up()
        gone.set()

    answered, gone = threading.Event(), threading.Event()
    with serving(script, Peer.echo) as server, Client(server.address) as client:
        client.call(echo, Text(text="a"))
        answered.set()
        assert gone.wait(PATIENCE)
        with pytest.raises(ConnectFailed, match="too many connections"):
            client.call(echo, Text(text="b"))
        assert server.connections == 1


def test_replies_that_came_before_a_failed_write_are_not_lost() -> None:
    first_is_read, second_begins = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        first = peer.expect()
        first_is_read.set()
        peer.socket.recv(1)
        peer.answer(first, {"text": "in time"})

    with serving(script, Peer.echo) as server, Client(server.address) as client, in_threads(1) as submit:
        first = submit(client.call, echo, Text(text="a"))
        assert first_is_read.wait(PATIENCE)
        second_begins.set()
        assert client.call(echo, Text(text=LARGE)).text == LARGE
        assert first.result(PATIENCE).text == "in time"
        assert server.connections == 2


@pytest.mark.parametrize("text", ["b", LARGE])
def test_a_server_that_drains_answers_what_it_has_read_and_gets_no_more(text: str) -> None:
    first_is_read, drains, second_is_answered = threading.Event(), threading.Event(), threading.Event()

    def draining(peer: Peer) -> None:
        first = peer.expect()
        first_is_read.set()
        if text == LARGE:
            peer.socket.recv(1)
        peer.socket.shutdown(socket.SHUT_RD)
        drains.set()
        peer.await_rest()
        assert second_is_answered.wait(PATIENCE)
        peer.answer(first, first.params)

    with serving(draining, Peer.echo) as server, Client(server.address) as client, in_threads(1) as submit:
        first = submit(client.call, echo, Text(text="a"))
        assert first_is_read.wait(PATIENCE)
        if text != LARGE:
            assert drains.wait(PATIENCE)
        assert client.call(echo, Text(text=text)).text == text
        assert len(client._exchange.links) == 2
        second_is_answered.set()
        assert first.result(PATIENCE).text == "a"
        assert client._exchange.links[0].lost
        assert client.call(echo, Text(text="c")).text == "c"
        assert server.connections == 2


def test_a_call_that_a_draining_server_does_not_answer_in_time() -> None:
    first_is_read, drains = threading.Event(), threading.Event()

    def draining(peer: Peer) -> None:
        peer.expect()
        first_is_read.set()
        peer.socket.shutdown(socket.SHUT_RD)
        drains.set()
        over.wait(PATIENCE)

    over = threading.Event()
    with serving(draining, Peer.echo) as server, Client(server.address) as client, in_threads(1) as submit:
        first = submit(client.call, echo, Text(text="a"), timeout=0.5)
        assert drains.wait(PATIENCE)
        assert client.call(echo, Text(text="b")).text == "b"
        with pytest.raises(CallTimeout):
            first.result(PATIENCE)
        assert client._exchange.links[0].lost
        over.set()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"\0\0\0\0", id="a frame of length 0"),
        pytest.param(b"\xff\xff\xff\xff", id="a frame of 4 GiB"),
        pytest.param(b"\0\0\0\3abc", id="not JSON"),
        pytest.param(b"\0\0\0\2{}", id="not a reply"),
        pytest.param(b"\0\0\0\x28" + b'{"jsonrpc":"2.0","id":99,"result":null}\n', id="a reply to nothing"),
        pytest.param(b"\0\0\0\x1f" + b'{"jsonrpc":"2.0","id":1,"x":1} ', id="a reply without a result"),
        pytest.param(b"\0\0\0\x50half", id="half a frame"),
    ],
)
def test_a_server_that_breaks_the_protocol_is_left(answer: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.expect()
        peer.send(answer)
        if not answer.endswith(b"half"):
            peer.await_end()

    with serving(script, Peer.echo) as server, Client(server.address) as client:
        with pytest.raises(ConnectionLost, match="the server broke the protocol") as caught:
            client.call(echo, Text(text="a"))
        assert isinstance(caught.value.__cause__, RemoteProtocolError)
        assert client.call(echo, Text(text="b")).text == "b"


def test_a_server_that_refuses_the_connection_says_why() -> None:
    def script(peer: Peer) -> None:
        peer.socket.recv(1)
        error = {"code": -32002, "message": "too many connections", "data": {}}
        peer.send_message({"jsonrpc": "2.0", "id": None, "error": error})

    with serving(script) as server, Client(server.address) as client:
        with pytest.raises(ConnectFailed, match="too many connections"):
            client.call(echo, Text(text=LARGE))
        assert server.connections == 1


def test_a_frame_over_the_servers_limit() -> None:
    def script(peer: Peer) -> None:
        length = int.from_bytes(peer.socket.recv(4), "big")
        data = {"limit": 1024, "length": length}
        error = {"code": -32006, "message": "over the limit of 1024 bytes", "data": data}
        peer.send_message({"jsonrpc": "2.0", "id": None, "error": error})

    with serving(script) as server, Client(server.address) as client:
        with pytest.raises(MessageTooLarge, match="over the limit of 1024 bytes") as caught:
            client.call(echo, Text(text=LARGE))
        assert caught.value.outcome is Outcome.NOT_SENT


def test_a_notification_is_ignored() -> None:
    def script(peer: Peer) -> None:
        request = peer.expect()
        peer.send_message({"jsonrpc": "2.0", "method": "rpc.unheard_of", "params": {}})
        peer.answer(request, request.params)
        peer.await_end()

    with serving(script) as server, Client(server.address) as client:
        assert client.call(echo, Text(text="a")).text == "a"


def test_unavailable_is_for_the_caller() -> None:
    def script(peer: Peer) -> None:
        peer.fail(peer.expect(), -32005, "stopping")
        peer.await_end()

    with serving(script) as server, Client(server.address) as client:
        with pytest.raises(Unavailable, match="stopping") as caught:
            client.call(echo, Text(text="a"))
        assert caught.value.outcome is Outcome.REFUSED


def test_a_validator_of_ours_that_fails_hurts_its_own_call_alone() -> None:
    with serving() as server, Client(server.address) as client:
        with pytest.raises(InvalidResult) as caught:
            client.call(touchy, Text(text="a"))
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert client.call(echo, Text(text="b")).text == "b"
        assert server.connections == 1


# --- close ------------------------------------------------------------------------------------------------------


def test_close_ends_the_calls_of_other_threads() -> None:
    in_flight = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect()
        peer.expect()
        in_flight.set()
        peer.await_end()

    with serving(script) as server, in_threads(2) as submit:
        client = Client(server.address)
        results = [submit(client.call, echo, Text(text="a")) for _ in range(2)]
        assert in_flight.wait(PATIENCE)
        client.close()
        for result in results:
            with pytest.raises(ConnectionLost, match="the client was closed"):
                result.result(PATIENCE)
        with pytest.raises(ClientClosed):
            client.call(echo, Text(text="a"))
        client.close()


def test_close_ends_a_write_and_those_who_wait_for_their_turn() -> None:
    gate, end = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.socket.recv(1)
        gate.set()
        end.wait(PATIENCE)

    with serving(script) as server, in_threads(2) as submit:
        client = Client(server.address)
        writer = submit(client.call, echo, Text(text=LARGE))
        assert gate.wait(PATIENCE)
        waiter = submit(client.call, echo, Text(text="b"))
        wait_until(lambda: len(client._exchange.writing._queue) == 1)
        client.close()
        for result in (writer, waiter):
            with pytest.raises(ClientClosed) as caught:
                result.result(PATIENCE)
            assert caught.value.outcome is Outcome.NOT_SENT
        end.set()


def test_close_ends_a_connect() -> None:
    with full_backlog() as backlog, in_threads(1) as submit:
        client = Client(backlog.address)
        result = submit(client.call, echo, Text(text="a"))
        wait_until(lambda: client._exchange.writing.holder is not None)
        client.close()
        with pytest.raises(ClientClosed):
            result.result(PATIENCE)


def test_an_open_client_that_is_forgotten_warns() -> None:
    with serving() as server:
        client = Client(server.address)
        client.call(echo, Text(text="a"))
        text = repr(client)
        with pytest.warns(ResourceWarning, match=f"unclosed {text}"):  # noqa: PT031
            del client
            gc.collect()


def test_a_client_that_is_closed_or_was_never_connected_does_not_warn() -> None:
    with serving() as server, warnings.catch_warnings():
        client = Client(server.address)
        assert repr(client) == f"<Client {server.address} unconnected>"
        client.call(echo, Text(text="a"))
        assert repr(client) == f"<Client {server.address} connected>"
        client.close()
        assert repr(client) == f"<Client {server.address} closed>"
        Client(server.address)
        del client
        gc.collect()


# --- fork -------------------------------------------------------------------------------------------------------


def run_program(program: str, *arguments: str) -> str:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


FORK = """
import os, sys
from superd_client import Client
with Client(sys.argv[1]) as client:
    assert client.call("echo.echo", {"text": "a"}) == {"text": "a"}
    pid = os.fork()
    if pid == 0:
        assert client.call("echo.echo", {"text": "child"}) == {"text": "child"}
        client.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert client.call("echo.echo", {"text": "b"}) == {"text": "b"}
"""


def test_a_forked_child_connects_anew_and_leaves_its_parents_connection_alone() -> None:
    with serving() as server:
        run_program(FORK, server.address)
        assert server.connections == 2


FORK_DURING_A_CALL = """
import os, sys, threading
from superd_client import Client
client = Client(sys.argv[1])
results = []
thread = threading.Thread(target=lambda: results.append(client.call("echo.echo", {"text": "held"})))
thread.start()
sys.stdin.readline()
client._exchange.mutex.acquire()
pid = os.fork()
if pid == 0:
    assert client.call("echo.echo", {"text": "child"}) == {"text": "child"}
    client.close()
    os._exit(0)
client._exchange.mutex.release()
assert os.waitpid(pid, 0)[1] == 0
assert client.call("echo.echo", {"text": "b"}) == {"text": "b"}
thread.join()
assert results == [{"text": "held"}]
client.close()
"""


def test_what_a_child_does_to_the_clients_it_inherits() -> None:
    with serving() as server, Client(server.address) as client:
        assert client.call(echo, Text(text="a")).text == "a"
        mutex, link = client._exchange.mutex, client._exchange.link
        superd_client.sync_exchange._settle_in_child()
        assert link is not None
        assert link.lost
        assert client._exchange.mutex is not mutex
        assert client.call(echo, Text(text="b")).text == "b"


def test_a_fork_while_another_thread_waits_and_a_lock_is_held() -> None:
    is_read = threading.Event()

    def script(peer: Peer) -> None:
        held = peer.expect()
        is_read.set()
        peer.answer(request := peer.expect(), request.params)
        peer.answer(held, held.params)
        peer.await_end()

    command = [sys.executable, "-c", FORK_DURING_A_CALL]
    with (
        serving(script, Peer.echo) as server,
        subprocess.Popen([*command, server.address], stdin=subprocess.PIPE, text=True) as program,
    ):
        assert is_read.wait(PATIENCE)
        program.communicate("\n", timeout=PATIENCE)
        assert program.returncode == 0


# --- interrupts -------------------------------------------------------------------------------------------------


def interrupt_when(condition: Callable[[], bool]) -> None:
    """Interrupt the main thread once it has come so far."""
    wait_until(condition)
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGUSR1)


def test_an_interrupt_while_leading_leaves_the_client_usable() -> None:
    def script(peer: Peer) -> None:
        held = peer.expect()
        interrupt_when(
            lambda: client._exchange.link is not None and client._exchange.link._reading.holder is not None
        )
        request = peer.expect()
        peer.answer(held, {"text": "late"})
        peer.answer(request, request.params)
        peer.await_end()

    with handling(interrupt), serving(script) as server, Client(server.address) as client:
        with pytest.raises(KeyboardInterrupt):
            client.call(echo, Text(text="a"))
        assert client.call(echo, Text(text="b")).text == "b"
        assert server.connections == 1


def test_an_interrupt_while_following_leaves_the_leader_alone() -> None:
    is_led = threading.Event()

    def script(peer: Peer) -> None:
        led = peer.expect()
        is_led.set()
        peer.expect()
        interrupt_when(
            lambda: client._exchange.link is not None and len(client._exchange.link._reading._queue) == 1
        )
        peer.answer(request := peer.expect(), request.params)
        peer.answer(led, led.params)
        peer.await_end()

    with (
        handling(interrupt),
        serving(script) as server,
        Client(server.address) as client,
        in_threads(1) as submit,
    ):
        leader = submit(client.call, echo, Text(text="a"))
        assert is_led.wait(PATIENCE)
        with pytest.raises(KeyboardInterrupt):
            client.call(echo, Text(text="b"))
        assert client.call(echo, Text(text="c")).text == "c"
        assert leader.result(PATIENCE).text == "a"
        assert server.connections == 1


# An interrupt between the making of a socket and its first owner leaves it to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_an_interrupt_at_any_moment_leaves_the_client_usable() -> None:
    """Interrupts come at 300 moments of a call; after each, calls of this and of another thread succeed."""
    main = threading.main_thread().ident
    assert main is not None

    def interrupt_after(turns: int, begun: threading.Event) -> None:
        assert begun.wait(PATIENCE)
        for _ in range(turns):
            pass
        signal.pthread_kill(main, signal.SIGUSR1)

    def script(peer: Peer) -> None:
        with contextlib.suppress(BrokenPipeError):  # an interrupt in the middle of a read ends the connection
            peer.echo()

    with serving(script) as server, Client(server.address) as client, in_threads(2) as submit:
        for moment in range(300):
            begun = threading.Event()
            interrupting = submit(interrupt_after, 10 * moment, begun)
            with handling(interrupt), pytest.raises(KeyboardInterrupt):  # noqa: PT012
                begun.set()
                client.call(echo, Text(text="a"), timeout=PATIENCE)
                while True:
                    os.sched_yield()
            interrupting.result(PATIENCE)
            assert submit(client.call, echo, Text(text="b"), timeout=PATIENCE).result(PATIENCE).text == "b"
            assert client.call(echo, Text(text="c"), timeout=PATIENCE).text == "c"
        assert client._exchange.writing.holder is None


# --- what is left -----------------------------------------------------------------------------------------------


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for another thread to come so far."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_a_lost_connection_leaves_no_descriptor() -> None:
    with serving(lose_one) as server, Client(server.address) as client:
        with pytest.raises(ConnectionLost):
            client.call(echo, Text(text="a"))
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(20):
            with pytest.raises(ConnectionLost):
                client.call(echo, Text(text="a"))
        wait_until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before)


def test_an_unknown_method_leaves_the_connection_alone() -> None:
    def script(peer: Peer) -> None:
        peer.fail(peer.expect(), -32601, "no such method", nearest=[])
        peer.echo()

    with serving(script) as server, Client(server.address) as client:
        with pytest.raises(MethodNotFound):
            client.call("echo.ecko")
        assert client.call(echo, Text(text="a")).text == "a"
        assert server.connections == 1
