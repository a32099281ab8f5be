"""superctl kick: connections that are closed at once."""

import argparse
from typing import Final

from superd.ctl.exits import ExitStatus, UsageError
from superd.ctl.selection import add_arguments, count, read_selection
from superd.ctl.session import Session
from superd_client.administration import KickRequest, kick

EPILOG: Final = """\
What runs is cancelled and answered so (-32004), what was not begun is refused (-32005), then
the connection is closed. A client may connect again at once: superd-policy(5) says how to keep
somebody out. To let what runs end, use drain.

Exit status: 0 something was closed, 1 there was nothing.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `kick`."""
    parser.epilog = EPILOG
    add_arguments(parser)


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Have them closed, and say how many there were."""
    selection = read_selection(arguments)
    if not selection:
        raise UsageError("say whom: kick needs ID, --uid or --unit")
    done = session.ask(kick, KickRequest(**selection), timeout=getattr(arguments, "timeout", None))
    out = session.streams.out
    if getattr(arguments, "as_json", False):
        out.json(done.model_dump(mode="json"))
    else:
        out.line(f"{count(done.connections, 'connection')} closed, {count(done.calls, 'call')} cancelled")
    return ExitStatus.OK if done.connections else ExitStatus.FAILED
