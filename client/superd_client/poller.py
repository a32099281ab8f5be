"""How one thread waits on a socket, while others change what it waits for, or end its wait.

poll(2) looks at what it was given when it began. epoll(7) takes changes while a thread waits: so nothing has to be
prepared for the rare case that two threads meet, and the bell is made when it is rung for the first time.
"""

import contextlib
import os
import select
from typing import Final

from superd_client.sockets import WAIT_MAX, Channel

#: The bell and the socket.
EVENTS_MAX: Final = 2


class Poller:
    """Waits on a channel. One thread at a time does, without a lock; the others' methods are called under one."""

    __slots__ = ("_bell", "_channel", "_epoll", "rung", "watches_room")

    def __init__(self, channel: Channel) -> None:
        """Wait for what there is to read; raises OSError where there are no descriptors left."""
        self._channel: Final = channel
        self._bell: int | None = None
        #: Whether a wait was ended, and who waited has not looked yet.
        self.rung = False
        #: Whether a wait ends when the kernel takes bytes.
        self.watches_room = False
        self._epoll: Final = select.epoll()
        try:
            self._epoll.register(channel.fileno(), select.EPOLLIN)
        except BaseException:
            self._epoll.close()
            raise

    def wait(self, seconds: float) -> None:
        """Return when there is something to do or the peer is gone, when it is rung, or after `seconds`."""
        self._epoll.poll(min(seconds, WAIT_MAX), EVENTS_MAX)

    def watch_room(self, wanted: bool) -> None:
        """Let a wait, also one that goes on, end when the kernel takes bytes; or not any more."""
        if wanted is not self.watches_room:
            events = select.EPOLLIN | select.EPOLLOUT if wanted else select.EPOLLIN
            self._epoll.modify(self._channel.fileno(), events)
            self.watches_room = wanted

    def ring(self) -> None:
        """End the wait that goes on, or the one that comes next. Does nothing once closed."""
        if self.rung or self._epoll.closed:
            return
        try:
            bell = self._open_bell()
        except (
            OSError
        ):  # no descriptors left: the end of the connection wakes whoever waits, and loses no reply
            self._channel.shutdown()
        else:
            self.rung = (
                True  # first: an interrupt (KeyboardInterrupt) must not leave a bell that nobody stops
            )
            os.eventfd_write(bell, 1)

    def calm(self) -> None:
        """Note that who waited looks: the next wait does not end by what was rung before."""
        if self.rung and self._bell is not None:
            with contextlib.suppress(BlockingIOError):  # an interrupt came before it was rung
                os.eventfd_read(self._bell)
            self.rung = False

    def close(self) -> None:
        """Give up the descriptors. The channel stays its owner's."""
        self._epoll.close()
        bell, self._bell = self._bell, None
        if bell is not None:
            os.close(bell)

    def _open_bell(self) -> int:
        if self._bell is None:
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._epoll.register(self._bell, select.EPOLLIN)
        return self._bell
