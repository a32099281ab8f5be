"""A file descriptor that travels beside a message (protocol §15)."""

import fcntl
import os
import warnings
from types import TracebackType
from typing import Any, Final, NoReturn, Protocol, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from typing_extensions import override

from superd_client.descriptors import mark_of_descriptors, outgoing_of, received_of

#: What a closed Fd says of its descriptor, as closed sockets do.
_CLOSED: Final = -1


class HasFileno(Protocol):
    """Files, sockets, pipes: whatever has a descriptor."""

    def fileno(self) -> int:
        """The descriptor."""


class Fd:
    """One descriptor and its only owner.

    A number is taken over: it is this object's from then on. Anything with a `fileno()` is duplicated, and stays its
    owner's. Close it, or use it as a context manager; one that is forgotten is closed with a ResourceWarning.

    As a field of params, results and items it is a descriptor that travels with the message. Who sends it keeps it;
    who receives it has another one for the same open file.
    """

    __slots__ = ("_fd",)

    def __init__(self, source: int | HasFileno) -> None:
        """Take over a number, or duplicate what an object has. Raises OSError where there is none."""
        self._fd = _CLOSED
        if isinstance(source, int):
            fcntl.fcntl(source, fcntl.F_GETFD)
            self._fd = source
            os.set_inheritable(source, False)
        else:
            self._fd = fcntl.fcntl(source.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)

    @property
    def closed(self) -> bool:
        """Whether it was closed or detached."""
        return self._fd == _CLOSED

    def fileno(self) -> int:
        """The descriptor, still owned by this object; raises ValueError once it is closed."""
        if self._fd == _CLOSED:
            message = "the descriptor is closed"
            raise ValueError(message)
        return self._fd

    def detach(self) -> int:
        """Give the descriptor up to the caller, who has to close it; raises ValueError once it is closed."""
        fd, self._fd = self.fileno(), _CLOSED
        return fd

    def close(self) -> None:
        """Close the descriptor. May be called again."""
        if self._fd != _CLOSED:
            fd, self._fd = self._fd, _CLOSED
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Absent where the constructor was refused its argument.
        if getattr(self, "_fd", _CLOSED) != _CLOSED:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self.close()

    @override
    def __repr__(self) -> str:
        return "<Fd closed>" if self.closed else f"<Fd {self._fd}>"

    @override
    def __reduce__(self) -> NoReturn:
        message = "a descriptor has one owner: it cannot be copied or pickled"
        raise TypeError(message)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """In Python an Fd; in JSON its index among the descriptors of the frame."""
        index = core_schema.int_schema(ge=0, strict=True)
        received = core_schema.with_info_after_validator_function(
            lambda value, info: received_of(info.context).take(value, cls, cls), index
        )
        return core_schema.json_or_python_schema(
            json_schema=received,
            python_schema=core_schema.is_instance_schema(cls),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda fd, info: outgoing_of(info.context).add(fd), info_arg=True, when_used="json"
            ),
            metadata=mark_of_descriptors(),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """An index, marked for what it stands for."""
        described: dict[str, Any] = {
            "type": "integer",
            "minimum": 0,
            "description": "The index of a file descriptor that travels with the message.",
            "x-superd-type": "fd",
        }
        return described
