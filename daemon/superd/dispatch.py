"""Call -> Outcome: finds the handler, runs it where it belongs, turns what it does into an answer, and tells of it."""

import asyncio
import contextlib
import contextvars
import inspect
import itertools
import os
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any, Final

from superd.buffers import Buffers
from superd.context import Context
from superd.deadlines import Deadlines, now_usec
from superd.guard import Guard
from superd.handlers import Endpoint, Kind
from superd.journal import MessageId, get_logger
from superd.lookout import Lookout
from superd.peer import Caller
from superd.peer_log import PeerLog
from superd.quota import Quotas, Totals
from superd.repeats import CUT_SHORT, Keyed, Repeats
from superd.stats import Stats
from superd.threads import PlainItems, call_plain
from superd.window import DEFAULT_LIMITS, Window
from superd.work import LATE, CallEnded, Outcome, Sink, Work
from superd_client.deadline import current_deadline
from superd_client.errors import ApplicationError
from superd_client.sensitive import secret_texts
from superd_client.wire.envelope import Notification, Request
from superd_client.wire.errors import ErrorCode, ErrorObject, InternalFault

#: Characters of a declared error's message that are sent: it is a sentence for people.
MESSAGE_MAX: Final = 512

#: Codes that mean that no handler ran.
_REFUSALS: Final = frozenset(
    {
        ErrorCode.PARSE_ERROR,
        ErrorCode.INVALID_REQUEST,
        ErrorCode.METHOD_NOT_FOUND,
        ErrorCode.INVALID_PARAMS,
        ErrorCode.PERMISSION_DENIED,
        ErrorCode.RESOURCE_EXHAUSTED,
        ErrorCode.UNAVAILABLE,
        ErrorCode.CONFLICT,
    }
)

_INTERNAL_ERROR: Final = ErrorObject(ErrorCode.INTERNAL_ERROR, "internal error", {})


