"""The exit of a superd that has nothing to do: what it waits for, and that nobody is lost who comes at that moment."""

import asyncio
import json
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from superd.app import Daemon
from superd.deadlines import now_usec
from superd.idle_exit import LOOKS, IdleExit, usable_idle_exit
from superd.lifecycle import Input
from superd.listeners import Listener, bind_listener
from superd.parts import examine
from superd.service import Context
from superd.settings import Settings
from superd.window import DEFAULT_LIMITS, Window
from superd.window_entry import Entry
from superd.window_kept import STORED_WINDOW
from superd_client.address import SocketKind
from superd_client.builtin import Nothing
from tests.conftest import FIGURES
from tests.daemon.datagram_client import RawDatagrams
from tests.daemon.idle_race import STEPS
from tests.daemon.logs import Changes, captured_logs
from tests.daemon.manager import LAUNCHER, Manager
from tests.daemon.process import ROOT, Superd, clean_environment
from tests.daemon.raw import PATIENCE, RawClient, RawPacketClient, echo, request
from tests.daemon.running import Gate, LoopFactory, Running, running_server, service_of

#: What the issue asks for.
RACES: Final = 10_000


def listeners(path: str) -> list[Listener]:
    """A socket of each kind, as if systemd had passed them."""
    addresses = (f"unix:{path}", f"unix-seqpacket:{path}.p", f"unix-dgram:{path}.d")
    return [bind_listener(each, 0o600)._replace(activated=True, inode=None) for each in addresses]


@contextmanager
def serving(*services: Any, **more: Any) -> Iterator[Running]:
    with running_server(*services, listeners=listeners, **more) as running:
        try:
            yield running
        finally:
            Path(running.path).unlink()


def is_quiet(running: Running) -> bool:
    async def look() -> bool:
        return running.server.is_quiet

    return running.run(look())


def retire(running: Running) -> bool:
    async def ask() -> bool:
        return running.server.retire()

    return running.run(ask())


# --- what is something to do ---------------------------------------------------------------------------------------


def test_a_connection_is(loop_factory: LoopFactory) -> None:
    with serving(loop=loop_factory) as running:
        assert is_quiet(running)
        with running.client() as client:
            client.ask(echo())
            assert not is_quiet(running)
            assert not retire(running)
            assert client.ask(echo())["result"], "it goes on"
        running.until(lambda: running.server.is_quiet)


def test_a_call_on_a_thread_is_also_where_its_caller_has_gone() -> None:
    begun, release = threading.Event(), threading.Event()

    def wait(params: Nothing, context: Context) -> str:
        begun.set()
        assert release.wait(PATIENCE)
        return ""

    with serving(service_of(wait)) as running:
        with running.client() as client:
            client.send(request("probe.run"))
            assert begun.wait(PATIENCE)
        running.wait(lambda stats: stats.connections_open == 0, "the connection is closed")
        assert not is_quiet(running)
        assert not retire(running)
        release.set()
        running.until(lambda: running.server.is_quiet)


def test_a_datagram_in_work_is() -> None:
    gate = Gate()
    with serving(service_of(gate)) as running, RawDatagrams(f"{running.path}.d") as peer:
        peer.send(request("probe.run"))
        running.in_flight(1)
        assert not retire(running)
        running.run(gate.open())
        assert peer.receive()["result"] == "through"
        running.until(lambda: running.server.is_quiet)


def test_a_reply_that_waits_is() -> None:
    with serving() as running, RawDatagrams(f"{running.path}.d") as peer:
        calls = 0
        while is_quiet(running):
            peer.send(echo(str(calls), calls))
            calls += 1
            running.wait(lambda stats: stats.calls_served == calls, "it was carried out")  # noqa: B023
        for number in range(calls):
            assert peer.receive()["id"] == number
        running.until(lambda: running.server.is_quiet)


KINDS: Final = {
    "stream": SocketKind.STREAM,
    "packets": SocketKind.SEQPACKET,
    "datagrams": SocketKind.DATAGRAM,
}


# --- who comes at that moment --------------------------------------------------------------------------------------


