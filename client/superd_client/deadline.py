"""The time that a caller has left, for the calls that are made on its behalf."""

from contextvars import ContextVar
from typing import Final

#: When the call that runs here is over, in microseconds of CLOCK_MONOTONIC; None where there is no such time. superd
#: sets it for each handler; calls that the handler makes through this library end by then too.
current_deadline: Final[ContextVar[int | None]] = ContextVar("current_deadline", default=None)
