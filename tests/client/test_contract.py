"""Methods: what may be declared, how params, results and errors travel."""

import datetime as dt
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from superd_client.blob import Blob
from superd_client.contract import Message, Method, UntypedMethod, check_method_name
from superd_client.fd import Fd
from superd_client.wire.envelope import Failure, MessageRefused, Mismatch, Result, dump_result, parse_reply
from superd_client.wire.errors import ErrorObject
from superd_client.wire.limits import NESTING_MAX


class Lookup(Message):
    sku: str
    when: dt.date | None = None


class Item(Message):
    sku: str
    quantity: int = Field(default=0, ge=0, alias="n")


class Lost(Message):
    sku: str


class Open(BaseModel):
    sku: str


lookup = Method("inventory.lookup", Lookup, Item, errors=[Lost], idempotent=True, summary="Find an item.")


# --- names and models ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.b", "a1.b_2", "a.b.c", "a." + "b" * 126])
def test_names(name: str) -> None:
    check_method_name(name)
    assert Method(name, Lookup, Item).name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "a.",
        ".a",
        "a..b",
        "A.b",
        "a.B",
        "a.1b",
        "a._b",
        "a.b ",
        "a.b\n",
        "a-b.c",
        "é.a",
        "a." + "b" * 127,
    ],
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="is not a method name"):
        Method(name, Lookup, Item)


@pytest.mark.parametrize("model", [Open, dict, int, None, "Lookup", Lookup(sku="a")])
def test_what_is_no_model_of_params_or_errors(model: Any) -> None:
    with pytest.raises(TypeError, match=r"a\.b: "):
        Method("a.b", model, Item)
    with pytest.raises(TypeError, match=r"a\.b: "):
        Method("a.b", Lookup, Item, errors=[model])


def test_what_a_method_says_of_itself() -> None:
    assert repr(lookup) == "Method('inventory.lookup', Lookup, Item)"
    assert repr(Method("a.b", Lookup, list[Item])).startswith("Method('a.b', Lookup, list")
    assert (lookup.idempotent, lookup.summary, dict(lookup.errors)) == (True, "Find an item.", {"Lost": Lost})
    with pytest.raises(AttributeError):
        lookup.more = 1  # type: ignore[attr-defined]


class WithFd(Message):
    file: Fd


def test_a_keyed_method() -> None:
    assert Method("a.b", Lookup, Item, keyed=True).keyed
    assert not lookup.keyed
    assert not UntypedMethod("a.b").keyed
    with pytest.raises(ValueError, match="may be carried out twice, and needs no keys"):
        Method("a.b", Lookup, Item, keyed=True, idempotent=True)


@pytest.mark.parametrize(
    ("params", "result"), [(WithFd, Item), (Lookup, Fd), (Lookup, Blob), (Lookup, list[WithFd])]
)
def test_what_cannot_be_told_again_is_not_keyed(params: Any, result: Any) -> None:
    assert not Method("a.b", params, result).is_repeatable
    with pytest.raises(TypeError, match=r"a\.b: params and result of a keyed method cannot hold descriptors"):
        Method("a.b", params, result, keyed=True)


def test_messages_are_strict() -> None:
    with pytest.raises(ValidationError) as caught:
        Lookup.model_validate({"sku": 1, "secret": "SECRET"})
    assert "SECRET" not in str(caught.value)
    with pytest.raises(ValidationError):
        Lookup(sku="a").sku = "b"


# --- params ----------------------------------------------------------------------------------------------------


def test_params_travel() -> None:
    params = Lookup(sku="A-1", when=dt.date(2024, 1, 2))
    assert lookup.encode_params(params) == b'{"sku":"A-1","when":"2024-01-02"}'
    assert lookup.read_params(lookup.encode_params(params)) == params


def test_params_of_another_method() -> None:
    with pytest.raises(TypeError, match="params must be a Lookup, not Lost"):
        lookup.encode_params(Lost(sku="a"))  # type: ignore[arg-type]


def test_params_that_were_made_by_force() -> None:
    # Older releases of pydantic do not tell the names.
    with pytest.raises(ValueError, match=r"promises(: sku)?$"):
        lookup.encode_params(Lookup.model_construct(sku=4711))


# --- results ---------------------------------------------------------------------------------------------------


def test_results_travel_by_alias() -> None:
    encoded = lookup.encode_result(Item(sku="a", n=2))
    assert encoded == b'{"sku":"a","n":2}'
    assert lookup.decode_reply(b'{"jsonrpc":"2.0","id":7,"result":%b}' % encoded) == Result(
        7, Item(sku="a", n=2)
    )


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        Lost(sku="a"),
        {"sku": 1},
        Item.model_construct(sku=1),
        Item.model_construct(n=1),
        Item(sku="a", n=1).model_copy(update={"quantity": -1}),
    ],
)
def test_what_the_result_model_refuses(value: Any) -> None:
    with pytest.raises(ValueError):
        lookup.encode_result(value)


