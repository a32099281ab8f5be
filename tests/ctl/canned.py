"""A server whose answers are written down beforehand: another implementation, an older one, a hostile one."""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pydantic_core import to_json

from superd_client.wire.connection import PeerClosed
from superd_client.wire.envelope import Request
from superd_client.wire.errors import ErrorObject
from superd_client.wire.server import ServerConnection

#: The answer to all else.
UNKNOWN: Final = ErrorObject(-32601, "no such method", {})


@contextmanager
def serve(folder: Path, answers: Mapping[str, Any]) -> Iterator[str]:
    """Answer one connection after another; an ErrorObject is sent as a failure, None closes. Yields the address."""
    path = folder / "canned"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=_accept, args=(listener, answers))
        thread.start()
        try:
            yield f"unix:{path}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(30)


def _accept(listener: socket.socket, answers: Mapping[str, Any]) -> None:
    while True:
        try:
            peer, _ = listener.accept()
        except OSError:  # shut down
            return
        with peer:
            _converse(peer, answers)


def _converse(peer: socket.socket, answers: Mapping[str, Any]) -> None:
    connection = ServerConnection()
    while True:
        connection.receive_data(peer.recv(65536))
        while (event := connection.next_event()) is not None:
            if isinstance(event, PeerClosed):
                return
            assert isinstance(event, Request)
            answer = answers.get(event.method, UNKNOWN)
            if answer is None:
                return
            if isinstance(answer, ErrorObject):
                peer.sendall(connection.send_failure(event.id, answer))
            else:
                peer.sendall(connection.send_result(event.id, to_json(answer)))
