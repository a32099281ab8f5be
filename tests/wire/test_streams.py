"""Credit, numbers and ends of streams, at one end alone and at both ends of a connection."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest
from typing_extensions import override

from superd_client.streams import UntypedItems
from superd_client.wire.client import ClientConnection, CreditReceived, ItemReceived, ReplyReceived
from superd_client.wire.control import Cancel, Credit, End, Goaway, ItemHead, dump_credit, dump_end
from superd_client.wire.envelope import (
    ItemRefused,
    MessageRefused,
    Mismatch,
    Notification,
    Request,
    Result,
)
from superd_client.wire.errors import ErrorCode, ErrorObject, LocalProtocolError, RemoteProtocolError
from superd_client.wire.framing import FrameTooLarge, encode_frame
from superd_client.wire.limits import CREDIT_MAX, FRAME_SIZE_MIN
from superd_client.wire.server import Item, Refused, ServerConnection, StreamBroken
from superd_client.wire.states import State
from superd_client.wire.streams import Inflow, Outflow
from tests.wire.golden import compact, frame
from tests.wire.items import dump_item
from tests.wire.joined import Wire, begin
from tests.wire.transcripts import Call

read_item: Final = UntypedItems().decode


# --- one flow ----------------------------------------------------------------------------------------------------


def test_an_item_needs_credit() -> None:
    flow = Outflow(1)
    flow.check()
    flow.take()
    with pytest.raises(LocalProtocolError, match="no credit"):
        flow.check()
    flow.add(1)
    flow.check()
    assert (flow.credit, flow.next_seq) == (1, 1)


@pytest.mark.parametrize(("credit", "more"), [(1, CREDIT_MAX - 2), (1, CREDIT_MAX - 1), (0, CREDIT_MAX)])
def test_credit_up_to_its_limit(credit: int, more: int) -> None:
    flow = Outflow(credit)
    flow.add(more)
    assert flow.credit == credit + more
    inflow = Inflow(credit)
    inflow.grant(more)
    assert inflow.credit == credit + more


@pytest.mark.parametrize("credit", [1, 2, CREDIT_MAX])
def test_credit_over_its_limit_is_the_peers_mistake_or_our_own(credit: int) -> None:
    flow = Outflow(credit)
    with pytest.raises(RemoteProtocolError) as caught:
        flow.add(CREDIT_MAX + 1 - credit)
    assert caught.value.error.code == ErrorCode.INVALID_PARAMS
    assert flow.credit == credit
    with pytest.raises(LocalProtocolError):
        Inflow(credit).grant(CREDIT_MAX + 1 - credit)


@pytest.mark.parametrize("items", [0, -1])
def test_what_is_no_credit_is_not_given(items: int) -> None:
    with pytest.raises(LocalProtocolError):
        Inflow(5).grant(items)


def test_nothing_is_sent_after_the_end() -> None:
    flow = Outflow(5)
    flow.end()
    with pytest.raises(LocalProtocolError, match="after the end"):
        flow.check()
    with pytest.raises(LocalProtocolError, match="second end"):
        flow.end()


@pytest.mark.parametrize(("seq", "match"), [(0, "in the place"), (2, "in the place"), (1, "no credit")])
def test_an_item_that_may_not_come(seq: int, match: str) -> None:
    flow = Inflow(1)
    flow.check(0)
    flow.take()
    with pytest.raises(RemoteProtocolError, match=match) as caught:
        flow.check(seq)
    assert caught.value.error.code == ErrorCode.INVALID_REQUEST


def test_nothing_comes_after_the_end() -> None:
    flow = Inflow(5)
    flow.end()
    with pytest.raises(RemoteProtocolError, match="after the end"):
        flow.check(0)
    with pytest.raises(RemoteProtocolError, match="second end"):
        flow.end()


# --- a stream between two ends -------------------------------------------------------------------------------------


def begin_stream(wire: Wire, credit: int) -> int:
    request_id = begin(wire, "s")["s"]
    wire.client.open_inflow(request_id, credit)
    wire.server.open_outflow(request_id, credit)
    return request_id


def begin_upload(wire: Wire, credit: int) -> int:
    request_id = begin(wire, "u")["u"]
    wire.client.open_outflow(request_id)
    data = wire.server.open_inflow(request_id, credit, read_item)
    assert wire.to_client(data) == [CreditReceived(Call("u"), credit)]
    return request_id


def test_a_stream_from_its_first_item_to_its_reply(wire: Wire) -> None:
    stream = begin_stream(wire, 2)
    for value in (b'{"n":0}', b"null"):
        (event,) = wire.to_client(wire.server.send_item(stream, value))
        assert isinstance(event, ItemReceived)
    assert wire.server.credit(stream) == 0
    with pytest.raises(LocalProtocolError, match="no credit"):
        wire.server.send_item(stream, b"3")
    assert wire.to_server(wire.client.send_credit(stream, 3)) == [Credit(stream, 3)]
    assert wire.server.credit(stream) == 3
    assert wire.to_client(wire.server.send_item(stream, b'"third"')) == [ItemReceived(Call("s"), "third")]
    events = wire.to_client(wire.server.send_result(stream, b"null"))
    assert events == [ReplyReceived(Call("s"), Result(stream, None))]
    assert wire.server.credit(stream) == 0
    assert not (wire.server._outflows)
    assert not (wire.client._inflows)
    assert not (wire.client.pending)


def test_an_upload_from_its_first_credit_to_its_reply(wire: Wire) -> None:
    upload = begin_upload(wire, 2)
    assert wire.client.credit(upload) == 2
    assert wire.to_server(wire.client.send_item(upload, b"[1]")) == [Item(upload, [1])]
    assert wire.to_server(wire.client.send_item(upload, b"2")) == [Item(upload, 2)]
    with pytest.raises(LocalProtocolError, match="no credit"):
        wire.client.send_item(upload, b"3")
    assert wire.to_client(wire.server.send_credit(upload, 1)) == [CreditReceived(Call("u"), 1)]
    assert wire.to_server(wire.client.send_item(upload, b"3")) == [Item(upload, 3)]
    assert wire.to_server(wire.client.send_end(upload)) == [End(upload)]
    with pytest.raises(LocalProtocolError, match="after the end"):
        wire.client.send_item(upload, b"4")
    with pytest.raises(LocalProtocolError, match="second end"):
        wire.client.send_end(upload)
    wire.to_client(wire.server.send_result(upload, b"6"))
    assert wire.client.credit(upload) == 0
    assert not (wire.server._inflows)
    assert not (wire.client._outflows)
    assert not (wire.client.pending)


def test_what_an_upload_sends_after_its_reply_has_no_effect(wire: Wire) -> None:
    upload = begin_upload(wire, 5)
    crossing = wire.client.send_item(upload, b"1") + wire.client.send_end(upload)
    wire.server.send_result(upload, b"0")
    assert wire.to_server(crossing) == []
    assert wire.server.take_surplus() == ()


def test_items_and_credit_of_a_stream_that_was_given_up_are_discarded(wire: Wire) -> None:
    stream = begin_stream(wire, 5)
    wire.client.abandon(stream)
    assert wire.to_client(wire.server.send_item(stream, b"1")) == []
    assert wire.to_server(wire.client.send_cancel(stream)) == [Cancel(stream)]
    with pytest.raises(LocalProtocolError, match="no such stream"):
        wire.client.send_credit(stream, 1)
    assert wire.client.state is State.OPEN


def test_an_item_over_the_frame_limit_leaves_the_stream_as_it_was() -> None:
    wire = Wire(0, FRAME_SIZE_MIN)
    stream = begin_stream(wire, 1)
    with pytest.raises(FrameTooLarge):
        wire.server.send_item(stream, b'"' + b"x" * FRAME_SIZE_MIN + b'"')
    assert wire.to_client(wire.server.send_item(stream, b"1")) == [ItemReceived(Call("s"), 1)]
    upload = begin_upload(wire, 1)
    with pytest.raises(FrameTooLarge):
        wire.client.send_item(upload, b'"' + b"x" * FRAME_SIZE_MIN + b'"')
    assert wire.to_server(wire.client.send_item(upload, b"1")) == [Item(upload, 1)]


def test_there_is_no_stream_for_a_plain_call(wire: Wire) -> None:
    call = begin(wire, "a")["a"]
    sends: list[Callable[[], bytes]] = [
        lambda: wire.server.send_item(call, b"1"),
        lambda: wire.server.send_credit(call, 1),
        lambda: wire.client.send_item(call, b"1"),
        lambda: wire.client.send_credit(call, 1),
        lambda: wire.client.send_end(call),
    ]
    for send in sends:
        with pytest.raises(LocalProtocolError, match="no such stream"):
            send()
    assert wire.server.credit(call) == wire.client.credit(call) == 0


def test_no_stream_is_opened_for_what_is_not_in_flight() -> None:
    server = ServerConnection()
    with pytest.raises(LocalProtocolError):
        server.open_outflow(1, 1)
    with pytest.raises(LocalProtocolError):
        server.open_inflow(1, 1, read_item)
    assert not (server._outflows)
    assert not (server._inflows)


@pytest.mark.parametrize("state", [State.BROKEN, State.CLOSED])
def test_nothing_is_sent_where_no_reply_is(state: State) -> None:
    wire = Wire(0)
    stream = begin_stream(wire, 5)
    for end in (wire.server, wire.client):
        end.close() if state is State.CLOSED else end._break()
    for send in (
        wire.server.send_goaway,
        lambda: wire.server.send_item(stream, b"1"),
        lambda: wire.client.send_cancel(stream),
        lambda: wire.client.send_credit(stream, 1),
    ):
        with pytest.raises(LocalProtocolError):
            send()


def test_streams_go_on_while_both_ends_drain(wire: Wire) -> None:
    stream, upload = begin_stream(wire, 1), begin_upload(wire, 1)
    assert wire.to_client(wire.server.send_goaway()) == [Goaway()]
    wire.server.drain()
    wire.client.drain()
    assert wire.to_server(wire.client.send_item(upload, b"1")) == [Item(upload, 1)]
    assert wire.to_server(wire.client.send_credit(stream, 1)) == [Credit(stream, 1)]
    assert wire.to_client(wire.server.send_credit(upload, 1)) == [CreditReceived(Call("u"), 1)]
    assert wire.to_client(wire.server.send_item(stream, b"1")) == [ItemReceived(Call("s"), 1)]
    assert wire.to_server(wire.client.send_end(upload)) == [End(upload)]


# --- a peer that breaks the rules ------------------------------------------------------------------------------------


def with_upload(credit: int = 2) -> ServerConnection:
    server = ServerConnection()
    server.receive_data(frame(compact({"jsonrpc": "2.0", "id": 1, "method": "a.b"})))
    assert isinstance(server.next_event(), Request)
    server.open_inflow(1, credit, read_item)
    return server


def item(seq: int, value: bytes = b"1", fds: int = 0, request_id: int = 1) -> bytes:
    return encode_frame(dump_item(request_id, seq, value, fds))


BREAKING: Final = {
    "another seq": item(1),
    "the same seq twice": item(0) + item(0),
    "over the credit": item(0) + item(1) + item(2),
    "after the end": encode_frame(dump_end(1)) + item(0),
    "a second end": encode_frame(dump_end(1)) * 2,
}


@pytest.mark.parametrize("data", BREAKING.values(), ids=BREAKING)
def test_an_upload_that_breaks_the_rules_is_told_once(data: bytes) -> None:
    server = with_upload()
    server.receive_data(data + item(0) + item(1) + encode_frame(dump_end(1)))
    events = []
    while (event := server.next_event()) is not None:
        events.append(event)
    (broken,) = [event for event in events if isinstance(event, StreamBroken)]
    assert events[-1] is broken
    assert broken.error.code == ErrorCode.INVALID_REQUEST
    assert server.is_in_flight(1)
    with pytest.raises(LocalProtocolError):
        server.send_credit(1, 1)
    server.send_failure(1, broken.error)
    assert server.calls_in_flight == 0


def test_credit_that_overflows_ends_the_stream() -> None:
    server = ServerConnection()
    server.receive_data(frame(compact({"jsonrpc": "2.0", "id": 1, "method": "a.b"})))
    server.next_event()
    server.open_outflow(1, 1)
    server.receive_data(encode_frame(dump_credit(1, CREDIT_MAX)) + encode_frame(dump_credit(1, 1)))
    event = server.next_event()
    assert isinstance(event, StreamBroken)
    assert event.error.code == ErrorCode.INVALID_PARAMS
    assert server.next_event() is None
    assert server.credit(1) == 0


def test_a_value_that_its_contract_refuses_ends_the_upload_and_its_descriptors_are_ours_to_close() -> None:
    def refuse(body: bytes, fds: Sequence[int], head: ItemHead) -> Any:
        raise MessageRefused(ErrorObject(ErrorCode.INVALID_PARAMS, "m", {"errors": []}))

    server = ServerConnection()
    server.receive_data(frame(compact({"jsonrpc": "2.0", "id": 1, "method": "a.b"})))
    server.next_event()
    server.open_inflow(1, 2, refuse)
    server.receive_data(item(0, fds=2), [7, 8])
    assert server.next_event() == StreamBroken(1, ErrorObject(ErrorCode.INVALID_PARAMS, "m", {"errors": []}))
    assert server.take_surplus() == [7, 8]


def test_an_item_whose_text_is_broken_is_no_item() -> None:
    """The fault is of the text, not of the stream: it goes on (protocol §3)."""
    server = with_upload()
    server.receive_data(item(0, b"{"))
    event = server.next_event()
    assert isinstance(event, Refused)
    assert (event.id, event.error.code) == (None, ErrorCode.PARSE_ERROR)
    server.receive_data(item(0))
    assert server.next_event() == Item(1, 1)


def test_an_item_for_no_upload_must_still_be_legal() -> None:
    server = with_upload()
    server.receive_data(item(0, b"{", request_id=9))
    event = server.next_event()
    assert isinstance(event, Refused)
    assert event.error.code == ErrorCode.PARSE_ERROR


def test_what_stands_last_counts_in_an_item_too() -> None:
    server = with_upload()
    head = b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":1,"seq":0,"item":1'
    server.receive_data(frame(head + b',"id":2}}'))  # an item of another call
    server.receive_data(frame(head + b'},"id":5,"method":"a.b","params":{}}'))  # a request
    server.receive_data(frame(head + b'},"params":{"id":1,"seq":0,"item":2}}'))
    assert server.next_event() == Request(5, "a.b", {})
    assert server.next_event() == Item(1, 2)


# --- a server that breaks the rules ------------------------------------------------------------------------------------


def with_calls() -> ClientConnection[Call]:
    """Call 1 is plain, 2 a stream with credit 1, 3 an upload, 4 was given up."""
    client: ClientConnection[Call] = ClientConnection()
    for label in ("call", "stream", "upload", "abandoned"):
        client.send_request("a.b", b"{}", Call(label))
    client.open_inflow(2, 1)
    client.open_outflow(3)
    client.open_inflow(4, 1)
    client.abandon(4)
    return client


SURPRISES: Final = {
    "an item of a plain call": item(0),
    "an item of an upload": item(0, request_id=3),
    "an item of a call that never was": item(0, request_id=5),
    "an item with another seq": item(1, request_id=2),
    "an item over the credit": item(0, request_id=2) + item(1, request_id=2),
    "an item that is no JSON": item(0, b"{", request_id=2),
    "credit that overflows": encode_frame(dump_credit(3, CREDIT_MAX)) + encode_frame(dump_credit(3, 1)),
    "credit that is none": frame(b'{"jsonrpc":"2.0","method":"rpc.credit","params":{"id":3,"n":0}}'),
    "a goaway with params": frame(b'{"jsonrpc":"2.0","method":"rpc.goaway","params":{"x":1}}'),
}


@pytest.mark.parametrize("data", SURPRISES.values(), ids=SURPRISES)
def test_a_server_that_breaks_the_rules_is_left(data: bytes) -> None:
    client = with_calls()
    client.receive_data(data, [7])
    with pytest.raises(RemoteProtocolError):
        list(iter(client.next_event, None))
    assert client.state is State.BROKEN
    assert list(client.take_surplus()) == [7]
    assert [call.label for call in client.pending] == ["call", "stream", "upload"]


WITHOUT_EFFECT: Final = {
    "an item of a call that was given up": item(0, request_id=4),
    "credit of a call that was given up": encode_frame(dump_credit(4, 1)),
    "credit of a plain call": encode_frame(dump_credit(1, 1)),
    "credit of a stream": encode_frame(dump_credit(2, 1)),
    "credit of a call that never was": encode_frame(dump_credit(5, 1)),
    "a cancel": frame(b'{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":1}}'),
    "an end": frame(b'{"jsonrpc":"2.0","method":"rpc.end","params":{"id":2}}'),
}


@pytest.mark.parametrize("data", WITHOUT_EFFECT.values(), ids=WITHOUT_EFFECT)
def test_what_a_server_says_that_changes_nothing(data: bytes) -> None:
    client = with_calls()
    client.receive_data(data)
    assert client.next_event() is None
    assert client.state is State.OPEN


def test_an_item_of_a_call_that_was_given_up_brings_descriptors_to_close() -> None:
    client = with_calls()
    client.receive_data(item(0, fds=1, request_id=4), [7])
    assert client.next_event() is None
    assert client.take_surplus() == [7]


class Picky(Call):
    """A stream whose items do not fit."""

    @override
    def decode_item(self, body: bytes, fds: Sequence[int], head: ItemHead, /) -> Any:
        return Mismatch(head.id, [])


def test_an_item_that_does_not_fit_is_handed_up() -> None:
    client: ClientConnection[Call] = ClientConnection()
    client.send_request("a.b", b"{}", Picky("s"))
    client.open_inflow(1, 1)
    client.receive_data(item(0))
    assert client.next_event() == ItemReceived(Picky("s"), Mismatch(1, []))


SPELLINGS: Final = [
    b'{"method":"rpc.item","jsonrpc":"2.0","params":{"id":2,"seq":0,"item":[1]}}',
    b'{"jsonrpc":"2.0","method":"rpc.item","params":{"seq":0,"id":2,"item":[1]}}',
    b'{"jsonrpc":"2.0","method":"\\u0072pc.item","params":{"id":2,"seq":0,"item":[1]}}',
    b' {"jsonrpc":"2.0", "params":{"id":2,"seq":0,"item":[1]}, "method":"rpc.item", "meta":{}}',
    b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":2,"seq":7,"item":1,"seq":0,"item":[1]}}',
    b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":3,"seq":0,"item":1},"params":{"id":2,"seq":0,"item":[1]}}',
]


@pytest.mark.parametrize("body", SPELLINGS)
def test_an_item_is_matched_however_it_is_written(body: bytes) -> None:
    client = with_calls()
    client.receive_data(frame(body))
    assert client.next_event() == ItemReceived(Call("stream"), [1])
    server = ServerConnection()
    server.receive_data(frame(compact({"jsonrpc": "2.0", "id": 2, "method": "a.b"})))
    server.next_event()
    server.open_inflow(2, 1, read_item)
    server.receive_data(frame(body))
    assert server.next_event() == Item(2, [1])


def test_an_item_brings_its_descriptors_however_it_is_written() -> None:
    taken: list[int] = []

    def take(body: bytes, fds: Sequence[int], head: ItemHead) -> Any:
        taken.extend(fds)
        return head.seq

    server = ServerConnection()
    server.receive_data(frame(compact({"jsonrpc": "2.0", "id": 1, "method": "a.b"})))
    server.next_event()
    server.open_inflow(1, 2, take)
    params = {"id": 1, "seq": 1, "item": 0}
    server.receive_data(item(0, b"0", 1), [5])
    server.receive_data(
        frame(compact({"params": params, "meta": {"fds": 1}, "method": "rpc.item", "jsonrpc": "2.0"})), [6]
    )
    assert [server.next_event(), server.next_event()] == [Item(1, 0, 1), Item(1, 1, 1)]
    assert taken == [5, 6]
    assert server.take_surplus() == ()


# --- items whose descriptors their contract has closed ------------------------------------------------------------


def refuse_item(body: bytes, fds: Sequence[int], head: ItemHead) -> Any:
    raise ItemRefused(ErrorObject(ErrorCode.INVALID_PARAMS, "m", {"errors": []}))


ITEM_ELSEWISE: Final = compact(
    {"params": {"id": 1, "seq": 0, "item": 1}, "meta": {"fds": 1}, "method": "rpc.item", "jsonrpc": "2.0"}
)


@pytest.mark.parametrize("data", [item(0, b"1", 1), frame(ITEM_ELSEWISE)], ids=["ours", "written elsewise"])
@pytest.mark.parametrize("fds", [(), (5,)])
def test_an_item_whose_descriptors_are_closed_is_not_read_again(data: bytes, fds: tuple[int, ...]) -> None:
    server = ServerConnection()
    server.receive_data(frame(compact({"jsonrpc": "2.0", "id": 1, "method": "a.b"})))
    server.next_event()
    server.open_inflow(1, 2, refuse_item)
    server.receive_data(data, fds)
    event = server.next_event()
    assert isinstance(event, StreamBroken)
    assert event.error.code == ErrorCode.INVALID_PARAMS
    assert server.take_surplus() == ()


class Refusing(Call):
    """A stream whose items are refused, and their descriptors closed."""

    @override
    def decode_item(self, body: bytes, fds: Sequence[int], head: ItemHead, /) -> Any:
        return refuse_item(body, fds, head)


@pytest.mark.parametrize("data", [item(0, b"1", 1), frame(ITEM_ELSEWISE)], ids=["ours", "written elsewise"])
@pytest.mark.parametrize("fds", [(), (5,)])
def test_a_client_closes_no_descriptor_twice(data: bytes, fds: tuple[int, ...]) -> None:
    client: ClientConnection[Call] = ClientConnection()
    client.send_request("a.b", b"{}", Refusing("s"))
    client.open_inflow(1, 1)
    client.receive_data(data, fds)
    with pytest.raises(ItemRefused):
        client.next_event()
    assert client.state is State.BROKEN
    assert client.take_surplus() == ()


def test_a_notification_has_a_name_in_the_logs_like_a_request() -> None:
    server = ServerConnection()
    for fields in ({"id": 1}, {}):
        message = {"jsonrpc": "2.0", **fields, "method": "a.b", "meta": {"call_id": "c-1"}}
        server.receive_data(frame(compact(message)))
        event = server.next_event()
        assert isinstance(event, Request | Notification)
        assert event.call_id == "c-1"
