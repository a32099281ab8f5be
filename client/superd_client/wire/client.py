"""The client's end of a connection, without the connection: ids, matching, streams, surprises (protocol §7, §14)."""

from collections.abc import Sequence
from typing import Any, Final, Generic, NamedTuple, TypeAlias

from typing_extensions import override

from superd_client.wire.connection import Connection, PeerClosed
from superd_client.wire.control import (
    Control,
    ControlRefused,
    Credit,
    Goaway,
    ItemHead,
    dump_cancel,
    dump_credit,
    dump_end,
    dump_item_head,
    frame_item,
    may_be_control,
    parse_control,
    peek_item,
    peek_number,
)
from superd_client.wire.envelope import (
    Failure,
    ItemRefused,
    Notification,
    Reply,
    RequestId,
    Result,
    check_fds,
    dump_meta,
    dump_notification,
    dump_request,
    parse_reply,
)
from superd_client.wire.errors import ErrorCode, ErrorObject, LocalProtocolError, RemoteProtocolError
from superd_client.wire.framing import FrameTooLarge, PacketRefused, encode_frame
from superd_client.wire.limits import FRAME_SIZE_DEFAULT, HEADER_SIZE
from superd_client.wire.states import RECEIVING, State
from superd_client.wire.streams import Inflow, Outflow, opened
from superd_client.wire.usual import REPLY_HEAD, CallT, Usual, cut_usual, read_result


class ReplyReceived(NamedTuple, Generic[CallT]):
    """A reply, with the call that it answers."""

    call: CallT
    reply: Reply


class ItemReceived(NamedTuple, Generic[CallT]):
    """The next item of a stream; a Mismatch where this side's model refuses it."""

    call: CallT
    value: Any


class CreditReceived(NamedTuple, Generic[CallT]):
    """The server takes more items of an upload."""

    call: CallT
    n: int


ClientEvent: TypeAlias = (
    ReplyReceived[CallT] | ItemReceived[CallT] | CreditReceived[CallT] | Goaway | Notification | PeerClosed
)


