"""What bad input gets: each row against a real superd, while another peer is served."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.process import PROGRAMS, Superd, superd
from tests.daemon.raw import RawClient, echo, frame, request


@pytest.fixture(scope="module", params=sorted(PROGRAMS))
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Superd]:
    path = tmp_path_factory.mktemp("bad") / "s"
    program = PROGRAMS[request.param]
    environment = {"SUPERD_FRAME_SIZE": "256KiB", "SUPERD_SERVICES": "tests.daemon.sample:probe"}
    with superd(path=path, program=program, environment=environment) as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
def client(daemon: Superd) -> Iterator[RawClient]:
    """A peer that misbehaves, beside one that must not notice."""
    with daemon.client() as bystander:
        assert bystander.ask(echo("before"))["result"] == {"text": "before"}
        with daemon.client() as misbehaving:
            yield misbehaving
        assert bystander.ask(echo("after"))["result"] == {"text": "after"}


def refused(client: RawClient, body: bytes, code: int, request_id: object = None) -> dict[str, Any]:
    """The error's data, without its call id; the connection lives on."""
    reply = client.ask(body)
    assert sorted(reply) == ["error", "id", "jsonrpc"]
    assert reply["id"] == request_id
    assert type(reply["id"]) is type(request_id)
    assert reply["error"]["code"] == code
    data: dict[str, Any] = reply["error"]["data"]
    assert data.pop("call_id")
    assert client.ask(echo("alive", "alive"))["result"] == {"text": "alive"}
    return data


@pytest.mark.parametrize(
    ("body", "offset"),
    [
        (b"xx", 0),
        (b"{", 1),
        (b'{"jsonrpc":"2.0","id":1,', 24),
        (b'{"jsonrpc":"2.0","id":1}x', 24),
        (b'{"jsonrpc":"2.0","id":1,\n"method":x}', 34),
        (b'"\xff"', 1),
        (b'{"jsonrpc":"2.0","id":1,"method":"echo.echo","params":{"text":"\xc3\x28"}}', 63),
        (b'{"jsonrpc":"2.0","id":1,"method":"echo.echo","params":{"text":NaN}}', 62),
        (b'{"jsonrpc":"2.0","id":1,"method":"echo.echo","params":{"text":-Infinity}}', 62),
        (b"\xef\xbb\xbf{}", 0),
        (b" ", 1),
        (b"\0", 0),
    ],
)
def test_not_json(client: RawClient, body: bytes, offset: int) -> None:
    assert abs(refused(client, body, -32700)["offset"] - offset) <= 1


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
        b'{"jsonrpc":"2.0","id":1,"method":"echo.echo","params":{"text":"\\ud800"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"echo.echo","params":{"text":"\\udc00\\ud800"}}',
    ],
    ids=["open", "closed", "objects", "lone surrogate", "swapped surrogates"],
)
def test_no_legal_text(client: RawClient, body: bytes) -> None:
    assert set(refused(client, body, -32700)) <= {"offset"}


@pytest.mark.parametrize(
    ("body", "request_id"),
    [
        (b"{}", None),
        (b"1", None),
        (b"null", None),
        (b'"echo.echo"', None),
        (b"[]", None),
        (b'[{"jsonrpc":"2.0","id":1,"method":"echo.echo","params":{"text":"x"}}]', None),
        (b'{"jsonrpc":"2.0","id":1}', 1),
        (b'{"jsonrpc":"1.0","id":"a","method":"echo.echo"}', "a"),
        (b'{"jsonrpc":2.0,"id":2,"method":"echo.echo"}', 2),
        (b'{"id":3,"method":"echo.echo"}', 3),
        (b'{"jsonrpc":"2.0","id":true,"method":"echo.echo"}', None),
        (b'{"jsonrpc":"2.0","id":1.0,"method":"echo.echo"}', None),
        (b'{"jsonrpc":"2.0","id":null,"method":"echo.echo"}', None),
        (b'{"jsonrpc":"2.0","id":"","method":"echo.echo"}', None),
        (b'{"jsonrpc":"2.0","id":9007199254740992,"method":"echo.echo"}', None),
        (b'{"jsonrpc":"2.0","id":[1],"method":"echo.echo"}', None),
        (b'{"jsonrpc":"2.0","id":4,"method":5}', 4),
        (b'{"jsonrpc":"2.0","id":4,"method":"echo.echo","params":{"text":"x"},"more":1}', 4),
        (b'{"jsonrpc":"2.0","id":4,"method":"echo.echo","params":{"text":"x"},"meta":[]}', 4),
        (b'{"jsonrpc":"2.0","id":4,"method":"echo.echo","params":{"text":"x"},"meta":{"call_id":""}}', 4),
        (b'{"jsonrpc":"2.0","id":4,"method":"echo.echo","params":{"text":"x"},"meta":{"call_id":"a\\n"}}', 4),
        (b'{"jsonrpc":"2.0","id":4,"method":"echo.echo","params":{"text":"x"},"meta":{"other":1}}', 4),
        (b'{"jsonrpc":"2.0","id":4,"result":1}', 4),
    ],
)
def test_not_a_request(client: RawClient, body: bytes, request_id: object) -> None:
    data = refused(client, body, -32600, request_id)
    assert data["errors"]
    assert all(sorted(fault) == ["loc", "msg", "type"] for fault in data["errors"])


