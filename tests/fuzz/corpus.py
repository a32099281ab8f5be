"""What the fuzzer starts from: every body and every stream of the golden vectors."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from tests.wire.golden import Vector, frame, load

#: Larger seeds (nesting 100,000) would slow every run down; the mutations make deep texts of their own.
SEED_SIZE_MAX: Final = 8 * 1024


class Corpus(NamedTuple):
    """Bodies of messages, and streams of frames."""

    bodies: list[bytes]
    streams: list[bytes]


def read_corpus() -> Corpus:
    bodies = [
        vector.data(vector.case["body"])
        for file in ("messages_to_server.json", "messages_to_client.json")
        for vector in load(file)
    ]
    streams = [vector.data(vector.case["stream"]) for vector in load("framing.json")]
    for file in ("connection_server.json", "connection_client.json"):
        streams += [_received(vector) for vector in load(file)]
    streams += [
        b"".join(vector.data(read) for read, _ in vector.case["reads"]) for vector in load("descriptors.json")
    ]
    streams += [b"".join(map(vector.data, vector.case["packets"])) for vector in load("packets.json")]
    bodies = [body for body in bodies if len(body) <= SEED_SIZE_MAX]
    streams = [stream for stream in streams if 0 < len(stream) <= SEED_SIZE_MAX]
    return Corpus(bodies, streams + [frame(body) for body in bodies])


def _received(vector: Vector) -> bytes:
    """All that this end receives, the client's labels being its first ids."""
    ids: dict[str, object] = {}
    for label, step in enumerate(_calls(vector), start=1):
        ids[f"${step['call']}"] = label
    return b"".join(vector.data(step["receive"], ids) for step in vector.case["steps"] if "receive" in step)


def _calls(vector: Vector) -> list[Mapping[str, Any]]:
    return [step for step in vector.case["steps"] if "call" in step]
