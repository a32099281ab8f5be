"""superctl shell: calls typed at a prompt, or read from standard input one on a line."""

import argparse
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Final

from superd.ctl.commands import COMMANDS, complain, no_command, parse_command, run_command
from superd.ctl.console import Painted, Style
from superd.ctl.exits import ExitStatus, UsageError
from superd.ctl.session import Session
from superd.ctl.tokens import split_line
from superd_client.errors import MethodNotFound

PROMPT: Final = "superd> "

HELP: Final = """\
METHOD [key=text | key:=json]...   call a method; JSON needs no quotes here: tags:=["a", "b"]
METHOD --stream ...                the items of a stream, as they come; Ctrl-C ends it
METHOD --upload FILE ...           call an upload with the items in the lines of a file
notify METHOD ...                  call it one-way
list [PREFIX]                      the methods
describe METHOD                    one of them in full
status                             the daemon
peers | kick ID | drain            who is connected; close connections
reload                             read settings and policy again
why CALL_ID                        what became of a call
policy show | policy test ...      who may call what
help [COMMAND]                     this, or the options of a command
quit                               leave; so does Ctrl-D

A call takes the options of superctl call, such as --timeout 500ms. Tab completes, Up brings back a line,
Ctrl-C gives up on a call."""

_LEAVE: Final = frozenset({"quit", "exit"})
_WORDS: Final = frozenset(COMMANDS) - {"shell"} | _LEAVE | {"help"}


def configure(parser: argparse.ArgumentParser) -> None:
    """`shell` has no arguments of its own."""


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Read lines to the end: from a person, or from a script, which ends at the first line that fails."""
    shell = Shell(arguments, session)
    if sys.stdin is not None and sys.stdin.isatty():
        return shell.converse()
    return shell.read(sys.stdin or ())


class Shell:
    """Carries lines out over one session."""

    def __init__(self, arguments: argparse.Namespace, session: Session) -> None:
        """`arguments` are those of the command `shell`: what they set holds for each line."""
        self._defaults: Final = {
            name: getattr(arguments, name) for name in ("timeout", "as_json") if hasattr(arguments, name)
        }
        self._session = session
        self._streams = session.streams
        self._left = False

    def read(self, lines: Iterable[str]) -> int:
        """Carry out a script; returns the exit status of the line that failed, else 0."""
        for number, line in enumerate(lines, 1):
            status = self.carry_out(line)
            if status != ExitStatus.OK:
                self._streams.err.line(f"superctl: stopped at line {number}")
                return status
            if self._left:
                break
        return ExitStatus.OK

    def converse(self) -> int:
        """Prompt until the person leaves. Raises SuperdError where there is no server to talk to."""
        from superd.ctl.prompt import Prompt

        self._greet()
        with ExitStack() as stack:
            prompt = stack.enter_context(Prompt(PROMPT, self._session, sorted(_WORDS)))
            while not self._left:
                try:
                    line = prompt.read()
                except EOFError:
                    self._streams.out.line()
                    break
                except KeyboardInterrupt:
                    self._streams.out.line()
                    continue
                self._carry_out_interruptibly(line)
        return ExitStatus.OK

    def _greet(self) -> None:
        """Say who answers. A server need not offer rpc.discover."""
        try:
            count = len(self._session.document().get("methods", ()))
        except MethodNotFound:
            count = 0
        about = f"{count} methods" if count else "no list of methods"
        self._streams.out.line(
            Painted(f"{self._session.address}, {about}; help shows what to type", Style.FAINT)
        )

    def _carry_out_interruptibly(self, line: str) -> None:
        try:
            self.carry_out(line)
            self._streams.out.flush()
        except KeyboardInterrupt:
            self._streams.err.line("superctl: given up; the call may have been carried out")

    def carry_out(self, line: str) -> int:
        """Carry out one line; returns its exit status, after what was wrong was written."""
        try:
            words = split_line(line)
            return self._dispatch(words) if words else ExitStatus.OK
        except UsageError as error:
            return complain(error, self._streams.err)
        except SystemExit as end:
            return ExitStatus.OK if not end.code else ExitStatus.USAGE  # --help

    def _dispatch(self, words: list[str]) -> int:
        first, rest = words[0], words[1:]
        if first in _LEAVE:
            self._left = True
            return ExitStatus.OK
        if first in {"help", "?"}:
            return self._help(rest)
        if first not in _WORDS and "." not in first:
            raise _unknown(first)
        command, argv = (first, rest) if first in _WORDS else ("call", words)
        arguments = parse_command(command, argv, argparse.Namespace(**self._defaults))
        if "-" in {getattr(arguments, name, None) for name in ("source", "upload")}:
            raise UsageError("standard input is where the calls come from: name a file")
        return run_command(arguments, self._session)

    def _help(self, rest: list[str]) -> int:
        if rest:
            if rest[0] not in COMMANDS:
                raise _unknown(rest[0])
            parse_command(rest[0], ["--help"])
        for line in HELP.split("\n"):
            self._streams.out.line(line)
        return ExitStatus.OK


def _unknown(word: str) -> UsageError:
    return no_command(word, _WORDS, "help shows what there is; methods have a dot in their names")
