"""A service that tries what its unit may forbid."""

import mmap
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from superd.service import Context, Service
from superd_client import Message, Method

#: A port of this host on which nobody listens.
NOBODY: Final = ("127.0.0.1", 9)


class Attempt(Message):
    """What to try, with which path."""

    what: str
    path: str = ""


class Came(Message):
    """The name of the exception, or "done"."""

    of_it: str


def network(_: str) -> None:
    """To be refused by nobody but the port."""
    with socket.socket() as probe:
        try:
            probe.connect(NOBODY)
        except ConnectionRefusedError:
            return


def write(path: str) -> None:
    """A file of its own."""
    Path(path).write_text("x")


def device(path: str) -> None:
    """A device for reading and writing."""
    os.close(os.open(path, os.O_RDWR))


def read(path: str) -> None:
    """A folder."""
    list(Path(path).iterdir())


def code(_: str) -> None:
    """Memory to write code to."""
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


TRIES: Final[dict[str, Callable[[str], None]]] = {
    each.__name__: each for each in (network, write, device, read, code)
}

attempt = Method("reach.attempt", Attempt, Came)
reach = Service("reach", version="1")


@reach.method(attempt)
def handle_attempt(params: Attempt, context: Context) -> Came:
    """Try it."""
    try:
        TRIES[params.what](params.path)
    except OSError as error:
        return Came(of_it=type(error).__name__ if error.errno is None else os.strerror(error.errno))
    return Came(of_it="done")
