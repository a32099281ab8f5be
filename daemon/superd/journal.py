"""Logs: structlog to the journal with fields of our own, or to stderr. Fields: docs/reference/journal.md.

One renderer makes the sentence that both targets show. What peers sent reaches a log only through `printable`:
a method name with a newline or an escape sequence must not forge a line or move an operator's cursor.
"""

import atexit
import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger
from typing_extensions import override

from superd.journal_socket import JOURNAL_SOCKET, Delivery, JournalSocket
from superd.tracebacks import format_traceback
from superd_client.sensitive import mask
from superd_client.text import VALUE_MAX, printable
from superd_client.wire.errors import ErrorCode

IDENTIFIER: Final = "superd"

#: Characters of one value in a field of the journal: as much as a search needs. journald's own bound is 768 MiB.
FIELD_MAX: Final = 4096

#: Characters of a traceback: several hundred frames; the end is kept, since it names the exception.
TRACEBACK_MAX: Final = 262_144

#: Longest field name that journald accepts.
FIELD_NAME_MAX: Final = 64

#: Severities of syslog(3), by the names of structlog's methods.
PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_COLOURS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}

#: What the sentence itself says, in the order of its parts; all other keys follow as key=value.
_SENTENCE: Final = frozenset(
    {
        "method",
        "peer_uid",
        "peer_gid",
        "peer_groups",
        "peer_pid",
        "peer_unit",
        "code",
        "reason",
        "duration_usec",
        "call_id",
    }
)

#: What says who asked what: never masked, since a caller chooses the secrets that he sends.
_IDENTITY: Final = _SENTENCE - {"reason"}

#: Where a wrong setting stands, in this order.
_PLACE: Final = ("source", "key")

_CODE_NAMES: Final = {int(code): code.name.lower().replace("_", " ") for code in ErrorCode}
_COLLECTIONS: Final = (list, tuple, set, frozenset)


#: The priority of the least severe lines that are written.
_least = PRIORITIES["debug"]

#: What no line may show, whoever writes it.
_never_shown: set[str] = set()


class MessageId(StrEnum):
    """The kinds of lines that have an entry in systemd/superd.catalog. An id never changes its meaning."""

    STARTED = "4003c4a3e85c42d8b87591011329bb7b"
    STOPPING = "6bacdc852072446687f66ecc21d048aa"
    IDLE_EXIT = "ef87f9340eee45759734ddf0c1c876b3"
    STOPPED = "5fb4285050de4a3d971a8fdb21ef5783"
    START_FAILED = "b826be76d58445a18d9fcc380d8bfb9e"
    SETTINGS_INVALID = "17e423672994454d994f47b12b8d2694"
    POLICY_INVALID = "e3fbd1452bce4ef790a9ee7b634a938c"
    POLICY_DOUBTFUL = "14a3bec803894a9fa50ac2f9d513d0e6"
    RELOADED = "dcb1add6f95a485a840e79267c7b96f7"
    RELOAD_REFUSED = "8114341eaea04ef2b6719d6b3bd929a6"
    PEERS_KICKED = "2deed87c74de46edadcc4646f9ce30d5"
    PEERS_DRAINED = "e20948ca066c4ade966f9a846cdf5649"
    CALL_FAILED = "6fd1c998682343428e9794ee13ef290e"
    CALL_REFUSED = "a65e7e1047a647ddbfd824a1e1e35784"
    CALL_DENIED = "bed5e5c558bd4954b53a8d4965b073ef"
    PEER_VANISHED = "47663ebf4e244887bd0b061c09f87dac"
    FRAMING_LOST = "7d64edb3c48b4f35b684d243c17ca0b8"
    CONNECTION_REFUSED = "23ac71ae50f04f969fa37587cd48130c"
    ACCEPT_FAILED = "e390baccc13c44c5bc6351401447a802"
    DRAIN_TIMEOUT = "61c7f94bfadb4309a9aa961bf068b3bc"
    DATAGRAM_DROPPED = "ba18fbcea91e4378ac9af9589a0ad0f0"
    REPLY_DROPPED = "e3e4888e6f4e46f1aaa0b83e6bae65fd"
    HANDED_OVER = "d2e44001042140ad90e98098c94bd9fd"
    TAKEN_OVER = "fd8d46eb31f544b5a32b688a134dae04"
    HANDOVER_FAILED = "5eb395c5d3a744a587bed34e42f907e3"
    HANDOVER_REFUSED = "88138c253a6e4cf5af2c7ccee3a28181"
    CONNECTION_SHED = "9b35ff751e644d7daac9c35d47e14d38"
    PEER_STALLED = "eef21d7ce5bb41ce8c92218b1af26745"
    DESCRIPTORS_FEW = "ed6b42b6cd7649769c902b418b2dac00"
    LINES_LEFT_OUT = "b4cc704996894e8589eed677e07a7ce4"
    LOG_DROPPED = "f642a4fad8414efd9f2bf7222cf7f388"


#: The kinds of lines about something in a file.
_PLACED: Final = frozenset({MessageId.SETTINGS_INVALID, MessageId.POLICY_INVALID, MessageId.POLICY_DOUBTFUL})


