"""romd's log lines: prefixes under journald, and only there."""

import io
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from romd.log import JournalFormatter, TerminalFormatter, leads_to_journal, logger, start_logging


def record(level: int, text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("romd", level, __file__, 1, text, arguments, None)


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[TextIO]:
    with (tmp_path / "stderr").open("w+") as opened:
        yield opened


@pytest.fixture
def restored_logger() -> Iterator[None]:
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


def identity(stream: TextIO) -> str:
    status = os.fstat(stream.fileno())
    return f"{status.st_dev}:{status.st_ino}"


@pytest.mark.parametrize(
    ("level", "prefix"),
    [
        (logging.DEBUG, "<7>"),
        (logging.INFO, "<6>"),
        (logging.WARNING, "<4>"),
        (logging.ERROR, "<3>"),
        (logging.CRITICAL, "<2>"),
        (logging.INFO + 1, "<6>"),
    ],
)
def test_journald_reads_the_priority_from_a_prefix(level: int, prefix: str) -> None:
    assert JournalFormatter().format(record(level, "%s: %d", "A-1", 3)) == f"{prefix}A-1: 3"


def test_each_line_has_its_prefix() -> None:
    assert (
        JournalFormatter().format(record(logging.ERROR, "one\ntwo\u2028<0>three"))
        == "<3>one\n<3>two\n<3><0>three"
    )


def test_people_read_a_time_and_a_word() -> None:
    line = TerminalFormatter().format(record(logging.WARNING, "superd is away"))
    assert re.fullmatch(r"\d\d:\d\d:\d\d warning  superd is away", line)


def test_journal_stream_must_name_this_very_stream(stream: TextIO) -> None:
    assert leads_to_journal(stream, {"JOURNAL_STREAM": identity(stream)})
    assert not leads_to_journal(stream, {"JOURNAL_STREAM": "1:1"})
    assert not leads_to_journal(stream, {"JOURNAL_STREAM": ""})
    assert not leads_to_journal(stream, {})


def test_a_stream_without_a_file_is_not_the_journal(stream: TextIO) -> None:
    assert not leads_to_journal(io.StringIO(), {"JOURNAL_STREAM": "1:1"})
    name = identity(stream)
    stream.close()
    assert not leads_to_journal(stream, {"JOURNAL_STREAM": name})


@pytest.mark.usefixtures("restored_logger")
def test_the_form_is_chosen_at_the_start(stream: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", identity(stream))
    start_logging(stream)
    logger.info("under journald")
    monkeypatch.delenv("JOURNAL_STREAM")
    start_logging(stream)
    logger.info("elsewhere")
    stream.seek(0)
    first, second = stream.read().splitlines()
    assert first == "<6>under journald"
    assert re.fullmatch(r"\d\d:\d\d:\d\d info     elsewhere", second)
