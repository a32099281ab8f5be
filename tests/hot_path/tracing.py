"""System calls of a process that runs, counted by strace(1)."""

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.daemon.raw import PATIENCE

Counts = dict[str, int]

#: One name for what kernels, libraries and processors call differently.
_NAMES: Final = {
    "epoll_pwait": "wait",
    "epoll_pwait2": "wait",
    "epoll_wait": "wait",
    "poll": "wait",
    "ppoll": "wait",
    "select": "wait",
    "pselect6": "wait",
    "recvfrom": "receive",
    "recvmsg": "receive",
    "read": "receive",
    "readv": "receive",
    "sendto": "send",
    "sendmsg": "send",
    "write": "send",
    "writev": "send",
}


@contextlib.contextmanager
def traced(pid: int, folder: Path) -> Iterator[Counts]:
    """Count the system calls of a process, with all its threads, in the block; the counts are there after it."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    summary = folder / f"strace-{pid}"
    command = ["strace", "-f", "-c", "-U", "calls,name", "-o", str(summary), "-p", str(pid)]
    found: Counts = {}
    with subprocess.Popen(command, stderr=subprocess.PIPE) as strace:
        assert strace.stderr is not None
        line = strace.stderr.readline()
        if b"not permitted" in line:
            pytest.skip("this user may not trace its own processes")
        assert b"attached" in line, line
        try:
            yield found
        finally:
            strace.send_signal(signal.SIGINT)
            strace.communicate(timeout=PATIENCE)
    found.update(parse(summary.read_text("ascii")))


def parse(summary: str) -> Counts:
    """What strace wrote, by the names that are used here."""
    found: Counts = {}
    for line in summary.splitlines():
        match line.split():
            case [number, name] if number.isdecimal() and name != "total":
                known = _NAMES.get(name, name)
                found[known] = found.get(known, 0) + int(number)
            case _:
                continue
    return found


def per_call(counts: Counts, calls: int) -> Counts:
    """What each call did, without what happened a few times only, to be told to begin and to end."""
    shares = {name: round(number / calls) for name, number in counts.items()}
    return {name: share for name, share in shares.items() if share}
