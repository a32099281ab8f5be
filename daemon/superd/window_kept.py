"""The window of the process before this one, as systemd has kept it, or a new one."""

import os
from collections.abc import Sequence
from typing import Final, NamedTuple

from superd.window import Window, WindowLimits
from superd.window_store import WindowStore

#: The name of the memfd in systemd's store of descriptors.
STORED_NAME: Final = "superd-window"


class KeptWindow(NamedTuple):
    """A window, and the store whose `fd` is to be kept; `refused` says why what was kept is not used, if it was."""

    window: Window
    store: WindowStore
    refused: str | None


def open_window(limits: WindowLimits, kept: Sequence[int], now_usec: int) -> KeptWindow:
    """Go on from the memfd that was kept, or begin anew; owns all of `kept`. Raises OSError.

    The process that wrote it must have ended. Where several were kept, or one that makes no sense, all are given up: repeats of
    what they hold are refused then.
    """
    refused = None
    try:
        if len(kept) == 1:
            return KeptWindow(*_recover(limits, kept[0], now_usec), None)
        if kept:
            refused = f"there are {len(kept)} of them"
    except (ValueError, OSError) as error:
        refused = str(error).partition("\n")[0]
    for fd in kept:
        os.close(fd)
    store = WindowStore.create(now_usec)
    return KeptWindow(Window(limits, now_usec, store), store, refused)


def _recover(limits: WindowLimits, fd: int, now_usec: int) -> tuple[Window, WindowStore]:
    store = WindowStore(fd)
    try:
        return Window(limits, now_usec, store), store
    except BaseException:
        store.unmap()
        raise
