"""Log lines on stderr: with the priority prefixes of sd-daemon(3) where journald reads them, for people otherwise."""

import logging
import os
import sys
from collections.abc import Mapping
from typing import Final, TextIO

from typing_extensions import override

#: logging's levels as syslog(3) counts severity.
PRIORITIES: Final = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}

logger: Final = logging.getLogger("romd")


class JournalFormatter(logging.Formatter):
    """`<6>text`. journald reads line by line, so each line of a traceback bears the prefix."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        """Put the prefix before each line."""
        prefix = f"<{PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


class TerminalFormatter(logging.Formatter):
    """`12:30:05 warning  text`."""

    def __init__(self) -> None:
        super().__init__("{asctime} {level:<8} {message}", datefmt="%H:%M:%S", style="{")

    @override
    def format(self, record: logging.LogRecord) -> str:
        """Write the level as journalctl does, in lower case."""
        record.level = record.levelname.lower()
        return super().format(record)


def leads_to_journal(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether `stream` is what JOURNAL_STREAM names, by device and inode (systemd.exec(5)).

    The variable alone says nothing: a child whose output was redirected has inherited it.
    """
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or not a file at all
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def start_logging(stream: TextIO = sys.stderr) -> None:
    """Send what romd logs to `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JournalFormatter() if leads_to_journal(stream) else TerminalFormatter())
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
