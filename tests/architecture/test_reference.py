"""The reference says all that there is, and nothing that there is not: options, settings, keys, statuses, names."""

import argparse
import ast
import inspect
import re
import tomllib
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, get_args

import pytest
from pydantic import ValidationError

import superd.ctl.exits
import superd.parts
import superd_client
from superd.ctl.commands import COMMANDS, command_parser, top_parser
from superd.policy import Access
from superd.policy_tables import Allowance, Defaults, Denial
from superd.program import make_parser
from superd.settings import Settings, is_live
from superd_client import AsyncClient, Client, DatagramPeer, Method, Outcome, Stream, SuperdError, Upload
from tests.architecture.reference import ROOT, Term, codes, read_page, sections, terms

SUPERCTL: Final = sections(read_page("superctl"))
SUPERD: Final = sections(read_page("superd"))
POLICY: Final = sections(read_page("policy"))
CLIENT: Final = sections(read_page("client"))
KEYS: Final = sections(sections(read_page("configuration"))["KEYS"], level=3)
SCHEMA: Final = Settings.model_json_schema()["properties"]


def options(parser: argparse.ArgumentParser) -> set[str]:
    return set(parser._option_string_actions)


def options_of_all_commands() -> set[str]:
    return set().union(*(term.options for term in terms(SUPERCTL["OPTIONS"])))


# --- superctl(1) and superd(8) ----------------------------------------------------------------------------------------


def test_every_command_of_superctl() -> None:
    described = [term.names[0].split()[0] for term in terms(SUPERCTL["COMMANDS"])]
    assert list(dict.fromkeys(described)) == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command(command: str) -> None:
    described = [term for term in terms(SUPERCTL["COMMANDS"]) if term.names[0].split()[0] == command]
    own = set().union(*(term.options for term in described))
    offered = options(command_parser(command))
    assert own <= offered
    assert offered - own <= options_of_all_commands()


def test_every_option_of_all_commands() -> None:
    assert options_of_all_commands() == options(top_parser())


def test_every_option_of_superd() -> None:
    described = set().union(*(term.options for term in terms(SUPERD["OPTIONS"])))
    assert described == options(make_parser())
    assert set(re.findall(r"`(--[a-z-]+)`", SUPERD["SYNOPSIS"])) == described - {"-h"}


@pytest.mark.parametrize(
    ("page", "status"), [(SUPERCTL, superd.ctl.exits.ExitStatus), (SUPERD, superd.parts.ExitStatus)]
)
def test_every_exit_status(page: dict[str, str], status: type[Enum]) -> None:
    assert [term.names for term in terms(page["EXIT STATUS"])] == [
        [str(number)] for number in sorted(each.value for each in status)
    ]


# --- the environment --------------------------------------------------------------------------------------------------


#: Words in capitals that stand in the same modules, and are no variables: of the journal's and systemd's protocols, and
#: variables that superctl sets, or hands on to systemctl.
OTHER_WORDS: Final = frozenset(
    [
        "MESSAGE",
        "MESSAGE_ID",
        "PRIORITY",
        "SUPERD_TRACEBACK",
        "SYSLOG_IDENTIFIER",
        "MONOTONIC_USEC",
        "READY",
        "RELOADING",
        "STATUS",
        "STOPPING",
        "WATCHDOG",
        "SIGHUP",
        "PYDANTIC_DISABLE_PLUGINS",
        "DBUS_SESSION_BUS_ADDRESS",
        "LC_ALL",
        "PATH",
        "SYSTEMD_COLORS",
        "SYSTEMD_PAGER",
    ]
)


def variables_read(folder: str, *, without: str = "") -> set[str]:
    """The variables that the modules of a folder read, and of those below it."""
    paths = (path for path in (ROOT / folder).rglob("*.py") if without not in path.parts)
    sources = [path.read_text("utf-8") for path in paths]
    readers = (source for source in sources if "environ" in source)
    word = re.compile(r'(?<!metavar=)"([A-Z][A-Z_]{2,}[A-Z])"')
    return {name for source in readers for name in word.findall(source)} - OTHER_WORDS


LIBRARY: Final = variables_read("client/superd_client")


