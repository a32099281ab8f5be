"""Programs that tests start, and what they say on stderr."""

import os
import re
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

#: Seconds that anything may take on a machine that has other things to do: a program's next output, or its end.
PATIENCE: Final = 60.0

#: What a test's own unit or shell may have set, and a child must not take for its own.
_FOREIGN: Final = (
    "LISTEN_",
    "NOTIFY_",
    "WATCHDOG_",
    "JOURNAL_STREAM",
    "STATE_DIRECTORY",
    "SUPERD_",
    "ROMD_",
)


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without what would mislead a child, and `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {**kept, **variables}


class Child:
    """A running program. Its stderr is read when a test asks for it."""

    def __init__(self, process: subprocess.Popen[bytes], stderr: IO[bytes]) -> None:
        self.process: Final = process
        self.lines: Final[list[str]] = []
        self._descriptor = stderr.fileno()
        self._rest = b""

    def wait_for_lines(self, part: str, count: int = 1) -> list[str]:
        """The first `count` lines with `part` in them; fails if the program ends, or falls silent, before."""
        while len(found := [line for line in self.lines if part in line]) < count:
            assert self._read_more(), f"no {part!r} in {self.lines}"
        return found[:count]

    def find_line(self, pattern: re.Pattern[str], position: int) -> int:
        """The position of the first line, from `position` on, that is all of `pattern`, line break included."""
        while True:
            for index in range(position, len(self.lines)):
                if pattern.fullmatch(self.lines[index] + "\n"):
                    return index
            position = len(self.lines)
            assert self._read_more(), f"no {pattern.pattern!r} in {self.lines}"

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Read to the end; returns the exit status."""
        while self._read_more():
            pass
        return self.process.wait(PATIENCE)

    def stop(self) -> int:
        self.signal()
        return self.wait()

    def _read_more(self) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self._descriptor, selectors.EVENT_READ)
            assert selector.select(PATIENCE), f"silent for too long after {self.lines}"
        data = os.read(self._descriptor, 65536)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.lines.extend(line.decode() for line in lines)
        return bool(data)


@contextmanager
def start(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Child]:
    """A program, which is gone when the block ends."""
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        try:
            yield Child(process, process.stderr)
        finally:
            process.kill()


@contextmanager
def start_superd(directory: Path) -> Iterator[Child]:
    """superd with the inventory on DIRECTORY/superd.sock, to be started by the first connection."""
    socket = directory / "superd.sock"
    socket.unlink(missing_ok=True)
    config = directory / "superd.toml"
    config.write_text('log_level = "debug"\nlog_target = "stderr"\n')
    # systemd-socket-activate gives its child an environment of its own, without what measures coverage.
    passed = {name: value for name, value in os.environ.items() if name.startswith("COV")}
    passed["STATE_DIRECTORY"] = str(directory)
    command = [
        *("systemd-socket-activate", f"--listen={socket}"),
        *(f"--setenv={name}={value}" for name, value in passed.items()),
        *(sys.executable, "-m", "superd", f"--config={config}", "--service=inventoryd.service:inventory"),
    ]
    with start(command, clean_environment(SYSTEMD_LOG_LEVEL="info", SYSTEMD_LOG_TARGET="console")) as child:
        child.wait_for_lines("Listening on ")
        yield child


@contextmanager
def start_romd(address: str, *options: str, **variables: str) -> Iterator[Child]:
    """Romd, which asks at `address`."""
    command = [sys.executable, "-m", "romd", *options]
    with start(command, clean_environment(SUPERD_SOCKET=address, **variables)) as child:
        yield child
