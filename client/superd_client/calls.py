"""One call, as both clients see it: its identity, its time, its codec, and the exceptions that may end it."""

import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from superd_client.address import Address, SocketKind, default_address, parse_address
from superd_client.contract import Method, UntypedMethod
from superd_client.errors import (
    CallTimeout,
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    InvalidResult,
    MessageTooLarge,
    NotSent,
    SuperdError,
    unwrap,
)
from superd_client.sockets import explain_refusal
from superd_client.wire.control import ItemHead
from superd_client.wire.envelope import CallId, MessageRefused, Mismatch, Reply, parse_reply
from superd_client.wire.errors import ErrorCode, ErrorObject, RemoteProtocolError
from superd_client.wire.limits import CALL_ID_MAX, FRAME_SIZE_MAX, FRAME_SIZE_MIN

#: Seconds that a call may take unless its caller says otherwise: what D-Bus gives a call (peers wait for ever).
DEFAULT_TIMEOUT: Final = 25.0

#: How often a call is written at most: a connection that the server had closed while it was idle shows only when
#: something is written to it, and then nothing was sent.
ATTEMPTS: Final = 2

_call_id: Final = TypeAdapter[str](CallId, config=ConfigDict(strict=True, hide_input_in_errors=True))


class CallIds:
    """Makes call ids that no other client makes: a random prefix, and a number that counts up."""

    __slots__ = ("_numbers", "_prefix")

    def __init__(self) -> None:
        """Draw the prefix."""
        self._prefix: Final = os.urandom(6).hex()
        self._numbers: Final = itertools.count(1)

    def make(self) -> str:
        """The next id. Safe to call from several threads at once."""
        return f"{self._prefix}-{next(self._numbers)}"


class Call(ABC):
    """What is known of one call while it waits. The clients say how its end reaches the caller."""

    __slots__ = ("call_id", "fault", "method", "request_id", "sent", "size", "timeout")

    def __init__(self, method: Method[Any, Any] | str, call_id: str, timeout: float) -> None:
        """Begin a call that is not sent."""
        self.method: Final = UntypedMethod(method) if isinstance(method, str) else method
        self.call_id: Final = call_id
        self.timeout: Final = timeout
        #: Its id on the connection that it was last given to.
        self.request_id = 0
        #: Bytes of its frame's body, once there is one.
        self.size = 0
        #: Whether the whole of its frame has gone to the kernel.
        self.sent = False
        #: What a validator of the result raised, if it was no ValidationError.
        self.fault: Exception | None = None

    @abstractmethod
    def resolve(self, reply: Reply) -> None:
        """Take the reply."""

    @abstractmethod
    def fail(self, error: SuperdError) -> None:
        """Take the reason why there will be no reply."""

    def decode(self, body: bytes, fds: Sequence[int] = ()) -> Reply:
        """Read the reply; raises MessageRefused.

        A model's own validators may raise anything. That must not reach whoever happens to read the socket.
        """
        try:
            return self.method.decode_reply(body, fds)
        except RemoteProtocolError:
            raise
        except Exception as error:  # noqa: BLE001 - it is the caller's, and reaches him
            parse_reply(body)  # what is no legal reply is the server's fault all the same
            self.fault = error
            return Mismatch(
                self.request_id, [{"loc": [], "type": "validator_failed", "msg": type(error).__name__}]
            )

    def decode_item(self, _body: bytes, _fds: Sequence[int], _head: ItemHead) -> Any:
        """Read an item of a stream; raises MessageRefused."""
        raise MessageRefused(
            ErrorObject(ErrorCode.INVALID_REQUEST, "an item of a call that is no stream", {})
        )

    def result(self, reply: Reply) -> Any:
        """The value for the caller; raises what the reply means."""
        try:
            return unwrap(reply, self.method, self.call_id)
        except InvalidResult as error:
            raise error from self.fault

    def timed_out(self, phase: str, *, sent: bool) -> CallTimeout:
        """The exception for a deadline that passed in `phase`."""
        message = f"{phase} within {self.timeout:g} s"
        return CallTimeout(message, sent=sent, method=self.method.name, call_id=self.call_id)

    def lost(self, reason: str) -> ConnectionLost:
        """The exception for a connection that ended after the call was sent."""
        return ConnectionLost(reason, method=self.method.name, call_id=self.call_id)

    def closed(self) -> ClientClosed:
        """The exception for a client that was closed before the call was sent."""
        return ClientClosed("the client is closed", method=self.method.name, call_id=self.call_id)

    def unconnected(self, reason: str) -> ConnectFailed:
        """The exception for a connection that could not be made, or not used."""
        return ConnectFailed(reason, method=self.method.name, call_id=self.call_id)

    def too_large(self, reason: str) -> MessageTooLarge:
        """The exception for a frame that one of the two sides does not admit."""
        return MessageTooLarge(reason, method=self.method.name, call_id=self.call_id)

    def unsendable(self, reason: str, cause: OSError) -> NotSent:
        """The exception for a frame that the kernel did not take, on a connection that goes on."""
        error = NotSent(reason, method=self.method.name, call_id=self.call_id)
        error.__cause__ = cause
        return error

    def refused_by_kernel(self, address: Address, error: OSError) -> ConnectFailed:
        """The exception for a connect that failed."""
        return self.unconnected(explain_refusal(address, error))


def check_address(address: str | Address | None) -> Address:
    """The address that a client was given, read; raises ValueError."""
    if address is None:
        address = default_address()
    elif isinstance(address, str):
        address = parse_address(address)
    if address.kind is SocketKind.DATAGRAM:
        message = f"{str(address)!r} is of a datagram socket, which has no connections: a client needs one"
        raise ValueError(message)
    return address


def check_timeout(seconds: float) -> float:
    """Raise ValueError unless `seconds` are finite and more than 0: no call waits for ever."""
    if not 0 < seconds < float("inf"):
        message = f"a timeout is a finite number of seconds above 0, not {seconds!r}"
        raise ValueError(message)
    return float(seconds)


def check_call_id(call_id: str) -> str:
    """Raise ValueError for a call id against protocol §5."""
    try:
        return _call_id.validate_python(call_id)
    except ValidationError:
        message = (
            f"a call id has 1 to {CALL_ID_MAX} characters out of A-Z a-z 0-9 . _ : -, unlike {call_id!r}"
        )
        raise ValueError(message) from None


def check_frame_limit(size: int) -> int:
    """Raise ValueError for a frame limit that the protocol does not admit (§2)."""
    if not FRAME_SIZE_MIN <= size <= FRAME_SIZE_MAX:
        message = f"a frame limit is between {FRAME_SIZE_MIN} and {FRAME_SIZE_MAX} bytes, not {size!r}"
        raise ValueError(message)
    return size
