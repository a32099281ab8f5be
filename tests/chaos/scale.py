"""How much of everything: for CI in less than a minute, for people in a coffee break, and in full."""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Scale(NamedTuple):
    """Counts, and seconds."""

    restarts: int
    kills: int
    watchdog_kills: int
    replacements: int
    #: Seconds that each hostile peer has, and as many without it for comparison.
    hostile_seconds: float
    #: Seconds of load over which memory is watched.
    memory_seconds: float
    #: Seconds that the daemon, or journald, is stopped.
    stopped_seconds: float


SCALES: Final[Mapping[str, Scale]] = {
    "ci": Scale(5, 3, 1, 1, 0.5, 5, 0.5),
    "short": Scale(200, 100, 20, 10, 5, 180, 2),
    "full": Scale(1000, 100, 20, 50, 15, 3600, 5),
}
