"""The command line: which commands there are, and which options all of them take."""

import argparse
import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, Protocol, cast

from typing_extensions import override

from superd import __version__
from superd.ctl.exits import ExitStatus, UsageError
from superd_client.instances import Instance, make_instance

if TYPE_CHECKING:
    from superd.ctl.console import Console
    from superd.ctl.session import Session


class Command(NamedTuple):
    """The module that carries a command out, and what the overview says of it."""

    module: str
    summary: str


COMMANDS: Final[Mapping[str, Command]] = {
    "call": Command("superd.ctl.calling", "call a method and print its result"),
    "notify": Command("superd.ctl.notifying", "send a one-way call, which is not answered"),
    "list": Command("superd.ctl.listing", "list the methods that the server offers"),
    "describe": Command("superd.ctl.describing", "show what a method takes, gives and how it may fail"),
    "status": Command("superd.ctl.reporting", "show what the daemon is and what it has done"),
    "peers": Command("superd.ctl.peering", "list who is connected"),
    "kick": Command("superd.ctl.kicking", "close connections, and cancel what runs on them"),
    "drain": Command("superd.ctl.draining", "have connections closed once what runs on them has ended"),
    "reload": Command("superd.ctl.reloading", "have settings and policy read again"),
    "doctor": Command("superd.ctl.doctor.command", "say what is wrong with superd here, and what mends it"),
    "why": Command("superd.ctl.asking_why", "tell from the journal what became of a call"),
    "policy": Command("superd.ctl.policing", "show or test who may call what"),
    "shell": Command("superd.ctl.shell", "type calls at a prompt, or read them from standard input"),
}


#: Commands with an argument --user of their own: for them the option of all commands stands before the command.
_OWN_USER: Final = frozenset({"policy"})


class CommandModule(Protocol):
    """What each of those modules has."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own arguments."""

    def run(self, arguments: argparse.Namespace, session: "Session") -> int:
        """Carry it out; returns the exit status."""


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError, so that a wrong line does not end the shell."""

    @override
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n{self.format_usage().strip()}")


def load(command: str) -> CommandModule:
    """Import the module of a command."""
    return cast("CommandModule", importlib.import_module(COMMANDS[command].module))


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read a command line, global options before and after the command; raises UsageError.

    --help and --version write and raise SystemExit, as argparse does.
    """
    first = top_parser().parse_args(argv)
    if first.command == "help":
        return parse([*first.rest, "--help"])
    if first.command is None:
        raise UsageError("no command\n" + top_parser().format_help())
    if first.command not in COMMANDS:
        method = f"did you mean call {first.command}?" if "." in first.command else ""
        raise no_command(first.command, COMMANDS, method or f"there are {', '.join(COMMANDS)}")
    return parse_command(first.command, first.rest, first)


def no_command(word: str, known: Iterable[str], otherwise: str) -> UsageError:
    """What to raise for a word that is no command; `otherwise` is said where none is like it."""
    import difflib

    near = difflib.get_close_matches(word, sorted(known), n=1)
    return UsageError(f"{word!r} is no command; {f'did you mean {near[0]}?' if near else otherwise}")


def parse_command(
    command: str, argv: Sequence[str], namespace: argparse.Namespace | None = None
) -> argparse.Namespace:
    """Read what follows the name of a command; raises UsageError."""
    arguments = command_parser(command).parse_intermixed_args(argv, namespace)
    arguments.command = command
    return arguments


def command_parser(command: str) -> Parser:
    """The parser of what follows the name of a command."""
    parser = Parser(
        prog=f"superctl {command}",
        description=f"{COMMANDS[command].summary[0].upper()}{COMMANDS[command].summary[1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    load(command).configure(parser)
    _add_global_options(parser, with_user=command not in _OWN_USER)
    if command not in {"call", "notify"}:
        _add_json_option(parser)
    return parser


def read_instance(arguments: argparse.Namespace) -> Instance | None:
    """The superd that --instance and --user name, None without them; raises UsageError."""
    options = [name for name in ("instance", "of_user", "socket") if hasattr(arguments, name)]
    if not options or options == ["socket"]:
        return None
    if "socket" in options:
        raise UsageError("--socket, or --instance and --user: both say which server is meant")
    name = getattr(arguments, "instance", "")
    if "instance" in options and not name:
        raise UsageError("--instance: the name of an instance is not empty")
    try:
        return make_instance(name, user="of_user" in options)
    except ValueError as error:
        raise UsageError(f"--instance: {error}") from None


def run_command(arguments: argparse.Namespace, session: "Session") -> int:
    """Carry out a parsed command; a failure is written to standard error and is the exit status."""
    from superd.ctl.failure import report, status_of
    from superd_client.errors import SuperdError

    try:
        return load(arguments.command).run(arguments, session)
    except UsageError as error:
        return complain(error, session.streams.err)
    except SuperdError as error:
        report(error, session.streams.err)
        return status_of(error)


def complain(error: UsageError, console: "Console") -> ExitStatus:
    """Tell what is wrong with a command line."""
    first, *more = str(error).split("\n")
    console.line("superctl: ", first)
    for line in more:
        console.line(line)
    return ExitStatus.USAGE


def top_parser() -> Parser:
    """The parser of the options before a command."""
    width = max(map(len, COMMANDS))
    parser = Parser(
        prog="superctl",
        usage="superctl [OPTION]... COMMAND [ARGUMENT]...",
        description="Talk to superd, or to any daemon that speaks its protocol.",
        epilog="commands:\n"
        + "\n".join(f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items())
        + "\n\nsuperctl COMMAND --help says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_global_options(parser)
    _add_json_option(parser)
    parser.add_argument("--version", action="version", version=f"superctl {__version__}")
    parser.add_argument("command", nargs="?", metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _add_global_options(parser: argparse.ArgumentParser, *, with_user: bool = True) -> None:
    parser.add_argument(
        "--socket",
        "--address",
        dest="socket",
        metavar="ADDRESS",
        default=argparse.SUPPRESS,
        help="the server, as unix:/path, /path, unix:@name, unix-seqpacket:... or unix-dgram:... (default: $SUPERD_SOCKET, else unix:/run/superd/superd.sock)",
    )
    parser.add_argument(
        "--instance",
        metavar="NAME",
        default=argparse.SUPPRESS,
        help="the server of superd@NAME.socket, instead of --socket",
    )
    if with_user:
        parser.add_argument(
            "--user",
            dest="of_user",
            action="store_true",
            default=argparse.SUPPRESS,
            help="this user's own superd, of systemctl --user",
        )
    parser.add_argument(
        "--timeout",
        metavar="SPAN",
        type=_timeout,
        default=argparse.SUPPRESS,
        help="how long to wait for an answer, in seconds or as in systemd.time(7): 500ms, 1min (default: 25s)",
    )


def _add_json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        dest="as_json",
        action="store_true",
        default=argparse.SUPPRESS,
        help="write JSON, for scripts",
    )


def _timeout(text: str) -> float:
    from superd.timespan import parse_span

    try:
        seconds = parse_span(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if seconds <= 0:
        raise argparse.ArgumentTypeError("a timeout is more than 0")
    return seconds
