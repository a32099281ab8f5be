"""What the daemon says of itself, where the process tests do not reach."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from superd import report
from superd.report import StatusLine, own_unit, systemd_version, unit_of_service
from superd.sd.notify import Notifier


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """The version is asked for once in a process: each test asks anew."""
    systemd_version.cache_clear()
    yield
    systemd_version.cache_clear()


def booted(monkeypatch: pytest.MonkeyPatch, *, systemd: bool) -> None:
    monkeypatch.setattr(Path, "is_dir", lambda self: systemd)


def test_without_systemd_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    booted(monkeypatch, systemd=False)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("asked"))
    assert systemd_version() is None


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("systemd 252 (252.39-1~deb12u1)\n+PAM +AUDIT\n", "252"),
        ("systemd 257.8\n", "257.8"),
        ("something else\n", None),
        ("", None),
    ],
)
def test_the_version_of_systemd(monkeypatch: pytest.MonkeyPatch, output: str, version: str | None) -> None:
    booted(monkeypatch, systemd=True)
    answers = iter([subprocess.CompletedProcess([], 0, output)])
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: next(answers))
    assert systemd_version() == version
    assert systemd_version() == version, "asked once"


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(),
        subprocess.TimeoutExpired("systemctl", 5),
        subprocess.CalledProcessError(1, "systemctl"),
    ],
)
def test_a_systemctl_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    booted(monkeypatch, systemd=True)
    monkeypatch.setattr(subprocess, "run", fail)
    assert systemd_version() is None


def test_the_own_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = iter(["0::/system.slice/superd.service\n"])
    monkeypatch.setattr(Path, "read_text", lambda self, _: next(texts))
    assert own_unit() == "superd.service"


def test_a_unit_of_a_user_is_for_his_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    cgroup = "0::/user.slice/user-7.slice/user@7.service/app.slice/superd@a.service\n"
    monkeypatch.setattr(Path, "read_text", lambda self, _: cgroup)
    monkeypatch.setenv("SYSTEMD_EXEC_PID", "1")
    assert unit_of_service() is None
    monkeypatch.setenv("SYSTEMD_EXEC_PID", str(os.getpid()))
    units = unit_of_service()
    assert units is not None
    assert (units.name, units.systemctl) == ("superd@a.service", ("systemctl", "--user"))
    cgroup = "0::/\n"
    units = unit_of_service()
    assert units is not None
    assert (units.name, units.systemctl) == ("superd.service", ("systemctl",))


def test_without_proc_there_is_no_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> NoReturn:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", fail)
    assert own_unit() is None


class Lines:
    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        return "a line"


def test_the_line_is_sent_once_for_many_changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(report, "STATUS_INTERVAL", 0.01)

    async def main() -> None:
        lines = Lines()
        status_line = StatusLine(Notifier(str(tmp_path / "nobody")), lines)
        status_line.changed()
        status_line.start(asyncio.get_running_loop())
        for _ in range(100):
            status_line.changed()
        async with asyncio.timeout(10):
            while not lines.asked:  # noqa: ASYNC110 - a turn of the loop is what is waited for
                await asyncio.sleep(0)
        assert lines.asked == 1
        status_line.changed()
        status_line.stop()
        status_line.changed()
        status_line.stop()
        await asyncio.sleep(0)
        assert lines.asked == 1

    asyncio.run(main())


def test_without_systemd_no_line_is_made() -> None:
    async def main() -> None:
        lines = Lines()
        status_line = StatusLine(Notifier(None), lines)
        status_line.start(asyncio.get_running_loop())
        status_line.changed()
        status_line.stop()
        assert lines.asked == 0

    asyncio.run(main())
