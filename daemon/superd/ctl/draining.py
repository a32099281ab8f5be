"""superctl drain: connections that are asked to go."""

import argparse
from typing import Final

from superd.ctl.exits import ExitStatus
from superd.ctl.selection import add_arguments, count, read_selection
from superd.ctl.session import Session
from superd_client.administration import WAIT_USEC_MAX, DrainRequest, drain
from superd_client.arguments import DEFAULT_TIMEOUT

EPILOG: Final = """\
Without ID, --uid and --unit all present connections are drained: each client is told to go,
what it has sent is carried out and answered, then its connection is closed. superd goes on and
accepts new connections, by which clients of the library call on without noticing. A connection
with an open stream stays until the stream ends. To have superd itself end so: systemctl stop.

Exit status: 0 they were asked to go, and with --wait all have gone; 1 --wait ended before.
"""

#: Seconds beyond the wait that the answer may take.
_SPARE: Final = 5.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `drain`."""
    parser.epilog = EPILOG
    add_arguments(parser)
    parser.add_argument(
        "--wait", action="store_true", help="wait until all of them are closed, at most for --timeout"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Have them drained; with --wait, wait for it."""
    timeout = getattr(arguments, "timeout", DEFAULT_TIMEOUT)
    wait = min(round(timeout * 1e6), WAIT_USEC_MAX) if arguments.wait else 0
    request = DrainRequest(**read_selection(arguments), wait_usec=wait)
    done = session.ask(drain, request, timeout=wait / 1e6 + _SPARE if wait else timeout)
    out = session.streams.out
    if getattr(arguments, "as_json", False):
        out.json(done.model_dump(mode="json"))
    elif not arguments.wait:
        out.line(f"{count(done.connections, 'connection')} asked to go")
    else:
        still = f"; {done.remaining:,} still open" if done.remaining else ""
        out.line(f"{count(done.connections - done.remaining, 'connection')} drained{still}")
    return ExitStatus.FAILED if arguments.wait and done.remaining else ExitStatus.OK
