"""Fair turns of the loop: how much of each turn a user's connections may work, and whose turn it is.

Deficit round robin (Shreedhar and Varghese, 1995) over the users, not the connections: a hundred connections of one
user get what one connection of another gets. docs/adr/0015 tells why. What a turn may do is counted in units of about
10 us: one is a message, a read, or an end.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

#: Units of one turn while nobody else wants the loop: few turns cost few system calls, and replies are gathered. Two for
#: each of 128 connections with a call, so that who has as many seldom waits: a wait costs more than a call. Whoever comes
#: then waits for 1 to 2 ms, once.
ALONE: Final = 256

#: Units of one turn that those who wait get together, while several users want the loop: a call of somebody else
#: lasts about three turns, so this is what it may have to wait.
SHARED: Final = 8

#: Units that one user gets before the next one, while several want the loop.
QUANTUM: Final = 4

#: Users that may work in a turn without having waited for it. More than these queue up like everybody.
UNASKED_MAX: Final = 4

#: Units that a user can owe: what one read of many connections has cost is paid by waiting, but not for ever.
DEBT_MAX: Final = 256

#: Seconds after which users that no longer want the loop at the same time are taken for alone.
SHARED_FOR: Final = 1.0

#: Bytes of a read that are worth one unit more.
_BYTES_PER_UNIT_SHIFT: Final = 14

#: Descriptors of a read that are worth one unit more.
_FDS_PER_UNIT_SHIFT: Final = 3

#: What it costs to say why a call is refused, and what it may have meant, beside the message.
REFUSAL_UNITS: Final = 8

#: What it costs to send as many items of a stream as it sends in one turn: some kilobytes.
ITEMS_UNITS: Final = 8

#: What it costs to accept a connection and to close it.
CONNECTION_UNITS: Final = 8

#: Connections accepted in one turn; while several users want the loop, one.
_ACCEPTS: Final = ALONE // CONNECTION_UNITS


class Lane:
    """The connections of one user. `left` is the units that they may still use up in this turn; below 0 is a debt."""

    __slots__ = ("is_queued", "left", "members", "turn", "uid", "waiting")

    def __init__(self, uid: int) -> None:
        self.uid = uid
        self.left = 0
        #: The turn for which `left` was given.
        self.turn = 0
        self.members = 0
        self.waiting: deque[Callable[[], None]] = deque()
        self.is_queued = False

    def charge_read(self, size: int, fds: int) -> None:
        """Count what one read has cost."""
        self.left -= 1 + (size >> _BYTES_PER_UNIT_SHIFT) + (fds >> _FDS_PER_UNIT_SHIFT)


class Pace:
    """Shares the turns of one loop. A turn ends when somebody has to wait, and the next one begins for all."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nobody is there yet."""
        self._loop = loop
        self._lanes: dict[int, Lane] = {}
        self._queue: deque[Lane] = deque()
        #: Counts the turns.
        self.turn = 1
        self._is_due = False
        self._quantum = ALONE
        #: Users that had units in this turn.
        self._users = 0
        #: Whether some were left over when the units of the last turn were used up.
        self._backlog = False
        self._shared_until = 0.0

    def join(self, uid: int) -> Lane:
        """The lane of a user, for one connection more."""
        lane = self._lanes.get(uid)
        if lane is None:
            lane = self._lanes[uid] = Lane(uid)
        lane.members += 1
        return lane

    def leave(self, lane: Lane) -> None:
        """One connection less."""
        lane.members -= 1
        if not lane.members:
            del self._lanes[lane.uid]

    @property
    def is_shared(self) -> bool:
        """Whether several users want the loop."""
        return self._quantum == QUANTUM

    @property
    def accepts(self) -> int:
        """How many connections to accept before the loop gets a turn."""
        return 1 if self.is_shared else _ACCEPTS

    def may_work(self, lane: Lane) -> bool:
        """Whether a connection of this lane may work now; otherwise it has to `wait`."""
        if lane.turn != self.turn:
            self._renew(lane)
        return lane.left > 0 and not lane.waiting

    def leave_waiting(self) -> None:
        """Note that connections are left over that wait to be accepted."""
        self._backlog = True

    def wait(self, lane: Lane, on_turn: Callable[[], None]) -> None:
        """Call `on_turn` when it is the lane's turn: later, and once."""
        lane.waiting.append(on_turn)
        if not lane.is_queued:
            lane.is_queued = True
            self._queue.append(lane)
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._begin)

    def _renew(self, lane: Lane) -> None:
        """Give a lane that has not waited its units for this turn."""
        lane.turn = self.turn
        self._users += 1
        units = self._quantum if self._users <= UNASKED_MAX else 0
        lane.left = max(min(lane.left, 0), -DEBT_MAX) + units

    def _begin(self) -> None:
        """Begin a turn: first those that wait."""
        self._is_due = False
        if len(self._queue) > 1 or (self._backlog and self._users > 1):
            self._shared_until = self._loop.time() + SHARED_FOR
            self._quantum = QUANTUM
        elif self.is_shared and self._loop.time() >= self._shared_until:
            self._quantum = ALONE
        self.turn += 1
        self._users = 0
        units = SHARED if self.is_shared else ALONE
        while self._queue and units > 0:
            units -= self._serve(self._queue.popleft())
        self._backlog = bool(self._queue)
        if self._queue:
            self._schedule()

    def _serve(self, lane: Lane) -> int:
        """Let a lane work off its quantum, and put it behind the others; the units that it used."""
        if lane.turn != self.turn:
            lane.turn = self.turn
            self._users += 1
        lane.left = max(min(lane.left, 0), -DEBT_MAX) + self._quantum
        if not self._queue:
            lane.left = max(lane.left, 1)  # nobody else waits: its debt is forgiven
        had = lane.left
        while lane.waiting and lane.left > 0:
            lane.waiting.popleft()()
            lane.left -= 1
        if lane.waiting:
            self._queue.append(lane)
        else:
            lane.is_queued = False
        return max(0, had - lane.left)
