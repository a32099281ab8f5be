"""A superd that has nothing to do: what it has loaded to get there, and that nothing wakes it up."""

import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bench.machine import wakeups
from tests.daemon.process import PROGRAMS, Superd, clean_environment, superd
from tests.daemon.raw import PATIENCE, RawClient, echo, frame

#: Seconds without a wake-up that count as sleep: many times the interval of every timer that superd has while it is busy,
#: with QUICK.
QUIET = 0.3

#: What stalls is looked for 40 times a second then.
QUICK = {"SUPERD_WRITE_TIMEOUT": "0.1"}


def assert_sleeps(daemon: Superd, client: RawClient) -> None:
    """In the end nothing wakes the daemon up, and it says nothing."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        before = wakeups(daemon.process.pid)
        assert select.select([client.sock], [], [], QUIET)[0] == []
        if wakeups(daemon.process.pid) == before:
            return
    pytest.fail("it wakes up again and again")


@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_an_idle_superd_sleeps(tmp_path: Path, program: str) -> None:
    with (
        superd(path=tmp_path / "s", program=PROGRAMS[program], environment=QUICK) as daemon,
        daemon.client() as client,
    ):
        assert client.ask(echo())["id"] == 1
        assert_sleeps(daemon, client)
        message = frame(echo(request_id=2))
        client.send_raw(message[:-1])
        client.send_raw(message[-1:])
        assert client.receive()["id"] == 2
        assert_sleeps(daemon, client)


#: What a start must do without: each of them costs milliseconds, and superd needs it later or never.
NOT_AT_START = {
    "difflib",
    "hmac",
    "pydantic.v1",
    "pydantic_settings",
    "secrets",
    "superd.ctl",
    "superd_client.aio",
    "superd_client.blob",
    "superd_client.sync",
    "systemd",
    "tempfile",
}


def test_what_a_start_loads() -> None:
    program = "import sys; from superd.program import run_program; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment({"PYDANTIC_DISABLE_PLUGINS": "__all__"}),
    )
    assert not NOT_AT_START & set(done.stdout.split())
