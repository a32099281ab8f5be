"""superd as a process: what it does with signals, its arguments, systemd's variables, and its exit status."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals
from typing import Any

import pytest

from superd_client.builtin import Status, discover, status
from superd_client.wire.envelope import Result
from tests.daemon.process import PROGRAMS, Superd, clean_environment, superd
from tests.daemon.raw import GOAWAY, PATIENCE, RawClient, RawPacketClient, echo, frame, request

SAMPLE = "--service=tests.daemon.sample:"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture(params=sorted(PROGRAMS))
def program(request: pytest.FixtureRequest) -> list[str]:
    """superd on each of the event loops."""
    return PROGRAMS[request.param]


# --- stop ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
def test_a_stop_answers_what_was_sent_before(path: Path, program: list[str], number: Signals) -> None:
    with superd(SAMPLE + "probe", path=path, program=program) as daemon, daemon.client() as client:
        client.send(request("probe.wait"), *(echo(str(each), each) for each in range(2, 100)))
        assert {client.receive()["id"] for _ in range(98)} == set(range(2, 100))
        # The beginning of a frame: the daemon's shutdown cuts it, which is no fault of ours.
        client.send_raw(frame(echo("hello", "cut"))[:20])
        client.send_raw(
            frame(echo("hello", "cut"))[20:] + frame(request("probe.go", None, "go")) + frame(echo())[:9]
        )
        daemon.send_signal(number)
        # What was sent before the signal may be answered before the daemon says that it stops.
        messages = [client.receive() for _ in range(4)]
        messages.remove(GOAWAY)
        replies = {reply["id"]: reply["result"] for reply in messages}
        assert replies == {1: "gone", "go": "", "cut": {"text": "hello"}}
        assert client.receive() is None
        with pytest.raises(BrokenPipeError):
            client.send(echo())
        assert daemon.ended() == 0
        log = daemon.wait_for("stopped")
        assert "framing lost" not in log
        assert log.index("lifespan left") < log.index("stopped")
        assert not path.exists()


def test_a_call_that_never_ends_is_cancelled(path: Path, program: list[str]) -> None:
    environment = {"SUPERD_DRAIN_TIMEOUT": "0.2"}
    with (
        superd(SAMPLE + "probe", path=path, program=program, environment=environment) as daemon,
        daemon.client() as client,
    ):
        client.send(request("probe.hang", None, 1, meta={"call_id": "endless"}))
        daemon.wait_for("hanging")
        begin = time.monotonic()
        daemon.send_signal(SIGTERM)
        assert client.receive() == GOAWAY
        error = client.receive()["error"]
        assert (error["code"], error["data"]) == (-32004, {"call_id": "endless"})
        assert client.receive() is None
        assert daemon.ended() == 0
        assert time.monotonic() - begin >= 0.2
        assert "calls still ran when the drain timeout ended" in daemon.log
        assert "drain_timeout=0.2" in daemon.log
        assert "lifespan left" in daemon.log


@pytest.mark.parametrize("method", ["probe.block", "probe.stubborn"])
@pytest.mark.parametrize("caller_stays", [True, False])
def test_what_cannot_be_ended_does_not_keep_the_process(path: Path, method: str, caller_stays: bool) -> None:
    """A thread cannot be cancelled, and a coroutine may ignore it; whether their caller is still there or not."""
    environment = {"SUPERD_DRAIN_TIMEOUT": "0.2"}
    with superd(SAMPLE + "probe", path=path, environment=environment) as daemon:
        with daemon.client() as client:
            client.send(request(method))
            daemon.wait_for("hanging")
            if not caller_stays:
                client.vanish()
                if method == "probe.block":
                    daemon.wait_for("peer vanished, call cancelled")
            daemon.send_signal(SIGTERM)
            if caller_stays:
                assert client.receive() == GOAWAY
                assert client.receive()["error"]["code"] == -32004
                assert client.receive() is None
            assert daemon.ended() == 0
        log = daemon.wait_for("stopped")
        assert "calls still ran when the drain timeout ended" in log
        assert not path.exists()


def test_a_stop_during_the_start(path: Path, program: list[str]) -> None:
    """A lifespan that waits for something is not waited for; those before it are left as they were entered."""
    with starting(path, SAMPLE + "probe", SAMPLE + "slow", program=program) as daemon:
        daemon.wait_for("waiting for ever")
        assert daemon.stop() == 0
        log = daemon.wait_for("stopped")
        assert "lifespan left" in log
        assert "Traceback" not in log
        assert "started" not in log
        assert not path.exists()


def test_a_second_signal_changes_nothing(path: Path) -> None:
    with superd(SAMPLE + "probe", path=path) as daemon, daemon.client() as client:
        client.send(request("probe.wait"))
        daemon.wait_for("waiting")
        client.send(request("probe.hang", None, 2))
        daemon.wait_for("hanging")
        with daemon.client() as other:
            daemon.send_signal(SIGTERM)
            daemon.wait_for("stopping")
            daemon.send_signal(SIGINT)
            assert other.receive() == GOAWAY
            assert other.receive() is None
        assert daemon.process.poll() is None


@contextlib.contextmanager
def starting(
    path: Path, *arguments: str, program: list[str] = PROGRAMS["uvloop"], **environment: str
) -> Iterator[Superd]:
    """A superd that may not come to its end of the start."""
    daemon = Superd(f"--listen=unix:{path}", *arguments, path=path, program=program, environment=environment)
    try:
        yield daemon
    finally:
        daemon.kill()


# --- lifespans -------------------------------------------------------------------------------------------------


def test_lifespans_are_entered_in_order_and_left_in_reverse(path: Path) -> None:
    with superd(SAMPLE + "probe", SAMPLE + "other", path=path) as daemon, daemon.client() as client:
        assert client.ask(request("probe.state"))["result"] == "the state"
        assert daemon.stop() == 0
        assert daemon.log.count("lifespan entered") == daemon.log.count("lifespan left") == 2


@pytest.mark.parametrize("before", ["probe", "calm"])
def test_a_lifespan_that_fails_at_the_start(path: Path, before: str) -> None:
    with starting(path, SAMPLE + before, SAMPLE + "broken") as daemon:
        assert daemon.ended() == 1
        assert "cannot start: the service broken cannot start: FileNotFoundError: " in daemon.log
        assert (
            daemon.log.count("lifespan entered") == daemon.log.count("lifespan left") == (before == "probe")
        )
        assert not path.exists()


def test_a_lifespan_that_fails_at_the_stop(path: Path) -> None:
    with superd(SAMPLE + "probe", SAMPLE + "leaky", path=path) as daemon:
        assert daemon.stop() == 1
        assert "stopped by an error" in daemon.log
        assert "OSError: the disk is full" in daemon.log
        assert "lifespan left" in daemon.log
        assert not path.exists()


# --- the command line ------------------------------------------------------------------------------------------


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*PROGRAMS["uvloop"], *arguments],
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, "superd 0.1.0\n", "")


def test_the_help_states_the_exit_statuses() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "78 wrong configuration" in " ".join(done.stdout.split())


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--listen"], ["extra"], ["--instance"]])
def test_a_wrong_command_line(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: superd" in done.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "the name of an instance is not empty"),
        ("Inventory", "'Inventory' is no name of an instance"),
        ("superd", "no instance is called superd"),
    ],
)
def test_what_is_no_instance(name: str, text: str) -> None:
    done = run(f"--instance={name}")
    assert done.returncode == 2
    assert text in done.stderr


def test_an_instance_reads_its_own_files(tmp_path: Path) -> None:
    folder = tmp_path / "superd/instances"
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    done = run("--check", "--user", "--instance=a", **environment)
    assert (done.returncode, done.stderr) == (78, f"{folder}/a.toml: no such file\n")
    (folder / "a.policy.d").mkdir(parents=True, mode=0o755)
    (folder / "a.toml").write_text('services = ["tests.daemon.sample:probe"]\n', "utf-8")
    assert run("--check", "--user", "--instance=a", **environment).returncode == 0
    (folder / "a.policy.d/50.toml").write_text("[[nonsense]]\n", "utf-8")
    done = run("--check", "--user", "--instance=a", **environment)
    assert done.returncode == 78
    assert f"{folder}/a.policy.d/50.toml:1: " in done.stderr


def test_check_takes_what_is_right(tmp_path: Path) -> None:
    config = tmp_path / "superd.toml"
    config.write_text('services = ["tests.daemon.sample:probe"]\n', "utf-8")
    done = run("--check", f"--config={config}", "--listen=unix:/nowhere/at/all", SAMPLE + "other")
    assert (done.returncode, done.stdout, done.stderr) == (0, "the configuration is valid\n", "")


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("--listen=/run/s", "'/run/s' is not an address"),
        ("--service=no.such.module:x", "no.such.module:x cannot be loaded: ModuleNotFoundError"),
        (SAMPLE + "nobody", "tests.daemon.sample:nobody cannot be loaded: AttributeError"),
        (SAMPLE + "text", "tests.daemon.sample:text is a str, not a superd.service.Service"),
        (SAMPLE + "reserved", "the service name 'superd' is reserved"),
        (SAMPLE + "echo", "two services are called echo"),
        ("--service=nonsense", "nonsense is neither MODULE:NAME nor an entry point in superd.services"),
        ("--service=tests.daemon.sample:", "tests.daemon.sample: cannot be loaded"),
    ],
)
def test_check_and_a_start_refuse_what_is_wrong(path: Path, argument: str, text: str) -> None:
    done = run("--check", argument)
    assert (done.returncode, done.stdout) == (78, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    done = run(f"--listen=unix:{path}", argument)
    assert done.returncode == 78
    assert text in done.stderr
    assert "cannot start" in done.stderr
    assert ("Traceback" in done.stderr) == ("cannot be loaded" in text), "an author wants to see where"
    assert not path.exists()


def test_a_wrong_configuration_names_file_and_key(tmp_path: Path) -> None:
    config = tmp_path / "superd.toml"
    config.write_text('drain_timeout = "soon"\nlisen = []\n', "utf-8")
    checked = run("--check", f"--config={config}", SUPERD_CONNECTIONS="none")
    assert checked.returncode == 78
    for part in (
        f"{config}: drain_timeout: ",
        f"{config}: lisen: unknown key; did you mean listen?",
        "environment: connections",
    ):
        assert part in checked.stderr
    started = run(f"--config={config}")
    assert started.returncode == 78
    assert started.stderr.count("the configuration is wrong") == 2
    assert f"the configuration is wrong: {config}: drain_timeout: " in started.stderr


def test_a_wrong_policy_names_file_line_and_key(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "policy.d"
    folder.mkdir(mode=0o755)
    file = folder / "50.toml"
    file.write_text('[[deny]]\nmethods = ["a"]\n\n[[alow]]\n', "utf-8")
    file.chmod(0o644)
    checked = run("--check", SUPERD_POLICY_DIR=str(folder))
    assert (checked.returncode, checked.stdout) == (78, "")
    assert f"{file}:2: deny.0.methods.0: can match no method" in checked.stderr
    assert f"{file}:4: alow: unknown key; did you mean allow?" in checked.stderr
    started = run(f"--listen=unix:{path}", SUPERD_POLICY_DIR=str(folder))
    assert started.returncode == 78
    assert started.stderr.count("the policy is wrong: ") == 3, "each fault, and why it cannot start"
    assert f"the policy is wrong: {file}:4: alow: unknown key" in started.stderr
    assert "Traceback" not in started.stderr
    assert not path.exists()


def test_a_doubtful_policy_is_in_force(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "policy.d"
    folder.mkdir(mode=0o755)
    file = folder / "50.toml"
    file.write_text('[[deny]]\nmethods = ["echo.*"]\nusers = ["no-such-user"]\n', "utf-8")
    file.chmod(0o644)
    warning = f"{file}:3: deny.0.users.0: there is no user 'no-such-user'"
    checked = run("--check", SUPERD_POLICY_DIR=str(folder))
    assert (checked.returncode, checked.stdout) == (0, "the configuration is valid\n")
    assert checked.stderr.startswith(f"warning: {warning}")
    with superd(path=path, environment={"SUPERD_POLICY_DIR": str(folder)}) as daemon:
        assert f"the policy is doubtful: {warning}" in daemon.log
        assert daemon.stop() == 0


def test_nothing_to_listen_on() -> None:
    done = run()
    assert done.returncode == 78
    assert "nothing to listen on" in done.stderr


def test_a_path_where_nobody_can_listen(tmp_path: Path) -> None:
    done = run(f"--listen=unix:{tmp_path / 'first'}", "--listen=unix:/nowhere/s")
    assert done.returncode == 1
    assert "cannot listen on unix:/nowhere/s: No such file or directory" in done.stderr
    assert not (tmp_path / "first").exists()


def test_the_mode_of_the_socket(path: Path) -> None:
    with superd(path=path, environment={"SUPERD_SOCKET_MODE": "0666"}) as daemon:
        assert path.stat().st_mode & 0o777 == 0o666
        assert daemon.stop() == 0
    with superd(path=path) as daemon:
        assert path.stat().st_mode & 0o777 == 0o600
        assert daemon.stop() == 0


# --- what it tells systemd -------------------------------------------------------------------------------------


class Manager:
    """The end of NOTIFY_SOCKET that systemd holds."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.address)
        self.sock.settimeout(PATIENCE)

    def receive(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.sock.recv(4096).decode().splitlines())

    def until(self, name: str, value: str) -> dict[str, str]:
        while (message := self.receive()).get(name) != value:
            pass
        return message


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.sock.close()


