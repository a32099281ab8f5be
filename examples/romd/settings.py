"""What romd is told: by the environment (for the unit), or by arguments, which win."""

import argparse
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from pydantic import ValidationError

from inventoryd.api import Lookup
from romd import __version__

T = TypeVar("T")

INTERVAL_DEFAULT: Final = 30.0
#: Shorter than the client's own 25 s: a round should end before the next one is due.
TIMEOUT_DEFAULT: Final = 10.0
#: A week. Whoever wants more wants a timer unit.
SECONDS_MAX: Final = 7 * 86_400.0

_EPILOG: Final = """\
environment:
  ROMD_SKUS       skus, parted by spaces, where no --sku is given
  ROMD_INTERVAL   as --interval
  ROMD_TIMEOUT    as --timeout
  SUPERD_SOCKET   where superd is, such as unix:/run/superd/superd.sock

exit status:
  0   ended after --count rounds, or by SIGTERM or SIGINT
  2   an argument or a variable is wrong
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """One run's settings; times in seconds. `count` is the number of rounds, None for no end."""

    skus: tuple[str, ...]
    interval: float = INTERVAL_DEFAULT
    timeout: float = TIMEOUT_DEFAULT
    count: int | None = None


def read_settings(
    arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ
) -> Settings:
    """Read both sources; a wrong value ends the process with status 2 and a line that names it."""
    parser = _make_parser()
    given = parser.parse_args(arguments)
    skus = given.sku or _variable(parser, environment, "ROMD_SKUS", parse_skus, list[str]())
    if not skus:
        parser.error("nothing to ask for: give --sku, or set ROMD_SKUS")
    return Settings(
        skus=tuple(dict.fromkeys(skus)),
        interval=given.interval
        or _variable(parser, environment, "ROMD_INTERVAL", parse_seconds, INTERVAL_DEFAULT),
        timeout=given.timeout
        or _variable(parser, environment, "ROMD_TIMEOUT", parse_seconds, TIMEOUT_DEFAULT),
        count=given.count,
    )


def parse_sku(text: str) -> str:
    """Check one sku by the rule that superd will apply; raises ArgumentTypeError."""
    try:
        return Lookup(sku=text).sku
    except ValidationError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a sku") from None


def parse_skus(text: str) -> list[str]:
    """Check several; raises ArgumentTypeError."""
    return [parse_sku(part) for part in text.split()]


def parse_seconds(text: str) -> float:
    """A time above 0; raises ArgumentTypeError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= SECONDS_MAX:  # NaN is not either
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds above 0, at most {SECONDS_MAX:.0f}"
        )
    return seconds


def parse_count(text: str) -> int:
    """A number of rounds; raises ArgumentTypeError."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**31):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="romd",
        description="Ask superd at an interval what is on the shelf, and log it to stderr.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--sku", action="append", type=parse_sku, help="an item to ask for; may be repeated")
    parser.add_argument(
        "--interval",
        type=parse_seconds,
        metavar="SECONDS",
        help=f"from the start of one round to the next ({INTERVAL_DEFAULT:g})",
    )
    parser.add_argument(
        "--timeout", type=parse_seconds, metavar="SECONDS", help=f"for one call ({TIMEOUT_DEFAULT:g})"
    )
    parser.add_argument("--count", type=parse_count, metavar="N", help="end after N rounds")
    parser.add_argument("--version", action="version", version=f"romd {__version__}")
    return parser


def _variable(
    parser: argparse.ArgumentParser,
    environment: Mapping[str, str],
    name: str,
    parse: Callable[[str], T],
    default: T,
) -> T:
    """A variable's value; one that is empty counts as not set."""
    text = environment.get(name, "")
    try:
        return parse(text) if text else default
    except argparse.ArgumentTypeError as error:
        parser.error(f"{name}: {error}")
