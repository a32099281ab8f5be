"""What is fuzzed. A target takes any bytes; only RemoteProtocolError may come out of the wire."""

import contextlib
import random
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from typing_extensions import override

from superd_client.wire.client import ClientConnection, ReplyReceived
from superd_client.wire.connection import Connection
from superd_client.wire.control import Cancel, Credit, End, ItemHead, may_be_control, parse_control, read_item
from superd_client.wire.envelope import (
    Notification,
    Reply,
    Request,
    RequestId,
    parse_call,
    parse_json,
    parse_reply,
)
from superd_client.wire.errors import ErrorCode, ErrorObject, RemoteProtocolError
from superd_client.wire.framing import FrameDecoder
from superd_client.wire.limits import CREDIT_MAX, FRAME_SIZE_MIN, HEADER_SIZE, STREAM_CREDIT_DEFAULT
from superd_client.wire.server import Item, Refused, ServerConnection, ServerEvent, StreamBroken
from superd_client.wire.states import State
from tests.wire.link_model import value_of_item
from tests.wire.transcripts import Call, bodies

#: The smallest, which mutated lengths often miss, and one that admits numbers of thousands of digits.
FRAME_LIMITS: Final = (FRAME_SIZE_MIN, 64 * 1024)
CALLS: Final = 4
CANCELLED: Final = ErrorObject(ErrorCode.CANCELLED, "cancelled", {})
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


