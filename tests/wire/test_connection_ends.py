"""Frames that are too large, end of file, drain and close, in each state."""

import json
from collections.abc import Callable

import pytest

from superd_client.wire.client import ClientConnection, ReplyReceived
from superd_client.wire.connection import PeerClosed
from superd_client.wire.envelope import (
    Failure,
    Notification,
    Request,
    Result,
    parse_reply,
)
from superd_client.wire.errors import ErrorCode, ErrorObject, LocalProtocolError, RemoteProtocolError
from superd_client.wire.framing import FrameTooLarge, encode_frame
from superd_client.wire.limits import FRAME_SIZE_DEFAULT, FRAME_SIZE_MIN, HEADER_SIZE
from superd_client.wire.server import Refused, ServerConnection
from superd_client.wire.states import State
from tests.wire.golden import compact, frame
from tests.wire.joined import ERROR, Wire, begin, reply
from tests.wire.transcripts import Call, bodies

# --- frames that are too large -----------------------------------------------------------------------------------------


def test_a_request_over_the_limit_is_not_begun() -> None:
    client: ClientConnection[Call] = ClientConnection(frame_limit=FRAME_SIZE_MIN)
    empty = len(client.send_request("a.b", b'""', Call("first"))[1]) - 4 - 2
    for size, fits in ((FRAME_SIZE_MIN - 1, True), (FRAME_SIZE_MIN, True), (FRAME_SIZE_MIN + 1, False)):
        params = b'"%b"' % (b"x" * (size - empty - 2))
        pending = len(client.pending)
        if fits:
            _, data = client.send_request("a.b", params, Call("fits"))
            assert len(data) == size + 4
        else:
            with pytest.raises(FrameTooLarge) as caught:
                client.send_request("a.b", params, Call("does-not-fit"))
            assert (caught.value.length, caught.value.limit) == (size, FRAME_SIZE_MIN)
        assert len(client.pending) == pending + fits
    following, _ = client.send_request("a.b", b"{}", Call("next"))
    assert following == 4


def test_a_notification_over_the_limit_is_not_sent() -> None:
    client: ClientConnection[Call] = ClientConnection(frame_limit=FRAME_SIZE_MIN)
    with pytest.raises(FrameTooLarge):
        client.send_notification("a.b", b'"%b"' % (b"x" * FRAME_SIZE_MIN))


def test_a_result_over_the_limit_leaves_the_call_in_flight_for_a_failure() -> None:
    wire = Wire(0, FRAME_SIZE_MIN)
    ids = begin(wire, "a")
    with pytest.raises(FrameTooLarge) as caught:
        wire.server.send_result(ids["a"], b'"%b"' % (b"x" * FRAME_SIZE_MIN))
    assert wire.server.calls_in_flight == 1
    data = {"call_id": "c", "limit": caught.value.limit, "length": caught.value.length}
    error = ErrorObject(ErrorCode.FRAME_TOO_LARGE, "m", data)
    assert wire.to_client(wire.server.send_failure(ids["a"], error)) == [
        ReplyReceived(Call("a"), Failure(ids["a"], error))
    ]
    assert wire.server.calls_in_flight == 0


@pytest.mark.parametrize("kept", [{}, {"call_id": "c"}])
def test_a_failure_over_the_limit_goes_without_its_details(kept: dict[str, str]) -> None:
    wire = Wire(0, FRAME_SIZE_MIN)
    ids = begin(wire, "a")
    error = ErrorObject(ErrorCode.INVALID_PARAMS, "m", {**kept, "errors": ["x" * FRAME_SIZE_MIN]})
    (event,) = wire.to_client(wire.server.send_failure(ids["a"], error))
    assert event == ReplyReceived(Call("a"), Failure(ids["a"], error._replace(data=kept)))


