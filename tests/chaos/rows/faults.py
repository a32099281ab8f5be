"""What superd leans on gives way: the journal, the disk, descriptors, the clock, its own processor time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.chaos.clocks import ADMITTED, find_readers
from tests.chaos.judgement import PLAIN, Judgement, read_reports
from tests.chaos.load import Load, program
from tests.chaos.stage import HOSTILE, ROOT, WELL_BEHAVED, Stage, pause
from tests.chaos.table import Finding
from tests.system.guest import PATIENCE, Guest, now

ROW: Final = "faults"

#: Room of the store that runs full, and then some more.
STORE_SIZE: Final = "512k"
STORE_SIZE_MENDED: Final = "256m"

#: Looks at how many it has.
LOOKS: Final = 20

#: Descriptors that superd may open beyond those that it has when the limit comes down upon it.
DESCRIPTORS_LEFT: Final = 40


def _finding(done: str, judgement: Judgement, *more: str, figures: str = "") -> Finding:
    return Finding(
        ROW,
        done,
        f"{judgement.figures()}{figures}",
        (*map(str, judgement.losses), *filter(None, more)),
        judgement.longest,
    )


def journal(stage: Stage) -> Iterator[Finding]:
    """journald is stopped, goes on, and is restarted: nobody waits for it, and it hears of what comes after."""
    guest = stage.guest
    stage.start()
    with stage.load() as load:
        journald = int(guest.show("systemd-journald.service", "MainPID"))
        stage.signal("STOP", journald)
        try:
            pause(stage.scale.stopped_seconds)
            _be_denied(guest)
        finally:
            stage.signal("CONT", journald)
        guest.systemctl("restart", "systemd-journald.service")
        since = now()
        _be_denied(guest)
        # What superd writes now is heard.
        guest.wait_for_entry("SYSLOG_IDENTIFIER=superd", "SUPERD_METHOD=superd.stop", since=since)
    yield _finding(
        f"journald stopped for {stage.scale.stopped_seconds:g} s, then restarted",
        stage.judge(load, strict=True),
    )


def _be_denied(guest: Guest) -> None:
    """Do something that superd writes a line about."""
    guest.exec(
        "setpriv", f"--reuid={WELL_BEHAVED[0]}", f"--regid={WELL_BEHAVED[0]}", "--init-groups",
        "superctl", "call", "superd.stop", check=False,
    )  # fmt: skip


def disk(stage: Stage) -> Iterator[Finding]:
    """The store of the service runs full: calls fail and say so; once there is room they succeed again."""
    guest = stage.guest
    stage.stop()
    guest.exec(
        "mount", "-t", "tmpfs", "-o", f"size={STORE_SIZE},mode=0700,uid=superd", "store", "/var/lib/superd"
    )
    try:
        stage.start()
        with stage.load() as load:
            guest.wait_until("the store is full", lambda: _failed(load) > 0)
            pause(stage.scale.stopped_seconds)
            guest.exec("mount", "-o", f"remount,size={STORE_SIZE_MENDED}", "/var/lib/superd")
            pause(stage.scale.stopped_seconds)
            mended = time.monotonic_ns() // 1000
            pause(stage.scale.stopped_seconds)
        judgement = stage.judge(load, strict=False)
        late = [each for each in read_reports(load.reports) if each.begun_usec > mended]
        bad = [each for each in late if each.outcome not in {"right", "cut"}]
        yield _finding(
            f"the store has {STORE_SIZE} and is full, then {STORE_SIZE_MENDED}",
            judgement,
            f"{len(bad)} calls failed although there was room again, such as {bad[0]}" if bad else "",
            "" if judgement.outcomes.get("failed") else "no call met a full disk",
            figures=f"; {len(late):,} calls with room again",
        )
    finally:
        stage.stop()
        guest.exec("umount", "/var/lib/superd")


def _failed(load: Load) -> int:
    """How many calls failed so far."""
    return sum(each.outcome == "failed" for each in read_reports(load.reports))


def descriptors(stage: Stage) -> Iterator[Finding]:
    """RLIMIT_NOFILE is reached by somebody's connections: those that are open are served, and more are, later."""
    guest = stage.guest
    stage.start()
    with stage.load() as load:
        pid = stage.pid
        before = stage.descriptors().total()
        (usual,) = guest.exec(*_prlimit(pid), "--nofile", "--output=SOFT", "--noheadings").stdout.split()
        with _limited(guest, pid, before + DESCRIPTORS_LEFT, usual):
            flood = program(HOSTILE, "tests.chaos.inside.hostile", "connect_hold", stage.seed)
            with guest.popen(*flood) as attacker:
                try:
                    most = _most_descriptors(stage)
                    attacker.communicate(timeout=PATIENCE)
                finally:
                    attacker.kill()
            guest.exec("superctl", "call", "echo.echo", "text=again")
    judgement = stage.judge(load, strict=False)
    lost = [each for each in read_reports(load.reports) if each.kind in PLAIN and each.outcome != "right"]
    yield _finding(
        f"RLIMIT_NOFILE is what superd has and {DESCRIPTORS_LEFT} more; many connections",
        judgement,
        f"{len(lost)} calls without descriptors were lost, such as {lost[0]}" if lost else "",
        figures=f"; {before} descriptors before, {most} at most",
    )


def _most_descriptors(stage: Stage) -> int:
    """How many superd has at most, while some time passes."""
    found = []
    for _ in range(LOOKS):
        pause(2 * stage.scale.stopped_seconds / LOOKS)
        found.append(stage.descriptors().total())
    return max(found)


def _prlimit(pid: int) -> list[str]:
    """By superd's own user, who may: the guest's root has not all that root has elsewhere."""
    return ["setpriv", "--reuid=superd", "--regid=superd", "--clear-groups", "prlimit", f"--pid={pid}"]


@contextmanager
def _limited(guest: Guest, pid: int, number: int, usual: str) -> Iterator[None]:
    guest.exec(*_prlimit(pid), f"--nofile={number}:")
    try:
        yield
    finally:
        guest.exec(*_prlimit(pid), f"--nofile={usual}:")


def clock(stage: Stage) -> Iterator[Finding]:
    """Nothing is decided by a clock that can jump."""
    yield Finding(ROW, "the host's clock is set", impossible="the guest has the host's clock")
    stage.start("jumps:jumps")
    with stage.load() as load:
        pause(2 * stage.scale.stopped_seconds)
        stage.restart()
        pause(2 * stage.scale.stopped_seconds)
    yield _finding(
        "superd's wall clock jumps within two years whenever it is read", stage.judge(load, strict=True)
    )
    modules, found = find_readers(ROOT / "daemon/superd", ROOT / "client/superd_client")
    admitted = sum(number for number, _ in ADMITTED.values())
    yield Finding(
        ROW,
        "which modules read the wall clock",
        f"{modules} modules; {admitted} read that shows people the time, and decides nothing",
        tuple(found),
    )


def stops(stage: Stage) -> Iterator[Finding]:
    """The daemon gets no processor for a while, less than the watchdog waits: everybody waits, nobody loses."""
    stage.start()
    seconds = stage.scale.stopped_seconds
    with stage.load() as load:
        pid = stage.pid
        for _ in range(stage.scale.stops):
            stage.signal("STOP", pid)
            pause(seconds)
            stage.signal("CONT", pid)
            pause(seconds)
        survived = stage.pid == pid
    yield _finding(
        f"{stage.scale.stops} x SIGSTOP, {seconds:g} s, SIGCONT",
        stage.judge(load, strict=True),
        "" if survived else "superd ended",
    )
