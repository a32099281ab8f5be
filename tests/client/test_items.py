"""How the items of streams and uploads are written and read."""

from typing import Any, Final

import pytest

from superd_client import Message
from superd_client.streams import Stream, UntypedItems, Upload
from superd_client.wire.control import ItemHead, dump_item
from superd_client.wire.envelope import MessageRefused
from superd_client.wire.errors import ErrorCode


class Nothing(Message):
    """No params."""


class Line(Message):
    """One item."""

    text: str


LINES: Final = Stream("log.follow", Nothing, Line)
NUMBERS: Final = Upload("sum.up", Nothing, int, int)
UNTYPED: Final = UntypedItems()
HEAD: Final = ItemHead(1, 0)


@pytest.mark.parametrize(
    ("codec", "value", "body"),
    [
        (LINES.items, Line(text="é"), '{"text":"é"}'.encode()),
        (NUMBERS.items, 7, b"7"),
        (UNTYPED, {"a": [1, None]}, b'{"a":[1,null]}'),
        (UNTYPED, None, b"null"),
    ],
)
def test_an_item_is_read_as_it_was_written(codec: Any, value: object, body: bytes) -> None:
    assert codec.encode(value) == body
    assert codec.decode(dump_item(1, 0, body, 0), (), HEAD) == value


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        (LINES.items, Line.model_construct(text=1)),
        (NUMBERS.items, "7"),
        (NUMBERS.items, True),
        (UNTYPED, float("nan")),
        (UNTYPED, "\ud800"),
        (UNTYPED, object()),
    ],
)
def test_what_the_contract_does_not_promise_is_not_written(codec: Any, value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        codec.encode(value)


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [197, 198, 199, 100_000])
def test_an_item_nests_as_deep_as_its_message_may(depth: int) -> None:
    if depth <= 198:
        assert UNTYPED.encode(nested(depth)).count(b"[") == depth
        return
    with pytest.raises(ValueError, match="200 deep"):
        UNTYPED.encode(nested(depth))


@pytest.mark.parametrize(
    ("codec", "value", "loc"),
    [(LINES.items, b'{"text":1}', ["text"]), (LINES.items, b"{}", ["text"]), (NUMBERS.items, b"1.5", [])],
)
def test_an_item_that_does_not_fit_says_where(codec: Any, value: bytes, loc: list[str]) -> None:
    with pytest.raises(MessageRefused) as caught:
        codec.decode(dump_item(1, 0, value, 0), (), HEAD)
    assert caught.value.error.code == ErrorCode.INVALID_PARAMS
    assert [fault["loc"] for fault in caught.value.error.data["errors"]] == [loc]


START: Final = b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":1,"seq":0,"item":1'


@pytest.mark.parametrize("codec", [NUMBERS.items, UNTYPED])
@pytest.mark.parametrize(
    "body",
    [
        START,
        START + b',"id":2}}',
        START + b',"seq":1}}',
        START + b',"x":1}}',
        START + b'},"params":5}',
        START + b'},"method":"a.b"}',
        START + b'},"id":5}',
        START + b'},"meta":{"call_id":"c"}}',
    ],
)
def test_a_message_that_is_not_what_its_head_said(codec: Any, body: bytes) -> None:
    with pytest.raises(MessageRefused):
        codec.decode(body, (), HEAD)


@pytest.mark.parametrize("codec", [NUMBERS.items, UNTYPED])
@pytest.mark.parametrize("fds", [(), (5,), (5, 6)])
def test_descriptors_of_an_item_that_has_none(codec: Any, fds: tuple[int, ...]) -> None:
    for declared in range(3):
        if declared or fds:
            with pytest.raises(MessageRefused):
                codec.decode(dump_item(1, 0, b"1", declared), fds, HEAD)
