"""How much a hostile user slows a well-behaved one down: p99 beside each kind of flood over p99 alone, as a table.

A programme, for a machine that does nothing else: `python -m tests.daemon.fairness [KIND ...]`, as root. The hostile
peers are niced: what is measured is how superd shares its turns, not how the kernel shares the processors.
"""

import argparse
import array
import contextlib
import errno
import json
import operator
import os
import random
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

from superd.service import Context, Service
from superd_client.builtin import Nothing
from superd_client.contract import Method
from superd_client.streams import Stream
from tests.daemon.process import clean_environment
from tests.daemon.raw import echo, frame, request

HONEST: Final = 65_533
HOSTILE: Final = 65_534

#: The processors of the daemon, and of everybody else.
OURS, OTHERS = (min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0)))

#: The niceness of the daemon and of who is measured: what is measured is how superd shares its turns, not how the
#: kernel shares the processors with the hostile, or with whatever else runs.
FIRST: Final = -20

#: Connections of each hostile process.
MANY: Final = 100

#: What the well-behaved one asks: how much processor time the daemon has used.
probe = Service("probe")


@probe.method(Method("probe.used", Nothing, int))
async def used(params: Nothing, context: Context) -> int:
    return time.process_time_ns()


@probe.method(Stream("probe.tick", Nothing, int))
async def tick(params: Nothing, context: Context) -> AsyncIterator[int]:
    for number in range(1 << 30):
        yield number


ASK: Final = frame(request("probe.used", {}))
CALL: Final = frame(echo("x" * 100))
UNKNOWN: Final = frame(request("no.such.method", {}))
GIANT: Final = (16 << 20).to_bytes(4, "big") + b'{"jsonrpc":"2.0","id":1,"method":"'

Flood = Callable[[str], None]


def connect(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(address)
    return sock


def pump(address: str, data: bytes, *, read: bool = True, fds: int = 0) -> None:
    """Write `data` as fast as it is taken on many connections; read what comes back, or leave it."""
    epoll, socks = select.epoll(), dict[int, socket.socket]()
    left = dict[int, int]()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [2] * fds))] if fds else []
    while True:
        while len(socks) < MANY:
            sock = connect(address)
            sock.setblocking(False)
            socks[sock.fileno()] = sock
            left[sock.fileno()] = 0
            epoll.register(sock.fileno(), select.EPOLLOUT | (select.EPOLLIN if read else 0))
        for fd, events in epoll.poll():
            sock = socks[fd]
            try:
                if events & select.EPOLLIN and not sock.recv(1 << 18):
                    raise ConnectionResetError
                if events & select.EPOLLOUT:
                    left[fd] += sock.sendmsg([memoryview(data)[left[fd] :]], rights)
                    left[fd] %= len(data)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno == errno.ETOOMANYREFS:
                    continue
                socks.pop(fd).close()


def frames(address: str) -> None:
    pump(address, CALL * 300)


def refusals(address: str) -> None:
    pump(address, UNKNOWN * 300)


def garbage(address: str) -> None:
    pump(address, frame(b"{") * 5000)


def ids(address: str) -> None:
    pump(address, b"".join(frame(request("echo.echo", {"text": ""}, number % 3)) for number in range(600)))


def unread(address: str) -> None:
    pump(address, CALL * 300, read=False)


def descriptors(address: str) -> None:
    pump(address, CALL, fds=200)


def dribble(address: str) -> None:
    """Giant frames, byte by byte, on many connections."""
    socks = [connect(address) for _ in range(MANY)]
    for sock in socks:
        sock.setblocking(False)
        sock.send(GIANT)
    while True:
        for sock in socks:
            with contextlib.suppress(BlockingIOError):
                sock.send(b"x")


def connects(address: str) -> None:
    """Connect and go, as fast as possible."""
    while True:
        with contextlib.suppress(OSError), connect(address):
            pass


def crowd(address: str) -> None:
    """Connect until nobody more is let in, and then again and again."""
    kept = list[socket.socket]()
    while True:
        with contextlib.suppress(OSError):
            kept.append(connect(address))
        if len(kept) > 900:
            kept.pop(random.randrange(len(kept))).close()


def half_closers(address: str) -> None:
    """Ask, and send the end of file."""
    while True:
        with contextlib.suppress(OSError), connect(address) as sock:
            sock.send(CALL)
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1000)


def droppers(address: str) -> None:
    """Send half a frame and vanish."""
    while True:
        with contextlib.suppress(OSError), connect(address) as sock:
            sock.send(CALL[:50])


