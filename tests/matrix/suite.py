"""Which tests a cell runs, and what came of them."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree as ET

from tests.matrix.environment import variables

#: What depends on an interpreter, on pydantic, or on a wheel that lacks something.
EVERYWHERE: Final = (
    "tests/client",
    "tests/conformance",
    "tests/contract",
    "tests/ctl",
    "tests/daemon",
    "tests/examples",
    "tests/fuzz",
    "tests/hot_path",
    "tests/wire",
)
#: For a look at two cells in three minutes: where versions of pydantic and of Python have made a difference, and each shell over
#: each kind of socket once.
QUICK: Final = (
    "tests/conformance",
    "tests/contract",
    "tests/ctl",
    "tests/wire",
    *(
        f"tests/client/test_{name}.py"
        for name in ("bounds", "contract", "errors", "imports", "proving", "sensitive", "strictjson")
    ),
    *(
        f"tests/daemon/test_{name}.py"
        for name in ("bad_input", "fastpath", "openrpc", "secrets", "server", "session", "validators")
    ),
)

#: The others, and why: each is run by `make test`.
LEFT_OUT: Final = {
    "tests/architecture": "facts of the repository's files",
    "tests/bench": "the benchmark's own arithmetic",
    "tests/chaos": "boots a systemd, with what make install builds of the sources",
    "tests/matrix": "the matrix itself",
    "tests/packaging": "builds what is tested here",
    "tests/site": "builds the site of the repository's pages",
    "tests/system": "boots a systemd, with what make install builds of the sources",
    "tests/typing": "what type checkers make of the sources",
}


class Totals(NamedTuple):
    """How many tests there were, by what came of them."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0


def run_tests(python: Path, tree: Path, report: Path, tests: Sequence[str], workers: str) -> Totals:
    """Run them in `tree`; what pytest says goes where our own output goes. A run that broke counts as failed."""
    report.unlink(missing_ok=True)
    command: list[str | Path] = [
        *(python, "-m", "pytest", "-p", "tests.matrix.installed", "-p", "no:cacheprovider"),
        *("-n", workers, "--dist", "loadfile", "--no-loadscope-reorder", f"--junitxml={report}", *tests),
    ]
    status = subprocess.run(command, cwd=tree, env=variables(), check=False).returncode
    totals = read_report(report.read_bytes()) if report.exists() else Totals()
    return totals._replace(failed=totals.failed or int(status != 0))


def read_report(xml: bytes) -> Totals:
    """The totals of a report as JUnit writes it; the file is our own pytest's."""
    suite = next(ET.fromstring(xml).iter("testsuite"))
    tests, failures, errors, skipped = (
        int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors
    return Totals(tests - failed - skipped, failed, skipped, float(suite.attrib["time"]))
