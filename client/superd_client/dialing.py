"""Which server a client connects to, and for how long it tries."""

import errno
from dataclasses import dataclass
from time import monotonic
from typing import Final

from superd_client.address import Address
from superd_client.arguments import (
    check_address,
    check_expect_unit,
    check_frame_limit,
    check_latency,
    check_wait_for_server,
)
from superd_client.calls import Call
from superd_client.errors import CallTimeout, ConnectFailed, SuperdError
from superd_client.polling import Latency
from superd_client.sockets import backoff_delays
from superd_client.wire.envelope import Reply
from superd_client.witness import UnitProof

#: What connect(2) says where no server is, and one may be in a moment: between two that are no units of a socket, or
#: while the socket's own unit is restarted.
ABSENT: Final = frozenset({errno.ENOENT, errno.ECONNREFUSED})

_FULL: Final = "no room in the server's backlog"
_PROVING: Final = "the server's unit not proved"


@dataclass(frozen=True, slots=True)
class Destination:
    """The server that a client was given: its arguments, checked."""

    address: Address
    frame_limit: int
    wait_for_server: float
    expect_unit: str | None
    latency: Latency

    def proof(self) -> UnitProof | None:
        """What each new connection needs before it is used."""
        return None if self.expect_unit is None else UnitProof(self.expect_unit)


def check_destination(
    address: str | Address | None,
    frame_limit: int,
    wait_for_server: float,
    expect_unit: str | None,
    latency: Latency,
) -> Destination:
    """What a client was given, read and checked; raises ValueError."""
    parsed = check_address(address)
    return Destination(
        parsed,
        check_frame_limit(frame_limit),
        check_wait_for_server(wait_for_server),
        check_expect_unit(expect_unit, parsed),
        check_latency(latency, parsed),
    )


class Dial:
    """The tries of one call to reach the server: how long to pause after each, or why there is no other."""

    __slots__ = ("_call", "_delays", "_destination", "_until")

    def __init__(self, call: Call, destination: Destination) -> None:
        """Begin now."""
        self._call: Final = call
        self._destination: Final = destination
        self._delays: Final = backoff_delays()
        self._until: Final = monotonic() + destination.wait_for_server

    def seconds(self) -> float:
        """How long the call may take; raises CallTimeout where its time is over."""
        return self._call.time_left(_FULL)

    def pause(self, error: OSError) -> float:
        """Seconds to pause after a connect that failed; raises CallTimeout or ConnectFailed where it is not tried again.

        A full backlog is waited for until the deadline, an absent server for `wait_for_server` too.
        """
        if isinstance(error, BlockingIOError):
            return min(next(self._delays), self._call.time_left(_FULL))
        seconds = self._seconds_for(error)
        if seconds <= 0:
            raise self.given_up(error) from error
        return min(next(self._delays), seconds)

    def pause_after(self, failed: ConnectFailed) -> float:
        """The same for a datagram that found nobody; raises `failed`."""
        cause = failed.__cause__
        seconds = self._seconds_for(cause) if isinstance(cause, OSError) else 0
        if seconds <= 0:
            raise failed
        return min(next(self._delays), seconds)

    def given_up(self, error: OSError | None) -> SuperdError:
        """The exception for a call whose time is over, or its patience, by how connects failed; None: by the proof."""
        if error is None or isinstance(error, BlockingIOError):
            return self._call.timed_out(_PROVING if error is None else _FULL, sent=False)
        return self._call.refused_by_kernel(self._destination.address, error)

    def _seconds_for(self, error: OSError) -> float:
        return min(self._until, self._call.deadline) - monotonic() if error.errno in ABSENT else 0


class Question:
    """What is asked on a new connection before `call` may use it: nobody else has a call there yet."""

    PARAMS: Final = b"{}"

    def __init__(self, call: Call) -> None:
        """Ask for `call`, in its time."""
        self._call: Final = call

    def seconds(self) -> float:
        """How long the answer may take; raises CallTimeout where there is no time left."""
        return self._call.time_left(_PROVING)

    def check(self, end: Reply | SuperdError | None, *, hung_up: bool) -> bool:
        """Whether there is an answer, of whatever kind; False where another connection may give one, else raises."""
        if isinstance(end, CallTimeout):
            raise self._call.timed_out(_PROVING, sent=False) from end
        if end is not None and not isinstance(end, SuperdError):
            return True
        if hung_up:
            return False
        reason = end.message if end is not None else "the connection ended"
        raise self._call.unconnected(f"{reason}, before the server's unit was proved") from end
