"""One cell's figures: what a piece of work took on both sides, and what the rest of the machine did meanwhile."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from tests.bench.machine import cpu_seconds, processors_used

#: Calls before a measured section. CPython specialises a function's instructions while it runs, and libraries fill their
#: caches: after some hundreds of calls nothing changes any more.
WARM_UP_CALLS: Final = 500

#: A slow system has been warmed up enough after so many times the section's length, whatever it has managed.
WARM_UP_LENGTHS: Final = 2

#: Work is made larger until it takes this long; then its size for the time that was asked for is known.
CALIBRATION_SECONDS: Final = 0.03


class Span(NamedTuple):
    """A measured section. `foreign` is processor time that others used, on any processor of the machine; `stolen` is the
    part of it that a hypervisor gave to other guests.
    """

    calls: int
    seconds: float
    client_cpu: float
    server_cpu: float
    foreign: float
    stolen: float

    def plain(self) -> dict[str, Any]:
        """As the JSON has it."""
        return self._asdict()


def measure(work: Callable[[], object], count: int, servers: Sequence[int]) -> Span:
    """Do the work, which is `count` calls, and tell what it took."""
    before = _clocks(servers)
    work()
    client, server, seconds, busy, stolen = (
        after - first for after, first in zip(_clocks(servers), before, strict=True)
    )
    return Span(count, seconds, client, server, max(0.0, busy - client - server), stolen)


def _clocks(servers: Sequence[int]) -> tuple[float, float, float, float, float]:
    return (
        cpu_seconds(os.getpid()),
        sum(map(cpu_seconds, servers)),
        time.monotonic(),
        *processors_used(),
    )


def calibrate(
    work: Callable[[int], object], seconds: float, clock: Callable[[], float] = time.monotonic
) -> int:
    """How many calls take about `seconds`, by the last of the calls that warm both sides up."""
    count, done, start = 1, 0, clock()
    while True:
        before = clock()
        work(count)
        took = clock() - before
        done += count
        warm = done >= WARM_UP_CALLS or clock() - start >= WARM_UP_LENGTHS * seconds
        if warm and took >= min(CALIBRATION_SECONDS, seconds):
            return max(1, int(count * seconds / took))
        count *= 2
