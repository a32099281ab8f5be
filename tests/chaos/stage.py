"""The guest with an installed superd in it, the service under load, and the accounts of those who call."""

import contextlib
import json
import random
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.chaos.inside.service import FILE
from tests.chaos.judgement import Judgement, judge, read_reports
from tests.chaos.load import CLIENTS, Load
from tests.chaos.scale import Scale
from tests.conformance.peer import Peer, parse
from tests.system.guest import Guest, GuestError
from tests.system.programs import SOCKET

ROOT: Final = Path(__file__).resolve().parents[2]
SERVICES: Final = "/usr/lib/superd-services"
LEDGER: Final = f"/var/lib/superd/{FILE}"
REPORTS: Final = "/var/tmp/chaos"

#: Modules that programs in the guest are made of.
INSIDE: Final = (
    "tests/__init__.py",
    "tests/chaos/__init__.py",
    "tests/chaos/inside/*.py",
    "tests/conformance/__init__.py",
    "tests/conformance/peer.py",
    "tests/system/inside/racing.py",
)

#: Those who behave, by which the load calls; one who does not; and one who may not even connect.
WELL_BEHAVED: Final = ("chaos1", "chaos2", "chaos3", "chaos4")
HOSTILE: Final = "mallory"
STRANGER: Final = "stranger"

#: Seconds that a restart may take: the drain, and a start on a busy machine.
RESTART_PATIENCE: Final = 90.0


class Stage:
    """What a row works with."""

    def __init__(self, guest: Guest, scale: Scale, seed: str, folder: Path) -> None:
        self.guest: Final = guest
        self.scale: Final = scale
        self.seed: Final = seed
        #: On the host, for what is taken out of the guest.
        self.folder: Final = folder
        self._loads = 0

    def install(self, staged: Path) -> None:
        """What `make install` says to do, then what only the tests need."""
        self.guest.copy_tree(staged)
        self.guest.exec("systemd-sysusers")
        self.guest.exec("systemd-tmpfiles", "--create", "superd.conf")
        self.guest.exec("journalctl", "--update-catalog")
        for user in (*WELL_BEHAVED, HOSTILE):
            self.guest.exec("useradd", "--system", "--no-create-home", "--groups", "superd", user)
        self.guest.exec("useradd", "--system", "--no-create-home", STRANGER)
        for pattern in INSIDE:
            for source in sorted(ROOT.glob(pattern)):
                self.guest.write(f"{SERVICES}/{source.relative_to(ROOT)}", source.read_text())
        self.guest.exec("install", "-d", "-m", "1777", REPORTS)
        self.guest.systemctl("daemon-reload")

    @property
    def well_behaved(self) -> tuple[str, ...]:
        """The users of the load."""
        return WELL_BEHAVED[: self.scale.processes]

    @property
    def crowd(self) -> str:
        """The load in words."""
        return f"{CLIENTS} clients of {self.scale.processes} uids"

    def random(self, row: str) -> random.Random:
        """A source of chance for a row, the same for the same seed."""
        return random.Random(f"{self.seed}/{row}")

    def start(self, *more: str) -> None:
        """Start superd with the service under load, an empty ledger, and `more` services of the folder `inside`."""
        self.stop()
        services = [f"tests.chaos.inside.{each}" for each in ("service:chaos", *more)]
        self.guest.write("/etc/superd/superd.d/90-test.toml", f"services = {json.dumps(services)}\n")
        self.guest.systemctl("start", "superd.socket")
        self.guest.systemctl("start", "superd.service")

    def stop(self) -> None:
        """As after installation: nothing runs, nothing has failed, no drop-in, no ledger, nothing stopped."""
        self.guest.exec("systemctl", "stop", "superd.service", "superd.socket", timeout=RESTART_PATIENCE)
        self.guest.exec("systemctl", "reset-failed")
        self.guest.forget_drop_ins()
        for suffix in ("", "-wal", "-shm"):
            self.guest.path(LEDGER + suffix).unlink(missing_ok=True)
        self.guest.path("/etc/superd/superd.d/90-test.toml").unlink(missing_ok=True)

    @contextmanager
    def load(self, pace: float = 0.1) -> Iterator[Load]:
        """64 clients of some users, half of them blocking, as long as the block lasts."""
        self._loads += 1
        load = Load(self.guest, f"{self.seed}/{self._loads}", self.well_behaved, REPORTS, pace)
        with load:
            yield load

    def judge(self, load: Load, *, strict: bool) -> Judgement:
        """Stop superd, and hold the reports against the ledger."""
        self.guest.exec("systemctl", "stop", "superd.service", timeout=RESTART_PATIENCE)
        copy = self.folder / "ledger"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for suffix in ("", "-wal"):
            if self.guest.path(LEDGER + suffix).exists():
                shutil.copy(self.guest.path(LEDGER + suffix), copy / (FILE + suffix))
        return judge(copy / FILE, read_reports(load.reports), strict=strict)

    def restart(self) -> None:
        """As an operator restarts it."""
        self.guest.exec("systemctl", "restart", "superd.service", timeout=RESTART_PATIENCE)

    @property
    def pid(self) -> int:
        """The daemon's process, as the guest counts; 0 where there is none."""
        return int(self.guest.show("superd.service", "MainPID"))

    def wait_for_next(self, before: int) -> None:
        """Wait until another process than `before` is ready."""

        def holds() -> bool:
            state = self.guest.show("superd.service", "ActiveState")
            return state == "active" and self.pid not in {0, before}

        self.guest.wait_until("superd runs again", holds, RESTART_PATIENCE)

    def descriptors(self) -> Counter[str]:
        """What the daemon's descriptors lead to."""
        found: Counter[str] = Counter()
        for each in self.guest.path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                found[str(each.readlink()).partition(":")[0]] += 1
        return found

    def leaked(self, before: Counter[str], spare: int = 0) -> str:
        """Which descriptors the daemon has on top of `before`, after some patience; empty where it has none, or `spare`."""

        def holds() -> bool:
            pause(0.05)
            return self.descriptors().total() <= before.total() + spare

        try:
            self.guest.wait_until("descriptors are closed", holds)
        except GuestError:
            return f"descriptors stay open, on top of the {before.total()} before: {dict(self.descriptors() - before)}"
        return ""

    def settle(self) -> None:
        """Wait until superd has done what there was to do: connections are accepted in their order."""
        with Peer(parse(f"unix:{self.guest.path(SOCKET)}"), RESTART_PATIENCE) as peer:
            peer.call("echo.echo", {"text": "settled"})

    def signal(self, number: str, pid: int) -> None:
        """Send a signal to a process of the guest."""
        self.guest.exec("kill", f"-{number}", str(pid))


def pause(seconds: float) -> None:
    """Let time pass in which others do something."""
    threading.Event().wait(seconds)


def say(text: str) -> None:
    """Tell who watches; the table is for the end."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()
