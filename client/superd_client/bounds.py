"""What a type's core schema says of all its values as JSON: how deep they nest, which numbers and which types they hold.

To look for that in a text costs more than to read it, so it is done only for types that do not rule it out.
"""

from math import inf
from typing import Final

from superd_client.schemas import Schema, inner

#: Schemas whose values are JSON's arrays and objects.
_NESTING: Final = frozenset(
    {"list", "tuple", "set", "frozenset", "deque", "dict", "model-fields", "typed-dict", "dataclass-args"}
)

#: Schemas whose values are neither, those whose values are what an inner one says, and what else stands in a schema:
#: functions, and configurations, which have no type.
_FLAT: Final = frozenset(
    {
        "none",
        "bool",
        "int",
        "float",
        "decimal",
        "str",
        "bytes",
        "date",
        "time",
        "datetime",
        "timedelta",
        "uuid",
        "literal",
    }
)
_OUTER: Final = frozenset(
    {
        "nullable",
        "default",
        "union",
        "tagged-union",
        "definitions",
        "model",
        "dataclass",
        "model-field",
        "typed-dict-field",
        "dataclass-field",
        "function-before",
        "function-after",
        "function-wrap",
        "custom-error",
    }
)
_BESIDE: Final = frozenset({"no-info", "with-info", None})
_KNOWN: Final = _NESTING | _FLAT | _OUTER | _BESIDE

#: Schemas that bring a configuration of their own; where that says nothing, pydantic's defaults hold.
_CONFIGURED: Final = frozenset({"model", "dataclass", "typed-dict", "arguments", "named-tuple"})

#: Kinds that let any number through.
_UNBOUNDED: Final = frozenset({"any", "function-plain"})

#: Schemas of JSON's own types, of which nothing more has to be known.
_PLAIN: Final = frozenset(
    {
        "str",
        "int",
        "float",
        "bool",
        "none",
        "nullable",
        "default",
        "list",
        "dict",
        "model",
        "model-fields",
        "model-field",
        "definitions",
        "definition-ref",
    }
)

#: Those beside them that make no difference to how a value is written.
VALIDATORS: Final = frozenset({"function-before", "function-after", "function-wrap", "no-info", "with-info"})

#: What a member of a model may have beside its schema: no other name, and no condition on which it is written.
_MEMBER: Final = frozenset({"type", "schema", "metadata", "frozen"})

#: What makes more of a value than its schema says, or something else.
_HOOKS: Final = ("custom_init", "post_init", "root_model", "serialization", "computed_fields")


def nesting_max(schema: Schema) -> float:
    """How deep arrays and objects nest in the JSON of a value at most; infinity where the schema does not say."""
    return _depth(schema, _definitions(schema), {})


def may_hold_nan(schema: Schema, bounded: bool = False) -> bool:
    """Whether a value read by this schema may hold NaN or Infinity; `bounded` is what the configuration around it says."""
    kind = schema.get("type")
    if kind in _CONFIGURED or "config" in schema:
        bounded = (schema.get("config") or {}).get("allow_inf_nan") is False
    if kind in _UNBOUNDED or (kind == "float" and schema.get("allow_inf_nan", not bounded)):
        return True
    return any(may_hold_nan(part, bounded) for part in inner(schema))


def is_plain(schema: Schema, also: frozenset[str] = frozenset()) -> bool:
    """Whether all parts of a value are JSON's own types and models of them, or of a schema that `also` names."""
    kind = schema.get("type")
    if _takes_more(schema) or any(schema.get(name) for name in _HOOKS):
        return False
    if kind == "literal":
        return all(type(value) is str for value in schema["expected"])
    if kind == "model-field" and not schema.keys() <= _MEMBER:
        return False
    if kind in {"list", "dict"} and not _says_of_what(schema):
        return False
    known = kind in _PLAIN or kind in also
    return known and all(is_plain(part, also) for part in inner(schema) if "type" in part)


def _says_of_what(schema: Schema) -> bool:
    if schema["type"] == "list":
        return "items_schema" in schema
    return schema.get("keys_schema") == {"type": "str"} and "values_schema" in schema


def _definitions(schema: Schema) -> dict[str, Schema]:
    found = {schema["ref"]: schema} if isinstance(schema.get("ref"), str) else {}
    for part in inner(schema):
        found |= _definitions(part)
    return found


def _depth(schema: Schema, definitions: dict[str, Schema], known: dict[str, float]) -> float:
    """`known` is how deep each definition is: infinitely, while that is being found out, since it then holds itself."""
    kind = schema.get("type")
    if kind == "definition-ref":
        ref = schema["schema_ref"]
        if ref not in known:
            known[ref] = inf
            known[ref] = _depth(definitions[ref], definitions, known) if ref in definitions else inf
        return known[ref]
    if kind not in _KNOWN or "serialization" in schema or _takes_more(schema):
        return inf
    within = max((_depth(part, definitions, known) for part in inner(schema)), default=0)
    return within + (kind in _NESTING)


def _takes_more(schema: Schema) -> bool:
    """Whether members may be there that the schema does not name."""
    behaviour = schema.get("extra_behavior") or (schema.get("config") or {}).get("extra_fields_behavior")
    return behaviour == "allow"
