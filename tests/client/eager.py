"""Polling at its most: after every event, and for long enough to find much of what comes."""

from math import inf
from typing import Final

import pytest

from superd_client import polling

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
