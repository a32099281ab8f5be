"""A client that knows nothing but sockets and JSON, and may say anything."""

import array
import contextlib
import itertools
import json
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

#: The prefixes of addresses (protocol §9), and the sockets that they mean.
KINDS: Final = {
    "unix": ("stream", socket.SOCK_STREAM),
    "unix-seqpacket": ("seqpacket", socket.SOCK_SEQPACKET),
    "unix-dgram": ("datagram", socket.SOCK_DGRAM),
}

#: Bytes of one read: more than any frame that is read here has, or any packet.
_READ: Final = 1 << 20
_ANCILLARY: Final = socket.CMSG_SPACE(253 * array.array("i").itemsize)
HEADER: Final = 4


class Address(NamedTuple):
    """Where a server listens."""

    text: str
    kind: str
    type: int
    path: str


def parse(text: str) -> Address:
    """Read an address; raises ValueError."""
    prefix, colon, path = text.partition(":")
    if prefix not in KINDS or not colon or not path.startswith(("/", "@")):
        message = f"{text!r} is no address: unix:/path, unix-seqpacket:/path or unix-dgram:/path, or @name for /path"
        raise ValueError(message)
    kind, number = KINDS[prefix]
    return Address(text, kind, number, "\0" + path[1:] if path.startswith("@") else path)


class Closed(Exception):
    """The server has closed the connection."""


class Silence(Exception):
    """Nothing came in time."""


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(HEADER, "big") + body


def text_of(message: object) -> bytes:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


