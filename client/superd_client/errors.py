"""The exceptions that users of the client catch, ordered by what happened to the call.

SuperdError
    NotSent             the call was never sent: trying again is safe
        ConnectFailed       nobody listens, or the kernel refused us
        WrongServer         the server is not of the unit that it shall be of, or that cannot be proved
        ClientClosed        this client was closed
        MessageTooLarge     the params do not fit a frame
    OutcomeUnknown      it was sent, and nobody can say whether it was carried out
        ConnectionLost
    CallTimeout         no answer in time; `outcome` says whether it was sent
    CallRefused         the server did not carry it out
        InvalidRequest, MethodNotFound, InvalidParams, PermissionDenied, ResourceExhausted, Unavailable
    CallFailed          the server carried it out, or began to
        ApplicationError    a failure that the method declares
        InternalError, Cancelled, Interrupted, ResultTooLarge
        InvalidResult       it succeeded; the result does not fit this side's model
    Conflict            its idempotency key was used before; `outcome` says what that means
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, Protocol

from pydantic import BaseModel
from typing_extensions import override

from superd_client.sensitive import redacted
from superd_client.text import printable
from superd_client.wire.envelope import Failure, Mismatch, Reply, Result
from superd_client.wire.errors import ErrorCode, ErrorObject

#: Characters of a server's message that an exception shows; `message` has all of them.
MESSAGE_MAX: Final = 2048


class Outcome(Enum):
    """What happened to a call."""

    NOT_SENT = "not sent"
    UNKNOWN = "unknown"
    REFUSED = "refused"
    FAILED = "failed"


class SuperdError(Exception):
    """A call did not return a result. `call_id` finds it in the journal of both sides."""

    outcome = Outcome.UNKNOWN

    def __init__(self, message: str, *, method: str | None = None, call_id: str | None = None) -> None:
        """Say what happened, to which call."""
        super().__init__(message)
        self.message = message
        self.method = method
        self.call_id = call_id

    @override
    def __str__(self) -> str:
        """One line: the method, what happened, the outcome, the call id. What a server said cannot leave it."""
        head = f"{printable(self.method)}: " if self.method else ""
        tail = f" [call {printable(self.call_id)}]" if self.call_id else ""
        return f"{head}{printable(self.message, MESSAGE_MAX)} (outcome: {self.outcome.value}){tail}"


class NotSent(SuperdError):
    """The call was never sent: trying again is safe."""

    outcome = Outcome.NOT_SENT


class ConnectFailed(NotSent, ConnectionError):
    """No connection could be made; `__cause__` is the OSError."""


class WrongServer(NotSent):
    """The server is not of the unit that `expect_unit` names, or that cannot be proved. It has got no call."""


class ClientClosed(NotSent):
    """The client was closed before the call was sent."""


class MessageTooLarge(NotSent, ValueError):
    """The call does not fit a frame."""


class OutcomeUnknown(SuperdError):
    """The call was sent, and nobody can say whether it was carried out."""


class ConnectionLost(OutcomeUnknown, ConnectionError):
    """The connection ended before the reply came."""


class CallTimeout(SuperdError, TimeoutError):
    """No reply in time. `outcome` is NOT_SENT where the time ran out before the call was written, else UNKNOWN."""

    def __init__(
        self, message: str, *, sent: bool, method: str | None = None, call_id: str | None = None
    ) -> None:
        """Set the outcome by whether the call was sent."""
        super().__init__(message, method=method, call_id=call_id)
        self.outcome = Outcome.UNKNOWN if sent else Outcome.NOT_SENT


class RemoteError(SuperdError):
    """The server answered with a failure: `code`, and `data` as protocol §8 has it."""

    def __init__(
        self,
        message: str,
        *,
        code: int = 0,
        data: Mapping[str, Any] | None = None,
        method: str | None = None,
        call_id: str | None = None,
    ) -> None:
        """Keep the failure's parts."""
        super().__init__(message, method=method, call_id=call_id)
        self.code = code
        self.data: Mapping[str, Any] = data or {}


class CallRefused(RemoteError):
    """The server did not carry the call out."""

    outcome = Outcome.REFUSED


class InvalidRequest(CallRefused):
    """The server did not take the message for a request: the two sides disagree about the protocol."""


class MethodNotFound(CallRefused):
    """The server has no such method; `data["nearest"]` lists names that look alike."""


class InvalidParams(CallRefused, ValueError):
    """The server's model refuses the params; `data["errors"]` lists loc, type and msg of each fault."""


class PermissionDenied(CallRefused, PermissionError):
    """This caller may not call this method."""


class ResourceExhausted(CallRefused):
    """A limit of the server was reached; `data` has resource, used, limit, and perhaps retry_after_usec."""


class Unavailable(CallRefused):
    """The server is stopping; the call may be sent again on a new connection."""


