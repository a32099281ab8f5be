"""Adaptive polling: whether to look again for what comes next, or to sleep until it is there.

To wake a processor that sleeps takes longer than a call does, above all on a virtual machine. Who looks again and again
instead is there at once, and has his processor to himself meanwhile. So this is for those alone who are busy all
the time: it begins after a row of events that came close to each other, ends as soon as one does not come, and
stays away from processors that others want. docs/adr/0018 tells why.

Nothing here has a clock, and nothing waits: times are seconds of any monotonic clock.
"""

from math import inf
from typing import Final, Literal, TypeAlias, get_args

#: How a client or the daemon waits: asleep, or for a short while polling.
Latency: TypeAlias = Literal["normal", "low"]
LATENCIES: Final[tuple[Latency, ...]] = get_args(Latency)

#: Longest time of one poll, in microseconds. A call of superd with polling at both ends takes 15 to 70; what is not
#: there after 100 will not come soon, and a sleep costs the caller little in comparison from then on.
POLL_USEC: Final = 100

#: Longest time between two events, in microseconds, that are close to each other. Calls that one client makes one after
#: the other are, also on a slow host and while both ends still sleep; 2,000 calls in a second, which are 500 apart, are not.
CLOSE_USEC: Final = 400

#: Close events in a row before anybody polls, which makes 10 us for each of the one poll in vain at their end. Of 2,000 calls
#: in a second at random one in 400 has such a row before it.
CLOSE_EVENTS: Final = 10

#: The same after polls that all failed: it doubles up to here. Events that are always just too late to be polled for
#: then cost less than 1 us each.
CLOSE_EVENTS_MAX: Final = 160

#: How long sched_yield(2) may take, in microseconds. It takes less than one unless another thread gets the processor.
YIELD_USEC: Final = 10

#: Polls in a row in which it took longer: the processor is wanted. An interrupt of the hardware may cause one or two.
CROWDED_POLLS: Final = 3

#: Seconds without polls after that. On a crowded processor three polls may last as long as three slices of its scheduler
#: (some 10 ms), so this keeps their cost near 1 %.
CROWDED_REST: Final = 1.0

#: The same in seconds.
POLL_SECONDS: Final = POLL_USEC / 1_000_000
CLOSE_SECONDS: Final = CLOSE_USEC / 1_000_000
YIELD_SECONDS: Final = YIELD_USEC / 1_000_000


class Polling:
    """Decides for one who waits: poll where it `pays`, as long as it `goes_on`, and `note` each event."""

    __slots__ = (
        "_close",
        "_crowded",
        "_is_crowded",
        "_last",
        "_needed",
        "_rest_until",
        "_succeeded",
        "_until",
        "pays",
    )

    def __init__(self) -> None:
        """Nothing has come yet."""
        #: Whether to poll before the next sleep.
        self.pays = False
        self._last = -inf
        #: Close events in a row, and how many it takes.
        self._close = 0
        self._needed = CLOSE_EVENTS
        #: Whether a poll has had success since one had none.
        self._succeeded = False
        #: When the poll that goes on ends; 0 where none does.
        self._until = 0.0
        #: Whether others wanted the processor in this poll, and in how many in a row.
        self._is_crowded = False
        self._crowded = 0
        self._rest_until = -inf

    def note(self, now: float) -> None:
        """Count an event. It ends the poll, if one goes on, with success."""
        is_late = now - self._last > CLOSE_SECONDS
        self._last = now
        if is_late and not self._close:
            return  # the usual case of one who sleeps, which is to cost nothing
        if self._until:
            self._until = 0.0
            self._succeeded, self._needed = True, CLOSE_EVENTS
            if not self._is_crowded:
                self._crowded = 0
        self._close = 0 if is_late or now < self._rest_until else self._close + 1
        self.pays = self._close >= self._needed

    def goes_on(self, before: float, now: float) -> bool:
        """Whether to look once more, after a sched_yield(2) that lasted from `before` to `now`; else sleep.

        The first turn begins a poll.
        """
        if not self._until:
            self._until = before + POLL_SECONDS
            self._is_crowded = False
        if now - before > YIELD_SECONDS and not self._is_crowded:
            self._is_crowded = True
            self._crowded += 1
        if self._crowded >= CROWDED_POLLS:
            self._rest_until = now + CROWDED_REST
            self._crowded = 0
        elif now < self._until:
            return True
        self._end()
        return False

    def _end(self) -> None:
        """Sleep, and poll again only after as many close events; twice as many, where no poll had success."""
        self._needed = CLOSE_EVENTS if self._succeeded else min(2 * self._needed, CLOSE_EVENTS_MAX)
        self._succeeded = self.pays = False
        self._close = 0
        self._until = 0.0
