"""Idempotency keys over SIGKILL and over a restart: what the next superd knows of the calls of the one before it."""

from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL, SIGSTOP
from typing import Any, Final

import pytest

from superd.deadlines import now_usec
from tests.daemon.manager import Manager
from tests.daemon.process import superd
from tests.daemon.raw import RawClient, request

PROBE: Final = "--service=tests.daemon.sample:probe"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


def add(client: RawClient, first: int = 1, **meta: object) -> Any:
    """Ask for a sum with the key k."""
    meta = {"idempotency_key": "k", **meta}
    return client.ask(request("probe.add", {"first": first, "second": 2}, meta=meta))


def reason(reply: Any) -> str:
    assert reply["error"]["code"] == -32007, reply
    said: str = reply["error"]["data"]["reason"]
    return said


def test_the_answer_outlives_the_process(manager: Manager, path: Path) -> None:
    since = now_usec()
    with manager.superd(PROBE, path=path) as old, old.client() as client:
        assert add(client, call_id="one")["result"] == 3
        assert add(client, 13, idempotency_key="other")["error"]["code"] == -32000
        old.stop(SIGKILL)
    with manager.superd(PROBE, path=path) as new, new.client() as client:
        assert add(client, idempotency_since_usec=since)["result"] == 3
        new.wait_for("first_call_id=one")
        error = add(client, 13, idempotency_key="other", call_id="two")["error"]
        assert (error["code"], error["data"]["call_id"]) == (-32000, "two")
        assert reason(add(client, 2)) == "different"


def test_what_ran_is_lost(manager: Manager, path: Path) -> None:
    since = now_usec()
    hang = request("probe.hang", {}, meta={"idempotency_key": "k", "idempotency_since_usec": since})
    with manager.superd(PROBE, path=path) as old, old.client() as client:
        client.send(request("probe.hang", {}, meta={"idempotency_key": "k"}))
        old.wait_for("hanging")
        old.stop(SIGKILL)
    with manager.superd(PROBE, path=path) as new, new.client() as client:
        assert reason(client.ask(hang)) == "lost"
        new.stop(SIGKILL)
    with manager.superd(PROBE, path=path) as third, third.client() as client:
        assert reason(client.ask(hang)) == "lost"


def test_what_was_never_read_is_carried_out(manager: Manager, path: Path) -> None:
    with manager.superd(PROBE, path=path) as old, old.client() as client:
        assert add(client, idempotency_key="before")["result"] == 3
        old.send_signal(SIGSTOP)
        since = now_usec()
        client.send(request("probe.add", {"first": 1, "second": 2}, meta={"idempotency_key": "k"}))
        old.stop(SIGKILL)
    with manager.superd(PROBE, path=path) as new, new.client() as client:
        assert add(client, idempotency_since_usec=since)["result"] == 3
        assert "first_call_id" not in new.log


def test_the_answer_outlives_a_restart(manager: Manager, path: Path) -> None:
    since = now_usec()
    with manager.superd(PROBE, path=path) as old, old.client() as client:
        assert add(client)["result"] == 3
        assert old.stop() == 0
        with manager.superd(PROBE, path=path):
            # The connection goes on, and so does what its user may ask again.
            assert add(client, idempotency_since_usec=since)["result"] == 3
            assert reason(add(client, 2)) == "different"


def test_without_systemd_nothing_is_known_after_the_end(path: Path) -> None:
    since = now_usec()
    with superd(PROBE, path=path) as old, old.client() as client:
        assert add(client)["result"] == 3
        old.stop(SIGKILL)
    with superd(PROBE, path=path) as new, new.client() as client:
        assert reason(add(client, idempotency_since_usec=since)) == "lost"
        assert add(client)["result"] == 3


def test_the_limits_are_those_of_the_settings(manager: Manager, path: Path) -> None:
    few = {"SUPERD_IDEMPOTENCY_ENTRIES": "1", "SUPERD_IDEMPOTENCY_BYTES": "1KiB"}
    with manager.superd(PROBE, path=path, environment=few) as daemon, daemon.client() as client:
        hang = request("probe.hang", {}, "hang", meta={"idempotency_key": "hang"})
        assert client.ask(request("rpc.hello"))["result"]["limits"]["idempotency_entries_default"] == 1
        client.send(hang)
        daemon.wait_for("hanging")
        error = add(client)["error"]
        assert (error["code"], error["data"]["limit"]) == (-32002, 1)
