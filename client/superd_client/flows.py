"""The items of one call, as both clients keep them: `Inbox` for a stream, `Outbox` for an upload (protocol §14)."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias

from superd_client.contract import Method, UntypedMethod, as_method
from superd_client.descriptors import Outgoing, close_held
from superd_client.streams import Stream, UntypedItems, Upload
from superd_client.wire.client import ClientConnection
from superd_client.wire.control import ItemHead
from superd_client.wire.envelope import Mismatch
from superd_client.wire.limits import CREDIT_MAX

#: What a timeout bounds: the time to the next item, or the whole of a stream.
Bound: TypeAlias = Literal["gap", "whole"]


#: Params as JSON, and what they take along.
Params: TypeAlias = tuple[bytes, Outgoing | None]


class Items(Protocol):
    """How items are written and read; `superd_client.streams` has it."""

    @property
    def read_item(self) -> Callable[[bytes], Any] | None:
        """Reads the JSON of an item by itself."""

    def write(self, value: Any, /) -> tuple[bytes, Outgoing | None]:
        """Write an item, with what it takes along."""

    def decode(self, body: bytes, fds: Sequence[int], head: ItemHead) -> Any:
        """Read the message of an item."""


#: Items of an upload that are sent, where the server takes them at once, before a look at what it has said.
LOOK_EVERY: Final = 16


class _Nothing:
    """The type of NOTHING."""

    __slots__ = ()


#: What `Inbox.take` returns where no item is there; None is an item.
NOTHING: Final = _Nothing()


class Inbox:
    """The items of a stream that have come and were not taken, never more than `credit`."""

    __slots__ = ("_due_at", "_taken", "_waiting", "codec", "credit", "received")

    def __init__(self, codec: Items, credit: int) -> None:
        """Let `credit` items come before the first is taken."""
        self.codec: Final = codec
        self.credit: Final = credit
        #: Whether an item has come: the server has begun.
        self.received = False
        self._waiting: deque[Any] = deque()
        self._taken = 0
        #: How many items are taken when credit is due for them: half of all, so that few messages carry it.
        self._due_at: Final = (credit + 1) // 2

    def open(self, wire: ClientConnection[Any], request_id: int) -> None:
        """Tell the wire that the call which was just begun has items to come."""
        wire.open_inflow(request_id, self.credit)

    def put(self, items: Iterable[Any]) -> None:
        """Keep items that have come."""
        self.received = True
        self._waiting.extend(items)

    def take_plain(self) -> Any:
        """The oldest item, or NOTHING where `take` has more to do than that: as few steps as there can be for one item.

        Needs no lock, as long as one thread takes.
        """
        waiting = self._waiting
        if not waiting or self._taken + 1 >= self._due_at or type(waiting[0]) is Mismatch:
            return NOTHING
        self._taken += 1
        return waiting.popleft()

    def take(self) -> Any:
        """The oldest item, or NOTHING."""
        if not self._waiting:
            return NOTHING
        self._taken += 1
        return self._waiting.popleft()

    def discard(self) -> None:
        """Nobody takes what is left: close the descriptors of it."""
        while self._waiting:
            close_held(self._waiting.popleft())

    def due(self) -> int:
        """How much credit to send now: what was taken, once that is enough."""
        if self._taken < self._due_at:
            return 0
        taken, self._taken = self._taken, 0
        return taken


class Outbox:
    """The items of an upload. The wire counts the credit that the server gave."""

    __slots__ = ("codec", "ended", "sent")

    def __init__(self, codec: Items) -> None:
        """Begin with nothing sent."""
        self.codec: Final = codec
        #: How many items were sent: if any, the call cannot be begun again.
        self.sent = 0
        #: Whether the end was sent, on this connection.
        self.ended = False

    @property
    def looks_up(self) -> bool:
        """Whether it is time to look at what the server has said."""
        return self.sent % LOOK_EVERY == 0

    def open(self, wire: ClientConnection[Any], request_id: int) -> None:
        """Tell the wire that items of the call which was just begun will be sent."""
        wire.open_outflow(request_id)


def plan_stream(
    method: Method[Any, Any] | UntypedMethod | str, params: Any, *, bound: Bound, credit: int
) -> tuple[Params, Callable[[], Inbox], bool]:
    """Check what a client was given for a stream: its params, a new inbox, and whether the gap is bounded.

    Raises ValueError or TypeError.
    """
    method = as_method(method)
    if isinstance(method, UntypedMethod):
        codec: Items = UntypedItems(method.keep)
    elif isinstance(method, Stream):
        codec = method.items
    else:
        message = f"{method!r} is no stream"
        raise TypeError(message)
    if not 1 <= credit <= CREDIT_MAX:
        message = f"the credit of a stream is between 1 and {CREDIT_MAX} items, not {credit!r}"
        raise ValueError(message)
    return method.write_params(params), lambda: Inbox(codec, credit), _is_gap(bound)


def plan_upload(
    method: Method[Any, Any] | UntypedMethod | str, params: Any, *, bound: Bound
) -> tuple[Params, Outbox, bool]:
    """Check what a client was given for an upload: its params, a new outbox, and whether the gap is bounded.

    Raises ValueError or TypeError.
    """
    method = as_method(method)
    if isinstance(method, UntypedMethod):
        codec: Items = UntypedItems(method.keep)
    elif isinstance(method, Upload):
        codec = method.items
    else:
        message = f"{method!r} is no upload"
        raise TypeError(message)
    return method.write_params(params), Outbox(codec), _is_gap(bound)


def _is_gap(bound: str) -> bool:
    if bound not in {"gap", "whole"}:
        message = f'a timeout bounds the "gap" or the "whole", not {bound!r}'
        raise ValueError(message)
    return bound == "gap"
