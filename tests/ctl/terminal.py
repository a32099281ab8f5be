"""A superctl, or another program, on a terminal of its own, typed at and read from."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

DEADLINE: Final = 30.0

#: Only a session leader gets a controlling terminal, and only with one does Ctrl-C mean SIGINT.
_LEAD: Final = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
_SUPERCTL: Final = _LEAD + "from superd.ctl.__main__ import main; sys.exit(main())"
_PROGRAM: Final = _LEAD + "os.execvp(sys.argv[1], sys.argv[1:])"

#: What would hide the terminal's own size; readline sets it for the children of a process that has it.
_FOREIGN: Final = ("COLUMNS", "LINES")


class Terminal:
    """A context manager; what is left at its end is killed."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        columns: int = 200,
        program: str | None = None,
    ) -> None:
        """Start superctl, or `program`, with these arguments."""
        start = [_SUPERCTL] if program is None else [_PROGRAM, program]
        kept = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process: Final = subprocess.Popen(
            [sys.executable, "-c", *start, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**kept, "TERM": "xterm-256color", **environment},
        )
        os.close(slave)
        self.text = ""
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def expect(self, pattern: str) -> re.Match[str]:
        """Wait until `pattern` comes, after what was expected before."""
        deadline = time.monotonic() + DEADLINE
        while (found := re.compile(pattern, re.DOTALL).search(self.text, self._seen)) is None:
            if not self._read(deadline):
                raise AssertionError(f"{pattern!r} did not come in {self.text[self._seen :]!r}")
        self._seen = found.end()
        return found

    def interrupt(self, pattern: str) -> None:
        """Press Ctrl-C until `pattern` comes: at a prompt, CPython notices one just before its select() with the next."""
        deadline = time.monotonic() + DEADLINE
        self.type("\x03")
        while (found := re.compile(pattern, re.DOTALL).search(self.text, self._seen)) is None:
            if not self._read(time.monotonic() + 1.0):
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise AssertionError(f"{pattern!r} did not come in {self.text[self._seen :]!r}")
                self.type("\x03")
        self._seen = found.end()

    def finish(self) -> int:
        """Read to the end; returns the exit status."""
        deadline = time.monotonic() + DEADLINE
        while self._read(deadline):
            pass
        return self.process.wait(max(0.0, deadline - time.monotonic()))

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._master, 65536) if ready else b""
        except OSError:  # EIO: the last process on the other side is gone
            data = b""
        self.text += data.decode()
        return bool(data)
