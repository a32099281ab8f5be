"""A service that the tests ask what the daemon around it has done: functions called, blocks kept, garbage collected.

It counts between two questions, in the daemon itself, with all that a daemon is made of.
"""

import gc
import sys
from types import FrameType
from typing import Final, Self

from superd.service import Context, Service
from superd_client.builtin import Nothing
from superd_client.contract import Message, Method


class Functions(Message):
    """Functions that were called since the question before: written in Python, and built in."""

    python: int
    builtin: int


class Memory(Message):
    """Blocks that are in use after a collection; and since the start, collections that came by themselves, and objects of
    cycles that they or the question found.
    """

    blocks: int
    collections: int
    cyclic: int


functions: Final = Method("probe.functions", Nothing, Functions)
memory: Final = Method("probe.memory", Nothing, Memory)
fail: Final = Method("probe.fail", Nothing, Nothing)

probe: Final = Service("probe")


class Counter:
    """Counts the calls of functions in the thread that starts it."""

    def __init__(self) -> None:
        """Nothing is counted before `start`."""
        self.python = self.builtin = 0

    def start(self) -> None:
        """Begin, or begin again."""
        self.python = self.builtin = 0
        sys.setprofile(self._see)

    def stop(self) -> None:
        """Keep the counts as they are."""
        sys.setprofile(None)

    def _see(self, _frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            self.python += 1
        elif event == "c_call":
            self.builtin += 1


class Garbage:
    """Counts what the garbage collector does, in a block."""

    def __init__(self) -> None:
        """Nothing is counted before the block."""
        self.collections = self.cyclic = 0

    def __enter__(self) -> Self:
        gc.callbacks.append(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._see)

    def _see(self, phase: str, info: dict[str, int]) -> None:
        if phase == "stop":
            self.collections += 1
            self.cyclic += info["collected"] + info["uncollectable"]


_counter: Final = Counter()
_garbage: Final = Garbage().__enter__()  # to the end of the daemon


@probe.method(functions)
async def handle_functions(params: Nothing, context: Context) -> Functions:
    """The count up to now, and begin again."""
    _counter.stop()
    found = Functions(python=_counter.python, builtin=_counter.builtin)
    _counter.start()
    return found


@probe.method(memory)
async def handle_memory(params: Nothing, context: Context) -> Memory:
    """What is in use; collects first."""
    came = _garbage.collections
    gc.collect()
    _garbage.collections = came
    return Memory(blocks=sys.getallocatedblocks(), collections=came, cyclic=_garbage.cyclic)


@probe.method(fail)
async def handle_fail(params: Nothing, context: Context) -> Nothing:
    """Leave a line in the log."""
    raise RuntimeError("as it was asked to")
