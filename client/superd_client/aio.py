"""The asyncio client: one connection, any number of tasks, and no task of its own.

The loop watches the socket by add_reader and add_writer, so that it is the same on asyncio and on uvloop. A call is
a future that the reply resolves; all deadlines of a connection share one timer.
"""

import asyncio
import heapq
import itertools
import warnings
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self, overload

from typing_extensions import override

from superd_client.address import Address
from superd_client.calls import (
    ATTEMPTS,
    DEFAULT_TIMEOUT,
    Call,
    CallIds,
    check_address,
    check_call_id,
    check_frame_limit,
    check_timeout,
)
from superd_client.contract import Method, P, R
from superd_client.errors import ConnectFailed, SuperdError
from superd_client.link import Link, state_name
from superd_client.sockets import WAIT_MAX, Channel, backoff_delays, connect
from superd_client.wire.envelope import Reply
from superd_client.wire.limits import FRAME_SIZE_DEFAULT


class _Call(Call):
    """A call, and the future that its task awaits."""

    __slots__ = ("deadline", "future")

    def __init__(
        self, method: Method[Any, Any] | str, call_id: str, timeout: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(method, call_id, timeout)
        self.deadline: Final = loop.time() + timeout
        self.future: asyncio.Future[Reply] = loop.create_future()

    @override
    def resolve(self, reply: Reply) -> None:
        if not self.future.done():
            self.future.set_result(reply)

    @override
    def fail(self, error: SuperdError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def renew(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin again after a failure."""
        self.future = loop.create_future()

    def drop(self) -> None:
        """Nobody awaits it any more: keep asyncio from reporting an exception that nobody took."""
        if not self.future.cancel() and not self.future.cancelled():
            self.future.exception()


class _Deadlines:
    """Ends calls whose time is over, with one timer for all of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[_Call], None]) -> None:
        self._loop: Final = loop
        self._expire: Final = expire
        self._numbers: Final = itertools.count()
        self._heap: list[tuple[float, int, _Call]] = []
        self._timer: asyncio.TimerHandle | None = None
        #: How long the heap may become before the calls that have ended are swept out of it.
        self._sweep_at = _SWEEP_MIN

    def watch(self, call: _Call) -> None:
        """End `call` at its deadline, unless it has ended by then."""
        heapq.heappush(self._heap, (call.deadline, next(self._numbers), call))
        if len(self._heap) >= self._sweep_at:
            self._sweep()
        if self._timer is None or call.deadline < self._timer.when():
            self._set_timer()

    def cancel(self) -> None:
        """End no more calls."""
        self._heap.clear()
        self._set_timer()

    def _sweep(self) -> None:
        self._heap = [entry for entry in self._heap if not entry[2].future.done()]
        heapq.heapify(self._heap)
        self._sweep_at = max(_SWEEP_MIN, 2 * len(self._heap))

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            # No loop takes a timer for the far future; one that fires early is set again.
            when = min(self._heap[0][0], self._loop.time() + WAIT_MAX)
            self._timer = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        now = self._loop.time()
        while self._heap and (self._heap[0][0] <= now or self._heap[0][2].future.done()):
            call = heapq.heappop(self._heap)[2]
            if not call.future.done():
                self._expire(call)
        self._set_timer()


#: Fewest entries of the heap that are worth a sweep.
_SWEEP_MIN: Final = 64


class _Link(Link[_Call]):
    """A link that a loop watches. It knows no client, so that a forgotten client can be collected."""

    def __init__(self, channel: Channel, frame_limit: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(channel, frame_limit)
        self._loop: Final = loop
        self._deadlines: Final = _Deadlines(loop, self._expire)
        #: Set while a write is due: at the end of this turn of the loop, or when the kernel takes more.
        self._write_due = False
        self._watching_room = False
        loop.add_reader(channel.fileno(), self.receive)

    def send(self, call: _Call, params: bytes) -> None:
        """Begin `call`. It is written at once where no other is in flight, else together with what others begin."""
        self.begin(call, params)
        self._deadlines.watch(call)
        if self.calls_in_flight == 1 and not self._write_due:
            self._write()
        elif not self._write_due:
            self._write_due = True
            self._loop.call_soon(self._write)

    @override
    def end_channel(self) -> None:
        """Stop watching the channel, and close it."""
        self._deadlines.cancel()
        descriptor = self.channel.fileno()
        if descriptor >= 0 and not self._loop.is_closed():
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)
        self.channel.shutdown()
        self.channel.close()

    def drop(self) -> None:
        """Lose the link from any thread, also after the loop has gone."""
        try:
            elsewhere = asyncio.get_running_loop() is not self._loop
        except RuntimeError:
            elsewhere = True
        if elsewhere and self._loop.is_running():
            self._loop.call_soon_threadsafe(self.lose, "the client was forgotten")
        else:
            self.lose("the client was forgotten")

    def _write(self) -> None:
        """Write what is queued; watch for room where the kernel does not take all of it."""
        room_wanted = not self.flush()
        if self.lost:
            return
        if room_wanted and not self._watching_room:
            self._loop.add_writer(self.channel.fileno(), self._write)
        elif self._watching_room and not room_wanted:
            self._loop.remove_writer(self.channel.fileno())
        self._watching_room = self._write_due = room_wanted

    def _expire(self, call: _Call) -> None:
        # A frame that is written in part is written to its end, and may be carried out.
        unsent = self.withdraw(call) and not call.sent
        call.fail(call.timed_out("not written" if unsent else "no reply", sent=not unsent))


class AsyncClient:
    """Calls methods of a superd, from any number of tasks of one event loop, over one connection.

    `address` is what protocol §9 says, by default $SUPERD_SOCKET or unix:/run/superd/superd.sock; `timeout` the
    seconds that a call may take unless it says otherwise; `frame_limit` the largest message in bytes. The first call
    connects, and so does the next one after a connection was lost.
    """

    #: The links that are not lost, the one for new calls among them; others wait for the last replies.
    _links: tuple[_Link, ...] = ()

    def __init__(
        self,
        address: str | Address | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        frame_limit: int = FRAME_SIZE_DEFAULT,
    ) -> None:
        """Check the arguments (ValueError). Connects to nothing yet, and belongs to no loop yet."""
        self._address: Final = check_address(address)
        self._timeout: Final = check_timeout(timeout)
        self._frame_limit: Final = check_frame_limit(frame_limit)
        self._closed = False
        self._ids: Final = CallIds()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connecting: Final = asyncio.Lock()
        self._link: _Link | None = None

    @override
    def __repr__(self) -> str:
        """Say where it connects to, and whether it is connected."""
        return f"<{type(self).__name__} {self._address} {state_name(self._link, closed=self._closed)}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if any(not link.lost for link in self._links):
            text = f"unclosed {self!r}"
            for link in self._links:
                link.drop()
            warnings.warn(text, ResourceWarning, source=self, stacklevel=2)

    async def aclose(self) -> None:
        """Close the connection, for good. May be called again.

        Calls of other tasks end: with ConnectionLost if they were sent, else with ClientClosed.
        """
        if self._loop is not None and not self._loop.is_closed():
            self._check_loop()
        self._closed = True
        for link in self._links:
            link.lose("the client was closed")
        self._link, self._links = None, ()

    @overload
    async def call(
        self,
        method: Method[P, R],
        params: P,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it ends the call, not the task
        call_id: str | None = None,
    ) -> R: ...

    @overload
    async def call(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it ends the call, not the task
        call_id: str | None = None,
    ) -> Any: ...

    async def call(
        self,
        method: Method[Any, Any] | str,
        params: Any = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it ends the call, not the task
        call_id: str | None = None,
    ) -> Any:
        """Call `method`, and return its result once it is there.

        `timeout` in seconds covers all of it: connecting, writing, the reply. `call_id` names the call in the
        journals of both sides; one is made if none is given. Cancelling the task gives the call up: the server may
        still carry it out.

        Raises SuperdError; its subclasses and its `outcome` say what happened. ValueError and TypeError are for
        arguments that no call can be made of.
        """
        call = _Call(
            method,
            self._ids.make() if call_id is None else check_call_id(call_id),
            self._timeout if timeout is None else check_timeout(timeout),
            self._check_loop(),
        )
        return call.result(await self._exchange(call, call.method.encode_params(params)))

    async def _exchange(self, call: _Call, params: bytes) -> Reply:
        """Write the request of `call`, on a link that is there or a new one, and wait for its reply."""
        attempts = ATTEMPTS
        while True:
            attempts -= 1
            link = self._open_link(call) or await self._await_link(call)
            try:
                link.send(call, params)
                return await call.future
            except ConnectFailed as error:
                if self._closed:
                    raise call.closed() from error
                if not (link.hung_up and attempts):
                    raise
                call.renew(self._check_loop())
            except BaseException:
                link.withdraw(call)
                call.drop()
                raise

    def _check_loop(self) -> asyncio.AbstractEventLoop:
        """The running loop; raises RuntimeError if it is not the one that this client belongs to."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            message = f"{self!r} was used in another event loop before: make a client for each loop"
            raise RuntimeError(message)
        return loop

    def _open_link(self, call: _Call) -> _Link | None:
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
        self._link = _Link(channel, self._frame_limit, self._check_loop())
        self._links = (*(link for link in self._links if not link.lost), self._link)
        return self._link

    async def _await_link(self, call: _Call) -> _Link:
        """Wait while the server's backlog is full; one task tries for all."""
        delays = backoff_delays()
        try:
            async with asyncio.timeout_at(call.deadline), self._connecting:
                while (link := self._open_link(call)) is None:  # noqa: ASYNC110 - no event tells it
                    await asyncio.sleep(next(delays))
                return link
        except TimeoutError as error:
            raise call.timed_out("no room in the server's backlog", sent=False) from error
