import dataclasses
import time

import pytest

from superd.stats import Stats


def test_a_snapshot_has_every_count() -> None:
    stats = Stats()
    counters = [field.name for field in dataclasses.fields(Stats) if field.name != "started_usec"]
    for value, name in enumerate(counters, start=1):
        setattr(stats, name, value)
    snapshot = stats.snapshot()._asdict()
    assert snapshot.pop("uptime_usec") >= 0
    assert snapshot == {name: value for value, name in enumerate(counters, start=1)}


def test_a_snapshot_does_not_change() -> None:
    stats = Stats()
    snapshot = stats.snapshot()
    stats.calls_served += 1
    assert snapshot.calls_served == 0
    with pytest.raises(AttributeError):
        snapshot.calls_served = 1  # type: ignore[misc]


def test_uptime_counts_microseconds_of_the_monotonic_clock() -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    stats = Stats()
    assert before <= stats.started_usec <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert Stats(started_usec=before - 5_000_000).uptime_usec >= 5_000_000


def test_unknown_counters_are_refused() -> None:
    with pytest.raises(AttributeError):
        Stats().calls_servd = 1  # type: ignore[attr-defined]
