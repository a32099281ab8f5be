"""The judgement: what callers were told, against what the ledger says was carried out. Knows nothing of superd's counters."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from typing_extensions import override

from tests.chaos.inside.hostile import HOSTILE_OPS
from tests.chaos.inside.ledger import EXECUTED
from tests.chaos.inside.load import Record

_REPORTED: Final = """
CREATE TABLE reported (
    op INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    uid INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    why TEXT NOT NULL,
    begun_usec INTEGER NOT NULL,
    ended_usec INTEGER NOT NULL
)
"""

#: How often each call ran, those that were never reported or never ran among them.
_CALLS: Final = """
CREATE TABLE calls AS
SELECT op, reported.kind, reported.outcome, reported.why, reported.begun_usec, reported.ended_usec, count(executed.op) AS runs
FROM reported LEFT JOIN executed USING (op) GROUP BY op
"""

#: What must not be, whatever breaks: name and condition. `again` is the idempotent method: it may run more than once.
LAWS: Final[Mapping[str, str]] = {
    "never ended": "outcome = 'never ended'",
    "wrong answer": "outcome = 'wrong'",
    "success that did not run": "outcome = 'right' AND runs = 0",
    "ran twice": "runs > 1 AND kind NOT IN ('again', 'keyed')",
    "ran twice with a key": "runs > 1 AND kind = 'keyed'",
    "not sent, and ran": "outcome = 'not sent' AND runs > 0",
    "refused, and ran": "outcome = 'refused' AND runs > 0",
}

#: Of rows of the ledger.
_FOREIGN_LAWS: Final[Mapping[str, str]] = {
    "ran, and nobody called": "SELECT op, kind FROM executed WHERE op NOT IN (SELECT op FROM reported)",
    "ran for another uid": (
        "SELECT op, reported.kind FROM executed JOIN reported USING (op) WHERE executed.uid != reported.uid"
    ),
}

#: What a restart must not do on top of that. A stream that was cut was told so after its last item.
NOTHING_LOST: Final = "outcome NOT IN ('right', 'cut')"

#: Calls that take what superd takes, and what their handlers wait.
PLAIN: Final = frozenset({"note", "keyed", "again"})

#: Examples of each loss.
_EXAMPLES: Final = 3


class Loss(NamedTuple):
    """A law that was broken, how often, and some of the calls."""

    law: str
    times: int
    examples: tuple[str, ...]

    @override
    def __str__(self) -> str:
        """One line and the examples."""
        return "\n    ".join([f"{self.times} x {self.law}", *self.examples])


class Judgement(NamedTuple):
    """What one row has to show."""

    #: Calls by outcome.
    outcomes: Mapping[str, int]
    #: The same of those with a key.
    keyed: Mapping[str, int]
    losses: tuple[Loss, ...]
    executions: int
    #: The longest time from a call to its right answer, and that which 99 of 100 stay below, in seconds.
    longest: float
    p99: float

    @property
    def calls(self) -> int:
        """All that were begun."""
        return sum(self.outcomes.values())

    def figures(self) -> str:
        """The outcomes in words, the most frequent first."""
        with_keys = f" (with keys: {_in_words(self.keyed)})" if self.keyed else ""
        return f"{self.calls:,} calls: {_in_words(self.outcomes)}{with_keys}; {self.executions:,} executions"


def _in_words(outcomes: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in Counter(outcomes).most_common())


def read_reports(paths: Iterable[Path]) -> Iterator[Record]:
    """The records of the processes of the load."""
    for path in paths:
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield Record(*json.loads(line))


def judge(ledger: Path, records: Iterable[Record], *, strict: bool) -> Judgement:
    """Hold what was told against what ran. `strict` is for where every call must succeed."""
    with closing(sqlite3.connect(":memory:")) as court:
        court.execute(_REPORTED)
        court.execute(EXECUTED)
        court.executemany(f"INSERT INTO reported VALUES ({', '.join('?' * len(Record._fields))})", records)
        court.execute("ATTACH ? AS written", (f"{ledger}",))
        court.execute("INSERT INTO executed SELECT * FROM written.executed WHERE op < ?", (HOSTILE_OPS,))
        court.execute(_CALLS)
        return Judgement(
            outcomes=_outcomes(court, "1"),
            keyed=_outcomes(court, "kind = 'keyed'"),
            losses=tuple(_losses(court, strict=strict)),
            executions=court.execute("SELECT count(*) FROM executed").fetchone()[0],
            **_times(court),
        )


def _outcomes(court: sqlite3.Connection, condition: str) -> dict[str, int]:
    return dict(court.execute(f"SELECT outcome, count(*) FROM calls WHERE {condition} GROUP BY outcome"))


def _losses(court: sqlite3.Connection, *, strict: bool) -> Iterator[Loss]:
    laws = {**LAWS, **({"lost": NOTHING_LOST} if strict else {})}
    for law, condition in laws.items():
        query = f"SELECT op, kind, outcome, runs, why FROM calls WHERE {condition}"
        yield from _broken(court, law, query)
    for law, query in _FOREIGN_LAWS.items():
        yield from _broken(court, law, query)


def _broken(court: sqlite3.Connection, law: str, query: str) -> Iterator[Loss]:
    rows = court.execute(query).fetchall()
    if rows:
        yield Loss(law, len(rows), tuple(" ".join(map(str, row)) for row in rows[:_EXAMPLES]))


def p99_between(records: Iterable[Record], begun_usec: int, ended_usec: int) -> float:
    """The seconds that 99 of 100 calls took which began in this time; 0 where there were none."""
    times = sorted(
        each.ended_usec - each.begun_usec
        for each in records
        if each.outcome == "right" and each.kind in PLAIN and begun_usec <= each.begun_usec <= ended_usec
    )
    return times[int(len(times) * 0.99)] / 1e6 if times else 0.0


def _times(court: sqlite3.Connection) -> dict[str, float]:
    """Of calls with one answer: a stream takes as long as it likes."""
    query = (
        "SELECT ended_usec - begun_usec FROM calls "
        "WHERE outcome = 'right' AND kind NOT IN ('count', 'total') ORDER BY 1"
    )
    times = [row[0] / 1e6 for row in court.execute(query)] or [0.0]
    return {"longest": times[-1], "p99": times[int(len(times) * 0.99)]}
