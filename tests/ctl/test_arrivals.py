"""Descriptors and blobs that come back, and the file of --output."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from superd.ctl.arrivals import keep_arrival
from superd.ctl.exits import ExitStatus, FileNotWritten
from superd.ctl.output import Output
from superd_client.errors import InvalidResult
from superd_client.wire.limits import BLOB_INLINE_MAX
from tests.ctl.conftest import Superctl

LARGE = BLOB_INLINE_MAX + 1


def open_fds() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_descriptors_are_described(superctl: Superctl) -> None:
    before = open_fds()
    done = superctl("call", "store.album", f"size:={LARGE}", "count:=2")
    assert done.status == ExitStatus.OK
    assert json.loads(done.out) == {
        "title": "b",
        "pictures": [{"memfd": 0, "size": LARGE}, {"memfd": 1, "size": LARGE}],
        "source": 2,
    }
    assert done.err == (
        f"  descriptor 0: a memfd of {LARGE:,} bytes\n"
        f"  descriptor 1: a memfd of {LARGE:,} bytes\n"
        "  descriptor 2: a pipe\n"
    )
    assert open_fds() == before


@pytest.mark.parametrize("size", [1, BLOB_INLINE_MAX, LARGE])
def test_the_bytes_of_blobs_go_to_a_file(superctl: Superctl, tmp_path: Path, size: int) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"what was there before" * 10)
    before = open_fds()
    done = superctl("call", "store.album", f"size:={size}", "count:=3", "--output", str(path))
    assert done.status == ExitStatus.OK, done.err
    assert path.read_bytes() == b"a" * size + b"b" * size + b"c" * size
    assert json.loads(done.out)["title"] == "b"
    assert open_fds() == before


def test_the_blobs_of_a_stream(superctl: Superctl, tmp_path: Path) -> None:
    path = tmp_path / "out"
    before = open_fds()
    done = superctl("call", "--stream", "store.pages", f"size:={LARGE}", "count:=3", "--output", str(path))
    assert (done.status, done.out.count("\n")) == (ExitStatus.OK, 3), done.err
    assert path.read_bytes() == b"a" * LARGE + b"b" * LARGE + b"c" * LARGE
    assert open_fds() == before


def test_where_no_blob_comes(superctl: Superctl, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old", "utf-8")
    done = superctl("call", "echo.echo", "text=a", "--output", str(path))
    assert (done.status, done.out) == (ExitStatus.NOT_WRITTEN, '{"text":"a"}\n')
    assert done.err == f"superctl: {path}: nothing was written, for no blob came\n"
    assert path.read_text("utf-8") == "old"


def test_a_call_that_fails_leaves_the_file_alone(superctl: Superctl, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old", "utf-8")
    assert superctl("call", "store.fail", "--output", str(path)).status == ExitStatus.FAILED
    assert path.read_text("utf-8") == "old"


def test_a_file_that_is_full(superctl: Superctl) -> None:
    done = superctl("call", "store.album", "size:=1", "--output", "/dev/full")
    assert done.status == ExitStatus.NOT_WRITTEN
    assert done.err.endswith("superctl: /dev/full: No space left on device\n")


@pytest.mark.parametrize("path", ["/nonexistent/file", "/", "\0"])
def test_a_file_that_cannot_be_opened(superctl: Superctl, path: str) -> None:
    done = superctl("call", "store.album", "size:=1", "--output", path)
    assert (done.status, done.out) == (ExitStatus.USAGE, "")
    assert "cannot be written: " in done.err


def sealed(size: int) -> int:
    """A memfd that a blob may have."""
    import fcntl

    fd = os.memfd_create("blob", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, b"x" * size)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def plain_memfd(size: int) -> int:
    fd = os.memfd_create("blob", os.MFD_CLOEXEC)
    os.write(fd, b"x" * size)
    return fd


@pytest.mark.parametrize(
    ("value", "make", "fault"),
    [
        ({"memfd": 0, "size": 5}, sealed, "blob_size"),
        ({"memfd": 0, "size": 4}, plain_memfd, "blob_not_sealed"),
        ({"memfd": 0, "size": 4}, lambda _: os.open("/dev/null", os.O_RDONLY), "blob_not_memfd"),
        ({"memfd": 1, "size": 4}, sealed, "fd_missing"),
        ({"memfd": -1, "size": 4}, sealed, "greater_than_equal"),
        ({"memfd": True, "size": 4}, sealed, "int_type"),
        ({"memfd": "0", "size": 4}, sealed, "int_type"),
        ([{"memfd": 0, "size": 4}, {"memfd": 0, "size": 4}], sealed, "fd_missing"),
        ({"inline": "no base64"}, sealed, "blob_base64"),
    ],
)
def test_blobs_that_cannot_be_taken(tmp_path: Path, value: Any, make: Any, fault: str) -> None:
    before = open_fds()
    with Output(str(tmp_path / "out")) as output, keep_arrival(value, [make(4)]) as arrival:
        with pytest.raises(InvalidResult) as caught:
            output.write(arrival, "a.b")
        assert [each["type"] for each in caught.value.data["errors"]] == [fault]
    assert open_fds() == before


def test_a_pipe_as_the_file(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with Output(str(path)) as output, keep_arrival({"k": [{"inline": "YWI="}, 1]}, []) as arrival:
            output.write(arrival, "a.b")
            output.write(arrival, "a.b")
            output.finish()
        assert os.read(reading, 100) == b"abab"
    finally:
        os.close(reading)


def test_a_new_file_obeys_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "out"
    old = os.umask(0o027)
    try:
        with Output(str(path)) as output, pytest.raises(FileNotWritten, match="no blob came"):
            output.finish()
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
