"""superd as systemd's child: hung, stopped, restarted, wrongly configured, locked up."""

import json
import os

import pytest

from tests.system.guest import Guest, now
from tests.system.programs import FIFO, HANG, SOCKET, call, host, messages, python

RESTARTS = 5


def test_a_hung_loop_is_killed_and_the_next_call_is_served(guest: Guest, figures: list[str]) -> None:
    host(guest, HANG)
    guest.drop_in("superd.service", "[Service]\nWatchdogSec=2s\n")
    guest.systemctl("start", "superd.service")
    hung, since = guest.show("superd.service", "MainPID"), now()
    with guest.popen("superctl", "call", "hang.block") as lost:
        guest.wait_for_entry(
            "UNIT=superd.service", "MESSAGE=superd.service: Watchdog timeout (limit 2s)!", since=since
        )
        killed = now()
        assert call(guest, "echo.echo", "text=again") == {"text": "again"}
        served = now()
        lost.communicate(timeout=30)
    assert lost.returncode != 0
    said = messages(guest.journal("SYSLOG_IDENTIFIER=superd", f"_PID={hung}", since=since))
    assert "Fatal Python error: Aborted" in said
    loop = next(number for number, line in enumerate(said) if line.startswith("Current thread "))
    assert any("/hang.py" in line and line.endswith("in handle_block") for line in said[loop:])
    assert guest.show("superd.service", "MainPID") != hung
    assert guest.show("superd.service", "NRestarts") == "1"
    figures.append(
        f"hung loop under WatchdogSec=2s: killed after {(killed - since) / 1e6:.1f} s, serving again after "
        f"{(served - since) / 1e6:.1f} s"
    )


@pytest.fixture
def held(guest: Guest) -> Guest:
    """superd with a service whose call lasts until somebody writes to the FIFO."""
    host(guest, HANG)
    guest.systemctl("start", "superd.service")
    guest.exec("rm", "--force", FIFO)
    guest.exec("mkfifo", "--mode=0644", FIFO)
    return guest


def answer_held_call(guest: Guest, text: str) -> None:
    """Let the call end. Opening a FIFO for writing succeeds once somebody reads it: so it waits for the call, too."""
    guest.path(FIFO).write_text(text)


def test_stop_answers_what_runs_and_leaves_no_socket(held: Guest) -> None:
    with held.popen("superctl", "call", "hang.hold", f"text={FIFO}") as caller:
        writer = os.open(held.path(FIFO), os.O_WRONLY)
        held.systemctl("stop", "--no-block", "superd.service", "superd.socket")
        held.wait_for_state("superd.service", "deactivating")
        os.write(writer, b"in time")
        os.close(writer)
        said, complaint = caller.communicate(timeout=30)
    assert json.loads(said) == {"text": "in time"}, complaint
    held.wait_for_state("superd.socket", "inactive")
    assert held.show("superd.service", "Result") == "success"
    assert held.show("superd.service", "ExecMainStatus") == "0"
    assert not held.path(SOCKET).exists()
    assert held.path("/run/superd").is_dir()


def test_a_stopped_service_is_started_by_the_next_call(listening: Guest) -> None:
    call(listening, "echo.echo", "text=one")
    listening.systemctl("stop", "superd.service")
    assert call(listening, "echo.echo", "text=two") == {"text": "two"}


def test_a_crash_is_followed_by_a_start(listening: Guest) -> None:
    call(listening, "echo.echo", "text=one")
    listening.systemctl("kill", "--signal=KILL", "superd.service")
    assert call(listening, "echo.echo", "text=two") == {"text": "two"}
    assert listening.show("superd.service", "NRestarts") == "1"