class CallFailed(RemoteError):
    """The server carried the call out, or began to, and has no result."""

    outcome = Outcome.FAILED


class InternalError(CallFailed):
    """The handler failed in a way that nobody declared; the server's journal has the traceback."""


class Cancelled(CallFailed):
    """The server cancelled the call because it stopped."""


class Interrupted(CallFailed):
    """The server was restarted, and a stream that had begun is not carried over. The items that came are true."""


class ResultTooLarge(CallFailed):
    """The call was carried out; its result does not fit a frame."""


class Conflict(RemoteError):
    """The idempotency key was used before, and the first call's answer is not to be had (protocol §20).

    This call was not carried out. `reason` is "different" where the first call had other params or another method,
    and the outcome is REFUSED; "running" where the first one still runs, "lost" where the server cannot say what
    became of it, and the outcome is UNKNOWN.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int = ErrorCode.CONFLICT,
        data: Mapping[str, Any] | None = None,
        method: str | None = None,
        call_id: str | None = None,
    ) -> None:
        """Set the outcome by the reason; one that is not known leaves it unknown."""
        super().__init__(message, code=code, data=data, method=method, call_id=call_id)
        self.reason = _text(self.data.get("reason")) or ""
        self.outcome = Outcome.REFUSED if self.reason == "different" else Outcome.UNKNOWN


class InvalidResult(CallFailed):
    """The call was carried out; this side's model refuses its result. `data["errors"]` lists the faults."""


class ApplicationError(CallFailed):
    """A failure that the method declares. Handlers raise it, callers catch it.

    `detail` is the declared model; at a caller that does not know the declared type it is None, and `data` has
    `type` and `detail` as they came.
    """

    def __init__(
        self,
        detail: BaseModel | None,
        message: str = "",
        *,
        data: Mapping[str, Any] | None = None,
        method: str | None = None,
        call_id: str | None = None,
    ) -> None:
        """Wrap `detail`; `message` is the sentence for people and defaults to the model's name."""
        text = message or (type(detail).__name__ if detail is not None else "application error")
        super().__init__(text, code=ErrorCode.APPLICATION_ERROR, data=data, method=method, call_id=call_id)
        self.detail = detail


_BY_CODE: Final[Mapping[int, type[RemoteError]]] = {
    ErrorCode.PARSE_ERROR: InvalidRequest,
    ErrorCode.INVALID_REQUEST: InvalidRequest,
    ErrorCode.METHOD_NOT_FOUND: MethodNotFound,
    ErrorCode.INVALID_PARAMS: InvalidParams,
    ErrorCode.PERMISSION_DENIED: PermissionDenied,
    ErrorCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    ErrorCode.UNAVAILABLE: Unavailable,
    ErrorCode.INTERNAL_ERROR: InternalError,
    ErrorCode.CANCELLED: Cancelled,
    ErrorCode.FRAME_TOO_LARGE: ResultTooLarge,
    ErrorCode.CONFLICT: Conflict,
}


class Called(Protocol):
    """What `unwrap` needs to know of a method."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def holds_secrets(self) -> bool:
        """Whether its declared errors may hold secrets."""

    def decode_error(self, error: ErrorObject) -> BaseModel | None:
        """Its declared error, if it is one."""


def unwrap(reply: Reply, method: Called, call_id: str | None) -> Any:
    """Return the value of a result; raise what any other reply means."""
    if isinstance(reply, Result):
        return reply.value
    if isinstance(reply, Mismatch):
        message = "the result does not fit this side's model of it"
        raise InvalidResult(message, data={"errors": reply.faults}, method=method.name, call_id=call_id)
    raise remote_error(reply, method, call_id)


def remote_error(failure: Failure, method: Called, call_id: str | None) -> RemoteError:
    """Turn a failure into the exception for its code."""
    error = failure.error
    known_call_id = call_id or _text(error.data.get("call_id"))
    if error.code == ErrorCode.APPLICATION_ERROR:
        detail = method.decode_error(error)
        data = error.data
        if detail is not None and method.holds_secrets:
            data = {**data, "detail": redacted(detail)}
        return ApplicationError(detail, error.message, data=data, method=method.name, call_id=known_call_id)
    kind = Interrupted if _is_interrupted(error) else _BY_CODE.get(error.code, CallFailed)
    return kind(error.message, code=error.code, data=error.data, method=method.name, call_id=known_call_id)


def is_unavailable(reply: object) -> bool:
    """Whether a server that stops has refused a call, which may then be begun again on another connection."""
    return (
        isinstance(reply, Failure)
        and reply.error.code == ErrorCode.UNAVAILABLE
        and not _is_interrupted(reply.error)
    )


def _is_interrupted(error: ErrorObject) -> bool:
    """Whether a restart ended a stream that had begun (protocol §19.6)."""
    return error.code == ErrorCode.UNAVAILABLE and error.data.get("begun") is True


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
