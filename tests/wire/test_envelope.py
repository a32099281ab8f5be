"""What the vectors cannot say of the envelope: texts of faults, cuts, what is not repeated, writing."""

import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Discriminator, TypeAdapter, ValidationError

from superd_client.wire.envelope import (
    Failure,
    MessageRefused,
    Notification,
    Request,
    Result,
    dump_failure,
    dump_notification,
    dump_request,
    dump_result,
    list_faults,
    parse_call,
    parse_json,
    parse_reply,
)
from superd_client.wire.errors import ErrorCode, ErrorObject, ProtocolError, RemoteProtocolError
from superd_client.wire.limits import FAULTS_EXAMINED_MAX, FAULTS_LISTED_MAX, NESTING_MAX
from tests.wire.golden import compact, load

SECRET = "correct horse battery staple"


def refusal_of(body: bytes) -> MessageRefused:
    with pytest.raises(MessageRefused) as caught:
        parse_call(body)
    return caught.value


def call_with(**members: object) -> bytes:
    return compact({"jsonrpc": "2.0", "id": 7, "method": "a.b", **members})


# --- faults -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "members",
    [
        {"jsonrpc": SECRET},
        {"id": [SECRET]},
        {"id": SECRET * 3},
        {"method": [SECRET]},
        {"meta": SECRET},
        {"meta": {"call_id": SECRET}},
        {"meta": {"unknown": SECRET}},
        {"unknown": SECRET},
        {"jsonrpc": {"a": SECRET}, "id": {"b": SECRET}, "meta": [SECRET], "unknown": {"c": [SECRET]}},
    ],
)
def test_a_refusal_does_not_repeat_what_was_sent(members: dict[str, object]) -> None:
    refused = refusal_of(call_with(**members))
    assert SECRET not in json.dumps(refused.error.data)
    assert SECRET not in refused.error.message
    assert SECRET not in str(refused)


def test_a_text_that_is_not_json_is_not_repeated() -> None:
    refused = refusal_of(SECRET.encode())
    assert SECRET not in json.dumps(refused.error.data)
    assert SECRET not in refused.error.message


@pytest.mark.parametrize(
    "count",
    [
        FAULTS_LISTED_MAX - 1,
        FAULTS_LISTED_MAX,
        FAULTS_LISTED_MAX + 1,
        FAULTS_EXAMINED_MAX - 1,
        FAULTS_EXAMINED_MAX,
    ],
)
def test_how_many_faults_are_listed(count: int) -> None:
    data = refusal_of(call_with(**{f"x{number}": 0 for number in range(count)})).error.data
    assert len(data["errors"]) == min(count, FAULTS_LISTED_MAX)
    assert data.get("omitted", 0) == max(count - FAULTS_LISTED_MAX, 0)
    assert ("omitted" in data) == (count > FAULTS_LISTED_MAX)


@pytest.mark.parametrize("count", [FAULTS_EXAMINED_MAX + 1, 5000])
def test_too_many_faults_to_look_at(count: int) -> None:
    data = refusal_of(call_with(**{f"x{number}": 0 for number in range(count)})).error.data
    assert [(fault["loc"], fault["type"]) for fault in data["errors"]] == [([], "too_many_faults")]
    assert FAULTS_EXAMINED_MAX < data["omitted"] <= count


def test_a_refusal_stays_small_whatever_was_sent() -> None:
    refused = refusal_of(call_with(**{f"{number}{'n' * 10_000}": 0 for number in range(100)}))
    assert len(dump_failure(refused.id, refused.error)) < 16 * 1024


def test_one_wrong_id_is_one_fault() -> None:
    data = refusal_of(call_with(id=1.5)).error.data
    assert [fault["loc"] for fault in data["errors"]] == [["id"]]


def test_a_batch_is_told_what_to_do_instead() -> None:
    refused = refusal_of(b"[" + call_with() + b"]")
    assert refused.error.code == ErrorCode.INVALID_REQUEST
    assert "one after another" in refused.error.message


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[list[int]]


class Owner(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    pet: Annotated[Cat | Dog, Discriminator("kind")]


def faults_of(value: object, *, skip: int = 0) -> list[dict[str, Any]]:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Owner).validate_python(value)
    faults: list[dict[str, Any]] = list_faults(caught.value, skip=skip)["errors"]
    return faults


