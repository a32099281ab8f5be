"""A sender of datagrams without a library: frames in, frames out, and what no well-behaved client does."""

import json
import os
import select
import socket
import struct
from typing import Any, Self

from tests.daemon.raw import PATIENCE, echo, frame


class RawDatagrams:
    """One datagram socket; `own` is its address, "" for one that the kernel makes up, None for none."""

    def __init__(self, server: str, own: str | bytes | None = "") -> None:
        self.server = server
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.settimeout(PATIENCE)
        if own is not None:
            self.sock.bind(own)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, body: bytes) -> None:
        self.send_raw(frame(body))

    def send_raw(self, data: bytes) -> None:
        self.sock.sendto(data, self.server)

    def send_as(self, uid: int, body: bytes) -> None:
        """Send with the credentials of another user, as root may."""
        ucred = struct.pack("=iII", os.getpid(), uid, uid)
        self.sock.sendmsg([frame(body)], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, ucred)], 0, self.server)

    def receive(self) -> Any:
        data = self.sock.recv(1 << 20)
        assert int.from_bytes(data[:4], "big") == len(data) - 4
        return json.loads(data[4:])

    def ask(self, body: bytes) -> Any:
        self.send(body)
        return self.receive()

    def has_nothing(self) -> bool:
        return not select.select([self.sock], [], [], 0)[0]

    def fill(self, *, first_uid: int) -> int:
        """Send calls, each as another user, until the server takes no more; how many it took."""
        self.sock.setblocking(False)
        taken = 0
        try:
            while True:
                self.send_as(first_uid + taken, echo("", first_uid + taken))
                taken += 1
        except BlockingIOError:
            return taken
        finally:
            self.sock.settimeout(PATIENCE)
