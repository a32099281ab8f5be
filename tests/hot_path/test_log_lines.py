"""The log lines of a sequential call: none, in the journal as shipped."""

import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from superd_client.builtin import Nothing
from superd_client.errors import InternalError
from tests.daemon.process import Superd
from tests.daemon.raw import PATIENCE
from tests.hot_path.bounds import LOG_LINES
from tests.hot_path.conftest import PROBE, SERVICES, calling
from tests.hot_path.probe import fail

#: Fewer than a socket takes that is not read from: net.unix.max_dgram_qlen, 10 where it is least.
CALLS: Final = 5

#: Lets a program find another socket where the journal's is, in a mount namespace of its own.
OWN_JOURNAL = """\
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && mount --bind "$0" /run/systemd/journal && exec "$@"
"""


@contextmanager
def journal(folder: Path) -> Iterator[socket.socket]:
    """What stands for journald: the socket `socket` in a folder."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(folder / "socket"))
        receiver.settimeout(PATIENCE)
        yield receiver


def next_message(receiver: socket.socket) -> str:
    """The first line of the next record's MESSAGE."""
    found = re.search(rb"^MESSAGE(?:=|\n.{8})([^\n]*)", receiver.recv(1 << 16), re.MULTILINE | re.DOTALL)
    assert found
    return found[1].decode()


@contextmanager
def logging_daemon(folder: Path) -> Iterator[Superd]:
    """A daemon whose journal is the socket in `folder`."""
    daemon = Superd(
        f"--listen=unix:{folder / 's'}",
        f"--service={SERVICES['inventory']}",
        f"--service={PROBE}",
        path=folder / "s",
        program=["unshare", "--mount", "sh", "-c", OWN_JOURNAL, str(folder), sys.executable, "-m", "superd"],
        environment={"SUPERD_LOG_TARGET": "journal"},
    )
    try:
        yield daemon
    finally:
        daemon.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can put another socket where the journal's is")
@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_call_that_succeeds_is_not_logged(kind: str, tmp_path: Path) -> None:
    """The line of a call that fails is the next one after that of the start."""
    with journal(tmp_path) as receiver, logging_daemon(tmp_path) as daemon:
        while not next_message(receiver).startswith("started"):
            pass
        with calling(kind, daemon, CALLS) as caller, pytest.raises(InternalError):
            caller.ask(fail, Nothing())
        lines = 0
        while "probe.fail" not in next_message(receiver):
            lines += 1
    assert lines == LOG_LINES
