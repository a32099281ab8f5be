"""A peer without a library: frames in, frames out, and everything that a well-behaved client never does."""

import json
import socket
from typing import Any, Self

from typing_extensions import override

#: Seconds after which a read that should have had something fails its test.
PATIENCE = 30.0


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def request(method: str, params: object = None, request_id: object = 1, **more: object) -> bytes:
    """The body of a request; `params` None leaves them out, and so does `request_id` None."""
    message: dict[str, object] = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
    return json.dumps({key: value for key, value in message.items() if value is not None} | more).encode()


def echo(text: str = "hello", request_id: object = 1) -> bytes:
    return request("echo.echo", {"text": text}, request_id)


class RawClient:
    """One blocking connection."""

    kind = socket.SOCK_STREAM

    def __init__(self, address: str | bytes) -> None:
        self.sock = socket.socket(socket.AF_UNIX, self.kind)
        self.sock.settimeout(PATIENCE)
        try:
            self.sock.connect(address)
        except BaseException:
            self.sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.vanish()

    def send(self, *bodies: bytes) -> None:
        self.sock.sendall(b"".join(map(frame, bodies)))

    def send_raw(self, data: bytes) -> None:
        self.sock.sendall(data)

    def receive(self) -> Any:
        """The next message; None at the end of file, or where the peer closed without reading all."""
        header = self._exactly(4)
        if header is None:
            return None
        body = self._exactly(int.from_bytes(header, "big"))
        assert body is not None, "end of file inside a frame"
        return json.loads(body)

    def ask(self, body: bytes) -> Any:
        self.send(body)
        return self.receive()

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def vanish(self) -> None:
        self.sock.close()

    def fill(self, data: bytes) -> int:
        """Send `data` again and again until the kernel takes no more; the number of bytes that it took."""
        self.sock.setblocking(False)
        sent = 0
        try:
            while True:
                sent += self.sock.send(data[sent % len(data) :])
        except BlockingIOError:
            return sent
        finally:
            self.sock.settimeout(PATIENCE)

    def _exactly(self, count: int) -> bytes | None:
        data = b""
        while len(data) < count:
            try:
                more = self.sock.recv(count - len(data))
            except ConnectionResetError:
                return None
            if not more:
                assert not data, "end of file inside a frame"
                return None
            data += more
        return data


class RawPacketClient(RawClient):
    """One blocking connection of packets, each of them a frame."""

    kind = socket.SOCK_SEQPACKET

    @override
    def send(self, *bodies: bytes) -> None:
        for body in bodies:
            self.sock.send(frame(body))

    @override
    def send_raw(self, data: bytes) -> None:
        """Send one packet, which may be empty."""
        assert self.sock.send(data) == len(data)

    @override
    def receive(self) -> Any:
        try:
            packet = self.sock.recv(1 << 20)
        except ConnectionResetError:
            return self.receive()  # what came before it follows
        if not packet:
            return None
        assert int.from_bytes(packet[:4], "big") == len(packet) - 4
        return json.loads(packet[4:])
