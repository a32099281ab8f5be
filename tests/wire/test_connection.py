"""Calls and replies, ids, and surprises, under any cut of the bytes."""

import json
from collections.abc import Sequence

import pytest
from typing_extensions import override

from superd_client.wire.client import ReplyReceived
from superd_client.wire.envelope import (
    Failure,
    MessageRefused,
    Mismatch,
    Notification,
    Reply,
    Request,
    Result,
    parse_call,
    parse_reply,
)
from superd_client.wire.errors import ErrorCode, ErrorObject, LocalProtocolError, RemoteProtocolError
from superd_client.wire.server import Refused, ServerConnection
from superd_client.wire.states import State
from tests.wire.golden import compact, frame
from tests.wire.joined import ERROR, Wire, begin, reply
from tests.wire.transcripts import Call, bodies

# --- calls and replies ---------------------------------------------------------------------------------------------


def test_a_call_and_its_result(wire: Wire) -> None:
    call = Call("a")
    request_id, data = wire.client.send_request("echo.echo", b'{"text":"h\xc3\xa9"}', call, "romd-1")
    assert wire.to_server(data) == [Request(request_id, "echo.echo", {"text": "hé"}, {"call_id": "romd-1"})]
    assert wire.server.calls_in_flight == 1
    assert wire.client.pending == (call,)
    events = wire.to_client(wire.server.send_result(request_id, b'{"text":"h\xc3\xa9"}'))
    assert events == [ReplyReceived(call, Result(request_id, {"text": "hé"}))]
    assert wire.server.calls_in_flight == 0
    assert not wire.client.pending


def test_a_call_and_its_failure(wire: Wire) -> None:
    ids = begin(wire, "a")
    events = wire.to_client(wire.server.send_failure(ids["a"], ERROR))
    assert events == [ReplyReceived(Call("a"), Failure(ids["a"], ERROR))]
    assert wire.client.state is wire.server.state is State.OPEN


def test_a_notification_to_the_server(wire: Wire) -> None:
    data = wire.client.send_notification("a.b", b'{"x":1}', "romd-1")
    assert wire.to_server(data) == [Notification("a.b", {"x": 1}, {"call_id": "romd-1"})]
    assert wire.server.calls_in_flight == 0
    assert wire.client.pending == ()


def test_ids_are_different_integers_of_one_connection(wire: Wire) -> None:
    ids = begin(wire, "a", "b", "c")
    assert len(set(ids.values())) == 3
    assert all(type(request_id) is int for request_id in ids.values())
    wire.to_client(wire.server.send_result(ids["a"], b"1"))
    again = begin(wire, "d")
    assert again["d"] not in ids.values()


def test_many_calls_in_one_write_answered_backwards_in_one_write(wire: Wire) -> None:
    labels = [f"call-{number}" for number in range(200)]
    calls = [wire.client.send_request("a.b", b"{}", Call(label)) for label in labels]
    events = wire.to_server(b"".join(data for _, data in calls))
    assert [event.id for event in events if isinstance(event, Request)] == [
        request_id for request_id, _ in calls
    ]
    assert wire.server.calls_in_flight == len(wire.client.pending) == 200
    replies = b"".join(
        wire.server.send_result(request_id, b"%d" % request_id) for request_id, _ in reversed(calls)
    )
    received = wire.to_client(replies)
    assert [event.call.label for event in received if isinstance(event, ReplyReceived)] == labels[::-1]
    assert wire.server.calls_in_flight == len(wire.client.pending) == 0


def test_pending_calls_are_given_oldest_first(wire: Wire) -> None:
    ids = begin(wire, "a", "b", "c")
    wire.to_client(wire.server.send_result(ids["b"], b"1"))
    assert [call.label for call in wire.client.pending] == ["a", "c"]


# --- ids at the server ---------------------------------------------------------------------------------------------


def test_an_id_in_flight_is_refused_and_can_be_used_again_after_the_reply(wire: Wire) -> None:
    first, second = (frame(compact({"jsonrpc": "2.0", "id": 1, "method": name})) for name in ("a.b", "c.d"))
    assert wire.to_server(first) == [Request(1, "a.b", {})]
    (refused,) = wire.to_server(second)
    assert isinstance(refused, Refused)
    assert (refused.id, refused.error.code, refused.call) == (
        1,
        ErrorCode.INVALID_REQUEST,
        Request(1, "c.d", {}),
    )
    (body,) = bodies(wire.server.send_refusal(refused.id, refused.error))
    assert json.loads(body)["id"] == 1
    assert wire.server.calls_in_flight == 1
    wire.server.send_result(1, b"null")
    assert wire.to_server(second) == [Request(1, "c.d", {})]


