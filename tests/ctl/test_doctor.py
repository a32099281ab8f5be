"""superctl doctor: each finding, of facts as systemd gave them (doctor/*.show are recordings) and one thing changed."""

import io
import json
import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from superd import __version__
from superd.ctl.console import Console
from superd.ctl.doctor.asking import Answer, ask
from superd.ctl.doctor.checks import CHECKS, examine_all
from superd.ctl.doctor.examining import examine
from superd.ctl.doctor.facts import (
    Accounts,
    Chosen,
    Examination,
    Exposure,
    Facts,
    Fault,
    Journal,
    Node,
    Package,
    Place,
    Probe,
    Space,
    UnitFacts,
    User,
)
from superd.ctl.doctor.findings import SEVERITIES, Finding, Severity, Unknown
from superd.ctl.doctor.host import descriptors_of, exposure_of, read_verified
from superd.ctl.doctor.outcomes import is_well
from superd.ctl.doctor.places import look_at, room_in
from superd.ctl.doctor.telling import as_json, tell
from superd.ctl.doctor.units import PROPERTIES, Unit, read_show
from superd.ctl.exits import ExitStatus
from superd.descriptor_limit import needed
from superd_client.address import parse_address
from superd_client.instances import Instance
from tests.ctl.conftest import ROOT, Superctl
from tests.ctl.test_servers import STATUS

PATH: Final = "/run/superd/superd.sock"
CONNECTIONS: Final = Chosen(4096, 2048, 30.0, keep_connections=True, log_level="info")
SEEN: Final = Examination((), (), (), (), (), CONNECTIONS, {"uvloop": "", "orjson": ""})
PACKAGE: Final = Package("superd", "0.1.0-1", "ii", ())
ROOM: Final = Space("/run/superd", "/run", 1 << 30, 1 << 31, 10_000, is_memory=True)


def recorded(name: str) -> tuple[Unit, Unit]:
    """The service and the socket, as `systemctl show` of systemd 252 gave them in this state."""
    service, sock = read_show((Path(__file__).parent / f"doctor/{name}.show").read_text())
    return service, sock


def with_properties(unit: Unit, **properties: str) -> Unit:
    return Unit({**unit.properties, **{name: [value] for name, value in properties.items()}})


SERVICE, SOCKET = recorded("running")

WELL: Final = UnitFacts(
    address=f"unix:{PATH}",
    place=Place(PATH, Node(False, 0o755, 0, 0), Node(True, 0o660, 0, 990), 1),
    caller=User(0, "root", may_connect=True, is_member=False),
    version=__version__,
    systemd="252.39-1~deb12u2",
    daemon=STATUS.model_copy(update={"version": __version__}),
    instance=Instance(),
    service=SERVICE,
    socket=SOCKET,
    accounts=Accounts({"superd": 990, "root": 0}, {"superd": 990}, ("romd",)),
    kernel=(6, 1),
    sockets=(SOCKET,),
    packages=(PACKAGE,),
    examination=SEEN,
    descriptors=8192,
    exposure=Exposure(5, ()),
    journal=Journal(is_readable=True, is_persistent=True),
    run=ROOM,
    state=ROOM._replace(folder="/var/lib/superd", mount="/", is_memory=False),
)


def service(**properties: str) -> UnitFacts:
    return replace(WELL, service=with_properties(SERVICE, **properties))


def sock(**properties: str) -> UnitFacts:
    return replace(WELL, socket=with_properties(SOCKET, **properties))


def in_state(name: str, **changes: Any) -> UnitFacts:
    unit, listener = recorded(name)
    return replace(WELL, service=unit, socket=listener, daemon=None, descriptors=None, **changes)


def place(**changes: Any) -> UnitFacts:
    assert WELL.place is not None
    return replace(WELL, place=WELL.place._replace(**changes))


def seen(**changes: Any) -> UnitFacts:
    return replace(WELL, examination=SEEN._replace(**changes))


def wrong(key: str, message: str, line: int | None = 3, source: str = "/etc/superd/superd.toml") -> UnitFacts:
    return seen(settings=(Fault(source, line, key, message),), chosen=None)


def found(facts: Facts) -> dict[str, Finding]:
    """What is not well, by id."""
    return {
        finding.id: finding
        for outcome in examine_all(facts)
        for finding in outcome.findings
        if finding.severity not in {Severity.OK, Severity.UNCHECKED}
    }


