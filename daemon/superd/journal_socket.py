"""Records to journald by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL), without ever waiting.

python-systemd's `journal.send` blocks while it holds the GIL: a stalled journald would stop the whole daemon.
This sender drops what journald does not take at once, counts it, and says so as soon as journald takes again.
"""

import enum
import errno
import fcntl
import os
import socket
import struct
import threading
from array import array
from collections.abc import Callable, Mapping
from typing import Final

JOURNAL_SOCKET: Final = "/run/systemd/journal/socket"

#: The socket's other end was closed or replaced: systemd re-created journald's sockets, or there is none.
_GONE: Final = frozenset({errno.ENOTCONN, errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOENT, errno.EPIPE})

#: journald accepts a descriptor only if nobody can change the file behind it any more.
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class Delivery(enum.Enum):
    """What became of a record."""

    SENT = enum.auto()
    DROPPED = enum.auto()
    ABSENT = enum.auto()


def encode_record(fields: Mapping[str, str]) -> bytes:
    """The datagram for these fields; values with a newline come last, in the form with a length."""
    lines = "".join([f"{name}={value}\n" for name, value in fields.items() if "\n" not in value])
    blocks = [_encode_block(name, value) for name, value in fields.items() if "\n" in value]
    return b"".join([lines.encode("utf-8", "backslashreplace"), *blocks])


def _encode_block(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")
    return b"%b\n%b%b\n" % (name.encode("ascii"), struct.pack("<Q", len(data)), data)


class JournalSocket:
    """The way to journald. May be used from any thread; no method blocks."""

    def __init__(self, report: Callable[[int], Mapping[str, str]], path: str = JOURNAL_SOCKET) -> None:
        """`report` makes the record that tells how many were dropped."""
        self.dropped = 0
        self._unreported = 0
        self._report = report
        self._path = path
        self._socket: socket.socket | None = None
        # Reentrant: a ResourceWarning, raised by the garbage collector in here, is logged from in here.
        self._lock = threading.RLock()

    def send(self, fields: Mapping[str, str]) -> Delivery:
        """Send one record, or say that it was dropped (and counted) or that there is no journald."""
        data = encode_record(fields)
        with self._lock:
            delivery = self._transmit(data)
            if delivery is Delivery.DROPPED:
                self.dropped += 1
                self._unreported += 1
            # The record goes first: on a queue that stays full, reports would take the place of records.
            elif delivery is Delivery.SENT and self._unreported:
                self._send_report()
            return delivery

    def close(self) -> None:
        """Close the socket; the next record opens it again."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _send_report(self) -> None:
        count, self._unreported = self._unreported, 0
        if self._transmit(encode_record(self._report(count))) is not Delivery.SENT:
            self._unreported += count

    def _transmit(self, data: bytes) -> Delivery:
        """Hand over one datagram; over a new socket if the one at hand turns out to be dead."""
        for _ in range(2):
            channel = self._connect()
            if channel is None:
                break
            try:
                _send_datagram(channel, data)
            except OSError as error:
                if error.errno not in _GONE:
                    return Delivery.DROPPED
                self.close()
            else:
                return Delivery.SENT
        return Delivery.ABSENT

    def _connect(self) -> socket.socket | None:
        """The connected socket; None where journald cannot be reached, whatever the reason."""
        if self._socket is not None:
            return self._socket
        try:
            new = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError:  # no descriptor is left, which is what may have to be logged
            return None
        try:
            new.connect(self._path)
        except OSError:
            new.close()
            return None
        self._socket = new
        return new


def _send_datagram(channel: socket.socket, data: bytes) -> None:
    try:
        channel.send(data)
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            raise
        _send_sealed(channel, data)


def _send_sealed(channel: socket.socket, data: bytes) -> None:
    """Pass a record that is too big for a datagram in a sealed memfd, with an empty payload."""
    descriptor = os.memfd_create("superd-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(data)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        channel.sendmsg([], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))])
    finally:
        os.close(descriptor)
