"""The document that rpc.discover answers, judged by others: `openrpc` (its shape), `jsonschema` (its schemas)."""

import datetime as dt
import enum
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel, Field, create_model

from superd.openrpc import as_draft_7, openrpc_document
from superd_client import Blob, Fd, builtin
from superd_client.contract import Message, Method


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Place(Message):
    """Where a thing lies."""

    shelf: int = Field(ge=1, le=99, description="Counted from the door.")
    since: dt.date | None = None


class Find(Message):
    """What to look for."""

    limit: int = Field(default=10, ge=1, description="At most so many.")
    name: str = Field(min_length=1, max_length=64, pattern="^[a-z]+$", description="What it is called.")
    colour: Colour = Field(default=Colour.RED, description="Its colour.")
    near: Place = Field(description="Where to look first.")
    box: tuple[int, str] = (1, "a")
    kind: str = Field(default="any", alias="type")


class Tree(Message):
    """A model that holds itself."""

    label: str
    children: tuple["Tree", ...] = ()


class Lost(Message):
    """It is gone."""

    last_seen: Place


class Locked(Message):
    """It is there, and may not be touched."""

    until: str


find = Method("store.find", Find, Tree, errors=[Lost, Locked], summary="Look for a thing.")
grow = Method("store.grow", Tree, list[Place], idempotent=True)
count = Method("store.count", builtin.Nothing, int)
METHODS = (find, grow, count, builtin.echo, builtin.status, builtin.discover)


@pytest.fixture(scope="module", name="document")
def fixture_document() -> dict[str, Any]:
    return openrpc_document(METHODS, title="a store", version="1.2.3")


def method(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in document["methods"] if each["name"] == name)
    return found


def validator(document: dict[str, Any], schema: dict[str, Any]) -> jsonschema.Draft7Validator:
    """A draft-7 judge for one schema of the document."""
    return jsonschema.Draft7Validator({**schema, "components": document["components"]})


