"""superctl reload: settings and policy read again. It returns when they are in force, or were refused."""

import argparse
from collections.abc import Iterable
from typing import Final

from superd.ctl.console import Console, Painted, Style, compact_json
from superd.ctl.exits import ExitStatus
from superd.ctl.selection import count
from superd.ctl.session import Session
from superd_client.administration import Reloaded, SettingChange, WrongFiles, fault_text, reload
from superd_client.builtin import Nothing
from superd_client.errors import ApplicationError

EPILOG: Final = """\
Where a file is wrong nothing is changed, each fault is told, and the exit status is 1. What
only a restart changes is named; superd.toml(5) says which settings these are.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """`reload` has no arguments of its own."""
    parser.epilog = EPILOG


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Ask for it, and write what came of it."""
    as_json = bool(getattr(arguments, "as_json", False))
    out, err = session.streams
    try:
        answer = session.ask(reload, Nothing(), timeout=getattr(arguments, "timeout", None))
    except ApplicationError as error:
        if not isinstance(error.detail, WrongFiles):
            raise
        if as_json:
            out.json(error.detail.model_dump(mode="json"))
        _complain(error, error.detail, err)
        return ExitStatus.FAILED
    if as_json:
        out.json(answer.model_dump(mode="json"))
        return ExitStatus.OK
    _write(answer, out)
    for warning in answer.policy.warnings:
        err.line(Painted("warning: ", Style.BAD), warning)
    return ExitStatus.OK


def _complain(error: ApplicationError, wrong: WrongFiles, err: Console) -> None:
    err.line(Painted("superctl: ", Style.BAD), Painted(error.message, Style.STRONG))
    for fault in wrong.faults:
        err.line("  ", fault_text(fault))
    if wrong.omitted:
        err.line(f"  and {wrong.omitted} more")


def _write(answer: Reloaded, out: Console) -> None:
    _list("changed", answer.changed, out)
    _list("needs a restart", answer.needs_restart, out)
    files, rules = len(answer.policy.files), answer.policy.rules
    out.line(f"policy: {count(rules, 'rule')} in {count(files, 'file')}")


def _list(what: str, changes: Iterable[SettingChange], out: Console) -> None:
    for change in changes:
        out.line(
            f"{what}: ",
            Painted(change.name, Style.NAME),
            f" {compact_json(change.old)} -> {compact_json(change.new)}",
        )