NO_FILE: Final = Place(PATH, Node(False, 0o755, 0, 0), None, 0, "No such file or directory")
STALE: Final = NO_FILE._replace(file=Node(True, 0o660, 0, 990), answer="Connection refused")
OTHER: Final = Unit({"Id": ["other.socket"], "ActiveState": ["active"], "Listen": [f"{PATH} (Stream)"]})
UNKNOWN_KEY: Final = "unknown key; did you mean drain_timeout? (this is superd 0.1.0)"
START: Final = "systemctl reset-failed superd.service superd.socket && systemctl start superd.socket"

#: Facts in which just this is wrong, and a part of the command that mends it.
BAD: Final[Mapping[str, tuple[Facts, str]]] = {
    "caller-may-not-connect": (
        replace(WELL, daemon=None, caller=User(1000, "ada", may_connect=False, is_member=False)),
        "usermod --append --groups superd ada",
    ),
    "config-invalid": (wrong("streams", "should be an integer"), "sed -i '3s/^/#/' /etc/superd/superd.toml"),
    "config-unknown-key": (
        wrong("drain_timout", UNKNOWN_KEY),
        r"sed -i '3s/\bdrain_timout\b/drain_timeout/' /etc/superd/superd.toml",
    ),
    "config-unreadable": (
        wrong("", "cannot be read: Permission denied", None),
        "chmod a+rX /etc/superd /etc/superd/superd.toml",
    ),
    "daemon-silent": (
        replace(WELL, daemon=Unknown("no reply within 5 s")),
        "systemctl restart superd.service",
    ),
    "descriptors-few": (service(LimitNOFILE="1024"), f"LimitNOFILE={needed(4096, 2048)}"),
    "descriptors-stale": (replace(WELL, descriptors=4096), "systemctl restart superd.service"),
    "drain-too-long": (service(TimeoutStopUSec="34s"), "TimeoutStopSec=40s"),
    "exposure-high": (
        replace(WELL, exposure=Exposure(7, (("ProtectSystem=", 0.2),))),
        "systemctl revert superd.service",
    ),
    "group-missing": (
        replace(WELL, accounts=Accounts({"superd": 990, "root": 0}, {"superd": None}, ())),
        "systemd-sysusers",
    ),
    "journal-rate-limit": (seen(chosen=CONNECTIONS._replace(log_level="debug")), "journalctl"),
    "journal-unreadable": (
        replace(WELL, journal=Journal(is_readable=False, is_persistent=True)),
        "usermod --append --groups systemd-journal root",
    ),
    "journal-volatile": (
        replace(WELL, journal=Journal(is_readable=True, is_persistent=False)),
        "mkdir -p /var/log/journal",
    ),
    "libraries-broken": (
        seen(libraries={"superd": "the installation is not complete"}, chosen=None, mend="make install"),
        "make install",
    ),
    "listen-address-wrong": (seen(addresses=("'x' is no address",)), "superd --check"),
    "loop-slow": (
        replace(
            WELL, daemon=STATUS.model_copy(update={"version": __version__, "loop_lag_max_usec": 2_500_001})
        ),
        "WatchdogSec=40s",
    ),
    "needs-daemon-reload": (service(NeedDaemonReload="yes"), "systemctl daemon-reload"),
    "nobody-may-connect": (
        replace(WELL, accounts=WELL.accounts._replace(members=())),
        "usermod --append --groups superd NAME",
    ),
    "orjson-missing": (seen(libraries={"orjson": "no"}), "apt-get install python3-orjson"),
    "python-systemd-missing": (seen(libraries={"systemd.journal": "no"}), "apt-get install python3-systemd"),
    "package-files-changed": (
        replace(WELL, packages=(PACKAGE._replace(changed=("/usr/lib/superd/vendor/pydantic/main.py",)),)),
        "apt-get install --reinstall superd",
    ),
    "package-half-configured": (
        replace(WELL, packages=(PACKAGE._replace(state="iU"),)),
        "dpkg --configure -a",
    ),
    "policy-doubtful": (
        seen(doubts=(Fault("/etc/superd/policy.d/5.toml", 2, "methods", "x matches no method"),)),
        '"${EDITOR:-vi}" +2 /etc/superd/policy.d/5.toml',
    ),
    "policy-invalid": (
        seen(
            policy=(
                Fault("/etc/superd/policy.d/5.toml", 4, "deny.0.user", "unknown key; did you mean users?"),
            )
        ),
        r"sed -i '4s/\buser\b/users/' /etc/superd/policy.d/5.toml",
    ),
    "private-users": (service(PrivateUsers="yes"), "PrivateUsers=no"),
    "probe-failed": (replace(WELL, probe=Probe(5_000_000, "no reply")), "systemctl restart superd.service"),
    "protect-control-groups": (service(ProtectControlGroupsEx="strict"), "ProtectControlGroups=yes"),
    "protect-proc": (service(ProtectProc="invisible"), "ProtectProc=default"),
    "restart-needed": (replace(WELL, daemon=STATUS), "systemctl restart superd.service"),
    "run-full": (
        replace(WELL, run=ROOM._replace(bytes_free=(1 << 20) - 1)),
        "mount -o remount,size=4294967296 /run",
    ),
    "service-bad-unit": (
        service(
            LoadState="bad-setting", LoadError='org.x "Unit superd.service has a bad unit file setting."'
        ),
        "systemd-analyze verify superd.service",
    ),
    "service-broken": (seen(services=("x:y cannot be loaded",)), "superd --check"),
    "service-failed": (
        service(ActiveState="failed", Result="signal", StatusText="", ExecMainStatus="9"),
        START,
    ),
    "service-masked": (service(LoadState="masked"), "systemctl unmask superd.service"),
    "service-not-found": (service(LoadState="not-found"), "apt-get install --reinstall superd"),
    "service-restarting": (
        service(ActiveState="activating", SubState="auto-restart", NRestarts="3", StatusText=""),
        "journalctl --unit=superd.service",
    ),
    "socket-bad-unit": (sock(LoadState="bad-setting"), "systemd-analyze verify superd.socket"),
    "socket-elsewhere": (sock(Listen="/run/x (Stream)"), rf"ListenStream=\nListenStream={PATH}"),
    "socket-failed": (in_state("failed", place=NO_FILE), START),
    "socket-file-foreign": (place(file=Node(False, 0o644, 0, 0)), f"rm -r {PATH}"),
    "socket-file-missing": (place(file=None, listeners=0), "systemctl restart superd.socket"),
    "socket-folder-closed": (place(folder=Node(False, 0o700, 0, 0)), "chmod 0755 /run/superd"),
    "socket-folder-writable": (place(folder=Node(False, 0o777, 0, 0)), "chown root:root /run/superd"),
    "socket-for-everybody": (
        replace(sock(SocketMode="0666"), place=Place(PATH, None, Node(True, 0o666, 0, 990), 1)),
        "superctl policy show",
    ),
    "socket-masked": (
        sock(LoadState="masked"),
        "systemctl unmask superd.socket && systemctl start superd.socket",
    ),
    "socket-mode": (place(file=Node(True, 0o600, 0, 990)), "systemctl restart superd.socket"),
    "socket-not-enabled": (sock(UnitFileState="disabled", WantedBy=""), "systemctl enable superd.socket"),
    "socket-not-found": (sock(LoadState="not-found"), "apt-get install --reinstall superd"),
    "socket-of-another": (
        in_state("stopped", place=STALE._replace(answer="", peer_pid=77)),
        f"kill 77 && {START}",
    ),
    "socket-only": (
        Facts(address="unix:@x", place=None, caller=WELL.caller, version=__version__, systemd=None),
        "",
    ),
    "socket-path-shared": (replace(WELL, sockets=(SOCKET, OTHER)), "systemctl disable --now other.socket"),
    "socket-stale": (place(listeners=0), "systemctl restart superd.socket"),
    "socket-stopped": (in_state("stopped", place=NO_FILE), "systemctl enable --now superd.socket"),
    "start-limit-hit": (service(ActiveState="failed", Result="start-limit-hit"), START),
    "state-full": (
        replace(WELL, state=ROOM._replace(mount="/var", bytes_free=(16 << 20) - 1)),
        "du -x --max-depth=3 /var",
    ),
    "store-too-small": (service(FileDescriptorStoreMax="2"), "FileDescriptorStoreMax=8"),
    "systemd-old": (replace(WELL, systemd="251.4"), "apt-get dist-upgrade"),
    "user-missing": (
        replace(WELL, accounts=Accounts({"superd": None, "root": 0}, {"superd": 990}, ("romd",))),
        "systemd-sysusers",
    ),
    "uvloop-missing": (seen(libraries={"uvloop": "no"}), "apt-get install python3-uvloop"),
    "watchdog-off": (service(WatchdogUSec="0"), "WatchdogSec=10s"),
}

