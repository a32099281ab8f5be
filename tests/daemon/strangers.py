"""Peers of other users: a process takes their ids, connects, and hands its connection over."""

import os
import secrets
import socket
import subprocess
import sys
from typing import Self

import pytest
from typing_extensions import override

from superd.listeners import Listener, bind_listener
from tests.daemon.raw import PATIENCE, RawClient

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can connect as another user")

_PROGRAM = """
import os, socket, sys
fd, address, uid, gid, *groups = sys.argv[1:]
os.setgroups(list(map(int, groups)))
os.setresgid(*[int(gid)] * 3)
os.setresuid(*[int(uid)] * 3)
with socket.socket(socket.AF_UNIX) as sock, socket.socket(fileno=int(fd)) as home:
    sock.connect("\\0" + address)
    socket.send_fds(home, [b"x"], [sock.fileno()])
    home.recv(1)
"""


class Abstract:
    """An abstract name, to which any user may connect, for a running server to listen on."""

    def __init__(self) -> None:
        self.name = f"superd-test-{secrets.token_hex(6)}"

    def listeners(self, path: str) -> list[Listener]:
        return [bind_listener(f"unix:{path}", 0o600), bind_listener(f"unix:@{self.name}", 0o600)]


class Stranger(RawClient):
    """A connection to an abstract socket, made under other ids; its process lives as long."""

    def __init__(self, address: str, uid: int, gid: int, *groups: int) -> None:
        self._home, theirs = socket.socketpair()
        arguments = map(str, (theirs.fileno(), address, uid, gid, *groups))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROGRAM, *arguments], pass_fds=[theirs.fileno()]
            )
        self._home.settimeout(PATIENCE)
        _, (fd,), _, _ = socket.recv_fds(self._home, 1, 1)
        self.sock = socket.socket(fileno=fd)
        self.sock.settimeout(PATIENCE)

    @override
    def __enter__(self) -> Self:
        return self

    @override
    def vanish(self) -> None:
        super().vanish()
        self._home.close()
        self._process.wait(PATIENCE)
