"""What holds for these tests: a daemon as it runs, which is started once for all of a file, and nothing left behind."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.starting import unit_environment
from tests.daemon.process import Superd, superd
from tests.hot_path.clients import CALLERS, Caller

SERVICES = {kind: f"tests.bench.systems.superd_service:{kind}" for kind in ("inventory", "inventory_async")}
PROBE = "tests.hot_path.probe:probe"


@contextlib.contextmanager
def hosting(kind: str, folder: Path) -> Iterator[Superd]:
    """A daemon with the measured service and the probe."""
    arguments = [f"--service={SERVICES[kind]}", f"--service={PROBE}"]
    with superd(*arguments, path=folder / "s", environment=unit_environment()) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Superd]:
    """One whose handler is inline, where superd has such."""
    with hosting("inventory", tmp_path_factory.mktemp("daemon")) as running:
        yield running


@pytest.fixture(scope="module")
def async_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Superd]:
    """One whose handler is a coroutine."""
    with hosting("inventory_async", tmp_path_factory.mktemp("daemon")) as running:
        yield running


@contextlib.contextmanager
def calling(kind: str, daemon: Superd, warm_up: int) -> Iterator[Caller]:
    """A client in this process, which has made some calls."""
    caller = CALLERS[kind](str(daemon.path))
    try:
        caller.lookups(warm_up)
        yield caller
    finally:
        caller.close()
