"""Accepting where descriptors run out, for real: the limit of a superd that runs is lowered."""

import contextlib
import resource
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.process import PROGRAMS, Superd
from tests.daemon.raw import RawClient, echo
from tests.daemon.strangers import Stranger, needs_root


@contextlib.contextmanager
def superd_with_room_for(path: Path, count: int, loop: str, name: str | None = None) -> Iterator[Superd]:
    """A superd that can open `count` descriptors more than it has open when it serves."""
    more = [] if name is None else [f"--listen=unix:@{name}"]
    daemon = Superd(f"--listen=unix:{path}", *more, path=path, program=PROGRAMS[loop])
    try:
        daemon.started()
        lower_limit(daemon, count)
        yield daemon
    finally:
        daemon.kill()


def lower_limit(daemon: Superd, count: int) -> None:
    """The limit is that of the highest number: the free ones below it count."""
    numbers = {int(each.name) for each in Path(f"/proc/{daemon.process.pid}/fd").iterdir()}
    limit = 0
    while count:
        count -= limit not in numbers
        limit += 1
    limit = max(limit, max(numbers) + 1)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (limit, limit))


def refusal(client: RawClient) -> dict[str, object]:
    """What a client is told whose connection is closed."""
    answer = client.receive()
    assert answer["id"] is None
    assert answer["error"]["code"] == -32002
    assert client.receive() is None
    data: dict[str, object] = answer["error"]["data"]
    return data


@pytest.mark.parametrize("loop", sorted(PROGRAMS))
def test_who_comes_too_late_is_told(tmp_path: Path, loop: str) -> None:
    with superd_with_room_for(tmp_path / "s", 8, loop) as daemon, contextlib.ExitStack() as stack:
        served = list[RawClient]()
        while True:
            client = stack.enter_context(daemon.client())
            with contextlib.suppress(BrokenPipeError):
                client.send(echo())
            answer = client.receive()
            if answer["id"] is None:
                break
            served.append(client)
        assert answer["error"]["code"] == -32002
        assert answer["error"]["data"]["resource"] == "descriptors"
        assert len(served) == 8
        # It goes on listening, tells everybody, and serves those who are there.
        for _ in range(20):
            with daemon.client() as late:
                assert refusal(late)["resource"] == "descriptors"
        for client in served:
            assert client.ask(echo())["id"] == 1
        # A place that becomes free is taken.
        served.pop().vanish()
        assert served[0].ask(echo())["id"] == 1
        next_one = stack.enter_context(daemon.client())
        assert next_one.ask(echo())["id"] == 1
        assert daemon.stop() == 0
        assert daemon.log.count("cannot accept connections") == 1
        assert "Traceback" not in daemon.log


@needs_root
@pytest.mark.parametrize("loop", sorted(PROGRAMS))
def test_the_newest_of_the_fattest_user_goes_for_another(tmp_path: Path, loop: str) -> None:
    name = f"superd-test-{secrets.token_hex(6)}"
    with superd_with_room_for(tmp_path / "s", 6, loop, name) as daemon, contextlib.ExitStack() as stack:

        def stranger(uid: int) -> Stranger:
            return stack.enter_context(Stranger(name, uid, uid))

        modest = stranger(65_533)
        assert modest.ask(echo())["id"] == 1
        fat = [stranger(65_534) for _ in range(8)]
        told = [each.ask(echo())["id"] == 1 for each in fat[:5]]
        assert told == [True] * 5
        assert refusal(fat[-1])["resource"] == "descriptors"
        other = stranger(65_532)
        assert other.ask(echo())["id"] == 1
        assert refusal(fat[4]) | {"call_id": ""} == {
            "call_id": "",
            "resource": "descriptors",
            "used": 5,
            "limit": 5,
            "retry_after_usec": 500_000,
        }
        assert modest.ask(echo())["id"] == other.ask(echo())["id"] == 1
        assert [each.ask(echo())["id"] for each in fat[:4]] == [1] * 4
        log = daemon.wait_for("connection closed: uid 65534")
        assert log.count("connection closed: uid") == 1
        with daemon.client() as root:  # it gets through, however many there are
            assert root.ask(echo())["id"] == 1
        assert refusal(fat[3])["used"] == 4


def test_a_stop_while_there_are_no_descriptors(tmp_path: Path) -> None:
    with superd_with_room_for(tmp_path / "s", 3, "asyncio") as daemon, contextlib.ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(daemon.client())
        daemon.wait_for("cannot accept connections")
        assert daemon.stop() == 0
        assert "Traceback" not in daemon.log
