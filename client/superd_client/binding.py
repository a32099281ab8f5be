"""Sockets that have an address: bound where none is in use, and their files removed.

A socket never takes the place of a live one: whether a socket file is stale is decided, and its path bound anew,
under a lock on the directory.
"""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

from superd_client.address import Address

#: Seconds to wait for the lock on a directory. Whoever can open it can also take the lock and keep it, which must
#: not keep a daemon from ending.
LOCK_PATIENCE: Final = 2.0

_LOCK_PAUSE: Final = 0.01

#: A file's device and inode.
FileId: TypeAlias = tuple[int, int]


def bind_socket(
    sock: socket.socket, address: Address, mode: int, listen: Callable[[], None] = lambda: None
) -> FileId | None:
    """Bind `sock`, and `listen` while nobody else may look; returns its file, None where the address is abstract.

    The file has `mode` before anyone can connect or send. Raises OSError; EADDRINUSE where another lives there.
    """
    if address.path is None:
        sock.bind(address.sockaddr)
        listen()
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
        listen()
    return inode


def unlink_socket(path: Path, inode: FileId) -> None:
    """Remove the file of a socket of ours, if it is still ours. As far as that can be done: nothing is raised.

    Before the socket is closed: until then nobody takes it for stale, and its inode number is not reused.
    """
    with contextlib.suppress(OSError), _locked(path.parent):
        if _inode(path) == inode:
            path.unlink()


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
