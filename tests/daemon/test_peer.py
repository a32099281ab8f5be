import os
import resource
import select
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from superd import peer, peer_socket
from superd.peer import Caller
from superd.peer_socket import kernel_has_peer_pidfd
from superd_client.units import Units, units_from_cgroup

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take other groups")
needs_pidfd = pytest.mark.skipif(not kernel_has_peer_pidfd(), reason="SO_PEERPIDFD came with Linux 6.5")

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
    assert units_from_cgroup(text).name == unit


@pytest.mark.parametrize("text", NO_UNITS)
def test_no_unit_from_cgroup(text: str) -> None:
    assert units_from_cgroup(text).name is None


@pytest.mark.parametrize(("length", "found"), [(246, True), (247, True), (248, False)])
def test_the_longest_unit_name(length: int, found: bool) -> None:
    name = "x" * length + ".service"
    assert units_from_cgroup(f"0::/system.slice/{name}\n").name == (name if found else None)


def test_credentials_of_this_process() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        caller = Caller.from_socket(ours)
    assert (caller.uid, caller.gid, caller.pid) == (os.geteuid(), os.getegid(), os.getpid())
    assert caller.unit == units_from_cgroup(Path("/proc/self/cgroup").read_text("ascii")).name
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


def test_units_of_the_system_and_of_users_are_told_apart() -> None:
    """A user gives the units of his manager any name: to a rule they are all the same unit of the system."""
    text = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/romd.service\n"
    assert units_from_cgroup(text) == Units("user@1000.service", "romd.service")
    assert units_from_cgroup("0::/system.slice/romd.service/user@1.service/x.service\n") == Units(
        "romd.service"
    )
    assert units_from_cgroup("0::/\n") == Units()


# --- groups ------------------------------------------------------------------------------------------------------

GROUPS = """
import os, socket, sys
from superd.peer import Caller
os.setgroups(range(1000, 1000 + int(sys.argv[1])))
ours, theirs = socket.socketpair()
os.setgroups([1])
caller = Caller.from_socket(ours)
print(len(caller.groups), min(caller.groups, default=None), max(caller.groups, default=None))
"""


@needs_root
@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 None None"),
        (1, "1 1000 1000"),
        (255, "255 1000 1254"),
        (256, "256 1000 1255"),
        (257, "257 1000 1256"),
        (65_536, "65536 1000 66535"),
    ],
)
def test_all_groups_as_of_connecting(count: int, said: str) -> None:
    """256 are what Python's getsockopt takes, 65,536 what the kernel lets a process have."""
    done = subprocess.run(
        [sys.executable, "-c", GROUPS, str(count)], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == f"{said}\n"


def test_groups_of_this_process() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        caller = Caller.from_socket(ours)
    assert caller.groups == frozenset(os.getgroups())


def test_the_groups_of_a_datagrams_sender_are_not_known() -> None:
    caller = Caller.from_message(struct.pack("=iII", os.getpid(), 4294967294, 5))
    assert (caller.pid, caller.uid, caller.gid, caller.groups) == (os.getpid(), 4294967294, 5, None)
    assert caller.label is None
    assert caller.unit == units_from_cgroup(Path("/proc/self/cgroup").read_text("ascii")).name
    with caller.pidfd() as pidfd:
        assert pidfd is None


def test_credentials_come_with_a_datagram() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        theirs.send(b"x")
        _, ((level, kind, data),), _, _ = ours.recvmsg(1, socket.CMSG_SPACE(12))
    assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
    caller = Caller.from_message(data)
    assert (caller.uid, caller.gid, caller.pid) == (os.geteuid(), os.getegid(), os.getpid())


# --- the process itself ------------------------------------------------------------------------------------------


class Child:
    """A process that connects, says so, and ends when it is told to."""

    PROGRAM = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(flush=True); input()"

    def __init__(self, listener: socket.socket) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, listener.getsockname()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()
        self.connection, _ = listener.accept()

    def end(self) -> None:
        self.process.communicate(b"\n", timeout=30)


@needs_pidfd
def test_the_pidfd_is_of_the_process_that_connected(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        child = Child(listener)
        with child.connection:
            caller = Caller.from_socket(child.connection)
            assert caller.pid == child.process.pid
            with caller.pidfd() as pidfd:
                assert pidfd is not None
                assert f"Pid:\t{child.process.pid}\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text()
                assert not os.get_inheritable(pidfd)
                child.end()
                assert select.select([pidfd], [], [], 10) == ([pidfd], [], [])
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(pidfd)


@needs_pidfd
def test_a_pid_that_is_used_again_gives_no_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel cannot be made to use a pid again at will; what the reused one would give is put in its place."""
    monkeypatch.setattr(peer, "units_of_pid", lambda _: Units("romd.service"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        child = Child(listener)
        with child.connection:
            assert Caller.from_socket(child.connection).system_unit == "romd.service"
            late = Caller.from_socket(child.connection)
            child.end()
            assert late.system_unit is None


@needs_pidfd
def test_after_the_connection_the_unit_is_for_logs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "units_of_pid", lambda _: Units("romd.service"))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        early, late = Caller.from_socket(ours), Caller.from_socket(ours)
        assert early.system_unit == "romd.service"
    assert (early.system_unit, early.unit) == ("romd.service", "romd.service")
    assert (late.system_unit, late.unit) == (None, "romd.service")
    assert late.label is None
    with late.pidfd() as pidfd:
        assert pidfd is None


def test_before_linux_6_5_the_unit_is_that_of_the_pid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "units_of_pid", lambda _: Units("romd.service"))
    monkeypatch.setattr(peer, "open_pidfd", lambda _: None)
    monkeypatch.setattr(peer, "kernel_has_peer_pidfd", lambda: False)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert Caller.from_socket(ours).system_unit == "romd.service"


@needs_pidfd
def test_without_descriptors_a_unit_is_not_proven_and_nothing_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer depends on the log line about it; and what was not found out must not count as found."""
    monkeypatch.setattr(peer, "units_of_pid", lambda _: Units("romd.service"))
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        poor = Caller.from_socket(ours)
        peer_socket._probe_peer_pidfd.cache_clear()
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, usual[1]))
        try:
            assert (poor.system_unit, poor.unit) == (None, "romd.service")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, usual)
        assert kernel_has_peer_pidfd()
        assert Caller.from_socket(ours).system_unit == "romd.service"


def test_the_label_is_what_the_kernel_says() -> None:
    """On most hosts of developers there is no security module; then there is no label, and no error."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            said = ours.getsockopt(socket.SOL_SOCKET, socket.SO_PEERSEC, 1024).rstrip(b"\0").decode()
        except OSError:
            said = None
        caller = Caller.from_socket(ours)
        assert caller.label == said
    assert caller.label == said
