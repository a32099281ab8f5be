"""One call, as both clients see it: its identity, its time, its codec, and the exceptions that may end it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from math import inf
from time import monotonic
from typing import Any, Final

from superd_client.address import Address
from superd_client.contract import Method, UntypedMethod, as_method
from superd_client.deadline import current_deadline
from superd_client.descriptors import Outgoing, close_all, close_held
from superd_client.errors import (
    CallTimeout,
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    InvalidResult,
    MessageTooLarge,
    NotSent,
    Outcome,
    OutcomeUnknown,
    SuperdError,
    WrongServer,
    is_unavailable,
    unwrap,
)
from superd_client.flows import Inbox, Outbox
from superd_client.keys import IdempotencyKey, make_text, now_usec
from superd_client.sockets import explain_refusal
from superd_client.streams import Stream, Upload
from superd_client.wire.control import ItemHead
from superd_client.wire.envelope import Failure, MessageRefused, Mismatch, Reply, Result, parse_reply
from superd_client.wire.errors import ErrorCode, ErrorObject, RemoteProtocolError
from superd_client.wire.limits import TIME_USEC_MAX

#: How often a call is written at most: a connection that the server had closed while it was idle shows only when
#: something is written to it, and then nothing was sent.
ATTEMPTS: Final = 2

#: How often a call is begun again that was refused for now: by a stopping server (-32005), or by one that says when to
#: ask again (-32002 with `retry_after_usec`). For the former, the first pause in seconds. Each further one is twice as
#: long. The next connection leads to the next process, unless the old one still accepted it: that is over when it has
#: closed its listening socket.
UNAVAILABLE_RETRIES: Final = 4
UNAVAILABLE_PAUSE: Final = 0.01

#: How often a call whose repeat is safe is begun again after its connection was lost: at once, then after pauses as
#: above. A call that ends its server should not end it for ever.
LOST_RETRIES: Final = 3

#: First and longest pause in seconds before the answer to a call that still runs is asked for again: no event tells
#: when it is there.
RUNNING_PAUSE: Final = 0.01
RUNNING_PAUSE_MAX: Final = 0.25

_FLOWING: Final = (Stream, Upload)

_NOTHING: Final[Mapping[str, int | str]] = {}

#: Seconds that are as many microseconds as a message can hold, and a few more.
_SECONDS_MAX: Final = TIME_USEC_MAX // 1_000_000

#: Seconds of a timeout after which the deadline may be more than that.
_LONG: Final = _SECONDS_MAX / 2


class Call(ABC):
    """What is known of one call while it waits. The clients say how whoever waits for it hears of what happened.

    Most calls go well at once: what they never change they find in the class.
    """

    flow: Inbox | Outbox | None = None
    #: The same, for a stream.
    inbox: Inbox | None = None
    #: Whether the timeout is for each wait anew.
    gap = False
    #: Whether there will be no reply.
    oneway = False
    #: Whether it is no flow and wants a reply, and its request says no more than a call id and a deadline.
    usual = True
    #: The reply, or the reason why there is none.
    end: Reply | SuperdError | None = None
    #: The descriptors that its params take along.
    carried: Outgoing | None = None
    #: Its id on the connection that it was last given to.
    request_id = 0
    #: Bytes of its frame's body, once there is one.
    size = 0
    #: Whether the whole of its frame has gone to the kernel.
    sent = False
    #: Whether whoever waits for it hears of that.
    tells_sent = False
    #: What a validator of the result or an item raised, if it was no ValidationError.
    fault: Exception | None = None
    #: What else the request says of its time, its credit and its key (protocol §5).
    extra: Mapping[str, int | str] = _NOTHING

    _has_attached = _is_taken = False
    _refusals = _losses = 0
    _running_pause = RUNNING_PAUSE
    #: How it was lost, if that has happened to it: it may have been carried out.
    _lost: ConnectionLost | None = None
    #: The caller's key, and since when a key may have been in use, if that is so.
    _key: IdempotencyKey | None = None
    _since_usec: int | None = None
    #: When the call that makes this one is over, in seconds of CLOCK_MONOTONIC, and in microseconds.
    _limit = inf
    _limit_usec: int | None = None

    def __init__(
        self,
        method: Method[Any, Any] | UntypedMethod | str,
        call_id: str,
        timeout: float,
        *,
        flow: Inbox | Outbox | None = None,
        gap: bool = False,
        oneway: bool = False,
    ) -> None:
        """Begin a call that is not sent; raises CallTimeout where the call that makes it has no time left, TypeError.

        With `gap` the timeout is for each wait anew, see `restart`.
        """
        if type(method) is not Method:
            method = _checked(method, flow)
        self.method: Final = method
        self.read_result: Final = method.read_result
        self.call_id: Final = call_id
        self.timeout = timeout
        #: When this side gives up, in seconds of CLOCK_MONOTONIC.
        self.deadline = monotonic() + timeout
        if (inherited := current_deadline.get()) is not None:
            self._inherit(inherited)
        if oneway or flow is not None or timeout > _LONG:
            self.usual, self.tells_sent = False, oneway or flow is not None
            self.flow, self.gap, self.oneway = flow, gap, oneway
            if isinstance(flow, Inbox):
                self.inbox = flow
                gaps = {"gap_usec": max(1, _to_usec(timeout))} if gap else {}
                self.extra = {"credit": flow.credit, **gaps}

    @property
    def read_item(self) -> Callable[[bytes], Any] | None:
        """Reads the JSON of an item by itself."""
        return None if self.inbox is None else self.inbox.codec.read_item

    def meta(self) -> dict[str, int | str]:
        """What its request says beside the params and its call id (protocol §5)."""
        deadline_usec = self._limit_usec if self.gap else _to_usec(self.deadline)
        times = {} if deadline_usec is None else {"deadline_usec": deadline_usec}
        return {**times, **self.extra}

    def carry(self, carried: Outgoing) -> None:
        """Send descriptors with it, which it owns."""
        self.usual = False
        self.carried = carried

    def _inherit(self, deadline_usec: int) -> None:
        self._limit, self._limit_usec = deadline_usec / 1e6, deadline_usec
        if self._limit < self.deadline:
            self.timeout = self._limit - (self.deadline - self.timeout)
            self.deadline = self._limit
            if self.timeout <= 0:
                message = "the time of the call that makes this one is over"
                raise CallTimeout(message, sent=False, method=self.method.name, call_id=self.call_id)

    def take_key(self, key: IdempotencyKey | None) -> None:
        """Send an idempotency key with it: the caller's, or one of its own."""
        self.usual = False
        self._key = key
        if key is None:
            self.extra = {"idempotency_key": make_text()}
            self._since_usec = now_usec()
            return
        since = key.begin_use()
        sinces = {} if since is None else {"idempotency_since_usec": since}
        self.extra = {"idempotency_key": key.text, **sinces}
        self._since_usec = now_usec()

    @abstractmethod
    def stir(self) -> None:
        """Tell whoever waits for this call that something has happened to it."""

    def resolve(self, reply: Reply) -> None:
        """Take the reply."""
        self.end = reply
        self.stir()

    def fail(self, error: SuperdError) -> None:
        """Take the reason why there will be no reply, unless it has ended."""
        if self.end is None:
            self.end = error
            self.stir()

    def mark_sent(self) -> None:
        """Note that the whole of its frame has gone to the kernel: the end of a call that has no reply."""
        self.sent = True
        if self.tells_sent:
            if self.oneway:
                self.end = Result(0, None)
            self.stir()

    def attach(self) -> Outgoing | None:
        """What the next frame that begins it takes along, and closes. Raises ValueError where that is closed by now."""
        carried = self.carried
        if carried is None:
            return None
        if self._has_attached:
            carried = carried.again()
        self._has_attached = True
        return carried

    def discard(self) -> None:
        """Nobody takes what it has: close the descriptors of it."""
        if self.carried is not None:
            self.carried.close()
        if self.inbox is not None:
            self.inbox.discard()
        if isinstance(self.end, Result) and not self._is_taken:
            close_held(self.end.value)

    def restart(self) -> None:
        """Where the timeout bounds the gap, a new wait has all of it, but for what is left of an inherited deadline."""
        if self.gap:
            self.deadline = min(monotonic() + self.timeout, self._limit)

    def time_left(self, phase: str = "") -> float:
        """Seconds until the deadline; raises CallTimeout where there are none, by default because of what is awaited."""
        seconds = self.deadline - monotonic()
        if seconds <= 0:
            raise self.timed_out(phase, sent=self.sent)
        return seconds

    def retry_pause(self) -> float | None:
        """Seconds to wait before this call is begun again; None where it is not.

        Where the server has refused it for now; where its connection was lost and a repeat is safe, as it is by its
        contract or by its key; and where the first call with its key still runs. What items have passed cannot be
        begun again.
        """
        end = self.end
        if self._has_begun():
            return None
        pause = None
        if type(end) is ConnectionLost:
            pause = self._pause_after_loss(end)
        elif (first := _first_pause(end)) is not None:
            pause = _next_pause(self._refusals, UNAVAILABLE_RETRIES, first)
            self._refusals += 1
        elif type(end) is Failure and end.error.code == ErrorCode.CONFLICT:
            pause = self._pause_while_running(end)
        return pause if pause is not None and monotonic() + pause < self.deadline else None

    def _pause_after_loss(self, lost: ConnectionLost) -> float | None:
        if not (self.method.idempotent or self._since_usec is not None):
            return None
        if isinstance(lost.__cause__, RemoteProtocolError):
            return None  # a server that breaks the protocol would do it again
        self._losses += 1
        return _next_pause(self._losses - 2, LOST_RETRIES - 1) if self._losses > 1 else 0.0

    def _pause_while_running(self, conflict: Failure) -> float | None:
        if conflict.error.data.get("reason") != "running":
            return None
        pause = self._running_pause
        self._running_pause = min(2 * pause, RUNNING_PAUSE_MAX)
        return pause

    def _has_begun(self) -> bool:
        if isinstance(self.flow, Outbox):
            return self.flow.sent > 0
        return self.flow is not None and self.flow.received

    def renew(self) -> None:
        """Begin again."""
        if type(self.end) is ConnectionLost:
            self._lost = self.end
            if self._since_usec is not None:
                self.extra = {"idempotency_since_usec": self._since_usec, **self.extra}
        self.end = None
        self.sent = False
        if isinstance(self.flow, Outbox):
            self.flow.ended = False

    def decode(self, body: bytes, fds: Sequence[int] = ()) -> Reply:
        """Read the reply; raises MessageRefused.

        A model's own validators may raise anything. That must not reach whoever happens to read the socket.
        """
        try:
            return self.method.decode_reply(body, fds)
        except RemoteProtocolError:
            raise
        except Exception as error:  # noqa: BLE001 - it is the caller's, and reaches him
            parse_reply(body)  # what is no legal reply is the server's fault all the same
            return self._mismatch(error)

    def decode_item(self, body: bytes, fds: Sequence[int], head: ItemHead) -> Any:
        """Read an item of a stream, or return a Mismatch as `decode` does; raises MessageRefused."""
        if self.inbox is None:
            raise MessageRefused(
                ErrorObject(ErrorCode.INVALID_REQUEST, "an item of a call that is no stream", {})
            )
        try:
            return self.inbox.codec.decode(body, fds, head)
        except MessageRefused as refused:
            faults = refused.error.data.get("errors")
            if faults is None:
                raise
            close_all(fds)
            return Mismatch(self.request_id, faults)
        except Exception as error:  # noqa: BLE001 - as above
            close_all(fds)
            return self._mismatch(error)

    def _mismatch(self, error: Exception) -> Mismatch:
        self.fault = self.fault or error
        return Mismatch(
            self.request_id, [{"loc": [], "type": "validator_failed", "msg": type(error).__name__}]
        )

    def result(self, end: Reply | SuperdError) -> Any:
        """The value for the caller; raises what the end means."""
        self._is_taken = True
        if isinstance(end, SuperdError):
            raise end
        if type(end) is Failure and end.error.code == ErrorCode.DEADLINE_EXCEEDED:
            raise self.timed_out(sent=True)  # the same, whichever side noticed first
        try:
            return unwrap(end, self.method, self.call_id)
        except InvalidResult as error:
            raise error from self.fault

    def judged(self, error: SuperdError) -> SuperdError:
        """What to raise where `error` ended it: a call that was lost may have been carried out, whatever a repeat came to."""
        lost = self._lost
        if lost is not None and isinstance(error, CallTimeout):
            error.outcome = Outcome.UNKNOWN
        elif lost is not None and error.outcome is not Outcome.FAILED and type(error) is not ConnectionLost:
            told = self.lost(f"{lost.message}; its repeat: {error.message}")
            told.__cause__ = error
            return told
        if self._key is not None and error.outcome in (Outcome.NOT_SENT, Outcome.REFUSED):
            self._key.take_back()
        return error

    def item(self, item: Any) -> Any:
        """The item for the caller; raises InvalidResult for one that this side's model refuses."""
        if type(item) is not Mismatch:
            return item
        message = "an item does not fit this side's model of it"
        data = {"errors": item.faults}
        raise InvalidResult(message, data=data, method=self.method.name, call_id=self.call_id) from self.fault

    def _awaited(self) -> str:
        """What there is not in time, for an exception's text."""
        if self.flow is None or not self.gap:
            return "no reply"
        return "no progress" if self.inbox is None else "no item"

    def timed_out(self, phase: str = "", *, sent: bool) -> CallTimeout:
        """The exception for a deadline that passed in `phase`, by default while something was awaited."""
        message = f"{phase or self._awaited()} within {self.timeout:g} s"
        return CallTimeout(message, sent=sent, method=self.method.name, call_id=self.call_id)

    def lost(self, reason: str) -> ConnectionLost:
        """The exception for a connection that ended after the call was sent."""
        return ConnectionLost(reason, method=self.method.name, call_id=self.call_id)

    def closed(self) -> ClientClosed:
        """The exception for a client that was closed before the call was sent."""
        return ClientClosed("the client is closed", method=self.method.name, call_id=self.call_id)

    def unconnected(self, reason: str) -> ConnectFailed:
        """The exception for a connection that could not be made, or not used."""
        return ConnectFailed(reason, method=self.method.name, call_id=self.call_id)

    def wrong_server(self, reason: str) -> WrongServer:
        """The exception for a server that is not proved to be the one that is asked for."""
        return WrongServer(reason, method=self.method.name, call_id=self.call_id)

    def too_large(self, reason: str) -> MessageTooLarge:
        """The exception for a frame that one of the two sides does not admit."""
        return MessageTooLarge(reason, method=self.method.name, call_id=self.call_id)

    def unsendable(self, reason: str, cause: OSError) -> SuperdError:
        """The exception for a frame that the kernel did not take, on a connection that goes on."""
        kind = OutcomeUnknown if self.sent else NotSent
        error = kind(reason, method=self.method.name, call_id=self.call_id)
        error.__cause__ = cause
        return error

    def refused_by_kernel(self, address: Address, error: OSError) -> ConnectFailed:
        """The exception for a connect that failed."""
        return self.unconnected(explain_refusal(address, error))


def _checked(
    method: Method[Any, Any] | UntypedMethod | str, flow: Inbox | Outbox | None
) -> Method[Any, Any] | UntypedMethod:
    if flow is None and isinstance(method, _FLOWING):
        message = f"{method!r} is not called: stream or upload is for it"
        raise TypeError(message)
    return as_method(method)


def _next_pause(tried: int, most: int, first: float = UNAVAILABLE_PAUSE) -> float | None:
    """Seconds before the next try, after so many; None after the last."""
    return first * (1 << tried) if tried < most else None


def _to_usec(seconds: float) -> int:
    """Microseconds, as a message can hold them: a timeout of centuries is none. What was microseconds before is the same again."""
    return round(seconds * 1_000_000) if seconds < _SECONDS_MAX else TIME_USEC_MAX


def _first_pause(end: object) -> float | None:
    """Seconds after which it is worth while to begin a call anew that ended so; None where it is not."""
    if is_unavailable(end):
        return UNAVAILABLE_PAUSE
    if type(end) is Failure and end.error.code == ErrorCode.RESOURCE_EXHAUSTED:
        after = end.error.data.get("retry_after_usec")
        if isinstance(after, int) and 0 < after <= TIME_USEC_MAX:
            return after / 1_000_000
    return None
