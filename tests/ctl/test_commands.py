"""The commands, against the real daemon, in this process."""

import json
import re
import sys
from pathlib import Path

import pytest

from superd import __version__
from superd.ctl.exits import ExitStatus
from superd_client.builtin import Status
from tests.ctl.conftest import Daemon, Superctl
from tests.ctl.service import HOSTILE

ITEM = {"sku": "A-1", "quantity": 1, "tags": ["a", "é"], "note": HOSTILE}


def test_call(superctl: Superctl) -> None:
    done = superctl("call", "store.lookup", "sku=A-1")
    assert (done.status, done.err) == (ExitStatus.OK, "")
    assert json.loads(done.out) == ITEM
    assert done.out.count("\n") == 1
    assert done.out.rstrip("\n").isprintable()


def test_call_with_json_values(superctl: Superctl) -> None:
    done = superctl("call", "store.lookup", "quantity:=3", "sku=A-1")
    assert json.loads(done.out) == {**ITEM, "quantity": 3}


def test_numbers_come_as_they_are(superctl: Superctl) -> None:
    done = superctl("call", "store.numbers")
    assert done.out == (
        '{"big":1208925819614629174706176,"tenth":0.1,"small":1e-300,"no":null,"yes":true,"empty":[],"none":{}}\n'
    )


@pytest.mark.parametrize("option", ["--json", "--params"])
def test_call_with_params_from_a_file(superctl: Superctl, tmp_path: Path, option: str) -> None:
    file = tmp_path / "params.json"
    file.write_text('{"sku": "A-1", "quantity": 7}', "utf-8")
    done = superctl("call", "store.lookup", option, str(file))
    assert json.loads(done.out) == {**ITEM, "quantity": 7}
    done = superctl("call", option, str(file), "store.lookup", "quantity:=2")
    assert json.loads(done.out) == {**ITEM, "quantity": 2}


