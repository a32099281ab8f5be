"""The client process of one cell: `python -m tests.bench.load WORK.json`. It writes one line of JSON, the cell.

A cell is the figures of a measured section, or {"cannot": reason}. Anything else is an exit status other than 0, with
the traceback on standard error: a wrong answer is never a figure.
"""

import contextlib
import importlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.bench.client import CannotError, Client
from tests.bench.machine import family, private_bytes, resident_bytes, wakeups
from tests.bench.measuring import WARM_UP_CALLS, Span, calibrate, measure

#: What a start of superd cannot do without: the measure of its cold start.
IMPORTS: Final = """\
import asyncio, uvloop, pydantic, structlog
class Model(pydantic.BaseModel):
    number: int
"""


#: Time for both sides to go to sleep after the last reply: that is no wake-up, and no work.
SETTLING_SECONDS: Final = 0.1

#: Seconds without a call after which a server counts as idle. What it puts off so as not to do it at each call, such as a
#: line about its connections for its service manager, is done by then.
IDLE_SECONDS: Final = 1.5

#: What sd_notify(3) says for the watchdog.
WATCHDOG: Final = b"WATCHDOG=1"


class Work(NamedTuple):
    """What one client process has to do. `seconds` is how long the measured section is to take, where time decides.

    `notices` is the descriptor of the socket that the server side notifies, as systemd's, or -1.
    """

    module: str
    client: str
    address: str
    load: str
    size: int
    opened: int
    width: int
    calls: int
    rate: int
    seconds: float
    servers: list[int]
    notices: int


def main() -> int:
    """Do the work that a file describes."""
    work = Work(**json.loads(Path(sys.argv[1]).read_text("utf-8")))
    try:
        cell = LOADS[work.load](work)
    except CannotError as error:
        cell = {"cannot": str(error)}
    sys.stdout.write(json.dumps(cell) + "\n")
    sys.stdout.flush()
    return 0


def _client(work: Work) -> Client:
    made: Client = getattr(importlib.import_module(work.module), work.client)(work.address, work.size)
    return made


def _calls(work: Work, operation: Callable[[Client], Callable[[int], object]]) -> dict[str, Any]:
    """Open the connections; then make as many calls as the time allows, or as many as `calls` says."""
    client = _client(work)
    client.open(work.opened)
    make = operation(client)
    servers = family(work.servers)
    if work.calls:
        make(min(work.calls, max(WARM_UP_CALLS, work.calls // 20)))
    calls = work.calls or calibrate(make, work.seconds)
    span = measure(lambda: make(calls), calls, servers)
    client.close()
    return span.plain()


def _sequential(work: Work) -> dict[str, Any]:
    return _calls(work, lambda client: client.sequential)


def _in_flight(work: Work) -> dict[str, Any]:
    return _calls(work, lambda client: lambda calls: client.in_flight(calls, work.width))


def _spread(work: Work) -> dict[str, Any]:
    return _calls(work, lambda client: lambda calls: client.spread(calls, work.width))


def _stream(work: Work) -> dict[str, Any]:
    return _calls(work, lambda client: client.stream)


def _one_way(work: Work) -> dict[str, Any]:
    return _calls(work, lambda client: client.one_way)


def _paced(work: Work) -> dict[str, Any]:
    """Calls at a pace that leaves both sides idle for most of the time: what they use for it."""
    client = _client(work)
    client.open(work.opened)
    client.sequential(WARM_UP_CALLS)
    time.sleep(SETTLING_SECONDS)
    made = 0

    def calling() -> None:
        nonlocal made
        made = client.paced(work.rate, work.seconds)

    span = measure(calling, 1, family(work.servers))
    client.close()
    return span._replace(calls=made).plain()


def _connect(work: Work) -> dict[str, Any]:
    """Connections with a first reply each; one was there before, so that both sides are warm."""
    client = _client(work)
    client.open(work.opened)
    span = measure(lambda: client.open(work.calls), work.calls, family(work.servers))
    client.close()
    return span.plain()


def _idle_memory(work: Work) -> dict[str, Any]:
    """The server side's own memory for each connection that has made one call and then none."""
    client = _client(work)
    client.open(work.opened)
    servers = family(work.servers)
    before = sum(map(private_bytes, servers))
    span = measure(lambda: client.open(work.calls), work.calls, servers)
    grown = sum(map(private_bytes, servers)) - before
    client.close()
    return span.plain() | {"bytes": max(0, grown) / work.calls}


def _idle_wakeups(work: Work) -> dict[str, Any]:
    """How often the server side wakes up, but to feed a watchdog; and how large it is, with an idle connection."""
    client = _client(work)
    client.open(work.opened)
    servers = family(work.servers)
    time.sleep(IDLE_SECONDS)
    _fed(work.notices)
    before = sum(map(wakeups, servers))
    span = measure(lambda: time.sleep(work.seconds), 1, servers)
    woken = sum(map(wakeups, servers)) - before
    fed = _fed(work.notices)
    resident = sum(map(resident_bytes, servers))
    client.close()
    return span.plain() | {
        "wakeups": max(0, woken - fed) / span.seconds,
        "watchdog": fed / span.seconds,
        "resident": resident,
    }


def _fed(notices: int) -> int:
    """How often the watchdog has been fed since the last time."""
    if notices < 0:
        return 0
    count = 0
    with socket.socket(fileno=os.dup(notices)) as sock, contextlib.suppress(BlockingIOError):
        while True:
            count += WATCHDOG in sock.recv(4096, socket.MSG_DONTWAIT).split(b"\n")
    return count


def _cold_start(work: Work) -> dict[str, Any]:
    """From a connect to the first reply, where nothing runs yet but the socket. This side is warm."""
    client = _client(work)
    span: Span = measure(lambda: client.open(1), 1, work.servers)
    client.close()
    return span.plain()


def _imports(work: Work) -> dict[str, Any]:
    """What the interpreter takes to import what superd needs, from the start of the process to its end."""
    command = [sys.executable, "-c", IMPORTS]
    return measure(lambda: subprocess.run(command, check=True), 1, work.servers).plain()


LOADS: Final[dict[str, Callable[[Work], dict[str, Any]]]] = {
    "sequential": _sequential,
    "in-flight": _in_flight,
    "spread": _spread,
    "stream": _stream,
    "one-way": _one_way,
    "paced": _paced,
    "connect": _connect,
    "idle-memory": _idle_memory,
    "idle-wakeups": _idle_wakeups,
    "cold-start": _cold_start,
    "imports": _imports,
}


if __name__ == "__main__":
    sys.exit(main())
