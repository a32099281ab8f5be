"""One timer for all that must end by some time: the calls and the gaps of streams of the whole daemon."""

import asyncio
import heapq
import itertools
import math
import time
from abc import ABC, abstractmethod
from typing import Final

#: Fewest entries of the heap that are worth a sweep.
_SWEEP_MIN: Final = 64

#: Longest single wait in seconds: no loop takes a timer for the far future. One that fires early is set again.
WAIT_MAX: Final = 86_400.0


def now_usec() -> int:
    """Microseconds of CLOCK_MONOTONIC, as protocol §13 counts them."""
    return time.monotonic_ns() // 1000


class Timed(ABC):
    """Something with a deadline: `due_usec`, None while there is none. It may move later at any time, not earlier."""

    __slots__ = ("due_usec", "watched")

    due_usec: int | None
    #: Whether it is among the deadlines that are watched.
    watched: bool

    @abstractmethod
    def expire(self) -> None:
        """Called once when it is due; it is not watched any more then."""


class Deadlines:
    """Watches what is `Timed`. What has ended stays in the heap until it is due or swept out with its like."""

    def __init__(self) -> None:
        """Watch nothing."""
        self._numbers = itertools.count()
        self._heap: list[tuple[int, int, Timed]] = []
        self._timer: asyncio.TimerHandle | None = None
        #: When the timer fires, infinite while there is none.
        self._timer_usec: float = math.inf
        #: How long the heap may become before it is swept.
        self._sweep_at = _SWEEP_MIN

    def __len__(self) -> int:
        """How many entries there are, those that have ended among them."""
        return len(self._heap)

    def watch(self, timed: Timed) -> None:
        """Expire `timed` when it is due. To be called on the loop, for one that is due some time and not watched."""
        due = timed.due_usec
        if due is None:
            return
        timed.watched = True
        heapq.heappush(self._heap, (due, next(self._numbers), timed))
        if len(self._heap) >= self._sweep_at:
            self._sweep()
        if due < self._timer_usec:
            self._set_timer()

    def close(self) -> None:
        """Watch nothing any more."""
        self._heap.clear()
        self._set_timer()

    def _sweep(self) -> None:
        kept = []
        for entry in self._heap:
            if entry[2].due_usec is None:
                entry[2].watched = False
            else:
                kept.append(entry)
        heapq.heapify(kept)
        self._heap = kept
        self._sweep_at = max(_SWEEP_MIN, 2 * len(kept))

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_usec = None, math.inf
        if self._heap:
            self._timer_usec = self._heap[0][0]
            # Whole milliseconds, rounded up: uvloop has no others, and would fire too early.
            seconds = -((now_usec() - self._heap[0][0]) // 1000) / 1000
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(min(max(seconds, 0.0), WAIT_MAX), self._fire)

    def _fire(self) -> None:
        now = now_usec()
        while self._heap and (self._heap[0][0] <= now or self._heap[0][2].due_usec is None):
            timed = heapq.heappop(self._heap)[2]
            timed.watched = False
            due = timed.due_usec
            if due is not None and due > now:
                self.watch(timed)
            elif due is not None:
                timed.expire()
        self._set_timer()
