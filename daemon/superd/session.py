"""One peer: bytes from its transport through the wire to its calls, from accept to close.

Backpressure: a session stops asking the wire for messages, and its transport for bytes, while too many calls run or
too many bytes of answers wait. Both limits are the settings'; nothing is dropped.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

from superd.buffers import FRAME_FREE, Account
from superd.calls import CANCELLED, KICKED, STOPPED, Calls
from superd.charges import refusal
from superd.dispatch import Dispatcher
from superd.fastpath import BODY_MAX, FastPath
from superd.handover import Saved
from superd.outbox import FLUSH_SIZE, Outbox
from superd.pace import CONNECTION_UNITS, ITEMS_UNITS, REFUSAL_UNITS, Pace
from superd.peer import Caller
from superd.stalls import Pending
from superd.transport import LARGE_READ_SIZE, READ_SIZE, Transport
from superd_client.descriptors import close_all
from superd_client.wire.connection import PeerClosed
from superd_client.wire.control import Cancel, Credit, End
from superd_client.wire.envelope import Notification, Request
from superd_client.wire.errors import ErrorCode, ErrorObject, RemoteProtocolError
from superd_client.wire.limits import HEADER_SIZE, STREAMS_DEFAULT
from superd_client.wire.server import (
    Item,
    ParseCall,
    Refused,
    ServerConnection,
    ServerEvent,
    StreamBroken,
    Taken,
)
from superd_client.wire.states import RECEIVING, REPLYING, State

_UNFINISHED: Final = ErrorObject(
    ErrorCode.DEADLINE_EXCEEDED, "a frame was begun and not finished in time", {}
)


class SessionLimits(NamedTuple):
    """What one peer may hold: bytes of a frame, calls that run, bytes of answers that wait, open streams."""

    frame_size: int
    calls_in_flight: int
    write_buffer: int
    streams: int = STREAMS_DEFAULT


class Traffic(NamedTuple):
    """What went over one connection, and what is under way: calls, streams among them, bytes."""

    calls_in_flight: int
    calls_served: int
    calls_failed: int
    streams: int
    bytes_received: int
    bytes_sent: int
    bytes_waiting: int


class Session:
    """One connection, from accept to close. `on_closed` is called once: its socket is closed, its last call ended."""

    __slots__ = (
        "_account",
        "_all_handled",
        "_body_max",
        "_bytes_received",
        "_calls",
        "_connection",
        "_dispatcher",
        "_draining",
        "_fast_path",
        "_fds_waiting",
        "_is_ending",
        "_is_over",
        "_is_unusual",
        "_lane",
        "_limits",
        "_loop",
        "_lost",
        "_may_stall",
        "_on_closed",
        "_outbox",
        "_pace",
        "_packets",
        "_paused",
        "_pump_scheduled",
        "_pumping",
        "_read_is_due",
        "_refused_more",
        "_suspended",
        "_transport",
        "begun_usec",
        "caller",
        "number",
    )

    def __init__(  # noqa: PLR0913 - the parts of a server, each by its name
        self,
        *,
        number: int,
        caller: Caller,
        dispatcher: Dispatcher,
        parse: ParseCall,
        fast_path: FastPath,
        limits: SessionLimits,
        pace: Pace,
        may_stall: Callable[[], None],
        on_closed: Callable[["Session"], None],
        packets: bool = False,
    ) -> None:
        """Prepare; nothing happens before `start`. `number` tells it apart, `packets` says that each frame is a packet.

        `may_stall` is called when something begins to be `pending`.
        """
        self.number: Final = number
        self.caller: Final = caller
        self.begun_usec: Final = time.monotonic_ns() // 1000
        self._bytes_received = 0
        self._dispatcher = dispatcher
        self._fast_path = fast_path
        self._limits = limits
        self._packets: Final = packets
        self._pace = pace
        self._lane = pace.join(caller.uid)
        self._may_stall = may_stall
        self._on_closed = on_closed
        self._connection = ServerConnection(parse=parse, frame_limit=limits.frame_size, packets=packets)
        self._body_max = min(limits.frame_size, BODY_MAX)
        self._account = Account(dispatcher.buffers, caller.uid, limits.write_buffer, self)
        self._outbox = Outbox(self._account)
        self._calls = Calls(
            caller,
            dispatcher,
            self._connection,
            self._outbox,
            self._account,
            streams=limits.streams,
            on_progress=self._progress,
            next_turn=self._next_turn,
        )
        self._paused = False
        self._pumping = False
        #: Descriptors that are charged for what was received and is not read.
        self._fds_waiting = 0
        #: Set while nothing that was received waits to be handled, nor the rest of a frame to be received.
        self._all_handled = True
        #: Set where the first message that waits is known not to be a usual one.
        self._is_unusual = False
        #: Set while it waits for its turn (superd.pace).
        self._pump_scheduled = False
        #: Set where that was because it had something to read.
        self._read_is_due = False
        self._draining = False
        #: Set while the connection is to be saved: nothing more is begun than what its open uploads need.
        self._suspended = False
        #: Set once we made the peer's writes fail: the end of file is ours.
        self._refused_more = False
        #: Set once a further step of the end may be due whenever a call ends.
        self._is_ending = False
        #: Set once the socket is closed, and once everything is over.
        self._lost = False
        self._is_over = False

    @property
    def is_open(self) -> bool:
        """Whether it has a descriptor."""
        return self._transport.is_open

    def start(self, loop: asyncio.AbstractEventLoop, transport: Transport) -> None:
        """Begin to read."""
        self._loop = loop
        self._connection.send_limit = min(self._limits.frame_size, transport.frame_max)
        self._transport = transport
        self._outbox.start(loop, transport)
        self._lane.left -= CONNECTION_UNITS
        transport.resume_reading()

    # --- from the transport -----------------------------------------------------------------------------------

    def may_read(self) -> bool:
        """Whether it is this peer's turn to be read from; where it is not, that comes by itself."""
        lane, pace = self._lane, self._pace
        if (lane.turn == pace.turn and lane.left > 0 and not lane.waiting) or pace.may_work(lane):
            return True
        self._read_is_due = True
        self._wait_for_turn(pause=self._pump_scheduled or self._reads_unasked)
        return False

    def data_received(self, data: bytes, fds: Sequence[int]) -> None:
        """Take what was read, and own its descriptors; b"" is the end of file."""
        if not data and self._refused_more:
            self._connection.drain()  # we made this end of file: it may cut a frame
        self._bytes_received += len(data)
        self._lane.charge_read(len(data), len(fds))
        if data and not fds and self._may_cut():
            data = self._cut_frames(data)
            if not data:
                return
        self._all_handled = False
        self._connection.receive_data(data, fds)
        self._pump()

    def packet_received(self, data: bytes, fds: Sequence[int], length: int) -> None:
        """Take a packet, and own its descriptors; `length` is what it had before it was cut."""
        self._bytes_received += length
        self._all_handled = False
        self._connection.receive_packet(data, fds, length)
        self._lane.charge_read(len(data), len(fds))
        self._pump()

    def has_to_wait(self) -> None:
        """The kernel takes no more until the peer has read, which it may not do."""
        self._may_stall()

    def write_buffer_drained(self) -> None:
        """Go on where backpressure had stopped."""
        self._outbox.drained()
        self._pump()

    def room_again(self) -> None:
        """The user of this peer holds less than it may, after it had held too much."""
        self._outbox.wake()
        self._progress()

    def peer_vanished(self) -> None:
        """Nobody reads answers any more; what the peer had sent before is still read."""
        if self._pump_scheduled:
            self._pause()  # until its turn comes
        self._account.never_wait()
        self._outbox.drained()
        self._calls.abandon()
        self._progress()

    def connection_lost(self, error: OSError | None) -> None:  # noqa: ARG002 - why does not matter: nobody waits
        """Cancel the requests that run. Notifications that came go on, those that wait for their turn too."""
        self._lost = self._is_ending = True
        self._account.never_wait()
        self._outbox.drained()
        self._calls.abandon()
        self._pump()

    # --- messages ------------------------------------------------------------------------------------------------

    def _may_cut(self) -> bool:
        """Whether it is this peer's turn, and nothing is in the way of what was just read."""
        lane = self._lane
        return (
            self._all_handled
            and lane.turn == self._pace.turn
            and not lane.waiting
            and not (self._pumping or self._suspended or self._is_ending)
            and not (self._transport.bytes_waiting or self._account.is_blocked)
            and self._connection.state is State.OPEN
        )

    def _cut_frames(self, data: bytes) -> bytes:
        """Take care of the usual messages with which a read begins; what is left is for the general path."""
        lane, calls, take, transport = self._lane, self._calls, self._fast_path.take, self._transport
        running, calls_limit, account = calls.running, self._limits.calls_in_flight, self._account
        limit, end, begin = self._body_max, len(data), 0
        replies: list[bytes] = []
        size, is_full = 0, False
        self._pumping = self._outbox.is_held = True
        try:
            while lane.left > 0:
                start = begin + HEADER_SIZE
                stop = start + int.from_bytes(data[begin:start], "big")
                if not start < stop <= end or stop - start > limit:
                    break
                reply = take(data[start:stop], calls)
                if reply is None:
                    self._is_unusual = True
                    break
                lane.left -= 1
                begin = stop
                if reply:
                    replies.append(reply)
                    size += len(reply)
                    if size >= FLUSH_SIZE:
                        self._outbox.write(replies)
                        replies, size = [], 0
                # What `_is_full` asks, where nothing but this loop has changed it.
                is_full = (
                    transport.bytes_waiting > 0
                    or account.is_blocked
                    or len(running) - calls.open_streams >= calls_limit
                ) and self._is_full()
                if is_full:
                    break
        finally:
            self._pumping = self._outbox.is_held = False
        if running:
            calls.watch_begun()
        if replies or self._outbox.gathered:
            self._outbox.write(replies)
        if is_full and begin == end:
            self._pause()
        return data[begin:]

    def _take(self, body: bytes) -> bool:
        """Take care of a message, where it is a usual one; whether it is."""
        if self._is_unusual or len(body) > self._body_max:
            self._is_unusual = False
            return False
        self._account.end_frame()
        reply = self._fast_path.take(body, self._calls)
        if reply:
            self._outbox.add(reply, more_follows=True)
        return reply is not None

    def _pump(self) -> None:
        """Handle messages until there are none, until enough is under way, or until it is another peer's turn."""
        if self._pumping or self._pump_scheduled:
            return
        if self._pace.may_work(self._lane):
            self._work()
        else:
            self._wait_for_turn(pause=self._reads_unasked)

    @property
    def _reads_unasked(self) -> bool:
        """Whether to wait for a turn is to pause.

        Otherwise the transport asks before it reads, and while nobody else wants the loop the turn comes before that: to
        pause would cost more than to be asked.
        """
        return self._packets or self._is_ending or self._calls.peer_is_gone or self._pace.is_shared

    def _wait_for_turn(self, *, pause: bool = True) -> None:
        if pause:
            self._pause()
        if not self._pump_scheduled:
            self._pump_scheduled = True
            self._pace.wait(self._lane, self._turn_came)

    async def _next_turn(self) -> None:
        """Wait until a stream of this peer may send some more items."""
        if self._pace.may_work(self._lane):
            self._lane.left -= ITEMS_UNITS
            await asyncio.sleep(0)
            return
        turn = self._loop.create_future()

        def came() -> None:
            if not turn.done():
                self._lane.left -= ITEMS_UNITS
                turn.set_result(None)

        self._pace.wait(self._lane, came)
        await turn

    def _turn_came(self) -> None:
        self._pump_scheduled = False
        if self._is_over:
            return
        self._work()
        if self._read_is_due:
            self._read_is_due = False
            self._transport.read_available(1)

    def _work(self) -> None:
        self._pumping = self._outbox.is_held = True
        if self._fds_waiting:
            self._hold_fds(0)
        try:
            self._handle_messages()
            if fds := self._connection.fds_waiting:
                self._hold_fds(fds)
        except RemoteProtocolError as broken:
            self._framing_lost(broken.error)
        finally:
            self._pumping = self._outbox.is_held = False
        self._calls.watch_begun()
        self._outbox.flush()
        close_all(self._connection.take_surplus())
        self._conclude()

    def _hold_fds(self, count: int) -> None:
        """Charge the descriptors of what was received and is not read, in the place of what was charged for them before.

        Raises RemoteProtocolError where the user holds too many. They cannot be left to the kernel any more, and thousands of
        connections with half a frame each would take all that the process has: this connection is closed.
        """
        descriptors, held = self._dispatcher.quotas.descriptors, self._fds_waiting
        self._fds_waiting = 0
        if held:
            descriptors.give(self.caller.uid, held)
        if count:
            exceeded = descriptors.take(self.caller.uid, count)
            if exceeded is not None:
                self._connection.give_up()
                raise RemoteProtocolError(refusal(exceeded))
            self._fds_waiting = count

    def _handle_messages(self) -> None:
        lane = self._lane
        while not self._is_full():
            if lane.left <= 0:
                self._wait_for_turn()
                return
            event = self._connection.next_event(self._take)
            if event is None:
                awaited = self._connection.awaited
                if awaited != self._account.receiving:
                    self._transport.read_size = LARGE_READ_SIZE if awaited > FRAME_FREE else READ_SIZE
                    if not self._account.may_receive(awaited):
                        break
                self._all_handled = self._connection.unfinished is None
                if not self._all_handled:
                    self._may_stall()
                self._resume()
                return
            lane.left -= 1
            self._handle(event)
        self._pause()

    def _pause(self) -> None:
        self._paused = True
        self._transport.pause_reading()

    def _is_full(self) -> bool:
        if self._suspended and not (self._calls.open_streams or self._lost):
            return True
        return (
            self._calls.is_full(self._limits.calls_in_flight)
            or self._outbox.is_full
            or self._account.is_blocked
        )

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if self._connection.state in RECEIVING:
                self._transport.resume_reading()

    def _handle(self, event: ServerEvent) -> None:
        if isinstance(event, Taken):
            return
        if isinstance(event, Request | Notification):
            if isinstance(event.params, ErrorObject):
                self._lane.left -= REFUSAL_UNITS
            self._calls.begin(self._dispatcher.screen(event, self.caller))
        elif isinstance(event, Refused):
            self._refuse(event)
        elif isinstance(event, PeerClosed):
            self._is_ending = True
            self._calls.cut_streams()  # what runs goes on; the transport tells if the peer is gone altogether
        else:
            self._steer(event)

    def _refuse(self, refused: Refused) -> None:
        self._lane.left -= REFUSAL_UNITS
        call_id = self._dispatcher.call_id(refused.call)
        error = self._dispatcher.failed(refused.error, refused.call, self.caller, call_id)
        if not isinstance(refused.call, Notification):
            self._calls.failed += 1
            self._outbox.add(self._connection.send_refusal(refused.id, error), more_follows=False)
        if refused.call is not None and refused.call.received is not None:
            refused.call.received.close()

    def _steer(self, event: Item | Credit | End | Cancel | StreamBroken) -> None:
        """Do what the peer says of a call that runs. The wire knows it; unless it ended without an answer."""
        work = self._calls.find(event.id)
        if work is None:
            return
        if isinstance(event, Item) and work.source is not None:
            self._calls.put_item(work, event)
        elif isinstance(event, Credit) and work.sink is not None:
            work.sink.credited()
        elif isinstance(event, End) and work.source is not None:
            work.source.end()
        elif isinstance(event, StreamBroken):
            self._calls.stop(work, event.error)
        elif isinstance(event, Cancel):
            self._calls.stop(work, CANCELLED)

    # --- the end -------------------------------------------------------------------------------------------------

    def _framing_lost(self, error: ErrorObject) -> None:
        call_id = self._dispatcher.call_id(None)
        self._dispatcher.peers.framing_lost(self.caller, call_id, error)
        self._paused = False  # there is nothing left to go on with, also where the connection is lost already
        self._dismiss(error.with_data(call_id=call_id))

    def shed(self, error: ErrorObject) -> None:
        """Close at once, because others need its descriptor."""
        call_id = self._dispatcher.call_id(None)
        self._dispatcher.peers.shed(self.caller, call_id, error)
        self._dismiss(error.with_data(call_id=call_id))

    def _dismiss(self, error: ErrorObject | None) -> None:
        """Cancel the calls and close. The peer gets what the kernel takes at once: it may never read."""
        if error is not None and self._connection.state is not State.CLOSED:
            self._outbox.add(self._connection.send_refusal(None, error), more_follows=False)
            self._outbox.flush()
        self._calls.abandon()
        self._transport.abort()

    # --- peers that hold memory (superd.stalls) ----------------------------------------------------------------------

    def pending(self) -> Pending:
        """What the peer has to do. A frame that we do not read on, since the peer has too much under way, can wait."""
        is_read = not self._paused or self._pump_scheduled
        return Pending(
            self._transport.bytes_sent if self._transport.bytes_waiting else None,
            self._connection.unfinished if is_read else None,
        )

    def does_not_read(self, seconds: float) -> None:
        """Give the peer up: replies have waited for it too long."""
        waiting = self._transport.bytes_waiting
        self._dispatcher.peers.stalled(self.caller, seconds, bytes_waiting=waiting, unfinished=False)
        self._dismiss(None)

    def does_not_finish(self, seconds: float) -> None:
        """Give the peer up: a frame was begun and does not end."""
        waiting = self._transport.bytes_waiting
        self._dispatcher.peers.stalled(self.caller, seconds, bytes_waiting=waiting, unfinished=True)
        self._dismiss(_UNFINISHED.with_data(call_id=self._dispatcher.call_id(None)))

    def _progress(self) -> None:
        """A call was answered or has ended."""
        if self._pumping:
            return
        if (self._paused or self._suspended) and not self._pump_scheduled:
            self._pump()
        elif self._is_ending:
            self._conclude()

    def _conclude(self) -> None:
        """Take the next step towards the end, if it is due."""
        if self._draining and not self._refused_more and not self._calls.open_streams:
            self._refuse_more()
        elif self._paused or self._pump_scheduled or not self._calls.all_ended:
            return
        elif self._lost:
            self._closed()
        elif self._connection.state is State.HALF_CLOSED:
            self._outbox.flush()
            self._transport.close()

    def _closed(self) -> None:
        if not self._is_over:
            self._is_over = True
            if self._fds_waiting:
                self._hold_fds(0)
            self._connection.close()
            close_all(self._connection.take_surplus())
            self._account.close()
            self._dispatcher.lookout.tidy()
            self._pace.leave(self._lane)
            self._on_closed(self)
            # Its parts know it no longer: it ends now, and not when the collector of cycles looks for it.
            self._calls.let_go()
            self._transport.let_go()

    def drain(self) -> None:
        """Carry out what the peer has sent, take no more, answer, close.

        From the moment when no stream is open the peer's writes fail with EPIPE, so it knows of each call whether it
        was sent. While one is open, its credit and its items are still taken, and no other is begun.
        """
        self._draining = self._is_ending = self._calls.refuses_streams = True
        if self._connection.state in REPLYING:
            self._outbox.add(self._connection.send_goaway(), more_follows=False)
            self._outbox.flush()
        self._conclude()

    # --- a restart -------------------------------------------------------------------------------------------------

    def tasks(self, *, streams: bool) -> set[asyncio.Task[None]]:
        """What runs here: streams alone, or all else."""
        return self._calls.tasks(streams=streams)

    def suspend(self) -> None:
        """Begin nothing more, so that the connection can be saved once `tasks` have ended.

        Streams end here. Uploads go on; while there are any, calls of this peer are begun, too.
        """
        self._suspended = self._calls.refuses_streams = True
        self._calls.stop_streams()
        self._pump()

    def stop_calls(self) -> None:
        """Cancel what still runs; each call is answered so."""
        self._calls.stop_all(STOPPED)

    def save(self) -> Saved | None:
        """What another session goes on with, where nothing of this one waits for an answer; None if it is over.

        From then on this one must be either released or resumed with it.
        """
        self._outbox.flush()
        if self._transport.fileno() == -1:
            return None
        fd = self._transport.fileno()
        kind: Literal["stream", "seqpacket"] = "seqpacket" if self._packets else "stream"
        return Saved(fd, kind, self._connection.take_unread(), self._transport.take_unsent())

    def resume(self, saved: Saved) -> None:
        """Go on with what was saved, of this session or of one of the process before."""
        self._suspended = self._calls.refuses_streams = self._all_handled = False
        self._connection.receive_again(saved.unread)
        self._transport.write_again(saved.unsent)
        self._account.set_replies(self._transport.bytes_waiting)
        self._pump()

    def release(self) -> None:
        """Serve the connection no longer: the next process does."""
        self._transport.release()
        self._lost = self._is_ending = True
        self._closed()

    def _refuse_more(self) -> None:
        self._refused_more = True
        self._transport.refuse_more()
        self._transport.read_available()

    def cancel(self, reason: ErrorObject = STOPPED) -> None:
        """Cancel what runs, and refuse what was not begun; each call is answered so."""
        self._connection.drain()
        self._calls.stop_all(reason)

    def kick(self) -> None:
        """As `cancel`, and close once the answers are written: nothing is lost that was sent, each call is answered."""
        self.cancel(KICKED)
        self.drain()

    # --- for administrators --------------------------------------------------------------------------------------

    @property
    def is_draining(self) -> bool:
        """Whether it takes no more calls and is closed when those that it has are answered."""
        return self._draining

    def traffic(self) -> Traffic:
        """The counts as they are now."""
        calls = self._calls
        return Traffic(
            len(calls.running),
            calls.served,
            calls.failed,
            calls.open_streams,
            self._bytes_received,
            self._transport.bytes_sent,
            self._outbox.size,
        )

    def limit(self, limits: SessionLimits) -> None:
        """Keep to these limits from now on; the size of a frame, which the peer was told, stays as it is."""
        self._limits = limits._replace(frame_size=self._limits.frame_size)
        self._account.limit_replies(limits.write_buffer)
        self._calls.streams = limits.streams
        if not self._lost:
            self.write_buffer_drained()  # there may be room now

    def abort(self) -> None:
        """Close at once, without another word."""
        self._connection.close()
        self._calls.peer_is_gone = True
        self._calls.stop_all(STOPPED)
        self._transport.abort()
