"""Text that a peer chooses, in every place where it may come near a log: no line is forged, no terminal obeys."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic_core import to_json
from typing_extensions import override

from superd.journal import FIELD_MAX, Entry, journal_fields, stderr_line
from superd.journal_socket import encode_record
from superd.tracebacks import format_traceback, hide_values
from superd_client import SuperdError
from superd_client.datagrams import open_datagram_socket, send_datagram
from superd_client.errors import MESSAGE_MAX
from superd_client.wire.framing import encode_frame
from tests.daemon.process import Superd, superd
from tests.daemon.raw import echo

FORGED: Final = "2026-01-01T00:00:00.000+00:00 error forged"

TEXTS: Final = {
    "escape sequence": "\x1b[2J\x1b]0;owned\x07",
    "eight-bit control": "\x9b2J\x9d0;owned\x9c",
    "new line": f"a\n{FORGED}",
    "carriage return": f"a\r{FORGED}",
    "other separators": f"a\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029{FORGED}",
    "order of text": "\u202e\u2066drowssap\u2069",
    "zero": "a\0b",
    "field": "a\nMESSAGE=forged\nPRIORITY=0\n_SYSTEMD_UNIT=superd.service",
    "no character": "\ufffe\U000e0001\u200b\ufeff",
    "long": "\x1b[31m" * 200_000,
}

PLACES: Final[dict[str, Any]] = {
    "method": lambda text: {"method": text},
    "name of a param": lambda text: {"method": "echo.echo", "params": {"text": "a", text: 1}},
    "value of a param": lambda text: {"method": "echo.echo", "params": {"text": [text]}},
    "name of a member": lambda text: {"method": "echo.echo", text: 1},
    "id": lambda text: {"method": "echo.echo", "id": text},
    "call id": lambda text: {"method": "nobody.has", "meta": {"call_id": text}},
    "name in meta": lambda text: {"method": "echo.echo", "meta": {text: 1}},
    "version": lambda text: {"method": "echo.echo", "jsonrpc": text},
    "name of a control": lambda text: {"method": "rpc.cancel", "params": {"id": 1, text: 1}},
}

#: A line of the log as it should be: time, level, printable text; or a line of a traceback.
LINE: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+[+-]\d\d:\d\d (debug|info|warning|error|critical) .*")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Superd]:
    path: Path = tmp_path_factory.mktemp("text") / "s"
    environment = {"SUPERD_LOG_LEVEL": "debug"}
    with superd(f"--listen=unix-dgram:{path}.dgram", path=path, environment=environment) as running:
        yield running
        assert running.stop() == 0


def check_log(daemon: Superd, known: int) -> None:
    """Every line since then is one of superd's, and harmless."""
    lines = daemon.log.splitlines(keepends=True)[known:]
    assert lines
    for line in lines:
        assert line.endswith("\n")
        assert line[:-1].isprintable()
        assert LINE.fullmatch(line[:-1])
        assert not line.startswith(FORGED[:20])
        assert len(line) < 8 * 1024


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("text", TEXTS)
def test_text_of_a_message(daemon: Superd, place: str, text: str) -> None:
    with daemon.client() as client:
        known = len(daemon.log.splitlines())
        message = {"jsonrpc": "2.0", "id": 7} | PLACES[place](TEXTS[text])
        if place == "name of a control":
            del message["id"]
        reply = client.ask(to_json(message))
        assert reply["error"]["code"] in {-32600, -32601, -32602}
        assert len(to_json(reply)) < 4096
        assert client.ask(echo())["result"]
        daemon.wait_for(f"[call {reply['error']['data']['call_id']}]")
    check_log(daemon, known)


@pytest.mark.parametrize("surrogate", [rb"\ud800", rb"\udc00", rb"\ud800\ud800"])
def test_half_characters_are_no_text(daemon: Superd, surrogate: bytes) -> None:
    with daemon.client() as client:
        for body in (b'{"jsonrpc":"2.0","id":7,"method":"%b"}', b'{"%b":1}'):
            reply = client.ask(body % surrogate)
            assert reply["error"]["code"] == -32700
            assert client.ask(echo())["result"]


