"""Flow control of one stream, at either end: how many items may pass, and in which order (protocol §14)."""

from collections.abc import Mapping
from typing import TypeVar

from superd_client.wire.envelope import RequestId
from superd_client.wire.errors import ErrorCode, ErrorObject, LocalProtocolError, RemoteProtocolError
from superd_client.wire.limits import CREDIT_MAX


class Outflow:
    """The end that sends items. `credit` is how many more the peer takes now; `head` is what its messages begin with."""

    __slots__ = ("credit", "ended", "head", "next_seq")

    def __init__(self, credit: int, head: bytes = b"") -> None:
        """Begin with the credit that the peer gave with the call."""
        self.credit = credit
        self.head = head
        self.next_seq = 0
        self.ended = False

    def add(self, items: int) -> None:
        """Take more credit; raises RemoteProtocolError where it becomes more than CREDIT_MAX."""
        if self.credit + items > CREDIT_MAX:
            message = f"the credit of a stream is at most {CREDIT_MAX}"
            raise RemoteProtocolError(ErrorObject(ErrorCode.INVALID_PARAMS, message, {}))
        self.credit += items

    def check(self) -> None:
        """Raise LocalProtocolError where no item may be sent now."""
        if self.ended:
            message = "an item after the end of its stream"
            raise LocalProtocolError(message)
        if self.credit <= 0:
            message = "there is no credit for another item"
            raise LocalProtocolError(message)

    def take(self) -> None:
        """Count an item that is sent; `check` was asked before."""
        self.credit -= 1
        self.next_seq += 1

    def end(self) -> None:
        """No more items follow; raises LocalProtocolError where that was said before."""
        if self.ended:
            message = "a second end of a stream"
            raise LocalProtocolError(message)
        self.ended = True


class Inflow:
    """The end that receives items. `credit` is how many the peer may still send."""

    __slots__ = ("credit", "ended", "next_seq")

    def __init__(self, credit: int) -> None:
        """Begin with the credit that this end gave with the call."""
        self.credit = credit
        self.next_seq = 0
        self.ended = False

    def grant(self, items: int) -> None:
        """Let the peer send more; raises LocalProtocolError for what is no credit."""
        if items < 1 or self.credit + items > CREDIT_MAX:
            message = f"{items} cannot be added to a credit of {self.credit}"
            raise LocalProtocolError(message)
        self.credit += items

    def check(self, seq: int) -> None:
        """Raise RemoteProtocolError where the item numbered `seq` may not come now."""
        if self.ended:
            raise RemoteProtocolError(_broken("an item after the end of its stream"))
        if seq != self.next_seq:
            raise RemoteProtocolError(_broken(f"item {seq} in the place of item {self.next_seq}"))
        if self.credit <= 0:
            raise RemoteProtocolError(_broken("an item for which there was no credit"))

    def take(self) -> None:
        """Count an item that came; `check` was asked before."""
        self.credit -= 1
        self.next_seq += 1

    def end(self) -> None:
        """No more items follow; raises RemoteProtocolError where that was said before."""
        if self.ended:
            raise RemoteProtocolError(_broken("a second end of a stream"))
        self.ended = True


FlowT = TypeVar("FlowT")


def opened(flows: Mapping[RequestId, FlowT], request_id: RequestId) -> FlowT:
    """The stream of this call; raises LocalProtocolError where it has none, or none any more."""
    flow = flows.get(request_id)
    if flow is None:
        message = f"no such stream is open for the call with id {request_id!r}"
        raise LocalProtocolError(message)
    return flow


def _broken(message: str) -> ErrorObject:
    return ErrorObject(ErrorCode.INVALID_REQUEST, message, {})
