"""A superd that is started again whenever it ends, with one listening socket for all its processes, as systemd does it."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.daemon.manager import LAUNCHER, Manager
from tests.daemon.process import clean_environment
from tests.daemon.raw import PATIENCE


class Generations:
    """Serves `service` at `path` until the end of the block, process after process."""

    def __init__(self, path: Path, service: str, *, keeps: bool = False) -> None:
        """With `keeps` descriptors are kept from one process to the next."""
        self.path: Final = path
        self.address: Final = f"unix:{path}"
        self.ledger: Final = path.with_suffix(".ledger")
        self.ledger.touch()
        self._service: Final = service
        notify = path.with_suffix(".notify")
        self._manager: Final = Manager(notify) if keeps else None
        self._told: Final = {"NOTIFY_SOCKET": str(notify), "SUPERD_KEEP_CONNECTIONS": "yes"} if keeps else {}
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
        if self._manager is not None:
            self._manager.close()

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
            kept = (
                [(name, fd) for name, fds in self._manager.kept.items() for fd in fds]
                if self._manager
                else []
            )
            passed = [self._listener.fileno(), *(fd for _, fd in kept)]
            self._process = subprocess.Popen(
                [sys.executable, "-c", LAUNCHER, ",".join(map(str, passed)), "--service", self._service],
                env=clean_environment(
                    {
                        "TEST_LEDGER": os.fspath(self.ledger),
                        "LISTEN_FDNAMES": ":".join(["superd.socket", *(name for name, _ in kept)]),
                        **self._told,
                    }
                ),
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            return self._process
