"""A window that outlives its process: what is written is there after SIGKILL, and what was cut short is told as such."""

import contextlib
import os
import random
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from hypothesis import given, settings
from typing_extensions import override

from superd.deadlines import now_usec
from superd.sd.notify import Notifier
from superd.window import Window, WindowLimits
from superd.window_entry import Entry, Known
from superd.window_kept import STORED_WINDOW, open_window
from superd.window_store import ANSWER_MAX, RECORD_SIZE, RECORDS_AT_ONCE, Found, WindowStore
from superd_client.wire.errors import ErrorObject
from tests.daemon.manager import Manager
from tests.daemon.process import clean_environment
from tests.daemon.raw import PATIENCE
from tests.daemon.test_window import (
    ERROR,
    LIMITS,
    MARK,
    OTHER,
    RESULT,
    STEPS,
    Ledger,
    Step,
    enter,
    reason,
    run,
)

MANY: Final = WindowLimits(age_usec=10**12, entries_of_user=10**5, bytes_of_user=1 << 26)


@contextlib.contextmanager
def stored(limits: WindowLimits = LIMITS, now: int = 0) -> Iterator[tuple[Window, WindowStore]]:
    store = WindowStore.create(now)
    try:
        yield Window(limits, now, store), store
    finally:
        store.close()


class Kept(NamedTuple):
    """What the next process has."""

    window: Window
    store: WindowStore


def reopen(limits: WindowLimits, fds: list[int], now: int) -> Kept:
    store = WindowStore(*fds)
    return Kept(Window(limits, now, store), store)


def recovered(store: WindowStore, now: int, limits: WindowLimits = LIMITS) -> Window:
    """What the next process makes of it; this one's mapping stays, as if it had been killed."""
    kept = reopen(limits, [os.dup(store.fd)], now)
    kept.store.close()
    return kept.window


def peek(store: WindowStore) -> list[Found]:
    """All records, as another mapping of the memfd sees them."""
    other = WindowStore(os.dup(store.fd))
    found = list(other.read())
    other.close()
    return found


def test_answers_outlive_the_process() -> None:
    with stored(now=5) as (window, store):
        run(window, "result", 10)
        run(window, "error", 11, ERROR)
        run(window, "empty", 12, b"0")
        assert isinstance(enter(window, "running", 13), Entry)
        found = recovered(store, 100)
    assert enter(found, "result", 101) == Known(RESULT, "call-result")
    assert enter(found, "error", 101) == Known(ERROR, "call-error")
    assert enter(found, "empty", 101) == Known(b"0", "call-empty")
    assert reason(enter(found, "running", 101)) == "lost"
    assert reason(enter(found, "result", 101, mark=OTHER)) == "different"


def test_a_repeat_of_what_was_never_begun_runs_after_the_kill() -> None:
    with stored(now=5) as (window, store):
        entry = enter(window, "cancelled", 10)
        assert isinstance(entry, Entry)
        window.cancel(entry, 11)
        kept = reopen(LIMITS, [os.dup(store.fd)], 100)
        for key in ("cancelled", "new"):
            assert reason(enter(kept.window, key, 101, since=5)) == "lost"
            assert isinstance(enter(kept.window, key, 101, since=6), Entry)
        kept.store.close()


@pytest.mark.parametrize(
    ("size", "kept"),
    [(0, True), (1, True), (ANSWER_MAX - 1, True), (ANSWER_MAX, True), (ANSWER_MAX + 1, False)],
)
def test_the_size_of_an_answer_that_outlives_the_process(size: int, kept: bool) -> None:
    with stored(MANY) as (window, store):
        entry = enter(window, "a", 10)
        assert isinstance(entry, Entry)
        window.end(entry, b"1" * size, 11)
        (found,) = peek(store)
        assert (found.key, found.began_usec, found.ended_usec) == ("a", 10, 11)
        assert found.answer == (b"1" * size if kept else None)
        # This process still has it.
        assert enter(window, "a", 12) == Known(b"1" * size, "call-a")


@pytest.mark.parametrize("count", [RECORDS_AT_ONCE - 1, RECORDS_AT_ONCE, RECORDS_AT_ONCE + 1])
def test_it_grows(count: int) -> None:
    with stored(MANY) as (window, store):
        for number in range(count):
            run(window, f"k{number}", 10 + number)
        pieces = 1 + (count > RECORDS_AT_ONCE)
        assert os.fstat(store.fd).st_size == 4096 + pieces * RECORDS_AT_ONCE * RECORD_SIZE
        found = recovered(store, 10**6, MANY)
    assert all(isinstance(enter(found, f"k{number}", 10**6), Known) for number in range(count))


