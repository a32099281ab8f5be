"""superctl peers: who is connected, as `busctl list` shows the users of a bus."""

import argparse
from collections.abc import Iterable, Iterator
from typing import Any, Final

from superd.ctl.console import Console, Painted, Style
from superd.ctl.exits import ExitStatus
from superd.ctl.selection import add_arguments, read_selection, user_name
from superd.ctl.session import Session
from superd.timespan import format_span
from superd_client.administration import PeerInfo, PeersQuery, peers

EPILOG: Final = """\
One line for each connection, the oldest first. RUN are calls that run, STREAMS those of them
that are streams or uploads; OK and ERR are calls that were answered; IN, OUT and WAIT are
bytes: read, written, and waiting until the peer reads. Senders of datagrams have no
connection. ID is what kick and drain take; it means nothing once superd has restarted.
"""

_HEADS: Final = (
    *("ID", "USER", "UID", "PID", "UNIT", "AGE", "STATE"),
    *("RUN", "STREAMS", "OK", "ERR", "IN", "OUT", "WAIT"),
)

#: The columns of numbers, which stand at the right.
_NUMBERS: Final = frozenset({"UID", "PID", *_HEADS[7:]})

_SUFFIXES: Final = "BKMGTPE"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `peers`."""
    parser.epilog = EPILOG
    add_arguments(parser)


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Ask page by page, and write all of it."""
    selection = read_selection(arguments)
    found = list(_read_pages(session, selection, getattr(arguments, "timeout", None)))
    out = session.streams.out
    if getattr(arguments, "as_json", False):
        out.json([each.model_dump(mode="json") | {"user": user_name(each.uid)} for each in found])
    else:
        _write(found, out)
    return ExitStatus.OK


def _read_pages(session: Session, selection: dict[str, Any], timeout: float | None) -> Iterable[PeerInfo]:
    """All connections. Those that a superd had which has restarted meanwhile are gone with it."""
    found: list[PeerInfo] = []
    after: str | None = None
    while True:
        page = session.ask(peers, PeersQuery(**selection, after=after), timeout=timeout)
        found += page.peers
        if page.next is None:
            break
        after = page.next
    return [each for each in found if _run_of(each) == _run_of(found[-1])]


def _run_of(peer: PeerInfo) -> str:
    return peer.id.partition("-")[0]


def _write(found: Iterable[PeerInfo], out: Console) -> None:
    rows = [tuple(_cells(each)) for each in found]
    widths = [max(map(len, column)) for column in zip(_HEADS, *rows, strict=True)]
    out.line(Painted(_row(_HEADS, widths), Style.STRONG))
    for row in rows:
        out.line(_row(row, widths))


def _row(cells: Iterable[str], widths: Iterable[int]) -> str:
    aligned = (
        cell.rjust(width) if head in _NUMBERS else cell.ljust(width)
        for head, cell, width in zip(_HEADS, cells, widths, strict=True)
    )
    return "  ".join(aligned).rstrip()


def _cells(peer: PeerInfo) -> Iterator[str]:
    yield from (peer.id, str(user_name(peer.uid)), str(peer.uid), str(peer.pid), peer.unit or "-")
    yield from (format_span(peer.age_usec), peer.state)
    for number in (peer.calls_in_flight, peer.streams, peer.calls_served, peer.calls_failed):
        yield str(number)
    for size in (peer.bytes_received, peer.bytes_sent, peer.bytes_waiting):
        yield format_size(size)


def format_size(size: int) -> str:
    """Bytes as systemctl shows them: 999B, 1.5K, 12.0M; K is 1024."""
    exponent = max(0, size.bit_length() - 1) // 10
    return f"{size / 1024**exponent:.1f}{_SUFFIXES[exponent]}" if exponent else f"{size}B"
