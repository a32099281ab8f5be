"""What holds for any input: round trips, any cut, and that a peer can cause no other exception than its own."""

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from superd_client.wire.client import ClientConnection, ReplyReceived
from superd_client.wire.envelope import (
    Failure,
    MetaFields,
    Notification,
    Request,
    Result,
    dump_failure,
    dump_meta,
    dump_notification,
    dump_request,
    dump_result,
    parse_call,
    parse_json,
    parse_reply,
)
from superd_client.wire.errors import ErrorObject, RemoteProtocolError
from superd_client.wire.framing import FrameDecoder, encode_frame
from superd_client.wire.limits import FRAME_SIZE_MIN, ID_INTEGER_MAX
from superd_client.wire.server import Refused, ServerConnection, ServerEvent
from superd_client.wire.states import State
from tests.wire.golden import compact, frame, load
from tests.wire.transcripts import Call

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers() | st.integers(-(10**200), 10**200) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)
PARAMS = st.dictionaries(TEXT, JSON, max_size=5)
IDS = st.integers(-ID_INTEGER_MAX, ID_INTEGER_MAX) | TEXT.filter(lambda text: 1 <= len(text) <= 64)
CALL_IDS = st.none() | st.from_regex(r"[A-Za-z0-9._:\-]{1,64}", fullmatch=True)

BODIES = st.sampled_from(
    [
        vector.data(vector.case["body"])
        for file in ("messages_to_server.json", "messages_to_client.json")
        for vector in load(file)
        if not vector.name.startswith("nesting 100,000")
    ]
)

#: A stream of whole frames of vectors and of noise, and of what is no frame at all.
STREAMS = st.lists(
    BODIES.map(frame) | st.binary(min_size=1, max_size=64).map(frame) | st.binary(max_size=8), max_size=6
)


