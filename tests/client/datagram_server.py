"""A datagram server without a library, for clients to be tested against: it does what the test says, in a thread."""

import json
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

PATIENCE: Final = 10.0

#: Takes the server's socket, a message, and where it came from.
Answer = Callable[[socket.socket, Any, Any], None]


def frame(message: Any) -> bytes:
    body = json.dumps(message).encode()
    return len(body).to_bytes(4, "big") + body


def result(request: Any, value: Any) -> bytes:
    return frame({"jsonrpc": "2.0", "id": request["id"], "result": value})


def echo(sock: socket.socket, request: Any, sender: Any) -> None:
    if "id" in request:
        sock.sendto(result(request, request["params"]), sender)


class DatagramServer:
    """What it has read, and where it is. `read` says whether it reads at all."""

    def __init__(self, path: str) -> None:
        self.path: Final = path
        self.address: Final = f"unix-dgram:{path}"
        self.messages: list[Any] = []
        self.senders: list[Any] = []
        self.sock: Final = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(path)
        self._arrived: Final = threading.Condition()

    def serve(self, answer: Answer) -> None:
        while True:
            data, sender = self.sock.recvfrom(1 << 20)
            if data == b"stop":
                return
            message = json.loads(data[4:])
            with self._arrived:
                self.messages.append(message)
                self.senders.append(sender)
                self._arrived.notify_all()
            answer(self.sock, message, sender)

    def wait(self, method: str, count: int = 1) -> list[Any]:
        """The messages of this method, as soon as there are `count`."""

        def found() -> list[Any]:
            return [each for each in self.messages if each["method"] == method]

        with self._arrived:
            assert self._arrived.wait_for(lambda: len(found()) >= count, PATIENCE), self.messages
            return found()

    def fill(self) -> int:
        """Fill the queue of a server that does not read; how many datagrams that took."""
        count = 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
            filler.setblocking(False)
            try:
                while True:
                    filler.sendto(frame({"jsonrpc": "2.0", "method": "fill.fill"}), self.path)
                    count += 1
            except BlockingIOError:
                return count

    def stop(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stopper:
            stopper.sendto(b"stop", self.path)


@contextmanager
def deaf_server() -> Iterator[DatagramServer]:
    """A server that reads only when `serve` is called."""
    with tempfile.TemporaryDirectory(prefix="superd-") as folder:
        server = DatagramServer(f"{folder}/s")
        try:
            yield server
        finally:
            server.sock.close()


@contextmanager
def serving(answer: Answer = echo) -> Iterator[DatagramServer]:
    """A server in a thread."""
    with deaf_server() as server:
        thread = threading.Thread(target=server.serve, args=(answer,))
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            thread.join(PATIENCE)
            assert not thread.is_alive()
