"""The fast path: a usual call from the bytes of its message to the frame of its reply, in one function.

Usual is a call of a known method, without descriptors or a key, whose params fit and whose caller may call it. All else is
for the general path (superd.session, superd.calls), which does the same step by step and says what is wrong: `take` then
has done nothing. docs/adr/0017 tells why there are two, and a property test that they agree.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from superd.buffers import MESSAGE_FREE
from superd.calls import Calls
from superd.context import Context
from superd.dispatch import Dispatcher
from superd.handlers import Endpoint, Kind
from superd.work import Work
from superd_client.deadline import current_deadline
from superd_client.parser import CallParser
from superd_client.wire.envelope import NO_META, Notification, Request
from superd_client.wire.server import frame_result

#: Bytes of a body, at most. Beyond that reading it costs far more than what is saved here, and a message that does not fit
#: is read a second time, to say why.
BODY_MAX: Final = 256 * 1024


class _Usual(NamedTuple):
    """What the fast path needs of a method whose calls may be usual to their end."""

    endpoint: Endpoint
    is_async: bool
    handler: Callable[..., Any]
    encode: Callable[[Any], bytes]
    state: Any
    holds_secrets: bool


class FastPath:
    """Takes the usual messages of all connections of one server."""

    def __init__(self, dispatcher: Dispatcher, parse: CallParser) -> None:
        """`parse` is what the general path reads with, `dispatcher` what it carries out with."""
        self._dispatcher: Final = dispatcher
        self._guard: Final = dispatcher.guard
        self._stats: Final = dispatcher.stats
        self._read: Final = parse.read_members
        #: The others are carried out by the general path, and so are all where calls are counted by the second.
        self._usual: Final = {
            name: _usual(endpoint, dispatcher.states.get(endpoint.service))
            for name, endpoint in dispatcher.endpoints.items()
            if dispatcher.quotas.rate is None and _may_be_usual(endpoint)
        }

    def take(self, body: bytes, calls: Calls) -> bytes | None:  # noqa: PLR0911 - one function is what makes it fast
        """Take care of a message of at most BODY_MAX bytes, without descriptors, on a connection that `may_take` it.

        The frame of its reply; b"" where there is none, or not yet; None for what is not usual, of which nothing was done.
        """
        try:
            fields = self._read(body)
            method, params = fields["method"], fields["params"]
        except Exception:  # noqa: BLE001 - a model's validator may raise anything, which it does again when it is asked
            return None
        meta, request_id = fields.get("meta", NO_META), fields.get("id")
        connection, caller, policy = calls.connection, calls.caller, self._guard.policy
        if (
            "fds" in meta
            or "idempotency_key" in meta
            or request_id in connection.in_flight
            or not (method in policy.open or policy.judge(method, caller).allowed)
        ):
            return None
        usual, due, began = self._usual.get(method), meta.get("deadline_usec"), time.monotonic_ns()
        if (
            usual is None
            or (due is not None and due * 1000 <= began)
            or calls.peer_is_gone
            or self._dispatcher.log_successes
            or (usual.is_async and len(body) > MESSAGE_FREE)
        ):
            calls.admit(_call_of(fields), len(body))
            return b""
        context = Context(
            method=method,
            call_id=meta.get("call_id") or next(self._dispatcher.call_ids),
            caller=caller,
            state=usual.state,
            deadline=None if due is None else due / 1e6,
            sensitive=params if usual.holds_secrets else None,
        )
        if usual.is_async:
            work = Work(calls, _call_of(fields), usual.endpoint, context, due)
            if not calls.begin_plain(work, self._carry_out):
                calls.admit(work.call, len(body))
            return b""
        run = self._dispatcher.base_context.copy().run
        try:
            if due is not None:
                run(current_deadline.set, due)
            value = run(usual.handler, params, context)
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises is an answer
            return self._failed(fields, calls, context, began, _raising(error))
        try:
            result = usual.encode(value)
            reply = b"" if request_id is None else frame_result(request_id, result, connection.send_limit)
        except BaseException:  # noqa: BLE001 - what a validator raises, it raises again when it is asked
            return self._failed(fields, calls, context, began, _returning(value))
        self._stats.calls_served += 1
        if request_id is None:
            self._stats.notifications += 1
        else:
            calls.served += 1
        self._dispatcher.on_change()
        return reply

    def _failed(
        self,
        fields: dict[str, Any],
        calls: Calls,
        context: Context,
        began: int,
        again: Callable[[Any, Context], Any],
    ) -> bytes:
        """Have the general path tell of a call whose inline handler has run: `again` gives what it gave."""
        endpoint = self._dispatcher.endpoints[context.method]._replace(handler=again)
        work = Work(calls, _call_of(fields), endpoint, context, None)
        work.started = began
        calls.finish_inline(work)
        return b""

    # --- handlers that are tasks -----------------------------------------------------------------------------------

    async def _carry_out(self, work: Work, calls: Calls) -> None:
        """Run the handler and answer: what Dispatcher.carry_out does, which is asked for all but a result."""
        call, endpoint, due, began = work.call, work.endpoint, work.due_usec, time.monotonic_ns()
        if due is not None:
            if due * 1000 <= began:
                await self._dispatcher.carry_out(work)
                return
            current_deadline.set(due)
        work.started = began
        if work.task is None:  # it was started eagerly
            work.task = asyncio.current_task()
        stats, reply = self._stats, None
        stats.calls_in_flight += 1
        again: Callable[[Any], Callable[[Any, Context], Any]] = _returning
        given: Any = None
        try:
            given = await endpoint.handler(call.params, work.context)
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises is an answer
            again, given = _raising, error
        else:
            reply = None if work.answered else _reply(endpoint, call, given, calls)
        stats.calls_in_flight -= 1
        if reply is None:
            work.endpoint = endpoint._replace(handler=_as_coroutine(again(given)))
            await self._dispatcher.carry_out(work)
            return
        stats.calls_served += 1
        if not reply:
            stats.notifications += 1
        self._dispatcher.on_change()
        calls.finish_plain(work, reply)


def _reply(endpoint: Endpoint, call: Request | Notification, value: Any, calls: Calls) -> bytes | None:
    """The frame of a result, b"" where none is due; None for what is no result, or does not fit."""
    try:
        result = endpoint.method.encode_result(value)
        if isinstance(call, Notification):
            return b""
        return frame_result(call.id, result, calls.connection.send_limit)
    except BaseException:  # noqa: BLE001 - what a validator raises, it raises again when it is asked
        return None


def _may_be_usual(endpoint: Endpoint) -> bool:
    """Whether a handler is called on the loop, and nothing passes but its params and a result of JSON."""
    runs_on_loop = endpoint.is_async or endpoint.is_inline
    return runs_on_loop and endpoint.kind is Kind.CALL and not endpoint.method.result_holds_descriptors


def _usual(endpoint: Endpoint, state: Any) -> _Usual:
    method = endpoint.method
    return _Usual(
        endpoint, endpoint.is_async, endpoint.handler, method.encode_result, state, method.holds_secrets
    )


def _call_of(fields: dict[str, Any]) -> Request | Notification:
    meta = fields.get("meta", NO_META)
    if "id" in fields:
        return Request(fields["id"], fields["method"], fields["params"], meta)
    return Notification(fields["method"], fields["params"], meta)


def _raising(error: BaseException) -> Callable[[Any, Context], Any]:
    def again(_params: Any, _context: Context) -> Any:
        raise error

    return again


def _returning(value: Any) -> Callable[[Any, Context], Any]:
    return lambda _params, _context: value


def _as_coroutine(function: Callable[[Any, Context], Any]) -> Callable[[Any, Context], Any]:
    async def again(params: Any, context: Context) -> Any:
        return function(params, context)

    return again
