"""Writing values of models as JSON for the other side: with their secrets, and with errors that repeat no value."""

import functools
import re
from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from superd_client.schemas import TYPES_KEPT, adapter_of, make_serializer
from superd_client.sensitive import holds_secret_types, revealed

T = TypeVar("T")

#: How pydantic begins the list of the values that are not of their fields' types, and where it names a field.
_WARNINGS: Final = "Pydantic serializer warnings"
_FIELD: Final = re.compile(r"\[field_name='(\w+)', input_value=")


class Writer(Generic[T]):
    """Writes one type as JSON."""

    __slots__ = ("_to_json", "core_schema")

    def __init__(self, source: Any) -> None:
        """Build the serializer for the type `source`, which may be anything that pydantic knows."""
        adapter: TypeAdapter[T] = adapter_of(source)
        #: What is written, as pydantic describes it.
        self.core_schema: Any = adapter.core_schema
        if holds_secret_types(self.core_schema):
            self.core_schema = revealed(self.core_schema)
            self._to_json = make_serializer(self.core_schema).to_json
        else:
            self._to_json = adapter.serializer.to_json

    def write_unchecked(self, value: T) -> bytes:
        """Write `value`, whatever it holds; for who reads it once more. To have pydantic look takes 1 us."""
        return self._to_json(value, by_alias=True, warnings=False)

    def write(self, value: T, context: object = None) -> bytes:
        """Write `value`; raises ValueError for one that holds what its type does not promise, without naming that."""
        try:
            return self._to_json(value, by_alias=True, warnings="error", context=context)
        except PydanticSerializationError as error:
            if _WARNINGS not in str(error):
                raise
            names = ", ".join(dict.fromkeys(_FIELD.findall(str(error))))
        where = f": {names}" if names else ""
        message = f"a value is not of the type that its model promises{where}"
        raise PydanticSerializationError(message)


def writer_of(source: Any) -> Writer[Any]:
    """The writer of a type, one for all contracts that name the same class."""
    return _writer_of_class(source) if isinstance(source, type) else Writer(source)


_writer_of_class: Final = functools.lru_cache(TYPES_KEPT)(Writer[Any])
