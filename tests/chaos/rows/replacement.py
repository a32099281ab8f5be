"""Another version of the files, as a package manager puts it there, and one that cannot read what this one left it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.chaos.load import CLIENTS, program
from tests.chaos.stage import RESTART_PATIENCE, Stage, pause
from tests.chaos.table import Finding
from tests.system.guest import now

ROW: Final = "replacement"
LIBRARY: Final = "/usr/lib/superd"

#: The format of what one process leaves to the next, and where it is.
STATE_FILE: Final = "superd/handover.py"
STATE_VERSION: Final = re.compile(r"^STATE_VERSION: Final = \d+$", re.MULTILINE)


def replacement(stage: Stage) -> Iterator[Finding]:
    """The files are replaced between restarts, while everybody calls."""
    losses: list[str] = []
    stage.start()
    usual = _running_version(stage)
    try:
        with stage.load() as load:
            for number in range(stage.scale.replacements):
                version = f"99.{number}.0"
                _upgrade(stage, version)
                if (found := _running_version(stage)) != version:
                    losses.append(f"version {found} runs, and {version} was installed")
                pause(0.2)
        judgement = stage.judge(load, strict=True)
    finally:
        _upgrade(stage, usual)
    lost = load.connects - CLIENTS
    if lost:
        losses.append(f"{lost} connections lost")
    yield Finding(
        ROW,
        f"{stage.scale.replacements} x all files replaced as dpkg does, then try-restart",
        f"{judgement.figures()}; {lost:,} connections lost",
        (*map(str, judgement.losses), *losses),
        judgement.longest,
    )


def _upgrade(stage: Stage, version: str) -> None:
    """The files, and then what the package's script does."""
    stage.guest.exec(*program("root", "tests.chaos.inside.upgrade", version), timeout=RESTART_PATIENCE)
    stage.guest.systemctl("daemon-reload")
    stage.guest.exec("systemctl", "try-restart", "superd.service", timeout=RESTART_PATIENCE)


def _running_version(stage: Stage) -> str:
    version: str = json.loads(stage.guest.exec("superctl", "call", "superd.status").stdout)["version"]
    return version


def unreadable_state(stage: Stage) -> Iterator[Finding]:
    """The next version cannot read what this one left: it closes the connections, says why, and serves."""
    done = "a restart into a version that cannot read the state"
    if not stage.guest.path(f"{LIBRARY}/{STATE_FILE}").exists():
        yield Finding(ROW, done, impossible="this superd leaves no state to the next one")
        return
    stage.start()
    since = now()
    with stage.load() as load, _another_format(stage):
        stage.restart()
        pause(0.5)
        # The load goes on under the next version: each client has connected again by its next call.
        pid = stage.pid
    judgement = stage.judge(load, strict=False)
    said = [
        entry["MESSAGE"]
        for entry in stage.guest.journal("SYSLOG_IDENTIFIER=superd", f"_PID={pid}", since=since)
    ]
    reasons = [text for text in said if "could not be taken over" in text and "format" in text]
    losses = list(map(str, judgement.losses))
    if len(reasons) != 1:
        losses.append(f"the journal should say once why, and says {said}")
    if load.connects == CLIENTS:
        losses.append("no client had to connect again: nothing was tested")
    yield Finding(
        ROW,
        done,
        f"{judgement.figures()}; {load.connects - CLIENTS} connections closed; the journal says why {len(reasons)} x",
        tuple(losses),
        judgement.longest,
    )


@contextmanager
def _another_format(stage: Stage) -> Iterator[None]:
    """The installed superd has another format of its state from its next start on."""
    path = stage.guest.path(f"{LIBRARY}/{STATE_FILE}")
    usual = path.read_text("utf-8")
    other, found = STATE_VERSION.subn("STATE_VERSION: Final = 999", usual)
    assert found == 1, "where is the version of the state?"
    path.write_text(other, "utf-8")
    try:
        yield
    finally:
        path.write_text(usual, "utf-8")
