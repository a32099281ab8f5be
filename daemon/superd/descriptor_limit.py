"""The descriptors of this process: how many it may have, whether they suffice, and one that is kept in reserve."""

import contextlib
import resource
import select
from typing import Final, NamedTuple

#: Descriptors that are none of a peer's: the loop, the listening sockets, the journal, and what services open.
OWN: Final = 256

#: A pool has a reserve of a sixteenth beside it (superd.quota).
_RESERVE: Final = 16


def needed(connections: int, carried: int) -> int:
    """Descriptors for so many connections, for so many `carried` by calls, and for superd itself."""
    return connections + carried + (connections + carried) // _RESERVE + OWN


class Room(NamedTuple):
    """What the limit of descriptors is, how many the settings need, and the connections that there is room for."""

    limit: int
    needed: int
    asked: int
    connections: int

    @property
    def doubt(self) -> str | None:
        """What an operator has to know, if anything."""
        if self.connections >= self.asked:
            return None
        return (
            f"{self.limit} descriptors are too few for {self.asked} connections: at most {self.connections} are "
            f"admitted. LimitNOFILE= of its unit should be {self.needed} or more"
        )


def room_for(connections: int, carried: int, limit: int) -> Room:
    """How many of `connections` fit a limit of descriptors.

    Where they do not all fit, those `carried` by calls get no more than a half: as a rule they are few.
    """
    wanted = needed(connections, carried)
    if limit >= wanted:
        return Room(limit, wanted, connections, connections)
    left = limit - min(OWN, limit // 2)
    left = left * _RESERVE // (_RESERVE + 1)
    fit = max(left - carried, left // 2)
    return Room(limit, wanted, connections, max(1, min(fit, connections)))


def own_limit() -> int:
    """The limit that this process can have: the hard one."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return hard if hard != resource.RLIM_INFINITY else _most()


def raise_limit() -> int:
    """Raise the soft limit to the hard one, and return it.

    The soft limit is 1,024 as a rule for the sake of programs that use select(2), which can do no more; an event loop
    on epoll(7) does not.
    """
    limit = own_limit()
    with contextlib.suppress(OSError, ValueError):  # a seccomp filter (SystemCallFilter=) may forbid it
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _most() -> int:
    """What the kernel allows at all."""
    with open("/proc/sys/fs/nr_open", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read())


class Reserve:
    """One descriptor that is of no use but to be given up, when there is no other one left."""

    def __init__(self) -> None:
        """Open it, if it can be."""
        self._held: select.epoll | None = None
        self.fill()

    @property
    def is_full(self) -> bool:
        """Whether there is one to give up."""
        return self._held is not None

    def fill(self) -> bool:
        """Open it again; whether it is there."""
        if self._held is None:
            with contextlib.suppress(OSError):
                self._held = select.epoll()
        return self._held is not None

    def spend(self) -> bool:
        """Give it up, so that another one can be opened; whether it was there."""
        if self._held is None:
            return False
        self._held.close()
        self._held = None
        return True

    close = spend
