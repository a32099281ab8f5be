"""The protocol's own notifications: how they are read, however they are written, and how they are told when they are none."""

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superd_client.wire.control import (
    Cancel,
    Control,
    ControlRefused,
    Credit,
    End,
    Goaway,
    ItemHead,
    dump_cancel,
    dump_credit,
    dump_end,
    dump_goaway,
    dump_item_head,
    frame_item,
    may_be_control,
    parse_control,
    peek_item,
    peek_number,
    read_item,
)
from superd_client.wire.envelope import MessageRefused, Notification, Request, RequestId
from superd_client.wire.errors import ErrorCode, RemoteProtocolError
from superd_client.wire.framing import FrameTooLarge, encode_frame
from superd_client.wire.limits import CREDIT_MAX, ID_INTEGER_MAX
from superd_client.wire.server import Refused, ServerConnection, StreamBroken
from tests.wire.golden import compact, frame
from tests.wire.items import dump_item

WRITTEN: Final[list[tuple[bytes, Control]]] = [
    (dump_cancel(7), Cancel(7)),
    (dump_cancel('a "text"'), Cancel('a "text"')),
    (dump_credit(7, 1), Credit(7, 1)),
    (dump_credit(7, CREDIT_MAX), Credit(7, CREDIT_MAX)),
    (dump_end(-1), End(-1)),
    (dump_item(7, 0, b"{}", 0), ItemHead(7, 0)),
    (dump_item("7", ID_INTEGER_MAX, b"[1]", 64), ItemHead("7", ID_INTEGER_MAX)),
    (dump_goaway(), Goaway()),
    (b'{"jsonrpc":"2.0","method":"rpc.goaway"}', Goaway()),
]


def respelt(body: bytes) -> list[bytes]:
    """The same message in other words."""
    value = json.loads(body)
    turned = dict(reversed(value.items()))
    return [
        json.dumps(value, indent=1).encode(),
        compact(turned),
        body.replace(b"rpc.", rb"\u0072pc."),
        body.replace(b'"method"', b'"m\\u0065thod"'),
        body.replace(b'"jsonrpc":"2.0"', b'"jsonrpc":"1.0","method":[],"jsonrpc":"2.0"'),
    ]


@pytest.mark.parametrize(("body", "control"), WRITTEN)
def test_it_is_read_as_it_was_written_in_any_words(body: bytes, control: Control) -> None:
    for text in (body, *respelt(body)):
        assert may_be_control(text)
        assert parse_control(text) == control


OTHERS: Final[list[bytes]] = [
    b"[]",
    b"null",
    b'"rpc.cancel"',
    b'{"jsonrpc":"2.0","method":"a.b","params":{"method":"rpc.cancel"}}',
    b'{"jsonrpc":"2.0","method":"rpc.hello"}',
    b'{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":1},"id":1}',
    b'{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":1},"id":null}',
    b'{"jsonrpc":"2.0","method":["rpc.cancel"]}',
    b'{"jsonrpc":"2.0","method":"rpc.cancel","method":{}}',
    b'{"jsonrpc":"2.0","method":"rpc.cancel","method":"a.b"}',
    b'{"jsonrpc":"2.0","params":{}}',
]


@pytest.mark.parametrize("body", OTHERS)
def test_another_message_is_none(body: bytes) -> None:
    assert parse_control(body) is None


def test_what_cannot_be_one_is_not_read_twice() -> None:
    assert not may_be_control(b'{"jsonrpc":"2.0","id":1,"method":"rpc.cancel","params":{"id":1}}')
    assert not may_be_control(b'{"jsonrpc":"2.0","method":"a.b","params":{"id":1}}')


@given(value=st.recursive(st.none() | st.integers() | st.text(max_size=3), st.lists))
def test_a_method_that_is_no_text_is_the_peers_fault(value: Any) -> None:
    server = ServerConnection()
    server.receive_data(frame(b'{"jsonrpc":"2.0","method":"rpc.end","method":%b}' % compact(value)))
    assert isinstance(server.next_event(), Refused | Notification)


