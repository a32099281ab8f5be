"""Listeners -> sessions: opens a session for each connection that is admitted, and ends them all."""

import asyncio
import contextvars
import itertools
import select
import socket
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from superd.acceptor import Acceptor
from superd.admission import Admission
from superd.departures import Departures
from superd.dispatch import Dispatcher
from superd.fastpath import FastPath
from superd.handover import Saved
from superd.listeners import Listener
from superd.pace import Pace
from superd.packets import PacketTransport
from superd.peer import Caller
from superd.readiness import Readiness
from superd.session import Session, SessionLimits
from superd.stalls import Stalls, Timeouts
from superd.stats import Stats
from superd.transport import StreamTransport, Transport
from superd_client.address import SocketKind
from superd_client.parser import CallParser

if TYPE_CHECKING:
    from superd.datagrams import DatagramListener

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
        parse: CallParser,
        limits: SessionLimits,
        timeouts: Timeouts,
        stats: Stats,
        on_change: Callable[[], None],
    ) -> None:
        """`timeouts` are those of peers that hold memory and do nothing about it."""
        self.listeners: Final = tuple(listeners)
        self._dispatcher = dispatcher
        self._parse = parse
        self._fast_path = FastPath(dispatcher, parse)
        self._limits = limits
        self._stats = stats
        self._on_change = on_change
        self._sessions: set[Session] = set()
        self._numbers = itertools.count(1)
        self.departures: Final = Departures()
        self._datagrams: set[DatagramListener] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._accepts_no_more = False
        self._admission = Admission[Session](dispatcher.quotas)
        self._stalls = Stalls(lambda: self._sessions, timeouts)
        #: Bound once, and not for each connection.
        self._on_session_closed: Final = self._session_closed
        self._may_stall: Final = self._stalls.start

    @property
    def sessions(self) -> Collection[Session]:
        """The connections that are open."""
        return self._sessions

    @property
    def frame_size(self) -> int:
        """Bytes of a frame, at most."""
        return self._limits.frame_size

    def limit(self, limits: SessionLimits, timeouts: Timeouts) -> None:
        """Keep to these limits from now on. What is over one of them stays, and nothing is added to it."""
        self._limits = limits
        self._stalls.limit(timeouts)
        for served in self._served():
            served.limit(limits)

    def start(self, saved: Iterable[Saved] = ()) -> None:
        """Go on with the connections of the process before this one, and begin to accept."""
        self._loop = asyncio.get_running_loop()
        self._dispatcher.base_context = contextvars.copy_context()
        self._readiness = Readiness(self._loop)
        self._pace = Pace(self._loop)
        self._acceptor = Acceptor(self._dispatcher, self._admission, self._pace, self._admit)
        for each in saved:
            self._take_over(each)
        for listener in self.listeners:
            listener.sock.setblocking(False)
            if listener.kind is SocketKind.DATAGRAM:
                self._serve_datagrams(listener)
            else:
                self._acceptor.listen(listener)

    def _serve_datagrams(self, listener: Listener) -> None:
        from superd.datagrams import DatagramListener  # noqa: PLC0415 - few serve datagrams, and all would wait for it

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

    def _datagrams_closed(self, served: "DatagramListener") -> None:
        self._datagrams.discard(served)
        self._check_idle()

    def _admit(self, sock: socket.socket, kind: SocketKind, caller: Caller) -> None:
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
        self._admission.charge(caller.uid)
        self._open(sock, SocketKind(sock.type), caller).resume(saved)

    def _open(self, sock: socket.socket, kind: SocketKind, caller: Caller) -> Session:
        session = Session(
            number=next(self._numbers),
            caller=caller,
            dispatcher=self._dispatcher,
            parse=self._parse,
            fast_path=self._fast_path,
            limits=self._limits,
            pace=self._pace,
            may_stall=self._may_stall,
            on_closed=self._on_session_closed,
            packets=kind is SocketKind.SEQPACKET,
        )
        self._sessions.add(session)
        self._admission.entered(caller.uid, session)
        self._idle.clear()
        self._stats.connections_open += 1
        session.start(self._loop, self._transport(sock, kind, session))
        self._on_change()
        return session

    def _transport(self, sock: socket.socket, kind: SocketKind, session: Session) -> Transport:
        if kind is SocketKind.SEQPACKET:
            return PacketTransport(self._loop, sock, session, self._readiness, self._limits.frame_size)
        return StreamTransport(self._loop, sock, session, self._readiness)

    def _session_closed(self, session: Session) -> None:
        self._sessions.discard(session)
        self.departures.left(session)
        self._admission.left(session.caller.uid, session)
        self._stats.connections_open -= 1
        self._check_idle()
        self._on_change()

    def _check_idle(self) -> None:
        if not (self._sessions or self._datagrams):
            self._idle.set()

    @property
    def is_quiet(self) -> bool:
        """Whether nobody is connected, nothing runs or is held for anybody, also on a thread, and no reply waits."""
        return (
            not self._sessions
            and self._stats.calls_in_flight == 0
            and all(served.is_quiet for served in self._datagrams)
            and not any(quota.users() for quota in self._dispatcher.quotas.all())
        )

    def retire(self) -> bool:
        """Take nothing more, if nothing has come by then; else go on as before, and False.

        The order is what loses nothing: accept no more, then look, then go. What comes after the look stays in the queues of
        sockets that somebody else keeps open: to be called only where all of them are systemd's.
        """
        accepting = [each for each in self.listeners if each.kind is not SocketKind.DATAGRAM]
        for listener in accepting:
            self._acceptor.stop(listener, accept_the_rest=False)
        if not self.is_quiet or self._has_work_waiting():
            for listener in accepting:
                self._acceptor.listen(listener)
            return False
        self._stop_accepting()
        for served in tuple(self._datagrams):
            served.drain()
        return True

    def _has_work_waiting(self) -> bool:
        """Whether a connection or a datagram waits in the queue of a listening socket."""
        queues = select.poll()
        for listener in self.listeners:
            queues.register(listener.sock, select.POLLIN)
        return bool(queues.poll(0))

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
        self._close()
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
        await _ended_within(self._tasks(streams=False) | self._finishing(), timeout)
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
        self._close()

    def _tasks(self, *, streams: bool) -> set[asyncio.Task[None]]:
        return {task for session in self._sessions for task in session.tasks(streams=streams)}

    def _finishing(self) -> set[asyncio.Task[None]]:
        return {served.finishing for served in self._datagrams if served.finishing is not None}

    async def _all_ended_by(self, deadline: float) -> bool:
        """Whether nothing ran any more by `deadline`, in seconds of time.monotonic()."""
        while tasks := self._tasks(streams=False) | self._tasks(streams=True) | self._finishing():
            if not await _ended_within(tasks, deadline - time.monotonic()):
                return False
        return True

    def _close(self) -> None:
        """Stop every timer and give back every descriptor."""
        self._readiness.close()
        self._acceptor.close()
        self._stalls.close()
        self._dispatcher.lookout.close()
        self._dispatcher.deadlines.close()
        self._dispatcher.peers.limit.end_window()

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
            # What waits to be accepted is ours alone; with systemd the next process accepts it.
            self._acceptor.stop(listener, accept_the_rest=not listener.activated)
            listener.close()

    def _served(self) -> "tuple[Session | DatagramListener, ...]":
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
