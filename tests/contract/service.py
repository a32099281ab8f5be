"""What the contract suite asks for: a service that superd hosts, and the same handlers for the scripted server."""

import asyncio

from superd.service import Context, Service
from superd_client import ApplicationError, Message, Method


class Text(Message):
    text: str


class Pair(Message):
    a: int
    b: int


class Size(Message):
    size: int


class Nothing(Message):
    pass


class OutOfStock(Message):
    available: int


echo = Method("contract.echo", Text, Text, idempotent=True)
add = Method("contract.add", Pair, int)
take = Method("contract.take", Size, int, errors=[OutOfStock])
crash = Method("contract.crash", Nothing, int)
blow_up = Method("contract.blow_up", Size, str)
hold = Method("contract.hold", Nothing, int)

contract = Service("contract", version="1.0.0")


@contract.method(echo)
def handle_echo(params: Text, context: Context) -> Text:
    return params


@contract.method(add)
def handle_add(params: Pair, context: Context) -> int:
    return params.a + params.b


@contract.method(take)
def handle_take(params: Size, context: Context) -> int:
    raise ApplicationError(OutOfStock(available=3), f"only 3, not {params.size}")


@contract.method(crash)
def handle_crash(params: Nothing, context: Context) -> int:
    message = "a secret of the handler"
    raise RuntimeError(message)


@contract.method(blow_up)
def handle_blow_up(params: Size, context: Context) -> str:
    return "x" * params.size


@contract.method(hold)
async def handle_hold(params: Nothing, context: Context) -> int:
    await asyncio.Event().wait()
    return 0