@pytest.mark.parametrize("name", ["\x1b[2J\n", "\x9b31m", "\xff\xfe", "a\nMESSAGE=forged"])
def test_the_address_of_a_sender(daemon: Superd, name: str) -> None:
    known = len(daemon.log.splitlines())
    with open_datagram_socket() as sock:
        address = b"\0" + name.encode("latin-1")
        sock.bind(address)
        send_datagram(
            sock, encode_frame(b'{"jsonrpc":"2.0","id":1,"method":"nobody.asks"}'), f"{daemon.path}.dgram"
        )
    daemon.wait_for("nobody.asks")
    daemon.log = daemon.wait_for("nobody.asks")
    check_log(daemon, known)
    daemon.log = daemon.log.replace("nobody.asks", "somebody.asked")


# --- what stands in journald's own format --------------------------------------------------------------------------


def fields_of(record: bytes) -> dict[str, bytes]:
    """What journald reads: `NAME=value` lines, and `NAME`, a length of 64 bits, the bytes."""
    found: dict[str, bytes] = {}
    while record:
        line, _, rest = record.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if equals:
            record = rest
        else:
            (length,) = struct.unpack_from("<Q", rest)
            value, record = rest[8 : 8 + length], rest[8 + length + 1 :]
        assert re.fullmatch(rb"[A-Z][A-Z0-9_]{0,63}", name)
        assert name.decode() not in found
        found[name.decode()] = value
    return found


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_makes_a_field(text: str) -> None:
    nasty = TEXTS[text]
    trace = format_traceback(RuntimeError(nasty))
    keys = ("method", "reason", "peer_unit", "call_id", "sender", "rule")
    entry = Entry("warning", nasty, dict.fromkeys((*keys, nasty[:200]), nasty), "0" * 32, trace)
    written = journal_fields(entry)
    fields = fields_of(encode_record(written))
    assert {name: value.decode() for name, value in fields.items()} == written
    assert set(fields) >= {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "MESSAGE_ID", "SUPERD_TRACEBACK"}
    assert fields["PRIORITY"] == b"4"
    assert all(name.startswith("SUPERD_") for name in set(fields) - {*list(written)[:4]})
    for name, value in written.items():
        assert value.replace("\n", "").isprintable(), name
        assert name in {"MESSAGE", "SUPERD_TRACEBACK"} or "\n" not in value
        assert len(value) < 16 * FIELD_MAX
    for line in stderr_line(entry, colours=False).splitlines()[1:]:
        assert line.startswith("    ")


@pytest.mark.parametrize("text", TEXTS)
def test_what_a_server_says_stays_on_one_line_of_a_client(text: str) -> None:
    shown = str(SuperdError(TEXTS[text], method=TEXTS[text], call_id=TEXTS[text]))
    assert shown.isprintable()
    assert len(shown) < 10 * (MESSAGE_MAX + 512)


# --- what pydantic repeats -----------------------------------------------------------------------------------------


class Rows:
    """A value whose text has several lines."""

    @override
    def __repr__(self) -> str:
        return "Rows(hunter2\n  hunter2, \n hunter2)"


@pytest.mark.parametrize("value", ["hunter2", "hunter2, input_type=str]", "hunter2\n", ["hunter2"], Rows()])
def test_no_traceback_repeats_what_was_validated(value: Any) -> None:
    from pydantic import BaseModel, ValidationError

    class Model(BaseModel):
        number: int
        other: int = 0

    with pytest.raises(ValidationError) as raised:
        Model.model_validate({"number": value, "other": value})
    group = ExceptionGroup("several", [raised.value, ValueError("plain")])
    wrapped = RuntimeError("wrapped")
    wrapped.__cause__ = group
    for text in (format_traceback(raised.value), format_traceback(wrapped), hide_values(raised.value)):
        assert "hunter2" not in text
        assert "number" in text
        assert "Input should be a valid integer" in text
    assert hide_values(ValueError("plain")) == "plain"
    assert "ValueError: plain" in format_traceback(wrapped)
