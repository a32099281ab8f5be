"""Writes what completes superctl and superd in bash, zsh and fish: python tools/completions FOLDER.

Everything is taken from the parsers of the programs, so that no option is forgotten. The shells' own part is in the
templates beside this file.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from superd import __version__
from superd.ctl.commands import COMMANDS, command_parser, top_parser
from superd.program import make_parser

TEMPLATES: Final = Path(__file__).resolve().parent

#: What completes a value, by the name that the help has for it. "none": nothing is known of it.
KINDS: Final = {
    "COMMAND": "command",
    "DIR": "directory",
    "FILE": "file",
    "GROUP": "group",
    "METHOD": "method",
    "NAME": "instance",
    "PREFIX": "method",
    "UNIT": "unit",
    "USER": "user",
}

#: The options that say which server is meant.
SERVER: Final = ("--socket", "--address", "--instance", "--user")

#: Names alone: what a server says is not trusted to be one.
NAMES: Final = r"sed -n 's/^\([a-z][a-z0-9_.]*\)(.*/\1/p'"
UNITS: Final = (
    "systemctl list-units --all --full --plain --no-legend --type=service,scope 2>/dev/null | sed 's/ .*//'"
)
INSTANCES: Final = (
    'ls /etc/superd/instances "${XDG_CONFIG_HOME:-$HOME/.config}/superd/instances" 2>/dev/null'
    r' | sed -n "s/\.toml$//p"'
)


class Value(NamedTuple):
    """What an option or an argument takes: what its help calls it, and what completes it."""

    name: str
    kind: str
    choices: tuple[str, ...] = ()


class Option(NamedTuple):
    """One option, under all its names; `value` is None for a flag."""

    names: tuple[str, ...]
    help: str
    value: Value | None
    is_repeated: bool


class Line(NamedTuple):
    """What may follow a command, or the program itself, whose name is "-"."""

    command: str
    help: str
    options: tuple[Option, ...]
    arguments: tuple[Value, ...]


def read_parser(parser: argparse.ArgumentParser, command: str = "-", summary: str = "") -> Line:
    """What a parser takes; the rest of a line, which another one reads, is left out."""
    options, arguments = [], []
    for action in parser._actions:  # noqa: SLF001 - argparse offers no other way to ask
        if action.option_strings:
            # Without what stands in brackets: a default, which is more than a menu has room for.
            told = parser._get_formatter()._expand_help(action).partition(" (")[0]  # noqa: SLF001
            value = None if action.nargs == 0 else read_value(action)
            repeated = isinstance(action, argparse._AppendAction)  # noqa: SLF001
            options.append(Option(tuple(action.option_strings), told, value, repeated))
        elif action.nargs != argparse.REMAINDER:
            arguments.append(read_value(action))
    return Line(command, summary, tuple(options), tuple(arguments))


def read_value(action: argparse.Action) -> Value:
    """What the value of an option, or an argument, is."""
    name = str(action.metavar or action.dest)
    if action.choices is not None:
        return Value(name, "choice", tuple(map(str, action.choices)))
    return Value(name, KINDS.get(name, "none"))


def superctl() -> list[Line]:
    """The lines of superctl, the program's own first."""
    commands = (
        read_parser(command_parser(name), name, command.summary) for name, command in COMMANDS.items()
    )
    return [read_parser(top_parser()), *commands]


def superd() -> list[Line]:
    """The one line of superd."""
    return [read_parser(make_parser())]


def fill(shell: str, program: str, **parts: str) -> str:
    """The template of a shell with its parts in place."""
    parts |= {"program": program, "version": __version__, "names": NAMES, "units": UNITS}
    parts.setdefault("instances", INSTANCES)
    text = (TEMPLATES / f"{shell}.in").read_text("utf-8")
    return re.sub(r"@(\w+)@", lambda match: parts[match[1]], text)


def server_options(line: Line) -> Iterator[tuple[str, Option]]:
    """Those of SERVER that the program has, by each of their names."""
    return ((name, option) for option in line.options for name in option.names if name in SERVER)


def bash(program: str, lines: list[Line]) -> str:
    """The script for bash."""
    return fill(
        "bash",
        program,
        arguments=_table((line.command, ",".join(map(_bash_kind, line.arguments))) for line in lines),
        options=_table(
            (line.command, " ".join(name for option in line.options for name in option.names))
            for line in lines
        ),
        values=_table(
            (f"{line.command} {name}", _bash_kind(option.value))
            for line in lines
            for option in line.options
            for name in option.names
            if option.value is not None
        ),
        server=" ".join(name for name, _ in server_options(lines[0])),
        commands=" ".join(line.command for line in lines[1:]),
    )


def _bash_kind(value: Value) -> str:
    return " ".join([value.kind, *value.choices])


def _table(entries: Iterable[tuple[str, str]]) -> str:
    rows = (f"        [{shlex.quote(key)}]={shlex.quote(text)}\n" for key, text in entries if text)
    return "\n" + "".join(rows) + "    "


