"""Which peers have sent something, and which have vanished: all connections in one epoll(7) set.

An event loop keeps an object, a callback and a context for each socket that it watches, asks the kernel four times for
each that comes, and cannot be asked for peers that vanish while nothing is read from them. In a set of our own, which
the loop watches in turn, a connection is one entry and one system call. That costs a system call more for each turn
of the loop, so what is read from often is watched by the loop itself.
"""

import asyncio
import select
from typing import Final, Protocol

#: Events taken from the set in one turn of the loop.
_PER_TURN: Final = 256

#: Peers whose end is told in one turn of the loop: a user whose thousand connections vanish must not stop the others.
_VANISHED_PER_TURN: Final = 8

#: Reads after which a connection is watched by the loop: to begin and to end that costs as much as about 20 save.
READS_UNTIL_BUSY: Final = 64

#: Connections that the loop watches itself, at most: more share the set, where each turn costs them less.
BUSY_MAX: Final = 256

_GONE: Final = select.EPOLLHUP | select.EPOLLERR


class Watched(Protocol):
    """Who owns a socket. `reads` is how often it was told that it is readable; nobody else changes it."""

    reads: int

    def readable(self) -> None:
        """There is something to read; told in every turn, until it is read or reading is paused."""

    def vanished(self) -> None:
        """The peer has closed its socket, and not only its sending side. To be answered by `forget`."""


class Readiness:
    """Tells of sockets, from `read` to `forget`. Both loops, asyncio's and uvloop, are served in the same way."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to watch nothing."""
        self._loop = loop
        self._epoll = select.epoll()
        self._watched: Final[dict[int, Watched]] = {}
        #: Those that the loop watches, the one that it has watched longest first.
        self._busy: Final[dict[int, Watched]] = {}
        loop.add_reader(self._epoll.fileno(), self._tell)

    def read(self, fd: int, watched: Watched) -> None:
        """Tell when there is something to read, and from now until `forget` when the peer vanishes."""
        if fd in self._watched:
            self._epoll.modify(fd, select.EPOLLIN)
        else:
            self._epoll.register(fd, select.EPOLLIN)
            self._watched[fd] = watched

    def pause(self, fd: int) -> None:
        """Tell no more of what there is to read."""
        if fd in self._busy:
            self._leave_loop(fd)
        else:
            self._epoll.modify(fd, 0)  # what is gone is told all the same

    def forget(self, fd: int) -> None:
        """Watch this socket no more; to be called before it is closed. May be repeated."""
        if self._watched.pop(fd, None) is not None:
            if fd in self._busy:
                self._leave_loop(fd)
            self._epoll.unregister(fd)

    def close(self) -> None:
        """Watch nothing any more."""
        for fd in tuple(self._watched):
            self.forget(fd)
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _tell(self) -> None:
        vanished = 0
        for fd, events in self._epoll.poll(0, _PER_TURN):
            watched = self._watched.get(fd)
            if watched is None:
                continue  # forgotten because of what was told before
            if events & _GONE:
                vanished += 1
                if vanished <= _VANISHED_PER_TURN:
                    watched.vanished()
            else:
                watched.reads += 1
                if watched.reads >= READS_UNTIL_BUSY:
                    self._enter_loop(fd, watched)
                watched.readable()

    def _enter_loop(self, fd: int, watched: Watched) -> None:
        if len(self._busy) == BUSY_MAX:
            oldest = next(iter(self._busy))
            self._leave_loop(oldest)
            self._epoll.modify(oldest, select.EPOLLIN)
        self._busy[fd] = watched
        self._epoll.modify(fd, 0)
        self._loop.add_reader(fd, watched.readable)

    def _leave_loop(self, fd: int) -> None:
        self._busy.pop(fd).reads = 0
        self._loop.remove_reader(fd)