def test_a_number_and_a_text_are_different_ids(wire: Wire) -> None:
    for request_id in (7, "7"):
        data = frame(compact({"jsonrpc": "2.0", "id": request_id, "method": "a.b"}))
        assert wire.to_server(data) == [Request(request_id, "a.b", {})]
    assert wire.server.calls_in_flight == 2


@pytest.mark.parametrize("request_id", [2, "1", 0])
def test_a_reply_to_what_is_not_in_flight_is_a_local_mistake(wire: Wire, request_id: int | str) -> None:
    begin(wire, "a")
    with pytest.raises(LocalProtocolError):
        wire.server.send_result(request_id, b"1")
    with pytest.raises(LocalProtocolError):
        wire.server.send_failure(request_id, ERROR)
    assert wire.server.calls_in_flight == 1


def test_a_second_reply_is_a_local_mistake(wire: Wire) -> None:
    ids = begin(wire, "a")
    wire.server.send_failure(ids["a"], ERROR)
    with pytest.raises(LocalProtocolError):
        wire.server.send_result(ids["a"], b"1")


def test_a_bad_text_leaves_the_connection_alone(wire: Wire) -> None:
    ids = begin(wire, "a")
    (refused,) = wire.to_server(frame(b"{"))
    assert isinstance(refused, Refused)
    assert (refused.id, refused.call) == (None, None)
    assert refused.error == ErrorObject(ErrorCode.PARSE_ERROR, refused.error.message, {"offset": 1})
    assert wire.server.state is State.OPEN
    wire.server.send_result(ids["a"], b"1")


def test_a_server_may_have_a_parser_of_its_own() -> None:
    seen = []

    def parse(body: bytes, fds: Sequence[int]) -> Request | Notification:
        seen.append(body)
        return parse_call(body, fds)

    server = ServerConnection(parse=parse)
    body = compact({"jsonrpc": "2.0", "id": 1, "method": "a.b"})
    server.receive_data(frame(body))
    assert server.next_event() == Request(1, "a.b", {})
    assert seen == [body]


# --- surprises at the client -----------------------------------------------------------------------------------------


def test_a_late_reply_is_discarded(wire: Wire) -> None:
    ids = begin(wire, "a", "b")
    wire.client.abandon(ids["a"])
    assert [call.label for call in wire.client.pending] == ["b"]
    assert wire.to_client(wire.server.send_result(ids["a"], b"1")) == []
    assert wire.to_client(wire.server.send_result(ids["b"], b"2")) == [
        ReplyReceived(Call("b"), Result(ids["b"], 2))
    ]
    assert wire.client.state is State.OPEN


def test_giving_up_twice_or_after_the_reply_changes_nothing(wire: Wire) -> None:
    ids = begin(wire, "a", "b")
    wire.client.abandon(ids["a"])
    wire.client.abandon(ids["a"])
    wire.to_client(wire.server.send_result(ids["b"], b"1"))
    wire.client.abandon(ids["b"])
    wire.client.abandon(99)
    assert wire.client.state is State.OPEN


SURPRISES: dict[str, bytes] = {
    "an id not sent yet": reply(id=2, result=1),
    "id 0": reply(id=0, result=1),
    "a negative id": reply(id=-1, result=1),
    "a text id": reply(id="1", result=1),
    "the largest id": reply(id=2**53 - 1, result=1),
    "a failure of an id not sent yet": reply(id=2, error={"code": -32603, "message": "m"}),
    "a failure of no call": reply(id=None, error={"code": -32700, "message": "m", "data": {"call_id": "c"}}),
    "a result of no call": reply(id=None, result=1),
    "neither result nor error": reply(id=1),
    "an unknown member": reply(id=1, result=1, extra=1),
    "both result and error": reply(id=1, result=1, error={"code": -32603, "message": "m"}),
    "a request with a pending id": reply(id=1, method="a.b"),
    "a request with a pending id and params": reply(id=1, method="a.b", params={}),
    "a request with another id": reply(id=7, method="a.b"),
    "no value": frame(b'{"jsonrpc":"2.0","id":1,"result":}'),
    "a leading zero": frame(b'{"jsonrpc":"2.0","id":01,"result":1}'),
    "cut off behind the id": frame(b'{"jsonrpc":"2.0","id":1'),
    "cut off before the id": frame(b'{"jsonrpc":"2.0","id":'),
    "NaN": frame(b'{"jsonrpc":"2.0","id":1,"result":NaN}'),
    "digits without end": frame(b'{"jsonrpc":"2.0","id":' + b"1" * 5000 + b"}"),
    "an id of 5,000 digits": frame(b'{"jsonrpc":"2.0","id":' + b"1" * 5000 + b',"result":1}'),
    "null": frame(b"null"),
    "length 0": bytes(4),
    "length over the limit": b"\xff\xff\xff\xff",
}