#: What comes with another finding, since one state has both.
BESIDE: Final = {
    "socket-of-another": {"socket-stopped"},
}


def test_a_healthy_superd() -> None:
    assert found(WELL) == {}
    assert is_well(examine_all(WELL))
    assert found(in_state("idle")) == {}


@pytest.mark.parametrize("name", BAD)
def test_each_finding(name: str) -> None:
    facts, fix = BAD[name]
    findings = found(facts)
    assert set(findings) == {name} | BESIDE.get(name, set())
    finding = findings[name]
    assert finding.severity is SEVERITIES[name]
    assert fix in (finding.fix or "")
    assert is_well(examine_all(facts)) == (finding.severity is Severity.NOTE)


def test_every_finding_is_tested() -> None:
    assert set(BAD) == set(SEVERITIES)


@pytest.mark.parametrize(
    "facts",
    [
        service(TimeoutStopUSec="35s"),
        service(TimeoutStopUSec="infinity"),
        replace(service(LimitNOFILE=str(needed(4096, 2048))), descriptors=needed(4096, 2048)),
        service(LimitNOFILE="infinity"),
        service(FileDescriptorStoreMax="3"),
        service(ActiveState="activating", SubState="start", NRestarts="0"),
        service(ActiveState="inactive", WatchdogUSec="infinity"),
        seen(chosen=CONNECTIONS._replace(keep_connections=False, drain_timeout=35.0)),
        replace(WELL, exposure=Exposure(6, ())),
        replace(WELL, systemd="252"),
        replace(WELL, run=ROOM._replace(bytes_free=1 << 20, files_free=64)),
        replace(WELL, state=ROOM._replace(bytes_free=16 << 20)),
        replace(
            WELL, daemon=STATUS.model_copy(update={"version": __version__, "loop_lag_max_usec": 2_500_000})
        ),
        replace(WELL, sockets=(SOCKET, with_properties(OTHER, ActiveState="inactive"))),
        sock(UnitFileState="disabled", WantedBy="romd.service"),
    ],
)
def test_what_is_just_enough_is_well(facts: UnitFacts) -> None:
    assert found(facts) == {}


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (service(TimeoutStopUSec="34.9s"), "drain-too-long"),
        (service(LimitNOFILE=str(needed(4096, 2048) - 1)), "descriptors-few"),
        (replace(WELL, run=ROOM._replace(files_free=63)), "run-full"),
        (replace(WELL, state=ROOM._replace(files_free=0)), "state-full"),
        (service(ActiveState="activating", SubState="start", NRestarts="1"), "service-restarting"),
        (
            wrong("quux", "unknown key; this is superd 0.1.0, and a newer one may have it"),
            "config-unknown-key",
        ),
        (wrong("quux", "there is no such key any more: since 0.2.0"), "config-unknown-key"),
    ],
)
def test_what_is_just_too_little_is_not(facts: UnitFacts, name: str) -> None:
    assert set(found(facts)) == {name}


