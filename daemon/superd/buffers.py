"""Bytes that are held for users: where one holds too many, its connections are not read from until it holds less.

Three things are charged: a request that is not read to its end (as a whole, by what its header says, once that is more
than one read); the params of calls that run and the items that wait; replies that the kernel does not take. What has
come cannot be refused, so it is charged in any case, and the connection then waits. Small things are not counted one
by one: they belong to the charge of the call or of the connection.

No deadlock: a frame is received only where there is room for all of it, so what has begun can always end.
"""

import asyncio
from typing import Final, Protocol

from superd.quota import Quota

#: Bytes of a message that the charge of its call covers: 16,384 calls with as many are 64 MiB.
MESSAGE_FREE: Final = 4096

#: Bytes of a request that is not read to its end which the charge of the connection covers: one read.
FRAME_FREE: Final = 96 * 1024


class Buffers:
    """The bytes of all connections, and the connections that wait for room, by their users."""

    def __init__(self, quota: Quota) -> None:
        self.quota: Final = quota
        #: In the order in which they came; dicts, because any may leave.
        self._waiting: dict[int, dict[Account, None]] = {}
        self._wake_scheduled = False

    def give(self, uid: int, amount: int) -> None:
        """Take a charge back, and look before long who may go on: what one user gives back is there for all."""
        self.quota.give(uid, amount)
        if self._waiting and not self._wake_scheduled:
            self._wake_scheduled = True
            asyncio.get_running_loop().call_soon(self._wake)

    def wait(self, account: "Account") -> None:
        """Let it go on when there is room."""
        self._waiting.setdefault(account.uid, {})[account] = None

    def leave(self, account: "Account") -> None:
        """It waits no more."""
        queue = self._waiting[account.uid]
        del queue[account]
        if not queue:
            del self._waiting[account.uid]

    def waiting(self, uid: int) -> int:
        """How many connections of this user wait."""
        return len(self._waiting.get(uid, ()))

    def _wake(self) -> None:
        """Let the first of each user go on, and the next, as far as there is room."""
        self._wake_scheduled = False
        for uid in tuple(self._waiting):
            while (queue := self._waiting.get(uid)) and next(iter(queue)).try_again():
                pass


class Holder(Protocol):
    """Whose account it is."""

    def room_again(self) -> None:
        """It may read on, after it had to wait."""


class Account:
    """What one connection holds."""

    __slots__ = (
        "_buffers",
        "_holder",
        "_is_choked",
        "_never_waits",
        "_quota",
        "_replies",
        "_waits",
        "_wanted",
        "_write_buffer",
        "is_blocked",
        "receiving",
        "replies_max",
        "uid",
    )

    def __init__(self, buffers: Buffers, uid: int, write_buffer: int, holder: Holder) -> None:
        """`write_buffer` is how many bytes of replies may wait on this connection."""
        self.uid: Final = uid
        self._buffers: Final = buffers
        self._quota: Final = buffers.quota
        self._holder: Final = holder
        #: Bytes charged for the frame that is being received, and those for which there is no room yet.
        self.receiving = 0
        self._wanted = 0
        self._replies = 0
        self._waits = False
        self._is_choked = False
        self._never_waits = False
        self._write_buffer = write_buffer
        #: Whether nothing may be read from this connection now, for either of these reasons.
        self.is_blocked = False
        #: How many bytes of replies may wait now: while it is blocked, none beside what has not reached the kernel.
        self.replies_max = write_buffer

    # --- charges -----------------------------------------------------------------------------------------------------

    def may_receive(self, size: int) -> bool:
        """Whether the rest of a frame of `size` bytes may be read, of which a part has come; 0: none has begun.

        Where not, it waits for room.
        """
        self.end_frame()
        if size > FRAME_FREE and self._quota.take(self.uid, size) is not None:
            if not self._never_waits:
                self._wanted = size
                self._wait()
                return False
            self._quota.charge(self.uid, size)
        self.receiving = size if size > FRAME_FREE else 0
        return True

    def hold(self, size: int) -> None:
        """Charge a message that was read to its end and is kept. To be given back by `release`."""
        self._quota.charge(self.uid, size)
        self.end_frame()
        self._check()

    def release(self, size: int) -> None:
        """Give back what was charged by `hold`."""
        self._buffers.give(self.uid, size)

    def set_replies(self, waiting: int) -> None:
        """Charge so many bytes of replies in the place of what was charged for them before."""
        more, self._replies = waiting - self._replies, waiting
        if more > 0:
            self._quota.charge(self.uid, more)
            self._check()
        elif more < 0:
            self._buffers.give(self.uid, -more)

    def end_frame(self) -> None:
        """The frame that was received has been read to its end; `hold` does this as well."""
        if self.receiving:
            self._buffers.give(self.uid, self.receiving)
            self.receiving = 0

    # --- waiting -----------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Wait where this user holds too much. A frame that has begun is received: it is paid for."""
        if not (self.receiving or self._never_waits) and self._quota.is_exceeded(self.uid):
            self._wait()

    def _wait(self) -> None:
        if not self._waits:
            self._waits = True
            self._set_blocked()
            self._buffers.wait(self)

    def try_again(self) -> bool:
        """Go on if there is room now; whether there was."""
        if self._wanted:
            if self._quota.take(self.uid, self._wanted) is not None:
                return False
            self.receiving, self._wanted = self._wanted, 0
        elif self._quota.is_exceeded(self.uid):
            return False
        self._buffers.leave(self)
        self._waits = False
        self._unblock()
        return True

    def limit_replies(self, write_buffer: int) -> None:
        """From now on so many bytes of replies may wait on this connection."""
        self._write_buffer = write_buffer
        self._set_blocked()

    def choke(self, is_choked: bool) -> None:
        """Block, or not any more, for another reason than bytes."""
        if is_choked != self._is_choked and not self._never_waits:
            self._is_choked = is_choked
            if is_choked:
                self._set_blocked()
            else:
                self._unblock()

    def _set_blocked(self) -> None:
        self.is_blocked = self._waits or self._is_choked
        self.replies_max = 1 if self.is_blocked else self._write_buffer

    def _unblock(self) -> None:
        self._set_blocked()
        if not self.is_blocked:
            self._holder.room_again()

    def never_wait(self) -> None:
        """The peer is gone: what it had sent is read to its end, which is no more than the kernel holds."""
        self._never_waits = True
        self._wanted = 0
        if self._waits:
            self._buffers.leave(self)
        self._waits = self._is_choked = False
        self._set_blocked()

    def close(self) -> None:
        """Give back what the connection itself holds. What its calls hold was given back when they ended."""
        self.never_wait()
        self.end_frame()
        self.set_replies(0)
        del self._holder  # nobody waits
