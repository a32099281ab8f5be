"""superctl doctor in bad states that an operator gets into: each is named, its command is carried out, and all is well."""

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pytest

from tests.system.guest import Completed, Guest, GuestError

SOCKET = "/run/superd/superd.sock"
SETTINGS = "/etc/superd/superd.d/90-test.toml"
POLICY = "/etc/superd/policy.d/50-test.toml"


class Report(NamedTuple):
    """What doctor found, by id, but what is well."""

    status: int
    findings: Mapping[str, Mapping[str, Any]]

    @property
    def faults(self) -> set[str]:
        return {name for name, each in self.findings.items() if each["severity"] in {"fault", "warning"}}

    @property
    def unchecked(self) -> set[str]:
        return {name for name, each in self.findings.items() if each["severity"] == "unchecked"}


def examine(guest: Guest, *options: str, user: str = "root") -> Report:
    done = guest.exec(
        "setpriv", "--reuid", user, "--init-groups", "superctl", "doctor", "--json", *options, check=False
    )
    assert done.returncode in {0, 1}, done.stderr
    answer = json.loads(done.stdout)
    assert answer["well"] == (done.returncode == 0)
    found = {each["id"]: each for each in answer["findings"] if each["severity"] != "ok"}
    return Report(done.returncode, found)


def mend(guest: Guest, report: Report, *ids: str) -> None:
    """Carry out what the report says, as an operator would by copying it."""
    for name in ids:
        guest.exec("bash", "-c", report.findings[name]["fix"])


def is_mended(guest: Guest) -> None:
    """All is well; a superd that comes up again has a moment for it."""
    seen: list[Report] = []

    def holds() -> bool:
        seen.append(examine(guest))
        return seen[-1].status == 0

    try:
        guest.wait_until("all is well", holds, patience=15)
    except GuestError:
        pytest.fail(f"still {seen[-1].findings}")


def call(guest: Guest) -> Completed:
    return guest.exec("superctl", "call", "echo.echo", "text=a")


def configure(guest: Guest, text: str) -> None:
    guest.write(SETTINGS, text)
    # Nothing has been served before: the socket starts it, and it does not come up.
    guest.exec("systemctl", "start", "--no-block", "superd.service")
    guest.wait_until(
        "it does not come up", lambda: guest.show("superd.service", "SubState") == "auto-restart"
    )


@pytest.fixture
def healthy(guest: Guest) -> Iterator[Guest]:
    """superd as it is after its installation; what doctor has mended is undone."""
    guest.systemctl("enable", "--now", "superd.socket")
    yield guest
    guest.exec("rm", "-f", POLICY, SETTINGS)
    guest.exec("systemctl", "unmask", "superd.socket", "superd.service")
    guest.exec("systemctl", "disable", "superd.socket")
    guest.exec("bash", "-c", "rm -rf /etc/systemd/system/superd.*.d && systemctl daemon-reload")


def test_a_healthy_superd_is_told_in_a_line(healthy: Guest) -> None:
    done = healthy.exec("superctl", "doctor")
    assert done.stdout.startswith("all is well: ")
    assert done.stdout.count("\n") == 1
    assert healthy.show("superd.service", "ActiveState") == "inactive", "nobody has started it"
    everything = healthy.exec("superctl", "doctor", "--all").stdout
    assert "superd.service has an exposure of 0." in everything
    assert "may connect: root, member" in everything
    assert "systemd 25" in everything


def test_a_probe_starts_it_and_is_timed(healthy: Guest) -> None:
    done = healthy.exec("superctl", "doctor", "--probe", "--all")
    assert "the first call was answered after " in done.stdout
    assert healthy.show("superd.service", "ActiveState") == "active"
    assert "superd.service runs, process " in done.stdout
    assert "WatchdogSec=10s; the loop: " in done.stdout


def mask(guest: Guest) -> None:
    guest.systemctl("stop", "superd.socket")
    guest.systemctl("mask", "superd.socket")


def fail(guest: Guest) -> None:
    """A folder in the way makes the socket fail; that it is gone again does not help by itself."""
    guest.systemctl("stop", "superd.socket")
    guest.exec("mkdir", "-p", f"{SOCKET}/x")
    guest.exec("systemctl", "start", "superd.socket", check=False)
    guest.exec("rm", "-r", SOCKET)