@pytest.mark.parametrize(
    ("state", "ids"),
    [
        ("masked", {"service-masked", "socket-masked"}),
        ("gone", {"service-not-found", "socket-not-found"}),
        ("bad", {"socket-bad-unit", "store-too-small"}),
        ("stopped", {"socket-stopped"}),
        ("failed", {"socket-failed"}),
    ],
)
def test_states_as_systemd_has_them(state: str, ids: set[str]) -> None:
    assert set(found(in_state(state, place=NO_FILE))) == ids


@pytest.mark.parametrize(
    ("status", "said"),
    [("78", "the configuration is wrong"), ("217", "its user does not exist"), ("5", "exit-code, status 5")],
)
def test_why_it_does_not_come_up(status: str, said: str) -> None:
    down = {"ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code"}
    facts = service(**down, ExecMainStatus=status, StatusText="")
    assert said in found(facts)["service-restarting"].message
    spoken = service(**down, ExecMainStatus=status, StatusText="cannot start: why")
    assert found(spoken)["service-restarting"].message.endswith(": cannot start: why")


def test_sources_that_are_no_files() -> None:
    of_variable = found(wrong("log_level", "should be", None, "environment"))["config-invalid"]
    assert "UnsetEnvironment=SUPERD_LOG_LEVEL" in (of_variable.fix or "")
    misspelt = found(wrong("SUPERD_X", "unknown key", None, "environment"))["config-unknown-key"]
    assert "UnsetEnvironment=SUPERD_X" in (misspelt.fix or "")
    of_argument = found(wrong("listen", "should be", None, "command line"))["config-invalid"]
    assert of_argument.fix == "systemctl edit --full superd.service"
    gone = found(wrong("", "no such file", None))["config-unreadable"]
    assert gone.fix == "install -D -m 0644 /dev/null /etc/superd/superd.toml"
    broken = found(wrong("", "is not TOML: x", None))["config-unreadable"]
    assert broken.fix == '"${EDITOR:-vi}" /etc/superd/superd.toml'


