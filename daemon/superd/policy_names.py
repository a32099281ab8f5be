"""Names of users, groups and units, looked up on this host."""

import grp
import os
import pwd
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from superd_client.instances import Instance

#: The largest id: 4294967295 means "no change" in chown(2), and "no mapping" in a user namespace.
ID_MAX: Final = 2**32 - 2

SYSTEMCTL: Final = "/usr/bin/systemctl"

#: There where systemd runs the host, sd_booted(3).
BOOTED: Final = Path("/run/systemd/system")

_SYSTEMCTL_TIMEOUT: Final = 5.0


class Account(NamedTuple):
    """A user id and a group id."""

    uid: int
    gid: int


def own_account() -> Account:
    """What this process runs as."""
    return Account(os.geteuid(), os.getegid())


def find_account(user: str) -> Account | None:
    """A user's account, None where there is no such user."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    return Account(entry.pw_uid, entry.pw_gid)


def daemon_account(instance: Instance) -> Account:
    """What a superd runs as, to all appearance: the user whom its unit names, else who this process runs as."""
    return (None if instance.user else find_account(instance.account)) or own_account()


def find_uid(user: str | int) -> int | None:
    """The id of a user by name or number, None for an unknown name. A number needs no user."""
    number = _as_number(user)
    if number is not None:
        return number
    account = find_account(str(user))
    return None if account is None else account.uid


def find_gid(group: str | int) -> int | None:
    """The id of a group by name or number, None for an unknown name. A number needs no group."""
    number = _as_number(group)
    if number is not None:
        return number
    try:
        return grp.getgrnam(str(group)).gr_gid
    except KeyError:
        return None


def _as_number(name: str | int) -> int | None:
    """An id that is written as one; as text too: no user may have a name of digits alone."""
    if isinstance(name, str) and not (name.isascii() and name.isdigit()):
        return None
    return int(name)


def find_missing_units(units: Iterable[str]) -> frozenset[str]:
    """Those of `units` that systemd knows no file of, and that do not run; none where systemd cannot be asked.

    Blocks, for as long as systemctl takes.
    """
    asked = sorted(units)
    if not asked or not BOOTED.is_dir():
        return frozenset()
    command = [SYSTEMCTL, "show", "--property=LoadState", "--value", "--", *asked]
    try:
        done = subprocess.run(  # noqa: S603 - the names are units by their form, and stand behind "--"
            command, capture_output=True, text=True, timeout=_SYSTEMCTL_TIMEOUT, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return frozenset()
    states = done.stdout.split()
    if len(states) != len(asked):
        return frozenset()
    return frozenset(unit for unit, state in zip(asked, states, strict=True) if state == "not-found")
