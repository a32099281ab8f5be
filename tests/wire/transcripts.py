"""Plays the transcripts of vectors/connection_*.json against the connection objects, as a shell would drive them."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from superd_client.streams import UntypedItems
from superd_client.wire.client import (
    ClientConnection,
    ClientEvent,
    CreditReceived,
    ItemReceived,
    ReplyReceived,
)
from superd_client.wire.connection import PeerClosed
from superd_client.wire.control import Cancel, Credit, End, Goaway, ItemHead, read_item
from superd_client.wire.envelope import (
    Failure,
    MessageRefused,
    Notification,
    Reply,
    Request,
    RequestId,
    Result,
    check_fds,
    parse_reply,
)
from superd_client.wire.errors import ErrorCode, ErrorObject, LocalProtocolError, RemoteProtocolError
from superd_client.wire.limits import STREAM_CREDIT_DEFAULT
from superd_client.wire.server import Item, Refused, ServerConnection, ServerEvent, StreamBroken
from superd_client.wire.states import State
from tests.wire.golden import Vector, compact, with_ids

CANCELLED: Final = ErrorObject(ErrorCode.CANCELLED, "cancelled", {})

#: What a shell gives to an error whose request named no call id.
MADE_CALL_ID: Final = "made-by-the-server"

_CALL_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class Outcome:
    """What one step brought about."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.sends: list[dict[str, Any]] = []
        self.cancelled: list[RequestId] = []
        self.lost: list[str] = []
        self.protocol_error = False
        self.refused_locally = False

    def sent(self, data: bytes) -> None:
        self.sends.extend(json.loads(body) for body in bodies(data))


def bodies(data: bytes) -> Iterator[bytes]:
    """The bodies of whole frames, cut without the decoder that is under test."""
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        assert len(data) >= end
        yield data[4:end]
        data = data[end:]


def pieces(data: bytes, *, byte_by_byte: bool) -> Iterator[bytes]:
    step = 1 if byte_by_byte else max(len(data), 1)
    yield from (data[start : start + step] for start in range(0, len(data), step))


def describe(call: Request | Notification) -> dict[str, Any]:
    """A call as the vectors write it."""
    fields: dict[str, Any] = {"method": call.method, "params": call.params}
    if call.meta:
        fields["meta"] = call.meta
    if isinstance(call, Request):
        return {"request": {"id": call.id, **fields}}
    return {"notification": fields}


class ServerEnd:
    """A server's shell without a socket: hands calls up, answers what is refused, cancels and closes."""

    def __init__(self, frame_limit: int) -> None:
        self.connection = ServerConnection(frame_limit=frame_limit)
        self.in_flight: list[RequestId] = []

    @property
    def closes(self) -> bool:
        state = self.connection.state
        return state is State.BROKEN or (state is State.HALF_CLOSED and not self.connection.calls_in_flight)

    def act(self, vector: Vector, step: Mapping[str, Any], outcome: Outcome) -> None:
        if "receive" in step:
            data = vector.data(step["receive"])
            for piece in pieces(data, byte_by_byte=step.get("byte_by_byte", False)):
                self.connection.receive_data(piece)
                self.pump(outcome)
        elif "end_of_file" in step:
            self.connection.receive_data(b"")
            self.pump(outcome)
        elif "reply" in step:
            self._reply(step["reply"], outcome)
        elif "item" in step:
            item = step["item"]
            outcome.sent(self.connection.send_item(item["id"], compact(item["item"])))
        elif "grant" in step:
            outcome.sent(self.connection.send_credit(step["grant"]["id"], step["grant"]["n"]))
        elif "goaway" in step:
            outcome.sent(self.connection.send_goaway())
        elif "drain" in step:
            self.connection.drain()
        else:
            assert step["close"]
            self.connection.close()

    def pump(self, outcome: Outcome) -> None:
        try:
            while (event := self.connection.next_event()) is not None:
                self._take(event, outcome)
        except RemoteProtocolError as error:
            outcome.sent(self.connection.send_refusal(None, error.error.with_data(call_id=MADE_CALL_ID)))
            outcome.cancelled, self.in_flight = self.in_flight, []

    def _take(self, event: ServerEvent, outcome: Outcome) -> None:
        if isinstance(event, Request):
            self._begin(event)
        if isinstance(event, StreamBroken):
            self._stop(event.id, event.error, outcome)
        elif isinstance(event, Cancel):
            self._stop(event.id, CANCELLED, outcome)
        elif isinstance(event, Item):
            outcome.events.append({"item": {"id": event.id, "value": event.value}})
        elif isinstance(event, Credit):
            outcome.events.append({"credit": {"id": event.id, "n": event.n}})
        elif isinstance(event, End):
            outcome.events.append({"end": {"id": event.id}})
        elif isinstance(event, Refused):
            if isinstance(event.call, Notification):
                return
            call_id = (event.call and event.call.call_id) or MADE_CALL_ID
            outcome.sent(self.connection.send_refusal(event.id, event.error.with_data(call_id=call_id)))
        elif isinstance(event, Request | Notification):
            outcome.events.append(describe(event))

    def _begin(self, call: Request) -> None:
        self.in_flight.append(call.id)
        if call.method == "a.stream":
            self.connection.open_outflow(call.id, call.meta.get("credit", STREAM_CREDIT_DEFAULT))
        elif call.method == "a.upload":
            self.connection.open_inflow(call.id, 0, UntypedItems().decode)

    def _stop(self, request_id: RequestId, error: ErrorObject, outcome: Outcome) -> None:
        """Cancel what runs, and say why."""
        outcome.cancelled.append(request_id)
        self.in_flight.remove(request_id)
        outcome.sent(self.connection.send_failure(request_id, error.with_data(call_id=MADE_CALL_ID)))

    def _reply(self, reply: Mapping[str, Any], outcome: Outcome) -> None:
        if "error" in reply:
            error = ErrorObject(**reply["error"])
            outcome.sent(self.connection.send_failure(reply["id"], error))
        else:
            outcome.sent(self.connection.send_result(reply["id"], compact(reply["result"])))
        self.in_flight.remove(reply["id"])


