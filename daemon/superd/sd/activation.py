"""Listening sockets from systemd: sd_listen_fds_with_names(3)."""

import os
import socket
from dataclasses import dataclass
from typing import Final

try:
    # Not `import systemd`: a folder of that name in the working directory would do for it.
    from systemd.daemon import listen_fds_with_names
except ImportError:
    listen_fds_with_names = None

_VARIABLES: Final = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_DIRECTIVES: Final = {
    socket.SOCK_STREAM: "ListenStream=",
    socket.SOCK_DGRAM: "ListenDatagram=",
    socket.SOCK_SEQPACKET: "ListenSequentialPacket=",
}


class ActivationError(Exception):
    """What systemd passed cannot be served. One line of text for each descriptor."""


@dataclass(frozen=True, slots=True)
class ActivatedSocket:
    """A listening AF_UNIX stream socket, and its FileDescriptorName=."""

    name: str
    socket: socket.socket


def listen_sockets() -> list[ActivatedSocket]:
    """The sockets that systemd passed to this process, close-on-exec and non-blocking; the caller owns them.

    None where LISTEN_PID is another process. The variables are removed from the environment in any case, so a
    child never takes the descriptors for its own. Raises ActivationError if one of them is not a listening
    AF_UNIX stream socket; then all are closed: they were given to this process, and systemd keeps its own.
    """
    accepted: list[ActivatedSocket] = []
    faults: list[str] = []
    for descriptor, name in sorted(_take_descriptors().items()):
        opened = _open(descriptor)
        fault = "not a socket" if opened is None else _find_fault(opened)
        if opened is not None:
            accepted.append(ActivatedSocket(name, opened))
        if fault is not None:
            faults.append(f"descriptor {descriptor} ({name!r}): {fault}")
    if faults:
        for each in accepted:
            each.socket.close()
        raise ActivationError("\n".join(faults))
    for each in accepted:
        each.socket.set_inheritable(False)
        each.socket.setblocking(False)
    return accepted


def _take_descriptors() -> dict[int, str]:
    passed = os.environ.get("LISTEN_FDS")
    try:
        if listen_fds_with_names is None:
            if passed is not None and os.environ.get("LISTEN_PID") == str(os.getpid()):
                raise ActivationError(
                    "systemd passed sockets, but the package systemd-python is not installed"
                )
            return {}
        return dict(listen_fds_with_names(unset_environment=True))
    except (OSError, ValueError) as error:
        raise ActivationError(f"LISTEN_FDS={passed!r} cannot be used: {error}") from error
    finally:
        # libsystemd removes them from the C environment only; os.environ would hand its copy to children.
        for variable in _VARIABLES:
            os.environ.pop(variable, None)


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
    kind = socket.SocketKind(candidate.type)
    if kind != socket.SOCK_STREAM:
        directive = _DIRECTIVES.get(kind, "another directive")
        return (
            f"a socket of the type {kind.name} ({directive}): this version serves stream sockets (ListenStream=) "
            "only, neither seqpacket nor datagram ones"
        )
    if not candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "a stream socket that does not listen: set Accept=no in its .socket unit"
    return None


def _name(family: int) -> str:
    try:
        return socket.AddressFamily(family).name
    except ValueError:
        return str(family)