class Peer:
    """One connection, or one bound socket for datagrams. Descriptors that come are kept until the end, then closed."""

    def __init__(self, address: Address, patience: float) -> None:
        """Connect; for datagrams, take an address of our own."""
        self.address: Final = address
        self.patience: Final = patience
        self.fds: list[int] = []
        self._ids = itertools.count(1)
        self._buffer = bytearray()
        self._stash: list[dict[str, Any]] = []
        self.socket = socket.socket(socket.AF_UNIX, address.type)
        self.socket.settimeout(patience)
        try:
            if address.kind == "datagram":
                self.socket.bind("")  # the kernel chooses an abstract name
            else:
                self._connect()
        except BaseException:
            self.socket.close()
            raise

    def _connect(self) -> None:
        """Wait where the backlog is full: a socket that never blocks, or has a timeout, gets EAGAIN at once."""
        whole = int(self.patience)
        wait = struct.pack("ll", whole, int((self.patience - whole) * 1e6))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
        self.socket.setblocking(True)
        self.socket.connect(self.address.path)
        self.socket.settimeout(self.patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()
        self.drop_fds()

    def drop_fds(self) -> None:
        fds, self.fds = self.fds, []
        for fd in fds:
            os.close(fd)

    # --- what goes out -----------------------------------------------------------------------------------------------

    def send_bytes(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Write bytes as they are; on a socket of packets they are one packet."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        to = self.address.path if self.address.kind == "datagram" else None
        sent = self.socket.sendmsg([data], ancillary, 0, to) if to else self.socket.sendmsg([data], ancillary)
        if sent < len(data):
            self.socket.sendall(data[sent:])

    def send_body(self, body: bytes, fds: Sequence[int] = ()) -> None:
        self.send_bytes(frame(body), fds)

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        self.send_body(text_of({"jsonrpc": "2.0", **message}), fds)

    def request(self, method: str, params: object = None, carried: Sequence[int] = (), **meta: object) -> int:
        """Send a request, with the descriptors that it declares unless `meta` says otherwise; returns its id."""
        request_id = next(self._ids)
        if carried:
            meta.setdefault("fds", len(carried))
        message: dict[str, Any] = {
            "id": request_id,
            "method": method,
            "params": {} if params is None else params,
        }
        self.send(message | ({"meta": meta} if meta else {}), carried)
        return request_id

    def notify(
        self, method: str, params: dict[str, Any], carried: Sequence[int] = (), **meta: object
    ) -> None:
        self.send({"method": method, "params": params} | ({"meta": meta} if meta else {}), carried)

    def item(self, request_id: object, seq: int, item: object) -> None:
        self.notify("rpc.item", {"id": request_id, "seq": seq, "item": item})

    def credit(self, request_id: object, items: int) -> None:
        self.notify("rpc.credit", {"id": request_id, "n": items})

    def end(self, request_id: object) -> None:
        self.notify("rpc.end", {"id": request_id})

    def cancel(self, request_id: object) -> None:
        self.notify("rpc.cancel", {"id": request_id})

    # --- what comes in -----------------------------------------------------------------------------------------------

    def receive(self, patience: float | None = None) -> dict[str, Any]:
        """The next message; raises Closed, Silence, or ValueError for what is no frame or no JSON."""
        if self._stash:
            return self._stash.pop(0)
        body = self._body(self.patience if patience is None else patience)
        message = json.loads(body.decode())
        if not isinstance(message, dict):
            raise ValueError(f"a message that is no object: {body[:100]!r}")  # noqa: TRY004 - of the peer's, not ours
        return message

    def _body(self, patience: float) -> bytes:
        end = time.monotonic() + patience
        if self.address.kind != "stream":
            packet = self._read(end)
            if len(packet) < HEADER or int.from_bytes(packet[:HEADER], "big") != len(packet) - HEADER:
                raise ValueError(f"a packet that is not one frame: {packet[:100]!r}")
            return packet[HEADER:]
        while True:
            length = int.from_bytes(self._buffer[:HEADER], "big")
            if len(self._buffer) >= HEADER and len(self._buffer) >= HEADER + length:
                body = bytes(self._buffer[HEADER : HEADER + length])
                del self._buffer[: HEADER + length]
                return body
            self._buffer += self._read(end)

    def _read(self, end: float) -> bytes:
        self.socket.settimeout(max(end - time.monotonic(), 0.001))
        try:
            data, ancillary, _, _ = self.socket.recvmsg(_READ, _ANCILLARY)
        except TimeoutError:
            raise Silence from None
        except ConnectionResetError:
            raise Closed from None
        finally:
            self.socket.settimeout(self.patience)
        for level, kind, numbers in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                came = array.array("i")
                came.frombytes(numbers[: len(numbers) - len(numbers) % came.itemsize])
                self.fds.extend(came)
        if not data and self.address.kind != "datagram":
            raise Closed
        return data

    def reply(self, request_id: object) -> dict[str, Any]:
        """The reply to a request; what else comes before it is kept for `receive`."""
        others: list[dict[str, Any]] = []
        try:
            while True:
                message = self.receive()
                if "method" not in message and same_id(message.get("id"), request_id):
                    return message
                others.append(message)
        finally:
            self._stash = others + self._stash

    def call(
        self, method: str, params: object = None, carried: Sequence[int] = (), **meta: object
    ) -> dict[str, Any]:
        return self.reply(self.request(method, params, carried, **meta))

    def before_fence(self) -> list[dict[str, Any]]:
        """All messages that come before the reply to a call that is made now."""
        fence = self.request("conformance.echo", {"value": "fence"})
        messages = []
        while not same_id((message := self.receive()).get("id"), fence) or "method" in message:
            messages.append(message)
        return messages

    def is_closed(self) -> bool:
        """Whether the server closes, and says nothing more."""
        with contextlib.suppress(Closed):
            self.receive()
            return False
        return True

    def items(self, request_id: object, count: int) -> Iterator[dict[str, Any]]:
        """The params of so many items of a stream."""
        for _ in range(count):
            message = self.receive()
            if message.get("method") != "rpc.item" or not same_id(message["params"].get("id"), request_id):
                raise ValueError(f"a message in the place of an item: {message!r}")
            yield message["params"]


def same_id(left: object, right: object) -> bool:
    """7 and "7" and true are three."""
    return type(left) is type(right) and left == right
