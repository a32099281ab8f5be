"""What is proved by a look at the value is what would be read; and long texts are the same, whoever writes them."""

import math
import subprocess
import sys
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from pydantic_core import PydanticSerializationError, from_json
from typing_extensions import override

from superd_client import writing
from superd_client.contract import Message, Method
from superd_client.proving import Proof
from superd_client.strictjson import StrictReader
from superd_client.wire.envelope import MessageRefused
from superd_client.writing import LONG_TEXT, Writer


class Leaf(Message):
    text: Annotated[str, Field(max_length=5)] = "leaf"
    kind: Literal["a", "b"] = "a"


class Plain(Message):
    name: str | None
    number: int
    ratio: float
    flag: bool
    leaves: list[Leaf]
    by_name: dict[str, list[int]]


class Special(Leaf):
    more: int = 1


class Checked(Message):
    text: str

    @field_validator("text")
    @classmethod
    def refuse(cls, text: str) -> str:
        if text == "bad":
            raise ValueError(text)
        return text


class Dated(Message):
    text: str
    when: datetime


#: What a member may be given by `model_construct`: right, wrong, and at the edges.
WILD: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), 10**300, 10**400]),
    st.floats(),
    st.text(st.characters(codec="utf-8"), max_size=7),
    st.sampled_from(["a", "b", "\ud800", b"a", (1,), {1: [2]}, {"x": [True]}, {"y": "z"}, {"x": [1]}]),
)
LEAVES: Final = st.one_of(
    st.builds(Leaf),
    st.builds(Special),
    st.builds(Leaf.model_construct, text=WILD, kind=WILD),
    st.builds(Leaf.model_construct, more=WILD),
    WILD,
)


