"""Bytes that are too large for a message: in a sealed memfd they pass without a copy (protocol §16)."""

import base64
import binascii
import contextlib
import errno
import fcntl
import mmap
import os
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, SerializationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from typing_extensions import override

from superd_client.descriptors import mark_of_descriptors, outgoing_of, received_of
from superd_client.wire.limits import BLOB_INLINE_MAX, BLOB_SIZE_MAX

# fcntl(2); the module has them since Python 3.9 on Linux, its types do not know all of them.
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

#: Bytes of a block as stat(2) counts them.
_BLOCK: Final = 512

#: memfd_create(2); Python does not name it.
_MFD_NOEXEC_SEAL: Final = 0x0008

#: Bytes that are compared at once: few enough for the cache.
_COMPARED: Final = 256 * 1024

#: The members that a blob in a message has.
_SHAPES: Final = ({"inline"}, {"memfd", "size"})


class Blob:
    """A sequence of bytes that does not change. As a field of a message it travels in it, or beside it where it is large.

    `Blob(data)` copies `data` once; `Blob.allocate` makes one that is filled in place. It may be closed, and is when it
    is forgotten; what came with a call is closed when the handler ends.
    """

    __slots__ = ("_fd", "_inline", "_map", "_size", "_view")

    def __init__(self, data: bytes | bytearray | memoryview = b"") -> None:
        """Copy `data`; raises ValueError for more than BLOB_SIZE_MAX bytes, OSError where memory is short."""
        self._fd = -1
        self._map: mmap.mmap | None = None
        self._view: memoryview | None = None
        source = memoryview(data).cast("B")
        self._size = len(source)
        self._inline: bytes | None = None
        if self._size <= BLOB_INLINE_MAX:
            self._inline = bytes(source)
        else:
            self._fd = _copied(source)

    @classmethod
    def allocate(cls, size: int) -> "BlobRoom":
        """Room for a blob of `size` bytes, to be filled in place; raises ValueError and OSError as the constructor does."""
        return BlobRoom(size)

    @classmethod
    def _of_memfd(cls, fd: int, size: int) -> Self:
        """Take over a memfd that was checked."""
        blob = cls()
        blob._inline, blob._fd, blob._size = None, fd, size
        return blob

    @classmethod
    def _of_bytes(cls, data: bytes) -> Self:
        """Keep bytes that came in a message, however many: what a peer sends must not cost a descriptor."""
        blob = cls()
        blob._inline, blob._size = data, len(data)
        return blob

    def share(self) -> Self:
        """Another blob of the same bytes, without a copy, to be closed by itself; raises ValueError once this is closed."""
        if self._inline is not None:
            return self._of_bytes(self._inline)
        return self._of_memfd(fcntl.fcntl(self.fileno(), fcntl.F_DUPFD_CLOEXEC, 3), self._size)

    def __len__(self) -> int:
        return self._size

    @property
    def view(self) -> memoryview:
        """The bytes, read-only and without a copy; raises ValueError once the blob is closed.

        A view that is kept outlives the blob.
        """
        if self._inline is not None:
            return memoryview(self._inline)
        if self._view is None:
            self._map = mmap.mmap(self.fileno(), self._size, mmap.MAP_SHARED, mmap.PROT_READ)
            self._view = memoryview(self._map)
        return self._view

    def __bytes__(self) -> bytes:
        return bytes(self.view)

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Blob):
            return NotImplemented
        one, two = self.view, other.view
        # Views are compared item by item, which is slow; bytes are not.
        return self._size == other._size and all(
            bytes(one[start : start + _COMPARED]) == two[start : start + _COMPARED].tobytes()
            for start in range(0, self._size, _COMPARED)
        )

    __hash__ = None  # type: ignore[assignment]  # the bytes may be gigabytes

    @override
    def __repr__(self) -> str:
        return f"<Blob of {self._size} bytes>"

    @override
    def __reduce__(self) -> NoReturn:
        message = "a blob cannot be copied or pickled: take its bytes"
        raise TypeError(message)

    def fileno(self) -> int:
        """The memfd of a large one; raises ValueError for one that is small or closed."""
        if self._fd < 0:
            message = "the blob is closed, or so small that it has no descriptor"
            raise ValueError(message)
        return self._fd

    def detach(self) -> int:
        """Give the memfd up to the caller, who has to close it; raises ValueError as `fileno` does."""
        fd, self._fd = self.fileno(), -1
        return fd

    def close(self) -> None:
        """Give up the memory. May be called again. Views that are kept go on."""
        fd, self._fd = self._fd, -1
        self._view = None
        mapped, self._map = self._map, None
        if mapped is not None:
            with contextlib.suppress(BufferError):  # somebody keeps a view: the mapping goes with it
                mapped.close()
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self.close()

    # --- as a field of a message -----------------------------------------------------------------------------------

    def written(self, context: object) -> dict[str, object]:
        """What stands for it in a message; a large one goes into the context, an Outgoing."""
        if self._inline is not None:
            if self._size <= BLOB_INLINE_MAX:
                return {"inline": base64.b64encode(self._inline).decode("ascii")}
            self._fd, self._inline = _copied(self._inline), None
        return {"memfd": outgoing_of(context).add(self), "size": self._size}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """In Python a Blob; in JSON `inline` or `memfd` and `size`."""
        members = {
            "inline": core_schema.str_schema(strict=True),
            "memfd": core_schema.int_schema(ge=0, strict=True),
            "size": core_schema.int_schema(strict=True),
        }
        message = core_schema.typed_dict_schema(
            {name: core_schema.typed_dict_field(schema, required=False) for name, schema in members.items()},
            extra_behavior="forbid",
        )
        return core_schema.json_or_python_schema(
            json_schema=core_schema.with_info_after_validator_function(
                lambda fields, info: _read(fields, info.context), message
            ),
            python_schema=core_schema.is_instance_schema(cls),
            serialization=core_schema.plain_serializer_function_ser_schema(
                _write,
                info_arg=True,
                when_used="json",
            ),
            metadata=mark_of_descriptors(),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Both forms, marked for what they stand for."""
        inline: dict[str, Any] = {
            "type": "object",
            "properties": {"inline": {"type": "string", "contentEncoding": "base64"}},
            "required": ["inline"],
            "additionalProperties": False,
        }
        memfd: dict[str, Any] = {
            "type": "object",
            "properties": {
                "memfd": {"type": "integer", "minimum": 0},
                "size": {"type": "integer", "minimum": 1, "maximum": BLOB_SIZE_MAX},
            },
            "required": ["memfd", "size"],
            "additionalProperties": False,
        }
        return {"description": "A sequence of bytes.", "oneOf": [inline, memfd], "x-superd-type": "blob"}


class BlobRoom:
    """Memory that becomes a Blob. `view` is writable until `seal`; one that is left without `seal` is given up."""

    __slots__ = ("_fd", "_map", "_size", "view")

    def __init__(self, size: int) -> None:
        """Allocate `size` bytes of zeros, all of them at once: a blob is not sparse."""
        self._fd = -1
        if not 1 <= size <= BLOB_SIZE_MAX:
            message = f"a blob that is filled in place has 1 to {BLOB_SIZE_MAX} bytes, not {size}"
            raise ValueError(message)
        self._size: Final = size
        self._fd = _memfd()
        try:
            os.posix_fallocate(self._fd, 0, size)
            self._map = mmap.mmap(self._fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except BaseException:
            self._give_up()
            raise
        self.view: memoryview = memoryview(self._map)

    def seal(self) -> Blob:
        """The blob of what was written. Raises BufferError while another view of the memory is kept."""
        self.view.release()
        self._map.close()
        fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, _SEALS)
        fd, self._fd = self._fd, -1
        return Blob._of_memfd(fd, self._size)  # noqa: SLF001 - of this module

    def _give_up(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_up()

    def __del__(self) -> None:
        self._give_up()


def _memfd() -> int:
    """An empty memfd, which nobody can make executable where the kernel knows of that (6.3; a host may insist on it)."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("superd-blob", flags | _MFD_NOEXEC_SEAL)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return os.memfd_create("superd-blob", flags)


def _copied(data: bytes | memoryview) -> int:
    """A sealed memfd with these bytes."""
    with Blob.allocate(len(data)) as room:
        room.view[:] = data
        return room.seal().detach()


def _write(blob: Blob, info: SerializationInfo) -> dict[str, object]:
    return blob.written(info.context)


def _read(fields: dict[str, Any], context: object) -> Blob:
    """The blob of a message; raises PydanticCustomError for one that cannot be trusted."""
    if fields.keys() not in _SHAPES:
        raise PydanticCustomError("blob_shape", "A blob has either `inline` or `memfd` and `size`")
    if "inline" in fields:
        try:
            return Blob._of_bytes(base64.b64decode(fields["inline"], validate=True))  # noqa: SLF001 - of this module
        except (binascii.Error, ValueError):
            raise PydanticCustomError(
                "blob_base64", "Inline bytes are base64 with padding, RFC 4648 §4"
            ) from None
    size, index, received = fields["size"], fields["memfd"], received_of(context)
    if not 1 <= size <= BLOB_SIZE_MAX:
        raise PydanticCustomError(
            "blob_size", "A blob in a memfd has 1 to {most} bytes", {"most": BLOB_SIZE_MAX}
        )
    blob = received.take(index, Blob, lambda fd: Blob._of_memfd(fd, size))  # noqa: SLF001 - of this module
    _check(blob.fileno(), size)
    return blob


def _check(fd: int, size: int) -> None:
    """Raise PydanticCustomError unless nobody can change these bytes any more, and all of them are there.

    The seals are asked for first: only shared memory has any, and a stat of another file might wait for whoever serves it.
    """
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        raise PydanticCustomError("blob_not_memfd", "The descriptor of a blob is a memfd") from None
    if seals & _SEALS != _SEALS:
        raise PydanticCustomError(
            "blob_not_sealed",
            "The memfd of a blob is sealed against shrinking, growing, writing and further seals",
        )
    found = os.fstat(fd)
    if found.st_size != size:
        raise PydanticCustomError("blob_size", "The memfd of a blob has as many bytes as the message says")
    if found.st_blocks * _BLOCK < size:
        raise PydanticCustomError("blob_sparse", "The memfd of a blob has all its bytes allocated")
