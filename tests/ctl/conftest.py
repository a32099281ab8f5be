"""superctl against the real daemon: one for all tests of this folder."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from superd.ctl.__main__ import main
from superd_client.builtin import Nothing, status
from superd_client.sync import Client

ROOT: Final = Path(__file__).resolve().parents[2]
START_DEADLINE: Final = 30.0


class Finished(NamedTuple):
    status: int
    out: str
    err: str


Superctl = Callable[..., Finished]


class Daemon(NamedTuple):
    address: str
    log: Path

    def by(self, scheme: str) -> str:
        """The address of its socket of another kind."""
        return f"{scheme}:{self.address.removeprefix('unix:')}.{scheme}"

    def await_log(self, pattern: str) -> None:
        """Block until `pattern` is in the log. Each look takes a call, so it is no busy loop."""
        deadline = time.monotonic() + START_DEADLINE
        with Client(self.address) as client:
            while re.search(pattern, self.log.read_text("utf-8")) is None:
                assert time.monotonic() < deadline, self.log.read_text("utf-8")
                client.call(status, Nothing())

    def waits_begun(self) -> int:
        """How often store.wait was called so far."""
        return self.log.read_text("utf-8").count("step=begun")

    def await_wait(self, count: int) -> None:
        """Block until store.wait was called `count` times. Each look takes a call, so it is no busy loop."""
        deadline = time.monotonic() + START_DEADLINE
        with Client(self.address) as client:
            while self.waits_begun() < count:
                assert time.monotonic() < deadline, self.log.read_text("utf-8")
                client.call(status, Nothing())


@pytest.fixture(scope="session", name="daemon")
def fixture_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("superd")
    path, log = folder / "s", folder / "log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SUPERD_")}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "superd",
                "--listen",
                f"unix:{path}",
                *("--listen", f"unix-seqpacket:{path}.unix-seqpacket"),
                *("--listen", f"unix-dgram:{path}.unix-dgram"),
                "--service",
                "tests.ctl.service:store",
            ],
            stdout=sink,
            stderr=sink,
            cwd=ROOT,
            env=environment,
        )
    try:
        _wait_for_listener(process, path, log)
        yield Daemon(f"unix:{path}", log)
    finally:
        process.terminate()
        process.wait(30)


def _wait_for_listener(process: subprocess.Popen[bytes], path: Path, log: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                return
        # The kernel has no event for "somebody listens now"; a child that ends in the meantime ends the wait.
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
    pytest.fail(f"the daemon did not start: {log.read_text()}")


@pytest.fixture(name="environment")
def fixture_environment(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a superctl of this test finds, in this process and in its children."""
    environment = {
        "SUPERD_SOCKET": daemon.address,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in ("client", "daemon", ".")),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return environment


@pytest.fixture(name="superctl")
def fixture_superctl(environment: dict[str, str], capfd: pytest.CaptureFixture[str]) -> Superctl:
    """Run superctl in this process."""

    def run(*arguments: str) -> Finished:
        capfd.readouterr()
        try:
            status = main(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
        sys.stdout.flush()
        captured = capfd.readouterr()
        return Finished(status, captured.out, captured.err)

    return run


@pytest.fixture(name="process")
def fixture_process(environment: dict[str, str]) -> Superctl:
    """Run superctl in a process of its own."""

    def run(*arguments: str, given: str | bytes = "") -> Finished:
        done = subprocess.run(
            [sys.executable, "-m", "superd.ctl", *arguments],
            input=given.encode() if isinstance(given, str) else given,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run
