"""The contract of the service under load: one method of each kind, and each call has a number of its own."""

from typing import Final

from pydantic import Field

from superd_client import Blob, Fd, Message, Method
from superd_client.streams import Stream, Upload


class Job(Message):
    """One call: its number, and how long it takes before and after it is entered in the ledger."""

    op: int = Field(ge=0)
    before_usec: int = Field(ge=0, le=10_000_000)
    after_usec: int = Field(ge=0, le=10_000_000)


class Done(Message):
    """The number of the call that was carried out."""

    op: int


class Number(Message):
    """An item."""

    value: int


class CountJob(Job):
    """How far to count."""

    upto: int = Field(ge=0, le=100_000)


class CarryJob(Job):
    """A descriptor to read from."""

    source: Fd


class PackJob(Job):
    """Bytes, small or large."""

    data: Blob


#: Not idempotent, no key: at most once, whatever happens.
note: Final = Method("chaos.note", Job, Done)
#: Carried by a key: may be sent twice, and runs once.
keyed: Final = Method("chaos.keyed", Job, Done, keyed=True)
#: Idempotent: may run more than once.
again: Final = Method("chaos.again", Job, Done, idempotent=True)
#: Reads what the descriptor has, and gives the same bytes by a descriptor of its own.
carry: Final = Method("chaos.carry", CarryJob, Fd)
#: The same bytes back.
pack: Final = Method("chaos.pack", PackJob, Blob)
count: Final = Stream("chaos.count", CountJob, Number)
total: Final = Upload("chaos.total", Job, Number, int)
