"""What can go wrong on the wire, and whose mistake it was.

The class assigns the blame: a `LocalProtocolError` is a mistake of the program that uses this library, a
`RemoteProtocolError` one of the peer. Both carry plain data only.
"""

from enum import IntEnum
from typing import Any, NamedTuple


class ErrorCode(IntEnum):
    """The codes of protocol §8."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    APPLICATION_ERROR = -32000
    PERMISSION_DENIED = -32001
    RESOURCE_EXHAUSTED = -32002
    DEADLINE_EXCEEDED = -32003
    CANCELLED = -32004
    UNAVAILABLE = -32005
    FRAME_TOO_LARGE = -32006
    CONFLICT = -32007


class ErrorObject(NamedTuple):
    """The `error` member of a failure (§4.4): a code, a sentence for people, and details for programs."""

    code: int
    message: str
    data: dict[str, Any]

    def with_data(self, **more: object) -> "ErrorObject":
        """The same error with further members in `data`."""
        return self._replace(data={**self.data, **more})


class InternalFault(ErrorObject):
    """A fault of this side's own code. The peer hears nothing of its `cause`, which is for the log."""

    cause: BaseException | None = None

    @classmethod
    def of(cls, cause: BaseException) -> "InternalFault":
        """What to answer where `cause` was raised by what should not raise it."""
        fault = cls(ErrorCode.INTERNAL_ERROR, "internal error", {})
        fault.cause = cause
        return fault


class ProtocolError(Exception):
    """A rule of the protocol was broken."""


class LocalProtocolError(ProtocolError):
    """This side tried something that the protocol does not allow; nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol. `error` is what to tell it."""

    def __init__(self, error: ErrorObject) -> None:
        """Take the message of `error` as this exception's text."""
        super().__init__(error.message)
        self.error = error
