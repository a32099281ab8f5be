"""What Tab offers in bash, zsh and fish: real shells, at a terminal, with the scripts that make completions writes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest

from superd.ctl.commands import COMMANDS, command_parser
from tests.ctl.canned import serve
from tests.ctl.conftest import ROOT
from tests.ctl.terminal import Terminal

#: What is typed, and what there is then to choose from.
CASES: Final = {
    "superctl ca": {"call"},
    "superctl --soc": {"--socket"},
    "superctl --timeout 5s des": {"describe"},
    "superctl call --call-id a store.lo": {"store.lookup"},
    "superctl call store.lookup --para": {"--params"},
    "superctl call --params ite": {"items.json"},
    "superctl call store.lookup sku=A-1 quantity:=2 --str": {"--stream"},
    "superctl why --dir": {"--directory"},
    "superctl --instance inv": {"inventory"},
    "superctl list --instance=inv": {"--instance=inventory"},
    "superctl policy te": {"test"},
    "superctl policy test --user roo": {"root"},
    "superctl policy test --user root store.lo": {"store.lookup"},
    "superctl policy test --user=root store.lo": {"store.lookup"},
    "superd --che": {"--check"},
    "superd --config ite": {"items.json"},
}


@pytest.fixture(scope="session", name="scripts")
def fixture_scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completions")
    subprocess.run([sys.executable, ROOT / "tools/completions", folder], check=True)
    return folder


class Typist:
    """Types lines, asks for all completions of each, and reads the words that it has then."""

    def __init__(self, scripts: Path, folder: Path, environment: dict[str, str]) -> None:
        self.scripts, self.folder = scripts, folder
        (folder / "items.json").touch()
        instances = folder / "configuration/superd/instances"
        instances.mkdir(parents=True)
        (instances / "inventory.toml").touch()
        self._environment = {
            **environment,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "XDG_CONFIG_HOME": str(folder / "configuration"),
            "ZDOTDIR": str(folder),
        }

    # Meta-* inserts all completions.
    def bash(self, *lines: str, keys: str = "\x1b*") -> list[set[str]]:
        setup = self.folder / "bashrc"
        setup.write_text(
            f"PS1='ready> '\nsource {self.scripts}/superctl.bash\nsource {self.scripts}/superd.bash\n"
        )
        return self._at_a_prompt("bash", ["--rcfile", str(setup), "--noprofile", "-i"], keys, lines)

    def zsh(self, *lines: str) -> list[set[str]]:
        (self.folder / ".zshrc").write_text(
            f"PS1='ready> '\nfpath=({self.scripts} $fpath)\nautoload -Uz compinit\ncompinit -u -D\n"
            "zstyle ':completion:all-matches::::' completer _all_matches _complete\n"
            "zstyle ':completion:all-matches:*' insert true\n"
            "zle -C all-matches complete-word _generic\nbindkey '^Xa' all-matches\n"
        )
        return self._at_a_prompt("zsh", ["-o", "nopromptsp", "-i"], "\x18a", lines)

    def fish(self, *lines: str) -> list[set[str]]:
        sources = "".join(f"source {self.scripts}/{program}.fish\n" for program in ("superctl", "superd"))
        program = f"{sources}for line in $argv; complete --do-complete $line; echo; end"
        done = subprocess.run(
            ["fish", "--no-config", "--command", program, *lines],
            env=self._environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        answers = done.stdout.removesuffix("\n").split("\n\n")
        return [{each.partition("\t")[0] for each in answer.splitlines() if each} for answer in answers]

    def _at_a_prompt(
        self, shell: str, arguments: list[str], complete: str, lines: Sequence[str]
    ) -> list[set[str]]:
        with Terminal(arguments, self._environment, program=shell) as terminal:
            terminal.type(f"cd {self.folder}\r")
            terminal.expect("ready> .*ready> ")
            return [self._complete(terminal, complete, line) for line in lines]

    def _complete(self, terminal: Terminal, complete: str, line: str) -> set[str]:
        # Control-A goes to the begin of the line, and control-E to its end.
        terminal.type(f"{line}{complete}\x01printf '%s\\n' \x05 >words; echo wri''tten\r")
        terminal.expect("written.*ready> ")
        typed, words = line.split(), (self.folder / "words").read_text().splitlines()
        assert words[: len(typed) - 1] == typed[:-1]
        return set(words[len(typed) - 1 :])


@pytest.fixture(name="typist")
def fixture_typist(scripts: Path, tmp_path: Path, environment: dict[str, str]) -> Typist:
    return Typist(scripts, tmp_path, environment)


def offering(*names: str) -> dict[str, object]:
    """What a server says that has methods of these names."""
    return {"methods": [{"name": name, "params": [], "result": {"schema": {}}} for name in names]}


Offer = Callable[..., list[set[str]]]


@pytest.fixture(params=["bash", "zsh", "fish"], name="offer")
def fixture_offer(request: pytest.FixtureRequest, typist: Typist) -> Offer:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    offer: Offer = getattr(typist, request.param)
    return offer


def test_what_is_offered(offer: Offer) -> None:
    assert dict(zip(CASES, offer(*CASES), strict=True)) == CASES


def test_a_folder_may_be_followed_by_what_is_in_it(typist: Typist) -> None:
    line = "superctl why --directory conf"
    assert typist.bash(line, keys="\tsup\tend") == [{"configuration/superd/end"}]


def test_the_server_of_the_line_is_asked(offer: Offer, tmp_path: Path) -> None:
    with serve(tmp_path, {"rpc.discover": offering("other.method")}) as address:
        assert offer(f"superctl --socket {address} call other.") == [{"other.method"}]


def test_nothing_that_a_server_says_is_carried_out(offer: Offer, tmp_path: Path) -> None:
    names = ["a.$(touch pwned)", "a.`touch pwned`", "a.b;touch", "a.'b", "a.good"]
    with serve(tmp_path, {"rpc.discover": offering(*names)}) as address:
        assert offer(f"superctl call --socket {address} a.") == [{"a.good"}]
    assert not (tmp_path / "pwned").exists()


def test_without_a_server_there_is_nothing_to_choose_from(offer: Offer, tmp_path: Path) -> None:
    (offered,) = offer(f"superctl --socket {tmp_path}/none call a.b")
    assert offered <= {"a.b"}


def test_every_option_of_every_command(scripts: Path) -> None:
    ask = "COMP_WORDS=(superctl {0} -); COMP_CWORD=2; _superctl; echo {0} ${{COMPREPLY[*]}}\n"
    program = "".join(ask.format(command) for command in COMMANDS)
    done = subprocess.run(
        ["bash", "-c", f"source {scripts}/superctl.bash\n{program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    offered = {name: set(options) for name, *options in map(str.split, done.stdout.splitlines())}
    assert offered == {name: set(command_parser(name)._option_string_actions) for name in COMMANDS}


def test_the_scripts_are_written_alike_each_time(scripts: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "tools/completions", tmp_path], check=True)
    for script in scripts.iterdir():
        assert script.read_bytes() == (tmp_path / script.name).read_bytes()
