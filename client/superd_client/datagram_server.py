"""The serving end of a datagram socket, on an event loop: datagrams through the wire to a host, and the replies back.

There are no connections (protocol §18). Calls of one sender's address share the server's end of the wire, from the
first to the last that runs; whose a call is, each datagram says by its credentials.
"""

import asyncio
import socket
from collections import Counter
from typing import Any, Final, Generic

from superd_client.datagram_host import CallerT, Correspondent, DatagramCall, Host, Message, Work
from superd_client.datagrams import (
    DESCRIPTORS_REFUSED,
    Credentials,
    Datagram,
    Sender,
    only_frame,
    receive_datagram,
)
from superd_client.replies import Receiver, Replies
from superd_client.wire.control import Cancel
from superd_client.wire.envelope import (
    MessageRefused,
    Notification,
    Request,
    parse_call,
    parse_json,
)
from superd_client.wire.errors import ErrorCode, ErrorObject
from superd_client.wire.framing import FrameTooLarge, PacketRefused
from superd_client.wire.limits import HEADER_SIZE, TIME_USEC_MAX
from superd_client.wire.server import ParseCall, Refused, ServerConnection, ServerEvent, StreamBroken

#: Datagrams read before the loop gets a turn: a flood must not starve the other sockets.
DATAGRAMS_PER_TURN: Final = 16

#: Calls of the whole socket that may run before it is not read from, as a multiple of what one user may have there:
#: a user who fills his share is refused, and leaves the others theirs.
USERS_SHARE: Final = 4

#: Seconds for a full receiver to take its reply, from when its call came, at most: what a call has by default.
REPLY_PATIENCE: Final = 25.0

#: Seconds without reading after it failed. The datagrams wait in the kernel.
_READ_PAUSE: Final = 0.1

#: Seconds for which a loop takes a timer: a call with a later deadline ends long before.
_TIMER_MAX: Final = 86_400.0

#: Seconds by which a loop's timer may come early, at most: it counts in milliseconds.
_TIMER_GRAIN: Final = 0.002

_CANCELLED: Final = ErrorObject(ErrorCode.CANCELLED, "the call was cancelled", {})
_STOPPED: Final = ErrorObject(ErrorCode.CANCELLED, "the call was cancelled because the server stops", {})
_LATE: Final = ErrorObject(ErrorCode.DEADLINE_EXCEEDED, "the deadline of the call has passed", {})
_NO_STREAMS: Final = ErrorObject(
    ErrorCode.INVALID_REQUEST, "a datagram socket has no streams: use a stream or seqpacket socket", {}
)