class Dispatcher:
    """Carries calls out. It knows nothing of sockets: a session asks, and sends what comes back."""

    def __init__(  # noqa: PLR0913 - the parts of the daemon, each by its name
        self,
        endpoints: Mapping[str, Endpoint],
        *,
        states: Mapping[str, Any],
        workers: Executor,
        stats: Stats,
        on_change: Callable[[], None],
        log_successes: bool = False,
        guard: Guard | None = None,
        window: Window | None = None,
        quotas: Quotas | None = None,
    ) -> None:
        """`states` is what each service's lifespan yielded, by the service's name; `workers` run plain handlers.

        `on_change` is called when a count in `stats` has changed. Without a `guard` the methods' defaults hold,
        without a `window` of keys its own, and without `quotas` those of the manual.
        """
        self.endpoints: Final = endpoints
        self.guard: Final = guard or Guard.of_defaults(
            {name: each.access for name, each in endpoints.items()}
        )
        self.screen: Final = self.guard.screen
        self.repeats: Final = Repeats(Window(DEFAULT_LIMITS, now_usec()) if window is None else window)
        self.deadlines: Final = Deadlines()
        self.lookout: Final = Lookout(self.deadlines)
        self.quotas: Final = quotas or Quotas(Totals(), privileged=(0, os.geteuid()))
        self.buffers: Final = Buffers(self.quotas.buffered)
        self.peers: Final = PeerLog(stats, self.quotas.privileged)
        #: What each call's own context is a copy of, that of the server's start: nothing that any caller has set.
        self.base_context = contextvars.copy_context()
        self.states: Final = states
        self._workers = workers
        self.stats: Final = stats
        self.on_change: Final = on_change
        self._log = get_logger()
        self.log_successes = log_successes
        #: Names for calls that have none.
        self.call_ids: Final = map(
            "{}-{:x}".format, itertools.repeat(secrets.token_hex(6)), itertools.count(1)
        )

    def call_id(self, call: Request | Notification | None) -> str:
        """The id that the caller gave, or a new one."""
        given = call.call_id if call is not None else None
        return given if given is not None else next(self.call_ids)

    def call_context(
        self, call: Request | Notification, endpoint: Endpoint, caller: Caller, call_id: str | None = None
    ) -> Context:
        """What the handler of `call` may know. `call_id` is what `call_id` gave, where that was asked before."""
        due = call.meta.get("deadline_usec")
        return Context(
            method=call.method,
            call_id=call_id or self.call_id(call),
            caller=caller,
            state=self.states.get(endpoint.service),
            deadline=None if due is None else due / 1e6,
            sensitive=call.params if endpoint.method.holds_secrets else None,
        )

    def recall(self, work: Work) -> Outcome | None:
        """What to answer to a call with a key in place of carrying it out; None where it is to be carried out."""
        context = work.context
        found = self.repeats.enter(work.call, work.endpoint, context.caller, context.call_id)
        if isinstance(found, Keyed):
            work.keyed = found
            return None
        if isinstance(found, ErrorObject):
            return self.work_failed(work, found)
        context.log.info("repeat answered", first_call_id=found.call_id)
        if isinstance(found.answer, ErrorObject):
            return self.work_failed(work, found.answer)
        self.stats.calls_served += 1
        return found.answer

    async def carry_out(self, work: Work) -> None:
        """Run the handler and tell the owner of `work` what became of it. The body of the work's task.

        Where the work is `started` its handler has run elsewhere, and that of its endpoint gives what that one gave.
        """
        call, endpoint, has_run = work.call, work.endpoint, work.started != 0
        outcome: Outcome | None = None
        self.stats.calls_in_flight += 1
        self.stats.notifications += isinstance(call, Notification)
        try:
            if not has_run:
                self._note_begin(work)
            if endpoint.is_async and endpoint.kind is Kind.CALL and work.keyed is None:
                value = await endpoint.handler(call.params, work.context)
            else:
                value = await self._run_other(work)
            if not work.answered:
                outcome, work.carried = endpoint.method.write_result(value)
                if work.carried is not None:
                    work.carried.close_sources()  # what a handler returns is the daemon's
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if not work.answered and task is not None and task.cancelling():
                raise
            outcome = self._raised(work, error)
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises is an answer
            outcome = _INTERNAL_ERROR  # where even the telling fails: an exception may be anything
            outcome = self._raised(work, error)
        finally:
            self.stats.calls_in_flight -= 1
            if isinstance(outcome, bytes):
                self._served(work)
            if work.keyed is not None:
                self._keep(work, work.keyed, outcome)
            self.on_change()
            work.owner.ended(work, outcome)

    def carry_out_inline(self, work: Work, context: contextvars.Context) -> None:
        """As `carry_out`, in `context`, for a call whose handler is inline and never waits: it has ended when this returns."""
        try:
            context.run(self.carry_out(work).send, None)
        except StopIteration:
            pass
        except BaseException as error:  # noqa: BLE001 - what a task would raise: not even the telling worked
            told = {"message": "a call has failed, and could not be told of", "exception": error}
            asyncio.get_running_loop().call_exception_handler(told)

    def _keep(self, work: Work, keyed: Keyed, outcome: Outcome | None) -> None:
        """Keep what a call with a key came to, where that is not done: its task has ended."""
        step = keyed.step
        if outcome is not None and keyed.ran:
            keyed.end(outcome)
        elif step is None and keyed.ran:
            keyed.end(CUT_SHORT)
        elif step is None or step.cancelled():
            keyed.cancel()
        else:
            loop = asyncio.get_running_loop()

            def thread_ended(step: Future[Any]) -> None:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
                    loop.call_soon_threadsafe(self._keep_late, work, keyed, step)

            step.add_done_callback(thread_ended)

    def _keep_late(self, work: Work, keyed: Keyed, step: Future[Any]) -> None:
        """The same for what a thread came to after its call was answered."""
        if step.cancelled():
            keyed.cancel()  # superd stops
            return
        try:
            keyed.end(work.endpoint.method.write_result(step.result())[0])
        except CallEnded:
            keyed.cancel()  # it did not begin
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises is an answer
            keyed.end(_explain(work.endpoint, error))

    def _note_begin(self, work: Work) -> None:
        """Raise CallEnded if its deadline has passed; else what the handler calls must end by then, too."""
        work.started, due = time.monotonic_ns(), work.due_usec
        if due is None:
            return
        if due * 1000 <= work.started:
            raise CallEnded(LATE)
        current_deadline.set(due)

    async def _run_other(self, work: Work) -> Any:
        """Run what is not simply a coroutine; the result of the call."""
        endpoint, params, context = work.endpoint, work.call.params, work.context
        if work.keyed is not None:
            return await self._run_keyed(work, work.keyed)
        if work.sink is not None:
            items = endpoint.handler(params, context)
            if not endpoint.is_async:
                items = PlainItems(self._workers, work, items)
            return await _produce(work, items, work.sink)
        arguments = (params, context) if work.source is None else (params, work.source, context)
        return await self._call(work, *arguments)

    async def _call(self, work: Work, *arguments: Any) -> Any:
        """Call the handler where it belongs."""
        endpoint = work.endpoint
        if endpoint.is_async:
            return await endpoint.handler(*arguments)
        if endpoint.is_inline:
            return _at_once(endpoint, endpoint.handler(*arguments))
        return await call_plain(self._workers, work, *arguments)

    async def _run_keyed(self, work: Work, keyed: Keyed) -> Any:
        """Run a call with a key. What its handler decides is kept, also where its caller was told meanwhile that it was cancelled."""
        keyed.ran = True
        value = await self._call(work, work.call.params, work.context)
        if work.answered:
            keyed.end(work.endpoint.method.write_result(value)[0])
        return value

    def _served(self, work: Work) -> None:
        self.stats.calls_served += 1
        if self.log_successes:
            self._log.debug(
                "call served", **_fields(work.call, work.context.caller, work.context.call_id, work.started)
            )

    def _raised(self, work: Work, error: BaseException) -> ErrorObject | None:
        """The outcome of a call that raised `error`; None where it was answered before."""
        if not work.answered:
            return self.work_failed(work, _explain(work.endpoint, error), error)
        if not isinstance(error, asyncio.CancelledError | CallEnded):
            if work.keyed is not None:
                work.keyed.end(_explain(work.endpoint, error))
            fields = _fields(work.call, work.context.caller, work.context.call_id, work.started)
            fields |= self._hidden(work.call)
            self._log.info("a cancelled call raised an exception", exc_info=error, **fields)
        return None

    def work_failed(self, work: Work, error: ErrorObject, cause: BaseException | None = None) -> ErrorObject:
        """As `failed`, for a call that was begun."""
        context = work.context
        return self.failed(
            error, work.call, context.caller, context.call_id, started=work.started or None, cause=cause
        )

    def failed(
        self,
        error: ErrorObject,
        call: Request | Notification | None,
        caller: Caller,
        call_id: str,
        *,
        started: int | None = None,
        cause: BaseException | None = None,
    ) -> ErrorObject:
        """Count and log a call that has no result; return the error as the caller is to see it.

        `started` is in nanoseconds of CLOCK_MONOTONIC; of `cause`, or that of an InternalFault, the journal gets the
        traceback, the caller nothing.
        """
        self.stats.notifications_failed += isinstance(call, Notification)
        if error.code in _REFUSALS:
            self.stats.calls_refused += 1
        else:
            self.stats.calls_failed += 1
        if self.peers.limit.allows(caller.uid, error=error.code == ErrorCode.INTERNAL_ERROR):
            self._log_failed(error, call, caller, _fields(call, caller, call_id, started), cause)
        return error.with_data(call_id=call_id)

    def _log_failed(
        self,
        error: ErrorObject,
        call: Request | Notification | None,
        caller: Caller,
        fields: dict[str, Any],
        cause: BaseException | None,
    ) -> None:
        if isinstance(error, InternalFault):
            cause = cause or error.cause
        fields |= {"code": int(error.code), "reason": error.message, **self._hidden(call)}
        if error.code == ErrorCode.RESOURCE_EXHAUSTED:
            fields |= {name: error.data.get(name) for name in ("resource", "used", "limit")}
        denial = None if call is None else self.guard.explain_denial(error, call.method, caller)
        if denial is not None:
            self._log.warning("call denied", message_id=MessageId.CALL_DENIED, **fields, **denial)
        elif error.code in _REFUSALS:
            tell = self._log.info if error.code == ErrorCode.CONFLICT else self._log.warning
            tell("call refused", message_id=MessageId.CALL_REFUSED, **fields)
        elif error.code == ErrorCode.INTERNAL_ERROR:
            self._log.error("call failed", message_id=MessageId.CALL_FAILED, exc_info=cause, **fields)
        else:
            self._log.info("call failed", message_id=MessageId.CALL_FAILED, **fields)

    def _hidden(self, call: Request | Notification | None) -> dict[str, Any]:
        """What the log must not show of a call, for superd.journal."""
        endpoint = None if call is None else self.endpoints.get(call.method)
        if call is None or endpoint is None or not endpoint.method.holds_secrets:
            return {}
        return {"_secrets": secret_texts(call.params)}

    def not_served(self, work: Work, error: ErrorObject) -> ErrorObject:
        """Take back that a call was served: its result cannot be sent. To be called as soon as it has ended."""
        self.stats.calls_served -= 1
        return self.work_failed(work, error)

    def abandoned(self, call: Request | Notification, caller: Caller, call_id: str) -> None:
        """Count and log a call whose caller went away."""
        self.stats.calls_failed += 1
        if self.peers.limit.allows(caller.uid):
            fields = _fields(call, caller, call_id, None)
            self._log.info("peer vanished, call cancelled", message_id=MessageId.PEER_VANISHED, **fields)


