"""superd as a process, in its own right."""

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from signal import SIGTERM, Signals
from typing import Final

from tests.daemon.raw import PATIENCE, RawClient

ROOT: Final = Path(__file__).resolve().parents[2]

#: superd with latency = "low", which polls after every event.
_POLLING: Final = """
import os, sys
from superd_client import polling
from tests.client.eager import EAGER
vars(polling).update(EAGER)
os.environ["SUPERD_LATENCY"] = "low"
from superd.__main__ import main
sys.exit(main())
"""

#: How to start superd on each of the two event loops, and as one that polls.
PROGRAMS: Final[dict[str, list[str]]] = {
    "uvloop": [sys.executable, "-m", "superd"],
    "asyncio": [
        sys.executable,
        "-c",
        "import sys; sys.modules['uvloop'] = None; from superd.__main__ import main; sys.exit(main())",
    ],
    "polling": [sys.executable, "-c", _POLLING],
}

#: What systemd would set, and what would change the settings.
_OURS: Final = ("SUPERD_", "NOTIFY_", "WATCHDOG_", "LISTEN_", "INVOCATION_", "JOURNAL_")


def clean_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    path = os.pathsep.join([str(ROOT), *filter(None, [kept.get("PYTHONPATH")])])
    return kept | {"PYTHONPATH": path} | dict(more or {})


class Superd:
    """One process. What it logs is read as it comes, so that it never waits for us."""

    def __init__(
        self,
        *arguments: str,
        path: Path,
        program: Sequence[str] = PROGRAMS["uvloop"],
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.path = path
        self.log = ""
        self.process = subprocess.Popen(
            [*program, *arguments],
            env=clean_environment(environment),
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            pass_fds=pass_fds,
        )

    def client(self) -> RawClient:
        return RawClient(str(self.path))

    def wait_for(self, text: str) -> str:
        """The log up to a line with `text`, as soon as it is there."""
        deadline = time.monotonic() + PATIENCE
        while not any(text in line for line in self.log.splitlines(keepends=True) if line.endswith("\n")):
            assert self._read(deadline - time.monotonic()), f"{text!r} was not logged:\n{self.log}"
        return self.log

    def started(self) -> "Superd":
        self.wait_for("started")
        return self

    def send_signal(self, number: Signals = SIGTERM) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """The exit status, when it has ended by itself."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline - time.monotonic()):
            pass
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def stop(self, number: Signals = SIGTERM) -> int:
        self.send_signal(number)
        return self.ended()

    def kill(self) -> None:
        """Leave nothing behind, whatever state it is in."""
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def _read(self, seconds: float) -> bool:
        """Read a piece of the log; False at its end, or if none came in time."""
        assert self.process.stderr is not None
        fd = self.process.stderr.fileno()
        if not select.select([fd], [], [], max(0.0, seconds))[0]:
            return False
        piece = os.read(fd, 65536)
        self.log += piece.decode()
        return bool(piece)


@contextlib.contextmanager
def superd(
    *arguments: str,
    path: Path,
    program: Sequence[str] = PROGRAMS["uvloop"],
    environment: Mapping[str, str] | None = None,
) -> Iterator[Superd]:
    """Superd, stand-alone at `path`, started and at the end gone."""
    daemon = Superd(f"--listen=unix:{path}", *arguments, path=path, program=program, environment=environment)
    try:
        yield daemon.started()
    finally:
        daemon.kill()
