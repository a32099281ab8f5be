"""What holds for every test: the worker that runs it, and the gate that coverage must pass."""

import io
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import coverage
import hypothesis
import pytest
from typing_extensions import override
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

ROOT: Final = Path(__file__).resolve().parent.parent

#: The wire is small, pure, and parses what a peer sends: each of its branches is tested. The rest has edges that
#: only a failing kernel reaches.
GATES: Final = (
    ("superd_client.wire", "client/superd_client/wire/*", 100.0),
    ("everything", None, 90.0),
)

#: The property of a test's report that holds lines for the run's summary.
FIGURES: Final = "figures"

SYSTEM: Final = "tests/system/"
#: Where the longest files are.
FIRST: Final = (
    SYSTEM,
    "tests/chaos/test_ci.py",
    "tests/daemon/test_process.py",
    "tests/daemon/test_idle_exit.py",
    "tests/fuzz/",
    "tests/examples/",
)

#: A machine that is busy makes an example slow, and nothing wrong; pytest's own timeout ends what hangs.
hypothesis.settings.register_profile(
    "superd",
    hypothesis.settings(),
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("superd")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--coverage-gate",
        action="store_true",
        help="fail where the coverage that --cov measured is below what the project asks for",
    )


class Scheduler(LoadFileScheduling):  # type: ignore[misc] # pytest-xdist ships no types
    """One worker runs all tests of a file; and all of tests/system, which has one guest and one build folder."""

    @override
    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return SYSTEM if file.startswith(SYSTEM) else file


def pytest_configure() -> None:
    """Take Ctrl-C for what it is: what a script starts in the background ignores it, and so would our children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduler | None:
    return Scheduler(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where workers share the tests, begin with what takes longest: none shall be left with it at the end."""
    if _is_worker(config):
        items.sort(key=lambda item: [not item.nodeid.startswith(each) for each in FIRST])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Judge the coverage once pytest-cov has gathered what all processes measured, and fail the run by it."""
    result = yield
    if session.config.getoption("--coverage-gate") and not _is_worker(session.config):
        lines, passed = _judge_coverage()
        session.config.stash[_REPORT] = lines
        session.testsfailed += not passed
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say so before the closing line, which stays the last one."""
    if figures := list(_figures(terminalreporter)):
        terminalreporter.section("figures")
        for figure in figures:
            terminalreporter.write_line(figure)
    if _REPORT in config.stash:
        terminalreporter.section("coverage")
        terminalreporter.write_line(config.stash[_REPORT])


_REPORT: Final = pytest.StashKey[str]()


def _is_worker(config: pytest.Config) -> bool:
    """Whether this process is one of those that pytest-xdist spreads the tests over."""
    return hasattr(config, "workerinput")


def _figures(terminalreporter: pytest.TerminalReporter) -> Iterator[str]:
    """What tests have measured and nobody judges; a worker's findings come with its reports."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and report.when == "call":
                for name, found in report.user_properties:
                    if name == FIGURES:
                        assert isinstance(found, list)
                        yield from found


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