def block(guest: Guest) -> None:
    guest.systemctl("stop", "superd.socket")
    guest.exec("mkdir", "-p", f"{SOCKET}/x")
    guest.exec("systemctl", "start", "superd.socket", check=False)


def stop(guest: Guest) -> None:
    guest.systemctl("stop", "superd.socket")


def leave_a_stale_one(guest: Guest) -> None:
    guest.systemctl("stop", "superd.socket")
    program = f"import socket; socket.socket(socket.AF_UNIX).bind({SOCKET!r})"
    guest.exec("python3", "-c", program)


def remove(guest: Guest) -> None:
    guest.path(SOCKET).unlink()


def mask_the_service(guest: Guest) -> None:
    guest.systemctl("mask", "superd.service")


def disable(guest: Guest) -> None:
    guest.systemctl("disable", "superd.socket")


def change_the_mode(guest: Guest) -> None:
    guest.exec("chmod", "0600", SOCKET)


def move(guest: Guest) -> None:
    guest.drop_in("superd.socket", "[Socket]\nListenStream=\nListenStream=/run/superd/moved.sock\n")
    guest.systemctl("restart", "superd.socket")


def listen_twice(guest: Guest) -> None:
    """As a second instance does whose configuration was copied."""
    guest.write("/run/systemd/system/other.socket", f"[Socket]\nListenStream={SOCKET}\nRemoveOnStop=yes\n")
    guest.write("/run/systemd/system/other.service", "[Service]\nExecStart=/bin/sleep infinity\n")
    guest.systemctl("daemon-reload")
    guest.systemctl("start", "other.socket")


def change_the_unit(guest: Guest) -> None:
    lines = "LimitNOFILE=512\nTimeoutStopSec=5s\nFileDescriptorStoreMax=1\nPrivateUsers=yes\nProtectProc=invisible\n"
    guest.drop_in("superd.service", f"[Service]\n{lines}")


def take_the_sandbox(guest: Guest) -> None:
    lines = (
        "ProtectSystem=no\nPrivateNetwork=no\nNoNewPrivileges=no\nSystemCallFilter=\nRestrictNamespaces=no\n"
    )
    guest.drop_in("superd.service", f"[Service]\n{lines}CapabilityBoundingSet=~\n")


def change_a_unit_and_do_not_tell(guest: Guest) -> None:
    guest.drop_in("superd.service", "[Service]\nNice=1\n")
    guest.write("/run/systemd/system/superd.service.d/50-test.conf", "[Service]\nNice=2\n")


def be_of_tomorrow(guest: Guest) -> None:
    configure(guest, "quux = 1\n")


def set_nonsense(guest: Guest) -> None:
    configure(guest, '# a test\ndrain_timout = "10s"\nworker_threads = "many"\n')


def hide_the_settings(guest: Guest) -> None:
    configure(guest, "quux = 1\n")
    guest.write(SETTINGS, "worker_threads = 4\n", mode=0o600)


def misspell_a_rule(guest: Guest) -> None:
    guest.write(POLICY, '[[deny]]\nmethods = ["echo.*"]\nuser = ["stranger"]\n')


def doubt_a_rule(guest: Guest) -> None:
    guest.write(
        POLICY, '[[deny]]\nmethods = ["echo.*"]\nusers = ["stranger"]\n\n[[deny]]\nmethods = ["ehco.*"]\n'
    )


