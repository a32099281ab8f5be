"""Core schemas of pydantic (pydantic_core.core_schema), changed before validators and serializers are made of them.

A core schema is a tree of dictionaries that is made for each type, and pydantic-core makes its machines of it. Both are
public; that a nested model's own machine is put in the place of what its schema says is an optimisation that has to be
switched off then.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias, TypeVar

from pydantic_core import SchemaSerializer, SchemaValidator

Schema: TypeAlias = dict[str, Any]

#: Keys whose value is no schema, whatever it looks like.
_DATA: Final = frozenset({"metadata", "default", "expected", "members", "json_schema_input_schema"})

#: Keys that may hold schemas by names, which may be anything.
_NAMED: Final = frozenset({"fields", "choices"})

#: The types of schemas in whose place pydantic-core puts the machine of their class, once that is complete.
_PREBUILT: Final = frozenset({"model", "dataclass"})
_COMPLETE: Final = "__pydantic_complete__"

T = TypeVar("T")


def parts_of(schema: object) -> Iterator[Schema]:
    """Every schema in `schema`, itself among them, the outer ones first."""
    if isinstance(schema, dict):
        yield schema
        for key, part in schema.items():
            if key in _NAMED and isinstance(part, dict):
                for named in part.values():
                    yield from parts_of(named)
            elif key not in _DATA:
                yield from parts_of(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            yield from parts_of(part)


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