def pieces_of(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` cut into pieces of these sizes, the rest as one."""
    pieces, start = [], 0
    for size in sizes:
        pieces.append(data[start : start + size])
        start += size
    return [piece for piece in [*pieces, data[start:]] if piece]


SIZES = st.lists(st.integers(1, 50), max_size=20)


def same_kinds(left: object, right: object) -> bool:
    """Equality that tells 1 from 1.0 and from true."""
    return left == right and repr(left) == repr(right)


@given(request_id=IDS, method=TEXT, params=PARAMS, call_id=CALL_IDS)
def test_a_request_is_read_as_it_was_written(
    request_id: int | str, method: str, params: dict[str, Any], call_id: str | None
) -> None:
    call = parse_call(dump_request(request_id, method, compact(params), dump_meta(call_id)))
    assert same_kinds(call, Request(request_id, method, params, meta_of(call_id)))


def meta_of(call_id: str | None) -> MetaFields:
    return {} if call_id is None else {"call_id": call_id}


@given(method=TEXT, params=PARAMS, call_id=CALL_IDS)
def test_a_notification_is_read_as_it_was_written(
    method: str, params: dict[str, Any], call_id: str | None
) -> None:
    body = dump_notification(method, compact(params), dump_meta(call_id))
    assert same_kinds(parse_call(body), Notification(method, params, meta_of(call_id)))
    assert same_kinds(parse_reply(body), Notification(method, params, meta_of(call_id)))


@given(request_id=IDS, value=JSON)
def test_a_result_is_read_as_it_was_written(request_id: int | str, value: object) -> None:
    assert same_kinds(parse_reply(dump_result(request_id, compact(value))), Result(request_id, value))


@given(request_id=st.none() | IDS, code=st.integers(-(2**31), 2**31), message=TEXT, data=PARAMS)
def test_a_failure_is_read_as_it_was_written(
    request_id: int | str | None, code: int, message: str, data: dict[str, Any]
) -> None:
    body = dump_failure(request_id, ErrorObject(code, message, data))
    assert parse_reply(body) == Failure(request_id, ErrorObject(code, message, data))


@given(value=JSON)
def test_json_is_read_as_the_standard_library_reads_it(value: object) -> None:
    assert same_kinds(parse_json(json.dumps(value).encode()), value)
    assert same_kinds(parse_json(json.dumps(value, ensure_ascii=False, indent=1).encode()), value)


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _no_lone_surrogate(value: object) -> None:
    json.dumps(value, ensure_ascii=False).encode()


def _all_members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object; what stands under a repeated name must be legal too."""
    _no_lone_surrogate(pairs)
    return dict(pairs)


def _reference(body: bytes) -> tuple[bool, object]:
    """What the standard library makes of a text, under the rules of §3 that it can be told."""
    try:
        text = body.decode()
        if text.startswith("\ufeff"):
            return False, None
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_all_members)
        _no_lone_surrogate(value)
    except (ValueError, RecursionError):
        return False, None
    return True, value


@settings(max_examples=500)
@given(body=BODIES, at=st.integers(0, 200), insert=st.binary(max_size=3), drop=st.integers(0, 3))
def test_what_is_json_is_what_the_standard_library_says(
    body: bytes, at: int, insert: bytes, drop: int
) -> None:
    body = body[:at] + insert + body[at + drop :]
    assume(len(body) < 4000)  # numbers of thousands of digits and deep nesting have limits of their own
    assume(max(body.count(b"["), body.count(b"{")) < 150)
    legal, value = _reference(body)
    if not legal:
        with pytest.raises(RemoteProtocolError) as caught:
            parse_json(body)
        assert 0 <= caught.value.error.data.get("offset", 0) <= len(body)
        return
    parsed = parse_json(body)
    if not _has_infinity(value):
        assert parsed == value


def _has_infinity(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_infinity, value.values()))
    if isinstance(value, list):
        return any(map(_has_infinity, value))
    return isinstance(value, float) and math.isinf(value)


@given(bodies=st.lists(st.binary(min_size=1, max_size=100), max_size=10), sizes=SIZES)
def test_frames_survive_any_cut(bodies: list[bytes], sizes: list[int]) -> None:
    decoder, frames = FrameDecoder(), []
    for piece in pieces_of(b"".join(map(encode_frame, bodies)), sizes):
        decoder.receive_data(piece)
        while (body := decoder.next_frame()) is not None:
            frames.append(body)
    decoder.receive_eof()
    assert frames == bodies


@given(stream=st.binary(max_size=200), sizes=SIZES)
def test_any_bytes_give_the_same_frames_under_any_cut(stream: bytes, sizes: list[int]) -> None:
    assert _decoded(pieces_of(stream, sizes)) == _decoded([stream])


def _decoded(pieces: list[bytes]) -> tuple[list[bytes], ErrorObject | None]:
    decoder, frames = FrameDecoder(FRAME_SIZE_MIN), []
    try:
        for piece in pieces:
            decoder.receive_data(piece)
            while (body := decoder.next_frame()) is not None:
                frames.append(body)
        decoder.receive_eof()
    except RemoteProtocolError as error:
        return frames, error.error
    return frames, None


@settings(max_examples=300)
@given(body=st.binary(max_size=200) | BODIES)
@example(body=b'{"jsonrpc":"2.0","id":' + b"1" * 5000 + b"}")
@example(body=b"[" * 100_000)
@example(body=b'{"a":' * 100_000)
def test_any_body_is_a_message_or_refused(body: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        assert isinstance(parse_call(body), Request | Notification)
    with contextlib.suppress(RemoteProtocolError):
        assert isinstance(parse_reply(body), Result | Failure | Notification)


@settings(max_examples=300)
@given(stream=STREAMS.map(b"".join), sizes=SIZES, drain=st.booleans())
def test_any_bytes_to_a_server(stream: bytes, sizes: list[int], drain: bool) -> None:
    server, seen = ServerConnection(frame_limit=FRAME_SIZE_MIN), 0
    if drain:
        server.drain()
    with contextlib.suppress(RemoteProtocolError):
        for piece in [*pieces_of(stream, sizes), b""]:
            server.receive_data(piece)
            while (event := server.next_event()) is not None:
                seen += isinstance(event, Request)
                assert isinstance(event, ServerEvent)
                if isinstance(event, Refused):
                    assert len(server.send_refusal(event.id, event.error)) <= FRAME_SIZE_MIN + 4
    assert server.calls_in_flight == seen
    assert server.state in {State.HALF_CLOSED, State.BROKEN}
    assert server.next_event() is None


@settings(max_examples=300)
@given(
    stream=STREAMS.map(b"".join), sizes=SIZES, calls=st.integers(0, 8), abandoned=st.sets(st.integers(1, 8))
)
@example(stream=frame(b'{"jsonrpc":"2.0","id":' + b"1" * 5000 + b"}"), sizes=[], calls=1, abandoned=set())
def test_any_bytes_to_a_client(stream: bytes, sizes: list[int], calls: int, abandoned: set[int]) -> None:
    client: ClientConnection[Call] = ClientConnection()
    for number in range(calls):
        client.send_request("a.b", b"{}", Call(str(number)))
    for request_id in abandoned:
        client.abandon(request_id)
    waiting, answered = len(client.pending), 0
    with contextlib.suppress(RemoteProtocolError):
        for piece in [*pieces_of(stream, sizes), b""]:
            client.receive_data(piece)
            while (event := client.next_event()) is not None:
                answered += isinstance(event, ReplyReceived)
    assert len(client.pending) == waiting - answered
    assert client.state in {State.HALF_CLOSED, State.BROKEN}
    assert client.next_event() is None


@given(
    order=st.permutations(range(1, 9)), to_server=SIZES, to_client=SIZES, abandoned=st.sets(st.integers(1, 8))
)
def test_every_call_gets_its_own_reply_once(
    order: list[int], to_server: list[int], to_client: list[int], abandoned: set[int]
) -> None:
    client: ClientConnection[Call] = ClientConnection()
    server = ServerConnection()
    sent = b"".join(client.send_request("a.b", b"{}", Call(str(number)))[1] for number in order)
    for piece in pieces_of(sent, to_server):
        server.receive_data(piece)
        while server.next_event() is not None:
            pass
    for request_id in abandoned:
        client.abandon(request_id)
    received = {}
    for piece in pieces_of(
        b"".join(server.send_result(number, b"%d" % number) for number in order), to_client
    ):
        client.receive_data(piece)
        while (event := client.next_event()) is not None:
            assert isinstance(event, ReplyReceived)
            assert isinstance(event.reply, Result)
            received[event.call.label] = event.reply.value
    assert received == {
        str(label): request_id
        for request_id, label in enumerate(order, start=1)
        if request_id not in abandoned
    }
    assert client.pending == ()