def streams(address: str) -> None:
    """Streams without end and with all credit that there is, of which hardly anything is read."""
    socks = [connect(address) for _ in range(8)]
    for number in range(1 << 30):
        sock = socks[number % len(socks)]
        with contextlib.suppress(OSError):
            sock.sendall(frame(request("probe.tick", {}, number, meta={"credit": 2**31 - 1})))
            sock.recv(1)


FLOODS: Final[tuple[Flood, ...]] = (
    frames, refusals, garbage, ids, unread, descriptors, dribble, connects, crowd, half_closers, droppers, streams,
)  # fmt: skip


@contextlib.contextmanager
def process_of(uid: int, nice: int, main: Callable[[], None]) -> Iterator[int]:
    """Run `main` as another user; the process's id."""
    pid = os.fork()
    if not pid:
        try:
            os.sched_setaffinity(0, {OTHERS})
            os.nice(nice)
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            main()
        finally:
            os._exit(0)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def well_behaved(address: str, seconds: float) -> list[float]:
    """Two numbers for each of the sequential calls: the seconds that it took, and those of the daemon's processor since
    the call before, which do not depend on what else runs on the host.
    """
    home, theirs = os.pipe()

    def ask() -> None:
        os.sched_setaffinity(0, {OTHERS})
        times = array.array("d")
        with connect(address) as sock:
            sock.settimeout(20)
            end = time.perf_counter() + seconds
            last = 0
            while (start := time.perf_counter()) < end:
                sock.sendall(ASK)
                got = b""
                while len(got) < 4 or len(got) < 4 + int.from_bytes(got[:4], "big"):
                    more = sock.recv(4096)
                    if not more:
                        raise ConnectionResetError
                    got += more
                took, now = time.perf_counter() - start, json.loads(got[4:])["result"]
                times.extend((took, (now - (last or now)) / 1e9))
                last = now
        with os.fdopen(theirs, "wb") as out:
            out.write(times.tobytes())

    with process_of(HONEST, FIRST, ask):
        os.close(theirs)
        times = array.array("d")
        with os.fdopen(home, "rb") as source:
            times.frombytes(source.read())
    return times.tolist()


def p(times: list[float], percent: int) -> float:
    return sorted(times)[len(times) * percent // 100]


@contextlib.contextmanager
def daemon() -> Iterator[str]:
    """A superd with room for 1,000 connections; its address."""
    name = f"superd-fairness-{os.getpid()}"
    with tempfile.NamedTemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "superd", f"--listen=unix:@{name}", f"--service={__spec__.name}:probe"],
            env=clean_environment({"SUPERD_CONNECTIONS": "1000"}),
            stderr=log,
        )
        os.sched_setaffinity(process.pid, {OURS})
        os.setpriority(os.PRIO_PROCESS, process.pid, FIRST)
        try:
            while "started" not in Path(log.name).read_text("utf-8"):
                time.sleep(0.05)
            yield f"\0{name}"
        finally:
            process.kill()
            process.wait()


def measure(flood: Flood, seconds: float) -> list[float]:
    """p50 and p99 in microseconds, alone and beside the flood, of the time; and of the daemon's processor time."""
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(daemon())
        alone = well_behaved(address, seconds)
        for _ in range(2):
            stack.enter_context(process_of(HOSTILE, 0, lambda: flood(address)))
        time.sleep(0.5)
        beside = well_behaved(address, seconds)
    return [
        p(times, percent) * 1e6 if times else float("nan")
        for times in (alone[::2], beside[::2], alone[1::2], beside[1::2])
        for percent in (50, 99)
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*")
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    heads = ("alone p50", "p99", "beside p50", "p99", "cpu p50", "p99", "beside p50", "p99", "p50 x", "p99 x")
    sys.stdout.write(f"{'flood':13}" + "".join(f"{head:>11}" for head in heads) + "\n")
    for flood in FLOODS:
        if options.kinds and flood.__name__ not in options.kinds:
            continue
        rows = [measure(flood, options.seconds) for _ in range(options.rounds)]
        columns = list(zip(*rows, strict=True))
        cells = [f"{statistics.median(column):11.0f}" for column in columns]
        cells += [
            f"{statistics.median(map(operator.truediv, columns[n + 2], columns[n])):11.1f}" for n in (0, 1)
        ]
        sys.stdout.write(f"{flood.__name__:13}{''.join(cells)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
