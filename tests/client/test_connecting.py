"""How both clients come to a connection where it is not simply there: absent servers, forks, loops, interrupts."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import inf, nan
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest
import uvloop

from superd_client import AsyncClient, CallTimeout, Client, ConnectFailed, ConnectionLost, Outcome
from superd_client.arguments import WAIT_FOR_SERVER
from superd_client.poller import Poller
from superd_client.sync_link import ThreadCall
from superd_client.wire.control import Cancel
from tests.client.conftest import Run
from tests.client.models import Text, echo, watch
from tests.client.scripts import open_stream
from tests.client.server import PATIENCE, Peer, full_backlog, serving
from tests.client.test_sync import handling, interrupt, interrupt_when, run_program
from tests.contract.drivers import DRIVERS, Driver

A: Final = Text(text="a")


@pytest.fixture(params=sorted(DRIVERS))
def driver(request: pytest.FixtureRequest) -> type[Driver]:
    return DRIVERS[request.param]


class Tries:
    """Counts the connects of this process, by the audit events that Python raises for them."""

    _hook_is_there: bool = False
    _counting: "Tries | None" = None

    def __init__(self) -> None:
        self._count = 0
        self._changed: Final = threading.Condition()

    def __enter__(self) -> None:
        if not Tries._hook_is_there:
            sys.addaudithook(Tries._audit)
            Tries._hook_is_there = True
        Tries._counting = self

    def __exit__(self, *_: object) -> None:
        Tries._counting = None

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._count >= count, PATIENCE)

    @staticmethod
    def _audit(event: str, arguments: Any) -> None:
        counting = Tries._counting
        if event == "socket.connect" and counting is not None:
            with counting._changed:
                counting._count += 1
                counting._changed.notify_all()


# --- a server that is not there ---------------------------------------------------------------------------------


def leave_a_stale_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize("stale", [False, True], ids=["no file", "a stale socket"])
def test_a_server_that_comes_a_moment_later_is_waited_for(
    driver: type[Driver], tmp_path: Path, stale: bool
) -> None:
    """ENOENT, and ECONNREFUSED."""
    path = tmp_path / "s"
    if stale:
        leave_a_stale_socket(path)

    def make_room() -> None:
        if stale:
            path.unlink()

    tries = Tries()
    with ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as stack, driver(f"unix:{path}") as client:

        def begin() -> None:
            tries.wait_for(3)
            make_room()
            stack.enter_context(serving(path=str(path)))

        with tries:
            server = pool.submit(begin)
            assert client.call(echo, A) == A
        server.result(PATIENCE)


@pytest.mark.parametrize(("wait", "least"), [(0, 0), (0.15, 0.15)])
def test_a_server_that_does_not_come_is_waited_for_so_long(
    driver: type[Driver], tmp_path: Path, wait: float, least: float
) -> None:
    with driver(f"unix:{tmp_path}/s", wait_for_server=wait) as client:
        begun = time.monotonic()
        with pytest.raises(ConnectFailed, match=r"nothing listens at .*superd\.socket") as caught:
            client.call(echo, A, timeout=PATIENCE)
        assert least <= time.monotonic() - begun < PATIENCE
    assert caught.value.outcome is Outcome.NOT_SENT
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_the_deadline_of_the_call_bounds_that_and_the_reason_is_told(
    driver: type[Driver], tmp_path: Path
) -> None:
    with (
        driver(f"unix:{tmp_path}/s", wait_for_server=inf) as client,
        pytest.raises(ConnectFailed, match="nothing listens at"),
    ):
        client.call(echo, A, timeout=0.1)


def test_by_default_it_is_a_second(tmp_path: Path) -> None:
    with Client(f"unix:{tmp_path}/s") as client:
        begun = time.monotonic()
        with pytest.raises(ConnectFailed):
            client.call(echo, A)
        assert time.monotonic() - begun >= WAIT_FOR_SERVER == 1.0


def test_what_waiting_does_not_mend_is_told_at_once(driver: type[Driver], tmp_path: Path) -> None:
    """A socket of another type."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(f"{tmp_path}/s")
        listener.listen()
        with driver(f"unix:{tmp_path}/s", wait_for_server=inf) as client:
            with pytest.raises(ConnectFailed, match="a socket of another type") as caught:
                client.call(echo, A, timeout=PATIENCE)
            assert isinstance(caught.value.__cause__, OSError)
            assert caught.value.__cause__.errno == errno.EPROTOTYPE


