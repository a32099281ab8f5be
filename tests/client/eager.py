"""Polling at its most: after every event, and for long enough to find much of what comes."""

from math import inf
from typing import Final

import pytest

from superd_client import polling, sync_link
from superd_client.sockets import Channel
from superd_client.spinning import SpinningPoller

EAGER: Final = {
    "CLOSE_EVENTS": 1,
    "CLOSE_EVENTS_MAX": 1,
    "CLOSE_SECONDS": inf,
    "POLL_SECONDS": 0.005,
    "CROWDED_POLLS": 1 << 30,
}


def poll_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is made from now on, in this process, with latency="low"."""
    for name, value in EAGER.items():
        monkeypatch.setattr(polling, name, value)


class EagerPoller(SpinningPoller):
    """One that polls already before the first event."""

    __slots__ = ()

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._polling.pays = True


def spin_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all blocking clients poll, whatever their latency is."""
    poll_eagerly(monkeypatch)
    monkeypatch.setattr(sync_link, "Poller", EagerPoller)
