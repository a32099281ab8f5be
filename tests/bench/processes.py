"""The processes of one cell: started anew, pinned, and gone at its end."""

import contextlib
import os
import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

ROOT: Final = Path(__file__).resolve().parents[2]

#: Seconds for a process to say that it is ready, and to end. A cell that needs more is a failed one.
PATIENCE: Final = 30.0

#: Seconds for a client to do all that a cell asks of it.
LOAD_PATIENCE: Final = 300.0

#: What the caller's environment must not bring into a measurement.
_OURS: Final = ("SUPERD_", "NOTIFY_", "WATCHDOG_", "LISTEN_", "INVOCATION_", "JOURNAL_", "DBUS_", "PYTHON")


class NotStartedError(Exception):
    """A process of a cell did not do what it was started for; the text is the end of what it wrote."""


class Processes:
    """What one cell has started. Standard error goes to a file in `folder`; leaving the block ends all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self._files = contextlib.ExitStack()
        #: What a server side notifies, where one does.
        self.notices: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.notices is not None:  # first: who ends may wait for systemd's answer
            self.notices.close()
        for process in reversed(self._started):
            process.terminate()
        for process in reversed(self._started):
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._files.close()

    @property
    def pids(self) -> list[int]:
        """Those that run, without what they have started themselves."""
        return [process.pid for process in self._started if process.poll() is None]

    def take_notices(self) -> str:
        """Be the service manager that a process of this cell notifies; the path for its NOTIFY_SOCKET."""
        path = str(self.folder / "notify")
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notices.bind(path)
        return path

    def spawn(
        self, command: Sequence[str], core: int, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process that stays on one processor."""
        log = self._files.enter_context((self.folder / "log").open("ab"))
        process = subprocess.Popen(
            ["taskset", "--cpu-list", str(core), *command],
            env=clean_environment() | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=self.folder,
            pass_fds=[self.notices.fileno()] if self.notices is not None else [],
        )
        self._started.append(process)
        return process

    def module(
        self, name: str, *arguments: str, core: int, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start a module of this package in an interpreter of its own."""
        return self.spawn([sys.executable, "-m", name, *arguments], core, environment)

    def wait_for_line(self, process: subprocess.Popen[bytes], seconds: float = PATIENCE) -> bytes:
        """The first line that it writes; raises NotStartedError at its end, or if none comes in time."""
        assert process.stdout is not None
        deadline = time.monotonic() + seconds
        line = b""
        while not line.endswith(b"\n"):
            left = max(0.0, deadline - time.monotonic())
            if not select.select([process.stdout], [], [], left)[0]:
                raise NotStartedError(f"nothing came within {seconds:g} s; {self.last_words()}")
            piece = os.read(process.stdout.fileno(), 65536)
            if not piece:
                raise NotStartedError(self.last_words())
            line += piece
        return line

    def wait_for_socket(self, process: subprocess.Popen[bytes], address: str | tuple[str, int]) -> None:
        """Return when somebody listens there."""
        deadline = time.monotonic() + PATIENCE
        while not _listens(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotStartedError(self.last_words())
            time.sleep(0.005)

    def last_words(self) -> str:
        """The end of what the processes wrote to standard error."""
        return (self.folder / "log").read_text("utf-8", "replace")[-2000:] or "it wrote nothing"


def _listens(address: str | tuple[str, int]) -> bool:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(address) == 0


def clean_environment() -> dict[str, str]:
    """Of the caller's environment, what changes no figure; and where this package is found."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return kept | {"PYTHONPATH": str(ROOT)}


@contextlib.contextmanager
def descriptors(count: int) -> Iterator[None]:
    """Let this process, and those it starts, have `count` descriptors, or as many as the system allows."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(count, before[1])))
    except (ValueError, OSError):  # only root may raise the hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, before[1]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
