"""superd@NAME.socket, and the units of systemctl --user: several superds on one host."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from tests.examples.pages import HOWTO, blocks
from tests.system.guest import Completed, Guest, now
from tests.system.programs import SOCKET, call, call_as, messages, python
from tests.system.test_howto import Operator

FOLDER: Final = "/etc/superd/instances"
INVENTORY: Final = "/run/superd/inventory.sock"
HOSTED: Final = 'services = ["inventoryd.service:inventory"]\n'

#: The user of the tests' own service manager.
ALICE: Final = 1234
RUNTIME: Final = f"/run/user/{ALICE}"
CONFIGURATION: Final = "/home/alice/.config/superd"


@pytest.fixture
def instances(guest: Guest) -> Iterator[Guest]:
    """The guest, in which a test may make instances."""
    yield guest
    guest.exec("systemctl", "stop", "superd@*.socket", "superd@*.service")
    guest.exec("systemctl", "reset-failed")
    guest.exec("sh", "-c", f"rm -rf {FOLDER}/* /var/lib/superd-*")


@pytest.fixture
def inventory(instances: Guest) -> Guest:
    """superd@inventory.socket, listening."""
    instances.write(f"{FOLDER}/inventory.toml", HOSTED)
    instances.systemctl("start", "superd@inventory.socket")
    return instances


def ask(guest: Guest, instance: str, method: str, *params: str) -> Any:
    """What an instance answers."""
    return call(guest, f"--instance={instance}", method, *params)


def process_of(guest: Guest, unit: str) -> dict[str, str]:
    """The status of a unit's process in /proc."""
    text = guest.path(f"/proc/{guest.show(unit, 'MainPID')}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines())


def test_the_first_call_starts_an_instance_as_a_user_of_its_own(inventory: Guest) -> None:
    assert inventory.exec("stat", "--format=%A %U %G", INVENTORY).stdout == "srw-rw---- root superd\n"
    assert inventory.show("superd@inventory.service", "ActiveState") == "inactive"
    assert (
        ask(inventory, "inventory", "inventory.add", "sku=A-1", "quantity:=2", "name=kettle")["quantity"] == 2
    )
    status = ask(inventory, "inventory", "superd.status")
    assert status["unit"] == "superd@inventory.service"
    assert status["listeners"] == [{"address": f"unix:{INVENTORY}", "name": "superd", "activated": True}]
    assert "connection" in inventory.show("superd@inventory.service", "StatusText")
    process = process_of(inventory, "superd@inventory.service")
    uid = int(process["Uid"].split("\t")[0])
    assert str(uid) == inventory.exec("id", "--user", "superd-inventory").stdout.strip()
    assert process["Seccomp"] == "2"
    assert process["CapBnd"] == process["CapPrm"] == "0" * 16
    state = inventory.exec("stat", "--format=%A %u", "/var/lib/superd-inventory").stdout
    assert state == f"drwx------ {uid}\n"
    entry = inventory.wait_for_entry("_SYSTEMD_UNIT=superd@inventory.service", "SYSLOG_IDENTIFIER=superd")
    assert entry["_UID"] == str(uid)


def test_two_instances_beside_the_plain_superd_know_nothing_of_each_other(inventory: Guest) -> None:
    inventory.write(f"{FOLDER}/other.toml", "connections = 7\n")
    inventory.write(f"{FOLDER}/other.d/50-call.toml", 'builtin_services = ["echo", "status"]\n')
    inventory.systemctl("start", "superd.socket", "superd@other.socket")
    assert ask(inventory, "inventory", "echo.echo", "text=a") == {"text": "a"}
    assert ask(inventory, "other", "superd.status")["unit"] == "superd@other.service"
    assert call(inventory, "superd.status")["unit"] == "superd.service"
    assert [
        usage["limit"]
        for usage in ask(inventory, "other", "superd.status")["usage"]
        if usage["resource"] == "connections"
    ] == [7]
    units = ("superd.service", "superd@inventory.service", "superd@other.service")
    assert len({process_of(inventory, unit)["Uid"] for unit in units}) == len(units)
    inventory.systemctl("stop", "superd@other.socket", "superd@other.service")
    assert not inventory.path("/run/superd/other.sock").exists()
    assert inventory.path(SOCKET).exists()
    assert ask(inventory, "inventory", "echo.echo", "text=b") == {"text": "b"}


def test_a_rule_of_one_says_nothing_of_the_other(inventory: Guest) -> None:
    inventory.write(
        f"{FOLDER}/inventory.policy.d/50.toml", '[[deny]]\nmethods = ["echo.*"]\nusers = ["member"]\n'
    )
    inventory.systemctl("start", "superd.socket")
    assert call_as(inventory, "member", "echo.echo", "text=a").returncode == 0
    done = call_as(inventory, "member", "--instance=inventory", "echo.echo", "text=a")
    assert done.returncode == 3, done.stderr
    tested = ["policy", "test", "--user=member", "echo.echo"]
    assert inventory.exec("superctl", *tested).returncode == 0
    assert inventory.exec("superctl", "--instance=inventory", *tested, check=False).returncode == 1
    found = re.search(r"SUPERD_CALL_ID=(\S+)", done.stderr)
    assert found is not None
    inventory.wait_for_entry(f"SUPERD_CALL_ID={found[1]}")
    said = inventory.exec("superctl", "--instance=inventory", "why", found[1]).stdout
    assert said.startswith(f"call {found[1]}: denied\n")
    assert " said by: superd@inventory.service\n" in said
    assert inventory.exec("superctl", "why", found[1]).stdout.startswith("Others say\n")


def test_a_group_of_its_own_may_connect_and_a_reload_still_works(inventory: Guest) -> None:
    inventory.drop_in("superd@inventory.socket", "[Socket]\nSocketGroup=daemon\n")
    inventory.systemctl("restart", "superd@inventory.socket")
    assert call_as(inventory, "member", "--instance=inventory", "echo.echo", "text=a").returncode != 0
    ask(inventory, "inventory", "echo.echo", "text=a")
    inventory.write(f"{FOLDER}/inventory.d/50.toml", "connections = 7\n")
    inventory.systemctl("reload", "superd@inventory.service")
    inventory.write(f"{FOLDER}/inventory.d/50.toml", "connections = 0\n")
    assert inventory.exec("systemctl", "reload", "superd@inventory.service", check=False).returncode != 0
    (fault,) = inventory.journal(
        "MESSAGE_ID=8114341eaea04ef2b6719d6b3bd929a6", "_SYSTEMD_UNIT=superd@inventory.service"
    )
    assert f"{FOLDER}/inventory.d/50.toml" in fault["MESSAGE"]


def test_a_restart_of_an_instance_is_invisible_to_a_connection(inventory: Guest) -> None:
    with inventory.popen(*python("held"), INVENTORY) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == "begun\n"
        inventory.systemctl("restart", "superd@inventory.service")
        assert ask(inventory, "inventory", "superd.status")["connections"] == 2
        said, complaint = held.communicate(timeout=60)
    counts = json.loads(said)
    assert (counts["lost"], counts["goaway"]) == (0, 0), complaint
    assert counts["answered"] > 1


def test_a_stop_of_an_instance_is_told_from_a_restart(inventory: Guest) -> None:
    with inventory.popen(*python("held"), INVENTORY) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == "begun\n"
        inventory.systemctl("stop", "superd@inventory.service", "superd@inventory.socket")
        counts = json.loads(held.communicate(timeout=60)[0])
    assert counts["goaway"] == counts["lost"] == 1


def test_enabling_an_instance_means_enabling_its_socket(inventory: Guest) -> None:
    inventory.systemctl("enable", "superd@inventory.service")
    assert inventory.exec("systemctl", "is-enabled", "superd@inventory.socket").stdout == "enabled\n"
    inventory.systemctl("disable", "superd@inventory.service", "superd@inventory.socket")


def test_an_operator_does_what_the_page_says(instances: Guest, tmp_path: Path) -> None:
    with ExitStack() as stack:
        reader = Operator(instances, tmp_path, stack)
        for block in blocks((HOWTO / "run-instances.md").read_text("utf-8"), tmp_path):
            if block.kind in {"console", "sh"}:
                reader.follow(block)
    assert reader.checked == 6
    instances.systemctl("disable", "superd@inventory.socket")


def why_not(guest: Guest, unit: str) -> str:
    """What `systemctl status` shows of a unit that does not start."""
    assert guest.exec("systemctl", "start", unit, check=False).returncode != 0
    return guest.exec("systemctl", "status", "--no-pager", "--full", unit, check=False).stdout


def test_the_status_says_why_an_instance_cannot_be(inventory: Guest) -> None:
    since = now()
    said = why_not(inventory, "superd@misspelt.socket")
    assert "superd@misspelt is no instance: " in said
    assert f"{FOLDER}/misspelt.toml" in said
    complaint = f"superd@misspelt is no instance: {FOLDER}/misspelt.toml does not exist"
    inventory.wait_for_entry(f"MESSAGE={complaint}", since=since)
    inventory.write(f"{FOLDER}/Wrong.toml", "")
    said = why_not(inventory, "superd@Wrong.service")
    assert "ExecStart=/usr/bin/superd --instance Wrong (code=exited, status=2)" in said
    lines = messages(inventory.journal("SYSLOG_IDENTIFIER=superd", since=since))
    assert any("'Wrong' is no name of an instance, such as inventory" in line for line in lines)


def test_no_instance_takes_the_socket_of_another(inventory: Guest) -> None:
    inventory.systemctl("start", "superd.socket")
    inventory.write(f"{FOLDER}/superd.toml", "")
    assert f"{SOCKET} is in use" in why_not(inventory, "superd@superd.socket")
    assert call(inventory, "echo.echo", "text=a") == {"text": "a"}
    inventory.write(f"{FOLDER}/thief.toml", "")
    inventory.drop_in("superd@thief.socket", f"[Socket]\nListenStream=\nListenStream={INVENTORY}\n")
    since = now()
    assert inventory.exec("systemctl", "start", "superd@thief.service", check=False).returncode != 0
    inventory.wait_for_entry("SYSLOG_IDENTIFIER=superd", "PRIORITY=3", since=since)
    said = messages(inventory.journal("_SYSTEMD_UNIT=superd@thief.service", since=since))
    assert any(f"unix:{INVENTORY} is the place of superd@inventory.socket" in line for line in said)


@pytest.fixture(scope="session")
def sessions(installed: Guest) -> Guest:
    """The guest with a user alice, whose service manager runs."""
    installed.exec("useradd", "--create-home", f"--uid={ALICE}", "alice")
    installed.systemctl("start", f"user@{ALICE}.service")
    return installed


def as_alice(
    guest: Guest, *argv: str, check: bool = True, variables: Sequence[str] = (f"XDG_RUNTIME_DIR={RUNTIME}",)
) -> Completed:
    """A command of hers, in a session or without one."""
    identity = ["setpriv", f"--reuid={ALICE}", f"--regid={ALICE}", "--init-groups"]
    return guest.exec(*identity, "env", "HOME=/home/alice", *variables, *argv, check=check)


@pytest.fixture
def alices(guest: Guest, sessions: Guest) -> Iterator[Guest]:
    """Her manager as it is at first."""
    yield sessions
    as_alice(guest, "systemctl", "--user", "stop", "superd*.socket", "superd*.service")
    as_alice(guest, "systemctl", "--user", "reset-failed")
    guest.exec("rm", "-rf", CONFIGURATION)


def test_a_user_has_a_superd_of_his_own(alices: Guest) -> None:
    as_alice(alices, "systemctl", "--user", "enable", "--now", "superd.socket")
    assert (
        alices.exec("stat", "--format=%A %U", f"{RUNTIME}/superd/superd.sock").stdout == "srw------- alice\n"
    )
    assert json.loads(as_alice(alices, "superctl", "--user", "call", "echo.echo", "text=a").stdout) == {
        "text": "a"
    }
    status = json.loads(as_alice(alices, "superctl", "--user", "--json", "status").stdout)
    assert status["unit"] == "superd.service"
    assert (
        "AF_UNIX"
        in as_alice(alices, "systemctl", "--user", "show", "-PRestrictAddressFamilies", "superd").stdout
    )
    process = dict(
        line.split(":\t", 1) for line in alices.path(f"/proc/{status['pid']}/status").read_text().splitlines()
    )
    assert (process["NoNewPrivs"], process["Uid"].split("\t")[0]) == ("1", str(ALICE))
    assert call_as(alices, "member", f"--socket={RUNTIME}/superd/superd.sock", "echo.echo").returncode != 0
    as_alice(alices, "systemctl", "--user", "reload", "superd.service")
    as_alice(alices, "systemctl", "--user", "restart", "superd.service")
    since = now()
    stop = as_alice(alices, "superctl", "--user", "call", "superd.stop", check=False)
    assert "use systemctl --user stop superd.service" in stop.stderr
    as_alice(alices, "systemctl", "--user", "disable", "--now", "superd.socket")
    as_alice(alices, "systemctl", "--user", "stop", "superd.service")
    said = messages(
        alices.journal("_SYSTEMD_USER_UNIT=superd.service", "SYSLOG_IDENTIFIER=superd", since=since)
    )
    assert any(line.startswith("stopped") for line in said)
    assert not any("left to the next process" in line for line in said), "it knows a stop from a restart"


def test_doctor_looks_at_a_users_superd(alices: Guest) -> None:
    def diagnose(*options: str) -> dict[str, Any]:
        done = as_alice(alices, "superctl", "--user", "doctor", "--json", *options, check=False)
        found = json.loads(done.stdout)["findings"]
        return {each["id"]: each for each in found if each["severity"] in {"fault", "warning"}}

    as_alice(alices, "systemctl", "--user", "enable", "--now", "superd.socket")
    assert diagnose("--probe") == {}
    as_alice(alices, "systemctl", "--user", "stop", "superd.socket")
    found = diagnose()
    assert set(found) == {"socket-stopped"}
    as_alice(alices, "bash", "-c", found["socket-stopped"]["fix"])
    assert diagnose() == {}
    as_alice(alices, "systemctl", "--user", "disable", "--now", "superd.socket")


def test_a_user_has_instances_and_policies_of_his_own(alices: Guest) -> None:
    asked = ("superctl", "--user", "--instance=inventory")
    done = as_alice(alices, "systemctl", "--user", "start", "superd@inventory.socket", check=False)
    assert done.returncode != 0
    as_alice(alices, "mkdir", "-p", f"{CONFIGURATION}/instances/inventory.policy.d")
    as_alice(alices, "sh", "-c", f"echo '{HOSTED.strip()}' >{CONFIGURATION}/instances/inventory.toml")
    as_alice(alices, "systemctl", "--user", "start", "superd@inventory.socket")
    added = as_alice(alices, *asked, "call", "inventory.add", "sku=A-1", "quantity:=1", "name=kettle")
    assert json.loads(added.stdout)["quantity"] == 1
    # Root is no privileged user to a superd that is not root's: 0600 keeps him out of nothing, the policy may.
    assert json.loads(as_alice(alices, *asked, "--json", "policy", "show").stdout)["denials"] == []
    status = json.loads(as_alice(alices, *asked, "--json", "status").stdout)
    assert status["unit"] == "superd@inventory.service"
    assert status["listeners"][0]["address"] == f"unix:{RUNTIME}/superd/inventory.sock"


def test_without_a_session_a_user_is_told_why(alices: Guest) -> None:
    done = as_alice(alices, "superctl", "--user", "status", check=False, variables=())
    assert done.returncode == 2
    assert done.stderr.startswith("superctl: XDG_RUNTIME_DIR is not set")
    assert f"it is {RUNTIME}" in done.stderr
