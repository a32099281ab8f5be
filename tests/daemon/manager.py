"""The part of systemd that keeps descriptors for a service between two of its processes: sd_notify(3), FDSTORE=1."""

import contextlib
import os
import socket
import sys
import threading
from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from superd.window_kept import STORED_WINDOW
from tests.daemon.process import Superd
from tests.daemon.raw import PATIENCE

#: Gives the descriptors the numbers that systemd gives them, and this process's id to LISTEN_PID.
LAUNCHER: Final = """
import os, sys
sources = [os.dup(int(each)) for each in sys.argv.pop(1).split(",") if each]
high = [os.dup2(fd, 100 + place) for place, fd in enumerate(sources)]
os.closerange(3, 100)
for place, fd in enumerate(high):
    os.dup2(fd, 3 + place)
os.closerange(100, 200)
if high:
    os.environ |= {"LISTEN_FDS": str(len(high)), "LISTEN_PID": str(os.getpid())}
from superd.__main__ import main
sys.exit(main())
"""


class Manager:
    """Receives what a service says, and keeps the descriptors that it stores, by name."""

    def __init__(self, address: Path) -> None:
        self.address = address
        self.kept: dict[str, list[int]] = {}
        #: Everything that was said, a message each.
        self.said: list[str] = []
        self._changed = threading.Condition()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(address))
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self.address))
        self._thread.join(PATIENCE)
        self._sock.close()
        for name in tuple(self.kept):
            self._drop(name)

    def wait_for(self, text: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: any(text in each for each in self.said), PATIENCE), (
                self.said
            )

    def wait_until(self, condition: Callable[[list[str]], bool]) -> None:
        """Wait until what was said is so."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.said), PATIENCE), self.said

    def keeps_nothing(self) -> None:
        """Wait until the service has had everything dropped, but for what it keeps for as long as its unit runs."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.kept.keys() <= {STORED_WINDOW}, PATIENCE), self.kept

    def _read(self) -> None:
        room = socket.CMSG_SPACE(253 * array("i").itemsize)
        while True:
            message, ancillary, _, _ = self._sock.recvmsg(65536, room, socket.MSG_CMSG_CLOEXEC)
            if not message:
                return
            fds = array("i")
            for _, _, data in ancillary:
                fds.frombytes(data)
            with self._changed:
                self._handle(message.decode(), fds.tolist())
                self._changed.notify_all()

    def _handle(self, message: str, fds: list[int]) -> None:
        values = dict(line.split("=", 1) for line in message.splitlines())
        self.said.append(message)
        if values.get("FDSTORE") == "1":
            assert values["FDPOLL"] == "0"
            self.kept.setdefault(values["FDNAME"], []).extend(fds)
            return
        if values.get("FDSTOREREMOVE") == "1":
            self._drop(values["FDNAME"])
        for fd in fds:  # of BARRIER=1: that it is closed is the answer
            os.close(fd)

    def _drop(self, name: str) -> None:
        for fd in self.kept.pop(name, ()):
            os.close(fd)

    @contextlib.contextmanager
    def superd(
        self, *arguments: str, path: Path, environment: Mapping[str, str] | None = None
    ) -> Iterator[Superd]:
        """superd at `path`, with all that is kept, started and at the end gone."""
        passed = [(name, fd) for name, fds in self.kept.items() for fd in fds]
        numbers = [fd for _, fd in passed]
        variables = {
            "NOTIFY_SOCKET": str(self.address),
            "SUPERD_KEEP_CONNECTIONS": "yes",
            "LISTEN_FDNAMES": ":".join(name for name, _ in passed),
        }
        program = [sys.executable, "-c", LAUNCHER, ",".join(map(str, numbers))]
        daemon = Superd(
            f"--listen=unix:{path}",
            *arguments,
            path=path,
            program=program,
            environment=variables | dict(environment or {}),
            pass_fds=numbers,
        )
        try:
            yield daemon.started()
        finally:
            daemon.kill()
