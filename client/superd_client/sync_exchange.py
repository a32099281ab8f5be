"""How threads exchange messages with a server: over one connection, with no thread of their own.

All state is guarded by one mutex, which is never held over anything that waits. Threads wait outside it, in one of
two places: the poll of the connection, or their own alarm. Of the threads that wait for a connection one, the leader,
polls, and reads and writes for all; when its own has come it wakes one other to lead. Other threads write too, before
they wait, and a few read: what they find for the leader they tell it by a bell in its poll. Threads that want to begin
a call take turns in the same way, and whose turn it is also connects.

KeyboardInterrupt may arrive at any line. So who leads and whose turn it is are data that the interrupted call can
look at, rather than locks that it might hold; `forget` gives up all that a call holds, and may be repeated.
"""

import os
from collections import deque
from time import sleep
from typing import Any, Final
from weakref import WeakSet

from typing_extensions import override

from superd_client.calls import ATTEMPTS
from superd_client.descriptors import Outgoing
from superd_client.dialing import Destination
from superd_client.errors import CallTimeout, SuperdError
from superd_client.flows import NOTHING, Outbox
from superd_client.letters import Letter
from superd_client.sync_dialing import ThreadDialer
from superd_client.sync_link import ThreadCall, ThreadLink, Turn
from superd_client.wire.envelope import Reply, Result


