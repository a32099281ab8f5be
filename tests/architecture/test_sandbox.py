"""The exposure of the units, with each drop-in of the page on it, as systemd counts it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.architecture.sandbox import ROOT, read_costs, read_drop_ins

DROP_INS = read_drop_ins()

needs_systemd_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def exposure(unit: str, drop_in: str, folder: Path) -> str:
    """The score of a unit; a template stands for its instances."""
    path = folder / unit.replace("@.", "@x.")
    path.write_text((ROOT / "systemd" / unit).read_text() + drop_in)
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true", str(path)]
    said = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"LC_ALL": "C.UTF-8"}
    ).stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found is not None, said
    return found[1]


def test_each_drop_in_has_its_cost() -> None:
    assert list(read_costs()) == list(DROP_INS)


@needs_systemd_analyze
@pytest.mark.parametrize("name", DROP_INS)
def test_the_page_says_what_a_drop_in_costs(name: str, tmp_path: Path) -> None:
    costs = read_costs()[name]
    assert exposure("superd.service", DROP_INS[name], tmp_path) == costs.plain
    assert exposure("superd@.service", DROP_INS[name], tmp_path) == costs.instance


@needs_systemd_analyze
@pytest.mark.parametrize("unit", ["superd.service", "superd@.service"])
def test_without_one_the_units_are_as_the_page_says(unit: str, tmp_path: Path) -> None:
    said = (ROOT / "docs/howto/give-a-service-more.md").read_text()
    assert f"Both units have **{exposure(unit, '', tmp_path)}**" in said
