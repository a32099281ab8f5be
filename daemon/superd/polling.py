"""The event loop, and with the setting `latency = "low"` one that polls for a short while before it sleeps.

Both loops stay what they are: each event is told to `LoopPolling`, which keeps a callback due as long as it pays. uvloop
with it is as much faster than asyncio as it is without.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVarTuple

from typing_extensions import override

from superd_client.polling import Latency
from superd_client.polling_loop import LoopPolling

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

Ts = TypeVarTuple("Ts")


class _Polls(asyncio.AbstractEventLoop):
    """What a loop does beside: whatever its readers are told counts as an event."""

    def __init__(self) -> None:
        super().__init__()
        self._polling = LoopPolling(self)

    @override
    def add_reader(self, fd: "FileDescriptorLike", callback: Callable[[*Ts], Any], *args: *Ts) -> None:
        super().add_reader(fd, partial(self._polling.run, callback, *args))


class _PollingLoop(_Polls, asyncio.SelectorEventLoop):
    """asyncio's."""


def loop_factory(latency: Latency) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the loop: uvloop where it is installed, which serves twice as many calls."""
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return _PollingLoop if latency == "low" else asyncio.new_event_loop
    return type("PollingUvloop", (_Polls, uvloop.Loop), {}) if latency == "low" else uvloop.new_event_loop