def wild(right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return right | right | WILD


PLAINS: Final = st.builds(
    Plain.model_construct,
    name=wild(st.text(max_size=3)),
    number=wild(st.integers()),
    ratio=wild(st.floats(allow_nan=False, allow_infinity=False)),
    flag=wild(st.booleans()),
    leaves=wild(st.lists(LEAVES, max_size=3)),
    by_name=wild(
        st.dictionaries(st.text(max_size=2), st.lists(WILD | st.integers(), max_size=2), max_size=2)
    ),
)

_writer: Final[Writer[Any]] = Writer(Plain, 1)
_reader: Final[StrictReader[Any]] = StrictReader(Plain)
_proof: Final[Proof[Any]] = Proof(_reader, TypeAdapter(Plain).core_schema)
_valid: Final = Plain(name="x", number=1, ratio=0.5, flag=True, leaves=[Leaf()], by_name={"x": [1]})


def refuses(check: Any, *values: Any) -> bool:
    try:
        check(*values)
    except (ValueError, MessageRefused):
        return True
    return False


@given(PLAINS)
@example(_valid)
@example(_valid.model_copy(update={"ratio": math.nan}))
@example(_valid.model_copy(update={"ratio": 1}))
@example(_valid.model_copy(update={"leaves": [Special()]}))
@example(_valid.model_copy(update={"number": True}))
def test_what_is_proved_is_what_would_be_read(value: Plain) -> None:
    try:
        body = _writer.write(value)
    except ValueError:
        return
    assert refuses(_proof.check, value, body, None) is refuses(_reader.read, body)


@pytest.mark.parametrize("digits", [18, 19, 4299, 4300, 4301])
@pytest.mark.parametrize("sign", [1, -1])
def test_integers_that_a_parser_may_refuse_are_read(digits: int, sign: int) -> None:
    value = _valid.model_copy(update={"number": sign * 10 ** (digits - 1)})
    body = _writer.write(value)
    assert refuses(_proof.check, value, body, None) is refuses(_reader.read, body)


def test_what_is_written_as_no_json_at_all() -> None:
    class Loose(Message):
        model_config = ConfigDict(ser_json_inf_nan="constants", allow_inf_nan=True)

        number: float

    with pytest.raises(ValueError, match="not JSON"):
        Method("proving.loose", Leaf, Loose).encode_result(Loose(number=math.nan))


def test_a_plain_type_is_not_read_again() -> None:
    _proof.check(_valid, b"neither JSON nor read", None)
    for wrong in (_valid.model_copy(update={"number": "1"}), _valid.model_copy(update={"leaves": [1]})):
        with pytest.raises(ValidationError):
            _proof.check(wrong, b"{}", None)


@pytest.mark.parametrize("source", [Checked, Dated, Any, list[Checked], float])
def test_any_other_type_is_read_again(source: Any) -> None:
    proof: Proof[Any] = Proof(StrictReader(source), TypeAdapter(source).core_schema)
    with pytest.raises(ValueError, match="JSON"):
        proof.check(Checked(text="x"), b"not JSON", None)


def test_a_result_that_a_validator_refuses() -> None:
    method = Method("proving.checked", Leaf, Checked)
    assert method.encode_result(Checked(text="good")) == b'{"text":"good"}'
    with pytest.raises(ValidationError):
        method.encode_result(Checked.model_construct(text="bad"))


# --- long texts --------------------------------------------------------------------------------------------------


class Letter(Message):
    head: str
    pages: list[str]
    parts: dict[str, "Letter"] = Field(default_factory=dict)
    number: int = 1
    ratio: float = 0.5

    @field_validator("head")
    @classmethod
    def keep(cls, head: str) -> str:
        return head


class Unwritten(str):
    """A text that is of another class."""

    __slots__ = ()

    @override
    def __str__(self) -> str:
        return "another"


TEXTS: Final = st.text(st.characters(codec="utf-8"), max_size=20).map(lambda text: text * (LONG_TEXT // 8))
LETTERS: Final = st.builds(
    Letter,
    head=TEXTS,
    pages=st.lists(TEXTS, max_size=3),
    number=st.integers(-(2**70), 2**70),
    ratio=st.floats(allow_nan=False, allow_infinity=False),
)


def writer_of_long_texts(source: Any) -> Writer[Any]:
    """A writer that has just written something large."""
    writer: Writer[Any] = Writer(source, 1)
    writer._size = LONG_TEXT
    return writer


@pytest.fixture
def orjson() -> Any:
    return pytest.importorskip("orjson")


@pytest.mark.usefixtures("orjson")
@given(LETTERS)
def test_long_texts_are_the_same_whoever_writes_them(letter: Letter) -> None:
    body = writer_of_long_texts(Letter).write(letter)
    assert from_json(body) == from_json(Writer[Letter](Letter, 1).write(letter))
    assert Method("proving.letter", Letter, Letter).read_params(body) == letter


@pytest.mark.parametrize("length", [LONG_TEXT - 1, LONG_TEXT, LONG_TEXT + 1])
def test_which_texts_are_long(length: int, orjson: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []

    def dumps(data: Any) -> Any:
        written.append(data)
        return orjson.dumps(data)

    monkeypatch.setattr(writing, "_orjson", lambda: dumps)
    text = "x" * length
    for letter in (
        Letter(head=text, pages=[]),
        Letter(head="", pages=[text]),
        Letter(head="", pages=[], parts={"one": Letter(head=text, pages=[])}),
    ):
        written.clear()
        writer_of_long_texts(Letter).write(letter)
        assert bool(written) is (length >= LONG_TEXT)
        written.clear()
        Writer[Letter](Letter, 1).write(letter)  # what it wrote before was small
        assert not written


@pytest.mark.parametrize(
    "wrong",
    [
        {"head": "\ud800" * LONG_TEXT},
        {"head": "x" * LONG_TEXT, "number": "1"},
        {"head": "x" * LONG_TEXT, "pages": {"a": 1}},
    ],
)
def test_wrong_values_with_long_texts(wrong: dict[str, Any]) -> None:
    letter = Letter(head="", pages=[]).model_copy(update=wrong)
    for writer in (writer_of_long_texts(Letter), Writer[Letter](Letter, 1)):
        with pytest.raises(PydanticSerializationError) as caught:
            writer.write(letter)
        assert "xxx" not in str(caught.value)


def test_without_orjson(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_orjson", lambda: None)
    letter = Letter(head="é\n" * LONG_TEXT, pages=[])
    assert from_json(writer_of_long_texts(Letter).write(letter))["head"] == letter.head


def test_orjson_is_loaded_when_it_is_needed() -> None:
    code = "import sys, superd_client, superd_client.contract; sys.exit('orjson' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
