"""Whether a connection's server is of the unit that it shall be of: plain processes, in control groups of our own."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import pytest

from superd_client import CallTimeout, ConnectFailed, NotSent, Outcome, WrongServer
from superd_client.address import parse_address
from superd_client.calls import ATTEMPTS
from superd_client.sockets import connect
from superd_client.units import units_of_pid
from superd_client.witness import PROOF_ROUNDS, UnitProof, Unproved, WitnessSocket
from tests.client.server import PATIENCE, Peer, serving
from tests.contract.drivers import DRIVERS, Driver

PROGRAM: Final = Path(__file__).with_name("unit_server.py")
NOBODY: Final = 65534

#: Where a control group may be made whose name systemd's tree would have.
TREES: Final = ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")

KINDS: Final = {"unix": socket.SOCK_STREAM, "unix-seqpacket": socket.SOCK_SEQPACKET}


@pytest.fixture(params=sorted(DRIVERS))
def driver(request: pytest.FixtureRequest) -> type[Driver]:
    return DRIVERS[request.param]


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """The control group of a unit good.service that nobody but these tests knows."""
    for tree in map(Path, TREES):
        if not (tree / "cgroup.procs").exists():
            continue
        group = tree / f"superd-test-{os.getpid()}.slice" / "good.service"
        try:
            group.mkdir(parents=True)
        except OSError:
            continue
        try:
            yield group
        finally:
            group.rmdir()
            group.parent.rmdir()
        return
    pytest.skip("no control group can be made here: not root, or /sys/fs/cgroup is read-only")


class UnitServer:
    """The program, and what it says."""

    def __init__(self, address: str, program: "subprocess.Popen[str]") -> None:
        self.address: Final = address
        self._program: Final = program

    def end(self) -> list[str]:
        """End it and all that it started; the methods that it read."""
        os.killpg(self._program.pid, signal.SIGKILL)
        said, _ = self._program.communicate(timeout=PATIENCE)
        return said.split()


Begin = Callable[..., AbstractContextManager[UnitServer]]


@pytest.fixture
def begin(tmp_path: Path, cgroup: Path) -> Begin:
    @contextmanager
    def begin(
        how: str = "honest", *, unit: bool = True, uid: int = 0, scheme: str = "unix"
    ) -> Iterator[UnitServer]:
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX, KINDS[scheme]) as listener:
            listener.bind(str(path))
            listener.listen()
            fd = listener.fileno()
            command = [
                sys.executable,
                "-I",
                str(PROGRAM),
                str(fd),
                str(cgroup) if unit else "",
                how,
                str(uid),
            ]
            program = subprocess.Popen(
                command, stdout=subprocess.PIPE, text=True, pass_fds=[fd], start_new_session=True
            )
        server = UnitServer(f"{scheme}:{path}", program)
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            yield server
        finally:
            if program.poll() is None:
                server.end()
            wait_until_empty(cgroup)

    return begin


def wait_until_empty(group: Path) -> None:
    """The processes of a killed group leave it a moment later."""
    while (group / "cgroup.procs").read_text():
        os.sched_yield()


# --- who is believed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", sorted(KINDS))
def test_a_server_of_the_unit_gets_calls_and_is_asked_once_for_each_connection(
    begin: Begin, driver: type[Driver], scheme: str
) -> None:
    with begin(scheme=scheme) as server:
        for _ in range(2):
            with driver(server.address, expect_unit="good.service") as client:
                assert client.call("a.b", {"n": 1}) == {"n": 1}
                assert client.call("a.b", {"n": 2}) == {"n": 2}
        assert server.end() == ["rpc.hello", "rpc.hello", "a.b", "a.b"] * 2


def test_a_unit_that_serves_a_socket_of_root_is_believed(begin: Begin, driver: type[Driver]) -> None:
    """As after socket activation: PID 1 listens, the unit's own user answers."""
    with begin(uid=NOBODY) as server, driver(server.address, expect_unit="good.service") as client:
        assert client.call("a.b", {}) == {}


def test_a_refusal_to_answer_is_an_answer(begin: Begin, driver: type[Driver]) -> None:
    with begin("refuse") as server, driver(server.address, expect_unit="good.service") as client:
        assert client.call("a.b", {}) == {}


