"""One epoll set for all connections, and the loop's own watch for what is read from often."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from superd import readiness
from superd.readiness import READS_UNTIL_BUSY, Readiness
from tests.daemon.running import LoopFactory


class Peer:
    """A watched socket that reads a byte each time, and the socket at its other end."""

    def __init__(self, owner: Readiness) -> None:
        self.sock, self.other = socket.socketpair()
        self.sock.setblocking(False)
        self.owner = owner
        self.fd = self.sock.fileno()
        self.reads = 0
        self.seen = 0
        self.ends = 0
        #: Called at each end and after each byte.
        self.then: Callable[[], None] = lambda: None
        owner.read(self.fd, self)

    def readable(self) -> None:
        self.seen += len(self.sock.recv(1))
        self.then()

    def vanished(self) -> None:
        self.ends += 1
        self.owner.forget(self.fd)
        self.then()

    async def until(self, predicate: Callable[["Peer"], bool]) -> None:
        async with asyncio.timeout(10):
            while not predicate(self):  # noqa: ASYNC110 - a turn of the loop is what is waited for
                await asyncio.sleep(0)

    async def hear(self, count: int) -> None:
        """Get `count` more bytes, one for each time that it is told of them."""
        wanted = self.seen + count
        self.other.sendall(b"x" * count)
        await self.until(lambda peer: peer.seen == wanted)

    def close(self) -> None:
        self.owner.forget(self.fd)
        self.sock.close()
        self.other.close()


def run(loop: LoopFactory, test: Callable[[Callable[[], Peer], Readiness], Awaitable[None]]) -> None:
    async def main() -> None:
        watch = Readiness(asyncio.get_running_loop())
        with _peers(watch) as make:
            await test(make, watch)
        watch.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


@contextmanager
def _peers(watch: Readiness) -> Iterator[Callable[[], Peer]]:
    made: list[Peer] = []

    def make() -> Peer:
        made.append(Peer(watch))
        return made[-1]

    try:
        yield make
    finally:
        for peer in made:
            peer.close()


@pytest.mark.parametrize(("reads", "busy"), [(READS_UNTIL_BUSY - 1, False), (READS_UNTIL_BUSY, True)])
def test_the_loop_watches_what_is_read_from_often(loop_factory: LoopFactory, reads: int, busy: bool) -> None:
    async def test(make: Callable[[], Peer], watch: Readiness) -> None:
        peer = make()
        await peer.hear(reads)
        assert (peer.fd in watch._busy) is busy
        await peer.hear(3)  # by whoever watches it now

    run(loop_factory, test)


def test_the_one_that_the_loop_has_watched_longest_makes_room(
    loop_factory: LoopFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "BUSY_MAX", 2)

    async def test(make: Callable[[], Peer], watch: Readiness) -> None:
        peers = [make() for _ in range(3)]
        for count, peer in enumerate(peers):
            assert len(watch._busy) == min(count, 2)
            await peer.hear(READS_UNTIL_BUSY)
        assert list(watch._busy) == [peers[1].fd, peers[2].fd]
        await peers[0].hear(READS_UNTIL_BUSY - 1)  # told all the same, and counted anew
        assert list(watch._busy) == [peers[1].fd, peers[2].fd]
        await peers[0].hear(1)
        assert list(watch._busy) == [peers[2].fd, peers[0].fd]

    run(loop_factory, test)


@pytest.mark.parametrize("reads", [1, READS_UNTIL_BUSY], ids=["rarely", "often"])
def test_nothing_is_told_while_it_is_paused_but_that_the_peer_vanishes(
    loop_factory: LoopFactory, reads: int
) -> None:
    async def test(make: Callable[[], Peer], watch: Readiness) -> None:
        peer, witness = make(), make()
        await peer.hear(reads)
        watch.pause(peer.fd)
        peer.other.send(b"x")
        await witness.hear(5)
        assert peer.seen == reads
        watch.read(peer.fd, peer)
        await peer.until(lambda peer: peer.seen == reads + 1)
        watch.pause(peer.fd)
        peer.other.close()
        await peer.until(lambda peer: peer.ends == 1)
        await witness.hear(5)
        assert (peer.seen, peer.ends) == (reads + 1, 1)

    run(loop_factory, test)


@pytest.mark.parametrize("reads", [1, READS_UNTIL_BUSY], ids=["rarely", "often"])
def test_a_peer_that_leaves_replies_unread_has_vanished(loop_factory: LoopFactory, reads: int) -> None:
    """The kernel tells such an end as an error (POLLERR), of which libuv tells once alone."""

    async def test(make: Callable[[], Peer], _: Readiness) -> None:
        peer = make()
        await peer.hear(reads)
        peer.sock.send(b"a reply")
        peer.other.close()
        await peer.until(lambda peer: peer.ends == 1)

    run(loop_factory, test)


def test_what_is_forgotten_in_the_same_turn_is_not_told(loop_factory: LoopFactory) -> None:
    async def test(make: Callable[[], Peer], watch: Readiness) -> None:
        first, second, witness = make(), make(), make()
        first.then = lambda: watch.forget(second.fd)
        second.then = lambda: watch.forget(first.fd)
        first.other.send(b"x")
        second.other.send(b"x")
        await witness.hear(5)
        assert first.seen + second.seen == 1

    run(loop_factory, test)


def test_a_few_ends_are_told_in_one_turn(loop_factory: LoopFactory) -> None:
    async def test(make: Callable[[], Peer], _: Readiness) -> None:
        peers = [make() for _ in range(3 * readiness._VANISHED_PER_TURN)]
        told = 0

        def count() -> None:
            nonlocal told
            told += 1

        for peer in peers:
            peer.then = count
            peer.other.close()
        most = before = 0
        async with asyncio.timeout(10):
            while told < len(peers):
                await asyncio.sleep(0)
                most, before = max(most, told - before), told
        assert most == readiness._VANISHED_PER_TURN

    run(loop_factory, test)
