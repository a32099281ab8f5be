"""What an operator does to a superd that runs: reload it, look who is connected, end connections."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from superd.journal import MessageId
from tests.system.guest import Completed, Guest, now
from tests.system.programs import FIFO, HANG, call, call_as, host

SETTINGS: Final = "/etc/superd/superd.d/95-test.toml"
POLICY: Final = "/etc/superd/policy.d/50-test.toml"


@pytest.fixture
def started(guest: Guest) -> Iterator[Guest]:
    """The guest with superd started, whose policy a test may write."""
    guest.systemctl("start", "superd.service")
    yield guest
    guest.path(POLICY).unlink(missing_ok=True)


def reload(guest: Guest) -> Completed:
    return guest.exec("systemctl", "reload", "superd.service", check=False)


def peers(guest: Guest, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(guest.exec("superctl", "peers", "--json", *arguments).stdout)
    return found


def uid(guest: Guest, user: str) -> int:
    return int(guest.exec("id", "-u", user).stdout)


# --- reload ----------------------------------------------------------------------------------------------------------


def test_systemctl_reload_puts_settings_and_policy_in_force(started: Guest) -> None:
    pid, since = started.show("superd.service", "MainPID"), now()
    assert call_as(started, "member", "echo.echo", "text=a").returncode == 0
    started.write(SETTINGS, "calls_in_flight = 7\nworker_threads = 3\n")
    started.write(POLICY, '[[deny]]\nmethods = ["echo.*"]\nusers = ["member"]\n')
    done = reload(started)
    assert (done.returncode, done.stderr) == (0, "")
    # It has waited: the very next call is judged by the new policy.
    assert call_as(started, "member", "echo.echo", "text=a").returncode == 3
    assert call(started, "rpc.hello")["limits"]["calls_in_flight_default"] == 7
    assert started.show("superd.service", "MainPID") == pid
    assert started.show("superd.service", "ActiveState") == "active"
    entry = started.wait_for_entry(f"MESSAGE_ID={MessageId.RELOADED}", since=since)
    assert entry["SUPERD_CHANGED"] == "calls_in_flight: 1024 -> 7"
    assert entry["SUPERD_NEEDS_RESTART"] == "worker_threads: 8 -> 3"
    assert entry["SUPERD_PEER_UID"] == str(uid(started, "superd")), "ExecReload= runs as superd itself"
    assert (entry["PRIORITY"], entry["SUPERD_POLICY_RULES"]) == ("6", "1")


def test_systemctl_reload_fails_with_the_reason_where_a_file_is_wrong(started: Guest) -> None:
    pid, since = started.show("superd.service", "MainPID"), now()
    started.write(SETTINGS, "calls_in_flight = 7\n")
    started.write(POLICY, '[[deny]]\nmethods = ["echo.*"]\n\nuser = ["member"]\n')
    done = reload(started)
    assert done.returncode != 0
    assert "superd.service" in done.stderr
    fault = f"{POLICY}:4: deny.0.user: unknown key; did you mean users?"
    status = started.exec("systemctl", "status", "--no-pager", "--full", "superd.service", check=False)
    assert f"reload refused: {fault}" in status.stdout
    entry = started.wait_for_entry(f"MESSAGE_ID={MessageId.RELOAD_REFUSED}", since=since)
    assert (entry["SUPERD_REASON"], entry["PRIORITY"]) == (fault, "3")
    assert call(started, "rpc.hello")["limits"]["calls_in_flight_default"] == 1024
    assert call_as(started, "member", "echo.echo", "text=a").returncode == 0
    assert started.show("superd.service", "MainPID") == pid
    started.path(POLICY).unlink()
    assert reload(started).returncode == 0
    assert call(started, "rpc.hello")["limits"]["calls_in_flight_default"] == 7
    status = started.exec("systemctl", "status", "--no-pager", "--full", "superd.service", check=False)
    assert "refused: " not in status.stdout.partition("Status:")[2].splitlines()[0]


def test_sighup_reloads_too(started: Guest) -> None:
    pid, since = started.show("superd.service", "MainPID"), now()
    started.write(SETTINGS, "streams = 5\n")
    started.systemctl("kill", "--signal=HUP", "superd.service")
    entry = started.wait_for_entry(f"MESSAGE_ID={MessageId.RELOADED}", since=since)
    assert (entry["SUPERD_SIGNAL"], entry["SUPERD_CHANGED"]) == ("SIGHUP", "streams: 1024 -> 5")
    started.wait_for_state("superd.service", "active")
    assert started.show("superd.service", "MainPID") == pid


def test_who_may_not_administer(started: Guest) -> None:
    for command in (["reload"], ["peers"], ["kick", "--uid=0"], ["drain"]):
        done = started.run("superctl", *command, properties=["User=member"], check=False)
        assert done.returncode == 3, (command, done.stderr)
        assert "permission denied" in done.stderr


# --- peers, kick, drain ----------------------------------------------------------------------------------------------


@pytest.fixture
def held(guest: Guest) -> Iterator[Guest]:
    """superd with a service whose call lasts until somebody writes to the FIFO."""
    host(guest, HANG)
    guest.systemctl("start", "superd.service")
    guest.exec("rm", "--force", FIFO)
    guest.exec("mkfifo", "--mode=0666", FIFO)
    yield guest
    guest.exec("systemctl", "stop", "holder.service", check=False)


def hold(guest: Guest) -> dict[str, Any]:
    """A call by the user member that lasts, from a unit of its own; its connection."""
    command = ["systemd-run", "--quiet", "--collect", "--unit=holder.service", "--uid=member"]
    guest.exec(*command, "superctl", "call", "hang.hold", f"text={FIFO}", "--timeout=1min")
    found: list[dict[str, Any]] = []

    def holds() -> bool:
        found[:] = [each for each in peers(guest, "--unit=holder.service") if each["calls_in_flight"]]
        return bool(found)

    guest.wait_until("the call runs", holds)
    return found[0]


def test_an_operator_sees_who_is_connected_and_ends_it(held: Guest) -> None:
    since = now()
    peer = hold(held)
    assert (peer["user"], peer["uid"], peer["unit"]) == ("member", uid(held, "member"), "holder.service")
    (line,) = [each for each in held.exec("superctl", "peers").stdout.splitlines() if "holder" in each]
    assert line.split()[:2] == [peer["id"], "member"]
    assert held.exec("superctl", "kick", "--uid=member").stdout == "1 connection closed, 1 call cancelled\n"
    held.wait_for_state("holder.service", "inactive")
    assert peers(held, "--uid=member") == []
    entry = held.wait_for_entry(f"MESSAGE_ID={MessageId.PEERS_KICKED}", since=since)
    assert (entry["SUPERD_PEER_UID"], entry["SUPERD_TARGET"]) == ("0", f"uid {uid(held, 'member')}")
    assert (entry["SUPERD_AFFECTED"], entry["SUPERD_CANCELLED"]) == ("1", "1")
    assert entry["SUPERD_TARGETS"] == f"{peer['id']} uid {uid(held, 'member')} (holder.service)"
    explained = held.exec("journalctl", "-x", "-n1", f"MESSAGE_ID={MessageId.PEERS_KICKED}").stdout
    assert "An administrator has closed connections" in explained
    held.path(FIFO).write_text("end")  # the thread that still reads it


def test_a_drain_waits_for_what_runs_and_others_are_served(held: Guest) -> None:
    since = now()
    hold(held)
    done = held.exec("superctl", "drain", "--wait", "--timeout=100ms", check=False)
    assert (done.returncode, done.stdout) == (1, "0 connections drained; 1 still open\n")
    assert call(held, "echo.echo", "text=others") == {"text": "others"}
    assert peers(held, "--uid=member")[0]["state"] == "draining"
    with held.popen("superctl", "drain", "--unit=holder.service", "--wait") as waiting:
        held.wait_for_entry(
            f"MESSAGE_ID={MessageId.PEERS_DRAINED}", "SUPERD_TARGET=unit holder.service", since=since
        )
        held.path(FIFO).write_text("in time")
        said, complaint = waiting.communicate(timeout=30)
    assert said == "1 connection drained\n", complaint
    entries = held.journal(f"MESSAGE_ID={MessageId.PEERS_DRAINED}", since=since)
    assert [entry["SUPERD_TARGET"] for entry in entries] == ["all", "unit holder.service"]
    answered = held.wait_for_entry("_SYSTEMD_UNIT=holder.service", since=since)
    assert json.loads(answered["MESSAGE"]) == {"text": "in time"}
