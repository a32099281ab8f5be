import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from superd.sd.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    address = str(tmp_path / "notify") if request.param == "path" else f"\0superd-test-{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address)
        receiver.setblocking(False)
        yield receiver


def environment_of(manager: socket.socket) -> dict[str, str]:
    address: str | bytes = manager.getsockname()
    return {"NOTIFY_SOCKET": f"@{address[1:].decode()}" if isinstance(address, bytes) else address}


def received(manager: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(manager.recv(65536).decode())
        except BlockingIOError:
            return messages


def test_every_message(manager: socket.socket) -> None:
    notifier = Notifier.from_environment(environment_of(manager))
    assert notifier.enabled
    assert notifier.ready("up")
    assert notifier.status("3 connections")
    assert notifier.watchdog()
    assert notifier.stopping()
    assert received(manager) == [
        "READY=1\nSTATUS=up\n",
        "STATUS=3 connections\n",
        "WATCHDOG=1\n",
        "STOPPING=1\nSTATUS=stopping\n",
    ]


def test_an_equal_status_is_not_sent_again(manager: socket.socket) -> None:
    notifier = Notifier.from_environment(environment_of(manager))
    for text in ("a", "a", "b", "b", "a"):
        assert notifier.status(text)
    assert received(manager) == ["STATUS=a\n", "STATUS=b\n", "STATUS=a\n"]


def test_the_status_of_ready_counts_as_sent(manager: socket.socket) -> None:
    notifier = Notifier.from_environment(environment_of(manager))
    notifier.ready("up")
    notifier.status("up")
    assert received(manager) == ["READY=1\nSTATUS=up\n"]


def test_a_status_cannot_smuggle_a_state(manager: socket.socket) -> None:
    notifier = Notifier.from_environment(environment_of(manager))
    notifier.status("calm\nSTOPPING=1\r\nMAINPID=1\x0b\u2028x\ud800")
    assert received(manager) == ["STATUS=calm STOPPING=1 MAINPID=1 x?\n"]


def test_the_variable_is_removed(monkeypatch: pytest.MonkeyPatch, manager: socket.socket) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", environment_of(manager)["NOTIFY_SOCKET"])
    notifier = Notifier.from_environment()
    assert "NOTIFY_SOCKET" not in os.environ
    notifier.watchdog()
    assert received(manager) == ["WATCHDOG=1\n"]


@pytest.mark.parametrize("address", [None, "", "/", "@", "relative", "vsock:2:1234"])
def test_without_a_usable_address_nothing_happens(address: str | None) -> None:
    notifier = Notifier(address)
    assert not notifier.enabled
    assert notifier.ready("up")
    assert notifier.status("x")
    assert notifier.watchdog()
    assert notifier.stopping()


def test_a_full_queue_does_not_block_and_ready_is_not_lost(manager: socket.socket) -> None:
    notifier = Notifier.from_environment(environment_of(manager))
    while notifier.watchdog():
        pass
    assert not notifier.ready("up")
    assert not notifier.status("1 connection")
    assert not notifier.status("1 connection")
    assert set(received(manager)) == {"WATCHDOG=1\n"}
    assert notifier.status("1 connection")
    assert received(manager) == ["WATCHDOG=1\nREADY=1\nSTATUS=1 connection\n"]
    assert notifier.status("1 connection")
    assert received(manager) == []


def test_a_manager_that_is_gone_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    notifier = Notifier(str(path))
    assert not notifier.ready("up")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.setblocking(False)
        assert notifier.watchdog()
        assert received(manager) == ["READY=1\nSTATUS=up\nWATCHDOG=1\n"]


def fill(notifier: Notifier) -> None:
    while notifier.watchdog():
        pass


def test_a_reload_that_systemd_did_not_hear_of_is_over(manager: socket.socket) -> None:
    notifier = Notifier.from_environment(environment_of(manager))
    notifier.ready("up")
    fill(notifier)
    assert not notifier.reloading("reloading")
    assert not notifier.ready("up again")
    received(manager)
    assert notifier.watchdog()
    assert received(manager) == ["WATCHDOG=1\nSTATUS=up again\nREADY=1\n"]


def test_no_reload_before_systemd_heard_of_the_start(manager: socket.socket) -> None:
    notifier = Notifier.from_environment(environment_of(manager))
    fill(notifier)
    assert not notifier.ready("up")
    assert not notifier.reloading("reloading")
    received(manager)
    assert notifier.watchdog()
    assert received(manager) == ["WATCHDOG=1\nREADY=1\nSTATUS=reloading\n"]
