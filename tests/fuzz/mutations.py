"""How inputs are made: seeds, changed as bytes, as frames, and as JSON."""

import json
import math
import random
from collections.abc import Callable
from typing import Any, Final

from tests.fuzz.corpus import Corpus
from tests.wire.golden import frame

TOKENS: Final = (
    *(
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e400",
        b"-0",
        b"1.0",
        b"9007199254740992",
        b"9" * 4300,
        b"9" * 4301,
    ),
    *(b"[" * 300, b'{"a":' * 300, b"]" * 300, b"null", b"true", b"{}", b"[]", b'""', b",", b":", b'"', b"\\"),
    *(rb"\ud800", rb"\udc00", rb"\ud83d\ude00", rb"\u0000", rb"\u00", b"\xff", b"\xc0\x80", b"\xed\xa0\x80"),
    *(b"\xef\xbb\xbf", b"\xf0\x9f\x98", b"\x00", b"\n", b"\r\n", b'"id":', b'"jsonrpc":"2.0",', b'"method":'),
    *(b'{"jsonrpc":"2.0","id":', b'"result":', b'"error":', b'"meta":{"call_id":', b'"meta":{"fds":'),
    *(
        b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":1,"seq":0,"item":',
        b'"rpc.',
        b'"params":',
        b'"seq":',
    ),
    *(b',"id":2', b',"method":"rpc.cancel"', b',"method":[]', b',"params":7', b'"n":2147483647'),
)
LENGTHS: Final = (0, 1, 2, 1023, 1024, 1025, 2**16, 2**24, 2**24 + 1, 2**28, 2**31, 2**32 - 1)
NAMES: Final = (
    "jsonrpc",
    "id",
    "method",
    "params",
    "meta",
    "result",
    "error",
    "call_id",
    "code",
    "data",
    "seq",
    "item",
    "n",
    "fds",
    "credit",
    "gap_usec",
    "deadline_usec",
    "",
    "x",
)
VALUES: Final[tuple[Any, ...]] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        1.0,
        0.5,
        2**53 - 1,
        2**53,
        -(2**53),
        10**400,
        1e308,
        "",
        "2.0",
        "a.b",
        "k" * 64,
    ),
    *(
        "k" * 65,
        "é" * 64,
        "\x00",
        "\n",
        "\ud800",
        "😀",
        [],
        {},
        [[]],
        {"call_id": "c"},
        {"fds": 1},
        {"credit": 1},
        {"id": 1, "seq": 0, "item": 1},
        {"id": 1, "n": 1},
        2**31 - 1,
        2**31,
        2**63 - 1,
        2**63,
        "rpc.cancel",
        "rpc.credit",
        "rpc.item",
        "rpc.end",
        "rpc.goaway",
        "a.stream",
        "a.upload",
        {"code": 1, "message": "m"},
    ),
)


