"""Another version of the files, as a package manager puts it there, and one that cannot read what this one left it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.chaos.load import CLIENTS
from tests.chaos.stage import RESTART_PATIENCE, Stage, pause
from tests.chaos.table import Finding
from tests.system.guest import now

ROW: Final = "replacement"
LIBRARY: Final = "/usr/lib/superd"
PACKAGES: Final = "superd superd_client"

#: Where the version is, and the format of what one process leaves to the next.
VERSION_FILE: Final = "superd/__init__.py"
STATE_FILE: Final = "superd/handover.py"
STATE_VERSION: Final = re.compile(r"^STATE_VERSION: Final = \d+$", re.MULTILINE)

#: As dpkg does: each new file beside the old one, then by rename(2) in its place; then what the maintainer's script does.
UPGRADE: Final = f"""
set -eu
cd {LIBRARY}
find {PACKAGES} -type f ! -name '*.dpkg-new' | while read -r file; do cp -p "$file" "$file.dpkg-new"; done
cat >{VERSION_FILE}.dpkg-new
find {PACKAGES} -name '*.dpkg-new' | while read -r file; do mv -f "$file" "${{file%.dpkg-new}}"; done
python3 -m compileall -q {PACKAGES}
systemctl daemon-reload
systemctl try-restart superd.service
"""


def replacement(stage: Stage) -> Iterator[Finding]:
    """The files are replaced between restarts, while everybody calls."""
    guest = stage.guest
    path = guest.path(f"{LIBRARY}/{VERSION_FILE}")
    usual = path.read_text("utf-8")
    losses: list[str] = []
    stage.start()
    try:
        with stage.load() as load:
            for number in range(stage.scale.replacements):
                version = f"99.{number}.0"
                text = re.sub(r'__version__ = "[^"]*"', f'__version__ = "{version}"', usual)
                guest.exec("sh", "-c", UPGRADE, stdin=text, timeout=RESTART_PATIENCE)
                said = json.loads(guest.exec("superctl", "call", "superd.status").stdout)["version"]
                if said != version:
                    losses.append(f"version {said} runs, and {version} was installed")
                pause(0.2)
    finally:
        guest.exec("sh", "-c", UPGRADE, stdin=usual, timeout=RESTART_PATIENCE)
    judgement = stage.judge(load, strict=True)
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
