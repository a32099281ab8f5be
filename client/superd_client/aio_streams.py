"""Streams and uploads of the asyncio client: what `AsyncClient.stream` and `AsyncClient.open_upload` return."""

import asyncio
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Generic, Self

from typing_extensions import override

from superd_client.aio_exchange import TaskExchange
from superd_client.aio_link import TaskCall
from superd_client.contract import R
from superd_client.descriptors import Outgoing
from superd_client.errors import SuperdError
from superd_client.flows import NOTHING, Outbox, Params
from superd_client.streams import I


class _TaskFlow:
    """A call that is more than a question and an answer. It begins with the first use, or with the `with` block."""

    _call: TaskCall | None = None
    _over = False
    _carried: Outgoing | None = None

    def __init__(
        self, client: object, exchange: TaskExchange, make_call: Callable[[], TaskCall], params: Params
    ) -> None:
        #: Kept alive, for the connection is closed with it.
        self._client: Final = client
        self._exchange: Final = exchange
        self._make_call: Final = make_call
        self._params, self._carried = params

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def __del__(self) -> None:
        call = self._call
        if self._carried is not None:
            self._carried.close()
        if call is not None and not self._over and call.end is None:
            self._exchange.forget_later(call)
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)

    @override
    def __repr__(self) -> str:
        """Say which method's it is."""
        call = self._call
        text = "not begun" if call is None else f"{call.method.name} [call {call.call_id}]"
        return f"<{type(self).__name__} {text}>"

    async def aclose(self) -> None:
        """End it, and tell the server if it goes on. May be called again."""
        self._close()

    def _close(self) -> None:
        self._over = True
        if self._carried is not None:
            self._carried.close()
        if self._call is not None:
            self._exchange.forget(self._call)
            self._call.discard()

    async def _open(self) -> TaskCall:
        self._exchange.loop()  # one that was begun in a loop that is closed has ended
        if self._call is None:
            self._call = self._make_call()
            self._call.carried = self._carried
            await self._exchange.send(self._call, self._params)
        return self._call

    async def _begins_again(self, call: TaskCall) -> bool:
        """Whether a stopping server had refused it, or was lost before it could matter, and another one has it now."""
        if not await self._exchange.begins_again(call):
            return False
        await self._exchange.send(call, self._params)
        return True


class AsyncItemStream(_TaskFlow, Generic[I]):
    """The items of a stream, one after the other, for one task at a time; others use the client beside it.

    Leaving the `async with` block, or `aclose()`, ends the stream at the server too, and so does cancelling the task
    that waits for an item. Where it fails, the iteration raises what `call` would raise, after the items that came
    before. It begins with the `async with` block, or with the first item that is asked for.
    """

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> I:
        if self._over:
            raise StopAsyncIteration
        call = self._call
        if call is not None and call.inbox is not None:
            taken: I = call.inbox.take_plain()
            if taken is not NOTHING:
                return taken
        try:
            item: I = await self._next()
        except SuperdError as error:
            self._close()
            told = error if self._call is None else self._call.judged(error)
            raise told from told.__cause__
        except BaseException:
            self._close()
            raise
        return item

    async def _next(self) -> Any:
        call = await self._open()
        has_waited = False
        while True:
            item = NOTHING
            if (link := call.link) is not None:
                item = link.take_item(call)
                if link.has_unwritten:
                    link.write()
            if item is not NOTHING:
                return call.item(item)
            if call.end is not None and not await self._begins_again(call):
                call.result(call.end)
                raise StopAsyncIteration
            if not has_waited:
                call.restart()
                has_waited = True
            if call.end is None:
                await call.wait()


class AsyncItemSink(_TaskFlow, Generic[I, R]):
    """Takes the items of an upload, one after the other, from one task at a time; others use the client beside it.

    Leaving the `async with` block before `result` was asked for cancels the upload.
    """

    def __init__(
        self,
        client: object,
        exchange: TaskExchange,
        make_call: Callable[[], TaskCall],
        params: Params,
        outbox: Outbox,
    ) -> None:
        super().__init__(client, exchange, make_call, params)
        self._outbox: Final = outbox

    async def send(self, item: I) -> bool:
        """Send an item once the server takes it; returns when the kernel has it, True.

        False says that the server has ended the upload and wants no more: `result` has what it says. Raises what
        `call` would raise as soon as the server has failed, and the upload is over then; pydantic's ValidationError
        (a ValueError) or TypeError for what is no item, after which others may be sent.
        """
        self._check_open()
        body, carried = self._outbox.codec.write(item)
        try:
            return await self._send(body, carried)
        except BaseException:
            self._close()
            raise
        finally:
            if carried is not None:
                carried.close()

    async def result(self) -> R:
        """Say that there are no more items, wait for the result, and return it. May be called again."""
        if self._call is None or self._call.end is None:
            self._check_open()
        try:
            return await self._result()
        except BaseException:
            self._close()
            raise

    async def _send(self, body: bytes, carried: Outgoing | None) -> bool:
        call = await self._open()
        call.restart()
        while True:
            link = call.link
            if link is not None and link.takes_item(call):
                letter = link.send_item(call, body, carried)
                link.write()
                while not letter.sent and call.end is None:
                    await call.wait()
                if letter.sent:
                    if self._outbox.looks_up:
                        await asyncio.sleep(0)  # others get their turn too
                    return True
            if call.end is not None and not await self._begins_again(call):
                call.result(call.end)
                return False
            if call.end is None:
                await call.wait()

    async def _result(self) -> R:
        call = await self._open()
        call.restart()
        while True:
            if call.link is not None:
                call.link.send_end(call)
                call.link.write()
            if call.end is not None and not await self._begins_again(call):
                result: R = call.result(call.end)
                return result
            if call.end is None:
                await call.wait()

    def _check_open(self) -> None:
        if self._over:
            message = "this upload is over"
            raise ValueError(message)
