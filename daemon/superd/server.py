"""Listeners -> sessions: accepts connections, admits or refuses them, and ends them all."""

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from superd.datagrams import DatagramListener
from superd.departures import Departures
from superd.dispatch import Dispatcher
from superd.handover import Saved
from superd.hangups import HangupWatch
from superd.journal import MessageId, get_logger
from superd.listeners import Listener
from superd.packets import PacketTransport
from superd.peer import Caller
from superd.session import Session, SessionLimits
from superd.stats import Stats
from superd.transport import StreamTransport, Transport
from superd_client.address import SocketKind
from superd_client.ancillary import receive_descriptors_only
from superd_client.wire.errors import ErrorCode, ErrorObject
from superd_client.wire.server import ParseCall, ServerConnection

#: Connections accepted before the loop gets a turn: a flood of connects must not starve the peers that are served.
_ACCEPTS_PER_TURN: Final = 32

#: Seconds without accepting after it failed, as a rule for want of descriptors. The connections wait in the backlog.
_ACCEPT_PAUSE: Final = 0.1

#: Seconds that cancelled handlers have to clean up before their connections are closed.
_CANCEL_GRACE: Final = 1.0

#: Seconds that streams have to end by themselves before a restart ends them; everybody is served meanwhile.
_STREAM_GRACE: Final = 1.0


