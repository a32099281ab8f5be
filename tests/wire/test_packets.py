"""Packets, and the descriptors that come beside frames: which belongs to which, and that none is lost."""

from collections.abc import Sequence
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from superd_client.wire.client import ClientConnection
from superd_client.wire.connection import Connection, PeerClosed
from superd_client.wire.envelope import Request
from superd_client.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from superd_client.wire.framing import FrameDecoder, PacketDecoder, PacketRefused, encode_frame
from superd_client.wire.limits import FDS_PER_FRAME_MAX, FRAME_SIZE_MIN, HEADER_SIZE
from superd_client.wire.server import Refused, ServerConnection
from superd_client.wire.states import State
from tests.wire.golden import compact, frame
from tests.wire.transcripts import Call

CALL: Final = compact({"jsonrpc": "2.0", "id": 1, "method": "a.b"})


def call(fds: int) -> bytes:
    return frame(compact({"jsonrpc": "2.0", "id": 1, "method": "a.b", "meta": {"fds": fds}}))


# --- packets ---------------------------------------------------------------------------------------------------------


def test_a_packet_is_one_frame() -> None:
    decoder = PacketDecoder()
    for body in (b"{}", b"[1]"):
        decoder.receive_packet(encode_frame(body), (), HEADER_SIZE + len(body))
    assert decoder.buffered == 2 * HEADER_SIZE + 5
    assert [decoder.next_frame(), decoder.next_frame(), decoder.next_frame()] == [b"{}", b"[1]", None]
    assert decoder.buffered == 0
    decoder.receive_eof()


BAD_PACKETS: Final = {
    "empty": b"",
    "half a header": b"\0\0",
    "a header that says 0": bytes(4),
    "a header alone": b"\0\0\0\x02",
    "half a frame": b"\0\0\0\x02{",
    "a frame and a half": frame(b"{}") + frame(b"{}")[:3],
    "two frames": frame(b"{}") * 2,
}


@pytest.mark.parametrize("packet", BAD_PACKETS.values(), ids=BAD_PACKETS)
def test_a_packet_that_is_not_one_frame_costs_itself_alone(packet: bytes) -> None:
    server = ServerConnection(packets=True)
    server.receive_packet(packet, [5])
    server.receive_packet(frame(CALL))
    refused = server.next_event()
    assert isinstance(refused, Refused)
    assert (refused.id, refused.error.code) == (None, ErrorCode.PARSE_ERROR)
    assert server.take_surplus() == [5]
    assert server.next_event() == Request(1, "a.b", {})


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_frame_limit_of_a_packet(more: int) -> None:
    server = ServerConnection(packets=True, frame_limit=FRAME_SIZE_MIN)
    length = FRAME_SIZE_MIN + more
    server.receive_packet(frame(CALL.ljust(length)))
    event = server.next_event()
    if more <= 0:
        assert event == Request(1, "a.b", {})
        return
    assert isinstance(event, Refused)
    assert event.error.code == ErrorCode.FRAME_TOO_LARGE
    assert event.error.data == {"limit": FRAME_SIZE_MIN, "length": length}
    assert server.state is State.OPEN


@pytest.mark.parametrize(
    ("length", "code"),
    [
        (HEADER_SIZE + FRAME_SIZE_MIN, ErrorCode.PARSE_ERROR),
        (HEADER_SIZE + FRAME_SIZE_MIN + 1, ErrorCode.FRAME_TOO_LARGE),
    ],
)
def test_a_packet_that_was_cut_is_judged_by_what_it_was(length: int, code: ErrorCode) -> None:
    server = ServerConnection(packets=True, frame_limit=FRAME_SIZE_MIN)
    server.receive_packet(frame(CALL), (), length)
    event = server.next_event()
    assert isinstance(event, Refused)
    assert event.error.code == code


@pytest.mark.parametrize("packet", BAD_PACKETS.values(), ids=BAD_PACKETS)
def test_a_server_whose_packet_is_not_one_frame_is_left(packet: bytes) -> None:
    client: ClientConnection[Call] = ClientConnection(packets=True)
    client.send_request("a.b", b"{}", Call("a"))
    client.receive_packet(packet, [5])
    with pytest.raises(PacketRefused):
        client.next_event()
    assert client.state is State.BROKEN
    assert client.take_surplus() == [5]


def test_an_empty_packet_is_not_the_end() -> None:
    server = ServerConnection(packets=True)
    server.receive_packet(b"")
    assert isinstance(server.next_event(), Refused)
    server.receive_data(frame(CALL))  # data that is not empty is a packet
    assert server.next_event() == Request(1, "a.b", {})
    server.receive_data(b"")
    assert server.next_event() == PeerClosed()
    assert server.state is State.HALF_CLOSED


