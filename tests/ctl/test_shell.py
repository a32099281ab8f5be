"""The shell: as a script, and typed at on a terminal."""

import json
import stat
from pathlib import Path

import pytest

from superd.ctl.console import standard_streams
from superd.ctl.exits import ExitStatus
from superd.ctl.prompt import Completer, history_path
from superd.ctl.session import Session
from tests.ctl.conftest import Daemon, Superctl
from tests.ctl.terminal import Terminal

PROMPT = "superd> "


def test_a_script(process: Superctl) -> None:
    script = """\
# what a person would type
echo.echo text="a b"

call echo.echo 'text=c d'  # a comment
store.lookup sku=A-1 quantity:= 2
"""
    done = process("shell", given=script)
    assert (done.status, done.out) == (ExitStatus.USAGE, '{"text":"a b"}\n{"text":"c d"}\n')
    assert done.err.splitlines()[-1] == "superctl: stopped at line 5"


def test_a_script_ends_at_the_first_failure(process: Superctl) -> None:
    done = process("shell", given="echo.echo text=a\nstore.lookup sku=X-0\necho.echo text=b\n")
    assert (done.status, done.out) == (ExitStatus.FAILED, '{"text":"a"}\n')
    assert done.err.splitlines()[-1] == "superctl: stopped at line 2"


def test_a_script_with_every_command(process: Superctl) -> None:
    script = 'list echo\nstatus --json\ndescribe echo.echo\nhelp\nhelp call\n?\necho.echo text="x" --timeout 5\nquit\nbogus\n'
    done = process("shell", given=script)
    assert (done.status, done.err) == (ExitStatus.OK, "")
    assert "echo.echo(text: string) -> Echo  Answer" in done.out
    assert "usage: superctl call" in done.out
    assert done.out.endswith('{"text":"x"}\n')


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lst", "'lst' is no command; did you mean list?"),
        ("zzzzzz", "'zzzzzz' is no command; help shows what there is"),
        ("help zzzzzz", "'zzzzzz' is no command"),
        ("shell", "'shell' is no command"),
        ("echo.echo text='", "no closing quotation"),
        ("echo.echo --bogus", "unrecognized arguments: --bogus"),
        ("echo.echo --params -", "standard input is where the calls come from"),
        ("notify echo.echo --params -", "standard input is where the calls come from"),
        ("store.add_up --upload -", "standard input is where the calls come from"),
        ("echo.echo text", "'text' is no param"),
        ("call", "required: METHOD"),
    ],
)
def test_lines_that_are_wrong(process: Superctl, line: str, message: str) -> None:
    done = process("shell", given=line)
    assert (done.status, done.out) == (ExitStatus.USAGE, "")
    assert message in done.err


def test_options_of_the_shell_hold_for_its_lines(process: Superctl) -> None:
    done = process("shell", "--json", "--timeout", "50ms", given="list echo\nstore.wait\n")
    assert done.status == ExitStatus.UNKNOWN
    assert json.loads(done.out)[0]["name"] == "echo.echo"


def test_a_script_that_is_not_utf_8(process: Superctl) -> None:
    done = process("shell", given=b"echo.echo text=\xff\n")
    assert done.status == ExitStatus.USAGE
    assert "not text that UTF-8 can say" in done.err


def test_a_person(environment: dict[str, str]) -> None:
    with Terminal(["shell"], environment) as terminal:
        greeting = terminal.expect(PROMPT)[0]
        assert terminal.text.startswith("\x1b[2munix:")
        assert greeting
        terminal.type('echo.echo text="a b"\r')
        terminal.expect(r'\{\r\n  \x1b\[36m"text":\x1b\[0m \x1b\[32m"a b"\x1b\[0m\r\n\}\r\n' + PROMPT)
        terminal.type("store.lookup sku=X-0\r")
        terminal.expect(r"\x1b\[1;31msuperctl: \x1b\[0mstore.lookup: .*pwned.*OutOfStock.*" + PROMPT)
        terminal.type("help\r")
        terminal.expect("Ctrl-C gives up on a call.\r\n" + PROMPT)
        terminal.type("\r")
        terminal.expect(PROMPT)
        terminal.type("quit\r")
        assert terminal.finish() == ExitStatus.OK
    assert "\x1b]0;" not in terminal.text
    assert "\x9b" not in terminal.text


def test_control_c_and_control_d(environment: dict[str, str], daemon: Daemon) -> None:
    with Terminal(["shell"], environment) as terminal:
        terminal.expect(PROMPT)
        terminal.type("echo.echo te")
        terminal.expect("te")
        terminal.interrupt(r"\n.*" + PROMPT)
        begun = daemon.waits_begun()
        terminal.type("store.wait\r")
        daemon.await_wait(begun + 1)
        terminal.type("\x03")
        terminal.expect("given up; the call may have been carried out.*" + PROMPT)
        terminal.type("echo.echo text=still\r")
        terminal.expect('"still".*' + PROMPT)
        terminal.type("\x04")
        assert terminal.finish() == ExitStatus.OK
    assert "Traceback" not in terminal.text


