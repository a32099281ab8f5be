"""One call from its begin to its end, and what it asks of the connection that it came by."""

import asyncio
from concurrent.futures import Future
from typing import Any, Protocol, TypeAlias

from typing_extensions import override

from superd.context import Context
from superd.deadlines import Timed
from superd.handlers import Endpoint
from superd.repeats import Keyed
from superd_client.descriptors import Outgoing
from superd_client.wire.envelope import Notification, Request
from superd_client.wire.errors import ErrorCode, ErrorObject

#: What became of a call: its result as JSON, or the error to answer with.
Outcome: TypeAlias = bytes | ErrorObject


class CallEnded(Exception):
    """Raised where a call cannot go on; `error` is what its caller is to see."""

    def __init__(self, error: ErrorObject) -> None:
        super().__init__(error.message)
        self.error = error


class Sink(Protocol):
    """Where a stream's items go."""

    def is_ready(self) -> bool:
        """Whether another item may be sent now; where not, `ready` waits."""

    async def ready(self) -> None:
        """Wait until another item may be sent; raises CallEnded where that will never be."""

    def send(self, item: bytes, carried: Outgoing | None) -> None:
        """Send an item, which is JSON, and its descriptors; raises CallEnded for one that does not fit."""

    def credited(self) -> None:
        """The peer has given credit."""

    def cut(self) -> None:
        """The peer sends nothing more, and so no credit."""

    def close(self) -> None:
        """The call is answered: watch no gap any more."""


class Source(Protocol):
    """Where an upload's items come from: an asynchronous iterator, or a plain one for a worker thread."""

    def put(self, item: Any) -> None:
        """Take an item that has come."""

    def end(self) -> None:
        """All items have come."""

    def cut(self) -> None:
        """The peer sends nothing more, and so no items."""

    def close(self) -> None:
        """The call is answered: nobody wants items any more."""

    def discard(self) -> None:
        """Nothing of the call runs any more: close what came with items that nobody took."""


class Owner(Protocol):
    """Who began a work."""

    def stop(self, work: "Work", error: ErrorObject) -> None:
        """Answer with `error`, unless it was answered before, and cancel what runs."""

    def ended(self, work: "Work", outcome: Outcome | None) -> None:
        """Nothing of it runs any more; None where it was answered before."""


LATE = ErrorObject(ErrorCode.DEADLINE_EXCEEDED, "the deadline of the call has passed", {})


class Deadline(Timed):
    """Stops a work when its time is over. It does not keep alive what was answered."""

    __slots__ = ("_work",)

    def __init__(self, work: "Work", due: int) -> None:
        self.due_usec = due
        self.watched = False
        self._work: Work | None = work

    def cancel(self) -> None:
        """The work is answered."""
        self.due_usec = self._work = None

    @override
    def expire(self) -> None:
        if self._work is not None:
            self._work.owner.stop(self._work, LATE)


class Work:
    """A call that runs. It is *answered* once: with its outcome, or before that, when it is cancelled."""

    __slots__ = (
        "answered",
        "call",
        "carried",
        "context",
        "deadline",
        "due_usec",
        "endpoint",
        "keyed",
        "owner",
        "sink",
        "source",
        "started",
        "step",
        "task",
    )

    def __init__(
        self,
        owner: Owner,
        call: Request | Notification,
        endpoint: Endpoint,
        context: Context,
        due: int | None,
    ) -> None:
        """`due` is the deadline in microseconds of CLOCK_MONOTONIC."""
        self.owner = owner
        self.call = call
        self.endpoint = endpoint
        self.context = context
        self.due_usec = due
        #: What watches for that time, where somebody does.
        self.deadline: Deadline | None = None
        self.answered = False
        #: Its place among the calls with keys, if it has one.
        self.keyed: Keyed | None = None
        #: The descriptors that its result takes along.
        self.carried: Outgoing | None = None
        #: When it began, in nanoseconds of CLOCK_MONOTONIC; 0 before.
        self.started = 0
        #: The ends of the items, where there are any.
        self.sink: Sink | None = None
        self.source: Source | None = None
        self.task: asyncio.Task[None] | None = None
        #: What waits for a worker thread, or runs on one, or was the last to do so.
        self.step: Future[Any] | None = None

    @property
    def is_stream(self) -> bool:
        """Whether items belong to it, in whichever direction."""
        return self.sink is not None or self.source is not None

    def settle(self) -> None:
        """It is answered: its deadline, its credit and its items mean nothing any more."""
        self.answered = True
        if self.deadline is not None:
            self.deadline.cancel()
        if self.sink is not None:
            self.sink.close()
        if self.source is not None:
            self.source.close()

    def cancel(self) -> None:
        """Tell what runs that it is in vain."""
        self.context.cancel()
        if self.task is not None:
            self.task.cancel()

    def release(self) -> None:
        """Close the descriptors that came with the call and that nobody took."""
        if self.call.received is not None:
            self.call.received.close()
