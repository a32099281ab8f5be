"""`make chaos`, in short: every row, once, in a guest of its own. What it measures is for the longer forms to judge."""

from pathlib import Path

import pytest

from tests.chaos.runner import ROWS, run
from tests.chaos.scale import SCALES
from tests.chaos.table import is_lost, render
from tests.conftest import FIGURES
from tests.system.conftest import TIMEOUT, make_install
from tests.system.guest import must_boot, reason_against_booting

SEED = "1"


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    """A default installation: without the examples, whose methods everybody may call."""
    if reason := reason_against_booting():
        if must_boot():
            pytest.fail(f"CI=true, and no systemd can be booted: {reason}")
        pytest.skip(f"no systemd can be booted: {reason}")
    stage = tmp_path / "stage"
    stage.mkdir()
    make_install(stage)
    return stage


@pytest.mark.timeout(TIMEOUT)
def test_nothing_is_lost(staged: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    findings = run(list(ROWS), SCALES["ci"], SEED, staged, tmp_path)
    table = render(findings)
    request.node.user_properties.append((FIGURES, table.splitlines()))
    assert not is_lost(findings), table
