"""A server of the protocol whose every step a test decides: each accepted connection runs a script in a thread."""

import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from superd_client.address import SocketKind
from superd_client.ancillary import packet_frame_max
from superd_client.streams import UntypedItems
from superd_client.wire.connection import PeerClosed
from superd_client.wire.control import Cancel, Credit
from superd_client.wire.envelope import Request, parse_call
from superd_client.wire.errors import ErrorObject
from superd_client.wire.framing import encode_frame
from superd_client.wire.limits import STREAM_CREDIT_DEFAULT
from superd_client.wire.server import ParseCall, ServerConnection, ServerEvent

#: Seconds that anything in these tests may take before the test fails.
PATIENCE: Final = 30.0


class Peer:
    """The server's end of one connection."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket: Final = connected
        self.socket.settimeout(PATIENCE)
        self.wire: Final = self.make_wire()
        #: What next_request came across: rpc.cancel and rpc.credit.
        self.controls: Final[list[ServerEvent]] = []

    def make_wire(self, parse: ParseCall = parse_call) -> ServerConnection:
        """A server's end for this socket."""
        packets = self.socket.type == socket.SOCK_SEQPACKET
        wire = ServerConnection(parse=parse, packets=packets)
        if packets:
            wire.send_limit = packet_frame_max(self.socket)
        return wire

    def next_event(self) -> ServerEvent:
        """The next event, whatever it is."""
        while (event := self.wire.next_event()) is None:
            try:
                self.wire.receive_data(self.socket.recv(1 << 18))
            except ConnectionResetError:
                return PeerClosed()
        return event

    def next_request(self) -> Request | None:
        """The next request, or None at the end of file."""
        while isinstance(event := self.next_event(), Cancel | Credit):
            self.controls.append(event)
        assert isinstance(event, Request | PeerClosed)
        return event if isinstance(event, Request) else None

    def expect_control(self, control: ServerEvent) -> None:
        """The next event, which must be this one."""
        assert self.next_event() == control

    def begin(self) -> None:
        """Read the first byte of the next request."""
        self.wire.receive_data(self.socket.recv(1))

    def expect(self) -> Request:
        """The next request."""
        request = self.next_request()
        assert request is not None
        return request

    def answer(self, request: Request, value: object) -> None:
        """Send a result."""
        self.send(self.wire.send_result(request.id, json.dumps(value).encode()))

    def fail(self, request: Request, code: int, message: str = "no", **data: object) -> None:
        """Send a failure."""
        self.send(self.wire.send_failure(request.id, ErrorObject(code, message, data)))

    def open_stream(self, request: Request) -> None:
        """Let items be sent, as the request gives credit."""
        self.wire.open_outflow(request.id, request.meta.get("credit", STREAM_CREDIT_DEFAULT))

    def send_item(self, request: Request, value: object) -> None:
        """Send the next item of a stream that is open; waits for credit."""
        while not self.wire.credit(request.id):
            event = self.next_event()
            assert isinstance(event, Credit)
            self.controls.append(event)
        self.send(self.wire.send_item(request.id, json.dumps(value).encode()))

    def open_upload(self, request: Request, credit: int) -> None:
        """Let the client send items."""
        self.send(self.wire.open_inflow(request.id, credit, UntypedItems().decode))

    def give_credit(self, request: Request, items: int) -> None:
        """Let the client send more items."""
        self.send(self.wire.send_credit(request.id, items))

    def go_away(self) -> None:
        """Say that this server is going to stop."""
        self.send(self.wire.send_goaway())

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def send_message(self, message: object) -> None:
        """Send one frame of JSON, legal or not."""
        self.send(encode_frame(json.dumps(message).encode()))

    def echo(self) -> None:
        """Answer every request with its params until the client goes."""
        while (request := self.next_request()) is not None:
            self.answer(request, request.params)

    def await_end(self) -> None:
        """Read nothing more than the end of file."""
        while self.next_request() is not None:
            pass

    def await_rest(self) -> None:
        """Read bytes, whatever they are, to the end of file."""
        while self.socket.recv(1 << 18):
            pass

    def hang_up(self) -> None:
        """Close the connection."""
        self.socket.close()


Script = Callable[[Peer], Any]


class Server:
    """Accepts connections and runs the next script on each; the last script serves all that follow."""

    def __init__(
        self, path: str, *scripts: Script, backlog: int = 64, kind: SocketKind = SocketKind.STREAM
    ) -> None:
        self.path: Final = path
        self.address: Final = f"{kind.scheme}:{path}"
        self.failures: Final[list[BaseException]] = []
        self.connections = 0
        self._scripts: Final = scripts
        self._peers: Final[list[Peer]] = []
        self._threads: Final[list[threading.Thread]] = []
        self._listener: Final = socket.socket(socket.AF_UNIX, kind.value)
        self._listener.bind(path)
        self._listener.listen(backlog)
        self._begin(self._accept)

    def _begin(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            peer = Peer(connected)
            self._peers.append(peer)
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            self._begin(self._run, script, peer)

    def _run(self, script: Script, peer: Peer) -> None:
        try:
            script(peer)
        except BaseException as error:  # noqa: BLE001 - the test raises it in its own thread
            self.failures.append(error)
        finally:
            peer.hang_up()

    def close(self) -> None:
        """End everything; raises what a script raised."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE)
        for peer in self._peers:
            if peer.socket.fileno() >= 0:
                try:
                    peer.socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        self._listener.close()
        os.unlink(self.path)  # noqa: PTH108
        if self.failures:
            raise self.failures[0]


@contextmanager
def serving(
    *scripts: Script, path: str | None = None, kind: SocketKind = SocketKind.STREAM
) -> Iterator[Server]:
    """A server in a directory of its own, or at `path`; without scripts it echoes."""
    with tempfile.TemporaryDirectory(prefix="superd-") as directory:
        server = Server(path or f"{directory}/s", *(scripts or (Peer.echo,)), kind=kind)
        try:
            yield server
        finally:
            server.close()


class FullBacklog:
    """A listening socket whose backlog is full."""

    def __init__(self, path: str) -> None:
        self.address: Final = f"unix:{path}"
        self._listener: Final = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(0)
        self._listener.settimeout(PATIENCE)
        self._fillers: Final[list[socket.socket]] = []
        while self._fill():
            pass

    def _fill(self) -> bool:
        filler = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        filler.setblocking(False)
        self._fillers.append(filler)
        return filler.connect_ex(self.address.removeprefix("unix:")) == 0

    def accept(self) -> Peer:
        """Make room, and return the first who used it."""
        for _ in self._fillers[1:]:
            self._listener.accept()[0].close()
        return Peer(self._listener.accept()[0])

    def close(self) -> None:
        for each in (self._listener, *self._fillers):
            each.close()


@contextmanager
def full_backlog() -> Iterator[FullBacklog]:
    """A socket that nobody can connect to until its owner accepts."""
    with tempfile.TemporaryDirectory(prefix="superd-") as directory:
        backlog = FullBacklog(f"{directory}/s")
        try:
            yield backlog
        finally:
            backlog.close()
