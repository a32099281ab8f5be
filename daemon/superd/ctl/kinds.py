"""Calls, streams and uploads that were taken for one another."""

from typing import Final

from superd.ctl.interface import read_interface
from superd.ctl.session import Session
from superd_client.errors import SuperdError

#: Seconds to ask for what went wrong: something has gone wrong already.
_PATIENCE: Final = 0.5

_COMMANDS: Final = {
    "call": ("neither a stream nor an upload", "superctl call {}"),
    "stream": ("a stream", "superctl call --stream {}"),
    "upload": ("an upload", "superctl call --upload FILE {}"),
}


def find_mistake(session: Session, method: str, taken_for: str) -> str | None:
    """What to say where `method` is of another kind than it was taken for; None where it is not, or nobody knows."""
    try:
        found = read_interface(session.discover(timeout=_PATIENCE)).find(method)
    except SuperdError:
        return None
    if found is None or found.kind == taken_for or found.kind not in _COMMANDS:
        return None
    kind, command = _COMMANDS[found.kind]
    return f"{method} is {kind}: {command.format(method)}"