@pytest.mark.parametrize(
    "request_id", ["\x00" * 64, "😀" * 64, 2**53 - 1], ids=["64 NULs", "64 characters of 4 bytes", "2^53 - 1"]
)
def test_a_failure_with_the_largest_id_and_a_long_message_is_sent_all_the_same(request_id: int | str) -> None:
    server = ServerConnection(frame_limit=FRAME_SIZE_MIN)
    body = json.dumps({"jsonrpc": "2.0", "id": request_id, "method": "a.b"}, ensure_ascii=False).encode()
    server.receive_data(frame(body))
    assert isinstance(server.next_event(), Request)
    error = ErrorObject(
        ErrorCode.APPLICATION_ERROR, "m" * FRAME_SIZE_MIN, {"call_id": "c" * 64, "detail": {}}
    )
    (sent,) = bodies(server.send_failure(request_id, error))
    assert len(sent) <= FRAME_SIZE_MIN
    message = json.loads(sent)
    assert message["id"] == request_id
    assert message["error"]["code"] == ErrorCode.APPLICATION_ERROR
    assert message["error"]["data"]["call_id"] == "c" * 64
    assert server.calls_in_flight == 0


def test_a_frame_over_the_receivers_limit_is_told_and_ends_the_connection(wire: Wire) -> None:
    strict = Wire(1, FRAME_SIZE_MIN)
    _, data = wire.client.send_request("a.b", b'"%b"' % (b"x" * FRAME_SIZE_MIN), Call("a"))
    with pytest.raises(RemoteProtocolError) as caught:
        strict.to_server(data)
    length = len(data) - 4
    assert caught.value.error.code == ErrorCode.FRAME_TOO_LARGE
    assert caught.value.error.data == {"limit": FRAME_SIZE_MIN, "length": length}
    assert strict.server.state is State.BROKEN
    with pytest.raises(RemoteProtocolError):
        wire.to_client(strict.server.send_refusal(None, caught.value.error))


# --- end of file, drain, close, in each state ---------------------------------------------------------------------------


Either = ServerConnection | ClientConnection[Call]


def make_open(connection: Either) -> None:
    assert connection.state is State.OPEN


def make_half_closed(connection: Either) -> None:
    connection.receive_data(b"")
    assert connection.next_event() == PeerClosed()


def make_draining(connection: Either) -> None:
    connection.drain()


def make_broken(connection: Either) -> None:
    connection.receive_data(bytes(4))
    with pytest.raises(RemoteProtocolError):
        connection.next_event()


def make_closed(connection: Either) -> None:
    connection.close()


REACH: dict[State, Callable[[Either], None]] = {
    State.OPEN: make_open,
    State.HALF_CLOSED: make_half_closed,
    State.DRAINING: make_draining,
    State.BROKEN: make_broken,
    State.CLOSED: make_closed,
}


@pytest.fixture(params=["server", "client"])
def either(request: pytest.FixtureRequest) -> Either:
    return ServerConnection() if request.param == "server" else ClientConnection[Call]()


@pytest.mark.parametrize("state", list(State), ids=lambda state: state.value)
def test_end_of_file_in_each_state(either: Either, state: State) -> None:
    REACH[state](either)
    either.receive_data(b"")
    if state in {State.OPEN, State.DRAINING}:
        assert either.next_event() == PeerClosed()
        assert either.state is State.HALF_CLOSED
    assert either.next_event() is None
    assert either.next_event() is None


@pytest.mark.parametrize("state", list(State), ids=lambda state: state.value)
@pytest.mark.parametrize("rest", [b"\x00", b"\x00\x00\x00", b"\x00\x00\x00\x02", b"\x00\x00\x00\x02{"])
def test_end_of_file_inside_a_frame_in_each_state(either: Either, state: State, rest: bytes) -> None:
    REACH[state](either)
    either.receive_data(rest)
    assert either.next_event() is None
    either.receive_data(b"")
    if state is State.OPEN:
        with pytest.raises(RemoteProtocolError) as caught:
            either.next_event()
        assert caught.value.error.code == ErrorCode.PARSE_ERROR
        assert either.state is State.BROKEN
    elif state is State.DRAINING:  # this end may have cut the frame itself
        assert either.next_event() == PeerClosed()
        assert either.state is State.HALF_CLOSED
    else:
        assert either.state is state
    assert either.next_event() is None


