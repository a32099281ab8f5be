"""Replies to datagrams, on an event loop: sent at once where there is room, else kept and tried again (protocol §18.6).

The kernel charges a datagram that waits unread to the socket that sent it, so that one receiver who never reads could
use up a socket's buffer and stop the replies to everybody. So replies to each process are sent from a socket of their
own, as far as its user's share of sockets goes, and beyond from one that the user's processes share.
A sender that has connected its socket takes datagrams from the address alone that it sent to: its replies come from there.
"""

import asyncio
import contextlib
import errno
import fcntl
import socket
import termios
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

from superd_client.ancillary import packet_frame_max
from superd_client.datagrams import open_datagram_socket, reply_to

#: Replies of one user that may wait for their receivers: as many as calls of one connection.
REPLIES_OF_USER: Final = 1024

#: Bytes of one user's replies that may wait: as much as one connection's.
BYTES_OF_USER: Final = 1024 * 1024

#: Replies, and their bytes, that may wait in all: what 16 users may have.
REPLIES_IN_ALL: Final = 16 * REPLIES_OF_USER
BYTES_IN_ALL: Final = 16 * BYTES_OF_USER

#: Sockets from which replies are sent, of one user and in all: each is a descriptor, and up to 208 KiB of the kernel's
#: memory, which are charged to us. Where even a user's last one is not to be had, the shared socket has to do.
SOCKETS_OF_USER: Final = 8
SOCKETS_IN_ALL: Final = 128

#: First and longest pause in seconds before a full receiver is tried again: no event tells when it has room.
RETRY_FIRST: Final = 0.001
RETRY_MAX: Final = 0.05

#: What may be otherwise where the shared socket sends. EPERM: the receiver has connected its socket to that one.
#: ECONNREFUSED: an abstract name of another network namespace, in which systemd has made the shared socket
#: (PrivateNetwork= of systemd.exec(5)).
_TAKES_SHARED: Final = frozenset({errno.EPERM, errno.ECONNREFUSED})

_TIOCOUTQ_SIZE: Final = 4


NoteT = TypeVar("NoteT")


class Receiver(NamedTuple):
    """Where a reply goes: the address that the request came from, and its process, by the request's credentials."""

    address: str | bytes
    uid: int
    pid: int


class ReplyLimits(NamedTuple):
    """How many replies may wait, and how many bytes of them: of one user, and in all."""

    of_user: int = REPLIES_OF_USER
    bytes_of_user: int = BYTES_OF_USER
    in_all: int = REPLIES_IN_ALL
    bytes_in_all: int = BYTES_IN_ALL


DEFAULT_LIMITS: Final = ReplyLimits()


class _Waiting(NamedTuple, Generic[NoteT]):
    frame: bytes
    deadline: float
    note: NoteT


class _Usage:
    """What waits: replies and bytes."""

    __slots__ = ("replies", "size")

    def __init__(self) -> None:
        self.replies = 0
        self.size = 0

    def add(self, frame: bytes, sign: int) -> None:
        self.replies += sign
        self.size += sign * len(frame)


