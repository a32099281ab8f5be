"""The daemon's ends of streams and uploads: items out against credit and room, items in as many as credit was given."""

import asyncio
import queue
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from typing import Any, Final, Generic, Self, TypeVar

from typing_extensions import override

from superd.charges import Charged
from superd.deadlines import Deadlines, Timed, now_usec
from superd.outbox import Outbox, refused_descriptors
from superd.work import CallEnded, Work
from superd_client.descriptors import Outgoing, close_held
from superd_client.wire.envelope import RequestId
from superd_client.wire.errors import ErrorCode, ErrorObject
from superd_client.wire.framing import FrameTooLarge
from superd_client.wire.limits import STREAM_CREDIT_DEFAULT
from superd_client.wire.server import ServerConnection

I = TypeVar("I")  # noqa: E741 - an item, as in superd_client.streams

#: Bytes of items that one stream sends before the others and the loop get a turn, and the least that an item counts
#: for: a generator that never waits must not keep the loop, nor one with large items all the room.
_TURN_SIZE: Final = 4096
_ITEM_SIZE_MIN: Final = 128

_NO_MORE_CREDIT: Final = ErrorObject(
    ErrorCode.CANCELLED, "the call was cancelled because its caller can send no more credit", {}
)
_NO_MORE_ITEMS: Final = ErrorObject(
    ErrorCode.CANCELLED, "the call was cancelled because its caller can send no more items", {}
)
_SLOW: Final = ErrorObject(ErrorCode.DEADLINE_EXCEEDED, "the next item did not come in time", {})


class Gap(Timed):
    """The time that a stream has for its next item."""

    __slots__ = ("_deadlines", "_span", "_work")

    def __init__(self, work: Work, span_usec: int, deadlines: Deadlines) -> None:
        self.due_usec = None
        self.watched = False
        self._work = work
        self._span = span_usec
        self._deadlines = deadlines

    def begin(self) -> None:
        """From now on an item could be sent."""
        self.due_usec = now_usec() + self._span
        if not self.watched:
            self._deadlines.watch(self)

    @override
    def expire(self) -> None:
        self._work.owner.stop(self._work, _SLOW)


class ItemSink:
    """Sends the items of one stream."""

    def __init__(
        self,
        work: Work,
        connection: ServerConnection,
        outbox: Outbox,
        request_id: RequestId,
        gap: Gap | None,
        next_turn: Callable[[], Awaitable[None]],
    ) -> None:
        self._work = work
        self._next_turn = next_turn
        self._connection = connection
        self._outbox = outbox
        self._id = request_id
        self._gap = gap
        self._credited: asyncio.Future[None] | None = None
        self._is_cut = False
        #: Full at the beginning: the first items need a turn, too.
        self._sent_in_turn = _TURN_SIZE

    def is_ready(self) -> bool:
        """Whether there is credit, room, and something left of this turn: the usual case, which waits for nothing."""
        if self._sent_in_turn >= _TURN_SIZE or not self._connection.credit(self._id) or self._outbox.is_full:
            return False
        if self._gap is not None:
            self._gap.begin()
        return True

    async def ready(self) -> None:
        """Wait for credit, for room, and for a turn."""
        if self._sent_in_turn >= _TURN_SIZE:
            self._sent_in_turn = 0
            await self._next_turn()
        while not self._connection.credit(self._id) or self._outbox.is_full:
            if self._connection.credit(self._id):
                await self._outbox.room()
            else:
                await self._credit()
        if self._gap is not None:
            self._gap.begin()

    async def _credit(self) -> None:
        if self._is_cut:
            raise CallEnded(_NO_MORE_CREDIT)
        self._credited = asyncio.get_running_loop().create_future()
        try:
            await self._credited
        finally:
            self._credited = None

    def send(self, item: bytes, carried: Outgoing | None) -> None:
        """Send an item, which is JSON, and its descriptors; raises CallEnded for one that fits no frame."""
        try:
            frame = self._connection.send_item(self._id, item, len(carried.fds) if carried is not None else 0)
        except FrameTooLarge as error:
            if carried is not None:
                carried.close()
            raise CallEnded(self._outbox.too_large(error, "an item")) from error
        if carried is None:
            self._outbox.add(frame, more_follows=True)
        else:
            self._outbox.add_carrying(frame, carried, self._refused)
        self._sent_in_turn += max(len(frame), _ITEM_SIZE_MIN)
        self.close()

    def _refused(self, error: OSError) -> None:
        """The kernel does not pass an item's descriptors: the stream has a gap, and ends."""
        self._work.owner.stop(self._work, refused_descriptors(error))

    def credited(self) -> None:
        """The peer has given credit, or will give none any more."""
        if self._credited is not None and not self._credited.done():
            self._credited.set_result(None)

    def cut(self) -> None:
        """The peer sends nothing more, and so no credit."""
        self._is_cut = True
        self.credited()

    def close(self) -> None:
        """There is no gap now: an item was sent, or the call is answered."""
        if self._gap is not None:
            self._gap.due_usec = None


