"""The table, the jobs of the load, and its report."""

import itertools
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from superd_client import ConnectFailed, ConnectionLost, SuperdError, Unavailable
from tests.chaos.inside.api import Done, Job, count, note
from tests.chaos.inside.jobs import MIX, Task, tasks
from tests.chaos.inside.load import Record, Report, reported
from tests.chaos.table import HEADS, Finding, is_lost, render


def test_the_table_names_each_loss_in_full() -> None:
    findings = [
        Finding("restarts", "3 restarts", "9 calls", (), 0.8125),
        Finding("kills", "2 kills", "9 calls " * 20, ("2 x ran twice\n    7 note",)),
        Finding("clock", "a jump", impossible="the guest has the host's clock"),
    ]
    lines = render(findings).splitlines()
    assert all(head in lines[0] for head in HEADS)
    assert next(line for line in lines if "3 restarts" in line).split()[-4:] == ["0", "812", "ms", "kept"]
    assert "LOST in kills, 2 kills: 2 x ran twice" in lines
    assert any("not possible" in line for line in lines)
    assert max(map(len, lines)) <= 160
    assert is_lost(findings)
    assert not is_lost([findings[0], findings[2]])


def some_tasks(seed: str, worker: int, client: int, number: int = 200) -> list[Task]:
    return list(itertools.islice(tasks(seed, worker, client), number))


def test_one_seed_makes_the_same_calls_again() -> None:
    def plan(seed: str) -> list[Any]:
        made = some_tasks(seed, 1, 2)
        for each in made:
            each.close()
        return [(each.op, each.kind, each.right) for each in made]

    assert plan("7") == plan("7")
    assert [kind for _, kind, _ in plan("7")] != [kind for _, kind, _ in plan("8")]
    assert {kind for _, kind, _ in plan("7")} == {method.name.rpartition(".")[2] for method in MIX}


def test_no_two_calls_have_one_number() -> None:
    made = [each for worker in (0, 1) for client in (0, 1) for each in some_tasks("7", worker, client, 50)]
    for each in made:
        each.close()
    assert len({each.op for each in made}) == len(made)


def a_task(method: Any = note) -> Task:
    return Task(1, method, Job(op=1, before_usec=0, after_usec=0), Done(op=1))


def fail(error: SuperdError) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConnectFailed("nobody listens"), "not sent"),
        (ConnectionLost("gone"), "unknown"),
        (Unavailable("stopping", code=-32005), "refused"),
    ],
)
def test_an_exception_is_reported_by_its_outcome(error: SuperdError, outcome: str) -> None:
    file = StringIO()
    with reported(Report(file), a_task(), []):
        fail(error)
    record = Record(*json.loads(file.getvalue()))
    assert (record.op, record.kind, record.outcome) == (1, "note", outcome)
    assert error.message in record.why


@pytest.mark.parametrize(
    ("items", "outcome"), [([], "refused"), ([0], "cut"), ([0, 1], "cut"), ([0, 2], "wrong"), ([1], "wrong")]
)
def test_a_stream_that_was_begun_is_cut_and_not_refused(items: list[int], outcome: str) -> None:
    file = StringIO()
    task = a_task(count)._replace(right=[0, 1, 2])
    with reported(Report(file), task, items):
        fail(Unavailable("stopping", code=-32005))
    assert Record(*json.loads(file.getvalue())).outcome == outcome


def test_what_has_not_ended_is_reported_so(tmp_path: Path) -> None:
    path = tmp_path / "report"
    report = Report(path.open("w"))
    begun = report.begin(a_task())
    report.end(begun, "right")
    report.begin(a_task()._replace(op=2))
    report.close()
    found = [Record(*json.loads(line)) for line in path.read_text().splitlines()]
    assert [(each.op, each.outcome) for each in found] == [(1, "right"), (2, "never ended")]
