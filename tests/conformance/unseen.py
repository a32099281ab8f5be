"""Clauses that nobody can see from the other end of a server's socket, and why."""

from collections.abc import Mapping
from typing import Final

_CLIENT: Final = "a rule for clients"
_INSIDE: Final = "cannot be seen from outside"

UNSEEN: Final[Mapping[str, str]] = {
    "1.3": _CLIENT,
    "2.4": "the server's memory cannot be seen from outside",
    "2.11": _CLIENT,
    "2.13": "nothing of a server is so large",
    "4.3.3": _CLIENT,
    "5.3": "",
    "7.5.1": _INSIDE,
    "7.5.2": _INSIDE,
    "7.5.5": _CLIENT,
    "7.5.6": _INSIDE,
    "7.5.7": "needs a server that has no time left",
    "7.6.1": _CLIENT,
    "7.6.2": _CLIENT,
    "7.6.3": _CLIENT,
    "7.6.4": _CLIENT,
    "7.6.5": _CLIENT,
    "8.2": "",
}
