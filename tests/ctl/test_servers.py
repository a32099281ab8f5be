"""superctl against servers that are not this superd: what they may answer, and what they should not."""

from pathlib import Path
from typing import Any

import pytest

from superd.ctl.console import standard_streams
from superd.ctl.exits import ExitStatus
from superd.ctl.session import Session
from superd_client.builtin import Listener, ServiceInfo, Status, Usage
from superd_client.wire.errors import ErrorObject
from tests.ctl.canned import serve
from tests.ctl.conftest import Superctl
from tests.ctl.terminal import Terminal

HOSTILE = "\x1b]0;pwned\x07\u202e\x9b"

STATUS = Status(
    version="9.9.9",
    uptime_usec=93_784_000_000,
    pid=1234,
    unit="superd.service",
    invocation_id="0123456789abcdef0123456789abcdef",
    systemd_version="252",
    listeners=(
        Listener(address="unix:/run/superd/superd.sock", name="superd.socket", activated=True),
        Listener(address="unix:@other", name=None, activated=True),
    ),
    services=(
        ServiceInfo(name="echo", version="1", methods=1),
        ServiceInfo(name="store", version="2", methods=0),
    ),
    connections=1,
    connections_accepted=1_234_567,
    connections_refused=2,
    calls_served=1_000,
    calls_failed=3,
    calls_refused=4,
    calls_in_flight=5,
    notifications=6,
    notifications_failed=7,
    loop_lag_usec=120,
    loop_lag_max_usec=4_500,
    usage=(
        Usage(resource="calls", used=5, limit=16_384, users=2, fullest_uid=1001, fullest_used=4),
        Usage(resource="bytes", used=4096, limit=1 << 28, users=1, fullest_uid=None, fullest_used=None),
    ),
)


def test_a_status_under_systemd(superctl: Superctl, tmp_path: Path) -> None:
    with serve(
        tmp_path, {"superd.status": {**STATUS.model_dump(mode="json"), "of_a_later_release": 1}}
    ) as address:
        done = superctl("status", "--socket", address)
    assert (done.status, done.err) == (ExitStatus.OK, "")
    assert done.out == (
        "● superd 9.9.9\n"
        "       Uptime: 1d 2h\n"
        "          PID: 1234\n"
        "         Unit: superd.service\n"
        "   Invocation: 0123456789abcdef0123456789abcdef\n"
        "      systemd: 252\n"
        "    Listeners: unix:/run/superd/superd.sock (systemd, superd.socket)\n"
        "               unix:@other (systemd)\n"
        "  Connections: 1 open, 1,234,567 accepted, 2 refused\n"
        "        Calls: 5 in flight, 1,000 served, 3 failed, 4 refused\n"
        "       Quotas: calls: 5 of 16,384, 2 users, most by uid 1001: 4\n"
        "               bytes: 4,096 of 268,435,456, 1 user\n"
        "Notifications: 6, 7 failed\n"
        "     Loop lag: 120us, 4.5ms at most\n"
        "     Services: echo 1 (1 method)\n"
        "               store 2 (0 methods)\n"
    )


def test_a_status_that_is_none(superctl: Superctl, tmp_path: Path) -> None:
    with serve(tmp_path, {"superd.status": {"version": 1}}) as address:
        done = superctl("status", "--socket", address)
    assert (done.status, done.out) == (ExitStatus.FAILED, "")
    assert "  version: Input should be a valid string\n" in done.err
    assert "  pid: Field required\n" in done.err


