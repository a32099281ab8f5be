"""Clauses that nobody can see from the other end of a server's socket, and why."""

from collections.abc import Mapping
from typing import Final

_CLIENT: Final = "a rule for clients"
_INSIDE: Final = "cannot be seen from outside"
_ADDRESS: Final = "a rule for who reads addresses; this one was read so"

UNSEEN: Final[Mapping[str, str]] = {
    "1.3": _CLIENT,
    "2.4": "the server's memory cannot be seen from outside",
    "2.11": _CLIENT,
    "2.13": "nothing that a server sends by itself is so large",
    "4.3.3": _CLIENT,
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
    "7.7.1": "needs so many calls that the server would be flooded",
    "7.7.2": "needs callers of several users",
    "7.7.3": "needs so many calls that the server would be flooded",
    "7.7.4": _INSIDE,
    "7.7.5": "needs callers of several users",
    "7.7.6": _CLIENT,
    "8.8": "needs a policy that refuses this caller",
    "8.18": "needs a server with the smallest frame limit",
    "8.19": _CLIENT,
    "9.1": _ADDRESS,
    "9.2": _ADDRESS,
    "9.3": _ADDRESS,
    "9.4": _ADDRESS,
    "9.5": _ADDRESS,
    "12.1": "about the vectors, which are said here to the server",
    "14.11": _CLIENT,
    "17.6": _CLIENT,
    "18.3": _INSIDE,
    "18.10": _CLIENT,
    "19.2": _CLIENT,
    "19.6": "needs a service manager that restarts the server",
    "20.2": _CLIENT,
    "20.7": "needs a server that was killed, or answers that it does not keep",
    "20.10": "needs time, or more calls than are reasonable",
    "20.12": "needs a request that a stopping server reads late",
    "20.14": _CLIENT,
}
