"""Services for the tests that run superd as a process. What they do is told on stderr."""

import asyncio
import contextlib
import itertools
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from pydantic import Field
from typing_extensions import override

from superd.service import Context, Service
from superd_client.builtin import Nothing
from superd_client.contract import Message, Method
from superd_client.errors import ApplicationError
from superd_client.fd import Fd
from superd_client.streams import Stream, Upload


class Numbers(Message):
    first: int
    second: int = Field(default=0, ge=0)
    items: tuple[int, ...] = ()


class Unlucky(Message):
    number: int


@contextlib.asynccontextmanager
async def open_state() -> AsyncIterator[str]:
    _tell("lifespan entered")
    try:
        yield "the state"
    finally:
        _tell("lifespan left")


probe = Service("probe", version="2.1", lifespan=open_state)
other = Service("other", lifespan=open_state)


@probe.method(Method("probe.add", Numbers, int, errors=[Unlucky]))
async def add(params: Numbers, context: Context) -> int:
    if params.first == 13:
        raise ApplicationError(Unlucky(number=13), "not that one")
    return params.first + params.second + sum(params.items)


@probe.method(Method("probe.fail", Nothing, str))
def fail(params: Nothing, context: Context) -> str:
    raise LookupError("the secret of the handler")


@probe.method(Method("probe.lie", Nothing, str))
async def lie(params: Nothing, context: Context) -> str:
    return 17  # type: ignore[return-value]


@probe.method(Method("probe.state", Nothing, str))
async def state(params: Nothing, context: Context) -> str:
    return str(context.state)


@probe.method(Method("probe.hang", Nothing, str))
async def hang(params: Nothing, context: Context) -> str:
    context.log.info("hanging")
    await asyncio.Event().wait()
    return ""


@probe.method(Method("probe.wait", Nothing, str))
async def wait(params: Nothing, context: Context) -> str:
    """Wait until `probe.go` is called."""
    context.log.info("waiting")
    await GO.wait()
    return "gone"


@probe.method(Method("probe.go", Nothing, str))
async def go(params: Nothing, context: Context) -> str:
    GO.set()
    return ""


@probe.method(Method("probe.stubborn", Nothing, str))
async def stubborn(params: Nothing, context: Context) -> str:
    context.log.info("hanging")
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


@probe.method(Method("probe.block", Nothing, str))
def block(params: Nothing, context: Context) -> str:
    context.log.info("hanging")
    threading.Event().wait()
    return ""


class File(Message):
    file: Fd


@probe.method(Method("probe.read", File, str))
def read(params: File, context: Context) -> str:
    with open(params.file.detach()) as file:  # noqa: PTH123
        return file.read()


@probe.method(Stream("probe.tick", Nothing, int))
async def tick(params: Nothing, context: Context) -> AsyncIterator[int]:
    for number in itertools.count():
        yield number


@probe.method(Upload("probe.total", Nothing, int, int))
async def total(params: Nothing, items: AsyncIterator[int], context: Context) -> int:
    return sum([each async for each in items])


GO = asyncio.Event()


def _read_disk() -> None:
    Path("/no such disk").stat()


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextlib.asynccontextmanager
async def never_ready() -> AsyncIterator[None]:
    _tell("waiting for ever")
    await asyncio.Event().wait()
    yield


@contextlib.asynccontextmanager
async def broken_at_start() -> AsyncIterator[None]:
    _read_disk()
    yield


@contextlib.asynccontextmanager
async def broken_at_stop() -> AsyncIterator[None]:
    yield
    raise OSError("the disk is full")


@contextlib.asynccontextmanager
async def forgiving() -> AsyncIterator[None]:
    """A lifespan that swallows what is raised into it."""
    with contextlib.suppress(Exception):
        yield


class Unshowable(Exception):
    """An exception that cannot even be shown."""

    @property
    @override
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise RuntimeError("no notes")


odd = Service("odd")


@odd.method(Method("odd.run", Nothing, str))
async def run_odd(params: Nothing, context: Context) -> str:
    raise Unshowable


slow = Service("slow", lifespan=never_ready)
broken = Service("broken", lifespan=broken_at_start)
leaky = Service("leaky", lifespan=broken_at_stop)
calm = Service("calm", lifespan=forgiving)
echo = Service("echo")
reserved = Service("superd")
text = "not a service"
