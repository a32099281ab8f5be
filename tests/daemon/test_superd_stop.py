"""`superd.stop`: who may end which daemon, and that it ends in order."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.daemon.datagram_client import RawDatagrams
from tests.daemon.process import Superd, superd
from tests.daemon.raw import echo, request

STOP: Final = request("superd.stop", {}, None)
STRANGER: Final = 12_345

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may send another user's credentials")

#: A start as systemd does it: it tells the process its own id.
AS_SYSTEMD: Final = [
    shutil.which("sh") or "/bin/sh",
    "-c",
    'SYSTEMD_EXEC_PID=$$ exec "$0" -m superd "$@"',
    sys.executable,
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


@contextmanager
def running(path: Path, *arguments: str, program: list[str] | None = None) -> Iterator[Superd]:
    listen = f"--listen=unix-dgram:{path}.d"
    if program is None:
        with superd(listen, *arguments, path=path) as daemon:
            yield daemon
    else:
        with superd(listen, *arguments, path=path, program=program) as daemon:
            yield daemon


def test_a_datagram_ends_it_in_order(path: Path) -> None:
    with (
        running(path, "--service=tests.daemon.sample:probe") as daemon,
        RawDatagrams(f"{path}.d") as peer,
    ):
        peer.send(request("probe.wait"))
        daemon.wait_for("waiting")
        peer.send(request("probe.go", {}, None))
        peer.send(STOP)
        assert peer.receive()["result"] == "gone"
        assert daemon.ended() == 0
        assert "asked to stop: superd.stop" in daemon.log
    assert not path.exists()
    assert not Path(f"{path}.d").exists()


def test_so_does_a_notification_on_a_stream(path: Path) -> None:
    with running(path) as daemon, daemon.client() as client:
        client.send(STOP)
        assert daemon.ended() == 0


def test_a_call_is_answered_before(path: Path) -> None:
    with running(path) as daemon, RawDatagrams(f"{path}.d") as peer:
        assert peer.ask(request("superd.stop"))["result"] is None
        assert daemon.ended() == 0


@as_root
def test_another_user_is_refused_and_logged(path: Path) -> None:
    with running(path) as daemon, RawDatagrams(f"{path}.d") as peer:
        os.chown(path.parent, STRANGER, -1)
        peer.send_as(STRANGER, STOP)
        daemon.wait_for("call denied: superd.stop from uid 12345")
        with RawDatagrams(f"{path}.d", f"{path}.own") as bound:
            os.chown(f"{path}.own", STRANGER, -1)
            bound.send_as(STRANGER, request("superd.stop"))
            error = bound.receive()["error"]
        assert error["code"] == -32001
        assert peer.ask(echo())["result"], "it goes on"
        assert daemon.stop() == 0


def test_what_systemd_started_is_for_systemctl(path: Path) -> None:
    with running(path, program=AS_SYSTEMD) as daemon, RawDatagrams(f"{path}.d") as peer:
        error = peer.ask(request("superd.stop"))["error"]
        assert (error["code"], error["data"]["type"]) == (-32000, "RunBySystemd")
        assert "use systemctl stop" in error["message"]
        peer.send(STOP)
        assert peer.ask(echo())["result"], "it goes on"
        daemon.wait_for("use systemctl stop")
        assert daemon.stop() == 0
