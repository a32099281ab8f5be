"""How much of everything: for CI in less than a minute, for people in a coffee break, and in full."""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Scale(NamedTuple):
    """Counts, and seconds."""

    #: Seconds after which everything is given up: several times what it takes.
    limit_seconds: int
    #: Of the load, each of which has a user of its own; the clients are spread over them.
    processes: int
    restarts: int
    kills: int
    watchdog_kills: int
    replacements: int
    #: In each of which an idle superd ends once, or is kept from it.
    idle_rounds: int
    #: Seconds that each hostile peer has, and as many without it for comparison.
    hostile_seconds: float
    #: Whether a p99 that is too long is a loss: it says little where an attack lasts less than a second.
    judges_latency: bool
    #: Seconds of load over which memory is watched.
    memory_seconds: float
    #: Seconds that the daemon, or journald, is stopped.
    stopped_seconds: float
    #: How often the daemon is.
    stops: int


SCALES: Final[Mapping[str, Scale]] = {
    "ci": Scale(600, 2, 5, 3, 1, 1, 2, 0.2, False, 1, 0.3, 1),
    "short": Scale(2 * 3600, 4, 200, 100, 20, 10, 25, 5, True, 180, 2, 10),
    "full": Scale(6 * 3600, 4, 1000, 100, 20, 50, 250, 15, True, 3600, 5, 20),
}
