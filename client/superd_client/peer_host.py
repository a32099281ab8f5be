"""How a DatagramPeer carries out what other peers ask of it."""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from superd_client.arguments import CallIds
from superd_client.contract import Method
from superd_client.datagram_host import DatagramCall, Message
from superd_client.datagrams import Credentials, Datagram, show_sender
from superd_client.deadline import current_deadline
from superd_client.errors import ApplicationError
from superd_client.streams import Stream, Upload
from superd_client.wire.envelope import Notification
from superd_client.wire.errors import ErrorCode, ErrorObject

_INTERNAL_ERROR: Final = ErrorObject(ErrorCode.INTERNAL_ERROR, "internal error", {})
_NO_KEYS: Final = ErrorObject(ErrorCode.INVALID_REQUEST, "idempotency keys are not known here", {})


class Origin(NamedTuple):
    """Whose a call is, as the kernel says of its datagram, and what it is called in the logs.

    Decide by `uid` and `gid`; `pid` may be another process's by now.
    """

    uid: int
    gid: int
    pid: int
    call_id: str


#: What carries a method out: `handler(params, origin)`, a coroutine function, or a plain one, which gets a thread.
Handler: TypeAlias = Callable[[Any, Origin], Any]


class PeerHost:
    """Carries out what other peers ask."""

    def __init__(
        self,
        handlers: Mapping[str, tuple[Method[Any, Any], Handler]],
        ids: CallIds,
        take_reply: Callable[[bytes], None],
        on_error: Callable[[str, BaseException | None], None],
    ) -> None:
        self._handlers = handlers
        self._ids = ids
        self._take_reply = take_reply
        self._on_error = on_error

    def identify(self, credentials: Credentials) -> Origin:
        """Whose the datagram is; the call id is to come."""
        return Origin(credentials.uid, credentials.gid, credentials.pid, "")

    def call_id(self, message: Message | None) -> str:
        """The id that the caller gave, or a new one."""
        given = message.call_id if message is not None else None
        return given if given is not None else self._ids.make()

    def is_stream(self, method: str) -> bool:
        """Whether it has items: no handler has."""
        return isinstance(self._handlers[method][0], Stream | Upload)

    def screen(self, message: Message, caller: Origin) -> Message:  # noqa: ARG002 - handlers judge
        """The message as it is: handlers judge. But a key is a promise that nobody keeps here (protocol §20.10)."""
        return message if message.fingerprint is None else message._replace(params=_NO_KEYS)

    async def carry_out(self, message: Message, caller: Origin, call_id: str) -> bytes | ErrorObject:
        """Run the handler, which has what time the call has left."""
        method, handler = self._handlers[message.method]
        origin = caller._replace(call_id=call_id)
        current_deadline.set(message.meta.get("deadline_usec"))
        try:
            if _is_async(handler):
                value = await handler(message.params, origin)
            else:
                value = await asyncio.to_thread(handler, message.params, origin)
            return method.encode_result(value)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return self._explain(method, error, origin)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is an answer
            return self._explain(method, error, origin)

    def _explain(self, method: Method[Any, Any], error: BaseException, origin: Origin) -> ErrorObject:
        if isinstance(error, ApplicationError) and error.detail is not None:
            try:
                declared = method.encode_error(error.detail, error.message)
            except (TypeError, ValueError):
                pass
            else:
                return declared.with_data(call_id=origin.call_id)
        self._on_error(f"{method.name} failed [call {origin.call_id}]", error)
        return _INTERNAL_ERROR.with_data(call_id=origin.call_id)

    def answered(self, task: asyncio.Task[Any]) -> None:
        """Nothing is to be done about it."""

    def failed(
        self, error: ErrorObject, message: Message | None, caller: Origin, call_id: str
    ) -> ErrorObject:
        """Tell of it where the caller hears nothing."""
        if isinstance(message, Notification) or error.code == ErrorCode.PARSE_ERROR:
            self._on_error(f"refused, from uid {caller.uid}: {error.message} [call {call_id}]", None)
        return error.with_data(call_id=call_id)

    def not_served(self, error: ErrorObject, message: Message, caller: Origin, call_id: str) -> ErrorObject:
        """The same."""
        return self.failed(error, message, caller, call_id)

    def reply_received(self, body: bytes, caller: Origin) -> None:  # noqa: ARG002 - the id tells whether it is right
        """Give it to the call that waits."""
        self._take_reply(body)

    def datagram_dropped(self, datagram: Datagram, reason: str) -> None:
        """Tell of it."""
        self._on_error(f"datagram dropped, from {show_sender(datagram.sender)!r}: {reason}", None)

    def reply_dropped(self, call: DatagramCall[Origin], reason: str) -> None:
        """Tell of it."""
        self._on_error(f"reply to {show_sender(call.sender)!r} dropped: {reason} [call {call.call_id}]", None)

    def read_failed(self, error: OSError) -> None:
        """Tell of it."""
        self._on_error("cannot read datagrams", error)


def _is_async(handler: Handler) -> bool:
    """Whether calling it gives a coroutine; sees through functools.partial and objects that can be called."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)
