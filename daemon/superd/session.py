"""One peer: bytes from its transport through the wire to the dispatcher, and the answers back.

Backpressure: a session stops asking the wire for messages, and its transport for bytes, while too many calls run or
too many bytes of answers wait. Both limits are the settings'; nothing is dropped.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from superd.dispatch import Dispatcher, Outcome
from superd.journal import MessageId, get_logger
from superd.peer import Caller
from superd.transport import Transport
from superd_client.ancillary import PACKET_HINT
from superd_client.descriptors import close_all
from superd_client.wire.envelope import Notification, Request
from superd_client.wire.errors import ErrorCode, ErrorObject, RemoteProtocolError
from superd_client.wire.framing import FrameTooLarge
from superd_client.wire.server import ParseCall, Refused, ServerConnection, ServerEvent
from superd_client.wire.states import RECEIVING, State

#: Messages of one peer handled before the loop gets a turn: one read may bring 2,000 that are refused, and to say
#: why takes its time.
_MESSAGES_PER_TURN: Final = 64

#: Bytes of answers that are gathered before they are written: more makes the peer wait, less costs system calls.
_FLUSH_SIZE: Final = 4096

_CANCELLED: Final = ErrorObject(ErrorCode.CANCELLED, "the call was cancelled because the server stops", {})


class SessionLimits(NamedTuple):
    """What one peer may hold: bytes of a frame, calls that run, bytes of answers that wait."""

    frame_size: int
    calls_in_flight: int
    write_buffer: int


class Session:
    """One connection, from accept to close. `on_closed` is called once: its socket is closed, its last call ended."""

    def __init__(
        self,
        *,
        caller: Caller,
        dispatcher: Dispatcher,
        parse: ParseCall,
        limits: SessionLimits,
        on_closed: Callable[["Session"], None],
        packets: bool = False,
    ) -> None:
        """Prepare; nothing happens before `start`. `packets` says that each frame is a packet."""
        self._caller = caller
        self._dispatcher = dispatcher
        self._limits = limits
        self._on_closed = on_closed
        self._connection = ServerConnection(parse=parse, frame_limit=limits.frame_size, packets=packets)
        self._calls: dict[asyncio.Task[None], tuple[Request | Notification, str]] = {}
        self._answers: list[bytes] = []
        self._answers_size = 0
        self._flush_scheduled = False
        self._paused = False
        self._pumping = False
        self._pump_scheduled = False
        self._draining = False

    def start(self, loop: asyncio.AbstractEventLoop, transport: Transport) -> None:
        """Begin to read."""
        self._loop = loop
        self._connection.send_limit = min(self._limits.frame_size, transport.frame_max)
        self._transport = transport
        transport.resume_reading()

    # --- from the transport -----------------------------------------------------------------------------------

    def data_received(self, data: bytes, fds: Sequence[int]) -> None:
        """Take what was read, and own its descriptors; b"" is the end of file."""
        if not data and self._draining:
            self._connection.drain()  # we made this end of file: it may cut a frame
        self._connection.receive_data(data, fds)
        self._pump()

    def packet_received(self, data: bytes, fds: Sequence[int], length: int) -> None:
        """Take a packet, and own its descriptors; `length` is what it had before it was cut."""
        self._connection.receive_packet(data, fds, length)
        self._pump()

    def write_buffer_drained(self) -> None:
        """Go on where backpressure had stopped."""
        self._pump()

    def connection_lost(self, error: OSError | None) -> None:  # noqa: ARG002 - why does not matter: nobody waits
        """Cancel what still runs."""
        self._connection.close()
        close_all(self._connection.take_surplus())
        self._cancel_calls()
        if not self._calls:
            self._on_closed(self)

    # --- requests ------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Handle messages until there are none, or until enough is under way."""
        if self._pumping or self._pump_scheduled:
            return
        self._pumping = True
        try:
            self._handle_messages()
        except RemoteProtocolError as broken:
            self._framing_lost(broken.error)
        finally:
            self._pumping = False
            close_all(self._connection.take_surplus())
        self._flush()
        self._close_if_finished()

    def _handle_messages(self) -> None:
        for _ in range(_MESSAGES_PER_TURN):
            if self._is_full():
                break
            event = self._connection.next_event()
            if event is None:
                self._resume()
                return
            self._handle(event)
            if self._answers_size >= _FLUSH_SIZE:
                self._flush()
        else:
            self._pump_scheduled = True
            self._loop.call_soon(self._pump_again)
        self._paused = True
        self._transport.pause_reading()

    def _pump_again(self) -> None:
        self._pump_scheduled = False
        self._pump()

    def _is_full(self) -> bool:
        return (
            len(self._calls) >= self._limits.calls_in_flight
            or self._transport.bytes_waiting >= self._limits.write_buffer
            or self._transport.is_closing
        )

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if self._connection.state in RECEIVING:
                self._transport.resume_reading()

    def _handle(self, event: ServerEvent) -> None:
        if not isinstance(event, Request | Notification | Refused):
            return  # what runs goes on; the transport tells if the peer is gone altogether
        if isinstance(event, Refused):
            self._refuse(event)
            return
        event = self._dispatcher.screen(event, self._caller)
        if isinstance(event.params, ErrorObject):
            call_id = self._dispatcher.call_id(event)
            self._answer(event, call_id, self._dispatcher.failed(event.params, event, self._caller, call_id))
        else:
            call_id = self._dispatcher.call_id(event)
            task = self._loop.create_task(self._carry_out(event, call_id))
            self._calls[task] = (event, call_id)
            task.add_done_callback(self._call_ended)

    def _refuse(self, refused: Refused) -> None:
        call_id = self._dispatcher.call_id(refused.call)
        error = self._dispatcher.failed(refused.error, refused.call, self._caller, call_id)
        if not isinstance(refused.call, Notification):
            self._gather(self._connection.send_refusal(refused.id, error))

    async def _carry_out(self, call: Request | Notification, call_id: str) -> None:
        self._answer(call, call_id, await self._dispatcher.carry_out(call, self._caller, call_id))

    # --- answers -------------------------------------------------------------------------------------------------

    def _answer(self, call: Request | Notification, call_id: str, outcome: Outcome) -> None:
        if isinstance(call, Notification) or self._transport.is_closing:
            return
        if isinstance(outcome, ErrorObject):
            self._gather(self._connection.send_failure(call.id, outcome))
            return
        try:
            self._gather(self._connection.send_result(call.id, outcome))
        except FrameTooLarge as too_large:
            data = {"limit": too_large.limit, "length": too_large.length}
            message = "the result does not fit a frame"
            if too_large.limit == self._transport.frame_max:
                message = f"the result does not fit a packet: {PACKET_HINT}"
            error = ErrorObject(ErrorCode.FRAME_TOO_LARGE, message, data)
            self._answer(call, call_id, self._dispatcher.not_served(error, call, self._caller, call_id))

    def _gather(self, frame: bytes) -> None:
        """Queue an answer: written at once if nothing else is under way, else with those that follow."""
        self._answers.append(frame)
        self._answers_size += len(frame)
        if self._pumping:
            return
        if self._connection.calls_in_flight == 0 or self._answers_size >= _FLUSH_SIZE:
            self._flush()
        elif not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self._answers:
            frames, self._answers, self._answers_size = self._answers, [], 0
            self._transport.write(frames)

    def _call_ended(self, task: asyncio.Task[None]) -> None:
        call, call_id = self._calls.pop(task)
        if task.cancelled():
            self._call_cancelled(call, call_id)
        if self._connection.state is State.CLOSED:
            if not self._calls:
                self._on_closed(self)
        elif self._paused:
            self._pump()
        else:
            self._close_if_finished()

    def _call_cancelled(self, call: Request | Notification, call_id: str) -> None:
        """Say so to the peer, if it is still there."""
        if self._transport.is_closing:
            self._dispatcher.abandoned(call, self._caller, call_id)
        else:
            error = self._dispatcher.failed(_CANCELLED, call, self._caller, call_id)
            self._answer(call, call_id, error)

    # --- the end -------------------------------------------------------------------------------------------------

    def _framing_lost(self, error: ErrorObject) -> None:
        call_id = self._dispatcher.call_id(None)
        get_logger().warning(
            "framing lost, connection closed",
            message_id=MessageId.FRAMING_LOST,
            call_id=call_id,
            code=int(error.code),
            reason=error.message,
            peer_uid=self._caller.uid,
            peer_pid=self._caller.pid,
            peer_unit=self._caller.unit,
        )
        self._gather(self._connection.send_refusal(None, error.with_data(call_id=call_id)))
        self._flush()
        # A peer that broke the protocol gets what the kernel takes at once: it may never read.
        self._transport.abort()

    def _cancel_calls(self) -> None:
        for task in self._calls:
            task.cancel()

    def _close_if_finished(self) -> None:
        """Close once no more can come, nothing runs and every answer is written."""
        if self._calls or self._paused or self._connection.state is not State.HALF_CLOSED:
            return
        self._flush()
        self._transport.close()

    def drain(self) -> None:
        """Carry out what the peer has sent, take no more, answer, close.

        From here on the peer's writes fail with EPIPE, so it knows of each call whether it was sent.
        """
        self._draining = True
        self._transport.refuse_more()
        self._transport.read_available()

    def cancel(self) -> None:
        """Cancel what runs, and refuse what was not begun; each call is answered so."""
        self._connection.drain()
        self._cancel_calls()

    def abort(self) -> None:
        """Close at once, without another word."""
        self._transport.abort()
