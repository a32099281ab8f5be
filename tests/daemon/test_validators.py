"""Validators of models that raise what they should not: a fault of the service, of that call alone."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import field_validator

from superd.context import Context
from superd.service import Service
from superd_client.contract import Message, Method
from superd_client.streams import Upload
from tests.daemon.raw import RawClient, echo, note, request
from tests.daemon.running import Running, running_server


class Odd(Message):
    text: str

    @field_validator("text")
    @classmethod
    def check(cls, text: str) -> str:
        if text == "missing":
            raise KeyError("the secret of the validator")
        if text == "odd":
            raise RuntimeError("the secret of the validator")
        return text


class Plain(Message):
    until: int = 2


odd = Service("odd")


@odd.method(Method("odd.take", Odd, str))
async def take(params: Odd, context: Context) -> str:
    return params.text


@odd.method(Upload("odd.load", Plain, Odd, int))
async def load(params: Plain, items: AsyncIterator[Odd], context: Context) -> int:
    return len([item async for item in items])


def is_internal(reply: dict[str, Any], request_id: object) -> None:
    assert (reply["id"], reply["error"]["code"]) == (request_id, -32603)
    assert set(reply["error"]["data"]) == {"call_id"}
    assert "secret" not in str(reply)


def check_the_rest(server: Running, client: RawClient) -> None:
    """The log has what the caller has not; the connection goes on."""
    assert client.ask(echo())["result"] == {"text": "hello"}
    (failed,) = server.logs.about(event="call failed")
    assert "the secret of the validator" in str(failed["exc_info"])


@pytest.mark.parametrize("text", ["missing", "odd"])
def test_a_validator_of_params(text: str) -> None:
    with running_server(odd) as server, server.client() as client:
        client.send(request("odd.take", {"text": text}))
        is_internal(client.receive(), 1)
        check_the_rest(server, client)


@pytest.mark.parametrize("text", ["missing", "odd"])
def test_a_validator_of_items(text: str) -> None:
    with running_server(odd) as server, server.client() as client:
        client.send(request("odd.load"))
        assert client.receive()["method"] == "rpc.credit"
        client.send(note("item", id=1, seq=0, item={"text": text}))
        is_internal(client.receive(), 1)
        check_the_rest(server, client)