def test_systemd_is_told(path: Path, program: list[str], manager: Manager) -> None:
    environment = {"NOTIFY_SOCKET": manager.address}
    with superd(path=path, program=program, environment=environment) as daemon:
        none = "0 in flight, 0 served, 0 failed, 0 refused"
        assert manager.receive() == {"READY": "1", "STATUS": f"0 connections; calls: {none}"}
        with daemon.client() as client:
            client.ask(echo())
            client.ask(b"x")
            assert manager.receive() == {
                "STATUS": "1 connections; calls: 0 in flight, 1 served, 0 failed, 1 refused"
            }
        daemon.send_signal(SIGTERM)
        assert manager.until("STOPPING", "1")["STATUS"] == "draining"
        assert daemon.ended() == 0
        manager.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.receive()


def test_the_watchdog_is_fed(path: Path, program: list[str], manager: Manager) -> None:
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "100000"}
    with superd(path=path, program=program, environment=environment) as daemon:
        for _ in range(4):
            manager.until("WATCHDOG", "1")
        with daemon.client() as client:
            seen = client.ask(request("superd.status"))["result"]
            assert 0 <= seen["loop_lag_usec"] <= seen["loop_lag_max_usec"]
        assert daemon.stop() == 0


def test_a_watchdog_that_cannot_be_read(path: Path) -> None:
    done = run(f"--listen=unix:{path}", WATCHDOG_USEC="often")
    assert done.returncode == 1
    assert "WATCHDOG_USEC is not a positive number" in done.stderr


