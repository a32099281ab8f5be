"""What one process leaves to the next of its connections, as a sealed memfd, and how that is read.

    8 bytes  "superdst"
    4 bytes  the format's version, big-endian
    4 bytes  the length of the header, big-endian
    header   JSON: who wrote it, and of each connection how many bytes and descriptors it has
    bytes    of all connections, in the header's order: received and not parsed, then not sent

Descriptors are kept beside it, in the same order: of each connection its socket, then those that came and were not
parsed, then those that are to be sent. Nothing here is guessed: what does not fit in any point is refused.
"""

import fcntl
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from superd.transport import Unsent
from superd_client.descriptors import Outgoing, close_all
from superd_client.wire.framing import Arrival

#: The version of this format. Another one is refused.
STATE_VERSION: Final = 1

#: Bytes of a header at most: 4,096 connections need less than 1 MiB, 64 with 64 calls' answers each as much.
HEADER_SIZE_MAX: Final = 64 * 1024 * 1024

_MAGIC: Final = b"superdst"
_HEAD: Final = struct.Struct(">8sII")
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

_TYPES: Final = {"stream": socket.SOCK_STREAM, "seqpacket": socket.SOCK_SEQPACKET}


class StateError(Exception):
    """A state that this process cannot take over; the text says why."""


class Saved(NamedTuple):
    """One connection between two processes: its socket, what it has received, what it is to send."""

    fd: int
    kind: Literal["stream", "seqpacket"]
    unread: Sequence[Arrival]
    unsent: Sequence[Unsent]

    def fds(self) -> Iterator[int]:
        """Its descriptors, in the order in which they are kept."""
        yield self.fd
        for arrival in self.unread:
            yield from arrival.fds
        for _, attachment in self.unsent:
            yield from attachment.fds if attachment is not None else ()

    def close_carried(self) -> None:
        """Close what was received and what was to be sent: only another process has it now, or nobody."""
        for arrival in self.unread:
            close_all(arrival.fds)
        for _, attachment in self.unsent:
            if attachment is not None:
                attachment.close()


_Count = Annotated[int, Field(ge=0)]


class _Model(BaseModel):
    # defer_build: only the two ends of a restart need one, and every start would wait for it.
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True
    )


class _Arrived(_Model):
    size: _Count
    fds: _Count
    length: _Count


class _Waiting(_Model):
    size: _Count
    fds: _Count


class _Connection(_Model):
    kind: Literal["stream", "seqpacket"]
    unread: tuple[_Arrived, ...]
    unsent: tuple[_Waiting, ...]


class _Header(_Model):
    written_by: str
    connections: tuple[_Connection, ...]


def write_state(connections: Sequence[Saved], written_by: str) -> int:
    """A new memfd that holds what can be written of `connections`. Raises OSError where memory is short."""
    header = _Header(written_by=written_by, connections=tuple(map(_describe, connections)))
    text = header.model_dump_json().encode()
    fd = os.memfd_create("superd-state", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with os.fdopen(fd, "wb", closefd=False) as file:
            file.write(_HEAD.pack(_MAGIC, STATE_VERSION, len(text)))
            file.write(text)
            file.writelines(_pieces(connections))
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _describe(saved: Saved) -> _Connection:
    return _Connection(
        kind=saved.kind,
        unread=tuple(
            _Arrived(size=len(data), fds=len(fds), length=length) for data, fds, length in saved.unread
        ),
        unsent=tuple(
            _Waiting(size=len(data), fds=len(attachment.fds) if attachment is not None else 0)
            for data, attachment in saved.unsent
        ),
    )


def _pieces(connections: Sequence[Saved]) -> Iterator[bytes]:
    for saved in connections:
        yield from (arrival.data for arrival in saved.unread)
        yield from (unsent.data for unsent in saved.unsent)


def read_state(memfd: int, fds: Sequence[int]) -> list[Saved]:
    """What `write_state` wrote, with its descriptors, which belong to what is returned.

    Raises StateError, and owns nothing then.
    """
    try:
        if fcntl.fcntl(memfd, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
            message = "the state is not sealed: its writer did not finish it"
            raise StateError(message)
        with os.fdopen(os.dup(memfd), "rb") as file:
            file.seek(0)
            data = file.read()
    except OSError as error:
        message = f"the state cannot be read: {error.strerror}"
        raise StateError(message) from error
    header, rest = _read_header(data)
    return _Reader(rest, fds).connections(header)


def _read_header(data: bytes) -> tuple[_Header, memoryview]:
    if len(data) < _HEAD.size or not data.startswith(_MAGIC):
        message = "the state does not begin as one"
        raise StateError(message)
    _, version, length = _HEAD.unpack_from(data)
    if version != STATE_VERSION:
        message = f"the state has the format {version}, and this superd reads {STATE_VERSION}"
        raise StateError(message)
    text = data[_HEAD.size : _HEAD.size + length]
    if length > HEADER_SIZE_MAX or len(text) != length:
        message = "the state is cut short"
        raise StateError(message)
    try:
        return _Header.model_validate_json(text), memoryview(data)[_HEAD.size + length :]
    except ValidationError as error:
        message = f"the header of the state is wrong: {error.error_count()} faults"
        raise StateError(message) from error


class _Reader:
    """Deals out bytes and descriptors in the order in which they were written."""

    def __init__(self, data: memoryview, fds: Sequence[int]) -> None:
        self._data = data
        self._fds = fds
        self._position = 0
        self._used = 0

    def connections(self, header: _Header) -> list[Saved]:
        """All of them; raises StateError unless they take all that there is, and no more."""
        saved = [self._connection(each) for each in header.connections]
        if self._position != len(self._data) or self._used != len(self._fds):
            message = (
                f"the state has {self._position} bytes and {self._used} descriptors, "
                f"and {len(self._data)} and {len(self._fds)} are there"
            )
            raise StateError(message)
        for each in saved:
            _check_socket(each)
        return saved

    def _connection(self, header: _Connection) -> Saved:
        (fd,) = self._take_fds(1) or (-1,)
        return Saved(
            fd,
            header.kind,
            [
                Arrival(self._take(each.size), tuple(self._take_fds(each.fds)), each.length)
                for each in header.unread
            ],
            [Unsent(self._take(each.size), self._attachment(each.fds)) for each in header.unsent],
        )

    def _take(self, size: int) -> bytes:
        start, self._position = self._position, self._position + size
        return bytes(self._data[start : self._position])

    def _take_fds(self, count: int) -> Sequence[int]:
        start, self._used = self._used, self._used + count
        return self._fds[start : self._used]

    def _attachment(self, count: int) -> Outgoing | None:
        if count == 0:
            return None
        attachment = Outgoing()
        attachment.fds = list(self._take_fds(count))
        return attachment


def _check_socket(saved: Saved) -> None:
    """Raise StateError unless it is a connected socket of its kind."""
    try:
        sock = socket.socket(fileno=saved.fd)
    except OSError as error:
        message = f"a connection of the state is no socket: {error.strerror}"
        raise StateError(message) from error
    try:
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        fits = sock.family == socket.AF_UNIX and sock.type == _TYPES[saved.kind] and not listens
    finally:
        sock.detach()
    if not fits:
        message = f"a connection of the state is no {saved.kind} socket"
        raise StateError(message)
