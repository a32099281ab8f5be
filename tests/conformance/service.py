"""What tests/conformance/README.md asks of a server, for our own: superd --service tests.conformance.service:conformance."""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from pydantic import Field, JsonValue

from superd.service import Context, Service
from superd_client.blob import Blob
from superd_client.builtin import Nothing
from superd_client.contract import Message, Method
from superd_client.errors import ApplicationError
from superd_client.fd import Fd
from superd_client.streams import Stream, Upload

#: Microseconds that a call may be asked to take.
PAUSE_MAX: Final = 60_000_000

#: Notes that are kept.
NOTES_MAX: Final = 1000


class Echo(Message):
    value: JsonValue


class Sleep(Message):
    usec: int = Field(ge=0, le=PAUSE_MAX)


class Count(Message):
    n: int = Field(ge=0)
    pause_usec: int = Field(default=0, ge=0, le=PAUSE_MAX)
    fails: bool = False


class Sum(Message):
    until: int | None = Field(default=None, ge=1)
    pause_usec: int = Field(default=0, ge=0, le=PAUSE_MAX)


class Total(Message):
    count: int
    sum: int


class Number(Message):
    number: int


class Unlucky(Message):
    number: int


class Fill(Message):
    size: int = Field(ge=0, le=1 << 30)


class Note(Message):
    text: str


class Descriptors(Message):
    fds: list[Fd]
    usec: int = Field(default=0, ge=0, le=PAUSE_MAX)


class Returned(Message):
    fds: list[Fd]


class OneBlob(Message):
    blob: Blob


class Digest(Message):
    size: int
    sha256: str
    blob: Blob


conformance = Service("conformance", version="1", summary="what a server is judged by")
notes: Final[deque[str]] = deque(maxlen=NOTES_MAX)


@conformance.method(Method("conformance.echo", Echo, JsonValue))  # type: ignore[arg-type]  # a type that is an alias
async def echo(params: Echo, context: Context) -> JsonValue:
    return params.value


@conformance.method(Method("conformance.sleep", Sleep, type(None)))
async def sleep(params: Sleep, context: Context) -> None:
    await asyncio.sleep(params.usec / 1e6)


@conformance.method(Stream("conformance.count", Count, int))
async def count(params: Count, context: Context) -> AsyncIterator[int]:
    for number in range(params.n):
        if number and params.pause_usec:
            await asyncio.sleep(params.pause_usec / 1e6)
        yield number
    if params.fails:
        raise LookupError("asked to")


@conformance.method(Upload("conformance.sum", Sum, int, Total))
async def add(params: Sum, items: AsyncIterator[int], context: Context) -> Total:
    await asyncio.sleep(params.pause_usec / 1e6)
    total = number = 0
    async for item in items:
        total, number = total + item, number + 1
        if number == params.until:
            break
    return Total(count=number, sum=total)


@conformance.method(Method("conformance.fail", Number, int, errors=[Unlucky]))
async def fail(params: Number, context: Context) -> int:
    raise ApplicationError(Unlucky(number=params.number), "asked to")


@conformance.method(Method("conformance.crash", Nothing, int))
async def crash(params: Nothing, context: Context) -> int:
    raise LookupError("asked to")


@conformance.method(Method("conformance.fill", Fill, str))
async def fill(params: Fill, context: Context) -> str:
    return "x" * params.size


@conformance.method(Method("conformance.note", Note, type(None)))
async def note(params: Note, context: Context) -> None:
    notes.append(params.text)


@conformance.method(Method("conformance.noted", Nothing, list[str]))
async def noted(params: Nothing, context: Context) -> list[str]:
    return list(notes)


@conformance.method(Method("conformance.fds", Descriptors, Returned))
async def fds(params: Descriptors, context: Context) -> Returned:
    await asyncio.sleep(params.usec / 1e6)
    return Returned(fds=params.fds)


@conformance.method(Method("conformance.blob", OneBlob, Digest))
async def blob(params: OneBlob, context: Context) -> Digest:
    digest = hashlib.sha256(params.blob.view).hexdigest()
    return Digest(size=len(params.blob), sha256=digest, blob=params.blob)
