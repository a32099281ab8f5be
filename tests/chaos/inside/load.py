"""One process of the load: python -m tests.chaos.inside.load OPTIONS (as JSON, see `Options`).

Prints "begun" once each of its clients had an answer, works until standard input ends, and prints how often it
connected. What became of each call is in its report: a line of JSON each, see `Record`.
"""

import asyncio
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

from superd_client import AsyncClient, Client, Outcome, RemoteError, SuperdError
from superd_client.wire.errors import ErrorCode
from tests.chaos.inside.api import count, total
from tests.chaos.inside.jobs import Task, tasks

#: Seconds beyond its own timeout after which a call counts as one that never ends.
GRACE: Final = 20.0


class Options(NamedTuple):
    """What one process does."""

    seed: str
    worker: int
    clients: int
    style: str  # "blocking" or "asyncio"
    report: str
    #: Seconds for a call: longer than a drain and a start.
    timeout: float = 60.0
    #: Seconds between two calls of a client, on average.
    pace: float = 0.1


class Record(NamedTuple):
    """What became of one call. Times are microseconds of CLOCK_MONOTONIC, the same for all on the host."""

    op: int
    kind: str
    uid: int
    #: "right", "wrong", "cut" (a stream or upload that was begun and told to come again), "never ended", or an Outcome.
    outcome: str
    #: The exception's class and text.
    why: str
    begun_usec: int
    ended_usec: int


class Report:
    """The records of one process, one line each. For any thread."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._running: dict[int, Record] = {}

    def begin(self, task: Task) -> Record:
        """Note that a call begins."""
        begun = Record(task.op, task.kind, os.getuid(), "never ended", "", _now(), 0)
        with self._lock:
            self._running[task.op] = begun
        return begun

    def end(self, begun: Record, outcome: str, why: str = "") -> None:
        """Write what became of it."""
        ended = begun._replace(outcome=outcome, why=why, ended_usec=_now())
        with self._lock:
            del self._running[begun.op]
            self._file.write(json.dumps(ended) + "\n")

    def close(self) -> None:
        """Write which calls have not ended, too. What ends after this is not heard of any more."""
        with self._lock:
            for each in self._running.values():
                self._file.write(json.dumps(each._replace(ended_usec=_now())) + "\n")
            self._file.close()


def _now() -> int:
    return time.monotonic_ns() // 1000


@contextmanager
def reported(report: Report, task: Task, answers: list[Any]) -> Iterator[None]:
    """Around one call: its answer goes into `answers`, those of a stream one by one."""
    begun = report.begin(task)
    try:
        yield
    except SuperdError as error:
        was_cut = is_unavailable(error) and (answers or error.outcome is Outcome.FAILED)
        outcome = "cut" if was_cut else error.outcome.value
        # What came of a stream before its end is true, whatever the end was.
        is_true = task.method is not count or answers == task.right[: len(answers)]
        report.end(begun, outcome if is_true else "wrong", f"{error!r} {error.__cause__!r}")
    else:
        answer = answers if task.method is count else answers[0]
        report.end(begun, "right" if task.is_right(answer) else "wrong", "")
    finally:
        task.close()


def is_unavailable(error: SuperdError) -> bool:
    """Whether the server said -32005: that it stops."""
    return isinstance(error, RemoteError) and error.code == ErrorCode.UNAVAILABLE


def call(client: Client, task: Task, answers: list[Any]) -> None:
    """Make one call."""
    if task.method is count:
        with client.stream(count, task.params) as items:
            answers.extend(each.value for each in items)
    elif task.method is total:
        answers.append(client.upload(total, task.params, task.items()))
    else:
        answers.append(client.call(task.method, task.params))


async def acall(client: AsyncClient, task: Task, answers: list[Any]) -> None:
    """Make one call."""
    if task.method is count:
        async with client.stream(count, task.params) as items:
            async for each in items:
                answers += [each.value]  # one by one: what came before an error counts
    elif task.method is total:
        answers.append(await client.upload(total, task.params, task.items()))
    else:
        answers.append(await client.call(task.method, task.params))


class Load:
    """The clients of one process."""

    def __init__(self, options: Options, report: Report) -> None:
        self._options = options
        self._report = report
        self._stop = threading.Event()
        self._first = threading.Barrier(options.clients + 1)

    def _tasks(self, client: int) -> Iterator[tuple[Task, float]]:
        """The calls of a client, and how long it rests after each."""
        rest = random.Random(f"rest/{self._options.seed}/{self._options.worker}/{client}")
        for task in tasks(self._options.seed, self._options.worker, client):
            yield task, rest.uniform(0, 2 * self._options.pace)

    def _block(self, number: int) -> None:
        with Client(timeout=self._options.timeout) as client:
            for index, (task, rest) in enumerate(self._tasks(number)):
                answers: list[Any] = []
                with reported(self._report, task, answers):
                    call(client, task, answers)
                if index == 0:
                    self._first.wait()
                if self._stop.wait(rest):
                    return

    async def _work(self, number: int, begun: Callable[[], None], stop: asyncio.Event) -> None:
        async with AsyncClient(timeout=self._options.timeout) as client:
            for index, (task, rest) in enumerate(self._tasks(number)):
                answers: list[Any] = []
                with reported(self._report, task, answers):
                    await acall(client, task, answers)
                if index == 0:
                    begun()
                try:
                    await asyncio.wait_for(stop.wait(), rest)
                except TimeoutError:
                    continue
                return

    async def _loop(self, begun: Callable[[], None]) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        waiting = self._options.clients

        def one_begun() -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                begun()

        ended = loop.run_in_executor(None, sys.stdin.read)
        ended.add_done_callback(lambda _: stop.set())
        working = [
            asyncio.create_task(self._work(number, one_begun, stop))
            for number in range(self._options.clients)
        ]
        await ended
        done, hung = await asyncio.wait(working, timeout=self._options.timeout + GRACE)
        for each in done:
            each.result()
        if hung:
            self.leave()

    def run(self, begun: Callable[[], None]) -> None:
        """Work until standard input ends."""
        if self._options.style == "asyncio":
            asyncio.run(self._loop(begun))
            return
        threads = [
            threading.Thread(target=self._block, args=(number,), daemon=True)
            for number in range(self._options.clients)
        ]
        for thread in threads:
            thread.start()
        self._first.wait(self._options.timeout + GRACE)
        begun()
        sys.stdin.read()
        self._stop.set()
        deadline = time.monotonic() + self._options.timeout + GRACE
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0))
        if any(thread.is_alive() for thread in threads):
            self.leave()

    def leave(self) -> None:
        """End this process although calls have not ended; the report says which."""
        self._report.close()
        os._exit(1)


def main(options: Options) -> None:
    """Work, and say how often somebody connected."""
    connects = [0]

    def watch(event: str, _arguments: object) -> None:
        connects[0] += event == "socket.connect"

    sys.addaudithook(watch)
    with Path(options.report).open("w", encoding="utf-8") as file:
        report = Report(file)
        Load(options, report).run(lambda: print("begun", flush=True))
        report.close()
    print(json.dumps({"connects": connects[0]}))


if __name__ == "__main__":
    main(Options(**json.loads(sys.argv[1])))