class _Mark:
    """What stands in a queue beside the items."""


#: No more items: the peer said so; the peer cannot send them any more; nobody wants them.
_END: Final = _Mark()
_CUT: Final = _Mark()
_CLOSED: Final = _Mark()

#: What stands for no item in an empty queue.
_NOTHING: Final = _Mark()


class ItemSource(Generic[I]):
    """The items of one upload that have come and were not taken: never more than the credit that was given.

    New credit is given whenever half of it has been used up by the handler.
    """

    def __init__(
        self,
        grant: Callable[[int], None],
        starve: Callable[[ErrorObject], None],
        taken: Callable[[Charged], None],
    ) -> None:
        """`grant` gives credit; `starve` ends the call where its handler waits for what cannot come.

        `taken` hears of items that were charged.
        """
        self._grant = grant
        self._starve = starve
        self._on_taken = taken
        self._taken = 0

    def put(self, item: I | Charged | _Mark) -> None:
        """Take what has come."""
        raise NotImplementedError

    def end(self) -> None:
        """All items have come."""
        self.put(_END)

    def cut(self) -> None:
        """The peer sends nothing more: a handler that waits for an item waits in vain."""
        self.put(_CUT)

    def close(self) -> None:
        """The call is answered: nobody wants items any more."""
        self.put(_CLOSED)

    def discard(self) -> None:
        """Close what came with items that nobody took, and leave the mark that nobody wants any."""
        while (item := self._pop()) is not _NOTHING:
            if isinstance(item, Charged) and item.fds:
                close_held(item.item)
        self.put(_CLOSED)

    def _pop(self) -> object:
        """What would be taken next, _NOTHING where nothing waits."""
        raise NotImplementedError

    def _count(self) -> int:
        """Note that an item was taken; how much credit is due for those that were."""
        self._taken += 1
        due = self._taken if self._taken * 2 >= STREAM_CREDIT_DEFAULT else 0
        self._taken -= due
        return due


class LoopItems(ItemSource[I]):
    """For handlers on the event loop."""

    def __init__(
        self,
        grant: Callable[[int], None],
        starve: Callable[[ErrorObject], None],
        taken: Callable[[Charged], None],
    ) -> None:
        super().__init__(grant, starve, taken)
        self._queue = asyncio.Queue[Any]()

    @override
    def put(self, item: I | Charged | _Mark) -> None:
        self._queue.put_nowait(item)

    @override
    def _pop(self) -> object:
        return _NOTHING if self._queue.empty() else self._queue.get_nowait()

    def __aiter__(self) -> Self:
        """Iterate over the items; several tasks may do so, and share them."""
        return self

    async def __anext__(self) -> I:
        """The next item, in the order in which they were sent."""
        item = await self._queue.get()
        if item is _CUT:
            self._starve(_NO_MORE_ITEMS)
            item = await self._queue.get()
        if isinstance(item, _Mark):
            self._queue.put_nowait(item)
            raise asyncio.CancelledError if item is _CLOSED else StopAsyncIteration
        if due := self._count():
            self._grant(due)
        if isinstance(item, Charged):
            self._on_taken(item)
            return item.item  # type: ignore[no-any-return]  # what is charged is an item
        return item  # type: ignore[no-any-return]  # what is no mark is an item


class ThreadItems(ItemSource[I]):
    """For handlers on worker threads."""

    def __init__(
        self,
        grant: Callable[[int], None],
        starve: Callable[[ErrorObject], None],
        taken: Callable[[Charged], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(grant, starve, taken)
        self._queue = queue.SimpleQueue[Any]()
        self._loop = loop

    @override
    def put(self, item: I | Charged | _Mark) -> None:
        self._queue.put(item)

    @override
    def _pop(self) -> object:
        return _NOTHING if self._queue.empty() else self._queue.get_nowait()

    def __iter__(self) -> Self:
        """Iterate over the items, on one thread."""
        return self

    def __next__(self) -> I:
        """The next item, in the order in which they were sent; raises CancelledError where the call was cancelled."""
        item = self._queue.get()
        if item is _CUT:
            self._loop.call_soon_threadsafe(self._starve, _NO_MORE_ITEMS)
            item = self._queue.get()
        if isinstance(item, _Mark):
            self._queue.put(item)
            raise CancelledError if item is _CLOSED else StopIteration
        if due := self._count():
            self._loop.call_soon_threadsafe(self._grant, due)
        if isinstance(item, Charged):
            self._loop.call_soon_threadsafe(self._on_taken, item)
            return item.item  # type: ignore[no-any-return]  # what is charged is an item
        return item  # type: ignore[no-any-return]  # what is no mark is an item