def test_a_start_that_fails_never_says_ready(path: Path, manager: Manager) -> None:
    with starting(path, SAMPLE + "broken", NOTIFY_SOCKET=manager.address) as daemon:
        assert daemon.ended() == 1
    manager.sock.setblocking(False)
    assert manager.receive()["STATUS"].startswith("cannot start: ")
    with pytest.raises(BlockingIOError):
        manager.receive()


#: Shows, from inside, that without systemd nothing is sent and no timer runs, but for the one that loads the last module.
NO_SYSTEMD = """
import asyncio, importlib, socket, sys
from superd.__main__ import main

def refuse(loop, when, callback, *args, **kwargs):
    if callback is not importlib.import_module:
        print("a timer was set", file=sys.stderr, flush=True)

sys.modules["uvloop"] = None
asyncio.BaseEventLoop.call_later = asyncio.BaseEventLoop.call_at = refuse
socket.socket.sendto = lambda *args: print("something was sent", file=sys.stderr, flush=True)
sys.exit(main())
"""


def test_without_systemd_nothing_is_sent_and_no_timer_runs(path: Path) -> None:
    with superd(path=path, program=[sys.executable, "-c", NO_SYSTEMD]) as daemon, daemon.client() as client:
        assert client.ask(echo())["id"] == 1
        assert client.ask(b"x")["error"]["code"] == -32700
        assert "timer" not in daemon.log
        assert "sent" not in daemon.log