def test_a_batch_is_told_what_to_do_instead(client: RawClient) -> None:
    assert "one after another" in client.ask(b"[]")["error"]["message"]


@pytest.mark.parametrize(
    ("method", "nearest"),
    [
        ("echo.ech", ["echo.echo"]),
        ("probe.ad", ["probe.add"]),
        ("superd.statis", ["superd.status"]),
        ("", []),
        ("x" * 100_000, []),
        ("__class__", []),
    ],
)
def test_unknown_method(client: RawClient, method: str, nearest: list[str]) -> None:
    data = refused(client, request(method, {}, 5), -32601, 5)
    assert data["nearest"][:1] == nearest
    assert len(data["nearest"]) <= 3


@pytest.mark.parametrize(
    ("params", "faults"),
    [
        ({}, [(["first"], "missing")]),
        ({"first": "SECRET"}, [(["first"], "int_type")]),
        ({"first": True}, [(["first"], "int_type")]),
        ({"first": 1.5}, [(["first"], "int_type")]),
        ({"first": None}, [(["first"], "int_type")]),
        ({"first": 1, "third": "SECRET"}, [(["third"], "extra_forbidden")]),
        ({"first": 1, "second": -5}, [(["second"], "greater_than_equal")]),
        (
            {"first": 1, "items": [1, "SECRET", 2, []]},
            [(["items", 1], "int_type"), (["items", 3], "int_type")],
        ),
        (
            {"second": "SECRET", "x": 1},
            [(["first"], "missing"), (["second"], "int_type"), (["x"], "extra_forbidden")],
        ),
        ([1], [([], "model_type")]),
        ([], [([], "model_type")]),
        ("SECRET", [([], "model_type")]),
        (7, [([], "model_type")]),
    ],
)
def test_params_that_do_not_fit(
    client: RawClient, params: object, faults: list[tuple[list[object], str]]
) -> None:
    reply = client.ask(request("probe.add", params, 6))
    assert reply["error"]["code"] == -32602
    assert reply["id"] == 6
    assert "SECRET" not in json.dumps(reply)
    assert [(fault["loc"], fault["type"]) for fault in reply["error"]["data"]["errors"]] == faults
    assert all(fault["msg"] for fault in reply["error"]["data"]["errors"])
    assert reply["error"]["data"]["call_id"]
    assert client.ask(echo())["id"] == 1


def test_params_that_are_null(client: RawClient) -> None:
    body = b'{"jsonrpc":"2.0","id":6,"method":"probe.add","params":null}'
    assert refused(client, body, -32602, 6)["errors"][0]["type"] == "model_type"


def test_a_thousand_faults_are_not_a_thousand_lines(client: RawClient) -> None:
    data = refused(client, request("probe.add", {"first": 1, "items": ["x"] * 700}, 6), -32602, 6)
    assert len(data["errors"]) == 32
    assert data["omitted"] == 700 - 32


