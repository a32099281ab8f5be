"""Short names for what the tests run in the guest."""

import json
from collections.abc import Sequence
from typing import Any, Final

from tests.system.guest import Completed, Entry, Guest

SOCKET: Final = "/run/superd/superd.sock"
FIFO: Final = "/var/lib/superd/fifo"

#: A service of the tests, see inside/hang.py.
HANG: Final = '"hang:hang"'


def python(script: str) -> list[str]:
    """The command for a program of inside/."""
    return ["/usr/bin/python3", "-I", f"/usr/lib/superd-services/{script}.py"]


def call(guest: Guest, *arguments: str) -> Any:
    """What superctl prints of a successful call."""
    return json.loads(guest.exec("superctl", "call", *arguments).stdout)


def call_as(guest: Guest, user: str, *arguments: str) -> Completed:
    """A call in a unit of its own, by a user with that user's groups."""
    return guest.run("superctl", "call", *arguments, properties=[f"User={user}"], check=False)


def host(guest: Guest, *services: str) -> None:
    """Have superd host services from its next start on."""
    guest.write("/etc/superd/superd.d/90-test.toml", f"services = [{', '.join(services)}]\n")


def first_reply_usec(guest: Guest) -> int:
    """How long a first call takes."""
    return int(guest.exec(*python("first_reply")).stdout)


def messages(entries: Sequence[Entry]) -> list[str]:
    """What a person reads of journal entries."""
    return [each["MESSAGE"] for each in entries]