class DatagramServer(Generic[CallerT]):
    """Serves one datagram socket that has an address and asks for credentials; the socket stays its owner's."""

    def __init__(
        self,
        sock: socket.socket,
        host: Host[CallerT],
        *,
        parse: ParseCall,
        frame_limit: int,
        calls_of_user: int,
    ) -> None:
        """Prepare; nothing happens before `start`. One user's calls beyond `calls_of_user` are refused."""
        self._sock: Final = sock
        self._host: Final = host
        self._parse: Final = parse
        self._frame_limit = frame_limit
        self._calls_of_user = calls_of_user
        self._peers: dict[Sender, Correspondent] = {}
        self._running: set[Work[CallerT]] = set()
        self._of_user: Counter[int] = Counter()
        self._reading = self._stopped = False
        self._retry: asyncio.TimerHandle | None = None
        self._idle: Final = asyncio.Event()
        self._idle.set()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to read."""
        self._loop = loop
        self._replies: Replies[DatagramCall[CallerT]] = Replies(loop, self._sock, self._host.reply_dropped)
        #: Bytes of the largest body that a datagram can have.
        self.frame_max = self._replies.frame_max
        self._resume()

    def limit(self, frame_limit: int, calls_of_user: int) -> None:
        """Keep to these limits from now on."""
        self._frame_limit, self._calls_of_user = frame_limit, calls_of_user
        self._resume()  # there may be room now

    @property
    def is_quiet(self) -> bool:
        """Whether no call runs and no reply waits."""
        return not self._running and not self._replies.waiting

    # --- reading -----------------------------------------------------------------------------------------------------

    def _resume(self) -> None:
        if not (self._reading or self._stopped):
            self._reading = True
            self._loop.add_reader(self._sock.fileno(), self._read_some)

    def _pause(self) -> None:
        """Leave what comes to the kernel, whose queue gives EAGAIN to senders when it is full."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock.fileno())

    def _read_some(self) -> None:
        for _ in range(DATAGRAMS_PER_TURN):
            if len(self._running) >= USERS_SHARE * self._calls_of_user:
                self._pause()
                return
            if not self._read():
                return

    def _read(self) -> bool:
        """Read one datagram and handle it; whether there was one."""
        try:
            datagram = receive_datagram(self._sock, self._frame_limit)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._host.read_failed(error)
            self._pause()
            # Readiness is level-triggered and would call us again at once, for ever.
            self._retry = self._loop.call_later(_READ_PAUSE, self._resume)
            return False
        self._handle(datagram)
        return True

    # --- what a datagram says ----------------------------------------------------------------------------------------

    def _handle(self, datagram: Datagram) -> None:
        if datagram.credentials is None:
            self._host.datagram_dropped(datagram, "the kernel does not say whose it is")
            return
        peer = self._peers.get(datagram.sender) if datagram.sender is not None else None
        if peer is None:
            peer = Correspondent(datagram.sender, self._open_connection())
        event = self._next_event(peer.connection, datagram)
        caller = self._host.identify(datagram.credentials)
        if isinstance(event, Refused) and event.call is None and _is_reply(datagram):
            self._host.reply_received(datagram.data[HEADER_SIZE:], caller)
        elif event is not None:
            self._take(event, peer, caller, datagram.credentials)

    def _open_connection(self) -> ServerConnection:
        connection = ServerConnection(parse=self._parse, frame_limit=self._frame_limit, packets=True)
        connection.send_limit = min(self._frame_limit, self.frame_max)
        return connection

    def _next_event(self, connection: ServerConnection, datagram: Datagram) -> ServerEvent | None:
        if datagram.had_descriptors:
            return _refuse_descriptors(datagram, self._frame_limit)
        connection.receive_packet(datagram.data, (), datagram.length)
        return connection.next_event()

    def _take(
        self, event: ServerEvent, peer: Correspondent, caller: CallerT, credentials: Credentials
    ) -> None:
        if isinstance(event, Cancel):
            self._cancel(peer.calls.get(event.id), _CANCELLED)
        elif isinstance(event, StreamBroken):
            self._cancel(peer.calls.get(event.id), event.error)
        elif isinstance(event, Refused):
            self._refuse(event, self._call(peer, event.call, caller, credentials))
        elif isinstance(event, Message):
            message = self._host.screen(event, caller)
            self._begin(self._call(peer, message, caller, credentials), message)

    def _call(
        self, peer: Correspondent, message: Message | None, caller: CallerT, credentials: Credentials
    ) -> DatagramCall[CallerT]:
        now, patience = self._loop.time(), REPLY_PATIENCE
        if message is not None and "deadline_usec" in message.meta:
            patience = min(patience, message.meta["deadline_usec"] / 1_000_000 - now)
        return DatagramCall(
            peer, message, caller, credentials, self._host.call_id(message), deadline=now + patience
        )

    def _refuse(self, refused: Refused, call: DatagramCall[CallerT]) -> None:
        error = self._host.failed(refused.error, refused.call, call.caller, call.call_id)
        if not isinstance(refused.call, Notification):
            self._send(call, call.peer.connection.send_refusal(refused.id, error))

    def _begin(self, call: DatagramCall[CallerT], message: Message) -> None:
        error = self._fault(message, call.credentials.uid)
        if error is not None:
            self._answer(call, self._host.failed(error, message, call.caller, call.call_id))
            return
        work = Work(call, message)
        work.task = self._loop.create_task(self._carry_out(work))
        work.task.add_done_callback(lambda _: self._ended(work))
        self._idle.clear()
        self._running.add(work)
        self._of_user[call.credentials.uid] += 1
        if isinstance(message, Request):
            call.peer.calls[message.id] = work
            if call.sender is not None:
                self._peers[call.sender] = call.peer
        if "deadline_usec" in message.meta:
            when = min(message.meta["deadline_usec"] / 1_000_000, self._loop.time() + _TIMER_MAX)
            work.timer = self._loop.call_at(when, self._expire, work)

    def _fault(self, message: Message, uid: int) -> ErrorObject | None:
        """Why this call is not carried out here, or None."""
        if isinstance(message.params, ErrorObject):
            return message.params
        if self._host.is_stream(message.method):
            return _NO_STREAMS
        if message.meta.get("deadline_usec", TIME_USEC_MAX) <= self._loop.time() * 1_000_000:
            return _LATE
        used, limit = self._of_user[uid], self._calls_of_user
        if used >= limit:
            data = {"resource": "calls", "used": used, "limit": limit}
            return ErrorObject(
                ErrorCode.RESOURCE_EXHAUSTED, "too many calls of this user are in flight", data
            )
        return None

    # --- calls that run ----------------------------------------------------------------------------------------------

    async def _carry_out(self, work: Work[CallerT]) -> None:
        call = work.call
        outcome = await self._host.carry_out(work.message, call.caller, call.call_id)
        if not work.answered:
            self._settle(work)
            self._answer(call, outcome)

    def _cancel(self, work: Work[CallerT] | None, reason: ErrorObject) -> None:
        """Answer a call with `reason`, unless it was answered, and cancel what runs of it."""
        if work is None or work.task is None:
            return
        if not work.answered:
            self._settle(work)
            call = work.call
            self._answer(call, self._host.failed(reason, work.message, call.caller, call.call_id))
        self._host.answered(work.task)
        work.task.cancel()

    def _expire(self, work: Work[CallerT]) -> None:
        """Cancel a call whose deadline has passed; a timer for the far future comes early, and then nothing is due."""
        if work.message.meta["deadline_usec"] <= (self._loop.time() + _TIMER_GRAIN) * 1_000_000:
            self._cancel(work, _LATE)

    def _settle(self, work: Work[CallerT]) -> None:
        """It is answered: its id is free, and its deadline means nothing any more."""
        work.answered = True
        if work.timer is not None:
            work.timer.cancel()
        peer = work.call.peer
        if isinstance(work.message, Request):
            peer.calls.pop(work.message.id, None)
        if not peer.calls and self._peers.get(peer.sender) is peer:
            del self._peers[peer.sender]

    def _ended(self, work: Work[CallerT]) -> None:
        """Nothing of it runs any more."""
        if not work.answered:
            self._cancel(work, _STOPPED)  # something else has cancelled its task
        self._running.discard(work)
        uid = work.call.credentials.uid
        self._of_user[uid] -= 1
        if not self._of_user[uid]:
            del self._of_user[uid]
        self._resume()
        if not self._running:
            self._idle.set()

    # --- replies -----------------------------------------------------------------------------------------------------

    def _answer(self, call: DatagramCall[CallerT], outcome: bytes | ErrorObject) -> None:
        message, connection = call.message, call.peer.connection
        if not isinstance(message, Request):
            return
        if isinstance(outcome, ErrorObject):
            self._send(call, connection.send_failure(message.id, outcome))
            return
        try:
            self._send(call, connection.send_result(message.id, outcome))
        except FrameTooLarge as too_large:
            data = {"limit": too_large.limit, "length": too_large.length}
            text = "the result does not fit a datagram: use a stream socket"
            error = ErrorObject(ErrorCode.FRAME_TOO_LARGE, text, data)
            self._answer(call, self._host.not_served(error, message, call.caller, call.call_id))

    def _send(self, call: DatagramCall[CallerT], frame: bytes) -> None:
        if call.sender is None:
            self._host.reply_dropped(call, "its sender has no address")
        else:
            receiver = Receiver(call.sender, call.credentials.uid, call.credentials.pid)
            self._replies.send(receiver, frame, call.deadline, call)

    # --- the end -----------------------------------------------------------------------------------------------------

    def stop_reading(self, *, refuse_more: bool) -> None:
        """Take no more; with `refuse_more` senders get EPIPE from here on, and what they have sent is read.

        Without, it stays in the kernel for whoever reads the socket next: systemd's are shared with it.
        """
        self._pause()
        self._stopped = True
        if self._retry is not None:
            self._retry.cancel()
        if refuse_more:
            self._sock.shutdown(socket.SHUT_RD)
            while self._read():
                pass

    def cancel_calls(self) -> None:
        """Cancel what runs; each call is answered so."""
        for work in tuple(self._running):
            self._cancel(work, _STOPPED)

    async def wait_idle(self) -> None:
        """Return when no call runs and no reply waits."""
        await self._idle.wait()
        await self._replies.wait_empty()

    def close(self) -> None:
        """Send no more; replies that wait are dropped. Calls should have ended."""
        self.stop_reading(refuse_more=False)
        self._replies.close()


def _refuse_descriptors(datagram: Datagram, frame_limit: int) -> Refused:
    """What to say to a datagram with descriptors, which are closed (§18.4); a faulty one has other faults first."""
    try:
        body = only_frame(datagram, frame_limit)
    except PacketRefused as refused:
        return Refused(None, refused.error, None)
    try:
        call = parse_call(body)
    except MessageRefused as refused:
        return Refused(refused.id, DESCRIPTORS_REFUSED, None)
    return Refused(call.id if isinstance(call, Request) else None, DESCRIPTORS_REFUSED, call)


def _is_reply(datagram: Datagram) -> bool:
    """Whether a message that is no call answers something."""
    try:
        value: Any = parse_json(datagram.data[HEADER_SIZE:])
    except MessageRefused:
        return False
    return isinstance(value, dict) and "method" not in value and ("result" in value or "error" in value)