def test_a_stream_has_no_packets() -> None:
    server = ServerConnection()
    with pytest.raises(LocalProtocolError):
        server.receive_packet(frame(CALL))


@pytest.mark.parametrize("state", [State.HALF_CLOSED, State.CLOSED])
def test_descriptors_of_what_is_not_read_any_more_are_to_be_closed(state: State) -> None:
    server = ServerConnection(packets=True)
    server.receive_packet(frame(CALL), [1])
    server.receive_packet(frame(CALL), [2])
    if state is State.CLOSED:
        server.close()
        assert list(server.take_surplus()) == [1, 2]
    else:
        server.receive_data(b"", [3])
        while server.next_event() is not None:
            pass
        assert sorted(server.take_surplus()) == [1, 2, 3]
    server.receive_packet(frame(CALL), [4])
    server.receive_data(frame(CALL), [5])
    assert list(server.take_surplus()) == [4, 5]
    assert server.take_surplus() == ()


# --- descriptors by place -----------------------------------------------------------------------------------------------


def paired(decoder: FrameDecoder) -> list[tuple[bytes, tuple[int, ...]]]:
    found = []
    while (body := decoder.next_frame()) is not None:
        found.append((body, decoder.take_fds()))
    return found


def test_descriptors_belong_to_the_frame_of_the_last_byte_read() -> None:
    decoder = FrameDecoder()
    decoder.receive_data(frame(b"1") + frame(b"22")[:1], [5])  # the second frame begins with this read
    decoder.receive_data(frame(b"22")[1:] + frame(b"3"), [6])
    decoder.receive_data(frame(b"4"))
    assert paired(decoder) == [(b"1", ()), (b"22", (5,)), (b"3", (6,)), (b"4", ())]


def test_descriptors_of_several_frames_that_nobody_asked_for_yet_stay_apart() -> None:
    decoder, fds = FrameDecoder(), iter(range(1000))
    given = []
    for number in range(4):
        mine = [next(fds) for _ in range(FDS_PER_FRAME_MAX)]
        given.append((b"%d" % number, tuple(mine)))
        decoder.receive_data(frame(b"%d" % number), mine)
    assert paired(decoder) == given
    assert decoder.take_surplus() == []


@pytest.mark.parametrize("more", [-1, 0, 1, 2, 100])
@pytest.mark.parametrize("reads", [1, 4])
def test_descriptors_beyond_those_of_a_frame_go_at_once(more: int, reads: int) -> None:
    """A frame that never ends must not collect them: one more than it may have shows that there were too many."""
    server = ServerConnection()
    fds = list(range(FDS_PER_FRAME_MAX + more))
    data, size = call(min(len(fds), FDS_PER_FRAME_MAX)), len(fds) // reads
    for read in range(reads):
        taken = fds[read * size :] if read == reads - 1 else fds[read * size : (read + 1) * size]
        server.receive_data(data[read : read + 1], taken)
    at_once = list(server.take_surplus())
    assert len(at_once) == max(more - 1, 0)
    server.receive_data(data[reads:])
    event = server.next_event()
    if more <= 0:
        assert isinstance(event, Request)
        assert list(event.received) == fds
    else:
        assert isinstance(event, Refused)
        assert (event.id, event.error.code) == (1, ErrorCode.INVALID_REQUEST)
        assert at_once + list(server.take_surplus()) == [
            *fds[FDS_PER_FRAME_MAX + 1 :],
            *fds[: FDS_PER_FRAME_MAX + 1],
        ]


@pytest.mark.parametrize("more", [-1, 0, 1, 2, 100])
def test_descriptors_beyond_those_of_a_packet_go_at_once(more: int) -> None:
    server = ServerConnection(packets=True)
    fds = list(range(FDS_PER_FRAME_MAX + more))
    server.receive_packet(call(min(len(fds), FDS_PER_FRAME_MAX)), fds)
    assert list(server.take_surplus()) == fds[FDS_PER_FRAME_MAX + 1 :]
    assert isinstance(server.next_event(), Request if more <= 0 else Refused)


def test_descriptors_in_front_of_lost_framing_are_to_be_closed() -> None:
    server = ServerConnection()
    server.receive_data(bytes(8), [5])
    with pytest.raises(RemoteProtocolError):
        server.next_event()
    assert server.take_surplus() == [5]


