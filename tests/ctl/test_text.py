"""What passes between people and superctl: time spans, words of a line, text on a terminal, types."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from superd.ctl.console import Console, Painted, Style, printable
from superd.ctl.exits import NotWritten, UsageError
from superd.ctl.interface import Interface, read_interface
from superd.ctl.signature import Signatures
from superd.ctl.tokens import split_line
from superd.timespan import format_span, parse_span
from superd_client.errors import InvalidResult


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1.0),
        ("0.25", 0.25),
        (".5", 0.5),
        ("2.s", 2.0),
        ("500ms", 0.5),
        ("250us", 0.00025),
        ("1min 30s", 90.0),
        ("1min30s", 90.0),
        (" 2 h ", 7200.0),
        ("1d", 86_400.0),
        ("0", 0.0),
    ],
)
def test_spans_that_are_read(text: str, seconds: float) -> None:
    assert parse_span(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", " ", "s", "1x", "-1", "1 2x", "nan", "inf", "1e3", "9" * 400, "\u0663"])
def test_spans_that_are_not(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time span"):
        parse_span(text)


@pytest.mark.parametrize(
    ("usec", "text"),
    [
        (0, "0us"),
        (999, "999us"),
        (1_000, "1.0ms"),
        (4_210, "4.2ms"),
        (999_949, "999.9ms"),
        (1_000_000, "1s"),
        (59_999_999, "59s"),
        (60_000_000, "1min"),
        (61_000_000, "1min 1s"),
        (3_600_000_000, "1h"),
        (3_601_000_000, "1h"),
        (3_660_000_000, "1h 1min"),
        (86_400_000_000, "1d"),
        (93_784_000_000, "1d 2h"),
    ],
)
def test_spans_that_are_written(usec: int, text: str) -> None:
    assert format_span(usec) == text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("   \n", []),
        ("# a comment", []),
        ("list # of all", ["list"]),
        ("a.b c=d", ["a.b", "c=d"]),
        ("a.b c=d#e", ["a.b", "c=d#e"]),
        ("""a.b c="d e" 'f=g h'""", ["a.b", "c=d e", "f=g h"]),
        (r"a.b c=d\ e", ["a.b", "c=d e"]),
        ('a.b c:=["x y", {"d": "#"}] e=f', ["a.b", 'c:=["x y", {"d": "#"}]', "e=f"]),
        ("""a.b c:='["x"]'""", ["a.b", 'c:=["x"]']),
        ("a.b c:=1", ["a.b", "c:=1"]),
        ("a.b c:=1x", ["a.b", "c:=1x"]),
        ("a.b c:=", ["a.b", "c:="]),
        ("a.b c=''", ["a.b", "c="]),
        ("a.b '' d", ["a.b", "", "d"]),
        ("a.b c=\u00e9", ["a.b", "c=\u00e9"]),
    ],
)
def test_words_of_a_line(line: str, words: list[str]) -> None:
    assert split_line(line) == words


@pytest.mark.parametrize("line", ["a.b c='d", 'a.b "', "a.b c\\"])
def test_a_line_that_is_not_closed(line: str) -> None:
    with pytest.raises(UsageError, match="no "):
        split_line(line)


def test_a_terminal_obeys_nobody_but_us() -> None:
    hostile = (
        "\x00\x07\x08\n\r\x1b\x7f\x80\x9b\x9f\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\ud800"
    )
    shown = printable(f"a{hostile}b\u00e9\u4e00\U0001f600")
    assert shown.isprintable()
    assert shown.startswith("a\\u0000\\u0007")
    assert shown.endswith("b\u00e9\u4e00\U0001f600")
    assert json.loads(f'"{shown}"') == f"a{hostile}b\u00e9\u4e00\U0001f600"


class FakeTerminal(io.TextIOWrapper):
    """A stream that says it is a terminal: what a pseudo terminal cannot be is slow to take a colour test."""

    @override
    def isatty(self) -> bool:
        return True


def written(console: Console, raw: io.BytesIO) -> str:
    console.flush()
    return raw.getvalue().decode()


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = ("plain ", Painted("strong\x1b[0m", Style.STRONG), Painted("", Style.BAD))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    raw = io.BytesIO()
    console = Console(FakeTerminal(raw, "utf-8"))
    console.line(*parts)
    assert written(console, raw) == "plain \x1b[1mstrong\\u001b[0m\x1b[0m\n"
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb"), ("TERM", "")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            raw = io.BytesIO()
            console = Console(FakeTerminal(raw, "utf-8"))
            console.line(*parts)
            assert written(console, raw) == "plain strong\\u001b[0m\n"


def test_json_for_people_and_for_programs() -> None:
    value = {"k\x1b": ['a\\"b', 1, -2.5e-9, True, None, {}, []], "\u00e9": "\u202e"}
    raw = io.BytesIO()
    console = Console(io.TextIOWrapper(raw, "utf-8"))
    console.json(value)
    text = written(console, raw)
    assert text.count("\n") == 1
    assert json.loads(text) == value
    assert "\u00e9" in text
    assert "\u202e" not in text
    raw = io.BytesIO()
    console = Console(FakeTerminal(raw, "utf-8"))
    console.json(value)
    plain = written(console, raw)
    for style in Style:
        plain = plain.replace(f"\x1b[{style.value}m", "")
    assert json.loads(plain.replace("\x1b[0m", "")) == value
    assert plain.count("\n") > 8


def test_an_encoding_that_lacks_characters() -> None:
    raw = io.BytesIO()
    console = Console(io.TextIOWrapper(raw, "latin-1"))
    console.json({"a": "\u4e00"})
    console.line("\u4e00 \u00e9")
    console.flush()
    json_line, text_line = raw.getvalue().splitlines()
    assert json.loads(json_line) == {"a": "\u4e00"}
    assert text_line == b"\\u4e00 \xe9"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "{}"),
        (["a" * 96], '["' + "a" * 96 + '"]'),
        (["a" * 97], '[\n  "' + "a" * 97 + '"\n]'),
        ({"k": ["a" * 97], "l": 1}, '{\n  "k": [\n    "' + "a" * 97 + '"\n  ],\n  "l": 1\n}'),
        ({"a b": [{"c:": "d, e"}, "", "\\", '"', 'x"y\\'], "": -1.5}, None),
    ],
)
def test_json_in_as_few_lines_as_it_fits(value: Any, text: str | None) -> None:
    raw = io.BytesIO()
    console = Console(io.TextIOWrapper(raw, "utf-8"))
    console.folded_json(value)
    assert written(console, raw) == (json.dumps(value) if text is None else text) + "\n"


def test_a_stream_that_is_full() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        console = Console(full)
        console.line("x")
        with pytest.raises(NotWritten, match="No space left"):
            console.flush()
        console.discard()


def test_a_stream_that_is_closed() -> None:
    console = Console(None)
    console.flush()
    assert not console.is_terminal
    console.line("nobody reads this")
    with pytest.raises(NotWritten, match="is closed"):
        console.flush()
    console.discard()


def make_interface(**schemas: Any) -> Interface:
    return read_interface({"openrpc": "1.3.2", "methods": [], "components": {"schemas": schemas}})


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (True, "any"),
        (False, "nothing"),
        ({}, "any"),
        ({"description": "x"}, "any"),
        ({"type": "string"}, "string"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"type": "array"}, "array"),
        ({"type": "array", "items": {"type": "string"}}, "array[string]"),
        ({"type": "array", "items": [{"type": "string"}, {"type": "integer"}]}, "[string, integer]"),
        ({"type": "object"}, "object"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "map[number]"),
        ({"type": "object", "additionalProperties": False}, "object"),
        ({"const": "a"}, '"a"'),
        ({"enum": ["a", 1, None]}, '"a" | 1 | null'),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer | null"),
        ({"oneOf": [{"type": "integer"}, {"type": "integer"}]}, "integer"),
        ({"allOf": [{"$ref": "#/components/schemas/Item"}], "default": {}}, "Item"),
        ({"$ref": "#/components/schemas/Item"}, "Item"),
        ({"$ref": "#/components/schemas/one__Thing"}, "Thing"),
        ({"$ref": "#/components/schemas/Tree-Output"}, "Tree"),
        ({"$ref": "#/components/schemas/Colour"}, '"red" | "green"'),
        ({"$ref": "#/components/schemas/Missing"}, "Missing"),
        ({"$ref": "#/components/schemas/JsonValue"}, "any"),
        ({"$ref": "#/components/schemas/Untitled"}, "Untitled"),
        # What no honest server says.
        ({"enum": 7}, "any"),
        ({"anyOf": {"a": 1}}, "any"),
        ({"type": 7}, "7"),
        ({"$ref": 7}, "7"),
        ("text", "any"),
        (None, "any"),
    ],
)
def test_types(schema: Any, text: str) -> None:
    signatures = Signatures(
        make_interface(
            **{
                "Item": {"type": "object", "title": "Item"},
                "JsonValue": {},
                "Untitled": {"type": "object"},
                "one__Thing": {"type": "object", "title": "Thing"},
                "Tree-Output": {"type": "object", "title": "Tree"},
                "Colour": {"enum": ["red", "green"], "title": "Colour"},
            }
        )
    )
    assert signatures.type_of(schema) == text


@pytest.mark.parametrize(
    ("schema", "bounds"),
    [
        (True, []),
        ({"minimum": 1, "maximum": 9}, ["at least 1", "at most 9"]),
        ({"exclusiveMinimum": 0, "exclusiveMaximum": 1}, ["more than 0", "less than 1"]),
        ({"minLength": 1, "maxLength": 3, "pattern": "^a$"}, ["1 to 3 characters", "matches ^a$"]),
        ({"minLength": 1}, ["at least 1 character"]),
        ({"maxLength": 2}, ["at most 2 characters"]),
        ({"minItems": 2, "maxItems": 2}, ["exactly 2 items"]),
        ({"minItems": 0, "maxItems": 1}, ["0 to 1 item"]),
        ({"format": "date", "multipleOf": 2}, ["a multiple of 2", "date"]),
        ({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}, ["at least 1"]),
        ({"anyOf": [{"minimum": 1}, {"minimum": 2}]}, []),
        ({"anyOf": 1}, []),
    ],
)
def test_bounds(schema: Any, bounds: list[str]) -> None:
    assert Signatures(make_interface()).bounds(schema) == bounds


def test_members_of_what_is_no_object() -> None:
    signatures = Signatures(make_interface(Odd={"properties": 7, "required": 8, "description": 9}))
    for schema in (True, {}, {"$ref": "#/components/schemas/Odd"}, {"$ref": "#/components/schemas/Missing"}):
        assert signatures.fields(schema) == []
        assert signatures.description(schema) == ""


def test_a_document_of_another_server() -> None:
    interface = read_interface(
        {"openrpc": "1.4.0", "methods": [{"name": "a.b", "params": [], "x-more": 1}], "x": 1}
    )
    (method,) = interface.methods
    assert Signatures(interface).method(method) == "a.b() -> any"
    assert interface.find("a.c") is None


@pytest.mark.parametrize("document", [{}, {"methods": 1}, {"methods": [{}]}, {"methods": [{"name": 1}]}])
def test_what_is_no_document(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidResult, match="not an OpenRPC document"):
        read_interface(document)


def test_schemas_that_refer_to_each_other() -> None:
    reference = "#/components/schemas/"
    interface = make_interface(
        A={"items": [{"$ref": f"{reference}B"}]},
        B={"properties": {"a": {"$ref": f"{reference}A"}}},
        C={},
    )
    assert list(interface.shared_by({"anyOf": [{"$ref": f"{reference}A"}, {"$ref": f"{reference}D"}]})) == [
        "A",
        "B",
    ]
    assert interface.shared_by(True) == {}
