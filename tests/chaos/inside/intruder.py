"""Tries what an unprivileged user can try: python -m tests.chaos.inside.intruder METHODS (as JSON: their names).

Prints what it tried and how it ended, one line of JSON each: [area, what, ended]. It judges nothing.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.conformance.peer import Closed, Peer, Silence, parse

SERVER: Final = parse("unix:/run/superd/superd.sock")

#: Seconds for an answer: superd says something at once to all that is tried here.
PATIENCE: Final = 5.0

#: Folders whose sockets are tried, and what of superd's is to be read or written.
SOCKET_FOLDERS: Final = ("/run/superd", "/var/lib/superd", "/etc/superd")
READ: Final = (
    "/var/lib/superd",
    "/proc/{pid}/environ",
    "/proc/{pid}/mem",
    "/proc/{pid}/fd",
    "/proc/{pid}/maps",
)
WRITE: Final = (
    "/run/superd/x",
    "/run/superd/superd.sock.new",
    "/etc/superd/superd.d/x.toml",
    "/etc/superd/policy.d/x.toml",
    "/etc/superd/superd.toml",
    "/var/lib/superd/x",
    "/usr/lib/superd/superd/x.py",
    "/usr/lib/superd-services/x.py",
)


def tell(area: str, what: str, ended: str) -> None:
    """One line."""
    print(json.dumps([area, what, ended]), flush=True)


def attempt(action: Callable[[], object]) -> str:
    """How it ended: "done", or the name of the error."""
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "done"


def answer(peer: Peer, request_id: int) -> str:
    """What the server says to a request: "result", or the code of its failure, or that it has closed."""
    try:
        reply = peer.reply(request_id)
    except Closed:
        return "closed"
    except Silence:
        return "silence"
    return "result" if "result" in reply else str(reply["error"]["code"])


def try_methods(methods: list[str]) -> None:
    """Call every method that there is, and some that there might be."""
    for method in [*methods, "superd.reload", "superd.kick", "superd.peers", "superd.drain", "rpc.internal"]:
        with Peer(SERVER, PATIENCE) as peer:
            tell("method", method, answer(peer, peer.request(method, {})))


def try_notifications(methods: list[str]) -> None:
    """The same without an id: nobody answers, and nothing that is not allowed may happen."""
    for method in methods:
        with Peer(SERVER, PATIENCE) as peer:
            peer.notify(method, {})
            tell("notification", method, answer(peer, peer.request("echo.echo", {"text": "still there"})))


def try_sockets() -> None:
    """Connect to every socket in superd's folders, as every type; and pass for the server."""
    for folder in SOCKET_FOLDERS:
        with contextlib.suppress(OSError):
            for path in Path(folder).rglob("*"):
                if path.is_socket():
                    for name, kind in (("stream", 1), ("datagram", 2), ("seqpacket", 5)):
                        with socket.socket(socket.AF_UNIX, kind) as sock:
                            tell(
                                "socket",
                                f"{path} as {name}",
                                attempt(partial(sock.connect, str(path))),
                            )
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        name = line.split()[-1]
        if name.startswith("@") and "superd" in name:
            tell("socket", f"{name} is abstract", "done")
    with socket.socket(socket.AF_UNIX) as sock:
        tell("bind", SERVER.path, attempt(lambda: sock.bind(SERVER.path)))
    tell("unlink", SERVER.path, attempt(Path(SERVER.path).unlink))


def try_process(pid: int) -> None:
    """The daemon's process, its files and its memory."""
    for name in ("SIGTERM", "SIGKILL", "SIGSTOP", "SIGHUP"):
        tell("signal", name, attempt(partial(os.kill, pid, signal.Signals[name])))
    for path in READ:
        place = Path(path.format(pid=pid))
        tell("read", path, attempt(partial(_read, place)))
    for path in WRITE:
        tell("write", path, attempt(partial(os.open, path, os.O_WRONLY | os.O_CREAT)))
    tell("prlimit", "the daemon", attempt(lambda: _prlimit(pid)))


def _read(path: Path) -> object:
    return list(path.iterdir()) if path.is_dir() else path.read_bytes()


def _prlimit(pid: int) -> None:
    import resource

    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, 3))


def try_notify_socket() -> None:
    """Speak to systemd for superd: it asks the kernel who says so."""
    for text in ("STOPPING=1", "WATCHDOG=trigger", "MAINPID=1", "FDSTOREREMOVE=1\nFDNAME=superd-connections"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            tell("notify", text, attempt(partial(sock.sendto, text.encode(), "/run/systemd/notify")))


def try_forged_credentials() -> None:
    """Pass for root by SCM_CREDENTIALS: the kernel refuses, and superd does not look at them on a connection."""
    with Peer(SERVER, PATIENCE) as peer:
        root = [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("=iII", 1, 0, 0))]
        tell("forge", "uid 0", attempt(lambda: peer.socket.sendmsg([b"\0"], root)))
    with Peer(SERVER, PATIENCE) as peer:
        own = [
            (
                socket.SOL_SOCKET,
                socket.SCM_CREDENTIALS,
                struct.pack("=iII", os.getpid(), os.getuid(), os.getgid()),
            )
        ]
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "superd.stop", "params": {}}).encode()
        peer.socket.sendmsg([len(body).to_bytes(4, "big") + body], own)
        tell("forge", "own credentials with superd.stop", answer(peer, 1))