# --- what it says of itself ------------------------------------------------------------------------------------


def ask(client: RawClient, method: Any) -> Any:
    """The result, read as a client reads it."""
    client.send(request(method.name))
    header = client.sock.recv(4, socket.MSG_WAITALL)
    reply = method.decode_reply(client.sock.recv(int.from_bytes(header), socket.MSG_WAITALL))
    assert isinstance(reply, Result)
    return reply.value


def test_the_status(path: Path, program: list[str]) -> None:
    with (
        superd(SAMPLE + "probe", path=path, program=program, environment={"INVOCATION_ID": "abc"}) as daemon,
        daemon.client() as client,
    ):
        client.ask(echo())
        client.ask(request("probe.fail"))
        client.ask(b"x")
        client.send(echo("x", None))
        seen = ask(client, status)
        assert isinstance(seen, Status)
        assert (seen.version, seen.pid, seen.invocation_id) == ("0.1.0", daemon.process.pid, "abc")
        assert (seen.connections, seen.connections_accepted, seen.connections_refused) == (1, 1, 0)
        assert (seen.calls_served, seen.calls_failed, seen.calls_refused) == (2, 1, 1)
        assert (seen.calls_in_flight, seen.notifications, seen.loop_lag_usec) == (1, 1, None)
        assert [(each.address, each.name, each.activated) for each in seen.listeners] == [
            (f"unix:{path}", None, False)
        ]
        services = {each.name: (each.version, each.methods) for each in seen.services}
        assert services == {
            "echo": ("0.1.0", 1),
            "superd": ("0.1.0", 6),
            "rpc": ("0.1.0", 2),
            "probe": ("2.1", 12),
        }
        assert seen.uptime_usec > 0
        assert (seen.systemd_version is None) == (not Path("/run/systemd/system").is_dir())
        assert daemon.stop() == 0


