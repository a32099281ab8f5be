"""JSON Schema as people write types: `inventory.lookup(sku: string, quantity: integer = 1) -> Item`."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from superd.ctl.console import compact_json
from superd.ctl.interface import SCHEMAS, Descriptor, Interface, MethodInfo, Schema

#: Keywords that bound a value, and how to say so.
_BOUNDS: Final[Mapping[str, str]] = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "pattern": "matches {}",
    "format": "{}",
}

#: Keywords that bound a length, and what is counted.
_LENGTHS: Final = (("minLength", "maxLength", "character"), ("minItems", "maxItems", "item"))


class Signatures:
    """Writes the types of one interface."""

    def __init__(self, interface: Interface) -> None:
        """Look names up in `interface`."""
        self._interface = interface

    def method(self, method: MethodInfo) -> str:
        """The method as one line."""
        params = ", ".join(map(self._param, method.params))
        result = self.type_of(method.result.json_schema)
        if method.kind == "stream":
            return f"{method.name}({params}) -> stream of {self.type_of(method.item)}"
        if method.kind == "upload":
            return f"{method.name}({params}) <- stream of {self.type_of(method.item)} -> {result}"
        return f"{method.name}({params}) -> {result}"

    def _param(self, param: Descriptor) -> str:
        text = f"{param.name}: {self.type_of(param.json_schema)}"
        return text if param.required else f"{text} = {default_of(param.json_schema) or '...'}"

    def type_of(self, schema: object) -> str:
        """The type that `schema` admits, without its bounds."""
        if schema is False:
            return "nothing"
        if not isinstance(schema, dict):
            return "any"
        return next(
            (write(schema[keyword]) for keyword, write in self._writers() if keyword in schema), ""
        ) or (self._by_type(schema))

    def _writers(self) -> Iterable[tuple[str, Callable[[Any], str]]]:
        """Keywords by how much they say; the first that is there decides."""
        return (
            ("x-superd-type", str),
            ("$ref", lambda reference: self._name(str(reference))),
            ("const", compact_json),
            ("enum", lambda values: _join(map(compact_json, _list(values)), " | ")),
            ("allOf", lambda parts: _join(map(self.type_of, _list(parts)), " & ")),
            ("anyOf", lambda parts: _join(map(self.type_of, _list(parts)), " | ")),
            ("oneOf", lambda parts: _join(map(self.type_of, _list(parts)), " | ")),
        )

    def _by_type(self, schema: dict[str, Any]) -> str:
        kind = schema.get("type", "any")
        if isinstance(kind, list):
            return _join(map(str, kind), " | ")
        if kind == "array":
            return self._array(schema.get("items", True))
        follow = schema.get("additionalProperties")
        if kind == "object" and isinstance(follow, dict) and not schema.get("properties"):
            return f"map[{self.type_of(follow)}]"
        return str(kind)

    def _array(self, items: object) -> str:
        if isinstance(items, list):
            return f"[{', '.join(map(self.type_of, items))}]"
        return f"array[{self.type_of(items)}]" if isinstance(items, dict) else "array"

    def _name(self, reference: str) -> str:
        """A shared schema goes by its title, unless it is short itself."""
        key = reference.removeprefix(SCHEMAS)
        schema = self._interface.schemas.get(key)
        if not isinstance(schema, dict):
            return key
        if not schema or "enum" in schema:
            return self.type_of(schema)
        title = schema.get("title")
        return title if isinstance(title, str) and title else key

    def bounds(self, schema: object) -> list[str]:
        """What `schema` asks for beside the type, in words."""
        if not isinstance(schema, dict) or "x-superd-type" in schema:
            return []
        said = [_length(schema.get(least), schema.get(most), unit) for least, most, unit in _LENGTHS]
        said += [text.format(schema[keyword]) for keyword, text in _BOUNDS.items() if keyword in schema]
        options = [option for option in _list(schema.get("anyOf")) if option != {"type": "null"}]
        return list(filter(None, said)) + (self.bounds(options[0]) if len(options) == 1 else [])

    def fields(self, schema: Schema) -> list[Descriptor]:
        """The members of an object, or of the object that `schema` refers to."""
        found = self._resolve(schema)
        required = _list(found.get("required"))
        members = found.get("properties")
        return [
            Descriptor(name=name, description=_description(member), required=name in required, schema=member)
            for name, member in (members.items() if isinstance(members, dict) else ())
        ]

    def description(self, schema: Schema) -> str:
        """What `schema` says of itself."""
        return _description(self._resolve(schema))

    def _resolve(self, schema: Schema) -> dict[str, Any]:
        """Follow one reference."""
        if isinstance(schema, dict) and "$ref" in schema:
            schema = self._interface.schemas.get(str(schema["$ref"]).removeprefix(SCHEMAS), True)
        return schema if isinstance(schema, dict) else {}


def default_of(schema: Schema) -> str | None:
    """The default that `schema` names, as JSON."""
    return compact_json(schema["default"]) if isinstance(schema, dict) and "default" in schema else None


def _length(least: object, most: object, unit: str) -> str:
    """How long a text or a list may be; empty where there is no bound."""
    if least is None and most is None:
        return ""
    if least == most:
        return _counted(f"exactly {least}", least, unit)
    if most is None:
        return _counted(f"at least {least}", least, unit)
    return _counted(f"at most {most}" if least is None else f"{least} to {most}", most, unit)


def _counted(text: str, count: object, unit: str) -> str:
    return f"{text} {unit}" if count == 1 else f"{text} {unit}s"


def _join(parts: Iterable[str], separator: str) -> str:
    """The parts without repetitions."""
    return separator.join(dict.fromkeys(parts))


def _list(value: object) -> list[Any]:
    """A keyword's value that should be a list: a server may say anything."""
    return value if isinstance(value, list) else []


def _description(schema: object) -> str:
    text = schema.get("description") if isinstance(schema, dict) else None
    return text if isinstance(text, str) else ""
