"""Frames: a 4-byte big-endian length and that many bytes (protocol §2), with the descriptors beside them (§15)."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from superd_client.wire.errors import ErrorCode, ErrorObject, LocalProtocolError, RemoteProtocolError
from superd_client.wire.limits import FDS_PER_FRAME_MAX, FRAME_SIZE_DEFAULT, HEADER_SIZE


class FrameTooLarge(LocalProtocolError):
    """A body of `length` bytes does not fit a frame of at most `limit` bytes; nothing was sent."""

    def __init__(self, length: int, limit: int) -> None:
        """Keep both figures for the error's data."""
        super().__init__(f"a message of {length} bytes is over the frame limit of {limit} bytes")
        self.length = length
        self.limit = limit


class Arrival(NamedTuple):
    """What one read brought: bytes and descriptors; `length` is what a packet had before it was cut to `data`."""

    data: bytes
    fds: tuple[int, ...]
    length: int


class PacketRefused(RemoteProtocolError):
    """A packet that is not one frame. The next packet is read as if nothing had happened (§17)."""


def encode_frame(body: bytes, limit: int = FRAME_SIZE_DEFAULT) -> bytes:
    """Put the header before `body`; raises FrameTooLarge over `limit` bytes, LocalProtocolError for an empty body."""
    length = len(body)
    if length == 0:
        message = "a frame has a body"
        raise LocalProtocolError(message)
    if length > limit:
        raise FrameTooLarge(length, limit)
    return length.to_bytes(HEADER_SIZE, "big") + body


#: What all decoders have for which no descriptors came. Nothing is ever put in: the first gets a list of its own.
_NO_FDS: Final[list[tuple[int, list[int]]]] = []
#: Bytes of a part of a body that is worth an object of its own; smaller ones are put together. A peer that sends byte by
#: byte would else make us hold forty times as much as it has sent.
_PART_MIN: Final = 4096


class _Begun:
    """A body of which a part has come: the parts, each as it was read, so that the whole is put together but once."""

    __slots__ = ("_parts", "length", "missing")

    def __init__(self, length: int, part: bytes) -> None:
        self.length: Final = length
        self.missing = length
        self._parts: list[bytes | bytearray] = []
        self.add(part)

    def add(self, data: bytes) -> bytes:
        """Take what has come, and return what is of the frames behind this one."""
        part, rest = (
            (data, b"") if len(data) <= self.missing else (data[: self.missing], data[self.missing :])
        )
        self.missing -= len(part)
        if len(part) >= _PART_MIN:
            self._parts.append(part)
        elif self._parts and isinstance(last := self._parts[-1], bytearray):
            last += part
        else:
            self._parts.append(bytearray(part))
        return rest

    def whole(self) -> bytes:
        """All that has come."""
        return b"".join(self._parts)


