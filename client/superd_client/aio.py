"""The asyncio client: one connection, any number of tasks, and no task of its own.

The loop watches the socket by add_reader and add_writer, so that it is the same on asyncio and on uvloop. A call is
a future that the reply resolves; all deadlines of a connection share one timer.
"""

import asyncio
import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self, overload

from typing_extensions import override

from superd_client.address import Address
from superd_client.aio_link import TaskCall, TaskLink
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
from superd_client.errors import ConnectFailed
from superd_client.link import state_name
from superd_client.sockets import backoff_delays, connect
from superd_client.wire.envelope import Reply
from superd_client.wire.limits import FRAME_SIZE_DEFAULT


class AsyncClient:
    """Calls methods of a superd, from any number of tasks of one event loop, over one connection.

    `address` is what protocol §9 says, by default $SUPERD_SOCKET or unix:/run/superd/superd.sock; `timeout` the
    seconds that a call may take unless it says otherwise; `frame_limit` the largest message in bytes. The first call
    connects, and so does the next one after a connection was lost.
    """

    #: The links that are not lost, the one for new calls among them; others wait for the last replies.
    _links: tuple[TaskLink, ...] = ()

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
        self._link: TaskLink | None = None

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
        call = TaskCall(
            method,
            self._ids.make() if call_id is None else check_call_id(call_id),
            self._timeout if timeout is None else check_timeout(timeout),
            self._check_loop(),
        )
        return call.result(await self._exchange(call, call.method.encode_params(params)))

    async def _exchange(self, call: TaskCall, params: bytes) -> Reply:
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

    def _open_link(self, call: TaskCall) -> TaskLink | None:
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
        self._link = TaskLink(channel, self._frame_limit, self._check_loop())
        self._links = (*(link for link in self._links if not link.lost), self._link)
        return self._link

    async def _await_link(self, call: TaskCall) -> TaskLink:
        """Wait while the server's backlog is full; one task tries for all."""
        delays = backoff_delays()
        try:
            async with asyncio.timeout_at(call.deadline), self._connecting:
                while (link := self._open_link(call)) is None:  # noqa: ASYNC110 - no event tells it
                    await asyncio.sleep(next(delays))
                return link
        except TimeoutError as error:
            raise call.timed_out("no room in the server's backlog", sent=False) from error
