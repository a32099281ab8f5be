"""The system calls of a sequential call: it is waited for, read and answered once on each side, and nothing else."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.daemon.process import Superd, clean_environment
from tests.hot_path.bounds import SYSTEM_CALLS
from tests.hot_path.conftest import calling
from tests.hot_path.tracing import Counts, parse, per_call, traced

WARM_UP: Final = 50
CALLS: Final = 200


def check(where: tuple[str, str], found: Counts) -> None:
    """Compare what a call does with what it may do; that it sends and receives shows that it was counted at all."""
    bound = SYSTEM_CALLS[where]
    assert {name: count for name, count in found.items() if count > bound.get(name, 0)} == {}, where
    assert found["send"] == found["receive"] == 1


@pytest.mark.parametrize("handler", ["inline", "async"])
@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_the_daemon(handler: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    daemon: Superd = request.getfixturevalue("daemon" if handler == "inline" else "async_daemon")
    with calling(kind, daemon, WARM_UP) as caller, traced(daemon.process.pid, tmp_path) as counts:
        caller.lookups(CALLS)
    check(("daemon", handler), per_call(counts, CALLS))


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_client(kind: str, daemon: Superd, tmp_path: Path) -> None:
    with client_process(kind, daemon) as client, traced(client.pid, tmp_path) as counts:
        make(client, CALLS)
    check(("client", kind), per_call(counts, CALLS))


@contextmanager
def client_process(kind: str, daemon: Superd) -> Iterator["subprocess.Popen[str]"]:
    """A client in a process of its own: what else a test's process does is not counted."""
    command = [sys.executable, "-m", "tests.hot_path.clients", kind, str(daemon.path), str(WARM_UP)]
    with subprocess.Popen(
        command, env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as client:
        try:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n"
            yield client
            client.communicate()
            assert client.returncode == 0
        finally:
            client.kill()


def make(client: "subprocess.Popen[str]", calls: int) -> None:
    """Have it make calls, and wait for their end."""
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(f"{calls}\n")
    client.stdin.flush()
    assert client.stdout.readline() == "done\n"


def test_the_summary_of_strace_is_read() -> None:
    summary = """\
    calls syscall
--------- ----------------
      200 epoll_pwait
      201 recvmsg
        3 read
      199 sendto
        2 futex
--------- ----------------
      605 total
"""
    counts = parse(summary)
    assert counts == {"wait": 200, "receive": 204, "send": 199, "futex": 2}
    assert per_call(counts, 200) == {"wait": 1, "receive": 1, "send": 1}
