"""JSON into models, more strictly than pydantic by itself."""

from typing import Any

import pytest
from pydantic import JsonValue, ValidationError

from superd_client import strictjson
from superd_client.contract import Message
from superd_client.strictjson import StrictReader
from superd_client.wire.envelope import MessageRefused


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
