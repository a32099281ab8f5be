"""The matrix's own parts: cells, constraints, interpreters, totals."""

import itertools
import re
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.matrix import __main__ as matrix
from tests.matrix.cells import ALL, PYTHONS, ROOT, SETS, Cell, merge, normalize, read_cell
from tests.matrix.environment import KEPT, copy_tests, variables
from tests.matrix.interpreters import VARIABLE, find_interpreter
from tests.matrix.suite import EVERYWHERE, LEFT_OUT, QUICK, Totals, read_report

HERE: Final = "%d.%d" % sys.version_info[:2]  # noqa: UP031 - as the interpreters are asked

REPORT: Final = b"""<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests">
<testsuite name="pytest" errors="1" failures="2" skipped="3" tests="10" time="4.5"/></testsuites>"""


# --- cells ---------------------------------------------------------------------------------------------------------


def test_a_cell_for_each_python_and_set() -> None:
    assert [str(cell) for cell in ALL] == [
        *("3.11/oldest", "3.11/newest", "3.12/oldest", "3.12/newest", "3.13/oldest", "3.13/newest")
    ]
    assert [read_cell(str(cell)) for cell in ALL] == list(ALL)


@pytest.mark.parametrize(
    "text", ["", "3.11", "3.11/", "3.10/oldest", "3.11/latest", "oldest/3.11", "3.11/oldest/x"]
)
def test_no_cell(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no cell: there are 3\.11/oldest, "):
        read_cell(text)


def test_the_pythons_are_those_that_the_distributions_name() -> None:
    for distribution in ("client", "daemon"):
        project = tomllib.loads((ROOT / distribution / "pyproject.toml").read_text("utf-8"))["project"]
        named = [each.rpartition(" ")[2] for each in project["classifiers"] if "Python :: 3." in each]
        assert tuple(named) == PYTHONS


def test_of_two_constraints_for_one_distribution_the_later_counts() -> None:
    merged = merge("# why\nA-b==1\nc==1\n", "a_B==2\n\nd==3\n")
    assert merged.splitlines() == ["a_B==2", "c==1", "d==3"]


def test_the_oldest_set_is_the_lower_bounds() -> None:
    """What is older has not been tested, and must not be promised."""
    oldest = dict(
        line.split("==") for line in merge((ROOT / "constraints-oldest.txt").read_text()).splitlines()
    )
    bounds: dict[str, str] = {}
    for distribution in ("client", "daemon"):
        project = tomllib.loads((ROOT / distribution / "pyproject.toml").read_text("utf-8"))["project"]
        extras = project.get("optional-dependencies", {}).values()
        for text in itertools.chain(project["dependencies"], *extras):
            name, bound = re.fullmatch(r"([a-z-]+)>=([0-9.]+)(?:,<[0-9.]+)?", text).groups()  # type: ignore[union-attr]
            assert bounds.setdefault(name, bound) == bound, f"{name} has two lower bounds"
    del bounds["superd-client"]
    for name, bound in bounds.items():
        assert re.fullmatch(rf"{re.escape(bound)}(\.0)*", oldest[name]), name


def test_the_constraints_of_a_cell(tmp_path: Path) -> None:
    for versions, files in SETS.items():
        text = Cell("3.11", versions).constraints()
        (pydantic,) = re.findall(r"^pydantic==.*$", text, re.MULTILINE)
        assert pydantic in (ROOT / files[-1]).read_text("utf-8").splitlines()
        assert "pytest==" in text


# --- interpreters --------------------------------------------------------------------------------------------------


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any interpreter."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return tmp_path


def test_none_is_found_where_there_is_none(bare: Path) -> None:
    assert find_interpreter(HERE) is None


def test_on_path(bare: Path) -> None:
    found = program(bare / "bin" / f"python{HERE}", f'exec {sys.executable} "$@"')
    assert find_interpreter(HERE) == found


def test_a_name_on_path_that_is_another_or_cannot_be_run_is_passed_over(bare: Path) -> None:
    name = f"python{HERE}"
    program(bare / "bin" / name, "echo 'pyenv: command not found' >&2; exit 127")
    found = program(bare / "pyenv" / "versions" / f"{HERE}.9" / "bin" / name, f'exec {sys.executable} "$@"')
    program(bare / "pyenv" / "versions" / f"{HERE}.10" / "bin" / name, "echo 2.7 cpython")
    (bare / "pyenv" / "versions" / f"{HERE}.11" / "bin").mkdir(parents=True)
    assert find_interpreter(HERE) == found


def test_the_newest_of_pyenv(bare: Path) -> None:
    found = [
        program(
            bare / "pyenv" / "versions" / f"{HERE}.{patch}" / "bin" / f"python{HERE}",
            f'exec {sys.executable} "$@"',
        )
        for patch in (2, 9, 10)
    ]
    assert find_interpreter(HERE) == found[-1]


@pytest.mark.parametrize("named", ["folder", "program"])
def test_the_variable_counts_first(bare: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    program(bare / "bin" / f"python{HERE}", f'exec {sys.executable} "$@"')
    found = program(bare / "mine" / f"python{HERE}", f'exec {sys.executable} "$@"')
    monkeypatch.setenv(VARIABLE, f"{bare / 'nowhere'}:{found.parent if named == 'folder' else found}")
    assert find_interpreter(HERE) == found


# --- what is run ---------------------------------------------------------------------------------------------------


def test_each_folder_of_tests_is_run_or_left_out_for_a_reason() -> None:
    folders = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    assert folders == {*EVERYWHERE, *LEFT_OUT}
    assert all(
        name in EVERYWHERE or ((ROOT / name).is_file() and name.rpartition("/")[0] in EVERYWHERE)
        for name in QUICK
    )


def test_the_tests_are_copied_without_what_they_test(tmp_path: Path) -> None:
    copy_tests(tmp_path / "tree")
    assert all((tmp_path / "tree" / name).exists() for name in KEPT)
    for package in ("superd_client", "superd", "inventoryd", "romd"):
        assert list((tmp_path / "tree").rglob(f"{package}/__init__.py")) == []


def test_nothing_from_outside_reaches_into_an_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "client"))
    monkeypatch.setenv("SUPERD_SOCKET", "unix:/run/superd/superd.sock")
    assert {"PYTHONPATH", "SUPERD_SOCKET"} & variables().keys() == set()
    assert variables({"SUPERD_SOCKET": "unix:/x"})["SUPERD_SOCKET"] == "unix:/x"


def test_the_totals_of_a_report() -> None:
    assert read_report(REPORT) == Totals(passed=4, failed=3, skipped=3, seconds=4.5)


def test_the_table_says_what_became_of_each_cell() -> None:
    cells = {name: Cell("3.11", name) for name in SETS}
    table = matrix.render(
        [
            matrix.Outcome(cells["oldest"], Totals(7, 1, 2, 60.4)),
            matrix.Outcome(cells["newest"], Totals(8, 0, 2, 60.4)),
            matrix.Outcome(Cell("3.12", "oldest"), Totals(8, 0, 2, 60.4), alone="no such module"),
            matrix.Outcome(Cell("3.13", "newest"), missing=True),
        ]
    )
    assert [" ".join(line.split()) for line in table.splitlines()[1:]] == [
        "3.11/oldest 7 1 2 60 works FAILED",
        "3.11/newest 8 0 2 60 works passed",
        "3.12/oldest 8 0 2 60 FAILED FAILED",
        "3.13/newest 0 0 0 0 no python3.13",
    ]


def test_names_are_compared_in_all_spellings() -> None:
    assert normalize("Typing_Extensions") == normalize("typing.extensions") == "typing-extensions"