def zsh(program: str, lines: list[Line]) -> str:
    """The script for zsh."""
    top, *commands = lines
    specs = {line.command: " \\\n            ".join(_zsh_specs(program, line)) for line in lines}
    if commands:
        offered = "\n".join(f"        {shlex.quote(f'{line.command}:{line.help}')}" for line in commands)
        cases = "\n".join(
            f"        {line.command})\n{_zsh_own(top, line)}"
            f"            _arguments -s \\\n            {specs[line.command]} && ret=0 ;;"
            for line in commands
        )
        body = (
            f"    local -a commands=(\n{offered}\n    )\n"
            f"    _arguments -C -A '-*' \\\n            {specs['-']} \\\n            '*:: :->argument' && ret=0\n"
            f"    [[ $state == argument ]] || return ret\n    case $words[1] in\n{cases}\n    esac"
        )
    else:
        body = f"    _arguments -s \\\n            {specs['-']} && ret=0"
    server = " ".join(f"{name} '{'value' if option.value else ''}'" for name, option in server_options(top))
    return fill("zsh", program, server_options=server, body=body)


def _zsh_own(top: Line, line: Line) -> str:
    """Takes the options out of `server_options` that mean something else after this command."""
    own = {name: option.value is None for name, option in server_options(line)}
    others = (
        name
        for name, option in server_options(top)
        if own.get(name, option.value is None) != (option.value is None)
    )
    return "".join(f"            unset 'server_options[{name}]'\n" for name in others)


def _zsh_specs(program: str, line: Line) -> Iterator[str]:
    for option in line.options:
        for name in option.names:
            value = ""
            sign = ""
            if option.value is not None:
                value = f":{_zsh_value(program, option.value)}"
                sign = "=" if name.startswith("--") else "+"
            star = "*" if option.is_repeated else ""
            yield shlex.quote(f"{star}{name}{sign}[{_zsh_text(option.help)}]{value}")
    for argument in line.arguments:
        if argument.kind == "command":
            yield "':command:{_describe command commands}'"
        else:
            yield shlex.quote(f"::{_zsh_value(program, argument)}")


def _zsh_value(program: str, value: Value) -> str:
    actions = {
        "choice": f"({' '.join(value.choices)})",
        "directory": "_files -/",
        "file": "_files",
        "group": "_groups",
        # Not a blank, which shows the name of the argument and has options completed no more.
        "none": "()",
        "user": "_users",
    }
    return f"{_zsh_text(value.name)}:{actions.get(value.kind, f'_{program}_words {value.kind}')}"


def _zsh_text(text: str) -> str:
    return re.sub(r"([\[\]:\\])", r"\\\1", text)


def fish(program: str, lines: list[Line]) -> str:
    """The script for fish."""
    commands = lines[1:]
    values = (
        f"{line.command} {name}"
        for line in lines
        for option in line.options
        if option.value is not None
        for name in option.names
    )
    offered = (
        f"complete -c {program} -n '__{program}_at - 0' -a {line.command} -d {_fish_text(line.help)}"
        for line in commands
    )
    return fill(
        "fish",
        program,
        values=" ".join(map(_fish_text, values)),
        server=" ".join(name for name, _ in server_options(lines[0])),
        has_commands="true" if commands else "false",
        instances=INSTANCES.replace("\\", "\\\\"),
        lines="\n".join([*offered, *(each for line in lines for each in _fish_lines(program, line))]),
    )


def _fish_lines(program: str, line: Line) -> Iterator[str]:
    for option in line.options:
        names = " ".join(
            f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names
        )
        value = "" if option.value is None else f" {_fish_value(program, option.value)}"
        yield (
            f"complete -c {program} -n '__{program}_at {line.command}' {names}{value}"
            f" -d {_fish_text(option.help)}"
        )
    for place, argument in enumerate(line.arguments):
        if argument.kind not in {"command", "none"}:
            value = _fish_value(program, argument).replace("-x ", "")
            yield f"complete -c {program} -n '__{program}_at {line.command} {place}' {value}"


def _fish_value(program: str, value: Value) -> str:
    ways = {
        "choice": f"-x -a {_fish_text(' '.join(value.choices))}",
        "directory": "-x -a '(__fish_complete_directories (commandline -ct))'",
        "file": "-r -F",
        "group": "-x -a '(__fish_complete_groups)'",
        "none": "-x",
        "user": "-x -a '(__fish_complete_users)'",
    }
    return ways.get(value.kind, f"-x -a '(__{program}_{value.kind})'")


def _fish_text(text: str) -> str:
    return "'" + re.sub(r"(['\\])", r"\\\1", text) + "'"


def main(folder: Path) -> None:
    """Write all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for program, lines in (("superctl", superctl()), ("superd", superd())):
        (folder / f"{program}.bash").write_text(bash(program, lines), "utf-8")
        (folder / f"_{program}").write_text(zsh(program, lines), "utf-8")
        (folder / f"{program}.fish").write_text(fish(program, lines), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