def test_an_unknown_tag_is_not_repeated() -> None:
    (fault,) = faults_of({"pet": {"kind": SECRET}})
    assert fault["type"] == "union_tag_invalid"
    assert fault["loc"] == ["pet"]
    assert SECRET not in fault["msg"]
    assert "cat" in fault["msg"]


def test_a_place_has_names_and_indexes() -> None:
    (fault,) = faults_of({"pet": {"kind": "dog", "tricks": [[1], [1, "x"]]}})
    assert fault["loc"][-3:] == ["tricks", 1, 1]
    assert fault["type"] == "int_parsing"


def test_the_head_of_a_place_can_be_cut() -> None:
    (whole,) = faults_of({"pet": {"kind": "dog", "tricks": [["x"]]}})
    (cut,) = faults_of({"pet": {"kind": "dog", "tricks": [["x"]]}}, skip=1)
    assert cut["loc"] == whole["loc"][1:]


def test_the_value_itself_has_an_empty_place() -> None:
    (fault,) = faults_of(7)
    assert fault["loc"] == []


# --- offsets ----------------------------------------------------------------------------------------------------


def vectors_with_offset() -> list[Any]:
    return [
        pytest.param(
            vector.data(vector.case["body"]), vector.case["expect"]["refused"]["offset"], id=vector.name
        )
        for vector in load("messages_to_server.json")
        if "offset" in vector.case["expect"].get("refused", {})
    ]


@pytest.mark.parametrize(("body", "offset"), vectors_with_offset())
def test_the_offset_is_known_where_the_page_makes_it_certain(body: bytes, offset: int) -> None:
    """The vectors admit its absence; this implementation knows it."""
    error = refusal_of(body).error
    assert error.data == {"offset": offset}
    assert error.message.endswith(f" at byte {offset}")
    assert "line" not in error.message


@pytest.mark.parametrize("escape", [r"\ud800", r"\udc00", r"\udfff\ud800", r"\ud800\u0041", r"\ud800x"])
def test_the_offset_of_a_lone_surrogate_is_within_it_or_right_behind(escape: str) -> None:
    body = f'{{"a":["{escape}"]}}'.encode()
    offset = refusal_of(body).error.data["offset"]
    assert 7 <= offset <= 7 + len(escape)


@pytest.mark.parametrize("character", ["c3", "e282", "f09f98", "eda080", "f4908080", "e09fbf", "f08fbfbf"])
def test_the_offset_of_invalid_utf_8_is_within_it(character: str) -> None:
    body = b'{"a":["' + bytes.fromhex(character) + b'"]}'
    offset = refusal_of(body).error.data["offset"]
    assert 7 <= offset <= 7 + len(character) // 2


def test_an_offset_behind_invalid_utf_8_is_not_known_before_it() -> None:
    body = b"{x\xff"
    assert refusal_of(body).error.data == {"offset": 1}


@pytest.mark.parametrize("body", [b"", b" ", b"\n"])
def test_nothing_ends_too_early_at_its_end(body: bytes) -> None:
    with pytest.raises(MessageRefused) as caught:
        parse_json(body)
    assert caught.value.error.data == {"offset": len(body)}


def test_an_offset_that_the_parser_does_not_tell_is_absent() -> None:
    from superd_client.wire.envelope import _parse_error

    error = _parse_error(b"{}", "something went wrong")
    assert error.data == {}
    assert error.message == "not JSON: something went wrong"


@pytest.mark.parametrize("depth", [199, 200, 201, 202])
@pytest.mark.parametrize(
    ("opening", "inner", "closing", "more"),
    [("[", "1", "]", 0), ('{"y":', "1", "}", 0), ("[", "[]", "]", 1), ('{"y":', "{}", "}", 1)],
    ids=["arrays", "objects", "an empty array", "an empty object"],
)
def test_how_deep_a_text_may_nest(depth: int, opening: str, inner: str, closing: str, more: int) -> None:
    """§3 asks for 200 and leaves the rest open; here an empty array or object may be the 201st."""
    levels = depth - more
    body = (opening * levels + inner + closing * levels).encode()
    if depth <= NESTING_MAX + more:
        assert parse_json(body)
    else:
        with pytest.raises(MessageRefused) as caught:
            parse_json(body)
        assert caught.value.error.code == ErrorCode.PARSE_ERROR


