"""python -m tests.matrix: the tests against what was built and installed, on each Python with the oldest and newest versions."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.matrix.cells import ALL, ROOT, Cell, read_cell
from tests.matrix.client_alone import check_client_alone
from tests.matrix.environment import copy_tests, make_environment
from tests.matrix.interpreters import VARIABLE, find_interpreter
from tests.matrix.suite import EVERYWHERE, QUICK, Totals, run_tests

#: Built by `make dist`: those of the release, and the examples'.
WHEELS: Final = {
    "client": "dist/superd_client-*.whl",
    "daemon": "dist/superd-*.whl",
    "examples": "build/private/*.whl",
}


class Outcome(NamedTuple):
    """What came of a cell. `missing`: its interpreter is nowhere, and nothing was done."""

    cell: Cell
    totals: Totals = Totals()
    alone: str = ""
    missing: bool = False

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.missing:
            return f"no python{self.cell.python}"
        return "FAILED" if self.totals.failed or self.alone else "passed"


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: all cells passed. 1: one did not, or could not be made."""
    options = _parser().parse_args(arguments)
    wheels = {name: _only(pattern) for name, pattern in WHEELS.items()}
    tests = options.tests or (QUICK if options.quick else EVERYWHERE)
    outcomes = [_run(cell, wheels, tests, options.workers) for cell in options.cells or ALL]
    _say(render(outcomes))
    return int(not all(_is_well(outcome, options.skip_missing) for outcome in outcomes))


def render(outcomes: Sequence[Outcome]) -> str:
    """The table."""
    lines = [
        f"{'cell':12} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}  {'client alone':12}  verdict"
    ]
    for outcome in outcomes:
        passed, failed, skipped, seconds = outcome.totals
        alone = "" if outcome.missing else "FAILED" if outcome.alone else "works"
        figures = f"{passed:7} {failed:7} {skipped:8} {seconds:8.0f}"
        lines.append(f"{outcome.cell!s:12} {figures}  {alone:12}  {outcome.verdict}")
    return "\n".join(lines)


def _run(cell: Cell, wheels: dict[str, Path], tests: Sequence[str], workers: str) -> Outcome:
    interpreter = find_interpreter(cell.python)
    if interpreter is None:
        _say(f"{cell}: there is no python{cell.python} on PATH or of pyenv; {VARIABLE}= names others")
        return Outcome(cell, missing=True)
    _say(f"{cell}: {interpreter}")
    begun = time.monotonic()
    environment = make_environment(cell, interpreter, wheels.values())
    tree = cell.folder / "tree"
    copy_tests(tree)
    if alone := check_client_alone(cell, interpreter, wheels["client"], environment.python):
        _say(f"{cell}: superd-client alone: {alone}")
    totals = run_tests(environment.python, tree, cell.folder / "report.xml", tests, workers)
    return Outcome(cell, totals._replace(seconds=time.monotonic() - begun), alone)


def _is_well(outcome: Outcome, skip_missing: bool) -> bool:
    return skip_missing if outcome.missing else outcome.verdict == "passed"


def _only(pattern: str) -> Path:
    found = list(ROOT.glob(pattern))
    if len(found) != 1:
        raise SystemExit(f"there is not one {pattern}, but {len(found)}: make dist builds it")
    return found[0]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument(
        "cells",
        nargs="*",
        type=read_cell,
        metavar="CELL",
        help=f"of {', '.join(map(str, ALL))} (default: all)",
    )
    parser.add_argument("--quick", action="store_true", help="only where versions have made a difference")
    parser.add_argument("--tests", action="append", metavar="PATH", help="only these; may be repeated")
    parser.add_argument(
        "--skip-missing", action="store_true", help="a cell without an interpreter is no failure"
    )
    parser.add_argument(
        "--workers", default="0", help="processes that share the tests of a cell (default: none)"
    )
    return parser


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
