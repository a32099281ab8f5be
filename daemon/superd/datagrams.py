"""A datagram socket of the daemon: what the serving end does with it, put to the dispatcher and to the journal."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from superd.charges import refusal, take, take_rate
from superd.dispatch import Dispatcher
from superd.handlers import Endpoint, Kind
from superd.journal import MessageId, get_logger
from superd.listeners import Listener
from superd.peer import Caller
from superd.session import SessionLimits
from superd.stats import Stats
from superd.work import Outcome, Work
from superd_client.datagram_host import DatagramCall, Message
from superd_client.datagram_server import DatagramServer
from superd_client.datagrams import Credentials, Datagram, show_sender
from superd_client.wire.errors import ErrorCode, ErrorObject
from superd_client.wire.server import ParseCall

_A_REPLY: Final = ErrorObject(ErrorCode.INVALID_REQUEST, "a reply to nothing", {})


class _Waiting:
    """Who waits for one call."""

    def __init__(self) -> None:
        self.outcome: Outcome = b"null"

    def stop(self, work: Work, error: ErrorObject) -> None:
        """Never asked for: the serving end watches the deadlines."""

    def ended(self, work: Work, outcome: Outcome | None) -> None:  # noqa: ARG002 - there is one
        """Keep its outcome."""
        if outcome is not None:
            self.outcome = outcome


class DatagramHost:
    """Carries out what one datagram socket brings, as a session does it."""

    def __init__(self, dispatcher: Dispatcher, stats: Stats, address: str) -> None:
        """`address` is the socket's, for the log."""
        self._dispatcher: Final = dispatcher
        self._stats: Final = stats
        self._address: Final = address
        self._running: dict[asyncio.Task[Any] | None, Work] = {}

        self.call_id: Final = dispatcher.call_id
        self.screen: Final = dispatcher.screen

    def is_stream(self, method: str) -> bool:
        """Whether this is the name of a stream or an upload."""
        endpoint = self._dispatcher.endpoints.get(method)
        return endpoint is not None and endpoint.kind is not Kind.CALL

    def identify(self, credentials: Credentials) -> Caller:
        """The sender of one datagram."""
        return Caller(credentials.uid, credentials.gid, credentials.pid)

    async def carry_out(self, message: Message, caller: Caller, call_id: str) -> Outcome:
        """Have the dispatcher do it. What it returns is of no use for a call that was answered meanwhile."""
        endpoint = self._dispatcher.endpoints[message.method]
        quotas = self._dispatcher.quotas
        exceeded = take_rate(quotas, caller.uid, endpoint) or take(quotas.calls, caller.uid, endpoint)
        if exceeded is not None:
            return self._dispatcher.failed(refusal(exceeded), message, caller, call_id)
        try:
            return await self._carry_out(message, endpoint, caller, call_id)
        finally:
            quotas.calls.give(caller.uid)

    async def _carry_out(self, message: Message, endpoint: Endpoint, caller: Caller, call_id: str) -> Outcome:
        context = self._dispatcher.call_context(message, endpoint, caller, call_id)
        waiting = _Waiting()
        work = Work(waiting, message, endpoint, context, message.meta.get("deadline_usec"))
        if message.fingerprint is not None and (known := self._dispatcher.recall(work)) is not None:
            return known
        task = asyncio.current_task()
        self._running[task] = work
        try:
            await self._dispatcher.carry_out(work)
        finally:
            del self._running[task]
        if work.carried is not None:  # a datagram takes none along (protocol §18.4)
            work.carried.close()
            return ErrorObject(ErrorCode.INTERNAL_ERROR, "descriptors need a connection", {})
        return waiting.outcome

    def answered(self, task: asyncio.Task[Any]) -> None:
        """Let its handler know that what it does is in vain."""
        work = self._running.get(task)
        if work is not None:
            work.settle()
            work.context.cancel()

    def failed(
        self, error: ErrorObject, message: Message | None, caller: Caller, call_id: str
    ) -> ErrorObject:
        """Count and log it."""
        return self._dispatcher.failed(error, message, caller, call_id)

    def not_served(self, error: ErrorObject, message: Message, caller: Caller, call_id: str) -> ErrorObject:
        """Count and log it."""
        self._stats.calls_served -= 1
        return self._dispatcher.failed(error, message, caller, call_id)

    def reply_received(self, body: bytes, caller: Caller) -> None:  # noqa: ARG002 - superd asks nobody
        """Log it: superd asks nobody."""
        self._dispatcher.failed(_A_REPLY, None, caller, self.call_id(None))

    def datagram_dropped(self, datagram: Datagram, reason: str) -> None:
        """Count and log it. What came before its socket unit had PassCredentials=yes is such a one."""
        self._stats.datagrams_dropped += 1
        get_logger().warning(
            "datagram dropped",
            message_id=MessageId.DATAGRAM_DROPPED,
            reason=f"{reason}: does its socket unit have PassCredentials=yes?",
            listener=self._address,
            sender=show_sender(datagram.sender),
        )

    def reply_dropped(self, call: DatagramCall[Caller], reason: str) -> None:
        """Count and log it."""
        self._stats.replies_dropped += 1
        get_logger().warning(
            "reply dropped",
            message_id=MessageId.REPLY_DROPPED,
            call_id=call.call_id,
            method=call.message.method if call.message is not None else None,
            peer_uid=call.caller.uid,
            peer_pid=call.caller.pid,
            peer_unit=call.caller.unit,
            reason=reason,
            sender=show_sender(call.sender),
        )

    def read_failed(self, error: OSError) -> None:
        """Log it."""
        get_logger().error(
            "cannot read datagrams",
            message_id=MessageId.ACCEPT_FAILED,
            reason=error.strerror,
            listener=self._address,
        )


