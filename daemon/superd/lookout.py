"""The deadlines of calls that were just begun: most calls end before anybody has to look at them.

To watch each deadline (superd.deadlines) costs more than many a handler. So calls are noted in a list first, and watched when as
many have come after them, or when the first of them is due: those that have ended by then, nearly all, were never watched.
"""

import asyncio
import math
from typing import Final

from superd.deadlines import WAIT_MAX, Deadlines, now_usec
from superd.work import Deadline, Work

#: Calls that are noted at the same time, of all connections. What has ended and stands there is kept alive by it, so it is for
#: calls alone whose messages are small.
NOTED_MAX: Final = 64


class Lookout:
    """Notes calls that have a deadline, until `deadlines` has to watch them."""

    def __init__(self, deadlines: Deadlines) -> None:
        """Note nothing yet."""
        self._deadlines: Final = deadlines
        self._noted: list[Work] = []
        self._timer: asyncio.TimerHandle | None = None
        #: No later than the first of those that are noted is due; infinite while there is no timer.
        self._timer_usec: float = math.inf

    def note(self, work: Work, due: int) -> None:
        """Have `work` stopped when it is due, in microseconds of CLOCK_MONOTONIC. To be called on the loop."""
        self._noted.append(work)
        if len(self._noted) >= NOTED_MAX:
            self._look()
        elif due < self._timer_usec:
            self._set_timer(due)

    def tidy(self) -> None:
        """Keep nothing alive that has ended: a connection is closed."""
        if self._noted:
            self._noted = [work for work in self._noted if not work.answered]

    def close(self) -> None:
        """Note nothing any more."""
        self._noted = []
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self, due: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_usec = due
        seconds = max(due - now_usec(), 0) / 1e6
        self._timer = asyncio.get_running_loop().call_later(min(seconds, WAIT_MAX), self._due)

    def _due(self) -> None:
        self._timer, self._timer_usec = None, math.inf
        self._look()

    def _look(self) -> None:
        noted, self._noted = self._noted, []
        for work in noted:
            if not work.answered and work.due_usec is not None:
                work.deadline = Deadline(work, work.due_usec)
                self._deadlines.watch(work.deadline)
