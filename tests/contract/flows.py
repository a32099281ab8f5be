"""The streams and uploads of the contract suite, which superd hosts."""

import asyncio
from collections.abc import AsyncIterator, Iterator

from superd.service import Context, Service
from superd_client import ApplicationError, Message, Method, Stream, Upload


class Range(Message):
    """Numbers from 0; number `unlucky` is not sent, and fails the stream."""

    count: int
    unlucky: int = -1


class Nothing(Message):
    pass


class Unlucky(Message):
    value: int


class Seen(Message):
    begun: int
    cancelled: int
    noted: int


numbers = Stream("flows.numbers", Range, int, errors=[Unlucky])
on_a_thread = Stream("flows.on_a_thread", Range, int, errors=[Unlucky])
silence = Stream("flows.silence", Nothing, int)
total = Upload("flows.total", Range, int, int, errors=[Unlucky])
seen = Method("flows.seen", Nothing, Seen)
hold = Method("flows.hold", Nothing, int)
note = Method("flows.note", Nothing, int)

flows = Service("flows", version="1.0.0")

_counts = {"begun": 0, "cancelled": 0, "noted": 0}


@flows.method(numbers)
async def handle_numbers(params: Range, context: Context) -> AsyncIterator[int]:
    for value in range(params.count):
        _fail_at(params, value)
        yield value


@flows.method(on_a_thread)
def handle_on_a_thread(params: Range, context: Context) -> Iterator[int]:
    for value in range(params.count):
        _fail_at(params, value)
        yield value


@flows.method(silence)
async def handle_silence(params: Nothing, context: Context) -> AsyncIterator[int]:
    yield 0
    await _wait_for_ever()
    yield 1


@flows.method(total)
async def handle_total(params: Range, items: AsyncIterator[int], context: Context) -> int:
    """Adds items up, until there are `count` of them."""
    taken = []
    async for item in items:
        _fail_at(params, item)
        taken.append(item)
        if len(taken) == params.count:
            break
    return sum(taken)


@flows.method(hold)
async def handle_hold(params: Nothing, context: Context) -> int:
    await _wait_for_ever()
    return 0


@flows.method(note)
async def handle_note(params: Nothing, context: Context) -> int:
    _counts["noted"] += 1
    return 0


@flows.method(seen)
async def handle_seen(params: Nothing, context: Context) -> Seen:
    return Seen(**_counts)


async def _wait_for_ever() -> None:
    _counts["begun"] += 1
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        _counts["cancelled"] += 1
        raise


def _fail_at(params: Range, value: int) -> None:
    if value == params.unlucky:
        raise ApplicationError(Unlucky(value=value), "unlucky")
