"""Runs the golden vectors, which are written by hand from docs/reference/protocol.md."""

import json
from itertools import pairwise
from typing import Any

import pytest

from superd_client.address import Address, SocketKind, parse_address
from superd_client.errors import remote_error
from superd_client.wire import limits
from superd_client.wire.envelope import (
    Failure,
    MessageRefused,
    Notification,
    Request,
    RequestId,
    Result,
    dump_failure,
    dump_meta,
    dump_notification,
    dump_request,
    dump_result,
    parse_call,
    parse_reply,
)
from superd_client.wire.errors import ErrorCode, ErrorObject, RemoteProtocolError
from superd_client.wire.framing import FrameDecoder, encode_frame
from tests.wire.golden import FILES, Vector, compact, every, load
from tests.wire.transcripts import ClientEnd, ServerEnd, play


@pytest.mark.parametrize("file", FILES)
def test_a_file_has_cases_with_names_of_their_own(file: str) -> None:
    vectors = load(file)
    assert vectors
    assert len({vector.name for vector in vectors}) == len(vectors)


# --- framing --------------------------------------------------------------------------------------------------


def decode(pieces: list[bytes], *, limit: int, eof: bool) -> tuple[list[bytes], ErrorObject | None]:
    """All frames, and the error where framing is lost."""
    decoder = FrameDecoder(limit)
    frames: list[bytes] = []
    try:
        for piece in pieces:
            decoder.receive_data(piece)
            while (body := decoder.next_frame()) is not None:
                frames.append(body)
        if eof:
            decoder.receive_eof()
    except RemoteProtocolError as error:
        return frames, error.error
    return frames, None


def check_framing(vector: Vector, pieces: list[bytes]) -> None:
    frames, lost = decode(pieces, limit=vector.frame_limit, eof=vector.case.get("eof", False))
    expect = vector.case["expect"]
    assert frames == [vector.data(body) for body in expect["frames"]]
    if "lost" not in expect:
        assert lost is None
        return
    assert lost is not None
    assert lost.code == expect["lost"]["code"]
    data = expect["lost"].get("data", {})
    assert {name: lost.data.get(name) for name in data} == data


