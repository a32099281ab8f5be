"""The blocking client: one connection, any number of threads, and no thread of its own.

All state is guarded by one mutex, which is never held over anything that waits. Threads wait outside it, in one of
three places: poll(2) for bytes to read, the same for bytes to read or room to write, or their own alarm. Of the
threads that wait for replies one, the leader, polls and reads for all; when its own reply has come it wakes one other
to lead. Threads that want to write take turns in the same way, and whose turn it is also connects.

KeyboardInterrupt may arrive at any line. So who leads and whose turn it is are data that the interrupted call can
look at, rather than locks that it might hold; `Client._forget` gives up all that a call holds, and may be repeated.
"""

import os
import threading
import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self, overload
from weakref import WeakSet

from typing_extensions import override

from superd_client.address import Address
from superd_client.calls import (
    ATTEMPTS,
    DEFAULT_TIMEOUT,
    CallIds,
    check_address,
    check_call_id,
    check_frame_limit,
    check_timeout,
)
from superd_client.contract import Method, P, R
from superd_client.errors import SuperdError
from superd_client.link import state_name
from superd_client.sockets import backoff_delays, connect
from superd_client.sync_link import ThreadCall, ThreadLink, Turn
from superd_client.wire.envelope import Reply
from superd_client.wire.limits import FRAME_SIZE_DEFAULT