def test_options_stand_anywhere(superctl: Superctl, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERD_SOCKET", "unix:/nowhere")
    for address in (daemon.address, daemon.address.removeprefix("unix:")):
        for line in (
            ("--socket", address, "call", "echo.echo", "text=a"),
            ("call", "--socket", address, "echo.echo", "text=a"),
            ("call", "echo.echo", "--socket", address, "text=a"),
            ("call", "echo.echo", "text=a", "--timeout", "5s", f"--socket={address}"),
            ("--json", "--timeout=5", "call", "echo.echo", "text=a", "--socket", address),
        ):
            done = superctl(*line)
            assert (done.status, done.out) == (ExitStatus.OK, '{"text":"a"}\n'), done.err


def test_the_call_id_is_the_callers(superctl: Superctl, daemon: Daemon) -> None:
    done = superctl("call", "store.fail", "--call-id", "test:one")
    assert done.status == ExitStatus.FAILED
    assert done.err.splitlines() == [
        "superctl: store.fail: internal error",
        "  outcome: failed, it was carried out or begun",
        "  journalctl SUPERD_CALL_ID=test:one",
    ]
    assert "test:one" in daemon.log.read_text("utf-8")


def test_a_declared_error(superctl: Superctl) -> None:
    done = superctl("call", "store.lookup", "sku=X-0")
    assert (done.status, done.out) == (ExitStatus.FAILED, "")
    lines = done.err.splitlines()
    assert all(line.isprintable() for line in lines)
    assert lines[0].startswith("superctl: store.lookup: out of \\u001b]0;pwned")
    assert lines[1] == '  OutOfStock: {"sku":"X-0","available":0}'


def test_wrong_params(superctl: Superctl) -> None:
    done = superctl("call", "store.lookup", "sku=secret", "quantity:=0", "\x1bmore=1")
    assert (done.status, done.out) == (ExitStatus.REFUSED, "")
    first, *faults, outcome, call_id = done.err.splitlines()
    assert first == "superctl: store.lookup: invalid params"
    assert {fault.split(":")[0] for fault in faults} == {"  sku", "  quantity", "  \\u001bmore"}
    assert outcome == "  outcome: refused, it was not carried out"
    assert call_id.startswith("  journalctl SUPERD_CALL_ID=")
    assert "secret" not in done.err


def test_an_unknown_method(superctl: Superctl) -> None:
    done = superctl("call", "store.lokup")
    assert done.status == ExitStatus.REFUSED
    first, second = done.err.splitlines()[:2]
    assert first == "superctl: store.lokup: no such method"
    assert second.startswith("  did you mean store.lookup")


def test_nobody_listens(superctl: Superctl, tmp_path: Path) -> None:
    done = superctl("--socket", str(tmp_path / "none"), "call", "echo.echo")
    assert (done.status, done.out) == (ExitStatus.NOT_SENT, "")
    assert str(tmp_path / "none") in done.err
    assert "SUPERD_CALL_ID" not in done.err


def test_no_answer_in_time(superctl: Superctl) -> None:
    done = superctl("call", "store.wait", "--timeout", "50ms")
    assert (done.status, done.out) == (ExitStatus.UNKNOWN, "")
    assert "outcome: unknown" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no command"),
        (["status", "--bogus"], "unrecognized arguments: --bogus"),
        (["stat"], "'stat' is no command; did you mean status?"),
        (["echo.echo"], "'echo.echo' is no command; did you mean call echo.echo?"),
        (["zzzzzz"], "'zzzzzz' is no command; there are call, notify,"),
        (["call"], "required: METHOD"),
        (["call", "echo.echo", "text"], "'text' is no param"),
        (["call", "echo.echo", "--timeout", "0"], "a timeout is more than 0"),
        (["call", "echo.echo", "--timeout", "soon"], "is not a time span"),
        (["call", "echo.echo", "--call-id", "a b"], "a call id has"),
        (["call", "echo.echo", "--call-id", "a" * 65], "a call id has"),
        (["call", "echo.echo", "--json", "/nonexistent"], "/nonexistent: cannot be read"),
        (["call", "echo.echo", "--param", "x"], "unrecognized arguments"),
        (["--socket", "tcp:1", "status"], "is not an address"),
        (["describe"], "required: METHOD"),
        (["shell", "now"], "unrecognized arguments: now"),
        (["--instance", "Inventory", "status"], "--instance: 'Inventory' is no name of an instance"),
        (["status", "--instance", ""], "--instance: the name of an instance is not empty"),
        (["--instance", "a", "--socket", "/s", "status"], "--socket, or --instance and --user"),
        (["--user", "status", "--socket", "/s"], "--socket, or --instance and --user"),
        (["policy", "test", "--user"], "expected one argument"),
    ],
)
def test_wrong_command_lines(superctl: Superctl, arguments: list[str], message: str) -> None:
    done = superctl(*arguments)
    assert (done.status, done.out) == (ExitStatus.USAGE, "")
    assert done.err.startswith("superctl: ")
    assert message in done.err


def test_an_instance_is_asked_at_its_own_socket(
    superctl: Superctl, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "superd").mkdir()
    (tmp_path / "superd/store.sock").symlink_to(daemon.address.removeprefix("unix:"))
    for options in (["--user", "--instance", "store"], ["--socket", "user:store"]):
        assert superctl(*options, "call", "echo.echo", "text=a").out == '{"text":"a"}\n'
        assert superctl("call", "echo.echo", "text=a", *options).out == '{"text":"a"}\n'
    done = superctl("--user", "status")
    assert done.status == ExitStatus.NOT_SENT
    assert "superd.sock: is superd.socket of systemctl --user running?" in done.err


