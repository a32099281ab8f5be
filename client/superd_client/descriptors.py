"""The descriptors of one message, while it is written or read: who owns which, and which is closed when.

They go through pydantic as the context of a validation or a serialization; a contract whose models hold none passes
no context and pays nothing.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol, TypeGuard

from pydantic import BaseModel
from pydantic_core import PydanticCustomError

from superd_client.wire.limits import FDS_PER_FRAME_MAX

_MARK: Final = "superd_descriptors"


def mark_of_descriptors() -> dict[str, Any]:
    """The metadata of the schema of a type that stands for descriptors. A new one each time: pydantic writes into it."""
    return {_MARK: True}


class Owner(Protocol):
    """An object that owns a descriptor: an Fd, or a Blob in a memfd."""

    def fileno(self) -> int:
        """The descriptor; raises ValueError once it is closed."""

    def detach(self) -> int:
        """Give it up to the caller; raises ValueError once it is closed."""

    def close(self) -> None:
        """Close it. May be called again."""


class Outgoing:
    """The descriptors that a message takes along: duplicates, so that nobody's close can hurt it.

    `sources` are the objects that they are duplicates of, in the same order.
    """

    __slots__ = ("fds", "sources")

    def __init__(self) -> None:
        """Begin with none."""
        self.fds: list[int] = []
        self.sources: list[Owner] = []

    def add(self, source: Owner) -> int:
        """Take one more along; returns its index. Raises ValueError for one that is closed or one too many."""
        if len(self.fds) >= FDS_PER_FRAME_MAX:
            message = f"a message takes at most {FDS_PER_FRAME_MAX} descriptors along"
            raise ValueError(message)
        self.fds.append(fcntl.fcntl(source.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))
        self.sources.append(source)
        return len(self.fds) - 1

    def again(self) -> "Outgoing":
        """The same once more, for a second sending; raises ValueError where a source is closed by now."""
        copy = Outgoing()
        try:
            for source in self.sources:
                copy.add(source)
        except BaseException:
            copy.close()
            raise
        return copy

    def close(self) -> None:
        """Close the duplicates: they were sent, or never will be. May be called again."""
        fds, self.fds = self.fds, []
        close_all(fds)

    def close_sources(self) -> None:
        """Close what they were duplicates of, where that is ours: the result of a handler."""
        for source in self.sources:
            source.close()

    def looked_at(self) -> "Received":
        """What a receiver would see, for checking what was written: the sources themselves, and nothing to close."""
        return _Looking(self.sources)


class Received:
    """The descriptors that came with a message, and what was made of them."""

    __slots__ = ("_fds", "_made", "_used")

    def __init__(self, fds: Sequence[int]) -> None:
        """Own `fds`."""
        self._fds: list[int | None] = list(fds)
        self._made: dict[int, Owner] = {}
        self._used: set[int] = set()

    def begin(self) -> None:
        """Begin to read the message, perhaps once more: what was made the first time is given out again."""
        self._used.clear()

    def take(self, index: int, make: Callable[[int], Owner]) -> Owner:
        """The owner of an index's descriptor: what `make` makes of it, or made at an earlier reading.

        Raises PydanticCustomError for an index that is not there, or was taken in this reading.
        """
        self._check(index)
        if index not in self._made:
            fd, self._fds[index] = self._fds[index], None
            if fd is None:
                raise PydanticCustomError("fd_reused", "Each descriptor is used once")
            self._made[index] = make(fd)
        return self._made[index]

    def check_all_used(self) -> None:
        """Raise PydanticCustomError where a descriptor came that nothing in the message stands for."""
        surplus = len(self._fds) - len(self._used)
        if surplus:
            raise PydanticCustomError("fd_surplus", "{n} descriptors came that nothing uses", {"n": surplus})

    def give_back(self) -> None:
        """Own nothing any more: all that came belongs to whoever gave it to this object."""
        self._fds = [None] * len(self._fds)
        for owner in self._made.values():
            with contextlib.suppress(ValueError):
                owner.detach()
        self._made.clear()

    def close(self) -> None:
        """Close all that came and was not detached. May be called again."""
        fds, self._fds = self._fds, [None] * len(self._fds)
        close_all(fd for fd in fds if fd is not None)
        for owner in self._made.values():
            owner.close()

    def _check(self, index: int) -> None:
        if index >= len(self._fds):
            raise PydanticCustomError("fd_missing", "No descriptor with this index came with the message")
        if index in self._used:
            raise PydanticCustomError("fd_reused", "Each descriptor is used once")
        self._used.add(index)


class _Looking(Received):
    """Gives out what was sent, to whom sent it."""

    def __init__(self, sources: Sequence[Owner]) -> None:
        super().__init__(())
        self._fds = [None] * len(sources)
        self._made = dict(enumerate(sources))


def received_of(context: object) -> Received:
    """The context of a validation; raises PydanticCustomError where no descriptors can have come."""
    if not isinstance(context, Received):
        raise PydanticCustomError("fd_missing", "No descriptors came with the message")
    return context


def outgoing_of(context: object) -> Outgoing:
    """The context of a serialization; raises ValueError where no descriptors can be taken along."""
    if not isinstance(context, Outgoing):
        message = "a descriptor can only be written into a message that travels"
        raise ValueError(message)  # noqa: TRY004 - what a serializer of pydantic raises
    return context


def holds_descriptors(schema: object) -> bool:
    """Whether a core schema stands for descriptors anywhere."""
    if isinstance(schema, dict):
        metadata = schema.get("metadata")
        if _is_dict(metadata) and _MARK in metadata:
            return True
        return any(holds_descriptors(part) for part in schema.values())
    return isinstance(schema, list | tuple) and any(map(holds_descriptors, schema))


def close_owners(value: object) -> None:
    """Close every owner of a descriptor in a value that was received and that nobody takes."""
    if isinstance(value, BaseModel):
        close_owners(vars(value))
    elif _is_dict(value):
        for part in value.values():
            close_owners(part)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            close_owners(part)
    elif hasattr(value, "detach") and hasattr(value, "close"):
        value.close()


def close_all(fds: Iterable[int]) -> None:
    """Close numbers that nobody else owns."""
    for fd in fds:
        with contextlib.suppress(OSError):  # what close reports of a device's last write is nobody's here
            os.close(fd)


def _is_dict(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)