STATES: Mapping[str, tuple[Callable[[Guest], None], Sequence[str]]] = {
    "a masked socket": (mask, ["socket-masked"]),
    "a socket unit that has failed": (fail, ["socket-failed"]),
    "a folder in the place of the socket": (block, ["socket-file-foreign"]),
    "a stopped socket": (stop, ["socket-stopped"]),
    "a stale socket": (leave_a_stale_one, ["socket-stale"]),
    "a socket whose file is gone": (remove, ["socket-file-missing"]),
    "a masked service": (mask_the_service, ["service-masked"]),
    "a socket that is not enabled": (disable, ["socket-not-enabled"]),
    "another mode": (change_the_mode, ["socket-mode"]),
    "another path": (move, ["socket-elsewhere"]),
    "two units on one path": (listen_twice, ["socket-path-shared"]),
    "drop-ins that take what superd needs": (
        change_the_unit,
        ["descriptors-few", "drain-too-long", "store-too-small", "private-users", "protect-proc"],
    ),
    "drop-ins that open the sandbox": (take_the_sandbox, ["exposure-high"]),
    "a unit that was changed": (change_a_unit_and_do_not_tell, ["needs-daemon-reload"]),
    "a configuration for a newer version": (be_of_tomorrow, ["config-unknown-key"]),
    "a misspelt key and a wrong value": (set_nonsense, ["config-unknown-key", "config-invalid"]),
    "settings that superd may not read": (hide_the_settings, ["config-unreadable"]),
    "a misspelt rule": (misspell_a_rule, ["policy-invalid"]),
}


@pytest.mark.parametrize("state", STATES)
def test_each_bad_state_is_named_and_its_command_mends_it(healthy: Guest, state: str) -> None:
    produce, ids = STATES[state]
    produce(healthy)
    report = examine(healthy)
    assert report.status == 1
    assert set(ids) <= report.faults, report
    mend(healthy, report, *ids)
    is_mended(healthy)
    call(healthy)


def report_with(guest: Guest, name: str, said: str) -> Report:
    """A report in which a finding says this. Each try to start has a moment in which systemd does not know how the last one ended."""
    seen: list[Report] = []

    def holds() -> bool:
        seen.append(examine(guest))
        return said in seen[-1].findings.get(name, {"message": ""})["message"]

    guest.wait_until(f"{name} says {said}", holds)
    return seen[-1]


def test_what_does_not_come_up_says_why_at_systemctl_status(healthy: Guest) -> None:
    be_of_tomorrow(healthy)
    said = f"{SETTINGS}: quux: unknown key; this is superd "
    status = ("systemctl", "status", "superd.service")
    healthy.wait_until("it says so", lambda: said in healthy.exec(*status, check=False).stdout)
    report = report_with(healthy, "service-restarting", said)
    assert report.findings["config-unknown-key"]["fix"] == f"sed -i '1s/^/#/' {SETTINGS}"


def test_a_doubtful_rule_is_a_warning(healthy: Guest) -> None:
    doubt_a_rule(healthy)
    report = examine(healthy)
    assert report.faults == {"policy-doubtful"}
    assert report.findings["policy-doubtful"]["message"].startswith(
        f"{POLICY}:5: methods: ehco.* matches no method"
    )


def test_a_user_that_is_missing(healthy: Guest) -> None:
    """As after an installation that has not come to systemd-sysusers."""
    healthy.write("/etc/sysusers.d/superd-test.conf", 'u superdtest - "a test"\n')
    healthy.drop_in("superd.service", "[Service]\nUser=superdtest\nGroup=superdtest\n")
    try:
        healthy.exec("systemctl", "start", "superd.service", check=False)
        report = report_with(healthy, "service-restarting", "its user does not exist")
        mend(healthy, report, "user-missing")
        is_mended(healthy)
    finally:
        healthy.forget_drop_ins()
        healthy.systemctl("stop", "superd.service")
        healthy.exec("rm", "/etc/sysusers.d/superd-test.conf")
        healthy.exec("userdel", "superdtest", check=False)