def descriptors() -> Iterator[tuple[str, list[int]]]:
    """Descriptors of all kinds that a user can have, by name; the receiver of each must do nothing but close it."""
    reading, writing = os.pipe()
    ours, theirs = socket.socketpair()
    cycle_a, cycle_b = socket.socketpair()
    with contextlib.suppress(OSError):
        socket.send_fds(cycle_a, [b"x"], [cycle_b.fileno()])
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("")
    listener.listen()
    itself = socket.socket(socket.AF_UNIX)
    itself.connect(SERVER.path)
    unsealed = os.memfd_create("unsealed")
    os.write(unsealed, b"x" * 100_000)
    sealed = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
    os.ftruncate(sealed, 1 << 40)  # sparse
    fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, 0xF)
    yield "pipe", [reading, writing]
    yield "socket of nobody", [ours.fileno(), theirs.fileno()]
    yield "socket in a cycle of descriptors", [cycle_a.fileno()]
    yield "listening socket", [listener.fileno()]
    yield "connection to superd itself", [itself.fileno()]
    poll = select.epoll()
    yield "epoll", [poll.fileno()]
    yield "eventfd", [os.eventfd(0)]
    yield "pidfd", [os.pidfd_open(os.getpid())]
    yield "O_PATH", [os.open("/", os.O_PATH)]
    yield "folder", [os.open("/", os.O_RDONLY)]
    yield "memory of a process", [os.open("/proc/self/mem", os.O_RDWR)]
    yield "/dev/zero", [os.open("/dev/zero", os.O_RDONLY)]
    yield "file", [_file()]
    yield "file with a lock", [_locked()]
    yield "unsealed memfd", [unsealed]
    yield "sealed sparse memfd of 1 TiB", [sealed]
    yield "the same one 64 times", [reading] * 64


def _file() -> int:
    fd, path = tempfile.mkstemp()
    Path(path).unlink()
    return fd


def _locked() -> int:
    fd = _file()
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def try_descriptors() -> None:
    """Send each of them to a method that takes none, in a blob's place, undeclared, and with a broken frame."""
    for name, fds in descriptors():
        with Peer(SERVER, PATIENCE) as peer:
            tell(
                "descriptor", f"{name}, declared", answer(peer, peer.request("echo.echo", {"text": "x"}, fds))
            )
        with Peer(SERVER, PATIENCE) as peer:
            blob: Any = {"text": {"memfd": 0, "size": 100_000}}
            tell("descriptor", f"{name}, as a blob", answer(peer, peer.request("echo.echo", blob, fds)))
        with Peer(SERVER, PATIENCE) as peer:
            request_id = peer.request("echo.echo", {"text": "x"}, fds, fds=0)
            tell("descriptor", f"{name}, not declared", answer(peer, request_id))
        with Peer(SERVER, PATIENCE) as peer:
            peer.send_bytes(b"\0\0\1\0{", fds)  # and away, in the middle of a frame
        tell("descriptor", f"{name}, in a frame cut short", "done")


def try_own_end() -> None:
    """Send superd our end of its own connection, so that it alone keeps the connection open; and away."""
    for declared in (1, 0):
        with Peer(SERVER, PATIENCE) as peer:
            own = [peer.socket.fileno()]
            what = f"its own connection, {declared} declared"
            tell(
                "descriptor", what, answer(peer, peer.request("echo.echo", {"text": "x"}, own, fds=declared))
            )
    with Peer(SERVER, PATIENCE) as peer:
        peer.send_bytes(b"\0\0\1\0{", [peer.socket.fileno()])
    tell("descriptor", "its own connection, in a frame cut short", "done")
    with Peer(SERVER, PATIENCE) as one, Peer(SERVER, PATIENCE) as other:
        one.send_bytes(b"\0\0\1\0{", [other.socket.fileno()])
        other.send_bytes(b"\0\0\1\0{", [one.socket.fileno()])
    tell("descriptor", "each other's connections, in frames cut short", "done")


def main(methods: list[str], pid: int) -> None:
    """Everything, one after the other."""
    try_sockets()
    try_process(pid)
    try_notify_socket()
    if attempt(lambda: Peer(SERVER, PATIENCE).close()) != "done":
        return
    try_forged_credentials()
    try_methods(methods)
    try_notifications(methods)
    try_descriptors()
    try_own_end()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), int(sys.argv[2]))
