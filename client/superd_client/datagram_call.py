"""One call by datagrams (protocol §18): a socket of its own, from its first datagram to its reply.

Whoever sends to the socket may be anybody, since it must take the server's reply from whichever socket that comes. So
the request's id is drawn at random: only who has got the request can answer it. What else comes is ignored.

Nothing here waits. The socket itself tells what has come, `gauge` when the server has room again: it is a second
socket, connected and never written to, because poll(2) looks at the receiver of a connected socket only.
"""

import contextlib
import errno
import os
import socket
from types import TracebackType
from typing import Final, Self

from superd_client.address import Address
from superd_client.ancillary import packet_frame_max
from superd_client.calls import Call
from superd_client.datagrams import (
    Datagram,
    only_frame,
    open_datagram_socket,
    receive_datagram,
    send_datagram,
)
from superd_client.errors import NotSent
from superd_client.wire.control import dump_cancel
from superd_client.wire.envelope import (
    Notification,
    Reply,
    dump_meta,
    dump_notification,
    dump_request,
    parse_reply,
)
from superd_client.wire.errors import RemoteProtocolError
from superd_client.wire.framing import FrameTooLarge, encode_frame

#: Bytes of a request's id before they are written as text: too many to be guessed.
_ID_SIZE: Final = 16

_HINT: Final = "a datagram holds no more: use a stream socket"


def draw_id() -> str:
    """An id that nobody can guess."""
    return os.urandom(_ID_SIZE).hex()


def frame_call(call: Call, params: bytes, request_id: str, frame_limit: int, frame_max: int) -> bytes:
    """The frame of a call, or of a one-way call; raises MessageTooLarge over the limit, or what a datagram holds.

    Raises NotSent for one that takes descriptors along, and closes those.
    """
    if call.carried is not None:
        call.carried.close()
        if call.carried.sources:
            message = "a datagram takes no descriptors along: use a stream or seqpacket socket"
            raise NotSent(message, method=call.method.name, call_id=call.call_id)
    meta = dump_meta(call.call_id, **call.meta())  # type: ignore[arg-type]  # each has its own type
    name = call.method.name
    body = (
        dump_notification(name, params, meta) if call.oneway else dump_request(request_id, name, params, meta)
    )
    try:
        return encode_frame(body, min(frame_limit, frame_max))
    except FrameTooLarge as error:
        raise call.too_large(f"{error}: {_HINT}" if error.limit == frame_max else str(error)) from error


def read_reply(call: Call, request_id: str, datagram: Datagram, frame_limit: int) -> Reply | None:
    """The reply to `call`; None for whatever else came."""
    try:
        body = only_frame(datagram, frame_limit)
        reply = parse_reply(body)
        if datagram.had_descriptors or isinstance(reply, Notification) or reply.id != request_id:
            return None
        return call.decode(body)
    except RemoteProtocolError:
        return None


def explain_unsent(call: Call, address: Address, error: OSError) -> NotSent:
    """The exception for a datagram that the kernel did not take."""
    if error.errno == errno.EMSGSIZE:
        return call.too_large(_HINT)
    if error.errno == errno.EPIPE:
        return call.unconnected("the server is stopping")
    return call.refused_by_kernel(address, error)


def no_streams(call: Call, address: Address) -> NotSent:
    """The exception for a stream or an upload where there are none (§18.4)."""
    message = f"{address} is a datagram socket, which has no streams: use a stream or seqpacket socket"
    return NotSent(message, method=call.method.name, call_id=call.call_id)


class DatagramCall:
    """Sends a call and takes its reply, for as long as its block lasts; who leaves it early cancels the call."""

    def __init__(self, address: Address, call: Call, params: bytes, frame_limit: int) -> None:
        """Open the socket, and write the frame; raises NotSent where that cannot be."""
        self._address: Final = address
        self._call: Final = call
        self._frame_limit: Final = frame_limit
        self._request_id: Final = draw_id()
        try:
            self.sock: Final = open_datagram_socket()
        except OSError as error:
            raise call.refused_by_kernel(address, error) from error
        self._gauge: socket.socket | None = None
        #: Whether the call was sent, or perhaps: an interrupt may come before that is noted.
        self._tried = False
        try:
            self._frame: Final = frame_call(
                call, params, self._request_id, frame_limit, packet_frame_max(self.sock)
            )
            if not call.oneway:
                self.sock.bind(b"")  # a name that the kernel makes up
        except BaseException:
            self.sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tried and self._call.end is None:
            self._cancel()
        self.close()

    def close(self) -> None:
        """Give up the sockets; what was sent stays."""
        self.sock.close()
        if self._gauge is not None:
            self._gauge.close()

    def wake(self) -> None:
        """Have whoever polls the sockets look again, from another thread."""
        for sock in (self.sock, self._gauge):
            if sock is not None:
                with contextlib.suppress(OSError):  # it is down already
                    sock.shutdown(socket.SHUT_RDWR)

    def send(self) -> bool:
        """Send the call; returns False where the server is full, raises NotSent where it cannot be reached."""
        self._tried = True
        try:
            send_datagram(self.sock, self._frame, self._address.sockaddr)
        except (BlockingIOError, InterruptedError):
            self._tried = False
            return False
        except OSError as error:
            self._tried = False
            raise explain_unsent(self._call, self._address, error) from error
        self._call.mark_sent()
        return True

    def gauge(self) -> socket.socket:
        """The socket that can be written to, for poll(2), once the server has room; raises NotSent."""
        if self._gauge is None:
            self._gauge = open_datagram_socket()
            try:
                self._gauge.connect(self._address.sockaddr)
            except OSError as error:
                raise explain_unsent(self._call, self._address, error) from error
        return self._gauge

    def receive(self) -> Reply | None:
        """Read what has come; the reply, if it is among it."""
        try:
            while True:
                datagram = receive_datagram(self.sock, self._frame_limit)
                reply = read_reply(self._call, self._request_id, datagram, self._frame_limit)
                if reply is not None:
                    return reply
        except (BlockingIOError, InterruptedError):
            return None

    def _cancel(self) -> None:
        """Tell the server, if it has room: it cannot notice by itself that nobody waits any more."""
        try:
            send_datagram(self.sock, encode_frame(dump_cancel(self._request_id)), self._address.sockaddr)
        except OSError:
            return
