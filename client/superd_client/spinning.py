"""Adaptive polling of a thread: it looks again and again for a short while before it sleeps."""

from os import sched_yield
from time import monotonic
from typing import Final

from typing_extensions import override

from superd_client.poller import EVENTS_MAX, Poller
from superd_client.polling import POLL_SECONDS, Polling
from superd_client.sockets import WAIT_MAX, Channel


class SpinningPoller(Poller):
    """The same as Poller, whose descriptors it looks at: what ends a sleep ends a poll."""

    __slots__ = ("_polling",)

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._polling: Final = Polling()

    @override
    def wait(self, seconds: float) -> None:
        pays = self._polling.pays and seconds > POLL_SECONDS
        if (pays and self._spin()) or self._epoll.poll(min(seconds, WAIT_MAX), EVENTS_MAX):
            self._polling.note(monotonic())

    def _spin(self) -> bool:
        """Poll for as long as it pays; whether there is something to do."""
        polling, poll = self._polling, self._epoll.poll
        while not poll(0, EVENTS_MAX):
            before = monotonic()
            sched_yield()
            if not polling.goes_on(before, monotonic()):
                return False
        return True
