"""What a connection has received and not handed out, taken from one and given to another: nothing is lost or moved."""

import json

from hypothesis import given
from hypothesis import strategies as st

from superd_client.wire.envelope import Request
from superd_client.wire.framing import Arrival
from superd_client.wire.limits import FDS_PER_FRAME_MAX
from superd_client.wire.server import ServerConnection
from tests.wire.golden import frame
from tests.wire.test_properties import SIZES, pieces_of


def call(number: int, fds: int) -> bytes:
    meta = {"meta": {"fds": fds}} if fds else {}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "a.b", "params": {}} | meta).encode()


#: What a peer writes: frames, each begun by a write of its own, the descriptors with its first piece.
Reads = list[tuple[bytes, list[int]]]


@st.composite
def reads(draw: st.DrawFn) -> Reads:
    """The reads that calls with descriptors arrive by: each ends with the piece that brings descriptors."""
    found: Reads = []
    number = 100
    for place in range(draw(st.integers(0, 6))):
        fds = list(range(number, number + draw(st.sampled_from([0, 0, 1, 2, FDS_PER_FRAME_MAX]))))
        number += len(fds)
        pieces = pieces_of(frame(call(place, len(fds))), draw(SIZES))
        found.extend(
            (piece, fds if first else []) for first, piece in zip([True, *[False] * 99], pieces, strict=False)
        )
    return [each for each in found if each[0]]


def handed_out(server: ServerConnection) -> list[tuple[int | str, int]]:
    """The calls that are there, and how many descriptors each has."""
    found = []
    while (event := server.next_event()) is not None:
        assert isinstance(event, Request)
        found.append((event.id, event.meta.get("fds", 0)))
    return found


@given(arrivals=reads(), asked=st.integers(0, 40), taken=st.integers(0, 40))
def test_a_stream_goes_on_in_another_connection(arrivals: Reads, asked: int, taken: int) -> None:
    """Asked for messages up to the read `asked`, then taken away after the read `taken`."""
    whole, old, new = ServerConnection(), ServerConnection(), ServerConnection()
    for data, fds in arrivals:
        whole.receive_data(data, fds)
    events = []
    for number, (data, fds) in enumerate(arrivals[:taken]):
        old.receive_data(data, fds)
        if number < asked:
            events += handed_out(old)
    unread = old.take_unread()
    assert handed_out(old) == []
    assert list(old.take_surplus()) == []
    new.receive_again(unread)
    for data, fds in arrivals[taken:]:
        new.receive_data(data, fds)
    assert events + handed_out(new) == handed_out(whole)
    assert list(new.take_surplus()) == list(whole.take_surplus()) == []


@given(arrivals=reads(), taken=st.integers(0, 40))
def test_what_is_taken_can_be_taken_again(arrivals: Reads, taken: int) -> None:
    old, new = ServerConnection(), ServerConnection()
    for data, fds in arrivals[:taken]:
        old.receive_data(data, fds)
    unread = old.take_unread()
    new.receive_again(unread)
    assert new.take_unread() == unread
    assert old.take_unread() == []


def test_packets_go_on_in_another_connection() -> None:
    old, new = ServerConnection(packets=True), ServerConnection(packets=True)
    packets = [Arrival(frame(call(1, 1)), (7,), len(frame(call(1, 1)))), Arrival(b"\0\0\0\1", (8,), 5000)]
    for packet in packets:
        old.receive_packet(*packet)
    assert (old.fds_waiting, old.unfinished) == (2, None)
    unread = old.take_unread()
    assert unread == packets
    assert old.fds_waiting == 0
    new.receive_again(unread)
    request = new.next_event()
    assert isinstance(request, Request)
    assert request.id == 1
    assert new.next_event() is not None  # the packet that was cut is refused
    assert list(new.take_surplus()) == [8]


def test_what_comes_after_the_end_is_not_kept() -> None:
    old = ServerConnection()
    old.receive_data(frame(call(1, 0))[:9])
    old.close()
    assert old.take_unread() == []