@pytest.mark.parametrize(
    ("page", "variables"),
    [
        (SUPERCTL, variables_read("daemon/superd/ctl") | LIBRARY),
        (SUPERD, variables_read("daemon/superd", without="ctl") | LIBRARY),
        # The other one says where a daemon's files are.
        (CLIENT, LIBRARY - {"XDG_CONFIG_HOME"}),
    ],
    ids=["superctl", "superd", "superd_client"],
)
def test_every_variable(page: dict[str, str], variables: set[str]) -> None:
    described = {name for term in terms(page["ENVIRONMENT"]) for name in term.names}
    # What begins all settings in the environment; test_the_variable_and_the_option_of_a_key has each.
    assert described - {"SUPERD_"} == variables


def test_the_variables_of_superd_are_found() -> None:
    assert {"SUPERD_CONFIG", "LISTEN_FDS", "NOTIFY_SOCKET"} <= variables_read("daemon/superd", without="ctl")
    assert "SUPERD_SOCKET" in LIBRARY


# --- superd.toml(5) ---------------------------------------------------------------------------------------------------

#: What the reference calls the types, by what makes a value of them out of a file's.
TYPES: Final = {
    "parse_size": "size",
    "parse_seconds": "time",
    "parse_mode": "string of three or four octal digits",
}


def head(key: str) -> list[str]:
    """The parts of the line that begins the description of a key: variable and option, type, default, when."""
    lines = KEYS[key].strip().split("\n\n")[0].replace("\n", " ")
    return lines.split(" · ")


def test_every_key() -> None:
    assert list(KEYS) == list(Settings.model_fields)


@pytest.mark.parametrize("key", Settings.model_fields)
def test_the_variable_and_the_option_of_a_key(key: str) -> None:
    options = [
        f"--{name}" for name in (key, key.removesuffix("s")) if f"--{name}" in make_parser().format_help()
    ]
    assert codes(head(key)[0]) == [f"SUPERD_{key.upper()}", *options[:1]]


@pytest.mark.parametrize("key", Settings.model_fields)
def test_the_type_of_a_key(key: str) -> None:
    said = head(key)[1]
    schema = SCHEMA[key]
    if schema.get("type") == "array":
        assert said.startswith("list of")
        schema = schema["items"]
    if "enum" in schema:
        assert codes(said) == [f'"{word}"' for word in schema["enum"]]
    else:
        assert type_of(key) in said


def type_of(key: str) -> str:
    """What the reference has to call it: by its validators, or else by its type in JSON."""
    marks = Settings.model_fields[key].metadata
    parsers = (getattr(getattr(mark, "func", None), "__name__", "") for mark in marks)
    known = [TYPES[name] for name in parsers if name in TYPES]
    plain: str = SCHEMA[key]["type"]
    return known[0] if known else {"array": "list of"}.get(plain, plain)


@pytest.mark.parametrize("key", Settings.model_fields)
def test_the_default_of_a_key(key: str) -> None:
    said = next(part for part in head(key) if part.startswith("default: ")).removeprefix("default: ")
    default = getattr(Settings(), key)
    if said == "none":
        assert default == ()
    elif said == "all three":
        assert default == tuple(word.strip('"') for word in codes(head(key)[1]))
        assert len(default) == 3
    else:
        assert getattr(Settings.model_validate({key: toml(codes(said)[0])}), key) == default


@pytest.mark.parametrize("key", Settings.model_fields)
def test_the_bounds_of_a_key(key: str) -> None:
    line = " ".join(head(key)).replace("one day", "`86400`")
    line = re.sub(r"\b(from|at least|to) ([0-9.]+)(?: s)?\b", r"\1 `\2`", line)
    low = re.search(r"(?:from|at least) `([^`]+)`", line)
    high = re.search(r" to `([^`]+)`", line)
    said = [None if bound is None else toml(bound[1]) for bound in (low, high)]
    for text, side, outwards in zip(said, ("ge", "le"), (-1, 1), strict=True):
        if text is None:
            assert not any(hasattr(mark, side) for mark in Settings.model_fields[key].metadata)
            continue
        bound = getattr(Settings.model_validate({key: text}), key)
        step = 1 if SCHEMA[key]["type"] == "integer" else 0.001
        with pytest.raises(ValidationError):
            Settings.model_validate({key: bound + outwards * step})


