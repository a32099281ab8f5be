"""Reads vectors/*.json, as vectors/README.md describes them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import pytest

FOLDER: Final = Path(__file__).parent / "vectors"
FILES: Final = tuple(sorted(path.name for path in FOLDER.glob("*.json")))
PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "protocol.md"


class Vector(NamedTuple):
    """One case of one file, with what the file defines for all of them."""

    file: str
    case: Mapping[str, Any]
    define: Mapping[str, str]
    frame_limit: int

    @property
    def name(self) -> str:
        name: str = self.case["name"]
        return name

    @property
    def clause(self) -> str:
        clause: str = self.case["clause"]
        return clause

    def data(self, notation: object, ids: Mapping[str, object] | None = None) -> bytes:
        """The bytes that `notation` means; `ids` stand for "$a"."""
        return _data(notation, self.define, ids or {})


def load(file: str) -> list[Vector]:
    content = json.loads((FOLDER / file).read_text(encoding="utf-8"))
    define = content.get("define", {})
    limit = content.get("frame_limit", 0)
    return [Vector(file, case, define, case.get("frame_limit", limit)) for case in content["cases"]]


def every(file: str) -> "pytest.MarkDecorator":
    """Parametrize `vector` over the cases of a file, by their names."""
    import pytest  # the programme of tests/conformance reads vectors without it

    vectors = load(file)
    return pytest.mark.parametrize("vector", vectors, ids=[vector.name for vector in vectors])


def compact(value: object) -> bytes:
    """JSON without white space, members in the order written."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def item(stream: object, seq: int) -> dict[str, Any]:
    """An item whose value is its number."""
    return {"jsonrpc": "2.0", "method": "rpc.item", "params": {"id": stream, "seq": seq, "item": seq}}


def with_ids(value: Any, ids: Mapping[str, object]) -> Any:
    """`value` with the ids of calls in place of "$a", in the message and in its params."""
    if not isinstance(value, Mapping):
        return value
    replaced = {**value, "id": ids.get(str(value["id"]), value["id"])} if "id" in value else dict(value)
    return {**replaced, "params": with_ids(value["params"], ids)} if "params" in value else replaced


def _data(notation: object, define: Mapping[str, str], ids: Mapping[str, object]) -> bytes:
    if isinstance(notation, str):
        return notation.encode()
    if isinstance(notation, Sequence):
        return b"".join(_data(part, define, ids) for part in notation)
    assert isinstance(notation, Mapping)
    ((kind, value),) = notation.items()
    return _of_kind(kind, value, define, ids)


def _of_kind(kind: str, value: Any, define: Mapping[str, str], ids: Mapping[str, object]) -> bytes:
    match kind:
        case "hex":
            data = bytes.fromhex(value)
        case "repeat":
            data = str(value[0]).encode() * int(value[1])
        case "use":
            data = define[value].encode()
        case "json":
            data = compact(with_ids(value, ids))
        case "frame":
            data = frame(_data(value, define, ids))
        case "message":
            data = frame(compact(with_ids(value, ids)))
        case "items":
            stream, first, end = value
            data = b"".join(frame(compact(with_ids(item(stream, seq), ids))) for seq in range(first, end))
        case "padded":
            data = frame(compact(with_ids(value[0]["message"], ids)).ljust(value[1]))
        case _:
            raise ValueError(kind)
    return data


class Clause(NamedTuple):
    """One numbered rule of the page, and the heading that it stands under."""

    number: str
    section: str


_CLAUSE: Final = re.compile(r"\*\*(\d+(?:\.\d+)+)\*\*")


def clauses_of_the_page() -> Iterator[Clause]:
    """The clauses of the protocol, in the order of the page."""
    section = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith(("## ", "### ")):
            section = line.split()[1].rstrip(".")
        yield from (Clause(number, section) for number in _CLAUSE.findall(line))