def test_descriptors_of_a_frame_that_the_end_of_file_cut_are_to_be_closed() -> None:
    server = ServerConnection()
    server.drain()
    server.receive_data(frame(CALL)[:9], [5])
    server.receive_data(b"")
    assert server.next_event() == PeerClosed()
    assert server.take_surplus() == [5]


def test_the_buffer_of_a_connection_that_has_ended_is_given_back() -> None:
    server = ServerConnection()
    server.receive_data(frame(CALL)[:9])
    server.close()
    assert server._decoder.buffered == 0


# --- each descriptor ends in one place -------------------------------------------------------------------------------


BODIES: Final = st.sampled_from(
    [
        *(
            compact({"jsonrpc": "2.0", "id": number, "method": "a.b", "meta": {"fds": fds}})
            for number in (1, 2)
            for fds in (0, 1, 2)
        ),
        *(compact({"jsonrpc": "2.0", "id": 1, "result": 1, "meta": {"fds": fds}}) for fds in (0, 1)),
        *(
            compact({"jsonrpc": "2.0", "method": method, "params": {"id": call, **more}})
            for call in (1, 2, 9)
            for method, more in {
                "rpc.item": {"seq": 0, "item": 1},
                "rpc.credit": {"n": 1},
                "rpc.end": {},
                "rpc.cancel": {"x": 1},
                "a.b": {},
            }.items()
        ),
        compact(
            {
                "jsonrpc": "2.0",
                "method": "rpc.item",
                "params": {"id": 2, "seq": 0, "item": 1},
                "meta": {"fds": 1},
            }
        ),
        compact({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "m"}}),
        b"{",
        b"[]",
    ]
)
READS: Final = st.lists(st.tuples(BODIES, st.integers(0, 3), st.integers(0, 100)), max_size=8)


class Keeper(Call):
    """A call that keeps what comes for it."""

    kept: list[int] = []  # noqa: RUF012 - one list for one run, emptied at its beginning

    @override
    def decode(self, body: bytes, fds: Sequence[int] = (), /) -> Any:
        reply = super().decode(body, fds)
        self.kept.extend(fds)
        return reply

    @override
    def decode_item(self, body: bytes, fds: Sequence[int], head: Any, /) -> Any:
        item = super().decode_item(body, fds, head)
        self.kept.extend(fds)
        return item


def make_server(kept: list[int], *, packets: bool) -> ServerConnection:
    def parse_item(body: bytes, fds: Sequence[int], head: Any) -> Any:
        kept.extend(fds)
        return fds

    server = ServerConnection(packets=packets)
    for number in (2, 1):
        data = frame(compact({"jsonrpc": "2.0", "id": number, "method": "a.b"}))
        server.receive_data(data)
        server.next_event()
    server.open_inflow(2, 2, parse_item)
    return server


def make_client(kept: list[int], *, packets: bool) -> ClientConnection[Call]:
    Keeper.kept = kept
    client: ClientConnection[Call] = ClientConnection(packets=packets)
    for label in ("a", "b"):
        client.send_request("a.b", b"{}", Keeper(label))
    client.open_inflow(2, 2)
    return client


def feed(end: Connection, reads: list[tuple[bytes, int, int]], kept: list[int], *, ask: bool) -> list[int]:
    given: list[int] = []
    for body, count, cut in reads:
        fds = list(range(len(given), len(given) + count))
        given += fds
        data = frame(body)
        if isinstance(end._decoder, PacketDecoder):
            end.receive_packet(data[: len(data) - (cut > 90)], fds)
        else:
            end.receive_data(data[:cut] or b"", fds) if cut else end.receive_data(data, fds)
            end.receive_data(data[cut:]) if 0 < cut < len(data) else None
        if ask:
            drain(end, kept)
    drain(end, kept)
    end.close()
    return given


def drain(end: Any, kept: list[int]) -> None:
    try:
        while (event := end.next_event()) is not None:
            call = event.call if isinstance(event, Refused) else event
            kept.extend(getattr(call, "received", None) or ())
    except RemoteProtocolError:
        pass


@pytest.mark.parametrize("packets", [False, True])
@pytest.mark.parametrize("make", [make_server, make_client])
@given(reads=READS, ask=st.booleans())
def test_each_descriptor_ends_in_one_place(make: Any, packets: bool, reads: Any, ask: bool) -> None:
    kept: list[int] = []
    end = make(kept, packets=packets)
    given_away = feed(end, reads, kept, ask=ask)
    assert sorted([*kept, *end.take_surplus()]) == given_away
