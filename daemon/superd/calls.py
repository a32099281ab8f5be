"""What runs for one peer: its calls from their begin to their answer, and what is left of them after it."""

import asyncio
import contextlib
import functools
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from superd.buffers import MESSAGE_FREE, Account
from superd.charges import Charged, Charges, refusal
from superd.dispatch import Dispatcher
from superd.flows import Gap, ItemSink, LoopItems, ThreadItems
from superd.handlers import Kind
from superd.outbox import Outbox, refused_descriptors
from superd.peer import Caller
from superd.work import Deadline, Outcome, Work
from superd_client.wire.envelope import Notification, Request, RequestId
from superd_client.wire.errors import ErrorCode, ErrorObject
from superd_client.wire.framing import FrameTooLarge
from superd_client.wire.limits import STREAM_CREDIT_DEFAULT
from superd_client.wire.server import Item, ServerConnection

_CALL: Final = Kind.CALL

CANCELLED: Final = ErrorObject(ErrorCode.CANCELLED, "the call was cancelled by its caller", {})
KICKED: Final = ErrorObject(
    ErrorCode.CANCELLED, "the call was cancelled because an administrator closed the connection", {}
)
STOPPED: Final = ErrorObject(ErrorCode.CANCELLED, "the call was cancelled because the server stops", {})

_NEEDS_ID: Final = ErrorObject(ErrorCode.INVALID_REQUEST, "streams and uploads need an id", {})
_STOPPING: Final = ErrorObject(
    ErrorCode.UNAVAILABLE, "the server is stopping; no stream or upload is begun any more", {}
)
#: `begun` tells it from a call that was not carried out (protocol §19.7).
_NOT_CARRIED_OVER: Final = ErrorObject(
    ErrorCode.UNAVAILABLE, "the server is restarted, and the stream ends with it", {"begun": True}
)


#: Begins a task at once, where Python can do that. Built directly: not every loop's own way passes the argument on.
_task: Final[Callable[..., asyncio.Task[None]]] = (
    functools.partial(asyncio.Task, eager_start=True)  # type: ignore[call-arg]  # it is there then
    if sys.version_info >= (3, 12)
    else asyncio.Task
)