class Entry(NamedTuple):
    """One log line on its way out: raw values, nothing escaped yet."""

    level: str
    event: str
    fields: Mapping[str, object]
    message_id: str | None = None
    traceback: str | None = None


def _as_text(value: object) -> str:
    if type(value) is str:
        return value
    if isinstance(value, _COLLECTIONS):
        return ",".join(map(_as_text, value))
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001
        # A value that cannot be shown must not cost the line, nor the call that logs it.
        return f"<{type(value).__name__} whose text raises {type(error).__name__}>"


def _show(value: object, limit: int = VALUE_MAX) -> str:
    return printable(_as_text(value), limit)


def render_message(entry: Entry) -> str:
    """The line that says enough alone: `call refused: a.b from uid 1000 (romd.service): invalid params [call 4f]`."""
    place = _PLACE if entry.message_id in _PLACED else ()
    places = (_show(entry.fields[key]) for key in place if entry.fields.get(key))
    message = ": ".join([_opening(entry), *places, *_outcome(entry.fields)])
    for key, value in entry.fields.items():
        if key not in _SENTENCE and key not in place and value is not None:
            message += f" {printable(key)}={_quote(_show(value))}"
    call_id = entry.fields.get("call_id")
    return message if call_id is None else f"{message} [call {_show(call_id)}]"


def _opening(entry: Entry) -> str:
    """What happened, what was asked and by whom, and how long it took. Before the outcome, which may be a sentence."""
    method, uid, duration = (entry.fields.get(key) for key in ("method", "peer_uid", "duration_usec"))
    event = printable(entry.event, FIELD_MAX)
    subject = "" if method is None else f": {_show(method)}"
    who = "" if uid is None else f"uid {_show(uid)}{_origin(entry.fields)}"
    link = (" from " if subject else ": ") if who else ""
    return event + subject + link + who + ("" if duration is None else f" in {_milliseconds(duration)}")


def _outcome(fields: Mapping[str, object]) -> Iterator[str]:
    """What came of it."""
    code = _name_code(fields["code"]) if fields.get("code") is not None else ""
    reason = _show(fields["reason"], FIELD_MAX) if fields.get("reason") is not None else ""
    # Messages of errors often begin with the name of their code: once is enough.
    if code and not reason.startswith(code):
        yield code
    if reason:
        yield reason


def _origin(fields: Mapping[str, object]) -> str:
    """The peer's unit, else its pid, in brackets."""
    if fields.get("peer_unit") is not None:
        return f" ({_show(fields['peer_unit'])})"
    return f" (pid {_show(fields['peer_pid'])})" if fields.get("peer_pid") is not None else ""


def _name_code(code: object) -> str:
    """An error code of protocol §8 by its name, any other value as it is."""
    name = _CODE_NAMES.get(code) if isinstance(code, int) else None
    return name or f"code {_show(code)}"


def _milliseconds(microseconds: object) -> str:
    return f"{microseconds / 1000:.1f} ms" if isinstance(microseconds, int | float) else _show(microseconds)


def _quote(value: str) -> str:
    """The value in quotes where it could be taken for more than one, or for none."""
    if value and not set(value) & set(' "='):
        return value
    return '"' + value.replace('"', r"\"") + '"'


def _continuation(text: str | None) -> str:
    """A traceback as lines below the first, indented so that none can pass for a log line of its own."""
    if text is None:
        return ""
    return "".join(f"\n    {printable(line, FIELD_MAX)}" for line in text.splitlines())


@lru_cache(maxsize=512)
def field_name(key: str) -> str:
    """The journal's name of a key: SUPERD_<KEY>, of the characters and the length that journald accepts."""
    return f"SUPERD_{re.sub('[^A-Z0-9_]', '_', key.upper())}"[:FIELD_NAME_MAX]


def journal_fields(entry: Entry) -> dict[str, str]:
    """The record for journald. Fields without a value are left out."""
    record = {
        "MESSAGE": render_message(entry) + _continuation(entry.traceback),
        "PRIORITY": str(PRIORITIES[entry.level]),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
    }
    if entry.message_id is not None:
        record["MESSAGE_ID"] = entry.message_id
    for key, value in entry.fields.items():
        if value is not None:
            record[field_name(key)] = _show(value, FIELD_MAX)
    if entry.traceback is not None:
        record["SUPERD_TRACEBACK"] = "\n".join(
            printable(line, FIELD_MAX) for line in entry.traceback.splitlines()
        )
    return record


def stderr_line(entry: Entry, *, colours: bool) -> str:
    """The line for people: time, level, message."""
    now = datetime.now().astimezone().isoformat(timespec="milliseconds")
    level = f"{entry.level:<8}"
    if colours:
        level = f"\x1b[{_COLOURS[entry.level]}m{level}\x1b[0m"
    return f"{now} {level} {render_message(entry)}{_continuation(entry.traceback)}\n"


