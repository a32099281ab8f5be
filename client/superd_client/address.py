"""Addresses of sockets, as text and as the kernel takes them (protocol §9)."""

import os
from dataclasses import dataclass
from typing import Final

from typing_extensions import override

#: Where superd listens unless an operator says otherwise.
DEFAULT_ADDRESS: Final = "unix:/run/superd/superd.sock"

#: The environment variable that names another address.
ADDRESS_VARIABLE: Final = "SUPERD_SOCKET"

#: Bytes of a path or an abstract name: sun_path has 108, one of which is the NUL after a path or before a name
#: (unix(7)).
ADDRESS_MAX: Final = 107

_SCHEME: Final = "unix:"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: `path` or `abstract` is set, never both. `parse_address` makes and checks it."""

    path: str | None = None
    abstract: str | None = None

    @property
    def sockaddr(self) -> bytes:
        """What `socket.bind` and `socket.connect` take."""
        if self.path is not None:
            return os.fsencode(self.path)
        return b"\0" + os.fsencode(self.abstract or "")

    @override
    def __str__(self) -> str:
        """The text that `parse_address` reads."""
        return f"{_SCHEME}{self.path}" if self.path is not None else f"{_SCHEME}@{self.abstract}"


def parse_address(text: str) -> Address:
    """Read an address; raises ValueError that says what was expected."""
    if not text.startswith(_SCHEME):
        raise _refusal(text, "it begins with unix:")
    rest = text.removeprefix(_SCHEME)
    if rest.startswith("@"):
        name = rest.removeprefix("@")
        _check_bytes(text, name)
        return Address(abstract=name)
    if not rest.startswith("/"):
        raise _refusal(text, "a path is absolute, and an abstract name begins with @")
    _check_bytes(text, rest)
    return Address(path=rest)


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
