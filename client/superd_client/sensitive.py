"""Secrets in messages: they travel as they are, and whoever shows a message sees stars.

pydantic's SecretStr, SecretBytes and Secret[T] write stars into JSON, which would then be what the other side gets. In
a contract the real value is written, and only there. `Sensitive` marks a field whose value is a plain one.
"""

import dataclasses
import functools
import typing
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Annotated, Any, Final, get_args, get_origin

import pydantic
from pydantic import BaseModel, GetJsonSchemaHandler, Secret, SecretBytes, SecretStr, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, to_jsonable_python
from typing_extensions import override

from superd_client.schemas import TYPES_KEPT, Schema, adapter_of, changed, make_serializer, parts_of

#: What is shown in the place of a secret, as pydantic shows it.
STARS: Final = "**********"

#: Shortest text that is masked where it turns up: a shorter one is no secret, and stands in many words.
MASKED_MIN: Final = 4

#: What a JSON schema says of a secret: `writeOnly` is JSON Schema's own word.
SCHEMA_MARKS: Final[Mapping[str, bool]] = {"writeOnly": True, "x-sensitive": True}

#: pydantic's secret types.
SECRETS: Final = (SecretStr, SecretBytes, Secret)


class Sensitive:
    """Marks a field of a Message: `token: Annotated[str, Sensitive()]`. Its value is plain, and shown as stars."""

    __slots__ = ()

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Say so to whoever reads the contract."""
        return {**handler(schema), **SCHEMA_MARKS}

    @override
    def __repr__(self) -> str:
        return "Sensitive()"


class Discreet(BaseModel):
    """A model that shows stars for its sensitive fields, in repr, str and whatever is built on them."""

    @override
    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        hidden = sensitive_fields(type(self))
        shown = super().__repr_args__()
        return ((name, STARS if name in hidden else value) for name, value in shown) if hidden else shown


@functools.lru_cache(maxsize=1024)
def sensitive_fields(model: type[BaseModel]) -> frozenset[str]:
    """The names of the fields that are marked, or hold something that is, outside of other models."""
    return frozenset(
        name
        for name, field in model.model_fields.items()
        if any(map(_is_mark, field.metadata)) or _is_marked(field.annotation)
    )


def _is_mark(part: object) -> bool:
    return isinstance(part, Sensitive) or part is Sensitive


def _is_marked(annotation: Any) -> bool:
    """Whether a type says Sensitive anywhere."""
    if get_origin(annotation) is Annotated and any(map(_is_mark, annotation.__metadata__)):
        return True
    alias = getattr(annotation, "__value__", None)  # of `type X = ...`
    return (alias is not None and _is_marked(alias)) or any(map(_is_marked, get_args(annotation)))


# --- contracts -----------------------------------------------------------------------------------------------------


def holds_secrets(source: Any) -> bool:
    """Whether a value of the type `source` may hold a secret; raises TypeError for a mark that would show nothing."""
    return _class_holds_secrets(source) if isinstance(source, type) else _look_for_secrets(source)


def _look_for_secrets(source: Any) -> bool:
    parts = parts_of(adapter_of(source).core_schema)
    found = any(map(_is_secret, parts)) or _is_marked(source)
    for part in parts:
        model = part.get("cls")
        if part.get("type") not in {"model", "dataclass", "typed-dict"} or not isinstance(model, type):
            continue
        if issubclass(model, Discreet):
            found = found or bool(sensitive_fields(model))
        elif any(map(_is_marked, _annotations(model))):
            message = f"{model.__name__}: Sensitive marks fields of a superd_client.Message; elsewhere use SecretStr"
            raise TypeError(message)
    return found


_class_holds_secrets: Final = functools.lru_cache(TYPES_KEPT)(_look_for_secrets)


def _annotations(model: type) -> Iterable[Any]:
    try:
        return typing.get_type_hints(model, include_extras=True).values()
    except NameError:  # names of a function's body, which pydantic finds by other ways
        return getattr(model, "__annotations__", {}).values()


def holds_secret_types(schema: object) -> bool:
    """Whether pydantic's secret types are in a core schema."""
    return any(map(_is_secret, parts_of(schema)))


def revealed(schema: Any) -> Any:
    """The core schema of the same values whose secrets are written as they are."""
    return changed(schema, functools.partial(_reveal, masks=_masks()))


def _is_secret(schema: Schema) -> bool:
    code = _serializing_code(schema)
    return code is not None and code in _masks()


def _serializing_code(schema: Schema) -> Any:
    """That of the function by which this part is serialized. pydantic 2.10 makes the function anew for each schema."""
    serialization = schema.get("serialization")
    return (
        getattr(serialization.get("function"), "__code__", None) if isinstance(serialization, dict) else None
    )


