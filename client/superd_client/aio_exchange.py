"""How the tasks of a loop exchange messages with a server: over one connection, with no task of their own."""

import asyncio
import contextlib
from typing import Final

from superd_client.address import Address
from superd_client.aio_link import TaskCall, TaskLink
from superd_client.arguments import CallIds
from superd_client.calls import ATTEMPTS
from superd_client.errors import CallTimeout, ConnectFailed, SuperdError
from superd_client.sockets import WAIT_MAX, backoff_delays, connect
from superd_client.wire.envelope import Reply, Result


class TaskExchange:
    """The connection that the tasks of a client share. Its methods take a call through, or a part of one."""

    #: The links that are not lost, the one for new calls among them; others wait for the last replies.
    links: tuple[TaskLink, ...] = ()

    def __init__(self, address: Address, frame_limit: int) -> None:
        """Connect to nothing yet, and belong to no loop yet."""
        self._address: Final = address
        self._frame_limit: Final = frame_limit
        self.closed = False
        self.ids: Final = CallIds()
        self.link: TaskLink | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connecting: Final = asyncio.Lock()

    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop; raises RuntimeError if it is not the one that this client belongs to."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            message = "this client was used in another event loop before: make a client for each loop"
            raise RuntimeError(message)
        return loop

    def close(self) -> None:
        """Close the connection, for good."""
        if self._loop is not None and not self._loop.is_closed():
            self.loop()
        self.closed = True
        for link in self.links:
            link.lose("the client was closed")
        self.link, self.links = None, ()

    # --- whole calls ---------------------------------------------------------------------------------------------

    async def carry_out(self, call: TaskCall, params: bytes) -> Reply:
        """Write the request of `call`, on a link that is there or a new one, and wait for its reply."""
        try:
            return await self._carry_out(call, params)
        except BaseException:
            call.discard()
            raise

    async def _carry_out(self, call: TaskCall, params: bytes) -> Reply:
        attempts = ATTEMPTS
        while True:
            attempts -= 1
            link = self._open_link(call) or await self._await_link(call)
            try:
                link.send(call, params)
                await call.future
            except BaseException:
                link.give_up(call)
                raise
            if call.oneway:
                link.withdraw(call)
            end = call.end
            if type(end) is Result:
                return end
            if await self.begins_again(call):
                attempts = ATTEMPTS
            elif isinstance(end, SuperdError):
                self._check_again(call, link, end, attempts)
            elif end is not None:
                return end

    def _check_again(self, call: TaskCall, link: TaskLink, error: SuperdError, attempts: int) -> None:
        """Prepare `call` to be written once more where the link went before it was; else raise what ended it."""
        if isinstance(error, ConnectFailed):
            if self.closed:
                raise call.closed() from error
            if link.hung_up and attempts:
                call.renew()
                return
        raise error

    async def begins_again(self, call: TaskCall) -> bool:
        """Whether `call` has ended and is to be sent once more; pauses before that."""
        pause = None if self.closed else call.retry_pause()
        if pause is None:
            return False
        await asyncio.sleep(pause)
        call.renew()
        return True

    def forget(self, call: TaskCall) -> None:
        """Give up all that `call` holds, and tell the server. May be repeated."""
        if call.link is not None:
            call.link.give_up(call)

    def forget_later(self, call: TaskCall) -> None:
        """The same for a finalizer, which may run in any thread and in the middle of anything."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed; the link ends with the client
                self._loop.call_soon_threadsafe(self.forget, call)

    # --- the parts of a call -------------------------------------------------------------------------------------

    async def send(self, call: TaskCall, params: bytes) -> TaskLink:
        """Write the request of a stream or an upload; returns its link once it is written, or the call has ended."""
        attempts = ATTEMPTS
        while True:
            attempts -= 1
            link = self._open_link(call) or await self._await_link(call)
            link.send(call, params)
            try:
                while not call.sent and call.end is None:
                    await call.wait("not written")
            except CallTimeout:
                if link.withdraw(call, cancel=True):
                    raise
                # A frame that is written in part is written to its end, and may be carried out.
                raise call.timed_out(sent=True) from None
            if call.sent or not isinstance(call.end, SuperdError):
                return link
            self._check_again(call, link, call.end, attempts)

    def _open_link(self, call: TaskCall) -> TaskLink | None:
        """The link, perhaps a new one; None if the server's backlog is full."""
        if self.closed:
            raise call.closed()
        if self.link is not None and self.link.check():
            return self.link
        try:
            channel = connect(self._address)
        except OSError as error:
            raise call.refused_by_kernel(self._address, error) from error
        if channel is None:
            return None
        self.link = TaskLink(channel, self._frame_limit, self.loop())
        self.links = (*(link for link in self.links if not link.lost), self.link)
        return self.link

    async def _await_link(self, call: TaskCall) -> TaskLink:
        """Wait while the server's backlog is full; one task tries for all."""
        delays = backoff_delays()
        phase = "no room in the server's backlog"
        try:
            async with asyncio.timeout(min(call.time_left(phase), WAIT_MAX)), self._connecting:
                while (link := self._open_link(call)) is None:  # noqa: ASYNC110 - no event tells it
                    await asyncio.sleep(next(delays))
                return link
        except TimeoutError as error:
            raise call.timed_out(phase, sent=False) from error
