"""What is fuzzed. A target takes any bytes; only RemoteProtocolError may come out of the wire."""

import contextlib
import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from superd_client.wire.client import ClientConnection, ReplyReceived
from superd_client.wire.envelope import Request, parse_call, parse_json, parse_reply
from superd_client.wire.errors import ErrorCode, ErrorObject, RemoteProtocolError
from superd_client.wire.framing import FrameDecoder
from superd_client.wire.limits import FRAME_SIZE_MIN, HEADER_SIZE
from superd_client.wire.server import Refused, ServerConnection, ServerEvent
from superd_client.wire.states import State
from tests.wire.transcripts import Call, bodies

#: The smallest, which mutated lengths often miss, and one that admits numbers of thousands of digits.
FRAME_LIMITS: Final = (FRAME_SIZE_MIN, 64 * 1024)
CALLS: Final = 4
LAST: Final = frozenset({State.HALF_CLOSED, State.BROKEN})


class Broken(Exception):
    """The wire did something else than what it promises."""


def expect(promise: str, *, kept: bool) -> None:
    if not kept:
        raise Broken(promise)


def pieces_of(data: bytes) -> Iterator[bytes]:
    """Cut the input in a way that depends on nothing but the input, so that it can be replayed."""
    dice = random.Random(zlib.crc32(data))
    start, largest = 0, dice.choice((1, 5, 100, len(data) + 1))
    while start < len(data):
        size = dice.randint(1, largest)
        yield data[start : start + size]
        start += size


def fuzz_call(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        parse_call(data)


def fuzz_reply(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        parse_reply(data)


def fuzz_decoder(data: bytes) -> None:
    expect("frames do not depend on the cut", kept=_frames(pieces_of(data)) == _frames(iter([data])))


def _frames(pieces: Iterator[bytes]) -> tuple[list[bytes], ErrorObject | None]:
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


def fuzz_server(data: bytes) -> None:
    dice = random.Random(zlib.crc32(data))
    server = ServerConnection(frame_limit=dice.choice(FRAME_LIMITS))
    try:
        for piece in (*pieces_of(data), b""):
            server.receive_data(piece)
            while (event := server.next_event()) is not None:
                _answer(server, event, now=dice.random() < 0.5)
            if dice.random() < 0.01:
                server.drain()
    except RemoteProtocolError as error:
        _check_sent(server.send_refusal(None, error.error.with_data(call_id="c" * 64)))
    expect("after the end of file a connection is half closed or broken", kept=server.state in LAST)
    expect("nothing follows", kept=server.next_event() is None)


def _answer(server: ServerConnection, event: ServerEvent, *, now: bool) -> None:
    if isinstance(event, Refused):
        _check_sent(server.send_refusal(event.id, event.error.with_data(call_id="c" * 64)))
    elif isinstance(event, Request) and now:
        before = server.calls_in_flight
        _check_sent(
            server.send_failure(event.id, ErrorObject(ErrorCode.INTERNAL_ERROR, "m", {"call_id": "c"}))
        )
        expect("an answered call is not in flight", kept=server.calls_in_flight == before - 1)


def _check_sent(data: bytes) -> None:
    """What a server answers is a legal failure in one frame within the limit."""
    (body,) = bodies(data)
    expect("an answer fits a frame", kept=0 < len(body) <= max(FRAME_LIMITS))
    expect("an answer is JSON", kept=isinstance(parse_json(body), dict))
    expect("an answer has a header of its length", kept=len(data) == HEADER_SIZE + len(body))
    parse_reply(body)


def fuzz_client(data: bytes) -> None:
    limit = random.Random(zlib.crc32(data)).choice(FRAME_LIMITS)
    client: ClientConnection[Call] = ClientConnection(frame_limit=limit)
    for number in range(CALLS):
        client.send_request("a.b", b"{}", Call(str(number)))
    client.abandon(CALLS)
    waiting = CALLS - 1
    with contextlib.suppress(RemoteProtocolError):
        for piece in (*pieces_of(data), b""):
            client.receive_data(piece)
            while (event := client.next_event()) is not None:
                waiting -= isinstance(event, ReplyReceived)
    expect("each reply ends one call", kept=len(client.pending) == waiting)
    expect("after the end of file a connection is half closed or broken", kept=client.state in LAST)
    expect("nothing follows", kept=client.next_event() is None)


#: Targets that take one body, and targets that take a stream.
BODY_TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {"call": fuzz_call, "reply": fuzz_reply}
STREAM_TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "decoder": fuzz_decoder,
    "server": fuzz_server,
    "client": fuzz_client,
}
TARGETS: Final = {**BODY_TARGETS, **STREAM_TARGETS}
