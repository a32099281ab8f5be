"""romd as a process: signals, superd away and back, what it writes where."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from romd import __version__
from tests.examples.processes import PATIENCE, Child, clean_environment, start_romd, start_superd

#: An interval that no test lives to see the end of: what ends at once did not wait for it.
NEVER = "--interval=86400"


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as opened:
        opened.bind(str(tmp_path / "superd.sock"))
        opened.listen()
        opened.settimeout(PATIENCE)
        yield opened


def address(directory: Path) -> str:
    return f"unix:{directory}/superd.sock"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_for_the_next_round(number: signal.Signals, tmp_path: Path) -> None:
    with start_romd(address(tmp_path), "--sku=A-1", NEVER) as romd:
        romd.wait_for_lines("superd is away")
        romd.signal(number)
        assert romd.wait() == 0
    assert romd.lines[-1].endswith(f"stopped by {number.name}")


def test_a_signal_ends_a_call(tmp_path: Path, listener: socket.socket) -> None:
    with start_romd(address(tmp_path), "--sku=A-1", NEVER, "--timeout=86400") as romd:
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(PATIENCE)
            assert b'"inventory.lookup"' in peer.recv(4096)  # it was asked, and is not answered
            assert romd.stop() == 0
            assert b'"rpc.cancel"' in peer.recv(4096)
            assert peer.recv(4096) == b""
    assert romd.lines[-1].endswith("stopped by SIGTERM")


def test_superd_away_is_one_line_a_round(tmp_path: Path) -> None:
    with start_romd(address(tmp_path), "--sku=A-1", "--sku=B-2", "--interval=0.01", "--count=2") as romd:
        assert romd.wait() == 0
    assert len(romd.lines) == 3
    for line in romd.lines[1:]:
        assert "warning  superd is away: inventory.lookup: " in line
        assert "(outcome: not sent)" in line
        assert line.endswith("(and 1 more); next try in 0.01 s")


def test_a_superd_that_does_not_answer(tmp_path: Path, listener: socket.socket) -> None:
    with start_romd(address(tmp_path), "--sku=A-1", NEVER, "--timeout=0.5", "--count=1") as romd:
        assert romd.wait() == 0
    assert re.search(r"superd is away: .*\(outcome: unknown\) \[call [^]]+\]; next try", romd.lines[-1])


def test_a_superd_that_hangs_up(tmp_path: Path, listener: socket.socket) -> None:
    with start_romd(address(tmp_path), "--sku=A-1", NEVER) as romd:
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(PATIENCE)
            assert peer.recv(4096)
        romd.wait_for_lines("superd is away")
        assert romd.stop() == 0
    assert "(outcome: unknown) [call " in romd.lines[1]


def test_prefixes_under_journald(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as log:
        with os.fdopen(writing, "wb") as stderr:
            status = os.fstat(writing)
            named = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}", "SUPERD_SOCKET": address(tmp_path)}
            command = [sys.executable, "-m", "romd", "--sku=A-1", "--count=1"]
            subprocess.run(
                command, env=clean_environment(**named), stderr=stderr, check=True, timeout=PATIENCE
            )
        first, second = log.read().splitlines()
    assert first == f"<6>romd {__version__} asks every 30 s for A-1"
    assert second.startswith("<4>superd is away: ")


def test_a_wrong_setting_ends_it_with_status_2(tmp_path: Path) -> None:
    with start_romd(address(tmp_path), ROMD_SKUS="A-1", ROMD_INTERVAL="often") as romd:
        assert romd.wait() == 2
    assert romd.lines[-1].startswith("romd: error: ROMD_INTERVAL: 'often' is not a number of seconds")


def test_it_asks_the_real_superd(tmp_path: Path) -> None:
    with start_superd(tmp_path) as superd:
        with start_romd(address(tmp_path), "--sku=A-1", "--sku=Z-9", "--interval=0.01", "--count=2") as romd:
            assert romd.wait() == 0
        assert superd.stop() == 0
    unknown = [line for line in romd.lines if "A-1: unknown to the inventory [call " in line]
    assert len(unknown) == 2
    assert sum("Z-9: unknown to the inventory [call " in line for line in romd.lines) == 2
    for line in unknown:
        call = line[line.index("[call ") :]
        assert sum(call in said for said in superd.lines) == 1  # one call id in both logs


def test_it_lives_through_a_restart_of_superd(tmp_path: Path) -> None:
    with (
        start_superd(tmp_path) as superd,
        start_romd(address(tmp_path), "--sku=A-1", "--interval=0.02") as romd,
    ):
        wait_for_answers(romd, 2)
        assert superd.stop() == 0
        romd.wait_for_lines("superd is away")
        answered = len(answers(romd))
        with start_superd(tmp_path) as again:
            wait_for_answers(romd, answered + 2)
            assert romd.stop() == 0
            assert again.stop() == 0


def answers(romd: Child) -> list[str]:
    return [line for line in romd.lines if "A-1: unknown" in line]


def wait_for_answers(romd: Child, count: int) -> None:
    romd.wait_for_lines("A-1: unknown", count)