@pytest.mark.parametrize("wait", [0, inf])
def test_a_full_backlog_is_waited_for_in_any_case(driver: type[Driver], wait: float) -> None:
    with full_backlog() as backlog, driver(backlog.address, wait_for_server=wait) as client:
        with pytest.raises(CallTimeout, match="no room in the server's backlog") as caught:
            client.call(echo, A, timeout=0.1)
        assert caught.value.outcome is Outcome.NOT_SENT


@pytest.mark.parametrize("seconds", [-0.001, nan, -inf])
def test_what_is_no_time_to_wait(driver: type[Driver], seconds: float) -> None:
    with pytest.raises(ValueError, match="wait_for_server is 0 or more seconds"):
        driver("unix:/run/s", wait_for_server=seconds)


def test_a_datagram_server_is_waited_for_too(driver: type[Driver], tmp_path: Path) -> None:
    path = tmp_path / "s"
    leave_a_stale_socket_of_datagrams(path)
    with driver(f"unix-dgram:{path}", wait_for_server=0.1) as client:
        begun = time.monotonic()
        with pytest.raises(ConnectFailed, match="nothing listens at"):
            client.notify("a.b", {})
        assert time.monotonic() - begun >= 0.1


def leave_a_stale_socket_of_datagrams(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))


def test_a_task_whose_time_is_shorter_does_not_wait_for_the_one_that_connects(
    run: Run, tmp_path: Path
) -> None:
    async def main() -> None:
        async with AsyncClient(f"unix:{tmp_path}/s", wait_for_server=inf) as client:
            patient = asyncio.create_task(client.call(echo, A, timeout=PATIENCE))
            await asyncio.sleep(0)
            with pytest.raises(ConnectFailed, match="nothing listens at"):
                await client.call(echo, A, timeout=0.05)
            assert not patient.done()
            patient.cancel()
            with pytest.raises(asyncio.CancelledError):
                await patient

    run(main())


# --- fork -------------------------------------------------------------------------------------------------------

FORK: Final = """
import asyncio, gc, os, sys
import uvloop
from superd_client import AsyncClient

factory = {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}[sys.argv[2]]
call = lambda text: client.call("echo.echo", {"text": text})

def in_child():
    async def main():
        assert await call("child") == {"text": "child"}
        await client.aclose()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())

def fork():
    pid = os.fork()
    if pid == 0:
        try:
            left = {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")}
            if sys.argv[2] == "asyncio" and sys.argv[3] == "idle":
                assert sum("socket:" in each for each in left) == 2, left  # of the loop itself
            in_child()
            os._exit(0)
        finally:
            os._exit(1)
    return pid

async def main():
    assert await call("a") == {"text": "a"}
    held = asyncio.create_task(call("held")) if sys.argv[3] == "busy" else None
    await asyncio.sleep(0)
    pid = fork()
    status = await asyncio.to_thread(os.waitpid, pid, 0)
    assert status[1] == 0, status
    assert await call("b") == {"text": "b"}   # the loop still watches the connection
    if held:
        assert await held == {"text": "held"}
    await client.aclose()

client = AsyncClient(sys.argv[1])
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("state", ["idle", "busy"])
def test_a_forked_child_uses_the_client_in_a_loop_of_its_own(loop: str, state: str) -> None:
    """The parent's connection, and the poll of its loop, which is the child's too, stay as they are."""
    with serving() as server:
        run_program(FORK, server.address, loop, state)
        assert server.connections == 2


FORK_DATAGRAMS: Final = """
import asyncio, os, sys
from superd_client import AsyncClient

async def main():
    held = asyncio.create_task(client.call("a.b", {}, timeout=20))
    while not client._exchange._calls:
        await asyncio.sleep(0)
    pid = os.fork()
    if pid == 0:
        left = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")]
        os._exit(sum("socket:" in each for each in left) - 2)
    assert os.waitpid(pid, 0)[1] == 0
    held.cancel()
    await asyncio.gather(held, return_exceptions=True)
    await client.aclose()

client = AsyncClient(sys.argv[1])
with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
    runner.run(main())
