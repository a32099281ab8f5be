"""Secrets in contracts: real on the wire, stars wherever a person looks."""

import dataclasses
from typing import Annotated, Any

import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Secret,
    SecretBytes,
    SecretStr,
    ValidationError,
    field_validator,
)
from typing_extensions import TypedDict

from superd_client import Message, Method, Sensitive, Stream, Upload
from superd_client.errors import ApplicationError, unwrap
from superd_client.parser import CallParser
from superd_client.sensitive import (
    MASKED_MIN,
    STARS,
    mask,
    redacted,
    revealed,
    secret_texts,
    sensitive_fields,
)
from superd_client.wire.control import ItemHead
from superd_client.wire.envelope import Failure, Mismatch, Result, dump_result
from superd_client.wire.errors import ErrorObject
from tests.wire.items import dump_item

SECRETS = ("hunter2-a", "hunter2-b", "4711471", "hunter2-d", "hunter2-e", "hunter2-f")


class Inner(Message):
    token: SecretStr


class Login(Message):
    user: str
    password: SecretStr
    key: SecretBytes
    pin: Secret[int]
    plain: Annotated[str, Sensitive()]
    several: tuple[Annotated[str, Sensitive()], ...] = ()
    inner: Inner | None = Field(default=None, alias="in")


class Refused(Message):
    tried: SecretStr
    plain: Annotated[str, Sensitive()]


class Public(Message):
    user: str


login = Method("auth.login", Login, Login, errors=[Refused])


def a_login() -> Login:
    a, b, pin, d, e, f = SECRETS
    fields: dict[str, Any] = {
        "user": "romd",
        "password": SecretStr(a),
        "key": SecretBytes(b.encode()),
        "pin": Secret(int(pin)),
        "plain": d,
        "several": (e,),
        "in": Inner(token=SecretStr(f)),
    }
    return Login(**fields)


def no_secret_in(text: str) -> bool:
    return not any(secret in text for secret in SECRETS)


# --- on the wire -------------------------------------------------------------------------------------------------


def test_params_and_results_travel_as_they_are() -> None:
    body = login.encode_params(a_login())
    assert all(secret.encode() in body for secret in SECRETS)
    assert login.read_params(body) == a_login()
    result = login.encode_result(a_login())
    assert login.decode_reply(dump_result(1, result)) == Result(1, a_login())


@pytest.mark.parametrize("kind", [list[SecretStr], SecretStr, dict[str, Secret[int]], SecretBytes | None])
def test_results_that_are_no_models(kind: Any) -> None:
    method = Method("auth.result", Public, kind)
    value = {list[SecretStr]: [SecretStr("a-b")], SecretStr: SecretStr("a-b")}.get(kind)
    if value is not None:
        body = method.encode_result(value)
        assert b"a-b" in body
        assert method.decode_reply(dump_result(1, body)) == Result(1, value)
    assert method.holds_secrets


def test_items_travel_as_they_are() -> None:
    for method in (Stream("auth.watch", Public, Inner), Upload("auth.load", Public, Inner, int)):
        item = method.items.encode(Inner(token=SecretStr("hunter2-a")))
        assert item == b'{"token":"hunter2-a"}'
        read = method.items.decode(dump_item(1, 0, item, 0), (), ItemHead(1, 0))
        assert read == Inner(token=SecretStr("hunter2-a"))
        assert method.holds_secrets


def test_declared_errors_travel_as_they_are_and_their_data_is_covered() -> None:
    detail = Refused(tried=SecretStr("hunter2-a"), plain="hunter2-d")
    error = login.encode_error(detail, "no")
    assert error.data["detail"] == {"tried": "hunter2-a", "plain": "hunter2-d"}
    with pytest.raises(ApplicationError) as raised:
        unwrap(Failure(1, error), login, "c")
    assert raised.value.detail == detail
    assert raised.value.data == {"type": "Refused", "detail": {"tried": STARS, "plain": STARS}}
    assert no_secret_in(f"{raised.value!r} {raised.value} {vars(raised.value)}")


def test_a_serializer_of_the_authors_own_decides() -> None:
    class Own(Message):
        token: Annotated[SecretStr, Field(min_length=2)]

    assert Method("auth.own", Own, int).encode_params(Own(token=SecretStr("ab"))) == b'{"token":"ab"}'


def test_outside_of_a_contract_pydantic_shows_stars() -> None:
    login.encode_params(a_login())
    assert '"password":"**********"' in a_login().model_dump_json()


# --- what people see -----------------------------------------------------------------------------------------------


