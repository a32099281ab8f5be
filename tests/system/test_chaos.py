"""`make chaos`, in short: every row, once, in a guest of its own. What it measures is for the longer forms to judge."""

from pathlib import Path

from tests.chaos.runner import ROWS, run
from tests.chaos.scale import SCALES
from tests.chaos.table import is_lost, render
from tests.system.guest import Guest

SEED = "1"


def test_nothing_is_lost(booted: Guest, staged: Path, figures: list[str], tmp_path: Path) -> None:
    findings = run(list(ROWS), SCALES["ci"], SEED, staged, tmp_path)
    table = render(findings)
    figures += table.splitlines()
    assert not is_lost(findings), table
