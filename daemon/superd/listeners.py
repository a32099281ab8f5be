"""Listening sockets: those that systemd passes, and stand-alone ones that we bind ourselves."""

import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from superd.sd.activation import ActivatedSocket, Passed
from superd_client.address import Address, SocketKind, parse_address
from superd_client.binding import FileId, bind_socket, unlink_socket
from superd_client.datagrams import ask_for_credentials

#: Connections that may wait to be accepted. The kernel cuts it to net.core.somaxconn (4096 by default).
BACKLOG: Final = 4096


class ListenError(Exception):
    """A stand-alone address cannot be listened on; the text says why."""


class Listener(NamedTuple):
    """A listening socket. `name` is systemd's FileDescriptorName=, `activated` whether systemd made it.

    `inode` is what a stand-alone socket file's device and inode were when it was bound, else None.
    """

    sock: socket.socket
    address: str
    name: str | None
    activated: bool
    kind: SocketKind = SocketKind.STREAM
    inode: FileId | None = None

    def close(self) -> None:
        """Remove the socket's file if we made it and it is still ours; close the socket."""
        self.unlink()
        self.sock.close()

    def unlink(self) -> None:
        """Remove the socket's file, so that another may listen there; the socket goes on. May be repeated."""
        if self.inode is not None and self.sock.fileno() != -1:
            unlink_socket(Path(self.address.partition(":")[2]), self.inode)


def wrong_addresses(addresses: Iterable[str]) -> list[str]:
    """What is wrong with each that is no address."""
    wrong = []
    for address in addresses:
        try:
            parse_address(address)
        except ValueError as error:
            wrong.append(str(error))
    return wrong


def activated_listeners(passed: Passed) -> list[Listener]:
    """The sockets that systemd passed to this process."""
    return [_activated(each) for each in passed.sockets]


def _activated(passed: ActivatedSocket) -> Listener:
    sock, kind = passed.socket, SocketKind(passed.socket.type)
    if kind is SocketKind.DATAGRAM:
        ask_for_credentials(sock)
    address = f"{kind.scheme}:{_show(sock.getsockname())}"
    return Listener(sock, address, passed.name, activated=True, kind=kind)


def bind_listener(text: str, mode: int) -> Listener:
    """Listen on an address; a socket file gets `mode` before anyone can connect or send.

    Raises ValueError for what is no address, ListenError where it cannot be listened on.
    """
    address = parse_address(text)
    try:
        sock = socket.socket(socket.AF_UNIX, address.kind.value)
        try:
            inode = _bind(sock, address, mode)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        message = f"cannot listen on {text}: {error.strerror or error}"
        raise ListenError(message) from error
    return Listener(sock, text, None, activated=False, kind=address.kind, inode=inode)


def _bind(sock: socket.socket, address: Address, mode: int) -> FileId | None:
    if address.kind is SocketKind.DATAGRAM:
        ask_for_credentials(sock)  # before it has an address: no datagram may come without them
    return bind_socket(sock, address, mode, lambda: _listen(sock, address.kind))


def _listen(sock: socket.socket, kind: SocketKind) -> None:
    if kind is not SocketKind.DATAGRAM:
        sock.listen(BACKLOG)


def _show(name: str | bytes) -> str:
    """A socket's name as an address shows it; an abstract one begins with a NUL byte."""
    text = os.fsdecode(name)
    return f"@{text[1:]}" if text.startswith("\0") else text