def _reveal(schema: Schema, masks: frozenset[Any]) -> Schema:
    if _serializing_code(schema) not in masks:
        return schema
    serialization = {**schema["serialization"], "function": _secret_value}
    if "json_schema" in schema:  # validated as what it holds, of which a secret is made afterwards
        serialization["return_schema"] = schema["json_schema"]["schema"]
    metadata = {**schema.get("metadata", {}), "superd_sensitive": True}
    return {**schema, "serialization": serialization, "metadata": metadata}


def is_revealed(schema: Any) -> bool:
    """Whether this is one of the secrets that `revealed` changed."""
    return isinstance(schema, dict) and "superd_sensitive" in schema.get("metadata", {})


def _secret_value(secret: Any, _info: object) -> Any:
    return secret.get_secret_value()


@functools.cache
def _masks() -> frozenset[Any]:
    """The code that serializes pydantic's secret types. Looked up for the first type that has a serializer of its own."""
    masks = frozenset(_masking_code())
    _check_revealing(masks)
    return masks


def _masking_code() -> Iterator[Any]:
    kinds: tuple[Any, ...] = (SecretStr, SecretBytes, Secret[str])
    for kind in kinds:
        codes = map(_serializing_code, parts_of(TypeAdapter(kind).core_schema))
        yield from (code for code in codes if code is not None)


def _check_revealing(masks: frozenset[Any]) -> None:
    """A release of pydantic in which this does not work must not send stars in the place of secrets."""
    kinds: tuple[Any, ...] = (SecretStr, SecretBytes, Secret[str])
    for kind in kinds:
        schema = changed(TypeAdapter(kind).core_schema, functools.partial(_reveal, masks=masks))
        value = b"x" if kind is SecretBytes else "x"
        if make_serializer(schema).to_json(kind(value)) != b'"x"':
            message = f"this release of pydantic has another {kind.__name__} than superd-client knows"
            raise ImportError(message)


#: The latest release of pydantic in which the tests have seen that a type with secrets is known for one. It makes a start
#: 8 ms longer to look, which a later release has to bear.
_RELEASE_SEEN: Final = (2, 14)

if tuple(map(int, pydantic.VERSION.split(".")[:2])) > _RELEASE_SEEN:
    _masks()


# --- values --------------------------------------------------------------------------------------------------------


def redacted(model: BaseModel) -> dict[str, Any]:
    """The JSON data of a model, with stars for its secrets."""
    data: dict[str, Any] = model.model_dump(mode="json", by_alias=True)
    _cover(model, data)
    return data


def _cover(value: object, data: Any) -> None:
    """Put stars over the sensitive fields in `data`, which is the JSON data of `value`."""
    if isinstance(value, BaseModel) and isinstance(data, dict):
        hidden = sensitive_fields(type(value))
        for name, field in type(value).model_fields.items():
            key = field.serialization_alias or name
            if key in data and name in hidden:
                data[key] = STARS
            elif key in data:
                _cover(getattr(value, name, None), data[key])
    elif isinstance(value, Mapping) and isinstance(data, dict):
        for part, shown in zip(value.values(), data.values(), strict=False):
            _cover(part, shown)
    elif isinstance(value, list | tuple) and isinstance(data, list):
        for part, shown in zip(value, data, strict=False):
            _cover(part, shown)


def secret_texts(value: object) -> frozenset[str]:
    """What would give the secrets in `value` away if it turned up in a text."""
    texts = {text for text in _texts(value, hidden=False) if len(text) >= MASKED_MIN}
    return frozenset(texts | {repr(text)[1:-1] for text in texts})


def _texts(value: object, *, hidden: bool) -> Iterator[str]:
    parts = _members(value)
    if parts is not None:
        for part, is_secret in parts:
            yield from _texts(part, hidden=hidden or is_secret)
    elif hidden and isinstance(value, bytes):
        yield value.decode("utf-8", "backslashreplace")
    elif hidden and value is not None and not isinstance(value, bool):
        yield str(value)
        yield str(to_jsonable_python(value, fallback=str))


def _members(value: object) -> Iterable[tuple[object, bool]] | None:
    """What a value holds, and whether that is secret; None for one that holds nothing."""
    if isinstance(value, SECRETS):
        return [(value.get_secret_value(), True)]
    if isinstance(value, BaseModel):
        marked = sensitive_fields(type(value))
        return [(part, name in marked) for name, part in value]
    if dataclasses.is_dataclass(value):
        return [(getattr(value, field.name, None), False) for field in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        return [(part, False) for pair in value.items() for part in pair]
    if isinstance(value, list | tuple | AbstractSet):
        return [(part, False) for part in value]
    return None


def mask(text: str, secrets: Iterable[str]) -> str:
    """`text` with stars in the place of `secrets`."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, STARS)
    return text
