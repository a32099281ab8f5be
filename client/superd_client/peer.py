"""Two programs that are each other's server, over datagrams: neither accepts, and each has an address of its own.

async with DatagramPeer("unix-dgram:/run/a.sock", {greet: handle_greet}) as peer:
    item = await peer.call("unix-dgram:/run/b.sock", lookup, Lookup(sku="A-1"))
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, overload

from superd_client.address import Address, SocketKind, parse_address
from superd_client.aio_link import TaskCall
from superd_client.arguments import (
    DEFAULT_TIMEOUT,
    CallIds,
    check_call_id,
    check_frame_limit,
    check_timeout,
)
from superd_client.binding import FileId, bind_socket, unlink_socket
from superd_client.contract import Method, P, R
from superd_client.datagram_call import draw_id, explain_unsent, frame_call
from superd_client.datagram_server import DatagramServer
from superd_client.datagrams import (
    ask_for_credentials,
    open_datagram_socket,
    send_datagram,
)
from superd_client.errors import SuperdError
from superd_client.parser import CallParser
from superd_client.peer_host import Handler, Origin, PeerHost
from superd_client.replies import RETRY_FIRST, RETRY_MAX
from superd_client.streams import Stream, Upload
from superd_client.wire.control import dump_cancel
from superd_client.wire.envelope import Failure, Result, parse_reply
from superd_client.wire.errors import RemoteProtocolError
from superd_client.wire.framing import encode_frame
from superd_client.wire.limits import FRAME_SIZE_DEFAULT

#: Calls of one user that a peer carries out at a time; one more is refused (-32002).
CALLS_OF_USER_DEFAULT: Final = 64

#: Seconds for the handlers that run when a peer is closed; then they are cancelled.
CLOSE_PATIENCE: Final = 1.0


class DatagramPeer:
    """A datagram socket at `own`, which serves `handlers` and asks other peers, in one event loop.

    `mode` is that of the socket's file. `on_error` hears of each call that failed in a handler, with its exception, and of
    what could not be delivered or attributed, with a text; by default nobody does.
    """

    def __init__(
        self,
        own: str | Address,
        handlers: Mapping[Method[Any, Any], Handler] | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        frame_limit: int = FRAME_SIZE_DEFAULT,
        calls_of_user: int = CALLS_OF_USER_DEFAULT,
        mode: int = 0o600,
        on_error: Callable[[str, BaseException | None], None] = lambda _text, _error: None,
    ) -> None:
        """Check the arguments (ValueError, TypeError). Binds nothing yet."""
        self._own: Final = _check_address(own)
        self._handlers: Final = _check_handlers(handlers or {})
        self._timeout: Final = check_timeout(timeout)
        self._frame_limit: Final = check_frame_limit(frame_limit)
        self._calls_of_user: Final = calls_of_user
        self._mode: Final = mode
        self._on_error: Final = on_error
        self._ids: Final = CallIds()
        self._pending: dict[str, TaskCall] = {}
        self._file: FileId | None = None
        self._opened = self._closed = False

    @property
    def address(self) -> Address:
        """Where this peer is."""
        return self._own

    # --- its life ----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Take the address, and serve. Raises OSError where that cannot be: EADDRINUSE if another lives there."""
        if self._opened:
            message = "a DatagramPeer is used once: make another"
            raise RuntimeError(message)
        self._loop = asyncio.get_running_loop()
        self._sock = open_datagram_socket()
        try:
            ask_for_credentials(self._sock)
            self._file = bind_socket(self._sock, self._own, self._mode)
        except BaseException:
            self._sock.close()
            raise
        self._opened = True
        self._server: DatagramServer[Origin] = DatagramServer(
            self._sock,
            PeerHost(self._handlers, self._ids, self._take_reply, self._on_error),
            parse=CallParser(handled for handled, _ in self._handlers.values()),
            frame_limit=self._frame_limit,
            calls_of_user=self._calls_of_user,
        )
        self._server.start(self._loop)
        self._frame_max = self._server.frame_max
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Give up the address, let the handlers that run end or cancel them, and close. May be called again."""
        if self._closed or not self._opened:
            return
        self._closed = True
        try:
            for call in tuple(self._pending.values()):
                call.fail(call.lost("the peer was closed") if call.sent else call.closed())
            if self._file is not None and self._own.path is not None:
                unlink_socket(Path(self._own.path), self._file)
            self._server.stop_reading(refuse_more=True)
            if not await self._ends():
                self._server.cancel_calls()
                await self._ends()
        finally:
            self._server.close()
            self._sock.close()

    async def _ends(self) -> bool:
        try:
            await asyncio.wait_for(self._server.wait_idle(), CLOSE_PATIENCE)
        except TimeoutError:
            return False
        return True

    # --- asking ------------------------------------------------------------------------------------------------------

    @overload
    async def call(
        self,
        address: str | Address,
        method: Method[P, R],
        params: P,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it ends the call, not the task
        call_id: str | None = None,
    ) -> R: ...

    @overload
    async def call(
        self,
        address: str | Address,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it ends the call, not the task
        call_id: str | None = None,
    ) -> Any: ...

    async def call(
        self,
        address: str | Address,
        method: Method[Any, Any] | str,
        params: Any = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it ends the call, not the task
        call_id: str | None = None,
    ) -> Any:
        """Call `method` of the peer at `address`; returns and raises what `AsyncClient.call` does."""
        target = _check_address(address)
        call = self._begin(method, timeout, call_id)
        request_id = draw_id()
        frame = self._frame(call, params, request_id)
        self._pending[request_id] = call
        try:
            await self._send(target, call, frame)
            while call.end is None:
                await call.wait()
        finally:
            del self._pending[request_id]
            if call.sent and call.end is None:
                self._cancel(target, request_id)
        return call.result(call.end)

    @overload
    async def notify(
        self,
        address: str | Address,
        method: Method[P, Any],
        params: P,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it ends the call, not the task
        call_id: str | None = None,
    ) -> None: ...

    @overload
    async def notify(
        self,
        address: str | Address,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it ends the call, not the task
        call_id: str | None = None,
    ) -> None: ...

    async def notify(
        self,
        address: str | Address,
        method: Method[Any, Any] | str,
        params: Any = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it ends the call, not the task
        call_id: str | None = None,
    ) -> None:
        """Call `method` one-way: returns once the kernel has the message, raises where it was not sent."""
        target = _check_address(address)
        call = self._begin(method, timeout, call_id, oneway=True)
        frame = self._frame(call, params, "")
        await self._send(target, call, frame)

    def _begin(
        self,
        method: Method[Any, Any] | str,
        timeout: float | None,
        call_id: str | None,
        *,
        oneway: bool = False,
    ) -> TaskCall:
        call = TaskCall(
            method,
            self._ids.make() if call_id is None else check_call_id(call_id),
            self._timeout if timeout is None else check_timeout(timeout),
            oneway=oneway,
        )
        if self._closed or not self._opened:
            raise call.closed()
        if self._loop is not asyncio.get_running_loop():
            message = "this peer belongs to another event loop"
            raise RuntimeError(message)
        return call

    def _frame(self, call: TaskCall, params: Any, request_id: str) -> bytes:
        body, call.carried = call.method.write_params(params)
        return frame_call(call, body, request_id, self._frame_limit, self._frame_max)

    async def _send(self, target: Address, call: TaskCall, frame: bytes) -> None:
        """Send, as soon as there is room; raises NotSent, CallTimeout."""
        delay = RETRY_FIRST
        while not self._try(target, call, frame):
            await asyncio.sleep(min(delay, call.time_left("the receiver was full")))
            if isinstance(call.end, SuperdError):
                raise call.end
            delay = min(2 * delay, RETRY_MAX)

    def _try(self, target: Address, call: TaskCall, frame: bytes) -> bool:
        if self._closed:
            raise call.closed()
        try:
            send_datagram(self._sock, frame, target.sockaddr)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            raise explain_unsent(call, target, error) from error
        call.mark_sent()
        return True

    def _cancel(self, target: Address, request_id: str) -> None:
        """Tell the other side, if it has room: it cannot notice by itself that nobody waits any more."""
        try:
            send_datagram(self._sock, encode_frame(dump_cancel(request_id)), target.sockaddr)
        except OSError:
            return

    def _take_reply(self, body: bytes) -> None:
        """Give a reply to the call that waits for it. What answers none is ignored: its id cannot be guessed."""
        try:
            reply = parse_reply(body)
        except RemoteProtocolError:
            return
        if isinstance(reply, Result | Failure):
            call = self._pending.get(str(reply.id))
            if call is not None:
                call.resolve(call.decode(body))


def _check_address(address: str | Address) -> Address:
    parsed = parse_address(address) if isinstance(address, str) else address
    if parsed.kind is not SocketKind.DATAGRAM:
        message = f"{str(parsed)!r} is no datagram socket: its address begins with unix-dgram:"
        raise ValueError(message)
    return parsed


def _check_handlers(
    handlers: Mapping[Method[Any, Any], Handler],
) -> Mapping[str, tuple[Method[Any, Any], Handler]]:
    known = {method.name: (method, handler) for method, handler in handlers.items()}
    if len(known) != len(handlers):
        message = "two handlers are for methods of one name"
        raise ValueError(message)
    for method, _ in known.values():
        if isinstance(method, Stream | Upload):
            message = f"{method!r} is a stream, which datagrams do not have"
            raise TypeError(message)
    return known
