"""What a server marks as secret, on a terminal and elsewhere."""

from pathlib import Path
from typing import Any

import pytest

from superd.ctl import covering
from superd.ctl.covering import cover
from superd.ctl.exits import ExitStatus
from superd.ctl.interface import Interface, read_interface
from superd_client.sensitive import STARS
from superd_client.wire.errors import ErrorObject
from tests.ctl.canned import serve
from tests.ctl.conftest import Superctl
from tests.ctl.terminal import Terminal

SECRET: dict[str, Any] = {"type": "string", "x-sensitive": True}
TOKEN = {"type": "object", "properties": {"token": SECRET, "user": {"type": "string"}}}
DOCUMENT = {
    "methods": [
        {"name": "a.issue", "result": {"schema": {"$ref": "#/components/schemas/Token"}}},
        {"name": "a.refuse", "x-errors": {"Denied": TOKEN}},
    ],
    "components": {
        "schemas": {
            "Token": TOKEN,
            "Loop": {"$ref": "#/components/schemas/Loop"},
            "Tree": {"properties": {"next": {"$ref": "#/components/schemas/Tree"}, "token": SECRET}},
        }
    },
}
DENIED = ErrorObject(-32000, "no", {"type": "Denied", "detail": {"token": "hunter2", "user": "u"}})


@pytest.fixture
def interface() -> Interface:
    return read_interface(DOCUMENT)


@pytest.mark.parametrize(
    ("schema", "value", "shown"),
    [
        (SECRET, "a", STARS),
        (SECRET, None, None),
        (SECRET, {"any": ["thing"]}, STARS),
        (True, "a", "a"),
        (None, "a", "a"),
        (TOKEN, {"token": "a", "user": "b", "more": "c"}, {"token": STARS, "user": "b", "more": "c"}),
        (TOKEN, "no object", "no object"),
        ({"items": SECRET}, ["a", "b"], [STARS, STARS]),
        ({"items": [True, SECRET], "additionalItems": SECRET}, ["a", "b", "c"], ["a", STARS, STARS]),
        ({"additionalProperties": SECRET}, {"x": "a"}, {"x": STARS}),
        ({"anyOf": [{"type": "null"}, SECRET]}, "a", STARS),
        ({"allOf": [{"$ref": "#/components/schemas/Token"}]}, {"token": "a"}, {"token": STARS}),
        ({"$ref": "#/components/schemas/Loop"}, {"a": 1}, {"a": 1}),
        ({"$ref": "#/components/schemas/None"}, "a", "a"),
        (
            {"$ref": "#/components/schemas/Tree"},
            {"next": {"next": {"token": "a"}}},
            {"next": {"next": {"token": STARS}}},
        ),
        ({"properties": 7, "items": 7, "anyOf": 7, "$ref": 7}, {"a": ["b"]}, {"a": ["b"]}),
    ],
)
def test_what_is_covered(interface: Interface, schema: Any, value: Any, shown: Any) -> None:
    assert cover(value, schema, interface) == shown


@pytest.mark.parametrize(("steps", "shown"), [(2, STARS), (3, ["a", "b"]), (4, ["a", "b"])])
def test_what_takes_too_long_is_covered(
    interface: Interface, monkeypatch: pytest.MonkeyPatch, steps: int, shown: Any
) -> None:
    monkeypatch.setattr(covering, "STEPS_MAX", steps)
    found = cover(["a", "b"], {"items": True}, interface)
    assert found == (["a", STARS] if steps == 2 else shown)


def test_a_pipe_gets_what_came(superctl: Superctl, tmp_path: Path) -> None:
    with serve(tmp_path, {"a.issue": {"token": "hunter2", "user": "u"}}) as address:
        done = superctl("call", "a.issue", "--socket", address)
    assert done.out == '{"token":"hunter2","user":"u"}\n'


@pytest.mark.parametrize("reveal", [False, True])
def test_a_terminal_gets_stars(environment: dict[str, str], tmp_path: Path, reveal: bool) -> None:
    answers = {"rpc.discover": DOCUMENT, "a.issue": {"token": "hunter2", "user": "u"}}
    options = ["--reveal"] if reveal else []
    with (
        serve(tmp_path, answers) as address,
        Terminal(["call", "a.issue", "--socket", address, *options], environment) as terminal,
    ):
        terminal.expect('"user"')
        assert terminal.finish() == ExitStatus.OK
    assert ("hunter2" in terminal.text) is reveal
    assert (STARS in terminal.text) is not reveal


def test_a_terminal_of_a_server_without_a_document(environment: dict[str, str], tmp_path: Path) -> None:
    answers = {"a.issue": {"user": "u"}}
    with (
        serve(tmp_path, answers) as address,
        Terminal(["call", "a.issue", "--socket", address], environment) as terminal,
    ):
        terminal.expect('"user"')
        assert terminal.finish() == ExitStatus.OK


@pytest.mark.parametrize("options", [(), ("--reveal",)])
def test_the_detail_of_an_error(superctl: Superctl, tmp_path: Path, options: tuple[str, ...]) -> None:
    with serve(tmp_path, {"rpc.discover": DOCUMENT, "a.refuse": DENIED}) as address:
        done = superctl("call", "a.refuse", "--socket", address, *options)
    assert done.status == ExitStatus.FAILED
    assert ("hunter2" in done.err) is bool(options)
    assert '"user":"u"' in done.err
