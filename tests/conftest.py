"""What holds for every test: the gate that coverage must pass."""

import io
from collections.abc import Generator
from pathlib import Path
from typing import Final

import coverage
import pytest

ROOT: Final = Path(__file__).resolve().parent.parent

#: The wire is small, pure, and parses what a peer sends: each of its branches is tested. The rest has edges that
#: only a failing kernel reaches.
GATES: Final = (
    ("superd_client.wire", "client/superd_client/wire/*", 100.0),
    ("everything", None, 90.0),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--coverage-gate",
        action="store_true",
        help="fail where the coverage that --cov measured is below what the project asks for",
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Judge the coverage once pytest-cov has gathered what all processes measured, and fail the run by it."""
    result = yield
    if session.config.getoption("--coverage-gate"):
        lines, passed = _judge_coverage()
        session.config.stash[_REPORT] = lines
        session.testsfailed += not passed
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say so before the closing line, which stays the last one."""
    if _REPORT in config.stash:
        terminalreporter.section("coverage")
        terminalreporter.write_line(config.stash[_REPORT])


_REPORT: Final = pytest.StashKey[str]()


def _judge_coverage() -> tuple[str, bool]:
    """The report of all gates, and whether all are passed."""
    measured = coverage.Coverage(config_file=str(ROOT / "pyproject.toml"))
    measured.load()
    reports, verdicts, passed = [], [], True
    for name, include, least in GATES:
        report = io.StringIO()
        total = measured.report(include=include, file=report, precision=1)
        reports.append(report.getvalue())
        passed &= total >= least
        verdicts.append(f"{name}: {total:.1f} % of lines and branches, at least {least:.0f} % asked for")
    return "\n".join([reports[-1], *verdicts]), passed
