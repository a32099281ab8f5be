"""The life of the daemon as one table. It tells systemd, and nothing else: the composition root acts on it.

    STARTING --started--> READY --stop--> DRAINING --drained--> STOPPED
                          |   ^
                     reload   reloaded
                          v   |
                         RELOADING --stop--> DRAINING

A reload that ends after the stop changes nothing any more: the stop has overtaken it. A stop while starting goes the same way, with nothing to drain. A second stop changes nothing: what it hurries is
for the caller to decide. A failure ends the run from anywhere.
"""

from enum import Enum
from typing import Final

from superd.sd.notify import Notifier


class State(Enum):
    """Where the daemon is in its life."""

    STARTING = "starting"
    READY = "ready"
    RELOADING = "reloading"
    DRAINING = "draining"
    STOPPED = "stopped"


class Input(Enum):
    """What moves it on."""

    STARTED = "started"
    RELOAD = "reload"
    RELOADED = "reloaded"
    STOP = "stop"
    DRAINED = "drained"
    FAILED = "failed"


#: Every legal pair. What is not here is a mistake of this program.
TRANSITIONS: Final = {
    (State.STARTING, Input.STARTED): State.READY,
    (State.STARTING, Input.STOP): State.DRAINING,
    (State.STARTING, Input.FAILED): State.STOPPED,
    (State.READY, Input.STOP): State.DRAINING,
    (State.READY, Input.FAILED): State.STOPPED,
    (State.READY, Input.RELOAD): State.RELOADING,
    (State.RELOADING, Input.RELOADED): State.READY,
    (State.RELOADING, Input.STOP): State.DRAINING,
    (State.RELOADING, Input.FAILED): State.STOPPED,
    (State.DRAINING, Input.STOP): State.DRAINING,
    (State.DRAINING, Input.RELOADED): State.DRAINING,
    (State.DRAINING, Input.DRAINED): State.STOPPED,
    (State.DRAINING, Input.FAILED): State.STOPPED,
    (State.STOPPED, Input.STOP): State.STOPPED,
    (State.STOPPED, Input.RELOADED): State.STOPPED,
}


class LifecycleError(Exception):
    """An input that its state does not admit."""


class Lifecycle:
    """The state of this run. Tells systemd READY=1, RELOADING=1 and STOPPING=1 as it comes to those states."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._state = State.STARTING

    @property
    def state(self) -> State:
        """The state as it is now."""
        return self._state

    def advance(self, event: Input, *, status: str | None = None) -> State:
        """Apply one input and return the new state. `status` is the text for `systemctl status`, if a state is told.

        Raises LifecycleError, and changes nothing, where the table has no such pair.
        """
        before = self._state
        after = TRANSITIONS.get((before, event))
        if after is None:
            raise LifecycleError(f"{event.value!r} cannot come while {before.value}")
        self._state = after
        if after is not before:
            self._tell(after, status or after.value)
        return after

    def _tell(self, state: State, status: str) -> None:
        if state is State.READY:
            self._notifier.ready(status)
        elif state is State.RELOADING:
            self._notifier.reloading(status)
        elif state is State.DRAINING:
            self._notifier.stopping(status)
