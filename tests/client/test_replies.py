"""Replies to datagrams: sent, kept, tried again, dropped; within bounds."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from superd_client.datagrams import open_datagram_socket
from superd_client.replies import SOCKETS_IN_ALL, SOCKETS_OF_USER, Receiver, Replies, ReplyLimits

ME: Final = os.getuid()
LIMITS: Final = ReplyLimits(of_user=3, bytes_of_user=100, in_all=5, bytes_in_all=1000)

as_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="the receivers belong to one user, whom root may take for any"
)


class Post:
    """A sender of replies, and receivers that do not read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.dropped: list[tuple[str, str]] = []
        self.sockets = [open_datagram_socket()]
        self.sockets[0].bind(str(folder / "shared"))

    def receiver(self, name: str, *, full: bool = False) -> tuple[Any, str]:
        """A socket, with room for nothing if it is `full`, and its address."""
        sock, address = open_datagram_socket(), str(self._folder / name)
        self.sockets.append(sock)
        sock.bind(address)
        with open_datagram_socket() as filler:
            while full:
                try:
                    filler.sendto(b"fill", address)
                except BlockingIOError:
                    break
        return sock, address

    def replies(self, limits: ReplyLimits = LIMITS) -> Replies[str]:
        loop = asyncio.get_running_loop()
        return Replies(loop, self.sockets[0], lambda note, why: self.dropped.append((note, why)), limits)


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    made = Post(tmp_path)
    yield made
    for sock in made.sockets:
        sock.close()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def far() -> float:
    return asyncio.get_running_loop().time() + 60


def drain(sock: Any) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(sock.recv(1000))
        except BlockingIOError:
            return [each for each in found if each != b"fill"]


def test_what_waits_is_sent_in_order_once_there_is_room(post: Post) -> None:
    async def test() -> None:
        replies = post.replies()
        sock, address = post.receiver("a", full=True)
        for number in range(3):
            replies.send(Receiver(address, ME, 1), b"%d" % number, far(), str(number))
        assert (replies.waiting, drain(sock)) == (3, [])
        await replies.wait_empty()
        assert drain(sock) == [b"0", b"1", b"2"]
        assert post.dropped == []
        replies.close()

    run(test)


def test_what_is_late_is_dropped(post: Post) -> None:
    async def test() -> None:
        replies = post.replies()
        _, address = post.receiver("a", full=True)
        replies.send(Receiver(address, ME, 1), b"x", asyncio.get_running_loop().time(), "late")
        await replies.wait_empty()
        assert post.dropped == [("late", "its receiver was full until the deadline")]
        replies.close()

    run(test)


@pytest.mark.parametrize(("count", "dropped"), [(2, 0), (3, 0), (4, 1)])
def test_the_replies_of_a_user_are_bounded(post: Post, count: int, dropped: int) -> None:
    async def test() -> None:
        replies = post.replies()
        for number in range(count):
            _, address = post.receiver(str(number), full=True)
            replies.send(Receiver(address, ME, 1), b"x", far(), "note")
        assert post.dropped == [("note", "too many replies wait for this user")] * dropped
        replies.close()
        assert len(post.dropped) == count

    run(test)


@pytest.mark.parametrize(("size", "dropped"), [(99, 0), (100, 1), (101, 1)])
def test_the_bytes_of_a_user_are_bounded(post: Post, size: int, dropped: int) -> None:
    async def test() -> None:
        replies = post.replies()
        _, address = post.receiver("a", full=True)
        for frame in (bytes(size), b"one more"):
            replies.send(Receiver(address, ME, 1), frame, far(), "note")
        assert len(post.dropped) == dropped
        replies.close()

    run(test)


@as_root
@pytest.mark.parametrize(("count", "dropped"), [(4, 0), (5, 0), (6, 1)])
def test_the_replies_of_all_users_are_bounded(post: Post, count: int, dropped: int) -> None:
    async def test() -> None:
        replies = post.replies()
        for number in range(count):
            _, address = post.receiver(str(number), full=True)
            os.chown(address, number, -1)
            replies.send(Receiver(address, number, 1), b"x", far(), "note")
        assert post.dropped == [("note", "too many replies wait")] * dropped
        replies.close()

    run(test)


@as_root
@pytest.mark.parametrize(("size", "dropped"), [(99, 0), (100, 1), (101, 1)])
def test_the_bytes_of_all_users_are_bounded(post: Post, size: int, dropped: int) -> None:
    async def test() -> None:
        replies = post.replies(LIMITS._replace(bytes_of_user=1000, bytes_in_all=100))
        for uid, frame in enumerate((bytes(size), b"one more")):
            _, address = post.receiver(str(uid), full=True)
            os.chown(address, uid, -1)
            replies.send(Receiver(address, uid, 1), frame, far(), "note")
        assert post.dropped == [("note", "too many replies wait")] * dropped
        replies.close()

    run(test)


def test_a_receiver_that_is_gone(post: Post) -> None:
    async def test() -> None:
        replies = post.replies()
        replies.send(Receiver("/no/such/socket", ME, 1), b"x", far(), "path")
        replies.send(Receiver(b"\0superd-test-nobody", ME, 1), b"x", far(), "name")
        assert post.dropped == [
            ("path", "No such file or directory"),
            ("name", "Connection refused"),
        ]
        replies.close()

    run(test)


def test_one_receiver_that_is_full_holds_up_no_other(post: Post) -> None:
    async def test() -> None:
        replies = post.replies()
        _, full = post.receiver("full", full=True)
        other, address = post.receiver("other")
        replies.send(Receiver(full, ME, 1), b"x", far(), "")
        replies.send(Receiver(address, ME, 1), b"y", far(), "")
        assert drain(other) == [b"y"]
        replies.close()

    run(test)


@pytest.mark.parametrize("count", [SOCKETS_OF_USER - 1, SOCKETS_OF_USER, SOCKETS_OF_USER + 5])
def test_the_sockets_of_a_user_are_bounded(post: Post, count: int) -> None:
    async def test() -> None:
        replies = post.replies()
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count
        for pid in range(count):
            _, address = post.receiver(str(pid))
            before += 1
            replies.send(Receiver(address, ME, pid + 1), b"x", far(), "")
        assert len(os.listdir("/proc/self/fd")) - before == min(count, SOCKETS_OF_USER)  # noqa: PTH208
        assert all(drain(sock) == [b"x"] for sock in post.sockets[1:])
        replies.close()

    run(test)


@as_root
def test_the_sockets_of_all_users_are_bounded_and_idle_ones_are_given_up(post: Post) -> None:
    async def test() -> None:
        replies = post.replies()
        sock, address = post.receiver("a")
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for uid in range(SOCKETS_IN_ALL + 20):
            os.chown(address, uid, -1)
            replies.send(Receiver(address, uid, 1), b"x", far(), "")
            assert drain(sock) == [b"x"]
            assert len(os.listdir("/proc/self/fd")) - before <= SOCKETS_IN_ALL  # noqa: PTH208
        replies.close()

    run(test)
