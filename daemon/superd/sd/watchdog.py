"""Signs of life for systemd while the event loop is healthy: sd_watchdog_enabled(3)."""

import asyncio
import os
import time
from collections.abc import Callable, MutableMapping
from typing import Final, Self

_INTERVAL: Final = "WATCHDOG_USEC"
_PROCESS: Final = "WATCHDOG_PID"


class Watchdog:
    """Calls `feed` at half the interval, from the loop itself: a loop that hangs does not feed, and is killed.

    Each turn also measures how much later than asked the loop came round to it.
    """

    __slots__ = ("_due_ns", "_feed", "_handle", "_interval_usec", "_lag_max_usec", "_lag_usec")

    def __init__(self, interval_usec: int | None, feed: Callable[[], object]) -> None:
        """`interval_usec` is the time after which systemd takes the daemon for dead; None: no watchdog."""
        self._interval_usec = interval_usec
        self._feed = feed
        self._handle: asyncio.TimerHandle | None = None
        self._due_ns = 0
        self._lag_usec: int | None = None
        self._lag_max_usec: int | None = None

    @classmethod
    def from_environment(
        cls, feed: Callable[[], object], environ: MutableMapping[str, str] = os.environ
    ) -> Self:
        """The watchdog that systemd asks for. Its variables are removed from `environ`: they concern no child.

        Raises ValueError where they are not numbers.
        """
        return cls(_take_interval(environ), feed)

    @property
    def interval_usec(self) -> int | None:
        """Microseconds that systemd waits for a sign of life; None without a watchdog."""
        return self._interval_usec

    @property
    def lag_usec(self) -> int | None:
        """Microseconds that the loop was late at the last turn; None before the first, and without a watchdog."""
        return self._lag_usec

    @property
    def lag_max_usec(self) -> int | None:
        """The largest of all `lag_usec`."""
        return self._lag_max_usec

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Feed now, and from now on. Without a watchdog no timer is set."""
        if self._interval_usec is None or self._handle is not None:
            return
        self._feed()
        self._schedule(loop, self._interval_usec)

    def stop(self) -> None:
        """Feed no more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _schedule(self, loop: asyncio.AbstractEventLoop, interval_usec: int) -> None:
        # Not loop.time(): uvloop's has milliseconds, and stands still while a callback runs.
        self._due_ns = time.monotonic_ns() + interval_usec * 500
        self._handle = loop.call_later(interval_usec / 2e6, self._turn, loop, interval_usec)

    def _turn(self, loop: asyncio.AbstractEventLoop, interval_usec: int) -> None:
        lag = max(0, time.monotonic_ns() - self._due_ns) // 1000
        self._lag_usec = lag
        self._lag_max_usec = max(lag, self._lag_max_usec or 0)
        self._feed()
        self._schedule(loop, interval_usec)


def _take_interval(environ: MutableMapping[str, str]) -> int | None:
    """WATCHDOG_USEC, if WATCHDOG_PID is absent or this process."""
    interval, process = environ.pop(_INTERVAL, None), environ.pop(_PROCESS, None)
    if interval is None or (process is not None and _number(_PROCESS, process) != os.getpid()):
        return None
    return _number(_INTERVAL, interval)


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ValueError(f"{name} is not a positive number: {text[:40]!r}")
    return int(text)
