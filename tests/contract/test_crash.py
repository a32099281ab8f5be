"""What each client makes of a superd that is killed, or a connection that is lost: what may be repeated is, and nothing else."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from superd_client import (
    ApplicationError,
    Client,
    Conflict,
    ConnectionLost,
    IdempotencyKey,
    Outcome,
)
from tests.client.server import PATIENCE
from tests.contract.drivers import Driver
from tests.contract.generations import Generations
from tests.contract.unlucky import Nothing, Work, idempotent, keyed, plain, release, slow


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generations]:
    path: Path = tmp_path_factory.mktemp("crash") / "s"
    with Generations(path, "tests.contract.unlucky:unlucky", keeps=True) as daemon:
        yield daemon


@pytest.fixture
def address(daemon: Generations) -> str:
    return daemon.address


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A work that no other test has."""
    return request.node.name  # type: ignore[no-any-return]


def test_an_idempotent_call_is_repeated(client: Driver, daemon: Generations, name: str) -> None:
    assert client.call(idempotent, Work(name=name, dies=1)) == 2
    assert daemon.runs(name) == 2


def test_a_call_with_a_key_never_runs_twice(client: Driver, daemon: Generations, name: str) -> None:
    with pytest.raises(ConnectionLost, match="its repeat: the first call with this key was begun") as caught:
        client.call(keyed, Work(name=name, dies=1), call_id="romd-1")
    assert (caught.value.outcome, caught.value.call_id) == (Outcome.UNKNOWN, "romd-1")
    assert isinstance(caught.value.__cause__, Conflict)
    assert daemon.runs(name) == 1


def test_any_other_call_is_not_repeated(client: Driver, daemon: Generations, name: str) -> None:
    with pytest.raises(ConnectionLost) as caught:
        client.call(plain, Work(name=name, dies=1))
    assert (caught.value.outcome, caught.value.__cause__) == (Outcome.UNKNOWN, None)
    assert daemon.runs(name) == 1


def test_an_untyped_call_is_repeated_with_a_key_alone(client: Driver, daemon: Generations, name: str) -> None:
    with pytest.raises(ConnectionLost):
        client.call("unlucky.idempotent", {"name": name, "dies": 1})
    assert daemon.runs(name) == 1


# --- a connection that is lost, and a server that lives ------------------------------------------------------------------


def sever(client: Any) -> None:
    """End the connection of a client under its feet, as a kernel or a server may."""
    client._client._exchange.link.channel.shutdown()


@pytest.fixture
def cut(client: Driver, daemon: Generations, name: str) -> Callable[..., Any]:
    """Make a call, and sever its connection while the handler runs; returns what `call` returns."""

    def cut(**options: Any) -> Any:
        def strike() -> None:
            daemon.wait_for(name)
            sever(client)
            with Client(daemon.address) as other:
                other.call(release, Nothing())

        striker = threading.Thread(target=strike)
        striker.start()
        try:
            return client.call(slow, Work(name=name), timeout=PATIENCE, **options)
        finally:
            striker.join()

    return cut


def test_the_answer_is_there_on_the_next_connection(
    cut: Callable[..., Any], daemon: Generations, name: str
) -> None:
    assert cut() == 1
    assert daemon.runs(name) == 1


def test_a_key_of_the_caller(cut: Callable[..., Any], client: Driver, daemon: Generations, name: str) -> None:
    key = IdempotencyKey()
    assert cut(idempotency_key=key) == 1
    assert client.call(slow, Work(name=name), idempotency_key=key) == 1
    # Another process, which has stored it.
    stored = IdempotencyKey.load(key.dump())
    assert client.call("unlucky.slow", {"name": name, "dies": 0}, idempotency_key=stored) == 1
    assert daemon.runs(name) == 1
    with pytest.raises(Conflict) as caught:
        client.call(slow, Work(name="other"), idempotency_key=key)
    assert (caught.value.reason, caught.value.outcome) == ("different", Outcome.REFUSED)


def test_a_failure_is_told_again(client: Driver, daemon: Generations) -> None:
    key = IdempotencyKey()
    before = daemon.runs("refused")
    for _ in range(2):
        with pytest.raises(ApplicationError) as caught:
            client.call(keyed, Work(name="refused"), idempotency_key=key)
        assert caught.value.outcome is Outcome.FAILED
    assert daemon.runs("refused") == before + 1


def test_a_key_is_good_for_what_was_not_carried_out(kind: type[Driver], tmp_path: Path) -> None:
    """A first call that reached nobody is no use of the key: it is not a repeat that follows."""
    key = IdempotencyKey("order-1")
    with kind(f"unix:{tmp_path}/s", wait_for_server=0) as client:
        for _ in range(2):
            with pytest.raises(ConnectionError):
                client.call(keyed, Work(name="a"), idempotency_key=key)
        with Generations(tmp_path / "s", "tests.contract.unlucky:unlucky") as daemon:
            assert client.call(keyed, Work(name="a"), idempotency_key=key) == 1
            # What another process may have sent before this daemon began, it cannot know.
            with pytest.raises(Conflict) as caught:
                client.call(keyed, Work(name="b"), idempotency_key=_of_another_process("order-2"))
            assert (caught.value.reason, caught.value.outcome) == ("lost", Outcome.UNKNOWN)
            assert (daemon.runs("a"), daemon.runs("b")) == (1, 0)


def _of_another_process(text: str) -> IdempotencyKey:
    boot, _, _ = IdempotencyKey().dump().split("/")
    return IdempotencyKey.load(f"{boot}/1/{text}")