def test_a_restart_under_load_refuses_no_connection(listening: Guest, figures: list[str]) -> None:
    with listening.popen(*python("load")) as load:
        assert load.stdout is not None
        assert load.stdout.readline() == "begun\n"
        for _ in range(RESTARTS):
            listening.systemctl("restart", "superd.service")
        said, complaint = load.communicate(timeout=60)
    counts = json.loads(said)
    assert set(counts) == {"answered"}, f"{counts}\n{complaint}"
    assert counts["answered"] > RESTARTS
    figures.append(f"{RESTARTS} restarts under load: {counts}, no connection refused")


def test_a_restart_is_invisible_to_a_connection(listening: Guest, figures: list[str]) -> None:
    with listening.popen(*python("held")) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == "begun\n"
        for _ in range(RESTARTS):
            listening.systemctl("restart", "superd.service")
        assert call(listening, "superd.status")["connections"] == 2
        # The window of keys stays there; the connections and their state do not.
        assert listening.show("superd.service", "NFileDescriptorStore") == "1"
        said, complaint = held.communicate(timeout=60)
    counts = json.loads(said)
    assert counts["lost"] == 0, complaint
    assert counts["answered"] > RESTARTS
    figures.append(
        f"one connection over {RESTARTS} restarts: {counts['answered']} calls answered, none lost; "
        f"longest wait {counts['longest_usec'] / 1e3:.0f} ms"
    )


def test_a_stop_is_told_from_a_restart(listening: Guest) -> None:
    """It is drained: its clients know of each call whether it was carried out."""
    with listening.popen(*python("held")) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == "begun\n"
        since = now()
        listening.systemctl("stop", "superd.service", "superd.socket")
        counts = json.loads(held.communicate(timeout=60)[0])
    assert counts["goaway"] == counts["lost"] == 1
    said = messages(listening.journal("SYSLOG_IDENTIFIER=superd", since=since))
    assert not any("left to the next process" in each for each in said)


def test_a_wrong_configuration_names_file_and_key(guest: Guest) -> None:
    guest.write("/etc/superd/superd.d/90-test.toml", 'frame_sise = "1MiB"\n')
    check = guest.exec("superd", "--check", check=False)
    assert check.returncode == 78  # EX_CONFIG of sysexits(3)
    since = now()
    assert guest.exec("systemctl", "start", "superd.service", check=False).returncode != 0
    entry = guest.wait_for_entry("SYSLOG_IDENTIFIER=superd", since=since)
    for text in (check.stdout + check.stderr, entry["MESSAGE"]):
        assert "/etc/superd/superd.d/90-test.toml" in text
        assert "frame_sise" in text
        assert "did you mean frame_size?" in text


def test_a_caller_waits_while_the_configuration_is_mended(guest: Guest) -> None:
    guest.write("/etc/superd/superd.d/90-test.toml", "connections = 0\n")
    guest.systemctl("start", "superd.socket")
    since = now()
    with guest.popen("superctl", "call", "echo.echo", "text=patience") as caller:
        guest.wait_for_entry("UNIT=superd.service", "EXIT_STATUS=78", since=since)
        guest.write("/etc/superd/superd.d/90-test.toml", "connections = 10\n")
        said, complaint = caller.communicate(timeout=30)
    assert json.loads(said) == {"text": "patience"}, complaint
    assert int(guest.show("superd.service", "NRestarts")) > 0, (
        "it is systemd that tries again, not the waiting caller"
    )
    assert guest.show("superd.socket", "ActiveState") == "active"


def test_superd_is_locked_up(listening: Guest, figures: list[str]) -> None:
    call(listening, "echo.echo", "text=hello")
    process = listening.path(f"/proc/{listening.show('superd.service', 'MainPID')}/status").read_text()
    status = dict(line.split(":\t", 1) for line in process.splitlines())
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["CapBnd"] == status["CapPrm"] == "0" * 16
    assert listening.exec("stat", "--format=%A %U", "/var/lib/superd").stdout == "drwx------ superd\n"
    said = listening.exec(
        "systemd-analyze", "security", "--no-pager", "--threshold=6", "superd.service"
    ).stdout
    figures.append(said.splitlines()[-1].strip(" →").encode("ascii", "ignore").decode().strip())
