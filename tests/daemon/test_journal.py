import fcntl
import os
import re
import resource
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from unittest.mock import ANY

import pytest
import structlog
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from superd.journal import (
    FIELD_MAX,
    PRIORITIES,
    TRACEBACK_MAX,
    Entry,
    JournalTarget,
    MessageId,
    StderrTarget,
    field_name,
    journal_fields,
    render_message,
    stderr_line,
    to_entry,
)
from superd.journal_socket import Delivery, JournalSocket, encode_record
from superd_client.text import VALUE_MAX, printable

ROOT: Final = Path(__file__).resolve().parents[2]
CATALOG: Final = ROOT / "systemd/superd.catalog"
MANUAL: Final = ROOT / "docs/reference/journal.md"

HOSTILE: Final = [
    "a\nb",
    "\r",
    "\x1b[2J\x1b]0;title\x07",
    "nul\x00",
    "c1 \x9b31m",
    "line\u2028separator",
    "right \u202e left",
    "lone \ud800 surrogate",
    "tag \U000e0041",
]


class Journald:
    """What stands for journald: a datagram socket of its own, and a parser of the native protocol."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = self._bind()

    def _bind(self) -> socket.socket:
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.bind(str(self.path))
        receiver.setblocking(False)
        return receiver

    def stop(self) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def start(self) -> None:
        self._socket = self._bind()

    def receive(self) -> tuple[bytes, list[int]]:
        data, descriptors, _, _ = socket.recv_fds(self._socket, 1 << 20, 4)
        return data, list(descriptors)

    def records(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        while True:
            try:
                data, descriptors = self.receive()
            except BlockingIOError:
                return found
            for descriptor in descriptors:
                with os.fdopen(descriptor, "rb") as file:
                    assert data == b""
                    file.seek(0)
                    data = file.read()
            found.append(parse(data))


def parse(data: bytes) -> dict[str, str]:
    """A record of the native protocol, both forms of a field."""
    fields: dict[str, str] = {}
    while data:
        head, _, rest = data.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if not equals:
            (length,) = struct.unpack_from("<Q", rest)
            value, data = rest[8 : 8 + length], rest[8 + length :]
            assert data.startswith(b"\n")
            data = data[1:]
        else:
            data = rest
        assert re.fullmatch(rb"[A-Z][A-Z0-9_]{0,63}", name)
        assert name.decode() not in fields
        fields[name.decode()] = value.decode("utf-8")
    return fields


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    receiver = Journald(tmp_path / "socket")
    yield receiver
    receiver.stop()


def report(count: int) -> dict[str, str]:
    return {"MESSAGE": f"lost {count}"}


@pytest.fixture
def channel(journald: Journald) -> Iterator[JournalSocket]:
    opened = JournalSocket(report, str(journald.path))
    yield opened
    opened.close()


@pytest.fixture
def target(journald: Journald) -> Iterator[JournalTarget]:
    opened = JournalTarget(str(journald.path))
    yield opened
    opened.socket.close()


def logger_to(target: Any, level: int = 10) -> FilteringBoundLogger:
    wrapped: FilteringBoundLogger = structlog.wrap_logger(
        target, processors=[to_entry], wrapper_class=structlog.make_filtering_bound_logger(level)
    )
    return wrapped


# the native protocol


def test_both_forms_of_a_field() -> None:
    assert encode_record({"A": "1", "B": "two\nlines", "C": ""}) == (
        b"A=1\nC=\nB\n" + (9).to_bytes(8, "little") + b"two\nlines\n"
    )


def test_a_lone_surrogate_is_sent_escaped() -> None:
    assert encode_record({"A": "\ud800"}) == b"A=\\ud800\n"


def test_a_record_arrives(journald: Journald, channel: JournalSocket) -> None:
    assert channel.send({"MESSAGE": "grüße", "X": "a\nb\n"}) is Delivery.SENT
    assert journald.records() == [{"MESSAGE": "grüße", "X": "a\nb\n"}]


def test_a_full_queue_drops_counts_and_reports(journald: Journald, channel: JournalSocket) -> None:
    sent = 0
    while channel.send({"MESSAGE": "fill"}) is Delivery.SENT:
        sent += 1
    assert channel.send({"MESSAGE": "lost"}) is Delivery.DROPPED
    assert channel.dropped == 2
    assert journald.records() == [{"MESSAGE": "fill"}] * sent
    assert channel.send({"MESSAGE": "again"}) is Delivery.SENT
    assert channel.send({"MESSAGE": "calm"}) is Delivery.SENT
    assert journald.records() == [{"MESSAGE": "again"}, {"MESSAGE": "lost 2"}, {"MESSAGE": "calm"}]
    assert channel.dropped == 2


def test_a_report_that_finds_no_place_comes_later(journald: Journald, channel: JournalSocket) -> None:
    while channel.send({"MESSAGE": "fill"}) is Delivery.SENT:
        pass
    journald.receive()
    assert channel.send({"MESSAGE": "takes the only place"}) is Delivery.SENT
    assert {"MESSAGE": "lost 1"} not in journald.records()
    assert channel.send({"MESSAGE": "next"}) is Delivery.SENT
    assert journald.records() == [{"MESSAGE": "next"}, {"MESSAGE": "lost 1"}]
    assert channel.dropped == 1


def test_a_record_too_big_for_a_datagram_goes_in_a_sealed_memfd(
    journald: Journald, channel: JournalSocket
) -> None:
    big = "x" * (4 << 20)
    before = set(Path("/proc/self/fd").iterdir())
    assert channel.send({"MESSAGE": big}) is Delivery.SENT
    data, (descriptor,) = journald.receive()
    with os.fdopen(descriptor, "rb") as file:
        seals = fcntl.fcntl(file, fcntl.F_GET_SEALS)
        file.seek(0)
        assert parse(file.read()) == {"MESSAGE": big}
    assert data == b""
    assert seals == fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    assert len(set(Path("/proc/self/fd").iterdir()) - before) <= 1, "only the connected socket may be new"


def test_a_big_record_and_a_full_queue(journald: Journald, channel: JournalSocket) -> None:
    while channel.send({"MESSAGE": "fill"}) is Delivery.SENT:
        pass
    assert channel.send({"MESSAGE": "x" * (4 << 20)}) is Delivery.DROPPED
    assert channel.dropped == 2


def test_a_restart_of_journald_loses_nothing(journald: Journald, channel: JournalSocket) -> None:
    assert channel.send({"MESSAGE": "before"}) is Delivery.SENT
    journald.records()
    journald.stop()
    journald.start()
    assert channel.send({"MESSAGE": "after"}) is Delivery.SENT
    assert journald.records() == [{"MESSAGE": "after"}]


def test_without_journald_the_sender_says_so(journald: Journald, channel: JournalSocket) -> None:
    assert channel.send({"MESSAGE": "before"}) is Delivery.SENT
    journald.stop()
    assert channel.send({"MESSAGE": "nobody"}) is Delivery.ABSENT
    assert channel.send({"MESSAGE": "nobody"}) is Delivery.ABSENT
    journald.start()
    assert channel.send({"MESSAGE": "back"}) is Delivery.SENT
    assert journald.records() == [{"MESSAGE": "back"}]
    assert channel.dropped == 0


def test_without_descriptors_the_sender_says_so(journald: Journald, channel: JournalSocket) -> None:
    channel.close()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        assert channel.send({"MESSAGE": "x"}) is Delivery.ABSENT
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert channel.send({"MESSAGE": "x"}) is Delivery.SENT


def test_a_closed_sender_opens_again(journald: Journald, channel: JournalSocket) -> None:
    channel.close()
    channel.close()
    assert channel.send({"MESSAGE": "x"}) is Delivery.SENT
    assert len(journald.records()) == 1


# the sentence


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "event"),
        ({"method": "a.b"}, "event: a.b"),
        ({"peer_uid": 0, "peer_pid": 7}, "event: uid 0 (pid 7)"),
        ({"peer_uid": 0, "peer_pid": 7, "peer_unit": None}, "event: uid 0 (pid 7)"),
        ({"peer_uid": 1000}, "event: uid 1000"),
        (
            {
                "method": "inventory.lookup",
                "peer_uid": 1000,
                "peer_pid": 7,
                "peer_unit": "romd.service",
                "code": -32602,
                "duration_usec": 1234,
                "call_id": "4f",
            },
            "event: inventory.lookup from uid 1000 (romd.service) in 1.2 ms: invalid params [call 4f]",
        ),
        ({"code": -1}, "event: code -1"),
        ({"code": "x"}, "event: code x"),
        ({"code": -32603, "reason": "ValueError"}, "event: internal error: ValueError"),
        ({"code": -32602, "reason": "invalid params"}, "event: invalid params"),
        ({"reason": "timeout", "count": 2, "name": "a b", "none": None}, 'event: timeout count=2 name="a b"'),
        (
            {"listen": ("unix:/a", "unix:@b"), "empty": "", "call_id": "x"},
            'event listen=unix:/a,unix:@b empty="" [call x]',
        ),
        ({"duration_usec": "soon"}, "event in soon"),
        ({"source": "a.toml", "key": "listen", "reason": "no"}, "event: no source=a.toml key=listen"),
        ({"name": 'x" uid="0'}, r'event name="x\" uid=\"0"'),
    ],
)
def test_render_message(fields: dict[str, object], message: str) -> None:
    assert render_message(Entry("info", "event", fields)) == message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"source": "/a.toml", "key": "listn", "reason": "unknown key"},
            "wrong: /a.toml: listn: unknown key",
        ),
        ({"source": "/a.toml", "key": None, "reason": "is not TOML"}, "wrong: /a.toml: is not TOML"),
        ({"source": "/a.toml", "key": "x\x1b", "reason": "no", "n": 1}, r"wrong: /a.toml: x\x1b: no n=1"),
    ],
)
def test_a_wrong_setting_is_shown_as_check_shows_it(fields: dict[str, object], message: str) -> None:
    entry = Entry("error", "wrong", fields, MessageId.SETTINGS_INVALID)
    assert render_message(entry) == message
    assert journal_fields(entry)["SUPERD_SOURCE"] == "/a.toml"


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "key",
    ["method", "peer_unit", "call_id", "reason", "code", "duration_usec", "peer_uid", "anything", "list"],
)
def test_hostile_values_stay_on_the_line(key: str, text: str) -> None:
    fields: dict[str, object] = {"peer_uid": 1, key: [text] if key == "list" else text}
    entry = Entry("info", "event", fields)
    assert render_message(entry).isprintable()
    assert all(value.isprintable() for value in journal_fields(entry).values())


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_events_and_keys(text: str) -> None:
    entry = Entry("info", text, {text: 1})
    assert render_message(entry).isprintable()
    record = parse(encode_record(journal_fields(entry)))
    assert all(value.isprintable() for value in record.values())


def test_an_escape_is_shown() -> None:
    assert printable("a\nb\x1b[0m\u202e\U000e0041") == r"a\nb\x1b[0m\u202e\U000e0041"


@pytest.mark.parametrize(("length", "shown"), [(9, "x" * 9), (10, "x" * 10), (11, "x" * 10 + "… (1 more)")])
def test_printable_cuts_off(length: int, shown: str) -> None:
    assert printable("x" * length, 10) == shown


@pytest.mark.parametrize("limit", [VALUE_MAX - 1, VALUE_MAX, VALUE_MAX + 1])
def test_values_in_a_sentence_are_bounded(limit: int) -> None:
    text = "x" * limit
    assert (text in render_message(Entry("info", "e", {"method": text}))) is (limit <= VALUE_MAX)


@pytest.mark.parametrize("limit", [FIELD_MAX - 1, FIELD_MAX, FIELD_MAX + 1])
def test_values_of_fields_are_bounded(limit: int) -> None:
    text = "x" * limit
    assert (journal_fields(Entry("info", "e", {"m": text}))["SUPERD_M"] == text) is (limit <= FIELD_MAX)


def test_a_method_name_of_a_megabyte_makes_a_short_line() -> None:
    entry = Entry("info", "event", {"method": "\x1b" * (1 << 20), "call_id": "4f"})
    assert len(render_message(entry)) < 5 * VALUE_MAX
    assert sum(map(len, journal_fields(entry).values())) < 6 * FIELD_MAX


def test_a_value_whose_text_raises() -> None:
    class Broken:
        @override
        def __str__(self) -> str:
            raise RuntimeError

    assert (
        render_message(Entry("info", "e", {"x": Broken()})) == 'e x="<Broken whose text raises RuntimeError>"'
    )


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("call_id", "SUPERD_CALL_ID"),
        ("a.b=c\nd", "SUPERD_A_B_C_D"),
        ("ß", "SUPERD_SS"),
        ("x" * 56, "SUPERD_" + "X" * 56),
        ("x" * 57, "SUPERD_" + "X" * 57),
        ("x" * 58, "SUPERD_" + "X" * 57),
    ],
)
def test_field_names(key: str, name: str) -> None:
    assert field_name(key) == name


# structlog to the journal


def test_the_fields_of_a_refused_call(journald: Journald, target: JournalTarget) -> None:
    logger_to(target).info(
        "call refused",
        message_id=MessageId.CALL_REFUSED,
        call_id="4f",
        method="inventory.lookup",
        peer_uid=1000,
        peer_pid=7,
        peer_unit=None,
        duration_usec=1500,
        code=-32602,
    )
    assert journald.records() == [
        {
            "MESSAGE": "call refused: inventory.lookup from uid 1000 (pid 7) in 1.5 ms: invalid params [call 4f]",
            "PRIORITY": "6",
            "SYSLOG_IDENTIFIER": "superd",
            "MESSAGE_ID": MessageId.CALL_REFUSED,
            "SUPERD_CALL_ID": "4f",
            "SUPERD_METHOD": "inventory.lookup",
            "SUPERD_PEER_UID": "1000",
            "SUPERD_PEER_PID": "7",
            "SUPERD_DURATION_USEC": "1500",
            "SUPERD_CODE": "-32602",
        }
    ]


@pytest.mark.parametrize("level", PRIORITIES)
def test_priorities(journald: Journald, target: JournalTarget, level: str) -> None:
    getattr(logger_to(target), level)("x")
    assert journald.records()[0]["PRIORITY"] == str(PRIORITIES[level])


def test_levels_below_the_least_are_not_rendered(journald: Journald, target: JournalTarget) -> None:
    logger_to(target, 20).debug("x")
    logger_to(target, 20).info("y")
    assert [record["MESSAGE"] for record in journald.records()] == ["y"]


def test_a_traceback_stands_below_the_message(journald: Journald, target: JournalTarget) -> None:
    log = logger_to(target)
    try:
        raise ValueError("first\nforged line \x1b[2J")  # noqa: TRY301
    except ValueError as error:
        log.exception("call failed")
        log.error("call failed", exc_info=error)  # noqa: TRY400
        log.error("call failed", exc_info=sys.exc_info())  # noqa: G201
    one, two, three = journald.records()
    assert one == two == three
    first, *rest = one["MESSAGE"].split("\n")
    assert first == "call failed"
    assert rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
    assert one["SUPERD_TRACEBACK"] == "\n".join(line[4:] for line in rest)
    assert rest[-1] == r"    forged line \x1b[2J"


@pytest.mark.parametrize("exc_info", [True, False, None, (None, None, None)])
def test_no_exception_no_traceback(journald: Journald, target: JournalTarget, exc_info: object) -> None:
    logger_to(target).error("x", exc_info=exc_info)
    assert "SUPERD_TRACEBACK" not in journald.records()[0]


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_a_traceback_keeps_its_end(excess: int) -> None:
    bare = len("ValueError: \n")
    error = ValueError("x" * (TRACEBACK_MAX - bare + excess))
    (entry,), _ = to_entry(None, "error", {"event": "e", "exc_info": error})
    assert entry.traceback is not None
    assert entry.traceback.startswith("(beginning cut off)") is (excess > 0)
    assert entry.traceback.endswith("x\n")


def test_dropped_lines_are_reported_with_their_number(journald: Journald, target: JournalTarget) -> None:
    log = logger_to(target)
    while not target.socket.dropped:
        log.info("fill")
    log.info("lost")
    journald.records()
    log.info("again")
    again, dropped = journald.records()
    assert again["MESSAGE"] == "again"
    assert dropped["MESSAGE_ID"] == MessageId.LOG_DROPPED
    assert dropped["SUPERD_DROPPED"] == "2"
    assert dropped["PRIORITY"] == "4"


def test_without_journald_lines_go_to_stderr(
    journald: Journald, target: JournalTarget, capsys: pytest.CaptureFixture[str]
) -> None:
    journald.stop()
    logger_to(target).warning("nobody there")
    assert capsys.readouterr().err.endswith(" warning  nobody there\n")


# stderr


def test_a_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    logger_to(StderrTarget()).info("started", pid=7)
    line = capsys.readouterr().err
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d info     started pid=7\n", line)


def test_a_traceback_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    logger_to(StderrTarget()).error("failed", exc_info=ValueError("x\ny"))
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.endswith("error    failed")
    assert rest == ["    ValueError: x", "    y"]


@pytest.mark.parametrize("level", PRIORITIES)
def test_colours(level: str) -> None:
    entry = Entry(level, "x\x1b[0m", {})
    assert stderr_line(entry, colours=True).count("\x1b") == 2
    assert "\x1b" not in stderr_line(entry, colours=False)


PROGRAM: Final = """
import logging, sys, warnings
from superd.journal import configure_logging, get_logger
early = get_logger()
configure_logging(target=sys.argv[1], level=sys.argv[2], journal_socket=sys.argv[3])
early.debug("a debug line")
early.info("an info line", number=1)
logging.getLogger("library").warning("from %s", "logging")
logging.getLogger("library").log(25, "between")
logging.getLogger("library").info("wrong %d", "x")
warnings.warn("old", DeprecationWarning, stacklevel=1)
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("library").exception("failed")
"""


def run_program(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", PROGRAM, *arguments],
        text=True,
        check=True,
        timeout=60,
        **options,
    )


def test_everything_reaches_stderr() -> None:
    result = run_program("stderr", "info", "/nowhere", stderr=subprocess.PIPE)
    assert "a debug line" not in result.stderr
    for line in (
        "info     an info line number=1",
        "warning  from logging logger=library",
        "info     between logger=library",
        "warning  <string>:11: DeprecationWarning: old",
        "error    failed logger=library\n    Traceback",
        "\n    ZeroDivisionError: division by zero\n",
    ):
        assert line in result.stderr
    assert "--- Logging error ---" in result.stderr


def test_everything_reaches_the_journal(journald: Journald) -> None:
    result = run_program("journal", "debug", str(journald.path), stderr=subprocess.PIPE)
    records = journald.records()
    assert [(record["PRIORITY"], record["MESSAGE"].split("\n")[0]) for record in records] == [
        ("7", "a debug line"),
        ("6", "an info line number=1"),
        ("4", "from logging logger=library"),
        ("6", "between logger=library"),
        ("4", ANY),
        ("3", "failed logger=library"),
    ]
    assert records[2]["SUPERD_LOGGER"] == "library"
    assert records[4]["MESSAGE"].startswith("<string>:11: DeprecationWarning: old")
    assert records[4]["SUPERD_LOGGER"] == "py.warnings"
    assert "info line" not in result.stderr


@pytest.mark.parametrize("named", ["stderr", "another", "nonsense"])
def test_auto_follows_journal_stream(journald: Journald, tmp_path: Path, named: str) -> None:
    with (tmp_path / "stderr").open("w+b") as stderr:
        status = os.fstat(stderr.fileno())
        stream = {
            "stderr": f"{status.st_dev}:{status.st_ino}",
            "another": f"{status.st_dev}:{status.st_ino + 1}",
            "nonsense": "x",
        }[named]
        environment = {**os.environ, "JOURNAL_STREAM": stream}
        run_program("auto", "info", str(journald.path), stderr=stderr, env=environment)
        stderr.seek(0)
        text = stderr.read()
    assert bool(journald.records()) is (named == "stderr")
    assert (b"an info line" in text) is (named != "stderr")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_stderr_is_no_failure(unbuffered: str) -> None:
    # What a buffer holds at the end would change the exit status.
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    reader, writer = os.pipe()
    os.close(reader)
    try:
        run_program("stderr", "debug", "/nowhere", stderr=writer, env=environment)
    finally:
        os.close(writer)


@pytest.mark.parametrize(("no_colour", "coloured"), [("", True), ("1", False)])
def test_colours_need_a_terminal(no_colour: str, coloured: bool) -> None:
    leader, follower = os.openpty()
    try:
        environment = {**os.environ, "NO_COLOR": no_colour, "TERM": "xterm"}
        run_program("stderr", "info", "/nowhere", stderr=follower, env=environment)
        text = os.read(leader, 65536)
    finally:
        os.close(leader)
        os.close(follower)
    assert (b"\x1b[" in text) is coloured


# the catalog and the manual


def catalog_ids() -> dict[str, str]:
    entries = re.findall(
        r"^-- ([0-9a-f]{32})\n(.*?)(?=^-- |\Z)", CATALOG.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(dict(entries)) == len(entries), "an id stands twice"
    return dict(entries)


def test_the_catalog_and_the_code_have_the_same_ids() -> None:
    assert set(catalog_ids()) == set(MessageId)
    assert len({each.value for each in MessageId}) == len(MessageId)


def test_each_entry_of_the_catalog_is_complete() -> None:
    for text in catalog_ids().values():
        headers, _, body = text.partition("\n\n")
        assert [line.split(":")[0] for line in headers.splitlines()] == ["Subject", "Defined-By", "Support"]
        assert len(body.split()) > 20, headers


def test_ids_are_uuids_of_version_4() -> None:
    for each in MessageId:
        assert re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", each), each.name


def test_journalctl_reads_the_catalog(tmp_path: Path) -> None:
    journalctl = shutil.which("journalctl")
    if journalctl is None:
        pytest.skip("journalctl is not installed")
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    shutil.copy(CATALOG, folder)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    command = [journalctl, f"--root={tmp_path}"]
    subprocess.run([*command, "--update-catalog"], check=True, capture_output=True, timeout=30)
    listed = subprocess.run(
        [*command, "--list-catalog"], check=True, capture_output=True, text=True, timeout=30
    )
    assert {line.split()[0] for line in listed.stdout.splitlines()} == set(MessageId)


def test_the_manual_lists_each_id() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([0-9a-f]{32})` \|", MANUAL.read_text("utf-8"), re.MULTILINE)
    assert dict(rows) == {each.name: each.value for each in MessageId}
