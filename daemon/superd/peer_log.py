"""Lines of the journal about connections: counted, and limited for each user."""

from collections.abc import Container
from typing import Any, Final

from superd.journal import MessageId, get_logger
from superd.log_limit import LogLimit
from superd.peer import Caller
from superd.stats import Stats
from superd_client.wire.errors import ErrorObject


class PeerLog:
    """Tells of connections that are not served any more, and why."""

    def __init__(self, stats: Stats, trusted: Container[int] = ()) -> None:
        """Count in `stats`; the lines that `trusted` users cause are not limited."""
        self._stats = stats
        self.limit: Final = LogLimit(stats, trusted)

    def refused(self, caller: Caller, call_id: str, error: ErrorObject) -> None:
        """A connection was closed as soon as it was accepted."""
        self._stats.connections_refused += 1
        self._tell("connection refused", MessageId.CONNECTION_REFUSED, caller, call_id=call_id, **_why(error))

    def shed(self, caller: Caller, call_id: str, error: ErrorObject) -> None:
        """A connection was closed, because others need its descriptor."""
        self._stats.connections_shed += 1
        self._tell("connection closed", MessageId.CONNECTION_SHED, caller, call_id=call_id, **_why(error))

    def framing_lost(self, caller: Caller, call_id: str, error: ErrorObject) -> None:
        """It cannot be known any more where a frame begins."""
        event = "framing lost, connection closed"
        self._tell(
            event,
            MessageId.FRAMING_LOST,
            caller,
            call_id=call_id,
            code=int(error.code),
            reason=error.message,
        )

    def stalled(self, caller: Caller, seconds: float, *, bytes_waiting: int, unfinished: bool) -> None:
        """A peer did not read, or did not finish a frame, in the time that it has for that."""
        self._stats.connections_timed_out += 1
        what = "it did not finish a frame" if unfinished else "it did not read what waits for it"
        self._tell(
            "connection closed",
            MessageId.PEER_STALLED,
            caller,
            reason=f"{what} for {seconds:.0f} s",
            bytes_waiting=bytes_waiting,
            seconds=round(seconds, 1),
        )

    def _tell(self, event: str, message_id: MessageId, caller: Caller, **fields: Any) -> None:
        if self.limit.allows(caller.uid):
            get_logger().warning(
                event,
                message_id=message_id,
                peer_uid=caller.uid,
                peer_pid=caller.pid,
                peer_unit=caller.unit,
                **fields,
            )


def _why(error: ErrorObject) -> dict[str, Any]:
    """What a user holds too much of."""
    named = {name: error.data.get(name) for name in ("resource", "used", "limit")}
    reason = f"{error.message}: {named['used']} of {named['limit']}"
    return {"code": int(error.code), "reason": reason, **named}
