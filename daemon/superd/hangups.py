"""Peers that vanish while nothing is read from them."""

import asyncio
import select
from collections.abc import Callable
from typing import Final

#: Peers whose end is told in one turn of the loop: a user whose thousand connections vanish must not stop the others.
_PER_TURN: Final = 8


class HangupWatch:
    """Notices peers that vanish, also while nothing is read from them, which an event loop cannot be asked to do.

    epoll(7) reports a hang-up even where no event is asked for. The sockets are in a set of its own, which the loop
    watches in turn.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to watch nothing."""
        self._loop = loop
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        loop.add_reader(self._epoll.fileno(), self._tell)

    def watch(self, fd: int, on_hangup: Callable[[], None]) -> None:
        """Call `on_hangup` when the peer has closed its socket, and not only its sending side; it must `forget`.

        May be repeated for what is watched already.
        """
        if fd not in self._callbacks:
            self._epoll.register(fd, 0)
        self._callbacks[fd] = on_hangup

    def forget(self, fd: int) -> None:
        """Watch this socket no more; to be called before it is closed."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        """Watch nothing any more."""
        self._callbacks.clear()
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _tell(self) -> None:
        for fd, _ in self._epoll.poll(0, _PER_TURN):
            self._callbacks[fd]()
