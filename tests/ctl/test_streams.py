"""What superctl does with streams, uploads, one-way calls and descriptors, against the real daemon."""

import io
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from superd.ctl.exits import ExitStatus
from tests.ctl.conftest import ROOT, START_DEADLINE, Daemon, Superctl


def test_items_come_in_lines(superctl: Superctl) -> None:
    done = superctl("call", "--stream", "store.count", "count:=3")
    assert (done.status, done.out, done.err) == (ExitStatus.OK, "0\n1\n2\n", "")
    assert superctl("call", "store.count", "count:=0", "--stream").out == ""


def test_items_before_a_failure_are_written(superctl: Superctl) -> None:
    done = superctl("call", "--stream", "store.count", "count:=200")
    assert (done.status, done.out.count("\n")) == (ExitStatus.FAILED, 100)
    assert 'OutOfStock: {"sku":"A-1","available":99}' in done.err


def test_a_stream_that_is_refused(superctl: Superctl) -> None:
    assert superctl("call", "--stream", "store.count", "count:=-1").status == ExitStatus.REFUSED


def test_ctrl_c_ends_a_stream(daemon: Daemon) -> None:
    command = [sys.executable, "-m", "superd.ctl", "--socket", daemon.address, "call", "--stream"]
    with subprocess.Popen(
        [*command, "store.ticks"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=START_DEADLINE)
    assert process.returncode == ExitStatus.INTERRUPTED, error


def test_items_of_an_upload_from_a_file(superctl: Superctl, tmp_path: Path) -> None:
    file = tmp_path / "items"
    file.write_text("1\n2\n\n 3\n", "utf-8")
    done = superctl("call", "store.add_up", "count:=10", "--upload", str(file))
    assert (done.status, done.out) == (ExitStatus.OK, "16\n")


def test_items_of_an_upload_from_standard_input(superctl: Superctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"1\n" * 1000)))
    assert superctl("call", "store.add_up", "count:=0", "--upload", "-").out == "1000\n"


@pytest.mark.parametrize(
    ("text", "message"), [("1\n{\n", "line 2: not JSON"), ("NaN\n", "line 1: NaN is not JSON")]
)
def test_a_line_that_is_no_item(superctl: Superctl, tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "items"
    file.write_text(text, "utf-8")
    done = superctl("call", "store.add_up", "count:=0", "--upload", str(file))
    assert (done.status, done.out) == (ExitStatus.USAGE, "")
    assert message in done.err


def test_an_item_that_the_server_refuses(superctl: Superctl, tmp_path: Path) -> None:
    file = tmp_path / "items"
    file.write_text('"one"\n', "utf-8")
    done = superctl("call", "store.add_up", "count:=0", "--upload", str(file))
    assert done.status == ExitStatus.REFUSED


def test_a_descriptor(superctl: Superctl, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("hello", "utf-8")
    before = set(Path("/proc/self/fd").iterdir())
    done = superctl("call", "store.read_file", "name=a", "--fd", f"file={file}")
    assert (done.status, done.out) == (ExitStatus.OK, '"a: hello"\n'), done.err
    assert set(Path("/proc/self/fd").iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fd", "file"], "'file' is no descriptor"),
        (["--fd", "file="], "is no descriptor"),
        (["--fd", "file=/nonexistent"], "/nonexistent: cannot be read"),
        (["--fd", "name=/etc/passwd"], "name is given twice"),
        (["--fd", "x=/etc/passwd", "--fd", "x=/etc/passwd"], "x is given twice"),
        (["--upload", "/nonexistent"], "/nonexistent: cannot be read"),
        (["--upload", "-", "--params", "-"], "not both"),
        (["--upload", "x", "--stream"], "not allowed with"),
    ],
)
def test_wrong_command_lines(superctl: Superctl, arguments: list[str], message: str) -> None:
    done = superctl("call", "store.read_file", "name=a", *arguments)
    assert (done.status, done.out) == (ExitStatus.USAGE, "")
    assert message in done.err


def test_notify(superctl: Superctl, daemon: Daemon) -> None:
    done = superctl("notify", "store.remember", "count:=7", "--call-id", "test:notify")
    assert (done.status, done.out, done.err) == (ExitStatus.OK, "", "")
    deadline = time.monotonic() + START_DEADLINE
    while "count=7" not in daemon.log.read_text("utf-8"):
        assert time.monotonic() < deadline
        superctl("call", "echo.echo", "text=a")


def test_notify_where_nobody_listens(superctl: Superctl, tmp_path: Path) -> None:
    done = superctl("--socket", str(tmp_path / "none"), "notify", "store.remember", "count:=7")
    assert done.status == ExitStatus.NOT_SENT


def test_list_and_describe_tell_streams_from_calls(superctl: Superctl) -> None:
    lines = [re.sub(" {2,}", "  ", line) for line in superctl("list", "store.").out.splitlines()]
    assert "store.count(count: integer) -> stream of integer  Count." in lines
    assert "store.add_up(count: integer) <- stream of integer -> integer  Add up." in lines
    described = superctl("describe", "store.count").out
    assert "\nItem integer" in described
    assert "\nResult" not in described
    assert "\nResult integer" in superctl("describe", "store.add_up").out