@pytest.mark.parametrize("state", list(State), ids=lambda state: state.value)
def test_drain_in_each_state(either: Either, state: State) -> None:
    REACH[state](either)
    either.drain()
    assert either.state is (State.DRAINING if state is State.OPEN else state)


@pytest.mark.parametrize("state", list(State), ids=lambda state: state.value)
def test_close_in_each_state(either: Either, state: State) -> None:
    REACH[state](either)
    either.close()
    assert either.state is State.CLOSED
    assert either.next_event() is None


@pytest.mark.parametrize("state", list(State), ids=lambda state: state.value)
def test_a_request_received_in_each_state(state: State) -> None:
    server = ServerConnection()
    REACH[state](server)
    server.receive_data(
        frame(compact({"jsonrpc": "2.0", "id": 1, "method": "a.b", "meta": {"call_id": "c"}}))
    )
    event = server.next_event()
    if state is State.OPEN:
        assert event == Request(1, "a.b", {}, {"call_id": "c"})
    elif state is State.DRAINING:
        assert isinstance(event, Refused)
        assert (event.id, event.error.code) == (1, ErrorCode.UNAVAILABLE)
        assert event.call == Request(1, "a.b", {}, {"call_id": "c"})
        assert server.send_refusal(event.id, event.error)
    else:
        assert event is None
    assert server.calls_in_flight == (state is State.OPEN)


@pytest.mark.parametrize("state", list(State), ids=lambda state: state.value)
@pytest.mark.parametrize("answer", ["result", "failure"])
def test_a_reply_sent_in_each_state(state: State, answer: str) -> None:
    server = ServerConnection()
    server.receive_data(frame(compact({"jsonrpc": "2.0", "id": 1, "method": "a.b"})))
    assert server.next_event() == Request(1, "a.b", {})
    REACH[state](server)

    def send() -> bytes:
        return server.send_result(1, b"7") if answer == "result" else server.send_failure(1, ERROR)

    if state in {State.OPEN, State.HALF_CLOSED, State.DRAINING}:
        (body,) = bodies(send())
        assert json.loads(body)["id"] == 1
        assert server.calls_in_flight == 0
    else:
        with pytest.raises(LocalProtocolError, match=state.value):
            send()


@pytest.mark.parametrize("state", list(State), ids=lambda state: state.value)
def test_a_last_error_in_each_state(state: State) -> None:
    server = ServerConnection()
    REACH[state](server)
    if state is State.CLOSED:
        with pytest.raises(LocalProtocolError):
            server.send_refusal(None, ERROR)
    else:
        (body,) = bodies(server.send_refusal(None, ERROR))
        assert json.loads(body)["id"] is None


@pytest.mark.parametrize("state", list(State), ids=lambda state: state.value)
def test_a_request_sent_in_each_state(state: State) -> None:
    client: ClientConnection[Call] = ClientConnection()
    REACH[state](client)
    if state is State.OPEN:
        assert client.send_request("a.b", b"{}", Call("a"))[0] == 1
        assert client.send_notification("a.b", b"{}")
    else:
        with pytest.raises(LocalProtocolError, match=state.value):
            client.send_request("a.b", b"{}", Call("a"))
        with pytest.raises(LocalProtocolError, match=state.value):
            client.send_notification("a.b", b"{}")
        assert client.pending == ()


@pytest.mark.parametrize("state", list(State), ids=lambda state: state.value)
def test_a_reply_received_in_each_state(state: State) -> None:
    client: ClientConnection[Call] = ClientConnection()
    client.send_request("a.b", b"{}", Call("a"))
    REACH[state](client)
    client.receive_data(reply(id=1, result=7))
    expected = ReplyReceived(Call("a"), Result(1, 7)) if state in {State.OPEN, State.DRAINING} else None
    assert client.next_event() == expected
    assert [call.label for call in client.pending] == ([] if expected else ["a"])


# --- end of file behind what was sent ------------------------------------------------------------------------------------


