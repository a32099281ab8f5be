"""Calls with an idempotency key (protocol §20), where they meet handlers: which are begun, and what is kept of them."""

from concurrent.futures import Future
from typing import Any, Final

from superd.deadlines import now_usec
from superd.handlers import Endpoint, Kind
from superd.peer import Caller
from superd.window import Window
from superd.window_entry import Answer, Entry, Known
from superd_client.wire.envelope import Notification, Request
from superd_client.wire.errors import ErrorCode, ErrorObject

#: What a repeat is told of a call that was cancelled while its handler ran.
CUT_SHORT: Final = ErrorObject(
    ErrorCode.CANCELLED, "the first call with this key was cancelled while it ran, and has no result", {}
)

_NO_KEYS: Final = ErrorObject(
    ErrorCode.INVALID_REQUEST, "a call with items or descriptors cannot have an idempotency key", {}
)
_STOPPING: Final = ErrorObject(
    ErrorCode.UNAVAILABLE, "the server is stopping; no call with a key is begun any more", {}
)


class Keyed:
    """The place in the window of one call that is carried out."""

    __slots__ = ("_entry", "_window", "ran", "step")

    def __init__(self, window: Window, entry: Entry) -> None:
        self._window = window
        self._entry = entry
        #: Whether its handler was begun, or perhaps, where that is for a thread to do.
        self.ran = False
        #: What runs on a thread.
        self.step: Future[Any] | None = None

    def end(self, answer: Answer) -> None:
        """Keep what the call came to, for its repeats. The first time counts."""
        self._window.end(self._entry, answer, now_usec())

    def cancel(self) -> None:
        """The handler did not run: a repeat may."""
        self._window.cancel(self._entry, now_usec())


class Repeats:
    """Decides of each call with a key whether it is carried out."""

    def __init__(self, window: Window) -> None:
        """Look into `window`."""
        self._window = window
        #: Set once nothing new is begun. A server that stops may give up its address while it still works, and
        #: whoever serves there next knows nothing of what this one begins.
        self.closed = False

    def enter(
        self, call: Request | Notification, endpoint: Endpoint, caller: Caller, call_id: str
    ) -> Keyed | Known | ErrorObject:
        """Begin a call that has a key; or what to answer in its place."""
        if endpoint.kind is not Kind.CALL or call.meta.get("fds") or not endpoint.method.is_repeatable:
            return _NO_KEYS
        key, mark = call.meta["idempotency_key"], call.fingerprint or b""
        if self.closed and not self._window.knows(caller.uid, key):
            return _STOPPING
        since = call.meta.get("idempotency_since_usec")
        found = self._window.enter(
            caller.uid, key, mark, since_usec=since, call_id=call_id, now_usec=now_usec()
        )
        return Keyed(self._window, found) if isinstance(found, Entry) else found
