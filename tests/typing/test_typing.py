"""Typing is public API: both checkers infer what `call` returns, and refuse what does not fit.

The files cases_*.py are data. A line that ends in `# expect: error` must be refused by both checkers; no other line
may be.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
CASES: Final = sorted(Path(__file__).parent.rglob("cases_*.py"))

Place = tuple[str, int]


def expected_errors() -> set[Place]:
    return {
        (_name(path), number)
        for path in CASES
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if line.endswith("# expect: error")
    }


def mypy_errors() -> set[Place]:
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-incremental",
        "--no-error-summary",
        *map(str, CASES),
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode in {0, 1}, run.stdout + run.stderr
    found = re.findall(r"^(\S+):(\d+): error:", run.stdout, re.MULTILINE)
    return {(_name(ROOT / path), int(number)) for path, number in found}


def pyright_errors() -> set[Place]:
    command = [
        sys.executable,
        "-m",
        "pyright",
        "--outputjson",
        "--pythonpath",
        sys.executable,
        "-p",
        str(ROOT),
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode in {0, 1}, run.stdout + run.stderr
    report = json.loads(run.stdout)
    places = {
        (_name(Path(each["file"])), each["range"]["start"]["line"] + 1)
        for each in report["generalDiagnostics"]
        if each["severity"] == "error"
    }
    cases = {_name(path) for path in CASES}
    return {place for place in places if place[0] in cases}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("errors", [mypy_errors, pyright_errors], ids=["mypy", "pyright"])
def test_a_checker_refuses_the_marked_lines_and_no_other(errors: Callable[[], set[Place]]) -> None:
    assert errors() == expected_errors()


def test_there_are_cases() -> None:
    assert len(CASES) == 6
    assert len(expected_errors()) > 10