def cut(stream: bytes, positions: list[int]) -> list[bytes]:
    edges = [0, *positions, len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


@every("framing.json")
def test_framing(vector: Vector) -> None:
    stream = vector.data(vector.case["stream"])
    check_framing(vector, cut(stream, vector.case.get("split", [])))


@every("framing.json")
def test_framing_byte_by_byte(vector: Vector) -> None:
    stream = vector.data(vector.case["stream"])
    check_framing(vector, [stream[at : at + 1] for at in range(len(stream))])


@every("framing.json")
def test_framing_split_at_every_position(vector: Vector) -> None:
    stream = vector.data(vector.case["stream"])
    for position in range(1, len(stream)):
        check_framing(vector, cut(stream, [position]))


@every("framing.json")
def test_encoding_the_frames_gives_the_stream_again(vector: Vector) -> None:
    stream = vector.data(vector.case["stream"])
    frames = [vector.data(body) for body in vector.case["expect"]["frames"]]
    assert stream.startswith(b"".join(encode_frame(body, vector.frame_limit) for body in frames))


# --- messages -------------------------------------------------------------------------------------------------


def same_id(actual: RequestId | None, expected: RequestId | None) -> bool:
    """Whether two ids are equal in value and type: 7, "7" and true are three."""
    return type(actual) is type(expected) and actual == expected


def check_call(call: Request | Notification, fields: dict[str, Any]) -> None:
    if "id" in fields:
        assert isinstance(call, Request)
        assert same_id(call.id, fields["id"])
    if "method" in fields:
        assert call.method == fields["method"]
    if "params" in fields:
        assert call.params == fields["params"]
        assert type(call.params) is type(fields["params"])
    assert call.call_id == fields.get("meta", {}).get("call_id")


def check_refusal(refused: MessageRefused, expect: dict[str, Any]) -> None:
    codes = expect["code"] if isinstance(expect["code"], list) else [expect["code"]]
    assert refused.error.code in codes
    assert same_id(refused.id, expect["id"])
    data = refused.error.data
    if "offset" in expect:
        assert data.get("offset", expect["offset"]) == expect["offset"]
    if "loc" in expect:
        assert {tuple(fault["loc"]) for fault in data["errors"]} == {tuple(loc) for loc in expect["loc"]}
    if "listed" in expect:
        assert len(data["errors"]) == expect["listed"]
        assert data.get("omitted") == expect["omitted"]
    check_data(refused.error)


def check_data(error: ErrorObject) -> None:
    """What §8 says of every refusal."""
    json.dumps(error.data)
    if error.code == ErrorCode.INVALID_REQUEST:
        assert 0 < len(error.data["errors"]) <= limits.FAULTS_LISTED_MAX
        for fault in error.data["errors"]:
            assert list(fault) == ["loc", "type", "msg"]
            assert all(isinstance(part, str | int) for part in fault["loc"])
            assert isinstance(fault["type"], str)
            assert isinstance(fault["msg"], str)


@every("messages_to_server.json")
def test_a_message_to_the_server(vector: Vector) -> None:
    expect = vector.case["expect"]
    body = vector.data(vector.case["body"])
    if "refused" in expect:
        with pytest.raises(MessageRefused) as caught:
            parse_call(body)
        check_refusal(caught.value, expect["refused"])
        return
    try:
        call = parse_call(body)
    except MessageRefused as refused:
        check_refusal(refused, expect["or_refused"])
        return
    assert isinstance(call, Request if "request" in expect else Notification)
    check_call(call, expect["request"] if "request" in expect else expect["notification"])


@every("messages_to_client.json")
def test_a_message_to_the_client(vector: Vector) -> None:
    expect = vector.case["expect"]
    body = vector.data(vector.case["body"])
    if "protocol_error" in expect:
        with pytest.raises(RemoteProtocolError):
            parse_reply(body)
        return
    try:
        message = parse_reply(body)
    except RemoteProtocolError:
        assert expect["or_protocol_error"]
        return
    if isinstance(message, Notification):
        check_call(message, expect["notification"])
    elif isinstance(message, Result):
        check_result(message, expect["result"])
    else:
        check_failure(message, expect["failure"])


def check_result(message: Result, fields: dict[str, Any]) -> None:
    if "id" in fields:
        assert same_id(message.id, fields["id"])
    if "value" in fields:
        assert message.value == fields["value"]
        assert type(message.value) is type(fields["value"])


def check_failure(message: Failure, fields: dict[str, Any]) -> None:
    assert same_id(message.id, fields["id"])
    assert message.error == ErrorObject(fields["code"], fields["message"], fields.get("data", {}))
    assert type(message.error.code) is int


# --- writing --------------------------------------------------------------------------------------------------


def dump(message: dict[str, Any]) -> bytes:
    """Write a message with the function for its kind."""
    meta = dump_meta(**message.get("meta", {}))
    if "method" in message and "id" in message:
        return dump_request(message["id"], message["method"], compact(message["params"]), meta)
    if "method" in message:
        return dump_notification(message["method"], compact(message["params"]), meta)
    if "error" in message:
        return dump_failure(message["id"], ErrorObject(**message["error"]))
    return dump_result(message["id"], compact(message["result"]))


@every("encoding.json")
def test_encoding(vector: Vector) -> None:
    message = vector.case["message"]
    body = dump(message)
    assert json.loads(body) == message
    bodies = vector.case["body"]
    assert body in [text.encode() for text in ([bodies] if isinstance(bodies, str) else bodies)]


@every("encoding.json")
def test_what_was_encoded_is_read_again(vector: Vector) -> None:
    message = vector.case["message"]
    if "method" in message:
        check_call(parse_call(dump(message)), message)
        return
    reply = parse_reply(dump(message))
    if isinstance(reply, Result):
        assert reply == Result(message["id"], message["result"])
    else:
        assert isinstance(reply, Failure)
        assert reply == Failure(message["id"], ErrorObject(**message["error"]))


# --- connections ----------------------------------------------------------------------------------------------


@every("connection_server.json")
def test_a_server_connection(vector: Vector) -> None:
    end = ServerEnd(vector.frame_limit)
    for step in vector.case["steps"]:
        play(end, vector, step)


@every("connection_server.json")
def test_a_server_connection_byte_by_byte(vector: Vector) -> None:
    end = ServerEnd(vector.frame_limit)
    for step in vector.case["steps"]:
        play(end, vector, {**step, "byte_by_byte": True})


@every("connection_client.json")
def test_a_client_connection(vector: Vector) -> None:
    end = ClientEnd(vector.frame_limit)
    for step in vector.case["steps"]:
        play(end, vector, step)


@every("connection_client.json")
def test_a_client_connection_byte_by_byte(vector: Vector) -> None:
    end = ClientEnd(vector.frame_limit)
    for step in vector.case["steps"]:
        play(end, vector, {**step, "byte_by_byte": True})


# --- tables ---------------------------------------------------------------------------------------------------


@every("limits.json")
def test_a_limit(vector: Vector) -> None:
    assert getattr(limits, vector.name) == vector.case["value"]


@every("errors.json")
def test_an_error_code(vector: Vector) -> None:
    assert ErrorCode(vector.case["code"]).name == vector.name.upper().replace(" ", "_")


class Unknown:
    """A method that declares no errors."""

    name = "a.b"

    def decode_error(self, error: ErrorObject) -> None:
        return None


@every("errors.json")
def test_what_an_error_says_of_the_work(vector: Vector) -> None:
    error = remote_error(Failure(1, ErrorObject(vector.case["code"], "m", {})), Unknown(), None)
    expected = vector.case["outcome"]
    assert expected is None or error.outcome.name.lower() == expected


def test_there_are_no_other_error_codes() -> None:
    assert set(ErrorCode) == {vector.case["code"] for vector in load("errors.json")}


@every("addresses.json")
def test_an_address(vector: Vector) -> None:
    text = vector.data(vector.case["address"]).decode()
    expect = vector.case["expect"]
    if "refused" in expect:
        with pytest.raises(ValueError, match="unix:"):
            parse_address(text)
        return
    kind = SocketKind[expect["socket"].upper()]
    ((member, name),) = ((key, value) for key, value in expect.items() if key != "socket")
    assert parse_address(text) == Address(**{member: vector.data(name).decode()}, kind=kind)