class DatagramListener:
    """Serves one datagram socket. `on_closed` is called once, after `drain`: all is answered, the socket closed."""

    def __init__(
        self,
        listener: Listener,
        *,
        dispatcher: Dispatcher,
        parse: ParseCall,
        limits: SessionLimits,
        stats: Stats,
        on_closed: Callable[["DatagramListener"], None],
    ) -> None:
        """Prepare; nothing happens before `start`."""
        self._listener: Final = listener
        self._on_closed: Final = on_closed
        self._server: Final = DatagramServer(
            listener.sock,
            DatagramHost(dispatcher, stats, listener.address),
            parse=parse,
            frame_limit=limits.frame_size,
            calls_of_user=limits.calls_in_flight,
        )
        #: Set once it drains: ends when all is answered.
        self.finishing: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def is_quiet(self) -> bool:
        """Whether no call runs and no reply waits."""
        return self._server.is_quiet

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to read."""
        self._loop = loop
        self._server.start(loop)

    def limit(self, limits: SessionLimits) -> None:
        """Keep to these limits from now on."""
        self._server.limit(limits.frame_size, limits.calls_in_flight)

    def drain(self) -> None:
        """Take no more, carry out what was read, answer, close.

        What waits in a socket of our own is read, and its senders get EPIPE from here on. What waits in one of systemd's
        is left to the next process. May be repeated.
        """
        if self.finishing is not None:
            return
        self._listener.unlink()
        self._server.stop_reading(refuse_more=not self._listener.activated)
        self.finishing = self._loop.create_task(self._finish())

    def cancel(self) -> None:
        """Cancel what still runs; each call is answered so."""
        self._server.cancel_calls()

    def abort(self) -> None:
        """Close at once; replies that wait are dropped."""
        if self.finishing is not None:
            self.finishing.cancel()
        self._close()

    async def _finish(self) -> None:
        await self._server.wait_idle()
        self._close()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._server.close()
            self._listener.close()
            self._on_closed(self)
