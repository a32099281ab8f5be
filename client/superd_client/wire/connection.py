"""Both ends of a connection, without the connection: ids, matching, end of file, drain (protocol §7)."""

from collections.abc import Callable
from typing import Final, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from pydantic_core import PydanticSerializationError

from superd_client.wire.envelope import (
    Failure,
    MessageRefused,
    Notification,
    Reply,
    Request,
    RequestId,
    dump_failure,
    dump_notification,
    dump_request,
    dump_result,
    parse_call,
    parse_reply,
)
from superd_client.wire.errors import ErrorCode, ErrorObject, LocalProtocolError, RemoteProtocolError
from superd_client.wire.framing import FrameDecoder, FrameTooLarge, encode_frame
from superd_client.wire.limits import FRAME_SIZE_DEFAULT, ID_INTEGER_MAX
from superd_client.wire.states import RECEIVING, REPLYING, REQUESTING, Input, State, advance

ParseCall: TypeAlias = Callable[[bytes], Request | Notification]


class PeerClosed(NamedTuple):
    """The peer has sent its last byte, between two frames."""


class Refused(NamedTuple):
    """Something that is not to be carried out. Answer with `error`, unless `call` is a notification.

    `call` is None where the message could not be read.
    """

    id: RequestId | None
    error: ErrorObject
    call: Request | Notification | None


class _Connection:
    """What the two ends share: frames in, states, end of file."""

    def __init__(self, frame_limit: int) -> None:
        self.frame_limit: Final = frame_limit
        self.state = State.OPEN
        self._decoder = FrameDecoder(frame_limit)
        self._eof_pending = False

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they were read; b"" is the end of file. Ignored once nothing can follow."""
        if self.state not in RECEIVING:
            return
        if data:
            self._decoder.receive_data(data)
        else:
            self._eof_pending = True

    def drain(self) -> None:
        """Begin nothing new from now on. An end of file inside a frame is then no fault: this end may have made it."""
        self.state = advance(self.state, Input.DRAIN)

    def close(self) -> None:
        """Note that the transport is closed."""
        self.state = advance(self.state, Input.CLOSE)

    def _next_body(self) -> bytes | None:
        """Return the next body or None; raises RemoteProtocolError, after which the connection is BROKEN."""
        if self.state not in RECEIVING:
            return None
        try:
            body = self._decoder.next_frame()
            if body is None and self._eof_pending and self.state is not State.DRAINING:
                self._decoder.receive_eof()
        except RemoteProtocolError:
            self.state = advance(self.state, Input.FRAMING_LOST)
            raise
        return body

    def _at_eof(self) -> bool:
        """Whether the end of file has just been reached; to be asked when there is no further body."""
        if not self._eof_pending or self.state not in RECEIVING:
            return False
        self.state = advance(self.state, Input.EOF_RECEIVED)
        return True


ServerEvent: TypeAlias = Request | Notification | Refused | PeerClosed


class ServerConnection(_Connection):
    """The server's end. `parse` may know the methods and make models of params; by default they stay JSON data."""

    def __init__(self, *, parse: ParseCall = parse_call, frame_limit: int = FRAME_SIZE_DEFAULT) -> None:
        """Begin OPEN, with nothing in flight."""
        super().__init__(frame_limit)
        self._parse = parse
        self._in_flight: set[RequestId] = set()

    @property
    def calls_in_flight(self) -> int:
        """How many requests were handed out and not yet answered."""
        return len(self._in_flight)

    def next_event(self) -> ServerEvent | None:
        """Say what the next message is, or None until more bytes come.

        Raises RemoteProtocolError when framing is lost: send its error with id None, then close.
        """
        body = self._next_body()
        if body is None:
            return PeerClosed() if self._at_eof() else None
        try:
            call = self._parse(body)
        except MessageRefused as refused:
            return Refused(refused.id, refused.error, None)
        return self._admit(call)

    def _admit(self, call: Request | Notification) -> Request | Notification | Refused:
        request_id = call.id if isinstance(call, Request) else None
        if request_id in self._in_flight:
            error = ErrorObject(ErrorCode.INVALID_REQUEST, "this id is in flight already", {})
            return Refused(request_id, error, call)
        if self.state is State.DRAINING:
            error = ErrorObject(
                ErrorCode.UNAVAILABLE, "the server is stopping; the call was not carried out", {}
            )
            return Refused(request_id, error, call)
        if request_id is not None:
            self._in_flight.add(request_id)
        return call

    def send_result(self, request_id: RequestId, value: bytes) -> bytes:
        """Answer a call that is in flight with `value`, which is JSON; return the bytes to write.

        Raises FrameTooLarge, after which the call is still in flight: answer it with a failure.
        """
        self._check_may_reply(request_id)
        frame = encode_frame(dump_result(request_id, value), self.frame_limit)
        self._in_flight.discard(request_id)
        return frame

    def send_failure(self, request_id: RequestId, error: ErrorObject) -> bytes:
        """Answer a call that is in flight with `error`; return the bytes to write."""
        self._check_may_reply(request_id)
        self._in_flight.discard(request_id)
        return self._frame_failure(request_id, error)

    def send_refusal(self, request_id: RequestId | None, error: ErrorObject) -> bytes:
        """Answer a message that was never in flight, or lost framing; return the bytes to write."""
        if self.state is State.CLOSED:
            message = "the connection is closed"
            raise LocalProtocolError(message)
        return self._frame_failure(request_id, error)

    def _check_may_reply(self, request_id: RequestId) -> None:
        if self.state not in REPLYING:
            message = f"no reply can be sent on a connection that is {self.state.value}"
            raise LocalProtocolError(message)
        if request_id not in self._in_flight:
            message = f"no call with id {request_id!r} is in flight"
            raise LocalProtocolError(message)

    def _frame_failure(self, request_id: RequestId | None, error: ErrorObject) -> bytes:
        try:
            return encode_frame(dump_failure(request_id, error), self.frame_limit)
        except (FrameTooLarge, PydanticSerializationError):
            call_id = error.data.get("call_id")
            data = {} if call_id is None else {"call_id": call_id}
            message = error.message[:_SPARE_MESSAGE].encode("utf-8", "replace").decode()
            spare = ErrorObject(error.code, message, data)
            return encode_frame(dump_failure(request_id, spare), self.frame_limit)


