"""Every test of the suite runs over each client, against each server, and on each kind of connection."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from superd_client.address import SocketKind, parse_address
from tests.client.eager import poll_eagerly
from tests.contract.drivers import DRIVERS, Driver
from tests.contract.servers import SERVERS

CONNECTED: Final = (SocketKind.STREAM, SocketKind.SEQPACKET)


@pytest.fixture(
    scope="session",
    params=[(server, kind) for server in sorted(SERVERS) for kind in CONNECTED]
    + [("superd", SocketKind.DATAGRAM)],
    ids=lambda param: f"{param[0]}-{param[1].name.lower()}",
)
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server, kind = request.param
    directory: Path = tmp_path_factory.mktemp(server)
    with SERVERS[server](directory, kind) as address:
        yield address


@pytest.fixture(autouse=True)
def polls_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients with latency="low" poll after every event."""
    poll_eagerly(monkeypatch)


@pytest.fixture
def packets(address: str) -> bool:
    """Whether each message is a packet or a datagram, and so may have no more than the kernel's send buffer."""
    return parse_address(address).kind is not SocketKind.STREAM


@pytest.fixture(params=sorted(DRIVERS))
def kind(request: pytest.FixtureRequest) -> type[Driver]:
    driver: Any = DRIVERS[request.param]
    return driver  # type: ignore[no-any-return]


@pytest.fixture
def client(kind: type[Driver], address: str) -> Iterator[Driver]:
    with kind(address) as driver:
        yield driver
