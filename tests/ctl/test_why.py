"""superctl why: what it makes of entries. tests/system asks a real journal."""

import datetime as dt
import io
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from superd.ctl.asking_why import as_line, tell
from superd.ctl.console import Console
from superd.ctl.exits import ExitStatus
from superd.journal import Entry, MessageId, journal_fields
from tests.ctl.conftest import Superctl

NOON = dt.datetime(2026, 5, 4, 12, 0, 0, 250_000, tzinfo=dt.UTC)


def entry(
    event: str, message_id: MessageId | None = None, *, unit: str = "superd.service", **fields: object
) -> dict[str, Any]:
    """What python-systemd makes of a line that superd writes."""
    written: dict[str, Any] = journal_fields(
        Entry("warning", event, {"call_id": "c-1", **fields}, message_id)
    )
    if message_id is not None:
        written["MESSAGE_ID"] = uuid.UUID(message_id)
    return {**written, "__REALTIME_TIMESTAMP": NOON, "_SYSTEMD_UNIT": unit}


def told(*entries: dict[str, Any], unit: str = "superd.service", manager: str | None = None) -> list[str]:
    stream = io.StringIO()
    tell("c-1", [as_line(each, unit, manager) for each in entries], Console(stream))
    return stream.getvalue().splitlines()


DENIED = entry(
    "call denied",
    MessageId.CALL_DENIED,
    method="inventory.add",
    peer_uid=1000,
    peer_gid=1001,
    peer_groups=[27, 1001],
    peer_unit="romd.service",
    peer_pid=77,
    code=-32001,
    reason="permission denied",
    rule="/etc/superd/policy.d/50.toml:3",
)


def test_who_what_and_which_rule() -> None:
    assert told(DENIED) == [
        "call c-1: denied",
        "    time: 2026-05-04 12:00:00.250000 UTC",
        "  method: inventory.add",
        "  caller: uid 1000, gid 1001, groups 27,1001, unit romd.service, pid 77",
        "  reason: permission denied",
        "    code: -32001",
        "    rule: /etc/superd/policy.d/50.toml:3",
        " said by: superd.service",
    ]


@pytest.mark.parametrize(
    ("event", "message_id", "outcome"),
    [
        ("call refused", MessageId.CALL_REFUSED, "refused"),
        ("call failed", MessageId.CALL_FAILED, "failed"),
        ("peer vanished, call cancelled", MessageId.PEER_VANISHED, "cancelled, the caller went away"),
        ("call served", None, "served"),
    ],
)
def test_outcomes(event: str, message_id: MessageId | None, outcome: str) -> None:
    lines = told(entry(event, message_id, method="a.b", duration_usec=1500))
    assert lines[0] == f"call c-1: {outcome}"
    assert "    took: 1.5ms" in lines


def test_what_others_write_is_not_taken_for_superds_word() -> None:
    """Any program may write an entry that looks like one of superd's; the unit is journald's word."""
    forged = entry("call served", unit="session-3.scope", method="inventory.add")
    assert told(forged, DENIED)[-2:] == [
        "Others say",
        "  2026-05-04 12:00:00 session-3.scope: call served: inventory.add [call c-1]",
    ]
    assert told(forged)[0] == "Others say"
    assert told(forged, unit="session-3.scope")[0] == "call c-1: served"


def test_of_units_of_users_the_users_own_alone_are_believed() -> None:
    denied = {**DENIED, "_SYSTEMD_UNIT": "user@7.service", "_SYSTEMD_USER_UNIT": "superd.service"}
    assert told(denied, manager="user@7.service")[0] == "call c-1: denied"
    assert told(denied, manager="user@7.service")[-1] == " said by: superd.service"
    assert told(denied, manager="user@8.service")[0] == "Others say"
    assert told(denied)[1].startswith("  2026-05-04 12:00:00 user@7.service: call denied")


def test_what_others_write_does_not_reach_the_terminal_raw() -> None:
    hostile = {**entry("x", unit="a.service"), "MESSAGE": "\x1b[2J\nsecond", "_SYSTEMD_UNIT": ["a\x07", "b"]}
    assert told(hostile) == ["Others say", "  2026-05-04 12:00:00 a\\u0007, b: \\u001b[2J"]
    assert told({**hostile, "MESSAGE": b"\xff"})[1].endswith(": \\xff")


def test_a_duration_that_is_none() -> None:
    assert told(entry("call served", duration_usec="soon")) == told(entry("call served"))


def test_a_journal_that_has_nothing(superctl: Superctl, tmp_path: Path) -> None:
    done = superctl("why", "c-1", "-D", str(tmp_path))
    assert (done.status, done.out) == (ExitStatus.FAILED, "")
    assert done.err.startswith("superctl: the journal has nothing of the call c-1 that you may read\n")
    done = superctl("why", "c-1", "--json", "-D", str(tmp_path))
    assert (done.status, json.loads(done.out)) == (ExitStatus.FAILED, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a b"], "a call id has"),
        ([], "required: CALL_ID"),
        (["c-1", "-D", "/no such folder"], "/no such folder cannot be read: No such file or directory"),
    ],
)
def test_wrong_command_lines(superctl: Superctl, arguments: list[str], message: str) -> None:
    done = superctl("why", *arguments)
    assert (done.status, done.out) == (ExitStatus.USAGE, "")
    assert message in done.err
