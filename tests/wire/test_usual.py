"""The short way of a client's end, against the general one: the same calls, the same bytes, and the same comes of it."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typing_extensions import override

from superd_client.wire.client import (
    ClientConnection,
    ClientEvent,
    CreditReceived,
    ItemReceived,
    ReplyReceived,
)
from superd_client.wire.control import (
    ItemHead,
    dump_credit,
    dump_goaway,
    dump_item_head,
    frame_item,
    read_item,
)
from superd_client.wire.envelope import Mismatch, dump_failure, dump_result, parse_json, request_head
from superd_client.wire.errors import ErrorObject, LocalProtocolError, RemoteProtocolError
from superd_client.wire.framing import FrameTooLarge
from superd_client.wire.limits import FRAME_SIZE_DEFAULT, FRAME_SIZE_MIN, HEADER_SIZE, TIME_USEC_MAX
from tests.wire.golden import frame
from tests.wire.test_properties import SIZES, STREAMS, pieces_of
from tests.wire.transcripts import Call

CALLS, STREAM_IDS, CREDIT = (1, 2, 3), (4, 5), 3


def dump_item(request_id: int, seq: int, item: bytes) -> bytes:
    return frame_item(dump_item_head(request_id), seq, item, 0, FRAME_SIZE_DEFAULT)[HEADER_SIZE:]


#: What a server may send: mostly what fits, in an order that does not always.
BODIES = st.one_of(
    st.builds(dump_result, st.integers(0, 7), st.sampled_from([b"1", b"null", b'{"a":[1]}', b"NaN", b"{"])),
    st.builds(dump_result, st.sampled_from(CALLS), st.just(b"0"), st.integers(0, 1)),
    st.builds(
        dump_failure,
        st.none() | st.integers(1, 5),
        st.builds(ErrorObject, st.sampled_from([-32000, -32005]), st.just("m"), st.just({})),
    ),
    st.builds(dump_item, st.integers(3, 6), st.integers(0, 4), st.sampled_from([b"1", b"{", b"null"])),
    st.builds(dump_credit, st.integers(1, 5), st.just(1)),
    st.just(dump_goaway()),
    st.sampled_from(
        [
            b'{"jsonrpc":"2.0","id":1,"result":1,"id":2}',
            b'{"jsonrpc":"2.0","id":1,"result":1,"result":2}',
            b'{"jsonrpc":"2.0","id":1,"result":}',
            b'{"jsonrpc":"2.0","id":1,"result":1]',
            b'{"jsonrpc":"2.0","id":1,"result":1}}',
            b'{"jsonrpc":"2.0","id":1,"result":1} ',
            b'{"jsonrpc":"2.0","id":1,"result" :1}',
            b'{"jsonrpc":"2.0","id":1,"error":1}',
            b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":4,"seq":0,"item":1},"meta":{}}',
            b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":4,"seq":0,"item":1}]',
            b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":4,"seq":0,"item":}}',
            b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":4,"seq":00,"item":1}}',
            b'{"jsonrpc":"2.0","id":01,"result":1}',
            b'{"jsonrpc":"2.0","id":1.0,"result":1}',
            b'{"jsonrpc":"2.0","id":"1","result":1}',
            b'{"id":1,"jsonrpc":"2.0","result":1}',
            b'{"jsonrpc":"2.0","id":1',
            b'{"jsonrpc":"2.0","id":1}',
            b'{"jsonrpc":"2.0","id":' + b"1" * 5000 + b',"result":1}',
            b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":4,"seq":0,"item":1,"seq":1}}',
            b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":4,"item":1,"seq":0}}',
        ]
    ),
)
ITEMS = st.lists(st.sampled_from(STREAM_IDS), max_size=8)


def not_null(body: bytes) -> Any:
    if (value := parse_json(body)) is None:
        raise ValueError
    return value


class Picky(Call):
    """Its contract has no item that is null, and looks at the item before it looks at its number, as contracts do."""

    @property
    @override
    def read_result(self) -> Callable[[bytes], Any] | None:
        return parse_json

    @property
    @override
    def read_item(self) -> Callable[[bytes], Any] | None:
        return not_null

    @override
    def decode_item(self, body: bytes, fds: Sequence[int], head: ItemHead, /) -> Any:
        if read_item(body)["params"]["item"] is None:
            return Mismatch(head.id, [])
        return super().decode_item(body, fds, head)


def in_order(ids: list[int]) -> bytes:
    """Items of these streams, numbered as they should be."""
    return b"".join(
        frame(dump_item(each, ids[:place].count(each), b"%d" % place)) for place, each in enumerate(ids)
    )


def connection() -> ClientConnection[Call]:
    client: ClientConnection[Call] = ClientConnection(frame_limit=FRAME_SIZE_MIN)
    for number in (*CALLS, *STREAM_IDS):
        client.send_request("a.b", b"{}", Picky(str(number)))
    for number in STREAM_IDS:
        client.open_inflow(number, CREDIT)
    return client


def plain(event: ClientEvent[Call]) -> Any:
    """An event in a form that the short way's findings have, too."""
    if isinstance(event, ReplyReceived):
        return event.call.label, event.reply
    if isinstance(event, ItemReceived):
        return event.call.label, "item", event.value
    return ("credit", event.call.label) if isinstance(event, CreditReceived) else event