async def _produce(work: Work, items: Any, sink: Sink) -> None:
    """Send what a generator makes. It runs only while another item may be sent."""
    write, step = work.endpoint.write_item, items.__anext__
    try:
        while True:
            if not sink.is_ready():
                await sink.ready()
            try:
                item = await step()
            except StopAsyncIteration:
                return
            if work.answered:  # a generator may swallow its cancellation
                return
            body, carried = write(item)
            if carried is not None:
                carried.close_sources()
            sink.send(body, carried)
    finally:
        await items.aclose()


def _at_once(endpoint: Endpoint, value: Any) -> Any:
    """What an inline handler returned; raises TypeError for what is no result yet, as of a function that hides a coroutine."""
    if not inspect.isawaitable(value):
        return value
    if inspect.iscoroutine(value):
        value.close()
    raise TypeError(
        f"the handler of {endpoint.method.name} is inline and returned an awaitable: leave inline out"
    )


def _sentence(text: str) -> str:
    """A message that is short and is Unicode: a service's code may hold a lone surrogate."""
    return text[:MESSAGE_MAX].encode("utf-8", "backslashreplace").decode()


def _explain(endpoint: Endpoint, error: BaseException) -> ErrorObject:
    """The error that the caller is to see: what the method declares, or nothing but that it failed."""
    if isinstance(error, CallEnded):
        return error.error
    if isinstance(error, ApplicationError) and error.detail is not None:
        # One that is not declared, or that JSON cannot say, is like any other exception.
        with contextlib.suppress(TypeError, ValueError):
            return endpoint.method.encode_error(error.detail, _sentence(error.message))
    return _INTERNAL_ERROR


def _fields(
    call: Request | Notification | None, caller: Caller, call_id: str, started: int | None
) -> dict[str, Any]:
    fields: dict[str, Any] = {"call_id": call_id, "peer_uid": caller.uid, "peer_pid": caller.pid}
    if call is not None:
        fields["method"] = call.method
    if caller.unit is not None:
        fields["peer_unit"] = caller.unit
    if started is not None:
        fields["duration_usec"] = (time.monotonic_ns() - started) // 1000
    return fields