def test_what_a_stranger_may_not_read_is_not_called_wrong() -> None:
    facts = replace(
        wrong("", "cannot be read: Permission denied", None),
        caller=User(1000, "ada", may_connect=True, is_member=True),
    )
    assert found(facts) == {}
    (said,) = [f for o in examine_all(facts) for f in o.findings if f.id == "configuration"]
    assert (said.severity, said.message) == (
        Severity.UNCHECKED,
        "not checked: need root: /etc/superd/superd.toml may not be read",
    )


def test_what_cannot_be_asked_is_said() -> None:
    nobody = Unknown("systemd does not answer")
    facts = replace(
        WELL,
        systemd=nobody,
        service=nobody,
        socket=nobody,
        sockets=nobody,
        examination=nobody,
        exposure=nobody,
        packages=(PACKAGE._replace(changed=nobody),),
        daemon=None,
    )
    findings = [finding for outcome in examine_all(facts) for finding in outcome.findings]
    assert found(facts) == {}
    unchecked = {finding.id for finding in findings if finding.severity is Severity.UNCHECKED}
    assert unchecked == {
        *("packages", "libraries", "accounts", "systemd", "service", "unit-files", "exposure", "socket-unit"),
        *("neighbours", "configuration", "policy", "descriptors", "times", "watchdog"),
    }


def test_the_units_of_an_instance_and_of_a_user() -> None:
    facts = replace(sock(LoadState="masked"), instance=Instance("inventory", user=True), sockets=())
    facts = replace(facts, service=with_properties(SERVICE, WatchdogUSec="0", PrivateUsers="yes"))
    findings = found(facts)
    assert set(findings) == {"socket-masked", "watchdog-off"}
    assert "~/.config/systemd/user/superd@inventory.service.d" in (findings["watchdog-off"].fix or "")
    assert "systemctl --user try-restart superd@inventory.service" in (findings["watchdog-off"].fix or "")


def test_the_user_of_an_instance_is_made_by_its_socket() -> None:
    accounts = Accounts({"superd-lab": None, "root": 0}, {"superd": 990}, ("romd",))
    listening = replace(WELL, instance=Instance("lab"), accounts=accounts, sockets=())
    assert found(listening)["user-missing"].fix == "systemctl restart superd@lab.socket"
    stopped = replace(
        in_state("stopped", place=NO_FILE), instance=Instance("lab"), accounts=accounts, sockets=()
    )
    assert set(found(stopped)) == {"socket-stopped"}


# --- reports ---------------------------------------------------------------------------------------------------------


def told(facts: Facts, *, show_all: bool = False) -> list[str]:
    stream = io.StringIO()
    tell(examine_all(facts), Console(stream), show_all=show_all)
    return stream.getvalue().splitlines()


def test_the_report_for_people() -> None:
    assert told(WELL) == [f"all is well: {len(CHECKS)} checks"]
    assert len(told(WELL, show_all=True)) > len(CHECKS)
    assert told(BAD["socket-masked"][0]) == [
        "Socket",
        "  fault      superd.socket is masked: nothing can start it  [socket-masked]",
        "             systemctl unmask superd.socket && systemctl start superd.socket",
        f"1 fault; {len(CHECKS) - 1} well",
    ]
    assert told(BAD["journal-volatile"][0])[-1] == f"all is well: {len(CHECKS) - 1} checks, 1 note"