def test_no_text_of_a_model_shows_them() -> None:
    assert no_secret_in(f"{a_login()!r} {a_login()} {[a_login()]}")
    assert f"plain='{STARS}', several='{STARS}'" in repr(a_login())
    assert repr(Public(user="a")) == "Public(user='a')"


def test_sensitive_fields_are_found_wherever_they_stand() -> None:
    assert sensitive_fields(Login) == {"plain", "several"}
    assert sensitive_fields(Public) == frozenset()


def test_redacted_data_keeps_everything_else() -> None:
    data = redacted(a_login())
    assert no_secret_in(str(data))
    assert data["user"] == "romd"
    assert data["in"] == {"token": STARS}


class Plain(BaseModel):
    model_config = ConfigDict(extra="forbid")
    token: Annotated[str, Sensitive()]


@dataclasses.dataclass
class Record:
    token: Annotated[str, Sensitive()]


class Typed(TypedDict):
    token: Annotated[str, Sensitive()]


@pytest.mark.parametrize("kind", [Plain, Record, Typed, list[Plain]])
def test_a_mark_that_would_hide_nothing_is_refused(kind: Any) -> None:
    with pytest.raises(TypeError, match="Sensitive marks fields of a superd_client"):
        Method("auth.result", Public, kind)


def test_an_error_of_writing_names_no_value() -> None:
    forced = a_login().model_copy(update={"plain": 47114711, "user": 5})
    with pytest.raises(ValueError, match="of the type that its model promises") as raised:
        login.encode_params(forced)
    assert "4711" not in str(raised.value)
    forced = a_login().model_copy(update={"password": "hunter2-a"})
    with pytest.raises(ValueError, match="get_secret_value") as raised:
        login.encode_params(forced)
    assert no_secret_in(str(raised.value))


class Chatty(Message):
    token: SecretStr

    @field_validator("token")
    @classmethod
    def check(cls, token: SecretStr) -> SecretStr:
        raise ValueError(f"{token.get_secret_value()} is too easy")


def test_sentences_of_validators_are_not_repeated_where_there_are_secrets() -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"auth.chat","params":{"token":"hunter2-a"}}'
    methods: list[Method[Any, Any]] = [Method("auth.chat", Chatty, int), login]
    for served in (methods, methods[:1]):
        error = CallParser(served)(body).params
        assert error.data["errors"] == [
            {"loc": ["token"], "type": "value_error", "msg": "Input is not valid"}
        ]
        assert error.message == "invalid params: token: Input is not valid"
    reply = Method("auth.result", Public, Chatty).decode_reply(dump_result(1, b'{"token":"hunter2-a"}'))
    assert isinstance(reply, Mismatch)
    assert no_secret_in(str(reply))


def test_a_fault_of_pydantics_own_keeps_its_sentence() -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"auth.login","params":{"password":4711471}}'
    error: ErrorObject = CallParser([login])(body).params
    assert error.data["errors"][1] == {
        "loc": ["password"],
        "type": "string_type",
        "msg": "Input should be a valid string",
    }
    assert no_secret_in(str(error))


def test_no_model_of_ours_repeats_its_input() -> None:
    with pytest.raises(ValidationError) as raised:
        Login.model_validate({"user": 4711471, "password": 4711471})
    assert no_secret_in(str(raised.value))


# --- masking -------------------------------------------------------------------------------------------------------


def test_texts_that_give_a_secret_away() -> None:
    assert secret_texts(a_login()) == set(SECRETS)
    assert secret_texts(Public(user="hunter2-a")) == frozenset()
    assert secret_texts(Inner(token=SecretStr("it's\n1"))) == {"it's\n1", r"it's\n1"}


@pytest.mark.parametrize(
    ("secret", "found"),
    [("x" * (MASKED_MIN - 1), False), ("x" * MASKED_MIN, True), ("x" * (MASKED_MIN + 1), True)],
)
def test_what_is_too_short_to_be_masked(secret: str, found: bool) -> None:
    assert bool(secret_texts(Inner(token=SecretStr(secret)))) is found


def test_masking_begins_with_the_longest() -> None:
    assert mask("tokens: abcdefgh, abcd", {"abcd", "abcdefgh"}) == f"tokens: {STARS}, {STARS}"


def test_revealing_leaves_other_schemas_alone() -> None:
    schema = {
        "type": "typed-dict",
        "fields": {"default": {"type": "typed-dict-field", "schema": {"type": "any"}}},
    }
    assert revealed(schema) == schema
