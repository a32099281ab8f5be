"""SOCK_SEQPACKET on an event loop: one packet is one frame, so that neither a read nor a write holds more than one."""

import asyncio
import socket
from typing import Final

from typing_extensions import override

from superd.readiness import Readiness
from superd.transport import Receiver, Transport
from superd_client.ancillary import packet_frame_max, receive_packet

#: Packets read before the loop gets a turn: to ask the loop for each costs more than to read it.
_PACKETS_PER_TURN: Final = 16


class PacketTransport(Transport):
    """Owns one connected SOCK_SEQPACKET socket. `frame_max` is the largest body in bytes that can be written."""

    __slots__ = ("_frame_limit", "frame_max")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        receiver: Receiver,
        readiness: Readiness,
        frame_limit: int,
    ) -> None:
        """Take the socket over; a packet with a body over `frame_limit` bytes is cut to its header."""
        super().__init__(loop, sock, receiver, readiness)
        self._frame_limit = frame_limit
        self.frame_max = packet_frame_max(sock)

    @override
    def readable(self) -> None:
        if self._reading and self._receiver.may_read():
            self.read_available(_PACKETS_PER_TURN)

    @override
    def _receive(self) -> bool:
        packet = receive_packet(self._sock, self._frame_limit)
        if packet is None:
            self._end_of_file()
            return False
        self._receiver.packet_received(*packet)
        return True

    @override
    def _send_plain(self) -> int:
        return self._sock.send(self._waiting[0])
