"""Contracts as an OpenRPC 1.3.2 document (https://spec.open-rpc.org), the answer to `rpc.discover`.

OpenRPC asks for JSON Schema draft 7, pydantic writes draft 2020-12. Three things differ in what pydantic writes:
where shared schemas stand, fixed-length arrays, and keywords beside `$ref`, which draft 7 ignores.
`as_draft_7` and the `ref_template` take care of them.

OpenRPC knows no streams. The extension `x-superd-kind` says what a method is: "call", "stream" or "upload"; of the latter
two `x-superd-item` is the schema of an item. `x-superd-keyed` says that clients send idempotency keys (protocol §20).

OpenRPC wants one error for each code of a method and has no place for the schema of an error's data. So a method
that declares errors has one entry for -32000, and the extension `x-errors` maps the declared names to schemas.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from typing_extensions import override

from superd.handlers import kind_of
from superd_client.contract import Method
from superd_client.sensitive import SCHEMA_MARKS, SECRETS, is_revealed, revealed
from superd_client.streams import Stream, Upload
from superd_client.wire.errors import ErrorCode

OPENRPC_VERSION: Final = "1.3.2"

Schema: TypeAlias = dict[str, Any]

#: What a schema is for: the name of a method, and "params", "item", "result" or the name of a declared error.
Use: TypeAlias = tuple[str, str]
_Mode: TypeAlias = Literal["validation", "serialization"]

_REF: Final = "#/components/schemas/"


def openrpc_document(methods: Iterable[Method[Any, Any]], *, title: str, version: str) -> dict[str, Any]:
    """Describe `methods`, in the order of their names; schemas that several of them use stand once."""
    known = sorted(methods, key=lambda method: method.name)
    schemas, shared = _generate([use for method in known for use in _uses(method)])
    document: dict[str, Any] = {
        "openrpc": OPENRPC_VERSION,
        "info": {"title": title, "version": version},
        "methods": [_describe(method, schemas, shared) for method in known],
    }
    if shared:
        document["components"] = {"schemas": shared}
    return document


class _Generator(GenerateJsonSchema):
    """Without the titles that pydantic makes of field names: they say nothing that the names do not. Secrets are marked."""

    @override
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    @override
    def default_schema(self, schema: Any) -> JsonSchemaValue:
        """Leave out a default that is a secret: pydantic would show stars, or fails, as 2.10 does."""
        if isinstance(schema.get("default"), SECRETS):
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    @override
    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        described = super().generate_inner(schema)
        is_secret = is_revealed(schema) or described.get("format") == "password"
        return {**described, **SCHEMA_MARKS} if is_secret else described


def _uses(method: Method[Any, Any]) -> Iterable[tuple[Use, _Mode, TypeAdapter[Any]]]:
    """Every type of a method, with the direction in which it travels."""
    yield (method.name, "params"), "validation", TypeAdapter(method.params)
    yield (method.name, "result"), "serialization", TypeAdapter(method.result)
    if isinstance(method, Stream):
        yield (method.name, "item"), "serialization", TypeAdapter(method.item)
    elif isinstance(method, Upload):
        yield (method.name, "item"), "validation", TypeAdapter(method.item)
    for name, model in method.errors.items():
        yield (method.name, name), "serialization", TypeAdapter(model)


def _generate(uses: list[tuple[Use, _Mode, TypeAdapter[Any]]]) -> tuple[dict[Use, Schema], dict[str, Schema]]:
    """The schema for each use, and the shared ones; pydantic keeps apart what differs and bears one name."""
    generator = _Generator(ref_template=_REF + "{model}")
    by_use, shared = generator.generate_definitions(
        [(use, mode, revealed(adapter.core_schema)) for use, mode, adapter in uses]
    )
    return (
        {use: as_draft_7(schema) for (use, _), schema in by_use.items()},
        {name: as_draft_7(shared[name]) for name in sorted(shared)},
    )


def _describe(
    method: Method[Any, Any], schemas: Mapping[Use, Schema], shared: Mapping[str, Schema]
) -> dict[str, Any]:
    params = schemas[method.name, "params"]
    whole = shared.get(params.get("$ref", "").removeprefix(_REF), params)
    described: dict[str, Any] = {"name": method.name}
    if method.summary:
        described["summary"] = method.summary
    if whole.get("description") and whole.get("properties"):
        described["description"] = whole["description"]
    described |= {
        "paramStructure": "by-name",
        "params": _list_params(whole),
        "result": {"name": "result", "schema": schemas[method.name, "result"]},
        "x-params": params,
        "x-idempotent": method.idempotent,
        "x-superd-keyed": method.keyed,
        "x-superd-kind": kind_of(method).value,
    }
    if (method.name, "item") in schemas:
        described["x-superd-item"] = schemas[method.name, "item"]
    if method.errors:
        described["errors"] = [{"code": int(ErrorCode.APPLICATION_ERROR), "message": "application error"}]
        described["x-errors"] = {name: schemas[method.name, name] for name in method.errors}
    return described


def _list_params(whole: Schema) -> list[dict[str, Any]]:
    """A content descriptor for each field, the required ones first, as OpenRPC has it."""
    required = frozenset(whole.get("required", ()))
    descriptors = [
        _param(name, name in required, schema) for name, schema in whole.get("properties", {}).items()
    ]
    return sorted(descriptors, key=lambda descriptor: not descriptor["required"])


def _param(name: str, required: bool, schema: Schema) -> dict[str, Any]:
    """The description moves from the schema to its descriptor; a lone reference needs no wrapping then."""
    rest = {key: value for key, value in schema.items() if key != "description"}
    if rest.keys() == {"allOf"} and len(rest["allOf"]) == 1:
        rest = rest["allOf"][0]
    described = {"description": schema["description"]} if "description" in schema else {}
    return {"name": name, **described, "required": required, "schema": rest}


# --- JSON Schema draft 7 -------------------------------------------------------------------------------------------

#: Keywords whose value is a schema, a list of schemas, or schemas by name. In any other, a "$ref" is only data.
_ONE: Final = frozenset(
    {"items", "additionalItems", "additionalProperties", "propertyNames", "contains", "not"}
)
_MANY: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED: Final = frozenset({"properties", "patternProperties"})


def as_draft_7(schema: Schema) -> Schema:
    """Say in draft 7 what a 2020-12 schema of pydantic says."""
    converted = {keyword: _convert(keyword, value) for keyword, value in schema.items()}
    if "prefixItems" in converted:
        converted = _fixed_array(converted)
    if "$ref" in converted and len(converted) > 1:
        converted = {"allOf": [{"$ref": converted.pop("$ref")}, *converted.pop("allOf", ())], **converted}
    return converted


def _convert(keyword: str, value: Any) -> Any:
    if keyword in _ONE and isinstance(value, dict):
        return as_draft_7(value)
    if keyword in _MANY:
        return [as_draft_7(part) for part in value]
    if keyword in _NAMED:
        return {name: as_draft_7(part) for name, part in value.items()}
    return value


def _fixed_array(schema: Schema) -> Schema:
    """Draft 7 calls prefixItems `items`, and the schema of what follows `additionalItems`."""
    rest = {keyword: value for keyword, value in schema.items() if keyword not in {"prefixItems", "items"}}
    follow = {"additionalItems": schema["items"]} if "items" in schema else {}
    return {**rest, "items": schema["prefixItems"], **follow}
