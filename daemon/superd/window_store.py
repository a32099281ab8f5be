"""A window of idempotency keys that outlives the process: records in a memfd, for systemd to keep (sd_notify(3), FDSTORE=1).

A call is written down before its handler begins, and its answer before that is sent. What is written into a shared
mapping is in the kernel's hands at once, so that SIGKILL takes nothing of it. It may cut a write short: each part of a
record has a checksum. A call whose begin was cut short had not begun; one whose end was cut short, or never came, was
begun, and nobody knows what became of it.

The file is a header, then records of one size, of which unused ones have no valid begin. It grows as records are needed.
Its content is trusted as far as it makes sense: nobody else can write to it.
"""

import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

#: Bytes of one record. An answer that does not fit is lost with the process, and its call is known to have been begun.
RECORD_SIZE: Final = 1024

#: Records by which the file grows: 256 KiB.
RECORDS_AT_ONCE: Final = 256

_HEADER_SIZE: Final = 4096
_MAGIC: Final = b"superd window 1\0"

#: Checksum, uid, began, lengths of key and call id, fingerprint, key, call id.
_BEGIN: Final = struct.Struct("<IIQBB16s64s64s")
#: Checksum, length of the answer, ended; the answer follows.
_END: Final = struct.Struct("<IIQ")
_END_AT: Final = 192
_ANSWER_AT: Final = _END_AT + _END.size
ANSWER_MAX: Final = RECORD_SIZE - _ANSWER_AT
_NO_ANSWER: Final = 0xFFFF_FFFF

#: Checksum and a time. It is written twice, so that one of them is whole.
_TIME: Final = struct.Struct("<IQ")
_TIMES_AT: Final = (64, 128)

_CHECKSUM_SIZE: Final = 4


class Stored(Protocol):
    """What of a call is written."""

    slot: int

    @property
    def uid(self) -> int:
        """Its user."""

    @property
    def key(self) -> str:
        """Its key."""

    @property
    def call_id(self) -> str:
        """Its name in the log."""

    @property
    def fingerprint(self) -> bytes:
        """What it has in common with its repeats."""

    @property
    def began_usec(self) -> int:
        """When it began."""


class Found(NamedTuple):
    """A record; `ended_usec` is None where the process ended before the call did."""

    slot: int
    uid: int
    key: str
    call_id: str
    fingerprint: bytes
    began_usec: int
    ended_usec: int | None
    answer: bytes | None


