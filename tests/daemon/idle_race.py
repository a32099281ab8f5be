"""Connects and datagrams raced against the idle exit, in numbers: `python -m tests.daemon.idle_race RACES SEED`.

The daemon is the real one, from its sockets to its exit status, started again and again in this process; only the listening
sockets are held here, as systemd does it, and a new daemon is started when one of them has something to read. At each step
of the exit, and of the next start, a peer may come: at that very step, from within the daemon's thread, or at once beside it
from another. It asks one thing and must get its answer. Peers have no library that could try again.

Prints what was counted, as JSON.
"""

import asyncio
import gc
import json
import random
import select
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Final

from superd import app, settings
from superd.acceptor import Acceptor
from superd.app import Daemon
from superd.idle_exit import IdleExit
from superd.journal import configure_logging
from superd.listeners import BACKLOG
from superd.polling import loop_factory
from superd.sd.activation import ActivatedSocket, Passed
from superd.server import Server
from superd.service import Service
from tests.daemon.datagram_client import RawDatagrams
from tests.daemon.raw import RawClient, RawPacketClient, echo

#: Seconds without anything to do, so few that the exit comes after some turns of the loop.
IDLE_EXIT: Final = 0.001

#: How likely it is that peers come at a step. Those who come before the last look call the exit off, so that the later steps are
#: not reached.
STEPS: Final = {
    "look": 0.01,
    "stop of accepting": 0.03,
    "accepting no more": 0.03,
    "look at the queues": 0.1,
    "queues were empty": 0.5,
    "retired": 0.5,
    "stopping": 0.5,
    "draining": 0.5,
    "lifespan ends": 0.5,
    "process ended": 0.5,
    "next start": 0.3,
}

#: Peers who come at one step, at most.
AT_ONCE: Final = 8

PEERS: Final = 16
PATIENCE: Final = 10.0

Peer = RawClient | RawDatagrams


class Race:
    """Who comes when, and who was answered."""

    def __init__(self, folder: Path, races: int, seed: int) -> None:
        self.paths: Final = {kind: str(folder / kind) for kind in ("stream", "packets", "datagrams")}
        self.races: Final = races
        self.came: Final = Counter[str]()
        self.counts: Final = Counter[str]()
        self.peers: Final = list[Future[str]]()
        self._random: Final = random.Random(seed)
        self._pool: Final = ThreadPoolExecutor(PEERS)
        #: Peers who came since the daemon's last look, and those of them whom it must have seen in its queues.
        self._waiting = self._seen = 0

    def step(self, name: str) -> None:
        """The exit has come so far."""
        self.counts[name] += 1
        if name == "look":
            self._waiting = 0
        elif name == "retired" and self._seen:
            self.counts["left somebody waiting"] += 1
        if self._random.random() < STEPS[name]:
            for _ in range(self._random.randint(1, AT_ONCE)):
                self.come(name)
        if name == "look at the queues":
            self._seen = self._waiting

    def come(self, step: str) -> None:
        """Let a peer come at this step, in one of the ways that there are."""
        number = self.came.total()
        if number >= self.races:
            return
        self.came[step] += 1
        kind, when = self._random.choice(tuple(self.paths)), self._random.choice(("now", "late", "beside"))
        if when == "beside":
            self.peers.append(self._pool.submit(lambda: self._ask(self._connect(kind), number)))
            return
        peer = self._connect(kind)
        asked = when == "now" and _send_at_once(peer, echo(str(number), number))
        self._waiting += asked or kind != "datagrams"
        self.peers.append(self._pool.submit(self._ask, peer, number, asked=asked))

    def _connect(self, kind: str) -> Peer:
        if kind == "datagrams":
            peer: Peer = RawDatagrams(self.paths[kind])
        else:
            peer = {"stream": RawClient, "packets": RawPacketClient}[kind](self.paths[kind])
        peer.sock.settimeout(PATIENCE)
        return peer

    def _ask(self, peer: Peer, number: int, *, asked: bool = False) -> str:
        """Ask, where that is not done, and say what became of it."""
        with peer:
            try:
                if not asked:
                    peer.send(echo(str(number), number))
                reply = peer.receive()
            except OSError as error:
                return repr(error)
        return "answered" if reply and reply.get("result") == {"text": str(number)} else str(reply)

    def outcomes(self) -> Counter[str]:
        return Counter(each.result() for each in self.peers)

    @property
    def waits(self) -> bool:
        return any(not each.done() for each in self.peers[-PEERS * 4 :])


