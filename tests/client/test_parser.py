"""Bodies into calls whose params are models."""

import datetime as dt
import enum
import json
from typing import Any

import pytest
from pydantic import field_validator

from superd_client.contract import Message, Method
from superd_client.parser import CallParser
from superd_client.wire.envelope import MessageRefused, Notification, Request
from superd_client.wire.errors import ErrorCode, ErrorObject, InternalFault


class Colour(enum.Enum):
    RED = "red"


class Lookup(Message):
    sku: str
    when: dt.date | None = None
    colour: Colour = Colour.RED


class Empty(Message):
    pass


METHODS: list[Method[Any, Any]] = [
    Method("inventory.lookup", Lookup, int),
    Method("inventory.add", Lookup, int),
    Method("inventory.list", Empty, int),
]


@pytest.fixture(params=[1, 3], ids=["one method", "several"])
def parse(request: pytest.FixtureRequest) -> CallParser:
    return CallParser(METHODS[: request.param])


def body(**members: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "inventory.lookup"} | members).encode()


def test_a_request(parse: CallParser) -> None:
    call = parse(body(params={"sku": "A-1", "when": "2024-01-02", "colour": "red"}, meta={"call_id": "c"}))
    assert call == Request(
        1, "inventory.lookup", Lookup(sku="A-1", when=dt.date(2024, 1, 2)), {"call_id": "c"}
    )


def test_an_empty_meta(parse: CallParser) -> None:
    assert parse(body(params={"sku": "A-1"}, meta={})) == Request(1, "inventory.lookup", Lookup(sku="A-1"))


def test_a_notification(parse: CallParser) -> None:
    text = b'{"jsonrpc":"2.0","method":"inventory.lookup","params":{"sku":"a"},"meta":{"call_id":"c"}}'
    assert parse(text) == Notification("inventory.lookup", Lookup(sku="a"), {"call_id": "c"})


def test_absent_params_are_none_given() -> None:
    assert CallParser(METHODS)(body(method="inventory.list")) == Request(1, "inventory.list", Empty())
    error = CallParser(METHODS)(body()).params
    assert (error.code, error.data["errors"][0]["loc"]) == (-32602, ["sku"])


@pytest.mark.parametrize(
    ("params", "loc", "kind", "message"),
    [
        ({"sku": 1}, ["sku"], "string_type", "invalid params: sku: Input should be a valid string"),
        ({}, ["sku"], "missing", "invalid params: sku: Field required"),
        ({"sku": "a", "x": 1}, ["x"], "extra_forbidden", "invalid params: x: Extra inputs are not permitted"),
        (
            {"sku": "a", "when": 5},
            ["when"],
            "date_type",
            "invalid params: when: Input should be a valid date",
        ),
        ([], [], "model_type", "invalid params: params: Input should be"),
        (None, [], "model_type", "invalid params: params: Input should be"),
    ],
)
def test_params_that_do_not_fit(
    parse: CallParser, params: object, loc: list[str], kind: str, message: str
) -> None:
    call = parse(body(params=params, meta={"call_id": "c"}))
    assert isinstance(call, Request)
    assert (call.id, call.method, call.call_id) == (1, "inventory.lookup", "c")
    error: ErrorObject = call.params
    assert error.code == -32602
    assert error.message.startswith(message)
    (fault,) = error.data["errors"]
    assert (fault["loc"], fault["type"]) == (loc, kind)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("inventory.lookupp", "inventory.lookup"),
        ("inventory.ad", "inventory.add"),
        ("inventry.list", "inventory.list"),
        ("zzz", None),
        ("", None),
        ("x" * 10_000, None),
    ],
)
def test_a_method_that_is_not_known(name: str, nearest: str | None) -> None:
    call = CallParser(METHODS)(body(method=name, params=[1]))
    error: ErrorObject = call.params
    assert error.code == -32601
    assert error.data["nearest"][:1] == ([nearest] if nearest else [])
    assert ("did you mean" in error.message) == bool(nearest)
    assert len(error.message) < 200


def test_a_parser_without_methods() -> None:
    call = CallParser([])(body(params={"sku": "a"}))
    assert call.params.code == -32601
    assert call.params.data == {"nearest": []}


def test_at_most_three_names_are_offered() -> None:
    methods = [Method(f"inventory.lookup_{number}", Empty, int) for number in range(200)]
    error = CallParser(methods)(body()).params
    assert len(error.data["nearest"]) == 3


def test_the_last_of_two_methods_is_called(parse: CallParser) -> None:
    """What is judged and what is carried out must be the same one."""
    text = b'{"jsonrpc":"2.0","id":1,"method":"x.y","method":"inventory.lookup","params":{"sku":"a"}}'
    assert parse(text) == Request(1, "inventory.lookup", Lookup(sku="a"))
    text = b'{"jsonrpc":"2.0","id":1,"method":"inventory.lookup","params":{"sku":"a"},"method":"x.y"}'
    assert parse(text).params.code == -32601


@pytest.mark.parametrize(
    ("text", "code", "request_id"),
    [
        (b"x", -32700, None),
        (b"[]", -32600, None),
        (b'{"jsonrpc":"2.0","id":true,"method":"inventory.lookup","params":{"sku":"a"}}', -32600, None),
        (b'{"jsonrpc":"2.0","id":5,"method":"inventory.lookup","params":{"sku":"a"},"x":1}', -32600, 5),
        (b'{"jsonrpc":"2.0","id":5,"method":"inventory.lookup","params":{"sku":NaN}}', -32700, None),
        (b'{"jsonrpc":"2.0","id":5,"method":"inventory.lookup","params":{"sku":"\\ud800"}}', -32700, None),
    ],
)
def test_what_is_no_call(parse: CallParser, text: bytes, code: int, request_id: object) -> None:
    with pytest.raises(MessageRefused) as caught:
        parse(text)
    assert (caught.value.error.code, caught.value.id) == (code, request_id)


class Odd(Message):
    """Params whose validator raises what it should not."""

    text: str

    @field_validator("text")
    @classmethod
    def check(cls, text: str) -> str:
        raise KeyError(text)


@pytest.mark.parametrize("more", ["", ',"meta":{}'])
def test_a_validator_that_raises_anything_is_a_fault_of_that_call_alone(more: str) -> None:
    body = f'{{"jsonrpc":"2.0","id":1,"method":"a.odd","params":{{"text":"x"}}{more}}}'.encode()
    call = CallParser([Method("a.odd", Odd, str)])(body)
    assert isinstance(call, Request)
    assert isinstance(call.params, InternalFault)
    assert isinstance(call.params.cause, KeyError)
    told = call.params.with_data(call_id="c")
    assert told == ErrorObject(ErrorCode.INTERNAL_ERROR, "internal error", {"call_id": "c"})