def comers(path: str) -> dict[str, Callable[[], RawClient | RawDatagrams]]:
    return {
        "stream": lambda: RawClient(path),
        "packets": lambda: RawPacketClient(f"{path}.p"),
        "datagrams": lambda: RawDatagrams(f"{path}.d"),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_who_waits_in_a_queue_is_served_first(kind: str, loop_factory: LoopFactory) -> None:
    with serving(loop=loop_factory) as running:

        async def come() -> RawClient | RawDatagrams:
            peer = comers(running.path)[kind]()
            peer.send(echo("in time"))
            assert not running.server.retire(), "nothing was read of it yet"
            return peer

        with running.run(come()) as peer:
            assert peer.receive()["result"] == {"text": "in time"}


@pytest.mark.parametrize("kind", KINDS)
def test_who_comes_later_waits_for_the_next(kind: str, loop_factory: LoopFactory) -> None:
    with serving(loop=loop_factory) as running:
        # As systemd, which has descriptors of its own for the same queues.
        kept = [listener.sock.dup() for listener in running.server.listeners]
        assert retire(running)
        with comers(running.path)[kind]() as peer:
            peer.send(echo("later"))
            readable, _, _ = select.select(kept, [], [], PATIENCE)
            assert [SocketKind(sock.type) for sock in readable] == [KINDS[kind]]
            assert running.stats.connections_accepted == running.stats.calls_served == 0
            for sock in kept:
                sock.close()


def test_in_ten_thousand_races_nobody_is_lost(record_property: Callable[[str, object], None]) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.daemon.idle_race", str(RACES), "1"],
        cwd=ROOT,
        env={name: value for name, value in clean_environment().items() if not name.startswith("COV")},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    took = f"{time.monotonic() - began:.1f} s, {counts['starts']} starts"
    record_property(FIGURES, [f"{RACES} peers raced against the idle exit, none lost: {took}"])
    assert counts["outcomes"] == {"answered": RACES}
    assert counts["races"] == RACES
    assert counts["unread"] == []
    assert counts["left_somebody_waiting"] == 0
    assert counts["starts"] > RACES // 100
    assert counts["called_off"] > 0
    assert min(counts["came"].values()) > 0
    assert len(counts["came"]) > len(STEPS)


# --- when ----------------------------------------------------------------------------------------------------------


class Leaving:
    """An IdleExit on the loop of a server, and what it did."""

    def __init__(self, running: Running, seconds: float) -> None:
        self.running: Final = running
        self.needed = False
        self.asked = 0
        self.left: float | None = None
        self.began = time.monotonic()
        running.run(self._start(seconds))

    async def _start(self, seconds: float) -> None:
        self.idle = IdleExit(
            self.running.server, self.running.stats, is_needed=self._is_needed, leave=self._leave
        )
        self.idle.start(asyncio.get_running_loop(), seconds)

    def _is_needed(self) -> bool:
        self.asked += 1
        return self.needed

    def _leave(self) -> None:
        assert self.left is None
        self.left = time.monotonic()

    def after(self) -> float:
        """Seconds from the start to the exit, when it has come."""
        self.running.until(lambda: self.left is not None)
        assert self.left is not None
        return self.left - self.began

    def limit(self, seconds: float) -> None:
        async def change() -> None:
            self.idle.limit(seconds)

        self.running.run(change())


#: Long enough for a timer of milliseconds.
SHORT: Final = 0.04


def test_it_leaves_after_that_time(loop_factory: LoopFactory) -> None:
    with serving(loop=loop_factory) as running:
        assert Leaving(running, SHORT).after() >= SHORT


def test_a_short_connection_between_two_looks_lets_the_time_begin_anew() -> None:
    with serving() as running:
        leaving = Leaving(running, SHORT)
        running.until(lambda: leaving.asked >= LOOKS // 2)
        with running.client() as client:
            client.ask(echo())
        last = time.monotonic()
        leaving.after()
        assert leaving.left is not None
        assert leaving.left - last >= SHORT


def test_it_stays_while_it_is_needed() -> None:
    with serving() as running:
        leaving = Leaving(running, SHORT)
        leaving.needed = True
        running.until(lambda: leaving.asked > 2 * LOOKS)
        assert leaving.left is None
        leaving.needed = False
        leaving.after()


def test_0_is_never() -> None:
    with serving() as running:
        leaving = Leaving(running, 0)
        leaving.limit(SHORT)
        leaving.limit(0)
        assert not leaving.idle.is_looking
        leaving.limit(SHORT)
        leaving.after()


def test_sockets_of_its_own_keep_it() -> None:
    passed = Listener(socket.socket(), "unix:/run/a", "superd", activated=True)
    own = passed._replace(address="unix:/run/b", activated=False)
    with passed.sock, captured_logs(Changes()) as logs:
        assert usable_idle_exit(60.0, [passed]) == 60.0
        assert usable_idle_exit(0.0, [passed, own]) == 0.0
        assert logs.lines == []
        assert usable_idle_exit(60.0, [passed, own]) == 0.0
        (line,) = logs.lines
    assert "idle_exit has no effect" in line["event"]
    assert line["listeners"] == ["unix:/run/b"]


def test_check_says_so(tmp_path: Path) -> None:
    settings = Settings(idle_exit=60.0, policy_dir=str(tmp_path))
    assert not any("idle_exit" in doubt for doubt in examine(settings).doubts)
    both = settings.model_copy(update={"listen": ("unix:@a",)})
    assert any("idle_exit has no effect" in doubt for doubt in examine(both).doubts)


def test_keys_and_a_reload_are_needs() -> None:
    daemon, window = Daemon(Settings(), Settings), Window(DEFAULT_LIMITS, now_usec())
    daemon._lifecycle.advance(Input.STARTED)
    assert not daemon._is_needed(window)
    entry = window.enter(7, "key", b"print", since_usec=None, call_id="c", now_usec=now_usec())
    assert isinstance(entry, Entry)
    assert daemon._is_needed(window)
    window.end(entry, b"1", now_usec())
    assert daemon._is_needed(window)
    assert not daemon._is_needed(Window(DEFAULT_LIMITS, now_usec()))
    daemon._lifecycle.advance(Input.RELOAD)
    assert daemon._is_needed(Window(DEFAULT_LIMITS, now_usec()))


# --- the process ---------------------------------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


@contextmanager
def activated(sock: socket.socket, manager: Manager, **settings: str) -> Iterator[Superd]:
    """superd as systemd starts it for a socket, and the descriptors that it keeps."""
    passed = [("superd", sock.fileno()), *((name, fd) for name, fds in manager.kept.items() for fd in fds)]
    variables = {
        "NOTIFY_SOCKET": str(manager.address),
        "SUPERD_KEEP_CONNECTIONS": "yes",
        "LISTEN_FDNAMES": ":".join(name for name, _ in passed),
    }
    numbers = [fd for _, fd in passed]
    daemon = Superd(
        path=Path(sock.getsockname()),
        program=[sys.executable, "-c", LAUNCHER, ",".join(map(str, numbers))],
        environment=variables | settings,
        pass_fds=numbers,
    )
    try:
        yield daemon.started()
    finally:
        daemon.kill()


def test_a_process_ends_and_the_next_serves_who_came(tmp_path: Path, manager: Manager) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        sock.listen()
        began = time.monotonic()
        with activated(sock, manager, SUPERD_IDLE_EXIT="1s") as daemon:
            assert daemon.ended() == 0
            assert time.monotonic() - began >= 1
        assert "idle, stopping idle_exit=1.0" in daemon.log
        assert "stopped" in daemon.log
        assert "cannot be kept" not in daemon.log
        assert "STOPPING=1\nSTATUS=idle for 1 s; the next connection starts superd\n" in manager.said
        assert manager.kept.keys() == {STORED_WINDOW}, "no connections were handed over"
        with RawClient(str(tmp_path / "s")) as client:
            client.send(echo("again"))
            assert select.select([sock], [], [], PATIENCE)[0]
            with activated(sock, manager, SUPERD_IDLE_EXIT="1h") as daemon:
                assert client.receive()["result"] == {"text": "again"}
                assert daemon.stop() == 0
