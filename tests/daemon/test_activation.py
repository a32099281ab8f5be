import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from superd.sd import activation
from superd.sd.activation import ActivationError, take_passed

ACTIVATE: Final = shutil.which("systemd-socket-activate")
needs_activate = pytest.mark.skipif(ACTIVATE is None, reason="systemd-socket-activate is not installed")

#: Says what it was given; run by systemd-socket-activate, or by this test with descriptors of its own.
PROGRAM: Final = """
import json, os, subprocess, sys
from superd.sd.activation import ActivationError, take_passed
try:
    got = take_passed().sockets
except ActivationError as error:
    report = {"error": str(error).splitlines()}
else:
    report = {"sockets": [
        [each.name, each.socket.getsockname(), each.socket.getblocking(), each.socket.get_inheritable()]
        for each in got
    ]}
report["environ"] = sorted(name for name in os.environ if name.startswith("LISTEN_"))
report["child"] = subprocess.run(["/usr/bin/env"], capture_output=True, text=True, check=True).stdout.count("LISTEN_")
report["open"] = [number for number in range(3, 6) if os.path.exists(f"/proc/self/fd/{number}")]
print(json.dumps(report), flush=True)
"""


@pytest.fixture
def activate(tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """Run the program under systemd-socket-activate, by a first connection to the first address."""
    children: list[subprocess.Popen[str]] = []

    def run(*options: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> dict[str, Any]:
        addresses = [option.partition("=")[2] for option in options if option.startswith("--listen=")]
        assert ACTIVATE is not None
        # It hands on PATH and little else of the environment: coverage of children, and the import path, by name.
        kept = [f"--setenv={name}" for name in os.environ if name.startswith(("COVERAGE_", "PYTHON"))]
        command = [ACTIVATE, *kept, *options, sys.executable, "-c", PROGRAM]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        children.append(child)
        knock(addresses[0], kind, child)
        output, _ = child.communicate(timeout=60)
        result: dict[str, Any] = json.loads(output)
        return result

    yield run
    for child in children:
        child.kill()
        child.communicate()


def knock(address: str, kind: socket.SocketKind, child: subprocess.Popen[str]) -> None:
    """Connect, or send, as soon as the address is there."""
    family, where = (
        (socket.AF_UNIX, address)
        if address.startswith("/")
        else (socket.AF_INET, ("127.0.0.1", int(address)))
    )
    deadline = time.monotonic() + 30
    while child.poll() is None and time.monotonic() < deadline:
        with socket.socket(family, kind) as client:
            try:
                client.connect(where)
                if kind == socket.SOCK_DGRAM:
                    client.send(b"x")
            except (FileNotFoundError, ConnectionRefusedError):
                os.sched_yield()
            else:
                return
    pytest.fail(f"nobody listens at {address}")


def free_port() -> int:
    with socket.socket(socket.AF_INET) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@needs_activate
def test_stream_sockets_with_names(activate: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    result = activate(f"--listen={one}", f"--listen={two}", "--fdname=superd.socket:admin")
    assert result == {
        "sockets": [["superd.socket", one, False, False], ["admin", two, False, False]],
        "environ": [],
        "child": 0,
        "open": [3, 4],
    }


@needs_activate
@pytest.mark.parametrize(
    ("option", "kind"), [("--datagram", socket.SOCK_DGRAM), ("--seqpacket", socket.SOCK_SEQPACKET)]
)
def test_other_types(
    activate: Callable[..., dict[str, Any]], tmp_path: Path, option: str, kind: socket.SocketKind
) -> None:
    path = str(tmp_path / "socket")
    result = activate(f"--listen={path}", option, "--fdname=odd", kind=kind)
    assert result == {"sockets": [["odd", path, False, False]], "environ": [], "child": 0, "open": [3]}


@needs_activate
def test_other_families_are_refused_and_all_is_closed(
    activate: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    result = activate(f"--listen={tmp_path / 'socket'}", f"--listen={free_port()}", "--fdname=good:bad")
    (error,) = result["error"]
    assert error.startswith("descriptor 4 ('bad'): a socket of the family AF_INET")
    assert result["open"] == []


#: Puts descriptors at 3 and up, as systemd does, and runs the program in their presence.
PASS: Final = """
import os, sys
count, pid = int(sys.argv[1]), sys.argv[2]
os.environ["LISTEN_FDS"] = sys.argv[3]
os.environ["LISTEN_PID"] = str(os.getpid()) if pid == "self" else pid
os.environ["LISTEN_PIDFDID"] = "1"
sources = [os.dup(fd) for fd in map(int, sys.argv[4:])]
high = [os.dup2(fd, 20 + number) for number, fd in enumerate(sources)]
os.closerange(3, 20)
for number, fd in enumerate(high):
    os.dup2(fd, 3 + number)
os.closerange(20, 40)
"""


def run_with(*descriptors: int, pid: str = "self", count: str | None = None) -> dict[str, Any]:
    arguments = [str(len(descriptors)), pid, count or str(len(descriptors)), *map(str, descriptors)]
    result = subprocess.run(
        [sys.executable, "-c", PASS + PROGRAM, *arguments],
        pass_fds=descriptors,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def test_descriptors_for_another_process_are_not_touched() -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")
        listener.listen()
        result = run_with(listener.fileno(), pid="1")
    assert result == {"sockets": [], "environ": [], "child": 0, "open": [3]}


def test_all_that_is_wrong_is_named() -> None:
    reader, writer = os.pipe()
    ours, theirs = socket.socketpair()
    packets, others = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, packets, others, open(reader), open(writer):  # noqa: PTH123
        result = run_with(reader, ours.fileno(), packets.fileno())
    assert result["error"] == [
        "descriptor 3 ('unknown'): not a socket",
        "descriptor 4 ('unknown'): a stream socket that does not listen: set Accept=no in its .socket unit",
        "descriptor 5 ('unknown'): a seqpacket socket that does not listen: set Accept=no in its .socket unit",
    ]
    assert result["open"] == []


@pytest.mark.parametrize("count", ["x", "-1", "9" * 30])
def test_a_count_that_is_no_number(count: str) -> None:
    result = run_with(count=count)
    (error,) = result["error"]
    assert error.startswith(f"LISTEN_FDS='{count}' cannot be used")
    assert result["environ"] == []


def test_nothing_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTEN_FDS", raising=False)
    assert take_passed().sockets == []


@pytest.mark.parametrize(
    ("count", "names", "reason"),
    [
        ("1", "a:b", "LISTEN_FDNAMES has 2 names"),
        ("2", "a", "LISTEN_FDNAMES has 1 names"),
        ("1", None, "Bad file descriptor"),
        (str((1 << 20) - 1), None, "Bad file descriptor"),
        (str(1 << 20), None, "Bad file descriptor"),
        (str((1 << 20) + 1), None, "it is not a number up to 1048576"),
    ],
)
def test_what_is_said_is_not_there(
    monkeypatch: pytest.MonkeyPatch, count: str, names: str | None, reason: str
) -> None:
    monkeypatch.setattr(activation, "_FIRST", os.sysconf("SC_OPEN_MAX"))  # of this process none is touched
    monkeypatch.setenv("LISTEN_FDS", count)
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    if names is not None:
        monkeypatch.setenv("LISTEN_FDNAMES", names)
    with pytest.raises(ActivationError, match=reason):
        take_passed()
    assert not [name for name in os.environ if name.startswith("LISTEN_")]
