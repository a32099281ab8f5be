"""What the rows judge by: who reads the wall clock, what an intruder may get, how slow the slowest of a hundred is."""

from pathlib import Path

import pytest

from tests.chaos.clocks import ADMITTED, find_readers, wall_clock_reads
from tests.chaos.inside.load import Record
from tests.chaos.judgement import p99_between
from tests.chaos.rows.intruder import Attempt, is_harmless
from tests.chaos.rows.memory import first_look
from tests.system.programs import SOCKET


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("import time\ntime.monotonic()\ntime.sleep(1)", []),
        ("import time\ntime.time()", [2]),
        ("import time\nclock = time.time_ns", [2]),
        ("from time import monotonic, time", [1]),
        ("from time import monotonic", []),
        ("import time\ntime.clock_gettime(time.CLOCK_REALTIME)", [2]),
        ("import time\ntime.clock_gettime(time.CLOCK_MONOTONIC)", []),
        ("import datetime as dt\ndt.datetime.now(dt.UTC)", [2]),
        ("import datetime as dt\ndt.datetime.fromtimestamp(0, dt.UTC)", []),
        ("loop.time()", []),
    ],
)
def test_who_reads_the_wall_clock(source: str, lines: list[int]) -> None:
    assert wall_clock_reads(source) == lines


def test_readers_are_found_in_packages(tmp_path: Path) -> None:
    package = tmp_path / "superd"
    package.mkdir()
    (package / "good.py").write_text("import time\ntime.monotonic()\n")
    (package / "bad.py").write_text("import time\n\ntime.time()\n")
    assert find_readers(package) == (2, ["superd/bad.py:3 reads the wall clock"])
    (package / "bad.py").unlink()
    (package / "journal.py").write_text("now = 1\n")
    assert "superd/journal.py" in ADMITTED
    assert find_readers(package) == (2, ["superd/journal.py does not any more"])


@pytest.mark.parametrize(
    ("attempt", "member", "stranger"),
    [
        (Attempt("method", "echo.echo", "result"), True, True),
        (Attempt("method", "superd.status", "closed"), False, False),
        (Attempt("method", "superd.stop", "-32001"), True, True),
        (Attempt("method", "superd.stop", "-32000"), False, False),
        (Attempt("method", "superd.kick", "-32601"), True, True),
        (Attempt("method", "superd.kick", "result"), False, False),
        (Attempt("notification", "superd.stop", "result"), True, True),
        (Attempt("notification", "superd.stop", "silence"), False, False),
        (Attempt("socket", f"{SOCKET} as stream", "done"), True, False),
        (Attempt("socket", f"{SOCKET} as datagram", "done"), False, False),
        (Attempt("socket", f"{SOCKET} as stream", "PermissionError"), True, True),
        (Attempt("forge", "uid 0", "done"), False, False),
        (Attempt("descriptor", "pipe, declared", "-32602"), True, True),
        (Attempt("descriptor", "pipe, declared", "result"), False, False),
        (Attempt("descriptor", "pipe, in a frame cut short", "done"), True, True),
        (Attempt("write", "/etc/superd/superd.toml", "done"), False, False),
        (Attempt("write", "/etc/superd/superd.toml", "PermissionError"), True, True),
        (Attempt("something new", "x", "PermissionError"), False, False),
    ],
)
def test_what_may_come_of_an_attempt(attempt: Attempt, member: bool, stranger: bool) -> None:
    assert is_harmless(attempt, may_connect=True) is member
    assert is_harmless(attempt, may_connect=False) is stranger


def record(begun: int, usec: int, kind: str = "note", outcome: str = "right") -> Record:
    return Record(begun, kind, 1, outcome, "", begun, begun + usec)


def test_the_slowest_of_a_hundred() -> None:
    records = [record(1000 + number, 100) for number in range(98)]
    records += [record(1500, 7000), record(1501, 8000)]
    assert p99_between(records, 1000, 2000) == 8000e-6
    others = [
        record(999, 10**6),
        record(2001, 10**6),
        record(1500, 10**6, "count"),
        record(1500, 10**6, outcome="unknown"),
    ]
    assert p99_between(records + others, 1000, 2000) == 8000e-6
    assert p99_between([], 1000, 2000) == 0.0


@pytest.mark.parametrize(("seconds", "look"), [(1, 0), (119, 0), (120, 4), (180, 3), (3600, 0)])
def test_memory_is_compared_with_that_after_a_minute(seconds: float, look: int) -> None:
    """Ten looks: of 180 s the fourth is the first one after a minute."""
    assert first_look(seconds) == look
