"""How many lines of the journal one user may cause.

journald drops what a unit writes above its rate limit (RateLimitBurst=: 10,000 lines in 30 s), no matter whose fault the
lines are. So the limit is kept here, for each user alone, and what was left out is told.
"""

import asyncio
from collections.abc import Container
from typing import Final

from superd.journal import MessageId, get_logger
from superd.stats import Stats

#: Lines of one user in one window: six users who all misbehave stay below journald's limit, and nobody reads more.
LINES_MAX: Final = 50

#: Seconds of a window.
WINDOW: Final = 1.0


class LogLimit:
    """Counts lines by user, in windows of a second. There is a timer only while somebody causes lines."""

    def __init__(self, stats: Stats, trusted: Container[int] = ()) -> None:
        """What is left out is counted in `stats`. Of `trusted` users every line is written: root could end superd, too."""
        self._stats = stats
        self._trusted = trusted
        #: By user, and whether they are errors: those must not be lost among refusals.
        self._lines: dict[tuple[int, bool], int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def allows(self, uid: int, *, error: bool = False) -> bool:
        """Whether another line that this user causes may be written now. To be called on the loop, once for a line.

        Lines about an `error` of superd's own side are counted apart.
        """
        if uid in self._trusted:
            return True
        key = uid, error
        lines = self._lines[key] = self._lines.get(key, 0) + 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WINDOW, self.end_window)
        if lines <= LINES_MAX:
            return True
        self._stats.log_lines_left_out += 1
        return False

    def end_window(self) -> None:
        """Tell what was left out, and begin anew. May be called at any time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, {}
        for (uid, _), count in lines.items():
            if count > LINES_MAX:
                get_logger().warning(
                    "log lines were left out",
                    message_id=MessageId.LINES_LEFT_OUT,
                    peer_uid=uid,
                    reason=f"{count - LINES_MAX} more in {WINDOW:g} s",
                    lines=count - LINES_MAX,
                )
