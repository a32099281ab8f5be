"""How much of the daemon one user may hold: decisions about numbers, and nothing else.

**The share rule.** A user who holds U of a resource may take A more if

    U + A <= (pool - held by others) / (n + 1)

where n is the number of users who hold some of it, this one among them. So one user alone gets a half, and always
leaves as much as it has. By induction k users never hold more than k / (k + 1) of the pool together, and so whatever
the others do and in whatever order, the n-th user gets at least pool / (n * (n + 1)): `sure_share`. dbus-broker's
shares are of this kind, between 1/n and 1/n^2.

The pool is the total less a reserve. *Privileged* users (root, and the one that the daemon runs as) are not held to
shares, but to the pool: what they hold is held by others in the rule above. Administrative methods may take the
reserve as well.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from superd_client.wire.limits import (
    BYTES_PER_USER_DEFAULT,
    CALLS_PER_USER_DEFAULT,
    FDS_PER_USER_MAX,
    FRAME_SIZE_DEFAULT,
    STREAMS_PER_USER_DEFAULT,
)

#: Connections of all users. sd-varlink and dbus-broker admit about as many; each costs a descriptor, so LimitNOFILE= of
#: the unit must be larger.
CONNECTIONS_DEFAULT: Final = 4096

#: Calls that run, of all users. Each is a task, a context and its params: as many more make the collector of cycles
#: stop the whole daemon for longer than a call takes.
CALLS_SHARED_DEFAULT: Final = 2 * CALLS_PER_USER_DEFAULT

#: Streams and uploads that are open, of all users: they live long, and each holds a generator beside its task.
STREAMS_SHARED_DEFAULT: Final = 2 * STREAMS_PER_USER_DEFAULT

#: Bytes that are held for all users: requests that are not read to their end, params of calls that run, replies that
#: nobody reads. With the limits of single connections alone, 4,096 of them could hold 68 GiB.
BYTES_SHARED_DEFAULT: Final = 2 * BYTES_PER_USER_DEFAULT

#: Descriptors that came with the calls that run, of all users: one user alone gets a half, FDS_PER_USER_MAX.
DESCRIPTORS_SHARED_DEFAULT: Final = 2 * FDS_PER_USER_MAX

#: A reserve is this part of the pool, and beside it: 1,024 calls, 256 connections. Operators are few.
_RESERVE: Final = 16

#: When to ask again for what calls hold: most end sooner, and a hundred refusals in a second cost next to nothing.
_CALLS_RETRY_USEC: Final = 10_000

#: When to ask again for a connection: they last.
_CONNECTIONS_RETRY_USEC: Final = 500_000

#: Users with a bucket that is not full, above which full ones are looked for and forgotten.
_BUCKETS_MIN: Final = 64

_NSEC_PER_SEC: Final = 1_000_000_000


class Exceeded(NamedTuple):
    """Why something is refused: the user holds `used` and may hold `limit` at this time.

    `retry_after_usec` is when it is worth while to ask again, None where that cannot be said.
    """

    resource: str
    used: int
    limit: int
    retry_after_usec: int | None = None


class Quota:
    """One resource, charged to the users (uids) who hold it. Nothing is kept of a user who holds nothing."""

    __slots__ = (
        "_free",
        "_held",
        "floor",
        "most",
        "name",
        "pool",
        "privileged",
        "reserved",
        "retry_after_usec",
        "total",
    )

    def __init__(
        self,
        name: str,
        total: int,
        reserved: int = 0,
        *,
        floor: int = 0,
        most: int | None = None,
        privileged: Iterable[int] = (),
        retry_after_usec: int | None = None,
    ) -> None:
        """Share `total`, of which `reserved` is kept back from all that is not administrative.

        Each user may hold `floor`, whatever the others hold: beyond the total, if need be. `most` is what a privileged
        one may hold: the pool, where it is not given.
        """
        if not 0 <= reserved <= total:
            message = f"{name}: {reserved} of {total} cannot be reserved"
            raise ValueError(message)
        self.name: Final = name
        self.total = total
        self.reserved = reserved
        self.pool = total - reserved
        self.floor = floor
        self.most = self.pool if most is None else most
        self.privileged: Final = frozenset(privileged)
        self.retry_after_usec: Final = retry_after_usec
        self._held: Final[dict[int, int]] = {}
        #: What of the pool nobody holds; less than nothing where the reserve or a floor is in use.
        self._free = self.pool

    def share_as(self, other: "Quota") -> None:
        """Share as much as `other` does from now on. Who holds more than it may then keeps that, and gets no more."""
        self._free += other.pool - self.pool
        self.total, self.reserved, self.pool = other.total, other.reserved, other.pool
        self.floor, self.most = other.floor, other.most

    # A call is charged here and given back: no more than a look into one dict and an entry, each.

    def take(self, uid: int, amount: int = 1, *, reserve: bool = False) -> Exceeded | None:
        """Charge `amount`, 1 or more, to `uid`, or say why not; then nothing is charged.

        `reserve` says that it may use the reserve.
        """
        held = self._held.get(uid, 0)
        after = held + amount
        # n + 1; a user who holds nothing is not among them yet.
        if after * (len(self._held) + (1 if held else 2)) > self._free + held and not self._may_exceed(
            uid, after, amount, reserve
        ):
            return self._exceeded(uid, held)
        self._held[uid] = after
        self._free -= amount
        return None

    def give(self, uid: int, amount: int = 1) -> None:
        """Take a charge back."""
        left = self._held[uid] - amount
        if left > 0:
            self._held[uid] = left
        elif left == 0:
            del self._held[uid]
        else:
            message = f"{self.name}: uid {uid} gives back {amount} and holds {left + amount}"
            raise ValueError(message)
        self._free += amount

    def charge(self, uid: int, amount: int) -> None:
        """Charge what cannot be refused any more, within the limit or not."""
        if amount:
            self._held[uid] = self._held.get(uid, 0) + amount
            self._free -= amount

    def is_exceeded(self, uid: int) -> bool:
        """Whether `uid` holds more than it may, by what was charged or because others came."""
        held = self._held.get(uid, 0)
        return held > self.floor and held > self.limit(uid)

    def _may_exceed(self, uid: int, after: int, amount: int, reserve: bool) -> bool:
        """Whether more than the share is allowed."""
        if after <= self.floor:
            return True
        if reserve:
            return amount <= self._free + self.reserved
        return uid in self.privileged and amount <= self._free and after <= self.most

    def _exceeded(self, uid: int, held: int) -> Exceeded:
        return Exceeded(self.name, held, self.limit(uid), self.retry_after_usec)

    def limit(self, uid: int) -> int:
        """The most that `uid` may hold at this time, without the reserve."""
        held = self._held.get(uid, 0)
        left = self._free + held
        share = (
            min(left, self.most) if uid in self.privileged else left // (len(self._held) + (1 if held else 2))
        )
        return max(share, self.floor, 0)

    def sure_share(self, users: int) -> int:
        """What the last of so many users gets, whatever the others took, as long as the privileged hold nothing."""
        return max(self.pool // (users * (users + 1)), self.floor)

    def used(self, uid: int) -> int:
        """What `uid` holds."""
        return self._held.get(uid, 0)

    @property
    def used_by_all(self) -> int:
        """What all users hold together."""
        return self.pool - self._free

    def users(self) -> Mapping[int, int]:
        """What each user holds who holds anything; it changes with what is taken and given."""
        return MappingProxyType(self._held)

    def fullest(self) -> tuple[int, int] | tuple[None, None]:
        """The uid that holds most, and how much; None where nobody holds anything."""
        return max(self._held.items(), key=lambda each: each[1], default=(None, None))


class Rate:
    """So many calls a second for each user, and `burst` at once after a rest. Times are microseconds of one clock.

    A bucket that loses tokens is kept as the time at which it is full again (the generic cell rate algorithm, as in
    ATM networks): one number for a user, none for one whose bucket is full.
    """

    def __init__(self, name: str, per_second: int, burst: int, *, privileged: Iterable[int] = ()) -> None:
        """`privileged` users are not counted."""
        self.name: Final = name
        self.per_second: Final = per_second
        self.burst: Final = burst
        #: What one call takes, and what a full bucket holds, in nanoseconds.
        self._interval: Final = _NSEC_PER_SEC // per_second
        self._span: Final = self._interval * burst
        self._privileged: Final = frozenset(privileged)
        self._full_at: dict[int, int] = {}
        self._sweep_above = _BUCKETS_MIN

    def take(self, uid: int, now_usec: int) -> Exceeded | None:
        """Count one call of `uid`, or say why not, and when there will be a token."""
        if uid in self._privileged:
            return None
        now = now_usec * 1000
        full_at = max(self._full_at.get(uid, 0), now) + self._interval
        excess = full_at - now - self._span
        if excess > 0:
            return Exceeded(self.name, self.burst, self.burst, -(-excess // 1000))
        self._full_at[uid] = full_at
        if len(self._full_at) > self._sweep_above:
            self._sweep(now)
        return None

    def users(self) -> Mapping[int, int]:
        """When the bucket of each user is full again, in nanoseconds; those that are full are forgotten in time."""
        return MappingProxyType(self._full_at)

    def _sweep(self, now: int) -> None:
        """Forget full buckets. Each costs as much as the calls that came since the last time, and no more."""
        self._full_at = {uid: full_at for uid, full_at in self._full_at.items() if full_at > now}
        self._sweep_above = max(_BUCKETS_MIN, 2 * len(self._full_at))


class Totals(NamedTuple):
    """What all users share of each resource; `call_rate` is calls of one user in a second, 0 for any number."""

    connections: int = CONNECTIONS_DEFAULT
    calls: int = CALLS_SHARED_DEFAULT
    streams: int = STREAMS_SHARED_DEFAULT
    buffered: int = BYTES_SHARED_DEFAULT
    descriptors: int = DESCRIPTORS_SHARED_DEFAULT
    call_rate: int = 0


class Quotas:
    """The quota of each resource."""

    def __init__(
        self, totals: Totals, *, privileged: Iterable[int] = (), frame_size: int = FRAME_SIZE_DEFAULT
    ) -> None:
        """Every user may have a frame of `frame_size` bytes received, whatever the others hold."""
        privileged = frozenset(privileged)

        def shared(
            name: str, pool: int, *, floor: int = 0, most: int | None = None, retry: int | None = None
        ) -> Quota:
            reserved = pool // _RESERVE
            return Quota(
                name,
                pool + reserved,
                reserved,
                floor=floor,
                most=most,
                privileged=privileged,
                retry_after_usec=retry,
            )

        soon = _CALLS_RETRY_USEC
        self.privileged: Final = privileged
        self.connections: Final = shared("connections", totals.connections, retry=_CONNECTIONS_RETRY_USEC)
        self.calls: Final = shared("calls", totals.calls, retry=soon)
        #: Bound once, and not for each connection.
        self.take_call: Final = self.calls.take
        self.give_call: Final = self.calls.give
        self.streams: Final = shared("streams", totals.streams)
        self.buffered: Final = shared("bytes", totals.buffered, floor=frame_size)
        self.descriptors: Final = shared(
            "descriptors", totals.descriptors, most=totals.descriptors // 2, retry=soon
        )
        rate = totals.call_rate
        self.rate: Final = Rate("rate", rate, burst=rate, privileged=privileged) if rate else None

    def share_as(self, other: "Quotas") -> None:
        """Share as much of each as `other` does from now on; the rate stays."""
        for mine, its in zip(self.all(), other.all(), strict=True):
            mine.share_as(its)

    def all(self) -> tuple[Quota, ...]:
        """Those that are held and given back, which is all but the rate."""
        return (
            self.connections,
            self.calls,
            self.streams,
            self.buffered,
            self.descriptors,
        )