@pytest.mark.parametrize("data", SURPRISES.values(), ids=SURPRISES)
def test_a_surprise_ends_the_connection(wire: Wire, data: bytes) -> None:
    begin(wire, "a")
    with pytest.raises(RemoteProtocolError):
        wire.to_client(data)
    assert wire.client.state is State.BROKEN
    assert [call.label for call in wire.client.pending] == ["a"]
    with pytest.raises(LocalProtocolError):
        wire.client.send_request("a.b", b"{}", Call("b"))
    with pytest.raises(LocalProtocolError):
        wire.client.send_notification("a.b", b"{}")
    wire.client.receive_data(reply(id=1, result=1))
    assert wire.client.next_event() is None


def test_a_failure_of_no_call_says_what_the_server_said(wire: Wire) -> None:
    with pytest.raises(RemoteProtocolError, match="the text of the server") as caught:
        wire.to_client(
            reply(id=None, error={"code": -32700, "message": "the text of the server", "data": {"offset": 3}})
        )
    assert caught.value.error.code == ErrorCode.PARSE_ERROR
    assert caught.value.error.data == {"offset": 3}


@pytest.mark.parametrize(
    "body",
    [
        b'{"id":1,"jsonrpc":"2.0","result":7}',
        b'{"result":7,"jsonrpc":"2.0","id":1}',
        b'{ "jsonrpc": "2.0", "id": 1, "result": 7 }',
        b'{"jsonrpc":"2.0","id": 1,"result":7}',
        b'{"jsonrpc":"2.0","id":1 ,"result":7}',
        b'{"jsonrpc":"2.0","\\u0069d":1,"result":7}',
        b'{"jsonrpc":"2.0","id":9,"id":1,"result":7}',
        b'{"jsonrpc":"2.0","id":2,"id":1,"result":7}',
        b'{"jsonrpc":"2.0","id":1,"id":1,"result":7}',
        b'{"jsonrpc":"2.0","id":2,"result":7,"id":1}',
        b'{"jsonrpc":"2.0","id":"x,","id":1,"result":7}',
        b'{"jsonrpc":"2.0","id":1,"result":6,"result":7}',
    ],
)
def test_a_reply_is_matched_however_it_is_written(wire: Wire, body: bytes) -> None:
    ids = begin(wire, "a", "b")
    assert ids == {"a": 1, "b": 2}
    assert wire.to_client(frame(body)) == [ReplyReceived(Call("a"), Result(1, 7))]
    assert [call.label for call in wire.client.pending] == ["b"]


def test_a_repeated_id_that_ends_in_none_of_ours_is_a_surprise(wire: Wire) -> None:
    begin(wire, "a")
    with pytest.raises(RemoteProtocolError):
        wire.to_client(frame(b'{"jsonrpc":"2.0","id":1,"id":2,"result":7}'))


def test_a_repeated_id_that_ends_in_an_abandoned_one_is_discarded(wire: Wire) -> None:
    ids = begin(wire, "a", "b")
    wire.client.abandon(ids["b"])
    assert wire.to_client(frame(b'{"jsonrpc":"2.0","id":1,"id":2,"result":7}')) == []
    assert [call.label for call in wire.client.pending] == ["a"]


def test_a_notification_to_the_client_is_handed_up_for_whoever_knows_it(wire: Wire) -> None:
    begin(wire, "a")
    data = reply(method="rpc.unheard_of", params={"x": 1}) + reply(id=1, result=1)
    assert wire.to_client(data) == [
        Notification("rpc.unheard_of", {"x": 1}),
        ReplyReceived(Call("a"), Result(1, 1)),
    ]
    assert wire.client.state is State.OPEN


class Numbers(Call):
    """A call whose result must be an integer."""

    @override
    def decode(self, body: bytes, fds: Sequence[int] = (), /) -> Reply:
        reply = parse_reply(body)
        if isinstance(reply, Notification):
            raise MessageRefused(ErrorObject(ErrorCode.INVALID_REQUEST, "not a reply", {}))
        if isinstance(reply, Result) and not isinstance(reply.value, int):
            return Mismatch(reply.id, [{"loc": [], "type": "int_type", "msg": "m"}])
        return reply


@pytest.mark.parametrize(
    "body", [b'{"jsonrpc":"2.0","id":1,"result":"x"}', b'{"id":1,"result":"x","jsonrpc":"2.0"}']
)
def test_a_result_that_does_not_fit_is_a_failure_of_that_call_alone(wire: Wire, body: bytes) -> None:
    call = Numbers("a")
    wire.client.send_request("a.b", b"{}", call)
    wire.client.send_request("a.b", b"{}", Call("b"))
    (event,) = wire.to_client(frame(body))
    assert isinstance(event, ReplyReceived)
    assert event.reply == Mismatch(1, [{"loc": [], "type": "int_type", "msg": "m"}])
    assert wire.client.state is State.OPEN
    assert wire.to_client(reply(id=2, result="x")) == [ReplyReceived(Call("b"), Result(2, "x"))]
