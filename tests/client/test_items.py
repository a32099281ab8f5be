"""How the items of streams and uploads are written and read."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Final

import pytest

from superd_client import Message
from superd_client.streams import Stream, UntypedItems, Upload
from superd_client.wire.control import ItemHead
from superd_client.wire.envelope import ItemRefused, MessageRefused
from superd_client.wire.errors import ErrorCode
from tests.wire.items import dump_item


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


@pytest.fixture
def fds() -> Iterator[tuple[int, int]]:
    pair = os.pipe()
    yield pair
    for fd in pair:
        with contextlib.suppress(OSError):
            os.close(fd)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("codec", [NUMBERS.items, UNTYPED])
@pytest.mark.parametrize(("came", "declared"), [(0, 1), (1, 0), (1, 2), (2, 1)])
def test_an_item_that_comes_with_other_descriptors_than_it_declares(
    codec: Any, came: int, declared: int, fds: tuple[int, int]
) -> None:
    with pytest.raises(MessageRefused) as caught:
        codec.decode(dump_item(1, 0, b"1", declared), fds[:came], HEAD)
    assert caught.value.error.code == ErrorCode.INVALID_REQUEST
    assert all(map(is_open, fds))  # the caller closes them


def test_descriptors_that_no_model_has_are_a_fault(fds: tuple[int, int]) -> None:
    with pytest.raises(ItemRefused) as caught:
        NUMBERS.items.decode(dump_item(1, 0, b"1", 2), fds, HEAD)
    assert caught.value.error.code == ErrorCode.INVALID_PARAMS
    assert not any(map(is_open, fds))


def test_without_a_model_descriptors_are_closed(fds: tuple[int, int]) -> None:
    body = dump_item(1, 0, b"1", 2)
    assert UNTYPED.decode(body, fds, HEAD) == 1
    assert not any(map(is_open, fds))


@pytest.mark.parametrize("end", [b'},"params":5}', b'},"meta":5}'])
@pytest.mark.parametrize("codec", [NUMBERS.items, UNTYPED])
def test_a_message_that_is_not_what_its_head_said_with_descriptors(
    codec: Any, end: bytes, fds: tuple[int, int]
) -> None:
    with pytest.raises(MessageRefused):
        codec.decode(START + end, fds, HEAD)
    assert all(map(is_open, fds))
