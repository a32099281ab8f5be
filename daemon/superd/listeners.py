"""Listening sockets: those that systemd passes, and stand-alone ones that we bind ourselves.

A stand-alone socket never takes the place of a live one: whether a socket file is stale is decided, and its path
bound anew, under a lock on the directory.
"""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from superd.sd.activation import ActivatedSocket, listen_sockets
from superd_client.address import Address, SocketKind, parse_address

#: Connections that may wait to be accepted. The kernel cuts it to net.core.somaxconn (4096 by default).
BACKLOG: Final = 4096

#: Seconds to wait for the lock on a directory. Whoever can open it can also take the lock and keep it, which must
#: not keep superd from ending.
LOCK_PATIENCE: Final = 2.0

_LOCK_PAUSE: Final = 0.01


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
    inode: tuple[int, int] | None = None

    def close(self) -> None:
        """Remove the socket's file if we made it and it is still ours; close the socket."""
        if self.inode is not None and self.sock.fileno() != -1:
            path = Path(self.address.partition(":")[2])
            # Before the socket is closed: until then nobody takes it for stale, and its inode number is not reused.
            with contextlib.suppress(OSError), _locked(path.parent):
                if _inode(path) == self.inode:
                    path.unlink()
        self.sock.close()


def activated_listeners() -> list[Listener]:
    """The sockets that systemd passes to this process; raises ActivationError."""
    return [_activated(each) for each in listen_sockets()]


def _activated(passed: ActivatedSocket) -> Listener:
    sock, kind = passed.socket, SocketKind(passed.socket.type)
    if kind is SocketKind.DATAGRAM:
        _pass_credentials(sock)
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


def _bind(sock: socket.socket, address: Address, mode: int) -> tuple[int, int] | None:
    if address.kind is SocketKind.DATAGRAM:
        _pass_credentials(sock)  # before it has an address: no datagram may come without them
    if address.path is None:
        sock.bind(address.sockaddr)
        _listen(sock, address.kind)
        return None
    path = Path(address.path)
    with _locked(path.parent):
        _remove_stale(path)
        previous = os.umask(0o777 & ~mode)
        try:
            sock.bind(address.sockaddr)
        finally:
            os.umask(previous)
        inode = _inode(path)
        _listen(sock, address.kind)
    return inode


def _listen(sock: socket.socket, kind: SocketKind) -> None:
    if kind is not SocketKind.DATAGRAM:
        sock.listen(BACKLOG)


def _pass_credentials(sock: socket.socket) -> None:
    """Have the kernel say of each datagram whose it is (SCM_CREDENTIALS, unix(7))."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the lock that everyone takes who would replace a socket in `directory`; raises OSError if it is not free."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(fd)
        yield
    finally:
        os.close(fd)


def _lock(fd: int) -> None:
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise OSError(errno.EBUSY, "another process holds the lock on its directory") from None
            time.sleep(_LOCK_PAUSE)
        else:
            return


def _remove_stale(path: Path) -> None:
    """Remove a socket file behind which nobody listens; raises OSError for anything else that is there."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise OSError(errno.EEXIST, "there is something that is not a socket")
    # A datagram socket asks without connecting to a listener, of whatever type it is: that gives EPROTOTYPE, and
    # another datagram socket 0 or EPERM. ECONNREFUSED alone says that no socket is bound to this file any more.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        outcome = probe.connect_ex(str(path))
    if outcome != errno.ECONNREFUSED:
        raise OSError(errno.EADDRINUSE, "another process listens there")
    path.unlink()


def _inode(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _show(name: str | bytes) -> str:
    """A socket's name as an address shows it; an abstract one begins with a NUL byte."""
    text = os.fsdecode(name)
    return f"@{text[1:]}" if text.startswith("\0") else text
