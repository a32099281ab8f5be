"""FastAPI on uvicorn over a Unix socket, with uvloop and httptools, strict models, no access log; aiohttp calls it."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import aiohttp
import fastapi
import uvicorn
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict
from typing_extensions import override

from tests.bench.client import Asyncio
from tests.bench.payload import ITEM_SKU, POOL, encode, exchanges, expect, price_of


class Lookup(BaseModel):
    """A request."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    sku: str
    qty: int
    tags: list[str]
    note: str


class Item(Lookup):
    """A reply."""

    price: float


app: Final = fastapi.FastAPI()


@app.post("/lookup")
async def lookup(params: Lookup) -> Item:
    """Say what it costs."""
    return Item(
        sku=params.sku, qty=params.qty, tags=params.tags, note=params.note, price=price_of(params.qty)
    )


@app.get("/watch")
async def watch(items: int) -> StreamingResponse:
    """Lines of JSON."""

    async def lines() -> AsyncIterator[bytes]:
        for number in range(items):
            yield encode([number, ITEM_SKU]) + b"\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


class Server(uvicorn.Server):
    """Says when it serves."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @override
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self._ready()


def serve(address: str, ready: Callable[[], None]) -> None:
    """Accept for ever."""
    config = uvicorn.Config(
        app, uds=address, loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
    Server(config, ready).run()


class Http(Asyncio[aiohttp.ClientSession]):
    """A session with one connection that is kept."""

    one_at_a_time = "HTTP/1.1: one call at a time on a connection"

    def __init__(self, address: str, size: int) -> None:
        super().__init__(address, size)
        self._exchanges: Final = exchanges(size)

    @override
    async def connect(self) -> aiohttp.ClientSession:
        connector = aiohttp.UnixConnector(self.address, limit=1)
        return aiohttp.ClientSession("http://localhost", connector=connector)

    @override
    async def disconnect(self, connection: aiohttp.ClientSession) -> None:
        await connection.close()

    @override
    async def call(self, connection: aiohttp.ClientSession, number: int) -> None:
        params, item = self._exchanges[number % POOL]
        async with connection.post("/lookup", json=params) as reply:
            expect(number, await reply.json(), item)

    @override
    def stream(self, items: int) -> None:
        self.run(self._stream(items))

    async def _stream(self, items: int) -> None:
        seen = 0
        async with self.all[0].get("/watch", params={"items": str(items)}) as reply:
            async for line in reply.content:
                expect(seen, json.loads(line), [seen, ITEM_SKU])
                seen += 1
        expect(items, seen, items)
