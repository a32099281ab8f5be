"""The exit of a superd that has had nothing to do for `idle_exit`: the next connection starts another one.

Nothing is counted for this. A timer looks at what is counted anyway, some times within `idle_exit`: where nothing is open,
runs or is owed, and no count has changed for as many looks in a row, superd goes. So it goes after `idle_exit` and the time
between two looks, at the latest.

`Server.retire` sees to it that nobody is lost who comes at that moment.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from superd.journal import get_logger
from superd.listeners import Listener
from superd.server import Server
from superd.stats import Stats, StatsSnapshot

#: Looks within `idle_exit`: superd goes an eighth of it late at most, and is woken up for it once in 38 s with "5min".
LOOKS: Final = 8


def usable_idle_exit(seconds: float, listeners: Iterable[Listener]) -> float:
    """The seconds; 0, and a warning, where superd has a socket of its own: nobody would start it again for that."""
    own = [listener.address for listener in listeners if not listener.activated]
    if not (seconds and own):
        return seconds
    get_logger().warning(
        "idle_exit has no effect: nothing would start superd again for sockets that are not systemd's",
        listeners=own,
    )
    return 0.0


class IdleExit:
    """Looks from `start` to `stop`, and calls `leave` once, when the server has retired."""

    def __init__(
        self, server: Server, stats: Stats, *, is_needed: Callable[[], bool], leave: Callable[[], None]
    ) -> None:
        """`is_needed` says whether there is something to stay for that the server does not know of."""
        self._server: Final = server
        self._stats: Final = stats
        self._is_needed: Final = is_needed
        self._leave: Final = leave
        self._seconds = 0.0
        self._counts: StatsSnapshot | None = None
        #: Looks in a row that found nothing new.
        self._quiet = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Begin; 0 seconds: never leave."""
        self._loop = loop
        self.limit(seconds)

    def limit(self, seconds: float) -> None:
        """Leave after so long from now on."""
        if seconds != self._seconds:
            self.stop()
            self._seconds, self._quiet = seconds, 0
            self._schedule()

    @property
    def is_looking(self) -> bool:
        """Whether a timer runs."""
        return self._timer is not None

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        if self._seconds:
            self._timer = self._loop.call_later(self._seconds / LOOKS, self._look)

    def _look(self) -> None:
        counts = self._stats.snapshot()._replace(uptime_usec=0)
        is_quiet = counts == self._counts and self._server.is_quiet and not self._is_needed()
        self._quiet = self._quiet + 1 if is_quiet else 0
        self._counts = counts
        if self._quiet >= LOOKS and self._server.retire():
            self._leave()
        else:
            self._schedule()
