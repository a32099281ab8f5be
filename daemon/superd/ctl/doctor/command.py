"""superctl doctor: what is wrong with superd on this host, and the command that mends it."""

import argparse
from typing import Final

from superd.ctl.doctor.checks import examine_all
from superd.ctl.doctor.gathering import gather
from superd.ctl.doctor.outcomes import is_well
from superd.ctl.doctor.telling import as_json, tell
from superd.ctl.exits import ExitStatus
from superd.ctl.session import Session

EPILOG: Final = """\
Nothing is changed, and nothing is started: a superd that does not run is not called, unless
by --probe. Each finding has the command that mends it. As root all can be looked at; for others
what could not be is named.

Exit status: 0 all is well (there may be notes), 1 there are warnings or faults.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `doctor`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--probe", action="store_true", help="make a first call, which starts superd, and time it"
    )
    parser.add_argument("-v", "--all", dest="show_all", action="store_true", help="also list what is well")


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Look, and tell."""
    facts = gather(session, seconds=getattr(arguments, "timeout", None), probe=arguments.probe)
    outcomes = examine_all(facts)
    out = session.streams.out
    if getattr(arguments, "as_json", False):
        out.json(as_json(facts.address, facts.version, outcomes))
    else:
        tell(outcomes, out, show_all=arguments.show_all)
    return ExitStatus.OK if is_well(outcomes) else ExitStatus.FAILED
