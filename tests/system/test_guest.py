"""The harness itself, with units of systemd's own: what it says of the guest is so."""

from pathlib import Path

import pytest

from tests.system.guest import BOOT, Guest, GuestError, now, reason_against_booting

# A name of its own: a process that ends at once is gone before journald can look its unit up.
UNIT = (
    "[Service]\nType=oneshot\nRemainAfterExit=yes\nSyslogIdentifier=probe\nExecStart=/bin/echo it is {what}\n"
)


def test_its_pid_1_is_systemd_and_nothing_failed(booted: Guest) -> None:
    assert booted.exec("cat", "/proc/1/comm").stdout == "systemd\n"
    assert booted.systemctl("is-system-running") == "running\n"


def test_a_unit_runs_and_its_journal_is_read(booted: Guest) -> None:
    before = now()
    booted.write("/run/systemd/system/probe.service", UNIT.format(what="ä unit"))
    booted.systemctl("daemon-reload")
    booted.systemctl("start", "probe.service")
    entry = booted.wait_for_entry("SYSLOG_IDENTIFIER=probe", since=before)
    assert entry["MESSAGE"] == "it is ä unit"
    assert booted.show("probe.service", "ActiveState") == "active"
    booted.systemctl("stop", "probe.service")
    booted.wait_for_state("probe.service", "inactive")


def test_a_command_runs_in_a_unit_as_another_user(booted: Guest) -> None:
    assert booted.run("id", "-un", properties=["User=nobody"]).stdout == "nobody\n"


def test_a_failed_command_says_what_it_said(booted: Guest) -> None:
    with pytest.raises(GuestError, match="No such file"):
        booted.exec("ls", "/no/such/file")


def test_a_state_that_never_comes_is_an_error(booted: Guest) -> None:
    with pytest.raises(GuestError, match="pigs fly"):
        booted.wait_until("pigs fly", lambda: booted.exec("false", check=False).returncode == 0, patience=0.1)


@pytest.mark.parametrize("end", ["stop", "starter dies"])
def test_nothing_is_left_of_a_guest(end: str, booted: Guest) -> None:
    second = Guest(f"{booted.name}-second")
    second.start()
    leader = second.path("/").parent
    assert leader.exists()
    if end == "stop":
        second.stop()
    else:
        # What the kernel does with the pipe of a process that dies.
        assert second._holder is not None
        assert second._holder.stdin is not None
        second._holder.stdin.close()
        second._holder.wait(timeout=60)
        second._holder.stdout.close()  # type: ignore[union-attr]
        second._holder.stderr.close()  # type: ignore[union-attr]
    assert not leader.exists()
    assert not Path("/run/superd-guests", second.name).exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"**/superd-guest-{second.name}"))
    assert second.name not in Path("/proc/self/mountinfo").read_text()


def test_the_reason_against_booting_is_a_sentence_or_nothing() -> None:
    assert BOOT.stat().st_mode & 0o111
    assert "\n" not in reason_against_booting()