def test_a_restart_between_the_answers_takes_another_question(begin: Begin, driver: type[Driver]) -> None:
    with begin("restart") as server:
        with driver(server.address, expect_unit="good.service") as client:
            assert client.call("a.b", {}) == {}
        assert server.end() == ["rpc.hello"] * 3 + ["a.b"]


# --- who is not -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uses", ["call", "notify", "stream", "upload"])
def test_a_server_that_only_says_that_it_is_the_unit_gets_no_call(
    begin: Begin, driver: type[Driver], uses: str
) -> None:
    with begin(unit=False) as server:
        with driver(server.address, expect_unit="good.service") as client:
            for _ in range(2):
                with pytest.raises(WrongServer, match=r"good\.service is asked for") as caught:
                    use(client, uses)
                assert isinstance(caught.value, NotSent)
                assert caught.value.outcome is Outcome.NOT_SENT
                assert caught.value.method == "a.b"
        assert set(server.end()) == {"rpc.hello"}


def use(client: Driver, how: str) -> None:
    if how == "stream":
        client.collect([], "a.b")
    elif how == "upload":
        client.upload("a.b", None, [1])
    else:
        getattr(client, how)("a.b", {})


def test_a_server_of_another_unit_gets_no_call(begin: Begin, driver: type[Driver]) -> None:
    with begin() as server:
        with (
            driver(server.address, expect_unit="better.service") as client,
            pytest.raises(
                WrongServer, match=r"the server is of good.service, and better.service is asked for"
            ),
        ):
            client.call("a.b", {})
        assert server.end() == ["rpc.hello"]


def test_answers_that_each_come_from_another_process_prove_nothing(
    begin: Begin, driver: type[Driver]
) -> None:
    with begin("restless") as server:
        with (
            driver(server.address, expect_unit="good.service") as client,
            pytest.raises(WrongServer, match=r"another one each time|no unit of the server's process"),
        ):
            client.call("a.b", {})
        assert server.end() == ["rpc.hello"] * PROOF_ROUNDS


def test_a_stranger_who_has_the_unit_answer_is_found_out(begin: Begin, driver: type[Driver]) -> None:
    """He listens, and passes our connection to a process of the unit: its words are not the unit's."""
    with begin("relay") as server:
        with (
            driver(server.address, expect_unit="good.service") as client,
            pytest.raises(WrongServer, match=rf"made by uid {NOBODY}"),
        ):
            client.call("a.b", {})
        assert server.end() == ["rpc.hello"]


# --- what goes wrong meanwhile ----------------------------------------------------------------------------------


def test_a_server_that_does_not_answer_in_time(driver: type[Driver]) -> None:
    with serving(Peer.await_end) as server, driver(server.address, expect_unit="good.service") as client:
        with pytest.raises(CallTimeout, match=r"the server's unit not proved within 0.1 s") as caught:
            client.call("a.b", {}, timeout=0.1)
        assert caught.value.outcome is Outcome.NOT_SENT


def test_a_server_that_hangs_up(driver: type[Driver]) -> None:
    with serving(Peer.expect) as server, driver(server.address, expect_unit="good.service") as client:
        with pytest.raises(ConnectFailed, match="the server hangs up before its unit is proved"):
            client.call("a.b", {})
        assert server.connections == ATTEMPTS


