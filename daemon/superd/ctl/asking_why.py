"""superctl why: what became of a call, as the journal tells it: who called, what, what decided."""

import argparse
import datetime as dt
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from superd.ctl.console import Console, Painted, Style
from superd.ctl.exits import ExitStatus, UsageError
from superd.ctl.session import Session
from superd.journal import MessageId
from superd.timespan import format_span
from superd_client.arguments import check_call_id
from superd_client.instances import Instance

EPILOG: Final = """\
What superd wrote is told from what other programs did by the unit that journald saw writing it:
any program may write any call id. Calls that are served are logged at the level debug only.

Exit status: 0 found, 1 the journal has nothing of this call that you may read.
"""

#: The kinds of lines that end a call.
_OUTCOMES: Final[Mapping[str, str]] = {
    MessageId.CALL_DENIED: "denied",
    MessageId.CALL_REFUSED: "refused",
    MessageId.CALL_FAILED: "failed",
    MessageId.PEER_VANISHED: "cancelled, the caller went away",
    MessageId.CONNECTION_REFUSED: "the connection was refused",
    MessageId.FRAMING_LOST: "the connection was closed, its bytes make no frames",
}
_SERVED: Final = "call served"

#: The fields that the account of a call shows, in this order.
_SHOWN: Final = ("time", "method", "caller", "reason", "code", "rule", "took", "said by")


class Line(NamedTuple):
    """An entry of the journal. Whether it is superd's word (`outcome` is set) depends on who wrote it."""

    time: dt.datetime
    writer: str
    message: str
    outcome: str | None
    fields: Mapping[str, str]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `why`."""
    parser.epilog = EPILOG
    parser.add_argument("call_id", metavar="CALL_ID", help="as an error or a log line names it")
    parser.add_argument(
        "--unit", metavar="UNIT", help="superd's unit (default: that of the instance, else superd.service)"
    )
    parser.add_argument("-D", "--directory", metavar="DIR", help="read the journal files of this folder")


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Find the entries and tell what they say."""
    try:
        check_call_id(arguments.call_id)
    except ValueError as error:
        raise UsageError(str(error)) from None
    entries = _read_journal(arguments.call_id, arguments.directory)
    unit, manager = arguments.unit or session.instance.service_unit, _manager(session.instance)
    lines = sorted((as_line(entry, unit, manager) for entry in entries), key=lambda line: line.time)
    out, err = session.streams
    if getattr(arguments, "as_json", False):
        out.json([_as_json(line) for line in lines])
    else:
        tell(arguments.call_id, lines, out)
    if lines:
        return ExitStatus.OK
    err.line(f"superctl: the journal has nothing of the call {arguments.call_id} that you may read")
    err.line('  calls that are served are logged with log_level = "debug" alone')
    err.line("  members of the groups adm and systemd-journal may read what superd writes")
    return ExitStatus.FAILED


def _read_journal(call_id: str, directory: str | None) -> list[dict[str, Any]]:
    """The entries of a call, of all boots; raises UsageError where the journal cannot be opened."""
    try:
        from systemd.journal import Reader
    except ImportError:
        raise UsageError("python-systemd is not installed: without it the journal cannot be read") from None
    try:
        with Reader(path=directory) as reader:
            reader.add_match(SUPERD_CALL_ID=call_id)
            return list(reader)
    except OSError as error:
        raise UsageError(f"{directory or 'the journal'} cannot be read: {error.strerror}") from None


def _manager(instance: Instance) -> str | None:
    """The unit of the service manager that runs a user's superd; None for the system's."""
    return f"user@{os.getuid()}.service" if instance.user else None


def as_line(entry: Mapping[str, Any], unit: str, manager: str | None = None) -> Line:
    """What an entry says, and whether it is the word of superd, which runs as `unit`.

    `manager` is the user's service manager whose unit that is. Of others' units it is not taken: everybody may give his
    own units any name.
    """
    field = "_SYSTEMD_USER_UNIT" if manager and entry.get("_SYSTEMD_UNIT") == manager else "_SYSTEMD_UNIT"
    writer = _text(entry.get(field) or entry.get("_COMM") or "unknown")
    message = _text(entry.get("MESSAGE", ""))
    message_id = getattr(entry.get("MESSAGE_ID"), "hex", "")
    outcome = _OUTCOMES.get(message_id, "served" if message.startswith(_SERVED) else None)
    return Line(
        entry["__REALTIME_TIMESTAMP"],
        writer,
        message.split("\n", 1)[0],
        outcome if writer == unit else None,
        {key: _text(value) for key, value in entry.items() if key.startswith("SUPERD_")},
    )


def _text(value: object) -> str:
    """A field as text: bytes where it is none, a list where an entry has several of the name."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value)


def _as_json(line: Line) -> dict[str, Any]:
    return {
        "time": line.time.isoformat(),
        "unit": line.writer,
        "outcome": line.outcome,
        "message": line.message,
        **{key.removeprefix("SUPERD_").lower(): value for key, value in line.fields.items()},
    }


def tell(call_id: str, lines: Iterable[Line], out: Console) -> None:
    """Write an account of each time that superd ended a call of this id, and then what else was said of it."""
    known = list(lines)
    for line in known:
        if line.outcome is not None:
            out.line(f"call {call_id}: ", Painted(line.outcome, _style(line.outcome)))
            for label, value in _account(line):
                out.line(f"{label + ':':>9} ", value)
    others = [line for line in known if line.outcome is None]
    if others:
        out.line(Painted("Others say", Style.STRONG))
    for line in others:
        out.line("  ", Painted(f"{line.time:%Y-%m-%d %H:%M:%S} {line.writer}: ", Style.FAINT), line.message)


def _style(outcome: str) -> Style:
    return Style.GOOD if outcome == "served" else Style.BAD


def _account(line: Line) -> Iterator[tuple[str, str]]:
    """What is known, with its label, in the order of _SHOWN."""
    fields = line.fields
    known = {
        "time": f"{line.time:%Y-%m-%d %H:%M:%S.%f %Z}".rstrip(),
        "method": fields.get("SUPERD_METHOD"),
        "caller": _caller(fields),
        "reason": fields.get("SUPERD_REASON"),
        "code": fields.get("SUPERD_CODE"),
        "rule": fields.get("SUPERD_RULE"),
        "took": _span(fields.get("SUPERD_DURATION_USEC")),
        "said by": line.writer,
    }
    for label in _SHOWN:
        value = known[label]
        if value:
            yield label, value


def _caller(fields: Mapping[str, str]) -> str:
    """The caller, what the kernel vouches for first."""
    labels = (
        ("uid", "SUPERD_PEER_UID"),
        ("gid", "SUPERD_PEER_GID"),
        ("groups", "SUPERD_PEER_GROUPS"),
        ("unit", "SUPERD_PEER_UNIT"),
        ("pid", "SUPERD_PEER_PID"),
    )
    return ", ".join(f"{label} {fields[name]}" for label, name in labels if fields.get(name))


def _span(usec: str | None) -> str | None:
    return format_span(int(usec)) if usec is not None and usec.isascii() and usec.isdigit() else None