class StderrTarget:
    """A structlog logger that writes to stderr. It waits where stderr is a pipe that nobody reads."""

    def __init__(self) -> None:
        terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._colours = terminal and not os.environ.get("NO_COLOR")

    def msg(self, entry: Entry) -> None:
        """Write one line. A closed stderr loses it: there is no place left to say so."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(stderr_line(entry, colours=self._colours))
            sys.stderr.flush()

    debug = info = warning = error = critical = msg


class JournalTarget:
    """A structlog logger that writes to journald, and to stderr while there is no journald."""

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        self.socket = JournalSocket(_report_dropped, path)
        self._fallback = StderrTarget()

    def msg(self, entry: Entry) -> None:
        """Send one record; never waits."""
        if self.socket.send(journal_fields(entry)) is Delivery.ABSENT:
            self._fallback.msg(entry)

    debug = info = warning = error = critical = msg


def _report_dropped(count: int) -> Mapping[str, str]:
    event = "log lines lost: journald did not take them in time"
    return journal_fields(Entry("warning", event, {"dropped": count}, MessageId.LOG_DROPPED))


class ForwardHandler(logging.Handler):
    """Takes what libraries and services log by `logging`, and warnings, to the same place."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """Log the record under the nearest level that has a name here."""
        try:
            level = max(10, min(50, record.levelno // 10 * 10))
            fields = {"exc_info": record.exc_info} if record.exc_info else {}
            get_logger().log(level, record.getMessage(), logger=record.name, **fields)
        except Exception:  # noqa: BLE001
            # As logging's own handlers do: a bad log call must not raise in its caller.
            self.handleError(record)


def to_entry(_logger: WrappedLogger, method: str, event: EventDict) -> tuple[tuple[Entry], dict[str, Any]]:
    """The last processor of structlog: what the targets take. Masked are the texts in the key `_secrets`, and those of `never_show`."""
    fields = dict(event)
    text = str(fields.pop("event", ""))
    message_id = fields.pop("message_id", None)
    trace = _format_traceback(fields.pop("exc_info", None))
    secrets = fields.pop("_secrets", ())
    if _never_shown:
        secrets = _never_shown.union(secrets)
    if secrets:
        text = mask(text, secrets)
        trace = trace and mask(trace, secrets)
        fields = {key: _mask_value(key, value, secrets) for key, value in fields.items()}
    return (Entry(method, text, fields, message_id, trace),), {}


def _mask_value(key: str, value: object, secrets: Iterable[str]) -> object:
    return value if value is None or key in _IDENTITY else mask(_as_text(value), secrets)


def _format_traceback(exc_info: object) -> str | None:
    """The traceback of what `exc_info` may be: an exception, a triple, or true for the one being handled."""
    if isinstance(exc_info, tuple):
        error = exc_info[1]
    else:
        error = exc_info if isinstance(exc_info, BaseException) or not exc_info else sys.exception()
    if not isinstance(error, BaseException):
        return None
    text = format_traceback(error)
    return text if len(text) <= TRACEBACK_MAX else f"(beginning cut off)\n{text[-TRACEBACK_MAX:]}"


def stderr_is_journal() -> bool:
    """Whether stderr leads to the journal: JOURNAL_STREAM names its device and inode (systemd.exec(5))."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _drop_unwritten() -> None:
    """Lose what stderr does not take: Python would try once more, and exit with 120 (Py_FinalizeEx)."""
    try:
        sys.stderr.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stderr.fileno())
        os.close(nowhere)


def configure_logging(*, target: str, level: str, journal_socket: str = JOURNAL_SOCKET) -> None:
    """Send all log lines from `level` on ("debug" … "error") to `target` ("auto", "journal", "stderr"). Call once."""
    to_journal = target == "journal" or (target == "auto" and stderr_is_journal())
    set_log_level(level)
    chosen: JournalTarget | StderrTarget = StderrTarget()
    atexit.register(_drop_unwritten)
    if to_journal:
        chosen = JournalTarget(journal_socket)
        atexit.register(chosen.socket.close)
    structlog.configure(
        processors=[drop_unwanted, to_entry],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=lambda *_: chosen,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [ForwardHandler()]
    logging.captureWarnings(True)


def set_log_level(level: str) -> None:
    """Write lines from `level` on, also by the loggers that somebody holds already."""
    global _least  # noqa: PLW0603 - as logging and structlog are, this is of the process
    _least = PRIORITIES[level]
    logging.getLogger().setLevel(level.upper())


def never_show(texts: Iterable[str]) -> None:
    """Have these texts masked in every line from now on. For the secrets of the process; those of a call go with its lines."""
    _never_shown.update(texts)


def without_secrets(text: str) -> str:
    """A text as a line would show it, for another place where people read it."""
    return mask(text, _never_shown)


def drop_unwanted(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """The first processor of structlog. Not structlog's own filter: a logger keeps that, once it was used."""
    if PRIORITIES[method] > _least:
        raise structlog.DropEvent
    return event


def get_logger() -> FilteringBoundLogger:
    """The logger of superd. May be called before `configure_logging`; what it logs then goes by structlog's default."""
    return cast("FilteringBoundLogger", structlog.get_logger())