@pytest.mark.parametrize(
    ("error", "status", "lines"),
    [
        (ErrorObject(-32000, "", {}), ExitStatus.FAILED, []),
        (
            ErrorObject(-32000, "no", {"type": HOSTILE, "detail": {"k": HOSTILE}}),
            ExitStatus.FAILED,
            ["pwned"],
        ),
        (ErrorObject(-32000, "no", {"type": "Bare"}), ExitStatus.FAILED, ["  Bare\n"]),
        (ErrorObject(-32001, HOSTILE, {}), ExitStatus.REFUSED, ["pwned"]),
        (
            ErrorObject(-32002, "full", {"resource": "calls", "used": 9, "limit": 9}),
            ExitStatus.REFUSED,
            ["  resource: calls\n", "  used: 9\n", "  limit: 9\n"],
        ),
        (ErrorObject(-32004, "stopped", {}), ExitStatus.FAILED, ["superctl: a.b: stopped\n"]),
        (ErrorObject(-32005, "stopping", {}), ExitStatus.REFUSED, ["superctl: a.b: stopping\n"]),
        (ErrorObject(-32006, "too large", {"limit": 1, "length": 2}), ExitStatus.FAILED, ["too large"]),
        (ErrorObject(-32601, "no", {"nearest": []}), ExitStatus.REFUSED, ["superctl: a.b: no such method\n"]),
        (ErrorObject(-32601, "no", {"nearest": 7}), ExitStatus.REFUSED, ["superctl: a.b: no such method\n"]),
        (ErrorObject(-32601, "no", {"nearest": [HOSTILE]}), ExitStatus.REFUSED, ["  did you mean"]),
        (ErrorObject(-32602, "positional", {}), ExitStatus.REFUSED, ["superctl: a.b: positional\n"]),
        (
            ErrorObject(
                -32602, "wrong", {"errors": [{"loc": ["a", 0], "msg": HOSTILE}, {}, 7], "omitted": 40}
            ),
            ExitStatus.REFUSED,
            ["  a.0: ", "  params: does not fit\n", "  and 40 more\n"],
        ),
        (ErrorObject(-32099, "of a later version", {}), ExitStatus.FAILED, ["of a later version"]),
    ],
)
def test_failures(
    superctl: Superctl, tmp_path: Path, error: ErrorObject, status: ExitStatus, lines: list[str]
) -> None:
    with serve(tmp_path, {"a.b": error}) as address:
        done = superctl("call", "a.b", "--socket", address)
    assert (done.status, done.out) == (status, "")
    assert done.err.startswith("superctl: a.b: ")
    assert all(line.isprintable() for line in done.err.splitlines())
    for line in lines:
        assert line in done.err


def test_a_connection_that_ends(superctl: Superctl, tmp_path: Path) -> None:
    with serve(tmp_path, {"a.b": None}) as address:
        done = superctl("call", "a.b", "--socket", address)
    assert (done.status, done.out) == (ExitStatus.UNKNOWN, "")
    assert "outcome: unknown" in done.err


DOCUMENT: dict[str, Any] = {
    "openrpc": "1.2.6",
    "info": {"title": "t", "version": "1"},
    "methods": [
        {
            "name": f"a.{HOSTILE}",
            "summary": HOSTILE,
            "description": HOSTILE,
            "params": [
                {"name": HOSTILE, "description": HOSTILE, "schema": {"type": HOSTILE, "pattern": HOSTILE}}
            ],
            "result": {"name": "r", "schema": {"$ref": f"#/components/schemas/{HOSTILE}"}},
        },
        {"name": "a.plain", "params": [{"name": "x", "schema": {"default": 1}}]},
    ],
}


def test_a_document_is_remembered_until_somebody_asks_anew(tmp_path: Path) -> None:
    answers: dict[str, Any] = {"rpc.discover": {"methods": []}}
    with serve(tmp_path, answers) as address:
        session = Session(standard_streams(), address=address)
        try:
            assert session.document() == {"methods": []}
            answers["rpc.discover"] = {"methods": ["new"]}
            assert session.document() == {"methods": []}
            assert session.discover() == {"methods": ["new"]}
            assert session.document() == {"methods": ["new"]}
        finally:
            session.close()


def test_a_foreign_document(superctl: Superctl, tmp_path: Path) -> None:
    with serve(tmp_path, {"rpc.discover": DOCUMENT}) as address:
        listed = superctl("list", "--socket", address)
        described = superctl("describe", f"a.{HOSTILE}", "--socket", address)
        plain = superctl("describe", "a.plain", "--socket", address)
    assert listed.status == described.status == plain.status == ExitStatus.OK
    for done in (listed, described, plain):
        assert all(line.isprintable() for line in done.out.splitlines())
    assert "a.plain(x: any = 1) -> any" in listed.out
    assert "  x  any, default 1\n" in plain.out


@pytest.mark.parametrize("document", [{}, {"methods": "none"}, {"methods": [{"name": 7}]}])
def test_what_is_no_document(superctl: Superctl, tmp_path: Path, document: Any) -> None:
    with serve(tmp_path, {"rpc.discover": document}) as address:
        for command in (("list",), ("describe", "a.b")):
            done = superctl(*command, "--socket", address)
            assert (done.status, done.out) == (ExitStatus.FAILED, "")
            assert "not an OpenRPC document" in done.err


def test_a_server_that_does_not_describe_itself(
    superctl: Superctl, environment: dict[str, str], tmp_path: Path
) -> None:
    answers = {"rpc.discover": ErrorObject(-32601, "no such method", {}), "echo.echo": {"text": "x"}}
    with serve(tmp_path, answers) as address:
        done = superctl("list", "--socket", address)
        assert done.status == ExitStatus.REFUSED
        assert "rpc.discover: no such method" in done.err
        with Terminal(["shell", "--socket", address], environment) as terminal:
            terminal.expect("no list of methods.*superd> ")
            terminal.type("ec\tho.echo text=x\r")
            terminal.expect('"x".*superd> ')
            terminal.type("quit\r")
            assert terminal.finish() == ExitStatus.OK
