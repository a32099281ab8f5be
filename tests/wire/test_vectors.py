"""Runs the golden vectors of frames, connections and tables, which are written by hand from docs/reference/protocol.md."""

from itertools import pairwise

import pytest

from superd_client.address import Address, SocketKind, parse_address
from superd_client.errors import remote_error
from superd_client.wire import limits
from superd_client.wire.envelope import Failure
from superd_client.wire.errors import ErrorCode, ErrorObject, RemoteProtocolError
from superd_client.wire.framing import FrameDecoder, encode_frame
from tests.wire.golden import FILES, Vector, every, load
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
    holds_secrets = False

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