def test_a_server_that_refuses_the_connection_says_why(driver: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        peer.expect()
        error = {"code": -32002, "message": "too many connections", "data": {}}
        peer.send_message({"jsonrpc": "2.0", "id": None, "error": error})

    with (
        serving(script) as server,
        driver(server.address, expect_unit="good.service") as client,
        pytest.raises(ConnectFailed, match=r"too many connections.*, before the server's unit was proved"),
    ):
        client.call("a.b", {})


def test_no_call_of_another_thread_is_first(begin: Begin) -> None:
    from superd_client import Client

    with begin(unit=False) as server:
        with Client(server.address, expect_unit="good.service") as client:
            ends: list[BaseException] = []

            def call() -> None:
                try:
                    client.call("a.b", {})
                except WrongServer as error:
                    ends.append(error)

            threads = [threading.Thread(target=call) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
            assert len(ends) == 8
        assert set(server.end()) == {"rpc.hello"}


# --- the proof itself -------------------------------------------------------------------------------------------


@contextmanager
def questioned(unit: str) -> Iterator[tuple[UnitProof, WitnessSocket, socket.socket]]:
    """A proof, its socket, and a server that is this very process."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(b"\0superd-test-%d" % os.getpid())
        listener.listen()
        proof = UnitProof(unit)
        channel = connect(parse_address(f"unix:@superd-test-{os.getpid()}"), proof)
        with listener.accept()[0] as server:
            assert proof._socket is not None
            yield proof, proof._socket, server
        proof.close()
        channel.close()


@pytest.fixture
def own_unit(monkeypatch: pytest.MonkeyPatch) -> str:
    """Of this process, wherever the tests run."""
    units = units_of_pid(os.getpid())._replace(system="mine.service")
    monkeypatch.setattr("superd_client.witness.units_of_pid", lambda _: units)
    return "mine.service"


def test_a_second_answer_that_was_written_before_the_process_was_held_does_not_count(own_unit: str) -> None:
    """A stranger could have written it, and ended, and have given his pid to the unit."""
    with questioned(own_unit) as (proof, witness, server):
        server.send(b"1")
        assert witness.recvmsg(1)[0] == b"1"
        server.send(b"2")
        assert not proof.holds()
        assert witness.recvmsg(1)[0] == b"2"
        assert not proof.holds()
        server.send(b"3")
        assert witness.recvmsg(1)[0] == b"3"
        assert proof.holds()
        server.send(b"4")
        assert witness.recvmsg(1, 100)[:2] == (b"4", [])


def test_a_process_that_ended_proves_nothing(own_unit: str) -> None:
    def write_in_child() -> None:
        if (pid := os.fork()) == 0:
            server.send(b"x")
            os._exit(0)
        os.waitpid(pid, 0)

    with questioned(own_unit) as (proof, witness, server):
        for _ in range(3):
            write_in_child()
            assert witness.recvmsg(1)[0] == b"x"
            assert not proof.holds()


def test_several_writers_of_one_answer_prove_nothing(own_unit: str) -> None:
    with questioned(own_unit) as (proof, witness, server):
        server.send(b"x")
        witness.recvmsg(1)
        assert not proof.holds()
        if (pid := os.fork()) == 0:
            server.send(b"y")
            os._exit(0)
        os.waitpid(pid, 0)
        server.send(b"z")
        assert (witness.recvmsg(2)[0], witness.recvmsg(2)[0]) == (b"y", b"z")
        assert not proof.holds()


def test_descriptors_come_beside_the_credentials(own_unit: str) -> None:
    with questioned(own_unit) as (_, witness, server):
        socket.send_fds(server, [b"x"], [server.fileno()])
        data, ancillary, _, _ = witness.recvmsg(1, socket.CMSG_SPACE(4))
        assert (data, len(ancillary)) == (b"x", 1)
        os.close(int.from_bytes(ancillary[0][2], sys.byteorder))
        assert witness.writers is not None
        assert {writer.pid for writer in witness.writers} == {os.getpid()}


def test_a_process_that_cannot_be_seen_is_refused(monkeypatch: pytest.MonkeyPatch, own_unit: str) -> None:
    with questioned(own_unit) as (proof, witness, server):
        server.send(b"x")
        witness.recvmsg(1)
        assert witness.writers is not None
        witness.writers = {writer._replace(pid=0) for writer in witness.writers}
        with pytest.raises(Unproved, match="pid namespace"):
            proof.holds()


@pytest.mark.parametrize(
    ("unit", "address"),
    [
        ("", "unix:/run/s"),
        ("superd", "unix:/run/s"),
        ("superd.socket", "unix:/run/s"),
        ("../superd.service", "unix:/run/s"),
        ("x" * 248 + ".service", "unix:/run/s"),
        ("superd.service", "unix-dgram:/run/s"),
    ],
)
def test_what_no_server_can_be_proved_to_be(driver: type[Driver], unit: str, address: str) -> None:
    with pytest.raises(ValueError, match="expect_unit"):
        driver(address, expect_unit=unit)
    with driver("unix:/run/s", expect_unit="x" * 247 + ".service"):
        pass