class Mutator:
    """Makes inputs out of a corpus. The same seed makes the same inputs."""

    def __init__(self, corpus: Corpus, seed: int) -> None:
        self._corpus = corpus
        self._random = random.Random(seed)
        self._byte_mutations: tuple[Callable[[bytearray], None], ...] = (
            self._flip_bit,
            self._set_byte,
            self._insert_token,
            self._insert_noise,
            self._delete_slice,
            self._repeat_slice,
            self._truncate,
            self._splice,
        )

    def body(self) -> bytes:
        """The body of one message, legal or not."""
        if self._random.random() < 0.5:
            return self._mutated_json(self._random.choice(self._corpus.bodies))
        return self._mutated_bytes(self._random.choice(self._corpus.bodies))

    def stream(self) -> bytes:
        """Some frames, and what looks like frames."""
        choose = self._random.random()
        if choose < 0.4:
            return b"".join(self._framed(self.body()) for _ in range(self._random.randint(1, 4)))
        stream = b"".join(
            self._random.choice(self._corpus.streams) for _ in range(self._random.randint(1, 3))
        )
        if choose < 0.5:
            return stream
        return self._mutated_bytes(stream)

    def _framed(self, body: bytes) -> bytes:
        if self._random.random() < 0.1:
            length = self._random.choice((*LENGTHS, len(body) + 1, max(len(body) - 1, 0)))
            return length.to_bytes(4, "big") + body
        return frame(body)

    # --- bytes ---------------------------------------------------------------------------------------------------

    def _mutated_bytes(self, seed: bytes) -> bytes:
        data = bytearray(seed)
        for _ in range(self._random.choice((1, 1, 1, 2, 4, 8))):
            self._random.choice(self._byte_mutations)(data)
        return bytes(data)

    def _place(self, data: bytearray) -> int:
        return self._random.randint(0, len(data))

    def _slice(self, data: bytearray) -> slice:
        start = self._place(data)
        return slice(start, start + self._random.choice((1, 2, 4, 16, 64)))

    def _flip_bit(self, data: bytearray) -> None:
        if data:
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)

    def _set_byte(self, data: bytearray) -> None:
        if data:
            data[self._random.randrange(len(data))] = self._random.choice(
                (0, 1, 0x22, 0x2C, 0x5B, 0x7B, 0x7F, 0x80, 0xFF)
            )

    def _insert_token(self, data: bytearray) -> None:
        place = self._place(data)
        data[place:place] = self._random.choice(TOKENS)

    def _insert_noise(self, data: bytearray) -> None:
        place = self._place(data)
        data[place:place] = self._random.randbytes(self._random.randint(1, 8))

    def _delete_slice(self, data: bytearray) -> None:
        del data[self._slice(data)]

    def _repeat_slice(self, data: bytearray) -> None:
        part = data[self._slice(data)]
        place = self._place(data)
        data[place:place] = part * self._random.choice((1, 2, 50))

    def _truncate(self, data: bytearray) -> None:
        del data[self._place(data) :]

    def _splice(self, data: bytearray) -> None:
        other = self._random.choice(self._corpus.bodies)
        data[self._place(data) :] = other[self._random.randint(0, len(other)) :]

    # --- JSON ----------------------------------------------------------------------------------------------------

    def _mutated_json(self, seed: bytes) -> bytes:
        try:
            value = json.loads(seed)
        except (ValueError, RecursionError):
            return self._mutated_bytes(seed)
        for _ in range(self._random.randint(1, 3)):
            value = self._mutated_value(value)
        return self._written(value)

    def _mutated_value(self, value: Any) -> Any:
        """`value` with one change somewhere inside."""
        if isinstance(value, dict) and self._random.random() < 0.9:
            return self._mutated_object(value)
        if isinstance(value, list) and value and self._random.random() < 0.9:
            changed = list(value)
            place = self._random.randrange(len(changed))
            changed[place] = self._mutated_value(changed[place])
            return changed
        return self._random.choice((*VALUES, [value], {"x": value}))

    def _mutated_object(self, value: dict[str, Any]) -> dict[str, Any]:
        changed = dict(value)
        names = list(changed)
        choose = self._random.random()
        if not names or choose < 0.25:
            changed[self._random.choice(NAMES)] = self._random.choice(VALUES)
        elif choose < 0.4:
            del changed[self._random.choice(names)]
        elif choose < 0.5:
            changed[self._random.choice(NAMES)] = changed.pop(self._random.choice(names))
        elif choose < 0.6:
            self._random.shuffle(names)
            changed = {name: changed[name] for name in names}
        else:
            name = self._random.choice(names)
            changed[name] = self._mutated_value(changed[name])
        return changed

    def _written(self, value: Any) -> bytes:
        try:
            text = json.dumps(
                value,
                ensure_ascii=self._random.random() < 0.3,
                separators=self._random.choice(((",", ":"), (", ", ": "), (" ,\n", "\t:\r"))),
            )
        except ValueError:  # an integer of more digits than Python writes
            text = repr(math.pi)
        body = text.encode("utf-8", "surrogatepass")
        if self._random.random() < 0.2 and body.startswith(b"{") and len(body) > 2:
            body = body[:-1] + b"," + body[1:]  # each member a second time
        return body