def test_the_report_for_programs() -> None:
    outcomes = examine_all(BAD["restart-needed"][0])
    report = as_json(WELL.address, "0.1.0", outcomes)
    assert set(report) == {"address", "version", "well", "counts", "findings"}
    assert (report["address"], report["version"], report["well"]) == (WELL.address, "0.1.0", False)
    assert report["counts"] == {"ok": len(CHECKS) - 1, "unchecked": 0, "note": 0, "warning": 1, "fault": 0}
    assert [each for each in report["findings"] if each["severity"] == "warning"] == [
        {
            "check": "version",
            "id": "restart-needed",
            "severity": "warning",
            "message": f"superd 9.9.9 runs, and {__version__} is installed: a restart keeps the connections",
            "fix": "systemctl restart superd.service",
        }
    ]
    assert json.loads(json.dumps(report)) == report


def test_the_manual_has_every_finding_with_its_severity() -> None:
    page = (ROOT / "docs/reference/superctl.md").read_text()
    rows = re.findall(r"^`([a-z-]+)` \((note|warning|fault)\)$", page, re.MULTILINE)
    assert dict(rows) == {name: severity.value for name, severity in SEVERITIES.items()}
    assert len(rows) == len(SEVERITIES)
    for check in CHECKS:
        assert f"\n### {check.id}\n" in page


# --- facts -----------------------------------------------------------------------------------------------------------


def test_properties_of_units() -> None:
    service, listener = recorded("running")
    assert (service.name, service.is_loaded, service.is_active) == ("superd.service", True, True)
    assert service.environment == {"PYDANTIC_DISABLE_PLUGINS": "__all__", "SUPERD_KEEP_CONNECTIONS": "yes"}
    assert service.argv == ("/usr/bin/superd",)
    assert (service.seconds("TimeoutStopUSec"), service.number("LimitNOFILE")) == (40.0, 8192)
    assert listener.paths == (PATH,)
    assert service.get("Nonsense") == ""
    assert set(service.properties) <= set(PROPERTIES)
    quoted = with_properties(
        service, Environment='"A=b c" D=e\'f', TimeoutStopUSec="soon", LimitNOFILE="infinity"
    )
    assert quoted.seconds("TimeoutStopUSec") is None
    assert quoted.number("LimitNOFILE") is None


def test_quoted_variables() -> None:
    unit = with_properties(SERVICE, Environment="\"A=b c\" 'D=e f' G=h lonely")
    assert unit.environment == {"A": "b c", "D": "e f", "G": "h"}


def test_a_command_that_hangs_is_ended_with_its_children() -> None:
    begin = time.monotonic()
    answer = ask(["sh", "-c", "sleep 60 & sleep 60"], seconds=0.1)
    assert answer == Unknown("sh did not end within 0.1 s")
    assert time.monotonic() - begin < 5


def test_a_command_that_is_not_there() -> None:
    answer = ask(["/nonexistent/x"])
    assert isinstance(answer, Unknown)
    assert "No such file" in answer.why
    assert ask(["sh", "-c", "echo a; echo b >&2; exit 3"]) == Answer(3, "a\n", "b\n")


