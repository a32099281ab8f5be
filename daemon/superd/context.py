"""What a handler may know of the call that it carries out."""

import threading
import time
from pathlib import Path
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from superd.journal import get_logger
from superd.peer import Caller
from superd.provisions import PROVISIONS, Credentials
from superd_client.sensitive import secret_texts

#: Held while an event is made: several threads of one handler may ask for it at once.
_making: Final = threading.Lock()


class Context:
    """What a handler may know of the call that it carries out. One is made for each call."""

    __slots__ = (
        "_cancelled",
        "_is_cancelled",
        "_log",
        "_sensitive",
        "call_id",
        "caller",
        "deadline",
        "method",
        "state",
    )

    def __init__(
        self,
        *,
        method: str,
        call_id: str,
        caller: Caller,
        state: Any,
        deadline: float | None = None,
        sensitive: object = None,
    ) -> None:
        """`state` is what the service's lifespan yielded, or None; `deadline` is in seconds of time.monotonic().

        The secrets in `sensitive` are masked in what `log` writes.
        """
        self.method: Final = method
        self.call_id: Final = call_id
        self.caller: Final = caller
        self.state: Final = state
        #: When the call is over, in seconds of time.monotonic(); None where its caller set no such time.
        self.deadline: Final = deadline
        self._sensitive: Final = sensitive
        self._log: FilteringBoundLogger | None = None
        self._is_cancelled = False
        self._cancelled: threading.Event | None = None

    @property
    def log(self) -> FilteringBoundLogger:
        """A logger that names this call and its caller in each line."""
        if self._log is None:
            self._log = get_logger().bind(
                call_id=self.call_id,
                method=self.method,
                peer_uid=self.caller.uid,
                peer_pid=self.caller.pid,
                peer_unit=self.caller.unit,
            )
            if self._sensitive is not None:
                self._log = self._log.bind(_secrets=secret_texts(self._sensitive))
        return self._log

    @property
    def credentials(self) -> Credentials:
        """The credentials of superd's unit, by name."""
        return PROVISIONS.credentials

    @property
    def state_directory(self) -> Path:
        """Where services keep what outlives a start, all of them in the same place; raises NotProvided."""
        return PROVISIONS.state_directory

    @property
    def runtime_directory(self) -> Path:
        """Where services keep what goes when superd stops, all of them in the same place; raises NotProvided."""
        return PROVISIONS.runtime_directory

    @property
    def cancelled(self) -> threading.Event:
        """Is set once nobody waits for this call any more: what it does is in vain.

        For handlers on threads, which nothing can interrupt: look at `context.cancelled.is_set()` in a loop, or wait
        by `context.cancelled.wait(seconds)` in the place of a sleep.
        """
        with _making:
            if self._cancelled is None:
                self._cancelled = threading.Event()
        if self._is_cancelled:
            self._cancelled.set()
        return self._cancelled

    def cancel(self) -> None:
        """Set `cancelled`. For superd, and for tests of handlers."""
        # In this order: whoever makes the event meanwhile sees that it is to be set.
        self._is_cancelled = True
        if self._cancelled is not None:
            self._cancelled.set()

    def time_left(self) -> float | None:
        """Seconds until the deadline, 0 when it has passed, None where there is none."""
        return None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)
