"""Half an installation: a line that says so, to people and to systemd, and no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from superd.incomplete import explain, how_to_mend
from tests.daemon.manager import Manager

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A folder whose pydantic is as an unpacking that ended half-way leaves it."""
    (tmp_path / "pydantic").mkdir()
    (tmp_path / "pydantic/__init__.py").write_text("from ._internal import gone\n")
    return tmp_path


def start(broken: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = ":".join(map(str, (broken, ROOT / "client", ROOT / "daemon")))
    return subprocess.run(
        [sys.executable, "-m", *command],
        env={"PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_daemon_says_so_in_one_line(broken: Path, tmp_path: Path) -> None:
    manager = Manager(tmp_path / "notify")
    try:
        done = start(broken, "superd", NOTIFY_SOCKET=str(manager.address))
        manager.wait_for("STATUS=the installation is not complete (ModuleNotFoundError: No module named")
    finally:
        manager.close()
    assert done.returncode == 78
    assert done.stderr.startswith(
        "superd: the installation is not complete (ModuleNotFoundError: No module named "
    )
    assert ". As root: " in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_mends_it_depends_on_where_it_came_from(tmp_path: Path) -> None:
    assert how_to_mend(str(tmp_path)) == "make install"
    (tmp_path / "superd.list").touch()
    assert how_to_mend(str(tmp_path)) == "dpkg --configure -a && apt-get install --reinstall superd"
    (tmp_path / "python3-pydantic.list").touch()
    (tmp_path / "python3-uvloop:amd64.list").touch()
    assert how_to_mend(str(tmp_path)).endswith("--reinstall superd python3-pydantic python3-uvloop")


def test_an_error_of_several_lines_is_one_line(tmp_path: Path) -> None:
    assert explain(ImportError("no\n such"), str(tmp_path)) == (
        "the installation is not complete (ImportError: no such). As root: make install"
    )
