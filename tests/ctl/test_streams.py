"""What superctl does with streams, uploads, one-way calls and descriptors, against the real daemon."""

import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from superd.ctl.exits import ExitStatus
from superd_client.wire.limits import NESTING_MAX
from tests.ctl.conftest import ROOT, START_DEADLINE, Daemon, Superctl


def nested(depth: int) -> str:
    return "[" * depth + "0" + "]" * depth


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
        [*command, "store.ticks", "--call-id", "test:ticks"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=START_DEADLINE)
    assert process.returncode == ExitStatus.INTERRUPTED, error
    # It cancels and closes: where both are there at once, the daemon may see the end first.
    daemon.await_log(
        r"(call failed: store.ticks .*: cancelled: |peer vanished, call cancelled: store.ticks ).*\[call test:ticks\]"
    )


def test_items_of_an_upload_from_a_file(superctl: Superctl, tmp_path: Path) -> None:
    file = tmp_path / "items"
    file.write_text("1\n2\n\n 3\n", "utf-8")
    done = superctl("call", "store.add_up", "count:=10", "--upload", str(file))
    assert (done.status, done.out) == (ExitStatus.OK, "16\n")


def test_items_of_an_upload_from_standard_input(superctl: Superctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"1\n" * 1000)))
    assert superctl("call", "store.add_up", "count:=0", "--upload", "-").out == "1000\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n{\n", "line 2: not JSON: "),
        ("NaN\n", "line 1: NaN is not JSON"),
        ("1\n1e999\n", "line 2: Out of range float values"),
        (f"{nested(NESTING_MAX - 1)}\n", "line 1: arrays and objects of a message nest at most"),
        ('1\n"\\ud800"\n', "line 2': not text that UTF-8 can say"),
    ],
)
def test_a_line_that_is_no_item(superctl: Superctl, tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "items"
    file.write_text(text, "utf-8")
    done = superctl("call", "store.add_up", "count:=0", "--upload", str(file))
    assert (done.status, done.out) == (ExitStatus.FAILED, "")
    assert message in done.err.splitlines()[0]
    assert done.err.splitlines()[1:] == ["  the upload was begun, and was cancelled"]


def test_an_item_that_nests_as_deep_as_it_may(superctl: Superctl, tmp_path: Path) -> None:
    file = tmp_path / "items"
    file.write_text(nested(NESTING_MAX - 2), "utf-8")
    done = superctl("call", "store.add_up", "count:=0", "--upload", str(file))
    assert done.status == ExitStatus.REFUSED
    assert "Input should be a valid integer" in done.err


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
    daemon.await_log("count=7")


def test_notify_where_nobody_listens(superctl: Superctl, tmp_path: Path) -> None:
    done = superctl("--socket", str(tmp_path / "none"), "notify", "store.remember", "count:=7")
    assert done.status == ExitStatus.NOT_SENT


def test_list_and_describe_tell_streams_from_calls(superctl: Superctl) -> None:
    lines = [re.sub(" {2,}", "  ", line) for line in superctl("list", "store.").out.splitlines()]
    assert "store.count(count: integer) -> stream of integer  Count." in lines
    assert "store.add_up(count: integer) <- stream of integer -> integer  Add up." in lines
    assert (
        "store.pages(size: integer, count: integer = 1) -> stream of blob  Give blobs, one after the other."
        in lines
    )
    assert "store.read_file(name: string, file: fd) -> string  Read what was opened." in lines
    described = superctl("describe", "store.count").out
    assert "\nItem integer" in described
    assert "\nResult" not in described
    assert "\nResult integer" in superctl("describe", "store.add_up").out


# --- one kind taken for another -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (
            ["store.ticks"],
            ExitStatus.UNKNOWN,
            "  store.ticks is a stream: superctl call --stream store.ticks",
        ),
        (
            ["store.ticks", "--upload", "/dev/null"],
            ExitStatus.UNKNOWN,
            "  store.ticks is a stream: superctl call --stream store.ticks",
        ),
        (
            ["store.add_up", "count:=1", "--timeout", "50ms"],
            ExitStatus.UNKNOWN,
            "  store.add_up is an upload: superctl call --upload FILE store.add_up",
        ),
        (
            ["store.add_up", "count:=1", "--stream", "--timeout", "50ms"],
            ExitStatus.UNKNOWN,
            "  store.add_up is an upload: superctl call --upload FILE store.add_up",
        ),
        (
            ["echo.echo", "text=a", "--stream"],
            ExitStatus.FAILED,
            "superctl: echo.echo is neither a stream nor an upload: superctl call echo.echo",
        ),
    ],
)
def test_what_is_of_another_kind(
    superctl: Superctl, arguments: list[str], status: ExitStatus, line: str
) -> None:
    done = superctl("call", *arguments)
    assert (done.status, done.out) == (status, "")
    assert line in done.err.splitlines()


def test_kinds_for_scripts(superctl: Superctl) -> None:
    kinds = {
        method["name"]: method["kind"] for method in json.loads(superctl("list", "--json", "store.").out)
    }
    assert (kinds["store.count"], kinds["store.add_up"], kinds["store.fail"]) == ("stream", "upload", "call")


# --- other kinds of sockets -----------------------------------------------------------------------------------------


def test_sequenced_packets(superctl: Superctl, daemon: Daemon) -> None:
    for option in ("--socket", "--address"):
        done = superctl(option, daemon.by("unix-seqpacket"), "call", "--stream", "store.count", "count:=2")
        assert (done.status, done.out, done.err) == (ExitStatus.OK, "0\n1\n", "")


def test_datagrams(superctl: Superctl, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERD_SOCKET", daemon.by("unix-dgram"))
    assert superctl("call", "echo.echo", "text=a").out == '{"text":"a"}\n'
    assert "store.count" in superctl("list").out
    assert superctl("notify", "store.remember", "count:=8").status == ExitStatus.OK
    daemon.await_log("count=8")
    done = superctl("call", "--stream", "store.count", "count:=2")
    assert (done.status, done.out) == (ExitStatus.NOT_SENT, "")
    assert "use a stream or seqpacket socket" in done.err
