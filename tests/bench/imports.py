"""python -m tests.bench.imports: how long the client takes to import, beside pydantic, which it needs."""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Final

#: What a user writes, and what their program has loaded by then. The first is what the others are compared with.
STATEMENTS: Final = {
    "from pydantic import BaseModel": "",
    "import superd_client": "",
    "from superd_client import Message, Method": "",
    "from superd_client import Client": "",
    "from superd_client import AsyncClient": "import asyncio",
}
_FIRST: Final = next(iter(STATEMENTS))

#: Times the import of pydantic that a client may take.
RATIO_MAX: Final = 2.0

ROUNDS: Final = 25

#: In seconds of the processor: how busy the machine is makes no difference that way, or little.
_TIMED: Final = """
{}
from time import process_time
begun = process_time()
{}
print(process_time() - begun)
"""


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: all are imported in less than RATIO_MAX times the time of pydantic. 1: one is not."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.imports", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="fresh processes for each statement")
    found = measure(parser.parse_args(arguments).rounds)
    sys.stdout.write(f"{render(found)}\n")
    return int(max(ratios(found).values()) >= RATIO_MAX)


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each statement, each time in a process of its own; they take turns, so that a busy moment is no one's alone."""
    found: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for _ in range(rounds):
        for statement, seconds in found.items():
            seconds.append(_seconds(statement))
    return found


def ratios(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each, in medians of the first."""
    medians = {statement: statistics.median(seconds) for statement, seconds in found.items()}
    return {statement: median / medians[_FIRST] for statement, median in medians.items()}


def render(found: Mapping[str, Sequence[float]]) -> str:
    """A line for each: median, and how many times the first."""
    return "\n".join(
        f"{statement:42} {statistics.median(found[statement]) * 1000:7.1f} ms  {ratio:5.2f}x"
        for statement, ratio in ratios(found).items()
    )


def _seconds(statement: str) -> float:
    command = [sys.executable, "-I", "-c", _TIMED.format(STATEMENTS[statement], statement)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    sys.exit(main())
