"""A call, a link and deadlines as an event loop sees them."""

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any, Final

from typing_extensions import override

from superd_client.calls import Call
from superd_client.contract import Method, UntypedMethod
from superd_client.flow_link import FlowLink
from superd_client.flows import Inbox, Outbox
from superd_client.polling import Latency
from superd_client.polling_loop import LoopPolling
from superd_client.sockets import WAIT_MAX, Channel

#: Fewest entries of the heap that are worth a sweep.
_SWEEP_MIN: Final = 64


class TaskCall(Call):
    """A call, and the future that its task awaits: it is done once something has happened."""

    __slots__ = ("_loop", "future", "link")

    def __init__(
        self,
        method: Method[Any, Any] | UntypedMethod | str,
        call_id: str,
        timeout: float,
        loop: asyncio.AbstractEventLoop,
        *,
        flow: Inbox | Outbox | None = None,
        gap: bool = False,
        oneway: bool = False,
    ) -> None:
        super().__init__(method, call_id, timeout, flow=flow, gap=gap, oneway=oneway)
        self._loop: Final = loop
        self.link: TaskLink | None = None
        self.future: asyncio.Future[None] = loop.create_future()

    @override
    def stir(self) -> None:
        if not self.future.done():
            try:
                self.future.set_result(None)
            except RuntimeError:
                if not self._loop.is_closed():
                    raise

    @override
    def renew(self) -> None:
        super().renew()
        self.link = None
        self.future = self._loop.create_future()

    async def wait(self, phase: str = "") -> None:
        """Wait for what happens next, or for a while; raises CallTimeout where it had no time left to wait."""
        seconds = self.time_left(phase)
        if self.future.done():
            self.future = self._loop.create_future()
        with contextlib.suppress(TimeoutError):  # whether it is over the next wait finds, by the same clock
            async with asyncio.timeout(min(seconds, WAIT_MAX)):
                await self.future


class Deadlines:
    """Ends calls whose time is over, with one timer for all of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[TaskCall], None]) -> None:
        self._loop: Final = loop
        self._expire: Final = expire
        self._numbers: Final = itertools.count()
        self._heap: list[tuple[float, int, TaskCall]] = []
        self._timer: asyncio.TimerHandle | None = None
        #: When the timer fires; never, where there is none.
        self._due = inf
        #: How long the heap may become before the calls that have ended are swept out of it.
        self._sweep_at = _SWEEP_MIN

    def watch(self, call: TaskCall) -> None:
        """End `call` at its deadline, unless it has ended by then."""
        heapq.heappush(self._heap, (call.deadline, next(self._numbers), call))
        if len(self._heap) >= self._sweep_at:
            self._sweep()
        if call.deadline < self._due:
            self._set_timer()

    def cancel(self) -> None:
        """End no more calls."""
        self._heap.clear()
        self._set_timer()

    def _sweep(self) -> None:
        self._heap = [entry for entry in self._heap if entry[2].end is None]
        heapq.heapify(self._heap)
        self._sweep_at = max(_SWEEP_MIN, 2 * len(self._heap))

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._due = None, inf
        if self._heap:
            # No loop takes a timer for the far future; one that fires early is set again.
            seconds = min(self._heap[0][0] - monotonic(), WAIT_MAX)
            self._timer = self._loop.call_later(max(seconds, 0), self._fire)
            self._due = monotonic() + seconds

    def _fire(self) -> None:
        now = monotonic()
        while self._heap and (self._heap[0][0] <= now or self._heap[0][2].end is not None):
            call = heapq.heappop(self._heap)[2]
            if call.end is None:
                self._expire(call)
        self._set_timer()


class TaskLink(FlowLink[TaskCall]):
    """A link that a loop watches. It knows no client, so that a forgotten client can be collected."""

    def __init__(
        self, channel: Channel, frame_limit: int, loop: asyncio.AbstractEventLoop, latency: Latency = "normal"
    ) -> None:
        super().__init__(channel, frame_limit)
        self._loop: Final = loop
        self._deadlines: Final = Deadlines(loop, self._expire)
        #: Set while a write is due: at the end of this turn of the loop, or when the kernel takes more.
        self._write_due = False
        self._watching_room = False
        self._is_disowned = False
        if latency == "low":
            loop.add_reader(channel.fileno(), LoopPolling(loop).run, self.receive)
        else:
            loop.add_reader(channel.fileno(), self.receive)

    def send(self, call: TaskCall, params: bytes) -> None:
        """Begin `call`. It is written at once where no other is in flight, else together with what others begin."""
        call.link = self
        self.begin(call, params, call.attach())
        if call.flow is None:
            self._deadlines.watch(call)
        if self.calls_in_flight == 1 and not self._write_due:
            self.write()
        elif not self._write_due:
            self._write_due = True
            self._loop.call_soon(self.write)

    def give_up(self, call: TaskCall) -> None:
        """Give up on `call`, and tell the server."""
        self.withdraw(call, cancel=True)
        if self.has_unwritten and not self._write_due:
            self.write()

    @override
    def end_channel(self) -> None:
        """Stop watching the channel, and close it."""
        if self._is_disowned:
            return
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

    def disown(self) -> None:
        """Leave the connection, and the loop that watches it, to the process that this one was forked from.

        The loop's poll is the parent's too: what is taken out of it is taken out for both.
        """
        self.channel.close()
        self._is_disowned = True
        self.lose("the connection belongs to the parent process")

    def write(self) -> None:
        """Write what is queued; watch for room where the kernel does not take all of it."""
        room_wanted = not self.flush()
        if self.lost:
            return
        if room_wanted and not self._watching_room:
            self._loop.add_writer(self.channel.fileno(), self.write)
        elif self._watching_room and not room_wanted:
            self._loop.remove_writer(self.channel.fileno())
        self._watching_room = self._write_due = room_wanted

    def _expire(self, call: TaskCall) -> None:
        if call.link is not self:
            return  # it was sent again, elsewhere
        # A frame that is written in part is written to its end, and may be carried out.
        unsent = self.withdraw(call) and not call.sent
        call.fail(call.timed_out("not written" if unsent else "no reply", sent=not unsent))
