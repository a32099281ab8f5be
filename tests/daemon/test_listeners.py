"""Stand-alone sockets: whose path it is, who may connect, what is left behind."""

import fcntl
import multiprocessing
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import pytest
from typing_extensions import override

from superd.listeners import ListenError, activated_listeners, bind_listener
from superd.parts import StartError, open_listeners
from superd.sd.activation import ActivatedSocket, Passed
from superd.settings import Settings
from superd_client import binding
from superd_client.address import SocketKind, parse_address
from superd_client.instances import Instance
from tests.daemon.process import Superd
from tests.daemon.raw import PATIENCE, RawClient, echo

DATAGRAM: Final = (socket.AF_UNIX, socket.SOCK_DGRAM)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
        assert os.umask(mask) == mask, "the umask was changed"
    finally:
        os.umask(before)


@pytest.fixture(params=SocketKind, ids=lambda kind: kind.scheme)
def kind(request: pytest.FixtureRequest) -> SocketKind:
    found: SocketKind = request.param
    return found


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o777])
def test_the_mode_is_what_was_asked_for_whatever_the_umask(
    tmp_path: Path, mask: int, mode: int, kind: SocketKind
) -> None:
    path = tmp_path / "s"
    with umask(mask):
        listener = bind_listener(f"{kind.scheme}:{path}", mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    listener.close()
    assert not path.exists()


def test_the_umask_is_restored_where_bind_fails(tmp_path: Path) -> None:
    with umask(0o022), pytest.raises(ListenError, match="No such file"):
        bind_listener(f"unix:{tmp_path / 'missing' / 's'}", 0o600)


def test_the_file_has_its_mode_before_anyone_can_connect(tmp_path: Path) -> None:
    """At the moment of bind(2) the file has the mode; a later chmod(2) would be too late."""
    path, seen = tmp_path / "s", list[int]()

    class Watched(socket.socket):
        @override
        def bind(self, address: object) -> None:
            super().bind(address)  # type: ignore[arg-type]
            seen.append(stat.S_IMODE(path.stat().st_mode))

        @override
        def listen(self, backlog: int = 0, /) -> None:
            seen.append(stat.S_IMODE(path.stat().st_mode))
            super().listen(backlog)

    with pytest.MonkeyPatch.context() as patch, umask(0):
        patch.setattr(socket, "socket", Watched)
        listener = bind_listener(f"unix:{path}", 0o640)
    assert seen == [0o640, 0o640]
    listener.close()


def test_the_sockets_are_not_inherited(tmp_path: Path) -> None:
    listener = bind_listener(f"unix:{tmp_path / 's'}", 0o600)
    assert not listener.sock.get_inheritable()
    assert (listener.name, listener.activated) == (None, False)
    listener.close()


def test_a_listener_is_of_the_kind_that_its_address_says(tmp_path: Path, kind: SocketKind) -> None:
    listener = bind_listener(f"{kind.scheme}:{tmp_path / 's'}", 0o600)
    assert (listener.kind, listener.sock.type) == (kind, kind.value)
    with socket.socket(socket.AF_UNIX, kind.value) as client:
        client.connect(str(tmp_path / "s"))
        client.send(b"hello")
    if kind is SocketKind.DATAGRAM:
        data, ((_, item, credentials),), _, _ = listener.sock.recvmsg(10, socket.CMSG_SPACE(12))
        assert (data, item) == (b"hello", socket.SCM_CREDENTIALS)
        assert struct.unpack("=iII", credentials) == (os.getpid(), os.geteuid(), os.getegid())
    listener.close()


@pytest.mark.parametrize("dead_kind", SocketKind)
def test_a_stale_socket_is_replaced(tmp_path: Path, kind: SocketKind, dead_kind: SocketKind) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, dead_kind.value) as dead:
        dead.bind(str(path))
    before = path.stat().st_ctime_ns
    listener = bind_listener(f"{kind.scheme}:{path}", 0o600)
    assert path.stat().st_ctime_ns != before
    with socket.socket(socket.AF_UNIX, kind.value) as client:
        client.connect(str(path))
    listener.close()


