"""Peers that hold memory and do nothing about it: replies that they do not read, frames that they do not finish.

One timer for all connections, and none while nothing is pending of any: idle connections wake nobody up. Nothing is done for
each message: what is pending is looked at a few times in the time that it may last. A connection that is idle has nothing
pending, and is never closed.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol

#: Looks in the time that something may be pending; it lasts at most this part of it longer.
_LOOKS: Final = 4

#: Seconds between two looks at most.
_INTERVAL_MAX: Final = 10.0

#: Connections looked at before the loop gets a turn: about 100 us.
_PER_TURN: Final = 256


class Pending(NamedTuple):
    """What is pending of one peer, None for what is not. A mark changes when there is progress.

    `unread` is of replies that wait for it to read, `unfinished` of a frame that it has begun and has to finish.
    """

    unread: int | None
    unfinished: int | None


NOTHING: Final = Pending(None, None)


class Peer(Protocol):
    """Somebody who may stall."""

    def pending(self) -> Pending:
        """What is pending now."""

    def does_not_read(self, seconds: float) -> None:
        """The kernel has taken nothing for it for so long."""

    def does_not_finish(self, seconds: float) -> None:
        """A frame has been incomplete for so long."""


class Timeouts(NamedTuple):
    """Seconds in which a peer has to read something of what waits for it, and to finish a frame."""

    write: float
    frame: float


def _interval(timeouts: Timeouts) -> float:
    return min(min(timeouts) / _LOOKS, _INTERVAL_MAX)


class _Seen(NamedTuple):
    pending: Pending
    unread_since: float
    unfinished_since: float


class Stalls:
    """Looks at all `peers` now and then, while something is pending of one of them."""

    def __init__(self, peers: Callable[[], Iterable[Peer]], timeouts: Timeouts) -> None:
        """`peers` says who is connected; nothing happens before `start`."""
        self._peers = peers
        self._timeouts = timeouts
        self._interval = _interval(timeouts)
        self._seen: dict[Peer, _Seen] = {}
        self._timer: asyncio.TimerHandle | None = None
        #: The rest of a round that takes more than one turn of the loop.
        self._rest: asyncio.Handle | None = None

    def limit(self, timeouts: Timeouts) -> None:
        """Go by these from now on."""
        self._timeouts = timeouts
        self._interval = _interval(timeouts)

    def start(self) -> None:
        """Look from now on, until nothing is pending. To be called whenever something may be, and may be repeated."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._fire)

    def close(self) -> None:
        """Look no more."""
        for handle in (self._timer, self._rest):
            if handle is not None:
                handle.cancel()
        self._timer = self._rest = None
        self._seen.clear()

    def _fire(self) -> None:
        self._timer = None
        peers = list(self._peers())
        self._seen = {peer: self._seen[peer] for peer in self._seen.keys() & set(peers)}
        if self._rest is not None:
            self._rest.cancel()
        self._look_on(peers)

    def _look_on(self, peers: list[Peer]) -> None:
        """Look at some, and at the others in the next turn of the loop."""
        self._rest, now, rest = None, time.monotonic(), peers[_PER_TURN:]
        for peer in peers[:_PER_TURN]:
            self.look(peer, now)
        if rest:
            self._rest = asyncio.get_running_loop().call_soon(self._look_on, rest)
        elif self._seen:
            self.start()

    def look(self, peer: Peer, now: float) -> None:
        """Look at one peer, at the time `now` of the monotonic clock in seconds."""
        pending = peer.pending()
        if pending == NOTHING:
            self._seen.pop(peer, None)
            return
        seen = self._seen.get(peer) or _Seen(NOTHING, now, now)
        same_unread = pending.unread is not None and pending.unread == seen.pending.unread
        same_frame = pending.unfinished is not None and pending.unfinished == seen.pending.unfinished
        seen = _Seen(
            pending, seen.unread_since if same_unread else now, seen.unfinished_since if same_frame else now
        )
        self._seen[peer] = seen
        if same_unread and now - seen.unread_since >= self._timeouts.write:
            peer.does_not_read(now - seen.unread_since)
        elif same_frame and now - seen.unfinished_since >= self._timeouts.frame:
            peer.does_not_finish(now - seen.unfinished_since)