class _Queue(Generic[NoteT]):
    """What waits for one receiver, in order, and the timer of the next try."""

    __slots__ = ("delay", "timer", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[_Waiting[NoteT]] = deque()
        self.delay = RETRY_FIRST
        self.timer: asyncio.TimerHandle | None = None


class Replies(Generic[NoteT]):
    """Sends replies. `on_dropped` hears of each that cannot be delivered, with its note and why."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        shared: socket.socket,
        on_dropped: Callable[[NoteT, str], None],
        limits: ReplyLimits = DEFAULT_LIMITS,
    ) -> None:
        """`shared` is the socket that requests come to; it stays its owner's."""
        self._loop: Final = loop
        self._shared: Final = shared
        self._on_dropped: Final = on_dropped
        self._limits: Final = limits
        self._queues: dict[Receiver, _Queue[NoteT]] = {}
        self._by_user: dict[int, _Usage] = {}
        self._in_all: Final = _Usage()
        self._sockets: dict[tuple[int, int], socket.socket] = {}
        self._empty: Final = asyncio.Event()
        self._empty.set()
        with open_datagram_socket() as sample:
            #: Bytes of the largest body that a reply can have.
            self.frame_max: Final = min(packet_frame_max(sample), packet_frame_max(shared))

    @property
    def waiting(self) -> int:
        """How many replies wait."""
        return self._in_all.replies

    def send(self, receiver: Receiver, frame: bytes, deadline: float, note: NoteT) -> None:
        """Send a reply: at once, or as soon as there is room, until `deadline` (the loop's time)."""
        queue = self._queues.get(receiver)
        if queue is None:
            waiting = _Waiting(frame, deadline, note)
            if not self._try(receiver, waiting):
                self._keep(receiver, waiting)
        else:
            self._keep(receiver, _Waiting(frame, deadline, note))

    async def wait_empty(self) -> None:
        """Return when no reply waits."""
        await self._empty.wait()

    def close(self) -> None:
        """Drop what waits, and give up the sockets; what was sent stays with its receivers."""
        for receiver in tuple(self._queues):
            self._drop_all(receiver, "the server stops")
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()

    # --- sending ---------------------------------------------------------------------------------------------------

    def _try(self, receiver: Receiver, waiting: _Waiting[NoteT]) -> bool:
        """Send; returns False where there is no room. A receiver that cannot be reached ends it too."""
        try:
            self._send_from_some_socket(receiver, waiting.frame)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno in (errno.ENOBUFS, errno.ENOMEM):
                return False
            self._on_dropped(waiting.note, error.strerror or str(error))
        return True

    def _send_from_some_socket(self, receiver: Receiver, frame: bytes) -> None:
        sock = self._socket_for(receiver)
        try:
            reply_to(sock, frame, receiver.address, receiver.uid)
        except OSError as error:
            if error.errno not in _TAKES_SHARED or sock is self._shared:
                raise
            reply_to(self._shared, frame, receiver.address, receiver.uid)

    def _socket_for(self, receiver: Receiver) -> socket.socket:
        """The socket of this process, else the one that is its user's, else the shared one."""
        for owner, spare in (((receiver.uid, receiver.pid), 1), ((receiver.uid, 0), 0)):
            found = self._sockets.get(owner)
            if found is not None:
                return found
            if self._has_room(receiver.uid, spare):
                with contextlib.suppress(OSError):  # no descriptors
                    self._sockets[owner] = open_datagram_socket()
                    return self._sockets[owner]
        return self._shared

    def _has_room(self, uid: int, spare: int) -> bool:
        """Whether one more socket may be opened for this user, so that `spare` are left."""
        for _ in range(2):
            of_user = sum(user == uid for user, _ in self._sockets)
            if of_user + spare < SOCKETS_OF_USER and len(self._sockets) < SOCKETS_IN_ALL:
                return True
            self._close_idle_sockets()
        return False

    def _close_idle_sockets(self) -> None:
        """Close those of which nothing waits to be read: a closed one's datagrams would not be charged any more."""
        for owner, sock in tuple(self._sockets.items()):
            unread = fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(_TIOCOUTQ_SIZE))
            if not any(unread):
                del self._sockets[owner]
                sock.close()

    # --- waiting ---------------------------------------------------------------------------------------------------

    def _keep(self, receiver: Receiver, waiting: _Waiting[NoteT]) -> None:
        usage = self._by_user.get(receiver.uid) or _Usage()
        limits = self._limits
        if usage.replies >= limits.of_user or usage.size >= limits.bytes_of_user:
            self._on_dropped(waiting.note, "too many replies wait for this user")
            return
        if self._in_all.replies >= limits.in_all or self._in_all.size >= limits.bytes_in_all:
            self._on_dropped(waiting.note, "too many replies wait")
            return
        self._by_user[receiver.uid] = usage
        for each in (usage, self._in_all):
            each.add(waiting.frame, 1)
        self._empty.clear()
        queue = self._queues.setdefault(receiver, _Queue())
        queue.waiting.append(waiting)
        if queue.timer is None:
            self._set_timer(receiver, queue)

    def _forget(self, receiver: Receiver, waiting: _Waiting[NoteT]) -> None:
        usage = self._by_user[receiver.uid]
        for each in (usage, self._in_all):
            each.add(waiting.frame, -1)
        if not usage.replies:
            del self._by_user[receiver.uid]
        if not self._in_all.replies:
            self._empty.set()

    def _set_timer(self, receiver: Receiver, queue: _Queue[NoteT]) -> None:
        queue.timer = self._loop.call_later(queue.delay, self._try_again, receiver, queue)
        queue.delay = min(2 * queue.delay, RETRY_MAX)

    def _try_again(self, receiver: Receiver, queue: _Queue[NoteT]) -> None:
        now = self._loop.time()
        while queue.waiting:
            waiting = queue.waiting[0]
            if self._try(receiver, waiting):
                queue.delay = RETRY_FIRST
            elif waiting.deadline <= now:
                self._on_dropped(waiting.note, "its receiver was full until the deadline")
            else:
                break
            queue.waiting.popleft()
            self._forget(receiver, waiting)
        queue.timer = None
        if queue.waiting:
            self._set_timer(receiver, queue)
        else:
            del self._queues[receiver]

    def _drop_all(self, receiver: Receiver, reason: str) -> None:
        queue = self._queues.pop(receiver)
        if queue.timer is not None:
            queue.timer.cancel()
        for waiting in queue.waiting:
            self._on_dropped(waiting.note, reason)
            self._forget(receiver, waiting)
