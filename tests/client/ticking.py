"""A clock that moves by being read: so a poll has as many turns on a slow host as on a fast one."""

from collections.abc import Callable
from typing import Final

import pytest

from superd_client.polling import POLL_USEC

#: Microseconds between two readings.
TICK: Final = 1

#: Readings of a poll that ends without an event: two in a turn, the first of all begins it.
READINGS: Final = POLL_USEC // TICK + 2


class Ticking:
    """Takes the place of time.monotonic; `at` does something at a reading to come, 1 being the next."""

    def __init__(self) -> None:
        self.readings = 0
        self._due: dict[int, Callable[[], object]] = {}

    def __call__(self) -> float:
        self.readings += 1
        self._due.pop(self.readings, lambda: None)()
        return self.readings * TICK / 1_000_000

    def at(self, reading: int, action: Callable[[], object]) -> None:
        self._due[self.readings + reading] = action

    def during(self, work: Callable[[], object]) -> int:
        """How often it was read meanwhile."""
        before = self.readings
        work()
        return self.readings - before


def tick(monkeypatch: pytest.MonkeyPatch, module: str) -> Ticking:
    """The clock of this module from now on."""
    clock = Ticking()
    monkeypatch.setattr(f"{module}.monotonic", clock)
    return clock
