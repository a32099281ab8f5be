"""A call, a link and turns as threads share them. Everything here is guarded by the mutex of the client that uses it."""

import threading
from typing import Final

from typing_extensions import override

from superd_client.calls import Call
from superd_client.flow_link import FlowLink
from superd_client.poller import Poller
from superd_client.polling import Latency
from superd_client.sockets import Channel
from superd_client.spinning import SpinningPoller
from superd_client.wire.envelope import Reply


class ThreadCall(Call):
    """A call, and the thread that waits for it."""

    link: "ThreadLink | None" = None
    #: Whether something has happened since its thread last looked.
    stirred = False
    #: What its thread polls, while it does: then another thread that has something for it must ring.
    poller: Poller | None = None
    _alarm: "threading.Lock | None" = None

    @override
    def resolve(self, reply: Reply) -> None:
        self.end = reply
        self.stirred = True
        if self.poller is not None or self._alarm is not None:
            self.wake()

    @override
    def stir(self) -> None:
        self.stirred = True
        if self.poller is not None or self._alarm is not None:
            self.wake()

    @override
    def renew(self) -> None:
        super().renew()
        self.link, self.stirred = None, False

    def begin_write(self) -> None:
        """Hear of it when its frame is written, as its thread waits for that."""
        self.tells_sent = True

    def end_write(self) -> None:
        """Hear of what comes then."""
        self.tells_sent = self.oneway or self.flow is not None
        self.stirred = self.end is not None

    def set_alarm(self) -> None:
        """Make the next `sleep` last until `wake`. Under the mutex."""
        if self._alarm is None:
            self._alarm = threading.Lock()
        self._alarm.acquire(blocking=False)

    def wake(self) -> None:
        """End the sleep or the poll of its thread, also one that has not begun. Under the mutex."""
        if self.poller is not None:
            self.poller.ring()
        if self._alarm is not None and self._alarm.locked():
            self._alarm.release()

    def sleep(self, seconds: float) -> None:
        """Wait for `wake`, at most for `seconds`; it may return for no reason."""
        if self._alarm is not None:
            self._alarm.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))


class Turn:
    """Whose turn it is to do something, and who comes next. Under the mutex."""

    __slots__ = ("_queue", "holder")

    def __init__(self) -> None:
        self.holder: ThreadCall | None = None
        self._queue: dict[ThreadCall, None] = {}

    def take(self, call: ThreadCall) -> bool:
        """Give `call` the turn, or queue it and set its alarm; returns whether it has the turn. May be repeated."""
        if self.holder is None:
            self.holder = call
        if self.holder is call:
            return True
        self._queue[call] = None
        call.set_alarm()
        return False

    def leave(self, call: ThreadCall) -> None:
        """Give up the turn, or the place in the queue; wakes the next. May be repeated."""
        if not self._queue:
            if self.holder is call:
                self.holder = None
            return
        self._queue.pop(call, None)
        if self.holder is call:
            heir = next(iter(self._queue), None)
            if heir is not None:
                heir.wake()
            self.holder = heir

    def wake_all(self) -> None:
        """Let everybody look at what has changed."""
        for call in (self.holder, *self._queue):
            if call is not None:
                call.wake()


class ThreadLink(FlowLink[ThreadCall]):
    """A link that many threads use. Of those that wait one, the leader, polls, and reads and writes for all."""

    def __init__(self, channel: Channel, frame_limit: int, latency: Latency = "normal") -> None:
        """Take over `channel`; raises OSError where there are no descriptors left, and owns nothing then."""
        super().__init__(channel, frame_limit)
        self._poller: Final = SpinningPoller(channel) if latency == "low" else Poller(channel)
        self._reading: Final = Turn()

    def begin_alone(self, call: ThreadCall, params: bytes) -> Poller | None:
        """Begin a usual call, and write it at once, where all is well and nobody else writes or leads.

        Returns what it is to poll, as the leader; else None, and `call.link` says whether it has begun.
        """
        if (
            self._midway
            or self.lost
            or self.retired
            or self.leaving
            or self._outgoing
            or self._reading.holder is not None
            or self._poller.watches_room
        ):
            return None
        call.link = self
        if not self.begin_at_once(call, params):
            return None
        self._reading.holder = call
        call.poller = self._poller
        return self._poller

    def lead(self, call: ThreadCall) -> Poller | None:
        """What `call` is to poll, as the leader; None where another leads, and its alarm is set.

        Whoever leads learns what there is to write, also if it polls already.
        """
        if self._outgoing or self._poller.watches_room:
            self._watch_room()
        if not self._reading.take(call):
            return None
        call.poller = self._poller
        return self._poller

    def serve(self, call: ThreadCall) -> None:
        """Read and write for all, after the leader `call` has polled."""
        call.poller = None
        if self._poller.rung:
            self._poller.calm()
        self.receive()
        if self._outgoing:
            self.flush()

    def push(self) -> None:
        """Write what the kernel takes; the leader, if there is one, writes the rest."""
        self.flush()
        self._watch_room()

    def release(self, call: ThreadCall) -> None:
        """Note that `call` does not poll any more, and need not lead. May be repeated."""
        if call.poller is not None:  # it was interrupted, or its time is over
            self._poller.calm()
            call.poller = None
        self._reading.leave(call)
        if self.lost:
            self._close_unless_polled()

    @override
    def end_channel(self) -> None:
        """Shut the channel down, which wakes the thread that polls it; whoever leads last closes it.

        Closed under a poll, the descriptor could become another file's, and the poll would wait for that.
        """
        self.channel.shutdown()
        self._close_unless_polled()

    def _watch_room(self) -> None:
        if self._is_alive():
            self._midway = True
            self._poller.watch_room(bool(self._outgoing))
            self._midway = False

    def _close_unless_polled(self) -> None:
        if self._reading.holder is None:
            self._close()

    def _close(self) -> None:
        self._poller.close()
        self.channel.close()

    def disown(self) -> None:
        """Leave the connection to the process that this one was forked from."""
        self._close()
        self.lose("the connection belongs to the parent process")
