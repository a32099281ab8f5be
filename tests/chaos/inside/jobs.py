"""What a client of the load does: calls of all kinds, drawn by a seed, each with the answer that is right."""

import itertools
import os
import random
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from superd_client import Blob, Fd, Method
from superd_client.wire.limits import BLOB_INLINE_MAX
from tests.chaos.inside.api import (
    CarryJob,
    CountJob,
    Done,
    Job,
    Number,
    PackJob,
    again,
    carry,
    count,
    keyed,
    note,
    pack,
    total,
)

#: Of each 20 calls, how many are of which kind.
MIX: Final[Mapping[Method[Any, Any], int]] = {
    note: 5,
    keyed: 6,
    again: 2,
    carry: 2,
    pack: 2,
    count: 2,
    total: 1,
}
_METHODS: Final[tuple[Method[Any, Any], ...]] = tuple(MIX)

#: Numbers of calls: those of a worker, and of a client in it, are apart.
OPS_OF_WORKER: Final = 10**12
OPS_OF_CLIENT: Final = 10**9

#: Longest waits of a handler before and after its entry, and between two items: what a kill is to hit.
WORK_USEC: Final = 4000
ITEMS_MAX: Final = 20

#: Some streams are long, so that restarts find them open.
LONG_SHARE: Final = 0.1
LONG_STREAM: Final = 150

#: Blobs are of either way to travel.
BLOB_MAX: Final = 2 * BLOB_INLINE_MAX


class Task(NamedTuple):
    """One call to be made: `close` what it takes along once it has ended."""

    op: int
    method: Method[Any, Any]
    params: Any
    right: Any

    @property
    def kind(self) -> str:
        """The name that the ledger has for it."""
        return self.method.name.rpartition(".")[2]

    def items(self) -> Iterator[Number]:
        """What an upload sends: it adds up to `right`."""
        return map(_number, range(_last(self.right) + 1))

    def is_right(self, answer: Any) -> bool:
        """Whether this is the answer; closes what came with it."""
        if isinstance(answer, Fd):
            with answer:
                answer_bytes = os.pread(answer.fileno(), BLOB_MAX, 0)
                return bool(answer_bytes == self.right)
        if isinstance(answer, Blob):
            with answer:
                return bool(bytes(answer) == self.right)
        return bool(answer == self.right)

    def close(self) -> None:
        """Give up what it takes along."""
        for each in (getattr(self.params, "source", None), getattr(self.params, "data", None)):
            if each is not None:
                each.close()


def tasks(seed: str, worker: int, client: int) -> Iterator[Task]:
    """The calls of one client, without end; the same ones for the same seed."""
    draw = random.Random(f"{seed}/{worker}/{client}")
    first = worker * OPS_OF_WORKER + client * OPS_OF_CLIENT
    for op in itertools.count(first):
        (method,) = draw.choices(_METHODS, tuple(MIX.values()))
        yield _task(op, method, draw)


def _task(op: int, method: Method[Any, Any], draw: random.Random) -> Task:
    common = {
        "op": op,
        "before_usec": draw.randrange(WORK_USEC),
        "after_usec": draw.randrange(WORK_USEC),
    }
    if method is carry:
        data = draw.randbytes(draw.randrange(1, 1000))
        return Task(op, method, CarryJob(source=_file_of(data), **common), data)
    if method is pack:
        data = draw.randbytes(draw.randrange(1, BLOB_MAX))
        return Task(op, method, PackJob(data=Blob(data), **common), data)
    items = draw.randrange(1, ITEMS_MAX)
    if method is count:
        items = LONG_STREAM if draw.random() < LONG_SHARE else items
        return Task(op, method, CountJob(upto=items, **common), list(range(items)))
    if method is total:
        return Task(op, method, Job(**common), sum(range(items)))
    return Task(op, method, Job(**common), Done(op=op))


def _file_of(data: bytes) -> Fd:
    file = Fd(os.memfd_create("chaos"))
    os.pwrite(file.fileno(), data, 0)
    return file


def _number(value: int) -> Number:
    return Number(value=value)


def _last(triangle: int) -> int:
    """The number up to which one has to add to get there."""
    return next(number for number in itertools.count() if number * (number + 1) // 2 == triangle)