class ThreadExchange(ThreadDialer):
    """The connection that the threads of a client share. Its methods take a call through, or a part of one."""

    def __init__(self, destination: Destination) -> None:
        """Connect to nothing yet."""
        #: Calls whose owners were collected as garbage, wherever that was: they end at the next opportunity.
        self._forgotten: Final[deque[ThreadCall]] = deque()
        super().__init__(destination)
        _exchanges.add(self)

    @override
    def _settle(self) -> None:
        self.writing = Turn()
        super()._settle()

    def close(self) -> None:
        """Close the connection, for good."""
        with self.mutex:
            self.closed = True
            for link in self.links:
                link.lose("the client was closed")
            self.link, self.links = None, ()
            self.writing.wake_all()

    # --- whole calls ---------------------------------------------------------------------------------------------

    def carry_out(self, call: ThreadCall, params: bytes) -> Reply:
        """Write the request of `call`, and wait for its reply."""
        try:
            try:
                over = call.usual and self._carry_out_alone(call, params)
                while not over:
                    self.send(call, params)
                    self.wait(call)
                    over = type(call.end) is Result or not self.begins_again(call)
            except BaseException as error:
                self.forget(call, cancel=not isinstance(error, CallTimeout))  # of the time the server knows
                raise
        except BaseException as error:
            self.forget(
                call, cancel=not isinstance(error, CallTimeout)
            )  # an interrupt may have hit the first time
            raise
        end = call.end
        if end is None or isinstance(end, SuperdError):
            raise end or call.lost("nothing came of it")
        return end

    def _carry_out_alone(self, call: ThreadCall, params: bytes) -> bool:
        """The usual way: nobody else writes or waits, the kernel takes all, and the next read brings the result.

        Returns False where anything else happens. `send` and `wait` go on from wherever that was.
        """
        with self.mutex:
            link = self.link
            if link is None or self.writing.holder is not None or self._forgotten:
                return False
            poller = link.begin_alone(call, params)
            if poller is None:
                self.writing.holder = call
                if call.link is None:
                    self._begin(link, call, params)  # another leads: there is no more to do, as a rule
                return False
        poller.wait(call.time_left())
        with self.mutex:
            link.serve(call)
            if not call.stirred:
                return False
            link.release(call)
        return type(call.end) is Result

    def begins_again(self, call: ThreadCall) -> bool:
        """Whether `call` has ended and is to be sent once more; pauses before that."""
        pause = None if self.closed else call.retry_pause()
        if pause is None:
            return False
        sleep(pause)
        call.renew()
        return True

    @override
    def forget(self, call: ThreadCall, *, cancel: bool = False) -> None:
        """Give up all that `call` holds; with `cancel` tell the server. May be repeated, and after any part of a call."""
        with self.mutex:
            self._forget(call, cancel=cancel)

    def forget_later(self, call: ThreadCall) -> None:
        """The same for a finalizer, which may have interrupted a thread that holds the mutex: it must not wait."""
        self._forgotten.append(call)
        if self.mutex.acquire(blocking=False):
            try:
                self._forget_forgotten()
            finally:
                self.mutex.release()

    def _forget_forgotten(self) -> None:
        while self._forgotten:
            self._forget(self._forgotten.popleft(), cancel=True)

    def _forget(self, call: ThreadCall, *, cancel: bool) -> None:
        link = call.link
        if link is not None:
            link.check()
            if not link.withdraw(call, cancel=cancel):
                link.lose("a call ended before its whole frame was written")
            if cancel:
                link.push()
            link.release(call)
        self.writing.leave(call)

    # --- the parts of a call -------------------------------------------------------------------------------------

    def send(self, call: ThreadCall, params: bytes) -> None:
        """Write the request of `call` to its end, on the link that it has then; what is left of it, where it has begun."""
        if call.sent:
            return
        with self.mutex:
            link = self.link
            if (
                link is not None
                and call.link is None
                and self.writing.take(call)
                and self._begin(link, call, params)
            ):
                return  # the usual case, which waits for nothing
        self._await_turn(call)
        for _ in range(ATTEMPTS):
            link = call.link or self.await_link(call)
            if self._write(link, call, params):
                return
            call.link = None
        raise (
            call.end if isinstance(call.end, SuperdError) else call.unconnected("the server hangs up at once")
        )

    def _begin(self, link: ThreadLink, call: ThreadCall, params: bytes) -> bool:
        """Begin to write, unless the link is lost; returns whether all is written, and leaves the turn then."""
        if not link.check():
            return False
        call.link, call.end, call.stirred = link, None, False
        link.begin(call, params, call.attach())
        link.flush()
        if call.sent:
            self.writing.leave(call)
        return call.sent

    def _await_turn(self, call: ThreadCall) -> None:
        while True:
            with self.mutex:
                self._forget_forgotten()
                if self.closed:
                    raise call.closed()
                if self.writing.take(call):
                    return
            call.sleep(call.time_left("not written"))

    def _write(self, link: ThreadLink, call: ThreadCall, params: bytes) -> bool:
        """Write to the end, and leave the turn; returns False, and keeps the turn, if the server had hung up.

        While it waits for room somebody leads, and so reads: a server whose replies nobody takes may read no more.
        """
        with self.mutex:
            if call.link is not link and self._begin(link, call, params):
                return True
            if call.link is not link:
                return False
            call.begin_write()
        poller = None
        while True:
            with self.mutex:
                if poller is not None:
                    link.serve(call)
                if call.sent or link.lost or isinstance(call.end, SuperdError):
                    link.release(call)
                    call.end_write()
                    return self._conclude_write(link, call)
                poller = link.lead(call)
            seconds = call.time_left("not written")
            if poller is not None:
                poller.wait(seconds)
            else:
                call.sleep(seconds)

    def _conclude_write(self, link: ThreadLink, call: ThreadCall) -> bool:
        if not call.sent:
            if self.closed:
                raise call.closed()
            if link.hung_up:
                return False
        self.writing.leave(call)
        if not call.sent and isinstance(call.end, SuperdError):
            raise call.end
        return True

    @override
    def wait(self, call: ThreadCall) -> None:
        """Wait until something has happened to `call`; read and write for all while no other thread does."""
        link = call.link
        if link is None:
            return
        poller = None
        while True:
            with self.mutex:
                if poller is not None:
                    link.serve(call)
                if call.stirred:
                    link.release(call)
                    return
                if self._forgotten:
                    self._forget_forgotten()
                poller = link.lead(call)
            seconds = call.time_left()
            if poller is not None:
                poller.wait(seconds)
            else:
                call.sleep(seconds)

    # --- the items of a call -------------------------------------------------------------------------------------

    def take_item(self, call: ThreadCall) -> tuple[Any, Reply | SuperdError | None]:
        """The oldest item of a stream, or NOTHING and how the call ended: None where it goes on, and `wait` waits."""
        with self.mutex:
            link = call.link
            item = NOTHING if link is None else link.take_item(call)
            if link is not None and link.has_unwritten:
                link.push()
            if item is NOTHING:
                call.stirred = call.end is not None
            return item, call.end

    def send_item(self, call: ThreadCall, item: bytes, carried: Outgoing | None) -> Letter | None:
        """Begin to write an item of an upload, with what it takes along; None where that cannot be now, and `wait` waits, or the call has ended."""
        with self.mutex:
            link = call.link
            if call.end is None and link is not None and link.takes_item(call):
                letter = link.send_item(call, item, carried)
                link.flush()
                if isinstance(call.flow, Outbox) and call.flow.looks_up:
                    link.receive()
                return letter
            call.stirred = call.end is not None
            return None

    def is_written(self, call: ThreadCall, letter: Letter) -> bool:
        """Whether an item is written, or the call has ended; else `wait` waits."""
        with self.mutex:
            over = letter.sent or call.end is not None
            call.stirred = over
            return over

    def send_end(self, call: ThreadCall) -> Reply | SuperdError | None:
        """Say that an upload has no more items; how the call ended, or None where `wait` waits."""
        with self.mutex:
            if call.link is not None and call.end is None:
                call.link.send_end(call)
                call.link.flush()
            call.stirred = call.end is not None
            return call.end


_exchanges: Final[WeakSet[ThreadExchange]] = WeakSet()


def _settle_in_child() -> None:
    for exchange in tuple(_exchanges):
        exchange._settle()  # noqa: SLF001 - of this module


os.register_at_fork(after_in_child=_settle_in_child)