def test_what_came_before_the_end_of_file_is_handed_out_first(wire: Wire) -> None:
    _, first = wire.client.send_request("a.b", b"{}", Call("a"))
    _, second = wire.client.send_request("a.b", b"{}", Call("b"))
    wire.server.receive_data(first + second)
    wire.server.receive_data(b"")
    assert [wire.server.next_event() for _ in range(4)] == [
        Request(1, "a.b", {}),
        Request(2, "a.b", {}),
        PeerClosed(),
        None,
    ]
    assert wire.server.state is State.HALF_CLOSED
    assert wire.server.calls_in_flight == 2
    events = wire.to_client(wire.server.send_result(2, b"2") + wire.server.send_result(1, b"1"))
    assert len(events) == 2
    assert wire.server.state is State.HALF_CLOSED


def test_what_came_before_the_fault_is_handed_out_first(wire: Wire) -> None:
    _, first = wire.client.send_request("a.b", b"{}", Call("a"))
    wire.server.receive_data(first + bytes(4) + first)
    assert wire.server.next_event() == Request(1, "a.b", {})
    with pytest.raises(RemoteProtocolError):
        wire.server.next_event()
    assert wire.server.next_event() is None
    with pytest.raises(LocalProtocolError):
        wire.server.send_result(1, b"1")


def test_what_was_received_and_not_asked_for_is_unavailable_after_drain(wire: Wire) -> None:
    begin(wire, "a")
    _, data = wire.client.send_request("a.b", b"{}", Call("b"), "romd-2")
    notification = wire.client.send_notification("a.b", b"{}")
    wire.server.receive_data(data + notification)
    wire.server.drain()
    refused = wire.server.next_event()
    assert isinstance(refused, Refused)
    assert (refused.error.code, refused.call) == (
        ErrorCode.UNAVAILABLE,
        Request(2, "a.b", {}, {"call_id": "romd-2"}),
    )
    dropped = wire.server.next_event()
    assert isinstance(dropped, Refused)
    assert (dropped.id, dropped.call) == (None, Notification("a.b", {}))
    events = wire.to_client(
        wire.server.send_refusal(refused.id, refused.error) + wire.server.send_result(1, b"1")
    )
    assert [event.call.label for event in events if isinstance(event, ReplyReceived)] == ["b", "a"]
    assert wire.server.calls_in_flight == 0


def test_a_client_that_drains_gets_what_it_asked_for(wire: Wire) -> None:
    ids = begin(wire, "a")
    wire.client.drain()
    assert wire.to_client(wire.server.send_result(ids["a"], b"1")) == [ReplyReceived(Call("a"), Result(1, 1))]
    wire.client.receive_data(b"")
    assert wire.client.next_event() == PeerClosed()


def test_pending_calls_outlive_the_connection_so_that_they_can_be_told(wire: Wire) -> None:
    begin(wire, "a", "b")
    wire.client.receive_data(b"")
    assert wire.client.next_event() == PeerClosed()
    wire.client.close()
    assert [call.label for call in wire.client.pending] == ["a", "b"]


def test_nothing_has_come(either: Either) -> None:
    assert either.next_event() is None
    assert either.state is State.OPEN


def test_a_frame_of_the_default_limit_is_admitted() -> None:
    server = ServerConnection()
    body = compact({"jsonrpc": "2.0", "id": 1, "method": "a.b"}).ljust(FRAME_SIZE_DEFAULT)
    server.receive_data(encode_frame(body))
    assert server.next_event() == Request(1, "a.b", {})


def test_a_failure_that_is_no_unicode_is_sent_all_the_same() -> None:
    server = ServerConnection()
    server.receive_data(encode_frame(b'{"jsonrpc":"2.0","id":1,"method":"a.b"}'))
    assert isinstance(server.next_event(), Request)
    error = ErrorObject(ErrorCode.APPLICATION_ERROR, "lone \ud800", {"call_id": "c-1", "detail": "\udfff"})
    failure = parse_reply(server.send_failure(1, error)[HEADER_SIZE:])
    assert failure == Failure(1, ErrorObject(ErrorCode.APPLICATION_ERROR, "lone ?", {"call_id": "c-1"}))
