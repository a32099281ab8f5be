"""Writing values of models as JSON for the other side: with their secrets, and with errors that repeat no value."""

import re
from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError, from_json

from superd_client.bounds import nesting_max
from superd_client.schemas import make_serializer
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


class Writer(Generic[T]):
    """Writes one type as JSON, to be put into so many objects as `around` says."""

    __slots__ = ("_around", "_may_nest", "_to_json", "core_schema")

    def __init__(self, source: Any, around: int) -> None:
        """Build the serializer for the type `source`, which may be anything that pydantic knows."""
        adapter: TypeAdapter[T] = TypeAdapter(source)
        #: What is written, as pydantic describes it.
        self.core_schema: Any = adapter.core_schema
        if holds_secret_types(self.core_schema):
            self.core_schema = revealed(self.core_schema)
            self._to_json = make_serializer(self.core_schema).to_json
        else:
            self._to_json = adapter.serializer.to_json
        self._around = around
        #: Whether a value can nest too deep; what cannot is not looked at.
        self._may_nest = nesting_max(self.core_schema) + around > NESTING_MAX

    def write(self, value: T, context: object = None) -> bytes:
        """Write `value`; raises ValueError for one that nests too deep.

        So it does for one that holds what its type does not promise, without naming that.
        """
        try:
            body = self._to_json(value, by_alias=True, warnings="error", context=context)
        except PydanticSerializationError as error:
            if _WARNINGS not in str(error):
                raise
            names = ", ".join(dict.fromkeys(_FIELD.findall(str(error))))
        else:
            if self._may_nest:
                check_nesting(body, self._around)
            return body
        where = f": {names}" if names else ""
        message = f"a value is not of the type that its model promises{where}"
        raise PydanticSerializationError(message)
