"""A call, a link and deadlines as an event loop sees them."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Any, Final

from typing_extensions import override

from superd_client.calls import Call
from superd_client.contract import Method
from superd_client.errors import SuperdError
from superd_client.link import Link
from superd_client.sockets import WAIT_MAX, Channel
from superd_client.wire.envelope import Reply

#: Fewest entries of the heap that are worth a sweep.
_SWEEP_MIN: Final = 64


class TaskCall(Call):
    """A call, and the future that its task awaits."""

    __slots__ = ("deadline", "future")

    def __init__(
        self, method: Method[Any, Any] | str, call_id: str, timeout: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(method, call_id, timeout)
        self.deadline: Final = loop.time() + timeout
        self.future: asyncio.Future[Reply] = loop.create_future()

    @override
    def resolve(self, reply: Reply) -> None:
        if not self.future.done():
            self.future.set_result(reply)

    @override
    def fail(self, error: SuperdError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def renew(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin again after a failure."""
        self.future = loop.create_future()

    def drop(self) -> None:
        """Nobody awaits it any more: keep asyncio from reporting an exception that nobody took."""
        if not self.future.cancel() and not self.future.cancelled():
            self.future.exception()


class Deadlines:
    """Ends calls whose time is over, with one timer for all of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[TaskCall], None]) -> None:
        self._loop: Final = loop
        self._expire: Final = expire
        self._numbers: Final = itertools.count()
        self._heap: list[tuple[float, int, TaskCall]] = []
        self._timer: asyncio.TimerHandle | None = None
        #: How long the heap may become before the calls that have ended are swept out of it.
        self._sweep_at = _SWEEP_MIN

    def watch(self, call: TaskCall) -> None:
        """End `call` at its deadline, unless it has ended by then."""
        heapq.heappush(self._heap, (call.deadline, next(self._numbers), call))
        if len(self._heap) >= self._sweep_at:
            self._sweep()
        if self._timer is None or call.deadline < self._timer.when():
            self._set_timer()

    def cancel(self) -> None:
        """End no more calls."""
        self._heap.clear()
        self._set_timer()

    def _sweep(self) -> None:
        self._heap = [entry for entry in self._heap if not entry[2].future.done()]
        heapq.heapify(self._heap)
        self._sweep_at = max(_SWEEP_MIN, 2 * len(self._heap))

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            # No loop takes a timer for the far future; one that fires early is set again.
            when = min(self._heap[0][0], self._loop.time() + WAIT_MAX)
            self._timer = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        now = self._loop.time()
        while self._heap and (self._heap[0][0] <= now or self._heap[0][2].future.done()):
            call = heapq.heappop(self._heap)[2]
            if not call.future.done():
                self._expire(call)
        self._set_timer()


class TaskLink(Link[TaskCall]):
    """A link that a loop watches. It knows no client, so that a forgotten client can be collected."""

    def __init__(self, channel: Channel, frame_limit: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(channel, frame_limit)
        self._loop: Final = loop
        self._deadlines: Final = Deadlines(loop, self._expire)
        #: Set while a write is due: at the end of this turn of the loop, or when the kernel takes more.
        self._write_due = False
        self._watching_room = False
        loop.add_reader(channel.fileno(), self.receive)

    def send(self, call: TaskCall, params: bytes) -> None:
        """Begin `call`. It is written at once where no other is in flight, else together with what others begin."""
        self.begin(call, params)
        self._deadlines.watch(call)
        if self.calls_in_flight == 1 and not self._write_due:
            self._write()
        elif not self._write_due:
            self._write_due = True
            self._loop.call_soon(self._write)

    @override
    def end_channel(self) -> None:
        """Stop watching the channel, and close it."""
        self._deadlines.cancel()
        descriptor = self.channel.fileno()
        if descriptor >= 0 and not self._loop.is_closed():
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)
        self.channel.shutdown()
        self.channel.close()

    def drop(self) -> None:
        """Lose the link from any thread, also after the loop has gone."""
        try:
            elsewhere = asyncio.get_running_loop() is not self._loop
        except RuntimeError:
            elsewhere = True
        if elsewhere and self._loop.is_running():
            self._loop.call_soon_threadsafe(self.lose, "the client was forgotten")
        else:
            self.lose("the client was forgotten")

    def _write(self) -> None:
        """Write what is queued; watch for room where the kernel does not take all of it."""
        room_wanted = not self.flush()
        if self.lost:
            return
        if room_wanted and not self._watching_room:
            self._loop.add_writer(self.channel.fileno(), self._write)
        elif self._watching_room and not room_wanted:
            self._loop.remove_writer(self.channel.fileno())
        self._watching_room = self._write_due = room_wanted

    def _expire(self, call: TaskCall) -> None:
        # A frame that is written in part is written to its end, and may be carried out.
        unsent = self.withdraw(call) and not call.sent
        call.fail(call.timed_out("not written" if unsent else "no reply", sent=not unsent))
