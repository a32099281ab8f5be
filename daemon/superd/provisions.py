"""What its unit provides a service with: credentials and directories, as systemd.exec(5) describes them.

All of it is looked up when it is asked for, so that a superd whose unit provides nothing starts as well. What a credential
contains is never logged: whoever reads one has superd's log mask it from then on, whatever it turns up in.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NoReturn

from typing_extensions import override

from superd.journal import never_show
from superd_client.sensitive import MASKED_MIN

#: Bytes of one credential: what systemd takes, at most (CREDENTIAL_SIZE_MAX; all of a unit may have as many together).
CREDENTIAL_SIZE_MAX: Final = 1024 * 1024

#: Characters that systemd takes in a name, and as many as a file name may have. Neither "/" nor ":" is among them.
_NAME: Final = re.compile(r"[ -.0-9;-~]{1,255}")

_CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"


class NotProvided(LookupError):
    """The unit does not provide what a service asks for; the text says what to add to it."""


class NoSuchCredential(NotProvided, KeyError):
    """There is no credential of this name."""

    @override
    def __str__(self) -> str:
        """The sentence, and not its representation as KeyError has it."""
        return str(self.args[0])


class Credentials(Mapping[str, bytes]):
    """The credentials of the unit (LoadCredential=, SetCredential= and their like): names, and what each contains.

    A name is looked up, and its file read, each time that it is asked for.
    """

    __slots__ = ("_environ",)

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """`environ` has CREDENTIALS_DIRECTORY, where there are any."""
        self._environ = environ

    @override
    def __getitem__(self, name: str) -> bytes:
        """What a credential contains.

        Raises NoSuchCredential, which is a KeyError; ValueError for a name that none can have, and for one that is too large;
        OSError where it cannot be read.
        """
        path = self._path(name)
        if path is None:
            raise _missing(name, f"{_CREDENTIALS} is not set")
        try:
            with path.open("rb") as file:
                value = file.read(CREDENTIAL_SIZE_MAX + 1)
        except FileNotFoundError:
            raise _missing(name, f"it is not in {path.parent}") from None
        if len(value) > CREDENTIAL_SIZE_MAX:
            raise ValueError(f"the credential {name!r} is larger than {CREDENTIAL_SIZE_MAX} bytes")
        never_show(_texts(value))
        return value

    @override
    def __contains__(self, name: object) -> bool:
        path = self._path(name) if isinstance(name, str) and _is_name(name) else None
        return path is not None and path.is_file()

    @override
    def __iter__(self) -> Iterator[str]:
        directory = self._directory()
        return iter(()) if directory is None else iter(sorted(each.name for each in directory.iterdir()))

    @override
    def __len__(self) -> int:
        return sum(1 for _ in self)

    @override
    def __repr__(self) -> str:
        """Nothing of what they contain."""
        return f"<credentials: {', '.join(self) or 'none'}>"

    @override
    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: what a file contains belongs into no other."""
        raise TypeError("credentials cannot be pickled")

    def _directory(self) -> Path | None:
        named = self._environ.get(_CREDENTIALS)
        return Path(named) if named else None

    def _path(self, name: str) -> Path | None:
        if not _is_name(name):
            raise ValueError(f"{name!r} is not the name of a credential")
        directory = self._directory()
        return None if directory is None else directory / name


class Provisions:
    """What the unit provides: `credentials`, and the directories that it has made for its services."""

    __slots__ = ("_environ", "credentials")

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """`environ` is what systemd has set for this process."""
        self._environ = environ
        self.credentials: Final = Credentials(environ)

    @property
    def state_directory(self) -> Path:
        """Where services keep what outlives a start (StateDirectory=); raises NotProvided."""
        return self._named("StateDirectory", "STATE_DIRECTORY")

    @property
    def runtime_directory(self) -> Path:
        """Where services keep what is of use for as long as superd runs (RuntimeDirectory=); raises NotProvided."""
        return self._named("RuntimeDirectory", "RUNTIME_DIRECTORY")

    def _named(self, setting: str, variable: str) -> Path:
        # With several directories the variable holds all of them. The first is the unit's own; drop-ins add theirs behind it.
        first = self._environ.get(variable, "").partition(":")[0]
        if first:
            return Path(first)
        raise NotProvided(
            f"there is no {setting}: add {setting}=NAME to the unit, or set {variable} to a path where superd does not run in one"
        )


#: Those of this process.
PROVISIONS: Final = Provisions()


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and name not in {".", ".."}


def _missing(name: str, why: str) -> NoSuchCredential:
    return NoSuchCredential(
        f"there is no credential {name!r} ({why}): add LoadCredential={name}:/path/to/file to the unit"
    )


def _texts(value: bytes) -> Iterator[str]:
    """How a credential may be written in a text: as one, in the representation of one, and in that of bytes."""
    bare = value.strip()  # a file often ends with a newline, which is no part of the secret
    text = bare.decode("utf-8", "backslashreplace")
    yield from (each for each in (text, repr(text)[1:-1], repr(bare)[2:-1]) if len(each) >= MASKED_MIN)
