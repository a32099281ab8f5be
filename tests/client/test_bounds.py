"""What a schema says of all its values: the depth and the numbers that need not be looked for then."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    RootModel,
    TypeAdapter,
    ValidationError,
    computed_field,
)
from typing_extensions import TypedDict

from superd_client.bounds import may_hold_nan, nesting_max
from superd_client.contract import Message, Method
from superd_client.wire.envelope import MessageRefused
from superd_client.wire.limits import NESTING_MAX
from superd_client.writing import Writer


class Leaf(Message):
    number: float
    text: str | None = None


class Branch(Message):
    left: Leaf
    right: Leaf
    more: dict[str, list[Leaf]]


class Tree(Message):
    kids: list["Tree"]


class Open(Message):
    model_config = ConfigDict(extra="allow")


class Loose(Message):
    number: Annotated[float, Field(allow_inf_nan=True)]


class Computed(Message):
    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def deep(self) -> list[list[int]]:
        return [[1]]


@dataclass
class Plain:
    number: float


class Typed(TypedDict):
    number: float


def schema_of(source: Any) -> Any:
    return TypeAdapter(source).core_schema


@pytest.mark.parametrize(
    ("source", "depth"),
    [
        (int, 0),
        (str | None, 0),
        (Literal["a", 1], 0),
        (list[int], 1),
        (tuple[int, list[str]], 2),
        (Leaf, 1),
        (Branch, 4),
        (dict[str, Branch], 5),
        (Branch | list[list[int]], 4),
        (RootModel[list[int]], 1),
        (Plain, 1),
        (Typed, 1),
        (Tree, math.inf),
        (dict[str, Tree], math.inf),
        (Any, math.inf),
        (JsonValue, math.inf),
        (list[object], math.inf),
        (Open, math.inf),
        (Computed, math.inf),
        (Sequence[int], math.inf),
        (Annotated[int, PlainSerializer(lambda number: [[number]])], math.inf),
    ],
)
def test_how_deep_values_nest(source: Any, depth: float) -> None:
    assert nesting_max(schema_of(source)) == depth


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Leaf, False),
        (Branch, False),
        (dict[str, Leaf], False),
        (int, False),
        (float, True),
        (list[float], True),
        (dict[str, Leaf | float], True),
        (Annotated[float, Field(allow_inf_nan=False)], False),
        (Loose, True),
        (Plain, True),
        (Typed, True),
        (Any, True),
        (JsonValue, True),
        (Open, False),
    ],
)
def test_where_nan_can_be(source: Any, expected: bool) -> None:
    assert may_hold_nan(schema_of(source)) is expected


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_a_bounded_number_is_none_of_these(word: bytes) -> None:
    """pydantic says so by itself, which is why nobody looks for the words first where duplicate names need no look either."""
    method = Method("bounds.leaf", Leaf, Leaf)
    with pytest.raises((ValidationError, MessageRefused)):
        method.read_params(b'{"number":%b}' % word)


@pytest.mark.parametrize("source", [list[list[int]], list[Any]])
@pytest.mark.parametrize("around", [NESTING_MAX - 3, NESTING_MAX - 2, NESTING_MAX - 1])
def test_what_can_nest_too_deep_is_looked_at(source: Any, around: int) -> None:
    writer: Writer[Any] = Writer(source, around)
    if around + 2 <= NESTING_MAX:
        assert writer.write([[1]]) == b"[[1]]"
    else:
        with pytest.raises(ValueError, match="nest"):
            writer.write([[1]])
