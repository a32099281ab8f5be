"""Adaptive polling on an event loop, asyncio's or uvloop's: while a callback is due, its poll does not sleep."""

import asyncio
from collections.abc import Callable
from os import sched_yield
from time import monotonic
from typing import Any, Final

from superd_client.polling import Polling


class LoopPolling:
    """Keeps a loop awake after an event, as long as `Polling` says. All else in the loop goes on as usual meanwhile."""

    __slots__ = ("_is_due", "_loop", "_polling")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing has come yet. The loop may be one that does not run yet."""
        self._loop: Final = loop
        self._polling: Final = Polling()
        #: Whether a turn is due: then the loop does not sleep.
        self._is_due = False

    def run(self, callback: Callable[..., object], *args: Any) -> None:
        """Call what is to be called for an event, and wait for the next one."""
        self._polling.note(monotonic())
        callback(*args)
        if self._polling.pays and not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        before = monotonic()
        sched_yield()
        if self._polling.goes_on(before, monotonic()):
            self._loop.call_soon(self._turn)
        else:
            self._is_due = False