def test_room_is_used_again() -> None:
    with stored() as (window, store):
        for number in range(10 * RECORDS_AT_ONCE):
            run(window, f"k{number}", 10 + number)
        assert os.fstat(store.fd).st_size == 4096 + RECORDS_AT_ONCE * RECORD_SIZE
        assert len(peek(store)) == LIMITS.entries_of_user


def test_what_had_to_go_is_not_carried_out_again_after_the_kill() -> None:
    with stored() as (window, store):
        for number in range(LIMITS.entries_of_user + 1):
            run(window, f"k{number}", 10 + number)
        kept = reopen(LIMITS, [os.dup(store.fd)], 100)
        assert reason(enter(kept.window, "k0", 101, since=9)) == "lost"
        assert reason(enter(kept.window, "new", 101, since=10)) == "lost"
        assert isinstance(enter(kept.window, "new", 101, since=11), Entry)
        kept.store.close()


def test_a_write_that_was_cut_short_anywhere() -> None:
    """What there is of a record before its last byte counts for nothing, or for a call that was begun."""
    with stored() as (window, store):
        run(window, "first", 1, b'"of another call"')
        entry = enter(window, "a", 10)
        assert isinstance(entry, Entry)
        at = 4096 + entry.slot * RECORD_SIZE
        before = os.pread(store.fd, RECORD_SIZE, at)
        window.end(entry, RESULT, 11)
        after = os.pread(store.fd, RECORD_SIZE, at)
        outcomes = set()
        for length in range(RECORD_SIZE + 1):
            os.pwrite(store.fd, after[:length] + before[length:], at)
            found = next(each for each in peek(store) if each.key == "a")
            assert (found.ended_usec, found.answer) in {(None, None), (11, RESULT)}
            outcomes.add(found.ended_usec)
        assert outcomes == {None, 11}
        for length in range(192):
            os.pwrite(store.fd, before[:length] + bytes(RECORD_SIZE - length), at)
            assert [each.key for each in peek(store)] in (["first"], ["a", "first"])


def test_an_end_is_of_its_own_call() -> None:
    """A record that is used again does not give a call the answer of the one before."""
    with stored() as (window, store):
        first = enter(window, "a", 10)
        assert isinstance(first, Entry)
        window.end(first, RESULT, 11)
        slot = first.slot
        for number in range(LIMITS.entries_of_user):
            assert isinstance(enter(window, f"k{number}", 20), Entry)
        found = {each.slot: each for each in peek(store)}
        assert found[slot].key != "a"
        assert (found[slot].ended_usec, found[slot].answer) == (None, None)


def test_the_time_is_whole_in_one_of_two_places() -> None:
    with stored(now=7) as (_, store):
        store.set_complete_since(1234)
        for at in (64, 128):
            kept = os.pread(store.fd, 12, at)
            os.pwrite(store.fd, bytes(12), at)
            assert store.complete_since_usec == 1234
            os.pwrite(store.fd, kept, at)
        os.pwrite(store.fd, bytes(12), 64)
        os.pwrite(store.fd, bytes(12), 128)
        with pytest.raises(ValueError, match="damaged"):
            _ = store.complete_since_usec


def test_a_dump_is_written_down() -> None:
    with stored(now=5) as (window, _):
        run(window, "a", 10)
        data = window.dump()
    with stored(now=100) as (after, store):
        after.load(data, 100)
        assert enter(after, "a", 101) == Known(RESULT, "call-a")
        again = reopen(LIMITS, [os.dup(store.fd)], 200)
        assert enter(again.window, "a", 201) == Known(RESULT, "call-a")
        assert isinstance(enter(again.window, "new", 201, since=6), Entry)
        again.store.close()


def test_no_room_for_more() -> None:
    limit = signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with stored() as (window, store):
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
            found = enter(window, "a", 10)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, limit)
        assert isinstance(found, ErrorObject)
        assert found.data["resource"] == "idempotency_entries"
        assert os.fstat(store.fd).st_size == 4096
        assert isinstance(enter(window, "a", 11), Entry)


# --- what systemd keeps --------------------------------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@contextlib.contextmanager
def kept_window(manager: Manager, fds: list[int], now: int) -> Iterator[Window]:
    """The window at the start of a process."""
    window = open_window(LIMITS, fds, Notifier(str(manager.address)), now)
    yield window
    window.close()


def test_a_new_window_is_given_away_at_once(manager: Manager) -> None:
    with kept_window(manager, [], 5) as window:
        manager.wait_for(f"FDNAME={STORED_WINDOW}")
        run(window, "a", 10)
    (fd,) = manager.kept[STORED_WINDOW]
    with kept_window(manager, [os.dup(fd)], 100) as window:
        assert enter(window, "a", 101) == Known(RESULT, "call-a")
    assert len(manager.said) == 1  # it is kept from then on


def _memfd(content: bytes) -> int:
    fd = os.memfd_create("test")
    os.write(fd, content)
    return fd