# --- reading -----------------------------------------------------------------------------------------------------


def test_messages_are_immutable() -> None:
    call = parse_call(call_with())
    assert isinstance(call, Request)
    with pytest.raises(AttributeError):
        call.id = 8  # type: ignore[misc]


def test_a_refusal_is_the_peers_fault() -> None:
    assert issubclass(MessageRefused, RemoteProtocolError)
    assert issubclass(RemoteProtocolError, ProtocolError)


def test_a_refusal_has_no_cause_that_shows_the_input() -> None:
    refused = refusal_of(call_with(unknown=SECRET))
    assert refused.__cause__ is None
    assert refused.__suppress_context__


@pytest.mark.parametrize("length", [63, 64, 65])
@pytest.mark.parametrize("character", ["k", "é", "€", "😀", "\x00", '"'])
def test_a_text_id_is_counted_in_characters(length: int, character: str) -> None:
    body = call_with(id=character * length)
    if length > 64:
        assert refusal_of(body).id is None
    else:
        call = parse_call(body)
        assert isinstance(call, Request)
        assert call.id == character * length


@pytest.mark.parametrize("magnitude", [2**53 - 2, 2**53 - 1, 2**53, 2**63, 2**64, 10**400])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_integer_id_is_bounded(magnitude: int, sign: int) -> None:
    body = call_with(id=sign * magnitude)
    if magnitude >= 2**53:
        assert refusal_of(body).id is None
    else:
        assert parse_call(body) == Request(sign * magnitude, "a.b", {})


def test_a_refused_message_keeps_a_legal_id() -> None:
    assert refusal_of(call_with(extra=1)).id == 7
    assert refusal_of(call_with(id="seven", extra=1)).id == "seven"
    assert refusal_of(call_with(id=True, extra=1)).id is None
    assert refusal_of(b"[]").id is None


@pytest.mark.parametrize("digits", [4299, 4300])
def test_an_integer_of_many_digits_in_params(digits: int) -> None:
    body = b'{"jsonrpc":"2.0","id":7,"method":"a.b","params":{"x":%b}}' % (b"7" * digits)
    call = parse_call(body)
    assert len(str(call.params["x"])) == digits


def test_an_integer_of_too_many_digits_is_refused_and_nothing_worse() -> None:
    for digits in (4301, 5000, 100_000):
        body = b'{"jsonrpc":"2.0","id":7,"method":"a.b","params":{"x":%b}}' % (b"7" * digits)
        assert refusal_of(body).error.code == ErrorCode.PARSE_ERROR
        with pytest.raises(RemoteProtocolError):
            parse_reply(b'{"jsonrpc":"2.0","id":7,"result":%b}' % (b"7" * digits))


# --- writing -----------------------------------------------------------------------------------------------------


def test_writing_escapes_a_method_and_an_id() -> None:
    text = '"\\\n\x00é'
    assert parse_call(dump_request(text, text, b"{}")) == Request(text, text, {})
    assert parse_call(dump_notification(text, b"{}")) == Notification(text, {})
    assert parse_reply(dump_result(text, b"1")) == Result(text, 1)
    error = ErrorObject(ErrorCode.INTERNAL_ERROR, text, {text: text})
    assert parse_reply(dump_failure(text, error)) == Failure(text, error)


def test_a_failure_of_no_call() -> None:
    error = ErrorObject(ErrorCode.PARSE_ERROR, "m", {"call_id": "c"})
    assert parse_reply(dump_failure(None, error)) == Failure(None, error)


def test_error_data_can_be_added_to() -> None:
    error = ErrorObject(ErrorCode.PARSE_ERROR, "m", {"offset": 3})
    assert error.with_data(call_id="c") == ErrorObject(
        ErrorCode.PARSE_ERROR, "m", {"offset": 3, "call_id": "c"}
    )
    assert error.data == {"offset": 3}


def test_the_data_of_a_failure_is_json_whatever_it_holds() -> None:
    for number in (float("nan"), float("inf"), float("-inf")):
        error = ErrorObject(ErrorCode.APPLICATION_ERROR, "m", {"type": "t", "detail": {"x": number}})
        json.loads(dump_failure(7, error), parse_constant=pytest.fail)
