"""JSON into models, more strictly than pydantic by itself."""

from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, JsonValue, ValidationError, field_validator
from typing_extensions import TypedDict

from superd_client import strictjson
from superd_client.contract import Message, Method
from superd_client.fd import Fd
from superd_client.streams import Stream
from superd_client.strictjson import LAST_NAME_WINS, StrictReader
from superd_client.wire.envelope import MessageRefused, Result


class Point(Message):
    x: int
    label: str = ""


class Free(Message):
    data: dict[str, JsonValue]


def test_what_fits_is_read() -> None:
    assert StrictReader(Point).read(b'{"x":1,"label":"NaN"}') == Point(x=1, label="NaN")
    assert StrictReader[Any](list[float]).read(b"[1,2.5]") == [1.0, 2.5]


@pytest.mark.parametrize(
    "body", [b'{"x":"1"}', b'{"x":1.0}', b'{"x":true}', b'{"x":1,"y":2}', b"{}", b"[]", b"1"]
)
def test_what_does_not_fit(body: bytes) -> None:
    with pytest.raises(ValidationError):
        StrictReader(Point).read(body)


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"-Infinity"])
@pytest.mark.parametrize(("source", "shape"), [(Free, b'{"data":{"a":%b}}'), (float, b"%b"), (Any, b"[%b]")])
def test_words_that_are_no_json(word: bytes, source: Any, shape: bytes) -> None:
    with pytest.raises(MessageRefused) as caught:
        StrictReader(source).read(shape % word)
    assert caught.value.error.code == -32700


def test_the_words_may_stand_in_a_text() -> None:
    assert StrictReader(Free).read(b'{"data":{"NaN":"Infinity"}}') == Free(data={"NaN": "Infinity"})


@pytest.mark.parametrize("kind", [True, False])
def test_the_last_of_two_members_wins(monkeypatch: pytest.MonkeyPatch, kind: bool) -> None:
    """Also with a pydantic that takes the first by itself, which reads what was read and written again."""
    monkeypatch.setattr(strictjson, "LAST_NAME_WINS", strictjson.LAST_NAME_WINS and kind)
    reader: StrictReader[Point] = StrictReader(Point)
    assert reader.read(b'{"x":1,"label":"a","x":2,"label":"b"}') == Point(x=2, label="b")
    with pytest.raises(ValidationError):
        reader.read(b'{"x":1,"x":"2"}')
    with pytest.raises((ValidationError, MessageRefused)):
        reader.read(b'{"x":')


# --- a value that is read without the message around it -----------------------------------------------------------


class Loose(TypedDict):
    x: int


class Tree(Message):
    parts: list["Tree"]


class Adding(BaseModel):
    """A model of pydantic's own kind, which takes more members."""

    x: int


class Lenient(Message):
    """A strict model with a field that would not be."""

    x: int = Field(strict=False)


class Holding(Message):
    """A strict model with one that is not."""

    x: int
    label: Adding | None = None


class Checking(Message):
    x: int

    @field_validator("x")
    @classmethod
    def check(cls, value: int) -> int:
        return value


VALUES = [
    b'{"x":1}', b'{"x":1,"label":"a"}', b'{"x":1,"label":{"x":"1"}}', b'{"x":1,"y":2}', b'{"x":"1"}', b'{"x":NaN}', b'{"x":1.5}', b'{"x":1,"x":2}',
    b"{}", b"[]", b"[1]", b"[1,2]", b'["a"]', b'[{"x":1}]', b'{"a":1}', b'{"a":1.0}', b"1", b"1.0", b"1e400", b"NaN",
    b"Infinity", b"null", b"true", b'"a"', b'"1"', b'"2020-01-01"', b" 1 ", b"1,2", b"1}", b'{"x":1', b"",
    b'"\xff"', b'"\\ud800"', b'{"parts":[{"parts":[]}]}', b"[" * 300 + b"]" * 300,
]  # fmt: skip

SOURCES: list[Any] = [
    Point, Adding, Lenient, Holding, list[Point], dict[str, int], int, float, str, bool, None, int | None, Point | int, date, bytes,
    tuple[int, int], set[int], frozenset[int], Literal["a", 1], Annotated[int, Field(gt=1)],
]  # fmt: skip


#: A value is read by itself only where pydantic takes the last of two members with one name.
by_itself = pytest.mark.skipif(not LAST_NAME_WINS, reason="pydantic before 2.11: every message is read twice")


@by_itself
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_a_value_by_itself_is_read_as_in_its_message(source: Any, value: bytes) -> None:
    method = Method("a.b", Point, source)
    assert method.read_result is not None
    stream = Stream("a.c", Point, source)
    assert stream.items.read_item is not None
    found: list[object] = []
    for read in (method.read_result, stream.items.read_item):
        try:
            found.append(read(value))
        except (ValidationError, MessageRefused):
            found.append("refused")
    try:
        reply = method.decode_reply(b'{"jsonrpc":"2.0","id":1,"result":%b}' % value)
    except MessageRefused:
        reply = None
    expected = reply.value if isinstance(reply, Result) else "refused"
    assert repr(found) == repr([expected, expected])


@by_itself
def test_what_is_more_than_a_value_is_left_to_the_reader_of_the_message() -> None:
    method = Method("a.b", Point, int)
    assert method.read_result is not None
    with pytest.raises(ValidationError):
        method.read_result(b'1,"id":2')
    assert method.decode_reply(b'{"jsonrpc":"2.0","id":1,"result":1,"id":2}') == Result(2, 1)


@pytest.mark.parametrize("source", [Loose, Tree, Free, Any, Checking, JsonValue, list[Loose], Fd], ids=str)
def test_what_depends_on_more_than_its_text_is_read_with_its_message(source: Any) -> None:
    assert Method("a.b", Point, source).read_result is None
    assert Stream("a.c", Point, source).items.read_item is None
