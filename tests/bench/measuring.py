"""One cell's figures: what a piece of work took on both sides, and what the rest of the machine did meanwhile."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from tests.bench.machine import busy_seconds, cpu_seconds

#: Work is made larger until it takes this long; then its size for the time that was asked for is known.
CALIBRATION_SECONDS: Final = 0.03


class Span(NamedTuple):
    """A measured section. `foreign` is processor time that others used, on any processor of the machine."""

    calls: int
    seconds: float
    client_cpu: float
    server_cpu: float
    foreign: float

    def plain(self) -> dict[str, Any]:
        """As the JSON has it."""
        return self._asdict()


def measure(work: Callable[[], object], count: int, servers: Sequence[int]) -> Span:
    """Do the work, which is `count` calls, and tell what it took."""
    before = _clocks(servers)
    work()
    client, server, seconds, busy = (
        after - first for after, first in zip(_clocks(servers), before, strict=True)
    )
    return Span(count, seconds, client, server, max(0.0, busy - client - server))


def _clocks(servers: Sequence[int]) -> tuple[float, float, float, float]:
    return (
        cpu_seconds(os.getpid()),
        sum(map(cpu_seconds, servers)),
        time.monotonic(),
        busy_seconds(),
    )


def calibrate(
    work: Callable[[int], object], seconds: float, clock: Callable[[], float] = time.monotonic
) -> int:
    """How many calls take about `seconds`. Doing them warms both sides up."""
    count = 1
    while True:
        start = clock()
        work(count)
        took = clock() - start
        if took >= min(CALIBRATION_SECONDS, seconds):
            return max(1, int(count * seconds / took))
        count *= 2
