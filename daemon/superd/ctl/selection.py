"""Which connections a command line means."""

import argparse
import pwd
from typing import Any

from pydantic import ValidationError

from superd.ctl.exits import UsageError
from superd.policy_names import find_uid
from superd_client.administration import Selection

#: Members of a selection by the names of the arguments.
_ARGUMENTS = {"id": "ID", "uid": "--uid", "unit": "--unit"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says which connections are meant; all that is given must be true of one."""
    parser.add_argument("id", metavar="ID", nargs="?", help="one connection, as superctl peers shows it")
    parser.add_argument("--uid", metavar="USER", help="those of a user, a name or a number")
    parser.add_argument("--unit", metavar="UNIT", help="those of processes in a systemd unit")


def read_selection(arguments: argparse.Namespace) -> dict[str, Any]:
    """The members of the selection that are given; raises UsageError."""
    uid = None if arguments.uid is None else find_uid(arguments.uid)
    if arguments.uid is not None and uid is None:
        raise UsageError(f"there is no user {arguments.uid!r}")
    given = {"id": arguments.id, "uid": uid, "unit": arguments.unit}
    members = {name: value for name, value in given.items() if value is not None}
    try:
        Selection(**members)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = _ARGUMENTS[str(fault["loc"][0])]
        if name == "ID":
            raise UsageError(
                f"{arguments.id!r} is no id of a connection: superctl peers shows them"
            ) from None
        raise UsageError(f"{name}: {fault['msg']}") from None
    return members


def user_name(uid: int) -> str | int:
    """The name of a user, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return uid


def count(number: int, noun: str) -> str:
    """A number of things in words."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