class PendingCall(Protocol):
    """What a client keeps for a call that waits; `decode` reads the body of its reply."""

    def decode(self, body: bytes, /) -> Reply:
        """Read a reply; raises MessageRefused."""


CallT = TypeVar("CallT", bound=PendingCall)


class ReplyReceived(NamedTuple, Generic[CallT]):
    """A reply, with the call that it answers."""

    call: CallT
    reply: Reply


#: Characters of the message that fit the smallest frame with the longest id, were all of them escaped (6 bytes each).
_SPARE_MESSAGE: Final = 64

#: How every reply of a superd begins. Only a shortcut to the id: the whole body is still validated.
_REPLY_HEAD: Final = b'{"jsonrpc":"2.0","id":'

#: Digits of the largest integer id.
_ID_DIGITS_MAX: Final = len(str(ID_INTEGER_MAX))


class ClientConnection(_Connection, Generic[CallT]):
    """The client's end. Ids count up from 1 and are used once."""

    def __init__(self, *, frame_limit: int = FRAME_SIZE_DEFAULT) -> None:
        """Begin OPEN, with nothing pending."""
        super().__init__(frame_limit)
        self._last_id = 0
        self._pending: dict[RequestId, CallT] = {}

    @property
    def pending(self) -> tuple[CallT, ...]:
        """The calls that wait for a reply, oldest first."""
        return tuple(self._pending.values())

    def send_request(
        self, method: str, params: bytes, call: CallT, call_id: str | None = None
    ) -> tuple[int, bytes]:
        """Begin `call`, whose `params` are a JSON object; return its id and the bytes to write.

        Raises FrameTooLarge, or LocalProtocolError where the state allows no request; nothing is begun then.
        """
        self._check_may_request()
        request_id = self._last_id + 1
        frame = encode_frame(dump_request(request_id, method, params, call_id), self.frame_limit)
        self._last_id = request_id
        self._pending[request_id] = call
        return request_id, frame

    def send_notification(self, method: str, params: bytes, call_id: str | None = None) -> bytes:
        """Return the bytes of a call that is never answered; raises as send_request does."""
        self._check_may_request()
        return encode_frame(dump_notification(method, params, call_id), self.frame_limit)

    def abandon(self, request_id: int) -> None:
        """Give up on a call: its reply, if one comes, is discarded (§7.6)."""
        self._pending.pop(request_id, None)

    def next_event(self) -> ReplyReceived[CallT] | Notification | PeerClosed | None:
        """Say what the next message is, or None until more bytes come.

        Raises RemoteProtocolError when the server breaks the protocol: close the connection.
        """
        while (body := self._next_body()) is not None:
            try:
                event = self._match(body)
            except RemoteProtocolError:
                self.state = advance(self.state, Input.FRAMING_LOST)
                raise
            if event is not None:
                return event
        return PeerClosed() if self._at_eof() else None

    def _match(self, body: bytes) -> ReplyReceived[CallT] | Notification | None:
        peeked = _peek_id(body)
        call = self._pending.get(peeked)
        if call is not None:
            reply = call.decode(body)
            if reply.id == peeked:
                del self._pending[peeked]
                return ReplyReceived(call, reply)
        return self._match_slowly(body)

    def _match_slowly(self, body: bytes) -> ReplyReceived[CallT] | Notification | None:
        """Match a reply that does not begin as ours do, has a repeated id, or answers nothing that waits."""
        message = parse_reply(body)
        if isinstance(message, Notification):
            return message
        if message.id is None:
            raise RemoteProtocolError(_unattributed(message))
        call = self._pending.pop(message.id, None)
        if call is not None:
            return ReplyReceived(call, call.decode(body))
        if isinstance(message.id, int) and 0 < message.id <= self._last_id:
            return None  # an abandoned call's
        raise RemoteProtocolError(
            ErrorObject(ErrorCode.INVALID_REQUEST, "a reply to a call that was never made", {})
        )

    def _check_may_request(self) -> None:
        if self.state not in REQUESTING:
            message = f"no request can be sent on a connection that is {self.state.value}"
            raise LocalProtocolError(message)


def _peek_id(body: bytes) -> int:
    """Return the integer id of a reply that begins as ours do, else 0, which is no call's."""
    if not body.startswith(_REPLY_HEAD):
        return 0
    end = body.find(b",", len(_REPLY_HEAD), len(_REPLY_HEAD) + _ID_DIGITS_MAX + 1)
    digits = body[len(_REPLY_HEAD) : max(end, 0)]
    return int(digits) if digits.isdigit() else 0


def _unattributed(failure: Failure) -> ErrorObject:
    return failure.error._replace(message=f"the server refused a message: {failure.error.message}")