class Calls:
    """The calls of one connection. `on_progress` is called when one was answered, and when one has ended.

    A call that is cancelled is answered at once, and its id is free. What its handler still does is work of this
    peer until it ends, whether its handler takes notice of the cancellation or not.
    """

    __slots__ = (
        "_charges",
        "_context",
        "_dispatcher",
        "_loop",
        "_next_turn",
        "_on_progress",
        "_outbox",
        "_to_watch",
        "_uid",
        "_unanswered",
        "caller",
        "connection",
        "failed",
        "open_streams",
        "peer_is_gone",
        "refuses_streams",
        "running",
        "served",
        "streams",
    )

    def __init__(
        self,
        caller: Caller,
        dispatcher: Dispatcher,
        connection: ServerConnection,
        outbox: Outbox,
        account: Account,
        *,
        streams: int,
        on_progress: Callable[[], None],
        next_turn: Callable[[], Awaitable[None]],
    ) -> None:
        """Allow so many open `streams`, uploads among them; each waits for `next_turn` before it sends some more items."""
        self.caller: Final = caller
        self._uid = caller.uid
        self._dispatcher = dispatcher
        self.connection: Final = connection
        self._outbox = outbox
        self._charges = Charges(dispatcher.quotas, account)
        self.streams = streams
        self._on_progress = on_progress
        self._next_turn = next_turn
        self._loop = asyncio.get_running_loop()
        self._context = dispatcher.base_context
        #: What runs, streams and notifications among it.
        self.running: Final[set[Work]] = set()
        self._unanswered: dict[RequestId, Work] = {}
        #: What was begun and has a deadline that nobody watches yet.
        self._to_watch: list[Work] = []
        #: Streams and uploads that are not answered.
        self.open_streams = 0
        #: Requests answered with a result, and with an error.
        self.served = 0
        self.failed = 0
        #: Set once streams are refused, because the server stops.
        self.refuses_streams = False
        #: Set once the peer is gone: no request is begun, and no answer sent.
        self.peer_is_gone = False

    def is_full(self, limit: int) -> bool:
        """Whether as much as `limit` runs beside open streams (protocol §14.13)."""
        return len(self.running) - self.open_streams >= limit

    @property
    def all_ended(self) -> bool:
        """Whether nothing runs at all."""
        return not self.running

    def tasks(self, *, streams: bool) -> set[asyncio.Task[None]]:
        """What runs: streams alone, or all else, uploads among it."""
        return {
            work.task for work in self.running if work.task is not None and (work.sink is not None) is streams
        }

    # --- begin -----------------------------------------------------------------------------------------------------

    def admit(self, call: Request | Notification, size: int) -> None:
        """Carry out a call of `size` bytes that was read, judged and found good elsewhere."""
        self.connection.body_size = size
        if isinstance(call, Request):
            self.connection.in_flight.add(call.id)
        self.begin(call)

    def finish_inline(self, work: Work) -> None:
        """Answer a call whose inline handler has run; that of the work's endpoint gives what it gave."""
        if isinstance(work.call, Request):
            self.connection.in_flight.add(work.call.id)
        self._register(work, work.call)
        self._dispatcher.carry_out_inline(work, self._context.copy())

    def start(self, work: Work, steps: Coroutine[Any, Any, None]) -> None:
        """Carry a call out by `steps`."""
        # Not in the context of the call whose end may have made room for this one.
        work.task = self._loop.create_task(steps, context=self._context.copy())
        if work.due_usec is not None:
            self._to_watch.append(work)

    def begin_plain(
        self, work: Work, carry_out: Callable[[Work, "Calls"], Coroutine[Any, Any, None]]
    ) -> bool:
        """Carry out a call that was read, judged and found good elsewhere, and holds nothing beside being one.

        False, and nothing is done, where it may be too much.
        """
        if self._charges.take_plain(self._uid) is not None:
            return False
        call = work.call
        self.running.add(work)
        if isinstance(call, Request):
            self.connection.in_flight.add(call.id)
            self._unanswered[call.id] = work
        work.task = _task(
            carry_out(work, self), loop=self._loop, context=self._context.copy(), name=call.method
        )
        if work.due_usec is not None and not work.answered:
            self._dispatcher.lookout.note(work, work.due_usec)
        return True

    def finish_plain(self, work: Work, reply: bytes) -> None:
        """A call that holds nothing beside being one has ended; `reply` is the frame of its result, b"" where none is due."""
        self.running.discard(work)
        self._charges.give_plain(self._uid)
        work.answered = True
        if work.deadline is not None:
            work.deadline.cancel()
        if isinstance(work.call, Request):
            in_flight, request_id = self.connection.in_flight, work.call.id
            in_flight.discard(request_id)
            del self._unanswered[request_id]
            if not self.peer_is_gone:
                self.served += 1
                if in_flight or self._outbox.is_held:
                    self._outbox.add(reply, more_follows=True)
                else:
                    self._outbox.write((reply,))
        self._on_progress()

    def begin(self, call: Request | Notification) -> None:
        """Carry out `call`, or refuse it."""
        if self.peer_is_gone and isinstance(call, Request):
            self._dispatcher.abandoned(call, self.caller, self._dispatcher.call_id(call))
            _release(call)
            return
        if isinstance(call.params, ErrorObject):
            self._fail(call, call.params)
            return
        endpoint = self._dispatcher.endpoints[call.method]
        due = call.meta.get("deadline_usec")
        context = self._dispatcher.call_context(call, endpoint, self.caller)
        work = Work(self, call, endpoint, context, due)
        size = self.connection.body_size
        is_plain = (
            endpoint.kind is _CALL
            and call.received is None
            and size <= MESSAGE_FREE
            and not endpoint.is_inline
        )
        if not is_plain or self._charges.take_plain(self._uid) is not None:
            exceeded = self._charges.begin(work, size)
            if exceeded is not None:
                self._fail(call, refusal(exceeded))
                return
        if (call.fingerprint is not None or endpoint.kind is not _CALL) and not self._prepare(work, call):
            self._charges.end(work)
            return
        self._register(work, call)
        if endpoint.is_inline:
            self._dispatcher.carry_out_inline(work, self._context.copy())
            return
        self.start(work, self._dispatcher.carry_out(work))

    def _register(self, work: Work, call: Request | Notification) -> None:
        self.running.add(work)
        if isinstance(call, Request):
            self._unanswered[call.id] = work

    def _prepare(self, work: Work, call: Request | Notification) -> bool:
        """Look whether a call with a key is to be carried out, or prepare for items; False where it was answered."""
        if call.fingerprint is not None and (known := self._dispatcher.recall(work)) is not None:
            self._answer_known(work, known)
            return False
        if work.endpoint.kind is not _CALL and (error := self._open(work, call)) is not None:
            self._fail(call, error)
            return False
        return True

    def _answer_known(self, work: Work, known: Outcome) -> None:
        """Answer a call that is not begun, because of its key."""
        if isinstance(known, bytes):
            self._answer_result(work, known)
        else:
            self._answer(work.call, known)
        _release(work.call)

    def watch_begun(self) -> None:
        """Watch the deadlines of what was begun; to be called after some `begin`.

        Each has its first step first: most calls are over then, and need no watching.
        """
        if self._to_watch:
            self._loop.call_soon(self._watch, self._to_watch)
            self._to_watch = []

    def _watch(self, works: list[Work]) -> None:
        for work in works:
            if not work.answered and work.due_usec is not None:
                work.deadline = Deadline(work, work.due_usec)
                self._dispatcher.deadlines.watch(work.deadline)

    def _fail(self, call: Request | Notification, error: ErrorObject) -> None:
        """Answer a call that is in flight and was not begun."""
        error = self._dispatcher.failed(error, call, self.caller, self._dispatcher.call_id(call))
        if isinstance(call, Request):
            self.failed += 1
            self._send(self.connection.send_failure(call.id, error))
        _release(call)

    def _open(self, work: Work, call: Request | Notification) -> ErrorObject | None:
        """Prepare for the items of a stream or an upload; why it is refused, if it is."""
        if not isinstance(call, Request):
            return _NEEDS_ID
        if self.refuses_streams:
            return _STOPPING
        if self.open_streams >= self.streams:
            data = {"resource": "streams", "used": self.open_streams, "limit": self.streams}
            return ErrorObject(ErrorCode.RESOURCE_EXHAUSTED, "too many open streams", data)
        self.open_streams += 1
        if work.endpoint.kind is Kind.STREAM:
            self._open_stream(work, call)
        else:
            self._open_upload(work, call)
        return None

    def _open_stream(self, work: Work, call: Request) -> None:
        self.connection.open_outflow(call.id, call.meta.get("credit", STREAM_CREDIT_DEFAULT))
        span = call.meta.get("gap_usec")
        gap = None if span is None else Gap(work, span, self._dispatcher.deadlines)
        work.sink = ItemSink(work, self.connection, self._outbox, call.id, gap, self._next_turn)

    def _open_upload(self, work: Work, call: Request) -> None:
        def grant(items: int) -> None:
            if not work.answered:
                self._send(self.connection.send_credit(call.id, items))

        def starve(error: ErrorObject) -> None:
            self.stop(work, error)

        def taken(item: Charged) -> None:
            self._charges.item_taken(work, item)

        credit = self.connection.open_inflow(call.id, STREAM_CREDIT_DEFAULT, work.endpoint.decode_item)
        self._send(credit)
        if work.endpoint.is_async:
            work.source = LoopItems[Any](grant, starve, taken)
        else:
            work.source = ThreadItems[Any](grant, starve, taken, self._loop)

    # --- what the peer says of calls that run --------------------------------------------------------------------

    def find(self, request_id: RequestId) -> Work | None:
        """The call that has this id and is not answered."""
        return self._unanswered.get(request_id)

    def put_item(self, work: Work, item: Item) -> None:
        """Hand the next item of an upload to its handler."""
        if work.source is not None:
            work.source.put(self._charges.item_came(work, item.value, self.connection.body_size, item.fds))

    def cut_streams(self) -> None:
        """The peer sends nothing more: neither items nor credit."""
        if self.open_streams:
            for work in self._unanswered.values():
                for end in (work.sink, work.source):
                    if end is not None:
                        end.cut()

    # --- the end ----------------------------------------------------------------------------------------------------

    def stop(self, work: Work, error: ErrorObject) -> None:
        """Answer with `error`, unless it was answered before, and cancel what runs."""
        if not work.answered:
            self._settle(work)
            if self.peer_is_gone and isinstance(work.call, Request):
                self._dispatcher.abandoned(work.call, self.caller, work.context.call_id)
            else:
                self._answer(work.call, self._dispatcher.work_failed(work, error))
        work.cancel()
        if not work.started:
            if work.keyed is not None:
                work.keyed.cancel()
            self.ended(work, None)  # its task will not even begin
        else:
            self._on_progress()

    def stop_streams(self) -> None:
        """End the streams behind their last item: a restart does not carry them over. Uploads go on."""
        for work in tuple(self.running):
            if work.sink is not None:
                self.stop(work, _NOT_CARRIED_OVER)

    def stop_all(self, error: ErrorObject) -> None:
        """Stop everything."""
        for work in tuple(self.running):
            self.stop(work, error)

    def abandon(self) -> None:
        """The peer is gone: cancel its requests.

        Its notifications are carried out all the same (protocol §13.7), and its calls with a key, for whose answer it
        may come back (§20.7). May be repeated: what cleans up after its cancellation is not cancelled once more.
        """
        if self.peer_is_gone:
            return
        self.peer_is_gone = True
        for work in tuple(self.running):
            if isinstance(work.call, Request) and work.keyed is None:
                self.stop(work, CANCELLED)

    def ended(self, work: Work, outcome: Outcome | None) -> None:
        """Nothing of it runs any more; answer, unless that was done before."""
        self.running.discard(work)
        endpoint = work.endpoint
        if (
            work.step is None
            and endpoint.kind is _CALL
            and not endpoint.is_inline
            and not self._charges.holdings
        ):
            self._charges.give_plain(self._uid)
        elif work.step is None or work.step.done():
            self._end_charges(work)
        else:
            work.step.add_done_callback(lambda _: self._end_charges_later(work))
        if not work.answered:
            self._settle(work)
            if isinstance(outcome, bytes):
                self._answer_result(work, outcome)
            elif outcome is not None:
                self._answer(work.call, outcome)
        if work.call.received is not None and (endpoint.is_async or endpoint.is_inline or not work.started):
            work.release()  # a thread may still use them, and releases them itself
        self._on_progress()

    def let_go(self) -> None:
        """Know its connection no longer: nothing runs, and nothing will."""
        del self._on_progress, self._next_turn

    def _end_charges(self, work: Work) -> None:
        if work.source is not None:
            work.source.discard()
        self._charges.end(work)

    def _end_charges_later(self, work: Work) -> None:
        """A thread has ended, or was not begun, for which its cancelled call did not wait."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: superd has stopped
            self._loop.call_soon_threadsafe(self._end_charges, work)

    def _settle(self, work: Work) -> None:
        work.settle()
        if isinstance(work.call, Request):
            del self._unanswered[work.call.id]
            self.open_streams -= work.is_stream

    def _answer_result(self, work: Work, result: bytes) -> None:
        call, carried = work.call, work.carried
        if isinstance(call, Notification) or self.peer_is_gone:
            if carried is not None:
                carried.close()
            return
        try:
            frame = self.connection.send_result(call.id, result, 0 if carried is None else len(carried.fds))
            self.served += 1
            if carried is None:
                self._send(frame)
            else:
                self._outbox.add_carrying(frame, carried, lambda error: self._not_passed(work, call, error))
        except FrameTooLarge as error:
            if carried is not None:
                carried.close()
            self._answer(
                work.call, self._dispatcher.not_served(work, self._outbox.too_large(error, "the result"))
            )

    def _not_passed(self, work: Work, call: Request, error: OSError) -> None:
        """The kernel did not pass the descriptors of a result, and nothing of it was sent."""
        if not self.peer_is_gone:
            failure = self._dispatcher.not_served(work, refused_descriptors(error))
            self._send(self.connection.send_refusal(call.id, failure))

    def _answer(self, call: Request | Notification, error: ErrorObject) -> None:
        if isinstance(call, Request) and not self.peer_is_gone:
            self.failed += 1
            self._send(self.connection.send_failure(call.id, error))

    def _send(self, frame: bytes) -> None:
        self._outbox.add(frame, more_follows=self.connection.calls_in_flight > 0)


def _release(call: Request | Notification) -> None:
    if call.received is not None:
        call.received.close()
