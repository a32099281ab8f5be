"""Core schemas of pydantic (pydantic_core.core_schema), changed before validators and serializers are made of them.

A core schema is a tree of dictionaries that is made for each type, and pydantic-core makes its machines of it. Both are
public; that a nested model's own machine is put in the place of what its schema says is an optimisation that has to be
switched off then.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias, TypeVar

from pydantic import TypeAdapter
from pydantic_core import SchemaSerializer, SchemaValidator

Schema: TypeAlias = dict[str, Any]

#: Keys whose value is no schema, whatever it looks like.
_DATA: Final = frozenset({"metadata", "default", "expected", "members", "json_schema_input_schema"})

#: Keys that may hold schemas by names, which may be anything.
_NAMED: Final = frozenset({"fields", "choices"})

#: The types of schemas in whose place pydantic-core puts the machine of their class, once that is complete.
_PREBUILT: Final = frozenset({"model", "dataclass"})
_COMPLETE: Final = "__pydantic_complete__"

#: Classes of which is kept what reads and writes them, for the next contract that names them. More are no fault, and cost
#: their time again.
TYPES_KEPT: Final = 1024

T = TypeVar("T")


def adapter_of(source: Any) -> TypeAdapter[Any]:
    """The adapter of a type, one for all that read and write it; raises what pydantic does for one that makes no sense.

    Types that are no classes have one each: `A | B` is equal to `B | A`, and not the same.
    """
    return _adapter_of_class(source) if isinstance(source, type) else _checked_adapter(source)


def _checked_adapter(source: Any) -> TypeAdapter[Any]:
    adapter: TypeAdapter[Any] = TypeAdapter(source)
    _ = adapter.validator.validate_json  # raises for a model of which a part is not defined yet
    return adapter


_adapter_of_class: Final = functools.lru_cache(TYPES_KEPT)(_checked_adapter)


def parts_of(schema: object) -> list[Schema]:
    """Every schema in `schema`, itself among them, the outer ones first."""
    found: list[Schema] = []
    level = [schema]
    while level:
        below: list[object] = []
        for part in level:
            if isinstance(part, dict):
                found.append(part)
                for key, value in part.items():
                    if key in _NAMED and isinstance(value, dict):
                        below.extend(value.values())
                    elif key not in _DATA and isinstance(value, dict | list | tuple):
                        below.append(value)
            elif isinstance(part, list | tuple):
                below.extend(part)
        level = below
    return found


def inner(schema: Schema) -> Iterator[Schema]:
    """The schemas that stand directly in `schema`, and what else is a dictionary there: it has another `type`, or none."""
    for key, part in schema.items():
        if key in _NAMED and isinstance(part, dict):
            yield from _schemas(list(part.values()))
        elif key not in _DATA:
            yield from _schemas(part)


def _schemas(part: object) -> Iterator[Schema]:
    if isinstance(part, dict):
        yield part
    elif isinstance(part, list | tuple):
        for each in part:
            yield from _schemas(each)


def changed(schema: Any, change: Callable[[Schema], Schema]) -> Any:
    """A copy of `schema` in which each schema is what `change` makes of it, the inner ones first."""
    if isinstance(schema, dict):
        copy: Schema = {}
        for key, part in schema.items():
            if key in _NAMED and isinstance(part, dict):
                copy[key] = {name: changed(named, change) for name, named in part.items()}
            else:
                copy[key] = part if key in _DATA else changed(part, change)
        return change(copy)
    if isinstance(schema, list | tuple):
        return type(schema)(changed(part, change) for part in schema)
    return schema


def make_validator(schema: Schema) -> SchemaValidator:
    """A validator of exactly this schema."""
    return _build(SchemaValidator, schema)


def make_serializer(schema: Schema) -> SchemaSerializer:
    """A serializer of exactly this schema."""
    return _build(SchemaSerializer, schema)


def _build(kind: Callable[..., T], schema: Schema) -> T:
    try:
        return kind(schema, None, _use_prebuilt=False)
    except TypeError:  # pydantic before 2.13
        with _incomplete(schema):
            return kind(schema)


@contextmanager
def _incomplete(schema: Schema) -> Iterator[None]:
    """Let the classes in `schema` look as while they are made: then pydantic-core does not use what they have."""
    classes = {part["cls"] for part in parts_of(schema) if part.get("type") in _PREBUILT}
    complete = [cls for cls in classes if vars(cls).get(_COMPLETE)]
    try:
        for cls in complete:
            setattr(cls, _COMPLETE, False)
        yield
    finally:
        for cls in complete:
            setattr(cls, _COMPLETE, True)
