"""dbus-fast on both sides of a message bus. The bus checks types; there are no models."""

from collections.abc import Callable
from typing import Annotated, Any, Final

import uvloop
from dbus_fast import Message, MessageFlag, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusSignature, DBusStr, DBusUInt32
from dbus_fast.service import ServiceInterface, dbus_method
from typing_extensions import override

from tests.bench.client import Asyncio
from tests.bench.payload import POOL, Params, WrongAnswerError, exchanges, expect, price_of

NAME: Final = "com.example.Inventory"
PATH: Final = "/com/example/Inventory"
SIGNATURE: Final = "suass"

#: One-way calls that are sent before a reply is waited for: the library ends the connection where the socket is full.
BURST: Final = 64

Tags = Annotated[list[str], DBusSignature("as")]
Item = Annotated[tuple[str, int, list[str], str, float], DBusSignature("suassd")]


class Inventory(ServiceInterface):
    """The service."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self._notes: list[str] = []

    @dbus_method()
    def Lookup(self, sku: DBusStr, qty: DBusUInt32, tags: Tags, note: DBusStr) -> Item:  # noqa: N802 - D-Bus names
        return (sku, qty, tags, note, price_of(qty))

    @dbus_method()
    def Note(self, sku: DBusStr, qty: DBusUInt32, tags: Tags, note: DBusStr) -> None:  # noqa: N802
        self._notes.append(sku)

    @dbus_method()
    def Noted(self) -> DBusUInt32:  # noqa: N802
        count = len(self._notes)
        self._notes.clear()
        return count


def serve(address: str, ready: Callable[[], None]) -> None:
    """Own the name on the bus at `address`."""

    async def forever() -> None:
        bus = await MessageBus(bus_address=f"unix:path={address}").connect()
        bus.export(PATH, Inventory())
        await bus.request_name(NAME)
        ready()
        await bus.wait_for_disconnect()

    uvloop.run(forever())


def _body(params: Params) -> list[Any]:
    return [params["sku"], params["qty"], params["tags"], params["note"]]


class DBus(Asyncio[MessageBus]):
    """`MessageBus.call`, the fastest way to make a call: a proxy does the same and more."""

    def __init__(self, address: str, size: int) -> None:
        super().__init__(address, size)
        self._exchanges: Final = [(_body(params), list(item.values())) for params, item in exchanges(size)]

    @override
    async def connect(self) -> MessageBus:
        return await MessageBus(bus_address=f"unix:path={self.address}").connect()

    @override
    async def disconnect(self, connection: MessageBus) -> None:
        connection.disconnect()

    @override
    async def call(self, connection: MessageBus, number: int) -> None:
        body, item = self._exchanges[number % POOL]
        expect(number, await self._ask(connection, "Lookup", SIGNATURE, body), item)

    async def _ask(self, connection: MessageBus, member: str, signature: str, body: list[Any]) -> list[Any]:
        message = Message(
            destination=NAME, path=PATH, interface=NAME, member=member, signature=signature, body=body
        )
        reply = await connection.call(message)
        if reply is None or reply.message_type is not MessageType.METHOD_RETURN:
            raise WrongAnswerError(f"the bus answered an error: {reply and reply.error_name}")
        answered: list[Any] = reply.body
        return answered

    @override
    def one_way(self, calls: int) -> None:
        self.run(self._one_way(calls))

    async def _one_way(self, calls: int) -> None:
        connection, body = self.all[0], self._exchanges[0][0]
        for number in range(calls):
            if number % BURST == 0:
                expect(number, await self._ask(connection, "Noted", "", []), [min(number, BURST)])
            message = Message(
                destination=NAME,
                path=PATH,
                interface=NAME,
                member="Note",
                signature=SIGNATURE,
                body=body,
                flags=MessageFlag.NO_REPLY_EXPECTED,
            )
            await connection.send(message)
        expect(calls, await self._ask(connection, "Noted", "", []), [(calls - 1) % BURST + 1])