class WindowStore:
    """The records, and since when they are complete."""

    def __init__(self, fd: int) -> None:
        """Take over a memfd of `create`, or one that was kept; raises ValueError for any other file, and does not own it then."""
        size = os.fstat(fd).st_size
        if size < _HEADER_SIZE or (size - _HEADER_SIZE) % RECORD_SIZE:
            message = "not a window of this version: its size is another"
            raise ValueError(message)
        self._map: Final = mmap.mmap(fd, size)
        if self._map[: len(_MAGIC)] != _MAGIC:
            self._map.close()
            message = "not a window of this version"
            raise ValueError(message)
        #: The memfd, to be kept by somebody who outlives this process.
        self.fd: Final = fd
        self._free: list[int] = []

    @classmethod
    def create(cls, now_usec: int) -> "WindowStore":
        """A new one, complete since now; raises OSError."""
        fd = os.memfd_create("superd-window", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, _HEADER_SIZE)
            os.pwrite(fd, _MAGIC, 0)
            store = cls(fd)
        except BaseException:
            os.close(fd)
            raise
        store.set_complete_since(now_usec)
        return store

    def unmap(self) -> None:
        """Write nothing more; the memfd stays open."""
        self._map.close()

    def close(self) -> None:
        """Give it up; who keeps the memfd has all of it."""
        self.unmap()
        os.close(self.fd)

    # --- since when it is complete -----------------------------------------------------------------------------------

    @property
    def complete_since_usec(self) -> int:
        """Raises ValueError where it cannot be read."""
        times = [_TIME.unpack_from(self._map, at) for at in _TIMES_AT]
        whole = [time for checksum, time in times if checksum == _checksum(time.to_bytes(8, "little"))]
        if not whole:
            message = "the window's beginning is damaged"
            raise ValueError(message)
        return int(max(whole))

    def set_complete_since(self, usec: int) -> None:
        """Note that what began until then may be missing; before it is."""
        time = _TIME.pack(_checksum(usec.to_bytes(8, "little")), usec)
        for at in _TIMES_AT:
            self._map[at : at + len(time)] = time

    # --- records -----------------------------------------------------------------------------------------------------

    def begin(self, entry: Stored) -> None:
        """Write a call down, which begins; raises OSError, and nothing is written then."""
        if not self._free:
            self._grow()
        entry.slot = self._free.pop()
        key, call_id = entry.key.encode(), entry.call_id.encode()
        begin = _BEGIN.pack(
            0, entry.uid, entry.began_usec, len(key), len(call_id), entry.fingerprint, key, call_id
        )
        body = begin[_CHECKSUM_SIZE:]
        self._write(entry.slot, 0, _checksum(body).to_bytes(4, "little") + body)

    def end(self, entry: Stored, answer: bytes | None, ended_usec: int) -> None:
        """Write down that a call has ended, and its answer, if there is one and it fits."""
        fits = answer is not None and len(answer) <= ANSWER_MAX
        kept = answer if answer is not None and fits else b""
        end = _END.pack(0, len(kept) if fits else _NO_ANSWER, ended_usec)[_CHECKSUM_SIZE:] + kept
        checksum = _checksum(end, self._begin_checksum(entry.slot))
        self._write(entry.slot, _END_AT, checksum.to_bytes(4, "little") + end)

    def remove(self, entry: Stored) -> None:
        """Forget a call."""
        self._write(entry.slot, 0, bytes(_CHECKSUM_SIZE))
        self._free.append(entry.slot)

    def read(self) -> Iterator[Found]:
        """All calls. To be read to the end before anything is written."""
        count = (len(self._map) - _HEADER_SIZE) // RECORD_SIZE
        for slot in reversed(range(count)):
            found = self._read(slot)
            if found is None:
                self._free.append(slot)
            else:
                yield found

    def _read(self, slot: int) -> Found | None:
        record = self._map[_offset(slot) : _offset(slot + 1)]
        checksum, uid, began, key_size, call_id_size, fingerprint, key, call_id = _BEGIN.unpack_from(record)
        if checksum != _checksum(record[_CHECKSUM_SIZE : _BEGIN.size]):
            return None
        ended, answer = _read_end(record, checksum)
        return Found(
            slot,
            uid,
            key[:key_size].decode("ascii", "replace"),
            call_id[:call_id_size].decode("ascii", "replace"),
            fingerprint,
            began,
            ended,
            answer,
        )

    def _begin_checksum(self, slot: int) -> int:
        at = _offset(slot)
        return int.from_bytes(self._map[at : at + _CHECKSUM_SIZE], "little")

    def _write(self, slot: int, at: int, data: bytes) -> None:
        start = _offset(slot) + at
        self._map[start : start + len(data)] = data

    def _grow(self) -> None:
        count = (len(self._map) - _HEADER_SIZE) // RECORD_SIZE
        # The pages must be there: to write to one that the kernel cannot give ends the process (SIGBUS).
        os.posix_fallocate(self.fd, _offset(count), RECORDS_AT_ONCE * RECORD_SIZE)
        self._map.resize(_offset(count + RECORDS_AT_ONCE))
        self._free.extend(reversed(range(count, count + RECORDS_AT_ONCE)))


def _read_end(record: bytes, begin_checksum: int) -> tuple[int | None, bytes | None]:
    """When the call ended, None if it did not or that was cut short, and its answer."""
    checksum, length, ended = _END.unpack_from(record, _END_AT)
    kept = 0 if length == _NO_ANSWER else length
    if kept > ANSWER_MAX:
        return None, None
    end = record[_END_AT + _CHECKSUM_SIZE : _ANSWER_AT + kept]
    if checksum != _checksum(end, begin_checksum):
        return None, None
    return ended, None if length == _NO_ANSWER else end[-kept:] if kept else b""


def _offset(slot: int) -> int:
    return _HEADER_SIZE + slot * RECORD_SIZE


def _checksum(data: bytes, begin: int = 0x5375_7064) -> int:
    """Of nothing but zeros it is not 0: an unused record has no valid begin."""
    return zlib.crc32(data, begin)
