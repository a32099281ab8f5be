"""SIGKILL, and the watchdog's: every call ends, and what its caller is told is true."""

from collections.abc import Callable, Iterator
from typing import Final

from tests.chaos.stage import Stage, pause
from tests.chaos.table import Finding

#: Seconds without a sign of life after which systemd ends the daemon, in place of the unit's 10.
WATCHDOG_SEC: Final = 1


def kills(stage: Stage) -> Iterator[Finding]:
    """By SIGKILL."""
    yield _kill(
        stage, "SIGKILL", stage.scale.kills, lambda: stage.guest.systemctl("kill", "--signal=KILL", "superd")
    )


def watchdog_kills(stage: Stage) -> Iterator[Finding]:
    """By SIGSTOP: the daemon says nothing more, and systemd ends it with SIGABRT."""
    yield _kill(
        stage,
        f"watchdog kills (SIGSTOP, WatchdogSec={WATCHDOG_SEC}s)",
        stage.scale.watchdog_kills,
        lambda: stage.signal("STOP", stage.pid),
        f"[Service]\nWatchdogSec={WATCHDOG_SEC}s\n",
    )


def _kill(stage: Stage, what: str, times: int, kill: Callable[[], object], drop_in: str = "") -> Finding:
    chance = stage.random(what)
    stage.start()
    if drop_in:
        stage.guest.drop_in("superd.service", drop_in)
        stage.restart()
    with stage.load() as load:
        for _ in range(times):
            pause(chance.uniform(0, 0.5))
            before = stage.pid
            kill()
            stage.wait_for_next(before)
    judgement = stage.judge(load, strict=False)
    return Finding(
        row="kills",
        done=f"{times} x {what} under {stage.crowd}",
        figures=judgement.figures(),
        losses=tuple(map(str, judgement.losses)),
        pause=judgement.longest,
    )
