"""A service with a credential that it treats as badly as a service can by mistake."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from superd.service import Context, Provisions, Service
from superd_client.builtin import Nothing
from superd_client.contract import Message, Method
from superd_client.errors import ApplicationError

CREDENTIAL = "db-password"


class Refused(Message):
    reason: str


@contextlib.asynccontextmanager
async def log_in(provisions: Provisions) -> AsyncIterator[str]:
    password = provisions.credentials[CREDENTIAL].decode().strip()
    logging.getLogger("keeper").warning("logged in with %s", password)
    yield password
    logging.getLogger("keeper").warning("logged out with %r", provisions.credentials[CREDENTIAL])


@contextlib.asynccontextmanager
async def cannot_log_in(provisions: Provisions) -> AsyncIterator[None]:
    if provisions.credentials[CREDENTIAL]:
        raise RuntimeError(f"no login with {provisions.credentials[CREDENTIAL].decode().strip()}")
    yield


keeper = Service("keeper", lifespan=log_in)
locked_out = Service("keeper", lifespan=cannot_log_in)


@keeper.method(Method("keeper.where", Nothing, tuple[str, str]))
def handle_where(params: Nothing, context: Context) -> tuple[str, str]:
    return str(context.state_directory), str(context.runtime_directory)


@keeper.method(Method("keeper.size", Nothing, int))
def handle_size(params: Nothing, context: Context) -> int:
    return len(context.credentials[CREDENTIAL])


@keeper.method(Method("keeper.log", Nothing, int))
async def handle_log(params: Nothing, context: Context) -> int:
    password = context.state
    sentence = f"asked with {password}"
    context.log.info(sentence, password=password, raw=context.credentials[CREDENTIAL])
    logging.getLogger("keeper").error("all of %s and %r", context.credentials, dict(context.credentials))
    lost = asyncio.get_running_loop().create_future()
    lost.set_exception(RuntimeError(f"nobody looks at {password}"))
    del lost
    return 0


@keeper.method(Method("keeper.fail", Nothing, int))
def handle_fail(params: Nothing, context: Context) -> int:
    password = context.credentials[CREDENTIAL]
    try:
        return {b"": 0}[password]
    except KeyError as error:
        raise RuntimeError(f"cannot use {password!r} as {context.state}") from error


@keeper.method(Method("keeper.refuse", Nothing, int, errors=[Refused]))
def handle_refuse(params: Nothing, context: Context) -> int:
    raise ApplicationError(Refused(reason="no"), f"no to somebody with {'x' * len(context.state)}")


@keeper.method(Method("keeper.miss", Nothing, int))
def handle_miss(params: Nothing, context: Context) -> int:
    return len(context.credentials["no-such"])