class Client:
    """Calls methods of a superd, from any number of threads, over one connection.

    `address` is what protocol §9 says, by default $SUPERD_SOCKET or unix:/run/superd/superd.sock; `timeout` the
    seconds that a call may take unless it says otherwise; `frame_limit` the largest message in bytes. The first call
    connects, and so does the next one after a connection was lost. A forked child gets a connection of its own.

    Not to be called from a signal handler or a finalizer: they may interrupt a call of the same client.
    """

    #: The links that are not lost, the one for new calls among them; others wait for the last replies.
    _links: tuple[ThreadLink, ...] = ()

    def __init__(
        self,
        address: str | Address | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        frame_limit: int = FRAME_SIZE_DEFAULT,
    ) -> None:
        """Check the arguments (ValueError). Connects to nothing yet."""
        self._address: Final = check_address(address)
        self._timeout: Final = check_timeout(timeout)
        self._frame_limit: Final = check_frame_limit(frame_limit)
        self._closed = False
        self._settle()
        _clients.add(self)

    def _settle(self) -> None:
        """Make what each process has for itself: first on creation, then in every forked child."""
        self._mutex = threading.Lock()
        self._writing = Turn()
        self._ids = CallIds()
        self._link: ThreadLink | None = None
        links, self._links = self._links, ()
        for link in links:
            link.disown()

    @override
    def __repr__(self) -> str:
        """Say where it connects to, and whether it is connected."""
        return f"<{type(self).__name__} {self._address} {state_name(self._link, closed=self._closed)}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if any(not link.lost for link in self._links):
            text = f"unclosed {self!r}"
            for link in self._links:
                link.end_channel()
            warnings.warn(text, ResourceWarning, source=self, stacklevel=2)

    def close(self) -> None:
        """Close the connection, for good. May be called again, and from any thread.

        Calls of other threads end: with ConnectionLost if they were sent, else with ClientClosed.
        """
        with self._mutex:
            self._closed = True
            for link in self._links:
                link.lose("the client was closed")
            self._link, self._links = None, ()
            self._writing.wake_all()

    @overload
    def call(
        self, method: Method[P, R], params: P, *, timeout: float | None = None, call_id: str | None = None
    ) -> R: ...

    @overload
    def call(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        call_id: str | None = None,
    ) -> Any: ...

    def call(
        self,
        method: Method[Any, Any] | str,
        params: Any = None,
        *,
        timeout: float | None = None,
        call_id: str | None = None,
    ) -> Any:
        """Call `method`, and return its result once it is there.

        `timeout` in seconds covers all of it: connecting, the wait for other threads' writes, writing, the reply.
        `call_id` names the call in the journals of both sides; one is made if none is given.

        Raises SuperdError; its subclasses and its `outcome` say what happened. ValueError and TypeError are for
        arguments that no call can be made of.
        """
        call = ThreadCall(
            method,
            self._ids.make() if call_id is None else check_call_id(call_id),
            self._timeout if timeout is None else check_timeout(timeout),
        )
        body = call.method.encode_params(params)
        try:
            try:
                reply = self._await_reply(self._send(call, body), call)
            except BaseException:
                self._forget(call)
                raise
        except BaseException:
            self._forget(call)  # once more: an interrupt may have hit the first time
            raise
        return call.result(reply)

    def _send(self, call: ThreadCall, params: bytes) -> ThreadLink:
        """Write the request of `call` to its end; returns where its reply will come."""
        with self._mutex:
            link = self._link
            if link is not None and self._writing.take(call) and self._begin(link, call, params):
                return link  # the usual case, which waits for nothing
        self._await_turn(call)
        for _ in range(ATTEMPTS):
            link = call.link or self._await_link(call)
            if self._write(link, call, params):
                return link
            call.link = None
        raise (
            call.end if isinstance(call.end, SuperdError) else call.unconnected("the server hangs up at once")
        )

    def _begin(self, link: ThreadLink, call: ThreadCall, params: bytes) -> bool:
        """Begin to write, unless the link is lost; returns whether all is written, and leaves the turn then."""
        if not link.check():
            return False
        call.link, call.end = link, None
        link.begin(call, params)
        link.flush()
        if call.sent:
            self._writing.leave(call)
        return call.sent

    def _await_turn(self, call: ThreadCall) -> None:
        while True:
            with self._mutex:
                if self._closed:
                    raise call.closed()
                if self._writing.take(call):
                    return
            call.sleep(call.time_left("not written"))

    def _await_link(self, call: ThreadCall) -> ThreadLink:
        """Connect, unless that is done; wait while the server's backlog is full. Needs the turn."""
        delays = backoff_delays()
        while True:
            with self._mutex:
                if (link := self._open_link(call)) is not None:
                    return link
                call.set_alarm()
            call.sleep(min(next(delays), call.time_left("no room in the server's backlog")))

    def _open_link(self, call: ThreadCall) -> ThreadLink | None:
        """The link, perhaps a new one; None if the server's backlog is full."""
        if self._closed:
            raise call.closed()
        if self._link is not None and self._link.check():
            return self._link
        try:
            channel = connect(self._address)
        except OSError as error:
            raise call.refused_by_kernel(self._address, error) from error
        if channel is None:
            return None
        self._link = ThreadLink(channel, self._frame_limit)
        self._links = (*(link for link in self._links if not link.lost), self._link)
        return self._link

    def _write(self, link: ThreadLink, call: ThreadCall, params: bytes) -> bool:
        """Write to the end, and leave the turn; returns False, and keeps the turn, if the server had hung up.

        It reads too while it waits for room: a server whose replies nobody takes may read no more.
        """
        with self._mutex:
            if call.link is not link and self._begin(link, call, params):
                return True
            if call.link is not link:
                return False
        while True:
            with self._mutex:
                link.receive()
                if link.flush():
                    link.release(call)
                    return self._conclude_write(link, call)
                link.await_room(call)
            link.channel.wait_ready(call.time_left("not written"))

    def _conclude_write(self, link: ThreadLink, call: ThreadCall) -> bool:
        if not call.sent:
            if self._closed:
                raise call.closed()
            if link.hung_up:
                return False
        self._writing.leave(call)
        return True

    def _await_reply(self, link: ThreadLink, call: ThreadCall) -> Reply:
        """Wait for the reply; read for all while no other thread does."""
        leads = False
        while True:
            with self._mutex:
                if leads:
                    link.receive()
                if (end := call.end) is not None:
                    link.release(call)
                    break
                leads = link.lead(call)
            seconds = call.time_left("no reply")
            if leads:
                link.channel.wait_readable(seconds)
            else:
                call.sleep(seconds)
        if isinstance(end, SuperdError):
            raise end
        return end

    def _forget(self, call: ThreadCall) -> None:
        """Give up all that `call` holds. May be repeated, and after any part of a call."""
        with self._mutex:
            link = call.link
            if link is not None:
                link.check()
                if not link.withdraw(call):
                    link.lose("a call ended before its whole frame was written")
                link.release(call)
            self._writing.leave(call)


_clients: Final[WeakSet[Client]] = WeakSet()


def _settle_in_child() -> None:
    for client in tuple(_clients):
        client._settle()  # noqa: SLF001 - of this module


os.register_at_fork(after_in_child=_settle_in_child)