def test_results_that_are_no_models() -> None:
    numbers = Method("a.b", Lookup, list[int])
    assert numbers.encode_result([1, 2]) == b"[1,2]"
    with pytest.raises(ValidationError):
        numbers.encode_result([1, "2"])  # type: ignore[list-item]
    assert numbers.decode_reply(b'{"jsonrpc":"2.0","id":"x","result":[1]}') == Result("x", [1])


def test_a_result_that_does_not_fit_the_callers_model() -> None:
    reply = lookup.decode_reply(b'{"jsonrpc":"2.0","id":7,"result":{"sku":1,"x":2}}')
    assert isinstance(reply, Mismatch)
    assert reply.id == 7
    assert [(fault["loc"], fault["type"]) for fault in reply.faults] == [
        (["sku"], "string_type"),
        (["x"], "extra_forbidden"),
    ]


def test_a_failure() -> None:
    text = b'{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"internal error"}}'
    for method in (lookup, UntypedMethod("inventory.lookup")):
        assert method.decode_reply(text) == Failure(7, ErrorObject(-32603, "internal error", {}))


@pytest.mark.parametrize(
    "text",
    [
        b"x",
        b"[]",
        b"{}",
        b'{"jsonrpc":"2.0","method":"rpc.event"}',
        b'{"jsonrpc":"2.0","id":true,"result":1}',
    ],
)
def test_what_is_no_reply(text: bytes) -> None:
    for method in (lookup, UntypedMethod("inventory.lookup")):
        with pytest.raises(MessageRefused):
            method.decode_reply(text)


# --- errors ----------------------------------------------------------------------------------------------------


def test_declared_errors_travel() -> None:
    error = lookup.encode_error(Lost(sku="a"), "gone")
    assert error == ErrorObject(-32000, "gone", {"type": "Lost", "detail": {"sku": "a"}})
    assert lookup.decode_error(error) == Lost(sku="a")


def test_undeclared_errors_do_not() -> None:
    class Impostor(Message):
        sku: str

    Impostor.__name__ = "Lost"
    for detail in (Item(sku="a"), Impostor(sku="a")):
        with pytest.raises(ValueError, match="does not declare the error"):
            lookup.encode_error(detail, "")


def test_an_error_of_another_code_is_not_declared() -> None:
    data = {"type": "Lost", "detail": {"sku": "a"}}
    assert lookup.decode_error(ErrorObject(-32603, "", data)) is None


# --- methods of which only the name is known -------------------------------------------------------------------


def test_untyped_params() -> None:
    method = UntypedMethod("any.thing")
    assert method.encode_params(None) == b"{}"
    assert method.encode_params({"a": [1, "é"]}) == '{"a":[1,"é"]}'.encode()
    with pytest.raises(TypeError, match="params are passed by name"):
        method.encode_params([1])
    with pytest.raises(TypeError):
        method.encode_params({"a": object()})
    with pytest.raises(ValueError, match="JSON compliant"):
        method.encode_params({"a": float("nan")})


def test_untyped_results() -> None:
    method = UntypedMethod("any.thing")
    assert method.decode_reply(b'{"jsonrpc":"2.0","id":1,"result":{"a":[]}}') == Result(1, {"a": []})
    assert method.decode_error(ErrorObject(-32000, "", {"type": "Lost"})) is None
    assert method.errors == {}


def test_aliases_and_constraints_come_from_the_model() -> None:
    class Loose(Message):
        model_config = ConfigDict(extra="ignore")

    with pytest.raises(TypeError, match="must forbid unknown members"):
        Method("a.b", Loose, Item)


# --- nesting ---------------------------------------------------------------------------------------------------


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [NESTING_MAX - 2, NESTING_MAX - 1, NESTING_MAX])
def test_how_deep_a_result_nests(depth: int) -> None:
    """One object is around it in its message."""
    kind: Any = JsonValue
    anything = Method("a.b", Lookup, kind)
    if depth < NESTING_MAX:
        body = anything.encode_result(nested(depth))
        reply = dump_result(1, body)
        assert anything.decode_reply(reply) == parse_reply(reply) == Result(1, nested(depth))
    else:
        with pytest.raises(ValueError, match="nest"):
            anything.encode_result(nested(depth))


def test_brackets_in_a_text_do_not_nest() -> None:
    assert lookup.encode_params(Lookup(sku="[{" * NESTING_MAX, when=dt.date(2024, 1, 2)))
