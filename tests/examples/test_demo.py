"""`make run`: it shows what it should, says so by its exit status, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.processes import PATIENCE, clean_environment

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.py"


def run_demo(directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DEMO)],
        env=clean_environment(TMPDIR=str(directory), **variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )


def processes_naming(text: str) -> list[str]:
    """The command lines of all processes that have `text` in them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended meanwhile
            continue
        if text in command:
            found.append(command)
    return found


def test_it_shows_one_daemon_asking_another(tmp_path: Path) -> None:
    done = run_demo(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for line in (
        "systemd │ Listening on ",
        "demo │ → inventory.add {",
        'demo │ ← {"sku":"A-1","name":"claw hammer","quantity":3}',
        "A-1: 3 of claw hammer",
        "B-2: 500 of wire nail",
        "OutOfStock(sku='A-1', wanted=2, available=1)",
        "✗ inventory.lookup: invalid params: ",
        "UnknownSku(sku='Z-9')",
        "All 10 calls were answered as expected",
    ):
        assert line in done.stdout, done.stdout
    speakers = {line.partition(" │ ")[0].strip() for line in done.stdout.splitlines() if " │ " in line}
    assert speakers == {"demo", "systemd", "superd", "romd"}
    assert "\x1b" not in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert processes_naming(str(tmp_path)) == []


def test_what_surrounds_it_does_not_reach_it(tmp_path: Path) -> None:
    surroundings = {
        "STATE_DIRECTORY": str(tmp_path / "state"),
        "SUPERD_LOG_LEVEL": "error",
        "SUPERD_SOCKET": "unix:/nonexistent",
        "ROMD_SKUS": "C-3",
        "SYSTEMD_LOG_LEVEL": "err",
        "LISTEN_FDS": "1",
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
    }
    done = run_demo(tmp_path, **surroundings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    done = run_demo(tmp_path, PATH="/nonexistent")
    assert done.returncode == 1
    assert "The demo failed: systemd-socket-activate is not installed" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_superd_that_fails_is_a_failure_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    activate = tmp_path / "bin" / "systemd-socket-activate"
    activate.write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n")
    activate.chmod(0o755)
    done = run_demo(tmp_path, PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert done.returncode == 1
    assert "systemd │ out of luck" in done.stdout
    assert "The demo failed: superd never said '^Listening on '" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_everything(tmp_path: Path, number: signal.Signals, status: int) -> None:
    with subprocess.Popen(
        [sys.executable, str(DEMO)],
        env=clean_environment(TMPDIR=str(tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if b"Listening on" in line:
                break
        demo.send_signal(number)
        demo.stdout.read()
        assert demo.wait(PATIENCE) == status
    assert list(tmp_path.iterdir()) == []
    assert processes_naming(str(tmp_path)) == []