@pytest.mark.parametrize("live_kind", SocketKind)
def test_a_live_socket_is_refused(tmp_path: Path, kind: SocketKind, live_kind: SocketKind) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, live_kind.value) as live:
        live.bind(str(path))
        if live_kind is not SocketKind.DATAGRAM:
            live.listen()
        inode = path.stat().st_ino
        with pytest.raises(ListenError, match="another process listens there"):
            bind_listener(f"{kind.scheme}:{path}", 0o600)
        assert path.stat().st_ino == inode
        if live_kind is not SocketKind.DATAGRAM:
            live.setblocking(False)
            with pytest.raises(BlockingIOError):  # nobody connected to it, to find out
                live.accept()


def test_a_datagram_socket_that_talks_to_another_peer_is_live(tmp_path: Path) -> None:
    """To ask it gives EPERM: it takes nothing from a third party."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as live, socket.socket(*DATAGRAM) as peer:
        live.bind(str(path))
        peer.bind(str(tmp_path / "peer"))
        live.connect(str(tmp_path / "peer"))
        with pytest.raises(ListenError, match="another process listens there"):
            bind_listener(f"unix-dgram:{path}", 0o600)


def test_a_live_socket_with_a_full_backlog_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen(0)
        with RawClient(str(path)), pytest.raises(ListenError, match="another process listens there"):
            bind_listener(f"unix:{path}", 0o600)


@pytest.mark.parametrize("kind", ["file", "directory", "symlink", "dangling symlink"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("precious", "utf-8")
    elif kind == "directory":
        path.mkdir()
    elif kind == "symlink":
        (tmp_path / "target").write_text("precious", "utf-8")
        path.symlink_to(tmp_path / "target")
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ListenError, match="not a socket"):
        bind_listener(f"unix:{path}", 0o600)
    assert os.path.lexists(path)


@pytest.mark.parametrize(
    "address", ["", "/run/s", "unix:", "unix:relative", "unix:@", "tcp:1", f"unix:/{'x' * 107}", "unix:/a\0b"]
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        bind_listener(address, 0o600)


def test_another_socket_that_took_the_path_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    first = bind_listener(f"unix:{path}", 0o600)
    path.unlink()
    second = bind_listener(f"unix:{path}", 0o600)
    first.close()
    assert path.exists()
    RawClient(str(path)).vanish()
    second.close()
    assert not path.exists()


def test_closed_twice_it_removes_once(tmp_path: Path) -> None:
    """An inode number is used again at once on many file systems: the second close must not take it for its own."""
    path = tmp_path / "s"
    first = bind_listener(f"unix:{path}", 0o600)
    first.close()
    second = bind_listener(f"unix:{path}", 0o600)._replace(inode=first.inode)
    first.close()
    assert path.exists()
    second.sock.close()


def test_a_folder_that_is_gone_does_not_matter(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    listener = bind_listener(f"unix:{folder / 's'}", 0o600)
    (folder / "s").unlink()
    folder.rmdir()
    listener.close()
    assert listener.sock.fileno() == -1


def test_a_lock_that_another_process_keeps_holds_up_neither_start_nor_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binding, "LOCK_PATIENCE", 0.05)
    listener = bind_listener(f"unix:{tmp_path}/s", 0o600)
    with locked(tmp_path):
        with pytest.raises(ListenError, match="another process holds the lock on its directory"):
            bind_listener(f"unix:{tmp_path}/t", 0o600)
        listener.close()
    assert listener.sock.fileno() == -1
    bind_listener(f"unix:{tmp_path}/s", 0o600).close()


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    fd = os.open(directory, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield
    os.close(fd)


def test_an_abstract_name(kind: SocketKind) -> None:
    name = f"superd-test-{os.getpid()}"
    address = f"{kind.scheme}:@{name}"
    listener = bind_listener(address, 0o600)
    assert (listener.address, listener.kind) == (address, kind)
    with socket.socket(socket.AF_UNIX, kind.value) as client:
        client.connect(f"\0{name}")
    with pytest.raises(ListenError, match="Address already in use"):
        bind_listener(address, 0o600)
    listener.close()
    with socket.socket(socket.AF_UNIX, kind.value) as client, pytest.raises(ConnectionRefusedError):
        client.connect(f"\0{name}")


def test_one_abstract_name_serves_each_kind_once() -> None:
    name = f"superd-test-{os.getpid()}"
    bound = [bind_listener(f"{kind.scheme}:@{name}", 0o600) for kind in SocketKind]
    for listener in bound:
        listener.close()


def test_what_systemd_passes_has_an_address_of_its_kind(tmp_path: Path, kind: SocketKind) -> None:
    bound = bind_listener(f"{kind.scheme}:{tmp_path / 's'}", 0o600)
    (listener,) = activated_listeners(Passed([ActivatedSocket("one", bound.sock)], {}))
    assert (listener.address, listener.name, listener.activated, listener.kind) == (
        f"{kind.scheme}:{tmp_path / 's'}",
        "one",
        True,
        kind,
    )
    assert listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED) == (kind is SocketKind.DATAGRAM)
    listener.close()
    assert (tmp_path / "s").exists()


def contend(address: str, orders: "Connection[bool, bool]") -> None:
    """At each order bind the address, say whether it worked, and give it up at the next one."""
    while orders.recv():
        try:
            listener = bind_listener(address, 0o600)
        except ListenError:
            orders.send(False)
            continue
        orders.send(True)
        orders.recv()
        listener.sock.close()
        orders.send(False)


def answer_of(contender: "Connection[bool, bool]") -> bool:
    assert contender.poll(PATIENCE)
    return contender.recv()


def test_of_those_that_start_at_once_one_wins(tmp_path: Path) -> None:
    """Beside a stale socket, which each of them would remove."""
    path, context = tmp_path / "s", multiprocessing.get_context("fork")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    pipes = [context.Pipe() for _ in range(4)]
    contenders = [context.Process(target=contend, args=(f"unix:{path}", theirs)) for _, theirs in pipes]
    for each in contenders:
        each.start()
    try:
        for _ in range(10):
            for ours, _ in pipes:
                ours.send(True)
            winners = [ours for ours, _ in pipes if answer_of(ours)]
            assert len(winners) == 1
            RawClient(str(path)).vanish()
            winners[0].send(True)
            assert not answer_of(winners[0])
        for (ours, _), each in zip(pipes, contenders, strict=True):
            ours.send(False)
            each.join(PATIENCE)
            assert each.exitcode == 0
    finally:
        for (ours, theirs), each in zip(pipes, contenders, strict=True):
            each.kill()
            each.join()
            each.close()
            ours.close()
            theirs.close()


def test_two_daemons_on_one_path(tmp_path: Path) -> None:
    path = tmp_path / "s"
    for _ in range(2):
        daemons = [Superd(f"--listen=unix:{path}", path=path) for _ in range(2)]
        try:
            loser = next(each for each in (daemons[0], daemons[1]) if "another process" in first_word(each))
            winner = daemons[1 - daemons.index(loser)].started()
            assert loser.ended() == 1
            with winner.client() as client:
                assert client.ask(echo())["id"] == 1
            assert winner.stop() == 0
            assert not path.exists()
        finally:
            for each in daemons:
                each.kill()


def first_word(daemon: Superd) -> str:
    """Its first line: whether it started."""
    return daemon.wait_for("start")


def test_the_place_of_another_instance_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "superd/instances").mkdir(parents=True)
    ours, theirs = Instance("ours", user=True), Instance("theirs", user=True)
    address = str(parse_address(str(theirs)))
    with bind_listener(address, 0o600).sock as sock:
        passed = Passed([ActivatedSocket("superd", sock)], {})
        (listener,) = open_listeners(Settings.of_instance(ours), passed)
        assert listener.address == address, "nobody has an instance of the name: any path will do"
        Path(theirs.config_path).touch()
        with pytest.raises(
            StartError, match=f"{address} is the place of superd@theirs.socket: see ListenStream="
        ):
            open_listeners(Settings.of_instance(ours), passed)
        assert open_listeners(Settings.of_instance(theirs), passed)
