"""That what was written can be read: proved for most values by a look at the value, which does not read its texts.

Writing says little of a value: `model_construct` and `model_copy` take anything, and what was valid may have changed
since. So it is read once more, as its receiver will read it. Types that JSON has itself are proved in another way: a
value whose parts are valid, taken as Python's, is written as a text that reads as valid. Which types these are is a list
of what is known to be so; and a value that fails here is read all the same, so that this never refuses one.
"""

import functools
from typing import Any, Final, Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import SchemaValidator

from superd_client.bounds import is_plain, may_hold_nan
from superd_client.descriptors import Received
from superd_client.schemas import TYPES_KEPT, Schema, adapter_of, changed, make_validator
from superd_client.strictjson import StrictReader, reader_of
from superd_client.wire.envelope import MessageRefused

T = TypeVar("T")

#: Integers beyond these are not proved: a parser may refuse those of many digits (protocol §3.6).
_INTEGER_BOUND: Final = 2**63


class Proof(Generic[T]):
    """Checks values of one type that were written."""

    __slots__ = ("_reader", "_schema", "_validator")

    def __init__(self, reader: StrictReader[T], schema: Any) -> None:
        """`reader` reads what is written by `schema`, the core schema of the type."""
        self._reader: Final = reader
        self._schema: Schema | None = schema if is_plain(schema) and not may_hold_nan(schema) else None
        #: Made when there is something to prove: a client never has.
        self._validator: SchemaValidator | None = None

    def holds(self, value: T) -> bool:
        """Whether `value` is sure to be written as what reads as valid: no more needs to be looked at then."""
        if self._schema is None:
            return False
        try:
            self._prover(self._schema).validate_python(value, strict=True)
        except ValidationError:
            return False  # a subclass of the type, perhaps
        return True

    def check(self, value: T, body: bytes, received: Received | None) -> None:
        """Raise ValueError unless `value`, written as `body`, reads as valid, with its descriptors."""
        if self.holds(value):
            return
        try:
            self._reader.read(body, received)
        except MessageRefused as refused:  # an integer of too many digits, NaN
            raise ValueError(refused.error.message) from None

    def _prover(self, schema: Schema) -> SchemaValidator:
        if self._validator is None:
            self._validator = make_validator(changed(schema, _look_inside))
        return self._validator


def _look_inside(schema: Schema) -> Schema:
    kind = schema.get("type")
    if kind == "model":
        return {**schema, "revalidate_instances": "always"}
    if kind == "int":
        least, most = schema.get("gt", -_INTEGER_BOUND), schema.get("lt", _INTEGER_BOUND)
        return {**schema, "gt": max(least, -_INTEGER_BOUND), "lt": min(most, _INTEGER_BOUND)}
    return schema


def proof_of(source: Any) -> Proof[Any]:
    """The proof of a type, one for all contracts that name the same class."""
    return _proof_of_class(source) if isinstance(source, type) else _proof(source)


def _proof(source: Any) -> Proof[Any]:
    return Proof(reader_of(source), adapter_of(source).core_schema)


_proof_of_class: Final = functools.lru_cache(TYPES_KEPT)(_proof)