class Server:
    """Serves `listeners` until it is drained. `on_change` is called when a count in `stats` may have changed."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        *,
        dispatcher: Dispatcher,
        parse: ParseCall,
        limits: SessionLimits,
        connections: int,
        stats: Stats,
        on_change: Callable[[], None],
    ) -> None:
        """Admit at most `connections` peers at a time."""
        self.listeners: Final = tuple(listeners)
        self._dispatcher = dispatcher
        self._parse = parse
        self._limits = limits
        self._connections = connections
        self._stats = stats
        self._on_change = on_change
        self._sessions: set[Session] = set()
        self._numbers = itertools.count(1)
        self.departures: Final = Departures()
        self._datagrams: set[DatagramListener] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._retries: dict[Listener, asyncio.TimerHandle] = {}
        self._accept_is_failing = False
        self._accepts_no_more = False

    @property
    def sessions(self) -> Collection[Session]:
        """The connections that are open."""
        return self._sessions

    @property
    def frame_size(self) -> int:
        """Bytes of a frame, at most."""
        return self._limits.frame_size

    def limit(self, limits: SessionLimits, connections: int) -> None:
        """Keep to these limits from now on. What is over one of them stays, and nothing is added to it."""
        self._limits = limits
        self._connections = connections
        for served in self._served():
            served.limit(limits)

    def start(self, saved: Iterable[Saved] = ()) -> None:
        """Go on with the connections of the process before this one, and begin to accept."""
        self._loop = asyncio.get_running_loop()
        self._hangups = HangupWatch(self._loop)
        for each in saved:
            self._take_over(each)
        for listener in self.listeners:
            listener.sock.setblocking(False)
            if listener.kind is SocketKind.DATAGRAM:
                self._serve_datagrams(listener)
            else:
                self._resume(listener)

    def _serve_datagrams(self, listener: Listener) -> None:
        served = DatagramListener(
            listener,
            dispatcher=self._dispatcher,
            parse=self._parse,
            limits=self._limits,
            stats=self._stats,
            on_closed=self._datagrams_closed,
        )
        self._datagrams.add(served)
        self._idle.clear()
        served.start(self._loop)

    def _datagrams_closed(self, served: DatagramListener) -> None:
        self._datagrams.discard(served)
        self._check_idle()

    def _resume(self, listener: Listener) -> None:
        self._loop.add_reader(listener.sock.fileno(), self._accept, listener)

    def _accept(self, listener: Listener) -> bool:
        """Accept some connections; whether more may wait."""
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                sock, _ = listener.sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return False
            except OSError as error:
                self._accept_failed(listener, error)
                return False
            self._accept_is_failing = False
            self._admit(sock, listener.kind)
        return True

    def _accept_failed(self, listener: Listener, error: OSError) -> None:
        """Wait a little: readiness is level-triggered and would call us again at once, for ever."""
        if not self._accept_is_failing:
            self._accept_is_failing = True
            get_logger().error(
                "cannot accept connections",
                message_id=MessageId.ACCEPT_FAILED,
                reason=error.strerror,
                listener=listener.address,
            )
        self._loop.remove_reader(listener.sock.fileno())
        self._retries[listener] = self._loop.call_later(_ACCEPT_PAUSE, self._resume, listener)

    def _admit(self, sock: socket.socket, kind: SocketKind) -> None:
        receive_descriptors_only(sock)
        caller = Caller.from_socket(sock)
        if len(self._sessions) >= self._connections:
            self._turn_away(sock, caller)
            return
        self._stats.connections_accepted += 1
        self._open(sock, kind, caller)

    def _take_over(self, saved: Saved) -> None:
        """Go on with a connection, also where there are more than may be: it was admitted once."""
        sock = socket.socket(fileno=saved.fd)
        try:
            caller = Caller.from_socket(sock)
        except OSError:
            # Cannot be told any more of a peer that has gone meanwhile.
            saved.close_carried()
            sock.close()
            return
        self._open(sock, SocketKind(sock.type), caller).resume(saved)

    def _open(self, sock: socket.socket, kind: SocketKind, caller: Caller) -> Session:
        session = Session(
            number=next(self._numbers),
            caller=caller,
            dispatcher=self._dispatcher,
            parse=self._parse,
            limits=self._limits,
            on_closed=self._session_closed,
            packets=kind is SocketKind.SEQPACKET,
        )
        self._sessions.add(session)
        self._idle.clear()
        self._stats.connections_open += 1
        session.start(self._loop, self._transport(sock, kind, session))
        self._on_change()
        return session

    def _transport(self, sock: socket.socket, kind: SocketKind, session: Session) -> Transport:
        if kind is SocketKind.SEQPACKET:
            return PacketTransport(self._loop, sock, session, self._hangups, self._limits.frame_size)
        return StreamTransport(self._loop, sock, session, self._hangups)

    def _turn_away(self, sock: socket.socket, caller: Caller) -> None:
        """Say why, as far as the kernel takes it at once, and close."""
        call_id = self._dispatcher.call_id(None)
        data = {
            "call_id": call_id,
            "resource": "connections",
            "used": len(self._sessions),
            "limit": self._connections,
        }
        error = ErrorObject(ErrorCode.RESOURCE_EXHAUSTED, "too many connections", data)
        self._stats.connections_refused += 1
        get_logger().warning(
            "connection refused",
            message_id=MessageId.CONNECTION_REFUSED,
            call_id=call_id,
            peer_uid=caller.uid,
            peer_pid=caller.pid,
            peer_unit=caller.unit,
            code=int(error.code),
            reason=f"{error.message}: {self._connections} are open",
        )
        with sock, contextlib.suppress(OSError):
            sock.setblocking(False)
            sock.send(ServerConnection(frame_limit=self._limits.frame_size).send_refusal(None, error))

    def _session_closed(self, session: Session) -> None:
        self._sessions.discard(session)
        self.departures.left(session)
        self._stats.connections_open -= 1
        self._check_idle()
        self._on_change()

    def _check_idle(self) -> None:
        if not (self._sessions or self._datagrams):
            self._idle.set()

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109 - the calls in flight are cancelled one by one, not this
        """Accept no more, let what runs end, close; whether all ended within `timeout` seconds.

        What has not ended by then is cancelled and answered so.
        """
        self._dispatcher.repeats.closed = True
        self._stop_accepting()
        for served in self._served():
            served.drain()
        ended = await self._idle_within(timeout)
        if not ended:
            await self._cancel_all()
        self._hangups.close()
        self._dispatcher.deadlines.close()
        return ended

    async def suspend(self, timeout: float) -> bool:  # noqa: ASYNC109 - as for drain
        """Accept no more and let what runs end, so that the connections can be saved; whether it did in time.

        What runs when this begins has all of `timeout` seconds, and everybody is served meanwhile. After that nothing
        more is begun. What has not ended by then is cancelled and answered so.
        """
        deadline = time.monotonic() + timeout
        self._stop_accepting()
        for served in tuple(self._datagrams):
            served.drain()
        await _ended_within(self._tasks(streams=False), timeout)
        await _ended_within(self._tasks(streams=True), min(_STREAM_GRACE, deadline - time.monotonic()))
        for session in tuple(self._sessions):
            session.suspend()
        if await self._all_ended_by(deadline):
            return True
        for session in tuple(self._sessions):
            session.stop_calls()
        for served in tuple(self._datagrams):
            served.cancel()
        await self._all_ended_by(time.monotonic() + _CANCEL_GRACE)
        return False

    def save(self) -> dict[Session, Saved]:
        """The connections that were suspended, each to be released or resumed."""
        saved = {session: session.save() for session in self._sessions}
        return {session: each for session, each in saved.items() if each is not None}

    async def close(self) -> None:
        """End what a restart leaves behind."""
        for served in self._served():
            served.abort()
        await self._idle_within(_CANCEL_GRACE)
        self._hangups.close()
        self._dispatcher.deadlines.close()

    def _tasks(self, *, streams: bool) -> set[asyncio.Task[None]]:
        return {task for session in self._sessions for task in session.tasks(streams=streams)}

    async def _all_ended_by(self, deadline: float) -> bool:
        """Whether nothing ran any more by `deadline`, in seconds of time.monotonic()."""
        while tasks := self._tasks(streams=False) | self._tasks(streams=True):
            if not await _ended_within(tasks, deadline - time.monotonic()):
                return False
        return True

    async def _cancel_all(self) -> None:
        for served in self._served():
            served.cancel()
        if await self._idle_within(_CANCEL_GRACE):
            return
        for served in self._served():
            served.abort()
        await self._idle_within(_CANCEL_GRACE)

    def _stop_accepting(self) -> None:
        """May be repeated: where connections cannot be kept, a drain follows."""
        if self._accepts_no_more:
            return
        self._accepts_no_more = True
        self.departures.give_up()
        for listener in self.listeners:
            if listener.kind is SocketKind.DATAGRAM:
                continue  # it is drained as a session is
            self._loop.remove_reader(listener.sock.fileno())
            # What waits to be accepted is ours alone; with systemd the next process accepts it.
            while not listener.activated and self._accept(listener):
                pass
            listener.close()
        for handle in self._retries.values():
            handle.cancel()

    def _served(self) -> tuple[Session | DatagramListener, ...]:
        return (*self._sessions, *self._datagrams)

    async def _idle_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True


async def _ended_within(tasks: set[asyncio.Task[None]], seconds: float) -> bool:
    """Whether all of these ended within so many seconds."""
    if not tasks:
        return True
    _, running = await asyncio.wait(tasks, timeout=max(seconds, 0))
    return not running