"""


def test_a_forked_child_keeps_no_datagram_socket_of_its_parents_calls(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"{tmp_path}/s")
        run_program(FORK_DATAGRAMS, f"unix-dgram:{tmp_path}/s")


FORK_IN_THE_LOOP: Final = """
import asyncio, os, sys
from superd_client import AsyncClient

async def main():
    await client.call("echo.echo", {"text": "a"})
    pid = os.fork()
    if pid == 0:
        try:
            await client.call("echo.echo", {"text": "a"})
        except RuntimeError as error:
            os._exit(7 if "no running event loop" in str(error) else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    await client.call("echo.echo", {"text": "a"})
    await client.aclose()

client = AsyncClient(sys.argv[1])
asyncio.run(main())
"""


def test_a_forked_child_that_goes_on_in_its_parents_loop_is_refused() -> None:
    with serving() as server:
        run_program(FORK_IN_THE_LOOP, server.address)


# --- another event loop -----------------------------------------------------------------------------------------


def test_a_client_goes_on_in_the_next_loop(run: Run) -> None:
    async def use() -> None:
        assert await client.call(echo, A) == A

    async def close() -> None:
        await use()
        await client.aclose()

    with serving() as server:
        client = AsyncClient(server.address)
        run(use())
        run(use())
        run(close())
        assert server.connections == 3


@pytest.mark.parametrize("factory", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
@pytest.mark.filterwarnings("ignore:.*was destroyed but it is pending")
def test_a_call_that_its_loop_left_behind_is_lost_and_hurts_nobody(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """A loop that is closed without asyncio.run's cancellation leaves its tasks as they are."""
    is_read = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect()
        is_read.set()
        peer.await_end()

    async def begin() -> tuple["asyncio.Task[Any]", Any]:
        stream = client.stream(watch, A)
        await stream.__aenter__()
        return asyncio.create_task(client.call(echo, A)), stream

    async def go_on() -> None:
        with pytest.raises(ConnectionLost, match="the event loop that the connection was made in is closed"):
            await anext(stream)
        assert await client.call(echo, A) == A
        await client.aclose()

    with serving(script, Peer.echo) as server:
        client = AsyncClient(server.address)
        loop = factory()
        task, stream = loop.run_until_complete(begin())
        loop.close()
        assert is_read.wait(PATIENCE)
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(go_on())
        task._log_destroy_pending = False  # type: ignore[attr-defined] # that is what is tested
        task.get_coro().close()


def test_a_client_that_only_closes_in_the_next_loop(run: Run) -> None:
    async def use() -> None:
        assert await client.call(echo, A) == A

    with serving() as server:
        client = AsyncClient(server.address)
        run(use())
        run(client.aclose())


def test_two_loops_at_once_are_refused() -> None:
    with serving() as server, asyncio.Runner() as one, asyncio.Runner() as other:
        client = AsyncClient(server.address)
        one.run(client.call(echo, A))
        for use in (client.call(echo, A), client.aclose()):
            with pytest.raises(
                RuntimeError, match="another event loop, which is not closed: make a client for each"
            ):
                other.run(use)
        one.run(client.aclose())


# --- interrupts -------------------------------------------------------------------------------------------------


def test_ctrl_c_in_the_middle_of_a_call_cancels_it_and_leaves_the_client_usable() -> None:
    """Of the asyncio client: what asyncio.run makes of SIGINT."""
    cancelled = []

    def script(peer: Peer) -> None:
        request = peer.expect()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        peer.expect_control(Cancel(request.id))
        cancelled.append(request.id)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            peer.await_end()

    async def call() -> None:
        assert await client.call(echo, A, timeout=PATIENCE) == A

    async def end() -> None:
        await call()
        await client.aclose()

    with serving(script, Peer.echo) as server:
        client = AsyncClient(server.address)
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(call())
        asyncio.run(end())
    assert len(cancelled) == 1


def test_an_interrupted_call_is_cancelled_at_the_server() -> None:
    """Of the blocking client: the server hears of it, and the connection goes on."""

    def script(peer: Peer) -> None:
        request = peer.expect()
        interrupt_when(lambda: leads(client))
        peer.expect_control(Cancel(request.id))
        peer.echo()

    with handling(interrupt), serving(script) as server, Client(server.address) as client:
        with pytest.raises(KeyboardInterrupt):
            client.call(echo, A)
        assert client.call(echo, A) == A
        assert server.connections == 1


def leads(client: Client) -> bool:
    link = client._exchange.link
    return link is not None and link._reading.holder is not None


# An interrupt between the making of a socket and its first owner leaves it to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_an_interrupt_while_a_server_is_waited_for_gives_up_the_turn(tmp_path: Path) -> None:
    path = tmp_path / "s"
    main = threading.main_thread().ident
    assert main is not None
    tries = Tries()

    def wait_and_interrupt() -> None:
        tries.wait_for(3)
        signal.pthread_kill(main, signal.SIGUSR1)

    with handling(interrupt), Client(f"unix:{path}", wait_for_server=inf) as client, tries:
        with ThreadPoolExecutor(1) as pool:
            interrupting = pool.submit(wait_and_interrupt)
            with pytest.raises(KeyboardInterrupt):
                client.call(echo, A, timeout=PATIENCE)
            interrupting.result(PATIENCE)
        with serving(path=str(path)):
            assert client.call(echo, A) == A


# --- locks ------------------------------------------------------------------------------------------------------


class WatchedLock:
    """The mutex of a client, which knows who holds it."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self.holder: int | None = None

    def __enter__(self) -> None:
        self._lock.acquire()
        self.holder = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self.holder = None
        self._lock.release()


class Watch:
    """Looks at all that waits in a thread: whether the thread holds the lock then."""

    #: Where a thread of the client may wait: its alarm, the poll, a pause.
    WAITS: Final = {ThreadCall.sleep.__code__: "alarm", Poller.wait.__code__: "poll"}

    def __init__(self, lock: WatchedLock) -> None:
        self._lock: Final = lock
        self.seen: Final[set[str]] = set()
        self.held: Final[list[str]] = []

    def profile(self, frame: FrameType, event: str, argument: Any) -> None:
        name = None
        if event == "call":
            name = self.WAITS.get(frame.f_code)
        elif event == "c_call" and argument is time.sleep:
            name = "pause"
        if name is not None:
            self.seen.add(name)
            if self._lock.holder == threading.get_ident():
                self.held.append(name)

    def run(self, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        sys.setprofile(self.profile)
        try:
            return work(*arguments, **options)
        finally:
            sys.setprofile(None)


def test_no_lock_is_held_while_a_thread_waits(tmp_path: Path) -> None:
    """Each place to wait is come to: a missing server, a turn, room to write, a reply, a refusal that passes."""
    path = tmp_path / "s"
    large = Text(text="x" * (1 << 20))
    in_flight, go_on = threading.Semaphore(0), threading.Event()

    def refuse(peer: Peer) -> None:
        peer.fail(peer.expect(), -32005, "stopping")
        peer.await_end()

    def hold(peer: Peer) -> None:
        peer.answer(request := peer.expect(), request.params)
        stream = open_stream(peer)
        peer.begin()
        in_flight.release()
        assert go_on.wait(PATIENCE)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            peer.send_item(stream, 1)
            peer.answer(stream, None)
            peer.echo()

    with Client(f"unix:{path}", wait_for_server=inf) as client, ThreadPoolExecutor(4) as pool:
        lock = WatchedLock()
        client._exchange.mutex = lock  # type: ignore[assignment] # the same, and says who holds it
        watching = Watch(lock)
        tries = Tries()
        with tries:
            first = pool.submit(watching.run, client.call, echo, A)
            tries.wait_for(2)
        assert watching.seen == {"alarm"}
        with serving(refuse, hold, path=str(path)) as server:
            assert first.result(PATIENCE) == A
            assert {"pause", "poll"} <= watching.seen
            items = client.stream(watch, A)
            reader = pool.submit(watching.run, list, items)
            writers = []
            deadline = time.monotonic() + PATIENCE
            while client._exchange.link is None or client._exchange.link.calls_in_flight == 0:
                assert time.monotonic() < deadline
                os.sched_yield()
            writers = [pool.submit(watching.run, client.call, echo, large) for _ in range(2)]
            assert in_flight.acquire(timeout=PATIENCE)
            go_on.set()
            assert reader.result(PATIENCE) == [1]
            for writer in writers:
                assert writer.result(PATIENCE) == large
            assert server.connections == 2
    assert watching.seen == {"alarm", "poll", "pause"}
    assert watching.held == []
