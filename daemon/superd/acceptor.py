"""Accepts connections: by the shares of their users, a few in each turn, and also where descriptors run out."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final

from superd.admission import EXHAUSTED, Admission
from superd.charges import refusal
from superd.descriptor_limit import Reserve
from superd.dispatch import Dispatcher
from superd.journal import MessageId, get_logger
from superd.listeners import Listener
from superd.pace import Pace
from superd.peer import Caller
from superd.peer_socket import kernel_has_peer_pidfd
from superd.quota import Exceeded
from superd.session import Session
from superd_client.address import SocketKind
from superd_client.ancillary import passes_more, receive_descriptors_only
from superd_client.wire.errors import ErrorObject
from superd_client.wire.server import ServerConnection

#: Seconds without accepting after it failed and no descriptor could be given up for it. The connections wait in the
#: backlog.
_PAUSE: Final = 0.1

#: Seconds between two lines that say that it fails.
_TELL_AGAIN: Final = 10.0

Accepted = Callable[[socket.socket, SocketKind, Caller], None]


class Acceptor:
    """Accepts on listening sockets from `listen` to `stop`. `on_accepted` gets who was admitted and charged."""

    def __init__(
        self, dispatcher: Dispatcher, admission: Admission[Session], pace: Pace, on_accepted: Accepted
    ) -> None:
        """Nothing is accepted yet; a descriptor is kept in reserve from here on."""
        self._loop = asyncio.get_running_loop()
        self._dispatcher = dispatcher
        self._admission = admission
        self._pace = pace
        self._on_accepted = on_accepted
        kernel_has_peer_pidfd()  # takes descriptors to find out, and remembers: there may be none later
        self._reserve = Reserve()
        self._retries: dict[Listener, asyncio.TimerHandle] = {}
        #: Those whose connections would pass more than descriptors.
        self._talkative: set[Listener] = set()
        self._told_at: float | None = None

    def listen(self, listener: Listener) -> None:
        """Accept what comes."""
        self._retries.pop(listener, None)
        self._reserve.fill()
        if passes_more(listener.sock):
            self._talkative.add(listener)
        self._loop.add_reader(listener.sock.fileno(), self.accept, listener)

    def stop(self, listener: Listener, *, accept_the_rest: bool) -> None:
        """Accept no more, but for what waits already where `accept_the_rest`; else that stays where it is."""
        self._loop.remove_reader(listener.sock.fileno())
        while accept_the_rest and self.accept(listener):
            pass
        self._forget_retry(listener)

    def close(self) -> None:
        """Give the reserve back."""
        self._reserve.spend()

    def accept(self, listener: Listener) -> bool:
        """Accept some connections; whether more may wait."""
        is_talkative = listener in self._talkative
        for _ in range(self._pace.accepts):
            try:
                sock = self._accept_one(listener)
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return False
            except OSError as error:
                self._tell(listener, error)
                self._pause(listener)
                return False
            if is_talkative:
                receive_descriptors_only(sock)
            self._admit(sock, listener.kind)
            self._reserve.fill()
        self._pace.leave_waiting()
        return True

    def _accept_one(self, listener: Listener) -> socket.socket:
        """Accept, with the reserve where there is no other descriptor; raises OSError.

        accept(2) wants a descriptor before it looks whether anybody waits.
        """
        try:
            return _accept(listener)
        except OSError as error:
            if error.errno not in EXHAUSTED or not self._reserve.spend():
                raise
            exhausted = error
        try:
            sock = _accept(listener)
        except OSError:
            self._reserve.fill()
            raise
        self._tell(listener, exhausted)
        return sock

    def _admit(self, sock: socket.socket, kind: SocketKind) -> None:
        caller = Caller.from_socket(sock)
        exceeded = self._admission.admit(caller.uid)
        if exceeded is not None:
            self._turn_away(sock, caller, exceeded)
        elif self._reserve.is_full or self._make_room(caller.uid):
            self._on_accepted(sock, kind, caller)
        else:
            self._admission.withdraw(caller.uid)
            self._turn_away(sock, caller, self._admission.exhausted(caller.uid))

    def _make_room(self, uid: int) -> bool:
        """Close the connection that has to go for the one that has the last descriptor; whether there was one."""
        victim = self._admission.to_shed(uid)
        if victim is not None:
            victim.shed(_no_descriptors(self._admission.exhausted(victim.caller.uid)))
        return victim is not None

    def _turn_away(self, sock: socket.socket, caller: Caller, exceeded: Exceeded) -> None:
        """Say why, as far as the kernel takes it at once, and close."""
        call_id = self._dispatcher.call_id(None)
        error = _no_descriptors(exceeded) if exceeded.resource == "descriptors" else refusal(exceeded)
        self._dispatcher.peers.refused(caller, call_id, error)
        with sock, contextlib.suppress(OSError):
            sock.setblocking(False)
            sock.send(ServerConnection().send_refusal(None, error.with_data(call_id=call_id)))

    def _tell(self, listener: Listener, error: OSError) -> None:
        """Log that it fails, now and then."""
        now = self._loop.time()
        if self._told_at is None or now - self._told_at >= _TELL_AGAIN:
            self._told_at = now
            get_logger().error(
                "cannot accept connections",
                message_id=MessageId.ACCEPT_FAILED,
                reason=error.strerror,
                listener=listener.address,
            )

    def _pause(self, listener: Listener) -> None:
        """Wait a little: readiness is level-triggered and would call us again at once, for ever."""
        self._loop.remove_reader(listener.sock.fileno())
        # A stop accepts also while a retry waits, which would else come when the socket is closed.
        self._forget_retry(listener)
        self._retries[listener] = self._loop.call_later(_PAUSE, self.listen, listener)

    def _forget_retry(self, listener: Listener) -> None:
        retry = self._retries.pop(listener, None)
        if retry is not None:
            retry.cancel()


def _accept(listener: Listener) -> socket.socket:
    """As socket.accept, which asks its own socket of what family and type it is: 4 us of the 20 of a connection."""
    fd, _ = listener.sock._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - CPython's own part of socket.accept
    return socket.socket(socket.AF_UNIX, listener.kind.value, 0, fd)


def _no_descriptors(exceeded: Exceeded) -> ErrorObject:
    return refusal(exceeded)._replace(message="the server has no descriptors left")
