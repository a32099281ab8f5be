"""What a server says that it offers: the OpenRPC document of `rpc.discover`, as far as superctl shows it.

Read leniently: a server of another version, or in another language, may say more and may leave things out.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from superd_client.builtin import discover
from superd_client.errors import InvalidResult
from superd_client.wire.envelope import list_faults

#: A JSON Schema, draft 7.
Schema: TypeAlias = dict[str, Any] | bool

SCHEMAS: Final = "#/components/schemas/"


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Descriptor(_Part):
    """A param, or the result."""

    name: str = ""
    description: str = ""
    required: bool = False
    json_schema: Schema = Field(default=True, alias="schema")


class MethodInfo(_Part):
    """A method."""

    name: str
    summary: str = ""
    description: str = ""
    params: tuple[Descriptor, ...] = ()
    result: Descriptor = Descriptor()
    whole_params: Schema | None = Field(default=None, alias="x-params")
    errors: dict[str, Schema] = Field(default={}, alias="x-errors")
    is_idempotent: bool | None = Field(default=None, alias="x-idempotent")
    is_keyed: bool | None = Field(default=None, alias="x-superd-keyed")
    kind: str = Field(default="call", alias="x-superd-kind")
    item: Schema | None = Field(default=None, alias="x-superd-item")


class _Components(_Part):
    schemas: dict[str, Schema] = {}


class Interface(_Part):
    """All methods, and the schemas that they share."""

    methods: tuple[MethodInfo, ...]
    components: _Components = _Components()

    @property
    def schemas(self) -> Mapping[str, Schema]:
        """The shared schemas by name."""
        return self.components.schemas

    def find(self, name: str) -> MethodInfo | None:
        """The method of that name."""
        return next((method for method in self.methods if method.name == name), None)

    def shared_by(self, *schemas: Schema) -> dict[str, Schema]:
        """The shared schemas that `schemas` refer to, directly or not."""
        found: dict[str, Schema] = {}
        waiting: list[object] = list(schemas)
        while waiting:
            for name in _references(waiting.pop()):
                if name in self.schemas and name not in found:
                    found[name] = self.schemas[name]
                    waiting.append(found[name])
        return dict(sorted(found.items()))


def read_interface(document: Mapping[str, Any]) -> Interface:
    """Read an OpenRPC document; raises InvalidResult where it makes no sense."""
    try:
        return Interface.model_validate(document)
    except ValidationError as error:
        raise InvalidResult(
            "not an OpenRPC document", data=list_faults(error), method=discover.name
        ) from None


def _references(schema: object) -> Iterator[str]:
    """The names in every `$ref`, at any depth."""
    if isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith(SCHEMAS):
            yield reference.removeprefix(SCHEMAS)
        yield from _inside(schema.values())
    elif isinstance(schema, list):
        yield from _inside(schema)


def _inside(parts: Iterable[object]) -> Iterator[str]:
    for part in parts:
        yield from _references(part)
