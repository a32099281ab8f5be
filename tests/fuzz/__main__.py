"""python -m tests.fuzz: mutates the golden vectors and watches what comes out of the wire."""

import argparse
import secrets
import sys
import traceback
from pathlib import Path

from tests.fuzz.runner import Crash, execute, fuzz, write_crash
from tests.fuzz.targets import TARGETS


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: nothing found. 1: a crash, whose input was written to a file."""
    options = _parser().parse_args(arguments)
    if options.replay:
        target, path = options.replay
        crash = execute(target, Path(path).read_bytes())
        return _tell_crash(crash, path) if crash else _say(f"{path}: no crash")
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    _say(f"seed {seed}, at most {options.seconds:g} s and {options.executions} executions")
    summary = fuzz(seed, seconds=options.seconds, executions=options.executions)
    rate = summary.executions / max(summary.seconds, 1e-9)
    _say(f"{summary.executions} executions in {summary.seconds:.1f} s, {rate:.0f}/s")
    if summary.crash is None:
        return _say("nothing but RemoteProtocolError came out")
    return _tell_crash(summary.crash, str(write_crash(summary.crash, options.crashes)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to run (default: %(default)s)")
    parser.add_argument(
        "--executions", type=int, default=10_000_000, help="how often to run (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, help="where to begin (default: somewhere, and it is said)")
    parser.add_argument(
        "--crashes", type=Path, default=Path("build/fuzz"), help="where inputs that crash are kept"
    )
    parser.add_argument(
        "--replay", nargs=2, metavar=("TARGET", "FILE"), help=f"one of {', '.join(TARGETS)}, and a file"
    )
    return parser


def _tell_crash(crash: Crash, path: str) -> int:
    _say("".join(traceback.format_exception(crash.error)))
    _say(f"{crash.target}: {type(crash.error).__name__} by {len(crash.data)} bytes in {path}")
    _say(f"replay: {sys.executable} -m tests.fuzz --replay {crash.target} {path}")
    return 1


def _say(line: str) -> int:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
