"""The asyncio client: one connection, any number of tasks, and no task of its own.

The loop watches the socket by add_reader and add_writer, so that it is the same on asyncio and on uvloop.
"""

import warnings
from collections.abc import AsyncIterable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, overload

from typing_extensions import override

from superd_client.address import Address
from superd_client.aio_datagrams import open_exchange
from superd_client.aio_link import TaskCall
from superd_client.aio_streams import AsyncItemSink, AsyncItemStream
from superd_client.arguments import (
    DEFAULT_TIMEOUT,
    WAIT_FOR_SERVER,
    check_call_id,
    check_timeout,
)
from superd_client.contract import Method, P, R, UntypedMethod
from superd_client.dialing import check_destination
from superd_client.errors import SuperdError
from superd_client.flows import Bound, plan_stream, plan_upload
from superd_client.link import state_name
from superd_client.polling import Latency
from superd_client.streams import I, Stream, Upload
from superd_client.wire.envelope import Result
from superd_client.wire.limits import FRAME_SIZE_DEFAULT, STREAM_CREDIT_DEFAULT

if TYPE_CHECKING:
    from superd_client.builtin import Hello
    from superd_client.keys import IdempotencyKey


class AsyncClient:
    """Calls methods of a superd, from any number of tasks of one event loop, over one connection.

    `address` is what protocol §9 says, by default $SUPERD_SOCKET or unix:/run/superd/superd.sock; `timeout` the
    seconds that a call may take unless it says otherwise; `frame_limit` the largest message in bytes. The first call
    connects, and so does the next one after a connection was lost. A server that is not there is tried again for
    `wait_for_server` seconds, at most as long as the call may take. With `expect_unit` the server has to be of this
    systemd unit of the system, and each connection is used only once that is proved; else calls raise WrongServer.
    With `latency="low"` it polls for a moment before it sleeps, while calls come one right after the other.
    After asyncio.run it is used in the next one, and in a forked child, with a connection of its own.
    """

    def __init__(
        self,
        address: str | Address | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        frame_limit: int = FRAME_SIZE_DEFAULT,
        wait_for_server: float = WAIT_FOR_SERVER,
        expect_unit: str | None = None,
        latency: Latency = "normal",
    ) -> None:
        """Check the arguments (ValueError). Connects to nothing yet, and belongs to no loop yet."""
        destination = check_destination(address, frame_limit, wait_for_server, expect_unit, latency)
        self._address: Final = destination.address
        self._timeout: Final = check_timeout(timeout)
        self._exchange: Final = open_exchange(destination)

    @override
    def __repr__(self) -> str:
        """Say where it connects to, and whether it is connected."""
        state = state_name(self._exchange.link, closed=self._exchange.closed)
        return f"<{type(self).__name__} {self._address} {state}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        exchange = getattr(self, "_exchange", None)
        if exchange is not None and any(not link.lost for link in exchange.links):
            text = f"unclosed {self!r}"
            for link in exchange.links:
                link.drop()
            warnings.warn(text, ResourceWarning, source=self, stacklevel=2)

    async def aclose(self) -> None:
        """Close the connection, for good. May be called again.

        Calls, streams and uploads of other tasks end: with ConnectionLost if they were sent, else with ClientClosed.
        """
        self._exchange.close()

    @overload
    async def call(
        self,
        method: Method[P, R],
        params: P,
        *,
        timeout: float | None = None,
        call_id: str | None = None,
        idempotency_key: "IdempotencyKey | None" = None,
    ) -> R: ...

    @overload
    async def call(
        self,
        method: UntypedMethod | str,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        call_id: str | None = None,
        idempotency_key: "IdempotencyKey | None" = None,
    ) -> Any: ...

    async def call(
        self,
        method: Method[Any, Any] | UntypedMethod | str,
        params: Any = None,
        *,
        timeout: float | None = None,
        call_id: str | None = None,
        idempotency_key: "IdempotencyKey | None" = None,
    ) -> Any:
        """Call `method`, and return its result once it is there.

        `timeout` in seconds covers all of it: connecting, writing, the reply. Where a handler makes the call, what its
        own caller has left bounds it too. `call_id` names the call in the journals of both sides; one is made if none
        is given. What a lost connection leaves unknown is repeated where that is safe: by the method's contract, or by an
        `idempotency_key`, which repeats of the same work share. Cancelling the task cancels the call at the server.

        Raises SuperdError; its subclasses and its `outcome` say what happened. ValueError and TypeError are for
        arguments that no call can be made of.
        """
        exchange = self._exchange
        exchange.loop()
        call = TaskCall(
            method,
            exchange.ids.make() if call_id is None else check_call_id(call_id),
            self._timeout if timeout is None else check_timeout(timeout),
        )
        body, carried = call.method.write_params(params)
        if carried is not None:
            call.carry(carried)
        if call.method.keyed or idempotency_key is not None:
            call.take_key(idempotency_key)
        link = exchange.link
        try:
            if link is not None and call.usual and link.check():
                # The usual way, with nothing between this coroutine and the call's future.
                try:
                    await link.send(call, body)
                except BaseException:
                    link.give_up(call)
                    call.discard()
                    raise
                if type(end := call.end) is Result:
                    return end.value
            return call.result(await exchange.carry_out(call, body))
        except SuperdError as error:
            told = call.judged(error)
            raise told from told.__cause__

    @overload
    async def notify(
        self, method: Method[P, Any], params: P, *, timeout: float | None = None, call_id: str | None = None
    ) -> None: ...

    @overload
    async def notify(
        self,
        method: UntypedMethod | str,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        call_id: str | None = None,
    ) -> None: ...

    async def notify(
        self,
        method: Method[Any, Any] | UntypedMethod | str,
        params: Any = None,
        *,
        timeout: float | None = None,
        call_id: str | None = None,
    ) -> None:
        """Call `method` one-way: return once the kernel has the message. What becomes of it only its journal says.

        Raises what `call` raises where it was not sent.
        """
        self._exchange.loop()
        call = TaskCall(method, self._call_id(call_id), self._seconds(timeout), oneway=True)
        body, call.carried = call.method.write_params(params)
        await self._exchange.carry_out(call, body)

    async def hello(self, *, timeout: float | None = None) -> "Hello":
        """Ask what the server is: protocol versions, features, limits in force. Raises what `call` raises."""
        from superd_client import builtin  # noqa: PLC0415 - few ask, and all would pay for its models

        return await self.call(builtin.hello, builtin.Nothing(), timeout=timeout)

    @overload
    def stream(
        self,
        method: Stream[P, I],
        params: P,
        *,
        timeout: float | None = None,
        bound: Bound = "gap",
        credit: int = STREAM_CREDIT_DEFAULT,
        call_id: str | None = None,
    ) -> AsyncItemStream[I]: ...

    @overload
    def stream(
        self,
        method: UntypedMethod | str,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        bound: Bound = "gap",
        credit: int = STREAM_CREDIT_DEFAULT,
        call_id: str | None = None,
    ) -> AsyncItemStream[Any]: ...

    def stream(
        self,
        method: Stream[Any, Any] | UntypedMethod | str,
        params: Any = None,
        *,
        timeout: float | None = None,
        bound: Bound = "gap",
        credit: int = STREAM_CREDIT_DEFAULT,
        call_id: str | None = None,
    ) -> AsyncItemStream[Any]:
        """Return the items of a stream, to be iterated over: `async with client.stream(watch, Watch()) as items: ...`.

        `timeout` bounds the time to the next item, or with `bound="whole"` that of the whole stream, from its
        beginning. The gap counts only while the iteration waits. `credit` is how many items may be here, or on their
        way, that were not taken yet: a slow consumer slows the server down.
        """
        body, make_inbox, gap = plan_stream(method, params, bound=bound, credit=credit)
        name, seconds = self._call_id(call_id), self._seconds(timeout)
        return AsyncItemStream(
            self,
            self._exchange,
            lambda: TaskCall(method, name, seconds, flow=make_inbox(), gap=gap),
            body,
        )

    @overload
    def open_upload(
        self,
        method: Upload[P, I, R],
        params: P,
        *,
        timeout: float | None = None,
        bound: Bound = "gap",
        call_id: str | None = None,
    ) -> AsyncItemSink[I, R]: ...

    @overload
    def open_upload(
        self,
        method: UntypedMethod | str,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        bound: Bound = "gap",
        call_id: str | None = None,
    ) -> AsyncItemSink[Any, Any]: ...

    def open_upload(
        self,
        method: Upload[Any, Any, Any] | UntypedMethod | str,
        params: Any = None,
        *,
        timeout: float | None = None,
        bound: Bound = "gap",
        call_id: str | None = None,
    ) -> AsyncItemSink[Any, Any]:
        """Return what takes the items of an upload: `async with client.open_upload(load, Load()) as sink: ...`.

        `timeout` bounds each wait: for the server to take an item, and for the result after the last one; or with
        `bound="whole"` the whole upload, from its beginning.
        """
        body, outbox, gap = plan_upload(method, params, bound=bound)
        name, seconds = self._call_id(call_id), self._seconds(timeout)
        return AsyncItemSink(
            self,
            self._exchange,
            lambda: TaskCall(method, name, seconds, flow=outbox, gap=gap),
            body,
            outbox,
        )

    @overload
    async def upload(
        self,
        method: Upload[P, I, R],
        params: P,
        items: Iterable[I] | AsyncIterable[I],
        *,
        timeout: float | None = None,
        bound: Bound = "gap",
        call_id: str | None = None,
    ) -> R: ...

    @overload
    async def upload(
        self,
        method: UntypedMethod | str,
        params: Mapping[str, Any] | None,
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        timeout: float | None = None,
        bound: Bound = "gap",
        call_id: str | None = None,
    ) -> Any: ...

    async def upload(
        self,
        method: Upload[Any, Any, Any] | UntypedMethod | str,
        params: Any,
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        timeout: float | None = None,
        bound: Bound = "gap",
        call_id: str | None = None,
    ) -> Any:
        """Send `items` as far as the server wants them, and return the result. Otherwise as `open_upload`.

        What the iterable raises cancels the upload.
        """
        sink: AsyncItemSink[Any, Any]
        async with self.open_upload(method, params, timeout=timeout, bound=bound, call_id=call_id) as sink:
            if isinstance(items, AsyncIterable):
                async for item in items:
                    if not await sink.send(item):
                        break
            else:
                for item in items:
                    if not await sink.send(item):
                        break
            return await sink.result()

    def _call_id(self, call_id: str | None) -> str:
        return self._exchange.ids.make() if call_id is None else check_call_id(call_id)

    def _seconds(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else check_timeout(timeout)
