"""Listening sockets from systemd, as sd_listen_fds_with_names(3) has them.

Read by ourselves: for these lines python-systemd would load libsystemd and all that it needs, 0.8 MB in each superd.
"""

import os
import socket
from collections.abc import Container
from itertools import chain
from typing import Final, NamedTuple

_VARIABLES: Final = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID")

#: The first descriptor that systemd passes: SD_LISTEN_FDS_START.
_FIRST: Final = 3

#: Descriptors that a process can have by the kernel's default (fs.nr_open).
_COUNT_MAX: Final = 1 << 20

#: What a descriptor without a name is called.
_NAMELESS: Final = "unknown"

#: The types that a socket unit can pass, and what they are called in a sentence.
_TYPES: Final = {
    socket.SOCK_STREAM: "stream",
    socket.SOCK_SEQPACKET: "seqpacket",
    socket.SOCK_DGRAM: "datagram",
}


class ActivationError(Exception):
    """What systemd passed cannot be served. One line of text for each descriptor."""


class ActivatedSocket(NamedTuple):
    """An AF_UNIX socket to serve, and its FileDescriptorName=. It listens, unless it is a datagram socket."""

    name: str
    socket: socket.socket


class Passed(NamedTuple):
    """What systemd passed: sockets to serve, and what the process before this one had it keep, by name."""

    sockets: list[ActivatedSocket]
    stored: dict[str, list[int]]


def take_passed(stored: Container[str] = ()) -> Passed:
    """What systemd passed to this process, close-on-exec and the sockets non-blocking; the caller owns it.

    Nothing where LISTEN_PID is another process. `stored` are the names that only the store has. The variables are
    removed from the environment in any case, so a child never takes the descriptors for its own. Raises ActivationError
    if one of the others is neither a listening AF_UNIX stream or seqpacket socket nor an AF_UNIX datagram socket; then
    all are closed: they were given to this process, and systemd keeps its own.
    """
    passed = Passed([], {})
    faults: list[str] = []
    for descriptor, name in sorted(_take_descriptors().items()):
        if name in stored:
            os.set_inheritable(descriptor, False)
            passed.stored.setdefault(name, []).append(descriptor)
            continue
        opened = _open(descriptor)
        fault = "not a socket" if opened is None else _find_fault(opened)
        if opened is not None:
            passed.sockets.append(ActivatedSocket(name, opened))
        if fault is not None:
            faults.append(f"descriptor {descriptor} ({name!r}): {fault}")
    if faults:
        for each in passed.sockets:
            each.socket.close()
        for descriptor in chain.from_iterable(passed.stored.values()):
            os.close(descriptor)
        raise ActivationError("\n".join(faults))
    for each in passed.sockets:
        each.socket.set_inheritable(False)
        each.socket.setblocking(False)
    return passed


def _take_descriptors() -> dict[int, str]:
    """The descriptors for this process by number, with their names; none is inherited any more."""
    count, pid, names, _ = (os.environ.pop(variable, None) for variable in _VARIABLES)
    if count is None or pid != str(os.getpid()):
        return {}
    try:
        return _named(count, names or "")
    except (OSError, ValueError) as error:
        raise ActivationError(f"LISTEN_FDS={count!r} cannot be used: {error}") from error


def _named(count: str, names: str) -> dict[int, str]:
    """Raises ValueError for what is no number, or not the number of the names; OSError where one is not open."""
    if not (count.isascii() and count.isdigit() and int(count) <= _COUNT_MAX):
        raise ValueError(f"it is not a number up to {_COUNT_MAX}")
    named = names.split(":") if names else [_NAMELESS] * int(count)
    if len(named) != int(count):
        raise ValueError(f"LISTEN_FDNAMES has {len(named)} names")
    descriptors = dict(enumerate(named, _FIRST))
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return descriptors


def _open(descriptor: int) -> socket.socket | None:
    """The descriptor as a socket, of the family and type that the kernel says; closed and None if it is none."""
    try:
        return socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        return None


def _find_fault(candidate: socket.socket) -> str | None:
    """Why this socket cannot be served, or None."""
    if candidate.family != socket.AF_UNIX:
        return f"a socket of the family {_name(candidate.family)}: superd listens on AF_UNIX sockets only"
    kind = _TYPES.get(socket.SocketKind(candidate.type))
    if kind is None:  # AF_UNIX has no other: the kernel makes a datagram socket of SOCK_RAW
        return f"a socket of the type {candidate.type}: superd serves stream, seqpacket and datagram sockets"
    if candidate.type != socket.SOCK_DGRAM and not candidate.getsockopt(
        socket.SOL_SOCKET, socket.SO_ACCEPTCONN
    ):
        return f"a {kind} socket that does not listen: set Accept=no in its .socket unit"
    return None


def _name(family: int) -> str:
    try:
        return socket.AddressFamily(family).name
    except ValueError:
        return str(family)
