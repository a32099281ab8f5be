"""What comes beside an answer: descriptors, which are described."""

import fcntl
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from superd.ctl.console import Console, Painted, Style
from superd_client.fd import Fd

#: What a descriptor leads to, by the type that stat(2) names.
_KINDS: Final[Mapping[int, str]] = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


@dataclass(frozen=True)
class Arrival:
    """A result or an item as JSON, and the descriptors that came with it, to which it refers by number.

    A context manager, which closes them.
    """

    value: Any
    descriptors: Sequence[Fd]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self.descriptors:
            descriptor.close()


def keep_arrival(value: Any, fds: Sequence[int]) -> Arrival:
    """What an untyped call makes of a value and the descriptors that came along."""
    return Arrival(value, [Fd(fd) for fd in fds])


def describe(arrival: Arrival, console: Console) -> None:
    """Write a line for each descriptor: what it leads to, and how large that is."""
    for number, descriptor in enumerate(arrival.descriptors):
        console.line("  ", Painted(f"descriptor {number}: {_describe(descriptor.fileno())}", Style.FAINT))


def _describe(fd: int) -> str:
    try:
        fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        kind = "a memfd"
    except OSError:
        kind = ""
    found = os.fstat(fd)
    kind = kind or _KINDS.get(stat.S_IFMT(found.st_mode), "something without a file type")
    return f"{kind} of {found.st_size:,} bytes" if stat.S_ISREG(found.st_mode) else kind
