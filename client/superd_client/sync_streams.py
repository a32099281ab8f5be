"""Streams and uploads of the blocking client: what `Client.stream` and `Client.open_upload` return."""

import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Generic, Self

from typing_extensions import override

from superd_client.contract import R
from superd_client.descriptors import Outgoing
from superd_client.errors import SuperdError
from superd_client.flows import NOTHING, Outbox, Params
from superd_client.streams import I
from superd_client.sync_exchange import ThreadExchange
from superd_client.sync_link import ThreadCall
from superd_client.wire.envelope import Reply


class _ThreadFlow:
    """A call that is more than a question and an answer. It begins with the first use, or with the `with` block."""

    _call: ThreadCall | None = None
    _over = False
    _carried: Outgoing | None = None

    def __init__(
        self, client: object, exchange: ThreadExchange, make_call: Callable[[], ThreadCall], params: Params
    ) -> None:
        #: Kept alive, for the connection is closed with it.
        self._client: Final = client
        self._exchange: Final = exchange
        self._make_call: Final = make_call
        self._params, self._carried = params

    def __enter__(self) -> Self:
        self._guarded(self._open)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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

    def close(self) -> None:
        """End it, and tell the server if it goes on. May be called again."""
        self._over = True
        if self._carried is not None:
            self._carried.close()
        if self._call is not None:
            self._exchange.forget(self._call, cancel=True)
            self._call.discard()

    def _open(self) -> ThreadCall:
        if self._call is None:
            self._call = self._make_call()
            self._call.carried = self._carried
            self._exchange.send(self._call, self._params)
        return self._call

    def _guarded(self, step: Callable[[], Any]) -> Any:
        """What `step` returns; what it raises ends the call."""
        try:
            try:
                return step()
            except SuperdError as error:
                self.close()
                told = error if self._call is None else self._call.judged(error)
                raise told from told.__cause__
            except BaseException:
                self.close()
                raise
        except BaseException:
            self.close()  # once more: an interrupt may have hit the first time
            raise

    def _begins_again(self, call: ThreadCall) -> bool:
        """Whether a stopping server had refused it, or was lost before it could matter, and another one has it now."""
        if not self._exchange.begins_again(call):
            return False
        self._exchange.send(call, self._params)
        return True


class ItemStream(_ThreadFlow, Generic[I]):
    """The items of a stream, one after the other, for one thread at a time; others use the client beside it.

    Leaving the `with` block, or `close()`, ends the stream at the server too. Where it fails, the iteration raises
    what `call` would raise, after the items that came before. It begins with the `with` block, or with the first item
    that is asked for.
    """

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> I:
        if self._over:
            raise StopIteration
        try:
            call = self._call
            if call is not None and call.inbox is not None:
                taken: I = call.inbox.take_plain()
                if taken is not NOTHING:
                    return taken
        except BaseException:  # an interrupt ends it, as in `_guarded`
            self.close()
            raise
        item: I = self._guarded(self._next)
        return item

    def _next(self) -> Any:
        call, exchange = self._open(), self._exchange
        has_waited = False
        while True:
            item, end = exchange.take_item(call)
            if item is not NOTHING:
                return call.item(item)
            if end is not None and not self._begins_again(call):
                call.result(end)
                raise StopIteration
            if not has_waited:
                call.restart()
                has_waited = True
            exchange.wait(call)


class ItemSink(_ThreadFlow, Generic[I, R]):
    """Takes the items of an upload, one after the other, from one thread at a time; others use the client beside it.

    Leaving the `with` block before `result` was asked for cancels the upload.
    """

    def __init__(
        self,
        client: object,
        exchange: ThreadExchange,
        make_call: Callable[[], ThreadCall],
        params: Params,
        outbox: Outbox,
    ) -> None:
        super().__init__(client, exchange, make_call, params)
        self._outbox: Final = outbox

    def send(self, item: I) -> bool:
        """Send an item once the server takes it; returns when the kernel has it, True.

        False says that the server has ended the upload and wants no more: `result` has what it says. Raises what
        `call` would raise as soon as the server has failed, and the upload is over then; pydantic's ValidationError
        (a ValueError) or TypeError for what is no item, after which others may be sent.
        """
        self._check_open()
        body, carried = self._outbox.codec.write(item)
        try:
            taken: bool = self._guarded(lambda: self._send(body, carried))
        finally:
            if carried is not None:
                carried.close()
        return taken

    def result(self) -> R:
        """Say that there are no more items, wait for the result, and return it. May be called again."""
        if self._call is None or self._call.end is None:
            self._check_open()
        result: R = self._guarded(self._result)
        return result

    def _send(self, body: bytes, carried: Outgoing | None) -> bool:
        call, exchange = self._open(), self._exchange
        call.restart()
        while True:
            letter = exchange.send_item(call, body, carried)
            if letter is not None:
                while not exchange.is_written(call, letter):
                    exchange.wait(call)
                if letter.sent:
                    return True
            if call.end is not None and not self._begins_again(call):
                call.result(call.end)
                return False
            exchange.wait(call)

    def _result(self) -> R:
        call, exchange = self._open(), self._exchange
        call.restart()
        while True:
            end: Reply | SuperdError | None = exchange.send_end(call)
            if end is not None and not self._begins_again(call):
                result: R = call.result(end)
                return result
            exchange.wait(call)

    def _check_open(self) -> None:
        if self._over:
            message = "this upload is over"
            raise ValueError(message)
