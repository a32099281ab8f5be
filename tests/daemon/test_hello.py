"""`rpc.hello`: what a server says of itself, whichever services it offers."""

from pathlib import Path

import pytest

from superd_client.builtin import Hello, Nothing, hello
from superd_client.wire import limits
from superd_client.wire.envelope import Result
from tests.daemon.process import superd
from tests.daemon.raw import echo, request


@pytest.fixture(name="path")
def fixture_path(tmp_path: Path) -> Path:
    return tmp_path / "s"


def test_hello(path: Path) -> None:
    environment = {
        "SUPERD_STREAMS": "7",
        "SUPERD_FRAME_SIZE": "1MiB",
        "SUPERD_IDEMPOTENCY_AGE": "1min 30s",
        "SUPERD_IDEMPOTENCY_ENTRIES": "12",
        "SUPERD_TOTAL_CALLS": "100",
        "SUPERD_TOTAL_DESCRIPTORS": "1000",
        "INVOCATION_ID": "abc",
    }
    with superd(path=path, environment=environment) as daemon, daemon.client() as client:
        said = client.ask(request("rpc.hello"))["result"]
        assert said["protocol"] == {"min": 1, "max": 1}
        assert said["limits"] == {
            "frame_size_default": 1 << 20,
            "calls_in_flight_default": limits.CALLS_IN_FLIGHT_DEFAULT,
            "write_buffer_default": limits.WRITE_BUFFER_DEFAULT,
            "streams_default": 7,
            "stream_credit_default": limits.STREAM_CREDIT_DEFAULT,
            "calls_per_user_default": 50,
            "streams_per_user_default": limits.STREAMS_PER_USER_DEFAULT,
            "bytes_per_user_default": limits.BYTES_PER_USER_DEFAULT,
            "fds_per_frame_max": limits.FDS_PER_FRAME_MAX,
            "fds_per_connection_max": limits.FDS_PER_CONNECTION_MAX,
            "fds_per_user_max": 500,
            "nesting_max": limits.NESTING_MAX,
            "idempotency_key_max": limits.IDEMPOTENCY_KEY_MAX,
            "idempotency_age_default": 90_000_000,
            "idempotency_entries_default": 12,
            "idempotency_bytes_default": limits.IDEMPOTENCY_BYTES_DEFAULT,
        }
        assert (said["version"], said["invocation_id"]) == ("0.1.0", "abc")
        assert {"streams", "uploads", "deadlines", "cancellation", "goaway", "idempotency_keys"} <= set(
            said["features"]
        )
        # At any time, and any number of times.
        assert client.ask(echo("x", 2))["id"] == 2
        assert client.ask(request("rpc.hello", {}, 3))["result"] == said
        assert daemon.stop() == 0


def test_the_names_of_limits_are_those_of_the_page(path: Path) -> None:
    with superd(path=path) as daemon, daemon.client() as client:
        said = client.ask(request("rpc.hello"))["result"]["limits"]
        assert all(getattr(limits, name.upper()) == value for name, value in said.items())
        assert daemon.stop() == 0


@pytest.mark.parametrize("services", ["status", "discover", "echo,status,discover"])
def test_it_is_always_there(path: Path, services: str) -> None:
    environment = {"SUPERD_BUILTIN_SERVICES": services}
    with superd(path=path, environment=environment) as daemon, daemon.client() as client:
        assert client.ask(request("rpc.hello"))["result"]["version"] == "0.1.0"
        assert ("result" in client.ask(request("rpc.discover"))) == ("discover" in services)
        assert daemon.stop() == 0


def test_its_params_are_none(path: Path) -> None:
    with superd(path=path) as daemon, daemon.client() as client:
        assert client.ask(request("rpc.hello", {"version": 2}))["error"]["code"] == -32602
        assert daemon.stop() == 0


def test_a_client_ignores_what_it_does_not_know() -> None:
    body = (
        b'{"jsonrpc":"2.0","id":1,"result":{"protocol":{"min":1,"max":2,"best":2},"features":["flight"],'
        b'"limits":{"wings":2},"version":"9","unit":null,"invocation_id":null,"colour":"blue"}}'
    )
    reply = hello.decode_reply(body)
    assert isinstance(reply, Result)
    assert isinstance(reply.value, Hello)
    assert (reply.value.protocol.max, reply.value.features) == (2, ("flight",))
    assert hello.encode_params(Nothing()) == b"{}"
