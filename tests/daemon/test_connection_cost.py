"""What a connection costs the daemon, in objects, bytes and system calls: counted, since times depend on the machine."""

import asyncio
import gc
import shutil
import signal
import subprocess
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from superd.session import Session
from tests.daemon.process import superd
from tests.daemon.raw import RawClient, echo
from tests.daemon.running import LoopFactory, Running, running_server

#: Connections over which a figure is taken, after some that fill tables and caches.
COUNT: Final = 100
FIRST: Final = 10

#: Objects that the collector of cycles looks at for each idle connection, and bytes of it. There are 20, and 2,700 bytes;
#: an empty queue (deque) alone has 624 bytes, a dict of attributes about 300, and a watch of the loop's is 3 objects.
OBJECTS_MAX: Final = 22
BYTES_MAX: Final = 2_900

#: Of these, a client of this test has itself and its socket.
CLIENT_OBJECTS: Final = 2

#: To accept a connection: accept4, getsockname (CPython's own), who it is (2), ioctl (non-blocking), epoll_ctl; and in each
#: turn of the loop its wait, and an accept that finds nobody more. One may be added by a loop that asks once more.
SYSCALLS_MAX: Final = 9


@pytest.fixture(autouse=True)
def _collecting() -> Iterator[None]:
    gc.collect()
    yield
    gc.enable()


def idle(server: Running, count: int) -> list[RawClient]:
    """So many connections that have made one call and then none."""
    clients = [server.client() for _ in range(count)]
    for client in clients:
        assert client.ask(echo())["id"] == 1
    server.turn(3)
    return clients


def leave(server: Running, clients: Sequence[RawClient]) -> None:
    for client in clients:
        client.vanish()
    server.wait(lambda stats: stats.connections_open == 0, "all connections are gone")
    server.run(asyncio.sleep(0))  # what told so has ended, too


def test_an_idle_connection_is_few_objects_and_few_bytes(loop_factory: LoopFactory) -> None:
    with running_server(loop=loop_factory, connections=2 * COUNT) as server:
        clients = idle(server, FIRST)
        gc.collect()
        before = len(gc.get_objects())
        tracemalloc.start()
        try:
            clients += idle(server, COUNT)
            gc.collect()
            grown = len(gc.get_objects()) - before
            traces = tracemalloc.take_snapshot().filter_traces(
                [tracemalloc.Filter(True, f"*/{package}/*") for package in ("superd", "superd_client")]
            )
        finally:
            tracemalloc.stop()
        leave(server, clients)
    assert grown / COUNT - CLIENT_OBJECTS <= OBJECTS_MAX
    assert sum(trace.size for trace in traces.traces) / COUNT <= BYTES_MAX


@pytest.mark.parametrize("way", ["closes", "closes with a reply unread", "breaks the framing"])
def test_a_connection_that_is_over_leaves_nothing_to_the_collector_of_cycles(
    loop_factory: LoopFactory, way: str
) -> None:
    with running_server(loop=loop_factory) as server:
        leave(server, idle(server, FIRST))
        gc.collect()
        gc.disable()
        clients = idle(server, FIRST)
        for client in clients:
            if way == "closes with a reply unread":
                client.send(echo())
            elif way == "breaks the framing":
                client.sock.sendall(bytes(4))
        leave(server, clients)
        assert [found for found in gc.get_objects() if isinstance(found, Session)] == []


def test_accepting_asks_the_kernel_for_little(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    path, counts = tmp_path / "s", tmp_path / "counts"
    with superd(path=path) as daemon:
        command = ["strace", "-f", "-c", "-o", str(counts), "-p", str(daemon.process.pid)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            said = tracer.stderr.readline()
            if "attached" not in said:
                pytest.skip(f"strace may not trace here: {said.strip()}")
            clients = [daemon.client() for _ in range(COUNT)]
            assert clients[-1].ask(echo())["id"] == 1  # they are accepted in the order in which they came
            tracer.send_signal(signal.SIGINT)
        for client in clients:
            client.vanish()
    calls = _counts(counts.read_text("ascii"))
    assert calls["accept4"] >= COUNT, calls
    assert sum(calls.values()) / COUNT <= SYSCALLS_MAX, calls


def _counts(table: str) -> dict[str, int]:
    """How often each system call was made, by the table of strace -c: "% time, seconds, usecs/call, calls, errors, name"."""
    lines = [line.split() for line in table.splitlines()]
    return {
        line[-1]: int(line[3])
        for line in lines
        if len(line) >= 5 and line[3].isdigit() and line[-1] != "total"
    }
