"""What was logged, for a test to wait for and to look at."""

import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog
from structlog.typing import WrappedLogger

from tests.daemon.raw import PATIENCE

Line = MutableMapping[str, Any]


class Changes:
    """A condition that others notify: a test waits for a state instead of for a time."""

    def __init__(self) -> None:
        self._condition = threading.Condition()

    def notify(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def wait_for(self, predicate: Callable[[], bool], what: str) -> None:
        with self._condition:
            assert self._condition.wait_for(predicate, PATIENCE), f"did not happen in time: {what}"


class Logs:
    """The lines, in order."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self.lines: list[Line] = []

    def take(self, _logger: WrappedLogger, level: str, line: Line) -> Line:
        """The processor for structlog: keeps the line, and lets nothing through."""
        self.lines.append({**line, "level": level})
        self._changes.notify()
        raise structlog.DropEvent

    def about(self, **fields: object) -> list[Line]:
        """The lines that have these fields."""
        return [line for line in self.lines if all(line.get(key) == value for key, value in fields.items())]

    def wait(self, count: int = 1, **fields: object) -> list[Line]:
        """The first `count` lines that have these fields, as soon as they are there."""
        self._changes.wait_for(lambda: len(self.about(**fields)) >= count, f"{count} log lines with {fields}")
        return self.about(**fields)[:count]


@contextmanager
def captured_logs(changes: Changes) -> Iterator[Logs]:
    logs = Logs(changes)
    before = structlog.get_config()
    structlog.configure(processors=[logs.take], cache_logger_on_first_use=False)
    try:
        yield logs
    finally:
        structlog.configure(**before)
