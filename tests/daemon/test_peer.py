import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from superd.peer import Caller, unit_from_cgroup

UNITS = {
    "0::/system.slice/romd.service\n": "romd.service",
    "0::/system.slice/system-getty.slice/getty@tty1.service\n": "getty@tty1.service",
    "0::/init.scope\n": "init.scope",
    "0::/user.slice/user-1000.slice/session-3.scope\n": "session-3.scope",
    # a user's manager: the user's unit; the manager itself; nothing known below it
    "0::/user.slice/user-1000.slice/user@1000.service/app.slice/mail.service\n": "mail.service",
    "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.slice/run-1.scope/sub\n": "run-1.scope",
    "0::/user.slice/user-1000.slice/user@1000.service/init.scope\n": "init.scope",
    "0::/user.slice/user-1000.slice/user@1000.service\n": "user@1000.service",
    "0::/user.slice/user-1000.slice/user@1000.service/payload\n": "user@1000.service",
    # what lies below a unit was delegated to it
    "0::/system.slice/romd.service/worker\n": "romd.service",
    "0::/machine.slice/systemd-nspawn@a.service/payload/system.slice/b.service\n": "systemd-nspawn@a.service",
    "0::/system.slice/docker-0123.scope\n": "docker-0123.scope",
    # escaped: by systemd for the kernel (a leading underscore), and within unit names
    "0::/system.slice/_cpu.service\n": "cpu.service",
    "0::/system.slice/__name.service\n": "_name.service",
    "0::/_cgroup.slice/_tasks.scope\n": "tasks.scope",
    r"0::/system.slice/dev-disk\x2dby.service": r"dev-disk\x2dby.service",
    "0::/system.slice/a:b.service\n": "a:b.service",
    # hybrid: the unified hierarchy first, else the named one
    "12:cpu,cpuacct:/system.slice\n1:name=systemd:/system.slice/romd.service\n0::/system.slice/romd.service\n": "romd.service",
    "1:name=systemd:/system.slice/romd.service\n0::/\n": "romd.service",
    # version 1
    "11:pids:/system.slice/x.service\n2:cpu:/\n1:name=systemd:/user.slice/user-0.slice/session-1.scope\n": "session-1.scope",
    "1:xattr,name=systemd:/system.slice/romd.service\n": "romd.service",
    # the group is gone; the view of a cgroup namespace
    "0::/system.slice/romd.service (deleted)\n": "romd.service",
    "0::/../../system.slice/romd.service\n": "romd.service",
}
NO_UNITS = [
    "",
    "\n",
    "0::/\n",
    "0::\n",
    "nonsense",
    "0:cpu:/system.slice/romd.service\n",
    "11:pids:/system.slice/romd.service\n",
    "0::/docker/0123456789abcdef\n",
    "0::/system.slice\n",
    "0::/payload/system.slice/romd.service\n",
    "0::/system.slice/.service\n",
    "0::/system.slice/_.service\n",
    "0::/system.slice/romd.socket\n",
    "0::/system.slice/ro md.service\n",
    "0::/system.slice/ro\x1bmd.service\n",
    "0::/system.slice/ro\ufffdmd.service\n",
]


@pytest.mark.parametrize(("text", "unit"), UNITS.items())
def test_unit_from_cgroup(text: str, unit: str) -> None:
    assert unit_from_cgroup(text) == unit


@pytest.mark.parametrize("text", NO_UNITS)
def test_no_unit_from_cgroup(text: str) -> None:
    assert unit_from_cgroup(text) is None


@pytest.mark.parametrize(("length", "found"), [(246, True), (247, True), (248, False)])
def test_the_longest_unit_name(length: int, found: bool) -> None:
    name = "x" * length + ".service"
    assert unit_from_cgroup(f"0::/system.slice/{name}\n") == (name if found else None)


def test_credentials_of_this_process() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        caller = Caller.from_socket(ours)
    assert (caller.uid, caller.gid, caller.pid) == (os.geteuid(), os.getegid(), os.getpid())
    assert caller.unit == unit_from_cgroup(Path("/proc/self/cgroup").read_text("ascii"))
    assert repr(caller) == f"Caller(uid={os.geteuid()}, gid={os.getegid()}, pid={os.getpid()})"


def test_large_ids_are_not_negative() -> None:
    """4294967294 is what the kernel says of a uid without a mapping in some configurations."""
    if os.geteuid() != 0:
        pytest.skip("only root can take another uid")
    program = """
import os, socket
from superd.peer import Caller
os.setresgid(4294967294, 4294967294, 4294967294)
os.setresuid(4294967294, 4294967294, 4294967294)
ours, theirs = socket.socketpair()
caller = Caller.from_socket(ours)
print(caller.uid, caller.gid)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert result.stdout == "4294967294 4294967294\n"


def test_a_socket_of_another_family_has_no_caller() -> None:
    with socket.socket(socket.AF_INET) as other, other.dup() as same:
        caller = Caller.from_socket(same)
    assert caller.pid == 0
    assert caller.unit is None


def test_a_pid_of_another_namespace_has_no_unit() -> None:
    assert Caller(0, 0, 0).unit is None


def test_a_process_that_is_gone_has_no_unit() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(timeout=30)
    assert Caller(0, 0, child.pid).unit is None


def test_the_unit_is_read_once() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with child:
        caller = Caller(os.geteuid(), os.getegid(), child.pid)
        before = caller.unit
    assert child.returncode is not None
    assert caller.unit == before


def test_a_caller_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Caller(1, 2, 3).uid = 0  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Caller(1, 2, 3).name = "x"  # type: ignore[attr-defined]