def test_the_document(path: Path) -> None:
    with superd(SAMPLE + "probe", path=path) as daemon, daemon.client() as client:
        document = ask(client, discover)
        assert document["openrpc"].startswith("1.")
        names = {each["name"] for each in document["methods"]}
        assert {"echo.echo", "superd.status", "rpc.discover", "probe.add", "probe.fail"} <= names
        assert ask(client, discover) == document
        assert daemon.stop() == 0


def test_an_exception_that_cannot_be_shown_is_an_answer_all_the_same(path: Path, program: list[str]) -> None:
    with superd(SAMPLE + "odd", path=path, program=program) as daemon, daemon.client() as client:
        error = client.ask(request("odd.run"))["error"]
        assert (error["code"], error["message"]) == (-32603, "internal error")
        assert client.ask(echo())["result"] == {"text": "hello"}
        assert daemon.stop() == 0


def test_built_in_services_may_be_left_out(path: Path) -> None:
    with (
        superd(path=path, environment={"SUPERD_BUILTIN_SERVICES": "status"}) as daemon,
        daemon.client() as client,
    ):
        assert client.ask(request("rpc.discover"))["error"]["code"] == -32601
        assert client.ask(request("rpc.hello"))["result"]["protocol"] == {"min": 1, "max": 1}
        assert {each.name: each.methods for each in ask(client, status).services} == {"superd": 6, "rpc": 1}
        assert daemon.stop() == 0


