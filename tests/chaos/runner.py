"""Boots a guest, runs the rows in it, one after the other, and leaves nothing behind."""

import os
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.chaos.rows import faults
from tests.chaos.rows.hostile import hostile
from tests.chaos.rows.idle import idle
from tests.chaos.rows.intruder import intruder
from tests.chaos.rows.kills import kills, watchdog_kills
from tests.chaos.rows.memory import memory
from tests.chaos.rows.replacement import replacement, unreadable_state
from tests.chaos.rows.restarts import restarts
from tests.chaos.scale import Scale
from tests.chaos.stage import ROOT, Stage, say
from tests.chaos.table import Finding, is_lost
from tests.system.guest import Guest, Moment, now, since_option

Row = Callable[[Stage], Iterator[Finding]]

ROWS: Final[Mapping[str, Row]] = {
    "restarts": restarts,
    "kills": kills,
    "watchdog": watchdog_kills,
    "replacement": replacement,
    "state": unreadable_state,
    "idle": idle,
    "hostile": hostile,
    "journal": faults.journal,
    "disk": faults.disk,
    "descriptors": faults.descriptors,
    "clock": faults.clock,
    "stops": faults.stops,
    "memory": memory,
    "intruder": intruder,
}

#: Where journals of rows that lost something are kept.
KEPT: Final = ROOT / "build/chaos"

#: What a guest may write: the reports of an hour of load, and the ledger.
GUEST_SIZE: Final = "4g"


def run(names: Sequence[str], scale: Scale, seed: str, staged: Path, folder: Path) -> list[Finding]:
    """Run rows against an installation that was staged; `folder` is for what they take out of the guest."""
    findings: list[Finding] = []
    with Guest(f"chaos-{os.getpid()}", "--size", GUEST_SIZE) as guest:
        stage = Stage(guest, scale, seed, folder)
        stage.install(staged)
        for name in names:
            begun = time.monotonic()
            say(f"{name} ...")
            since = now()
            found = list(_run_one(name, stage))
            if is_lost(found):
                _keep_journal(name, guest, since)
            findings += found
            stage.stop()
            say(f"{name}: {time.monotonic() - begun:.0f} s")
    return findings


def _keep_journal(name: str, guest: Guest, since: Moment) -> None:
    """Write down what the guest's journal says of a row that lost something."""
    lines = guest.exec(
        "journalctl", "--no-hostname", "--output=short-precise", *since_option(since), check=False
    )
    KEPT.mkdir(parents=True, exist_ok=True)
    path = KEPT / f"{name}.journal"
    path.write_text(lines.stdout)
    say(f"{name}: the journal is in {path}")


def _run_one(name: str, stage: Stage) -> Iterator[Finding]:
    """A row that breaks down is a loss: nobody knows what it would have found."""
    try:
        yield from ROWS[name](stage)
    except (AssertionError, subprocess.SubprocessError, OSError) as error:
        traceback.print_exception(error)
        yield Finding(name, "did not come to its end", losses=(f"{type(error).__name__}: {error}",))
