"""superctl describe: one method in full."""

import argparse
import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from superd.ctl.console import Console, Painted, Style
from superd.ctl.exits import ExitStatus
from superd.ctl.interface import Descriptor, Interface, MethodInfo, Schema, read_interface
from superd.ctl.listing import signature_parts
from superd.ctl.session import Session
from superd.ctl.signature import Signatures, default_of
from superd_client.errors import MethodNotFound


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `describe`."""
    parser.add_argument("method", metavar="METHOD", help="such as echo.echo; superctl list shows them")


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Write the description; raises MethodNotFound."""
    document = session.discover(timeout=getattr(arguments, "timeout", None))
    interface = read_interface(document)
    method = interface.find(arguments.method)
    if method is None:
        names = [each.name for each in interface.methods]
        nearest = difflib.get_close_matches(arguments.method, names, n=3, cutoff=0.5)
        raise MethodNotFound("no such method", data={"nearest": nearest}, method=arguments.method)
    if getattr(arguments, "as_json", False):
        session.streams.out.json(_as_json(method, interface, document))
    else:
        Description(method, interface, session.streams.out).write()
    return ExitStatus.OK


def _as_json(method: MethodInfo, interface: Interface, document: Mapping[str, Any]) -> dict[str, Any]:
    """The method as the server describes it, and the schemas that it refers to."""
    entry = next(each for each in document["methods"] if each["name"] == method.name)
    return {"method": entry, "components": {"schemas": interface.shared_by(*_schemas(method))}}


def _schemas(method: MethodInfo) -> Iterator[Schema]:
    yield from (param.json_schema for param in method.params)
    yield method.result.json_schema
    if method.item is not None:
        yield method.item
    yield from method.errors.values()
    if method.whole_params is not None:
        yield method.whole_params


class Description:
    """Writes one method."""

    def __init__(self, method: MethodInfo, interface: Interface, out: Console) -> None:
        """Write to `out`."""
        self._method = method
        self._interface = interface
        self._types = Signatures(interface)
        self._out = out

    def write(self) -> None:
        """Everything, from the signature to the schemas."""
        method = self._method
        self._out.line(*signature_parts(method.name, self._types.method(method)))
        for text in dict.fromkeys((method.summary, method.description)):
            if text:
                self._out.line("    ", text)
        if method.is_idempotent:
            self._out.line("    ", "Idempotent: carrying it out twice is the same as once.")
        if method.is_keyed:
            self._out.line("    ", "Keyed: calls with the same idempotency key are carried out once.")
        self._write_members("Params", method.params, requirement=True)
        if method.item is not None:
            self._write_object(f"Item {self._types.type_of(method.item)}", method.item)
        if method.kind != "stream":
            self._write_result(method.result.json_schema)
        for name, schema in method.errors.items():
            self._write_object(f"Error {name}", schema)
        self._write_schema()

    def _write_result(self, schema: Schema) -> None:
        self._write_object(f"Result {self._types.type_of(schema)}", schema)

    def _write_object(self, title: str, schema: Schema) -> None:
        self._title(title, self._types.description(schema))
        self._write_rows(self._types.fields(schema), requirement=False)

    def _write_members(self, title: str, members: tuple[Descriptor, ...], *, requirement: bool) -> None:
        self._title(title, "" if members else "none")
        self._write_rows(members, requirement=requirement)

    def _write_rows(self, members: "tuple[Descriptor, ...] | list[Descriptor]", *, requirement: bool) -> None:
        column = max((len(member.name) for member in members), default=0) + 2
        for member in members:
            facts = ", ".join(self._facts(member, requirement=requirement))
            self._out.line("  ", Painted(member.name, Style.NAME), " " * (column - len(member.name)), facts)
            if member.description:
                self._out.line(" " * (column + 2), Painted(member.description, Style.FAINT))

    def _facts(self, member: Descriptor, *, requirement: bool) -> Iterator[str]:
        schema = member.json_schema
        yield self._types.type_of(schema)
        yield from self._types.bounds(schema)
        default = default_of(schema)
        if default is not None:
            yield f"default {default}"
        elif requirement:
            yield "required" if member.required else "optional"

    def _write_schema(self) -> None:
        method = self._method
        params = method.whole_params
        if params is None:
            params = {"properties": {param.name: param.json_schema for param in method.params}}
        self._title("JSON Schema", "")
        schemas: dict[str, Any] = {
            "params": params,
            "result": method.result.json_schema,
            "errors": method.errors,
        }
        if method.item is not None:
            schemas["item"] = method.item
        shared = self._interface.shared_by(*_schemas(method))
        self._out.folded_json({**schemas, "components": {"schemas": shared}})

    def _title(self, title: str, text: str) -> None:
        self._out.line()
        self._out.line(Painted(title, Style.STRONG), f": {text}" if text else "")
