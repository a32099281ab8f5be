"""peers, kick, drain and reload: against the real daemon, and against answers that it would take long to make."""

import json
import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from superd.ctl.exits import ExitStatus
from superd.ctl.peering import format_size
from superd.ctl.selection import user_name
from superd_client.administration import PeerInfo
from superd_client.builtin import Echo, Nothing, echo, status
from superd_client.errors import Cancelled
from superd_client.sync import Client
from superd_client.wire.errors import ErrorObject
from tests.ctl.canned import serve
from tests.ctl.conftest import Daemon, Superctl

ME = str(user_name(os.geteuid()))

PEER = PeerInfo(
    id="00af-7",
    uid=4_000_000_000,
    pid=321,
    unit="romd.service",
    age_usec=93_784_000_000,
    state="draining",
    calls_in_flight=2,
    streams=1,
    calls_served=1_000,
    calls_failed=3,
    bytes_received=1536,
    bytes_sent=12 << 20,
    bytes_waiting=999,
)
YOUNG = PEER.model_copy(
    update={"id": "00af-12", "uid": os.geteuid(), "unit": None, "state": "open", "age_usec": 1_500}
)


def page(*found: PeerInfo, after: str | None = None) -> dict[str, Any]:
    return {"peers": [each.model_dump(mode="json") for each in found], "next": after}


class Pages(Mapping[str, Any]):
    """Answers of superd.peers, one after the other."""

    def __init__(self, *pages: dict[str, Any]) -> None:
        self._pages = list(pages)

    @override
    def __getitem__(self, name: str) -> Any:
        assert name == "superd.peers"
        return self._pages.pop(0)

    @override
    def __len__(self) -> int:
        return 1

    @override
    def __iter__(self) -> Any:
        return iter(["superd.peers"])


# --- peers -----------------------------------------------------------------------------------------------------------


def test_a_table(superctl: Superctl, tmp_path: Path) -> None:
    with serve(tmp_path, {"superd.peers": page(PEER, YOUNG)}) as address:
        done = superctl("peers", "--socket", address)
    assert (done.status, done.err) == (ExitStatus.OK, "")
    lines = [re.split(r" {2,}", line.strip()) for line in done.out.splitlines()]
    head, old, young = lines
    assert " ".join(head) == "ID USER UID PID UNIT AGE STATE RUN STREAMS OK ERR IN OUT WAIT"
    assert " | ".join(old) == (
        "00af-7 | 4000000000 | 4000000000 | 321 | romd.service | 1d 2h | draining | 2 | 1 | 1000 | 3 | 1.5K | 12.0M | 999B"
    )
    assert young[:7] == ["00af-12", ME, str(os.geteuid()), "321", "-", "1.5ms", "open"]
    assert len({len(line) for line in done.out.splitlines()}) == 1


def test_all_pages_are_read(superctl: Superctl, tmp_path: Path) -> None:
    with serve(tmp_path, Pages(page(PEER, after=PEER.id), page(YOUNG))) as address:
        done = superctl("peers", "--json", "--socket", address)
    assert [each["id"] for each in json.loads(done.out)] == ["00af-7", "00af-12"]


def test_connections_of_a_superd_that_has_restarted_meanwhile_are_left_out(
    superctl: Superctl, tmp_path: Path
) -> None:
    later = YOUNG.model_copy(update={"id": "beef-1"})
    with serve(tmp_path, Pages(page(PEER, after=PEER.id), page(later))) as address:
        done = superctl("peers", "--json", "--socket", address)
    assert [each["id"] for each in json.loads(done.out)] == ["beef-1"]


def test_a_unit_cannot_move_the_cursor(superctl: Superctl, tmp_path: Path) -> None:
    hostile = PEER.model_copy(update={"unit": "\x1b[2J\u202e"})
    with serve(tmp_path, {"superd.peers": page(hostile)}) as address:
        done = superctl("peers", "--socket", address)
    assert all(line.isprintable() for line in done.out.splitlines())


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1023, "1023B"), (1024, "1.0K"), (1536, "1.5K"), (1 << 20, "1.0M"), (1 << 62, "4.0E")],
)
def test_sizes(size: int, text: str) -> None:
    assert format_size(size) == text


def test_who_is_connected_to_the_daemon(superctl: Superctl, daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        client.call(echo, Echo(text="a"))
        found = json.loads(superctl("peers", "--json").out)
        mine = [each for each in found if each["calls_served"] == 1]
        assert [(each["user"], each["pid"]) for each in mine] == [(user_name(os.geteuid()), os.getpid())]
        (one,) = json.loads(superctl("peers", mine[0]["id"], "--uid", ME, "--json").out)
        assert one["id"] == mine[0]["id"]
        assert json.loads(superctl("peers", "--unit", "no-such.service", "--json").out) == []


@pytest.mark.parametrize("command", ["peers", "kick", "drain"])
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["7"], "'7' is no id of a connection: superctl peers shows them"),
        (["--uid", "no-such-user"], "there is no user 'no-such-user'"),
        (["--uid", "99999999999"], "--uid: Input should be less than or equal to"),
        (["--unit", ""], "--unit: String should have at least 1 character"),
    ],
)
def test_a_wrong_selection(
    superctl: Superctl, daemon: Daemon, command: str, arguments: list[str], complaint: str
) -> None:
    done = superctl(command, *arguments)
    assert (done.status, done.out) == (ExitStatus.USAGE, "")
    assert complaint in done.err


# --- kick and drain --------------------------------------------------------------------------------------------------


