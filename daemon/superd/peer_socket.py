"""What the kernel says of the peer of a Unix socket, by socket(7)'s options and by the messages of unix(7).

All of it is as of connect(2): the kernel keeps it with the socket, whatever the peer does afterwards.
"""

import contextlib
import errno
import functools
import os
import socket
import struct
from typing import Final, NamedTuple

#: Options that Python has no names for, as in asm-generic/socket.h: all architectures of Debian but sparc and parisc.
_SO_PEERGROUPS: Final = 59
_SO_PEERPIDFD: Final = 77

#: struct ucred of unix(7): pid, uid, gid.
_UCRED: Final = struct.Struct("=iII")

_GID_SIZE: Final = 4

#: Bytes that Python's getsockopt takes at most: 256 groups. More are rare, and have a slower way.
_GROUPS_SIZE: Final = 1024

#: Groups that a process can have (NGROUPS_MAX of the kernel).
GROUPS_MAX: Final = 65_536

#: Sets of groups that are kept to be shared: connections are many, and users few.
_GROUPS_KNOWN: Final = 256

#: Bytes of a security label: SELinux's and AppArmor's are far shorter, and Python takes no more.
LABEL_MAX: Final = 1024

#: What there is not, rather than what failed: no such peer, no such security module, no such kernel.
_ABSENT: Final = frozenset({errno.ENODATA, errno.ENOPROTOOPT})


class Credentials(NamedTuple):
    """Who a process is: its ids at connect(2), or at sendmsg(2) of a datagram."""

    pid: int
    uid: int
    gid: int


def unpack_credentials(data: bytes) -> Credentials:
    """A struct ucred: what SO_PEERCRED gives, and what a message of the type SCM_CREDENTIALS holds."""
    return Credentials(*_UCRED.unpack(data))


def read_credentials(connection: socket.socket) -> Credentials:
    """SO_PEERCRED; raises OSError."""
    return unpack_credentials(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))


def read_groups(connection: socket.socket) -> frozenset[int]:
    """SO_PEERGROUPS: the supplementary groups, however many; none for a socket that has no peer of its own.

    Raises OSError.
    """
    try:
        data = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_SIZE)
    except OSError as error:
        if error.errno in _ABSENT:
            return frozenset()
        if error.errno != errno.ERANGE:
            raise
        return _unpack_groups(_getsockopt(connection.fileno(), _SO_PEERGROUPS, GROUPS_MAX * _GID_SIZE))
    return _shared_groups(data)


def _unpack_groups(data: bytes) -> frozenset[int]:
    return frozenset(struct.unpack(f"={len(data) // _GID_SIZE}I", data))


#: The same set for all connections of the same users.
_shared_groups: Final = functools.lru_cache(maxsize=_GROUPS_KNOWN)(_unpack_groups)


def open_pidfd(connection: socket.socket) -> int | None:
    """SO_PEERPIDFD: a new descriptor of the process that connected, whoever has its pid now.

    None where the kernel has none to give: before Linux 6.5, for a process that is gone, for a closed connection.
    """
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        return None


def kernel_has_peer_pidfd() -> bool:
    """Whether there is SO_PEERPIDFD at all: since Linux 6.5.

    True also where no descriptor is left to find out with: then nothing is taken for proven.
    """
    try:
        return _probe_peer_pidfd()
    except OSError:
        return True


@functools.cache
def _probe_peer_pidfd() -> bool:
    """Ask the kernel once; raises OSError, and remembers nothing, where it has no descriptor to give."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            os.close(ours.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD))
        except OSError as error:
            if error.errno == errno.ENOPROTOOPT:
                return False
            raise
    return True


def read_label(connection: socket.socket) -> str | None:
    """SO_PEERSEC: the label of the security module, None where there is no module or no label that is text."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        label = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERSEC, LABEL_MAX)
        return label.rstrip(b"\0").decode("ascii") or None
    return None


def _getsockopt(fd: int, option: int, size: int) -> bytes:
    """getsockopt(2) with a larger buffer than Python's takes."""
    import ctypes  # noqa: PLC0415 - for callers with very many groups alone

    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(size)
    length = ctypes.c_uint32(size)
    if libc.getsockopt(fd, socket.SOL_SOCKET, option, buffer, ctypes.byref(length)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return buffer.raw[: length.value]