def test_a_large_message_is_read_up_to_the_first_fault_of_a_list(client: RawClient) -> None:
    data = refused(client, request("probe.add", {"first": "x", "items": ["x"] * 2000}, 6), -32602, 6)
    assert [fault["loc"] for fault in data["errors"]] == [["first"], ["items", 0]]
    assert "omitted" not in data


def test_more_faults_than_are_looked_at(client: RawClient) -> None:
    data = refused(
        client, request("probe.add", {"first": 1} | {f"x{number}": 0 for number in range(1025)}, 6), -32602, 6
    )
    assert [(fault["loc"], fault["type"]) for fault in data["errors"]] == [([], "too_many_faults")]
    assert data["omitted"] == 1025


@pytest.mark.parametrize("method", ["probe.fail", "probe.lie"])
def test_a_handler_that_fails(daemon: Superd, client: RawClient, method: str) -> None:
    reply = client.ask(request(method, None, 8, meta={"call_id": f"{method}-{id(client)}"}))
    assert reply["error"] == {
        "code": -32603,
        "message": "internal error",
        "data": {"call_id": f"{method}-{id(client)}"},
    }
    daemon.wait_for(f"call failed: {method}")
    log = daemon.wait_for("the secret of the handler" if method == "probe.fail" else "valid string")
    assert f"[call {method}-{id(client)}]" in log
    assert "Traceback (most recent call last)" in log
    assert client.ask(echo())["id"] == 1


def test_a_declared_error(client: RawClient) -> None:
    reply = client.ask(request("probe.add", {"first": 13}, 8, meta={"call_id": "c"}))
    assert reply["error"] == {
        "code": -32000,
        "message": "not that one",
        "data": {"type": "Unlucky", "detail": {"number": 13}, "call_id": "c"},
    }


@pytest.mark.parametrize(
    ("data", "code", "more"),
    [
        (bytes(4), -32700, {}),
        ((256 * 1024 + 1).to_bytes(4, "big"), -32006, {"limit": 256 * 1024, "length": 256 * 1024 + 1}),
        (b"\xff\xff\xff\xff", -32006, {"limit": 256 * 1024, "length": 2**32 - 1}),
        (b"GET / HTTP/1.1\r\n\r\n", -32006, {"limit": 256 * 1024, "length": int.from_bytes(b"GET ")}),
    ],
)
def test_lost_framing(client: RawClient, data: bytes, code: int, more: dict[str, int]) -> None:
    client.send_raw(data)
    reply = client.receive()
    assert (reply["id"], reply["error"]["code"]) == (None, code)
    assert reply["error"]["data"].pop("call_id")
    assert reply["error"]["data"] == more
    assert client.receive() is None
    with pytest.raises(BrokenPipeError):
        client.send(echo())


def test_an_end_of_file_inside_a_frame(client: RawClient) -> None:
    client.send_raw(frame(echo())[:-1])
    client.half_close()
    reply = client.receive()
    assert (reply["id"], reply["error"]["code"]) == (None, -32700)
    assert client.receive() is None


def test_a_declared_length_costs_no_memory(daemon: Superd) -> None:
    clients = [daemon.client() for _ in range(50)]
    clients[0].ask(echo("x" * 200_000))
    before = resident(daemon)
    for each in clients:
        each.send_raw((256 * 1024).to_bytes(4, "big") + b"{")
    with daemon.client() as other:
        other.ask(echo())
    assert resident(daemon) - before < 4 << 20
    for each in clients:
        each.vanish()


def resident(daemon: Superd) -> int:
    """Resident bytes of the process, by proc_pid_statm(5)."""
    return int(Path(f"/proc/{daemon.process.pid}/statm").read_text("ascii").split()[1]) * 4096


def test_a_peer_that_vanishes_in_the_middle_of_a_frame(daemon: Superd, client: RawClient) -> None:
    with daemon.client() as other:
        other.send_raw(frame(echo())[:10])
    assert client.ask(echo())["id"] == 1


def test_a_peer_that_vanishes_in_the_middle_of_a_call(daemon: Superd, client: RawClient) -> None:
    with daemon.client() as other:
        call_id = f"lost-{id(other)}"
        other.send(request("probe.hang", None, 1, meta={"call_id": call_id}))
        daemon.wait_for("hanging")
    daemon.wait_for(f"[call {call_id}]")
    assert client.ask(echo())["id"] == 1
