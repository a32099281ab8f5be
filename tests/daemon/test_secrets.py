"""Secrets between each client and superd, over real sockets: real in what arrives, stars in all that superd says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import Secret, SecretBytes, SecretStr

from superd_client import ApplicationError, InternalError, InvalidParams
from tests.contract.drivers import DRIVERS, Driver
from tests.daemon.process import Superd, superd
from tests.daemon.vault import (
    Checked,
    Credentials,
    Denied,
    Token,
    check,
    fail,
    issue,
    lie,
    parse,
    store,
    watch,
)

PASSWORD, KEY, PIN, NOTE = "hunter2 'is'\nmine", b"k3y-of-bytes", 47114711, "note-to-nobody"
SAID = (PASSWORD, repr(PASSWORD)[1:-1], KEY.decode(), str(PIN), NOTE, "hunter2")


def credentials(user: str = "romd") -> Credentials:
    return Credentials(
        user=user, password=SecretStr(PASSWORD), key=SecretBytes(KEY), pin=Secret(PIN), note=NOTE
    )


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Superd]:
    folder: Path = tmp_path_factory.mktemp("vault")
    environment = {"SUPERD_LOG_LEVEL": "debug", "SUPERD_SERVICES": "tests.daemon.vault:vault"}
    listen = f"--listen=unix-seqpacket:{folder}/packets"
    with superd(listen, path=folder / "s", environment=environment) as running:
        yield running
        assert running.stop() == 0
        assert not any(secret in running.log for secret in SAID)


@pytest.fixture(params=["unix:{}", "unix-seqpacket:{}"])
def address(request: pytest.FixtureRequest, daemon: Superd) -> str:
    path = daemon.path if request.param == "unix:{}" else daemon.path.parent / "packets"
    address: str = request.param.format(path)
    return address


@pytest.fixture(params=sorted(DRIVERS))
def client(request: pytest.FixtureRequest, address: str) -> Iterator[Driver]:
    with DRIVERS[request.param](address) as client:
        yield client


def logged(daemon: Superd, call_id: str) -> str:
    """What superd said of a call, which holds no secret."""
    text = daemon.wait_for(f"[call {call_id}]")
    assert not any(secret in text for secret in SAID)
    lines = text.splitlines()
    begin = next(number for number, line in enumerate(lines) if f"[call {call_id}]" in line)
    return "\n".join(lines[begin:])


def test_params_and_result(client: Driver) -> None:
    token: Token = client.call(issue, credentials())
    assert (token.token.get_secret_value(), token.plain) == (PASSWORD, NOTE)
    assert not any(secret in f"{token!r}{token}" for secret in SAID)


def test_items_both_ways(client: Driver) -> None:
    items: list[Token] = []
    client.collect(items, watch, credentials())
    assert [item.token.get_secret_value() for item in items] == [PASSWORD, PASSWORD]
    assert client.upload(store, credentials(), iter(items)) == 2


def test_a_declared_error(client: Driver, daemon: Superd) -> None:
    with pytest.raises(ApplicationError) as raised:
        client.call(issue, credentials("nobody"))
    detail = raised.value.detail
    assert isinstance(detail, Denied)
    assert detail.tried.get_secret_value() == PASSWORD
    assert PASSWORD not in str(raised.value.data)
    assert raised.value.call_id is not None
    assert "no to **********" in logged(daemon, raised.value.call_id)


def test_what_a_handler_logs(client: Driver, daemon: Superd) -> None:
    client.call(issue, credentials(), call_id=f"log-{id(client)}")
    line = logged(daemon, f"log-{id(client)}")
    assert "by=\"user='romd' password=SecretStr('**********')" in line
    assert "password=********** note=**********" in line


@pytest.mark.parametrize("method", [fail, lie, parse])
def test_a_traceback(client: Driver, daemon: Superd, method: Any) -> None:
    with pytest.raises(InternalError) as raised:
        client.call(method, credentials(f"{PIN}x"))
    assert PASSWORD not in f"{raised.value!r} {raised.value.data}"
    assert raised.value.call_id is not None
    daemon.wait_for({fail: "bad user=", lie: "that its model promises", parse: "input_type=str"}[method])
    assert "Traceback (most recent call last):" in logged(daemon, raised.value.call_id)


def test_a_validator_that_says_what_it_was_given(client: Driver, daemon: Superd) -> None:
    with pytest.raises(InvalidParams) as raised:
        client.call(check, Checked.model_construct(password=SecretStr(PASSWORD)))
    assert "hunter2" not in f"{raised.value} {raised.value.data}"
    assert raised.value.call_id is not None
    assert "invalid params: password: Input is not valid" in logged(daemon, raised.value.call_id)


def test_faults_of_params_that_are_secret(daemon: Superd) -> None:
    with daemon.client() as raw:
        body = b'{"jsonrpc":"2.0","id":1,"method":"vault.issue","params":{"user":"a","password":47114711}}'
        reply = raw.ask(body)
    assert reply["error"]["data"]["errors"] == [
        {"loc": ["password"], "type": "string_type", "msg": "Input should be a valid string"}
    ]
    assert str(PIN) not in str(reply)


def test_the_document_marks_what_is_secret(daemon: Superd) -> None:
    with daemon.client() as raw:
        document = raw.ask(b'{"jsonrpc":"2.0","id":1,"method":"rpc.discover","params":{}}')["result"]
    (method,) = [each for each in document["methods"] if each["name"] == "vault.issue"]
    marked = {each["name"]: each["schema"].get("x-sensitive", False) for each in method["params"]}
    assert marked == {"user": False, "password": True, "key": True, "pin": True, "note": True}
    schemas = {each["name"]: each["schema"] for each in method["params"]}
    assert schemas["pin"]["type"] == "integer"
    assert [name for name in ("password", "key", "pin") if "default" in schemas[name]] == []
    assert all(schemas[name]["writeOnly"] for name in ("password", "key", "pin", "note"))
    assert document["components"]["schemas"]["Token"]["properties"]["plain"]["x-sensitive"]
