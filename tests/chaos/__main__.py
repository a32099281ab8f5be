"""python -m tests.chaos: breaks everything around superd under a real systemd, and counts what is lost."""

import argparse
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from tests.chaos.runner import ROWS, run
from tests.chaos.scale import SCALES
from tests.chaos.table import is_lost, render
from tests.system.conftest import make_install
from tests.system.guest import reason_against_booting


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: nothing is lost. 1: something is. 2: it cannot be run here. 130: it was ended, or took too long."""
    options = _parser().parse_args(arguments)
    if reason := reason_against_booting():
        return _say(f"no systemd can be booted: {reason}", 2)
    # What ends us ends the guest: by leaving its context.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _interrupt)
    signal.alarm(SCALES[options.scale].limit_seconds)
    try:
        return _run(options)
    except KeyboardInterrupt:
        return _say("given up; nothing is left behind", 130)


def _run(options: argparse.Namespace) -> int:
    seed = options.seed or str(secrets.randbelow(2**32))
    _say(f"seed {seed}, scale {options.scale}: {', '.join(options.only or ROWS)}")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="superd-chaos-") as folder:
        staged = Path(folder, "stage")
        staged.mkdir()
        make_install(staged)
        findings = run(options.only or list(ROWS), SCALES[options.scale], seed, staged, Path(folder))
    _say(render(findings))
    verdict = "something is lost" if is_lost(findings) else "nothing is lost"
    return _say(
        f"\nseed {seed}, scale {options.scale}, {time.monotonic() - begun:.0f} s: {verdict}",
        int(is_lost(findings)),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", help="what chance begins with (default: something, and it is said)")
    parser.add_argument(
        "--only",
        action="append",
        choices=ROWS,
        metavar="ROW",
        help=f"one of {', '.join(ROWS)}; may be repeated",
    )
    parser.add_argument("--scale", choices=SCALES, default="short", help="how much (default: %(default)s)")
    return parser


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(text: str, status: int = 0) -> int:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    return status


if __name__ == "__main__":
    sys.exit(main())
