"""Many descriptors in one: a socket that holds them, for a store that should not have to count them.

systemd compares each descriptor that it is given with each that it has: thousands of them would keep PID 1 busy for
seconds. In a queue they are one.
"""

import errno
import os
import socket
from array import array
from collections.abc import Sequence
from typing import Final

#: Descriptors of one message at most: SCM_MAX_FD of the kernel.
_PER_MESSAGE: Final = 253

#: Bytes that the queue may hold: a message costs about 1 KiB of it, so this is room for half a million descriptors.
_ROOM: Final = 2 * 1024 * 1024


def fill(fds: Sequence[int]) -> int:
    """A new descriptor that holds all of `fds`, which stay the caller's, in their order.

    Raises OSError: ETOOMANYREFS where more of this user's descriptors are under way than RLIMIT_NOFILE, ENOBUFS for
    more than the queue has room for.
    """
    reading, writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with reading, writing:
        writing.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
        writing.setblocking(False)
        for start in range(0, len(fds), _PER_MESSAGE):
            piece = array("i", fds[start : start + _PER_MESSAGE])
            try:
                writing.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, piece)])
            except BlockingIOError as error:
                raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)) from error
        return reading.detach()


def empty(queue: int) -> list[int]:
    """All that the queue holds, close-on-exec and the caller's; closes the queue. Raises OSError for what is none.

    Where this process has no room for all of them the kernel drops some: the caller knows how many there should be.
    """
    fds = array("i")
    try:
        reading = socket.socket(fileno=queue)
    except OSError:
        os.close(queue)
        raise
    with reading:
        reading.setblocking(False)
        try:
            while received := _receive(reading):
                fds.extend(received)
        except OSError:
            for fd in fds:
                os.close(fd)
            raise
    return fds.tolist()


def _receive(reading: socket.socket) -> "array[int]":
    """The descriptors of one message, none at the end: the writing end is closed."""
    fds = array("i")
    room = socket.CMSG_SPACE(_PER_MESSAGE * fds.itemsize)
    _, ancillary, _, _ = reading.recvmsg(1, room, int(socket.MSG_CMSG_CLOEXEC))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return fds
