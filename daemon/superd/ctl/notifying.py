"""superctl notify: a one-way call. Nothing comes back: whether it was carried out is in the server's journal."""

import argparse
import contextlib

from superd.ctl.calling import add_arguments, call_options, call_params
from superd.ctl.exits import ExitStatus
from superd.ctl.session import Session


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `notify`."""
    add_arguments(parser)


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Send it."""
    with contextlib.ExitStack() as stack:
        options = call_options(arguments)
        session.client.notify(arguments.method, call_params(arguments, stack), **options)
    return ExitStatus.OK