class ClientConnection(Connection, Generic[CallT]):
    """The client's end. Ids count up from 1 and are used once."""

    __slots__ = ("_inflows", "_is_between", "_last_id", "_outflows", "_pending")

    def __init__(self, *, frame_limit: int = FRAME_SIZE_DEFAULT, packets: bool = False) -> None:
        """Begin OPEN, with nothing pending."""
        super().__init__(frame_limit, packets=packets)
        self._last_id = 0
        self._pending: dict[RequestId, CallT] = {}
        self._inflows: dict[RequestId, Inflow] = {}
        self._outflows: dict[RequestId, Outflow] = {}
        #: Whether the next read begins with a frame: nothing has come that was not handed out.
        self._is_between = True

    @property
    def pending(self) -> tuple[CallT, ...]:
        """The calls that wait for a reply, oldest first."""
        return tuple(self._pending.values())

    @override
    def close(self) -> None:
        super().close()
        self._inflows.clear()
        self._outflows.clear()

    # --- what goes out -------------------------------------------------------------------------------------------

    def send_request(
        self, method: str, params: bytes, call: CallT, call_id: str | None = None, **meta: int | str | None
    ) -> tuple[int, bytes]:
        """Begin `call`, whose `params` are a JSON object; return its id and the bytes to write.

        `meta` is what `dump_meta` takes. Raises FrameTooLarge, or LocalProtocolError where the state allows no
        request; nothing is begun then.
        """
        self._check_may_request()
        request_id = self._last_id + 1
        body = dump_request(request_id, method, params, dump_meta(call_id, **meta))  # type: ignore[arg-type]  # each has its own type
        frame = encode_frame(body, self.send_limit)
        self._last_id = request_id
        self._pending[request_id] = call
        return request_id, frame

    def send_usual(
        self, head: bytes, params: bytes, call: CallT, call_id: str, deadline_usec: int
    ) -> tuple[int, bytes]:
        """The same for a call with the usual meta; `head` is the method's `request_head`."""
        if self.state is not _OPEN:
            self._check_may_request()
        request_id = self._last_id + 1
        start = b'{"jsonrpc":"2.0","id":%d%b' % (request_id, head)
        end = b',"meta":{"call_id":"%b","deadline_usec":%d}}' % (call_id.encode(), deadline_usec)
        length = len(start) + len(params) + len(end)
        if length > self.send_limit:
            raise FrameTooLarge(length, self.send_limit)
        self._last_id = request_id
        self._pending[request_id] = call
        return request_id, b"%b%b%b%b" % (length.to_bytes(HEADER_SIZE, "big"), start, params, end)

    def send_notification(
        self, method: str, params: bytes, call_id: str | None = None, **meta: int | str | None
    ) -> bytes:
        """Return the bytes of a call that is never answered; raises as send_request does."""
        self._check_may_request()
        body = dump_notification(method, params, dump_meta(call_id, **meta))  # type: ignore[arg-type]  # each has its own type
        return encode_frame(body, self.send_limit)

    def open_inflow(self, request_id: int, credit: int) -> None:
        """The call that was just begun is a stream, and its request gave so much credit."""
        self._inflows[request_id] = Inflow(credit)

    def open_outflow(self, request_id: int) -> None:
        """The call that was just begun is an upload: items may be sent as the server gives credit."""
        self._outflows[request_id] = Outflow(0, dump_item_head(request_id))

    def send_cancel(self, request_id: int) -> bytes:
        """Return the bytes that tell the server to give this call up."""
        self._check_may_control()
        return encode_frame(dump_cancel(request_id), self.send_limit)

    def send_credit(self, request_id: int, items: int) -> bytes:
        """Return the bytes that let the server send so many more items of a stream that is open."""
        self._check_may_control()
        opened(self._inflows, request_id).grant(items)
        return encode_frame(dump_credit(request_id, items), self.send_limit)

    def credit(self, request_id: int) -> int:
        """How many items of this upload may be sent now; 0 once the call has ended."""
        outflow = self._outflows.get(request_id)
        return outflow.credit if outflow is not None else 0

    def send_item(self, request_id: int, item: bytes, fds: int = 0) -> bytes:
        """Return the bytes of the next item of an upload, `item` being JSON.

        Raises LocalProtocolError where there is no credit, FrameTooLarge, after which the upload goes on.
        """
        self._check_may_control()
        outflow = opened(self._outflows, request_id)
        outflow.check()
        frame = frame_item(outflow.head, outflow.next_seq, item, fds, self.send_limit)
        outflow.take()
        return frame

    def send_end(self, request_id: int) -> bytes:
        """Return the bytes that say that an upload has no more items."""
        self._check_may_control()
        opened(self._outflows, request_id).end()
        return encode_frame(dump_end(request_id), self.send_limit)

    def abandon(self, request_id: int) -> None:
        """Give up on a call: its items and its reply, if they come, are discarded (§7.6)."""
        self._forget(request_id)

    def _check_may_request(self) -> None:
        if self.state is not _OPEN:
            message = f"no request can be sent on a connection that is {self.state.value}"
            raise LocalProtocolError(message)

    def _check_may_control(self) -> None:
        if self.state not in RECEIVING:
            message = f"nothing can be sent on a connection that is {self.state.value}"
            raise LocalProtocolError(message)

    # --- what comes in -------------------------------------------------------------------------------------------

    @override
    def receive_data(self, data: bytes, fds: Sequence[int] = ()) -> None:
        self._is_between = False
        super().receive_data(data, fds)

    def take_result(self, data: bytes, request_id: int) -> Result | None:
        """The result of this call, if `data`, which one read brought without descriptors, is that and nothing else.

        Else None, and all of it is for `take_usual`.
        """
        call = self._pending.get(request_id)
        if call is None or not self._is_between or self.state is not _OPEN:
            return None
        if not int.from_bytes(data[:HEADER_SIZE], "big") == len(data) - HEADER_SIZE <= self.frame_limit:
            return None
        result = read_result(data, HEADER_SIZE, len(data), call, request_id)
        if result is not None:
            del self._pending[request_id]
            if self._inflows or self._outflows:
                self._forget(request_id)
        return result

    def take_usual(self, data: bytes) -> tuple[list[Usual[CallT]], int]:
        """The replies and items that `data`, which one read brought without descriptors, begins with, and where they end.

        What follows is for `receive_data`; so is all of it where anything is unusual, which never raises here.
        """
        if not self._is_between or self.state is not _OPEN:
            return [], 0
        usual, end = cut_usual(data, self.frame_limit, self._pending, self._inflows)
        if self._inflows or self._outflows:
            for _, reply, _ in usual:
                if reply is not None and reply.id is not None:
                    self._forget(reply.id)
        return usual, end

    def next_event(self) -> ClientEvent[CallT] | None:
        """Say what the next message is, or None until more bytes come.

        Raises RemoteProtocolError when the server breaks the protocol: close the connection.
        """
        while (body := self._next_body_or_break()) is not None:
            fds = self._decoder.take_fds()
            try:
                event = self._match(body, fds)
            except RemoteProtocolError as broken:
                # Whatever raises has left them alone, but for an item that was read in part.
                if not isinstance(broken, ItemRefused):
                    self._decoder.surplus.extend(fds)
                self._break()
                raise
            if event is not None:
                return event
        self._is_between = not self._decoder.buffered
        return PeerClosed() if self._at_eof() else None

    def _next_body_or_break(self) -> bytes | None:
        """A server's packet that is not one frame is one of the surprises that end a connection (§7.6)."""
        try:
            return self._next_body()
        except PacketRefused:
            self._break()
            raise

    def _match(self, body: bytes, fds: Sequence[int]) -> ClientEvent[CallT] | None:
        if not fds:
            peeked = peek_number(body, REPLY_HEAD)
            call = self._pending.get(peeked)
            if call is not None:
                reply = call.decode(body, ())
                if reply.id == peeked:
                    self._forget(peeked)
                    return ReplyReceived(call, reply)
        item = self._expected_item(body, fds)
        if item is not None:
            return item
        control = self._parse_control(body) if may_be_control(body) else None
        if control is not None:
            return self._controlled(control, body, fds)
        return self._match_slowly(body, fds)

    def _match_slowly(self, body: bytes, fds: Sequence[int]) -> ClientEvent[CallT] | None:
        """Match a reply that does not begin as ours do, has a repeated id, or answers nothing that waits."""
        message = parse_reply(body)
        if isinstance(message, Notification):
            self._decoder.surplus.extend(fds)
            return message
        if message.id is None:
            raise RemoteProtocolError(_unattributed(message))
        call = self._pending.get(message.id)
        if call is not None:
            reply = call.decode(body, fds)
            self._forget(message.id)
            return ReplyReceived(call, reply)
        self._check_was_ours(message.id)
        self._decoder.surplus.extend(fds)
        return None

    def _parse_control(self, body: bytes) -> Control | None:
        try:
            return parse_control(body)
        except ControlRefused as refused:
            raise RemoteProtocolError(refused.error) from None

    def _controlled(self, control: Control, body: bytes, fds: Sequence[int]) -> ClientEvent[CallT] | None:
        """What a notification of the protocol does here; nothing, where its call has ended."""
        if isinstance(control, ItemHead):
            return self._item(control, body, fds)
        check_fds(0, fds, None)
        if isinstance(control, Credit):
            return self._credited(control)
        # A server has nothing to cancel or to end here.
        return control if isinstance(control, Goaway) else None

    def _expected_item(self, body: bytes, fds: Sequence[int]) -> ItemReceived[CallT] | None:
        """The next item of a stream, where the body looks like one and is one: then it is read but once."""
        head = peek_item(body)
        try:
            return None if head is None else self._next_item(head, body, fds)
        except ItemRefused:
            if fds:
                raise  # they are closed: nobody can read it once more
            return None
        except RemoteProtocolError:
            return None

    def _item(self, head: ItemHead, body: bytes, fds: Sequence[int]) -> ItemReceived[CallT] | None:
        item = self._next_item(head, body, fds)
        if item is None:
            if head.id in self._pending:
                raise RemoteProtocolError(_broken("an item of a call that is no stream"))
            self._check_was_ours(head.id)
            self._decoder.surplus.extend(fds)
        return item

    def _next_item(self, head: ItemHead, body: bytes, fds: Sequence[int]) -> ItemReceived[CallT] | None:
        """Read the item, which owns its descriptors then; None for no stream.

        Raises RemoteProtocolError, and owns nothing then.
        """
        inflow, call = self._inflows.get(head.id), self._pending.get(head.id)
        if inflow is None or call is None:
            return None
        inflow.check(head.seq)
        value = call.decode_item(body, fds, head)
        inflow.take()
        return ItemReceived(call, value)

    def _credited(self, control: Credit) -> CreditReceived[CallT] | None:
        outflow, call = self._outflows.get(control.id), self._pending.get(control.id)
        if outflow is None or call is None:
            return None
        outflow.add(control.n)
        return CreditReceived(call, control.n)

    def _check_was_ours(self, request_id: RequestId) -> None:
        """Raise RemoteProtocolError for an id that no call ever had; others belong to calls that ended."""
        if not (isinstance(request_id, int) and 0 < request_id <= self._last_id):
            raise RemoteProtocolError(_broken("a reply to a call that was never made"))

    def _forget(self, request_id: RequestId) -> None:
        self._pending.pop(request_id, None)
        if self._inflows:
            self._inflows.pop(request_id, None)
        if self._outflows:
            self._outflows.pop(request_id, None)


#: The only state in which a client may send a request.
_OPEN: Final = State.OPEN


def _broken(message: str) -> ErrorObject:
    return ErrorObject(ErrorCode.INVALID_REQUEST, message, {})


def _unattributed(failure: Failure) -> ErrorObject:
    return failure.error._replace(message=f"the server refused a message: {failure.error.message}")
