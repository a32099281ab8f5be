"""Writing values of models as JSON for the other side: with their secrets, and with errors that repeat no value.

Where orjson is installed it writes long texts: pydantic looks at each of their characters, and takes ten times as long.
"""

import functools
import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticSerializationError, from_json

from superd_client.bounds import VALIDATORS, is_plain, may_hold_nan, nesting_max
from superd_client.schemas import TYPES_KEPT, adapter_of, make_serializer
from superd_client.sensitive import holds_secret_types, revealed
from superd_client.wire.limits import NESTING_MAX

T = TypeVar("T")

#: How pydantic begins the list of the values that are not of their fields' types, and where it names a field.
_WARNINGS: Final = "Pydantic serializer warnings"
_FIELD: Final = re.compile(r"\[field_name='(\w+)', input_value=")


#: Why a value is not written that nests too deep.
TOO_DEEP: Final = f"arrays and objects of a message nest at most {NESTING_MAX} deep"


def check_nesting(value: bytes, around: int) -> None:
    """Raise ValueError if `value`, with so many objects around it, nests too deep for a message (protocol §3).

    The other side would take it for a text that is not JSON, whose sender it cannot know: that costs the connection.
    """
    if value.count(b"[") + value.count(b"{") + around <= NESTING_MAX:
        return  # the usual case, told without reading it once more
    try:
        from_json(b"[" * around + value + b"]" * around)
    except ValueError:
        raise ValueError(TOO_DEEP) from None


#: Characters of a text that is worth while.
LONG_TEXT: Final = 4096


@cache
def _orjson() -> Callable[[Any], bytes] | None:
    try:
        import orjson  # noqa: PLC0415 - optional, and needed late
    except ImportError:
        return None
    return orjson.dumps


def _holds_long_text(value: object) -> bool:
    """Whether there is one in `value`; of the values of a list or map the first stands for all."""
    if isinstance(value, str):
        return len(value) >= LONG_TEXT
    if isinstance(value, BaseModel):
        return any(map(_holds_long_text, value.__dict__.values()))
    if isinstance(value, list):
        return bool(value) and _holds_long_text(value[0])
    return isinstance(value, dict) and _holds_long_text(next(iter(value.values()), None))


class Writer(Generic[T]):
    """Writes one type as JSON, to be put into so many objects as `around` says."""

    __slots__ = ("_around", "_is_plain", "_may_nest", "_serializer", "_size", "_to_json", "core_schema")

    def __init__(self, source: Any, around: int) -> None:
        """Build the serializer for the type `source`, which may be anything that pydantic knows."""
        adapter: TypeAdapter[T] = adapter_of(source)
        #: What is written, as pydantic describes it.
        self.core_schema: Any = adapter.core_schema
        if holds_secret_types(self.core_schema):
            self.core_schema = revealed(self.core_schema)
            self._serializer = make_serializer(self.core_schema)
        else:
            self._serializer = adapter.serializer
        self._to_json = self._serializer.to_json
        #: Whether orjson writes the same JSON values as pydantic.
        self._is_plain = is_plain(self.core_schema, VALIDATORS) and not may_hold_nan(self.core_schema)
        #: Bytes of what was written last: after something small nobody looks for long texts.
        self._size = 0
        self._around = around
        #: Whether a value can nest too deep; what cannot is not looked at.
        self._may_nest = nesting_max(self.core_schema) + around > NESTING_MAX

    def write_proved(self, value: T) -> bytes:
        """Write a value of which is known that it holds what its type promises: to have pydantic look takes 1 us."""
        return self._write(value, False, None)

    def write(self, value: T, context: object = None) -> bytes:
        """Write `value`; raises ValueError for one that nests too deep.

        So it does for one that holds what its type does not promise, without naming that.
        """
        try:
            return self._write(value, "error", context)
        except PydanticSerializationError as error:
            if _WARNINGS not in str(error):
                raise
            names = ", ".join(dict.fromkeys(_FIELD.findall(str(error))))
        where = f": {names}" if names else ""
        message = f"a value is not of the type that its model promises{where}"
        raise PydanticSerializationError(message)

    def _write(self, value: T, warnings: Literal["error", False], context: object) -> bytes:
        body = None
        if self._size >= LONG_TEXT and self._is_plain:
            body = self._write_long(value)
        if body is None:
            body = self._to_json(value, by_alias=True, warnings=warnings, context=context)
        self._size = len(body)
        if self._may_nest:
            check_nesting(body, self._around)
        return body

    def _write_long(self, value: T) -> bytes | None:
        """Write a value with a long text; None for another one, and for what orjson refuses: pydantic says why, or can."""
        dumps = _orjson()
        if dumps is None or not _holds_long_text(value):
            return None
        data = self._serializer.to_python(value, mode="json", by_alias=True, warnings="error")
        try:
            return dumps(data)
        except TypeError:
            return None


def writer_of(source: Any, around: int) -> Writer[Any]:
    """The writer of a type, one for all contracts that name the same class, to be put into so many objects."""
    return _writer_of_class(source, around) if isinstance(source, type) else Writer(source, around)


_writer_of_class: Final = functools.lru_cache(TYPES_KEPT)(Writer[Any])
