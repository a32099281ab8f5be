"""Stars over what a server marks as secret, where a person looks: a terminal is seen by others and scrolls back.

What goes to a file or another program is not touched. A server may say anything of its values, also schemas that lead
to themselves: so the steps are counted.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from superd.ctl.interface import SCHEMAS, Interface, MethodInfo, Schema, read_interface
from superd.ctl.session import Session
from superd_client.errors import SuperdError
from superd_client.sensitive import STARS

#: Schemas that are looked at for one value, more than any document of ours takes.
STEPS_MAX: Final = 100_000


def find_method(session: Session, name: str) -> tuple[MethodInfo, Interface] | None:
    """What the server says of a method; None where it says nothing of it."""
    try:
        interface = read_interface(session.document())
    except SuperdError:
        return None
    method = interface.find(name)
    return None if method is None else (method, interface)


def cover(value: Any, schema: Schema | None, interface: Interface) -> Any:
    """`value` with stars in the place of what `schema` marks."""
    return _Cover(interface.schemas).value(value, (schema,))


class _Cover:
    def __init__(self, shared: Mapping[str, Schema]) -> None:
        self._shared: Final = shared
        self._steps = 0

    def value(self, value: Any, schemas: Iterable[object]) -> Any:
        known = list(self._all(schemas))
        if value is not None and any(schema.get("x-sensitive") is True for schema in known):
            return STARS
        if isinstance(value, dict):
            return {name: self.value(part, _of_member(known, name)) for name, part in value.items()}
        if isinstance(value, list):
            return [self.value(part, _of_item(known, number)) for number, part in enumerate(value)]
        return value

    def _all(self, schemas: Iterable[object]) -> Iterator[dict[str, Any]]:
        """The schemas, those that they refer to, and those that they are made of."""
        waiting = list(schemas)
        seen: set[str] = set()
        while waiting:
            schema = waiting.pop()
            self._steps += 1
            if self._steps > STEPS_MAX:
                yield {"x-sensitive": True}
                return
            if not isinstance(schema, dict):
                continue
            yield schema
            name = str(schema.get("$ref", "")).removeprefix(SCHEMAS)
            if name in self._shared and name not in seen:
                seen.add(name)
                waiting.append(self._shared[name])
            for keyword in ("allOf", "anyOf", "oneOf"):
                parts = schema.get(keyword)
                waiting.extend(parts if isinstance(parts, list) else ())


def _of_member(schemas: Iterable[dict[str, Any]], name: str) -> Iterator[object]:
    for schema in schemas:
        members = schema.get("properties")
        known = isinstance(members, dict) and name in members
        yield members[name] if known and isinstance(members, dict) else schema.get("additionalProperties")


def _of_item(schemas: Iterable[dict[str, Any]], number: int) -> Iterator[object]:
    for schema in schemas:
        items = schema.get("items")
        if isinstance(items, list):
            yield items[number] if number < len(items) else schema.get("additionalItems")
        else:
            yield items