#: What is wrong; where, seen from the message.
WRONG: Final[dict[str, tuple[dict[str, Any], list[Any]]]] = {
    "no params": ({"method": "rpc.cancel"}, ["params"]),
    "params that are no object": ({"method": "rpc.end", "params": [7]}, ["params"]),
    "no id": ({"method": "rpc.cancel", "params": {}}, ["params", "id"]),
    "an id that is none": ({"method": "rpc.end", "params": {"id": True}}, ["params", "id"]),
    "id 2^53": ({"method": "rpc.end", "params": {"id": 2**53}}, ["params", "id"]),
    "no n": ({"method": "rpc.credit", "params": {"id": 7}}, ["params", "n"]),
    "n 0": ({"method": "rpc.credit", "params": {"id": 7, "n": 0}}, ["params", "n"]),
    "n -1": ({"method": "rpc.credit", "params": {"id": 7, "n": -1}}, ["params", "n"]),
    "n 2^31": ({"method": "rpc.credit", "params": {"id": 7, "n": 2**31}}, ["params", "n"]),
    "n 1.0": ({"method": "rpc.credit", "params": {"id": 7, "n": 1.0}}, ["params", "n"]),
    "no item": ({"method": "rpc.item", "params": {"id": 7, "seq": 0}}, ["params", "item"]),
    "seq -1": ({"method": "rpc.item", "params": {"id": 7, "seq": -1, "item": 1}}, ["params", "seq"]),
    "seq 2^53": ({"method": "rpc.item", "params": {"id": 7, "seq": 2**53, "item": 1}}, ["params", "seq"]),
    "more params": ({"method": "rpc.cancel", "params": {"id": 7, "x": 1}}, ["params", "x"]),
    "another member": ({"method": "rpc.cancel", "params": {"id": 7}, "x": 1}, ["x"]),
    "a result": ({"method": "rpc.cancel", "params": {"id": 7}, "result": 1}, ["result"]),
    "meta": ({"method": "rpc.cancel", "params": {"id": 7}, "meta": {}}, ["meta"]),
    "meta of an item": (
        {"method": "rpc.item", "params": {"id": 7, "seq": 0, "item": 1}, "meta": {"call_id": "c"}},
        ["meta", "call_id"],
    ),
    "65 descriptors": (
        {"method": "rpc.item", "params": {"id": 7, "seq": 0, "item": 1}, "meta": {"fds": 65}},
        ["meta", "fds"],
    ),
    "a goaway with params": ({"method": "rpc.goaway", "params": {"id": 7}}, ["params", "id"]),
    "another version": ({"method": "rpc.cancel", "params": {"id": 7}, "jsonrpc": "1.0"}, ["jsonrpc"]),
}


@pytest.mark.parametrize(("members", "loc"), WRONG.values(), ids=WRONG)
def test_one_that_does_not_fit(members: dict[str, Any], loc: list[Any]) -> None:
    for body in (compact({"jsonrpc": "2.0", **members}), *respelt(compact({"jsonrpc": "2.0", **members}))):
        if b'"jsonrpc":"1.0","method":[]' in body and members.get("jsonrpc"):
            continue  # the version, which is wrong here, is what this spelling repeats
        with pytest.raises(ControlRefused) as caught:
            parse_control(body)
        refused = caught.value
        params = members.get("params")
        legal = isinstance(params, dict) and type(params.get("id")) is int and params["id"] < 2**53
        assert refused.named == (7 if legal else None)
        assert refused.error.code == ErrorCode.INVALID_REQUEST
        assert [fault["loc"] for fault in refused.error.data["errors"]] == [loc]
        assert refused.error_of_call.code == ErrorCode.INVALID_PARAMS
        assert [fault["loc"] for fault in refused.error_of_call.data["errors"]] == [loc[1:]]


@pytest.mark.parametrize(("members", "loc"), WRONG.values(), ids=WRONG)
def test_one_that_does_not_fit_ends_the_call_that_it_names(members: dict[str, Any], loc: list[Any]) -> None:
    for in_flight in (True, False):
        server = ServerConnection()
        if in_flight:
            server.receive_data(frame(compact({"jsonrpc": "2.0", "id": 7, "method": "a.b"})))
            assert isinstance(server.next_event(), Request)
        server.receive_data(frame(compact({"jsonrpc": "2.0", **members})), [5])
        event = server.next_event()
        params = members.get("params")
        if in_flight and isinstance(params, dict) and params.get("id") == 7:
            assert isinstance(event, StreamBroken)
            assert (event.id, event.error.code) == (7, ErrorCode.INVALID_PARAMS)
        else:
            assert isinstance(event, Refused)
            assert (event.id, event.error.code, event.call) == (None, ErrorCode.INVALID_REQUEST, None)
        assert server.take_surplus() == [5]