def own_id(superctl: Superctl, calls: int = 1) -> str:
    found = json.loads(superctl("peers", "--json").out)
    (one,) = [each for each in found if each["calls_served"] == calls and each["pid"] == os.getpid()]
    return str(one["id"])


def test_kick(superctl: Superctl, daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        client.call(echo, Echo(text="a"))
        victim = own_id(superctl)
        done = superctl("kick", victim)
        assert (done.status, done.out) == (ExitStatus.OK, "1 connection closed, 0 calls cancelled\n")
        again = superctl("kick", victim, "--json")
        assert (again.status, json.loads(again.out)) == (ExitStatus.FAILED, {"connections": 0, "calls": 0})
        assert client.call(echo, Echo(text="anew")).text == "anew"
    daemon.await_log(rf'connections kicked: superd.kick from uid \d+ .* target="id {victim}" affected=1')


def test_kick_whom(superctl: Superctl, daemon: Daemon) -> None:
    done = superctl("kick")
    assert (done.status, done.err) == (
        ExitStatus.USAGE,
        "superctl: say whom: kick needs ID, --uid or --unit\n",
    )


def test_drain(superctl: Superctl, daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        client.call(echo, Echo(text="a"))
        one = own_id(superctl)
        done = superctl("drain", one, "--wait")
        assert (done.status, done.out) == (ExitStatus.OK, "1 connection drained\n")
        assert client.call(status, Nothing()).version
        done = superctl("drain", "--json", one)
        assert (done.status, json.loads(done.out)) == (
            ExitStatus.OK,
            {"connections": 0, "remaining": 0},
        )
    assert superctl("drain", one).out == "0 connections asked to go\n"


def test_drain_that_does_not_end_in_time(superctl: Superctl, daemon: Daemon) -> None:
    begun = daemon.waits_begun()
    with Client(daemon.address) as client:
        future = _wait_in_thread(client)
        try:
            daemon.await_wait(begun + 1)
            found = json.loads(superctl("peers", "--json").out)
            (busy,) = [
                each["id"] for each in found if each["calls_in_flight"] == 1 and not each["bytes_sent"]
            ][:1]
            done = superctl("drain", busy, "--wait", "--timeout", "50ms")
            assert (done.status, done.out) == (ExitStatus.FAILED, "0 connections drained; 1 still open\n")
            assert superctl("kick", busy).out == "1 connection closed, 1 call cancelled\n"
        finally:
            future.join(30)


def _wait_in_thread(client: Client) -> threading.Thread:
    def wait() -> None:
        with pytest.raises(Cancelled, match="an administrator closed the connection"):
            client.call("store.wait", {}, timeout=60)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


# --- reload ----------------------------------------------------------------------------------------------------------


def test_reload(superctl: Superctl, daemon: Daemon) -> None:
    done = superctl("reload")
    assert (done.status, done.err) == (ExitStatus.OK, "")
    assert re.fullmatch(r"policy: \d+ rules? in \d+ files?\n", done.out)
    answer = json.loads(superctl("reload", "--json").out)
    assert (answer["changed"], answer["needs_restart"]) == ([], [])


def test_what_a_reload_changed(superctl: Superctl, tmp_path: Path) -> None:
    answer = {
        "changed": [{"name": "log_level", "old": "info", "new": "debug"}],
        "needs_restart": [{"name": "services", "old": [], "new": ["a:b"]}],
        "policy": {"files": ["/a.toml"], "rules": 2, "warnings": ["/a.toml:1: doubtful"]},
    }
    with serve(tmp_path, {"superd.reload": answer}) as address:
        done = superctl("reload", "--socket", address)
    assert done.status == ExitStatus.OK
    assert done.out == (
        'changed: log_level "info" -> "debug"\n'
        'needs a restart: services [] -> ["a:b"]\n'
        "policy: 2 rules in 1 file\n"
    )
    assert done.err == "warning: /a.toml:1: doubtful\n"


WRONG = {
    "faults": [
        {"source": "/etc/a.toml", "line": 3, "key": "deny.0", "message": "what"},
        {"source": "environment", "line": None, "key": "SUPERD_X", "message": "unknown key\x1b"},
    ],
    "omitted": 2,
}


@pytest.mark.parametrize("as_json", [False, True])
def test_a_reload_that_is_refused(superctl: Superctl, tmp_path: Path, as_json: bool) -> None:
    error = ErrorObject(-32000, "the files are wrong", {"type": "WrongFiles", "detail": WRONG})
    with serve(tmp_path, {"superd.reload": error}) as address:
        done = superctl("reload", "--socket", address, *(["--json"] if as_json else []))
    assert done.status == ExitStatus.FAILED
    assert json.loads(done.out or "null") == (WRONG if as_json else None)
    assert done.err.splitlines() == [
        "superctl: the files are wrong",
        "  /etc/a.toml:3: deny.0: what",
        "  environment: SUPERD_X: unknown key\\u001b",
        "  and 2 more",
    ]


def test_a_reload_that_fails_otherwise(superctl: Superctl, tmp_path: Path) -> None:
    with serve(tmp_path, {"superd.reload": ErrorObject(-32001, "permission denied", {})}) as address:
        done = superctl("reload", "--socket", address)
    assert (done.status, done.out) == (ExitStatus.REFUSED, "")
    other = ErrorObject(-32000, "no", {"type": "Other", "detail": {"a": 1}})
    folder = tmp_path / "other"
    folder.mkdir()
    with serve(folder, {"superd.reload": other}) as address:
        done = superctl("reload", "--socket", address)
    assert done.status == ExitStatus.FAILED
    assert 'Other: {"a":1}' in done.err