def fuzz_control(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        if parse_control(data) is not None:
            expect("what is a notification of the protocol may be one", kept=may_be_control(data))
    with contextlib.suppress(RemoteProtocolError):
        expect("an item has a number", kept=read_item(data)["params"]["seq"] >= 0)


class Descriptors:
    """Numbers that stand for descriptors: each must end in one place."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._given = 0
        self.kept: list[int] = []

    def some(self) -> range:
        count = self._dice.choice((0, 0, 0, 0, 1, 1, 2, 70))
        self._given += count
        return range(self._given - count, self._given)

    def check(self) -> None:
        expect("each descriptor ends in one place", kept=sorted(self.kept) == list(range(self._given)))


def fuzz_server(data: bytes) -> None:
    _fuzz_server(data, packets=False)


def fuzz_packets(data: bytes) -> None:
    _fuzz_server(data, packets=True)


def _fuzz_server(data: bytes, *, packets: bool) -> None:
    dice = random.Random(zlib.crc32(data))
    server = ServerConnection(frame_limit=dice.choice(FRAME_LIMITS), packets=packets)
    fds = Descriptors(dice)
    try:
        for piece in _packets_of(data) if packets else pieces_of(data):
            _receive(server, piece, fds, packets=packets)
            _serve(server, fds, dice)
        server.receive_data(b"")
        _serve(server, fds, dice)
    except RemoteProtocolError as error:
        _check_sent(server.send_refusal(None, error.error.with_data(call_id="c" * 64)))
    expect("after the end of file a connection is half closed or broken", kept=server.state in LAST)
    expect("nothing follows", kept=server.next_event() is None)
    fds.kept.extend(server.take_surplus())
    fds.check()


def _packets_of(data: bytes) -> Iterator[bytes]:
    """Frames as packets where the headers are right, and the rest as it comes."""
    while data:
        size = HEADER_SIZE + int.from_bytes(data[:HEADER_SIZE], "big")
        yield data[:size]
        data = data[size:]


def _receive(end: Connection, piece: bytes, fds: Descriptors, *, packets: bool) -> None:
    if packets:
        end.receive_packet(piece, fds.some())
    else:
        end.receive_data(piece, fds.some())


def _serve(server: ServerConnection, fds: Descriptors, dice: random.Random) -> None:
    while (event := server.next_event()) is not None:
        call = event.call if isinstance(event, Refused) else event
        if isinstance(call, Request | Notification):
            fds.kept.extend(call.received or ())
        _answer(server, event, fds, now=dice.random() < 0.5)
    if dice.random() < 0.01:
        server.drain()


def _answer(server: ServerConnection, event: ServerEvent, fds: Descriptors, *, now: bool) -> None:
    if isinstance(event, Refused):
        _check_sent(server.send_refusal(event.id, event.error.with_data(call_id="c" * 64)))
    elif isinstance(event, StreamBroken | Cancel):
        error = event.error if isinstance(event, StreamBroken) else CANCELLED
        _fail(server, event.id, error)
    elif isinstance(event, Request):
        _begin(server, event, fds, now=now)
    elif isinstance(event, Credit):
        expect("credit is never more than there may be", kept=0 < server.credit(event.id) <= CREDIT_MAX)
        server.send_item(event.id, b"1")
    elif isinstance(event, Item | End):
        expect("only what is in flight goes on", kept=server.is_in_flight(event.id))


def _begin(server: ServerConnection, request: Request, fds: Descriptors, *, now: bool) -> None:
    def parse_item(body: bytes, came: Sequence[int], head: ItemHead) -> Any:
        value = value_of_item(body, came, head)
        fds.kept.extend(came)
        return value

    if request.method == "a.stream":
        server.open_outflow(request.id, request.meta.get("credit", STREAM_CREDIT_DEFAULT))
    elif request.method == "a.upload":
        server.open_inflow(request.id, 2, parse_item)
    elif now:
        _fail(server, request.id, ErrorObject(ErrorCode.INTERNAL_ERROR, "m", {"call_id": "c"}))


def _fail(server: ServerConnection, request_id: RequestId, error: ErrorObject) -> None:
    before = server.calls_in_flight
    _check_sent(server.send_failure(request_id, error.with_data(call_id="c" * 64)))
    expect("an answered call is not in flight", kept=server.calls_in_flight == before - 1)


def _check_sent(data: bytes) -> None:
    """What a server answers is a legal failure in one frame within the limit."""
    (body,) = bodies(data)
    expect("an answer fits a frame", kept=0 < len(body) <= max(FRAME_LIMITS))
    expect("an answer is JSON", kept=isinstance(parse_json(body), dict))
    expect("an answer has a header of its length", kept=len(data) == HEADER_SIZE + len(body))
    parse_reply(body)


class Keeper(Call):
    """A call that keeps the descriptors of what comes for it."""

    kept: list[int]

    @override
    def decode(self, body: bytes, fds: Sequence[int] = (), /) -> Reply:
        reply = super().decode(body, fds)
        self.kept.extend(fds)
        return reply

    @override
    def decode_item(self, body: bytes, fds: Sequence[int], head: ItemHead, /) -> Any:
        item = super().decode_item(body, fds, head)
        self.kept.extend(fds)
        return item


def fuzz_client(data: bytes) -> None:
    dice = random.Random(zlib.crc32(data))
    client: ClientConnection[Call] = ClientConnection(frame_limit=dice.choice(FRAME_LIMITS))
    fds = Descriptors(dice)
    for number in range(CALLS):
        call = Keeper(str(number))
        client.send_request("a.b", b"{}", call)
        Keeper.kept = fds.kept
    client.open_inflow(1, 2)
    client.open_outflow(2)
    client.abandon(CALLS)
    waiting = CALLS - 1
    with contextlib.suppress(RemoteProtocolError):
        for piece in (*pieces_of(data), b""):
            client.receive_data(piece, fds.some() if piece else ())
            while (event := client.next_event()) is not None:
                waiting -= isinstance(event, ReplyReceived)
    expect("each reply ends one call", kept=len(client.pending) == waiting)
    expect("credit is never more than there may be", kept=0 <= client.credit(2) <= CREDIT_MAX)
    expect("after the end of file a connection is half closed or broken", kept=client.state in LAST)
    expect("nothing follows", kept=client.next_event() is None)
    fds.kept.extend(client.take_surplus())
    fds.check()


#: Targets that take one body, and targets that take a stream.
BODY_TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "call": fuzz_call,
    "reply": fuzz_reply,
    "control": fuzz_control,
}
STREAM_TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "decoder": fuzz_decoder,
    "server": fuzz_server,
    "packets": fuzz_packets,
    "client": fuzz_client,
}
TARGETS: Final = {**BODY_TARGETS, **STREAM_TARGETS}
