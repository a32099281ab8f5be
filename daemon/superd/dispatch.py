"""Call -> Outcome: finds the handler, runs it where it belongs, turns what it does into an answer, and tells of it."""

import asyncio
import contextlib
import contextvars
import inspect
import itertools
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Final, TypeAlias

from pydantic import BaseModel

from superd.guard import Guard
from superd.journal import MessageId, get_logger
from superd.peer import Caller
from superd.service import Context, Endpoint
from superd.stats import Stats
from superd_client.errors import ApplicationError
from superd_client.streams import Stream, Upload
from superd_client.wire.envelope import Notification, Request
from superd_client.wire.errors import ErrorCode, ErrorObject

#: What became of a call: its result as JSON, or the error to answer with.
Outcome: TypeAlias = bytes | ErrorObject

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
    }
)

_INTERNAL_ERROR: Final = ErrorObject(ErrorCode.INTERNAL_ERROR, "internal error", {})


class Dispatcher:
    """Carries calls out. It knows nothing of sockets: a session asks, and sends what comes back."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        *,
        states: Mapping[str, Any],
        workers: Executor,
        stats: Stats,
        on_change: Callable[[], None],
        log_successes: bool = False,
        guard: Guard | None = None,
    ) -> None:
        """`states` is what each service's lifespan yielded, by the service's name; `workers` run plain handlers.

        `on_change` is called when a count in `stats` has changed. Without a `guard` the methods' defaults hold.
        """
        self._endpoints = endpoints
        self._guard = guard or Guard.of_defaults({name: each.access for name, each in endpoints.items()})
        self.screen: Final = self._guard.screen
        self._states = states
        self._workers = workers
        self._stats = stats
        self._on_change = on_change
        self._log = get_logger()
        self._log_successes = log_successes
        self._call_ids = map("{}-{:x}".format, itertools.repeat(secrets.token_hex(6)), itertools.count(1))

    def call_id(self, call: Request | Notification | None) -> str:
        """The id that the caller gave, or a new one."""
        given = call.call_id if call is not None else None
        return given if given is not None else next(self._call_ids)

    def is_stream(self, method: str) -> bool:
        """Whether this is the name of a stream or an upload."""
        endpoint = self._endpoints.get(method)
        return endpoint is not None and isinstance(endpoint.method, Stream | Upload)

    async def carry_out(self, call: Request | Notification, caller: Caller, call_id: str) -> Outcome:
        """Run the handler and return its outcome; never raises but CancelledError."""
        endpoint = self._endpoints[call.method]
        state = self._states.get(endpoint.service)
        context = Context(method=call.method, call_id=call_id, caller=caller, state=state)
        started = time.monotonic_ns()
        self._stats.calls_in_flight += 1
        self._stats.notifications += isinstance(call, Notification)
        try:
            outcome = endpoint.method.encode_result(await self._run(endpoint, call.params, context))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return self.failed(_INTERNAL_ERROR, call, caller, call_id, started=started, cause=error)
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises is an answer
            return self.failed(_explain(endpoint, error), call, caller, call_id, started=started, cause=error)
        finally:
            self._stats.calls_in_flight -= 1
            self._on_change()
        self._stats.calls_served += 1
        if self._log_successes:
            self._log.debug("call served", **_fields(call, caller, call_id, started))
        return outcome

    async def _run(self, endpoint: Endpoint, params: BaseModel, context: Context) -> Any:
        if endpoint.is_async:
            return await endpoint.handler(params, context)
        run = contextvars.copy_context().run
        loop = asyncio.get_running_loop()
        value = await loop.run_in_executor(self._workers, run, _call_plain, endpoint.handler, params, context)
        # Not every function that returns an awaitable can be recognised beforehand.
        return await value if inspect.isawaitable(value) else value

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

        `started` is in nanoseconds of CLOCK_MONOTONIC; of `cause` the journal gets the traceback, the caller nothing.
        """
        fields = _fields(call, caller, call_id, started)
        fields |= {"code": int(error.code), "reason": error.message}
        denial = None if call is None else self._guard.explain_denial(error, call.method, caller)
        if denial is not None:
            self._stats.calls_refused += 1
            self._log.warning("call denied", message_id=MessageId.CALL_DENIED, **fields, **denial)
        elif error.code in _REFUSALS:
            self._stats.calls_refused += 1
            self._log.warning("call refused", message_id=MessageId.CALL_REFUSED, **fields)
        elif error.code == ErrorCode.INTERNAL_ERROR:
            self._stats.calls_failed += 1
            self._log.error("call failed", message_id=MessageId.CALL_FAILED, exc_info=cause, **fields)
        else:
            self._stats.calls_failed += 1
            self._log.info("call failed", message_id=MessageId.CALL_FAILED, **fields)
        return error.with_data(call_id=call_id)

    def not_served(
        self, error: ErrorObject, call: Request | Notification, caller: Caller, call_id: str
    ) -> ErrorObject:
        """Take back that a call was served: its result cannot be sent. To be called as soon as `carry_out` returns."""
        self._stats.calls_served -= 1
        return self.failed(error, call, caller, call_id)

    def abandoned(self, call: Request | Notification, caller: Caller, call_id: str) -> None:
        """Count and log a call whose caller went away."""
        self._stats.calls_failed += 1
        fields = _fields(call, caller, call_id, None)
        self._log.info("peer vanished, call cancelled", message_id=MessageId.PEER_VANISHED, **fields)


def _call_plain(handler: Callable[[Any, Context], Any], params: BaseModel, context: Context) -> Any:
    """Call a plain handler. Makes another error of those two that a future or an `await` takes for its own."""
    try:
        return handler(params, context)
    except (StopIteration, GeneratorExit) as error:
        message = f"the handler raised {type(error).__name__}"
        raise RuntimeError(message) from error


def _sentence(text: str) -> str:
    """A message that is short and is Unicode: a service's code may hold a lone surrogate."""
    return text[:MESSAGE_MAX].encode("utf-8", "backslashreplace").decode()


def _explain(endpoint: Endpoint, error: BaseException) -> ErrorObject:
    """The error that the caller is to see: what the method declares, or nothing but that it failed."""
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
