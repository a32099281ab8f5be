"""The judgement itself: that it finds what it is there to find, and nothing else."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.chaos.inside.ledger import Ledger
from tests.chaos.inside.load import Record
from tests.chaos.judgement import Judgement, judge

UID = 1000


def record(op: int, outcome: str, kind: str = "note", usec: int = 10) -> Record:
    return Record(op, kind, UID, outcome, "why", 100, 100 + usec)


def judged(
    tmp_path: Path,
    records: Sequence[Record],
    executions: Sequence[tuple[int, str]],
    *,
    strict: bool = False,
    uid: int = UID,
) -> Judgement:
    ledger = Ledger(tmp_path / "ledger.db")
    for op, kind in executions:
        ledger.enter(op, kind, uid, 1)
    ledger.close()
    return judge(tmp_path / "ledger.db", records, strict=strict)


def laws(judgement: Judgement) -> dict[str, int]:
    return {loss.law: loss.times for loss in judgement.losses}


@pytest.mark.parametrize(
    ("outcome", "kind", "runs", "law"),
    [
        ("right", "note", 0, "success that did not run"),
        ("right", "note", 1, None),
        ("right", "note", 2, "ran twice"),
        ("unknown", "note", 0, None),
        ("unknown", "note", 1, None),
        ("unknown", "note", 2, "ran twice"),
        ("failed", "pack", 2, "ran twice"),
        ("right", "keyed", 1, None),
        ("unknown", "keyed", 2, "ran twice with a key"),
        ("right", "again", 3, None),
        ("right", "again", 0, "success that did not run"),
        ("not sent", "note", 0, None),
        ("not sent", "note", 1, "not sent, and ran"),
        ("not sent", "again", 1, "not sent, and ran"),
        ("refused", "carry", 0, None),
        ("refused", "carry", 1, "refused, and ran"),
        ("cut", "count", 1, None),
        ("wrong", "note", 1, "wrong answer"),
        ("never ended", "note", 1, "never ended"),
    ],
)
def test_what_was_told_is_held_against_what_ran(
    outcome: str, kind: str, runs: int, law: str | None, tmp_path: Path
) -> None:
    judgement = judged(tmp_path, [record(1, outcome, kind)], [(1, kind)] * runs)
    assert laws(judgement) == ({law: 1} if law else {})
    assert judgement.executions == runs
    assert judgement.outcomes == {outcome: 1}


def test_what_nobody_called_must_not_have_run(tmp_path: Path) -> None:
    assert laws(judged(tmp_path, [], [(7, "note")])) == {"ran, and nobody called": 1}


def test_what_runs_is_known_to_be_its_callers(tmp_path: Path) -> None:
    judgement = judged(tmp_path, [record(1, "right")], [(1, "note")], uid=UID + 1)
    assert laws(judgement) == {"ran for another uid": 1}


@pytest.mark.parametrize(
    ("outcome", "is_lost"), [("right", False), ("cut", False), ("unknown", True), ("refused", True)]
)
def test_over_a_restart_every_call_succeeds(outcome: str, is_lost: bool, tmp_path: Path) -> None:
    runs = 0 if outcome == "refused" else 1
    judgement = judged(tmp_path, [record(1, outcome)], [(1, "note")] * runs, strict=True)
    assert ("lost" in laws(judgement)) is is_lost


def test_a_loss_shows_some_of_the_calls_and_counts_all(tmp_path: Path) -> None:
    (loss,) = judged(tmp_path, [record(op, "right") for op in range(9)], []).losses
    assert loss.times == 9
    assert str(loss).splitlines() == [
        "9 x success that did not run",
        *(f"    {op} note right 0 why" for op in range(3)),
    ]


def test_the_longest_is_that_of_calls_with_one_answer(tmp_path: Path) -> None:
    records = [
        record(1, "right", usec=2_000_000),
        record(2, "right", usec=1000),
        record(3, "right", "count", usec=9_000_000),
        record(4, "unknown", usec=9_000_000),
    ]
    judgement = judged(tmp_path, records, [(1, "note"), (2, "note"), (3, "count")])
    assert judgement.longest == 2.0
    assert judgement.figures() == "4 calls: 3 right, 1 unknown; 3 executions"


def test_those_with_a_key_are_counted_apart(tmp_path: Path) -> None:
    judgement = judged(
        tmp_path, [record(1, "right", "keyed"), record(2, "right")], [(1, "keyed"), (2, "note")]
    )
    assert judgement.figures() == "2 calls: 2 right (with keys: 1 right); 2 executions"


def test_a_call_is_reported_once(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="UNIQUE"):
        judged(tmp_path, [record(1, "right"), record(1, "right")], [])