def read_in_general(client: ClientConnection[Call], data: bytes, found: list[Any]) -> None:
    client.receive_data(data)
    while (event := client.next_event()) is not None:
        found.append(plain(event))


def read_as_usual(client: ClientConnection[Call], data: bytes, found: list[Any]) -> None:
    """As a link of a client does it."""
    if data and client.pending:
        (oldest, *_) = client.pending
        result = client.take_result(data, int(oldest.label))
        if result is not None:
            found.append((oldest.label, result))
            return
    usual, end = client.take_usual(data)
    for call, reply, items in usual:
        found += [(call.label, "item", item) for item in items] if reply is None else [(call.label, reply)]
    if end < len(data) or not data:
        read_in_general(client, data[end:], found)


def outcome(read: Callable[[ClientConnection[Call], bytes, list[Any]], None], pieces: list[bytes]) -> Any:
    client, found = connection(), list[Any]()
    try:
        for piece in [*pieces, b""]:
            read(client, piece, found)
    except RemoteProtocolError as error:
        found.append((type(error), error.error))
    credit = [client._inflows[each].credit for each in STREAM_IDS if each in client._inflows]
    return repr(found), client.state, [call.label for call in client.pending], credit, client.take_surplus()


#: What stands inside of a frame and looks like one.
INNER = frame(dump_result(1, b"7"))
TWICE = frame(b'{"jsonrpc":"2.0","id":1,"result":1,"id":2}')


