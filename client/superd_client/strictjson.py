"""Reading JSON into models as protocol §3 has it, where pydantic by itself is kinder.

pydantic's own parser accepts NaN and Infinity, and releases before 2.11 take the first of two members with
one name where everything else takes the last. Both matter: a policy that looks at one of two methods and a
dispatcher that runs the other is a hole. The first is looked for only where a model can hold such a value; the
second is probed once, on import.

Of a large text each list, set and map is read up to its first fault alone. pydantic by itself puts every fault into an
object of its own, for each branch of a union: 16 MiB of them took 50 s and 11 GiB.
"""

import functools
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from superd_client.bounds import may_hold_nan
from superd_client.descriptors import Received, holds_descriptors
from superd_client.schemas import TYPES_KEPT, Schema, adapter_of, changed, make_validator, parts_of
from superd_client.wire.envelope import parse_json
from superd_client.wire.limits import ALL_FAULTS_SIZE_MAX

T = TypeVar("T")


def _last_name_wins() -> bool:
    choices = {name: _tagged(name) for name in ("first", "last")}
    probe = make_validator({"type": "tagged-union", "discriminator": "kind", "choices": choices})
    try:
        found = probe.validate_json(b'{"kind":"first","number":1,"kind":"last","number":2}')
    except ValidationError:
        return False  # the union looked at the last one, its members at the first
    return bool(found == {"kind": "last", "number": 2})


def _tagged(name: str) -> Schema:
    """An object with this name as its kind, and a number. A schema as pydantic makes one takes 20 times as long to make."""
    fields = {"kind": {"type": "literal", "expected": [name]}, "number": {"type": "int"}}
    return {
        "type": "typed-dict",
        "fields": {key: {"type": "typed-dict-field", "schema": value} for key, value in fields.items()},
    }


#: Whether this pydantic resolves duplicate names to the last one.
LAST_NAME_WINS: Final = _last_name_wins()


class StrictReader(Generic[T]):
    """Reads one type from JSON, strictly."""

    __slots__ = ("_find_all", "_is_strict", "_may_hold_nan", "_validate", "holds_descriptors", "read_inner")

    def __init__(self, source: Any) -> None:
        """Build the validator for the type `source`, which may be anything that pydantic knows."""
        adapter: TypeAdapter[T] = adapter_of(source)
        schema: Any = adapter.core_schema
        parts = [part for part in parts_of(schema) if isinstance(part.get("type"), str)]
        kinds = {part["type"] for part in parts}
        self._find_all: Callable[..., T] = adapter.validator.validate_json
        #: As `_find_all`, but for what it tells of faults.
        self._validate = self._find_all
        if not _COLLECTIONS.isdisjoint(kinds):
            self._validate = functools.partial(self._validate_first, schema)
        #: Whether a value of this type may stand for descriptors.
        self.holds_descriptors: Final = holds_descriptors(schema)
        self._may_hold_nan = may_hold_nan(schema)
        self._is_strict = schema["type"] == "model" and all(map(_asks_for_strictness, parts))
        #: Reads a value that stands in a message, alone, as if it was read with the message: it raises where that is
        #: refused, or anything is unusual. None for a type of which more matters than its own text.
        self.read_inner: Callable[[bytes], T] | None = (
            self._read_first if LAST_NAME_WINS and kinds <= _CLOSED else None
        )

    def _read_first(self, body: bytes) -> T:
        """Read a value alone, and let the others be read by what has been built by then, in as few steps as there are."""
        value = self.read(body)
        if self._may_hold_nan:
            self.read_inner = self.read
        elif self._is_strict:
            self.read_inner = (
                self._validate
            )  # to say what the models say themselves takes time, for each value
        else:
            self.read_inner = functools.partial(self._validate, strict=True)
        return value

    def _validate_first(self, schema: Any, body: bytes, **options: Any) -> T:
        """Build the second validator at the first use: most types of a contract are read by one of its sides alone."""
        self._validate = make_validator(changed(schema, _to_first_fault)).validate_json
        return self._validate(body, **options)

    def read(self, body: bytes, received: Received | None = None) -> T:
        """Validate `body`; raises MessageRefused if it is not JSON, pydantic's ValidationError if it does not fit.

        `received` has the descriptors that came with it, each of which the value must use.
        """
        if not LAST_NAME_WINS:
            body = to_json(parse_json(body))
        elif self._may_hold_nan and may_say_nan(body):
            parse_json(body)  # the words may stand in a string
        try:
            value: T = (
                self._validate(body, strict=True)
                if received is None
                else _read(self._validate, body, received)
            )
        except ValidationError:
            if len(body) > ALL_FAULTS_SIZE_MAX or self._validate is self._find_all:
                raise
            value = _read(self._find_all, body, received)
        return value


def may_say_nan(body: bytes) -> bool:
    """Whether one of the words is in `body` that JSON does not have. To look for a byte is much cheaper than for a word.

    By `find`: `in` takes the bytes for a number first, and makes and drops an exception.
    """
    find = body.find
    return (find(b"N") >= 0 and find(b"NaN") >= 0) or (find(b"I") >= 0 and find(b"Infinity") >= 0)


def _asks_for_strictness(schema: Schema) -> bool:
    """Whether this part of a schema does: a model itself, the others by what is around them."""
    if schema["type"] == "model":
        return schema.get("config", {}).get("strict") is True and schema.get("strict") is not False
    return schema.get("strict") is not False


def _read(validate: Callable[..., Any], body: bytes, received: Received | None) -> Any:
    if received is None:
        return validate(body, strict=True)
    received.begin()
    value = validate(body, strict=True, context=received)
    received.check(value)
    return value


#: Schemas of any number of values, which may all be wrong.
_COLLECTIONS: Final = frozenset(
    {"list", "tuple", "set", "frozenset", "dict", "deque", "frozendict", "ordered-dict", "counter"}
)


def _to_first_fault(schema: Schema) -> Schema:
    """The same values, and no more than one fault. pydantic before 2.13 takes no notice for maps."""
    return {**schema, "fail_fast": True} if schema.get("type") in _COLLECTIONS else schema


#: Kinds of core schema that are the same wherever they stand: they take no configuration from what is around them, and
#: nest no deeper than they say, which is far from the limit of a message (protocol §3).
_CLOSED: Final = frozenset(
    {
        "bool",
        "bytes",
        "date",
        "datetime",
        "decimal",
        "default",
        "dict",
        "enum",
        "float",
        "frozenset",
        "int",
        "list",
        "literal",
        "model",
        "model-field",
        "model-fields",
        "none",
        "nullable",
        "set",
        "str",
        "tagged-union",
        "time",
        "timedelta",
        "tuple",
        "union",
        "uuid",
    }
)


def reader_of(source: Any) -> StrictReader[Any]:
    """The reader of a type, one for all contracts that name the same class."""
    return _reader_of_class(source) if isinstance(source, type) else StrictReader(source)


_reader_of_class: Final = functools.lru_cache(TYPES_KEPT)(StrictReader[Any])