def test_a_socket_that_listens_and_one_that_was_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "s"
    address = parse_address(f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        place = look_at(address, connect=True)
        assert place is not None
        assert place.file is not None
        assert (place.file.is_socket, place.answer, place.peer_pid) == (True, "", os.getpid())
        assert place.listeners == 1 or isinstance(place.listeners, Unknown)
    place = look_at(address, connect=True)
    assert place is not None
    assert (place.answer, place.peer_pid) == ("Connection refused", None)
    assert place.listeners == 0 or isinstance(place.listeners, Unknown)
    path.unlink()
    place = look_at(address, connect=False)
    assert place is not None
    assert (place.file, place.answer) == (None, None)
    assert look_at(parse_address("unix:@x"), connect=True) is None


def test_room() -> None:
    room = room_in("/proc/self")
    assert room is not None
    assert room.mount == "/proc"
    assert room_in("/nonexistent") is None


def test_the_limit_of_a_process() -> None:
    assert isinstance(descriptors_of(os.getpid()), int)
    assert isinstance(descriptors_of(2**22 + 1), Unknown)


def test_what_dpkg_verifies() -> None:
    text = (
        "??5??????   /usr/lib/superd/a.py\n"
        "missing     /usr/lib/superd/b c.py\n"
        "missing     /usr/lib/superd/d.py (Permission denied)\n"
        "??5?????? c /etc/superd/superd.toml\n"
        "nonsense\n"
    )
    names = ["/usr/lib/superd/a.py", "/usr/lib/superd/b c.py", "/usr/lib/superd/d.py"]
    assert list(read_verified(text)) == names


def test_the_exposure_of_what_is_no_unit() -> None:
    assert isinstance(exposure_of("superd-of-nobody.service"), Unknown)


def test_settings_policy_and_services_are_read_as_superd_reads_them(tmp_path: Path) -> None:
    config, policy = tmp_path / "superd.toml", tmp_path / "policy.d"
    policy.mkdir()
    config.write_text(f'policy_dir = "{policy}"\nconnections = 7\n')
    seen = examine(Instance(), ["superd", "--config", str(config)], {}, None)
    assert isinstance(seen, Examination)
    assert not any((seen.settings, seen.policy, seen.doubts, seen.services))
    assert seen.chosen is not None
    assert seen.chosen.connections == 7
    (policy / "a.toml").write_text('[[deny]]\nmethods = ["nothing.*"]\n')
    seen = examine(Instance(), ["superd", f"--config={config}"], {}, None)
    assert isinstance(seen, Examination)
    assert [(doubt.line, doubt.key) for doubt in seen.doubts] == [(1, "methods")]
    (policy / "a.toml").write_text("quux = 1\n")
    seen = examine(Instance(), ["superd"], {"SUPERD_CONFIG": str(config)}, None)
    assert isinstance(seen, Examination)
    assert [(fault.source, fault.line) for fault in seen.policy] == [(str(policy / "a.toml"), 1)]


def test_wrong_settings_have_their_lines(tmp_path: Path) -> None:
    config = tmp_path / "superd.toml"
    config.write_text('# x\nbuiltin_services = [\n  "echo",\n  "ehco",\n]\nquux = 1\n')
    seen = examine(Instance(), ["superd", "--config", str(config)], {"SUPERD_LOG_LEVEL": "loud"}, None)
    assert isinstance(seen, Examination)
    places = {(fault.source, fault.line, fault.key) for fault in seen.settings}
    assert places == {
        (str(config), 6, "quux"),
        (str(config), 4, "builtin_services.1"),
        ("environment", None, "log_level"),
    }
    assert seen.chosen is None
    config.write_text("quux = [\n")
    seen = examine(Instance(), ["superd", "--config", str(config)], {}, None)
    assert isinstance(seen, Examination)
    assert [(fault.line, fault.key) for fault in seen.settings] == [(None, "")]


def test_a_service_that_ends_the_process_or_writes_is_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "loud.py").write_text("print('{}')\nraise RuntimeError('why')\n")
    (tmp_path / "gone.py").write_text("import os\nos._exit(3)\n")
    seen = examine(Instance(), ["superd", "--config=/dev/null", "--service=loud:x"], {}, None)
    assert isinstance(seen, Examination)
    assert len(seen.services) == 1
    assert "loud:x" in seen.services[0]
    gone = examine(Instance(), ["superd", "--config=/dev/null", "--service", "gone:x"], {}, None)
    assert gone == Unknown("the configuration could not be examined: status 3")


# --- the command -----------------------------------------------------------------------------------------------------


def test_without_units_only_the_socket_is_looked_at(superctl: Superctl, tmp_path: Path) -> None:
    done = superctl("doctor")
    assert (done.status, done.err) == (ExitStatus.OK, "")
    assert "only the socket unix:" in done.out
    assert done.out.splitlines()[-1].startswith("all is well: ")
    done = superctl("doctor", "--json", "--socket", str(tmp_path / "none"))
    assert done.status == ExitStatus.FAILED
    report = json.loads(done.out)
    assert [each["id"] for each in report["findings"] if each["severity"] == "fault"] == [
        "socket-file-missing"
    ]


def test_half_an_installation_is_told_without_its_libraries(process: Superctl, tmp_path: Path) -> None:
    (tmp_path / "pydantic").mkdir()
    (tmp_path / "pydantic/__init__.py").write_text("from ._internal import gone\n")
    path = os.environ["PYTHONPATH"]
    os.environ["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{path}"
    try:
        status, doctor, report = process("status"), process("doctor"), process("doctor", "--json")
    finally:
        os.environ["PYTHONPATH"] = path
    said = "the installation is not complete (ModuleNotFoundError"
    assert (status.status, status.err.startswith(f"superctl: {said}")) == (ExitStatus.INCOMPLETE, True)
    assert (doctor.status, doctor.err) == (ExitStatus.FAILED, "")
    assert said in doctor.out
    (finding,) = json.loads(report.out)["findings"]
    assert (finding["id"], finding["severity"]) == ("libraries-broken", "fault")
