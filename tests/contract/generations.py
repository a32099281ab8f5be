"""A superd that is started again whenever it ends, with one listening socket for all its processes, as systemd does it."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.daemon.process import clean_environment
from tests.daemon.raw import PATIENCE

#: Becomes superd, with the descriptors that are named as LISTEN_FDS.
_PROGRAM: Final = """
import os, sys
os.dup2(int(os.environ.pop("TEST_FD")), 3, inheritable=True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "superd.socket"}
from superd.__main__ import main
sys.exit(main())
"""


class Generations:
    """Serves `service` at `path` until the end of the block, process after process."""

    def __init__(self, path: Path, service: str, **environment: str) -> None:
        self.path: Final = path
        self.address: Final = f"unix:{path}"
        self.ledger: Final = path.with_suffix(".ledger")
        self.ledger.touch()
        self.count = 0
        self._service: Final = service
        self._environment: Final = environment
        self._listener: Final = socket.socket(socket.AF_UNIX)
        self._changed: Final = threading.Condition()
        self._ending = False
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: Final = threading.Thread(target=self._keep)

    def __enter__(self) -> Self:
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._ending = True
            if self._process is not None:
                self._process.kill()
        self._keeper.join()
        self._listener.close()

    def kill(self) -> None:
        """SIGKILL, without a word."""
        with self._changed:
            assert self._process is not None
            self._process.kill()

    def wait_for(self, name: str, count: int = 1) -> None:
        """Return when the ledger has a name so often."""
        for _ in range(int(PATIENCE * 1000)):
            if self.runs(name) >= count:
                return
            threading.Event().wait(0.001)  # another process writes: nothing tells us
        raise AssertionError(f"{name} did not run: {self.ledger.read_text('utf-8')!r}")

    def runs(self, name: str) -> int:
        """How often a work was begun, by all processes."""
        return self.ledger.read_text("utf-8").splitlines().count(name)

    def _keep(self) -> None:
        while (process := self._start()) is not None:
            process.wait()

    def _start(self) -> subprocess.Popen[bytes] | None:
        with self._changed:
            if self._ending:
                return None
            self.count += 1
            fd = self._listener.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, "--service", self._service],
                env=clean_environment(
                    {"TEST_FD": str(fd), "TEST_LEDGER": os.fspath(self.ledger), **self._environment}
                ),
                pass_fds=[fd],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            return self._process
