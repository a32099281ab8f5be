"""The window of the process before this one, as systemd has kept it, or a new one for systemd to keep.

It is given to systemd once, when it is new, and not at the end: SIGKILL gives no time for that. From then on it is there for
each process that follows, until the unit is stopped.
"""

import os
from collections.abc import Sequence
from typing import Final

from superd.journal import get_logger
from superd.sd.notify import Notifier
from superd.window import Window, WindowLimits
from superd.window_store import WindowStore

#: The name of the memfd in systemd's store of descriptors.
STORED_WINDOW: Final = "superd-window"


def open_window(limits: WindowLimits, kept: Sequence[int], notifier: Notifier, now_usec: int) -> Window:
    """Go on from the memfd that was kept, or have systemd keep a new one; owns all of `kept`.

    The process that wrote it must have ended. What makes no sense is given up, and what cannot be kept is not: repeats of what
    this process begins are refused then after its end.
    """
    if len(kept) == 1:
        window = _recover(limits, kept[0], now_usec)
        if window is not None:
            return window
    for fd in kept:
        os.close(fd)
    try:
        if kept:
            notifier.forget(STORED_WINDOW)
        store = WindowStore.create(now_usec)
    except OSError as error:
        _warn("idempotency keys cannot be kept over a crash", error)
        return Window(limits, now_usec)
    try:
        notifier.keep(STORED_WINDOW, store.fd)
    except OSError as error:
        store.close()
        _warn("idempotency keys cannot be kept over a crash", error)
        return Window(limits, now_usec)
    return Window(limits, now_usec, store)


def _recover(limits: WindowLimits, fd: int, now_usec: int) -> Window | None:
    """Go on from one that makes sense, else None; `fd` is not owned then."""
    store = None
    try:
        store = WindowStore(fd)
        return Window(limits, now_usec, store)
    except (ValueError, OSError) as error:
        if store is not None:
            store.unmap()
        _warn("idempotency keys of the process before are given up", error)
    return None


def _warn(event: str, error: Exception) -> None:
    get_logger().warning(event, reason=str(error).partition("\n")[0])