def _send_at_once(peer: Peer, body: bytes) -> bool:
    """Send; False where the kernel's queue of datagrams is full, and this thread would wait for itself."""
    peer.sock.setblocking(False)
    try:
        peer.send(body)
    except BlockingIOError:
        return False
    finally:
        peer.sock.settimeout(PATIENCE)
    return True


def at(race: Race, owner: Any, name: str, before: str | None = None, after: str | None = None) -> None:
    """Have steps of the race where a method of the daemon begins and ends."""
    real: Callable[..., Any] = getattr(owner, name)

    @wraps(real)
    def watched(*arguments: Any, **options: Any) -> Any:
        if before is not None:
            race.step(before)
        result = real(*arguments, **options)
        if after is not None:
            race.step(after)
        return result

    setattr(owner, name, watched)


def service_of(race: Race) -> Service:
    """A service whose lifespan is a part of start and exit."""

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        race.step("next start")
        yield
        race.step("lifespan ends")

    return Service("raced", lifespan=lifespan)


def listen(race: Race) -> dict[str, socket.socket]:
    """The sockets, as a socket unit makes them."""
    kinds = {"stream": socket.SOCK_STREAM, "packets": socket.SOCK_SEQPACKET, "datagrams": socket.SOCK_DGRAM}
    sockets = {}
    for kind, path in race.paths.items():
        sockets[kind] = sock = socket.socket(socket.AF_UNIX, kinds[kind])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, kind == "datagrams")
        sock.bind(path)
        if kind != "datagrams":
            sock.listen(BACKLOG)
    return sockets


def run(races: int, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="superd-") as folder:
        race = Race(Path(folder), races, seed)
        chosen = settings.Settings(
            builtin_services=("echo",), policy_dir=folder, services=(f"{__name__}:raced",)
        ).model_copy(update={"idle_exit": IDLE_EXIT})
        globals()["raced"] = service_of(race)
        sockets = listen(race)
        queues = select.poll()
        for sock in sockets.values():
            queues.register(sock, select.POLLIN)
        app.passed_by_systemd = lambda: Passed(  # type: ignore[attr-defined] # as systemd does for each start
            [ActivatedSocket(name, sock.dup()) for name, sock in sockets.items()], {}
        )
        at(race, IdleExit, "_look", before="look")
        at(race, Acceptor, "stop", before="stop of accepting", after="accepting no more")
        at(race, Server, "_has_work_waiting", before="look at the queues", after="queues were empty")
        at(race, Daemon, "_leave", before="retired")
        at(race, Daemon, "_tell_stop", before="stopping")
        at(race, Server, "drain", before="draining")
        while race.came.total() < races or race.waits or queues.poll(0):
            if not race.waits:
                race.come("at rest")
            if queues.poll(10):
                start(race, chosen)
        left = [name for name, sock in sockets.items() if select.select([sock], [], [], 0)[0]]
        for sock in sockets.values():
            sock.close()
        return {
            "races": race.came.total(),
            "outcomes": race.outcomes(),
            "starts": race.counts["start"],
            "came": race.came,
            "called_off": race.counts["look at the queues"] - race.counts["retired"],
            "left_somebody_waiting": race.counts["left somebody waiting"],
            "unread": left,
        }


def start(race: Race, chosen: settings.Settings) -> None:
    """One daemon, from its start to its exit."""
    race.counts["start"] += 1
    daemon = Daemon(chosen, lambda: chosen)
    with asyncio.Runner(loop_factory=loop_factory("normal")) as runner:
        status = runner.run(daemon.run())
    assert status == 0
    gc.unfreeze()
    race.step("process ended")


if __name__ == "__main__":
    sys.setswitchinterval(1e-5)
    configure_logging(target="stderr", level="error")
    sys.stdout.write(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]))))