class FrameDecoder:
    """Cuts a stream of bytes into bodies. It holds what has arrived and was not yet asked for.

    What it holds grows with the bytes that arrive, never by a declared length, and each byte is copied a fixed
    number of times however finely the stream is cut.
    """

    __slots__ = ("_base", "_begun", "_buffer", "_fds", "_limit", "_position", "_walked", "awaited", "surplus")

    def __init__(self, limit: int = FRAME_SIZE_DEFAULT) -> None:
        """Accept bodies of at most `limit` bytes."""
        self._limit = limit
        self._buffer: bytes | bytearray = b""
        self._position = 0
        #: The frame that stands before the buffer, without its header, where it was asked for and has not come as a whole.
        self._begun: _Begun | None = None
        #: After `next_frame` has returned None: bytes of the frame that has begun, header included, 0 where none has, or
        #: no whole header. Said by the peer, and no larger than the limit.
        self.awaited = 0
        #: How many bytes of the stream came before the buffer.
        self._base = 0
        #: Descriptors that wait for the frame that begins at this place of the stream.
        self._fds = _NO_FDS
        #: Where a frame begins, up to which the headers were looked at for `_fds`.
        self._walked = 0
        #: Descriptors that no frame can have: to be closed by whoever owns this decoder.
        self.surplus: list[int] = []

    @property
    def buffered(self) -> int:
        """Bytes received and not yet handed out."""
        return self._base + len(self._buffer) - self._start

    @property
    def unfinished(self) -> int | None:
        """Where in the stream the frame begins of which a part has come; None where none has."""
        return self._start if self.buffered else None

    @property
    def _start(self) -> int:
        """Where in the stream the first frame begins that was not handed out."""
        if self._begun is None:
            return self._base + self._position
        return self._base - (self._begun.length - self._begun.missing) - HEADER_SIZE

    @property
    def fds_waiting(self) -> int:
        """Descriptors of frames that were not handed out."""
        return sum(len(fds) for _, fds in self._fds) if self._fds else 0

    def receive_data(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Take bytes as they came in one read, and the descriptors that came with it.

        They belong to the frame that holds the last of these bytes: a read of a stream socket goes no further than
        the write whose descriptors it brings.
        """
        if self._begun is not None and self._begun.missing:
            self._buffer = self._begun.add(data)
            self._base += len(data) - len(self._buffer)
        elif self._position == len(self._buffer):
            # The usual case, a read that ends where a frame ends, is cut out of the read itself.
            self._base += len(self._buffer)
            self._buffer, self._position = data, 0
        elif isinstance(self._buffer, bytes):
            self._base += self._position
            self._buffer = bytearray(memoryview(self._buffer)[self._position :])
            self._position = 0
            self._buffer += data
        else:
            if self._position:
                self._base += self._position
                del self._buffer[: self._position]
                self._position = 0
            self._buffer += data
        if fds:
            self._keep(fds)

    def _keep(self, fds: Sequence[int]) -> None:
        """One more than a frame may have is kept, by which it is found out; the others go at once."""
        start = self._start_of_last_frame()
        if not self._fds or self._fds[-1][0] != start:
            self._fds = self._fds or []
            self._fds.append((start, []))
        kept = self._fds[-1][1]
        room = FDS_PER_FRAME_MAX + 1 - len(kept)
        kept.extend(fds[:room])
        self.surplus.extend(fds[room:])

    def _start_of_last_frame(self) -> int:
        """The place of the stream where the frame begins that holds the last byte received."""
        end = self._base + len(self._buffer)
        if self._begun is not None and not self._buffer:
            return self._start
        start = max(self._walked, self._base + self._position)
        while (header := start - self._base) + HEADER_SIZE <= len(self._buffer):
            length = int.from_bytes(self._buffer[header : header + HEADER_SIZE], "big")
            if start + HEADER_SIZE + length >= end:
                break
            start += HEADER_SIZE + length
        self._walked = start
        return start

    def next_frame(self) -> bytes | None:
        """Return the next body, or None until more bytes come; raises RemoteProtocolError where framing is lost."""
        if self._begun is not None:
            return self._finish(self._begun)
        start = self._position + HEADER_SIZE
        if start > len(self._buffer):
            self.awaited = 0
            if self._position == len(self._buffer):
                # An idle connection must not keep its last read alive.
                self._base += len(self._buffer)
                self._buffer, self._position = b"", 0
            return None
        length = int.from_bytes(self._buffer[self._position : start], "big")
        if not 0 < length <= self._limit:
            raise RemoteProtocolError(bad_length(length, self._limit))
        end = start + length
        if end > len(self._buffer):
            self.awaited = HEADER_SIZE + length
            self._begun = _Begun(length, self._cut(start, end))
            self._base += len(self._buffer)
            self._buffer, self._position = b"", 0
            return None
        self._position = end
        return self._cut(start, end)

    def _cut(self, start: int, end: int) -> bytes:
        if isinstance(self._buffer, bytes):
            return self._buffer[start:end]
        return bytes(memoryview(self._buffer)[start:end])

    def _finish(self, begun: _Begun) -> bytes | None:
        if begun.missing:
            return None
        self._begun = None
        return begun.whole()

    def take_fds(self) -> tuple[int, ...]:
        """The descriptors of the frame that was handed out last; whoever takes them owns them."""
        if not self._fds or self._fds[0][0] >= self._base + self._position:
            return ()
        return tuple(self._fds.pop(0)[1])

    def take_surplus(self) -> list[int]:
        """The descriptors that are to be closed: those that no frame can have, and at the end all that wait."""
        surplus, self.surplus = self.surplus, []
        return surplus

    def take_unread(self) -> list[Arrival]:
        """What has arrived and was not asked for, cut so that another decoder that takes it holds the same.

        This decoder is as after `abandon`, and owns none of these descriptors any more.
        """
        if self._begun is not None:
            self._ungather(self._begun)
        unread: list[Arrival] = []
        position, rest = self._position, memoryview(self._buffer)
        for start, fds in self._fds:
            # Up to the first byte of the frame that they belong to: it is then the last byte of a read.
            end = start - self._base + 1
            unread.append(Arrival(bytes(rest[position:end]), tuple(fds), end - position))
            position = end
        if position < len(rest):
            unread.append(Arrival(bytes(rest[position:]), (), len(rest) - position))
        rest.release()
        self._fds.clear()
        self.abandon()
        return unread

    def _ungather(self, begun: _Begun) -> None:
        """Hold the frame that has begun as if it had not been asked for."""
        self._base, self._position = self._start, 0
        self._buffer = b"".join((begun.length.to_bytes(HEADER_SIZE, "big"), begun.whole(), self._buffer))
        self._begun = None

    def abandon(self) -> None:
        """Nothing more is asked for: what waits is surplus."""
        for _, fds in self._fds:
            self.surplus.extend(fds)
        self._fds.clear()
        self._begun = None
        self._base += len(self._buffer)
        self._buffer, self._position = b"", 0

    def receive_eof(self) -> None:
        """Note the end of file; raises RemoteProtocolError if it cuts a frame short."""
        if self.buffered:
            message = f"end of file inside a frame, after {self.buffered} bytes of it"
            raise RemoteProtocolError(ErrorObject(ErrorCode.PARSE_ERROR, message, {}))


class PacketDecoder:
    """Takes packets, each of which is one whole frame (protocol §17). The same calls as a FrameDecoder."""

    __slots__ = ("_last_fds", "_limit", "_packets", "awaited", "surplus")

    def __init__(self, limit: int = FRAME_SIZE_DEFAULT) -> None:
        """Accept bodies of at most `limit` bytes."""
        self._limit = limit
        #: No packet comes in parts.
        self.awaited = 0
        self._packets: list[Arrival] = []
        self._last_fds: tuple[int, ...] = ()
        #: Descriptors that no frame can have: to be closed by whoever owns this decoder.
        self.surplus: list[int] = []

    @property
    def buffered(self) -> int:
        """Bytes received and not yet handed out."""
        return sum(len(packet) for packet, _, _ in self._packets)

    @property
    def unfinished(self) -> None:
        """A packet comes as a whole."""
        return

    @property
    def fds_waiting(self) -> int:
        """Descriptors of packets that were not handed out."""
        return sum(len(packet.fds) for packet in self._packets)

    def receive_packet(self, data: bytes, fds: Sequence[int], length: int) -> None:
        """Take one packet, which had `length` bytes before it was cut to `data`, and its descriptors.

        One more than a frame may have is kept, by which it is found out; the others go at once.
        """
        self.surplus.extend(fds[FDS_PER_FRAME_MAX + 1 :])
        self._packets.append(Arrival(data, tuple(fds[: FDS_PER_FRAME_MAX + 1]), length))

    def next_frame(self) -> bytes | None:
        """Return the body of the next packet, or None; raises PacketRefused for one that is not one frame."""
        if not self._packets:
            return None
        packet, fds, length = self._packets.pop(0)
        try:
            self._check(packet, length)
        except PacketRefused:
            self.surplus.extend(fds)
            raise
        self._last_fds = fds
        return packet[HEADER_SIZE:]

    def _check(self, packet: bytes, length: int) -> None:
        if length - HEADER_SIZE > self._limit:
            raise PacketRefused(bad_length(length - HEADER_SIZE, self._limit))
        if length < HEADER_SIZE:
            message = f"a packet of {length} bytes, which has no room for a header"
            raise PacketRefused(ErrorObject(ErrorCode.PARSE_ERROR, message, {}))
        said = int.from_bytes(packet[:HEADER_SIZE], "big")
        if said != length - HEADER_SIZE or said == 0 or len(packet) != length:
            message = f"a packet of {length} bytes whose header says {said}: it must hold one frame"
            raise PacketRefused(ErrorObject(ErrorCode.PARSE_ERROR, message, {}))

    def take_fds(self) -> tuple[int, ...]:
        """The descriptors of the packet that was handed out last; whoever takes them owns them."""
        fds, self._last_fds = self._last_fds, ()
        return fds

    def take_surplus(self) -> list[int]:
        """The descriptors that are to be closed: those that no frame can have, and at the end all that wait."""
        surplus, self.surplus = self.surplus, []
        return surplus

    def take_unread(self) -> list[Arrival]:
        """What has arrived and was not asked for; this decoder owns none of its descriptors any more."""
        unread, self._packets = self._packets, []
        return unread

    def abandon(self) -> None:
        """Nothing more is asked for: what waits is surplus."""
        for _, fds, _ in self._packets:
            self.surplus.extend(fds)
        self._packets.clear()

    def receive_eof(self) -> None:
        """Note the end of file, which cannot cut a packet short."""


def bad_length(length: int, limit: int) -> ErrorObject:
    """What to say of a frame whose header says `length`."""
    if length == 0:
        return ErrorObject(ErrorCode.PARSE_ERROR, "a frame of length 0", {})
    message = f"a frame of {length} bytes is over the limit of {limit} bytes"
    return ErrorObject(ErrorCode.FRAME_TOO_LARGE, message, {"limit": limit, "length": length})
