"""The loop of the fuzzer: bounded by time and by count, stops at the first crash."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.corpus import read_corpus
from tests.fuzz.mutations import Mutator
from tests.fuzz.targets import BODY_TARGETS, STREAM_TARGETS, TARGETS


class Crash(NamedTuple):
    """An input that brought out something else than RemoteProtocolError."""

    target: str
    data: bytes
    error: Exception


class Summary(NamedTuple):
    """What a run did."""

    executions: int
    seconds: float
    crash: Crash | None


def fuzz(seed: int, *, seconds: float, executions: int) -> Summary:
    """Run until the time or the count is used up, or something crashes."""
    begin, done = time.monotonic(), 0
    for target, data in _inputs(seed):
        if done >= executions or time.monotonic() - begin >= seconds:
            break
        crash = execute(target, data)
        done += 1
        if crash is not None:
            return Summary(done, time.monotonic() - begin, crash)
    return Summary(done, time.monotonic() - begin, None)


def execute(target: str, data: bytes) -> Crash | None:
    try:
        TARGETS[target](data)
    except Exception as error:  # noqa: BLE001 - finding these is what the fuzzer is for
        return Crash(target, data, error)
    return None


def write_crash(crash: Crash, folder: Path) -> Path:
    """Keep the input; its name is made of its bytes, so that one crash is one file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{crash.target}-{hashlib.sha256(crash.data).hexdigest()[:16]}.bin"
    path.write_bytes(crash.data)
    return path


def _inputs(seed: int) -> Iterator[tuple[str, bytes]]:
    """First every seed as it is, then mutations without end; each input goes to all targets that take it."""
    corpus = read_corpus()
    mutator = Mutator(corpus, seed)
    for body in corpus.bodies:
        yield from ((target, body) for target in BODY_TARGETS)
    for stream in corpus.streams:
        yield from ((target, stream) for target in STREAM_TARGETS)
    while True:
        body = mutator.body()
        yield from ((target, body) for target in BODY_TARGETS)
        stream = mutator.stream()
        yield from ((target, stream) for target in STREAM_TARGETS)