@pytest.mark.parametrize("body", [dump_cancel(7), dump_credit(7, 1), dump_end(7), dump_goaway()])
def test_none_of_them_brings_descriptors(body: bytes) -> None:
    server = ServerConnection()
    server.receive_data(frame(compact({"jsonrpc": "2.0", "id": 7, "method": "a.b"})))
    server.next_event()
    server.open_outflow(7, 1)
    server.receive_data(frame(body), [5])
    event = server.next_event()
    assert isinstance(event, Refused)
    assert (event.id, event.error.code) == (None, ErrorCode.INVALID_REQUEST)
    assert server.take_surplus() == [5]
    assert server.credit(7) == 1
    assert server.is_in_flight(7)


def test_what_is_not_json_is_said_to_be_so() -> None:
    with pytest.raises(MessageRefused) as caught:
        parse_control(b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":1,"seq":0,"item":')
    assert caught.value.error.code == ErrorCode.PARSE_ERROR


@pytest.mark.parametrize(
    ("body", "head"),
    [
        (dump_item(1, 0, b"1", 0), ItemHead(1, 0)),
        (dump_item(ID_INTEGER_MAX, ID_INTEGER_MAX, b"1", 3), ItemHead(ID_INTEGER_MAX, ID_INTEGER_MAX)),
        (dump_item(0, 0, b"1", 0), None),
        (dump_item(-1, 0, b"1", 0), None),
        (dump_item("1", 0, b"1", 0), None),
        (dump_item(10**16, 0, b"1", 0), None),
        (b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":1,"seq":01,"item":1}}', None),
        (b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":1,"seq":0,"item"', None),
    ],
)
def test_a_head_is_looked_for_cheaply(body: bytes, head: ItemHead | None) -> None:
    assert peek_item(body) == head


@pytest.mark.parametrize(
    ("body", "number"),
    [
        (b"id:7,", 7),
        (b"id:9007199254740991,", 2**53 - 1),
        (b"id:7", 0),
        (b"id:,", 0),
        (b"id:-7,", 0),
        (b"x", 0),
        (b"id:" + b"1" * 5000 + b",", 0),
        (b'id:"7",', 0),
        (b"id:7 ,", 0),
    ],
)
def test_a_number_is_looked_for_cheaply(body: bytes, number: int) -> None:
    assert peek_number(body, b"id:") == number


@pytest.mark.parametrize("body", [b"[]", b"{}", dump_cancel(1), b"{", dump_item(1, 0, b"NaN", 0)])
def test_an_item_of_which_nothing_is_known_must_be_one(body: bytes) -> None:
    with pytest.raises(MessageRefused):
        read_item(body)


@given(
    seq=st.integers(0, ID_INTEGER_MAX),
    fds=st.integers(0, 64),
    text=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_an_item_is_read_as_it_was_written(seq: int, fds: int, text: str) -> None:
    fields = read_item(dump_item("id", seq, compact([text]), fds))
    assert fields["params"] == {"id": "id", "seq": seq, "item": [text]}
    assert fields.get("meta", {"fds": 0}) == {"fds": fds}


@given(body=st.binary(max_size=60).map(lambda noise: b'{"jsonrpc":"2.0","method":"rpc.' + noise))
def test_any_body_is_one_or_another_or_refused(body: bytes) -> None:
    try:
        parse_control(body)
    except RemoteProtocolError:
        return


@pytest.mark.parametrize("fds", [0, 3])
@pytest.mark.parametrize("request_id", [7, -1, 'a"b', "é"])
@pytest.mark.parametrize("seq", [0, 9, 10, ID_INTEGER_MAX])
def test_the_frame_of_an_item(request_id: RequestId, seq: int, fds: int) -> None:
    head = dump_item_head(request_id)
    for item in (b"1", b'{"text":"' + b"x" * 300 + b'"}'):
        body = dump_item(request_id, seq, item, fds)
        for limit in (len(body), len(body) + 1):
            assert frame_item(head, seq, item, fds, limit) == encode_frame(body, limit)
        with pytest.raises(FrameTooLarge) as caught:
            frame_item(head, seq, item, fds, len(body) - 1)
        assert (caught.value.length, caught.value.limit) == (len(body), len(body) - 1)
