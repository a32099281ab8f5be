"""The descriptors of one message, while it is written or read: who owns which, and which is closed when.

They go through pydantic as the context of a validation or a serialization; a contract whose models hold none passes
no context and pays nothing.
"""

import contextlib
import dataclasses
import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, Protocol, TypeAlias, TypeGuard, TypeVar, runtime_checkable

from pydantic import BaseModel
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError
from typing_extensions import override

from superd_client.wire.limits import FDS_PER_FRAME_MAX

_MARK: Final = "superd_descriptors"


def mark_of_descriptors() -> dict[str, Any]:
    """The metadata of the schema of a type that stands for descriptors. A new one each time: pydantic writes into it."""
    return {_MARK: True}


@runtime_checkable
class Owner(Protocol):
    """An object that owns a descriptor: an Fd, or a Blob in a memfd."""

    def fileno(self) -> int:
        """The descriptor; raises ValueError once it is closed."""

    def detach(self) -> int:
        """Give it up to the caller; raises ValueError once it is closed."""

    def close(self) -> None:
        """Close it. May be called again."""


O = TypeVar("O", bound=Owner)  # noqa: E741 - an owner

#: The path from a value to a part of it, as in the faults of pydantic.
Place: TypeAlias = tuple[int | str, ...]


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
        _close_each(self.sources)

    def looked_at(self) -> "Received":
        """What a receiver would see, for checking what was written: the sources themselves, and nothing to close."""
        return _Looking(self.sources)


class Received:
    """The descriptors that came with a message, and what was made of them."""

    __slots__ = ("_again", "_fds", "_made", "_used")

    def __init__(self, fds: Sequence[int]) -> None:
        """Own `fds`."""
        self._fds: list[int | None] = list(fds)
        self._made: dict[int, Owner] = {}
        self._used: set[int] = set()
        self._again: set[int] = set()

    def begin(self) -> None:
        """Begin to read the message, perhaps once more: what was made the first time is given out again."""
        self._used.clear()
        self._again.clear()

    def take(self, index: int, kind: type[O], make: Callable[[int], O]) -> O:
        """The owner of an index's descriptor, a `kind`: what `make` makes of it, or made before.

        A union reads the same part once for each of its branches, so an index may be asked for again; `check` tells
        whether that was another part. Raises PydanticCustomError for an index that is not there.
        """
        if index >= len(self._fds):
            raise PydanticCustomError("fd_missing", "No descriptor with this index came with the message")
        (self._again if index in self._used else self._used).add(index)
        fd, self._fds[index] = self._fds[index], None
        if fd is not None:
            self._made[index] = make(fd)
        owner = self._made.get(index)
        if not isinstance(owner, kind):
            raise _reused()
        return owner

    def check(self, value: object) -> None:
        """Raise ValidationError unless what was read has each descriptor in one place."""
        faults = [(place, _reused()) for place in self._places_of_reuse(value)]
        unused = len(self._fds) - len(self._used)
        if unused:
            surplus = PydanticCustomError(
                "fd_surplus", "Descriptors came that nothing uses: {n}", {"n": unused}
            )
            faults.append(((), surplus))
        if faults:
            details: list[InitErrorDetails] = [
                {"type": fault, "loc": place, "input": None} for place, fault in faults
            ]
            raise ValidationError.from_exception_data("descriptors", details, hide_input=True)

    def _places_of_reuse(self, value: object) -> Iterator[Place]:
        suspects = {id(self._made[index]) for index in self._again}
        if not suspects:
            return  # the usual case, told without a look at the value
        seen: set[int] = set()
        for place, part in _parts(value):
            if id(part) in suspects:
                if id(part) in seen:
                    yield place
                seen.add(id(part))

    def close(self) -> None:
        """Close all that came and was not detached. May be called again."""
        fds, self._fds = self._fds, [None] * len(self._fds)
        close_all(fd for fd in fds if fd is not None)
        _close_each(self._made.values())


class _Looking(Received):
    """Gives out what was sent, to whom sent it."""

    def __init__(self, sources: Sequence[Owner]) -> None:
        super().__init__(())
        self._fds = [None] * len(sources)
        self._made = dict(enumerate(sources))

    @override
    def _places_of_reuse(self, value: object) -> Iterator[Place]:
        """None: one source may be sent twice, as two descriptors."""
        return iter(())


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


def _reused() -> PydanticCustomError:
    return PydanticCustomError("fd_reused", "Each descriptor is used once")


def _parts(value: object, place: Place = ()) -> Iterator[tuple[Place, object]]:
    """A value and all that it holds, each with its place."""
    yield place, value
    for name, part in _members(value):
        yield from _parts(part, (*place, name))


def _members(value: object) -> Iterable[tuple[int | str, object]]:
    if isinstance(value, BaseModel):
        return _named(value)
    if dataclasses.is_dataclass(value):
        return ((field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value))
    if isinstance(value, Mapping):
        return ((str(key), part) for key, part in value.items())
    if isinstance(value, list | tuple | AbstractSet | deque):
        return enumerate(value)
    return ()


def _named(model: BaseModel) -> Iterable[tuple[str, object]]:
    fields = type(model).model_fields
    for name, part in model:
        alias = fields[name].validation_alias if name in fields else None
        yield (alias if isinstance(alias, str) else name), part


def close_held(value: object) -> None:
    """Close every owner of a descriptor in a value that was received and that nobody takes."""
    _close_each(part for _, part in _parts(value) if isinstance(part, Owner))


def close_all(fds: Iterable[int]) -> None:
    """Close numbers that nobody else owns."""
    for fd in fds:
        # What close reports of a device's last write is nobody's here. contextlib.suppress would double what this costs,
        # and a peer can send 253 at a time.
        try:  # noqa: SIM105
            os.close(fd)
        except OSError:
            pass


def _is_dict(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _close_each(owners: Iterable[Owner]) -> None:
    """Close what owns a descriptor, whether or not its close succeeds."""
    for owner in owners:
        with contextlib.suppress(OSError):  # as in close_all
            owner.close()
