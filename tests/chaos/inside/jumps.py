"""A service that has nothing but a bad influence: from its import on, Python's wall clock jumps whenever it is read.

The guest's own cannot be set, since it is the host's. What of superd and its libraries decides by the wall clock in Python's
code is hit by this as by a real jump; what is written in C reads another clock, or only shows people the time.
"""

import random
import time
from typing import Final

from superd.service import Service

#: As far as it jumps, either way.
YEAR_NSEC: Final = 365 * 86400 * 10**9

_chance: Final = random.Random(0)
_time_ns: Final = time.time_ns


def jumped_ns() -> int:
    """Any time within a year."""
    return _time_ns() + _chance.randrange(-YEAR_NSEC, YEAR_NSEC)


def jumped() -> float:
    """The same in seconds."""
    return jumped_ns() / 1e9


time.time = jumped
time.time_ns = jumped_ns

jumps = Service("jumps", version="1.0.0")
