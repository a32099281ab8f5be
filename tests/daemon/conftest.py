"""What holds for every test of the daemon: it leaves nothing behind."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.running import LOOPS, LoopFactory

#: The first loop of a process makes the pipe for its signals, and keeps it.
LOOPS["uvloop"]().close()


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves a task, a thread, a child process or a descriptor."""
    before = _what_there_is()
    yield
    left = [sorted(map(str, now - then)) for now, then in zip(_what_there_is(), before, strict=True)]
    assert left == [[], [], [], []], "left behind: tasks, threads, children, descriptors"


@pytest.fixture(params=sorted(LOOPS))
def loop_factory(request: pytest.FixtureRequest) -> LoopFactory:
    """Both event loops, one after the other."""
    return LOOPS[request.param]


def _what_there_is() -> tuple[set[Any], ...]:
    return _tasks(), _threads(), _children(), _descriptors()


def _tasks() -> set[asyncio.Task[Any]]:
    known: Any = getattr(asyncio.tasks, "_scheduled_tasks", None) or getattr(asyncio.tasks, "_all_tasks", ())
    return {task for task in known if not task.done()}


def _threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def _children() -> set[str]:
    """The processes whose parent is this one, by the fourth field of proc_pid_stat(5)."""
    found = set[str]()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text("utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if text.rpartition(")")[2].split()[1] == str(os.getpid()):
            found.add(text.partition(" ")[0])
    return found


def _descriptors() -> set[tuple[str, str]]:
    found = set[tuple[str, str]]()
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.add((link.name, str(link.readlink())))
        except FileNotFoundError:  # that of the listing itself
            continue
    return found