def test_a_full_run(healthy: Guest) -> None:
    """Of a small file system in the place of /run: the guest's own has the host's memory."""
    healthy.systemctl("stop", "superd.socket")
    healthy.exec("mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "test", "/run/superd")
    try:
        healthy.systemctl("start", "superd.socket")
        healthy.exec("dd", "if=/dev/zero", "of=/run/superd/full", "bs=4k", check=False)
        report = examine(healthy)
        assert report.faults == {"run-full"}
        assert report.findings["run-full"]["fix"] == f"mount -o remount,size={8 << 20} /run/superd"
        mend(healthy, report, "run-full")
        is_mended(healthy)
    finally:
        healthy.systemctl("stop", "superd.socket")
        healthy.exec("umount", "/run/superd")


def test_somebody_else_at_the_path(healthy: Guest) -> None:
    healthy.systemctl("stop", "superd.socket")
    with healthy.popen("superd", "--config=/dev/null", "--listen", f"unix:{SOCKET}") as stranger:
        healthy.wait_until("it listens", healthy.path(SOCKET).is_socket)
        report = examine(healthy)
        assert {"socket-of-another", "socket-stopped"} <= report.faults
        mend(healthy, report, "socket-of-another")
        assert stranger.wait(30) == 0
    is_mended(healthy)


def test_an_upgrade_that_nobody_has_restarted_for(healthy: Guest) -> None:
    call(healthy)
    file = "/usr/lib/superd/superd/__init__.py"
    before = healthy.path(file).read_text()
    try:
        healthy.write(file, before.replace('"0.', '"9.'))
        report = examine(healthy)
        assert report.faults == {"restart-needed"}
        mend(healthy, report, "restart-needed")
        is_mended(healthy)
    finally:
        healthy.write(file, before)


def test_half_a_library(healthy: Guest) -> None:
    file = "/usr/lib/superd/pydantic/main.py"
    try:
        healthy.exec("mv", file, f"{file}.gone")
        healthy.exec("rm", "-rf", "/usr/lib/superd/pydantic/__pycache__")
        healthy.exec("systemctl", "start", "superd.service", check=False)
        said = "the installation is not complete ("
        healthy.wait_until("it says so", lambda: said in healthy.show("superd.service", "StatusText"))
        report = examine(healthy)
        assert report.faults == {"libraries-broken"}
        assert report.findings["libraries-broken"]["message"].startswith(said)
        assert said in healthy.exec("superctl", "status", check=False).stderr
    finally:
        healthy.exec("mv", f"{file}.gone", file)
    is_mended(healthy)


def test_who_is_not_root_is_told_what_could_not_be_seen(healthy: Guest) -> None:
    call(healthy)
    report = examine(healthy, user="stranger")
    assert report.faults == {"caller-may-not-connect"}
    assert "daemon" in report.unchecked
    assert "journal-unreadable" in report.findings
    assert examine(healthy, user="member").faults == set()
    healthy.path("/etc/superd/superd.toml").chmod(0o600)
    try:
        assert "need root" in examine(healthy, user="member").findings["configuration"]["message"]
    finally:
        healthy.path("/etc/superd/superd.toml").chmod(0o644)


def test_an_address_that_is_no_units(healthy: Guest) -> None:
    report = examine(healthy, "--socket", "unix:/run/elsewhere")
    assert set(report.findings) == {"socket-only", "socket-file-missing"}
    report = examine(healthy, "--socket", f"unix-seqpacket:{SOCKET}")
    assert set(report.findings) == {"socket-only", "daemon-silent"}
    assert "wrong type" in report.findings["daemon-silent"]["message"]


def test_an_instance(healthy: Guest) -> None:
    file = "/etc/superd/instances/lab.toml"
    healthy.write(file, "")
    healthy.systemctl("enable", "--now", "superd@lab.socket")
    try:
        assert examine(healthy, "--instance=lab", "--probe").faults == set()
        healthy.write(file, "drain_timout = 3\n")
        healthy.systemctl("stop", "superd@lab.socket")
        report = examine(healthy, "--instance=lab")
        assert report.faults == {"socket-stopped", "config-unknown-key"}
        mend(healthy, report, "config-unknown-key", "socket-stopped")
        assert examine(healthy, "--instance=lab", "--probe").faults == set()
        assert healthy.path(file).read_text() == "drain_timeout = 3\n"
    finally:
        healthy.systemctl("disable", "--now", "superd@lab.socket")
        healthy.systemctl("stop", "superd@lab.service")
        healthy.exec("rm", "-r", file, "/var/lib/superd-lab")


def test_the_text_for_people(healthy: Guest) -> None:
    mask(healthy)
    done = healthy.exec("superctl", "doctor", check=False)
    expected = textwrap.dedent(
        """\
        Socket
          fault      superd.socket is masked: nothing can start it  [socket-masked]
                     systemctl unmask superd.socket && systemctl start superd.socket
        """
    )
    assert expected in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 fault")
