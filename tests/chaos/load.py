"""The load, from outside: some processes of several users in the guest, and the reports that they leave."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.chaos.inside.load import GRACE, Options
from tests.system.guest import Guest, GuestError

#: Of all processes together.
CLIENTS: Final = 64

#: Puts the installed packages, and those of the tests, where Python looks; -I keeps everything else out.
_RUN: Final = (
    "import runpy, sys; sys.path[:0] = ['/usr/lib/superd', '/usr/lib/superd-services'];"
    " sys.argv.pop(0); runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def program(user: str, module: str, *arguments: str) -> list[str]:
    """The command that runs a module of `inside` as a user, with that user's groups."""
    become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
    return [*become, "/usr/bin/python3", "-I", "-c", _RUN, module, *arguments]


class Load:
    """Works from entering to leaving its context; then `reports` and `connects` are complete."""

    def __init__(self, guest: Guest, seed: str, users: Sequence[str], folder: str, pace: float) -> None:
        self._guest = guest
        name = seed.replace("/", "-")
        self.options: Final = [
            Options(
                seed=seed,
                worker=number,
                clients=CLIENTS // len(users),
                style="asyncio" if number % 2 else "blocking",
                report=f"{folder}/{name}-{number}.jsonl",
                pace=pace,
            )
            for number in range(len(users))
        ]
        self._users = users
        self._processes: list[subprocess.Popen[str]] = []
        #: How often clients connected: as many times as there are clients where no connection is lost.
        self.connects = 0

    @property
    def reports(self) -> list[Path]:
        """The files with the records, as the host sees them."""
        return [self._guest.path(each.report) for each in self.options]

    def __enter__(self) -> Self:
        for options, user in zip(self.options, self._users, strict=True):
            command = program(user, "tests.chaos.inside.load", json.dumps(options._asdict()))
            self._processes.append(self._guest.popen(*command))
        try:
            self._wait_until_begun()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for process in self._processes:
                assert process.stdin is not None
                process.stdin.close()
                process.stdin = None
            for process, options in zip(self._processes, self.options, strict=True):
                self._finish(process, options.timeout + 2 * GRACE)
        finally:
            self._kill()

    def _wait_until_begun(self) -> None:
        for process in self._processes:
            assert process.stdout is not None
            if process.stdout.readline() != "begun\n":
                raise GuestError(f"the load does not begin: {process.communicate()[1]}")

    def _finish(self, process: subprocess.Popen[str], patience: float) -> None:
        said, complaint = process.communicate(timeout=patience)
        # One that found calls which never end says so in its report.
        if process.returncode == 0:
            self.connects += int(json.loads(said)["connects"])
        elif "Traceback" in complaint:
            raise GuestError(f"the load broke: {complaint}")

    def _kill(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