def test_without_a_session_there_is_no_superd_of_the_user(
    superctl: Superctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    done = superctl("--user", "status")
    assert (done.status, done.out) == (ExitStatus.USAGE, "")
    assert done.err.startswith("superctl: XDG_RUNTIME_DIR is not set")


def test_a_wrong_address_in_the_environment(superctl: Superctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERD_SOCKET", "here")
    done = superctl("status")
    assert done.status == ExitStatus.USAGE
    assert "SUPERD_SOCKET" in done.err


@pytest.mark.parametrize("arguments", [["--help"], ["help"]])
def test_help_names_every_command(superctl: Superctl, arguments: list[str]) -> None:
    done = superctl(*arguments)
    assert (done.status, done.err) == (0, "")
    for command in ("call", "notify", "list", "describe", "status", "why", "policy", "shell"):
        assert f"\n  {command} " in done.out
    assert "--json" in done.out


@pytest.mark.parametrize("arguments", [["call", "--help"], ["help", "call"], ["call", "echo.echo", "-h"]])
def test_help_of_call_tells_its_json_from_that_of_others(superctl: Superctl, arguments: list[str]) -> None:
    done = superctl(*arguments)
    assert done.status == 0
    assert re.search(r"--params( FILE)?, --json FILE", done.out)  # as argparse of 3.12 and of 3.13 has it
    assert "does not ask for JSON output" in done.out


def test_help_of_the_others_has_a_flag(superctl: Superctl) -> None:
    for command in ("list", "describe", "status", "why", "policy", "shell"):
        assert "--json " in superctl(command, "--help").out


def test_version(superctl: Superctl) -> None:
    assert superctl("--version").out == f"superctl {__version__}\n"


# --- list and describe ----------------------------------------------------------------------------------------------


def test_list(superctl: Superctl) -> None:
    done = superctl("list")
    assert (done.status, done.err) == (ExitStatus.OK, "")
    lines = done.out.splitlines()
    assert lines == sorted(lines)
    lookup = "store.lookup(sku: string, quantity: integer = 1) -> Item"
    assert any(re.fullmatch(re.escape(lookup) + " {2,}Look an item up.", line) for line in lines)
    assert "store.numbers() -> object" in lines
    assert [line.partition("(")[0] for line in superctl("list", "store.").out.splitlines()] == [
        "store.add_up",
        "store.album",
        "store.count",
        "store.fail",
        "store.lookup",
        "store.numbers",
        "store.pages",
        "store.read_file",
        "store.remember",
        "store.ticks",
        "store.wait",
    ]
    assert superctl("list", "nothing").out == ""


def test_list_for_scripts(superctl: Superctl) -> None:
    before, after = superctl("--json", "list"), superctl("list", "--json")
    assert before == after
    listed = {method["name"]: method for method in json.loads(after.out)}
    assert listed["echo.echo"] == {
        "name": "echo.echo",
        "kind": "call",
        "signature": "echo.echo(text: string) -> Echo",
        "summary": "Answer with the same text.",
    }


def test_describe(superctl: Superctl) -> None:
    done = superctl("describe", "store.lookup")
    assert (done.status, done.err) == (ExitStatus.OK, "")
    head, _, schema = done.out.partition("\nJSON Schema\n")
    assert head == (
        "store.lookup(sku: string, quantity: integer = 1) -> Item\n"
        "    Look an item up.\n"
        "    Which item.\n"
        "    Idempotent: carrying it out twice is the same as once.\n"
        "\n"
        "Params\n"
        "  sku       string, 1 to 16 characters, matches ^[A-Z]-[0-9]+$, required\n"
        "            The stock-keeping unit.\n"
        "  quantity  integer, at least 1, default 1\n"
        "            How many are wanted.\n"
        "\n"
        "Result Item: What is known of an item.\n"
        "  sku       string\n"
        "  quantity  integer\n"
        "  tags      array[string], default []\n"
        "  note      string | null, default null\n"
        "\n"
        "Error OutOfStock: There are fewer than wanted.\n"
        "  sku        string\n"
        "  available  integer\n"
    )
    schemas = json.loads(schema)
    assert schemas.keys() == {"params", "result", "errors", "components"}
    assert schemas["components"]["schemas"].keys() == {"Item", "Lookup", "OutOfStock"}


def test_describe_a_method_without_params(superctl: Superctl) -> None:
    done = superctl("describe", "store.fail")
    assert done.out.startswith(
        "store.fail() -> integer\n    Fail in a way that nobody declared.\n"
        "    Keyed: calls with the same idempotency key are carried out once.\n\nParams: none\n\nResult integer\n\nJSON Schema\n"
    )


def test_describe_for_scripts(superctl: Superctl) -> None:
    described = json.loads(superctl("describe", "--json", "store.lookup").out)
    assert described["method"]["name"] == "store.lookup"
    assert described["method"]["errors"] == [{"code": -32000, "message": "application error"}]
    assert described["components"]["schemas"].keys() == {"Item", "Lookup", "OutOfStock"}


def test_describe_what_is_not_there(superctl: Superctl) -> None:
    done = superctl("describe", "store.lokup")
    assert (done.status, done.out) == (ExitStatus.REFUSED, "")
    assert "did you mean store.lookup" in done.err
    assert superctl("describe", "\x1b[2J").err.splitlines()[0] == "superctl: \\u001b[2J: no such method"


# --- status ---------------------------------------------------------------------------------------------------------


def test_status(superctl: Superctl, daemon: Daemon) -> None:
    done = superctl("status")
    assert (done.status, done.err) == (ExitStatus.OK, "")
    first, *rows = done.out.splitlines()
    assert first == f"● superd {__version__}"
    assert len({re.match(r" *(?:[A-Z][A-Za-z ]*|systemd): |\s+", row).end() for row in rows}) == 1  # type: ignore[union-attr]
    shown = {label.strip(): text for label, _, text in (row.partition(": ") for row in rows)}
    assert re.fullmatch(r"[\d.]+(us|ms|s|min)( \d+s)?", shown["Uptime"])
    assert shown["Listeners"] == f"{daemon.address} (opened by superd)"
    assert re.fullmatch(r"1 open, \d+ accepted, 0 refused", shown["Connections"])
    assert re.fullmatch(r"1 in flight, [\d,]+ served, [\d,]+ failed, [\d,]+ refused", shown["Calls"])
    assert "store 2.1.0 (11 methods)" in done.out
    assert "echo " in done.out
    assert "(1 method)" in done.out


def test_status_for_scripts(superctl: Superctl) -> None:
    status = Status.model_validate_json(superctl("status", "--json").out)
    assert status.version == __version__
    assert "store" in {service.name for service in status.services}


# --- how it ends ----------------------------------------------------------------------------------------------------


def test_the_reader_goes_away(environment: dict[str, str]) -> None:
    import subprocess

    with subprocess.Popen(
        [sys.executable, "-m", "superd.ctl", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == ExitStatus.PIPE_CLOSED


@pytest.mark.parametrize(
    ("redirection", "message"), [(">/dev/full", "No space left"), (">&-", "it is closed")]
)
def test_the_answer_cannot_be_written(environment: dict[str, str], redirection: str, message: str) -> None:
    import subprocess

    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m superd.ctl list {redirection}"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == ExitStatus.NOT_WRITTEN
    assert done.stderr.decode().startswith(f"superctl: standard output: {message}")
    assert done.stderr.count(b"\n") == 1


def test_standard_input_as_params(process: Superctl) -> None:
    for option in ("--json", "--params"):
        done = process("call", "echo.echo", option, "-", given='{"text": "typed"}')
        assert (done.status, done.out) == (ExitStatus.OK, '{"text":"typed"}\n'), done.err


def test_what_a_call_imports(environment: dict[str, str]) -> None:
    """A script that calls superctl in a loop pays for each module: none of the daemon's, none of the other shell's."""
    import subprocess

    program = (
        "import sys; from superd.ctl.__main__ import main; status = main(['call', 'echo.echo', 'text=a']); "
        "print(status, *sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    status, *modules = done.stderr.decode().split()
    assert status == "0"
    unwanted = {
        "asyncio",
        "uvloop",
        "structlog",
        "systemd",
        "readline",
        "subprocess",
        "superd_client.builtin",
    }
    assert not unwanted & set(modules)
    own = {name for name in modules if name.startswith("superd.")}
    assert own == {
        "superd.incomplete",
        "superd.ctl",
        "superd.ctl.__main__",
        "superd.ctl.arrivals",
        "superd.ctl.calling",
        "superd.ctl.commands",
        "superd.ctl.console",
        "superd.ctl.exchange",
        "superd.ctl.exits",
        "superd.ctl.failure",
        "superd.ctl.params",
        "superd.ctl.session",
    }