def _socket() -> int:
    with socket.socket(socket.AF_UNIX) as opened:
        return opened.detach()


def _of_times_to_come() -> int:
    """Of another boot, or of a process that has not ended."""
    store = WindowStore.create(0)
    run(Window(LIMITS, 0, store), "a", 101)
    store.unmap()
    return store.fd


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda: [_memfd(b"")],
        lambda: [_memfd(b"x" * 100)],
        lambda: [_memfd(bytes(4096))],
        lambda: [_memfd(b"superd window 2\0".ljust(4096))],
        lambda: [_memfd(b"superd window 1\0".ljust(4096))],
        lambda: [_memfd(bytes(4096 + 1))],
        lambda: [_socket()],
        lambda: [_of_times_to_come()],
        lambda: [_memfd(b""), _memfd(b"")],
    ],
)
def test_what_makes_no_sense_is_given_up(manager: Manager, spoilt: Callable[[], list[int]]) -> None:
    with kept_window(manager, spoilt(), 100) as window:
        manager.wait_for("FDSTOREREMOVE=1")
        manager.wait_for("FDSTORE=1\n")
        assert reason(enter(window, "a", 101, since=100)) == "lost"
        assert isinstance(enter(window, "a", 102, since=101), Entry)


def test_nobody_keeps_it(tmp_path: Path) -> None:
    window = open_window(LIMITS, [], Notifier(str(tmp_path / "nobody")), 5)
    run(window, "a", 10)
    assert enter(window, "a", 11) == Known(RESULT, "call-a")


# --- killed ------------------------------------------------------------------------------------------------------------------


class KilledLedger(Ledger):
    """The same ledger; but a kill leaves the memfd, and so nothing is forgotten that was begun."""

    def __init__(self) -> None:
        super().__init__()
        self.store = WindowStore.create(0)
        self.window = Window(LIMITS, 0, self.store)

    @override
    def kill(self) -> None:
        self.running.clear()
        kept = reopen(LIMITS, [os.dup(self.store.fd)], self.now)
        self.store.close()
        self.window, self.store = kept


@given(STEPS)
@settings(max_examples=100)
def test_no_call_is_ever_carried_out_twice(steps: list[Step]) -> None:
    ledger = KilledLedger()
    try:
        for step in steps:
            ledger.do(("kill" if step[0] == "restart" else step[0], *step[1:]))
            assert len(peek(ledger.store)) == len(ledger.window)
    finally:
        ledger.store.close()


#: Begins and ends calls as fast as it can, and says so: "begun KEY" before the handler would run, "ended KEY" when the
#: answer would be sent.
_WORKER: Final = """
import os, sys
from superd.deadlines import now_usec
from superd.sd.notify import Notifier
from superd.window import Window, WindowLimits
from superd.window_store import WindowStore
store = WindowStore(int(sys.argv[1]))
window = Window(WindowLimits(10**12, 10**5, 1 << 26), now_usec(), store)
number = 0
while True:
    key = f"{sys.argv[2]}-{number}"
    number += 1
    entry = window.enter(7, key, b"m" * 16, since_usec=None, call_id="c", now_usec=now_usec())
    os.write(1, f"begun {key}\\n".encode())
    window.end(entry, b'"' + key.encode() * (number % 50) + b'"', now_usec())
    os.write(1, f"ended {key}\\n".encode())
"""


def _killed_worker(store: WindowStore, name: str, size: int) -> list[str]:
    """What a process said until it was killed, after so many bytes of it."""
    with subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(store.fd), name],
        stdout=subprocess.PIPE,
        env=clean_environment(),
        pass_fds=[store.fd],
    ) as worker:
        assert worker.stdout is not None
        said = b""
        deadline = time.monotonic() + PATIENCE
        while len(said) < size:
            assert select.select([worker.stdout], [], [], deadline - time.monotonic())[0]
            said += os.read(worker.stdout.fileno(), 4096)
        worker.kill()
        said += worker.stdout.read()
    return said.decode().splitlines()


@pytest.mark.parametrize("seed", range(3))
def test_a_process_that_is_killed_has_written_down_what_it_has_said(seed: int) -> None:
    size = random.Random(seed).randrange(2_000, 20_000)
    store = WindowStore.create(now_usec())
    before = now_usec()
    said = _killed_worker(store, str(seed), size)
    now = now_usec()
    window = Window(MANY, now, WindowStore(store.fd))
    told = 0
    for line in said:
        what, key = line.split(" ")
        found = enter(window, key, now, mark=MARK, since=before)
        assert not isinstance(found, Entry), "it would be carried out twice"
        if what == "ended":
            assert isinstance(found, Known) or len(key) * (told % 50) + 2 > ANSWER_MAX
            told += 1
    assert told > 10
    store.close()