def toml(text: str) -> Any:
    return tomllib.loads(f"value = {text}")["value"]


@pytest.mark.parametrize("key", Settings.model_fields)
def test_when_a_key_takes_effect(key: str) -> None:
    assert head(key)[-1] == ("reload" if is_live(key) else "restart")


# --- superd-policy(5) -------------------------------------------------------------------------------------------------


def test_every_key_of_the_policy() -> None:
    described = {name for term in terms(POLICY["FILES"]) for name in term.names}
    assert described == {key for table in (Denial, Allowance, Defaults) for key in table.model_fields}


def test_every_default_of_the_policy() -> None:
    assert [term.names for term in terms(POLICY["DEFAULTS"])] == [[access] for access in get_args(Access)]


# --- superd_client(3) -------------------------------------------------------------------------------------------------


def test_every_public_name_of_the_library() -> None:
    words = {word for code in codes(read_page("client")) for word in re.findall(r"\w+", code)}
    assert set(superd_client.__all__) <= words


def test_every_exception_of_the_library() -> None:
    described = [name for term in terms(CLIENT["ERRORS"]) for name in term.names]
    public = {name: getattr(superd_client, name) for name in superd_client.__all__}
    exceptions = {
        name for name, value in public.items() if isinstance(value, type) and issubclass(value, SuperdError)
    }
    bases = {"CallRefused", "CallFailed"}
    assert sorted(described) == sorted({*exceptions - bases, "Outcome"})
    assert {outcome.name for outcome in Outcome} == set(codes(term_of("Outcome").text))


def term_of(name: str) -> Term:
    return next(term for term in terms(CLIENT["ERRORS"]) if name in term.names)


SIGNATURES: Final[dict[str, Callable[..., Any]]] = {
    "Client": Client,
    "Method": Method,
    "Stream": Stream,
    "Upload": Upload,
    "DatagramPeer": DatagramPeer,
    "client.call": Client.call,
    "client.notify": Client.notify,
    "client.hello": Client.hello,
    "client.stream": Client.stream,
    "client.upload": Client.upload,
    "client.open_upload": Client.open_upload,
    "peer.call": DatagramPeer.call,
    "peer.notify": DatagramPeer.notify,
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_signature_of_a_call(name: str) -> None:
    written = re.search(rf"`(?:await )?{re.escape(name)}(\([^`]*\))`", read_page("client"))
    assert written is not None
    assert parameters_written(written[1]) == parameters(SIGNATURES[name])


def test_the_clients_are_made_alike() -> None:
    assert parameters(Client) == parameters(AsyncClient)


#: In the place of the default of a parameter that has none.
REQUIRED: Final = "required"


def parameters_written(text: str) -> list[tuple[str, bool, object]]:
    """Name, whether it is given by keyword alone, and the default; of a function just that there is one."""
    function = ast.parse(f"def f{text}: pass").body[0]
    assert isinstance(function, ast.FunctionDef)
    arguments = function.args
    required = [None] * (len(arguments.args) - len(arguments.defaults))
    positional = zip(arguments.args, [*required, *arguments.defaults], strict=True)
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return [
        (argument.arg, by_keyword, REQUIRED if default is None else ast.literal_eval(default))
        for by_keyword, some in ((False, positional), (True, keywords))
        for argument, default in some
    ]


def parameters(function: Callable[..., Any]) -> list[tuple[str, bool, object]]:
    return [
        (
            each.name,
            each.kind is each.KEYWORD_ONLY,
            REQUIRED if each.default is each.empty else ... if callable(each.default) else each.default,
        )
        for each in inspect.signature(function).parameters.values()
        if each.name != "self"
    ]


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["superd", "superctl", "configuration", "policy", "client"])
def test_sections_are_in_the_order_of_man_pages(page: str) -> None:
    order = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ERRORS", "ENVIRONMENT", "FILES"]
    order += ["NOTES", "EXAMPLES", "SEE ALSO"]
    found = [heading for heading in sections(read_page(page)) if heading in order]
    assert found == sorted(found, key=order.index)
    assert {"NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"} <= set(found)
