"""The server's end of a connection, without the connection: calls in flight, their streams, refusals (protocol §7, §14)."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from pydantic_core import PydanticSerializationError
from typing_extensions import override

from superd_client.wire.connection import Connection, PeerClosed
from superd_client.wire.control import (
    REQUEST_HEAD,
    Cancel,
    Control,
    ControlRefused,
    Credit,
    End,
    Goaway,
    ItemHead,
    dump_credit,
    dump_goaway,
    dump_item_head,
    frame_item,
    may_be_control,
    parse_control,
    peek_item,
)
from superd_client.wire.envelope import (
    ItemRefused,
    MessageRefused,
    Notification,
    Request,
    RequestId,
    check_fds,
    dump_failure,
    dump_id,
    dump_result,
    parse_call,
)
from superd_client.wire.errors import ErrorCode, ErrorObject, LocalProtocolError, RemoteProtocolError
from superd_client.wire.framing import FrameTooLarge, PacketRefused, encode_frame
from superd_client.wire.limits import FRAME_SIZE_DEFAULT, HEADER_SIZE
from superd_client.wire.states import REPLYING, State
from superd_client.wire.streams import Inflow, Outflow, opened

#: Reads a call and owns its descriptors, unless it raises MessageRefused.
ParseCall: TypeAlias = Callable[[bytes, Sequence[int]], Request | Notification]

#: Reads the item that a head announces, and owns its descriptors, unless it raises MessageRefused that is no ItemRefused.
ParseItem: TypeAlias = Callable[[bytes, Sequence[int], ItemHead], Any]


class Refused(NamedTuple):
    """Something that is not to be carried out. Answer with `error`, unless `call` is a notification.

    `call` is None where the message could not be read; else it owns its descriptors, which are to be closed.
    """

    id: RequestId | None
    error: ErrorObject
    call: Request | Notification | None


class Item(NamedTuple):
    """The next item of an upload."""

    id: RequestId
    value: Any
    #: How many descriptors came with it; they are the value's.
    fds: int = 0


class StreamBroken(NamedTuple):
    """The peer broke the rules of this call, or sent what its contract refuses: end it with `error`.

    Nothing that the peer still sends for it has any effect.
    """

    id: RequestId
    error: ErrorObject


class Taken(NamedTuple):
    """A message that who asked for it took care of by itself."""


ServerEvent: TypeAlias = (
    Request | Notification | Refused | PeerClosed | Cancel | Credit | Item | End | StreamBroken | Taken
)

_TAKEN: Final = Taken()

#: Characters of the message that fit the smallest frame with the longest id, were all of them escaped (6 bytes each).
_SPARE_MESSAGE: Final = 64


#: What all connections have that have no streams and no uploads. Nothing is ever put in: the first gets a dict of its own.
_NO_OUTFLOWS: Final[dict[RequestId, Outflow]] = {}
_NO_INFLOWS: Final[dict[RequestId, tuple[Inflow, ParseItem]]] = {}


def frame_result(request_id: RequestId, value: bytes, limit: int) -> bytes:
    """The frame of the result `value`, which is JSON: what encode_frame makes of dump_result, with one copy of it."""
    head = b'{"jsonrpc":"2.0","id":%b,"result":' % (
        b"%d" % request_id if isinstance(request_id, int) else dump_id(request_id)
    )
    length = len(head) + len(value) + 1
    if length > limit:
        raise FrameTooLarge(length, limit)
    return b"%b%b%b}" % (length.to_bytes(HEADER_SIZE, "big"), head, value)


class ServerConnection(Connection):
    """The server's end. `parse` may know the methods and make models of params; by default they stay JSON data."""

    __slots__ = ("_inflows", "_outflows", "_parse", "awaited", "body_size", "in_flight")

    def __init__(
        self,
        *,
        parse: ParseCall = parse_call,
        frame_limit: int = FRAME_SIZE_DEFAULT,
        packets: bool = False,
    ) -> None:
        """Begin OPEN, with nothing in flight."""
        super().__init__(frame_limit, packets=packets)
        self._parse = parse
        #: Requests that were handed out, or taken, and are not answered.
        self.in_flight: Final[set[RequestId]] = set()
        self._outflows = _NO_OUTFLOWS
        self._inflows = _NO_INFLOWS
        #: Bytes of the body that the last event came with.
        self.body_size = 0
        #: After `next_event` has returned None: bytes of the frame that has begun, as its header says, or 0.
        self.awaited = 0

    @property
    def calls_in_flight(self) -> int:
        """How many requests were handed out and not yet answered."""
        return len(self.in_flight)

    def is_in_flight(self, request_id: RequestId) -> bool:
        """Whether this request was handed out and is not yet answered."""
        return request_id in self.in_flight

    @override
    def close(self) -> None:
        super().close()
        self.in_flight.clear()
        self._outflows.clear()
        self._inflows.clear()

    # --- what comes in -------------------------------------------------------------------------------------------

    def next_event(self, take: Callable[[bytes], bool] | None = None) -> ServerEvent | None:
        """Say what the next message is, or None until more bytes come.

        `take` is asked first, for what `may_take` allows; where it returns true it took care of the message.
        Raises RemoteProtocolError when framing is lost: send its error with id None, then close.
        """
        while True:
            try:
                body = self._next_body()
            except PacketRefused as refused:
                return Refused(None, refused.error, None)
            if body is None:
                self.awaited = self._decoder.awaited
                return PeerClosed() if self._at_eof() else None
            self.body_size = len(body)
            fds = self._decoder.take_fds()
            if take is not None and not fds and self.may_take(body) and take(body):
                return _TAKEN
            event = self._read(body, fds)
            if event is not None:
                return event

    def may_take(self, body: bytes) -> bool:
        """Whether who reads `body` by itself may carry it out, where it is a call whose id is not `in_flight`.

        A request that is not answered then and there is to be put `in_flight`.
        """
        if self.state is not State.OPEN:
            return False
        return not (self._inflows or self._outflows) or body.startswith(REQUEST_HEAD)

    def _read(self, body: bytes, fds: Sequence[int]) -> ServerEvent | None:
        """The event of one body; None for what has no effect."""
        item = self._expected_item(body, fds)
        if item is not None:
            return item
        try:
            control = parse_control(body) if may_be_control(body) else None
            if control is not None:
                return self._controlled(control, body, fds)
            call = self._parse(body, fds)
        except ControlRefused as refused:
            self._decoder.surplus.extend(fds)
            return self._control_refused(refused)
        except MessageRefused as refused:
            self._decoder.surplus.extend(fds)
            return Refused(refused.id, refused.error, None)
        return self._admit(call)

    def _admit(self, call: Request | Notification) -> Request | Notification | Refused:
        request_id = call.id if isinstance(call, Request) else None
        if request_id in self.in_flight:
            error = ErrorObject(ErrorCode.INVALID_REQUEST, "this id is in flight already", {})
            return Refused(request_id, error, call)
        if self.state is State.DRAINING:
            error = ErrorObject(
                ErrorCode.UNAVAILABLE,
                "the server takes no more calls on this connection; the call was not carried out",
                {},
            )
            return Refused(request_id, error, call)
        if request_id is not None:
            self.in_flight.add(request_id)
        return call

    def _controlled(self, control: Control, body: bytes, fds: Sequence[int]) -> ServerEvent | None:
        """What a notification of the protocol does here; nothing, where its call has ended or never was."""
        if isinstance(control, ItemHead):
            return self._item(control, body, fds)
        check_fds(0, fds, None)
        if isinstance(control, Goaway) or control.id not in self.in_flight:
            return None
        if isinstance(control, Credit):
            return self._credited(control)
        if isinstance(control, End):
            return self._ended(control)
        return control

    def _credited(self, control: Credit) -> Credit | StreamBroken | None:
        outflow = self._outflows.get(control.id)
        if outflow is None:
            return None
        try:
            outflow.add(control.n)
        except RemoteProtocolError as broken:
            return self._broken(control.id, broken.error)
        return control

    def _ended(self, control: End) -> End | StreamBroken | None:
        inflow, _ = self._inflows.get(control.id, (None, None))
        if inflow is None:
            return None
        try:
            inflow.end()
        except RemoteProtocolError as broken:
            return self._broken(control.id, broken.error)
        return control

    def _expected_item(self, body: bytes, fds: Sequence[int]) -> Item | StreamBroken | None:
        """The next item of an upload, where the body looks like one and is one: then it is read but once."""
        head = peek_item(body)
        try:
            return None if head is None else self._next_item(head, body, fds)
        except ItemRefused as refused:
            # Its descriptors are closed: nobody can read it once more.
            return self._broken(head.id, refused.error) if head is not None and fds else None
        except RemoteProtocolError:
            return None

    def _item(self, head: ItemHead, body: bytes, fds: Sequence[int]) -> Item | StreamBroken | None:
        try:
            item = self._next_item(head, body, fds)
        except ItemRefused as refused:
            return self._broken(head.id, refused.error)
        except RemoteProtocolError as broken:
            self._decoder.surplus.extend(fds)
            return self._broken(head.id, broken.error)
        if item is None:
            self._decoder.surplus.extend(fds)
        return item

    def _next_item(self, head: ItemHead, body: bytes, fds: Sequence[int]) -> Item | None:
        """Read the item, which owns its descriptors then; None for no upload.

        Raises RemoteProtocolError, and owns nothing then.
        """
        inflow, parse = self._inflows.get(head.id, (None, None))
        if inflow is None or parse is None:
            return None
        inflow.check(head.seq)
        value = parse(body, fds, head)
        inflow.take()
        return Item(head.id, value, len(fds))

    def _control_refused(self, refused: ControlRefused) -> StreamBroken | Refused:
        if refused.named is not None and refused.named in self.in_flight:
            return self._broken(refused.named, refused.error_of_call)
        return Refused(None, refused.error, None)

    def _broken(self, request_id: RequestId, error: ErrorObject) -> StreamBroken:
        self._close_flows(request_id)
        return StreamBroken(request_id, error)

    # --- what goes out -------------------------------------------------------------------------------------------

    def open_outflow(self, request_id: RequestId, credit: int) -> None:
        """The call is a stream: items may be sent within `credit`, and what `rpc.credit` adds."""
        self._check_may_reply(request_id)
        self._outflows = self._outflows or {}
        self._outflows[request_id] = Outflow(credit, dump_item_head(request_id))

    def open_inflow(self, request_id: RequestId, credit: int, parse: ParseItem) -> bytes:
        """The call is an upload: let the peer send `credit` items, or none yet; return the bytes to write."""
        self._check_may_reply(request_id)
        self._inflows = self._inflows or {}
        self._inflows[request_id] = (Inflow(0), parse)
        return self.send_credit(request_id, credit) if credit else b""

    def send_credit(self, request_id: RequestId, items: int) -> bytes:
        """Let the peer send so many more items of an upload that is open; return the bytes to write."""
        self._check_may_reply(request_id)
        inflow, _ = opened(self._inflows, request_id)
        inflow.grant(items)
        return encode_frame(dump_credit(request_id, items), self.send_limit)

    def credit(self, request_id: RequestId) -> int:
        """How many items of this stream may be sent now; 0 once the call is answered."""
        outflow = self._outflows.get(request_id)
        return outflow.credit if outflow is not None else 0

    def send_item(self, request_id: RequestId, item: bytes, fds: int = 0) -> bytes:
        """Send the next item of a stream, `item` being JSON; return the bytes to write.

        Raises LocalProtocolError where there is no credit, FrameTooLarge, after which the stream goes on.
        """
        self._check_may_reply(request_id)
        outflow = opened(self._outflows, request_id)
        outflow.check()
        frame = frame_item(outflow.head, outflow.next_seq, item, fds, self.send_limit)
        outflow.take()
        return frame

    def send_goaway(self) -> bytes:
        """Say that this server is going to stop; return the bytes to write."""
        self._check_may_send()
        return encode_frame(dump_goaway(), self.send_limit)

    def send_result(self, request_id: RequestId, value: bytes, fds: int = 0) -> bytes:
        """Answer a call that is in flight with `value`, which is JSON; return the bytes to write.

        Raises FrameTooLarge, after which the call is still in flight: answer it with a failure.
        """
        self._check_may_reply(request_id)
        if fds:
            frame = encode_frame(dump_result(request_id, value, fds), self.send_limit)
        else:
            frame = frame_result(request_id, value, self.send_limit)
        self._end(request_id)
        return frame

    def send_failure(self, request_id: RequestId, error: ErrorObject) -> bytes:
        """Answer a call that is in flight with `error`; return the bytes to write."""
        self._check_may_reply(request_id)
        self._end(request_id)
        return self._frame_failure(request_id, error)

    def send_refusal(self, request_id: RequestId | None, error: ErrorObject) -> bytes:
        """Answer a message that was never in flight, or lost framing; return the bytes to write."""
        if self.state is State.CLOSED:
            message = "the connection is closed"
            raise LocalProtocolError(message)
        return self._frame_failure(request_id, error)

    def _end(self, request_id: RequestId) -> None:
        self.in_flight.discard(request_id)
        self._close_flows(request_id)

    def _close_flows(self, request_id: RequestId) -> None:
        if self._outflows:
            self._outflows.pop(request_id, None)
        if self._inflows:
            self._inflows.pop(request_id, None)

    def _check_may_send(self) -> None:
        if self.state not in REPLYING:
            message = f"no reply can be sent on a connection that is {self.state.value}"
            raise LocalProtocolError(message)

    def _check_may_reply(self, request_id: RequestId) -> None:
        self._check_may_send()
        if request_id not in self.in_flight:
            message = f"no call with id {request_id!r} is in flight"
            raise LocalProtocolError(message)

    def _frame_failure(self, request_id: RequestId | None, error: ErrorObject) -> bytes:
        try:
            return encode_frame(dump_failure(request_id, error), self.send_limit)
        except (FrameTooLarge, PydanticSerializationError):
            call_id = error.data.get("call_id")
            data = {} if call_id is None else {"call_id": call_id}
            message = error.message[:_SPARE_MESSAGE].encode("utf-8", "replace").decode()
            spare = ErrorObject(error.code, message, data)
            return encode_frame(dump_failure(request_id, spare), self.send_limit)
