"""Frames: a 4-byte big-endian length and that many bytes (protocol §2)."""

from superd_client.wire.errors import ErrorCode, ErrorObject, LocalProtocolError, RemoteProtocolError
from superd_client.wire.limits import FRAME_SIZE_DEFAULT, HEADER_SIZE


class FrameTooLarge(LocalProtocolError):
    """A body of `length` bytes does not fit a frame of at most `limit` bytes; nothing was sent."""

    def __init__(self, length: int, limit: int) -> None:
        """Keep both figures for the error's data."""
        super().__init__(f"a message of {length} bytes is over the frame limit of {limit} bytes")
        self.length = length
        self.limit = limit


def encode_frame(body: bytes, limit: int = FRAME_SIZE_DEFAULT) -> bytes:
    """Put the header before `body`; raises FrameTooLarge over `limit` bytes, LocalProtocolError for an empty body."""
    length = len(body)
    if length == 0:
        message = "a frame has a body"
        raise LocalProtocolError(message)
    if length > limit:
        raise FrameTooLarge(length, limit)
    return length.to_bytes(HEADER_SIZE, "big") + body


class FrameDecoder:
    """Cuts a stream of bytes into bodies. It holds what has arrived and was not yet asked for.

    The buffer grows with the bytes that arrive, never by a declared length, and each byte is copied a fixed
    number of times however finely the stream is cut.
    """

    __slots__ = ("_buffer", "_limit", "_position")

    def __init__(self, limit: int = FRAME_SIZE_DEFAULT) -> None:
        """Accept bodies of at most `limit` bytes."""
        self._limit = limit
        self._buffer: bytes | bytearray = b""
        self._position = 0

    @property
    def buffered(self) -> int:
        """Bytes received and not yet handed out."""
        return len(self._buffer) - self._position

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they came."""
        if not self.buffered:
            # The usual case, a read that ends where a frame ends, is cut out of the read itself.
            self._buffer, self._position = data, 0
            return
        if isinstance(self._buffer, bytes):
            self._buffer = bytearray(memoryview(self._buffer)[self._position :])
            self._position = 0
        elif self._position:
            del self._buffer[: self._position]
            self._position = 0
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """Return the next body, or None until more bytes come; raises RemoteProtocolError where framing is lost."""
        start = self._position + HEADER_SIZE
        if start > len(self._buffer):
            if not self.buffered:
                self._buffer, self._position = b"", 0  # an idle connection must not keep its last read alive
            return None
        length = int.from_bytes(self._buffer[self._position : start], "big")
        if not 0 < length <= self._limit:
            raise RemoteProtocolError(self._bad_length(length))
        end = start + length
        if end > len(self._buffer):
            return None
        self._position = end
        if isinstance(self._buffer, bytes):
            return self._buffer[start:end]
        return bytes(memoryview(self._buffer)[start:end])

    def receive_eof(self) -> None:
        """Note the end of file; raises RemoteProtocolError if it cuts a frame short."""
        if self.buffered:
            message = f"end of file inside a frame, after {self.buffered} bytes of it"
            raise RemoteProtocolError(ErrorObject(ErrorCode.PARSE_ERROR, message, {}))

    def _bad_length(self, length: int) -> ErrorObject:
        if length == 0:
            return ErrorObject(ErrorCode.PARSE_ERROR, "a frame of length 0", {})
        message = f"a frame of {length} bytes is over the limit of {self._limit} bytes"
        return ErrorObject(ErrorCode.FRAME_TOO_LARGE, message, {"limit": self._limit, "length": length})
