"""Addresses of sockets, as text and as the kernel takes them (protocol §9)."""

import functools
import os
import socket
from dataclasses import dataclass
from enum import Enum
from typing import Final

from typing_extensions import override

from superd_client.instances import SYSTEM_SCHEME, USER_SCHEME, Instance, instance_at, read_instance

#: Where superd listens unless an operator says otherwise.
DEFAULT_ADDRESS: Final = "unix:/run/superd/superd.sock"

#: The environment variable that names another address.
ADDRESS_VARIABLE: Final = "SUPERD_SOCKET"

#: Bytes of a path or an abstract name: sun_path has 108, one of which is the NUL after a path or before a name
#: (unix(7)).
ADDRESS_MAX: Final = 107


#: Addresses that are read once alone: a process knows few, and may make many clients.
_ADDRESSES_KNOWN: Final = 16


class SocketKind(Enum):
    """How a socket carries messages; the value is what socket(2) takes as its type."""

    STREAM = socket.SOCK_STREAM
    SEQPACKET = socket.SOCK_SEQPACKET
    DATAGRAM = socket.SOCK_DGRAM

    @property
    def scheme(self) -> str:
        """What an address of this kind begins with, without the colon."""
        return _SCHEMES[self]


_SCHEMES: Final = {
    SocketKind.STREAM: "unix",
    SocketKind.SEQPACKET: "unix-seqpacket",
    SocketKind.DATAGRAM: "unix-dgram",
}
_KINDS: Final = {scheme: kind for kind, scheme in _SCHEMES.items()}
_INSTANCE_SCHEMES: Final = frozenset({SYSTEM_SCHEME, USER_SCHEME})


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: `path` or `abstract` is set, never both. `parse_address` makes and checks it."""

    path: str | None = None
    abstract: str | None = None
    kind: SocketKind = SocketKind.STREAM

    @property
    def sockaddr(self) -> bytes:
        """What `socket.bind` and `socket.connect` take."""
        if self.path is not None:
            return os.fsencode(self.path)
        return b"\0" + os.fsencode(self.abstract or "")

    @property
    def instance(self) -> Instance | None:
        """The superd whose socket unit has this address; None where it is nobody's."""
        return instance_at(self.path) if self.path and self.kind is SocketKind.STREAM else None

    @override
    def __str__(self) -> str:
        """The text that `parse_address` reads."""
        return f"{self.kind.scheme}:{self.path if self.path is not None else f'@{self.abstract}'}"


def parse_address(text: str) -> Address:
    """Read an address; raises ValueError that says what was expected.

    Beside the protocol's addresses it takes those of instances: instance:NAME, user:NAME, and user: for a user's plain
    superd.
    """
    scheme, colon, rest = text.partition(":")
    if colon and scheme in _INSTANCE_SCHEMES:
        # Not kept: where a user's is found is said by the environment, which may change.
        return _parse(f"unix:{read_instance(scheme, rest).socket_path}")
    return _parse(text)


@functools.lru_cache(maxsize=_ADDRESSES_KNOWN)
def _parse(text: str) -> Address:
    scheme, colon, rest = text.partition(":")
    kind = _KINDS.get(scheme)
    if kind is None or not colon:
        raise _refusal(text, "it begins with unix:, unix-seqpacket:, unix-dgram:, instance: or user:")
    if rest.startswith("@"):
        name = rest.removeprefix("@")
        _check_bytes(text, name)
        return Address(abstract=name, kind=kind)
    if not rest.startswith("/"):
        raise _refusal(text, "a path is absolute, and an abstract name begins with @")
    _check_bytes(text, rest)
    return Address(path=rest, kind=kind)


def default_address() -> Address:
    """What $SUPERD_SOCKET names, else DEFAULT_ADDRESS; raises ValueError that names the variable."""
    text = os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
    try:
        return parse_address(text)
    except ValueError as error:
        message = f"{ADDRESS_VARIABLE}: {error}"
        raise ValueError(message) from None


def _check_bytes(text: str, name: str) -> None:
    try:
        length = len(os.fsencode(name))
    except UnicodeEncodeError:
        raise _refusal(text, "it has only characters that the file system can name") from None
    if "\0" in name:
        raise _refusal(text, "it has no NUL character")
    if not 1 <= length <= ADDRESS_MAX:
        raise _refusal(text, f"its path or name has 1 to {ADDRESS_MAX} bytes, not {length}")


def _refusal(text: str, rule: str) -> ValueError:
    return ValueError(f"{text!r} is not an address such as {DEFAULT_ADDRESS} or unix:@name: {rule}")
