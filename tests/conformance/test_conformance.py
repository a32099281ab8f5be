"""Our own daemon, judged by the programme that judges others, on each type of socket."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from threading import Thread
from typing import Final

import pytest

from tests.conformance.__main__ import judge, main, meet, report
from tests.conformance.checks import CHECKS
from tests.conformance.judging import ALL, Check
from tests.conformance.peer import frame, parse
from tests.daemon.process import ROOT, Superd

SERVICE: Final = "--service=tests.conformance.service:conformance"
PREFIXES: Final = {"stream": "unix", "seqpacket": "unix-seqpacket", "datagram": "unix-dgram"}
PATIENCE: Final = 5.0


def address(folder: Path, kind: str) -> str:
    return f"{PREFIXES[kind]}:{folder / kind}"


@contextlib.contextmanager
def daemon_on_all_sockets(folder: Path) -> Iterator[Superd]:
    """Superd at three sockets. A thread reads what it logs, which is much: it would wait for us otherwise."""
    listening = [f"--listen={address(folder, kind)}" for kind in ALL]
    daemon = Superd(*listening, SERVICE, path=folder / "stream")
    reader = Thread(target=read_log, args=(daemon,))
    try:
        daemon.started()
        reader.start()
        yield daemon
    finally:
        daemon.process.kill()
        if reader.ident is not None:
            reader.join()
        daemon.kill()


def read_log(daemon: Superd) -> None:
    assert daemon.process.stderr is not None
    while os.read(daemon.process.stderr.fileno(), 1 << 16):
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("sockets")
    with daemon_on_all_sockets(folder):
        yield folder


def label(check: Check) -> str:
    """The vectors of one file are one test; every dialogue is one of its own."""
    head, _, _ = check.name.partition(": ")
    return head if head.endswith(".json") else check.name


def groups(*, stops: bool) -> Iterator[object]:
    chosen = [check for check in CHECKS if check.stops == stops]
    for name, checks in groupby(chosen, key=label):
        together = list(checks)
        for kind in ALL:
            if any(kind in check.sockets for check in together):
                yield pytest.param(kind, together, id=f"{kind}: {name}")


def failures(where: str, checks: list[Check], pid: int | None = None) -> list[str]:
    server = meet(parse(where), PATIENCE, pid)
    findings = list(judge(server, [], checks))
    assert findings
    return [f"{finding.check.name}: {finding.text}" for finding in findings if finding.verdict == "FAIL"]


@pytest.mark.parametrize(("kind", "checks"), list(groups(stops=False)))
def test_superd_conforms(folder: Path, kind: str, checks: list[Check]) -> None:
    assert failures(address(folder, kind), checks) == []


@pytest.mark.parametrize(("kind", "checks"), list(groups(stops=True)))
def test_superd_stops_as_it_should(tmp_path: Path, kind: str, checks: list[Check]) -> None:
    with daemon_on_all_sockets(tmp_path) as daemon:
        assert failures(address(tmp_path, kind), checks, daemon.process.pid) == []
        assert daemon.process.wait(PATIENCE) == 0


def test_names_of_checks_are_their_own() -> None:
    names = [(check.name, kind) for check in CHECKS for kind in check.sockets]
    assert len(names) == len(set(names))


def test_it_knows_sockets_and_json_alone() -> None:
    script = "import sys, tests.conformance.__main__; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    tops = {name.partition(".")[0] for name in found.stdout.split()}
    ours = {name for name in tops if name not in sys.stdlib_module_names and not name.startswith("_")}
    # What editable installations and certificates of this environment load at every start is not ours.
    at_start = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"], check=True, capture_output=True, text=True
    )
    assert ours - {name.partition(".")[0] for name in at_start.stdout.split()} == {"tests"}


# --- the programme ----------------------------------------------------------------------------------------------------------


def test_the_report_of_a_server_that_conforms(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([address(folder, "stream"), "--clause", "2", "--clause", "7.5.1", "--patience", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["2.6", "pass"] for line in lines)
    assert any(line.split()[:2] == ["7.5.1", "n/a"] and line.endswith("seen from outside") for line in lines)
    assert not any(line.strip().startswith("3.") for line in lines)
    assert lines[-1].endswith("n/a")
    assert ", 0 FAIL, " in lines[-1]


@contextlib.contextmanager
def wrong_server(path: Path) -> Iterator[str]:
    """Says of every request that its result is 7."""
    with socket(AF_UNIX, SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = Thread(target=answer_wrongly, args=(listener,))
        thread.start()
        try:
            yield f"unix:{path}"
        finally:
            with socket(AF_UNIX, SOCK_STREAM) as last:
                last.connect(str(path))
                last.sendall(b"stop")
            thread.join()


def answer_wrongly(listener: socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(1 << 20):
                if data == b"stop":
                    return
                request = json.loads(data[4:])
                connection.sendall(
                    frame(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": 7}).encode())
                )


def test_a_server_that_does_not_conform(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with wrong_server(tmp_path / "s") as where:
        assert main([where, "--clause", "1.2", "--clause", "13.4", "--verbose"]) == 1
    out = capsys.readouterr().out
    assert "  1.2  FAIL  0 of 1 checks" in out
    assert (
        "expected {'jsonrpc': '2.0', 'id': 1, 'result': 'hello'}; saw {'jsonrpc': '2.0', 'id': 1, 'result': 7}"
        in out
    )
    assert ", 2 FAIL, " in out


def test_nobody_to_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"unix:{tmp_path / 'nobody'}"]) == 2
    assert "No such file" in capsys.readouterr().err
    assert main(["tcp:localhost"]) == 2
    assert "is no address" in capsys.readouterr().err


def test_a_report_has_every_clause_once(folder: Path) -> None:
    server = meet(parse(address(folder, "stream")), PATIENCE, None)
    lines = list(report(server, [], [], everything=False))
    numbers = [line.split()[0] for line in lines[1:-1]]
    assert len(numbers) == len(set(numbers)) > 150
