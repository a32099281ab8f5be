"""superd with `idle_exit` under its real units: it goes when nobody needs it, and comes when somebody does."""

import json

import pytest

from superd.journal import MessageId
from tests.system.guest import Guest, now
from tests.system.programs import SOCKET, call, host, messages, python

ROUNDS, PEERS = 6, 40


@pytest.fixture
def idle(guest: Guest) -> Guest:
    """superd.socket listens, and superd is to end after a second."""
    guest.write("/etc/superd/superd.d/91-test.toml", 'idle_exit = "1s"\nidempotency_age = "3s"\n')
    guest.systemctl("start", "superd.socket")
    return guest


def has_gone(guest: Guest) -> None:
    guest.wait_for_state("superd.service", "inactive")
    assert guest.show("superd.service", "Result") == "success"
    assert guest.show("superd.service", "ExecMainStatus") == "0"
    assert guest.show("superd.service", "NRestarts") == "0"
    assert guest.show("superd.socket", "ActiveState") == "active"


def test_it_goes_and_comes(idle: Guest) -> None:
    since = now()
    assert call(idle, "echo.echo", "text=one") == {"text": "one"}
    has_gone(idle)
    entry = idle.wait_for_entry(f"MESSAGE_ID={MessageId.IDLE_EXIT}", since=since)
    assert entry["MESSAGE"] == "idle, stopping idle_exit=1.0"
    assert idle.show("superd.service", "StatusText") == "idle for 1 s; the next connection starts superd"
    explained = idle.exec("journalctl", "--catalog", "--no-pager", f"MESSAGE_ID={MessageId.IDLE_EXIT}").stdout
    assert "superd has nothing to do, and stops" in explained
    assert idle.path(SOCKET).is_socket()
    assert call(idle, "echo.echo", "text=two") == {"text": "two"}
    has_gone(idle)


def test_peers_race_against_the_exit(idle: Guest, figures: list[str]) -> None:
    since = now()
    done = idle.exec(*python("racing"), str(ROUNDS), str(PEERS), "1", timeout=120)
    outcomes = json.loads(done.stdout)
    assert outcomes == {"answered": ROUNDS * (PEERS + 1)}
    has_gone(idle)
    exits = idle.journal(f"MESSAGE_ID={MessageId.IDLE_EXIT}", since=since)
    figures.append(
        f"{ROUNDS * PEERS} peers raced against {len(exits)} exits of an idle superd under systemd: {outcomes}"
    )


def test_a_key_that_is_still_promised_keeps_it(idle: Guest) -> None:
    """systemd 252 forgets the window with the unit: the answer to a repeat would be lost."""
    host(idle, '"counted:counted"')
    since = now()
    first = idle.exec(*python("repeat")).stdout
    ended = now()
    exited = idle.wait_for_entry(f"MESSAGE_ID={MessageId.IDLE_EXIT}", since=since)
    assert int(exited["__REALTIME_TIMESTAMP"]) - ended >= 2_900_000, "three seconds for the key, then one"
    has_gone(idle)
    assert json.loads(first) == [1, 1], "a repeat got the first one's answer"


def test_a_listening_socket_of_its_own_keeps_it(idle: Guest) -> None:
    idle.write(
        "/etc/superd/superd.d/91-test.toml", 'idle_exit = "1s"\nlisten = ["unix:/var/lib/superd/own"]\n'
    )
    since = now()
    idle.systemctl("start", "superd.service")
    said = messages(idle.journal("SYSLOG_IDENTIFIER=superd", since=since))
    assert any("idle_exit has no effect" in each for each in said), said
