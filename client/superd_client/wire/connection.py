"""What both ends of a connection share: frames in, states, end of file, drain (protocol §7)."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from superd_client.wire.errors import LocalProtocolError, RemoteProtocolError
from superd_client.wire.framing import Arrival, FrameDecoder, PacketDecoder, PacketRefused
from superd_client.wire.states import RECEIVING, Input, State, advance


class PeerClosed(NamedTuple):
    """The peer has sent its last byte, between two frames."""


class Connection:
    """One end. `packets` says that the socket keeps the bounds of what is written to it (SOCK_SEQPACKET)."""

    __slots__ = ("_decoder", "_eof_pending", "frame_limit", "send_limit", "state")

    def __init__(self, frame_limit: int, *, packets: bool) -> None:
        self.frame_limit: Final = frame_limit
        #: What a frame of this end may have at most: less than the frame limit where a packet holds less.
        self.send_limit = frame_limit
        self.state = State.OPEN
        self._decoder: Final = PacketDecoder(frame_limit) if packets else FrameDecoder(frame_limit)
        self._eof_pending = False

    def receive_data(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Take what one read brought, and own its descriptors; b"" is the end of file.

        Bytes are ignored once nothing can follow.
        """
        if self.state not in RECEIVING:
            self._decoder.surplus.extend(fds)
        elif not data:
            self._decoder.surplus.extend(fds)
            self._eof_pending = True
        elif isinstance(self._decoder, FrameDecoder):
            self._decoder.receive_data(data, fds)
        else:
            self._decoder.receive_packet(data, fds, len(data))

    def receive_packet(self, data: bytes, fds: Sequence[int] = (), length: int | None = None) -> None:
        """Take one packet, which may be empty, and own its descriptors; `length` is what it had before it was cut."""
        if self.state not in RECEIVING:
            self._decoder.surplus.extend(fds)
        elif isinstance(self._decoder, PacketDecoder):
            self._decoder.receive_packet(data, fds, len(data) if length is None else length)
        else:
            message = "a stream has no packets"
            raise LocalProtocolError(message)

    @property
    def fds_waiting(self) -> int:
        """Descriptors that came with what was not handed out."""
        return self._decoder.fds_waiting

    def take_surplus(self) -> Sequence[int]:
        """Descriptors that came and that no call has: close them. To be asked after each read and at the end."""
        return self._decoder.take_surplus() if self._decoder.surplus else ()

    def take_unread(self) -> list[Arrival]:
        """What has arrived and was not handed out, and its descriptors, which the caller owns.

        A new connection that receives it goes on as this one would have; an end of file is not among it.
        """
        return self._decoder.take_unread()

    def receive_again(self, unread: Sequence[Arrival]) -> None:
        """Take what `take_unread` of another connection gave, and own its descriptors."""
        for data, fds, length in unread:
            if isinstance(self._decoder, PacketDecoder):
                self.receive_packet(data, fds, length)
            else:
                self.receive_data(data, fds)

    @property
    def unfinished(self) -> int | None:
        """Something that is the same until the frame is finished of which a part has come; None where none has."""
        return self._decoder.unfinished

    def drain(self) -> None:
        """Begin nothing new from now on. An end of file inside a frame is then no fault: this end may have made it."""
        self.state = advance(self.state, Input.DRAIN)

    def close(self) -> None:
        """Note that the transport is closed."""
        self.state = advance(self.state, Input.CLOSE)
        self._decoder.abandon()

    def _next_body(self) -> bytes | None:
        """Return the next body or None.

        Raises PacketRefused, which costs only the packet, or another RemoteProtocolError, after which the connection
        is BROKEN.
        """
        if self.state not in RECEIVING:
            return None
        try:
            body = self._decoder.next_frame()
            if body is None and self._eof_pending and self.state is not State.DRAINING:
                self._decoder.receive_eof()
        except PacketRefused:
            raise
        except RemoteProtocolError:
            self._break()
            raise
        return body

    def give_up(self) -> None:
        """Read no more: what waits is surplus, and one last error may be sent, as where framing is lost."""
        self._break()

    def _break(self) -> None:
        self.state = advance(self.state, Input.FRAMING_LOST)
        self._decoder.abandon()

    def _at_eof(self) -> bool:
        """Whether the end of file has just been reached; to be asked when there is no further body."""
        if not self._eof_pending or self.state not in RECEIVING:
            return False
        self.state = advance(self.state, Input.EOF_RECEIVED)
        self._decoder.abandon()
        return True