def test_control_c_ends_a_command(environment: dict[str, str], daemon: Daemon) -> None:
    begun = daemon.waits_begun()
    with Terminal(["call", "store.wait"], environment) as terminal:
        daemon.await_wait(begun + 1)
        terminal.type("\x03")
        assert terminal.finish() == ExitStatus.INTERRUPTED
    assert terminal.text == "^C\r\n"


def test_completion_on_a_terminal(environment: dict[str, str]) -> None:
    with Terminal(["shell"], environment) as terminal:
        terminal.expect(PROMPT)
        terminal.type("store.loo\t")
        terminal.expect("store.lookup ")
        terminal.type("sk\t")
        terminal.expect("sku=")
        terminal.type("A-1\r")
        terminal.expect('"quantity":.*' + PROMPT)
        terminal.type("\x04")
        assert terminal.finish() == ExitStatus.OK


def test_history(environment: dict[str, str]) -> None:
    path = Path(environment["XDG_STATE_HOME"]) / "superd" / "history"
    with Terminal(["shell"], environment) as terminal:
        terminal.expect(PROMPT)
        terminal.type("\x04")
        assert terminal.finish() == ExitStatus.OK
    assert not path.exists()
    for text in ("one", "two"):
        with Terminal(["shell"], environment) as terminal:
            terminal.expect(PROMPT)
            terminal.type(f"echo.echo text={text}\r")
            terminal.expect(f'"{text}".*{PROMPT}')
            terminal.type("\x04")
            assert terminal.finish() == ExitStatus.OK
    assert path.read_text("utf-8").splitlines()[-2:] == ["echo.echo text=one", "echo.echo text=two"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with Terminal(["shell"], environment) as terminal:
        terminal.expect(PROMPT)
        terminal.type("\x1b[A\x1b[A\r")
        terminal.expect('"one".*' + PROMPT)
        terminal.type("quit\r")
        assert terminal.finish() == ExitStatus.OK


def test_a_home_that_takes_no_history(environment: dict[str, str], tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", "utf-8")
    with Terminal(["shell"], {**environment, "XDG_STATE_HOME": str(blocked)}) as terminal:
        terminal.expect(PROMPT)
        terminal.type("echo.echo text=x\r")
        terminal.expect('"x".*' + PROMPT)
        terminal.type("\x04")
        assert terminal.finish() == ExitStatus.OK
    assert "Traceback" not in terminal.text


def test_where_the_history_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert history_path() == Path("/state/superd/history")
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", value)
        assert history_path() == Path("/home/someone/.local/state/superd/history")


def test_a_shell_with_nobody_to_talk_to(environment: dict[str, str]) -> None:
    with Terminal(["shell"], {**environment, "SUPERD_SOCKET": "unix:/nonexistent"}) as terminal:
        assert terminal.finish() == ExitStatus.NOT_SENT
    assert "nonexistent" in terminal.text
    assert PROMPT not in terminal.text


@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours(environment: dict[str, str], variable: dict[str, str]) -> None:
    with Terminal(["list"], {**environment, **variable}) as terminal:
        assert terminal.finish() == ExitStatus.OK
    assert "store.lookup(" in terminal.text
    assert "\x1b" not in terminal.text


def test_a_list_on_a_narrow_terminal(environment: dict[str, str]) -> None:
    with Terminal(["list", "store.lookup"], {**environment, "NO_COLOR": "1"}, columns=70) as terminal:
        assert terminal.finish() == ExitStatus.OK
    assert terminal.text == (
        "store.lookup(sku: string, quantity: integer = 1) -> Item\r\n    Look an item up.\r\n"
    )


@pytest.mark.parametrize(
    ("before", "text", "found"),
    [
        ([], "store.l", ["store.lookup "]),
        ([], "de", ["describe "]),
        ([], "zzz", []),
        (["describe"], "echo", ["echo.echo "]),
        (["notify"], "echo", ["echo.echo "]),
        (["notify", "store.remember"], "", ["count:="]),
        (["call", "store.read_file"], "", ["name="]),  # a descriptor is given by an option
        (["call"], "echo", ["echo.echo "]),
        (["help"], "st", ["status "]),
        (["store.lookup"], "", ["sku=", "quantity:="]),
        (["call", "store.lookup"], "q", ["quantity:="]),
        (["store.lookup", "quantity:=1"], "", ["sku="]),
        (["store.lookup", "sku=a"], "", ["quantity:="]),
        (["no.such"], "", []),
        (["describe", "echo.echo"], "", []),
        (["kick"], "", ["--uid ", "--unit "]),
        (["drain", "--uid", "root"], "", ["--unit ", "--wait "]),
        (["peers"], "--un", ["--unit "]),
    ],
)
def test_what_tab_offers(environment: dict[str, str], before: list[str], text: str, found: list[str]) -> None:
    session = Session(standard_streams())
    try:
        assert Completer(session, ["describe", "list", "status"]).candidates(text, before) == found
    finally:
        session.close()


def test_tab_without_a_server() -> None:
    completer = Completer(Session(standard_streams(), address="unix:/nonexistent"), ["describe"])
    assert completer.candidates("d", []) == ["describe "]
    assert completer("zzz", 0) is None