class Call(NamedTuple):
    """A call that waits; its result may be anything."""

    label: str

    @property
    def read_result(self) -> Callable[[bytes], Any] | None:
        return None

    @property
    def read_item(self) -> Callable[[bytes], Any] | None:
        return None

    def decode(self, body: bytes, fds: Sequence[int] = (), /) -> Reply:
        message = parse_reply(body)
        if isinstance(message, Notification):
            raise MessageRefused(ErrorObject(ErrorCode.INVALID_REQUEST, "not a reply", {}))
        return message

    def decode_item(self, body: bytes, fds: Sequence[int], head: ItemHead, /) -> Any:
        fields = read_item(body)
        check_fds(fields.get("meta", {}).get("fds", 0), fds, None)
        params = fields["params"]
        if (params["id"], params["seq"]) != head:
            raise MessageRefused(ErrorObject(ErrorCode.INVALID_REQUEST, "not what its head says", {}))
        return params["item"]


class ClientEnd:
    """A client's shell without a socket."""

    def __init__(self, frame_limit: int) -> None:
        self.connection: ClientConnection[Call] = ClientConnection(frame_limit=frame_limit)
        self.ids: dict[str, RequestId] = {}
        self.waiting: list[str] = []

    def act(self, vector: Vector, step: Mapping[str, Any], outcome: Outcome) -> None:
        if "receive" in step:
            data = vector.data(step["receive"], self.names())
            for piece in pieces(data, byte_by_byte=step.get("byte_by_byte", False)):
                self.connection.receive_data(piece)
                self.pump(outcome)
        elif "end_of_file" in step:
            self.connection.receive_data(b"")
            self.pump(outcome)
        elif "call" in step:
            self._call(step, outcome)
        elif "notify" in step:
            outcome.sent(self.connection.send_notification(step["notify"], compact(step["params"])))
        elif "give_up" in step:
            self.connection.abandon(self._id(step["give_up"]))
        elif "drain" in step:
            self.connection.drain()
        elif "close" in step:
            outcome.lost = [call.label for call in self.connection.pending]
            self.connection.close()
        else:
            self._act_on_stream(step, outcome)

    def _act_on_stream(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        if "item" in step:
            item = step["item"]
            outcome.sent(self.connection.send_item(self._id(item["call"]), compact(item["item"])))
        elif "grant" in step:
            grant = step["grant"]
            outcome.sent(self.connection.send_credit(self._id(grant["call"]), grant["n"]))
        elif "end" in step:
            outcome.sent(self.connection.send_end(self._id(step["end"])))
        else:
            outcome.sent(self.connection.send_cancel(self._id(step["cancel"])))
            self.connection.abandon(self._id(step["cancel"]))

    def _id(self, label: str) -> int:
        request_id = self.ids[label]
        assert isinstance(request_id, int)
        return request_id

    def names(self) -> dict[str, object]:
        """What "$a" and "$a:other" stand for."""
        names: dict[str, object] = {}
        for label, request_id in self.ids.items():
            names[f"${label}"] = request_id
            names[f"${label}:other"] = str(request_id) if isinstance(request_id, int) else int(request_id)
        return names

    def pump(self, outcome: Outcome) -> None:
        try:
            while (event := self.connection.next_event()) is not None:
                self._take(event, outcome)
        except RemoteProtocolError:
            outcome.protocol_error = True
            outcome.lost = [call.label for call in self.connection.pending]

    def _take(self, event: ClientEvent[Call], outcome: Outcome) -> None:
        if isinstance(event, PeerClosed):
            outcome.lost = [call.label for call in self.connection.pending]
        elif isinstance(event, ReplyReceived):
            outcome.events.append(describe_reply(event.call.label, event.reply))
        elif isinstance(event, ItemReceived):
            outcome.events.append({"item": {"call": event.call.label, "value": event.value}})
        elif isinstance(event, CreditReceived):
            outcome.events.append({"credit": {"call": event.call.label, "n": event.n}})
        elif isinstance(event, Goaway):
            outcome.events.append({"goaway": {}})

    def _call(self, step: Mapping[str, Any], outcome: Outcome) -> None:
        label = step["call"]
        meta = step.get("meta", {})
        params = compact(step["params"])
        request_id, frame = self.connection.send_request(step["method"], params, Call(label), **meta)
        self.ids[label] = request_id
        if step["method"] == "a.stream":
            self.connection.open_inflow(request_id, meta.get("credit", STREAM_CREDIT_DEFAULT))
        elif step["method"] == "a.upload":
            self.connection.open_outflow(request_id)
        outcome.sent(frame)


def describe_reply(label: str, reply: Reply) -> dict[str, Any]:
    """The reply to a call as the vectors write it."""
    if isinstance(reply, Result):
        return {"result": {"call": label, "value": reply.value}}
    assert isinstance(reply, Failure)
    fields = {"call": label, "code": reply.error.code, "message": reply.error.message}
    return {"failure": fields | ({"data": reply.error.data} if reply.error.data else {})}


def play(end: ServerEnd | ClientEnd, vector: Vector, step: Mapping[str, Any]) -> None:
    """Do one step and compare what the step names."""
    outcome = Outcome()
    before = end.connection.state
    try:
        end.act(vector, step, outcome)
    except LocalProtocolError:
        outcome.refused_locally = True
        assert end.connection.state is before
    if "events_count" in step:
        assert len(outcome.events) == step["events_count"]
    else:
        assert outcome.events == step.get("events", [])
    compare_messages(outcome.sends, [with_ids(message, _ids(end)) for message in step.get("sends", [])])
    if "state" in step:
        assert end.connection.state.value == step["state"]
    assert outcome.refused_locally == step.get("refused_locally", False) or "may_be_refused" in step
    assert outcome.protocol_error == step.get("protocol_error", False) or "may_be_protocol_error" in step
    if isinstance(end, ServerEnd):
        _compare_server(end, step, outcome)
    else:
        _compare_client(end, step, outcome)


def _ids(end: ServerEnd | ClientEnd) -> Mapping[str, object]:
    return end.names() if isinstance(end, ClientEnd) else {}


def _compare_server(end: ServerEnd, step: Mapping[str, Any], outcome: Outcome) -> None:
    if "in_flight" in step:
        assert end.in_flight == step["in_flight"]
        assert end.connection.calls_in_flight == len(step["in_flight"])
    if "cancelled" in step:
        assert outcome.cancelled == step["cancelled"]
    for request_id, credit in step.get("credit", []):
        assert end.connection.credit(request_id) == credit
    if "closes" in step:
        assert end.closes == step["closes"]


def _compare_client(end: ClientEnd, step: Mapping[str, Any], outcome: Outcome) -> None:
    if "in_flight" in step:
        assert [call.label for call in end.connection.pending] == step["in_flight"]
    for label, credit in step.get("credit", []):
        assert end.connection.credit(int(end.ids[label])) == credit
    if "lost" in step:
        assert outcome.lost == step["lost"]
    if outcome.protocol_error:
        assert_sends_nothing_more(end.connection)


def assert_sends_nothing_more(connection: ClientConnection[Call]) -> None:
    try:
        connection.send_request("a.b", b"{}", Call("too-late"))
    except LocalProtocolError:
        return
    msg = "a request was sent on a connection that the server had broken"
    raise AssertionError(msg)


def compare_messages(actual: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(actual) == len(expected), (actual, expected)
    for message, pattern in zip(actual, expected, strict=True):
        compare_message(message, pattern)


def compare_message(message: dict[str, Any], pattern: dict[str, Any]) -> None:
    assert list(message) == list(pattern)
    assert type(message.get("id")) is type(pattern.get("id"))
    if "error" not in pattern:
        assert message == pattern
        return
    assert message["id"] == pattern["id"]
    error = message["error"]
    assert error["code"] == pattern["error"]["code"]
    assert isinstance(error["message"], str)
    assert _CALL_ID.fullmatch(error["data"]["call_id"])
    expected = pattern["error"].get("data", {})
    assert {name: error["data"].get(name) for name in expected} == expected