# --- activation ------------------------------------------------------------------------------------------------

ACTIVATE = shutil.which("systemd-socket-activate")


@pytest.mark.skipif(ACTIVATE is None, reason="systemd-socket-activate is not installed")
def test_the_first_connection_starts_it(path: Path, program: list[str]) -> None:
    assert ACTIVATE is not None
    # systemd-socket-activate keeps of the environment only what it is told to.
    kept = [
        f"--setenv={name}" for name in clean_environment() if name.startswith(("PYTHON", "COV", "COVERAGE"))
    ]
    command = [ACTIVATE, f"--listen={path}", "--fdname=superd.socket", *kept, *program]
    daemon = Superd(path=path, program=command)
    try:
        daemon.wait_for("Listening on")
        assert "started" not in daemon.log
        with daemon.client() as client:
            assert client.ask(echo())["result"] == {"text": "hello"}
            (listener,) = ask(client, status).listeners
            assert (listener.address, listener.name, listener.activated) == (
                f"unix:{path}",
                "superd.socket",
                True,
            )
        daemon.started()
        assert daemon.stop() == 0
        # The path belongs to the one that made it.
        assert path.exists()
    finally:
        daemon.kill()


#: Becomes superd, with the socket as the first of LISTEN_FDS.
ACTIVATED = """
import os, sys
os.dup2(int(os.environ.pop("TEST_FD")), 3, inheritable=True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "superd.socket"}
from superd.__main__ import main
sys.exit(main())
"""


def activated(listener: socket.socket, path: Path) -> Superd:
    fd = listener.fileno()
    return Superd(
        path=path,
        program=[sys.executable, "-c", ACTIVATED],
        environment={"TEST_FD": str(fd)},
        pass_fds=[fd],
    )


def test_systemd_passes_a_socket_for_packets(path: Path) -> None:
    """With PassCredentials=, which connections would inherit."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        listener.bind(str(path))
        listener.listen()
        daemon = activated(listener, path)
        try:
            daemon.started()
            with RawPacketClient(str(path)) as client:
                client.send_raw(b"")
                assert client.receive()["error"]["code"] == -32700
                (shown,) = client.ask(request("superd.status"))["result"]["listeners"]
                assert shown == {
                    "address": f"unix-seqpacket:{path}",
                    "name": "superd.socket",
                    "activated": True,
                }
                client.half_close()
                assert client.receive() is None
            assert daemon.stop() == 0
            assert path.exists()
        finally:
            daemon.kill()


def test_a_restart_under_load_refuses_no_connection(path: Path) -> None:
    """The test holds the listening socket, as systemd does, and passes it to one superd after another."""
    stop, answered, faults = threading.Event(), [0] * 3, list[BaseException]()

    def load(number: int) -> None:
        try:
            while not stop.is_set():
                with RawClient(str(path)) as client:
                    reply = client.ask(echo())
                    # The first word may be that of the daemon that stops.
                    reply = client.receive() if reply == GOAWAY else reply
                    assert reply["result"] == {"text": "hello"}
                    answered[number] += 1
        except BaseException as error:  # noqa: BLE001 - told to the test
            faults.append(error)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        threads = [threading.Thread(target=load, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        try:
            for last in (False, False, True):
                before = sum(answered)
                daemon = activated(listener, path)
                try:
                    daemon.started()
                    deadline = time.monotonic() + PATIENCE
                    while sum(answered) < before + 100 and not faults and time.monotonic() < deadline:
                        os.sched_yield()
                    if last:
                        stop.set()
                        for thread in threads:
                            thread.join(PATIENCE)
                    assert daemon.stop() == 0
                finally:
                    daemon.kill()
        finally:
            stop.set()
            listener.close()
            for thread in threads:
                thread.join(PATIENCE)
    assert faults == []
    assert sum(answered) >= 300
