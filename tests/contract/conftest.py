"""Every test of the suite runs over each client and against each server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.drivers import DRIVERS, Driver
from tests.contract.servers import SERVERS


@pytest.fixture(scope="session", params=sorted(SERVERS))
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory: Path = tmp_path_factory.mktemp(str(request.param))
    with SERVERS[request.param](directory) as address:
        yield address


@pytest.fixture(params=sorted(DRIVERS))
def kind(request: pytest.FixtureRequest) -> type[Driver]:
    driver: Any = DRIVERS[request.param]
    return driver  # type: ignore[no-any-return]


@pytest.fixture
def client(kind: type[Driver], address: str) -> Iterator[Driver]:
    with kind(address) as driver:
        yield driver
