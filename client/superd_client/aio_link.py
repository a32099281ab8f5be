"""A call, a link and deadlines as an event loop sees them."""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from math import inf
from time import monotonic
from typing import Final

from typing_extensions import override

from superd_client.calls import Call
from superd_client.flow_link import FlowLink
from superd_client.polling import Latency
from superd_client.polling_loop import LoopPolling
from superd_client.sockets import WAIT_MAX, Channel

#: Seconds that a call may be ended late for each call that waits: ten times what it takes to look at one.
_LOOK_SECONDS: Final = 1e-6

#: Bytes of frames that are worth a write before the turn of the loop ends: the server begins on them meanwhile.
_WRITE_SIZE: Final = 4096


class TaskCall(Call):
    """A call, and the future that its task awaits: it is done once something has happened. There is one while a task waits."""

    link: "TaskLink | None" = None
    future: "asyncio.Future[None] | None" = None

    @override
    def stir(self) -> None:
        future = self.future
        if future is not None and not future.done():
            try:
                future.set_result(None)
            except RuntimeError:
                if not future.get_loop().is_closed():
                    raise

    @override
    def renew(self) -> None:
        super().renew()
        self.link = self.future = None

    async def wait(self, phase: str = "") -> None:
        """Wait for what happens next, or for a while; raises CallTimeout where it had no time left to wait."""
        seconds = self.time_left(phase)
        if self.future is None or self.future.done():
            self.future = asyncio.get_running_loop().create_future()
        with contextlib.suppress(TimeoutError):  # whether it is over the next wait finds, by the same clock
            async with asyncio.timeout(min(seconds, WAIT_MAX)):
                await self.future


class Deadlines:
    """Ends calls whose time is over, with one timer for all of them, and nothing to do for each but to look at it.

    The timer is set for the earliest deadline. By then most calls have long ended, and it is set anew for the next.
    """

    __slots__ = ("_calls", "_expire", "_loop", "_timer", "due")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        calls: Collection[TaskCall],
        expire: Callable[[TaskCall], None],
    ) -> None:
        """Watch what is in `calls` whenever the timer fires."""
        self._loop: Final = loop
        self._calls: Final = calls
        self._expire: Final = expire
        self._timer: asyncio.TimerHandle | None = None
        #: When the timer fires; never, where there is none. Whoever begins a call that is over before calls `set`.
        self.due = inf

    def cancel(self) -> None:
        """End no more calls."""
        self.set(inf)

    def set(self, due: float) -> None:
        """Have the timer fire at `due`, in seconds of CLOCK_MONOTONIC; with infinity never."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self.due = None, inf
        if due < inf:
            # No loop takes a timer for the far future; one that fires early is set again.
            now = monotonic()
            seconds = min(max(due - now, 0), WAIT_MAX)
            self._timer = self._loop.call_later(seconds, self._fire)
            self.due = now + seconds

    def _fire(self) -> None:
        now = monotonic()
        for call in [call for call in self._calls if call.deadline <= now and call.flow is None]:
            self._expire(call)
        left = [call.deadline for call in self._calls if call.flow is None]
        # Each look takes time for all calls. Where thousands have a deadline of their own, many are looked at together.
        self.set(max(min(left), now + len(left) * _LOOK_SECONDS) if left else inf)


class TaskLink(FlowLink[TaskCall]):
    """A link that a loop watches. It knows no client, so that a forgotten client can be collected."""

    def __init__(
        self, channel: Channel, frame_limit: int, loop: asyncio.AbstractEventLoop, latency: Latency = "normal"
    ) -> None:
        super().__init__(channel, frame_limit)
        self._loop: Final = loop
        self._deadlines: Final = Deadlines(loop, self._calls, self._expire)
        #: Bytes of frames that calls have queued since the last write.
        self._queued = 0
        #: Set while a write is due: at the end of this turn of the loop, or when the kernel takes more.
        self._write_due = False
        self._watching_room = False
        self._is_disowned = False
        if latency == "low":
            loop.add_reader(channel.fileno(), LoopPolling(loop).run, self.receive)
        else:
            loop.add_reader(channel.fileno(), self.receive)

    def send(self, call: TaskCall, params: bytes) -> "asyncio.Future[None]":
        """Begin `call`; returns its future.

        It is written at once where no other is in flight, else together with what others begin.
        """
        call.link = self
        call.future = future = self._loop.create_future()
        if self._calls or self._outgoing or self._write_due or not call.usual:
            self._queue(call, params)
        elif not self.begin_at_once(call, params):
            self._watch_room(bool(self._outgoing))
        if call.deadline < self._deadlines.due and call.flow is None:
            self._deadlines.set(call.deadline)
        return future

    def _queue(self, call: TaskCall, params: bytes) -> None:
        is_alone = not self._calls
        self.begin(call, params, None if call.carried is None else call.attach())
        self._queued += call.size
        if self._write_due:
            if self._queued >= _WRITE_SIZE and not self._watching_room:
                self._queued = 0
                self.flush()
        elif is_alone:
            self.write()
        else:
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
        self._queued = 0
        self._watch_room(not self.flush())

    def _watch_room(self, wanted: bool) -> None:
        if self.lost:
            return
        if wanted and not self._watching_room:
            self._loop.add_writer(self.channel.fileno(), self.write)
        elif self._watching_room and not wanted:
            self._loop.remove_writer(self.channel.fileno())
        self._watching_room = self._write_due = wanted

    def _expire(self, call: TaskCall) -> None:
        if call.link is not self:
            return  # it was sent again, elsewhere
        # A frame that is written in part is written to its end, and may be carried out.
        unsent = self.withdraw(call) and not call.sent
        call.fail(call.timed_out("not written" if unsent else "no reply", sent=not unsent))
