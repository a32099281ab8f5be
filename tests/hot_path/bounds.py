"""What a sequential call may cost, in counts that do not depend on the machine.

A bound is what the code needs today. Who makes it need less lowers the bound in the same change; who has to raise one says
why in the change's message.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

#: System calls of one call, all of them: it is waited for, received and sent, once on each side. A blocking client could do
#: without the wait, with the time limit in its socket. The loop of the asyncio client asks whether it was forked.
SYSTEM_CALLS: Final[Mapping[tuple[str, str], Mapping[str, int]]] = {
    ("daemon", "inline"): {"wait": 1, "receive": 1, "send": 1},
    ("daemon", "async"): {"wait": 1, "receive": 1, "send": 1},
    ("client", "blocking"): {"wait": 1, "receive": 1, "send": 1},
    ("client", "asyncio"): {"wait": 1, "receive": 1, "send": 1, "getpid": 1},
}


class Functions(NamedTuple):
    """The most functions that one call may call: written in Python, and built in.

    A function's call costs 50 to 100 ns, and twice that where the caches are cold, as they are when two processes take
    turns on a core: hundreds of them are what a call's time is made of.
    """

    python: int
    builtin: int


FUNCTIONS: Final[Mapping[tuple[str, str], Functions]] = {
    ("daemon", "inline"): Functions(26, 34),
    ("daemon", "async"): Functions(40, 48),
    ("client", "blocking"): Functions(27, 35),
    ("client", "asyncio"): Functions(25, 32),
}

#: Blocks of memory that a call may leave behind. Where it is nothing, a hundredth is for counters that outgrow small integers.
#: The daemon keeps a string for each call: pydantic's parser remembers short strings that it has read, the ids of calls among
#: them, up to 16,384 of them in a process.
BLOCKS: Final[Mapping[str, float]] = {"daemon": 1.05, "client": 0.01}

#: Objects that a call may leave to the garbage collector, for each hundred calls: none of a call's own.
CYCLIC_PER_HUNDRED: Final = 1

#: Collections that come by themselves, for each hundred calls: they come by how many more objects there are than before,
#: and the deadlines of some calls that are over are noted still.
COLLECTIONS_PER_HUNDRED: Final = 2

#: Lines in the log of calls that succeed, as shipped.
LOG_LINES: Final = 0