@settings(max_examples=300)
@given(
    stream=st.lists(BODIES.map(frame) | ITEMS.map(in_order), max_size=8).map(b"".join)
    | STREAMS.map(b"".join),
    sizes=SIZES | st.just([]),
)
@example(stream=in_order([4, 4, 4, 4]), sizes=[])
@example(stream=in_order([4, 5, 4, 5]) + frame(dump_result(4, b"null")), sizes=[])
@example(stream=in_order([4]) + frame(dump_item(4, 2, b"null")), sizes=[])
@example(stream=in_order([4]) + frame(dump_item(4, 1, b"null")) + in_order([5, 5]), sizes=[])
@example(stream=TWICE, sizes=[])
@example(stream=frame(b'{"jsonrpc":"2.0","id":01,"result":1}'), sizes=[])
@example(stream=frame(b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":04,"seq":0,"item":1}}'), sizes=[])
@example(stream=frame(dump_result(3, b"0")) + TWICE, sizes=[])
@example(stream=frame(b"x" * 9 + INNER + b"x"), sizes=[4 + 9, len(INNER)])
@example(stream=frame(b"x" * 9 + in_order([4]) + b"x"), sizes=[4 + 9, len(in_order([4]))])
@example(stream=frame(b"x" * (FRAME_SIZE_MIN + 1)), sizes=[])
@example(stream=frame(dump_result(1, b'"%b"' % (b"x" * FRAME_SIZE_MIN))), sizes=[])
def test_the_short_way_comes_to_the_same_as_the_general_one(stream: bytes, sizes: list[int]) -> None:
    pieces = pieces_of(stream, sizes)
    assert outcome(read_as_usual, pieces) == outcome(read_in_general, pieces)


@pytest.mark.parametrize("place", range(len(in_order([4, 4, 5])) + 1))
def test_any_cut_of_what_is_usual(place: int) -> None:
    stream = in_order([4, 4, 5]) + frame(dump_result(2, b"7")) + frame(dump_result(1, b"null"))
    pieces = [piece for piece in (stream[:place], stream[place:]) if piece]
    assert outcome(read_as_usual, pieces) == outcome(read_in_general, [stream])


def test_the_usual_is_read_without_the_general_way() -> None:
    client = connection()
    stream = in_order([4, 4, 5]) + frame(dump_result(2, b"7"))
    usual, end = client.take_usual(stream)
    assert end == len(stream)
    assert [(call.label, reply and reply.id, items) for call, reply, items in usual] == [
        ("4", None, [0, 1]),
        ("5", None, [2]),
        ("2", 2, []),
    ]
    assert client.take_result(frame(dump_result(1, b"7")), 1) == (1, 7)
    assert client.take_result(frame(dump_result(1, b"7")), 1) is None


def test_a_reply_at_the_frame_limit_is_usual_and_one_byte_more_is_not() -> None:
    empty = len(dump_result(1, b'""'))
    for size, ends in ((FRAME_SIZE_MIN - 1, True), (FRAME_SIZE_MIN, True), (FRAME_SIZE_MIN + 1, False)):
        data = frame(dump_result(1, b'"%b"' % (b"x" * (size - empty))))
        assert (connection().take_result(data, 1) is not None) is ends
        assert (connection().take_usual(data)[1] == len(data)) is ends


@given(deadline=st.integers(0, TIME_USEC_MAX), count=st.integers(1, 12))
def test_a_usual_request_is_what_the_general_way_writes(deadline: int, count: int) -> None:
    short: ClientConnection[Call] = ClientConnection()
    general: ClientConnection[Call] = ClientConnection()
    for number in range(count):
        call, params = Call("a"), b'{"number":%d}' % number
        assert short.send_usual(request_head("a.b"), params, call, "c-1", deadline) == general.send_request(
            "a.b", params, call, "c-1", deadline_usec=deadline
        )
    assert short.pending == general.pending


def test_a_usual_request_at_the_frame_limit() -> None:
    client: ClientConnection[Call] = ClientConnection(frame_limit=FRAME_SIZE_MIN)

    def send(params: bytes) -> bytes:
        return client.send_usual(request_head("a.b"), params, Call("a"), "c", 10**15)[1]

    around = len(send(b"{}")) - HEADER_SIZE - 2
    for size in (FRAME_SIZE_MIN - 1, FRAME_SIZE_MIN):
        assert len(send(b'{"a":"%b"}' % (b"x" * (size - around - 8)))) == size + HEADER_SIZE
    with pytest.raises(FrameTooLarge):
        send(b'{"a":"%b"}' % (b"x" * (FRAME_SIZE_MIN - around - 7)))
    assert len(client.pending) == 3


def test_no_usual_request_on_a_connection_that_is_closed() -> None:
    client: ClientConnection[Call] = ClientConnection()
    client.close()
    with pytest.raises(LocalProtocolError):
        client.send_usual(request_head("a.b"), b"{}", Call("a"), "c", 10**15)
    assert not client.pending
