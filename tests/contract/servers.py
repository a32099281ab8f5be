"""The servers that the contract suite runs against: superd itself, and a plain one that shares only the wire with it."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from superd_client import ApplicationError
from superd_client.address import SocketKind
from superd_client.contract import Method
from superd_client.parser import CallParser
from superd_client.wire.connection import PeerClosed
from superd_client.wire.envelope import Request
from superd_client.wire.errors import ErrorCode, ErrorObject
from superd_client.wire.framing import FrameTooLarge
from superd_client.wire.server import Refused, ServerConnection
from tests.client.server import PATIENCE, Peer, serving
from tests.contract import service

ROOT: Final = Path(__file__).resolve().parents[2]

HANDLERS: Final[dict[str, tuple[Method[Any, Any], Callable[[Any, Any], Any]]]] = {
    "contract.echo": (service.echo, service.handle_echo),
    "contract.add": (service.add, service.handle_add),
    "contract.take": (service.take, service.handle_take),
    "contract.crash": (service.crash, service.handle_crash),
    "contract.blow_up": (service.blow_up, service.handle_blow_up),
}


@contextmanager
def plain_server(directory: Path, kind: SocketKind) -> Iterator[str]:
    """Answers one request after the other, and `contract.hold` never."""
    with serving(_serve, path=f"{directory}/plain", kind=kind) as server:
        yield server.address


def _serve(peer: Peer) -> None:
    wire = peer.make_wire(CallParser([*(method for method, _ in HANDLERS.values()), service.hold]))
    while True:
        event = wire.next_event()
        if isinstance(event, PeerClosed):
            return
        if event is None:
            wire.receive_data(peer.socket.recv(1 << 18))
        elif isinstance(event, Refused):
            peer.send(wire.send_refusal(event.id, event.error.with_data(call_id="unknown")))
        elif isinstance(event, Request) and event.method != "contract.hold":
            peer.send(_answer(wire, event))


def _answer(wire: ServerConnection, request: Request) -> bytes:
    try:
        return wire.send_result(request.id, _carry_out(request))
    except _Refusal as refusal:
        error: ErrorObject = refusal.args[0]
    except FrameTooLarge as fault:
        error = ErrorObject(
            ErrorCode.FRAME_TOO_LARGE, str(fault), {"limit": fault.limit, "length": fault.length}
        )
    except RuntimeError:
        error = ErrorObject(ErrorCode.INTERNAL_ERROR, "internal error", {})
    return wire.send_failure(request.id, error.with_data(call_id=request.call_id))


class _Refusal(Exception):
    """An error to answer with."""


def _carry_out(request: Request) -> bytes:
    if isinstance(request.params, ErrorObject):
        raise _Refusal(request.params)
    method, handler = HANDLERS[request.method]
    try:
        return method.encode_result(handler(request.params, None))
    except ApplicationError as error:
        detail: Any = error.detail
        raise _Refusal(method.encode_error(detail, error.message)) from None


@contextmanager
def superd(
    directory: Path, kind: SocketKind, service: str = "tests.contract.service:contract"
) -> Iterator[str]:
    """The daemon as a child, which says by READY=1 that it serves (sd_notify(3))."""
    address = f"{kind.scheme}:{directory}/superd"
    command = [
        sys.executable,
        "-m",
        "superd",
        "--listen",
        address,
        "--service",
        service,
    ]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(f"{directory}/notify")
        notices.settimeout(PATIENCE)
        environment = {"NOTIFY_SOCKET": f"{directory}/notify", "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) as daemon:
            try:
                while b"READY=1" not in notices.recv(4096).split(b"\n"):
                    pass
                yield address
            finally:
                daemon.terminate()
                daemon.communicate(timeout=PATIENCE)
    assert daemon.returncode == 0


SERVERS: Final = {"plain": plain_server, "superd": superd}
