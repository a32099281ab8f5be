"""What the calls of one connection hold of the quotas of its user: charged when they begin, given back when they end."""

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from superd.buffers import MESSAGE_FREE, Account
from superd.handlers import Endpoint, Kind
from superd.quota import Exceeded, Quota, Quotas
from superd.work import Work
from superd_client.wire.errors import ErrorCode, ErrorObject
from superd_client.wire.limits import FDS_PER_CONNECTION_MAX

_CALL: Final = Kind.CALL

_MESSAGES: Final = {
    "calls": "too many calls of this user are in flight",
    "connections": "too many connections",
    "descriptors": "too many descriptors are held",
    "rate": "too many calls of this user in too short a time",
    "streams": "too many open streams",
}


def refusal(exceeded: Exceeded) -> ErrorObject:
    """What the caller is to see (protocol §8.9)."""
    data: dict[str, Any] = exceeded._asdict()
    if exceeded.retry_after_usec is None:
        del data["retry_after_usec"]
    return ErrorObject(ErrorCode.RESOURCE_EXHAUSTED, _MESSAGES[exceeded.resource], data)


def take(quota: Quota, uid: int, endpoint: Endpoint, amount: int = 1) -> Exceeded | None:
    """Charge a call of `endpoint`; one of an administrative method may take the reserve."""
    exceeded = quota.take(uid, amount)
    if exceeded is not None and endpoint.access == "admin":
        return quota.take(uid, amount, reserve=True)
    return exceeded


def take_rate(quotas: Quotas, uid: int, endpoint: Endpoint) -> Exceeded | None:
    """Count a call of `endpoint`, where calls are counted; those of administrative methods are not."""
    if quotas.rate is None or endpoint.access == "admin":
        return None
    return quotas.rate.take(uid, time.monotonic_ns() // 1000)


class Charged(NamedTuple):
    """An item that waits for its handler, and what is charged for it meanwhile."""

    item: Any
    size: int
    fds: int


def _look(_uid: int) -> object:
    return _look


class _Holding:
    """What one call holds beside being one."""

    __slots__ = ("fds", "size", "waiting_fds")

    def __init__(self) -> None:
        self.size = 0
        self.fds = 0
        #: Those among its descriptors that came with items which nobody has taken.
        self.waiting_fds = 0


#: What all connections have whose calls hold nothing. Nothing is ever put in: the first gets a dict of its own.
_NO_HOLDINGS: Final[dict[Work, _Holding]] = {}


class Charges:
    """The charges of one connection."""

    __slots__ = (
        "_account",
        "_calls",
        "_fds",
        "_has_rate",
        "_quotas",
        "_uid",
        "_waiting_fds",
        "give_plain",
        "holdings",
        "take_plain",
    )

    def __init__(self, quotas: Quotas, account: Account) -> None:
        """`account` is that of the connection."""
        self._quotas: Final = quotas
        self._calls: Final = quotas.calls
        self._has_rate: Final = quotas.rate is not None
        #: The usual case in one step: what is a call and nothing more, on a daemon that counts no rate. Where `take_plain`
        #: returns something, `begin` has to look; `give_plain` is for what holds nothing more, as `end` is.
        self.take_plain: Final[Callable[[int], object]] = quotas.take_call if quotas.rate is None else _look
        self.give_plain: Final[Callable[[int], None]] = quotas.give_call
        self._account: Final = account
        self._uid: Final = account.uid
        #: Few calls have one.
        self.holdings = _NO_HOLDINGS
        #: Descriptors of all calls of this connection, and those of items that wait among them.
        self._fds = 0
        self._waiting_fds = 0

    def begin(self, work: Work, size: int) -> Exceeded | None:
        """Charge a call whose message has `size` bytes, or say why not; then nothing is charged.

        An inline one is over before anything else happens: it is never in flight beside others, and its message is not
        kept. So it holds nothing but the descriptors that came with it.
        """
        endpoint = work.endpoint
        if self._has_rate and (exceeded := take_rate(self._quotas, self._uid, endpoint)) is not None:
            return exceeded
        if endpoint.is_inline:
            self._account.end_frame()
            return None if work.call.received is None else self._take_descriptors(work)
        quota = self._calls if endpoint.kind is _CALL else self._quotas.streams
        if quota.take(self._uid) is not None and (exceeded := take(quota, self._uid, endpoint)) is not None:
            return exceeded
        if work.call.received is not None and (exceeded := self._take_descriptors(work)) is not None:
            quota.give(self._uid)
            return exceeded
        if size > MESSAGE_FREE:
            self._account.hold(size)
            self._holding(work).size += size
        return None

    def end(self, work: Work) -> None:
        """Give back what it holds: nothing of it runs any more."""
        if not work.endpoint.is_inline:
            quota = self._calls if work.endpoint.kind is _CALL else self._quotas.streams
            quota.give(self._uid)
        if self.holdings and (holding := self.holdings.pop(work, None)) is not None:
            self._give(holding.size, holding.fds)
            self._take_from_queue(holding.waiting_fds)

    def _take_descriptors(self, work: Work) -> Exceeded | None:
        came, descriptors = work.call.meta.get("fds", 0), self._quotas.descriptors
        if not came:
            return None
        if self._fds + came > FDS_PER_CONNECTION_MAX:
            return Exceeded(descriptors.name, self._fds, FDS_PER_CONNECTION_MAX, descriptors.retry_after_usec)
        exceeded = take(descriptors, self._uid, work.endpoint, came)
        if exceeded is None:
            self._fds += came
            self._holding(work).fds += came
        return exceeded

    def _holding(self, work: Work) -> _Holding:
        holding = self.holdings.get(work)
        if holding is None:
            self.holdings = self.holdings or {}
            holding = self.holdings[work] = _Holding()
        return holding

    def _give(self, size: int, fds: int) -> None:
        if size:
            self._account.release(size)
        if fds:
            self._fds -= fds
            self._quotas.descriptors.give(self._uid, fds)

    # --- items of uploads -------------------------------------------------------------------------------------------

    def item_came(self, work: Work, item: Any, size: int, fds: int) -> Any:
        """Charge an item that the peer had credit for, and so in any case; what to put where it waits.

        Where there are too many descriptors then, no more is read from this connection before its handlers have
        taken some. So it never waits for what others hold.
        """
        size = size if size > MESSAGE_FREE else 0
        if not (size or fds):
            return item
        holding = self._holding(work)
        if size:
            holding.size += size
            self._account.hold(size)
        if fds:
            holding.fds += fds
            holding.waiting_fds += fds
            self._fds += fds
            self._waiting_fds += fds
            self._quotas.descriptors.charge(self._uid, fds)
            self._account.choke(self._has_too_many())
        return Charged(item, size, fds)

    def item_taken(self, work: Work, charged: Charged) -> None:
        """Give back what an item held: it is its handler's now. Nothing, where its call has ended."""
        holding = self.holdings.get(work)
        if holding is not None:
            holding.size -= charged.size
            holding.fds -= charged.fds
            holding.waiting_fds -= charged.fds
            self._give(charged.size, charged.fds)
            self._take_from_queue(charged.fds)

    def _take_from_queue(self, fds: int) -> None:
        if fds:
            self._waiting_fds -= fds
            self._account.choke(self._has_too_many())

    def _has_too_many(self) -> bool:
        if not self._waiting_fds:
            return False
        return self._fds > FDS_PER_CONNECTION_MAX or self._quotas.descriptors.is_exceeded(self._uid)