def all_schemas(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from document["components"]["schemas"].values()
    for each in document["methods"]:
        yield from (descriptor["schema"] for descriptor in each["params"])
        yield each["result"]["schema"]
        yield each["x-params"]
        yield from each.get("x-errors", {}).values()


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def test_an_independent_implementation_reads_it() -> None:
    """Of methods without fixed-length arrays: its schemas are 2020-12, where draft 7 and that differ."""
    openrpc = pytest.importorskip("openrpc", reason="needs openrpc, which needs pydantic 2.11.7 or later")
    methods: list[Method[Any, Any]] = [
        Method("store.take", Place, Tree, errors=[Lost, Locked]),
        builtin.status,
        builtin.discover,
    ]
    read = openrpc.OpenRPC.model_validate(openrpc_document(methods, title="a store", version="1.2.3"))
    assert (read.openrpc, read.info.title, read.info.version) == ("1.3.2", "a store", "1.2.3")
    assert [each.name for each in read.methods] == ["rpc.discover", "store.take", "superd.status"]
    take = read.methods[1]
    assert [(each.name, each.required) for each in take.params] == [("shelf", True), ("since", False)]
    assert take.param_structure is openrpc.ParamStructure.BY_NAME
    assert take.params[0].schema_.maximum == 99
    assert [each.code for each in take.errors] == [-32000]
    assert set(read.components.schemas) >= {"Place", "Lost", "Locked", "Status"}


def test_only_members_that_the_specification_has(document: dict[str, Any]) -> None:
    assert document.keys() == {"openrpc", "info", "methods", "components"}
    assert document["info"] == {"title": "a store", "version": "1.2.3"}
    known = {"name", "summary", "description", "paramStructure", "params", "result", "errors"}
    for each in document["methods"]:
        assert all(member in known or member.startswith("x-") for member in each)
        assert each.keys() >= {"name", "params", "result"}
        for descriptor in (*each["params"], each["result"]):
            assert descriptor.keys() <= {"name", "description", "required", "schema"}
        for error in each.get("errors", ()):
            assert error.keys() == {"code", "message"}


def test_names_and_error_codes_are_unique_and_required_params_come_first(document: dict[str, Any]) -> None:
    names = [each["name"] for each in document["methods"]]
    assert len(names) == len(set(names))
    for each in document["methods"]:
        params = [descriptor["name"] for descriptor in each["params"]]
        assert len(params) == len(set(params))
        required = [descriptor["required"] for descriptor in each["params"]]
        assert required == sorted(required, reverse=True)
        codes = [error["code"] for error in each.get("errors", ())]
        assert len(codes) == len(set(codes))


def test_every_schema_is_draft_7_and_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for schema in all_schemas(document):
        jsonschema.Draft7Validator.check_schema(schema)
    schemas = document["components"]["schemas"]
    found = list(references(document))
    assert found
    for reference in found:
        assert reference.removeprefix("#/components/schemas/") in schemas


GOOD: list[dict[str, Any]] = [
    {"name": "axe", "near": {"shelf": 1}},
    {"name": "axe", "near": {"shelf": 99, "since": "2024-02-29"}, "limit": 1, "colour": "green"},
    {"name": "a" * 64, "near": {"shelf": 2, "since": None}, "box": [7, "b"], "type": "tool"},
]
BAD: list[dict[str, Any]] = [
    {"name": "axe"},
    {"name": "axe", "near": {"shelf": 0}},
    {"name": "axe", "near": {"shelf": "1"}},
    {"name": "axe", "near": {"shelf": 1, "row": 2}},
    {"name": "", "near": {"shelf": 1}},
    {"name": "a" * 65, "near": {"shelf": 1}},
    {"name": "AXE", "near": {"shelf": 1}},
    {"name": "axe", "near": {"shelf": 1}, "limit": 0},
    {"name": "axe", "near": {"shelf": 1}, "colour": "blue"},
    {"name": "axe", "near": {"shelf": 1}, "box": [7]},
    {"name": "axe", "near": {"shelf": 1}, "box": ["b", 7]},
    {"name": "axe", "near": {"shelf": 1}, "box": [7, "b", 8]},
    {"name": "axe", "near": {"shelf": 1}, "kind": "tool"},
    {"name": "axe", "near": {"shelf": 1}, "unknown": 1},
]


@pytest.mark.parametrize("params", GOOD + BAD)
def test_the_schema_of_params_judges_as_the_model_does(
    document: dict[str, Any], params: dict[str, Any]
) -> None:
    judge = validator(document, method(document, "store.find")["x-params"])
    assert judge.is_valid(params) is (params in GOOD)
    if params in GOOD:
        find.read_params(json.dumps(params).encode())
    else:
        with pytest.raises(ValueError, match="validation error"):
            find.read_params(json.dumps(params).encode())


def test_results_and_errors_are_described_as_they_travel(document: dict[str, Any]) -> None:
    described = method(document, "store.find")
    tree = validator(document, described["result"]["schema"])
    assert tree.is_valid({"label": "a", "children": [{"label": "b", "children": []}]})
    assert not tree.is_valid({"label": "a", "children": [{"label": 1, "children": []}]})
    assert described["x-errors"].keys() == {"Lost", "Locked"}
    lost = validator(document, described["x-errors"]["Lost"])
    assert lost.is_valid({"last_seen": {"shelf": 1, "since": None}})
    assert not lost.is_valid({"until": "noon"})
    assert validator(document, method(document, "store.count")["result"]["schema"]).is_valid(3)


def test_what_people_read(document: dict[str, Any]) -> None:
    described = method(document, "store.find")
    assert described["summary"] == "Look for a thing."
    assert described["description"] == "What to look for."
    by_name = {descriptor["name"]: descriptor for descriptor in described["params"]}
    assert by_name["name"]["description"] == "What it is called."
    assert by_name["limit"]["schema"] == {"type": "integer", "default": 10, "minimum": 1}
    assert by_name["near"]["schema"] == {"$ref": "#/components/schemas/Place"}
    assert "title" not in by_name["limit"]["schema"]
    assert described["x-idempotent"] is False
    assert described["x-superd-keyed"] is False
    assert method(document, "store.grow")["x-idempotent"] is True
    assert "summary" not in method(document, "store.grow")
    assert "description" not in method(document, "store.count")
    assert method(document, "store.count")["params"] == []


def test_two_models_of_one_name_stay_two() -> None:
    def make(module: str, field: str) -> type[BaseModel]:
        fields: Any = {field: (int, ...)}
        return create_model("Thing", __base__=Message, __module__=module, **fields)

    first = Method("one.get", make("one", "left"), int)
    second = Method("two.get", make("two", "right"), int)
    document = openrpc_document([first, second], title="t", version="1")
    assert len(document["components"]["schemas"]) == 2
    for name, field in (("one.get", "left"), ("two.get", "right")):
        schema = method(document, name)["x-params"]
        assert validator(document, schema).is_valid({field: 1})
        assert [descriptor["name"] for descriptor in method(document, name)["params"]] == [field]


def test_it_says_the_same_whatever_the_order() -> None:
    assert openrpc_document(METHODS, title="t", version="1") == openrpc_document(
        METHODS[::-1], title="t", version="1"
    )


def test_nothing_to_describe_is_a_document_too() -> None:
    assert openrpc_document([], title="t", version="1") == {
        "openrpc": "1.3.2",
        "info": {"title": "t", "version": "1"},
        "methods": [],
    }


def test_discover_may_answer_with_it(document: dict[str, Any]) -> None:
    assert builtin.discover.encode_result(document).startswith(b"{")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"$ref": "#/a"}, {"$ref": "#/a"}),
        ({"$ref": "#/a", "default": 1}, {"allOf": [{"$ref": "#/a"}], "default": 1}),
        (
            {"$ref": "#/a", "allOf": [{"type": "object"}]},
            {"allOf": [{"$ref": "#/a"}, {"type": "object"}]},
        ),
        (
            {"type": "array", "prefixItems": [{"$ref": "#/a", "title": "A"}], "items": {"type": "integer"}},
            {
                "type": "array",
                "items": [{"allOf": [{"$ref": "#/a"}], "title": "A"}],
                "additionalItems": {"type": "integer"},
            },
        ),
        (
            {"prefixItems": [{"type": "integer"}], "items": False},
            {"items": [{"type": "integer"}], "additionalItems": False},
        ),
        # What only looks like a keyword is a name or a value.
        (
            {"properties": {"$ref": {"type": "string"}, "prefixItems": {"$ref": "#/a", "title": "A"}}},
            {
                "properties": {
                    "$ref": {"type": "string"},
                    "prefixItems": {"allOf": [{"$ref": "#/a"}], "title": "A"},
                }
            },
        ),
        (
            {"default": {"$ref": "#/a", "x": 1}, "const": {"prefixItems": 1}},
            {"default": {"$ref": "#/a", "x": 1}, "const": {"prefixItems": 1}},
        ),
        (
            {"not": {"$ref": "#/a", "title": "A"}, "additionalProperties": False},
            {"not": {"allOf": [{"$ref": "#/a"}], "title": "A"}, "additionalProperties": False},
        ),
    ],
)
def test_draft_7(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert as_draft_7(given) == wanted


def test_descriptors_and_blobs_say_what_they_are() -> None:
    class Copy(Message):
        source: Fd
        targets: list[Blob] = Field(description="Where to.")

    document = openrpc_document([Method("a.copy", Copy, Fd)], title="t", version="1")
    (described,) = document["methods"]
    source, targets = described["params"]
    assert source["schema"]["x-superd-type"] == described["result"]["schema"]["x-superd-type"] == "fd"
    assert source["schema"]["type"] == "integer"
    assert targets["schema"]["items"]["x-superd-type"] == "blob"
    assert [sorted(shape["required"]) for shape in targets["schema"]["items"]["oneOf"]] == [
        ["inline"],
        ["memfd", "size"],
    ]
