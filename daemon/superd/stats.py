"""What the daemon counts. Plain integers, changed on the event loop alone; `superd.status` shows a snapshot."""

import time
from dataclasses import dataclass, field
from typing import NamedTuple


def _now_usec() -> int:
    return time.monotonic_ns() // 1000


class StatsSnapshot(NamedTuple):
    """The counts at one moment. Totals are since the start of the process."""

    uptime_usec: int
    connections_accepted: int
    connections_open: int
    connections_refused: int
    calls_served: int
    calls_failed: int
    calls_refused: int
    calls_in_flight: int
    notifications: int
    notifications_failed: int
    datagrams_dropped: int
    replies_dropped: int
    connections_shed: int
    connections_timed_out: int
    log_lines_left_out: int


@dataclass(slots=True)
class Stats:
    """The counts. `connections_open` and `calls_in_flight` go up and down, all others only up."""

    connections_accepted: int = 0
    connections_open: int = 0
    connections_refused: int = 0
    calls_served: int = 0
    calls_failed: int = 0
    calls_refused: int = 0
    calls_in_flight: int = 0
    notifications: int = 0
    notifications_failed: int = 0
    datagrams_dropped: int = 0
    replies_dropped: int = 0
    connections_shed: int = 0
    connections_timed_out: int = 0
    log_lines_left_out: int = 0
    #: Microseconds of CLOCK_MONOTONIC, as systemd counts them.
    started_usec: int = field(default_factory=_now_usec)

    @property
    def uptime_usec(self) -> int:
        """Microseconds since this object was made."""
        return _now_usec() - self.started_usec

    def snapshot(self) -> StatsSnapshot:
        """The counts as they are now."""
        return StatsSnapshot(
            uptime_usec=self.uptime_usec,
            connections_accepted=self.connections_accepted,
            connections_open=self.connections_open,
            connections_refused=self.connections_refused,
            calls_served=self.calls_served,
            calls_failed=self.calls_failed,
            calls_refused=self.calls_refused,
            calls_in_flight=self.calls_in_flight,
            notifications=self.notifications,
            notifications_failed=self.notifications_failed,
            datagrams_dropped=self.datagrams_dropped,
            replies_dropped=self.replies_dropped,
            connections_shed=self.connections_shed,
            connections_timed_out=self.connections_timed_out,
            log_lines_left_out=self.log_lines_left_out,
        )
