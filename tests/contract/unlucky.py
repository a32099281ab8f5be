"""A service that writes down what it does, and kills its process in the middle of it."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Final

from superd.service import Context, Service
from superd_client import ApplicationError, Message, Method


class Work(Message):
    name: str
    #: How often the process dies of it, before its handler returns.
    dies: int = 0


class Nothing(Message):
    pass


class Refused(Message):
    name: str


keyed = Method("unlucky.keyed", Work, int, keyed=True, errors=[Refused])
idempotent = Method("unlucky.idempotent", Work, int, idempotent=True)
plain = Method("unlucky.plain", Work, int)
slow = Method("unlucky.slow", Work, int, keyed=True)
release = Method("unlucky.release", Nothing, int, idempotent=True)

unlucky = Service("unlucky")

#: Appended to by each handler that begins: the only witness that outlives the process.
LEDGER: Final = Path(os.environ.get("TEST_LEDGER", "/dev/null"))


def write_down(name: str) -> int:
    """Note that the work runs; how often it has by now."""
    with LEDGER.open("a", encoding="utf-8") as ledger:
        ledger.write(f"{name}\n")
    return LEDGER.read_text("utf-8").splitlines().count(name)


def carry_out(work: Work) -> int:
    count = write_down(work.name)
    if count <= work.dies:
        os.kill(os.getpid(), signal.SIGKILL)
    return count


@unlucky.method(keyed)
async def handle_keyed(params: Work, context: Context) -> int:
    count = carry_out(params)
    if params.name == "refused":
        raise ApplicationError(Refused(name=params.name))
    return count


@unlucky.method(idempotent)
def handle_idempotent(params: Work, context: Context) -> int:
    return carry_out(params)


@unlucky.method(plain)
async def handle_plain(params: Work, context: Context) -> int:
    return carry_out(params)


_released: Final = asyncio.Event()


@unlucky.method(slow)
async def handle_slow(params: Work, context: Context) -> int:
    count = write_down(params.name)
    await _released.wait()
    return count


@unlucky.method(release)
async def handle_release(params: Nothing, context: Context) -> int:
    _released.set()
    return 0
